"""What the chapter on parameter initialization and its claims share.

`twins` trains a network whose hidden units begin alike (claim IN-1). `growth`, `separation` and `recurrence`
follow signals through networks that nobody has trained (IN-2). `training` compares rules (IN-3), `head_start`
biases of the output (IN-4), and `trial` is one trial in a search for the scale (IN-5). `transfer` begins with
what was learned on other classes.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, Batches, Momentum, initializers, losses, nn, train
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]
Init: TypeAlias = Callable[..., Any]


def four_times_glorot(shape: tuple[int, ...], **more: Any) -> Any:
    """Glorot's weights for an activation whose slope at 0 is 1/4, the logistic function."""
    return 4 * initializers.glorot_uniform(shape, **more)


RULES: dict[str, Init] = {
    "uniform": initializers.uniform,
    "Glorot": initializers.glorot_uniform,
    "He": initializers.he_uniform,
    "He, normal": initializers.he_normal,
    "orthogonal": initializers.orthogonal,
    "sparse": partial(initializers.sparse, nonzeros=15),
    "4 x Glorot": four_times_glorot,
}

ACTIVATIONS: dict[str, Callable[[], Any]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}


def digits() -> tuple[Array, Labels, Array, Labels]:
    """Pixels between 0 and 1: 1437 images to train with, 360 to test with, each with their labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(12345).permutation(len(images))
    X, y = images[order] / 16, labels[order]
    return X[:1437], y[:1437], X[1437:], y[1437:]


def imbalanced() -> tuple[Array, Labels, Array]:
    """Of class c the first 140 * 0.6^c training digits, at least 3; labels; frequencies of the classes."""
    X, y, _, _ = digits()
    rows = np.concatenate([np.flatnonzero(y == c)[: max(3, int(140 * 0.6**c))] for c in range(10)])
    return X[rows], y[rows], np.bincount(y[rows]) / len(rows)


# fmt: off
def in_order(A: Array, B: Array) -> Array:
    """A @ B, where every entry is summed in the same order."""
    total: Array = (A[:, :, None] * B).sum(axis=1)
    return total
# fmt: on


@stored
def twins(
    width: int, exact: bool = True, nudge: float = 0.0, alike: bool = True, steps: int = 1000, seed: int = 0
) -> tuple[Array, Array]:
    """Digits, one hidden layer of tanh units, SGD with momentum 0.9, rate 0.1, batches of 32.

    If `alike`, all hidden units begin with the same weights in and out. `exact`: matrix products by
    `in_order`, else those of NumPy. `nudge`: added to one weight of one unit. Returns the largest difference
    of two units' weights before each step, and the loss of its batch.
    """
    product = in_order if exact else np.matmul
    X, y, _, _ = digits()
    rng = np.random.default_rng(seed)
    own = 1 if alike else width
    W = np.repeat(rng.standard_normal((64, own)) / 8, width // own, axis=1)
    V = np.repeat(rng.standard_normal((own, 10)) / np.sqrt(width), width // own, axis=0)
    W[36, 0] += nudge
    params = [W, np.zeros(width), V, np.zeros(10)]
    opt = Momentum(lr=0.1)
    state = opt.init(params)
    gaps: list[float] = []
    costs: list[float] = []
    with threadpool_limits(1):
        batches = Batches(X, y, size=32, rng=rng)
        while len(costs) < steps:
            for x, label in batches:
                W, b, V, c = params
                h = np.tanh(product(x, W) + b)
                cost, slope = losses.cross_entropy(product(h, V) + c, label)
                back = product(slope, V.T) * (1 - h**2)
                gaps.append(max(np.ptp(W, axis=1).max(), np.ptp(V, axis=0).max()))
                costs.append(cost)
                opt.step(params, [product(x.T, back), back.sum(0), product(h.T, slope), slope.sum(0)], state)
    return np.array(gaps[:steps]), np.array(costs[:steps])


# fmt: off
def mean_squares(
    blocks: list[Any], x: Array, d: Array
) -> tuple[Array, Array]:
    """Mean square of the signals after each block, and of the
    gradients before it, if d is the gradient at the end."""
    forward, backward = [(x**2).mean()], [(d**2).mean()]
    for block in blocks:
        x = block.forward(x)
        forward.append((x**2).mean())
    for block in reversed(blocks):
        d = block.backward(d)
        backward.append((d**2).mean())
    return np.array(forward), np.array(backward[::-1])
# fmt: on


def stack(activation: str | None, width: int, depth: int, rng: np.random.Generator) -> list[Any]:
    """Blocks of a square layer with weights N(0, 1/width) and, if any, an activation."""
    init = partial(initializers.normal, std=width**-0.5)
    phi = [ACTIVATIONS[activation]] if activation else []
    return [
        nn.Sequential(nn.Dense(width, width, init=init, rng=rng), *(f() for f in phi)) for _ in range(depth)
    ]


def scale(blocks: list[Any], factor: float) -> None:
    """Multiply all weights in place."""
    for block in blocks:
        block.params[0][...] *= factor


@stored
def growth(
    activation: str | None, variances: tuple[float, ...], width: int = 512, depth: int = 20, seeds: int = 5
) -> tuple[Array, Array]:
    """Mean squares forward and backward, shape (variances, seeds, depth + 1): weights N(0, v / width)."""
    tables = np.empty((2, len(variances), seeds, depth + 1))
    with threadpool_limits(1):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            blocks = stack(activation, width, depth, rng)
            x, d = rng.standard_normal((2, 64, width))
            before = 1.0
            for k, v in enumerate(variances):
                scale(blocks, (v / before) ** 0.5)
                before = v
                tables[:, k, seed] = mean_squares(blocks, x, d)
    return tables[0], tables[1]


@stored
def separation(
    gains: tuple[float, ...], width: int = 512, depth: int = 30, seeds: int = 5
) -> tuple[Array, Array]:
    """tanh, weights N(0, g^2 / width): mean square distance of inputs that are 1e-6 apart at the start, and
    mean square of the gradient, shape (gains, seeds, depth + 1)."""
    tables = np.empty((2, len(gains), seeds, depth + 1))
    with threadpool_limits(1):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            blocks = stack("tanh", width, depth, rng)
            x, d = rng.standard_normal((2, 32, width))
            near = x + 1e-6 * rng.standard_normal(x.shape)
            before = 1.0
            for k, g in enumerate(gains):
                scale(blocks, g / before)
                before = g
                a, b, apart = x, near, [((x - near) ** 2).mean()]
                for block in blocks:
                    b = block.forward(b)
                    a = block.forward(a)  # the last, so that the backward pass belongs to it
                    apart.append(((a - b) ** 2).mean())
                tables[0, k, seed] = apart
                tables[1, k, seed] = mean_squares(blocks, x, d)[1]
    return tables[0], tables[1]


# fmt: off
@stored
def recurrence(
    gain: float, n: int = 256, steps: int = 300, seeds: int = 10
) -> Array:
    """Root mean square distance of two states of a recurrent net
    that began 1e-8 apart, shape (seeds, steps + 1)."""
    table = np.empty((seeds, steps + 1))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        U = gain * rng.standard_normal((n, n)) / np.sqrt(n)
        h = rng.standard_normal(n)
        pair = np.array([h, h + 1e-8 * rng.standard_normal(n)])
        for t in range(steps + 1):
            table[seed, t] = np.sqrt(((pair[0] - pair[1])**2).mean())
            pair = np.tanh(pair @ U)
    return table
# fmt: on


def network(
    depth: int, width: int, activation: str, init: Init, rng: np.random.Generator, outputs: int = 10
) -> Any:
    """64 inputs, so many hidden layers, and logits."""
    sizes = [64, *[width] * depth]
    layers: list[Any] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Dense(n_in, n_out, init=init, rng=rng), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Dense(sizes[-1], outputs, init=init, rng=rng))


@stored
def training(rule: str, activation: str, depth: int, seeds: int = 5, epochs: int = 5) -> Array:
    """Cost of all training digits before and after each epoch, shape (seeds, epochs + 1).

    Width 64, rate 0.03, momentum 0.9, batches of 32. A run that is no longer finite has cost inf.
    """
    X, y, _, _ = digits()
    table = np.full((seeds, epochs + 1), np.inf)
    with threadpool_limits(1), np.errstate(all="ignore"):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            model = network(depth, 64, activation, RULES[rule], rng)
            cost = nn.objective(model)

            def whole(params: list[Array], cost: Callable[..., Any] = cost) -> float:
                return float(cost(params, X, y)[0])

            batches, opt = Batches(X, y, size=32, rng=rng), Momentum(lr=0.03)
            run = train(cost, model.params, batches, opt, epochs=epochs, validate=whole, progress=False)
            table[seed, : len(run.history.validation)] = run.history.validation
    return table


@stored
def head_start(lr: float, seeds: int = 10, steps: int = 100, small: float = 0.1) -> Array:
    """Cost of the imbalanced digits before each step, output biases 0 and log p, shape (2, seeds, steps + 1).

    32 tanh units, Glorot's weights, those of the output times `small`, batches of 32.
    """
    X, y, p = imbalanced()
    table = np.empty((2, seeds, steps + 1))
    with threadpool_limits(1):
        for k, bias in enumerate((np.zeros(10), initializers.output_bias(p))):
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                model = network(1, 32, "tanh", initializers.glorot_uniform, rng)
                params = model.params
                params[-2] *= small
                params[-1][:] = bias
                cost, opt = nn.objective(model), SGD(lr=lr)
                state, batches, t = opt.init(params), Batches(X, y, size=32, rng=rng), 0
                while t <= steps:
                    for x, label in batches:
                        table[k, seed, t] = cost(params, X, y)[0]
                        opt.step(params, cost(params, x, label)[1], state)
                        t += 1
                        if t > steps:
                            break
    return table


# fmt: off
@stored
def trial(
    gain: float, activation: str, depth: int, lr: float, seed: int
) -> tuple[float, float]:
    """Train a net whose first weights are `gain` times those of
    `uniform`; training cost and test error after 15 epochs."""
    X, y, X_test, y_test = digits()
    rng = np.random.default_rng(seed)
    model = network(depth, 32, activation, initializers.uniform, rng)
    params, cost = model.params, nn.objective(model)
    for W in params[::2]:
        W *= gain
    with threadpool_limits(1), np.errstate(over="ignore"):
        train(cost, params, Batches(X, y, size=32, rng=rng),
              Momentum(lr=lr), epochs=15, progress=False)
        return cost(params, X, y)[0], nn.error_rate(model, X_test, y_test)
# fmt: on


@stored
def transfer(seeds: int = 10, few: int = 50, epochs: int = 30) -> Array:
    """Test error on the digits 5 to 9, learned from a `few` images, shape (3, seeds).

    Two layers of 64 ReLUs. First with He's weights throughout, then with one and with two hidden layers of a
    network that has learned the digits 0 to 4.
    """
    X, y, X_test, y_test = digits()
    high, high_test = y >= 5, y_test >= 5
    errors = np.empty((3, seeds))
    with threadpool_limits(1):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            other = network(2, 64, "ReLU", initializers.he_uniform, rng, outputs=5)
            batches = Batches(X[~high], y[~high], size=32, rng=rng)
            train(nn.objective(other), other.params, batches, Momentum(lr=0.03), epochs=10, progress=False)
            rows = rng.choice(np.flatnonzero(high), few, replace=False)
            for kept in (0, 1, 2):
                start = np.random.default_rng(seed)
                model = network(2, 64, "ReLU", initializers.he_uniform, start, outputs=5)
                model.params = [p.copy() for p in other.params[: 2 * kept]] + model.params[2 * kept :]
                batches = Batches(X[rows], y[rows] - 5, size=10, rng=seed)
                train(nn.objective(model), model.params, batches, SGD(lr=0.1), epochs=epochs, progress=False)
                errors[kept, seed] = nn.error_rate(model, X_test[high_test], y_test[high_test] - 5)
    return errors
