"""What the chapter on stochastic gradient descent and its claims share.

Most experiments here average over many runs: one path of a noisy method says little. Where the cost has one
parameter, the runs lie side by side in one vector, and one step of the optimizer moves them all.
"""

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, Batches, lbfgs, losses, problems, schedules, train, trajectories
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]
Rate: TypeAlias = float | Callable[[int], float]

SWEEP = (1e-3, 1e-2, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0)


def breast_cancer() -> tuple[Array, Array]:
    """569 tumors: 30 standardized measurements and a column of ones; +1 for benign, -1 for malignant."""
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.column_stack([X, np.ones(len(X))]), 2.0 * y - 1


# fmt: off
def logistic_cost(
    theta: Array, X: Array, y: Array, penalty: float = 0.01
) -> tuple[float, Array]:
    """Mean loss log(1 + exp(-y theta'x)) and a penalty on all
    weights but the last, the constant; and the gradient."""
    loss, slope = losses.logistic(y * (X @ theta))
    w = np.append(theta[:-1], 0.0)
    cost = loss.mean() + penalty / 2 * (w @ w)
    return cost, (slope * y) @ X / len(y) + penalty * w
# fmt: on


@stored
def logistic_race(seeds: int = 10, epochs: int = 50) -> tuple[Array, Array]:
    """Relative distance of the cost from its minimum after each epoch of SGD, shape (seeds, epochs + 1).

    Batches of 16 drawn with replacement, 35 an epoch. First with a rate that falls linearly from 0.3 to 0.003
    over 80 % of the steps, then with 0.3 throughout.
    """
    X, y = breast_cancer()
    best = lbfgs(logistic_cost, np.zeros(31), (X, y), jac=True, gtol=1e-9).fun
    updates = epochs * (len(X) // 16)
    rates: tuple[Rate, ...] = schedules.linear_decay(0.3, 0.003, steps=4 * updates // 5), 0.3
    excess = []
    for lr in rates:
        table = np.empty((seeds, epochs + 1))
        for seed in range(seeds):
            batches = Batches(X, y, size=16, order="replacement", rng=seed, drop_last=True)

            def whole(theta: Array) -> float:
                return logistic_cost(theta, X, y)[0]

            run = train(
                logistic_cost,
                np.zeros(31),
                batches,
                SGD(lr=lr),
                epochs=epochs,
                validate=whole,
                progress=False,
            )
            table[seed] = run.history.validation / best - 1
        excess.append(table)
    return excess[0], excess[1]


@stored
def parabola(lr: Rate, start: float = 10.0, steps: int = 10_000, runs: int = 1000) -> tuple[Array, Array]:
    """Mean and mean square of x over many runs of SGD on x^2/2, the gradient with noise of size 1.

    A row for each 50 steps, the first for the start.
    """
    bowl = problems.quadratic(kappa=1.0, n=1)
    starts = np.full((runs, 1), start)
    x = trajectories(bowl, SGD(lr=lr), starts, steps, noise=1.0, rng=0, every=50).x
    assert x is not None
    return x.mean(axis=(1, 2)), (x**2).mean(axis=(1, 2))


COSTS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "|x|": (np.abs, np.sign),
    "x^2/2": (lambda x: x * x / 2, lambda x: x),
    "x^4/4": (lambda x: x * x * x * x / 4, lambda x: x * x * x),
}


@stored
def excess(cost: str, lr: Rate, steps: int = 10_000, runs: int = 1000) -> tuple[Array, Array]:
    """Mean cost above the minimum, 0, of many runs of SGD from x = 1: 25 step numbers, and the means there.

    The gradient carries noise of size 1. It is that at 3 or -3 for all x beyond, so that the first steps on
    x^4/4, which are long, do not explode.
    """
    value, slope = COSTS[cost]
    rng = np.random.default_rng(0)
    opt, x = SGD(lr=lr), np.ones(runs)
    state = opt.init(x)
    marks = np.unique(np.geomspace(100, steps, 25).round()).astype(int)
    means = []
    for k in range(1, steps + 1):
        opt.step(x, slope(np.clip(x, -3, 3)) + rng.standard_normal(runs), state)
        if k in marks:
            means.append(value(x).mean())
    return marks.astype(float), np.array(means)


# fmt: off
def update_times(N: int, repeats: int = 25) -> tuple[float, float, float]:
    """Seconds for one update of least squares with N samples:
    32 random rows, 32 consecutive rows, all rows."""
    rng = np.random.default_rng(0)
    X, y, theta = rng.standard_normal((N, 20)), np.zeros(N), np.ones(20)

    def update(rows: slice | NDArray[np.int64]) -> Array:
        A = X[rows]
        return theta - 1e-3 * (A.T @ (A @ theta - y[rows])) / len(A)

    draws = [rng.integers(N, size=32) for _ in range(200)]
    places = [slice(i, i + 32) for i in range(0, 800, 4)]
    best = []
    for batches in (draws, places, [slice(None)]):
        times = []
        for _ in range(repeats):
            begin = perf_counter()
            for rows in batches:
                update(rows)
            times.append((perf_counter() - begin) / len(batches))
        best.append(min(times))
    return best[0], best[1], best[2]
# fmt: on


@stored
def rate_sweep(seeds: int = 5, epochs: int = 10) -> tuple[Array, Array]:
    """Softmax regression on all digits with each rate of SWEEP, batches of 32, shuffled each epoch.

    The cost of each batch before its update, shape (seeds, rates, updates); and the cost of all digits
    before each update of the last epoch and at the end, shape (seeds, rates, updates an epoch + 1).
    """
    images, labels = load_digits(return_X_y=True)
    X = np.column_stack([images / 16, np.ones(len(images))])
    costs, last = [], []

    def whole(W: Array) -> float:
        return losses.cross_entropy(X @ W, labels)[0]

    def fun(W: Array, x: Array, y: NDArray[np.int64]) -> tuple[float, Array]:
        value, slope = losses.cross_entropy(x @ W, y)
        return value, x.T @ slope

    def watched(W: Array, x: Array, y: NDArray[np.int64]) -> tuple[float, Array]:
        last.append(whole(W))
        return fun(W, x, y)

    with threadpool_limits(1):
        for seed in range(seeds):
            for lr in SWEEP:
                W, opt = np.zeros((65, 10)), SGD(lr=lr)
                batches = Batches(X, labels, size=32, rng=seed)
                runs = [
                    train(f, W, batches, opt, epochs=n, progress=False)
                    for f, n in ((fun, epochs - 1), (watched, 1))
                ]
                last.append(whole(W))
                costs.append(np.concatenate([run.history.fun for run in runs]))
    shape = seeds, len(SWEEP), -1
    return np.array(costs).reshape(shape), np.array(last).reshape(shape)


@stored
def schedule_race(lr: Rate, seeds: int = 3, epochs: int = 10) -> tuple[Array, Array]:
    """The same regression with one rate or schedule: highest cost of a batch in the first epoch, and the cost
    of all digits at the end, for each seed."""
    images, labels = load_digits(return_X_y=True)
    X = np.column_stack([images / 16, np.ones(len(images))])

    def fun(W: Array, x: Array, y: NDArray[np.int64]) -> tuple[float, Array]:
        value, slope = losses.cross_entropy(x @ W, y)
        return value, x.T @ slope

    peaks, ends = [], []
    with threadpool_limits(1):
        for seed in range(seeds):
            W, batches = np.zeros((65, 10)), Batches(X, labels, size=32, rng=seed)
            run = train(fun, W, batches, SGD(lr=lr), epochs=epochs, progress=False)
            peaks.append(run.history.fun[: len(batches)].max())
            ends.append(losses.cross_entropy(X @ W, labels)[0])
    return np.array(peaks), np.array(ends)


def relu_network(params: list[Array], X: Array) -> tuple[Array, Array]:
    """The outputs of one hidden layer of ReLUs, and the logits."""
    W, b, V, c = params
    hidden = np.maximum(X @ W + b, 0)
    return hidden, hidden @ V + c


@stored
def resnet_rule(seeds: int = 10, epochs: int = 1) -> tuple[Array, Array]:
    """The warm-up of ResNet-110 on the digits: training error before each update, and the rate it gets.

    Both have the shape (seeds, updates). 64 ReLUs, output weights 0.01 N(0, 1), batches of 32. The error is
    that on all training images.
    """
    images, labels = load_digits(return_X_y=True)
    X = images / 16
    errors: list[float] = []
    rates: list[float] = []
    with threadpool_limits(1):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            weights = rng.standard_normal((64, 64)) / 8, 0.01 * rng.standard_normal((64, 10))
            params = [weights[0], np.zeros(64), weights[1], np.zeros(10)]
            rule = schedules.resnet110()

            def fun(
                params: list[Array], x: Array, y: NDArray[np.int64], rule: schedules.resnet110 = rule
            ) -> tuple[float, list[Array]]:
                guesses = relu_network(params, X)[1].argmax(axis=1)
                errors.append(float((guesses != labels).mean()))
                rule.observe(errors[-1])
                rates.append(rule(0))
                hidden, logits = relu_network(params, x)
                value, slope = losses.cross_entropy(logits, y)
                back = slope @ params[2].T * (hidden > 0)
                return value, [x.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(axis=0)]

            train(fun, params, Batches(X, labels, rng=rng), SGD(lr=rule), epochs=epochs, progress=False)
    return np.array(errors).reshape(seeds, -1), np.array(rates).reshape(seeds, -1)
