"""What the chapter on Newton's method and its claims share.

Quadratics with a spectrum of any signs, Newton's method in decimals with hundreds of digits, and Gaussian
elimination on numbers that count what is done with them.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def random_symmetric(eigenvalues: Any, seed: int) -> Array:
    """A symmetric matrix with these eigenvalues and a random basis of eigenvectors."""
    n = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    A: Array = q * np.asarray(eigenvalues, dtype=float) @ q.T
    return (A + A.T) / 2


def exact_digits(x: float, y: float, steps: int) -> list[float]:
    """Correct digits of Newton's method on Rosenbrock's function.

    That is -log10 of the distance to (1, 1), computed with 400 digits.
    """
    with localcontext() as context:
        context.prec = 400
        u, v = Decimal(x), Decimal(y)
        digits = []
        for _ in range(steps + 1):
            distance = ((u - 1) ** 2 + (v - 1) ** 2).sqrt()
            if distance == 0:
                break
            digits.append(-float(distance.log10()))
            bend = v - u * u
            g1, g2 = -400 * u * bend - 2 * (1 - u), 200 * bend
            h11, h12, h22 = 1200 * u * u - 400 * v + 2, -400 * u, 200
            det = h11 * h22 - h12 * h12
            u -= (h22 * g1 - h12 * g2) / det
            v -= (h11 * g2 - h12 * g1) / det
        return digits


class Counting(float):
    """A number that counts its products and quotients."""

    products = quotients = 0

    def __mul__(self, other: Any) -> Counting:
        Counting.products += 1
        return Counting(float(self) * other)

    def __truediv__(self, other: Any) -> Counting:
        Counting.quotients += 1
        return Counting(float(self) / other)

    def __sub__(self, other: Any) -> Counting:
        return Counting(float(self) - other)


def eliminate(A: NDArray[Any]) -> None:
    """Gaussian elimination in place: A becomes L (below) and U."""
    for k in range(len(A) - 1):
        A[k + 1 :, k] = A[k + 1 :, k] / A[k, k]
        A[k + 1 :, k + 1 :] -= np.outer(A[k + 1 :, k], A[k, k + 1 :])


def count_operations(n: int) -> tuple[int, int]:
    """How many products and quotients `eliminate` makes of an n x n matrix."""
    A = np.empty((n, n), dtype=object)
    for i, row in enumerate(random_symmetric(np.linspace(1, 10, n), seed=n)):
        A[i] = [Counting(entry) for entry in row]
    Counting.products = Counting.quotients = 0
    eliminate(A)
    return Counting.products, Counting.quotients
