"""PyTorch twins of the latent models: the peers that ``benchmark_training`` measures against, and
the training of all its peers.

Eager PyTorch as its users write it: the same layers, sizes, likelihoods and optimizer, images as
uint8 tensors in memory. Importing this module needs PyTorch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]  # an extra

from experiments.benchmarks.peers import Twins

LOG_VARIANCE_BOUND = 15.0


class Twin(nn.Module):
    """An encoder, a head, and a decoder whose bias has an element for each output of the image."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent_dim: int,
        *,
        n_outputs: int,
        head: int,
        hidden: Sequence[int] = (),
        features: Sequence[int] = (),
    ):
        super().__init__()
        height, width, channels = shape
        outputs = channels * n_outputs
        if features:
            encoder, decoder, size = _convolutional(shape, latent_dim, outputs, features)
        else:
            encoder, decoder, size = _dense(shape, latent_dim, outputs, hidden)
        self.shape, self.n_outputs = shape, n_outputs
        self.encoder, self.decoder = encoder, decoder
        self.head = nn.Linear(size, head)
        self.bias = nn.Parameter(torch.zeros(outputs, height, width))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """[B, channels, n_outputs, H, W]"""
        height, width, channels = self.shape
        y = self.decoder(z).reshape(len(z), channels * self.n_outputs, height, width)
        return (y + self.bias).reshape(len(z), channels, self.n_outputs, height, width)


def _dense(shape, latent_dim, outputs, hidden) -> tuple[nn.Module, nn.Module, int]:
    height, width, channels = shape
    layers: list[nn.Module] = [nn.Flatten()]
    size = height * width * channels
    for units in hidden:
        layers += [nn.Linear(size, units), nn.Tanh()]
        size = units
    encoder, size = nn.Sequential(*layers), latent_dim
    layers = []
    for units in reversed(hidden):
        layers += [nn.Linear(size, units), nn.Tanh()]
        size = units
    layers.append(nn.Linear(size, height * width * outputs, bias=False))
    return encoder, nn.Sequential(*layers), hidden[-1]


def _convolutional(shape, latent_dim, outputs, features) -> tuple[nn.Module, nn.Module, int]:
    height, width, channels = shape
    scale = 2 ** len(features)
    if height % scale or width % scale:
        raise ValueError(f"the twin needs sides divisible by {scale}, got {height}×{width}")
    layers: list[nn.Module] = []
    size = channels
    for maps in features:
        layers += [nn.Conv2d(size, maps, 4, 2, 1), nn.ReLU()]
        size = maps
    encoder = nn.Sequential(*layers, nn.Flatten())
    smallest = (size, height // scale, width // scale)
    layers = [nn.Linear(latent_dim, math.prod(smallest)), nn.ReLU(), nn.Unflatten(1, smallest)]
    for maps in reversed(features[:-1]):
        layers += [nn.ConvTranspose2d(size, maps, 4, 2, 1), nn.ReLU()]
        size = maps
    layers.append(nn.ConvTranspose2d(size, outputs, 4, 2, 1, bias=False))
    return encoder, nn.Sequential(*layers), math.prod(smallest)


def bernoulli(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Log-probability of binary pixels, [B, C, H, W]."""
    return -nn.functional.binary_cross_entropy_with_logits(outputs[:, :, 0], x, reduction="none")


def gaussian(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Log-density of dequantized pixels with a bounded log scale, [B, C, H, W]."""
    mean, log_scale = torch.sigmoid(outputs[:, :, 0]), -5.0 + 6.0 * torch.sigmoid(outputs[:, :, 1])
    squares = ((x - mean) * torch.exp(-log_scale)) ** 2
    return -0.5 * (math.log(2.0 * math.pi) + squares) - log_scale - math.log(256.0)


def vae_loss(twin: Twin, image: torch.Tensor, log_prob: Callable) -> torch.Tensor:
    """The negative ELBO, a mean over the batch, of uint8 images [B, C, H, W]."""
    if log_prob is bernoulli:
        x = torch.bernoulli(image.float() / 255.0)
    else:
        x = image.float()
        x = (x + torch.rand_like(x)) / 256.0
    mean, log_variance = twin.encode(x).chunk(2, 1)
    log_variance = LOG_VARIANCE_BOUND * torch.tanh(log_variance / LOG_VARIANCE_BOUND)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    reconstruction = log_prob(twin.decode(z), x).sum((1, 2, 3))
    kl = 0.5 * (mean**2 + torch.expm1(log_variance) - log_variance).sum(1)
    return (kl - reconstruction).mean()


def autoencoder_loss(twin: Twin, image: torch.Tensor) -> torch.Tensor:
    """The squared error, summed over an image and a mean over the batch."""
    x = image.float() / 255.0
    return ((twin.decode(twin.encode(x))[:, :, 0] - x) ** 2).sum((1, 2, 3)).mean()


def count_parameters(twin: nn.Module) -> int:
    return sum(p.numel() for p in twin.parameters())


def channels_first(batches: np.ndarray, device: str) -> torch.Tensor:
    """[K, B, *space, C] -> [K, B, C, *space] on a device."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(batches, -1, 2))).to(device)


def stepping(step: Callable[..., None], batches: Sequence[Any], how: Twins) -> Callable[[], None]:
    """A function that takes a step on each of ``batches``, each its arguments, and waits."""

    def train() -> None:
        for batch in batches:
            step(*batch)
        if how.device != "cpu":
            torch.cuda.synchronize()

    return train


def trainer(
    twin: nn.Module, loss: Callable[..., torch.Tensor], *batches: np.ndarray, how: Twins
) -> Callable[[], None]:
    """A function that takes one Adam step on each of ``batches``, [K, B, *space, C] as stored.

    ``loss(twin, ...)`` is given a batch of each.
    """
    twin, loss = how.place(twin), how.compile(loss)
    examples = list(zip(*(channels_first(x, how.device) for x in batches), strict=True))
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3, eps=1e-4)

    def step(*example: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(twin, *example).backward()
        optimizer.step()

    return stepping(step, examples, how)
