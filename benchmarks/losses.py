"""Softmax, its logarithm, and cross-entropy with its gradient, in float32.

Both sides make new arrays: 32 MB of results cost as much in page faults as in arithmetic. "out" is ours with
`out=`, which torch's autograd does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.special

from optlab import losses

from .pairs import Case

# By size: what scipy and torch should take at least for softmax, for log_softmax, torch for cross-entropy.
TARGETS: dict[tuple[int, int], dict[str, Any]] = {
    (32, 10): {"softmax": (5, 2), "log_softmax": (8, 2), "cross_entropy": 10},
    (256, 1000): {"softmax": (3, 1.2), "log_softmax": (3, 1.1), "cross_entropy": 3},
    (8192, 1000): {"softmax": (2, 1.1), "log_softmax": (3, 1.1), "cross_entropy": 3},
}


def cases() -> Iterator[Case]:
    torch: Any = None
    if find_spec("torch") is None:
        print("losses: no rows for torch, which is not installed")
    else:
        torch = import_module("torch")
        torch.set_num_threads(1)
    for (n, k), targets in TARGETS.items():
        rng = np.random.default_rng(0)
        z = rng.normal(0, 3, (n, k)).astype(np.float32)
        y = rng.integers(0, k, n)
        size = f"{n}x{k}"
        for name in ("softmax", "log_softmax"):
            ours, theirs = getattr(losses, name), getattr(scipy.special, name)
            np.testing.assert_allclose(ours(z), theirs(z, axis=1), rtol=1e-4, atol=1e-5)
            best, better = targets[name]
            yield Case(name, size, "scipy", partial(theirs, z, axis=1), partial(ours, z), best)
            if torch is not None:
                peer = partial(getattr(torch, name), torch.from_numpy(z), 1)
                yield Case(name, size, "torch", peer, partial(ours, z), better)
        if torch is not None:
            peer = _autograd(torch, z, y)
            np.testing.assert_allclose(losses.cross_entropy(z, y)[1], peer(), rtol=1e-4, atol=1e-8)
            for name, out in (("cross_entropy", None), ("cross_entropy, out", np.empty_like(z))):
                call = partial(losses.cross_entropy, z, y, out=out)
                yield Case(name, size, "torch autograd", peer, call, targets["cross_entropy"])


def _autograd(torch: Any, z: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """Forward and backward; the gradient is a new tensor each time, as ours."""
    logits, labels = torch.tensor(z, requires_grad=True), torch.from_numpy(y)

    def run() -> Any:
        loss = torch.nn.functional.cross_entropy(logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        loss.item()
        return gradient

    return run
