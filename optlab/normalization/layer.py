"""Normalization within a sample: over the layer, over each channel, over groups of channels."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation
from .._kernels import norms as kernels
from .._kernels.norms import Cache
from . import _arguments

Array = NDArray[Any]


def layer_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    normalized_shape: int | tuple[int, ...] | None = None,
    eps: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, Cache]:
    r"""Normalize each sample by the mean and deviation of its own numbers.

    .. math::

        \mu &= \frac{1}{n} \sum_i x_i, \qquad
        \sigma^2 = \frac{1}{n} \sum_i (x_i - \mu)^2, \\
        \hat x_i &= \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
        y_i = \gamma_i \hat x_i + \beta_i

    Parameters
    ----------
    x : array, shape (N, C), (N, C, L), (N, C, H, W) or more axes
        float32 or float64 in C order, not empty. A sample is all that has the same first index.
    gamma, beta : array, optional
        Scale and shift, of the dtype of `x`: of shape (C,), for each channel, or ``x.shape[1:]``, for each
        element; with `normalized_shape`, of that shape. Default: none.
    normalized_shape : int or tuple of ints, optional
        Normalize over the last axes, which have this shape, for each index of the axes before, as PyTorch
        does. Default: over all axes but the first.
    eps : float
        :math:`\epsilon > 0`. Default 1e-5.
    out : ndarray, optional
        Where to put y: of the shape and dtype of `x`, in C order, apart from the arguments.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of `x`.
    cache : Cache
        For `layer_norm_backward`. ``cache.mean``, ``cache.var`` and ``cache.std``, float64, have one number
        for each set that is normalized, ``cache.x_hat`` has the shape of `x`. It refers to `x` and `gamma`:
        leave them as they are until the backward pass.

    Raises
    ------
    ValueError, TypeError
        Integers, dtypes that differ, arrays that are not in C order, empty arrays; shapes of gamma, beta,
        `normalized_shape` or `out` that do not fit; eps that is not a finite number > 0. Nothing has been
        changed then.

    Notes
    -----
    Each number of y is good to a few units in the last place of a normalized one, whatever the mean: also
    where the deviation is a millionth of the mean, where squares leave the range of the dtype, and for sets
    of one number or of equal numbers, which become `beta`. NaN and infinite numbers make their set NaN.

    ``torch.nn.functional.layer_norm`` has no default for `normalized_shape`: for images (N, C, H, W),
    (C, H, W) gives this function's. Keras' layer normalizes the last axis only, with eps 1e-3.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450 (2016), eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 8.0]])
    >>> y, cache = layer_norm(x)
    >>> y.round(3)
    array([[-1.342, -0.447,  0.447,  1.342],
           [-0.577, -0.577, -0.577,  1.732]])
    >>> cache.mean, cache.var
    (array([2.5, 2. ]), array([ 1.25, 12.  ]))
    """
    if normalized_shape is None:
        result = kernels.rows("layer_norm", x, gamma, beta, 1, 1, _eps(eps), out)
        if result is None:
            x = _arguments.samples(x)
            return _again("layer_norm", x, gamma, beta, _arguments.channel_shapes(x), 1, 1, eps, out)
    else:
        array = _arguments.floats("x", x)
        shape = _shape(normalized_shape, array)
        lead = array.ndim - len(shape)
        result = kernels.rows("layer_norm", array, gamma, beta, lead, 1, _eps(eps), out)
        if result is None:
            return _again("layer_norm", array, gamma, beta, [shape], lead, 1, eps, out)
    return result


def instance_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, Cache]:
    r"""Normalize each channel of each sample by the mean and deviation over its positions.

    .. math::

        \mu_{nc} &= \frac{1}{L} \sum_l x_{ncl}, \\
        \sigma_{nc}^2 &= \frac{1}{L} \sum_l (x_{ncl} - \mu_{nc})^2, \\
        y_{ncl} &= \gamma_c \frac{x_{ncl} - \mu_{nc}}{\sqrt{\sigma_{nc}^2 + \epsilon}} + \beta_c

    Parameters
    ----------
    x, gamma, beta, eps, out
        As in `layer_norm`.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of `x`.
    cache : Cache
        For `instance_norm_backward`; its statistics have the shape (N, C).

    Raises
    ------
    ValueError, TypeError
        As in `layer_norm`.

    Notes
    -----
    A channel with a single position becomes `beta`: its mean is all it has. It is `group_norm` with as many
    groups as channels. ``torch.nn.functional.instance_norm`` refuses channels with one position.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky, "Instance normalization: the missing ingredient for fast stylization",
    arXiv:1607.08022 (2016), eq. 4.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0, 3.0], [10.0, 30.0]]])  # one sample, two channels, two positions
    >>> y, cache = instance_norm(x)
    >>> y.round(3)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    >>> cache.mean
    array([[ 2., 20.]])
    """
    return _grouped("instance_norm", x, gamma, beta, 0, eps, out)


def group_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    groups: int,
    eps: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, Cache]:
    r"""Normalize each sample in groups of neighboring channels.

    .. math::

        y_{ncl} = \gamma_c \frac{x_{ncl} - \mu_{ng}}{\sqrt{\sigma_{ng}^2 + \epsilon}} + \beta_c

    with mean and variance over the C/G channels of group :math:`g = \lfloor c G / C \rfloor` and all their
    positions.

    Parameters
    ----------
    x, gamma, beta, eps, out
        As in `layer_norm`.
    groups : int
        G, which divides the number of channels C.

    Returns
    -------
    y : ndarray
        Of the shape and dtype of `x`.
    cache : Cache
        For `group_norm_backward`; its statistics have the shape (N, G).

    Raises
    ------
    ValueError, TypeError
        As in `layer_norm`; groups that do not divide the channels.

    Notes
    -----
    One group is `layer_norm`, as many as channels `instance_norm`. ``torch.nn.functional.group_norm`` takes
    the groups as second argument; Keras' layer has 32 groups and eps 1e-3 by default.

    References
    ----------
    Wu and He, "Group normalization", ECCV (2018), eq. 1, 7.

    Examples
    --------
    >>> import numpy as np
    >>> y, _ = group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), groups=2)
    >>> y.round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    return _grouped("group_norm", x, gamma, beta, groups, eps, out)


def layer_norm_backward(
    dy: ArrayLike, cache: Cache, *, out: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    r"""The derivatives of a loss by the arguments of `layer_norm`, from its derivative by y.

    .. math::

        \hat v_i &= \gamma_i \frac{\partial \mathcal L}{\partial y_i}, \\
        \frac{\partial \mathcal L}{\partial x_i} &= \frac{1}{\sqrt{\sigma^2 + \epsilon}}
        \Bigl(\hat v_i - \overline{\hat v} - \hat x_i\, \overline{\hat v \hat x}\Bigr), \\
        \frac{\partial \mathcal L}{\partial \gamma_i}
        &= \sum \hat x_i \frac{\partial \mathcal L}{\partial y_i}, \qquad
        \frac{\partial \mathcal L}{\partial \beta_i} = \sum \frac{\partial \mathcal L}{\partial y_i}

    Bars are means over the set that is normalized, sums run over all numbers that share a :math:`\gamma`.

    Parameters
    ----------
    dy : array
        :math:`\partial \mathcal L / \partial y`, of the shape and dtype of x, in C order.
    cache : Cache
        From `layer_norm`. It may be used more than once.
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

    References
    ----------
    Ba, Kiros and Hinton (2016); Ioffe and Szegedy (2015), section 3, with the sums over the layer.

    Examples
    --------
    >>> import numpy as np
    >>> y, cache = layer_norm(np.array([[1.0, 2.0, 6.0]]), np.ones(3), np.zeros(3))
    >>> dx, dgamma, dbeta = layer_norm_backward(np.array([[1.0, 0.0, 0.0]]), cache)
    >>> dx.round(4), dgamma.round(4), dbeta
    (array([[ 0.1763, -0.2204,  0.0441]]), array([-0.9258,  0.    ,  0.    ]), array([1., 0., 0.]))
    """
    return _arguments.backward("layer_norm", dy, cache, out)


def instance_norm_backward(
    dy: ArrayLike, cache: Cache, *, out: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    r"""The derivatives of a loss by the arguments of `instance_norm`.

    Parameters
    ----------
    dy, cache, out
        As in `layer_norm_backward`, the cache from `instance_norm`.

    Returns
    -------
    dx, dgamma, dbeta
        As in `layer_norm_backward`; means are over the positions of a channel of a sample.

    Raises
    ------
    ValueError, TypeError
        As in `layer_norm_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> y, cache = instance_norm(np.array([[[1.0, 2.0, 6.0]]]), np.ones(1))
    >>> dx, dgamma, dbeta = instance_norm_backward(np.array([[[1.0, 0.0, 0.0]]]), cache)
    >>> dx.round(4), dgamma.round(4), dbeta
    (array([[[ 0.1763, -0.2204,  0.0441]]]), array([-0.9258]), None)
    """
    return _arguments.backward("instance_norm", dy, cache, out)


def group_norm_backward(
    dy: ArrayLike, cache: Cache, *, out: Array | None = None
) -> tuple[Array, Array | None, Array | None]:
    r"""The derivatives of a loss by the arguments of `group_norm`.

    Parameters
    ----------
    dy, cache, out
        As in `layer_norm_backward`, the cache from `group_norm`.

    Returns
    -------
    dx, dgamma, dbeta
        As in `layer_norm_backward`; means are over a group of channels of a sample.

    Raises
    ------
    ValueError, TypeError
        As in `layer_norm_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> y, cache = group_norm(np.array([[1.0, 2.0, 6.0]]), groups=1)
    >>> group_norm_backward(np.array([[1.0, 0.0, 0.0]]), cache)[0].round(4)
    array([[ 0.1763, -0.2204,  0.0441]])
    """
    return _arguments.backward("group_norm", dy, cache, out)


def _grouped(
    kind: str, x: Any, gamma: Any, beta: Any, groups: Any, eps: Any, out: Any
) -> tuple[Array, Cache]:
    if type(x) is not np.ndarray or x.ndim < 2:
        x = _arguments.samples(x)
    channels = x.shape[1]
    if kind == "instance_norm":
        groups = channels
    elif type(groups) is not int or groups < 1 or channels % groups:
        groups = _validation.count("groups", groups, minimum=1)
        if channels % groups:
            raise ValueError(f"groups: expected a divisor of the {channels} channels of x, got {groups}")
    result = kernels.rows(kind, x, gamma, beta, 1, groups, _eps(eps), out)
    if result is None:
        x = _arguments.samples(x)
        return _again(kind, x, gamma, beta, _arguments.channel_shapes(x), 1, groups, eps, out)
    return result


def _again(
    kind: str,
    x: Array,
    gamma: Any,
    beta: Any,
    shapes: list[tuple[int, ...]],
    lead: int,
    groups: int,
    eps: Any,
    out: Any,
) -> tuple[Array, Cache]:
    """An error for what the kernel has refused, or a result after all."""
    gamma, beta = _arguments.parameters(x, gamma, beta, shapes)
    eps = _arguments.positive_eps(eps)
    place = _arguments.place(out, x, gamma, beta)
    result = kernels.rows(kind, x, gamma, beta, lead, groups, eps, place)
    assert result is not None
    return result if out is None else (out, result[1])


def _eps(value: Any) -> float:
    return value if type(value) is float else _arguments.positive_eps(value)


def _shape(value: Any, x: Array) -> tuple[int, ...]:
    """The shape of the last axes of x."""
    several = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim > 0)
    try:
        shape = tuple(operator.index(n) for n in (value if several else (value,)))
    except TypeError as error:
        raise TypeError(
            f"normalized_shape: expected an integer or a tuple of integers, got {value!r}"
        ) from error
    if x.size == 0:
        raise ValueError(f"x: expected at least one number, got shape {x.shape}")
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"normalized_shape: expected the last axes of x, whose shape is {x.shape}, got {shape}"
        )
    return shape
