"""Weight norm and spectral norm against their equations, and weights of all sizes."""

import copy
import pickle

import numpy as np
import pytest
import reference

from optlab.normalization import spectral_norm, spectral_norm_backward, weight_norm, weight_norm_backward

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
TOLERANCE = {SINGLE: 2e-7, DOUBLE: 1e-14}

# Shape and axis of the units.
UNITS = [((4, 3), -1), ((4, 3), 1), ((4, 3), 0), ((4, 3), -2), ((1, 5), -1), ((5, 1), -1), ((257, 33), -1)]
UNITS += [((4, 3, 2, 2), 0), ((2, 3, 4), 1), ((2, 3, 4), -1), ((6,), None), ((2, 3), None), ((2, 3, 4), None)]
units = pytest.mark.parametrize(("shape", "axis"), UNITS, ids=str)


def sample(shape, axis, dtype, seed=0):
    """v, g and the gradient of w."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=() if axis is None else shape[axis])
    v, dw = rng.normal(size=(2, *shape))
    return v.astype(dtype), np.asarray(g, dtype), dw.astype(dtype)


def one_unit(function, *arrays):
    """A reference with one unit for all of v: a first axis of length 1."""
    *many, g = arrays
    results = function(*(a[None] for a in many), g[None], 0)
    return [r[0] for r in results] if isinstance(results, tuple) else results[0]


def slow_weights(v, g, axis):
    return one_unit(reference.weight_norm, v, g) if axis is None else reference.weight_norm(v, g, axis)


def slow_gradients(dw, v, g, axis):
    if axis is None:
        return one_unit(reference.weight_norm_backward, dw, v, g)
    return reference.weight_norm_backward(dw, v, g, axis)


def close(actual, expected, tolerance, size=0.0):
    """In units of the largest number, or of what it is the difference of."""
    assert actual.shape == expected.shape
    size = max(float(np.abs(expected).max()), size)
    np.testing.assert_allclose(actual, expected.astype(float), tolerance, tolerance * size)


# Weight norm ------------------------------------------------------------------------------------------------


@BOTH
@units
def test_weight_norm_is_its_equations(shape, axis, dtype):
    v, g, dw = sample(shape, axis, dtype)
    before = v.copy(), g.copy(), dw.copy()
    w, cache = weight_norm(v, g, axis=axis)
    dv, dg = weight_norm_backward(dw, cache)
    assert w.dtype == dv.dtype == dg.dtype == dtype
    V, G, DW = (a.astype(np.longdouble) for a in (v, g, dw))
    close(w, slow_weights(V, G, axis), TOLERANCE[dtype])
    lengths = np.linalg.norm(v.ravel()) if axis is None else np.linalg.norm(reference.units(v, axis), axis=1)
    expected_v, expected_g = slow_gradients(DW, V, G, axis)
    close(dv, expected_v, 4 * TOLERANCE[dtype], float(np.abs(G / lengths).max() * np.abs(DW).max()))
    close(dg, np.asarray(expected_g), 4 * TOLERANCE[dtype])
    assert cache.v is v
    assert cache.g is g
    assert cache.norm.dtype == float
    np.testing.assert_allclose(cache.norm, lengths, 1e-6)
    np.testing.assert_allclose(cache.direction, V / along(cache.norm, v, axis), 1e-6)
    for array, original in zip((v, g, dw), before, strict=True):
        np.testing.assert_array_equal(array, original)


def along(numbers, v, axis):
    """Numbers of units in a shape that is multiplied with v."""
    if axis is None:
        return numbers
    shape = [1] * v.ndim
    shape[axis] = -1
    return numbers.reshape(shape)


@units
def test_gradients_of_weight_norm_are_those_of_the_complex_step(shape, axis):
    if np.prod(shape) > 100:
        return
    v, g, dw = sample(shape, axis, DOUBLE)
    dv, dg = weight_norm_backward(dw, weight_norm(v, g, axis=axis)[1])

    def loss(numbers):
        return (
            dw * slow_weights(numbers[: v.size].reshape(shape), numbers[v.size :].reshape(g.shape), axis)
        ).sum()

    expected = reference.complex_step(loss, np.concatenate([v.ravel(), g.ravel()]))
    np.testing.assert_allclose(np.concatenate([dv.ravel(), dg.ravel()]), expected, 1e-12, 1e-13)


@BOTH
def test_the_gradient_is_orthogonal_to_the_direction(dtype):
    v, g, dw = sample((200, 30), -1, dtype)
    w, cache = weight_norm(v, g)
    dv, _ = weight_norm_backward(dw, cache)
    cosines = (dv * v).sum(0) / np.linalg.norm(dv, axis=0) / np.linalg.norm(v, axis=0)
    np.testing.assert_allclose(cosines, 0, atol=1e-6 if dtype == SINGLE else 1e-14)
    # So a step makes v longer, and w has the length g all the same.
    longer = v - dtype.type(0.1) * dv
    assert (np.linalg.norm(longer, axis=0) > np.linalg.norm(v, axis=0)).all()
    np.testing.assert_allclose(np.linalg.norm(weight_norm(longer, g)[0], axis=0), np.abs(g), 1e-5)
    np.testing.assert_allclose(np.linalg.norm(w, axis=0), np.abs(g), 1e-5)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(SINGLE, s) for s in (1e-38, 1e-30, 1e30, 1e38)] + [(DOUBLE, s) for s in (1e-300, 1e-160, 1e160, 1e300)],
    ids=str,
)
def test_the_length_of_v_does_not_matter(dtype, size):
    v, g, dw = sample((50, 3), -1, dtype)
    scale = dtype.type(2.0 ** np.round(np.log2(size)))  # exact
    w, cache = weight_norm(v, g)
    scaled, other = weight_norm(v * scale, g)
    # The smallest numbers have fewer digits.
    close(scaled, w, 1e-6 if size == 1e-38 else 4 * np.finfo(dtype).eps)
    dv, dg = weight_norm_backward(dw, cache)
    dv_scaled, dg_scaled = weight_norm_backward(dw, other)
    np.testing.assert_allclose(dg_scaled, dg, 1e-5 if dtype == SINGLE else 1e-13)
    # Of 1e-300 it is 1e300, of 1e38 it may be too small for its digits.
    expected = dv.astype(np.longdouble) / scale
    atol = 1e-5 * np.abs(expected).max() + 2 * np.finfo(dtype).smallest_subnormal.astype(np.longdouble)
    assert (np.abs(dv_scaled - expected) <= atol).all()


@BOTH
def test_a_unit_of_zeros_has_no_direction(dtype):
    v, g, _ = sample((4, 3), -1, dtype)
    v[:, 1] = 0
    with pytest.raises(ValueError, match=r"^v: expected a direction, got zeros for unit 1$"):
        weight_norm(v, g)
    weight_norm(v, np.ones(4, dtype), axis=0)
    with pytest.raises(ValueError, match=r"^v: expected a direction, got zeros"):
        weight_norm(v * 0, np.asarray(1, dtype), axis=None)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_stays_in_its_unit(bad, dtype):
    v, g, dw = sample((4, 3), -1, dtype)
    w, cache = weight_norm(v, g)
    dv, dg = weight_norm_backward(dw, cache)
    v = v.copy()
    v[2, 1] = bad
    spoiled, other = weight_norm(v, g)
    dv_spoiled, dg_spoiled = weight_norm_backward(dw, other)
    for a, b in ((spoiled, w), (dv_spoiled, dv), (dg_spoiled, dg)):
        np.testing.assert_array_equal(a[..., [0, 2]], b[..., [0, 2]])
        assert np.isnan(a[..., 1]).all()


def test_weights_in_any_order():
    v, g, dw = sample((4, 6), -1, DOUBLE)
    expected = weight_norm(v, g)
    grads = weight_norm_backward(dw, expected[1])
    for other in (np.asfortranarray(v), np.repeat(v, 2, 0)[::2]):
        w, cache = weight_norm(other, g)
        np.testing.assert_allclose(w, expected[0], 1e-15)
        for a, b in zip(weight_norm_backward(np.asfortranarray(dw), cache), grads, strict=True):
            np.testing.assert_allclose(a, b, 1e-13)


def test_a_length_of_no_axes_may_be_a_scalar():
    v = np.array([3.0, 4.0])
    g = np.array(2.0) - 1.0  # a np.float64
    w, cache = weight_norm(v, g, axis=None)
    np.testing.assert_allclose(w, [0.6, 0.8], 1e-15)
    dv, dg = weight_norm_backward(v, cache)
    assert dg.shape == ()
    assert dg == 5
    np.testing.assert_allclose(dv, 0, atol=1e-15)


# Spectral norm ----------------------------------------------------------------------------------------------

MATRICES = [(4, 3), (3, 4), (1, 5), (5, 1), (1, 1), (6, 2, 3, 3), (3, 4, 1), (65, 33)]
matrices = pytest.mark.parametrize("shape", MATRICES, ids=str)


def weights(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    w, dy = rng.normal(size=(2, *shape))
    return w.astype(dtype), rng.normal(size=shape[0]), dy.astype(dtype)


@pytest.mark.parametrize("rounds", [1, 2, 5])
@BOTH
@matrices
def test_spectral_norm_is_its_equations(shape, rounds, dtype):
    w, u, dy = weights(shape, dtype)
    before = w.copy(), u.copy(), dy.copy()
    normalized, cache = spectral_norm(w, u, rounds=rounds)
    W, DY = (a.astype(float).reshape(shape[0], -1) for a in (w, dy))
    slow_u, slow_v, sigma = reference.power_iteration(W, u, rounds)
    assert normalized.dtype == dtype
    assert type(cache.sigma) is float
    np.testing.assert_allclose(cache.u, slow_u, 1e-12, 1e-13)
    np.testing.assert_allclose(cache.v, slow_v, 1e-12, 1e-13)
    assert cache.sigma == pytest.approx(sigma, rel=1e-13)
    close(normalized, (W / sigma).reshape(shape), TOLERANCE[dtype])
    dw = spectral_norm_backward(dy, cache)
    assert dw.dtype == dtype
    close(dw, reference.spectral_norm_backward(DY, W, slow_u, slow_v).reshape(shape), 4 * TOLERANCE[dtype])
    for array, original in zip((w, u, dy), before, strict=True):
        np.testing.assert_array_equal(array, original)


@matrices
def test_gradients_of_spectral_norm_are_those_of_the_complex_step(shape):
    """u and v as constants; and at the singular vectors also if they are none."""
    if np.prod(shape) > 100:
        return
    w, u, dy = weights(shape, DOUBLE)
    _, cache = spectral_norm(w, u)
    dw = spectral_norm_backward(dy, cache)

    def loss(numbers):
        W = numbers.reshape(shape[0], -1)
        return (dy.ravel() * (W / (cache.u @ W @ cache.v)).ravel()).sum()

    expected = reference.complex_step(loss, w.ravel()).reshape(shape)
    np.testing.assert_allclose(dw, expected, 1e-12, 1e-12)
    _, cache = spectral_norm(w, u, rounds=1000)
    dw = spectral_norm_backward(dy, cache)

    def exact(numbers):
        return (dy.ravel() * numbers).sum() / np.linalg.norm(numbers.reshape(shape[0], -1), 2)

    h = 1e-6
    differences = [(exact(w.ravel() + h * e) - exact(w.ravel() - h * e)) / (2 * h) for e in np.eye(w.size)]
    np.testing.assert_allclose(dw.ravel(), differences, 1e-6, 1e-7)


@BOTH
@matrices
def test_the_largest_singular_value_becomes_one(shape, dtype):
    w, *_ = weights(shape, dtype)
    normalized, cache = spectral_norm(w, rounds=1000)
    largest = np.linalg.svd(normalized.reshape(shape[0], -1).astype(float), compute_uv=False)[0]
    assert largest == pytest.approx(1, abs=1e-6 if dtype == SINGLE else 1e-12)
    assert cache.sigma == pytest.approx(np.linalg.norm(w.reshape(shape[0], -1), 2), rel=1e-6)
    U, _, Vt = np.linalg.svd(w.reshape(shape[0], -1).astype(float))
    assert abs(U[:, 0] @ cache.u) == pytest.approx(1, abs=1e-12)
    assert abs(Vt[0] @ cache.v) == pytest.approx(1, abs=1e-12)


def test_one_round_a_step_is_enough():
    """The estimate never falls, never exceeds the largest singular value, and goes on where it ended."""
    w, u, _ = weights((30, 20), DOUBLE)
    largest, sigmas = np.linalg.norm(w, 2), []
    for _ in range(300):
        _, cache = spectral_norm(w, u)
        u = cache.u
        sigmas.append(cache.sigma)
    assert (np.diff(sigmas) >= -1e-14 * largest).all()
    assert sigmas[0] < sigmas[-1] <= largest * (1 + 1e-14)
    assert sigmas[-1] == pytest.approx(largest, rel=1e-10)
    assert spectral_norm(w, weights((30, 20), DOUBLE)[1], rounds=300)[1].sigma == pytest.approx(
        sigmas[-1], rel=1e-14
    )


def test_the_error_shrinks_with_the_ratio_of_singular_values():
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    w = U * [1.0, 0.8, *[0.1] * 6] @ V.T
    error = [1 - spectral_norm(w, np.ones(8), rounds=k)[1].sigma for k in (10, 20)]
    assert error[1] / error[0] == pytest.approx(0.8**40, rel=1e-2)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(SINGLE, s) for s in (1e-36, 1e-30, 1e30, 1e37)] + [(DOUBLE, s) for s in (1e-300, 1e-160, 1e160, 1e300)],
    ids=str,
)
def test_the_size_of_the_weights_does_not_matter(dtype, size):
    w, u, dy = weights((6, 5), dtype)
    scale = dtype.type(2.0 ** np.round(np.log2(size)))
    normalized, cache = spectral_norm(w, u)
    for factor in (1.0, 1e-300, 1e300):  # nor does that of u
        scaled, other = spectral_norm(w * scale, u * factor)
        np.testing.assert_allclose(scaled, normalized, 8 * np.finfo(dtype).eps)
        assert other.sigma / float(scale) == pytest.approx(cache.sigma, rel=1e-13)
    dw, dw_scaled = spectral_norm_backward(dy, cache), spectral_norm_backward(dy, other)
    expected = dw.astype(np.longdouble) / scale
    atol = 1e-6 * np.abs(expected).max() + 2 * np.finfo(dtype).smallest_subnormal.astype(np.longdouble)
    assert (np.abs(dw_scaled - expected) <= atol).all()


def test_the_start_is_drawn_from_rng():
    w, *_ = weights((6, 5), DOUBLE)
    first = spectral_norm(w)[1]
    assert spectral_norm(w)[1].sigma == first.sigma
    assert spectral_norm(w, rng=1)[1].sigma != first.sigma
    expected = spectral_norm(w, np.random.default_rng(7).standard_normal(6))[1].sigma
    assert spectral_norm(w, rng=np.random.default_rng(7))[1].sigma == expected
    u = np.arange(6)
    np.testing.assert_array_equal(spectral_norm(w, u.tolist())[0], spectral_norm(w, u.astype(np.float32))[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_spoils_the_whole_matrix(bad):
    w, u, dy = weights((4, 3), DOUBLE)
    w[1, 2] = bad
    normalized, cache = spectral_norm(w, u)
    assert np.isnan(normalized).all()
    assert np.isnan(cache.sigma)
    assert np.isnan(spectral_norm_backward(dy, cache)).all()


# Arguments --------------------------------------------------------------------------------------------------


def test_caches_can_be_copied_and_pickled():
    v, g, dw = sample((4, 3), -1, DOUBLE)
    for cache, backward in (
        (weight_norm(v, g)[1], weight_norm_backward),
        (spectral_norm(v)[1], spectral_norm_backward),
    ):
        expected = backward(dw, cache)
        for other in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
            np.testing.assert_equal(backward(dw, other), expected)


V, G = np.ones((4, 3)), np.ones(3)
BAD = {
    "v, a list": (lambda: weight_norm(V.tolist(), G), TypeError, "v: expected .*list"),
    "v, integers": (lambda: weight_norm(V.astype(int), G), TypeError, "v: expected .*int64"),
    "v, half": (lambda: weight_norm(V.astype(np.float16), G), TypeError, "v: expected .*float16"),
    "v, masked": (lambda: weight_norm(np.ma.masked_array(V), G), TypeError, "v: expected .*Masked"),
    "v, a number": (lambda: weight_norm(np.array(1.0), np.array(1.0), axis=None), ValueError, r"v: .*\(\)"),
    "v, empty": (lambda: weight_norm(np.ones((0, 3)), G), ValueError, r"v: expected .*\(0, 3\)"),
    "v, a vector": (lambda: weight_norm(G, G), ValueError, r"v: expected .*\(3,\)"),
    "g, of the other axis": (lambda: weight_norm(V, np.ones(4)), ValueError, r"g: expected .*\(3,\).*\(4,\)"),
    "g, a row": (lambda: weight_norm(V, np.ones((1, 3))), ValueError, r"g: expected .*\(3,\).*\(1, 3\)"),
    "g, a number": (lambda: weight_norm(V, np.array(1.0)), ValueError, r"g: expected .*\(3,\).*\(\)"),
    "g, not a number": (lambda: weight_norm(V, G, axis=None), ValueError, r"g: expected .*\(\).*\(3,\)"),
    "g, float32": (lambda: weight_norm(V, G.astype("f4")), TypeError, "g: expected float64.*float32"),
    "g, a list": (lambda: weight_norm(V, [1.0] * 3), TypeError, "g: expected .*list"),
    "axis 2": (lambda: weight_norm(V, G, axis=2), ValueError, r"axis: expected .*2.*\(4, 3\), got 2"),
    "axis -3": (lambda: weight_norm(V, G, axis=-3), ValueError, "axis: expected .*-2, got -3"),
    "axis 1.0": (lambda: weight_norm(V, G, axis=1.0), TypeError, "axis: expected .*1.0"),
    "dw, turned": (
        lambda: weight_norm_backward(V.T, weight_norm(V, G)[1]),
        ValueError,
        r"dw: expected .*\(4, 3\).*\(3, 4\)",
    ),
    "dw, float32": (
        lambda: weight_norm_backward(V.astype("f4"), weight_norm(V, G)[1]),
        TypeError,
        "dw: expected float64.*float32",
    ),
    "dw, a cache of another": (
        lambda: weight_norm_backward(V, spectral_norm(V)[1]),
        TypeError,
        "cache: expected .*weight_norm.*Spectral",
    ),
    "w, a list": (lambda: spectral_norm(V.tolist()), TypeError, "w: expected .*list"),
    "w, integers": (lambda: spectral_norm(V.astype(int)), TypeError, "w: expected .*int64"),
    "w, a vector": (lambda: spectral_norm(G), ValueError, r"w: expected .*\(3,\)"),
    "w, empty": (lambda: spectral_norm(np.ones((3, 0))), ValueError, r"w: expected .*\(3, 0\)"),
    "w, zeros": (lambda: spectral_norm(0 * V), ValueError, "w: expected .*zeros"),
    "u, of the columns": (lambda: spectral_norm(V, np.ones(3)), ValueError, r"u: expected .*\(4,\).*\(3,\)"),
    "u, a matrix": (lambda: spectral_norm(V, np.ones((4, 1))), ValueError, "u: expected 1-D"),
    "u, zeros": (lambda: spectral_norm(V, np.zeros(4)), ValueError, "u: expected .*zeros"),
    "u, NaN": (lambda: spectral_norm(V, [1, 1, np.nan, 1]), ValueError, r"u: expected .*nan at \[2\]"),
    "u, text": (lambda: spectral_norm(V, "abcd"), TypeError, "u: expected"),
    "u, orthogonal": (lambda: spectral_norm(V, [1.0, -1, 0, 0]), ValueError, "u: expected .*zero"),
    "no rounds": (lambda: spectral_norm(V, rounds=0), ValueError, "rounds: expected .*1, got 0"),
    "half a round": (lambda: spectral_norm(V, rounds=0.5), TypeError, "rounds: expected .*0.5"),
    "rng": (lambda: spectral_norm(V, rng="a"), TypeError, "rng: expected .*'a'"),
    "dy, turned": (
        lambda: spectral_norm_backward(V.T, spectral_norm(V)[1]),
        ValueError,
        r"dy: expected .*\(4, 3\).*\(3, 4\)",
    ),
    "dy, integers": (
        lambda: spectral_norm_backward(V.astype(int), spectral_norm(V)[1]),
        TypeError,
        "dy: expected float64.*int64",
    ),
    "dy, a cache of another": (
        lambda: spectral_norm_backward(V, weight_norm(V, G)[1]),
        TypeError,
        "cache: expected .*spectral_norm.*WeightNorm",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    call, error, match = BAD[case]
    with pytest.raises(error, match=f"^{match}"):
        call()


def test_subclasses_of_arrays_are_arrays():
    v, g = np.random.default_rng(20).normal(size=(4, 3)), np.arange(1.0, 4.0)
    w, cache = weight_norm(v.view(np.matrix), g)
    assert type(w) is np.ndarray
    np.testing.assert_array_equal(w, weight_norm(v, g)[0])
    dv, dg = weight_norm_backward(v.view(np.matrix), cache)
    assert type(dv) is type(dg) is np.ndarray
    w, cache = spectral_norm(v.view(np.matrix))
    assert type(w) is type(spectral_norm_backward(v.view(np.matrix), cache)) is np.ndarray
    np.testing.assert_array_equal(w, spectral_norm(v)[0])
