"""PyTorch twins of the autoregressive networks: the peers of ``benchmark_training`` and
``benchmark_sampling``.

Eager PyTorch as its users write it, with the layers and sizes of ours, for one unit a pixel or
sample. A twin is made of our network and the number of channels; it maps images [B, C, H, W], or
sound [B, C, T], in [0, 1] to outputs [B, n_outputs, ...]. Where ours has an encoder of conditions,
it is called with their sources as well, uint8 images of as many channels. Importing this module
needs PyTorch.
"""

import math
from typing import Any

import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]  # an extra
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]  # an extra
from torch.nn.utils.parametrizations import weight_norm  # pyright: ignore[reportMissingImports]  # an extra

from experiments.benchmarks.torch_encoders import encoder_of


def gate(x: torch.Tensor) -> torch.Tensor:
    value, opening = x.chunk(2, 1)
    return torch.tanh(value) * torch.sigmoid(opening)


class MaskedConv(nn.Conv2d):
    """Sees the first ``seen`` taps of its last row alone."""

    mask: torch.Tensor

    def __init__(self, c_in: int, c_out: int, size: tuple[int, int], *, seen: int):
        super().__init__(c_in, c_out, size)
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, seen:] = 0.0
        self.register_buffer("mask", mask)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.conv2d(input, self.weight * self.mask, self.bias)


class GatedPixelCNN(nn.Module):
    """The twin of ``autoregressive.GatedPixelCNN``."""

    def __init__(self, ours: Any, channels: int):
        super().__init__()
        f, s = ours.features, ours.skip_features
        self.reach = [ours.first_kernel // 2] + [ours.kernel // 2] * (ours.layers - 1)
        self.features, self.channels = f, channels
        self.vertical, self.horizontal = nn.ModuleList(), nn.ModuleList()
        self.link, self.out = nn.ModuleList(), nn.ModuleList()
        self.encoder, self.condition = encoder_of(ours, channels), nn.ModuleList()
        for i, reach in enumerate(self.reach):
            c_in, rows = (channels, reach) if i == 0 else (f, reach + 1)
            self.vertical.append(nn.Conv2d(c_in, 2 * f, (rows, 2 * reach + 1)))
            seen = reach if i == 0 else reach + 1
            self.horizontal.append(MaskedConv(c_in, 2 * f, (1, reach + 1), seen=seen))
            self.link.append(nn.Conv2d(2 * f, 2 * f, 1))
            self.out.append(nn.Conv2d(f, f + s, 1))
            if self.encoder is not None:
                self.condition.append(nn.Conv2d(ours.condition.features, 2 * f, 1, bias=False))
        self.head = nn.Conv2d(s, s, 1)
        self.outputs = nn.Conv2d(s, ours.likelihood.unit_outputs(channels), 1)

    def forward(self, x: torch.Tensor, source: torch.Tensor | None = None) -> torch.Tensor:
        features = None if self.encoder is None else self.encoder(source)
        vertical = horizontal = 2.0 * x - 1.0
        skip = torch.zeros((), device=x.device)
        for i, reach in enumerate(self.reach):
            bottom = -1 if i == 0 else 0  # the first sees rows above alone
            above = self.vertical[i](F.pad(vertical, (reach, reach, reach, bottom)))
            if features is not None:
                above = above + self.condition[i](features)
            beside = self.horizontal[i](F.pad(horizontal, (reach, 0)))
            out = self.out[i](gate(beside + self.link[i](above)))
            forward, part = out.split([self.features, out.shape[1] - self.features], 1)
            horizontal = forward if i == 0 else horizontal + forward
            skip = skip + part
            vertical = gate(above)
        return self.outputs(F.relu(self.head(F.relu(skip))))


class PixelCNN(nn.Module):
    """The twin of ``autoregressive.PixelCNN``, whose layers' names it has.

    Its square kernels have no rows below the middle, as ours.
    """

    def __init__(self, ours: Any, channels: int):
        super().__init__()
        f, h, first, others = ours.features, ours.head_features, ours.first_kernel, ours.kernel
        self.reach = [first // 2] + [others // 2] * ours.layers
        self.layers = layers = nn.ModuleDict()
        for i, reach in enumerate(self.reach):
            size = (reach + 1, 2 * reach + 1)
            if i == 0:
                layers["masked_0"] = MaskedConv(channels, 2 * f, size, seen=reach)
            else:
                layers[f"narrow_{i}"] = nn.Conv2d(2 * f, f, 1)
                layers[f"masked_{i}"] = MaskedConv(f, f, size, seen=reach + 1)
                layers[f"widen_{i}"] = nn.Conv2d(f, 2 * f, 1)
        layers["head_0"], layers["head_1"] = nn.Conv2d(2 * f, h, 1), nn.Conv2d(h, h, 1)
        layers["outputs"] = nn.Conv2d(h, ours.likelihood.unit_outputs(channels), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = self.layers
        stream = self.look(0, 2.0 * x - 1.0)
        for i in range(1, len(self.reach)):
            narrow = F.relu(layers[f"narrow_{i}"](F.relu(stream)))
            stream = stream + layers[f"widen_{i}"](F.relu(self.look(i, narrow)))
        hidden = F.relu(layers["head_0"](F.relu(stream)))
        return layers["outputs"](F.relu(layers["head_1"](hidden)))

    def look(self, i: int, x: torch.Tensor) -> torch.Tensor:
        reach = self.reach[i]
        return self.layers[f"masked_{i}"](F.pad(x, (reach, reach, reach, 0)))


# PixelCNN++. Padding is (left, right, top, bottom); the first layers' also shifts the image down,
# or right.

ABOVE, ABOVE_LEFT = ((2, 3), (1, 1, 1, 0)), ((2, 2), (1, 0, 1, 0))


def concat_elu(x: torch.Tensor) -> torch.Tensor:
    return F.elu(torch.cat([x, -x], 1))


class ShiftedConv(nn.Module):
    """A weight-normalized convolution of an image padded on some sides."""

    def __init__(self, c_in: int, c_out: int, size: Any, pad: Any = (0, 0, 0, 0), stride: int = 1):
        super().__init__()
        self.pad = pad
        self.conv = weight_norm(nn.Conv2d(c_in, c_out, size, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, self.pad) if any(self.pad) else x)


class Doubling(nn.Module):
    """A weight-normalized transposed convolution to twice the sides, cropped to those wanted."""

    def __init__(self, features: int, size: tuple[int, int]):
        super().__init__()
        edge = (0, size[1] // 3)  # of three taps one hangs over at the left
        conv = nn.ConvTranspose2d(features, features, size, 2, padding=edge, output_padding=edge)
        self.conv = weight_norm(conv, dim=1)

    def forward(self, x: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
        return self.conv(x)[:, :, : sides[0], : sides[1]]


class GatedBlock(nn.Module):
    """A residual block with channels of a shortcut, and of a condition, where there are any."""

    def __init__(
        self, features: int, window: Any, c_shortcut: int, c_condition: int, dropout_rate: float
    ):
        super().__init__()
        self.conv_1 = ShiftedConv(2 * features, features, *window)
        self.shortcut = ShiftedConv(c_shortcut, features, 1) if c_shortcut else None
        self.dropout = nn.Dropout(dropout_rate)
        self.conv_2 = ShiftedConv(2 * features, 2 * features, *window)
        self.condition = None
        if c_condition:
            self.condition = nn.Conv2d(c_condition, 2 * features, 1, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        condition: torch.Tensor | None,
        shortcut: torch.Tensor | None = None,
    ) -> torch.Tensor:
        c1 = self.conv_1(concat_elu(x))
        if self.shortcut is not None:
            c1 = c1 + self.shortcut(shortcut)
        c2 = self.conv_2(self.dropout(concat_elu(c1)))
        if self.condition is not None:
            c2 = c2 + self.condition(condition)
        a, b = c2.chunk(2, 1)
        return x + a * torch.sigmoid(b)


class PixelCNNPlusPlus(nn.Module):
    """The twin of ``autoregressive.PixelCNNPlusPlus``, whose layers' names it has."""

    def __init__(self, ours: Any, channels: int):
        super().__init__()
        f, rate = ours.features, ours.dropout_rate
        self.stages, self.blocks = ours.stages, ours.blocks
        self.encoder = encoder_of(ours, channels)
        c = 0 if self.encoder is None else ours.condition.features
        self.layers = layers = nn.ModuleDict()
        layers["u_first"] = ShiftedConv(channels + 1, f, (2, 3), (1, 1, 2, -1))
        layers["ul_first_above"] = ShiftedConv(channels + 1, f, (1, 3), (1, 1, 1, -1))
        layers["ul_first_left"] = ShiftedConv(channels + 1, f, (2, 1), (1, -1, 1, 0))
        for level in range(self.stages):
            if level > 0:
                layers[f"u_halve_{level - 1}"] = ShiftedConv(f, f, *ABOVE, stride=2)
                layers[f"ul_halve_{level - 1}"] = ShiftedConv(f, f, *ABOVE_LEFT, stride=2)
                layers[f"u_double_{level - 1}"] = Doubling(f, (2, 3))
                layers[f"ul_double_{level - 1}"] = Doubling(f, (2, 2))
            for b in range(self.blocks):
                layers[f"u_down_{level}_{b}"] = GatedBlock(f, ABOVE, 0, c, rate)
                layers[f"ul_down_{level}_{b}"] = GatedBlock(f, ABOVE_LEFT, 2 * f, c, rate)
            for b in range(self.blocks + (level < self.stages - 1)):
                layers[f"u_up_{level}_{b}"] = GatedBlock(f, ABOVE, 2 * f, c, rate)
                layers[f"ul_up_{level}_{b}"] = GatedBlock(f, ABOVE_LEFT, 4 * f, c, rate)
        layers["outputs"] = ShiftedConv(f, ours.likelihood.unit_outputs(channels), 1)

    def forward(self, x: torch.Tensor, source: torch.Tensor | None = None) -> torch.Tensor:
        layers, features = self.layers, None if self.encoder is None else self.encoder(source)
        seen = F.pad(2.0 * x - 1.0, (0, 0, 0, 0, 0, 1), value=1.0)  # 1 in the image, 0 around it
        u = layers["u_first"](seen)
        ul = layers["ul_first_above"](seen) + layers["ul_first_left"](seen)
        skips = []
        for level in range(self.stages):
            if level > 0:
                u = layers[f"u_halve_{level - 1}"](u)
                ul = layers[f"ul_halve_{level - 1}"](ul)
            skips.append([(u, ul)])
            h = at_level(features, level)
            for b in range(self.blocks):
                u = layers[f"u_down_{level}_{b}"](u, h)
                ul = layers[f"ul_down_{level}_{b}"](ul, h, concat_elu(u))
                skips[level].append((u, ul))
        skips[-1].pop()  # it is where the way back begins
        for level in reversed(range(self.stages)):
            if level < self.stages - 1:
                sides = skips[level][0][0].shape[2:]
                u = layers[f"u_double_{level}"](u, sides)
                ul = layers[f"ul_double_{level}"](ul, sides)
            h = at_level(features, level)
            for b, (u_skip, ul_skip) in enumerate(reversed(skips[level])):
                u = layers[f"u_up_{level}_{b}"](u, h, concat_elu(u_skip))
                both = torch.cat([concat_elu(u), concat_elu(ul_skip)], 1)
                ul = layers[f"ul_up_{level}_{b}"](ul, h, both)
        return layers["outputs"](F.elu(ul))


def at_level(features: torch.Tensor | None, level: int) -> torch.Tensor | None:
    """A condition's features where the maps of a level have their pixels."""
    return None if features is None else features[:, :, :: 2**level, :: 2**level]


class WaveNet(nn.Module):
    """The twin of ``autoregressive.WaveNet``."""

    def __init__(self, ours: Any, channels: int):
        super().__init__()
        f, s, self.taps = ours.features, ours.skip_features, ours.first_kernel
        self.skip_features, self.dilations = s, ours.dilations
        last = len(self.dilations) - 1  # it passes nothing on
        self.first = nn.Conv1d(channels, f, self.taps)
        self.dilated = nn.ModuleList(nn.Conv1d(f, 2 * f, 2, dilation=d) for d in self.dilations)
        self.out = nn.ModuleList(
            nn.Conv1d(f, s + (f if i < last else 0), 1) for i in range(last + 1)
        )
        self.head = nn.Conv1d(s, s, 1)
        self.outputs = nn.Conv1d(s, ours.likelihood.unit_outputs(channels), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(F.pad(2.0 * x - 1.0, (self.taps, -1)))
        skip = torch.zeros((), device=x.device)
        for dilation, dilated, out in zip(self.dilations, self.dilated, self.out, strict=True):
            both = out(gate(dilated(F.pad(h, (dilation, 0)))))
            skip = skip + both[:, : self.skip_features]
            if both.shape[1] > self.skip_features:
                h = h + both[:, self.skip_features :]
        return self.outputs(F.relu(self.head(F.relu(skip))))


# Losses: negative log-likelihoods, nats an example, of data as it is stored, given their sources


def binary_loss(twin: nn.Module, image: torch.Tensor, *source: torch.Tensor) -> torch.Tensor:
    """Of binary pixels, drawn anew from uint8 images [B, C, H, W]."""
    x = torch.bernoulli(image.float() / 255.0)
    total = F.binary_cross_entropy_with_logits(twin(x, *source), x, reduction="sum")
    return total / len(x)


def mixture_loss(twin: nn.Module, image: torch.Tensor, *source: torch.Tensor) -> torch.Tensor:
    """Of uint8 images [B, 3, H, W] under a discretized mixture of logistics."""
    x = image.float() / 255.0
    parts = twin(x, *source).unflatten(1, (10, -1))  # [B, 10, components, H, W]
    x = (2.0 * x - 1.0)[:, :, None]
    coefficients = torch.tanh(parts[:, 7:])
    green = parts[:, 2] + coefficients[:, 0] * x[:, 0]
    blue = parts[:, 3] + coefficients[:, 1] * x[:, 0] + coefficients[:, 2] * x[:, 1]
    centered = x - torch.stack([parts[:, 1], green, blue], 1)
    log_p = bin_log_prob(x, centered, parts[:, 4:7].clamp(min=-7.0)).sum(1)
    log_p = torch.logsumexp(F.log_softmax(parts[:, 0], 1) + log_p, 1)
    return -log_p.sum() / len(x)


def bin_log_prob(x: torch.Tensor, centered: torch.Tensor, log_scales: torch.Tensor) -> torch.Tensor:
    """Of each level's bin; the first and the last hold the tails."""
    inverse = torch.exp(-log_scales)
    above, below = inverse * (centered + 1.0 / 255.0), inverse * (centered - 1.0 / 255.0)
    mass = torch.sigmoid(above) - torch.sigmoid(below)
    middle = inverse * centered
    log_density = middle - log_scales - 2.0 * F.softplus(middle)
    within = torch.where(
        mass > 1e-5, torch.log(mass.clamp(min=1e-12)), log_density - math.log(127.5)
    )
    upper = torch.where(x > 0.999, -F.softplus(below), within)
    return torch.where(x < -0.999, F.logsigmoid(above), upper)


def sound_loss(twin: nn.Module, audio: torch.Tensor) -> torch.Tensor:
    """Of the 256 levels of mu-law of int16 sound [B, 1, T]."""
    x = audio.float() / 2**15
    y = torch.sign(x) * torch.log1p(255.0 * x.abs()) / math.log(256.0)
    level = (128.0 * (y + 1.0)).long().clamp(0, 255)
    total = F.cross_entropy(twin(level.float() / 255.0), level[:, 0], reduction="sum")
    return total / len(x)


# What the sampling benchmark measures


def blank(twin: GatedPixelCNN, batch: int, space: tuple[int, ...]) -> torch.Tensor:
    """A batch of zeros where the twin is."""
    return torch.zeros(batch, twin.channels, *space, device=twin.outputs.weight.device)


@torch.no_grad()
def forward(twin: GatedPixelCNN, batch: int, space: tuple[int, ...]) -> None:
    """One pass over a blank batch."""
    twin(blank(twin, batch, space)).sum().item()  # which waits for it


@torch.no_grad()
def sample(twin: GatedPixelCNN, batch: int, space: tuple[int, ...], stop: int) -> torch.Tensor:
    """Draws the first ``stop`` black and white pixels, by one pass each."""
    x = blank(twin, batch, space)
    for place in range(stop):
        i, j = divmod(place, space[1])
        x[:, :, i, j] = torch.bernoulli(torch.sigmoid(twin(x)[:, :, i, j]))
    return x.cpu()  # which waits for it
