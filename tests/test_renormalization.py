"""Batch renormalization against its equations, and between batch norm and inference."""

import copy
import math
import pickle

import numpy as np
import pytest
import reference

from optlab.normalization import (
    batch_norm,
    batch_norm_backward,
    batch_norm_inference,
    batch_renorm,
    batch_renorm_backward,
)

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
TOLERANCE = {SINGLE: 2e-6, DOUBLE: 1e-13}
SHAPES = [(2, 1), (5, 3), (7, 33), (2, 3, 5), (1, 4, 2), (2, 3, 4, 2), (300, 17)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
AFFINE = ["none", "gamma, channel", "gamma, element", "beta, channel", "beta, element", "both, channel"]
AFFINE += ["both, element"]


def sample(shape, dtype, which="both, channel", seed=0):
    """x, dy, gamma, beta, the running mean and variance; r and d are within bounds and beyond."""
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(1, 2, size=(2, *shape))
    what, _, each = which.partition(", ")
    wide = shape[1:] if each == "element" else shape[1:2]
    gamma, beta = rng.uniform(0.5, 2, wide), rng.normal(size=wide)
    mean, var = rng.normal(1, 3, shape[1]), 4 * 10 ** rng.uniform(-1, 1, shape[1])
    return [
        None if a is None else a.astype(dtype)
        for a in (
            x,
            dy,
            gamma if what in ("gamma", "both") else None,
            beta if what in ("beta", "both") else None,
            mean,
            var,
        )
    ]


def slow(x, gamma, beta, r, d, eps):
    """The reference, with what is not given."""
    gamma = np.ones(x.shape[1]) if gamma is None else gamma
    beta = np.zeros(x.shape[1]) if beta is None else beta
    return reference.batch_renorm(x, gamma, beta, r, d, eps)


def wide(*arrays):
    return [None if a is None else a.astype(np.longdouble) for a in arrays]


@pytest.mark.parametrize(("r_max", "d_max"), [(1.0, 0.0), (1.5, 0.5), (3.0, 5.0), (math.inf, math.inf)])
@pytest.mark.parametrize("which", AFFINE)
@BOTH
@shapes
def test_both_passes_are_those_of_the_equations(shape, which, r_max, d_max, dtype):
    x, dy, gamma, beta, mean, var = sample(shape, dtype, which)
    before = [None if a is None else a.copy() for a in (x, dy, gamma, beta)]
    X, DY, G, B, M, V = wide(x, dy, gamma, beta, mean, var)
    y, cache = batch_renorm(x, gamma, beta, mean, var, r_max=r_max, d_max=d_max, eps=0.1)
    r, d = reference.renorm_corrections(X, M, V, np.longdouble(0.1), r_max, d_max)
    tolerance = TOLERANCE[dtype]
    assert cache.r.shape == cache.d.shape == (shape[1],)
    np.testing.assert_allclose(cache.r, r.astype(float), tolerance)
    np.testing.assert_allclose(cache.d, d.astype(float), tolerance, tolerance)
    expected = slow(X, G, B, r, d, 0.1).astype(float)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, tolerance, tolerance * np.abs(expected).max())
    x_hat = slow(X, None, None, r, d, 0.1).astype(float)
    np.testing.assert_allclose(cache.x_hat, x_hat, tolerance, tolerance * np.abs(x_hat).max())
    dx, dgamma, dbeta = batch_renorm_backward(dy, cache)
    ones = np.ones(shape[1] if which.endswith("channel") else shape[1:])
    gradients = reference.batch_renorm_backward(DY, X, ones if G is None else G, r, d, np.longdouble(0.1))
    for name, actual, slow_one in zip(["x", "gamma", "beta"], (dx, dgamma, dbeta), gradients, strict=True):
        given = {"x": True, "gamma": gamma is not None, "beta": beta is not None}[name]
        if not given:
            assert actual is None
            continue
        assert actual.dtype == dtype
        assert actual.shape == slow_one.shape
        atol = 4 * tolerance * max(np.abs(slow_one).max(), 1)
        np.testing.assert_allclose(actual, slow_one.astype(float), 4 * tolerance, float(atol), err_msg=name)
    for array, original in zip((x, dy, gamma, beta), before, strict=True):
        np.testing.assert_array_equal(array, original)


@pytest.mark.parametrize("which", ["none", "both, channel", "both, element"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2)], ids=str)
def test_gradients_are_those_of_the_complex_step(shape, which):
    """r and d are constants."""
    x, dy, gamma, beta, mean, var = sample(shape, DOUBLE, which)
    _, cache = batch_renorm(x, gamma, beta, mean, var, r_max=1.5, d_max=0.5, eps=0.1)
    parts = [a for a in (x, gamma, beta) if a is not None]
    cuts = np.cumsum([a.size for a in parts])[:-1]

    def loss(numbers):
        arrays = [n.reshape(a.shape) for n, a in zip(np.split(numbers, cuts), parts, strict=True)]
        g, b = arrays[1:] or (None, None)
        return (dy * slow(arrays[0], g, b, cache.r, cache.d, 0.1)).sum()

    expected = reference.complex_step(loss, np.concatenate([a.ravel() for a in parts]))
    grads = [g.ravel() for g in batch_renorm_backward(dy, cache) if g is not None]
    np.testing.assert_allclose(np.concatenate(grads), expected, 0, 1e-12 * np.abs(expected).max())


@BOTH
@shapes
def test_with_the_tightest_bounds_it_is_batch_norm(shape, dtype):
    x, dy, gamma, beta, mean, var = sample(shape, dtype)
    y, cache = batch_renorm(x, gamma, beta, mean, var, r_max=1, d_max=0)
    expected, other = batch_norm(x, gamma, beta)
    np.testing.assert_array_equal(y, expected)
    assert (cache.r == 1).all()
    assert (cache.d == 0).all()
    for g, h in zip(batch_renorm_backward(dy, cache), batch_norm_backward(dy, other), strict=True):
        np.testing.assert_array_equal(g, h)


@BOTH
@shapes
def test_without_bounds_it_is_inference(shape, dtype):
    x, _, gamma, beta, mean, var = sample(shape, dtype)
    expected = batch_norm_inference(x, gamma, beta, mean, var)
    y, _ = batch_renorm(x, gamma, beta, mean, var, r_max=math.inf, d_max=math.inf)
    np.testing.assert_allclose(y, expected, 0, 10 * TOLERANCE[dtype] * np.abs(expected).max())


@BOTH
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_running_statistics_are_used_and_then_updated(momentum, unbiased, dtype):
    x, _, _, _, mean, var = sample((6, 3), dtype)
    old_mean, old_var = mean.astype(float), var.astype(float)
    _, cache = batch_renorm(x, None, None, mean, var, momentum=momentum, unbiased=unbiased)
    sigma = np.sqrt(old_var + 1e-5)
    np.testing.assert_allclose(
        cache.d, np.clip((x.mean(0, dtype=float) - old_mean) / sigma, -5, 5), 1e-5, 1e-6
    )
    factor = 6 / 5 if unbiased else 1
    rtol = 1e-6 if dtype == SINGLE else 1e-13
    np.testing.assert_allclose(
        mean, (1 - momentum) * old_mean + momentum * x.mean(0, dtype=float), rtol, rtol
    )
    expected = (1 - momentum) * old_var + momentum * factor * x.var(0, dtype=float)
    np.testing.assert_allclose(var, expected, rtol)


def test_batches_that_are_alike_need_no_correction():
    """Near the running statistics r is near 1 and d near 0, and samples hardly depend on their batch."""
    rng = np.random.default_rng(1)
    mean, var = np.zeros(2), np.ones(2)
    for _ in range(200):
        _, cache = batch_renorm(rng.normal(size=(1000, 2)), None, None, mean, var)
    np.testing.assert_allclose(cache.r, 1, atol=0.2)
    np.testing.assert_allclose(cache.d, 0, atol=0.2)
    x = rng.normal(size=(8, 2))
    spread = [[f(x[[0, i]]) for i in range(1, 8)] for f in (
        lambda b: batch_norm(b)[0][0],
        lambda b: batch_renorm(b, None, None, mean.copy(), var.copy(), r_max=1e3, d_max=1e3)[0][0],
    )]  # fmt: skip
    assert np.std(spread[0], axis=0).min() > 0.1
    np.testing.assert_allclose(np.std(spread[1], axis=0), 0, atol=1e-12)


def test_the_cache_has_what_that_of_batch_norm_has():
    x, dy, gamma, beta, mean, var = sample((5, 3), DOUBLE)
    _, cache = batch_renorm(x, gamma, beta, mean, var, eps=0.25)
    _, other = batch_norm(x, gamma, beta, eps=0.25)
    assert cache.kind == "batch_renorm"
    assert cache.x is x
    assert cache.gamma is gamma
    assert cache.beta is beta
    assert cache.eps == 0.25
    for name in ("mean", "var", "std"):
        np.testing.assert_array_equal(getattr(cache, name), getattr(other, name))
    expected = batch_renorm_backward(dy, cache)
    for again in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        for g, h in zip(batch_renorm_backward(dy, again), expected, strict=True):
            np.testing.assert_array_equal(g, h)


def test_out_takes_the_results():
    x, dy, gamma, beta, mean, var = sample((5, 3), DOUBLE)
    expected, cache = batch_renorm(x, gamma, beta, mean.copy(), var.copy())
    out = np.empty_like(x)
    assert batch_renorm(x, gamma, beta, mean, var, out=out)[0] is out
    np.testing.assert_array_equal(out, expected)
    expected = batch_renorm_backward(dy, cache)[0].copy()
    assert batch_renorm_backward(dy, cache, out=out)[0] is out
    np.testing.assert_array_equal(out, expected)


@BOTH
def test_nan_stays_in_its_channel(dtype):
    x, dy, gamma, beta, mean, var = sample((5, 3), dtype)
    x[2, 1] = np.nan
    y, cache = batch_renorm(x, gamma, beta, mean, var)
    for a in (y, batch_renorm_backward(dy, cache)[0]):
        assert np.isnan(a).all(0).tolist() == np.isnan(a).any(0).tolist() == [False, True, False]
    assert np.isnan(mean).tolist() == [False, True, False]


# The other errors are those of batch norm: see test_normalization.py.
BAD = {
    "r_max below 1": ({"r_max": 0.5}, ValueError, "r_max: expected .*1, got 0.5"),
    "r_max NaN": ({"r_max": math.nan}, ValueError, "r_max: .*nan"),
    "r_max text": ({"r_max": "3"}, TypeError, "r_max: .*'3'"),
    "d_max negative": ({"d_max": -1.0}, ValueError, "d_max: expected .*0, got -1"),
    "d_max None": ({"d_max": None}, TypeError, "d_max: .*None"),
    "no mean": ({"running_mean": None}, TypeError, "running_mean: expected .*None"),
    "no variance": ({"running_var": None}, TypeError, "running_var: expected .*None"),
    "negative variance": (
        {"running_var": np.array([1, -1.0, 1])},
        ValueError,
        "running_var: expected .*0.*-1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    changed, error, match = BAD[case]
    x, _, gamma, beta, mean, var = sample((5, 3), DOUBLE)
    out = np.full_like(x, 7.0)
    args = {"running_mean": mean, "running_var": var, **changed}
    before = copy.deepcopy((mean, var))
    with pytest.raises(error, match=f"^{match}"):
        batch_renorm(x, gamma, beta, out=out, **args)
    assert (out == 7).all()
    np.testing.assert_array_equal((mean, var), before)


def test_caches_of_another_norm():
    x, dy, gamma, beta, mean, var = sample((5, 3), DOUBLE)
    with pytest.raises(TypeError, match=r"^cache: expected .*batch_renorm.*batch_norm"):
        batch_renorm_backward(dy, batch_norm(x)[1])
    with pytest.raises(TypeError, match=r"^cache: "):
        batch_norm_backward(dy, batch_renorm(x, gamma, beta, mean, var)[1])


def test_lists_and_subclasses_are_arrays():
    class Named(np.ndarray):
        pass

    x, dy, gamma, beta, mean, var = sample((5, 3), DOUBLE)
    means, variances, out = mean.copy().view(Named), var.copy().view(Named), np.empty_like(x).view(Named)
    y, cache = batch_renorm(x, gamma, beta, mean, var)
    z, other = batch_renorm(x.tolist(), gamma.tolist(), beta.tolist(), means, variances, out=out)
    assert z is out
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal((mean, var), np.array((means, variances)))
    for a, b in zip(batch_renorm_backward(dy, cache), batch_renorm_backward(dy, other), strict=True):
        np.testing.assert_array_equal(a, b)
