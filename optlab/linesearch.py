r"""Line searches: how far to go along a direction d.

A search knows the function :math:`\varphi(t) = f(x + t d)` only by what it is told. It is a generator: it
yields the step it wants to try, is sent ``(value, slope)`` there, :math:`\varphi(t)` and :math:`\varphi'(t)`,
and returns the step it accepts, or None if it found none. `drive` runs one on a function of the step.

Fixing constants gives another search: ``functools.partial(strong_wolfe, c2=0.4)``.

>>> from optlab import linesearch
>>> linesearch.drive(linesearch.exact(9.0, -6.0, 1.0), lambda t: ((t - 3.0) ** 2, 2.0 * (t - 3.0)))
3.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import numpy as np

from . import _validation
from ._kernels import search as kernels

Search: TypeAlias = Generator[float, tuple[float, float], float | None]

_TRIALS = 60
_EPS = float(np.finfo(np.float64).eps)


def exact_quadratic(slope: float, curvature: float) -> float:
    r"""The minimizer of :math:`\varphi(t) = \varphi(0) + t s + \tfrac12 t^2 c`, which is :math:`t = -s / c`.

    For :math:`f(x) = \tfrac12 x^T Q x - b^T x`: slope s = :math:`g^T d`, curvature c = :math:`d^T Q d`.

    Parameters
    ----------
    slope, curvature : float
        Negative and positive.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the slope is not negative or the curvature is not positive: then the line has no lowest point
        ahead.

    Examples
    --------
    >>> exact_quadratic(-6.0, 2.0)
    3.0
    """
    slope = _validation.number("slope", slope)
    if not slope < 0:
        raise ValueError(f"slope: expected a negative number, got {slope}")
    curvature = _validation.number("curvature", curvature)
    if not curvature > 0:
        raise ValueError(f"curvature: expected a positive number, got {curvature}")
    return -slope / curvature


def drive(search: Search, phi: Callable[[float], tuple[float, float]]) -> float | None:
    """Run a search on a function that returns value and slope at a step; return the accepted step or None.

    Parameters
    ----------
    search : generator
        A fresh one, from `armijo`, `exact` or `strong_wolfe`.
    phi : callable
        ``phi(t) -> (value, slope)``.

    Examples
    --------
    >>> drive(armijo(1.0, -4.0, 1.0), lambda t: ((1 - 2 * t) ** 2, -4 * (1 - 2 * t)))
    0.5
    """
    told: Any = None  # a generator starts with None
    while True:
        try:
            step = search.send(told)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        told = phi(step)


def armijo(f0: float, slope0: float, step0: float, *, c1: float = 1e-4, shrink: float = 0.5) -> Search:
    r"""Backtracking: the first of :math:`t, ct, c^2t, \dots` with :math:`\varphi(t) \le \varphi(0) + c_1 t
    \varphi'(0)`.

    Parameters
    ----------
    f0, slope0 : float
        :math:`\varphi(0)` and :math:`\varphi'(0) < 0`.
    step0 : float
        The first trial, t.
    c1 : float in (0, 1)
        The share of the decrease promised by the slope that is asked for.
    shrink : float in (0, 1)
        The factor c.

    References
    ----------
    Armijo, "Minimization of functions having Lipschitz continuous first partial derivatives", Pacific J.
    Math. 16 (1966); Nocedal and Wright, "Numerical optimization" (2006), algorithm 3.1.

    Examples
    --------
    >>> drive(armijo(1.0, -4.0, 2.0, c1=0.1), lambda t: ((1 - 2 * t) ** 2, -4 * (1 - 2 * t)))
    0.5
    """
    _require(f0, slope0, step0)
    _validation.number("c1", c1, minimum=0.0, below=1.0)
    if not 0 < shrink < 1:
        raise ValueError(f"shrink: expected a number between 0 and 1, got {shrink}")
    step = step0
    for _ in range(_TRIALS):
        f, _slope = yield step
        if f <= f0 + c1 * step * slope0:
            return step
        step *= shrink
    return None


def exact(f0: float, slope0: float, step0: float, *, rtol: float = 1e-10) -> Search:
    r"""The minimizer along the line: a root of the slope with :math:`|\varphi'(t)| \le
    \text{rtol}\,|\varphi'(0)|`.

    1. Widen until the slope is not negative or the value not below :math:`\varphi(0)`, by the secant of the
    slopes: on a quadratic that is the minimizer itself, so that two trials do.
    2. Narrow by the secant (regula falsi in the Illinois form), halving where the values are of no use.

    Where rounding keeps the slope above the tolerance, the trial of the smallest slope that did not raise the
    value is returned.

    Parameters
    ----------
    f0, slope0 : float
        :math:`\varphi(0)` and :math:`\varphi'(0) < 0`.
    step0 : float
        The first trial.
    rtol : float
        Default 1e-10.

    References
    ----------
    Dahlquist and Björck, "Numerical methods" (1974), section 6.4.2 (the Illinois rule).

    Examples
    --------
    >>> round(drive(exact(1.0, -4.0, 0.1), lambda t: ((1 - 2 * t) ** 2, -4 * (1 - 2 * t))), 12)
    0.5
    """
    _require(f0, slope0, step0)
    _validation.number("rtol", rtol, minimum=0.0)
    noise = _noise(f0)
    # The slope is negative at low; at high it is positive, or (NaN) of no use because the value is too high.
    low, slope_low = 0.0, slope0
    high, slope_high = math.inf, math.nan
    best, slope_best = None, math.inf
    step, last_side = step0, 0
    for _ in range(2 * _TRIALS):
        f, slope = yield step
        usable = math.isfinite(f) and math.isfinite(slope) and f <= f0 + noise
        if usable and abs(slope) <= slope_best:
            best, slope_best = step, abs(slope)
        if usable and abs(slope) <= rtol * abs(slope0):
            return step
        # 1. Widen, by the secant of the last two slopes but a hundredfold at most.
        if usable and slope < 0 and math.isinf(high):
            flatter = slope / slope_low
            stride = step - low
            low, slope_low = step, slope
            step += min(stride * flatter / (1.0 - flatter), 100.0 * stride) if flatter < 1.0 else 4.0 * stride
            continue
        # 2. Narrow. An end that stays twice counts half (Illinois).
        side = -1 if usable and slope < 0 else 1
        if side == -1:
            low, slope_low = step, slope
            slope_high *= 0.5 if last_side == -1 else 1.0
        else:
            high, slope_high = step, slope if slope > 0 and math.isfinite(slope) else math.nan
            slope_low *= 0.5 if last_side == 1 else 1.0
        last_side = side
        step = low - slope_low * (high - low) / (slope_high - slope_low)
        if not low < step < high:  # also if NaN
            step = 0.5 * (low + high) if low > 0.0 else 0.1 * high
        if not low < step < high or high - low <= 0.01 * rtol * high:
            break
    return low if math.isinf(high) else best


def strong_wolfe(
    f0: float, slope0: float, step0: float, *, c1: float = 1e-4, c2: float = 0.1, max_step: float = math.inf
) -> Search:
    r"""A step that satisfies the strong Wolfe conditions, in the manner of Moré and Thuente.

    .. math::

        \varphi(t) &\le \varphi(0) + c_1 t \varphi'(0), \\
        |\varphi'(t)| &\le c_2 |\varphi'(0)|

    An interval that is known to hold such a step shrinks by cubic and quadratic interpolation of values and
    slopes; as long as there is none, the trial grows.

    Safeguards beyond the paper: a trial where value or slope is not finite is taken back towards the best
    point; where the change of the value is lost in rounding, the first condition allows that rounding; the
    search ends when the steps become so short that rounding hides what they promise; and if it ends without
    such a step, the lowest point seen is returned if it is lower than the start.

    Parameters
    ----------
    f0, slope0 : float
        :math:`\varphi(0)` and :math:`\varphi'(0) < 0`.
    step0 : float
        The first trial.
    c1, c2 : float
        :math:`0 < c_1 < c_2 < 1`. Default 1e-4 and 0.1, usual for conjugate gradients; 0.9 is usual for
        quasi-Newton.
    max_step : float
        The longest step tried.

    References
    ----------
    Moré and Thuente, "Line search algorithms with guaranteed sufficient decrease", ACM TOMS 20 (1994),
    section 4 and the modified function psi of section 2.

    Examples
    --------
    >>> drive(strong_wolfe(1.0, -4.0, 0.1), lambda t: ((1 - 2 * t) ** 2, -4 * (1 - 2 * t)))
    0.5
    """
    _require(f0, slope0, step0)
    c1, c2, max_step = wolfe_constants(c1, c2, max_step)
    search = kernels.StrongWolfe(f0, slope0, step0, c1, c2, max_step, _noise(f0))
    while True:
        f, slope = yield search.step
        if not search.tell(f, slope):
            return search.step or None


def wolfe_constants(
    c1: float = 1e-4, c2: float = 0.1, max_step: float = math.inf
) -> tuple[float, float, float]:
    """The constants of `strong_wolfe`, checked."""
    c2 = _validation.number("c2", c2, minimum=0.0, below=1.0)
    c1 = _validation.number("c1", c1, minimum=0.0, below=c2)
    if not max_step > 0:
        raise ValueError(f"max_step: expected a positive number, got {max_step}")
    return c1, c2, max_step


def _noise(f0: float) -> float:
    """What rounding does to values of this size, in their own precision."""
    eps = float(np.finfo(f0.dtype).eps) if isinstance(f0, np.floating) else _EPS
    return 4.0 * eps * abs(float(f0))


def _require(f0: float, slope0: float, step0: float) -> None:
    if not math.isfinite(f0):
        raise ValueError(f"f0: expected a finite number, got {f0}")
    if not -math.inf < slope0 < 0:
        raise ValueError(f"slope0: expected a negative number (a direction of descent), got {slope0}")
    if not 0 < step0 < math.inf:
        raise ValueError(f"step0: expected a positive number, got {step0}")
