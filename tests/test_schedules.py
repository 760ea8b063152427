"""Schedules against their equations."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import optlab
from optlab import schedules

# Every schedule with its equation, as a student would write it from the docstring.
SCHEDULES = {
    "constant": (schedules.constant(0.3), lambda t: 0.3),
    "linear_decay": (
        schedules.linear_decay(0.1, 0.001, 40),
        lambda t: 0.1 + (0.001 - 0.1) * min(t, 40) / 40,
    ),
    "linear_decay, upwards": (schedules.linear_decay(0.5, 0.9, 7), lambda t: 0.5 + 0.4 * min(t, 7) / 7),
    "inverse_time": (schedules.inverse_time(0.2, 5), lambda t: 0.2 / (1 + t / 5)),
    "inverse_time, root": (schedules.inverse_time(0.2, 2.5, 0.5), lambda t: 0.2 / math.sqrt(1 + t / 2.5)),
    "exponential": (schedules.exponential(0.2, 0.9), lambda t: 0.2 * 0.9**t),
    "exponential, slow": (schedules.exponential(0.2, 0.5, 10), lambda t: 0.2 * 0.5 ** (t / 10)),
    "step": (schedules.step(0.2, 0.1, 15), lambda t: 0.2 * 0.1 ** math.floor(t / 15)),
    "cosine": (
        schedules.cosine(0.1, 0.001, 30),
        lambda t: 0.001 + 0.5 * 0.099 * (1 + math.cos(math.pi * min(t, 30) / 30)),
    ),
    "warmup": (
        schedules.warmup(schedules.exponential(0.2, 0.9), 10, 0.05),
        lambda t: 0.05 + 0.15 * t / 10 if t < 10 else 0.2 * 0.9 ** (t - 10),
    ),
    "warmup, a number": (schedules.warmup(0.2, 10), lambda t: 0.2 * min(t / 10, 1)),
    "warmup, none": (schedules.warmup(schedules.exponential(0.2, 0.9), 0), lambda t: 0.2 * 0.9**t),
    "noam": (
        schedules.noam(64, 10, 2.0),
        lambda t: 2.0 / math.sqrt(64) * min((t + 1) ** -0.5, (t + 1) * 10**-1.5),
    ),
    "resnet110": (schedules.resnet110(), lambda t: 0.01),
    "nesterov": (schedules.nesterov(), lambda t: nesterov(t)),
    "momentum_warmup": (schedules.momentum_warmup(0.9), lambda t: min(0.9, 1 - 1 / (1.5 + t / 5))),
    "momentum_warmup, Nesterov": (
        schedules.momentum_warmup(0.99, delay=5 / 3, pace=3),
        lambda t: min(0.99, 1 - 3 / (t + 5)),
    ),
}
STEPS = [0, 1, 2, 3, 5, 7, 9, 10, 11, 14, 15, 16, 29, 30, 31, 39, 40, 41, 100, 1000]


def nesterov(k):
    t, momentum = 1.0, 0.0
    for _ in range(k):
        following = (1 + math.sqrt(1 + 4 * t**2)) / 2
        t, momentum = following, (t - 1) / following
    return momentum


@pytest.fixture(params=list(SCHEDULES))
def schedule(request):
    return SCHEDULES[request.param][0]


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_values_are_those_of_the_equation(name):
    schedule, equation = SCHEDULES[name]
    for t in STEPS:
        assert schedule(t) == pytest.approx(equation(t), rel=1e-13, abs=1e-17)


def test_arrays_of_steps_get_arrays_of_the_same_values(schedule):
    values = schedule(np.array(STEPS[:16]).reshape(4, 2, 2))
    assert values.shape == (4, 2, 2)
    assert values.dtype == np.float64
    assert values.ravel().tolist() == [schedule(t) for t in STEPS[:16]]
    np.testing.assert_array_equal(schedule([0, 3]), [schedule(0), schedule(3)])
    np.testing.assert_array_equal(schedule(np.array([2.0, 5.0])), [schedule(2), schedule(5)])
    assert schedule(np.empty(0, int)).shape == (0,)
    for one in (3, 3.0, np.int64(3), np.uint8(3), np.array(3)):
        assert type(schedule(one)) is float
        assert schedule(one) == schedule(3)


def test_values_are_rates_forever(schedule):
    for t in (0, 1, 10**4, 10**6):
        assert 0.0 <= schedule(t) < math.inf


def test_copies_are_equal(schedule):
    for other in (pickle.loads(pickle.dumps(schedule)), copy.copy(schedule), copy.deepcopy(schedule)):
        assert other == schedule
        assert other(17) == schedule(17)
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert schedule != schedules.constant(17.0)


@pytest.mark.parametrize(
    "schedule", [s for s, _ in SCHEDULES.values() if s != schedules.resnet110()], ids=repr
)
def test_schedules_are_frozen(schedule):
    assert len({schedule, copy.copy(schedule)}) == 1
    with pytest.raises(AttributeError):
        schedule.lr = 1.0


def test_optimizers_take_them(schedule):
    opt, x = optlab.SGD(lr=schedule), np.zeros(1)
    state = opt.init(x)
    for t in range(20):
        before = x.copy()
        opt.step(x, np.ones(1), state)
        np.testing.assert_array_equal(x, before - schedule(t))
    assert pickle.loads(pickle.dumps(opt)) == opt


@pytest.mark.parametrize("t", [-1, -0.5, math.nan, math.inf, np.array([1.0, -2.0]), [0, math.nan]], ids=str)
def test_steps_are_checked(schedule, t):
    with pytest.raises(ValueError, match="t: expected steps >= 0, got"):
        schedule(t)


@pytest.mark.parametrize("t", ["3", None, 1j, [None]], ids=str)
def test_steps_are_numbers(schedule, t):
    with pytest.raises(TypeError, match="t: expected"):
        schedule(t)


# What the equations promise


def test_linear_decay_ends_exactly():
    rate = schedules.linear_decay(0.1, 0.001, 1000)
    np.testing.assert_allclose(rate([0, 500, 1000, 2000]), [0.1, 0.0505, 0.001, 0.001], rtol=1e-15)
    assert (rate(0), rate(1000), rate(1001)) == (0.1, 0.001, 0.001)
    line = (1 - 1000 / 1000) * 0.1 + 1000 / 1000 * 0.001  # the other branch, at the same place
    assert rate(1000) == line


def test_cosine_is_half_way_in_the_middle():
    rate = schedules.cosine(0.1, 0.001, 1000)
    np.testing.assert_allclose(rate([0, 500, 1000, 2000]), [0.1, 0.0505, 0.001, 0.001], rtol=1e-14)
    assert (rate(0), rate(1000)) == (0.1, 0.001)


rates = st.floats(1e-6, 10.0)
counts = st.integers(1, 10_000)


@given(rates, rates, counts)
def test_decays_stay_between_their_ends(lr, end, steps):
    for kind in (schedules.linear_decay, schedules.cosine):
        t = np.unique(np.linspace(0, 1.2 * steps, 50).astype(int))
        values = kind(lr, end, steps)(t)
        assert values[0] == lr
        assert values[-1] == end
        slack = 4 * np.spacing(max(lr, end))
        assert (np.diff(values) * np.sign(end - lr) >= -slack).all()


@given(rates, st.integers(1, 300), st.floats(0, 1))
def test_warmup_meets_the_schedule(lr, steps, start):
    inner = schedules.inverse_time(lr, 7)
    rate = schedules.warmup(inner, steps, start)
    assert rate(0) == start
    assert [rate(steps + t) for t in range(5)] == [inner(t) for t in range(5)]
    up = rate(np.arange(steps + 1))
    np.testing.assert_allclose(np.diff(up), (lr - start) / steps, atol=4 * np.spacing(max(lr, start)))


def test_warmup_goes_around_functions_of_the_reader():
    rate = schedules.warmup(lambda t: 0.5 / (t + 1), 4)
    assert rate([0, 2, 4, 5]).tolist() == [0.0, 0.25, 0.5, 0.25]
    twice = schedules.warmup(schedules.warmup(0.4, 2, start=0.2), 2)
    np.testing.assert_allclose(twice([0, 1, 2, 3, 4, 5]), [0.0, 0.1, 0.2, 0.3, 0.4, 0.4])


@pytest.mark.parametrize(("width", "warmup"), [(512, 4000), (64, 10), (256, 100), (1024, 7), (1, 1)])
def test_noam_is_largest_in_the_last_step_of_its_warmup(width, warmup):
    rate = schedules.noam(width, warmup)
    values = rate(np.arange(4 * warmup))
    assert np.argmax(values) == warmup - 1
    assert np.sum(values == values.max()) == 1
    assert values.max() == pytest.approx((width * warmup) ** -0.5, rel=1e-12)
    assert values[4 * warmup - 1] == pytest.approx(values.max() / 2, rel=1e-12)
    assert schedules.noam(width, warmup, 3.0)(5) == pytest.approx(3 * rate(5), rel=1e-15)


def test_resnet110_switches_once_and_never_back():
    rate = schedules.resnet110()
    seen = []
    for error in (0.9, 0.8, 0.79, 0.95, 0.1, 1.0):
        before = rate(0)
        assert rate.observe(error) == (before != rate(0))
        seen.append(rate(0))
    assert seen == [0.01, 0.01, 0.1, 0.1, 0.1, 0.1]
    assert rate([3, 4]).tolist() == [0.1, 0.1]
    other = copy.deepcopy(rate)
    assert other == rate
    assert pickle.loads(pickle.dumps(rate)).switched
    assert rate != schedules.resnet110()


@pytest.mark.parametrize("error", [-0.1, 1.5, 79.0, math.nan])
def test_resnet110_wants_a_fraction(error):
    rate = schedules.resnet110()
    with pytest.raises(ValueError, match="error: expected a"):
        rate.observe(error)
    with pytest.raises(TypeError, match="error: expected a number"):
        rate.observe("low")
    assert not rate.switched


def test_nesterov_wants_whole_steps_and_can_be_asked_at_once():
    with pytest.raises(ValueError, match=r"t: expected an integer, got 1\.5"):
        schedules.nesterov()(1.5)
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(schedules.nesterov(), [5000, 4999, 5001, 5002] * 5))
    assert values == [schedules.nesterov()(t) for t in [5000, 4999, 5001, 5002] * 5]
    assert values[0] == pytest.approx(1 - 3 / 5000, abs=1e-5)


def test_growing_rates_become_infinite_and_are_refused():
    assert schedules.exponential(0.1, 2.0)(10_000) == math.inf
    assert schedules.step(0.1, 2.0, 1)(10_000) == math.inf
    x = np.zeros(1)
    opt = optlab.SGD(schedules.exponential(1e308, 10.0))
    state = opt.init(x)
    opt.step(x, np.zeros(1), state)
    with pytest.raises(ValueError, match="lr: expected a finite"):
        opt.step(x, np.zeros(1), state)


# Errors

NUMBERS = {  # a value that is refused, and whether its type is the fault
    "negative": (-0.1, ValueError),
    "nan": (math.nan, ValueError),
    "infinite": (math.inf, ValueError),
    "text": ("fast", TypeError),
    "none": (None, TypeError),
}
COUNTS = NUMBERS | {
    "float": (2.0, TypeError),
    "infinite": (math.inf, TypeError),
    "nan": (math.nan, TypeError),
}
ARGUMENTS = [  # schedule, its arguments, which of them are positive, >= 0, integers >= 1
    (schedules.constant, {"lr": 0.1}, ["lr"], [], []),
    (schedules.linear_decay, {"lr": 0.1, "end": 0.0, "steps": 5}, ["lr"], ["end"], ["steps"]),
    (schedules.inverse_time, {"lr": 0.1, "steps": 5, "power": 1.0}, ["lr", "steps", "power"], [], []),
    (schedules.exponential, {"lr": 0.1, "factor": 0.9, "steps": 1}, ["lr", "factor", "steps"], [], []),
    (schedules.step, {"lr": 0.1, "factor": 0.1, "every": 5}, ["lr", "factor"], [], ["every"]),
    (schedules.cosine, {"lr": 0.1, "end": 0.0, "steps": 5}, ["lr"], ["end"], ["steps"]),
    (schedules.warmup, {"schedule": 0.1, "steps": 5, "start": 0.0}, ["schedule"], ["start"], []),
    (schedules.noam, {"width": 512, "warmup": 5, "scale": 1.0}, ["scale"], [], ["width", "warmup"]),
    (schedules.resnet110, {}, ["low", "high", "threshold"], [], []),
    (schedules.momentum_warmup, {"limit": 0.9}, ["pace"], ["limit"], []),
]


def refused():
    for kind, arguments, positive, nonnegative, counts in ARGUMENTS:
        for name in positive + nonnegative:
            yield from ((kind, arguments | {name: v}, name, e) for v, e in NUMBERS.values())
        for name in counts:
            yield from ((kind, arguments | {name: v}, name, e) for v, e in COUNTS.values() if v != -0.1)
            yield from ((kind, arguments | {name: v}, name, ValueError) for v in (0, -3))
        for name in positive:
            yield kind, arguments | {name: 0}, name, ValueError
    yield schedules.warmup, {"schedule": 0.1, "steps": -1}, "steps", ValueError
    yield schedules.warmup, {"schedule": 0.1, "steps": 1.0}, "steps", TypeError
    yield schedules.resnet110, {"threshold": 80}, "threshold", ValueError
    yield schedules.momentum_warmup, {"limit": 1.0}, "limit", ValueError
    yield schedules.momentum_warmup, {"limit": 0.9, "delay": 0.5}, "delay", ValueError


@pytest.mark.parametrize(("kind", "arguments", "name", "error"), list(refused()))
def test_arguments_are_checked(kind, arguments, name, error):
    with pytest.raises(error, match=f"^{name}: expected .*, got "):
        kind(**arguments)


def test_the_sequence_goes_on_beyond_its_table():
    schedule, t, last = schedules.nesterov(), 1.0, 1.0
    for _ in range(120_000):
        last, t = t, (1 + math.sqrt(1 + 4 * t * t)) / 2
    assert schedule(120_000) == pytest.approx((last - 1) / t, rel=0, abs=1e-14)
    assert 1 - schedule(10**12) == pytest.approx(3e-12, rel=1e-4)
