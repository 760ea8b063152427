"""Normalization forward and backward, in float32.

Results of 32 MiB are new pages each time, and page faults cost more than arithmetic: "fresh" is the peer's
call as it is first written. The other rows of that size have an allocator that keeps large blocks (glibc's
M_MMAP_THRESHOLD). We have `out=` in both.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from optlab import normalization

from .pairs import Case

# What the peer should take at least, forward and backward.
LAYER = {(32, 128): (7, 7), (256, 1024): (2.5, 2.2), (8192, 1024): (1.5, 1.4)}
BATCH = {(32, 128): (5, 4.5), (256, 1024): (2.3, 2.2), (8192, 1024): (1.4, 1.2)}
LARGE = 1 << 25


def cases() -> Iterator[Case]:
    if find_spec("torch") is None:
        print("norms: no rows at all, the peer is torch, which is not installed")
        return
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    keep_large_blocks(True)
    rng = np.random.default_rng(0)
    for kind, targets in (("layer_norm", LAYER), ("batch_norm", BATCH)):
        for shape, (forward, backward) in targets.items():
            x, dy, gamma, beta = arrays(rng, shape)
            for fresh in (False, True) if x.nbytes >= LARGE else (False,):
                keep_large_blocks(not fresh)
                out = np.empty_like(x) if x.nbytes >= LARGE else None
                ours, theirs = pair(torch, kind, x, dy, gamma, beta, out)
                best = (forward, backward)
                if fresh:
                    best = (12, 6) if kind == "layer_norm" else (forward, backward)
                for name, a, b, target in zip(("forward", "backward"), theirs, ours, best, strict=True):
                    label = f"{kind} {name}" + (", fresh" if fresh else "")
                    yield Case(label, f"{shape[0]}x{shape[1]}", "torch", a, b, target)
            keep_large_blocks(True)
    shape = (32, 64, 32, 32)
    x, dy, gamma, beta = arrays(rng, shape)
    for kind, best in (("group_norm", (2, 1.5)), ("instance_norm", (10, None)), ("batch_norm", (None, None))):
        ours, theirs = pair(torch, kind, x, dy, gamma, beta, np.empty_like(x))
        for name, a, b, target in zip(("forward", "backward"), theirs, ours, best, strict=False):
            yield Case(f"{kind} {name}", "32x64x32x32", "torch", a, b, target)


def arrays(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    x, dy = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    gamma, beta = (rng.normal(1, 0.1, shape[1]).astype(np.float32) for _ in range(2))
    return x, dy, gamma, beta


def pair(torch: Any, kind: str, *arrays: Any) -> tuple[list[Callable[[], Any]], list[Callable[[], Any]]]:
    """Forward and backward of ours and of torch's, which agree."""
    x, dy, gamma, beta, out = arrays
    X, DY, G, B = (torch.from_numpy(a) for a in (x, dy, gamma, beta))
    forward, backward = getattr(normalization, kind), getattr(normalization, f"{kind}_backward")
    groups = {"groups": 8} if kind == "group_norm" else {}
    y, cache = forward(x, gamma, beta, **groups)
    mask = [True, True, True]
    run = torch.ops.aten
    if kind == "layer_norm":
        D = [x.shape[1]]
        Y, mean, rate = torch.native_layer_norm(X, D, G, B, 1e-5)
        peer = partial(torch.native_layer_norm, X, D, G, B, 1e-5)
        back = partial(run.native_layer_norm_backward, DY, X, D, mean, rate, G, B, mask)
    elif kind == "batch_norm":
        Y, mean, rate = torch.native_batch_norm(X, G, B, None, None, True, 0.1, 1e-5)
        peer = partial(torch.native_batch_norm, X, G, B, None, None, True, 0.1, 1e-5)
        back = partial(run.native_batch_norm_backward, DY, X, G, None, None, mean, rate, True, 1e-5, mask)
    elif kind == "group_norm":
        N, C, L = x.shape[0], x.shape[1], x[0, 0].size
        Y, mean, rate = torch.native_group_norm(X, G, B, N, C, L, 8, 1e-5)
        peer = partial(torch.native_group_norm, X, G, B, N, C, L, 8, 1e-5)
        back = partial(run.native_group_norm_backward, DY, X, mean, rate, G, N, C, L, 8, mask)
    else:
        peer = partial(torch.instance_norm, X, G, B, None, None, True, 0.1, 1e-5, False)
        Y, back = peer(), None
    np.testing.assert_allclose(y, Y, rtol=1e-4, atol=1e-4)
    theirs = [peer]
    if back is not None:
        np.testing.assert_allclose(backward(dy, cache)[0], back()[0], rtol=1e-3, atol=1e-3)
        theirs.append(back)
    return [
        partial(forward, x, gamma, beta, out=out, **groups),
        partial(backward, dy, cache, out=out),
    ], theirs


def keep_large_blocks(keep: bool) -> None:
    """Whether malloc takes large blocks from what it has, not from the system each time."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-3, 1 << 30 if keep else 1 << 17)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, 1 << 31 if keep else 1 << 17)  # M_TRIM_THRESHOLD
