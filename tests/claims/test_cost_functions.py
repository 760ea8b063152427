"""The claims of the chapter "Cost functions"."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import optlab
from optlab import losses, problems
from optlab.experiments.cost_functions import early_stop, validation_run


@pytest.mark.claim("CF-1")
def test_lowest_cost_is_not_fewest_errors(claim):
    def moments(seed):
        """On the validation digits: how far the error at the lowest cost is above the lowest error, how many
        steps later that one is, and how many times the lowest cost is the cost there."""
        cost, error, _ = validation_run(seed)[1].T
        lowest, fewest = cost.argmin(), error.argmin()
        return error[lowest] - error[fewest], 2 * int(fewest - lowest), cost[fewest] / cost[lowest]

    found = [moments(seed) for seed in range(10)]
    digit = 1 / 1697
    gap, steps, rise = found[0]
    claim.at_least("error at the lowest cost minus lowest error", gap, digit / 2)
    claim.at_least("steps from the lowest cost to the fewest errors", steps, 1)
    claim.at_least("cost there over the lowest", rise, 1 + 1e-6)
    held = sum(gap >= digit / 2 and steps >= 1 and rise >= 1 + 1e-6 for gap, steps, rise in found)
    claim.at_least("splits of 10 in which the same holds", held, 8)
    claim.at_least("mean difference of the errors, 10 splits", np.mean([gap for gap, *_ in found]), 0.003)


@pytest.mark.claim("CF-2")
def test_surrogates_bound_the_0_1_loss(claim):
    surrogates = (
        losses.hinge,
        lambda u: losses.logistic(u, base=2),
        losses.exponential,
        losses.squared,
    )
    u = np.linspace(-10, 10, 20_001)
    wrong = losses.zero_one(u)[0]
    excess = [np.min(loss(u)[0] - wrong) for loss in surrogates]
    claim.at_least("four surrogates minus 0-1 loss, smallest", min(excess), -1e-12)
    touch = max(abs(loss(np.zeros(1))[0][0] - 1) for loss in surrogates)
    claim.at_most("at 0: largest |surrogate - 1|", touch, 1e-12)

    natural = losses.logistic(u)[0]
    claim.at_most("natural logistic minus 0-1 loss, smallest", np.min(natural - wrong), np.log(2) - 1 + 1e-12)
    below = u[natural < wrong]
    claim.equal("it is below from", below.min(), -np.log(np.e - 1), 1e-3)
    claim.equal("it is below up to", below.max(), 0.0, 1e-12)
    claim.at_least("divided by ln 2: minus 0-1 loss", np.min(natural / np.log(2) - wrong), -1e-12)
    claim.equal("natural logistic at -1000", losses.logistic(np.array([-1000.0]))[0][0], 1000.0, 1e-9)

    rng = np.random.default_rng(0)
    for h in (1e-2, 1e-4):
        u = rng.uniform(-5, 5, 1_000_000)
        up, down = losses.zero_one(u + h)[0], losses.zero_one(u - h)[0]
        outside = (up - down)[abs(u) > h] / (2 * h)
        claim.at_most(f"h = {h}: largest |difference| of the 0-1 loss outside", abs(outside).max(), 0.0)
        claim.at_least(f"h = {h}: nonzero ones within", np.count_nonzero(up - down), 1)


@pytest.mark.claim("CF-3")
def test_cost_and_margin_improve_after_the_last_error(claim):
    X, y = load_digits(n_class=2, return_X_y=True)
    A = np.column_stack([X / 16, np.ones(len(X))])
    problem = problems.logistic((X / 16, y))
    lr = 4 / np.linalg.eigvalsh(A.T @ A / len(A))[-1]
    path = optlab.trajectory(problem, optlab.SGD(lr=lr), np.zeros(65), steps=5000)
    margins = (path.x @ A.T) * (2 * y - 1)
    k = int(np.argmax((margins > 0).all(axis=1)))
    closest = margins[1:].min(axis=1) / np.linalg.norm(path.x[1:], axis=1)
    claim.equal("first step without an error", k, 16, 1)
    claim.equal("errors later", np.sum(margins[k:] <= 0), 0, 0)
    claim.at_least("cost there over cost at step 5000", path.fun[k] / path.fun[-1], 50)
    claim.at_most("largest change of the cost by a step", np.diff(path.fun).max(), 1e-15)
    claim.at_least("normalized margin at step 5000 over that there", closest[-1] / closest[k - 1], 10)


@pytest.mark.claim("CF-4")
def test_early_stopping_leaves_a_large_gradient(claim):
    runs = [early_stop(seed) for seed in range(5)]
    over_first, over_last = (
        min(run.grad_norm[run.at] / run.grad_norm[place] for run in runs) for place in (0, -1)
    )
    claim.at_least("gradient norm at the stop over that at step 1500, smallest of 5", over_last, 10)
    claim.at_least("over that at step 0, smallest of 5", over_first, 0.05)
    waits = [run.at - run.best for run in runs]
    claim.equal("steps from the lowest validation cost to the stop, shortest", min(waits), 20, 0)
    claim.equal("longest", max(waits), 20, 0)


@pytest.mark.claim("CF-5")
def test_one_hot_does_not_know_the_names(claim):
    one_hot = np.eye(10)
    apart = np.linalg.norm(one_hot[:, None] - one_hot, axis=-1)[~np.eye(10, dtype=bool)]
    claim.at_most("one-hot: largest |distance - sqrt 2|", abs(apart - np.sqrt(2)).max(), 1e-15)
    numbers = abs(np.subtract.outer(np.arange(10), np.arange(10)))
    claim.at_least("numbers: largest distance over smallest", numbers.max() / numbers[numbers > 0].min(), 9)

    X, y = load_digits(return_X_y=True)
    A = np.column_stack([X / 16, np.ones(len(X))])
    plain, renamed = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        order, names = rng.permutation(len(A)), rng.permutation(10)
        train, test = order[:1200], order[1200:]
        system = A[train].T @ A[train] + 1e-3 * np.eye(65)

        def errors(labels, train=train, test=test, system=system):
            """Test errors of the number code and of the one-hot code."""
            outputs = A[test] @ np.linalg.solve(system, A[train].T @ labels[train])
            scores = A[test] @ np.linalg.solve(system, A[train].T @ one_hot[labels[train]])
            nearest = np.clip(np.rint(outputs), 0, 9)
            return np.sum(nearest != labels[test]), np.sum(scores.argmax(axis=1) != labels[test])

        plain.append(errors(y))
        renamed.append(errors(names[y]))
    change = abs(np.subtract(plain, renamed))
    rates = np.divide(plain, 597)
    claim.at_most("one-hot: most errors of 597 more or less by renaming", change[:, 1].max(), 1)
    claim.at_least("numbers: the same", change[:, 0].max(), 10)
    claim.at_least("numbers: smallest error rate of 10 splits", rates[:, 0].min(), 0.5)
    claim.at_most("one-hot: largest error rate", rates[:, 1].max(), 0.15)


@pytest.mark.claim("CF-6")
def test_softmax(claim):
    rng = np.random.default_rng(0)
    total, finite = 0.0, True
    for size in (1e-3, 1.0, 1e2, 1e4):
        p = losses.softmax(rng.uniform(-size, size, (10_000, 10)))
        total = max(total, abs(p.sum(axis=1) - 1).max())
        finite = finite and np.isfinite(p).all() and p.min() >= 0
    claim.at_most("largest |sum - 1|", total, 1e-12)
    extreme = losses.softmax(np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]]))
    claim.equal("finite and not negative, also at 10 000", int(finite and np.isfinite(extreme).all()), 1, 0)

    z = rng.normal(0, 3, (10_000, 10))
    p = losses.softmax(z)
    for shift, bound in ((100.0, 1e-12), (-3.7, 1e-12), (1e4, 1e-11)):
        claim.at_most(f"shift by {shift:g}: largest change", abs(losses.softmax(z + shift) - p).max(), bound)
    whole = rng.integers(-100, 100, (1000, 10)).astype(float)
    moved = max(abs(losses.softmax(whole + c) - losses.softmax(whole)).max() for c in (1.0, -7.0, 2.0**30))
    claim.at_most("whole logits, whole shifts: largest change", moved, 0.0)

    differences = z[:, :, None] - z[:, None, :]
    ratio = np.log(p[:, :, None] / p[:, None, :])
    claim.at_most("largest |ln(p_i / p_j) - (z_i - z_j)|", abs(ratio - differences).max(), 1e-12)
    excess = abs(p[:, :, None] - p[:, None, :]) - 0.5 * abs(differences)
    claim.at_most("largest |p_i - p_j| - |z_i - z_j| / 2", excess.max(), 1e-15)
    small = losses.softmax(np.array([0.3, 0.1]))
    claim.at_most("0.3, 0.1: difference of the probabilities", small[0] - small[1], 0.1)
    large = losses.softmax(np.array([3.0, 1.0, -3.0]))
    claim.at_least("3, 1, -3: largest over second", large[0] / large[1], 7.0)


@pytest.mark.claim("CF-7")
def test_cross_entropy_is_likelihood(claim):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    one_hot = np.eye(10)[y]
    values, gradients, largest = 0.0, 0.0, 0.0
    for seed in range(5):
        W = np.random.default_rng(seed).normal(0, 0.5, (64, 10))
        value, slope = losses.cross_entropy(X @ W, one_hot)
        logs, product, gradient = 0.0, 1.0, np.zeros_like(W)
        for x, label in zip(X, y, strict=True):
            odds = np.exp(x @ W)
            logs += np.log(odds[label] / odds.sum())
            product *= odds[label] / odds.sum()
            gradient += np.outer(x, odds / odds.sum())
            gradient[:, label] -= x
        values = max(values, abs(value * -len(X) / logs - 1))
        gradient /= len(X)
        gradients = max(gradients, np.linalg.norm(X.T @ slope - gradient) / np.linalg.norm(gradient))
        largest = max(largest, product)
    claim.at_most("values: relative difference", values, 1e-12)
    claim.at_most("gradients: relative difference", gradients, 1e-12)
    claim.equal("largest product of the 1797 likelihoods", largest, 0.0, 0.0)


@pytest.mark.claim("CF-8")
def test_squared_error_of_softmax_stalls(claim):
    def surface(loss):
        def both(z):
            value, slope = loss(np.array([[*z, -1000.0]]), np.array([0]))
            return value, slope[0, :2]

        return optlab.Problem.from_callable(both, jac=True, n=2)

    cross_entropy, squared = surface(losses.cross_entropy), surface(losses.softmax_mse)
    start = np.array([-10.0, 10.0])
    ratio = np.linalg.norm(cross_entropy.grad(start)) / np.linalg.norm(squared.grad(start))
    claim.equal("ratio of the gradients over cosh^2 10", ratio / np.cosh(10) ** 2, 1.0, 1e-6)

    def chances(problem):
        """Probability of the right class along the path."""
        return losses.softmax(optlab.trajectory(problem, optlab.SGD(lr=1.0), start, steps=2000).x)[:, 0]

    arrived = chances(cross_entropy) >= 0.99
    claim.equal("cross-entropy: steps to p = 0.99", int(arrived.argmax()), 60, 1)
    claim.at_most("squared error: p after 2000 steps", chances(squared)[-1], 1e-8)
