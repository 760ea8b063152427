"""The normalizations beside those of PyTorch.

``data/make_norms.py`` is the script that made what is stored. Where torch is installed, it makes it again.
Batch renormalization has no PyTorch form.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from data import make_norms as script

from optlab import normalization

CASES = [(norm, shape, args) for norm, cases in script.NORMS.items() for shape, args in cases]
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(script.__file__).with_name("norms.npz")) as file:
        return dict(file)


def ours(norm, shape, last=None, groups=None):
    """What is stored, made by the package."""
    batches, dy, gamma, beta = script.arguments(norm, shape, last, groups)
    args = {"eps": script.EPS}
    if last is not None:
        args["normalized_shape"] = shape[-last:]
    if groups is not None:
        args["groups"] = groups
    y, cache = getattr(normalization, norm)(batches[0], gamma, beta, **args)
    dx, dgamma, dbeta = getattr(normalization, f"{norm}_backward")(dy, cache)
    results = {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
    if norm == "batch_norm":
        mean, var = np.zeros(shape[1]), np.ones(shape[1])
        for x in batches:
            normalization.batch_norm(x, gamma, beta, running_mean=mean, running_var=var, momentum=0.3, **args)
        evaluated = normalization.batch_norm_inference(batches[0], gamma, beta, mean, var, **args)
        results |= {"running_mean": mean, "running_var": var, "evaluated": evaluated}
    return results


def ours_weight_norm(shape, axis):
    w, cache = normalization.weight_norm(script.numbers(*shape), script.numbers(shape[axis]), axis=axis)
    dv, dg = normalization.weight_norm_backward(script.numbers(2, *shape)[1], cache)
    return {"w": w, "dv": dv, "dg": dg}


def ours_spectral_norm(shape, axis):
    """PyTorch does u before v: that is ours of the transposed matrix."""
    w, dw = (np.moveaxis(a, axis, 0) for a in (script.numbers(*shape), script.numbers(2, *shape)[1]))

    def turned(a):
        return np.ascontiguousarray(a.reshape(len(w), -1).T)

    def back(a):
        return np.moveaxis(a.T.reshape(w.shape), 0, axis)

    start = script.numbers(w[0].size)
    normalized, cache = normalization.spectral_norm(turned(w), start, rounds=script.ROUNDS)
    gradient = normalization.spectral_norm_backward(turned(dw), cache)
    return {"w": back(normalized), "dw": back(gradient), "u": cache.v, "v": cache.u}


@pytest.mark.parametrize(("norm", "shape", "args"), CASES, ids=str)
def test_a_norm_is_that_of_pytorch(norm, shape, args, stored):
    for name, value in ours(norm, shape, **args).items():
        np.testing.assert_allclose(value, stored[f"{norm} {shape}, {name}"], **TOLERANCE, err_msg=name)


@pytest.mark.parametrize(("shape", "axis"), script.WEIGHTS, ids=str)
@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_a_reparametrization_is_that_of_pytorch(norm, shape, axis, stored):
    function = {"weight_norm": ours_weight_norm, "spectral_norm": ours_spectral_norm}[norm]
    for name, value in function(shape, axis).items():
        expected = stored[f"{norm} {shape} {axis}, {name}"]
        np.testing.assert_allclose(value, expected, **TOLERANCE, err_msg=name)


def test_both_spectral_norms_agree_when_converged():
    """Whichever vector comes first."""
    w = script.numbers(6, 4)
    u, v = script.numbers(6), script.numbers(4)
    first, _ = normalization.spectral_norm(w, u, rounds=2000)
    second, _ = normalization.spectral_norm(np.ascontiguousarray(w.T), v, rounds=2000)
    np.testing.assert_allclose(first, second.T, **TOLERANCE)


def test_all_that_is_stored_is_compared(stored):
    names = {f"{norm} {shape}, {name}" for norm, shape, args in CASES for name in ours(norm, shape, **args)}
    for shape, axis in script.WEIGHTS:
        names |= {f"weight_norm {shape} {axis}, {name}" for name in ours_weight_norm(shape, axis)}
        names |= {f"spectral_norm {shape} {axis}, {name}" for name in ours_spectral_norm(shape, axis)}
    assert set(stored) == names


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed (extra: peers)")
def test_torch_makes_the_same_results_again(stored):
    again = script.torch_results()
    assert set(again) == set(stored)
    for name, value in again.items():
        np.testing.assert_allclose(value, stored[name], **TOLERANCE, err_msg=name)
