"""Softmax and the losses on it: probabilities, logarithms, value with gradient while a row is at hand.

Arrays are float32 or float64 in C order; a row is the last axis, and its top is its largest logit. The
caller has checked them (dtypes, sizes, labels in range). A row with NaN or +inf gives NaN, a logit of -inf
has probability 0.

This file is compiled without -fassociative-math: the order of operations is that of the text. Functions
that return SUMS may add in any order.
"""

cimport numpy as cnp
from cython cimport floating
from libc.math cimport log1p

from ._clones cimport CVOID, IVOID, SUMS

cnp.import_array()


cdef enum:
    LANES = 32       # maxima side by side; shorter rows are too short for vectors
    SHORT = 256      # the exponentials of shorter rows are taken together
    BLOCK = 256      # terms that are added in the dtype of the array; blocks are added in double
    ROOM = 1024      # numbers on the stack

cdef union Word:
    float value
    unsigned int bits

cdef union Word64:
    double value
    unsigned long long bits


# The exponential --------------------------------------------------------------------------------------------
#
# exp(x) = 2^k exp(r) with k = round(x / ln 2) and |r| <= ln 2 / 2; ln 2 is in two parts, the first so short
# that its product with k is exact. exp(r) = 1 + r + r^2 q(r), q fitted for the smallest relative error.
# Adding 1.5 * 2^23 (2^52) rounds to an integer and leaves it in the last bits. 2^k may be subnormal or too
# large, so it is two factors, one of them constant if it is known that x <= 0. NaN passes the comparisons.

cdef IVOID exp_single(bint falls, float x, float* y) noexcept nogil:
    cdef Word t, a, b
    cdef float k, r, q
    x = <float> -104 if x < <float> -104 else x
    if not falls:
        x = <float> 89 if x > <float> 89 else x
    t.value = x * <float> 1.44269504088896341 + <float> 12582912
    k = t.value - <float> 12582912
    r = x - k * <float> 0.693359375 + k * <float> 2.12194440e-4
    q = <float> 0.001381453825160861
    q = q * r + <float> 0.00836874544620514
    q = q * r + <float> 0.04166838899254799
    q = q * r + <float> 0.1666652113199234
    q = q * r + <float> 0.4999999403953552
    q = q * r + <float> 1
    q = q * r + <float> 1
    if falls:
        a.bits = (t.bits << 23) + (191u << 23)
        y[0] = q * a.value * <float> 5.421010862427522e-20  # 2^-64
    else:
        t.bits -= 0x4B400000u - 254u
        a.bits = t.bits >> 1
        b.bits = (t.bits - a.bits) << 23
        a.bits <<= 23
        y[0] = q * a.value * b.value


cdef IVOID exp_double(bint falls, double x, double* y) noexcept nogil:
    cdef Word64 t, a, b
    cdef double k, r, q
    x = -746.0 if x < -746.0 else x
    if not falls:
        x = 710.0 if x > 710.0 else x
    t.value = x * 1.44269504088896341 + 6755399441055744.0
    k = t.value - 6755399441055744.0
    r = x - k * 0.693145751953125 - k * 1.42860682030941723212e-6
    q = 2.4999671052535703e-08
    q = q * r + 2.763029789881842e-07
    q = q * r + 2.7557587868946914e-06
    q = q * r + 2.4801492975312748e-05
    q = q * r + 0.0001984126950462916
    q = q * r + 0.0013888888943732799
    q = q * r + 0.008333333333495476
    q = q * r + 0.041666666666529836
    q = q * r + 0.1666666666666641
    q = q * r + 0.5000000000000011
    q = q * r + 1
    q = q * r + 1
    if falls:
        a.bits = (t.bits << 52) + (1535ull << 52)
        y[0] = q * a.value * 7.458340731200207e-155  # 2^-512
    else:
        t.bits -= 0x4338000000000000ull - 2046u
        a.bits = t.bits >> 1
        b.bits = (t.bits - a.bits) << 52
        a.bits <<= 52
        y[0] = q * a.value * b.value


cdef IVOID exp_of(bint falls, floating x, floating* y) noexcept nogil:
    if floating is float:
        exp_single(falls, x, y)
    else:
        exp_double(falls, x, y)


cdef CVOID exp_all(Py_ssize_t n, const floating* x, floating* y) noexcept nogil:
    """y = exp(x)."""
    cdef Py_ssize_t i
    for i in range(n):
        exp_of(False, x[i], y + i)


# Margins ----------------------------------------------------------------------------------------------------

cdef IVOID log1p_single(float x, float* y) noexcept nogil:
    """log(1 + x) for 0 <= x <= 1 as 2 artanh(s), s = x / (2 + x), artanh(s) = s + s^3 q(s^2)."""
    cdef float s = x / (<float> 2 + x), u = s * s, q
    q = <float> 0.1400769203901291
    q = q * u + <float> 0.14000585675239563
    q = q * u + <float> 0.20010781288146973
    q = q * u + <float> 0.3333320915699005
    y[0] = <float> 2 * (s + s * u * q)


cdef IVOID log1p_double(double x, double* y) noexcept nogil:
    cdef double s = x / (2 + x), u = s * s, q
    q = 0.08507080142309392
    q = q * u + 0.04171340194539581
    q = q * u + 0.06052724376972401
    q = q * u + 0.06650530221279301
    q = q * u + 0.07693276404408876
    q = q * u + 0.09090872141588663
    q = q * u + 0.11111111979428263
    q = q * u + 0.14285714274020098
    q = q * u + 0.20000000000077842
    q = q * u + 0.33333333333333154
    y[0] = 2 * (s + s * u * q)


cdef CVOID logistic_all(Py_ssize_t n, double scale, const floating* m, floating* loss,
                        floating* slope) noexcept nogil:
    """loss = scale log(1 + exp(-m)), slope = -scale / (1 + exp(m)), by exp(-|m|): no overflow."""
    cdef Py_ssize_t i
    cdef floating x, e, y, c = <floating> scale
    for i in range(n):
        x = m[i]
        exp_of(True, x if x < 0 else -x, &e)
        if floating is float:
            log1p_single(e, &y)
        else:
            log1p_double(e, &y)
        loss[i] = c * (y - (x if x < 0 else 0))
        slope[i] = -c * (e if x > 0 else 1) / (1 + e)


# Rows -------------------------------------------------------------------------------------------------------

cdef IVOID largest(Py_ssize_t n, const floating* z, floating* top) noexcept nogil:
    """The maximum; any number if there is NaN, which the sum of the exponentials shows."""
    cdef Py_ssize_t i, k
    cdef floating lanes[LANES]
    cdef floating most = z[0]
    if n < LANES:
        for i in range(1, n):
            most = z[i] if z[i] > most else most
    else:
        for k in range(LANES):
            lanes[k] = z[k]
        i = LANES
        while i < n:
            i = min(i, n - LANES)  # the last may overlap
            for k in range(LANES):
                lanes[k] = z[i + k] if z[i + k] > lanes[k] else lanes[k]
            i += LANES
        for k in range(16):
            lanes[k] = lanes[k + 16] if lanes[k + 16] > lanes[k] else lanes[k]
        for k in range(8):
            lanes[k] = lanes[k + 8] if lanes[k + 8] > lanes[k] else lanes[k]
        most = lanes[0]
        for k in range(1, 8):
            most = lanes[k] if lanes[k] > most else most
    top[0] = most


cdef IVOID exponentials(Py_ssize_t n, const floating* z, floating top, floating* e) noexcept nogil:
    """e_j = exp(z_j - top); e may be z."""
    cdef Py_ssize_t j
    if z == e:  # one pointer: the compiler need not ask how two overlap
        for j in range(n):
            exp_of(True, e[j] - top, e + j)
    else:
        for j in range(n):
            exp_of(True, z[j] - top, e + j)


cdef SUMS add_up(Py_ssize_t n, const floating* e, double* others, double* ones) noexcept nogil:
    """others += sum_j e_j without those that are 1, ones += their number."""
    cdef Py_ssize_t i = 0, j, end
    cdef floating some, count
    while i < n:
        end = min(i + BLOCK, n)
        some = count = 0
        for j in range(i, end):
            some += 0 if e[j] == 1 else e[j]
            count += 1 if e[j] == 1 else 0
        others[0] += some
        ones[0] += count
        i = end


cdef inline Py_ssize_t rows_at_once(Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    return min(rows, ROOM // n) if n < SHORT else 1


cdef IVOID shifted(bint keep, Py_ssize_t rows, Py_ssize_t n, const floating* z, floating* e, floating* tops,
                   double* rests) noexcept nogil:
    """Of each row: its top, e_j = exp(z_j - top), rest = sum_j e_j - 1. The rows are as many as rows_at_once.

    What is 1 is counted and the rest added: if one logit stands out, rest is small and has no cancellation.
    e may be z; if it is not to be kept, it is ROOM long.
    """
    cdef Py_ssize_t i, j, end
    cdef double others = 0, ones = 0
    cdef double sums[4]
    if n >= SHORT:
        largest(n, z, tops)
        if keep:
            exponentials(n, z, tops[0], e)
            add_up(n, e, &others, &ones)
        else:
            for i in range(0, n, 1024):  # ROOM
                end = min(ROOM, n - i)
                exponentials(end, z + i, tops[0], e)
                add_up(end, e, &others, &ones)
        rests[0] = ones - 1 + others
        return
    for i in range(rows):
        largest(n, z + i * n, tops + i)
        for j in range(n):
            e[i * n + j] = z[i * n + j] - tops[i]
    exponentials(rows * n, e, 0, e)  # without remainders of vectors in each row
    for i in range(rows):
        others = ones = 0
        if n < LANES:
            sums[0] = sums[1] = sums[2] = sums[3] = 0  # shorter sums round less
            for j in range(n):
                sums[j & 3] += 0 if e[i * n + j] == 1 else e[i * n + j]
                ones += 1 if e[i * n + j] == 1 else 0
            others = (sums[0] + sums[1]) + (sums[2] + sums[3])
        else:
            add_up(n, e + i * n, &others, &ones)
        rests[i] = ones - 1 + others


cdef CVOID softmax_rows(Py_ssize_t rows, Py_ssize_t n, const floating* z, floating* p) noexcept nogil:
    """p_k = exp(z_k) / sum_j exp(z_j) of each row; p may be z."""
    cdef Py_ssize_t i, j, m, done = 0
    cdef floating tops[ROOM]
    cdef double rests[ROOM]
    cdef floating scale
    while done < rows:
        m = rows_at_once(rows - done, n)
        shifted(True, m, n, z, p, tops, rests)
        for i in range(m):
            scale = <floating> (1 / (1 + rests[i]))
            for j in range(i * n, i * n + n):
                p[j] *= scale
        z += m * n
        p += m * n
        done += m


cdef CVOID log_softmax_rows(Py_ssize_t rows, Py_ssize_t n, const floating* z, floating* y) noexcept nogil:
    """y_k = z_k - log sum_j exp(z_j) of each row; y may be z."""
    cdef Py_ssize_t i, j, m, done = 0
    cdef floating e[ROOM]
    cdef floating tops[ROOM]
    cdef double rests[ROOM]
    cdef floating log_sum
    while done < rows:
        m = rows_at_once(rows - done, n)
        shifted(False, m, n, z, e, tops, rests)
        for i in range(m):
            log_sum = <floating> log1p(rests[i])
            for j in range(i * n, i * n + n):
                y[j] = z[j] - tops[i] - log_sum
        z += m * n
        y += m * n
        done += m


cdef CVOID cross_entropy_labels(Py_ssize_t rows, Py_ssize_t n, const floating* z, const Py_ssize_t* labels,
                                floating* g, double* value) noexcept nogil:
    """value = mean_i -log p_iy with p = softmax(z) and y the label; g_ik = (p_ik - [k = y]) / rows."""
    cdef Py_ssize_t i, j, m, y, done = 0
    cdef floating tops[ROOM]
    cdef double rests[ROOM]
    cdef double total, f = 0
    cdef floating scale
    while done < rows:
        m = rows_at_once(rows - done, n)
        shifted(True, m, n, z, g, tops, rests)
        for i in range(m):
            y = i * n + labels[i]
            total = 1 + rests[i]
            f += <double> tops[i] - z[y] + log1p(rests[i])
            scale = <floating> (1 / (total * rows))
            # 1 - p without cancellation, if the label is at the top
            total = -rests[i] / (total * rows) if g[y] == 1 else g[y] / (total * rows) - 1.0 / rows
            for j in range(i * n, i * n + n):
                g[j] *= scale
            g[y] = <floating> total
        z += m * n
        g += m * n
        labels += m
        done += m
    value[0] = f / rows


cdef SUMS against(Py_ssize_t n, const floating* z, const floating* t, floating top, double* product,
                  double* mass) noexcept nogil:
    """product += sum_j t_j (top - z_j) with 0 inf = 0, mass += sum_j t_j."""
    cdef Py_ssize_t i = 0, j, end
    cdef floating some, some_mass
    while i < n:
        end = min(i + BLOCK, n)
        some = some_mass = 0
        for j in range(i, end):
            some += 0 if t[j] == 0 else t[j] * (top - z[j])
            some_mass += t[j]
        product[0] += some
        mass[0] += some_mass
        i = end


cdef CVOID cross_entropy_targets(Py_ssize_t rows, Py_ssize_t n, const floating* z, const floating* t,
                                 floating* g, double* value) noexcept nogil:
    """value = mean_i -sum_k t_ik log p_ik with p = softmax(z) and 0 log 0 = 0; g_ik = (p_ik - t_ik) / rows.

    The sum of t stands for 1, so that g is the gradient even if t does not quite add up.
    """
    cdef Py_ssize_t i, j, c, m, done = 0
    cdef floating tops[ROOM]
    cdef double rests[ROOM]
    cdef double total, product, mass, at_top, f = 0
    cdef floating scale, share = <floating> (1.0 / rows)
    while done < rows:
        m = rows_at_once(rows - done, n)
        shifted(True, m, n, z, g, tops, rests)
        for i in range(m):
            product = mass = 0
            against(n, z, t, tops[i], &product, &mass)
            total = 1 + rests[i]
            f += product + mass * log1p(rests[i])
            scale = <floating> (mass / (total * rows))
            c = 0
            if rests[i] < 1:
                while g[c] != 1:
                    c += 1
                at_top = mass - t[c] - mass * rests[i] / total
            else:
                at_top = mass * g[0] / total - t[0]
            for j in range(n):
                g[j] = g[j] * scale - t[j] * share
            g[c] = <floating> (at_top / rows)
            z += n
            t += n
            g += n
        done += m
    value[0] = f / rows


cdef SUMS squares(Py_ssize_t n, const floating* p, const floating* t, floating top, double* square,
                  double* product) noexcept nogil:
    """square += sum_j d_j^2, product += sum_j p_j (top - d_j) with d = p - t, or p without t."""
    cdef Py_ssize_t i = 0, j, end
    cdef floating d, some, some_product
    while i < n:
        end = min(i + BLOCK, n)
        some = some_product = 0
        if t != NULL:
            for j in range(i, end):
                d = p[j] - t[j]
                some += d * d
                some_product += p[j] * (top - d)
        else:
            for j in range(i, end):
                some += p[j] * p[j]
                some_product += p[j] * (top - p[j])
        square[0] += some
        product[0] += some_product
        i = end


cdef IVOID softmax_squares(bint with_targets, Py_ssize_t rows, Py_ssize_t n, const floating* z,
                           const Py_ssize_t* labels, const floating* t, floating* g,
                           double* value) noexcept nogil:
    """value = mean_i sum_k d_ik^2, d = p - t, p = softmax(z); g_ik = 2 p_ik (d_ik - sum_j p_ij d_ij) / rows.

    With c the place of the top, d_k - sum_j p_j d_j = (d_k - d_c) + sum_j p_j (d_c - d_j), where d_c and what
    is left of the sum are small without cancellation if one logit stands out and is right.
    """
    cdef Py_ssize_t i, j, m, c, y, done = 0
    cdef floating tops[ROOM]
    cdef double rests[ROOM]
    cdef double total, square, product, d, f = 0, at_label
    cdef floating scale, twice, shift
    while done < rows:
        m = rows_at_once(rows - done, n)
        shifted(True, m, n, z, g, tops, rests)
        for i in range(m):
            total = 1 + rests[i]
            c = 0
            if rests[i] < 1:
                while g[c] != 1:
                    c += 1
            scale = <floating> (1 / total)
            for j in range(n):
                g[j] *= scale
            y = -1 if with_targets else labels[i]
            d = t[c] if with_targets else c == y
            if rests[i] < 1:
                d = 1 - d - rests[i] / total
            else:
                d = g[0] - d
            square = product = 0
            squares(c, g, t, <floating> d, &square, &product)
            squares(n - c - 1, g + c + 1, t + c + 1 if with_targets else NULL, <floating> d, &square,
                    &product)
            square += d * d
            if not with_targets and y != c:
                square += 1 - 2.0 * g[y]
                product += g[y]
            f += square
            twice = <floating> (2.0 / rows)
            shift = <floating> (product - d)
            at_label = 0 if with_targets else twice * g[y] * (<double> g[y] - 1 + shift)
            d = twice * g[c] * product
            for j in range(n):
                g[j] *= twice * (shift + (g[j] - t[j] if with_targets else g[j]))
            if not with_targets:
                g[y] = <floating> at_label
            g[c] = <floating> d
            g += n
            if with_targets:
                t += n
        z += m * n
        if not with_targets:
            labels += m
        done += m
    value[0] = f / rows


cdef CVOID softmax_mse_labels(Py_ssize_t rows, Py_ssize_t n, const floating* z, const Py_ssize_t* labels,
                              floating* g, double* value) noexcept nogil:
    softmax_squares(False, rows, n, z, labels, <const floating*> NULL, g, value)


cdef CVOID softmax_mse_targets(Py_ssize_t rows, Py_ssize_t n, const floating* z, const floating* t,
                               floating* g, double* value) noexcept nogil:
    softmax_squares(True, rows, n, z, NULL, t, g, value)


cdef SUMS mse_all(Py_ssize_t rows, Py_ssize_t n, const floating* y, const floating* t, floating* g,
                  double* value) noexcept nogil:
    """value = sum_j (y_j - t_j)^2 / (2 rows), g = (y - t) / rows, all n of them in a row; g may be y."""
    cdef Py_ssize_t j
    cdef floating d, share = <floating> (1.0 / rows)
    cdef double f = 0
    for j in range(n):
        d = y[j] - t[j]
        f += <double> d * d
        g[j] = d * share
    value[0] = 0.5 * f / rows


cdef SUMS bad_target(Py_ssize_t rows, Py_ssize_t n, const floating* t, double tolerance,
                     Py_ssize_t* first) noexcept nogil:
    """The first row with a number < 0 or a sum that is not 1, NaN too; -1 if there is none."""
    cdef Py_ssize_t i, j, k, end
    cdef floating some, negative
    cdef double mass
    first[0] = -1
    for i in range(rows):
        mass = negative = 0
        j = 0
        while j < n:
            end = min(j + BLOCK, n)
            some = 0
            for k in range(j, end):
                some += t[k]
                negative += 1 if t[k] < 0 else 0
            mass += some
            j = end
        if negative > 0 or not -tolerance <= mass - 1 <= tolerance:
            first[0] = i
            return
        t += n


# Python -----------------------------------------------------------------------------------------------------

def exp(cnp.ndarray x, cnp.ndarray out):
    """out = exp(x)."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef void* a = cnp.PyArray_DATA(x)
    cdef void* b = cnp.PyArray_DATA(out)
    with nogil:
        if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
            exp_all(n, <const float*> a, <float*> b)
        else:
            exp_all(n, <const double*> a, <double*> b)


def logistic(cnp.ndarray m, double scale, cnp.ndarray loss, cnp.ndarray slope):
    """loss = scale log(1 + exp(-m)) and its slope."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(m)
    cdef void* a = cnp.PyArray_DATA(m)
    cdef void* b = cnp.PyArray_DATA(loss)
    cdef void* c = cnp.PyArray_DATA(slope)
    with nogil:
        if cnp.PyArray_TYPE(m) == cnp.NPY_FLOAT32:
            logistic_all(n, scale, <const float*> a, <float*> b, <float*> c)
        else:
            logistic_all(n, scale, <const double*> a, <double*> b, <double*> c)


def softmax(cnp.ndarray z, cnp.ndarray out):
    """out_k = exp(z_k) / sum_j exp(z_j) over the last axis; out may be z."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(z, cnp.PyArray_NDIM(z) - 1), rows = cnp.PyArray_SIZE(z) // n
    cdef void* a = cnp.PyArray_DATA(z)
    cdef void* b = cnp.PyArray_DATA(out)
    with nogil:
        if cnp.PyArray_TYPE(z) == cnp.NPY_FLOAT32:
            softmax_rows(rows, n, <const float*> a, <float*> b)
        else:
            softmax_rows(rows, n, <const double*> a, <double*> b)


def log_softmax(cnp.ndarray z, cnp.ndarray out):
    """out_k = z_k - log sum_j exp(z_j) over the last axis; out may be z."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(z, cnp.PyArray_NDIM(z) - 1), rows = cnp.PyArray_SIZE(z) // n
    cdef void* a = cnp.PyArray_DATA(z)
    cdef void* b = cnp.PyArray_DATA(out)
    with nogil:
        if cnp.PyArray_TYPE(z) == cnp.NPY_FLOAT32:
            log_softmax_rows(rows, n, <const float*> a, <float*> b)
        else:
            log_softmax_rows(rows, n, <const double*> a, <double*> b)


def cross_entropy(cnp.ndarray z, cnp.ndarray t, cnp.ndarray out):
    """The mean over rows of -sum_k t_k log p_k, p = softmax(z); its gradient goes to out.

    t: labels (intp, one for each row) or rows like z, of its dtype.
    """
    cdef Py_ssize_t n = cnp.PyArray_DIM(z, cnp.PyArray_NDIM(z) - 1), rows = cnp.PyArray_SIZE(z) // n
    cdef void* a = cnp.PyArray_DATA(z)
    cdef void* b = cnp.PyArray_DATA(t)
    cdef void* c = cnp.PyArray_DATA(out)
    cdef bint single = cnp.PyArray_TYPE(z) == cnp.NPY_FLOAT32
    cdef bint labels = cnp.PyArray_TYPE(t) != cnp.PyArray_TYPE(z)
    cdef double value = 0
    with nogil:
        if labels and single:
            cross_entropy_labels(rows, n, <const float*> a, <const Py_ssize_t*> b, <float*> c, &value)
        elif labels:
            cross_entropy_labels(rows, n, <const double*> a, <const Py_ssize_t*> b, <double*> c, &value)
        elif single:
            cross_entropy_targets(rows, n, <const float*> a, <const float*> b, <float*> c, &value)
        else:
            cross_entropy_targets(rows, n, <const double*> a, <const double*> b, <double*> c, &value)
    return value


def softmax_mse(cnp.ndarray z, cnp.ndarray t, cnp.ndarray out):
    """The mean over rows of sum_k (p_k - t_k)^2, p = softmax(z); its gradient goes to out.

    t: labels (intp, one for each row) or rows like z, of its dtype.
    """
    cdef Py_ssize_t n = cnp.PyArray_DIM(z, cnp.PyArray_NDIM(z) - 1), rows = cnp.PyArray_SIZE(z) // n
    cdef void* a = cnp.PyArray_DATA(z)
    cdef void* b = cnp.PyArray_DATA(t)
    cdef void* c = cnp.PyArray_DATA(out)
    cdef bint single = cnp.PyArray_TYPE(z) == cnp.NPY_FLOAT32
    cdef bint labels = cnp.PyArray_TYPE(t) != cnp.PyArray_TYPE(z)
    cdef double value = 0
    with nogil:
        if labels and single:
            softmax_mse_labels(rows, n, <const float*> a, <const Py_ssize_t*> b, <float*> c, &value)
        elif labels:
            softmax_mse_labels(rows, n, <const double*> a, <const Py_ssize_t*> b, <double*> c, &value)
        elif single:
            softmax_mse_targets(rows, n, <const float*> a, <const float*> b, <float*> c, &value)
        else:
            softmax_mse_targets(rows, n, <const double*> a, <const double*> b, <double*> c, &value)
    return value


def mse(cnp.ndarray y, cnp.ndarray t, cnp.ndarray out):
    """The mean over the first axis of the sums of (y - t)^2 / 2; its gradient goes to out."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(y), rows = cnp.PyArray_DIM(y, 0)
    cdef void* a = cnp.PyArray_DATA(y)
    cdef void* b = cnp.PyArray_DATA(t)
    cdef void* c = cnp.PyArray_DATA(out)
    cdef double value = 0
    with nogil:
        if cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT32:
            mse_all(rows, n, <const float*> a, <const float*> b, <float*> c, &value)
        else:
            mse_all(rows, n, <const double*> a, <const double*> b, <double*> c, &value)
    return value


def first_bad_label(cnp.ndarray labels, Py_ssize_t n):
    """The place of the first label that is not in 0, ..., n - 1; -1 if there is none."""
    cdef const Py_ssize_t* y = <const Py_ssize_t*> cnp.PyArray_DATA(labels)
    cdef Py_ssize_t i
    for i in range(cnp.PyArray_SIZE(labels)):
        if y[i] < 0 or y[i] >= n:
            return i
    return -1


def first_bad_target(cnp.ndarray t, double tolerance):
    """The first row with a number < 0 or a sum that is not 1, NaN too; -1 if there is none."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(t, cnp.PyArray_NDIM(t) - 1), rows = cnp.PyArray_SIZE(t) // n, first
    cdef void* a = cnp.PyArray_DATA(t)
    with nogil:
        if cnp.PyArray_TYPE(t) == cnp.NPY_FLOAT32:
            bad_target(rows, n, <const float*> a, tolerance, &first)
        else:
            bad_target(rows, n, <const double*> a, tolerance, &first)
    return first


def ready(value):
    """Whether it is an array that the kernels take as it is: float32 or float64 in C order, not empty."""
    if not cnp.PyArray_CheckExact(value):
        return False
    cdef cnp.ndarray a = value
    cdef int kind = cnp.PyArray_TYPE(a)
    return ((kind == cnp.NPY_FLOAT32 or kind == cnp.NPY_FLOAT64) and cnp.PyArray_ISCARRAY_RO(a)
            and cnp.PyArray_SIZE(a) > 0)


def labels_ready(value, cnp.ndarray z):
    """Whether it is an array of intp in C order, one for each row of z."""
    if not cnp.PyArray_CheckExact(value):
        return False
    cdef cnp.ndarray a = value
    cdef int i
    if (cnp.PyArray_TYPE(a) != cnp.NPY_INTP or not cnp.PyArray_ISCARRAY_RO(a)
            or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(z) - 1):
        return False
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(z, i):
            return False
    return True


def overlap(cnp.ndarray a, cnp.ndarray b):
    """Whether two arrays in C order share memory."""
    cdef char* x = <char*> cnp.PyArray_DATA(a)
    cdef char* y = <char*> cnp.PyArray_DATA(b)
    return x < y + cnp.PyArray_NBYTES(b) and y < x + cnp.PyArray_NBYTES(a)


def same(cnp.ndarray a, cnp.ndarray b):
    """Whether two arrays begin at the same place."""
    return cnp.PyArray_DATA(a) == cnp.PyArray_DATA(b)
