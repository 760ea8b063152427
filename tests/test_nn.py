"""Every layer against its slow form, its derivatives against the complex step of that, models in training."""

import copy
import pickle
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
import reference
from scipy.signal import correlate2d

import optlab
from optlab import initializers, losses, nn, normalization

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)


@dataclass(frozen=True)
class Row:
    """How to make a layer, the shape of its input, and its slow form in parameters and input."""

    make: object
    shape: tuple
    slow: object
    more: dict = field(default_factory=dict)  # for forward
    batch: bool = False  # whether training=False is another function


def conv(shape, *args, bias=True, **kwargs):
    def slow(x, W, b=None):
        return reference.convolution(x, W, np.zeros(len(W)) if b is None else b, **kwargs)

    return Row(lambda **k: nn.Conv2d(*args, **kwargs, bias=bias, **k), shape, slow)


def norm(make, kind, shape, batch=False, **where):
    def slow(x, gamma=None, beta=None):
        return reference.norm(kind, x, gamma, beta, 1e-5, **where)

    return Row(lambda rng, dtype: make(dtype), shape, slow, batch=batch)


def activation(make, slow, shape=(5, 6)):
    return Row(lambda rng, dtype: make(), shape, slow)


def recurrent(layer_norm=False, lengths=None):
    def slow(x, W, U, *rest):
        gamma, beta = (None, *rest)[-2:]
        return reference.recurrent(x, W, U, beta, lengths or [5, 5, 5], gamma)

    more = {} if lengths is None else {"lengths": lengths}
    return Row(lambda **k: nn.Recurrent(2, 4, layer_norm=layer_norm, **k), (3, 5, 2), slow, more)


def mlp(rng, dtype):
    k = {"rng": rng, "dtype": dtype}
    inner = nn.Residual(nn.Dense(5, 5, bias=False, **k), nn.BatchNorm(5, dtype=dtype), nn.ReLU())
    return nn.Sequential(nn.Dense(4, 5, **k), nn.Tanh(), nn.Sequential(inner, nn.Dense(5, 3, **k)))


def slow_mlp(x, W0, b0, W1, gamma, beta, W2, b2):
    h = np.tanh(reference.dense(x, W0, b0))
    h = h + reference.relu(reference.norm("batch", reference.dense(h, W1), gamma, beta, 1e-5))
    return reference.dense(h, W2, b2)


def image_model(rng, dtype):
    k = {"rng": rng, "dtype": dtype}
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, **k),
        nn.GroupNorm(2, 4, dtype=dtype),
        nn.Maxout(2),
        nn.Flatten(),
        nn.Dense(24, 3, **k),
    )


def slow_image_model(x, W, b, gamma, beta, V, c):
    h = reference.norm("group", reference.convolution(x, W, b, padding=1), gamma, beta, 1e-5, groups=2)
    return reference.dense(reference.maxout(h, 2).reshape(len(x), -1), V, c)


IMAGES, FEATURES, SEQUENCES = (3, 4, 3, 2), (6, 4), (2, 3, 4)
LAYERS = {
    "Dense": Row(lambda **k: nn.Dense(4, 3, **k), FEATURES, reference.dense),
    "Dense, no bias": Row(lambda **k: nn.Dense(4, 3, bias=False, **k), FEATURES, reference.dense),
    "Dense, sequences": Row(lambda **k: nn.Dense(4, 3, **k), SEQUENCES, reference.dense),
    "Conv2d": conv((2, 2, 4, 5), 2, 3, 3),
    "Conv2d, padding": conv((2, 2, 4, 3), 2, 3, 3, padding=1),
    "Conv2d, stride": conv((2, 1, 6, 5), 1, 2, 2, stride=2),
    "Conv2d, both": conv((2, 2, 5, 6), 2, 2, 3, stride=2, padding=2),
    "Conv2d, gaps": conv((1, 1, 5, 7), 1, 2, 2, stride=3),
    "Conv2d, one pixel": conv((2, 3, 2, 2), 3, 2, 1, bias=False),
    "Conv2d, one window": conv((2, 2, 3, 3), 2, 3, 3),
    "Sigmoid": activation(nn.Sigmoid, reference.logistic_function),
    "Tanh": activation(nn.Tanh, np.tanh),
    "ReLU": activation(nn.ReLU, reference.relu),
    "Softmax": activation(nn.Softmax, lambda x: np.array([reference.softmax(row) for row in x])),
    "Maxout": activation(lambda: nn.Maxout(3), lambda x: reference.maxout(x, 3)),
    "Maxout, images": activation(lambda: nn.Maxout(2), lambda x: reference.maxout(x, 2), IMAGES),
    "Flatten": activation(nn.Flatten, lambda x: x.reshape(3, 24), IMAGES),
    "BatchNorm": norm(lambda t: nn.BatchNorm(4, dtype=t), "batch", FEATURES, True),
    "BatchNorm, images": norm(lambda t: nn.BatchNorm(4, dtype=t), "batch", IMAGES, True),
    "BatchNorm, plain": norm(lambda t: nn.BatchNorm(4, affine=False, dtype=t), "batch", FEATURES, True),
    "LayerNorm": norm(lambda t: nn.LayerNorm(4, dtype=t), "layer", FEATURES, last=1),
    "LayerNorm, sequences": norm(lambda t: nn.LayerNorm(4, dtype=t), "layer", SEQUENCES, last=1),
    "LayerNorm, images": norm(lambda t: nn.LayerNorm((4, 3, 2), dtype=t), "layer", IMAGES, last=3),
    "LayerNorm, plain": norm(lambda t: nn.LayerNorm(4, affine=False, dtype=t), "layer", FEATURES, last=1),
    "InstanceNorm": norm(lambda t: nn.InstanceNorm(4, dtype=t), "instance", IMAGES),
    "InstanceNorm, plain": norm(lambda t: nn.InstanceNorm(4, affine=False, dtype=t), "instance", IMAGES),
    "GroupNorm": norm(lambda t: nn.GroupNorm(2, 4, dtype=t), "group", FEATURES, groups=2),
    "GroupNorm, images": norm(lambda t: nn.GroupNorm(2, 4, dtype=t), "group", IMAGES, groups=2),
    "GroupNorm, plain": norm(lambda t: nn.GroupNorm(2, 4, affine=False, dtype=t), "group", IMAGES, groups=2),
    "Recurrent": recurrent(),
    "Recurrent, lengths": recurrent(lengths=[1, 5, 3]),
    "Recurrent, norm": recurrent(layer_norm=True),
    "Recurrent, both": recurrent(layer_norm=True, lengths=[4, 1, 5]),
    "Residual": Row(
        lambda **k: nn.Residual(nn.Dense(4, 4, **k), nn.Tanh()),
        FEATURES,
        lambda x, W, b: x + np.tanh(reference.dense(x, W, b)),
    ),
    "Sequential": Row(
        lambda **k: nn.Sequential(nn.Dense(4, 3, **k), nn.Sigmoid()),
        FEATURES,
        lambda x, W, b: reference.logistic_function(reference.dense(x, W, b)),
    ),
    "nested": Row(mlp, FEATURES, slow_mlp, batch=True),
    "image model": Row(image_model, (2, 2, 3, 4), slow_image_model),
}
on_layers = pytest.mark.parametrize("name", LAYERS)


def sample(name, dtype=DOUBLE):
    """A layer with random parameters, an input, and a gradient with respect to the output."""
    row, rng = LAYERS[name], np.random.default_rng(0)
    layer, x = row.make(rng=rng, dtype=dtype), rng.normal(size=row.shape).astype(dtype)
    layer.params = [rng.normal(size=p.shape).astype(dtype) for p in layer.params]
    dy = rng.normal(size=layer.forward(x, **row.more).shape).astype(dtype)
    return layer, x, dy


def run(layer, x, dy, **more):
    """Output, gradient of the input, gradients of the parameters."""
    return [layer.forward(x, **more), layer.backward(dy), *layer.grads]


def equal(some, others, **tolerances):
    for a, b in zip(some, others, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerances)


# Layers -----------------------------------------------------------------------------------------------------


@on_layers
def test_values_are_those_of_the_slow_form(name):
    layer, x, _ = sample(name)
    y = layer.forward(x, **LAYERS[name].more)
    equal([y], [LAYERS[name].slow(x, *layer.params)], rtol=1e-12, atol=1e-13)
    assert y.flags.c_contiguous


@on_layers
def test_derivatives_are_those_of_the_slow_form(name):
    layer, x, dy = sample(name)
    everything = [x, *layer.params]
    ends = np.cumsum([a.size for a in everything])

    def cost(flat):
        parts = [a.reshape(b.shape) for a, b in zip(np.split(flat, ends[:-1]), everything, strict=True)]
        return np.sum(LAYERS[name].slow(*parts) * dy)

    expected = reference.complex_step(cost, np.concatenate([a.ravel() for a in everything]))
    expected = [a.reshape(b.shape) for a, b in zip(np.split(expected, ends[:-1]), everything, strict=True)]
    equal(run(layer, x, dy, **LAYERS[name].more)[1:], expected, rtol=1e-10, atol=1e-11)


@on_layers
def test_single_precision(name):
    double, single = sample(name), sample(name, SINGLE)
    double[0].params = [p.astype(DOUBLE) for p in single[0].params]
    expected = run(double[0], *(a.astype(DOUBLE) for a in single[1:]), **LAYERS[name].more)
    results = run(*single, **LAYERS[name].more)
    assert {a.dtype for a in results} == {SINGLE}
    equal(results, expected, rtol=1e-4, atol=1e-5)


@on_layers
@BOTH
def test_arguments_stay_as_they_are(name, dtype):
    layer, x, dy = sample(name, dtype)
    before = [a.copy() for a in (x, dy, *layer.params)]
    for a in (x, dy, *layer.params):
        a.flags.writeable = False
    results = run(layer, x, dy, **LAYERS[name].more)
    kept = [a.copy() for a in results]
    equal([x, dy, *layer.params], before, rtol=0)
    other = np.flip(x).copy()
    run(layer, other, dy, **LAYERS[name].more)
    equal(results, kept, rtol=0)  # results are not memory of the layer that is used again
    for p in layer.params:
        assert not any(np.may_share_memory(p, a) for a in results)


@on_layers
def test_backward_again_gives_the_same(name):
    layer, x, dy = sample(name)
    first = run(layer, x, dy, **LAYERS[name].more)
    grads = layer.grads
    equal([layer.backward(dy), *layer.grads], first[1:], rtol=0)
    assert all(a is not b for a, b in zip(grads, layer.grads, strict=True))
    equal([layer.backward(-dy), *layer.grads], [-a for a in first[1:]], rtol=0)
    equal(run(layer, x, dy, **LAYERS[name].more), first, rtol=0)


@on_layers
def test_memory_in_another_order(name):
    layer, x, dy = sample(name)
    expected = run(layer, x, dy, **LAYERS[name].more)
    scattered = [np.empty((*a.shape, 2))[..., 0] for a in (x, dy)]
    for a, b in zip(scattered, (x, dy), strict=True):
        a[...] = b
    for other in ((np.asfortranarray(x), np.asfortranarray(dy)), scattered):
        equal(run(layer, *other, **LAYERS[name].more), expected, rtol=1e-12, atol=1e-14)


@on_layers
def test_prediction_needs_no_batch(name):
    layer, x, dy = sample(name)
    y = layer.forward(x, training=False, **LAYERS[name].more)
    if not LAYERS[name].batch:
        equal([y], [layer.forward(x, **LAYERS[name].more)], rtol=0)
    elif name != "nested":
        layer.forward(x)
    alone = []
    for i in range(len(x)):
        more = {key: value[i : i + 1] for key, value in LAYERS[name].more.items()}
        alone.append(layer.forward(x[i : i + 1], training=False, **more)[0])
    y = layer.forward(x, training=False, **LAYERS[name].more)
    equal([y], [np.array(alone)], rtol=1e-12, atol=1e-14)
    with pytest.raises(RuntimeError, match=f"^{type(layer).__name__}: expected a forward with training=True"):
        layer.backward(dy)


@on_layers
def test_backward_needs_a_forward(name):
    layer = LAYERS[name].make(rng=0, dtype=DOUBLE)
    assert layer.grads == []
    _, x, dy = sample(name)
    with pytest.raises(RuntimeError, match="expected a forward"):
        layer.backward(dy)
    layer.forward(x, **LAYERS[name].more)
    with pytest.raises(TypeError):
        layer.forward(x.tolist())
    with pytest.raises(RuntimeError, match="expected a forward"):
        layer.backward(dy)


@on_layers
def test_gradients_that_do_not_fit(name):
    layer, x, dy = sample(name)
    run(layer, x, dy, **LAYERS[name].more)
    before = [g.copy() for g in layer.grads]
    with pytest.raises(ValueError, match=rf"^dy: expected shape {re.escape(str(dy.shape))} .* got \(1, "):
        layer.backward(dy[None])
    with pytest.raises(ValueError, match=r"^dy: "):
        layer.backward(dy[:0])
    for wrong in (dy.astype(SINGLE), dy.astype(">f8"), dy.astype(int)):
        with pytest.raises(TypeError, match=f"^dy: expected float64, got {wrong.dtype}"):
            layer.backward(wrong)
    for wrong in (dy.tolist(), np.ma.masked_array(dy), 1.0, None):
        with pytest.raises(TypeError, match=r"^dy: expected an array of float64, got "):
            layer.backward(wrong)
    equal(layer.grads, before, rtol=0)
    layer.backward(dy)


@on_layers
def test_inputs_that_are_no_arrays_of_its_dtype(name):
    layer, x, _ = sample(name)
    wanted = "float64" if layer.params else "float(64|32 or float64)"
    for wrong in (x.astype(int), x.astype(np.float16), x.astype(">f8"), x.astype(complex), x > 0):
        with pytest.raises(TypeError, match=f"^x: expected {wanted}, got {wrong.dtype}"):
            layer.forward(wrong)
    for wrong in (x.tolist(), np.ma.masked_array(x), 1.0, None):
        with pytest.raises(TypeError, match=f"^x: expected an array of {wanted}, got "):
            layer.forward(wrong)
    if layer.params:
        with pytest.raises(TypeError, match=r"^x: expected float64, got float32"):
            layer.forward(x.astype(SINGLE))


@on_layers
@BOTH
def test_parameters_are_one_list_for_optimizers(name, dtype):
    layer, x, dy = sample(name, dtype)
    assert isinstance(layer.params, list)
    assert {p.dtype for p in layer.params} <= {dtype}
    run(layer, x, dy, **LAYERS[name].more)
    assert [g.shape for g in layer.grads] == [p.shape for p in layer.params]
    if layer.params:
        before = [p.copy() for p in layer.params]
        opt = optlab.SGD(lr=0.5)
        opt.step(layer.params, layer.grads, opt.init(layer.params))
        after = [(p - dtype.type(0.5) * g).astype(dtype) for p, g in zip(before, layer.grads, strict=True)]
        equal(layer.params, after, rtol=1e-6, atol=1e-7)


@on_layers
def test_parameters_can_be_exchanged(name):
    layer, x, _ = sample(name)
    own = layer.params
    y = layer.forward(x, **LAYERS[name].more)
    others = [p * 0.5 for p in own]
    layer.params = tuple(others)
    assert all(a is b for a, b in zip(layer.params, others, strict=True))
    equal([layer.forward(x, **LAYERS[name].more)], [LAYERS[name].slow(x, *others)], rtol=1e-12, atol=1e-13)
    layer.params = own
    equal([layer.forward(x, **LAYERS[name].more)], [y], rtol=0)
    wrong = [[*others, np.zeros(3)]]
    if own:
        first = others[0]
        wrong += [others[:-1], [*others[:-1], others[-1][None]], [*others[:-1], others[-1].astype(SINGLE)]]
        wrong += [[first.tolist(), *others[1:]], [np.ma.masked_array(first), *others[1:]]]
    for arrays in wrong:
        with pytest.raises((ValueError, TypeError), match=r"^params(\[\d\])?: expected .*, got "):
            layer.params = arrays
        assert all(a is b for a, b in zip(layer.params, own, strict=True))


@on_layers
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_independent(name, copied):
    layer, x, dy = sample(name)
    results = run(layer, x, dy, **LAYERS[name].more)
    other = copied(layer)
    equal(other.params, layer.params, rtol=0)
    equal(other.grads, layer.grads, rtol=0)
    assert not any(np.may_share_memory(a, b) for a in layer.params for b in other.params)
    with pytest.raises(RuntimeError, match="expected a forward"):
        other.backward(dy)
    equal([layer.backward(dy)], [results[1]], rtol=0)  # the original still can
    for p in layer.params:
        p += 1.0
    equal(run(other, x, dy, **LAYERS[name].more), results, rtol=0)
    if LAYERS[name].batch:
        layer, other = copied(other), other
        equal([layer.forward(x, training=False)], [other.forward(x, training=False)], rtol=0)


BAD_SHAPES = [
    ("Dense", (6, 5), r"x: expected shape (N, 4) as W is (4, 3), got (6, 5)"),
    ("Dense", (4,), r"x: expected shape (N, 4) as W is (4, 3), got (4,)"),
    ("Conv2d", (2, 3, 4, 5), r"x: expected shape (N, 2, H, W) as W is (3, 2, 3, 3), got (2, 3, 4, 5)"),
    ("Conv2d", (2, 4, 5), r"x: expected shape (N, 2, H, W) as W is (3, 2, 3, 3), got (2, 4, 5)"),
    ("Conv2d", (2, 2, 2, 5), r"x: expected images of 3 x 3 or more with padding 0, got (2, 2, 2, 5)"),
    ("Maxout", (5, 7), r"x: expected shape (N, C) or (N, C, ...) with a multiple of 3 channels, got (5, 7)"),
    ("Flatten", (5,), r"x: expected shape (N, ...), got (5,)"),
    ("BatchNorm", (6, 5), r"x: expected shape (N, 4) or (N, 4, ...), got (6, 5)"),
    ("BatchNorm", (4,), r"x: expected shape (N, 4) or (N, 4, ...), got (4,)"),
    ("LayerNorm", (6, 5), r"x: expected shape (N, 4) or (N, ..., 4), got (6, 5)"),
    ("LayerNorm", (4,), r"x: expected shape (N, 4) or (N, ..., 4), got (4,)"),
    (
        "LayerNorm, images",
        (3, 4, 3, 3),
        r"x: expected shape (N, 4, 3, 2) or (N, ..., 4, 3, 2), got (3, 4, 3, 3)",
    ),
    ("InstanceNorm", (3, 5, 2), r"x: expected shape (N, 4) or (N, 4, ...), got (3, 5, 2)"),
    ("GroupNorm", (3, 2), r"x: expected shape (N, 4) or (N, 4, ...), got (3, 2)"),
    ("Recurrent", (3, 5, 3), r"x: expected shape (N, T, 2) as W is (2, 4), got (3, 5, 3)"),
    ("Recurrent", (3, 2), r"x: expected shape (N, T, 2) as W is (2, 4), got (3, 2)"),
    ("nested", (6, 5), r"x: expected shape (N, 4) as W is (4, 5), got (6, 5)"),
]


@pytest.mark.parametrize(("name", "shape", "message"), BAD_SHAPES, ids=str)
def test_inputs_whose_shape_does_not_fit(name, shape, message):
    layer, _, _ = sample(name)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer.forward(np.zeros(shape))


@on_layers
@pytest.mark.parametrize("training", [True, False])
def test_empty_batches(name, training):
    layer, x, _ = sample(name)
    for empty in (x[:0], x[..., :0]):
        with pytest.raises(ValueError, match=rf"^x: expected .*got shape {re.escape(str(empty.shape))}$"):
            layer.forward(empty, training=training)


@on_layers
def test_a_number_is_no_batch(name):
    with pytest.raises(ValueError, match=r"^x: expected .*got shape \(\)$"):
        sample(name)[0].forward(np.array(1.0))


def test_a_batch_of_one_has_no_statistics():
    layer = nn.BatchNorm(4)
    with pytest.raises(ValueError, match=r"^x: "):
        layer.forward(np.ones((1, 4)))
    assert not layer.running_mean.any()
    assert (layer.running_var == 1).all()
    layer.forward(np.ones((1, 4, 2)))


NEW = {"rng": 0}
BAD_ARGUMENTS = [
    (lambda: nn.Dense(0, 3, rng=0), "n_in: expected an integer >= 1, got 0"),
    (lambda: nn.Dense(3, 2.5, rng=0), "n_out: expected an integer, got 2.5"),
    (lambda: nn.Dense(3, 2, rng=None), "rng: expected a Generator or a seed, got None"),
    (lambda: nn.Dense(3, 2, rng=0, dtype=int), "dtype: expected float32 or float64, got <class 'int'>"),
    (lambda: nn.Dense(3, 2, rng=0, dtype="no"), "dtype: expected float32 or float64, got 'no'"),
    (lambda: nn.Dense(3, 2, rng=0, init=3), "init: expected a callable, got int"),
    (
        lambda: nn.Dense(3, 2, rng=0, init=lambda shape, rng, dtype: np.zeros(3)),
        "init: expected weights of shape (3, 2) and float64, got (3,) of float64",
    ),
    (
        lambda: nn.Dense(3, 2, rng=0, dtype=np.float32, init=lambda shape, rng, dtype: np.zeros(shape)),
        "init: expected weights of shape (3, 2) and float32, got (3, 2) of float64",
    ),
    (lambda: nn.Dense(3, 2, rng=0, init=lambda *_, **__: 0), "init: expected weights of shape (3, 2)"),
    (lambda: nn.Conv2d(0, 3, 3, rng=0), "c_in: expected an integer >= 1, got 0"),
    (lambda: nn.Conv2d(1, 0, 3, rng=0), "c_out: expected an integer >= 1, got 0"),
    (lambda: nn.Conv2d(1, 1, (3, 3), rng=0), "size: expected an integer, got (3, 3)"),
    (lambda: nn.Conv2d(1, 1, 3, stride=0, rng=0), "stride: expected an integer >= 1, got 0"),
    (lambda: nn.Conv2d(1, 1, 3, padding=-1, rng=0), "padding: expected an integer >= 0, got -1"),
    (lambda: nn.Maxout(0), "pieces: expected an integer >= 1, got 0"),
    (lambda: nn.BatchNorm(0), "channels: expected an integer >= 1, got 0"),
    (lambda: nn.BatchNorm(3, eps=0.0), "eps: expected a positive number, got 0"),
    (lambda: nn.BatchNorm(3, momentum=1.5), "momentum: expected a number >= 0 and <= 1, got 1.5"),
    (lambda: nn.BatchNorm(3, dtype=np.float16), "dtype: expected float32 or float64, got"),
    (lambda: nn.LayerNorm(()), "shape: expected at least one axis, got none"),
    (lambda: nn.LayerNorm((3, 0)), "shape: expected an integer >= 1, got 0"),
    (lambda: nn.LayerNorm("3"), "shape: expected an integer, got '3'"),
    (lambda: nn.InstanceNorm(3, eps=np.inf), "eps: expected a finite number, got inf"),
    (lambda: nn.GroupNorm(3, 4), "groups: expected a divisor of channels, which are 4, got 3"),
    (lambda: nn.Recurrent(0, 3, rng=0), "n_in: expected an integer >= 1, got 0"),
    (lambda: nn.Recurrent(3, 2, eps=-1.0, rng=0), "eps: expected a number >= 0, got -1"),
    (lambda: nn.Recurrent(3, 0, rng=0), "n_hidden: expected an integer >= 1, got 0"),
    (lambda: nn.Recurrent(3, 2, rng=0, recurrent_init=0), "recurrent_init: expected a callable, got int"),
    (lambda: nn.Sequential(), "layers: expected at least one, got none"),
    (lambda: nn.Residual(), "layers: expected at least one, got none"),
    (lambda: nn.Sequential(nn.ReLU(), nn.ReLU), "layers[1]: expected a layer, got <class"),
    (lambda: nn.Sequential([nn.ReLU()]), "layers[0]: expected a layer, got [ReLU()]"),
    (
        lambda: nn.Sequential(nn.Dense(3, 2, rng=0), nn.BatchNorm(2, dtype=np.float32)),
        "layers[1]: expected float64 as before, got float32",
    ),
    (lambda: nn.objective(3), "model: expected a layer, got 3"),
    (lambda: nn.objective(nn.ReLU(), "mse"), "loss: expected a callable, got str"),
]


@pytest.mark.parametrize(("call", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}"):
        call()


def test_subclasses_of_arrays_are_arrays():
    class Named(np.ndarray):
        pass

    x = np.ones((2, 3)).view(Named)
    layer = nn.Dense(3, 2, rng=0)
    y = layer.forward(x)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, layer.forward(np.ones((2, 3))))


def test_bias_gradients_of_large_batches():
    rng = np.random.default_rng(32)
    dy = rng.random((20_000, 3)).astype(SINGLE)
    exact = dy.sum(axis=0, dtype=np.longdouble)
    layer = nn.Dense(2, 3, rng=0, dtype=SINGLE)
    layer.forward(np.ones((20_000, 2), SINGLE))
    layer.backward(dy)
    equal([layer.grads[1]], [exact], rtol=6e-8)
    images = nn.Conv2d(1, 3, 1, rng=0, dtype=SINGLE)
    images.forward(np.ones((200, 1, 10, 10), SINGLE))
    images.backward(np.ascontiguousarray(dy.reshape(200, 10, 10, 3).transpose(0, 3, 1, 2)))
    equal([images.grads[1]], [exact], rtol=4e-7)
    steps = nn.Recurrent(2, 3, rng=0, dtype=SINGLE)
    steps.params = [np.zeros_like(p) for p in steps.params]
    steps.forward(np.ones((200, 100, 2), SINGLE))
    steps.backward(dy.reshape(200, 100, 3))
    equal([steps.grads[2]], [exact], rtol=6e-8)


def test_the_shape_of_a_layer_norm_is_any_of_integers():
    for shape in ((3, 2), [3, 2], np.array([3, 2]), (np.int32(3), np.uint8(2))):
        assert nn.LayerNorm(shape).gamma.shape == (3, 2)
    assert nn.LayerNorm(np.array(3)).gamma.shape == (3,)


def test_parameters_are_a_list():
    with pytest.raises(TypeError, match=r"^params: expected a list of arrays, got NoneType"):
        nn.Dense(3, 2, rng=0).params = None


def test_misspelled_arguments_are_errors():
    with pytest.raises(TypeError):
        nn.Dense(2, 2, rng=0, initializer=initializers.he_normal)
    with pytest.raises(TypeError):
        nn.ReLU().forward(np.zeros((2, 2)), trainnig=False)
    with pytest.raises(TypeError):
        nn.Sequential(nn.ReLU()).forward(np.zeros((2, 2)), lengths=[1, 2])


def test_a_layer_without_its_methods():
    with pytest.raises(NotImplementedError):
        nn.Layer().forward(np.zeros((2, 2)))
    with pytest.raises(NotImplementedError):
        nn.Layer()._backward(np.zeros((2, 2)), None)


@BOTH
def test_where_weights_start(dtype):
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    dense = nn.Dense(5, 4, rng=rng, dtype=dtype)
    conv = nn.Conv2d(2, 3, 3, init=initializers.glorot_uniform, rng=rng, dtype=dtype)
    cell = nn.Recurrent(5, 4, rng=rng, dtype=dtype)
    np.testing.assert_array_equal(dense.W, initializers.he_normal((5, 4), rng=same, dtype=dtype))
    np.testing.assert_array_equal(conv.W, initializers.glorot_uniform((3, 2, 3, 3), rng=same, dtype=dtype))
    np.testing.assert_array_equal(cell.W, initializers.glorot_uniform((5, 4), rng=same, dtype=dtype))
    np.testing.assert_array_equal(cell.U, initializers.orthogonal((4, 4), rng=same, dtype=dtype))
    for layer in (dense, conv, cell):
        assert not layer.b.any()
        assert layer.dtype == layer.b.dtype == dtype
    for layer in (nn.BatchNorm(3, dtype=dtype), nn.Recurrent(2, 3, layer_norm=True, rng=0, dtype=dtype)):
        assert (layer.gamma == 1).all()
        assert (layer.beta == 0).all()
    np.testing.assert_array_equal(nn.Dense(5, 4, rng=7).W, nn.Dense(5, 4, rng=7).W)


def test_one_seed_gives_a_cell_two_matrices():
    cell = nn.Recurrent(4, 4, init=initializers.orthogonal, rng=0)
    assert not np.allclose(cell.W, cell.U)


# One by one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution_is_the_correlation_of_scipy(stride, padding):
    rng = np.random.default_rng(1)
    layer = nn.Conv2d(3, 2, 3, stride=stride, padding=padding, rng=rng)
    layer.b[:] = rng.normal(size=2)
    x = rng.normal(size=(4, 3, 8, 7))
    y = layer.forward(x)
    framed = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for n in range(4):
        for o in range(2):
            full = sum(correlate2d(framed[n, c], layer.W[o, c], mode="valid") for c in range(3))
            np.testing.assert_allclose(y[n, o], full[::stride, ::stride] + layer.b[o], rtol=1e-12, atol=1e-13)


@BOTH
def test_activations_far_out(dtype):
    far = np.array([[-1e30, -1000.0, -80.0, 80.0, 1000.0, 1e30, np.inf, -np.inf]], dtype)
    y = nn.Sigmoid().forward(far)
    np.testing.assert_array_equal(y[0, [0, 1, 4, 5, 6, 7]], [0, 0, 1, 1, 1, 0])
    assert y[0, 2] == pytest.approx(np.exp(-80.0), rel=1e-5)
    np.testing.assert_array_equal(nn.Tanh().forward(far), np.sign(far))
    np.testing.assert_array_equal(nn.ReLU().forward(far), np.where(far > 0, far, 0))
    for layer in (nn.Sigmoid(), nn.Tanh(), nn.ReLU()):
        layer.forward(far)
        assert np.isfinite(layer.backward(np.ones_like(far))).all()


@BOTH
def test_nan_is_not_lost(dtype):
    x = np.array([[np.nan, 1.0, 2.0, -1.0]], dtype)
    for layer in (nn.Sigmoid(), nn.Tanh(), nn.ReLU()):
        assert np.isnan(layer.forward(x)).tolist() == [[True, False, False, False]]
    assert np.isnan(nn.Maxout(2).forward(x)).tolist() == [[True, False]]
    assert np.isnan(nn.Maxout(2).forward(x[:, ::-1])).tolist() == [[False, True]]
    assert np.isnan(nn.Softmax().forward(x)).all()


def test_corners():
    layer = nn.ReLU()
    layer.forward(np.array([[-0.0, 0.0, 1e-300]]))
    np.testing.assert_array_equal(layer.backward(np.ones((1, 3))), [[0, 0, 1]])
    layer = nn.Maxout(3)
    layer.forward(np.array([[1.0, 2.0, 2.0, 5.0, 5.0, 5.0]]))
    np.testing.assert_array_equal(layer.backward(np.array([[7.0, 8.0]])), [[0, 7, 0, 8, 0, 0]])


def test_softmax_over_the_last_axis_of_sequences():
    x = np.random.default_rng(2).normal(size=(2, 3, 4))
    np.testing.assert_allclose(nn.Softmax().forward(x).sum(axis=-1), 1.0, rtol=1e-15)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 2)], ids=str)
@BOTH
def test_running_statistics(shape, unbiased, dtype):
    rng = np.random.default_rng(4)
    layer = nn.BatchNorm(3, momentum=0.25, unbiased=unbiased, dtype=dtype)
    mean, var = np.zeros(3), np.ones(3)
    axes = (0, *range(2, len(shape)))
    for _ in range(4):
        x = rng.normal(2.0, 3.0, shape).astype(dtype)
        layer.forward(x)
        mean = 0.75 * mean + 0.25 * x.mean(axis=axes, dtype=float)
        var = 0.75 * var + 0.25 * x.var(axis=axes, dtype=float, ddof=int(unbiased))
    rtol = 1e-12 if dtype == DOUBLE else 1e-5
    np.testing.assert_allclose(layer.running_mean, mean, rtol=rtol)
    np.testing.assert_allclose(layer.running_var, var, rtol=rtol)
    assert layer.running_mean.dtype == layer.running_var.dtype == dtype
    layer.params = [np.array([2.0, 3.0, 4.0], dtype), np.array([0.0, 1.0, 2.0], dtype)]
    wide = (3,) + (1,) * (len(shape) - 2)
    gamma, beta, mu, s2 = (a.reshape(wide) for a in (*layer.params, layer.running_mean, layer.running_var))
    before = layer.running_mean.copy()
    y = layer.forward(x, training=False)
    np.testing.assert_allclose(y, gamma * (x - mu) / np.sqrt(s2 + 1e-5) + beta, rtol=10 * rtol, atol=1e-5)
    np.testing.assert_array_equal(layer.running_mean, before)


def test_the_bias_before_batch_norm_is_lost():
    model = nn.Sequential(nn.Dense(3, 4, rng=0), nn.BatchNorm(4))
    x = np.random.default_rng(5).normal(size=(8, 3))
    y = model.forward(x)
    model[0].b[:] = [1.0, -2.0, 3.0, 100.0]
    np.testing.assert_allclose(model.forward(x), y, atol=1e-12)
    model.backward(np.random.default_rng(6).normal(size=y.shape))
    np.testing.assert_allclose(model.grads[1], 0.0, atol=1e-12)


def test_groups_between_all_channels_and_each():
    x = np.random.default_rng(7).normal(size=(3, 4, 5, 2))
    dy = np.random.default_rng(8).normal(size=x.shape)
    one, each = nn.GroupNorm(1, 4), nn.GroupNorm(4, 4)
    whole, instance = nn.LayerNorm((4, 5, 2)), nn.InstanceNorm(4)
    for a, b in ((one, whole), (each, instance)):
        equal(run(a, x, dy)[:2], run(b, x, dy)[:2], rtol=1e-12, atol=1e-13)


def test_norms_are_the_functions():
    x = np.random.default_rng(9).normal(size=(4, 6, 3))
    gamma, beta = np.random.default_rng(10).normal(size=(2, 6))
    for layer, function, more in (
        (nn.BatchNorm(6, eps=0.1), normalization.batch_norm, {}),
        (nn.InstanceNorm(6, eps=0.1), normalization.instance_norm, {}),
        (nn.GroupNorm(3, 6, eps=0.1), normalization.group_norm, {"groups": 3}),
        (nn.LayerNorm((6, 3), eps=0.1), normalization.layer_norm, {}),
    ):
        if layer.shape == (6,):
            layer.params = [gamma, beta]
        np.testing.assert_array_equal(layer.forward(x), function(x, *layer.params, eps=0.1, **more)[0])
    layer = nn.BatchNorm(6, eps=0.1)
    np.testing.assert_allclose(layer.forward(x, training=False), x / np.sqrt(1.1), rtol=1e-14)
    layer = nn.Recurrent(6, 3, layer_norm=True, eps=0.1, rng=11)
    a = layer.W[None, 0]
    expected = np.tanh(normalization.layer_norm(a, eps=0.1)[0])
    np.testing.assert_allclose(layer.forward(np.eye(6)[None, :1])[0], expected, rtol=1e-14)


# Sequences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_norm", [False, True])
@BOTH
def test_together_as_alone(layer_norm, dtype):
    rng = np.random.default_rng(11)
    layer = nn.Recurrent(3, 8, layer_norm=layer_norm, rng=rng, dtype=dtype)
    lengths = np.array([7, 1, 4, 6])
    x, dy = rng.normal(size=(4, 7, 3)).astype(dtype), rng.normal(size=(4, 7, 8)).astype(dtype)
    x[np.arange(7) >= lengths[:, None]] = np.nan  # it is not looked at
    y, dx, *grads = run(layer, x, dy, lengths=lengths)
    total = [np.zeros_like(g) for g in grads]
    tolerances = {"rtol": 1e-12, "atol": 1e-13} if dtype == DOUBLE else {"rtol": 1e-4, "atol": 1e-5}
    for i, length in enumerate(lengths):
        own = dy[i : i + 1, :length].copy()
        own[0, -1] += dy[i, length:].sum(axis=0)  # all repeats of the last state
        alone = run(layer, x[i : i + 1, :length], own)
        equal([y[i, :length], dx[i, :length]], [alone[0][0], alone[1][0]], **tolerances)
        assert (y[i, length:] == y[i, length - 1]).all()
        assert (dx[i, length:] == 0).all()
        total = [a + b for a, b in zip(total, alone[2:], strict=True)]
    equal(grads, total, **tolerances)


@pytest.mark.parametrize("lengths", [[5, 5, 5], (5, 5, 5), np.array([5, 5, 5], np.uint8)], ids=repr)
def test_full_lengths_change_nothing(lengths):
    layer, x, dy = sample("Recurrent, norm")
    equal(run(layer, x, dy, lengths=lengths), run(layer, x, dy), rtol=0)


def test_lengths_that_do_not_fit():
    layer, x, _ = sample("Recurrent")
    for lengths, kind, message in (
        ([1, 2], ValueError, "lengths: expected shape (3,) as x has 3 sequences, got (2,)"),
        (3, ValueError, "lengths: expected shape (3,) as x has 3 sequences, got ()"),
        ([0, 1, 2], ValueError, "lengths: expected numbers from 1 to 5, the length of x, got 0 to 2"),
        ([1, 6, 2], ValueError, "lengths: expected numbers from 1 to 5, the length of x, got 1 to 6"),
        ([1.0, 2.0, 3.0], TypeError, "lengths: expected integers, got float64"),
        ([True, True, False], TypeError, "lengths: expected integers, got bool"),
        ("abc", TypeError, "lengths: expected real numbers"),
    ):
        with pytest.raises(kind, match=f"^{re.escape(message)}"):
            layer.forward(x, lengths=lengths)


def test_a_recurrent_net_learns_to_remember():
    """The sign of the first number, at the end of sequences of unequal length."""

    class Last(nn.Layer):
        def _forward(self, x, training):
            return x[:, -1], x.shape

        def _backward(self, dy, shape):
            dx = np.zeros(shape)
            dx[:, -1] = dy
            return dx, []

    rng = np.random.default_rng(12)
    X = rng.normal(size=(200, 8, 1))
    y = (X[:, 0, 0] > 0).astype(int)
    model = nn.Sequential(nn.Recurrent(1, 12, layer_norm=True, rng=rng), Last(), nn.Dense(12, 2, rng=rng))
    batches = optlab.Batches(X, y, size=20, rng=13)
    fun = nn.objective(model)
    optlab.train(fun, model.params, batches, optlab.Adam(lr=0.02), epochs=15, progress=False)
    assert nn.error_rate(model, X, y) < 0.05


# Models -----------------------------------------------------------------------------------------------------


def test_a_model_is_a_sequence_of_layers():
    a, b, c = nn.Dense(3, 4, rng=0), nn.ReLU(), nn.Dense(4, 2, rng=1)
    model = nn.Sequential(a, b, c)
    assert len(model) == 3
    assert list(model) == [a, b, c] == list(model.layers)
    assert model[0] is a
    assert model[-1] is c
    part = model[1:]
    assert type(part) is nn.Sequential
    assert part.layers == (b, c)
    assert all(p is q for p, q in zip(model.params, [a.W, a.b, c.W, c.b], strict=True))
    x = np.ones((2, 3))
    np.testing.assert_array_equal(model.forward(x), c.forward(b.forward(a.forward(x))))
    model.backward(np.ones((2, 2)))
    assert all(g is h for g, h in zip(model.grads, a.grads + b.grads + c.grads, strict=True))
    assert repr(nn.Residual(model)) == (
        "Residual(Sequential(Dense(W (3, 4), b (4,)), ReLU(), Dense(W (4, 2), b (2,))))"
    )
    with pytest.raises(IndexError):
        model[3]


def test_a_layer_is_in_one_place():
    a, b = nn.Dense(3, 3, rng=0), nn.ReLU()
    for layers in ((a, b, a), (nn.Sequential(a, b), a), (nn.Residual(nn.Sequential(a)), nn.Residual(b, a))):
        with pytest.raises(ValueError, match=r"^layers\[\d\]: expected a layer of its own, got one that is"):
            nn.Sequential(*layers)


def test_residual_layers_keep_the_shape():
    for width in (2, 1):  # 1 would broadcast
        block = nn.Residual(nn.Dense(3, width, rng=0))
        with pytest.raises(
            ValueError, match=r"^Residual: expected layers that keep the shape \(4, 3\), got "
        ):
            block.forward(np.zeros((4, 3)))


def test_layers_of_both_dtypes_where_none_has_parameters():
    model = nn.Sequential(nn.ReLU(), nn.Flatten())
    assert model.dtype is None
    assert model.params == []
    for dtype in (SINGLE, DOUBLE):
        assert model.forward(np.ones((2, 3), dtype)).dtype == dtype


def small(dtype=DOUBLE, seed=14):
    rng = np.random.default_rng(seed)
    k = {"rng": rng, "dtype": dtype}
    model = nn.Sequential(
        nn.Dense(5, 6, bias=False, **k), nn.BatchNorm(6, dtype=dtype), nn.Tanh(), nn.Dense(6, 3, **k)
    )
    return model, rng.normal(size=(12, 5)).astype(dtype), rng.integers(0, 3, 12)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.softmax_mse])
def test_objective_against_central_differences(loss):
    model, X, y = small()
    fun, params = nn.objective(model, loss), model.params
    value, grads = fun(params, X, y)
    assert value == loss(model.forward(X), y)[0]
    for p, g in zip(params, grads, strict=True):
        for i in np.ndindex(p.shape):
            before, values = p[i], []
            for h in (-2e-3, -1e-3, 1e-3, 2e-3):
                p[i] = before + h
                values.append(fun(params, X, y)[0])
            p[i] = before
            slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12e-3
            assert g[i] == pytest.approx(slope, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("convert", [list, tuple])
def test_objective_at_other_parameters(convert):
    model, X, y = small()
    own = model.params
    others = [p + 0.1 for p in own]
    fun = nn.objective(model)
    value, grads = fun(convert(others), X, y)
    assert all(a is b for a, b in zip(model.params, own, strict=True))
    twin = small()[0]
    twin.params = others
    expected = nn.objective(twin)(others, X, y)
    assert value == expected[0]
    equal(grads, expected[1], rtol=0)
    assert fun(own, X, y)[0] != value


def test_objective_after_an_exception():
    model, X, y = small()
    own, others = model.params, [p + 0.1 for p in model.params]
    fun = nn.objective(model)
    expected = fun(own, X, y)
    for bad, kind in (((X, y + 3), ValueError), ((X[:, 1:], y), ValueError), ((X, y[1:]), ValueError)):
        for params in (own, others):
            with pytest.raises(kind):
                fun(params, *bad)
            assert all(a is b for a, b in zip(model.params, own, strict=True))
    for wrong, kind in (
        (others[1:], ValueError),
        ([*others, X], ValueError),
        ([p.T for p in others], ValueError),
        ([p.astype(SINGLE) for p in others], TypeError),
        (others[0], TypeError),
        (None, TypeError),
    ):
        with pytest.raises(kind, match=r"^params"):
            fun(wrong, X, y)
        assert all(a is b for a, b in zip(model.params, own, strict=True))

    def interrupted(outputs, y):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nn.objective(model, interrupted)(others, X, y)
    assert all(a is b for a, b in zip(model.params, own, strict=True))
    value, grads = fun(own, X, y)
    assert value == expected[0]
    equal(grads, expected[1], rtol=0)


def running(model):
    return [a.copy() for layer in model._all() if isinstance(layer, nn.BatchNorm) for a in statistics(layer)]


def statistics(layer):
    return layer.running_mean, layer.running_var


def test_running_statistics_after_an_exception():
    model, X, y = small()
    fun = nn.objective(model)
    fun(model.params, X, y)
    before = running(model)
    for bad in ((X, y + 3), (X, y[1:]), (X[:, 1:], y), (X[:0], y[:0]), (X[:1], y[:1])):
        with pytest.raises(ValueError):  # noqa: PT011
            fun(model.params, *bad)
        equal(running(model), before, rtol=0)
    fun(model.params, X, y)
    assert (running(model)[0] != before[0]).any()
    other = pickle.loads(pickle.dumps(model))
    other._undo()
    equal(running(other), running(model), rtol=0)


def test_running_statistics_if_a_later_layer_fails():
    rng = np.random.default_rng(31)
    x = rng.normal(size=(6, 5))
    for later in (
        nn.Dense(4, 2, rng=rng),
        nn.Residual(nn.Sequential(nn.BatchNorm(5), nn.Dense(5, 2, rng=rng))),
        nn.Sequential(nn.BatchNorm(5), nn.Flatten(), nn.BatchNorm(4)),
    ):
        model = nn.Sequential(nn.Sequential(nn.BatchNorm(5), nn.ReLU()), nn.BatchNorm(5), later)
        before = running(model)
        with pytest.raises(ValueError, match=r"expected"):
            model.forward(x)
        equal(running(model), before, rtol=0)


def test_objective_travels():
    model, X, y = small()
    fun = pickle.loads(pickle.dumps(nn.objective(model)))
    equal(fun(model.params, X, y)[1], nn.objective(model)(model.params, X, y)[1], rtol=0)


def test_a_loss_of_your_own():
    model = nn.Sequential(nn.Dense(2, 1, rng=0))
    X = np.random.default_rng(15).normal(size=(50, 2))
    y = np.sign(X @ [1.0, -2.0])

    def loss(scores, y):
        each, slope = losses.logistic(y * scores[:, 0])
        return each.mean(), (slope * y / len(y))[:, None]

    optlab.train(
        nn.objective(model, loss), model.params, [(X, y)], optlab.SGD(lr=5.0), epochs=60, progress=False
    )
    assert (np.sign(model.forward(X)[:, 0]) == y).mean() > 0.97


def test_regression():
    X = np.linspace(-2, 2, 64)[:, None]
    rng = np.random.default_rng(16)
    model = nn.Sequential(nn.Dense(1, 24, rng=rng), nn.Tanh(), nn.Dense(24, 1, rng=rng))
    fun = nn.objective(model, losses.mse)
    run = optlab.train(
        fun, model.params, [(X, np.sin(2 * X))], optlab.Adam(lr=0.02), epochs=400, progress=False
    )
    assert run.history.fun[-1] < 0.01 * run.history.fun[0]


# Training ---------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    optlab.SGD(lr=0.1),
    optlab.Momentum(lr=0.05),
    optlab.Nesterov(lr=0.05),
    optlab.Nesterov(lr=0.05, form="pytorch"),
    optlab.DeltaBarDelta(lr=0.05),
    optlab.AdaGrad(lr=0.05),
    optlab.RMSProp(lr=0.005),
    optlab.RMSProp(lr=0.001, momentum=0.9),
    optlab.AdaDelta(lr=10.0),
    optlab.Adam(lr=0.005),
    optlab.AdamW(lr=0.005, weight_decay=0.01),
    optlab.AMSGrad(lr=0.005),
    optlab.NAdam(lr=0.005),
    optlab.RAdam(lr=0.01),
    optlab.Switch(optlab.Adam(lr=0.005), optlab.Nesterov(lr=0.02), 30),
]


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(17).permutation(len(X))
    return X[order] / 16.0, y[order]


def network(dtype=DOUBLE, seed=18):
    k = {"rng": np.random.default_rng(seed), "dtype": dtype}
    return nn.Sequential(
        nn.Dense(64, 32, bias=False, **k), nn.BatchNorm(32, dtype=dtype), nn.ReLU(), nn.Dense(32, 10, **k)
    )


@pytest.mark.parametrize("opt", OPTIMIZERS, ids=str)
@BOTH
def test_every_optimizer_trains_a_model(opt, dtype, digits):
    X, y = digits[0].astype(dtype), digits[1]
    model = network(dtype)
    batches = optlab.Batches(X[:1000], y[:1000], size=32, rng=19)
    params = model.params
    assert nn.error_rate(model, X[1000:], y[1000:]) > 0.7
    run = optlab.train(
        nn.objective(model),
        params,
        batches,
        opt,
        epochs=4,
        validate=lambda _: nn.error_rate(model, X[1000:], y[1000:]),
        progress=False,
    )
    assert run.status == 0
    assert all(a is b for a, b in zip(model.params, params, strict=True))
    assert run.history.validation[-1] == nn.error_rate(model, X[1000:], y[1000:])
    assert run.fun < 0.15


def test_look_ahead_is_where_the_gradient_is_taken(digits):
    X, y = digits[0][:64], digits[1][:64]
    model, opt = network(), optlab.Nesterov(lr=0.05, momentum=0.8)
    theta = [p.copy() for p in model.params]
    v = [np.zeros_like(p) for p in theta]
    twin = network()
    optlab.train(nn.objective(model), model.params, [(X, y)], opt, epochs=5, progress=False)
    for _ in range(5):
        twin.params = [p + 0.8 * u for p, u in zip(theta, v, strict=True)]
        twin.backward(losses.cross_entropy(twin.forward(X), y)[1])
        v = [0.8 * u - 0.05 * g for u, g in zip(v, twin.grads, strict=True)]
        theta = [p + u for p, u in zip(theta, v, strict=True)]
    equal(model.params, theta, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model[1].running_mean, twin[1].running_mean, rtol=1e-10)


def test_training_is_deterministic(digits):
    runs = []
    for _ in range(2):
        model = network()
        batches = optlab.Batches(*digits, size=50, rng=20)
        optlab.train(nn.objective(model), model.params, batches, optlab.Adam(), epochs=1, progress=False)
        runs.append([*model.params, model[1].running_mean, model[1].running_var])
    equal(*runs, rtol=0)


@pytest.mark.parametrize("normalize", [nn.BatchNorm, lambda c, dtype: nn.GroupNorm(4, c, dtype=dtype)])
def test_a_network_of_convolutions(normalize, digits):
    X, y = digits[0].reshape(-1, 1, 8, 8).astype(SINGLE), digits[1]
    k = {"rng": np.random.default_rng(21), "dtype": SINGLE}
    block = nn.Residual(nn.Conv2d(8, 8, 3, padding=1, bias=False, **k), normalize(8, dtype=SINGLE), nn.ReLU())
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, **k),
        nn.ReLU(),
        block,
        nn.Conv2d(8, 16, 3, stride=2, padding=1, **k),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dense(256, 10, **k),
    )
    batches = optlab.Batches(X[:1000], y[:1000], size=25, rng=22)
    optlab.train(nn.objective(model), model.params, batches, optlab.Adam(lr=0.003), epochs=2, progress=False)
    assert nn.error_rate(model, X[1000:], y[1000:]) < 0.15


# Errors counted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 10, 256, 257, 600])
def test_error_rate(n):
    rng = np.random.default_rng(23)
    X, y = rng.normal(size=(n, 4)), rng.integers(0, 3, n)
    model = nn.Sequential(nn.Dense(4, 3, rng=rng), nn.BatchNorm(3))
    expected = np.mean(model.forward(X, training=False).argmax(axis=1) != y)
    for labels in (y, y.tolist(), y.astype(np.uint8), np.eye(3)[y], np.eye(3, dtype=bool)[y]):
        rate = nn.error_rate(model, X, labels)
        assert type(rate) is float
        assert rate == expected


def test_nan_is_wrong():
    X = np.array([[np.nan, np.nan], [1.0, np.nan], [1.0, 0.0]])
    assert nn.error_rate(nn.ReLU(), X, [0, 1, 0]) == 2 / 3


def test_error_rates_that_cannot_be_counted():
    X, model = np.zeros((4, 3)), nn.ReLU()
    for args, kind, message in (
        ((X[:0], []), ValueError, "X: expected an array of samples, got (0, 3)"),
        ((X[0], [1, 2, 0]), ValueError, "X: expected an array of samples, got (3,)"),
        ((X.tolist(), [1, 2, 0, 0]), ValueError, "X: expected an array of samples, got [["),
        ((X, [1, 2, 0]), ValueError, "y: expected shape (4,) or (4, 3) for these X, got (3,)"),
        ((X, [1.0, 2.0, 0.0, 0.0]), TypeError, "y: expected classes as integers, got float64"),
        ((X, [1, 2, 3, 0]), ValueError, "y: expected classes from 0 to 2, got 0 to 3"),
        ((X, [1, 2, -1, 0]), ValueError, "y: expected classes from 0 to 2, got -1 to 2"),
        ((X[:, None], [0] * 4), ValueError, "model: expected outputs of shape (N, K), got (4, 1, 3)"),
    ):
        with pytest.raises(kind, match=f"^{re.escape(message)}"):
            nn.error_rate(model, *args)
