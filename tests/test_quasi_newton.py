"""BFGS and L-BFGS: their matrices, the kernel's passes, and the compiled loop beside the interpreted one."""

import functools
import signal
import threading
import tracemalloc

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der

import optlab
from optlab import _minimize, linesearch
from optlab._kernels import lbfgs as kernels

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
# Around the length of the blocks in which the kernel reads vectors.
SIZES = [1, 2, 3, 7, 8, 16, 33, 100, 503, 504, 505, 1009]


def loose(f0, slope0, step0):
    """The default search, but not one that the compiled loop recognizes."""
    return linesearch.strong_wolfe(f0, slope0, step0, c2=0.9)


def pairs(n, m, seed, dtype=DOUBLE):
    """m steps and changes of the gradient of a convex quadratic with eigenvalues 1 to 10, and a gradient."""
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((m, n))
    v = rng.standard_normal(n)
    v /= np.linalg.norm(v)
    turned = S - 2 * np.outer(S @ v, v)
    scaled = turned * np.linspace(1, 10, n)
    Y = scaled - 2 * np.outer(scaled @ v, v)
    return S.astype(dtype), Y.astype(dtype), rng.standard_normal(n).astype(dtype)


def quadratic(n, kappa, seed=0):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (Q * np.geomspace(1, kappa, n)) @ Q.T, rng.standard_normal(n), rng.standard_normal(n)


# The update ------------------------------------------------------------------------------------------


@given(n=st.integers(1, 12), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_update_is_that_of_the_book(n, seed):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((n, n))
    M = B @ B.T + np.eye(n)
    s, y = rng.standard_normal((2, n))
    y = y if s @ y > 0.1 else s + 0.1 * y / np.linalg.norm(y) * np.linalg.norm(s)
    before = M.copy()
    updated = optlab.bfgs_update(M, s, y)
    expected = reference.bfgs_update(M, s, y)
    np.testing.assert_allclose(updated, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(updated, updated.T)
    size = np.abs(updated).max() * np.abs(y).max()
    np.testing.assert_allclose(updated @ y, s, rtol=0, atol=1e-13 * n * size)
    # The smallest eigenvalue is positive, but may be smaller than the rounding of the largest.
    assert np.linalg.eigvalsh(updated).min() > -1e-14 * n * np.abs(updated).max()
    np.testing.assert_array_equal(M, before)


def test_update_of_other_types():
    assert optlab.bfgs_update([[1]], [1], [2]).dtype == np.float64
    single = optlab.bfgs_update(np.eye(2, dtype=SINGLE), np.ones(2, SINGLE), np.ones(2, SINGLE))
    assert single.dtype == SINGLE


@pytest.mark.parametrize(
    ("M", "s", "y", "error", "name"),
    [
        (np.eye(2), [1.0, 2.0, 3.0], [1.0, 2.0], ValueError, "y"),
        (np.eye(3), [1.0, 2.0], [1.0, 2.0], ValueError, "M"),
        (np.ones((2, 3)), [1.0, 2.0], [1.0, 2.0], ValueError, "M"),
        ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], ValueError, "M"),
        (np.eye(2), [1.0, 2.0], [2.0, -1.0], ValueError, "s"),
        (np.eye(2), [1.0, np.nan], [2.0, -1.0], ValueError, "s"),
        (np.eye(2), [1.0, 2.0], [np.inf, 1.0], ValueError, "y"),
        (np.eye(2) * np.nan, [1.0, 2.0], [1.0, 1.0], ValueError, "M"),
        (np.eye(2), [1j, 2.0], [1.0, 1.0], TypeError, "s"),
        (np.eye(2), None, [1.0, 1.0], TypeError, "s"),
    ],
)
def test_update_refuses(M, s, y, error, name):
    with pytest.raises(error, match=rf"^{name}: expected"):
        optlab.bfgs_update(M, s, y)


# The two loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 20), (50, 30), (200, 60), (7, 1)])
@pytest.mark.parametrize("gamma", [None, 1.0, 0.3])
def test_two_loop_is_the_matrix(n, m, gamma):
    for seed in range(5):
        S, Y, g = pairs(n, m, seed)
        used = S[-1] @ Y[-1] / (Y[-1] @ Y[-1]) if gamma is None else gamma
        expected = reference.lbfgs_matrix(S, Y, used) @ g
        error = np.linalg.norm(optlab.two_loop(g, S, Y, gamma) - expected)
        assert error <= 1e-12 * np.linalg.norm(expected)


def test_two_loop_without_pairs():
    g = np.array([1.0, 2.0])
    np.testing.assert_array_equal(optlab.two_loop(g, [], []), g)
    np.testing.assert_array_equal(optlab.two_loop(g, np.empty((0, 2)), np.empty((0, 2)), 3.0), 3 * g)


def test_two_loop_takes_lists_and_single_precision_and_changes_nothing():
    S, Y, g = pairs(6, 4, 0)
    before = S.copy(), Y.copy(), g.copy()
    expected = optlab.two_loop(g, S, Y)
    np.testing.assert_array_equal(optlab.two_loop(list(g), list(S), list(Y)), expected)
    np.testing.assert_array_equal(optlab.two_loop(g, np.asfortranarray(S), Y[::-1][::-1]), expected)
    for array, kept in zip((S, Y, g), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    single = optlab.two_loop(*(a.astype(SINGLE) for a in (g, S, Y)))
    assert single.dtype == SINGLE
    np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("g", "S", "Y", "error", "name"),
    [
        ([1.0], [[1.0, 2.0]], [[1.0, 2.0]], ValueError, "S"),
        ([1.0, 2.0], [[1.0, 2.0]], [[1.0, 2.0]] * 2, ValueError, "Y"),
        ([1.0, 2.0], [[1.0, 2.0]], [[2.0, -1.0]], ValueError, "S"),
        ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], ValueError, "S"),
        ([[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]], ValueError, "g"),
        ([1.0, 2.0], [["a", "b"]], [[1.0, 2.0]], TypeError, "S"),
    ],
)
def test_two_loop_refuses(g, S, Y, error, name):
    with pytest.raises(error, match=rf"^{name}: expected"):
        optlab.two_loop(g, S, Y)


# The kernel ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("n", SIZES)
def test_directions_of_the_last_pairs(n, scale, dtype):
    """More pairs than there is room for: the ring goes round."""
    S, Y, _ = pairs(n, 12, n, dtype)
    x = np.concatenate([np.zeros((1, n), dtype), np.cumsum(S, 0, dtype=dtype)])
    g = np.concatenate([np.ones((1, n), dtype), 1 + np.cumsum(Y, 0, dtype=dtype)])
    kept = kernels.Pairs(x[0], 5, scale)
    for k in range(12):
        kept.learn(x[k], g[k], x[k + 1], g[k + 1])
        assert kept.count == min(k + 1, 5)
        first = max(0, k - 4)
        S_seen, Y_seen = (np.diff(a[first : k + 2], axis=0).astype(float) for a in (x, g))
        gamma = S_seen[-1] @ Y_seen[-1] / (Y_seen[-1] @ Y_seen[-1]) if scale else 1.0
        if n <= 100:
            expected = -reference.lbfgs_matrix(S_seen, Y_seen, gamma) @ g[k + 1].astype(float)
        else:
            expected = -optlab.two_loop(g[k + 1].astype(float), S_seen, Y_seen, gamma)
        d = kept.direction(g[k + 1])
        assert d.dtype == dtype
        tolerance = 1e-11 if dtype == DOUBLE else 5e-3
        assert np.linalg.norm(d - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "y", [[-1.0, 0.0], [0.0, 1.0], [1e-17, 1.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1e200, 1.0]]
)
def test_pairs_without_positive_curvature_are_not_kept(y):
    zero, s = np.zeros(2), np.array([1.0, 0.0])
    kept = kernels.Pairs(zero, 3, True)
    kept.learn(zero, zero, s, np.array([2.0, 0.5]))
    expected = kept.direction(s)
    kept.learn(zero, zero, s, np.array(y))
    assert kept.count == 1
    g = np.array([2.0, 0.5])
    kept.learn(zero, g, s, g)  # no change of the gradient either; the products are those of g
    assert kept.count == 1
    np.testing.assert_allclose(
        kept.direction(g), -reference.lbfgs_matrix([s], [g], 2 / 4.25) @ g, rtol=1e-14, atol=1e-15
    )
    assert np.isfinite(expected).all()
    kept.clear()
    assert kept.count == 0


@pytest.mark.parametrize("n", [2, 10, 1000])
@pytest.mark.parametrize("memory", [1, 3, 10])
def test_compiled_loop_is_the_interpreted_one(n, memory):
    p = optlab.problems.extended_rosenbrock(n)
    x0 = p.x0 + 0.1 * np.random.default_rng(n).standard_normal(n)
    runs = [
        optlab.lbfgs(p, x0, memory=memory),
        optlab.lbfgs(p, x0, memory=memory, line_search=loose),
        optlab.lbfgs(p, x0, jac=p.grad, memory=memory),
        optlab.lbfgs(p.value_and_grad, x0, jac=True, memory=memory, callback=lambda x: None),
    ]
    # Rounding alone tells them apart, and grows from step to step.
    for run in runs[1:]:
        np.testing.assert_allclose(run.history.x[:12], runs[0].history.x[:12], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(run.history.nfev[:12], runs[0].history.nfev[:12])
        np.testing.assert_allclose(run.history.step[:12], runs[0].history.step[:12], rtol=1e-6)
        assert run.success
    assert runs[0].success
    assert (runs[0].nfev, runs[0].njev) == (runs[0].history.nfev[-1],) * 2
    np.testing.assert_array_equal(runs[0].jac, p.grad(runs[0].x))
    assert runs[0].fun == pytest.approx(p(runs[0].x), abs=1e-15)


def test_curvature_that_fails_keeps_the_matrix():
    """A search that moves by 1, wherever that leads, meets pairs with s.y < 0 on a double well."""

    def leap(f0, slope0, step0):
        yield step0
        return step0

    seen = []

    def fun(x):
        seen.append(x)
        return float((x[0] ** 2 - 1) ** 2 + x[1] ** 2 / 2), np.array([4 * x[0] * (x[0] ** 2 - 1), x[1]])

    for method in (optlab.bfgs, optlab.lbfgs):
        run = method(fun, [0.1, 0.3], jac=True, line_search=leap, maxiter=30)
        x = run.history.x
        y = np.diff([fun(point)[1] for point in x], axis=0)
        assert (np.einsum("ij,ij->i", np.diff(x, axis=0), y) < 0).any()
        assert np.isfinite(run.x).all()
        if method is optlab.bfgs:
            assert np.linalg.eigvalsh(run.hess_inv).min() > 0


# What the methods compute ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 8])
def test_exact_steps_on_a_quadratic(n):
    """The points of the book, and M = A^-1 after n of them."""
    A, b, x0 = quadratic(n, 100.0)
    points, M = reference.bfgs(A, b, x0, n)
    run = optlab.bfgs(
        lambda x: (x @ A @ x / 2 - b @ x, A @ x - b),
        x0,
        jac=True,
        scale=False,
        line_search=linesearch.exact,
        maxiter=n,
        gtol=0.0,
    )
    np.testing.assert_allclose(run.history.x, points, atol=1e-6)
    np.testing.assert_allclose(run.x, np.linalg.solve(A, b), atol=1e-6)
    np.testing.assert_allclose(run.hess_inv, M, atol=1e-6)
    np.testing.assert_allclose(run.hess_inv @ A, np.eye(n), atol=1e-6)


@pytest.mark.parametrize("scale", [True, False])
def test_inverse_hessian_of_the_result(scale):
    run = optlab.bfgs(rosen, [-1.2, 1.0, 0.5, 2.0], jac=rosen_der, scale=scale, gtol=1e-8)
    np.testing.assert_array_equal(run.hess_inv, run.hess_inv.T)
    assert np.linalg.eigvalsh(run.hess_inv).min() > 0
    # The last step counts too: the secant equation holds for it.
    s = run.history.x[-1] - run.history.x[-2]
    y = run.jac - rosen_der(run.history.x[-2])
    np.testing.assert_allclose(run.hess_inv @ y, s, rtol=0, atol=1e-10 * np.linalg.norm(s))


def test_inverse_hessian_before_the_first_step():
    run = optlab.bfgs(rosen, [1.0, 1.0], jac=rosen_der)
    np.testing.assert_array_equal(run.hess_inv, np.eye(2))
    assert optlab.bfgs(rosen, np.ones(2, SINGLE), jac=rosen_der).hess_inv.dtype == SINGLE


@pytest.mark.parametrize("line_search", [optlab.bfgs.__kwdefaults__["line_search"], loose])
def test_lbfgs_with_all_pairs_and_a_fixed_start_is_bfgs(line_search):
    p = optlab.problems.logistic(penalty=1e-3)
    x0 = np.random.default_rng(1).standard_normal(p.n)
    a = optlab.bfgs(p, x0, scale=False, line_search=line_search)
    b = optlab.lbfgs(p, x0, scale=False, memory=1000, line_search=line_search)
    assert a.success
    assert 50 < a.nit == b.nit
    assert np.abs(a.history.x - b.history.x).max() <= 1e-8
    np.testing.assert_array_equal(a.history.nfev, b.history.nfev)


def test_scale_is_another_method():
    x0 = np.array([-1.2, 1.0, 0.3])
    for method in (optlab.bfgs, optlab.lbfgs):
        a, b = (method(rosen, x0, jac=rosen_der, scale=scale) for scale in (True, False))
        np.testing.assert_array_equal(a.history.x[:2], b.history.x[:2])
        assert np.abs(a.history.x[2] - b.history.x[2]).max() > 1e-3


def test_memory_of_one_pair_forgets_the_others():
    S, Y, g = pairs(9, 4, 3)
    x = np.concatenate([np.zeros((1, 9)), np.cumsum(S, 0)])
    kept = kernels.Pairs(x[0], 1, True)
    gradients = np.concatenate([g[None] - Y.sum(0), g[None] - Y.sum(0) + np.cumsum(Y, 0)])
    for k in range(4):
        kept.learn(x[k], gradients[k], x[k + 1], gradients[k + 1])
    np.testing.assert_allclose(kept.direction(gradients[-1]), -optlab.two_loop(g, S[-1:], Y[-1:]), rtol=1e-9)


# Problems, threads, memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", [optlab.bfgs, optlab.lbfgs])
def test_problems_bring_their_gradient(method):
    p = optlab.problems.rosenbrock(4)
    run = method(p, p.x0)
    assert run.success
    assert run.nfev == run.njev
    with pytest.raises(ValueError, match=r"^x0: expected"):
        method(p, [1.0, 2.0])
    single = method(p, p.x0.astype(SINGLE), gtol=1e-2)
    assert single.x.dtype == SINGLE
    assert single.success
    mine = optlab.problems.Problem.from_callable(rosen, rosen_der, n=4)
    np.testing.assert_allclose(method(mine, p.x0).history.x[:9], run.history.x[:9], atol=1e-9)


def test_lbfgs_has_pairs_of_linear_size():
    p = {n: optlab.problems.extended_rosenbrock(n) for n in (100_000, 200_000)}

    def peak(n, memory):
        tracemalloc.start()
        optlab.lbfgs(p[n], p[n].x0, memory=memory, maxiter=25, gtol=0.0, history=False)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size / (8 * n)

    vectors = {m: peak(100_000, m) for m in (5, 10, 20)}
    assert vectors[10] - vectors[5] == pytest.approx(10, abs=0.5)
    assert vectors[20] - vectors[10] == pytest.approx(20, abs=1)
    assert vectors[10] <= 2 * 10 + 14
    assert peak(200_000, 10) == pytest.approx(vectors[10], rel=0.02)


def test_two_runs_at_once():
    problems = [optlab.problems.extended_rosenbrock(2000), optlab.problems.rosenbrock(50)]
    alone = [optlab.lbfgs(p, p.x0) for p in problems]
    together = [None, None]

    def work(k):
        for _ in range(5):
            together[k] = optlab.lbfgs(problems[k], problems[k].x0)

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.history.x, other.history.x)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
def test_a_compiled_run_can_be_interrupted():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    p = optlab.problems.rosenbrock(20000)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Stop):
            optlab.lbfgs(p, p.x0, gtol=0.0, maxiter=10**9, history=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_history_that_outgrows_its_room(monkeypatch):
    monkeypatch.setattr(_minimize, "_HISTORY_BYTES", 100 * 8 * 10)
    p = optlab.problems.rosenbrock(100)
    with pytest.warns(RuntimeWarning, match="history.x ends with row"):
        run = optlab.lbfgs(p, np.full(100, -3.0))
    assert 10 <= len(run.history.x) < len(run.history) == run.nit + 1
    whole = optlab.lbfgs(p, np.full(100, -3.0), history=False)
    assert whole.history.x is None
    np.testing.assert_array_equal(whole.history.fun, run.history.fun)


def test_long_histories():
    p = optlab.problems.rosenbrock(100)
    run = optlab.lbfgs(p, np.full(100, -3.0), gtol=1e-8, return_all=True)
    assert run.nit > 200
    assert run.history.x.shape == (run.nit + 1, 100)
    np.testing.assert_array_equal(run.history.x[-1], run.x)
    np.testing.assert_allclose(run.history.fun, p.values(run.history.x), rtol=1e-12)
    np.testing.assert_array_equal(run.allvecs, run.history.x)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"memory": 0}, ValueError, "memory"),
        ({"memory": 2.5}, TypeError, "memory"),
        ({"line_search": functools.partial(linesearch.strong_wolfe, c2=2.0)}, ValueError, "c2"),
        ({"line_search": functools.partial(linesearch.strong_wolfe, c1=-1.0)}, ValueError, "c1"),
        ({"line_search": functools.partial(linesearch.strong_wolfe, max_step=0.0)}, ValueError, "max_step"),
    ],
)
def test_lbfgs_refuses(arguments, error, name):
    calls = []
    with pytest.raises(error, match=rf"^{name}: expected"):
        optlab.lbfgs(lambda x: calls.append(x) or (0.0, x), [1.0], jac=True, **arguments)
    assert not calls


def test_constants_of_the_search_reach_the_kernel():
    x0 = np.array([-1.2, 1.0, 0.3])
    for fixed in ({"c2": 0.1}, {"c2": 0.5, "c1": 1e-2}, {"c2": 0.9, "max_step": 0.7}):
        a = optlab.lbfgs(
            rosen, x0, jac=rosen_der, line_search=functools.partial(linesearch.strong_wolfe, **fixed)
        )
        b = optlab.lbfgs(
            rosen, x0, jac=rosen_der, line_search=lambda *p, fixed=fixed: linesearch.strong_wolfe(*p, **fixed)
        )
        np.testing.assert_allclose(a.history.x[:15], b.history.x[:15], atol=1e-9)
        if "max_step" in fixed:
            assert a.history.step.max() <= 0.7
    bare = optlab.lbfgs(rosen, x0, jac=rosen_der, line_search=linesearch.strong_wolfe)
    tight = optlab.lbfgs(
        rosen, x0, jac=rosen_der, line_search=functools.partial(linesearch.strong_wolfe, c2=0.1)
    )
    np.testing.assert_array_equal(bare.history.x, tight.history.x)


@pytest.mark.parametrize(("memory", "maxiter"), [(10**12, 3), (5, 10**30)])
def test_numbers_beyond_reason(memory, maxiter):
    run = optlab.lbfgs(rosen, [-1.2, 1.0], jac=rosen_der, memory=memory, maxiter=maxiter)
    assert run.nit == 3 or run.success
