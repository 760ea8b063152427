"""The slow, obvious NumPy form of every algorithm in the package: what a student writes from the equation."""

import math

import numpy as np


def dense_product(A, x):
    """y_i = sum_j a_ij x_j."""
    return np.array([sum(A[i, j] * x[j] for j in range(len(x))) for i in range(len(A))])


def csr_product(data, indices, indptr, x):
    """y_i = sum over the entries of row i."""
    y = np.zeros(len(indptr) - 1)
    for i in range(len(y)):
        for k in range(indptr[i], indptr[i + 1]):
            y[i] += data[k] * x[indices[k]]
    return y


def dia_product(data, offsets, x):
    """data[k, j] is the entry in row j - offsets[k] and column j."""
    n = len(x)
    y = np.zeros(n)
    for diagonal, offset in zip(data, offsets, strict=True):
        for j in range(min(n, len(diagonal))):
            if 0 <= j - offset < n:
                y[j - offset] += diagonal[j] * x[j]
    return y


def poisson_product(u):
    """4 u - the four neighbors on a grid, and u = 0 outside."""
    padded = np.pad(u, 1)
    return 4 * u - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:]


def jacobi(A):
    """M = diag(A)^-1 as a matrix."""
    return np.diag(1 / np.diag(A))


def incomplete_cholesky(A):
    """L with (L L^T)_ij = a_ij wherever the lower triangle of A is not zero."""
    n = len(A)
    L = np.zeros_like(A)
    for i in range(n):
        for j in range(i + 1):
            if A[i, j] != 0:
                s = A[i, j] - sum(L[i, k] * L[j, k] for k in range(j))
                L[i, j] = np.sqrt(s) if i == j else s / L[j, j]
    return L


def cg(A, b, x, M, steps):
    """All points of the preconditioned method, the start among them."""
    points = [x]
    r = b - A @ x
    z = M @ r
    d = z
    for _ in range(steps):
        step = (r @ z) / (d @ A @ d)
        x = x + step * d
        r_new = r - step * (A @ d)
        z_new = M @ r_new
        beta = (r_new @ z_new) / (r @ z)
        d = z_new + beta * d
        r, z = r_new, z_new
        points.append(x)
    return points


def steepest_descent(A, b, x, steps):
    """All points on f(x) = x.A x / 2 - b.x with the exact step, the start among them."""
    points = [x]
    for _ in range(steps):
        g = A @ x - b
        x = x - (g @ g) / (g @ A @ g) * g
        points.append(x)
    return points


def fletcher_reeves(g, g_last, d_last):
    return sum(g**2) / sum(g_last**2)


def polak_ribiere(g, g_last, d_last):
    return sum(g * (g - g_last)) / sum(g_last**2)


def polak_ribiere_plus(g, g_last, d_last):
    return max(polak_ribiere(g, g_last, d_last), 0.0)


def hestenes_stiefel(g, g_last, d_last):
    return sum(g * (g - g_last)) / sum(d_last * (g - g_last))


def wolfe(phi, f0, slope0, step, c1, c2):
    """Whether the step satisfies the strong Wolfe conditions."""
    f, slope = phi(step)
    return f <= f0 + c1 * step * slope0 and abs(slope) <= c2 * abs(slope0)


def strong_wolfe(f0, slope0, step0, c1, c2, max_step=math.inf):
    """The search of More and Thuente: yields steps, is sent (value, slope), returns the one it accepts.

    Points are (step, value, slope). x is the best end of the interval, y the other, once it is bracketed.
    """
    x = y = (0.0, f0, slope0)
    bracketed, shifted = False, True
    width = last_width = wall = math.inf
    step = min(step0, max_step)
    low, high = 0.0, 5.0 * step
    for _ in range(60):
        f, slope = yield step
        if not (math.isfinite(f) and math.isfinite(slope)):
            wall, step = step, x[0] + 0.1 * (step - x[0])
            if not x[0] < step < wall:
                break
            continue
        promised = f0 + c1 * step * slope0
        if f <= promised + 4 * 2.0**-52 * abs(f0) and abs(slope) <= c2 * abs(slope0):
            return step
        if step == max_step and f <= promised and slope <= c1 * slope0:
            return step
        if f <= promised and slope >= 0:
            shifted = False
        # psi(t) = phi(t) - phi(0) - c1 t phi'(0) where it stands in for phi
        tilt = c1 * slope0 if shifted and promised < f <= x[1] else 0.0
        tilted = [(t, v - tilt * t, s - tilt) for t, v, s in (x, y, (step, f, slope))]
        x, y, trial, bracketed = more_thuente_update(*tilted, bracketed, low, high)
        x, y = [(t, v + tilt * t, s + tilt) for t, v, s in (x, y)]
        if bracketed:
            if abs(y[0] - x[0]) >= 0.66 * last_width:
                trial = x[0] + 0.5 * (y[0] - x[0])
            last_width, width = width, abs(y[0] - x[0])
            low, high = min(x[0], y[0]), max(x[0], y[0])
            if not low < trial < high:
                trial = x[0] + 0.1 * (y[0] - x[0])
            if not low < trial < high or high - low <= 2.0**-52 * high:
                break
        else:
            low, high = trial + 1.1 * (trial - x[0]), trial + 4.0 * (trial - x[0])
            trial = min(trial, max_step)
        if trial >= wall:
            trial = x[0] + 0.5 * (wall - x[0])
        if trial == step:
            break
        step = trial
    return x[0] if x[1] < f0 else None


def more_thuente_update(x, y, new, bracketed, low, high):
    """The new interval, the next trial, and whether a minimizer lies inside: section 4, cases 1 to 4."""
    t, f, s = new
    secant = t + s / (s - x[2]) * (x[0] - t) if s != x[2] else t
    if f > x[1]:
        cubic = cubic_minimizer(x, new)
        quadratic = x[0] + 0.5 * x[2] / ((x[1] - f) / (t - x[0]) + x[2]) * (t - x[0])
        nearer = abs(cubic - x[0]) < abs(quadratic - x[0])
        return x, new, cubic if nearer else (cubic + quadratic) / 2, True
    if s * x[2] < 0:
        cubic = cubic_minimizer(new, x)
        return new, x, cubic if abs(cubic - t) > abs(secant - t) else secant, True
    if abs(s) < abs(x[2]):
        theta, gamma = cubic_terms(new, x)
        r = (gamma - s + theta) / (2 * gamma + x[2] - s) if gamma else 0.0
        cubic = t + r * (x[0] - t) if r < 0 else high if t > x[0] else low
        if not bracketed:
            trial = cubic if abs(cubic - t) > abs(secant - t) else secant
            return new, y, min(max(trial, low), high), False
        trial = cubic if abs(cubic - t) < abs(secant - t) else secant
        limit = t + 0.66 * (y[0] - t)
        return new, y, min(trial, limit) if t > x[0] else max(trial, limit), True
    if bracketed:
        return new, y, cubic_minimizer(new, y), True
    return new, y, high if t > x[0] else low, False


def cubic_minimizer(a, b):
    """Of the cubic with the values and slopes of both points."""
    theta, gamma = cubic_terms(a, b)
    return a[0] + (gamma - a[2] + theta) / (2 * gamma - a[2] + b[2]) * (b[0] - a[0])


def cubic_terms(a, b):
    theta = 3 * (a[1] - b[1]) / (b[0] - a[0]) + a[2] + b[2]
    size = max(abs(theta), abs(a[2]), abs(b[2]))
    gamma = size * math.sqrt(max(0.0, (theta / size) ** 2 - (a[2] / size) * (b[2] / size)))
    return theta, math.copysign(gamma, b[0] - a[0])
