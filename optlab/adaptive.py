"""Optimizers with a learning rate for each parameter, learned from the gradients.

All of them have `init`, `lookahead` and `step` of `optlab.stochastic.Optimizer`. Where a denominator is 0
(eps = 0, and never a gradient whose square is not 0) the parameter stays where it is. A gradient whose square
overflows (beyond 1e154, in float32 beyond 1e19) makes an average infinite, and its parameter stops for good
or for long: clip such gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .stochastic import Optimizer, Rate, fraction, not_negative, one_of, positive, rate


@dataclass(frozen=True)
class DeltaBarDelta(Optimizer):
    r"""Delta-bar-delta: a rate grows while its derivative keeps its sign, and shrinks when it changes.

    .. math::

        \epsilon_{t} &= \begin{cases}
            \epsilon_{t-1} + \kappa & \bar\delta_{t-1} g_t > 0 \\
            (1 - \phi)\, \epsilon_{t-1} & \bar\delta_{t-1} g_t < 0 \\
            \epsilon_{t-1} & \text{else}
        \end{cases} \\
        \bar\delta_t &= (1 - \rho) g_t + \rho \bar\delta_{t-1}, \quad \bar\delta_0 = 0, \\
        \theta_t &= \theta_{t-1} - \epsilon_t g_t

    for each parameter by itself. It is made for exact gradients: the sign of a noisy one says little.

    Parameters
    ----------
    lr : float
        :math:`\epsilon_0`, the first rate of every parameter. A schedule is refused: the method has its own.
        Default 0.01.
    increase : float
        :math:`\kappa \ge 0`. Default 1e-3.
    decrease : float in [0, 1)
        :math:`\phi`. Default 0.1.
    decay : float in [0, 1)
        :math:`\rho`, of the average of the gradients. Default 0.7.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; a schedule.

    Notes
    -----
    The state has `rates` and `averages`, :math:`\epsilon_t` and :math:`\bar\delta_t`. The new rate is used at
    once. The chapter writes :math:`\bar g` for :math:`\bar\delta` and k for :math:`\kappa`.

    References
    ----------
    Jacobs, "Increased rates of convergence through learning rate adaptation", Neural Networks 1 (1988),
    section 4, where the decay :math:`\rho` is called theta.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt = optlab.DeltaBarDelta(lr=0.1, increase=0.05, decrease=0.5)
    >>> x = np.array([1.0, 1.0])
    >>> state = opt.init(x)
    >>> opt.step(x, np.array([1.0, 1.0]), state)
    >>> opt.step(x, np.array([1.0, -1.0]), state)
    >>> state.rates
    array([0.15, 0.05])
    """

    lr: Rate = rate(0.01)
    increase: float = not_negative(1e-3)
    decrease: float = fraction(0.1)
    decay: float = fraction(0.7)

    slots: ClassVar[tuple[str, ...]] = ("rates", "averages")
    kernel = "delta_bar_delta"

    def __post_init__(self) -> None:
        if callable(self.lr):
            raise TypeError("lr: expected a number, as the method adapts its rates itself, got a schedule")
        super().__post_init__()


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    r"""AdaGrad: each rate shrinks with the root of all squared gradients so far.

    .. math::

        r_t &= r_{t-1} + g_t^2, \\
        \theta_t &= \theta_{t-1} - \frac{\epsilon_t}{\sqrt{r_t} + \delta} g_t

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 0.01.
    eps : float
        :math:`\delta \ge 0`. Default 1e-7. PyTorch's is 1e-10.
    initial : float
        :math:`r_0 \ge 0`. Default 0. Keras has 0.1.
    form : str
        "published" (default) as above; PyTorch is the same. "tensorflow": :math:`\sqrt{r_t + \delta}`.
        "mean": :math:`\sqrt{r_t / t} + \delta`, the root *mean* square, whose rate does not fall by itself.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `r`, the sum also in the form "mean". PyTorch's ``lr_decay`` is a schedule here,
    `schedules.inverse_time`.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    JMLR 12 (2011), figure 1, diagonal form. The constant: Goodfellow, Bengio and Courville, "Deep Learning"
    (2016), algorithm 8.4.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.AdaGrad(lr=1.0, eps=0.0), np.array([0.0, 0.0])
    >>> state = opt.init(x)
    >>> for _ in range(2):
    ...     opt.step(x, np.array([3.0, 1e-3]), state)
    >>> x  # both moved by 1 and by 1 / sqrt(2)
    array([-1.70710678, -1.70710678])
    """

    lr: Rate = rate(0.01)
    eps: float = not_negative(1e-7)
    initial: float = not_negative(0.0)
    form: str = one_of("published", "mean", "tensorflow")

    slots: ClassVar[tuple[str, ...]] = ("r",)
    kernel = "adagrad"


@dataclass(frozen=True)
class RMSProp(Optimizer):
    r"""RMSProp: AdaGrad that forgets, an exponential average in place of the sum.

    .. math::

        r_t &= \rho r_{t-1} + (1 - \rho) g_t^2, \\
        \theta_t &= \theta_{t-1} - \frac{\epsilon_t}{\sqrt{r_t} + \delta} g_t

    With momentum :math:`\alpha > 0` the gradient is taken at :math:`\theta + \alpha v` and

    .. math::

        v_t &= \alpha v_{t-1} - \frac{\epsilon_t}{\sqrt{r_t} + \delta} g_t, \\
        \theta_t &= \theta_{t-1} + v_t

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 1e-3.
    rho : float in [0, 1)
        The decay rate :math:`\rho`. Default 0.9. PyTorch calls it alpha; its default is 0.99.
    momentum : float in [0, 1)
        :math:`\alpha`. Default 0.
    eps : float
        :math:`\delta \ge 0`. Default 1e-6. PyTorch's is 1e-8, Keras' 1e-7.
    form : str
        "published" (default) as above. "pytorch": momentum is a heavy ball without look-ahead, with the
        learning rate outside, :math:`v_t = \alpha v_{t-1} + g_t / (\sqrt{r_t} + \delta)`, :math:`\theta_t =
        \theta_{t-1} - \epsilon_t v_t`; without momentum it is the published one. "tensorflow":
        :math:`\sqrt{r_t + \delta}`, and momentum as a heavy ball with the learning rate inside.
        "first_gradient": published, but the first r is :math:`g_1^2`, so that there is no transient.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `r` and `v`, which start at 0; `v` stays 0 without momentum. The ``centered`` forms are not
    offered.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: RMSProp", Coursera (2012). The constant and the form with momentum:
    Goodfellow, Bengio and Courville, "Deep Learning" (2016), algorithms 8.5 and 8.6; their text writes 8.5
    with the constant inside the root and 8.6 without one.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.RMSProp(lr=0.1, rho=0.75, eps=0.0), np.array([1.0, 1.0])
    >>> state = opt.init(x)
    >>> opt.step(x, np.array([5.0, -1e-3]), state)
    >>> x  # the first step is lr / sqrt(1 - rho)
    array([0.8, 1.2])
    """

    lr: Rate = rate(1e-3)
    rho: float = fraction(0.9)
    momentum: float = fraction(0.0)
    eps: float = not_negative(1e-6)
    form: str = one_of("published", "pytorch", "tensorflow", "first_gradient")

    slots: ClassVar[tuple[str, ...]] = ("r", "v")
    kernel = "rmsprop"

    def _looks(self) -> bool:
        return self.momentum > 0 and self.form in ("published", "first_gradient")


@dataclass(frozen=True)
class AdaDelta(Optimizer):
    r"""AdaDelta: RMSProp whose learning rate is the size of its own recent moves.

    .. math::

        r_t &= \rho r_{t-1} + (1 - \rho) g_t^2, \\
        d_t &= \frac{\sqrt{u_{t-1} + \delta}}{\sqrt{r_t + \delta}} g_t, \\
        u_t &= \rho u_{t-1} + (1 - \rho) d_t^2, \\
        \theta_t &= \theta_{t-1} - \epsilon_t d_t

    Parameters
    ----------
    lr : float or callable
        A factor :math:`\epsilon`, or a schedule. Default 1, as published.
    rho : float in [0, 1)
        The decay rate :math:`\rho`. Default 0.95. PyTorch's is 0.9.
    eps : float
        :math:`\delta > 0`: it sets the first move. Default 1e-6.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number.

    Notes
    -----
    The state has `r` and `u`, which start at 0. PyTorch and Keras compute the same; by default Keras' factor
    is 0.001 and its constant 1e-7.

    References
    ----------
    Zeiler, "ADADELTA: an adaptive learning rate method" (2012), algorithm 1.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.AdaDelta(rho=0.75, eps=1e-6), np.array([0.0, 0.0])
    >>> opt.step(x, np.array([1.0, 1000.0]), opt.init(x))
    >>> x.round(6)
    array([-0.002, -0.002])
    """

    lr: Rate = rate(1.0)
    rho: float = fraction(0.95)
    eps: float = positive(1e-6)

    slots: ClassVar[tuple[str, ...]] = ("r", "u")
    kernel = "adadelta"


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
    form : str
        "published" (default) as above; PyTorch is the same. "tensorflow": the other order of section 2 of
        the paper, :math:`\epsilon_t \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m_t}{\sqrt{v_t} +
        \delta}`, which differs where the gradient is about as small as :math:`\delta`. "uncorrected":
        :math:`\epsilon_t m_t / (\sqrt{v_t} + \delta)`, to see what the corrections are good for.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `m` and `v`; the chapter calls them s and r, and the decay rates :math:`\rho_1, \rho_2`. The
    powers of the decay rates are kept as products.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.

    Examples
    --------
    >>> import optlab
    >>> beale = optlab.problems.beale()
    >>> path = optlab.trajectory(beale, optlab.Adam(lr=0.1), [1.0, 1.0], 1000)
    >>> path.x[-1].round(3)
    array([3. , 0.5])
    """

    lr: Rate = rate(1e-3)
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = not_negative(1e-8)
    form: str = one_of("published", "tensorflow", "uncorrected")

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    kernel = "adam"


@dataclass(frozen=True)
class AdamW(Optimizer):
    r"""AdamW: Adam, and weights that decay by themselves rather than through the gradient.

    .. math::

        \theta_t = \theta_{t-1} &- \eta_t \epsilon_t \frac{\hat m_t}{\sqrt{\hat v_t} + \delta} \\
            &- \eta_t \lambda \theta_{t-1}

    with :math:`\hat m` and :math:`\hat v` as in `Adam`.

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 1e-3.
    beta1, beta2 : float in [0, 1)
        The decay rates of the averages. Default 0.9 and 0.999.
    eps : float
        :math:`\delta \ge 0`. Default 1e-8.
    weight_decay : float
        :math:`\lambda \ge 0`. Default 1e-5, which is what PyTorch's default 0.01 comes to at its default
        learning rate. With the form "pytorch" it has to be given as there.
    eta : float or callable
        The published multiplier :math:`\eta` of the whole step, which a schedule makes shrink together with
        the decay. Default 1.
    form : str
        "published" (default) as above. "pytorch": :math:`\epsilon_t \lambda` in place of :math:`\lambda`, so
        that the decay changes with the learning rate; Keras does the same.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `m` and `v`.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.AdamW(lr=0.1, weight_decay=0.5), np.array([1.0, 1.0])
    >>> opt.step(x, np.array([0.0, 1.0]), opt.init(x))
    >>> x
    array([0.5, 0.4])
    """

    lr: Rate = rate(1e-3)
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = not_negative(1e-8)
    weight_decay: float = not_negative(1e-5)
    eta: Rate = rate(1.0)
    form: str = one_of("published", "pytorch")

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    kernel = "adamw"


@dataclass(frozen=True)
class AMSGrad(Optimizer):
    r"""AMSGrad: Adam whose rates never grow.

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \\
        v^{\max}_t &= \max(v^{\max}_{t-1}, v_t), \\
        \theta_t &= \theta_{t-1} - \epsilon_t \frac{m_t}{\sqrt{v^{\max}_t} + \delta}

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 1e-3.
    beta1, beta2 : float in [0, 1)
        The decay rates. Default 0.9 and 0.999.
    eps : float
        :math:`\delta \ge 0`; the paper has none. Default 1e-8.
    form : str
        "published" (default) as above, without bias correction. "pytorch": m and the maximum are corrected
        as in `Adam`.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `m`, `v` and `v_max`. The projection of the paper is the caller's.

    References
    ----------
    Reddi, Kale and Kumar, "On the convergence of Adam and beyond" (2018), algorithm 2.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt = optlab.AMSGrad(lr=0.1, beta1=0.0, beta2=0.75)
    >>> x = np.array([0.0])
    >>> state = opt.init(x)
    >>> for g in (8.0, 1.0):
    ...     opt.step(x, np.array([g]), state)
    >>> x, state.v, state.v_max
    (array([-0.225]), array([12.25]), array([16.]))
    """

    lr: Rate = rate(1e-3)
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = not_negative(1e-8)
    form: str = one_of("published", "pytorch")

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "v_max")
    kernel = "amsgrad"


@dataclass(frozen=True)
class NAdam(Optimizer):
    r"""NAdam: Adam with Nesterov's momentum, whose strength grows from half of :math:`\beta_1`.

    .. math::

        \mu_t &= \beta_1 \left(1 - \tfrac12\, 0.96^{t\psi}\right), \\
        m_t &= \mu_t m_{t-1} + (1 - \mu_t) g_t, \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \\
        \hat m_t &= \frac{(1 - \mu_t) g_t}{1 - \prod_1^t \mu_i}
            + \frac{\mu_{t+1} m_t}{1 - \prod_1^{t+1} \mu_i}, \\
        \theta_t &= \theta_{t-1} - \epsilon_t \frac{\hat m_t}{\sqrt{v_t / (1 - \beta_2^t)} + \delta}

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 2e-3.
    beta1, beta2 : float in [0, 1)
        The decay rates. Default 0.9 and 0.999.
    eps : float
        :math:`\delta \ge 0`. Default 1e-8.
    momentum_decay : float
        :math:`\psi \ge 0`. Default 0.004. Keras has 1.
    form : str
        "published" (default) as above. "pytorch": :math:`\beta_1` in place of :math:`\mu_t` in the second
        line; Keras too. "constant": :math:`\mu_t = \beta_1` everywhere.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `m` and `v`. The gradient is wanted at the parameters: the look-ahead is in the formula.
    The paper prints one more factor :math:`\beta_2` before :math:`v_t / (1 - \beta_2^t)`; PyTorch and Keras
    leave it out, and so does this.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop (2016), algorithm 2 and its schedule.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.NAdam(lr=0.1, form="constant"), np.array([0.0])
    >>> opt.step(x, np.array([2.0]), opt.init(x))
    >>> x.round(6)  # 0.1 (1 + 0.9 * 0.1 / 0.19)
    array([-0.147368])
    """

    lr: Rate = rate(2e-3)
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = not_negative(1e-8)
    momentum_decay: float = not_negative(0.004)
    form: str = one_of("published", "pytorch", "constant")

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    kernel = "nadam"


@dataclass(frozen=True)
class RAdam(Optimizer):
    r"""RAdam: Adam that trusts its denominator only as far as its variance allows.

    .. math::

        \rho_\infty &= \frac{2}{1 - \beta_2} - 1, \\
        \rho_t &= \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \\
        r_t &= \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}},
        \\
        q_t &= \begin{cases}
            \frac{r_t \sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \delta} & \rho_t > 4 \\
            1 & \text{else,}
        \end{cases} \\
        \theta_t &= \theta_{t-1} - \epsilon_t q_t \hat m_t

    with :math:`\hat m = m / (1 - \beta_1^t)` and v as in `Adam`.

    Parameters
    ----------
    lr : float or callable
        The learning rate :math:`\epsilon`, or a schedule. Default 1e-3.
    beta1, beta2 : float in [0, 1)
        The decay rates. Default 0.9 and 0.999. With :math:`\beta_2 \le 0.6` it is never rectified.
    eps : float
        :math:`\delta \ge 0`; the paper has none, its authors' code adds it to the root of v. Default 1e-8.
    form : str
        "published" (default) as above: from the 5th step on for the usual :math:`\beta_2`. "pytorch":
        :math:`\rho_t > 5`, from the 6th.

    Raises
    ------
    ValueError, TypeError
        A hyper-parameter that is out of its range, not finite, or no number; an unknown form.

    Notes
    -----
    The state has `m` and `v`. The chapter writes :math:`\nu_t` for :math:`\rho_t` and :math:`R_t` for
    :math:`r_t`.

    References
    ----------
    Liu et al., "On the variance of the adaptive learning rate and beyond" (2020), algorithm 2.

    Examples
    --------
    >>> import numpy as np, optlab
    >>> opt, x = optlab.RAdam(lr=0.1), np.array([0.0])
    >>> state = opt.init(x)
    >>> for _ in range(5):
    ...     opt.step(x, np.array([1.0]), state)
    >>> x.round(6)  # four steps of 0.1 and one of 0.1 r_5
    array([-0.401731])
    """

    lr: Rate = rate(1e-3)
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = not_negative(1e-8)
    form: str = one_of("published", "pytorch")

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    kernel = "radam"
