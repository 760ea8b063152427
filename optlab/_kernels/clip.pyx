"""Clipping of gradients; the caller has checked the arrays (dtype, C order, lengths)."""

cimport numpy as cnp
from cython cimport floating

from ._clones cimport CVOID

cnp.import_array()


cdef CVOID add_squares(Py_ssize_t n, const floating* g, double* total) noexcept nogil:
    """total <- total + sum of g_i^2, in double precision."""
    cdef Py_ssize_t i
    cdef double s = 0, z
    for i in range(n):
        z = g[i]
        s += z * z
    total[0] += s


cdef CVOID scale(Py_ssize_t n, double factor, const floating* g, floating* out) noexcept nogil:
    """out <- factor g."""
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <floating> (factor * g[i])


cdef CVOID bound(Py_ssize_t n, floating limit, const floating* g, floating* out) noexcept nogil:
    """out <- g cut to +-limit; NaN stays."""
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = limit if g[i] > limit else (-limit if g[i] < -limit else g[i])


def square(cnp.ndarray g):
    """The sum of the squares of the entries."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    cdef const void* gs = cnp.PyArray_DATA(g)
    cdef bint single = cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32
    cdef double total = 0
    with nogil:
        if single:
            add_squares(n, <const float*> gs, &total)
        else:
            add_squares(n, <const double*> gs, &total)
    return total


def times(cnp.ndarray g, double factor, cnp.ndarray out):
    """Write factor g to out."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    cdef const void* gs = cnp.PyArray_DATA(g)
    cdef void* to = cnp.PyArray_DATA(out)
    cdef bint single = cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32
    with nogil:
        if single:
            scale(n, factor, <const float*> gs, <float*> to)
        else:
            scale(n, factor, <const double*> gs, <double*> to)


def within(cnp.ndarray g, double limit, cnp.ndarray out):
    """Write g, cut to +-limit, to out."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    cdef const void* gs = cnp.PyArray_DATA(g)
    cdef void* to = cnp.PyArray_DATA(out)
    cdef bint single = cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32
    with nogil:
        if single:
            bound(n, <float> limit, <const float*> gs, <float*> to)
        else:
            bound(n, limit, <const double*> gs, <double*> to)
