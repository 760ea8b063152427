"""Quasi-Newton methods: BFGS with its matrix, L-BFGS with the last pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _minimize, _validation, linesearch
from ._kernels import lbfgs as kernels
from .linesearch import Search
from .result import Result

Array = NDArray[Any]

_LOOSE = partial(linesearch.strong_wolfe, c2=0.9)


def bfgs_update(M: Any, s: Any, y: Any) -> Array:
    r"""The BFGS update of an approximate inverse Hessian M by a step s and the change y of the gradient.

    .. math::

        M' &= V^T M V + \rho s s^T, \\
        V &= I - \rho y s^T, \quad \rho = 1 / s^T y

    It satisfies the secant equation :math:`M' y = s`, and M' is positive definite if M is and
    :math:`s^T y > 0`. It is computed in O(n²), and is symmetric to the last bit if M is.

    Parameters
    ----------
    M : array, shape (n, n)
        Symmetric.
    s, y : array, shape (n,)
        :math:`x' - x` and :math:`g' - g`.

    Returns
    -------
    ndarray, shape (n, n)
        A new matrix.

    Raises
    ------
    ValueError
        Shapes that do not fit, numbers that are not finite, or :math:`s^T y = 0`. (A negative one gives a
        matrix that is not positive definite, as the equation does; `bfgs` skips such pairs.)
    TypeError
        Complex or non-numeric input.

    References
    ----------
    Broyden; Fletcher; Goldfarb; Shanno (1970); Nocedal and Wright, "Numerical optimization" (2006), eq.
    (6.17).

    Examples
    --------
    >>> import numpy as np
    >>> bfgs_update(np.eye(2), [1.0, 0.0], [2.0, 1.0])
    array([[ 0.75, -0.5 ],
           [-0.5 ,  1.  ]])
    """
    M = _validation.real_array("M", M, 2)
    s, y = _validation.real_array("s", s, 1), _validation.real_array("y", y, 1)
    n = len(s)
    if y.shape != (n,):
        raise ValueError(f"y: expected shape {(n,)} as s has, got {y.shape}")
    if M.shape != (n, n):
        raise ValueError(f"M: expected shape {(n, n)} for s of length {n}, got {M.shape}")
    for name, array in (("M", M), ("s", s), ("y", y)):
        _validation.finite(name, array)
    if np.dot(s, y) == 0:
        raise ValueError("s: expected a curvature s.y that is not 0")
    return _updated(M, s, y)


def _updated(M: Array, s: Array, y: Array) -> Array:
    """M - rho (s (M y)^T + (M y) s^T) + rho (1 + rho y.M y) s s^T, as w s^T and its transpose."""
    rho = 1.0 / np.dot(s, y)
    My = M @ y
    w = np.outer(s, 0.5 * rho * (1.0 + rho * np.dot(y, My)) * s - rho * My)
    w += w.T.copy()
    w += M
    return w


def two_loop(g: Any, S: Any, Y: Any, gamma: float | None = None) -> Array:
    r"""The product M g of L-BFGS, from pairs alone: M is :math:`\gamma I` updated by every pair in turn.

    .. math::

        &q = g; \text{ from the newest pair to the oldest: }
            a_i = \rho_i s_i^T q, \quad q \leftarrow q - a_i y_i, \\
        &r = \gamma q; \text{ from the oldest to the newest: }
            r \leftarrow r + s_i (a_i - \rho_i y_i^T r)

    with :math:`\rho_i = 1 / s_i^T y_i`: 4 m n multiplications for m pairs.

    Parameters
    ----------
    g : array, shape (n,)
    S, Y : array or list of vectors, shape (m, n)
        Steps and changes of the gradient, the oldest first; m = 0 gives :math:`\gamma g`.
    gamma : float, optional
        Default :math:`s^T y / y^T y` of the newest pair, 1 without pairs.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        Shapes that do not fit, a pair with :math:`s^T y = 0`.
    TypeError
        Complex or non-numeric input.

    References
    ----------
    Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35 (1980); Nocedal and Wright
    (2006), algorithm 7.4 and eq. (7.20).

    Examples
    --------
    >>> import numpy as np
    >>> two_loop([1.0, 1.0], [[1.0, 0.0]], [[2.0, 1.0]], gamma=1.0)
    array([0.25, 0.5 ])
    >>> bfgs_update(np.eye(2), [1.0, 0.0], [2.0, 1.0]) @ [1.0, 1.0]
    array([0.25, 0.5 ])
    """
    g = _validation.real_array("g", g, 1)
    n = len(g)
    S = _validation.real_array("S", np.reshape(S, (0, n)) if len(S) == 0 else S, 2)
    Y = _validation.real_array("Y", np.reshape(Y, (0, n)) if len(Y) == 0 else Y, 2)
    if S.shape[1] != n:
        raise ValueError(f"S: expected rows of length {n} as g has, got shape {S.shape}")
    if Y.shape != S.shape:
        raise ValueError(f"Y: expected shape {S.shape} as S has, got {Y.shape}")
    dtype = np.result_type(g, S, Y)
    S, Y = S.astype(dtype, copy=False), Y.astype(dtype, copy=False)
    curvatures = np.einsum("ij,ij->i", S, Y, dtype=np.float64)
    if not curvatures.all():
        raise ValueError(f"S: expected curvatures s.y that are not 0, pair {int(np.argmin(curvatures))} has")
    if gamma is None:
        gamma = float(curvatures[-1] / np.dot(Y[-1], Y[-1])) if len(S) else 1.0
    else:
        gamma = _validation.number("gamma", gamma)
    result: Array = g.astype(dtype)
    if len(S):
        kernels.two_loop(S, Y, curvatures, gamma, result)
    else:
        result *= dtype.type(gamma)
    return result


def _curvature(s: Array, y: Array) -> float:
    """s.y; 0 if it is not positive beyond rounding, so that the pair is not to be used."""
    with np.errstate(over="ignore", invalid="ignore"):
        sy, ss, yy = float(np.dot(s, y)), float(np.dot(s, s)), float(np.dot(y, y))
        usable = sy > float(np.finfo(s.dtype).eps) * math.sqrt(ss) * math.sqrt(yy)
    return sy if usable and 0.0 < yy < math.inf and sy < math.inf and math.isfinite(1.0 / sy) else 0.0


def bfgs(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Callable[..., Any] | bool | None = None,
    *,
    scale: bool = True,
    line_search: Callable[..., Search] = _LOOSE,
    gtol: float = 1e-5,
    maxiter: int | None = None,
    callback: Callable[..., object] | None = None,
    history: bool = True,
    **scipy_extras: Any,
) -> Result:
    r"""Minimize a smooth function by the method of Broyden, Fletcher, Goldfarb and Shanno.

    .. math::

        d_t &= -M_t g_t, \\
        \theta_{t+1} &= \theta_t + \epsilon_t d_t, \quad \epsilon_t \text{ from a line search that tries 1
        first}, \\
        M_{t+1} &= \text{bfgs\_update}(M_t,\ \theta_{t+1} - \theta_t,\ g_{t+1} - g_t), \quad M_0 = I

    A pair without positive curvature (:math:`s^T y` not above rounding) does not change M. Where a line
    search fails, the method restarts once with :math:`M = I`.

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
    scale : bool
        Whether the first pair rescales :math:`M = I` to :math:`(s^T y / y^T y) I` before it updates it.
        Default True.
    line_search : callable
        A search of `optlab.linesearch`; default `strong_wolfe` with c2 = 0.9. The first direction is -g, and
        its first trial moves by length 1 at most.
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
        As in `nonlinear_cg`.

    Returns
    -------
    Result
        As `nonlinear_cg` gives it, and `hess_inv`: the last M, shape (n, n), symmetric.

    Raises
    ------
    ValueError, TypeError
        As `nonlinear_cg` does.

    Notes
    -----
    Works as ``scipy.optimize.minimize(fun, x0, jac=..., method=optlab.bfgs)``.

    References
    ----------
    Broyden; Fletcher; Goldfarb; Shanno (1970); Nocedal and Wright, "Numerical optimization" (2006), algorithm
    6.1 and (for `scale`) eq. (6.20). Deviations: pairs that are skipped; the restart when a line search
    fails; as in `nonlinear_cg`, the gradient decides where rounding hides whether the value falls.

    Examples
    --------
    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> import optlab
    >>> run = optlab.bfgs(rosen, [-1.2, 1.0], jac=rosen_der)
    >>> run.success, run.x.round(3)
    (True, array([1., 1.]))
    >>> minimize(rosen, [-1.2, 1.0], jac=rosen_der, method=optlab.bfgs).nit == run.nit
    True
    """
    x, objective, settings = _minimize.prepare(
        fun, x0, args, jac, gtol, maxiter, callback, history, scipy_extras
    )
    _validation.function("line_search", line_search)
    M: Array | None = None  # None: the identity, before the first pair
    last: tuple[Array, Array] | None = None

    def learn(x: Array, g: Array) -> None:
        """Update M by the step from the last point to this one."""
        nonlocal M, last
        if last is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                s, y = x - last[0], g - last[1]
                sy = _curvature(s, y)
                if sy:
                    start = np.eye(len(x), dtype=x.dtype) if M is None else M
                    if M is None and scale:
                        start *= x.dtype.type(sy / float(np.dot(y, y)))
                    updated = _updated(start, s, y)
                    if np.isfinite(updated).all():
                        M = updated
        last = x, g

    def direction(x: Array, g: Array, anew: bool) -> tuple[Array, float | None] | None:
        nonlocal M
        if last is None or g is not last[1]:
            learn(x, g)
        elif M is None:
            return None  # -g it was
        if anew:
            M = None
        if M is None:
            return -g, None
        with np.errstate(over="ignore", invalid="ignore"):
            return -(M @ g), 1.0

    result = _minimize.descend(objective, x, direction, line_search, settings)
    if last is not None and result.jac is not last[1]:
        learn(result.x, result.jac)
    result.hess_inv = np.eye(len(x), dtype=x.dtype) if M is None else M
    return result


def lbfgs(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Callable[..., Any] | bool | None = None,
    *,
    memory: int = 10,
    scale: bool = True,
    line_search: Callable[..., Search] = _LOOSE,
    gtol: float = 1e-5,
    maxiter: int | None = None,
    callback: Callable[..., object] | None = None,
    history: bool = True,
    **scipy_extras: Any,
) -> Result:
    r"""Minimize a smooth function by BFGS with limited memory: the last m pairs stand for the matrix.

    .. math::

        d_t &= -M_t g_t \quad \text{by } \texttt{two\_loop}, \\
        \theta_{t+1} &= \theta_t + \epsilon_t d_t, \quad \epsilon_t \text{ from a line search that tries 1
        first}

    :math:`M_t` is :math:`\gamma_t I` updated by the last m pairs :math:`s = \theta_{t+1} - \theta_t`,
    :math:`y = g_{t+1} - g_t`, with :math:`\gamma_t = s^T y / y^T y` of the newest. It takes O(n m) memory and
    time, where `bfgs` takes O(n²).

    A pair without positive curvature (:math:`s^T y` not above rounding) is not kept. Where a line search
    fails, the method restarts once without pairs.

    Parameters
    ----------
    memory : int
        m, the most pairs that are kept. Default 10.
    scale : bool
        False keeps :math:`\gamma_t = 1`: with a memory for all steps that is `bfgs` with ``scale=False``.
        Default True.
    maxiter : int, optional
        The most iterations; default 200 n, but 15000 at least.
    fun, x0, args, jac, line_search, gtol, callback, history, **scipy_extras
        As in `bfgs`.

    Returns
    -------
    Result
        As `nonlinear_cg` gives it.

    Raises
    ------
    ValueError, TypeError
        As `nonlinear_cg` does.

    Notes
    -----
    Works as ``scipy.optimize.minimize(fun, x0, jac=..., method=optlab.lbfgs)``. For large n set ``history``
    to False, or the points that it keeps outgrow the pairs.

    References
    ----------
    Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35 (1980); Liu and Nocedal,
    "On the limited memory BFGS method for large scale optimization", Math. Prog. 45 (1989); Nocedal and
    Wright (2006), algorithm 7.5. Deviations: as in `bfgs`; the two loops run on the products of the pairs
    with each other and with g (Chen, Wang and Zhou, "Large-scale L-BFGS using MapReduce", NeurIPS 2014),
    which is the same direction but for rounding.

    Examples
    --------
    >>> from scipy.optimize import rosen, rosen_der
    >>> import numpy as np, optlab
    >>> run = optlab.lbfgs(rosen, np.full(1000, 2.0), jac=rosen_der)
    >>> run.success, bool(abs(run.x - 1).max() < 1e-4)
    (True, True)
    """
    if maxiter is None:
        maxiter = max(200 * np.size(x0), 15000)
    x, objective, settings = _minimize.prepare(
        fun, x0, args, jac, gtol, maxiter, callback, history, scipy_extras
    )
    _validation.function("line_search", line_search)
    memory = _validation.count("memory", memory, minimum=1)
    memory = max(1, min(memory, settings.maxiter))
    constants = _constants(line_search)
    if constants is not None and settings.norm == math.inf:
        return _compiled(objective, x, memory, scale, constants, settings)
    pairs = kernels.Pairs(x, memory, scale)
    last: tuple[Array, Array] | None = None

    def direction(x: Array, g: Array, anew: bool) -> tuple[Array, float | None] | None:
        nonlocal last
        if last is None or g is not last[1]:
            if last is not None:
                pairs.learn(*last, x, g)
            last = x, g
        elif not pairs.count:
            return None  # -g it was
        if anew:
            pairs.clear()
        return (pairs.direction(g), 1.0) if pairs.count else (-g, None)

    return _minimize.descend(objective, x, direction, line_search, settings)


def _constants(line_search: Callable[..., Search]) -> tuple[float, float, float] | None:
    """c1, c2 and max_step if the search is `strong_wolfe`, bare or with some of them fixed."""
    search: Any = line_search
    fixed: dict[str, Any] = {}
    if isinstance(line_search, partial) and not line_search.args:
        search, fixed = line_search.func, line_search.keywords
    if search is not linesearch.strong_wolfe or fixed.keys() - {"c1", "c2", "max_step"}:
        return None
    return linesearch.wolfe_constants(**fixed)


def _compiled(
    objective: _minimize.Objective,
    x: Array,
    memory: int,
    scale: bool,
    constants: tuple[float, float, float],
    settings: _minimize.Settings,
) -> Result:
    """The run in the kernel; Python is there for the user's functions."""
    problem = objective.compiled(x)
    keep = settings.history or settings.return_all
    run = kernels.Iteration(problem, x, memory, scale, settings.gtol, settings.maxiter, *constants, keep)
    chunk = 1 if settings.callback is not None else 64
    why = kernels.PAUSED
    while why == kernels.PAUSED:
        start, before = perf_counter(), run.rows
        why = run.advance(chunk)
        while why == kernels.NEED_VALUE:
            f, g = objective(run.trial)
            run.tell(float(f), g)
            why = run.advance(chunk + before - run.rows)
        if run.keep:
            run.keep = _minimize.has_room(run.rows, x)
        if settings.callback is not None:
            if run.rows > max(before, 1):
                try:
                    settings.callback(run.x, run.f)
                except StopIteration:
                    break
        elif chunk < settings.maxiter and perf_counter() - start < 0.05:  # often enough for the keyboard
            chunk *= 2
    if problem is not None:
        objective.nfev = objective.njev = run.evaluations
    status = _minimize.STOPPED if why == kernels.PAUSED else why - kernels.CONVERGED
    points = np.concatenate(run.points) if keep else ()
    return _minimize.finish(
        objective, settings, status, run.x, run.f, run.g, run.rows - 1, run.record, points
    )
