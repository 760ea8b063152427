"""What the minimizers share: the user's objective, the loop of direction and search, SciPy's contract."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult

from . import _validation
from ._kernels import surfaces
from .linesearch import Search
from .result import History, Result

Array = NDArray[Any]

CONVERGED, EXHAUSTED, NO_DECREASE, NOT_FINITE, UNBOUNDED, STOPPED = 0, 1, 2, 3, 4, 99

_MESSAGES = {
    CONVERGED: "Converged: the gradient is within the tolerance.",
    EXHAUSTED: "Not converged: maxiter was reached.",
    NO_DECREASE: "Not converged: the line search found no lower point (rounding, or a wrong gradient).",
    NOT_FINITE: "Not converged: the objective or its gradient is not finite.",
    UNBOUNDED: "Not converged: the objective is not bounded below.",
    STOPPED: "Stopped by the callback.",
}

_NONE = ()  # no constraints, as SciPy says it

_EXTRAS: dict[str, Any] = {
    "tol": None,
    "norm": math.inf,
    "disp": False,
    "return_all": False,
    "hess": None,
    "hessp": None,
    "bounds": None,
    "constraints": _NONE,
}

# A change of the value that may be rounding alone, in units of its last place: the terms of a sum are often a
# thousand times larger than it is.
_ROUNDING = 1e3
_STALLED = 5  # moves in a row that change nothing but that

_HISTORY_BYTES = 2**30  # beyond this the points are no longer kept


class Objective:
    """The user's function and gradient: called with copies, counted, and checked for shape and type.

    What they return is copied too, so that either may reuse its buffer or write into its argument. A
    `Problem` without another gradient gives its own.
    """

    def __init__(self, fun: Any, jac: Any, args: Any, dtype: np.dtype[Any]) -> None:
        self.problem = fun if jac is None and is_problem(fun) else None
        if self.problem is not None:
            fun, jac = self.problem.value_and_grad, True
        self.fun = _validation.function("fun", fun)
        if not (callable(jac) or jac is None or isinstance(jac, bool | np.bool_)):
            raise TypeError(f"jac: expected a callable, True or None, got {jac!r}")
        self.jac = jac
        self.args = args if isinstance(args, tuple) else (args,)
        self.dtype = dtype
        self.nfev = 0
        self.njev = 0
        self.escaped = False  # the values fell until a point overflowed

    def __call__(self, x: Array) -> tuple[np.floating[Any], Array]:
        """Value, in the dtype of x, and gradient."""
        self.njev += 1
        if callable(self.jac):
            return self.value(x), self.gradient(self.jac(x.copy(), *self.args), x)
        if self.jac:
            self.nfev += 1
            pair = self.fun(x.copy(), *self.args)
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise TypeError(f"fun: expected (value, gradient) as jac is True, got {type(pair).__name__}")
            return self.scalar(pair[0]), self.gradient(pair[1], x)
        f = self.value(x)
        return f, self.differences(x, f)

    def compiled(self, x: Array) -> surfaces.Compiled | None:
        """The objective as kernels see it, if it is compiled and of the length and dtype of x."""
        kernel = getattr(self.problem, "kernel", None)
        fits = isinstance(kernel, surfaces.Compiled) and kernel.n == len(x) and x.dtype == np.float64
        return kernel if fits and not self.args else None

    def value(self, x: Array) -> np.floating[Any]:
        self.nfev += 1
        return self.scalar(self.fun(x.copy(), *self.args))

    def grad(self, x: Array) -> Array:
        """The gradient alone, where it can be had so."""
        if not callable(self.jac):
            return self(x)[1]
        self.njev += 1
        return self.gradient(self.jac(x.copy(), *self.args), x)

    def scalar(self, value: Any) -> np.floating[Any]:
        array = _validation.numbers("fun", value)
        if array.size != 1:
            raise ValueError(f"fun: expected a single number, got shape {array.shape}")
        with np.errstate(over="ignore"):
            return self.dtype.type(array.item())  # type: ignore[no-any-return]

    def gradient(self, value: Any, x: Array) -> Array:
        array = _validation.numbers("jac", value)
        if array.shape != x.shape and not (array.ndim == 0 and x.shape == (1,)):
            raise ValueError(f"jac: expected shape {x.shape} as x0 has, got {array.shape}")
        with np.errstate(over="ignore"):
            return np.array(array, dtype=self.dtype).reshape(x.shape)

    def differences(self, x: Array, f: np.floating[Any]) -> Array:
        """Forward differences, each with the step that balances truncation and rounding."""
        g = np.empty_like(x)
        root = math.sqrt(np.finfo(self.dtype).eps)
        for i in range(len(x)):
            moved = x.copy()
            moved[i] += root * max(1.0, abs(x[i])) * (1.0 if x[i] >= 0 else -1.0)
            g[i] = (float(self.value(moved)) - float(f)) / float(moved[i] - x[i])
        return g


def is_problem(fun: Any) -> bool:
    """Whether `fun` is an `optlab.problems.Problem`, or looks like one."""
    return callable(getattr(fun, "value_and_grad", None)) and callable(getattr(fun, "grad", None))


class Settings(NamedTuple):
    """When to stop, and what to tell meanwhile."""

    gtol: float
    norm: float
    maxiter: int
    callback: Callable[[Array, float], object] | None
    history: bool
    disp: bool
    return_all: bool


def prepare(
    fun: Any,
    x0: Any,
    args: Any,
    jac: Any,
    gtol: Any,
    maxiter: Any,
    callback: Any,
    history: bool,
    extras: dict[str, Any],
) -> tuple[Array, Objective, Settings]:
    """Check the arguments that all minimizers share; `extras` are those that only SciPy's callers use."""
    unknown = sorted(extras.keys() - _EXTRAS.keys())
    if unknown:
        raise TypeError(
            f"{unknown[0]}: not an argument; beside its own this method takes {', '.join(_EXTRAS)}"
        )
    extra = _EXTRAS | extras
    if extra["bounds"] is not None:
        raise ValueError("bounds: expected None, this method is unconstrained")
    constraints = extra["constraints"]
    if constraints is not None and constraints is not _NONE and not np.array_equal(constraints, _NONE):
        raise ValueError("constraints: expected none, this method is unconstrained")
    for name in ("hess", "hessp"):
        if extra[name] is not None:
            warnings.warn(f"{name}: this method does not use it", RuntimeWarning, stacklevel=3)
    x = _validation.real_array("x0", [x0] if np.ndim(x0) == 0 else x0, 1).copy()
    if len(x) == 0:
        raise ValueError("x0: expected at least one number, got none")
    _validation.finite("x0", x)
    settings = Settings(
        gtol=_validation.number("gtol", gtol if extra["tol"] is None else extra["tol"], minimum=0.0),
        norm=_validation.number("norm", extra["norm"]),
        maxiter=200 * len(x) if maxiter is None else min(_validation.count("maxiter", maxiter), 2**60),
        callback=None if callback is None else _as_scipy_calls(_validation.function("callback", callback)),
        history=bool(history),
        disp=bool(extra["disp"]),
        return_all=bool(extra["return_all"]),
    )
    objective = Objective(fun, jac, args, x.dtype)
    n = getattr(objective.problem, "n", len(x))
    if n != len(x):
        raise ValueError(f"x0: expected shape ({n},) as the problem has, got {x.shape}")
    return x, objective, settings


def _as_scipy_calls(callback: Callable[..., object]) -> Callable[[Array, float], object]:
    """``callback(xk)``, or ``callback(intermediate_result=...)`` if that is its only parameter."""
    try:
        parameters = set(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # a builtin may have no signature
        parameters = set()
    if parameters == {"intermediate_result"}:
        return lambda x, f: callback(intermediate_result=OptimizeResult(x=x, fun=f))
    return lambda x, f: callback(x)


def has_room(rows: int, x: Array) -> bool:
    """Whether the history may keep another point like x; a warning if not."""
    if rows * x.nbytes <= _HISTORY_BYTES:
        return True
    warnings.warn(
        f"history.x ends with row {rows - 1}, at {_HISTORY_BYTES >> 20} MiB; history=False keeps none",
        RuntimeWarning,
        stacklevel=4,
    )
    return False


def descend(
    objective: Objective,
    x: Array,
    direction: Callable[[Array, Array, bool], tuple[Array, float | None] | None],
    line_search: Callable[..., Search] | None,
    settings: Settings,
    conclude: Callable[[Result], None] | None = None,
) -> Result:
    """Minimize by line searches.

    1. Evaluate; stop if the gradient is small.
    2. Take a direction, ``direction(x, g, anew)``, with the step to try first; ``anew`` asks for a fresh
       start, which None declines. Without a step of its own (None) the first trial promises the last change
       of the value; at a fresh start it has length 1 at most.
    3. Search along it; if that fails, once more with a fresh direction. Without a search the step is the
       first trial, wherever it leads; a run that fails then returns the lowest point.
    4. Move.

    At the end ``conclude(result)`` may add to the result.

    No array that a direction is given changes later; one it returns is not changed either.
    """
    rows: list[tuple[float, float, float, int]] = []
    points: list[Array] = []
    keep = settings.history or settings.return_all
    step = last_slope = 0.0
    f, g = objective(x)
    lowest = x, f, g
    least_norm, stalled = math.inf, 0
    k = 0
    while True:
        # 1. Record, and see whether to stop.
        grad_norm = _norm(g, settings.norm) if np.isfinite(g).all() else math.nan
        rows.append((float(f), grad_norm, step, objective.njev))
        if grad_norm < (1.0 - 1e-6) * least_norm:
            least_norm, stalled = grad_norm, 0
        if keep:
            points.append(x.copy())
            keep = has_room(len(points), x)
        if settings.callback is not None and k > 0:
            try:
                settings.callback(x.copy(), float(f))
            except StopIteration:
                status = STOPPED
                break
        if f == -math.inf or objective.escaped:
            status = UNBOUNDED
            break
        if not (math.isfinite(f) and math.isfinite(grad_norm)):
            status = NOT_FINITE
            break
        if grad_norm <= settings.gtol:
            status = CONVERGED
            break
        if stalled == _STALLED and line_search is not None:
            status = NO_DECREASE
            break
        if k == settings.maxiter:
            status = EXHAUSTED
            break
        # 2., 3. Direction and step
        found = None
        for anew in (k == 0, True):
            proposed = direction(x, g, anew)
            if proposed is None:
                break
            d, first = proposed
            slope = _dot(g, d)
            if line_search is None:
                at = _along(x, first or 1.0, d)
                found = first or 1.0, at, *(objective(at) if np.isfinite(at).all() else (math.nan, g))
                break
            if not math.isfinite(slope) and np.isfinite(d).all():  # too large to be squared
                size = float(np.abs(d).max())
                d = d / d.dtype.type(size)
                slope = _dot(g, d)
                first = first and first * size
            if not -math.inf < slope < 0:
                continue
            trial = first or (step * last_slope / slope if not anew else 0.0)
            if not 0.0 < trial < math.inf:
                trial = min(1.0, 1.0 / _norm(d, 2)) or 1.0
            found = _search(objective, line_search, x, g, d, f, slope, trial)
            if found is not None:
                break
        if found is None:
            status = UNBOUNDED if objective.escaped else NO_DECREASE
            break
        if not (found[2] == -math.inf or (math.isfinite(found[2]) and np.isfinite(found[3]).all())):
            status = NOT_FINITE  # a step that nobody searched; x stays the last point that is
            break
        # 4. Move
        last_slope = slope
        stalled = stalled + 1 if found[2] >= lowest[1] and found[2] - f <= _rounding(f) else 0
        step, x, f, g = found
        if f < lowest[1]:
            lowest = x, f, g
        k += 1
    if line_search is None and status != CONVERGED:
        x, f, g = lowest
    table = np.array(rows, dtype=np.float64)
    return finish(objective, settings, status, x, f, g, k, table, points, conclude)


def finish(
    objective: Objective,
    settings: Settings,
    status: int,
    x: Array,
    f: float | np.floating[Any],
    g: Array,
    k: int,
    table: NDArray[np.float64],
    points: Sequence[Array] | Array,
    conclude: Callable[[Result], None] | None = None,
) -> Result:
    """The result of a run that ended at x after k iterations; `table` and `points` are its history."""
    result = Result(
        x=x,
        fun=float(f),
        jac=g,
        success=status == CONVERGED,
        status=status,
        message=_MESSAGES[status],
        nit=k,
        nfev=objective.nfev,
        njev=objective.njev,
        history=History(table, np.asarray(points) if settings.history else None),
    )
    if settings.return_all:
        result.allvecs = list(points)
    if conclude is not None:
        conclude(result)
    if settings.disp:
        print(f"{result.message} f = {result.fun:.6g}, {result.nit} iterations, {result.nfev} evaluations.")
    return result


def _search(
    objective: Objective,
    line_search: Callable[..., Search],
    x: Array,
    g0: Array,
    d: Array,
    f0: np.floating[Any],
    slope0: float,
    step0: float,
) -> tuple[float, Array, np.floating[Any], Array] | None:
    """Step, point, value and gradient that the search accepts; None if it finds no lower point.

    Where the value rises, but by no more than its rounding may be, the gradient decides: a step that lessens
    it and its slope is taken (as Hager and Zhang's approximate Wolfe conditions do, SIAM J. Optim. 16, 2005).
    """
    last: tuple[float, Array, Any, Array] | None = None
    lowest: tuple[float, Array, Any, Array] | None = None
    search = line_search(f0, slope0, step0)
    told: Any = None  # a generator starts with None
    while True:
        try:
            step = search.send(told)
        except StopIteration as end:
            accepted = end.value
            break
        at = _along(x, step, d)
        if np.isfinite(at).all():
            f, g = objective(at)
        else:
            f, g = x.dtype.type(math.nan), np.full_like(x, math.nan)
            objective.escaped = lowest is not None and lowest is last and lowest[2] < f0
        last = (step, at, f, g)
        if f == -math.inf:
            return last
        if lowest is None or f < lowest[2]:
            lowest = last
        slope = _dot(g, d)
        if f0 < f <= f0 + _rounding(f0) and abs(slope) <= 0.9 * abs(slope0) and abs(g).max() < abs(g0).max():
            return last
        told = f, slope
    if accepted is not None and last is not None and lowest is not None:
        for trial in (last, lowest):
            if trial[0] == accepted:
                return trial
        at = _along(x, accepted, d)
        return accepted, at, *objective(at)
    # Nothing was accepted, but a lower point is a lower point.
    if lowest is not None and lowest[2] < f0 and np.isfinite(lowest[3]).all():
        return lowest
    return None


def _rounding(f: np.floating[Any]) -> float:
    """A change of the value f that may be rounding alone."""
    return _ROUNDING * float(np.finfo(f.dtype).eps) * abs(float(f))


# Where these overflow, infinities and NaN tell the loop all it needs.


def _along(x: Array, step: float, d: Array) -> Array:
    """x + step d."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x + x.dtype.type(step) * d  # type: ignore[no-any-return]


def _dot(a: Array, b: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.dot(a, b))


def _norm(g: Array, order: float) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(g, order))
