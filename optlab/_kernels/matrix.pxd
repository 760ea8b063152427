# A matrix as the solvers see it: a table of two functions and the arrays they read.

cimport numpy as cnp
from cython cimport floating

ctypedef void (*product_t)(const Matrix* A, const void* x, void* y, double* xy) noexcept nogil

cdef struct Matrix:
    product_t product       # y = A x and xy = x.y; reads half of a symmetric A where that is faster
    product_t full          # the same, reading every stored entry
    Py_ssize_t n            # rows
    Py_ssize_t width        # DIA: columns stored; grid: columns
    Py_ssize_t count        # DIA: diagonals; grid: rows
    const void* data
    const int* indices
    const int* indptr


cdef void dot(Py_ssize_t n, const floating* x, const floating* y, double* xy) noexcept nogil


cdef class Operator:
    cdef Matrix matrix
    cdef tuple owners               # keeps the arrays alive
    cdef readonly Py_ssize_t n
    cdef readonly Py_ssize_t work   # numbers read by one product: how long it takes
    cdef readonly bint single       # float32, else float64

    cdef void bind(self, cnp.ndarray data, Py_ssize_t n, Py_ssize_t work, tuple owners) noexcept
