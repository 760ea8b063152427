"""L-BFGS: minimize with the last m pairs s = x' - x, y = g' - g in place of a matrix.

    1. d = -M g, where M is gamma I updated by every pair (BFGS), gamma = s.y / y.y of the newest
    2. a strong Wolfe search along d, first trial 1
    3. keep the new pair if its curvature s.y is positive

The two-loop recursion for M g needs of the vectors only their products with each other and with g. These are
kept: one pass over the pairs takes the products with a new gradient, the recursion runs on coefficients, one
more pass adds the pairs up. The pairs are read as often as in the recursion as it is usually written, g and d
2 m times less.

Where the objective is compiled the loop runs without the interpreter. Where it is the user's, ``advance``
returns to ask for a value and goes on from there when it is called again.
"""

cimport numpy as cnp
from cython cimport floating
from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport INFINITY, NAN, fabs, isfinite, sqrt
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

from ._clones cimport CVOID, IVOID
from .matrix cimport dot
from .search cimport ACCEPTED, TRY, Wolfe, start, tell
from .surfaces cimport Compiled, Surface

cnp.import_array()

# What advance() returns. The value and gradient at `trial` are wanted.
NEED_VALUE = 0
# As many rows as were asked for; go on when ready.
PAUSED = 1
# The end.
CONVERGED, EXHAUSTED, NO_DECREASE, NOT_FINITE, UNBOUNDED = range(2, 7)

cdef enum:
    _NEED_VALUE, _PAUSED, _CONVERGED, _EXHAUSTED, _NO_DECREASE, _NOT_FINITE, _UNBOUNDED

# Where advance() goes on.
cdef enum:
    AT_VALUE, AFTER_VALUE, AT_CHECK, AT_DIRECTION

cdef enum:
    BLOCK = 8184                # of vectors that a pass keeps in cache; no power of two, see Pairs

cdef enum:
    ROUNDING = 1000             # the rounding of a value, as optlab._minimize has it
    STALLED = 5

cdef struct Memory:
    Py_ssize_t n
    Py_ssize_t block
    Py_ssize_t slots            # m + 1: the pair to come has a place of its own
    Py_ssize_t count            # pairs
    Py_ssize_t newest
    bint scale
    double gamma
    void* pairs                 # block after block of all vectors: slot k has s at 2 k, y at 2 k + 1
    double* ys                  # y_i.s_j in row i, where pair j is no newer: slots x slots
    double* sy                  # s_i.y_j in row i, where pair j is no older
    double* yy                  # y_i.y_j
    double* rho                 # 1 / s_i.y_i
    double* vg                  # products of the vectors with g: s_i at 2 i, y_i at 2 i + 1
    double* vy                  # and with the newest y
    double* a                   # coefficients
    double* c
    double* t                   # workspace

cdef struct Run:
    Memory* pairs
    Wolfe search
    const Surface* surface      # NULL: the user's
    double* work
    int where
    bint begun                  # the start has a value
    bint pending                # the pair from (x1, g1) to (x, g) is not yet kept
    bint anew                   # start afresh from -g
    bint fresh                  # d = -g
    bint escaped                # the values fell until a point overflowed
    bint last_is_lowest
    Py_ssize_t evaluations
    Py_ssize_t maxiter
    double gtol
    double f, norm, step, slope
    double f1, norm1            # of the trial
    double lowest, lowest_step, lowest_norm     # of the trials
    double least, least_norm    # of the points
    int stalled                 # moves in a row that changed nothing but the rounding of the value
    void* x                     # the point, its gradient
    void* g
    void* x1                    # the trial; after a move the point before
    void* g1
    void* g2                    # gradient of the lowest trial
    void* d


cdef inline floating beyond(floating v) noexcept nogil:
    """1 if v is infinite or NaN, else 0. (The sum of 0 v, which would tell too, gcc takes to be 0.)"""
    if floating is float:
        return 0 if fabs(v) <= FLT_MAX else 1
    else:
        return 0 if fabs(v) <= DBL_MAX else 1


# Passes over vectors ----------------------------------------------------------------------------------------

cdef IVOID products(int count, Py_ssize_t n, Py_ssize_t stride, const floating* v, const floating* g,
                    const floating* y, double* vg, double* vy) noexcept nogil:
    """Add the products of g and y with ``count`` vectors, 4 at most; entries of g and y are loaded once."""
    cdef Py_ssize_t i
    cdef int k
    cdef floating a[4]
    cdef floating b[4]
    for k in range(count):
        a[k] = b[k] = 0
    for i in range(n):
        for k in range(count):
            a[k] += v[k * stride + i] * g[i]
            b[k] += v[k * stride + i] * y[i]
    for k in range(count):
        vg[k] += a[k]
        vy[k] += b[k]


cdef CVOID absorb(Memory* p, const floating* x0, const floating* g0, const floating* x, const floating* g,
                  double* ss) noexcept nogil:
    """s = x - x0 and y = g - g0 into the free slot; products of all vectors with g and with y; s.s."""
    cdef Py_ssize_t i, k, size, at = 0, new = (p.newest + 1) % p.slots
    cdef Py_ssize_t vectors = 2 * min(p.count + 1, p.slots)
    cdef floating* block = <floating*> p.pairs
    cdef floating* s
    cdef floating* y
    cdef floating part
    ss[0] = 0
    for k in range(vectors):
        p.vg[k] = p.vy[k] = 0
    while at < p.n:
        size = min(p.block, p.n - at)
        s = block + 2 * new * p.block
        y = s + p.block
        part = 0
        for i in range(size):
            s[i] = x[at + i] - x0[at + i]
            part += s[i] * s[i]
        ss[0] += part
        for i in range(size):
            y[i] = g[at + i] - g0[at + i]
        k = 0
        while k + 4 <= vectors:
            products(4, size, p.block, block + k * p.block, g + at, y, p.vg + k, p.vy + k)
            k += 4
        if k < vectors:
            products(2, size, p.block, block + k * p.block, g + at, y, p.vg + k, p.vy + k)
        at += size
        block += 2 * p.slots * p.block


cdef CVOID combine(const Memory* p, const floating* g, floating* d, const floating* x, floating* x1,
                   double* slope, double* finite) noexcept nogil:
    """d = -gamma g - sum c_i s_i + gamma sum a_i y_i, x1 = x + d and d.g; finite is 0 if x1 is."""
    cdef Py_ssize_t i, k, size, one, two, at = 0, m = p.block
    cdef const floating* block = <const floating*> p.pairs
    cdef const floating* s
    cdef const floating* t
    cdef floating gamma = <floating> p.gamma, part, probe, c, e, f, h
    slope[0] = finite[0] = 0
    while at < p.n:
        size = min(m, p.n - at)
        for i in range(size):
            d[at + i] = -gamma * g[at + i]
        k = 0
        while k < p.count:
            one = (p.newest - k + p.slots) % p.slots
            s = block + 2 * one * m
            c = <floating> -p.c[one]
            e = <floating> (p.gamma * p.a[one])
            if k + 1 < p.count:
                two = (p.newest - k - 1 + p.slots) % p.slots
                t = block + 2 * two * m
                f = <floating> -p.c[two]
                h = <floating> (p.gamma * p.a[two])
                for i in range(size):
                    d[at + i] += (c * s[i] + e * s[m + i]) + (f * t[i] + h * t[m + i])
            else:
                for i in range(size):
                    d[at + i] += c * s[i] + e * s[m + i]
            k += 2
        part = probe = 0
        for i in range(size):
            part += d[at + i] * g[at + i]
            x1[at + i] = x[at + i] + d[at + i]
            probe += beyond(x1[at + i])
        slope[0] += part
        finite[0] += probe
        at += size
        block += 2 * p.slots * m


cdef CVOID look(Py_ssize_t n, const floating* g, const floating* d, double* slope,
                double* norm) noexcept nogil:
    """d.g and max |g_i|, NaN if one of them is not finite."""
    cdef Py_ssize_t i = 0, k
    cdef floating top[16]
    cdef double s[16]
    cdef double total = 0
    cdef floating largest = 0, v, probe = 0
    for k in range(16):
        top[k] = 0
        s[k] = 0
    while i + 16 <= n:
        for k in range(16):
            v = fabs(g[i + k])
            top[k] = v if v > top[k] else top[k]
            probe += beyond(v)
            s[k] += <double> g[i + k] * <double> d[i + k]
        i += 16
    while i < n:
        v = fabs(g[i])
        largest = v if v > largest else largest
        probe += beyond(v)
        total += <double> g[i] * <double> d[i]
        i += 1
    for k in range(16):
        largest = top[k] if top[k] > largest else largest
        total += s[k]
    slope[0] = total
    norm[0] = largest if probe == 0 else NAN


cdef CVOID go(Py_ssize_t n, const floating* x, double step, const floating* d, floating* x1,
              double* finite) noexcept nogil:
    """x1 = x + step d; finite is 0 if x1 is."""
    cdef Py_ssize_t i
    cdef floating t = <floating> step, probe = 0
    for i in range(n):
        x1[i] = x[i] + t * d[i]
        probe += beyond(x1[i])
    finite[0] = probe


cdef CVOID scaled(Py_ssize_t n, double factor, const floating* g, floating* d) noexcept nogil:
    """d = factor g."""
    cdef Py_ssize_t i
    cdef floating t = <floating> factor
    for i in range(n):
        d[i] = t * g[i]


# The pairs --------------------------------------------------------------------------------------------------

cdef void clear(Memory* p) noexcept nogil:
    p.count = 0
    p.newest = -1


cdef void learn(Memory* p, const floating* x0, const floating* g0, const floating* x,
                const floating* g) noexcept nogil:
    """Keep the pair from (x0, g0) to (x, g) if its curvature is positive beyond rounding."""
    cdef Py_ssize_t i, new = (p.newest + 1) % p.slots
    cdef double ss, sy, yy
    cdef double eps = 2.0 ** -23 if floating is float else 2.0 ** -52
    absorb(p, x0, g0, x, g, &ss)
    sy = p.vy[2 * new]
    yy = p.vy[2 * new + 1]
    if sy > eps * sqrt(ss) * sqrt(yy) and 0 < yy < INFINITY and sy < INFINITY and isfinite(1 / sy):
        for i in range(min(p.count + 1, p.slots)):
            p.ys[new * p.slots + i] = p.sy[i * p.slots + new] = p.vy[2 * i]
            p.yy[new * p.slots + i] = p.yy[i * p.slots + new] = p.vy[2 * i + 1]
        p.rho[new] = 1 / sy
        p.newest = new
        p.count = min(p.count + 1, p.slots - 1)
        p.gamma = sy / yy if p.scale else 1


cdef CVOID recur(Memory* p) noexcept nogil:
    """The two loops on coefficients: M g = gamma g - gamma sum a_i y_i + sum c_i s_i.

    t_i = s_i.q and r_i = y_i.q follow q = g - sum a_j y_j; then r_i = y_i.r of r = gamma q + sum c_j s_j.
    """
    cdef Py_ssize_t i, j, k, slots = p.slots, used = min(p.count + 1, p.slots)
    cdef double* t = p.t
    cdef double* r = p.t + slots
    cdef const double* ys
    cdef const double* sy
    cdef const double* yy
    cdef double a, c
    for i in range(used):
        t[i] = p.vg[2 * i]
        r[i] = p.vg[2 * i + 1]
    for k in range(p.count):
        j = (p.newest - k + slots) % slots
        ys = p.ys + j * slots
        yy = p.yy + j * slots
        a = p.a[j] = t[j] * p.rho[j]
        for i in range(used):
            t[i] -= a * ys[i]
            r[i] -= a * yy[i]
    for i in range(used):
        r[i] *= p.gamma
    for k in range(p.count - 1, -1, -1):
        j = (p.newest - k + slots) % slots
        sy = p.sy + j * slots
        c = p.c[j] = p.a[j] - r[j] * p.rho[j]
        for i in range(used):
            r[i] += c * sy[i]


# The iteration ----------------------------------------------------------------------------------------------

cdef inline void swap(void** a, void** b) noexcept nogil:
    cdef void* held = a[0]
    a[0] = b[0]
    b[0] = held


cdef bint head(Run* s, floating* x, double* trial, bint* moved) noexcept nogil:
    """A direction d of descent and its first trial; False if there is none. ``moved``: x1 = x + d already."""
    cdef floating* d = <floating*> s.d
    cdef floating* g = <floating*> s.g
    cdef Py_ssize_t n = s.pairs.n
    cdef double slope, size, unused, finite = 1
    while True:
        if s.anew:
            clear(s.pairs)
        s.fresh = s.pairs.count == 0
        if s.fresh:
            scaled(n, -1, g, d)
            dot(n, g, d, &slope)
            trial[0] = 0
        else:
            recur(s.pairs)
            combine(s.pairs, g, d, x, <floating*> s.x1, &slope, &finite)
            trial[0] = 1
        moved[0] = finite == 0
        if not isfinite(slope):  # too large to be squared
            look(n, d, d, &unused, &size)
            if size > 0 and isfinite(size):
                scaled(n, 1 / size, d, d)
                dot(n, g, d, &slope)
                trial[0] *= size
                moved[0] = False
        if -INFINITY < slope < 0:
            break
        if s.fresh:
            return False
        s.anew = True
    # -g has no length of its own: the first trial promises the last change of the value.
    if trial[0] == 0 and not s.anew:
        trial[0] = s.step * s.slope / slope
    if not 0 < trial[0] < INFINITY:
        dot(n, d, d, &size)
        trial[0] = 1 / sqrt(size) if 1 < size < INFINITY else 1
    s.anew = False
    s.slope = slope
    return True


cdef int iterate(Run* s, floating* x, double* table, Py_ssize_t* rows, Py_ssize_t stop,
                 floating* points) noexcept nogil:
    """Iterate until ``stop`` rows of ``table`` are filled, with f, the norm of g, step, evaluations.

    ``x`` only tells the type. ``points``, if any, has the place for the point of the next row.
    """
    cdef Py_ssize_t n = s.pairs.n
    cdef double slope, finite, trial
    cdef bint moved
    cdef int verdict
    cdef double* row
    cdef double eps = 2.0 ** -23 if floating is float else 2.0 ** -52
    cdef double rounding = eps * fabs(s.f)
    while True:
        if s.where == AT_VALUE:
            s.where = AFTER_VALUE
            s.evaluations += 1
            if floating is double:
                if s.surface != NULL:
                    s.f1 = s.surface.evaluate(s.surface, <double*> s.x1, <double*> s.g1, s.work)
                else:
                    return _NEED_VALUE
            else:
                return _NEED_VALUE
        if s.where == AFTER_VALUE:
            # 2. The search
            s.last_is_lowest = False
            look(n, <floating*> s.g1, <floating*> s.d, &slope, &s.norm1)
            if not s.begun or s.f1 == -INFINITY:
                verdict = ACCEPTED
            else:
                s.last_is_lowest = s.f1 < s.lowest and isfinite(slope)
                if s.last_is_lowest:
                    s.lowest = s.f1
                    s.lowest_step = s.search.step
                    s.lowest_norm = s.norm1
                    swap(&s.g1, &s.g2)
                if s.f < s.f1 <= s.f + ROUNDING * rounding and (
                        fabs(slope) <= 0.9 * fabs(s.slope) and s.norm1 < s.norm):
                    # Where rounding may hide that the value falls, the gradient decides.
                    verdict = ACCEPTED
                else:
                    verdict = tell(&s.search, s.f1, slope)
            moved = False
        elif s.where == AT_CHECK:
            if s.f == -INFINITY or s.escaped:
                return _UNBOUNDED
            if not (isfinite(s.f) and isfinite(s.norm)):
                return _NOT_FINITE
            if s.norm <= s.gtol:
                return _CONVERGED
            if s.stalled == STALLED:
                return _NO_DECREASE
            if rows[0] > s.maxiter:
                return _EXHAUSTED
            s.where = AT_DIRECTION
            continue
        else:
            # 3., 1. The pair and the direction
            if s.pending:
                learn(s.pairs, <floating*> s.x1, <floating*> s.g1, <floating*> s.x, <floating*> s.g)
                s.pending = False
            if not head(s, <floating*> s.x, &trial, &moved):
                return _UNBOUNDED if s.escaped else _NO_DECREASE
            s.search.noise = 4 * rounding
            start(&s.search, s.f, s.slope, trial)
            moved = moved and s.search.step == 1
            s.lowest = INFINITY
            s.last_is_lowest = False
            verdict = TRY
        # The next trial. A point that overflows has no value.
        while verdict == TRY:
            if not moved:
                go(n, <floating*> s.x, s.search.step, <floating*> s.d, <floating*> s.x1, &finite)
                moved = finite == 0
            if moved:
                s.where = AT_VALUE
                break
            s.escaped = s.last_is_lowest and s.lowest < s.f
            s.last_is_lowest = False
            verdict = tell(&s.search, NAN, NAN)
        if verdict == TRY:
            continue
        # The search is over: with its last trial, with the lowest, or with nothing.
        s.step = s.search.step
        if verdict != ACCEPTED:
            if not s.lowest < s.f:
                if s.fresh:
                    return _UNBOUNDED if s.escaped else _NO_DECREASE
                s.anew = True
                s.where = AT_DIRECTION
                continue
            if not s.last_is_lowest:
                go(n, <floating*> s.x, s.lowest_step, <floating*> s.d, <floating*> s.x1, &finite)
            s.last_is_lowest = True
            s.step = s.lowest_step
            s.f1 = s.lowest
            s.norm1 = s.lowest_norm
        if s.last_is_lowest:
            swap(&s.g1, &s.g2)
        swap(&s.g, &s.g1)
        swap(&s.x, &s.x1)
        s.stalled = s.stalled + 1 if s.f1 >= s.least and s.f1 - s.f <= ROUNDING * rounding else 0
        s.f = s.f1
        s.norm = s.norm1
        s.last_is_lowest = False
        rounding = eps * fabs(s.f)
        s.least = min(s.least, s.f)
        if s.norm < (1 - 1e-6) * s.least_norm:
            s.least_norm = s.norm
            s.stalled = 0
        s.pending = s.begun
        if not s.begun:
            s.begun = True
            s.step = 0
        row = table + 4 * rows[0]
        row[0] = s.f
        row[1] = s.norm
        row[2] = s.step
        row[3] = s.evaluations
        rows[0] += 1
        if points != NULL:
            memcpy(points, s.x, n * sizeof(floating))
            points += n
        s.where = AT_CHECK
        if rows[0] == stop:
            return _PAUSED


# What Python sees -------------------------------------------------------------------------------------------

cdef class Pairs:
    """At most m pairs of vectors of the length and dtype of x, and the directions they give."""

    cdef Memory memory
    cdef Py_ssize_t size            # of a number, in bytes
    cdef Py_ssize_t stride          # between the other vectors, in bytes
    cdef char* base
    cdef cnp.ndarray vectors
    cdef cnp.ndarray numbers

    def __init__(self, cnp.ndarray x, Py_ssize_t m, bint scale, Py_ssize_t more=0):
        """``more``: other vectors that lie in front of the pairs."""
        cdef Memory* p = &self.memory
        cdef Py_ssize_t line, stride, blocks, slots = m + 1
        cdef cnp.npy_intp total
        self.size = cnp.PyArray_ITEMSIZE(x)
        line = 64 // self.size
        p.n = x.shape[0]
        p.slots = slots
        p.scale = scale
        p.gamma = 1
        p.count = 0
        p.newest = -1
        # Blocks begin with a cache line. Vectors that are some power of two apart compete for the same ones.
        blocks = (p.n + BLOCK - 1) // BLOCK
        p.block = ((p.n + blocks - 1) // blocks + line - 1) // line * line
        stride = blocks * p.block + 3 * line
        total = 2 * slots * blocks * p.block + more * stride + line
        self.vectors = cnp.PyArray_EMPTY(1, &total, cnp.PyArray_TYPE(x), 0)
        self.base = <char*> cnp.PyArray_DATA(self.vectors)
        self.base += (64 - <uintptr_t> self.base % 64) % 64
        self.stride = stride * self.size
        p.pairs = self.base + more * self.stride
        total = slots * (3 * slots + 9)
        self.numbers = cnp.PyArray_ZEROS(1, &total, cnp.NPY_FLOAT64, 0)
        p.ys = <double*> cnp.PyArray_DATA(self.numbers)
        p.sy = p.ys + slots * slots
        p.yy = p.sy + slots * slots
        p.vg = p.yy + slots * slots
        p.vy = p.vg + 2 * slots
        p.a = p.vy + 2 * slots
        p.c = p.a + slots
        p.rho = p.c + slots
        p.t = p.rho + slots

    cdef cnp.ndarray view(self, void* vector):
        cdef Py_ssize_t at = (<char*> vector - <char*> cnp.PyArray_DATA(self.vectors)) // self.size
        return self.vectors[at:at + self.memory.n]

    @property
    def count(self):
        """Pairs that are kept."""
        return self.memory.count

    def clear(self):
        """Forget all pairs."""
        clear(&self.memory)

    def learn(self, cnp.ndarray x0, cnp.ndarray g0, cnp.ndarray x, cnp.ndarray g):
        """Keep the pair from (x0, g0) to (x, g) if its curvature is positive; directions are for this g."""
        with nogil:
            if self.size == 4:
                learn(&self.memory, <const float*> cnp.PyArray_DATA(x0), <const float*> cnp.PyArray_DATA(g0),
                      <const float*> cnp.PyArray_DATA(x), <const float*> cnp.PyArray_DATA(g))
            else:
                learn(&self.memory, <const double*> cnp.PyArray_DATA(x0),
                      <const double*> cnp.PyArray_DATA(g0), <const double*> cnp.PyArray_DATA(x),
                      <const double*> cnp.PyArray_DATA(g))

    def direction(self, cnp.ndarray g):
        """-M g for the g of the last call of `learn`."""
        cdef cnp.ndarray d = cnp.PyArray_EMPTY(1, cnp.PyArray_DIMS(g), cnp.PyArray_TYPE(g), 0)
        cdef cnp.ndarray unused = cnp.PyArray_EMPTY(1, cnp.PyArray_DIMS(g), cnp.PyArray_TYPE(g), 0)
        cdef void* out = cnp.PyArray_DATA(d)
        cdef void* moved = cnp.PyArray_DATA(unused)
        cdef const void* gradient = cnp.PyArray_DATA(g)
        cdef double slope, finite
        with nogil:
            recur(&self.memory)
            if self.size == 4:
                combine(&self.memory, <const float*> gradient, <float*> out, <const float*> gradient,
                        <float*> moved, &slope, &finite)
            else:
                combine(&self.memory, <const double*> gradient, <double*> out, <const double*> gradient,
                        <double*> moved, &slope, &finite)
        return d


cdef class Iteration:
    """The state of one run from x, which is contiguous and copied; all vectors have its dtype.

    ``problem``: a compiled objective, or None for the user's. ``keep``: keep the points.
    """

    cdef Run run
    cdef Pairs pairs
    cdef Compiled problem
    cdef cnp.ndarray work
    cdef cnp.ndarray table
    cdef cnp.ndarray room           # for points
    cdef list kept
    cdef Py_ssize_t free            # rows of room that are not filled
    cdef public bint keep           # the points from here on
    cdef readonly Py_ssize_t rows   # of the table that are filled: iterations and the start

    def __init__(self, Compiled problem, cnp.ndarray x, Py_ssize_t m, bint scale, double gtol,
                 Py_ssize_t maxiter, double c1, double c2, double max_step, bint keep):
        cdef Run* s = &self.run
        cdef Py_ssize_t step
        cdef cnp.npy_intp total
        self.pairs = Pairs(x, m, scale, 6)
        step = self.pairs.stride
        memset(s, 0, sizeof(Run))
        s.pairs = &self.pairs.memory
        s.search.c1 = c1
        s.search.c2 = c2
        s.search.max_step = max_step
        if problem is not None:
            self.problem = problem
            total = problem.surface.work
            self.work = cnp.PyArray_EMPTY(1, &total, cnp.NPY_FLOAT64, 0)
            s.surface = &problem.surface
            s.work = <double*> cnp.PyArray_DATA(self.work)
        s.where = AT_VALUE
        s.anew = True
        s.least = s.least_norm = INFINITY
        s.maxiter = maxiter
        s.gtol = gtol
        s.x = self.pairs.base
        s.g = self.pairs.base + step
        s.x1 = self.pairs.base + 2 * step
        s.g1 = self.pairs.base + 3 * step
        s.g2 = self.pairs.base + 4 * step
        s.d = self.pairs.base + 5 * step
        memcpy(s.x1, cnp.PyArray_DATA(x), cnp.PyArray_NBYTES(x))
        self.rows = 0
        self.table = self._array(64, 4, cnp.NPY_FLOAT64)
        self.kept = []
        self.keep = keep

    cdef cnp.ndarray _array(self, Py_ssize_t rows, Py_ssize_t columns, int kind):
        cdef cnp.npy_intp shape[2]
        shape[0] = rows
        shape[1] = columns
        return cnp.PyArray_EMPTY(2, shape, kind, 0)

    def advance(self, Py_ssize_t chunk):
        """Iterate until ``chunk`` more rows are recorded or a value is wanted; say why it returns."""
        cdef Py_ssize_t size = self.pairs.size, n = self.run.pairs.n, rows = self.rows
        cdef cnp.ndarray full
        if rows == self.table.shape[0]:
            full = self.table
            self.table = self._array(2 * rows, 4, cnp.NPY_FLOAT64)
            memcpy(cnp.PyArray_DATA(self.table), cnp.PyArray_DATA(full), cnp.PyArray_NBYTES(full))
        cdef Py_ssize_t stop = min(rows + chunk, self.table.shape[0])
        cdef double* record = <double*> cnp.PyArray_DATA(self.table)
        cdef char* points = NULL
        cdef int why
        if self.keep:
            if self.free == 0:
                self.free = max(1, min(64, 2 ** 20 // (n * size)))
                self.room = self._array(self.free, n, cnp.PyArray_TYPE(self.pairs.vectors))
                self.kept.append(self.room)
            stop = min(stop, rows + self.free)
            points = <char*> cnp.PyArray_DATA(self.room) + (self.room.shape[0] - self.free) * n * size
        with nogil:
            if size == 4:
                why = iterate(&self.run, <float*> NULL, record, &self.rows, stop, <float*> points)
            else:
                why = iterate(&self.run, <double*> NULL, record, &self.rows, stop, <double*> points)
        if points != NULL:
            self.free -= self.rows - rows
        return why

    def tell(self, double f, cnp.ndarray g):
        """Value and gradient at the trial."""
        self.run.f1 = f
        memcpy(self.run.g1, cnp.PyArray_DATA(g), cnp.PyArray_NBYTES(g))

    @property
    def record(self):
        """A row an iteration, row 0 the start: f, norm of g, step, evaluations."""
        return self.table[:self.rows]

    @property
    def points(self):
        """The points that were kept, a list of arrays of one or more rows."""
        if self.kept and self.free:
            self.kept[len(self.kept) - 1] = self.room[:self.room.shape[0] - self.free]
            self.free = 0
        return self.kept

    @property
    def trial(self):
        """Where value and gradient are wanted: a view."""
        return self.pairs.view(self.run.x1)

    @property
    def x(self):
        """A copy of the last point."""
        return self.pairs.view(self.run.x).copy()

    @property
    def g(self):
        """A copy of the gradient there."""
        return self.pairs.view(self.run.g).copy()

    @property
    def f(self):
        return self.run.f

    @property
    def evaluations(self):
        return self.run.evaluations


cdef CVOID subtract_and_dot(Py_ssize_t n, double a, const floating* y, floating* q, const floating* s,
                            double* sq) noexcept nogil:
    """q <- q - a y, then s.q: one pass."""
    cdef Py_ssize_t i
    cdef floating c = <floating> a
    cdef double total = 0
    for i in range(n):
        q[i] -= c * y[i]
        total += <double> s[i] * <double> q[i]
    sq[0] = total


cdef void both_loops(Py_ssize_t m, Py_ssize_t n, const floating* S, const floating* Y, const double* sy,
                     double gamma, double* a, floating* q) noexcept nogil:
    """q <- M q.

    From the newest pair: a_i = s_i.q / s_i.y_i, q -= a_i y_i. Then q *= gamma. From the oldest:
    q += (a_i - y_i.q / s_i.y_i) s_i. Each step takes the product that the next one needs.
    """
    cdef Py_ssize_t i
    cdef double product
    dot(n, S + (m - 1) * n, q, &product)
    for i in range(m - 1, -1, -1):
        a[i] = product / sy[i]
        subtract_and_dot(n, a[i], Y + i * n, q, S + max(i - 1, 0) * n, &product)
    scaled(n, gamma, q, q)
    dot(n, Y, q, &product)
    for i in range(m):
        subtract_and_dot(n, product / sy[i] - a[i], S + i * n, q, Y + min(i + 1, m - 1) * n, &product)


def two_loop(cnp.ndarray S, cnp.ndarray Y, cnp.ndarray sy, double gamma, cnp.ndarray q):
    """q <- M q for m >= 1 pairs, rows of S and Y with the products sy, the oldest first."""
    cdef Py_ssize_t m = S.shape[0], n = S.shape[1]
    cdef cnp.npy_intp total = m
    cdef cnp.ndarray a = cnp.PyArray_EMPTY(1, &total, cnp.NPY_FLOAT64, 0)
    cdef double* products = <double*> cnp.PyArray_DATA(sy)
    cdef double* coefficients = <double*> cnp.PyArray_DATA(a)
    with nogil:
        if cnp.PyArray_ITEMSIZE(q) == 4:
            both_loops(m, n, <const float*> cnp.PyArray_DATA(S), <const float*> cnp.PyArray_DATA(Y),
                       products, gamma, coefficients, <float*> cnp.PyArray_DATA(q))
        else:
            both_loops(m, n, <const double*> cnp.PyArray_DATA(S), <const double*> cnp.PyArray_DATA(Y),
                       products, gamma, coefficients, <double*> cnp.PyArray_DATA(q))
