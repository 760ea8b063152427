"""Every problem against its equation, its derivatives against the complex step, and what is known of it."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import reference

import optlab
from optlab import problems

BLAS = 1e-12  # its sums depend on where arrays lie in memory
RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 3))
A = A + A.T

# name: (problem, its equation)
NAMED = {
    "quadratic": (
        problems.quadratic(
            eigenvalues=np.linalg.eigvalsh(A), rotation=np.linalg.eigh(A)[1], center=[1, 2, 3]
        ),
        partial(reference.quadratic, A=A, c=np.array([1.0, 2.0, 3.0])),
    ),
    "quadratic, 2": (
        problems.quadratic(5.0, rotation=0.3, center=[1.0, -1.0]),
        lambda x: reference.quadratic(
            x,
            [[1 + 4 * np.sin(0.3) ** 2, -2 * np.sin(0.6)], [-2 * np.sin(0.6), 1 + 4 * np.cos(0.3) ** 2]],
            np.array([1.0, -1.0]),
        ),
    ),
    "quadratic, diagonal": (
        problems.quadratic(8.0, 4, center=[1.0, 0.0, 2.0, 3.0]),
        partial(reference.quadratic, A=np.diag([1.0, 2.0, 4.0, 8.0]), c=np.array([1.0, 0.0, 2.0, 3.0])),
    ),
    "elongated_bowl": (problems.elongated_bowl(30.0), partial(reference.elongated_bowl, s=30.0)),
    "rosenbrock": (problems.rosenbrock(), reference.rosenbrock),
    "rosenbrock, 5": (problems.rosenbrock(5, b=10.0), partial(reference.rosenbrock, b=10.0)),
    "extended_rosenbrock": (problems.extended_rosenbrock(6), reference.extended_rosenbrock),
    "crescent": (problems.crescent(7.0), partial(reference.crescent, b=7.0)),
    "two_valleys": (problems.two_valleys(), reference.two_valleys),
    "beale": (problems.beale(), reference.beale),
    "himmelblau": (problems.himmelblau(), reference.himmelblau),
    "booth": (problems.booth(), reference.booth),
    "styblinski_tang": (problems.styblinski_tang(3), reference.styblinski_tang),
    "rastrigin": (problems.rastrigin(3), reference.rastrigin),
    "ackley": (problems.ackley(3), reference.ackley),
    "saddle": (problems.saddle(), reference.saddle),
    "monkey_saddle": (problems.monkey_saddle(), reference.monkey_saddle),
    "double_well": (problems.double_well(0.5), partial(reference.double_well, q=0.5)),
    "weight_product": (problems.weight_product(4), reference.weight_product),
    "plateau": (problems.plateau(3), reference.plateau),
    "cliff": (problems.cliff(), reference.cliff),
    "shared_weight": (problems.shared_weight(7), partial(reference.shared_weight, depth=7)),
    "mountain": (problems.mountain(), reference.mountain),
    "mountain, 2": (problems.mountain(2), reference.mountain),
}

X = RNG.standard_normal((9, 4))
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 1])
NUMBERS = RNG.standard_normal(9)
ONE_HOT = np.eye(3)[LABELS]


def model(problem, T, activation, loss, penalty):
    return problem, partial(
        reference.network,
        X=X, T=T, sizes=problem.layers, activation=activation, loss=loss, penalty=penalty,
    )  # fmt: skip


DATA = {
    "least_squares": model(
        problems.least_squares((X, NUMBERS), penalty=0.1), NUMBERS[:, None], "tanh", "squared", 0.1
    ),
    "logistic": model(
        problems.logistic((X, LABELS == 1), penalty=0.2),
        2.0 * (LABELS == 1)[:, None] - 1,
        "tanh",
        "logistic",
        0.2,
    ),
    "softmax": model(problems.softmax((X, LABELS)), ONE_HOT, "tanh", "cross_entropy", 0.0),
    **{
        f"mlp, {activation}, {loss}, {hidden}": model(
            problems.mlp((X, LABELS), hidden=hidden, activation=activation, loss=loss, penalty=0.01),
            ONE_HOT,
            activation,
            loss,
            0.01,
        )
        for activation in ("tanh", "relu")
        for loss in ("cross_entropy", "squared")
        for hidden in ((5,), (3, 6, 2))
    },
}
ALL = NAMED | DATA


@pytest.fixture(params=list(ALL))
def case(request):
    return ALL[request.param]


def points(problem):
    rng = np.random.default_rng(1)
    return [problem.x0 + 0.3 * rng.standard_normal(problem.n) for _ in range(5)]


def test_every_function_of_the_module_is_tested():
    names = {problem.name for problem, _ in ALL.values()}
    assert names == set(problems.__all__) - {"Problem", "DataProblem", "poisson_2d"}


def test_value_and_gradient_follow_the_equation(case):
    problem, equation = case
    for x in points(problem):
        f, g = problem.value_and_grad(x)
        assert f == pytest.approx(equation(x), rel=1e-12, abs=1e-12)
        expected = reference.complex_step(equation, x)
        np.testing.assert_allclose(g, expected, rtol=1e-10, atol=1e-12 * (1 + np.abs(expected).max()))
        assert problem(x) == pytest.approx(f, rel=BLAS)
        np.testing.assert_allclose(problem.grad(x), g, rtol=BLAS, atol=BLAS * np.abs(g).max())


def test_hessian_is_the_derivative_of_the_gradient(case):
    problem, _ = case
    for x in points(problem):
        H = problem.hess(x)
        h = 1e-5
        expected = np.array(
            [(problem.grad(x + h * e) - problem.grad(x - h * e)) / (2 * h) for e in np.eye(len(x))]
        )
        # Truncation h^2 and rounding eps / h, by the size of what was subtracted.
        np.testing.assert_allclose(H, expected, rtol=1e-5, atol=1e-7 * (1 + np.abs(expected).max()))
        np.testing.assert_array_equal(H, H.T)
        v = np.arange(1.0, problem.n + 1)
        np.testing.assert_allclose(problem.hessp(x, v), H @ v, rtol=1e-9, atol=1e-9 * np.abs(H @ v).max())


def test_many_values_at_once(case):
    problem, _ = case
    xs = np.array(points(problem) + points(problem)[:1]).reshape(2, 3, problem.n)
    values = problem.values(xs)
    assert values.shape == (2, 3)
    one_by_one = [problem(x) for x in xs.reshape(-1, problem.n)]
    np.testing.assert_allclose(values.ravel(), one_by_one, rtol=BLAS)


def test_known_minimizers_are_minimizers(case):
    problem, _ = case
    for x in problem.minimizers:
        assert problem(x) == pytest.approx(problem.fmin, abs=1e-12)
        assert np.abs(problem.grad(x)).max() <= 1e-12
        if problem.name == "ackley":
            continue  # a tip: no Hessian
        assert np.linalg.eigvalsh(problem.hess(x)).min() > -1e-12
    if problem.fmin is not None:
        assert min(problem(x) for x in points(problem)) >= problem.fmin


def test_problems_travel(case):
    problem, _ = case
    again = pickle.loads(pickle.dumps(problem))
    for x in points(problem):
        assert again(x) == pytest.approx(problem(x), rel=BLAS)
        H = problem.hess(x)
        np.testing.assert_allclose(again.hess(x), H, rtol=BLAS, atol=BLAS * np.abs(H).max())
    assert repr(again) == repr(problem)


def test_threads_do_not_meet(case):
    problem, _ = case
    xs = points(problem) * 20
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(problem.value_and_grad, xs))
    for x, (f, g) in zip(xs, together, strict=True):
        assert f == pytest.approx(problem(x), rel=BLAS)
        np.testing.assert_allclose(g, problem.grad(x), rtol=BLAS, atol=BLAS * np.abs(g).max())


def test_points_are_checked(case):
    problem, _ = case
    wrong = np.zeros(problem.n + 1)
    for call in (problem, problem.grad, problem.hess, lambda x: problem.hessp(x, x)):
        with pytest.raises(ValueError, match=r"x: expected shape"):
            call(wrong)
        with pytest.raises(TypeError, match="x: expected real numbers"):
            call(np.zeros(problem.n, dtype=complex))
    with pytest.raises(ValueError, match="v: expected shape"):
        problem.hessp(problem.x0, wrong)
    with pytest.raises(ValueError, match=r"points: expected shape \(\.\.\., "):
        problem.values(wrong)


def test_points_of_any_kind(case):
    problem, _ = case
    x = np.round(problem.x0, 1)
    f = problem(x)
    wide = np.zeros((problem.n, 2))
    wide[:, 0] = x
    others = [problem(list(x)), problem(wide[:, 0]), problem(x.astype(">f8")), *problem.values([x, x])]
    assert others == pytest.approx([f] * 5, rel=BLAS)


def test_what_a_problem_tells_cannot_be_changed(case):
    problem, _ = case
    for array in (problem.x0, problem.minimizers, problem.domain):
        if array is not None and array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_nan_goes_through(case):
    problem, _ = case
    assert np.isnan(problem(np.full(problem.n, np.nan)))
    assert np.isnan(problem.grad(np.full(problem.n, np.nan))).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problems.quadratic(0.5), "kappa: expected a number >= 1"),
        (lambda: problems.quadratic(2.0, 1), "n: expected at least 2"),
        (lambda: problems.quadratic(eigenvalues=[]), "eigenvalues: expected at least one"),
        (lambda: problems.quadratic(eigenvalues=[1.0, np.nan]), "eigenvalues: expected finite"),
        (lambda: problems.quadratic(center=[1.0]), "center: expected shape"),
        (lambda: problems.quadratic(n=3, rotation=0.1), "rotation: expected an array"),
        (lambda: problems.quadratic(rotation=np.ones((2, 2))), "rotation: expected an orthogonal"),
        (lambda: problems.quadratic(rotation=np.eye(3)), "rotation: expected shape"),
        (lambda: problems.rosenbrock(1), "n: expected an integer >= 2"),
        (lambda: problems.extended_rosenbrock(3), "n: expected an even number"),
        (lambda: problems.elongated_bowl(0.0), "steepness: expected a positive"),
        (lambda: problems.cliff(target=1.0), "target: expected a number below 1"),
        (lambda: problems.mountain(3), "n: expected 1 or 2"),
        (lambda: problems.softmax("mnist"), "data: expected one of"),
        (lambda: problems.softmax((X, LABELS[:3])), "y: expected shape"),
        (lambda: problems.softmax((X, LABELS - 1)), "y: expected labels"),
        (lambda: problems.softmax((X, LABELS + 0.5)), "y: expected labels"),
        (lambda: problems.softmax((np.full_like(X, np.inf), LABELS)), "X: expected finite"),
        (lambda: problems.softmax((np.empty((0, 2)), [])), "X: expected at least one"),
        (lambda: problems.softmax(penalty=-1.0), "penalty: expected"),
        (lambda: problems.logistic((X, LABELS)), "y: expected two classes"),
        (lambda: problems.mlp(hidden=(0,)), "hidden: expected an integer >= 1"),
        (lambda: problems.mlp(hidden=[2] * 15), "hidden: expected at most 14"),
        (lambda: problems.mlp(activation="sine"), "activation: expected"),
        (lambda: problems.mlp(loss="hinge"), "loss: expected"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_data_needs_a_name_or_a_pair():
    with pytest.raises(TypeError, match="data: expected a name or a pair"):
        problems.softmax(X)


def test_outputs_are_those_of_the_network():
    problem, _ = DATA["mlp, relu, squared, (3, 6, 2)"]
    (W1, b1), (W2, b2), (W3, b3), (W4, b4) = problem.unflatten(problem.x0 + 0.1)
    a = X
    for W, b in ((W1, b1), (W2, b2), (W3, b3)):
        a = np.maximum(a @ W.T + b, 0)
    np.testing.assert_allclose(problem.outputs(problem.x0 + 0.1), a @ W4.T + b4)
    assert problem.outputs(problem.x0, X[:2]).shape == (2, 3)
    with pytest.raises(ValueError, match="X: expected shape"):
        problem.outputs(problem.x0, X[:, :2])


def test_unflatten_gives_views():
    problem = problems.mlp((X, LABELS), hidden=(2,))
    x = np.zeros(problem.n)
    problem.unflatten(x)[0][0][0, 1] = 7.0
    assert x[1] == 7.0


def test_extreme_logits_stay_finite():
    problem = problems.softmax((X, LABELS))
    f, g = problem.value_and_grad(np.full(problem.n, 1e6) * (-1.0) ** np.arange(problem.n))
    assert np.isfinite(f)
    assert np.isfinite(g).all()
    f, g = problems.logistic((X, LABELS == 1)).value_and_grad(np.full(5, 1e6))
    assert np.isfinite(f)
    assert np.isfinite(g).all()


def test_start_of_a_network_depends_on_its_seed_alone():
    a, b, c = (problems.mlp((X, LABELS), seed=s).x0 for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


# Problems of the reader's own


def test_own_functions_are_differentiated():
    own = optlab.Problem.from_callable(lambda x: reference.beale(x), n=2, x0=[1.0, 1.0], domain=[-4, 4])
    built_in = problems.beale()
    for x in points(own):
        np.testing.assert_allclose(own.grad(x), built_in.grad(x), rtol=1e-7, atol=1e-6)
    with_gradient = optlab.Problem.from_callable(built_in, built_in.grad, n=2)
    for x in points(own):
        np.testing.assert_allclose(with_gradient.hess(x), built_in.hess(x), rtol=1e-6, atol=1e-5)
    assert own.domain.tolist() == [[-4, 4], [-4, 4]]


def test_own_functions_may_change_their_argument_and_reuse_their_buffers():
    buffer = np.empty(2)

    def pair(x):
        buffer[:] = 2 * x
        f = x @ x
        x[:] = np.nan
        return f, buffer

    own = optlab.Problem.from_callable(pair, True, n=2)
    x = np.array([1.0, 2.0])
    f, g = own.value_and_grad(x)
    own.value_and_grad([5.0, 5.0])
    assert (f, g.tolist(), x.tolist()) == (5.0, [2.0, 4.0], [1.0, 2.0])
    np.testing.assert_allclose(own.hess(x), 2 * np.eye(2), atol=1e-9)


def test_own_hessian_is_used():
    H = np.array([[3.0, 1.0], [1.0, 2.0]])
    own = optlab.Problem.from_callable(lambda x: 0.5 * x @ H @ x, lambda x: H @ x, lambda x: H, n=2)
    np.testing.assert_array_equal(own.hess([1.0, 1.0]), H)
    np.testing.assert_array_equal(own.hessp([1.0, 1.0], [1.0, 0.0]), H[0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fun": 3}, TypeError, "fun: expected a callable"),
        ({"jac": 3}, TypeError, "jac: expected a callable, True or None"),
        ({"hess": 3}, TypeError, "hess: expected a callable"),
        ({"n": 0}, ValueError, "n: expected an integer >= 1"),
        ({"x0": [1.0]}, ValueError, "x0: expected shape"),
        ({"domain": [1, 2, 3]}, ValueError, "domain: expected shape"),
        ({"minimizers": [[1.0, 2.0, 3.0]]}, ValueError, "minimizers: expected rows of 2"),
    ],
)
def test_own_problems_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        optlab.Problem.from_callable(**({"fun": lambda x: x @ x, "n": 2} | arguments))


@pytest.mark.parametrize(
    ("fun", "jac", "hess", "message"),
    [
        (lambda x: x, None, None, "fun: expected a single number"),
        (lambda x: x @ x, True, None, r"fun: expected \(value, gradient\)"),
        (lambda x: x @ x, lambda x: [1.0], None, "jac: expected shape"),
        (lambda x: x @ x, lambda x: 2 * x, lambda x: [1.0], "hess: expected shape"),
    ],
)
def test_results_of_own_functions_are_checked(fun, jac, hess, message):
    own = optlab.Problem.from_callable(fun, jac, hess, n=2)
    call = own.grad if hess is None else own.hess
    with pytest.raises((ValueError, TypeError), match=message):
        call([1.0, 2.0])


def test_exceptions_of_own_functions_arrive():
    def broken(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        optlab.Problem.from_callable(broken, n=2)([1.0, 2.0])


# Models on other samples


@pytest.mark.parametrize(
    "p",
    [
        problems.least_squares(penalty=0.1),
        problems.logistic(penalty=0.1),
        problems.softmax("iris"),
        problems.mlp("wine", hidden=(5,)),
        problems.mlp("iris", hidden=(4, 3), activation="relu", loss="squared"),
    ],
    ids=lambda p: p.name,
)
def test_the_cost_of_other_samples_is_that_of_a_problem_on_them(p):
    x = 0.3 * np.random.default_rng(0).standard_normal(p.n)
    f, g = p.cost(x, p.X, p.y)
    assert f == pytest.approx(p(x), rel=1e-12)
    np.testing.assert_allclose(g, p.grad(x), rtol=1e-10, atol=1e-14)
    whole = [p.cost(x, p.X[i : i + 1], p.y[i : i + 1]) for i in range(len(p.X))]
    assert np.mean([f for f, _ in whole]) == pytest.approx(p(x), rel=1e-10)
    np.testing.assert_allclose(np.mean([g for _, g in whole], axis=0), p.grad(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((2, 3)), [0, 1], r"X: expected shape \(samples, 4\), got \(2, 3\)"),
        (np.zeros((0, 4)), [], r"X: expected shape \(samples, 4\)"),
        (np.zeros((2, 4)), [0], r"y: expected shape \(2,\)"),
        (np.zeros((2, 4)), [0, 3], "y: expected labels below 3, got 3"),
        (np.zeros((2, 4)), [0, 0.5], "y: expected labels 0, 1"),
        (np.zeros((2, 4)), [0, -1], "y: expected labels 0, 1"),
    ],
)
def test_other_samples_are_checked(X, y, message):
    p = problems.softmax("iris")
    with pytest.raises(ValueError, match=message):
        p.cost(p.x0, X, y)
