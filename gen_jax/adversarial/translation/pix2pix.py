"""pix2pix (Isola et al. 2016, 1611.07004): images made from images, judged beside their source.

    G* = arg min_G max_D  E[log D(x, y)] + E[log(1 - D(x, G(x, z)))] + lambda E|y - G(x, z)|

(equation 4) for pairs of a source x, ``batch["spatial"]``, and a target y, ``batch["image"]``. The
noise z is dropout in the generator, which the paper leaves on at test time; D judges patches of
source and image together, and its loss is halved (section 3.3). With lambda 100, labels to
photographs of Cityscapes score 0.66 per-pixel accuracy, 0.23 per-class accuracy and 0.17 class IoU
(table 1). Networks are those of ``translation.networks``, or others that read ``cond.spatial``
alone; a generator draws its noise from keys (see ``players``). To translate, batch normalization
uses running statistics, where the paper has those of the test batch, a single image: instance
normalization has these.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import optax

from gen_jax.adversarial import gan, losses, measures
from gen_jax.adversarial.gan import Augment, Extra, GANState
from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.losses import AdversarialLoss, Penalty, l1
from gen_jax.adversarial.losses import l2 as l2  # the other distance on offer
from gen_jax.adversarial.players import draw_noise, generated, play
from gen_jax.images import as_symmetric
from gen_jax.meshes import automatic, batch_spec, evaluation_step, mean_gradients, training_step
from gen_jax.nn.condition import Condition, batch_condition
from gen_jax.state import example_keys, example_numbers, named_keys, numbers_or_places
from gen_jax.typing import (
    Array,
    Batch,
    Images,
    Metrics,
    Numbers,
    Params,
    PerExample,
    PRNGKey,
    PRNGKeys,
)

Distance = Callable[[FloatImages, FloatImages], PerExample]  # made, target


def init(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: PRNGKey,
    batch: Batch,
    *,
    ema_decay: float | None = None,
) -> GANState:
    """Draws both networks' parameters; ``batch`` is one to train on, or of the same shapes.

    Raises ``ValueError`` for a batch without ``"spatial"``, and as ``gan.init`` does.
    """
    if "spatial" not in batch:
        raise ValueError(
            'pix2pix needs pairs: batch["spatial"] is the source of batch["image"], got '
            f"{sorted(batch)}"
        )
    txs = generator_tx, discriminator_tx
    return gan.init(generator, discriminator, *txs, key, batch, ema_decay=ema_decay)


def train_step(
    state: GANState,
    batch: Batch,
    *,
    loss: AdversarialLoss | None = losses.non_saturating,
    distance: Distance | None = l1,
    weight: float = 100.0,
    penalty: Penalty | None = None,
    augment: Augment | None = None,
    axis_name: str | None = None,
) -> tuple[GANState, Metrics]:
    """One update of the discriminator, and one of the generator.

    Reads ``batch["image"]`` and ``batch["spatial"]`` (uint8; or floats in [-1, 1]). The generator
    also minimizes ``weight`` times ``distance`` to the target. Without ``loss`` it minimizes this
    alone, and D is not updated; without ``distance`` it is judged by D alone. ``penalty`` joins D's
    halved loss as it is. ``augment`` and metrics are those of ``gan.train_step``;
    ``generator/extra`` is the weighted distance. Raises ``ValueError`` without either, and for a
    penalty without a loss.
    """
    if loss is None and distance is None:
        raise ValueError("the generator needs something to minimize: a loss, a distance, or both")
    extra = None if distance is None else _weighted(distance, weight)
    if loss is None:
        if penalty is not None:
            raise ValueError("a penalty belongs to a loss of the discriminator, and there is none")
        assert extra is not None
        return _regression_step(state, batch, extra=extra, augment=augment, axis_name=axis_name)
    return gan.train_step(
        state,
        batch,
        loss=loss,
        penalty=penalty,
        show=functools.partial(gan.real_and_generated, weight=0.5),
        extra=extra,
        augment=augment,
        axis_name=axis_name,
    )


def _weighted(distance: Distance, weight: float) -> Extra:
    return lambda made, batch: weight * distance(made, batch["image"])


@training_step
def _regression_step(
    state: GANState,
    batch: Batch,
    *,
    extra: Extra,
    augment: Augment | None,
    axis_name: str | None,
) -> tuple[GANState, Metrics]:
    """An update of the generator by its distance alone."""
    keys = named_keys(state.key, state.step, *gan.RANDOM)
    batch = gan.augmented(batch, keys["augment"], augment, axis_name)
    batch = {**batch, "image": as_symmetric(batch["image"])}
    generator = state.generator
    cond = batch_condition(batch, labels=gan.n_classes(generator.model) is not None)
    noise_keys = example_keys(keys["noise"], example_numbers(batch["image"], axis_name))
    noise = draw_noise(generator.model, state.prior, noise_keys)

    def own_loss(params: Params) -> tuple[Array, tuple[Any, Metrics]]:
        made, model_state = play(generator, params, noise, cond)
        measured = measures.of_batch(batch["image"], made, axis_name)
        return extra(made, batch).mean(), (model_state, measured)

    grads, value, (model_state, metrics) = mean_gradients(own_loss, generator.params, axis_name)
    metrics |= {"generator/extra": value, "generator/gradient": optax.tree.norm(grads)}
    generator = generator.apply_gradients(grads, model_state=model_state)
    return dataclasses.replace(state, step=state.step + 1, generator=generator), metrics


@evaluation_step
def eval_step(state: GANState, batch: Batch) -> Metrics:
    """Each image's ``l1`` to its target, of the range of 255 levels, translated without noise."""
    made = as_symmetric(translate(state, None, batch["spatial"]))
    return {"l1": 127.5 * l1(made, as_symmetric(batch["image"]))}


def translate(
    state: GANState, key: PRNGKey | None, source: Images, *, numbers: Numbers | None = None
) -> Images:
    """What the generator makes of sources [B, H, W, C], of any size that it takes.

    Its dropout is drawn by ``key`` and each source's number (its place, unless given): another key,
    another translation. Without a key there is no dropout. Averaged parameters are used where
    there are any.
    """
    keys = None if key is None else example_keys(key, numbers_or_places(numbers, source))
    return generate(state, keys, source)


def generate(state: GANState, keys: PRNGKeys | None, source: Images) -> Images:
    """``translate`` with the dropout of each source drawn by a key of its own, [B]."""

    def made(state: GANState, keys: PRNGKeys | None, source: Images) -> Images:
        return generated(state.generator, keys, Condition(spatial=source))

    return automatic(made, batch_spec(source), state, keys, source)
