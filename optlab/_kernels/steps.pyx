"""One step of each optimizer, in place. Each has the signature ``step_t`` of ``steps.pxd``.

A kernel is made for float32 and float64; the caller has checked the arrays (dtype, C order, lengths).
"""

cimport numpy as cnp
from cython cimport floating
from libc.math cimport sqrt

from ._clones cimport CVOID, IVOID, SVOID

cnp.import_array()

cdef enum:
    SHORT = 16  # below, vectors wait for the single numbers that were just written


cdef CVOID sgd(Py_ssize_t n, const double* hyper, double lr, Py_ssize_t t, double* scalars, floating* x,
               const floating* g, floating* slots) noexcept nogil:
    """x <- x - lr g."""
    cdef Py_ssize_t i
    cdef floating rate = <floating> lr
    for i in range(n):
        x[i] -= rate * g[i]


cdef IVOID adam_loop(Py_ssize_t n, const double* hyper, double rate, double scale, floating* x,
                     const floating* g, floating* m, floating* v) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating beta1 = <floating> hyper[0], beta2 = <floating> hyper[1], eps = <floating> hyper[2]
    cdef floating rest1 = <floating> (1 - hyper[0]), rest2 = <floating> (1 - hyper[1])
    cdef floating step = <floating> rate, s = <floating> scale
    for i in range(n):
        m[i] = beta1 * m[i] + rest1 * g[i]
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i]
        x[i] -= step * m[i] / (<floating> sqrt(v[i]) * s + eps)


cdef CVOID adam_long(Py_ssize_t n, const double* hyper, double rate, double scale, floating* x,
                     const floating* g, floating* m, floating* v) noexcept nogil:
    adam_loop(n, hyper, rate, scale, x, g, m, v)


cdef SVOID adam_short(Py_ssize_t n, const double* hyper, double rate, double scale, floating* x,
                      const floating* g, floating* m, floating* v) noexcept nogil:
    adam_loop(n, hyper, rate, scale, x, g, m, v)


cdef void adam(Py_ssize_t n, const double* hyper, double lr, Py_ssize_t t, double* scalars, floating* x,
               const floating* g, floating* slots) noexcept nogil:
    """m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2,
    x <- x - lr m^ / (sqrt(v^) + eps) with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t), t = 1, 2, ...

    The scalars are beta1^t and beta2^t, 0 before the first step.
    """
    if t == 0:
        scalars[0] = scalars[1] = 1
    scalars[0] = power(scalars[0], hyper[0])
    scalars[1] = power(scalars[1], hyper[1])
    cdef double rate = lr / (1 - scalars[0]), scale = 1 / sqrt(1 - scalars[1])
    if n < SHORT:
        adam_short(n, hyper, rate, scale, x, g, slots, slots + n)
    else:
        adam_long(n, hyper, rate, scale, x, g, slots, slots + n)


cdef inline double power(double last, double beta) noexcept nogil:
    """The next power; 0 before it is subnormal, which would take a hundred times as long."""
    return last * beta if last > 1e-290 else 0


cdef class Stepper:
    """A rule bound to its hyper-parameters."""

    cdef void bind(self, double[::1] hyper, int slots, int scalars, step_t step64, step_t step32) noexcept:
        self.owner = hyper
        self.rule.hyper = &hyper[0] if hyper.shape[0] else NULL
        self.rule.step64 = step64
        self.rule.step32 = step32
        self.rule.plain = False
        self.slots = self.rule.slots = slots
        self.scalars = self.rule.scalars = scalars

    def step(self, cnp.ndarray x, cnp.ndarray g, cnp.ndarray slots, cnp.ndarray scalars, double lr,
             Py_ssize_t t):
        """Change x, slots and scalars by step t. x, g, slots: one dtype, C order, n, n and slots * n long."""
        cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
        cdef double* numbers = <double*> cnp.PyArray_DATA(scalars)
        cdef void* xs = cnp.PyArray_DATA(x)
        cdef void* gs = cnp.PyArray_DATA(g)
        cdef void* state = cnp.PyArray_DATA(slots)
        cdef step_t kernel = self.rule.step64
        if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
            kernel = self.rule.step32
        with nogil:
            kernel(n, self.rule.hyper, lr, t, numbers, xs, gs, state)


cdef class SGD(Stepper):
    """No hyper-parameter but the learning rate."""

    def __init__(self, double[::1] hyper):
        self.bind(hyper, 0, 0, <step_t> sgd[double], <step_t> sgd[float])
        self.rule.plain = True


cdef class Adam(Stepper):
    """beta1, beta2, eps."""

    def __init__(self, double[::1] hyper):
        self.bind(hyper, 2, 2, <step_t> adam[double], <step_t> adam[float])
