"""Optimizers that take one step for each gradient: frozen hyper-parameters, a state apart, steps in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _validation
from ._kernels import steps as kernels

Array = NDArray[Any]
Arrays: TypeAlias = "Array | Sequence[Array]"
Rate: TypeAlias = "float | Callable[[int], float]"


class State:
    """What an optimizer remembers between steps; `Optimizer.init` makes it, `Optimizer.step` changes it.

    Its vectors are attributes under the names of the optimizer's docstring, an array or a list of arrays as
    the parameters are.

    Attributes
    ----------
    t : int
        Steps done.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.Adam(lr=0.1), np.array([1.0, 2.0])
    >>> state = opt.init(x)
    >>> opt.step(x, np.array([0.5, -4.0]), state)
    >>> state
    State(t=1, m, v)
    >>> state.m, x
    (array([ 0.05, -0.4 ]), array([0.9, 2.1]))
    """

    __slots__ = ("_alone", "_names", "_scalars", "_slots", "t")

    def __init__(self, params: Arrays, names: tuple[str, ...], scalars: int) -> None:
        self.t = 0
        self._names = names
        self._alone = isinstance(params, np.ndarray)
        arrays = _arrays("params", params)
        self._slots = [np.zeros((len(names), *a.shape), a.dtype) for a in arrays]
        self._scalars = np.zeros((len(arrays), scalars))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"this state has t{''.join(', ' + n for n in self._names)}, not {name}")
        place = self._names.index(name)
        vectors = [slots[place] for slots in self._slots]
        return vectors[0] if self._alone else vectors

    def __repr__(self) -> str:
        return f"State(t={self.t}{''.join(', ' + name for name in self._names)})"


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share. A new one is a dataclass with its fields, the names of its vectors of state
    (`slots`) and its kernel; the fields after `lr` go to the kernel in their order.

    Parameters
    ----------
    lr : float or callable
        The learning rate, >= 0, or a schedule: ``lr(t) -> float`` for the steps t = 0, 1, ...
    """

    lr: Rate = 0.01

    slots: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[type[kernels.Stepper]]

    def __post_init__(self) -> None:
        if not callable(self.lr):
            _finite("lr", self.lr)

    def init(self, params: Arrays) -> State:
        """The state before the first step.

        Parameters
        ----------
        params : ndarray or sequence of ndarrays
            float32 or float64, in C order, of any shape.
        """
        return State(params, self.slots, self._stepper().scalars)

    def lookahead(self, params: Arrays, state: State) -> Arrays:
        """Where the method wants the gradient: at the parameters themselves, except for Nesterov's forms."""
        return params

    def step(self, params: Arrays, grads: Arrays, state: State) -> None:
        """Change the parameters and the state in place by one step.

        Parameters
        ----------
        params, grads : ndarray or sequence of ndarrays
            Of the shapes and dtypes that `state` was made for, params in C order and writeable.
        state : State
            From `init`, of an optimizer of the same kind.

        Raises
        ------
        ValueError, TypeError
            Shapes, dtypes, numbers of arrays that do not fit, a rate that is negative or not finite. Nothing
            has been changed then.
        """
        xs, gs = _arrays("params", params), _arrays("grads", grads)
        if not isinstance(state, State) or state._names != self.slots:
            raise TypeError(f"state: expected the state of {type(self).__name__}, got {state!r}")
        if not len(xs) == len(gs) == len(state._slots):
            raise ValueError(
                f"grads: expected as many arrays as params and state, {len(state._slots)}, got {len(xs)} "
                f"params and {len(gs)} grads"
            )
        for i, (x, g, slots) in enumerate(zip(xs, gs, state._slots, strict=True)):
            if x.shape != slots.shape[1:] or x.dtype != slots.dtype:
                raise ValueError(
                    f"params[{i}]: expected shape {slots.shape[1:]} and {slots.dtype} as the state has, got "
                    f"{x.shape} and {x.dtype}"
                )
            if not x.flags.carray:
                raise ValueError(f"params[{i}]: expected a writeable array in C order")
            if g.shape != x.shape:
                raise ValueError(f"grads[{i}]: expected shape {x.shape} as params has, got {g.shape}")
            if g.dtype != x.dtype or not g.flags.c_contiguous:
                gs[i] = np.ascontiguousarray(g, dtype=x.dtype)
        lr = self._rate(state.t)
        stepper = self._stepper()
        for x, g, slots, scalars in zip(xs, gs, state._slots, state._scalars, strict=True):
            stepper.step(x, g, slots, scalars, lr, state.t)
        state.t += 1

    def _rate(self, t: int) -> float:
        return _finite("lr", self.lr(t)) if callable(self.lr) else float(self.lr)

    def _stepper(self) -> kernels.Stepper:
        hyper = [getattr(self, field.name) for field in fields(self) if field.name != "lr"]
        return self.kernel(np.array(hyper, dtype=np.float64))


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""Gradient descent; stochastic where the gradient is.

    .. math::

        \theta_{t+1} = \theta_t - \epsilon_t g_t

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule ``lr(t)``, t = 0, 1, ... Default 0.01.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Ann. Math. Statist. 22 (1951).

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.SGD(lr=0.1), np.array([1.0, 2.0])
    >>> opt.step(x, np.array([1.0, -1.0]), opt.init(x))
    >>> x
    array([0.9, 2.1])
    """

    kernel = kernels.SGD


def clip_by_norm(g: Arrays, max_norm: float) -> Any:
    r"""Shorten a gradient that is too long; its direction stays.

    .. math::

        g \leftarrow g \min\left(1, \frac{c}{\|g\|}\right)

    Parameters
    ----------
    g : ndarray or sequence of ndarrays
        The norm is the 2-norm of all entries of all arrays.
    max_norm : float
        The bound c > 0.

    Returns
    -------
    ndarray or list of ndarrays
        Copies. A norm that is infinite or NaN cannot be shortened: such a gradient is returned as it is.

    Raises
    ------
    ValueError
        A bound that is not positive.

    Notes
    -----
    The largest entry is taken out before squaring, so that entries of 1e200 are clipped as well. PyTorch's
    ``clip_grad_norm_`` divides by the norm plus 1e-6 and works in place.

    References
    ----------
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013),
    algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> clip_by_norm(np.array([30.0, 40.0]), 1.0)
    array([0.6, 0.8])
    """
    limit = _validation.positive("max_norm", max_norm)
    arrays = _arrays("g", g)
    largest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
    if largest == 0.0 or not math.isfinite(largest):
        clipped = [a.copy() for a in arrays]
    else:
        # Scaled in float64, where float32 neither overflows nor underflows.
        units = [a.astype(np.float64) / largest for a in arrays]
        norm = math.sqrt(sum(float(np.vdot(u, u)) for u in units))
        if norm <= limit / largest:
            clipped = [a.copy() for a in arrays]
        else:
            clipped = [(u / norm * limit).astype(a.dtype) for u, a in zip(units, arrays, strict=True)]
    return clipped[0] if isinstance(g, np.ndarray) else clipped


def clip_by_value(g: Arrays, bound: float) -> Any:
    r"""Cut each entry of a gradient to :math:`[-c, c]`; that turns it, but keeps every sign.

    Parameters
    ----------
    g : ndarray or sequence of ndarrays
    bound : float
        c > 0.

    Returns
    -------
    ndarray or list of ndarrays
        Copies; NaN stays NaN.

    Raises
    ------
    ValueError
        A bound that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> clip_by_value(np.array([10.0, 1.0]), 1.0)
    array([1., 1.])
    """
    limit = _validation.positive("bound", bound)
    clipped = [np.clip(a, -limit, limit) for a in _arrays("g", g)]
    return clipped[0] if isinstance(g, np.ndarray) else clipped


def _arrays(name: str, value: Arrays) -> list[Array]:
    """A list of arrays of float32 or float64, from one array or several."""
    if isinstance(value, np.ndarray):
        arrays = [value]
    elif isinstance(value, list | tuple) and all(isinstance(a, np.ndarray) for a in value):
        arrays = list(value)
    else:
        raise TypeError(f"{name}: expected an array or a list of arrays, got {type(value).__name__}")
    for a in arrays:
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name}: expected float32 or float64, got {a.dtype}")
    return arrays


def _finite(name: str, value: Any) -> float:
    """A finite number >= 0."""
    result = _validation.number(name, value, minimum=0.0)
    if math.isinf(result):
        raise ValueError(f"{name}: expected a finite number, got {result}")
    return result
