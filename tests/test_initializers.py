"""Every initializer: its bounds, its moments within standard errors, its numbers again from the seed."""

import math
from functools import partial

import numpy as np
import pytest

from optlab import initializers, losses

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])

# Name: the function, its variance, and the fourth moment over the square of the variance.
UNIFORM, NORMAL = 9 / 5, 3.0
SCALED = {
    "uniform": (initializers.uniform, lambda n_in, n_out: 1 / (3 * n_in), UNIFORM),
    "glorot_uniform": (initializers.glorot_uniform, lambda n_in, n_out: 2 / (n_in + n_out), UNIFORM),
    "glorot_normal": (initializers.glorot_normal, lambda n_in, n_out: 2 / (n_in + n_out), NORMAL),
    "he_uniform": (initializers.he_uniform, lambda n_in, n_out: 2 / n_in, UNIFORM),
    "he_normal": (initializers.he_normal, lambda n_in, n_out: 2 / n_in, NORMAL),
    "normal": (partial(initializers.normal, std=0.3), lambda n_in, n_out: 0.09, NORMAL),
}
RANDOM = {name: row[0] for name, row in SCALED.items()} | {
    "orthogonal": initializers.orthogonal,
    "sparse": partial(initializers.sparse, nonzeros=2),
}
# Shape, fan_in, fan_out.
LAYERS = {
    "dense": ((300, 200), 300, 200),
    "widening": ((50, 800), 50, 800),
    "convolution": ((40, 20, 5, 7), 20 * 35, 40 * 35),
    "one axis": ((64, 32, 9), 32 * 9, 64 * 9),
    "three axes": ((8, 16, 3, 4, 5), 16 * 60, 8 * 60),
}

scaled = pytest.mark.parametrize("name", SCALED)
random = pytest.mark.parametrize("name", RANDOM)
layers = pytest.mark.parametrize("layer", LAYERS)


@layers
def test_fans(layer):
    shape, *expected = LAYERS[layer]
    assert list(initializers.fans(shape)) == expected
    assert list(initializers.fans(np.array(shape))) == expected
    assert all(type(n) is int for n in initializers.fans(np.array(shape)))


# Distributions ----------------------------------------------------------------------------------------------


@BOTH
@layers
@scaled
def test_moments_are_within_four_standard_errors(name, layer, dtype):
    function, variance, kurtosis = SCALED[name]
    shape, *fans = LAYERS[layer]
    w = function(shape, rng=0, dtype=dtype).astype(float)
    expected, n = variance(*fans), w.size
    assert abs(w.mean()) <= 4 * math.sqrt(expected / n)
    squares = w**2 / expected  # their mean is 1, the mean of their squares the kurtosis
    assert abs(squares.mean() - 1) <= 4 * math.sqrt((kurtosis - 1) / n)
    eighth = {UNIFORM: 9, NORMAL: 105}[kurtosis]  # the mean of their fourth powers
    assert abs((squares**2).mean() - kurtosis) <= 4 * math.sqrt((eighth - kurtosis**2) / n)


@BOTH
@layers
@pytest.mark.parametrize("name", [name for name, row in SCALED.items() if row[2] == UNIFORM])
def test_bounds_hold_exactly(name, layer, dtype):
    function, variance, _ = SCALED[name]
    shape, *fans = LAYERS[layer]
    bound = dtype(math.sqrt(3 * variance(*fans)) * (1 + 2 * np.finfo(float).eps))
    w = np.abs(function(shape, rng=1, dtype=dtype))
    assert w.max() <= bound
    assert w.max() > bound * (1 - 20 / w.size)  # missed once in e^20 draws


@random
def test_neighbors_are_uncorrelated(name):
    # Of orthonormal columns too: the mean of their products is exactly 0. The others have standard errors.
    w = RANDOM[name]((400, 300), rng=2)
    w = w / w.std()
    for product in (w[1:] * w[:-1], w[:, 1:] * w[:, :-1]):
        assert abs(product.mean()) <= 4 * product.std() / math.sqrt(product.size)


# Random numbers ---------------------------------------------------------------------------------------------


@BOTH
@layers
@random
def test_the_same_numbers_again(name, layer, dtype):
    shape = LAYERS[layer][0]
    function = partial(RANDOM[name], shape, dtype=dtype)
    w = function(rng=3)
    assert w.shape == shape
    assert w.dtype == dtype
    assert w.flags.carray
    assert w.flags.owndata or w.base.base is None
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(function(rng=rng), w)
    np.testing.assert_array_equal(function(rng=np.int64(3)), w)
    assert (function(rng=rng) != w).any()  # it has moved on
    assert (function(rng=4) != w).any()


@layers
@random
def test_single_precision_is_double_precision_rounded(name, layer):
    function = partial(RANDOM[name], LAYERS[layer][0], rng=5)
    np.testing.assert_array_equal(function(dtype=np.float32), function().astype(np.float32))


@random
def test_rng_is_explicit(name):
    with pytest.raises(TypeError, match="rng"):
        RANDOM[name]((3, 3))
    for rng in (None, "seed", 0.5, np.random.RandomState(0)):
        with pytest.raises(TypeError, match=r"^rng: expected a Generator or a seed, got"):
            RANDOM[name]((3, 3), rng=rng)
    with pytest.raises(ValueError, match=r"^rng: "):
        RANDOM[name]((3, 3), rng=-1)


# Orthogonal -------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2), 1e-3])
@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 5), (40, 30), (30, 40), (1, 7), (7, 1), (8, 3, 5, 5), (64, 3, 3, 3), (6, 2, 3)]
)
def test_rows_or_columns_are_orthonormal(shape, gain, dtype):
    w = initializers.orthogonal(shape, gain=gain, rng=0, dtype=dtype)
    assert w.shape == shape
    Q = w.reshape(shape[0], -1).astype(float) / gain
    Q = Q if Q.shape[0] >= Q.shape[1] else Q.T
    atol = {np.float32: 3e-7, np.float64: 4e-15}[dtype]
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), rtol=0, atol=atol)


def test_lengths_are_kept_where_there_is_room():
    x = np.random.default_rng(0).normal(size=(10, 30))
    for n_out in (30, 50):
        y = x @ initializers.orthogonal((30, n_out), rng=n_out)
        np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=1e-14)
    y = x @ initializers.orthogonal((30, 10), rng=0)
    assert (np.linalg.norm(y, axis=1) < np.linalg.norm(x, axis=1)).all()


def test_orthogonal_matrices_are_uniform():
    """Over O(n) the trace has the moments of N(0, 1) up to the fourth, for n >= 4, and half have det = -1."""
    rng, n = np.random.default_rng(6), 4000
    Q = np.array([initializers.orthogonal((5, 5), rng=rng) for _ in range(n)])
    trace = np.trace(Q, axis1=1, axis2=2)
    assert abs(trace.mean()) <= 4 / math.sqrt(n)
    assert abs((trace**2).mean() - 1) <= 4 * math.sqrt(2 / n)
    assert abs((np.linalg.det(Q) > 0).mean() - 1 / 2) <= 4 * 0.5 / math.sqrt(n)
    # Each entry: mean 0, mean square 1/5, mean fourth power 3/35.
    assert np.abs(Q.mean(0)).max() <= 4 * math.sqrt(1 / 5 / n)
    assert np.abs((Q**2).mean(0) - 1 / 5).max() <= 4 * math.sqrt((3 / 35 - 1 / 25) / n)


def test_columns_alone_are_uniform():
    rng, n = np.random.default_rng(7), 4000
    for shape in ((3, 2), (2, 3)):
        Q = np.array([initializers.orthogonal(shape, rng=rng) for _ in range(n)])
        assert np.abs(Q.mean(0)).max() <= 4 * math.sqrt(1 / 3 / n)
        assert np.abs((Q**2).mean(0) - 1 / 3).max() <= 4 * math.sqrt((1 / 5 - 1 / 9) / n)


# Sparse -----------------------------------------------------------------------------------------------------


@BOTH
@layers
@pytest.mark.parametrize("k", [1, 2, 15, None], ids=str)
def test_exactly_k_weights_into_each_unit(layer, k, dtype):
    shape, fan_in, _ = LAYERS[layer]
    k = k or fan_in
    w = initializers.sparse(shape, nonzeros=k, rng=0, dtype=dtype)
    assert w.shape == shape
    into = np.count_nonzero(w, axis=0 if len(shape) == 2 else tuple(range(1, len(shape))))
    assert (into == k).all()


def test_sparse_weights_are_normal_and_anywhere():
    units, k, std = 6000, 2, 0.7
    w = initializers.sparse((6, units), nonzeros=k, std=std, rng=0)
    drawn = w[w != 0] / std
    assert drawn.size == k * units
    assert abs(drawn.mean()) <= 4 / math.sqrt(drawn.size)
    assert abs((drawn**2).mean() - 1) <= 4 * math.sqrt(2 / drawn.size)
    assert abs((drawn**4).mean() - 3) <= 4 * math.sqrt(96 / drawn.size)
    # Each of the 15 pairs of inputs is as likely as the others.
    pairs = np.unique((w != 0).T @ (1 << np.arange(6)), return_counts=True)[1]
    assert len(pairs) == 15
    assert np.abs(pairs - units / 15).max() <= 4 * math.sqrt(units / 15 * 14 / 15)


@BOTH
def test_small_numbers_do_not_become_zeros(dtype):
    w = initializers.sparse((100, 1000), nonzeros=50, std=np.finfo(dtype).tiny, rng=0, dtype=dtype)
    assert (np.count_nonzero(w, axis=0) == 50).all()
    with pytest.raises(ValueError, match=r"^std: expected a number >= "):
        initializers.sparse((3, 3), nonzeros=1, std=np.finfo(dtype).tiny / 2, rng=0, dtype=dtype)


def test_a_zero_is_drawn_again():
    class Zeros(np.random.Generator):
        """A generator whose first numbers are zeros."""

        calls = 0

        def normal(self, *args, size=None, **kwargs):
            self.calls += 1
            drawn = super().normal(*args, size=size, **kwargs)
            return drawn * (np.arange(size) % 2) if self.calls < 4 else drawn

    rng = Zeros(np.random.PCG64(0))
    w = initializers.sparse((5, 20), nonzeros=3, rng=rng)
    assert (np.count_nonzero(w, axis=0) == 3).all()
    assert rng.calls == 4


# Biases -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shape", [4, (4,), [2, 3], (2, 3, 1, 1)])
def test_constant(shape, dtype):
    b = initializers.constant(shape, 0.1, dtype=dtype)
    assert b.dtype == dtype
    assert b.flags.carray
    np.testing.assert_array_equal(b, np.full(shape, 0.1, dtype))
    assert initializers.constant(3, -2).tolist() == [-2.0] * 3


@BOTH
@pytest.mark.parametrize("p", [[0.9, 0.09, 0.01], [1 - 1e-12, 1e-12], [0.1] * 10, [1.0]], ids=str)
def test_softmax_of_the_bias_is_the_frequencies(p, dtype):
    b = initializers.output_bias(p, dtype=dtype)
    assert b.dtype == dtype
    assert b.shape == (len(p),)
    rtol = 20 * np.finfo(dtype).eps * max(1.0, -math.log(min(p)))  # errors of b are absolute in log p
    np.testing.assert_allclose(losses.softmax(b), p, rtol=rtol, atol=0)


@BOTH
@pytest.mark.parametrize("p", [1e-300, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12])
def test_logistic_function_of_the_bias_is_the_frequency(p, dtype):
    for number in (p, np.float64(p), np.array(p)):
        b = initializers.output_bias(number, dtype=dtype)
        assert type(b) is dtype
        assert b == pytest.approx(math.log(p) - math.log1p(-p), rel=2 * float(np.finfo(dtype).eps))
    assert initializers.output_bias(0.5) == 0


def test_frequencies_may_be_counted():
    counts = np.bincount([0, 0, 1, 2, 2, 2])
    b = initializers.output_bias(counts / counts.sum())
    np.testing.assert_allclose(np.exp(b), [1 / 3, 1 / 6, 1 / 2], rtol=1e-15)
    short = np.full(7, 1 / 7, np.float16)  # their sum is 0.99976
    assert initializers.output_bias(short).dtype == np.float64


# Errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fans", *RANDOM, "constant"])
@pytest.mark.parametrize(
    ("shape", "error", "got"),
    [
        ((), ValueError, r"\(\)"),
        ((0, 3), ValueError, r"\(0, 3\)"),
        ((3, 0), ValueError, r"\(3, 0\)"),
        ((3, 3, 0, 3), ValueError, r"\(3, 3, 0, 3\)"),
        ((-1, 3), ValueError, r"\(-1, 3\)"),
        (0, ValueError, r"\(0,\)"),
        ((3.0, 3), TypeError, r"\(3\.0, 3\)"),
        ("33", TypeError, "'33'"),
        (None, TypeError, "None"),
        (((2, 3), 4), TypeError, r"\(\(2, 3\), 4\)"),
    ],
    ids=str,
)
def test_bad_shapes(name, shape, error, got):
    call = {"fans": initializers.fans, "constant": partial(initializers.constant, value=0)}.get(name)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(error, match=rf"^shape: expected .*, got {got}$"):
        call(shape) if call else RANDOM[name](shape, rng=rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("name", ["fans", *(name for name in RANDOM if name != "normal")])
@pytest.mark.parametrize("shape", [5, (5,)])
def test_layers_have_two_axes(name, shape):
    call = initializers.fans if name == "fans" else partial(RANDOM[name], rng=0)
    with pytest.raises(ValueError, match=r"^shape: expected \(n_in, n_out\) or \(out, in, .*, got \(5,\)$"):
        call(shape)


normal, orthogonal, sparse = initializers.normal, initializers.orthogonal, initializers.sparse
constant, output_bias = initializers.constant, initializers.output_bias
BAD = {
    "negative std": (partial(normal, (3, 3), std=-1, rng=0), ValueError, "std: expected .* >= 0, got -1"),
    "infinite std": (partial(normal, (3, 3), std=math.inf, rng=0), ValueError, "std: expected .*, got inf"),
    "NaN std": (partial(normal, (3, 3), std=math.nan, rng=0), ValueError, "std: expected .*, got nan"),
    "std as text": (partial(normal, (3, 3), std="1", rng=0), TypeError, "std: expected a number, got '1'"),
    "no std": (partial(normal, (3, 3), rng=0), TypeError, ".*std"),
    "std beyond float32": (
        partial(normal, (3, 3), std=1e39, rng=0, dtype=np.float32), ValueError, "std: .*float32.*1e\\+39",
    ),
    "sparse, negative std": (partial(sparse, (3, 3), nonzeros=1, std=-1.0, rng=0), ValueError, "std: .*-1"),
    "sparse, std 0": (partial(sparse, (3, 3), nonzeros=1, std=0, rng=0), ValueError, "std: .*, got 0"),
    "too many": (
        partial(sparse, (3, 5), nonzeros=4, rng=0), ValueError,
        r"nonzeros: expected at most 3, the fan_in of shape \(3, 5\), got 4",
    ),
    "too many, convolution": (
        partial(sparse, (9, 2, 3, 3), nonzeros=19, rng=0), ValueError, "nonzeros: expected at most 18.*19",
    ),
    "none": (partial(sparse, (3, 5), nonzeros=0, rng=0), ValueError, "nonzeros: expected .* >= 1, got 0"),
    "a share": (partial(sparse, (3, 5), nonzeros=0.5, rng=0), TypeError, "nonzeros: expected an integer"),
    "gain 0": (partial(orthogonal, (3, 3), gain=0, rng=0), ValueError, "gain: expected .*, got 0"),
    "negative gain": (partial(orthogonal, (3, 3), gain=-1, rng=0), ValueError, "gain: expected .*, got -1"),
    "infinite gain": (partial(orthogonal, (3, 3), gain=math.inf, rng=0), ValueError, "gain: .*, got inf"),
    "NaN constant": (partial(constant, 3, math.nan), ValueError, "value: expected .*, got nan"),
    "infinite constant": (partial(constant, 3, -math.inf), ValueError, "value: expected .*, got -inf"),
    "constant as text": (partial(constant, 3, "0"), TypeError, "value: expected a number, got '0'"),
    "constant beyond float32": (
        partial(constant, 3, -1e39, dtype=np.float32), ValueError, "value: .*float32.*-1e\\+39",
    ),
    "a class that never occurs": (
        partial(output_bias, [0.5, 0.5, 0]), ValueError, r"frequencies: expected .*> 0, got 0 at \[2\]",
    ),
    "a negative frequency": (
        partial(output_bias, [1.5, -0.5]), ValueError, r"frequencies: expected .*> 0, got -0\.5 at \[1\]",
    ),
    "NaN": (partial(output_bias, [math.nan, 1.0]), ValueError, r"frequencies: .*, got nan at \[0\]"),
    "infinity": (partial(output_bias, [math.inf, 1.0]), ValueError, "frequencies: .*sum 1, got the sum inf"),
    "counts": (partial(output_bias, [3, 1]), ValueError, "frequencies: expected .*sum 1, got the sum 4"),
    "a sum": (partial(output_bias, [0.5, 0.49]), ValueError, r"frequencies: .*sum 1, got the sum 0\.99"),
    "no class": (partial(output_bias, []), ValueError, r"frequencies: .*, got \(0,\)"),
    "a table": (partial(output_bias, [[0.5, 0.5]]), ValueError, r"frequencies: .*, got \(1, 2\)"),
    "always": (partial(output_bias, 1.0), ValueError, r"frequencies: expected .* < 1, got 1\.0"),
    "never": (partial(output_bias, 0), ValueError, "frequencies: expected .* > 0 .*, got 0"),
    "NaN alone": (partial(output_bias, math.nan), ValueError, "frequencies: .*, got nan"),
    "text": (partial(output_bias, "half"), TypeError, "frequencies: expected real numbers"),
    "masked": (partial(output_bias, np.ma.masked_array([0.5, 0.5], [0, 1])), TypeError, "frequencies"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    function, error, match = BAD[case]
    with pytest.raises(error, match=f"^{match}"):
        function()


@pytest.mark.parametrize("name", [*RANDOM, "constant", "output_bias"])
@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, int, complex, ">f8", "words", None, 3], ids=str)
def test_two_dtypes(name, dtype):
    call = {
        "constant": partial(initializers.constant, 3, 0.0),
        "output_bias": partial(initializers.output_bias, 0.5),
    }.get(name)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(TypeError, match=r"^dtype: expected float32 or float64, got "):
        call(dtype=dtype) if call else RANDOM[name]((3, 3), rng=rng, dtype=dtype)
    assert rng.bit_generator.state == before
