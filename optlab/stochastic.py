"""Optimizers that take one step for each gradient: frozen hyper-parameters, a state apart, steps in place."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _validation
from ._kernels import clip
from ._kernels import steps as kernels

Array = NDArray[Any]
Arrays: TypeAlias = "Array | Sequence[Array]"
Rate: TypeAlias = "float | Callable[[int], float]"


class State(kernels.Memory):
    """What an optimizer remembers between steps; `Optimizer.init` makes it, `Optimizer.step` changes it.

    Its vectors are attributes under the names of the optimizer's docstring, an array or a list of arrays as
    the parameters are. A state can be copied, pickled, and saved with `save`: a run that goes on from it is
    the same to the bit.

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

    __slots__ = ()

    def __new__(
        cls, kind: str, t: int, names: tuple[str, ...], alone: bool, slots: list[Array], scalars: Array
    ) -> Self:
        # Files and pickles may be damaged, and the kernels trust the lengths.
        if t < 0:
            raise ValueError(f"t: expected steps >= 0, got {t}")
        for i, a in enumerate(slots):
            if not isinstance(a, np.ndarray) or a.dtype not in (np.float32, np.float64):
                what = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
                raise TypeError(f"slots[{i}]: expected an array of float32 or float64, got {what}")
            if a.shape[:1] != (len(names),):
                raise ValueError(f"slots[{i}]: expected {len(names)} vectors, {names}, got shape {a.shape}")
        if not isinstance(scalars, np.ndarray) or scalars.dtype != np.float64:
            raise TypeError("scalars: expected an array of float64")
        if scalars.ndim != 2 or len(scalars) != len(slots) or (alone and len(slots) != 1):
            raise ValueError(
                f"scalars: expected a row for each of the arrays, which are {len(slots)}, got shape "
                f"{scalars.shape}"
            )
        slots = [np.require(np.asarray(a), requirements=["C", "A", "W"]) for a in slots]
        scalars = np.require(np.asarray(scalars), requirements=["C", "A", "W"])
        return super().__new__(cls, kind, t, names, alone, slots, scalars)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.names:
            raise AttributeError(f"this state has t{''.join(', ' + n for n in self.names)}, not {name}")
        place = self.names.index(name)
        vectors = [slots[place] for slots in self.slots]
        return vectors[0] if self.alone else vectors

    def __repr__(self) -> str:
        return f"State(t={self.t}{''.join(', ' + name for name in self.names)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return State, (self.kind, self.t, self.names, self.alone, self.slots, self.scalars)

    def __copy__(self) -> State:
        return self.copy()

    def copy(self) -> State:
        """A state of its own with the same numbers."""
        slots = [a.copy() for a in self.slots]
        return State(self.kind, self.t, self.names, self.alone, slots, self.scalars.copy())

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the state to a file of NumPy's format ``.npz``, without pickles; `load` reads it.

        Examples
        --------
        >>> import numpy as np, optlab, tempfile, pathlib
        >>> state = optlab.Adam().init(np.zeros(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "state.npz")
        ...     state.save(file)
        ...     optlab.State.load(file)
        State(t=0, m, v)
        """
        arrays: dict[str, Any] = {f"slots{i}": a for i, a in enumerate(self.slots)}
        arrays |= {"kind": self.kind, "t": self.t, "alone": self.alone}
        arrays["names"] = np.array(self.names, dtype=str)
        with open(file, "wb") as opened:
            np.savez(opened, scalars=self.scalars, **arrays)

    @staticmethod
    def load(file: str | os.PathLike[str]) -> State:
        """The state that `save` has written.

        Raises
        ------
        ValueError
            The file is something else.
        """
        from zipfile import BadZipFile

        try:
            with np.load(file, allow_pickle=False) as opened:
                stored = dict(opened)
            if not {"kind", "t", "names", "alone", "scalars"} <= set(stored):
                raise ValueError(", ".join(stored))
            slots = [stored[f"slots{i}"] for i in range(len(stored["scalars"]))]
            names = tuple(str(name) for name in stored["names"])
            alone, scalars = bool(stored["alone"]), stored["scalars"]
            return State(str(stored["kind"]), int(stored["t"]), names, alone, slots, scalars)
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            EOFError,
            RuntimeError,
            BadZipFile,
        ) as error:
            raise ValueError(f"file: expected a state that was saved, got {error}") from error


# Hyper-parameters: a default, and what is checked when an optimizer is made.


def rate(default: float) -> Any:
    """A field for a positive number or a schedule of numbers >= 0."""
    return field(
        default=default, metadata={"check": _validation.positive_finite, "each": _validation.finite_number}
    )


def momentum_rate(default: float) -> Any:
    """A field for a number in [0, 1) or a schedule of numbers in [0, 1]."""
    return field(default=default, metadata={"check": _validation.fraction, "each": _validation.share})


def fraction(default: float) -> Any:
    """A field for a number in [0, 1)."""
    return field(default=default, metadata={"check": _validation.fraction})


def not_negative(default: float) -> Any:
    """A field for a finite number >= 0."""
    return field(default=default, metadata={"check": _validation.finite_number})


def positive(default: float) -> Any:
    """A field for a finite number > 0."""
    return field(default=default, metadata={"check": _validation.positive_finite})


def one_of(*forms: str) -> Any:
    """A field for one of the forms in which a method is in use; the first is the default."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in forms:
            raise ValueError(f"{name}: expected {' or '.join(map(repr, forms))}, got {value!r}")

    return field(default=forms[0], metadata={"check": check, "forms": forms})


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share: hyper-parameters that stay as they are, and steps in place.

    Rates, the learning rate first, may be schedules: functions of the step t = 0, 1, ... All else is a number
    or the name of a form, checked when the optimizer is made.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    A new optimizer is a dataclass with its fields, the names of its vectors of state (`slots`) and its
    `kernel`. Fields that are no rates go to the kernel in their order, a form as its number.

    The arithmetic is that of the parameters' dtype; powers of decay rates are float64.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, weights = optlab.Adam(lr=0.1), [np.ones((2, 2)), np.zeros(2)]
    >>> state = opt.init(weights)
    >>> opt.step(weights, [np.ones((2, 2)), -np.ones(2)], state)
    >>> weights[1]
    array([0.1, 0.1])
    """

    slots: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not ("each" in each.metadata and callable(value)):
                each.metadata["check"](each.name, value)

    def init(self, params: Arrays) -> State:
        """The state before the first step.

        Parameters
        ----------
        params : ndarray or sequence of ndarrays
            float32 or float64, in C order, of any shape.

        Returns
        -------
        State
            Its vectors have the shapes and dtypes of `params`.

        Raises
        ------
        TypeError
            Something else than arrays of float32 or float64.
        """
        arrays = _arrays("params", params)
        names, stepper = self._slots(), self._stepper()
        slots = [np.zeros((len(names), *a.shape), a.dtype) for a in arrays]
        alone = isinstance(params, np.ndarray)
        return State(self._kind(), 0, names, alone, slots, np.zeros((len(arrays), stepper.scalars)))

    def lookahead(self, params: Arrays, state: State) -> Any:
        """Where the method wants the gradient.

        Parameters
        ----------
        params : ndarray or sequence of ndarrays
        state : State
            As for `step`; both stay as they are.

        Returns
        -------
        ndarray or list of ndarrays
            `params` themselves; for Nesterov's published forms copies, moved ahead by the momentum.

        Raises
        ------
        ValueError, TypeError
            From those forms: shapes, dtypes, numbers of arrays that do not fit.
        """
        if not self._looks():
            return params
        arrays, _ = self._check(params, params, state)
        stepper, rates = self._stepper(), self._rates(state.t)
        ahead = [np.empty_like(a) for a in arrays]
        for x, slots, at in zip(arrays, state.slots, ahead, strict=True):
            stepper.lookahead(x, slots, rates, state.t, at)
        return ahead[0] if isinstance(params, np.ndarray) else ahead

    step = kernels.step
    step.__module__ = __name__

    def _check(self, params: Arrays, grads: Arrays, state: Any) -> tuple[list[Array], list[Array]]:
        """Lists of both as the kernels want them, or an error that says what does not fit."""
        xs, gs = _arrays("params", params), _arrays("grads", grads)
        if not isinstance(state, State) or state.kind != self._kind() or state.names != self._slots():
            got = f"that of {state.kind}" if isinstance(state, State) else repr(state)
            raise TypeError(f"state: expected the state of {type(self).__name__}, got {got}")
        if not len(xs) == len(gs) == len(state.slots):
            raise ValueError(
                f"grads: expected as many arrays as params and state, {len(state.slots)}, got {len(xs)} "
                f"params and {len(gs)} grads"
            )
        for i, (x, g, slots) in enumerate(zip(xs, gs, state.slots, strict=True)):
            count = len(state.names)
            if type(slots) is not np.ndarray or slots.shape[:1] != (count,) or not slots.flags.carray:
                raise ValueError(
                    f"state.slots[{i}]: expected a writeable array in C order of {count} vectors, got "
                    f"{getattr(slots, 'shape', slots)!r}"
                )
            if x.shape != slots.shape[1:] or x.dtype != slots.dtype:
                raise ValueError(
                    f"params[{i}]: expected shape {slots.shape[1:]} and {slots.dtype} as the state has, got "
                    f"{x.shape} and {x.dtype}"
                )
            if not x.flags.carray:
                raise ValueError(f"params[{i}]: expected a writeable array in C order")
            if g.shape != x.shape:
                raise ValueError(f"grads[{i}]: expected shape {x.shape} as params has, got {g.shape}")
            xs[i] = x.view(np.ndarray)
            gs[i] = np.require(g, x.dtype, ["C", "A"]).view(np.ndarray)
            # Arrays are stepped one after the other: a gradient must not change with its own parameters or
            # with earlier ones.
            if any(np.may_share_memory(each, gs[i]) for each in xs[i::-1]):
                gs[i] = gs[i].copy()
        return xs, gs

    def _refuse(self, grads: Arrays) -> None:
        """Name the entry that is not finite."""
        for i, g in enumerate(_arrays("grads", grads)):
            _validation.finite(f"grads[{i}]", g)
        raise ValueError("grads: expected finite numbers")

    def _kind(self) -> str:
        return self.kernel

    def _slots(self) -> tuple[str, ...]:
        return self.slots

    def _rates(self, t: int) -> NDArray[np.float64]:
        """What may differ from step to step, at step t."""
        return np.array(
            [
                each.metadata["each"](each.name, value(t)) if callable(value) else float(value)
                for each, value in self._rate_fields()
            ]
        )

    def _constant_rates(self) -> NDArray[np.float64] | None:
        """The same, if it does not differ."""
        return None if any(callable(value) for _, value in self._rate_fields()) else self._rates(0)

    def _rate_fields(self) -> list[tuple[Any, Any]]:
        return [(each, getattr(self, each.name)) for each in fields(self) if "each" in each.metadata]

    def _stepper(self) -> kernels.Stepper:
        hyper: Any = []
        for each in fields(self):
            value = getattr(self, each.name)
            if "forms" in each.metadata:
                hyper.append(each.metadata["forms"].index(value))
            elif "each" not in each.metadata:
                hyper.append(value)
        hyper = np.array(hyper, dtype=np.float64)
        return kernels.Stepper(self.kernel, hyper, len(self._rate_fields()), len(self.slots), self._looks())

    def _looks(self) -> bool:
        """Whether the kernel wants the gradient at another point."""
        return False


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""Gradient descent; stochastic where the gradient is.

    .. math::

        \theta_{t+1} = \theta_t - \epsilon_t g_t

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule ``lr(t)``, t = 0, 1, ... Default 0.01.

    Raises
    ------
    ValueError, TypeError
        A rate that is not positive and finite, or no number.

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

    lr: Rate = rate(0.01)

    kernel = "sgd"


@dataclass(frozen=True)
class Momentum(Optimizer):
    r"""Gradient descent with momentum, the heavy ball.

    .. math::

        v_t &= \alpha_t v_{t-1} - \epsilon_t g_t, \\
        \theta_t &= \theta_{t-1} + v_t

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 0.01.
    momentum : float in [0, 1) or callable
        :math:`\alpha`, or a schedule of numbers in [0, 1]. Default 0.9.
    form : str
        "published" (default) as above. "pytorch": the learning rate outside the velocity,
        :math:`v_t = \alpha_t v_{t-1} + g_t,\ \theta_t = \theta_{t-1} - \epsilon_t v_t`: the same path for
        constant :math:`\epsilon`, another one under a schedule.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `v`. PyTorch's ``dampening`` is 0 here. Keras has the published form.

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Comput. Math. Math. Phys.
    4 (1964). This form: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and
    momentum in deep learning" (2013), equations 1 and 2.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.Momentum(lr=0.1, momentum=0.5), np.array([1.0])
    >>> state = opt.init(x)
    >>> for _ in range(3):
    ...     opt.step(x, np.array([1.0]), state)
    >>> x, state.v  # moved by 0.1, 0.15, 0.175
    (array([0.575]), array([-0.175]))
    """

    lr: Rate = rate(0.01)
    momentum: Rate = momentum_rate(0.9)
    form: str = one_of("published", "pytorch")

    slots: ClassVar[tuple[str, ...]] = ("v",)
    kernel = "momentum"


@dataclass(frozen=True)
class Nesterov(Optimizer):
    r"""Nesterov's momentum: the gradient is taken where the momentum alone would lead.

    .. math::

        g_t &= \nabla f(\theta_{t-1} + \alpha_t v_{t-1}), \\
        v_t &= \alpha_t v_{t-1} - \epsilon_t g_t, \\
        \theta_t &= \theta_{t-1} + v_t

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 0.01.
    momentum : float in [0, 1) or callable
        :math:`\alpha`, or a schedule of numbers in [0, 1] such as `schedules.nesterov`, the sequence of the
        proof. Default 0.9.
    form : str
        "published" (default) as above: `lookahead` says where the gradient is wanted. "pytorch": the
        parameters are that point themselves, :math:`v_t = \alpha_t v_{t-1} + g_t,\ \theta_t = \theta_{t-1}
        - \epsilon_t (g_t + \alpha_t v_t)`. Keras does the same with the learning rate inside the velocity.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `v`. With constant rates the parameters of "pytorch" are the points :math:`\theta + \alpha
    v` of "published".

    References
    ----------
    Nesterov, "A method for solving the convex programming problem with convergence rate O(1/k^2)", Soviet
    Math. Dokl. 27 (1983). This form: Sutskever, Martens, Dahl and Hinton (2013), equations 3 and 4.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.Nesterov(lr=0.1, momentum=0.5), np.array([1.0])
    >>> state = opt.init(x)
    >>> for _ in range(2):
    ...     at = opt.lookahead(x, state)
    ...     opt.step(x, 2 * at, state)  # f = x^2
    >>> x, opt.lookahead(x, state)
    (array([0.56]), array([0.44]))
    """

    lr: Rate = rate(0.01)
    momentum: Rate = momentum_rate(0.9)
    form: str = one_of("published", "pytorch")

    slots: ClassVar[tuple[str, ...]] = ("v",)
    kernel = "nesterov"

    def _looks(self) -> bool:
        return self.form == "published"


def clip_by_norm(g: Arrays, max_norm: float, *, out: Arrays | None = None) -> Any:
    r"""Shorten a gradient that is too long; its direction stays.

    .. math::

        g \leftarrow g \min\left(1, \frac{c}{\|g\|}\right)

    Parameters
    ----------
    g : ndarray or sequence of ndarrays
        The norm is the 2-norm of all entries of all arrays.
    max_norm : float
        The bound c > 0.
    out : ndarray or sequence of ndarrays, optional
        Where to write the result, as `g` is; may be `g` itself. Default: new arrays.

    Returns
    -------
    ndarray or list of ndarrays
        `out`, or copies. A norm that is infinite or NaN cannot be shortened: such a gradient stays as it is.

    Raises
    ------
    ValueError, TypeError
        A bound that is not positive, arrays that are not of float32 or float64 or do not fit.

    Notes
    -----
    The largest entry is taken out before squaring, so that entries of 1e200 are clipped as well. PyTorch's
    ``clip_grad_norm_`` divides by the norm plus 1e-6 and works in place, as ``out=g`` does.

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
    arrays, clipped = _clipping(g, out)
    square = sum(clip.square(a) for a in arrays)
    largest = 1.0
    if math.isnan(square):
        square = 0.0  # nothing to be done; the largest entry need not show it
    elif not 1e-200 < square < 1e200:
        largest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
        if largest == 0.0 or not math.isfinite(largest):
            square, largest = 0.0, 1.0
        else:
            square = sum(float(np.vdot(u, u)) for u in (a.astype(np.float64) / largest for a in arrays))
    norm = math.sqrt(square)
    for a, to in zip(arrays, clipped, strict=True):
        if norm <= limit / largest:
            np.copyto(to, a)
        elif largest == 1.0:
            clip.times(a, limit / norm, to)
        else:
            to[...] = a.astype(np.float64) / largest / norm * limit
    return out if out is not None else clipped[0] if isinstance(g, np.ndarray) else clipped


def clip_by_value(g: Arrays, bound: float, *, out: Arrays | None = None) -> Any:
    r"""Cut each entry of a gradient to :math:`[-c, c]`; that turns it, but keeps every sign.

    Parameters
    ----------
    g : ndarray or sequence of ndarrays
    bound : float
        c > 0.
    out : ndarray or sequence of ndarrays, optional
        Where to write the result, as `g` is; may be `g` itself. Default: new arrays.

    Returns
    -------
    ndarray or list of ndarrays
        `out`, or copies; NaN stays NaN.

    Raises
    ------
    ValueError, TypeError
        A bound that is not positive, arrays that are not of float32 or float64 or do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> clip_by_value(np.array([10.0, 1.0]), 1.0)
    array([1., 1.])
    """
    limit = _validation.positive("bound", bound)
    arrays, clipped = _clipping(g, out)
    for a, to in zip(arrays, clipped, strict=True):
        clip.within(a, limit, to)
    return out if out is not None else clipped[0] if isinstance(g, np.ndarray) else clipped


def _clipping(g: Arrays, out: Arrays | None) -> tuple[list[Array], list[Array]]:
    """The gradient in C order, and where the result goes."""
    arrays = [np.require(a, requirements=["C", "A"]) for a in _arrays("g", g)]
    if out is None:
        return arrays, [np.empty_like(a) for a in arrays]
    results = _arrays("out", out)
    if len(results) != len(arrays) or isinstance(out, np.ndarray) != isinstance(g, np.ndarray):
        raise ValueError(f"out: expected {len(arrays)} arrays as g has, got {len(results)}")
    for i, (a, to) in enumerate(zip(arrays, results, strict=True)):
        if to.shape != a.shape or to.dtype != a.dtype:
            raise ValueError(
                f"out[{i}]: expected shape {a.shape} and {a.dtype} as g has, got {to.shape} and {to.dtype}"
            )
        if not to.flags.carray:
            raise ValueError(f"out[{i}]: expected a writeable array in C order")
        others = arrays[:i] + arrays[i + (a is to) :]
        if any(np.may_share_memory(other, to) for other in others):
            raise ValueError(f"out[{i}]: expected memory of its own or g[{i}] itself")
    return arrays, results


def _arrays(name: str, value: Arrays) -> list[Array]:
    """A list of arrays of float32 or float64, from one array or several."""
    if isinstance(value, np.ndarray):
        arrays = [value]
    elif isinstance(value, list | tuple) and all(isinstance(a, np.ndarray) for a in value):
        arrays = list(value)
    else:
        raise TypeError(f"{name}: expected an array or a list of arrays, got {type(value).__name__}")
    for a in arrays:
        if isinstance(a, np.ma.MaskedArray):
            raise TypeError(f"{name}: expected an array without a mask, got a masked array")
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name}: expected float32 or float64, got {a.dtype}")
    return arrays
