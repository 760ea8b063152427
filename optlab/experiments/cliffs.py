"""What the chapter on cliffs and its claims share: mini-batches around a minimum, and a recurrent network.

`noise_ball` follows many chains of stochastic gradient descent on the diabetes data (claim CL-5), and
`zero_or_one` a logistic regression that has no minimum (claim CL-7). The recurrent network reads digits a few
pixels at a time; `clipping_race` trains it with and without clipping.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.linalg import solve_continuous_lyapunov
from scipy.special import softmax
from sklearn.datasets import load_diabetes, load_digits

from optlab import SGD, problems, trajectory
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]

RATES = (0.03, 0.1, 0.3, 1.0)


def diabetes() -> tuple[Array, Array]:
    """Body mass index, blood pressure and a blood value of 442 patients, and how their illness went on.

    All with mean 0 and standard deviation 1.
    """
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X = X[:, [2, 3, 8]]
    return (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()


def ball_theory(X: Array, y: Array, size: int) -> float:
    """E||theta - theta*||^2 / lr of least squares for a small rate: the trace of C with HC + CH = S.

    H is the Hessian, S the covariance of the gradient of a mini-batch at the minimum.
    """
    H = X.T @ X / len(X)
    residual = X @ np.linalg.solve(H, X.T @ y / len(X)) - y
    gradients = X * residual[:, None]
    S = gradients.T @ gradients / len(X) / size
    return float(np.trace(solve_continuous_lyapunov(H, S)))


@stored
def noise_ball(lr: float, size: int = 8, chains: int = 1000, seed: int = 0) -> float:
    """E||theta - theta*||^2 of SGD on mini-batches of the diabetes data, drawn with replacement.

    All chains start at the minimum; the mean is taken over them and over the second half of 40 / lr steps.
    """
    X, y = diabetes()
    best = np.linalg.lstsq(X, y, rcond=None)[0]
    rng = np.random.default_rng(seed)
    theta = np.tile(best, (chains, 1))
    steps = round(40 / lr)
    total = 0.0
    for k in range(steps):
        rows = rng.integers(len(X), size=(chains, size))
        batch = X[rows]  # (chains, size, 3)
        error = (batch @ theta[:, :, None])[:, :, 0] - y[rows]
        theta -= lr / size * (error[:, None, :] @ batch)[:, 0]
        if k >= steps // 2:
            total += ((theta - best) ** 2).sum() / chains
    return total / (steps - steps // 2)


def digit_sequences(length: int) -> tuple[Array, Array]:
    """1437 digits as sequences of 64 / length pixels at a time, and their classes one-hot."""
    images, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(12345).permutation(len(labels))[:1437]
    return images[rows].reshape(len(rows), length, -1) / 16, np.eye(10)[labels[rows]]


def recurrent_network(rng: Generator, inputs: int, scale: float = 1.0, units: int = 32) -> list[Array]:
    """W, U, b, V, c of h_t = tanh(W h_{t-1} + U x_t + b) with logits V h_T + c; W is scale * orthogonal."""
    q, r = np.linalg.qr(rng.standard_normal((units, units)))
    W = scale * q * np.sign(np.diag(r))
    U = rng.standard_normal((units, inputs)) / np.sqrt(inputs)
    V = rng.standard_normal((10, units)) / np.sqrt(units)
    return [W, U, np.zeros((1, units)), V, np.zeros((1, 10))]


def flip(matrices: Array) -> Array:
    """Transposes the last two axes."""
    return matrices.swapaxes(-1, -2)


# fmt: off
def through_time(
    params: list[Array], x: Array, y: Array
) -> tuple[Any, list[Array], Array]:
    """Cost, gradient, and ||dJ/dh_t|| for t = 0 ... T.

    x: (samples, T, inputs); y: one-hot. The parameters may have
    further axes in front: so many networks at once.
    """
    W, U, b, V, c = params
    h = [np.zeros((len(x), W.shape[-1]))]
    for t in range(x.shape[1]):              # forward in time
        h.append(np.tanh(h[-1] @ flip(W) + x[:, t] @ flip(U) + b))
    p = softmax(h[-1] @ flip(V) + c, axis=-1)
    cost = -np.log((p * y).sum(-1) + 1e-300).mean(-1)

    d = (p - y) / len(x)
    dV, dc = flip(d) @ h[-1], d.sum(-2, keepdims=True)
    dW, dU, db = 0 * W, 0 * U, 0 * b
    g = d @ V                                # the gradient by h_T
    norms = [np.linalg.norm(g, axis=(-2, -1))]
    for t in reversed(range(x.shape[1])):    # and back
        a = g * (1 - h[t + 1] ** 2)
        dW += flip(a) @ h[t]
        dU += flip(a) @ x[:, t]
        db += a.sum(-2, keepdims=True)
        g = a @ W                            # one W more each time
        norms.append(np.linalg.norm(g, axis=(-2, -1)))
    return cost, [dW, dU, db, dV, dc], np.array(norms[::-1])
# fmt: on


@stored
def clipping_race(seeds: int = 3, epochs: int = 5, size: int = 32) -> Array:
    """Training cost at the end, shape (seeds, len(RATES), 2): without and with clipping to norm 1.

    All networks of a seed start alike, and all see the same mini-batches.
    """
    x, y = digit_sequences(16)
    shape = seeds, len(RATES), 2
    starts = [recurrent_network(np.random.default_rng(seed), x.shape[2]) for seed in range(seeds)]
    params = [
        np.broadcast_to(np.array(p)[:, None, None], shape + p[0].shape).copy()
        for p in zip(*starts, strict=True)
    ]
    rates = np.array(RATES)[:, None]
    rng = np.random.default_rng(seeds)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), size):
            rows = order[start : start + size]
            grads = through_time(params, x[rows], y[rows])[1]
            norm = np.sqrt(sum((g**2).sum(axis=(-2, -1)) for g in grads))
            factor = np.minimum(1.0, np.array([np.inf, 1.0]) / norm)
            for p, g in zip(params, grads, strict=True):
                p -= (rates * factor)[..., None, None] * g
    cost: Array = through_time(params, x, y)[0]
    return cost


@stored
def zero_or_one(steps: int = 100_000) -> tuple[Array, Array, Array]:
    """Logistic regression on the digits 0 and 1: step, length of the parameters and cost, every 10 steps.

    The rate is 1 / L with the largest curvature L that the cost has anywhere.
    """
    X, y = load_digits(n_class=2, return_X_y=True)
    A = np.column_stack([X / 16, np.ones(len(X))])
    largest = np.linalg.eigvalsh(A.T @ A / len(A))[-1] / 4
    cost = problems.logistic((X / 16, y))
    path = trajectory(cost, SGD(lr=1 / largest), np.zeros(65), steps, every=10)
    assert path.x is not None
    t = np.append(np.arange(0, steps, 10), steps)
    return t, np.linalg.norm(path.x, axis=1), path.fun
