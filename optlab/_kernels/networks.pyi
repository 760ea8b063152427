from typing import Any

from numpy.typing import NDArray

from .surfaces import Compiled

class Trained(Compiled):
    def __init__(
        self,
        X: NDArray[Any],
        T: NDArray[Any],
        sizes: tuple[int, ...],
        activation: str,
        loss: str,
        penalty: float,
    ) -> None: ...
