"""What the chapter on adaptive learning rates and its claims share.

`noisy_bowl` follows delta-bar-delta through a bowl, with exact and with noisy gradients (claim AD-1).
`exact_path` computes paths with 50 digits, the references of AD-5, AD-6 and AD-8. `worst_stream` has the
gradients on which Adam moves to the worst point (AD-9). `constructed` and `digits` ask whether adaptive
methods generalize worse (AD-10).
"""

from decimal import Decimal, localcontext
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_digits

from optlab import SGD, AdaGrad, Adam, DeltaBarDelta, Momentum, Optimizer, Switch, problems, trajectory
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]


def noisy_bowl(
    opt: Optimizer, noise: float, chains: int = 100, steps: int = 1000, seed: int = 0
) -> tuple[Array, Array]:
    """The bowl with curvatures 1 and 100, turned by 0.1, from (10, 1) along its axes.

    Returns the mean cost of all chains after each step, the start among them, and, if `opt` is
    delta-bar-delta, the mean of its two learning rates at the end.
    """
    bowl = problems.quadratic(kappa=100.0, rotation=0.1)
    H = bowl.hess(np.zeros(2))
    axes = np.linalg.eigh(H)[1]
    axes *= np.sign(np.diag(axes))
    x = np.tile(axes @ [10.0, 1.0], (chains, 1))  # a row for each chain: the rules work entry by entry
    rng = np.random.default_rng(seed)
    state = opt.init(x)
    costs = [bowl.values(x).mean()]
    for _ in range(steps):
        opt.step(x, x @ H + noise * rng.standard_normal(x.shape), state)
        costs.append(bowl.values(x).mean())
    rates = state.rates.mean(axis=0) if isinstance(opt, DeltaBarDelta) else np.empty(0)
    return np.array(costs), rates


# fmt: off
def exact_path(method: str, steps: int = 100) -> Array:
    """A path on Rosenbrock's function from (-1.2, 1) in decimal
    arithmetic with 50 digits. method: "RMSProp" (with Nesterov
    momentum), "AdaDelta", or NAdam's "published", "constant" or
    "pytorch"."""
    D = Decimal
    path = [(D("-1.2"), D(1))]
    a, b = [D(0)] * 2, [D(0)] * 2        # two vectors of state
    done1 = done2 = D(1)                 # products of the decay rates
    with localcontext(prec=50):
        for t in range(1, steps + 1):
            x, y = (p + D("0.9") * v if method == "RMSProp" else p
                    for p, v in zip(path[-1], b, strict=True))
            g = (2 * (x - 1) - 400 * x * (y - x * x),
                 200 * (y - x * x))
            mu, mu_next = (
                D("0.9") if method == "constant" else
                D("0.9") * (1 - D("0.96") ** (D(k) / 250) / 2)
                for k in (t, t + 1))
            rho1 = D("0.9") if method == "pytorch" else mu
            done1, done2 = done1 * mu, done2 * D("0.999")
            point = []
            for i in range(2):
                if method == "RMSProp":
                    a[i] = D("0.9") * a[i] + D("0.1") * g[i] ** 2
                    b[i] = (D("0.9") * b[i]
                            - D("0.001") * g[i] / a[i].sqrt())
                    move = b[i]
                elif method == "AdaDelta":
                    a[i] = D("0.95") * a[i] + D("0.05") * g[i] ** 2
                    move = -g[i] * ((b[i] + D("1e-6"))
                                    / (a[i] + D("1e-6"))).sqrt()
                    b[i] = D("0.95") * b[i] + D("0.05") * move**2
                else:
                    a[i] = rho1 * a[i] + (1 - rho1) * g[i]
                    b[i] = D("0.999") * b[i] + D("0.001") * g[i] ** 2
                    ahead = ((1 - mu) * g[i] / (1 - done1)
                             + mu_next * a[i] / (1 - done1 * mu_next))
                    root = (b[i] / (1 - done2)).sqrt()
                    move = -D("0.002") * ahead / (root + D("1e-8"))
                point.append(path[-1][i] + move)
            path.append((point[0], point[1]))
    return np.array(path, dtype=np.float64)
# fmt: on


def worst_stream(opt: Optimizer, starts: tuple[float, ...] = (-1.0, 0.0, 1.0), steps: int = 60_000) -> Array:
    """The points on [-1, 1], a column for each start, under the slopes 3, -1, -1, 3, -1, -1, ...

    The mean slope is 1/3, so that -1 is the best point. A step that leaves the interval ends at its border.
    """
    x = np.array(starts)
    state = opt.init(x)
    rows = np.empty((steps, len(starts)))
    high, low = np.full_like(x, 3.0), np.full_like(x, -1.0)
    for t in range(steps):
        opt.step(x, low if t % 3 else high, state)
        np.minimum(np.maximum(x, -1.0, out=x), 1.0, out=x)
        rows[t] = x
    return rows


def constructed_data(samples: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Labels +1 (seven of ten) and -1, and inputs that name them in two ways.

    The first column is the label, the second is 1. A positive sample has one further column for itself alone,
    a negative one has five.
    """
    y = np.where(rng.random(samples) < 0.7, 1.0, -1.0)
    own = np.where(y > 0, 1, 5)
    X = np.zeros((samples, 2 + own.sum()))
    X[:, 0], X[:, 1] = y, 1.0
    X[np.repeat(np.arange(samples), own), 2 + np.arange(own.sum())] = 1.0
    return X, y


CONSTRUCTED: dict[str, Optimizer] = {
    "descent, 0.1": SGD(lr=0.1),
    "AdaGrad, 0.1": AdaGrad(lr=0.1),
    "AdaGrad, 0.01": AdaGrad(lr=0.01),
    "Adam, 0.01": Adam(lr=0.01),
    "Adam, 0.001": Adam(lr=0.001),
}


@stored
def constructed(seeds: int = 10, samples: int = 50, steps: int = 5000) -> dict[str, Array]:
    """Of each method, a row for each seed: training cost, test error, the test sample's share of negatives.

    Least squares with a constant term, from 0. A test sample has none of the columns that belong to the
    training samples.
    """
    results: dict[str, list[list[float]]] = {name: [] for name in CONSTRUCTED}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        cost = problems.least_squares(constructed_data(samples, rng))
        test = np.where(rng.random(2000) < 0.7, 1.0, -1.0)
        for name, opt in CONSTRUCTED.items():
            path = trajectory(cost, opt, np.zeros(cost.n), steps, every=steps)
            assert path.x is not None
            w = path.x[-1]
            wrong = (w[0] * test + w[1] + w[-1]) * test <= 0  # the last entry is the constant term
            results[name].append([path.fun[-1], wrong.mean(), (test < 0).mean()])
    return {name: np.array(rows) for name, rows in results.items()}


UPDATES = 25  # in an epoch: 800 samples in batches of 32
EPOCHS = (1, 2, 3, 5, 7, 10, 15, 20, 30)  # after which the networks are measured

PLANS: dict[str, Optimizer] = {
    **{f"Adam, {lr:g}": Adam(lr=lr) for lr in (0.001, 0.003, 0.01, 0.03, 0.1)},
    **{f"SGD, {lr:g}": Momentum(lr=lr) for lr in (0.01, 0.03, 0.1, 0.3, 1.0)},
}


@stored
def digits(seeds: int = 20, units: int = 32) -> dict[str, Array]:
    """Training cost, validation error and test error, shape (3, len(EPOCHS), seeds), for each plan.

    A network with one hidden layer (ReLU) learns 800 digits; 300 others are for validation and 697 for the
    test. Each seed has its own split, start and batches, the same for all plans. The plans are those of
    PLANS, and Adam switched to SGD, at the best rates of both.
    """
    X, labels = load_digits(return_X_y=True)
    X, T = X / 16, np.eye(10)[labels]
    rngs = [np.random.default_rng(seed) for seed in range(seeds)]
    splits = np.array([rng.permutation(len(X)) for rng in rngs])
    # The networks of all seeds lie behind one another along the first axis.
    starts = [
        np.array([rng.standard_normal((64, units)) * np.sqrt(2 / 64) for rng in rngs]),
        np.zeros((seeds, 1, units)),
        np.array([rng.standard_normal((units, 10)) * np.sqrt(1 / units) for rng in rngs]),
        np.zeros((seeds, 1, 10)),
    ]
    orders = np.array([[rng.permutation(800) for rng in rngs] for _ in range(EPOCHS[-1])])
    train = splits[:, :800]

    def grads(params: list[Array], rows: NDArray[np.int64]) -> list[Array]:
        V, b, W, c = params
        x = X[rows]
        h = np.maximum(x @ V + b, 0.0)
        d = (softmax(h @ W + c, axis=-1) - T[rows]) / rows.shape[1]
        e = d @ W.swapaxes(1, 2) * (h > 0)
        return [x.swapaxes(1, 2) @ e, e.sum(1, keepdims=True), h.swapaxes(1, 2) @ d, d.sum(1, keepdims=True)]

    def measure(params: list[Array]) -> list[Array]:
        V, b, W, c = params
        z = np.maximum(X[splits] @ V + b, 0.0) @ W + c
        wrong = z.argmax(-1) != labels[splits]
        costs = -(log_softmax(z[:, :800], axis=-1) * T[train]).sum(-1).mean(-1)
        return [costs, wrong[:, 800:1100].mean(-1), wrong[:, 1100:].mean(-1)]

    def run(opt: Optimizer) -> Array:
        params = [p.copy() for p in starts]
        state = opt.init(params)
        log = []
        for epoch, order in enumerate(orders, start=1):
            for rows in np.split(np.take_along_axis(train, order, axis=1), UPDATES, axis=1):
                opt.step(params, grads(params, rows), state)
            if epoch in EPOCHS:
                log.append(measure(params))
        return np.array(log).swapaxes(0, 1)

    results = {name: run(opt) for name, opt in PLANS.items()}
    first, second = (PLANS[best(results, name)] for name in ("Adam", "SGD"))
    for epoch in (5, 15):
        results[f"switch after {epoch}"] = run(Switch(first, second, at=epoch * UPDATES))
    return results


def best(results: dict[str, Array], method: str) -> str:
    """The plan of a method with the lowest mean validation error at the end."""
    own = [name for name in results if name.startswith(method)]
    return min(own, key=lambda name: results[name][1, -1].mean())
