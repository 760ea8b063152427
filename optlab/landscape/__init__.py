r"""What a cost looks like around a point: curvature, kinds of critical points, why a run stands still.

Every function takes the cost as its first argument, in one of two forms:

- a :class:`optlab.problems.Problem`, or another object with ``grad(x)`` and ``hess(x)`` or ``hessp(x, v)``:
  second derivatives are what it says;
- a callable ``gradient(x) -> array, shape (n,)``: second derivatives are its central differences,

.. math::

    H v &\approx \frac{g(x + h v) - g(x - h v)}{2 h}, \\
    h \lVert v \rVert &= \varepsilon^{1/3} \max(1, \lVert x \rVert_\infty),

where :math:`\varepsilon` is the precision of numbers, and only those coordinates of x count that move.
Rounding errs by :math:`\varepsilon / h`, the formula by :math:`h^2`; this h makes the two equal, and the
result good to about ten digits if the gradient is exact.

Points are float64, or float32 if they are given so.
"""

from .critical import CriticalPoint, classify_critical_point, escape_direction
from .curvature import hessian, hessian_vector_product
from .gradients import GradientCheck, check_gradient
from .spectra import SpectralDensity, spectral_density, spectrum
from .stalls import Stall, diagnose_stall

__all__ = [
    "CriticalPoint",
    "GradientCheck",
    "SpectralDensity",
    "Stall",
    "check_gradient",
    "classify_critical_point",
    "diagnose_stall",
    "escape_direction",
    "hessian",
    "hessian_vector_product",
    "spectral_density",
    "spectrum",
]
