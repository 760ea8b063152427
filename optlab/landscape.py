r"""What a cost looks like around a point: curvature, kinds of critical points, why a run stands still.

Every function takes the cost as its first argument, in one of two forms:

- a :class:`optlab.problems.Problem`, or another object with ``grad(x)`` and ``hess(x)`` or ``hessp(x, v)``:
  second derivatives are what it says;
- a callable ``gradient(x) -> array, shape (n,)``: second derivatives are its central differences,

.. math::

    H v \approx \frac{g(x + h v) - g(x - h v)}{2 h}, \qquad
    h \lVert v \rVert = \varepsilon^{1/3} \max(1, \lVert x \rVert_\infty),

where :math:`\varepsilon` is the precision of numbers, and only those coordinates of x count that move.
Rounding errs by :math:`\varepsilon / h`, the formula by :math:`h^2`; this h makes the two equal, and the
result good to about ten digits if the gradient is exact.

Points are computed with as float64, or as float32 if they are given so.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray

from . import _validation
from .result import History

__all__ = [
    "CriticalPoint",
    "GradientCheck",
    "SpectralDensity",
    "Stall",
    "check_gradient",
    "classify_critical_point",
    "diagnose_stall",
    "escape_direction",
    "hessian",
    "hessian_vector_product",
    "spectral_density",
    "spectrum",
]

Array = NDArray[Any]

ZERO = {True: 1e-8, False: 1e-5}  # eigenvalues that count as zero, by whether the Hessian is exact
_DENSE = 500  # up to this n all eigenvalues of the matrix take less than half a second


# Derivatives -----------------------------------------------------------------------------------------


def hessian_vector_product(problem: Any, x: Any, v: Any) -> Array:
    """H(x) v, without the matrix H: exact for a Problem, by two gradients for a callable.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x, v : array, shape (n,)
        The point and the vector.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError, TypeError
        Points, vectors or gradients of the wrong shape or type.

    References
    ----------
    Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994): the differences
    are its eq. (1), in the central form.

    Examples
    --------
    >>> import numpy as np
    >>> hessian_vector_product(lambda x: x**3, np.array([1.0, 2.0]), np.array([1.0, 1.0])).round(6)
    array([ 3., 12.])
    """
    x, v = _point(x), _validation.real_array("v", v, 1)
    if v.shape != x.shape:
        raise ValueError(f"v: expected shape {x.shape} as x has, got {v.shape}")
    return _product(problem, x)(v)


def hessian(problem: Any, x: Any) -> Array:
    """The Hessian H(x): a Problem's own, else n central differences of the gradient, 2n evaluations.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x : array, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n, n)
        Symmetric: the mean of the matrix and its transpose, which differ by rounding.

    Raises
    ------
    ValueError, TypeError
        Points, gradients or Hessians of the wrong shape or type; a Hessian that is far from symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda x: np.array([2 * x[0] - x[1], 4 * x[1] - x[0]]), [0.0, 0.0]).round(6)
    array([[ 2., -1.],
           [-1.,  4.]])
    """
    x = _point(x)
    if hasattr(problem, "hess"):
        return symmetric("hess", problem.hess(x.copy()), len(x))
    return by_columns(_product(problem, x), x)


def by_columns(product: Callable[[Array], Array], x: Array) -> Array:
    """The symmetric part of the matrix whose products with vectors are given."""
    H = np.array([product(column) for column in np.eye(len(x), dtype=x.dtype)], dtype=np.float64)
    return 0.5 * H + 0.5 * H.T


def symmetric(name: str, matrix: Any, n: int) -> Array:
    """The mean of a Hessian and its transpose; ValueError if these are not the same but for rounding."""
    H = _validation.numbers(name, matrix)
    if H.shape != (n, n) and not (H.size == n == 1):
        raise ValueError(f"{name}: expected shape {(n, n)}, got {H.shape}")
    H = H.reshape(n, n).astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinities
        apart = H - H.T
    np.abs(apart, out=apart)
    # Differences of a good gradient agree to six digits; half a matrix does not.
    if apart.max() > 1e-3 * np.abs(H).max():
        i, j = (int(k) for k in np.unravel_index(apart.argmax(), apart.shape))
        raise ValueError(
            f"{name}: expected a symmetric matrix, "
            f"got {H[i, j]:.6g} at {[i, j]} and {H[j, i]:.6g} at {[j, i]}"
        )
    return 0.5 * H + 0.5 * H.T


def _point(x: Any) -> Array:
    point = _validation.real_array("x", x, 1)
    if len(point) == 0:
        raise ValueError("x: expected at least one number, got none")
    _validation.finite("x", point)
    return point


def is_exact(problem: Any) -> bool:
    """Whether second derivatives are given, rather than differences."""
    # A Problem of callables makes differences itself, if it was given no Hessian.
    inside = getattr(getattr(problem, "kernel", None), "hess", True) is not None
    return inside and (hasattr(problem, "hess") or hasattr(problem, "hessp"))


def _gradient(problem: Any, x: Array) -> Array:
    """The gradient, of a Problem or by the callable itself, in the dtype of x."""
    grad = problem.grad if hasattr(problem, "grad") else _validation.function("problem", problem)
    g = _validation.numbers("gradient", grad(x.copy()))
    if g.shape != x.shape and not (g.ndim == 0 and x.shape == (1,)):
        raise ValueError(f"gradient: expected shape {x.shape} as x has, got {g.shape}")
    return np.array(g, dtype=x.dtype).reshape(x.shape)


def _product(problem: Any, x: Array) -> Callable[[Array], Array]:
    """v -> H(x) v."""
    n = len(x)
    if hasattr(problem, "hessp"):

        def exact(v: Array) -> Array:
            Hv = _validation.numbers("hessp", problem.hessp(x.copy(), v.copy()))
            if Hv.shape != (n,):
                raise ValueError(f"hessp: expected shape {(n,)} as x has, got {Hv.shape}")
            return np.array(Hv, dtype=np.float64)

        return exact
    if hasattr(problem, "hess"):
        H = hessian(problem, x)
        return lambda v: H @ v

    return lambda v: difference_product(lambda at: _gradient(problem, at), x, v)


def difference_product(
    gradient: Callable[[Array], Array], x: Array, v: Array, noise: float | None = None
) -> Array:
    """The central difference of gradients; `noise` is their relative error, rounding if not given."""
    moves = v != 0
    if not moves.any():
        return np.zeros_like(x)
    size = max(1.0, float(np.abs(x[moves]).max()))
    length = math.cbrt(noise or float(np.finfo(x.dtype).eps)) * size
    step = x.dtype.type(length / float(np.linalg.norm(v))) * v
    forth, back = x + step, x - step
    # What it moved by after rounding, measured where that is most.
    i = int(np.abs(v).argmax())
    moved = float(forth[i] - back[i]) / float(v[i])
    with np.errstate(over="ignore", invalid="ignore"):  # gradients may be infinite
        return (gradient(forth) - gradient(back)) / x.dtype.type(moved)  # type: ignore[no-any-return]


# Spectra ---------------------------------------------------------------------------------------------


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
    scipy.sparse.linalg.ArpackNoConvergence
        If Lanczos did not find the k eigenvalues.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = lambda x: np.arange(1.0, 101.0) * x
    >>> spectrum(gradient, np.zeros(100), k=2).round(6)
    array([  1.,   2.,  99., 100.])
    """
    x = _point(x)
    if k is None:
        return np.asarray(scipy.linalg.eigvalsh(_finite(hessian(problem, x))), dtype=np.float64)
    k = _validation.count("k", k, minimum=1)
    if 2 * k >= len(x):
        raise ValueError(f"k: expected 2k < n = {len(x)}, got k = {k}")
    return _lanczos(problem, x, 2 * k, "BE")[0]


def _finite(H: Array) -> Array:
    if not np.isfinite(H).all():
        raise ValueError("Hessian: expected finite numbers at x, got NaN or infinities")
    return H


def _lanczos(problem: Any, x: Array, k: int, which: str) -> tuple[Array, Array]:
    """k eigenvalues of H(x), ascending, with their vectors as columns."""
    n = len(x)
    product = _product(problem, x)
    start = np.random.default_rng(0).standard_normal(n)  # ARPACK's own differs from run to run

    def H(v: Array) -> Array:
        return _finite(product(v.astype(x.dtype).reshape(n))).astype(np.float64)

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
    grid, density : ndarray, shape (points,)
        The estimated density of the eigenvalues; its integral is 1.
    nodes, weights : ndarray, shape (m,)
        What it was smoothed from: the quadrature nodes of all probes and their weights, which sum to 1.
        ``n * weights @ nodes`` estimates the trace of H, ``n * weights @ nodes**2`` that of H².
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
    >>> found = spectral_density(lambda x: np.repeat([1.0, 3.0], 500) * x, np.zeros(1000))
    >>> round(float(found.weights @ found.nodes), 1)
    2.0
    >>> round(float(found.density[found.grid < 2].sum() * np.diff(found.grid)[0]), 1)
    0.5
    """
    x = _point(x)
    steps = min(_validation.count("steps", steps, minimum=1), len(x))
    probes = _validation.count("probes", probes, minimum=1)
    points = _validation.count("points", points, minimum=2)
    if width is not None and not 0 < _validation.number("width", width) < math.inf:
        raise ValueError(f"width: expected a positive number, got {width}")
    rng = np.random.default_rng(rng)
    product = _product(problem, x)
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
        w = _finite(product(V[k].astype(dtype))).astype(np.float64)
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


# Critical points -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What kind of critical point a point is.

    Attributes
    ----------
    kind : str
        "minimum", "maximum", "saddle", "degenerate", or "not critical".
    eigenvalues : ndarray of float64, shape (n,)
        Of the Hessian, ascending.
    index : int
        How many of them are negative.
    zeros : int
        How many count as zero.
    threshold : float
        The largest absolute value that counts as zero.
    grad_norm : float
        The 2-norm of the gradient.
    """

    kind: str
    eigenvalues: Array
    index: int
    zeros: int
    threshold: float
    grad_norm: float


def classify_critical_point(
    problem: Any, x: Any, *, rtol: float | None = None, gtol: float = 1e-4
) -> CriticalPoint:
    r"""Tell a minimum from a maximum and a saddle by the signs of the Hessian's eigenvalues.

    1. Both signs occur: a saddle, even if others are zero.
    2. Else, any is zero: degenerate. Second derivatives cannot tell.
    3. Else, all are positive: a minimum; all are negative: a maximum.

    Zero means :math:`|\lambda| \le \text{rtol} \cdot \max |\lambda|`. For Hessians by differences the
    largest counts as 1 at least, as their error does not shrink with H.

    The point is critical if :math:`\lVert g \rVert \le \text{gtol} \cdot \max |\lambda| \cdot \max(1, \lVert
    x \rVert)`. This holds wherever a critical point is so near that the gradient is H times the distance, and
    the distance within gtol.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x : array, shape (n,)
    rtol : float, optional
        Default 1e-8 with a Problem, 1e-5 with differences.
    gtol : float
        Default 1e-4.

    Returns
    -------
    CriticalPoint

    Raises
    ------
    ValueError, TypeError
        Input of the wrong shape or type, a gradient or Hessian that is not finite at x.

    Examples
    --------
    >>> import numpy as np
    >>> saddle = classify_critical_point(lambda x: np.array([2 * x[0], -2 * x[1]]), [0.0, 0.0])
    >>> saddle.kind, saddle.index, saddle.eigenvalues.round(6)
    ('saddle', 1, array([-2.,  2.]))
    """
    x = _point(x)
    exact = is_exact(problem)
    rtol = ZERO[exact] if rtol is None else _validation.number("rtol", rtol, minimum=0.0)
    gtol = _validation.number("gtol", gtol, minimum=0.0)
    grad_norm = _grad_norm(problem, x)
    eigenvalues = spectrum(problem, x)
    kind, index, zeros, threshold = signs(eigenvalues, rtol, exact)
    if grad_norm > gtol * float(np.abs(eigenvalues).max()) * max(1.0, float(np.linalg.norm(x))):
        kind = "not critical"
    return CriticalPoint(kind, eigenvalues, index, zeros, threshold, grad_norm)


def signs(eigenvalues: Array, rtol: float, exact: bool) -> tuple[str, int, int, float]:
    """The kind of a critical point, its negative and its zero eigenvalues, and what counts as zero."""
    largest = float(np.abs(eigenvalues).max())
    threshold = rtol * (largest if exact else max(1.0, largest))
    negative = int((eigenvalues < -threshold).sum())
    zeros = int((np.abs(eigenvalues) <= threshold).sum())
    if 0 < negative < len(eigenvalues) - zeros:
        kind = "saddle"
    elif zeros:
        kind = "degenerate"
    else:
        kind = "maximum" if negative else "minimum"
    return kind, negative, zeros, threshold


def _grad_norm(problem: Any, x: Array) -> float:
    g = _gradient(problem, x)
    if not np.isfinite(g).all():
        raise ValueError("gradient: expected finite numbers at x, got NaN or infinities")
    return float(np.linalg.norm(g))


def escape_direction(problem: Any, x: Any) -> tuple[float, Array]:
    r"""The smallest eigenvalue of the Hessian and its eigenvector u: the way out of a saddle.

    At a critical point :math:`f(x \pm \epsilon u) = f(x) + \tfrac12 \lambda \epsilon^2 + o(\epsilon^2)`.
    If the eigenvalue is not negative, there is no way down that second derivatives could see.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x : array, shape (n,)
        For n above 500 only products H v are used, as in `spectrum` with k.

    Returns
    -------
    eigenvalue : float
    u : ndarray of float64, shape (n,)
        Of length 1; of the two signs the one that makes the largest entry positive.

    Raises
    ------
    ValueError, TypeError
        Input of the wrong shape or type, a Hessian that is not finite at x.
    scipy.sparse.linalg.ArpackNoConvergence
        If Lanczos did not find the eigenvalue.

    Examples
    --------
    >>> import numpy as np
    >>> eigenvalue, u = escape_direction(lambda x: np.array([2 * x[0], -2 * x[1]]), [0.0, 0.0])
    >>> round(eigenvalue, 6), u.round(6)
    (-2.0, array([0., 1.]))
    """
    x = _point(x)
    if len(x) <= _DENSE:
        values, vectors = scipy.linalg.eigh(_finite(hessian(problem, x)), subset_by_index=[0, 0])
    else:
        values, vectors = _lanczos(problem, x, 1, "SA")
    u = np.asarray(vectors[:, 0], dtype=np.float64)
    return float(values[0]), u * np.sign(u[np.abs(u).argmax()]) + 0.0  # no -0.0


# Stalls ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stall:
    """Why a run stands still, and by which numbers.

    Attributes
    ----------
    kind : str
        "minimum", "saddle", "plateau", "degenerate", "oscillation", "divergence" or "moving".
    message : str
        The same in words.
    grad_norm : float
        The 2-norm of the gradient at the last row.
    curvature : (float, float) or None
        The smallest and the largest eigenvalue of the Hessian at the last row; None if it was not asked,
        because the gradient is not small.
    cosine : float
        The median cosine of successive gradients in the last window; NaN if it was not asked.
    change : float
        The relative change of the mean value between the last two windows.
    """

    kind: str
    message: str
    grad_norm: float
    curvature: tuple[float, float] | None
    cosine: float
    change: float


_STALLS = {
    "minimum": "A minimum: the gradient is small and all curvatures are positive.",
    "saddle": "A saddle or maximum: the gradient is small and a curvature is negative.",
    "plateau": "A plateau: gradient and curvature are both small.",
    "degenerate": "The gradient is small, no curvature is negative but some are zero: a flat minimum, or a "
    "saddle that second derivatives cannot see.",
    "oscillation": "An oscillation: the value has stalled, the gradient is not small and keeps turning back.",
    "divergence": "A divergence: the value rises or is not finite.",
    "moving": "Still moving: the gradient is not small.",
}


def diagnose_stall(
    problem: Any,
    history: History,
    *,
    window: int = 50,
    rtol: float = 1e-4,
    gtol: float = 1e-6,
    htol: float = 1e-6,
) -> Stall:
    r"""Name the cause of a stalled run. The norm of the gradient alone does not tell, it takes the curvature.

    With g the gradient and :math:`\lambda` the eigenvalues of the Hessian at the last row:

    1. A value or point that is not finite: divergence.
    2. :math:`\lVert g \rVert \le \text{gtol} \cdot \max(1, |f|)`, with the value at the first or the last
       row, whichever is smaller: if all :math:`|\lambda| \le \text{htol}` a plateau; else a minimum, a
       saddle, or degenerate, as the smallest :math:`\lambda` is above htol, below -htol, or between.
    3. The mean values of the last two windows differ by at most rtol times the last but one, so that the run
       has stalled with a large gradient. If the median cosine of successive gradients is below -½ it is an
       oscillation.
    4. The mean value rises, and the last value is above the first: divergence.
    5. Else it is moving; in a stalled run, by noise or along a longer cycle.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    history : History
        Of `trajectory` or a minimizer, with its points. Every step has to be a row, else turns are not seen.
    window : int
        Rows; default 50, or half of the rows if there are fewer than 100.
    rtol, gtol, htol : float
        Default 1e-4, 1e-6 and 1e-6.

    Returns
    -------
    Stall

    Raises
    ------
    ValueError, TypeError
        A history without points, tolerances that are negative or NaN; a gradient that is not finite at the
        last point.

    Examples
    --------
    Descent with the largest step that does not diverge:

    >>> import numpy as np
    >>> from optlab.result import History
    >>> x = np.outer((-1.0) ** np.arange(200), [1.0, 0.0])
    >>> table = np.column_stack([0.5 * x[:, 0] ** 2, np.abs(x[:, 0]), np.ones(200), np.arange(200)])
    >>> diagnose_stall(lambda x: x, History(table, x)).kind
    'oscillation'
    """
    window = _validation.count("window", window, minimum=1)
    rtol = _validation.number("rtol", rtol, minimum=0.0)
    gtol = _validation.number("gtol", gtol, minimum=0.0)
    htol = _validation.number("htol", htol, minimum=0.0)
    if history.x is None:
        raise ValueError("history: expected one that keeps its points, got none in history.x")
    x, values = history.x, history.fun
    if x.ndim != 2 or not 0 < len(x) <= len(values):
        raise ValueError(f"history: expected points in rows, one run, got x of shape {x.shape}")
    values = values[: len(x)]
    f = float(values[-1])
    window = min(window, len(x) // 2)
    change = math.nan
    if window and np.isfinite(values[-2 * window :]).all():
        before, after = values[-2 * window : -window].mean(), values[-window:].mean()
        change = float(after - before) / (abs(float(before)) or 1.0)

    def stall(kind: str, grad_norm: float, curvature: Any = None, cosine: float = math.nan) -> Stall:
        return Stall(kind, _STALLS[kind], grad_norm, curvature, cosine, change)

    # 1.
    if not (math.isfinite(f) and np.isfinite(x[-1]).all()):
        return stall("divergence", math.nan)
    # 2.
    grad_norm = _grad_norm(problem, x[-1])
    if grad_norm <= gtol * max(1.0, min(abs(f), abs(float(values[0])))):  # a diverging run has large values
        low, high = _extremes(problem, _point(x[-1]))
        if max(-low, high) <= htol:
            kind = "plateau"
        else:
            kind = "minimum" if low > htol else "saddle" if low < -htol else "degenerate"
        return stall(kind, grad_norm, (low, high))
    # 3.
    if abs(change) <= rtol:
        cosine = _turning(np.array([_gradient(problem, row) for row in x[-window - 1 :]]))
        return stall("oscillation" if cosine < -0.5 else "moving", grad_norm, None, cosine)
    # 4., 5.
    return stall("divergence" if change > 0 and f > values[0] else "moving", grad_norm)


def _extremes(problem: Any, x: Array) -> tuple[float, float]:
    """The smallest and the largest eigenvalue."""
    values = spectrum(problem, x) if len(x) <= _DENSE else _lanczos(problem, x, 2, "BE")[0]
    return float(values[0]), float(values[-1])


def _turning(gradients: Array) -> float:
    """The median cosine of successive rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    cosines = (unit[:-1] * unit[1:]).sum(axis=1)
    return float(np.median(cosines)) if len(cosines) else math.nan


# Gradients -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """A gradient beside differences of its function. ``print`` shows it as a table.

    Attributes
    ----------
    correct : bool
        Whether each coordinate that was checked agrees.
    message : str
        The same in words, with the coordinates that do not.
    coordinates : ndarray of int, shape (m,)
        What was checked.
    gradient : ndarray, shape (m,)
        The gradient that was checked, in these coordinates.
    estimate, uncertainty : ndarray, shape (m,)
        The derivative by the best differences or the complex step, and its likely error.
    error : ndarray, shape (m,)
        abs(gradient - estimate)
    h : ndarray, shape (rungs,)
        The ladder of steps; a coordinate moves by h max(1, abs(x)).
    errors : ndarray, shape (rungs, m)
        abs(central difference - gradient) at each step and coordinate.
    slope : float
        The exponent in error ~ h^slope, where the error of the differences is that of the formula: 2 for a
        right gradient, 0 for a wrong one, NaN where rounding is all there is (as for quadratics).
    complex_step : ndarray, shape (m,), or None
        The derivative by the complex step; None if `fun` is not made for complex numbers.
    """

    correct: bool
    message: str
    coordinates: Array
    gradient: Array
    estimate: Array
    uncertainty: Array
    error: Array
    h: Array
    errors: Array
    slope: float
    complex_step: Array | None

    def __str__(self) -> str:
        rows = [f"{h:9.0e}  {error:12.3e}" for h, error in zip(self.h, _largest(self.errors), strict=True)]
        if self.complex_step is not None:
            error = float(np.abs(self.complex_step - self.gradient).max())
            rows.append(f"  complex  {error:12.3e}")
        return "\n".join([self.message, "        h  largest error", *rows, f"slope {self.slope:.2f}"])


def check_gradient(
    fun: Any,
    jac: Any,
    x: Any,
    args: tuple[Any, ...] = (),
    *,
    coordinates: Any = None,
    h: Any = None,
    rtol: float = 1e-6,
) -> GradientCheck:
    r"""Compare a gradient with central differences of its function, over a ladder of steps.

    .. math::

        \frac{f(x + h e_i) - f(x - h e_i)}{2 h}
        = \frac{\partial f}{\partial x_i} + O(h^2) + O(\varepsilon / h)

    The derivative is taken from where two successive steps agree best, and what they differ by, plus
    rounding, is its uncertainty. If `fun` accepts complex numbers the derivative is

    .. math::

        \frac{\operatorname{Im} f(x + \mathrm{i} h e_i)}{h}
        = \frac{\partial f}{\partial x_i} + O(h^2), \quad h = 10^{-20},

    exact to rounding, as nothing is subtracted. It is used only where it agrees with the differences: a
    function that takes absolute values of complex numbers, say, returns something else.

    A coordinate is correct if gradient and derivative differ by at most rtol times the larger of them plus
    ten times the uncertainty.

    Parameters
    ----------
    fun : callable or Problem
        ``fun(x, *args) -> float``, or ``-> (float, gradient)`` if `jac` is True.
    jac : callable, True or None
        ``jac(x, *args) -> array, shape (n,)``; None for a Problem, whose `grad` is checked.
    x : array, shape (n,)
        Where. A random point is better than a minimum, where gradients are so small that a wrong one is too.
    args : tuple
        Further arguments of `fun` and `jac`.
    coordinates : sequence of int, optional
        Which derivatives to check; default all, with 2 evaluations of `fun` each at every step.
    h : array, optional
        The ladder; default 1e-1, 1e-2, ..., 1e-9.
    rtol : float
        Default 1e-6.

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError, TypeError
        Input and results of the wrong shape or type, `fun` or `jac` not finite at x.

    References
    ----------
    Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40
    (1998), for the complex step.

    Examples
    --------
    >>> import numpy as np
    >>> right = check_gradient(lambda x: np.sum(x**4), lambda x: 4 * x**3, [1.0, 2.0])
    >>> right.correct, round(right.slope, 2)
    (True, 2.0)
    >>> wrong = check_gradient(lambda x: np.sum(x**4), lambda x: 4 * x**3 + [0, 0.1], [1.0, 2.0])
    >>> wrong.message
    'Wrong in 1 of 2 coordinates: at [1] the gradient is 32.1, the derivative 32.'
    """
    x = _point(x)
    value, gradient = _pair(fun, jac, args if isinstance(args, tuple) else (args,))
    rtol = _validation.number("rtol", rtol, minimum=0.0)
    ladder = _ladder(h)
    which = _coordinates(coordinates, len(x))
    f0 = value(x)
    g = gradient(x)[which]
    if not (math.isfinite(f0) and np.isfinite(g).all()):
        raise ValueError("fun, jac: expected finite numbers at x, got NaN or infinities")
    eps = float(np.finfo(x.dtype).eps)
    # 1. The table. `rounding` is what it cannot do better than.
    quotients = np.empty((len(ladder), len(which)))
    rounding = np.empty_like(quotients)
    for row, step in enumerate(ladder):
        for column, i in enumerate(which):
            forth, back = x.copy(), x.copy()
            forth[i] += step * max(1.0, abs(x[i]))
            back[i] -= step * max(1.0, abs(x[i]))
            moved = float(forth[i]) - float(back[i])
            if moved == 0:
                quotients[row, column], rounding[row, column] = math.nan, math.inf
                continue
            up, down = value(forth), value(back)
            quotients[row, column] = (up - down) / moved
            rounding[row, column] = eps * (abs(up) + abs(down)) / moved
    with np.errstate(invalid="ignore"):  # infinities, where x leaves the domain
        errors = np.abs(quotients - g)
    # 2. The best of the differences, or the complex step.
    estimate, uncertainty = _best(quotients, rounding)
    complex_step = _complex_step(fun, jac, args if isinstance(args, tuple) else (args,), x, which)
    if complex_step is not None:
        near = 10 * uncertainty + 1e-3 * np.abs(estimate)
        if (np.abs(complex_step - estimate) <= near).all():
            estimate, uncertainty = complex_step, 10 * np.finfo(np.float64).eps * np.abs(complex_step)
        else:
            complex_step = None
    # 3. The verdict
    error = np.abs(g - estimate)
    agree = error <= rtol * np.maximum(np.abs(g), np.abs(estimate)) + 10 * uncertainty
    return GradientCheck(
        correct=bool(agree.all()),
        message=_verdict(agree, which, g, estimate, error),
        coordinates=which,
        gradient=g,
        estimate=estimate,
        uncertainty=uncertainty,
        error=error,
        h=ladder,
        errors=errors,
        slope=_slope(ladder, errors, rounding),
        complex_step=complex_step,
    )


def _pair(
    fun: Any, jac: Any, args: tuple[Any, ...]
) -> tuple[Callable[[Array], float], Callable[[Array], Array]]:
    """The function, and its gradient, of x alone, as float and float64."""
    _validation.function("fun", fun)
    together = isinstance(jac, bool | np.bool_) and bool(jac)
    if jac is None and hasattr(fun, "grad"):
        jac = fun.grad
    if not (callable(jac) or together):
        raise TypeError(f"jac: expected a callable, True, or None with a Problem, got {jac!r}")

    def value(x: Array) -> float:
        result = fun(x.copy(), *args)
        if together and not (isinstance(result, tuple | list) and len(result) == 2):
            raise TypeError(f"fun: expected (value, gradient) as jac is True, got {type(result).__name__}")
        number = _validation.numbers("fun", result[0] if together else result)
        if number.size != 1:
            raise ValueError(f"fun: expected a single number, got shape {number.shape}")
        return float(number.item())

    def gradient(x: Array) -> Array:
        g = _validation.numbers("jac", fun(x.copy(), *args)[1] if together else jac(x.copy(), *args))
        if g.shape != x.shape and not (g.ndim == 0 and x.shape == (1,)):
            raise ValueError(f"jac: expected shape {x.shape} as x has, got {g.shape}")
        return np.array(g, dtype=np.float64).reshape(x.shape)

    return value, gradient


def _ladder(h: Any) -> Array:
    if h is None:
        return 10.0 ** -np.arange(1, 10)
    ladder = np.sort(_validation.real_array("h", h, 1).astype(np.float64))[::-1]
    if len(ladder) < 2 or not (ladder > 0).all() or not np.isfinite(ladder).all():
        raise ValueError(f"h: expected at least two positive numbers, got {h}")
    return ladder


def _coordinates(coordinates: Any, n: int) -> Array:
    if coordinates is None:
        return np.arange(n)
    which = _validation.numbers("coordinates", coordinates)
    if which.ndim != 1 or which.dtype.kind not in "iu" or not len(which):
        raise TypeError(f"coordinates: expected a sequence of integers, got {coordinates!r}")
    if which.min() < 0 or which.max() >= n:
        raise ValueError(f"coordinates: expected integers from 0 to {n - 1}, got {coordinates!r}")
    return which


def _best(quotients: Array, rounding: Array) -> tuple[Array, Array]:
    """The quotient that is nearest to that of the next larger step, and its likely error, in each column."""
    with np.errstate(invalid="ignore"):
        doubt = np.abs(np.diff(quotients, axis=0)) + rounding[1:]
    doubt[~np.isfinite(doubt)] = math.inf
    best = doubt.argmin(axis=0), np.arange(quotients.shape[1])
    return quotients[1:][best], doubt[best]


def _complex_step(fun: Any, jac: Any, args: tuple[Any, ...], x: Array, which: Array) -> Array | None:
    step = 1e-20
    derivatives = np.empty(len(which))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)  # the imaginary part was thrown away
            for k, i in enumerate(which):
                z = x.astype(np.complex128)
                z[i] += 1j * step
                result = fun(z, *args)
                value = np.asarray(result[0] if jac is True else result)
                if value.dtype.kind != "c":
                    return None
                derivatives[k] = value.item().imag / step
    except Exception:  # whatever `fun` does with numbers it was not made for
        return None
    return derivatives if np.isfinite(derivatives).all() else None


def _largest(errors: Array) -> Array:
    """The largest error at each step, of those coordinates where there is one."""
    return np.where(np.isfinite(errors), errors, -1.0).max(axis=1)  # type: ignore[no-any-return]


def _slope(ladder: Array, errors: Array, rounding: Array) -> float:
    """Fitted to the three smallest steps whose error stands out of the rounding."""
    largest, noise = _largest(errors), np.where(np.isfinite(rounding), rounding, 0.0).max(axis=1)
    clear = np.flatnonzero(largest > 100 * noise)[-3:]
    if len(clear) < 2:
        return math.nan
    return float(np.polyfit(np.log(ladder[clear]), np.log(largest[clear]), 1)[0])


def _verdict(agree: Array, which: Array, g: Array, estimate: Array, error: Array) -> str:
    if agree.all():
        return f"Correct in {len(which)} coordinates: the largest error is {error.max():.1e}."
    wrong = np.flatnonzero(~agree)
    worst = wrong[np.nan_to_num(error[wrong], nan=math.inf).argmax()]
    return (
        f"Wrong in {len(wrong)} of {len(which)} coordinates: at [{which[worst]}] the gradient is "
        f"{g[worst]:.6g}, the derivative {estimate[worst]:.6g}."
    )
