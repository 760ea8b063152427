"""Newton's method with full steps, and what is its own; the checks that all minimizers share are in
test_minimizers.py."""

import functools
import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der, rosen_hess

import optlab
from optlab import linesearch, problems
from optlab.newton_method import newton_step


def symmetric(eigenvalues, seed=0):
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    H = (Q * np.asarray(eigenvalues, float)) @ Q.T
    return (H + H.T) / 2


def quadratic(H, center):
    """fun, jac and hess as keywords."""
    return {
        "fun": lambda x: (x - center) @ H @ (x - center) / 2,
        "jac": lambda x: H @ (x - center),
        "hess": lambda x: H,
    }


# The step --------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 12),
    damping=st.sampled_from([0.0, 0.3, 1e3]),
    absolute=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_step_is_that_of_the_book(seed, n, damping, absolute):
    rng = np.random.default_rng(seed)
    H = rng.standard_normal((n, n))
    H, g = H + H.T, rng.standard_normal(n)
    values, U = np.linalg.eigh(H)
    if np.abs(values + damping).min() < 1e-3:
        return  # next to singular
    A = U @ np.diag(np.abs(values)) @ U.T if absolute else H
    expected = -np.linalg.inv(A + damping * np.eye(n)) @ g
    d = newton_step(H, g, damping, absolute)
    np.testing.assert_allclose(d, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())
    if absolute:
        assert g @ d < 0
    descending = newton_step(H, g, damping, descending=True)
    definite = (values + damping > 0).all()
    np.testing.assert_array_equal(descending, newton_step(H, g, damping, absolute=not definite))


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
@pytest.mark.parametrize("absolute", [False, True])
def test_step_does_not_depend_on_units(scale, absolute):
    H, g = symmetric([-3.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    expected = newton_step(H, g, absolute=absolute)
    np.testing.assert_allclose(newton_step(scale * H, scale * g, absolute=absolute), expected, rtol=1e-9)
    np.testing.assert_allclose(newton_step(H / scale, g, absolute=absolute), scale * expected, rtol=1e-9)


def test_badly_scaled_variables_are_not_singular():
    d = newton_step(np.diag([1.0, 1e-30]), np.array([1.0, 1e-30]))
    np.testing.assert_allclose(d, [-1.0, -1.0])
    d = newton_step(np.diag([-1.0, 1e-30]), np.array([1.0, 1e-30]))
    np.testing.assert_allclose(d, [1.0, -1.0])


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("n", [2, 5, 40])
def test_singular_matrices(absolute, n):
    """The shortest solution if there is one, else None; in rounded arithmetic as in exact."""
    for seed in range(10):
        H = symmetric(np.r_[0.0, np.geomspace(1, 10, n - 1)], seed)
        kernel = np.linalg.eigh(H)[1][:, 0]
        target = np.random.default_rng(seed).standard_normal(n)
        d = newton_step(H, -H @ target, absolute=absolute)
        np.testing.assert_allclose(H @ d, H @ target, atol=1e-10)
        if absolute:
            assert abs(d @ kernel) < 1e-10
        assert newton_step(H, kernel, absolute=absolute) is None
    for H in (np.zeros((n, n)), np.diag(np.r_[1.0, np.zeros(n - 1)])):
        assert newton_step(H, np.r_[0.0, np.ones(n - 1)], absolute=absolute) is None
    np.testing.assert_array_equal(newton_step(H, np.eye(n)[0], absolute=absolute), -np.eye(n)[0])


# Full steps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("eigenvalues", "kind", "index"),
    [
        ([1, 10, 100], "a minimum", 0),
        ([-1, -10, -100], "a maximum", 3),
        ([1, -10, 100], "a saddle (1 of 3 eigenvalues negative)", 1),
        ([-1e-6, 1, 1e6], "a saddle (1 of 3 eigenvalues negative)", 1),
        ([2], "a minimum", 0),
        ([-2], "a maximum", 1),
    ],
)
def test_a_quadratic_takes_one_step_whatever_its_kind(eigenvalues, kind, index):
    H, center = symmetric(eigenvalues), np.arange(1.0, 1 + len(eigenvalues))
    run = optlab.newton(**quadratic(H, center), x0=center + 7, gtol=1e-6)
    assert run.success
    assert run.nit == 1
    kappa = np.abs(eigenvalues).max() / np.abs(eigenvalues).min()
    np.testing.assert_allclose(run.x, center, rtol=max(1e-12, 1e-15 * kappa) * 10)
    assert run.message == f"Converged: the gradient is within the tolerance, at {kind}."
    assert run.index == index
    np.testing.assert_allclose(run.eigenvalues, np.sort(eigenvalues), atol=1e-9 * np.abs(eigenvalues).max())
    assert (run.nfev, run.njev, run.nhev) == (2, 2, 2)


def test_rosenbrock_with_full_steps():
    run = optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess, gtol=1e-12)
    assert run.success
    assert run.nit <= 7
    x = np.array([-1.2, 1.0])
    for at in run.history.x:
        np.testing.assert_allclose(at, x, rtol=1e-8)
        x = x - np.linalg.solve(rosen_hess(x), rosen_der(x))
    np.testing.assert_array_equal(run.history.step, np.r_[0.0, np.ones(run.nit)])
    assert run.history.fun[2] > 1000
    assert run.fun == run.history.fun[-1]
    np.testing.assert_array_equal(run.x, run.history.x[-1])


def test_a_problem_gives_its_derivatives():
    p = problems.rosenbrock(5)
    run = optlab.newton(p, p.x0)
    by_hand = optlab.newton(p, p.x0, jac=p.grad, hess=p.hess)
    np.testing.assert_array_equal(run.history.x, by_hand.history.x)
    assert run.nhev == run.nit + 1 == by_hand.nhev
    via = scipy.optimize.minimize(p, p.x0, method=optlab.newton)
    np.testing.assert_array_equal(run.x, via.x)
    only_jac = optlab.newton(p, p.x0, jac=p.grad)
    np.testing.assert_array_equal(run.x, only_jac.x)
    assert only_jac.nhev == run.nhev


@pytest.mark.parametrize("options", [{"absolute": True}, {"damping": 3.0}])
def test_a_saddle_attracts_the_plain_method_but_not_its_other_forms(options):
    well = problems.double_well()
    for y in (0.6, 0.1, -0.3, 1e-3):
        plain = optlab.newton(well, [0.5, y])
        assert plain.success
        assert plain.index == 1
        np.testing.assert_allclose(plain.x, 0, atol=1e-5)
        run = optlab.newton(well, [0.5, y], maxiter=1000, **options)
        assert run.success
        assert run.index == 0
        assert "at a minimum" in run.message
        np.testing.assert_allclose(np.abs(run.x), [0, math.sqrt(2)], atol=1e-5)


def test_a_degenerate_point_is_named():
    run = optlab.newton(
        lambda x: x[0] ** 2,
        [3.0, 1.0],
        jac=lambda x: np.array([2 * x[0], 0.0]),
        hess=lambda x: np.diag([2.0, 0.0]),
    )
    assert run.success  # the Hessian is singular, but steps solve its equations
    np.testing.assert_array_equal(run.x, [0.0, 1.0])
    assert run.message.endswith("at a point whose Hessian is singular, which may be a minimum or not.")
    assert run.index == 0
    np.testing.assert_array_equal(run.eigenvalues, [0.0, 2.0])


def test_a_run_that_fails_returns_its_lowest_point():
    run = optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess, maxiter=2)
    assert (run.status, run.nit, len(run.history)) == (1, 2, 3)
    assert run.fun == run.history.fun.min() == run.history.fun[1]
    np.testing.assert_array_equal(run.x, run.history.x[1])
    np.testing.assert_array_equal(run.jac, rosen_der(run.x))
    np.testing.assert_allclose(run.eigenvalues, np.linalg.eigvalsh(rosen_hess(run.x)))


def test_full_steps_may_diverge_and_say_so():
    """On log cosh Newton's steps overshoot ever farther from |x| > 1.09."""
    fun = lambda x: float(np.sum(np.logaddexp(x, -x)))  # noqa: E731
    options = {"jac": np.tanh, "hess": lambda x: np.diag(4 / (np.exp(np.abs(x)) + np.exp(-np.abs(x))) ** 2)}
    assert optlab.newton(fun, [1.0], **options).success
    with np.errstate(over="ignore"):
        run = optlab.newton(fun, [1.2], **options)
    assert run.status == 5  # far out the Hessian is zero
    assert (np.diff(np.abs(run.history.x[:, 0])) > 0).all()
    assert run.x == 1.2
    searched = optlab.newton(fun, [1.2], line_search=linesearch.armijo, **options)
    assert searched.success


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["fun", "jac"])
@pytest.mark.parametrize("from_call", [2, 3])
def test_full_steps_to_where_nothing_is_finite(which, bad, from_call):
    calls = {"fun": 0, "jac": 0}

    def value(name, good, at):
        calls[name] += 1
        return at if name == which and calls[name] >= from_call else good

    run = optlab.newton(
        lambda x: value("fun", rosen(x), bad),
        [-1.2, 1.0],
        jac=lambda x: value("jac", rosen_der(x), np.full(2, bad)),
        hess=rosen_hess,
    )
    assert not run.success
    if which == "fun" and bad == -np.inf:
        assert run.status == 4
    else:
        assert run.status == 3
        assert run.fun == run.history.fun.min() == rosen(run.x)
        assert run.nit == from_call - 2


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), absolute=st.booleans(), damped=st.booleans())
@settings(deadline=None, max_examples=60)
def test_verdict_is_honest(seed, n, absolute, damped):
    rng = np.random.default_rng(seed)
    W, phase = rng.standard_normal((4, n)), rng.standard_normal(4)
    fun = lambda x: float(np.sum(np.cos(W @ x + phase)) + 0.01 * x @ x)  # noqa: E731
    jac = lambda x: 0.02 * x - W.T @ np.sin(W @ x + phase)  # noqa: E731
    hess = lambda x: 0.02 * np.eye(n) - (W.T * np.cos(W @ x + phase)) @ W  # noqa: E731
    run = optlab.newton(
        fun,
        rng.uniform(-2, 2, n),
        jac=jac,
        hess=hess,
        absolute=absolute,
        damping=0.5 * damped,
        maxiter=40,
    )
    h = run.history
    assert run.success == (run.status == 0) == (np.abs(jac(run.x)).max() <= 1e-5)
    assert run.fun == fun(run.x)
    assert len(h) == len(h.x) == run.nit + 1
    if run.success:
        np.testing.assert_array_equal(run.x, h.x[-1])
        kinds = {0: "a minimum", n: "a maximum"}
        assert f"at {kinds.get(run.index, 'a saddle')}" in run.message
    else:
        assert run.fun == h.fun.min()
    assert run.index == (np.linalg.eigvalsh(hess(run.x)) < 0).sum()


# Hessians that misbehave -----------------------------------------------------------------------------

SEARCHES = {"full steps": None, "strong_wolfe": linesearch.strong_wolfe, "armijo": linesearch.armijo}
every_search = pytest.mark.parametrize("search", SEARCHES)


@every_search
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("H", [np.zeros((2, 2)), np.diag([1.0, 0.0]), np.ones((2, 2)), -np.ones((2, 2))])
def test_a_singular_hessian_is_reported_or_evaded(search, absolute, H):
    """The gradient is not in the range of H."""
    run = optlab.newton(
        lambda x: float((x - 1) @ (x - 1)) / 2,
        [4.0, -3.0],
        jac=lambda x: x - 1,
        hess=lambda x: H,
        absolute=absolute,
        line_search=SEARCHES[search],
    )
    if search == "full steps":
        assert run.status == 5
        assert "singular" in run.message
        assert (run.nit, run.fun) == (0, 12.5)
        np.testing.assert_array_equal(run.x, [4.0, -3.0])
    else:
        assert run.success, run.message
        np.testing.assert_allclose(run.x, 1, atol=1e-5)


@every_search
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("from_call", [1, 2])
def test_a_hessian_that_is_not_finite_is_reported(search, absolute, bad, from_call):
    calls = 0

    def hess(x):
        nonlocal calls
        calls += 1
        H = rosen_hess(x)
        if calls >= from_call:
            H[0, 1] = H[1, 0] = bad
        return H

    run = optlab.newton(
        rosen, [-1.2, 1.0], jac=rosen_der, hess=hess, absolute=absolute, line_search=SEARCHES[search]
    )
    assert (run.status, run.success, run.nit) == (3, False, from_call - 1)
    assert "Hessian" in run.message
    assert run.eigenvalues is None
    assert run.index is None
    assert run.fun == rosen(run.x) == run.history.fun.min()


@pytest.mark.parametrize(
    ("H", "error"),
    [
        (np.eye(3), ValueError),
        (np.ones(2), ValueError),
        (np.ones((2, 1)), ValueError),
        (np.ones((1, 2, 2)), ValueError),
        (2.0, ValueError),
        ([[1.0], [1.0, 2.0]], ValueError),
        (np.array([[2.0, 1.0], [0.0, 2.0]]), ValueError),
        (np.array([[2.0, 1.0], [-1.0, 2.0]]), ValueError),
        (None, TypeError),
        ("matrix", TypeError),
        (np.eye(2) + 0j, TypeError),
        (np.eye(2).astype(object), TypeError),
        (np.ma.masked_array(np.eye(2), np.eye(2)), TypeError),
    ],
)
@pytest.mark.parametrize("call", [1, 2])
def test_hessians_of_the_wrong_kind_are_refused(H, error, call):
    calls = 0

    def hess(x):
        nonlocal calls
        calls += 1
        return H if calls == call else rosen_hess(x)

    with pytest.raises(error, match=r"^hess: expected"):
        optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=hess)


def test_rounding_may_make_a_hessian_unsymmetric():
    H = symmetric([1.0, 5.0, 20.0])
    tilted = H + 1e-6 * np.triu(np.ones((3, 3)), 1)
    run = optlab.newton(**quadratic(H, np.ones(3)) | {"hess": lambda x: tilted}, x0=np.zeros(3))
    assert run.success
    np.testing.assert_allclose(run.x, 1, atol=1e-5)


@pytest.mark.parametrize("value", [2.0, [2.0], [[2.0]], np.array(2), np.array([[2]]), np.float32(2)])
def test_the_hessian_of_one_variable_may_be_a_number(value):
    run = optlab.newton(lambda x: (x[0] - 1) ** 2, 3.0, jac=lambda x: 2 * (x - 1), hess=lambda x: value)
    assert run.success
    assert run.x == pytest.approx(1)
    np.testing.assert_array_equal(run.eigenvalues, [2.0])


@pytest.mark.parametrize("kind", ["buffer", "overwrites", "list", "integers", "fortran", "float32", "big"])
def test_hessians_of_every_kind(kind):
    expected = optlab.newton(rosen, [3.0, -2.0], jac=rosen_der, hess=rosen_hess)
    buffer = np.empty((2, 2))

    def hess(x):
        H = rosen_hess(x)
        if kind == "buffer":
            buffer[:] = H
            return buffer
        if kind == "overwrites":
            x[:] = np.nan
        forms = {
            "list": H.tolist(),
            "fortran": np.asfortranarray(H),
            "float32": H.astype(np.float32),
            "big": H.astype(">f8"),
            "integers": np.rint(H).astype(int),
        }
        return forms.get(kind, H)

    run = optlab.newton(rosen, [3.0, -2.0], jac=rosen_der, hess=hess)
    assert run.success
    if kind in ("integers", "float32"):
        np.testing.assert_allclose(run.x, expected.x, atol=1e-4)
    else:
        np.testing.assert_array_equal(run.history.x, expected.history.x)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, StopIteration, FloatingPointError])
@pytest.mark.parametrize("call", [1, 3])
@every_search
def test_exceptions_of_the_hessian_reach_the_caller(error, call, search):
    calls = 0

    def hess(x):
        nonlocal calls
        calls += 1
        if calls == call:
            raise error("stop")
        return rosen_hess(x)

    with pytest.raises(error, match="stop"):
        optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=hess, line_search=SEARCHES[search])


def test_a_wrong_hessian_with_a_search_is_no_obstacle():
    for wrong in (lambda x: -rosen_hess(x), lambda x: 1e8 * np.eye(2), lambda x: 1e-8 * np.eye(2)):
        run = optlab.newton(
            rosen, [-1.2, 1.0], jac=rosen_der, hess=wrong, line_search=linesearch.strong_wolfe, maxiter=500
        )
        assert run.fun < 4.2
        assert (np.diff(run.history.fun) <= 0).all()


# Line search -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [linesearch.armijo, linesearch.strong_wolfe, linesearch.exact])
@pytest.mark.parametrize("absolute", [False, True])
def test_with_a_search_no_saddle_attracts_and_the_value_never_rises(search, absolute):
    for seed in range(10):
        start = np.random.default_rng(seed).uniform(-0.7, 0.7, 2)
        run = optlab.newton(problems.double_well(), start, line_search=search, absolute=absolute)
        assert run.success, run.message
        assert (np.diff(run.history.fun) <= 0).all()
        assert run.index == 0


def test_the_full_step_is_tried_first():
    trials = []

    def search(f0, slope0, step0):
        trials.append(step0)
        return (yield from linesearch.armijo(f0, slope0, step0))

    run = optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess, line_search=search)
    assert run.success
    assert set(trials) == {1.0}  # Rosenbrock's Hessian is positive definite along the path


# Differences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("jac", "tolerance"), [(rosen_der, 1e-5), (None, 1e-1)])
def test_without_a_hessian_differences_are_taken(jac, tolerance):
    run = optlab.newton(rosen, [-1.2, 1.0, 0.8], jac=jac, gtol=1e-4)
    exact = optlab.newton(rosen, [-1.2, 1.0, 0.8], jac=rosen_der, hess=rosen_hess, gtol=1e-4)
    assert run.success
    assert run.nit <= exact.nit + 1
    assert run.nhev == 0
    np.testing.assert_allclose(run.x, exact.x, atol=1e-4)
    np.testing.assert_allclose(run.eigenvalues, exact.eigenvalues, rtol=tolerance)


def test_evaluations_for_differences_are_counted():
    calls = [0, 0]

    def jac(x):
        calls[1] += 1
        return rosen_der(x)

    def fun(x):
        calls[0] += 1
        return rosen(x)

    run = optlab.newton(fun, np.full(4, 0.5), jac=jac)
    assert [run.nfev, run.njev] == calls
    assert run.njev == (run.nit + 1) * (1 + 2 * 4)
    assert run.nfev == run.nit + 1


def test_single_precision():
    run = optlab.newton(rosen, np.float32([-1.2, 1.0]), jac=rosen_der, hess=rosen_hess, gtol=1e-3)
    assert run.success
    assert run.x.dtype == run.history.x.dtype == np.float32
    np.testing.assert_allclose(run.x, 1, atol=1e-3)
    assert optlab.newton(rosen, np.float32([-1.2, 1.0]), jac=rosen_der, gtol=1e-1).success


# Arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"hess": "2-point"}, TypeError, "hess"),
        ({"hess": np.eye(2)}, TypeError, "hess"),
        ({"hess": True}, TypeError, "hess"),
        ({"damping": -1e-3}, ValueError, "damping"),
        ({"damping": np.nan}, ValueError, "damping"),
        ({"damping": np.inf}, ValueError, "damping"),
        ({"damping": "large"}, TypeError, "damping"),
        ({"line_search": "armijo"}, TypeError, "line_search"),
        ({"alpha": 1.0}, TypeError, "alpha"),
        ({"x0": [np.nan, 0.0]}, ValueError, "x0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_happens(arguments, error, name):
    calls = []
    given = {"fun": lambda x: calls.append(x), "x0": [0.0, 0.0], "jac": rosen_der, "hess": rosen_hess}
    with pytest.raises(error, match=rf"^{name}\b"):
        optlab.newton(**given | arguments)
    assert not calls


def test_through_scipy():
    direct = optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess, gtol=1e-8, damping=0.1)
    via = scipy.optimize.minimize(
        rosen,
        [-1.2, 1.0],
        jac=rosen_der,
        hess=rosen_hess,
        method=optlab.newton,
        tol=1e-8,
        options={"damping": 0.1},
    )
    assert type(via) is optlab.Result
    np.testing.assert_array_equal(direct.history.x, via.history.x)
    shifted = scipy.optimize.minimize(
        lambda x, c: rosen(x - c),
        [0.0, 0.0],
        args=(1.0,),
        jac=lambda x, c: rosen_der(x - c),
        hess=lambda x, c: rosen_hess(x - c),
        method=functools.partial(optlab.newton, line_search=linesearch.armijo),
    )
    assert shifted.success
    np.testing.assert_allclose(shifted.x, 2, atol=1e-4)
    assert shifted.nhev == shifted.nit + 1


def test_callback_and_display(capsys):
    def callback(x):
        raise StopIteration

    run = optlab.newton(rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess, callback=callback)
    assert (run.status, run.nit) == (99, 1)
    optlab.newton(problems.saddle(), [1.0, 2.0], disp=True)
    assert "at a saddle" in capsys.readouterr().out


def test_no_iterations():
    run = optlab.newton(rosen, [1.0, 1.0], jac=rosen_der, hess=rosen_hess, maxiter=0)
    assert (run.success, run.nit, run.nhev, run.index) == (True, 0, 1, 0)
    run = optlab.newton(rosen, [0.0, 1.0], jac=rosen_der, hess=rosen_hess, maxiter=0)
    assert (run.status, run.nit, run.nhev, run.index) == (1, 0, 1, 1)


def test_the_function_is_not_hidden_by_its_module():
    import optlab.newton_method

    assert callable(optlab.newton)
    assert optlab.newton is optlab.newton_method.newton
