"""Mini-batches: a data set in parts, in an order that is drawn anew, once, or not at all."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation

_ORDERS = ("each_epoch", "once", "given", "replacement")


class Batches:
    """The batches of a data set; to iterate is one epoch.

    Parameters
    ----------
    *arrays : array, shape (N, ...)
        One or more with the same first length: samples, targets, weights ... They are not copied.
    size : int
        Samples in a batch. Default 32. A size beyond N gives one batch with all samples, or with replacement
        batches of that size.
    order : {"each_epoch", "once", "given", "replacement"}
        "each_epoch" (default) shuffles the samples anew for each epoch, "once" only when the object is made,
        "given" never. "replacement" draws each sample of each batch from all N, independent of the others.
    rng : Generator or int, optional
        Where the order comes from, needed for all but "given": a NumPy Generator, of which one child is
        spawned, or a seed.
    drop_last : bool
        Leave out the last batch of an epoch where it is shorter. Default False. With replacement no batch is
        shorter, and an epoch has N/size batches, rounded down or, by default, up.

    Yields
    ------
    tuple of ndarrays, or ndarray
        A batch of each array, or of the only one. Batches in the order "given" are read-only views of the
        data, all others are copies that nobody else uses.

    Raises
    ------
    ValueError, TypeError
        No array, arrays of different lengths or without samples, a size below 1 or, with drop_last, beyond N,
        an unknown order, a random order without rng.

    Notes
    -----
    A copy, by `copy.copy`, `copy.deepcopy` or `pickle`, goes on with the epochs that the original would have
    given; `copy.copy` shares the data. An epoch draws its order when its first batch is taken, with
    replacement each batch when it is taken. An epoch that is left early is not taken up again.

    PyTorch's ``DataLoader`` does not shuffle by default, and its ``RandomSampler(replacement=True)`` draws N
    samples an epoch, the last batch shorter. Keras' ``fit`` shuffles each epoch.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> batches = Batches(X, y, size=2, rng=0)
    >>> len(batches)
    3
    >>> [labels.tolist() for _, labels in batches]
    [[2, 4], [3, 0], [1]]
    >>> [labels.tolist() for _, labels in batches]
    [[4, 1], [2, 0], [3]]
    >>> given = Batches(X, y, size=2, order="given")
    >>> [index.tolist() for index in given.indices()]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        *arrays: ArrayLike,
        size: int = 32,
        order: str = "each_epoch",
        rng: np.random.Generator | int | None = None,
        drop_last: bool = False,
    ) -> None:
        if not arrays:
            raise ValueError("arrays: expected at least one, got none")
        self.arrays = tuple(_samples(f"arrays[{i}]", a) for i, a in enumerate(arrays))
        self.n = len(self.arrays[0])
        for i, a in enumerate(self.arrays):
            if len(a) != self.n:
                raise ValueError(f"arrays[{i}]: expected {self.n} samples as arrays[0] has, got {len(a)}")
        if self.n == 0:
            raise ValueError("arrays: expected at least one sample, got none")
        self.size = _validation.count("size", size, minimum=1)
        if not isinstance(order, str) or order not in _ORDERS:
            raise ValueError(f"order: expected one of {', '.join(map(repr, _ORDERS))}, got {order!r}")
        self.order = order
        self.drop_last = bool(drop_last)
        if drop_last and self.size > self.n:
            raise ValueError(f"size: expected at most {self.n}, the samples, with drop_last, got {self.size}")
        if order != "given" and rng is None:
            raise ValueError(f"rng: expected a Generator or a seed as order is {order!r}, got None")
        self._rng = None
        if order != "given":
            child = _validation.generator("rng", rng)
            self._rng = child.spawn(1)[0] if child is rng else child
        self._fixed = self._rng.permutation(self.n) if self._rng and order == "once" else None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.n // self.size if self.drop_last else -(-self.n // self.size)

    def __iter__(self) -> Iterator[Any]:
        if self.order == "given":
            for start in range(0, len(self) * self.size, self.size):
                batch = tuple(_view(a, start, start + self.size) for a in self.arrays)
                yield batch if len(batch) > 1 else batch[0]
            return
        for index in self.indices():
            batch = tuple(_take(a, index) for a in self.arrays)
            yield batch if len(batch) > 1 else batch[0]

    def indices(self) -> Iterator[NDArray[np.int64]]:
        """The same epoch as places in the data: read-only arrays of integers, one for each batch.

        It takes the place of iterating: both advance the same generator.
        """
        if self.order == "replacement":
            assert self._rng is not None
            for _ in range(len(self)):
                # Not a whole epoch at once: the time of an update does not depend on N.
                yield _view(self._rng.integers(self.n, size=self.size), 0, self.size)
            return
        if self.order == "given":
            places = np.arange(self.n)
        elif self._fixed is not None:
            places = self._fixed
        else:
            assert self._rng is not None
            places = self._rng.permutation(self.n)
        for start in range(0, len(self) * self.size, self.size):
            yield _view(places, start, start + self.size)

    def __copy__(self) -> Batches:
        other = object.__new__(Batches)
        other.__dict__.update(self.__dict__, _rng=copy.deepcopy(self._rng))
        return other

    def __repr__(self) -> str:
        last = ", drop_last=True" if self.drop_last else ""
        return f"Batches({self.n} samples, size={self.size}, order={self.order!r}{last})"


def _samples(name: str, value: ArrayLike) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got a masked array")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got {type(value).__name__}: {error}") from error
    if array.dtype == object:
        raise TypeError(f"{name}: expected an array of numbers, got {type(value).__name__} of objects")
    if array.ndim == 0:
        raise ValueError(f"{name}: expected at least one axis, got the number {value!r}")
    return array


def _take(array: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    if array.flags.c_contiguous:
        return array.take(index, axis=0)
    return np.ascontiguousarray(array[index])  # take would copy all of the array first


def _view(array: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    part = array[start:stop]
    part.flags.writeable = False
    return part
