"""Trajectories and the optimizers that make them, against loops in NumPy."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from optimizers import OPTIMIZERS

import optlab
from optlab import problems

SURFACES = {
    "rosenbrock": problems.rosenbrock(),
    "quadratic": problems.quadratic(7.0, rotation=0.4),
    "elongated_bowl": problems.elongated_bowl(20.0),
    "crescent": problems.crescent(),
    "beale": problems.beale(),
    "himmelblau": problems.himmelblau(),
    "booth": problems.booth(),
    "saddle": problems.saddle(),
    "monkey_saddle": problems.monkey_saddle(),
    "double_well": problems.double_well(),
    "ackley, 5": problems.ackley(5),
    "shared_weight": problems.shared_weight(5),
    "cliff": problems.cliff(),
    "softmax": problems.softmax((np.eye(4), [0, 1, 2, 1])),
}


def in_python(problem):
    """The same problem as the reader's own."""
    return optlab.Problem.from_callable(problem, problem.grad, problem.hess, n=problem.n, x0=problem.x0)


# Two optimizers on all surfaces, and all optimizers on two.
PAIRS = [(name, opt) for name in SURFACES for opt in ("SGD", "Adam")]
PAIRS += [(name, opt) for name in ("rosenbrock", "cliff") for opt in OPTIMIZERS if opt not in ("SGD", "Adam")]
pairs = pytest.mark.parametrize(("name", "optimizer"), PAIRS, ids=", ".join)


@pairs
def test_a_path_is_that_of_the_equations(name, optimizer):
    problem, row = SURFACES[name], OPTIMIZERS[optimizer]
    path = optlab.trajectory(problem, row.opt, steps=60)
    x, state, last = problem.x0, {}, problem.x0
    for t in range(61):
        f, g = problem.value_and_grad(x)
        np.testing.assert_allclose(path.x[t], x, rtol=1e-10, atol=1e-12)
        assert path.fun[t] == pytest.approx(f, rel=1e-9, abs=1e-12)
        assert path.grad_norm[t] == pytest.approx(np.linalg.norm(g), rel=1e-9, abs=1e-12)
        assert path.step[t] == pytest.approx(np.linalg.norm(x - last), rel=1e-6, abs=1e-12)
        at = x if row.look is None else row.look(x, state)
        last, x = x, row.step(x, problem.grad(at), state)
    assert path.nfev.tolist() == [1 + t * (1 if row.look is None else 2) for t in range(61)]


@pairs
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": 7},
        {"clip_norm": 0.5},
        {"clip_value": 0.3},
        {"clip_norm": 0.5, "clip_value": 0.4, "noise": 0.1, "rng": 3},
        {"noise": 0.1, "rng": 3, "every": 10},
        {"gtol": 0.5},
    ],
    ids=str,
)
def test_python_takes_the_same_path(name, optimizer, options):
    problem, opt = SURFACES[name], OPTIMIZERS[optimizer].opt
    compiled = optlab.trajectory(problem, opt, steps=50, **options)
    slow = optlab.trajectory(in_python(problem), opt, steps=50, **options)
    np.testing.assert_allclose(compiled.x, slow.x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(compiled.grad_norm, slow.grad_norm, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(compiled.step, slow.step, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(compiled.nfev, slow.nfev)


@pairs
@pytest.mark.parametrize(
    "options", [{}, {"every": 9}, {"gtol": 0.5}, {"noise": 0.1}, {"noise": 0.1, "gtol": 0.5}], ids=str
)
@pytest.mark.parametrize("threads", [1, 2])
def test_many_paths_are_many_trajectories(name, optimizer, options, threads):
    problem, opt = SURFACES[name], OPTIMIZERS[optimizer].opt
    starts = problem.x0 + 0.1 * np.random.default_rng(0).standard_normal((2, 3, problem.n))
    rng = np.random.default_rng(5) if "noise" in options else None
    again = np.random.default_rng(5) if "noise" in options else None
    many = optlab.trajectories(problem, opt, starts, 40, num_threads=threads, rng=rng, **options)
    assert many.x.shape[1:] == starts.shape
    assert many.fun.shape == many.x.shape[:-1]
    for index in np.ndindex(2, 3):
        one = optlab.trajectory(problem, opt, starts[index], 40, rng=again, **({"every": 40} | options))
        rows = [*range(len(one)), *[len(one) - 1] * (len(many.x) - len(one))]  # an early end is repeated
        np.testing.assert_allclose(many.x[(slice(None), *index)], one.x[rows], rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(many.nfev[(slice(None), *index)], one.nfev[rows])


def test_rows_are_the_start_every_so_many_steps_and_the_end():
    p, opt = problems.booth(), optlab.SGD(0.01)
    full = optlab.trajectory(p, opt, steps=10)
    some = optlab.trajectory(p, opt, steps=10, every=4)
    np.testing.assert_array_equal(some.x, full.x[[0, 4, 8, 10]])
    np.testing.assert_array_equal(some.step, full.step[[0, 4, 8, 10]])
    assert some.nfev.tolist() == [1, 5, 9, 11]
    assert optlab.trajectory(p, opt, steps=0).x.tolist() == [p.x0.tolist()]
    assert optlab.trajectory(p, opt, steps=0, noise=1.0, rng=0).x.tolist() == [p.x0.tolist()]
    assert optlab.trajectories(p, opt, [[0.0, 0.0]], 0).x.shape == (1, 1, 2)
    assert optlab.trajectories(p, opt, np.empty((0, 2)), 5).x.shape == (2, 0, 2)


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_a_path_ends_where_the_gradient_is_small(every):
    p, opt = problems.quadratic(4.0), optlab.SGD(0.2)
    path = optlab.trajectory(p, opt, steps=1000, every=every, gtol=1e-3)
    full = optlab.trajectory(p, opt, steps=1000)
    end = int(np.argmax(full.grad_norm <= 1e-3))
    assert path.nfev[-1] == end + 1
    np.testing.assert_array_equal(path.x[-1], full.x[end])
    at_once = optlab.trajectory(p, opt, [0.0, 0.0], 1000, every=every, gtol=1e-9)
    assert at_once.x.tolist() == [[0.0, 0.0]]
    ends = optlab.trajectories(p, opt, [[0.0, 0.0], [1.0, 1.0]], 1000, gtol=1e-3)
    np.testing.assert_array_equal(ends.x[-1], [[0.0, 0.0], full.x[end]])
    assert ends.nfev[-1].tolist() == [1, end + 1]


@pytest.mark.parametrize("p", [problems.quadratic(4.0), in_python(problems.quadratic(4.0))], ids=str)
def test_a_point_without_gradient_is_no_end_by_itself(p):
    assert optlab.trajectory(p, optlab.SGD(0.1), [0.0, 0.0], 5).x.tolist() == [[0.0, 0.0]] * 6
    assert optlab.trajectory(p, optlab.SGD(0.1), [0.0, 0.0], 5, noise=1.0, rng=0).x[1:].all()


@pytest.mark.parametrize("problem", [problems.quadratic(4.0), in_python(problems.quadratic(4.0))], ids=str)
def test_a_path_that_diverges_says_so(problem):
    with pytest.warns(RuntimeWarning, match="left the finite numbers at step"):
        path = optlab.trajectory(problem, optlab.SGD(10.0), steps=10_000)
    assert np.isfinite(path.fun[:-1]).all()
    assert not np.isfinite(path.fun[-1])
    with pytest.warns(RuntimeWarning, match="1 of 2 paths left the finite numbers"):
        ends = optlab.trajectories(problem, optlab.SGD(10.0), [[0.0, 0.0], [1.0, 1.0]], 10_000)
    assert ends.x[-1, 0].tolist() == [0.0, 0.0]


def test_a_move_that_cannot_be_squared_has_a_length():
    p = problems.rosenbrock()
    with pytest.warns(RuntimeWarning, match="left the finite numbers"):
        path = optlab.trajectory(p, optlab.Adam(1e200), steps=3)
    with pytest.warns(RuntimeWarning, match="left the finite numbers"):
        expected = optlab.trajectory(in_python(p), optlab.Adam(1e200), steps=3)
    np.testing.assert_allclose(path.step, expected.step, rtol=1e-12)
    assert 1e200 < path.step[-1] < np.inf


def test_schedules_are_asked_for_each_step():
    p = problems.booth()
    path = optlab.trajectory(p, optlab.SGD(lambda t: 0.01 / (t + 1)), steps=5)
    x = p.x0
    for t in range(5):
        np.testing.assert_allclose(path.x[t], x, rtol=1e-12)
        x = x - 0.01 / (t + 1) * p.grad(x)
    with pytest.raises(ValueError, match="lr: expected a number >= 0"):
        optlab.trajectory(p, optlab.SGD(lambda t: -1.0), steps=2)
    np.testing.assert_array_equal(optlab.trajectory(p, optlab.SGD(lambda t: 1.0), steps=0).x, [p.x0])


def test_noise_is_normal_and_goes_on():
    p = problems.quadratic(1.0, 3)
    rng = np.random.default_rng(1)
    a = optlab.trajectory(p, optlab.SGD(0.1), steps=20, noise=2.0, rng=rng)
    b = optlab.trajectory(p, optlab.SGD(0.1), steps=20, noise=2.0, rng=rng)
    for path, child in zip((a, b), np.random.default_rng(1).spawn(2), strict=True):
        for t in range(20):
            x = path.x[t] - 0.1 * (p.grad(path.x[t]) + 2.0 * child.standard_normal(3))
            np.testing.assert_allclose(path.x[t + 1], x, rtol=1e-12)
    with pytest.raises(ValueError, match="rng: expected a Generator or a seed"):
        optlab.trajectory(p, optlab.SGD(0.1), noise=1.0)


def test_long_paths_with_noise_are_drawn_in_blocks(monkeypatch):
    p = problems.quadratic(2.0)
    whole = optlab.trajectory(p, optlab.Adam(0.1), steps=100, noise=0.1, rng=0)
    monkeypatch.setattr("optlab.paths._NOISE", 14)
    parts = optlab.trajectory(p, optlab.Adam(0.1), steps=100, noise=0.1, rng=0)
    np.testing.assert_array_equal(whole.x, parts.x)
    np.testing.assert_array_equal(whole.nfev, parts.nfev)


@pytest.mark.parametrize(
    "opt",
    [optlab.SGD(1e-3), optlab.Adam(0.01), optlab.Nesterov(optlab.schedules.inverse_time(1e-4, 100))],
    ids=repr,
)
def test_blocks_of_steps_change_nothing(opt, monkeypatch):
    p = problems.rosenbrock()
    whole = optlab.trajectory(p, opt, steps=1000, every=30)
    monkeypatch.setattr("optlab.paths._SIGNALS", 42)
    parts = optlab.trajectory(p, opt, steps=1000, every=30)
    for name in ("x", "fun", "grad_norm", "step", "nfev"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


@contextmanager
def interrupted():
    """Ctrl-C after 0.3 s ends what is done inside, which would take minutes.

    A signal may come at a moment when Python drops the exception: it is sent again. It is a true one, because
    a waiting lock wakes up for nothing else.
    """
    done = threading.Event()

    def press():
        time.sleep(0.3)
        while not done.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(5.0)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    thread = threading.Thread(target=press)
    start = time.perf_counter()
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        done.set()
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - start < 60


def test_a_long_path_can_be_interrupted():
    p = problems.rosenbrock()
    with interrupted():
        optlab.trajectory(p, optlab.Adam(1e-3), steps=2_000_000_000, every=1_000_000_000)
    assert optlab.trajectory(p, optlab.SGD(1e-3), steps=1).nfev[-1] == 2


@pytest.mark.parametrize("starts", [np.full((2, 2), 2.0), np.full((20, 20, 2), 2.0)], ids=["few", "many"])
@pytest.mark.parametrize("own", [False, True])
def test_many_paths_can_be_interrupted(starts, own):
    p = (
        problems.Problem.from_callable(lambda x: x @ x, lambda x: 2 * x, n=2)
        if own
        else problems.rosenbrock()
    )
    with interrupted():
        optlab.trajectories(p, optlab.SGD(1e-9), starts, 1_000_000_000, num_threads=2)


def test_an_error_ends_all_threads():
    def fun(x):
        if x[0] > 5:
            raise ZeroDivisionError
        return x @ x

    p = problems.Problem.from_callable(fun, lambda x: 2 * x, n=2)
    start = time.perf_counter()
    with pytest.raises(ZeroDivisionError):
        optlab.trajectories(p, optlab.SGD(1e-300), [[1, 1], [6, 1], [1, 2]], 1_000_000_000, num_threads=2)
    assert time.perf_counter() - start < 60


def test_threads_take_different_paths_at_once():
    p, opt = problems.himmelblau(), optlab.Adam(0.01)
    starts = np.random.default_rng(0).uniform(-5, 5, (20, 2))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: optlab.trajectory(p, opt, x, 500).x, starts))
    for start, x in zip(starts, together, strict=True):
        np.testing.assert_array_equal(x, optlab.trajectory(p, opt, start, 500).x)


def test_the_start_is_not_changed_and_the_history_is_a_copy():
    start = np.array([1.0, 2.0])
    path = optlab.trajectory(problems.booth(), optlab.SGD(0.01), start, 3)
    assert start.tolist() == [1.0, 2.0]
    assert not np.shares_memory(path.x, start)


def test_progress_goes_to_stderr(capsys):
    optlab.trajectories(problems.booth(), optlab.SGD(0.01), np.zeros((50, 2)), 5, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "50/50" in err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"problem": lambda x: x}, TypeError, "problem: expected a Problem"),
        ({"opt": 0.1}, TypeError, "opt: expected an optimizer"),
        ({"opt": optlab.SGD}, TypeError, "opt: expected an optimizer"),
        ({"steps": 10**30}, ValueError, "steps: expected an integer <= "),
        ({"noise": 1.0, "rng": "a"}, TypeError, "rng: expected a Generator or a seed"),
        ({"noise": 1.0, "rng": -1}, ValueError, "rng: expected an integer >= 0"),
        ({"x0": [1.0]}, ValueError, "x0: expected shape"),
        ({"x0": [1.0, np.nan]}, ValueError, "x0: expected finite"),
        ({"steps": -1}, ValueError, "steps: expected an integer >= 0"),
        ({"steps": 1.5}, TypeError, "steps: expected an integer"),
        ({"every": 0}, ValueError, "every: expected an integer >= 1"),
        ({"noise": -1.0, "rng": 0}, ValueError, "noise: expected"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm: expected a positive"),
        ({"clip_value": -1.0}, ValueError, "clip_value: expected"),
        ({"gtol": np.nan}, ValueError, "gtol: expected"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    defaults = {"problem": problems.booth(), "opt": optlab.SGD(0.01), "steps": 3}
    with pytest.raises(error, match=message):
        optlab.trajectory(**(defaults | arguments))


def test_starts_are_checked():
    p, opt = problems.booth(), optlab.SGD(0.01)
    with pytest.raises(ValueError, match=r"starts: expected shape \(\.\.\., 2\)"):
        optlab.trajectories(p, opt, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="starts: expected finite"):
        optlab.trajectories(p, opt, [[1.0, np.inf]])
    with pytest.raises(ValueError, match="num_threads: expected"):
        optlab.trajectories(p, opt, [[1.0, 2.0]], num_threads=0)


def test_an_optimizer_of_the_reader_takes_its_path():
    class Signs:
        def init(self, params):
            return None

        def step(self, params, grads, state):
            params -= 0.1 * np.sign(grads)

    path = optlab.trajectory(problems.saddle(), Signs(), [0.55, 0.05], 3)
    np.testing.assert_allclose(path.x[-1], [0.25, 0.35])
