from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

class Cache:
    kind: str
    x: Array
    gamma: Array | None
    eps: float
    beta: Array | None
    @property
    def intact(self) -> bool: ...
    @property
    def mean(self) -> Array: ...
    @property
    def var(self) -> Array: ...
    @property
    def std(self) -> Array: ...
    @property
    def x_hat(self) -> Array: ...

def rows(
    kind: str, x: Any, gamma: Any, beta: Any, lead: int, groups: int, eps: float, out: Any
) -> tuple[Array, Cache] | None: ...
def batch(
    x: Any, gamma: Any, beta: Any, eps: float, mean: Any, var: Any, momentum: float, unbiased: bool, out: Any
) -> tuple[Array, Cache] | None: ...
def inference(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, eps: float, out: Any) -> Array | None: ...
def backward(dy: Any, cache: Cache, out: Any) -> tuple[Array, Array | None, Array | None] | None: ...
