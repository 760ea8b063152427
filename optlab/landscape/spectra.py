"""Eigenvalues of the Hessian: all, the outermost, or their density."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray

from .. import _validation
from .curvature import finite, hessian, point, product_at

Array = NDArray[Any]

DENSE = 500  # up to this n a matrix and all its eigenvalues take less time than Lanczos


def spectrum(problem: Any, x: Any, k: int | None = None) -> Array:
    """Eigenvalues of the Hessian, ascending: all of them, or the k smallest and the k largest.

    Without k the matrix is formed: memory n², time n³. With k only products H v are, some hundreds of them
    (by ARPACK's Lanczos method), which suits networks of any size. The errors are then below 1e-6 of the
    largest eigenvalue, and near rounding for those that lie apart from the others.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x : array, shape (n,)
    k : int, optional
        At least 1, with 2k < n.

    Returns
    -------
    ndarray of float64, shape (n,) or (2k,)

    Raises
    ------
    ValueError, TypeError
        Input of the wrong shape or type, a Hessian that is not finite at x, k out of range.
    RuntimeError
        If Lanczos did not find the k eigenvalues.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = lambda x: np.arange(1.0, 101.0) * x
    >>> spectrum(gradient, np.zeros(100), k=2).round(6)
    array([  1.,   2.,  99., 100.])
    """
    x = point(x)
    if k is None:
        return np.asarray(scipy.linalg.eigvalsh(finite(hessian(problem, x))), dtype=np.float64)
    k = _validation.count("k", k, minimum=1)
    if 2 * k >= len(x):
        raise ValueError(f"k: expected 2k < n = {len(x)}, got k = {k}")
    return lanczos(problem, x, 2 * k, "BE")[0]


def lanczos(problem: Any, x: Array, k: int, which: str) -> tuple[Array, Array]:
    """k eigenvalues of H(x), ascending, with their vectors as columns."""
    n = len(x)
    product = product_at(problem, x)
    start = np.random.default_rng(0).standard_normal(n)  # ARPACK's own differs from run to run

    def H(v: Array) -> Array:
        return finite(product(v.astype(x.dtype).reshape(n))).astype(np.float64)

    # 1. The size of H, roughly, by powers.
    size, v = 0.0, start
    for _ in range(10):
        v = H(v / np.linalg.norm(v))
        size = float(np.linalg.norm(v))
        if size == 0:  # only H = 0 does that to a random vector, and ARPACK fails on it
            return np.zeros(k), np.eye(n, k)
    # 2. ARPACK's tolerance is relative to each eigenvalue, and those next to zero are hard: move them away.
    shift = 2.0 * size
    moved = scipy.sparse.linalg.LinearOperator((n, n), matvec=lambda v: H(v) - shift * v, dtype=np.float64)
    values, vectors = scipy.sparse.linalg.eigsh(
        moved, k, which=which, v0=start, tol=1e-6, ncv=min(n, max(100, 4 * k)), maxiter=100
    )
    order = values.argsort()
    return values[order] + shift, vectors[:, order]


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    r"""How the eigenvalues of a Hessian are spread, estimated from products H v.

    Attributes
    ----------
    grid : ndarray, shape (points,)
        Where the density is given.
    density : ndarray, shape (points,)
        The estimated density of the eigenvalues; its integral is 1.
    nodes : ndarray, shape (m,)
        What it was smoothed from: the quadrature nodes of all probes.
    weights : ndarray, shape (m,)
        The weights of the nodes, which sum to 1. ``n * weights @ nodes`` estimates the trace of H,
        ``n * weights @ nodes**2`` that of H².
    width : float
        The standard deviation of the Gaussian kernel.
    """

    grid: Array
    density: Array
    nodes: Array
    weights: Array
    width: float


def spectral_density(
    problem: Any,
    x: Any,
    *,
    steps: int = 80,
    probes: int = 10,
    width: float | None = None,
    points: int = 1000,
    rng: np.random.Generator | int = 0,
) -> SpectralDensity:
    r"""The density of the Hessian's eigenvalues by stochastic Lanczos quadrature.

    For a random vector v of length 1, :math:`\mathbb E\, v^T f(H) v = \frac1n \sum_i f(\lambda_i)` for any
    function f. Lanczos started with v makes a small tridiagonal matrix :math:`T = U \Theta U^T`, and

    .. math::

        v^T f(H) v \approx \sum_j u_{1j}^2 f(\theta_j)

    is a Gauss quadrature, exact for polynomials f up to degree 2 steps - 1. With a narrow Gaussian around
    each point of a grid for f this is the smoothed density.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x : array, shape (n,)
    steps : int
        Lanczos steps a probe, at most n; each is one product H v. All vectors are kept and made orthogonal
        twice, which costs steps² n operations and 8 steps n bytes. Default 80.
    probes : int
        Random vectors. Default 10.
    width : float, optional
        Standard deviation of the Gaussian; default 1 % of the distance of the outermost nodes.
    points : int
        Size of the grid.
    rng : Generator or int

    Returns
    -------
    SpectralDensity

    Raises
    ------
    ValueError, TypeError
        Input of the wrong shape or type, a Hessian that is not finite at x.

    References
    ----------
    Golub and Welsch, "Calculation of Gauss quadrature rules", Math. Comp. 23 (1969); Ghorbani, Krishnan and
    Xiao, "An investigation into neural net optimization via Hessian eigenvalue density", ICML 2019, section
    2.

    Examples
    --------
    Half of the eigenvalues are 1, half are 3:

    >>> import numpy as np
    >>> eigenvalues = np.repeat([1.0, 3.0], 500)
    >>> found = spectral_density(lambda x: eigenvalues * x, np.zeros(1000))
    >>> round(float(found.weights @ found.nodes), 1)
    2.0
    >>> lower = found.density[found.grid < 2].sum() * np.diff(found.grid)[0]
    >>> round(float(lower), 1)
    0.5
    """
    x = point(x)
    steps = min(_validation.count("steps", steps, minimum=1), len(x))
    probes = _validation.count("probes", probes, minimum=1)
    points = _validation.count("points", points, minimum=2)
    if width is not None and not 0 < _validation.number("width", width) < math.inf:
        raise ValueError(f"width: expected a positive number, got {width}")
    rng = np.random.default_rng(rng)
    product = product_at(problem, x)
    found = [_quadrature(product, rng.standard_normal(len(x)), steps, x.dtype) for _ in range(probes)]
    nodes = np.concatenate([theta for theta, _ in found])
    weights = np.concatenate([w for _, w in found]) / probes
    low, high = float(nodes.min()), float(nodes.max())
    if width is None:
        width = 0.01 * ((high - low) or abs(high) or 1.0)
    grid = np.linspace(low - 4 * width, high + 4 * width, points)
    kernel = np.exp(-0.5 * ((grid[:, None] - nodes) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    return SpectralDensity(grid, kernel @ weights, nodes, weights, width)


def _quadrature(
    product: Callable[[Array], Array], v: Array, steps: int, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Nodes and weights that Lanczos from v gives."""
    V = np.empty((steps, len(v)))
    alpha, beta = np.empty(steps), np.empty(steps)
    V[0] = v / np.linalg.norm(v)
    k, size = 0, 0.0
    while True:
        w = finite(product(V[k].astype(dtype))).astype(np.float64)
        alpha[k] = V[k] @ w
        size = max(size, float(np.linalg.norm(w)))
        for _ in range(2):  # once leaves an error where w nearly lies in the span of V
            w -= (V[: k + 1] @ w) @ V[: k + 1]
        beta[k] = np.linalg.norm(w)
        k += 1
        if k == steps or beta[k - 1] <= 1e-10 * size:  # nothing new is left: the quadrature is exact
            break
        V[k] = w / beta[k - 1]
    theta, U = scipy.linalg.eigh_tridiagonal(alpha[:k], beta[: k - 1])
    return theta, U[0] ** 2


def extremes(problem: Any, x: Array) -> tuple[float, float]:
    """The smallest and the largest eigenvalue."""
    values = spectrum(problem, x) if len(x) <= DENSE else lanczos(problem, x, 2, "BE")[0]
    return float(values[0]), float(values[-1])
