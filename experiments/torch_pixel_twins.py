"""PyTorch twins of the pixel networks: the peers of ``benchmark_training`` and
``benchmark_sampling``.

Eager PyTorch as its users write it, with the layers and sizes of ours. Importing this module needs
PyTorch.
"""

from typing import Any

import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


def gate(x: torch.Tensor) -> torch.Tensor:
    value, opening = x.chunk(2, 1)
    return torch.tanh(value) * torch.sigmoid(opening)


class GatedPixelCNN(nn.Module):
    """The twin of ``autoregressive.GatedPixelCNN`` with one unit a pixel."""

    def __init__(self, ours: Any, channels: int):
        super().__init__()
        f, s = ours.features, ours.skip_features
        self.reach = [ours.first_kernel // 2] + [ours.kernel // 2] * (ours.layers - 1)
        self.features, self.channels = f, channels
        self.vertical, self.horizontal = nn.ModuleList(), nn.ModuleList()
        self.link, self.out = nn.ModuleList(), nn.ModuleList()
        for i, reach in enumerate(self.reach):
            c_in, rows = (channels, reach) if i == 0 else (f, reach + 1)
            self.vertical.append(nn.Conv2d(c_in, 2 * f, (rows, 2 * reach + 1)))
            self.horizontal.append(nn.Conv2d(c_in, 2 * f, (1, reach + 1)))
            self.link.append(nn.Conv2d(2 * f, 2 * f, 1))
            self.out.append(nn.Conv2d(f, f + s, 1))
        self.head = nn.Conv2d(s, s, 1)
        self.outputs = nn.Conv2d(s, ours.likelihood.unit_outputs(channels), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [B, n_outputs, H, W] of images [B, C, H, W] in [0, 1]."""
        vertical = horizontal = 2.0 * x - 1.0
        skip = 0.0
        for i, reach in enumerate(self.reach):
            bottom = -1 if i == 0 else 0  # the first sees rows above, and pixels to the left, alone
            above = self.vertical[i](F.pad(vertical, (reach, reach, reach, bottom)))
            if i == 0:
                beside = self.horizontal[i](F.pad(horizontal, (reach + 1, -1)))
            else:
                beside = self.horizontal[i](F.pad(horizontal, (reach, 0)))
            out = self.out[i](gate(beside + self.link[i](above)))
            forward, part = out.split([self.features, out.shape[1] - self.features], 1)
            horizontal = forward if i == 0 else horizontal + forward
            skip = skip + part
            vertical = gate(above)
        return self.outputs(F.relu(self.head(F.relu(skip))))


@torch.no_grad()
def forward(twin: GatedPixelCNN, batch: int, space: tuple[int, int]) -> None:
    """One pass over a blank batch."""
    twin(torch.zeros(batch, twin.channels, *space))


@torch.no_grad()
def sample(twin: GatedPixelCNN, batch: int, space: tuple[int, int], stop: int) -> torch.Tensor:
    """Draws the first ``stop`` black and white pixels, by one pass each."""
    x = torch.zeros(batch, twin.channels, *space)
    for place in range(stop):
        i, j = divmod(place, space[1])
        x[:, :, i, j] = torch.bernoulli(torch.sigmoid(twin(x)[:, :, i, j]))
    return x
