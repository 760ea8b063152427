"""Hessians, spectra, critical points, stalls and gradient checks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der, rosen_hess

import optlab
from optlab import landscape, problems
from optlab.landscape import spectra, stalls
from optlab.result import History


class Given:
    """Looks like a Problem, with the derivatives it is given."""

    def __init__(self, **functions):
        self.__dict__ |= functions


def symmetric(eigenvalues, seed=0):
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    H = (Q * np.asarray(eigenvalues, float)) @ Q.T
    return (H + H.T) / 2


def linear(H):
    """The gradient of a quadratic."""
    return lambda x: H @ x


FORMS = {
    "problem": problems.rosenbrock(5),
    "hessp": Given(grad=rosen_der, hessp=lambda x, v: rosen_hess(x) @ v),
    "hess": Given(grad=rosen_der, hess=rosen_hess),
    "gradient": rosen_der,
    "callables": problems.Problem.from_callable(rosen, rosen_der, n=5),
}
every_form = pytest.mark.parametrize("form", FORMS)


# Derivatives -----------------------------------------------------------------------------------------


@every_form
@given(seed=st.integers(0, 10**6), length=st.sampled_from([1e-8, 1.0, 1e8]))
@settings(deadline=None, max_examples=30)
def test_products_and_hessians(form, seed, length):
    x, v = np.random.default_rng(seed).uniform(-2, 2, (2, 5))
    H = rosen_hess(x)
    size = 1e-6 * np.abs(H).max()
    found = landscape.hessian(FORMS[form], x)
    np.testing.assert_allclose(found, H, atol=size)
    np.testing.assert_array_equal(found, found.T)
    product = landscape.hessian_vector_product(FORMS[form], x, length * v)
    np.testing.assert_allclose(product, length * (H @ v), atol=length * size)


def test_differences_of_a_good_gradient_have_ten_digits():
    x = np.array([0.3, -1.0, 2.0])
    found = landscape.hessian(lambda x: np.exp(x), x)
    np.testing.assert_allclose(found, np.diag(np.exp(x)), atol=1e-9)


@pytest.mark.parametrize("size", [1e6, 1e10])
def test_differences_far_from_the_origin(size):
    """The step grows with the coordinates that move, and only with those."""
    H = symmetric([1.0, 2.0, -3.0])
    center = np.array([0.0, size, -size])
    found = landscape.hessian(lambda x: H @ (x - center), center)
    np.testing.assert_allclose(found, H, atol=1e-5)
    v = np.array([1.0, 1e-3, 0.0])
    product = landscape.hessian_vector_product(lambda x: H @ (x - center), center, v)
    np.testing.assert_allclose(product, H @ v, atol=1e-4)


def test_single_precision():
    x = np.float32([0.5, 1.0])
    seen = set()

    def gradient(x):
        seen.add(x.dtype)
        return x**3

    found = landscape.hessian(gradient, x)
    assert seen == {np.dtype(np.float32)}
    np.testing.assert_allclose(found, np.diag([0.75, 3.0]), atol=2e-3)
    assert landscape.hessian_vector_product(gradient, x, np.float32([1, 0])).dtype == np.float32


@pytest.mark.parametrize("function", [landscape.hessian, landscape.spectrum])
def test_one_variable(function):
    assert function(lambda x: x**3, [2.0]).item() == pytest.approx(12, rel=1e-8)
    assert function(lambda x: float(x[0] ** 3), [2.0]).item() == pytest.approx(12, rel=1e-8)
    for H in (3.0, [3.0], [[3.0]]):
        assert function(Given(grad=lambda x: 3 * x, hess=lambda x, H=H: H), [2.0]).item() == 3.0


def test_zero_vectors_have_zero_products():
    np.testing.assert_array_equal(landscape.hessian_vector_product(rosen_der, np.ones(3), np.zeros(3)), 0)


@every_form
def test_points_are_not_changed_and_functions_get_copies(form):
    def spoiling(function):
        def spoiled(x, *v):
            result = function(x.copy(), *v)
            x[:] = np.nan
            return result

        return spoiled

    problem = FORMS[form]
    if isinstance(problem, Given):
        problem = Given(**{name: spoiling(function) for name, function in vars(problem).items()})
    elif form == "gradient":
        problem = spoiling(problem)
    x = np.linspace(-1, 1, 5)
    x.flags.writeable = False
    np.testing.assert_allclose(landscape.hessian(problem, x), rosen_hess(x), atol=1e-5)
    np.testing.assert_array_equal(x, np.linspace(-1, 1, 5))


@pytest.mark.parametrize(
    ("problem", "x", "error", "name"),
    [
        (rosen_der, [], ValueError, "x"),
        (rosen_der, [[1.0]], ValueError, "x"),
        (rosen_der, [1.0, np.nan], ValueError, "x"),
        (rosen_der, [1.0, np.inf], ValueError, "x"),
        (rosen_der, [1j, 0.0], TypeError, "x"),
        (rosen_der, None, TypeError, "x"),
        (rosen_der, "ab", TypeError, "x"),
        (3, [1.0, 2.0], TypeError, "problem"),
        (None, [1.0, 2.0], TypeError, "problem"),
        (lambda x: x[:1], [1.0, 2.0], ValueError, "gradient"),
        (lambda x: 1.0, [1.0, 2.0], ValueError, "gradient"),
        (lambda x: None, [1.0, 2.0], TypeError, "gradient"),
        (lambda x: x + 0j, [1.0, 2.0], TypeError, "gradient"),
        (problems.rosenbrock(3), [1.0, 2.0], ValueError, "x"),
        (Given(grad=rosen_der, hess=lambda x: np.eye(3)), [1.0, 2.0], ValueError, "hess"),
        (Given(grad=rosen_der, hess=lambda x: np.ones((2, 1))), [1.0, 2.0], ValueError, "hess"),
        (Given(grad=rosen_der, hess=lambda x: np.triu(np.ones((2, 2)))), [1.0, 2.0], ValueError, "hess"),
        (Given(grad=rosen_der, hess=lambda x: None), [1.0, 2.0], TypeError, "hess"),
        (Given(grad=rosen_der, hessp=lambda x, v: v[:1]), [1.0, 2.0], ValueError, "hessp"),
        (Given(grad=rosen_der, hessp=lambda x, v: None), [1.0, 2.0], TypeError, "hessp"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        landscape.hessian,
        landscape.spectrum,
        landscape.escape_direction,
        landscape.classify_critical_point,
        landscape.spectral_density,
        lambda problem, x: landscape.hessian_vector_product(problem, x, np.ones(2)),
    ],
    ids=["hessian", "spectrum", "escape", "classify", "density", "product"],
)
def test_input_of_the_wrong_kind_is_refused(function, problem, x, error, name):
    with pytest.raises(error, match=rf"^{name}: expected"):
        function(problem, x)


@pytest.mark.parametrize("v", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], 1.0])
def test_vectors_of_the_wrong_shape_are_refused(v):
    with pytest.raises(ValueError, match=r"^v: expected"):
        landscape.hessian_vector_product(rosen_der, [1.0, 2.0], v)


# Spectra ---------------------------------------------------------------------------------------------


def test_all_eigenvalues_ascend():
    values = [-3.0, 5.0, 0.0, 1.0]
    found = landscape.spectrum(Given(grad=None, hess=lambda x: symmetric(values)), np.zeros(4))
    np.testing.assert_allclose(found, np.sort(values), atol=1e-12)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_outer_eigenvalues_by_lanczos(exact, k):
    values = np.r_[-4.0, -2.0, -1.0, np.zeros(100), np.linspace(0.1, 1, 400), 3.0, 7.0, 50.0]
    H = symmetric(values)
    problem = Given(grad=linear(H), hessp=lambda x, v: H @ v) if exact else linear(H)
    found = landscape.spectrum(problem, np.ones(len(H)), k=k)
    np.testing.assert_allclose(found, np.r_[values[:k], values[-k:]], atol=1e-6)
    np.testing.assert_array_equal(found, landscape.spectrum(problem, np.ones(len(H)), k=k))


@pytest.mark.parametrize("n", [3, 4, 10, 600])
def test_a_hessian_that_is_zero_or_a_multiple_of_the_identity(n):
    for c in (0.0, 2.0, -1e-9):
        found = landscape.spectrum(Given(grad=linear(c), hessp=lambda x, v, c=c: c * v), np.ones(n), k=1)
        np.testing.assert_allclose(found, [c, c])
        eigenvalue, u = landscape.escape_direction(
            Given(grad=linear(c), hessp=lambda x, v, c=c: c * v), np.ones(n)
        )
        assert eigenvalue == pytest.approx(c)
        assert np.linalg.norm(u) == pytest.approx(1)


@pytest.mark.parametrize(
    ("k", "error"), [(0, ValueError), (2, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_k_out_of_range(k, error):
    with pytest.raises(error, match=r"^k: expected"):
        landscape.spectrum(rosen_der, np.ones(4), k=k)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [3, 600])
def test_hessians_that_are_not_finite_are_refused(bad, n):
    problem = Given(grad=np.zeros_like, hessp=lambda x, v: np.full(n, bad))
    for function in (
        landscape.spectrum,
        lambda p, x: landscape.spectrum(p, x, k=1),
        landscape.escape_direction,
        landscape.classify_critical_point,
        landscape.spectral_density,
    ):
        with pytest.raises(ValueError, match="finite"):
            function(problem, np.ones(n))


def test_density_of_a_known_spectrum():
    values = np.r_[np.full(300, -1.0), np.full(500, 0.0), np.full(200, 4.0)]
    d = landscape.spectral_density(linear(np.diag(values)), np.zeros(1000), probes=20)
    assert d.weights.sum() == pytest.approx(1, abs=1e-9)
    assert d.density.sum() * np.diff(d.grid)[0] == pytest.approx(1, abs=1e-3)
    for value, share in ((-1, 0.3), (0, 0.5), (4, 0.2)):
        assert d.weights[np.abs(d.nodes - value) < 0.1].sum() == pytest.approx(share, abs=0.03)


def test_quadrature_is_exact_for_polynomials_of_the_spectrum():
    """With n probes that are the unit vectors it would be the trace; here: each probe's own moments."""
    H = symmetric(np.linspace(-2, 3, 30))
    v = np.random.default_rng(1).standard_normal(30)
    theta, w = spectra._quadrature(lambda x: H @ x, v, 5, np.dtype(np.float64))
    v /= np.linalg.norm(v)
    for power in range(10):
        assert w @ theta**power == pytest.approx(v @ np.linalg.matrix_power(H, power) @ v, rel=1e-9)


def test_lanczos_with_as_many_steps_as_unknowns_finds_all():
    values = np.geomspace(1e-6, 1e3, 40)
    d = landscape.spectral_density(
        Given(grad=None, hess=lambda x: symmetric(values)), np.zeros(40), probes=1, steps=1000
    )
    np.testing.assert_allclose(np.sort(d.nodes), values, rtol=1e-6)


def test_density_options():
    x = np.zeros(50)
    p = linear(np.diag(np.linspace(1, 2, 50)))
    a, b = (landscape.spectral_density(p, x, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(a.density, b.density)
    d = landscape.spectral_density(p, x, steps=4, probes=3, width=0.2, points=77)
    assert (len(d.grid), len(d.density), len(d.nodes), d.width) == (77, 77, 12, 0.2)
    zero = landscape.spectral_density(lambda x: 0 * x, x)
    np.testing.assert_array_equal(zero.nodes, 0)
    assert np.isfinite(zero.density).all()
    one = landscape.spectral_density(lambda x: 2 * x, [1.0])
    np.testing.assert_allclose(one.nodes, 2)
    for wrong in (
        {"steps": 0},
        {"probes": 0},
        {"width": 0.0},
        {"width": -1.0},
        {"width": np.nan},
        {"points": 1},
    ):
        with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: expected"):
            landscape.spectral_density(p, x, **wrong)


# Critical points -------------------------------------------------------------------------------------

HIMMELBLAU = problems.himmelblau()


def cosines(x):
    return -np.array([np.sin(x[0]) * np.cos(x[1]), np.cos(x[0]) * np.sin(x[1])])


NAMED = {
    "bowl": (linear(np.diag([2.0, 2.0])), [0, 0], "minimum", (2, 2)),
    "hill": (linear(np.diag([-2.0, -4.0])), [0, 0], "maximum", (-4, -2)),
    "saddle": (problems.saddle(), [0, 0], "saddle", (-2, 2)),
    "rosenbrock": (problems.rosenbrock(), [1, 1], "minimum", (0.39936, 1001.60064)),
    "himmelblau, minimum": (HIMMELBLAU, [3, 2], "minimum", (25.71573, 82.28427)),
    "himmelblau, maximum": (HIMMELBLAU, [-0.270845, -0.923039], "maximum", (-45.60523, -16.06601)),
    "himmelblau, saddle": (HIMMELBLAU, [0.0867, 2.8843], "saddle", (-31.7064, 75.5109)),
    "cosines": (cosines, [np.pi / 2, np.pi / 2], "saddle", (-1, 1)),
    "product": (problems.weight_product(), [0, 0], "saddle", (-2, 2)),
    "monkey saddle": (problems.monkey_saddle(), [0, 0], "degenerate", (0, 0)),
    "x^4 + y^4": (lambda x: 4 * x**3, [0, 0], "degenerate", (0, 0)),
    "x^2 + y^3": (lambda x: np.array([2 * x[0], 3 * x[1] ** 2]), [0, 0], "degenerate", (0, 2)),
    "product, minimum": (problems.weight_product(), [1, 1], "degenerate", (0, 4)),
    "x^2 - y^2 + z^4": (
        lambda x: np.array([2 * x[0], -2 * x[1], 4 * x[2] ** 3]),
        [0, 0, 0],
        "saddle",
        (-2, 0, 2),
    ),
    "product of three": (problems.weight_product(3), [0, 0, 0], "degenerate", (0, 0, 0)),
    "one variable": (problems.shared_weight(3), [0], "degenerate", (0,)),
    "small": (
        Given(grad=lambda x: 2e-6 * x, hess=lambda x: 2e-6 * np.eye(2)),
        [0, 0],
        "minimum",
        (2e-6, 2e-6),
    ),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("differences", [False, True])
def test_named_critical_points(name, differences):
    problem, x, kind, eigenvalues = NAMED[name]
    x = np.array(x, float)
    if differences and hasattr(problem, "grad"):
        if name == "small":
            pytest.skip("smaller than the error of differences may be")
        problem = problem.grad
    found = landscape.classify_critical_point(problem, x)
    assert found.kind == kind
    np.testing.assert_allclose(found.eigenvalues, eigenvalues, atol=1e-4)
    assert found.index == sum(value < 0 for value in eigenvalues)
    assert found.zeros == sum(value == 0 for value in eigenvalues)
    assert found.grad_norm == np.linalg.norm(problem.grad(x) if hasattr(problem, "grad") else problem(x))


@given(signs=st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=8), log_size=st.floats(-100, 100))
@settings(deadline=None, max_examples=100)
def test_the_rule_of_signs_in_any_units(signs, log_size):
    H = 10**log_size * symmetric(signs)
    found = landscape.classify_critical_point(Given(grad=linear(H), hess=lambda x: H), np.zeros(len(signs)))
    present = set(signs)
    if {-1, 1} <= present:
        assert found.kind == "saddle"
    elif 0 in present:
        assert found.kind == "degenerate"
    else:
        assert found.kind == ("minimum" if 1 in present else "maximum")
    assert (found.index, found.zeros) == (signs.count(-1), signs.count(0))


@every_form
def test_points_that_are_not_critical_are_named(form):
    for x in (np.zeros(5), np.full(5, 1.01)):
        assert landscape.classify_critical_point(FORMS[form], x).kind == "not critical"
    near = landscape.classify_critical_point(FORMS[form], np.full(5, 1 + 1e-6))
    assert near.kind == "minimum"
    assert (
        landscape.classify_critical_point(FORMS[form], np.full(5, 1 + 1e-6), gtol=1e-9).kind == "not critical"
    )
    assert landscape.classify_critical_point(lambda x: np.ones(5), np.zeros(5)).kind == "not critical"


def test_what_counts_as_zero_can_be_chosen():
    H = np.diag([1e-6, 1.0])
    problem = Given(grad=linear(H), hess=lambda x: H)
    assert landscape.classify_critical_point(problem, [0.0, 0.0]).kind == "minimum"
    found = landscape.classify_critical_point(problem, [0.0, 0.0], rtol=1e-5)
    assert (found.kind, found.zeros, found.threshold) == ("degenerate", 1, 1e-5)
    with pytest.raises(ValueError, match=r"^rtol: expected"):
        landscape.classify_critical_point(problem, [0.0, 0.0], rtol=-1.0)
    with pytest.raises(ValueError, match=r"^gtol: expected"):
        landscape.classify_critical_point(problem, [0.0, 0.0], gtol=np.nan)


def test_a_problem_that_makes_differences_itself_is_judged_as_they_are():
    quartic = {"fun": lambda x: float(np.sum(x**4)), "jac": lambda x: 4 * x**3, "n": 2}
    differences = problems.Problem.from_callable(**quartic)
    exact = problems.Problem.from_callable(**quartic, hess=lambda x: np.diag(12 * x**2))
    at = np.full(2, 1e-4)
    assert landscape.classify_critical_point(exact, at).threshold < 1e-14
    found = landscape.classify_critical_point(differences, at)
    assert (found.kind, found.threshold) == ("degenerate", 1e-5)
    assert landscape.classify_critical_point(exact, at).kind == "minimum"


def test_gradients_that_are_not_finite_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            landscape.classify_critical_point(lambda x, bad=bad: np.full(2, bad), [0.0, 0.0])


@pytest.mark.parametrize("n", [2, 20, 700])
@pytest.mark.parametrize("exact", [False, True])
def test_escape_along_the_most_negative_curvature(n, exact):
    values = np.r_[-3.0, np.linspace(-1, 5, n - 1)]
    H = symmetric(values)
    problem = Given(grad=linear(H), hessp=lambda x, v: H @ v) if exact else linear(H)
    eigenvalue, u = landscape.escape_direction(problem, np.zeros(n))
    assert type(eigenvalue) is float
    assert eigenvalue == pytest.approx(-3, abs=1e-6)
    assert np.linalg.norm(u) == pytest.approx(1)
    np.testing.assert_allclose(H @ u, -3 * u, atol=1e-5)
    assert u[np.abs(u).argmax()] > 0


def test_a_minimum_has_no_escape():
    assert landscape.escape_direction(problems.rosenbrock(), [1.0, 1.0])[0] > 0
    eigenvalue, u = landscape.escape_direction(lambda x: -3 * x, [0.0])
    assert eigenvalue == pytest.approx(-3)
    np.testing.assert_array_equal(u, [1.0])


# Stalls ----------------------------------------------------------------------------------------------


def descent(fun, jac, x, lr, steps, noise=None):
    points = [np.array(x, float)]
    for _ in range(steps):
        g = jac(points[-1])
        points.append(points[-1] - lr * (g if noise is None else g + noise.standard_normal(len(g))))
    return record(fun, jac, np.array(points))


def record(fun, jac, points):
    with np.errstate(all="ignore"):
        table = [[fun(x), np.linalg.norm(jac(x)), 0, k] for k, x in enumerate(points)]
    return History(np.array(table, float), points)


def run_of(p, x, lr, steps):
    return descent(p, p.grad, x, lr, steps)


@pytest.mark.parametrize("seed", range(5))
def test_causes_of_a_stall(seed):
    rng = np.random.default_rng(seed)
    kappa = 10 ** rng.uniform(0, 2)
    bowl = problems.quadratic(kappa, 5, rotation=rng)
    found = landscape.diagnose_stall(bowl, run_of(bowl, rng.standard_normal(5), 1 / kappa, 4000))
    assert found.kind == "minimum"
    np.testing.assert_allclose(found.curvature, (1, kappa), rtol=1e-6)

    plateau = problems.plateau(3)
    x = rng.standard_normal(3)
    x *= rng.uniform(5, 7) / np.linalg.norm(x)
    found = landscape.diagnose_stall(plateau, run_of(plateau, x, 0.1, 1000))
    assert found.kind == "plateau"
    assert max(np.abs(found.curvature)) < 1e-6

    valley = problems.elongated_bowl(10 ** rng.uniform(2.5, 3.5))
    found = landscape.diagnose_stall(valley, run_of(valley, [10.0, 1.0], 1e-2, 2000))
    assert found.kind == "oscillation"
    assert found.cosine < -0.5
    assert found.grad_norm > 100
    assert found.curvature is None
    assert found.change <= 1e-4

    well = problems.double_well()
    x = rng.standard_normal(2)
    found = landscape.diagnose_stall(well, run_of(well, x * [1, 0], 0.1, 400))
    assert found.kind == "saddle"
    assert landscape.diagnose_stall(well, run_of(well, x, 0.1, 400)).kind == "minimum"
    assert landscape.diagnose_stall(well.grad, run_of(well, x, 0.1, 400)).kind == "minimum"


def test_other_ends_of_a_run():
    p = problems.rosenbrock()
    assert landscape.diagnose_stall(p, run_of(p, [-1.2, 1.0], 1e-5, 300)).kind == "moving"
    bowl = problems.quadratic(10.0)
    diverging = run_of(bowl, [1.0, 1.0], 0.21, 300)
    found = landscape.diagnose_stall(bowl, diverging)
    assert found.kind == "divergence"
    with np.errstate(all="ignore"):
        overflowing = descent(lambda x: x @ x, lambda x: 2 * x, [1.0, 1.0], 1e3, 200)
    found = landscape.diagnose_stall(bowl, overflowing)
    assert found.kind == "divergence"
    assert math.isnan(found.grad_norm)
    product = problems.weight_product()
    assert landscape.diagnose_stall(product, run_of(product, [2.0, 0.5], 0.05, 500)).kind == "degenerate"
    noisy = descent(lambda x: 100 + x @ x, lambda x: 2 * x, [0.0, 0.0], 1e-2, 500, np.random.default_rng(0))
    found = landscape.diagnose_stall(lambda x: 2 * x, noisy, rtol=1e-2)
    assert found.kind == "moving"
    assert found.change < 1e-2
    assert -0.5 < found.cosine <= 1


def test_short_runs():
    well = problems.double_well()
    run = optlab.newton(well, [0.5, 0.3], gtol=1e-8)
    assert landscape.diagnose_stall(well, run.history).kind == "saddle"
    run = optlab.nonlinear_cg(well, [0.5, 0.3], gtol=1e-8)
    assert landscape.diagnose_stall(well, run.history).kind == "minimum"
    for rows in (1, 2, 3):
        found = landscape.diagnose_stall(well, run_of(well, [0.5, 0.3], 1e-3, rows - 1))
        assert found.kind == "moving"
        assert math.isnan(found.change) == (rows == 1)
    start = run_of(well, [0.0, 0.0], 0.1, 0)
    assert landscape.diagnose_stall(well, start).kind == "saddle"


def test_many_parameters():
    values = np.r_[-1.0, np.linspace(0, 1, 600)]
    H = np.diag(values)
    x = np.zeros((3, 601))
    found = landscape.diagnose_stall(linear(H), record(lambda x: x @ H @ x, linear(H), x))
    assert found.kind == "saddle"
    np.testing.assert_allclose(found.curvature, (-1, 1), atol=1e-6)


def test_every_kind_has_its_words():
    for kind, message in stalls._STALLS.items():
        assert message.endswith(".")
        assert kind[:5] in message.lower() or kind == "degenerate"


def test_histories_that_cannot_be_read():
    well = problems.double_well()
    run = optlab.newton(well, [0.5, 0.3], history=False)
    with pytest.raises(ValueError, match=r"^history: expected"):
        landscape.diagnose_stall(well, run.history)
    many = History(np.zeros((2, 4)), np.zeros((2, 7, 2)))
    with pytest.raises(ValueError, match=r"^history: expected"):
        landscape.diagnose_stall(well, many)
    history = run_of(well, [0.5, 0.3], 0.1, 10)
    for wrong in ({"window": 0}, {"rtol": -1.0}, {"gtol": np.nan}, {"htol": -1.0}):
        with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: expected"):
            landscape.diagnose_stall(well, history, **wrong)
    with pytest.raises(ValueError, match="finite"):
        landscape.diagnose_stall(lambda x: np.full(2, np.nan), history)


# Gradient checks -------------------------------------------------------------------------------------


def test_a_right_gradient_and_its_slope():
    x = np.random.default_rng(0).uniform(-2, 2, 5)
    check = landscape.check_gradient(rosen, rosen_der, x)
    assert check.correct
    assert "Correct" in check.message
    assert check.slope == pytest.approx(2, abs=0.02)
    assert check.errors.shape == (len(check.h), 5) == (9, 5)
    np.testing.assert_array_equal(check.gradient, rosen_der(x))
    np.testing.assert_allclose(check.complex_step, rosen_der(x), rtol=1e-13)
    np.testing.assert_allclose(check.estimate, rosen_der(x), rtol=1e-13)
    for k, h in enumerate(check.h):
        forth, back = x.copy(), x.copy()
        forth[2] += h * max(1, abs(x[2]))
        back[2] -= h * max(1, abs(x[2]))
        quotient = (rosen(forth) - rosen(back)) / (forth[2] - back[2])
        assert check.errors[k, 2] == pytest.approx(abs(quotient - rosen_der(x)[2]), abs=1e-12)


@pytest.mark.parametrize("complex_too", [True, False])
@pytest.mark.parametrize("relative", [1e-4, 1e-2, 1.0])
def test_a_wrong_gradient_is_found(relative, complex_too):
    fun = rosen if complex_too else (lambda x: float(rosen(np.asarray(x, float))))
    wrong = np.array([1.0, 1.0 + relative, 1.0])
    check = landscape.check_gradient(fun, lambda x: wrong * rosen_der(x), [0.3, -0.7, 1.1])
    assert not check.correct
    assert "Wrong in 1 of 3 coordinates: at [1]" in check.message
    assert (check.complex_step is not None) == complex_too
    assert check.error.argmax() == 1
    assert abs(check.slope) < 0.5


MISTAKES = {
    "sign": lambda x: -4 * x**3,
    "zero": lambda x: 0 * x,
    "factor": lambda x: 2 * x**3,
    "order": lambda x: 4 * x[::-1] ** 3,
    "value": lambda x: x**4,
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("size", [1e-100, 1.0, 1e100])
@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_mistakes_at_any_scale(mistake, size, shift):
    x = np.array([0.7, -1.3])
    fun = lambda x: size * (np.sum(x**4) + shift)  # noqa: E731
    assert landscape.check_gradient(fun, lambda x: size * 4 * x**3, x).correct
    assert not landscape.check_gradient(fun, lambda x: size * MISTAKES[mistake](x), x).correct


def test_a_large_constant_hides_no_mistake_and_blames_no_right_gradient():
    x = np.array([0.7, -1.3])
    fun = lambda x: 1e6 + float(np.sum(np.asarray(x, float) ** 4))  # noqa: E731
    assert landscape.check_gradient(fun, lambda x: 4 * x**3, x).correct
    assert not landscape.check_gradient(fun, lambda x: 4.01 * x**3, x).correct


def test_a_quadratic_has_no_error_of_the_formula():
    check = landscape.check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x, [1.0, -2.0])
    assert check.correct
    assert math.isnan(check.slope)


def test_units_that_only_long_steps_wake_up_have_no_derivative():
    p = optlab.problems.mlp((np.eye(4), [0, 1, 2, 1]), hidden=(6, 3), activation="relu")
    for seed in range(20):
        x = p.x0 + 0.3 * np.random.default_rng(seed).standard_normal(p.n)
        assert landscape.check_gradient(p, None, x).correct
        assert not landscape.check_gradient(p, lambda x: p.grad(x) + 1e-4, x).correct


def test_gradients_in_all_forms():
    p = problems.himmelblau()
    x = [1.0, 2.0]
    assert landscape.check_gradient(p, None, x).correct
    assert landscape.check_gradient(p, p.grad, x).correct
    assert landscape.check_gradient(p.value_and_grad, True, x).correct
    assert landscape.check_gradient(p, None, x).complex_step is None
    assert not landscape.check_gradient(p, lambda x: p.grad(x) + np.array([0, 1e-3]), x).correct
    together = landscape.check_gradient(lambda x, c: (c * np.sum(x**4), 4 * c * x**3), True, x, args=(3.0,))
    assert together.correct
    assert together.complex_step is not None
    apart = landscape.check_gradient(lambda x, c: c * np.sum(x**4), lambda x, c: 4 * c * x**3, x, 3.0)
    np.testing.assert_array_equal(apart.errors, together.errors)
    one = landscape.check_gradient(lambda x: x[0] ** 4, lambda x: float(4 * x[0] ** 3), [2.0])
    assert one.correct


def test_all_named_problems_have_right_gradients():
    rng = np.random.default_rng(5)
    for p in (problems.rosenbrock(4), problems.beale(), problems.rastrigin(3), problems.ackley(3)):
        assert landscape.check_gradient(p, None, rng.uniform(-1.5, 1.5, p.n)).correct


def test_single_precision_is_allowed_its_rounding():
    x = np.float32([0.7, -1.3, 2.0])
    fun = lambda x: np.float32(np.sum(np.exp(x, dtype=np.float32)))  # noqa: E731
    check = landscape.check_gradient(fun, lambda x: np.exp(x), x)
    assert check.correct
    assert not landscape.check_gradient(fun, lambda x: 1.05 * np.exp(x), x).correct


def test_values_of_less_precision_than_the_point():
    fun = lambda x: float(np.float32(np.sum(np.exp(np.asarray(x, float)))))  # noqa: E731
    for seed in range(10):
        x = np.random.default_rng(seed).standard_normal(3)
        check = landscape.check_gradient(fun, np.exp, x)
        assert check.correct, check
        assert not landscape.check_gradient(fun, lambda x: 1.1 * np.exp(x), x).correct


def test_a_derivative_that_is_zero_is_no_failed_difference():
    def fun(x):
        return math.nan if abs(x[0]) > 0.05 else float(x[1] ** 4)

    x = [0.0, 1.0]
    assert landscape.check_gradient(fun, lambda x: np.array([0, 4 * x[1] ** 3]), x).correct
    assert not landscape.check_gradient(fun, lambda x: np.array([1, 4 * x[1] ** 3]), x).correct
    only_one_step = landscape.check_gradient(fun, lambda x: np.array([7.0, 4.0]), x, h=[1e-1, 1e-3])
    assert not only_one_step.correct


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: np.sum(np.abs(x) ** 4),
        lambda x: np.sum(np.real(x) ** 4),
        lambda x: np.sum((x * np.conj(x)) ** 2),
        lambda x: math.fsum(v**4 for v in x),
        lambda x: float(np.asarray(x, float) @ np.asarray(x, float) ** 3),
        lambda x: np.sum(np.maximum(x, -x) ** 4),
    ],
)
def test_functions_that_are_not_made_for_complex_numbers(fun):
    check = landscape.check_gradient(fun, lambda x: 4 * x**3, [0.7, -1.3])
    assert check.correct
    assert not landscape.check_gradient(fun, lambda x: 4.001 * x**3, [0.7, -1.3]).correct


def test_edges_of_a_domain():
    def fun(x):
        with np.errstate(all="ignore"):
            return float(np.log(x[0]) + x[1] ** 4)

    check = landscape.check_gradient(fun, lambda x: np.array([1 / x[0], 4 * x[1] ** 3]), [0.05, 1.0])
    assert check.correct
    assert np.isnan(check.errors[0, 0])
    assert "nan" not in str(check).split("slope")[0]


def test_a_function_that_jumps():
    check = landscape.check_gradient(lambda x: float(np.floor(x[0])), lambda x: np.ones(1), [0.5])
    assert not check.correct
    nowhere = landscape.check_gradient(
        lambda x: 1.0 if x[0] == 0.5 else math.nan, lambda x: np.ones(1), [0.5]
    )
    assert not nowhere.correct


def test_some_coordinates_only():
    calls = []

    def fun(x):
        calls.append(1)
        return float(np.sum(np.asarray(x, float) ** 4))

    x = np.linspace(0.5, 1.5, 100)
    wrong = lambda x: 4 * x**3 + (np.arange(100) == 7)  # noqa: E731
    assert landscape.check_gradient(fun, wrong, x, coordinates=[3, 90]).correct
    assert len(calls) <= 1 + 2 * 2 * 9 + 1
    check = landscape.check_gradient(fun, wrong, x, coordinates=np.array([7, 90]))
    np.testing.assert_array_equal(check.coordinates, [7, 90])
    assert "at [7]" in check.message


def test_the_ladder_can_be_chosen():
    check = landscape.check_gradient(rosen, rosen_der, [0.5, 0.5], h=[1e-4, 1e-2, 1e-3])
    np.testing.assert_array_equal(check.h, [1e-2, 1e-3, 1e-4])
    assert check.correct
    assert check.slope == pytest.approx(2, abs=0.01)
    below = landscape.check_gradient(rosen, rosen_der, [0.5, 0.5], h=[1e-30, 1e-2, 1e-3])
    assert below.correct


def test_the_table_is_printed():
    lines = str(landscape.check_gradient(rosen, rosen_der, [0.5, 0.5])).splitlines()
    assert lines[0].startswith("Correct in 2 coordinates")
    assert "1e-01" in lines[2]
    assert lines[-2].split()[0] == "complex"
    assert lines[-1] == "slope 2.00"


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"fun": 3}, TypeError, "fun"),
        ({"jac": None}, TypeError, "jac"),
        ({"jac": False}, TypeError, "jac"),
        ({"jac": "exact"}, TypeError, "jac"),
        ({"jac": True}, TypeError, "fun"),
        ({"jac": lambda x: x[:1]}, ValueError, "jac"),
        ({"jac": lambda x: None}, TypeError, "jac"),
        ({"fun": lambda x: x}, ValueError, "fun"),
        ({"fun": lambda x: None}, TypeError, "fun"),
        ({"fun": lambda x: math.nan}, ValueError, "fun, jac"),
        ({"jac": lambda x: np.array([0.0, np.inf])}, ValueError, "fun, jac"),
        ({"x": []}, ValueError, "x"),
        ({"x": [np.nan, 1.0]}, ValueError, "x"),
        ({"h": [1e-3]}, ValueError, "h"),
        ({"h": [1e-3, 0.0]}, ValueError, "h"),
        ({"h": [1e-3, np.inf]}, ValueError, "h"),
        ({"h": "small"}, TypeError, "h"),
        ({"rtol": -1.0}, ValueError, "rtol"),
        ({"coordinates": [2]}, ValueError, "coordinates"),
        ({"coordinates": [-1]}, ValueError, "coordinates"),
        ({"coordinates": []}, TypeError, "coordinates"),
        ({"coordinates": [0.0]}, TypeError, "coordinates"),
        ({"coordinates": 1}, TypeError, "coordinates"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_checks_that_make_no_sense_are_refused(arguments, error, name):
    with pytest.raises(error, match=rf"^{name}: expected"):
        landscape.check_gradient(**{"fun": rosen, "jac": rosen_der, "x": [0.5, 0.5]} | arguments)


def test_exceptions_of_the_function_reach_the_caller():
    def fun(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        landscape.check_gradient(fun, rosen_der, [0.5, 0.5])
    with pytest.raises(ZeroDivisionError, match="mine"):
        landscape.hessian(fun, [0.5, 0.5])
