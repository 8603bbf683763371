"""PyTorch twins of the encoders of a spatial condition, for the twins of the networks that read it.

Importing this module needs PyTorch.
"""

from typing import Any

import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]  # an extra
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]  # an extra

from gen_jax import autoregressive


def encoder_of(ours: Any, channels: int) -> nn.Module | None:
    """The twin of a network's encoder of sources of ``channels``; None where it has none."""
    if ours.condition is None:
        return None
    if not isinstance(ours.condition, autoregressive.UNetEncoder) or ours.condition.upsample > 1:
        raise ValueError(f"there is no twin of {ours.condition}")
    return UNetEncoder(ours.condition, channels)


class ChannelNorm(nn.LayerNorm):
    """Normalization of each pixel's channels, of maps [B, C, H, W]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x + a function of it: normalization, then convolutions of 1×1, 3×3 and 1×1."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = ChannelNorm(features, eps=1e-6)
        self.narrow = nn.Conv2d(features, features, 1)
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.widen = nn.Conv2d(features, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(F.relu(self.narrow(F.relu(self.norm(x)))))
        return x + self.widen(F.relu(y))


class UNetEncoder(nn.Module):
    """The twin of ``autoregressive.UNetEncoder``, whose layers' names it has, of uint8 sources."""

    def __init__(self, ours: autoregressive.UNetEncoder, channels: int):
        super().__init__()
        f, self.depth = ours.features, ours.depth
        self.layers = nn.ModuleDict()
        self.layers["enter"] = nn.Conv2d(channels, f, 3, padding=1)
        for level in range(self.depth):
            self.layers[f"down_{level}"] = Block(f)
            self.layers[f"halve_{level}"] = nn.Conv2d(f, f, 3, 2)
            self.layers[f"double_{level}"] = nn.ConvTranspose2d(f, f, 4, 2, 1)
            self.layers[f"up_{level}"] = Block(f)
        self.layers["coarsest"], self.layers["mean"] = Block(f), nn.Linear(f, f)

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        layers, skips = self.layers, []
        h = layers["enter"](source.float() / 127.5 - 1.0)
        for level in range(self.depth):
            skips.append(layers[f"down_{level}"](h))
            height, width = skips[-1].shape[2:]
            h = layers[f"halve_{level}"](F.pad(skips[-1], (width % 2, 1, height % 2, 1)))
        h = layers["coarsest"](h)
        h = h + layers["mean"](h.mean((2, 3)))[:, :, None, None]
        for level in reversed(range(self.depth)):
            height, width = skips[level].shape[2:]
            doubled = layers[f"double_{level}"](h)[:, :, :height, :width]
            h = layers[f"up_{level}"](skips[level] + doubled)
        return h
