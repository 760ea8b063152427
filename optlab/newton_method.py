"""Newton's method: plain, damped, saddle-free, with or without a line search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg.lapack import dsysv, dsysv_lwork

from . import _minimize, _validation
from .landscape import critical, curvature
from .linesearch import Search
from .result import Result

Array = NDArray[Any]

__all__ = ["newton"]

SINGULAR = 5

_EPS = float(np.finfo(np.float64).eps)

_WHERE = {
    "minimum": "a minimum",
    "maximum": "a maximum",
    "saddle": "a saddle",
    "degenerate": "a point whose Hessian is singular, which may be a minimum or not",
}


def newton(
    fun: Any,
    x0: Any,
    args: tuple[Any, ...] = (),
    jac: Callable[..., Any] | bool | None = None,
    hess: Callable[..., Any] | None = None,
    *,
    damping: float = 0.0,
    absolute: bool = False,
    line_search: Callable[..., Search] | None = None,
    gtol: float = 1e-5,
    maxiter: int | None = None,
    callback: Callable[..., object] | None = None,
    history: bool = True,
    **scipy_extras: Any,
) -> Result:
    r"""Find a critical point by Newton's method: go to that of the quadratic model at each point.

    .. math::

        \theta_{t+1} = \theta_t - (H_t + \alpha I)^{-1} g_t

    Without damping and line search the value may rise, and the point that is found may be a minimum, a
    maximum or a saddle; `message`, `eigenvalues` and `index` say which. A damping :math:`\alpha` above minus
    the smallest eigenvalue of H makes the direction one of descent, and so does `absolute`,

    .. math::

        \theta_{t+1} = \theta_t - (|H_t| + \alpha I)^{-1} g_t,

    where :math:`|H|` has the eigenvectors of H and the absolute values of its eigenvalues.

    Parameters
    ----------
    fun : callable or Problem
        ``fun(x, *args) -> float``, or ``-> (float, gradient)`` if `jac` is True.
    x0 : array, shape (n,)
        The start, never changed. float32 makes a run in float32, all else is float64; equations are solved
        in float64.
    args : tuple
        Further arguments of `fun`, `jac` and `hess`.
    jac : callable, True or None
        ``jac(x, *args) -> array, shape (n,)``. None takes that of a Problem, or forward differences.
    hess : callable or None
        ``hess(x, *args) -> array, shape (n, n)``, symmetric. None takes that of a Problem, or central
        differences of the gradient, 2n more evaluations of it each.
    damping : float
        :math:`\alpha`; default 0.
    absolute : bool
        Take :math:`|H|` for H: the saddle-free form. It needs all eigenvalues and eigenvectors, which takes
        some ten times longer. Default False.
    line_search : callable, optional
        A search of `optlab.linesearch`, first tried with the full step 1. So that the direction descends,
        :math:`|H|` takes the place of H where :math:`H + \alpha I` is not positive definite; where the search
        fails or H is singular, the run goes down the gradient. Default None: full steps, wherever they lead.
    gtol : float
        Converged when the largest entry of the gradient is at most this. Default 1e-5.
    maxiter : int, optional
        The most iterations; default 200 n.
    callback, history, **scipy_extras
        As in `nonlinear_cg`; `hessp` is not used, with a warning.

    Returns
    -------
    Result
        With `x`, `fun`, `jac` (the gradient at x), `success`, `status`, `message`, `nit`, `nfev`, `njev`,
        `nhev` (0 if the Hessian was made of gradients, which `njev` counts), `history`, and

        - `eigenvalues` of the Hessian at x, ascending, or None if it is not finite;
        - `index`, how many of them are negative beyond rounding (or, for a Hessian by differences, by the
          rule of `landscape.classify_critical_point`).

        Where the run fails, x is the lowest point it found. `status` is

        - 0: the gradient is within the tolerance;
        - 1: `maxiter` was reached;
        - 2: the line search found no lower point (rounding, or a gradient that is not that of `fun`);
        - 3: `fun`, `jac` or `hess` is not finite, at x0 or where a full step leads;
        - 4: `fun` reached minus infinity;
        - 5: the Hessian (with its damping) is singular, and no step solves the equations;
        - 99: stopped by the callback.

    Raises
    ------
    ValueError
        A start that is empty or not finite, results of the wrong shape, a Hessian that is far from symmetric,
        tolerances or damping that are negative or NaN, bounds.
    TypeError
        Complex or non-numeric input and results, functions that cannot be called.

    Notes
    -----
    Works as ``scipy.optimize.minimize(fun, x0, jac=..., hess=..., method=optlab.newton)``. A step takes about
    n³/6 multiplications, by Cholesky's factorization or, where H is not positive definite, that of Bunch and
    Kaufman. If both fail on a singular H, the shortest of all steps that solve the equations is taken, by
    eigenvalues. Each run ends with one more Hessian, for `eigenvalues`.

    References
    ----------
    Nocedal and Wright, "Numerical optimization" (2006), sections 3.3 (the step) and 3.4 (damping); Dauphin et
    al., "Identifying and attacking the saddle point problem in high-dimensional non-convex optimization",
    NeurIPS 2014, for \|H\|. Deviation from the latter: all eigenvalues rather than those in a Krylov space.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> from scipy.optimize import rosen, rosen_der, rosen_hess
    >>> run = optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess)
    >>> run.success, run.nit, run.x.round(4), run.index
    (True, 5, array([1., 1.]), 0)
    >>> run.history.fun.round(4)[:4]  # the value may rise
    array([2.4200000e+01, 4.7319000e+00, 1.4118452e+03, 5.6000000e-02])

    A saddle attracts it, but not its saddle-free form:

    >>> well = optlab.problems.double_well()
    >>> optlab.newton(well, [0.5, 0.3]).message.split(", ")[1]
    'at a saddle (1 of 2 eigenvalues negative).'
    >>> optlab.newton(well, [0.5, 0.3], absolute=True).x.round(4)
    array([0.    , 1.4142])
    """
    x, objective, settings = _minimize.prepare(
        fun, x0, args, jac, gtol, maxiter, callback, history, scipy_extras
    )
    damping = _validation.number("damping", damping, minimum=0.0, below=math.inf)
    if line_search is not None:
        _validation.function("line_search", line_search)
    hessian = _Hessian(objective, fun, hess)
    last: Array | None = None  # the gradient at the last call
    downhill = False  # whether -g was proposed for it
    trouble: tuple[int, str] | None = None

    def direction(x: Array, g: Array, anew: bool) -> tuple[Array, float | None] | None:
        nonlocal last, downhill, trouble
        if last is g:  # the search along the first direction failed
            if downhill:
                return None
            downhill = True
            return -g, None
        last, downhill = g, False
        H = hessian(x)
        if not np.isfinite(H).all():
            trouble = _minimize.NOT_FINITE, "Not converged: the Hessian is not finite."
            return None
        d = newton_step(H, g, damping, absolute, descending=line_search is not None)
        if d is not None:
            return d, 1.0
        if line_search is None:
            trouble = SINGULAR, "Not converged: the Hessian is singular, and no step solves its equations."
            return None
        downhill = True
        return -g, None

    def conclude(result: Result) -> None:
        H = hessian(result.x)
        if trouble is not None:
            result.status, result.message = trouble
        result.eigenvalues = result.index = None
        if np.isfinite(H).all():
            result.eigenvalues = scipy.linalg.eigvalsh(H)
            rtol = len(H) * _EPS if hessian.exact else critical.ZERO[False]
            kind, result.index, _, _ = critical.signs(result.eigenvalues, rtol, hessian.exact)
            if result.success:
                count = f" ({result.index} of {len(H)} eigenvalues negative)" if kind == "saddle" else ""
                result.message = f"{result.message[:-1]}, at {_WHERE[kind]}{count}."
        result.nfev, result.njev, result.nhev = objective.nfev, objective.njev, hessian.count

    return _minimize.descend(objective, x, direction, line_search, settings, conclude)


class _Hessian:
    """The Hessian at a point: the user's, that of a Problem, or differences."""

    def __init__(self, objective: _minimize.Objective, fun: Any, hess: Any) -> None:
        self.objective = objective
        if hess is None and _minimize.is_problem(fun):
            self.hess, self.args = fun.hess, ()
            self.exact = curvature.is_exact(fun)
        else:
            self.hess = None if hess is None else _validation.function("hess", hess)
            self.args = objective.args
            self.exact = hess is not None
        self.count = 0

    def __call__(self, x: Array) -> Array:
        if self.hess is not None:
            self.count += 1
            return curvature.symmetric("hess", self.hess(x.copy(), *self.args), len(x))
        noise = float(np.finfo(x.dtype).eps)
        if not self.objective.jac:  # its gradients are differences too
            noise = math.sqrt(noise)
        grad = self.objective.grad
        return curvature.by_columns(lambda v: curvature.difference_product(grad, x, v, noise), x)


def newton_step(
    H: Array, g: Array, damping: float = 0.0, absolute: bool = False, descending: bool = False
) -> Array | None:
    """-(H + damping I)^-1 g; None if there is no solution.

    With |H| for H if `absolute`; also if the step is to be `descending` and H + damping I is not positive
    definite.
    """
    with np.errstate(all="ignore"):
        if not absolute:
            A = H.copy()
            A.flat[:: len(A) + 1] += damping
            d = _solve(A, -g.astype(np.float64), definite=descending)
            # A matrix that is singular but for rounding gives huge steps that solve nothing.
            if d is not None and np.abs(A @ d + g).max() <= 0.5 * np.abs(g).max():
                return d.astype(g.dtype)
        values, U = scipy.linalg.eigh(H)
        values = (np.abs(values) if absolute or descending else values) + damping
        known = np.abs(values) > len(g) * _EPS * np.abs(values).max()
        slopes = U.T @ g
        left = U[:, ~known] @ slopes[~known]
        if not known.any() or np.abs(left).max() > 0.5 * np.abs(g).max():
            return None
        d = -U[:, known] @ (slopes[known] / values[known])
        return d.astype(g.dtype)  # type: ignore[no-any-return]


def _solve(A: Array, b: Array, definite: bool) -> Array | None:
    """A^-1 b; None if A is singular, or not positive definite but has to be."""
    d: Array
    try:
        d = scipy.linalg.cho_solve(scipy.linalg.cho_factor(A), b)
    except scipy.linalg.LinAlgError:  # not positive definite
        if definite:
            return None
        # `scipy.linalg.solve` would warn of matrices that are merely badly scaled.
        *_, d, info = dsysv(A, b, lwork=int(dsysv_lwork(len(A))[0]))
        return None if info else d
    return d
