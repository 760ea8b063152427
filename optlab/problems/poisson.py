"""Poisson's equation in two dimensions: a matrix known through and through."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _validation
from .._kernels import matrix as kernels


def poisson_2d(m: int, n: int | None = None, *, form: str = "csr", dtype: DTypeLike = np.float64) -> Any:
    r"""The five-point matrix of Poisson's equation on an m x n grid with zero boundary.

    .. math::

        (A u)_{ij} &= 4 u_{ij} - u_{i-1,j} - u_{i+1,j} - u_{i,j-1} - u_{i,j+1}, \\
        u &= 0 \text{ outside the grid}

    It is symmetric and positive definite. With the unknowns in rows, its eigenvalues are
    :math:`4 - 2\cos\frac{\pi p}{m+1} - 2\cos\frac{\pi q}{n+1}` for p = 1..m, q = 1..n.

    Parameters
    ----------
    m, n : int
        Inner points of the grid, rows and columns; n defaults to m.
    form : {"csr", "dia", "operator"}
        A sparse array, or a compiled LinearOperator that stores no matrix.
    dtype : float32 or float64

    Returns
    -------
    csr_array, dia_array or LinearOperator, shape (m n, m n)

    Raises
    ------
    ValueError
        Sizes below 1, another form or dtype.
    TypeError
        Sizes that are not integers.

    Examples
    --------
    >>> import optlab
    >>> optlab.problems.poisson_2d(2).toarray()
    array([[ 4., -1., -1.,  0.],
           [-1.,  4.,  0., -1.],
           [-1.,  0.,  4., -1.],
           [ 0., -1., -1.,  4.]])
    """
    import scipy.sparse  # only who wants a matrix pays for it

    from .._operators import CompiledOperator

    m = _validation.count("m", m, minimum=1)
    n = m if n is None else _validation.count("n", n, minimum=1)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype}")
    if form == "operator":
        return CompiledOperator(m * n, dtype, partial(_poisson_kernel, m, n))
    if form not in ("csr", "dia"):
        raise ValueError(f'form: expected "csr", "dia" or "operator", got {form!r}')
    size = m * n
    sideways = np.full(size, -1, dtype)
    sideways[n - 1 :: n] = 0  # the last point of a row and the first of the next are no neighbors
    offsets = [-n, -1, 0, 1, n] if n > 1 else [-1, 0, 1]
    diagonals = [
        np.full(size, -1, dtype),
        sideways,
        np.full(size, 4, dtype),
        np.roll(sideways, 1),
        np.full(size, -1, dtype),
    ]
    if n == 1:  # a single column: the neighbors are above and below alone
        diagonals = [diagonals[0], diagonals[2], diagonals[4]]
    A = scipy.sparse.dia_array((np.array(diagonals), offsets), shape=(size, size))
    if form == "dia":
        return A
    A = A.tocsr()
    A.eliminate_zeros()
    return A


def _poisson_kernel(m: int, n: int, dtype: np.dtype[Any]) -> kernels.Operator:
    return kernels.Poisson(np.empty(0, dtype), m, n)
