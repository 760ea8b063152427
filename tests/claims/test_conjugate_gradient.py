"""The claims of the chapter "Steepest descent and conjugate gradients"."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

import optlab
from optlab import linesearch
from optlab.experiments.conjugate_gradient import PASSES, conjugate_basis, race, random_spd


def quadratic(A, b):
    """1/2 x'Ax - b'x with its gradient, for jac=True."""
    return lambda x: (0.5 * x @ A @ x - b @ x, A @ x - b)


def a_norm(A, errors):
    """sqrt(e'Ae) of every row e."""
    return np.sqrt(np.einsum("ki,ij,kj->k", errors, A, errors))


def cosines(vectors, lag):
    """|cos| between each row and the row `lag` later."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return abs(np.einsum("ki,ki->k", unit[lag:], unit[:-lag]))


@pytest.mark.claim("CG-1")
def test_steepest_descent_turns_by_a_right_angle(claim):
    worst, parallel = 0.0, 1.0
    for n in (2, 12, 50):
        for kappa in (10, 1e3, 1e5):
            for seed in range(10):
                A = random_spd(n, kappa, seed)
                rng = np.random.default_rng([seed, n])
                b, x0 = rng.standard_normal((2, n))
                run = optlab.steepest_descent(quadratic(A, b), x0, jac=True, maxiter=300)
                gradients = run.history.x @ A - b
                small = np.linalg.norm(gradients, axis=1) < 1e-4 * np.linalg.norm(gradients[0])
                gradients = gradients[: small.argmax() or None]  # then A x - b is mostly cancellation
                worst = max(worst, cosines(gradients, 1).max(initial=0.0))
                if n == 2:
                    parallel = min(parallel, cosines(gradients, 2).min(initial=1.0))
    claim.at_most("largest |cos| of consecutive directions", worst, 1e-10)
    claim.at_least("n = 2: smallest |cos| of every other direction", parallel, 1 - 1e-10)


@pytest.mark.claim("CG-2")
def test_conjugate_directions_decouple_the_minimization(claim):
    leak, distance = 0.0, 0.0
    for n in (10, 50, 200):
        for kappa in (10, 1e4):
            for seed in range(5):
                A = random_spd(n, kappa, seed)
                rng = np.random.default_rng([seed, n])
                D = conjugate_basis(A, rng.standard_normal((n, n)))  # rows d_i with d_i'A d_i = 1
                b = rng.standard_normal(n)
                products = D @ A @ D.T
                leak = max(leak, abs(products - np.eye(n)).max())
                minimum = sum((b @ d) / (d @ A @ d) * d for d in D)
                solution = np.linalg.solve(A, b)
                distance = max(distance, np.linalg.norm(minimum - solution) / np.linalg.norm(solution))
    claim.at_most("largest |d_i'A d_j|", leak, 1e-10)
    claim.at_most("relative distance of the sum from A^-1 b", distance, 1e-10)


@pytest.mark.claim("CG-3")
def test_linear_cg_ends_early_obeys_its_bound_and_feels_rounding(claim):
    after, before = 0.0, np.inf
    for distinct in (1, 2, 3, 5, 8):
        for seed in range(10):
            A = random_spd(40, 9, seed, distinct)
            solution = np.random.default_rng([seed, distinct]).standard_normal(40)
            path = optlab.cg(A, A @ solution, rtol=0.0, maxiter=distinct, history=True).history.x
            error = np.linalg.norm(path - solution, axis=1) / np.linalg.norm(solution)
            after, before = max(after, error[distinct]), min(before, error[distinct - 1])
    claim.at_most("error after as many steps as distinct eigenvalues", after, 1e-12)
    claim.at_least("error one step earlier", before, 1e-6)

    excess = 0.0
    for kappa in (10, 100, 1e4):
        for seed in range(5):
            A = random_spd(100, kappa, seed)
            solution = np.random.default_rng([seed, 100]).standard_normal(100)
            path = optlab.cg(A, A @ solution, rtol=1e-10, history=True).history.x
            error = a_norm(A, path - solution)
            error = error[error >= 1e-12 * error[0]]
            rate = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)
            bound = 2 * rate ** np.arange(len(error))
            excess = max(excess, (error / error[0] / bound).max())
    claim.at_most("A-norm error over its Chebyshev bound", excess, 1.0)

    b = np.random.default_rng(0).standard_normal(900)
    sparse = optlab.problems.poisson_2d(30)
    forms = sparse, sparse.toarray(), optlab.problems.poisson_2d(30, form="dia"), sparse.dot
    solutions = [optlab.cg(A, b, rtol=1e-10).x for A in forms]
    apart = max(np.linalg.norm(x - solutions[0]) for x in solutions) / np.linalg.norm(solutions[0])
    claim.at_most("difference of dense, CSR, DIA, matrix-free", apart, 1e-10)

    fewest = min(rounding_iterations(seed) for seed in range(6))
    claim.at_least("n = 60, kappa = 1e10, b = A x*: fewest steps / n", fewest / 60, 3.0)


def rounding_iterations(seed):
    """Iterations to a relative residual of 1e-8 where exact arithmetic would need 60."""
    A = random_spd(60, 1e10, seed)
    b = A @ np.random.default_rng([seed, 60]).standard_normal(60)
    run = optlab.cg(A, b, rtol=1e-8, maxiter=10_000)
    assert run.success, run.message
    return run.nit


@pytest.mark.claim("CG-4")
def test_nonlinear_cg_is_linear_cg_on_a_quadratic_and_needs_restarts_elsewhere(claim):
    betas = optlab.fletcher_reeves, optlab.polak_ribiere, optlab.polak_ribiere_plus
    apart = 0.0
    for seed in range(20):
        A = random_spd(10, 10, seed)
        b, x0 = np.random.default_rng([seed, 10]).standard_normal((2, 10))
        linear = optlab.cg(A, b, x0, rtol=0.0, maxiter=10, history=True).history.x
        solution = np.linalg.solve(A, b)
        for beta in betas:
            path = optlab.nonlinear_cg(
                quadratic(A, b), x0, jac=True, beta=beta, line_search=linesearch.exact, gtol=0.0, maxiter=10
            ).history.x
            steps = min(len(path), len(linear))
            difference = a_norm(A, path[:steps] - linear[:steps]).max()
            apart = max(apart, difference / a_norm(A, [x0 - solution])[0])
    claim.at_most("quadratic: distance of FR and PR from linear CG", apart, 1e-8)

    n, starts = 20, [np.random.default_rng([seed, 20]).uniform(-2, 2, 20) for seed in range(10)]

    def runs(beta, restart=None, maxiter=5000):
        method = partial(
            optlab.nonlinear_cg, rosen, jac=rosen_der, beta=beta, restart=restart, maxiter=maxiter
        )
        return [method(x0) for x0 in starts]

    every_n = runs(optlab.fletcher_reeves, restart=n)
    often = runs(optlab.fletcher_reeves, restart=5, maxiter=20_000)
    plus = runs(optlab.polak_ribiere_plus)
    jammed = runs(optlab.fletcher_reeves, maxiter=2000)
    cost = np.median([run.nfev for run in often]) / np.median([run.nfev for run in every_n])
    claim.equal("Rosenbrock 20: PR+ converges, starts of 10", sum(run.success for run in plus), 10, 0)
    claim.equal("FR restarted every 20 steps converges", sum(run.success for run in every_n), 10, 0)
    claim.equal("FR without restarts, 2000 iterations", sum(run.success for run in jammed), 0, 0)
    claim.at_least("evaluations with restarts every 5 over every 20", cost, 2.0)


@pytest.mark.claim("CG-5")
def test_race_at_equal_gradient_evaluations(claim):
    means = {name: costs.mean(axis=0) for name, costs in race().items()}
    early, late = PASSES.index(10), PASSES.index(100)

    def ratios(passes, order):
        costs = [means[name][passes] for name in order]
        return min(after / before for before, after in pairwise(costs))

    claim.at_least(
        "10 passes: smallest ratio of two neighbors in the order",
        ratios(early, ["SGD, lr 1", "mini-batch CG", "full L-BFGS", "full CG"]),
        1.0,
    )
    claim.at_least(
        "100 passes: smallest ratio of two neighbors",
        ratios(late, ["full L-BFGS", "SGD, lr 1", "full CG", "mini-batch CG"]),
        1.0,
    )
    claim.at_least(
        "smallest ratio of mini-batch CG to tuned SGD",
        min(means["mini-batch CG"] / means["SGD, lr 1"]),
        1.0,
    )
    claim.at_most(
        "10 and 100 passes: largest ratio of mini-batch CG to SGD, lr 0.1",
        max((means["mini-batch CG"] / means["SGD, lr 0.1"])[[early, late]]),
        1.0,
    )


@pytest.mark.claim("CG-6")
def test_incomplete_cholesky_saves_iterations_as_the_condition_number_says(claim):
    sparse = optlab.problems.poisson_2d(30)
    A, M = sparse.toarray(), optlab.incomplete_cholesky(sparse)
    root = np.linalg.cholesky(A)
    spectra = np.linalg.eigvalsh(A), np.linalg.eigvalsh(root.T @ (M @ root))  # the second: those of M A
    kappas = [spectrum[-1] / spectrum[0] for spectrum in spectra]
    promised = np.sqrt(kappas[0] / kappas[1])

    accuracy, counts = 1e-8, []
    for seed in range(10):
        solution = np.random.default_rng([seed, 900]).standard_normal(900)
        for preconditioner in (None, M):
            run = optlab.cg(sparse, sparse @ solution, rtol=1e-10, M=preconditioner, history=True)
            error = a_norm(A, run.history.x - solution)
            counts.append(np.argmax(error <= accuracy * error[0]))
    plain, preconditioned = np.reshape(counts, (10, 2)).T
    measured = plain.mean() / preconditioned.mean()
    claim.at_least("iterations saved over sqrt(kappa / kappa')", measured / promised, 0.8)
    claim.at_most("iterations saved over sqrt(kappa / kappa')", measured / promised, 1.0)
    for name, counts, kappa in zip(("plain", "preconditioned"), (plain, preconditioned), kappas, strict=True):
        bound = np.sqrt(kappa) / 2 * np.log(2 / accuracy)
        claim.at_most(f"{name}: most iterations over their bound", counts.max() / bound, 1.0)
