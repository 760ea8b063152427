"""Normalizations and their derivatives: pairs of forward and backward."""

from .._kernels.norms import Cache
from .batch import batch_norm, batch_norm_backward, batch_norm_inference, population_statistics
from .layer import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from .renormalization import batch_renorm, batch_renorm_backward
from .reparametrization import spectral_norm, spectral_norm_backward, weight_norm, weight_norm_backward
from .whitening import feature_normalization, pca_whitening

__all__ = [
    "Cache",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_renorm",
    "batch_renorm_backward",
    "feature_normalization",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "pca_whitening",
    "population_statistics",
    "spectral_norm",
    "spectral_norm_backward",
    "weight_norm",
    "weight_norm_backward",
]
