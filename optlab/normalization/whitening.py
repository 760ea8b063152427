"""Data before training: each feature with mean 0 and variance 1, or all directions of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _validation

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FeatureScaling:
    """The means and deviations of some data: called with other data, it scales them alike."""

    mean: Array
    std: Array  # 0 where a feature is constant
    constant: tuple[int, ...]  # the columns that do not vary

    def __call__(self, X: ArrayLike) -> Array:
        """(X - mean) / std, and 0 for features that are constant in the data of `feature_normalization`."""
        data = _same_features(X, self.mean)
        z = (data - self.mean) / np.where(self.std == 0, 1.0, self.std)
        z[:, list(self.constant)] = 0.0
        return z.astype(data.dtype, copy=False)


def feature_normalization(X: ArrayLike, *, ddof: int = 0) -> tuple[Array, FeatureScaling]:
    r"""Each feature with mean 0 and standard deviation 1.

    .. math::

        z_{ij} = \frac{x_{ij} - \mu_j}{\sigma_j}, \qquad \mu_j = \frac{1}{N} \sum_i x_{ij}, \qquad
        \sigma_j^2 = \frac{1}{N - \mathrm{ddof}} \sum_i \left(x_{ij} - \mu_j\right)^2

    Parameters
    ----------
    X : array_like
        N samples of D features, of shape (N, D), finite. float32 stays, float16 becomes float32, the rest
        float64.
    ddof : int
        0 for the variance of these data, 1 for an unbiased estimate of that of their source.

    Returns
    -------
    z : ndarray
        Of the shape of `X`. Features that do not vary become 0.
    scaling : FeatureScaling
        With the fields `mean`, `std` (float64, of shape (D,); 0 for constant features) and `constant`, the
        tuple of their columns. ``scaling(X_new)`` scales other data by the same numbers: those of the test
        set, which must not have a say in them.

    Raises
    ------
    ValueError, TypeError
        Not two axes, no data, masked data, NaN or infinities; not more than `ddof` samples. From `scaling`:
        another number of features.

    Notes
    -----
    ``sklearn.preprocessing.StandardScaler`` (also ``ddof=0``) only centers features that are constant: other
    values of them in new data come through as they are, here they become 0.

    Examples
    --------
    >>> z, scaling = feature_normalization([[1.0, 100.0, 7.0], [3.0, 500.0, 7.0]])
    >>> z
    array([[-1., -1.,  0.],
           [ 1.,  1.,  0.]])
    >>> scaling.std, scaling.constant
    (array([  1., 200.,   0.]), (2,))
    >>> scaling([[2.0, 400.0, 9.0]])
    array([[0. , 0.5, 0. ]])
    """
    data, n = _data(X, ddof)
    mean, centered = _centered(data)
    largest = np.abs(centered).max(0)
    safe = np.where(largest == 0, 1.0, largest)
    std = largest * np.sqrt(((centered / safe) ** 2).sum(0) / (n - ddof))
    scaling = FeatureScaling(mean, std, tuple(np.flatnonzero(std == 0).tolist()))
    return scaling(data), scaling


@dataclass(frozen=True, eq=False)
class Whitening:
    """The directions of some data: called with other data, it turns and scales them alike."""

    mean: Array
    components: Array  # a direction a row, orthonormal, the largest variance first
    std: Array  # along each of them

    def __call__(self, X: ArrayLike) -> Array:
        """(X - mean) along each direction, over its standard deviation."""
        data = _same_features(X, self.mean)
        z = (data - self.mean) @ self.components.T / self.std
        return np.asarray(z, data.dtype)

    def inverse(self, z: ArrayLike) -> Array:
        """The data from whitened ones: exactly, but for what lay in directions that were left out."""
        data = _validation.real_array("z", z, 2)
        if data.shape[1] != len(self.std):
            raise ValueError(f"z: expected {len(self.std)} components, got shape {data.shape}")
        return np.asarray((data * self.std) @ self.components + self.mean, data.dtype)


def pca_whitening(
    X: ArrayLike, *, components: int | None = None, ddof: int = 0, rtol: float | None = None
) -> tuple[Array, Whitening]:
    r"""Uncorrelated features of variance 1: the principal components, each over its standard deviation.

    .. math::

        X - \mu &= U S V^T, \\
        Z &= (X - \mu) V S^{-1} \sqrt{N - \mathrm{ddof}}, \\
        \frac{Z^T Z}{N - \mathrm{ddof}} &= I

    Parameters
    ----------
    X : array_like
        As in `feature_normalization`, at least two samples.
    components : int, optional
        How many directions to keep, those of the largest variance. By default all that have one.
    ddof : int
        As in `feature_normalization`.
    rtol : float, optional
        Directions whose singular value is not above `rtol` times the largest one have no variance. By default
        those that the rounding of the data to their dtype explains, or the rounding of the computation,
        which is in float64: max(N, D) times its precision.

    Returns
    -------
    z : ndarray
        Of shape (N, K), in the dtype of `X`, with K <= min(N - 1, D): directions without variance are left
        out.
    scaling : Whitening
        With the fields `mean` (D,), `components` (K, D), orthonormal rows, and `std` (K,), falling, all in
        float64. ``scaling(X_new)`` whitens other data by the same numbers; ``scaling.inverse(z)`` goes
        back.

    Raises
    ------
    ValueError, TypeError
        As in `feature_normalization`; data without variance; more `components` than directions with variance.

    Notes
    -----
    The signs are free: the entry of each direction that is largest in size is positive.
    ``sklearn.decomposition.PCA(whiten=True)`` has ``ddof=1``, and by default keeps directions without
    variance, which it scales up from rounding errors.

    The singular values are those of the centered data, not the square roots of the eigenvalues of their
    covariance: that would lose half of the digits.

    Examples
    --------
    >>> X = np.array([[0.0, 0.0, 1.0], [2.0, 2.0, 1.0], [2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [4.0, 4.0, 1.0]])
    >>> z, scaling = pca_whitening(X)
    >>> z.shape
    (5, 2)
    >>> (z.T @ z / len(z)).round(12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    >>> bool(np.allclose(scaling.inverse(z), X))
    True
    """
    data, n = _data(X, ddof)
    if n < 2:
        raise ValueError(f"X: expected at least two samples, got shape {data.shape}")
    if components is not None:
        components = _validation.count("components", components, minimum=1)
    if rtol is not None:
        rtol = _validation.fraction("rtol", rtol)
    mean, centered = _centered(data)
    largest = np.abs(centered).max()
    if largest == 0:
        raise ValueError("X: expected features that vary, got constant ones")
    U, S, Vt = np.linalg.svd(centered / largest, full_matrices=False)
    if rtol is None:
        # The largest singular value of a matrix of independent errors of half a unit in the last place.
        errors = 0.5 * float(np.finfo(data.dtype).eps) * float(np.abs(data).max() / largest)
        errors *= math.sqrt(n) + math.sqrt(len(mean))
        least = max(max(data.shape) * 2.0**-52 * S[0], min(errors, 0.5 * S[0]))
    else:
        least = rtol * S[0]
    rank = int((least < S).sum())
    if components is not None and components > rank:
        raise ValueError(
            f"components: expected at most {rank}, the directions with variance, got {components}"
        )
    k = rank if components is None else components
    signs = np.sign(Vt[np.arange(len(Vt)), np.abs(Vt).argmax(1)])[:k]
    std = largest * S[:k] / math.sqrt(n - ddof)
    z = U[:, :k] * signs * math.sqrt(n - ddof)
    return z.astype(data.dtype), Whitening(mean, Vt[:k] * signs[:, None], std)


# Arguments --------------------------------------------------------------------------------------------------


def _data(X: ArrayLike, ddof: int) -> tuple[Array, int]:
    """Finite data and the number of samples."""
    data = _validation.real_array("X", X, 2)
    if data.size == 0:
        raise ValueError(f"X: expected at least one number, got shape {data.shape}")
    _validation.finite("X", data)
    if _validation.count("ddof", ddof) >= len(data):
        raise ValueError(f"ddof: expected less than the {len(data)} samples of X, got {ddof}")
    return data, len(data)


def _centered(data: Array) -> tuple[Array, Array]:
    """The mean of each feature and the differences from it, in float64; exactly 0 where nothing varies."""
    wide = data.astype(float)
    mean = wide.mean(0)
    mean += (wide - mean).mean(0)  # what the first sum lost
    alike = (data == data[0]).all(0)
    mean[alike] = wide[0, alike]
    return mean, wide - mean


def _same_features(X: ArrayLike, mean: Array) -> Array:
    data = _validation.real_array("X", X, 2)
    if data.shape[1] != len(mean):
        raise ValueError(f"X: expected {len(mean)} features, got shape {data.shape}")
    return data
