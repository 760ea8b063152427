from typing import Any

from numpy.typing import NDArray

from .surfaces import Compiled

NEED_VALUE: int
PAUSED: int
CONVERGED: int
EXHAUSTED: int
NO_DECREASE: int
NOT_FINITE: int
UNBOUNDED: int

class Pairs:
    def __init__(self, x: NDArray[Any], m: int, scale: bool, more: int = 0) -> None: ...
    @property
    def count(self) -> int: ...
    def clear(self) -> None: ...
    def learn(self, x0: NDArray[Any], g0: NDArray[Any], x: NDArray[Any], g: NDArray[Any]) -> None: ...
    def direction(self, g: NDArray[Any]) -> NDArray[Any]: ...

class Iteration:
    def __init__(
        self,
        problem: Compiled | None,
        x: NDArray[Any],
        m: int,
        scale: bool,
        gtol: float,
        maxiter: int,
        c1: float,
        c2: float,
        max_step: float,
        keep: bool,
    ) -> None: ...
    keep: bool
    rows: int
    def advance(self, chunk: int) -> int: ...
    def tell(self, f: float, g: NDArray[Any]) -> None: ...
    @property
    def record(self) -> NDArray[Any]: ...
    @property
    def points(self) -> list[NDArray[Any]]: ...
    @property
    def trial(self) -> NDArray[Any]: ...
    @property
    def x(self) -> NDArray[Any]: ...
    @property
    def g(self) -> NDArray[Any]: ...
    @property
    def f(self) -> float: ...
    @property
    def evaluations(self) -> int: ...

def two_loop(S: NDArray[Any], Y: NDArray[Any], sy: NDArray[Any], gamma: float, q: NDArray[Any]) -> None: ...
