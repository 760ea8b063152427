r"""Layers of neural networks, each with its derivative written out, and models made of them.

A layer has `forward`, `backward`, the list `params` and, after `backward`, the list `grads`:

>>> import numpy as np, optlab
>>> from optlab import losses, nn
>>> rng = np.random.default_rng(0)
>>> model = nn.Sequential(nn.Dense(64, 32, rng=rng), nn.BatchNorm(32), nn.ReLU(), nn.Dense(32, 10, rng=rng))
>>> X, y = rng.standard_normal((8, 64)), rng.integers(0, 10, 8)
>>> value, gradient = losses.cross_entropy(model.forward(X), y)
>>> model.backward(gradient).shape  # with respect to X
(8, 64)
>>> [g.shape for g in model.grads]
[(64, 32), (32,), (32,), (32,), (32, 10), (10,)]

`objective` does this for `optlab.train`. Samples are on the first axis, channels on the second. Everything is
float32 or everything is float64; nothing is converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, overload

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

from . import _validation, initializers, losses, normalization

Array = NDArray[Any]
Init = Callable[..., Array]
Rng = np.random.Generator | int
Loss = Callable[[Array, Any], tuple[Any, Any]]

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


class Layer:
    r"""What all layers have in common.

    A layer of your own has two methods. ``_forward(x, training)`` returns the output and whatever the
    derivative needs; ``_backward(dy, cache)`` gets that back and returns the gradient with respect to the
    input and the list of those with respect to the parameters, which are the attributes that `names` lists.

    Attributes
    ----------
    params : list of ndarrays
        The parameters themselves, not copies. Assigning a list of arrays puts those in their place, also not
        copied.
    grads : list of ndarrays
        New arrays from each `backward`, shaped as `params`; empty before the first.
    names : tuple of str
        The attributes in which the parameters are.
    dtype : dtype or None
        That of the parameters and of the input. None, as of layers without parameters: float32 or float64.

    Notes
    -----
    A layer keeps what `backward` needs, the input among it, until the next `forward`: neither it nor the
    parameters may be changed in between. Copies and pickles leave that out.

    Examples
    --------
    >>> class Scale(Layer):
    ...     '''y = a x'''
    ...     names = ("a",)
    ...
    ...     def __init__(self, a):
    ...         super().__init__()
    ...         self.a = np.array([a])
    ...
    ...     def _forward(self, x, training):
    ...         return self.a * x, x
    ...
    ...     def _backward(self, dy, x):
    ...         return self.a * dy, [np.array([np.sum(dy * x)])]
    >>> layer = Scale(2.0)
    >>> layer.forward(np.array([[1.0, 3.0]]))
    array([[2., 6.]])
    >>> layer.backward(np.array([[1.0, 1.0]])), layer.grads
    (array([[2., 2.]]), [array([4.])])
    """

    names: tuple[str, ...] = ()
    dtype: np.dtype[Any] | None = None
    grads: list[Array]
    _cache: Any = None
    _before: Any = None  # running statistics before the last forward for training

    def __init__(self) -> None:
        self.grads = []

    def forward(self, x: Array, *, training: bool = True) -> Array:
        """The output for a batch.

        Parameters
        ----------
        x : ndarray
            The input, a sample a row. It is not changed.
        training : bool
            True (default) keeps what `backward` needs, and batch normalization uses the statistics of the
            batch. False is for prediction.

        Returns
        -------
        ndarray
            A new array, or for `Flatten` a view.

        Raises
        ------
        ValueError, TypeError
            An input without numbers, or whose shape or dtype does not fit. Parameters and running statistics
            are as before then.
        """
        return self._run(x, training)

    def backward(self, dy: Array) -> Array:
        """The derivative at the last `forward`; it may be asked for more than once.

        Parameters
        ----------
        dy : ndarray
            The gradient of a cost with respect to the output.

        Returns
        -------
        ndarray
            The gradient with respect to the input. Those with respect to the parameters are in `grads`.

        Raises
        ------
        RuntimeError
            There was no `forward` yet, or the last one was with ``training=False`` or failed.
        ValueError, TypeError
            A `dy` that does not have the shape and dtype of the output.
        """
        if self._cache is None:
            raise RuntimeError(
                f"{type(self).__name__}: expected a forward with training=True before backward, got none or "
                f"one with training=False"
            )
        shape, dtype, cache = self._cache
        dy = _array("dy", dy, dtype)
        if dy.shape != shape:
            raise ValueError(f"dy: expected shape {shape} as the output has, got {dy.shape}")
        dx, self.grads = self._backward(dy, cache)
        return dx

    def _run(self, x: Array, training: bool, **more: Any) -> Array:
        self._cache = None
        x = _array("x", x, self.dtype)
        if x.size == 0 or x.ndim == 0:
            raise ValueError(f"x: expected samples with at least one number, got shape {x.shape}")
        y, cache = self._forward(x, training, **more)
        if training:
            self._cache = y.shape, y.dtype, cache
        return y

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        raise NotImplementedError

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        raise NotImplementedError

    def _undo(self) -> None:
        """Take back what the last `forward` for training has moved besides its result."""

    @property
    def params(self) -> list[Array]:
        return [getattr(layer, name) for layer, name in self._places()]

    @params.setter
    def params(self, arrays: Iterable[Array]) -> None:
        if not isinstance(arrays, Iterable):
            raise TypeError(f"params: expected a list of arrays, got {type(arrays).__name__}")
        places, arrays = self._places(), list(arrays)
        if len(arrays) != len(places):
            raise ValueError(f"params: expected {len(places)} arrays, got {len(arrays)}")
        for i, ((layer, name), array) in enumerate(zip(places, arrays, strict=True)):
            own = getattr(layer, name)
            _array(f"params[{i}]", array, own.dtype)
            if array.shape != own.shape:
                raise ValueError(f"params[{i}]: expected shape {own.shape} as {name} has, got {array.shape}")
        for (layer, name), array in zip(places, arrays, strict=True):
            setattr(layer, name, array)

    def _places(self) -> list[tuple[Layer, str]]:
        """Where the parameters are, in order."""
        return [(self, name) for name in self.names]

    def _all(self) -> list[Layer]:
        """The layer and those in it."""
        return [self]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": None, "_before": None}

    def __repr__(self) -> str:
        params = (f"{name} {getattr(self, name).shape}" for name in self.names)
        return f"{type(self).__name__}({', '.join(params)})"


# Linear maps ------------------------------------------------------------------------------------------------


class Dense(Layer):
    r"""A linear map and a bias: each unit sees all inputs.

    .. math::

        y &= x W + b, \\
        \frac{\partial J}{\partial x} &= \frac{\partial J}{\partial y} W^\top, \quad
        \frac{\partial J}{\partial W} = x^\top \frac{\partial J}{\partial y}, \quad
        \frac{\partial J}{\partial b_j} = \sum_i \frac{\partial J}{\partial y_{ij}}

    Parameters
    ----------
    n_in, n_out : int
        Inputs of a unit, and units.
    bias : bool
        Whether there is b. Default True.
    init : callable
        ``init(shape, rng=rng, dtype=dtype)`` gives W, as the functions of `optlab.initializers`. Default
        `he_normal`. b starts at 0.
    rng : Generator or int
        Where the numbers come from: a NumPy Generator, which moves on, or a seed. Layers that are given the
        same seed start with the same numbers: pass one Generator to all.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    W : ndarray, shape (n_in, n_out)
    b : ndarray, shape (n_out,), or None
        `params` are [W, b], or [W] without bias.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above; from `forward` an x that is not of shape (N, n_in) or (N, ..., n_in).

    Notes
    -----
    PyTorch's ``Linear`` has the weights (n_out, n_in), the transpose of these, and starts with weights and
    biases from U(-1/sqrt(n_in), 1/sqrt(n_in)); Keras' ``Dense`` has them as here and starts with
    `glorot_uniform`.

    Examples
    --------
    >>> layer = Dense(3, 2, rng=0)
    >>> layer
    Dense(W (3, 2), b (2,))
    >>> layer.W[:], layer.b[:] = [[1, 0], [0, 1], [1, 1]], [10, 20]
    >>> layer.forward(np.array([[1.0, 2.0, 3.0]]))
    array([[14., 25.]])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        bias: bool = True,
        init: Init = initializers.he_normal,
        rng: Rng,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__()
        shape = _validation.count("n_in", n_in, minimum=1), _validation.count("n_out", n_out, minimum=1)
        self.dtype = _validation.float_dtype("dtype", dtype)
        self.W = _weights(init, shape, _validation.generator("rng", rng), self.dtype)
        self.b = np.zeros(shape[1], self.dtype) if bias else None
        self.names = ("W", "b") if bias else ("W",)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        W = self.W
        if x.ndim < 2 or x.shape[-1] != len(W):
            raise ValueError(f"x: expected shape (N, {len(W)}) as W is {W.shape}, got {x.shape}")
        y = x @ W
        if self.b is not None:
            y += self.b
        return y, (x, W)

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        x, W = cache
        dx = dy @ W.T
        if dy.ndim > 2:
            x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        dW = x.T @ dy
        return dx, [dW] if self.b is None else [dW, _total(dy)]


def _total(rows: Array) -> Array:
    """The sum of the rows; NumPy adds them one by one, which costs float32 two digits in 10 000 rows."""
    few = rows.dtype == DOUBLE or len(rows) < 16
    total: Array = rows.sum(axis=0) if few else rows.sum(axis=0, dtype=np.float64).astype(rows.dtype)
    return total


class Conv2d(Layer):
    r"""Windows of an image times weights that are the same everywhere.

    .. math::

        y_{nopq} = b_o + \sum_{cij} W_{ocij} \, x_{n,\, c,\, p s + i,\, q s + j}

    with the stride s, on an image that has been framed by zeros. All windows are written into the columns of
    a matrix, so that the sum is a product of matrices.

    Parameters
    ----------
    c_in, c_out : int
        Channels of the input and of the output.
    size : int
        k: windows are k x k.
    stride : int
        s, the distance of neighboring windows. Default 1.
    padding : int
        The width of the frame. Default 0; k // 2 keeps the size of the image if k is odd and s is 1.
    bias : bool
        Whether there is b, one number for each channel. Default True.
    init : callable
        As in `Dense`, with the shape of W. Default `he_normal`.
    rng : Generator or int
        As in `Dense`.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    W : ndarray, shape (c_out, c_in, k, k)
    b : ndarray, shape (c_out,), or None
        `params` are [W, b], or [W] without bias.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above; from `forward` an x that is not of shape (N, c_in, H, W) or has no
        room for a window.

    Notes
    -----
    Shapes are those of PyTorch's ``Conv2d``: H pixels become (H + 2 padding - k) // s + 1, and windows that
    would reach beyond the frame are left out. It is a correlation: the kernel is not flipped, here and in the
    libraries. Keras' default has channels last and weights (k, k, c_in, c_out).

    References
    ----------
    Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing"
    (2006): the columns.

    Examples
    --------
    >>> layer = Conv2d(1, 1, 2, rng=0)
    >>> layer.W[:] = [[1, 0], [0, -1]]
    >>> layer.forward(np.arange(12.0).reshape(1, 1, 3, 4) ** 2)
    array([[[[-25., -35., -45.],
             [-65., -75., -85.]]]])
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        init: Init = initializers.he_normal,
        rng: Rng,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__()
        k = _validation.count("size", size, minimum=1)
        channels = _validation.count("c_out", c_out, minimum=1), _validation.count("c_in", c_in, minimum=1)
        self.stride = _validation.count("stride", stride, minimum=1)
        self.padding = _validation.count("padding", padding)
        self.dtype = _validation.float_dtype("dtype", dtype)
        self.W = _weights(init, (*channels, k, k), _validation.generator("rng", rng), self.dtype)
        self.b = np.zeros(channels[0], self.dtype) if bias else None
        self.names = ("W", "b") if bias else ("W",)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        c_out, c_in, k, _ = self.W.shape
        s, p = self.stride, self.padding
        if x.ndim != 4 or x.shape[1] != c_in:
            raise ValueError(f"x: expected shape (N, {c_in}, H, W) as W is {self.W.shape}, got {x.shape}")
        n, _, height, width = x.shape
        rows, cols = (height + 2 * p - k) // s + 1, (width + 2 * p - k) // s + 1
        if rows < 1 or cols < 1:
            raise ValueError(f"x: expected images of {k} x {k} or more with padding {p}, got {x.shape}")
        # Samples on the last axis: then everything is copied and added in long runs.
        framed = np.zeros((c_in, height + 2 * p, width + 2 * p, n), x.dtype)
        framed[:, p : p + height, p : p + width] = x.transpose(1, 2, 3, 0)
        c, h, w, one = framed.strides
        windows = as_strided(framed, (c_in, k, k, rows, cols, n), (c, h, w, h * s, w * s, one))
        columns = windows.reshape(c_in * k * k, rows * cols * n)
        W = self.W.reshape(c_out, c_in * k * k)
        y = W @ columns
        if self.b is not None:
            y += self.b[:, None]
        y = np.ascontiguousarray(y.reshape(c_out, rows, cols, n).transpose(3, 0, 1, 2))
        return y, (x.shape, columns, W)

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        (n, c_in, height, width), columns, W = cache
        _, c_out, rows, cols = dy.shape
        k, s, p = self.W.shape[-1], self.stride, self.padding
        dy = dy.transpose(1, 2, 3, 0).reshape(c_out, rows * cols * n)
        dW = (dy @ columns.T).reshape(self.W.shape)
        dwindows = (W.T @ dy).reshape(c_in, k, k, rows, cols, n)
        dframed = np.zeros((c_in, height + 2 * p, width + 2 * p, n), dy.dtype)
        for i in range(k):
            for j in range(k):
                dframed[:, i : i + s * rows : s, j : j + s * cols : s] += dwindows[:, i, j]
        dx = np.ascontiguousarray(dframed[:, p : p + height, p : p + width].transpose(3, 0, 1, 2))
        return dx, [dW] if self.b is None else [dW, dy.sum(axis=1)]


# Activations ------------------------------------------------------------------------------------------------


class Sigmoid(Layer):
    r"""A step that has been made smooth, from 0 to 1; its slope is at most 1/4.

    .. math::

        y = \frac{1}{1 + e^{-x}}, \qquad \frac{\partial y}{\partial x} = y (1 - y)

    Examples
    --------
    >>> Sigmoid().forward(np.array([[-1000.0, 0.0, 1000.0]]))
    array([[0. , 0.5, 1. ]])
    """

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        y = np.negative(x)
        with np.errstate(over="ignore"):  # 1 / infinity is the limit
            np.exp(y, out=y)
        y += 1.0
        np.reciprocal(y, out=y)
        return y, y

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        y = cache
        slope = 1.0 - y
        slope *= y
        slope *= dy
        return slope, []


class Tanh(Layer):
    r"""A sigmoid from -1 to 1 whose slope at 0 is 1.

    .. math::

        y = \tanh x, \qquad \frac{\partial y}{\partial x} = 1 - y^2

    Examples
    --------
    >>> Tanh().forward(np.array([[-1000.0, 0.0, 1000.0]]))
    array([[-1., 0., 1.]])
    """

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        y = np.tanh(x)
        return y, y

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        slope = cache * cache
        np.subtract(1.0, slope, out=slope)
        slope *= dy
        return slope, []


class ReLU(Layer):
    r"""Linear where it is not 0.

    .. math::

        y = \max(0, x), \qquad
        \frac{\partial y}{\partial x} = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}

    Notes
    -----
    At the corner the slope is 0, as in PyTorch and Keras. NaN stays NaN.

    Examples
    --------
    >>> ReLU().forward(np.array([[-1.0, 0.0, 2.0]]))
    array([[0., 0., 2.]])
    """

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        y = np.maximum(x, 0.0)
        return y, y

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        return dy * (cache > 0.0), []


class Softmax(Layer):
    r"""Probabilities over the last axis.

    .. math::

        y_k = \frac{e^{x_k}}{\sum_j e^{x_j}}, \qquad
        \frac{\partial J}{\partial x_k} = y_k \Bigl(\frac{\partial J}{\partial y_k}
        - \sum_j y_j \frac{\partial J}{\partial y_j}\Bigr)

    Notes
    -----
    `losses.cross_entropy` and `losses.softmax_mse` take logits: put no softmax in front of them.

    Examples
    --------
    >>> Softmax().forward(np.array([[3.0, 1.0, -3.0]])).round(5)
    array([[0.87888, 0.11894, 0.00218]])
    """

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        y = losses.softmax(x)
        return y, y

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        dx = cache * dy
        dx -= cache * dx.sum(axis=-1, keepdims=True)
        return dx, []


class Maxout(Layer):
    r"""The largest of each few neighbors: a convex activation whose corners are learned.

    .. math::

        y_j = \max_{k = 0, \dots, p - 1} x_{p j + k}

    Parameters
    ----------
    pieces : int
        p, how many inputs make one output.

    Raises
    ------
    ValueError, TypeError
        `pieces` that are not an integer >= 1; from `forward` an x whose channels, on axis 1, they do not
        divide.

    Notes
    -----
    Of equal inputs the first gets the gradient. PyTorch and Keras have no such layer.

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", ICML (2013).

    Examples
    --------
    >>> Maxout(2).forward(np.array([[1.0, 5.0, -2.0, -3.0]]))
    array([[ 5., -2.]])
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = _validation.count("pieces", pieces, minimum=1)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        if x.ndim < 2 or x.shape[1] % self.pieces:
            raise ValueError(
                f"x: expected shape (N, C) or (N, C, ...) with a multiple of {self.pieces} channels, got "
                f"{x.shape}"
            )
        pieces = x.reshape(len(x), x.shape[1] // self.pieces, self.pieces, *x.shape[2:])
        y = pieces[:, :, 0].copy()
        largest = np.zeros(y.shape, np.intp)
        for k in range(1, self.pieces):
            largest[pieces[:, :, k] > y] = k
            np.maximum(y, pieces[:, :, k], out=y)
        return y, largest

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        dx = np.empty((*dy.shape[:2], self.pieces, *dy.shape[2:]), dy.dtype)
        for k in range(self.pieces):
            np.multiply(dy, cache == k, out=dx[:, :, k])
        return dx.reshape(len(dy), dy.shape[1] * self.pieces, *dy.shape[2:]), []


class Flatten(Layer):
    """A row for each sample: from (N, C, H, W), or any other number of axes, to (N, C H W).

    Examples
    --------
    >>> Flatten().forward(np.zeros((5, 2, 3, 4))).shape
    (5, 24)
    """

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        if x.ndim < 2:
            raise ValueError(f"x: expected shape (N, ...), got {x.shape}")
        return x.reshape(len(x), int(np.prod(x.shape[1:]))), x.shape

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        return dy.reshape(cache), []


# Normalization ----------------------------------------------------------------------------------------------


class _Norm(Layer):
    """A function of `optlab.normalization` with its gamma and beta."""

    _derivative: ClassVar[Callable[..., Any]]

    def __init__(self, shape: tuple[int, ...], eps: float, affine: bool, dtype: DTypeLike) -> None:
        super().__init__()
        self.shape = shape
        self.eps = _validation.positive_finite("eps", eps)
        self.dtype = _validation.float_dtype("dtype", dtype)
        self.gamma = np.ones(shape, self.dtype) if affine else None
        self.beta = np.zeros(shape, self.dtype) if affine else None
        self.names = ("gamma", "beta") if affine else ()

    def _channels(self, x: Array) -> Array:
        """In C order, with as many channels as the layer."""
        (c,) = self.shape
        if x.ndim < 2 or x.shape[1] != c:
            raise ValueError(f"x: expected shape (N, {c}) or (N, {c}, ...), got {x.shape}")
        return np.ascontiguousarray(x)

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        dx, dgamma, dbeta = type(self)._derivative(np.ascontiguousarray(dy), cache)
        return dx, [dgamma, dbeta] if self.names else []


class BatchNorm(_Norm):
    r"""`optlab.normalization.batch_norm` as a layer: each channel has mean 0 and variance 1 over the batch.

    .. math::

        y = \gamma \frac{x - \mu_B}{\sqrt{\sigma_B^2 + \epsilon}} + \beta

    Parameters
    ----------
    channels : int
        C; inputs are (N, C) or (N, C, ...).
    eps : float
        Added to the variance. Default 1e-5.
    momentum : float in [0, 1]
        The weight of the batch in the running statistics, ``running = (1 - momentum) * running + momentum *
        batch's``. Default 0.1.
    unbiased : bool
        Whether the running variance takes the batch's with m/(m - 1). Default True.
    affine : bool
        Whether there are gamma, which starts at 1, and beta, at 0. Default True.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    gamma : ndarray, shape (C,), or None
    beta : ndarray, shape (C,), or None
        `params` are [gamma, beta], or nothing without `affine`.
    running_mean : ndarray, shape (C,)
    running_var : ndarray, shape (C,)
        Start at 0 and 1. Each `forward` with ``training=True`` moves them; with ``training=False`` they take
        the place of the batch's statistics. They are no parameters: `params` leaves them out, copies and
        pickles of the layer have them.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above; from `forward` an x of another number of channels, or in training
        with a single value for each.

    Notes
    -----
    All defaults are those of PyTorch's ``BatchNorm1d`` and ``BatchNorm2d``. Keras' ``momentum`` is 1 - ours,
    its defaults are 0.99 and eps 1e-3, and its running variance is biased: ``unbiased=False``.

    A bias of the layer before is lost in the mean: ``Dense(..., bias=False)``.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", ICML (2015), algorithms 1 and 2.

    Examples
    --------
    >>> layer, x = BatchNorm(1, momentum=1.0, unbiased=False), np.array([[3.0], [7.0]])
    >>> layer.forward(x).round(3)
    array([[-1.], [ 1.]])
    >>> layer.running_mean, layer.running_var
    (array([5.]), array([4.]))
    >>> layer.forward(np.array([[9.0]]), training=False).round(3)
    array([[2.]])
    """

    _derivative = normalization.batch_norm_backward

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        affine: bool = True,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__((_validation.count("channels", channels, minimum=1),), eps, affine, dtype)
        self.momentum = _validation.share("momentum", momentum)
        self.unbiased = bool(unbiased)
        self.running_mean = np.zeros(self.shape, self.dtype)
        self.running_var = np.ones(self.shape, self.dtype)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        x = self._channels(x)
        mean, var = self.running_mean, self.running_var
        if not training:
            y = normalization.batch_norm_inference(x, self.gamma, self.beta, mean, var, eps=self.eps)
            return y, None
        before = mean.copy(), var.copy()
        result = normalization.batch_norm(
            x,
            self.gamma,
            self.beta,
            eps=self.eps,
            running_mean=mean,
            running_var=var,
            momentum=self.momentum,
            unbiased=self.unbiased,
        )
        self._before = before
        return result

    def _undo(self) -> None:
        if self._before is not None:
            self.running_mean[:], self.running_var[:] = self._before


class LayerNorm(_Norm):
    r"""`optlab.normalization.layer_norm` as a layer: each sample has mean 0 and variance 1 over its features.

    Parameters
    ----------
    shape : int or tuple of int
        The last axes, over which statistics are taken: C for inputs (N, C), (C, H, W) for images.
    eps : float
        Added to the variance. Default 1e-5.
    affine : bool
        Whether there are gamma, which starts at 1, and beta, at 0. Default True.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    gamma : ndarray of the given shape, or None
    beta : ndarray of the given shape, or None
        `params` are [gamma, beta], or nothing without `affine`.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above; from `forward` an x with other last axes.

    Notes
    -----
    As PyTorch's ``LayerNorm``. Keras' normalizes the last axis alone, with eps 1e-3.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization" (2016), equation 3.

    Examples
    --------
    >>> LayerNorm(2).forward(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3)
    array([[-1.,  1.], [-1.,  1.]])
    """

    _derivative = normalization.layer_norm_backward

    def __init__(
        self,
        shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: DTypeLike = np.float64,
    ) -> None:
        several = isinstance(shape, tuple | list) or (isinstance(shape, np.ndarray) and shape.ndim > 0)
        axes = tuple(shape) if several else (shape,)  # type: ignore[arg-type]
        if not axes:
            raise ValueError("shape: expected at least one axis, got none")
        super().__init__(tuple(_validation.count("shape", n, minimum=1) for n in axes), eps, affine, dtype)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        if x.ndim <= len(self.shape) or x.shape[-len(self.shape) :] != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise ValueError(f"x: expected shape (N, {wanted}) or (N, ..., {wanted}), got {x.shape}")
        return normalization.layer_norm(
            np.ascontiguousarray(x), self.gamma, self.beta, normalized_shape=self.shape, eps=self.eps
        )


class InstanceNorm(_Norm):
    r"""`optlab.normalization.instance_norm` as a layer: each channel of each sample by itself.

    Parameters
    ----------
    channels : int
        C; inputs are (N, C, L), (N, C, H, W) or have more axes.
    eps : float
        Added to the variance. Default 1e-5.
    affine : bool
        Whether there are gamma, which starts at 1, and beta, at 0. Default True.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    gamma : ndarray, shape (C,), or None
    beta : ndarray, shape (C,), or None
        `params` are [gamma, beta], or nothing without `affine`.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above; from `forward` an x of another number of channels or without
        positions.

    Notes
    -----
    PyTorch's ``InstanceNorm2d`` has ``affine=False`` by default. There are no running statistics.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky, "Instance normalization" (2016).

    Examples
    --------
    >>> InstanceNorm(2).forward(np.array([[[1.0, 3.0], [10.0, 30.0]]])).round(3)
    array([[[-1.,  1.], [-1.,  1.]]])
    """

    _derivative = normalization.instance_norm_backward

    def __init__(
        self, channels: int, *, eps: float = 1e-5, affine: bool = True, dtype: DTypeLike = np.float64
    ) -> None:
        super().__init__((_validation.count("channels", channels, minimum=1),), eps, affine, dtype)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        return normalization.instance_norm(self._channels(x), self.gamma, self.beta, eps=self.eps)


class GroupNorm(_Norm):
    r"""`optlab.normalization.group_norm` as a layer: each group of channels of each sample by itself.

    Parameters
    ----------
    groups : int
        G, a divisor of C. With G = 1 it is layer normalization of all axes, with G = C instance
        normalization.
    channels : int
        C; inputs are (N, C) or (N, C, ...).
    eps : float
        Added to the variance. Default 1e-5.
    affine : bool
        Whether there are gamma, which starts at 1, and beta, at 0. Default True.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    gamma : ndarray, shape (C,), or None
    beta : ndarray, shape (C,), or None
        `params` are [gamma, beta], or nothing without `affine`.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above; from `forward` an x of another number of channels.

    Notes
    -----
    As PyTorch's ``GroupNorm``. Keras' ``GroupNormalization`` has eps 1e-3.

    References
    ----------
    Wu and He, "Group normalization", ECCV (2018).

    Examples
    --------
    >>> GroupNorm(2, 4).forward(np.array([[1.0, 3.0, 10.0, 30.0]])).round(3)
    array([[-1.,  1., -1.,  1.]])
    """

    _derivative = normalization.group_norm_backward

    def __init__(
        self,
        groups: int,
        channels: int,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__((_validation.count("channels", channels, minimum=1),), eps, affine, dtype)
        self.groups = _validation.count("groups", groups, minimum=1)
        if self.shape[0] % self.groups:
            raise ValueError(f"groups: expected a divisor of channels, which are {channels}, got {groups}")

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        x = self._channels(x)
        return normalization.group_norm(x, self.gamma, self.beta, groups=self.groups, eps=self.eps)


# Sequences --------------------------------------------------------------------------------------------------


class Recurrent(Layer):
    r"""A layer that reads a sequence and sees its own last output; with layer normalization on request.

    .. math::

        a_t &= x_t W + h_{t-1} U, \qquad h_0 = 0, \\
        h_t &= \tanh(a_t + b), \\
        h_t &= \tanh\left(\gamma \frac{a_t - \mu_t}{\sqrt{\sigma_t^2 + \epsilon}} + \beta\right)
        \quad \text{with } \texttt{layer\_norm}

    The mean and the variance are those of the units of one sample at one time.

    Parameters
    ----------
    n_in, n_hidden : int
        Numbers at each time, and units.
    layer_norm : bool
        Default False.
    init : callable
        As in `Dense`, for W. Default `glorot_uniform`.
    recurrent_init : callable
        The same for U. Default `orthogonal`. b and beta start at 0, gamma at 1.
    eps : float
        Added to the variance of `layer_norm`. Default 1e-5.
    rng : Generator or int
        As in `Dense`.
    dtype : dtype
        float64 (default) or float32.

    Attributes
    ----------
    W : ndarray, shape (n_in, n_hidden)
    U : ndarray, shape (n_hidden, n_hidden)
    b : ndarray, shape (n_hidden,)
    gamma : ndarray, shape (n_hidden,)
    beta : ndarray, shape (n_hidden,)
        `params` are [W, U, b], or [W, U, gamma, beta] with `layer_norm`.

    Raises
    ------
    ValueError, TypeError
        Arguments that are not as above.

    Notes
    -----
    PyTorch's ``RNN`` with ``batch_first=True`` has the transposes of W and U, and two biases, whose sum is b;
    its ``PackedSequence`` gives 0 behind the end. Keras' ``SimpleRNN`` has the same W, U, b and start; its
    masks keep the last state, as here.

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14 (1990). Ba, Kiros and Hinton, "Layer
    normalization" (2016), equation 4.

    Examples
    --------
    >>> layer = Recurrent(1, 1, rng=0)
    >>> layer.params = [np.array([[1.0]]), np.array([[0.5]]), np.array([0.0])]
    >>> x = np.array([[[1.0], [0.0], [0.0]], [[1.0], [0.0], [9.0]]])
    >>> layer.forward(x, lengths=[3, 2])[:, :, 0].round(3)
    array([[0.762, 0.363, 0.18 ],
           [0.762, 0.363, 0.363]])
    """

    b: Array
    gamma: Array
    beta: Array

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        layer_norm: bool = False,
        init: Init = initializers.glorot_uniform,
        recurrent_init: Init = initializers.orthogonal,
        eps: float = 1e-5,
        rng: Rng,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__()
        n, h = _validation.count("n_in", n_in, minimum=1), _validation.count("n_hidden", n_hidden, minimum=1)
        self.layer_norm = bool(layer_norm)
        self.eps = _validation.positive_finite("eps", eps)
        self.dtype = _validation.float_dtype("dtype", dtype)
        generator = _validation.generator("rng", rng)
        self.W = _weights(init, (n, h), generator, self.dtype)
        self.U = _weights(recurrent_init, (h, h), generator, self.dtype, "recurrent_init")
        if self.layer_norm:
            self.names = ("W", "U", "gamma", "beta")
            self.gamma, self.beta = np.ones(h, self.dtype), np.zeros(h, self.dtype)
        else:
            self.names = ("W", "U", "b")
            self.b = np.zeros(h, self.dtype)

    def forward(self, x: Array, *, lengths: Any = None, training: bool = True) -> Array:
        """The states at all times.

        Parameters
        ----------
        x : ndarray, shape (N, T, n_in)
            N sequences, side by side.
        lengths : array_like of int, shape (N,), optional
            Where each ends, from 1 to T. What stands behind the end is not looked at: each sequence gives
            what it gives alone. Default: all have T.
        training : bool
            As in `Layer.forward`.

        Returns
        -------
        ndarray, shape (N, T, n_hidden)
            A sequence that has ended keeps its last state: ``y[:, -1]`` are the last states of all.

        Raises
        ------
        ValueError, TypeError
            An x of another shape or dtype, lengths out of range or that are no integers.
        """
        return self._run(x, training, lengths=lengths)

    def _forward(self, x: Array, training: bool, lengths: Any = None) -> tuple[Array, Any]:
        W, U = self.W, self.U
        if x.ndim != 3 or x.shape[2] != len(W):
            raise ValueError(f"x: expected shape (N, T, {len(W)}) as W is {W.shape}, got {x.shape}")
        n, steps, _ = x.shape
        ended = None if lengths is None else _ended(lengths, n, steps)
        x = x.transpose(1, 0, 2).copy()  # time first
        if ended is not None:
            x[ended[:, :, 0]] = 0.0
        x = x.reshape(steps * n, len(W))
        a = x @ W
        if not self.layer_norm:
            a += self.b
        a = a.reshape(steps, n, len(U))
        h, caches = np.zeros((steps + 1, n, len(U)), x.dtype), []
        for t in range(steps):
            z = a[t]
            z += h[t] @ U
            if self.layer_norm:
                z, cache = normalization.layer_norm(z, self.gamma, self.beta, eps=self.eps)
                caches.append(cache)
            np.tanh(z, out=h[t + 1])
            if ended is not None:
                np.copyto(h[t + 1], h[t], where=ended[t])
        return np.ascontiguousarray(h[1:].transpose(1, 0, 2)), (x, h, W, U, caches, ended)

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        x, h, W, U, caches, ended = cache
        n, steps, units = dy.shape
        da = 1.0 - h[1:] ** 2  # times dh below
        dh, scales = np.zeros((n, units), dy.dtype), []
        for t in reversed(range(steps)):
            dh += dy[:, t]
            da[t] *= dh
            if ended is not None:
                da[t][ended[t, :, 0]] = 0.0
            if self.layer_norm:
                da[t], *both = normalization.layer_norm_backward(da[t], caches[t])
                scales.append(both)
            back = da[t] @ U.T
            if ended is not None:
                back += dh * ended[t]
            dh = back
        da = da.reshape(steps * n, units)
        dx = np.ascontiguousarray((da @ W.T).reshape(steps, n, len(W)).transpose(1, 0, 2))
        rest = [sum(g) for g in zip(*scales, strict=True)] if self.layer_norm else [_total(da)]
        return dx, [x.T @ da, h[:-1].reshape(steps * n, units).T @ da, *rest]


def _ended(lengths: Any, n: int, steps: int) -> NDArray[np.bool_]:
    """Where the sequences are over, of shape (T, N, 1)."""
    given = _validation.numbers("lengths", lengths)
    if given.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {given.dtype}")
    if given.shape != (n,):
        raise ValueError(f"lengths: expected shape ({n},) as x has {n} sequences, got {given.shape}")
    if n and not (given.min() >= 1 and given.max() <= steps):
        raise ValueError(
            f"lengths: expected numbers from 1 to {steps}, the length of x, got {given.min()} to "
            f"{given.max()}"
        )
    return np.asarray(np.arange(steps)[:, None, None] >= given[:, None])


# Models -----------------------------------------------------------------------------------------------------


class Sequential(Layer):
    """Layers one behind the other; itself a layer.

    Parameters
    ----------
    *layers : Layer
        Each of its own: the same layer cannot be in two places.

    Attributes
    ----------
    layers : tuple of Layer
        ``model[i]``, ``len(model)`` and loops go over them; a slice is a Sequential of the same layers.
    params : list of ndarrays
    grads : list of ndarrays
        Those of all layers, in order.

    Raises
    ------
    ValueError, TypeError
        No layers, something that is no layer, one that is there twice, or layers of float32 and of float64.

    Examples
    --------
    >>> model = Sequential(Dense(4, 3, rng=0), Tanh(), Residual(Dense(3, 3, rng=1), Tanh()))
    >>> model
    Sequential(Dense(W (4, 3), b (3,)), Tanh(), Residual(Dense(W (3, 3), b (3,)), Tanh()))
    >>> model.forward(np.zeros((2, 4))).shape, len(model.params)
    ((2, 3), 4)
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        if not layers:
            raise ValueError("layers: expected at least one, got none")
        seen: set[int] = set()
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{i}]: expected a layer, got {layer!r}")
            own = {id(each) for each in layer._all()}
            if own & seen:
                raise ValueError(f"layers[{i}]: expected a layer of its own, got one that is there already")
            seen |= own
            if self.dtype is None:
                self.dtype = layer.dtype
            elif layer.dtype not in (None, self.dtype):
                raise ValueError(f"layers[{i}]: expected {self.dtype} as before, got {layer.dtype}")
        self.layers = layers

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        done = 0
        try:
            for layer in self.layers:
                x = layer.forward(x, training=training)
                done += 1
        except BaseException:
            for layer in self.layers[:done] if training else ():
                layer._undo()
            raise
        return x, None

    def _undo(self) -> None:
        for layer in self.layers:
            layer._undo()

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy, [g for layer in self.layers for g in layer.grads]

    def _places(self) -> list[tuple[Layer, str]]:
        return [place for layer in self.layers for place in layer._places()]

    def _all(self) -> list[Layer]:
        return [self, *(each for layer in self.layers for each in layer._all())]

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"


class Residual(Sequential):
    """The input plus what layers make of it: y = x + layers(x).

    Parameters
    ----------
    *layers : Layer
        As in `Sequential`; they must keep the shape.

    Raises
    ------
    ValueError, TypeError
        As in `Sequential`; from `forward` layers that change the shape.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR (2016), equation 1.

    Examples
    --------
    >>> Residual(ReLU()).forward(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        y, _ = super()._forward(x, training)
        if y.shape != x.shape:
            if training:
                self._undo()
            raise ValueError(f"Residual: expected layers that keep the shape {x.shape}, got {y.shape}")
        return x + y, None

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        dx, grads = super()._backward(dy, cache)
        return dx + dy, grads


def objective(model: Layer, loss: Loss = losses.cross_entropy) -> Callable[..., tuple[Any, list[Array]]]:
    r"""The cost of a model as a function of its parameters, for `optlab.train`.

    Parameters
    ----------
    model : Layer
    loss : callable
        ``loss(outputs, targets) -> (value, gradient)``, as those of `optlab.losses`. Default `cross_entropy`.

    Returns
    -------
    callable
        ``fun(params, X, y) -> (value, grads)``, the value of ``loss(model.forward(X), y)`` and its gradients,
        in a list as `params` is. With other arrays than ``model.params``, as Nesterov's momentum looks ahead,
        the model has them for the time of the call. Batch normalization takes the statistics of the batch and
        moves its running ones, at each call.

    Raises
    ------
    ValueError, TypeError
        A model that is no layer, a loss that cannot be called; from ``fun`` what does not fit. Then the model
        has its own parameters again, and the running statistics of before.

    Examples
    --------
    >>> import optlab
    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
    >>> rng = np.random.default_rng(1)
    >>> model = Sequential(Dense(2, 16, rng=rng), BatchNorm(16), ReLU(), Dense(16, 2, rng=rng))
    >>> batches = optlab.Batches(X, y, size=20, rng=2)
    >>> run = optlab.train(
    ...     objective(model), model.params, batches, optlab.Adam(lr=0.01), epochs=40, progress=False
    ... )
    >>> error_rate(model, X, y) < 0.05
    True
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model: expected a layer, got {model!r}")
    return partial(_value_and_grads, model, _validation.function("loss", loss))


def _value_and_grads(
    model: Layer, loss: Loss, params: Sequence[Array], X: Array, y: Any
) -> tuple[Any, list[Array]]:
    if not isinstance(params, list | tuple):
        raise TypeError(f"params: expected a list of arrays as model.params is, got {type(params).__name__}")
    own = model.params
    moved = len(params) != len(own) or any(a is not b for a, b in zip(params, own, strict=True))
    if moved:
        model.params = params
    try:
        outputs = model.forward(X)
        try:
            value, gradient = loss(outputs, y)
            model.backward(gradient)
        except BaseException:
            model._undo()
            raise
    finally:
        if moved:
            model.params = own
    return value, model.grads


def error_rate(model: Layer, X: Array, y: Any) -> float:
    """The share of samples whose largest output is not that of their class.

    Parameters
    ----------
    model : Layer
        Its outputs are (N, K).
    X : ndarray
        The inputs of N samples. They go through the model with ``training=False``, some at a time.
    y : array_like
        The classes as integers 0, ..., K - 1, of shape (N,), or as rows of shape (N, K) whose largest entry
        tells.

    Returns
    -------
    float
        In [0, 1]. A row of outputs with NaN is wrong.

    Raises
    ------
    ValueError, TypeError
        Inputs that do not fit the model, no samples, classes that do not fit the outputs.

    Examples
    --------
    >>> error_rate(ReLU(), np.array([[0.0, 1.0], [1.0, 0.0]]), [1, 1])
    0.5
    """
    if not isinstance(X, np.ndarray) or X.ndim < 2 or not len(X):
        raise ValueError(f"X: expected an array of samples, got {getattr(X, 'shape', X)!r}")
    parts = [model.forward(X[i : i + 256], training=False) for i in range(0, len(X), 256)]
    outputs, classes = np.concatenate(parts), _validation.numbers("y", y)
    if outputs.ndim != 2:
        raise ValueError(f"model: expected outputs of shape (N, K), got {outputs.shape}")
    if classes.shape == outputs.shape:
        classes = classes.argmax(axis=1)
    elif classes.shape != (len(X),):
        raise ValueError(f"y: expected shape {(len(X),)} or {outputs.shape} for these X, got {classes.shape}")
    elif classes.dtype.kind not in "iu":
        raise TypeError(f"y: expected classes as integers, got {classes.dtype}")
    elif classes.min() < 0 or classes.max() >= outputs.shape[1]:
        raise ValueError(
            f"y: expected classes from 0 to {outputs.shape[1] - 1}, got {classes.min()} to {classes.max()}"
        )
    wrong = (outputs.argmax(axis=1) != classes) | np.isnan(outputs).any(axis=1)
    return float(wrong.mean())


# Arguments --------------------------------------------------------------------------------------------------


def _array(name: str, value: Any, dtype: np.dtype[Any] | None) -> Array:
    """An array of that dtype, or of float32 or float64; nothing is converted."""
    if type(value) is np.ndarray and (
        value.dtype == dtype or (dtype is None and value.dtype in (SINGLE, DOUBLE))
    ):
        return value
    wanted = "float32 or float64" if dtype is None else str(dtype)
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array of {wanted}, got {type(value).__name__}")
    if type(value) is np.ndarray:
        raise TypeError(f"{name}: expected {wanted}, got {value.dtype}")
    return _array(name, value.view(np.ndarray), dtype)


def _weights(
    init: Init, shape: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype[Any], name: str = "init"
) -> Array:
    weights = _validation.function(name, init)(shape, rng=rng, dtype=dtype)
    if not isinstance(weights, np.ndarray) or weights.shape != shape or weights.dtype != dtype:
        got = f"{weights.shape} of {weights.dtype}" if isinstance(weights, np.ndarray) else repr(weights)
        raise ValueError(f"{name}: expected weights of shape {shape} and {dtype}, got {got}")
    return weights
