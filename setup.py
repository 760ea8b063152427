"""Build the extensions of ``optlab._kernels``; everything else is in pyproject.toml.

``OPTLAB_CHECKED=1`` builds with bounds, wraparound, initialization and division checks and without
optimization: slow, for finding mistakes in a kernel.
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
    unix = ["-O1", "-g", "-UNDEBUG"]
compile_args = ["/O2"] if sys.platform == "win32" else unix

extensions = [
    Extension(
        f"optlab._kernels.{source.stem}",
        [source.as_posix()],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=compile_args,
    )
    for source in sorted(Path("optlab/_kernels").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
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
