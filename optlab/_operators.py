"""Matrices as the solvers take them: arrays, sparse matrices, operators, functions; bound to kernels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from . import _validation
from ._kernels import matrix as kernels

Array = NDArray[Any]


class CompiledOperator(LinearOperator):  # type: ignore[misc]
    """A square symmetric operator whose product is a kernel: SciPy's interface for others, no interpreter for
    ours.

    `bind` makes the kernel for a dtype; there is one of each at most. `attributes` tell the user more.
    """

    def __init__(
        self, n: int, dtype: Any, bind: Callable[[np.dtype[Any]], kernels.Operator], **attributes: Any
    ) -> None:
        super().__init__(np.dtype(dtype), (n, n))
        self.__dict__.update(attributes)
        self._attributes = attributes
        self._bind = bind
        self._bound: dict[np.dtype[Any], kernels.Operator] = {}

    def kernel(self, dtype: np.dtype[Any]) -> kernels.Operator:
        if dtype not in self._bound:
            self._bound[dtype] = self._bind(dtype)
        return self._bound[dtype]

    def __reduce__(self) -> tuple[Any, ...]:
        # Neither kernels nor all that SciPy keeps can be copied; what they are made from can.
        return partial(CompiledOperator, **self._attributes), (self.shape[0], self.dtype, self._bind)

    def _matvec(self, x: Array) -> Array:
        vector = _validation.real_array("x", np.ravel(x), 1)
        return self.kernel(vector.dtype)(vector)

    def _adjoint(self) -> CompiledOperator:
        return self


def is_single(A: Any) -> bool:
    """Whether the matrix says that it is float32 (or less); operators that do not say count as float64."""
    if isinstance(A, np.ndarray):
        return bool(A.dtype.char == "f")
    dtype = getattr(A, "dtype", None)
    return dtype is not None and np.dtype(dtype).char in "fe"


def as_square(name: str, A: Any) -> Any:
    """`A`, checked to be a square real matrix of a kind `bind` knows; arrays in the form kernels read."""
    if type(A) is np.ndarray:  # first: small systems are won or lost here
        A = _validation.real_array(name, A, 2)
    elif scipy.sparse.issparse(A):
        if A.dtype.kind not in "buif":
            raise TypeError(f"{name}: expected real numbers, got dtype {A.dtype}")
    elif hasattr(A, "matvec") or callable(A):
        if np.dtype(getattr(A, "dtype", None) or float).kind == "c":
            raise TypeError(f"{name}: expected a real operator, got dtype {A.dtype}")
    else:
        A = _validation.real_array(name, A, 2)
    shape = getattr(A, "shape", None)  # a callable need not have one
    if shape is not None and (len(shape) != 2 or shape[0] != shape[1]):
        raise ValueError(f"{name}: expected a square matrix, got shape {tuple(shape)}")
    return A


def bind(name: str, A: Any, n: int, dtype: np.dtype[Any]) -> kernels.Operator | None:
    """The kernel that multiplies by a matrix `as_square` has passed; None if the product is the user's."""
    if isinstance(A, np.ndarray):
        return kernels.Dense(A if A.dtype == dtype else A.astype(dtype))
    if isinstance(A, CompiledOperator):
        return A.kernel(dtype)
    if not scipy.sparse.issparse(A):
        return None
    if A.format == "dia":
        if A.data.ndim != 2:
            raise ValueError(f"{name}: expected DIA with 2-D data, got {A.data.ndim}-D")
        data = np.ascontiguousarray(A.data[:, :n], dtype=dtype)
        offsets = np.ascontiguousarray(A.offsets, dtype=np.int32)
        if len(offsets) != len(data):
            raise ValueError(f"{name}: expected {len(data)} offsets, one a diagonal, got {len(offsets)}")
        return kernels.DIA(data, offsets, n)
    A = as_csr(name, A)
    if max(A.nnz, n) > np.iinfo(np.int32).max:
        return None  # SciPy's own product takes indices that long
    data = np.ascontiguousarray(A.data, dtype=dtype)
    indices = np.ascontiguousarray(A.indices, dtype=np.int32)
    indptr = np.ascontiguousarray(A.indptr, dtype=np.int32)
    return _banded(data, indices, indptr) or kernels.CSR(data, indices, indptr)


def _banded(data: Array, indices: Array, indptr: Array) -> kernels.DIA | None:
    """The diagonals of a CSR matrix, if they are few and full enough to be read faster than its rows."""
    n = len(indptr) - 1
    stored = int(indptr[-1])
    slot = np.zeros(2 * n - 1, np.int16)
    offsets = np.empty(min(32, 2 * stored // n), np.int32)
    count = kernels.csr_diagonals(indptr, indices, slot, offsets)
    if count <= 0:
        return None
    diagonals = np.zeros((count, n), data.dtype)
    kernels.csr_to_dia(indptr, indices, data, slot, diagonals)
    return kernels.DIA(diagonals, offsets[:count].copy(), n)


def as_csr(name: str, A: Any) -> Any:
    """A sparse matrix in CSR whose indices lie inside it."""
    n = A.shape[0]
    if A.format == "csr":
        indptr, indices = A.indptr, A.indices
        if not indptr.ndim == indices.ndim == A.data.ndim == 1:
            raise ValueError(f"{name}: expected CSR with 1-D indptr, indices and data, got others")
        if len(indptr) != n + 1:
            raise ValueError(f"{name}: expected {n + 1} row pointers (indptr), got {len(indptr)}")
        # int64 indices are looked at before they are shortened.
        stored = int(indptr[-1])
        if all(i.dtype == np.int32 and i.flags.carray for i in (indptr, indices)):
            valid = kernels.csr_is_valid(indptr, indices, len(A.data), n)
        else:
            valid = (
                indptr[0] == 0
                and stored <= min(len(indices), len(A.data))
                and bool((np.diff(indptr) >= 0).all())
                and bool(((indices[:stored] >= 0) & (indices[:stored] < n)).all())
            )
        if not valid:
            raise ValueError(
                f"{name}: expected CSR with row pointers that rise from 0 and end within the data, "
                f"and column indices in [0, {n}); got others"
            )
        if max(len(indices), len(A.data)) > stored:  # SciPy takes spare room for entries
            A = scipy.sparse.csr_array((A.data[:stored], indices[:stored], indptr), shape=A.shape)
        return A
    if A.format in ("csc", "bsr"):
        A = copy.copy(A)  # check_format drops spare room
        try:
            A.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"{name}: expected valid {A.format.upper()}, got one with {error}") from error
    elif A.format == "coo" and any(len(i) and (i.min() < 0 or i.max() >= n) for i in (A.row, A.col)):
        raise ValueError(f"{name}: expected COO indices in [0, {n}), got others")
    return A.tocsr()


def product(name: str, A: Any, n: int) -> Callable[[Array], Array]:
    """The product with a matrix that has no kernel: from a copy of the argument, checked for shape."""
    function = A.__matmul__ if scipy.sparse.issparse(A) else getattr(A, "matvec", A)

    def multiply(x: Array) -> Array:
        y = _validation.numbers(f"{name} @ x", function(x.copy()))  # a copy: the user may write into it
        if y.shape != (n,):
            raise ValueError(f"{name} @ x: expected shape ({n},), got {y.shape}")
        return y

    return multiply


def require_finite(name: str, A: Any) -> None:
    """Refuse NaN and infinities among the entries of a matrix that has entries."""
    if isinstance(A, np.ndarray):
        _validation.finite(name, A)
    elif scipy.sparse.issparse(A):
        A = as_csr(name, A)
        if not np.isfinite(A.data).all():
            k = int(np.argmin(np.isfinite(A.data)))
            row = int(np.searchsorted(A.indptr, k, side="right")) - 1
            raise ValueError(f"{name}: expected finite numbers, got {A.data[k]} at [{row}, {A.indices[k]}]")


def asymmetry(multiply: Callable[[Array], Array], x: Array, Ax: Array) -> float:
    """|x.A v - v.A x| / (|x| |A v|) for a random v: 0 up to rounding if A is symmetric, and not if not."""
    rng = np.random.default_rng(0)
    v = rng.random(len(x), x.dtype) - x.dtype.type(0.5)
    if not x.any():
        x = rng.random(len(x), x.dtype) - x.dtype.type(0.5)
        Ax = multiply(x)
    Av = multiply(v)
    with np.errstate(all="ignore"):  # NaN, if these overflow, is less than any threshold
        return float(abs(x @ Av - v @ Ax) / (np.linalg.norm(x) * np.linalg.norm(Av) or 1.0))
