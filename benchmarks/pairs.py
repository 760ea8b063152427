"""Time two functions in turn, A B A B ..., and compare them pair by pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """A computation as a peer does it and as optlab does it, on the same input."""

    kernel: str
    size: str
    peer: str
    theirs: Callable[[], object]
    ours: Callable[[], object]
    target: float  # theirs / ours
    own: bool = False  # the functions return seconds that do not count


@dataclass(frozen=True)
class Timing:
    """Seconds a call (medians), and the ratio theirs / ours: median and quartiles over the pairs."""

    theirs: float
    ours: float
    ratio: float
    low: float
    high: float


def measure(case: Case, seconds: float = 4.0, pairs: int = 31) -> Timing:
    """At most `pairs` pairs or `seconds`, five at least; calls under 1 ms are repeated and averaged."""
    repeats = [max(1, round(1e-3 / max(_time(f, 1), 1e-7))) for f in (case.theirs, case.ours)]
    samples = []
    start = time.perf_counter()
    while len(samples) < 5 or (len(samples) < pairs and time.perf_counter() - start < seconds):
        samples.append((_time(case.theirs, repeats[0], case.own), _time(case.ours, repeats[1], case.own)))
    theirs, ours = np.array(samples).T
    low, ratio, high = np.quantile(theirs / ours, [0.25, 0.5, 0.75])
    return Timing(float(np.median(theirs)), float(np.median(ours)), float(ratio), float(low), float(high))


def _time(function: Callable[[], object], repeat: int, own: bool = False) -> float:
    others = 0.0
    start = time.perf_counter()
    for _ in range(repeat):
        result = function()
        if own:
            others += result  # type: ignore[operator]
    return (time.perf_counter() - start - others) / repeat
