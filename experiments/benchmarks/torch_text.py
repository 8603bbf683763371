"""PyTorch twins of text to image and of the joint embedding: the peers of ``benchmark_training``.

Eager PyTorch as its users write it, with the layers, sizes, losses and updates of ours. A twin is
made of our network, whose layers' names it has; images are [B, C, H, W]. Importing this module
needs PyTorch.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
from torch import nn  # pyright: ignore[reportMissingImports]  # an extra
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]  # an extra

from experiments.benchmarks.peers import Twins
from experiments.benchmarks.torch_adversarial import (
    Generator,
    Halvings,
    adam,
    draw_normal,
    generator_loss,
    norm_layer,
)
from experiments.benchmarks.torch_latent import channels_first, stepping
from experiments.benchmarks.torch_translation import symmetric
from gen_jax import adversarial
from gen_jax.adversarial.networks import LEAK
from gen_jax.nn import text as text_networks

Shape = tuple[int, int, int]
Tensors = Mapping[str, torch.Tensor]


def by_step(examples: Mapping[str, np.ndarray], device: str) -> list[tuple[Tensors]]:
    """Batches as stored, [K, B, ...] of each key, as the tensors of each step on a device."""
    tensors = {
        name: channels_first(stack, device)
        if name == "image"
        else torch.from_numpy(stack).to(device)
        for name, stack in examples.items()
    }
    steps = len(tensors["image"])
    return [({name: stack[i] for name, stack in tensors.items()},) for i in range(steps)]


# Captions of a step


def drawn(*captions: torch.Tensor) -> list[torch.Tensor]:
    """One caption of each image, drawn uniformly: of each tensor [B, K, ...] its part [B, ...]."""
    batch, count = captions[0].shape[:2]
    device = captions[0].device
    which = torch.randint(count, (batch,), device=device)
    return [values[torch.arange(batch, device=device), which] for values in captions]


def contradicts(meaning: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Whether the caption of a column says what is not true of the image of a row, [B, B]."""
    said, true = meaning[None], attributes[:, None]
    return ((said >= 0) & (said != true)).any(-1)


def wrong_captions(
    text: torch.Tensor, meaning: torch.Tensor, attributes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A caption for each image that is wrong for it, and 1; its own and 0 where there is none."""
    wrong = contradicts(meaning, attributes).float()
    found = wrong.any(1)
    wrong[~found] = torch.eye(len(text), device=text.device)[~found]
    return text[torch.multinomial(wrong, 1)[:, 0]], found.float()


# Text to image


class TextGenerator(nn.Module):
    """The twin of ``adversarial.TextGenerator`` for texts of ``text_size`` numbers."""

    def __init__(self, ours: adversarial.TextGenerator, text_size: int):
        super().__init__()
        self.latent_dim = ours.latent_dim
        self.text = nn.Linear(text_size, ours.text_dim)
        images = adversarial.ConvGenerator(
            ours.features,
            image_shape=ours.image_shape,
            latent_dim=ours.latent_dim + ours.text_dim,
            norm=ours.norm,
        )
        self.images = Generator(images)

    def forward(self, z: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.images(torch.cat([z, F.leaky_relu(self.text(text), LEAK)], 1))


class TextDiscriminator(nn.Module):
    """The twin of ``adversarial.TextDiscriminator`` for images of one shape [H, W, C]."""

    def __init__(self, ours: adversarial.TextDiscriminator, shape: Shape, text_size: int):
        super().__init__()
        self.maps = Halvings(ours.features, shape, ours.norm)
        self.text = nn.Linear(text_size, ours.text_dim)
        c = self.maps.smallest[0]
        self.joint = nn.Conv2d(c + ours.text_dim, c, 1, bias=ours.norm != "batch")
        self.joint_norm = norm_layer(ours.norm, c)
        self.logit = nn.Linear(math.prod(self.maps.smallest), 1)
        for part in (self.maps, self.joint, self.logit):
            part.apply(draw_normal)

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        x, text = self.maps(x), F.leaky_relu(self.text(text), LEAK)
        everywhere = text[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = self.joint_norm(self.joint(torch.cat([x, everywhere], 1)))
        return self.logit(F.leaky_relu(x, LEAK).flatten(1))[:, 0]


def matching_aware_loss(
    discriminator: nn.Module, real: torch.Tensor, fake: torch.Tensor, batch: Tensors
) -> torch.Tensor:
    """Of real images under their texts, under wrong ones, and of images made of their texts."""

    def entropy(x: torch.Tensor, text: torch.Tensor, target: float, weight=None) -> torch.Tensor:
        logits = discriminator(x, text)
        wanted = torch.full_like(logits, target)
        return F.binary_cross_entropy_with_logits(logits, wanted, weight)

    right = entropy(real, batch["text"], 1.0)
    mismatched = entropy(real, batch["wrong"], 0.0, batch["counts"])
    return right + 0.5 * (mismatched + entropy(fake, batch["text"], 0.0))


def text_to_image_trainer(
    generator: TextGenerator,
    discriminator: TextDiscriminator,
    examples: Mapping[str, np.ndarray],
    *,
    how: Twins,
) -> Callable[[], None]:
    """A function that takes one step of GAN-CLS on each batch: one update of each player.

    ``examples`` are what ``text_to_image.train_step`` reads, [K, B, ...] each.
    """
    batches = by_step(examples, how.device)
    generator, discriminator = (how.compile(how.place(x)) for x in (generator, discriminator))
    g_adam, d_adam = adam(generator), adam(discriminator)

    def step(batch: Tensors) -> None:
        real = symmetric(batch["image"])
        text, meaning = drawn(batch["vector"], batch["meaning"])
        wrong, counts = wrong_captions(text, meaning, batch["attributes"])
        read = {"text": text, "wrong": wrong, "counts": counts}
        noise = torch.randn(len(real), generator.latent_dim, device=real.device)
        fake = generator(noise, text)
        d_adam.zero_grad(set_to_none=True)
        matching_aware_loss(discriminator, real, fake.detach(), read).backward()
        d_adam.step()
        discriminator.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        generator_loss(lambda x: discriminator(x, text), fake, penalty=False).backward()
        g_adam.step()
        discriminator.requires_grad_(True)

    return stepping(step, batches, how)


# The joint embedding


class GRU(nn.Module):
    """The twin of ``nn.text.GRU``, which has other gates than PyTorch's own, and a first state."""

    def __init__(self, c_in: int, features: int):
        super().__init__()
        self.features = features
        self.input = nn.Linear(c_in, 3 * features)
        self.gates = nn.Linear(features, 2 * features, bias=False)
        self.candidate = nn.Linear(features, features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        split = 2 * self.features
        first, *others = self.input(x).unbind(1)
        states = [torch.tanh(first[:, split:])]
        for x in others:
            state = states[-1]
            z, r = torch.sigmoid(x[:, :split] + self.gates(state)).chunk(2, 1)
            new = torch.tanh(x[:, split:] + self.candidate(r * state))
            states.append(state + z * (new - state))
        return torch.stack(states, 1)


class CharCNNRNN(nn.Module):
    """The twin of ``nn.text.CharCNNRNN``, of texts that nothing but zeros follows, [B, L]."""

    def __init__(self, ours: text_networks.CharCNNRNN):
        super().__init__()
        self.vocabulary = ours.vocabulary
        maps = [ours.vocabulary - 1, *ours.features]
        self.layers = nn.ModuleDict()
        for i, kernel in enumerate(ours.kernels):
            name = f"conv_{i}" if i > 0 else "letters"
            self.layers[name] = nn.Conv1d(maps[i], maps[i + 1], kernel)
        self.gru = GRU(maps[-1], ours.hidden)
        self.embedding = nn.Linear(ours.hidden, ours.embedding)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = F.one_hot(tokens.long(), self.vocabulary)[:, :, 1:].float().transpose(1, 2)
        for i, conv in enumerate(self.layers.values()):
            x = F.relu(conv(x if i == 0 else F.max_pool1d(x, text_networks.POOL)))
        return self.embedding(self.gru(x.transpose(1, 2)).mean(1))


class ImageEncoder(nn.Module):
    """The twin of ``adversarial.ImageEncoder`` for images of one shape [H, W, C]."""

    def __init__(self, ours: adversarial.ImageEncoder, shape: Shape):
        super().__init__()
        self.maps = Halvings(ours.features, shape, "none")
        self.embedding = nn.Linear(math.prod(self.maps.smallest), ours.embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(self.maps(x).flatten(1))


class JointEmbedding(nn.Module):
    """The twin of ``adversarial.JointEmbedding`` for images of one shape [H, W, C]."""

    def __init__(self, ours: adversarial.JointEmbedding, shape: Shape):
        super().__init__()
        assert isinstance(ours.text, text_networks.CharCNNRNN)
        assert isinstance(ours.image, adversarial.ImageEncoder)
        self.text, self.image = CharCNNRNN(ours.text), ImageEncoder(ours.image, shape)


def joint_embedding_loss(twin: JointEmbedding, batch: Tensors, margin: float = 1.0) -> torch.Tensor:
    """Of images among texts, and of texts among images, where each text is true of its image."""
    tokens, meaning = drawn(batch["tokens"], batch["meaning"])
    scores = twin.image(symmetric(batch["image"])) @ twin.text(tokens).T
    own, wrong = scores.diagonal(), contradicts(meaning, batch["attributes"])
    penalties = F.relu(margin + scores - own[:, None]) + F.relu(margin + scores - own[None])
    return (penalties * wrong).sum() / len(scores) ** 2


def joint_embedding_trainer(
    twin: JointEmbedding, examples: Mapping[str, np.ndarray], *, how: Twins
) -> Callable[[], None]:
    """A function that takes one Adam step on each batch of ``examples``, [K, B, ...] each, of what
    ``joint_embedding.train_step`` reads."""
    twin, loss = how.place(twin), how.compile(joint_embedding_loss)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)

    def step(batch: Tensors) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(twin, batch).backward()
        optimizer.step()

    return stepping(step, by_step(examples, how.device), how)
