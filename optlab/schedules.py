"""Learning rates, and momenta, as functions of the step: an optimizer calls ``schedule(t)`` for t = 0, 1, ...

A schedule is called with a step and returns a float, or with an array of steps and returns their values, for
instance to plot them. All but `resnet110` are frozen: they can be compared, hashed, pickled and shared.

>>> import numpy as np, optlab
>>> rate = linear_decay(0.1, 0.001, 1000)
>>> rate(0), rate(np.array([500, 1000, 2000]))
(0.1, array([0.0505, 0.001 , 0.001 ]))
>>> rate
linear_decay(lr=0.1, end=0.001, steps=1000)
>>> opt = optlab.SGD(lr=warmup(rate, 100))
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from . import _validation


class Schedule:
    """What all schedules share, the call. A new one is a frozen dataclass with its ``_at(t) -> float``."""

    def _at(self, t: float) -> float:
        raise NotImplementedError

    @overload
    def __call__(self, t: float) -> float: ...
    @overload
    def __call__(self, t: ArrayLike) -> Any: ...
    def __call__(self, t: ArrayLike) -> Any:
        """The value at a step, or an array of the values at an array of steps.

        Raises
        ------
        ValueError, TypeError
            A step that is negative, infinite or NaN, or no number.
        """
        if type(t) is int and t >= 0:  # the optimizers' case
            return self._at(t)
        steps = _validation.numbers("t", t)
        wrong = ~((steps >= 0) & (steps < math.inf))
        if wrong.any():
            raise ValueError(f"t: expected steps >= 0, got {steps[wrong][0]}")
        # The same arithmetic as for one step, so that a plot shows exactly what the optimizer sees.
        values = np.array([self._at(s) for s in steps.ravel().tolist()], dtype=np.float64)
        return float(values[0]) if steps.ndim == 0 else values.reshape(steps.shape)


Rate = float | Callable[[int], float]


@dataclass(frozen=True)
class constant(Schedule):
    r"""The same rate in each step: :math:`\epsilon_t = \epsilon_0`.

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0 > 0`.

    Raises
    ------
    ValueError, TypeError
        A rate that is not positive and finite.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        _validation.positive_finite("lr", self.lr)

    def _at(self, t: float) -> float:
        return float(self.lr)


@dataclass(frozen=True)
class linear_decay(Schedule):
    r"""Down a straight line, then constant.

    .. math::

        \epsilon_t &= (1 - \alpha) \epsilon_0 + \alpha \epsilon_\tau, \\
        \alpha &= \min\left(1, \frac{t}{\tau}\right)

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0 > 0`, the rate of the first step.
    end : float
        :math:`\epsilon_\tau \ge 0`, the rate from step `steps` on; usually 1 % of `lr`. May be larger than
        `lr`: then the line goes up.
    steps : int
        :math:`\tau \ge 1`.

    Raises
    ------
    ValueError, TypeError
        Rates that are not so or not finite, steps that are no integer >= 1.

    Notes
    -----
    The value at t = `steps` is exactly `end`. PyTorch's ``LinearLR`` multiplies by factors and does the same
    with ``start_factor=1, end_factor=end/lr, total_iters=steps``; Keras' ``PolynomialDecay`` is this with its
    default power of 1.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep learning" (2016), equation 8.14.

    Examples
    --------
    >>> rate = linear_decay(0.1, 0.001, 1000)
    >>> rate([0, 500, 1000, 2000])
    array([0.1   , 0.0505, 0.001 , 0.001 ])
    """

    lr: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _validation.positive_finite("lr", self.lr)
        _validation.finite_number("end", self.end)
        _validation.count("steps", self.steps, minimum=1)

    def _at(self, t: float) -> float:
        if t >= self.steps:
            return float(self.end)
        alpha = t / self.steps
        return float((1.0 - alpha) * self.lr + alpha * self.end)


@dataclass(frozen=True)
class inverse_time(Schedule):
    r"""A power of the time: slow enough to reach the minimum, fast enough to silence the noise.

    .. math::

        \epsilon_t = \frac{\epsilon_0}{(1 + t/\tau)^p}

    With `steps` = 1 this is :math:`\epsilon_0 / k^p` for the k-th step, k = t + 1. The conditions of Robbins
    and Monro, :math:`\sum \epsilon_t = \infty` and :math:`\sum \epsilon_t^2 < \infty`, hold for
    :math:`\tfrac12 < p \le 1`.

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0 > 0`.
    steps : float
        :math:`\tau > 0`: after so many steps the rate is :math:`2^{-p}` of the first.
    power : float
        p > 0. Default 1.

    Raises
    ------
    ValueError, TypeError
        A number that is not positive and finite.

    Notes
    -----
    Keras' ``InverseTimeDecay`` with ``decay_rate=1`` is this with power 1.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Ann. Math. Statist. 22 (1951).

    Examples
    --------
    >>> inverse_time(1.0, 1)([0, 1, 3])
    array([1.  , 0.5 , 0.25])
    >>> inverse_time(1.0, 1, power=2)([0, 1, 3])
    array([1.    , 0.25  , 0.0625])
    """

    lr: float
    steps: float
    power: float = 1.0

    def __post_init__(self) -> None:
        _validation.positive_finite("lr", self.lr)
        _validation.positive_finite("steps", self.steps)
        _validation.positive_finite("power", self.power)

    def _at(self, t: float) -> float:
        return float(self.lr * _power(1.0 + t / self.steps, -self.power))


@dataclass(frozen=True)
class exponential(Schedule):
    r"""The same factor every so many steps, smoothly.

    .. math::

        \epsilon_t = \epsilon_0 q^{t/\tau}

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0 > 0`.
    factor : float
        q > 0: below 1 the rate decays; above 1 it grows, as in a search for the largest rate that works.
    steps : float
        :math:`\tau > 0`, the steps for one factor. Default 1.

    Raises
    ------
    ValueError, TypeError
        A number that is not positive and finite.

    Notes
    -----
    The sum of all rates is finite: too fast a decay stops short of the minimum. PyTorch's ``ExponentialLR``
    has :math:`\tau = 1` and counts epochs if that is where it is stepped; Keras' ``ExponentialDecay`` has the
    formula above. A value beyond the largest float is infinite, and the optimizer refuses it.

    Examples
    --------
    >>> exponential(0.1, 0.5, steps=10)([0, 10, 20])
    array([0.1  , 0.05 , 0.025])
    """

    lr: float
    factor: float
    steps: float = 1

    def __post_init__(self) -> None:
        _validation.positive_finite("lr", self.lr)
        _validation.positive_finite("factor", self.factor)
        _validation.positive_finite("steps", self.steps)

    def _at(self, t: float) -> float:
        return float(self.lr * _power(self.factor, t / self.steps))


@dataclass(frozen=True)
class step(Schedule):
    r"""The same factor every so many steps, at once: a staircase.

    .. math::

        \epsilon_t = \epsilon_0 q^{\lfloor t/\tau \rfloor}

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0 > 0`.
    factor : float
        q > 0, usually 0.1 or 0.5.
    every : int
        :math:`\tau \ge 1`, the width of a stair in steps.

    Raises
    ------
    ValueError, TypeError
        A number that is not positive and finite, `every` no integer >= 1.

    Notes
    -----
    PyTorch's ``StepLR(gamma=factor, step_size=every)``, but for a default: gamma is 0.1 there.

    Examples
    --------
    >>> step(0.1, 0.5, every=10)([0, 9, 10, 20])
    array([0.1  , 0.1  , 0.05 , 0.025])
    """

    lr: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        _validation.positive_finite("lr", self.lr)
        _validation.positive_finite("factor", self.factor)
        _validation.count("every", self.every, minimum=1)

    def _at(self, t: float) -> float:
        return float(self.lr * _power(self.factor, t // self.every))


@dataclass(frozen=True)
class cosine(Schedule):
    r"""Half a period of a cosine, then constant.

    .. math::

        \epsilon_t &= \epsilon_\tau + \alpha (\epsilon_0 - \epsilon_\tau), \\
        \alpha &= \frac12 \left(1 + \cos\frac{\pi \min(t, \tau)}{\tau}\right)

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0 > 0`, the rate of the first step.
    end : float
        :math:`\epsilon_\tau \ge 0`, the rate from step `steps` on.
    steps : int
        :math:`\tau \ge 1`.

    Raises
    ------
    ValueError, TypeError
        Rates that are not so or not finite, steps that are no integer >= 1.

    Notes
    -----
    One cycle of the paper, without its warm restarts. PyTorch's ``CosineAnnealingLR(T_max=steps,
    eta_min=end)`` goes up again after `steps`; Keras' ``CosineDecay`` stays, with ``alpha=end/lr``.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017), equation 5.

    Examples
    --------
    >>> cosine(0.1, 0.001, 1000)([0, 500, 1000, 2000])
    array([0.1   , 0.0505, 0.001 , 0.001 ])
    """

    lr: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _validation.positive_finite("lr", self.lr)
        _validation.finite_number("end", self.end)
        _validation.count("steps", self.steps, minimum=1)

    def _at(self, t: float) -> float:
        if t >= self.steps:
            return float(self.end)
        weight = 0.5 + 0.5 * math.cos(math.pi * t / self.steps)
        return float(weight * self.lr + (1.0 - weight) * self.end)


@dataclass(frozen=True)
class warmup(Schedule):
    r"""Up a straight line to the first rate of another schedule, and then that schedule from its start.

    .. math::

        \epsilon_t = \begin{cases}
            (1 - t/w) \epsilon_s + (t/w) \epsilon'_0 & t < w \\
            \epsilon'_{t - w} & t \ge w
        \end{cases}

    Parameters
    ----------
    schedule : float or callable
        :math:`\epsilon'`. Its clock starts when the warm-up ends: a `cosine` over 1000 steps after a warm-up
        of 100 ends at step 1100. A number is a constant.
    steps : int
        :math:`w \ge 0`. The full rate is first used at t = `steps`.
    start : float
        :math:`\epsilon_s \ge 0`, the rate of the first step, not a fraction of the others. Default 0: the
        first step does not move.

    Raises
    ------
    ValueError, TypeError
        A start or a number that is negative or not finite, steps that are no integer >= 0.

    Notes
    -----
    PyTorch's ``SequentialLR([LinearLR(start_factor=start/lr, total_iters=steps), ...],
    milestones=[steps])`` is the same (but for a start of 0, which it refuses), its second clock starts at the
    milestone too; a ``ChainedScheduler`` of
    the two lets both clocks run from 0 and multiplies. Keras' ``CosineDecay(warmup_steps=...)`` starts its
    cosine after the warm-up.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017), section 2.2.

    Examples
    --------
    >>> warmup(linear_decay(0.1, 0.0, 100), 10)([0, 5, 10, 60, 110])
    array([0.  , 0.05, 0.1 , 0.05, 0.  ])
    >>> warmup(0.1, 4, start=0.02)([0, 1, 2, 3, 4, 5])
    array([0.02, 0.04, 0.06, 0.08, 0.1 , 0.1 ])
    """

    schedule: Rate
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            _validation.positive_finite("schedule", self.schedule)
        _validation.count("steps", self.steps)
        _validation.finite_number("start", self.start)

    def _at(self, t: float) -> float:
        if t >= self.steps:
            return self._after(t - self.steps)
        alpha = t / self.steps
        return float((1.0 - alpha) * self.start + alpha * self._after(0))

    def _after(self, t: Any) -> float:
        return float(self.schedule(t) if callable(self.schedule) else self.schedule)


@dataclass(frozen=True)
class noam(Schedule):
    r"""The schedule of the Transformer: up a straight line, then down as the root of the step.

    .. math::

        \epsilon_t &= c\, d^{-1/2} \min\left(k^{-1/2},\, k\, w^{-3/2}\right), \\
        k &= t + 1

    Parameters
    ----------
    width : int
        d, the width of the model (``d_model``). 512 in the paper.
    warmup : int
        :math:`w \ge 1`. The rate is largest, :math:`c (d w)^{-1/2}`, in the w-th step. 4000 in the paper.
    scale : float
        c > 0. Default 1.

    Raises
    ------
    ValueError, TypeError
        A width or a warm-up that is no integer >= 1, a scale that is not positive and finite.

    Notes
    -----
    The paper counts steps k from 1, optimizers t from 0: the largest value is at t = `warmup` - 1.

    References
    ----------
    Vaswani et al., "Attention is all you need" (2017), equation 3.

    Examples
    --------
    >>> rate = noam(512, 4000)
    >>> print(f"{rate(0):.3e} {rate(3999):.3e} {rate(15999):.3e}")
    1.747e-07 6.988e-04 3.494e-04
    """

    width: int
    warmup: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        _validation.count("width", self.width, minimum=1)
        _validation.count("warmup", self.warmup, minimum=1)
        _validation.positive_finite("scale", self.scale)

    def _at(self, t: float) -> float:
        k = t + 1
        return float(self.scale * self.width**-0.5 * min(k**-0.5, k * self.warmup**-1.5))


@dataclass
class resnet110(Schedule):
    r"""The warm-up of the 110-layer ResNet: a small rate until the training error has once been below a
    threshold, then the full rate for good.

    Unlike the other schedules this one has a state: tell it the training error with `observe`. The step t
    plays no part; an array of steps gets the present rate for each.

    Parameters
    ----------
    low, high : float
        The rates before and after. Default 0.01 and 0.1.
    threshold : float
        The error rate, a fraction, that has to be undercut. Default 0.8.
    switched : bool
        Whether the error has been below the threshold already. Default False; `observe` changes it.

    Raises
    ------
    ValueError, TypeError
        Rates that are not positive and finite, a threshold outside (0, 1].

    Notes
    -----
    The authors watched it themselves, for "about 400 iterations"; later they divide the rate by 10 twice,
    which is left to the reader.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016), section 4.2.

    Examples
    --------
    >>> rate = resnet110()
    >>> for t, error in enumerate([0.90, 0.80, 0.79, 0.85]):
    ...     _ = rate.observe(error)
    ...     print(rate(t))
    0.01
    0.01
    0.1
    0.1
    """

    low: float = 0.01
    high: float = 0.1
    threshold: float = 0.8
    switched: bool = False

    def __post_init__(self) -> None:
        _validation.positive_finite("low", self.low)
        _validation.positive_finite("high", self.high)
        _validation.positive("threshold", self.threshold)
        _validation.share("threshold", self.threshold)

    def observe(self, error: float) -> bool:
        """Take note of a training error in [0, 1]. Returns whether this was the one that switched the rate.

        Raises
        ------
        ValueError, TypeError
            An error outside [0, 1], as percents are, or NaN.
        """
        below = _validation.share("error", error) < self.threshold
        now = below and not self.switched
        self.switched = self.switched or now
        return now

    def _at(self, t: float) -> float:
        return float(self.high if self.switched else self.low)


@dataclass(frozen=True)
class nesterov(Schedule):
    r"""The momentum of Nesterov's method for convex problems: 0 at first, then towards 1 as 1 - 3/t.

    .. math::

        \alpha_0 &= 0, & \alpha_k &= \frac{t_{k-1} - 1}{t_k}, \\
        t_0 &= 1, & t_k &= \frac{1 + \sqrt{1 + 4 t_{k-1}^2}}{2}

    It is for ``Nesterov(lr, momentum=nesterov())`` with a constant rate of at most 1/L.

    Raises
    ------
    ValueError
        When it is called with a step that is no integer.

    Notes
    -----
    The step k of the formulas is the optimizer's t. The first two values are 0: one step leads to no velocity
    and :math:`t_0 = 1` forgets the second. The values up to step 100 000 are computed once and kept; beyond,
    their expansion is exact to 1e-14.

    References
    ----------
    Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k²)" (1983);
    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2 (2009),
    equation 4.2, where the sequence starts with :math:`t_1 = 1`.

    Examples
    --------
    >>> nesterov()([0, 1, 2, 3, 100]).round(4)
    array([0.    , 0.    , 0.2818, 0.434 , 0.9711])
    """

    def _at(self, t: float) -> float:
        k = int(t)
        if k != t:
            raise ValueError(f"t: expected an integer, got {t}")
        if k >= len(_momenta):
            with _growing:
                while len(_momenta) <= min(k, _TABLE):
                    last = _sequence[-1]
                    _sequence[0] = (1.0 + math.sqrt(1.0 + 4.0 * last * last)) / 2.0
                    _momenta.append((last - 1.0) / _sequence[0])
        if k <= _TABLE:
            return _momenta[k]
        # t_k = t_{k-1} + 1/2 + 1/(8 t_k) + ..., whose sum is a logarithm.
        far = _sequence[0] + (k - _TABLE) / 2
        far += math.log(far / _sequence[0]) / 4
        return 1.0 - (1.5 + 0.125 / far) / far


# What `nesterov` has computed, up to step _TABLE: the values, and the last t_k.
_TABLE = 100_000
_momenta, _sequence, _growing = [0.0], [1.0], threading.Lock()


@dataclass(frozen=True)
class momentum_warmup(Schedule):
    r"""A momentum that grows to its limit: little memory while the gradients still change fast.

    .. math::

        \alpha_t = \min\left(\alpha_\infty,\, 1 - \frac{1}{d + t/p}\right)

    Parameters
    ----------
    limit : float
        :math:`\alpha_\infty` in [0, 1).
    delay : float
        :math:`d \ge 1`: the first value is 1 - 1/d. Default 1.5.
    pace : float
        p > 0, in steps. Default 5.

    Raises
    ------
    ValueError, TypeError
        Numbers that are not so or not finite.

    Notes
    -----
    ``delay=5/3, pace=3`` gives 1 - 3/(t + 5), which Sutskever et al. take from Nesterov; their own schedule
    is ``delay=2, pace=125`` in stairs of 250 steps.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning"
    (2013), section 3.

    Examples
    --------
    >>> momentum_warmup(0.9)([0, 5, 20, 50]).round(3)
    array([0.333, 0.6  , 0.818, 0.9  ])
    """

    limit: float
    delay: float = 1.5
    pace: float = 5

    def __post_init__(self) -> None:
        _validation.fraction("limit", self.limit)
        _validation.number("delay", self.delay, minimum=1.0, below=math.inf)
        _validation.positive_finite("pace", self.pace)

    def _at(self, t: float) -> float:
        return float(min(self.limit, 1.0 - 1.0 / (self.delay + t / self.pace)))


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf
