"""Steepest descent and conjugate gradients: of a linear system, and of any smooth function."""

from .linear import cg

__all__ = ["cg"]
