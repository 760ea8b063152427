"""Batch renormalization: what training normalizes by differs little from what inference will normalize by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation
from .._kernels.norms import Cache
from . import _arguments
from .batch import batch_norm, batch_norm_backward

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class RenormCache:
    """What `batch_renorm_backward` needs."""

    gamma: Array | None
    beta: Array | None
    r: Array  # float64, of shape (C,)
    d: Array
    inner: Cache  # of batch norm with gamma r and beta + gamma d

    kind = "batch_renorm"

    @property
    def x(self) -> Array:
        """The input itself, not a copy."""
        return self.inner.x

    @property
    def mean(self) -> Array:
        """The mean of each channel in this batch, float64."""
        return self.inner.mean

    @property
    def var(self) -> Array:
        """The variance of each channel in this batch, biased, float64."""
        return self.inner.var

    @property
    def std(self) -> Array:
        """The square root of var + eps."""
        return self.inner.std

    @property
    def eps(self) -> float:
        """The constant beside the variance."""
        return self.inner.eps

    @property
    def x_hat(self) -> Array:
        """The renormalized input, before gamma and beta."""
        shape = (-1, *[1] * (self.x.ndim - 2))
        x_hat = self.r.reshape(shape) * self.inner.x_hat + self.d.reshape(shape)
        return x_hat.astype(self.x.dtype, copy=False)


def batch_renorm(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    running_mean: Array,
    running_var: Array,
    *,
    r_max: float = 3.0,
    d_max: float = 5.0,
    eps: float = 1e-5,
    momentum: float = 0.1,
    unbiased: bool = False,
    out: Array | None = None,
) -> tuple[Array, RenormCache]:
    r"""Batch norm whose result is, within bounds, that of the running statistics.

    .. math::

        \hat x &= \frac{x - \mu_B}{\sigma_B} r + d, \qquad y = \gamma \hat x + \beta, \\
        r &= \operatorname{clip}\left(\frac{\sigma_B}{\sigma}, \frac{1}{r_{\max}}, r_{\max}\right), \qquad
        d = \operatorname{clip}\left(\frac{\mu_B - \mu}{\sigma}, -d_{\max}, d_{\max}\right)

    with :math:`\mu_B`, :math:`\sigma_B^2 - \varepsilon` the mean and the variance of each channel in the
    batch, :math:`\mu`, :math:`\sigma^2 - \varepsilon` the running ones before this batch. Inside the bounds
    :math:`\hat x = (x - \mu) / \sigma`. r and d count as constants in the backward pass.

    Parameters
    ----------
    x : array of float32 or float64
        As in `batch_norm`: of shape (N, C), (N, C, L), (N, C, H, W) or more axes, in C order.
    gamma, beta : array or None
        One number per channel or one per element, as in `batch_norm`.
    running_mean, running_var : ndarray
        :math:`\mu` and :math:`\sigma^2 - \varepsilon`, of shape (C,) and the dtype of `x`; they are used, and
        then updated in place as in `batch_norm`. Start with 0 and 1, or with those of some batches.
    r_max : float
        >= 1; infinity is no bound.
    d_max : float
        >= 0; infinity is no bound. With ``r_max=1, d_max=0`` this is batch norm.
    eps : float
        :math:`\varepsilon > 0`, finite.
    momentum : float
        The weight of this batch in the running statistics, in [0, 1]; the paper's :math:`\alpha`.
    unbiased : bool
        Whether the running variance gets m / (m - 1) times that of the batch.
    out : ndarray, optional
        Where to put y.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of `x`, or `out`.
    cache : RenormCache
        For `batch_renorm_backward`; with `r` and `d`, and what that of `batch_norm` has.

    Raises
    ------
    ValueError, TypeError
        As in `batch_norm`; no running statistics, or a variance below 0; bounds out of range. Nothing has
        been changed then.

    Notes
    -----
    Computed as batch norm with :math:`\gamma r` and :math:`\beta + \gamma d` in place of :math:`\gamma` and
    :math:`\beta`.

    The paper averages :math:`\sigma` over the batches, with :math:`\varepsilon` inside; here it is the
    variance, as in batch norm, so that `batch_norm_inference` takes the results of both. Its :math:`\alpha`
    is 0.01. It starts with 5000 steps of batch norm, ``r_max=1, d_max=0``, and lets ``r_max`` grow to 3 until
    step 40 000 and ``d_max`` to 5 until step 25 000. A batch with a single value per channel is possible
    there, here it is an error. The Keras of TensorFlow 2 had ``BatchNormalization(renorm=True)``, with
    ``renorm_momentum`` :math:`= 1 - \alpha`; PyTorch has no such layer.

    References
    ----------
    Ioffe, "Batch renormalization: towards reducing minibatch dependence in batch-normalized models" (2017),
    Algorithm 1.

    Examples
    --------
    >>> x = np.array([[4.0], [6.0]])
    >>> mean, var = np.array([3.0]), np.array([4.0])
    >>> y, cache = batch_renorm(x, None, None, mean, var, eps=1e-30)
    >>> y  # (x - 3) / 2
    array([[0.5],
           [1.5]])
    >>> cache.r, cache.d
    (array([0.5]), array([1.]))
    >>> mean, var  # on their way to 5 and 1
    (array([3.2]), array([3.7]))
    """
    r_max = _validation.number("r_max", r_max, minimum=1.0)
    d_max = _validation.number("d_max", d_max, minimum=0.0)
    cache = batch_norm(x, gamma, beta, eps=eps)[1]
    x = cache.x
    gamma, beta = (None if a is None else np.asarray(a) for a in (gamma, beta))
    mean, var = _arguments.statistics(x, ("running_mean", "running_var"), (running_mean, running_var), True)
    if (var < 0).any():
        raise ValueError(f"running_var: expected numbers >= 0, got {var.min()}")
    sigma = np.sqrt(var.astype(float) + cache.eps)
    with np.errstate(invalid="ignore", over="ignore"):
        r = np.clip(cache.std / sigma, 1 / r_max, r_max)
        d = np.clip((cache.mean - mean) / sigma, -d_max, d_max)
        scale, shift = _affine(x, gamma, beta, r, d)
    y, inner = batch_norm(
        x,
        scale,
        shift,
        eps=eps,
        running_mean=mean,
        running_var=var,
        momentum=momentum,
        unbiased=unbiased,
        out=out,
    )
    return y, RenormCache(gamma, beta, r, d, inner)


def batch_renorm_backward(
    dy: Array, cache: RenormCache, *, out: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    r"""The gradients of `batch_renorm`, with r and d as constants.

    .. math::

        \nabla_{\hat x} L &= \gamma \nabla_y L, \\
        \nabla_{\sigma_B} L &= \sum_i \left(\nabla_{\hat x_i} L\right) (x_i - \mu_B) \frac{-r}{\sigma_B^2},
        \qquad \nabla_{\mu_B} L = \sum_i \left(\nabla_{\hat x_i} L\right) \frac{-r}{\sigma_B}, \\
        \nabla_{x_i} L &= \left(\nabla_{\hat x_i} L\right) \frac{r}{\sigma_B}
        + \left(\nabla_{\sigma_B} L\right) \frac{x_i - \mu_B}{m \sigma_B}
        + \left(\nabla_{\mu_B} L\right) \frac{1}{m}, \\
        \nabla_\gamma L &= \sum_i \left(\nabla_{y_i} L\right) \hat x_i, \qquad
        \nabla_\beta L = \sum_i \nabla_{y_i} L

    Parameters
    ----------
    dy : ndarray
        The gradient of y, of the shape and dtype of x.
    cache : RenormCache
        From `batch_renorm`.
    out : ndarray, optional
        Where to put `dx`.

    Returns
    -------
    dx : ndarray
        Of the shape and dtype of x, or `out`.
    dgamma, dbeta : ndarray or None
        Of the shapes of gamma and beta; None for what was not given.

    Raises
    ------
    ValueError, TypeError
        As in `batch_norm_backward`.

    References
    ----------
    Ioffe (2017), section 3.

    Examples
    --------
    >>> x, ones = np.array([[4.0], [6.0]]), np.ones(1)
    >>> y, cache = batch_renorm(x, ones, ones, np.array([3.0]), np.array([4.0]), eps=3.0)
    >>> dx, dgamma, dbeta = batch_renorm_backward(np.array([[1.0], [0.0]]), cache)
    >>> dx.round(4).ravel(), dgamma.round(4), dbeta
    (array([ 0.1417, -0.1417]), array([0.378]), array([1.]))
    """
    if not isinstance(cache, RenormCache):
        kind = getattr(cache, "kind", type(cache).__name__)
        raise TypeError(f"cache: expected that of batch_renorm, got {kind}")
    dx, dscale, dshift = batch_norm_backward(dy, cache.inner, out=out)
    assert dscale is not None
    assert dshift is not None  # both were given
    dgamma = dbeta = None
    if cache.gamma is not None:
        shape = (-1, *[1] * (dscale.ndim - 1))
        dgamma = (cache.r.reshape(shape) * dscale + cache.d.reshape(shape) * dshift).astype(dscale.dtype)
    if cache.beta is not None:
        dbeta = dshift
    return dx, dgamma, dbeta


def _affine(x: Array, gamma: Array | None, beta: Array | None, r: Array, d: Array) -> tuple[Array, Array]:
    """gamma r and beta + gamma d, in the shape of those that are given."""
    given = gamma if gamma is not None else beta
    if given is not None:
        shape = (-1, *[1] * (given.ndim - 1))
        r, d = r.reshape(shape), d.reshape(shape)
    scale, shift = (r, d) if gamma is None else (gamma * r, gamma * d)
    if beta is not None:
        shift = beta + shift
        scale = np.broadcast_to(scale, beta.shape)
    return np.ascontiguousarray(scale, x.dtype), np.ascontiguousarray(shift, x.dtype)
