"""What the chapter on ill-conditioned Hessians and its claims share: a network at the edge of stability.

The question (claim IC-3): does the gradient shrink while the training of a network succeeds? We compare a
window of 50 steps early in training with the first later window whose mean cost is a fifth.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, problems, trajectory
from optlab.experiments import stored
from optlab.landscape import hessian_vector_product

Array = NDArray[np.float64]

SKIP, WINDOW = 30, 50


def digits_network(loss: str, seed: int = 0) -> problems.Problem:
    """200 digits and a tanh network 64-32-32-10, both drawn by `seed`."""
    images, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(labels))[:200]
    samples = images[rows] / 16, labels[rows]
    return problems.mlp(samples, hidden=(32, 32), loss=loss, seed=seed)


def curvature(problem: problems.Problem, x: Array) -> float:
    """g'Hg / g'g: the second derivative along the gradient."""
    g = problem.grad(x)
    Hg = hessian_vector_product(problem, x, g)
    return float(g @ Hg / (g @ g))


class Window(NamedTuple):
    """Mean cost, median gradient norm and median curvature along the gradient over 50 steps."""

    start: int
    fun: float
    grad_norm: float
    curvature: float


@stored
def fivefold(lr: float, loss: str, seed: int, steps: int = 5000) -> tuple[Window, Window]:
    """The window from step 30 and the first of the following whose mean cost is at most a fifth of its."""
    problem = digits_network(loss, seed)
    optimizer = SGD(lr=lr)
    with threadpool_limits(1):  # the products are small: two threads would wait for each other
        x = np.asarray(trajectory(problem, optimizer, steps=SKIP, every=SKIP).x)[-1]
        first = None
        for start in range(SKIP, steps, WINDOW):
            path = trajectory(problem, optimizer, x, steps=WINDOW)
            *points, x = np.asarray(path.x)  # the last is the first of the next window
            fun = path.fun[:-1].mean()
            if first is None or 5 * fun <= first.fun:
                bends = [curvature(problem, point) for point in points]
                found = Window(start, fun, np.median(path.grad_norm[:-1]), np.median(bends))
                if first is not None:
                    return first, found
                first = found
    raise RuntimeError(f"the cost did not fall fivefold in {steps} steps")
