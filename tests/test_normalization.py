"""Every norm against its equations, its derivatives against the complex step, and what data may do to it."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab import normalization
from optlab.normalization import (
    Cache,
    batch_norm,
    batch_norm_backward,
    batch_norm_inference,
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
)

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
# In units of the sizes of the terms (`forward_scale`, `backward_scale`): float32 a few roundings.
TOLERANCE = {SINGLE: 4e-7, DOUBLE: 1e-13}
EPS = 1e-5

FORWARD = {"batch": batch_norm, "layer": layer_norm, "instance": instance_norm, "group": group_norm}
BACKWARD = {
    "batch": batch_norm_backward,
    "layer": layer_norm_backward,
    "instance": instance_norm_backward,
    "group": group_norm_backward,
}


class Case(NamedTuple):
    """A norm and a shape; `groups` or the number of `last` axes, where the norm has them."""

    kind: str
    shape: tuple
    groups: int | None = None
    last: int | None = None

    @property
    def args(self):
        """The keywords of the package."""
        if self.kind == "group":
            return {"groups": self.groups}
        return {} if self.last is None else {"normalized_shape": self.shape[-self.last :]}

    @property
    def where(self):
        """Those of the reference."""
        return {"groups": self.groups, "last": self.last}

    def forward(self, x, gamma=None, beta=None, **kwargs):
        return FORWARD[self.kind](x, gamma, beta, **self.args, **kwargs)

    def backward(self, dy, cache, **kwargs):
        return BACKWARD[self.kind](dy, cache, **kwargs)

    def statistics_shape(self):
        n, c, *_ = self.shape
        if self.kind == "layer":
            return self.shape[: 1 if self.last is None else -self.last]
        return {"batch": (c,), "instance": (n, c), "group": (n, self.groups)}[self.kind]


# Around the widths of vectors and the lengths of blocks.
LENGTHS = [1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 127, 129, 257, 1000]
CASES = [Case("batch", (5, c)) for c in LENGTHS]
CASES += [Case("batch", (n, 3)) for n in LENGTHS[1:]]
CASES += [Case("batch", (2, 3, n)) for n in LENGTHS]
CASES += [
    Case("batch", s) for s in [(2, 1), (1, 3, 7), (3, 17, 5), (2, 3, 4, 5), (1, 2, 1, 129), (2, 17, 8, 8)]
]
CASES += [Case("batch", s) for s in [(3000, 5), (700, 1, 3), (4, 2, 3, 2, 3), (300, 33)]]
CASES += [Case("layer", (3, c)) for c in LENGTHS]
CASES += [
    Case("layer", s) for s in [(1, 1), (1, 100), (2000, 7), (129, 16), (2, 3, 5), (3, 2, 4, 5), (2, 1, 33)]
]
CASES += [Case("layer", (2, 3, d), last=1) for d in LENGTHS]
CASES += [
    Case("layer", s, last=k) for s, k in [((4, 7), 1), ((2, 3, 4, 5), 2), ((2, 3, 4, 5), 3), ((9, 1, 1), 2)]
]
CASES += [Case("instance", (2, 3, n)) for n in LENGTHS]
CASES += [Case("instance", s) for s in [(1, 1, 9), (2, 3, 5, 7), (3, 2, 3, 2, 5), (50, 3, 3), (2, 17, 8, 8)]]
CASES += [Case("group", (2, 6, n), groups=g) for n, g in zip(LENGTHS, [1, 2, 3, 6] * 4, strict=False)]
CASES += [Case("group", (2, c), groups=1) for c in LENGTHS]
CASES += [Case("group", (3, 8), groups=g) for g in (2, 4, 8)]
CASES += [Case("group", (2, 12, 3, 5), groups=g) for g in (1, 4, 12)]
CASES += [Case("group", (1, 6, 2, 1, 9), groups=2), Case("group", (40, 32, 5), groups=8)]
SMALL = [
    Case("batch", (4, 3)),
    Case("batch", (2, 3, 4)),
    Case("batch", (2, 2, 3, 2)),
    Case("layer", (3, 5)),
    Case("layer", (2, 3, 2, 2)),
    Case("layer", (2, 3, 4), last=1),
    Case("layer", (2, 2, 3, 2), last=2),
    Case("instance", (2, 3, 4)),
    Case("instance", (2, 2, 3, 2)),
    Case("group", (2, 6), groups=2),
    Case("group", (2, 4, 3), groups=2),
    Case("group", (2, 4, 2, 3), groups=4),
]

cases = pytest.mark.parametrize("case", CASES, ids=lambda c: " ".join(str(v) for v in c if v is not None))
small = pytest.mark.parametrize("case", SMALL, ids=lambda c: " ".join(str(v) for v in c if v is not None))
AFFINE = ["none", "gamma, channel", "gamma, element", "beta, channel", "beta, element", "both, channel"]
AFFINE += ["both, element"]


def affine(case, which, rng, dtype):
    """gamma and beta, of numbers that are neither small nor whole."""
    what, _, each = which.partition(", ")
    shape = case.shape[1:] if each == "element" else case.shape[1:2]
    if case.last is not None:
        shape = case.shape[-case.last :]
    gamma, beta = rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape), rng.normal(size=shape)
    return (
        gamma.astype(dtype) if what in ("gamma", "both") else None,
        beta.astype(dtype) if what in ("beta", "both") else None,
    )


def sample(case, rng, dtype):
    """x and dy; every channel has a mean and a deviation of its own."""
    wide = (1, case.shape[1], *[1] * (len(case.shape) - 2))
    x = rng.normal(size=case.shape) * rng.uniform(0.5, 3, wide) + rng.normal(size=wide)
    return x.astype(dtype), rng.normal(size=case.shape).astype(dtype)


def exact(*arrays):
    return [None if a is None else a.astype(np.longdouble) for a in arrays]


def mean_over_blocks(case, values):
    blocks, axes = reference.blocks(case.kind, values, **case.where)
    return np.broadcast_to(blocks.mean(axes, keepdims=True), blocks.shape).reshape(values.shape)


def forward_scale(case, x, gamma, beta, eps):
    """What each result is made of: |gamma| (|x_hat| + its root mean square) + |beta|."""
    x_hat = reference.x_hat(case.kind, x, eps, **case.where)
    scale = np.abs(x_hat) + np.sqrt(mean_over_blocks(case, x_hat**2))
    if gamma is not None:
        scale = scale * np.abs(reference.along(gamma, x, case.last))
    return scale if beta is None else scale + np.abs(reference.along(beta, x, case.last))


def backward_scale(case, dy, x, gamma, eps):
    """The sizes of the three terms of dx, and of the sums that are dgamma and dbeta."""
    x_hat = reference.x_hat(case.kind, x, eps, **case.where)
    parts = np.abs(x_hat) + np.sqrt(mean_over_blocks(case, x_hat**2))
    d = np.abs(dy if gamma is None else reference.along(gamma, x, case.last) * dy)
    var = reference.statistics(case.kind, x, **case.where)[1]
    blocks = reference.blocks(case.kind, d, **case.where)[0]
    std = np.broadcast_to(np.sqrt(var + eps), blocks.shape).reshape(x.shape)
    dx = (d + mean_over_blocks(case, d) + parts * mean_over_blocks(case, d * parts)) / std
    shared = tuple(range(1 if case.last is None else x.ndim - case.last))
    return dx, np.abs(dy) * parts, np.abs(dy), shared


def check(actual, expected, scale, tolerance, dtype):
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    error = np.abs(actual.astype(np.longdouble) - expected)
    tiny = 2 * np.finfo(dtype).smallest_subnormal.astype(np.longdouble)
    worst = np.unravel_index(np.argmax(error - tolerance * scale), error.shape)
    assert (error <= tolerance * scale + tiny).all(), (
        f"at {worst}: {actual[worst]}, not {expected[worst]}: {error[worst] / scale[worst]:.2e} of the scale"
    )


def compare(case, x, dy, gamma, beta, eps, tolerance=None):
    """Forward and backward against the equations, in units of what they add up."""
    dtype = x.dtype
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    before = [None if a is None else a.copy() for a in (x, dy, gamma, beta)]
    y, cache = case.forward(x, gamma, beta, eps=eps)
    dx, dgamma, dbeta = case.backward(dy, cache)
    for array, original in zip((x, dy, gamma, beta), before, strict=True):
        if array is not None:
            np.testing.assert_array_equal(array, original)
    X, DY, G, B = exact(x, dy, gamma, beta)
    eps = np.longdouble(eps)
    expected = reference.norm(case.kind, X, G, B, eps, **case.where)
    check(y, expected, forward_scale(case, X, G, B, eps), tolerance, dtype)
    scale_x, scale_gamma, scale_beta, shared = backward_scale(case, DY, X, G, eps)
    # The shape of dbeta is that of beta, also where there is no gamma.
    like = G if G is not None else B
    expected_dx = reference.norm_backward(case.kind, DY, X, G, eps, **case.where)[0]
    check(dx, expected_dx, scale_x, tolerance, dtype)
    if like is None:
        assert dgamma is None
        assert dbeta is None
        return y, cache
    _, expected_dgamma, expected_dbeta = reference.norm_backward(
        case.kind, DY, X, np.ones_like(like), eps, **case.where
    )
    if like.ndim == 1 and case.last is None:
        shared += tuple(range(2, x.ndim))
    assert (dgamma is None) == (gamma is None)
    assert (dbeta is None) == (beta is None)
    if gamma is not None:
        check(dgamma, expected_dgamma, scale_gamma.sum(shared), tolerance, dtype)
    if beta is not None:
        check(dbeta, expected_dbeta, scale_beta.sum(shared), tolerance, dtype)
    return y, cache


# Values and derivatives -------------------------------------------------------------------------------------


@BOTH
@cases
def test_both_passes_are_those_of_the_equations(case, dtype):
    rng = np.random.default_rng(0)
    for which in AFFINE:
        x, dy = sample(case, rng, dtype)
        compare(case, x, dy, *affine(case, which, rng, dtype), EPS)


@BOTH
@cases
def test_the_cache_has_the_statistics(case, dtype):
    rng = np.random.default_rng(1)
    x, _ = sample(case, rng, dtype)
    gamma, beta = affine(case, "both, channel", rng, dtype)
    _, cache = case.forward(x, gamma, beta, eps=0.25)
    assert cache.kind == f"{case.kind}_norm"
    assert cache.x is x
    assert cache.gamma is gamma
    assert cache.eps == 0.25
    mu, var = reference.statistics(case.kind, x.astype(np.longdouble), **case.where)
    shape = case.statistics_shape()
    for name, expected in (("mean", mu), ("var", var), ("std", np.sqrt(var + 0.25))):
        value = getattr(cache, name)
        assert value.shape == shape
        assert value.dtype == float
        # Blocks of float32 may be added in float32.
        np.testing.assert_allclose(value, expected.reshape(shape).astype(float), 1e-6, 1e-6, err_msg=name)
        if dtype == DOUBLE:
            np.testing.assert_allclose(value, expected.reshape(shape).astype(float), 1e-12, 1e-12)
    x_hat = reference.x_hat(case.kind, x.astype(np.longdouble), 0.25, **case.where)
    assert cache.x_hat.dtype == dtype
    np.testing.assert_allclose(cache.x_hat, x_hat.astype(float), 1e-6, 1e-6)


def gradients(case, which):
    """A loss as a function of all numbers, x then gamma then beta, and its gradient by the backward pass."""
    rng = np.random.default_rng(2)
    x, dy = sample(case, rng, DOUBLE)
    gamma, beta = affine(case, which, rng, DOUBLE)
    parts = [a for a in (x, gamma, beta) if a is not None]
    cuts = np.cumsum([a.size for a in parts])[:-1]

    def take(numbers):
        arrays = iter(p.reshape(a.shape) for p, a in zip(np.split(numbers, cuts), parts, strict=True))
        return [None if a is None else next(arrays) for a in (x, gamma, beta)]

    grads = case.backward(dy, case.forward(x, gamma, beta, eps=0.1)[1])
    gradient = np.concatenate([g.ravel() for g in grads if g is not None])
    return take, dy, np.concatenate([a.ravel() for a in parts]), gradient


@pytest.mark.parametrize("which", AFFINE)
@small
def test_gradients_are_those_of_the_complex_step(case, which):
    take, dy, numbers, gradient = gradients(case, which)

    def loss(at):
        return (dy * reference.norm(case.kind, *take(at), 0.1, **case.where)).sum()

    expected = reference.complex_step(loss, numbers)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("which", ["none", "both, channel", "both, element"])
@small
def test_gradients_are_those_of_differences(case, which):
    take, dy, numbers, gradient = gradients(case, which)

    def loss(at):
        return (dy * case.forward(*take(at), eps=0.1)[0]).sum()

    h = 1e-5
    expected = [(loss(numbers + h * e) - loss(numbers - h * e)) / (2 * h) for e in np.eye(len(numbers))]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@small
def test_a_gradient_has_no_part_along_shifts_and_scales(case):
    """The loss does not change if a block is shifted or, without eps, scaled: dx is orthogonal to both."""
    rng = np.random.default_rng(3)
    x, dy = sample(case, rng, DOUBLE)
    dx, *_ = case.backward(dy, case.forward(x, eps=1e-30)[1])
    for direction in (np.ones_like(x), x):
        size = np.sqrt(mean_over_blocks(case, direction**2) * mean_over_blocks(case, dx**2))
        assert (np.abs(mean_over_blocks(case, dx * direction)) <= 1e-12 * size + 1e-13).all()


@BOTH
def test_many_rows(dtype):
    rng = np.random.default_rng(4)
    shape = (8192, 1024) if dtype == SINGLE else (2048, 513)
    x = rng.standard_normal(shape, dtype) + dtype.type(3)
    dy = rng.standard_normal(shape, dtype)
    gamma, beta = rng.standard_normal((2, shape[1]), dtype)
    for kind, some in (("layer", np.s_[::499, :]), ("batch", np.s_[:, ::113])):
        case = Case(kind, shape)
        y, cache = case.forward(x, gamma, beta)
        dx, dgamma, dbeta = case.backward(dy, cache)
        columns = some[1]
        X, DY, G, B = exact(x[some], dy[some], gamma[columns], beta[columns])
        scale = forward_scale(case, X, G, B, EPS)
        check(y[some], reference.norm(kind, X, G, B, EPS), scale, TOLERANCE[dtype], dtype)
        scale_x, scale_gamma, scale_beta, _ = backward_scale(case, DY, X, G, EPS)
        expected = reference.norm_backward(kind, DY, X, G, EPS)
        check(dx[some], expected[0], scale_x, TOLERANCE[dtype], dtype)
        if kind == "batch":
            check(dgamma[columns], expected[1], scale_gamma.sum(0), TOLERANCE[dtype], dtype)
            check(dbeta[columns], expected[2], scale_beta.sum(0), TOLERANCE[dtype], dtype)
        else:
            np.testing.assert_allclose(dbeta, dy.sum(0, dtype=float), 0, TOLERANCE[dtype] * 8192)
            # By the normalized input itself: rounded, so with one rounding more.
            sums = np.einsum("ij,ij->j", dy, cache.x_hat, dtype=float)
            np.testing.assert_allclose(dgamma, sums, 0, TOLERANCE[dtype] * 8192)


# Properties -------------------------------------------------------------------------------------------------

SHAPES = [(3, 6), (2, 4, 5), (2, 6, 3, 4), (1, 1, 7)]


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("which", AFFINE)
def test_one_group_is_layer_norm_and_a_group_a_channel_is_instance_norm(shape, which, dtype):
    rng = np.random.default_rng(5)
    one, all_channels = Case("group", shape, groups=1), Case("group", shape, groups=shape[1])
    x, dy = sample(one, rng, dtype)
    gamma, beta = affine(one, which, rng, dtype)
    pairs = [(one, Case("layer", shape))]
    if len(shape) > 2:
        pairs.append((all_channels, Case("instance", shape)))
    if which == "none":
        pairs.append((Case("layer", shape), Case("layer", shape, last=len(shape) - 1)))
    for a, b in pairs:
        (y, cache), (z, other) = a.forward(x, gamma, beta), b.forward(x, gamma, beta)
        atol = 1e-12 if dtype == DOUBLE else 1e-6
        np.testing.assert_allclose(y, z, 0, atol)
        for g, h in zip(a.backward(dy, cache), b.backward(dy, other), strict=True):
            if g is None:
                assert h is None
            else:
                np.testing.assert_allclose(g, h, 0, 8 * atol)


def test_instance_norm_is_batch_norm_of_single_samples():
    x = np.random.default_rng(6).normal(size=(3, 4, 5, 2))
    y, _ = instance_norm(x)
    for i in range(3):
        np.testing.assert_allclose(y[[i]], batch_norm(x[[i]])[0], 0, 1e-13)


def test_batch_norm_is_layer_norm_of_the_transposed():
    x = np.random.default_rng(7).normal(size=(5, 9))
    expected = layer_norm(np.ascontiguousarray(x.T))[0].T
    np.testing.assert_allclose(batch_norm(x)[0], expected, 0, 1e-13)


def test_the_last_axis_is_layer_norm_of_each_position():
    x = np.random.default_rng(8).normal(size=(3, 4, 5))
    gamma, beta = np.random.default_rng(9).normal(size=(2, 5))
    y, cache = layer_norm(x, gamma, beta, normalized_shape=5)
    z, other = layer_norm(x.reshape(12, 5), gamma, beta)
    np.testing.assert_allclose(y.reshape(12, 5), z, 0, 1e-13)
    assert cache.mean.shape == (3, 4)
    np.testing.assert_allclose(cache.mean.ravel(), other.mean, 0, 1e-13)
    np.testing.assert_array_equal(layer_norm(x, gamma, beta, normalized_shape=(5,))[0], y)


@BOTH
@small
def test_results_have_mean_zero_and_variance_one(case, dtype):
    x, _ = sample(case, np.random.default_rng(10), dtype)
    y, cache = case.forward(x, eps=1e-30)
    atol = 1e-6 if dtype == SINGLE else 1e-13
    y = y.astype(float)
    np.testing.assert_allclose(mean_over_blocks(case, y), 0, 0, atol)
    np.testing.assert_allclose(mean_over_blocks(case, y**2), 1, 0, atol)
    np.testing.assert_allclose(cache.x_hat, y, 0, atol)


@small
@given(exponent=st.integers(-40, 40), shift=st.integers(-1000, 1000))
@settings(deadline=None, max_examples=15)
def test_shifts_and_scales_change_nothing(case, exponent, shift):
    """Whole numbers times powers of two: neither rounds."""
    rng = np.random.default_rng(11)
    x = rng.integers(-99, 100, case.shape).astype(float)
    _, dy = sample(case, rng, DOUBLE)
    scale = 2.0**exponent
    y, cache = case.forward(x, eps=1e-60)
    z, scaled = case.forward((x + shift) * scale, eps=1e-60)
    np.testing.assert_allclose(z, y, 0, 1e-12)
    # The larger the weights, the smaller their gradient.
    dx, dz = case.backward(dy, cache)[0], case.backward(dy, scaled)[0]
    np.testing.assert_allclose(dz * scale, dx, 0, 1e-11 * np.abs(dx).max())


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 0.1, 10.0, 100.0, 1e3])
@small
def test_scales_of_the_decimal_system(case, scale):
    x, dy = sample(case, np.random.default_rng(12), DOUBLE)
    y, cache = case.forward(x, eps=1e-30)
    z, scaled = case.forward(x * scale, eps=1e-30)
    np.testing.assert_allclose(z, y, 0, 1e-11)
    dx, dz = case.backward(dy, cache)[0], case.backward(dy, scaled)[0]
    np.testing.assert_allclose(dz * scale, dx, 0, 1e-10 * np.abs(dx).max())


@BOTH
@pytest.mark.parametrize(
    "case", [c for c in SMALL if c.kind != "batch"] + [Case("layer", (50, d)) for d in LENGTHS], ids=str
)
def test_a_sample_does_not_know_its_batch(case, dtype):
    """Wherever the sample is, and how many others there are: y to the bit; dx of four samples at a time takes
    another way than of one."""
    rng = np.random.default_rng(13)
    x, dy = sample(case, rng, dtype)
    gamma, beta = affine(case, "both, element", rng, dtype)
    y, cache = case.forward(x, gamma, beta)
    dx, *_ = case.backward(dy, cache)
    for some in (slice(0, 1), slice(1, 2), slice(1, None), slice(None, None, -1)):
        part = Case(case.kind, (len(x[some]), *case.shape[1:]), case.groups, case.last)
        z, other = part.forward(np.ascontiguousarray(x[some]), gamma, beta)
        np.testing.assert_array_equal(z, y[some])
        dz, *_ = part.backward(np.ascontiguousarray(dy[some]), other)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(dz, dx[some], rtol=8 * eps, atol=8 * eps * np.abs(dx).max())


# Inference --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("which", AFFINE)
@pytest.mark.parametrize(
    "shape", [(5, c) for c in LENGTHS] + [(1, 3), (2, 3, 17), (2, 17, 4, 5), (3, 2, 2, 3, 4)], ids=str
)
def test_inference_is_the_equation(shape, which, dtype):
    case, rng = Case("batch", shape), np.random.default_rng(14)
    x, _ = sample(case, rng, dtype)
    gamma, beta = affine(case, which, rng, dtype)
    mean, var = rng.normal(size=shape[1]).astype(dtype), rng.uniform(0, 3, shape[1]).astype(dtype)
    var[0] = 0
    y = batch_norm_inference(x, gamma, beta, mean, var, eps=0.01)
    X, G, B, M, V = exact(x, gamma, beta, mean, var)
    M, V = reference.along(M, X), reference.along(V, X)
    expected, scale = (X - M) / np.sqrt(V + 0.01), (np.abs(X) + np.abs(M)) / np.sqrt(V + 0.01)
    if G is not None:
        expected, scale = reference.along(G, X) * expected, np.abs(reference.along(G, X)) * scale
    if B is not None:
        expected, scale = expected + reference.along(B, X), scale + np.abs(reference.along(B, X))
    check(y, expected, scale, TOLERANCE[dtype], dtype)


def test_inference_is_affine():
    rng = np.random.default_rng(15)
    a, b = rng.normal(size=(2, 4, 3, 5))
    gamma, beta, mean = rng.normal(size=(3, 3))
    f = partial(batch_norm_inference, gamma=gamma, beta=beta, mean=mean, var=rng.uniform(0.1, 2, 3))
    np.testing.assert_allclose(f(0.3 * a + 0.7 * b), 0.3 * f(a) + 0.7 * f(b), 0, 1e-13)
    # What a sample becomes does not depend on the others.
    np.testing.assert_array_equal(f(a[:1]), f(a)[:1])


@BOTH
def test_inference_by_the_statistics_of_the_batch_is_training(dtype):
    case, rng = Case("batch", (6, 5, 3)), np.random.default_rng(16)
    x, _ = sample(case, rng, dtype)
    gamma, beta = affine(case, "both, channel", rng, dtype)
    y, cache = batch_norm(x, gamma, beta)
    z = batch_norm_inference(x, gamma, beta, cache.mean.astype(dtype), cache.var.astype(dtype))
    np.testing.assert_allclose(z, y, 0, 2e-6 if dtype == SINGLE else 1e-13)


def test_inference_far_from_zero_subtracts_first():
    """x - mean is exact in float32, gamma x / sigma and its shift are not."""
    rng = np.random.default_rng(17)
    x = (1e4 + 0.01 * rng.normal(size=(100, 3))).astype(np.float32)
    mean, var = np.full(3, 1e4, np.float32), np.full(3, 1e-4, np.float32)
    y = batch_norm_inference(x, None, None, mean, var, eps=1e-30)
    expected = (x.astype(float) - 1e4) / np.sqrt(var.astype(float))
    np.testing.assert_allclose(y, expected, 4e-7, 4e-7)


@BOTH
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (1, 4, 2), (3, 17, 2, 2)], ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9, 1.0])
def test_running_statistics(shape, unbiased, momentum, dtype):
    case, rng = Case("batch", shape), np.random.default_rng(18)
    c, m = shape[1], math.prod(shape) // shape[1]
    mean, var = np.zeros(c, dtype), np.ones(c, dtype)
    slow_mean, slow_var = np.zeros(c), np.ones(c)
    for _ in range(5):
        x, _ = sample(case, rng, dtype)
        y, cache = batch_norm(x, running_mean=mean, running_var=var, momentum=momentum, unbiased=unbiased)
        np.testing.assert_array_equal(y, batch_norm(x)[0])  # they have no say in training
        mu, v = (s.ravel() for s in reference.statistics("batch", x.astype(float)))
        slow_mean = (1 - momentum) * slow_mean + momentum * mu
        slow_var = (1 - momentum) * slow_var + momentum * v * (m / (m - 1) if unbiased else 1)
        atol = 1e-6 if dtype == SINGLE else 1e-13
        np.testing.assert_allclose(mean, slow_mean, 1e-6 if dtype == SINGLE else 1e-13, atol)
        np.testing.assert_allclose(var, slow_var, 1e-6 if dtype == SINGLE else 1e-13, atol)
        np.testing.assert_allclose(cache.var, v, 1e-6, 1e-6)  # biased, whatever runs


def test_running_statistics_settle():
    x = np.random.default_rng(19).normal(3, 2, size=(50, 2))
    mean, var = np.zeros(2), np.ones(2)
    for _ in range(400):
        batch_norm(x, running_mean=mean, running_var=var)
    np.testing.assert_allclose(mean, x.mean(0), 1e-12)
    np.testing.assert_allclose(var, x.var(0, ddof=1), 1e-12)


def test_population_statistics():
    rng = np.random.default_rng(20)
    batches = rng.normal(3, 2, size=(40, 8, 3))
    mean, var = normalization.population_statistics([batch_norm(x)[1] for x in batches])
    np.testing.assert_allclose(mean, batches.mean((0, 1)), 1e-12)
    np.testing.assert_allclose(var, batches.var(1, ddof=1).mean(0), 1e-12)
    maps = rng.normal(size=(4, 2, 3, 5))
    mean, var = normalization.population_statistics(batch_norm(x)[1] for x in maps)
    np.testing.assert_allclose(mean, maps.mean((0, 1, 3)), 1e-12)
    np.testing.assert_allclose(var, maps.var((1, 3), ddof=1).mean(0), 1e-12)
    batch_norm_inference(batches[0], None, None, mean, var)  # takes them as they are


@pytest.mark.parametrize(
    ("caches", "match"),
    [
        (lambda: [], "^caches: "),
        (lambda: [layer_norm(np.ones((2, 3)))[1]], "^caches: .*batch_norm.*layer_norm"),
        (lambda: [batch_norm(np.ones((2, c)))[1] for c in (3, 4)], "^caches: .*3.*4"),
        (lambda: [1.0], "^caches: "),
    ],
)
def test_population_statistics_of_what_has_none(caches, match):
    with pytest.raises((ValueError, TypeError), match=match):
        normalization.population_statistics(caches())


# Difficult numbers ------------------------------------------------------------------------------------------

# Ways to lay out R rows of M numbers that are normalized each: to x, and from y.
LAYOUTS = {
    "batch": (lambda rows: Case("batch", rows.T.shape), lambda rows: rows.T, lambda y: y.T),
    "batch of maps": (
        lambda rows: Case("batch", (2, len(rows), rows.shape[1] // 2)),
        lambda rows: rows.reshape(len(rows), 2, -1).swapaxes(0, 1),
        lambda y: y.swapaxes(0, 1).reshape(y.shape[1], -1),
    ),
    "layer": (lambda rows: Case("layer", rows.shape), lambda rows: rows, lambda y: y),
    "layer, last axis": (
        lambda rows: Case("layer", (1, *rows.shape), last=1),
        lambda rows: rows[None],
        lambda y: y[0],
    ),
    "instance": (lambda rows: Case("instance", (1, *rows.shape)), lambda rows: rows[None], lambda y: y[0]),
    "group": (
        lambda rows: Case("group", (1, 2 * len(rows), rows.shape[1] // 2), groups=len(rows)),
        lambda rows: rows.reshape(1, 2 * len(rows), -1),
        lambda y: y.reshape(y.shape[1] // 2, -1),
    ),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def laid_out(layout, rows):
    to_case, to_x, from_y = LAYOUTS[layout]
    return to_case(rows), np.ascontiguousarray(to_x(rows)), from_y


def outlier(rng, shape):
    rows = rng.normal(size=shape)
    rows[:, 0] = 1e6
    rows[0, 1:] = np.arange(1, shape[1]) / 10
    rows[1, [0, -1]] = rows[1, [-1, 0]]
    return rows


def either_side(rng, shape):
    return rng.uniform(0.5, 1, shape) * rng.choice([-1, 1], shape)


# Rows, eps, and what is to be expected: of float64 where the mean itself is rounded, of float32 where most
# numbers are a hundredth of the deviation, to which sums are rounded.
DIFFICULT = {
    "offset 1e4, deviation 0.01": (SINGLE, lambda r, s: 1e4 + 0.01 * r.normal(size=s), 1e-30, None),
    "offset 1e4, eps": (SINGLE, lambda r, s: 1e4 + 0.01 * r.normal(size=s), 1e-5, None),
    "offset -1e6, deviation 1": (SINGLE, lambda r, s: -1e6 + r.normal(size=s), 1e-5, None),
    "offset 1e8, deviation 1": (DOUBLE, lambda r, s: 1e8 + r.normal(size=s), 1e-5, 4e-8),
    "offset 1e12, deviation 1": (DOUBLE, lambda r, s: 1e12 + r.normal(size=s), 1e-5, 4e-4),
    "1e20": (SINGLE, lambda r, s: 1e20 * r.normal(size=s), 1e-5, None),
    "1e-20": (SINGLE, lambda r, s: 1e-20 * r.normal(size=s), 1e-300, None),
    "1e-20, eps": (SINGLE, lambda r, s: 1e-20 * r.normal(size=s), 1e-5, None),
    "1e-20, small eps": (SINGLE, lambda r, s: 1e-20 * r.normal(size=s), 1e-40, None),
    "3e38": (SINGLE, lambda r, s: 3e38 * either_side(r, s), 1e-5, None),
    "3e38, one side": (SINGLE, lambda r, s: r.uniform(2.9e38, 3.4e38, s), 1e-5, None),
    "1e-38": (SINGLE, lambda r, s: 1e-38 * r.normal(size=s), 1e-300, None),
    "1e140": (DOUBLE, lambda r, s: 1e140 * r.normal(size=s), 1e-5, None),
    "1e-140": (DOUBLE, lambda r, s: 1e-140 * r.normal(size=s), 1e-300, None),
    "an outlier": (SINGLE, outlier, 1e-5, 4e-6),
    "an outlier, float64": (DOUBLE, outlier, 1e-5, None),
    "many sizes": (SINGLE, lambda r, s: r.normal(size=s) * 10.0 ** r.integers(-6, 7, s), 1e-5, 4e-6),
    "a single step": (SINGLE, lambda r, s: 1 + 2.0**-23 * (np.arange(s[1]) > 0) * np.ones(s), 1e-30, None),
    "tiny eps": (SINGLE, lambda r, s: r.normal(size=s), 1e-300, None),
    "large eps": (SINGLE, lambda r, s: r.normal(size=s), 1e30, None),
}  # fmt: skip


@pytest.mark.parametrize("m", [2, 10, 64, 1000, 4098])
@pytest.mark.parametrize("name", DIFFICULT)
@layouts
def test_difficult_numbers(layout, name, m):
    dtype, rows, eps, tolerance = DIFFICULT[name]
    rng = np.random.default_rng(21)
    rows = rows(rng, (5, m)).astype(dtype)
    case, x, _ = laid_out(layout, rows)
    dy = (rng.normal(size=x.shape) * (1e-3 if name == "1e-38" else 1)).astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        compare(case, x, dy, None, None, eps, tolerance)


@BOTH
@pytest.mark.parametrize("eps", [1e-5, 1e-30, 1e-300])
@pytest.mark.parametrize("m", [2, 6, 10, 34, 100, 1000, 4098])
@layouts
def test_constant_rows_become_beta(layout, m, eps, dtype):
    largest = float(np.finfo(dtype).max)
    rows = np.repeat(np.array([[0.1], [0.0], [-7.3], [1e4 + 0.1], [largest], [1e-38], [-0.0]]), m, 1).astype(
        dtype
    )
    case, x, _ = laid_out(layout, rows)
    y, cache = case.forward(x, eps=eps)
    assert (y == 0).all()
    assert (cache.var == 0).all()
    assert (cache.std == math.sqrt(eps)).all()
    np.testing.assert_array_equal(cache.mean.ravel(), rows[:, 0])
    rng = np.random.default_rng(22)
    for which in ("beta, channel", "both, channel", "both, element"):
        gamma, beta = affine(case, which, rng, dtype)
        y, _ = case.forward(x, gamma, beta, eps=eps)
        wide = beta if case.last is not None else reference.along(beta, x)
        np.testing.assert_array_equal(y, np.broadcast_to(wide, x.shape))
    if eps == 1e-5:  # of whole numbers, whose sum does not round in the reference
        case, x, _ = laid_out(layout, np.repeat(np.array([[0], [-7], [1e4]], dtype), m, 1))
        compare(case, x, rng.normal(size=x.shape).astype(dtype), None, None, eps)


@BOTH
@pytest.mark.parametrize("m", [2, 6, 34, 1000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@layouts
def test_nan_and_infinity_stay_in_their_row(layout, bad, m, dtype):
    rng = np.random.default_rng(23)
    rows = rng.normal(size=(4, m)).astype(dtype)
    spoiled = rows.copy()
    spoiled[1, m // 2] = bad
    spoiled[2, 0] = bad
    case, x, from_y = laid_out(layout, rows)
    _, z, _ = laid_out(layout, spoiled)
    _, dy, _ = laid_out(layout, rng.normal(size=(4, m)).astype(dtype))
    (y, cache), (w, other) = case.forward(x), case.forward(z)
    dx, dz = case.backward(dy, cache)[0], case.backward(dy, other)[0]
    for good, bad_one in ((y, w), (dx, dz)):
        a, b = from_y(good), from_y(bad_one)
        assert np.isnan(b[[1, 2]]).all()
        np.testing.assert_array_equal(b[[0, 3]], a[[0, 3]])
    # In dy too.
    spoiled_dy = dy.copy()
    spoiled_dy.ravel()[0] = bad
    dz = from_y(case.backward(spoiled_dy, cache)[0])
    assert not np.isfinite(dz[0]).any()
    np.testing.assert_array_equal(dz[1:], from_y(dx)[1:])


@BOTH
def test_nan_reaches_running_statistics_of_its_channel_alone(dtype):
    x = np.random.default_rng(24).normal(size=(6, 3)).astype(dtype)
    x[2, 1] = np.nan
    mean, var = np.zeros(3, dtype), np.ones(3, dtype)
    batch_norm(x, running_mean=mean, running_var=var)
    assert np.isnan(mean).tolist() == np.isnan(var).tolist() == [False, True, False]


@BOTH
def test_nan_in_gamma_and_beta_stays_in_its_channel(dtype):
    x = np.random.default_rng(25).normal(size=(6, 3, 2)).astype(dtype)
    gamma, beta = np.ones((2, 3), dtype)
    gamma = gamma.copy()
    gamma[1] = np.nan
    for f in (batch_norm, instance_norm, partial(group_norm, groups=3), layer_norm):
        y, _ = f(x, gamma, beta)
        assert np.isnan(y).any((0, 2)).tolist() == [False, True, False]
        assert np.isnan(y[:, 1]).all()


# Caches, memory, threads ------------------------------------------------------------------------------------


@small
def test_caches_can_be_copied_and_pickled(case):
    rng = np.random.default_rng(26)
    x, dy = sample(case, rng, DOUBLE)
    gamma, beta = affine(case, "both, channel", rng, DOUBLE)
    _, cache = case.forward(x, gamma, beta)
    expected = case.backward(dy, cache)
    for other in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        for g, h in zip(case.backward(dy, other), expected, strict=True):
            np.testing.assert_array_equal(g, h)
        np.testing.assert_array_equal(other.mean, cache.mean)
        np.testing.assert_array_equal(other.std, cache.std)
        np.testing.assert_array_equal(other.x_hat, cache.x_hat)
    assert case.kind in repr(cache)


@small
def test_a_cache_serves_twice(case):
    rng = np.random.default_rng(27)
    x, dy = sample(case, rng, DOUBLE)
    gamma, beta = affine(case, "both, element", rng, DOUBLE)
    _, cache = case.forward(x, gamma, beta)
    first = case.backward(dy, cache)
    other = case.backward(-dy, cache)
    for g, h, negative in zip(case.backward(dy, cache), first, other, strict=True):
        np.testing.assert_array_equal(g, h)
        np.testing.assert_allclose(negative, -g, 1e-13, 1e-13)


@BOTH
@small
def test_arguments_may_be_read_only(case, dtype):
    rng = np.random.default_rng(28)
    x, dy = sample(case, rng, dtype)
    gamma, beta = affine(case, "both, channel", rng, dtype)
    for array in (x, dy, gamma, beta):
        array.flags.writeable = False
    y, cache = case.forward(x, gamma, beta)
    grads = case.backward(dy, cache)
    for result in (y, *grads):
        assert result.flags.writeable
        assert result.flags.c_contiguous


@small
def test_results_share_no_memory(case):
    x, dy = sample(case, np.random.default_rng(29), DOUBLE)
    gamma, beta = np.ones(x.shape[1:]), np.zeros(x.shape[1:])
    if case.last is not None:
        gamma, beta = np.ones(x.shape[-case.last :]), np.zeros(x.shape[-case.last :])
    y, cache = case.forward(x, gamma, beta)
    results = [y, cache.x_hat, *case.backward(dy, cache)]
    for i, a in enumerate(results):
        assert not any(np.shares_memory(a, b) for b in [x, dy, gamma, beta, *results[:i]])


@BOTH
@cases
def test_out_takes_the_result(case, dtype):
    rng = np.random.default_rng(30)
    x, dy = sample(case, rng, dtype)
    gamma, beta = affine(case, "both, channel", rng, dtype)
    (expected, cache), out = case.forward(x, gamma, beta), np.full_like(x, np.nan)
    y, _ = case.forward(x, gamma, beta, out=out)
    assert y is out
    np.testing.assert_array_equal(out, expected)
    grads, out = case.backward(dy, cache), np.full_like(x, np.nan)
    dx, dgamma, dbeta = case.backward(dy, cache, out=out)
    assert dx is out
    for g, h in zip((dx, dgamma, dbeta), grads, strict=True):
        np.testing.assert_array_equal(g, h)


@pytest.mark.parametrize("offset", [1, 3, 5])
@BOTH
@small
def test_arrays_that_do_not_start_at_a_vector(case, offset, dtype):
    rng = np.random.default_rng(31)
    x, dy = sample(case, rng, dtype)
    gamma, beta = affine(case, "both, element", rng, dtype)

    def moved(a):
        place = np.empty(a.size + offset, dtype)[offset:].reshape(a.shape)
        place[...] = a
        return place

    y, cache = case.forward(x, gamma, beta)
    z, other = case.forward(moved(x), moved(gamma), moved(beta), out=moved(x))
    np.testing.assert_allclose(z, y, 0, TOLERANCE[dtype] * 8)
    for g, h in zip(case.backward(dy, cache), case.backward(moved(dy), other, out=moved(dy)), strict=True):
        np.testing.assert_allclose(h, g, 0, TOLERANCE[dtype] * 32)


class Named(np.ndarray):
    """A subclass of arrays, as np.memmap is."""


@BOTH
@small
def test_out_may_be_of_a_subclass(case, dtype):
    x, dy = sample(case, np.random.default_rng(45), dtype)
    expected, cache = case.forward(x)
    for kind in (Named, np.matrix) if x.ndim == 2 else (Named,):
        out = np.full_like(x, np.nan).view(kind)
        y, _ = case.forward(x, out=out)
        assert y is out
        np.testing.assert_array_equal(np.asarray(out), expected)
        dx, *_ = case.backward(dy, cache, out=out)
        assert dx is out
        np.testing.assert_array_equal(np.asarray(out), case.backward(dy, cache)[0])


def test_running_statistics_may_be_of_a_subclass():
    x = np.random.default_rng(46).normal(size=(5, 3))
    mean, var = np.zeros(3), np.ones(3)
    others = np.zeros(3).view(Named), np.ones(3).view(Named)
    y, _ = batch_norm(x, running_mean=mean, running_var=var)
    z, _ = batch_norm(x.view(Named), running_mean=others[0], running_var=others[1])
    assert type(z) is np.ndarray
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal((mean, var), np.array(others))
    out = np.empty_like(x).view(Named)
    assert batch_norm_inference(x, None, None, *others, out=out) is out
    np.testing.assert_array_equal(out, batch_norm_inference(x, None, None, mean, var))


@small
def test_out_has_no_mask(case):
    x, dy = sample(case, np.random.default_rng(47), DOUBLE)
    _, cache = case.forward(x)
    for call in (lambda out: case.forward(x, out=out), lambda out: case.backward(dy, cache, out=out)):
        with pytest.raises(TypeError, match=r"^out: expected an array, got MaskedArray"):
            call(np.ma.masked_array(np.empty_like(x)))


def test_arrays_at_odd_addresses():
    def odd(a):
        place = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        place[...] = a
        return place

    x, ones = np.random.default_rng(48).normal(size=(4, 3)), np.ones(3)
    for name, call in (
        ("x", lambda: batch_norm(odd(x))),
        ("gamma", lambda: layer_norm(x, odd(ones))),
        ("running_var", lambda: batch_norm(x, running_mean=ones.copy(), running_var=odd(ones))),
        ("mean", lambda: batch_norm_inference(x, None, None, odd(ones), ones)),
        ("out", lambda: batch_norm(x, out=odd(x))),
        ("dy", lambda: batch_norm_backward(odd(x), batch_norm(x)[1])),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected .*aligned.*got"):
            call()


def test_inference_into_out():
    x = np.random.default_rng(32).normal(size=(4, 3))
    out = np.empty_like(x)
    assert batch_norm_inference(x, None, None, np.zeros(3), np.ones(3), out=out) is out
    np.testing.assert_array_equal(out, batch_norm_inference(x, None, None, np.zeros(3), np.ones(3)))


def calls_with_out():
    """Functions of x and out with all else given, the backward ones of dy."""
    x = np.random.default_rng(33).normal(size=(4, 6))
    maps = x.reshape(2, 3, 4)
    gamma, mean, var = np.ones(6), np.zeros(6), np.ones(6)
    calls = {
        "inference": (lambda x, out: batch_norm_inference(x, gamma, None, mean, var, out=out), x),
        "renorm": (
            lambda x, out: normalization.batch_renorm(x, gamma, None, mean.copy(), var.copy(), out=out),
            x,
        ),
    }
    for case in (Case("batch", (4, 6)), Case("layer", (4, 6)), Case("group", (4, 6), groups=3), SMALL[7]):
        data = x if len(case.shape) == 2 else np.random.default_rng(34).normal(size=case.shape)
        calls[case.kind] = (lambda x, out, case=case: case.forward(x, out=out), data)
        cache = case.forward(data)[1]
        calls[f"{case.kind}, backward"] = (
            lambda dy, out, case=case, cache=cache: case.backward(dy, cache, out=out),
            data.copy(),
        )
    assert maps.size == x.size
    return calls


with_out = pytest.mark.parametrize("name", calls_with_out())


@with_out
def test_out_that_does_not_fit(name):
    call, x = calls_with_out()[name]
    readonly = np.empty(x.shape)
    readonly.flags.writeable = False
    for out in (
        np.empty((*x.shape[:-1], x.shape[-1] + 1)),
        np.empty(x.size),
        np.empty(x.shape, np.float32),
        np.empty(x.shape, ">f8"),
        np.empty(x.shape[::-1]).T,
        np.empty((*x.shape[:-1], 2 * x.shape[-1]))[..., ::2],
        readonly,
    ):
        with pytest.raises((ValueError, TypeError), match=r"^out: "):
            call(x, out)
    with pytest.raises(TypeError, match=r"^out: "):
        call(x, x.tolist())


@with_out
def test_out_that_overlaps(name):
    call, x = calls_with_out()[name]
    memory = np.empty(x.size + 5)
    memory[: x.size] = x.ravel()
    before = memory.copy()
    data = memory[: x.size].reshape(x.shape)
    places = [memory[5:].reshape(x.shape)]
    if not name.endswith("backward"):
        places.append(data)
    for out in places:
        with pytest.raises(ValueError, match=r"^out: "):
            call(data, out)
    np.testing.assert_array_equal(memory, before)


@small
def test_out_that_overlaps_what_the_cache_holds(case):
    x, dy = sample(case, np.random.default_rng(35), DOUBLE)
    before = x.copy()
    _, cache = case.forward(x)
    with pytest.raises(ValueError, match=r"^out: "):
        case.backward(dy, cache, out=x)
    np.testing.assert_array_equal(x, before)


def test_out_that_overlaps_gamma():
    memory = np.ones(24)
    out, gamma = memory.reshape(4, 6), memory[6:12]
    for f in (batch_norm, layer_norm, partial(group_norm, groups=2)):
        with pytest.raises(ValueError, match=r"^out: "):
            f(np.zeros((4, 6)), gamma, out=out)
    with pytest.raises(ValueError, match=r"^out: "):
        batch_norm(np.zeros((4, 6)), running_mean=gamma, running_var=np.ones(6), out=out)
    assert (memory == 1).all()


@small
def test_two_threads_give_what_one_gives(case):
    rng = np.random.default_rng(36)
    big = Case(case.kind, (40 * case.shape[0], *case.shape[1:]), case.groups, case.last)
    arrays = [sample(big, rng, SINGLE) for _ in range(16)]

    def both(pair):
        x, dy = pair
        y, cache = big.forward(x)
        return y, big.backward(dy, cache)[0]

    with ThreadPoolExecutor(2) as pool:
        for (y, dx), pair in zip(pool.map(both, arrays), arrays, strict=True):
            z, dz = both(pair)
            np.testing.assert_array_equal(y, z)
            np.testing.assert_array_equal(dx, dz)


# Arguments --------------------------------------------------------------------------------------------------

X = np.arange(12.0).reshape(2, 6)
MAPS = np.arange(24.0).reshape(2, 4, 3)
C6, C4 = np.ones(6), np.ones(4)


def all_norms(x, *args, **kwargs):
    """The norms of this x, as functions without arguments."""
    return [
        lambda: batch_norm(x, *args, **kwargs),
        lambda: layer_norm(x, *args, **kwargs),
        lambda: instance_norm(x, *args, **kwargs),
        lambda: group_norm(x, *args, groups=1, **kwargs),
    ]


BAD_X = {
    "None": (None, ["None"]),
    "a number": (np.float64(1.0), []),
    "integers": (np.ones((2, 6, 2), int), ["int64"]),
    "booleans": (np.ones((2, 6, 2), bool), ["bool"]),
    "complex": (np.ones((2, 6, 2), complex), ["complex"]),
    "half": (np.ones((2, 6, 2), np.float16), ["float16"]),
    "long": (np.ones((2, 6, 2), np.longdouble), ["float"]),
    "another byte order": (np.ones((2, 6, 2), ">f8"), []),
    "no axes": (np.array(1.0), [r"\(\)"]),
    "one axis": (C6, [r"\(6,\)"]),
    "no samples": (np.ones((0, 6, 2)), [r"\(0, 6, 2\)"]),
    "no channels": (np.ones((2, 0, 2)), [r"\(2, 0, 2\)"]),
    "no positions": (np.ones((2, 6, 0)), [r"\(2, 6, 0\)"]),
    "transposed": (np.ones((2, 6, 3)).T, []),
    "strided": (np.ones((4, 6, 3))[:, ::2], []),
    "reversed": (np.ones((4, 6, 3))[::-1], []),
    "masked": (np.ma.masked_array(np.ones((2, 6, 2)), mask=False), []),
}


@pytest.mark.parametrize("name", BAD_X)
def test_bad_x_is_named(name):
    x, parts = BAD_X[name]
    for call in all_norms(x):
        with pytest.raises((ValueError, TypeError), match=r"^x: expected .*, got ") as caught:
            call()
        for part in parts:
            assert caught.match(part)
    with pytest.raises((ValueError, TypeError), match=r"^x: "):
        batch_norm_inference(x, None, None, C6, C6)


BAD_PARAMETERS = {
    "too short": (np.ones(5), [r"\(4,\)", r"\(5,\)"]),
    "too long": (np.ones(8), [r"\(4,\)", r"\(8,\)"]),
    "of positions": (np.ones(3), [r"\(4,\)", r"\(3,\)"]),
    "a number": (np.array(1.0), [r"\(4,\)", r"\(\)"]),
    "with an axis more": (np.ones((4, 1)), [r"\(4, 3\)", r"\(4, 1\)"]),
    "of all samples": (np.ones((2, 4, 3)), [r"\(4, 3\)", r"\(2, 4, 3\)"]),
    "turned": (np.ones((3, 4)), [r"\(4, 3\)", r"\(3, 4\)"]),
    "empty": (np.ones(0), [r"\(4,\)", r"\(0,\)"]),
    "float32": (np.ones(4, np.float32), ["float64", "float32"]),
    "integers": (np.ones(4, int), ["float64", "int64"]),
    "a float": (1.0, [r"\(\)"]),
    "strided": (np.ones(8)[::2], []),
    "in Fortran's order": (np.asfortranarray(np.ones((4, 3))), []),
    "another byte order": (np.ones(4, ">f8"), []),
}


@pytest.mark.parametrize("which", ["gamma", "beta"])
@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters_are_named(name, which):
    value, parts = BAD_PARAMETERS[name]
    calls = all_norms(MAPS, **{which: value})
    args = {"gamma": None, "beta": None, which: value}
    calls.append(lambda: batch_norm_inference(MAPS, mean=C4, var=C4, **args))
    calls.append(
        lambda: normalization.batch_renorm(MAPS, running_mean=C4.copy(), running_var=C4.copy(), **args)
    )
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=rf"^{which}: expected .*, got ") as caught:
            call()
        for part in parts:
            assert caught.match(part)


def test_gamma_and_beta_have_the_same_shape():
    for gamma, beta in ((C4, np.ones((4, 3))), (np.ones((4, 3)), C4)):
        for call in all_norms(MAPS, gamma, beta):
            with pytest.raises(ValueError, match=r"^(beta|gamma): .*\(4(, 3)?,?\).*\(4(, 3)?,?\)"):
                call()


def test_a_single_x_is_not_enough_for_float64_parameters():
    with pytest.raises((ValueError, TypeError), match=r"^gamma: .*float32.*float64"):
        batch_norm(MAPS.astype(np.float32), C4)


@pytest.mark.parametrize(
    "eps", [0, 0.0, -1e-5, math.nan, math.inf, -math.inf, "1e-5", None, [1e-5], 1j], ids=repr
)
def test_bad_eps(eps):
    calls = all_norms(MAPS, eps=eps)
    calls.append(lambda: batch_norm_inference(MAPS, None, None, C4, C4, eps=eps))
    calls.append(lambda: normalization.batch_renorm(MAPS, None, None, C4.copy(), C4.copy(), eps=eps))
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=r"^eps: expected .*, got "):
            call()


@pytest.mark.parametrize("momentum", [-0.1, 1.1, math.nan, math.inf, "0.1", None, 1j], ids=repr)
def test_bad_momentum(momentum):
    mean, var = np.zeros(4), np.ones(4)
    with pytest.raises((ValueError, TypeError), match=r"^momentum: expected .*, got "):
        batch_norm(MAPS, running_mean=mean, running_var=var, momentum=momentum)
    assert (mean == 0).all()
    assert (var == 1).all()


@pytest.mark.parametrize("shape", [(1, 3), (1, 1), (1, 4, 1), (1, 4, 1, 1)], ids=str)
def test_batch_norm_of_one_value_per_channel(shape):
    with pytest.raises(ValueError, match=r"^x: expected .*, got .*\(1, "):
        batch_norm(np.ones(shape))
    layer_norm(np.ones(shape))
    batch_norm_inference(np.ones(shape), None, None, np.ones(shape[1]), np.ones(shape[1]))


@pytest.mark.parametrize("groups", [0, -1, 4, 5, 7, 12, 2.0, 1.5, "2", None, math.nan, [2]], ids=repr)
def test_bad_groups(groups):
    with pytest.raises((ValueError, TypeError), match=r"^groups: expected .*, got ") as caught:
        group_norm(X, groups=groups)
    if groups in (4, 5, 7, 12):
        assert caught.match(rf"6.*{groups}")


def test_groups_may_be_any_integer():
    expected = group_norm(X, groups=3)[0]
    for groups in (np.int64(3), np.uint8(3)):
        np.testing.assert_array_equal(group_norm(X, groups=groups)[0], expected)
    with pytest.raises(TypeError):
        group_norm(X)


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        (4, [r"\(2, 4, 3\)", "4"]),
        ((4,), [r"\(2, 4, 3\)", "4"]),
        ((3, 4), [r"\(2, 4, 3\)", r"\(3, 4\)"]),
        ((1, 2, 4, 3), [r"\(2, 4, 3\)", r"\(1, 2, 4, 3\)"]),
        ((), [r"\(\)"]),
        (0, []),
        (-3, []),
        (3.0, []),
        ((3.0,), []),
        ("3", []),
    ],
    ids=str,
)
def test_bad_normalized_shape(shape, parts):
    with pytest.raises((ValueError, TypeError), match=r"^(normalized_shape|x): expected .*, got ") as caught:
        layer_norm(MAPS, normalized_shape=shape)
    for part in parts:
        assert caught.match(part)


def test_normalized_shape_may_be_any_integer():
    x = np.random.default_rng(49).normal(size=(2, 3, 4))
    expected = layer_norm(x, normalized_shape=4)[0]
    for n in (np.int32(4), np.array(4), np.array([4]), [4], (np.uint8(4),)):
        np.testing.assert_array_equal(layer_norm(x, normalized_shape=n)[0], expected)


def test_parameters_of_a_normalized_shape():
    for gamma in (C4, np.ones((4, 3)), np.ones((1, 3)), np.ones(1)):
        for which in ("gamma", "beta"):
            with pytest.raises(ValueError, match=rf"^{which}: expected .*\(3,\).*, got .*\(\d"):
                layer_norm(MAPS, normalized_shape=3, **{which: gamma})


def test_normalized_shape_may_be_a_list_or_all_of_x():
    expected = layer_norm(MAPS, normalized_shape=(4, 3))[0]
    np.testing.assert_array_equal(layer_norm(MAPS, normalized_shape=[4, 3])[0], expected)
    np.testing.assert_array_equal(layer_norm(MAPS, normalized_shape=np.array([4, 3]))[0], expected)
    np.testing.assert_array_equal(layer_norm(MAPS)[0], expected)


def test_lists_of_floats_are_arrays():
    x = [[1.0, 2.0, 6.0], [3.0, 5.0, 7.0]]
    gamma = [1.0, 2.0, 3.0]
    for forward, backward in ((layer_norm, layer_norm_backward), (batch_norm, batch_norm_backward)):
        y, cache = forward(x, gamma, gamma)
        expected, same = forward(np.array(x), np.array(gamma), np.array(gamma))
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(backward(x, cache)[0], backward(np.array(x), same)[0])
    y = batch_norm_inference(x, gamma, None, gamma, gamma)
    np.testing.assert_array_equal(
        y, batch_norm_inference(*map(np.array, (x, gamma)), None, *[np.array(gamma)] * 2)
    )


def read_only(a):
    a.flags.writeable = False
    return a


BAD_RUNNING = {
    "mean missing": (None, np.ones(4), "running_mean", []),
    "variance missing": (np.zeros(4), None, "running_var", []),
    "mean too short": (np.zeros(3), np.ones(4), "running_mean", [r"\(4,\)", r"\(3,\)"]),
    "variance too short": (np.zeros(4), np.ones(3), "running_var", [r"\(4,\)", r"\(3,\)"]),
    "mean a row": (np.zeros((1, 4)), np.ones(4), "running_mean", [r"\(4,\)", r"\(1, 4\)"]),
    "mean float32": (np.zeros(4, np.float32), np.ones(4), "running_mean", ["float64", "float32"]),
    "variance float32": (np.zeros(4), np.ones(4, np.float32), "running_var", ["float64", "float32"]),
    "variance integers": (np.zeros(4), np.ones(4, int), "running_var", ["int64"]),
    "mean a list": ([0.0] * 4, np.ones(4), "running_mean", ["list"]),
    "mean read-only": (read_only(np.zeros(4)), np.ones(4), "running_mean", []),
    "variance read-only": (np.zeros(4), read_only(np.ones(4)), "running_var", []),
    "mean strided": (np.zeros(8)[::2], np.ones(4), "running_mean", []),
    "variance strided": (np.zeros(4), np.ones(8)[::2], "running_var", []),
}


@pytest.mark.parametrize("case", BAD_RUNNING)
@pytest.mark.parametrize("f", ["batch_norm", "batch_renorm"])
def test_bad_running_statistics(case, f):
    mean, var, name, parts = BAD_RUNNING[case]
    before = copy.deepcopy((mean, var))
    out = np.full_like(MAPS, 7.0)
    if "missing" in case and f == "batch_norm":
        name = "running_(mean|var)"
    call = partial(batch_norm if f == "batch_norm" else normalization.batch_renorm, MAPS, None, None)
    with pytest.raises((ValueError, TypeError), match=rf"^{name}: ") as caught:
        call(running_mean=mean, running_var=var, out=out)
    for part in parts:
        assert caught.match(part)
    assert (out == 7).all()
    for value, original in zip((mean, var), before, strict=True):
        if value is not None:
            np.testing.assert_array_equal(value, original)


def test_one_array_is_not_both_running_statistics():
    both = np.ones(4)
    with pytest.raises(ValueError, match=r"^running_"):
        batch_norm(MAPS, running_mean=both, running_var=both)
    assert (both == 1).all()


ERRORS = {
    "x": ({"x": np.ones((1, 4, 1))}, "x"),
    "gamma": ({"gamma": np.ones(3)}, "gamma"),
    "beta": ({"beta": np.ones(3)}, "beta"),
    "eps": ({"eps": 0.0}, "eps"),
    "momentum": ({"momentum": 2.0}, "momentum"),
    "out": ({"out": np.empty(3)}, "out"),
    "variance": ({"running_var": np.ones(3)}, "running_var"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_changes_nothing(case):
    changed, name = ERRORS[case]
    mean, var, out = np.zeros(4), np.ones(4), np.full_like(MAPS, 7.0)
    for f, args in ((batch_norm, {}), (normalization.batch_renorm, {"gamma": None, "beta": None})):
        args = {"x": MAPS, "running_mean": mean, "running_var": var, "out": out, **args, **changed}
        with pytest.raises(ValueError, match=f"^{name}: "):
            f(**args)
        assert (mean == 0).all()
        assert (var == 1).all()
        assert (out == 7).all()


BAD_STATISTICS = {
    "too short": (np.ones(3), [r"\(4,\)", r"\(3,\)"]),
    "a row": (np.ones((1, 4)), [r"\(4,\)", r"\(1, 4\)"]),
    "integers": (np.ones(4, int), ["int64"]),
    "None": (None, ["None"]),
    "strided": (np.ones(8)[::2], []),
}


@pytest.mark.parametrize("which", ["mean", "var"])
@pytest.mark.parametrize("name", BAD_STATISTICS)
def test_bad_statistics_for_inference(name, which):
    value, parts = BAD_STATISTICS[name]
    with pytest.raises((ValueError, TypeError), match=rf"^{which}: expected .*, got ") as caught:
        batch_norm_inference(MAPS, None, None, **{"mean": C4, "var": C4, which: value})
    for part in parts:
        assert caught.match(part)


BAD_DY = {
    "of another shape": (np.ones((2, 4, 4)), [r"\(2, 4, 3\)", r"\(2, 4, 4\)"]),
    "flat": (np.ones(24), [r"\(2, 4, 3\)", r"\(24,\)"]),
    "a part": (np.ones((1, 4, 3)), [r"\(2, 4, 3\)", r"\(1, 4, 3\)"]),
    "float32": (np.ones((2, 4, 3), np.float32), ["float64", "float32"]),
    "integers": (np.ones((2, 4, 3), int), ["int64"]),
    "None": (None, ["None"]),
    "transposed": (np.ones((3, 4, 2)).T, []),
    "strided": (np.ones((2, 4, 6))[..., ::2], []),
}
MAP_CASES = [Case("batch", (2, 4, 3)), Case("layer", (2, 4, 3)), Case("layer", (2, 4, 3), last=1)]
MAP_CASES += [Case("instance", (2, 4, 3)), Case("group", (2, 4, 3), groups=2)]


@pytest.mark.parametrize("name", BAD_DY)
def test_bad_dy_is_named(name):
    dy, parts = BAD_DY[name]
    for case in MAP_CASES:
        _, cache = case.forward(MAPS, C4 if case.last is None else np.ones(3))
        with pytest.raises((ValueError, TypeError), match=r"^dy: expected .*, got ") as caught:
            case.backward(dy, cache)
        for part in parts:
            assert caught.match(part)


def test_caches_of_another_norm():
    caches = {case.kind: case.forward(MAPS)[1] for case in MAP_CASES}
    for kind, backward in BACKWARD.items():
        for other, cache in caches.items():
            if other == kind:
                backward(MAPS, cache)
                continue
            with pytest.raises((ValueError, TypeError), match=rf"^cache: .*{kind}_norm.*{other}_norm"):
                backward(MAPS, cache)
        for cache in (None, (1, 2), {}, MAPS, normalization.weight_norm(X, C6)[1]):
            with pytest.raises(TypeError, match=rf"^cache: .*{kind}_norm"):
                backward(MAPS, cache)


def test_misspelled_keywords():
    for call in (*all_norms(MAPS, epsilon=1e-5), *all_norms(MAPS, None, None, 1e-5)):
        with pytest.raises(TypeError):
            call()


@BOTH
@pytest.mark.parametrize("offset", [100.0, 1e4])
@pytest.mark.parametrize(
    "case",
    [Case("batch", (16, 8)), Case("batch", (5, 3, 7)), Case("batch", (5, 3, 20)), Case("layer", (9, 300)),
     Case("instance", (4, 5, 30)), Case("group", (3, 6, 25), 2)],
    ids=str,
)  # fmt: skip
def test_gradients_with_a_large_mean(case, offset, dtype):
    """What is constant in dy has no part in dx: it must not round away the rest."""
    rng = np.random.default_rng(41)
    x, dy = rng.normal(size=(2, *case.shape)).astype(dtype)
    dy += offset
    _, cache = case.forward(x)
    dx, _, _ = case.backward(dy, cache)
    X, DY = exact(x, dy)
    expected = reference.norm_backward(case.kind, DY, X, None, np.longdouble(1e-5), **case.where)[0]
    np.testing.assert_allclose(
        dx, expected.astype(float), rtol=0, atol=20 * np.finfo(dtype).eps * abs(expected).max()
    )


@pytest.mark.parametrize("change", ["x", "gamma", "dtype"])
def test_a_cache_whose_arrays_were_changed_is_refused(change):
    x, gamma = np.random.default_rng(42).normal(size=(2, 3, 4)), np.ones(3)
    _, cache = batch_norm(x, gamma)
    dy = np.ones((2, 3, 4))
    if change == "x":
        x.resize((1, 1), refcheck=False)
        dy = np.ones((1, 1))
    elif change == "gamma":
        gamma.resize(1, refcheck=False)
    else:
        x.dtype = np.float32
        dy = np.ones(x.shape, np.float32)
    with pytest.raises(ValueError, match=r"^cache: expected x and gamma"):
        batch_norm_backward(dy, cache)


def test_a_cache_comes_from_a_normalization():
    with pytest.raises(TypeError, match=r"^Cache: "):
        Cache()


def test_statistics_that_are_missing():
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match=r"^mean: expected an array, got None"):
        batch_norm_inference(x, None, None, None, None)
    with pytest.raises(TypeError, match=r"^mean: expected an array, as var is one, got None"):
        batch_norm_inference(x, None, None, None, np.ones(3))
    with pytest.raises(TypeError, match=r"^caches: expected a list of caches, got Cache"):
        normalization.population_statistics(batch_norm(x)[1])


def test_population_statistics_beyond_the_dtype():
    x = np.array([[1e20, 1.0], [-1e20, 3.0]], np.float32)
    mean, var = normalization.population_statistics([batch_norm(x)[1]])
    np.testing.assert_array_equal(mean, [0, 2])
    np.testing.assert_array_equal(var, [np.inf, 2])
