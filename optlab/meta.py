"""Methods made of other methods."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _validation
from ._kernels import steps as kernels
from .stochastic import Optimizer


@dataclass(frozen=True)
class Switch(Optimizer):
    """One optimizer for the first steps, another one from then on: Adam early, SGD late.

    Parameters
    ----------
    first, second : Optimizer
        The second starts with a fresh state; its schedules count from its own first step.
    at : int
        Steps of the first, 0 or more.

    Raises
    ------
    TypeError
        Something else than two optimizers of optlab, or a number that is no integer.
    ValueError
        A negative number of steps.

    Notes
    -----
    The vectors of state are those of both, named ``first_m``, ``second_v`` and so on. `train` and
    `trajectory` take it as any other optimizer. PyTorch and Keras have none: one makes a new optimizer.

    References
    ----------
    Keskar and Socher, "Improving generalization performance by switching from Adam to SGD" (2017), who also
    propose a rule for when and how far; here both are yours.

    Examples
    --------
    >>> import optlab
    >>> opt = optlab.Switch(optlab.Adam(lr=0.1), optlab.SGD(lr=1e-3), at=50)
    >>> beale = optlab.problems.beale()
    >>> path = optlab.trajectory(beale, opt, [1.0, 1.0], 60)
    >>> path.step[[50, 51]].round(3)
    array([0.031, 0.001])
    """

    first: Optimizer
    second: Optimizer
    at: int

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            if not isinstance(getattr(self, name), Optimizer):
                raise TypeError(f"{name}: expected an Optimizer, got {getattr(self, name)!r}")
        _validation.count("at", self.at, maximum=sys.maxsize)

    def lr(self, t: int) -> float:
        """The learning rate of step t."""
        now, own = (self.first, t) if t < self.at else (self.second, t - self.at)
        return float(now._rates(own)[0])

    def _kind(self) -> str:
        return f"({self.first._kind()}, then {self.second._kind()})"

    def _slots(self) -> tuple[str, ...]:
        names = [("first", name) for name in self.first._slots()]
        names += [("second", name) for name in self.second._slots()]
        return tuple("_".join(pair) for pair in names)

    def _rates(self, t: int) -> NDArray[np.float64]:
        # The one that rests is asked for its nearest step.
        first = self.first._rates(min(t, max(self.at - 1, 0)))
        return np.concatenate([first, self.second._rates(max(t - self.at, 0))])

    def _constant_rates(self) -> NDArray[np.float64] | None:
        first, second = self.first._constant_rates(), self.second._constant_rates()
        return None if first is None or second is None else np.concatenate([first, second])

    def _looks(self) -> bool:
        return self.first._looks() or self.second._looks()

    def _stepper(self) -> kernels.Stepper:
        return kernels.Switch(self.first._stepper(), self.second._stepper(), self.at)
