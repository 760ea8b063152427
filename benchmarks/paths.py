"""Paths of 100 000 steps in two dimensions, against a loop compiled by Numba and a loop in NumPy.

All of them store the points, the values and the norms of the gradients.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator

import numpy as np

import optlab

from .pairs import Case

STEPS = 100_000
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def cases() -> Iterator[Case]:
    problem = optlab.problems.rosenbrock()
    start = np.array([-1.2, 1.0])
    for name, opt, loop, numpy_loop in (
        ("descent", optlab.SGD(LR), _descent, _descent_numpy),
        ("Adam", optlab.Adam(LR, BETA1, BETA2, EPS), _adam, _adam_numpy),
    ):

        def ours(opt: optlab.Optimizer = opt) -> optlab.History:
            return optlab.trajectory(problem, opt, start, STEPS)

        peers: list[tuple[str, Callable[..., tuple[np.ndarray, ...]], float]] = [
            ("NumPy loop", numpy_loop, 300)
        ]
        if importlib.util.find_spec("numba"):
            import numba

            peers.insert(0, ("numba", numba.njit(loop), 1))
        else:
            print(f"paths, {name}: no row for numba, which is not installed (pip install numba)")
        for peer, function, target in peers:
            theirs = function(-1.2, 1.0, STEPS)[0]  # compiles
            # Beyond, Adam jumps about the minimum, and rounding decides where.
            np.testing.assert_allclose(ours().x[:10_000], theirs[:10_000], rtol=1e-9, atol=1e-9)
            yield Case(
                f"path, {name}",
                f"{STEPS} steps",
                peer,
                lambda function=function: function(-1.2, 1.0, STEPS),  # type: ignore[misc]
                ours,
                target,
            )


def _descent(x: float, y: float, steps: int) -> tuple[np.ndarray, ...]:
    points, values, norms = np.empty((steps + 1, 2)), np.empty(steps + 1), np.empty(steps + 1)
    for t in range(steps + 1):
        u, v = 1.0 - x, y - x * x
        gx, gy = -400.0 * x * v - 2.0 * u, 200.0 * v
        points[t, 0], points[t, 1] = x, y
        values[t], norms[t] = 100.0 * v * v + u * u, math.sqrt(gx * gx + gy * gy)
        x -= LR * gx
        y -= LR * gy
    return points, values, norms


def _adam(x: float, y: float, steps: int) -> tuple[np.ndarray, ...]:
    points, values, norms = np.empty((steps + 1, 2)), np.empty(steps + 1), np.empty(steps + 1)
    mx = my = vx = vy = 0.0
    for t in range(steps + 1):
        u, v = 1.0 - x, y - x * x
        gx, gy = -400.0 * x * v - 2.0 * u, 200.0 * v
        points[t, 0], points[t, 1] = x, y
        values[t], norms[t] = 100.0 * v * v + u * u, math.sqrt(gx * gx + gy * gy)
        mx, my = BETA1 * mx + (1 - BETA1) * gx, BETA1 * my + (1 - BETA1) * gy
        vx, vy = BETA2 * vx + (1 - BETA2) * gx * gx, BETA2 * vy + (1 - BETA2) * gy * gy
        rate, scale = LR / (1 - BETA1 ** (t + 1)), 1 / math.sqrt(1 - BETA2 ** (t + 1))
        x -= rate * mx / (math.sqrt(vx) * scale + EPS)
        y -= rate * my / (math.sqrt(vy) * scale + EPS)
    return points, values, norms


def _value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
    u, v = 1.0 - x[0], x[1] - x[0] * x[0]
    return 100.0 * v * v + u * u, np.array([-400.0 * x[0] * v - 2.0 * u, 200.0 * v])


def _descent_numpy(x0: float, y0: float, steps: int) -> tuple[np.ndarray, ...]:
    points, values, norms = np.empty((steps + 1, 2)), np.empty(steps + 1), np.empty(steps + 1)
    x = np.array([x0, y0])
    for t in range(steps + 1):
        f, g = _value_and_grad(x)
        points[t], values[t], norms[t] = x, f, math.sqrt(g @ g)
        x = x - LR * g
    return points, values, norms


def _adam_numpy(x0: float, y0: float, steps: int) -> tuple[np.ndarray, ...]:
    points, values, norms = np.empty((steps + 1, 2)), np.empty(steps + 1), np.empty(steps + 1)
    x = np.array([x0, y0])
    m, v = np.zeros(2), np.zeros(2)
    for t in range(steps + 1):
        f, g = _value_and_grad(x)
        points[t], values[t], norms[t] = x, f, math.sqrt(g @ g)
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        x = x - LR * (m / (1 - BETA1 ** (t + 1))) / (np.sqrt(v / (1 - BETA2 ** (t + 1))) + EPS)
    return points, values, norms
