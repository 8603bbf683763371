"""The one convolution of the library: functions, layers, and how it is computed."""

from gen_jax.nn.conv.layers import (
    Conv,
    ConvMeanPool,
    ConvTranspose,
    SpectralNorm,
    UpsampleConv,
    WeightNorm,
    conv,
    conv_mean_pool,
    conv_transpose,
    upsample_conv,
)

__all__ = [
    "Conv",
    "ConvMeanPool",
    "ConvTranspose",
    "SpectralNorm",
    "UpsampleConv",
    "WeightNorm",
    "conv",
    "conv_mean_pool",
    "conv_transpose",
    "upsample_conv",
]
