"""The claims of the chapter "Adaptive learning rates"."""

import math
from math import lgamma

import numpy as np
import pytest

import optlab
from optlab import problems
from optlab.experiments.adaptive_rates import constructed, exact_path, noisy_bowl, worst_stream


def steps_of(opt, slopes):
    """Signed steps of one parameter under the given slopes."""
    x = np.zeros(1)
    state = opt.init(x)
    points = [0.0]
    for g in slopes:
        opt.step(x, np.array([float(g)]), state)
        points.append(x[0])
    return np.diff(points)


def lengths(opt, g, steps):
    """|step| over the learning rate under a constant slope."""
    return abs(steps_of(opt, np.full(steps, g))) / opt.lr


@pytest.mark.claim("AD-1")
def test_delta_bar_delta_is_fast_on_a_bowl_and_lost_in_noise(claim):
    own, plain = optlab.DeltaBarDelta(lr=0.005, increase=3e-4, decrease=0.5, decay=0.7), optlab.SGD(lr=0.005)

    def first(opt):
        costs, _ = noisy_bowl(opt, noise=0.0, chains=1, steps=1500)
        return np.argmax(costs < 1e-6 * costs[0])

    best = first(optlab.SGD(lr=2 / 101))
    claim.at_most("no noise: steps, over those of the best constant rate", first(own) / best, 0.7)
    claim.at_least("no noise: steps of the best constant rate", best, 300)
    ratios, apart = [], []
    for seed in range(3):
        noisy, rates = noisy_bowl(own, noise=10.0, steps=1000, seed=seed)
        still, _ = noisy_bowl(plain, noise=10.0, steps=300, seed=seed)
        ratios.append(noisy[300] / still[300])
        apart.append(max(rates) / min(rates))
    claim.at_least(
        "noise: cost after 300 steps over that of plain descent, least of 3 seeds", min(ratios), 3.0
    )
    claim.at_most("noise: ratio of the two rates after 1000 steps, largest of 3 seeds", max(apart), 1.5)


@pytest.mark.claim("AD-2")
def test_adagrad_as_sum_slows_down_as_mean_it_does_not(claim):
    t = np.arange(1, 1001)
    worst_sum = worst_mean = worst_both = 0.0
    for g in (1.0, -7.5, 1e5):
        total = lengths(optlab.AdaGrad(lr=1.0), g, 1000)
        mean = lengths(optlab.AdaGrad(lr=1.0, form="mean"), g, 1000)
        worst_sum = max(worst_sum, abs(total * np.sqrt(t) - 1).max())
        worst_mean = max(worst_mean, abs(mean - 1).max())
        decayed = optlab.AdaGrad(lr=lambda k: 1 / math.sqrt(k + 1), form="mean")
        worst_both = max(worst_both, abs(abs(steps_of(decayed, np.full(1000, g))) - total).max())
    claim.at_most("sum: |step sqrt(t) / rate - 1|, 1000 steps, |g| >= 1", worst_sum, 1e-6)
    claim.at_most("mean: |step / rate - 1|", worst_mean, 1e-6)
    claim.at_most("mean with rate / sqrt(t): difference from the sum", worst_both, 1e-6)
    small = lengths(optlab.AdaGrad(lr=1.0), 1e-3, 1000) * np.sqrt(t)
    claim.equal("sum, g = 1e-3: largest error, over delta / |g|", abs(small - 1).max() / 1e-4, 1.0, 0.01)


@pytest.mark.claim("AD-3")
def test_rmsprop_starts_with_long_steps_and_ends_at_its_rate(claim):
    t = np.arange(1, 501)
    steps, average, first = 0.0, 0.0, 0.0
    for rho in (0.9, 0.99):
        opt = optlab.RMSProp(lr=1.0, rho=rho, eps=0.0)
        for g in (-2.5, 1e-3):
            steps = max(steps, abs(lengths(opt, g, 500) * np.sqrt(1 - rho**t) - 1).max())
            x = np.zeros(1)
            state = opt.init(x)
            for k in t:
                opt.step(x, np.array([g]), state)
                average = max(average, abs(state.r[0] / g**2 - (1 - rho**k)))
            own = lengths(optlab.RMSProp(lr=1.0, rho=rho, eps=0.0, form="first_gradient"), g, 500)
            first = max(first, abs(own - 1).max())
    claim.at_most("|step sqrt(1 - rho^t) / rate - 1|", steps, 1e-12)
    claim.at_most("|r / g^2 - (1 - rho^t)|", average, 1e-12)
    claim.at_most("started at the first gradient: |step / rate - 1|", first, 1e-12)
    for rho, factor in ((0.9, 3.162), (0.99, 10.0)):
        long = lengths(optlab.RMSProp(lr=1.0, rho=rho, eps=0.0), 1.0, 1)[0]
        claim.equal(f"rho = {rho}: first step over rate", long, factor, 1e-3)


@pytest.mark.claim("AD-4")
def test_adagrad_stops_early_and_rmsprop_never(claim):
    rosenbrock = problems.rosenbrock()

    def end(opt):
        run = optlab.trajectory(rosenbrock, opt, [-1.2, 1.0], 10_000, every=10_000)
        return np.linalg.norm(run.x[-1] - 1), run.step[-1]

    small = {lr: (end(optlab.AdaGrad(lr=lr)), end(optlab.RMSProp(lr=lr))) for lr in (0.001, 0.003, 0.01)}
    claim.at_least("rates up to 0.01: AdaGrad's distance", min(a[0] for a, _ in small.values()), 1.8)
    claim.at_most("rates up to 0.01: RMSProp's distance", max(r[0] for _, r in small.values()), 0.05)
    steps = [r[1] / lr for lr, (_, r) in small.items()]
    claim.at_least("RMSProp's last step over its rate, smallest", min(steps), 1.0)
    claim.at_most(
        "AdaGrad's last step over its rate, largest", max(a[1] / lr for lr, (a, _) in small.items()), 0.02
    )
    large = end(optlab.AdaGrad(lr=0.3))[0]
    rest = min(end(optlab.RMSProp(lr=lr))[0] for lr in (0.003, 0.01, 0.03, 0.1, 0.3))
    claim.at_most("AdaGrad at 0.3: distance, over RMSProp's best from 0.003 on", large / rest, 1.0)


# Digits of the paths in 50-digit arithmetic, after 1, 2, 10, 50 and 100 steps.
ROWS = [1, 2, 10, 50, 100]
RMSPROP = [
    (-1.19683772233983, 1.00316227766017), (-1.19175421109859, 1.00825023067021),
    (-1.12710974750611, 1.07328642409612), (-1.05517635353891, 1.11582288354358),
    (-0.946204931884897, 0.903178024371286),
]  # fmt: skip
ADADELTA = [
    (-1.19552786404596, 1.00447213594922), (-1.19108363827874, 1.00892303555246),
    (-1.15931663847572, 1.04103118050651), (-1.08419207401016, 1.1176920079464),
    (-1.06317507693006, 1.13251730025844),
]  # fmt: skip
NADAM = {
    "published": [
        (-1.19737911339251, 1.00262088660731), (-1.19522866431607, 1.00477281853193),
        (-1.17981707748143, 1.02023560080897), (-1.12004999149281, 1.08084868083046),
        (-1.08090614278014, 1.11985770989152),
    ],
    "constant": [
        (-1.19705263157908, 1.00294736842072), (-1.19475214807205, 1.00524897469407),
        (-1.17858480355035, 1.02143740176866), (-1.11248159445914, 1.08814998707078),
        (-1.07286263473072, 1.12737954437359),
    ],
    "pytorch": [
        (-1.19788709644339, 1.00211290355647), (-1.196332185454, 1.00366880060554),
        (-1.18420584980079, 1.01582136760389), (-1.12239316441942, 1.07834045778166),
        (-1.08010680807239, 1.12071809959924),
    ],
}  # fmt: skip


def errors(opt, method, digits):
    """Largest difference from the path in 50-digit arithmetic and from the given digits of it."""
    run = optlab.trajectory(problems.rosenbrock(), opt, [-1.2, 1.0], 100)
    return abs(run.x - exact_path(method)).max(), abs(run.x[ROWS] - digits).max()


@pytest.mark.claim("AD-5")
def test_rmsprop_with_nesterov_momentum(claim):
    exact, printed = errors(optlab.RMSProp(lr=0.001, rho=0.9, momentum=0.9, eps=0.0), "RMSProp", RMSPROP)
    claim.at_most("difference from 50-digit arithmetic, 100 steps", exact, 1e-10)
    claim.at_most("difference from the printed digits", printed, 1e-10)


@pytest.mark.claim("AD-6")
def test_adadelta_has_no_units_except_for_delta(claim):
    exact, printed = errors(optlab.AdaDelta(lr=1.0, rho=0.95, eps=1e-6), "AdaDelta", ADADELTA)
    claim.at_most("difference from 50-digit arithmetic, 100 steps", exact, 1e-10)
    claim.at_most("difference from the printed digits", printed, 1e-10)

    rosenbrock = problems.rosenbrock()

    def moved(c):
        x = np.array([-1.2, 1.0])
        opt = optlab.AdaDelta()
        state = opt.init(x)
        for _ in range(200):
            opt.step(x, c * rosenbrock.grad(x), state)
        return x - [-1.2, 1.0]

    change = {
        c: np.linalg.norm(moved(c) - moved(1)) / np.linalg.norm(moved(1)) for c in (10, 1e3, 1e6, 0.1, 0.01)
    }
    claim.at_most(
        "gradient times 10, 1e3, 1e6: change of the displacement",
        max(change[c] for c in (10, 1e3, 1e6)),
        1e-6,
    )
    claim.equal("from a tenth to a hundredth: growth of the change", change[0.01] / change[0.1], 100, 10)

    worst = 0.0
    for rho in (0.9, 0.95, 0.99, 0.999):
        window = round(1 / (1 - rho))
        opt = optlab.AdaDelta(rho=rho)
        x = np.zeros(1)
        state = opt.init(x)
        for _ in range(window):  # squares of 1 after nothing: r is their weight
            opt.step(x, np.ones(1), state)
        worst = max(worst, abs(state.r[0] - (1 - rho**window)))
    claim.at_most("|weight of the last 1/(1 - rho) squares - (1 - rho^(1/(1 - rho)))|", worst, 1e-12)
    claim.equal("rho = 0.999: that weight", state.r[0], 0.632, 1e-3)


@pytest.mark.claim("AD-7")
def test_adam_steps_by_its_rate_and_without_correction_too_far(claim):
    worst = max(abs(lengths(optlab.Adam(lr=1.0), g, 1000) - 1).max() for g in (0.1, -1.0, 30.0))
    claim.at_most("|step / rate - 1|, |g| >= 0.1, 1000 steps", worst, 1e-6)
    tiny = lengths(optlab.Adam(lr=1.0), 1e-3, 1000)
    claim.equal("g = 1e-3: largest error over delta / |g|", abs(tiny - 1).max() / 1e-5, 1.0, 0.01)

    t = np.arange(1, 4001)
    raw = lengths(optlab.Adam(lr=1.0, eps=0.0, form="uncorrected"), -3.0, 4000)
    formula = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
    claim.at_most(
        "uncorrected: difference from (1 - rho1^t) / sqrt(1 - rho2^t)", abs(raw - formula).max(), 1e-6
    )
    claim.equal("uncorrected: longest step over rate", raw.max(), 6.5685, 1e-4)
    claim.equal("uncorrected: at step", t[raw.argmax()], 12, 0)
    claim.equal("uncorrected: excess path of 1000 steps over rate", (raw[:1000] - 1).sum(), 997, 1)


@pytest.mark.claim("AD-8")
def test_nadam_in_three_forms(claim):
    found = {form: errors(optlab.NAdam(lr=0.002, form=form), form, digits) for form, digits in NADAM.items()}
    claim.at_most(
        "Dozat's form: difference from 50-digit arithmetic, 100 steps", found["published"][0], 1e-10
    )
    for form, (exact, printed) in found.items():
        claim.at_most(f"{form}: difference from 50-digit arithmetic", exact, 1e-10)
        claim.at_most(f"{form}: difference from the printed digits", printed, 1e-10)


@pytest.mark.claim("AD-9")
def test_adam_goes_to_the_worst_point_and_amsgrad_to_the_best(claim):
    def end(opt):
        return worst_stream(opt)[-600:].mean(axis=0)

    def rate(t):
        return 0.5 / math.sqrt(t + 1)

    adam = end(optlab.Adam(lr=rate, beta1=0.0, beta2=0.1))
    claim.equal("Adam, three starts: lowest mean of the last 600 points", adam.min(), 1.0, 0.02)
    amsgrad = end(optlab.AMSGrad(lr=rate, beta1=0.0, beta2=0.1))
    claim.equal("AMSGrad: highest", amsgrad.max(), -1.0, 0.02)
    for beta2 in (0.5, 0.9, 0.99):
        slow = end(optlab.Adam(lr=rate, beta1=0.0, beta2=beta2))
        claim.equal(f"Adam with rho2 = {beta2}: highest", slow.max(), -1.0, 0.02)


@pytest.mark.claim("AD-10")
def test_two_minima_of_one_cost_and_which_method_finds_which(claim):
    results = constructed()
    costs = [table[:, 0].max() for table in results.values()]
    claim.at_most("descent: largest test error of 10 seeds", results["descent, 0.1"][:, 1].max(), 0.0)
    adaptive = np.array([table for name, table in results.items() if name != "descent, 0.1"])
    claim.at_most("all methods: largest training cost", max(costs), 1e-25)
    claim.equal(
        "AdaGrad, Adam: largest |test error - share of negatives|",
        abs(adaptive[..., 1] - adaptive[..., 2]).max(), 0.0, 0.0,
    )  # fmt: skip
    claim.at_least("smallest share of negatives", adaptive[..., 2].min(), 0.25)


BEALE = {
    "SGD": optlab.SGD(lr=5e-4),
    "momentum": optlab.Momentum(lr=5e-4, momentum=0.9),
    "Nesterov": optlab.Nesterov(lr=5e-4, momentum=0.9),
    "AdaGrad": optlab.AdaGrad(lr=0.7),
    "AdaDelta": optlab.AdaDelta(lr=1.0, rho=0.95, eps=1e-6),
    "RMSProp": optlab.RMSProp(lr=0.01, rho=0.9, eps=1e-6),
}
SADDLE = {
    "SGD": optlab.SGD(lr=0.01),
    "momentum": optlab.Momentum(lr=0.01, momentum=0.9),
    "Nesterov": optlab.Nesterov(lr=0.01, momentum=0.9),
    "AdaGrad": optlab.AdaGrad(lr=0.1),
    "AdaDelta": optlab.AdaDelta(lr=1.0, rho=0.95, eps=1e-6),
    "RMSProp": optlab.RMSProp(lr=0.01, rho=0.9, eps=1e-6),
    "Adam": optlab.Adam(lr=0.01),
}


@pytest.mark.claim("AD-11")
def test_two_races(claim):
    def race(start):
        """When each method first is within 0.1, and how far it strayed until then over the first distance."""
        arrival, stray = {}, {}
        for name, opt in BEALE.items():
            away = np.linalg.norm(optlab.trajectory(problems.beale(), opt, start, 8000).x - [3, 0.5], axis=1)
            arrival[name] = np.argmax(away < 0.1) if (away < 0.1).any() else 10**9
            stray[name] = away[: arrival[name] + 1].max() / away[0]
        return arrival, stray

    adaptive, heavy = ("RMSProp", "AdaDelta", "AdaGrad"), ("momentum", "Nesterov")
    starts = [[2.5, 1.5], *np.random.default_rng(0).uniform([2.4, 1.4], [2.6, 1.6], (10, 2))]
    runs = [race(start)[0] for start in starts]
    ordered = sum(
        max(a[n] for n in adaptive) < min(a[n] for n in heavy) <= max(a[n] for n in heavy) < a["SGD"]
        for a in runs
    )
    claim.equal("contour, of 11 starts: adaptive before momentum before SGD", ordered, 11, 0)
    arrival, stray = race([2.5, 1.5])
    claim.at_least(
        "SGD's arrival over that of the slower momentum method",
        arrival["SGD"] / max(arrival[n] for n in heavy),
        5,
    )
    claim.at_most(
        "adaptive: largest distance on the way over the first", max(stray[n] for n in adaptive), 1.15
    )
    claim.at_least("momentum, Nesterov: the same, smaller of both", min(stray[n] for n in heavy), 1.2)

    saddle = problems.double_well(0.5)
    runs = {name: optlab.trajectory(saddle, opt, [1.0, 1e-6], 800) for name, opt in SADDLE.items()}
    others = [run for name, run in runs.items() if name != "SGD"]
    claim.at_most("saddle: SGD's distance after 300 steps", np.linalg.norm(runs["SGD"].x[300]), 0.01)
    claim.at_most(
        "saddle: highest cost of the others after 300 steps", max(run.fun[300] for run in others), -0.48
    )
    out = np.argmax(abs(runs["SGD"].x[:, 1]) > 0.1)
    claim.equal(
        "saddle: SGD's first step beyond 0.1, predicted ln(1e5) / ln(1.02)",
        out,
        math.log(1e5) / math.log(1.02),
        2,
    )
    stuck = max(abs(optlab.trajectory(saddle, opt, [1.0, 0.0], 800).x[:, 1]).max() for opt in SADDLE.values())
    claim.equal("started at y = 0: largest |y| of any method", stuck, 0.0, 0.0)
    noisy = optlab.trajectories(
        saddle, SADDLE["SGD"], np.tile([1.0, 0.0], (200, 1)), 800, every=1, noise=0.01, rng=0
    )
    left = np.argmax(abs(noisy.x[..., 1]) > 0.5, axis=0)
    claim.at_most("noise 0.01, SGD from y = 0: median step beyond 1/2", np.median(left[left > 0]), 450)
    claim.at_least("noise 0.01: of 200 chains, have left within 800 steps", np.sum(left > 0), 199)


def freedom(t, beta2=0.999):
    """Degrees of freedom of the average of squares after t steps, and in the end."""
    end = 2 / (1 - beta2) - 1
    return end - 2 * t * beta2**t / (1 - beta2**t), end


def variance(rho):
    """Variance of 1 / sqrt(mean of squares of normal numbers) with rho > 2 degrees of freedom."""
    return rho / (rho - 2) - rho / 2 * math.exp(2 * (lgamma((rho - 1) / 2) - lgamma(rho / 2)))


@pytest.mark.claim("AD-12")
def test_early_averages_of_squares_are_uncertain_and_radam_rectifies(claim):
    printed = {5: 0.017312, 6: 0.025821, 10: 0.048998, 50: 0.148152, 100: 0.215335, 1000: 0.645326}
    corrected = lengths(optlab.Adam(lr=1.0, eps=0.0), 2.0, 1000)
    rectified = lengths(optlab.RAdam(lr=1.0, eps=0.0), 2.0, 1000) / corrected
    worst = max(abs(rectified[t - 1] - r) for t, r in printed.items())
    claim.at_most("RAdam's step over Adam's: difference from r_t", worst, 1e-6)
    for form, first in (("published", 5), ("pytorch", 6)):
        # Before, the step is the mean gradient without a root.
        run = lengths(optlab.RAdam(lr=1.0, eps=0.0, form=form), 2.0, 10)
        claim.equal(f"{form}: first step with a root", 1 + np.argmax(run < 1), first, 0)

    limit = variance(freedom(1)[1])
    rng = np.random.default_rng(0)
    v, t, ratios = np.zeros(400_000), 0, {}
    for t in range(1, 101):
        v += 0.001 * (rng.standard_normal(len(v)) ** 2 - v)
        if t in (5, 10, 20, 50, 100):
            psi = np.sqrt((1 - 0.999**t) / v)
            ratios[t] = psi.var() / variance(freedom(t)[0])
    claim.equal("t = 5: simulated variance over formula", ratios.pop(5), 1.0, 0.1)
    claim.at_most(
        "t = 10 ... 100: |simulated variance over formula - 1|",
        max(abs(r - 1) for r in ratios.values()),
        0.05,
    )
    claim.equal("t = 5: variance over its limit", variance(freedom(5)[0]) / limit, 1007, 1)
    claim.equal("t = 100: variance over its limit", variance(freedom(100)[0]) / limit, 21.1, 0.1)
    claim.at_most("t = 2: degrees of freedom, the variance needs more than 2", freedom(2)[0], 2.0)
    for t, left in ((5, 0.30), (100, 0.98)):
        claim.equal(
            f"t = {t}: r_t^2 times variance over limit",
            printed[t] ** 2 * variance(freedom(t)[0]) / limit,
            left,
            0.01,
        )


@pytest.mark.claim("AD-13")
def test_the_mean_cancels_signs_and_the_mean_of_squares_does_not(claim):
    mean, size, speed = 0.0, 0.0, 0.0
    signs = 2.0 * (-1.0) ** np.arange(5000)
    for beta in (0.5, 0.9, 0.99):
        adam, heavy = optlab.Adam(beta1=beta), optlab.Momentum(lr=0.1, momentum=beta)
        x, y = np.zeros(1), np.zeros(1)
        state, other = adam.init(x), heavy.init(y)
        for g in signs:
            adam.step(x, np.array([g]), state)
            heavy.step(y, np.array([g]), other)
        mean = max(mean, abs(abs(state.m[0]) / 2 - (1 - beta) / (1 + beta)))
        size = max(size, abs(math.sqrt(state.v[0] / (1 - 0.999**5000)) / 2 - 1))
        speed = max(speed, abs(abs(other.v[0]) / 0.2 - 1 / (1 + beta)))
    claim.at_most("alternating signs: | |mean| / |g| - (1 - rho1)/(1 + rho1) |", mean, 1e-10)
    claim.at_most("alternating signs: | root of the mean square / |g| - 1 |", size, 1e-10)
    claim.at_most("momentum: | |v| / (lr |g|) - 1/(1 + alpha) |", speed, 1e-10)

    rng = np.random.default_rng(0)
    x, opt = np.zeros(10_000), optlab.Adam(beta1=0.9)
    state = opt.init(x)
    for _ in range(300):
        opt.step(x, rng.choice([-1.0, 1.0], len(x)), state)
    claim.equal(
        "random signs, rho1 = 0.9: root mean square of the mean",
        np.sqrt(np.mean(state.m**2)),
        math.sqrt(0.1 / 1.9),
        0.007,
    )
