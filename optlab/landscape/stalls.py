"""Why a run stands still."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validation
from ..result import History
from .curvature import grad_norm_at, gradient_at, point
from .spectra import extremes

Array = NDArray[Any]


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
    Descent that jumps from side to side of a valley:

    >>> import optlab
    >>> p = optlab.problems.elongated_bowl()
    >>> run = optlab.trajectory(p, optlab.SGD(lr=1e-2), [10.0, 1.0], 2000)
    >>> diagnose_stall(p, run).kind
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
    grad_norm = grad_norm_at(problem, x[-1])
    if grad_norm <= gtol * max(1.0, min(abs(f), abs(float(values[0])))):  # a diverging run has large values
        low, high = extremes(problem, point(x[-1]))
        if max(-low, high) <= htol:
            kind = "plateau"
        else:
            kind = "minimum" if low > htol else "saddle" if low < -htol else "degenerate"
        return stall(kind, grad_norm, (low, high))
    # 3.
    if abs(change) <= rtol:
        cosine = _turning(np.array([gradient_at(problem, row) for row in x[-window - 1 :]]))
        return stall("oscillation" if cosine < -0.5 else "moving", grad_norm, None, cosine)
    # 4., 5.
    return stall("divergence" if change > 0 and f > values[0] else "moving", grad_norm)


def _turning(gradients: Array) -> float:
    """The median cosine of successive rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    cosines = (unit[:-1] * unit[1:]).sum(axis=1)
    return float(np.median(cosines)) if len(cosines) else math.nan
