"""Print a table of ratios: ``python -m benchmarks [--kernel cg] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import platform
from importlib import import_module
from pathlib import Path

import numpy
import scipy
from threadpoolctl import threadpool_limits

from .pairs import measure

KERNELS = sorted(
    {file.stem for file in Path(__file__).parent.glob("*.py")} - {"__init__", "__main__", "pairs"}
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--kernel", choices=KERNELS, action="append", help="default: all")
    parser.add_argument("--json", type=Path, help="where to write the table")
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()},", end=" ")
    print(f"NumPy {numpy.__version__}, SciPy {scipy.__version__};")
    print("one thread each; ratio = peer's time / ours, median of interleaved pairs (quartiles)\n")
    print(_row("kernel", "size", "peer", "peer", "ours", "ratio", "quartiles", "target"))
    rows = []
    with threadpool_limits(1):
        for kernel in options.kernel or KERNELS:
            for case in import_module(f"benchmarks.{kernel}").cases():
                t = measure(case)
                spread = f"{t.low:.2f}-{t.high:.2f}"
                times = _seconds(t.theirs), _seconds(t.ours)
                print(
                    _row(case.kernel, case.size, case.peer, *times, f"{t.ratio:.2f}", spread, case.target),
                    flush=True,
                )
                what = {"kernel": case.kernel, "size": case.size, "peer": case.peer, "target": case.target}
                rows.append(what | vars(t))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def _row(*cells: object) -> str:
    widths = (-28, -18, -21, 9, 9, 7, 13, 7)
    return "".join(f"{cell!s:{'<' if w < 0 else '>'}{abs(w)}}" for cell, w in zip(cells, widths, strict=True))


def _seconds(t: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if t * factor >= 1.0:
            return f"{t * factor:.3g} {unit}"
    return f"{t * 1e6:.3g} us"


if __name__ == "__main__":
    main()
