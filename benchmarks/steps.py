"""Steps of all optimizers in float32, against torch: its fused kernels where it has them, else its default.

Both check nothing that the other does not but for one thing: optlab looks for NaN in the gradient before it
changes anything. The rows "no check" leave that out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

import optlab

from .pairs import Case

SIZES = {1_000: "1e3", 100_000: "1e5", 10_000_000: "1e7"}
TARGETS = {"Adam": (80, 3.7, 1.0), "SGD, momentum": (50, 2.5, 1.0)}

# optlab's, and the name and options of torch's.
ROWS: dict[str, tuple[optlab.Optimizer, str, dict[str, Any]]] = {
    "SGD": (optlab.SGD(), "SGD", {"lr": 0.01, "fused": True}),
    "SGD, momentum": (
        optlab.Momentum(form="pytorch"),
        "SGD",
        {"lr": 0.01, "momentum": 0.9, "fused": True},
    ),
    "Nesterov": (
        optlab.Nesterov(form="pytorch"),
        "SGD",
        {"lr": 0.01, "momentum": 0.9, "nesterov": True, "fused": True},
    ),
    "AdaGrad": (optlab.AdaGrad(), "Adagrad", {"lr": 0.01, "fused": True}),
    "RMSProp": (optlab.RMSProp(), "RMSprop", {"lr": 1e-3, "alpha": 0.9}),
    "RMSProp, momentum": (
        optlab.RMSProp(momentum=0.9, form="pytorch"),
        "RMSprop",
        {"lr": 1e-3, "alpha": 0.9, "momentum": 0.9},
    ),
    "AdaDelta": (optlab.AdaDelta(), "Adadelta", {"lr": 1.0, "rho": 0.95}),
    "Adam": (optlab.Adam(), "Adam", {"lr": 1e-3, "fused": True}),
    "AdamW": (optlab.AdamW(form="pytorch"), "AdamW", {"lr": 1e-3, "weight_decay": 1e-5, "fused": True}),
    "AMSGrad": (optlab.AMSGrad(form="pytorch"), "Adam", {"lr": 1e-3, "amsgrad": True, "fused": True}),
    "NAdam": (optlab.NAdam(form="pytorch"), "NAdam", {"lr": 2e-3}),
    "RAdam": (optlab.RAdam(form="pytorch"), "RAdam", {"lr": 1e-3}),
}


def cases() -> Iterator[Case]:
    if find_spec("torch") is None:
        print("steps: no rows, as torch is not installed (extra: peers)")
        return
    import torch

    torch.set_num_threads(1)
    for name, (opt, theirs, options) in ROWS.items():
        for place, (n, size) in enumerate(SIZES.items()):
            target = TARGETS[name][place] if name in TARGETS else 1
            peer = _torch(getattr(torch.optim, theirs), options, n)
            kind = "torch fused" if options.get("fused") else "torch"
            yield Case(f"step, {name}", size, kind, peer, _ours(opt, n), target)
            if name in TARGETS:
                yield Case(f"step, {name}", f"{size} no check", kind, peer, _ours(opt, n, True), target)
    for n, size in SIZES.items():
        x, g = _vectors(n)
        parameter = torch.nn.Parameter(torch.from_numpy(x))
        parameter.grad = torch.from_numpy(g.copy())
        yield Case(
            "clip by norm",
            size,
            "torch clip_grad_norm_",
            lambda parameter=parameter: torch.nn.utils.clip_grad_norm_([parameter], 1.0),  # type: ignore[misc]
            lambda g=g: optlab.clip_by_norm(g, 1.0, out=g),  # type: ignore[misc]
            1,
        )
    # torch has neither of these: against the same step without a state, its plain descent.
    for name, opt in {
        "DeltaBarDelta": optlab.DeltaBarDelta(),
        "Switch": optlab.Switch(optlab.Adam(), optlab.SGD(), 10),
    }.items():
        for n, size in SIZES.items():
            peer = _torch(torch.optim.SGD, {"lr": 0.01, "fused": True}, n)
            yield Case(f"step, {name}", size, "torch fused SGD", peer, _ours(opt, n), 1)


def _ours(opt: optlab.Optimizer, n: int, allow_nan: bool = False) -> Callable[[], None]:
    x, g = _vectors(n)
    state = replace(opt).init(x)
    step = opt.step
    if allow_nan:
        return lambda: step(x, g, state, allow_nan=True)
    return lambda: step(x, g, state)


def _torch(kind: Any, options: dict[str, Any], n: int) -> Callable[[], None]:
    import torch

    x, g = _vectors(n)
    parameter = torch.nn.Parameter(torch.from_numpy(x))
    parameter.grad = torch.from_numpy(g)
    optimizer = kind([parameter], **options)
    step: Callable[[], None] = optimizer.step
    return step


def _vectors(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((2, n), dtype=np.float32).copy())  # type: ignore[return-value]
