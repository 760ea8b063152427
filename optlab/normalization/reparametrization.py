"""Weights in other coordinates: direction and length apart, or divided by the largest singular value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class WeightNormCache:
    """What `weight_norm_backward` needs. The arrays are those given, not copies."""

    v: Array
    g: Array
    norm: Array  # ||v|| of each unit, float64, of the shape of g
    axis: int | None

    @property
    def direction(self) -> Array:
        """v / ||v||, float64."""
        return self.v / _spread(self.norm, self.v, self.axis)


def weight_norm(v: Array, g: Array, *, axis: int | None = -1) -> tuple[Array, WeightNormCache]:
    r"""Weights from a direction and a length: each unit has a vector v and a number g.

    .. math::

        w = \frac{g}{\lVert v \rVert} v

    Parameters
    ----------
    v : ndarray of float32 or float64
        The vectors, none of them zero: for a dense layer of shape (n_in, n_out), for a convolution
        (out, in, height, width).
    g : ndarray
        One number for each unit, of shape (units,) and of the dtype of `v`.
    axis : int or None
        Where the units are: -1 for dense weights, 0 for those of a convolution. With None all of `v` is one
        vector, and `g` has the shape ().

    Returns
    -------
    w : ndarray
        Of the shape and dtype of `v`. The length of each unit is \|g\|.
    cache : WeightNormCache
        For `weight_norm_backward`; with the fields `v`, `g`, `norm` and `axis`, and `direction`.

    Raises
    ------
    ValueError, TypeError
        A unit of zeros: it has no direction; arrays that are empty or neither float32 nor float64; shapes or
        dtypes that do not fit; an `axis` that `v` does not have.

    Notes
    -----
    Lengths are summed in float64 and scaled first: from the smallest to the largest number nothing
    overflows. NaN and infinities make their unit NaN.

    ``torch.nn.utils.parametrizations.weight_norm`` has its units on axis 0 (``dim=0``), also for dense
    weights, which are transposed there; its g has the axes of v, with length 1.

    References
    ----------
    Salimans and Kingma, "Weight normalization: a simple reparameterization to accelerate training of deep
    neural networks" (2016), equation (2).

    Examples
    --------
    >>> v, g = np.array([[3.0, 0.0], [4.0, 2.0]]), np.array([10.0, 1.0])
    >>> w, cache = weight_norm(v, g)
    >>> w
    array([[6., 0.],
           [8., 1.]])
    >>> cache.norm
    array([5., 2.])
    """
    v = _weights("v", v)
    if axis is None:
        shape: tuple[int, ...] = ()
        others = tuple(range(v.ndim))
    else:
        axis = _axis(axis, v)
        shape = (v.shape[axis],)
        others = tuple(k for k in range(v.ndim) if k != axis)
    g = _like("g", g, v, shape, "one number per unit of v")
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        largest = np.abs(v).max(others, keepdims=True).astype(float)
        if (largest == 0).any():
            place = "" if axis is None else f" {int(np.flatnonzero(largest == 0)[0])}"
            raise ValueError(f"v: expected a direction, got zeros for unit{place}")
        scaled = v / largest
        norm = np.sqrt((scaled * scaled).sum(others, keepdims=True))
        w = (_spread(g.astype(float), v, axis) / norm * scaled).astype(v.dtype)
        return w, WeightNormCache(v, g, (largest * norm).reshape(shape), axis)


def weight_norm_backward(dw: Array, cache: WeightNormCache) -> tuple[Array, Array]:
    r"""The gradients of the vectors and lengths of `weight_norm`.

    .. math::

        \nabla_g L &= \frac{v \cdot \nabla_w L}{\lVert v \rVert}, \\
        \nabla_v L &= \frac{g}{\lVert v \rVert} \nabla_w L - \frac{g \nabla_g L}{\lVert v \rVert^2} v

    Parameters
    ----------
    dw : ndarray
        The gradient of w, of the shape and dtype of v.
    cache : WeightNormCache
        From `weight_norm`.

    Returns
    -------
    dv, dg : ndarray
        Of the shapes and the dtype of v and g. Each unit of `dv` is orthogonal to v: a step of gradient
        descent never makes a vector shorter.

    Raises
    ------
    ValueError, TypeError
        A `dw` that does not fit, a cache that is none of `weight_norm`.

    References
    ----------
    Salimans and Kingma (2016), equation (3).

    Examples
    --------
    >>> v, g = np.array([[3.0, 0.0], [4.0, 2.0]]), np.array([10.0, 1.0])
    >>> w, cache = weight_norm(v, g)
    >>> dv, dg = weight_norm_backward(np.ones((2, 2)), cache)
    >>> dg
    array([1.4, 1. ])
    >>> dv
    array([[ 0.32,  0.5 ],
           [-0.24,  0.  ]])
    """
    if not isinstance(cache, WeightNormCache):
        raise TypeError(f"cache: expected that of weight_norm, got {type(cache).__name__}")
    v, g, axis = cache.v, cache.g, cache.axis
    dw = _like("dw", dw, v, v.shape, "the gradient of w")
    others = tuple(k for k in range(v.ndim) if k != axis)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        direction = cache.direction
        dg = (dw * direction).sum(others)
        dv = _spread(g / cache.norm, v, axis) * (dw - _spread(dg, v, axis) * direction)
        return dv.astype(v.dtype), np.asarray(dg, v.dtype)


@dataclass(frozen=True, eq=False)
class SpectralNormCache:
    """What `spectral_norm_backward` needs, and the vector to go on with. `w` is the array given, no copy."""

    w: Array
    u: Array  # the left singular vector as far as it is known, float64
    v: Array  # the right one
    sigma: float


def spectral_norm(
    w: Array, u: ArrayLike | None = None, *, rounds: int = 1, rng: np.random.Generator | int = 0
) -> tuple[Array, SpectralNormCache]:
    r"""Weights over their largest singular value, which power iteration estimates.

    .. math::

        v \leftarrow \frac{W^T u}{\lVert W^T u \rVert}, \qquad u \leftarrow \frac{W v}{\lVert W v \rVert},
        \qquad \sigma = u^T W v, \qquad W_{SN} = \frac{W}{\sigma}

    Parameters
    ----------
    w : ndarray of float32 or float64
        The weights, with two axes or more: the matrix W has a row for each index on the first axis.
    u : array_like, optional
        Where the iteration starts, of shape (rows,), of any length but zero: `cache.u` of the last step of
        training, so that one round a step is enough. By default it is drawn at random.
    rounds : int
        Rounds of the iteration, at least one.
    rng : Generator or int
        For the start, if `u` is not given; a number is a seed.

    Returns
    -------
    w : ndarray
        Of the shape and dtype of `w`.
    cache : SpectralNormCache
        For `spectral_norm_backward`; with the fields `w`, `sigma` (a float) and `u`, `v` (float64, length 1).

    Raises
    ------
    ValueError, TypeError
        A matrix of zeros, a `u` that the matrix maps to zero; a `w` that is empty or neither float32 nor
        float64; a `u` of another shape or that is not finite; no rounds.

    Notes
    -----
    :math:`\sigma` is at most the largest singular value, and never falls from round to round. The error
    shrinks by :math:`(\sigma_2 / \sigma_1)^4` a round: with one round from a random start the result can have
    a norm well above 1. Sums are in float64, the matrix is scaled first: nothing overflows. NaN or
    infinities make all of the result NaN.

    The two vectors change places if the matrix is transposed; :math:`\sigma` is the same when converged.
    ``torch.nn.utils.parametrizations.spectral_norm`` keeps both, and does u before v; it also makes 15 rounds
    when it is set up. In evaluation mode PyTorch makes no further round.

    References
    ----------
    Miyato, Kataoka, Koyama and Yoshida, "Spectral normalization for generative adversarial networks" (2018),
    Algorithm 1.

    Examples
    --------
    >>> w = np.array([[3.0, 0.0], [0.0, 1.0]])
    >>> normalized, cache = spectral_norm(w, [1.0, 1.0], rounds=10)
    >>> round(cache.sigma, 6)
    3.0
    >>> normalized.round(6)
    array([[1.      , 0.      ],
           [0.      , 0.333333]])
    """
    w = _weights("w", w)
    if w.ndim < 2:
        raise ValueError(f"w: expected a matrix or more axes, got shape {w.shape}")
    rounds = _validation.count("rounds", rounds, minimum=1)
    if u is None:
        start = _validation.generator("rng", rng).standard_normal(len(w))
    else:
        start = _validation.real_array("u", u, 1).astype(float)
        if start.shape != w.shape[:1]:
            raise ValueError(f"u: expected shape {w.shape[:1]} for w of shape {w.shape}, got {start.shape}")
        _validation.finite("u", start)
        if not start.any():
            raise ValueError("u: expected a direction, got zeros")
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        largest = float(np.abs(w).max())
        if largest == 0:
            raise ValueError("w: expected a matrix with a singular value > 0, got zeros")
        W = (w.astype(np.float64) / largest).reshape(w.shape[0], -1)
        left = start / np.abs(start).max()
        for _ in range(rounds):
            right = _unit(W.T @ left)
            left = _unit(W @ right)
        sigma = left @ W @ right
        normalized = (W / sigma).reshape(w.shape).astype(w.dtype)
        return normalized, SpectralNormCache(w, left, right, float(largest * sigma))


def spectral_norm_backward(dy: Array, cache: SpectralNormCache) -> Array:
    r"""The gradient of the weights of `spectral_norm`.

    .. math::

        \nabla_W L = \frac{1}{\sigma} \left(\nabla_{W_{SN}} L - \lambda u v^T\right), \qquad
        \lambda = \sum_{ij} \left(\nabla_{W_{SN}} L\right)_{ij} \left(W_{SN}\right)_{ij}

    Parameters
    ----------
    dy : ndarray
        The gradient of the normalized weights, of the shape and dtype of w.
    cache : SpectralNormCache
        From `spectral_norm`.

    Returns
    -------
    dw : ndarray
        Of the shape and dtype of w. u and v are constants here, as in the paper and in PyTorch. At the
        singular vectors that is exact: there :math:`\partial \sigma / \partial W = u v^T`.

    Raises
    ------
    ValueError, TypeError
        A `dy` that does not fit, a cache that is none of `spectral_norm`.

    References
    ----------
    Miyato et al. (2018), equation (12).

    Examples
    --------
    >>> w = np.array([[3.0, 0.0], [0.0, 1.0]])
    >>> normalized, cache = spectral_norm(w, [1.0, 0.0])
    >>> spectral_norm_backward(np.ones((2, 2)), cache).round(4)
    array([[-0.1111,  0.3333],
           [ 0.3333,  0.3333]])
    """
    if not isinstance(cache, SpectralNormCache):
        raise TypeError(f"cache: expected that of spectral_norm, got {type(cache).__name__}")
    w = cache.w
    dy = _like("dy", dy, w, w.shape, "the gradient of the normalized weights")
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        share = float((dy * (w.astype(np.float64) / cache.sigma)).sum())
        dw = (dy - share * np.outer(cache.u, cache.v).reshape(w.shape)) / cache.sigma
        return dw.astype(w.dtype)


# Arguments --------------------------------------------------------------------------------------------------


def _weights(name: str, value: Array) -> Array:
    """An array of float32 or float64, not empty, with one axis or more."""
    array = _plain(name, value)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name}: expected numbers, got shape {array.shape}")
    return array


def _like(name: str, value: Array, weights: Array, shape: tuple[int, ...], what: str) -> Array:
    """An array of that shape with the dtype of the weights."""
    if isinstance(value, np.floating):  # what arithmetic makes of arrays without axes
        value = np.asarray(value)
    array = _plain(name, value)
    if array.dtype != weights.dtype:
        raise TypeError(f"{name}: expected {weights.dtype} as the weights have, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, {what}, got {array.shape}")
    return array


def _plain(name: str, value: Array) -> Array:
    """An array, without what its subclass may do differently."""
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}")
    return value if type(value) is np.ndarray else value.view(np.ndarray)


def _axis(axis: int, v: Array) -> int:
    k = _validation.count("axis", axis, minimum=-v.ndim)
    if k >= v.ndim:
        raise ValueError(f"axis: expected less than {v.ndim} for v of shape {v.shape}, got {axis}")
    if v.ndim == 1:
        raise ValueError(
            f"v: expected 2-D or more with units on axis {axis} (axis=None takes it as one unit), got shape "
            f"{v.shape}"
        )
    return k % v.ndim


def _spread(numbers: Array, v: Array, axis: int | None) -> Array:
    """Numbers of units in a shape that is multiplied with v."""
    if axis is None:
        return numbers
    shape = [1] * v.ndim
    shape[axis] = -1
    return numbers.reshape(shape)


def _unit(x: Array) -> Array:
    length = np.sqrt(x @ x)
    if length == 0:
        raise ValueError("u: expected a vector that w does not map to zero")
    result: Array = x / length
    return result
