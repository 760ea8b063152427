from typing import Any

from numpy.typing import NDArray

class Operator:
    n: int
    work: int
    single: bool
    def __call__(self, x: NDArray[Any]) -> NDArray[Any]: ...

class Dense(Operator):
    def __init__(self, A: NDArray[Any]) -> None: ...

class CSR(Operator):
    def __init__(self, data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any]) -> None: ...

class DIA(Operator):
    def __init__(self, data: NDArray[Any], offsets: NDArray[Any], n: int) -> None: ...

class Poisson(Operator):
    def __init__(self, data: NDArray[Any], rows: int, columns: int) -> None: ...

class Diagonal(Operator):
    def __init__(self, data: NDArray[Any]) -> None: ...

class Cholesky(Operator):
    def __init__(self, data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any]) -> None: ...

def incomplete_cholesky(indptr: NDArray[Any], indices: NDArray[Any], values: NDArray[Any]) -> int: ...
def csr_is_valid(indptr: NDArray[Any], indices: NDArray[Any], entries: int, n: int) -> bool: ...
def csr_diagonals(
    indptr: NDArray[Any], indices: NDArray[Any], slot: NDArray[Any], offsets: NDArray[Any]
) -> int: ...
def csr_to_dia(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
    slot: NDArray[Any],
    diagonals: NDArray[Any],
) -> None: ...
