"""The claims of the chapter "Parameter initialization"."""

import numpy as np
import pytest

from optlab import initializers, losses
from optlab.experiments.initialization import (
    growth,
    head_start,
    imbalanced,
    network,
    recurrence,
    separation,
    training,
    trial,
    twins,
)


@pytest.mark.claim("IN-1")
def test_equal_units_stay_equal_and_a_rounding_separates_them(claim):
    runs = [twins(7, seed=seed) for seed in range(3)]
    claim.equal(
        "largest difference of seven equal units in 1000 steps", max(g.max() for g, _ in runs), 0.0, 0
    )
    claim.at_least(
        "their cost, mean of the last 50 batches, least of 3 seeds", min(c[-50:].mean() for _, c in runs), 1.0
    )
    others = [twins(7, alike=False, seed=seed)[1][-50:].mean() for seed in range(3)]
    claim.at_most("cost from a random start, largest of 3 seeds", max(others), 0.2)
    nudged = [twins(7, nudge=2**-52, seed=seed)[0][-1] for seed in range(3)]
    claim.at_least("difference after 1000 steps that began as 2^-52, least of 3 seeds", min(nudged), 1.0)
    x = np.linspace(-2, 2, 41)
    y = np.exp(-(x**2))

    def apart(w, b, v):
        """Largest difference of two units after one step, beyond the one before it."""
        h = np.tanh(np.outer(x, w) + b)
        error = h @ v - y
        back = np.outer(error, v) * (1 - h**2)
        return max(abs(np.diff(g)).max() for g in (x @ back, back.sum(axis=0), error @ h)) / len(x)

    same, other = np.array([0.5, 0.5]), np.array([0.5, -0.5])
    claim.at_least("gradients of units with equal weights in only", apart(same, same, other), 0.01)
    claim.at_least("gradients of units with equal weights out only", apart(other, same, same), 0.01)
    claim.equal("gradients of equal units", apart(same, same, same), 0.0, 0)


def factors(table, first=0):
    """Growth a layer for each setting: slopes of lines through the logarithms, the mean of all seeds."""
    layers = np.arange(table.shape[-1] - first)
    rows = np.log(table[..., first:]).reshape(-1, len(layers))
    return np.exp(np.polyfit(layers, rows.T, 1)[0].reshape(table.shape[:-1])).mean(axis=1)


def chi(gain):
    """The factor of squared distances in wide tanh layers."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()
    q = 1.0
    for _ in range(500):
        q = gain**2 * weights @ np.tanh(np.sqrt(q) * nodes) ** 2
    return gain**2 * weights @ (1 - np.tanh(np.sqrt(q) * nodes) ** 2) ** 2


@pytest.mark.claim("IN-2")
def test_signals_grow_by_the_predicted_factors(claim):
    variances = np.array([1 / 3, 1, 2, 3])
    forward, backward = growth("ReLU", tuple(variances))
    claim.at_most(
        "ReLU: |factor / predicted - 1|, forward", abs(factors(forward) / (variances / 2) - 1).max(), 0.05
    )
    claim.at_most("ReLU: backward", abs(1 / factors(backward) / (variances / 2) - 1).max(), 0.05)
    variances = np.array([0.25, 1, 4])
    forward, backward = growth(None, tuple(variances))
    claim.at_most("linear: forward", abs(factors(forward) / variances - 1).max(), 0.05)
    claim.at_most("linear: backward", abs(1 / factors(backward) / variances - 1).max(), 0.05)
    gains = 0.5, 0.9, 1.5, 2.0, 3.0
    predicted = np.array([chi(g) for g in gains])
    apart, backward = separation(gains)
    claim.at_most("tanh: |factor / chi - 1|, distances", abs(factors(apart, 5) / predicted - 1).max(), 0.05)
    claim.at_most("tanh: gradients", abs(1 / factors(backward, 5) / predicted - 1).max(), 0.05)
    for gain in (2.0, 3.0):
        claim.at_least(
            f"recurrent, gain {gain}: least distance of ten networks", recurrence(gain)[:, -1].min(), 0.5
        )
    claim.at_most("recurrent, gain 0.9: largest distance", recurrence(0.9)[:, -1].max(), 1e-12)


@pytest.mark.claim("IN-3")
def test_rules_have_their_variances_and_start_deep_networks(claim):
    fan_in, fan_out = 300, 400
    rules = {
        initializers.uniform: 1 / (3 * fan_in),
        initializers.glorot_uniform: 2 / (fan_in + fan_out),
        initializers.glorot_normal: 2 / (fan_in + fan_out),
        initializers.he_uniform: 2 / fan_in,
        initializers.he_normal: 2 / fan_in,
    }
    worst = max(
        abs(rule((fan_in, fan_out), rng=seed).var() / variance - 1)
        for rule, variance in rules.items()
        for seed in range(10)
    )
    claim.at_most("|variance / formula - 1|, five rules, ten seeds", worst, 0.02)
    W = initializers.orthogonal((fan_in, fan_out), rng=0)
    claim.at_most("orthogonal: error of W W^T", abs(W @ W.T - np.eye(fan_in)).max(), 1e-12)
    W = initializers.orthogonal((fan_out, fan_in), rng=0)
    claim.at_most(
        "orthogonal: error of W^T W, more inputs than units", abs(W.T @ W - np.eye(fan_in)).max(), 1e-12
    )
    W = initializers.sparse((fan_in, fan_out), nonzeros=15, rng=0)
    counts = np.count_nonzero(W, axis=0)
    claim.equal("sparse: units without exactly 15 weights", np.sum(counts != 15), 0, 0)
    claim.equal("sparse: mean square, over k / n_in", (W**2).mean() / (15 / fan_in), 1.0, 0.1)
    ends = {
        rule: training(rule, "ReLU", 10)[:, -1].mean() for rule in ("uniform", "Glorot", "He", "orthogonal")
    }
    claim.at_least("ten ReLU layers: cost with uniform", ends.pop("uniform"), 2.0)
    for rule, cost in ends.items():
        claim.at_most(f"with {rule}", cost, 1.5)


@pytest.mark.claim("IN-4")
def test_output_biases_predict_the_frequencies(claim):
    X, y, p = imbalanced()
    entropy = -(p * np.log(p)).sum()
    wrong, costs = {}, {}
    for name, std in (("zero", 0.0), ("small", 0.01), ("Glorot", None)):
        wrong[name], costs[name] = [], []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            model = network(1, 32, "tanh", initializers.glorot_uniform, rng)
            output = model[2]
            if std is not None:
                output.W[:] = initializers.normal((32, 10), std=std, rng=rng)
            output.b[:] = initializers.output_bias(p)
            logits = model.forward(X)
            wrong[name].append(abs(losses.softmax(logits) - p).max())
            costs[name].append(losses.cross_entropy(logits, y)[0])
    claim.at_most("zero weights: largest error of a probability", max(wrong["zero"]), 1e-12)
    claim.at_most("|cost - entropy|", max(abs(np.array(costs["zero"]) - entropy)), 1e-12)
    claim.at_most("N(0, 0.01^2): largest error of a probability, ten seeds", max(wrong["small"]), 0.05)
    claim.at_least("Glorot: the same", max(wrong["Glorot"]), 0.3)
    plain, biased = head_start(0.05).mean(axis=1)
    claim.at_least("lead in the cost after one step", (plain - biased)[1], 0.5)
    claim.at_most("after 100 steps", (plain - biased)[100], 0.1)


@pytest.mark.claim("IN-5")
def test_a_search_finds_a_better_scale(claim):
    gains = 10 ** np.random.default_rng(0).uniform(-0.5, 1.2, 16)

    def compare(*task):
        """Cost and test error of the winner and of the default, with five seeds the search has not seen."""
        costs = [trial(gain, *task, seed=0)[0] for gain in gains]
        return np.array(
            [
                [trial(gain, *task, seed=100 + k) for k in range(5)]
                for gain in (gains[np.nanargmin(costs)], 1.0)
            ]
        )

    (winner, default) = compare("sigmoid", 4, 0.1)[..., 0]
    claim.at_most("four sigmoid layers: mean cost of the winner, five fresh seeds", winner.mean(), 0.2)
    claim.at_least("of the default", default.mean(), 2.0)
    claim.equal("fresh seeds on which the winner is better", np.sum(winner < default), 5, 0)
    winner, default = compare("tanh", 2, 0.03)
    claim.at_most(
        "two tanh layers: mean cost of the winner over the default's",
        winner[:, 0].mean() / default[:, 0].mean(),
        2 / 3,
    )
    claim.at_most("test error of the default above the winner's", (default - winner)[:, 1].mean(), 0.01)
