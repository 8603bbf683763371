"""PyTorch twins of the convolutional adversarial networks: the peers of ``benchmark_training``.

Eager PyTorch as its users write it, with the layers, sizes, losses and updates of ours. A twin is
made of our network, whose layers' names it has; images are [B, C, H, W]. Importing this module
needs PyTorch.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]  # an extra
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]  # an extra

from experiments.benchmarks.peers import Twins
from experiments.benchmarks.torch_latent import channels_first, stepping
from gen_jax.adversarial import ConvDiscriminator, ConvGenerator
from gen_jax.adversarial.networks import LEAK
from gen_jax.adversarial.sizes import map_sizes

PENALTY = 10.0  # λ of WGAN-GP
Judge = Callable[[torch.Tensor], torch.Tensor]  # images -> logits


def norm_layer(norm: str, maps: int) -> nn.Module:
    """Batch, instance, layer (over all pixels and channels) or no normalization."""
    if norm == "batch":
        return nn.BatchNorm2d(maps)
    if norm == "instance":
        return nn.InstanceNorm2d(maps, affine=True)
    return nn.GroupNorm(1, maps) if norm == "layer" else nn.Identity()


class Generator(nn.Module):
    """The twin of ``adversarial.ConvGenerator`` with transposed convolutions."""

    def __init__(self, ours: ConvGenerator):
        super().__init__()
        *sides, channels = ours.image_shape
        smallest, *self.sizes = map_sizes(sides)
        maps = [ours.features * 2**i for i in reversed(range(len(self.sizes)))]
        bias = ours.norm != "batch"
        self.latent_dim = ours.latent_dim
        self.smallest = (maps[0], *smallest)
        self.dense = nn.Linear(ours.latent_dim, math.prod(self.smallest), bias=bias)
        self.norms = nn.ModuleList(norm_layer(ours.norm, m) for m in maps)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias) for a, b in itertools.pairwise(maps)
        )
        self.image = nn.ConvTranspose2d(maps[-1], channels, 4, 2, 1)
        self.apply(draw_normal)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norms[0](self.dense(z).reshape(-1, *self.smallest)))
        for up, norm, size in zip(self.ups, self.norms[1:], self.sizes[:-1], strict=True):
            x = F.relu(norm(up(x)[:, :, : size[0], : size[1]]))
        height, width = self.sizes[-1]
        return torch.tanh(self.image(x)[:, :, :height, :width])


class Halvings(nn.Module):
    """Convolutions of kernel 4 and stride 2 and leaky ReLUs, from images of one shape [H, W, C] to
    their ``smallest`` maps, [C, H, W]."""

    def __init__(self, features: int, shape: tuple[int, int, int], norm: str):
        super().__init__()
        *sides, channels = shape
        smallest, *sizes = map_sizes(sides)
        k = len(sizes)
        maps = [channels, *(features * 2**i for i in range(k))]
        bias = [i == 0 or norm != "batch" for i in range(k)]
        self.smallest = (maps[-1], *smallest)
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.ZeroPad2d((1, 1 + size[1] % 2, 1, 1 + size[0] % 2)),
                nn.Conv2d(maps[i], maps[i + 1], 4, 2, bias=bias[i]),
            )
            for i, size in enumerate(reversed(sizes))
        )
        self.norms = nn.ModuleList(
            norm_layer(norm if i > 0 else "none", m) for i, m in enumerate(maps[1:])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), LEAK)
        return x


class Discriminator(nn.Module):
    """The twin of ``adversarial.ConvDiscriminator`` for images of one shape [H, W, C]."""

    def __init__(self, ours: ConvDiscriminator, shape: tuple[int, int, int]):
        super().__init__()
        self.maps = Halvings(ours.features, shape, ours.norm)
        self.logit = nn.Linear(math.prod(self.maps.smallest), 1)
        self.apply(draw_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logit(self.maps(x).flatten(1))[:, 0]


def draw_normal(module: nn.Module) -> None:
    """DCGAN's initialization of products."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)


def adam(*networks: nn.Module) -> torch.optim.Adam:
    """DCGAN's optimizer, of all the networks' parameters."""
    parameters = itertools.chain(*(network.parameters() for network in networks))
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))


def gradient_penalty(discriminator: Judge, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """(|slope| - 1)² at a random point between each real and generated image, [B]."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1.0 - share) * fake).requires_grad_()
    total = discriminator(between).sum()
    (slope,) = torch.autograd.grad(total, between, create_graph=True)
    return (slope.flatten(1).norm(2, dim=1) - 1.0) ** 2


def discriminator_loss(
    discriminator: Judge, real: torch.Tensor, fake: torch.Tensor, *, penalty: bool
) -> torch.Tensor:
    """Cross-entropy; with a penalty Wasserstein's."""
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    if penalty:
        slopes = gradient_penalty(discriminator, real, fake)
        return (fake_logits - real_logits + PENALTY * slopes).mean()
    entropy = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real_logits), torch.zeros_like(fake_logits)
    return entropy(real_logits, ones) + entropy(fake_logits, zeros)


def generator_loss(discriminator: Judge, fake: torch.Tensor, *, penalty: bool) -> torch.Tensor:
    """Non-saturating; with a penalty Wasserstein's."""
    logits = discriminator(fake)
    if penalty:
        return -logits.mean()
    return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def gan_trainer(
    generator: Generator,
    discriminator: Discriminator,
    batches: np.ndarray,
    *,
    penalty: bool = False,
    how: Twins,
) -> Callable[[], None]:
    """A function that takes one step on each of ``batches``, uint8 [K, B, H, W, C].

    A step is one update of the discriminator, then one of the generator on the same noise, which
    computes no gradient of the discriminator's parameters.
    """
    images = channels_first(batches, how.device)
    generator, discriminator = (how.compile(how.place(x)) for x in (generator, discriminator))
    g_adam, d_adam = adam(generator), adam(discriminator)

    def step(image: torch.Tensor) -> None:
        real = image.float() / 127.5 - 1.0
        fake = generator(torch.randn(len(real), generator.latent_dim, device=real.device))
        d_adam.zero_grad(set_to_none=True)
        discriminator_loss(discriminator, real, fake.detach(), penalty=penalty).backward()
        d_adam.step()
        discriminator.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        generator_loss(discriminator, fake, penalty=penalty).backward()
        g_adam.step()
        discriminator.requires_grad_(True)

    return stepping(step, [(image,) for image in images], how)
