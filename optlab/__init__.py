"""optlab: the algorithms of an executable textbook on optimization for deep learning.

Names are imported when they are first used, so that ``import optlab`` costs no more than NumPy.

>>> import optlab
>>> optlab.cg([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]).x.round(4)
array([0.0909, 0.6364])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        adaptive,
        batches,
        conjugate,
        experiments,
        initializers,
        landscape,
        linesearch,
        losses,
        meta,
        newton_method,
        nn,
        normalization,
        paths,
        plotting,
        problems,
        quasi_newton,
        result,
        schedules,
        stochastic,
        training,
    )
    from .adaptive import AdaDelta, AdaGrad, Adam, AdamW, AMSGrad, DeltaBarDelta, NAdam, RAdam, RMSProp
    from .batches import Batches
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
    from .meta import Switch
    from .newton_method import newton
    from .normalization import (
        batch_norm,
        batch_norm_backward,
        batch_norm_inference,
        batch_renorm,
        batch_renorm_backward,
        group_norm,
        group_norm_backward,
        instance_norm,
        instance_norm_backward,
        layer_norm,
        layer_norm_backward,
        spectral_norm,
        spectral_norm_backward,
        weight_norm,
        weight_norm_backward,
    )
    from .paths import trajectories, trajectory
    from .problems import Problem
    from .quasi_newton import bfgs, bfgs_update, lbfgs, two_loop
    from .result import History, Result
    from .stochastic import SGD, Momentum, Nesterov, Optimizer, State, clip_by_norm, clip_by_value
    from .training import train

__version__ = "0.1.0"

_MODULES = (
    "adaptive",
    "batches",
    "conjugate",
    "experiments",
    "initializers",
    "landscape",
    "linesearch",
    "losses",
    "meta",
    "newton_method",
    "nn",
    "normalization",
    "paths",
    "plotting",
    "problems",
    "quasi_newton",
    "result",
    "schedules",
    "stochastic",
    "training",
)
_HOME = {
    "AMSGrad": "adaptive",
    "AdaDelta": "adaptive",
    "AdaGrad": "adaptive",
    "Adam": "adaptive",
    "AdamW": "adaptive",
    "DeltaBarDelta": "adaptive",
    "NAdam": "adaptive",
    "RAdam": "adaptive",
    "RMSProp": "adaptive",
    "Batches": "batches",
    "cg": "conjugate",
    "fletcher_reeves": "conjugate",
    "hestenes_stiefel": "conjugate",
    "incomplete_cholesky": "conjugate",
    "jacobi": "conjugate",
    "nonlinear_cg": "conjugate",
    "polak_ribiere": "conjugate",
    "polak_ribiere_plus": "conjugate",
    "steepest_descent": "conjugate",
    "Switch": "meta",
    "newton": "newton_method",
    "batch_norm": "normalization",
    "batch_norm_backward": "normalization",
    "batch_norm_inference": "normalization",
    "batch_renorm": "normalization",
    "batch_renorm_backward": "normalization",
    "group_norm": "normalization",
    "group_norm_backward": "normalization",
    "instance_norm": "normalization",
    "instance_norm_backward": "normalization",
    "layer_norm": "normalization",
    "layer_norm_backward": "normalization",
    "spectral_norm": "normalization",
    "spectral_norm_backward": "normalization",
    "weight_norm": "normalization",
    "weight_norm_backward": "normalization",
    "trajectories": "paths",
    "trajectory": "paths",
    "Problem": "problems",
    "bfgs": "quasi_newton",
    "bfgs_update": "quasi_newton",
    "lbfgs": "quasi_newton",
    "two_loop": "quasi_newton",
    "History": "result",
    "Result": "result",
    "Momentum": "stochastic",
    "Nesterov": "stochastic",
    "Optimizer": "stochastic",
    "SGD": "stochastic",
    "State": "stochastic",
    "clip_by_norm": "stochastic",
    "clip_by_value": "stochastic",
    "train": "training",
}

__all__ = [
    "SGD",
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Batches",
    "DeltaBarDelta",
    "History",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Optimizer",
    "Problem",
    "RAdam",
    "RMSProp",
    "Result",
    "State",
    "Switch",
    "adaptive",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_renorm",
    "batch_renorm_backward",
    "batches",
    "bfgs",
    "bfgs_update",
    "cg",
    "clip_by_norm",
    "clip_by_value",
    "conjugate",
    "experiments",
    "fletcher_reeves",
    "group_norm",
    "group_norm_backward",
    "hestenes_stiefel",
    "incomplete_cholesky",
    "initializers",
    "instance_norm",
    "instance_norm_backward",
    "jacobi",
    "landscape",
    "layer_norm",
    "layer_norm_backward",
    "lbfgs",
    "linesearch",
    "losses",
    "meta",
    "newton",
    "newton_method",
    "nn",
    "nonlinear_cg",
    "normalization",
    "paths",
    "plotting",
    "polak_ribiere",
    "polak_ribiere_plus",
    "problems",
    "quasi_newton",
    "result",
    "schedules",
    "spectral_norm",
    "spectral_norm_backward",
    "steepest_descent",
    "stochastic",
    "train",
    "training",
    "trajectories",
    "trajectory",
    "two_loop",
    "weight_norm",
    "weight_norm_backward",
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
