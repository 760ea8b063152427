"""Experiments that take long enough to be written once and shared by a chapter and its tests."""

import functools
import hashlib
import inspect
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

__all__ = ["stored"]

P = ParamSpec("P")
T = TypeVar("T")


def stored(function: Callable[P, T]) -> Callable[P, T]:
    """Keep the result of `function` for everyone who asks for it with the same arguments.

    The result is kept in the folder that the environment variable ``OPTLAB_STORE`` names; when it names
    none, the function just runs. Results are found by the arguments, the source of the function's module,
    the source and the compiled kernels of optlab, and the versions of NumPy and SciPy: a change in any of
    them runs the experiment anew.

    Parameters
    ----------
    function : callable
        Must depend on nothing but its arguments, and return something that can be pickled.

    Returns
    -------
    callable
        The same function, faster the second time.

    Examples
    --------
    >>> @stored
    ... def slow_square(x):
    ...     return x * x
    >>> slow_square(3)
    9
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        folder = os.environ.get("OPTLAB_STORE")
        if not folder:
            return function(*args, **kwargs)
        import joblib

        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        key = joblib.hash((fingerprint(function), bound.arguments))
        file = Path(folder, f"{function.__module__}.{function.__qualname__}-{key}")
        if file.exists():
            found: T = joblib.load(file)
            return found
        result = function(*args, **kwargs)
        file.parent.mkdir(parents=True, exist_ok=True)
        # Another process never sees half a file: it appears under its name all at once.
        part = file.with_name(f"{file.name}.{os.getpid()}")
        joblib.dump(result, part)
        part.replace(file)
        return result

    return run


@functools.cache
def fingerprint(function: Callable[..., object]) -> str:
    """Digest of everything a result of `function` depends on, apart from its arguments."""
    experiments = Path(__file__).parent
    files = [path for kind in ("*.py", "*.so", "*.pyd") for path in sorted(experiments.parent.rglob(kind))]
    digest = hashlib.sha256(f"numpy {version('numpy')} scipy {version('scipy')}".encode())
    for path in files:
        if path.parent != experiments:
            digest.update(path.read_bytes())
    module = Path(inspect.getfile(function))
    # A function that was typed into a session has no file.
    digest.update(module.read_bytes() if module.exists() else inspect.getsource(function).encode())
    return digest.hexdigest()
