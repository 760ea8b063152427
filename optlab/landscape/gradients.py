"""A gradient beside differences of its function."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _minimize, _validation
from .curvature import point

Array = NDArray[Any]


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
    estimate : ndarray, shape (m,)
        The derivative by the best differences or the complex step.
    uncertainty : ndarray, shape (m,)
        The likely error of the estimate.
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

        &\frac{f(x + h e_i) - f(x - h e_i)}{2 h} \\
        &\quad = \frac{\partial f}{\partial x_i} + O(h^2) + O(\varepsilon / h)

    The derivative is taken from where two successive steps agree best, and what they differ by, plus
    rounding, is its uncertainty. If `fun` accepts complex numbers the derivative is

    .. math::

        \frac{\operatorname{Im} f(x + \mathrm{i} h e_i)}{h}
        = \frac{\partial f}{\partial x_i} + O(h^2)

    with :math:`h = 10^{-20}`, exact to rounding, as nothing is subtracted. It is used only where it agrees
    with the differences: a function that takes absolute values of complex numbers, say, returns something
    else.

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
    >>> fun = lambda x: np.sum(x**4)
    >>> right = check_gradient(fun, lambda x: 4 * x**3, [1.0, 2.0])
    >>> right.correct, round(right.slope, 2)
    (True, 2.0)
    >>> wrong = check_gradient(fun, lambda x: 4 * x**3 + [0, 0.1], [1.0, 2.0])
    >>> wrong.message
    'Wrong in 1 of 2 coordinates: at [1] the gradient is 32.1, the derivative 32.'
    """
    x = point(x)
    if jac is None and _minimize.is_problem(fun):
        jac = fun.grad
    objective = _minimize.Objective(fun, jac, args, x.dtype)
    if not objective.jac:
        raise TypeError(f"jac: expected a callable, True, or None with a Problem, got {jac!r}")
    rtol = _validation.number("rtol", rtol, minimum=0.0)
    ladder = _ladder(h)
    which = _coordinates(coordinates, len(x))
    f0, g = objective(x)
    if not (math.isfinite(f0) and np.isfinite(g).all()):
        raise ValueError("fun, jac: expected finite numbers at x, got NaN or infinities")
    g = g[which].astype(np.float64)
    # 1. The table
    quotients, rounding = _quotients(objective, x, which, ladder)
    with np.errstate(invalid="ignore"):  # infinities, where x leaves the domain
        errors = np.abs(quotients - g)
    # 2. The best of the differences, or the complex step
    estimate, uncertainty = _best(quotients, rounding)
    complex_step = _complex_step(objective, x, which)
    if complex_step is not None:
        near = 10 * uncertainty + 1e-3 * np.abs(estimate)
        if (np.abs(complex_step - estimate) <= near).all():
            estimate, uncertainty = complex_step, 10 * np.finfo(np.float64).eps * np.abs(complex_step)
        else:
            complex_step = None
    # 3. The verdict
    error = np.abs(g - estimate)
    agree = error <= rtol * np.maximum(np.abs(g), np.abs(estimate)) + 10 * uncertainty
    agree &= np.isfinite(uncertainty)
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


def _quotients(objective: _minimize.Objective, x: Array, which: Array, ladder: Array) -> tuple[Array, Array]:
    """Central differences, a row a step, and what rounding may do to each."""
    value = objective.value if callable(objective.jac) else lambda at: objective(at)[0]
    shape = len(ladder), len(which)
    up, down, moved = np.full(shape, math.nan), np.full(shape, math.nan), np.empty(shape)
    for row, step in enumerate(ladder):
        for column, i in enumerate(which):
            forth, back = x.copy(), x.copy()
            forth[i] += step * max(1.0, abs(x[i]))
            back[i] -= step * max(1.0, abs(x[i]))
            moved[row, column] = float(forth[i]) - float(back[i])
            if moved[row, column] > 0:
                up[row, column], down[row, column] = value(forth), value(back)
    with np.errstate(all="ignore"):  # a step that is lost in x; infinities, where x leaves the domain
        single = np.array_equal(up.astype(np.float32), up, equal_nan=True)  # whatever the type they come in
        eps = float(np.finfo(np.float32 if single else np.float64).eps)
        quotients = (up - down) / moved
        rounding = eps * (np.abs(up) + np.abs(down)) / moved
    # A difference that vanishes at some steps only was too small to be seen there, if rounding can hide it.
    largest = np.abs(np.nan_to_num(quotients)).max(axis=0)
    rounding[(quotients == 0) & (largest > 0) & (largest < 1e3 * rounding)] = math.inf
    return quotients, rounding


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


def _complex_step(objective: _minimize.Objective, x: Array, which: Array) -> Array | None:
    step = 1e-20
    derivatives = np.empty(len(which))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)  # the imaginary part was thrown away
            for k, i in enumerate(which):
                z = x.astype(np.complex128)
                z[i] += 1j * step
                result = objective.fun(z, *objective.args)
                value = np.asarray(result if callable(objective.jac) else result[0])
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
