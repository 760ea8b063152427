"""What the chapter on other normalizations and its claims share.

`small_batches` trains small convolutional networks on the digits, with one of the normalizations and batches
of one size (claim ON-5). Ten networks with seeds of their own are trained side by side: their channels are
those of one array of shape (samples, networks * channels, height, width). A norm of single channels then sees
ten times as many of them, one over groups ten times as many groups; only the convolutions have to keep the
networks apart.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from optlab import SGD, losses, nn, normalization
from optlab.experiments import stored

Array: TypeAlias = NDArray[Any]

BATCHES = (32, 16, 8, 4, 2)
KINDS = ("batch", "renorm", "layer", "instance", "group", "none")
PUBLISHED = {
    "batch": (23.6, 23.7, 24.8, 27.3, 34.7),
    "group": (24.1, 24.2, 24.0, 24.2, 24.1),
    "at 32": (23.6, 25.3, 28.4, 24.1),
}
"""Validation errors in % of ResNet-50 on ImageNet: batch and group norm with 32, 16, 8, 4, 2 images on each
processor; batch, layer, instance and group norm with 32. Wu and He (2018), tables 2 and 1."""


class Convolutions(nn.Layer):
    """A convolution for each of several networks side by side: (N, networks * c_in, height, width) to
    (N, networks * c_out, ...). Weights of shape (networks, c_in * size * size, c_out), He's."""

    names = ("W", "b")
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        c_in: int,
        c_out: int,
        size: int,
        rngs: list[np.random.Generator],
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        fan_in = c_in * size * size
        weights = [rng.normal(0.0, np.sqrt(2 / fan_in), (fan_in, c_out)) for rng in rngs]
        self.W = np.array(weights, np.float32)
        self.b = np.zeros((len(rngs), 1, c_out), np.float32)
        self.size, self.stride, self.padding, self.channels = size, stride, padding, (c_in, c_out)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        p, k, step, (c_in, c_out) = self.padding, self.size, self.stride, self.channels
        inside = np.s_[..., p : p + x.shape[2], p : p + x.shape[3]]
        wide = np.zeros((len(x), len(self.W), c_in, x.shape[2] + 2 * p, x.shape[3] + 2 * p), x.dtype)
        wide[inside] = x.reshape(*wide.shape[:3], *x.shape[2:])
        windows = np.lib.stride_tricks.sliding_window_view(wide, (k, k), axis=(3, 4))[:, :, :, ::step, ::step]
        places = windows.shape[3:5]
        patches = np.ascontiguousarray(windows.transpose(1, 0, 3, 4, 2, 5, 6))
        patches = patches.reshape(len(self.W), -1, c_in * k * k)
        y = (patches @ self.W + self.b).reshape(-1, len(x), *places, c_out)
        y = np.ascontiguousarray(y.transpose(1, 0, 4, 2, 3)).reshape(len(x), -1, *places)
        return y, (patches, wide.shape, inside)

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        (patches, shape, inside), places = cache, dy.shape[2:]
        k, step, (c_in, c_out) = self.size, self.stride, self.channels
        d = dy.reshape(len(dy), -1, c_out, *places).transpose(1, 0, 3, 4, 2)
        d = np.ascontiguousarray(d).reshape(len(patches), -1, c_out)
        grads = [patches.transpose(0, 2, 1) @ d, d.sum(axis=1, keepdims=True)]
        back = (d @ self.W.transpose(0, 2, 1)).reshape(-1, len(dy), *places, c_in, k, k)
        back = back.transpose(1, 0, 4, 5, 6, 2, 3)
        dx = np.zeros(shape, dy.dtype)
        rows, columns = (step * (n - 1) + 1 for n in places)
        for i in range(k):
            for j in range(k):
                dx[..., i : i + rows : step, j : j + columns : step] += back[:, :, :, i, j]
        dx = np.ascontiguousarray(dx[inside])
        return dx.reshape(len(dy), -1, *dx.shape[3:]), grads


class Renorm(nn.BatchNorm):
    """Batch renormalization as a layer, r_max = 3 and d_max = 5 from the first step on."""

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        if not training:
            return super()._forward(x, training)
        return normalization.batch_renorm(
            x, self.gamma, self.beta, self.running_mean, self.running_var, unbiased=True
        )

    def _backward(self, dy: Array, cache: Any) -> tuple[Array, list[Array]]:
        dx, dgamma, dbeta = normalization.batch_renorm_backward(dy, cache)
        assert dgamma is not None
        assert dbeta is not None
        return dx, [dgamma, dbeta]


# fmt: off
def norm(kind: str, channels: int, networks: int) -> list[Any]:
    """One of KINDS as a layer, for networks side by side."""
    total = networks * channels
    if kind in ("batch", "renorm"):
        layer = nn.BatchNorm if kind == "batch" else Renorm
        return [layer(total, dtype=np.float32)]
    groups = {"layer": 1, "group": 4, "instance": channels, "none": 0}
    if not groups[kind]:
        return []
    return [nn.GroupNorm(networks * groups[kind], total,
                         dtype=np.float32)]


def network(kind: str, widths: tuple[int, ...],
            rngs: list[np.random.Generator]) -> Any:
    """3 x 3 convolutions of stride 2, each with norm and ReLU: the
    maps are 4 x 4, 2 x 2, 1 x 1. Then a linear layer."""
    layers: list[Any] = []
    side, c_in = 8, 1
    for c in widths:
        layers += [Convolutions(c_in, c, 3, rngs, stride=2, padding=1),
                   *norm(kind, c, len(rngs)), nn.ReLU()]
        side, c_in = side // 2, c
    return nn.Sequential(*layers, Convolutions(c_in, 10, side, rngs))
# fmt: on


@stored
def small_batches(
    kind: str,
    size: int,
    widths: tuple[int, ...] = (16, 32, 64),
    seeds: int = 10,
    epochs: int = 5,
    split: int = 0,
) -> Array:
    """Test errors in % on the digits, shape (seeds,), after training with batches of `size`.

    1200 of the 1797 images are for training. SGD with the rate 0.1 size / 32. A seed draws the weights and
    shuffles the images of each epoch; all seeds share the split.
    """
    images, labels = load_digits(return_X_y=True)
    X = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    order = np.random.default_rng(split).permutation(len(X))
    train, test = order[:1200], order[1200:]
    rngs = [np.random.default_rng([7, seed]) for seed in range(seeds)]
    model, opt = network(kind, widths, rngs), SGD(lr=0.1 * size / 32)
    params = model.params
    state = opt.init(params)
    with threadpool_limits(1):
        for _ in range(epochs):
            orders = np.stack([rng.permutation(train) for rng in rngs], axis=1)
            for start in range(0, len(train), size):
                rows = orders[start : start + size]  # a column for each network
                logits = model.forward(X[rows])
                # The mean over all samples of all networks; each network wants that over its own.
                _, slope = losses.cross_entropy(logits.reshape(-1, 10), labels[rows].ravel())
                model.backward((seeds * slope).reshape(logits.shape))
                opt.step(params, model.grads, state)
        same = np.ascontiguousarray(np.broadcast_to(X[test][:, None], (len(test), seeds, 8, 8)))
        guesses = model.forward(same, training=False).reshape(-1, seeds, 10).argmax(axis=2)
    return np.asarray(100 * (guesses != labels[test][:, None]).mean(axis=0))
