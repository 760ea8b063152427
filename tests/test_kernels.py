"""Every product and preconditioner is the one of the equation."""

import numpy as np
import pytest
import reference
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import optlab
from optlab._kernels import cg as cg_kernels
from optlab._kernels import matrix

SIZES = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 100, 1023, 1024, 1025]
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def banded(n, rng):
    """Symmetric, positive definite, and with a zero here and there."""
    A = np.zeros((n, n))
    for offset in (1, 2, 5, 30):
        if offset < n:
            A += np.diag(rng.uniform(-1, 1, n - offset) * (rng.random(n - offset) < 0.8), -offset)
    A += A.T
    return A + np.diag(np.abs(A).sum(1) + 1)


def dense(A, x):
    return matrix.Dense(A), A.astype(float) @ x


def csr(A, x):
    S = scipy.sparse.csr_array(A)
    operator = matrix.CSR(S.data, S.indices.astype(np.int32), S.indptr.astype(np.int32))
    return operator, reference.csr_product(S.data.astype(float), S.indices, S.indptr, x)


def dia(A, x):
    S = scipy.sparse.dia_array(A)
    operator = matrix.DIA(np.ascontiguousarray(S.data), S.offsets.astype(np.int32), len(A))
    return operator, reference.dia_product(S.data.astype(float), S.offsets, x)


def dia_short(A, x):
    """A diagonal may end early; what is not stored is zero."""
    n = len(A)
    data = np.stack([A.diagonal(), np.ones(n, A.dtype), np.ones(n, A.dtype)])[:, : max(1, n - 3)].copy()
    offsets = np.array([0, 2, -2], np.int32)
    return matrix.DIA(data, offsets, n), reference.dia_product(data.astype(float), offsets, x)


def poisson_row(A, x):
    return matrix.Poisson(A, 1, len(A)), reference.poisson_product(x[None]).ravel()


def poisson_column(A, x):
    return matrix.Poisson(A, len(A), 1), reference.poisson_product(x[:, None]).ravel()


def diagonal(A, x):
    return matrix.Diagonal(A.diagonal().copy()), A.diagonal() * x


def cholesky(A, x):
    """(L L^T)^-1 x."""
    L = np.tril(A)
    S = scipy.sparse.csr_array(L)
    operator = matrix.Cholesky(S.data, S.indices.astype(np.int32), S.indptr.astype(np.int32))
    L = L.astype(float)
    return operator, np.linalg.solve(L.T, np.linalg.solve(L, x))


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "kind",
    [dense, csr, dia, dia_short, poisson_row, poisson_column, diagonal, cholesky],
    ids=lambda f: f.__name__,
)
def test_product(kind, n, dtype):
    rng = np.random.default_rng(n)
    A = banded(n, rng).astype(dtype)
    x = rng.standard_normal(n).astype(dtype)
    operator, expected = kind(A, x.astype(float))
    y = operator(x)
    assert y.dtype == dtype
    scale = np.abs(A).sum(1).max() * np.abs(x).max() if kind is not cholesky else np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=50 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "form", [np.asarray, scipy.sparse.csr_array, scipy.sparse.dia_array], ids=["dense", "csr", "dia"]
)
def test_first_step_multiplies_by_the_symmetric_matrix(form, n, dtype):
    """The loop has products of its own, which read half of the matrix: one step of cg shows A d."""
    rng = np.random.default_rng(n)
    A = banded(n, rng).astype(dtype)
    b = rng.standard_normal(n).astype(dtype)
    run = optlab.cg(form(A), b, rtol=0.0, maxiter=1, history=True)
    expected = reference.cg(A.astype(float), b.astype(float), np.zeros(n), np.eye(n), 1)
    np.testing.assert_allclose(
        run.history.x[:2], expected, rtol=0, atol=200 * np.finfo(dtype).eps * np.abs(expected[1]).max()
    )


@given(rows=st.integers(1, 9), columns=st.integers(1, 70), seed=st.integers(0, 99), single=st.booleans())
@settings(deadline=None, max_examples=60)
def test_poisson_forms_agree(rows, columns, seed, single):
    dtype = SINGLE if single else DOUBLE
    u = np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)
    expected = reference.poisson_product(u.astype(float)).ravel()
    for form in ("csr", "dia", "operator"):
        A = optlab.problems.poisson_2d(rows, columns, form=form, dtype=dtype)
        y = A @ u.ravel()
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=0, atol=40 * np.finfo(dtype).eps)


@given(n=st.integers(1, 40), offset=st.integers(-45, 45), width=st.integers(1, 45), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=100)
def test_dia_reads_nothing_outside(n, offset, width, seed):
    data = np.random.default_rng(seed).standard_normal((1, min(width, n)))
    x = np.random.default_rng(seed + 1).standard_normal(n)
    y = matrix.DIA(data, np.array([offset], np.int32), n)(x)
    np.testing.assert_allclose(y, reference.dia_product(data, [offset], x), rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 33, 100])
def test_incomplete_cholesky_is_that_of_the_equation(n):
    A = banded(n, np.random.default_rng(n))
    M = optlab.incomplete_cholesky(scipy.sparse.csr_array(A))
    L = reference.incomplete_cholesky(A)
    assert M.shift == 0
    np.testing.assert_allclose(M.factor.toarray(), L, rtol=0, atol=1e-13 * np.abs(L).max())
    x = np.random.default_rng(0).standard_normal(n)
    np.testing.assert_allclose(L @ (L.T @ (M @ x)), x, rtol=0, atol=1e-12)


def test_incomplete_cholesky_of_a_full_matrix_is_cholesky():
    B = np.random.default_rng(1).standard_normal((12, 12))
    A = B @ B.T + np.eye(12)
    np.testing.assert_allclose(
        optlab.incomplete_cholesky(A).factor.toarray(), np.linalg.cholesky(A), rtol=1e-10, atol=1e-12
    )


def test_incomplete_cholesky_shifts_where_the_factorization_breaks_down():
    # Kershaw's matrix: positive definite, but its incomplete factorization meets a negative pivot.
    A = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    assert np.linalg.eigvalsh(A).min() > 0
    M = optlab.incomplete_cholesky(A)
    assert M.shift > 0
    L = reference.incomplete_cholesky(A + M.shift * np.diag(np.diag(A)))
    np.testing.assert_allclose(M.factor.toarray(), L, atol=1e-13)
    assert optlab.cg(A, np.ones(4), M=M).success


@pytest.mark.parametrize("make", [optlab.jacobi, optlab.incomplete_cholesky])
def test_preconditioner_is_symmetric_and_positive(make):
    n = 40
    A = banded(n, np.random.default_rng(4))
    M = make(A)
    dense_M = M @ np.eye(n)
    np.testing.assert_allclose(dense_M, dense_M.T, atol=1e-14)
    assert np.linalg.eigvalsh(dense_M).min() > 0
    x = np.ones(n, SINGLE)
    assert (M @ x).dtype == SINGLE
    np.testing.assert_allclose(M @ x, dense_M @ x, rtol=1e-5)


@pytest.mark.parametrize("make", [optlab.jacobi, optlab.incomplete_cholesky])
@pytest.mark.parametrize(
    ("A", "error"),
    [
        ([[1.0, 2.0]], ValueError),
        ([[1.0, 0.0], [0.0, 0.0]], ValueError),
        ([[1.0, 0.0], [0.0, -1.0]], ValueError),
        ([[np.nan, 0.0], [0.0, 1.0]], ValueError),
        ([[1j, 0.0], [0.0, 1.0]], TypeError),
        (lambda x: x, TypeError),
        (scipy.sparse.linalg.aslinearoperator(np.eye(2)), TypeError),
        (np.ma.masked_array(np.eye(2), np.eye(2) == 1), TypeError),
    ],
)
def test_preconditioner_refuses(make, A, error):
    with pytest.raises(error, match=r"^A: "):
        make(A)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
def test_squared_norm_is_accumulated_in_double(dtype):
    x = np.full(10**6, 0.1, dtype)
    assert cg_kernels.squared_norm(x) == pytest.approx(1e6 * float(x[0]) ** 2, rel=1e-9)


def test_csr_validity():
    def valid(indptr, indices, entries=3, n=2):
        return matrix.csr_is_valid(np.array(indptr, np.int32), np.array(indices, np.int32), entries, n)

    assert valid([0, 2, 3], [0, 1, 1])
    assert valid([0, 0, 3], [1, 0, 1])  # neither sorted nor unique, but inside
    assert not valid([1, 2, 3], [0, 1, 1])
    assert not valid([0, 2, 4], [0, 1, 1])
    assert not valid([0, 2, 4], [0, 1, 1], entries=4)
    assert not valid([0, 3, 2], [0, 1, 1])
    assert not valid([0, 2, 3], [0, 2, 1])
    assert not valid([0, 2, 3], [0, -1, 1])
