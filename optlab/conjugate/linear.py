"""Conjugate gradients for a symmetric positive definite linear system."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _operators, _validation
from .._kernels import cg as kernels
from ..result import History, Result

Array = NDArray[Any]

_CHUNK = 2**27  # numbers read between two looks at the keyboard: some tenths of a second

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

_STATUS = {
    kernels.CONVERGED: 0,
    kernels.EXHAUSTED: 1,
    kernels.NOT_POSITIVE: 2,
    kernels.M_NOT_POSITIVE: 2,
    kernels.STAGNATED: 3,
    kernels.NOT_FINITE: 4,
}

_MESSAGES = {
    0: "Converged: the true residual is within the tolerance.",
    1: "Not converged: maxiter was reached.",
    2: "Not converged: A or M is not positive definite.",
    3: "Not converged: rounding keeps the true residual above the tolerance.",
    4: "Not converged: a product or a step is not finite.",
    99: "Stopped by the callback.",
}


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[Array], object] | None = None,
    history: bool = False,
) -> Result:
    r"""Solve A x = b for symmetric positive definite A by the method of conjugate gradients.

    The iteration minimizes :math:`f(x) = \tfrac12 x^T A x - b^T x` along directions that are conjugate,
    :math:`d_i^T A d_j = 0`:

    .. math::

        \epsilon_k &= \frac{r_k^T z_k}{d_k^T A d_k}, \\
        x_{k+1} &= x_k + \epsilon_k d_k, \\
        r_{k+1} &= r_k - \epsilon_k A d_k, \\
        z_{k+1} &= M r_{k+1}, \\
        \beta_k &= \frac{r_{k+1}^T z_{k+1}}{r_k^T z_k}, \\
        d_{k+1} &= z_{k+1} + \beta_k d_k.

    When the recursive residual :math:`r_k` passes the test, the true one, b - A x, is computed. If it does
    not pass, the method starts anew from it, as long as each such start halves it.

    Parameters
    ----------
    A : array, sparse matrix, LinearOperator or callable, shape (n, n)
        Symmetric and positive definite. Dense arrays are read in their upper half only, DIA matrices from the
        main diagonal up; CSR is read whole; other formats are converted. An operator has ``matvec(x)``, a
        callable is one; it gets a copy and may return its own buffer.
    b : array, shape (n,)
        The right-hand side.
    x0 : array, shape (n,), optional
        The starting point; default zero. Never changed.
    rtol, atol : float
        Converged when :math:`\|b - A x\|_2 \le \max(\text{rtol}\,\|b\|_2, \text{atol})`. Default 1e-5 and 0.
    maxiter : int, optional
        The most iterations; default 10 n.
    M : array, sparse matrix, LinearOperator or callable, shape (n, n), optional
        An approximation of the inverse of A, symmetric and positive definite, as in SciPy; see `jacobi` and
        `incomplete_cholesky`.
    callback : callable, optional
        Called as ``callback(xk)`` after each iteration, with a copy. StopIteration ends the run.
    history : bool
        Whether `history.x` keeps the points; its scalars are always kept. Default False.

    Returns
    -------
    Result
        With `x`, `success`, `status`, `message`, `nit`, `fun` (f at x), `residual_norm` (of the true
        residual), `nmatvec` (products with A), `x_last` (where the iteration stopped) and `history`.
        If the run did not converge, `x` is the point of the smallest residual seen. On the way the residual
        may rise while f falls, so that of a run that was cut short `x_last` may be the better one: if A is
        positive definite, f is lowest there. `status` is

        - 0: converged;
        - 1: `maxiter` was reached;
        - 2: a direction with :math:`d^T A d \le 0` (or :math:`r^T M r \le 0`) was met: not positive definite;
        - 3: A is not symmetric, or rounding errors keep the true residual above the tolerance;
        - 4: a product is not finite;
        - 99: stopped by the callback; `x` is the point it saw last.

    Raises
    ------
    ValueError
        Shapes that do not fit, entries that are not finite, sparse indices outside the matrix, tolerances
        that are negative or NaN, a negative `maxiter`, a product of the wrong shape.
    TypeError
        Complex or non-numeric input.

    Notes
    -----
    float32 if A, b, x0 (and M, where it is an array) all are; else float64. All inner products are
    accumulated in float64.

    Deviations from the source: the true residual decides (the paper's recursive one drifts away from it by
    rounding), and on failure `x` is not the last point, which is `x_last`, but that of the smallest residual.

    References
    ----------
    Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", J. Res. NBS 49 (1952),
    eq. (3:1a-f); preconditioned as in Saad, "Iterative methods for sparse linear systems" (2003), algorithm
    9.1.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> A = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> run = optlab.cg(A, [1.0, 2.0], rtol=1e-12)
    >>> run.x.round(4), run.nit, run.message
    (array([0.0909, 0.6364]), 2, 'Converged: the true residual is within the tolerance.')

    A matrix that is not positive definite is reported:

    >>> optlab.cg([[1.0, 2.0], [2.0, 1.0]], [1.0, -1.0]).message
    'Not converged: A or M is not positive definite.'
    """
    # 1. Check everything.
    A = _operators.as_square("A", A)
    b = _validation.real_array("b", b, 1)
    n = len(b)
    if n == 0:
        raise ValueError("b: expected at least one number, got none")
    _require_size("A", A, n)
    single = b.dtype.char == "f" and _operators.is_single(A)
    if x0 is not None:
        x0 = _validation.real_array("x0", x0, 1)
        _validation.finite("x0", x0)
        if len(x0) != n:
            raise ValueError(f"x0: expected shape ({n},) as b has, got {x0.shape}")
        single = single and x0.dtype.char == "f"
    if M is not None:
        M = _operators.as_square("M", M)
        _require_size("M", M, n)
        single = single and (not isinstance(M, np.ndarray) or M.dtype.char == "f")
    dtype = _FLOAT32 if single else _FLOAT64
    if b.dtype != dtype:
        b = b.astype(dtype)
    rtol = _validation.number("rtol", rtol, minimum=0.0)
    atol = _validation.number("atol", atol, minimum=0.0)
    maxiter = 10 * n if maxiter is None else _validation.count("maxiter", maxiter)
    if callback is not None:
        _validation.function("callback", callback)

    # 2. Bring b near 1, which leaves the range of numbers to A: d.Ad must neither overflow nor vanish.
    square = kernels.squared_norm(b)
    scale = 1.0 if 1e-20 < square < 1e20 else _scale(b)
    if scale != 1.0:
        b, atol = b / dtype.type(scale), atol / scale
        square = kernels.squared_norm(b)
    if square == 0.0:  # the solution is zero, wherever the start
        _operators.require_finite("A", A)
        x0 = None
    x = _start(x0, n, dtype, scale)

    # 3. Iterate.
    A_kernel = _operators.bind("A", A, n, dtype)
    M_kernel = None if M is None else _operators.bind("M", M, n, dtype)
    tolerance = max(atol, rtol * math.sqrt(square))  # in this order: rtol=inf and b=0 make NaN
    solve = _Solve(
        kernels.Iteration(A_kernel, M_kernel, M is None, b, x, x0 is None, tolerance, maxiter),
        None if A_kernel is not None else _operators.product("A", A, n),
        None if M is None or M_kernel is not None else _operators.product("M", M, n),
        x,
        scale,
    )
    chunk = 1 if callback or history else _CHUNK // (n if A_kernel is None else A_kernel.work) + 1
    status = solve.run(chunk, callback, history)

    # 4. Find out what went wrong, and return the best point.
    iteration = solve.iteration
    if status == 4:
        for name, value in (("A", A), ("M", M)):
            _operators.require_finite(name, value)
    message = ""
    last = None
    if status not in (0, 99):
        last = solve.point()
        solve.keep_best(_start(x0, n, dtype, scale))
        skew = _operators.asymmetry(A_kernel or solve.A, x, b - iteration.r)  # type: ignore[arg-type]
        if skew > (1e-4 if single else 1e-10):
            status = 3
            message = f"Not converged: A is not symmetric (relative difference to its transpose: {skew:.1e})."

    # 5. Go back to the scale of b. There x may overflow or vanish: what is returned has to pass the test.
    solution = x
    if scale != 1.0:
        solution = solve.point()
        back = solution / dtype.type(scale)
        if not np.array_equal(back, x):
            in_range = bool(np.isfinite(back).all())
            x[:] = back if in_range else _start(x0, n, dtype, scale)
            solve.residual()
            solution = solve.point()
            if status == 0 and not iteration.norm <= tolerance:
                status = 3 if in_range else 4
    return Result(
        x=solution,
        success=status == 0,
        status=status,
        message=message or _MESSAGES[status],
        nit=iteration.rows - 1,
        fun=iteration.f * scale * scale,
        residual_norm=iteration.norm * scale,
        nmatvec=iteration.products,
        x_last=solution if last is None else last,
        history=solve.history(),
    )


class _Solve:
    """One run: the kernel's iteration, the products that are the user's, and the record."""

    __slots__ = ("A", "M", "iteration", "points", "scale", "x")

    def __init__(
        self,
        iteration: kernels.Iteration,
        A: Callable[[Array], Array] | None,
        M: Callable[[Array], Array] | None,
        x: Array,
        scale: float,
    ) -> None:
        self.iteration = iteration
        self.A = A
        self.M = M
        self.x = x
        self.scale = scale
        self.points: list[Array] = []

    def run(self, chunk: int, callback: Callable[[Array], object] | None, keep_points: bool) -> int:
        """Iterate, `chunk` iterations at a time; return the status."""
        iteration = self.iteration
        while True:
            before = iteration.rows
            why = iteration.advance(chunk)
            while why <= kernels.NEED_M:
                self.multiply(why)
                why = iteration.advance(chunk + before - iteration.rows)
            if keep_points and (iteration.rows > before or not before):
                self.points.append(self.point())
            if callback is not None and iteration.rows > max(before, 1):
                try:
                    callback(self.point())
                except StopIteration:
                    self.residual()
                    return 99
            if why != kernels.PAUSED:
                return _STATUS[why]

    def multiply(self, wanted: int) -> None:
        """Do the product that is the user's."""
        iteration = self.iteration
        if wanted == kernels.NEED_M:
            target, product = iteration.z, self.M(iteration.r)  # type: ignore[misc]
        else:
            target = iteration.q
            product = self.A(iteration.d if wanted == kernels.NEED_AD else self.x)  # type: ignore[misc]
        with np.errstate(over="ignore"):  # in float32; the iteration sees infinities
            target[:] = product

    def residual(self) -> None:
        """Compute b - A x with every entry of A."""
        if self.A is not None:
            self.iteration.q[:] = self.A(self.x)
        self.iteration.residual()

    def keep_best(self, start: Array) -> None:
        """Go back to the smallest residual seen, or to the start, if the true residual is smaller there.

        The recursion may be wrong about its points: if A is not symmetric it is about another matrix.
        """
        for point, promised in (
            (self.iteration.best, self.iteration.best_norm),
            (start, self.iteration.record[0, 1]),
        ):
            norm = self.iteration.norm
            if math.isfinite(promised) and not norm <= promised:
                last = self.x.copy()
                self.x[:] = point
                self.residual()
                if norm < self.iteration.norm:
                    self.x[:] = last
                    self.residual()

    def point(self) -> Array:
        """A copy of x in the scale of the user."""
        with np.errstate(over="ignore", under="ignore"):
            return self.x * self.x.dtype.type(self.scale)  # type: ignore[no-any-return]

    def history(self) -> History:
        table = self.iteration.record
        if self.scale != 1.0:
            with np.errstate(over="ignore", under="ignore"):
                table = table * [self.scale, self.scale, 1.0, 1.0] * [self.scale, 1.0, 1.0, 1.0]
        return History(table, np.array(self.points) if self.points else None)


def _require_size(name: str, A: Any, n: int) -> None:
    shape = getattr(A, "shape", None)
    if shape is not None and shape[0] != n:
        raise ValueError(f"{name}: expected shape ({n}, {n}) to fit b of shape ({n},), got {tuple(shape)}")


def _scale(b: Array) -> float:
    """The power of two that brings the largest entry of b to [1, 2); 1 for zero. b has to be finite."""
    _validation.finite("b", b)
    return math.ldexp(1.0, math.frexp(float(np.abs(b).max()) or 1.0)[1] - 1)


def _start(x0: Array | None, n: int, dtype: np.dtype[Any], scale: float) -> Array:
    """A copy of the starting point in the scale of the run."""
    if x0 is None:
        return np.zeros(n, dtype)
    with np.errstate(over="ignore", under="ignore"):
        x = x0.astype(dtype) / dtype.type(scale)
    if not np.isfinite(x).all():
        raise ValueError(f"x0: expected numbers that divided by {scale:g}, the size of b, are finite")
    return x  # type: ignore[no-any-return]
