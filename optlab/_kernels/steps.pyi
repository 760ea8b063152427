from typing import Any, Self

from numpy.typing import NDArray

class Stepper:
    slots: int
    scalars: int
    looks: bool
    def __init__(self, name: str, hyper: NDArray[Any], rates: int, slots: int, looks: bool) -> None: ...
    def lookahead(
        self, x: NDArray[Any], slots: NDArray[Any], rates: NDArray[Any], t: int, at: NDArray[Any]
    ) -> None: ...

class Switch(Stepper):
    def __init__(self, first: Stepper, second: Stepper, at: int) -> None: ...

class Memory:
    kind: str
    t: int
    names: tuple[str, ...]
    alone: bool
    slots: list[NDArray[Any]]
    scalars: NDArray[Any]
    def __new__(
        cls,
        kind: str,
        t: int,
        names: tuple[str, ...],
        alone: bool,
        slots: list[NDArray[Any]],
        scalars: NDArray[Any],
    ) -> Self: ...

def step(self: Any, params: Any, grads: Any, state: Any, *, allow_nan: bool = False) -> None: ...
