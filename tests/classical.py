"""Classical problems of unconstrained minimization, at their customary starts.

The thirty-five sums of squares of Moré, Garbow and Hillstrom, "Testing unconstrained optimization software",
ACM TOMS 7 (1981), and functions of the collections CUTEst and of Andrei, "An unconstrained optimization test
functions collection", AMO 10 (2008). Each is its formula, for the columns of x at once and for complex x too:
the gradient is the complex step, exact but for rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import sklearn.datasets

TINY = 1e-30


@dataclass(frozen=True)
class Problem:
    """Value and gradient of `formula`, which maps (n, k) to (k,). `minima`: the lowest values known, global
    and local, some at infinity."""

    name: str
    formula: Callable
    x0: np.ndarray
    minima: tuple[float, ...]

    def __call__(self, x):
        """(value, gradient). Long steps may overflow."""
        x = np.asarray(x, np.float64)
        with np.errstate(all="ignore"):
            value = self.formula(x[:, None])[0]
            return float(value), self.formula(x[:, None] + 1j * TINY * np.eye(len(x))).imag / TINY


PROBLEMS: dict[str, Problem] = {}


def start(x0, *minima, times=(1,)):
    """A problem for each multiple of x0; several dimensions are several uses of the decorator."""

    def register(formula):
        for factor in times:
            x = factor * np.asarray(x0, np.float64)
            name = f"{formula.__name__} {len(x)}" + (f" x{factor}" if factor != 1 else "")
            while name in PROBLEMS:
                name += "'"
            PROBLEMS[name] = Problem(name, formula, x, minima)
        return formula

    return register


def squares(*residuals):
    """The sum of squares of residuals of shapes (m, k) or (k,)."""
    return sum(np.sum(np.atleast_2d(r) ** 2, axis=0) for r in residuals)


def column(*values):
    return np.array(values, np.float64)[:, None]


def counts(first, last):
    return np.arange(first, last + 1.0)[:, None]


def tiled(pattern, n):
    return np.tile(pattern, n)[:n]


# Moré, Garbow and Hillstrom, in their order ----------------------------------------------------------


@start([-1.2, 1], 0, times=(1, 10, 100))
@start(tiled([-1.2, 1], 10), 0, times=(1, 10))
@start(tiled([-1.2, 1], 50), 0)
def extended_rosenbrock(x):  # 1, 21
    return squares(10 * (x[1::2] - x[::2] ** 2), 1 - x[::2])


@start([0.5, -2], 0, 48.98425, times=(1, 10, 100))
def freudenstein_roth(x):  # 2
    a, b = x
    return squares(-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b)


@start([0, 1], 0, times=(1, 10))
def powell_badly_scaled(x):  # 3
    a, b = x
    return squares(1e4 * a * b - 1, np.exp(-a) + np.exp(-b) - 1.0001)


@start([1, 1], 0, times=(1, 10))
def brown_badly_scaled(x):  # 4
    a, b = x
    return squares(a - 1e6, b - 2e-6, a * b - 2)


@start([1, 1], 0, 0.4524, times=(1, 10))
def beale(x):  # 5; beyond the saddle it falls towards 0.4524
    a, b = x
    return squares(1.5 - a * (1 - b), 2.25 - a * (1 - b**2), 2.625 - a * (1 - b**3))


@start([0.3, 0.4], 124.36218, 259.58019, times=(1, 10))
def jennrich_sampson(x):  # 6
    i = counts(1, 10)
    return squares(2 + 2 * i - np.exp(i * x[0]) - np.exp(i * x[1]))


@start([-1, 0, 0], 0, times=(1, 10, 100))
def helical_valley(x):  # 7
    a, b, c = x
    turns = np.arctan(b / a) / (2 * np.pi) + np.where(a.real < 0, 0.5, 0)
    return squares(10 * (c - 10 * turns), 10 * (np.sqrt(a**2 + b**2) - 1), c)


@start([1, 1, 1], 8.214877e-3, 17.42869, times=(1, 10))
def bard(x):  # 8
    y = column(0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39)
    u = counts(1, 15)
    return squares(y - (x[0] + u / ((16 - u) * x[1] + np.minimum(u, 16 - u) * x[2])))


@start([0.4, 1, 0], 1.127933e-8, times=(1, 10))
def gaussian(x):  # 9
    half = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
    y = column(*half, 0.3989, *half[::-1])
    return squares(x[0] * np.exp(-x[1] * ((8 - counts(1, 15)) / 2 - x[2]) ** 2 / 2) - y)


@start([0.02, 4000, 250], 87.945855)
def meyer(x):  # 10
    y = column(
        *(34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261),
        *(7030, 6005, 5147, 4427, 3820, 3307, 2872),
    )
    return squares(x[0] * np.exp(x[1] / (45 + 5 * counts(1, 16) + x[2])) - y)


@start([5, 2.5, 0.15], 0, 0.038)
def gulf(x):  # 11, with the sign that the paper misprints
    t = counts(1, 99) / 100
    distance = 25 + (-50 * np.log(t)) ** (2 / 3) - x[1]
    return squares(np.exp(-(np.where(distance.real < 0, -distance, distance) ** x[2]) / x[0]) - t)


@start([0, 10, 20], 0, 0.0755677, times=(1, 10))
def box(x):  # 12
    t = counts(1, 10) / 10
    return squares(np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t)))


@start([3, -1, 0, 1], 0, times=(1, 10, 100))
@start(tiled([3, -1, 0, 1], 40), 0)
def powell_singular(x):  # 13, 22
    a, b, c, d = (x[i::4] for i in range(4))
    return squares(a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2)


@start([-3, -1, -3, -1], 0, times=(1, 10, 100))
def wood(x):  # 14
    a, b, c, d = x
    return squares(
        *(10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, 10**0.5 * (b + d - 2), 10**-0.5 * (b - d)),
    )


@start([0.25, 0.39, 0.415, 0.39], 3.0750560e-4, 1.02734e-3, times=(1, 10))
def kowalik_osborne(x):  # 15
    y = column(0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
    u = column(4, 2, 1, 0.5, 0.25, 0.1670, 0.1250, 0.1000, 0.0833, 0.0714, 0.0625)
    return squares(y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3]))


@start([25, 5, -5, -1], 85822.2016, times=(1, 10))
def brown_dennis(x):  # 16
    t = counts(1, 20) / 5
    return squares((x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2)


@start([0.5, 1.5, -1, 0.01, 0.02], 5.464895e-5, 1.0567)
def osborne_1(x):  # 17
    y = column(
        *(0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658),
        *(0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431),
        *(0.424, 0.420, 0.414, 0.411, 0.406),
    )
    t = 10 * counts(0, 32)
    return squares(y - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4])))


@start([1, 2, 1, 1, 1, 1], 0, 5.6556499e-3, 0.30636677, times=(1, 10))
def biggs(x):  # 18
    t = counts(1, 13) / 10
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return squares(x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y)


@start([1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], 4.0137736e-2, 1.78981)
def osborne_2(x):  # 19
    y = column(
        *(1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655),
        *(0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558),
        *(0.533, 0.495, 0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562),
        *(0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710),
        *(0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054),
    )
    t = counts(0, 64) / 10
    bumps = sum(x[i] * np.exp(-x[i + 4] * (t - x[i + 7]) ** 2) for i in (1, 2, 3))
    return squares(y - (x[0] * np.exp(-t * x[4]) + bumps))


@start(np.zeros(6), 2.2876701e-3)
@start(np.zeros(12), 4.722381e-10)
def watson(x):  # 20
    t, j = counts(1, 29) / 29, np.arange(len(x))
    values, slopes = t**j, j[1:] * t ** (j[1:] - 1)
    return squares(slopes @ x[1:] - (values @ x) ** 2 - 1, x[0], x[1] - x[0] ** 2 - 1)


@start(np.arange(1, 5), 2.2499775e-5, times=(1, 10))
@start(np.arange(1, 11), 7.0876515e-5)
def penalty_1(x):  # 23
    return squares(1e-5**0.5 * (x - 1), np.sum(x**2, axis=0) - 0.25)


@start(np.full(4, 0.5), 9.3762930e-6, times=(1, 10))
@start(np.full(10, 0.5), 2.9366053e-4)
def penalty_2(x):  # 24
    n, root = len(x), 1e-5**0.5
    i, e = counts(1, n), np.exp(x / 10)
    return squares(
        x[0] - 0.2,
        root * (e[1:] + e[:-1] - np.exp(i[1:] / 10) - np.exp(i[:-1] / 10)),
        root * (e[1:] - np.exp(-0.1)),
        np.sum((n + 1 - i) * x**2, axis=0) - 1,
    )


@start(1 - np.arange(1, 11) / 10, 0, times=(1, 10))
@start(1 - np.arange(1, 51) / 50, 0)
def variably_dimensioned(x):  # 25
    s = np.sum(counts(1, len(x)) * (x - 1), axis=0)
    return squares(x - 1, s, s**2)


@start(np.full(2, 0.5), 0)
@start(np.full(10, 0.1), 0, 2.7950561e-5, 4.2186339e-5, times=(1, 10))
@start(np.full(50, 0.02), 0, 5.4517157e-6)
def trigonometric(x):  # 26
    n = len(x)
    return squares(n - np.sum(np.cos(x), axis=0) + counts(1, n) * (1 - np.cos(x)) - np.sin(x))


@start(np.full(4, 0.5), 0, 1)
@start(np.full(10, 0.5), 0, 1, times=(1, 10))
@start(np.full(40, 0.5), 0, 1)
def brown_almost_linear(x):  # 27
    return squares(x[:-1] + np.sum(x, axis=0) - (len(x) + 1), np.prod(x, axis=0) - 1)


def between_zeros(x):
    zero = np.zeros_like(x[:1])
    return np.concatenate([zero, x, zero])


def inner_points(n):
    return np.arange(1, n + 1) / (n + 1)


def boundary_start(n):
    return inner_points(n) * (inner_points(n) - 1)


@start(boundary_start(10), 0, times=(1, 10))
@start(boundary_start(50), 0)
def discrete_boundary_value(x):  # 28
    n = len(x)
    t, u = inner_points(n)[:, None], between_zeros(x)
    return squares(2 * x - u[:-2] - u[2:] + (x + t + 1) ** 3 / (2 * (n + 1) ** 2))


@start(boundary_start(10), 0, times=(1, 10, 100))
@start(boundary_start(40), 0)
def discrete_integral_equation(x):  # 29
    t = inner_points(len(x))
    kernel = np.minimum.outer(t, t) * (1 - np.maximum.outer(t, t))
    return squares(x + kernel @ (x + t[:, None] + 1) ** 3 / (2 * (len(x) + 1)))


@start(np.full(10, -1), 0, 0.87897362, 1.028652, times=(1, 10, 100))
@start(np.full(50, -1), 0)
def broyden_tridiagonal(x):  # 30
    u = between_zeros(x)
    return squares((3 - 2 * x) * x - u[:-2] - 2 * u[2:] + 1)


@start(np.full(10, -1), 0, 2.6802199, 3.0572784, times=(1, 10, 100))
@start(np.full(50, -1), 0, 3.054547)
def broyden_banded(x):  # 31
    n = len(x)
    band = np.tri(n, k=1) - np.tri(n, k=-6) - np.eye(n)
    return squares(x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x)))


@start(np.ones(10), 10, times=(1, 10))
@start(np.ones(30), 30)
def linear_full_rank(x):  # 32, with m = 2 n
    n, shift = len(x), np.sum(x, axis=0) / len(x) + 1
    return squares(x - shift) + n * shift**2


@start(np.ones(10), 190 / 41, times=(1, 10))
@start(np.ones(30), 60 * 59 / (2 * 121))
def linear_rank_1(x):  # 33, with m = 2 n
    return squares(counts(1, 2 * len(x)) * np.sum(counts(1, len(x)) * x, axis=0) - 1)


@start(np.ones(10), 454 / 74, times=(1, 10))
def linear_rank_1_with_zeros(x):  # 34, with m = 2 n
    n = len(x)
    s = np.sum(counts(2, n - 1) * x[1:-1], axis=0)
    return squares(counts(1, 2 * n - 2) * s - 1) + 2


@start(inner_points(2), 0, times=(1, 10))
@start(inner_points(7), 0)
@start(inner_points(8), 3.5168737e-3, times=(1, 10))
@start(inner_points(9), 0, 2.8e-3)
@start(inner_points(10), 4.7727138e-3, 6.5039548e-3)
@start(inner_points(20), 4.57295519e-3)
def chebyquad(x):  # 35
    n, y = len(x), 2 * x - 1
    last, this, residuals = 1, y, []
    for i in range(1, n + 1):
        residuals.append(np.mean(this, axis=0) + (1 / (i * i - 1) if i % 2 == 0 else 0))
        last, this = this, 2 * y * this - last
    return squares(*residuals)


# CUTEst and Andrei -----------------------------------------------------------------------------------


@start(tiled([-1.2, 1], 5), 0, 3.93084)
@start(tiled([-1.2, 1], 10), 0, 3.98658)
@start(np.full(10, -1), 0, 3.98658)
@start(tiled([-1.2, 1], 50), 0, 3.98662)
@start(tiled([-1.2, 1], 100), 0, 3.98662)
def chained_rosenbrock(x):
    return squares(10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1])


@start(inner_points(20), 1)
@start(inner_points(60), 1)
def genrose(x):
    return 1 + squares(10 * (x[1:] - x[:-1] ** 2), x[1:] - 1)


@start([-1.2, 1], 0, times=(1, 10))
def cube(x):
    return squares(x[0] - 1, 10 * (x[1] - x[0] ** 3))


@start(np.full(10, 10), 0, 2 / 3)
@start(np.full(40, 2), 0, 2 / 3)
def dixon_price(x):
    return squares(x[0] - 1, counts(2, len(x)) ** 0.5 * (2 * x[1:] ** 2 - x[:-1]))


@start(np.linspace(-5, 10, 5), 0)
@start(1 - inner_points(30), 0)
def zakharov(x):
    s = np.sum(counts(1, len(x)) * x, axis=0) / 2
    return squares(x, s, s**2)


@start([1, 1], 0, times=(1, 10))
@start([-3, -0.5], 0)
def himmelblau(x):
    a, b = x
    return squares(a**2 + b - 11, a + b**2 - 7)


@start(np.ones(10), 0)
@start(np.ones(100), 0)
def arwhead(x):
    return np.sum((x[:-1] ** 2 + x[-1] ** 2) ** 2 - 4 * x[:-1] + 3, axis=0)


@start(np.full(10, 2), 9.17746996)
@start(np.full(100, 2), 109.088136)
def engval_1(x):
    return np.sum((x[:-1] ** 2 + x[1:] ** 2) ** 2 - 4 * x[:-1] + 3, axis=0)


@start(np.full(10, 2), 0)
@start(np.full(50, 2), 0)
def quartic(x):
    return np.sum((x - counts(1, len(x))) ** 4, axis=0)


@start(np.full(20, 4), 0)
@start(np.full(100, 4), 0)
def liarwhd(x):
    return squares(2 * (x**2 - x[0]), x - 1)


@start(np.ones(20), 0)
@start(np.ones(100), 0)
def tridia(x):
    return squares(x[0] - 1, counts(2, len(x)) ** 0.5 * (2 * x[1:] - x[:-1]))


@start(np.full(20, -1), 0)
@start(np.full(90, -1), 0)
def nondia(x):
    return squares(x[0] - 1, 10 * (x[0] - x[:-1] ** 2))


@start(tiled([1, -1], 20), 0)
def nondquar(x):
    return squares(x[0] - x[1], x[-2] + x[-1], (x[:-2] + x[1:-1] + x[-1]) ** 2)


@start(np.ones(10), 0)
@start(np.ones(50), 0)
def power(x):
    return np.sum(counts(1, len(x)) * x**2, axis=0) ** 2


@start(np.full(5, 0.1), 0)
@start(np.full(50, 0.1), 0)
def sinquad(x):
    middle = x[1:-1]
    return squares((x[0] - 1) ** 2, np.sin(middle - x[-1]) - x[0] ** 2 + middle**2, x[-1] ** 2 - x[0] ** 2)


@start(np.full(10, 3), 0)
@start(np.full(100, 3), 0)
def dqdrtic(x):
    return squares(x[:-2], 10 * x[1:-1], 10 * x[2:])


@start(np.full(10, 8), 63.2846001)
@start(np.full(60, 8), 363.284592)
def edensch(x):
    return 16 + squares((x[:-1] - 2) ** 2, x[:-1] * x[1:] - 2 * x[1:], x[1:] + 1)


@start(np.zeros(10), 0)
@start(np.zeros(50), 0)
def fletchcr(x):
    return squares(10 * (x[1:] - x[:-1] + 1 - x[:-1] ** 2))


@start([0, -1], 0.19978661)
@start([1, 0], 0.19978661)
def cliff(x):
    a, b = x
    return ((a - 3) / 100) ** 2 - (a - b) + np.exp(20 * (a - b))


@start([1, 1], 0, times=(1, 10))
def denschn_a(x):
    return squares(x[0] ** 2, x[0] + x[1], np.exp(x[1]) - 1)


@start([1, 1], 0, times=(1, 10))
def denschn_b(x):
    return squares(x[0] - 2, (x[0] - 2) * x[1], x[1] + 1)


@start([2, 3], 0, 0.18336165, 3.6464416, times=(1, 10))
def denschn_c(x):
    return squares(x[0] ** 2 + x[1] ** 2 - 2, np.exp(x[0] - 1) + x[1] ** 3 - 2)


@start([10, 10, 10], 0)
def denschn_d(x):
    a, b, c = x
    return squares(a**2 + b**3 - c**4, 2 * a * b * c, 2 * a * b - 3 * b * c + a * c)


@start([2, 3, -8], 0, 1)
def denschn_e(x):
    return squares(x[0], x[1] + x[1] ** 2, np.exp(x[2]) - 1)


@start([2, 0], 0, times=(1, 10))
def denschn_f(x):
    a, b = x
    return squares(2 * (a + b) ** 2 + (a - b) ** 2 - 8, 5 * a**2 + (b - 3) ** 2 - 9)


@start([1, 0.1], 0, times=(1, 10))
def sisser(x):
    a, b = x
    return 3 * a**4 - 2 * a**2 * b**2 + 3 * b**4


@start([1.5 * np.pi, -1], 0)
def sineval(x):
    return squares(100 * (x[1] - np.sin(x[0])), x[0] / 2)


@start([3, 0.1], 0.77319906)
def s308(x):
    a, b = x
    return squares(a**2 + a * b + b**2, np.sin(a), np.cos(b))


@start(np.ones(5), 0)
@start(np.full(10, -3), 0)
def hilbert(x):
    i = np.arange(len(x))
    return np.sum(x * (x.T @ (1 / (1 + i + i[:, None]))).T, axis=0)


@start(np.ones(10), 5.5)
@start(np.ones(100), 505)
def raydan_1(x):
    return np.sum(counts(1, len(x)) / 10 * (np.exp(x) - x), axis=0)


@start(np.full(10, 0.1), sum(i - i * np.log(i) for i in range(1, 11)))
@start(np.full(60, 1 / 60), sum(i - i * np.log(i) for i in range(1, 61)))
def diagonal_1(x):
    return np.sum(np.exp(x) - counts(1, len(x)) * x, axis=0)


@start(np.ones(10), sum(i**0.5 * (1 - np.log(i) / 2) for i in range(1, 11)))
@start(np.ones(100), sum(i**0.5 * (1 - np.log(i) / 2) for i in range(1, 101)))
def hager(x):
    return np.sum(np.exp(x) - counts(1, len(x)) ** 0.5 * x, axis=0)


@start(np.full(10, 0.5), 0)
@start(np.full(100, 0.5), 0)
def almost_perturbed_quadratic(x):
    return np.sum(counts(1, len(x)) * x**2, axis=0) + (x[0] + x[-1]) ** 2 / 100


@start([0.01, 1, 20], 3)
def barrier(x):  # not a number left of zero, where long steps lead
    return np.sum(x - np.log(x), axis=0)


def softplus(z):
    """log(1 + exp(z)), for complex z too."""
    size = np.where(z.real > 0, z, -z)
    return np.where(z.real > 0, z, 0) + np.log1p(np.exp(-size))


@start(np.zeros(31), 0.0598294719)
def logistic_regression(x):  # scikit-learn's breast cancer data, standardized
    return np.mean(softplus(-breast_cancer() @ x), axis=0) + np.sum(x**2, axis=0) / 2000


@cache
def breast_cancer():
    X, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    X = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))])
    return np.where(y == 1, X.T, -X.T).T
