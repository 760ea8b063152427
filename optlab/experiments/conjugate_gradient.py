"""What the chapter on conjugate gradients and its claims share: test matrices, and one long race.

The race (claim CG-5) asks what conjugacy is worth when the gradient comes from a mini-batch. A small
network learns to read digits. Six methods minimize the same training cost and pay in the same coin:
one *pass* is as many gradients of single samples as there are samples. A trial step of a line search is
paid for like any other evaluation.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import nonlinear_cg
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp] | slice

PASSES = (3, 5, 10, 20, 30, 50, 100)
SHAPES = ((64, 32), (32,), (32, 10), (10,))
SIZES = [int(np.prod(shape)) for shape in SHAPES]


def random_spd(n: int, kappa: float, seed: int, distinct: int | None = None) -> Array:
    """A random symmetric positive definite matrix with condition number `kappa`.

    Its n eigenvalues run from 1 to kappa in equal ratios. With `distinct` they are that many different
    numbers in equal distances, each of them repeated.
    """
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    eigenvalues = np.geomspace(1, kappa, n) if distinct is None else np.linspace(1, kappa, distinct)
    A: Array = q * np.resize(eigenvalues, n) @ q.T
    return (A + A.T) / 2


def conjugate_basis(A: Array, vectors: Array) -> Array:
    """Rows d_i with d_i'A d_j = 0 and d_i'A d_i = 1, made from other rows.

    Gram-Schmidt in the inner product of A: each finished direction is taken
    out of all that follow. The second round removes what rounding left over.
    """
    D = np.array(vectors, dtype=float)
    for _ in range(2):
        for i in range(len(D)):
            D[i] /= np.sqrt(D[i] @ A @ D[i])
            D[i + 1 :] -= np.outer(D[i + 1 :] @ (A @ D[i]), D[i])
    return D


def training_digits() -> tuple[Array, Array]:
    """1437 of scikit-learn's 8 x 8 digits with pixels in [0, 1], and their classes one-hot."""
    images, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(12345).permutation(len(labels))[:1437]
    return images[rows] / 16, np.eye(10)[labels[rows]]


def network_cost(theta: Array, x: Array, y: Array, decay: float = 1e-4) -> tuple[float, Array]:
    """Cross-entropy of a 64-32(tanh)-10 network plus decay/2 ||theta||^2, and the gradient."""
    w1, b1, w2, b2 = unpack(theta)
    hidden = np.tanh(x @ w1 + b1)
    logits = hidden @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    total = p.sum(axis=1, keepdims=True)
    cost = (np.log(total).sum() - np.vdot(y, logits)) / len(x) + decay / 2 * (theta @ theta)

    d_out = (p / total - y) / len(x)
    d_hidden = d_out @ w2.T * (1 - hidden * hidden)
    grads = x.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ d_out, d_out.sum(axis=0)
    return cost, np.concatenate([g.ravel() for g in grads]) + decay * theta


def unpack(theta: Array) -> list[Array]:
    """The flat parameter vector as the two weight matrices and two bias vectors."""
    ends = accumulate(SIZES)
    return [
        theta[end - size : end].reshape(shape) for end, size, shape in zip(ends, SIZES, SHAPES, strict=True)
    ]


def initial_parameters(rng: Generator) -> Array:
    """Weights uniform in +-sqrt(6 / (inputs + outputs)) (Glorot), biases zero."""
    bounds = [np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0 for shape in SHAPES]
    return np.concatenate([rng.uniform(-b, b, n) for b, n in zip(bounds, SIZES, strict=True)])


class Meter:
    """Hands out the cost on any batch, counts the passes, and notes the full cost along the way."""

    def __init__(self, x: Array, y: Array, theta: Array) -> None:
        self.x, self.y, self.theta = x, y, theta
        self.passes = 0.0
        self.costs: list[float] = []

    def on(self, rows: Rows) -> Callable[[Array], tuple[float, Array]]:
        """The function ``theta -> (cost, gradient)`` on these rows of the training set."""
        x, y = self.x[rows], self.y[rows]

        def fun(theta: Array) -> tuple[float, Array]:
            self.passes += len(x) / len(self.x)
            return network_cost(theta, x, y)

        return fun

    def mark(self, theta: Array) -> None:
        """Note a new iterate; the callback of every method. Ends the run once the budget is spent."""
        while not self.spent and self.passes > PASSES[len(self.costs)] + 1e-9:
            self.costs.append(network_cost(self.theta, self.x, self.y)[0])
        self.theta = np.array(theta)
        if self.spent:
            raise StopIteration

    @property
    def spent(self) -> bool:
        return len(self.costs) == len(PASSES)


def batches(rng: Generator, n: int, size: int) -> Iterator[Rows]:
    """Endless mini-batches, shuffled anew in each epoch; the incomplete last one is kept."""
    while True:
        rows = rng.permutation(n)
        yield from (rows[i : i + size] for i in range(0, n, size))


def sgd(meter: Meter, rng: Generator, lr: float, size: int = 32) -> None:
    """Stochastic gradient descent: one step of length lr against each mini-batch gradient."""
    theta = meter.theta
    for rows in batches(rng, len(meter.x), size):
        _, grad = meter.on(rows)(theta)
        theta = theta - lr * grad
        meter.mark(theta)


def mini_batch(
    meter: Meter,
    rng: Generator,
    method: Any,
    size: int = 256,
    steps: int = 3,
) -> None:
    """A few steps of a full-batch method on a mini-batch; then on the next."""
    for rows in batches(rng, len(meter.x), size):
        minimize(
            meter.on(rows),
            meter.theta,
            jac=True,
            method=method,
            callback=meter.mark,
            options={"maxiter": steps},
        )
        if meter.spent:
            break


def full_batch(meter: Meter, rng: Generator, method: Any) -> None:
    """The method as it is meant to be used: every gradient from all samples."""
    minimize(
        meter.on(slice(None)),
        meter.theta,
        jac=True,
        method=method,
        callback=meter.mark,
        options={"maxiter": 10_000, "gtol": 0},
    )


METHODS: dict[str, Callable[[Meter, Generator], None]] = {
    "SGD, lr 1": partial(sgd, lr=1.0),
    "SGD, lr 0.1": partial(sgd, lr=0.1),
    "mini-batch CG": partial(mini_batch, method=nonlinear_cg),
    "mini-batch L-BFGS": partial(mini_batch, method="L-BFGS-B"),
    "full CG": partial(full_batch, method=nonlinear_cg),
    "full L-BFGS": partial(full_batch, method="L-BFGS-B"),
}


@stored
def race(seeds: int = 5) -> dict[str, Array]:
    """Training cost of every method after each of ``PASSES``: ``{method: array (seeds, passes)}``."""
    x, y = training_digits()
    costs = {name: np.empty((seeds, len(PASSES))) for name in METHODS}
    with threadpool_limits(1):  # the products are small: two threads would wait for each other
        for name, method in METHODS.items():
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                meter = Meter(x, y, initial_parameters(rng))
                with suppress(StopIteration):  # how the meter ends a run
                    method(meter, rng)
                costs[name][seed] = meter.costs
    return costs
