"""The encoders and decoders that the autoencoder's and the VAE's command lines choose from."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import numpy as np

from experiments.running.config import ImageRunConfig
from experiments.running.options import UsageError, when
from gen_jax import data, latent

CHUNK_BYTES = 2**26  # of images in memory at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentConfig(ImageRunConfig):
    """What an encoder and its mirrored decoder are made of."""

    network: Literal["dense", "conv"] = "dense"
    hidden: tuple[int, ...] = when((200, 200), network="dense")
    """Units of each dense layer."""
    features: tuple[int, ...] = when((32, 64), network="conv")
    """Channels of each stride-2 convolution."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("hidden", "features"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise UsageError(f"--{name} must be one or more positive sizes, got {sizes}")

    def encoder(self) -> nn.Module:
        """The encoder that the options name."""
        if self.network == "conv":
            return latent.ConvEncoder(self.features, dtype=self.compute_dtype)
        return latent.DenseEncoder(self.hidden, dtype=self.compute_dtype)

    def decoder(self) -> nn.Module:
        """The encoder's mirror."""
        if self.network == "conv":
            return latent.ConvDecoder(self.features[::-1], dtype=self.compute_dtype)
        return latent.DenseDecoder(self.hidden[::-1], dtype=self.compute_dtype)


def mean_image(dataset: data.AnyDataset, *, at_most: int = 10_000) -> np.ndarray:
    """The mean of images all over a set, [H, W, C] in [0, 1]: where a decoder's bias starts."""
    places = data.spread(len(dataset), at_most)
    few = max(1, CHUNK_BYTES // dataset.take(places[:1])["image"].nbytes)
    total: Any = 0.0  # whole numbers, which float64 sums exactly in any order
    for start in range(0, len(places), few):
        total = total + dataset.take(places[start : start + few])["image"].sum(0, dtype=np.float64)
    return (total / len(places)).astype(np.float32) / 255.0
