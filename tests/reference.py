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
    for trials in range(60):
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
        hidden = trial * abs(slope0) <= 0.1 * 2.0**-52 * abs(f0)
        if trials >= 7 and f > promised + 4 * 2.0**-52 * abs(f0) and hidden:
            break  # no step this short can be seen to be lower
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


# Costs, each from its equation; complex arguments are welcome, so that they can be differentiated by the
# complex step.


def logistic_function(z):
    return 1 / (1 + np.exp(-z))


def quadratic(x, A, c):
    return 0.5 * (x - c) @ A @ (x - c)


def elongated_bowl(x, s=1000.0):
    return 0.5 * x[0] ** 2 + s * (np.sqrt(1 + x[1] ** 2) - 1)


def rosenbrock(x, b=100.0):
    return sum(b * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def extended_rosenbrock(x, b=100.0):
    return sum(b * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(0, len(x), 2))


def crescent(x, b=50.0):
    return b / 4 * (x[0] ** 2 + x[1] ** 2 - 1) ** 2 + 0.5 * (x[0] - 1) ** 2 + 0.5 * x[1] ** 2


def two_valleys(x, h=25.0):
    flat, sharp = 0.5 * (x[0] - 2) ** 2, 0.5 * h * (x[0] + 2) ** 2
    return flat if flat.real <= sharp.real else sharp


def beale(x):
    return sum((c - x[0] * (1 - x[1] ** i)) ** 2 for i, c in ((1, 1.5), (2, 2.25), (3, 2.625)))


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def booth(x):
    return (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2


def styblinski_tang(x):
    return 0.5 * sum(xi**4 - 16 * xi**2 + 5 * xi for xi in x)


def rastrigin(x):
    return sum(xi**2 + 10 * (1 - np.cos(2 * np.pi * xi)) for xi in x)


def ackley(x):
    r = np.sqrt(np.mean(x**2))
    return 20 * (1 - np.exp(-r / 5)) + np.e - np.exp(np.mean(np.cos(2 * np.pi * x)))


def saddle(x):
    return x[0] ** 2 - x[1] ** 2


def monkey_saddle(x):
    return x[0] ** 3 - 3 * x[0] * x[1] ** 2


def double_well(x, q=0.25):
    return x[0] ** 2 - x[1] ** 2 + q * x[1] ** 4


def weight_product(x):
    return (1 - np.prod(x)) ** 2


def plateau(x):
    return 1 - np.exp(-sum(x**2))


def cliff(x, steps=25, target=0.7):
    h = 0.5
    for _ in range(steps):
        h = x[0] * logistic_function(h) + x[1]
    return (logistic_function(h) - target) ** 2


def shared_weight(x, depth=20):
    return 0.5 * (0.5 * x[0] ** depth - 1) ** 2


def mountain(x):
    f = 1 / (1 + x[0] ** 2) - 2 * logistic_function(2 * (x[0] - 1))
    return f + 0.1 * np.exp(-x[1]) if len(x) == 2 else f


def network(x, X, T, sizes, activation, loss, penalty):
    """Mean loss of a network over samples, one after the other."""
    total = 0
    for row, target in zip(X, T, strict=True):
        a, start = row, 0
        for k in range(len(sizes) - 1):
            end = start + sizes[k] * sizes[k + 1]
            z = x[start:end].reshape(sizes[k + 1], sizes[k]) @ a + x[end : end + sizes[k + 1]]
            start = end + sizes[k + 1]
            a = np.tanh(z) if activation == "tanh" else z * (z.real > 0)
        if loss == "squared":
            total += 0.5 * sum((z - target) ** 2)
        elif loss == "logistic":
            total += np.log(1 + np.exp(-target[0] * z[0]))
        else:
            total -= np.log(target @ np.exp(z) / sum(np.exp(z)))
    return total / len(X) + 0.5 * penalty * sum(x**2)


def complex_step(f, x, h=1e-30):
    """The gradient of f at x to rounding: no difference is taken."""
    return np.array([f(x + 1j * h * e).imag / h for e in np.eye(len(x))])


# Optimizers: x and its gradient in, the next x out; a dictionary is the state, t = 1, 2, ... counts steps.


def counted(step):
    """The step with its number."""

    def run(x, g, state, *args, **kwargs):
        state["t"] = state.get("t", 0) + 1
        return step(x, g, state, state["t"], *args, **kwargs)

    return run


def sgd_step(x, g, state, lr):
    return x - lr * g


def momentum_step(x, g, state, lr, momentum=0.9, form="published"):
    v = state.get("v", np.zeros_like(x))
    if form == "pytorch":
        state["v"] = momentum * v + g
        return x - lr * state["v"]
    state["v"] = momentum * v - lr * g
    return x + state["v"]


def nesterov_step(x, g, state, lr, momentum=0.9, form="published"):
    if form == "published":
        return momentum_step(x, g, state, lr, momentum)
    state["v"] = momentum * state.get("v", np.zeros_like(x)) + g
    return x - lr * (g + momentum * state["v"])


def nesterov_look(x, state, momentum=0.9):
    return x + momentum * state.get("v", np.zeros_like(x))


def delta_bar_delta_step(x, g, state, lr, increase=1e-3, decrease=0.1, decay=0.7):
    rates = state.get("rates", np.full_like(x, lr))
    averages = state.get("averages", np.zeros_like(x))
    rates = np.where(averages * g > 0, rates + increase, rates)
    rates = np.where(averages * g < 0, (1 - decrease) * rates, rates)
    state["rates"], state["averages"] = rates, (1 - decay) * g + decay * averages
    return x - rates * g


@counted
def adagrad_step(x, g, state, t, lr, eps=1e-7, initial=0.0, form="published"):
    state["r"] = state.get("r", np.full_like(x, initial)) + g**2
    if form == "mean":
        return x - lr * g / (np.sqrt(state["r"] / t) + eps)
    if form == "tensorflow":
        return x - lr * g / np.sqrt(state["r"] + eps)
    return x - lr * g / (np.sqrt(state["r"]) + eps)


def rmsprop_step(x, g, state, lr, rho=0.9, momentum=0.0, eps=1e-6, form="published"):
    first = form == "first_gradient" and "r" not in state
    state["r"] = g**2 if first else rho * state.get("r", 0) + (1 - rho) * g**2
    root = np.sqrt(state["r"] + eps) if form == "tensorflow" else np.sqrt(state["r"]) + eps
    v = state.get("v", np.zeros_like(x))
    if momentum == 0:
        state["v"] = v
        return x - lr * g / root
    if form == "pytorch":
        state["v"] = momentum * v + g / root
        return x - lr * state["v"]
    state["v"] = momentum * v - lr * g / root
    return x + state["v"]


def adadelta_step(x, g, state, lr=1.0, rho=0.95, eps=1e-6):
    state["r"] = rho * state.get("r", 0) + (1 - rho) * g**2
    u = state.get("u", np.zeros_like(x))
    d = np.sqrt(u + eps) / np.sqrt(state["r"] + eps) * g
    state["u"] = rho * u + (1 - rho) * d**2
    return x - lr * d


def averages(g, state, beta1, beta2):
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    return state["m"], state["v"]


@counted
def adam_step(x, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, form="published"):
    m, v = averages(g, state, beta1, beta2)
    if form == "tensorflow":
        return x - lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
    if form == "published":
        m, v = m / (1 - beta1**t), v / (1 - beta2**t)
    return x - lr * m / (np.sqrt(v) + eps)


@counted
def adamw_step(
    x, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-5, eta=1.0, form="published"
):
    m, v = averages(g, state, beta1, beta2)
    move = lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    decay = weight_decay * (lr if form == "pytorch" else 1)
    return x - eta * (move + decay * x)


@counted
def amsgrad_step(x, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, form="published"):
    m, v = averages(g, state, beta1, beta2)
    most = state["v_max"] = np.maximum(state.get("v_max", 0), v)
    if form == "pytorch":
        m, most = m / (1 - beta1**t), most / (1 - beta2**t)
    return x - lr * m / (np.sqrt(most) + eps)


@counted
def nadam_step(x, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=0.004, form="published"):
    def mu(t):
        return beta1 if form == "constant" else beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    keep = beta1 if form == "pytorch" else mu(t)
    state["m"] = keep * state.get("m", 0) + (1 - keep) * g
    product = math.prod(mu(i) for i in range(1, t + 1))
    direct = (1 - mu(t)) * g / (1 - product)
    averaged = mu(t + 1) * state["m"] / (1 - product * mu(t + 1))
    return x - lr * (direct + averaged) / (np.sqrt(state["v"] / (1 - beta2**t)) + eps)


@counted
def radam_step(x, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, form="published"):
    m, v = averages(g, state, beta1, beta2)
    most = 2 / (1 - beta2) - 1
    rho = most - 2 * t * beta2**t / (1 - beta2**t)
    m = m / (1 - beta1**t)
    if rho <= (5 if form == "pytorch" else 4):
        return x - lr * m
    r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return x - lr * r * m * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)


def bfgs_update(M, s, y):
    """(I - rho s y^T) M (I - rho y s^T) + rho s s^T."""
    rho = 1 / (s @ y)
    left = np.eye(len(s)) - rho * np.outer(s, y)
    return left @ M @ left.T + rho * np.outer(s, s)


def lbfgs_matrix(S, Y, gamma):
    """gamma I updated by every pair in turn."""
    M = gamma * np.eye(len(S[0]))
    for s, y in zip(S, Y, strict=True):
        M = bfgs_update(M, s, y)
    return M


def bfgs(A, b, x, steps):
    """All points on f(x) = x.A x / 2 - b.x from M = I with exact steps, the start among them; the last M."""
    points, M = [x], np.eye(len(x))
    for _ in range(steps):
        g = A @ x - b
        d = -M @ g
        x = x - (g @ d) / (d @ A @ d) * d
        M = bfgs_update(M, x - points[-1], A @ (x - points[-1]))
        points.append(x)
    return points, M


# Losses on one margin, and on rows of logits Z with rows of probabilities T (one-hot for labels).


def zero_one(m):
    return 1.0 if m <= 0 else 0.0


def hinge(m):
    return 1 - m if m.real < 1 else 0 * m


def logistic(m, base=math.e):
    return np.log(1 + np.exp(-m)) / math.log(base)


def exponential(m):
    return np.exp(-m)


def squared(m):
    return (1 - m) ** 2


def softmax(z):
    return np.exp(z) / sum(np.exp(z))


def cross_entropy(Z, T):
    return -sum(t @ np.log(softmax(z)) for z, t in zip(Z, T, strict=True)) / len(Z)


def softmax_mse(Z, T):
    return sum(sum((softmax(z) - t) ** 2) for z, t in zip(Z, T, strict=True)) / len(Z)


def mse(Y, T):
    return sum(0.5 * sum((y - t) ** 2) for y, t in zip(Y, T, strict=True)) / len(Y)


# Normalizations: step by step, in any real or complex type. Statistics keep the axes they are taken over.


def blocks(kind, x, groups=None, last=None):
    """x in a shape in which certain axes share a mean and a variance, and these axes."""
    if kind == "batch":
        return x, (0, *range(2, x.ndim))
    if kind == "layer":
        return x, tuple(range(1 if last is None else x.ndim - last, x.ndim))
    if kind == "instance":
        return x, tuple(range(2, x.ndim))
    n, c, *rest = x.shape
    return x.reshape(n, groups, c // groups, *rest), tuple(range(2, x.ndim + 1))


def along(parameter, x, last=None):
    """One number per channel, or one per element, in a shape that is multiplied with x."""
    if parameter.ndim == 1 and last is None:
        return parameter.reshape(-1, *[1] * (x.ndim - 2))
    return parameter


def statistics(kind, x, **where):
    b, axes = blocks(kind, x, **where)
    mu = b.mean(axes, keepdims=True)
    return mu, ((b - mu) ** 2).mean(axes, keepdims=True)


def x_hat(kind, x, eps, **where):
    mu, var = statistics(kind, x, **where)
    return ((blocks(kind, x, **where)[0] - mu) / np.sqrt(var + eps)).reshape(x.shape)


def norm(kind, x, gamma, beta, eps, last=None, groups=None):
    y = x_hat(kind, x, eps, last=last, groups=groups)
    if gamma is not None:
        y = along(gamma, x, last) * y
    return y if beta is None else y + along(beta, x, last)


def norm_backward(kind, dy, x, gamma, eps, last=None, groups=None):
    """The gradients of x, gamma and beta, the latter in the shape of gamma (per element, if that is None)."""
    normalized = x_hat(kind, x, eps, last=last, groups=groups)
    d_x_hat = dy if gamma is None else along(gamma, x, last) * dy
    shared = tuple(range(1 if last is None else x.ndim - last))
    if gamma is not None and gamma.ndim == 1 and last is None:
        shared += tuple(range(2, x.ndim))
    d_beta = dy.sum(shared)
    d_gamma = (dy * normalized).sum(shared)
    b, axes = blocks(kind, x, last=last, groups=groups)
    d = d_x_hat.reshape(b.shape)
    m = np.prod([b.shape[axis] for axis in axes], dtype=int)
    mu, var = statistics(kind, x, last=last, groups=groups)
    d_mu = (-d / np.sqrt(var + eps)).sum(axes, keepdims=True)
    d_var = (-0.5 * (b - mu) / (var + eps) ** 1.5 * d).sum(axes, keepdims=True)
    d_x = d / np.sqrt(var + eps) + d_mu / m + 2 / m * (b - mu) * d_var
    return d_x.reshape(x.shape), d_gamma, d_beta


def renorm_corrections(x, mean, var, eps, r_max, d_max):
    """r and d of each channel."""
    mu_B, var_B = (s.reshape(-1) for s in statistics("batch", x))
    sigma_B, sigma = np.sqrt(var_B + eps), np.sqrt(var + eps)
    return np.clip(sigma_B / sigma, 1 / r_max, r_max), np.clip((mu_B - mean) / sigma, -d_max, d_max)


def batch_renorm(x, gamma, beta, r, d, eps):
    renormalized = along(r, x) * x_hat("batch", x, eps) + along(d, x)
    return along(gamma, x) * renormalized + along(beta, x)


def batch_renorm_backward(dy, x, gamma, r, d, eps):
    axes = (0, *range(2, x.ndim))
    mu, var = statistics("batch", x)
    sigma, r, m = np.sqrt(var + eps), along(r, x), x.size // x.shape[1]
    d_x_hat = along(gamma, x) * dy
    d_sigma = (d_x_hat * (x - mu) * -r / sigma**2).sum(axes, keepdims=True)
    d_mu = (d_x_hat * -r / sigma).sum(axes, keepdims=True)
    d_x = d_x_hat * r / sigma + d_sigma * (x - mu) / (m * sigma) + d_mu / m
    shared = axes if gamma.ndim == 1 else 0
    renormalized = r * (x - mu) / sigma + along(d, x)
    return d_x, (dy * renormalized).sum(shared), dy.sum(shared)


def units(v, axis):
    """One row for each unit."""
    return np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1)


def weight_norm(v, g, axis):
    shape = np.moveaxis(v, axis, 0).shape
    w = np.array([g_k * v_k / np.sqrt(sum(v_k**2)) for v_k, g_k in zip(units(v, axis), g, strict=True)])
    return np.moveaxis(w.reshape(shape), 0, axis)


def weight_norm_backward(dw, v, g, axis):
    shape = np.moveaxis(v, axis, 0).shape
    dv, dg = [], []
    for dw_k, v_k, g_k in zip(units(dw, axis), units(v, axis), g, strict=True):
        length = np.sqrt(sum(v_k**2))
        dg.append(dw_k @ v_k / length)
        dv.append(g_k / length * dw_k - g_k * dg[-1] / length**2 * v_k)
    return np.moveaxis(np.array(dv).reshape(shape), 0, axis), np.array(dg)


def power_iteration(W, u, rounds):
    """u, v and the estimate of the largest singular value."""
    for _ in range(rounds):
        v = W.T @ u / np.sqrt(sum((W.T @ u) ** 2))
        u = W @ v / np.sqrt(sum((W @ v) ** 2))
    return u, v, u @ W @ v


def spectral_norm_backward(dy, W, u, v):
    """Equation (12) of Miyato et al., with dy in place of the mean of outer products."""
    sigma = u @ W @ v
    return (dy - np.sum(dy * W / sigma) * np.outer(u, v)) / sigma


def pca_whitening(X, ddof=0):
    """By the eigenvectors of the covariance matrix, largest variance first; all directions vary."""
    centered = X - X.mean(0)
    variances, U = np.linalg.eigh(centered.T @ centered / (len(X) - ddof))
    return (centered @ U / np.sqrt(variances))[:, ::-1]


# Layers of networks: the output for a batch, in any real or complex type; samples one by one.


def dense(x, W, b=0.0):
    return np.array([row @ W for row in x]) + b


def convolution(x, W, b, stride=1, padding=0):
    k = W.shape[-1]
    framed = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, cols = ((n - k) // stride + 1 for n in framed.shape[2:])
    y = np.empty((len(x), len(W), rows, cols), np.result_type(x, W, b))
    for n, o, p, q in np.ndindex(y.shape):
        window = framed[n, :, p * stride : p * stride + k, q * stride : q * stride + k]
        y[n, o, p, q] = np.sum(W[o] * window) + b[o]
    return y


def relu(x):
    return np.where(x.real > 0, x, 0)


def maxout(x, pieces):
    neighbors = x.reshape(len(x), -1, pieces, *x.shape[2:])
    largest = neighbors.real.argmax(2)[:, :, None]
    return np.take_along_axis(neighbors, largest, 2)[:, :, 0]


def recurrent(x, W, U, b, lengths, gamma=None, eps=1e-5):
    """b is added last: it is the beta of layer norm if there is a gamma."""
    y = []
    for sequence, length in zip(x, lengths, strict=True):
        h, states = np.zeros(len(U)), []
        for t, x_t in enumerate(sequence):
            if t < length:
                a = x_t @ W + h @ U
                h = np.tanh(a + b if gamma is None else norm("layer", a[None], gamma, b, eps)[0])
            states.append(h)
        y.append(states)
    return np.array(y)
