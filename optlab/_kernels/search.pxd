# A strong Wolfe search as the kernels run it: start, then tell it value and slope at its step until it ends.

cdef enum:
    TRY, ACCEPTED, ENDED    # what tell returns: try the step; the step is accepted; no step was

cdef struct Point:
    double step
    double f
    double slope

cdef struct Wolfe:
    double step             # the trial, or what the search ended with
    double f0
    double slope0
    double c1
    double c2
    double max_step
    double noise            # what rounding does to f0
    Point x                 # the best end of the interval
    Point y                 # its other end, once there is one
    bint bracketed
    bint shifted            # psi(t) = phi(t) - phi(0) - c1 t phi'(0) stands in for phi
    double width            # of the interval, and one and two trials ago
    double last_width
    double low              # where the next trial may be
    double high
    double wall             # a trial that was not finite
    int trials

cdef void start(Wolfe* w, double f0, double slope0, double step0) noexcept nogil
cdef int tell(Wolfe* w, double f, double slope) noexcept nogil
