"""Build the extensions of ``optlab._kernels``; everything else is in pyproject.toml.

``OPTLAB_CHECKED=1`` builds kernels that check themselves: Cython's bounds, wraparound, initialization and
division checks, and the compiler's for pointers (AddressSanitizer, UndefinedBehaviorSanitizer). ``make
test-checked`` uses it.
"""

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

checked = os.environ.get("OPTLAB_CHECKED", "0") not in ("", "0")

# These flags let reductions vectorize and keep NaN and Inf (never -ffast-math).
unix = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
if checked:
    unix = ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    unix += ["-fno-sanitize-recover=all", "-DOPTLAB_CHECKED"]
compile_args = ["/O2"] if sys.platform == "win32" else unix

# Paths: the same bits whether a cost is inlined or not, on every processor. Pairs of numbers are no vectors:
# packing them is slower than the arithmetic.
exact_args = compile_args
if sys.platform != "win32":
    exact_args = [*compile_args, "-fno-associative-math", "-ffp-contract=off", "-fno-tree-slp-vectorize"]

# Losses: the exponential is a sum of parts whose order matters; norms: a mean is kept in two parts. Functions
# that only add say so themselves.
ordered_args = compile_args if sys.platform == "win32" else [*compile_args, "-fno-associative-math"]
special = {"steps": exact_args, "surfaces": exact_args, "losses": ordered_args, "norms": ordered_args}

extensions = [
    Extension(
        f"optlab._kernels.{source.stem}",
        [source.as_posix()],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=special.get(source.stem, compile_args),
        extra_link_args=["-fsanitize=address,undefined"] if checked else [],
    )
    for source in sorted(Path("optlab/_kernels").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir="build/checked-c" if checked else None,
        language_level=3,
        compiler_directives={
            "boundscheck": checked,
            "wraparound": checked,
            "initializedcheck": checked,
            "cdivision": not checked,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    )
)
