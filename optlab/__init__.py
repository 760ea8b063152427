"""optlab: the algorithms of an executable textbook on optimization for deep learning.

Names are imported when they are first used, so that ``import optlab`` costs no more than NumPy.

>>> import optlab
>>> optlab.cg([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]).x.round(4)
array([0.0909, 0.6364])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import conjugate, experiments, landscape, linesearch, plotting, problems, quasi_newton, result
    from .conjugate import (
        cg,
        fletcher_reeves,
        hestenes_stiefel,
        incomplete_cholesky,
        jacobi,
        nonlinear_cg,
        polak_ribiere,
        polak_ribiere_plus,
        steepest_descent,
    )
    from .quasi_newton import bfgs, bfgs_update, lbfgs, two_loop
    from .result import History, Result

__version__ = "0.1.0"

_MODULES = (
    "conjugate",
    "experiments",
    "landscape",
    "linesearch",
    "plotting",
    "problems",
    "quasi_newton",
    "result",
)
_HOME = {
    "bfgs": "quasi_newton",
    "bfgs_update": "quasi_newton",
    "cg": "conjugate",
    "fletcher_reeves": "conjugate",
    "hestenes_stiefel": "conjugate",
    "incomplete_cholesky": "conjugate",
    "jacobi": "conjugate",
    "lbfgs": "quasi_newton",
    "nonlinear_cg": "conjugate",
    "polak_ribiere": "conjugate",
    "polak_ribiere_plus": "conjugate",
    "steepest_descent": "conjugate",
    "two_loop": "quasi_newton",
    "History": "result",
    "Result": "result",
}

__all__ = [
    "History",
    "Result",
    "bfgs",
    "bfgs_update",
    "cg",
    "conjugate",
    "experiments",
    "fletcher_reeves",
    "hestenes_stiefel",
    "incomplete_cholesky",
    "jacobi",
    "landscape",
    "lbfgs",
    "linesearch",
    "nonlinear_cg",
    "plotting",
    "polak_ribiere",
    "polak_ribiere_plus",
    "problems",
    "quasi_newton",
    "result",
    "steepest_descent",
    "two_loop",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # later look-ups skip this function
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
