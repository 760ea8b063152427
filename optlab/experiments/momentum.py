"""What the chapter on momentum and its claims share: chains in a noisy bowl, a network that learns digits.

`noisy_excess` asks whether momentum helps where gradients are noisy (claim MO-7); `train_digits` compares it
with descent at equal effective learning rates.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from optlab import (
    SGD,
    Batches,
    Momentum,
    Nesterov,
    Optimizer,
    losses,
    problems,
    schedules,
    train,
    trajectories,
)
from optlab.experiments import stored

Array: TypeAlias = NDArray[np.float64]

EFFECTIVE = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0)


# fmt: off
@stored
def noisy_excess(
    method: str, decay: bool, seeds: int = 10, chains: int = 50
) -> tuple[Array, Array]:
    """Steps, and the mean excess error there: a row for each seed."""
    bowl = problems.quadratic(eigenvalues=[0.1, 1.0])
    keep = 0.1 if method == "heavy ball" else 1.0       # 1 - alpha

    def lr(k: int) -> float:
        return min(0.5, 10 / (k + 1)) * keep if decay else 0.05

    opt = {
        "descent": SGD(lr),
        "heavy ball": Momentum(lr, momentum=0.9),
        "t_k": Nesterov(lr, momentum=schedules.nesterov()),
    }[method]
    steps, noise = (10_000, 1.0) if decay else (3000, 0.1)
    excess = [
        trajectories(bowl, opt, np.ones((chains, 2)), steps, every=20,
                     noise=noise, rng=seed).fun.mean(axis=1)
        for seed in range(seeds)
    ]
    return np.arange(20.0, steps + 1, 20), np.array(excess)[:, 1:]


def digits_network(params: list[Array], x: Array, y: Array) -> tuple[float, list[Array]]:
    """Cross-entropy of a network with one hidden layer, and its gradient."""
    W, b, V, c = params
    h = np.tanh(x @ W + b)
    cost, d = losses.cross_entropy(h @ V + c, y)
    back = d @ V.T * (1 - h * h)
    return cost, [x.T @ back, back.sum(axis=0), h.T @ d, d.sum(axis=0)]


@stored
def train_digits(
    method: str, size: int, epochs: int, seed: int, alpha: float = 0.9
) -> Array:
    """Training cost at the end, for each effective rate."""
    x, y = load_digits(return_X_y=True)
    x, y = x[:1400] / 16, y[:1400]
    costs = []
    for effective in EFFECTIVE:
        rng = np.random.default_rng(seed)
        params = [rng.standard_normal((64, 32)) / 8, np.zeros(32),
                  rng.standard_normal((32, 10)) / 32**0.5, np.zeros(10)]
        opt: Optimizer = SGD(lr=effective)
        if method == "heavy ball":
            opt = Momentum((1 - alpha) * effective, alpha)
        if method == "Nesterov":
            opt = Nesterov((1 - alpha) * effective, alpha)
        train(digits_network, params, Batches(x, y, size=size, rng=rng),
              opt, epochs=epochs, progress=False)
        costs.append(digits_network(params, x, y)[0])
    return np.array(costs)
# fmt: on
