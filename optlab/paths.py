"""Whole paths of optimizers over problems, each in one compiled loop."""

from __future__ import annotations

import math
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation
from ._kernels.surfaces import Compiled
from .problems import Problem
from .result import History
from .stochastic import Optimizer, clip_by_norm, clip_by_value

Array = NDArray[np.float64]

_SIGNALS = 4_000_000  # effort between two looks at Ctrl-C: some hundredths of a second
_NOISE = 2_000_000  # numbers of noise drawn at once


def trajectory(
    problem: Problem,
    opt: Optimizer,
    x0: ArrayLike | None = None,
    steps: int = 1000,
    *,
    every: int = 1,
    noise: float = 0.0,
    rng: np.random.Generator | int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    gtol: float = 0.0,
) -> History:
    r"""The path of an optimizer over a problem.

    .. math::

        \theta_{t+1} &= \theta_t + \text{step}_t(\text{clip}(g_t)), \\
        g_t &= \nabla f(\theta_t) + \sigma \xi_t, \\
        \xi_t &\sim N(0, I)

    The gradient is taken where the optimizer wants it, see `Optimizer.lookahead`. For the problems of
    `optlab.problems` the whole path runs in compiled code; for those of your own, or an optimizer of your own
    with `init` and `step`, the same loop runs in Python and gives the same path, up to rounding if gradients
    are clipped. Schedules are asked for all steps beforehand.

    Parameters
    ----------
    problem : Problem
    opt : Optimizer
        `SGD`, `Adam`, ...
    x0 : array, shape (n,), optional
        The start; default the problem's `x0`.
    steps : int
        How many. Default 1000.
    every : int
        A row of the history for each so many steps; the start and the end always have one. Default 1.
    noise : float
        :math:`\sigma`, the standard deviation of normal noise added to each entry of the gradient. Default 0.
    rng : Generator or int, optional
        Where the noise comes from, needed only with noise: a NumPy Generator, of which each call spawns a new
        child, or a seed.
    clip_norm, clip_value : float, optional
        The step sees the gradient, noise included, with entries cut to :math:`\pm` `clip_value` and then
        shortened to the norm `clip_norm`, as by `clip_by_value` and `clip_by_norm`.
    gtol : float
        The path ends where the 2-norm of the gradient is at most this. Default 0: it takes all steps, because
        momentum and noise leave a point without gradient too.

    Returns
    -------
    History
        `x`, shape (rows, n); `fun`; `grad_norm`, the 2-norm of the gradient without noise and clipping;
        `step`, the length of the last move before the row; `nfev`, gradients so far, two a step where the
        method wants them at another point (`Optimizer.lookahead`).

    Raises
    ------
    ValueError, TypeError
        A start of another shape or not finite, counts and tolerances that are negative, noise without rng.

    Warns
    -----
    RuntimeWarning
        The path left the finite numbers. Its last row is the first that did.

    Examples
    --------
    >>> import optlab
    >>> bowl = optlab.problems.quadratic(kappa=10.0)
    >>> opt = optlab.SGD(lr=0.1)
    >>> path = optlab.trajectory(bowl, opt, [1, 1], 100_000, every=10, gtol=1e-6)
    >>> path
    History(14 iterations)
    >>> path.nfev[-2:]  # the gradient was small enough after 132 steps
    array([131, 133])
    """
    plan = _plan(problem, opt, steps, every, noise, rng, clip_norm, clip_value, gtol)
    start = problem.x0 if x0 is None else _validation.real_array("x0", x0, 1)
    if start.shape != (problem.n,):
        raise ValueError(f"x0: expected shape {(problem.n,)}, got {start.shape}")
    _validation.finite("x0", start)
    rows, table = _rows(plan, 1)
    x = np.array(start, dtype=np.float64).reshape(1, -1)
    (ended,), (t,) = _follow(plan, x, 0, rows, table, plan.children(1))
    if ended == _NOT_FINITE:
        warnings.warn(f"the path left the finite numbers at step {t}", RuntimeWarning, stacklevel=2)
    last = -(-int(t) // plan.every) + 1
    return History(table[:last, :, 0], rows[:last, 0])


def trajectories(
    problem: Problem,
    opt: Optimizer,
    starts: ArrayLike,
    steps: int = 1000,
    *,
    every: int | None = None,
    noise: float = 0.0,
    rng: np.random.Generator | int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    gtol: float = 0.0,
    num_threads: int = 1,
    progress: bool = False,
) -> History:
    r"""The paths of an optimizer from many starts, for instance from a grid to see basins of attraction.

    The paths are those of `trajectory` called for one start after the other; with noise each has its own
    child of `rng`.

    Parameters
    ----------
    starts : array, shape (..., n)
        Any number of axes before the last.
    every : int, optional
        A row for each so many steps; default only the starts and the ends.
    num_threads : int
        Threads that share the starts; default 1. Python's own functions gain nothing from more.
    progress : bool
        Show a progress bar (tqdm). Default False.
    problem, opt, steps, noise, rng, clip_norm, clip_value, gtol
        As in `trajectory`.

    Returns
    -------
    History
        `x` has the shape (rows, ..., n) and all else (rows, ...), so that ``history.x[-1]`` are the ends. A
        path that ended early repeats its last point.

    Raises
    ------
    ValueError, TypeError
        As `trajectory` does.

    Warns
    -----
    RuntimeWarning
        How many paths left the finite numbers.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> p = optlab.problems.double_well()
    >>> grid = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), axis=-1)
    >>> ends = optlab.trajectories(p, optlab.SGD(lr=0.1), grid, 400).x[-1]
    >>> ends[..., 1].round(3)
    array([[-1.414, -1.414, -1.414],
           [ 0.   ,  0.   ,  0.   ],
           [ 1.414,  1.414,  1.414]])
    """
    count = _validation.count("steps", steps)
    if every is None:
        every = max(count, 1)
    plan = _plan(problem, opt, count, every, noise, rng, clip_norm, clip_value, gtol)
    array = _validation.numbers("starts", starts)
    if array.ndim == 0 or array.shape[-1] != problem.n:
        raise ValueError(f"starts: expected shape (..., {problem.n}), got {array.shape}")
    _validation.finite("starts", array)
    threads = _validation.count("num_threads", num_threads, minimum=1)
    x = np.array(array.reshape(-1, problem.n), dtype=np.float64)
    rows, table = _rows(plan, len(x))
    # Parts small enough to be shared, to show progress and to be interrupted.
    effort = max(1, plan.steps) * getattr(problem.kernel, "effort", problem.n)
    size = max(1, min(_SIGNALS // effort, -(-len(x) // (4 * threads))))
    children = plan.children(len(x))
    parts = [(x[i : i + size], i) for i in range(0, len(x), size)]
    ended = np.zeros(len(x), dtype=np.intc)

    def follow(part: tuple[Array, int]) -> int:
        first = part[1]
        if not plan.halt.is_set():
            try:
                ended[first : first + len(part[0])] = _follow(plan, *part, rows, table, children)[0]
            except BaseException:
                plan.halt.set()
                raise
        return len(part[0])

    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        try:
            done = map(follow, parts) if pool is None else pool.map(follow, parts)
            if progress:
                from tqdm.auto import tqdm

                with tqdm(total=len(x), unit="path") as bar:
                    for number in done:
                        bar.update(number)
            else:
                for _ in done:
                    pass
        except BaseException:
            plan.halt.set()  # Ctrl-C: the pool would finish its work first
            raise
    lost = int((ended == _NOT_FINITE).sum())
    if lost:
        warnings.warn(f"{lost} of {len(x)} paths left the finite numbers", RuntimeWarning, stacklevel=2)
    shape = array.shape[:-1]
    return History(table.reshape(*table.shape[:2], *shape), rows.reshape(len(rows), *shape, problem.n))


_SMALL_GRADIENT, _NOT_FINITE = 1, 2  # why a path ended, as in surfaces.pxd


@dataclass(frozen=True)
class _Plan:
    """The checked arguments."""

    problem: Problem
    opt: Any
    steps: int
    every: int
    noise: float
    rng: np.random.Generator | None
    clip_norm: float
    clip_value: float
    gtol: float
    halt: threading.Event = field(default_factory=threading.Event)

    def children(self, paths: int) -> list[np.random.Generator]:
        """A generator for each path, so that no path depends on the length of another; none without noise."""
        return [] if self.rng is None else self.rng.spawn(paths)


def _plan(
    problem: Problem,
    opt: Any,
    steps: int,
    every: int,
    noise: float,
    rng: np.random.Generator | int | None,
    clip_norm: float | None,
    clip_value: float | None,
    gtol: float,
) -> _Plan:
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: expected a Problem, got {type(problem).__name__}")
    for name in ("init", "step"):
        if isinstance(opt, type) or not callable(getattr(opt, name, None)):
            raise TypeError(f"opt: expected an optimizer with init and step, got {opt!r}")
    noise = _validation.number("noise", noise, minimum=0.0)
    if noise and rng is None:
        raise ValueError("rng: expected a Generator or a seed as there is noise, got None")
    return _Plan(
        problem,
        opt,
        _validation.count("steps", steps, maximum=sys.maxsize),
        min(_validation.count("every", every, minimum=1), sys.maxsize),
        noise,
        _validation.generator("rng", rng) if noise else None,
        math.inf if clip_norm is None else _validation.positive("clip_norm", clip_norm),
        math.inf if clip_value is None else _validation.positive("clip_value", clip_value),
        _validation.number("gtol", gtol, minimum=0.0) or -1.0,  # which no norm is below
    )


def _rows(plan: _Plan, starts: int) -> tuple[Array, Array]:
    rows, n = -(-plan.steps // plan.every) + 1, plan.problem.n
    # One block: large ones come in large pages, and small pages take longer than the steps.
    block = np.empty(rows * starts * (n + 4))
    points, table = block[: rows * starts * n], block[rows * starts * n :]
    return points.reshape(rows, starts, n), table.reshape(rows, 4, starts)


def _follow(
    plan: _Plan, x: Array, first: int, rows: Array, table: Array, children: list[np.random.Generator]
) -> tuple[NDArray[np.intc], NDArray[np.int64]]:
    """Take the paths from x, a row each, and fill their rows, from the place `first` on.

    Returns how and after how many steps each ended.
    """
    kernel = plan.problem.kernel
    if not (isinstance(kernel, Compiled) and isinstance(plan.opt, Optimizer)):
        places = range(first, first + len(x))
        ends = [
            _follow_python(plan, start, rows[:, i], table[:, :, i], children[i] if children else None)
            for i, start in zip(places, x, strict=True)
        ]
        return np.array([e for e, _ in ends], dtype=np.intc), np.array([t for _, t in ends])
    stepper = plan.opt._stepper()
    count, n = x.shape
    g = np.empty_like(x)
    slots = np.zeros((count, stepper.slots * n))
    scalars = np.zeros((count, stepper.scalars))
    ended = np.zeros(count, dtype=np.intc)
    constant = plan.opt._constant_rates()
    if constant is not None:
        rates = constant[None]
    else:
        rates = np.array([plan.opt._rates(t) for t in range(max(plan.steps, 1))])
    block = max(1, _SIGNALS // max(count * kernel.effort, 1))
    if plan.noise:
        block = max(1, min(block, _NOISE // max(count * n, 1)))
    nothing = np.empty((0, 0, 0))
    t = 0
    while True:
        stop = min(t + block, plan.steps)
        noise = nothing
        if children and stop > t:
            noise = np.empty((count, stop - t, n))
            for child, numbers in zip(children[first : first + count], noise, strict=True):
                child.standard_normal(out=numbers)
        kernel.follow(
            stepper, x, g, slots, scalars, ended, t, stop, plan.steps, plan.every, rates, noise, plan.noise,
            plan.clip_norm, plan.clip_value, plan.gtol, rows, table, first,
        )  # fmt: skip
        t = stop
        if t == plan.steps or ended.all() or plan.halt.is_set():
            break
    gradients = 2 if stepper.looks else 1
    return ended, (table[-1, 3, first : first + count].astype(np.int64) - 1) // gradients


def _follow_python(
    plan: _Plan, x: Array, rows: Array, table: Array, child: np.random.Generator | None
) -> tuple[int, int]:
    """The loop of the kernel, for problems and optimizers in Python."""
    problem, opt = plan.problem, plan.opt
    state = opt.init(x)
    lookahead = getattr(opt, "lookahead", None)
    ended, move, t, gradients = 0, 0.0, 0, 1
    while True:
        f, g = problem.value_and_grad(x)
        size = _length(g)
        if not (math.isfinite(f) and math.isfinite(size)):
            ended = _NOT_FINITE
        elif size <= plan.gtol:
            ended = _SMALL_GRADIENT
        row = -(-t // plan.every)
        if t % plan.every == 0 or t == plan.steps or ended:
            end = len(rows) if ended else row + 1
            rows[row:end] = x
            table[row:end] = f, size, move, gradients
        if ended or t == plan.steps or plan.halt.is_set():
            return ended, t
        at = x if lookahead is None else lookahead(x, state)
        if at is not x:
            g = problem.grad(at)
            gradients += 1
        gradients += 1  # at the next point
        if child is not None:
            g = g + plan.noise * child.standard_normal(problem.n)
        if not math.isinf(plan.clip_value):
            g = clip_by_value(g, plan.clip_value)
        if not math.isinf(plan.clip_norm):
            g = clip_by_norm(g, plan.clip_norm)
        last = x.copy()
        if isinstance(opt, Optimizer):
            opt.step(x, g, state, allow_nan=True)  # the next row will tell
        else:
            opt.step(x, g, state)
        move = _length(x - last)
        t += 1


def _length(v: Array) -> float:
    """The 2-norm; the largest entry is taken out where squares overflow or underflow."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size = math.sqrt(v @ v)
        if 1e-140 < size < math.inf or math.isnan(size):
            return size
        largest = float(np.abs(v).max())
        if largest == 0.0 or not math.isfinite(largest):
            return largest
        units = v / largest
        return largest * math.sqrt(units @ units)
