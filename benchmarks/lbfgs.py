"""L-BFGS on the extended Rosenbrock function from its customary start, ten pairs, to a gradient of 1e-5.

What counts is the optimizer's own time: that of the peer's objective, in NumPy, is subtracted. Ours
is the whole call on the compiled problem, with its evaluations. Beside it: the same Python function for both,
subtracted on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.optimize

import optlab

from .pairs import Case

TARGETS = {10: (40, 4), 1_000: (15, 6), 100_000: (8, 3), 1_000_000: (4.5, 2)}


class Objective:
    """Value and gradient, and the seconds and calls they took."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        start = time.perf_counter()
        u, v = x[1::2] - x[::2] ** 2, 1 - x[::2]
        g = np.empty_like(x)
        g[::2] = -400 * x[::2] * u - 2 * v
        g[1::2] = 200 * u
        f = float(100 * (u @ u) + v @ v)
        self.calls += 1
        self.seconds += time.perf_counter() - start
        return f, g


def cases() -> Iterator[Case]:
    for n, (target, best) in TARGETS.items():
        p = optlab.problems.extended_rosenbrock(n)
        ours = partial(_compiled, p)
        for peer, theirs in _peers(p.x0).items():
            evaluations = f"{ours()[1]}/{theirs()[1]}"
            what = f"n={n:.0e}".replace("e+0", "e") + f" {evaluations} ev"
            goal = target if peer.startswith("scipy") else best
            yield Case("L-BFGS, own time", what, peer, _first(theirs), _first(ours), goal, own=True)
        yield Case(
            "L-BFGS, Python function",
            what,
            "scipy L-BFGS-B",
            _first(_scipy(p.x0)),
            _first(_interpreted(p.x0)),
            1,
            own=True,
        )


def _first(run: Callable[[], tuple[float, int]]) -> Callable[[], float]:
    return lambda: run()[0]


# Each returns the seconds that do not count, and evaluations.


def _compiled(p: optlab.problems.Problem) -> tuple[float, int]:
    run = optlab.lbfgs(p, p.x0, history=False)
    assert run.success
    return 0.0, run.nfev


def _interpreted(x0: np.ndarray) -> Callable[[], tuple[float, int]]:
    def run() -> tuple[float, int]:
        fun = Objective()
        assert optlab.lbfgs(fun, x0, jac=True, history=False).success
        return fun.seconds, fun.calls

    return run


def _scipy(x0: np.ndarray) -> Callable[[], tuple[float, int]]:
    def run() -> tuple[float, int]:
        fun = Objective()
        options = {"maxcor": 10, "gtol": 1e-5, "ftol": 0, "maxfun": 10**6}
        done = scipy.optimize.minimize(fun, x0, jac=True, method="L-BFGS-B", options=options)
        assert np.abs(done.jac).max() <= 1e-5
        return fun.seconds, fun.calls

    return run


def _pylbfgs(x0: np.ndarray) -> Callable[[], tuple[float, int]]:
    fmin_lbfgs: Any = import_module("lbfgs").fmin_lbfgs

    def run() -> tuple[float, int]:
        fun = Objective()

        def evaluate(x: np.ndarray, g: np.ndarray) -> float:
            f, g[:] = fun(x)
            return f

        fmin_lbfgs(evaluate, x0.copy(), m=10, epsilon=1e-5)
        return fun.seconds, fun.calls

    return run


def _torch(x0: np.ndarray) -> Callable[[], tuple[float, int]]:
    torch: Any = import_module("torch")
    torch.set_num_threads(1)

    def run() -> tuple[float, int]:
        fun = Objective()
        x = torch.tensor(x0, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [x], max_iter=1000, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def closure() -> Any:
            f, g = fun(x.detach().numpy())
            x.grad = torch.from_numpy(g)
            return torch.tensor(f)

        optimizer.step(closure)
        return fun.seconds, fun.calls

    return run


def _peers(x0: np.ndarray) -> dict[str, Callable[[], tuple[float, int]]]:
    peers = {"scipy L-BFGS-B": _scipy(x0)}
    for name, module, make in (("PyLBFGS", "lbfgs", _pylbfgs), ("torch LBFGS", "torch", _torch)):
        if find_spec(module) is None:
            print(f"({name} is not installed)")
        else:
            peers[name] = make(x0)
    return peers
