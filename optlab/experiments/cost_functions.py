"""What the chapter on cost functions and its claims share: digits, a part of them kept aside.

`validation_run` trains a small network and looks at its cost and its errors on digits it was not trained with
(claim CF-1). `early_stop` ends a training by such digits and tells how large the gradient still is (CF-4).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from optlab import Momentum, losses, problems, train, trajectory
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]


def split_digits(rng: Generator, size: int) -> tuple[Array, Labels, Array, Labels]:
    """X, y of `size` digits for training and of the others for validation; pixels between 0 and 1."""
    X, y = load_digits(return_X_y=True)
    X, order = X / 16, rng.permutation(len(X))
    return X[order[:size]], y[order[:size]], X[order[size:]], y[order[size:]]


# fmt: off
@stored
def validation_run(seed: int = 0, steps: int = 1000) -> tuple[Array, Array]:
    """A network with 32 hidden units learns 100 digits.

    Two tables, of the training and of the validation digits, with a
    row for 0, 2, 4, ... steps: the cost, the error rate, and how much
    of the cost is due to the worst hundredth of the digits.
    """
    rng = np.random.default_rng(seed)
    X, y, X_val, y_val = split_digits(rng, 100)
    net = problems.mlp((X, y), hidden=(32,), seed=rng)
    opt = Momentum(lr=0.2, momentum=0.9)
    path: Any = trajectory(net, opt, steps=steps, every=2).x

    def judge(theta: Array, X: Array, y: Labels) -> tuple[float, ...]:
        z = net.outputs(theta, X)
        loss = np.sort(-losses.log_softmax(z)[np.arange(len(y)), y])
        worst = loss[-(len(y) // 100):].sum() / loss.sum()
        return loss.mean(), np.mean(z.argmax(axis=1) != y), worst

    return (np.array([judge(theta, X, y) for theta in path]),
            np.array([judge(theta, X_val, y_val) for theta in path]))
# fmt: on


@dataclass
class Stop:
    """Where early stopping ended, and what the same run does when it goes on.

    `at` is the step of the end and `best` that of the lowest validation cost. `cost` and `grad_norm`, on the
    training digits, have an entry for each step, `validation` for each up to the end; `later` is the
    validation cost at the steps 50, 100, ... of the whole run.
    """

    at: int
    best: int
    cost: Array
    grad_norm: Array
    validation: Array
    later: Array


# fmt: off
@stored
def early_stop(seed: int = 0, steps: int = 1500) -> Stop:
    """A network with 64 hidden units learns 300 digits, of which every
    fifth got a random label; it stops by 1497 others, rightly labeled.
    """
    rng = np.random.default_rng(seed)
    X, y, X_val, y_val = split_digits(rng, 300)
    noisy = rng.random(len(y)) < 0.2
    y[noisy] = rng.integers(10, size=noisy.sum())
    net = problems.mlp((X, y), hidden=(64,), seed=rng)
    others = problems.mlp((X_val, y_val), hidden=(64,))
    opt = Momentum(lr=0.2, momentum=0.9)
    run = train(
        net.value_and_grad, net.x0.copy(), [()], opt, epochs=steps,
        validate=others, patience=20, progress=False)
    full: Any = trajectory(net, opt, steps=steps)
    return Stop(
        at=run.nit, best=run.best_epoch,
        cost=full.fun, grad_norm=full.grad_norm,
        validation=run.history.validation,
        later=np.array([others(theta) for theta in full.x[50::50]]))
# fmt: on
