# An optimizer as the kernels see it.

ctypedef void (*step_t)(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                        void* x, const void* g, void* slots) noexcept nogil
ctypedef void (*look_t)(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, const void* x,
                        const void* slots, void* at) noexcept nogil

cdef struct Rule:
    step_t step64           # changes x, slots and scalars in place; t = 0, 1, ... counts the steps
    step_t step32
    look_t look64           # at: where the gradient is wanted; NULL: at x
    look_t look32
    const double* hyper     # what stays the same for all steps
    int rates               # numbers that may differ at each step, the learning rate first
    int slots               # vectors of state, one after the other
    int scalars             # numbers of state: two a rule
    bint plain              # x <- x - lr g and nothing else


cdef class Stepper:
    cdef Rule rule
    cdef object owner       # keeps hyper alive
    cdef readonly int slots
    cdef readonly int scalars
    cdef readonly bint looks


cdef struct Part:
    # One array of the parameters during a step.
    Py_ssize_t n
    bint single             # float32
    void* x
    const void* g
    void* slots
    double* scalars


cdef class Memory:
    cdef public Py_ssize_t t        # steps done
    cdef readonly str kind          # of optimizer
    cdef readonly tuple names       # of the vectors of state
    cdef readonly bint alone        # the parameters are one array, not a list
    cdef readonly list slots        # for each array of the parameters: shape (vectors, *its shape)
    cdef readonly object scalars    # shape (arrays, numbers)
    cdef Py_ssize_t count           # arrays
    cdef Part* parts
    cdef bint busy
    cdef object owner               # the optimizer of the last step, its stepper and constant rates
    cdef Stepper stepper
    cdef object rates

    cdef bint prepare(self, Stepper stepper, Py_ssize_t t, object params, object grads)
    cdef bint gather(self, Stepper stepper, object params, object grads)
