"""What the chapter on critical points and its claims share: random matrices, and a random landscape.

Both are models of a cost with many parameters, not measurements of one. A random symmetric matrix stands for
the Hessian at a critical point about which nothing is known. A Gaussian random field is a whole landscape in
which one can look for all critical points and count the descending directions at each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, trajectory
from optlab.experiments import stored
from optlab.problems import Problem, mlp

Array: TypeAlias = NDArray[np.float64]

DRAWS = 100_000


def some_digits(count: int) -> tuple[Array, NDArray[np.intp]]:
    """Some of scikit-learn's digits, drawn at random: pixels in [0, 1], shape (count, 64), and labels."""
    images, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(labels))[:count]
    return images[rows] / 16, labels[rows]


@stored
def index_counts(
    n: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.intp]:
    """How many random n x n matrices have 0, 1, ..., n negative eigenvalues.

    A matrix is (G + G') / 2 with independent standard normal entries in G.
    Elimination makes it L D L' with a diagonal D, which has as many negative
    entries as there are negative eigenvalues (Sylvester's law of inertia).
    """
    rng = np.random.default_rng([seed, n])
    counts = np.zeros(n + 1, dtype=np.intp)
    for start in range(0, draws, 10_000):
        size = min(10_000, draws - start)
        G = rng.standard_normal((n, n, size))  # side by side
        A = (G + G.transpose(1, 0, 2)) / 2
        index = np.zeros(size, dtype=np.intp)
        for k in range(n):
            index += A[k, k] < 0
            row = A[k, k + 1 :]
            A[k + 1 :, k + 1 :] -= row[:, None] * (row / A[k, k])
        counts += np.bincount(index, minlength=n + 1)
    return counts


@dataclass(frozen=True)
class Field:
    """A smooth random function of n variables, nearly Gaussian: a sum of waves in random directions.

    f(x) = sqrt(2/K) sum_j cos(w_j'x + phi_j). All methods take points of shape (..., n).
    """

    waves: Array
    phases: Array

    def value(self, x: ArrayLike) -> Array:
        angles = np.asarray(x) @ self.waves.T + self.phases
        total: Array = np.sqrt(2 / len(self.phases)) * np.cos(angles).sum(axis=-1)
        return total

    def derivatives(self, x: ArrayLike) -> tuple[Array, Array, Array]:
        """Value, gradient and Hessian: shapes (...), (..., n) and (..., n, n)."""
        angles = np.asarray(x) @ self.waves.T + self.phases
        K, n = self.waves.shape
        cos, sin = np.sqrt(2 / K) * np.cos(angles), np.sqrt(2 / K) * np.sin(angles)
        squares = (self.waves[:, :, None] * self.waves[:, None, :]).reshape(K, n * n)
        return cos.sum(axis=-1), -(sin @ self.waves), -(cos @ squares).reshape(*cos.shape[:-1], n, n)


def random_field(n: int, seed: int, terms: int = 200) -> Field:
    """A field with `terms` waves: directions and frequencies standard normal, phases uniform."""
    rng = np.random.default_rng([seed, n])
    return Field(rng.standard_normal((terms, n)), rng.uniform(0, 2 * np.pi, terms))


Derivatives: TypeAlias = Callable[[Array], tuple[Array, Array, Array]]


def find_critical_points(derivatives: Derivatives, x: Array, iterations: int = 60) -> Array:
    """Where g = 0 near the rows of x: Levenberg-Marquardt on ||g||^2, whatever the cost does.

    A step solves (H H + mu I) d = -H g. After a step that shortens g the damping mu falls; any other step is
    taken back, and mu grows. Rows that do not arrive at ||g|| < 1e-9 are left out.
    """
    mu, found = np.full(len(x), 1e-2), []
    _, g, H = derivatives(x)
    for _ in range(iterations):
        damped = H @ H + mu[:, None, None] * np.eye(x.shape[1])
        trial = x - np.linalg.solve(damped, H @ g[:, :, None])[:, :, 0]
        _, g_trial, H_trial = derivatives(trial)
        better = np.linalg.norm(g_trial, axis=1) < np.linalg.norm(g, axis=1)
        x[better], g[better], H[better] = trial[better], g_trial[better], H_trial[better]
        mu *= np.where(better, 0.2, 3.0)
        arrived = np.linalg.norm(g, axis=1) < 1e-9
        found.append(x[arrived])
        x, g, H, mu = (values[~arrived] for values in (x, g, H, mu))
    return np.concatenate(found)


@stored
def field_critical_points(
    n: int, seed: int, starts: int = 1500, half_width: float = 4.0
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Critical points of `random_field(n, seed)` in a box: points (k, n), costs (k,), indices (k,)."""
    field = random_field(n, seed)
    rng = np.random.default_rng([seed, n, starts])
    with threadpool_limits(1):
        x = find_critical_points(field.derivatives, rng.uniform(-half_width, half_width, (starts, n)))
    x = x[(abs(x) <= half_width).all(axis=1)]
    # Many starts end at the same point: keep the first of each group.
    first = [min(near) for near in cKDTree(x).query_ball_point(x, 1e-5)]
    x = x[np.unique(first)]
    value, _, H = field.derivatives(x)
    return x, value, (np.linalg.eigvalsh(H) < 0).sum(axis=1)


def small_network() -> Problem:
    """Four tanh units and 40 parameters: 120 of the digits 0 to 3, seen through four principal components."""
    X, labels = some_digits(600)
    X, labels = X[labels < 4][:120], labels[labels < 4][:120]
    U, _, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    # The penalty keeps the Hessian from having zeros, and the parameters from going to infinity.
    return mlp((np.sqrt(len(U)) * U[:, :4], labels), hidden=(4,), activation="tanh", penalty=1e-2)


@stored
def network_critical_points(runs: int = 6) -> tuple[Array, NDArray[np.intp]]:
    """Critical points of `small_network`, searched for along runs of descent: costs and indices.

    Points with the same cost are copies by symmetry, and counted once.
    """
    net = small_network()

    def derivatives(x: Array) -> tuple[Array, Array, Array]:
        pairs = [net.value_and_grad(row) for row in x]
        H = np.array([net.hess(row) for row in x]).reshape(-1, net.n, net.n)
        return np.array([f for f, _ in pairs]), np.array([g for _, g in pairs]).reshape(x.shape), H

    starts = []
    for seed in range(runs):
        x0 = np.random.default_rng(seed).standard_normal(net.n)
        path = trajectory(net, SGD(lr=0.3), x0, 300).x
        assert path is not None
        starts.append(path[[0, 5, 10, 20, 40, 80, 160, 300]])
    with threadpool_limits(1):
        x = find_critical_points(derivatives, np.concatenate(starts), iterations=150)
        value, _, H = derivatives(x)
        index = (np.linalg.eigvalsh(H) < 0).sum(axis=1)
    _, first = np.unique(value.round(8), return_index=True)
    return value[first], index[first]
