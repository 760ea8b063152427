"""Losses and their derivatives: on margins for two classes, on logits for many, squared for numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation
from ._kernels import losses as kernels

Array = NDArray[Any]

# Losses on margins ------------------------------------------------------------------------------------------


def zero_one(margin: ArrayLike) -> tuple[Array, Array]:
    r"""The error itself: 1 where the sign is wrong, and a slope that says nothing.

    .. math::

        \ell(u) = \begin{cases} 1 & u \le 0 \\ 0 & u > 0 \end{cases}

    Parameters
    ----------
    margin : array_like
        :math:`u = y z` with the label :math:`y = \pm 1` and the score z, of any shape, not empty. float32
        and float64 stay, float16 becomes float32, integers and the rest float64.

    Returns
    -------
    loss, slope : ndarray
        Of the shape of `margin`, numbers for a number; :math:`\ell` and 0. NaN stays NaN in both.

    Raises
    ------
    ValueError, TypeError
        An empty array, a masked one, or one that does not hold real numbers.

    Notes
    -----
    A margin of 0 counts as an error: the score has not decided. At 0 there is no slope; 0 is given there too.

    Examples
    --------
    >>> zero_one([-1.0, 0.0, 1.0])
    (array([1., 1., 0.]), array([0., 0., 0.]))
    """
    u = _array("margin", margin)
    loss = np.heaviside(-u, 1)
    return loss, loss * 0


def hinge(margin: ArrayLike) -> tuple[Array, Array]:
    r"""The loss of support vector machines: margins of 1 and more are good enough.

    .. math::

        \ell(u) = \max(0, 1 - u)

    Parameters
    ----------
    margin : array_like
        As in `zero_one`.

    Returns
    -------
    loss, slope : ndarray
        Of the shape of `margin`; the slope is -1 for u < 1, else 0, also at the corner u = 1. NaN stays NaN.

    Raises
    ------
    ValueError, TypeError
        As in `zero_one`.

    References
    ----------
    Cortes and Vapnik, "Support-vector networks", Machine Learning 20 (1995).

    Examples
    --------
    >>> hinge([-1.0, 0.0, 2.0])
    (array([2., 1., 0.]), array([-1., -1.,  0.]))
    """
    u = _array("margin", margin)
    loss = np.maximum(1 - u, 0)
    return loss, np.sign(-loss)


def logistic(margin: ArrayLike, base: float = math.e) -> tuple[Array, Array]:
    r"""The negative logarithm of the probability :math:`1 / (1 + e^{-u})` of the right class.

    .. math::

        \ell(u) &= \log_b\left(1 + e^{-u}\right), \\
        \ell'(u) &= \frac{-1}{(1 + e^u) \ln b}

    Parameters
    ----------
    margin : array_like
        As in `zero_one`.
    base : float
        b > 1. With the default e it is the negative log-likelihood, below the 0-1 loss on (-0.54, 0]; with
        2 it bounds the 0-1 loss from above.

    Returns
    -------
    loss, slope : ndarray
        Of the shape of `margin`. Nothing overflows: from u = -40 down the loss is -u / ln b; for large
        margins both keep their relative accuracy until they underflow. NaN stays NaN.

    Raises
    ------
    ValueError, TypeError
        As in `zero_one`; a base that is not a finite number > 1.

    Notes
    -----
    PyTorch's ``BCEWithLogitsLoss`` takes the score and a label 0 or 1 in place of the margin, uses base e,
    and averages.

    Examples
    --------
    >>> loss, slope = logistic([-1000.0, 0.0, 1000.0], base=2)
    >>> loss.round(3).tolist()
    [1442.695, 1.0, 0.0]
    >>> slope.round(3).tolist()
    [-1.443, -0.721, -0.0]
    """
    u = _array("margin", margin)
    b = _validation.number("base", base)
    if not 1.0 < b < math.inf:
        raise ValueError(f"base: expected a finite number > 1, got {base!r}")
    loss, slope = np.empty(u.shape, u.dtype), np.empty(u.shape, u.dtype)
    kernels.logistic(u, 1 / math.log(b), loss, slope)
    return (loss, slope) if u.ndim else (loss[()], slope[()])


def exponential(margin: ArrayLike) -> tuple[Array, Array]:
    r"""The loss that AdaBoost descends.

    .. math::

        \ell(u) = e^{-u}, \qquad \ell'(u) = -e^{-u}

    Parameters
    ----------
    margin : array_like
        As in `zero_one`.

    Returns
    -------
    loss, slope : ndarray
        Of the shape of `margin`. Below u = -709.7 (float32: -88.7) they overflow to infinity, as the loss
        does, without a warning. NaN stays NaN.

    Raises
    ------
    ValueError, TypeError
        As in `zero_one`.

    References
    ----------
    Friedman, Hastie and Tibshirani, "Additive logistic regression", Ann. Statist. 28 (2000).

    Examples
    --------
    >>> exponential([0.0, 1000.0])
    (array([1., 0.]), array([-1., -0.]))
    """
    u = _array("margin", margin)
    with np.errstate(over="ignore"):
        loss = np.exp(-u)
    return loss, -loss


def squared(margin: ArrayLike) -> tuple[Array, Array]:
    r"""Least squares on labels :math:`\pm 1`: also punishes margins beyond 1, which are right.

    .. math::

        \ell(u) &= (1 - u)^2, \\
        \ell'(u) &= -2 (1 - u)

    Parameters
    ----------
    margin : array_like
        As in `zero_one`.

    Returns
    -------
    loss, slope : ndarray
        Of the shape of `margin`; without a factor 1/2, so that :math:`\ell(0) = 1`. NaN stays NaN.

    Raises
    ------
    ValueError, TypeError
        As in `zero_one`.

    Examples
    --------
    >>> squared([-1.0, 0.0, 3.0])
    (array([4., 1., 4.]), array([-4., -2.,  4.]))
    """
    u = _array("margin", margin)
    with np.errstate(over="ignore"):
        return (1 - u) ** 2, 2 * (u - 1)


# Softmax ----------------------------------------------------------------------------------------------------


def softmax(logits: ArrayLike, *, out: Array | None = None) -> Array:
    r"""Probabilities from logits, over the last axis.

    .. math::

        p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}

    Parameters
    ----------
    logits : array_like
        z, of shape (K,), (N, K) or more axes, not empty. float32 and float64 stay, float16 becomes float32,
        integers and the rest float64.
    out : ndarray, optional
        Where to put the result: of its shape and dtype, in C order; may be `logits` itself.

    Returns
    -------
    ndarray
        Of the shape of `logits`, or `out`. Each row sums to 1 up to rounding.

    Raises
    ------
    ValueError, TypeError
        A number, an empty array, a masked one, or one that does not hold real numbers; an `out` that does
        not fit. Nothing has been changed then.

    Notes
    -----
    The largest logit is subtracted first, so that logits of any size are welcome; what underflows is 0. A
    logit of -inf has probability 0. Rows with NaN or +inf, or of nothing but -inf, become NaN, as in PyTorch
    and SciPy. ``torch.softmax`` and ``scipy.special.softmax`` want the axis; SciPy's default is all of them.

    References
    ----------
    Bridle, "Probabilistic interpretation of feedforward classification network outputs" (1990).

    Examples
    --------
    >>> softmax([3.0, 1.0, -3.0]).round(5)
    array([0.87888, 0.11894, 0.00218])
    >>> softmax([1e4, 0.0, -1e4])
    array([1., 0., 0.])
    """
    z = _logits(logits)
    p = _out("probabilities", out, z, in_place=True)
    kernels.softmax(z, p)
    return p


def log_softmax(logits: ArrayLike, *, out: Array | None = None) -> Array:
    r"""Logarithms of the probabilities, over the last axis; they do not underflow.

    .. math::

        \log p_k = z_k - \log \sum_j e^{z_j}

    Parameters
    ----------
    logits : array_like
        As in `softmax`.
    out : ndarray, optional
        As in `softmax`.

    Returns
    -------
    ndarray
        Of the shape of `logits`, or `out`. A logarithm near 0 keeps its relative accuracy.

    Raises
    ------
    ValueError, TypeError
        As in `softmax`.

    Examples
    --------
    >>> log_softmax([1e4, 0.0, -1e4])
    array([     0., -10000., -20000.])
    """
    z = _logits(logits)
    y = _out("logarithms", out, z, in_place=True)
    kernels.log_softmax(z, y)
    return y


def cross_entropy(logits: ArrayLike, targets: ArrayLike, *, out: Array | None = None) -> tuple[float, Array]:
    r"""The mean cross-entropy of targets and softmax of logits, and its gradient.

    .. math::

        J &= -\frac{1}{N} \sum_i \sum_k t_{ik} \log p_{ik}, \\
        \frac{\partial J}{\partial z_{ik}} &= \frac{1}{N} \left(p_{ik} - t_{ik}\right)

    Parameters
    ----------
    logits : array_like
        z, of shape (N, K) or, for one sample, (K,); the axes before the last may be several. Dtypes as in
        `softmax`.
    targets : array_like
        Labels or probabilities, told apart by their shape. Labels are integers 0, ..., K - 1 of the shape of
        `logits` without the last axis. Probabilities t have the shape of `logits`; they are >= 0 and sum to 1
        in each row, up to 1e-6 in float64, 1e-3 in shorter types. One-hot rows may be integers or booleans.
    out : ndarray, optional
        Where to put the gradient: of the shape and dtype of the result, in C order, apart from the others.

    Returns
    -------
    value : float
        J in float64, whatever the dtype of `logits`. A value near 0 keeps its relative accuracy.
    gradient : ndarray
        Of the shape and dtype of `logits`, or `out`.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, empty or masked arrays, arrays that do not hold real numbers; labels out of
        range or that are not integers; probabilities that are negative or do not sum to 1; an `out` that does
        not fit. Nothing has been changed then.

    Notes
    -----
    Logits of any size are welcome: nothing is divided by a probability. A target of 0 where the logit is -inf
    adds 0 (PyTorch: NaN), a label there makes the value infinite. A row with NaN or +inf makes the value NaN,
    and its row of the gradient.

    ``torch.nn.CrossEntropyLoss`` also averages over samples (``reduction="mean"``) and tells labels from
    probabilities by their dtype; it puts classes on axis 1, ignores the label -100, and accepts rows that do
    not sum to 1. ``torch.nn.KLDivLoss`` is this less the entropy of the targets, from log-probabilities;
    its "mean" divides by N K, only "batchmean" by N.

    Examples
    --------
    >>> value, gradient = cross_entropy([[2.0, 0.0], [0.0, 0.0]], [0, 1])
    >>> round(value, 6)
    0.410038
    >>> gradient.round(4)
    array([[-0.0596,  0.0596],
           [ 0.25  , -0.25  ]])
    """
    z = _logits(logits)
    t = _targets(z, targets)
    g = _out("gradient", out, z, t)
    return kernels.cross_entropy(z, t, g), g


def softmax_mse(logits: ArrayLike, targets: ArrayLike, *, out: Array | None = None) -> tuple[float, Array]:
    r"""The mean squared distance of softmax from the targets (the Brier score), and its gradient.

    .. math::

        d &= p - t, \\
        J &= \frac{1}{N} \sum_i \sum_k d_{ik}^2, \\
        \frac{\partial J}{\partial z_{ik}} &=
        \frac{2 p_{ik}}{N} \Bigl(d_{ik} - \sum_j p_{ij} d_{ij}\Bigr)

    Parameters
    ----------
    logits, targets : array_like
        As in `cross_entropy`.
    out : ndarray, optional
        As in `cross_entropy`.

    Returns
    -------
    value : float
        J in float64, whatever the dtype of `logits`; at most 2.
    gradient : ndarray
        Of the shape and dtype of `logits`, or `out`. It vanishes where softmax saturates, right or wrong.

    Raises
    ------
    ValueError, TypeError
        As in `cross_entropy`.

    Notes
    -----
    No factor 1/2 and no 1/K: ``torch.nn.MSELoss`` of the probabilities divides by N K.

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950).

    Examples
    --------
    >>> value, gradient = softmax_mse([-10.0, 10.0], 0)
    >>> round(value, 6), gradient[1]
    (2.0, np.float64(8.244614...e-09))
    """
    z = _logits(logits)
    t = _targets(z, targets)
    g = _out("gradient", out, z, t)
    return kernels.softmax_mse(z, t, g), g


def mse(outputs: ArrayLike, targets: ArrayLike, *, out: Array | None = None) -> tuple[float, Array]:
    r"""The mean over samples of half the squared error, and its gradient: regression.

    .. math::

        J &= \frac{1}{2 N} \sum_i \sum_k (y_{ik} - t_{ik})^2, \\
        \frac{\partial J}{\partial y_{ik}} &= \frac{1}{N} (y_{ik} - t_{ik})

    Parameters
    ----------
    outputs : array_like
        y, a sample a row: of shape (N,), (N, K) or more axes, not empty. Dtypes as in `softmax`.
    targets : array_like
        t, of the same shape: nothing is broadcast.
    out : ndarray, optional
        Where to put the gradient: of the shape and dtype of the result, in C order; may be `outputs` itself.

    Returns
    -------
    value : float
        J in float64, whatever the dtype of `outputs`.
    gradient : ndarray
        Of the shape and dtype of `outputs`, or `out`. NaN and infinities keep their meaning.

    Raises
    ------
    ValueError, TypeError
        Shapes that differ, numbers in place of arrays, empty or masked arrays, arrays that do not hold real
        numbers; an `out` that does not fit. Nothing has been changed then.

    Notes
    -----
    ``torch.nn.MSELoss`` has no 1/2 and divides by N K: it is 2 / K times this.

    Examples
    --------
    >>> mse([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [3.0, 3.0]])
    (1.25, array([[0. , 1. ],
           [0. , 0.5]]))
    """
    y = _array("outputs", outputs)
    if y.ndim == 0:
        raise ValueError("outputs: expected an array with a sample a row, got a number")
    t = _array("targets", targets)
    if t.shape != y.shape:
        raise ValueError(f"targets: expected shape {y.shape} as outputs has, got {t.shape}")
    if t.dtype != y.dtype:
        t = t.astype(y.dtype)
    g = _out("gradient", out, y, t, in_place=True)
    return kernels.mse(y, t, g), g


# Arguments --------------------------------------------------------------------------------------------------


def _array(name: str, value: ArrayLike) -> Array:
    """float32 or float64 in C order, of any shape but empty."""
    if kernels.ready(value):
        return value
    ndim = value.ndim if type(value) is np.ndarray else _validation.numbers(name, value).ndim
    array = _validation.real_array(name, value, ndim)
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one number, got shape {array.shape}")
    return array


def _logits(logits: ArrayLike) -> Array:
    z = _array("logits", logits)
    if z.ndim == 0:
        raise ValueError("logits: expected an array with the classes on its last axis, got a number")
    return z


def _targets(z: Array, targets: ArrayLike) -> Array:
    """Labels as intp or probabilities in the dtype of the logits, checked."""
    if kernels.labels_ready(targets, z) and kernels.first_bad_label(targets, z.shape[-1]) < 0:
        return targets
    given = targets if type(targets) is np.ndarray else _validation.numbers("targets", targets)
    if given.shape == z.shape[:-1]:
        if given.dtype.kind not in "iu":
            raise TypeError(
                f"targets: expected labels of integers for shape {given.shape}, got {given.dtype}"
            )
        labels = np.ascontiguousarray(given, dtype=np.intp).reshape(given.shape)
        wrong = kernels.first_bad_label(labels, z.shape[-1])
        if wrong >= 0:
            raise ValueError(
                f"targets: expected labels from 0 to {z.shape[-1] - 1}, got {given.flat[wrong]} at "
                f"{_place(wrong, given.shape)}"
            )
        return labels
    if given.shape != z.shape:
        raise ValueError(
            f"targets: expected labels of shape {z.shape[:-1]} or probabilities of shape {z.shape} for these "
            f"logits, got shape {given.shape}"
        )
    rows = _array("targets", given)
    wrong = kernels.first_bad_target(rows, 1e-6 if rows.dtype == np.float64 else 1e-3)
    if wrong >= 0:
        row = rows.reshape(-1, z.shape[-1])[wrong]
        what = f"a sum of {row.sum():.9g}" if not (row < 0).any() else f"{row.min():.9g}"
        raise ValueError(
            f"targets: expected rows of probabilities, >= 0 and with the sum 1, got {what} in row "
            f"{_place(wrong, z.shape[:-1])}"
        )
    return rows.astype(z.dtype, copy=False)


def _out(what: str, out: Array | None, z: Array, *others: Array, in_place: bool = False) -> Array:
    """A new array like z, or `out` if it can take the result; in place of z if that is allowed."""
    if out is None:
        return np.empty(z.shape, z.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected an array, got {type(out).__name__}")
    if out.shape != z.shape or out.dtype != z.dtype:
        raise ValueError(
            f"out: expected shape {z.shape} and {z.dtype} for the {what}, got {out.shape} and {out.dtype}"
        )
    if not out.flags.carray:
        raise ValueError("out: expected a writeable array in C order")
    for other in (z, *others):
        if kernels.overlap(out, other) and not (in_place and other is z and kernels.same(out, z)):
            raise ValueError(f"out: expected memory apart from the arguments for the {what}")
    return out


def _place(index: int, shape: tuple[int, ...]) -> list[int]:
    return [int(i) for i in np.unravel_index(index, shape)]
