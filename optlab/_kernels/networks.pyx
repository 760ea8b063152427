"""Fully connected networks on a set of samples: mean cost, gradient, and Hessian times vector.

Arrays have a sample a row. A layer has W (out x in, in rows) and then b in the vector of parameters. The
products are those of BLAS, whose arrays have columns: each comment says what a product is in rows.
"""

cimport numpy as cnp
import numpy as np
from libc.math cimport exp, fmax, log, log1p, tanh
from libc.string cimport memset
from scipy.linalg.cython_blas cimport dgemm

from .surfaces cimport Compiled, Surface, follow

cnp.import_array()

cdef enum:
    MOST = 16

cdef enum Activation:
    TANH
    RELU

cdef enum Loss:
    SQUARED
    SOFTMAX
    LOGISTIC

cdef struct Network:
    int layers
    int sizes[MOST]         # inputs, hidden units, outputs
    int samples
    Activation activation
    Loss loss
    double penalty
    const double* X         # samples x sizes[0]
    const double* T         # targets, samples x outputs: numbers, one-hot rows, or -1 and 1


cdef inline void times_transposed(int m, int n, int k, const double* A, const double* B, double add,
                                  double* C) noexcept nogil:
    """C = A B^T + add C; A: m x k, B: n x k, C: m x n."""
    cdef double one = 1
    dgemm(b"T", b"N", &n, &m, &k, &one, <double*> B, &k, <double*> A, &k, &add, C, &n)


cdef inline void times(int m, int n, int k, const double* A, const double* B, double add,
                       double* C) noexcept nogil:
    """C = A B + add C; A: m x k, B: k x n, C: m x n."""
    cdef double one = 1
    dgemm(b"N", b"N", &n, &m, &k, &one, <double*> B, &n, <double*> A, &k, &add, C, &n)


cdef inline void transposed_times(int m, int n, int k, const double* A, const double* B, double add,
                                  double* C) noexcept nogil:
    """C = A^T B + add C; A: k x m, B: k x n, C: m x n."""
    cdef double one = 1
    dgemm(b"N", b"T", &n, &m, &k, &one, <double*> B, &n, <double*> A, &m, &add, C, &n)


cdef void linear(const Network* net, int layer, const double* A, const double* x, double* Z) noexcept nogil:
    """Z = A W^T + b for the layer whose parameters begin at x."""
    cdef Py_ssize_t i, j
    cdef int inputs = net.sizes[layer], outputs = net.sizes[layer + 1]
    for i in range(net.samples):
        for j in range(outputs):
            Z[i * outputs + j] = x[inputs * outputs + j]
    times_transposed(net.samples, outputs, inputs, A, x, 1, Z)


cdef void forward(const Network* net, const double* x, double** A, double* work) noexcept nogil:
    """The activations A[1], ..., A[layers], the last without the nonlinearity; they are put into work."""
    cdef Py_ssize_t i
    cdef int k
    A[0] = <double*> net.X
    for k in range(net.layers):
        A[k + 1] = work
        linear(net, k, A[k], x, A[k + 1])
        x += (net.sizes[k] + 1) * net.sizes[k + 1]
        work += <Py_ssize_t> net.samples * net.sizes[k + 1]
        if k < net.layers - 1:
            if net.activation == TANH:
                for i in range(<Py_ssize_t> net.samples * net.sizes[k + 1]):
                    A[k + 1][i] = tanh(A[k + 1][i])
            else:
                for i in range(<Py_ssize_t> net.samples * net.sizes[k + 1]):
                    A[k + 1][i] = fmax(A[k + 1][i], 0) if A[k + 1][i] == A[k + 1][i] else A[k + 1][i]


cdef double compare(const Network* net, const double* Z, double* delta) noexcept nogil:
    """The mean loss of the outputs Z and delta, its gradient in Z."""
    cdef Py_ssize_t i, j
    cdef int outputs = net.sizes[net.layers]
    cdef double f = 0, share = 1.0 / net.samples, top, total, e, r
    cdef const double* z
    cdef const double* t
    cdef double* d
    for i in range(net.samples):
        z, t, d = Z + i * outputs, net.T + i * outputs, delta + i * outputs
        if net.loss == SQUARED:
            for j in range(outputs):
                r = z[j] - t[j]
                f += 0.5 * r * r
                d[j] = r * share
        elif net.loss == SOFTMAX:
            top = z[0]
            for j in range(1, outputs):
                top = fmax(top, z[j])
            total = 0
            for j in range(outputs):
                d[j] = exp(z[j] - top)
                total += d[j]
                f -= t[j] * (z[j] - top)
            f += log(total)
            for j in range(outputs):
                d[j] = (d[j] / total - t[j]) * share
        else:
            r = t[0] * z[0]
            e = exp(-r if r > 0 else r)  # never overflows
            f += log1p(e) + (0 if r > 0 else -r)
            d[0] = -t[0] * (e if r > 0 else 1) / (1 + e) * share
    return f * share


cdef void backward_step(const Network* net, int k, const double* delta, const double* W,
                        double* result) noexcept nogil:
    """result = delta W for layer k."""
    times(net.samples, net.sizes[k], net.sizes[k + 1], delta, W, 0, result)


cdef void gradient_of_layer(const Network* net, int k, const double* delta, const double* A, double add,
                            double* g) noexcept nogil:
    """The part of g for layer k: W's is delta^T A, b's the sum of delta; `add` is as in BLAS."""
    cdef Py_ssize_t i, j
    cdef int inputs = net.sizes[k], outputs = net.sizes[k + 1]
    cdef double* gb = g + inputs * outputs
    transposed_times(outputs, inputs, net.samples, delta, A, add, g)
    if add == 0:
        memset(gb, 0, outputs * sizeof(double))
        for i in range(net.samples):
            for j in range(outputs):
                gb[j] += delta[i * outputs + j]


cdef double evaluate(const Surface* s, const double* x, double* g, double* work) noexcept nogil:
    """Mean loss + penalty/2 |x|^2 by back-propagation."""
    cdef const Network* net = <const Network*> s.more
    cdef double* A[MOST + 1]
    cdef int k, widest = widest_layer(net)
    cdef Py_ssize_t i, m = net.samples, end = s.n
    cdef double f, square = 0
    cdef double* delta = work
    cdef double* other = work + m * widest
    cdef double* swap
    forward(net, x, A, work + 2 * m * widest)
    f = compare(net, A[net.layers], delta)
    if g != NULL:
        for k in range(net.layers - 1, -1, -1):
            end -= (net.sizes[k] + 1) * net.sizes[k + 1]
            gradient_of_layer(net, k, delta, A[k], 0, g + end)
            if k > 0:
                backward_step(net, k, delta, x + end, other)
                if net.activation == TANH:
                    for i in range(m * net.sizes[k]):
                        other[i] *= 1 - A[k][i] * A[k][i]
                else:
                    for i in range(m * net.sizes[k]):
                        other[i] = other[i] if A[k][i] > 0 else 0
                swap = delta
                delta = other
                other = swap
    if net.penalty != 0:
        for i in range(s.n):
            square += x[i] * x[i]
            if g != NULL:
                g[i] += net.penalty * x[i]
        f += 0.5 * net.penalty * square
    return f


cdef void product(const Surface* s, const double* x, const double* v, double* Hv,
                  double* work) noexcept nogil:
    """H v as the derivative of the gradient along v (Pearlmutter, 1994): each array has its derivative, named
    with R."""
    cdef const Network* net = <const Network*> s.more
    cdef double* A[MOST + 1]
    cdef double* RA[MOST + 1]
    cdef int k, widest = widest_layer(net), outputs = net.sizes[net.layers]
    cdef Py_ssize_t i, j, m = net.samples, start = 0, end = s.n, size
    cdef double share = 1.0 / net.samples, p, mean
    cdef double* delta = work
    cdef double* other = delta + m * widest
    cdef double* rdelta = other + m * widest
    cdef double* rother = rdelta + m * widest
    cdef double* place = rother + m * widest
    cdef double* swap
    forward(net, x, A, place)
    compare(net, A[net.layers], delta)
    # Forward: RZ = A V^T + Vb + RA W^T, RA = a' RZ.
    for k in range(net.layers):
        place += m * net.sizes[k + 1]
    RA[0] = NULL
    for k in range(net.layers):
        size = m * net.sizes[k + 1]
        RA[k + 1] = place
        place += size
        linear(net, k, A[k], v + start, RA[k + 1])
        if k > 0:
            times_transposed(net.samples, net.sizes[k + 1], net.sizes[k], RA[k], x + start, 1, RA[k + 1])
        start += (net.sizes[k] + 1) * net.sizes[k + 1]
        if k < net.layers - 1:
            if net.activation == TANH:
                for i in range(size):
                    RA[k + 1][i] *= 1 - A[k + 1][i] * A[k + 1][i]
            else:
                for i in range(size):
                    RA[k + 1][i] = RA[k + 1][i] if A[k + 1][i] > 0 else 0
    # The loss
    for i in range(m):
        if net.loss == SQUARED:
            for j in range(outputs):
                rdelta[i * outputs + j] = RA[net.layers][i * outputs + j] * share
        elif net.loss == SOFTMAX:
            mean = 0
            for j in range(outputs):
                p = delta[i * outputs + j] / share + net.T[i * outputs + j]
                mean += p * RA[net.layers][i * outputs + j]
            for j in range(outputs):
                p = delta[i * outputs + j] / share + net.T[i * outputs + j]
                rdelta[i * outputs + j] = p * (RA[net.layers][i * outputs + j] - mean) * share
        else:
            p = -net.T[i] * delta[i] / share
            rdelta[i] = p * (1 - p) * RA[net.layers][i] * share
    # Backward: the derivatives of delta^T A and of (delta W) a'.
    for k in range(net.layers - 1, -1, -1):
        end -= (net.sizes[k] + 1) * net.sizes[k + 1]
        gradient_of_layer(net, k, rdelta, A[k], 0, Hv + end)
        if k == 0:
            break
        gradient_of_layer(net, k, delta, RA[k], 1, Hv + end)
        backward_step(net, k, delta, x + end, other)
        backward_step(net, k, rdelta, x + end, rother)
        times(net.samples, net.sizes[k], net.sizes[k + 1], delta, v + end, 1, rother)
        if net.activation == TANH:
            for i in range(m * net.sizes[k]):
                rother[i] = rother[i] * (1 - A[k][i] * A[k][i]) - 2 * A[k][i] * RA[k][i] * other[i]
                other[i] *= 1 - A[k][i] * A[k][i]
        else:
            for i in range(m * net.sizes[k]):
                rother[i] = rother[i] if A[k][i] > 0 else 0
                other[i] = other[i] if A[k][i] > 0 else 0
        swap = delta
        delta = other
        other = swap
        swap = rdelta
        rdelta = rother
        rother = swap
    for i in range(s.n):
        Hv[i] += net.penalty * v[i]


cdef int widest_layer(const Network* net) noexcept nogil:
    cdef int k, widest = 0
    for k in range(1, net.layers + 1):
        widest = max(widest, net.sizes[k])
    return widest


cdef class Trained(Compiled):
    """A network on samples; X and T are float64 in C order, a sample a row."""

    cdef Network net

    def __init__(self, const double[:, ::1] X, const double[:, ::1] T, tuple sizes, str activation, str loss,
                 double penalty):
        cdef Network* net = &self.net
        cdef Py_ssize_t units = 0
        cdef int k
        if len(sizes) > MOST:
            raise ValueError(f"hidden: expected at most {MOST - 2} layers, got {len(sizes) - 2}")
        self.owners = (X, T, sizes, activation, loss, penalty)
        self.n = 0
        net.layers = len(sizes) - 1
        for k in range(len(sizes)):
            net.sizes[k] = sizes[k]
        for k in range(net.layers):
            self.n += (net.sizes[k] + 1) * net.sizes[k + 1]
            units += net.sizes[k + 1]
        net.samples = X.shape[0]
        net.activation = {"tanh": TANH, "relu": RELU}[activation]
        net.loss = {"squared": SQUARED, "cross_entropy": SOFTMAX, "logistic": LOGISTIC}[loss]
        net.penalty = penalty
        net.X, net.T = &X[0, 0], &T[0, 0]
        self.surface.n = self.n
        self.surface.work = net.samples * (4 * widest_layer(net) + 2 * units)
        self.surface.more = net
        self.surface.evaluate, self.surface.product, self.surface.path = evaluate, product, follow

    def __reduce__(self):
        X, T, *others = self.owners
        return Trained, (np.asarray(X), np.asarray(T), *others)
