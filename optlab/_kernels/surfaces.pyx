"""The named costs: value with gradient, Hessian times vector, and the paths of optimizers over them.

setup.py compiles this file without re-association and contraction, so that a path has the same bits whether
the compiler inlines a cost into the loop or not. The caller has checked all arrays.
"""

cimport numpy as cnp
import numpy as np
from libc.math cimport INFINITY, cos, exp, expm1, fabs, isfinite, isinf, sin, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from ._clones cimport CVOID, IVOID
from .steps cimport Rule, Stepper

cnp.import_array()

cdef double PI = 3.141592653589793
cdef double E = 2.718281828459045


# Quadratics -------------------------------------------------------------------------------------------------

cdef double diagonal(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1/2 sum_i l_i (x_i - c_i)^2; constants: c, l."""
    cdef Py_ssize_t i
    cdef const double* eig = s.p + s.n
    cdef double f = 0, z
    for i in range(s.n):
        z = x[i] - s.p[i]
        f += eig[i] * z * z
        if g != NULL:
            g[i] = eig[i] * z
    return 0.5 * f


cdef void diagonal_product(const Surface* s, const double* x, const double* v, double* Hv,
                           double* work) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(s.n):
        Hv[i] = s.p[s.n + i] * v[i]


cdef double quadratic(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1/2 (x - c)^T A (x - c), g = A (x - c); constants: c, A in rows; workspace: 2 n."""
    cdef Py_ssize_t i, n = s.n
    cdef double f = 0
    cdef double* z = work
    cdef double* Az = work + n
    for i in range(n):
        z[i] = x[i] - s.p[i]
    quadratic_product(s, x, z, Az, NULL)
    for i in range(n):
        f += z[i] * Az[i]
        if g != NULL:
            g[i] = Az[i]
    return 0.5 * f


cdef void quadratic_product(const Surface* s, const double* x, const double* v, double* Hv,
                            double* work) noexcept nogil:
    cdef Py_ssize_t i, j, n = s.n
    cdef const double* a
    cdef double s0, s1, s2, s3
    for i in range(n):
        a = s.p + n + i * n
        s0 = s1 = s2 = s3 = 0
        for j in range(0, n - 3, 4):  # four sums do not wait for each other
            s0 += a[j] * v[j]
            s1 += a[j + 1] * v[j + 1]
            s2 += a[j + 2] * v[j + 2]
            s3 += a[j + 3] * v[j + 3]
        for j in range(n - n % 4, n):
            s0 += a[j] * v[j]
        Hv[i] = (s0 + s1) + (s2 + s3)


cdef inline double quadratic_2d(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """`quadratic` for n = 2."""
    cdef double y = x[0] - s.p[0], z = x[1] - s.p[1]
    cdef double gy = s.p[2] * y + s.p[3] * z, gz = s.p[4] * y + s.p[5] * z
    if g != NULL:
        g[0], g[1] = gy, gz
    return 0.5 * (y * gy + z * gz)


# Valleys ----------------------------------------------------------------------------------------------------

cdef inline double elongated_bowl(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1/2 x^2 + s (sqrt(1 + y^2) - 1); constant: s."""
    cdef double y2 = x[1] * x[1], r = sqrt(1 + y2)
    if g != NULL:
        g[0] = x[0]
        g[1] = s.p[0] * x[1] / r
    return 0.5 * x[0] * x[0] + s.p[0] * y2 / (1 + r)  # r - 1 would cancel


cdef void elongated_bowl_product(const Surface* s, const double* x, const double* v, double* Hv,
                                 double* work) noexcept nogil:
    cdef double r2 = 1 + x[1] * x[1]
    Hv[0] = v[0]
    Hv[1] = s.p[0] / (r2 * sqrt(r2)) * v[1]


cdef double rosenbrock(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = sum_{i < n} b (x_{i+1} - x_i^2)^2 + (1 - x_i)^2; constant: b."""
    cdef Py_ssize_t i
    cdef double f = 0, b = s.p[0], t, u
    if g != NULL:
        g[0] = 0
    for i in range(s.n - 1):
        t = x[i + 1] - x[i] * x[i]
        u = 1 - x[i]
        f += b * t * t + u * u
        if g != NULL:
            g[i] += -4 * b * x[i] * t - 2 * u
            g[i + 1] = 2 * b * t
    return f


cdef void rosenbrock_product(const Surface* s, const double* x, const double* v, double* Hv,
                             double* work) noexcept nogil:
    cdef Py_ssize_t i
    cdef double b = s.p[0]
    Hv[0] = 0
    for i in range(s.n - 1):
        Hv[i] += (2 - 4 * b * (x[i + 1] - 3 * x[i] * x[i])) * v[i] - 4 * b * x[i] * v[i + 1]
        Hv[i + 1] = -4 * b * x[i] * v[i] + 2 * b * v[i + 1]


cdef inline double rosenbrock_2d(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """`rosenbrock` for n = 2."""
    cdef double b = s.p[0], t = x[1] - x[0] * x[0], u = 1 - x[0]
    if g != NULL:
        g[0] = -4 * b * x[0] * t - 2 * u
        g[1] = 2 * b * t
    return b * t * t + u * u


cdef double extended_rosenbrock(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = sum over pairs (y, z) of b (z - y^2)^2 + (1 - y)^2; constant: b."""
    cdef Py_ssize_t i
    cdef double f0 = 0, f1 = 0, b = s.p[0], t, u
    for i in range(0, s.n - 1, 2):
        t = x[i + 1] - x[i] * x[i]
        u = 1 - x[i]
        f0 += b * t * t
        f1 += u * u
        if g != NULL:
            g[i] = -4 * b * x[i] * t - 2 * u
            g[i + 1] = 2 * b * t
    return f0 + f1


cdef void extended_rosenbrock_product(const Surface* s, const double* x, const double* v, double* Hv,
                                      double* work) noexcept nogil:
    cdef Py_ssize_t i
    cdef double b = s.p[0]
    for i in range(0, s.n - 1, 2):
        Hv[i] = (2 - 4 * b * (x[i + 1] - 3 * x[i] * x[i])) * v[i] - 4 * b * x[i] * v[i + 1]
        Hv[i + 1] = -4 * b * x[i] * v[i] + 2 * b * v[i + 1]


cdef inline double crescent(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = b/4 (x^2 + y^2 - 1)^2 + 1/2 (x - 1)^2 + 1/2 y^2; constant: b."""
    cdef double r = x[0] * x[0] + x[1] * x[1] - 1, u = x[0] - 1, b = s.p[0]
    if g != NULL:
        g[0] = b * r * x[0] + u
        g[1] = b * r * x[1] + x[1]
    return 0.25 * b * r * r + 0.5 * (u * u + x[1] * x[1])


cdef void crescent_product(const Surface* s, const double* x, const double* v, double* Hv,
                           double* work) noexcept nogil:
    cdef double b = s.p[0], r = x[0] * x[0] + x[1] * x[1] - 1, xv = 2 * b * (x[0] * v[0] + x[1] * v[1])
    Hv[0] = (b * r + 1) * v[0] + xv * x[0]
    Hv[1] = (b * r + 1) * v[1] + xv * x[1]


cdef double two_valleys(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = min(1/2 (x - 2)^2, h/2 (x + 2)^2); constant: h."""
    cdef double flat = x[0] - 2, sharp = x[0] + 2, h = s.p[0]
    if flat * flat <= h * sharp * sharp:
        if g != NULL:
            g[0] = flat
        return 0.5 * flat * flat
    if g != NULL:
        g[0] = h * sharp
    return 0.5 * h * sharp * sharp


cdef void two_valleys_product(const Surface* s, const double* x, const double* v, double* Hv,
                              double* work) noexcept nogil:
    cdef double flat = x[0] - 2, sharp = x[0] + 2, h = s.p[0]
    Hv[0] = v[0] if flat * flat <= h * sharp * sharp else h * v[0]


# Classical tests --------------------------------------------------------------------------------------------

cdef inline double beale(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = sum_{i=1}^3 t_i^2 with t_i = c_i - x (1 - y^i), c = (1.5, 2.25, 2.625)."""
    cdef double y = x[1], y2 = y * y, y3 = y2 * y
    cdef double t1 = 1.5 - x[0] * (1 - y), t2 = 2.25 - x[0] * (1 - y2), t3 = 2.625 - x[0] * (1 - y3)
    if g != NULL:
        g[0] = -2 * (t1 * (1 - y) + t2 * (1 - y2) + t3 * (1 - y3))
        g[1] = 2 * x[0] * (t1 + 2 * t2 * y + 3 * t3 * y2)
    return t1 * t1 + t2 * t2 + t3 * t3


cdef void beale_product(const Surface* s, const double* x, const double* v, double* Hv,
                        double* work) noexcept nogil:
    cdef double y = x[1], y2 = y * y, y3 = y2 * y
    cdef double t1 = 1.5 - x[0] * (1 - y), t2 = 2.25 - x[0] * (1 - y2), t3 = 2.625 - x[0] * (1 - y3)
    # Slopes of t along v, and its mixed and second derivatives in y.
    cdef double s1 = -(1 - y) * v[0] + x[0] * v[1]
    cdef double s2 = -(1 - y2) * v[0] + 2 * x[0] * y * v[1]
    cdef double s3 = -(1 - y3) * v[0] + 3 * x[0] * y2 * v[1]
    cdef double mixed = t1 + 2 * t2 * y + 3 * t3 * y2
    Hv[0] = 2 * (-(1 - y) * s1 - (1 - y2) * s2 - (1 - y3) * s3 + mixed * v[1])
    Hv[1] = 2 * (x[0] * (s1 + 2 * y * s2 + 3 * y2 * s3) + mixed * v[0]
                 + x[0] * (2 * t2 + 6 * t3 * y) * v[1])


cdef inline double himmelblau(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = (x^2 + y - 11)^2 + (x + y^2 - 7)^2."""
    cdef double t = x[0] * x[0] + x[1] - 11, u = x[0] + x[1] * x[1] - 7
    if g != NULL:
        g[0] = 4 * x[0] * t + 2 * u
        g[1] = 2 * t + 4 * x[1] * u
    return t * t + u * u


cdef void himmelblau_product(const Surface* s, const double* x, const double* v, double* Hv,
                             double* work) noexcept nogil:
    cdef double t = x[0] * x[0] + x[1] - 11, u = x[0] + x[1] * x[1] - 7
    Hv[0] = (8 * x[0] * x[0] + 4 * t + 2) * v[0] + 4 * (x[0] + x[1]) * v[1]
    Hv[1] = 4 * (x[0] + x[1]) * v[0] + (8 * x[1] * x[1] + 4 * u + 2) * v[1]


cdef inline double booth(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = (x + 2 y - 7)^2 + (2 x + y - 5)^2."""
    cdef double t = x[0] + 2 * x[1] - 7, u = 2 * x[0] + x[1] - 5
    if g != NULL:
        g[0] = 2 * t + 4 * u
        g[1] = 4 * t + 2 * u
    return t * t + u * u


cdef void booth_product(const Surface* s, const double* x, const double* v, double* Hv,
                        double* work) noexcept nogil:
    Hv[0] = 10 * v[0] + 8 * v[1]
    Hv[1] = 8 * v[0] + 10 * v[1]


cdef double styblinski_tang(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1/2 sum_i x_i^4 - 16 x_i^2 + 5 x_i."""
    cdef Py_ssize_t i
    cdef double f = 0, y
    for i in range(s.n):
        y = x[i] * x[i]
        f += y * y - 16 * y + 5 * x[i]
        if g != NULL:
            g[i] = 2 * x[i] * y - 16 * x[i] + 2.5
    return 0.5 * f


cdef void styblinski_tang_product(const Surface* s, const double* x, const double* v, double* Hv,
                                  double* work) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(s.n):
        Hv[i] = (6 * x[i] * x[i] - 16) * v[i]


cdef double rastrigin(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = sum_i x_i^2 + 10 (1 - cos 2 pi x_i)."""
    cdef Py_ssize_t i
    cdef double f = 0, half
    for i in range(s.n):
        half = sin(PI * x[i])
        f += x[i] * x[i] + 20 * half * half  # 1 - cos would cancel
        if g != NULL:
            g[i] = 2 * x[i] + 20 * PI * sin(2 * PI * x[i])
    return f


cdef void rastrigin_product(const Surface* s, const double* x, const double* v, double* Hv,
                            double* work) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(s.n):
        Hv[i] = (2 + 40 * PI * PI * cos(2 * PI * x[i])) * v[i]


cdef double ackley(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 20 (1 - exp(-r/5)) + e - exp(mean cos 2 pi x_i), r = root mean square of x.

    At 0 the cost has a tip; its gradient there is taken as 0.
    """
    cdef Py_ssize_t i, n = s.n
    cdef double r = 0, c = 0, outer, inner
    for i in range(n):
        r += x[i] * x[i]
        c += cos(2 * PI * x[i])
    r = sqrt(r / n)
    outer, inner = exp(-0.2 * r), exp(c / n)
    if g != NULL:
        for i in range(n):
            g[i] = 2 * PI / n * inner * sin(2 * PI * x[i])
            if r > 0:
                g[i] += 4 * outer / (n * r) * x[i]
    return -20 * expm1(-0.2 * r) + (E - inner)


cdef void ackley_product(const Surface* s, const double* x, const double* v, double* Hv,
                         double* work) noexcept nogil:
    cdef Py_ssize_t i, n = s.n
    cdef double r = 0, c = 0, xv = 0, sv = 0, outer, inner, w = 2 * PI
    for i in range(n):
        r += x[i] * x[i]
        c += cos(w * x[i])
        xv += x[i] * v[i]
        sv += sin(w * x[i]) * v[i]
    r = sqrt(r / n)
    outer, inner = exp(-0.2 * r), exp(c / n)
    for i in range(n):
        # At 0 this is infinite or NaN: the tip has no Hessian.
        Hv[i] = (4 * outer / (n * r) * (v[i] - x[i] * xv / (n * r * r) * (1 + 0.2 * r))
                 + w * w / n * inner * (cos(w * x[i]) * v[i] - sin(w * x[i]) * sv / n))


# Saddles and plateaus ---------------------------------------------------------------------------------------

cdef inline double saddle(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = x^2 - y^2."""
    if g != NULL:
        g[0] = 2 * x[0]
        g[1] = -2 * x[1]
    return x[0] * x[0] - x[1] * x[1]


cdef void saddle_product(const Surface* s, const double* x, const double* v, double* Hv,
                         double* work) noexcept nogil:
    Hv[0] = 2 * v[0]
    Hv[1] = -2 * v[1]


cdef inline double monkey_saddle(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = x^3 - 3 x y^2."""
    if g != NULL:
        g[0] = 3 * (x[0] * x[0] - x[1] * x[1])
        g[1] = -6 * x[0] * x[1]
    return x[0] * (x[0] * x[0] - 3 * x[1] * x[1])


cdef void monkey_saddle_product(const Surface* s, const double* x, const double* v, double* Hv,
                                double* work) noexcept nogil:
    Hv[0] = 6 * (x[0] * v[0] - x[1] * v[1])
    Hv[1] = -6 * (x[1] * v[0] + x[0] * v[1])


cdef inline double double_well(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = x^2 - y^2 + q y^4; constant: q."""
    cdef double y2 = x[1] * x[1], q = s.p[0]
    if g != NULL:
        g[0] = 2 * x[0]
        g[1] = x[1] * (4 * q * y2 - 2)
    return x[0] * x[0] + y2 * (q * y2 - 1)


cdef void double_well_product(const Surface* s, const double* x, const double* v, double* Hv,
                              double* work) noexcept nogil:
    Hv[0] = 2 * v[0]
    Hv[1] = (12 * s.p[0] * x[1] * x[1] - 2) * v[1]


cdef double product_without(Py_ssize_t n, const double* x, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """The product of all entries but i and j."""
    cdef Py_ssize_t k
    cdef double product = 1
    for k in range(n):
        if k != i and k != j:
            product *= x[k]
    return product


cdef double weight_product(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = (1 - prod_i x_i)^2."""
    cdef Py_ssize_t i, n = s.n
    cdef double t = 1 - product_without(n, x, -1, -1)
    if g != NULL:
        for i in range(n):
            g[i] = -2 * t * product_without(n, x, i, i)
    return t * t


cdef void weight_product_product(const Surface* s, const double* x, const double* v, double* Hv,
                                 double* work) noexcept nogil:
    cdef Py_ssize_t i, j, n = s.n
    cdef double t = 1 - product_without(n, x, -1, -1), slope = 0
    for j in range(n):
        slope += product_without(n, x, j, j) * v[j]
    for i in range(n):
        Hv[i] = 2 * product_without(n, x, i, i) * slope
        for j in range(n):
            if j != i:
                Hv[i] -= 2 * t * product_without(n, x, i, j) * v[j]


cdef double plateau(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1 - exp(-|x|^2)."""
    cdef Py_ssize_t i
    cdef double r2 = 0, e
    for i in range(s.n):
        r2 += x[i] * x[i]
    e = exp(-r2)
    if g != NULL:
        for i in range(s.n):
            g[i] = 2 * e * x[i]
    return -expm1(-r2)


cdef void plateau_product(const Surface* s, const double* x, const double* v, double* Hv,
                          double* work) noexcept nogil:
    cdef Py_ssize_t i
    cdef double r2 = 0, xv = 0, e
    for i in range(s.n):
        r2 += x[i] * x[i]
        xv += x[i] * v[i]
    e = exp(-r2)
    for i in range(s.n):
        Hv[i] = 2 * e * (v[i] - 2 * xv * x[i])


# Cliffs and hills -------------------------------------------------------------------------------------------

cdef double cliff(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = (sigma(h_T) - target)^2 with h_t = w sigma(h_{t-1}) + b, h_0 = 1/2 for x = (w, b); constants: T,
    target.
    """
    cdef double a, slope, error, h = 0.5, hw = 0, hb = 0
    cdef Py_ssize_t _t
    for _t in range(<Py_ssize_t> s.p[0]):
        a = 1 / (1 + exp(-h))
        slope = x[0] * a * (1 - a)
        h = x[0] * a + x[1]
        hw = slope * hw + a
        hb = slope * hb + 1
    a = 1 / (1 + exp(-h))
    error = a - s.p[1]
    if g != NULL:
        g[0] = 2 * error * a * (1 - a) * hw
        g[1] = 2 * error * a * (1 - a) * hb
    return error * error


cdef void cliff_product(const Surface* s, const double* x, const double* v, double* Hv,
                        double* work) noexcept nogil:
    # Each quantity with its derivative along v, which ends in v.
    cdef double h = 0.5, hw = 0, hb = 0, hv = 0, hwv = 0, hbv = 0, a, av, a1, a1v, slope, slopev, error, k, kv
    cdef Py_ssize_t _t
    for _t in range(<Py_ssize_t> s.p[0]):
        a = 1 / (1 + exp(-h))
        a1 = a * (1 - a)
        a1v = a1 * (1 - 2 * a) * hv
        av = a1 * hv
        slope = x[0] * a1
        slopev = v[0] * a1 + x[0] * a1v
        h = x[0] * a + x[1]
        hv = v[0] * a + x[0] * av + v[1]
        hwv = slopev * hw + slope * hwv + av
        hbv = slopev * hb + slope * hbv
        hw = slope * hw + a
        hb = slope * hb + 1
    a = 1 / (1 + exp(-h))
    a1 = a * (1 - a)
    error = a - s.p[1]
    k = 2 * error * a1
    kv = 2 * (a1 * a1 + error * a1 * (1 - 2 * a)) * hv
    Hv[0] = kv * hw + k * hwv
    Hv[1] = kv * hb + k * hbv


cdef double shared_weight(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1/2 (1/2 x^T - 1)^2; constant: T."""
    cdef double power = 1, last = 0, error
    cdef Py_ssize_t _t
    for _t in range(<Py_ssize_t> s.p[0]):
        last = power
        power *= x[0]
    error = 0.5 * power - 1
    if g != NULL:
        g[0] = error * 0.5 * s.p[0] * last
    return 0.5 * error * error


cdef void shared_weight_product(const Surface* s, const double* x, const double* v, double* Hv,
                                double* work) noexcept nogil:
    cdef double power = 1, last = 0, before = 0, slope
    cdef Py_ssize_t _t
    for _t in range(<Py_ssize_t> s.p[0]):
        before = last
        last = power
        power *= x[0]
    slope = 0.5 * s.p[0] * last
    Hv[0] = (slope * slope + (0.5 * power - 1) * 0.5 * s.p[0] * (s.p[0] - 1) * before) * v[0]


cdef double mountain(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """f = 1 / (1 + x^2) - 2 sigma(2 (x - 1)), and + 1/10 exp(-y) if n = 2."""
    cdef double q = 1 / (1 + x[0] * x[0]), a = 1 / (1 + exp(2 - 2 * x[0])), f = q - 2 * a, e
    if g != NULL:
        g[0] = -2 * x[0] * q * q - 4 * a * (1 - a)
    if s.n == 2:
        e = 0.1 * exp(-x[1])
        f += e
        if g != NULL:
            g[1] = -e
    return f


cdef void mountain_product(const Surface* s, const double* x, const double* v, double* Hv,
                           double* work) noexcept nogil:
    cdef double q = 1 / (1 + x[0] * x[0]), a = 1 / (1 + exp(2 - 2 * x[0]))
    Hv[0] = (q * q * (8 * x[0] * x[0] * q - 2) - 8 * a * (1 - a) * (1 - 2 * a)) * v[0]
    if s.n == 2:
        Hv[1] = 0.1 * exp(-x[1]) * v[1]


# Paths ------------------------------------------------------------------------------------------------------

cdef inline void record(Course* c, Py_ssize_t n, Py_ssize_t row, double f, double grad_norm,
                        double move) noexcept nogil:
    """Write a row."""
    cdef Py_ssize_t i
    cdef double* table = c.table + 4 * row * c.starts
    for i in range(n):
        c.rows[row * c.starts * n + i] = c.x[i]
    table[0] = f
    table[c.starts] = grad_norm
    table[2 * c.starts] = move
    table[3 * c.starts] = <double> (c.t * c.gradients + 1)


cdef inline double norm(Py_ssize_t n, const double* g) noexcept nogil:
    """The 2-norm."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(n):
        total += g[i] * g[i]
    return sqrt(total) if 1e-280 < total < 1e300 else scaled_norm(n, g)


cdef double scaled_norm(Py_ssize_t n, const double* g) noexcept nogil:
    """The 2-norm where squares would overflow or underflow: the largest entry is taken out."""
    cdef Py_ssize_t i
    cdef double total = 0, largest = 0
    for i in range(n):
        if g[i] != g[i]:
            return g[i]
        largest = max(largest, fabs(g[i]))
    if largest == 0 or isinf(largest):
        return largest
    total = 0
    for i in range(n):
        total += (g[i] / largest) * (g[i] / largest)
    return largest * sqrt(total)


cdef inline double difference(Py_ssize_t n, const double* x, double* y) noexcept nogil:
    """The distance of x and y; y becomes x - y where its squares overflow or underflow."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(n):
        total += (x[i] - y[i]) * (x[i] - y[i])
    if 1e-280 < total < 1e300:
        return sqrt(total)
    for i in range(n):
        y[i] = x[i] - y[i]
    return scaled_norm(n, y)


cdef void clip(Py_ssize_t n, const double* g, double bound, double limit, double* d) noexcept nogil:
    """d = g with entries within +-bound, then shortened to the norm `limit`."""
    cdef Py_ssize_t i
    cdef double size
    for i in range(n):
        d[i] = min(max(g[i], -bound), bound) if g[i] == g[i] else g[i]
    if isinf(limit):
        return
    size = norm(n, d)
    if size > limit:
        for i in range(n):
            d[i] = d[i] / size * limit  # in this order nothing overflows


cdef void follow(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    """From row t to step `stop`: the gradient, where the rule wants it, with noise, clipped; the step of the
    rule; the new gradient.

    Where the norm of the gradient is at most gtol or something is not finite, the path ends.
    """
    cdef Py_ssize_t n = s.n, i, row, due
    cdef double f, size
    cdef double* d
    cdef double* last = c.d + n
    cdef double* at = c.d + 2 * n
    cdef const double* rates
    if c.t == 0 and c.ended == 0:
        f = s.evaluate(s, c.x, c.g, c.work)
        size = norm(n, c.g)
        record(c, n, 0, f, size, 0)
        judge(c, f, size)
        if c.ended:
            finish(c, n, f, size, 0)
    row = c.t // c.every + 1
    due = min(row * c.every, c.last)  # the next step with a row
    while c.t < c.stop and c.ended == 0:
        d = c.g
        rates = c.rates + c.t * c.rates_stride
        if rule.look64 != NULL:
            rule.look64(n, rule.hyper, rates, c.t, c.x, c.slots, at)
            s.evaluate(s, at, c.d, c.work)
            d = c.d
        if c.noise != NULL:
            for i in range(n):
                c.d[i] = d[i] + c.sigma * c.noise[i]
            c.noise += n
            d = c.d
        if not (isinf(c.clip_value) and isinf(c.clip_norm)):
            clip(n, d, c.clip_value, c.clip_norm, c.d)
            d = c.d
        memcpy(last, c.x, n * sizeof(double))
        rule.step64(n, rule.hyper, rates, c.t, c.scalars, c.x, d, c.slots)
        c.t += 1
        f = s.evaluate(s, c.x, c.g, c.work)
        size = norm(n, c.g)
        judge(c, f, size)
        if c.ended:
            finish(c, n, f, size, difference(n, c.x, last))
        elif c.t == due:
            record(c, n, row, f, size, difference(n, c.x, last))
            row += 1
            due = min(due + c.every, c.last)


cdef inline void judge(Course* c, double f, double size) noexcept nogil:
    if not (isfinite(f) and isfinite(size)):
        c.ended = 2
    elif size <= c.gtol:
        c.ended = 1


cdef void finish(Course* c, Py_ssize_t n, double f, double size, double move) noexcept nogil:
    """The row of the end, wherever it comes, and all rows that are left repeat it."""
    cdef Py_ssize_t row
    for row in range((c.t + c.every - 1) // c.every, (c.last + c.every - 1) // c.every + 1):
        record(c, n, row, f, size, move)


cdef IVOID slide(value_t evaluate, const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    """`follow` for plain descent in two dimensions with nothing added: the cost is inlined, and what the loop
    needs is local."""
    cdef Py_ssize_t t = c.t, stop = c.stop, last = c.last, every = c.every, starts = c.starts, row, due
    cdef double f = 0, move = 0, size, lr, gtol = c.gtol
    cdef double x[2]
    cdef double g[2]
    cdef double* point
    cdef double* table
    if (not rule.plain or s.n != 2 or c.noise != NULL or c.rates_stride or not isinf(c.clip_norm)
            or not isinf(c.clip_value)):
        follow(s, rule, c)
        return
    if t == 0:  # the row of the start
        c.stop = 0
        follow(s, rule, c)
        c.stop = stop
    if c.ended or t == stop:
        return
    lr = c.rates[0]
    x[0], x[1], g[0], g[1] = c.x[0], c.x[1], c.g[0], c.g[1]
    size = norm(2, g)
    row = t // every + 1
    due = min(row * every, last)  # the next step with a row
    point, table = c.rows + row * starts * 2, c.table + row * starts * 4
    while t < stop:
        move = lr * size
        x[0] -= lr * g[0]
        x[1] -= lr * g[1]
        t += 1
        f = evaluate(s, x, g, NULL)
        size = norm(2, g)
        if t == due:
            point[0], point[1] = x[0], x[1]
            table[0], table[starts], table[2 * starts] = f, size, move
            table[3 * starts] = <double> (t + 1)
            due = min(due + every, last)
            point += 2 * starts
            table += 4 * starts
        if not (size > gtol and f - f == 0 and size < INFINITY):
            break
    c.t = t
    c.x[0], c.x[1], c.g[0], c.g[1] = x[0], x[1], g[0], g[1]
    judge(c, f, size)
    if c.ended:
        finish(c, 2, f, size, move)


cdef CVOID quadratic_2d_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(quadratic_2d, s, rule, c)


cdef CVOID elongated_bowl_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(elongated_bowl, s, rule, c)


cdef CVOID rosenbrock_2d_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(rosenbrock_2d, s, rule, c)


cdef CVOID crescent_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(crescent, s, rule, c)


cdef CVOID beale_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(beale, s, rule, c)


cdef CVOID himmelblau_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(himmelblau, s, rule, c)


cdef CVOID booth_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(booth, s, rule, c)


cdef CVOID saddle_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(saddle, s, rule, c)


cdef CVOID monkey_saddle_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(monkey_saddle, s, rule, c)


cdef CVOID double_well_path(const Surface* s, const Rule* rule, Course* c) noexcept nogil:
    slide(double_well, s, rule, c)


# What Python sees -------------------------------------------------------------------------------------------

cdef struct Entry:
    value_t evaluate
    product_t product
    path_t path

cdef Entry ENTRIES[32]
cdef dict PLACES = {}


cdef void enter(str name, value_t evaluate, product_t product, path_t path):
    cdef Py_ssize_t place = len(PLACES)
    ENTRIES[place].evaluate = evaluate
    ENTRIES[place].product = product
    ENTRIES[place].path = path
    PLACES[name] = place


enter("ackley", ackley, ackley_product, follow)
enter("beale", beale, beale_product, <path_t> beale_path)
enter("booth", booth, booth_product, <path_t> booth_path)
enter("cliff", cliff, cliff_product, follow)
enter("crescent", crescent, crescent_product, <path_t> crescent_path)
enter("diagonal", diagonal, diagonal_product, follow)
enter("double_well", double_well, double_well_product, <path_t> double_well_path)
enter("elongated_bowl", elongated_bowl, elongated_bowl_product, <path_t> elongated_bowl_path)
enter("extended_rosenbrock", extended_rosenbrock, extended_rosenbrock_product, follow)
enter("himmelblau", himmelblau, himmelblau_product, <path_t> himmelblau_path)
enter("monkey_saddle", monkey_saddle, monkey_saddle_product, <path_t> monkey_saddle_path)
enter("mountain", mountain, mountain_product, follow)
enter("plateau", plateau, plateau_product, follow)
enter("quadratic", quadratic, quadratic_product, follow)
enter("quadratic_2d", quadratic_2d, quadratic_product, <path_t> quadratic_2d_path)
enter("rastrigin", rastrigin, rastrigin_product, follow)
enter("rosenbrock", rosenbrock, rosenbrock_product, follow)
enter("rosenbrock_2d", rosenbrock_2d, rosenbrock_product, <path_t> rosenbrock_2d_path)
enter("saddle", saddle, saddle_product, <path_t> saddle_path)
enter("shared_weight", shared_weight, shared_weight_product, follow)
enter("styblinski_tang", styblinski_tang, styblinski_tang_product, follow)
enter("two_valleys", two_valleys, two_valleys_product, follow)
enter("weight_product", weight_product, weight_product_product, follow)


cdef class Compiled:
    """A cost of n parameters; all arrays are float64 in C order."""

    @property
    def effort(self):
        """Numbers touched by one evaluation, roughly: how long it takes."""
        return self.n + self.surface.work

    def evaluate(self, const double[::1] x, double[::1] g):
        """f(x); its gradient is written to g."""
        cdef double f
        cdef double* work = workspace(self.surface.work)
        with nogil:
            f = self.surface.evaluate(&self.surface, &x[0], &g[0], work)
        free(work)
        return f

    def product(self, const double[::1] x, const double[:, ::1] V, double[:, ::1] HV):
        """Each row of HV = H(x) times that row of V."""
        cdef Py_ssize_t i
        cdef double* work = workspace(self.surface.work)
        with nogil:
            for i in range(V.shape[0]):
                self.surface.product(&self.surface, &x[0], &V[i, 0], &HV[i, 0], work)
        free(work)

    def values(self, const double[:, ::1] points, double[::1] f):
        """f at each row of points."""
        cdef Py_ssize_t i
        cdef double* work = workspace(self.surface.work)
        with nogil:
            for i in range(points.shape[0]):
                f[i] = self.surface.evaluate(&self.surface, &points[i, 0], NULL, work)
        free(work)

    def follow(self, Stepper stepper, double[:, ::1] x, double[:, ::1] g, double[:, ::1] slots,
               double[:, ::1] scalars, int[::1] ended, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t last,
               Py_ssize_t every, const double[:, ::1] rates, const double[:, :, ::1] noise, double sigma,
               double clip_norm, double clip_value, double gtol, double[:, :, ::1] rows,
               double[:, :, ::1] table, Py_ssize_t first):
        """Take the paths at x, a row each, from step `start` to `stop`; `first` is the place of the first of
        them among all paths, which the rows (rows, starts, n) and the table (rows, 4, starts) hold."""
        cdef Course c
        cdef Py_ssize_t i, n = self.n
        cdef double* work = workspace(self.surface.work + 3 * n)
        c.stop, c.last, c.every, c.starts = stop, last, every, rows.shape[1]
        c.rates, c.rates_stride = &rates[0, 0], rates.shape[1] if rates.shape[0] > 1 else 0
        c.gradients = 2 if stepper.looks else 1
        c.sigma, c.clip_norm, c.clip_value, c.gtol = sigma, clip_norm, clip_value, gtol
        c.d, c.work = work, work + 3 * n
        with nogil:
            for i in range(x.shape[0]):
                c.t, c.ended = start, ended[i]
                c.x, c.g = &x[i, 0], &g[i, 0]
                c.slots = &slots[i, 0] if slots.shape[1] else NULL
                c.scalars = &scalars[i, 0] if scalars.shape[1] else NULL
                c.noise = &noise[i, 0, 0] if noise.shape[0] else NULL
                c.rows, c.table = &rows[0, first + i, 0], &table[0, 0, first + i]
                self.surface.path(&self.surface, &stepper.rule, &c)
                ended[i] = c.ended
        free(work)


cdef double* workspace(Py_ssize_t n) except? NULL:
    cdef double* work = <double*> malloc(max(n, 1) * sizeof(double))
    if work == NULL:
        raise MemoryError(f"no memory for {n} numbers of workspace")
    return work


cdef class Named(Compiled):
    """A cost of the table above with its constants."""

    def __init__(self, str name, Py_ssize_t n, const double[::1] constants):
        cdef Entry* entry = &ENTRIES[<Py_ssize_t> PLACES[name]]
        self.owners = (name, n, constants)
        self.n = self.surface.n = n
        self.surface.work = 2 * n
        self.surface.p = &constants[0] if constants.shape[0] else NULL
        self.surface.evaluate, self.surface.product = entry.evaluate, entry.product
        self.surface.path = entry.path

    def __reduce__(self):
        name, n, constants = self.owners
        return Named, (name, n, np.asarray(constants))
