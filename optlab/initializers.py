r"""Where training starts: random weights of the right scale, and biases.

Weights of a dense layer have the shape (n_in, n_out), as in x @ W; those of a convolution (out, in, kh, kw),
or with another number of axes behind the first two. Each function gives a new array in C order. Numbers are
drawn in float64 and then rounded: a seed gives the same weights in float32 and float64. It gives the same to
every layer that is made from it, too, so pass one Generator to all layers of a network.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _validation

Array = NDArray[Any]
Shape = int | Sequence[int]
Rng = np.random.Generator | int


def fans(shape: Shape) -> tuple[int, int]:
    r"""How many numbers go into a unit of a layer, and how many units one number reaches.

    .. math::

        n_\text{in} &= c_\text{in} k_h k_w, \\
        n_\text{out} &= c_\text{out} k_h k_w

    for a convolution with a window of :math:`k_h` by :math:`k_w`; for a dense layer they are its shape.

    Parameters
    ----------
    shape : sequence of int
        (n_in, n_out) of a dense layer, or (out, in, ...) of a convolution, the sizes of its window behind.

    Returns
    -------
    fan_in, fan_out : int

    Raises
    ------
    ValueError, TypeError
        Fewer than two axes, an axis below 1, or one that is no integer.

    Notes
    -----
    PyTorch's weights of a dense layer are (out, in), the transposed; its convolutions are as here. Keras'
    dense weights are as here, its convolutions (kh, kw, in, out). With a stride a number reaches fewer units
    than `fan_out` says; both libraries leave that out, too.

    References
    ----------
    He et al., "Delving deep into rectifiers", ICCV (2015), section 2.2: :math:`k^2 c` and :math:`k^2 d`.

    Examples
    --------
    >>> fans((784, 100))
    (784, 100)
    >>> fans((16, 3, 5, 5))
    (75, 400)
    """
    axes = _weights(shape)
    if len(axes) == 2:
        return axes
    window = math.prod(axes[2:])
    return axes[1] * window, axes[0] * window


# Scaled by the fans -----------------------------------------------------------------------------------------


def uniform(shape: Shape, *, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""The old rule: sums stay bounded, but their variance falls to a third with each layer.

    .. math::

        w &\sim U(-r, r), \qquad r = \sqrt{\frac{1}{n_\text{in}}}, \\
        \operatorname{Var} w &= \frac{1}{3 n_\text{in}}

    Parameters
    ----------
    shape : sequence of int
        As in `fans`.
    rng : Generator or int
        Where the numbers come from: a NumPy Generator, which moves on, or a seed.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype. In float32 the bounds are rounded as the numbers are.

    Raises
    ------
    ValueError, TypeError
        A shape as in `fans`, no `rng` or one that is neither Generator nor seed, another dtype. Nothing has
        been drawn then.

    Notes
    -----
    It is PyTorch's default: ``nn.Linear`` and ``nn.Conv2d`` call ``kaiming_uniform_`` with ``a=sqrt(5)``,
    whose bound :math:`\sqrt{6 / ((1 + a^2) n_\text{in})}` is this one. They draw their biases from it too;
    here and in Keras biases start at 0. Keras' default for weights is `glorot_uniform`.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    (2010), eq. 1 and 15.

    Examples
    --------
    >>> uniform((4, 3), rng=0).round(3)
    array([[ 0.137, -0.23 , -0.459],
           [-0.483,  0.313,  0.413],
           [ 0.107,  0.229,  0.044],
           [ 0.435,  0.316, -0.497]])
    """
    fan_in, _ = fans(shape)
    return _uniform(shape, math.sqrt(1 / fan_in), rng, dtype)


def glorot_uniform(shape: Shape, *, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""Glorot's (Xavier's) compromise between the variance of activations and that of gradients.

    .. math::

        w &\sim U(-r, r), \qquad r = \sqrt{\frac{6}{n_\text{in} + n_\text{out}}}, \\
        \operatorname{Var} w &= \frac{2}{n_\text{in} + n_\text{out}}

    Parameters
    ----------
    shape : sequence of int
        As in `fans`.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype. In float32 the bounds are rounded as the numbers are.

    Raises
    ------
    ValueError, TypeError
        As in `uniform`.

    Notes
    -----
    Activations keep their variance if :math:`n_\text{in} \operatorname{Var} w = 1`, gradients if
    :math:`n_\text{out} \operatorname{Var} w = 1`; both at once only where the fans are equal. The derivation
    takes the slope of the activation to be 1, as that of tanh at 0. It is Keras' default for dense layers and
    convolutions, and PyTorch's ``xavier_uniform_`` with the gain 1; PyTorch's default is `uniform`.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    (2010), eq. 12 and 16.

    Examples
    --------
    >>> w = glorot_uniform((300, 200), rng=0)
    >>> bool(abs(w).max() <= (6 / 500) ** 0.5), round(float(w.var() * 500), 2)
    (True, 2.0)
    """
    fan_in, fan_out = fans(shape)
    return _uniform(shape, math.sqrt(6 / (fan_in + fan_out)), rng, dtype)


def glorot_normal(shape: Shape, *, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""The variance of `glorot_uniform`, from a normal distribution.

    .. math::

        w \sim N\left(0, \frac{2}{n_\text{in} + n_\text{out}}\right)

    Parameters
    ----------
    shape : sequence of int
        As in `fans`.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype.

    Raises
    ------
    ValueError, TypeError
        As in `uniform`.

    Notes
    -----
    PyTorch's ``xavier_normal_`` is the same. Keras' ``GlorotNormal`` cuts the distribution off at two
    standard deviations and widens it to have the same variance again.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    (2010), eq. 12, which leaves the distribution open.

    Examples
    --------
    >>> w = glorot_normal((300, 200), rng=0)
    >>> round(float(w.var() * 500), 2)
    2.0
    """
    fan_in, fan_out = fans(shape)
    return _normal(shape, math.sqrt(2 / (fan_in + fan_out)), rng, dtype)


def he_uniform(shape: Shape, *, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""The variance of `he_normal`, from a uniform distribution.

    .. math::

        w &\sim U(-r, r), \qquad r = \sqrt{\frac{6}{n_\text{in}}}, \\
        \operatorname{Var} w &= \frac{2}{n_\text{in}}

    Parameters
    ----------
    shape : sequence of int
        As in `fans`.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype. In float32 the bounds are rounded as the numbers are.

    Raises
    ------
    ValueError, TypeError
        As in `uniform`.

    Notes
    -----
    PyTorch's ``kaiming_uniform_`` and Keras' ``HeUniform`` are the same. PyTorch's layers call it with
    ``a=sqrt(5)``, which makes it `uniform`: a sixth of this variance.

    References
    ----------
    He et al., "Delving deep into rectifiers", ICCV (2015), eq. 10, which leaves the distribution open.

    Examples
    --------
    >>> w = he_uniform((300, 200), rng=0)
    >>> bool(abs(w).max() <= (6 / 300) ** 0.5), round(float(w.var() * 300), 2)
    (True, 2.0)
    """
    fan_in, _ = fans(shape)
    return _uniform(shape, math.sqrt(6 / fan_in), rng, dtype)


def he_normal(shape: Shape, *, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""For ReLU: it lets half of the mean square through, so the weights have twice the variance.

    .. math::

        w \sim N\left(0, \frac{2}{n_\text{in}}\right)

    Parameters
    ----------
    shape : sequence of int
        As in `fans`.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype.

    Raises
    ------
    ValueError, TypeError
        As in `uniform`.

    Notes
    -----
    The condition for activations, :math:`n_\text{in} \operatorname{Var} w / 2 = 1` (eq. 10), is met; that for
    gradients has :math:`n_\text{out}` in its place (eq. 14). Either will do, says the paper: with the first,
    gradients change over all layers by the ratio of two widths only.

    PyTorch's ``kaiming_normal_`` is the same, and takes ``mode="fan_out"`` for eq. 14. Keras' ``HeNormal``
    cuts the distribution off at two standard deviations and widens it to have the same variance again.

    References
    ----------
    He et al., "Delving deep into rectifiers", ICCV (2015), eq. 10 and 14.

    Examples
    --------
    >>> w = he_normal((300, 200), rng=0)
    >>> round(float(w.var() * 300), 2)
    2.0
    """
    fan_in, _ = fans(shape)
    return _normal(shape, math.sqrt(2 / fan_in), rng, dtype)


# Scaled by the caller ---------------------------------------------------------------------------------------


def normal(shape: Shape, *, std: float, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""Normal numbers of a scale of your choice, whatever the size of the layer.

    .. math::

        w \sim N(0, \sigma^2)

    Parameters
    ----------
    shape : int or sequence of int
        Any, without an axis below 1.
    std : float
        :math:`\sigma`, finite and >= 0.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype.

    Raises
    ------
    ValueError, TypeError
        A shape without axes or with one below 1, a negative or infinite `std` or one that the dtype cannot
        hold, `rng` and dtype as in `uniform`.

    Notes
    -----
    PyTorch's ``init.normal_`` has ``std=1`` by default, Keras' ``RandomNormal`` 0.05; here it has to be said.

    Examples
    --------
    >>> normal(3, std=0.01, rng=0).round(5)
    array([ 0.00126, -0.00132,  0.0064 ])
    """
    std = _validation.finite_number("std", std)
    _fits("std", std, _dtype(dtype))
    return _normal(shape, std, rng, dtype)


def orthogonal(shape: Shape, *, gain: float = 1.0, rng: Rng, dtype: DTypeLike = np.float64) -> Array:
    r"""A random matrix with orthonormal columns or rows, times a gain: lengths are kept.

    .. math::

        W = g Q, \qquad Q^T Q = I \quad \text{or} \quad Q Q^T = I

    Parameters
    ----------
    shape : sequence of int
        As in `fans`. The weights of a convolution are taken as the matrix (out, in kh kw).
    gain : float
        g, finite and > 0: all singular values. :math:`\sqrt{2}` makes up for ReLU in wide layers.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype. The columns are orthonormal if they are the fewer, else the rows, of a
        square matrix both.

    Raises
    ------
    ValueError, TypeError
        A gain that is not finite and > 0 or that the dtype cannot hold; the rest as in `uniform`.

    Notes
    -----
    Q comes from the QR decomposition of a normal matrix, its columns multiplied by the signs of the diagonal
    of R. Without the signs, which depend on how QR is computed, Q would not be distributed uniformly over all
    such matrices (Haar). PyTorch's ``orthogonal_`` and Keras' ``Orthogonal`` do the same, with a gain of 1.

    A dense layer with more outputs than inputs keeps the length of x, one with fewer cannot: what it leaves
    out is lost.

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR (2014), section 3; Mezzadri, "How to generate random matrices from the classical compact
    groups", Notices of the AMS 54 (2007).

    Examples
    --------
    >>> Q = orthogonal((5, 3), rng=0)
    >>> (Q.T @ Q).round(12) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """
    axes = _weights(shape)
    gain = _validation.positive_finite("gain", gain)
    kind = _dtype(dtype)
    _fits("gain", gain, kind)
    generator = _validation.generator("rng", rng)
    rows, columns = axes[0], math.prod(axes[1:])
    Q, R = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
    Q *= np.copysign(gain, R.diagonal())
    return np.ascontiguousarray(Q if rows >= columns else Q.T, kind).reshape(axes)


def sparse(
    shape: Shape, *, nonzeros: int, std: float = 1.0, rng: Rng, dtype: DTypeLike = np.float64
) -> Array:
    r"""Few large weights into each unit: its input does not shrink or saturate however wide the layer is.

    .. math::

        |S_j| &= k, \\
        w_{ij} &\begin{cases} \sim N(0, \sigma^2) & i \in S_j \\ = 0 & \text{else} \end{cases}

    Parameters
    ----------
    shape : sequence of int
        As in `fans`.
    nonzeros : int
        k, how many weights into each unit are not 0: 1 to `fan_in`. A unit is a column of dense weights, an
        output channel of a convolution; its :math:`S_j` is any set of k inputs, all equally likely.
    std : float
        :math:`\sigma`, finite and > 0. Default 1.
    rng : Generator or int
        As in `uniform`.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype. Into each unit exactly k weights are not 0.

    Raises
    ------
    ValueError, TypeError
        `nonzeros` below 1 or beyond `fan_in`; a `std` that is not finite and > 0 or beyond the normal numbers
        of the dtype; the rest as in `uniform`.

    Notes
    -----
    The paper has k = 15, and biases of 0, or 0.5 for tanh. PyTorch's ``sparse_`` takes the share of zeros,
    ``std=0.01`` by default, and counts in columns of its (out, in) weights: out of each input, not into
    each unit.

    References
    ----------
    Martens, "Deep learning via Hessian-free optimization", ICML (2010), section 5.

    Examples
    --------
    >>> w = sparse((6, 3), nonzeros=2, rng=0)
    >>> np.count_nonzero(w, axis=0)
    array([2, 2, 2])
    """
    axes = _weights(shape)
    fan_in, _ = fans(axes)
    k = _validation.count("nonzeros", nonzeros, minimum=1)
    if k > fan_in:
        raise ValueError(f"nonzeros: expected at most {fan_in}, the fan_in of shape {axes}, got {k}")
    std = _validation.positive_finite("std", std)
    kind = _dtype(dtype)
    _fits("std", std, kind)
    tiny = float(np.finfo(kind).tiny)
    if std < tiny:  # weights would round to 0
        raise ValueError(f"std: expected a number >= {tiny:.3g} for {kind}, got {std!r}")
    generator = _validation.generator("rng", rng)

    units = axes[1] if len(axes) == 2 else axes[0]
    chosen = generator.permuted(np.tile(np.arange(fan_in) < k, (units, 1)), axis=1)
    drawn = generator.normal(scale=std, size=units * k).astype(kind)
    while not drawn.all():  # once in 1e15 numbers
        zero = drawn == 0
        drawn[zero] = generator.normal(scale=std, size=np.count_nonzero(zero)).astype(kind)
    rows = np.zeros((units, fan_in), kind)
    rows[chosen] = drawn
    return np.ascontiguousarray(rows.T) if len(axes) == 2 else rows.reshape(axes)


# Biases -----------------------------------------------------------------------------------------------------


def constant(shape: Shape, value: float, *, dtype: DTypeLike = np.float64) -> Array:
    r"""The same number everywhere: for biases, never for the weights of more than one unit.

    .. math::

        b_i = c

    Parameters
    ----------
    shape : int or sequence of int
        Any, without an axis below 1.
    value : float
        c, finite.
    dtype : dtype
        float64 (default) or float32.

    Returns
    -------
    ndarray
        Of the given shape and dtype.

    Raises
    ------
    ValueError, TypeError
        A shape without axes or with one below 1, a value that is not finite or that the dtype cannot hold,
        another dtype.

    Notes
    -----
    0 is the usual bias. 0.1 lets ReLU units start active, 1 opens the forget gates of an LSTM. Units with
    equal weights get equal gradients and stay equal.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep Learning" (2016), section 8.4; Jozefowicz, Zaremba and Sutskever,
    "An empirical exploration of recurrent network architectures", ICML (2015), on forget gates.

    Examples
    --------
    >>> constant(3, 0.1)
    array([0.1, 0.1, 0.1])
    """
    axes, kind = _axes(shape), _dtype(dtype)
    number = _validation.number("value", value)
    if math.isinf(number):
        raise ValueError(f"value: expected a finite number, got {value!r}")
    _fits("value", number, kind)
    return np.full(axes, number, kind)


def output_bias(frequencies: ArrayLike, *, dtype: DTypeLike = np.float64) -> Any:
    r"""The bias with which a network predicts the frequencies of the classes before it has learned anything.

    .. math::

        \operatorname{softmax}(b) &= p: & b_k &= \log p_k, \\
        \frac{1}{1 + e^{-b}} &= p: & b &= \log \frac{p}{1 - p}

    Parameters
    ----------
    frequencies : array_like
        p, of shape (K,): how often each class occurs; > 0, with the sum 1 up to 1e-6, in float32 and shorter
        1e-3. Or a number in (0, 1), the frequency of the class 1 of two that have one logit.
    dtype : dtype
        float64 (default) or float32, of the result.

    Returns
    -------
    ndarray, shape (K,)
        The logarithms, for softmax; or one number, for the logistic function.

    Raises
    ------
    ValueError, TypeError
        More than one axis, no class, a frequency that is not > 0, a sum that is not 1, a number outside
        (0, 1); what is masked or does not hold real numbers; another dtype.

    Notes
    -----
    It holds where the inputs of the layer or its weights are 0, and about so where they are small. A class
    that never occurs has no finite bias. PyTorch starts with random biases, Keras with 0: equal frequencies.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep Learning" (2016), section 8.4.

    Examples
    --------
    >>> output_bias([0.5, 0.25, 0.25]).round(3)
    array([-0.693, -1.386, -1.386])
    >>> output_bias(0.9).round(3)
    np.float64(2.197)
    """
    kind = _dtype(dtype)
    given = _validation.numbers("frequencies", frequencies)
    p = given.astype(np.float64)
    if p.ndim == 0:
        if not 0 < p < 1:
            raise ValueError(f"frequencies: expected a number > 0 and < 1, got {frequencies!r}")
        return kind.type(np.log(p) - np.log1p(-p))
    if p.ndim > 1 or p.size == 0:
        raise ValueError(f"frequencies: expected a number or the shape (K,), got {p.shape}")
    if not (p > 0).all():
        where = int(np.argmin(p > 0))
        raise ValueError(f"frequencies: expected numbers > 0, got {p[where]:g} at [{where}]")
    short = given.dtype.kind == "f" and given.dtype.itemsize <= 4
    if not abs(p.sum() - 1) <= (1e-3 if short else 1e-6):
        raise ValueError(f"frequencies: expected numbers with the sum 1, got the sum {p.sum():.9g}")
    return np.log(p).astype(kind)


# Arguments --------------------------------------------------------------------------------------------------


def _uniform(shape: Shape, bound: float, rng: Rng, dtype: DTypeLike) -> Array:
    axes, kind = _axes(shape), _dtype(dtype)
    generator = _validation.generator("rng", rng)
    return generator.uniform(-bound, bound, axes).astype(kind, copy=False)


def _normal(shape: Shape, std: float, rng: Rng, dtype: DTypeLike) -> Array:
    axes, kind = _axes(shape), _dtype(dtype)
    generator = _validation.generator("rng", rng)
    return generator.normal(0.0, std, axes).astype(kind, copy=False)


def _axes(shape: Shape) -> tuple[int, ...]:
    """A shape with numbers in it."""
    try:
        axes = tuple(map(operator.index, shape if np.iterable(shape) else (shape,)))
    except TypeError as error:
        raise TypeError(f"shape: expected integers, got {shape!r}") from error
    if not axes or min(axes) < 1:
        raise ValueError(f"shape: expected one or more axes >= 1, got {axes}")
    return axes


def _weights(shape: Shape) -> tuple[int, ...]:
    """The shape of the weights of a layer."""
    axes = _axes(shape)
    if len(axes) < 2:
        raise ValueError(f"shape: expected (n_in, n_out) or (out, in, ...), got {axes}")
    return axes


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    if dtype is None:  # which NumPy takes for float64
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r}")
    return _validation.float_dtype("dtype", dtype)


def _fits(name: str, value: float, kind: np.dtype[Any]) -> None:
    if abs(value) > float(np.finfo(kind).max):
        raise ValueError(f"{name}: expected a number that {kind} can hold, got {value!r}")
