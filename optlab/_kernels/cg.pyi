from typing import Any

from numpy.typing import NDArray

from .matrix import Operator

NEED_AX: int
NEED_AD: int
NEED_M: int
PAUSED: int
CONVERGED: int
EXHAUSTED: int
STAGNATED: int
NOT_POSITIVE: int
M_NOT_POSITIVE: int
NOT_FINITE: int

class Iteration:
    def __init__(
        self,
        A: Operator | None,
        M: Operator | None,
        plain: bool,
        b: NDArray[Any],
        x: NDArray[Any],
        from_zero: bool,
        tolerance: float,
        maxiter: int,
    ) -> None: ...
    rows: int
    def advance(self, chunk: int) -> int: ...
    @property
    def record(self) -> NDArray[Any]: ...
    def residual(self) -> None: ...
    @property
    def r(self) -> NDArray[Any]: ...
    @property
    def d(self) -> NDArray[Any]: ...
    @property
    def q(self) -> NDArray[Any]: ...
    @property
    def z(self) -> NDArray[Any]: ...
    @property
    def best(self) -> NDArray[Any]: ...
    @property
    def norm(self) -> float: ...
    @property
    def best_norm(self) -> float: ...
    @property
    def products(self) -> int: ...
    @property
    def f(self) -> float: ...

def squared_norm(b: NDArray[Any]) -> float: ...
