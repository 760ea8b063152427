"""Print a table of ratios, and write it as JSON if asked: ``python -m benchmarks [--kernel cg] [--json FILE]``."""

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

KERNELS = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in ("__init__", "__main__", "pairs"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--kernel", choices=KERNELS, action="append", help="default: all")
    parser.add_argument("--json", type=Path, help="where to write the table")
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, NumPy {numpy.__version__}, SciPy {scipy.__version__};")
    print("one thread each; ratio = peer's time / ours, median of interleaved pairs (quartiles)\n")
    print(f"{'kernel':26}{'size':20}{'peer':22}{'peer':>11}{'ours':>11}{'ratio':>8}  {'quartiles':14}{'target':>7}")
    rows = []
    with threadpool_limits(1):
        for kernel in options.kernel or KERNELS:
            for case in import_module(f"benchmarks.{kernel}").cases():
                t = measure(case)
                print(
                    f"{case.kernel:26}{case.size:20}{case.peer:22}{_seconds(t.theirs):>11}{_seconds(t.ours):>11}"
                    f"{t.ratio:8.2f}  {f'({t.low:.2f}-{t.high:.2f})':14}{case.target:7g}",
                    flush=True,
                )
                rows.append({"kernel": case.kernel, "size": case.size, "peer": case.peer, "target": case.target, **vars(t)})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def _seconds(t: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if t * factor >= 1.0:
            return f"{t * factor:.3g} {unit}"
    return f"{t * 1e6:.3g} us"


if __name__ == "__main__":
    main()
