"""Steepest descent and nonlinear conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _minimize, _validation, linesearch
from ..linesearch import Search
from ..result import Result

Array = NDArray[Any]


def fletcher_reeves(g: Array, g_last: Array, d_last: Array) -> float:
    r""":math:`\beta = g_t^T g_t \,/\, g_{t-1}^T g_{t-1}`.

    Parameters
    ----------
    g, g_last, d_last : array, shape (n,)
        The gradient, the previous one, and the previous direction (not used here).

    References
    ----------
    Fletcher and Reeves, "Function minimization by conjugate gradients", Computer Journal 7 (1964), eq. (9).

    Examples
    --------
    >>> import numpy as np
    >>> fletcher_reeves(np.array([1.0, 1.0]), np.array([2.0, 0.0]), np.array([-2.0, 0.0]))
    0.5
    """
    return _ratio(np.dot(g, g), np.dot(g_last, g_last))


def polak_ribiere(g: Array, g_last: Array, d_last: Array) -> float:
    r""":math:`\beta = (g_t - g_{t-1})^T g_t \,/\, g_{t-1}^T g_{t-1}`.

    Parameters
    ----------
    g, g_last, d_last : array, shape (n,)
        The gradient, the previous one, and the previous direction (not used here).

    References
    ----------
    Polak and Ribière, "Note sur la convergence de méthodes de directions conjuguées", R.I.R.O. 3 (1969).

    Examples
    --------
    >>> import numpy as np
    >>> polak_ribiere(np.array([1.0, 1.0]), np.array([2.0, 0.0]), np.array([-2.0, 0.0]))
    0.0
    """
    return _ratio(np.dot(g - g_last, g), np.dot(g_last, g_last))


def polak_ribiere_plus(g: Array, g_last: Array, d_last: Array) -> float:
    r""":math:`\beta = \max(0, \beta_{PR})`: a negative one restarts with steepest descent.

    Parameters
    ----------
    g, g_last, d_last : array, shape (n,)
        The gradient, the previous one, and the previous direction (not used here).

    References
    ----------
    Gilbert and Nocedal, "Global convergence properties of conjugate gradient methods for optimization", SIAM
    J. Optim. 2 (1992), eq. (1.7).

    Examples
    --------
    >>> import numpy as np
    >>> polak_ribiere_plus(np.array([1.0, 0.5]), np.array([2.0, 0.0]), np.array([-2.0, 0.0]))
    0.0
    """
    return max(0.0, polak_ribiere(g, g_last, d_last))


def hestenes_stiefel(g: Array, g_last: Array, d_last: Array) -> float:
    r""":math:`\beta = (g_t - g_{t-1})^T g_t \,/\, (g_t - g_{t-1})^T d_{t-1}`.

    It makes the new direction conjugate to the last one as the change of the gradient sees it,
    :math:`d_t^T (g_t - g_{t-1}) = 0`, whatever the line search.

    Parameters
    ----------
    g, g_last, d_last : array, shape (n,)
        The gradient, the previous one, and the previous direction.

    References
    ----------
    Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", J. Res. NBS 49 (1952),
    section 5.

    Examples
    --------
    >>> import numpy as np
    >>> hestenes_stiefel(np.array([0.0, 1.0]), np.array([2.0, 0.0]), np.array([-2.0, 0.0]))
    0.25
    """
    change = g - g_last
    return _ratio(np.dot(change, g), np.dot(change, d_last))


def _ratio(numerator: Any, denominator: Any) -> float:
    """0, a restart, where the denominator is."""
    return float(numerator) / float(denominator) if denominator else 0.0


def nonlinear_cg(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Callable[..., Any] | bool | None = None,
    *,
    beta: Callable[[Array, Array, Array], float] = polak_ribiere_plus,
    restart: int | None = None,
    line_search: Callable[..., Search] = linesearch.strong_wolfe,
    gtol: float = 1e-5,
    maxiter: int | None = None,
    callback: Callable[..., object] | None = None,
    history: bool = True,
    **scipy_extras: Any,
) -> Result:
    r"""Minimize a smooth function by nonlinear conjugate gradients.

    .. math::

        d_t &= -g_t + \beta_t d_{t-1}, \\
        \theta_{t+1} &= \theta_t + \epsilon_t d_t, \quad \epsilon_t \text{ from a line search along } d_t.

    Where :math:`d_t` does not descend (:math:`g_t^T d_t \ge 0`), or its line search fails, the method
    restarts with :math:`d_t = -g_t`.

    Parameters
    ----------
    fun : callable or Problem
        ``fun(x, *args) -> float``, or ``-> (float, gradient)`` if `jac` is True. A Problem gives its gradient
        too.
    x0 : array, shape (n,)
        The start, never changed. float32 makes a run in float32; all else is float64.
    args : tuple
        Further arguments of `fun` and `jac`.
    jac : callable, True or None
        ``jac(x, *args) -> array, shape (n,)``. None takes forward differences, n more evaluations of `fun`
        each.
    beta : callable
        ``beta(g, g_last, d_last) -> float``: `fletcher_reeves`, `polak_ribiere`, `polak_ribiere_plus`
        (default), `hestenes_stiefel`, or one of your own.
    restart : int, optional
        Restart with :math:`-g` so many iterations after the last restart, whatever its cause; default never.
    line_search : callable
        A search of `optlab.linesearch`; default `strong_wolfe` with its c2 = 0.1.
    gtol : float
        Converged when the largest entry of the gradient is at most this. Default 1e-5.
    maxiter : int, optional
        The most iterations; default 200 n.
    callback : callable, optional
        ``callback(xk)`` or ``callback(intermediate_result=...)`` after each iteration. StopIteration ends the
        run.
    history : bool
        Whether `history.x` keeps every point (up to 1 GiB); its scalars are always kept. Default True.
    **scipy_extras
        What SciPy's callers know besides: `tol` (another name for `gtol`, wins), `norm` (the order of the
        gradient's norm, default infinity), `disp` (print a line at the end), `return_all` (add `allvecs`, the
        list of points). `hess` and `hessp` are not used, with a warning; `bounds` and `constraints` are
        refused.

    Returns
    -------
    Result
        With `x`, `fun`, `jac` (the gradient at x), `success`, `status`, `message`, `nit`, `nfev`, `njev`,
        `history`. The value never rises (but for rounding), so that x is the best point. `status` is

        - 0: the gradient is within the tolerance;
        - 1: `maxiter` was reached;
        - 2: the line search found no lower point (rounding, or a gradient that is not that of `fun`), or
          five moves in a row changed nothing but the rounding of the value;
        - 3: `fun` or `jac` is not finite at x0;
        - 4: `fun` reached minus infinity;
        - 99: stopped by the callback.

    Raises
    ------
    ValueError
        A start that is empty or not finite, results of the wrong shape, tolerances that are negative or NaN,
        bounds.
    TypeError
        Complex or non-numeric input and results, functions that cannot be called.

    Notes
    -----
    Works as ``scipy.optimize.minimize(fun, x0, jac=..., method=optlab.nonlinear_cg)``. Exceptions in `fun`,
    `jac` and `callback` reach the caller. Functions get copies, and may reuse the buffers they return.

    References
    ----------
    Fletcher and Reeves (1964); Polak and Ribière (1969); Gilbert and Nocedal (1992) for the default; Nocedal
    and Wright, "Numerical optimization" (2006), algorithm 5.4 and (for the first trial of the line search)
    section 3.5. Deviations: the restart when a line search fails; where a trial raises the value by no more
    than rounding may, it is taken if it lessens slope and gradient, in the manner of Hager and Zhang, "A new
    conjugate gradient method with guaranteed descent and an efficient line search", SIAM J. Optim. 16 (2005).

    Examples
    --------
    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> import optlab
    >>> run = optlab.nonlinear_cg(rosen, [-1.2, 1.0], jac=rosen_der)
    >>> run.success, run.x.round(3)
    (True, array([1., 1.]))
    >>> minimize(rosen, [-1.2, 1.0], jac=rosen_der, method=optlab.nonlinear_cg).nit == run.nit
    True
    """
    x, objective, settings = _minimize.prepare(
        fun, x0, args, jac, gtol, maxiter, callback, history, scipy_extras
    )
    _validation.function("beta", beta)
    _validation.function("line_search", line_search)
    if restart is not None:
        restart = _validation.count("restart", restart, minimum=1)
    last: tuple[Array, Array] | None = None
    since = 0  # directions since d = -g, that one included

    def direction(x: Array, g: Array, anew: bool) -> tuple[Array, None] | None:
        nonlocal last, since
        if anew and since == 1 and last is not None and last[0] is g:
            return None  # -g it was
        if anew or last is None or since == restart:
            d, since = -g, 1
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # such a direction is not taken
                d, since = -g + g.dtype.type(beta(g, *last)) * last[1], since + 1
        last = g, d
        return d, None

    return _minimize.descend(objective, x, direction, line_search, settings)


def steepest_descent(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Callable[..., Any] | bool | None = None,
    *,
    line_search: Callable[..., Search] = linesearch.exact,
    gtol: float = 1e-5,
    maxiter: int | None = None,
    callback: Callable[..., object] | None = None,
    history: bool = True,
    **scipy_extras: Any,
) -> Result:
    r"""Minimize a smooth function by steepest descent: go down the gradient as far as the function falls.

    .. math::

        \theta_{t+1} &= \theta_t - \epsilon_t g_t, \\
        \epsilon_t &= \arg\min_\epsilon f(\theta_t - \epsilon g_t)

    Parameters
    ----------
    line_search : callable
        A search of `optlab.linesearch`; default `exact`, which takes two evaluations on a quadratic.
    maxiter : int, optional
        The most iterations; default 200 n.
    fun, x0, args, jac, gtol, callback, history, **scipy_extras
        As in `nonlinear_cg`.

    Returns
    -------
    Result
        As `nonlinear_cg` gives it.

    Raises
    ------
    ValueError, TypeError
        As `nonlinear_cg` does.

    References
    ----------
    Cauchy, "Méthode générale pour la résolution des systèmes d'équations simultanées", Comptes rendus 25
    (1847).

    Examples
    --------
    >>> import numpy as np, optlab
    >>> run = optlab.steepest_descent(lambda x: x[0] ** 2 + 10 * x[1] ** 2, [10.0, 1.0],
    ...                               jac=lambda x: np.array([2 * x[0], 20 * x[1]]))
    >>> run.success, run.nit
    (True, 73)
    """
    x, objective, settings = _minimize.prepare(
        fun, x0, args, jac, gtol, maxiter, callback, history, scipy_extras
    )
    _validation.function("line_search", line_search)
    last: Array | None = None

    def direction(x: Array, g: Array, anew: bool) -> tuple[Array, None] | None:
        nonlocal last
        if g is last:
            return None  # there is no other
        last = g
        return -g, None

    return _minimize.descend(objective, x, direction, line_search, settings)
