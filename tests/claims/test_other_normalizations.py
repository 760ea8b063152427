"""The claims of the chapter "Other normalizations"."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from optlab import nn, normalization
from optlab.experiments.other_normalizations import small_batches


def normalize(x, sets, eps=1e-5):
    """x over each set of places on its own: `sets` has a number for each place, equal in a set. Also for
    complex numbers."""
    y = np.empty_like(x)
    for which in np.unique(sets):
        values = x[sets == which]
        mean = sum(values) / len(values)
        y[sets == which] = (values - mean) / (sum((values - mean) ** 2) / len(values) + eps) ** 0.5
    return y


def sets_of(shape, groups):
    """A number for each sample and group of channels."""
    size = shape[1] // groups
    sample, channel = np.indices(shape)[:2]
    return sample * groups + channel // size


def forward(x, gamma, beta, groups):
    """Group norm with one gamma and beta for each channel."""
    tail = (1,) * (x.ndim - 2)
    return normalize(x, sets_of(x.shape, groups)) * gamma.reshape(-1, *tail) + beta.reshape(-1, *tail)


def partials(dy, x, gamma, groups, eps=1e-5):
    """The derivatives by x, gamma and beta, each partial derivative on its own."""
    sets, tail = sets_of(x.shape, groups), (1,) * (x.ndim - 2)
    a, dx = dy * gamma.reshape(-1, *tail), np.empty_like(x)
    for which in np.unique(sets):
        values, up = x[sets == which], a[sets == which]
        n, mean = len(values), values.mean()
        var = np.mean((values - mean) ** 2) + eps
        dvar = np.sum(up * (values - mean)) * -0.5 * var**-1.5
        dmean = -np.sum(up) / np.sqrt(var) - dvar * 2 / n * np.sum(values - mean)
        dx[sets == which] = up / np.sqrt(var) + dmean / n + dvar * 2 / n * (values - mean)
    others = (0, *range(2, x.ndim))
    return dx, (dy * normalize(x, sets, eps)).sum(axis=others), dy.sum(axis=others)


def derivative(cost, parts, step):
    """By central differences, or, if `step` is imaginary, by the complex step."""
    found = []
    for k, part in enumerate(parts):
        slope = np.empty(part.shape)
        for place in np.ndindex(part.shape):
            moved = [other.astype(complex) for other in parts]
            moved[k][place] += step
            up = cost(*moved)
            moved[k][place] -= 2 * step
            slope[place] = ((up - cost(*moved)) / (2 * step)).real
        found.append(slope)
    return found


def far(found, wanted):
    """Largest difference, relative to the largest entry."""
    return max(abs(a - b).max() / abs(b).max() for a, b in zip(found, wanted, strict=True))


@pytest.mark.claim("ON-1")
def test_layer_norm_and_its_derivatives_are_right_and_no_sample_depends_on_its_company(claim):
    ahead, back, steps, differences, alike = 0.0, 0.0, 0.0, 0.0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, R = rng.standard_normal((2, 16, 12))
        gamma, beta = rng.standard_normal((2, 12))
        y, cache = normalization.layer_norm(x, gamma, beta)
        dy = R * np.cos(y)
        found = normalization.layer_norm_backward(dy, cache)
        ahead = max(ahead, far([y], [forward(x, gamma, beta, 1)]))
        back = max(back, far(found, partials(dy, x, gamma, 1)))

        def cost(x, gamma, beta, R=R):
            mean = x.mean(axis=1, keepdims=True)
            var = ((x - mean) ** 2).mean(axis=1, keepdims=True)
            return np.sum(R * np.sin(gamma * (x - mean) / np.sqrt(var + 1e-5) + beta))

        steps = max(steps, far(found, derivative(cost, (x, gamma, beta), 1e-20j)))
        differences = max(differences, far(found, derivative(cost, (x, gamma, beta), 1e-6)))
        other = x + 1e3 * rng.standard_normal(x.shape)
        other[seed] = x[seed]
        z, cache = normalization.layer_norm(other, gamma, beta)
        dx = normalization.layer_norm_backward(dy, cache)[0]
        alike += np.array_equal(z[seed], y[seed]) and np.array_equal(dx[seed], found[0][seed])
    claim.at_most("derivatives against the complex step, largest relative error", steps, 1e-12)
    claim.at_most("against central differences", differences, 1e-6)
    claim.at_most("against the reference", back, 1e-12)
    claim.at_most("outputs against the reference", ahead, 1e-12)
    claim.equal("of 10 rows, bit for bit the same in other company", alike, 10, 0)


@pytest.mark.claim("ON-2")
def test_instance_norm_is_group_norm_with_a_group_for_each_channel(claim):
    gaps = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, dy = rng.standard_normal((2, 4, 6, 5, 5))
        gamma, beta = rng.standard_normal((2, 6))
        y, cache = normalization.instance_norm(x, gamma, beta)
        z, other = normalization.group_norm(x, gamma, beta, groups=6)
        gaps.append(far([y], [z]))
        gaps.append(
            far(normalization.instance_norm_backward(dy, cache), normalization.group_norm_backward(dy, other))
        )
        gaps.append(far([y], [forward(x, gamma, beta, 6)]))
    claim.at_most("largest relative difference, forward and backward", max(gaps), 1e-12)


@pytest.mark.claim("ON-3")
def test_group_norm_with_one_group_is_layer_norm(claim):
    one, three, steps = 0.0, 0.0, 0.0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, dy = rng.standard_normal((2, 4, 6, 5, 5))
        gamma, beta = rng.standard_normal((2, 6))
        y, cache = normalization.layer_norm(x, gamma, beta)
        z, other = normalization.group_norm(x, gamma, beta, groups=1)
        both = normalization.layer_norm_backward(dy, cache), normalization.group_norm_backward(dy, other)
        one = max(one, far([z], [y]), far(*both))
        y, cache = normalization.group_norm(x, gamma, beta, groups=3)
        found = normalization.group_norm_backward(dy, cache)
        three = max(three, far([y], [forward(x, gamma, beta, 3)]), far(found, partials(dy, x, gamma, 3)))
    x, R = rng.standard_normal((2, 2, 6, 2, 2))
    y, cache = normalization.group_norm(x, gamma, beta, groups=3)
    found = normalization.group_norm_backward(R * np.cos(y), cache)

    def cost(x, gamma, beta):
        return np.sum(R * np.sin(forward(x, gamma, beta, 3)))

    steps = far(found, derivative(cost, (x, gamma, beta), 1e-20j))
    claim.at_most("one group against layer norm, forward and backward", one, 1e-12)
    claim.at_most("three groups against the reference", three, 1e-12)
    claim.at_most("derivatives against the complex step", steps, 1e-12)


@pytest.mark.claim("ON-4")
def test_weight_norm_spectral_norm_and_batch_renorm_keep_what_they_promise(claim):
    gaps, angles, growth = [], [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        U, V = (np.linalg.qr(rng.standard_normal((n, 12)))[0] for n in (20, 12))
        W = U * np.concatenate([[3, 2], rng.uniform(0, 1, 10)]) @ V.T
        normalized, _ = normalization.spectral_norm(W, rounds=20, rng=seed)
        gaps.append(abs(np.linalg.norm(normalized, 2) - 1))
        v, dw, g = rng.standard_normal((12, 5)), rng.standard_normal((12, 5)), rng.standard_normal(5)
        dv, _ = normalization.weight_norm_backward(dw, normalization.weight_norm(v, g)[1])
        square = np.sum(v * v, axis=0), np.sum(dv * dv, axis=0)
        angles.append(abs(np.sum(v * dv, axis=0)) / np.sqrt(square[0] * square[1]))
        longer = np.sum((v - 0.1 * dv) ** 2, axis=0)
        growth.append(abs(longer / (square[0] + 0.01 * square[1]) - 1))
    claim.at_most("spectral norm: largest |sigma_1 - 1| after 20 rounds", max(gaps), 1e-6)
    claim.at_most("weight norm: largest |cosine| of v and its gradient", np.max(angles), 1e-12)
    claim.at_most("growth of v: largest relative error", np.max(growth), 1e-12)
    tied, free = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, dy = rng.standard_normal((2, 32, 7))
        gamma, beta, mean, var = *rng.standard_normal((3, 7)), rng.uniform(0.5, 2, 7)
        y, cache = normalization.batch_norm(x, gamma, beta)
        z, other = normalization.batch_renorm(x, gamma, beta, mean.copy(), var.copy(), r_max=1.0, d_max=0.0)
        tied.append(far([z], [y]))
        both = normalization.batch_renorm_backward(dy, other), normalization.batch_norm_backward(dy, cache)
        tied.append(far(*both))
        z = normalization.batch_renorm(x, gamma, beta, mean.copy(), var.copy(), r_max=np.inf, d_max=np.inf)[0]
        free.append(far([z], [gamma * (x - mean) / np.sqrt(var + 1e-5) + beta]))
    claim.at_most("batch renorm, r = 1, d = 0: largest difference from batch norm", max(tied), 1e-12)
    claim.at_most("without limits: from inference", max(free), 1e-12)


@pytest.mark.claim("ON-5")
def test_batch_norm_fails_with_small_batches_and_group_norm_does_not(claim):
    batch, group = ({m: small_batches(kind, m) for m in (32, 2)} for kind in ("batch", "group"))
    rise = batch[2] - batch[32] - (group[2] - group[32])
    claim.at_least("least excess of batch norm's rise over group norm's, points", rise.min(), 10)
    change = group[2].mean() - group[32].mean()
    claim.at_most("rise of group norm's mean error", change, 1)
    ahead = group[32].mean() - batch[32].mean()
    claim.at_least("at 32: lead of batch norm", ahead, 0)
    wide = (16, 32)
    good, same, none = (
        small_batches(kind, m, wide).mean() for kind, m in (("batch", 32), ("batch", 2), ("none", 32))
    )
    claim.at_most("maps of 2 x 2: rise of batch norm's mean error", same - good, 3)
    claim.at_least("maps of 2 x 2: lead of batch norm over no norm", none - good, 1)


@pytest.mark.claim("ON-6")
def test_instance_norm_forgets_style_and_layer_norm_reads_each_sequence_alone(claim):
    blind, others = 0.0, []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((4, 6, 5, 5))
        a, b = rng.uniform(0.2, 5, (4, 6, 1, 1)), 3 * rng.standard_normal((4, 6, 1, 1))
        norms = normalization.instance_norm, normalization.batch_norm, normalization.layer_norm
        changes = [abs(norm(a * x + b, eps=1e-30)[0] - norm(x, eps=1e-30)[0]).max() for norm in norms]
        blind = max(blind, changes[0])
        others += changes[1:]
    claim.at_most("instance norm: largest change by light and contrast", blind, 1e-12)
    claim.at_least("batch and layer norm: least", min(others), 1)

    photos = np.array([image[::5, ::5].transpose(2, 0, 1) / 255 for image in load_sample_images().images])
    x_hat, cache = normalization.instance_norm(photos, eps=1e-30)
    swapped = x_hat * cache.std[::-1, :, None, None] + cache.mean[::-1, :, None, None]
    gap = max(
        abs(swapped.mean(axis=(2, 3)) - photos[::-1].mean(axis=(2, 3))).max(),
        abs(swapped.std(axis=(2, 3)) - photos[::-1].std(axis=(2, 3))).max(),
    )
    claim.at_most("photos: largest error of the exchanged statistics", gap, 1e-12)

    rng = np.random.default_rng(0)
    lengths, x = np.array([3, 7, 12, 5, 20]), rng.standard_normal((5, 20, 3))
    rnn = nn.Recurrent(3, 8, layer_norm=True, rng=0)
    rnn.params = [rng.standard_normal((3, 8)), rng.standard_normal((8, 8)), np.ones(8), np.zeros(8)]
    together = rnn.forward(x, lengths=lengths)[:, -1]
    alone = [rnn.forward(x[i : i + 1, :n].copy())[0, -1] for i, n in enumerate(lengths)]
    claim.at_most("layer norm, recurrent: together minus alone", abs(together - alone).max(), 1e-12)

    def read(x, lengths):
        """Last states with batch norm over the sequences that have not ended."""
        W, U = rnn.params[:2]
        h = np.zeros((len(x), 8))
        for t in range(lengths.max()):
            alive = lengths > t
            z = x[alive, t] @ W + h[alive] @ U
            h[alive] = np.tanh((z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5))
        return h

    alone = np.vstack([read(x[i : i + 1], lengths[i : i + 1]) for i in range(5)])
    claim.at_least("batch norm: together minus alone", abs(read(x, lengths) - alone).max(), 0.1)
