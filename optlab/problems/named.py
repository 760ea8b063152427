"""Named costs, compiled: value, gradient and Hessian in closed form, and what is known about them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation
from .._kernels.surfaces import Named
from .problem import Problem

Array = NDArray[np.float64]


def _named(
    name: str,
    n: int,
    constants: ArrayLike = (),
    *,
    kernel: str | None = None,
    x0: ArrayLike | None = None,
    domain: ArrayLike | None = None,
    minimizers: ArrayLike = (),
    fmin: float | None = None,
) -> Problem:
    numbers = np.array(constants, dtype=np.float64).ravel()
    return Problem(
        name, Named(kernel or name, n, numbers), x0=x0, domain=domain, minimizers=minimizers, fmin=fmin
    )


def quadratic(
    kappa: float = 10.0,
    n: int = 2,
    *,
    eigenvalues: ArrayLike | None = None,
    rotation: float | ArrayLike | np.random.Generator | None = None,
    center: ArrayLike | None = None,
) -> Problem:
    r"""A quadratic with a given spectrum.

    .. math::

        f(\theta) = \tfrac12 (\theta - c)^T Q \Lambda Q^T (\theta - c)

    Parameters
    ----------
    kappa : float
        The condition number, at least 1: the eigenvalues are spaced evenly in their logarithms from 1 to
        kappa. Default 10.
    n : int
        The number of parameters. Default 2; with kappa above 1 at least 2.
    eigenvalues : array, shape (n,), optional
        The diagonal of :math:`\Lambda` itself, of any sign, in place of `kappa` and `n`.
    rotation : optional
        Q: None for the axes, a float for n = 2 (an angle in radians, counter-clockwise), an orthogonal array
        of shape (n, n), or a NumPy Generator for a random one.
    center : array, shape (n,), optional
        The critical point c; default 0.

    Returns
    -------
    Problem
        `x0` is c + (1, ..., 1); c is the minimizer if no eigenvalue is negative.

    Raises
    ------
    ValueError
        kappa below 1, shapes that do not fit, a rotation that is not orthogonal to 1e-10.

    Examples
    --------
    >>> quadratic(kappa=3.0, rotation=np.pi / 4).hess([0.0, 0.0]).round(12)
    array([[ 2., -1.],
           [-1., 2.]])
    """
    if eigenvalues is None:
        kappa = _validation.number("kappa", kappa, minimum=1.0)
        n = _validation.count("n", n, minimum=1)
        if n == 1 and kappa != 1.0:
            raise ValueError(f"n: expected at least 2 for kappa above 1, got {n}")
        spectrum = np.geomspace(1.0, kappa, n)
    else:
        spectrum = np.array(_validation.real_array("eigenvalues", eigenvalues, 1), dtype=np.float64)
        _validation.finite("eigenvalues", spectrum)
        n = len(spectrum)
        if n == 0:
            raise ValueError("eigenvalues: expected at least one, got none")
    middle = np.zeros(n)
    if center is not None:
        middle = np.array(_validation.real_array("center", center, 1), dtype=np.float64)
        _validation.finite("center", middle)
        if middle.shape != (n,):
            raise ValueError(f"center: expected shape {(n,)}, got {middle.shape}")
    known: dict[str, Any] = {
        "x0": middle + 1.0,
        "domain": np.stack([middle - 2.0, middle + 2.0], axis=1),
        "minimizers": [middle] if spectrum.min() >= 0.0 else (),
        "fmin": 0.0 if spectrum.min() >= 0.0 else None,
    }
    if rotation is None and n != 2:
        return _named("quadratic", n, np.concatenate([middle, spectrum]), kernel="diagonal", **known)
    Q = _rotation(rotation, n)
    A = (Q * spectrum) @ Q.T
    A = 0.5 * (A + A.T)
    form = "quadratic_2d" if n == 2 else "quadratic"
    return _named("quadratic", n, np.concatenate([middle, A.ravel()]), kernel=form, **known)


def _rotation(rotation: float | ArrayLike | np.random.Generator | None, n: int) -> Array:
    if rotation is None:
        return np.eye(n)
    if isinstance(rotation, np.random.Generator):
        Q, R = np.linalg.qr(rotation.standard_normal((n, n)))
        return Q * np.sign(np.diag(R))  # so that all rotations are equally likely
    array = _validation.numbers("rotation", rotation)
    if array.ndim == 0:
        if n != 2:
            raise ValueError(f"rotation: expected an array of shape {(n, n)}, an angle needs n = 2")
        c, s = math.cos(float(array)), math.sin(float(array))
        return np.array([[c, -s], [s, c]])
    if array.shape != (n, n):
        raise ValueError(f"rotation: expected shape {(n, n)}, got {array.shape}")
    Q = array.astype(np.float64)
    if not np.abs(Q.T @ Q - np.eye(n)).max() <= 1e-10:
        raise ValueError("rotation: expected an orthogonal array, got one whose columns are not orthonormal")
    return Q


def elongated_bowl(steepness: float = 1000.0) -> Problem:
    r"""A long valley with a round floor along x and walls of bounded slope across it, along y.

    .. math::

        f(x, y) = \tfrac12 x^2 + s \left(\sqrt{1 + y^2} - 1\right)

    The curvature across is s at the floor and falls on the walls, where the slope tends to s: a step that is
    too long ends on a cycle between the walls instead of diverging.

    Parameters
    ----------
    steepness : float
        s > 0. Default 1000.

    Examples
    --------
    >>> elongated_bowl()([10.0, 1.0]).__round__(3)
    464.214
    """
    s = _positive("steepness", steepness)
    return _named(
        "elongated_bowl", 2, [s], x0=[10.0, 1.0], domain=[[-12, 12], [-6, 6]], minimizers=[[0, 0]], fmin=0.0
    )


def rosenbrock(n: int = 2, b: float = 100.0) -> Problem:
    r"""Rosenbrock's curved valley, as a chain for n > 2.

    .. math::

        f(x) = \sum_{i=1}^{n-1} b\,(x_{i+1} - x_i^2)^2 + (1 - x_i)^2

    The minimizer is (1, ..., 1). From n = 4 on there is a second, local minimum near (-1, 1, ..., 1).

    Parameters
    ----------
    n : int
        At least 2.
    b : float
        How steep the valley is, b > 0. Default 100.

    References
    ----------
    Rosenbrock, "An automatic method for finding the greatest or least value of a function", Computer J. 3
    (1960).

    Examples
    --------
    >>> round(rosenbrock()([-1.2, 1.0]), 12)
    24.2
    """
    n = _validation.count("n", n, minimum=2)
    b = _positive("b", b)
    return _named(
        "rosenbrock",
        n,
        [b],
        kernel="rosenbrock_2d" if n == 2 else "rosenbrock",
        x0=np.resize([-1.2, 1.0], n),
        domain=[[-2, 2], [-1, 3]] if n == 2 else [-2, 2],
        minimizers=[np.ones(n)],
        fmin=0.0,
    )


def extended_rosenbrock(n: int = 2, b: float = 100.0) -> Problem:
    r"""n / 2 copies of Rosenbrock's valley: as large as you like, with the condition number of one.

    .. math::

        f(x) = \sum_{i=1}^{n/2} b\,(x_{2i} - x_{2i-1}^2)^2 + (1 - x_{2i-1})^2

    Parameters
    ----------
    n : int
        Even, at least 2.
    b : float
        b > 0. Default 100.

    References
    ----------
    Moré, Garbow and Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7 (1981), problem 21.

    Examples
    --------
    >>> p = extended_rosenbrock(1000)
    >>> round(p(p.x0))
    12100
    """
    n = _validation.count("n", n, minimum=2)
    if n % 2:
        raise ValueError(f"n: expected an even number, got {n}")
    return _named(
        "extended_rosenbrock",
        n,
        [_positive("b", b)],
        x0=np.resize([-1.2, 1.0], n),
        domain=[[-2, 2], [-1, 3]] if n == 2 else [-2, 2],
        minimizers=[np.ones(n)],
        fmin=0.0,
    )


def crescent(b: float = 50.0) -> Problem:
    r"""A valley in the shape of a new moon: it follows the unit circle to its lowest point, (1, 0).

    .. math::

        f(x, y) = \tfrac{b}{4} (x^2 + y^2 - 1)^2 + \tfrac12 (x - 1)^2 + \tfrac12 y^2

    At the minimizer the Hessian is diag(2b + 1, 1).

    Parameters
    ----------
    b : float
        How steep the valley is, b > 0. Default 50.

    Examples
    --------
    >>> crescent().hess([1.0, 0.0])
    array([[101., 0.],
           [ 0., 1.]])
    """
    return _named(
        "crescent",
        2,
        [_positive("b", b)],
        x0=[-0.9, 0.5],
        domain=[-1.5, 1.5],
        minimizers=[[1.0, 0.0]],
        fmin=0.0,
    )


def two_valleys(sharpness: float = 25.0) -> Problem:
    r"""Two valleys of equal depth in one dimension, a flat one at 2 and a sharp one at -2.

    .. math::

        f(x) = \min\left(\tfrac12 (x - 2)^2, \tfrac{h}{2} (x + 2)^2\right)

    The cost is continuous with a kink at the top between the valleys, where gradient and Hessian are those of
    the flat one.

    Parameters
    ----------
    sharpness : float
        h > 0, the curvature of the sharp valley; that of the flat one is 1. Default 25.

    Examples
    --------
    >>> p = two_valleys()
    >>> p.hess([-2.0]), p.hess([2.0])
    (array([[25.]]), array([[1.]]))
    """
    h = _positive("sharpness", sharpness)
    return _named("two_valleys", 1, [h], x0=[-2.0], domain=[-4, 5], minimizers=[[2.0], [-2.0]], fmin=0.0)


def beale() -> Problem:
    r"""Beale's function: a minimum at (3, 1/2) in a flat valley between steep walls.

    .. math::

        f(x, y) = \sum_{i=1}^3 \left(c_i - x (1 - y^i)\right)^2,\quad c = (1.5, 2.25, 2.625)

    References
    ----------
    Beale, "On an iterative method for finding a local minimum of a function of more than one variable"
    (1958).

    Examples
    --------
    >>> beale()([3.0, 0.5])
    0.0
    """
    return _named("beale", 2, x0=[1.0, 1.0], domain=[-4.5, 4.5], minimizers=[[3.0, 0.5]], fmin=0.0)


def himmelblau() -> Problem:
    r"""Himmelblau's function: four minima of value 0, four saddles and a maximum.

    .. math::

        f(x, y) = (x^2 + y - 11)^2 + (x + y^2 - 7)^2

    References
    ----------
    Himmelblau, "Applied nonlinear programming" (1972).

    Examples
    --------
    >>> himmelblau().minimizers.round(3)
    array([[ 3.   ,  2.   ],
           [-2.805,  3.131],
           [-3.779, -3.283],
           [ 3.584, -1.848]])
    """
    minimizers = [
        [3.0, 2.0],
        [-2.805118086952745, 3.131312518250573],
        [-3.779310253377747, -3.283185991286170],
        [3.584428340330492, -1.848126526964404],
    ]
    return _named("himmelblau", 2, x0=[0.0, 0.0], domain=[-5.5, 5.5], minimizers=minimizers, fmin=0.0)


def booth() -> Problem:
    r"""Booth's function, a quadratic with condition number 9 whose axes lie diagonally; minimum at (1, 3).

    .. math::

        f(x, y) = (x + 2y - 7)^2 + (2x + y - 5)^2

    Examples
    --------
    >>> booth().hess([0.0, 0.0])
    array([[10., 8.],
           [ 8., 10.]])
    """
    return _named("booth", 2, x0=[-5.0, 5.0], domain=[-10, 10], minimizers=[[1.0, 3.0]], fmin=0.0)


def styblinski_tang(n: int = 2) -> Problem:
    r"""The function of Styblinski and Tang: :math:`2^n` minima, one of them global.

    .. math::

        f(x) = \tfrac12 \sum_i x_i^4 - 16 x_i^2 + 5 x_i

    References
    ----------
    Styblinski and Tang, "Experiments in nonconvex optimization", Neural Networks 3 (1990).

    Examples
    --------
    >>> round(styblinski_tang().fmin, 4)
    -78.3323
    """
    n = _validation.count("n", n, minimum=1)
    lowest = np.full(n, -2.903534027771177)
    fmin = -39.16616570377142 * n
    return _named("styblinski_tang", n, domain=[-5, 5], minimizers=[lowest], fmin=fmin)


def rastrigin(n: int = 2) -> Problem:
    r"""Rastrigin's function: a bowl full of dents, one near each point with whole coordinates.

    .. math::

        f(x) = \sum_i x_i^2 + 10 \left(1 - \cos 2 \pi x_i\right)

    References
    ----------
    Rastrigin, "Systems of extremal control" (1974).

    Examples
    --------
    >>> rastrigin()([0.0, 1.0])
    1.0
    """
    n = _validation.count("n", n, minimum=1)
    return _named(
        "rastrigin", n, x0=np.full(n, 3.3), domain=[-5.12, 5.12], minimizers=[np.zeros(n)], fmin=0.0
    )


def ackley(n: int = 2) -> Problem:
    r"""Ackley's function: dents all over, and a funnel with a tip at 0.

    .. math::

        f(x) &= 20 \left(1 - e^{-r/5}\right) + e - \exp\left(\tfrac1n \sum_i \cos 2 \pi x_i\right), \\
        r &= \sqrt{\tfrac1n \sum_i x_i^2}

    At the tip there is no gradient; it is given as 0. The Hessian there is not finite.

    References
    ----------
    Ackley, "A connectionist machine for genetic hillclimbing" (1987).

    Examples
    --------
    >>> ackley()([0.0, 0.0])
    0.0
    """
    n = _validation.count("n", n, minimum=1)
    return _named("ackley", n, x0=np.full(n, 2.3), domain=[-5, 5], minimizers=[np.zeros(n)], fmin=0.0)


def saddle() -> Problem:
    r"""The saddle :math:`f(x, y) = x^2 - y^2`.

    Examples
    --------
    >>> saddle().hess([0.0, 0.0])
    array([[ 2., 0.],
           [ 0., -2.]])
    """
    return _named("saddle", 2, x0=[1.0, 1e-3], domain=[-2, 2])


def monkey_saddle() -> Problem:
    r"""The monkey saddle :math:`f(x, y) = x^3 - 3 x y^2`: three valleys meet at 0, where the Hessian is zero.

    Examples
    --------
    >>> monkey_saddle()([1.0, 1.0])
    -2.0
    """
    return _named("monkey_saddle", 2, x0=[0.5, 0.5], domain=[-1.5, 1.5])


def double_well(quartic: float = 0.25) -> Problem:
    r"""Two wells with a saddle at 0 between them.

    .. math::

        f(x, y) = x^2 - y^2 + q y^4

    The minima lie at :math:`(0, \pm 1/\sqrt{2q})`, with the value :math:`-1/(4q)`.

    Parameters
    ----------
    quartic : float
        q > 0. Default 1/4.

    Examples
    --------
    >>> double_well().minimizers.round(4)
    array([[ 0.    ,  1.4142],
           [ 0.    , -1.4142]])
    """
    q = _positive("quartic", quartic)
    y = 1.0 / math.sqrt(2.0 * q)
    return _named(
        "double_well",
        2,
        [q],
        x0=[0.5, 0.3],
        domain=[[-1.5 * y, 1.5 * y], [-1.5 * y, 1.5 * y]],
        minimizers=[[0.0, y], [0.0, -y]],
        fmin=-0.25 / q,
    )


def weight_product(n: int = 2) -> Problem:
    r"""The cost of a chain of n linear units that has to learn the number 1.

    .. math::

        f(w) = \left(1 - w_1 w_2 \cdots w_n\right)^2

    0 is a critical point, for n = 2 a saddle, for n > 2 with zero Hessian; the minima form a surface. The
    cost of a Hessian grows like :math:`n^3`: meant for small n.

    Examples
    --------
    >>> weight_product().hess([0.0, 0.0])
    array([[ 0., -2.],
           [-2., 0.]])
    """
    n = _validation.count("n", n, minimum=1)
    return _named("weight_product", n, x0=np.full(n, 0.5), domain=[-2, 2], minimizers=[np.ones(n)], fmin=0.0)


def plateau(n: int = 2) -> Problem:
    r"""A well in an endless plateau, where gradient and Hessian vanish though the value is highest.

    .. math::

        f(x) = 1 - e^{-\|x\|^2}

    Examples
    --------
    >>> p = plateau()
    >>> p([6.0, 0.0]), bool(abs(p.grad([6.0, 0.0])).max() < 1e-12)
    (0.9999999999999998, True)
    """
    n = _validation.count("n", n, minimum=1)
    return _named("plateau", n, x0=np.full(n, 0.5), domain=[-4, 4], minimizers=[np.zeros(n)], fmin=0.0)


def cliff(steps: int = 25, target: float = 0.7) -> Problem:
    r"""The cost of the smallest recurrent network: one unit, run for T steps, that has to end at a target.

    .. math::

        h_0 &= \tfrac12, \quad h_t = w\,\sigma(h_{t-1}) + b, \\
        f(w, b) &= \left(\sigma(h_T) - \text{target}\right)^2

    :math:`\sigma` is the logistic function. Where the unit has two stable states, their border is a wall that
    grows steeper with T.

    Parameters
    ----------
    steps : int
        T >= 1. Default 25.
    target : float
        In (0, 1). Default 0.7.

    References
    ----------
    The picture of such a wall: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
    networks" (2013), figure 6. There :math:`h_0` is the output and the parameters differ.

    Examples
    --------
    >>> round(cliff()([5.5, -2.3]), 4)
    0.0619
    """
    steps = _validation.count("steps", steps, minimum=1)
    target = _positive("target", target)
    if not target < 1.0:
        raise ValueError(f"target: expected a number below 1, got {target}")
    return _named("cliff", 2, [steps, target], x0=[5.5, -2.3], domain=[[4.5, 6.5], [-3.0, -1.5]], fmin=0.0)


def shared_weight(depth: int = 20) -> Problem:
    r"""One weight used T times: a cost that is flat near 0 and a wall beyond its minimum.

    .. math::

        f(w) = \tfrac12 \left(\tfrac12 w^T - 1\right)^2

    The minimum is :math:`w = 2^{1/T}`, and its negative if T is even.

    Parameters
    ----------
    depth : int
        T >= 1. Default 20.

    Examples
    --------
    >>> shared_weight().grad([1.2]).round(2)
    array([5804.57])
    """
    depth = _validation.count("depth", depth, minimum=1)
    w = 2.0 ** (1.0 / depth)
    minimizers = [[w], [-w]] if depth % 2 == 0 else [[w]]
    return _named("shared_weight", 1, [depth], x0=[1.2], domain=[-1.3, 1.3], minimizers=minimizers, fmin=0.0)


def mountain(n: int = 1) -> Problem:
    r"""A mountain with a low plain on the right, and on the left a slope that falls to 0 for ever.

    .. math::

        f(x) = \frac{1}{1 + x^2} - 2\,\sigma(2 (x - 1)), \qquad
        f(x, y) = f(x) + \tfrac1{10} e^{-y}

    The values tend to 0 on the left and to -2 on the right. The top, x = -0.1697, is the only critical point;
    with the second coordinate there is none.

    Parameters
    ----------
    n : int
        1 or 2.

    Examples
    --------
    >>> p = mountain()
    >>> round(p([-30.0]), 3), round(p([30.0]), 3)
    (0.001, -1.999)
    """
    n = _validation.count("n", n, minimum=1)
    if n > 2:
        raise ValueError(f"n: expected 1 or 2, got {n}")
    domain = [[-5.0, 5.0], [-1.0, 5.0]][:n]
    return _named("mountain", n, x0=np.zeros(n) - [0.3, 0.0][:n], domain=domain)


def _positive(name: str, value: float) -> float:
    value = _validation.positive(name, value)
    if math.isinf(value):
        raise ValueError(f"{name}: expected a positive finite number, got {value}")
    return value
