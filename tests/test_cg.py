"""Linear conjugate gradients: the algorithm of the book, an honest verdict on any input, nothing changed."""

import copy
import math
import pickle
import threading

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import optlab

EPS32 = float(np.finfo(np.float32).eps)


def spd(n, kappa=10.0, seed=0):
    """Symmetric positive definite with eigenvalues from 1 to kappa."""
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    A = (Q * np.geomspace(1, kappa, n)) @ Q.T
    return (A + A.T) / 2


class Matvec:
    """The least that is an operator."""

    def __init__(self, A):
        self.A = A
        self.shape = A.shape

    def matvec(self, x):
        return self.A @ x


def unaligned(A):
    """A copy of A that starts at an odd address."""
    copied = np.zeros(A.nbytes + 1, np.uint8)[1:].view(A.dtype).reshape(A.shape)
    copied[...] = A
    assert not copied.flags.aligned
    return copied


FORMS = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "unaligned": unaligned,
    "strided": lambda A: np.repeat(np.repeat(A, 2, 0), 2, 1)[::2, ::2],
    "negative strides": lambda A: A[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": lambda A: A.astype(A.dtype.newbyteorder(">")),
    "list": lambda A: A.tolist(),
    "csr": sp.csr_array,
    "csr matrix": sp.csr_matrix,
    "csc": sp.csc_array,
    "coo": sp.coo_array,
    "bsr": sp.bsr_array,
    "dia": sp.dia_array,
    "lil": sp.lil_array,
    "dok": sp.dok_array,
    "LinearOperator": aslinearoperator,
    "matvec": Matvec,
    "callable": lambda A: lambda x: A @ x,
}


def true_residual(A, b, x):
    """|b - A x| in the longest floats there are."""
    A, b, x = (np.asarray(v, np.longdouble) for v in (A, b, x))
    return float(np.sqrt(np.sum((b - A @ x) ** 2)))


def check_honest(run, A, b, x0=None, rtol=1e-5, atol=0.0):
    """Success means the tolerance is met; failure returns a point no worse than the start."""
    A, b = np.asarray(A, float), np.asarray(b, float)
    x0 = np.zeros(len(b)) if x0 is None else np.asarray(x0, float)
    residual = true_residual(A, b, run.x)
    # What rounding b - A x in the precision of the run may hide.
    rounding = 4 * np.finfo(run.x.dtype).eps * np.linalg.norm(np.abs(A) @ np.abs(run.x) + np.abs(b))
    assert run.success == (run.status == 0)
    if run.success:
        assert residual <= max(rtol * np.linalg.norm(b), atol) + rounding
    else:
        assert residual <= true_residual(A, b, x0) * (1 + 1e-12) + rounding
        assert run.message.startswith("Not converged")
    assert run.residual_norm == pytest.approx(residual, rel=1e-6, abs=2 * rounding)


# The algorithm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 17, 40])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_points_are_those_of_the_book(n, preconditioned):
    rng = np.random.default_rng(n)
    A, b, x0 = spd(n, 50.0, n), rng.standard_normal(n), rng.standard_normal(n)
    M = reference.jacobi(A) if preconditioned else np.eye(n)
    # Later than this rounding errors lead them apart.
    run = optlab.cg(A, b, x0, rtol=1e-6, maxiter=8, M=M if preconditioned else None, history=True)
    expected = reference.cg(A, b, x0, M, run.nit)
    np.testing.assert_allclose(run.history.x, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(run.history.fun, [x @ A @ x / 2 - b @ x for x in expected], rtol=1e-9)
    np.testing.assert_allclose(
        run.history.grad_norm, [np.linalg.norm(b - A @ x) for x in expected], rtol=1e-6, atol=1e-9
    )


@given(n=st.integers(1, 30), distinct=st.integers(1, 4), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=50)
def test_steps_are_at_most_the_number_of_distinct_eigenvalues(n, distinct, seed):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (Q * (1.0 + rng.integers(0, distinct, n))) @ Q.T
    run = optlab.cg((A + A.T) / 2, rng.standard_normal(n), rtol=1e-8)
    assert run.success
    assert run.nit <= distinct


def test_history_rows_fit_together():
    A, b = spd(20, 100.0), np.ones(20)
    seen = []
    run = optlab.cg(A, b, callback=seen.append, history=True)
    h = run.history
    assert len(h) == len(h.fun) == len(h.grad_norm) == len(h.step) == len(h.nfev) == len(h.x) == run.nit + 1
    assert not h.x[0].any()
    assert h.step[0] == 0
    assert (h.step[1:] > 0).all()
    assert (np.diff(h.fun) <= 0).all()
    assert (np.diff(h.nfev) >= 1).all()
    assert h.nfev.dtype.kind == "i"
    np.testing.assert_array_equal(h.x[1:], seen)
    np.testing.assert_array_equal(h.x[-1], run.x)
    assert not np.shares_memory(h.x, run.x)
    assert run.fun == pytest.approx(run.x @ A @ run.x / 2 - b @ run.x)
    assert optlab.cg(A, b).history.x is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_every_form_of_matrix(form, dtype):
    A = spd(12, 20.0).astype(dtype)
    A = np.triu(A) + np.triu(A, 1).T
    b = np.linspace(1, 2, 12, dtype=dtype)
    run = optlab.cg(FORMS[form](A), b)
    assert run.success, run.message
    check_honest(run, A, b)
    knows_its_dtype = form not in ("list", "matvec", "callable")
    assert run.x.dtype == (dtype if knows_its_dtype else np.float64)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_preconditioner(form):
    A, b = np.diag(np.geomspace(1, 1e4, 30)), np.ones(30)
    run = optlab.cg(A, b, M=FORMS[form](np.diag(1 / np.diag(A))))
    assert run.success
    assert run.nit <= 2
    check_honest(run, A, b)


@pytest.mark.parametrize(
    "operator", [lambda A: lambda x: A @ x, aslinearoperator], ids=["callable", "LinearOperator"]
)
def test_operator_and_matrix_take_the_same_path(operator):
    A, b = spd(30, 1e3), np.ones(30)
    inside, outside = optlab.cg(A, b), optlab.cg(operator(A), b)
    assert inside.nit == outside.nit
    np.testing.assert_allclose(inside.x, outside.x, rtol=1e-5, atol=1e-6)


# Kinds of numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [bool, np.int8, np.uint8, np.int64, np.float16, np.float32, ">f4", ">f8", ">i4", np.longdouble],
    ids=str,
)
def test_every_real_dtype(dtype):
    A, b = np.eye(3).astype(dtype), np.array([1, 0, 1]).astype(dtype)
    run = optlab.cg(A, b, b)
    assert run.success
    assert run.x.dtype == (
        np.float32 if str(np.dtype(dtype)) in ("float16", "float32", ">f4") else np.float64
    )
    np.testing.assert_array_equal(run.x, [1, 0, 1])


def test_integers_do_not_overflow():
    A = np.array([[100, 27], [27, 100]], np.int8)
    run = optlab.cg(A, np.array([127, 127], np.int8), rtol=1e-12)
    assert run.success
    np.testing.assert_allclose(run.x, [1, 1])


def test_precision_of_mixed_input_is_double():
    A, b = np.eye(2, dtype=np.float32), np.ones(2, np.float32)
    assert optlab.cg(A, b).x.dtype == np.float32
    assert optlab.cg(A, b, np.zeros(2, np.float32)).x.dtype == np.float32
    assert optlab.cg(A, b.astype(float)).x.dtype == np.float64
    assert optlab.cg(A.astype(float), b).x.dtype == np.float64
    assert optlab.cg(A, b, np.zeros(2)).x.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.complex64, complex, object, str, "M8[s]", "S3"], ids=str)
@pytest.mark.parametrize("name", ["A", "b", "x0", "M"])
def test_what_is_not_a_real_number_is_refused(name, dtype):
    arguments = {"A": np.eye(2), "b": np.ones(2), "x0": np.ones(2), "M": np.eye(2)}
    arguments[name] = np.ones_like(arguments[name], dtype=int).astype(dtype)
    with pytest.raises(TypeError, match=rf"^{name}: "):
        optlab.cg(**arguments)


@pytest.mark.parametrize("name", ["A", "b", "x0", "M"])
def test_masked_arrays_are_refused(name):
    arguments = {"A": np.eye(2), "b": np.ones(2), "x0": np.ones(2), "M": np.eye(2)}
    arguments[name] = np.ma.masked_array(arguments[name], arguments[name] > 2)
    with pytest.raises(TypeError, match=rf"^{name}: .*mask"):
        optlab.cg(**arguments)


def test_complex_operators_and_sparse_matrices_are_refused():
    for A in (sp.csr_array(1j * np.eye(2)), aslinearoperator(1j * np.eye(2))):
        with pytest.raises(TypeError, match=r"^A: "):
            optlab.cg(A, np.ones(2))


# Shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("A", "b", "x0", "M", "name"),
    [
        (np.ones((2, 3)), np.ones(2), None, None, "A"),
        (np.ones((3, 2)), np.ones(2), None, None, "A"),
        (sp.csr_array(np.ones((2, 3))), np.ones(2), None, None, "A"),
        (sp.dia_array(np.ones((2, 3))), np.ones(3), None, None, "A"),
        (LinearOperator((2, 3), lambda x: x, dtype=float), np.ones(3), None, None, "A"),
        (np.eye(3), np.ones(2), None, None, "A"),
        (sp.eye_array(3), np.ones(2), None, None, "A"),
        (np.float64(2.0), np.ones(1), None, None, "A"),
        (np.ones(2), np.ones(2), None, None, "A"),
        (np.ones((2, 2, 2)), np.ones(2), None, None, "A"),
        ([[1, 2], [3]], np.ones(2), None, None, "A"),
        (np.zeros((0, 0)), np.zeros(0), None, None, "b"),
        (lambda x: x, np.zeros(0), None, None, "b"),
        (np.eye(2), 1.0, None, None, "b"),
        (np.eye(2), np.ones((2, 1)), None, None, "b"),
        (np.eye(2), [[1.0, 2.0], [3.0]], None, None, "b"),
        (np.eye(2), np.ones(2), np.ones(3), None, "x0"),
        (np.eye(2), np.ones(2), np.ones((2, 1)), None, "x0"),
        (np.eye(2), np.ones(2), 0.0, None, "x0"),
        (np.eye(2), np.ones(2), None, np.eye(3), "M"),
        (np.eye(2), np.ones(2), None, np.ones((2, 3)), "M"),
        (np.eye(2), np.ones(2), None, optlab.jacobi(np.eye(3)), "M"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(A, b, x0, M, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        optlab.cg(A, b, x0, M=M)


@pytest.mark.parametrize("A", [None, "matrix", 3, {}, object()])
def test_what_is_no_matrix_is_refused(A):
    with pytest.raises((TypeError, ValueError), match=r"^A: expected"):
        optlab.cg(A, np.ones(2))


# Entries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["dense", "csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("where", [(0, 0), (0, 3), (3, 0)])
def test_a_matrix_that_is_not_finite_is_refused(form, where, bad):
    A = spd(5, seed=3)
    A[where] = bad
    for b in (np.ones(5), np.zeros(5)):
        with pytest.raises(ValueError, match=r"^A: expected finite"):
            optlab.cg(FORMS[form](A), b)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["b", "x0", "M"])
def test_vectors_and_preconditioners_that_are_not_finite_are_refused(name, bad):
    arguments = {"A": spd(4), "b": np.ones(4), "x0": np.ones(4), "M": np.eye(4)}
    arguments[name].flat[0] = bad
    with pytest.raises(ValueError, match=rf"^{name}: expected finite"):
        optlab.cg(**arguments)


def csr(indptr, indices, n=3, data=None):
    """A CSR array that SciPy has not checked."""
    A = sp.csr_array((n, n))
    A.indptr, A.indices = np.asarray(indptr), np.asarray(indices)
    A.data = np.ones(len(A.indices)) if data is None else np.asarray(data)
    return A


INT = [np.int32, np.int64]


@pytest.mark.parametrize("dtype", INT)
@pytest.mark.parametrize(
    ("indptr", "indices"),
    [
        ([0, 1, 2, 3], [0, 1, 3]),
        ([0, 1, 2, 3], [0, 1, 10**9]),
        ([0, 1, 2, 3], [0, -1, 2]),
        ([0, 1, 2, 4], [0, 1, 2]),
        ([0, 1, 2, 10**9], [0, 1, 2]),
        ([0, 2, 1, 3], [0, 1, 2]),
        ([0, -1, 2, 3], [0, 1, 2]),
        ([1, 1, 2, 3], [0, 1, 2]),
        ([-1, 1, 2, 3], [0, 1, 2]),
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 2, 3, 3], [0, 1, 2]),
        ([0], [0, 1, 2]),
    ],
)
def test_csr_that_points_outside_is_refused(indptr, indices, dtype):
    A = csr(np.array(indptr, dtype), np.array(indices, dtype))
    with pytest.raises(ValueError, match=r"^A: expected"):
        optlab.cg(A, np.ones(3))
    with pytest.raises(ValueError, match=r"^M: expected"):
        optlab.cg(np.eye(3), np.ones(3), M=A)
    for make in (optlab.jacobi, optlab.incomplete_cholesky):
        with pytest.raises(ValueError, match=r"^A: expected"):
            make(A)


def test_long_indices_are_looked_at_before_they_are_shortened():
    with pytest.raises(ValueError, match=r"^A: expected"):
        optlab.cg(csr(np.arange(4), np.array([0, 1, 2**32 + 2])), np.ones(3))


def test_sparse_arrays_of_the_wrong_dimension_are_refused():
    A = csr(np.arange(4, dtype=np.int32), np.arange(3, dtype=np.int32), data=np.ones((3, 1)))
    B = csr(np.arange(4, dtype=np.int32).reshape(2, 2), np.arange(3, dtype=np.int32))
    C = sp.dia_array(np.eye(3))
    C.data = np.ones(3)
    for matrix in (A, B, C):
        with pytest.raises(ValueError, match=r"^A: expected"):
            optlab.cg(matrix, np.ones(3))


def test_csr_with_less_data_than_indices_is_refused():
    A = csr(np.arange(4, dtype=np.int32), np.arange(3, dtype=np.int32), data=np.ones(2))
    with pytest.raises(ValueError, match=r"^A: expected"):
        optlab.cg(A, np.ones(3))


@pytest.mark.parametrize("dtype", INT)
def test_csr_may_be_unsorted_repeat_entries_and_hold_spare_room(dtype):
    indptr, indices = np.array([0, 3, 5, 6], dtype), np.array([1, 0, 0, 0, 1, 2, 0, 0], dtype)
    A = csr(indptr, indices, data=[1.0, 2.0, 2.0, 1.0, 3.0, 1.0, np.nan, 7.0])
    dense = [[4.0, 1, 0], [1, 3, 0], [0, 0, 1]]
    run = optlab.cg(A, np.ones(3))
    assert run.success
    check_honest(run, dense, np.ones(3))
    assert len(A.data) == len(A.indices) == 8
    for make in (optlab.jacobi, optlab.incomplete_cholesky):
        assert optlab.cg(A, np.ones(3), M=make(A)).success


@pytest.mark.parametrize("form", [sp.csc_array, sp.coo_array, sp.bsr_array, sp.dia_array])
def test_other_sparse_formats_that_point_outside_are_refused(form):
    A = form(np.eye(4))
    if form is sp.coo_array:
        A.row[1] = 10**6
    elif form is sp.dia_array:
        A.offsets = np.array([0, 1], np.int32)
    else:
        A.indices[1] = 10**6
    with pytest.raises(ValueError, match=r"^A: expected"):
        optlab.cg(A, np.ones(4))


# Numbers that steer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [-1.0, np.nan, -np.inf])
def test_tolerances_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        optlab.cg(np.eye(2), np.ones(2), **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("rtol", "tight"), ("atol", None), ("rtol", 1j), ("maxiter", 2.5), ("maxiter", "5"), ("callback", 3)],
)
def test_arguments_of_the_wrong_type_are_refused(name, value):
    with pytest.raises(TypeError, match=rf"^{name}: expected"):
        optlab.cg(np.eye(2), np.ones(2), **{name: value})


def test_negative_maxiter_is_refused():
    with pytest.raises(ValueError, match=r"^maxiter: expected"):
        optlab.cg(np.eye(2), np.ones(2), maxiter=-1)


def test_misspelled_options_are_refused():
    with pytest.raises(TypeError, match="tolerance"):
        optlab.cg(np.eye(2), np.ones(2), tolerance=1e-3)


@pytest.mark.parametrize("form", ["dense", "csr", "callable"])
def test_zero_tolerance_never_claims_success_without_a_zero_residual(form):
    A, b = spd(20, 1e3), np.ones(20)
    run = optlab.cg(FORMS[form](A), b, rtol=0.0)
    check_honest(run, A, b, rtol=0.0)
    assert run.success == (run.residual_norm == 0)
    assert run.residual_norm < 1e-11
    exact = optlab.cg(FORMS[form](2 * np.eye(3)), np.ones(3), rtol=0.0)
    assert exact.success
    assert exact.residual_norm == 0


def test_infinite_tolerance_is_met_at_once():
    for b in (np.ones(2), np.zeros(2)):
        run = optlab.cg(np.eye(2), b, rtol=np.inf)
        assert run.success
        assert run.nit == 0


@pytest.mark.parametrize("form", ["dense", "csr", "callable"])
def test_no_iterations(form):
    A, b, x0 = spd(3), np.ones(3), np.full(3, 0.5)
    run = optlab.cg(FORMS[form](A), b, x0, maxiter=0)
    assert (run.status, run.nit, len(run.history)) == (1, 0, 1)
    np.testing.assert_array_equal(run.x, x0)
    assert run.x is not x0
    check_honest(run, A, b, x0)
    solved = optlab.cg(FORMS[form](A), A @ x0, x0, maxiter=0)
    assert solved.success


@pytest.mark.parametrize("maxiter", [1, 2, 5, 9])
def test_maxiter_is_obeyed(maxiter):
    A, b = spd(50, 1e6), np.random.default_rng(0).standard_normal(50)
    run = optlab.cg(A, b, maxiter=maxiter)
    assert (run.status, run.nit) == (1, maxiter)
    check_honest(run, A, b)
    # Where it stopped f is lowest; the residual may be lower elsewhere.
    last = optlab.cg(A, b, maxiter=maxiter, history=True).history.x[-1]
    np.testing.assert_allclose(run.x_last, last, rtol=1e-12)
    assert last @ A @ last / 2 - b @ last <= run.fun


@pytest.mark.parametrize("form", ["dense", "csr", "callable"])
@pytest.mark.parametrize("x0", [None, [1.0, 2.0, 3.0]])
def test_zero_right_hand_side(form, x0):
    run = optlab.cg(FORMS[form](spd(3)), np.zeros(3), x0)
    assert run.success
    assert run.nit == 0
    assert not run.x.any()


def test_atol():
    A, b = spd(30, 1e4), np.ones(30)
    run = optlab.cg(A, b, rtol=0.0, atol=1e-3)
    assert run.success
    assert 1e-9 < run.residual_norm <= 1e-3


# Matrices that are not what they should be ------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dense", "csr", "dia", "callable", "matvec"])
@given(n=st.integers(1, 9), seed=st.integers(0, 9999), start=st.booleans(), kind=st.sampled_from("nsu"))
@settings(deadline=None, max_examples=60)
def test_verdict_is_honest_whatever_the_matrix(form, n, seed, start, kind):
    """n: any matrix; s: symmetric, of any signs; u: nearly symmetric and nearly positive definite."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    if kind == "s":
        A = A + A.T
    if kind == "u":
        A = spd(n, 1e3, seed) + 10.0 ** rng.integers(-12, 1) * A
    b = rng.standard_normal(n)
    x0 = rng.standard_normal(n) if start else None
    run = optlab.cg(FORMS[form](A), b, x0)
    check_honest(run, A, b, x0)


@pytest.mark.parametrize("form", ["dense", "csr", "dia", "callable"])
def test_asymmetry_is_named(form):
    A = spd(6)
    A[0, 3] += 3.0
    run = optlab.cg(FORMS[form](A), np.ones(6), rtol=1e-10)
    assert run.status == 3
    assert "not symmetric" in run.message
    check_honest(run, A, np.ones(6), rtol=1e-10)


@pytest.mark.parametrize("form", ["dense", "csr", "dia", "callable"])
@pytest.mark.parametrize("diagonal", [[1.0, -1.0, 2.0], [-1.0, -2.0, -3.0]])
def test_indefinite_is_named(form, diagonal):
    A, b = np.diag(diagonal), np.array([1.0, 2.0, 3.0])
    run = optlab.cg(FORMS[form](A), b)
    assert run.status == 2
    assert "not positive definite" in run.message
    check_honest(run, A, b)


@pytest.mark.parametrize("form", ["dense", "csr", "callable"])
def test_indefinite_preconditioner_is_named(form):
    A, b = spd(3), np.ones(3)
    run = optlab.cg(A, b, M=FORMS[form](-np.eye(3)))
    assert run.status == 2
    assert "M" in run.message
    check_honest(run, A, b)


@pytest.mark.parametrize("form", ["dense", "csr", "callable"])
def test_singular_matrix(form):
    """A graph Laplacian: b in its range is solved, another is not."""
    A = np.diag([1.0, 2, 2, 1]) - np.diag(np.ones(3), 1) - np.diag(np.ones(3), -1)
    consistent = optlab.cg(FORMS[form](A), [1.0, 0, 0, -1.0])
    assert consistent.success
    check_honest(consistent, A, [1.0, 0, 0, -1.0])
    inconsistent = optlab.cg(FORMS[form](A), np.array([1.0, 0, 0, 0]))
    assert not inconsistent.success
    check_honest(inconsistent, A, [1.0, 0, 0, 0])


def test_zero_matrix():
    for form in ("dense", "csr", "dia", "callable"):
        run = optlab.cg(FORMS[form](np.zeros((3, 3))), np.ones(3))
        assert run.status == 2
        check_honest(run, np.zeros((3, 3)), np.ones(3))


@pytest.mark.parametrize("kappa", [1e8, 1e12, 1e15])
def test_verdict_on_hard_systems_is_that_of_the_true_residual(kappa):
    A = spd(40, kappa)
    b = A @ np.ones(40)
    for rtol in (1e-5, 1e-10, 1e-15):
        check_honest(optlab.cg(A, b, rtol=rtol), A, b, rtol=rtol)


# Scales -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_b", [1e-300, 1e-150, 1e-100, 1e-11, 1.0, 1e11, 1e100, 1e150, 1e300, 1.7e308])
@pytest.mark.parametrize("size_A", [1e-300, 1e-150, 1.0, 1e150, 1e300])
def test_scales(size_A, size_b):
    A, b = spd(6, 4.0), np.array([1.0, -0.5, 0.3, 0.2, 0.1, 0.9])
    run = optlab.cg(A * size_A, b * size_b)
    power = math.log10(size_b) - math.log10(size_A)
    if -307 < power < 307:
        assert run.success, run.message
    if run.success:
        # x is in range, and exact arithmetic would make it this:
        with np.errstate(over="ignore", under="ignore"):
            x = run.x / size_b * size_A
        np.testing.assert_allclose(A @ x, b, rtol=0, atol=1.5e-5)
    else:
        assert not run.x.any()  # the start


def test_powers_of_two_change_nothing_but_the_scale():
    A, b = spd(10, 100.0), np.linspace(1, 2, 10)
    expected = optlab.cg(A, b, history=True)
    for power in (-900, -300, 40, 300, 900):
        run = optlab.cg(A, np.ldexp(b, power), history=True)
        np.testing.assert_array_equal(run.x, np.ldexp(expected.x, power))
        np.testing.assert_array_equal(run.history.x, np.ldexp(expected.history.x, power))
        np.testing.assert_array_equal(run.history.grad_norm, np.ldexp(expected.history.grad_norm, power))


def test_product_beyond_single_precision_is_not_finite():
    A = LinearOperator((2, 2), lambda x: 1e300 * x.astype(float), dtype=np.float32)
    run = optlab.cg(A, np.ones(2, np.float32))
    assert run.status == 4
    assert not run.x.any()


def test_single_precision_at_the_ends_of_its_range():
    for size in (1e-37, 1e-30, 1e30, 3e38):
        b = np.array([1.0, 0.5], np.float32) * np.float32(size)
        run = optlab.cg(2 * np.eye(2, dtype=np.float32), b)
        assert run.success
        np.testing.assert_allclose(run.x, b / 2, rtol=1e-5)


def test_a_solution_that_cannot_be_written_down_is_no_success():
    over = optlab.cg(1e-200 * np.eye(2), [1e200, 1e200])
    under = optlab.cg(1e200 * np.eye(2), [1e-200, 1.3e-200])
    for run in (over, under):
        assert not run.success
        assert not run.x.any()


def test_a_start_beyond_the_scale_of_b_is_refused_or_solved():
    with pytest.raises(ValueError, match=r"^x0: expected"):
        optlab.cg(np.eye(2), [1e-250, 1e-250], [1e100, 1e100])
    assert optlab.cg(np.eye(2), [1e-250, 1e-250], [1e-240, 0.0]).success


@pytest.mark.parametrize("n", [5, 50, 500])
def test_single_precision_is_honest(n):
    A = spd(n, 100.0).astype(np.float32)
    b = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    for rtol in (1e-3, 1e-5, 1e-6, 1e-8):
        run = optlab.cg(A, b, rtol=rtol)
        assert run.x.dtype == np.float32
        check_honest(run, A, b, rtol=rtol)
    assert optlab.cg(A, b, rtol=1e-4).success


# Operators that misbehave -----------------------------------------------------------------------------------


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, StopIteration, ValueError])
@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize("which", ["A", "M", "callback"])
def test_exceptions_reach_the_caller(which, call, error):
    A, b, x0 = spd(10, 1e3), np.ones(10), np.zeros(10)
    calls = 0

    def raising(x):
        nonlocal calls
        calls += 1
        if calls == call:
            raise error("stop")
        return {"A": A, "M": np.eye(10), "callback": A}[which] @ x

    arguments = {"A": A, which: raising}
    if which == "callback" and error is StopIteration:
        run = optlab.cg(b=b, x0=x0, **arguments)
        assert (run.status, run.nit, run.success) == (99, call, False)
        return
    with pytest.raises(error):
        optlab.cg(b=b, x0=x0, **arguments)
    assert not x0.any()
    assert (b == 1).all()


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (lambda y: y[:-1], ValueError),
        (lambda y: y[:, None], ValueError),
        (lambda y: y[None], ValueError),
        (lambda y: np.outer(y, y), ValueError),
        (lambda y: y.sum(), ValueError),
        (lambda y: np.zeros(0), ValueError),
        (lambda y: None, TypeError),
        (lambda y: "y", TypeError),
        (lambda y: y * 1j, TypeError),
        (lambda y: y.astype(object), TypeError),
    ],
)
@pytest.mark.parametrize("which", ["A", "M"])
@pytest.mark.parametrize("call", [1, 3])
def test_products_of_the_wrong_kind_are_refused(result, error, which, call):
    A = spd(10, 1e3)
    calls = 0

    def product(x):
        nonlocal calls
        calls += 1
        return result(A @ x) if calls == call else np.arange(1, 11) * x

    with pytest.raises(error, match=rf"^{which} @ x: expected"):
        optlab.cg(**({"A": A} | {which: product}), b=np.ones(10))


@pytest.mark.parametrize(
    "kind", ["list", "int", "float32", "strided", "big-endian", "buffer", "argument", "overwrites"]
)
@pytest.mark.parametrize("which", ["A", "M"])
def test_products_may_come_in_any_form(kind, which):
    A = np.diag([1.0, 2.0, 3.0, 4.0])
    matrix = A if which == "A" else np.eye(4)
    buffer = np.empty(4)

    def product(x):
        y = matrix @ x
        if kind == "list":
            return y.tolist()
        if kind == "int" and which == "M":
            return np.ones(4, int) * 3 if (x > 0).all() else y
        if kind == "float32":
            return y.astype(np.float32)
        if kind == "strided":
            return np.repeat(y, 2)[::2]
        if kind == "big-endian":
            return y.astype(">f8")
        if kind == "buffer":
            buffer[:] = y
            return buffer
        if kind == "argument":
            x[:] = y
            return x
        if kind == "overwrites":
            x[:] = np.nan
        return y

    b = np.array([1.0, 2.0, 3.0, 5.0])
    run = optlab.cg(**({"A": A} | {which: product}), b=b, rtol=1e-4)
    assert run.success, run.message
    assert true_residual(A, b, run.x) <= 1.01e-4 * np.linalg.norm(b)


def test_a_buffer_changed_between_calls_does_no_harm():
    """The operator and the callback share the buffer that was returned."""
    A, b, buffer = spd(8, 100.0), np.ones(8), np.empty(8)

    def product(x):
        np.matmul(A, x, out=buffer)
        return buffer

    def spoil(x):
        buffer[:] = np.nan
        x[:] = np.nan

    expected = optlab.cg(lambda x: A @ x, b)
    run = optlab.cg(product, b, callback=spoil)
    np.testing.assert_array_equal(run.x, expected.x)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("call", [1, 2, 4, 6])
@pytest.mark.parametrize("which", ["A", "M"])
@pytest.mark.parametrize("start", [None, np.ones(10)])
def test_products_that_are_not_finite_end_the_run(bad, call, which, start):
    A, b = spd(10, 1e3), np.ones(10)
    calls = 0

    def product(x):
        nonlocal calls
        calls += 1
        y = (A if which == "A" else np.eye(10)) @ x
        return np.where(np.arange(10) == 3, bad, y) if calls == call else y

    run = optlab.cg(**({"A": A} | {which: product}), b=b, x0=start, maxiter=8, rtol=1e-12)
    assert not run.success
    assert np.isfinite(run.x).all()
    check_point_is_no_worse(A, b, run.x, start)


def check_point_is_no_worse(A, b, x, x0):
    x0 = np.zeros(len(b)) if x0 is None else x0
    assert true_residual(A, b, x) <= true_residual(A, b, x0) * (1 + 1e-12)


def test_an_operator_that_is_not_linear_cannot_fake_success():
    rng = np.random.default_rng(0)
    A, b = spd(10, 10.0), np.ones(10)
    run = optlab.cg(lambda x: A @ x + 1e-3 * rng.standard_normal(10), b, rtol=1e-8)
    assert not run.success


# Callbacks and the caller's arrays --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dense", "csr", "callable"])
def test_callback_sees_each_point_once_and_owns_its_copy(form):
    A, b = spd(15, 100.0), np.ones(15)
    points = []

    def callback(x):
        points.append(x.copy())
        x[:] = np.nan

    run = optlab.cg(FORMS[form](A), b, callback=callback, history=True)
    assert run.success
    np.testing.assert_array_equal(points, run.history.x[1:])
    np.testing.assert_allclose(run.x, optlab.cg(FORMS[form](A), b).x, rtol=1e-13)


def test_stop_iteration_returns_the_point_of_the_callback():
    A, b = spd(15, 1e4), np.ones(15)
    points = []

    def callback(x):
        points.append(x)
        if len(points) == 3:
            raise StopIteration

    run = optlab.cg(A, b, callback=callback)
    assert (run.status, run.success, run.nit) == (99, False, 3)
    np.testing.assert_array_equal(run.x, points[-1])
    assert run.residual_norm == pytest.approx(true_residual(A, b, run.x))


@pytest.mark.parametrize(
    "form", ["dense", "fortran", "strided", "big-endian", "csr", "csc", "coo", "bsr", "dia"]
)
@pytest.mark.parametrize("outcome", ["solved", "scaled", "not finite", "indefinite", "refused"])
def test_arguments_are_never_changed(form, outcome):
    size = 1e200 if outcome == "scaled" else 1.0
    dense = spd(9) * (-1 if outcome == "indefinite" else 1)
    if outcome == "not finite":
        dense[4, 5] = dense[5, 4] = np.inf
    A, M = FORMS[form](dense), optlab.jacobi(spd(9))
    b, x0 = np.full(9, size), np.full(9, 0.5)
    arrays = [b, x0] + [
        v for v in ([A] if isinstance(A, np.ndarray) else vars(A).values()) if isinstance(v, np.ndarray)
    ]
    before = [a.tobytes() for a in arrays]
    shapes = [a.shape for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    arguments = {"rtol": -1.0} if outcome == "refused" else {}
    if outcome in ("not finite", "refused"):
        with pytest.raises(ValueError, match="expected"):
            optlab.cg(A, b, x0, M=M, **arguments)
    else:
        run = optlab.cg(A, b, x0, M=M, history=True)
        assert run.success == (outcome != "indefinite")
        assert not any(np.shares_memory(run.x, a) for a in arrays)
    after = [b, x0] + [
        v for v in ([A] if isinstance(A, np.ndarray) else vars(A).values()) if isinstance(v, np.ndarray)
    ]
    assert [a.tobytes() for a in after] == before
    assert [a.shape for a in after] == shapes


def test_sparse_matrices_keep_their_spare_room():
    for A in (sp.csr_array(np.eye(3)), sp.csc_array(np.eye(3)), sp.bsr_array(np.eye(3), blocksize=(1, 1))):
        A.indices = np.append(A.indices, [0, 0]).astype(np.int32)
        A.data = np.concatenate([A.data, A.data[:2]])
        kept = copy.deepcopy(A.data)
        assert optlab.cg(A, np.ones(3)).success
        np.testing.assert_array_equal(A.data, kept)


def test_threads_do_not_disturb_each_other():
    problems = [(spd(60, 1e4, seed), np.random.default_rng(seed).standard_normal(60)) for seed in range(2)]
    grid = optlab.problems.poisson_2d(30, form="operator")
    M = optlab.incomplete_cholesky(optlab.problems.poisson_2d(30))
    jobs = [lambda A=A, b=b: optlab.cg(A, b, rtol=1e-10) for A, b in problems]
    jobs += [lambda k=k: optlab.cg(grid, np.arange(900.0) % (k + 2), M=M, rtol=1e-10) for k in range(2)]
    serial = [job().x for job in jobs]
    parallel = [[None] * 20 for _ in jobs]

    def work(k):
        for i in range(20):
            parallel[k][i] = jobs[k]().x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, results in zip(serial, parallel, strict=True):
        for x in results:
            np.testing.assert_array_equal(x, expected)


# Preconditioners --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("form", ["csr", "dia", "operator"])
def test_preconditioned_poisson(form, dtype):
    A = optlab.problems.poisson_2d(25, form=form, dtype=dtype)
    S = optlab.problems.poisson_2d(25)
    b = np.random.default_rng(0).standard_normal(625).astype(dtype)
    plain = optlab.cg(A, b, rtol=1e-4)
    faster = optlab.cg(A, b, rtol=1e-4, M=optlab.incomplete_cholesky(S))
    assert plain.success
    assert faster.success
    assert faster.nit < 0.5 * plain.nit
    assert plain.x.dtype == faster.x.dtype == dtype
    check_honest(faster, S.toarray(), b, rtol=1e-4)


def test_jacobi_undoes_bad_scaling_of_the_unknowns():
    D = np.diag(np.geomspace(1, 1e4, 40))
    A, b = D @ spd(40, 10.0) @ D, np.ones(40)
    assert optlab.cg(A, b, M=optlab.jacobi(A)).nit < 0.3 * optlab.cg(A, b).nit


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize(
    "operator",
    [
        optlab.problems.poisson_2d(4, form="operator"),
        optlab.jacobi(spd(16, 10.0)),
        optlab.incomplete_cholesky(optlab.problems.poisson_2d(4)),
    ],
    ids=["poisson", "jacobi", "cholesky"],
)
def test_compiled_operators_can_be_copied(operator, copy_of):
    x = np.arange(16.0)
    y = operator @ x
    copied = copy_of(operator)
    np.testing.assert_array_equal(copied @ x, y)
    assert vars(copied).get("shift") == vars(operator).get("shift")


def test_incomplete_cholesky_takes_any_byte_order():
    A = optlab.problems.poisson_2d(4)
    foreign = A.copy()
    foreign.data = A.data.astype(">f8")
    r = np.arange(16.0)
    np.testing.assert_array_equal(optlab.incomplete_cholesky(foreign) @ r, optlab.incomplete_cholesky(A) @ r)
