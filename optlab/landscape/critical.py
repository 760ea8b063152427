"""Kinds of critical points, and the way out of a saddle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from .. import _validation
from .curvature import finite, grad_norm_at, hessian, is_exact, point
from .spectra import DENSE, lanczos, spectrum

Array = NDArray[Any]

ZERO = {True: 1e-8, False: 1e-5}  # eigenvalues that count as zero, by whether the Hessian is exact


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
    >>> gradient = lambda x: np.array([2 * x[0], -2 * x[1]])
    >>> saddle = classify_critical_point(gradient, [0.0, 0.0])
    >>> saddle.kind, saddle.index, saddle.eigenvalues.round(6)
    ('saddle', 1, array([-2.,  2.]))
    """
    x = point(x)
    exact = is_exact(problem)
    rtol = ZERO[exact] if rtol is None else _validation.number("rtol", rtol, minimum=0.0)
    gtol = _validation.number("gtol", gtol, minimum=0.0)
    grad_norm = grad_norm_at(problem, x)
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
    RuntimeError
        If Lanczos did not find the eigenvalue.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = lambda x: np.array([2 * x[0], -2 * x[1]])
    >>> eigenvalue, u = escape_direction(gradient, [0.0, 0.0])
    >>> round(eigenvalue, 6), u.round(6)
    (-2.0, array([0., 1.]))
    """
    x = point(x)
    if len(x) <= DENSE:
        values, vectors = scipy.linalg.eigh(finite(hessian(problem, x)), subset_by_index=[0, 0])
    else:
        values, vectors = lanczos(problem, x, 1, "SA")
    u = np.asarray(vectors[:, 0], dtype=np.float64)
    return float(values[0]), u * np.sign(u[np.abs(u).argmax()]) + 0.0  # no -0.0
