"""Generative adversarial networks (Goodfellow et al. 2014): two players, one alternating step.

    min_G max_D  E_x[log D(x)] + E_z[log(1 - D(G(z)))]                       (equation 1)

Any loss of ``losses.py`` takes the place of this one; ``players.py`` says how networks are called.
Batch statistics are those of one kind of batch: real and generated images pass the discriminator
separately, as Radford et al. (2015) and others after them found best. The first paper reports a
Parzen-window log-likelihood of 225 on MNIST (``evaluation.parzen``).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Int

from gen_jax.adversarial import losses, measures
from gen_jax.adversarial.dealing import dealt
from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.losses import AdversarialLoss, Penalty
from gen_jax.adversarial.measures import Logits, separation
from gen_jax.adversarial.players import (
    Players,
    Prior,
    draw_noise,
    mean_logit,
    n_classes,
    new_players,
    play,
)
from gen_jax.images import as_symmetric
from gen_jax.meshes import (
    evaluation_step,
    mean_gradients,
    mean_over_devices,
    per_device,
    training_step,
)
from gen_jax.nn.condition import Condition, batch_condition
from gen_jax.state import NetworkState, example_keys, example_numbers, named_keys
from gen_jax.typing import Array, Batch, Metrics, Params, PerExample, PRNGKey, PRNGKeys


@flax.struct.dataclass(kw_only=True)
class GANState(Players):
    """Both players, and what else the step needs; ``step`` counts updates of G.

    ``prior`` is what latents are drawn from, in training and afterwards.
    """

    step: Int[Array, ""]
    key: PRNGKey
    prior: Prior = flax.struct.field(pytree_node=False)


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

    ``ema_decay`` averages the generator's parameters. Raises ``ValueError`` where the generator
    makes images of another shape than the batch's, or only one network takes labels.
    """
    classes, others = n_classes(generator), n_classes(discriminator)
    if classes != others:
        raise ValueError(f"the generator knows {classes} classes, the discriminator {others}")
    g_key, d_key, state_key = jax.random.split(key, 3)
    example = {name: jnp.asarray(value)[:1] for name, value in batch.items()}
    x, cond = as_symmetric(example["image"]), batch_condition(example, labels=classes is not None)
    noise = draw_noise(generator, prior, state_key[None])
    players = new_players(
        generator,
        discriminator,
        generator_tx,
        discriminator_tx,
        (g_key, d_key),
        (noise, cond),
        (x, cond),
        ema_decay=ema_decay,
    )
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=players.generator,
        discriminator=players.discriminator,
        key=state_key,
        prior=prior,
    )


@flax.struct.dataclass
class Shown:
    """Images that a discriminator is shown, beside their condition.

    It should call them real where ``real`` is set, and their mean loss counts ``weight`` times, or
    each one's as often as a weight of its own says. Metrics call them by ``name``.
    """

    name: str = flax.struct.field(pytree_node=False)
    image: FloatImages
    cond: Condition | None
    real: bool = flax.struct.field(pytree_node=False)
    weight: float | PerExample = 1.0


@flax.struct.dataclass
class Imagined:
    """Conditions [B] without images, of which the generator alone makes some, and is judged.

    The mean loss of these counts ``weight`` times.
    """

    cond: Condition
    weight: float = flax.struct.field(pytree_node=False, default=1.0)


Extra = Callable[[FloatImages, Batch], Array]  # made, batch -> what the generator minimizes as well
Augment = Callable[[PRNGKeys, Batch], Batch]
# What is shown in an update, of a batch whose images are floats, its condition, and images made.
Show = Callable[[Batch, Condition | None, FloatImages], Sequence[Shown]]
Imagine = Callable[[Batch], Imagined]  # of the last update's batch


def real_and_generated(
    batch: Batch, cond: Condition | None, made: FloatImages, *, weight: float = 1.0
) -> Sequence[Shown]:
    """The batch's images and those made of its conditions."""
    return [
        Shown("real", batch["image"], cond, real=True, weight=weight),
        Shown("generated", made, cond, real=False, weight=weight),
    ]


def discriminator_loss(
    params: Params,
    network: NetworkState,
    shown: Sequence[Shown],
    keys: PRNGKeys | None = None,
    *,
    loss: AdversarialLoss,
    penalty: Penalty | None = None,
    axis_name: str | None = None,
) -> tuple[Array, tuple[Any, Metrics]]:
    """The discriminator's loss, its new batch statistics, and metrics.

    ``params`` are the discriminator's; no gradient reaches what made the images. ``penalty`` is at
    the real and generated images, under the condition of the former, and draws by ``keys``, one an
    example.
    """
    shown = lax.stop_gradient(shown)
    logits, metrics, value, model_state = {}, {}, jnp.zeros(()), network.model_state
    for group in shown:
        found, model_state = play(network, params, group.image, group.cond, model_state=model_state)
        weight = jnp.reshape(group.weight, (-1, *(1,) * (found.ndim - 1)))
        value += (weight * (loss.real if group.real else loss.fake)(found)).mean()
        logits[group.name] = found
        metrics[f"{group.name}/logit"] = measures.mean_where(weight != 0.0, found, axis_name)
    metrics["discriminator/loss"] = value
    metrics["separation"] = separation(logits["real"], logits["generated"], axis_name)
    if penalty is not None:
        assert keys is not None, "a penalty needs keys"
        real, made = (next(x for x in shown if x.name == name) for name in ("real", "generated"))

        def discriminate(x: FloatImages) -> Logits:
            # Its own batches have statistics of their own: they change nothing that is kept.
            return play(network, params, x, real.cond)[0]

        slope = penalty(discriminate, keys, real.image, made.image).mean()
        metrics["penalty"] = slope
        value = value + slope
    return value, (model_state, metrics)


def generator_loss(
    made: FloatImages,
    network: NetworkState,
    batch: Batch,
    cond: Condition | None,
    *,
    loss: AdversarialLoss,
    extra: Extra | None = None,
) -> tuple[Array, Metrics]:
    """The generator's loss as a function of what it made, and metrics.

    ``network`` is the discriminator, whose parameters and statistics no gradient reaches.
    """
    logits, _ = play(network, lax.stop_gradient(network.params), made, cond)
    value = loss.generator(logits).mean()
    metrics = {"generator/loss": value}
    if extra is not None:
        metrics["generator/extra"] = extra(made, batch).mean()
        value = value + metrics["generator/extra"]
    return value, metrics


RANDOM = ("noise", "penalty", "augment")  # what a step draws


def augmented(
    batch: Batch, key: PRNGKey, augment: Augment | None, axis_name: str | None = None
) -> Batch:
    """The batch that a step reads: changed by ``augment``, which gets a key for each example."""
    if augment is None:
        return batch
    numbers = example_numbers(next(iter(batch.values())), axis_name)
    return augment(example_keys(key, numbers), batch)


@training_step
def train_step(
    state: GANState,
    batch: Batch,
    *,
    loss: AdversarialLoss = losses.non_saturating,
    d_steps: int = 1,
    reuse_images: bool = False,
    penalty: Penalty | None = None,
    show: Show = real_and_generated,
    extra: Extra | None = None,
    imagine: Imagine | None = None,
    augment: Augment | None = None,
    axis_name: str | None = None,
) -> tuple[GANState, Metrics]:
    """``d_steps`` updates of the discriminator, then one of the generator.

    Reads ``batch["image"]`` (uint8; or floats, which are taken as they are), and conditions as
    ``batch_condition`` says: generated images have those of the real ones. The batch holds
    ``d_steps * m`` images, m new ones for each update of the discriminator (WGAN-GP, algorithm 1);
    with ``reuse_images`` it holds m, which each update sees. The generator makes m images an
    update, from new noise for each of the discriminator's; it shares that of the last one.

    ``show`` says what the discriminator is shown. ``penalty`` (one of ``losses``, with its weight)
    joins the discriminator's loss, ``extra`` the generator's. ``imagine`` gives conditions under
    which the generator is judged as well, by images made from noise of their own. ``augment``
    changes the batch first, by a key for each example.

    Metrics, of the discriminator's last update where there are several: ``discriminator/loss`` and
    ``generator/loss``, without ``penalty``, ``generator/extra`` and ``generator/imagined``, each
    with its weight; ``real/logit``, ``generated/logit`` and those of what else is shown, means over
    the images that count; ``separation``, and ``diversity`` of batches of two images or more, as in
    ``measures``; both gradients' norms (``discriminator/gradient``, ``generator/gradient``). Raises
    ``ValueError`` for ``d_steps`` below 1, a batch it cannot deal out, or images of another dtype.
    """
    keys = named_keys(state.key, state.step, *RANDOM)
    batch = augmented(batch, keys["augment"], augment, axis_name)
    labels = n_classes(state.generator.model) is not None
    part = dealt(batch, labels, d_steps, reuse_images)
    last = d_steps - 1
    batch, cond = part(last)
    imagined = None if imagine is None else imagine(batch)
    numbers = example_numbers(batch["image"], axis_name)

    def generate(
        params: Params, i: Array | int, cond: Condition | None, model_state: Any = None
    ) -> tuple[Array, Any]:
        noise_keys = example_keys(jax.random.fold_in(keys["noise"], i), numbers)
        noise = draw_noise(state.generator.model, state.prior, noise_keys)
        return play(state.generator, params, noise, cond, model_state=model_state)

    def generate_last(params: Params) -> tuple[tuple[Array, Array | None], Any]:
        made, model_state = generate(params, last, cond)
        if imagined is None:
            return (made, None), model_state
        # Statistics to sample by are those of images of the batch's own conditions.
        unseen, _ = generate(params, d_steps, imagined.cond)
        return (made, unseen), model_state

    def update(
        discriminator: NetworkState, i: Array | int, shown: Sequence[Shown]
    ) -> tuple[NetworkState, Metrics]:
        penalty_keys = example_keys(jax.random.fold_in(keys["penalty"], i), numbers)

        def own_loss(params: Params) -> tuple[Array, tuple[Any, Metrics]]:
            return discriminator_loss(
                params,
                discriminator,
                shown,
                penalty_keys,
                loss=loss,
                penalty=penalty,
                axis_name=axis_name,
            )

        grads, _, (model_state, metrics) = mean_gradients(own_loss, discriminator.params, axis_name)
        metrics["discriminator/gradient"] = optax.tree.norm(grads)
        return discriminator.apply_gradients(grads, model_state=model_state), metrics

    def early(discriminator: NetworkState, i: Array) -> tuple[NetworkState, None]:
        batch, cond = part(i)
        made, _ = generate(state.generator.params, i, cond)
        return update(discriminator, i, show(batch, cond, made))[0], None

    discriminator = state.discriminator
    if last:
        discriminator, _ = lax.scan(early, discriminator, jnp.arange(last))

    # One forward pass of the generator serves both players: its parameters wait for the second.
    images, pull_back, model_state = jax.vjp(
        generate_last, per_device(state.generator.params, axis_name), has_aux=True
    )
    made = images[0]
    discriminator, metrics = update(discriminator, last, show(batch, cond, made))

    def own_loss(images: tuple[Array, Array | None]) -> tuple[Array, Metrics]:
        made, unseen = images
        value, values = generator_loss(made, discriminator, batch, cond, loss=loss, extra=extra)
        if unseen is not None:
            assert imagined is not None
            found, _ = generator_loss(unseen, discriminator, batch, imagined.cond, loss=loss)
            values["generator/imagined"] = imagined.weight * found
            value = value + values["generator/imagined"]
        return value, values

    slope, values = jax.grad(own_loss, has_aux=True)(images)
    (grads,) = pull_back(slope)
    grads, values, model_state = mean_over_devices((grads, values, model_state), axis_name)
    metrics |= values
    metrics["generator/gradient"] = optax.tree.norm(grads)
    metrics |= measures.of_batch(batch["image"], made, axis_name)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        generator=state.generator.apply_gradients(grads, model_state=model_state),
        discriminator=discriminator,
    )
    return state, metrics


@evaluation_step
def eval_step(state: GANState, batch: Batch) -> Metrics:
    """Each image's ``logit``, its patches' mean, by D with its running statistics, [B]."""
    network = state.discriminator
    cond = batch_condition(batch, labels=n_classes(network.model) is not None)
    x = as_symmetric(batch["image"])
    return {"logit": mean_logit(network, x, cond)}
