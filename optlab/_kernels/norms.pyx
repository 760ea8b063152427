"""Normalization, forward and backward: every number less the mean of its set, divided by the set's deviation.

A set is a row of memory (layer, instance, group norm) or a channel across all samples (batch norm). x has the
shape (samples, channels, length); arrays are float32 or float64 in C order. The caller has checked them.

Statistics keep their accuracy wherever the mean lies. The first sum gives a number near the mean, the center,
which a float can hold; the second takes x - center, which rounds by no more than the last place of itself,
and gives what is left of the mean, the offset, and the variance. Sums of many numbers are sums in double
of sums of a few. Where squares over- or underflow, and only there, a set is taken again in scaled doubles.

    mean = center + offset,   deviation = sqrt(var + eps),   x_hat = (x - center) rate - offset rate

with rate = 1 / deviation. Gradients that are to lose their mean lose the first of them beforehand if they are
much the same, so that a large mean takes no small differences with it. What is written is apart from what is
read.

This file is compiled without -fassociative-math, which would add center and offset again. Functions that
return SUMS may add in any order.
"""

import numpy as np

cimport cython
cimport numpy as cnp
from cython cimport floating
from libc.math cimport fabs, frexp, ldexp, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from ._clones cimport CVOID, IVOID, SUMS

cnp.import_array()


cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define OPTLAB_APART __restrict
    #else
    #define OPTLAB_APART __restrict__
    #endif
    """
    # A lock costs as much as a thousand numbers: only longer work lets other threads run.
    ctypedef struct PyThreadState:
        pass
    PyThreadState* PyEval_SaveThread() noexcept
    void PyEval_RestoreThread(PyThreadState*) noexcept
    # Pointers to memory that nothing else in the function points to.
    ctypedef float* apart32 "float* OPTLAB_APART"
    ctypedef double* apart64 "double* OPTLAB_APART"

ctypedef fused apart:
    apart32
    apart64

cdef enum:
    FEW = 128       # numbers in a sum of their dtype; sums are added in double
    PART = 4096     # numbers that a second look finds in the cache
    ROWS = 16       # rows that are normalized together
    BLOCK = 16      # rows whose column sums are taken in registers
    TILE = 256      # columns of a block on the stack
    FLUSH = 64      # rows whose products are summed in the dtype of x
    WORK = 8192     # numbers that are worth giving other threads a turn
    FAST = 1 << 18  # bytes that surely stay in the cache
    SHORT = 16      # shorter stretches of a channel are columns

cdef struct Sets:
    # One number for each set; mean = center + offset.
    double* center
    double* offset
    double* var
    double* rate


# A set at a time -------------------------------------------------------------------------------------------

cdef SUMS near_means(Py_ssize_t rows, Py_ssize_t n, const floating* x, floating* centers) noexcept nogil:
    """centers ~ means of rows of n."""
    cdef Py_ssize_t r, i, j, end
    cdef floating s, s1, s2, s3, one
    cdef double total, share = 1.0 / n
    for r in range(rows):
        one = x[0]  # of equal numbers, each is the mean
        total = 0
        j = 0
        while j + 4 * FEW <= n:
            s = s1 = s2 = s3 = 0
            for i in range(j, j + FEW):
                s += x[i] - one
                s1 += x[i + FEW] - one
                s2 += x[i + 2 * FEW] - one
                s3 += x[i + 3 * FEW] - one
            total += (s + s1) + (s2 + s3)
            j += 4 * FEW
        while j < n:
            end = min(j + FEW, n)
            s = 0
            for i in range(j, end):
                s += x[i] - one
            total += s
            j = end
        centers[r] = <floating> (one + total * share)
        x += n


cdef SUMS deviations(Py_ssize_t rows, Py_ssize_t n, const floating* x, const floating* centers, apart64 first,
                     apart64 second) noexcept nogil:
    """first = sum (x - center), second = sum (x - center)^2 of rows of n."""
    cdef Py_ssize_t r, i, j, end
    cdef floating c, d, s, s1, s2, s3, t, t1, t2, t3
    cdef double total, squares
    for r in range(rows):
        c = centers[r]
        total = squares = 0
        j = 0
        while j + 4 * FEW <= n:
            s = s1 = s2 = s3 = t = t1 = t2 = t3 = 0
            for i in range(j, j + FEW):
                d = x[i] - c
                s += d
                t += d * d
                d = x[i + FEW] - c
                s1 += d
                t1 += d * d
                d = x[i + 2 * FEW] - c
                s2 += d
                t2 += d * d
                d = x[i + 3 * FEW] - c
                s3 += d
                t3 += d * d
            total += (s + s1) + (s2 + s3)
            squares += (t + t1) + (t2 + t3)
            j += 4 * FEW
        while j < n:
            end = min(j + FEW, n)
            s = t = 0
            for i in range(j, end):
                d = x[i] - c
                s += d
                t += d * d
            total += s
            squares += t
            j = end
        first[r], second[r] = total, squares
        x += n


cdef inline void moments(Py_ssize_t rows, Py_ssize_t n, const floating* x, floating* centers, double* first,
                         double* second) noexcept nogil:
    """Of rows of n: a center near the mean, and the sums of the deviations from it and of their squares."""
    near_means(rows, n, x, centers)
    deviations(rows, n, x, centers, <apart64> first, <apart64> second)


cdef CVOID merge(Py_ssize_t before, Py_ssize_t n, const floating* center, const double* first,
                 const double* second, double* base, double* offset, double* square) noexcept nogil:
    """Add n numbers to `before`: the mean is base + offset, square = sum (x - mean)^2 (Chan et al. 1982)."""
    cdef double e, delta
    if before == 0:
        base[0] = center[0]
        offset[0] = first[0] / n
        square[0] = second[0] - first[0] * offset[0]
        return
    e = (<double> center[0] - base[0]) + first[0] / n
    delta = e - offset[0]
    offset[0] += delta * (<double> n / (before + n))
    square[0] += second[0] - first[0] * (first[0] / n)
    square[0] += delta * delta * (<double> before * n / (before + n))


cdef inline double least(floating x, double eps) noexcept nogil:
    """The least variance whose squares did not underflow, as far as it matters; x only says the dtype."""
    if floating is float:
        return 0 if eps >= 1e-20 else 1e-28
    else:
        return 0 if eps >= 1e-262 else 1e-270


cdef inline double most(floating x) noexcept nogil:
    """The largest variance whose squares did not overflow; x only says the dtype."""
    return 1e30 if floating is float else 1e280


cdef inline double moderate(floating x) noexcept nogil:
    """Products with rates from 1/this to this stay in range; x only says the dtype."""
    return 1e15 if floating is float else 1e140


cdef SUMS outside(Py_ssize_t n, const double* x, double low, double high, double* count) noexcept nogil:
    """The number of x_k that are not between low and high, NaN too."""
    cdef Py_ssize_t k
    cdef double some = 0
    for k in range(n):
        some += (0.0 if x[k] >= low else 1.0) + (0.0 if x[k] <= high else 1.0)
    count[0] = some


cdef CVOID settle(floating x, Py_ssize_t sets, Py_ssize_t n, const double* base, const double* offset,
                  const double* square, double eps, apart64 center, apart64 rest, apart64 var,
                  apart64 rate) noexcept nogil:
    """Statistics from sums; x only says the dtype. The center is what the dtype can hold of the mean."""
    cdef Py_ssize_t k
    cdef double c, v, share = 1.0 / n
    for k in range(sets):
        c = <floating> (base[k] + offset[k])
        v = square[k] * share
        v = 0 if v < 0 else v
        center[k] = c
        rest[k] = (base[k] - c) + offset[k]
        var[k] = v
        rate[k] = 1 / sqrt(v + eps)


cdef void scaled(Py_ssize_t pieces, Py_ssize_t step, Py_ssize_t n, const floating* x, double eps, Sets* sets,
                 Py_ssize_t at) noexcept nogil:
    """The statistics of pieces of n numbers, `step` apart, by doubles around 1."""
    cdef Py_ssize_t i, j, count = pieces * n
    cdef double top = 0, mean = 0, first = 0, second = 0, d, scale, var, share
    cdef int exponent = 0
    for i in range(pieces):
        for j in range(n):
            d = fabs(<double> x[i * step + j])
            top = top if d <= top else d  # NaN is taken
    if top != 0 and top - top == 0:
        frexp(top, &exponent)
    exponent = max(min(-exponent, 1000), -1000)
    scale = ldexp(1.0, exponent)
    for i in range(pieces):
        for j in range(n):
            mean += (x[i * step + j] * scale - x[0] * scale) / count
    mean += x[0] * scale
    for i in range(pieces):
        for j in range(n):
            d = x[i * step + j] * scale - mean
            first += d
            second += d * d
    var = (second - first * (first / count)) / count
    var = 0 if var < 0 else var
    share = ldexp(ldexp(eps, exponent), exponent)
    sets.center[at] = <floating> ((mean + first / count) / scale)
    sets.offset[at] = (mean / scale - sets.center[at]) + first / count / scale
    sets.var[at] = ldexp(ldexp(var, -exponent), -exponent)
    # In these units eps may be beyond all bounds, then the variance does not count, or nothing.
    sets.rate[at] = 1 / sqrt(eps) if var == 0 or share > 1e300 else scale / sqrt(var + share)


cdef inline double normalized(double x, const Sets* sets, Py_ssize_t at) noexcept nogil:
    """x_hat; halves, because a difference may be beyond the doubles."""
    return ((0.5 * x - 0.5 * sets.center[at]) - 0.5 * sets.offset[at]) * sets.rate[at] * 2


cdef void write_scaled(Py_ssize_t n, const floating* x, const Sets* sets, Py_ssize_t at, double gamma,
                       double beta, floating* y) noexcept nogil:
    """In doubles, where a difference or a product may leave the range of the dtype."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <floating> (normalized(x[i], sets, at) * gamma + beta)


# Rows ------------------------------------------------------------------------------------------------------

cdef void long_row(Py_ssize_t n, const floating* x, double eps, Sets* sets, Py_ssize_t r) noexcept nogil:
    """The statistics of a row in parts: it is the stretch of one sample and one channel."""
    cdef double base, offset, square
    stretches(1, 1, n, n, x, &base, &offset, &square)
    settle(x[0], 1, n, &base, &offset, &square, eps, <apart64> (sets.center + r), <apart64> (sets.offset + r),
           <apart64> (sets.var + r), <apart64> (sets.rate + r))


cdef IVOID write_row(Py_ssize_t n, Py_ssize_t each, Py_ssize_t at, const floating* x, const floating* gamma,
                     const floating* beta, double center, double offset, double rate,
                     floating* y) noexcept nogil:
    """y = gamma x_hat + beta."""
    cdef Py_ssize_t i, j
    cdef floating c = <floating> center, a, b
    cdef double g
    if each == 1 and gamma != NULL:
        a = <floating> rate
        b = <floating> (-offset * rate)
        for i in range(n):
            y[i] = ((x[i] - c) * a + b) * gamma[at + i] + beta[at + i]
    else:
        for j in range(n // each):
            g = rate * (1 if gamma == NULL else gamma[at + j])
            a = <floating> g
            b = <floating> ((0 if beta == NULL else <double> beta[at + j]) - offset * g)
            for i in range(j * each, j * each + each):
                y[i] = (x[i] - c) * a + b


cdef CVOID rows_forward(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t period, Py_ssize_t each, const floating* x,
                        const floating* gamma, const floating* beta, double eps, Sets* sets,
                        floating* y) noexcept nogil:
    """y = gamma x_hat + beta; each row of n is a set. Every gamma belongs to `each` numbers of a row, and
    the gammas start again after `period` rows. None: gamma = beta = NULL and each = n.

    A few rows go through each step together, as none of them waits for the others.
    """
    cdef Py_ssize_t r, k, j, at, count, together = max(1, min(ROWS, PART // n)), gammas = n // each
    cdef floating c[ROWS]
    cdef double first[ROWS]
    cdef double second[ROWS]
    cdef double offset, var, share = 1.0 / n
    cdef apart64 centers = <apart64> sets.center
    cdef apart64 offsets = <apart64> sets.offset
    cdef apart64 vars_ = <apart64> sets.var
    cdef apart64 rates = <apart64> sets.rate
    cdef double low, high
    c[0] = 0
    low, high = least(c[0], eps), most(c[0])
    r = 0
    while r < rows:
        count = min(together, rows - r)
        if n <= PART:
            moments(count, n, x, c, first, second)
            for k in range(count):
                offset = first[k] * share
                var = second[k] * share - offset * offset
                var = 0 if var < 0 else var
                centers[r + k] = c[k]
                offsets[r + k] = offset
                vars_[r + k] = var
                rates[r + k] = 1 / sqrt(var + eps)
        else:
            long_row(n, x, eps, sets, r)
        for k in range(r, r + count):
            at = k % period * gammas if period > 1 else 0
            if low <= vars_[k] <= high:
                write_row(n, each, at, x, gamma, beta, centers[k], offsets[k], rates[k], y)
            else:
                scaled(1, 0, n, x, eps, sets, k)
                for j in range(gammas):
                    write_scaled(each, x + j * each, sets, k, 1 if gamma == NULL else gamma[at + j],
                                 0 if beta == NULL else beta[at + j], y + j * each)
            x += n
            y += n
        r += count


cdef inline floating common(floating a, floating b, floating c, floating d) noexcept nogil:
    """a, if four of many numbers are about the same, else 0."""
    cdef floating low = min(min(a, b), min(c, d)), high = max(max(a, b), max(c, d))
    return a if (low > 0 and high < <floating> 1.5 * low) or (high < 0 and low > <floating> 1.5 * high) else 0


cdef inline floating common_of(Py_ssize_t n, Py_ssize_t step, const floating* v) noexcept nogil:
    return common(v[0], v[n // 3 * step], v[2 * n // 3 * step], v[(n - 1) * step])


cdef inline floating common_product(Py_ssize_t n, const floating* v, const floating* g) noexcept nogil:
    cdef Py_ssize_t i = n // 3, j = 2 * n // 3, k = n - 1
    return common(v[0] * g[0], v[i] * g[i], v[j] * g[j], v[k] * g[k])


cdef SUMS row_products(Py_ssize_t n, const floating* x, const floating* dy, const floating* gamma,
                       const floating* one_, const floating* c, const floating* rate,
                       const floating* shift, floating* s, floating* t, apart dgamma,
                       apart dbeta) noexcept nogil:
    """s = sum (v - one), t = sum (v - one) x_hat with v = gamma dy; dgamma += dy x_hat, dbeta += dy."""
    cdef Py_ssize_t i
    cdef floating mean = c[0], scale = rate[0], off = shift[0], one = one_[0]
    cdef floating x_hat, v, sum_v = 0, sum_vx = 0
    for i in range(n):
        x_hat = (x[i] - mean) * scale + off
        v = dy[i] * gamma[i] - one
        sum_v += v
        sum_vx += v * x_hat
        dgamma[i] += dy[i] * x_hat
        dbeta[i] += dy[i]
    s[0], t[0] = sum_v, sum_vx


cdef SUMS four_products(Py_ssize_t n, const floating* x, const floating* dy, const floating* gamma,
                        const floating* one_, const floating* c_, const floating* rate_,
                        const floating* shift_, floating* s_, floating* t_, apart dgamma,
                        apart dbeta) noexcept nogil:
    """The same of four rows: gamma, dgamma and dbeta are read once."""
    cdef Py_ssize_t i
    cdef int k
    cdef floating c[4]
    cdef floating rate[4]
    cdef floating shift[4]
    cdef floating one[4]
    cdef floating s[4]
    cdef floating t[4]
    cdef floating g, u, v, p, q
    for k in range(4):
        c[k], rate[k], shift[k], one[k] = c_[k], rate_[k], shift_[k], one_[k]
        s[k] = t[k] = 0
    for i in range(n):
        g = gamma[i]
        p = q = 0
        for k in range(4):
            u = (x[k * n + i] - c[k]) * rate[k] + shift[k]
            v = dy[k * n + i] * g - one[k]
            s[k] += v
            t[k] += v * u
            p += dy[k * n + i] * u
            q += dy[k * n + i]
        dgamma[i] += p
        dbeta[i] += q
    for k in range(4):
        s_[k], t_[k] = s[k], t[k]


cdef IVOID some_gradients(int count, Py_ssize_t n, const floating* x, const floating* dy,
                          const floating* gamma, const floating* one_, const floating* c_,
                          const floating* rate_, const floating* b_, const floating* d_,
                          apart dx) noexcept nogil:
    cdef Py_ssize_t i
    cdef int k
    cdef floating c[4]
    cdef floating rate[4]
    cdef floating one[4]
    cdef floating b[4]
    cdef floating d[4]
    cdef floating g, v
    for k in range(count):
        c[k], rate[k], b[k], d[k] = c_[k], rate_[k], b_[k], d_[k]
        one[k] = one_[k]
    for i in range(n):
        g = gamma[i]
        for k in range(count):
            v = dy[k * n + i] * g - one[k]
            dx[k * n + i] = v * rate[k] + ((x[k * n + i] - c[k]) * b[k] + d[k])


cdef CVOID rows_gradients(int count, Py_ssize_t n, const floating* x, const floating* dy,
                          const floating* gamma, const floating* one, const floating* c,
                          const floating* rate, const floating* b, const floating* d,
                          apart dx) noexcept nogil:
    """Of four rows, or one: dx = (v - one) rate + (x - c) b + d."""
    if count == 4:
        some_gradients(4, n, x, dy, gamma, one, c, rate, b, d, dx)
    else:
        some_gradients(1, n, x, dy, gamma, one, c, rate, b, d, dx)


cdef void rows_together(int count, Py_ssize_t n, const floating* x, const floating* dy,
                        const floating* gamma, const Sets* sets, Py_ssize_t at, floating* dx,
                        floating* dgamma, floating* dbeta) noexcept nogil:
    """Four rows, or one, with a gamma for each number."""
    cdef floating one[4]
    cdef floating c[4]
    cdef floating rate[4]
    cdef floating shift[4]
    cdef floating s[4]
    cdef floating t[4]
    cdef int k
    for k in range(count):
        one[k] = common_product(n, dy + k * n, gamma)
        c[k] = <floating> sets.center[at + k]
        rate[k] = <floating> sets.rate[at + k]
        shift[k] = <floating> (-sets.offset[at + k] * sets.rate[at + k])
    if floating is float:
        if count == 4:
            four_products(n, x, dy, gamma, one, c, rate, shift, s, t, <apart32> dgamma, <apart32> dbeta)
        else:
            row_products(n, x, dy, gamma, one, c, rate, shift, s, t, <apart32> dgamma, <apart32> dbeta)
    else:
        if count == 4:
            four_products(n, x, dy, gamma, one, c, rate, shift, s, t, <apart64> dgamma, <apart64> dbeta)
        else:
            row_products(n, x, dy, gamma, one, c, rate, shift, s, t, <apart64> dgamma, <apart64> dbeta)
    for k in range(count):
        t[k] *= -rate[k] / <floating> n
        s[k] = t[k] * shift[k] - s[k] * (rate[k] / <floating> n)
        t[k] *= rate[k]
    if floating is float:
        rows_gradients(count, n, x, dy, gamma, one, c, rate, t, s, <apart32> dx)
    else:
        rows_gradients(count, n, x, dy, gamma, one, c, rate, t, s, <apart64> dx)


cdef SUMS products(Py_ssize_t n, const floating* x, const floating* dy, floating one, floating c,
                   floating rate, floating shift, double* first, double* second) noexcept nogil:
    """first = sum (dy - one), second = sum (dy - one) x_hat."""
    cdef Py_ssize_t i, j, end
    cdef floating s, t
    cdef double total = 0, others = 0
    for j in range(0, n, 256):  # 2 FEW
        end = min(j + 2 * FEW, n)
        s = t = 0
        for i in range(j, end):
            s += dy[i] - one
            t += (dy[i] - one) * ((x[i] - c) * rate + shift)
        total += s
        others += t
    first[0], second[0] = total, others


cdef SUMS channel_products(Py_ssize_t n, const floating* x, const floating* dy, floating gamma, floating one,
                           floating c, floating rate, floating shift, double* s, double* t, double* dgamma,
                           double* dbeta) noexcept nogil:
    """s += v - one, t += (v - one) x_hat with v = gamma dy; dgamma += dy x_hat, dbeta += dy."""
    cdef Py_ssize_t i, j, end
    cdef floating x_hat, v, sum_v, sum_vx, p, q
    for j in range(0, n, 256):  # 2 FEW
        end = min(j + 2 * FEW, n)
        sum_v = sum_vx = p = q = 0
        for i in range(j, end):
            x_hat = (x[i] - c) * rate + shift
            v = dy[i] * gamma - one
            sum_v += v
            sum_vx += v * x_hat
            p += dy[i] * x_hat
            q += dy[i]
        s[0] += sum_v
        t[0] += sum_vx
        dgamma[0] += p
        dbeta[0] += q


cdef void row_scaled(Py_ssize_t n, Py_ssize_t each, const floating* x, const floating* dy,
                     const floating* gamma, const Sets* sets, Py_ssize_t r, floating* dx, double* dgamma,
                     double* dbeta) noexcept nogil:
    """A row in doubles, where a product may leave the range of the dtype."""
    cdef Py_ssize_t i
    cdef double s = 0, t = 0, u, v, g
    for i in range(n):
        u = normalized(x[i], sets, r)
        v = dy[i]
        g = 1 if gamma == NULL else gamma[i // each]
        s += v * g
        t += v * g * u
        if dgamma != NULL:
            dgamma[i // each] += v * u
            dbeta[i // each] += v
    s /= n
    t /= n
    for i in range(n):
        u = normalized(x[i], sets, r)
        g = 1 if gamma == NULL else gamma[i // each]
        dx[i] = <floating> ((dy[i] * g - s - u * t) * sets.rate[r]) if n > 1 else 0


cdef CVOID rows_backward(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t period, Py_ssize_t each,
                         const floating* x, const floating* dy, const floating* gamma, const Sets* sets,
                         floating* dx, floating* some_gamma, floating* some_beta, apart64 dgamma,
                         apart64 dbeta) noexcept nogil:
    """Of each row, with v = dL/dx_hat = gamma dy:

        dx = rate (v - mean(v) - x_hat mean(v x_hat)),   dgamma += dy x_hat,   dbeta += dy

    For a gamma for each number, some_gamma and some_beta are zeros of the length of gamma; they are added to
    dgamma and dbeta now and then. Without gamma, dgamma and dbeta are NULL.
    """
    cdef Py_ssize_t r = 0, i, j, at, count, since = 0, gammas = n // each, total = gammas * period
    cdef floating c = 0, rate, shift, a, b, g, one
    cdef double high = moderate(c), low = 1 / high
    cdef double s, t
    while r < rows:
        count = 1
        at = r % period * gammas if period > 1 else 0
        c = <floating> sets.center[r]
        if n == 1 or not low <= sets.rate[r] <= high:
            if gamma == NULL:
                row_scaled(n, each, x, dy, gamma, sets, r, dx, <double*> NULL, <double*> NULL)
            else:
                row_scaled(n, each, x, dy, gamma + at, sets, r, dx, <double*> dgamma + at,
                           <double*> dbeta + at)
        elif each == 1 and gamma != NULL:
            if period == 1 and rows - r >= 4 and (
                low <= sets.rate[r + 1] <= high and low <= sets.rate[r + 2] <= high
                and low <= sets.rate[r + 3] <= high
            ):
                count = 4
                rows_together(4, n, x, dy, gamma, sets, r, dx, some_gamma, some_beta)
            else:
                rows_together(1, n, x, dy, gamma + at, sets, r, dx, some_gamma + at, some_beta + at)
            since += count
            if since >= FLUSH * period or r + count >= rows:
                since = 0
                for i in range(total):
                    dgamma[i] += some_gamma[i]
                    dbeta[i] += some_beta[i]
                    some_gamma[i] = some_beta[i] = 0
        else:
            rate = <floating> sets.rate[r]
            shift = <floating> (-sets.offset[r] * sets.rate[r])
            s = t = 0
            if gammas == 1:  # all of x_hat, whose sum is 0
                one = common_of(n, 1, dy)
                products(n, x, dy, one, c, rate, shift, &s, &t)
                if gamma != NULL:
                    dbeta[at] += s + n * <double> one
                    dgamma[at] += t
                    s *= gamma[at]
                    t *= gamma[at]
                    one *= gamma[at]
            else:
                one = 0
                if each >= 4:
                    one = common_of(n, 1, dy) * gamma[at]
                for j in range(gammas):
                    channel_products(each, x + j * each, dy + j * each, gamma[at + j], one, c, rate, shift,
                                     &s, &t, <double*> dgamma + at + j, <double*> dbeta + at + j)
            s *= -sets.rate[r] / n
            t *= -sets.rate[r] / n
            a = <floating> (t * sets.rate[r])
            b = <floating> (s - t * sets.offset[r] * sets.rate[r])
            for j in range(gammas):
                g = 1 if gamma == NULL else gamma[at + j]
                for i in range(j * each, j * each + each):
                    dx[i] = (dy[i] * g - one) * rate + ((x[i] - c) * a + b)
        x += count * n
        dy += count * n
        dx += count * n
        r += count
    if since > 0:  # the last row was taken in doubles
        for i in range(total):
            dgamma[i] += some_gamma[i]
            dbeta[i] += some_beta[i]


# Channels --------------------------------------------------------------------------------------------------
#
# Long stretches of a channel are taken one by one. Short ones are columns: the matrix has a row for each
# sample and channels x length columns, whose numbers are merged at last.

cdef void stretches(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, Py_ssize_t step,
                    const floating* x, double* base, double* offset, double* square) noexcept nogil:
    """Mean = base + offset and square = sum (x - mean)^2 of each channel; samples are `step` apart."""
    cdef Py_ssize_t s, k, i, n
    cdef floating c
    cdef double first, second
    for s in range(samples):
        for k in range(channels):
            for i in range(0, length, 4096):  # PART
                n = min(PART, length - i)
                moments(1, n, x + s * step + k * length + i, &c, &first, &second)
                merge(s * length + i, n, &c, &first, &second, base + k, offset + k, square + k)


cdef IVOID block_moments(int count, Py_ssize_t columns, Py_ssize_t step, const floating* x, apart center,
                         apart first, apart second) noexcept nogil:
    """As `moments`, of each column of a few rows."""
    cdef Py_ssize_t j
    cdef int k
    cdef floating c, d, s, t
    for j in range(columns):
        c = s = t = 0
        for k in range(count):
            c += x[k * step + j] - x[j]
        c = x[j] + c * (<floating> 1 / <floating> count)
        for k in range(count):
            d = x[k * step + j] - c
            s += d
            t += d * d
        center[j] = c
        first[j] = s
        second[j] = t


cdef CVOID merge_columns(Py_ssize_t before, Py_ssize_t n, Py_ssize_t columns, const floating* center,
                         const floating* first, const floating* second, apart64 base, apart64 offset,
                         apart64 square) noexcept nogil:
    """`merge` of each column."""
    cdef Py_ssize_t j
    cdef double e, delta, share = <double> n / (before + n), weight = <double> before * n / (before + n)
    cdef double each = 1.0 / n
    if before == 0:
        for j in range(columns):
            base[j] = center[j]
            offset[j] = first[j] * each
            square[j] = second[j] - first[j] * (first[j] * each)
    else:
        for j in range(columns):
            e = (<double> center[j] - base[j]) + first[j] * each
            delta = e - offset[j]
            offset[j] += delta * share
            square[j] += (second[j] - first[j] * (first[j] * each)) + delta * delta * weight


cdef CVOID tile_moments(int count, Py_ssize_t columns, Py_ssize_t step, const floating* x, apart center,
                        apart first, apart second) noexcept nogil:
    if count == BLOCK:
        block_moments(BLOCK, columns, step, x, center, first, second)
    elif count == 4:
        block_moments(4, columns, step, x, center, first, second)
    else:
        block_moments(1, columns, step, x, center, first, second)


cdef void column_moments(Py_ssize_t rows, Py_ssize_t columns, const floating* x, double* base, double* offset,
                         double* square) noexcept nogil:
    """Mean = base + offset and square = sum (x - mean)^2 of each column."""
    cdef Py_ssize_t r = 0, j, n, width
    cdef floating center[TILE]
    cdef floating first[TILE]
    cdef floating second[TILE]
    while r < rows:
        n = BLOCK if rows - r >= BLOCK else 4 if rows - r >= 4 else 1
        for j in range(0, columns, 256):  # TILE
            width = min(TILE, columns - j)
            if floating is float:
                tile_moments(<int> n, width, columns, x + r * columns + j, <apart32> center, <apart32> first,
                             <apart32> second)
            else:
                tile_moments(<int> n, width, columns, x + r * columns + j, <apart64> center, <apart64> first,
                             <apart64> second)
            merge_columns(r, n, width, center, first, second, base + j, offset + j, square + j)
        r += n


cdef CVOID fold(Py_ssize_t channels, Py_ssize_t length, Py_ssize_t n, double* base, double* offset,
                double* square) noexcept nogil:
    """Merge the columns of each channel, of n numbers each; the results come first in the arrays."""
    cdef Py_ssize_t k, j
    cdef double b, o, q, delta
    for k in range(channels):
        b, o, q = base[k * length], offset[k * length], square[k * length]
        for j in range(1, length):
            delta = (base[k * length + j] - b) + offset[k * length + j] - o
            o += delta / (j + 1)
            q += square[k * length + j] + delta * delta * (<double> j * n / (j + 1))
        base[k], offset[k], square[k] = b, o, q


cdef CVOID columns_affine(Py_ssize_t rows, Py_ssize_t columns, const floating* x, const floating* c,
                          const floating* a, const floating* b, floating* y) noexcept nogil:
    """y = (x - c) a + b in each column."""
    cdef Py_ssize_t _, j
    for _ in range(rows):
        for j in range(columns):
            y[j] = (x[j] - c[j]) * a[j] + b[j]
        x += columns
        y += columns


cdef CVOID stretches_affine(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, Py_ssize_t step,
                            const floating* x, const floating* c, const floating* a, const floating* b,
                            floating* y) noexcept nogil:
    """y = (x - c) a + b in each channel; samples are `step` apart."""
    cdef Py_ssize_t _, k, i
    cdef floating mean, scale, shift
    for _ in range(samples):
        for k in range(channels):
            mean, scale, shift = c[k], a[k], b[k]
            for i in range(k * length, k * length + length):
                y[i] = (x[i] - mean) * scale + shift
        x += step
        y += step


cdef inline Py_ssize_t channels_at_once(Py_ssize_t channels, Py_ssize_t length) noexcept nogil:
    """Few, so that the second look at them finds them in the cache; but long stretches of memory."""
    return min(channels, max(1, 2048 // length))


cdef bint batch_forward(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, bint elements,
                        const floating* x, const floating* gamma, const floating* beta, double eps,
                        bint given, Sets* sets, floating* y) noexcept nogil:
    """y = gamma x_hat + beta; a channel of all samples is a set. `elements`: a gamma and a beta for each of
    its numbers, not for each channel. `given`: the statistics are known. False: no memory."""
    cdef bint flat = length < SHORT or elements
    cdef Py_ssize_t k, j, i, s, at, n, of = length if flat else 1, columns = channels * of
    cdef Py_ssize_t step = channels * length
    cdef Py_ssize_t at_once = channels if flat else channels_at_once(channels, length)
    cdef double* base = <double*> malloc(columns * (3 * sizeof(double) + 3 * sizeof(floating)))
    cdef double* offset = base + columns
    cdef double* square = offset + columns
    cdef floating* c = <floating*> (square + columns)
    cdef floating* a = c + columns
    cdef floating* b = a + columns
    cdef double bad, low, high
    if base == NULL:
        return False
    low, high = least(c[0], eps), most(c[0])
    k = 0
    while k < channels:
        n = min(at_once, channels - k)
        if not given:
            if flat:
                column_moments(samples, columns, x, base, offset, square)
                if length > 1:
                    fold(channels, length, samples, base, offset, square)
            else:
                stretches(samples, n, length, step, x + k * length, base, offset, square)
            settle(c[0], n, samples * length, base, offset, square, eps, <apart64> (sets.center + k),
                   <apart64> (sets.offset + k), <apart64> (sets.var + k), <apart64> (sets.rate + k))
            outside(n, sets.var + k, low, high, &bad)
            if bad:
                for j in range(k, k + n):
                    if not low <= sets.var[j] <= high:
                        scaled(samples, step, length, x + j * length, eps, sets, j)
        affine(n, of, elements, k, gamma, beta, sets, c, a, b)
        if flat:
            columns_affine(samples, columns, x, c, a, b, y)
        else:
            stretches_affine(samples, n, length, step, x + k * length, c, a, b, y + k * length)
        k += n
    outside(channels, sets.var, low, high, &bad)
    for k in range(channels if bad else 0):
        if not low <= sets.var[k] <= high:
            for s in range(samples):
                for i in range(length):
                    j = s * step + k * length + i
                    at = k * length + i if elements else k
                    write_scaled(1, x + j, sets, k, 1 if gamma == NULL else gamma[at],
                                 0 if beta == NULL else beta[at], y + j)
    free(base)
    return True


cdef CVOID affine(Py_ssize_t channels, Py_ssize_t of, bint elements, Py_ssize_t first,
                  const floating* gamma, const floating* beta, const Sets* sets, floating* c, floating* a,
                  floating* b) noexcept nogil:
    """Of each column, `of` of them a channel: gamma x_hat + beta = (x - c) a + b."""
    cdef Py_ssize_t k, j, at
    cdef double g
    cdef const double* center = sets.center + first
    cdef const double* offset = sets.offset + first
    cdef const double* rate = sets.rate + first
    if of == 1 and gamma != NULL:
        for k in range(channels):
            g = rate[k] * gamma[first + k]
            c[k] = <floating> center[k]
            a[k] = <floating> g
            b[k] = <floating> (beta[first + k] - offset[k] * g)
    else:
        for k in range(channels):
            for j in range(k * of, k * of + of):
                at = first + (j if elements else k)
                g = rate[k] * (1 if gamma == NULL else gamma[at])
                c[j] = <floating> center[k]
                a[j] = <floating> g
                b[j] = <floating> ((0 if beta == NULL else <double> beta[at]) - offset[k] * g)


cdef CVOID stretch_products(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, Py_ssize_t step,
                            const floating* x, const floating* dy, const floating* one, const floating* c,
                            const floating* rate, const floating* shift, double* first,
                            double* second) noexcept nogil:
    """first += sum (dy - one), second += sum (dy - one) x_hat of each channel; samples are `step` apart."""
    cdef Py_ssize_t _, k
    cdef double s, t
    for _ in range(samples):
        for k in range(channels):
            products(length, x + k * length, dy + k * length, one[k], c[k], rate[k], shift[k], &s, &t)
            first[k] += s
            second[k] += t
        x += step
        dy += step


cdef IVOID block_products(int count, Py_ssize_t columns, Py_ssize_t step, const floating* x,
                          const floating* dy, const floating* one, const floating* c, const floating* rate,
                          const floating* shift, apart64 first, apart64 second) noexcept nogil:
    cdef Py_ssize_t j
    cdef int k
    cdef floating v, s, t
    for j in range(columns):
        s = t = 0
        for k in range(count):
            v = dy[k * step + j] - one[j]
            s += v
            t += v * ((x[k * step + j] - c[j]) * rate[j] + shift[j])
        first[j] += s
        second[j] += t


cdef CVOID column_products(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t step, const floating* x,
                           const floating* dy, const floating* one, const floating* c, const floating* rate,
                           const floating* shift, apart64 first, apart64 second) noexcept nogil:
    """first += sum (dy - one), second += sum (dy - one) x_hat of each column; rows are `step` apart."""
    cdef Py_ssize_t r = 0
    while r + 8 <= rows:
        block_products(8, columns, step, x, dy, one, c, rate, shift, first, second)
        r += 8
        x += 8 * step
        dy += 8 * step
    while r < rows:
        block_products(1, columns, step, x, dy, one, c, rate, shift, first, second)
        r += 1
        x += step
        dy += step


cdef IVOID write_column_gradients(int count, Py_ssize_t columns, Py_ssize_t step, const floating* x,
                                  const floating* dy, const floating* one, const floating* c,
                                  const floating* a, const floating* b, const floating* d,
                                  apart dx) noexcept nogil:
    cdef Py_ssize_t j
    cdef int k
    for j in range(columns):
        for k in range(count):
            dx[k * step + j] = (dy[k * step + j] - one[j]) * a[j] + ((x[k * step + j] - c[j]) * b[j] + d[j])


cdef CVOID column_gradients(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t step, const floating* x,
                            const floating* dy, const floating* one, const floating* c, const floating* a,
                            const floating* b, const floating* d, apart dx) noexcept nogil:
    """dx = (dy - one) a + (x - c) b + d in each column; rows are `step` apart."""
    cdef Py_ssize_t r = 0
    while r + 4 <= rows:
        write_column_gradients(4, columns, step, x, dy, one, c, a, b, d, dx)
        r += 4
        x += 4 * step
        dy += 4 * step
        dx += 4 * step
    while r < rows:
        write_column_gradients(1, columns, step, x, dy, one, c, a, b, d, dx)
        r += 1
        x += step
        dy += step
        dx += step


cdef CVOID stretch_gradients(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, Py_ssize_t step,
                             const floating* x, const floating* dy, const floating* one, const floating* c,
                             const floating* a, const floating* b, const floating* d,
                             floating* dx) noexcept nogil:
    """dx = (dy - one) a + (x - c) b + d in each channel; samples are `step` apart."""
    cdef Py_ssize_t _, k, i
    cdef floating mean, first, a_k, b_k, d_k
    for _ in range(samples):
        for k in range(channels):
            first, mean, a_k, b_k, d_k = one[k], c[k], a[k], b[k], d[k]
            for i in range(k * length, k * length + length):
                dx[i] = (dy[i] - first) * a_k + ((x[i] - mean) * b_k + d_k)
        x += step
        dy += step
        dx += step


cdef void channel_scaled(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, bint elements,
                         Py_ssize_t k, const floating* x, const floating* dy, const floating* gamma,
                         const Sets* sets, floating* dx, double* dgamma, double* dbeta) noexcept nogil:
    """A channel in doubles, where a product may leave the range of the dtype."""
    cdef Py_ssize_t i, j, s, at
    cdef double sum_v = 0, sum_vu = 0, u, g
    if dgamma != NULL:
        for i in range(length if elements else 1):
            at = k * length + i if elements else k
            dgamma[at] = dbeta[at] = 0
    for s in range(samples):
        for i in range(length):
            j = (s * channels + k) * length + i
            at = k * length + i if elements else k
            u = normalized(x[j], sets, k)
            g = 1 if gamma == NULL else gamma[at]
            sum_v += dy[j] * g
            sum_vu += dy[j] * g * u
            if dgamma != NULL:
                dgamma[at] += dy[j] * u
                dbeta[at] += dy[j]
    sum_v /= samples * length
    sum_vu /= samples * length
    for s in range(samples):
        for i in range(length):
            j = (s * channels + k) * length + i
            at = k * length + i if elements else k
            u = normalized(x[j], sets, k)
            g = 1 if gamma == NULL else gamma[at]
            dx[j] = <floating> ((dy[j] * g - sum_v - u * sum_vu) * sets.rate[k])


cdef bint batch_backward(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t length, bint elements,
                         const floating* x, const floating* dy, const floating* gamma, const Sets* sets,
                         floating* dx, double* dgamma, double* dbeta) noexcept nogil:
    """Of each channel, with v = dL/dx_hat = gamma dy:

        dx = rate (v - mean(v) - x_hat mean(v x_hat)),   dgamma = sum dy x_hat,   dbeta = sum dy

    Without gamma, dgamma and dbeta are NULL. False: no memory.
    """
    cdef bint flat = length < SHORT or elements
    cdef Py_ssize_t k, n, of = length if flat else 1, step = channels * length
    # As many channels as leave x and dy in the cache for a second look.
    cdef Py_ssize_t at_once = channels_at_once(channels, length)
    if flat:
        at_once = min(channels, max(1, TILE // length))
        if samples * TILE * sizeof(floating) > FAST:
            at_once = channels
    cdef Py_ssize_t width = at_once * of
    cdef double* first = <double*> malloc(width * (2 * sizeof(double) + 5 * sizeof(floating)))
    cdef double* second = first + width
    cdef floating* c = <floating*> (second + width)
    cdef floating* a = c + width
    cdef floating* b = a + width
    cdef floating* d = b + width
    cdef floating* one = d + width
    cdef double bad
    if first == NULL:
        return False
    k = 0
    while k < channels:
        n = min(at_once, channels - k)
        width = n * of
        memset(first, 0, width * sizeof(double))
        memset(second, 0, width * sizeof(double))
        normal(samples, n, of, elements, k, length, step, sets, dy, one, c, a, b)
        if flat:
            column_products(samples, width, step, x + k * length, dy + k * length, one, c, a, b,
                            <apart64> first, <apart64> second)
        else:
            stretch_products(samples, n, length, step, x + k * length, dy + k * length, one, c, a, b, first,
                             second)
        slopes(n, of, elements, k, samples * length, gamma, sets, one, first, second, a, b, d,
               <apart64> dgamma, <apart64> dbeta)
        if flat:
            if floating is float:
                column_gradients(samples, width, step, x + k * length, dy + k * length, one, c, a, b, d,
                                 <apart32> (dx + k * length))
            else:
                column_gradients(samples, width, step, x + k * length, dy + k * length, one, c, a, b, d,
                                 <apart64> (dx + k * length))
        else:
            stretch_gradients(samples, n, length, step, x + k * length, dy + k * length, one, c, a, b, d,
                              dx + k * length)
        k += n
    outside(channels, sets.rate, 1 / moderate(c[0]), moderate(c[0]), &bad)
    for k in range(channels if bad else 0):
        if not 1 / moderate(c[0]) <= sets.rate[k] <= moderate(c[0]):
            channel_scaled(samples, channels, length, elements, k, x, dy, gamma, sets, dx, dgamma, dbeta)
    free(first)
    return True


cdef CVOID normal(Py_ssize_t samples, Py_ssize_t channels, Py_ssize_t of, bint elements, Py_ssize_t at,
                  Py_ssize_t length, Py_ssize_t step, const Sets* sets, const floating* dy, floating* one,
                  floating* c, floating* a, floating* b) noexcept nogil:
    """Of each column, `of` of them a channel: x_hat = (x - c) a + b; one is common to the dy of a channel."""
    cdef Py_ssize_t k, j
    cdef const double* center = sets.center + at
    cdef const double* offset = sets.offset + at
    cdef const double* rate = sets.rate + at
    if of == 1:
        for k in range(channels):
            one[k] = common_of(samples, step, dy + (at + k) * length)
            c[k] = <floating> center[k]
            a[k] = <floating> rate[k]
            b[k] = <floating> (-offset[k] * rate[k])
    else:
        for k in range(channels):
            for j in range(k * of, k * of + of):
                # x_hat adds up to 0 in a channel, not in each of its columns.
                one[j] = 0 if elements else common_of(samples, step, dy + (at + k) * length)
                c[j] = <floating> center[k]
                a[j] = <floating> rate[k]
                b[j] = <floating> (-offset[k] * rate[k])


cdef CVOID slopes(Py_ssize_t channels, Py_ssize_t of, bint elements, Py_ssize_t at, Py_ssize_t count,
                  const floating* gamma, const Sets* sets, const floating* one, const double* first,
                  const double* second, floating* a, floating* b, floating* d, apart64 dgamma,
                  apart64 dbeta) noexcept nogil:
    """Of each column: dx = (dy - one) a + (x - c) b + d; and the sums of the channels in dgamma and dbeta."""
    cdef Py_ssize_t k, j, i, each = count // of
    cdef double s, t, g, share = -1.0 / count
    cdef const double* offset = sets.offset + at
    cdef const double* rate = sets.rate + at
    if of == 1 and gamma != NULL:
        for k in range(channels):
            g = rate[k] * gamma[at + k]
            s = first[k] * share * g
            t = second[k] * share * g * rate[k]
            a[k] = <floating> g
            b[k] = <floating> t
            d[k] = <floating> (s - t * offset[k])
            dbeta[at + k] = first[k] + count * <double> one[k]
            dgamma[at + k] = second[k]
        return
    for k in range(channels):
        s = t = 0
        if gamma != NULL and not elements:
            dgamma[at + k] = dbeta[at + k] = 0
        for j in range(k * of, k * of + of):
            i = at * of + j if elements else at + k
            g = 1 if gamma == NULL else gamma[i]
            s += g * first[j]
            t += g * second[j]
            if gamma != NULL:
                if elements:
                    dbeta[i], dgamma[i] = first[j] + each * <double> one[j], second[j]
                else:
                    dbeta[i] += first[j] + each * <double> one[j]
                    dgamma[i] += second[j]
        s *= share * rate[k]
        t *= share * rate[k] * rate[k]
        for j in range(k * of, k * of + of):
            i = at * of + j if elements else at + k
            a[j] = <floating> (rate[k] * (1 if gamma == NULL else gamma[i]))
            b[j] = <floating> t
            d[j] = <floating> (s - t * offset[k])


# From Python -----------------------------------------------------------------------------------------------

@cython.no_gc
@cython.freelist(16)
cdef class Cache:
    """What a normalization keeps for its backward pass.

    Attributes
    ----------
    kind : str
        The function it comes from, as "batch_norm".
    x : ndarray
        The argument itself, not a copy: unchanged until the backward pass, please.
    gamma, beta : ndarray or None
        As they were given.
    eps : float
    mean, var, std : ndarray, float64
        Of each set of numbers that share them: batch norm (C,), layer norm the axes that are not normalized,
        instance norm (N, C), group norm (N, groups). var is the mean square deviation, std = sqrt(var + eps).
    x_hat : ndarray
        (x - mean) / std, computed when it is asked for.
    """

    cdef readonly str kind
    cdef readonly cnp.ndarray x
    cdef readonly object gamma
    cdef readonly double eps
    cdef readonly object beta
    # gamma and beta for the kernel: ones or zeros in place of one that is missing, None without both.
    cdef cnp.ndarray scale, shift
    cdef double* numbers         # 4 x sets: center, offset, var, rate
    cdef int lead                # axes before those that are normalized
    cdef int dtype               # of x, as it was
    # Besides the size: rows, n, period, each; or channels, samples, length, elements.
    cdef Py_ssize_t size, sets, one, two, three

    def __dealloc__(self):
        free(self.numbers)

    def __init__(self):
        raise TypeError("Cache: expected a normalization to make it, got a call")

    cdef bint unchanged(self) noexcept:
        """Whether the arrays still are what they were: Python can reshape and resize them in place."""
        if cnp.PyArray_TYPE(self.x) != self.dtype or cnp.PyArray_SIZE(self.x) != self.size:
            return False
        if self.scale is None:
            return True
        return (cnp.PyArray_TYPE(self.scale) == self.dtype and cnp.PyArray_ISCARRAY_RO(self.scale)
                and cnp.PyArray_SIZE(self.scale) == self.parameters())

    cdef Py_ssize_t parameters(self) noexcept:
        """The size of gamma."""
        if self.kind == "batch_norm":
            return self.sets * self.two if self.three else self.sets
        return self.one // self.three * self.two

    cdef int reserve(self, Py_ssize_t sets) except -1:
        self.sets = sets
        self.numbers = <double*> malloc(4 * sets * sizeof(double))
        if self.numbers == NULL:
            raise MemoryError
        return 0

    cdef cnp.ndarray statistics(self):
        cdef cnp.npy_intp[2] shape = [4, self.sets]
        cdef cnp.ndarray copy = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64, 0)
        memcpy(cnp.PyArray_DATA(copy), self.numbers, 4 * self.sets * sizeof(double))
        return copy

    cdef Sets pointers(self) noexcept:
        cdef Sets sets
        sets.center = self.numbers
        sets.offset = sets.center + self.sets
        sets.var = sets.offset + self.sets
        sets.rate = sets.var + self.sets
        return sets

    cdef tuple shape(self):
        if self.kind == "batch_norm":
            return (self.sets,)
        if self.kind == "layer_norm":
            return (<object> self.x).shape[:self.lead]
        return (len(self.x), self.two)

    @property
    def intact(self):
        """Whether x and gamma still have the dtype and size they had."""
        return self.unchanged()

    @property
    def mean(self):
        center, offset, _, _ = self.statistics()
        return (center + offset).reshape(self.shape())

    @property
    def var(self):
        return (<object> self.statistics())[2].reshape(self.shape())

    @property
    def std(self):
        _, _, var, rate = self.statistics()
        # A variance may be beyond the doubles where its root is not.
        return np.where(np.isinf(var), 1 / rate, np.sqrt(var + self.eps)).reshape(self.shape())

    @property
    def x_hat(self):
        center, offset, _, rate = self.statistics()
        if self.kind == "batch_norm":
            form, stretch = (len(self.x), self.sets, -1), (1, -1, 1)
        else:
            form, stretch = (self.sets, -1), (-1, 1)
        center, offset, rate = (a.reshape(stretch) for a in (center, offset, rate))
        # Halves, because a difference may be beyond the doubles.
        result = ((0.5 * self.x.reshape(form) - 0.5 * center) - 0.5 * offset) * rate * 2
        return result.astype(self.x.dtype).reshape((<object> self.x).shape)

    def __repr__(self):
        x = <object> self.x
        return f"<cache of {self.kind}: x {x.shape} {x.dtype}, mean and std {self.shape()}>"

    def __reduce__(self):
        return _restore, (self.kind, self.x, self.gamma, self.eps, self.beta, self.scale,
                          self.statistics(), self.lead, self.sets, self.one, self.two, self.three)


def _restore(kind, cnp.ndarray x, gamma, eps, beta, scale, statistics, lead, *numbers):
    cdef Cache cache = Cache.__new__(Cache)
    cache.kind, cache.x, cache.gamma, cache.eps, cache.beta = kind, x, gamma, eps, beta
    cache.scale, cache.lead = scale, lead
    _, cache.one, cache.two, cache.three = numbers
    cache.dtype, cache.size = cnp.PyArray_TYPE(x), cnp.PyArray_SIZE(x)
    cdef cnp.ndarray copy = statistics
    cache.reserve(numbers[0])
    memcpy(cache.numbers, cnp.PyArray_DATA(copy), 4 * cache.sets * sizeof(double))
    return cache


cdef inline bint fits(object a, int dtype) noexcept:
    """Whether a is an array of that dtype in C order."""
    return (cnp.PyArray_CheckExact(a) and cnp.PyArray_TYPE(<cnp.ndarray> a) == dtype
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> a))


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int i, n = cnp.PyArray_NDIM(a)
    if cnp.PyArray_NDIM(b) != n:
        return False
    for i in range(n):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
    return True


cdef inline bint shares(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two arrays in C order have memory in common; b may be None."""
    if b is None:
        return False
    cdef char* p = <char*> cnp.PyArray_DATA(a)
    cdef char* q = <char*> cnp.PyArray_DATA(b)
    return q < p + cnp.PyArray_NBYTES(a) and p < q + cnp.PyArray_NBYTES(b)


cdef cnp.ndarray like(cnp.ndarray x):
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)


cdef cnp.ndarray result(object out, cnp.ndarray x, cnp.ndarray other):
    """A new array like x, or `out` if it can take the result; else None."""
    if out is None:
        return like(x)
    if not (fits(out, cnp.PyArray_TYPE(x)) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out)
            and same_shape(out, x) and not shares(out, x) and not shares(out, other)):
        return None
    return out


cdef inline int parameter(cnp.ndarray x, object gamma, int lead) noexcept:
    """1: a number for each element of the axes from `lead` on; 2: for each channel; 0: neither."""
    cdef int i, n
    cdef cnp.ndarray a
    if not fits(gamma, cnp.PyArray_TYPE(x)):
        return 0
    a = gamma
    n = cnp.PyArray_NDIM(a)
    if n == cnp.PyArray_NDIM(x) - lead:
        for i in range(n):
            if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(x, lead + i):
                return 0
        return 1
    if lead == 1 and n == 1 and cnp.PyArray_DIM(a, 0) == cnp.PyArray_DIM(x, 1):
        return 2
    return 0


cdef inline PyThreadState* let_others(Py_ssize_t n) noexcept:
    return PyEval_SaveThread() if n > WORK else NULL


cdef inline void done_with(PyThreadState* state) noexcept:
    if state != NULL:
        PyEval_RestoreThread(state)


cdef inline bint ready(object x, double eps) noexcept:
    """Whether x is an array of floats in C order, not empty, and eps in its range."""
    return ((fits(x, cnp.NPY_FLOAT32) or fits(x, cnp.NPY_FLOAT64)) and cnp.PyArray_SIZE(<cnp.ndarray> x) > 0
            and 0 < eps < 1e308)


cdef Cache prepare(str kind, cnp.ndarray x, object gamma, object beta, double eps, int lead, cnp.ndarray y,
                   int* what):
    """A cache with gamma and beta for the kernel, and what they are (`parameter`), 3 for none; None if one
    does not fit, or shares memory with y."""
    cdef Cache cache = Cache.__new__(Cache)
    cdef cnp.ndarray given
    cdef int i
    what[0] = 3
    for some in (gamma, beta):
        if some is None:
            continue
        i = parameter(x, some, lead)
        if not i or (what[0] != 3 and i != what[0]) or shares(y, some):
            return None
        what[0] = i
    cache.kind, cache.x, cache.gamma, cache.beta, cache.eps, cache.lead = kind, x, gamma, beta, eps, lead
    cache.dtype, cache.size = cnp.PyArray_TYPE(x), cnp.PyArray_SIZE(x)
    if what[0] != 3:
        cache.scale, cache.shift = gamma, beta
        given = gamma if beta is None else beta
        if gamma is None:
            cache.scale = like(given)
            cache.scale.fill(1)
        elif beta is None:
            cache.shift = like(given)
            cache.shift.fill(0)
    return cache


def rows(str kind, x_, gamma, beta, int lead, Py_ssize_t groups, double eps, out):
    """Normalize rows: the axes from `lead` on, cut into groups. None if an argument does not fit."""
    cdef cnp.ndarray x, y
    cdef int i, what
    cdef Py_ssize_t outer = 1, n = 1, each
    cdef Cache cache
    cdef Sets sets
    if not ready(x_, eps):
        return None
    x = x_
    if not 0 <= lead < cnp.PyArray_NDIM(x):
        return None
    for i in range(lead):
        outer *= cnp.PyArray_DIM(x, i)
    for i in range(lead, cnp.PyArray_NDIM(x)):
        n *= cnp.PyArray_DIM(x, i)
    if groups != 1 and (groups < 1 or cnp.PyArray_DIM(x, 1) % groups):
        return None
    y = result(out, x, x)
    if y is None:
        return None
    cache = prepare(kind, x, gamma, beta, eps, lead, y, &what)
    if cache is None:
        return None
    each = 1 if what == 1 else n // cnp.PyArray_DIM(x, 1) if what == 2 else n // groups
    cache.one, cache.two, cache.three = n // groups, groups, each
    cache.reserve(outer * groups)
    sets = cache.pointers()
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* gp = NULL if cache.scale is None else cnp.PyArray_DATA(cache.scale)
    cdef void* bp = NULL if cache.shift is None else cnp.PyArray_DATA(cache.shift)
    cdef PyThreadState* state = let_others(cnp.PyArray_SIZE(x))
    if cache.dtype == cnp.NPY_FLOAT32:
        rows_forward(cache.sets, cache.one, groups, each, <const float*> xp, <const float*> gp,
                     <const float*> bp, eps, &sets, <float*> yp)
    else:
        rows_forward(cache.sets, cache.one, groups, each, <const double*> xp, <const double*> gp,
                     <const double*> bp, eps, &sets, <double*> yp)
    done_with(state)
    return y, cache


cdef object cast(cnp.ndarray like_, const double* numbers):
    """The numbers as an array of the shape and dtype of another."""
    cdef cnp.ndarray a = like(like_)
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(a)
    cdef float* single
    cdef double* double_
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        single = <float*> cnp.PyArray_DATA(a)
        for i in range(n):
            single[i] = <float> numbers[i]
    else:
        double_ = <double*> cnp.PyArray_DATA(a)
        for i in range(n):
            double_[i] = numbers[i]
    return a


cdef object gradients(Cache cache, cnp.ndarray dx, const double* dgamma, const double* dbeta):
    return (dx, cast(cache.scale, dgamma) if cache.gamma is not None else None,
            cast(cache.scale, dbeta) if cache.beta is not None else None)


def backward(dy_, Cache cache, out):
    """The gradients of `rows` and `batch`; None if an argument does not fit."""
    cdef cnp.ndarray dy, dx, x = cache.x
    cdef int dtype = cnp.PyArray_TYPE(x)
    cdef Py_ssize_t total = 0 if cache.scale is None else cnp.PyArray_SIZE(cache.scale)
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x)
    cdef bint batch = cache.kind == "batch_norm", done = True
    cdef Sets sets = cache.pointers()
    cdef double* dgamma = NULL
    cdef double* dbeta = NULL
    cdef char* some = NULL
    cdef void* gp = NULL
    if not fits(dy_, dtype):
        return None
    dy = dy_
    if not (same_shape(dy, x) and cnp.PyArray_ISCARRAY_RO(x) and cache.unchanged()):
        return None
    dx = result(out, x, dy)
    if dx is None:
        return None
    if total:
        dgamma = <double*> malloc(total * (2 * sizeof(double) + 2 * size))
        if dgamma == NULL:
            raise MemoryError
        dbeta = dgamma + total
        some = <char*> (dbeta + total)
        memset(dgamma, 0, total * (2 * sizeof(double) + 2 * size))
        gp = cnp.PyArray_DATA(cache.scale)
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* vp = cnp.PyArray_DATA(dy)
    cdef void* up = cnp.PyArray_DATA(dx)
    cdef PyThreadState* state = let_others(cnp.PyArray_SIZE(x))
    if batch:
        if dtype == cnp.NPY_FLOAT32:
            done = batch_backward(cache.one, cache.sets, cache.two, cache.three, <const float*> xp,
                                  <const float*> vp, <const float*> gp, &sets, <float*> up, dgamma, dbeta)
        else:
            done = batch_backward(cache.one, cache.sets, cache.two, cache.three, <const double*> xp,
                                  <const double*> vp, <const double*> gp, &sets, <double*> up, dgamma, dbeta)
    elif dtype == cnp.NPY_FLOAT32:
        rows_backward(cache.sets, cache.one, cache.two, cache.three, <const float*> xp, <const float*> vp,
                      <const float*> gp, &sets, <float*> up, <float*> some, <float*> (some + total * size),
                      <apart64> dgamma, <apart64> dbeta)
    else:
        rows_backward(cache.sets, cache.one, cache.two, cache.three, <const double*> xp, <const double*> vp,
                      <const double*> gp, &sets, <double*> up, <double*> some,
                      <double*> (some + total * size), <apart64> dgamma, <apart64> dbeta)
    done_with(state)
    try:
        if not done:
            raise MemoryError
        return gradients(cache, dx, dgamma, dbeta)
    finally:
        free(dgamma)


def batch(x, gamma, beta, double eps, mean, var, double momentum, bint unbiased, out):
    """Normalize channels; running mean and var, if given, are updated. None if an argument does not fit."""
    return channels_of(x, gamma, beta, eps, mean, var, momentum, unbiased, False, out)


def inference(x, gamma, beta, mean, var, double eps, out):
    """Normalize channels by a mean and a variance that are known. None if an argument does not fit."""
    return channels_of(x, gamma, beta, eps, mean, var, 0, False, True, out)


cdef object channels_of(x_, gamma, beta, double eps, mean, var, double momentum, bint unbiased, bint known,
                        out):
    cdef cnp.ndarray x, y, first, second
    cdef int i, what
    cdef Py_ssize_t samples, channels, length = 1, count
    cdef Cache cache
    cdef Sets sets
    cdef bint done, negative
    if not ready(x_, eps):
        return None
    x = x_
    if cnp.PyArray_NDIM(x) < 2:
        return None
    samples, channels = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    for i in range(2, cnp.PyArray_NDIM(x)):
        length *= cnp.PyArray_DIM(x, i)
    count = samples * length
    if not known and (count < 2 or not 0 <= momentum <= 1):
        return None
    y = result(out, x, x)
    if y is None:
        return None
    cache = prepare("batch_norm", x, gamma, beta, eps, 1, y, &what)
    if cache is None:
        return None
    if mean is not None or var is not None:
        if not (fits(mean, cache.dtype) and fits(var, cache.dtype)):
            return None
        first, second = mean, var
        if not parameter(x, first, 1) or not same_shape(first, second) or cnp.PyArray_NDIM(first) != 1:
            return None
        if shares(y, first) or shares(y, second):
            return None
        if not known:
            if not (cnp.PyArray_ISWRITEABLE(first) and cnp.PyArray_ISWRITEABLE(second)):
                return None
            if shares(first, second):
                return None
            for some in (first, second):
                if shares(some, x) or shares(some, gamma) or shares(some, beta):
                    return None
    elif known:
        return None
    cache.one, cache.two, cache.three = samples, length, what == 1 and length > 1
    cache.reserve(channels)
    sets = cache.pointers()
    cdef void* xp = cnp.PyArray_DATA(x)
    cdef void* yp = cnp.PyArray_DATA(y)
    cdef void* gp = NULL if cache.scale is None else cnp.PyArray_DATA(cache.scale)
    cdef void* bp = NULL if cache.shift is None else cnp.PyArray_DATA(cache.shift)
    cdef void* mp = NULL if mean is None else cnp.PyArray_DATA(first)
    cdef void* vp = NULL if mean is None else cnp.PyArray_DATA(second)
    cdef double more = <double> count / (count - 1) if unbiased and count > 1 else 1
    if known:
        if cache.dtype == cnp.NPY_FLOAT32:
            negative = take(channels, <const float*> mp, <const float*> vp, eps, &sets)
        else:
            negative = take(channels, <const double*> mp, <const double*> vp, eps, &sets)
        if negative:
            return None
    cdef PyThreadState* state = let_others(cnp.PyArray_SIZE(x))
    if cache.dtype == cnp.NPY_FLOAT32:
        done = batch_forward(samples, channels, length, cache.three, <const float*> xp, <const float*> gp,
                             <const float*> bp, eps, known, &sets, <float*> yp)
    else:
        done = batch_forward(samples, channels, length, cache.three, <const double*> xp, <const double*> gp,
                             <const double*> bp, eps, known, &sets, <double*> yp)
    if done and not known and mp != NULL:
        if cache.dtype == cnp.NPY_FLOAT32:
            update(channels, momentum, more, &sets, <float*> mp, <float*> vp)
        else:
            update(channels, momentum, more, &sets, <double*> mp, <double*> vp)
    done_with(state)
    if not done:
        raise MemoryError
    return y if known else (y, cache)


cdef bint take(Py_ssize_t n, const floating* mean, const floating* var, double eps,
               Sets* sets) noexcept nogil:
    """False, and the statistics; or True if a variance is negative."""
    cdef Py_ssize_t k
    for k in range(n):
        if var[k] < 0:
            return True
        sets.center[k] = mean[k]
        sets.offset[k] = 0
        sets.var[k] = var[k]
        sets.rate[k] = 1 / sqrt(var[k] + eps)
    return False


cdef void update(Py_ssize_t n, double momentum, double more, const Sets* sets, floating* mean,
                 floating* var) noexcept nogil:
    """mean and var move towards those of the batch; `more` is m/(m - 1), or 1."""
    cdef Py_ssize_t k
    for k in range(n):
        mean[k] = <floating> (mean[k] + momentum * ((sets.center[k] - mean[k]) + sets.offset[k]))
        var[k] = <floating> (var[k] + momentum * (sets.var[k] * more - var[k]))
