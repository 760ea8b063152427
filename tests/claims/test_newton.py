"""The claims of the chapter "Newton's method"."""

import tracemalloc
from functools import partial

import numpy as np
import pytest

import optlab
from optlab import problems
from optlab.experiments.newton import count_operations, exact_digits, random_symmetric

norm = np.linalg.norm


def slope(x, y):
    """Exponent of the power law through the points."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def one_step(H, g, **options):
    """The first step of Newton's method on g'x + x'Hx/2 from 0."""
    run = optlab.newton(
        lambda x: (g @ x + 0.5 * x @ H @ x, g + H @ x),
        np.zeros(len(g)),
        jac=True,
        hess=lambda x: H,
        gtol=0.0,
        maxiter=1,
        **options,
    )
    return run.history.x[1]


@pytest.mark.claim("NE-1")
def test_one_step_lands_on_the_only_critical_point_of_a_quadratic(claim):
    gradient, error, wrong = 0.0, {10: 0.0, 1e4: 0.0, 1e8: 0.0}, 0
    for n in (2, 10, 100):
        for kappa in error:
            for signs in (1.0, -1.0, (-1.0) ** np.arange(n)):
                for seed in range(10):
                    H = random_symmetric(signs * np.geomspace(1, kappa, n), seed)
                    rng = np.random.default_rng([seed, n])
                    target = rng.standard_normal(n)
                    start, b = target + 10 * rng.standard_normal(n), H @ target
                    run = optlab.newton(
                        lambda x, H=H, b=b: (0.5 * x @ H @ x - b @ x, H @ x - b),
                        start,
                        jac=True,
                        hess=lambda x, H=H: H,
                        gtol=0.0,
                        maxiter=1,
                    )
                    end = run.history.x[1]
                    gradient = max(gradient, norm(H @ end - b) / norm(H @ start - b))
                    error[kappa] = max(error[kappa], norm(end - target) / norm(start - target))
                    wrong += run.index != np.sum(signs * np.ones(n) < 0)
    claim.at_most("gradient after one step over gradient before", gradient, 1e-12)
    claim.at_most(
        "distance after one step over distance before, kappa up to 1e4", max(error[10], error[1e4]), 1e-10
    )
    claim.at_most("the same over kappa, kappa = 1e8", error[1e8] / 1e8, 1e-15)
    claim.equal("minimum, maximum or saddle named wrongly, of 270", wrong, 0, 0)


@pytest.mark.claim("NE-2")
def test_digits_double_near_the_optimum(claim):
    slopes = []
    for start in np.random.default_rng(0).uniform([-2, -1], [2, 3], (30, 2)):
        digits = np.array(exact_digits(*start, steps=40))
        near = (digits[:-1] > 1) & (digits[1:] < 190)
        slopes.append(np.polyfit(digits[:-1][near], digits[1:][near], 1)[0])
    claim.equal(
        "400 digits: exponent, farthest from 2 of 30 starts", max(slopes, key=lambda s: abs(s - 2)), 2, 0.05
    )

    h = optlab.newton(problems.rosenbrock(), [-1.2, 1.0], gtol=0.0, maxiter=7).history
    error = norm(h.x - 1, axis=1)
    claim.at_most("float64: distance after 5 steps", error[5], 2e-5)
    claim.at_most("after 6", error[6], 1e-10)
    claim.at_most("after 7", error[7], 1e-13)
    claim.equal("far away: cost after step 2 over cost before", h.fun[2] / h.fun[1], 298.4, 0.1)


@pytest.mark.claim("NE-3")
def test_regularized_steps(claim):
    ratios, angle_slopes, length_slopes, falls = [], [], [], 0.0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.uniform(-10, -0.1, 5), np.geomspace(0.1, 100, 15)])
        H, g, L = random_symmetric(values, seed), rng.standard_normal(20), abs(values).max()
        alphas = L * np.geomspace(10, 1e4, 13)
        angles, lengths = [], []
        for alpha in alphas:
            d = one_step(H, g, damping=alpha)
            angles.append(norm(d / norm(d) + g / norm(g)) ** 2 / 2)  # 1 - cos, without cancellation
            lengths.append(norm(d + g / alpha) / norm(g / alpha))
            sine = norm(g - (g @ d) / (d @ d) * d) / norm(g)
            bound = L / (alpha - L)
            ratios.append((lengths[-1] / bound, sine / (L / alpha), angles[-1] / (bound**2 / 2)))
        angle_slopes.append(slope(alphas, angles))
        length_slopes.append(slope(alphas, lengths))
        rising = [one_step(H, g, damping=alpha) for alpha in np.geomspace(1.001, 1e3, 100) * -values.min()]
        falls = max(falls, np.diff([g @ d / norm(d) for d in rising]).max() / norm(g))
    length, sine, angle = np.max(ratios, axis=0)
    claim.at_most("relative error of -g/alpha over L/(alpha - L)", length, 1.0)
    claim.at_most("sine of the angle over L/alpha", sine, 1.0)
    claim.at_most("1 - cosine over (L/(alpha - L))^2 / 2", angle, 1.0)
    claim.equal(
        "exponent of 1 - cos in alpha, farthest of 10", max(angle_slopes, key=lambda s: abs(s + 2)), -2, 0.1
    )
    claim.equal("exponent of the relative error", max(length_slopes, key=lambda s: abs(s + 1)), -1, 0.05)
    claim.at_most("largest fall of the cosine while alpha grows", falls, 1e-12)

    price = 0.0
    for deepest in (0.1, 1.0, 10.0, 100.0, 1000.0):
        H, g, alpha = np.diag([1.0, -deepest]), np.ones(2), 1.1 * deepest
        good = one_step(H, g, damping=alpha)[0] / one_step(H, g)[0]
        price = max(price, abs(good * (1 + alpha) - 1))
    claim.at_most("relative deviation of the price from 1/(1 + alpha/lambda)", price, 1e-12)

    well, low = problems.double_well(), np.sqrt(2)
    newton = partial(optlab.newton, well, gtol=1e-10, maxiter=2000)
    path = newton([0.5, 0.3], damping=1.9).history
    claim.at_least("alpha = 1.9: cost after the first step", path.fun[1], 30)
    distance, rise = 0.0, 0.0
    for options in [{"damping": alpha} for alpha in (2.1, 3.0, 5.0, 10.0, 50.0)] + [{"absolute": True}]:
        h = newton([0.5, 0.3], **options).history
        distance = max(distance, norm(h.x[-1] - [0, low]))
        rise = max(rise, np.diff(h.fun).max())
    claim.at_most("alpha = 2.1 ... 50 and |H|: distance from the minimum", distance, 1e-6)
    claim.at_most("largest rise of the cost on the way", rise, 1e-14)

    starts = np.random.default_rng(0).uniform(-0.7, 0.7, (200, 2))

    def saddles(**options):
        return sum(abs(newton(start, **options).x[1]) < 1e-6 for start in starts)

    claim.at_least("starts of 200 from which Newton ends at the saddle", saddles(), 150)
    claim.equal("with |H|", saddles(absolute=True), 0, 0)
    claim.equal("with alpha = 3", saddles(damping=3.0), 0, 0)


@pytest.mark.claim("NE-4")
def test_operations_and_memory(claim):
    surplus = 0
    for n in (2, 3, 8, 16, 32, 64, 96):
        products, quotients = count_operations(n)
        surplus = max(
            surplus, abs(3 * (products + quotients) - n * (n * n - 1)), abs(2 * quotients - n * (n - 1))
        )
    claim.equal("counted products and quotients less n(n^2 - 1)/3", surplus, 0, 0)
    peak_memory(10)
    sizes = np.array([500, 1000, 1500])
    peaks = [peak_memory(n) for n in sizes]
    claim.equal("exponent of the memory of a step in n", slope(sizes, peaks), 2, 0.02)
    claim.at_most("matrices of 8 n^2 bytes beside the Hessian", max(peaks / (8.0 * sizes**2)), 5)


def peak_memory(n):
    """Bytes that a step of Newton's method takes beyond the Hessian it is given."""
    H, g = random_symmetric(np.geomspace(1, 10, n), seed=n), np.ones(n)
    tracemalloc.start()
    one_step(H, g)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak
