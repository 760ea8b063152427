"""Steepest descent and conjugate gradients: of a linear system, and of any smooth function."""

from .linear import cg
from .preconditioners import incomplete_cholesky, jacobi

__all__ = ["cg", "incomplete_cholesky", "jacobi"]
