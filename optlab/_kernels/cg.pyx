"""Conjugate gradients for A x = b, with a preconditioner M that approximates the inverse of A.

    r = b - A x,  z = M r,  d = z
    1. q = A d,  curvature = d.q
    2. step = r.z / d.q
    3. r <- r - step q
    4. z = M r,  beta = r.z / previous r.z
    5. x <- x + step d,  d <- z + beta d

Where A and M are compiled the loop runs without the interpreter. Where one is the user's, ``advance`` returns
to ask for the product and goes on from there when it is called again.
"""

cimport numpy as cnp
from cython cimport floating
from libc.math cimport INFINITY, isfinite, sqrt
from libc.string cimport memcpy

from ._clones cimport CVOID
from .matrix cimport Matrix, Operator, dot

cnp.import_array()

# What advance() returns. The user's product is wanted: q = A x, q = A d or z = M r.
NEED_AX, NEED_AD, NEED_M = range(3)
# The table is full; go on when ready.
PAUSED = 3
# The end. The true residual is in r.
CONVERGED, EXHAUSTED, STAGNATED, NOT_POSITIVE, M_NOT_POSITIVE, NOT_FINITE = range(4, 10)

cdef enum:
    _NEED_AX, _NEED_AD, _NEED_M, _PAUSED
    _CONVERGED, _EXHAUSTED, _STAGNATED, _NOT_POSITIVE, _M_NOT_POSITIVE, _NOT_FINITE

# Where advance() goes on.
cdef enum:
    FROM_ZERO, AT_AX, AFTER_AX, AT_M, AFTER_M, AT_AD, AFTER_AD

cdef struct Run:
    Py_ssize_t n
    const Matrix* A         # NULL: the user's
    const Matrix* M         # NULL: the user's, or none
    bint plain              # no M: z is r
    bint first              # d = z, no beta yet
    int where
    int why                 # the recursion ended; 0 while it runs
    Py_ssize_t products     # with A, so far
    Py_ssize_t maxiter
    double tolerance
    double rr, rz, dq, step, f
    double start_rr         # at the last start from a true residual
    double best_rr
    void* b
    void* x
    void* r
    void* d
    void* q
    void* z
    void* best              # the x of the smallest residual before a rise


cdef CVOID residual_step(Py_ssize_t n, double step, const floating* q, floating* r,
                         double* rr) noexcept nogil:
    """r <- r - step q, and r.r."""
    cdef Py_ssize_t i = 0, k
    cdef floating a = <floating> step
    cdef double s[16]
    cdef double total = 0
    for k in range(16):
        s[k] = 0
    while i + 16 <= n:
        for k in range(16):
            r[i + k] -= a * q[i + k]
            s[k] += <double> r[i + k] * <double> r[i + k]
        i += 16
    while i < n:
        r[i] -= a * q[i]
        total += <double> r[i] * <double> r[i]
        i += 1
    for k in range(16):
        total += s[k]
    rr[0] = total


cdef CVOID move(Py_ssize_t n, double step, const floating* d, floating* x) noexcept nogil:
    """x <- x + step d."""
    cdef Py_ssize_t i
    cdef floating a = <floating> step
    for i in range(n):
        x[i] += a * d[i]


cdef CVOID move_and_turn(Py_ssize_t n, double step, double beta, const floating* z, floating* d,
                         floating* x) noexcept nogil:
    """x <- x + step d, then d <- z + beta d: one pass, d is read once."""
    cdef Py_ssize_t i
    cdef floating a = <floating> step, b = <floating> beta
    for i in range(n):
        x[i] += a * d[i]
        d[i] = z[i] + b * d[i]


cdef CVOID true_residual(Py_ssize_t n, const floating* b, const floating* x, const floating* q, floating* r,
                         double* rr, double* f) noexcept nogil:
    """From q = A x: r = b - q, r.r and f = x.A x / 2 - b.x = -x.(b + r) / 2."""
    cdef Py_ssize_t i
    cdef double s = 0, t = 0
    for i in range(n):
        r[i] = b[i] - q[i]
        s += <double> r[i] * <double> r[i]
        t += <double> x[i] * (<double> b[i] + <double> r[i])
    rr[0] = s
    f[0] = -0.5 * t


cdef void refresh(Run* s, const floating* x) noexcept nogil:
    """r and f from q = A x."""
    true_residual(s.n, <const floating*> s.b, x, <const floating*> s.q, <floating*> s.r, &s.rr, &s.f)


cdef int iterate(Run* s, floating* x, double* table, Py_ssize_t* rows, Py_ssize_t stop) noexcept nogil:
    """Iterate until ``stop`` rows of ``table`` are filled, with f, the norm of r, step, products with A."""
    cdef floating* r = <floating*> s.r
    cdef floating* d = <floating*> s.d
    cdef floating* q = <floating*> s.q
    cdef floating* z = <floating*> s.z
    cdef double* row
    cdef double rz = 0, rr = 0
    while True:
        if s.where <= AFTER_AX:
            # The true residual: b - A x with every entry of A
            if s.where == FROM_ZERO:
                memcpy(r, s.b, s.n * sizeof(floating))
                dot(s.n, r, r, &s.rr)
                s.f = 0
            else:
                if s.where == AT_AX:
                    if s.A == NULL:
                        s.where = AFTER_AX
                        return _NEED_AX
                    s.A.full(s.A, x, q, &rr)
                refresh(s, <const floating*> x)
                s.products += 1
            s.where = AT_AX
            if rows[0] == 0:
                table[0] = s.f
                table[1] = sqrt(s.rr)
                table[2] = 0
                table[3] = s.products
                rows[0] = 1
            if sqrt(s.rr) <= s.tolerance:
                return _CONVERGED
            if not isfinite(s.rr):
                return _NOT_FINITE
            if s.why != 0 and s.why != _CONVERGED:
                return s.why
            if rows[0] > s.maxiter:
                return _EXHAUSTED
            if s.rr > 0.25 * s.start_rr:
                return _STAGNATED
            # Start (anew) from it.
            s.start_rr = s.rr
            s.first = True
            s.why = 0
            s.where = AT_M
        if s.where == AT_M and rows[0] > s.maxiter:
            move(s.n, s.step, d, x)
            s.why = _EXHAUSTED
            s.where = AT_AX
            continue
        if s.where <= AFTER_M:
            # 4. z = M r, beta = r.z / previous r.z
            if s.plain:
                rz = s.rr
            elif s.where == AFTER_M:
                dot(s.n, r, z, &rz)
            elif s.M == NULL:
                s.where = AFTER_M
                return _NEED_M
            else:
                s.M.product(s.M, r, z, &rz)
            # 5. x <- x + step d, d <- z + beta d
            if not (rz > 0 and isfinite(rz)):
                if not s.first:
                    move(s.n, s.step, d, x)
                s.why = _M_NOT_POSITIVE if isfinite(rz) else _NOT_FINITE
                s.where = AT_AX
                continue
            if s.first:
                memcpy(d, z, s.n * sizeof(floating))
            else:
                move_and_turn(s.n, s.step, rz / s.rz, z, d, x)
            s.first = False
            s.rz = rz
            s.where = AT_AD
            if rows[0] == stop:
                return _PAUSED
        # 1. q = A d, d.q
        if s.where == AFTER_AD:
            dot(s.n, d, q, &s.dq)
        elif s.A == NULL:
            s.where = AFTER_AD
            return _NEED_AD
        else:
            s.A.product(s.A, d, q, &s.dq)
        s.products += 1
        s.where = AT_AX
        if not (s.dq > 0 and isfinite(s.dq)):
            s.why = _NOT_POSITIVE if isfinite(s.dq) else _NOT_FINITE
            continue
        # 2. step = r.z / d.q
        s.step = s.rz / s.dq
        # 3. r <- r - step q
        residual_step(s.n, s.step, q, r, &rr)
        if not isfinite(rr):
            s.why = _NOT_FINITE
            continue
        # x waits for d to be read in 5: here it still belongs to the previous residual.
        if rr > s.rr and s.rr < s.best_rr:
            memcpy(s.best, x, s.n * sizeof(floating))
            s.best_rr = s.rr
        s.rr = rr
        s.f -= 0.5 * s.step * s.rz
        row = table + 4 * rows[0]
        row[0] = s.f
        row[1] = sqrt(rr)
        row[2] = s.step
        row[3] = s.products
        rows[0] += 1
        if sqrt(rr) <= s.tolerance:
            move(s.n, s.step, d, x)
            s.why = _CONVERGED
            continue
        s.where = AT_M


cdef class Iteration:
    """The state of one solve. ``A``, ``M``: an Operator, or None for the user's; ``plain``: no M at all.

    ``b`` and ``x`` are vectors of one dtype in C order; ``x`` is overwritten.
    """

    cdef Run run
    cdef Operator A
    cdef Operator M
    cdef Py_ssize_t stride
    cdef cnp.ndarray b
    cdef cnp.ndarray x
    cdef cnp.ndarray work
    cdef cnp.ndarray table
    cdef bint single
    cdef readonly Py_ssize_t rows   # of the table that are filled: iterations and the start

    def __init__(self, Operator A, Operator M, bint plain, cnp.ndarray b, cnp.ndarray x, bint from_zero,
                 double tolerance, Py_ssize_t maxiter):
        cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(b), n = b.shape[0]
        # The offset keeps the vectors from competing for the same cache lines when n is a power of two.
        self.stride = n + 24
        cdef cnp.npy_intp total = 5 * self.stride
        self.work = cnp.PyArray_EMPTY(1, &total, cnp.PyArray_TYPE(b), 0)
        self.A, self.M, self.b, self.x = A, M, b, x
        self.single = size == 4
        cdef char* base = <char*> cnp.PyArray_DATA(self.work)
        cdef Run* s = &self.run
        s.n = n
        s.A = NULL if A is None else &A.matrix
        s.M = NULL if M is None else &M.matrix
        s.plain = plain
        s.b = cnp.PyArray_DATA(b)
        s.x = cnp.PyArray_DATA(x)
        s.r = base
        s.d = base + self.stride * size
        s.q = base + 2 * self.stride * size
        s.best = base + 3 * self.stride * size
        s.z = s.r if plain else base + 4 * self.stride * size
        s.where = FROM_ZERO if from_zero else AT_AX
        s.why = 0
        s.products = 0
        s.maxiter = maxiter
        s.tolerance = tolerance
        s.start_rr = s.best_rr = INFINITY
        self.rows = 0
        self.table = self._table(min(maxiter, <Py_ssize_t> 255) + 1)

    cdef cnp.ndarray _table(self, Py_ssize_t rows):
        cdef cnp.npy_intp shape[2]
        shape[0] = rows
        shape[1] = 4
        return cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, 0)

    def advance(self, Py_ssize_t chunk):
        """Iterate until ``chunk`` more rows are recorded or something is wanted; say why it returns."""
        cdef Py_ssize_t room = self.table.shape[0]
        cdef cnp.ndarray full
        if self.rows == room:
            full = self.table
            self.table = self._table(2 * room)
            memcpy(cnp.PyArray_DATA(self.table), cnp.PyArray_DATA(full), cnp.PyArray_NBYTES(full))
            room = 2 * room
        cdef Py_ssize_t stop = self.rows + min(chunk, room - self.rows)
        cdef double* record = <double*> cnp.PyArray_DATA(self.table)
        cdef int why
        with nogil:
            if self.single:
                why = iterate(&self.run, <float*> self.run.x, record, &self.rows, stop)
            else:
                why = iterate(&self.run, <double*> self.run.x, record, &self.rows, stop)
        return why

    @property
    def record(self):
        """A row an iteration, row 0 the start: f, norm of r, step, products with A."""
        return self.table[:self.rows]

    def residual(self):
        """Compute b - A x again; q = A x already, if A is the user's."""
        cdef Run* s = &self.run
        cdef double unused
        with nogil:
            if s.A != NULL:
                s.A.full(s.A, s.x, s.q, &unused)
            if self.single:
                refresh(s, <const float*> s.x)
            else:
                refresh(s, <const double*> s.x)
        s.products += 1

    def _vector(self, Py_ssize_t k):
        return self.work[k * self.stride:k * self.stride + self.run.n]

    @property
    def r(self):
        return self._vector(0)

    @property
    def d(self):
        return self._vector(1)

    @property
    def q(self):
        return self._vector(2)

    @property
    def best(self):
        return self._vector(3)

    @property
    def z(self):
        return self._vector(4)

    @property
    def norm(self):
        """The norm of r, recursive or true, whichever was computed last."""
        return sqrt(self.run.rr)

    @property
    def best_norm(self):
        """The smallest norm of r that was followed by a rise; ``best`` is its x."""
        return sqrt(self.run.best_rr)

    @property
    def products(self):
        """Products with A so far."""
        return self.run.products

    @property
    def f(self):
        """x.A x / 2 - b.x."""
        return self.run.f


def squared_norm(cnp.ndarray b):
    """b.b in double precision, of a contiguous float32 or float64 vector."""
    cdef double result
    if cnp.PyArray_ITEMSIZE(b) == 4:
        dot(b.shape[0], <const float*> cnp.PyArray_DATA(b), <const float*> cnp.PyArray_DATA(b), &result)
    else:
        dot(b.shape[0], <const double*> cnp.PyArray_DATA(b), <const double*> cnp.PyArray_DATA(b), &result)
    return result
