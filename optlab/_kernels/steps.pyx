"""One step of each optimizer, in place. Each has the signature ``step_t`` of ``steps.pxd``.

A kernel is made for float32 and float64; the caller has checked the arrays (dtype, C order, lengths). The
numbers that may change from step to step are `rates`, the learning rate first. t = 0, 1, ... counts steps.

setup.py compiles this file without re-association and contraction, so that a path has the same bits on every
processor. What is written and used again is kept in a variable: a compiler that cannot rule out that two
arrays overlap would read it back from memory, at half the speed.
"""

cimport numpy as cnp
from cython cimport floating
from libc.math cimport pow, sqrt
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ._clones cimport CVOID, IVOID, SVOID

cnp.import_array()

cdef extern from "<math.h>" nogil:
    float sqrtf(float)

cdef enum:
    SHORT = 16  # below, vectors wait for the single numbers that were just written


cdef inline floating root(floating v) noexcept nogil:
    if floating is float:
        return sqrtf(v)
    else:
        return sqrt(v)


cdef inline floating over(floating a, floating b) noexcept nogil:
    """a / b, and 0 where b is 0: without eps, what has never had a gradient stays where it is."""
    return a / b if b != 0 else 0


cdef inline double power(double last, double beta) noexcept nogil:
    """The next power; 0 before it is subnormal, which would take a hundred times as long."""
    return last * beta if last > 1e-290 else 0


# Descent and momentum ---------------------------------------------------------------------------------------

cdef CVOID sgd(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
               floating* x, const floating* g, floating* slots) noexcept nogil:
    """x <- x - lr g."""
    cdef Py_ssize_t i
    cdef floating lr = <floating> rates[0]
    for i in range(n):
        x[i] -= lr * g[i]


cdef CVOID momentum(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                    floating* x, const floating* g, floating* v) noexcept nogil:
    """v <- a v - lr g, x <- x + v; as in PyTorch: v <- a v + g, x <- x - lr v. a = rates[1]; hyper: form."""
    cdef Py_ssize_t i
    cdef floating lr = <floating> rates[0], a = <floating> rates[1], u
    if hyper[0] == 0:
        for i in range(n):
            u = a * v[i] - lr * g[i]
            v[i] = u
            x[i] += u
    else:
        for i in range(n):
            u = a * v[i] + g[i]
            v[i] = u
            x[i] -= lr * u


cdef CVOID pytorch_nesterov(Py_ssize_t n, floating lr, floating a, floating* x, const floating* g,
                            floating* v) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating u
    for i in range(n):
        u = a * v[i] + g[i]
        v[i] = u
        x[i] -= lr * (g[i] + a * u)


cdef void nesterov(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                   floating* x, const floating* g, floating* v) noexcept nogil:
    """`momentum` with g taken at x + a v; as in PyTorch, where x is that point: v <- a v + g,
    x <- x - lr (g + a v)."""
    if hyper[0] == 0:
        momentum(n, hyper, rates, t, scalars, x, g, v)
    else:
        pytorch_nesterov(n, <floating> rates[0], <floating> rates[1], x, g, v)


cdef CVOID ahead(Py_ssize_t n, floating a, const floating* x, const floating* v, floating* at) noexcept nogil:
    """at = x + a v."""
    cdef Py_ssize_t i
    for i in range(n):
        at[i] = x[i] + a * v[i]


cdef void nesterov_look(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t,
                        const floating* x, const floating* v, floating* at) noexcept nogil:
    ahead(n, <floating> rates[1], x, v, at)


# A rate for each parameter ----------------------------------------------------------------------------------

cdef CVOID delta_bar_delta(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t,
                           double* scalars, floating* x, const floating* g, floating* slots) noexcept nogil:
    """r <- r + increase if d g > 0, r <- (1 - decrease) r if d g < 0; d <- (1 - decay) g + decay d;
    x <- x - r g. hyper: increase, decrease, decay; slots: r, d."""
    cdef Py_ssize_t i
    cdef floating more = <floating> hyper[0], less = <floating> (1 - hyper[1])
    cdef floating decay = <floating> hyper[2], rest = <floating> (1 - hyper[2])
    cdef floating lr = <floating> rates[0], p, q
    cdef floating* r = slots
    cdef floating* d = slots + n
    if t == 0:
        for i in range(n):
            r[i] = lr
    for i in range(n):
        p, q = g[i] if d[i] > 0 else (-g[i] if d[i] < 0 else 0), r[i]  # a product may underflow
        q = q + more if p > 0 else (less * q if p < 0 else q)
        r[i] = q
        d[i] = rest * g[i] + decay * d[i]
        x[i] -= q * g[i]


cdef CVOID adagrad(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                   floating* x, const floating* g, floating* r) noexcept nogil:
    """r <- r + g^2; x <- x - lr g / (sqrt(r) + eps), or sqrt(r / t) + eps, t = 1, 2, ..., or sqrt(r + eps).
    hyper: eps, initial r, form."""
    cdef Py_ssize_t i
    cdef floating lr = <floating> rates[0], eps = <floating> hyper[0], initial = <floating> hyper[1]
    cdef floating count = <floating> (t + 1), s
    if t == 0 and initial != 0:
        for i in range(n):
            r[i] = initial
    if hyper[2] == 0:
        for i in range(n):
            s = r[i] + g[i] * g[i]
            r[i] = s
            x[i] -= over(lr * g[i], root(s) + eps)
    elif hyper[2] == 1:
        for i in range(n):
            s = r[i] + g[i] * g[i]
            r[i] = s
            x[i] -= over(lr * g[i], root(s / count) + eps)
    else:
        for i in range(n):
            s = r[i] + g[i] * g[i]
            r[i] = s
            x[i] -= over(lr * g[i], root(s + eps))


cdef enum Velocity:
    NONE                    # x <- x - lr q
    INSIDE                  # v <- a v - lr q, x <- x + v
    OUTSIDE                 # v <- a v + q, x <- x - lr v


cdef IVOID rmsprop_loop(Py_ssize_t n, double lr_, double rho_, double a_, double eps_, bint under_root,
                        bint first, Velocity velocity, floating* x, const floating* g, floating* r,
                        floating* v) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating lr = <floating> lr_, a = <floating> a_, eps = <floating> eps_, q, s, u
    cdef floating rho = <floating> (0 if first else rho_), rest = <floating> (1 if first else 1 - rho_)
    for i in range(n):
        s = rho * r[i] + rest * (g[i] * g[i])
        r[i] = s
        q = over(g[i], root(s + eps) if under_root else root(s) + eps)
        if velocity == NONE:
            x[i] -= lr * q
        elif velocity == INSIDE:
            u = a * v[i] - lr * q
            v[i] = u
            x[i] += u
        else:
            u = a * v[i] + q
            v[i] = u
            x[i] -= lr * u


cdef CVOID rmsprop(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                   floating* x, const floating* g, floating* slots) noexcept nogil:
    """r <- rho r + (1 - rho) g^2; q = g / (sqrt(r) + eps); x <- x - lr q, or with momentum a:
    v <- a v - lr q, x <- x + v. hyper: rho, a, eps, form; slots: r, v.

    Forms: 0 published, g at x + a v; 1 as in PyTorch: v <- a v + q, x <- x - lr v; 2 as in TensorFlow:
    q = g / sqrt(r + eps); 3: the first r is g^2.
    """
    cdef double lr = rates[0], rho = hyper[0], a = hyper[1], eps = hyper[2]
    cdef floating* v = slots + n
    cdef int form = <int> hyper[3]
    cdef bint first = form == 3 and t == 0
    if form == 2:
        if a == 0:
            rmsprop_loop(n, lr, rho, a, eps, True, False, NONE, x, g, slots, v)
        else:
            rmsprop_loop(n, lr, rho, a, eps, True, False, INSIDE, x, g, slots, v)
    elif a == 0:
        rmsprop_loop(n, lr, rho, a, eps, False, first, NONE, x, g, slots, v)
    elif form == 1:
        rmsprop_loop(n, lr, rho, a, eps, False, False, OUTSIDE, x, g, slots, v)
    else:
        rmsprop_loop(n, lr, rho, a, eps, False, first, INSIDE, x, g, slots, v)


cdef void rmsprop_look(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t,
                       const floating* x, const floating* slots, floating* at) noexcept nogil:
    ahead(n, <floating> hyper[1], x, slots + n, at)


cdef CVOID adadelta(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                    floating* x, const floating* g, floating* slots) noexcept nogil:
    """r <- rho r + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(r + eps) g; u <- rho u + (1 - rho) d^2;
    x <- x - lr d. hyper: rho, eps; slots: r, u."""
    cdef Py_ssize_t i
    cdef floating lr = <floating> rates[0], eps = <floating> hyper[1], d, s
    cdef floating rho = <floating> hyper[0], rest = <floating> (1 - hyper[0])
    cdef floating* r = slots
    cdef floating* u = slots + n
    for i in range(n):
        s = rho * r[i] + rest * (g[i] * g[i])
        r[i] = s
        d = over(root(u[i] + eps), root(s + eps)) * g[i]
        u[i] = rho * u[i] + rest * (d * d)
        x[i] -= lr * d


# Adam and its kin -------------------------------------------------------------------------------------------
# All of them keep m <- beta1 m + (1 - beta1) g and v <- beta2 v + (1 - beta2) g^2; hyper: beta1, beta2, eps.

cdef IVOID adam_loop(Py_ssize_t n, const double* hyper, double rate, double scale, double keep, floating* x,
                     const floating* g, floating* slots) noexcept nogil:
    """x <- keep x - rate m / (scale sqrt(v) + eps)."""
    cdef Py_ssize_t i
    cdef floating beta1 = <floating> hyper[0], beta2 = <floating> hyper[1], eps = <floating> hyper[2]
    cdef floating rest1 = <floating> (1 - hyper[0]), rest2 = <floating> (1 - hyper[1])
    cdef floating step = <floating> rate, s = <floating> scale, k = <floating> keep
    cdef floating mean, square
    cdef floating* m = slots
    cdef floating* v = slots + n
    for i in range(n):
        mean = beta1 * m[i] + rest1 * g[i]
        square = beta2 * v[i] + rest2 * g[i] * g[i]
        m[i], v[i] = mean, square
        x[i] = k * x[i] - over(step * mean, root(square) * s + eps)


cdef CVOID adam_long(Py_ssize_t n, const double* hyper, double rate, double scale, double keep, floating* x,
                     const floating* g, floating* slots) noexcept nogil:
    adam_loop(n, hyper, rate, scale, keep, x, g, slots)


cdef SVOID adam_short(Py_ssize_t n, const double* hyper, double rate, double scale, double keep, floating* x,
                      const floating* g, floating* slots) noexcept nogil:
    adam_loop(n, hyper, rate, scale, keep, x, g, slots)


cdef void adam(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
               floating* x, const floating* g, floating* slots) noexcept nogil:
    """x <- x - lr m^ / (sqrt(v^) + eps) with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t), t = 1, 2, ...

    hyper[3], form: 0 published; 1 as in TensorFlow: sqrt(v) + eps without the correction of v, lr times
    sqrt(1 - beta2^t); 2 without both corrections. The scalars are beta1^t and beta2^t.
    """
    cdef double rate = rates[0], scale = 1
    count(hyper, t, scalars)
    if hyper[3] == 0:
        rate /= 1 - scalars[0]
        scale = 1 / sqrt(1 - scalars[1])
    elif hyper[3] == 1:
        rate *= sqrt(1 - scalars[1]) / (1 - scalars[0])
    if n < SHORT:
        adam_short(n, hyper, rate, scale, 1, x, g, slots)
    else:
        adam_long(n, hyper, rate, scale, 1, x, g, slots)


cdef void adamw(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                floating* x, const floating* g, floating* slots) noexcept nogil:
    """x <- x - eta (lr m^ / (sqrt(v^) + eps) + w x); as in PyTorch: w lr in place of w.

    eta = rates[1]; hyper[3] = w, hyper[4] the form; the scalars are beta1^t and beta2^t.
    """
    cdef double decay = hyper[3] * rates[1]
    count(hyper, t, scalars)
    if hyper[4] == 1:
        decay *= rates[0]
    adam_long(n, hyper, rates[1] * rates[0] / (1 - scalars[0]), 1 / sqrt(1 - scalars[1]), 1 - decay, x, g,
              slots)


cdef CVOID amsgrad_loop(Py_ssize_t n, const double* hyper, double rate, double scale, floating* x,
                        const floating* g, floating* slots) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating beta1 = <floating> hyper[0], beta2 = <floating> hyper[1], eps = <floating> hyper[2]
    cdef floating rest1 = <floating> (1 - hyper[0]), rest2 = <floating> (1 - hyper[1])
    cdef floating step = <floating> rate, s = <floating> scale, mean, square, top
    cdef floating* m = slots
    cdef floating* v = slots + n
    cdef floating* most = slots + 2 * n
    for i in range(n):
        mean = beta1 * m[i] + rest1 * g[i]
        square = beta2 * v[i] + rest2 * g[i] * g[i]
        top = most[i] if most[i] > square else square  # NaN stays
        m[i], v[i], most[i] = mean, square, top
        x[i] -= over(step * mean, root(top) * s + eps)


cdef void amsgrad(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                  floating* x, const floating* g, floating* slots) noexcept nogil:
    """v_max <- max(v_max, v), x <- x - lr m / (sqrt(v_max) + eps); as in PyTorch: both corrected as in Adam.

    hyper[3]: form; slots: m, v, v_max; the scalars are beta1^t and beta2^t.
    """
    cdef double rate = rates[0], scale = 1
    count(hyper, t, scalars)
    if hyper[3] == 1:
        rate /= 1 - scalars[0]
        scale = 1 / sqrt(1 - scalars[1])
    amsgrad_loop(n, hyper, rate, scale, x, g, slots)


cdef CVOID nadam_loop(Py_ssize_t n, const double* hyper, double keep, double direct, double averaged,
                      double scale, floating* x, const floating* g, floating* slots) noexcept nogil:
    """m <- keep m + (1 - keep) g, x <- x - (direct g + averaged m) / (scale sqrt(v) + eps)."""
    cdef Py_ssize_t i
    cdef floating beta2 = <floating> hyper[1], eps = <floating> hyper[2], k = <floating> keep
    cdef floating rest1 = <floating> (1 - keep), rest2 = <floating> (1 - hyper[1]), s = <floating> scale
    cdef floating of_g = <floating> direct, of_m = <floating> averaged, mean, square
    cdef floating* m = slots
    cdef floating* v = slots + n
    for i in range(n):
        mean = k * m[i] + rest1 * g[i]
        square = beta2 * v[i] + rest2 * g[i] * g[i]
        m[i], v[i] = mean, square
        x[i] -= over(of_g * g[i] + of_m * mean, root(square) * s + eps)


cdef void nadam(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                floating* x, const floating* g, floating* slots) noexcept nogil:
    """x <- x - lr ((1 - mu_t) g / (1 - p_t) + mu_{t+1} m / (1 - p_{t+1})) / (sqrt(v^) + eps) with
    p_t = mu_1 ... mu_t, mu_t = beta1 (1 - 0.96^(t d) / 2).

    hyper[3] = d, hyper[4] the form: 0 published, m <- mu_t m + (1 - mu_t) g; 1 as in PyTorch, beta1 in place
    of mu_t there; 2: mu_t = beta1. The scalars are p_t and beta2^t.
    """
    cdef double mu = hyper[0], after = hyper[0]
    if t == 0:
        scalars[0] = scalars[1] = 1
    if hyper[4] != 2:
        mu *= 1 - 0.5 * pow(0.96, (t + 1) * hyper[3])
        after *= 1 - 0.5 * pow(0.96, (t + 2) * hyper[3])
    scalars[0] = power(scalars[0], mu)
    scalars[1] = power(scalars[1], hyper[1])
    nadam_loop(n, hyper, hyper[0] if hyper[4] == 1 else mu, rates[0] * (1 - mu) / (1 - scalars[0]),
               rates[0] * after / (1 - scalars[0] * after), 1 / sqrt(1 - scalars[1]), x, g, slots)


cdef CVOID average_step(Py_ssize_t n, const double* hyper, double rate, floating* x, const floating* g,
                        floating* slots) noexcept nogil:
    """x <- x - rate m."""
    cdef Py_ssize_t i
    cdef floating beta1 = <floating> hyper[0], beta2 = <floating> hyper[1], step = <floating> rate
    cdef floating rest1 = <floating> (1 - hyper[0]), rest2 = <floating> (1 - hyper[1]), mean
    cdef floating* m = slots
    cdef floating* v = slots + n
    for i in range(n):
        mean = beta1 * m[i] + rest1 * g[i]
        m[i] = mean
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i]
        x[i] -= step * mean


cdef void radam(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                floating* x, const floating* g, floating* slots) noexcept nogil:
    """x <- x - lr r_t m^ sqrt(1 - beta2^t) / (sqrt(v) + eps) if rho_t > 4, else x <- x - lr m^.

    rho_t = R - 2 t beta2^t / (1 - beta2^t), R = 2 / (1 - beta2) - 1,
    r_t^2 = (rho_t - 4) (rho_t - 2) R / ((R - 4) (R - 2) rho_t). hyper[3], form: 1 for > 5 as in PyTorch. The
    scalars are beta1^t and beta2^t.
    """
    cdef double R = 2 / (1 - hyper[1]) - 1, rho, rate, bias
    count(hyper, t, scalars)
    rate = rates[0] / (1 - scalars[0])
    bias = 1 - scalars[1]
    rho = R - 2 * (t + 1) * scalars[1] / bias
    if rho > (5 if hyper[3] == 1 else 4):
        rate *= sqrt((rho - 4) * (rho - 2) * R / ((R - 4) * (R - 2) * rho) * bias)
        adam_long(n, hyper, rate, 1, 1, x, g, slots)
    else:
        average_step(n, hyper, rate, x, g, slots)


cdef inline void count(const double* hyper, Py_ssize_t t, double* scalars) noexcept nogil:
    """The scalars become beta1^t and beta2^t, t = 1, 2, ..."""
    if t == 0:
        scalars[0] = scalars[1] = 1
    scalars[0] = power(scalars[0], hyper[0])
    scalars[1] = power(scalars[1], hyper[1])


# One optimizer after another --------------------------------------------------------------------------------

cdef struct Pair:
    Rule first
    Rule second
    Py_ssize_t at


cdef void switch(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, double* scalars,
                 floating* x, const floating* g, floating* slots) noexcept nogil:
    """The first rule for the steps below `at`, then the second, whose steps count from 0. hyper is a Pair."""
    cdef const Pair* pair = <const Pair*> hyper
    cdef const Rule* rule = &pair.first
    if t >= pair.at:
        rule = &pair.second
        t -= pair.at
        rates += pair.first.rates
        scalars += pair.first.scalars
        slots += pair.first.slots * n
    if floating is float:
        rule.step32(n, rule.hyper, rates, t, scalars, x, g, slots)
    else:
        rule.step64(n, rule.hyper, rates, t, scalars, x, g, slots)


cdef void switch_look(Py_ssize_t n, const double* hyper, const double* rates, Py_ssize_t t, const floating* x,
                      const floating* slots, floating* at) noexcept nogil:
    cdef const Pair* pair = <const Pair*> hyper
    cdef const Rule* rule = &pair.first
    cdef Py_ssize_t i
    if t >= pair.at:
        rule = &pair.second
        t -= pair.at
        rates += pair.first.rates
        slots += pair.first.slots * n
    if rule.look64 == NULL:
        for i in range(n):
            at[i] = x[i]
    elif floating is float:
        rule.look32(n, rule.hyper, rates, t, x, slots, at)
    else:
        rule.look64(n, rule.hyper, rates, t, x, slots, at)


# What Python sees -------------------------------------------------------------------------------------------

cdef struct Entry:
    step_t step64
    step_t step32
    look_t look64
    look_t look32

cdef Entry ENTRIES[32]
cdef dict PLACES = {}


cdef void enter(str name, step_t step64, step_t step32, look_t look64=NULL, look_t look32=NULL):
    cdef Entry* entry = &ENTRIES[<Py_ssize_t> len(PLACES)]
    entry.step64, entry.step32, entry.look64, entry.look32 = step64, step32, look64, look32
    PLACES[name] = len(PLACES)


enter("adadelta", <step_t> adadelta[double], <step_t> adadelta[float])
enter("adagrad", <step_t> adagrad[double], <step_t> adagrad[float])
enter("adam", <step_t> adam[double], <step_t> adam[float])
enter("adamw", <step_t> adamw[double], <step_t> adamw[float])
enter("amsgrad", <step_t> amsgrad[double], <step_t> amsgrad[float])
enter("delta_bar_delta", <step_t> delta_bar_delta[double], <step_t> delta_bar_delta[float])
enter("momentum", <step_t> momentum[double], <step_t> momentum[float])
enter("nadam", <step_t> nadam[double], <step_t> nadam[float])
enter("nesterov", <step_t> nesterov[double], <step_t> nesterov[float],
      <look_t> nesterov_look[double], <look_t> nesterov_look[float])
enter("radam", <step_t> radam[double], <step_t> radam[float])
enter("rmsprop", <step_t> rmsprop[double], <step_t> rmsprop[float],
      <look_t> rmsprop_look[double], <look_t> rmsprop_look[float])
enter("sgd", <step_t> sgd[double], <step_t> sgd[float])


cdef class Stepper:
    """A rule of the table above with its hyper-parameters."""

    def __init__(self, str name, double[::1] hyper, int rates, int slots, bint looks):
        cdef Entry* entry = &ENTRIES[<Py_ssize_t> PLACES[name]]
        self.owner = hyper
        self.rule.hyper = &hyper[0] if hyper.shape[0] else NULL
        self.rule.step64, self.rule.step32 = entry.step64, entry.step32
        if looks:
            self.rule.look64, self.rule.look32 = entry.look64, entry.look32
        self.rule.plain = name == "sgd"
        self.rule.rates = rates
        self.slots = self.rule.slots = slots
        self.scalars = self.rule.scalars = 2
        self.looks = looks

    def lookahead(self, cnp.ndarray x, cnp.ndarray slots, double[::1] rates, Py_ssize_t t, cnp.ndarray at):
        """Write to `at` where the gradient is wanted before step t; arrays as `step` has checked them."""
        cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
        cdef const void* xs = cnp.PyArray_DATA(x)
        cdef const void* state = cnp.PyArray_DATA(slots)
        cdef void* to = cnp.PyArray_DATA(at)
        cdef look_t kernel = self.rule.look64
        if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
            kernel = self.rule.look32
        with nogil:
            kernel(n, self.rule.hyper, &rates[0], t, xs, state, to)


cdef class Switch(Stepper):
    """Two rules and the step from which on the second holds."""

    cdef Pair pair

    def __init__(self, Stepper first, Stepper second, Py_ssize_t at):
        self.owner = (first, second)
        self.pair.first, self.pair.second, self.pair.at = first.rule, second.rule, at
        self.rule.hyper = <const double*> &self.pair
        self.rule.step64, self.rule.step32 = <step_t> switch[double], <step_t> switch[float]
        self.looks = first.looks or second.looks
        if self.looks:
            self.rule.look64, self.rule.look32 = <look_t> switch_look[double], <look_t> switch_look[float]
        self.rule.rates = first.rule.rates + second.rule.rates
        self.slots = self.rule.slots = first.slots + second.slots
        self.scalars = self.rule.scalars = first.scalars + second.scalars


cdef class Memory:
    """The arrays of a state, and the step: everything that has to be quick for a few parameters."""

    def __cinit__(self, str kind, Py_ssize_t t, tuple names, bint alone, list slots, scalars):
        self.kind, self.t, self.names, self.alone = kind, t, names, alone
        self.slots, self.scalars = slots, scalars
        self.count = len(slots)
        self.parts = <Part*> calloc(max(self.count, 1), sizeof(Part))
        if self.parts == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.parts)

    cdef bint prepare(self, Stepper stepper, Py_ssize_t t, object params, object grads):
        """`gather` for step t, unless another thread has got in between."""
        if self.busy or self.t != t:
            raise RuntimeError("state: another thread is stepping it")
        return self.gather(stepper, params, grads)

    cdef bint gather(self, Stepper stepper, object params, object grads):
        """Fill the parts; False if an array is not as the kernels want it.

        The state's own arrays are looked at each time: Python can replace, resize and reshape them.
        """
        cdef Py_ssize_t i, j, count = self.count
        cdef int scalars = stepper.scalars
        cdef cnp.ndarray numbers
        if len(self.slots) != count or not cnp.PyArray_CheckExact(self.scalars):
            return False
        numbers = self.scalars
        if not (cnp.PyArray_ISCARRAY(numbers) and cnp.PyArray_TYPE(numbers) == cnp.NPY_FLOAT64
                and cnp.PyArray_NDIM(numbers) == 2 and cnp.PyArray_DIM(numbers, 0) == count
                and cnp.PyArray_DIM(numbers, 1) == scalars):
            return False
        for i in range(count):
            self.parts[i].scalars = <double*> cnp.PyArray_DATA(numbers) + i * scalars
        if self.alone:
            return count == 1 and gather_one(&self.parts[0], stepper.slots, params, grads, self.slots[0])
        if not (isinstance(params, (list, tuple)) and isinstance(grads, (list, tuple))):
            return False
        if len(params) != count or len(grads) != count:
            return False
        for i in range(count):
            if not gather_one(&self.parts[i], stepper.slots, params[i], grads[i], self.slots[i]):
                return False
            for j in range(i):
                if overlap(&self.parts[j], &self.parts[i]):
                    return False  # the step of one array would change the gradient of a later one
        return True


cdef inline bint overlap(const Part* a, const Part* b) noexcept:
    """Whether the parameters of a share memory with the gradient of b."""
    cdef const char* x = <const char*> a.x
    cdef const char* g = <const char*> b.g
    return x < g + b.n * (4 if b.single else 8) and g < x + a.n * (4 if a.single else 8)


cdef bint gather_one(Part* part, int vectors, object x_, object g_, object slots_):
    cdef cnp.ndarray x, g, slots
    cdef Py_ssize_t size
    cdef int i, ndim, kind
    cdef char* a
    cdef char* b
    if not (cnp.PyArray_CheckExact(x_) and cnp.PyArray_CheckExact(g_) and cnp.PyArray_CheckExact(slots_)):
        return False
    x, g, slots = x_, g_, slots_
    ndim, kind = cnp.PyArray_NDIM(x), cnp.PyArray_TYPE(x)
    if cnp.PyArray_NDIM(g) != ndim or cnp.PyArray_NDIM(slots) != ndim + 1:
        return False
    if cnp.PyArray_TYPE(g) != kind or cnp.PyArray_TYPE(slots) != kind:
        return False
    if not (cnp.PyArray_ISCARRAY(x) and cnp.PyArray_ISCARRAY_RO(g) and cnp.PyArray_ISCARRAY(slots)):
        return False
    if cnp.PyArray_DIM(slots, 0) != vectors:
        return False
    part.n = 1
    for i in range(ndim):
        size = cnp.PyArray_DIM(x, i)
        if cnp.PyArray_DIM(g, i) != size or cnp.PyArray_DIM(slots, i + 1) != size:
            return False
        part.n *= size
    a, b = <char*> cnp.PyArray_DATA(x), <char*> cnp.PyArray_DATA(g)
    size = part.n * cnp.PyArray_ITEMSIZE(x)
    if a != b and a < b + size and b < a + size:
        return False  # a step would read what it has written
    part.single = kind == cnp.NPY_FLOAT32
    part.x, part.g, part.slots = a, b, cnp.PyArray_DATA(slots)
    return True


# An exponent of ones says NaN or infinity: one more, and the sign bit is set. Integers are looked at in half
# the time of comparisons.

cdef CVOID seek_single(Py_ssize_t n, const uint32_t* g, bint* bad) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t found = 0
    for i in range(n):
        found |= (g[i] & <uint32_t> 0x7fffffff) + <uint32_t> 0x00800000
    bad[0] = found >> 31


cdef CVOID seek_double(Py_ssize_t n, const uint64_t* g, bint* bad) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint64_t found = 0
    for i in range(n):
        found |= (g[i] & <uint64_t> 0x7fffffffffffffff) + <uint64_t> 0x0010000000000000
    bad[0] = found >> 63


cdef bint all_finite(Part* parts, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint bad = False
    for i in range(count):
        if parts[i].single:
            seek_single(parts[i].n, <const uint32_t*> parts[i].g, &bad)
        else:
            seek_double(parts[i].n, <const uint64_t*> parts[i].g, &bad)
        if bad:
            return False
    return True


def step(self, params, grads, state, *, bint allow_nan=False):
    """Change the parameters and the state in place by one step.

    Parameters
    ----------
    params, grads : ndarray or sequence of ndarrays
        Of the shapes and dtypes that `state` was made for, params in C order and writeable.
    state : State
        From `init`, of an optimizer of the same kind.
    allow_nan : bool
        Step even if a gradient has NaN or infinite entries. Default False.

    Raises
    ------
    ValueError, TypeError
        Shapes, dtypes, numbers of arrays that do not fit, gradients that are not finite, a scheduled rate out
        of its range. Nothing has been changed then.
    RuntimeError
        Another thread is stepping this state.
    """
    if not isinstance(state, Memory):
        self._check(params, grads, state)  # raises
    cdef Memory memory = <Memory> state
    cdef Stepper stepper
    cdef Rule* rule
    cdef Py_ssize_t i, t = memory.t, count = memory.count
    cdef bint good = True
    cdef const double* rates
    # The stepper and the rates are kept in variables of this call: another thread that steps this state with
    # another optimizer would take those of the memory away.
    if memory.owner is self:
        stepper, numbers = memory.stepper, memory.rates
    else:
        self._check(params, grads, state)
        stepper, numbers = self._stepper(), self._constant_rates()
        memory.stepper, memory.rates, memory.owner = stepper, numbers, self
    if numbers is None:
        numbers = self._rates(t)
    rates = <const double*> cnp.PyArray_DATA(numbers)
    if not memory.prepare(stepper, t, params, grads):
        params, grads = self._check(params, grads, state)  # other threads may step meanwhile
        if memory.alone:
            params, grads = params[0], grads[0]
        if not memory.prepare(stepper, t, params, grads):
            raise TypeError(f"state: expected the state of {type(self).__name__}, got arrays that do not fit")
    # From here on nobody else's Python runs.
    rule = &stepper.rule
    memory.busy = True
    with nogil:
        if not allow_nan:
            good = all_finite(memory.parts, count)
        if good:
            for i in range(count):
                if memory.parts[i].single:
                    rule.step32(memory.parts[i].n, rule.hyper, rates, t, memory.parts[i].scalars,
                                memory.parts[i].x, memory.parts[i].g, memory.parts[i].slots)
                else:
                    rule.step64(memory.parts[i].n, rule.hyper, rates, t, memory.parts[i].scalars,
                                memory.parts[i].x, memory.parts[i].g, memory.parts[i].slots)
    memory.busy = False
    if not good:
        self._refuse(grads)
    memory.t = t + 1
