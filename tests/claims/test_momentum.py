"""The claims of the chapter "Momentum"."""

import math

import numpy as np
import pytest

import optlab
from optlab import problems, schedules
from optlab.experiments.momentum import noisy_excess

ALPHAS = (0.5, 0.9, 0.99)


class TwoTerm:
    """x <- x - lr g + momentum (x - x before), as an optimizer of its own."""

    def __init__(self, lr, momentum):
        self.lr, self.momentum = lr, momentum

    def init(self, params):
        return {"t": 0, "last": params.copy()}

    def step(self, params, grads, state):
        before = params.copy()
        params += self.momentum * (params - state["last"]) - self.lr(state["t"]) * grads
        state.update(t=state["t"] + 1, last=before)


def noisy(opt, seed):
    """1000 steps in a bowl with kappa = 100 and noise: the same for all optimizers."""
    return optlab.trajectory(problems.quadratic(kappa=100, n=10), opt, steps=1000, noise=1.0, rng=seed).x


def tuned(kappa):
    """The best constants for curvatures from 1 to kappa."""
    root = math.sqrt(kappa)
    return optlab.Momentum(lr=4 / (root + 1) ** 2, momentum=((root - 1) / (root + 1)) ** 2)


def steps_needed(problem, opt, x, most=200_000):
    """Steps until the distance is a millionth of the first."""
    path = optlab.trajectory(problem, opt, x, steps=most).x
    near = np.linalg.norm(path, axis=1) <= 1e-6 * np.linalg.norm(x)
    return near.argmax() if near.any() else math.inf


def track(balls):
    """The hill of the chapter, for many balls at once."""

    def hill(x):
        bump = np.exp(-2 * (x - 0.5) ** 2)
        return (0.1 * (x - 4) ** 2 + bump).sum(), 0.2 * (x - 4) - 4 * (x - 0.5) * bump

    return optlab.Problem.from_callable(hill, jac=True, n=balls)


@pytest.mark.claim("MO-1")
def test_forms_of_momentum_are_the_same(claim):
    decaying, constant = schedules.linear_decay(5e-3, 5e-5, 1000), schedules.constant(5e-3)
    same, outside, apart = 0.0, 0.0, []
    for a in ALPHAS:
        for lr in (constant, decaying):
            ours = noisy(optlab.Momentum(lr, a), 0)
            same = max(same, abs(ours - noisy(TwoTerm(lr, a), 0)).max())
        ours = noisy(optlab.Momentum(constant, a), 0)
        outside = max(outside, abs(ours - noisy(optlab.Momentum(constant, a, form="pytorch"), 0)).max())
    for seed in range(10):
        ours, theirs = (
            noisy(optlab.Momentum(decaying, 0.9, form), seed)[-1] for form in ("published", "pytorch")
        )
        apart.append(np.linalg.norm(ours - theirs) / np.linalg.norm(ours))
    claim.at_most("velocity and two-term form, with and without decay: largest difference", same, 1e-12)
    claim.at_most("rate inside and outside, constant rate: largest difference", outside, 1e-12)
    claim.at_least("inside and outside under decay, 0.9: final points, least of 10 runs", min(apart), 0.01)


@pytest.mark.claim("MO-2")
def test_velocity_is_the_weighted_sum_of_all_gradients(claim):
    worst, sums = 0.0, 0.0
    for a in ALPHAS:
        rng = np.random.default_rng(0)
        curvature, x, lr = np.geomspace(1, 100, 10), np.ones(10), 5e-3
        opt, gradients = optlab.Momentum(lr, a), []
        state = opt.init(x)
        for t in range(1, 1001):
            gradients.append(curvature * x + rng.standard_normal(10))
            before = x.copy()
            opt.step(x, gradients[-1], state)
            closed = -lr * a ** np.arange(t)[::-1] @ np.array(gradients)
            worst = max(worst, abs(closed - (x - before)).max() / max(1.0, abs(closed).max()))
        sums = max(sums, abs(lr * (a ** np.arange(5000)).sum() - lr / (1 - a)))
    claim.at_most("|weighted sum - move|", worst, 1e-12)
    claim.at_most("|sum of the weights - lr/(1-alpha)|", sums, 1e-12)
    for a, share in zip(ALPHAS, (0.75, 0.651, 0.634), strict=True):
        recent = (a ** np.arange(round(1 / (1 - a)))).sum() * (1 - a)
        claim.equal(f"share of the last 1/(1-alpha) gradients, {a}", recent, share, 5e-4)


@pytest.mark.claim("MO-3")
def test_a_ball_crosses_a_bump_that_stops_descent(claim):
    starts = np.array([-4.0, -6.0, -5.0, -3.0, -2.0])
    rest = np.array([-0.5, 0.0, 0.25])

    def ends(a, x):
        return optlab.trajectory(track(len(x)), optlab.Momentum(0.02, a), x, 5000, every=5000).x[-1]

    def off(alphas, x, goal):
        return max(abs(ends(a, x) - goal).max() for a in alphas)

    claim.equal("descent from -4 ends at", ends(0.0, starts)[0], -0.3153, 0.02)
    claim.equal("0.95 from -4 ends at", ends(0.95, starts)[0], 4.0, 0.02)
    claim.at_most(
        "0 to 0.85 from -6..-2: farthest from the dip", off((0, 0.5, 0.8, 0.85), starts, -0.3153), 0.02
    )
    claim.at_most("0.9 to 0.97 from -6..-2: farthest from 4", off((0.9, 0.95, 0.97), starts, 4.0), 0.02)
    claim.at_most("0.99 from -6..-2: farthest from 4", off((0.99,), starts, 4.0), 0.1)
    below = off((0, 0.5, 0.85, 0.9, 0.95, 0.97, 0.99), rest, -0.3153)
    claim.at_most("at rest below the top, 0 to 0.99: farthest from the dip", below, 0.1)


@pytest.mark.claim("MO-4")
def test_terminal_step_under_a_constant_gradient(claim):
    g = np.array([3.0, -4.0])
    late = 0.0
    for a, expected in zip(ALPHAS, (20, 132, 1375), strict=True):
        opt, x, lr = optlab.Momentum(0.1, a), np.zeros(2), 0.1
        state, ratios = opt.init(x), []
        for _ in range(1400):
            before = x.copy()
            opt.step(x, g, state)
            ratios.append(np.linalg.norm(x - before) * (1 - a) / (lr * np.linalg.norm(g)))
        off = abs(np.array(ratios) - 1)
        late = max(late, off[-1])
        claim.equal(f"first step within 1e-6, {a}", int(np.argmax(off <= 1e-6)) + 1, expected, 0)
        claim.equal(f"ln 1e-6 / ln {a}, rounded up", math.ceil(math.log(1e-6) / math.log(a)), expected, 0)
    claim.at_most("|step / terminal step - 1| after 1400 steps", late, 1e-6)


@pytest.mark.claim("MO-5")
def test_steps_grow_with_the_root_of_the_condition_number(claim):
    kappas = (10, 30, 100, 300, 1000, 3000, 10_000)

    def exponent(counts):
        return np.polyfit(np.log(kappas[-len(counts) :]), np.log(counts), 1)[0]

    for n in (2, 50):
        x = np.ones(2) if n == 2 else np.random.default_rng(0).standard_normal(n)
        bowls = [problems.quadratic(kappa=kappa, n=n) for kappa in kappas]
        plain = [
            steps_needed(p, optlab.SGD(2 / (1 + k)), x, 8 * k + 100)
            for p, k in zip(bowls, kappas, strict=True)
        ]
        ball = [steps_needed(p, tuned(k), x, 2000) for p, k in zip(bowls, kappas, strict=True)]
        claim.equal(f"{n} eigenvalues: exponent of descent", exponent(plain), 1.0, 0.1)
        claim.equal(f"{n} eigenvalues: exponent of the heavy ball", exponent(ball), 0.5, 0.1)
    fixed = [
        steps_needed(problems.quadratic(kappa=k), optlab.Momentum(1 / k, 0.9), np.ones(2))
        for k in (1000, 3000, 10_000)
    ]
    claim.equal("0.9 and 1/L, kappa from 1000: exponent", exponent(fixed), 1.0, 0.1)


def rate(opt, curvatures):
    """Factor per step in the long run: the largest eigenvalue of one step as a map of (x, v)."""

    def largest(h):
        columns = []
        for start, velocity in ((1.0, 0.0), (0.0, 1.0)):
            x = np.array([start])
            state = opt.init(x)
            state.v[:] = velocity
            opt.step(x, h * x, state)
            columns.append((x[0], state.v[0]))
        return abs(np.linalg.eigvals(np.array(columns))).max()

    return max(largest(h) for h in curvatures)


@pytest.mark.claim("MO-6")
def test_critical_damping(claim):
    sweep = np.linspace(0, 0.9995, 2000)
    for kappa in (10, 100, 10_000):
        best = tuned(kappa)
        for name, lr, expected in (
            ("1/L", 1 / kappa, (1 - 1 / math.sqrt(kappa)) ** 2),
            ("tuned lr", best.lr, best.momentum),
        ):
            rates = [rate(optlab.Momentum(lr, a), (1, kappa)) for a in sweep]
            least = int(np.argmin(rates))
            claim.equal(f"kappa = {kappa}, {name}: best momentum", sweep[least], expected, 2e-3)
            claim.equal(f"kappa = {kappa}, {name}: its rate", rates[least], math.sqrt(expected), 1e-3)

    bowl, x = problems.quadratic(kappa=100), np.ones(2)

    def crossings(a):
        path = optlab.trajectory(bowl, optlab.Momentum(0.01, a), x, 200).x[:, 0]
        return np.sum(path[1:] * path[:-1] < 0)

    claim.equal("overshoots up to 0.81", sum(crossings(a) for a in (0.0, 0.5, 0.7, 0.8, 0.81)), 0, 0)
    above = (0.82, 0.85, 0.9, 0.99)
    claim.at_least("fewest overshoots in 200 steps, 0.82 to 0.99", min(crossings(a) for a in above), 1)
    off = max(abs(rate(optlab.Momentum(0.01, a), (1, 100)) - math.sqrt(a)) for a in above)
    claim.at_most("|rate - root of alpha| above 0.81", off, 1e-6)
    slow, best = (steps_needed(bowl, optlab.Momentum(0.01, a), x) for a in (0.5, 0.81))
    claim.at_least("steps with 0.5 over steps with 0.81", slow / best, 3.0)

    steep, critical = problems.quadratic(kappa=1e4), (1 - 1e-2) ** 2
    fixed, warm = (optlab.Momentum(1e-4, a) for a in (critical, schedules.momentum_warmup(critical)))
    late, early = (optlab.trajectory(steep, opt, x, 100).fun for opt in (fixed, warm))
    claim.at_least("warm-up: cost at step 21, fixed over warm", late[21] / early[21], 1000.0)
    claim.at_least("mean cost of steps 1 to 100, fixed over warm", late[1:].mean() / early[1:].mean(), 10.0)
    more = steps_needed(steep, warm, x) / steps_needed(steep, fixed, x)
    claim.at_most("steps with warm-up over steps without", more, 1.1)


def chain(n):
    """Nesterov's worst case for methods that see gradients: eigenvalues below 1, start 0."""
    k = np.arange(1, n + 1)
    modes = math.sqrt(2 / (n + 1)) * np.sin(np.pi * np.outer(k, k) / (n + 1))
    values = np.sin(np.pi * k / (2 * n + 2)) ** 2
    return problems.quadratic(eigenvalues=values, rotation=modes, center=1 - k / (n + 1))


@pytest.mark.claim("MO-7")
def test_nesterov_accelerates_unless_there_is_noise(claim):
    nesterov, descent = optlab.Nesterov(1.0, schedules.nesterov()), optlab.SGD(1.0)

    def over_bound(problem, opt, x, steps):
        """Excess error over 2 |x0 - x*|^2 / (k+1)^2, with L = 1."""
        fun = optlab.trajectory(problem, opt, x, steps).fun
        return fun, fun * np.arange(1, steps + 2) ** 2 / (2 * ((x - problem.minimum) ** 2).sum())

    worst, x = chain(200), np.zeros(200)
    claim.at_most("chain, t_k: largest excess over bound", over_bound(worst, nesterov, x, 2000)[1].max(), 1.0)
    claim.at_least(
        "chain, descent: largest excess over bound", over_bound(worst, descent, x, 2000)[1].max(), 1.0
    )
    lower = []
    for k in (20, 50, 99):
        fun, ratio = over_bound(chain(2 * k + 1), nesterov, np.zeros(2 * k + 1), k)
        lower.append(ratio[-1] * 64 / 3)
    claim.at_least("chains of 2k+1 links after k steps: least excess over the lower bound", min(lower), 1.0)

    spread, x = problems.quadratic(eigenvalues=np.geomspace(1e-8, 1, 400)), np.ones(400)
    k = np.arange(10, 1001)
    for name, opt, power in (("descent", descent, -1.0), ("t_k", nesterov, -2.0)):
        fun, ratio = over_bound(spread, opt, x, 2000)
        claim.equal(f"log-spaced, {name}: exponent", np.polyfit(np.log(k), np.log(fun[k]), 1)[0], power, 0.1)
        compare = claim.at_most if opt is nesterov else claim.at_least
        compare(f"log-spaced, {name}: largest excess over bound", ratio.max(), 1.0)
    for a in (0.5, 0.9):
        ratio = over_bound(spread, optlab.Nesterov(1.0, a), x, 2000)[1]
        claim.at_least(f"log-spaced, constant {a}: largest excess over bound", ratio.max(), 1.0)

    ends = {}
    for method in ("descent", "heavy ball"):
        at, excess = noisy_excess(method, decay=True)
        late = at >= 1000
        ends[method] = excess[:, late] @ at[late]
        claim.equal(
            f"noise, {method}: exponent",
            np.polyfit(np.log(at[late]), np.log(excess.mean(axis=0)[late]), 1)[0],
            -1.0,
            0.1,
        )
    claim.equal(
        "noise: heavy ball over descent, mean of 10 seeds",
        (ends["heavy ball"] / ends["descent"]).mean(),
        1.0,
        0.15,
    )
    grown, plain = (
        noisy_excess(method, decay=False)[1][:, -50:].mean(axis=1) for method in ("t_k", "descent")
    )
    claim.at_least("noise, constant rate: t_k over descent, least of 10 seeds", (grown / plain).min(), 10.0)
