"""The claims of the chapter "Mini-batches"."""

from functools import partial

import numpy as np
import pytest
from numpy.linalg import norm
from scipy import stats

from optlab import Batches, problems
from optlab.experiments import mini_batches as lab


@pytest.mark.claim("MB-1")
def test_error_of_the_mean_gradient_falls_with_the_root_of_the_batch_size(claim):
    G = lab.sample_gradients()
    n = len(G)
    sigma = np.sqrt(((G - G.mean(axis=0)) ** 2).sum(axis=1).mean())
    rng = np.random.default_rng(0)
    sizes = 2 ** np.arange(11)
    errors = np.array([lab.batch_error(G, m, rng) for m in sizes])
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    claim.equal("log-log slope, with replacement", slope, -0.5, 0.02)
    claim.at_most("largest |error sqrt(m)/sigma - 1|", abs(errors * np.sqrt(sizes) / sigma - 1).max(), 0.06)
    apart = 0.0
    for m in (64, 256, 400, 512):
        formula = sigma / np.sqrt(m) * np.sqrt((n - m) / (n - 1))
        apart = max(apart, abs(lab.batch_error(G, m, rng, replacement=False) / formula - 1))
    claim.at_most("without replacement: largest deviation from the formula", apart, 0.06)
    whole = lab.batch_error(G, n, rng, 10, replacement=False)
    claim.at_most("without replacement, m = N: error over sigma", whole / sigma, 1e-12)


@pytest.mark.claim("MB-2")
def test_sorted_samples_end_with_a_higher_test_error(claim):
    errors = lab.sorted_digits()
    given, once, each = errors.transpose(1, 0, 2)
    gap = given[:, -1] - np.maximum(once, each)[:, -1]
    claim.at_least("test error after 10 epochs, sorted minus shuffled: smallest of 10 splits", gap.min(), 0.2)
    claim.equal("sorted: test error after 1 epoch", given[:, 0].mean(), 0.9, 0.005)
    claim.at_most("|shuffled once - each epoch|", abs(once[:, -1].mean() - each[:, -1].mean()), 0.01)


@pytest.mark.claim("MB-3")
def test_time_of_an_update_grows_more_slowly_than_the_batch(claim):
    growth, epoch = [], []
    for hidden in (32, 256):
        one, many = lab.update_times(partial(lab.compiled_update, hidden=hidden), [1, 64])
        growth.append(many / one)
        epoch.append(many / 64 / one)
    claim.at_most("t(64) / t(1), larger of two networks", max(growth), 32)
    claim.at_most("time of an epoch, m = 64 over m = 1", max(epoch), 0.5)


@pytest.mark.claim("MB-4")
def test_small_batches_end_in_flatter_places(claim):
    claim.at_least("m = 1: share that ends in the flat valley", lab.ends_in_flat_valley(1), 0.95)
    claim.at_most("m = 16: the same", lab.ends_in_flat_valley(16), 0.05)
    apart = 0.0
    for m in (4, 8):
        spread = 1.25 * 0.4 / np.sqrt(m * (1 - 0.25**2))
        predicted = 1 - (1 - stats.norm.sf(2 / 3 / spread)) ** 500
        apart = max(apart, abs(lab.ends_in_flat_valley(m) - predicted))
    claim.at_most("m = 4, 8: |share - predicted|", apart, 0.05)

    small, middle, large = (
        np.array([lab.trained_digits(m, seed=seed) for seed in range(10)]) for m in (5, 20, 100)
    )
    costs = np.concatenate([small, middle, large])[:, 1]
    claim.at_most("digits: highest cost at the end", costs.max(), 0.05)
    claim.at_least("digits: lowest", costs.min(), 0.04)
    claim.at_least("mean lambda_max, m = 100 over m = 5", large[:, 2].mean() / small[:, 2].mean(), 1.4)
    ordered = (small[:, 2] < middle[:, 2]) & (middle[:, 2] < large[:, 2])
    claim.equal("runs of 10 in which it grows from 5 to 20 to 100", ordered.sum(), 10, 0)
    worse = small[:, 3] - large[:, 3]
    claim.at_least("test error, m = 5 minus m = 100", worse.mean(), -0.002)


@pytest.mark.claim("MB-5")
def test_stationary_excess_depends_on_the_ratio_of_rate_and_batch_size(claim):
    ridge, sizes = lab.Ridge(), np.array([1, 2, 4, 8, 16, 32, 64])
    excess = np.array([lab.stationary_excess(0.005 * m, m).mean() for m in sizes])
    small = 0.005 * sizes * ridge.largest <= 1 / 3
    apart = abs(excess[small] / excess[0] - 1).max()
    claim.at_most("m up to 16: largest |excess over that of m = 1, minus 1|", apart, 0.15)
    claim.at_least("m = 64: excess over that of m = 1", excess[-1] / excess[0], 1.5)
    exact = np.array([ridge.hover(0.005 * m, m) for m in sizes])
    claim.at_most("largest deviation from the exact second moments", abs(excess / exact - 1).max(), 0.06)


@pytest.mark.claim("MB-6")
def test_the_inverse_hessian_amplifies_the_relative_error_by_at_most_kappa(claim):
    worst, above, typical = 0.0, 0.0, []
    for kappa in (10.0, 100.0, 1e4):
        rng = np.random.default_rng(0)
        H = problems.quadratic(eigenvalues=np.geomspace(1, kappa, 20), rotation=rng).hess(np.zeros(20))
        vectors = np.linalg.eigh(H)[1]

        def amplified(g, error, H=H):
            """Relative error of H^-1 (g + error) over that of g + error; columns."""
            moved = norm(np.linalg.solve(H, error), axis=0) / norm(np.linalg.solve(H, g), axis=0)
            return moved / (norm(error, axis=0) / norm(g, axis=0))

        worst = max(worst, abs(amplified(vectors[:, -1:], 0.01 * vectors[:, :1])[0] / kappa - 1))
        random = amplified(rng.standard_normal((20, 1000)), rng.standard_normal((20, 1000)))
        above = max(above, random.max() / kappa)
        typical.append(np.median(random))
    claim.at_most("worst direction: |amplification / kappa - 1|", worst, 1e-9)
    claim.at_most("random directions: largest amplification over kappa", above, 1.0)
    claim.at_least("random directions: smallest median of three", min(typical), 0.67)
    claim.at_most("random directions: largest median", max(typical), 1.5)

    rng, g, inverse = np.random.default_rng(0), np.array([1.0, 0.0]), np.diag([0.1, 1.0])

    def relative(m, M):
        errors = rng.standard_normal((20_000, 2)) / np.sqrt(m) @ M
        return np.sqrt((errors**2).sum(axis=1).mean()) / norm(M @ g)

    claim.equal("kappa = 10, m = 100: relative error of g", relative(100, np.eye(2)), 0.1414, 0.007)
    claim.equal("m = 100: of the step", relative(100, inverse), 1.005, 0.05)
    claim.equal("m = 10 000: of the step", relative(10_000, inverse), 0.1005, 0.005)


@pytest.mark.claim("MB-7")
def test_the_cost_of_a_sample_before_its_update_is_unbiased_on_the_first_pass_only(claim):
    def z(gap):
        """Mean over the repetitions in standard errors, for each epoch."""
        return gap.mean(axis=0) / gap.std(axis=0, ddof=1) * np.sqrt(len(gap))

    again, population = lab.passes()
    fresh, _ = lab.passes(fresh=True)
    claim.at_most("first pass: |gap| in standard errors", abs(z(again)[0]), 4)
    claim.at_least("second pass: gap in standard errors", z(again)[1], 10)
    claim.at_least("later passes: smallest", z(again)[2:].min(), 10)
    claim.at_most("fresh samples, 20 epochs: largest |gap| in standard errors", abs(z(fresh)).max(), 4)
    mean = population.mean(axis=0)
    claim.at_most("population cost, epoch 5 over epoch 1", mean[4] / mean[0], 0.9)
    claim.at_least("epoch 20 over epoch 5", mean[19] / mean[4], 1.02)


@pytest.mark.claim("MB-8")
def test_copies_do_not_change_the_gradient_of_a_batch(claim):
    G = lab.sample_gradients()
    block, one = G[:32], G[:1]
    apart = 0.0
    for rows, order, size in ((np.tile(block, (50, 1)), "given", 32), (np.tile(one, (1000, 1)), "once", 1)):
        g = rows.mean(axis=0)
        for batch in Batches(rows, size=size, order=order, rng=None if order == "given" else 0):
            apart = max(apart, norm(batch.mean(axis=0) - g) / norm(g))
    claim.at_most("each distinct row equally often: relative error", apart, 1e-12)

    rng = np.random.default_rng(0)
    errors = [lab.batch_error(np.tile(G, (copies, 1)), 32, rng, 2000) for copies in (1, 10, 100)]
    claim.at_most(
        "random 32 of 1, 10, 100 copies: largest error over smallest", max(errors) / min(errors), 1.05
    )


@pytest.mark.claim("MB-9")
def test_growing_the_batch_replaces_lowering_the_rate(claim):
    decay, growth = (lab.staged(plan)[2].mean() for plan in (lab.DECAY, lab.GROWTH))
    claim.equal("final excess, larger batch over smaller rate", growth / decay, 1.0, 0.2)
    updates = [
        sum(n // m for n, (m, _) in zip(lab.SAMPLES, plan, strict=True)) for plan in (lab.DECAY, lab.GROWTH)
    ]
    claim.equal("updates with smaller rates", updates[0], 8000, 0)
    claim.equal("with larger batches", updates[1], 2750, 0)
