"""What a problem is: value, gradient, Hessian, and what is known about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation
from .._kernels import surfaces as kernels

Array = NDArray[np.float64]


class Problem:
    r"""A cost :math:`f(\theta)` of n parameters, in float64, with its derivatives and what is known about it.

    The functions of `optlab.problems` make them; `Problem.from_callable` makes one of your own cost. The
    minimizers take a problem in place of `fun` and find its derivatives: ``optlab.lbfgs(p, p.x0)``.

    Attributes
    ----------
    name : str
    n : int
        The number of parameters.
    x0 : ndarray, shape (n,)
        The customary start.
    domain : ndarray, shape (n, 2), or None
        Lower and upper limit of each parameter in a picture.
    minimizers : ndarray, shape (k, n)
        The global minimizers that are known; k may be 0.
    minimum : ndarray, shape (n,), or None
        The first of them.
    fmin : float or None
        The lowest value, where known.

    Examples
    --------
    >>> import optlab
    >>> p = optlab.problems.rosenbrock()
    >>> p
    Problem(rosenbrock, n=2)
    >>> p([1.0, 2.0]), p.grad([1.0, 2.0])
    (100.0, array([-400., 200.]))
    >>> p.hess(p.minimum)
    array([[ 802., -400.],
           [-400., 200.]])
    """

    def __init__(
        self,
        name: str,
        kernel: kernels.Compiled | _Callables,
        *,
        x0: ArrayLike | None = None,
        domain: ArrayLike | None = None,
        minimizers: ArrayLike = (),
        fmin: float | None = None,
    ) -> None:
        self.name = name
        self.kernel = kernel
        self.n = n = kernel.n
        self.x0 = np.zeros(n) if x0 is None else np.array(x0, dtype=np.float64)
        self.domain = None if domain is None else np.array(np.broadcast_to(domain, (n, 2)), dtype=np.float64)
        self.minimizers = np.array(minimizers, dtype=np.float64).reshape(-1, n)
        self.fmin = fmin
        for array in (self.x0, self.minimizers, self.domain):
            if array is not None:
                array.flags.writeable = False

    @staticmethod
    def from_callable(
        fun: Callable[..., Any],
        jac: Callable[[Array], Any] | bool | None = None,
        hess: Callable[[Array], Any] | None = None,
        *,
        n: int,
        x0: ArrayLike | None = None,
        domain: ArrayLike | None = None,
        minimizers: ArrayLike = (),
        fmin: float | None = None,
        name: str = "",
    ) -> Problem:
        r"""A problem of your own functions; its paths run in Python.

        Parameters
        ----------
        fun : callable
            ``fun(x) -> float``, or ``-> (float, gradient)`` if `jac` is True. It gets a copy of x.
        jac : callable, True or None
            ``jac(x) -> array, shape (n,)``. None takes central differences of `fun`.
        hess : callable or None
            ``hess(x) -> array, shape (n, n)``. None takes central differences of the gradient.
        n : int
            The number of parameters.
        x0, domain, minimizers, fmin, name
            As the attributes of `Problem`; `x0` defaults to zeros, `name` to that of `fun`. A domain of
            shape (2,) holds for every parameter.

        Raises
        ------
        ValueError
            Shapes that do not fit n.
        TypeError
            Functions that cannot be called.

        Examples
        --------
        >>> p = Problem.from_callable(lambda x: (x @ x) ** 2, n=2)
        >>> p.grad([1.0, 2.0]).round(6)
        array([20., 40.])
        """
        n = _validation.count("n", n, minimum=1)
        _validation.function("fun", fun)
        if not (jac is None or jac is True or callable(jac)):
            raise TypeError(f"jac: expected a callable, True or None, got {jac!r}")
        if hess is not None:
            _validation.function("hess", hess)
        start = np.zeros(n) if x0 is None else _validation.real_array("x0", x0, 1)
        if start.shape != (n,):
            raise ValueError(f"x0: expected shape {(n,)}, got {start.shape}")
        known = _validation.numbers("minimizers", minimizers)
        if known.size % n or (known.ndim == 2 and known.shape[1] != n):
            raise ValueError(f"minimizers: expected rows of {n} numbers, got shape {known.shape}")
        if domain is not None:
            limits = _validation.numbers("domain", domain)
            if limits.shape not in ((2,), (n, 2)):
                raise ValueError(f"domain: expected shape (2,) or {(n, 2)}, got {limits.shape}")
        return Problem(
            name or getattr(fun, "__name__", type(fun).__name__),
            _Callables(n, fun, jac, hess),
            x0=start,
            domain=domain,
            minimizers=minimizers,
            fmin=fmin,
        )

    @property
    def minimum(self) -> Array | None:
        return self.minimizers[0] if len(self.minimizers) else None

    def __call__(self, x: ArrayLike) -> float:
        """The value at x, shape (n,)."""
        return self.kernel.evaluate(self._point("x", x), np.empty(self.n))

    def grad(self, x: ArrayLike) -> Array:
        """The gradient at x, shape (n,)."""
        return self.value_and_grad(x)[1]

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """Both at once, in the time of one."""
        g = np.empty(self.n)
        return self.kernel.evaluate(self._point("x", x), g), g

    def hessp(self, x: ArrayLike, v: ArrayLike) -> Array:
        r"""The Hessian at x times v, both of shape (n,), without the Hessian: exact for the built-in problems
        and where `from_callable` was given a Hessian, else the central difference of the gradient
        :math:`(g(x + h v) - g(x - h v)) / 2h`."""
        product = np.empty((1, self.n))
        self.kernel.product(self._point("x", x), self._point("v", v)[None], product)
        return product.reshape(self.n)

    def hess(self, x: ArrayLike) -> Array:
        """The Hessian at x, shape (n, n), symmetric: n products with it."""
        H = np.empty((self.n, self.n))
        self.kernel.product(self._point("x", x), np.eye(self.n), H)
        return 0.5 * (H + H.T)

    def values(self, points: ArrayLike) -> Array:
        """The value at each of many points, shape (..., n): an array of shape (...)."""
        array = _validation.numbers("points", points)
        if array.ndim == 0 or array.shape[-1] != self.n:
            raise ValueError(f"points: expected shape (..., {self.n}), got {array.shape}")
        rows = np.ascontiguousarray(array.reshape(-1, self.n), dtype=np.float64)
        f = np.empty(len(rows))
        self.kernel.values(rows, f)
        return f.reshape(array.shape[:-1])

    def __repr__(self) -> str:
        return f"Problem({self.name}, n={self.n})"

    def _point(self, name: str, x: ArrayLike) -> Array:
        if (
            type(x) is np.ndarray
            and x.dtype.char == "d"
            and x.flags.c_contiguous
            and x.dtype.isnative
            and x.shape == (self.n,)
        ):
            return x
        array = _validation.numbers(name, x)
        if array.shape != (self.n,):
            raise ValueError(f"{name}: expected shape {(self.n,)}, got {array.shape}")
        return np.ascontiguousarray(array, dtype=np.float64)


class _Callables:
    """The kernel of functions in Python: the same methods, checked results."""

    def __init__(self, n: int, fun: Callable[..., Any], jac: Any, hess: Any) -> None:
        self.n = n
        self.fun = fun
        self.jac = jac
        self.hess = hess

    def evaluate(self, x: Array, g: Array) -> float:
        if self.jac is True:
            pair = self.fun(x.copy())
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise TypeError(f"fun: expected (value, gradient) as jac is True, got {type(pair).__name__}")
            f, gradient = pair
        else:
            f = self.fun(x.copy())
            gradient = self._differences(x) if self.jac is None else self.jac(x.copy())
        array = _validation.numbers("jac", gradient)
        if array.shape != (self.n,) and not (self.n == 1 and array.ndim == 0):
            raise ValueError(f"jac: expected shape {(self.n,)}, got {array.shape}")
        g[:] = array
        return self._scalar(f)

    def values(self, points: Array, f: Array) -> None:
        for i, x in enumerate(points):
            value = self.fun(x.copy())
            f[i] = self._scalar(value[0] if self.jac is True else value)

    def product(self, x: Array, V: Array, HV: Array) -> None:
        if self.hess is not None:
            H = _validation.numbers("hess", self.hess(x.copy()))
            if H.shape != (self.n, self.n):
                raise ValueError(f"hess: expected shape {(self.n, self.n)}, got {H.shape}")
            HV[:] = V @ H.T.astype(np.float64)
            return
        forward, backward = np.empty(self.n), np.empty(self.n)
        for i, v in enumerate(V):
            length = float(np.linalg.norm(v))
            if length == 0.0:
                HV[i] = 0.0
                continue
            # The third root of eps balances truncation, h^2, and rounding, eps / h.
            h = _THIRD * max(1.0, float(np.linalg.norm(x))) / length
            self.evaluate(x + h * v, forward)
            self.evaluate(x - h * v, backward)
            HV[i] = (forward - backward) / (2.0 * h)

    def _differences(self, x: Array) -> Array:
        g = np.empty(self.n)
        for i in range(self.n):
            h = _THIRD * max(1.0, abs(float(x[i])))
            ahead, behind = x.copy(), x.copy()
            ahead[i] += h
            behind[i] -= h
            rise = self._scalar(self.fun(ahead)) - self._scalar(self.fun(behind))
            g[i] = rise / (x[i] + h - (x[i] - h))
        return g

    @staticmethod
    def _scalar(value: Any) -> float:
        array = _validation.numbers("fun", value)
        if array.size != 1:
            raise ValueError(f"fun: expected a single number, got shape {array.shape}")
        return float(array.item())


_THIRD = math.cbrt(np.finfo(np.float64).eps)
