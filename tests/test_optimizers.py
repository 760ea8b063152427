"""Optimizers step as their equations say, check first, and keep states that can travel."""

import copy
import math
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
from optimizers import OPTIMIZERS

import optlab
from optlab import problems

CLASSES = [kind for kind in optlab.Optimizer.__subclasses__() if kind is not optlab.Switch]


@pytest.fixture(params=list(OPTIMIZERS))
def row(request):
    return OPTIMIZERS[request.param]


@pytest.fixture
def opt(row):
    return row.opt


def test_the_table_has_all_optimizers():
    kinds = {type(row.opt) for row in OPTIMIZERS.values()}
    assert kinds == {*CLASSES, optlab.Switch}
    assert {kind.__name__ for kind in kinds} <= set(optlab.__all__)


def test_the_table_has_all_forms():
    for kind in CLASSES:
        for field in fields(kind):
            if "forms" in field.metadata:
                seen = {row.opt.form for row in OPTIMIZERS.values() if type(row.opt) is kind}
                assert seen == set(field.metadata["forms"]), kind


# Steps by hand


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 7, 15, 16, 33, 1000])
def test_steps_follow_the_equations(row, dtype, n):
    opt, eps = row.opt, np.finfo(dtype).eps
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n).astype(dtype)
    expected, memory, state = x.astype(np.float64), {}, opt.init(x)
    for _ in range(8):
        at = expected if row.look is None else row.look(expected, memory)
        np.testing.assert_allclose(opt.lookahead(x, state), at, rtol=20 * eps, atol=20 * eps)
        g = rng.standard_normal(n).astype(dtype)
        opt.step(x, g, state)
        expected = row.step(expected, g.astype(np.float64), memory)
    np.testing.assert_allclose(x, expected, rtol=20 * eps, atol=20 * eps)
    assert x.dtype == dtype
    assert state.t == 8
    for name in state.names:
        np.testing.assert_allclose(getattr(state, name), memory[name], rtol=50 * eps, atol=20 * eps)


def test_lists_of_arrays_are_stepped_alike(opt):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(10)
    parts = [x[:6].reshape(2, 3).copy(), x[6:].astype(np.float64)]
    state, states = opt.init(x), opt.init(parts)
    for _ in range(5):
        ahead = opt.lookahead(parts, states)
        np.testing.assert_array_equal(np.concatenate([a.ravel() for a in ahead]), opt.lookahead(x, state))
        g = rng.standard_normal(10)
        opt.step(x, g, state)
        opt.step(parts, [g[:6].reshape(2, 3), g[6:]], states)
    np.testing.assert_array_equal(np.concatenate([p.ravel() for p in parts]), x)
    for name in state.names:
        assert [a.shape for a in getattr(states, name)] == [(2, 3), (4,)]


def test_arrays_of_both_kinds_and_of_no_entries():
    for opt in (optlab.Adam(0.1), optlab.SGD(0.1)):
        params = [np.ones(3, np.float32), np.ones((2, 2)), np.empty(0), np.array(2.0)]
        state = opt.init(params)
        opt.step(params, [np.ones_like(p) for p in params], state)
        for p in params:
            np.testing.assert_allclose(p, np.ones_like(p) * (1.9 if p.shape == () else 0.9), rtol=1e-6)


@pytest.mark.parametrize(
    "g",
    [
        np.arange(6.0).reshape(3, 2).T,  # another order
        np.arange(12.0).reshape(2, 6)[:, ::2],
        np.arange(6).reshape(2, 3).astype(np.float32),
        np.ma.masked_array(np.arange(6.0).reshape(2, 3)).view(np.ndarray),
    ],
    ids=["transposed", "strided", "float32", "view"],
)
def test_gradients_of_other_layouts_are_copied(g):
    opt = optlab.SGD(0.5)
    x = np.zeros((2, 3))
    opt.step(x, g, opt.init(x))
    np.testing.assert_array_equal(x, -0.5 * np.asarray(g, dtype=np.float64))


def test_gradients_that_share_memory_with_the_parameters_are_copied():
    buffer = np.arange(5.0)
    opt = optlab.Momentum(1.0)
    x, g = buffer[1:], buffer[:-1]
    opt.step(x, g, opt.init(x))
    np.testing.assert_array_equal(buffer, [0, 1, 1, 1, 1])
    x = np.arange(3.0)
    opt.step(x, x, opt.init(x))
    np.testing.assert_array_equal(x, 0)


@pytest.mark.parametrize(
    ("params", "grads", "error", "message"),
    [
        (np.zeros(3), np.zeros(2), ValueError, r"grads\[0\]: expected shape \(3,\)"),
        (np.zeros(2), np.zeros(2), ValueError, r"params\[0\]: expected shape \(3,\)"),
        (np.zeros(3, np.float32), np.zeros(3), ValueError, r"params\[0\]: expected shape \(3,\) and float64"),
        (np.zeros(3, int), np.zeros(3), TypeError, "params: expected float32 or float64"),
        ([1.0, 2.0, 3.0], np.zeros(3), TypeError, "params: expected an array or a list of arrays"),
        (np.zeros((3, 2))[:, 0], np.zeros(3), ValueError, r"params\[0\]: expected a writeable array in C"),
        ([np.zeros(3)] * 2, [np.zeros(3)] * 2, ValueError, "as many arrays"),
        (np.zeros(3), np.array([0, np.nan, 0]), ValueError, r"grads\[0\]: expected finite .* nan at \[1\]"),
        (np.zeros(3), np.array([0, 0, -np.inf]), ValueError, r"grads\[0\]: expected finite .* -inf at \[2\]"),
    ],
)
def test_steps_check_before_they_change(opt, params, grads, error, message):
    state = opt.init(np.zeros(3))
    opt.step(np.zeros(3), np.ones(3), state)
    before = state.copy()
    with pytest.raises(error, match=message):
        opt.step(params, grads, state)
    assert_same(state, before)
    if isinstance(params, np.ndarray):
        assert not params.any()


def test_nothing_changes_if_only_the_last_array_is_bad(opt):
    params = [np.ones(40), np.ones(3)]
    state = opt.init(params)
    with pytest.raises(ValueError, match=r"grads\[1\]: expected finite numbers, got nan at \[2\]"):
        opt.step(params, [np.ones(40), np.array([1.0, 1.0, np.nan])], state)
    assert all((p == 1).all() for p in params)
    assert_same(state, opt.init(params))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 9, 100])
def test_nan_is_found_wherever_it_is_and_let_pass_if_asked_to(dtype, n):
    opt = optlab.SGD(1.0)
    for bad in (np.nan, np.inf, -np.inf):
        for place in range(n):
            g = np.full(n, np.finfo(dtype).max, dtype)
            g[place] = bad
            x = np.zeros(n, dtype)
            with pytest.raises(ValueError, match=rf"got {bad} at \[{place}\]"):
                opt.step(x, g, opt.init(x))
            opt.step(x, g, opt.init(x), allow_nan=True)
            np.testing.assert_array_equal(x, -g)


def test_read_only_parameters_are_refused_and_read_only_gradients_are_not():
    opt, x, g = optlab.SGD(1.0), np.zeros(2), np.ones(2)
    state = opt.init(x)
    g.flags.writeable = False
    opt.step(x, g, state)
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"params\[0\]: expected a writeable array"):
        opt.step(x, g, state)
    assert x.tolist() == [-1, -1]
    assert state.t == 1


def test_without_eps_what_never_had_a_gradient_stays():
    for kind in (optlab.AdaGrad, optlab.RMSProp, optlab.Adam, optlab.AdamW, optlab.AMSGrad, optlab.NAdam):
        opt, x = kind(lr=0.1, eps=0.0), np.array([1.0, 2.0])
        opt.step(x, np.array([0.0, 1.0]), opt.init(x))
        assert x[0] == pytest.approx(1.0, abs=1e-4)  # but for the decay
        assert x[1] < 2


# States


def assert_same(a, b):
    assert (a.t, a.names, a.alone, len(a.slots)) == (b.t, b.names, b.alone, len(b.slots))
    np.testing.assert_array_equal(a.scalars, b.scalars)
    for one, other in zip(a.slots, b.slots, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def saved(state, tmp_path):
    state.save(tmp_path / "state.npz")
    return optlab.State.load(tmp_path / "state.npz")


@pytest.mark.parametrize(
    "travel",
    [
        lambda state, _: copy.copy(state),
        lambda state, _: copy.deepcopy(state),
        lambda state, _: pickle.loads(pickle.dumps(state)),
        saved,
    ],
    ids=["copy", "deepcopy", "pickle", "file"],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_run_goes_on_to_the_bit(opt, travel, alone, tmp_path):
    rng = np.random.default_rng(1)
    x = (
        rng.standard_normal(7)
        if alone
        else [rng.standard_normal((2, 3)), rng.standard_normal(4).astype("f4")]
    )
    state = opt.init(x)

    def go_on(x, state, steps):
        rng = np.random.default_rng(state.t)
        for _ in range(steps):
            g = rng.standard_normal(7) if alone else [rng.standard_normal(a.shape).astype(a.dtype) for a in x]
            opt.step(x, g, state)

    go_on(x, state, 4)
    y, other = copy.deepcopy(x), travel(state, tmp_path)
    assert_same(state, other)
    go_on(x, state, 6)
    assert other.t == 4
    go_on(y, other, 6)
    assert_same(state, other)
    for a, b in zip([x] if alone else x, [y] if alone else y, strict=True):
        np.testing.assert_array_equal(a, b)


def damaged(state, **changes):
    """The arguments that make a state, some of them others."""
    names = ("kind", "t", "names", "alone", "slots", "scalars")
    return [changes.get(name, value) for name, value in zip(names, state.__reduce__()[1], strict=True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": -1}, "t: expected steps >= 0"),
        ({"slots": []}, "scalars: expected a row for each"),
        ({"slots": [None]}, r"slots\[0\]: expected an array"),
        ({"slots": [np.zeros((1, 3))]}, r"slots\[0\]: expected 2 vectors"),
        ({"slots": [np.zeros((2, 3), int)]}, r"slots\[0\]: expected an array of float32 or float64"),
        ({"scalars": np.zeros(2)}, "scalars: expected a row for each"),
        ({"scalars": np.zeros((1, 2), np.float32)}, "scalars: expected an array of float64"),
        ({"scalars": None}, "scalars: expected an array of float64"),
    ],
)
def test_damaged_states_are_refused(changes, message):
    state = optlab.Adam().init(np.zeros(3))
    with pytest.raises((ValueError, TypeError), match=message):
        optlab.State(*damaged(state, **changes))


@pytest.mark.parametrize("scalars", [np.zeros((1, 0)), np.zeros((1, 5))])
def test_a_state_with_too_few_numbers_is_refused(scalars):
    opt, x = optlab.Adam(), np.zeros(3)
    state = optlab.State(*damaged(opt.init(x), scalars=scalars))
    with pytest.raises(TypeError, match="state: expected the state of Adam"):
        opt.step(x, np.ones(3), state)
    assert not x.any()


def test_arrays_of_a_state_may_be_exchanged_but_have_to_fit(opt):
    x, g = np.zeros(50), np.ones(50)
    state = opt.init(x)
    opt.step(x, g, state)
    y, other = x.copy(), state.copy()
    state.slots[0] = state.slots[0].copy()  # the old one is gone
    opt.step(x, g, state)
    opt.step(y, g, other)
    np.testing.assert_array_equal(x, y)
    state.slots[0] = np.zeros((len(state.names) + 1, 50))
    with pytest.raises(ValueError, match=r"state.slots\[0\]: expected"):
        opt.step(x, g, state)
    state.slots[:] = []
    with pytest.raises(ValueError, match="as many arrays"):
        opt.step(x, g, state)
    np.testing.assert_array_equal(x, y)


def test_the_gradient_of_one_array_may_be_another_array():
    """f = x y: the gradient by x is y itself, and the other way round."""
    opt, x, y = optlab.SGD(0.1), np.array([1.0, 2.0]), np.array([3.0, 5.0])
    opt.step([x, y], [y, x], opt.init([x, y]))
    np.testing.assert_allclose([x, y], [[0.7, 1.5], [2.9, 4.8]])


def test_many_threads_on_one_state_take_turns_or_are_refused():
    x = np.zeros(20_000)
    state, done, refused = optlab.Adam(1e-3).init(x), [], []

    def run(seed):
        g = np.random.default_rng(seed).standard_normal(len(x))
        for _ in range(50):
            try:
                optlab.Adam(1e-3).step(x, g, state)
                done.append(seed)
            except RuntimeError as error:
                refused.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert len(done) + len(refused) == 200
    assert state.t == len(done) > 0
    assert set(refused) <= {"state: another thread is stepping it"}
    assert np.isfinite(x).all()
    assert np.isfinite(state.m).all()


def test_a_schedule_cannot_step_its_own_state():
    x = np.zeros(2)

    def lr(t):
        if len(asked) < 3:
            asked.append(t)
            opt.step(x, np.ones(2), state)
        return 0.1

    asked = []
    opt = optlab.SGD(lr)
    state = opt.init(x)
    with pytest.raises(RuntimeError, match="state: another thread is stepping it"):
        opt.step(x, np.ones(2), state)


def test_masks_are_refused():
    opt, x = optlab.SGD(0.1), np.zeros(3)
    masked = np.ma.masked_array(np.ones(3), [True, False, False])
    with pytest.raises(TypeError, match="grads: expected an array without a mask"):
        opt.step(x, masked, opt.init(x))
    with pytest.raises(TypeError, match="params: expected an array without a mask"):
        opt.init(masked)


def test_rates_follow_signs_that_products_would_lose():
    opt = optlab.DeltaBarDelta(lr=1e-3, increase=1e-3, decrease=0.5)
    x = np.zeros(2, np.float32)
    state = opt.init(x)
    opt.step(x, np.array([1e-30, 1e-30], np.float32), state)
    opt.step(x, np.array([1e-30, -1e-30], np.float32), state)
    np.testing.assert_allclose(state.rates, [2e-3, 0.5e-3], rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no archive", None], ids=["empty", "text", "an array"])
def test_a_file_that_is_no_archive(content, tmp_path):
    file = tmp_path / "other.npz"
    if content is None:
        with open(file, "wb") as opened:
            np.save(opened, np.zeros(3))
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError, match="file: expected a state that was saved"):
        optlab.State.load(file)


def test_a_file_that_is_something_else(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="file: expected a state"):
        optlab.State.load(tmp_path / "other.npz")


def test_a_state_belongs_to_its_optimizer():
    x = np.zeros(2)
    with pytest.raises(TypeError, match="state: expected the state of Adam, got that of sgd"):
        optlab.Adam().step(x, x, optlab.SGD().init(x))
    with pytest.raises(TypeError, match="state: expected the state of RAdam, got that of adam"):
        optlab.RAdam().step(x, x, optlab.Adam().init(x))
    nested = optlab.Switch(optlab.Switch(optlab.SGD(), optlab.SGD(), 1), optlab.Adam(), 0)
    other = optlab.Switch(optlab.SGD(), optlab.Adam(), 1).init(x)
    with pytest.raises(TypeError, match=r"expected the state of Switch, got that of \(sgd, then adam\)"):
        nested.step(x, x, other)
    with pytest.raises(TypeError, match="state: expected the state of SGD, got None"):
        optlab.SGD().step(x, x, None)
    with pytest.raises(AttributeError, match="this state has t, m, v, not momentum"):
        _ = optlab.Adam().init(x).momentum


def test_another_learning_rate_takes_over_a_state():
    x, y = np.zeros(3), np.zeros(3)
    state = optlab.Adam(0.1).init(x)
    memory = {}
    for t in range(6):
        g = np.full(3, 1.0 + t)
        opt = optlab.Adam(0.1) if t < 3 else optlab.Adam(0.01)
        opt.step(x, g, state)
        y = OPTIMIZERS["Adam"].step(y, g, memory, lr=opt.lr)
    np.testing.assert_allclose(x, y, rtol=1e-12)


def test_two_threads_step_two_states_at_once(opt):
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(10_000) for _ in range(20)]
    barrier = threading.Barrier(2)

    def run(at_once):
        x = np.zeros(10_000)
        state = opt.init(x)
        if at_once:
            barrier.wait()
        for g in gradients:
            opt.step(x, g, state)
        return x

    expected = run(False)
    with ThreadPoolExecutor(2) as pool:
        for x in pool.map(run, [True, True]):
            np.testing.assert_array_equal(x, expected)


def test_an_error_in_a_schedule_changes_nothing():
    def lr(t):
        if t == 2:
            raise ZeroDivisionError
        return 0.1

    opt, x = optlab.Adam(lr), np.zeros(3)
    state = opt.init(x)
    for _ in range(2):
        opt.step(x, np.ones(3), state)
    before, y = state.copy(), x.copy()
    with pytest.raises(ZeroDivisionError):
        opt.step(x, np.ones(3), state)
    assert_same(state, before)
    np.testing.assert_array_equal(x, y)


# Hyper-parameters

BAD = {
    "lr": [0.0, -1.0, math.inf, math.nan],
    "momentum": [1.0, -0.1, math.nan, 2],
    "eta": [0.0, math.nan],
    "rho": [1.0, -0.1, math.nan],
    "beta1": [1.0, -0.1, math.nan],
    "beta2": [1.0, 1.5, math.nan],
    "decay": [1.0, -0.1],
    "decrease": [1.0, -0.1],
    "eps": [-1e-8, math.nan, math.inf],
    "initial": [-1.0, math.nan],
    "increase": [-1.0, math.nan],
    "weight_decay": [-1.0, math.nan],
    "momentum_decay": [-1.0, math.nan],
    "form": ["tensorflop", "", None],
}


@pytest.mark.parametrize("kind", CLASSES)
def test_hyper_parameters_are_refused_by_name(kind):
    for field in fields(kind):
        for value in BAD[field.name]:
            with pytest.raises(ValueError, match=f"^{field.name}: expected"):
                kind(**{field.name: value})
        with pytest.raises((TypeError, ValueError), match=f"^{field.name}: expected"):
            kind(**{field.name: "much"})


def test_some_are_refused_for_some():
    with pytest.raises(ValueError, match="eps: expected a positive number"):
        optlab.AdaDelta(eps=0.0)
    with pytest.raises(TypeError, match="lr: expected a number, as the method adapts its rates"):
        optlab.DeltaBarDelta(lr=lambda t: 0.1)
    with pytest.raises(TypeError, match="first: expected an Optimizer"):
        optlab.Switch(0.1, optlab.SGD(), 3)
    with pytest.raises(ValueError, match="at: expected an integer >= 0"):
        optlab.Switch(optlab.Adam(), optlab.SGD(), -1)
    with pytest.raises(ValueError, match="at: expected an integer <= "):
        optlab.Switch(optlab.Adam(), optlab.SGD(), 10**30)
    with pytest.raises(TypeError, match="lr: expected a number, got"):
        optlab.SGD("0.1")
    with pytest.raises(ValueError, match="lr: expected a number that float64 can hold"):
        optlab.SGD(10**400)


@pytest.mark.parametrize(("name", "value"), [("lr", -1.0), ("lr", math.nan), ("momentum", 1.5)])
def test_scheduled_rates_are_checked_at_their_step(name, value):
    opt = optlab.Momentum(**{name: lambda t: value if t == 1 else 0.5})
    x = np.zeros(2)
    state = opt.init(x)
    opt.step(x, np.ones(2), state)
    before = x.copy()
    with pytest.raises(ValueError, match=f"{name}: expected a number >= 0"):
        opt.step(x, np.ones(2), state)
    np.testing.assert_array_equal(x, before)


def test_schedules_are_asked_for_their_step():
    opt = optlab.Momentum(lr=lambda t: 1.0 / (t + 1), momentum=lambda t: t / (t + 1))
    x, y, v = np.zeros(3), np.zeros(3), np.zeros(3)
    state = opt.init(x)
    for t in range(6):
        g = np.arange(3.0) - t
        opt.step(x, g, state)
        v = t / (t + 1) * v - g / (t + 1)
        y = y + v
    np.testing.assert_allclose(x, y, rtol=1e-12)


def test_a_switch_starts_the_second_schedule_anew():
    asked = []
    second = optlab.SGD(lambda t: asked.append(t) or 0.1)
    opt, x = optlab.Switch(optlab.SGD(lambda t: 1.0 + t), second, 2), np.zeros(1)
    state = opt.init(x)
    moves = []
    for _ in range(4):
        before = x.copy()
        opt.step(x, np.ones(1), state)
        moves.append((before - x).item())
    assert moves == pytest.approx([1.0, 2.0, 0.1, 0.1])
    assert asked[-2:] == [0, 1]
    assert optlab.Switch(optlab.Adam(), optlab.SGD(), 0).init(x).names == ("first_m", "first_v")


def test_optimizers_are_frozen_and_equal_if_their_fields_are(opt):
    with pytest.raises(AttributeError):
        opt.lr = 1.0
    assert pickle.loads(pickle.dumps(opt)) == opt
    assert copy.deepcopy(opt) == opt


def test_lookahead_is_the_parameters_themselves_unless_wanted_elsewhere(row):
    x = np.zeros(2)
    assert (row.opt.lookahead(x, row.opt.init(x)) is x) == (row.look is None)


def test_a_path_is_steps_by_hand(opt):
    p = problems.rosenbrock()
    path = optlab.trajectory(p, opt, steps=30)
    x = p.x0.copy()
    state = opt.init(x)
    for t in range(30):
        opt.step(x, p.grad(opt.lookahead(x, state)), state)
        np.testing.assert_allclose(path.x[t + 1], x, rtol=1e-12)


# Clipping


def test_clipping_by_norm_keeps_the_direction():
    rng = np.random.default_rng(0)
    for scale in (1e-200, 1e-3, 1.0, 1e6, 1e200):
        for dtype in (np.float64, np.float32):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # float32 has no 1e200
                g = (scale * rng.standard_normal(50)).astype(dtype)
            if not np.isfinite(g).all() or not g.any():
                continue
            c = optlab.clip_by_norm(g, 1.0)
            u, v = (a.astype(np.float64) / np.abs(a).max().astype(np.float64) for a in (g, c))
            eps = float(np.finfo(dtype).eps)
            assert u @ v / np.linalg.norm(u) / np.linalg.norm(v) == pytest.approx(1.0, abs=10 * eps)
            assert np.linalg.norm(c.astype(np.float64)) <= 1.0 + 10 * eps
            if scale <= 1e-3:
                np.testing.assert_array_equal(c, g)


def test_clipping_takes_the_norm_of_all_arrays():
    clipped = optlab.clip_by_norm([np.array([3.0]), np.array([[4.0]])], 1.0)
    np.testing.assert_allclose(np.concatenate([c.ravel() for c in clipped]), [0.6, 0.8])


def test_clipping_in_place():
    rng = np.random.default_rng(0)
    for clipping in (optlab.clip_by_norm, optlab.clip_by_value):
        for scale in (0.01, 10.0, 1e-300, 1e200):
            g = [scale * rng.standard_normal((2, 3)), scale * rng.standard_normal(4)]
            expected = clipping(g, 1.0)
            to = [np.empty((2, 3)), np.empty(4)]
            assert clipping(g, 1.0, out=to) is to
            assert clipping(g, 1.0, out=g) is g
            for a, b, c in zip(expected, to, g, strict=True):
                np.testing.assert_array_equal(a, b)
                np.testing.assert_array_equal(a, c)
        one = np.array([3.0, 4.0])
        assert clipping(one, 1.0, out=one) is one


@pytest.mark.parametrize(
    ("g", "out", "error", "message"),
    [
        (np.ones(3), np.ones(2), ValueError, r"out\[0\]: expected shape \(3,\) and float64"),
        (np.ones(3), np.ones(3, np.float32), ValueError, r"out\[0\]: expected shape \(3,\) and float64"),
        (np.ones(3), [np.ones(3)], ValueError, "out: expected 1 arrays"),
        ([np.ones(3)], [np.ones(3)] * 2, ValueError, "out: expected 1 arrays"),
        (np.ones(3), np.ones((3, 2))[:, 0], ValueError, r"out\[0\]: expected a writeable array"),
        (np.ones(3), [1.0], TypeError, "out: expected an array"),
    ],
)
def test_the_place_of_the_result_is_checked(g, out, error, message):
    for clipping in (optlab.clip_by_norm, optlab.clip_by_value):
        with pytest.raises(error, match=message):
            clipping(g, 1.0, out=out)


def test_the_place_of_the_result_may_be_the_gradient_but_no_part_of_it():
    buffer = np.arange(5.0)
    with pytest.raises(ValueError, match=r"out\[0\]: expected memory of its own"):
        optlab.clip_by_norm(buffer[:-1], 1.0, out=buffer[1:])
    a, b = np.ones(3), np.ones(3)
    with pytest.raises(ValueError, match=r"out\[0\]: expected memory of its own"):
        optlab.clip_by_value([a, b], 1.0, out=[b, a])
    np.testing.assert_array_equal(buffer, np.arange(5.0))


def test_clipping_leaves_what_cannot_be_shortened():
    first, second = optlab.clip_by_norm([np.array([3.0]), np.array([np.nan])], 1.0)
    assert first.item() == 3
    assert np.isnan(second.item())
    for g in ([0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0]):
        np.testing.assert_array_equal(optlab.clip_by_norm(np.array(g), 1.0), g)
    np.testing.assert_array_equal(
        optlab.clip_by_value(np.array([np.inf, -np.inf, np.nan]), 2.0), [2, -2, np.nan]
    )


def test_clipping_gives_copies_and_checks():
    g = np.array([0.1])
    for clip in (optlab.clip_by_norm, optlab.clip_by_value):
        assert not np.shares_memory(clip(g, 1.0), g)
        with pytest.raises(ValueError, match="expected"):
            clip(g, 0.0)
        with pytest.raises(ValueError, match="expected"):
            clip(g, -1.0)
        with pytest.raises(TypeError, match="g: expected"):
            clip([1.0], 1.0)


def test_clipping_inside_a_path_is_the_same():
    p = problems.shared_weight()
    x = np.array([1.3])
    path = optlab.trajectory(p, optlab.SGD(0.002), x, 50, clip_norm=1.0)
    for t in range(50):
        np.testing.assert_allclose(path.x[t], x, rtol=1e-12)
        x = x - 0.002 * optlab.clip_by_norm(p.grad(x), 1.0)
