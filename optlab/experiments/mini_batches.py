"""What the chapter on mini-batches and its claims share: the noise of batches, its use, and its price."""

from collections.abc import Callable
from functools import cache, partial
from time import perf_counter
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from optlab import SGD, Batches, landscape, losses, problems, train
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]

ORDERS = ("sorted", "shuffled once", "each epoch")


def sample_gradients() -> Array:
    """Gradients of the logistic loss on the 569 tumors at theta = 0, a row for each."""
    X, y = load_breast_cancer(return_X_y=True)
    X = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))])
    sign = 2.0 * y - 1
    _, slope = losses.logistic(np.zeros(len(X)))
    gradients: Array = (slope * sign)[:, None] * X
    return gradients


def batch_error(
    gradients: Array, size: int, rng: np.random.Generator, repeats: int = 1000, replacement: bool = True
) -> float:
    """Root of the mean square distance of a batch's mean gradient from that of all samples."""
    n = len(gradients)
    square = 0.0
    for _ in range(repeats):
        rows = rng.integers(n, size=size) if replacement else rng.permutation(n)[:size]
        square += ((gradients[rows].mean(axis=0) - gradients.mean(axis=0)) ** 2).sum()
    return float(np.sqrt(square / repeats))


@cache
def digits() -> tuple[Array, NDArray[np.int64]]:
    """Handwritten digits, pixels from 0 to 1.

    The first is a nine, so that the labels of each part from the start on go up to 9: ten classes.
    """
    images, labels = load_digits(return_X_y=True)
    nine = np.flatnonzero(labels == 9)[:1]
    rows = np.append(nine, np.delete(np.arange(len(labels)), nine))
    X, y = images[rows] / 16, labels[rows]
    X.flags.writeable = y.flags.writeable = False
    return X, y


# fmt: off
def compiled_update(m: int, hidden: int = 32) -> Callable[[], None]:
    """One update of a network 64-hidden-10 on the first m digits:
    cost, gradient, step."""
    X, y = digits()
    problem = problems.mlp((X[:m], y[:m]), hidden=(hidden,),
                           activation="relu")
    opt, theta = SGD(lr=0.01), problem.x0.copy()
    state = opt.init(theta)

    def update() -> None:
        _, g = problem.value_and_grad(theta)
        opt.step(theta, g, state)

    return update


def numpy_update(m: int, hidden: int = 32) -> Callable[[], None]:
    """The same in NumPy."""
    X, y = digits()
    X, T = X[:m], np.eye(10)[y[:m]]
    start = problems.mlp(digits(), hidden=(hidden,))
    (W, b), (V, c) = start.unflatten(start.x0.copy())

    def update() -> None:
        A = X @ W.T + b
        H = np.maximum(A, 0)
        Z = H @ V.T + c
        Z = np.exp(Z - Z.max(axis=1, keepdims=True))
        D = (Z / Z.sum(axis=1, keepdims=True) - T) / m
        B = D @ V * (A > 0)
        for p, g in ((V, D.T @ H), (c, D.sum(axis=0)),
                     (W, B.T @ X), (b, B.sum(axis=0))):
            p -= 0.01 * g

    return update


def update_times(
    make: Callable[[int], Callable[[], None]], sizes: list[int],
    repeats: int = 40,
) -> Array:
    """Seconds for one update, here and now and on one core: the
    shortest of many short runs, which others disturb least."""
    times = np.full(len(sizes), np.inf)
    updates = [make(m) for m in sizes]
    with threadpool_limits(1):
        for _ in range(repeats):
            for place, update in enumerate(updates):
                rounds = max(1, 64 // sizes[place])
                start = perf_counter()
                for _ in range(rounds):
                    update()
                spent = (perf_counter() - start) / rounds
                times[place] = min(times[place], spent)
    return times
# fmt: on


def affine(sizes: list[int], times: Array) -> tuple[float, float]:
    """The a and b of times = a + b * size, with the least squares of the relative errors."""
    columns = np.column_stack([1 / times, np.array(sizes) / times])
    a, b = np.linalg.lstsq(columns, np.ones(len(sizes)), rcond=None)[0]
    return float(a), float(b)


def softmax_cost(W: Array, X: Array, y: NDArray[np.int64]) -> tuple[float, Array]:
    """Cross-entropy of softmax regression and its gradient."""
    cost, slope = losses.cross_entropy(X @ W, y)
    return float(cost), X.T @ slope


def wrong_share(W: Array, X: Array, y: NDArray[np.int64]) -> float:
    """Share of samples whose largest output is not that of their class."""
    return float(((X @ W).argmax(axis=1) != y).mean())


# fmt: off
@stored
def sorted_digits(
    seeds: int = 10, epochs: int = 10, size: int = 10, lr: float = 0.5
) -> Array:
    """Test error of softmax regression on digits, sorted by class,
    after each epoch: shape (seeds, orders, epochs)."""
    images, labels = digits()
    errors = np.empty((seeds, len(ORDERS), epochs))
    for seed in range(seeds):
        X, X_test, y, y_test = train_test_split(
            images, labels, test_size=0.3, stratify=labels,
            random_state=seed)
        place = np.argsort(y, kind="stable")
        for row, order in enumerate(("given", "once", "each_epoch")):
            run = train(
                softmax_cost, np.zeros((64, 10)),
                Batches(X[place], y[place], size=size, order=order,
                        rng=seed),
                SGD(lr=lr), epochs=epochs, progress=False,
                validate=partial(wrong_share, X=X_test, y=y_test))
            errors[seed, row] = run.history.validation[1:]
    return errors
# fmt: on


@stored
def passes(
    repeats: int = 400, epochs: int = 20, n: int = 80, fresh: bool = False, seed: int = 0
) -> tuple[Array, Array]:
    """How far the cost of a sample just before its update lies below the population cost.

    Least squares with 40 inputs, y = w'x + 0.5 xi, SGD with batch 1 and rate 0.01, n samples an epoch: the
    same again, or fresh ones. Returns the gap and the population cost, both means over the epochs, of
    shape (repeats, epochs).
    """
    d, noise, lr = 40, 0.5, 0.01
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((repeats, d)) / np.sqrt(d)

    def draw() -> tuple[Array, Array]:
        X = rng.standard_normal((n, repeats, d))
        return X, (X * w).sum(axis=-1) + noise * rng.standard_normal((n, repeats))

    theta = np.zeros((repeats, d))
    X, y = draw()
    gap, population = np.zeros((2, repeats, epochs))
    everyone = np.arange(repeats)
    for epoch in range(epochs):
        if fresh and epoch:
            X, y = draw()
        order = rng.permuted(np.tile(np.arange(n), (repeats, 1)), axis=1)
        for rows in order.T:
            x = X[rows, everyone]
            error = (x * theta).sum(axis=1) - y[rows, everyone]
            expected = 0.5 * (((theta - w) ** 2).sum(axis=1) + noise**2)
            population[:, epoch] += expected / n
            gap[:, epoch] += (expected - 0.5 * error**2) / n
            theta -= lr * error[:, None] * x
    return gap, population


class Ridge:
    """Least squares on the standardized diabetes data with penalty 0.1, and many chains of SGD on it."""

    def __init__(self) -> None:
        problem = problems.least_squares("diabetes", penalty=0.1)
        self.X = np.column_stack([problem.X, np.ones(len(problem.X))])
        self.y = problem.y
        self.penalty = 0.1
        self.H = problem.hess(problem.x0)
        self.best = np.array(problem.minimum)
        self.largest = float(np.linalg.eigvalsh(self.H)[-1])
        n = len(self.best)
        A = self.X[:, :, None] * self.X[:, None, :] + self.penalty * np.eye(n)
        A = A.reshape(len(A), n * n)
        # The mean of A_i (x) A_i, whose product with vec M is vec A_i M A_i.
        self.squares = (A.T @ A / len(A)).reshape(n, n, n, n).swapaxes(1, 2).reshape(n * n, n * n)

    def gradients(self, theta: Array) -> Array:
        """A row for each sample."""
        rows: Array = (self.X @ theta - self.y)[:, None] * self.X + self.penalty * theta
        return rows

    def step(self, theta: Array, lr: float, size: int, rng: np.random.Generator) -> None:
        """One update of each row of theta, in place, with batches drawn with replacement."""
        rows = rng.integers(len(self.X), size=(len(theta), size))
        batch = self.X[rows]  # (chains, size, 11)
        error = (batch @ theta[:, :, None])[:, :, 0] - self.y[rows]
        theta -= lr * ((error[:, None, :] @ batch)[:, 0] / size + self.penalty * theta)

    def hover(self, lr: float, size: int) -> float:
        """The mean excess that SGD settles at, exactly.

        With d = theta - theta*, sample i has the gradient A_i d + s_i. The second moments M = E dd' no longer
        change if lr (HM + MH) = lr^2 (E[A_i M A_i] + E[s_i s_i'] + (size - 1) HMH) / size: linear in M.
        """
        n, H, s = len(self.best), self.H, self.gradients(self.best)
        eye = np.eye(n)
        noise = self.squares + (size - 1) * np.kron(H, H)
        system = np.kron(H, eye) + np.kron(eye, H) - lr / size * noise
        M = np.linalg.solve(system, lr / size * (s.T @ s / len(s)).ravel()).reshape(n, n)
        return float(0.5 * np.trace(H @ M))

    def excess(self, theta: Array) -> Array:
        """Cost above the minimum, of each row."""
        away = theta - self.best
        values: Array = 0.5 * ((away @ self.H) * away).sum(axis=1)
        return values


@stored
def stationary_excess(lr: float, size: int, chains: int = 40, seed: int = 0) -> Array:
    """Mean cost above the minimum of each chain, which start there, over the last 2/3 of 60 / lr steps."""
    ridge, rng = Ridge(), np.random.default_rng(seed)
    theta = np.tile(ridge.best, (chains, 1))
    steps = round(60 / lr)
    total = np.zeros(chains)
    for k in range(steps):
        ridge.step(theta, lr, size, rng)
        if k >= steps // 3:
            total += ridge.excess(theta)
    mean: Array = total / (steps - steps // 3)
    return mean


SAMPLES = (8000, 8000, 16_000)
DECAY = ((4, 0.04), (4, 0.01), (4, 0.0025))
GROWTH = ((4, 0.04), (16, 0.04), (64, 0.04))


@stored
def staged(
    plan: tuple[tuple[int, float], ...], chains: int = 500, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Chains of SGD in stages (size, rate) of so many SAMPLES, from theta = 0.

    Returns samples seen and mean cost above the minimum, 40 times a stage, and each chain's mean over the
    last eighth of the last stage.
    """
    ridge, rng = Ridge(), np.random.default_rng(seed)
    theta = np.zeros((chains, len(ridge.best)))
    seen, mean = [0], [ridge.excess(theta).mean()]
    last = np.zeros(chains)
    for samples, (size, lr) in zip(SAMPLES, plan, strict=True):
        steps = samples // size
        before, last = seen[-1], np.zeros(chains)
        for k in range(1, steps + 1):
            ridge.step(theta, lr, size, rng)
            if k * 40 // steps > (k - 1) * 40 // steps:
                seen.append(before + k * size)
                mean.append(ridge.excess(theta).mean())
            if k > steps - steps // 8:
                last += ridge.excess(theta) / (steps // 8)
    return np.array(seen), np.array(mean), last


# fmt: off
def two_valleys(x: Array) -> tuple[Array, Array, Array]:
    """Cost min((x - 2)^2 / 2, 25 (x + 2)^2 / 2); the curvature
    and the center of the valley in which each x lies."""
    flat, sharp = (x - 2) ** 2 / 2, 25 * (x + 2) ** 2 / 2
    in_flat = flat <= sharp
    cost = np.where(in_flat, flat, sharp)
    return cost, np.where(in_flat, 1, 25), np.where(in_flat, 2, -2)


@stored
def ends_in_flat_valley(
    size: int, start: float | None = -2.0, chains: int = 500,
    steps: int = 500, lr: float = 0.05, seed: int = 0,
) -> float:
    """Share of chains that end right of -4/3. Each sample sees
    both valleys shifted. start=None: uniform on [-4, 4]."""
    rng = np.random.default_rng(seed)
    shifts = 0.4 * rng.standard_normal(256)
    shifts -= shifts.mean()
    x = (rng.uniform(-4, 4, chains) if start is None
         else np.full(chains, start))
    for _ in range(steps):
        batch = shifts[rng.integers(256, size=(chains, size))]
        _, curvature, center = two_valleys(x)
        x = x - lr * curvature * (x - center - batch.mean(axis=1))
    _, curvature, _ = two_valleys(x)
    return float((curvature == 1).mean())
# fmt: on


class Minimum(NamedTuple):
    """Where a training run ended."""

    epochs: int
    cost: float
    sharpness: float
    test_error: float


@stored
def trained_digits(size: int, loss: str = "squared", lr: float = 0.1, seed: int = 0) -> Minimum:
    """A network 64-32-10 trained on 500 digits to the same cost, whatever the size of the batches.

    It ends with the first epoch after which the cost of all 500 is at most 0.05. Sharpness is the largest
    eigenvalue of the Hessian there; the other 1297 digits are the test.
    """
    images, labels = digits()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))
    here, there = rows[:500], rows[500:]
    network = problems.mlp((images[here], labels[here]), hidden=(32,), loss=loss, seed=seed)
    theta, opt = network.x0.copy(), SGD(lr=lr)
    state = opt.init(theta)
    batches = Batches(network.X, network.y, size=size, rng=rng, drop_last=True)
    with threadpool_limits(1):
        epoch, running = 0, True
        while running:
            total = 0.0
            for X, y in batches:
                cost, g = network.cost(theta, X, y)
                opt.step(theta, g, state)
                total += cost
            epoch += 1
            if epoch == 5000:
                raise RuntimeError("the cost did not fall to 0.05 in 5000 epochs")
            # The cost of all is as dear as an epoch: it is asked for only when the batches come near.
            running = total > 1.2 * 0.05 * len(batches) or network(theta) > 0.05
        sharpness = landscape.spectrum(network, theta, k=1)[-1]
        wrong = network.outputs(theta, images[there]).argmax(axis=1) != labels[there]
    return Minimum(epoch, network(theta), float(sharpness), float(wrong.mean()))
