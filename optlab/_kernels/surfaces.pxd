# A cost as the kernels see it: value with gradient, Hessian times vector, and where its constants are.

from .steps cimport Rule

ctypedef double (*value_t)(const Surface* s, const double* x, double* g, double* work) noexcept nogil
ctypedef void (*product_t)(const Surface* s, const double* x, const double* v, double* Hv,
                           double* work) noexcept nogil
ctypedef void (*path_t)(const Surface* s, const Rule* rule, Course* c) noexcept nogil

cdef struct Surface:
    value_t evaluate        # f(x) and, unless g is NULL, its gradient
    product_t product       # Hv = H(x) v
    path_t path             # a path of an optimizer
    Py_ssize_t n            # parameters
    Py_ssize_t work         # numbers of workspace that either needs, owned by the caller
    const double* p         # constants
    const void* more        # what else it needs


cdef struct Course:
    # A path under way: where it is, what changes the gradient, where its rows go.
    Py_ssize_t t            # steps done
    Py_ssize_t stop         # steps to be done in this call
    Py_ssize_t last         # steps in all; the last one has a row
    Py_ssize_t every        # a row each so many steps
    Py_ssize_t starts       # distance of two rows, in points
    const double* rates     # of the rule, a row a step
    Py_ssize_t rates_stride  # 0: constant
    const double* noise     # a vector a step, or NULL
    double sigma
    double clip_norm        # infinite: none
    double clip_value
    double gtol
    double* x
    double* g
    double* d               # workspace: the gradient that the step sees, the last point, the look-ahead
    double* slots
    double* scalars
    double* work
    double* rows            # points, a row being starts x n
    double* table           # fun, grad_norm, step, nfev, a row being 4 x starts
    Py_ssize_t gradients    # a step takes
    int ended               # 0: under way; 1: the gradient is small; 2: not finite


cdef void follow(const Surface* s, const Rule* rule, Course* c) noexcept nogil


cdef class Compiled:
    cdef Surface surface
    cdef tuple owners       # keeps the arrays alive
    cdef readonly Py_ssize_t n
