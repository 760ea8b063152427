"""Costs of models on real data: mean loss, gradient and Hessian times vector in compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation
from .problem import Problem

Array = NDArray[np.float64]
Data: TypeAlias = "str | tuple[ArrayLike, ArrayLike]"

_NAMES = ("breast_cancer", "diabetes", "digits", "iris", "wine")


class DataProblem(Problem):
    """A cost of a model on samples: `Problem` and what the model is.

    Attributes
    ----------
    X : ndarray, shape (samples, inputs)
        Read-only, as y.
    y : ndarray, shape (samples,)
        Labels 0, 1, ..., or numbers.
    layers : tuple of int
        Inputs, hidden units, outputs.

    Examples
    --------
    >>> import optlab
    >>> p = optlab.problems.mlp(hidden=(16,))
    >>> p, p.layers
    (Problem(mlp, n=1210), (64, 16, 10))
    >>> [(W.shape, b.shape) for W, b in p.unflatten(p.x0)]
    [((16, 64), (16,)), ((10, 16), (10,))]
    """

    X: Array
    y: NDArray[Any]
    layers: tuple[int, ...]
    _model: tuple[str, str, float]  # activation, loss, penalty

    def unflatten(self, x: ArrayLike) -> list[tuple[Array, Array]]:
        """The parameters of each layer, (W, b) of shapes (out, in) and (out,), as views of x if it is an
        array of float64."""
        x = self._point("x", x)
        layers, end = [], 0
        for inputs, outputs in zip(self.layers[:-1], self.layers[1:], strict=True):
            start, end = end, end + inputs * outputs
            layers.append((x[start:end].reshape(outputs, inputs), x[end : end + outputs]))
            end += outputs
        return layers

    def outputs(self, x: ArrayLike, X: ArrayLike | None = None) -> Array:
        """What the model with the parameters x says on X, shape (samples, inputs): an array of shape
        (samples, outputs), before any softmax. Default: on its own samples.

        The class is the ``argmax`` over the last axis, of a `logistic` problem whether the output is
        positive.
        """
        A = self.X if X is None else np.asarray(X, dtype=np.float64)
        if A.ndim != 2 or A.shape[1] != self.layers[0]:
            raise ValueError(f"X: expected shape (samples, {self.layers[0]}), got {A.shape}")
        layers = self.unflatten(x)
        for place, (W, b) in enumerate(layers):
            A = A @ W.T + b
            if place < len(layers) - 1:
                A = np.tanh(A) if self._model[0] == "tanh" else np.maximum(A, 0.0)
        return A

    def cost(self, x: ArrayLike, X: ArrayLike, y: ArrayLike) -> tuple[float, Array]:
        """The mean cost of other samples, for instance a mini-batch, and its gradient.

        Parameters
        ----------
        x : array, shape (n,)
            The parameters.
        X : array, shape (samples, inputs)
        y : array, shape (samples,)
            As the attributes `X` and `y`.

        Raises
        ------
        ValueError, TypeError
            Shapes, labels or numbers that do not fit the model.

        Examples
        --------
        >>> import numpy as np, optlab
        >>> p = optlab.problems.softmax()
        >>> theta = np.zeros(p.n)
        >>> batches = optlab.Batches(p.X, p.y, size=32, rng=0)
        >>> run = optlab.train(p, theta, batches, optlab.SGD(lr=1.0), epochs=5, progress=False)
        >>> p(run.params) < 0.2
        True
        """
        from .._kernels.networks import Trained

        A = np.ascontiguousarray(_validation.real_array("X", X, 2), dtype=np.float64)
        targets = _validation.numbers("y", y)
        if A.shape[1] != self.layers[0] or not len(A):
            raise ValueError(f"X: expected shape (samples, {self.layers[0]}), got {A.shape}")
        if targets.shape != (len(A),):
            raise ValueError(f"y: expected shape {(len(A),)} as X has rows, got {targets.shape}")
        activation, loss, penalty = self._model
        outputs = 2 if loss == "logistic" else self.layers[-1]
        if self.y.dtype == np.int64:
            T = _one_hot(targets, outputs)[1]
            if loss == "logistic":
                T = T[:, 1:] - T[:, :1]
        else:
            T = np.array(targets, dtype=np.float64)[:, None]
        g = np.empty(self.n)
        kernel = Trained(A, np.ascontiguousarray(T), self.layers, activation, loss, penalty)
        return kernel.evaluate(self._point("x", x), g), g


def least_squares(data: Data = "diabetes", *, penalty: float = 0.0) -> DataProblem:
    r"""Linear regression.

    .. math::

        f(w, b) = \frac{1}{2N} \sum_i \left(w^T x_i + b - y_i\right)^2 + \frac{\lambda}{2} \|(w, b)\|^2

    Parameters
    ----------
    data : str or (X, y)
        A data set of scikit-learn by name, here with targets of mean 0 and standard deviation 1; or inputs of
        shape (samples, inputs) and numbers of shape (samples,). Default "diabetes".
    penalty : float
        :math:`\lambda \ge 0`, on all parameters, the constant too. Default 0.

    Returns
    -------
    DataProblem
        n = inputs + 1, `x0` = 0, and its minimizer (without penalty the one of least norm).

    Raises
    ------
    ValueError, TypeError
        An unknown name, shapes that do not fit, numbers that are not finite, a negative penalty.
    ImportError
        A name, and scikit-learn is not installed.

    Notes
    -----
    The inputs of named data have mean 0 and standard deviation 1, but for the digits, whose pixels are
    divided by 16.

    Examples
    --------
    >>> import numpy as np
    >>> p = least_squares()
    >>> p, bool(np.abs(p.grad(p.minimum)).max() < 1e-14)
    (Problem(least_squares, n=11), True)
    """
    X, y = _samples(data)
    y = _validation.numbers("y", y).astype(np.float64)
    if isinstance(data, str):
        y = (y - y.mean()) / y.std()
    problem = _problem("least_squares", X, y, y[:, None], (X.shape[1], 1), "tanh", "squared", penalty)
    n = problem.n
    A = np.vstack([np.column_stack([X, np.ones(len(X))]), np.sqrt(penalty * len(X)) * np.eye(n)])
    best = np.linalg.lstsq(A, np.concatenate([y, np.zeros(n)]), rcond=None)[0]
    problem.minimizers = best[None]
    problem.minimizers.flags.writeable = False
    problem.fmin = problem(best)
    return problem


def logistic(data: Data = "breast_cancer", *, penalty: float = 0.0) -> DataProblem:
    r"""Logistic regression with two classes.

    .. math::

        f(w, b) = \frac1N \sum_i \log\left(1 + e^{-s_i (w^T x_i + b)}\right)
            + \frac{\lambda}{2} \|(w, b)\|^2,\quad s_i = \pm 1

    Parameters
    ----------
    data : str or (X, y)
        As in `least_squares`; y has two different values, the larger of which counts as +1. Default
        "breast_cancer".
    penalty : float
        :math:`\lambda \ge 0`, on all parameters, the constant too. Default 0: then there is no minimum if the
        classes can be separated.

    Returns
    -------
    DataProblem
        n = inputs + 1, `x0` = 0; `y` is 0 and 1.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `least_squares` does.

    Examples
    --------
    >>> import numpy as np
    >>> p = logistic()
    >>> p.n, round(p(p.x0), 12) == round(float(np.log(2)), 12)
    (31, True)
    """
    X, y = _samples(data)
    values = np.unique(_validation.numbers("y", y))
    if len(values) != 2:
        raise ValueError(f"y: expected two classes, got {len(values)}")
    labels = (y == values[1]).astype(np.int64)
    signs = 2.0 * labels[:, None] - 1.0
    return _problem("logistic", X, labels, signs, (X.shape[1], 1), "tanh", "logistic", penalty)


def softmax(data: Data = "digits", *, penalty: float = 0.0) -> DataProblem:
    r"""Softmax regression: a linear model with as many outputs as there are classes.

    .. math::

        f(W, b) &= -\frac1N \sum_i \log p_{i, y_i} + \frac{\lambda}{2} \|(W, b)\|^2, \\
        p_i &= \text{softmax}(W x_i + b)

    Parameters
    ----------
    data : str or (X, y)
        As in `least_squares`; y holds the labels 0, 1, ... Default "digits".
    penalty : float
        :math:`\lambda \ge 0`, on all parameters. Default 0.

    Returns
    -------
    DataProblem
        `x0` = 0.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `least_squares` does; labels that are not whole numbers from 0 on.

    Examples
    --------
    >>> p = softmax()
    >>> p, round(p(p.x0), 6)  # log 10
    (Problem(softmax, n=650), 2.302585)
    """
    X, y = _samples(data)
    labels, T = _one_hot(y)
    sizes = (X.shape[1], T.shape[1])
    return _problem("softmax", X, labels, T, sizes, "tanh", "cross_entropy", penalty)


def mlp(
    data: Data = "digits",
    *,
    hidden: Sequence[int] = (32,),
    activation: str = "tanh",
    loss: str = "cross_entropy",
    penalty: float = 0.0,
    seed: int | np.random.Generator = 0,
) -> DataProblem:
    r"""A small multi-layer perceptron that classifies.

    .. math::

        a_0 &= x, \quad a_k = \phi(W_k a_{k-1} + b_k), \quad z = W_L a_{L-1} + b_L, \\
        f(\theta) &= \frac1N \sum_i \ell(z_i, y_i) + \frac{\lambda}{2} \|\theta\|^2

    Parameters
    ----------
    data : str or (X, y)
        As in `least_squares`; y holds the labels 0, 1, ... Default "digits".
    hidden : sequence of int
        The units of each hidden layer. Default (32,).
    activation : {"tanh", "relu"}
        :math:`\phi`; the derivative of ReLU at 0 is taken as 0.
    loss : {"cross_entropy", "squared"}
        :math:`\ell`: the cross-entropy of the softmax of z, or half the squared distance of z from the
        one-hot vector.
    penalty : float
        :math:`\lambda \ge 0`, on all parameters. Default 0.
    seed : int or Generator
        For `x0`: weights from :math:`N(0, 1/\text{inputs})`, layer by layer, biases 0.

    Returns
    -------
    DataProblem

    Raises
    ------
    ValueError, TypeError, ImportError
        As `least_squares` does; an unknown activation or loss.

    Examples
    --------
    >>> p = mlp(hidden=(8,))
    >>> p.n == 65 * 8 + 9 * 10
    True
    """
    X, y = _samples(data)
    labels, T = _one_hot(y)
    if activation not in ("tanh", "relu"):
        raise ValueError(f'activation: expected "tanh" or "relu", got {activation!r}')
    if loss not in ("cross_entropy", "squared"):
        raise ValueError(f'loss: expected "cross_entropy" or "squared", got {loss!r}')
    if len(hidden) > 14:
        raise ValueError(f"hidden: expected at most 14 layers, got {len(hidden)}")
    units = tuple(_validation.count("hidden", h, minimum=1) for h in hidden)
    problem = _problem("mlp", X, labels, T, (X.shape[1], *units, T.shape[1]), activation, loss, penalty)
    rng = np.random.default_rng(seed)
    start = np.zeros(problem.n)
    for W, _b in problem.unflatten(start):
        W[:] = rng.standard_normal(W.shape) / np.sqrt(W.shape[1])
    start.flags.writeable = False
    problem.x0 = start
    return problem


def _problem(
    name: str,
    X: Array,
    y: NDArray[Any],
    T: Array,
    sizes: tuple[int, ...],
    activation: str,
    loss: str,
    penalty: float,
) -> DataProblem:
    from .._kernels.networks import Trained  # brings SciPy's BLAS

    penalty = _validation.number("penalty", penalty, minimum=0.0)
    kernel = Trained(X, np.ascontiguousarray(T, dtype=np.float64), sizes, activation, loss, penalty)
    problem = DataProblem(name, kernel)
    X.flags.writeable = y.flags.writeable = False  # the kernel reads X itself
    problem.X, problem.y, problem.layers = X, y, sizes
    problem._model = activation, loss, penalty
    return problem


def _samples(data: Data) -> tuple[Array, NDArray[Any]]:
    """Inputs in C order and targets, checked."""
    if isinstance(data, str):
        if data not in _NAMES:
            raise ValueError(f"data: expected one of {', '.join(_NAMES)} or a pair (X, y), got {data!r}")
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{data}")(return_X_y=True)
        X = X / 16.0 if data == "digits" else (X - X.mean(axis=0)) / X.std(axis=0)
        return np.ascontiguousarray(X, dtype=np.float64), y
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise TypeError(f"data: expected a name or a pair (X, y), got {type(data).__name__}")
    inputs = _validation.real_array("X", data[0], 2)
    _validation.finite("X", inputs)
    X = np.array(inputs, dtype=np.float64, order="C")
    y = np.array(_validation.numbers("y", data[1]))
    if y.shape != (len(X),):
        raise ValueError(f"y: expected shape {(len(X),)} as X has rows, got {y.shape}")
    if X.size == 0:
        raise ValueError(f"X: expected at least one sample and one input, got shape {X.shape}")
    _validation.finite("y", y)
    return X, y


def _one_hot(y: NDArray[Any], classes: int | None = None) -> tuple[NDArray[np.int64], Array]:
    """Labels as integers and as rows of an identity matrix."""
    labels = y.astype(np.int64)
    if not (labels == y).all() or labels.min() < 0:
        raise ValueError("y: expected labels 0, 1, ..., got other numbers")
    if classes is None:
        classes = int(labels.max()) + 1
    elif labels.max() >= classes:
        raise ValueError(f"y: expected labels below {classes}, got {labels.max()}")
    T = np.zeros((len(labels), classes))
    T[np.arange(len(labels)), labels] = 1.0
    return labels, T
