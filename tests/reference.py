"""The slow, obvious NumPy form of every algorithm in the package: what a student writes from the equation."""

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
