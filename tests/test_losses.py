"""Every loss against its equation, its derivative against the complex step, and what logits may do to it."""

import decimal
import math
from functools import partial

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optlab import losses
from optlab._kernels import losses as kernels

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)

MARGIN = {
    "zero_one": (losses.zero_one, reference.zero_one),
    "hinge": (losses.hinge, reference.hinge),
    "logistic": (losses.logistic, reference.logistic),
    "logistic, 2": (partial(losses.logistic, base=2), partial(reference.logistic, base=2)),
    "exponential": (losses.exponential, reference.exponential),
    "squared": (losses.squared, reference.squared),
}
# Targets as the function takes them, of the numbers of a random generator; the reference has rows.
ROWS = {
    "cross_entropy, labels": (losses.cross_entropy, reference.cross_entropy, "labels"),
    "cross_entropy, one-hot": (losses.cross_entropy, reference.cross_entropy, "one-hot"),
    "cross_entropy": (losses.cross_entropy, reference.cross_entropy, "probabilities"),
    "softmax_mse, labels": (losses.softmax_mse, reference.softmax_mse, "labels"),
    "softmax_mse, one-hot": (losses.softmax_mse, reference.softmax_mse, "one-hot"),
    "softmax_mse": (losses.softmax_mse, reference.softmax_mse, "probabilities"),
    "mse": (losses.mse, reference.mse, "numbers"),
}
# Around the lengths at which the kernels change: 32 lanes, blocks of 256, 1024 numbers on the stack.
SHAPES = [(1, 1), (3, 1), (1, 2), (40, 3), (200, 10), (3, 31), (3, 32), (3, 33), (11, 100)]
SHAPES += [(5, 255), (5, 256), (2, 257), (1, 1024), (1, 2049)]

margins = pytest.mark.parametrize("name", MARGIN)
on_rows = pytest.mark.parametrize("name", ROWS)


def sample(kind, shape, rng):
    """Targets, and the same as rows."""
    n, k = shape
    if kind == "numbers":
        T = rng.normal(size=shape)
        return T, T
    if kind == "probabilities":
        T = rng.dirichlet(np.ones(k), n)
        return T, T
    labels = rng.integers(0, k, n)
    T = np.eye(k)[labels]
    return (labels if kind == "labels" else T), T


# Margins ----------------------------------------------------------------------------------------------------


@BOTH
@margins
def test_loss_and_slope_are_those_of_the_equation(name, dtype):
    function, slow = MARGIN[name]
    m = np.concatenate([np.linspace(-30, 30, 241), [1e-3, -1e-3]]).astype(dtype).reshape(27, 9)
    loss, slope = function(m)
    assert loss.shape == slope.shape == m.shape
    assert loss.dtype == slope.dtype == dtype
    rtol = 8 * np.finfo(dtype).eps
    expected = np.array([slow(x) for x in m.astype(float).ravel()]).reshape(m.shape)
    np.testing.assert_allclose(loss, expected, rtol=rtol, atol=1e-15)
    if name == "zero_one":
        assert not slope.any()
    else:
        expected = np.array([slow(x + 1e-30j).imag * 1e30 for x in m.astype(float).ravel()])
        np.testing.assert_allclose(slope, expected.reshape(m.shape), rtol=rtol, atol=0)


@margins
def test_losses_bound_the_errors(name):
    m = np.linspace(-10, 10, 20_001)
    m[10_000] = 0.0
    gap = MARGIN[name][0](m)[0] - losses.zero_one(m)[0]
    if name == "logistic":
        assert gap.min() == pytest.approx(math.log(2) - 1)
        assert ((gap < 0) == ((m > -math.log(math.e - 1)) & (m <= 0))).all()
    else:
        assert gap.min() == 0.0
        assert gap[10_000] == 0.0


@BOTH
def test_margins_far_out(dtype):
    far = np.array([-1e30, -1000.0, 1000.0, 1e30], dtype)
    loss, slope = losses.logistic(far)
    np.testing.assert_array_equal(loss, [far[0] * -1, 1000, 0, 0])
    np.testing.assert_array_equal(slope, [-1, -1, 0, 0])
    loss, slope = losses.exponential(far)
    np.testing.assert_array_equal(loss, [np.inf, np.inf, 0, 0])
    np.testing.assert_array_equal(slope, -loss)
    small = losses.logistic(np.array([50.0], dtype))
    assert small[0][0] == pytest.approx(math.exp(-50), rel=1e-6)
    assert small[1][0] == pytest.approx(-math.exp(-50), rel=1e-6)
    np.testing.assert_array_equal(losses.logistic([-np.inf, np.inf])[0], [np.inf, 0])
    np.testing.assert_array_equal(losses.hinge([-np.inf, np.inf])[0], [np.inf, 0])


@BOTH
@margins
def test_nan_margins_stay(name, dtype):
    loss, slope = MARGIN[name][0](np.array([np.nan, 1.0], dtype))
    assert np.isnan(loss).tolist() == np.isnan(slope).tolist() == [True, False]
    assert loss.dtype == slope.dtype == dtype


@margins
def test_margins_of_any_shape(name):
    for m in (0.5, np.array(0.5), [[1, 2], [3, 4]], np.ones((2, 3, 4))[:, ::2]):
        loss, slope = MARGIN[name][0](m)
        assert np.shape(loss) == np.shape(slope) == np.shape(m)
        assert isinstance(loss, np.ndarray) == (np.ndim(m) > 0)


# Softmax ----------------------------------------------------------------------------------------------------


def true_exp(x):
    """exp in 40 digits."""
    with decimal.localcontext(prec=40):
        return decimal.Decimal(float(x)).exp()


@BOTH
def test_exp_in_units_of_the_last_place(dtype):
    info = np.finfo(dtype)
    low, high = math.log(float(info.smallest_subnormal)) - 1, math.log(float(info.max))
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            np.linspace(low, high - 1e-3, 3001),
            rng.uniform(-1, 1, 1000),
            rng.uniform(low, math.log(float(info.tiny)) + 1, 500),  # subnormal
            np.arange(-40, 41) * math.log(2) / 2,  # where the reduction changes its integer
        ]
    ).astype(dtype)
    y = np.empty_like(x)
    kernels.exp(x, y)
    for xi, yi in zip(x, y, strict=True):
        truth = true_exp(xi)
        ulp = decimal.Decimal(float(np.spacing(dtype.type(truth))))
        # 0.9 with fused multiply-add, 1.2 without
        assert abs(decimal.Decimal(float(yi)) - truth) <= decimal.Decimal("1.25") * ulp, xi


@BOTH
@pytest.mark.parametrize("n", [1, 16, 37])
def test_exp_at_the_ends(n, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, np.finfo(dtype).max], dtype)
    for xi, expected in zip(x, [np.nan, np.inf, 0, 1, 1, np.inf, 0, np.inf], strict=True):
        y = np.empty(n, dtype)
        kernels.exp(np.full(n, xi), y)
        np.testing.assert_array_equal(y, np.full(n, expected, dtype))


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_and_its_logarithm(shape, dtype):
    z = np.random.default_rng(1).normal(0, 4, shape).astype(dtype)
    p, log_p = losses.softmax(z), losses.log_softmax(z)
    assert p.dtype == log_p.dtype == dtype
    expected = np.array([reference.softmax(row) for row in z.astype(np.longdouble)])
    eps = float(np.finfo(dtype).eps)
    # A difference of logits is rounded, up to 30 eps, before it is an exponent.
    np.testing.assert_allclose(p, expected, rtol=40 * eps)
    np.testing.assert_allclose(log_p, np.log(expected), rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(p.sum(1, dtype=float), 1, rtol=4 * eps)


def test_softmax_over_the_last_axis_of_any_shape():
    z = np.random.default_rng(2).normal(size=(3, 4, 5))
    for function in (losses.softmax, losses.log_softmax):
        np.testing.assert_array_equal(function(z)[1, 2], function(z[1, 2]))
        np.testing.assert_array_equal(function(z.transpose(0, 2, 1))[1, 2], function(z[1, :, 2]))


@pytest.mark.parametrize("k", [3, 50, 300])
def test_extreme_logits(k):
    z = np.zeros((2, k))
    z[0, :3] = 1e4, 0, -1e4
    z[1, :3] = 1e300, -1e300, -np.inf
    p, log_p = losses.softmax(z), losses.log_softmax(z)
    np.testing.assert_array_equal(p, np.eye(k)[[0, 0]])
    np.testing.assert_array_equal(log_p[0, :3], [0, -1e4, -2e4])
    np.testing.assert_array_equal(log_p[1, :3], [0, -2e300, -np.inf])
    value, gradient = losses.cross_entropy(z, [2, 1])
    assert value == 1e300  # (2e4 + 2e300) / 2
    np.testing.assert_array_equal(gradient, (p - np.eye(k)[[2, 1]]) / 2)
    assert losses.softmax_mse(z, [2, 1])[0] == 2.0
    np.testing.assert_array_equal(losses.softmax(np.full((1, k), -1e4)), np.full((1, k), 1 / k))


@pytest.mark.parametrize("k", [3, 50, 300])
@BOTH
def test_minus_infinity_is_probability_zero(k, dtype):
    z = np.zeros((1, k), dtype)
    z[0, 1] = -np.inf
    p = losses.softmax(z)
    assert p[0, 1] == 0
    assert losses.log_softmax(z)[0, 1] == -np.inf
    value, gradient = losses.cross_entropy(z, [1])
    assert value == math.inf
    assert gradient[0, 1] == -1
    assert losses.cross_entropy(z, [0])[0] == pytest.approx(math.log(k - 1))
    assert losses.cross_entropy(z, np.eye(k)[[0]])[0] == pytest.approx(math.log(k - 1))  # 0 log 0 = 0
    assert losses.cross_entropy(z, np.eye(k)[[1]])[0] == math.inf


@pytest.mark.parametrize("k", [1, 3, 32, 50, 300])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@BOTH
def test_nan_fills_its_row_and_no_other(k, bad, dtype):
    for place in {0, k // 2, k - 1}:
        z = np.random.default_rng(3).normal(size=(3, k)).astype(dtype)
        z[1, place] = bad
        for function in (losses.softmax, losses.log_softmax):
            assert np.isnan(function(z)).all(1).tolist() == [False, True, False]
            assert np.isnan(function(z)).any(1).tolist() == [False, True, False]
        for function in (losses.cross_entropy, losses.softmax_mse):
            for targets in ([0, 0, 0], np.full((3, k), 1 / k)):
                value, gradient = function(z, targets)
                assert math.isnan(value)
                assert np.isnan(gradient).all(1).tolist() == [False, True, False]
                assert np.isnan(gradient).any(1).tolist() == [False, True, False]
    assert np.isnan(losses.softmax(np.full((2, k), -np.inf, dtype))).all()


# Rows -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@on_rows
def test_value_and_gradient(name, shape, dtype):
    function, slow, kind = ROWS[name]
    rng = np.random.default_rng(4)
    z = rng.normal(0, 3, shape).astype(dtype)
    targets, T = sample(kind, shape, rng)
    value, gradient = function(z, targets)
    assert type(value) is float
    assert gradient.dtype == dtype
    assert gradient.shape == shape
    Z = z.astype(float)
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(slow(Z, T), rel=40 * eps, abs=4 * eps)
    # An entry depends on its row alone; a few are enough.
    for i, j in zip(rng.integers(0, shape[0], 20), rng.integers(0, shape[1], 20), strict=True):
        row = Z[[i]].astype(complex)
        row[0, j] += 1e-30j
        expected = slow(row, T[[i]]).imag * 1e30 / shape[0]
        assert gradient[i, j] == pytest.approx(expected, rel=60 * eps, abs=4 * eps / shape[0])


@on_rows
def test_one_sample_and_many_axes(name):
    function, _, kind = ROWS[name]
    rng = np.random.default_rng(5)
    z = rng.normal(size=(6, 5))
    targets, _ = sample(kind, z.shape, rng)
    value, gradient = function(z, targets)
    if name == "mse":
        return
    one = function(z[2], targets[2])
    two = function(z[[2]], targets[[2]])
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1][0])
    many = function(z.reshape(2, 3, 5), targets.reshape(2, 3, *targets.shape[1:]))
    assert many[0] == value
    np.testing.assert_array_equal(many[1].reshape(z.shape), gradient)


def test_mse_of_one_output():
    y, t = np.array([1.0, 3.0]), np.array([0.0, 1.0])
    assert losses.mse(y, t)[0] == losses.mse(y[:, None], t[:, None])[0] == 1.25
    np.testing.assert_array_equal(losses.mse(y, t)[1], [0.5, 1.0])


@pytest.mark.parametrize("gap", [20.0, 40.0, 300.0])
@pytest.mark.parametrize("k", [2, 40, 300])
def test_what_is_nearly_right_is_not_rounded_to_zero(k, gap):
    z = np.full((1, k), -gap)
    z[0, 1] = 0.0
    rest = (k - 1) * math.exp(-gap)
    for targets in ([1], np.eye(k)[[1]]):
        value, gradient = losses.cross_entropy(z, targets)
        assert value == pytest.approx(rest, rel=1e-7)
        assert gradient[0, 1] == pytest.approx(-rest, rel=1e-7)
        value, gradient = losses.softmax_mse(z, targets)
        assert value == pytest.approx(rest**2 + (k - 1) * math.exp(-2 * gap), rel=1e-7)
        assert gradient[0, 1] == pytest.approx(-2 * (rest**2 + rest * math.exp(-gap)), rel=1e-7)
    assert losses.log_softmax(z)[0, 1] == pytest.approx(-rest, rel=1e-7)


@pytest.mark.parametrize("a", [3.0, 5.0, 10.0])
def test_saturated_and_wrong(a):
    """Two classes, logits (-a, a), the first is right: the gradients differ by cosh(a)^2."""
    z = np.array([[-a, a, -1000.0]])
    entropy, square = losses.cross_entropy(z, [0])[1], losses.softmax_mse(z, [0])[1]
    ratio = np.linalg.norm(entropy) / np.linalg.norm(square)
    assert ratio == pytest.approx(math.cosh(a) ** 2, rel=1e-6)


@BOTH
def test_long_sums(dtype):
    k = 10**6
    z = np.random.default_rng(6).normal(size=(1, k)).astype(dtype)
    exact = math.log(math.fsum(np.exp(z.astype(float)).ravel()))
    eps = float(np.finfo(dtype).eps)
    assert losses.cross_entropy(z, [0])[0] + float(z[0, 0]) == pytest.approx(exact, rel=eps)
    assert losses.softmax(z).sum(dtype=float) == pytest.approx(1, rel=2 * eps)
    assert losses.mse(z, z - 1)[0] == pytest.approx(k / 2, rel=4 * eps)


def test_gradient_of_rows_that_do_not_quite_add_up():
    z = np.random.default_rng(7).normal(size=(1, 4))
    t = np.array([[0.1, 0.2, 0.3, 0.4 + 9e-7]])
    expected = reference.complex_step(lambda x: reference.cross_entropy(x.reshape(1, 4), t), z.ravel())
    np.testing.assert_allclose(losses.cross_entropy(z, t)[1].ravel(), expected, rtol=1e-12)


# Arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_dtype", "result"),
    [
        (np.float32, SINGLE),
        (np.float64, DOUBLE),
        (np.float16, SINGLE),
        (np.longdouble, DOUBLE),
        (np.int8, DOUBLE),
        (np.uint64, DOUBLE),
        (np.bool_, DOUBLE),
        (">f4", SINGLE),
        (">f8", DOUBLE),
    ],
    ids=str,
)
def test_dtypes(given_dtype, result):
    z = np.array([[1, 0, 1], [0, 1, 1]], given_dtype)
    for function, _ in MARGIN.values():
        assert [a.dtype for a in function(z)] == [result, result]
    assert losses.softmax(z).dtype == losses.log_softmax(z).dtype == result
    T = np.array([[1, 0, 0], [0, 0, 1]])
    for targets in (T, T.astype(bool), T.astype(np.float32), T.astype(float), T.argmax(1).astype(np.uint8)):
        for function in (losses.cross_entropy, losses.softmax_mse):
            value, gradient = function(z, targets)
            assert type(value) is float
            assert gradient.dtype == result
            assert gradient.dtype.isnative
    assert losses.mse(z, z.astype(float))[1].dtype == result


def test_targets_are_checked_before_they_are_rounded():
    z, t = np.zeros((1, 100_000), np.float32), np.full((1, 100_000), 1e-5)
    assert losses.cross_entropy(z, t)[0] == pytest.approx(math.log(1e5), rel=1e-5)
    with pytest.raises(ValueError, match=r"^targets: .*1\.00001 in"):
        losses.cross_entropy(z, t * (1 + 1e-5))


def test_labels_of_any_integers_and_strides():
    z = np.random.default_rng(8).normal(size=(4, 3))
    y = np.array([2, 0, 1, 2])
    expected = losses.cross_entropy(z, y)[0]
    for labels in (y.tolist(), y.astype(np.uint8), y.astype(">i2"), np.repeat(y, 2)[::2]):
        assert losses.cross_entropy(z, labels)[0] == expected
    assert losses.cross_entropy(np.asfortranarray(z), y)[0] == expected


Z = np.zeros((2, 3))
BAD = {
    "a number": (losses.softmax, (1.0,), ValueError, "logits"),
    "text": (losses.softmax, ("abc",), TypeError, "logits"),
    "complex": (losses.log_softmax, ([1j],), TypeError, "logits"),
    "ragged": (losses.softmax, ([[1.0], [1.0, 2.0]],), ValueError, "logits"),
    "masked": (losses.softmax, (np.ma.masked_array([1.0, 2.0], [0, 1]),), TypeError, "logits"),
    "empty": (losses.softmax, ([],), ValueError, "logits"),
    "no classes": (losses.softmax, (np.zeros((3, 0)),), ValueError, "logits"),
    "no samples": (losses.cross_entropy, (np.zeros((0, 3)), np.zeros(0, int)), ValueError, "logits"),
    "label too large": (losses.cross_entropy, (Z, [0, 3]), ValueError, r"targets: .*0 to 2, got 3 at \[1\]"),
    "label negative": (losses.softmax_mse, (Z, [-1, 0]), ValueError, r"targets: .*got -1 at \[0\]"),
    "label huge": (losses.cross_entropy, (Z, np.array([0, 2**64 - 1], np.uint64)), ValueError, "targets"),
    "float labels": (losses.cross_entropy, (Z, [0.0, 1.0]), TypeError, "targets: .*float64"),
    "boolean labels": (losses.cross_entropy, (Z, [True, False]), TypeError, "targets: .*bool"),
    "too few labels": (losses.cross_entropy, (Z, [0]), ValueError, r"targets: .*\(2,\).*\(2, 3\).*\(1,\)"),
    "a column of labels": (losses.cross_entropy, (Z, [[0], [1]]), ValueError, "targets"),
    "transposed": (losses.cross_entropy, (Z, np.full((3, 2), 0.5)), ValueError, "targets"),
    "a sum": (losses.cross_entropy, (Z, [[1, 0, 0], [0.5, 0.4, 0]]), ValueError, r"targets: .*0\.9 in .*1"),
    "a sum, float32": (losses.softmax_mse, (Z, np.full((2, 3), 0.34, "f4")), ValueError, "targets"),
    "negative": (losses.cross_entropy, (Z, [[1, 0, 0], [1.5, -0.5, 0]]), ValueError, r"targets: .*-0\.5 in"),
    "NaN target": (losses.cross_entropy, (Z, [[1, 0, 0], [np.nan, 1, 0]]), ValueError, "targets: .*nan in"),
    "infinite target": (losses.cross_entropy, (Z, [[1, 0, 0], [np.inf, 0, 0]]), ValueError, "targets"),
    "no targets": (losses.cross_entropy, (Z, None), TypeError, "targets"),
    "mse of a number": (losses.mse, (1.0, 1.0), ValueError, "outputs"),
    "mse of nothing": (losses.mse, ([], []), ValueError, "outputs"),
    "mse, broadcast": (losses.mse, (np.zeros((3, 1)), np.zeros(3)), ValueError, r"targets: .*\(3,\)"),
    "mse, text": (losses.mse, ([1.0], ["a"]), TypeError, "targets"),
    "base 1": (partial(losses.logistic, base=1), (0.0,), ValueError, "base"),
    "base 1/2": (partial(losses.logistic, base=0.5), (0.0,), ValueError, "base"),
    "base infinite": (partial(losses.logistic, base=math.inf), (0.0,), ValueError, "base"),
    "base NaN": (partial(losses.logistic, base=math.nan), (0.0,), ValueError, "base"),
    "base None": (partial(losses.logistic, base=None), (0.0,), TypeError, "base"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    function, args, error, match = BAD[case]
    with pytest.raises(error, match=f"^{match}"):
        function(*args)


@margins
@pytest.mark.parametrize(
    ("margin", "error"),
    [([], ValueError), ("a", TypeError), ([1j], TypeError), (None, TypeError), ([[1], [1, 2]], ValueError)],
)
def test_bad_margins(name, margin, error):
    with pytest.raises(error, match=r"^margin: "):
        MARGIN[name][0](margin)


def calls_with_out():
    z, t = np.random.default_rng(9).normal(size=(4, 5)), np.full((4, 5), 0.2)
    return {
        "softmax": (losses.softmax, (z,)),
        "log_softmax": (losses.log_softmax, (z,)),
        "cross_entropy": (losses.cross_entropy, (z, np.array([0, 1, 2, 4]))),
        "cross_entropy, rows": (losses.cross_entropy, (z, t)),
        "softmax_mse": (losses.softmax_mse, (z, t)),
        "mse": (losses.mse, (z, t)),
    }


with_out = pytest.mark.parametrize("name", calls_with_out())


@with_out
@BOTH
def test_out_takes_the_result(name, dtype):
    function, (z, *others) = calls_with_out()[name]
    z = z.astype(dtype)
    out = np.empty_like(z)
    result = function(z, *others, out=out)
    expected = function(z, *others)
    if isinstance(result, tuple):
        assert result[0] == expected[0]
        result, expected = result[1], expected[1]
    assert result is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("k", [3, 31, 32, 100, 256, 3000])
@BOTH
def test_in_place(k, dtype):
    z = np.random.default_rng(10).normal(size=(5, k)).astype(dtype)
    for function in (losses.softmax, losses.log_softmax):
        expected, place = function(z), z.copy()
        assert function(place, out=place) is place
        np.testing.assert_array_equal(place, expected)
    expected, place = losses.mse(z, z[::-1])[1], z.copy()
    losses.mse(place, z[::-1], out=place)
    np.testing.assert_array_equal(place, expected)


@with_out
def test_out_that_does_not_fit(name):
    function, args = calls_with_out()[name]
    readonly = np.empty((4, 5))
    readonly.flags.writeable = False
    for out in (
        np.empty((4, 6)),
        np.empty(20),
        np.empty((4, 5), np.float32),
        np.empty((4, 5), ">f8"),
        np.empty((5, 4)).T,
        np.empty((4, 10))[:, ::2],
        readonly,
    ):
        with pytest.raises(ValueError, match=r"^out: "):
            function(*args, out=out)
    with pytest.raises(TypeError, match=r"^out: "):
        function(*args, out=[[0.0] * 5] * 4)


@with_out
def test_out_that_overlaps(name):
    function, (z, *others) = calls_with_out()[name]
    memory = np.random.default_rng(11).normal(size=25)
    memory[:20] = z.ravel()
    before = memory.copy()
    z = memory[:20].reshape(4, 5)
    with pytest.raises(ValueError, match=r"^out: "):
        function(z, *others, out=memory[5:].reshape(4, 5))
    if others and others[0].dtype == float:
        with pytest.raises(ValueError, match=r"^out: "):
            function(z, *others, out=others[0])
    if name.startswith(("cross_entropy", "softmax_mse")):
        with pytest.raises(ValueError, match=r"^out: "):
            function(z, *others, out=z)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("targets", [[0, 9], [[1.0, 0, 0], [1.0, 1.0, 0]]], ids=["labels", "rows"])
def test_an_error_changes_nothing(targets):
    out = np.full((2, 3), 7.0)
    for function in (losses.cross_entropy, losses.softmax_mse):
        with pytest.raises(ValueError, match=r"^targets"):
            function(Z, targets, out=out)
    assert (out == 7).all()


# Properties -------------------------------------------------------------------------------------------------

logits = hnp.arrays(
    float,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
    elements=st.floats(-1e4, 1e4, allow_subnormal=False),
)
whole_logits = hnp.arrays(
    float,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
    elements=st.integers(-1000, 1000).map(float),
)
any_logits = hnp.arrays(
    st.sampled_from([SINGLE, DOUBLE]),
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=40),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(any_logits)
@settings(deadline=None)
def test_probabilities(z):
    p = losses.softmax(z)
    assert (p >= 0).all()
    assert (p <= 1).all()
    for row in p.reshape(-1, p.shape[-1]):  # added exactly
        assert abs(math.fsum(row) - 1) <= 4 * np.finfo(z.dtype).eps
    assert (np.take_along_axis(p, z.argmax(-1, keepdims=True), -1) == p.max(-1, keepdims=True)).all()
    log_p = losses.log_softmax(z)
    assert (log_p <= 0).all()
    assert np.isfinite(log_p).all()


@given(whole_logits, st.integers(-(2**30), 2**30))
@settings(deadline=None)
def test_a_whole_shift_changes_nothing(z, c):
    """Whole numbers: the sum is exact, and so are the differences."""
    np.testing.assert_array_equal(losses.softmax(z + c), losses.softmax(z))
    np.testing.assert_array_equal(losses.log_softmax(z + c), losses.log_softmax(z))
    y = np.zeros(len(z), int)
    for function in (losses.cross_entropy, losses.softmax_mse):
        (value, gradient), shifted = function(z, y), function(z + c, y)
        assert shifted[0] == value
        np.testing.assert_array_equal(shifted[1], gradient)


@given(logits, st.floats(-100, 100))
@settings(deadline=None)
def test_a_shift_changes_no_more_than_its_rounding(z, c):
    # z + c is rounded to 1e4 eps = 2e-12, and p moves by at most half of that.
    np.testing.assert_allclose(losses.softmax(z + c), losses.softmax(z), rtol=0, atol=4e-12)


@given(logits)
@settings(deadline=None)
def test_differences_of_logits_are_logarithms_of_ratios(z):
    log_p = losses.log_softmax(z)
    scale = np.abs(z).max() + 1
    np.testing.assert_allclose(log_p - log_p[:, :1], z - z[:, :1], rtol=0, atol=8e-16 * scale)


@given(logits, st.data())
@settings(deadline=None)
def test_bounds_and_balance(z, data):
    n, k = z.shape
    y = data.draw(hnp.arrays(int, n, elements=st.integers(0, k - 1)))
    value, gradient = losses.cross_entropy(z, y)
    assert value >= 0
    assert math.isfinite(value)
    assert (np.abs(gradient) <= 1 / n).all()
    np.testing.assert_allclose(gradient.sum(1), 0, atol=1e-14)
    likelihood = losses.log_softmax(z)[np.arange(n), y].mean()
    assert value == pytest.approx(-likelihood, rel=1e-12, abs=1e-300)
    value, gradient = losses.softmax_mse(z, y)
    assert 0 <= value <= 2 + 1e-15
    np.testing.assert_allclose(gradient.sum(1), 0, atol=1e-14)


@given(logits)
@settings(deadline=None)
def test_entropy_is_the_least_cross_entropy(z):
    """Against its own probabilities as targets: the gradient is zero."""
    p = losses.softmax(z)
    value, gradient = losses.cross_entropy(z, p)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)
    assert -1e-15 <= value <= math.log(z.shape[1]) + 1e-12
