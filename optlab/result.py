"""What every method of the package returns: a :class:`Result` with a :class:`History`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult


class History:
    """The course of a run, a row an iteration; row 0 is the starting point. All arrays are the run's own
    copies.

    Attributes
    ----------
    fun : ndarray of float64, shape (rows,)
        The objective. Many paths (`trajectories`) make the shapes (rows, ...).
    grad_norm : ndarray of float64, shape (rows,)
        The norm of the gradient that the method tests for convergence: for `cg` the 2-norm of the recursive
        residual, for the minimizers the norm they were asked for (default: infinity), for trajectories the
        2-norm.
    step : ndarray of float64, shape (rows,)
        The step along the search direction that led to the row, for trajectories the length of the move; 0 in
        row 0.
    nfev : ndarray of int64, shape (rows,)
        Evaluations so far: of the objective with its gradient, or for `cg` products with the matrix.
    x : ndarray, shape (rows, n) or (rows, ..., n), or None
        The points, in the dtype of the run; None if they were not asked for.

    Examples
    --------
    >>> import optlab
    >>> run = optlab.cg([[2.0, 1.0], [1.0, 3.0]], [1.0, 2.0], history=True)
    >>> run.history
    History(2 iterations)
    >>> run.history.x.shape, run.history.grad_norm.shape
    ((3, 2), (3,))
    """

    __slots__ = ("_table", "x")

    def __init__(self, table: NDArray[np.float64], x: NDArray[Any] | None = None) -> None:
        self._table = table  # (rows, 4, ...): fun, grad_norm, step, nfev
        self.x = x

    @property
    def fun(self) -> NDArray[np.float64]:
        return self._table[:, 0]

    @property
    def grad_norm(self) -> NDArray[np.float64]:
        return self._table[:, 1]

    @property
    def step(self) -> NDArray[np.float64]:
        return self._table[:, 2]

    @property
    def nfev(self) -> NDArray[np.int64]:
        return self._table[:, 3].astype(np.int64)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"History({len(self) - 1} iterations)"


class Result(OptimizeResult):  # type: ignore[misc]
    """SciPy's result, plus the history: a dictionary whose keys are attributes too.

    Attributes
    ----------
    x : ndarray, shape (n,)
        The solution, or the best point found.
    success : bool
        Whether the method's own test for convergence holds at `x`.
    status : int
        0 if and only if `success`; each method lists its other codes.
    message : str
        The status in words.
    nit : int
        Iterations.
    fun : float
        The objective at `x`.
    history : History

    Examples
    --------
    >>> import optlab
    >>> run = optlab.cg([[2.0, 1.0], [1.0, 3.0]], [1.0, 2.0])
    >>> run.success, run.nit, run["x"] is run.x
    (True, 2, True)
    """
