"""The claims of the chapter "Stochastic gradient descent and learning rates"."""

import numpy as np
import pytest

import optlab
from optlab import problems, schedules
from optlab.experiments.sgd import (
    SWEEP,
    excess,
    logistic_race,
    parabola,
    rate_sweep,
    resnet_rule,
    schedule_race,
    update_times,
)

power = schedules.inverse_time


@pytest.mark.claim("SG-1")
def test_a_falling_rate_ends_within_a_percent_of_the_full_batch_minimum(claim):
    falling, constant = (table[:, -1] for table in logistic_race())
    claim.at_most("falling rate: largest excess of ten seeds over the minimum", falling.max(), 0.01)
    claim.at_least("falling rate: smallest", falling.min(), 0.0)
    claim.at_least("constant rate 0.3: mean excess", constant.mean(), 0.01)


@pytest.mark.claim("SG-2")
def test_rates_have_to_shrink_neither_too_slowly_nor_too_fast(claim):
    def square(lr, *steps):
        """E x^2 after so many steps."""
        return parabola(lr)[1][np.array(steps) // 50]

    # 1000 runs: the standard deviation of a mean of squares is 4.5 %.
    ball = square(0.1, 1000, 10_000) * 1.9 / 0.1
    claim.at_most("constant 0.1: largest |E x^2 / ball - 1|", abs(ball - 1).max(), 0.15)
    z = np.pi * np.sqrt(0.5)
    mean = parabola(power(0.5, 1, power=2))[0][-1]
    claim.equal("0.5/k^2: mean at the end over 10 sin(z)/z", mean / (10 * np.sin(z) / z), 1.0, 0.03)
    steps = np.array([100, 1000, 10_000])
    exact = square(power(1.0, 1), *steps) * steps
    claim.at_most("1/k: largest |k E x^2 - 1|", abs(exact - 1).max(), 0.15)
    falls = square(power(0.5, 1, power=0.5), *steps)
    claim.at_least("0.5/sqrt(k): smallest fall of E x^2 in a decade", (falls[:-1] / falls[1:]).min(), 2.5)
    slow = square(power(0.25, 1), *steps)
    claim.equal("0.25/k: fall of E x^2 in two decades", slow[0] / slow[2], 10.0, 1.5)
    small = square(schedules.linear_decay(0.1, 0.001, 3000), 10_000)[0]
    claim.equal("0.1 to 0.001: E x^2 over the ball of 0.001", small * 1.999 / 0.001, 1.0, 0.15)


@pytest.mark.claim("SG-3")
def test_linear_decay_has_the_values_of_its_formula(claim):
    rate = schedules.linear_decay(0.1, 0.001, 1000)
    gap = abs(rate([0, 500, 1000, 2000]) - [0.1, 0.0505, 0.001, 0.001]).max()
    claim.at_most("largest error at 0, 500, 1000, 2000", gap, 1e-15)
    line = (1 - 1000 / 1000) * 0.1 + 1000 / 1000 * 0.001
    claim.equal("the two branches at step 1000 differ by", rate(1000) - line, 0.0, 0.0)


@pytest.mark.claim("SG-4")
def test_a_rate_can_be_too_small_too_large_or_a_little_high(claim):
    linear = problems.least_squares("diabetes")
    values, vectors = np.linalg.eigh(linear.hess(linear.x0))

    def full(part):
        """Sign flips along the steepest direction in 39 steps; share of 300 steps that raise the cost."""
        run = optlab.trajectory(linear, optlab.SGD(lr=part / values[-1]), steps=300)
        side = (run.x[:40] - linear.minimum) @ vectors[:, -1]
        return np.sum(side[1:] * side[:-1] < 0), np.mean(np.diff(run.fun) > 0)

    claim.equal("0.5 of 1/curvature: flips", full(0.5)[0], 0, 0)
    flips, rises = np.transpose([full(part) for part in (1.5, 1.99)])
    claim.equal("1.5 and 1.99: fewest flips in 39 steps", flips.min(), 39, 0)
    claim.equal("0.5 to 1.99: largest share of steps that raise the cost", max(full(0.5)[1], *rises), 0, 0)
    claim.at_least("2.01: share of steps that raise the cost", full(2.01)[1], 0.95)

    costs, last = rate_sweep()
    level = dict(zip(SWEEP, last[:, :, :-1].mean(axis=2).T, strict=True))
    high = costs[:, :, costs.shape[2] // 10 :].max(axis=2)
    raised = (np.diff(last, axis=2) > 0).mean(axis=(0, 2))[SWEEP.index(3.0)]
    claim.at_least("digits, 0.001: lowest cost in the last epoch", level[1e-3].min(), 2.1)
    claim.at_most("3 over 1: largest ratio of costs in the last epoch", (level[3.0] / level[1.0]).max(), 0.9)
    claim.at_most("3 over 30: largest ratio", (level[3.0] / level[30.0]).max(), 0.9)
    claim.at_least("3: share of updates that raise the cost", raised, 0.3)
    claim.at_least("10 and more: least high of a batch", high[:, SWEEP.index(10.0) :].min(), np.log(10))


@pytest.mark.claim("SG-5")
def test_the_excess_falls_like_one_over_k_or_its_root(claim):
    def exponent(cost, lr):
        k, mean = excess(cost, lr)
        return np.polyfit(np.log(k), np.log(mean), 1)[0]

    claim.equal("|x| with 0.5/sqrt(k)", exponent("|x|", power(0.5, 1, power=0.5)), -0.5, 0.1)
    claim.equal("x^2/2 with 1/k", exponent("x^2/2", power(1.0, 1)), -1.0, 0.1)
    claim.at_least("x^4/4 with 1/k", exponent("x^4/4", power(1.0, 1)), -0.45)


@pytest.mark.claim("SG-6")
def test_the_time_of_an_update_does_not_depend_on_the_number_of_samples(claim):
    few, many = np.array(update_times(10**3)), np.array(update_times(10**6))
    random, consecutive, full = many / few
    claim.at_most("32 consecutive rows: time with 1e6 samples over 1e3", consecutive, 2.0)
    claim.at_least("all rows: the same", full, 200.0)
    claim.at_least("growth with all rows over that with 32 random rows", full / random, 50.0)


@pytest.mark.claim("SG-7")
def test_schedules_have_their_values_and_the_resnet_rule_switches_once(claim):
    peak, middle, apart = 0, 0.0, 0.0
    for width, steps in ((512, 4000), (64, 10), (256, 100), (1024, 7)):
        rates = schedules.noam(width, steps)(np.arange(4 * steps))
        peak += rates.argmax() == steps - 1 and np.sum(rates == rates.max()) == 1
        best = (width * steps) ** -0.5
        apart = max(apart, abs(rates[steps - 1] / best - 1), abs(2 * rates[-1] / best - 1))
    claim.equal("Noam: maxima in step w and only there, of 4", peak, 4, 0)
    claim.at_most("Noam: relative error of the maximum and of twice the rate in step 4w", apart, 1e-12)
    middle = schedules.cosine(0.1, 0.001, 1000)([0, 500, 1000]) - [0.1, 0.0505, 0.001]
    claim.at_most("cosine: largest error at 0, 1/2, 1", abs(middle).max(), 1e-12)

    errors, rates = resnet_rule()
    changes = np.sum(np.diff(rates, axis=1) != 0, axis=1)
    right = 0
    for error, rate in zip(errors, rates, strict=True):
        first = (error < 0.8).argmax()
        right += error[first] < 0.8 and set(rate[:first]) == {0.01} and set(rate[first:]) == {0.1}
    claim.equal("ResNet-110: runs of ten with one change", np.sum(changes == 1), 10, 0)
    claim.equal("runs in which it is at the first error below 0.80", right, 10, 0)
    plain, warm = (schedule_race(lr)[0] for lr in (3.0, schedules.warmup(3.0, 57)))
    claim.at_least("digits, 3: lowest peak of a batch in the first epoch", plain.min(), 4.0)
    claim.at_most("after warm-up: highest", warm.max(), 2.35)


@pytest.mark.claim("SG-8")
def test_the_spray_of_the_root_mean_square_is_cured_by_decay(claim):
    def adagrad(lr, rotation, start, steps=2000):
        """The path in the coordinates of the bowl."""
        c, s = np.cos(rotation), np.sin(rotation)
        axes = np.array([[c, -s], [s, c]])
        bowl = problems.quadratic(eigenvalues=[1, 200], rotation=rotation)
        opt = optlab.AdaGrad(lr=lr, form="mean", eps=0.0)
        return optlab.trajectory(bowl, opt, axes @ start, steps).x @ axes

    rng = np.random.default_rng(0)
    heights, ratios = [], []
    for _ in range(20):
        start = np.array([rng.uniform(50, 70), rng.uniform(0.8, 1.2) * rng.choice([-1, 1])])
        wild, calm = (abs(adagrad(lr, 0.01, start)[51:, 1]).max() for lr in (0.3, power(0.3, 30, power=0.5)))
        heights.append(wild / abs(start[1]))
        ratios.append(wild / calm)
    claim.at_least("constant: smallest |v| of a spray over that of the start", min(heights), 0.9)
    claim.at_least("smallest ratio of |v| without and with decay", min(ratios), 100)

    start = np.array([60.0, 1.0])
    v = adagrad(0.3, 0.0, start)[:, 1]
    t = np.arange(len(v))
    q = 0.3 * np.sqrt((t + 1) / np.cumsum(v**2))
    predicted = 4 * np.sum(v[:50] ** 2) / 0.3**2
    claim.equal("along the axes: first step with q > 2", (q > 2).argmax(), np.floor(predicted), 2)
    claim.at_least(
        "steps from there to the first |v| > 0.1", 51 + (abs(v[51:]) > 0.1).argmax() - predicted, 1
    )
    below, above = (
        abs(adagrad(power(0.3, tau, power=0.5), 0.0, start, 5000)[500:, 1]).max() for tau in (70, 100)
    )
    claim.at_most("decay with tau = 70: largest |v| after step 500", below, 1e-12)
    claim.at_least("decay with tau = 100", above, 0.1)
