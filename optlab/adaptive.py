"""Optimizers with a learning rate for each parameter, learned from the gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from . import _validation
from ._kernels import steps as kernels
from .stochastic import Optimizer, Rate, _finite


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""Adam: averages of the gradient and of its square, both corrected for their start at 0.

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \\
        \theta_t &= \theta_{t-1}
            - \epsilon_t \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \delta}

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule ``lr(t)``, t = 0, 1, ... Default 1e-3.
    beta1, beta2 : float in [0, 1)
        The decay rates. Default 0.9 and 0.999.
    eps : float
        :math:`\delta \ge 0`, outside the root as published. Default 1e-8.

    Notes
    -----
    The state has `m` and `v`. The powers of the decay rates are kept as products.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.

    Examples
    --------
    >>> import optlab
    >>> path = optlab.trajectory(optlab.problems.beale(), optlab.Adam(lr=0.1), [1.0, 1.0], 1000)
    >>> path.x[-1].round(3)
    array([3. , 0.5])
    """

    lr: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    kernel = kernels.Adam

    def __post_init__(self) -> None:
        super().__post_init__()
        _validation.number("beta1", self.beta1, minimum=0.0, below=1.0)
        _validation.number("beta2", self.beta2, minimum=0.0, below=1.0)
        _finite("eps", self.eps)
