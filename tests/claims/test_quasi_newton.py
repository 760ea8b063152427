"""The claims of the chapter "BFGS and L-BFGS"."""

import tracemalloc
from functools import partial

import numpy as np
import pytest

import optlab
from optlab import linesearch, problems
from optlab.experiments.conjugate_gradient import random_spd


def starts(n, count, seed=0):
    """Uniform in [-2, 2]^n."""
    return [np.random.default_rng([seed + k, n]).uniform(-2, 2, n) for k in range(count)]


def random_starts(n, count):
    """Standard normal."""
    return [np.random.default_rng([k, n]).standard_normal(n) for k in range(count)]


def random_quadratic(n, kappa, seed):
    """A random quadratic problem, its matrix and a start."""
    A = random_spd(n, kappa, seed)
    b, x0 = np.random.default_rng([seed, n]).standard_normal((2, n))
    return lambda x: (0.5 * x @ A @ x - b @ x, A @ x - b), A, x0


def search(c2):
    """Strong Wolfe; c1 has to stay below c2."""
    return partial(linesearch.strong_wolfe, c1=min(1e-4, c2 / 10), c2=c2)


@pytest.mark.claim("QN-1")
def test_bfgs_obeys_the_secant_equation_and_keeps_definiteness_under_wolfe(claim):
    secant = drift = 0.0
    smallest = cosine = np.inf
    for problem, x0s in (
        (problems.rosenbrock(2), starts(2, 10)),
        (problems.rosenbrock(10), starts(10, 10)),
        (problems.logistic(penalty=1e-3), random_starts(31, 10)),
    ):
        for c2 in (0.9, 0.1):
            for x0 in x0s:
                run = optlab.bfgs(problem, x0, line_search=search(c2), gtol=1e-8)
                assert run.success, run.message
                M = None
                gradients = [problem.grad(x) for x in run.history.x]
                for s, y in zip(np.diff(run.history.x, axis=0), np.diff(gradients, axis=0), strict=True):
                    M = (s @ y) / (y @ y) * np.eye(len(s)) if M is None else M
                    M = optlab.bfgs_update(M, s, y)
                    cosine = min(cosine, s @ y / np.linalg.norm(s) / np.linalg.norm(y))
                    secant = max(secant, np.linalg.norm(M @ y - s) / np.linalg.norm(s))
                    smallest = min(smallest, np.linalg.eigvalsh(M)[0])
                drift = max(drift, abs(M - run.hess_inv).max() / abs(M).max())
    claim.at_most("largest |My - s| / |s|", secant, 1e-10)
    claim.at_least("Wolfe: smallest eigenvalue of any M", smallest, 1e-5)
    claim.at_least("Wolfe: smallest cosine of s and y", cosine, 1e-8)
    claim.at_most("the last M against that of optlab.bfgs", drift, 1e-8)

    counts = [blind_run(np.random.default_rng(seed).uniform(-0.5, 0.5, 2)) for seed in range(20)]
    claim.equal("Armijo: runs of 20 that lose definiteness", sum(counts), 7, 0)

    gap = {}
    for n, kappa in ((8, 100), (50, 10)):
        for seed in range(10):
            fun, A, x = random_quadratic(n, kappa, seed)
            M, g = np.eye(n), fun(x)[1]
            for _ in range(n):
                d = -M @ g
                step = linesearch.exact_quadratic(g @ d, d @ A @ d) if g @ d else 0.0
                x, g_old = x + step * d, g
                g = fun(x)[1]
                M = optlab.bfgs_update(M, step * d, g - g_old)
            gap[n] = max(gap.get(n, 0.0), np.linalg.norm(M @ A - np.eye(n), 2))
    claim.at_most("n = 8, kappa = 100: |MA - I| after n exact steps", gap[8], 1e-8)
    claim.at_least("n = 50, kappa = 10: |MA - I|", gap[50], 1e-3)


def blind_run(x):
    """Whether BFGS with Armijo's condition alone, updating whatever comes, loses definiteness."""

    def fun(x):
        return (x[0] ** 2 - 1) ** 2 + 0.5 * x[1] ** 2, np.array([4 * x[0] * (x[0] ** 2 - 1), x[1]])

    M, (f, g) = np.eye(2), fun(x)
    first = min(1.0, 1 / np.linalg.norm(g))
    for _ in range(100):
        if abs(g).max() <= 1e-5:
            break
        d = -M @ g
        step = linesearch.drive(
            linesearch.armijo(f, g @ d, first),
            lambda t, x=x, d=d: (fun(x + t * d)[0], fun(x + t * d)[1] @ d),
        )
        f, new = fun(x + step * d)
        M = optlab.bfgs_update(M, step * d, new - g)
        if np.linalg.eigvalsh(M)[0] <= 0:
            return True
        x, g, first = x + step * d, new, 1.0
    return False


@pytest.mark.claim("QN-2")
def test_a_loose_line_search_needs_fewer_evaluations(claim):
    tightness = 0.9, 1e-3, 1e-6
    ratios = {}
    for name, problem, x0s in (
        ("Rosenbrock 10", problems.rosenbrock(10), starts(10, 10)),
        ("logistic", problems.logistic(penalty=1e-3), random_starts(31, 10)),
    ):
        runs = [[optlab.bfgs(problem, x0, line_search=search(c2)) for x0 in x0s] for c2 in tightness]
        assert all(run.success for row in runs for run in row)
        evaluations = [np.mean([run.nfev for run in row]) for row in runs]
        iterations = [np.mean([run.nit for run in row]) for row in runs]
        ratios[name] = evaluations[0] / evaluations[2], evaluations[0] / evaluations[1]
        ratios[name] += (iterations[0] / iterations[2],)
    claim.at_most("Rosenbrock 10: evaluations, c2 = 0.9 over 1e-6", ratios["Rosenbrock 10"][0], 0.6)
    claim.at_most("Rosenbrock 10: evaluations, c2 = 0.9 over 1e-3", ratios["Rosenbrock 10"][1], 0.75)
    claim.at_most("logistic regression: c2 = 0.9 over 1e-6", ratios["logistic"][0], 0.75)
    claim.at_most("logistic regression: c2 = 0.9 over 1e-3", ratios["logistic"][1], 0.9)
    claim.at_least("smallest ratio of steps, c2 = 0.9 over 1e-6", min(r[2] for r in ratios.values()), 1.0)
    claim.at_most("largest ratio of steps", max(r[2] for r in ratios.values()), 3.0)


@pytest.mark.claim("QN-3")
def test_lbfgs_is_bfgs_in_linear_memory(claim):
    apart = 0.0
    for n, steps in ((5, 20), (50, 30), (200, 60)):
        for seed in range(10):
            rng = np.random.default_rng([seed, n])
            S, A = rng.standard_normal((steps, n)), random_spd(n, 100, seed)
            Y, g, M = S @ A, rng.standard_normal(n), np.eye(n)
            for s, y in zip(S, Y, strict=True):
                M = optlab.bfgs_update(M, s, y)
            difference = np.linalg.norm(optlab.two_loop(g, S, Y, gamma=1.0) - M @ g)
            apart = max(apart, difference / np.linalg.norm(M @ g))
    claim.at_most("two loops against the matrix, relative", apart, 1e-12)

    logistic = problems.logistic(penalty=1e-3)
    cases = [("logistic regression", logistic, x0) for x0 in random_starts(31, 10)]
    for seed in range(10):
        fun, _, x0 = random_quadratic(20, 100, seed)
        cases.append(("quadratic", partial(pair, fun), x0))
    gaps = {}
    for name, fun, x0 in cases:
        jac = None if fun is logistic else True
        full = optlab.bfgs(fun, x0, jac=jac, scale=False).history.x
        limited = optlab.lbfgs(fun, x0, jac=jac, scale=False, memory=1000).history.x
        assert len(full) == len(limited)
        gap = np.linalg.norm(full - limited, axis=1) / np.linalg.norm(full, axis=1)
        gaps[name] = max(gaps.get(name, 0.0), gap.max())
    for name, gap in gaps.items():
        claim.at_most(f"{name}: paths of L-BFGS with all pairs and BFGS", gap, 1e-8)

    memories = np.array([5, 10, 20])
    vectors = {n: [peak(n, m) / (8 * n) for m in memories] for n in (10**5, 10**6)}
    slopes = [np.polyfit(memories, counts, 1)[0] for counts in vectors.values()]
    growth = np.divide(vectors[10**6], vectors[10**5])
    claim.equal("n = 1e6: vectors of memory per pair", slopes[1], 2.0, 0.1)
    claim.equal("n = 1e5: vectors of memory per pair", slopes[0], 2.0, 0.1)
    claim.equal(
        "memory per unknown, n = 1e6 over 1e5, farthest from 1",
        max(growth, key=lambda r: abs(r - 1)),
        1.0,
        0.02,
    )


def pair(fun, x):
    return fun(x)


def peak(n, memory):
    """Bytes that 25 steps of L-BFGS allocate at most."""
    problem = problems.rosenbrock(n)
    x0 = np.full(n, -1.0)
    optlab.lbfgs(problems.rosenbrock(2), [0.0, 0.0], maxiter=2)  # imports what is imported on first use
    tracemalloc.start()
    run = optlab.lbfgs(problem, x0, memory=memory, maxiter=25, gtol=0.0, history=False)
    bytes_used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert run.nit == 25
    return bytes_used
