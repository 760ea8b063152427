"""Training against loops by hand; how it ends, goes on, and is interrupted."""

import math
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optlab
from optlab import schedules
from optlab.batches import Batches
from optlab.training import TrainingHistory, train

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.1 * rng.standard_normal(50)
OPTIMIZERS = {
    "SGD": optlab.SGD(lr=0.1),
    "SGD, schedule": optlab.SGD(lr=schedules.inverse_time(0.3, 5)),
    "Nesterov, schedules": optlab.Nesterov(lr=schedules.warmup(0.05, 5), momentum=schedules.nesterov()),
    "Adam": optlab.Adam(lr=0.05),
}


def cost(params, X, y):
    """Least squares; params are the weights and a bias."""
    w, b = params
    r = X @ w + b - y
    return r @ r / (2 * len(r)), [X.T @ r / len(r), np.array([r.mean()])]


def whole(params):
    return cost(params, X, Y)[0]


def bowl(x):
    return x @ x / 2, x.copy()


def start():
    return [np.zeros(3), np.zeros(1)]


def batches(seed=1, **options):
    return Batches(X, Y, **({"size": 8, "rng": seed} | options))


def run(params=None, data=None, opt=OPTIMIZERS["SGD"], fun=cost, epochs=3, **options):
    params = start() if params is None else params
    return train(
        fun,
        params,
        batches() if data is None else data,
        opt,
        epochs=epochs,
        **({"progress": False} | options),
    )


@pytest.fixture(params=list(OPTIMIZERS))
def opt(request):
    return OPTIMIZERS[request.param]


@pytest.mark.parametrize(
    "limits", [{}, {"clip_norm": 0.5}, {"clip_value": 0.2}, {"clip_norm": 0.3, "clip_value": 0.2}], ids=str
)
def test_updates_are_those_of_the_loop_by_hand(opt, limits):
    params = start()
    state = opt.init(params)
    costs, norms, rates, means, values = [], [], [], [], [whole(params)]
    data = batches()
    for _ in range(3):
        before = len(costs)
        for x, y in data:
            f, g = cost(opt.lookahead(params, state), x, y)
            costs.append(f)
            norms.append(np.linalg.norm(np.concatenate(g)))
            rates.append(opt.lr(state.t) if callable(opt.lr) else opt.lr)
            if "clip_value" in limits:
                g = optlab.clip_by_value(g, limits["clip_value"])
            if "clip_norm" in limits:
                g = optlab.clip_by_norm(g, limits["clip_norm"])
            opt.step(params, g, state)
        means.append(np.mean(costs[before:]))
        values.append(whole(params))

    mine = start()
    result = run(mine, opt=opt, validate=whole, **limits)
    for a, b in zip(mine, params, strict=True):
        np.testing.assert_array_equal(a, b)
    h = result.history
    np.testing.assert_array_equal(h.fun, costs)
    np.testing.assert_allclose(h.grad_norm, norms, rtol=1e-13)
    np.testing.assert_array_equal(h.lr, rates)
    np.testing.assert_allclose(h.epoch_fun, means, rtol=1e-14)
    np.testing.assert_array_equal(h.validation, values)
    assert h.epoch_nit.tolist() == [0, 7, 14, 21]
    assert (result.nit, result.epochs, len(h), result.state.t) == (21, 3, 21, 21)
    assert (result.status, result.success, result.message) == (0, True, "all 3 epochs were run")
    assert result.params is mine


def test_the_gradient_is_asked_where_the_optimizer_looks_ahead():
    class Ahead:
        lr = 0.1

        def init(self, params):
            return None

        def lookahead(self, params, state):
            return params + 1.0

        def step(self, params, grads, state):
            params -= 0.1 * grads

    x = np.zeros(1)
    result = run(x, [()], Ahead(), bowl, 2)
    np.testing.assert_allclose(x, [-0.1 - 0.09])
    np.testing.assert_allclose(result.history.fun, [0.5, 0.405])


def test_an_optimizer_of_the_reader_trains():
    class Signs:
        def init(self, params):
            return {}

        def step(self, params, grads, state):
            params -= 0.25 * np.sign(grads)

    x = np.array([1.0, -0.5])
    result = run(x, [()], Signs(), bowl, 2)
    assert x.tolist() == [0.5, 0.0]
    assert np.isnan(result.history.lr).all()
    assert result.state == {}


def test_one_array_or_many_are_the_same():
    def alone(w, X, y):
        f, g = cost((w[:3], w[3:]), X, y)
        return f, np.concatenate(g)

    one, many = np.zeros(4), tuple(start())
    a, b = run(one, fun=alone), run(many)
    np.testing.assert_array_equal(one, np.concatenate(many))
    assert isinstance(a.x, np.ndarray)
    assert isinstance(b.x, list)
    np.testing.assert_array_equal(a.history.fun, b.history.fun)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_stay(dtype):
    def fun(params, X, y):
        f, g = cost(params, X, y)
        return f, [a.astype(dtype) for a in g]

    result = run(
        [a.astype(dtype) for a in start()], Batches(X.astype(dtype), Y.astype(dtype), rng=0), fun=fun
    )
    assert {a.dtype for a in (*result.x, *result.params)} == {np.dtype(dtype)}
    for name in ("fun", "grad_norm", "lr", "epoch_fun", "validation"):
        assert getattr(result.history, name).dtype == np.float64
    assert result.history.epoch_nit.dtype == np.int64


def test_any_iterable_gives_batches():
    parts = [(X[:20], Y[:20]), [X[20:], Y[20:]]]
    a = run(data=parts)
    assert a.nit == 6
    assert run(data=iter(parts), epochs=1).nit == 2
    seen = []
    run(np.ones(1), [np.ones(2)], fun=lambda w, x: (seen.append(x.tolist()) or 0.0, np.zeros(1)), epochs=1)
    assert seen == [[1.0, 1.0]]


@pytest.mark.parametrize("value", [0.5, np.float64(0.5), np.float32(0.5), np.array(0.5), 1, True])
def test_costs_are_numbers_of_any_kind(value):
    result = run(np.ones(1), [()], fun=lambda w: (value, w), validate=lambda w: value, epochs=1)
    assert result.history.fun.tolist() == result.history.validation[:1].tolist() == [float(value)]


# The best


def test_x_is_a_copy_of_the_best():
    values = iter([3.0, 2.0, 1.0, 1.0, 5.0])
    kept = []
    result = run(
        validate=lambda p: next(values),
        epochs=4,
        callback=lambda e: kept.append((e.best, [a.copy() for a in e.params])),
    )
    assert [best for best, _ in kept] == [True, True, False, False]
    assert (result.fun, result.best_epoch) == (1.0, 2)
    for i in range(2):
        np.testing.assert_array_equal(result.x[i], kept[1][1][i])
        np.testing.assert_array_equal(result.params[i], kept[3][1][i])
        assert not np.shares_memory(result.x[i], result.params[i])


def test_the_start_can_be_the_best():
    params = [np.array([1.0, -2.0, 0.5]), np.array([0.3])]
    result = run(params, opt=optlab.SGD(1.0), validate=whole, patience=2, epochs=100)
    assert result.best_epoch == 0
    assert result.x[0].tolist() == [1.0, -2.0, 0.5]
    assert result.epochs == 2
    assert result.message == "no better epoch than 0 in 2 more: stopped early"


def test_without_validation_the_mean_cost_decides():
    result = run(epochs=10)
    h = result.history
    assert result.fun == h.epoch_fun.min()
    assert result.best_epoch == 1 + np.argmin(h.epoch_fun)
    assert h.validation.shape == (0,)


def test_no_epochs():
    result = run(epochs=0)
    assert (result.nit, result.epochs, result.success) == (0, 0, True)
    assert math.isnan(result.fun)
    assert run(epochs=0, validate=whole).fun == whole(start())
    assert result.history.epoch_nit.tolist() == [0]


def test_what_is_nan_is_never_the_best():
    values = iter([math.nan, 2.0, math.nan, 3.0])
    result = run(validate=lambda p: next(values))
    assert (result.fun, result.best_epoch) == (2.0, 1)
    assert math.isnan(run(validate=lambda p: math.nan).fun)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.integers(1, 5))
@settings(deadline=None)
def test_patience_counts_epochs_without_a_new_best(values, patience):
    given = iter(values)
    result = run(
        np.ones(1), [()], fun=bowl, epochs=len(values) - 1, validate=lambda x: next(given), patience=patience
    )
    best, waited, end = values[0], 0, 0
    for value in values[1:]:
        end += 1
        waited = 0 if value < best else waited + 1
        best = min(best, value)
        if waited == patience:
            break
    assert result.epochs == end
    assert result.fun == best
    assert result.best_epoch == values.index(best)
    assert result.status == 0
    assert ("stopped early" in result.message) == (waited == patience)


# The callback


def test_the_callback_is_told_each_epoch():
    seen = []
    params = start()
    result = run(params, validate=whole, callback=seen.append)
    assert [(e.epoch, e.nit) for e in seen] == [(1, 7), (2, 14), (3, 21)]
    assert all(e.params is params and e.state is result.state for e in seen)
    assert [e.fun for e in seen] == result.history.epoch_fun.tolist()
    assert [e.validation for e in seen] == result.history.validation[1:].tolist()
    run(callback=seen.append, epochs=1)
    assert seen[-1].validation is None


def test_the_callback_stops_the_run():
    def callback(epoch):
        if epoch.epoch == 2:
            raise StopIteration

    result = run(callback=callback, epochs=10)
    assert (result.status, result.success, result.epochs, result.nit) == (99, False, 2, 14)
    assert result.message == "the callback stopped the run after epoch 2"


def test_a_schedule_that_observes_is_told_by_the_callback():
    rate = schedules.resnet110(0.01, 0.1, threshold=0.5)
    errors = iter([0.9, 0.5, 0.4, 0.9])
    result = run(opt=optlab.SGD(rate), callback=lambda e: rate.observe(next(errors)), epochs=4)
    assert result.history.lr.tolist() == [0.01] * 21 + [0.1] * 7


# Going on


@pytest.mark.parametrize("order", ["each_epoch", "once", "given", "replacement"])
@pytest.mark.parametrize("first", [0, 1, 2, 5])
def test_two_runs_make_one(opt, order, first):
    long, short = start(), start()
    one = run(long, batches(order=order), opt, epochs=5)
    data = batches(order=order)
    a = run(short, data, opt, epochs=first)
    b = run(short, data, opt, epochs=5 - first, state=a.state)
    assert b.state is a.state
    assert b.state.t == one.nit == a.nit + b.nit
    for x, y in zip(short, long, strict=True):
        np.testing.assert_array_equal(x, y)
    for name in ("fun", "grad_norm", "lr", "epoch_fun"):
        joined = np.concatenate([getattr(a.history, name), getattr(b.history, name)])
        np.testing.assert_array_equal(joined, getattr(one.history, name))


def test_results_survive_pickle(opt):
    data, long = batches(), start()
    first = run(long, data, opt)
    again, data_again = pickle.loads(pickle.dumps((first, data)))
    assert again.message == first.message
    np.testing.assert_array_equal(again.history.fun, first.history.fun)
    np.testing.assert_array_equal(again.x[0], first.x[0])
    run(long, data, opt, state=first.state)
    run(again.params, data_again, opt, state=again.state)
    np.testing.assert_array_equal(again.params[0], long[0])


def test_the_history_is_its_own():
    result = run()
    assert repr(result.history) == "TrainingHistory(21 updates, 3 epochs)"
    other = pickle.loads(pickle.dumps(result.history))
    assert isinstance(other, TrainingHistory)
    np.testing.assert_array_equal(other.epoch_nit, result.history.epoch_nit)
    assert "all 3 epochs were run" in repr(result)


# What is not finite


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f, g: (math.nan, g), "the cost was nan after 10 updates"),
        (lambda f, g: (-math.inf, g), "the cost was -inf after 10 updates"),
        (lambda f, g: (f, [g[0], g[1] * math.nan]), "the gradient was not finite after 10 updates"),
        (lambda f, g: (f, [g[0] - math.inf, g[1]]), "the gradient was not finite after 10 updates"),
        (
            lambda f, g: (f, [g[0] * math.inf, g[1] * math.nan]),
            "the gradient was not finite after 10 updates",
        ),
    ],
)
def test_what_is_not_finite_ends_the_run(opt, spoil, message):
    calls = []

    def fun(params, x, y):
        calls.append(1)
        f, g = cost(params, x, y)
        return spoil(f, g) if len(calls) == 11 else (f, g)

    params, good = start(), start()
    result = run(params, opt=opt, fun=fun, clip_norm=1.0)
    assert (result.status, result.success, result.message) == (3, False, message)
    assert (result.nit, result.epochs, result.best_epoch, result.state.t) == (10, 1, 1, 10)
    assert len(result.history) == 10
    assert np.isfinite(result.history.fun).all()
    after_epoch = run(good, opt=opt, epochs=1, clip_norm=1.0)
    np.testing.assert_array_equal(result.x[0], good[0])
    assert result.fun == after_epoch.fun
    opt.step(params, cost(params, X, Y)[1], result.state)  # the run can go on where it is
    assert result.state.t == 11


def test_a_run_that_diverges_says_so():
    x = np.ones(2)
    with np.errstate(over="ignore"):
        result = run(x, [()], optlab.SGD(1e3), bowl, 1000)
    assert result.status == 3
    assert result.message.startswith("the cost was inf after ")
    assert np.isfinite(x).all()
    assert result.best_epoch == 1
    assert result.fun == 1.0


@pytest.mark.parametrize("updates", [1, 3])
def test_a_step_that_overflows_is_undone(updates):
    x = np.ones(2)
    opt = optlab.SGD(lambda t: 1e308 if t == updates - 1 else 0.0)
    with np.errstate(over="ignore"):
        result = run(x, [()] * 3, opt, lambda x: (1.0, np.full(2, 1e5)), 5, validate=lambda x: 0.0)
    assert result.status == 3
    assert x.tolist() == result.x.tolist() == [1.0, 1.0]
    assert result.state is None
    assert result.message == "parameters were not finite after 3 updates and were set back"


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(10.0**k, np.float64) for k in (-300, -30, 0, 30, 300)] + [(10.0**k, np.float32) for k in (-30, 0, 30)],
)
def test_norms_neither_overflow_nor_underflow(scale, dtype):
    g = [np.array([3.0 * scale], dtype), np.array([[4.0 * scale]], dtype)]
    params = [np.zeros(1, dtype), np.zeros((1, 1), dtype)]
    result = run(params, [()], optlab.SGD(1e-9), lambda p: (0.0, g), 1)
    assert result.history.grad_norm[0] == pytest.approx(5 * scale, rel=4 * float(np.finfo(dtype).eps))


def test_a_norm_beyond_all_floats_is_no_end():
    g = np.full(4, 1.7e308)
    result = run(np.zeros(4), [()], optlab.SGD(1e-308), lambda p: (0.0, g), 1)
    assert result.status == 0
    assert result.history.grad_norm[0] == np.finfo(float).max
    assert run(np.zeros(0), [()], fun=lambda p: (0.0, p), epochs=1).history.grad_norm.tolist() == [0.0]


# Exceptions and Ctrl-C


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (place, error)
        for place in ("fun", "validate", "callback", "batches", "lr")
        for error in (ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(3), StopIteration())
        if not (place == "callback" and isinstance(error, StopIteration))  # that ends the run
    ],
    ids=repr,
)
def test_exceptions_pass_with_the_result_so_far(place, error):
    calls = {}

    def at(name, number):
        calls[name] = calls.get(name, 0) + 1
        if name == place and calls[name] == number:
            raise error

    class Data:
        def __iter__(self):
            at("batches", 2)
            return iter(batches("given", order="given"))

    def fun(params, x, y):
        at("fun", 11)
        return cost(params, x, y)

    def rate(t):
        at("lr", 20)  # asked twice for each update
        return 0.1

    params = start()
    with pytest.raises(type(error)) as caught:
        run(
            params, Data(), optlab.SGD(rate), fun,
            validate=lambda p: at("validate", 3) or whole(p), callback=lambda e: at("callback", 2),
        )  # fmt: skip
    assert caught.value is error
    result = error.result
    assert (result.status, result.success) == (98, False)
    assert type(error).__name__ in result.message
    assert result.nit == len(result.history) == result.state.t
    expected = {"fun": 10, "validate": 14, "callback": 14, "batches": 7, "lr": 9}[place]
    assert result.nit == expected
    assert result.epochs == (2 if place == "callback" else 1)
    assert result.params is params
    # The rest of the way, from what the exception left.
    data = list(batches("given", order="given"))
    again = start()
    run(again, data[:7] + data[: expected - 7], epochs=1)
    np.testing.assert_array_equal(params[0], again[0])


def test_an_exception_that_takes_no_attributes_passes_too():
    class Sealed(Exception):
        def __setattr__(self, name, value):
            if name == "result":
                raise AttributeError(name)
            super().__setattr__(name, value)

    def fun(params, x, y):
        raise Sealed

    with pytest.raises(Sealed):
        run(fun=fun)


def press(done):
    """Ctrl-C after 0.2 s; again if Python was at a place where it drops exceptions."""
    time.sleep(0.2)
    while not done.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        done.wait(5.0)


@pytest.fixture
def ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    done = threading.Event()
    thread = threading.Thread(target=press, args=(done,))
    thread.start()
    yield done
    done.set()
    thread.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("progress", [False, True])
def test_ctrl_c_leaves_whole_steps(ctrl_c, progress):
    opt, params = OPTIMIZERS["Adam"], start()
    with pytest.raises(KeyboardInterrupt) as caught:
        run(params, batches(order="given"), opt, epochs=10**9, progress=progress)
    ctrl_c.set()
    result = caught.value.result
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert result.message.startswith("KeyboardInterrupt after ")
    assert result.nit == len(result.history.lr) == result.state.t > 0
    again = start()
    whole_epochs, rest = divmod(result.nit, 7)
    one = run(again, batches(order="given"), opt, epochs=whole_epochs)
    if rest:
        run(again, list(batches(order="given"))[:rest], opt, epochs=1, state=one.state)
    for a, b in zip(params, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_ctrl_c_waits_for_the_end_of_a_step(ctrl_c):
    class Slow:
        lr = 0.1

        def init(self, params):
            return [0]

        def step(self, params, grads, state):
            params[0][:] += 1
            end = time.perf_counter() + 0.5
            while time.perf_counter() < end:
                pass
            params[1][:] += 1
            state[0] += 1

    params = start()
    with pytest.raises(KeyboardInterrupt) as caught:
        run(params, opt=Slow(), epochs=10**9)
    ctrl_c.set()
    assert caught.value.result.nit == caught.value.result.state[0] == params[0][0] == params[1][0]


def test_the_handler_of_the_reader_is_called_and_comes_back():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *a: pressed.append(a))
    mine = signal.getsignal(signal.SIGINT)
    try:

        def fun(params, x, y):
            signal.raise_signal(signal.SIGINT)
            return cost(params, x, y)

        assert run(fun=fun, epochs=1).status == 0
        assert len(pressed) == 7
        assert signal.getsignal(signal.SIGINT) is mine
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert run(fun=fun, epochs=1).status == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_runs_in_threads_and_runs_inside_runs():
    expected = start()
    run(expected)
    with ThreadPoolExecutor(3) as pool:
        for result in pool.map(lambda _: run(), range(6)):
            np.testing.assert_array_equal(result.params[0], expected[0])

    def fun(params, x, y):
        np.testing.assert_array_equal(run().params[0], expected[0])
        return cost(params, x, y)

    np.testing.assert_array_equal(run(fun=fun, epochs=3).params[0], expected[0])


def test_progress_goes_to_stderr(capsys):
    run(progress=True, validate=whole)
    out, err = capsys.readouterr()
    assert out == ""
    assert "21/21" in err
    run(data=iter([(X, Y)]), epochs=1, progress=True)
    assert "1update" in capsys.readouterr().err
    run()
    assert capsys.readouterr().err == ""


# Errors

BAD = [
    ({"fun": 3}, TypeError, "fun: expected a callable, got int"),
    ({"params": [[0.0], [1.0]]}, TypeError, "params: expected an array or a list of arrays, got list"),
    ({"params": 1.0}, TypeError, "params: expected an array or a list of arrays, got float"),
    ({"params": []}, ValueError, "params: expected at least one array, got none"),
    ({"params": [np.zeros(3), np.zeros(1, int)]}, TypeError, r"params\[1\]: expected float32 or float64"),
    ({"params": [np.zeros(3), np.array([math.nan])]}, ValueError, r"params\[1\]: expected finite numbers"),
    ({"opt": 0.1}, TypeError, r"opt: expected an optimizer with init and step, got 0\.1"),
    ({"opt": "adam"}, TypeError, "opt: expected an optimizer"),
    ({"epochs": -1}, ValueError, "epochs: expected an integer >= 0, got -1"),
    ({"epochs": 2.5}, TypeError, r"epochs: expected an integer, got 2\.5"),
    ({"epochs": None}, TypeError, "epochs: expected an integer, got None"),
    ({"data": 3}, TypeError, "batches: expected an iterable of batches, got int"),
    ({"data": iter([(X, Y)])}, TypeError, "batches: expected what can be iterated.*list_iterator"),
    ({"validate": 1.0}, TypeError, "validate: expected a callable"),
    ({"patience": 0}, ValueError, "patience: expected an integer >= 1, got 0"),
    ({"patience": 1.5}, TypeError, "patience: expected an integer"),
    ({"callback": "print"}, TypeError, "callback: expected a callable"),
    ({"clip_norm": 0.0}, ValueError, "clip_norm: expected a positive number"),
    ({"clip_norm": math.nan}, ValueError, "clip_norm: expected a number >= 0"),
    ({"clip_value": -1.0}, ValueError, "clip_value: expected a number >= 0"),
    ({"clip_value": "1 m"}, TypeError, "clip_value: expected a number"),
    # found by the first batch
    ({"data": []}, ValueError, "batches: expected at least one batch, got none in epoch 1"),
    ({"fun": lambda p, x, y: 1.0}, TypeError, r"fun: expected \(cost, grads\), got float"),
    ({"fun": lambda p, x, y: None}, TypeError, r"fun: expected \(cost, grads\), got NoneType"),
    ({"fun": lambda p, x, y: (1.0, p, p)}, TypeError, r"fun: expected \(cost, grads\), got tuple"),
    ({"fun": lambda p, x, y: (None, p)}, TypeError, "cost: expected a number, got None"),
    ({"fun": lambda p, x, y: (y, p)}, TypeError, r"cost: expected a number, got an array of shape \(8,\)"),
    ({"fun": lambda p, x, y: (1.0, 2.0)}, TypeError, "grads: expected arrays as params has, got float"),
    ({"fun": lambda p, x, y: (1.0, [[0.0] * 3, [0.0]])}, TypeError, "grads: expected arrays"),
    ({"fun": lambda p, x, y: (1.0, [np.ones(2), np.ones(1)])}, ValueError, r"grads\[0\]: expected shape"),
    ({"fun": lambda p, x, y: (1.0, [np.ones(3)])}, ValueError, "grads: expected as many arrays"),
    ({"validate": lambda p: None}, TypeError, "validate: expected a number, got None"),
    ({"validate": lambda p: np.ones(1)}, TypeError, "validate: expected a number, got an array"),
    ({"state": optlab.Adam().init(start())}, TypeError, "state: expected the state of SGD"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_arguments_are_checked_before_anything_changes(options, error, message):
    params = start()
    with pytest.raises(error, match=f"^{message}"):
        run(**({"params": params} | options))
    assert not any(a.any() for a in params)
