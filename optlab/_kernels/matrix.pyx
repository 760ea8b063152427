"""Products y = A x of a symmetric matrix, each with x.y in the same pass, and two preconditioners.

Every product has the signature ``product_t`` of ``matrix.pxd``. The classes at the end bind it to arrays that
the caller has checked (dtype, C order, lengths, indices in range).
"""

cimport numpy as cnp
from cython cimport floating
from libc.math cimport sqrt

from ._clones cimport CVOID, IVOID, SVOID

cnp.import_array()


cdef extern from *:
    """
    #if defined(__GNUC__)
    #define OPTLAB_PREFETCH(address) do { \
        for (int k = 0; k < 8; k++) __builtin_prefetch((const char *) (address) + 64 * k); } while (0)
    #else
    #define OPTLAB_PREFETCH(address)
    #endif
    """
    void prefetch "OPTLAB_PREFETCH" (const void* address) noexcept nogil  # 512 bytes


# Dense ------------------------------------------------------------------------------------------------------

cdef IVOID dense_rows(int rows, Py_ssize_t n, Py_ssize_t i, const floating* a, const floating* x,
                      floating* y) noexcept nogil:
    """Rows i to i + rows - 1, at most 8 and a the first of them: x_j and y_j are loaded once for all."""
    cdef Py_ssize_t j
    cdef int k, m
    cdef floating sums[8]
    cdef floating xs[8]
    cdef floating t
    for k in range(rows):
        xs[k] = x[i + k]
        sums[k] = a[k * n + i + k] * xs[k]
    for k in range(rows):
        for m in range(k + 1, rows):
            sums[k] += a[k * n + i + m] * xs[m]
            sums[m] += a[k * n + i + m] * xs[k]
    for j in range(i + rows, n):
        t = 0
        for k in range(rows):
            sums[k] += a[k * n + j] * x[j]
            t += a[k * n + j] * xs[k]
        y[j] += t
    for k in range(rows):
        y[i + k] += sums[k]


cdef CVOID dense_symmetric(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_i += sum_{j >= i} a_ij x_j and y_j += a_ij x_i: the upper triangle alone, half the memory traffic."""
    cdef Py_ssize_t i = 0, k, n = A.n
    cdef const floating* a = <const floating*> A.data
    for k in range(n):
        y[k] = 0
    # Long rows come from afar: more of them at once, and fetch the beginnings of the next.
    while n > 256 and i + 6 <= n:
        for k in range(i + 6, min(i + 12, n)):
            prefetch(a + k * n + i + 6)
        dense_rows(6, n, i, a + i * n, x, y)
        i += 6
    while i + 4 <= n:
        dense_rows(4, n, i, a + i * n, x, y)
        i += 4
    while i < n:
        dense_rows(1, n, i, a + i * n, x, y)
        i += 1
    sum_of_products(n, x, y, xy)


cdef CVOID dense_full(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_i = sum_j a_ij x_j."""
    cdef Py_ssize_t i, n = A.n
    cdef double s
    for i in range(n):
        sum_of_products(n, <const floating*> A.data + i * n, x, &s)
        y[i] = <floating> s
    sum_of_products(n, x, y, xy)


# Sparse -----------------------------------------------------------------------------------------------------

cdef SVOID csr(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_i = sum over the entries (i, j) of row i of a_ij x_j."""
    cdef Py_ssize_t i, end, k = A.indptr[0]
    cdef const floating* a = <const floating*> A.data
    cdef floating s
    cdef double total = 0
    for i in range(A.n):
        s = 0
        end = A.indptr[i + 1]
        while k < end:
            s += a[k] * x[A.indices[k]]
            k += 1
        y[i] = s
        total += <double> x[i] * <double> s
    xy[0] = total


cdef inline void add_diagonal(const floating* a, const floating* x, floating* y, Py_ssize_t a_shift,
                              Py_ssize_t x_shift, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """y_i += a_{i + a_shift} x_{i + x_shift} for start <= i < stop."""
    cdef Py_ssize_t i
    for i in range(start, stop):
        y[i] += a[i + a_shift] * x[i + x_shift]


cdef inline void add_pair(const floating* a, const floating* x, floating* y, Py_ssize_t o, Py_ssize_t start,
                          Py_ssize_t stop) noexcept nogil:
    """y_i += a_{i + o} x_{i + o} + a_i x_{i - o} for start <= i < stop."""
    cdef Py_ssize_t i
    for i in range(start, stop):
        y[i] += a[i + o] * x[i + o] + a[i] * x[i - o]


cdef CVOID dia_symmetric(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_i = sum over offsets o >= 0 of a_o[i + o] x_{i + o} + a_o[i] x_{i - o}: the upper half.

    SciPy stores an entry by its column, a_o[j] = A[j - o, j]. Blocks of rows keep y in cache.
    """
    cdef Py_ssize_t i, k, o, row = 0, end, both, last, n = A.n
    cdef const floating* a
    cdef double part
    xy[0] = 0
    while row < n:
        end = min(row + 512, n)
        for i in range(row, end):
            y[i] = 0
        for k in range(A.count):
            o = A.indices[k]
            a = <const floating*> A.data + k * A.width
            if o == 0:
                add_diagonal(a, x, y, 0, 0, row, min(end, A.width))
            elif o > 0:
                # Rows with both neighbors, and before and after them those with one.
                both = max(row, o)
                last = max(both, min(end, A.width - o))
                add_diagonal(a, x, y, o, o, row, min(both, end, A.width - o))
                add_pair(a, x, y, o, both, last)
                add_diagonal(a, x, y, 0, -o, last, min(end, A.width))
        sum_of_products(end - row, x + row, y + row, &part)
        xy[0] += part
        row = end


cdef CVOID dia_full(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_i = sum over all offsets o of a_o[i + o] x_{i + o}."""
    cdef Py_ssize_t i, k, o, n = A.n
    for i in range(n):
        y[i] = 0
    for k in range(A.count):
        o = A.indices[k]
        add_diagonal(<const floating*> A.data + k * A.width, x, y, o, o, max(0, -o), min(n, A.width - o))
    sum_of_products(n, x, y, xy)


# The five-point stencil -------------------------------------------------------------------------------------

cdef CVOID poisson(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_ij = 4 x_ij - x_{i-1,j} - x_{i+1,j} - x_{i,j-1} - x_{i,j+1}, and x = 0 outside the grid."""
    cdef Py_ssize_t i, j, rows = A.count, n = A.width
    cdef const floating* c
    cdef const floating* up
    cdef const floating* down
    cdef floating* out
    cdef double part
    xy[0] = 0
    for i in range(rows):
        c = x + i * n
        out = y + i * n
        if 0 < i < rows - 1:
            up = c - n
            down = c + n
            for j in range(1, n - 1):
                out[j] = 4 * c[j] - c[j - 1] - c[j + 1] - up[j] - down[j]
            out[0] = 4 * c[0] - up[0] - down[0]
            if n > 1:
                out[0] -= c[1]
                out[n - 1] = 4 * c[n - 1] - c[n - 2] - up[n - 1] - down[n - 1]
        else:
            for j in range(n):
                out[j] = 4 * c[j]
            for j in range(1, n):
                out[j] -= c[j - 1]
                out[j - 1] -= c[j]
            if i > 0:
                for j in range(n):
                    out[j] -= c[j - n]
            if i < rows - 1:
                for j in range(n):
                    out[j] -= c[j + n]
        sum_of_products(n, c, out, &part)
        xy[0] += part


# Preconditioners --------------------------------------------------------------------------------------------

cdef CVOID diagonal(const Matrix* A, const floating* x, floating* y, double* xy) noexcept nogil:
    """y_i = a_i x_i."""
    cdef Py_ssize_t i
    cdef const floating* a = <const floating*> A.data
    for i in range(A.n):
        y[i] = a[i] * x[i]
    sum_of_products(A.n, x, y, xy)


cdef void cholesky_solve(const Matrix* L, const floating* x, floating* y, double* xy) noexcept nogil:
    """y = (L L^T)^{-1} x for a lower triangular L in CSR whose rows end with the diagonal."""
    cdef Py_ssize_t i, k, last
    cdef const floating* values = <const floating*> L.data
    cdef floating s
    # 1. L u = x, row by row
    for i in range(L.n):
        last = L.indptr[i + 1] - 1
        s = x[i]
        for k in range(L.indptr[i], last):
            s -= values[k] * y[L.indices[k]]
        y[i] = s / values[last]
    # 2. L^T y = u: row i of L is column i of L^T
    for i in range(L.n - 1, -1, -1):
        last = L.indptr[i + 1] - 1
        s = y[i] / values[last]
        y[i] = s
        for k in range(L.indptr[i], last):
            y[L.indices[k]] -= values[k] * s
    sum_of_products(L.n, x, y, xy)


cdef bint cholesky_row(Py_ssize_t i, const int* indptr, const int* indices, double* l) noexcept nogil:
    """l_ij = (a_ij - sum_{k<j} l_ik l_jk) / l_jj for j < i, l_ii = sqrt(a_ii - sum_{k<i} l_ik^2), in place.

    False, and nothing more, if the number under the root is not positive.
    """
    cdef Py_ssize_t p, q, k, j, last = indptr[i + 1] - 1
    cdef double s, pivot = l[last]
    for k in range(indptr[i], last):
        j = indices[k]
        s = l[k]
        # Both rows are sorted: merge them for the columns they share left of j.
        p = indptr[i]
        q = indptr[j]
        while p < k and q < indptr[j + 1] - 1:
            if indices[p] == indices[q]:
                s -= l[p] * l[q]
                p += 1
                q += 1
            elif indices[p] < indices[q]:
                p += 1
            else:
                q += 1
        l[k] = s / l[indptr[j + 1] - 1]
        pivot -= l[k] * l[k]
    if not pivot > 0:
        return False
    l[last] = sqrt(pivot)
    return True


def incomplete_cholesky(const int[::1] indptr, const int[::1] indices, double[::1] values):
    """Overwrite the lower triangle of A with L such that (L L^T)_ij = a_ij at the entries the triangle has.

    CSR with ascending columns and all diagonal entries. Return -1, or the first row with a pivot <= 0.
    """
    cdef Py_ssize_t i, n = indptr.shape[0] - 1, broken = -1
    with nogil:
        for i in range(n):
            if not cholesky_row(i, &indptr[0], &indices[0], &values[0]):
                broken = i
                break
    return broken


# Vectors ----------------------------------------------------------------------------------------------------

cdef void dot(Py_ssize_t n, const floating* x, const floating* y, double* xy) noexcept nogil:
    """xy = sum_i x_i y_i, for other modules: a function with clones cannot be exported."""
    sum_of_products(n, x, y, xy)


cdef CVOID sum_of_products(Py_ssize_t n, const floating* x, const floating* y, double* xy) noexcept nogil:
    """xy = sum_i x_i y_i, in double precision."""
    cdef Py_ssize_t i = 0, k
    cdef double s[16]
    cdef double total = 0
    # Sixteen sums: enough additions at once to hide how long each takes.
    for k in range(16):
        s[k] = 0
    while i + 16 <= n:
        for k in range(16):
            s[k] += <double> x[i + k] * <double> y[i + k]
        i += 16
    while i < n:
        total += <double> x[i] * <double> y[i]
        i += 1
    for k in range(16):
        total += s[k]
    xy[0] = total


# Operators --------------------------------------------------------------------------------------------------

cdef class Operator:
    """A matrix bound to its arrays."""

    cdef void bind(self, cnp.ndarray data, Py_ssize_t n, Py_ssize_t work, tuple owners) noexcept:
        self.n = self.matrix.n = n
        self.work = work
        self.owners = owners
        self.single = cnp.PyArray_TYPE(data) == cnp.NPY_FLOAT32
        self.matrix.data = cnp.PyArray_DATA(data)

    def __call__(self, cnp.ndarray x):
        """y = A x for x of the operator's dtype in C order, reading every stored entry."""
        cdef cnp.npy_intp n = self.n
        cdef cnp.ndarray y = cnp.PyArray_EMPTY(1, &n, cnp.PyArray_TYPE(x), 0)
        cdef void* source = cnp.PyArray_DATA(x)
        cdef void* target = cnp.PyArray_DATA(y)
        cdef double xy
        with nogil:
            self.matrix.full(&self.matrix, source, target, &xy)
        return y


cdef class Dense(Operator):
    """A square array in C order."""

    def __init__(self, cnp.ndarray A):
        cdef Py_ssize_t n = A.shape[0]
        self.bind(A, n, n * (n + 1) // 2, (A,))
        self.matrix.product = (
            <product_t> dense_symmetric[float] if self.single else <product_t> dense_symmetric[double]
        )
        self.matrix.full = <product_t> dense_full[float] if self.single else <product_t> dense_full[double]


cdef class CSR(Operator):
    """Compressed rows, int32 indices."""

    def __init__(self, cnp.ndarray data, cnp.ndarray indices, cnp.ndarray indptr):
        self.bind(data, indptr.shape[0] - 1, indptr.shape[0] + 2 * data.shape[0], (data, indices, indptr))
        self.matrix.indices = <const int*> cnp.PyArray_DATA(indices)
        self.matrix.indptr = <const int*> cnp.PyArray_DATA(indptr)
        self.matrix.product = <product_t> csr[float] if self.single else <product_t> csr[double]
        self.matrix.full = self.matrix.product


cdef class DIA(Operator):
    """Diagonals as rows of ``data`` aligned by column, at most n columns; int32 offsets."""

    def __init__(self, cnp.ndarray data, cnp.ndarray offsets, Py_ssize_t n):
        self.bind(data, n, n + data.shape[0] * data.shape[1], (data, offsets))
        self.matrix.count = data.shape[0]
        self.matrix.width = data.shape[1]
        self.matrix.indices = <const int*> cnp.PyArray_DATA(offsets)
        self.matrix.product = (
            <product_t> dia_symmetric[float] if self.single else <product_t> dia_symmetric[double]
        )
        self.matrix.full = <product_t> dia_full[float] if self.single else <product_t> dia_full[double]


cdef class Poisson(Operator):
    """The five-point stencil on a grid; ``data`` gives the dtype alone."""

    def __init__(self, cnp.ndarray data, Py_ssize_t rows, Py_ssize_t columns):
        self.bind(data, rows * columns, rows * columns, ())
        self.matrix.count = rows
        self.matrix.width = columns
        self.matrix.product = <product_t> poisson[float] if self.single else <product_t> poisson[double]
        self.matrix.full = self.matrix.product


cdef class Diagonal(Operator):
    """A diagonal matrix."""

    def __init__(self, cnp.ndarray data):
        self.bind(data, data.shape[0], data.shape[0], (data,))
        self.matrix.product = <product_t> diagonal[float] if self.single else <product_t> diagonal[double]
        self.matrix.full = self.matrix.product


cdef class Cholesky(Operator):
    """The inverse of L L^T, for L in CSR."""

    def __init__(self, cnp.ndarray data, cnp.ndarray indices, cnp.ndarray indptr):
        self.bind(data, indptr.shape[0] - 1, indptr.shape[0] + 4 * data.shape[0], (data, indices, indptr))
        self.matrix.indices = <const int*> cnp.PyArray_DATA(indices)
        self.matrix.indptr = <const int*> cnp.PyArray_DATA(indptr)
        self.matrix.product = (
            <product_t> cholesky_solve[float] if self.single else <product_t> cholesky_solve[double]
        )
        self.matrix.full = self.matrix.product


def csr_is_valid(const int[::1] indptr, const int[::1] indices, Py_ssize_t entries, Py_ssize_t n):
    """Whether no row and no column of the matrix points outside it."""
    cdef Py_ssize_t i
    cdef unsigned int bad = 0
    if indptr[0] != 0 or indptr[n] > entries or indptr[n] > indices.shape[0]:
        return False
    with nogil:
        for i in range(n):
            bad |= indptr[i] > indptr[i + 1]
        for i in range(indptr[n]):
            bad |= <unsigned int> indices[i] >= <unsigned int> n
    return not bad


def csr_diagonals(const int[::1] indptr, const int[::1] indices, short[::1] slot, int[::1] offsets):
    """Find the diagonals of a valid CSR matrix; return how many, or -1 if ``offsets`` is too short.

    ``slot``, zeros of length 2 n - 1, gets at o + n - 1 one more than the place of o = j - i in ``offsets``.
    """
    cdef Py_ssize_t i, k, place, n = indptr.shape[0] - 1, count = 0
    with nogil:
        for i in range(n):
            for k in range(indptr[i], indptr[i + 1]):
                place = indices[k] - i + n - 1
                if slot[place] == 0:
                    if count == offsets.shape[0]:
                        count = -1
                        break
                    offsets[count] = <int> (indices[k] - i)
                    count += 1
                    slot[place] = <short> count
            if count < 0:
                break
    return count


def csr_to_dia(const int[::1] indptr, const int[::1] indices, const floating[::1] data, const short[::1] slot,
               floating[:, ::1] diagonals):
    """Add the entries of a CSR matrix to ``diagonals``, zeros: a row a diagonal, aligned by column."""
    cdef Py_ssize_t i, k, n = indptr.shape[0] - 1
    with nogil:
        for i in range(n):
            for k in range(indptr[i], indptr[i + 1]):
                diagonals[slot[indices[k] - i + n - 1] - 1, indices[k]] += data[k]
