"""Feature normalization and whitening: what becomes of the covariance, and of data that have none."""

import copy
import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from optlab.normalization import feature_normalization, pca_whitening

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
DDOF = pytest.mark.parametrize("ddof", [0, 1])


def data(n, d, seed=0, spread=3.0):
    """Correlated features of very different sizes, away from 0."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-spread, spread, d)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)) * sizes


# Feature normalization --------------------------------------------------------------------------------------


@BOTH
@DDOF
@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 5), (100, 1), (257, 33), (2000, 4)])
def test_every_feature_has_mean_zero_and_variance_one(n, d, ddof, dtype):
    X = data(n, d).astype(dtype)
    before = X.copy()
    z, scaling = feature_normalization(X, ddof=ddof)
    assert z.dtype == dtype
    assert scaling.mean.dtype == scaling.std.dtype == float
    assert scaling.constant == ()
    atol = 1e-6 if dtype == SINGLE else 1e-12
    np.testing.assert_allclose(z.mean(0, dtype=float), 0, atol=atol)
    np.testing.assert_allclose(z.var(0, ddof=ddof, dtype=float), 1, atol=atol)
    wide = X.astype(np.longdouble)
    expected = (wide - wide.mean(0)) / wide.std(0, ddof=ddof)
    np.testing.assert_allclose(z, expected.astype(float), atol, atol)
    np.testing.assert_array_equal(scaling(X), z)
    np.testing.assert_array_equal(X, before)


def test_other_data_by_the_same_numbers():
    X, other = data(50, 4), data(20, 4, seed=1)
    _, scaling = feature_normalization(X)
    np.testing.assert_allclose(scaling(other), (other - X.mean(0)) / X.std(0), 1e-11, 1e-11)
    np.testing.assert_allclose(scaling(other), StandardScaler().fit(X).transform(other), 1e-11, 1e-11)
    assert scaling(other.astype(np.float32)).dtype == SINGLE


@BOTH
@pytest.mark.parametrize("n", [2, 3, 10, 1000])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e8 - 0.1, 1e30, 1e-30])
def test_constant_features_become_zero(value, n, dtype):
    X = data(n, 4).astype(dtype)
    X[:, [1, 3]] = value
    z, scaling = feature_normalization(X)
    assert scaling.constant == (1, 3)
    assert (scaling.std[[1, 3]] == 0).all()
    assert (scaling.mean[[1, 3]] == X[0, 1]).all()
    assert (z[:, [1, 3]] == 0).all()
    np.testing.assert_array_equal(z[:, [0, 2]], feature_normalization(np.ascontiguousarray(X[:, [0, 2]]))[0])
    # Nothing is known of their size: other values become 0 too.
    X[:, 1] += 1
    assert (scaling(X)[:, 1] == 0).all()


def test_one_sample_is_constant():
    z, scaling = feature_normalization([[1.0, 2.0]])
    np.testing.assert_array_equal(z, [[0, 0]])
    assert scaling.constant == (0, 1)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6, -1e8])
def test_features_far_from_zero(offset):
    X = offset + np.random.default_rng(2).normal(size=(500, 3))
    z, _ = feature_normalization(X)
    wide = X.astype(np.longdouble)
    # The mean is rounded to float64.
    atol = 1e-13 + 2.0**-52 * abs(offset)
    np.testing.assert_allclose(z, ((wide - wide.mean(0)) / wide.std(0)).astype(float), 1e-12, atol)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e300])
def test_features_of_any_size(size):
    X = np.random.default_rng(3).normal(size=(50, 2))
    z, scaling = feature_normalization(X * size)
    np.testing.assert_allclose(z, feature_normalization(X)[0], 1e-10, 1e-12)
    np.testing.assert_allclose(scaling.std / size, X.std(0), 1e-12)


@given(shift=st.integers(-1000, 1000), exponent=st.integers(-30, 30), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_units_and_origin_do_not_matter(shift, exponent, seed):
    """Whole numbers times powers of two: neither rounds."""
    X = np.random.default_rng(seed).integers(-99, 100, (7, 3)).astype(float)
    z = feature_normalization((X + shift) * 2.0**exponent)[0]
    np.testing.assert_allclose(z, feature_normalization(X)[0], 1e-12, 1e-12)


def test_the_condition_number_falls():
    """The Hessian of least squares is X^T X."""
    X = np.random.default_rng(4).normal(size=(200, 5)) * 10.0 ** np.arange(5) + 10.0 ** np.arange(5)
    before = np.linalg.cond(X.T @ X)
    z = feature_normalization(X)[0]
    assert before > 1e8
    assert np.linalg.cond(z.T @ z) < 2
    w = pca_whitening(X)[0]
    assert np.linalg.cond(w.T @ w) == pytest.approx(1, abs=1e-12)


# Whitening --------------------------------------------------------------------------------------------------


@BOTH
@DDOF
@pytest.mark.parametrize(("n", "d"), [(2, 1), (6, 5), (100, 1), (257, 33), (2000, 4)])
def test_the_covariance_becomes_the_identity(n, d, ddof, dtype):
    X = data(n, d, spread=0.5).astype(dtype)
    before = X.copy()
    z, scaling = pca_whitening(X, ddof=ddof)
    assert z.dtype == dtype
    assert z.shape == (n, d)
    covariance = z.T.astype(float) @ z / (n - ddof)
    np.testing.assert_allclose(covariance, np.eye(d), 0, 1e-6 if dtype == SINGLE else 1e-12)
    np.testing.assert_allclose(z.mean(0, dtype=float), 0, atol=1e-5 if dtype == SINGLE else 1e-10)
    np.testing.assert_allclose(scaling.components @ scaling.components.T, np.eye(d), 0, 1e-12)
    assert (np.diff(scaling.std) <= 0).all()
    np.testing.assert_array_equal(X, before)
    np.testing.assert_allclose(scaling.mean, X.mean(0, dtype=float), 1e-12)


@DDOF
def test_whitening_is_that_of_the_eigenvectors(ddof):
    X = data(60, 5, spread=0.5)
    z, scaling = pca_whitening(X, ddof=ddof)
    slow = reference.pca_whitening(X, ddof)
    signs = np.sign((slow * z).sum(0))
    np.testing.assert_allclose(z, slow * signs, 0, 1e-9)
    variances = np.linalg.eigvalsh(np.cov(X.T, ddof=ddof))[::-1]
    np.testing.assert_allclose(scaling.std**2, variances, 1e-9)
    np.testing.assert_allclose(scaling(X), z, 0, 1e-10)
    largest = np.abs(scaling.components).argmax(1)
    assert (scaling.components[np.arange(5), largest] > 0).all()


@pytest.mark.parametrize("components", [None, 2])
def test_whitening_is_that_of_scikit_learn(components):
    X, other = data(60, 5, spread=0.5), data(20, 5, seed=1, spread=0.5)
    theirs = PCA(components, whiten=True, svd_solver="full").fit(X)
    z, scaling = pca_whitening(X, components=components, ddof=1)
    np.testing.assert_allclose(z, theirs.transform(X), 0, 1e-10)
    np.testing.assert_allclose(scaling(other), theirs.transform(other), 1e-10, 1e-10)
    np.testing.assert_allclose(scaling.inverse(z), theirs.inverse_transform(z), 1e-10, 1e-10)


@BOTH
def test_there_and_back(dtype):
    X, other = (data(40, 6, seed=s, spread=0.5).astype(dtype) for s in (0, 1))
    z, scaling = pca_whitening(X)
    tolerance = 1e-5 if dtype == SINGLE else 1e-12
    np.testing.assert_allclose(scaling.inverse(z), X, tolerance, tolerance * np.abs(X).max())
    # All directions are there: other data come back too.
    back = scaling.inverse(scaling(other))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, other, 100 * tolerance, 100 * tolerance * np.abs(other).max())


@BOTH
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e5])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
@pytest.mark.parametrize(("n", "d", "rank"), [(50, 6, 3), (6, 50, 5), (4, 4, 3), (200, 30, 1), (30, 30, 29)])
def test_directions_without_variance_are_left_out(n, d, rank, offset, size, dtype):
    """Rounding to the dtype makes them noise of that size."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + offset * rng.normal(size=d)
    X = (X * size).astype(dtype)
    z, scaling = pca_whitening(X)
    assert z.shape == (n, rank)
    assert scaling.components.shape == (rank, d)
    tolerance = 1e-5 if dtype == SINGLE else 1e-10
    np.testing.assert_allclose(z.T @ z / n, np.eye(rank), 0, tolerance)
    np.testing.assert_allclose(scaling.inverse(z), X, tolerance, tolerance * np.abs(X).max())


def test_constant_and_repeated_features_add_no_direction():
    X = data(40, 3, spread=0.5)
    z, _ = pca_whitening(X)
    wider = np.column_stack([X, np.full(40, 7.1), X[:, 0]])
    assert pca_whitening(wider)[0].shape == z.shape
    assert pca_whitening(np.column_stack([X, np.full(40, 7.1)]))[0].shape == z.shape


def test_small_but_real_directions_stay():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(100, 3)) * [1.0, 1e-6, 1e-11]
    z, scaling = pca_whitening(X)
    assert z.shape == (100, 3)
    np.testing.assert_allclose(scaling.std, X.std(0), 1e-1)
    np.testing.assert_allclose(z.T @ z / 100, np.eye(3), 0, 1e-12)
    assert pca_whitening(X, rtol=1e-9)[0].shape == (100, 2)
    assert pca_whitening(X, rtol=1e-3)[0].shape == (100, 1)


def test_far_from_zero():
    """Deviations of 0.01 at 1e4 in float32 are ten steps wide; they are data, not rounding."""
    X = (1e4 + 0.01 * np.random.default_rng(7).normal(size=(300, 4))).astype(np.float32)
    z, _ = pca_whitening(X)
    assert z.shape == (300, 4)
    np.testing.assert_allclose(z.T.astype(float) @ z / 300, np.eye(4), 0, 1e-6)


@pytest.mark.parametrize("size", [1e-290, 1e-160, 1e160, 1e300])
def test_data_of_any_size(size):
    X = np.random.default_rng(8).normal(size=(50, 2))
    z, scaling = pca_whitening(X * size)
    np.testing.assert_allclose(z, pca_whitening(X)[0], 0, 1e-10)
    np.testing.assert_allclose(scaling.inverse(z) / size, X, 1e-10)


def test_components():
    X = data(40, 6, spread=0.5)
    z, scaling = pca_whitening(X)
    some, other = pca_whitening(X, components=2)
    np.testing.assert_array_equal(some, z[:, :2])
    np.testing.assert_array_equal(other.components, scaling.components[:2])
    # The best plane: what is left out is the variance of the other directions.
    rest = ((other.inverse(some) - X) ** 2).sum() / 40
    assert rest == pytest.approx((scaling.std[2:] ** 2).sum(), rel=1e-10)


# Arguments --------------------------------------------------------------------------------------------------


def test_scalings_can_be_copied_and_pickled():
    X = data(10, 3)
    for _, scaling in (feature_normalization(X), pca_whitening(X)):
        for other in (copy.deepcopy(scaling), pickle.loads(pickle.dumps(scaling))):
            np.testing.assert_array_equal(other(X), scaling(X))


@pytest.mark.parametrize("f", [feature_normalization, pca_whitening])
def test_data_of_any_numbers(f):
    X = np.random.default_rng(9).integers(-9, 10, (20, 3))
    expected = f(X.astype(float))[0]
    for other in (X, X.tolist(), X.astype(np.int8), np.asfortranarray(X), X.astype(">f8")):
        z = f(other)[0]
        assert z.dtype == DOUBLE
        np.testing.assert_allclose(z, expected, 0, 1e-12)
    assert f(X.astype(np.float16))[0].dtype == SINGLE


X = np.arange(12.0).reshape(4, 3) ** 2
BAD_X = {
    "a number": (1.0, ValueError, r"\(\)"),
    "one axis": ([1.0, 2.0], ValueError, r"\(2,\)"),
    "three axes": (np.ones((2, 2, 2)), ValueError, r"\(2, 2, 2\)"),
    "no samples": (np.ones((0, 3)), ValueError, r"\(0, 3\)"),
    "no features": (np.ones((3, 0)), ValueError, r"\(3, 0\)"),
    "NaN": ([[1.0, 2.0], [np.nan, 3.0]], ValueError, r"nan at \[1, 0\]"),
    "infinite": ([[1.0, -np.inf], [2.0, 3.0]], ValueError, r"-inf at \[0, 1\]"),
    "text": ("abc", TypeError, "X"),
    "complex": ([[1j, 2.0]], TypeError, "complex"),
    "ragged": ([[1.0], [1.0, 2.0]], ValueError, "X"),
    "masked": (np.ma.masked_array(X, X > 100), TypeError, "masked"),
}


@pytest.mark.parametrize("f", [feature_normalization, pca_whitening])
@pytest.mark.parametrize("case", BAD_X)
def test_bad_data_are_named(case, f):
    bad, error, match = BAD_X[case]
    with pytest.raises(error, match=rf"^X: expected .*{match}|^X: expected .*, got"):
        f(bad)


BAD = {
    "ddof, too large": (lambda: feature_normalization(X, ddof=4), ValueError, "ddof: expected .*4.*got 4"),
    "ddof, negative": (lambda: feature_normalization(X, ddof=-1), ValueError, "ddof: expected .*0, got -1"),
    "ddof, a half": (lambda: feature_normalization(X, ddof=0.5), TypeError, "ddof: expected .*0.5"),
    "ddof, whitening": (lambda: pca_whitening(X, ddof=4), ValueError, "ddof: expected .*4.*got 4"),
    "other features": (lambda: feature_normalization(X)[1](X[:, :2]), ValueError, r"X: expected 3.*\(4, 2\)"),
    "other features, whitening": (lambda: pca_whitening(X)[1](X.T), ValueError, r"X: expected 3.*\(3, 4\)"),
    "one sample": (lambda: pca_whitening(X[:1]), ValueError, r"X: expected .*two.*\(1, 3\)"),
    "nothing varies": (lambda: pca_whitening(np.full((9, 2), 0.1)), ValueError, "X: expected .*constant"),
    "no components": (lambda: pca_whitening(X, components=0), ValueError, "components: expected .*1, got 0"),
    "more than features": (lambda: pca_whitening(X, components=4), ValueError, "components: .*got 4"),
    "more than vary": (
        lambda: pca_whitening([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]], components=2),
        ValueError,
        "components: expected at most 1, .*got 2",
    ),
    "components, a half": (lambda: pca_whitening(X, components=1.5), TypeError, "components: expected .*1.5"),
    "rtol, negative": (lambda: pca_whitening(X, rtol=-1.0), ValueError, "rtol: expected .*-1"),
    "rtol, one": (lambda: pca_whitening(X, rtol=1.0), ValueError, "rtol: expected .*1.0"),
    "rtol, text": (lambda: pca_whitening(X, rtol="a"), TypeError, "rtol: expected .*'a'"),
    "back, too few": (lambda: pca_whitening(X)[1].inverse(X[:, :1]), ValueError, r"z: expected .*\(4, 1\)"),
    "back, one axis": (lambda: pca_whitening(X)[1].inverse(X[0]), ValueError, r"z: expected 2-D.*\(3,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    call, error, match = BAD[case]
    with pytest.raises(error, match=f"^{match}"):
        call()
