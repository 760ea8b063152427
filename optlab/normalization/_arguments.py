"""What is wrong with the arguments, after the kernels have refused them; or lists made arrays.

And the backward passes, which differ in nothing but the kind of their cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validation
from .._kernels import norms as kernels
from .._kernels.norms import Cache

Array = NDArray[Any]


def floats(name: str, value: Any, like: Array | None = None) -> Array:
    """float32 or float64 in C order, of the dtype of `like`, x."""
    if value is None:
        raise TypeError(f"{name}: expected an array, got None")
    array = value if type(value) is np.ndarray else _validation.numbers(name, value)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}")
    if like is not None and array.dtype != like.dtype:
        raise TypeError(f"{name}: expected {like.dtype} as x has, got {array.dtype}")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name}: expected an array in C order (numpy.ascontiguousarray makes one), got strides "
            f"{array.strides} for shape {array.shape}"
        )
    if not array.flags.aligned:
        raise ValueError(
            f"{name}: expected an aligned array (a copy is one), got address {array.ctypes.data:#x}"
        )
    return array


def samples(value: Any) -> Array:
    """x of shape (N, C, ...)."""
    x = floats("x", value)
    if x.ndim < 2:
        raise ValueError(f"x: expected shape (N, C) or (N, C, ...), got {x.shape}")
    if x.size == 0:
        raise ValueError(f"x: expected at least one number, got shape {x.shape}")
    return x


def positive_eps(value: Any) -> float:
    eps = _validation.positive_finite("eps", value)
    if eps >= 1e308:
        raise ValueError(f"eps: expected a number < 1e308, got {value!r}")
    return eps


def parameters(x: Array, gamma: Any, beta: Any, shapes: list[tuple[int, ...]]) -> tuple[Any, Any]:
    """gamma and beta of one of the shapes, both the same, or None."""
    given: list[Array | None] = []
    for name, value in (("gamma", gamma), ("beta", beta)):
        if value is None:
            given.append(None)
            continue
        array = floats(name, value, x)
        if array.shape not in shapes:
            wanted = " or ".join(map(str, dict.fromkeys(shapes)))
            raise ValueError(f"{name}: expected shape {wanted} for x of shape {x.shape}, got {array.shape}")
        given.append(array)
    if given[0] is not None and given[1] is not None and given[0].shape != given[1].shape:
        raise ValueError(f"beta: expected shape {given[0].shape} as gamma has, got {given[1].shape}")
    return given[0], given[1]


def channel_shapes(x: Array) -> list[tuple[int, ...]]:
    """Shapes of a gamma for each channel, and for each element."""
    return [x.shape[1:2], x.shape[1:]]


def place(out: Any, x: Array, *others: Any) -> Array | None:
    """`out`, or the array behind a subclass of arrays, which can take a result like x apart from the rest."""
    if out is None:
        return None
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out: expected an array, got {type(out).__name__}")
    if out.shape != x.shape or out.dtype != x.dtype:
        raise ValueError(
            f"out: expected shape {x.shape} and {x.dtype} as x has, got {out.shape} and {out.dtype}"
        )
    if not out.flags.carray:
        raise ValueError(
            f"out: expected a writeable, aligned array in C order, got strides {out.strides}, writeable "
            f"{out.flags.writeable}, aligned {out.flags.aligned}"
        )
    for other in (x, *others):
        if other is not None and np.may_share_memory(out, other):
            raise ValueError("out: expected memory apart from the arguments, got memory they share")
    return out.view(np.ndarray)


def gradient(kind: str, dy: Any, cache: Any, out: Any) -> tuple[Array, Array | None]:
    """dy of the shape and dtype of the x that was normalized, and the place for its gradient."""
    x = cache.x
    array = floats("dy", dy, x)
    if array.shape != x.shape:
        raise ValueError(f"dy: expected shape {x.shape} as x of the cache has, got {array.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(f"cache: expected x in C order as {kind} found it, got strides {x.strides}")
    if not cache.intact:
        raise ValueError(
            f"cache: expected x and gamma as {kind} found them, got them changed, x {x.shape} {x.dtype}"
        )
    return array, place(out, x, array)


def backward(kind: str, dy: Any, cache: Any, out: Any) -> tuple[Array, Array | None, Array | None]:
    """The gradients, or an error for what the kernel has refused."""
    if type(cache) is not Cache or cache.kind != kind:
        cache_of(kind, cache)
    result = kernels.backward(dy, cache, out)
    if result is None:
        array, place_ = gradient(kind, dy, cache, out)
        result = kernels.backward(array, cache, place_)
        assert result is not None
        if out is not None:
            result = (out, *result[1:])
    return result


def cache_of(kind: str, cache: Any, name: str = "cache") -> None:
    """The cache is not one of `kind`."""
    got = f"one of {cache.kind}" if hasattr(cache, "kind") else type(cache).__name__
    raise TypeError(f"{name}: expected one of {kind}, got {got}")


def statistics(x: Array, names: tuple[str, str], values: tuple[Any, Any], change: bool) -> list[Array]:
    """A mean and a variance for each channel; of subclasses of arrays, the arrays behind them."""
    arrays: list[Array] = []
    for name, value in zip(names, values, strict=True):
        if value is None:
            k = names.index(name)
            why = "" if values[1 - k] is None else f", as {names[1 - k]} is one"
            raise TypeError(f"{name}: expected an array{why}, got None")
        if change and not isinstance(value, np.ndarray):
            raise TypeError(f"{name}: expected an array, which is changed, got {type(value).__name__}")
        array = floats(name, value, x)
        if array.shape != x.shape[1:2]:
            raise ValueError(
                f"{name}: expected shape {x.shape[1:2]} for x of shape {x.shape}, got {array.shape}"
            )
        if change and not array.flags.writeable:
            raise ValueError(f"{name}: expected a writeable array, got a read-only one")
        arrays.append(array)
    if not change and (arrays[1] < 0).any():
        k = int(np.argmax(arrays[1] < 0))
        raise ValueError(f"{names[1]}: expected numbers >= 0, got {arrays[1][k]} at [{k}]")
    return arrays


def several(x: Array) -> None:
    count = x.size // x.shape[1]
    if count < 2:
        raise ValueError(f"x: expected more than one value in each channel, got {count} with shape {x.shape}")
