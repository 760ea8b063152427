# An optimizer as the kernels see it.

ctypedef void (*step_t)(Py_ssize_t n, const double* hyper, double lr, Py_ssize_t t, double* scalars, void* x,
                        const void* g, void* slots) noexcept nogil

cdef struct Rule:
    step_t step64           # changes x, slots and scalars in place; t = 0, 1, ... counts the steps
    step_t step32
    const double* hyper     # hyper-parameters besides the learning rate
    int slots               # vectors of state, one after the other
    int scalars             # numbers of state
    bint plain              # x <- x - lr g and nothing else


cdef class Stepper:
    cdef Rule rule
    cdef object owner       # keeps hyper alive
    cdef readonly int slots
    cdef readonly int scalars

    cdef void bind(self, double[::1] hyper, int slots, int scalars, step_t step64, step_t step32) noexcept
