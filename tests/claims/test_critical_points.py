"""The claims of the chapter "Critical points"."""

from functools import partial
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import spearmanr

import optlab
from optlab import landscape, problems
from optlab.experiments.critical_points import (
    DRAWS,
    field_critical_points,
    index_counts,
    network_critical_points,
    some_digits,
)


@pytest.mark.claim("CP-1")
def test_signs_of_eigenvalues_name_the_kind(claim):
    himmelblau = problems.himmelblau()
    quarter = np.full(2, np.pi / 2)
    cases = [  # problem or gradient, point, eigenvalues, kind
        (lambda x: 2 * x, (0, 0), (2, 2), "minimum"),
        (lambda x: x * [-2, -4], (0, 0), (-4, -2), "maximum"),
        (problems.saddle(), (0, 0), (-2, 2), "saddle"),
        (problems.rosenbrock(), (1, 1), (0.39936, 1001.60064), "minimum"),
        (himmelblau, (3, 2), (25.7157, 82.2843), "minimum"),
        (himmelblau, (-0.270845, -0.923039), (-45.6052, -16.0660), "maximum"),
        (himmelblau, (0.086678, 2.884255), (-31.7066, 75.5076), "saddle"),
        (lambda x: -np.sin(x) * np.cos(x[::-1]), quarter, (-1, 1), "saddle"),
        (problems.weight_product(), (0, 0), (-2, 2), "saddle"),
        (problems.monkey_saddle(), (0, 0), (0, 0), "degenerate"),
    ]
    right, off = 0, 0.0
    for p, x, eigenvalues, kind in cases:
        found = landscape.classify_critical_point(p, np.array(x, dtype=float))
        right += found.kind == kind
        off = max(off, abs(found.eigenvalues - eigenvalues).max())
    claim.equal("points of the table named right, of 10", right, 10, 0)
    claim.at_most("largest error of an eigenvalue", off, 1e-3)

    further = [
        (lambda x: 4 * x**3, (0, 0), "degenerate"),  # a minimum all the same
        (lambda x: np.array([2 * x[0], 3 * x[1] ** 2]), (0, 0), "degenerate"),  # no extremum
        (problems.weight_product(), (1, 1), "degenerate"),  # a minimum on a curve of minima
        (problems.weight_product(3), (0, 0, 0), "degenerate"),  # H = 0
        (lambda x: np.array([2 * x[0], -2 * x[1], 4 * x[2] ** 3]), (0, 0, 0), "saddle"),  # in spite of a zero
        (problems.quadratic(eigenvalues=[2e-6, 2e-6]), (0, 0), "minimum"),
    ]
    right = sum(landscape.classify_critical_point(p, np.array(x, float)).kind == k for p, x, k in further)
    claim.equal("further points, most of them degenerate, of 6", right, 6, 0)


@pytest.mark.claim("CP-2")
def test_cost_falls_along_a_negative_eigenvector(claim):
    worst = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        q, _ = np.linalg.qr(rng.standard_normal((8, 8)))
        A = q * rng.standard_normal(8) @ q.T
        A = (A + A.T) / 2
        p = problems.Problem.from_callable(
            lambda x, A=A: (0.5 * x @ A @ x, A @ x), jac=True, hess=lambda x, A=A: A, n=8
        )
        lam, u = landscape.escape_direction(p, np.zeros(8))
        for epsilon, sign in product(10.0 ** np.arange(-2, 3), (1, -1)):
            worst = max(worst, abs(p(sign * epsilon * u) / (0.5 * lam * epsilon**2) - 1))
    net, rest = network_at_rest()
    lam, u = landscape.escape_direction(net, rest)
    epsilons = np.array([0.01, 0.0316, 0.1, 0.316])
    changes = np.array([[net(rest + s * e * u) - net(rest) for e in epsilons] for s in (1, -1)])
    ratios = changes / (0.5 * lam * epsilons**2)
    claim.at_most("network: |change / (λε²/2) - 1| at ε = 0.01", abs(ratios[:, 0] - 1).max(), 1e-3)
    claim.at_most("20 quadratics: the same, all ε", worst, 1e-12)
    remainder = abs(changes - 0.5 * lam * epsilons**2)
    slopes = np.polyfit(np.log(epsilons), np.log(remainder.T), 1)[0]
    claim.at_least("network: smallest exponent of the remainder", slopes.min(), 2.9)
    claim.equal("network: most negative eigenvalue", lam, -0.23888, 1e-4)

    eigenvalues, vectors = np.linalg.eigh(net.hess(rest))
    space = vectors[:, eigenvalues < lam + 1e-6]
    sgd = optlab.SGD(lr=0.5)
    stays = optlab.trajectory(net, sgd, rest, 500)
    claim.at_most("change in 500 steps from the saddle", abs(stays.fun - stays.fun[0]).max(), 1e-9)
    ends = []
    for seed in range(5):
        v = space @ np.random.default_rng(seed).standard_normal(space.shape[1])
        ends.append(optlab.trajectory(net, sgd, rest + 1e-3 * v / np.linalg.norm(v), 500).fun[-1])
    claim.at_most("highest cost after 500 steps from beside it, 5 starts", max(ends), 0.5)


def network_at_rest():
    """A tanh network on 500 digits, and its critical point: all zero but the output bias."""
    X, labels = some_digits(500)
    net = problems.mlp((X, labels), hidden=(8,), activation="tanh")
    rest = np.zeros(net.n)
    rest[-10:] = np.log(np.bincount(labels) / len(labels))
    return net, rest


@pytest.mark.claim("CP-3")
def test_hidden_units_can_be_permuted_and_scaled(claim):
    X, labels = some_digits(300)
    nets = {s: problems.mlp((X, labels), hidden=(6,), activation=s) for s in ("tanh", "relu")}
    relu, tanh = nets["relu"], nets["tanh"]
    permuted, flipped, scaled, apart = 0.0, 0.0, 0.0, []
    rows = [list(order) for order in permutations(range(6))]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        theta = 0.3 * rng.standard_normal(relu.n)

        def changed(p, order=slice(None), scale=1.0, bias_scale=None, theta=theta):
            (W1, b1), (W2, b2) = p.unflatten(theta)
            scale = np.broadcast_to(scale, 6)
            bias_scale = scale if bias_scale is None else bias_scale
            parts = scale[:, None] * W1[order], bias_scale * b1[order], W2[:, order] / scale, b2
            return np.concatenate([part.ravel() for part in parts])

        def change(p, changed=changed, theta=theta, **how):
            return abs(p(changed(p, **how)) / p(theta) - 1)

        for p in nets.values():
            permuted = max(permuted, *(change(p, order=order) for order in rows))
        flipped = max(flipped, *(change(tanh, scale=signs) for signs in product((1.0, -1.0), repeat=6)))
        scaled = max(scaled, *(change(relu, scale=a) for a in np.geomspace(1e-3, 1e3, 61)))
        scaled = max(scaled, *(change(relu, scale=10 ** rng.uniform(-3, 3, 6)) for _ in range(200)))
        apart += [change(tanh, scale=2.0), change(relu, scale=-1.0), change(relu, scale=2.0, bias_scale=1.0)]

        gradients = [relu.unflatten(relu.grad(changed(relu, scale=a)))[0][0] for a in (1.0, 1e-3)]
        np.testing.assert_allclose(gradients[1], 1e3 * gradients[0], rtol=1e-9, atol=1e-9)
    claim.at_most("720 permutations, relative change", permuted, 1e-12)
    claim.at_most("ReLU scaled by 1e-3 to 1e3, relative change", scaled, 1e-12)
    claim.at_most("tanh, 64 sign flips, relative change", flipped, 1e-12)
    claim.at_least("tanh scaled, alpha < 0, bias not scaled: smallest change", min(apart), 1e-4)


@pytest.mark.claim("CP-4")
def test_positive_spectra_are_rarer_than_coins_say(claim):
    shares = np.array([index_counts(n)[0] / DRAWS for n in range(1, 13)])
    n = np.arange(1, 13)
    # Where none is seen the share is below 3 / DRAWS with a confidence of 95 %.
    bound = np.where(shares > 0, shares, 3 / DRAWS)
    times = (shares * 2.0**n)[shares > 0]
    known = np.array([0.5, (2 - np.sqrt(2)) / 4, (np.pi - 2 * np.sqrt(2)) / (4 * np.pi), 0.0025, 1.6e-4])
    errors = abs(shares[:5] - known) / np.sqrt(known * (1 - known) / DRAWS)
    claim.at_most("n = 2 to 12: largest share over 2^-n", (bound * 2.0**n)[1:].max(), 1.0)
    claim.at_most("largest ratio of share times 2^n to that of n - 1", (times[1:] / times[:-1]).max(), 1.0)
    claim.equal("n = 1: share", shares[0], 0.5, 2 / DRAWS**0.5)
    claim.at_most("n = 1 to 5: standard errors from the known values", errors.max(), 4.0)


@pytest.mark.claim("CP-5")
def test_high_critical_points_are_saddles_and_low_ones_minima(claim):
    correlations, steps = [], []
    for seed in range(3):
        _, cost, index = field_critical_points(3, seed)
        correlations.append(spearmanr(cost, index)[0])
        means = [cost[index == k].mean() for k in range(4)]
        steps.append(np.diff(means).min())
    claim.at_least("n = 3: smallest rank correlation of 3 fields", min(correlations), 0.7)
    claim.at_least("smallest rise of the mean cost from one index to the next", min(steps), 0.0)
    five = [spearmanr(*field_critical_points(5, seed, 1500, 3.0)[1:])[0] for seed in range(3)]
    claim.at_least("n = 5: smallest rank correlation of 3 fields", min(five), 0.7)
    cost, index = network_critical_points()
    claim.at_least("network of 40 parameters: rank correlation", spearmanr(cost, index)[0], 0.7)
    claim.equal("network: index of its lowest critical point", index[0], 0, 0)


@pytest.mark.claim("CP-6")
def test_newton_goes_to_the_saddle_and_descent_leaves_it(claim):
    saddle, well = problems.saddle(), problems.double_well()
    rng = np.random.default_rng(0)
    one = max(abs(optlab.newton(saddle, x0, maxiter=1).x).max() for x0 in rng.uniform(-3, 3, (20, 2)))
    starts = np.column_stack([rng.uniform(-2, 2, 1000), rng.uniform(-0.63, 0.63, 1000)])
    runs = [optlab.newton(well, x0, gtol=1e-12) for x0 in starts]
    ends = optlab.trajectories(well, optlab.SGD(lr=0.1), starts, 400)
    claim.at_most("x² - y²: distance after one Newton step", one, 1e-12)
    claim.at_most("1000 starts: Newton's distance from the saddle", max(abs(r.x).max() for r in runs), 1e-12)
    claim.at_most("most Newton steps", max(run.nit for run in runs), 8)
    claim.at_most("1000 starts: descent, |f + 1|", abs(ends.fun[-1] + 1).max(), 1e-9)
    edge = [abs(optlab.newton(well, (0.5, y0)).x[1]) for y0 in (0.6324, 0.6325)]
    claim.at_most("Newton from y = 0.6324: |y| at the end", edge[0], 1e-6)
    claim.at_least("Newton from y = 0.6325: |y| at the end", edge[1], 1.0)


@pytest.mark.claim("CP-7")
def test_a_stall_is_traced_to_its_cause(claim):
    def kinds(make):
        """Diagnosis and gradient norm of 30 runs; make(rng) gives problem, learning rate, x0 and steps."""
        found = []
        for seed in range(30):
            p, lr, x0, steps = make(np.random.default_rng(seed))
            found.append(landscape.diagnose_stall(p, optlab.trajectory(p, optlab.SGD(lr=lr), x0, steps)))
        return [one.kind for one in found], [one.grad_norm for one in found]

    def bowl(rng):
        kappa = 10 ** rng.uniform(0, 2)
        return problems.quadratic(kappa, 5, rotation=rng), 1 / kappa, rng.standard_normal(5), 4000

    def plain(rng):
        v = rng.standard_normal(3)
        return problems.plateau(3), 0.1, rng.uniform(5, 7) * v / np.linalg.norm(v), 1000

    def valley(rng):
        return problems.elongated_bowl(10 ** rng.uniform(2.5, 3.5)), 1e-2, rng.uniform(-10, 10, 2), 2000

    def ridge(rng):
        return problems.double_well(), 0.1, (rng.uniform(-2, 2), 0.0), 400

    oscillation, steep = kinds(valley)
    claim.equal("minimum, of 30", kinds(bowl)[0].count("minimum"), 30, 0)
    claim.equal("plateau, of 30", kinds(plain)[0].count("plateau"), 30, 0)
    claim.equal("oscillation, of 30", oscillation.count("oscillation"), 30, 0)
    claim.equal("saddle, of 30", kinds(ridge)[0].count("saddle"), 30, 0)
    claim.at_least("oscillation: smallest gradient norm", min(steep), 100.0)


@pytest.mark.claim("CP-8")
def test_gradient_and_curvature_vanish_on_a_plateau(claim):
    largest, lowest = 0.0, 1.0
    for n in (1, 2, 5):
        p = problems.plateau(n)
        for seed in range(20):
            rng = np.random.default_rng([seed, n])
            v = rng.standard_normal(n)
            x = rng.uniform(6, 8) * v / np.linalg.norm(v)
            largest = max(largest, np.linalg.norm(p.grad(x)), abs(landscape.spectrum(p, x)).max())
            lowest = min(lowest, p(x))
    claim.at_most("radius 6 and more: largest of |g| and |λ|", largest, 1e-12)
    claim.at_least("lowest f there", lowest, 0.99)

    X, labels = some_digits(300)
    net = problems.mlp((X, labels), hidden=(16,), activation="relu")
    run = partial(optlab.trajectory, net, optlab.SGD(lr=0.5), steps=500, every=500)
    dead, gain, awake = 0.0, 0.0, []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        theta = np.concatenate(
            [
                rng.standard_normal(16 * 64) / 8,
                np.full(16, -10.0),
                rng.standard_normal(160) / 8,
                np.log(np.bincount(labels) / len(labels)),
            ]
        )
        dead = max(dead, abs(net.grad(theta)[:-10]).max())
        for _ in range(10):
            v = rng.standard_normal(net.n)
            v[-10:] = 0
            dead = max(dead, abs(net.hessp(theta, v)).max())
        cost = run(x0=theta).fun
        gain = max(gain, abs(cost[-1] - cost[0]))
        theta[16 * 64 : 16 * 65] = 0.0
        awake.append(run(x0=theta).fun[-1])
    claim.equal("dead ReLUs: largest of |g| and |Hv|", dead, 0.0, 0)
    claim.at_most("their cost: change in 500 steps", gain, 1e-12)
    claim.at_most("the same networks with bias 0: highest cost after 500 steps", max(awake), 0.1)
