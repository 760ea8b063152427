"""The line search of Moré and Thuente: strong Wolfe conditions, as a machine that is told what it asked for.

    phi(t) <= phi(0) + c1 t phi'(0)   and   |phi'(t)| <= c2 |phi'(0)|

Numbers of sections and equations are those of Moré and Thuente, ACM TOMS 20 (1994).
"""

from libc.math cimport INFINITY, copysign, fabs, isfinite, sqrt

cdef enum:
    TRIALS = 60
    PATIENCE = 8

cdef double EPS = 2.0 ** -52


cdef void start(Wolfe* w, double f0, double slope0, double step0) noexcept nogil:
    """Begin with phi(0), phi'(0) and the first trial; c1, c2, max_step and noise are already set."""
    w.f0 = f0
    w.slope0 = slope0
    w.x.step = 0
    w.x.f = f0
    w.x.slope = slope0
    w.y = w.x
    w.bracketed = False
    w.shifted = True
    w.width = w.last_width = w.wall = INFINITY
    w.step = min(step0, w.max_step)
    w.low = 0
    w.high = 5 * w.step
    w.trials = 0


cdef int tell(Wolfe* w, double f, double slope) noexcept nogil:
    """Take phi and phi' at the step; choose the next step or end."""
    cdef double step = w.step, promised, tilt = 0, trial
    cdef Point new
    w.trials += 1
    # A trial that is not finite is taken back towards the best point.
    if not (isfinite(f) and isfinite(slope)):
        w.wall = step
        trial = w.x.step + 0.1 * (step - w.x.step)
        return go_on(w, trial) if w.x.step < trial < step else end(w)
    # 1. Accept? Where the change of the value is lost in rounding, that rounding is allowed.
    promised = w.f0 + w.c1 * step * w.slope0
    if f <= promised + w.noise and fabs(slope) <= w.c2 * fabs(w.slope0):
        return ACCEPTED
    if step == w.max_step and f <= promised and slope <= w.c1 * w.slope0:
        return ACCEPTED
    # 2. psi has done its work when it is not positive and phi rises.
    if f <= promised and slope >= 0:
        w.shifted = False
    # 3. Shrink the interval, find the next trial.
    if w.shifted and promised < f <= w.x.f:
        tilt = w.c1 * w.slope0
    new.step = step
    new.f = f
    new.slope = slope
    lean(&w.x, tilt)
    lean(&w.y, tilt)
    lean(&new, tilt)
    trial = narrow(w, new)
    lean(&w.x, -tilt)
    lean(&w.y, -tilt)
    if w.bracketed:
        # An interval that two trials did not shrink by a third is halved.
        if fabs(w.y.step - w.x.step) >= 0.66 * w.last_width:
            trial = w.x.step + 0.5 * (w.y.step - w.x.step)
        w.last_width = w.width
        w.width = fabs(w.y.step - w.x.step)
        w.low = min(w.x.step, w.y.step)
        w.high = max(w.x.step, w.y.step)
        if not w.low < trial < w.high:  # rounding: x and y are too far apart to interpolate
            trial = w.x.step + 0.1 * (w.y.step - w.x.step)
        if not w.low < trial < w.high or w.high - w.low <= EPS * w.high:
            return end(w)
    else:
        w.low = trial + 1.1 * (trial - w.x.step)
        w.high = trial + 4.0 * (trial - w.x.step)
        trial = min(trial, w.max_step)
    if trial >= w.wall:
        trial = w.x.step + 0.5 * (w.wall - w.x.step)
    # The value was too high, and of shorter steps none can be seen to be lower. Slopes may still lead to the
    # minimizer, for a while.
    if w.trials >= PATIENCE and f > promised + w.noise and trial * fabs(w.slope0) <= 0.025 * w.noise:
        return end(w)
    return go_on(w, trial) if trial != step else end(w)


cdef int go_on(Wolfe* w, double trial) noexcept nogil:
    w.step = trial
    return TRY if w.trials < TRIALS else end(w)


cdef int end(Wolfe* w) noexcept nogil:
    """The best point is left; step 0 if none is lower than the start."""
    w.step = w.x.step if w.x.f < w.f0 else 0
    return ENDED


cdef inline void lean(Point* p, double tilt) noexcept nogil:
    """The point on the function less a line through the origin."""
    p.f -= tilt * p.step
    p.slope -= tilt


cdef double narrow(Wolfe* w, Point new) noexcept nogil:
    """Make the new point one end of the interval; the next trial (section 4, cases 1 to 4)."""
    cdef Point x = w.x
    cdef double t = new.step, cubic, quadratic, line, limit
    # 1. A higher value: the minimizer is bracketed. The cubic step if it is nearer to x, else halfway to the
    # quadratic one.
    if new.f > x.f:
        w.y = new
        w.bracketed = True
        cubic = cubic_between(x, new)
        quadratic = x.step + 0.5 * ratio(x.slope, (x.f - new.f) / (t - x.step) + x.slope) * (t - x.step)
        return cubic if fabs(cubic - x.step) < fabs(quadratic - x.step) else cubic + 0.5 * (quadratic - cubic)
    # Where the line through both slopes is zero.
    line = t + new.slope / (new.slope - x.slope) * (x.step - t) if new.slope != x.slope else t
    w.x = new
    # 2. A lower value, a slope of the other sign: bracketed. The step farther from the new point.
    if new.slope * x.slope < 0:
        w.y = x
        w.bracketed = True
        cubic = cubic_between(new, x)
        return cubic if fabs(cubic - t) > fabs(line - t) else line
    # 3. A lower value, a flatter slope of the same sign: the cubic counts if it turns ahead.
    if fabs(new.slope) < fabs(x.slope):
        cubic = cubic_ahead(x, new, w.high if t > x.step else w.low)
        if w.bracketed:
            limit = t + 0.66 * (w.y.step - t)
            cubic = cubic if fabs(cubic - t) < fabs(line - t) else line
            return min(cubic, limit) if t > x.step else max(cubic, limit)
        return min(max(cubic if fabs(cubic - t) > fabs(line - t) else line, w.low), w.high)
    # 4. A lower value, a slope no flatter: the cubic through the other end, or as far as allowed.
    if w.bracketed:
        return cubic_between(new, w.y)
    return w.high if t > x.step else w.low


cdef double cubic_terms(Point a, Point b, double* gamma) noexcept nogil:
    cdef double theta = 3 * (a.f - b.f) / (b.step - a.step) + a.slope + b.slope
    cdef double size = max(fabs(theta), fabs(a.slope), fabs(b.slope))
    cdef double square = (theta / size) ** 2 - (a.slope / size) * (b.slope / size)
    gamma[0] = copysign(size * sqrt(square) if square > 0 else 0, b.step - a.step)
    return theta


cdef double cubic_between(Point a, Point b) noexcept nogil:
    """The minimizer of the cubic with the values and slopes of both points, which must bracket it."""
    cdef double gamma
    cdef double theta = cubic_terms(a, b, &gamma)
    cdef double r = ratio((gamma - a.slope) + theta, ((gamma - a.slope) + gamma) + b.slope)
    return a.step + r * (b.step - a.step)


cdef double cubic_ahead(Point x, Point new, double otherwise) noexcept nogil:
    """The minimizer of the cubic if it lies beyond the new point, seen from x; else what is given."""
    cdef double gamma
    cdef double theta = cubic_terms(new, x, &gamma)
    cdef double r = ratio((gamma - new.slope) + theta, (gamma + (x.slope - new.slope)) + gamma)
    return new.step + r * (x.step - new.step) if r < 0 and gamma != 0 else otherwise


cdef inline double ratio(double a, double b) noexcept nogil:
    """a / b; 0 if b is: what is interpolated with it stays where it is."""
    return a / b if b != 0 else 0


cdef class StrongWolfe:
    """The search as linesearch.strong_wolfe runs it."""

    cdef Wolfe w

    def __init__(self, double f0, double slope0, double step0, double c1, double c2, double max_step,
                 double noise):
        self.w.c1 = c1
        self.w.c2 = c2
        self.w.max_step = max_step
        self.w.noise = noise
        start(&self.w, f0, slope0, step0)

    @property
    def step(self):
        """The step to try, or the one the search ended with; 0 if it found none."""
        return self.w.step

    def tell(self, double f, double slope):
        """Take value and slope at the step; whether the search goes on."""
        return tell(&self.w, f, slope) == TRY
