from typing import Any

from numpy.typing import NDArray

from .steps import Stepper

class Compiled:
    n: int
    @property
    def effort(self) -> int: ...
    def evaluate(self, x: NDArray[Any], g: NDArray[Any]) -> float: ...
    def product(self, x: NDArray[Any], V: NDArray[Any], HV: NDArray[Any]) -> None: ...
    def values(self, points: NDArray[Any], f: NDArray[Any]) -> None: ...
    def follow(
        self,
        stepper: Stepper,
        x: NDArray[Any],
        g: NDArray[Any],
        slots: NDArray[Any],
        scalars: NDArray[Any],
        ended: NDArray[Any],
        start: int,
        stop: int,
        last: int,
        every: int,
        rates: NDArray[Any],
        noise: NDArray[Any],
        sigma: float,
        clip_norm: float,
        clip_value: float,
        gtol: float,
        rows: NDArray[Any],
        table: NDArray[Any],
        first: int,
    ) -> None: ...

class Named(Compiled):
    def __init__(self, name: str, n: int, constants: NDArray[Any]) -> None: ...
