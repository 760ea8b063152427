"""50 steps of every form: those of PyTorch and Keras beside trajectories that these have made.

``data/make_trajectories.py`` is the script that made them. Where torch is installed, it makes them again.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from data import make_trajectories as script
from optimizers import OPTIMIZERS

import optlab


def decay(lr):
    return lambda t: lr / (1 + t / 10)


# As theirs are in the script; what is not written there are their defaults.
OURS = {
    "torch SGD": optlab.SGD(1e-3),
    "torch SGD momentum": optlab.Momentum(1e-4, form="pytorch"),
    "torch SGD momentum decaying": optlab.Momentum(decay(1e-4), form="pytorch"),
    "torch SGD nesterov": optlab.Nesterov(1e-4, form="pytorch"),
    "torch Adagrad": optlab.AdaGrad(0.1, eps=1e-10),
    "torch RMSprop": optlab.RMSProp(0.01, rho=0.99, eps=1e-8),
    "torch RMSprop momentum": optlab.RMSProp(1e-3, rho=0.99, momentum=0.9, eps=1e-8, form="pytorch"),
    "torch Adadelta": optlab.AdaDelta(1.0, rho=0.9),
    "torch Adam": optlab.Adam(0.01),
    "torch Adam decaying": optlab.Adam(decay(0.01)),
    "torch Adam amsgrad": optlab.AMSGrad(0.01, form="pytorch"),
    "torch AdamW": optlab.AdamW(0.01, weight_decay=0.5, form="pytorch"),
    "torch NAdam": optlab.NAdam(0.01, form="pytorch"),
    "torch RAdam": optlab.RAdam(0.01, form="pytorch"),
    "keras SGD momentum": optlab.Momentum(1e-4),
    "keras SGD nesterov": optlab.Nesterov(1e-4, form="pytorch"),
    "keras Adagrad": optlab.AdaGrad(0.1, initial=0.1, form="tensorflow"),
    "keras RMSprop": optlab.RMSProp(0.01, eps=1e-7, form="tensorflow"),
    "keras RMSprop momentum": optlab.RMSProp(1e-3, momentum=0.9, eps=1e-7, form="tensorflow"),
    "keras Adadelta": optlab.AdaDelta(1.0, eps=1e-7),
    "keras Adam": optlab.Adam(0.01, eps=1e-7, form="tensorflow"),
    # Theirs have the constant in another place: here it is too small to be seen.
    "keras AdamW": optlab.AdamW(0.01, eps=1e-20, weight_decay=0.5, form="pytorch"),
    "keras Adam amsgrad": optlab.AMSGrad(0.01, eps=1e-20, form="pytorch"),
    "keras Nadam": optlab.NAdam(0.01, eps=1e-7, momentum_decay=1.0, form="pytorch"),
}
# Published forms that are not the peer's.
PUBLISHED = {
    "torch SGD momentum decaying": optlab.Momentum(decay(1e-4)),
    "torch SGD nesterov": optlab.Nesterov(1e-4),
    "torch RMSprop momentum": optlab.RMSProp(1e-3, rho=0.99, momentum=0.9, eps=1e-8),
    "torch Adam amsgrad": optlab.AMSGrad(0.01),
    "torch AdamW": optlab.AdamW(0.01, weight_decay=0.5),
    "torch NAdam": optlab.NAdam(0.01),
    "torch RAdam": optlab.RAdam(0.01),
    "keras Adagrad": optlab.AdaGrad(0.1),
    "keras Adam": optlab.Adam(0.01, eps=1e-7),
    "keras RMSprop": optlab.RMSProp(0.01, eps=1e-7),
    "keras Nadam": optlab.NAdam(0.01, eps=1e-7),
}


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(script.__file__).with_name("trajectories.npz")) as file:
        return dict(file)


def path(opt, problem):
    grad, x = script.PROBLEMS[problem]()
    x = x.copy()
    state, points = opt.init(x), [x.copy()]
    for t in range(script.STEPS):
        opt.step(x, grad(opt.lookahead(x, state), t), state)
        points.append(x.copy())
    return np.array(points)


@pytest.mark.parametrize("problem", list(script.PROBLEMS))
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_form_is_that_of_its_equations(name, problem):
    """The published ones too, from the slow steps."""
    row, (grad, x) = OPTIMIZERS[name], script.PROBLEMS[problem]()
    points, memory = [x], {}
    for t in range(script.STEPS):
        at = x if row.look is None else row.look(x, memory)
        x = row.step(x, grad(at, t), memory)
        points.append(x)
    np.testing.assert_allclose(path(row.opt, problem), points, rtol=1e-9, atol=1e-9)


def difference(a, b):
    """The largest, over the size of the moves."""
    return float(np.abs(a - b).max() / np.abs(b - b[0]).max())


@pytest.mark.parametrize("problem", list(script.PROBLEMS))
@pytest.mark.parametrize("name", list(OURS))
def test_a_form_is_that_of_its_library(name, problem, stored):
    np.testing.assert_allclose(path(OURS[name], problem), stored[f"{name}, {problem}"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_published_form_is_another(name, stored):
    apart = [difference(path(PUBLISHED[name], p), stored[f"{name}, {p}"]) for p in script.PROBLEMS]
    assert max(apart) > 1e-6


def test_all_that_is_stored_is_compared(stored):
    assert set(stored) == {f"{name}, {problem}" for name in OURS for problem in script.PROBLEMS}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed (extra: peers)")
def test_torch_makes_the_same_trajectories_again(stored):
    for problem in script.PROBLEMS:
        for name, make in script.torch_optimizers().items():
            again = script.torch_path(make, problem)
            np.testing.assert_allclose(again, stored[f"torch {name}, {problem}"], rtol=1e-9, atol=1e-9)
