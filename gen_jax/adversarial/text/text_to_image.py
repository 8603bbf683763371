"""Text to image (Reed et al. 2016, 1605.05396): images from sentences, by a game that reads both.

Captions are vectors φ(t), ``batch["vector"]`` [B, K, D], K of each image, of which a step draws
one. A *matching-aware* discriminator (GAN-CLS, algorithm 1) also sees real images under captions
that are wrong for them. With s its probability that an image is real and described by its text,

    L_D = log s_r + (log(1 - s_w) + log(1 - s_f)) / 2

is what it maximizes: s_r real image, right text; s_w real image, wrong text; s_f generated image,
right text. *Manifold interpolation* (GAN-INT, equation 5) judges the generator alone, under
captions between two of the batch:

    E[log(1 - D(G(z, β t_1 + (1 - β) t_2)))]

is what it minimizes as well. Any loss of ``losses`` takes the place of the logarithms. Which
captions are wrong is known from what they say (``gen_jax.meaning``); the paper's are those of
another class. The authors' code averages four captions of an image, where here one is drawn.
Networks are those of ``text.networks``.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from gen_jax.adversarial import gan, losses, queries
from gen_jax.adversarial.gan import Augment, GANState, Imagined, Shown
from gen_jax.adversarial.inputs import FloatImages, Latents, Vectors
from gen_jax.adversarial.losses import AdversarialLoss, Penalty
from gen_jax.adversarial.players import Prior, mean_logit
from gen_jax.adversarial.queries import Films, films
from gen_jax.adversarial.text.captions import between, captions, draw_captions, wrong_captions
from gen_jax.images import as_symmetric
from gen_jax.interpolation import Path, linear, spherical, walk
from gen_jax.meshes import evaluation_step
from gen_jax.nn.condition import Condition
from gen_jax.typing import Batch, Images, Metrics, Numbers, PerExample, PRNGKey, PRNGKeys


def init(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: PRNGKey,
    batch: Batch,
    *,
    prior: Prior = jax.random.normal,
    ema_decay: float | None = None,
) -> GANState:
    """Draws both networks' parameters; ``batch`` is one to train on, or of the same shapes.

    Raises ``ValueError`` for a batch without captions, and as ``gan.init`` does.
    """
    example = {"image": batch["image"], "vector": captions(batch)[:, 0]}
    txs = generator_tx, discriminator_tx
    return gan.init(generator, discriminator, *txs, key, example, prior=prior, ema_decay=ema_decay)


# Captions of a step: what a batch becomes before anything else is done with it


def _reading(
    augment: Augment | None, mismatched: bool, beta: float | None, axis_name: str | None
) -> Augment:
    """The batch of a step: images, each under one caption, and the captions made of the batch's.

    Beside ``"image"`` and ``"vector"`` it holds ``"wrong"`` and how often it counts, ``"counts"``,
    for a matching-aware discriminator, and ``"between"`` for interpolation by ``beta``.
    """

    def change(keys: PRNGKeys, batch: Batch) -> Batch:
        split = jax.vmap(lambda key: tuple(jax.random.split(key, 3)))
        change_keys, caption_keys, wrong_keys = split(keys)
        if augment is not None:
            batch = augment(change_keys, batch)
        read = {"image": batch["image"]}
        if mismatched:
            read["vector"], meaning = draw_captions(caption_keys, captions(batch), batch["meaning"])
            read["wrong"], read["counts"] = wrong_captions(
                wrong_keys, read["vector"], meaning, batch["attributes"], axis_name=axis_name
            )
        else:
            (read["vector"],) = draw_captions(caption_keys, captions(batch))
        if beta is not None:
            read["between"] = between(read["vector"], beta, axis_name=axis_name)
        return read

    return change


# The game


def matching_aware(batch: Batch, cond: Condition | None, made: FloatImages) -> Sequence[Shown]:
    """Algorithm 1: images under their captions, under wrong ones, and made of their captions.

    The latter two count half. An image without a wrong caption does not count among them.
    """
    return [
        Shown("real", batch["image"], cond, real=True),
        Shown(
            "mismatched",
            batch["image"],
            Condition(vector=batch["wrong"]),
            real=False,
            weight=0.5 * batch["counts"],
        ),
        Shown("generated", made, cond, real=False, weight=0.5),
    ]


def train_step(
    state: GANState,
    batch: Batch,
    *,
    loss: AdversarialLoss = losses.non_saturating,
    mismatched: bool = True,
    interpolated: float | None = None,
    beta: float = 0.5,
    d_steps: int = 1,
    penalty: Penalty | None = None,
    augment: Augment | None = None,
    axis_name: str | None = None,
) -> tuple[GANState, Metrics]:
    """``d_steps`` updates of the discriminator, and one of the generator.

    Reads ``batch["image"]`` (uint8; or floats in [-1, 1]) and ``batch["vector"]`` [B, K, D].
    ``mismatched`` makes the discriminator matching-aware, which reads ``batch["meaning"]``
    [B, K, A] and ``batch["attributes"]`` [B, A] (see ``wrong_captions``). ``interpolated`` is the
    weight of the generator's loss at captions ``between`` two by ``beta``, one for each image,
    from noise of their own: 1 in equation 5, and 1/2 in effect in the authors' code, which has half
    as many. Without both it is the paper's GAN, with one
    of them GAN-CLS or GAN-INT, with both GAN-INT-CLS.

    ``augment`` changes the batch before captions are drawn. Other options and metrics are those of
    ``gan.train_step``; ``mismatched/logit`` is the mean of images under wrong captions. Raises
    ``ValueError`` for a batch without what is read, for a ``beta`` outside [0, 1], and for one
    without ``interpolated``.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta must lie in [0, 1], got {beta}")
    if interpolated is None and beta != 0.5:
        raise ValueError(f"beta={beta} does nothing without interpolated, the weight of its term")
    missing = [name for name in ("meaning", "attributes") if name not in batch]
    if mismatched and missing:
        raise ValueError(
            "wrong captions are known by what captions say and what is true of images: the batch "
            f"lacks {' and '.join(missing)} (or mismatched=False)"
        )
    captions(batch)
    return gan.train_step(
        state,
        batch,
        loss=loss,
        d_steps=d_steps,
        penalty=penalty,
        show=matching_aware if mismatched else gan.real_and_generated,
        imagine=None
        if interpolated is None
        else lambda batch: Imagined(Condition(vector=batch["between"]), interpolated),
        augment=_reading(augment, mismatched, None if interpolated is None else beta, axis_name),
        axis_name=axis_name,
    )


@evaluation_step
def eval_step(state: GANState, batch: Batch) -> Metrics:
    """Each image's ``logit`` under its captions, their mean, by D with its running statistics."""
    x = as_symmetric(batch["image"])

    def judged(vector: Vectors) -> PerExample:
        return mean_logit(state.discriminator, x, Condition(vector=vector))

    return {"logit": lax.map(judged, jnp.moveaxis(captions(batch), 1, 0)).mean(0)}


# Queries


def sample(
    state: GANState, key: PRNGKey, vectors: Vectors, numbers: Numbers | None = None
) -> Images:
    """An image of each text's vector; image i has the latent of ``key`` and ``numbers[i]`` (i)."""
    return queries.sample(state, key, len(vectors), cond=vectors, numbers=numbers)


def generate(state: GANState, latents: Latents, vectors: Vectors) -> Images:
    """The image of each latent and text's vector."""
    return queries.generate(state, latents, vectors)


def between_texts(
    state: GANState,
    latents: Latents,
    start: Vectors,
    end: Vectors,
    *,
    size: int = 9,
    path: Path = linear,
) -> Films:
    """Images along ``path`` from each text to another, with the latents held."""
    z = jnp.repeat(latents[:, None], size, axis=1)
    return films(state, z, Condition(vector=walk(start, end, size=size, path=path)))


def between_latents(
    state: GANState,
    start: Latents,
    end: Latents,
    vectors: Vectors,
    *,
    size: int = 9,
    path: Path = spherical,
) -> Films:
    """Images along ``path`` from each latent to another, with the text held."""
    return queries.interpolation(state, start, end, size=size, path=path, cond=vectors)
