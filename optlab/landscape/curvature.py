"""The Hessian, and its products with vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validation

Array = NDArray[Any]


def hessian_vector_product(problem: Any, x: Any, v: Any) -> Array:
    """H(x) v, without the matrix H: exact for a Problem, by two gradients for a callable.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x, v : array, shape (n,)
        The point and the vector.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError, TypeError
        Points, vectors or gradients of the wrong shape or type.

    References
    ----------
    Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994): the differences
    are its eq. (1), in the central form.

    Examples
    --------
    >>> import numpy as np
    >>> hessian_vector_product(lambda x: x**3, [1.0, 2.0], [1.0, 1.0]).round(6)
    array([ 3., 12.])
    """
    x, v = point(x), _validation.real_array("v", v, 1)
    if v.shape != x.shape:
        raise ValueError(f"v: expected shape {x.shape} as x has, got {v.shape}")
    return product_at(problem, x)(v)


def hessian(problem: Any, x: Any) -> Array:
    """The Hessian H(x): a Problem's own, else n central differences of the gradient, 2n evaluations.

    Parameters
    ----------
    problem : Problem or callable
        The cost, or its gradient.
    x : array, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n, n)
        Symmetric: the mean of the matrix and its transpose, which differ by rounding.

    Raises
    ------
    ValueError, TypeError
        Points, gradients or Hessians of the wrong shape or type; a Hessian that is far from symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = lambda x: np.array([2 * x[0] - x[1], 4 * x[1] - x[0]])
    >>> hessian(gradient, [0.0, 0.0]).round(6)
    array([[ 2., -1.],
           [-1.,  4.]])
    """
    x = point(x)
    if hasattr(problem, "hess"):
        return symmetric("hess", problem.hess(x.copy()), len(x))
    return by_columns(product_at(problem, x), x)


def by_columns(product: Callable[[Array], Array], x: Array) -> Array:
    """The symmetric part of the matrix whose products with vectors are given."""
    H = np.array([product(column) for column in np.eye(len(x), dtype=x.dtype)], dtype=np.float64)
    return 0.5 * H + 0.5 * H.T


def symmetric(name: str, matrix: Any, n: int) -> Array:
    """The mean of a Hessian and its transpose; ValueError if these are not the same but for rounding."""
    H = _validation.numbers(name, matrix)
    if H.shape != (n, n) and not (H.size == n == 1):
        raise ValueError(f"{name}: expected shape {(n, n)}, got {H.shape}")
    H = H.reshape(n, n).astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinities
        apart = H - H.T
    np.abs(apart, out=apart)
    # Differences of a good gradient agree to six digits; half a matrix does not.
    if apart.max() > 1e-3 * np.abs(H).max():
        i, j = (int(k) for k in np.unravel_index(apart.argmax(), apart.shape))
        raise ValueError(
            f"{name}: expected a symmetric matrix, "
            f"got {H[i, j]:.6g} at {[i, j]} and {H[j, i]:.6g} at {[j, i]}"
        )
    return 0.5 * H + 0.5 * H.T


def point(x: Any) -> Array:
    """x as an array, not empty and finite."""
    array = _validation.real_array("x", x, 1)
    if len(array) == 0:
        raise ValueError("x: expected at least one number, got none")
    _validation.finite("x", array)
    return array


def is_exact(problem: Any) -> bool:
    """Whether second derivatives are given, rather than differences."""
    # A Problem of callables makes differences itself, if it was given no Hessian.
    inside = getattr(getattr(problem, "kernel", None), "hess", True) is not None
    return inside and (hasattr(problem, "hess") or hasattr(problem, "hessp"))


def gradient_at(problem: Any, x: Array) -> Array:
    """The gradient, of a Problem or by the callable itself, in the dtype of x."""
    grad = problem.grad if hasattr(problem, "grad") else _validation.function("problem", problem)
    g = _validation.numbers("gradient", grad(x.copy()))
    if g.shape != x.shape and not (g.ndim == 0 and x.shape == (1,)):
        raise ValueError(f"gradient: expected shape {x.shape} as x has, got {g.shape}")
    return np.array(g, dtype=x.dtype).reshape(x.shape)


def product_at(problem: Any, x: Array) -> Callable[[Array], Array]:
    """v -> H(x) v."""
    n = len(x)
    if hasattr(problem, "hessp"):

        def exact(v: Array) -> Array:
            Hv = _validation.numbers("hessp", problem.hessp(x.copy(), v.copy()))
            if Hv.shape != (n,):
                raise ValueError(f"hessp: expected shape {(n,)} as x has, got {Hv.shape}")
            return np.array(Hv, dtype=np.float64)

        return exact
    if hasattr(problem, "hess"):
        H = hessian(problem, x)
        return lambda v: H @ v

    return lambda v: difference_product(lambda at: gradient_at(problem, at), x, v)


def difference_product(
    gradient: Callable[[Array], Array], x: Array, v: Array, noise: float | None = None
) -> Array:
    """The central difference of gradients; `noise` is their relative error, rounding if not given."""
    moves = v != 0
    if not moves.any():
        return np.zeros_like(x)
    size = max(1.0, float(np.abs(x[moves]).max()))
    length = math.cbrt(noise or float(np.finfo(x.dtype).eps)) * size
    step = x.dtype.type(length / float(np.linalg.norm(v))) * v
    forth, back = x + step, x - step
    # What it moved by after rounding, measured where that is most.
    i = int(np.abs(v).argmax())
    moved = float(forth[i] - back[i]) / float(v[i])
    with np.errstate(over="ignore", invalid="ignore"):  # gradients may be infinite
        return (gradient(forth) - gradient(back)) / x.dtype.type(moved)  # type: ignore[no-any-return]


def finite(H: Array) -> Array:
    """The Hessian, or a product with it, if it is finite."""
    if not np.isfinite(H).all():
        raise ValueError("Hessian: expected finite numbers at x, got NaN or infinities")
    return H


def grad_norm_at(problem: Any, x: Array) -> float:
    """The 2-norm of the gradient, which has to be finite."""
    g = gradient_at(problem, x)
    if not np.isfinite(g).all():
        raise ValueError("gradient: expected finite numbers at x, got NaN or infinities")
    return float(np.linalg.norm(g))
