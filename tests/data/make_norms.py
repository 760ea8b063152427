"""Make ``norms.npz``: what PyTorch's normalizations make of a few numbers, for ``tests/test_norm_peers.py``.

Needs torch; 2.13 was used, on the processor and in float64.
"""

from pathlib import Path

import numpy as np

EPS = 1e-3
# Shapes of x, and the number of `last` axes or of `groups`.
NORMS = {
    "batch_norm": [((5, 4), {}), ((3, 4, 5), {}), ((2, 3, 4, 5), {}), ((2, 3, 2, 2, 3), {})],
    "layer_norm": [((3, 5), {"last": 1}), ((2, 3, 5), {"last": 1}), ((2, 3, 4, 5), {"last": 3})],
    "instance_norm": [((3, 4, 5), {}), ((2, 3, 4, 5), {})],
    "group_norm": [((3, 6), {"groups": 2}), ((2, 6, 5), {"groups": 3}), ((2, 4, 3, 5), {"groups": 4})],
}
BATCHES = 3
WEIGHTS = [((4, 3), 0), ((4, 3), 1), ((3, 2, 2, 2), 0)]  # shape and axis of the units
ROUNDS = 2


def numbers(*shape):
    """The same for the same shape."""
    return np.random.default_rng([*shape, len(shape)]).normal(1, 2, shape)


def arguments(norm, shape, last=None, groups=None):
    """Batches of x, dy, gamma and beta."""
    x, dy = numbers(BATCHES, *shape), numbers(2, *shape)[1]
    gamma, beta = numbers(2, *(shape[1:2] if last is None else shape[-last:]))
    return x, dy, gamma, beta


def torch_norm(norm, shape, last=None, groups=None):
    """The result, its gradients, and of batch norm the running statistics and the result in evaluation."""
    import torch
    from torch.nn import functional

    batches, dy, gamma, beta = (torch.tensor(a) for a in arguments(norm, shape, last, groups))
    x = batches[0].clone()
    for leaf in (x, gamma, beta):
        leaf.requires_grad_()
    more = {}
    if norm == "batch_norm":
        y = functional.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
        mean, var = torch.zeros(shape[1]).double(), torch.ones(shape[1]).double()
        for batch in batches:
            functional.batch_norm(batch, mean, var, gamma, beta, training=True, momentum=0.3, eps=EPS)
        evaluated = functional.batch_norm(batches[0], mean, var, gamma, beta, eps=EPS)
        more = {"running_mean": mean, "running_var": var, "evaluated": evaluated.detach()}
    elif norm == "layer_norm":
        y = functional.layer_norm(x, shape[-last:], gamma, beta, EPS)
    elif norm == "instance_norm":
        y = functional.instance_norm(x, weight=gamma, bias=beta, eps=EPS)
    else:
        y = functional.group_norm(x, groups, gamma, beta, EPS)
    y.backward(dy)
    results = {"y": y.detach(), "dx": x.grad, "dgamma": gamma.grad, "dbeta": beta.grad, **more}
    return {name: value.numpy() for name, value in results.items()}


def torch_weight_norm(shape, axis):
    import torch

    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(torch.tensor(numbers(*shape)))
    torch.nn.utils.parametrizations.weight_norm(layer, dim=axis)
    g, v = (layer.parametrizations.weight.original0, layer.parametrizations.weight.original1)
    with torch.no_grad():
        g.copy_(torch.tensor(numbers(shape[axis])).reshape(g.shape))
    w = layer.weight
    w.backward(torch.tensor(numbers(2, *shape)[1]))
    return {"w": w.detach().numpy(), "dv": v.grad.numpy(), "dg": g.grad.numpy().ravel()}


def torch_spectral_norm(shape, axis):
    import torch

    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(torch.tensor(numbers(*shape)))
    torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=ROUNDS, dim=axis)
    part = layer.parametrizations.weight[0]
    v = numbers(int(np.prod(shape)) // shape[axis])
    part._v.copy_(torch.tensor(v / np.linalg.norm(v)))  # it starts with u = W v
    w = layer.weight
    w.backward(torch.tensor(numbers(2, *shape)[1]))
    dw = layer.parametrizations.weight.original.grad
    return {"w": w.detach().numpy(), "dw": dw.numpy(), "u": part._u.numpy(), "v": part._v.numpy()}


def torch_results():
    """All of them, by name."""
    results = {}
    for norm, cases in NORMS.items():
        for shape, args in cases:
            for name, value in torch_norm(norm, shape, **args).items():
                results[f"{norm} {shape}, {name}"] = value
    for shape, axis in WEIGHTS:
        for norm, function in (("weight_norm", torch_weight_norm), ("spectral_norm", torch_spectral_norm)):
            for name, value in function(shape, axis).items():
                results[f"{norm} {shape} {axis}, {name}"] = value
    return results


def main():
    np.savez_compressed(Path(__file__).with_name("norms.npz"), **torch_results())


if __name__ == "__main__":
    main()
