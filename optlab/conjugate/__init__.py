"""Steepest descent and conjugate gradients: of a linear system, and of any smooth function."""

from .linear import cg
from .nonlinear import (
    fletcher_reeves,
    hestenes_stiefel,
    nonlinear_cg,
    polak_ribiere,
    polak_ribiere_plus,
    steepest_descent,
)
from .preconditioners import incomplete_cholesky, jacobi

__all__ = [
    "cg",
    "fletcher_reeves",
    "hestenes_stiefel",
    "incomplete_cholesky",
    "jacobi",
    "nonlinear_cg",
    "polak_ribiere",
    "polak_ribiere_plus",
    "steepest_descent",
]
