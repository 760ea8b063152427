"""The claims of the chapter "Why batch normalization works"."""

import numpy as np
import pytest

from optlab.experiments.why_batch_norm_works import (
    along_the_step,
    explosion,
    gradient_correlation,
    growth,
    half_space_race,
    least_squares_problem,
    quotient,
    quotient_descent,
    rayleigh_rate,
    smoothness_identities,
    training,
    unit_by_unit,
)


def last(norm, kind="test error", watch=False):
    """In percent after 20 epochs, one number for each of ten seeds."""
    return 100 * training(norm, watch=watch)[kind][:, -1]


@pytest.mark.claim("WB-1")
def test_noise_after_the_normalization_does_not_undo_its_success(claim):
    names = "none", "batch", "noise"
    plain, batch, noise = (last(name, watch=True) for name in names)
    shift = {name: training(name, watch=True)["shift"].mean(axis=1) for name in names}
    claim.at_least("shift, noise over plain: least of ten seeds", (shift["noise"] / shift["none"]).min(), 3.0)
    claim.at_least("shift, plain over BN: least", (shift["none"] / shift["batch"]).min(), 10.0)
    # The standard errors of the two means are 0.27 and 0.19 points.
    claim.at_least("test error, plain - noise: mean, in points", (plain - noise).mean(), 0.6)
    claim.at_most("test error, noise - BN: mean, in points", (noise - batch).mean(), 0.7)
    plain, noise = (last(name, "training error", watch=True) for name in ("none", "noise"))
    claim.at_most("training error, noise over plain: largest", (noise / plain).max(), 0.6)


@pytest.mark.claim("WB-2")
def test_normalization_lowers_or_raises_the_correlation_of_gradients(claim):
    def mean(depth, norm, lr, centered):
        return gradient_correlation(depth, norm, lr, centered).mean(axis=1)

    deep = mean(6, "none", 0.01, True) - mean(6, "batch", 0.01, True)
    claim.at_least("six layers, centered, rate 0.01: plain - BN, least of ten seeds", deep.min(), 0.005)
    shallow = mean(3, "batch", 0.1, False) - mean(3, "none", 0.1, False)
    claim.at_least("three layers, uncentered, rate 0.1: BN - plain, least", shallow.min(), 0.1)


@pytest.mark.claim("WB-3")
def test_the_smoothness_theorems_are_equalities(claim):
    exact, usual = smoothness_identities(0.0), smoothness_identities(1e-5)
    first = abs(exact["left"] - exact["right"]) / exact["size"]
    claim.at_most("delta = 0, |dx|^2: largest relative error", first.max(), 1e-10)
    second = abs(exact["left 2"] - exact["right 2"]) / exact["size 2"]
    claim.at_most("delta = 0, curvature along dx: largest relative error", second.max(), 1e-10)
    over = (usual["left"] - usual["right"]) / usual["size"]
    claim.at_most("delta = 1e-5: largest excess of |dx|^2 over its bound", over.max(), 1e-12)

    def ratios(lr, centered):
        """Plain over BN: range of the cost, change of the gradient, effective smoothness, for each seed."""
        plain, batch = (along_the_step(norm, lr, centered).mean(axis=2) for norm in ("none", "batch"))
        return plain / batch

    claim.at_least("uncentered, rate 0.1: plain over BN, least of 3 x 10", ratios(0.1, False).min(), 2.0)
    claim.at_most("centered, rate 0.01: the same, largest", ratios(0.01, True).max(), 0.8)


@pytest.mark.claim("WB-4")
def test_other_norms_than_the_euclidean_do_as_well(claim):
    two = last("batch", watch=True)
    none = last("none", watch=True).mean()
    names = {"p = 1": "p = 1", "p = inf, gamma = 2.5": "p = inf from gamma = 2.5"}
    means = {text: last(name).mean() for name, text in names.items()}
    for text, mean in means.items():
        claim.equal(f"{text}: mean test error - that of p = 2, in points", mean - two.mean(), 0.0, 0.6)
    claim.at_least("none - the worst of the three", none - max(two.mean(), *means.values()), 0.7)
    slow = training("p = inf")["test error"][:, 4] - training("p = inf, gamma = 2.5")["test error"][:, 4]
    claim.at_least("five epochs, p = inf: gamma = 1 - gamma = 2.5, mean", 100 * slow.mean(), 1.5)


@pytest.mark.claim("WB-5")
def test_gradients_explode_by_pi_over_pi_minus_one_a_layer(claim):
    table = explosion()
    factor = {name: growth(rows).mean() for name, rows in table.items()}
    limit = np.pi / (np.pi - 1)
    claim.equal("batch of 1024: factor over pi/(pi - 1)", factor["1024"] / limit, 1.0, 0.03)
    claim.at_least("8 over 32", factor["8"] / factor["32"], 1.05)
    claim.at_least("32 over 128", factor["32"] / factor["128"], 1.01)
    # The standard error of this difference is 0.0025.
    claim.at_least("128 - 1024", factor["128"] - factor["1024"], 0.0)

    def total(rows):
        """Over the 29 inner layers."""
        return rows[:, 0] / rows[:, -2]

    claim.at_least("128, 29 layers: growth, least of 3 seeds", total(table["128"]).min(), 10_000)
    claim.at_most("the same with skip connections, largest", total(table["skip"]).max(), 100)


@pytest.mark.claim("WB-6")
def test_least_squares_in_normalized_parameters_keeps_the_convex_rate(claim):
    ratios = [quotient_descent(kappa)["ratio"].max() for kappa in (2, 10, 100)]
    ratios.append(quotient_descent(1000, seeds=5)["ratio"].max())
    claim.at_most("gap over (1 - 1/kappa)^2t times the first gap, largest", max(ratios), 1 + 1e-9)

    rng = np.random.default_rng(0)
    worst = []
    for _ in range(50):
        A, B = (X @ X.T / 8 for X in rng.standard_normal((2, 8, 16)))
        worst.append(rayleigh_rate(A, B, rng.standard_normal(8)).max())
    claim.equal("preconditioned ascent, 50 pairs: largest gap per step over q^2", max(worst), 1.0, 1e-6)
    left = []
    for seed in range(20):
        S, u, w = least_squares_problem(100.0, seed)
        best, rho = -u @ np.linalg.solve(S, u), quotient(w, S, u)
        w = w + (np.linalg.solve(S, u) * (u @ w) + rho * w) / -rho
        left.append(quotient(w, S, u) / best - 1)
    claim.at_most("the same on least squares: relative gap after one step", abs(np.array(left)).max(), 1e-12)


@pytest.mark.claim("WB-7")
def test_half_spaces_are_learned_at_the_rate_of_least_squares(claim):
    race = half_space_race(10)
    claim.at_most("fitted factor of |grad| per step, largest of ten seeds", race["factor"].max(), 0.901)
    claim.at_most("equation for the gradient by w: largest relative error", race["identity"].max(), 1e-8)
    claim.at_most("gap of the quotient over its bound, largest", race["ratio"].max(), 1 + 1e-6)
    claim.at_most("GDNP over descent at the safe step: largest", (race["GDNP"] / race["safe"]).max(), 0.25)


@pytest.mark.claim("WB-8")
def test_units_align_one_by_one_if_the_others_start_at_zero(claim):
    zero, random = unit_by_unit(0.0), unit_by_unit(1.0)
    t = np.arange(zero["gaps"].shape[-1])
    # Below 1e-9 the gap is rounding.
    ratio = np.where(zero["gaps"] > 1e-9, zero["gaps"] / 0.9 ** (2 * t), 0.0)[..., 1:]
    claim.at_most("others at zero: gap over bound, largest of 3 seeds x 2 units", ratio.max(), 1 + 1e-6)
    claim.at_most("others at zero: last gradient, largest", zero["gradient"].max(), 1e-5)
    claim.at_most("other at a random weight: last gradient, largest", random["gradient"].max(), 1e-4)
    claim.at_most("there: quotient over its optimum, largest", random["quotient"].max(), 0.95)
