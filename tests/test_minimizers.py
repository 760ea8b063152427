"""The deterministic minimizers: one table of methods, the same checks for all."""

import functools
import math
import threading

import numpy as np
import pytest
import reference
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der

import optlab
from optlab import linesearch

BETAS = ["fletcher_reeves", "polak_ribiere", "polak_ribiere_plus", "hestenes_stiefel"]
METHODS = {"steepest_descent": optlab.steepest_descent} | {
    f"nonlinear_cg {name}": functools.partial(optlab.nonlinear_cg, beta=getattr(optlab, name))
    for name in BETAS
}
CG = [name for name in METHODS if name != "steepest_descent"]
NEWTON = {
    "newton": functools.partial(optlab.newton, line_search=linesearch.strong_wolfe),
    "newton absolute": functools.partial(optlab.newton, absolute=True, line_search=linesearch.strong_wolfe),
}
METHODS |= NEWTON  # without a Hessian: by differences


def interpreted(f0, slope0, step0):
    """The default search of the quasi-Newton methods, but not one that the compiled loop recognizes."""
    return linesearch.strong_wolfe(f0, slope0, step0, c2=0.9)


METHODS |= {
    "bfgs": optlab.bfgs,
    "lbfgs": optlab.lbfgs,
    "lbfgs interpreted": functools.partial(optlab.lbfgs, line_search=interpreted),
}
SHORT = ["steepest_descent", "nonlinear_cg polak_ribiere_plus", "bfgs", "lbfgs"]

every_method = pytest.mark.parametrize("method", METHODS)
some_methods = pytest.mark.parametrize("method", SHORT)


def quadratic(n=8, kappa=5.0, seed=0):
    """f, gradient and minimizer of x.A x / 2 - b.x."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (Q * np.linspace(1, kappa, n)) @ Q.T
    b = rng.standard_normal(n)
    return lambda x: x @ A @ x / 2 - b @ x, lambda x: A @ x - b, np.linalg.solve(A, b)


def bowl(x):
    """Convex, not quadratic, minimum 0 at (1, 1, ...)."""
    u = np.asarray(x) - 1
    return float(np.sum(u**2) + 0.5 * np.sum(u**4))


def bowl_gradient(x):
    u = np.asarray(x) - 1
    return 2 * u + 2 * u**3


def check_honest(run, jac, x0, fun, gtol=1e-5):
    """Success is a small gradient at x; nothing ends above the start; the record fits the result."""
    x0 = np.asarray(x0, float)
    assert run.success == (run.status == 0)
    if run.success:
        assert np.abs(jac(run.x)).max() <= gtol * (1 + 1e-6)
    assert fun(run.x) <= fun(x0) + 1e-12 * abs(fun(x0))
    h = run.history
    assert len(h) == len(h.fun) == len(h.grad_norm) == len(h.step) == len(h.nfev) == len(h.x) == run.nit + 1
    np.testing.assert_array_equal(h.x[0], x0)
    np.testing.assert_array_equal(h.x[-1], run.x)
    assert h.step[0] == 0
    assert h.fun[-1] == run.fun
    assert h.nfev.dtype.kind == "i"
    assert (np.diff(h.nfev) >= 1).all()
    # The rounding of a value that the methods allow for: a thousand units in its last place.
    assert (np.diff(h.fun) <= 2.3e-13 * np.abs(h.fun[:-1])).all()
    assert not np.shares_memory(h.x, run.x)


# What they compute -----------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_quadratic(method, n):
    fun, jac, minimum = quadratic(n)
    x0 = np.linspace(-1, 2, n)
    run = METHODS[method](fun, x0, jac=jac)
    assert run.success, run.message
    np.testing.assert_allclose(run.x, minimum, atol=1e-4)
    np.testing.assert_array_equal(run.jac, jac(run.x))
    assert run.fun == fun(run.x)
    check_honest(run, jac, x0, fun)


@every_method
def test_bowl_in_many_dimensions(method):
    x0 = np.linspace(-3, 5, 200)
    run = METHODS[method](bowl, x0, jac=bowl_gradient)
    assert run.success, run.message
    np.testing.assert_allclose(run.x, 1, atol=1e-5)
    check_honest(run, bowl_gradient, x0, bowl)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "steepest_descent"])
@pytest.mark.parametrize("x0", [[-1.2, 1.0], [2.0, -3.0], [-1.2, 1.0, 0.3, 0.8, -0.5]])
def test_rosenbrock(method, x0):
    run = METHODS[method](rosen, x0, jac=rosen_der)
    assert run.success, run.message
    check_honest(run, rosen_der, x0, rosen)


def test_steepest_descent_takes_the_exact_steps_of_the_book():
    rng = np.random.default_rng(3)
    B = rng.standard_normal((6, 6))
    A, b, x0 = B @ B.T + np.eye(6), rng.standard_normal(6), rng.standard_normal(6)
    run = optlab.steepest_descent(lambda x: x @ A @ x / 2 - b @ x, x0, jac=lambda x: A @ x - b, maxiter=15)
    np.testing.assert_allclose(run.history.x, reference.steepest_descent(A, b, x0, 15), atol=1e-7)


@pytest.mark.parametrize("method", CG)
def test_nonlinear_method_with_exact_steps_is_the_linear_one(method):
    rng = np.random.default_rng(4)
    B = rng.standard_normal((6, 6))
    A, b, x0 = B @ B.T + np.eye(6), rng.standard_normal(6), rng.standard_normal(6)
    run = METHODS[method](
        lambda x: x @ A @ x / 2 - b @ x, x0, jac=lambda x: A @ x - b, line_search=linesearch.exact, maxiter=5
    )
    expected = reference.cg(A, b, x0, np.eye(6), 5)
    np.testing.assert_allclose(run.history.x, expected, atol=1e-5)


@pytest.mark.parametrize("name", BETAS)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20))
@settings(deadline=None, max_examples=30)
def test_betas_are_those_of_the_book(name, seed, n):
    rng = np.random.default_rng(seed)
    g, g_last, d_last = rng.standard_normal((3, n))
    beta = getattr(optlab, name)(g, g_last, d_last)
    assert type(beta) is float
    assert beta == pytest.approx(getattr(reference, name)(g, g_last, d_last), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", BETAS)
def test_betas_restart_where_they_are_not_defined(name):
    zero = np.zeros(2)
    assert getattr(optlab, name)(np.ones(2), zero, zero) == 0.0


@pytest.mark.parametrize("restart", [1, 2, 3])
def test_restarts_go_down_the_gradient(restart):
    fun, jac, _ = quadratic(9, 100.0)
    betas = []

    def beta(g, g_last, d_last):
        betas.append(optlab.polak_ribiere_plus(g, g_last, d_last))
        return betas[-1]

    run = optlab.nonlinear_cg(fun, np.ones(9), jac=jac, beta=beta, restart=restart, maxiter=12)
    assert len(betas) == run.nit - len(range(0, run.nit, restart))
    for k, (x, x_next) in enumerate(zip(run.history.x[:-1], run.history.x[1:], strict=True)):
        moved, g = x_next - x, jac(x)
        cosine = -(moved @ g) / np.linalg.norm(moved) / np.linalg.norm(g)
        assert (cosine > 1 - 1e-9) == (k % restart == 0)


def test_restart_after_one_is_steepest_descent():
    fun, jac, _ = quadratic(6, 50.0)
    options = {"jac": jac, "line_search": linesearch.exact, "maxiter": 20}
    a = optlab.nonlinear_cg(fun, np.ones(6), restart=1, **options)
    b = optlab.steepest_descent(fun, np.ones(6), **options)
    np.testing.assert_allclose(a.history.x, b.history.x, atol=1e-8)


@every_method
@pytest.mark.parametrize("search", ["armijo", "exact", "strong_wolfe"])
def test_every_line_search(method, search):
    fun, jac, minimum = quadratic(5)
    run = METHODS[method](fun, np.ones(5), jac=jac, line_search=getattr(linesearch, search))
    check_honest(run, jac, np.ones(5), fun)
    if (method, search) != ("nonlinear_cg fletcher_reeves", "armijo"):  # Fletcher-Reeves needs better steps
        assert run.success, run.message
        np.testing.assert_allclose(run.x, minimum, atol=1e-4)


def test_steps_of_the_default_search_satisfy_the_strong_wolfe_conditions():
    run = optlab.nonlinear_cg(rosen, [-1.2, 1.0], jac=rosen_der)
    x, steps = run.history.x, run.history.step
    for k in range(run.nit):
        d = (x[k + 1] - x[k]) / steps[k + 1]
        phi = lambda t: (rosen(x[k] + t * d), rosen_der(x[k] + t * d) @ d)  # noqa: B023, E731
        f0, slope0 = phi(0.0)
        assert reference.wolfe(phi, f0 + 1e-14, slope0, steps[k + 1], 1e-4, 0.1 + 1e-6)


# Kinds of gradient and number ------------------------------------------------------------------------


@every_method
def test_gradient_together_with_the_value(method):
    calls = []
    apart = METHODS[method](bowl, np.zeros(3), jac=bowl_gradient)
    together = METHODS[method](
        lambda x: (calls.append(1), (bowl(x), bowl_gradient(x)))[1], np.zeros(3), jac=True
    )
    np.testing.assert_array_equal(apart.x, together.x)
    assert together.nfev == together.njev == len(calls) == apart.njev
    assert apart.nfev <= apart.njev  # differences for a Hessian need no values


@every_method
@pytest.mark.parametrize("jac", [None, False])
def test_gradient_by_differences(method, jac):
    calls = []
    run = METHODS[method](lambda x: (calls.append(1), bowl(x))[1], np.zeros(3), jac=jac, gtol=1e-4)
    assert run.success
    np.testing.assert_allclose(run.x, 1, atol=1e-4)
    assert run.nfev == len(calls) == 4 * run.njev


@every_method
def test_evaluations_are_counted(method):
    calls = [0, 0]

    def fun(x):
        calls[0] += 1
        return bowl(x)

    def jac(x):
        calls[1] += 1
        return bowl_gradient(x)

    run = METHODS[method](fun, np.zeros(3), jac=jac)
    assert [run.nfev, run.njev] == calls
    assert run.history.nfev[-1] <= run.njev


@every_method
def test_single_precision(method):
    seen = set()

    def fun(x):
        seen.add(x.dtype)
        return bowl(x)

    x0 = np.zeros(4, np.float32)
    run = METHODS[method](fun, x0, jac=bowl_gradient, gtol=1e-3)
    assert seen == {np.dtype(np.float32)}
    assert run.x.dtype == run.jac.dtype == run.history.x.dtype == np.float32
    assert run.success, run.message
    np.testing.assert_allclose(run.x, 1, atol=1e-3)
    tight = METHODS[method](fun, x0, jac=bowl_gradient, gtol=1e-12)
    assert tight.success == (np.abs(bowl_gradient(tight.x)).max() <= 1e-12)


@every_method
@pytest.mark.parametrize("x0", [3, 3.0, [3], (3.0,), np.array(3), np.array([3], np.int8), np.float32(3)])
def test_starts_of_every_kind(method, x0):
    run = METHODS[method](lambda x: float((x[0] - 1) ** 2), x0, jac=lambda x: 2 * (x - 1))
    assert run.success
    assert run.x.shape == (1,)
    assert run.x.dtype.kind == "f"
    assert run.x[0] == pytest.approx(1, abs=1e-5)


@every_method
@pytest.mark.parametrize(
    "value",
    [float, int, np.float32, np.array, lambda f: [f], lambda f: np.array([[f]]), lambda f: np.longdouble(f)],
)
def test_values_of_every_kind(method, value):
    run = METHODS[method](lambda x: value(10000 * x[0] ** 2), [3.0], jac=lambda x: 20000 * x, gtol=1.0)
    assert run.x.shape == (1,)
    assert type(run.fun) is float
    assert run.fun <= 90000


@every_method
@pytest.mark.parametrize(
    "gradient",
    [list, tuple, lambda g: g.astype(">f8"), lambda g: np.repeat(g, 2)[::2], np.float32],
)
def test_gradients_of_every_kind(method, gradient):
    run = METHODS[method](bowl, [3.0, -2.0], jac=lambda x: gradient(bowl_gradient(x)), gtol=1e-4)
    assert run.success
    np.testing.assert_allclose(run.x, 1, atol=1e-4)


@every_method
def test_gradient_of_python_integers(method):
    run = METHODS[method](
        lambda x: abs(x[0]) + abs(x[1]), [5.0, 3.0], jac=lambda x: [int(v) for v in np.sign(x)]
    )
    check_honest(run, np.sign, [5.0, 3.0], lambda x: np.abs(x).sum())


@every_method
@pytest.mark.parametrize("gradient", [lambda g: g[0], lambda g: float(g[0]), lambda g: np.array(g[0])])
def test_gradient_of_one_variable_may_be_a_number(method, gradient):
    run = METHODS[method](lambda x: (x[0] - 1) ** 2, [3.0], jac=lambda x: gradient(2 * (x - 1)))
    assert run.success
    assert run.jac.shape == (1,)


@every_method
def test_extra_arguments(method):
    target = np.array([1.0, 2.0])
    for args in ((target, 2.0), target):
        scale = 2.0 if isinstance(args, tuple) else 1.0
        run = METHODS[method](
            lambda x, t, s=1.0: s * np.sum((x - t) ** 2),
            np.zeros(2),
            args,
            lambda x, t, s=1.0: 2 * s * (x - t),
        )
        assert run.success, scale
        np.testing.assert_allclose(run.x, target, atol=1e-5)


# Functions that misbehave ----------------------------------------------------------------------------


class Boom(Exception):
    pass


@some_methods
@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, StopIteration, ValueError, FloatingPointError])
@pytest.mark.parametrize("call", [1, 2, 5])
@pytest.mark.parametrize("which", ["fun", "jac", "callback", "beta"])
def test_exceptions_reach_the_caller(method, which, error, call):
    calls = 0

    def raising(result):
        nonlocal calls
        calls += 1
        if calls == call:
            raise error("stop")
        return result

    functions = {"fun": rosen, "jac": rosen_der, "callback": lambda x: None}
    if which == "beta":
        if "cg" not in method:
            pytest.skip("it has none")
        functions["beta"] = lambda g, g_last, d_last: raising(0.0)
    else:
        function = functions[which]
        functions[which] = lambda x: raising(function(x))
    x0 = np.array([-1.2, 1.0])
    if which == "callback" and error is StopIteration:
        run = METHODS[method](x0=x0, **functions)
        assert (run.status, run.success, run.nit) == (99, False, call)
    else:
        with pytest.raises(error):
            METHODS[method](x0=x0, **functions)
    np.testing.assert_array_equal(x0, [-1.2, 1.0])


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["fun", "jac", "entry"])
def test_not_finite_at_the_start(method, which, bad):
    def fun(x):
        return bad if which == "fun" else bowl(x)

    def jac(x):
        if which == "jac":
            return np.full(3, bad)
        return bowl_gradient(x) + (np.array([0, bad, 0]) if which == "entry" else 0)

    run = METHODS[method](fun, np.zeros(3), jac=jac)
    assert not run.success
    assert run.status == (4 if which == "fun" and bad == -np.inf else 3)
    np.testing.assert_array_equal(run.x, 0)
    assert run.nit == 0


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["fun", "jac"])
@pytest.mark.parametrize("from_call", [2, 3, 4, 9])
def test_not_finite_from_some_call_on(method, which, from_call, bad):
    calls = {"fun": 0, "jac": 0}

    def count(name, value, at):
        calls[name] += 1
        return at if which == name and calls[name] >= from_call else value

    x0 = np.array([-1.2, 1.0])
    run = METHODS[method](
        lambda x: count("fun", rosen(x), bad), x0, jac=lambda x: count("jac", rosen_der(x), np.full(2, bad))
    )
    assert not run.success
    assert run.status in (2, 3)
    assert np.isfinite(run.x).all()
    assert math.isfinite(run.fun)
    assert rosen(run.x) <= rosen(x0)
    assert run.fun == rosen(run.x)


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_wall_is_no_obstacle(method, bad):
    """-log x + x is not finite left of 0, where long steps lead."""

    def fun(x):
        return float(np.sum(x - np.log(x))) if (x > 0).all() else bad

    def jac(x):
        return 1 - 1 / x if (x > 0).all() else np.full(2, bad)

    run = METHODS[method](fun, [0.01, 20.0], jac=jac)
    assert run.success, run.message
    np.testing.assert_allclose(run.x, 1, atol=1e-4)


@every_method
@pytest.mark.parametrize(
    ("gradient", "error"),
    [
        (lambda g: g[:-1], ValueError),
        (lambda g: g[:, None], ValueError),
        (lambda g: g[None], ValueError),
        (lambda g: np.append(g, 0), ValueError),
        (lambda g: g[0], ValueError),
        (lambda g: [], (ValueError, TypeError)),
        (lambda g: None, TypeError),
        (lambda g: "gradient", TypeError),
        (lambda g: g + 0j, TypeError),
        (lambda g: g.astype(object), TypeError),
        (lambda g: [g[0], None, g[2]], TypeError),
        (lambda g: [[1.0], g], ValueError),
    ],
)
@pytest.mark.parametrize("call", [1, 3])
def test_gradients_of_the_wrong_kind_are_refused(method, gradient, error, call):
    calls = 0

    def jac(x):
        nonlocal calls
        calls += 1
        return gradient(np.arange(1, 4) * x**3) if calls == call else np.arange(1, 4) * x**3

    with pytest.raises(error, match=r"^jac: expected"):
        METHODS[method](lambda x: np.arange(1, 4) @ x**4 / 4, np.arange(1.0, 4.0), jac=jac)


@every_method
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.ones(2), ValueError),
        (np.ones(0), ValueError),
        ([], (ValueError, TypeError)),
        ([1.0, [2.0]], ValueError),
        (None, TypeError),
        ("1.0", TypeError),
        (1j, TypeError),
        (np.array(None), TypeError),
        ((1.0, np.zeros(3)), (ValueError, TypeError)),
    ],
)
def test_values_of_the_wrong_kind_are_refused(method, value, error):
    with pytest.raises(error, match=r"^fun: expected"):
        METHODS[method](lambda x: value, np.ones(3), jac=bowl_gradient)


@every_method
@pytest.mark.parametrize("pair", [1.0, (1.0,), (1.0, np.zeros(3), 0), None, np.zeros(4), "ab"])
def test_pairs_that_are_none_are_refused(method, pair):
    with pytest.raises((TypeError, ValueError), match=r"^(fun|jac): expected"):
        METHODS[method](lambda x: pair, np.ones(3), jac=True)


@every_method
@pytest.mark.parametrize("kind", ["buffer", "argument", "overwrites"])
def test_functions_may_reuse_their_buffer_and_write_into_their_argument(method, kind):
    expected = METHODS[method](bowl, np.zeros(3), jac=bowl_gradient)
    buffer = np.empty(3)

    def fun(x):
        value = bowl(x)
        if kind == "overwrites":
            x[:] = np.nan
        return value

    def jac(x):
        g = bowl_gradient(x)
        if kind == "overwrites":
            x[:] = np.nan
            return g
        target = buffer if kind == "buffer" else x
        target[:] = g
        return target

    x0 = np.zeros(3)
    run = METHODS[method](fun, x0, jac=jac)
    np.testing.assert_array_equal(run.history.x, expected.history.x)
    np.testing.assert_array_equal(run.jac, expected.jac)
    assert not x0.any()


@every_method
@pytest.mark.parametrize(
    ("fun", "jac"),
    [
        (lambda x: x[0], lambda x: np.array([1.0, 0.0])),
        (lambda x: -np.sum(x**2), lambda x: -2 * x),
        (lambda x: -np.sum(x**4), lambda x: -4 * x**3),
        (lambda x: -np.exp(np.minimum(x[0], 700)), lambda x: np.array([-np.exp(np.minimum(x[0], 700)), 0.0])),
    ],
    ids=["linear", "quadratic", "quartic", "exponential"],
)
@pytest.mark.filterwarnings("ignore:overflow")  # in the objective
def test_unbounded_below(method, fun, jac):
    run = METHODS[method](fun, [1.0, 2.0], jac=jac, maxiter=100)
    assert not run.success
    assert run.status in (1, 2, 4)
    assert run.fun < -1e6
    assert not np.isnan(run.x).any()


@every_method
def test_minus_infinity(method):
    def fun(x):
        return -np.inf if x[0] > 10 else -x[0]

    run = METHODS[method](fun, [0.0], jac=lambda x: [-1.0])
    assert run.status == 4
    assert run.fun == -np.inf
    assert "bounded" in run.message


@every_method
def test_gradient_that_is_not_that_of_the_objective(method):
    for wrong in (lambda x: -bowl_gradient(x), lambda x: bowl_gradient(x)[::-1]):
        run = METHODS[method](bowl, [3.0, -1.0], jac=wrong, maxiter=50)
        assert run.success == (np.abs(wrong(run.x)).max() <= 1e-5)
        assert bowl(run.x) <= bowl([3.0, -1.0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e300, 1e300])
def test_betas_that_make_no_sense_do_no_harm(value):
    run = optlab.nonlinear_cg(bowl, np.zeros(3), jac=bowl_gradient, beta=lambda *_: value)
    assert run.success, run.message


@every_method
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e100, 1e150])
def test_scales_of_the_objective(method, size):
    target = np.array([1.0, -2.0])
    gtol = 1e-6 * size
    run = METHODS[method](
        lambda x: size * np.sum((x - target) ** 2),
        [2.0, 2.0],
        jac=lambda x: 2 * size * (x - target),
        gtol=gtol,
    )
    assert run.success, run.message
    np.testing.assert_allclose(run.x, target, atol=1e-6)


@every_method
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20])
def test_scales_of_the_variables(method, size):
    target = np.array([1.0, -2.0])
    run = METHODS[method](
        lambda x: np.sum((x / size - target) ** 2),
        np.array([2.0, 2.0]) * size,
        jac=lambda x: 2 * (x / size - target) / size,
        gtol=1e-6 / size,
    )
    assert run.success, run.message
    np.testing.assert_allclose(run.x / size, target, atol=1e-6)


# Options and SciPy -----------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"x0": []}, ValueError, "x0"),
        ({"x0": np.zeros((2, 2))}, ValueError, "x0"),
        ({"x0": [1.0, np.nan]}, ValueError, "x0"),
        ({"x0": [np.inf, 1.0]}, ValueError, "x0"),
        ({"x0": [1j, 1.0]}, TypeError, "x0"),
        ({"x0": ["a", "b"]}, TypeError, "x0"),
        ({"x0": None}, TypeError, "x0"),
        ({"x0": np.array([1.0, None])}, TypeError, "x0"),
        ({"x0": np.ma.masked_array([1.0, 2.0], [0, 1])}, TypeError, "x0"),
        ({"fun": None}, TypeError, "fun"),
        ({"fun": 3}, TypeError, "fun"),
        ({"jac": "2-point"}, TypeError, "jac"),
        ({"jac": np.zeros(2)}, TypeError, "jac"),
        ({"gtol": -1.0}, ValueError, "gtol"),
        ({"gtol": np.nan}, ValueError, "gtol"),
        ({"gtol": None}, TypeError, "gtol"),
        ({"tol": np.nan}, ValueError, "gtol|tol"),
        ({"norm": np.nan}, ValueError, "norm"),
        ({"maxiter": -1}, ValueError, "maxiter"),
        ({"maxiter": 1.5}, TypeError, "maxiter"),
        ({"callback": 1}, TypeError, "callback"),
        ({"line_search": "exact"}, TypeError, "line_search"),
        ({"bounds": [(0, 1)] * 2}, ValueError, "bounds"),
        ({"constraints": {"type": "eq", "fun": lambda x: x[0]}}, ValueError, "constraints"),
        ({"constraints": [{"type": "eq", "fun": lambda x: x[0]}]}, ValueError, "constraints"),
        ({"max_iter": 3}, TypeError, "max_iter"),
        ({"learning_rate": 3}, TypeError, "learning_rate"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_arguments_that_make_no_sense_are_refused_before_anything_happens(method, arguments, error, name):
    calls = []

    def fun(x):
        calls.append(x)
        return bowl(x)

    with pytest.raises(error, match=rf"^({name})\b"):
        METHODS[method](**({"fun": fun, "x0": [0.0, 0.0], "jac": bowl_gradient} | arguments))
    assert not calls


@pytest.mark.parametrize(("restart", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_restarts_that_make_no_sense_are_refused(restart, error):
    with pytest.raises(error, match=r"^restart: "):
        optlab.nonlinear_cg(bowl, [0.0], jac=bowl_gradient, restart=restart)
    with pytest.raises(TypeError, match=r"^beta: "):
        optlab.nonlinear_cg(bowl, [0.0], jac=bowl_gradient, beta="PR")
    with pytest.raises(TypeError, match=r"^(beta|restart)"):
        optlab.steepest_descent(bowl, [0.0], jac=bowl_gradient, restart=3)


@every_method
def test_through_scipy(method):
    x0 = np.array([-1.0, 1.0, 0.5])
    direct = METHODS[method](bowl, x0, jac=bowl_gradient, gtol=1e-7)
    via = scipy.optimize.minimize(bowl, x0, jac=bowl_gradient, method=METHODS[method], options={"gtol": 1e-7})
    assert type(via) is optlab.Result
    np.testing.assert_array_equal(direct.x, via.x)
    pair = scipy.optimize.minimize(
        lambda x: (bowl(x), bowl_gradient(x)), x0, jac=True, method=METHODS[method], tol=1e-7
    )
    np.testing.assert_array_equal(direct.x, pair.x)
    plain = scipy.optimize.minimize(bowl, x0, method=METHODS[method], tol=1e-4)
    np.testing.assert_allclose(plain.x, 1, atol=1e-4)
    shifted = scipy.optimize.minimize(
        lambda x, c: bowl(x - c),
        x0,
        args=(1.0,),
        jac=lambda x, c: bowl_gradient(x - c),
        method=METHODS[method],
    )
    np.testing.assert_allclose(shifted.x, 2, atol=1e-4)
    with pytest.raises(TypeError, match="gtool"):
        scipy.optimize.minimize(bowl, x0, jac=bowl_gradient, method=METHODS[method], options={"gtool": 1})
    with pytest.raises(ValueError, match="bounds"):
        scipy.optimize.minimize(bowl, x0, jac=bowl_gradient, method=METHODS[method], bounds=[(0, 1)] * 3)
    given = {"hessp": lambda x, v: v} if method in NEWTON else {"hess": lambda x: np.eye(3)}
    with pytest.warns(RuntimeWarning, match="hess"):
        scipy.optimize.minimize(bowl, x0, jac=bowl_gradient, method=METHODS[method], **given)


@every_method
def test_the_norm_of_the_gradient(method):
    fun, jac, _ = quadratic(40)
    for norm in (1, 2, np.inf):
        run = METHODS[method](fun, np.ones(40), jac=jac, norm=norm, gtol=1e-6)
        norms = [np.linalg.norm(jac(x), norm) for x in run.history.x]
        np.testing.assert_allclose(run.history.grad_norm, norms, rtol=1e-12)
        assert norms[-1] <= 1e-6
        assert min(norms[:-1]) > 1e-6


@every_method
def test_display_and_all_points(method, capsys):
    run = METHODS[method](bowl, np.zeros(2), jac=bowl_gradient)
    assert capsys.readouterr().out == ""
    assert "allvecs" not in run
    run = METHODS[method](bowl, np.zeros(2), jac=bowl_gradient, disp=True, return_all=True, history=False)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "Converged" in printed
    assert len(run.allvecs) == run.nit + 1
    assert run.history.x is None
    assert len(run.history.fun) == run.nit + 1


@every_method
@pytest.mark.parametrize("through_scipy", [False, True])
def test_both_forms_of_callback(method, through_scipy):
    points, values = [], []

    def old(xk):
        points.append(xk.copy())
        xk[:] = np.nan

    def new(*, intermediate_result):
        values.append(intermediate_result.fun)
        points.append(intermediate_result.x.copy())
        intermediate_result.x[:] = np.nan

    def call(callback):
        points.clear()
        if through_scipy:
            return scipy.optimize.minimize(
                bowl, np.zeros(3), jac=bowl_gradient, method=METHODS[method], callback=callback
            )
        return METHODS[method](bowl, np.zeros(3), jac=bowl_gradient, callback=callback)

    run = call(old)
    assert run.success
    np.testing.assert_array_equal(points, run.history.x[1:])
    run = call(new)
    np.testing.assert_array_equal(points, run.history.x[1:])
    np.testing.assert_array_equal(values, run.history.fun[1:])


@every_method
def test_no_iterations(method):
    run = METHODS[method](bowl, np.zeros(3), jac=bowl_gradient, maxiter=0)
    assert (run.status, run.nit, run.nfev, len(run.history)) == (1, 0, 1, 1)
    assert not run.x.any()
    solved = METHODS[method](bowl, np.ones(3), jac=bowl_gradient, maxiter=0)
    assert solved.success


@every_method
@pytest.mark.parametrize("maxiter", [1, 2, 3])
def test_maxiter_is_obeyed(method, maxiter):
    run = METHODS[method](rosen, [-1.2, 1.0], jac=rosen_der, maxiter=maxiter)
    assert (run.status, run.nit) == (1, maxiter)
    check_honest(run, rosen_der, [-1.2, 1.0], rosen)


@every_method
def test_zero_tolerance_ends(method):
    run = METHODS[method](bowl, np.zeros(3), jac=bowl_gradient, gtol=0.0)
    assert run.success == (np.abs(bowl_gradient(run.x)).max() == 0)
    np.testing.assert_allclose(run.x, 1, atol=1e-7)


@every_method
def test_arguments_are_never_changed(method):
    x0 = np.array([-1.0, 2.0])
    x0.flags.writeable = False
    target = np.array([1.0, 3.0])
    before = x0.tobytes(), target.tobytes()
    run = METHODS[method](lambda x, t: np.sum((x - t) ** 2), x0, (target,), lambda x, t: 2 * (x - t))
    assert run.success
    assert (x0.tobytes(), target.tobytes()) == before
    assert run.x.flags.writeable
    at_once = METHODS[method](bowl, np.ones(2), jac=bowl_gradient)
    assert at_once.nit == 0


@every_method
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 6),
    log_size=st.floats(-3, 3),
    start=st.floats(-10, 10, width=32),
)
@settings(deadline=None, max_examples=25)
def test_verdict_is_honest(method, seed, n, log_size, start):
    """A random sum of cosines on a bowl: many minima, maxima and saddles."""
    rng = np.random.default_rng(seed)
    W, phase, size = rng.standard_normal((4, n)), rng.standard_normal(4), 10**log_size

    def fun(x):
        return size * float(np.sum(np.cos(W @ x + phase)) + 0.01 * x @ x)

    def jac(x):
        return size * (0.02 * x - W.T @ np.sin(W @ x + phase))

    x0 = np.full(n, start)
    run = METHODS[method](fun, x0, jac=jac, maxiter=60)
    check_honest(run, jac, x0, fun)


# Where rounding rules ---------------------------------------------------------------------------------


def raised_valley(x):
    """A least-squares problem whose value, not its gradient, is lost in rounding near the minimum."""
    u, v = x[0] - 1, 10 * (x[1] - x[0] ** 2)
    rounding = 1e-13 * math.sin(1e9 * float(x @ x))
    return (1 + rounding) * (1 + u**2 + v**2), np.array([2 * u - 40 * v * x[0], 20 * v])


@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "lbfgs interpreted"])
def test_gradient_decides_where_rounding_hides_the_value(method):
    run = METHODS[method](raised_valley, [-1.2, 1.0], jac=True, gtol=1e-9)
    assert run.success, run.message
    assert run.nfev < 100
    rises = np.diff(run.history.fun) > 0
    assert (np.diff(run.history.grad_norm)[rises] < 0).all()


@pytest.mark.parametrize("method", SHORT)
def test_a_run_ends_where_nothing_but_rounding_changes(method):
    """The gradient never falls to the tolerance: its own rounding is larger."""

    def fun(x):
        return 1e6 + float(x @ x), 2 * x + 1e-6 * np.sign(np.sin(1e12 * x))

    run = METHODS[method](fun, [1.0, 2.0], jac=True, gtol=1e-13, maxiter=5000)
    assert run.status == 2
    assert run.nfev < 1000
    np.testing.assert_allclose(run.x, 0, atol=1e-5)


def test_threads_do_not_disturb_each_other():
    jobs = [
        lambda method=method, x0=x0: METHODS[method](rosen, x0, jac=rosen_der, maxiter=40)
        for method in METHODS
        for x0 in ([-1.2, 1.0], [0.0, 3.0], [2.0, 2.0, 1.0])
    ]
    serial = [job().history.x for job in jobs]
    parallel = [None] * len(jobs)

    def work(k):
        parallel[k] = jobs[k]().history.x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, x in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(x, expected)


def test_a_run_inside_an_objective():
    """A minimizer called by the objective of another."""

    def fun(x):
        inner = optlab.nonlinear_cg(
            lambda y: (y[0] - x[0]) ** 2, [0.0], jac=lambda y: 2 * (y - x[0]), gtol=1e-12
        )
        return (inner.x[0] - 2) ** 2

    run = optlab.nonlinear_cg(fun, [0.0], gtol=1e-3)
    assert run.x[0] == pytest.approx(2, abs=1e-2)
