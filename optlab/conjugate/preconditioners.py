"""Preconditioners for `cg`: cheap approximations of the inverse of A."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from .. import _operators, _validation
from .._kernels import matrix as kernels
from .._operators import CompiledOperator

Array = NDArray[Any]


def jacobi(A: Any) -> CompiledOperator:
    r"""The inverse of the diagonal of A: :math:`M = \operatorname{diag}(a_{11}, \dots, a_{nn})^{-1}`.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        With a positive diagonal.

    Returns
    -------
    LinearOperator, shape (n, n)
        For the argument `M` of `cg`, which applies it without the interpreter; ``M @ r`` works as well.

    Raises
    ------
    ValueError
        If a diagonal entry is not a positive number, or the matrix is not square.
    TypeError
        If `A` has no entries to look at (an operator), or complex ones.

    References
    ----------
    Saad, "Iterative methods for sparse linear systems" (2003), section 10.2.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> optlab.jacobi(np.array([[4.0, 1.0], [1.0, 2.0]])) @ np.ones(2)
    array([0.25, 0.5 ])
    """
    A = _entries(A)
    diagonal = np.asarray(A.diagonal(), dtype=np.float64)
    _require_positive(diagonal)
    inverse = 1.0 / diagonal
    return CompiledOperator(len(inverse), np.float64, partial(_diagonal_kernel, inverse))


def incomplete_cholesky(A: Any) -> CompiledOperator:
    r"""The inverse of an incomplete Cholesky factorization without fill: :math:`M = (L L^T)^{-1}`.

    L is lower triangular with the zeros of A, and :math:`(L L^T)_{ij} = a_{ij}` wherever :math:`a_{ij}` is
    stored:

    .. math::

        l_{ij} &= \Bigl(a_{ij} - \sum_{k<j} l_{ik} l_{jk}\Bigr) / l_{jj} \quad (j < i), \\
        l_{ii} &= \Bigl(a_{ii} - \sum_{k<i} l_{ik}^2\Bigr)^{1/2}.

    Where the number under a root is not positive the factorization starts again with
    :math:`A + \alpha \operatorname{diag}(A)`, :math:`\alpha = 10^{-3}, 2 \cdot 10^{-3}, 4 \cdot 10^{-3},
    \dots`

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        Symmetric with a positive diagonal; only its lower triangle is read.

    Returns
    -------
    LinearOperator, shape (n, n)
        For the argument `M` of `cg`. Its attributes `factor` and `shift` are L (CSR) and :math:`\alpha` (0 if
        the first attempt succeeded).

    Raises
    ------
    ValueError
        If a diagonal entry is not a positive number, an entry is not finite, or the matrix is not square.
    TypeError
        If `A` has no entries to look at (an operator), or complex ones.

    References
    ----------
    Meijerink and van der Vorst, "An iterative solution method for linear systems of which the coefficient
    matrix is a symmetric M-matrix", Math. Comp. 31 (1977), method ICCG(0); the shift is Manteuffel's, Math.
    Comp. 34 (1980), section 3.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> A = optlab.problems.poisson_2d(30)
    >>> b = np.ones(900)
    >>> optlab.cg(A, b).nit > 2 * optlab.cg(A, b, M=optlab.incomplete_cholesky(A)).nit
    True
    """
    A = _entries(A)
    _operators.require_finite("A", A)
    _require_positive(np.asarray(A.diagonal(), dtype=np.float64))
    lower = scipy.sparse.csr_array(scipy.sparse.tril(scipy.sparse.csr_array(A)), dtype=np.float64)
    lower.sum_duplicates()  # and sorts
    last = lower.indptr[1:] - 1  # the diagonal ends each row
    indptr, indices = lower.indptr.astype(np.int32), lower.indices.astype(np.int32)
    shift = 0.0
    while True:
        values = lower.data.copy()
        values[last] *= 1.0 + shift
        if kernels.incomplete_cholesky(indptr, indices, values) < 0:
            break
        shift = 2.0 * shift or 1e-3
    return CompiledOperator(
        len(last),
        np.float64,
        partial(_cholesky_kernel, values, indices, indptr),
        factor=scipy.sparse.csr_array((values, indices, indptr), shape=lower.shape),
        shift=shift,
    )


def _diagonal_kernel(inverse: Array, dtype: np.dtype[Any]) -> kernels.Operator:
    return kernels.Diagonal(inverse.astype(dtype))


def _cholesky_kernel(values: Array, indices: Array, indptr: Array, dtype: np.dtype[Any]) -> kernels.Operator:
    return kernels.Cholesky(values.astype(dtype), indices, indptr)


def _entries(A: Any) -> Any:
    """A square matrix whose entries can be read: an array, or CSR."""
    if not scipy.sparse.issparse(A) and (hasattr(A, "matvec") or callable(A)):
        raise TypeError(
            f"A: expected an array or a sparse matrix, got {type(A).__name__}, which has no entries"
        )
    A = _operators.as_square("A", A)
    if not scipy.sparse.issparse(A):
        return A
    return _operators.as_csr("A", A if A.dtype.isnative else A.astype(A.dtype.newbyteorder("=")))


def _require_positive(diagonal: Any) -> None:
    _validation.finite("A", diagonal)
    if not (diagonal > 0).all():
        k = int(np.argmin(diagonal > 0))
        raise ValueError(f"A: expected a positive diagonal, got {diagonal[k]} at [{k}, {k}]")
