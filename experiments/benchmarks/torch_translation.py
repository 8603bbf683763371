"""PyTorch twins of pix2pix and CycleGAN: the peers of ``benchmark_training``.

Eager PyTorch as its users write it, with the layers, sizes, losses and updates of ours. A twin is
made of our network, whose layers' names it has; images are [B, C, H, W]. Importing this module
needs PyTorch.
"""

import itertools
import random
from collections.abc import Callable

import numpy as np
import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]  # an extra
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]  # an extra

from experiments.benchmarks.peers import Twins
from experiments.benchmarks.torch_adversarial import (
    adam,
    discriminator_loss,
    draw_normal,
    generator_loss,
    norm_layer,
)
from experiments.benchmarks.torch_latent import channels_first, stepping
from gen_jax.adversarial import PatchDiscriminator, ResNetGenerator, UNetGenerator
from gen_jax.adversarial.networks import LEAK
from gen_jax.adversarial.translation.networks import DROPPED, keeps_bias, unet_depth
from gen_jax.adversarial.translation.patch_discriminator import layer_windows

DISTANCE_WEIGHT, CYCLE_WEIGHT, IDENTITY_WEIGHT = 100.0, 10.0, 5.0
Shape = tuple[int, int, int]
Game = tuple[nn.Module, nn.Module]  # a generator and the discriminator of its images


def draw(module: nn.Module) -> None:
    """The authors' initialization of products and scales."""
    draw_normal(module)
    if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)


class UNet(nn.Module):
    """The twin of ``adversarial.UNetGenerator``, for images [H, W, C] that halve evenly."""

    def __init__(self, ours: UNetGenerator, shape: Shape):
        super().__init__()
        height, width, channels = shape
        self.depth = unet_depth((height, width)) if ours.depth is None else ours.depth
        if height % 2**self.depth or width % 2**self.depth:
            raise ValueError(f"the twin's sides halve {self.depth} times, got {height}×{width}")
        maps = [channels, *(ours.features * min(2**i, 8) for i in range(self.depth))]
        bias = keeps_bias(ours.norm)
        self.layers = nn.ModuleDict()
        for i, (before, after) in enumerate(itertools.pairwise(maps)):
            plain = i in (0, self.depth - 1)
            self.layers[f"down_{i}"] = nn.Conv2d(before, after, 4, 2, 1, bias=plain or bias)
            if not plain:
                self.layers[f"down_norm_{i}"] = norm_layer(ours.norm, after)
        before = maps[-1]
        for i, after in enumerate(reversed(maps[1:-1])):
            self.layers[f"up_{i}"] = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=bias)
            self.layers[f"up_norm_{i}"] = norm_layer(ours.norm, after)
            before = 2 * after  # beside the encoder's
        self.layers["image"] = nn.ConvTranspose2d(before, ours.channels, 4, 2, 1)
        self.dropout = nn.Dropout(ours.dropout_rate)
        self.apply(draw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i in range(self.depth):
            x = self.layers[f"down_{i}"](x if i == 0 else F.leaky_relu(x, LEAK))
            if 0 < i < self.depth - 1:
                x = self.layers[f"down_norm_{i}"](x)
            skips.append(x)
        x = skips.pop()
        for i, skip in enumerate(reversed(skips)):
            x = self.layers[f"up_norm_{i}"](self.layers[f"up_{i}"](F.relu(x)))
            x = self.dropout(x) if i < DROPPED else x
            x = torch.cat([x, skip], 1)
        return torch.tanh(self.layers["image"](F.relu(x)))


class ResNet(nn.Module):
    """The twin of ``adversarial.ResNetGenerator``, for images [H, W, C] that halve evenly."""

    def __init__(self, ours: ResNetGenerator, shape: Shape):
        super().__init__()
        if shape[0] % 4 or shape[1] % 4:
            raise ValueError(f"the twin's sides halve twice, got {shape[0]}×{shape[1]}")
        f, self.blocks, bias = ours.features, ours.blocks, keeps_bias(ours.norm)
        mirrored = {"padding_mode": "reflect", "bias": bias}
        self.layers = nn.ModuleDict()

        def add(name: str, layer: nn.Module, maps: int, norm: str) -> None:
            self.layers[name], self.layers[norm] = layer, norm_layer(ours.norm, maps)

        add("first", nn.Conv2d(shape[2], f, 7, padding=3, **mirrored), f, "first_norm")
        for i in range(2):
            conv = nn.Conv2d(f << i, 2 * f << i, 3, 2, 1, bias=bias)
            add(f"down_{i}", conv, 2 * f << i, f"down_{i}_norm")
        for i, j in itertools.product(range(self.blocks), range(2)):
            conv = nn.Conv2d(4 * f, 4 * f, 3, padding=1, **mirrored)
            add(f"block_{i}_conv_{j}", conv, 4 * f, f"block_{i}_{j}_norm")
        for i in range(2):
            # Without padding, for a row and a column too many: ours pads on the other side than
            # PyTorch's output_padding.
            conv = nn.ConvTranspose2d(4 * f >> i, 2 * f >> i, 3, 2, bias=bias)
            add(f"up_{i}", conv, 2 * f >> i, f"up_{i}_norm")
        self.layers["image"] = nn.Conv2d(f, ours.channels, 7, padding=3, padding_mode="reflect")
        self.apply(draw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = self.layers
        x = F.relu(layers["first_norm"](layers["first"](x)))
        for i in range(2):
            x = F.relu(layers[f"down_{i}_norm"](layers[f"down_{i}"](x)))
        for i in range(self.blocks):
            y = F.relu(layers[f"block_{i}_0_norm"](layers[f"block_{i}_conv_0"](x)))
            x = x + layers[f"block_{i}_1_norm"](layers[f"block_{i}_conv_1"](y))
        for i in range(2):
            x = F.relu(layers[f"up_{i}_norm"](layers[f"up_{i}"](x)[:, :, :-1, :-1]))
        return torch.tanh(layers["image"](x))


class PatchGAN(nn.Module):
    """The twin of ``adversarial.PatchDiscriminator``; of ``channels``, the source's included."""

    def __init__(self, ours: PatchDiscriminator, channels: int):
        super().__init__()
        windows = layer_windows(ours.receptive_field)
        self.last = len(windows) - 1
        self.layers = nn.ModuleDict()
        before = channels
        for i, (kernel, stride) in enumerate(windows):
            last = i == self.last
            maps = 1 if last else ours.features * min(2**i, 8)
            bias = i == 0 or last or keeps_bias(ours.norm)
            conv = nn.Conv2d(before, maps, kernel, stride, int(kernel > 1), bias=bias)
            self.layers["logit" if last else f"conv_{i}"] = conv
            if 0 < i < self.last:
                self.layers[f"norm_{i}"] = norm_layer(ours.norm, maps)
            before = maps
        self.apply(draw)

    def forward(self, x: torch.Tensor, source: torch.Tensor | None = None) -> torch.Tensor:
        x = x if source is None else torch.cat([source, x], 1)
        for i in range(self.last):
            x = self.layers[f"conv_{i}"](x)
            x = F.leaky_relu(self.layers[f"norm_{i}"](x) if i > 0 else x, LEAK)
        return self.layers["logit"](x)[:, 0]


def pix2pix_networks(
    generator: UNetGenerator, discriminator: PatchDiscriminator, shape: Shape
) -> Game:
    """The twins of both, for images and sources of one shape [H, W, C]."""
    return UNet(generator, shape), PatchGAN(discriminator, 2 * shape[2])


def cyclegan_networks(
    generator: ResNetGenerator, discriminator: PatchDiscriminator, shape: Shape
) -> Game:
    """The twins of a domain's two networks."""
    return ResNet(generator, shape), PatchGAN(discriminator, shape[2])


def symmetric(image: torch.Tensor) -> torch.Tensor:
    """Levels 0..255 as floats in [-1, 1]."""
    return image.float() / 127.5 - 1.0


def pix2pix_trainer(
    generator: nn.Module,
    discriminator: nn.Module,
    images: np.ndarray,
    sources: np.ndarray,
    *,
    how: Twins,
) -> Callable[[], None]:
    """A function that takes one step on each batch of pairs, uint8 [K, B, H, W, C].

    A step is one update of the discriminator, then one of the generator with the same dropout.
    """
    pairs = [*zip(*(channels_first(x, how.device) for x in (sources, images)), strict=True)]
    generator, discriminator = (how.compile(how.place(x)) for x in (generator, discriminator))
    g_adam, d_adam = adam(generator), adam(discriminator)

    def step(source: torch.Tensor, image: torch.Tensor) -> None:
        source, real = symmetric(source), symmetric(image)

        def judge(x: torch.Tensor) -> torch.Tensor:
            return discriminator(x, source)

        fake = generator(source)
        d_adam.zero_grad(set_to_none=True)
        (0.5 * discriminator_loss(judge, real, fake.detach(), penalty=False)).backward()
        d_adam.step()
        discriminator.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        distance = F.l1_loss(fake, real)
        (generator_loss(judge, fake, penalty=False) + DISTANCE_WEIGHT * distance).backward()
        g_adam.step()
        discriminator.requires_grad_(True)

    return stepping(step, pairs, how)


class ImagePool:
    """The images that a discriminator remembers, [C, H, W] each."""

    def __init__(self, size: int):
        self.size = size
        self.images: list[torch.Tensor] = []

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """What the discriminator sees in place of new images."""
        return torch.stack([self._one(image) for image in images])

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if self.size == 0 or random.random() < 0.5:
            return image
        place = random.randrange(self.size)
        old, self.images[place] = self.images[place], image
        return old


def least_squares(logits: torch.Tensor, real: bool) -> torch.Tensor:
    return F.mse_loss(logits, torch.full_like(logits, float(real)))


def generators_loss(
    forward: Game, backward: Game, a: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What both generators minimize, and the images made of b and of a."""
    (to_b, judge_b), (to_a, judge_a) = forward, backward
    made_b, made_a = to_b(a), to_a(b)
    judged = least_squares(judge_b(made_b), True) + least_squares(judge_a(made_a), True)
    cycle = F.l1_loss(to_a(made_b), a) + F.l1_loss(to_b(made_a), b)
    identity = F.l1_loss(to_b(b), b) + F.l1_loss(to_a(a), a)
    return judged + CYCLE_WEIGHT * cycle + IDENTITY_WEIGHT * identity, made_b, made_a


def cyclegan_trainer(
    forward: Game,
    backward: Game,
    a: np.ndarray,
    b: np.ndarray,
    *,
    pool_size: int,
    how: Twins,
) -> Callable[[], None]:
    """A function that takes one step on each batch of both domains, uint8 [K, B, H, W, C].

    A step is one update of both generators, then one of both discriminators on images out of
    buffers.
    """
    batches = [*zip(*(channels_first(x, how.device) for x in (a, b)), strict=True)]
    forward, backward = (
        (how.compile(how.place(generator)), how.compile(how.place(discriminator)))
        for generator, discriminator in (forward, backward)
    )
    generators, discriminators = zip(forward, backward, strict=True)
    g_adam, d_adam = adam(*generators), adam(*discriminators)
    pools = ImagePool(pool_size), ImagePool(pool_size)

    def step(a: torch.Tensor, b: torch.Tensor) -> None:
        a, b = symmetric(a), symmetric(b)
        for discriminator in discriminators:
            discriminator.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        loss, *made = generators_loss(forward, backward, a, b)
        loss.backward()
        g_adam.step()
        d_adam.zero_grad(set_to_none=True)
        games = zip(discriminators, (b, a), made, pools, strict=True)
        for discriminator, real, fake, pool in games:
            discriminator.requires_grad_(True)
            shown = pool.query(fake.detach())
            judged = least_squares(discriminator(real), True)
            (0.5 * (judged + least_squares(discriminator(shown), False))).backward()
        d_adam.step()

    return stepping(step, batches, how)
