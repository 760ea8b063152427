"""Conjugate gradients against SciPy's: the same matrix, right-hand side and stopping rule.

Sizes that converge do so at rtol = 1e-5; the large ones take a fixed number of iterations, as marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse.linalg

import optlab

from .pairs import Case


def cases() -> Iterator[Case]:
    for n, maxiter, target in (
        (10, None, 50),
        (100, None, 12),
        (500, None, 2.8),
        (2000, 50, 3.3),
        (5000, 50, 2),
    ):
        yield _case("dense CG", n, _dense(n), n, maxiter, target)
    for m, maxiter, targets in (
        (30, None, (4, 14, 8)),
        (300, None, (1.6, 3.5, 4)),
        (1000, 50, (1.9, 3, 2.5)),
    ):
        csr = optlab.problems.poisson_2d(m)
        dia = optlab.problems.poisson_2d(m, form="dia")
        grid = f"{m}x{m}"
        yield _case("CSR CG, 2-D Poisson", grid, csr, m * m, maxiter, targets[0])
        yield _case("DIA CG, 2-D Poisson", grid, dia, m * m, maxiter, targets[1])
        yield _case("DIA CG, 2-D Poisson", grid, dia, m * m, maxiter, targets[1], "CSR", csr)
        stencil = scipy.sparse.linalg.LinearOperator((m * m, m * m), matvec=_stencil(m), dtype=np.float64)
        compiled = optlab.problems.poisson_2d(m, form="operator")
        yield _case(
            "matrix-free stencil CG", grid, compiled, m * m, maxiter, targets[2], "LinearOperator", stencil
        )


def _case(
    kernel: str,
    size: int | str,
    A: Any,
    n: int,
    maxiter: int | None,
    target: float,
    peer: str = "",
    peer_A: Any = None,
) -> Case:
    b = np.random.default_rng(0).standard_normal(n)
    peer_A = A if peer_A is None else peer_A
    ours = optlab.cg(A, b, maxiter=maxiter)
    theirs = scipy.sparse.linalg.cg(peer_A, b, maxiter=maxiter)[0]
    np.testing.assert_allclose(ours.x_last, theirs, atol=1e-4 * np.abs(theirs).max())
    return Case(
        kernel,
        f"{size}, {ours.nit} it",
        f"scipy {peer}".strip(),
        lambda: scipy.sparse.linalg.cg(peer_A, b, maxiter=maxiter),
        lambda: optlab.cg(A, b, maxiter=maxiter),
        target,
    )


def _dense(n: int) -> np.ndarray:
    """Symmetric with eigenvalues log-spaced from 1 to 100: a reflection of their diagonal matrix."""
    v = np.random.default_rng(1).standard_normal(n)
    v /= np.linalg.norm(v)
    spectrum = np.geomspace(1.0, 100.0, n)
    dv = spectrum * v
    return np.diag(spectrum) - 2.0 * np.outer(v, dv) - 2.0 * np.outer(dv, v) + 4.0 * (v @ dv) * np.outer(v, v)


def _stencil(m: int) -> Callable[[np.ndarray], np.ndarray]:
    def product(x: np.ndarray) -> np.ndarray:
        u = x.reshape(m, m)
        y = 4.0 * u
        y[1:] -= u[:-1]
        y[:-1] -= u[1:]
        y[:, 1:] -= u[:, :-1]
        y[:, :-1] -= u[:, 1:]
        return y.ravel()

    return product
