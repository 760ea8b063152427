"""The loop that most chapters share: an optimizer, a cost, and batches of data."""

from __future__ import annotations

import math
import signal
import sys
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validation
from .problems import DataProblem
from .result import Result
from .stochastic import Arrays, Optimizer, State, clip_by_norm, clip_by_value

FINISHED, NOT_FINITE, INTERRUPTED, STOPPED = 0, 3, 98, 99


class TrainingHistory:
    """The course of a training run, in copies of its own.

    Attributes
    ----------
    fun : ndarray of float64, shape (nit,)
        The cost of each update's batch, before the update, where the optimizer wanted the gradient.
    grad_norm : ndarray of float64, shape (nit,)
        The 2-norm of that gradient, of all arrays together, before clipping.
    lr : ndarray of float64, shape (nit,)
        The learning rate of each update.
    epoch_fun : ndarray of float64, shape (epochs,)
        The mean of `fun` in each epoch that was completed.
    epoch_nit : ndarray of int64, shape (epochs + 1,)
        The updates at the end of each epoch; row 0 is 0.
    validation : ndarray of float64, shape (epochs + 1,)
        What `validate` said at the end of each epoch; row 0 is before the first update. Empty without
        `validate`.
    """

    __slots__ = ("epoch_fun", "epoch_nit", "fun", "grad_norm", "lr", "validation")

    def __init__(
        self, fun: Any, grad_norm: Any, lr: Any, epoch_fun: Any, epoch_nit: Any, validation: Any
    ) -> None:
        self.fun: NDArray[np.float64] = np.array(fun, dtype=np.float64)
        self.grad_norm: NDArray[np.float64] = np.array(grad_norm, dtype=np.float64)
        self.lr: NDArray[np.float64] = np.array(lr, dtype=np.float64)
        self.epoch_fun: NDArray[np.float64] = np.array(epoch_fun, dtype=np.float64)
        self.epoch_nit: NDArray[np.int64] = np.array(epoch_nit, dtype=np.int64)
        self.validation: NDArray[np.float64] = np.array(validation, dtype=np.float64)

    def __len__(self) -> int:
        """Updates."""
        return len(self.fun)

    def __repr__(self) -> str:
        return f"TrainingHistory({len(self)} updates, {len(self.epoch_fun)} epochs)"


@dataclass(frozen=True)
class Epoch:
    """What the callback of `train` is told after each epoch.

    Attributes
    ----------
    epoch : int
        1, 2, ...
    nit : int
        Updates so far.
    params : ndarray or sequence of ndarrays
        The parameters themselves, which the next update changes: copy what has to last.
    state : State
        The optimizer's state itself.
    fun : float
        The mean cost of the epoch's updates.
    validation : float or None
        What `validate` said; None without it.
    best : bool
        Whether this epoch is the best so far.
    """

    epoch: int
    nit: int
    params: Any
    state: Any
    fun: float
    validation: float | None
    best: bool


def train(
    fun: Callable[..., Any] | DataProblem,
    params: Arrays,
    batches: Iterable[Any],
    opt: Optimizer | Any,
    *,
    epochs: int,
    validate: Callable[[Any], Any] | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    callback: Callable[[Epoch], Any] | None = None,
    state: State | Any = None,
    progress: bool = True,
) -> Result:
    r"""Train parameters in place, an update for each batch.

    .. code-block:: text

        for each epoch:
            for each batch:
                cost, grads = fun(opt.lookahead(params, state), *batch)
                opt.step(params, clip(grads), state)
            validate, keep the best parameters, ask the callback

    Parameters
    ----------
    fun : callable or DataProblem
        ``fun(params, *batch) -> (cost, grads)``: the cost of a batch, a number, and its gradient, in arrays
        shaped as the parameters. A model of `optlab.problems` stands for its `cost`.
    params : ndarray or sequence of ndarrays
        float32 or float64, in C order. They are changed in place.
    batches : iterable
        `Batches`, or anything else that can be iterated once for each epoch. A batch that is a tuple or a
        list is unpacked into arguments, all else is one argument: ``batches=[()]`` calls ``fun(params)`` once
        an epoch.
    opt : Optimizer
        `SGD`, `Adam`, ... or an object with `init` and `step`.
    epochs : int
        The most epochs to run.
    validate : callable, optional
        ``validate(params) -> float``, lower is better, before the first update and after each epoch. NaN is
        never the best.
    patience : int, optional
        Stop early, after so many epochs in a row without a new best. Default: never.
    clip_norm, clip_value : float, optional
        The step sees the gradient with entries cut to :math:`\pm` `clip_value` and then shortened to the norm
        `clip_norm`, as by `clip_by_value` and `clip_by_norm`.
    callback : callable, optional
        ``callback(epoch)`` is called with an `Epoch` after each epoch, validated already. It may raise
        StopIteration to end the run.
    state : State, optional
        Go on from the state of an earlier run, whose `params` are given too. Default: ``opt.init(params)``.
    progress : bool
        Show a progress bar on the standard error stream (tqdm). Default True.

    Returns
    -------
    Result
        With these keys, which are attributes too:

        - ``x``: copies of the best parameters seen at the start or the end of an epoch, those of the smallest
          validation, or without it of the smallest mean cost. Ties go to the earlier one.
        - ``fun``: that smallest validation or mean cost; NaN where there is none.
        - ``params``, ``state``: as the last update left them, the objects themselves.
        - ``nit``, ``epochs``, ``best_epoch``: updates, completed epochs, and the epoch of ``x``; 0 is the
          start.
        - ``history``: a `TrainingHistory`.
        - ``status``, ``message``: 0: all epochs were run, or `patience` was at its end; the message says
          which. 3: a cost, a gradient or a parameter was not finite. 98: an exception ended the run. 99: the
          callback did.
        - ``success``: whether the status is 0.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above, before anything is changed; later what `opt.step` says about
        gradients that do not fit, a `fun` that does not return a pair, an epoch without batches.

    Notes
    -----
    An exception that is raised inside, by Ctrl-C too, comes out unchanged, with the partial result as its
    attribute `result`. Parameters and state are then those after the last whole update: in the main
    thread, Ctrl-C waits for the end of a step.

    With status 3 the update that would have used the cost or gradient is not made. Parameters are never left
    with entries that are not finite: if a step itself overflowed, they are set back to `x` and `state` is
    None.

    Two runs of 5 epochs, the second with the `state` of the first and the same `batches`, make the same steps
    to the bit as one of 10; only `patience` and the best start anew.

    The mean cost of an epoch counts all its batches alike, while the parameters move: it is not the cost of
    any one point. To learn the cost at the end of an epoch, let `validate` compute it.

    `train` tells a schedule nothing but the step. One that observes, such as `schedules.resnet110`, is told
    by the callback, or after each update by `fun`.

    Keras' ``EarlyStopping`` has the same patience, but keeps the last parameters unless
    ``restore_best_weights=True``; PyTorch leaves the loop to the reader.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep learning" (2016), algorithms 7.1 (early stopping) and 8.1.

    Examples
    --------
    A line through points:

    >>> import numpy as np, optlab
    >>> from optlab.batches import Batches
    >>> X = np.random.default_rng(0).standard_normal((100, 2))
    >>> y = X @ [1.0, -2.0]
    >>> def cost(w, X, y):
    ...     r = X @ w - y
    ...     return r @ r / len(r) / 2, X.T @ r / len(r)
    >>> w = np.zeros(2)
    >>> batches = Batches(X, y, size=10, rng=1)
    >>> run = train(cost, w, batches, optlab.SGD(lr=0.1), epochs=20, progress=False)
    >>> w.round(4), run.nit, run.message
    (array([ 1., -2.]), 200, 'all 20 epochs were run')
    >>> run.history
    TrainingHistory(200 updates, 20 epochs)

    Early stopping, and a rate that changes once the error is small:

    >>> from optlab import schedules
    >>> rate = schedules.resnet110(low=0.01, high=0.1, threshold=0.8)
    >>> def error(w):
    ...     return float(np.mean((X @ w > 0) != (y > 0)))
    >>> w = np.array([-1.0, 1.9])
    >>> batches = Batches(X, y, size=10, rng=1)
    >>> run = train(
    ...     cost, w, batches, optlab.SGD(lr=rate), epochs=50, patience=4,
    ...     validate=error, progress=False,
    ...     callback=lambda epoch: rate.observe(epoch.validation),
    ... )
    >>> run.best_epoch, run.fun, run.message
    (10, 0.0, 'no better epoch than 10 in 4 more: stopped early')
    """
    fun = fun.cost if isinstance(fun, DataProblem) else _validation.function("fun", fun)
    arrays = _arrays(params)
    for name in ("init", "step"):
        if isinstance(opt, type) or not callable(getattr(opt, name, None)):
            raise TypeError(f"opt: expected an optimizer with init and step, got {opt!r}")
    _validation.count("epochs", epochs)
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches: expected an iterable of batches, got {type(batches).__name__}")
    if isinstance(batches, Iterator) and epochs > 1:
        raise TypeError(
            f"batches: expected what can be iterated for each epoch, as Batches or a list, got the iterator "
            f"{type(batches).__name__}"
        )
    if validate is not None:
        _validation.function("validate", validate)
    if patience is not None:
        _validation.count("patience", patience, minimum=1)
    if callback is not None:
        _validation.function("callback", callback)
    limits = (
        math.inf if clip_norm is None else _validation.positive("clip_norm", clip_norm),
        math.inf if clip_value is None else _validation.positive("clip_value", clip_value),
    )
    if state is None:
        state = opt.init(params)
    run = _Run(fun, params, arrays, opt, state, limits)
    shield = _Shield()
    with shield.installed(), _progress(batches, epochs, progress) as bar:
        try:
            run.start(validate, shield)
            run.train(batches, epochs, validate, patience, callback, shield, bar)
            return run.result()
        except BaseException as error:
            shield.up = True  # a second Ctrl-C changes nothing
            if not run.finite():  # `fun` may have raised because the last step overflowed
                run.set_back()
            run.status, run.message = INTERRUPTED, f"{type(error).__name__} after {run.nit} updates"
            with suppress(AttributeError, TypeError):  # an exception that takes no attributes
                error.result = run.result()  # type: ignore[attr-defined]
            raise


class _Run:
    """What a run of `train` knows."""

    def __init__(
        self,
        fun: Callable[..., Any],
        params: Arrays,
        arrays: list[NDArray[Any]],
        opt: Any,
        state: Any,
        limits: tuple[float, float],
    ) -> None:
        self.fun, self.params, self.arrays, self.opt, self.state = fun, params, arrays, opt, state
        self.clip_norm, self.clip_value = limits
        self.best = [a.copy() for a in arrays]
        self.best_value, self.best_epoch = math.inf, 0
        self.costs, self.norms, self.rates = array("d"), array("d"), array("d")
        self.epoch_costs, self.epoch_nit, self.validation = array("d"), array("q", [0]), array("d")
        self.status, self.message = FINISHED, ""

    @property
    def nit(self) -> int:
        return len(self.costs)

    def start(self, validate: Callable[[Any], Any] | None, shield: _Shield) -> None:
        if validate is not None:
            value = _number("validate", validate(self.params))
            with shield:
                self.validation.append(value)
                if value < self.best_value:
                    self.best_value = value

    def train(
        self,
        batches: Iterable[Any],
        epochs: int,
        validate: Callable[[Any], Any] | None,
        patience: int | None,
        callback: Callable[[Epoch], Any] | None,
        shield: _Shield,
        bar: Any,
    ) -> None:
        """All epochs; sets status and message."""
        for epoch in range(1, epochs + 1):
            if not self.updates(batches, shield, bar):
                return
            first = self.epoch_nit[-1]
            if self.nit == first:
                raise ValueError(f"batches: expected at least one batch, got none in epoch {epoch}")
            if not self.finite():
                self.set_back()
                return
            mean = _mean(self.costs[first:])
            value = None if validate is None else _number("validate", validate(self.params))
            measure = mean if value is None else value
            better = measure < self.best_value
            with shield:
                self.epoch_costs.append(mean)
                self.epoch_nit.append(self.nit)
                if value is not None:
                    self.validation.append(value)
                if better:
                    self.best_value, self.best_epoch = measure, epoch
                    for kept, a in zip(self.best, self.arrays, strict=True):
                        np.copyto(kept, a)
            if bar is not None:
                shown = {"cost": f"{mean:.4g}"} | ({} if value is None else {"validation": f"{value:.4g}"})
                bar.set_postfix(shown, refresh=False)
            if callback is not None:
                try:
                    callback(Epoch(epoch, self.nit, self.params, self.state, mean, value, better))
                except StopIteration:
                    self.status, self.message = STOPPED, f"the callback stopped the run after epoch {epoch}"
                    return
            if patience is not None and epoch - self.best_epoch >= patience:
                self.message = f"no better epoch than {self.best_epoch} in {patience} more: stopped early"
                return
        self.message = f"all {epochs} epochs were run"

    def updates(self, batches: Iterable[Any], shield: _Shield, bar: Any) -> bool:
        """One epoch of updates; False if something was not finite."""
        fun, opt, params, state = self.fun, self.opt, self.params, self.state
        lookahead = getattr(opt, "lookahead", None)
        lr = getattr(opt, "lr", math.nan)
        for batch in batches:
            at = params if lookahead is None else lookahead(params, state)
            pair = fun(at, *batch) if isinstance(batch, tuple | list) else fun(at, batch)
            cost, grads = _pair(pair)
            norm = _norm(grads)
            if not (math.isfinite(cost) and math.isfinite(norm)):
                what = "the gradient was not finite" if math.isfinite(cost) else f"the cost was {cost}"
                self.status, self.message = NOT_FINITE, f"{what} after {self.nit} updates"
                if not self.finite():
                    self.set_back()
                return False
            if self.clip_value < math.inf:
                grads = clip_by_value(grads, self.clip_value)
                grads = grads if self.clip_norm == math.inf else clip_by_norm(grads, self.clip_norm)
            elif norm > 0.99 * self.clip_norm:  # near the bound, its own sum decides
                grads = clip_by_norm(grads, self.clip_norm)
            rate = _number("lr", lr(getattr(state, "t", self.nit)) if callable(lr) else lr)
            with shield:
                opt.step(params, grads, state)
                self.costs.append(cost)
                self.norms.append(norm)
                self.rates.append(rate)
            if bar is not None:
                bar.update()
        return True

    def finite(self) -> bool:
        return all(bool(np.isfinite(a).all()) for a in self.arrays)

    def set_back(self) -> None:
        """After a step that overflowed."""
        self.status = NOT_FINITE
        self.message = f"parameters were not finite after {self.nit} updates and were set back"
        for kept, a in zip(self.best, self.arrays, strict=True):
            np.copyto(a, kept)
        self.state = None

    def result(self) -> Result:
        history = TrainingHistory(
            self.costs, self.norms, self.rates, self.epoch_costs, self.epoch_nit, self.validation
        )
        value = self.best_value
        if math.isinf(value) and not self.best_epoch:
            value = self.validation[0] if self.validation else math.nan
        return Result(
            x=self.best[0] if isinstance(self.params, np.ndarray) else self.best,
            fun=value,
            success=self.status == FINISHED,
            status=self.status,
            message=self.message,
            nit=self.nit,
            epochs=len(self.epoch_costs),
            best_epoch=self.best_epoch,
            params=self.params,
            state=self.state,
            history=history,
        )


class _Shield:
    """Ctrl-C waits while it is up: a step that is cut in two leaves parameters and state that do not fit."""

    def __init__(self) -> None:
        self.up = False
        self.pending: tuple[int, FrameType | None] | None = None
        self.before: Any = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        self.before = signal.getsignal(signal.SIGINT)
        # Only the main thread gets signals; what is not callable does not raise.
        if threading.current_thread() is not threading.main_thread() or not callable(self.before):
            yield
            return
        signal.signal(signal.SIGINT, self.handle)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGINT) == self.handle:
                signal.signal(signal.SIGINT, self.before)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.up:
            self.pending = number, frame
        else:
            self.before(number, frame)

    def __enter__(self) -> None:
        self.up = True

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.up = False
        pending, self.pending = self.pending, None
        if pending is not None and kind is None:
            self.before(*pending)


def _progress(batches: Iterable[Any], epochs: int, progress: bool) -> Any:
    if not progress:
        return nullcontext()
    from tqdm.auto import tqdm

    total = epochs * len(batches) if isinstance(batches, Sized) else None
    return tqdm(total=total, unit="update")


def _arrays(params: Arrays) -> list[NDArray[Any]]:
    """The parameters as a list, checked."""
    arrays = [params] if isinstance(params, np.ndarray) else params
    if not isinstance(arrays, list | tuple) or not all(isinstance(a, np.ndarray) for a in arrays):
        raise TypeError(f"params: expected an array or a list of arrays, got {type(params).__name__}")
    if not arrays:
        raise ValueError("params: expected at least one array, got none")
    for i, a in enumerate(arrays):
        if isinstance(a, np.ma.MaskedArray):
            raise TypeError(f"params[{i}]: expected an array without a mask, got a masked array")
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"params[{i}]: expected float32 or float64, got {a.dtype}")
        _validation.finite(f"params[{i}]", a)
    return list(arrays)


def _pair(value: Any) -> tuple[float, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"fun: expected (cost, grads), got {type(value).__name__}")
    return _number("cost", value[0]), value[1]


def _number(name: str, value: Any) -> float:
    """A float, which may be NaN."""
    if type(value) is float or type(value) is np.float64:
        return float(value)
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"{name}: expected a number, got an array of shape {value.shape}")
    if isinstance(value, str | bytes | bytearray):  # which float would read
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected a number, got {value!r}") from error
    except OverflowError:
        return math.inf


def _mean(costs: array[float]) -> float:
    try:
        return math.fsum(costs) / len(costs)
    except OverflowError:
        return math.inf


def _norm(grads: Any) -> float:
    """The 2-norm of all arrays together; NaN or infinite if and only if an entry is."""
    arrays = [grads] if isinstance(grads, np.ndarray) else grads
    if not isinstance(arrays, list | tuple) or not all(isinstance(g, np.ndarray) for g in arrays):
        raise TypeError(f"grads: expected arrays as params has, got {type(grads).__name__}")
    for g in arrays:
        if g.dtype.kind != "f":
            raise TypeError(f"grads: expected float32 or float64, got {g.dtype}")
    square = sum([float(np.vdot(g, g)) for g in arrays])
    if 1e-30 < square < 1e30:
        return math.sqrt(square)
    # Where squares overflow or underflow, in float32 soon, the largest entry is taken out first.
    largest = [float(np.abs(g).max()) for g in arrays if g.size]
    scale = math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)
    if scale == 0.0 or not math.isfinite(scale):
        return scale
    units = [g.astype(np.float64) / scale for g in arrays]
    return min(scale * math.sqrt(sum(float(np.vdot(u, u)) for u in units)), sys.float_info.max)
