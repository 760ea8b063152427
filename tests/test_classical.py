"""Classical problems: BFGS, L-BFGS and conjugate gradients beside SciPy's.

``python tests/test_classical.py`` prints the comparison.
"""

import functools

import classical
import numpy as np
import pytest
import scipy.optimize

import optlab

GTOL = 1e-5
# Both stop by the gradient alone.
PEERS = {
    "bfgs": ("BFGS", {}),
    "lbfgs": ("L-BFGS-B", {"ftol": 0, "maxfun": 10**6, "maxiter": 10**6}),
    "nonlinear_cg": ("CG", {}),
}
STANDARD = [name for name in classical.PROBLEMS if "x" not in name.split()[-1]]


@pytest.mark.parametrize("name", classical.PROBLEMS)
def test_gradient(name):
    p = classical.PROBLEMS[name]
    h = 1e-6 * np.maximum(1, np.abs(p.x0))
    central = [(p(p.x0 + move)[0] - p(p.x0 - move)[0]) / 2 for move in np.diag(h)] / h
    value, gradient = p(p.x0)
    rounding = 1e-15 * len(h) * abs(value) / h.min()
    np.testing.assert_allclose(gradient, central, rtol=1e-5, atol=rounding + 1e-6 * np.abs(central).max())


@pytest.mark.parametrize("name", STANDARD)
def test_run_from_the_standard_start_ends_at_a_known_minimum(name):
    p = classical.PROBLEMS[name]
    value = optlab.bfgs(p, p.x0, jac=True, gtol=1e-8, maxiter=2000, history=False).fun
    assert min(abs(value - known) for known in p.minima) <= 1e-6 * abs(value) + 1e-7


def solved(problem, x):
    """Whether the gradient at x is small and the value that of a known minimum."""
    value, gradient = problem(x)
    return np.abs(gradient).max() <= GTOL and any(
        abs(value - known) <= 1e-4 * max(1, abs(known)) for known in problem.minima
    )


def ours(method, problem):
    run = getattr(optlab, method)(problem, problem.x0, jac=True, gtol=GTOL, history=False)
    assert run.success == (np.abs(run.jac).max() <= GTOL)
    assert run.fun <= problem(problem.x0)[0]
    return solved(problem, run.x), run.nfev


def theirs(method, problem):
    name, options = PEERS[method]
    with np.errstate(all="ignore"):
        run = scipy.optimize.minimize(
            problem, problem.x0, jac=True, method=name, options={"gtol": GTOL} | options
        )
    return solved(problem, run.x), run.nfev


@functools.cache
def compare(method):
    """Rows (problem, solved here, evaluations, solved by SciPy, its evaluations)."""
    return [(p.name, *ours(method, p), *theirs(method, p)) for p in classical.PROBLEMS.values()]


def ratios(rows):
    return {name: here / there for name, done, here, peer_done, there in rows if done and peer_done}


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # SciPy's line searches overflow
@pytest.mark.filterwarnings("ignore::scipy.optimize.OptimizeWarning")
def test_no_worse_than_scipy(method):
    rows = compare(method)
    assert sum(row[1] for row in rows) >= sum(row[3] for row in rows)
    assert np.median(list(ratios(rows).values())) <= 1.2


def main():
    print("| method | solved | SciPy | evaluations, ours / SciPy's: median | quartiles | extremes |")
    print("|---|---|---|---|---|---|")
    details = [""]
    for method in PEERS:
        rows = compare(method)
        ratio = ratios(rows)
        low, q1, median, q3, high = np.quantile(list(ratio.values()), [0, 0.25, 0.5, 0.75, 1])
        done, peer_done = ({row[0] for row in rows if row[column]} for column in (1, 3))
        solved_by = f"{len(done)} of {len(rows)} | {len(peer_done)}"
        print(f"| {method} | {solved_by} | {median:.2f} | {q1:.2f}-{q3:.2f} | {low:.2f}-{high:.2f} |")
        worst = sorted(ratio, key=ratio.get)[:-6:-1]
        for what, names in (
            ("solved by SciPy alone", sorted(peer_done - done)),
            ("solved by optlab alone", sorted(done - peer_done)),
            ("solved by neither", sorted({row[0] for row in rows} - done - peer_done)),
            ("highest ratios", [f"{name} ({ratio[name]:.2f})" for name in worst]),
        ):
            details.append(f"{method}, {what}: {', '.join(names) or 'none'}")
    print(*details, sep="\n")


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    main()
