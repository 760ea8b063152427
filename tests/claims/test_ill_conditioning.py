"""The claims of the chapter "Ill-conditioned Hessians"."""

import numpy as np
import pytest

import optlab
from optlab import problems
from optlab.experiments.ill_conditioning import fivefold


def change(problem, x, lr):
    """Real and predicted change of the cost by one step, and what the numbers in it add up to in size."""
    f, g = problem.value_and_grad(x)
    moved = problem(x - lr * g)
    predicted = -lr * (g @ g) + 0.5 * lr**2 * (g @ problem.hessp(x, g))
    return moved - f, predicted, abs(f) + abs(moved) + lr * (g @ g)


def critical(problem, x):
    """The step size at which the predicted change is zero: 2 g'g / g'Hg."""
    g = problem.grad(x)
    return 2 * (g @ g) / (g @ problem.hessp(x, g))


def real_critical(problem, x, low, high):
    """The same of the real change, by bisection between a step that descends and one that climbs."""
    f, g = problem.value_and_grad(x)
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if problem(x - middle * g) > f else (middle, high)
    return middle


def random_quadratics():
    """Twenty quadratics with 10 unknowns and kappa = 1e3, each with a random point."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem = problems.quadratic(eigenvalues=np.geomspace(1, 1e3, 10), rotation=rng)
        yield problem, rng.standard_normal(10)


@pytest.mark.claim("IC-1")
def test_second_order_taylor_predicts_a_step(claim):
    worst = 0.0
    for problem, x in random_quadratics():
        for lr in np.linspace(0, 2 * critical(problem, x), 41):
            real, predicted, size = change(problem, x, lr)
            worst = max(worst, abs(real - predicted) / size)
    claim.at_most("quadratics: |real - predicted change| / size", worst, 1e-12)

    rosenbrock = problems.rosenbrock()
    lengths = np.geomspace(1e-3, 3e-2, 16)
    slopes = []
    for x in np.random.default_rng(0).uniform(-1.5, 1.5, (50, 2)):
        steps = lengths / np.linalg.norm(rosenbrock.grad(x))
        errors = [abs(real - predicted) for real, predicted, _ in (change(rosenbrock, x, lr) for lr in steps)]
        slopes.append(np.polyfit(np.log(lengths), np.log(errors), 1)[0])
    claim.equal("Rosenbrock: least steep log-log slope of the error", min(slopes), 3.0, 0.02)
    claim.equal("Rosenbrock: steepest slope", max(slopes), 3.0, 0.02)


@pytest.mark.claim("IC-2")
def test_a_step_climbs_beyond_the_critical_learning_rate(claim):
    apart, right = 0.0, 0
    for problem, x in random_quadratics():
        predicted = critical(problem, x)
        real = real_critical(problem, x, 0.5 * predicted, 2 * predicted)
        apart = max(apart, abs(real / predicted - 1))
        below, above = (change(problem, x, predicted * factor)[0] for factor in (1 - 1e-9, 1 + 1e-9))
        right += below < 0 < above
    claim.at_most("quadratics: |real / predicted - 1|", apart, 1e-9)
    claim.equal("quadratics of 20: falls just below, rises just above", right, 20, 0)

    rosenbrock = problems.rosenbrock()
    errors = []
    for h in (0.1, 1e-2, 1e-3, 1e-4):
        x = np.array([1 + h, 1.0])
        predicted = critical(rosenbrock, x)
        errors.append(abs(predicted / real_critical(rosenbrock, x, 0.5 * predicted, 2 * predicted) - 1))
    gains = np.divide(errors[:-1], errors[1:])
    claim.at_least("Rosenbrock: least gain by tenfold proximity", gains.min(), 8.0)
    claim.at_most("Rosenbrock: largest gain", gains.max(), 12.0)


@pytest.mark.claim("IC-3")
def test_training_succeeds_while_the_gradient_does_not_shrink(claim):
    def ratios(lr, loss):
        """Later window over first in five starts: gradient norms, curvatures; and 2/lr over the latter."""
        pairs = [fivefold(lr, loss, seed) for seed in range(5)]
        norms = np.array([later.grad_norm / first.grad_norm for first, later in pairs])
        curvatures = np.array([later.curvature / first.curvature for first, later in pairs])
        return norms, curvatures, np.array([later.curvature * lr / 2 for _, later in pairs])

    norms, curvatures, edge = ratios(0.1, "squared")
    claim.at_least("0.1: later gradient norm over first, median of 5 starts", np.median(norms), 1.0)
    claim.at_least("0.1: starts of 5 in which it does not fall", np.sum(norms >= 1), 4)
    claim.at_least("0.1: curvature along the gradient, smallest ratio", curvatures.min(), 2.0)
    claim.at_most("0.1: largest |later curvature / (2/lr) - 1|", abs(edge - 1).max(), 0.05)
    norms, curvatures, _ = ratios(0.05, "squared")
    claim.at_most("0.05: largest ratio of gradient norms", norms.max(), 0.5)
    claim.at_most("0.05: largest ratio of curvatures", curvatures.max(), 0.5)
    norms, _, _ = ratios(0.1, "cross_entropy")
    claim.at_most("cross-entropy, 0.1: largest ratio of gradient norms", norms.max(), 0.5)


@pytest.mark.claim("IC-4")
def test_the_elongated_bowl_has_no_good_learning_rate(claim):
    bowl, start = problems.elongated_bowl(), [10.0, 1.0]
    crawl = optlab.trajectory(bowl, optlab.SGD(lr=1e-7), start, steps=100_000, every=100_000)
    x, y = crawl.x[-1]
    claim.equal("1e-7, 100 000 steps: x", x, 9.9005, 5e-5)
    claim.equal("1e-7: x over 10 (1 - 1e-7)^100000", x / 10 / (1 - 1e-7) ** 100_000, 1.0, 1e-9)
    claim.at_most("1e-7: |y|", abs(y), 1e-4)

    jump = optlab.trajectory(bowl, optlab.SGD(lr=1e-2), start, steps=2000)
    heights = jump.x[-100:, 1]
    claim.equal("1e-2: |y| from step 1901 on, smallest", abs(heights).min(), 24**0.5, 1e-6)
    claim.equal("1e-2: largest", abs(heights).max(), 24**0.5, 1e-6)
    claim.equal("1e-2: changes of sign in those 100 rows", np.sum(heights[1:] * heights[:-1] < 0), 99, 0)
    claim.at_least("1e-2: gradient norm, last over first", jump.grad_norm[-1] / jump.grad_norm[0], 1.0)


@pytest.mark.claim("IC-5")
def test_rate_of_gradient_descent_is_that_of_the_condition_number(claim):
    apart, alone = 0.0, 0.0
    for seed in range(5):
        for kappa in (10.0, 100.0, 1e4):
            x = np.random.default_rng(seed).standard_normal(2)
            problem = problems.quadratic(eigenvalues=[1.0, kappa])
            path = optlab.trajectory(problem, optlab.SGD(lr=2 / (1 + kappa)), x, steps=20)
            lengths = np.linalg.norm(path.x, axis=1)
            apart = max(apart, abs((1 - lengths[1:] / lengths[:-1]) * (kappa + 1) / 2 - 1).max())
        path = optlab.trajectory(problems.quadratic(kappa=1.0), optlab.SGD(lr=1.0), x, steps=1)
        alone = max(alone, np.linalg.norm(path.x[-1]))
    claim.at_most("two eigenvalues: |(1 - rate) / (2/(kappa+1)) - 1|", apart, 1e-9)
    claim.at_most("kappa = 1: distance after one step", alone, 1e-15)

    late = 0.0
    for kappa in (10.0, 100.0, 1e4):
        steps = min(int(12 * kappa), 20_000)
        problem = problems.quadratic(eigenvalues=np.geomspace(1, kappa, 20))
        x = np.random.default_rng(0).standard_normal(20)
        path = optlab.trajectory(problem, optlab.SGD(lr=2 / (1 + kappa)), x, steps=steps, every=steps // 2)
        middle, end = np.linalg.norm(path.x[1:3], axis=1)
        rate = (end / middle) ** (2 / steps)
        late = max(late, abs((1 - rate) * (kappa + 1) / 2 - 1))
    claim.at_most("20 eigenvalues, second half of the run: the same", late, 0.01)
