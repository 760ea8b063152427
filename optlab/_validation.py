"""The checks of arguments: each returns the argument in the form the methods use, or names it in an error."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of real numbers, whatever its shape and their type."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got a masked array")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected numbers, got {type(value).__name__}: {error}") from error
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array


def real_array(name: str, value: Any, ndim: int) -> NDArray[Any]:
    """`value` as a float32 or float64 array in C order and native byte order; a copy only where that takes
    one.

    Integers and booleans become float64, float16 becomes float32 and longer floats are rounded to float64.
    """
    if type(value) is np.ndarray and value.ndim == ndim:
        dtype, flags = value.dtype, value.flags
        if dtype.char in "fd" and dtype.isnative and flags.c_contiguous and flags.aligned:
            return value
    array = numbers(name, value)
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim}-D, got {array.ndim}-D with shape {array.shape}")
    dtype = np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64
    return np.require(array, dtype, ["C", "A"])


def finite(name: str, array: NDArray[Any]) -> None:
    """Refuse NaN and infinities."""
    if array.size <= 32 and array.ndim == 1 and all(map(math.isfinite, array.tolist())):
        return  # faster than NumPy
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: expected finite numbers, got {array[where]} at {list(where)}")


def number(name: str, value: Any, *, minimum: float = -math.inf, below: float | None = None) -> float:
    """A real number >= minimum and < below, never NaN."""
    if type(value) is float and value >= minimum and below is None:
        return value
    if isinstance(value, str | bytes | bytearray):  # which float would read
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        result = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected a number, got {value!r}") from error
    except OverflowError as error:
        raise ValueError(f"{name}: expected a number that float64 can hold, got a larger one") from error
    if not (result >= minimum and (below is None or result < below)):
        wanted = f"a number >= {minimum:g}" + (f" and < {below:g}" if below is not None else "")
        raise ValueError(f"{name}: expected {wanted}, got {value!r}")
    return result


def positive(name: str, value: Any) -> float:
    """A number > 0, infinity too."""
    result = number(name, value, minimum=0.0)
    if result == 0.0:
        raise ValueError(f"{name}: expected a positive number, got 0")
    return result


def finite_number(name: str, value: Any) -> float:
    """A finite number >= 0."""
    result = number(name, value, minimum=0.0)
    if math.isinf(result):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return result


def positive_finite(name: str, value: Any) -> float:
    """A finite number > 0."""
    positive(name, value)
    return finite_number(name, value)


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1)."""
    return number(name, value, minimum=0.0, below=1.0)


def share(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    result = number(name, value, minimum=0.0)
    if result > 1.0:
        raise ValueError(f"{name}: expected a number >= 0 and <= 1, got {value!r}")
    return result


def count(name: str, value: Any, *, minimum: int = 0, maximum: float = math.inf) -> int:
    """An integer >= minimum and <= maximum."""
    try:
        result = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from error
    if result < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {value!r}")
    if result > maximum:
        raise ValueError(f"{name}: expected an integer <= {maximum}, got a larger one")
    return result


def float_dtype(name: str, value: Any) -> np.dtype[Any]:
    """float32 or float64, the native ones; None is float64, as in NumPy."""
    try:
        result: np.dtype[Any] = np.dtype(value)
    except TypeError as error:
        raise TypeError(f"{name}: expected float32 or float64, got {value!r}") from error
    if result not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {value!r}")
    return result


def generator(name: str, value: Any) -> np.random.Generator:
    """A NumPy Generator, or a new one from a seed."""
    if isinstance(value, np.random.Generator):
        return value
    try:
        seed = count(name, value)
    except TypeError as error:
        raise TypeError(f"{name}: expected a Generator or a seed, got {value!r}") from error
    return np.random.default_rng(seed)


def function(name: str, value: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a callable, got {type(value).__name__}")
    return value  # type: ignore[no-any-return]
