"""Make ``trajectories.npz``: 50 steps of the optimizers of PyTorch and Keras, for ``tests/test_peers.py``.

Needs torch and keras; 2.13 and 3.15 were used, on the processor and in float64.
Each optimizer runs on a rotated quadratic with condition number 1e4, on Rosenbrock's function, and on a
sequence of noisy gradients of very different sizes that does not depend on the parameters.
"""

import os
from pathlib import Path

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"

STEPS = 50


def quadratic():
    """Gradient of x.A x / 2, and a start."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    A = q * np.geomspace(1e-2, 1e2, 6) @ q.T
    return (lambda x, t: A @ x), rng.standard_normal(6)


def rosenbrock():
    def grad(x, t):
        u = x[1] - x[0] ** 2
        return np.array([-400 * x[0] * u - 2 * (1 - x[0]), 200 * u])

    return grad, np.array([-1.2, 1.0])


def noise():
    """Gradients of sizes 1e-6 to 1e2, with noise as large as themselves."""
    rng = np.random.default_rng(1)
    sizes = np.geomspace(1e-6, 1e2, 8)
    gradients = sizes * (1 + rng.standard_normal((STEPS, 8)))
    return (lambda x, t: gradients[t]), rng.standard_normal(8)


PROBLEMS = {"quadratic": quadratic, "rosenbrock": rosenbrock, "noise": noise}


def torch_path(make, problem):
    import torch

    grad, start = PROBLEMS[problem]()
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer, scheduler = make([x])
    path = [start]
    for t in range(STEPS):
        x.grad = torch.tensor(grad(x.detach().numpy(), t))
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        path.append(x.detach().numpy().copy())
    return np.array(path)


def torch_optimizers():
    from torch import optim

    def decaying(optimizer):
        return optimizer, optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t / 10))

    def alone(optimizer):
        return optimizer, None

    return {
        "SGD": lambda p: alone(optim.SGD(p, lr=1e-3)),
        "SGD momentum": lambda p: alone(optim.SGD(p, lr=1e-4, momentum=0.9)),
        "SGD momentum decaying": lambda p: decaying(optim.SGD(p, lr=1e-4, momentum=0.9)),
        "SGD nesterov": lambda p: alone(optim.SGD(p, lr=1e-4, momentum=0.9, nesterov=True)),
        "Adagrad": lambda p: alone(optim.Adagrad(p, lr=0.1)),
        "RMSprop": lambda p: alone(optim.RMSprop(p, lr=0.01)),
        "RMSprop momentum": lambda p: alone(optim.RMSprop(p, lr=1e-3, momentum=0.9)),
        "Adadelta": lambda p: alone(optim.Adadelta(p, lr=1.0)),
        "Adam": lambda p: alone(optim.Adam(p, lr=0.01)),
        "Adam decaying": lambda p: decaying(optim.Adam(p, lr=0.01)),
        "Adam amsgrad": lambda p: alone(optim.Adam(p, lr=0.01, amsgrad=True)),
        "AdamW": lambda p: alone(optim.AdamW(p, lr=0.01, weight_decay=0.5)),
        "NAdam": lambda p: alone(optim.NAdam(p, lr=0.01)),
        "RAdam": lambda p: alone(optim.RAdam(p, lr=0.01)),
    }


def keras_path(make, problem):
    import keras

    grad, start = PROBLEMS[problem]()
    x = keras.Variable(start, dtype="float64")
    optimizer = make()
    optimizer.build([x])
    path = [start]
    for t in range(STEPS):
        optimizer.apply([keras.ops.convert_to_tensor(grad(x.numpy(), t), dtype="float64")], [x])
        path.append(x.numpy().copy())
    return np.array(path)


def keras_optimizers():
    import keras
    from keras import optimizers

    keras.config.set_floatx("float64")  # else the rates are rounded to float32
    return {
        "SGD momentum": lambda: optimizers.SGD(1e-4, momentum=0.9),
        "SGD nesterov": lambda: optimizers.SGD(1e-4, momentum=0.9, nesterov=True),
        "Adagrad": lambda: optimizers.Adagrad(0.1),
        "RMSprop": lambda: optimizers.RMSprop(0.01),
        "RMSprop momentum": lambda: optimizers.RMSprop(1e-3, momentum=0.9),
        "Adadelta": lambda: optimizers.Adadelta(1.0),
        "Adam": lambda: optimizers.Adam(0.01),
        "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.5, epsilon=1e-20),
        "Adam amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, epsilon=1e-20),
        "Nadam": lambda: optimizers.Nadam(0.01),
    }


def main():
    paths = {}
    for problem in PROBLEMS:
        for name, make in torch_optimizers().items():
            paths[f"torch {name}, {problem}"] = torch_path(make, problem)
        for name, make in keras_optimizers().items():
            paths[f"keras {name}, {problem}"] = keras_path(make, problem)
    np.savez_compressed(Path(__file__).with_name("trajectories.npz"), **paths)


if __name__ == "__main__":
    main()
