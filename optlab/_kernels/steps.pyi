from typing import Any

from numpy.typing import NDArray

class Stepper:
    slots: int
    scalars: int
    def __init__(self, hyper: NDArray[Any]) -> None: ...
    def step(
        self,
        x: NDArray[Any],
        g: NDArray[Any],
        slots: NDArray[Any],
        scalars: NDArray[Any],
        lr: float,
        t: int,
    ) -> None: ...

class SGD(Stepper): ...
class Adam(Stepper): ...
