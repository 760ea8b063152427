"""The claims of the chapter "Batch normalization"."""

from itertools import combinations
from math import fsum, prod

import numpy as np
import pytest

from optlab import nn, normalization
from optlab.experiments.batch_normalization import (
    SHIFTS,
    SIZES,
    apart,
    backward,
    batch_sizes,
    before_or_after,
    check_problem,
    feature_forms,
    features,
    forward,
    scaled,
    shifted,
    steps_to_fit,
    variance_ratios,
)

SEEDS = range(10)
DELTA, TINY = 1e-5, 1e-30


@pytest.mark.claim("BN-1")
def test_a_common_scale_makes_the_bowl_round(claim):
    kappas, steps, gaps = [], [], []
    for seed in range(5):
        X, y = features(seed)
        table = np.array([steps_to_fit(F, y) for F in feature_forms(X).values()])
        kappas.append(table[:, 0])
        steps.append(table[:, 1])
        wild = X * [4e-2, 0.2, 1, 5, 25]
        calm = normalization.feature_normalization(wild)[0]
        vectors = np.linalg.eigh(calm.T @ calm)
        by_eigenvectors = calm @ vectors[1] / np.sqrt(vectors[0] / len(X))
        covariances = [Z.T @ Z / len(Z) for Z in (normalization.pca_whitening(wild)[0], by_eigenvectors)]
        gaps.append([abs(C - np.eye(5)).max() for C in covariances])
    raw, _, standardized, white = np.transpose(kappas)
    claim.at_least("raw: smallest condition number of five data sets", raw.min(), 1000)
    claim.at_most("standardized: largest", standardized.max(), 8)
    claim.at_most("whitened: largest, less 1", white.max() - 1, 1e-10)
    fewer = np.array([row[0] / row[2] for row in steps]).min()
    claim.at_least("steps, raw over standardized: smallest ratio", fewer, 100)
    by_svd, after_scaling = np.max(gaps, axis=0)
    claim.at_most("deviations 0.01 to 100, singular values: largest |covariance - I|", by_svd, 1e-10)
    claim.at_most("eigenvectors after standardizing: the same", after_scaling, 1e-10)


@pytest.mark.claim("BN-2")
def test_a_step_in_a_deep_chain_breaks_its_promise(claim):
    rng = np.random.default_rng(0)
    worst, slopes = 0.0, []
    for depth in range(2, 13):
        for _ in range(20):
            w, x = rng.uniform(0.5, 1.5, depth) * rng.choice([-1, 1], depth), rng.uniform(0.5, 2)
            g = np.array([x * prod(np.delete(w, i)) for i in range(depth)])
            polynomial = np.array([x])
            for factor in zip(w, -g, strict=True):
                polynomial = np.convolve(polynomial, factor)
            terms = [x * g[i] * g[j] * prod(np.delete(w, [i, j])) for i, j in combinations(range(depth), 2)]
            worst = max(worst, abs(polynomial[2] - sum(terms)) / sum(map(abs, terms)))
    claim.at_most("epsilon^2: largest relative error of the sum over pairs", worst, 1e-12)
    for w in (np.array([0.8, 1.1, 0.9, 1.2, 1.0]), np.linspace(0.7, 1.3, 8)):
        g = prod(w) / w
        second = sum(g[i] * g[j] * prod(np.delete(w, [i, j])) for i, j in combinations(range(len(w)), 2))
        steps = np.geomspace(1e-4, 1e-3, 5)
        left = [prod(w - e * g) - prod(w) + e * g @ g - e**2 * second for e in steps]
        slopes.append(np.polyfit(np.log(steps), np.log(np.abs(left)), 1)[0])
    claim.equal(
        "what is left: exponent of epsilon, farthest from 3", max(slopes, key=lambda s: abs(s - 3)), 3, 0.05
    )

    def real_over_promised(w, depth, lr=0.01):
        g = w ** (depth - 1)
        return ((w - lr * g) ** depth - w**depth) / (-lr * depth * g**2)

    gaps = []
    for w, depth in ((0.5, 10), (1.0, 10), (1.5, 10), (1.5, 20), (1.2, 5)):
        s = 0.01 * w ** (depth - 2)
        gaps.append(abs(real_over_promised(w, depth) / ((1 - (1 - s) ** depth) / (depth * s)) - 1))
    claim.at_most("equal weights: largest relative error of the formula", max(gaps), 1e-12)
    for w, kept in ((0.5, 0.9998), (1.0, 0.956), (1.5, 0.370)):
        claim.equal(f"10 factors of {w}: real over promised change", real_over_promised(w, 10), kept, 5e-4)
    claim.at_most("20 factors of 1.5: the same", real_over_promised(1.5, 20), -1e20)


@pytest.mark.claim("BN-3")
def test_forward_pass_and_statistics_are_those_of_the_definition(claim):
    passes, statistics, affine = 0.0, 0.0, 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        scale, shift, gamma, beta = rng.uniform(0.1, 10, (4, 7))
        mean, var = np.zeros(7), np.ones(7)
        expected = np.zeros(7), np.ones(7)
        for _ in range(3):
            x = rng.standard_normal((32, 7)) * scale + shift
            y, _ = normalization.batch_norm(x, gamma, beta, running_mean=mean, running_var=var)
            for j, column in enumerate(x.T.tolist()):
                mu = fsum(column) / 32
                sigma2 = fsum((value - mu) ** 2 for value in column) / 32
                root = (sigma2 + 1e-5) ** 0.5
                exact = [gamma[j] * (value - mu) / root + beta[j] for value in column]
                passes = max(passes, apart(y[:, j], np.array(exact)))
                expected[0][j] += 0.1 * (mu - expected[0][j])
                expected[1][j] += 0.1 * (sigma2 * 32 / 31 - expected[1][j])
        statistics = max(statistics, apart(mean, expected[0]), apart(var, expected[1]))

        def f(x, stored=(gamma, beta, mean, var)):
            return normalization.batch_norm_inference(x, *stored)

        a, b, t = rng.standard_normal((5, 7)), rng.standard_normal((5, 7)), rng.uniform(-1, 2)
        affine = max(affine, apart(f(t * a + (1 - t) * b), t * f(a) + (1 - t) * f(b)))
    claim.at_most("forward pass: largest relative error", passes, 1e-12)
    claim.at_most("running statistics after three batches: the same", statistics, 1e-12)
    claim.at_most("inference: largest deviation from an affine map", affine, 1e-12)
    for m in (2, 4, 8, 16, 32):
        corrected, plain = variance_ratios(m)
        bound = 3 * corrected.std(ddof=1) / len(corrected) ** 0.5
        claim.equal(f"batches of {m}: corrected variance over that of all", corrected.mean(), 1, bound)
        claim.equal(f"batches of {m}: uncorrected", plain.mean(), (m - 1) / m, bound)


@pytest.mark.claim("BN-4")
def test_every_partial_derivative_is_right(claim):
    complex_step, differences, kernel = 0.0, 0.0, 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        x, R = rng.standard_normal((12, 3)) * [0.5, 1, 3] + [0, 1, -2], rng.standard_normal((12, 3))
        gamma, beta = rng.standard_normal((2, 3))
        y, *between = forward(x, gamma, beta, DELTA)
        dy = R * np.cos(y)
        found = backward(dy, gamma, *between)

        def from_statistics(mean, var, x=x, gamma=gamma, beta=beta, R=R):
            """The loss with mean and variance as variables of their own, the variance a function of the mean
            and of a number that is added."""
            centered = x - mean
            spread = (centered * centered).mean(axis=0) + var
            return (R * np.sin(gamma * centered / np.sqrt(spread + DELTA) + beta)).sum()

        def loss(x, gamma, beta, R=R):
            return (R * np.sin(forward(x, gamma, beta, DELTA)[0])).sum()

        places = {"x": (x, 0), "gamma": (gamma, 1), "beta": (beta, 2)}
        for name, (value, k) in places.items():
            slope = np.empty(value.shape)
            for place in np.ndindex(value.shape):
                arguments = [x, gamma, beta]
                arguments[k] = value.astype(complex)
                arguments[k][place] += 1j * TINY
                slope[place] = loss(*arguments).imag / TINY
            complex_step = max(complex_step, apart(found[name], slope))
        mean = x.mean(axis=0)
        for j in range(3):
            unit = np.arange(3) == j
            by_mean = from_statistics(mean + 1j * TINY * unit, 0).imag / TINY
            by_var = from_statistics(mean, 1j * TINY * unit).imag / TINY
            scale = max(abs(found["mean"]).max(), abs(found["var"]).max())
            complex_step = max(
                complex_step, abs(by_mean - found["mean"][j]) / scale, abs(by_var - found["var"][j]) / scale
            )
        slope = np.empty(x.shape)
        for place in np.ndindex(x.shape):
            unit = np.zeros(x.shape)
            unit[place] = 1e-6
            slope[place] = (loss(x + unit, gamma, beta) - loss(x - unit, gamma, beta)) / 2e-6
        differences = max(differences, apart(found["x"], slope))
        _, cache = normalization.batch_norm(x, gamma, beta, eps=DELTA)
        for name, gradient in zip(
            ("x", "gamma", "beta"), normalization.batch_norm_backward(dy, cache), strict=True
        ):
            kernel = max(kernel, apart(gradient, found[name]))
        checked = check_problem(seed)
        assert apart(checked[2](checked[1]), found["x"]) == 0
    claim.at_most("complex step: largest relative error of a formula", complex_step, 1e-12)
    claim.at_most("central differences, h = 1e-6: the same for dx", differences, 1e-6)
    claim.at_most("kernel against the formulas: largest relative difference", kernel, 1e-12)


@pytest.mark.claim("BN-5")
def test_the_bias_is_absorbed(claim):
    outputs, slopes, rounding = 0.0, 0.0, 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        a, R = rng.standard_normal((64, 10)), rng.standard_normal((64, 5))
        plain = nn.Sequential(nn.Dense(10, 5, bias=False, rng=rng), nn.BatchNorm(5))
        biased = nn.Sequential(nn.Dense(10, 5, rng=rng), nn.BatchNorm(5))
        W = plain.params[0]
        y = plain.forward(a)
        for size in (1.0, 1e6):
            biased.params = [W, size * rng.standard_normal(5), *plain.params[1:]]
            gap = apart(biased.forward(a), y)
            if size == 1:
                outputs = max(outputs, gap)
                biased.backward(R)
                slopes = max(slopes, abs(biased.grads[1]).max() / abs(R).sum(axis=0).max())
            else:
                rounding = max(rounding, gap)
    claim.at_most("bias of order 1: largest relative difference of the outputs", outputs, 1e-12)
    claim.at_most("gradient by the bias, over the sum of |dy|", slopes, 1e-12)
    claim.at_most("bias of order 1e6: difference of the outputs", rounding, 1e-8)
    claim.at_least("the same", rounding, 1e-12)


@pytest.mark.claim("BN-6")
def test_small_batches_and_shifted_data_do_harm(claim):
    plain, running, _ = batch_sizes()
    two, eight = SIZES.index(2), SIZES.index(8)
    ratio = (running[:, two] / running[:, eight]).min()
    claim.at_least("error at m = 2 over that at m = 8: smallest of ten seeds", ratio, 3)
    means = 100 * plain[:, : SIZES.index(32) + 1].mean(axis=0)
    claim.at_most("without normalization, m = 2 to 32: range of the mean error, points", np.ptp(means), 1.5)

    rng = np.random.default_rng(0)
    pairs = [normalization.batch_norm(rng.standard_normal((2, 5)), eps=1e-30)[0] for _ in range(100)]
    claim.at_most(
        "m = 2: largest distance of a normalized value from 1 and -1", abs(np.abs(pairs) - 1).max(), 1e-12
    )
    sizes = 2 ** np.arange(7)
    spread = [rng.standard_normal((4000, m)).mean(axis=1).std() for m in sizes]
    slope = np.polyfit(np.log(sizes), np.log(spread), 1)[0]
    claim.equal("deviation of the batch mean: exponent of m", slope, -0.5, 0.02)

    _, stored, own = 100 * shifted()[0]
    half, none = SHIFTS.index((0.5, 0.0)), SHIFTS.index((1.0, 0.0))
    rise = (stored[:, half] - stored[:, none]).min()
    claim.at_least("half the contrast, running statistics: smallest rise, points", rise, 8)
    claim.at_most(
        "statistics of the test images: largest change", abs(own[:, half] - own[:, none]).max(), 0.5
    )


@pytest.mark.claim("BN-7")
def test_the_size_of_weights_and_inputs_does_not_matter(claim):
    factors = np.geomspace(1e-3, 1e3, 7)
    worst = max(
        max(*scaled(factor, 1.0, 1e-30, seed), *scaled(1.0, factor, 1e-30, seed))
        for factor in factors
        for seed in SEEDS
    )
    claim.at_most("delta = 1e-30: largest relative change", worst, 1e-12)
    cosine = 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        net = nn.Sequential(nn.Dense(10, 5, bias=False, rng=rng), nn.BatchNorm(5, eps=1e-30))
        a, R = rng.standard_normal((64, 10)), rng.standard_normal((64, 5))
        net.backward(R * np.cos(net.forward(a)))
        W, dW = net.params[0], net.grads[0]
        size = np.linalg.norm(W, axis=0) * np.linalg.norm(dW, axis=0)
        cosine = max(cosine, (abs((W * dW).sum(axis=0)) / size).max())
    claim.at_most("largest |cosine| of a unit's weights and their gradient", cosine, 1e-12)
    large = max(scaled(10.0, 1.0, 1e-5, seed)[0] for seed in SEEDS)
    small = min(scaled(1e-3, 1.0, 1e-5, seed)[0] for seed in SEEDS)
    claim.at_most("delta = 1e-5, lambda = 10: largest change of the outputs", large, 1e-4)
    claim.at_least("lambda = 1e-3: smallest of ten seeds", small, 0.1)


@pytest.mark.claim("BN-8")
def test_before_or_after_the_activation_makes_no_difference_in_the_end(claim):
    tables = before_or_after()
    gap = 100 * (tables["after"][1, :, 19] - tables["before"][1, :, 19])
    error = gap.std(ddof=1) / len(gap) ** 0.5
    claim.at_most("epoch 20: |mean paired difference| over its standard error", abs(gap.mean()) / error, 3)
    claim.at_most("the same in points", abs(gap.mean()), 0.5)
    none, before, after = (100 * tables[name][1, :, 19].mean() for name in ("none", "before", "after"))
    claim.at_least("without normalization less the worse of both, points", none - max(before, after), 0.5)
    ahead = tables["before"][0, :, 4] - tables["after"][0, :, 4]
    lead = ahead.mean() / (ahead.std(ddof=1) / len(ahead) ** 0.5)
    claim.at_least("epoch 5: training cost, before less after, over its standard error", lead, 3)
