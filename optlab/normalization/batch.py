"""Batch normalization: each channel by its mean and deviation over the samples of the batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation
from .._kernels import norms as kernels
from .._kernels.norms import Cache
from . import _arguments

Array = NDArray[Any]


def batch_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    momentum: float = 0.1,
    unbiased: bool = True,
    out: Array | None = None,
) -> tuple[Array, Cache]:
    r"""Normalize each channel by its mean and deviation over the batch: the form for training.

    .. math::

        \mu &= \frac{1}{m} \sum_i x_i, \qquad
        \sigma^2 = \frac{1}{m} \sum_i (x_i - \mu)^2, \\
        \hat x_i &= \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
        y_i = \gamma \hat x_i + \beta

    for each channel; i runs over all samples and positions, m of them.

    Parameters
    ----------
    x : array, shape (N, C), (N, C, L), (N, C, H, W) or more axes
        float32 or float64 in C order. C are units or channels; each has more than one number.
    gamma, beta : array, optional
        Scale and shift, of the dtype of `x`: of shape (C,), for each channel, or ``x.shape[1:]``, for each
        element. Default: none.
    eps : float
        :math:`\epsilon > 0`. Default 1e-5.
    running_mean, running_var : ndarray, shape (C,), optional
        Statistics for inference, of the dtype of `x`, changed in place: each becomes (1 - momentum) times
        itself plus momentum times the batch's. Both or none.
    momentum : float
        In [0, 1]. Default 0.1.
    unbiased : bool
        Whether the running variance takes up :math:`\sigma^2 m / (m - 1)`, the default, or
        :math:`\sigma^2`.
    out : ndarray, optional
        Where to put y: of the shape and dtype of `x`, in C order, apart from the arguments.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of `x`.
    cache : Cache
        For `batch_norm_backward`. ``cache.mean``, ``cache.var`` (:math:`\sigma^2`) and ``cache.std``
        (:math:`\sqrt{\sigma^2 + \epsilon}`) are float64 of shape (C,), ``cache.x_hat`` has the shape of `x`.
        It refers to `x` and `gamma`: leave them as they are until the backward pass.

    Raises
    ------
    ValueError, TypeError
        One number in a channel; integers, dtypes that differ, arrays that are not in C order, empty arrays;
        shapes of gamma, beta, running statistics or `out` that do not fit; one running statistic without the
        other, or one that cannot be written; eps that is not a finite number > 0; momentum out of [0, 1].
        Nothing has been changed then.

    Notes
    -----
    Each number of y is good to a few units in the last place of a normalized one, whatever the mean, and
    where squares leave the range of the dtype. A constant channel becomes `beta`. NaN and infinite numbers
    make their channel NaN, and its running statistics.

    The names and defaults are PyTorch's. Keras' ``momentum`` is 1 minus this one (0.99), its eps 1e-3, and
    its running variance not corrected: ``unbiased=False``.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", ICML (2015), Algorithm 1; running averages: section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> mean, var = np.zeros(2), np.ones(2)
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = batch_norm(x, running_mean=mean, running_var=var)
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> mean, var  # a tenth of 2 and 20; nine tenths of 1 and a tenth of 2 and 200
    (array([0.2, 2. ]), array([ 1.1, 20.9]))
    """
    if type(eps) is float and type(momentum) is float:
        result = kernels.batch(x, gamma, beta, eps, running_mean, running_var, momentum, unbiased, out)
        if result is not None:
            return result
    x = _arguments.samples(x)
    _arguments.several(x)
    gamma, beta = _arguments.parameters(x, gamma, beta, _arguments.channel_shapes(x))
    eps, momentum = _arguments.positive_eps(eps), _validation.share("momentum", momentum)
    running: list[Array] = []
    if running_mean is not None or running_var is not None:
        names, given = ("running_mean", "running_var"), (running_mean, running_var)
        running = _arguments.statistics(x, names, given, change=True)
        for name, array in zip(names, running, strict=True):
            for other in (x, gamma, beta, *(a for a in running if a is not array)):
                if other is not None and np.may_share_memory(array, other):
                    raise ValueError(
                        f"{name}: expected memory apart from the arguments, got memory they share"
                    )
        if running[0] is running[1]:
            raise ValueError("running_var: expected memory apart from running_mean, got the same array")
    place = _arguments.place(out, x, gamma, beta, *running)
    mean, var = running or (None, None)
    result = kernels.batch(x, gamma, beta, eps, mean, var, momentum, bool(unbiased), place)
    assert result is not None
    return result if out is None else (out, result[1])


def batch_norm_backward(
    dy: ArrayLike, cache: Cache, *, out: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    r"""The derivatives of a loss by the arguments of `batch_norm`, from its derivative by y.

    .. math::

        \hat v_i &= \gamma \frac{\partial \mathcal L}{\partial y_i}, \\
        \frac{\partial \mathcal L}{\partial x_i} &= \frac{1}{\sqrt{\sigma^2 + \epsilon}}
        \Bigl(\hat v_i - \overline{\hat v} - \hat x_i\, \overline{\hat v \hat x}\Bigr), \\
        \frac{\partial \mathcal L}{\partial \gamma}
        &= \sum_i \hat x_i \frac{\partial \mathcal L}{\partial y_i},
        \qquad \frac{\partial \mathcal L}{\partial \beta} = \sum_i \frac{\partial \mathcal L}{\partial y_i}

    for each channel; bars are means over its m numbers.

    Parameters
    ----------
    dy : array
        :math:`\partial \mathcal L / \partial y`, of the shape and dtype of x, in C order.
    cache : Cache
        From `batch_norm`. It may be used more than once.
    out : ndarray, optional
        Where to put dx: of the shape and dtype of x, in C order, apart from x and `dy`.

    Returns
    -------
    dx : ndarray
        Of the shape and dtype of x.
    dgamma, dbeta : ndarray or None
        Of the shapes of gamma and beta; None for what was not given.

    Raises
    ------
    ValueError, TypeError
        A cache of another function; `dy` or `out` that do not fit the x of the cache. Nothing has been
        changed then.

    Notes
    -----
    The published form goes by way of the derivatives by :math:`\mu` and :math:`\sigma^2`; put together they
    give the second line.

    References
    ----------
    Ioffe and Szegedy (2015), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> y, cache = batch_norm(np.array([[1.0], [2.0], [6.0]]), np.ones(1))
    >>> dx, dgamma, dbeta = batch_norm_backward(np.array([[1.0], [0.0], [0.0]]), cache)
    >>> dx.ravel().round(4), dgamma.round(4), dbeta
    (array([ 0.1763, -0.2204,  0.0441]), array([-0.9258]), None)
    """
    return _arguments.backward("batch_norm", dy, cache, out)


def batch_norm_inference(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    r"""Normalize each channel by statistics that are known: the form for inference, affine in x.

    .. math::

        y_i = \gamma \frac{x_i - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta

    Parameters
    ----------
    x, gamma, beta, eps, out
        As in `batch_norm`; one sample is enough.
    mean, var : array, shape (C,)
        E[x] and Var[x] of each channel, of the dtype of `x`: running statistics, or `population_statistics`.

    Returns
    -------
    ndarray
        y, of the shape and dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        As in `batch_norm`; a variance below 0.

    References
    ----------
    Ioffe and Szegedy (2015), Algorithm 2, step 11.

    Examples
    --------
    >>> import numpy as np
    >>> batch_norm_inference(np.array([[5.0]]), None, None, np.array([1.0]), np.array([4.0])).round(4)
    array([[2.]])
    """
    if type(eps) is float:
        result = kernels.inference(x, gamma, beta, mean, var, eps, out)
        if result is not None:
            return result
    x = _arguments.samples(x)
    gamma, beta = _arguments.parameters(x, gamma, beta, _arguments.channel_shapes(x))
    eps = _arguments.positive_eps(eps)
    mean, var = _arguments.statistics(x, ("mean", "var"), (mean, var), change=False)
    place = _arguments.place(out, x, gamma, beta, mean, var)
    result = kernels.inference(x, gamma, beta, mean, var, eps, place)
    assert result is not None
    return result if out is None else out


def population_statistics(caches: Iterable[Cache]) -> tuple[Array, Array]:
    r"""Mean and variance of each channel over all data, from batches of it.

    .. math::

        \mathrm{E}[x] = \mathrm{E}_B[\mu_B], \qquad
        \mathrm{Var}[x] = \frac{m}{m - 1} \mathrm{E}_B[\sigma_B^2]

    Parameters
    ----------
    caches : iterable of Cache
        From `batch_norm`, one for each batch. Batches count by their m, so that a shorter one is no trouble.

    Returns
    -------
    mean, var : ndarray, shape (C,)
        Of the dtype of x, for `batch_norm_inference`.

    Raises
    ------
    ValueError, TypeError
        No cache, caches of other functions, of different numbers of channels or dtypes.

    Notes
    -----
    The variance of a batch is too small by (m - 1)/m in the mean, because it is taken around the batch's own
    mean; the factor mends that. Running averages estimate the same, weighted towards the last batches.

    References
    ----------
    Ioffe and Szegedy (2015), Algorithm 2, step 10.

    Examples
    --------
    >>> import numpy as np
    >>> batches = np.array([[[1.0], [3.0]], [[2.0], [6.0]]])
    >>> population_statistics(batch_norm(x)[1] for x in batches)
    (array([3.]), array([5.]))
    """
    mean: Any = 0.0
    var: Any = 0.0
    total = 0
    first: Cache | None = None
    if not isinstance(caches, Iterable):
        raise TypeError(f"caches: expected a list of caches, got {type(caches).__name__}")
    for cache in caches:
        if type(cache) is not Cache or cache.kind != "batch_norm":
            _arguments.cache_of("batch_norm", cache, "caches")
        first = first or cache
        if (cache.mean.shape, cache.x.dtype) != (first.mean.shape, first.x.dtype):
            raise ValueError(
                f"caches: expected the same channels and dtype, got {first.mean.size} of {first.x.dtype} "
                f"and {cache.mean.size} of {cache.x.dtype}"
            )
        count = cache.x.size // cache.mean.size
        with np.errstate(over="ignore"):
            mean = mean + count * cache.mean
            var = var + count * (count / (count - 1)) * cache.var
        total += count
    if first is None:
        raise ValueError("caches: expected at least one cache, got none")
    dtype = first.x.dtype
    with np.errstate(over="ignore"):  # a variance that the dtype cannot hold is infinite
        return (mean / total).astype(dtype), (var / total).astype(dtype)
