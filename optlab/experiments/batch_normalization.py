"""What the chapter on batch normalization and its claims share."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, Batches, losses, nn, normalization, problems, train, trajectory
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]

SIZES = (2, 4, 8, 16, 32, 64)
SHIFTS = ((1.0, 0.0), (0.5, 0.0), (2.0, 0.0), (1.0, 0.25), (0.5, 0.5))
CONTRASTS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SCALES = (0.01, 0.1, 1.0, 3.0, 10.0)


def features(seed: int) -> tuple[Array, Array]:
    """500 samples of five correlated features on very different scales, and a linear target with noise."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(0.5 * np.eye(5) + 0.5)
    z = rng.standard_normal((500, 5)) @ root.T
    X = z * [0.25, 0.5, 1.0, 2.0, 4.0] + [0.5, -1.0, 2.0, 1.0, 3.0]
    return X, X @ rng.standard_normal(5) + 1.0 + 0.1 * rng.standard_normal(500)


def feature_forms(X: Array) -> dict[str, Array]:
    """The features as they are, centered, standardized and whitened."""
    return {
        "raw": X,
        "centered": X - X.mean(axis=0),
        "standardized": normalization.feature_normalization(X)[0],
        "whitened": normalization.pca_whitening(X)[0],
    }


def steps_to_fit(X: Array, y: Array) -> tuple[float, int]:
    """Condition number of least squares with a constant, and the steps of gradient descent with the best rate
    until the excess cost is 1e-8 of that at 0."""
    problem = problems.least_squares((X, y))
    values = np.linalg.eigvalsh(problem.hess(problem.x0))
    kappa = float(values[-1] / values[0])
    # The excess falls at least by ((kappa - 1) / (kappa + 1))^2 a step: 4.6 kappa steps are enough.
    run = trajectory(problem, SGD(lr=2 / (values[0] + values[-1])), problem.x0, int(5 * kappa) + 10)
    assert run.fun is not None
    assert problem.fmin is not None
    excess = run.fun - problem.fmin
    return kappa, int(np.argmax(excess <= 1e-8 * excess[0]))


# fmt: off
def forward(x: Any, gamma: Any, beta: Any,
            delta: float) -> tuple[Any, ...]:
    """A column for each unit, a row for each sample."""
    mean = x.mean(axis=0)                          # 1
    centered = x - mean                            # 2
    var = (centered * centered).mean(axis=0)       # 3
    std = np.sqrt(var + delta)                     # 4
    x_hat = centered / std                         # 5
    y = gamma * x_hat + beta                       # 6
    return y, centered, std, x_hat


def backward(dy: Any, gamma: Any, centered: Any, std: Any,
             x_hat: Any) -> dict[str, Any]:
    """All partial derivatives, from the last step to the first."""
    m = len(dy)
    dbeta = dy.sum(axis=0)                                         # 6
    dgamma = (dy * x_hat).sum(axis=0)                              # 6
    dx_hat = gamma * dy                                            # 6
    dvar = -(dx_hat * centered).sum(axis=0) / (2 * std**3)         # 5, 4
    dmean = (-dx_hat.sum(axis=0) / std                             # 5
             - 2 / m * dvar * centered.sum(axis=0))                # 3
    dx = dx_hat / std + dvar * 2 * centered / m + dmean / m        # 5, 3, 1
    return {"x": dx, "gamma": dgamma, "beta": dbeta,
            "mean": dmean, "var": dvar}
# fmt: on


def check_problem(seed: int) -> tuple[Callable[[Any], Any], Array, Callable[[Array], Array]]:
    """A loss of 12 samples of 3 units that also takes complex numbers, a point, and the loss's gradient there
    by the formulas of `backward`."""
    rng = np.random.default_rng(seed)
    x, R = rng.standard_normal((12, 3)) * [0.5, 1, 3] + [0, 1, -2], rng.standard_normal((12, 3))
    gamma, beta = rng.standard_normal((2, 3))

    def loss(x: Any) -> Any:
        return (R * np.sin(forward(x, gamma, beta, 1e-5)[0])).sum()

    def gradient(x: Array) -> Array:
        y, *between = forward(x, gamma, beta, 1e-5)
        found: Array = backward(R * np.cos(y), gamma, *between)["x"]
        return found

    return loss, x, gradient


def apart(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest entry of b."""
    return float(abs(a - b).max() / abs(b).max())


def scaled(weights: float, inputs: float, delta: float, seed: int) -> tuple[float, float, float]:
    """How a layer with batch normalization takes its weights and inputs times two factors: relative changes
    of the outputs, of the weight gradient times `weights`, of the input gradient times `inputs`."""
    rng = np.random.default_rng(seed)
    a, W, R = rng.standard_normal((64, 10)), rng.standard_normal((10, 5)), rng.standard_normal((64, 5))
    gamma, beta = rng.standard_normal((2, 5))

    def layer(a: Array, W: Array) -> tuple[Array, Array, Array]:
        y, cache = normalization.batch_norm(a @ W, gamma, beta, eps=delta)
        dx = normalization.batch_norm_backward(R * np.cos(y), cache)[0]
        return y, a.T @ dx, dx @ W.T

    y, dW, da = layer(a, W)
    y2, dW2, da2 = layer(inputs * a, weights * W)
    return apart(y2, y), apart(weights * dW2, dW), apart(inputs * da2, da)


@stored
def variance_ratios(size: int, partitions: int = 20) -> tuple[Array, Array]:
    """Mean variance within batches over the variance of all digits, summed over the pixels, for random
    partitions into batches: with the correction m/(m - 1) and without."""
    X = load_digits().data / 16
    rng = np.random.default_rng(0)
    total = X.var(axis=0, ddof=1).sum()
    corrected, plain = [], []
    for _ in range(partitions):
        rows = rng.permutation(len(X))[: len(X) // size * size].reshape(-1, size)
        caches = [normalization.batch_norm(X[batch])[1] for batch in rows]
        corrected.append(normalization.population_statistics(caches)[1].sum() / total)
        plain.append(np.mean([cache.var for cache in caches], axis=0).sum() / total)
    return np.array(corrected), np.array(plain)


def digits(seed: int = 0) -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
    """1200 images of digits to learn from and 597 to test with, pixels from 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    X, t = images[order] / 16, labels[order]
    return X[:1200], t[:1200], X[1200:], t[1200:]


# fmt: off
def network(norm: str, rng: np.random.Generator, scale: float = 1.0,
            **settings: Any) -> nn.Sequential:
    """64 inputs, two hidden layers of 64, 10 classes. `norm`: "none",
    "before" or "after" the activation."""
    layers: list[Any] = []
    for _ in range(2):
        layers.append(nn.Dense(64, 64, bias=norm == "none", rng=rng))
        layers[-1].params[0][...] *= scale
        if norm == "before":
            layers.append(nn.BatchNorm(64, **settings))
        layers.append(nn.ReLU())
        if norm == "after":
            layers.append(nn.BatchNorm(64, **settings))
    return nn.Sequential(*layers, nn.Dense(64, 10, rng=rng))
# fmt: on


def fit(
    net: nn.Sequential, X: Array, t: NDArray[np.int64], size: int, lr: float, epochs: int, rng: Any
) -> float:
    """Train with plain SGD; the mean cost of the last epoch's batches."""
    batches = Batches(X, t, size=size, rng=rng, drop_last=True)
    with np.errstate(all="ignore"):  # some rates are too large
        run = train(nn.objective(net), net.params, batches, SGD(lr=lr), epochs=epochs, progress=False)
    return float(run.history.fun[-len(batches) :].mean()) if run.status == 0 else np.inf


@stored
def batch_sizes(seeds: int = 10, epochs: int = 5) -> tuple[Array, Array, Array]:
    """Test errors for each size of batches, shape (seeds, sizes): without normalization, with running
    statistics, with those of the test images. The rate is 0.1 for batches of 32, in proportion for others."""
    X, t, X_test, t_test = digits()
    errors = np.empty((3, seeds, len(SIZES)))
    with threadpool_limits(1):
        for seed in range(seeds):
            for k, m in enumerate(SIZES):
                for norm in ("none", "before"):
                    rng = np.random.default_rng(seed)
                    net = network(norm, rng)
                    fit(net, X, t, m, 0.1 * m / 32, epochs, rng)
                    if norm == "none":
                        errors[0, seed, k] = nn.error_rate(net, X_test, t_test)
                    else:
                        errors[1, seed, k] = nn.error_rate(net, X_test, t_test)
                        errors[2, seed, k] = batch_error(net, X_test, t_test)
    return errors[0], errors[1], errors[2]


def batch_error(net: nn.Sequential, X: Array, t: NDArray[np.int64]) -> float:
    """The share of wrong answers when the images X are normalized by their own statistics.

    The running statistics of the network go a step towards those of X.
    """
    return float((net.forward(X, training=True).argmax(axis=1) != t).mean())


@stored
def shifted(seeds: int = 10, epochs: int = 10) -> tuple[Array, Array]:
    """Test errors with pixels a x + c in place of x, after training with x.

    Without normalization, with running statistics, with those of the test images. For each (a, c) of SHIFTS,
    shape (3, seeds, shifts); for c = 0 and each a of CONTRASTS, shape (3, seeds, contrasts).
    """
    X, t, X_test, t_test = digits()
    pairs = [*SHIFTS, *((a, 0.0) for a in CONTRASTS)]
    errors = np.empty((3, seeds, len(pairs)))
    with threadpool_limits(1):
        for seed in range(seeds):
            for norm in ("none", "before"):
                rng = np.random.default_rng(seed)
                net = network(norm, rng)
                fit(net, X, t, 32, 0.1, epochs, rng)
                row = 0 if norm == "none" else 1
                errors[row, seed] = [nn.error_rate(net, a * X_test + c, t_test) for a, c in pairs]
                if norm == "before":
                    errors[2, seed] = [batch_error(net, a * X_test + c, t_test) for a, c in pairs]
    return errors[..., : len(SHIFTS)], errors[..., len(SHIFTS) :]


@stored
def before_or_after(seeds: int = 20, epochs: int = 20) -> dict[str, Array]:
    """Training cost and test error after each epoch, shape (2, seeds, epochs), of the three networks."""
    X, t, X_test, t_test = digits()
    tables = {}
    with threadpool_limits(1):
        for norm in ("none", "before", "after"):
            table = tables[norm] = np.empty((2, seeds, epochs))
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                net = network(norm, rng)
                batches, params = Batches(X, t, size=32, rng=rng, drop_last=True), net.params
                for epoch in range(epochs):
                    train(nn.objective(net), params, batches, SGD(lr=0.1), epochs=1, progress=False)
                    logits = net.forward(X, training=False)
                    table[0, seed, epoch] = losses.cross_entropy(logits, t)[0]
                    table[1, seed, epoch] = nn.error_rate(net, X_test, t_test)
    return tables


@stored
def sensitivity(seeds: int = 5, epochs: int = 5) -> tuple[dict[str, Array], dict[str, Array]]:
    """Test errors of a network with and without normalization: for each of RATES with the usual weights, and
    for weights times each of SCALES with the rate 0.1. Shape (seeds, rates), (seeds, scales)."""
    X, t, X_test, t_test = digits()

    def error(norm: str, seed: int, lr: float, scale: float) -> float:
        rng = np.random.default_rng(seed)
        net = network(norm, rng, scale)
        fit(net, X, t, 32, lr, epochs, rng)
        return nn.error_rate(net, X_test, t_test)

    with threadpool_limits(1):
        rates = {
            norm: np.array([[error(norm, seed, lr, 1.0) for lr in RATES] for seed in range(seeds)])
            for norm in ("none", "before")
        }
        scales = {
            norm: np.array([[error(norm, seed, 0.1, scale) for scale in SCALES] for seed in range(seeds)])
            for norm in ("none", "before")
        }
    return rates, scales


@stored
def conventions(seeds: int = 5, epochs: tuple[int, ...] = (1, 2, 5, 10)) -> dict[str, Array]:
    """Test error after so many epochs, shape (seeds, epochs), with statistics gathered in three ways."""
    X, t, X_test, t_test = digits()
    forms: dict[str, dict[str, Any]] = {
        "PyTorch": {},
        "Keras": {"momentum": 0.01, "unbiased": False, "eps": 1e-3},
    }
    tables = {name: np.empty((seeds, len(epochs))) for name in forms}
    with threadpool_limits(1):
        for name, settings in forms.items():
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                net = network("before", rng, **settings)
                for k, more in enumerate(np.diff(epochs, prepend=0)):
                    fit(net, X, t, 32, 0.1, int(more), rng)
                    tables[name][seed, k] = nn.error_rate(net, X_test, t_test)
    return tables
