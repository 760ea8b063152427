"""What the chapter on the reasons for batch normalization and its claims share.

All networks are small: 64 units in each layer, the 8x8 digits. Each result is for several seeds, which differ
in the weights and in the order of the samples.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, Batches, nn
from optlab.experiments import stored
from optlab.normalization import batch_norm, batch_norm_backward

Array: TypeAlias = NDArray[np.float64]
Fun: TypeAlias = Callable[..., tuple[float, list[Array]]]


def digits(centered: bool = False) -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
    """1200 digits to train with and 597 to test, pixels between 0 and 1; on request minus their mean."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    X, y = images[order] / 16, labels[order].astype(np.int64)
    if centered:
        X = X - X[:1200].mean(axis=0)
    return X[:1200], y[:1200], X[1200:], y[1200:]


# fmt: off
class Noise(nn.Layer):
    """After a normalization, and in training only: another mean and
    scale for each unit in each step, and a jitter for each sample."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rng = rng

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        if not training:
            return x, None
        draw, (m, n) = self.rng.uniform, x.shape
        shift = draw(-0.5, 0.5, n) + draw(-0.1, 0.1, (m, n))
        scale = draw(1.0, 1.25, n) + draw(-0.1, 0.1, (m, n))
        return scale * x + shift, scale

    def _backward(self, dy: Array, scale: Any) -> tuple[Array, list[Array]]:
        return scale * dy, []


class NormP(nn.Layer):
    """y = gamma (x - mean) / d + beta, where d is the mean (p = 1),
    the root mean square (2) or the maximum (inf) of |x - mean|."""

    names = "gamma", "beta"

    def __init__(self, n: int, p: float, gamma: float = 1.0) -> None:
        super().__init__()
        self.p, self.gamma, self.beta = p, np.full(n, gamma), np.zeros(n)
        self.running_mean, self.running_d = np.zeros(n), np.ones(n)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        if not training:
            x_hat = (x - self.running_mean) / self.running_d
            return self.gamma * x_hat + self.beta, None
        mean = x.mean(axis=0)
        c, sign = x - mean, np.sign(x - mean)
        if self.p == 1:
            d = abs(c).mean(axis=0)
            slope = sign / len(x)               # of d by c
        elif self.p == 2:
            d = np.sqrt((c * c).mean(axis=0))
            slope = c / d / len(x)
        else:
            d = abs(c).max(axis=0)
            slope = sign * (abs(c) == d)
        self.running_mean += 0.1 * (mean - self.running_mean)
        self.running_d += 0.1 * (d - self.running_d)
        slope = slope - slope.mean(axis=0)      # of d by x
        return self.gamma * c / d + self.beta, (c / d, d, slope)

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        x_hat, d, slope = cache
        along = (dy * x_hat).sum(axis=0)
        dx = self.gamma / d * (dy - dy.mean(axis=0) - along * slope)
        return dx, [along, dy.sum(axis=0)]
# fmt: on


def network(depth: int, norm: str, rng: np.random.Generator) -> tuple[nn.Sequential, list[list[nn.Layer]]]:
    """64 inputs, `depth` times 64 ReLUs, 10 logits; and its layers in blocks: up to the next ReLU."""
    kinds: dict[str, Callable[[], list[Any]]] = {
        "none": lambda: [],
        "batch": lambda: [nn.BatchNorm(64)],
        "noise": lambda: [nn.BatchNorm(64), Noise(np.random.default_rng(rng.integers(2**32)))],
        "p = 1": lambda: [NormP(64, 1)],
        "p = 2": lambda: [NormP(64, 2)],
        "p = inf": lambda: [NormP(64, np.inf)],
        "p = inf, gamma = 2.5": lambda: [NormP(64, np.inf, 2.5)],
    }
    blocks = [[nn.Dense(64, 64, bias=norm == "none", rng=rng), *kinds[norm]()] for _ in range(depth)]
    blocks.append([nn.Dense(64, 10, rng=rng)])
    layers = [layer for block in blocks for layer in [nn.ReLU(), *block]][1:]
    return nn.Sequential(*layers), blocks


def steps(
    fun: Fun, params: list[Array], X: Array, y: NDArray[np.int64], lr: float, seed: int
) -> Iterator[tuple[Array, NDArray[np.int64], float, list[Array]]]:
    """SGD with batches of 64, epoch after epoch: batch, cost and gradient, given out before each update."""
    batches, opt = Batches(X, y, size=64, rng=seed), SGD(lr=lr)
    state = opt.init(params)
    while True:
        for x, t in batches:
            value, grads = fun(params, x, t)
            yield x, t, value, grads
            opt.step(params, grads, state)


def statistics(blocks: list[list[Any]], X: Array) -> list[tuple[Array, Array]]:
    """Mean and standard deviation of each unit before its ReLU, as in training on the batch X."""
    found = []
    for block in blocks[:-1]:
        for layer in block:
            kept = {key: value.copy() for key, value in vars(layer).items() if key.startswith("running")}
            X = layer.forward(X)
            for key, value in kept.items():
                getattr(layer, key)[...] = value
        found.append((X.mean(axis=0), X.std(axis=0)))
        X = np.maximum(X, 0)
    return found


@stored
def training(
    norm: str, depth: int = 2, seeds: int = 10, epochs: int = 20, watch: bool = False
) -> dict[str, Array]:
    """The digits, SGD with rate 0.1, batches of 64.

    After each epoch the mean cost of its batches and the share of errors on training and test images, shape
    (seeds, epochs). On request, for every fifth update, how far mean and standard deviation of the units
    before their ReLU have moved on a fixed batch of 200 images: the mean over units of the sum of both moves,
    over the mean standard deviation of the layer, averaged over layers; shape (seeds, updates / 5).
    """
    X, y, X_test, y_test = digits()
    rows: dict[str, list[list[float]]] = {"cost": [], "training error": [], "test error": [], "shift": []}
    with threadpool_limits(1):
        for seed in range(seeds):
            model, blocks = network(depth, norm, np.random.default_rng(seed))
            for row in rows.values():
                row.append([])
            costs: list[float] = []
            run = steps(nn.objective(model), model.params, X, y, 0.1, seed)
            per_epoch = -(-len(X) // 64)
            next(run)
            for k in range(1, epochs * per_epoch + 1):
                look = watch and k % 5 == 0
                before = statistics(blocks, X[:200]) if look else []
                costs.append(next(run)[2])
                if look:
                    after = statistics(blocks, X[:200])
                    moves = [
                        np.mean(abs(m1 - m0) + abs(s1 - s0)) / s1.mean()
                        for (m0, s0), (m1, s1) in zip(before, after, strict=True)
                    ]
                    rows["shift"][-1].append(float(np.mean(moves)))
                if k % per_epoch == 0:
                    rows["cost"][-1].append(float(np.mean(costs)))
                    rows["training error"][-1].append(nn.error_rate(model, X, y))
                    rows["test error"][-1].append(nn.error_rate(model, X_test, y_test))
                    costs = []
    return {name: np.array(row) for name, row in rows.items()}


def flat(grads: list[Array]) -> Array:
    return np.concatenate([g.ravel() for g in grads])


def cosines(fun: Fun, sizes: list[int], params: list[Array], moved: list[Array], *batch: Any) -> list[float]:
    """For each layer after the first, the cosine of the angle between its gradient now and its gradient after
    all earlier layers have moved, on the same batch. `sizes`: how many parameters each layer has."""
    now = fun(params, *batch)[1]
    found, start = [], 0
    for size in sizes[:-1]:
        start += size
        then = fun(moved[:start] + params[start:], *batch)[1]
        g, h = now[start].ravel(), then[start].ravel()  # by the weights
        found.append(float(g @ h / np.sqrt(g @ g * (h @ h))))
    return found


@stored
def gradient_correlation(
    depth: int, norm: str, lr: float, centered: bool, seeds: int = 10, updates: int = 100
) -> Array:
    """Mean of `cosines` over the layers, in every fifth of the first updates, shape (seeds, updates / 5)."""
    X, y, _, _ = digits(centered)
    table = []
    with threadpool_limits(1):
        for seed in range(seeds):
            model, blocks = network(depth, norm, np.random.default_rng(seed))
            sizes = [sum(len(layer.params) for layer in block) for block in blocks]
            fun, params, row = nn.objective(model), model.params, []
            for k, (x, t, _, grads) in zip(range(updates), steps(fun, params, X, y, lr, seed), strict=False):
                if k % 5 == 0:
                    moved = [p - lr * g for p, g in zip(params, grads, strict=True)]
                    row.append(np.mean(cosines(fun, sizes, params, moved, x, t)))
            table.append(row)
    return np.array(table)


@stored
def linear_correlation(norm: str, depth: int = 25, lr: float = 1e-3, seeds: int = 10) -> Array:
    """The same for a deep linear network of width 16: 256 normal samples, normal targets that are linear in
    them, squared error, weights of variance 1/16, the full batch; in every 20th of 100 updates."""
    table = []
    with threadpool_limits(1):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            X = rng.standard_normal((256, 16))
            Y = X @ (rng.standard_normal((16, 16)) / 4)

            def normal(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any = None) -> Array:
                return np.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]))

            def block(rng: np.random.Generator = rng) -> list[Any]:
                dense = nn.Dense(16, 16, bias=norm == "none", init=normal, rng=rng)
                return [dense, nn.BatchNorm(16)] if norm == "batch" else [dense]

            def squared(z: Array, t: Array) -> tuple[float, Array]:
                return 0.5 * float(np.sum((z - t) ** 2)) / len(z), (z - t) / len(z)

            blocks = [block() for _ in range(depth - 1)] + [[nn.Dense(16, 16, init=normal, rng=rng)]]
            model = nn.Sequential(*(layer for part in blocks for layer in part))
            sizes = [sum(len(layer.params) for layer in part) for part in blocks]
            fun, params, row = nn.objective(model, squared), model.params, []
            for k in range(100):
                grads = fun(params, X, Y)[1]
                moved = [p - lr * g for p, g in zip(params, grads, strict=True)]
                if k % 20 == 0:
                    row.append(np.mean(cosines(fun, sizes, params, moved, X, Y)))
                params = moved
            table.append(row)
    return np.array(table)


@stored
def slices(norm: str, marks: tuple[int, ...], reach: float = 8.0) -> Array:
    """Three hidden layers, uncentered digits, rate 0.1: the change of the cost of the batch from theta to
    theta - a lr g for 41 values of a, before the updates `marks`; one seed."""
    X, y, _, _ = digits()
    found = []
    with threadpool_limits(1):
        model, _ = network(3, norm, np.random.default_rng(0))
        fun, params = nn.objective(model), model.params
        for k, (x, t, cost, grads) in enumerate(steps(fun, params, X, y, 0.1, 0)):
            if k in marks:
                rows = [
                    [p - a * 0.1 * g for p, g in zip(params, grads, strict=True)]
                    for a in np.linspace(0, reach, 41)
                ]
                found.append([fun(row, x, t)[0] - cost for row in rows])
            if k == max(marks):
                break
    return np.array(found)


REACH = np.array([0.0, 0.5, 1.0, 2.0, 4.0])


@stored
def along_the_step(norm: str, lr: float, centered: bool, seeds: int = 10, updates: int = 200) -> Array:
    """Three hidden layers: the cost of the batch at theta - a lr g, for a in REACH, every eighth update.

    Shape (3, seeds, updates / 8): the range of the cost over all a; the largest |g(a) - g(0)|; and the
    largest |g(a) - g(0)| / |theta(a) - theta(0)|, the effective smoothness.
    """
    X, y, _, _ = digits(centered)
    table = []
    with threadpool_limits(1):
        for seed in range(seeds):
            model, _ = network(3, norm, np.random.default_rng(seed))
            fun, params = nn.objective(model), model.params
            for k, (x, t, cost, grads) in zip(
                range(updates), steps(fun, params, X, y, lr, seed), strict=False
            ):
                if k % 8:
                    continue
                costs, changes, rates, g = [cost], [], [], flat(grads)
                for a in REACH[1:]:
                    there = [p - a * lr * d for p, d in zip(params, grads, strict=True)]
                    value, slopes = fun(there, x, t)
                    costs.append(value)
                    changes.append(np.linalg.norm(flat(slopes) - g))
                    rates.append(changes[-1] / (a * lr * np.linalg.norm(g)))
                table.append((max(costs) - min(costs), max(changes), max(rates)))
    return np.array(table).T.reshape(3, seeds, -1)


def from_scores(Y: Any, labels: NDArray[np.int64], norms: list[Any], weights: list[Array], eps: float) -> Any:
    """The gradient of the cross-entropy by Y, the units of a layer before their normalization, ReLU and all
    that follows: norms[0], ReLU, weights[0], norms[1], ReLU, weights[1], ... A norm is (gamma, beta), or None
    to leave it out. Y may be complex: no conjugate, no absolute value."""
    tape = []
    for norm, W in zip(norms, weights, strict=True):
        if norm is None:
            z, back = Y, None
        else:
            c = Y - Y.mean(axis=0)
            std = np.sqrt((c * c).mean(axis=0) + eps)
            z, back = norm[0] * c / std + norm[1], (norm[0], c / std, std)
        on = z.real > 0
        tape.append((W, on, back))
        Y = (z * on) @ W
    p = np.exp(Y - Y.real.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    g = p / len(labels)
    for W, on, back in reversed(tape):
        g = (g @ W.T) * on
        if back:
            gamma, x_hat, std = back
            g = gamma / std * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0))
    return g


@stored
def smoothness_identities(eps: float, seeds: int = 3, updates: int = 200) -> dict[str, Array]:
    """Both theorems on the normalized units of a network with two hidden layers, in every tenth update.

    For each unit: both sides of the equation for |a|^2, the sum of the absolute terms on the right, the share
    of |g|^2 that the normalization removes, <g, y_hat>, gamma / sigma, |a| / |g|. For every eighth unit: both
    sides of the equation for the curvature along a, and the sum of its absolute terms. The derivatives of the
    gradient are complex steps.
    """
    X, y, _, _ = digits()
    first, second, step = [], [], 1e-30
    with threadpool_limits(1):
        for seed in range(seeds):
            model, blocks = network(2, "batch", np.random.default_rng(seed))
            run = steps(nn.objective(model), model.params, X, y, 0.1, seed)
            for k, (x, t, _, _) in zip(range(updates), run, strict=False):
                if k % 10:
                    continue
                norms = [block[1].params for block in blocks[:-1]]
                weights = [block[0].params[0] for block in blocks]
                Y = x @ weights[0]
                for layer in range(2):
                    rest = (t, norms[layer:], weights[layer + 1 :], eps)
                    tail = (t, [None, *norms[layer + 1 :]], weights[layer + 1 :], eps)
                    gamma, beta = norms[layer]
                    m, std = len(Y), np.sqrt(Y.var(axis=0) + eps)
                    y_hat = (Y - Y.mean(axis=0)) / std
                    Z = gamma * y_hat + beta
                    a, g = from_scores(Y, *rest), from_scores(Z, *tail)
                    aa, gg, g1, gy = (a * a).sum(0), (g * g).sum(0), g.sum(0), (g * y_hat).sum(0)
                    scale = (gamma / std) ** 2
                    terms = scale * np.array([gg, -(g1**2) / m, -(gy**2) / m])
                    removed = (g1**2 + gy**2) / m / gg
                    first.append(
                        [aa, terms.sum(0), abs(terms).sum(0), removed, gy, gamma / std, np.sqrt(aa / gg)]
                    )
                    for j in range(0, 64, 8):
                        along = np.zeros_like(Y)
                        along[:, j] = a[:, j]
                        hy = from_scores(Y + 1j * step * along, *rest)[:, j].imag / step @ a[:, j]
                        hz = from_scores(Z + 1j * step * along, *tail)[:, j].imag / step @ a[:, j]
                        right = np.array([scale[j] * hz, -gamma[j] / (m * std[j] ** 2) * gy[j] * aa[j]])
                        second.append([hy, right.sum(), abs(right).sum()])
                    Y = np.maximum(Z, 0) @ weights[layer + 1]
    names = "left", "right", "size", "removed", "gy", "gamma over sigma", "a over g"
    table = dict(zip(names, np.concatenate(first, axis=1), strict=True))
    return table | dict(zip(("left 2", "right 2", "size 2"), np.array(second).T, strict=True))


# fmt: off
@stored
def explosion(
    seeds: int = 3, width: int = 1024, depth: int = 30
) -> dict[str, Array]:
    """Squared norm of the gradient by the input of each layer, at
    initialization. For each batch size, and with skip connections."""
    cases = {"8": 8, "32": 32, "128": 128, "1024": 1024, "skip": 128}
    table: dict[str, list[list[float]]] = {name: [] for name in cases}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)

        def normal(
            n: int, m: int, rng: np.random.Generator = rng
        ) -> Any:
            return rng.standard_normal((n, m), dtype=np.float32)

        scale = np.float32(width**-0.5)
        weights = [scale * normal(width, width) for _ in range(depth)]
        for name, batch in cases.items():
            skip, h, tape = name == "skip", normal(batch, width), []
            for W in weights:
                y, cache = batch_norm(h @ W)
                tape.append((cache, y > 0))
                h = np.maximum(y, 0) + (h if skip else 0)
            g = normal(batch, width)
            row = [np.sum(g * g)]
            for W in weights[::-1]:
                cache, on = tape.pop()
                back = batch_norm_backward(g * on, cache)[0] @ W.T
                g = back + (g if skip else 0)
                row.append(np.sum(g * g))
            table[name].append(row[::-1])
    return {name: np.array(rows, float) for name, rows in table.items()}


def growth(table: Array) -> Array:
    """Factor per layer, without the four layers at each end."""
    inner = np.log(table[:, 4:-4])
    slopes = np.polyfit(np.arange(inner.shape[1]), inner.T, 1)[0]
    return np.asarray(np.exp(-slopes))
# fmt: on


def quotient(w: Array, S: Array, u: Array) -> float:
    """Least squares after the best length is chosen: -(u'w)^2 / w'Sw."""
    return float(-((u @ w) ** 2) / (w @ S @ w))


def least_squares_problem(kappa: float, seed: int, n: int = 12) -> tuple[Array, Array, Array]:
    """S with eigenvalues spread evenly on a logarithmic scale from 1 to kappa, u, and a start w."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    S = Q * np.geomspace(1, kappa, n) @ Q.T
    return (S + S.T) / 2, rng.standard_normal(n), rng.standard_normal(n)


# fmt: off
def direction_step(w: Array, S: Array, u: Array, L: float) -> Array:
    """One step of normalized descent. It needs neither the loss
    nor the length."""
    return w - S @ w / L + (w @ S @ w) / (L * (u @ w)) * u
# fmt: on


@stored
def quotient_descent(kappa: float, seeds: int = 20, tol: float = 1e-8) -> dict[str, Array]:
    """Normalized descent on least squares beside plain gradient descent with the steps 1/L and 2/(L + mu).

    "ratio": the largest gap of the quotient over its bound, while the gap is above 1e-10 of the optimum;
    and the iterations until the excess cost is `tol` of its optimum value.
    """
    rows: dict[str, list[float]] = {"ratio": [], "normalized": [], "1/L": [], "2/(L + mu)": []}
    for seed in range(seeds):
        S, u, w = least_squares_problem(kappa, seed)
        L, mu, best = kappa, 1.0, -float(u @ np.linalg.solve(S, u))
        gap0 = gap = quotient(w, S, u) - best
        start, t, ratio = w.copy(), 0, 0.0
        while gap > tol * abs(best):
            w, t = direction_step(w, S, u, L), t + 1
            gap = quotient(w, S, u) - best
            ratio = max(ratio, gap / (gap0 * (1 - mu / L) ** (2 * t)))
        rows["ratio"].append(ratio)
        rows["normalized"].append(t)
        goal = np.linalg.solve(S, u)
        for name, lr in (("1/L", 1 / L), ("2/(L + mu)", 2 / (L + mu))):
            # The same start: the line through w, at its best length.
            e, t = (u @ start) / (start @ S @ start) * start - goal, 0
            while e @ S @ e > tol * abs(best):
                e, t = e - lr * (S @ e), t + 1
            rows[name].append(t)
    return {name: np.array(row) for name, row in rows.items()}


def rayleigh_rate(A: Array, B: Array, w: Array, steps: int = 200) -> Array:
    """Preconditioned ascent on w'Bw / w'Aw: (gap after) / (q^2 gap before) of each step, where the gap is
    (lambda_1 - rho) / (rho - lambda_2), from the first rho above lambda_2 until the gap is below 1e-6."""
    inverse = np.linalg.inv(A)
    values = np.sort(np.linalg.eigvals(inverse @ B).real)[::-1]
    q = (values[1] - values[-1]) / (values[0] - values[-1])
    gaps = []
    for _ in range(steps):
        rho = (w @ B @ w) / (w @ A @ w)
        if rho > values[1]:
            gaps.append((values[0] - rho) / (rho - values[1]))
            if gaps[-1] < 1e-6:
                break
        w = w + (inverse @ (B @ w) - rho * w) / (rho - values[-1])
        w = w / np.linalg.norm(w)
    found = np.array(gaps)
    return np.asarray(found[1:] / found[:-1] / q**2)


NODES, MASSES = np.polynomial.hermite_e.hermegauss(80)
MASSES = MASSES / MASSES.sum()


def half_space(kappa: float, seed: int, n: int = 8, strength: float = 0.6) -> tuple[Array, Array, Array]:
    """S with spectrum 1 ... kappa, u with u' S^-1 u = strength, and a start with u'w < 0."""
    S, u, w = least_squares_problem(kappa, seed, n)
    u = u * np.sqrt(strength / (u @ np.linalg.solve(S, u)))
    return S, u, w if u @ w < 0 else -w


# fmt: off
def half_space_parts(v: Array, S: Array, u: Array) -> Array:
    """E phi, E phi', E phi'' at z'v, for phi = log(1 + exp) and z
    normal with mean u and E zz' = S: z'v is normal, one-dimensional."""
    mean = u @ v
    a = mean + np.sqrt(v @ S @ v - mean**2) * NODES
    s = expit(a)
    return np.array([np.logaddexp(0, a), s, s * (1 - s)]) @ MASSES


def half_space_gradient(
    v: Array, S: Array, u: Array
) -> tuple[Array, float]:
    """c1 u + c2 S v, and c1."""
    _, first, second = half_space_parts(v, S, u)
    c1 = first - second * (u @ v)
    return c1 * u + second * (S @ v), c1


def bisection(
    slope: Callable[[float], Any], low: float, high: float, halvings: int
) -> float:
    """A zero of an increasing function."""
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return (low + high) / 2


def gamma_of(
    w: Array, S: Array, u: Array, halvings: int = 50, top: float = 20.0
) -> float:
    """The best length for the direction w."""
    unit = w / np.sqrt(w @ S @ w)

    def slope(gamma: float) -> Any:
        return half_space_gradient(gamma * unit, S, u)[0] @ unit

    return bisection(slope, 0.0, top, halvings)


def gdnp(
    S: Array, u: Array, w: Array, steps: int
) -> Iterator[tuple[Array, float]]:
    """Gradient descent in normalized parameters: gamma by bisection,
    then a step of w. Yields w and gamma before each step."""
    L = np.linalg.eigvalsh(S)[-1]
    for _ in range(steps):
        gamma = gamma_of(w, S, u)
        yield w, gamma
        size = np.sqrt(w @ S @ w)
        g, c1 = half_space_gradient(gamma * w / size, S, u)
        # The chain rule through v = gamma w / |w|_S:
        grad_w = gamma / size * (g - (g @ w) * (S @ w) / size**2)
        h = c1 * (u @ w)
        w = w + size**3 / (L * gamma * h) * grad_w
# fmt: on


@stored
def half_space_race(kappa: float, seeds: int = 10, longest: int = 6000) -> dict[str, Array]:
    """GDNP and gradient descent on half-spaces, until the gradient is below 1e-6.

    "gradients": the norms of the gradient along GDNP, shape (seeds, steps), NaN after 1e-8; "factor": the
    fitted factor per step; "identity": the largest relative error of the equation for the gradient by w while
    the gap of the quotient is above 1e-4 of its optimum; "ratio": the largest gap over its bound; iterations
    of GDNP, of descent with the step 1/zeta, zeta = L/4, and of that with the step best at the optimum.
    """
    names = "gradients", "factor", "identity", "ratio", "GDNP", "safe", "tuned"
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for seed in range(seeds):
        S, u, start = half_space(kappa, seed)
        L, mu = kappa, 1.0
        best = -float(u @ np.linalg.solve(S, u))
        gap0 = quotient(start, S, u) - best
        norms, identity, ratio = [], 0.0, 0.0
        for t, (w, gamma) in enumerate(gdnp(S, u, start, int(21 * kappa))):
            size = np.sqrt(w @ S @ w)
            v = gamma * w / size
            g, c1 = half_space_gradient(v, S, u)
            norms.append(float(np.linalg.norm(g)))
            gap = quotient(w, S, u) - best
            if t > 0 and gap > 1e-10 * abs(best):
                ratio = max(ratio, gap / (gap0 * (1 - mu / L) ** (2 * t)))
            if gap > 1e-4 * abs(best):
                grad_w = gamma / size * (g - (g @ w) * (S @ w) / size**2)
                left = size**2 * (grad_w @ np.linalg.solve(S, grad_w))
                right = gamma**2 * c1**2 * gap
                identity = max(identity, abs(left / right - 1))
            if norms[-1] < 1e-8:
                break
        found = np.array(norms)
        rows["GDNP"].append((found < 1e-6).argmax() if (found < 1e-6).any() else longest)
        fit = np.flatnonzero((found > 1e-7) & (np.arange(len(found)) >= 5))
        rows["factor"].append(np.exp(np.polyfit(fit, np.log(found[fit]), 1)[0]))
        rows["gradients"].append(np.pad(found, (0, int(21 * kappa) - len(found)), constant_values=np.nan))
        rows["identity"].append(identity)
        rows["ratio"].append(ratio)
        # The Hessian at the optimum, by differences of the gradient.
        H = np.array(
            [
                (half_space_gradient(v + d, S, u)[0] - half_space_gradient(v - d, S, u)[0]) / 2e-5
                for d in 1e-5 * np.eye(len(v))
            ]
        )
        curves = np.linalg.eigvalsh((H + H.T) / 2)
        first = gamma_of(start, S, u) * start / np.sqrt(start @ S @ start)
        for name, lr in (("safe", 4 / L), ("tuned", 2 / (curves[0] + curves[-1]))):
            x, count = first, 0
            while count < longest:
                g = half_space_gradient(x, S, u)[0]
                if g @ g < 1e-12:
                    break
                x, count = x - lr * g, count + 1
            rows[name].append(count)
    return {name: np.array(row) for name, row in rows.items()}


# A grid for two independent normal numbers. The masses of the normal density at equal distances: for smooth
# functions as good as Gauss-Hermite, and for tanh, which has poles nearby, better.
PAIR = np.stack([grid.ravel() for grid in np.meshgrid(*2 * [np.arange(-6, 6.1, 0.25)])])
PAIR_MASSES = np.exp(-(PAIR**2).sum(axis=0) / 2)
PAIR_MASSES = PAIR_MASSES / PAIR_MASSES.sum()


def two_units_gradient(i: int, V: Array, theta: Array, S: Array, u: Array) -> Array:
    """Gradient by v_i of E log(1 + exp(F)), F = sum of theta_k tanh(z'v_k): how much of u, S v_i, S v_j."""
    mean = V @ u
    C = V @ S @ V.T - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(C)
    a = mean[:, None] + (vectors * np.sqrt(np.maximum(values, 0))) @ PAIR
    tanh = np.tanh(a)
    s = expit(theta @ tanh)
    j, slope = 1 - i, 1 - tanh**2
    psi = s * theta[i] * slope[i]
    psi_i = s * (1 - s) * (theta[i] * slope[i]) ** 2 - 2 * s * theta[i] * slope[i] * tanh[i]
    psi_j = s * (1 - s) * theta[i] * slope[i] * theta[j] * slope[j]
    first, own, other = (float(PAIR_MASSES @ p) for p in (psi, psi_i, psi_j))
    return np.array([first - own * mean[i] - other * mean[j], own, other])


def unit_gradient(
    i: int, V: Array, theta: Array, S: Array, u: Array, w: Array, gamma: float
) -> tuple[Array, Array]:
    """The gradient by v_i at v_i = gamma w, which is put into V, and its part beside S v_i."""
    V[i] = gamma * w
    c = two_units_gradient(i, V, theta, S, u)
    side = c[0] * u + c[2] * (S @ V[1 - i])
    return side + c[1] * (S @ V[i]), side


def unit_slope(at: Callable[[Array, float], tuple[Array, Array]], w: Array, gamma: float) -> Any:
    return at(w, gamma)[0] @ w


@stored
def unit_by_unit(held: float, seeds: int = 3, steps: int = 80) -> dict[str, Array]:
    """Two tanh units, output weights 1, trained one after the other by GDNP; kappa = 10, n = 6.

    held = 0: the second unit is zero while the first is trained, and then it is trained itself. Else it is
    held at a random direction with ||v||_S = held, and only the first is trained. For each trained unit the
    gaps of the quotient over that at the start, shape (seeds, units, steps + 1); the norm of the gradient
    after the last step; the quotient then over its optimum.
    """
    rows: dict[str, list[Any]] = {"gaps": [], "gradient": [], "quotient": []}
    theta = np.ones(2)
    for seed in range(seeds):
        S, u, _ = half_space(10.0, seed, n=6, strength=0.15)
        rng = np.random.default_rng(100 + seed)
        L, best = 10.0, -float(u @ np.linalg.solve(S, u))
        V = np.zeros((2, 6))
        if held:
            V[1] = rng.standard_normal(6)
            V[1] *= held / np.sqrt(V[1] @ S @ V[1])

        found: list[list[Any]] = [[], [], []]
        for i in (0,) if held else (0, 1):
            w, gaps = rng.standard_normal(6), []
            at = partial(unit_gradient, i, V, theta, S, u)
            for t in range(steps + 1):
                w = w / np.sqrt(w @ S @ w)
                if at(w, 0.0)[0] @ w > 0:
                    w = -w
                gaps.append(quotient(w, S, u) - best)
                gamma = bisection(partial(unit_slope, at, w), 0.0, 4.0, 30)
                g, side = at(w, gamma)
                if t < steps:
                    w = w + (g - (g @ w) * (S @ w)) / (L * (side @ w))
            values = np.array(gaps) / gaps[0], np.linalg.norm(g), 1 - gaps[-1] / abs(best)
            for row, value in zip(found, values, strict=True):
                row.append(value)
        for name, values_of_units in zip(rows, found, strict=True):
            rows[name].append(values_of_units)
    return {name: np.array(row) for name, row in rows.items()}
