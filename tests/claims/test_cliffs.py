"""The claims of the chapter "Cliffs, long-term dependencies and other obstacles"."""

import numpy as np
import pytest
from numpy.linalg import matrix_power, norm

import optlab
from optlab import problems
from optlab.experiments.cliffs import ball_theory, diabetes, noise_ball, zero_or_one


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def cosine(u, v):
    """Cosine of the angles between the rows of u and v, whatever their scale."""
    u, v = (a / abs(a).max(axis=-1, keepdims=True) for a in (u, v))
    return (u * v).sum(axis=-1) / norm(u, axis=-1) / norm(v, axis=-1)


@pytest.mark.claim("CL-1")
def test_a_step_at_the_wall_undoes_the_descent_unless_it_is_clipped(claim):
    unit, sgd = problems.cliff(), optlab.SGD(lr=0.1)
    rise, leap, ends = [], [], []
    for seed in range(30):
        start = np.random.default_rng(seed).uniform([5, -2.6], [6, -2])
        free = optlab.trajectory(unit, sgd, start, 400)
        clipped = optlab.trajectory(unit, sgd, start, 400, clip_norm=1.0)
        rise.append(min(path.grad_norm.max() / path.grad_norm[0] for path in (free, clipped)))
        leap.append(free.step.max() / clipped.step.max())
        # Single costs of a path that bounces along the wall are chance.
        ends.append([free.fun[-1], clipped.fun[-1], np.median(clipped.fun[-50:])])
    ends = np.array(ends)
    claim.at_least("smallest ratio of the gradient at the wall to that at the start", min(rise), 100)
    claim.at_least("smallest ratio of the longest steps", min(leap), 5)
    claim.at_least("lowest final cost without clipping", ends[:, 0].min(), 0.03)
    claim.at_most("highest cost with clipping, median of the last 50 steps", ends[:, 2].max(), 0.02)
    claim.at_least("starts of 30 from which clipping ends lower", sum(ends[:, 1] < ends[:, 0]), 27)

    power, slow = problems.shared_weight(20), optlab.SGD(lr=0.002)
    thrown = optlab.trajectory(power, slow, [1.2], 1)
    clipped = optlab.trajectory(power, slow, [1.2], 200, clip_norm=1.0)
    claim.at_least("one weight: log10 of the cost after one step", np.log10(thrown.fun[-1]), 30)
    claim.at_most("one weight, clipped: cost after 200 steps", clipped.fun[-1], 1e-12)
    claim.at_most("one weight, clipped: largest rise of the cost", np.diff(clipped.fun).max(), 0.0)


@pytest.mark.claim("CL-2")
def test_clipping_by_norm_keeps_the_direction_and_by_value_only_the_signs(claim):
    turned, longest, signs, excess = 0.0, 0.0, 0, np.inf
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        g = rng.standard_t(1.5, rng.integers(2, 200)) * 10 ** rng.uniform(-3, 6)
        shorter, cut = optlab.clip_by_norm(g, 1.0), optlab.clip_by_value(g, 1.0)
        turned = max(turned, abs(cosine(g, shorter) - 1))
        longest = max(longest, norm(shorter))
        signs += not np.array_equal(np.sign(cut), np.sign(g))
        excess = min(excess, cosine(g, cut) * np.sqrt(len(g)))
    pair = np.array([10.0, 1.0])
    huge = optlab.clip_by_norm(np.full(4, 1e200), 1.0)
    claim.at_most("by norm: largest |cos - 1|", turned, 1e-12)
    claim.at_most("by norm: longest result, bound 1", longest, 1 + 1e-12)
    claim.at_most("by norm: error for entries of 1e200", abs(huge - 0.5).max(), 1e-12)
    claim.equal("by value: gradients with a changed sign", signs, 0, 0)
    claim.at_least("by value: smallest cos times sqrt(n)", excess, 1 - 1e-12)
    angle = np.degrees(np.arccos(cosine(pair, optlab.clip_by_value(pair, 1.0))))
    claim.equal("by value: turn of (10, 1) in degrees", angle, 39.3, 0.05)


@pytest.mark.claim("CL-3")
def test_the_gradient_through_time_is_a_power_of_the_matrix(claim):
    worst = 0.0
    steps = np.arange(20, 101)
    for leading in (0.5, 0.9, 1.1, 1.5):
        for seed in range(10):
            rng = np.random.default_rng(seed)
            Q = orthogonal(rng, 8)
            W = Q * np.append(leading, 0.8 * leading * rng.uniform(-1, 1, 7)) @ Q.T
            g = rng.standard_normal(8)
            norms = []
            for _ in range(100):
                g = W.T @ g
                norms.append(norm(g))
            slope = np.polyfit(steps, np.log(norms)[steps - 1], 1)[0]
            worst = max(worst, abs(slope / np.log(leading) - 1))
    claim.at_most("largest relative error of the slope against ln |lambda_1|", worst, 0.01)

    gap = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        W, c = rng.standard_normal((5, 5)) / np.sqrt(5), rng.uniform(0.5, 2)
        for t in (1, 2, 5, 20):
            total = sum(weight_gradient(W, x, c * x, t) for x in np.eye(5))
            formula = c * t * matrix_power(W, t - 1).T
            gap = max(gap, norm(total - formula) / norm(formula))
    claim.at_most("relative error of c t (W^(t-1))' for a basis of samples", gap, 1e-12)


def weight_gradient(W, x, g, t):
    """dJ/dW of h_t = W^t x from g = dJ/dh_t: the sum over the t places where W is used."""
    return sum(np.outer(matrix_power(W, t - i).T @ g, matrix_power(W, i - 1) @ x) for i in range(1, t + 1))


@pytest.mark.claim("CL-4")
def test_a_vanished_gradient_points_anywhere_and_an_exploded_one_does_not(claim):
    n, draws = 100, 2000
    deviation, scaled, means = 0.0, 0.0, []
    for q in (10, 1, 0.1, 0.01, 1e-4):
        rng = np.random.default_rng(0)
        g = rng.standard_normal(n)
        g *= q * np.sqrt(n) / norm(g)
        noisy = g + rng.standard_normal((draws, n))
        cosines = cosine(noisy, g)
        means.append(cosines.mean())
        deviation = max(deviation, abs(means[-1] - q / np.sqrt(1 + q * q)))
        scaled = max(scaled, abs(cosine(1e6 * noisy, g) - cosines).max())
    claim.at_most("largest deviation of the mean cosine from its formula", deviation, 0.015)
    claim.at_most("mean cosine at q = 1e-4", means[-1], 0.015)
    claim.at_most("largest change by a factor of 1e6", scaled, 1e-12)

    rng = np.random.default_rng(0)
    W = orthogonal(rng, 50)
    g = rng.standard_normal(50)
    g /= norm(g)
    noise = 0.01 * rng.standard_normal((draws, 50))
    faded, grown = (matrix_power(factor * W, 40).T @ g for factor in (0.8, 1.2))
    clipped = np.array([optlab.clip_by_norm(grown + xi, 1.0) for xi in noise])
    claim.at_most("40 steps with 0.8: mean cosine", cosine(faded + noise, faded).mean(), 0.03)
    claim.at_least("40 steps with 1.2, clipped: smallest cosine", cosine(clipped, grown).min(), 0.9999)


@pytest.mark.claim("CL-5")
def test_noise_keeps_a_distance_whose_square_is_proportional_to_the_rate(claim):
    curvatures = np.array([1.0, 4.0])
    bowl = problems.quadratic(eigenvalues=curvatures)
    linear = exact = 0.0
    for lr in (0.4, 0.2, 0.1, 0.05, 0.025):
        half = round(10 / lr)
        path = optlab.trajectories(
            bowl, optlab.SGD(lr=lr), np.ones((2000, 2)), 2 * half, every=half // 25, noise=1.0, rng=0
        )
        measured = (path.x[len(path.x) // 2 :] ** 2).sum(axis=-1).mean()
        exact = max(exact, abs(measured / (lr / curvatures / (2 - lr * curvatures)).sum() - 1))
        if lr <= 0.1:
            linear = max(linear, abs(measured / (lr / curvatures / 2).sum() - 1))
    X, y = diabetes()
    theory = ball_theory(X, y, 8)
    real = max(abs(noise_ball(lr) / (lr * theory) - 1) for lr in (0.1, 0.05, 0.025))
    claim.at_most("diabetes: largest relative deviation from the linear law", real, 0.15)
    claim.at_most("normal noise, rate at most 0.1: from the linear law", linear, 0.15)
    claim.at_most("normal noise, rate up to 0.4: from the exact formula", exact, 0.05)


@pytest.mark.claim("CL-6")
def test_descent_from_the_wrong_side_of_the_mountain_never_crosses(claim):
    sgd = optlab.SGD(lr=0.1)
    grid = np.linspace(-50, 50, 200_001)
    one, two = problems.mountain(1), problems.mountain(2)
    f = one.values(grid[:, None])
    top = f.argmax()
    starts = np.random.default_rng(0).uniform(-5, 5, (200, 1))
    left = starts[:, 0] < grid[top]
    path = optlab.trajectories(one, sgd, starts, 3000, every=1)
    claim.equal(
        "starts on the left that ever cross the top", (path.x[:, left] >= grid[top]).any(axis=0).sum(), 0, 0
    )
    claim.at_least("on the left: lowest cost after 3000 steps", path.fun[-1, left].min(), 0.0)
    claim.at_most("on the right: highest cost after 3000 steps", path.fun[-1, ~left].max(), -1.95)
    steps = np.diff(f)
    claim.at_least("slope left of the top: smallest rise of the grid", steps[:top].min(), 0.0)
    claim.at_most("slope right of the top: largest", steps[top:].max(), 0.0)

    plane = np.stack(np.meshgrid(np.linspace(-20, 20, 81), np.linspace(-5, 20, 51)), axis=-1)
    slopes = max(two.grad(x)[1] for x in plane.reshape(-1, 2))
    claim.at_most("two coordinates: largest slope along y", slopes, -2e-10)  # -exp(-20) / 10
    ends = [optlab.trajectory(two, sgd, [grid[top] + side, 0.0], 20_000).fun[-1] for side in (-0.1, 0.1)]
    claim.at_least("two coordinates: cost at the end, from the left", ends[0], 0.0)
    claim.at_most("two coordinates: cost at the end, from the right", ends[1], -1.95)


@pytest.mark.claim("CL-7")
def test_the_log_likelihood_of_separable_data_has_no_minimum(claim):
    t, length, cost = zero_or_one()
    k = np.unique(np.searchsorted(t, np.geomspace(100, t[-1], 200)))
    log_law, line = (np.corrcoef(law, length[k])[0, 1] ** 2 for law in (np.log(t[k]), t[k]))
    claim.at_least("digits 0/1: R^2 of the length against ln t", log_law, 0.99)
    claim.at_least("digits 0/1: R^2 against ln t minus that against t", log_law - line, 0.2)
    claim.at_most("digits 0/1: cost at the end", cost[-1], 1e-3)

    steps = 100_000
    points = problems.logistic(([[1.0], [-1.0]], [1, 0]))  # its constant stays 0
    path = optlab.trajectory(points, optlab.SGD(lr=1.0), np.zeros(2), steps, every=steps)
    claim.at_most("two points: |theta - ln t| at t = 1e5", abs(path.x[-1, 0] - np.log(steps)), 1e-3)
    claim.at_most("two points: |J t - 1| at t = 1e5", abs(path.fun[-1] * steps - 1), 1e-3)

    labels = np.repeat([0, 1], 100)
    cloud = np.random.default_rng(0).standard_normal((200, 2)) + 1.5 * labels[:, None]
    path = optlab.trajectory(
        problems.logistic((cloud, labels)), optlab.SGD(lr=1.0), np.zeros(3), 20_000, every=10_000
    )
    change = norm(path.x[2]) / norm(path.x[1]) - 1
    claim.at_most("overlapping classes: relative change over the last half", abs(change), 1e-6)
