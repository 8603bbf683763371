"""Generative adversarial networks (Goodfellow et al. 2014): two players, one alternating step.

    min_G max_D  E_x[log D(x)] + E_z[log(1 - D(G(z)))]                       (equation 1)

Any loss of ``losses.py`` takes the place of this one. A generator is a linen module called as
``generator(z, label, train=...)`` that makes float images in [-1, 1], with the fields
``latent_dim``, ``image_shape`` and ``n_classes`` (None: no labels); a discriminator is called as
``discriminator(x, label, train=...)`` and gives logits [B]. Their batch statistics are those of one
kind of batch: real and generated images pass the discriminator separately, as Radford et al. (2015)
and others after them found best. The first paper reports a Parzen-window log-likelihood of 225 on
MNIST (``evaluation.parzen``).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Int

from gen_jax.adversarial import losses
from gen_jax.adversarial.losses import AdversarialLoss, Penalty
from gen_jax.adversarial.networks import FloatImages, Labels, Latents
from gen_jax.images import require_uint8_or_float, to_symmetric
from gen_jax.meshes import (
    evaluation_step,
    mean_gradients,
    mean_over_devices,
    per_device,
    training_step,
)
from gen_jax.state import (
    NetworkState,
    example_keys,
    example_numbers,
    named_keys,
)
from gen_jax.typing import Array, Batch, Images, Metrics, Params, PerExample, PRNGKey, PRNGKeys

Prior = Callable[[PRNGKey, tuple[int, ...]], Array]  # key, shape -> latents


@flax.struct.dataclass(kw_only=True)
class GANState:
    """Both players' records, and what else the step needs; ``step`` counts updates of G.

    ``prior`` is what latents are drawn from, in training and afterwards.
    """

    step: Int[Array, ""]
    generator: NetworkState
    discriminator: NetworkState
    key: PRNGKey
    prior: Prior = flax.struct.field(pytree_node=False)

    @property
    def params(self) -> Params:
        """Both networks' parameters."""
        return {
            "generator": self.generator.params,
            "discriminator": self.discriminator.params,
        }


def init(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: PRNGKey,
    example: Images,
    *,
    prior: Prior = jax.random.normal,
    ema_decay: float | None = None,
) -> GANState:
    """Draws both networks' parameters; ``example`` is a batch of images of the size to be made.

    ``ema_decay`` averages the generator's parameters. Raises ``ValueError`` where the example's
    shape is not the generator's ``image_shape``, or only one network takes labels.
    """
    model: Any = generator
    shape, classes = tuple(model.image_shape), n_classes(generator)
    if example.shape[1:] != shape:
        raise ValueError(f"the example's images are {example.shape[1:]}, the generator's {shape}")
    if classes != n_classes(discriminator):
        raise ValueError(
            f"the generator knows {classes} classes, the discriminator {n_classes(discriminator)}"
        )
    g_key, d_key, state_key = jax.random.split(key, 3)
    label = None if classes is None else jnp.zeros((1,), jnp.int32)
    z, x = jnp.zeros((1, model.latent_dim)), jnp.zeros((1, *shape))
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=new_network(generator, generator_tx, g_key, z, label, ema_decay=ema_decay),
        discriminator=new_network(discriminator, discriminator_tx, d_key, x, label),
        key=state_key,
        prior=prior,
    )


def n_classes(model: Any) -> int | None:
    """How many classes a network knows; None where it takes no labels."""
    return getattr(model, "n_classes", None)


def new_network(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: PRNGKey,
    *inputs: Any,
    ema_decay: float | None = None,
) -> NetworkState:
    """A player's record before its first update, initialized on ``inputs``."""
    variables: Any = model.init(key, *inputs, train=False)
    model_state = {name: value for name, value in variables.items() if name != "params"}
    return NetworkState.create(
        model=model, tx=tx, params=variables["params"], model_state=model_state, ema_decay=ema_decay
    )


def play(network: NetworkState, params: Params, *inputs: Any, model_state: Any = None) -> Any:
    """A network's output on a batch in training, and its batch statistics afterwards.

    ``model_state`` takes the place of the record's own, where a second batch follows a first.
    """
    before = network.model_state if model_state is None else model_state
    variables = {"params": params, **before}
    return network.model.apply(variables, *inputs, train=True, mutable=list(before))


def latents(state: GANState, keys: PRNGKeys, prior: Prior | None = None) -> Latents:
    """One latent for each key, from the game's prior or another."""
    draw = state.prior if prior is None else prior
    return jax.vmap(lambda key: draw(key, (state.generator.model.latent_dim,)))(keys)


def discriminator_loss(
    params: Params,
    network: NetworkState,
    real: FloatImages,
    fake: FloatImages,
    label: Labels | None,
    keys: PRNGKeys,
    *,
    loss: AdversarialLoss,
    penalty: Penalty | None = None,
    axis_name: str | None = None,
) -> tuple[Array, tuple[Any, Metrics]]:
    """The discriminator's mean loss, its new batch statistics, and metrics.

    ``params`` are the discriminator's; no gradient reaches the generator through ``fake``.
    """
    fake = lax.stop_gradient(fake)
    real_logits, model_state = play(network, params, real, label)
    fake_logits, model_state = play(network, params, fake, label, model_state=model_state)
    value = loss.discriminator(real_logits, fake_logits).mean()
    metrics = {
        "discriminator/loss": value,
        "real/logit": real_logits.mean(),
        "generated/logit": fake_logits.mean(),
        "separation": separation(real_logits, fake_logits, axis_name),
    }
    if penalty is not None:
        # Its own batches have statistics of their own: they change nothing that is kept.
        slope = penalty(lambda x: play(network, params, x, label)[0], keys, real, fake).mean()
        metrics["penalty"] = slope
        value = value + slope
    return value, (model_state, metrics)


def generator_loss(
    fake: FloatImages, network: NetworkState, label: Labels | None, *, loss: AdversarialLoss
) -> Array:
    """The generator's mean loss as a function of what it made.

    ``network`` is the discriminator, whose parameters and statistics no gradient reaches.
    """
    logits, _ = play(network, lax.stop_gradient(network.params), fake, label)
    return loss.generator(logits).mean()


@training_step
def train_step(
    state: GANState,
    batch: Batch,
    *,
    loss: AdversarialLoss = losses.non_saturating,
    d_steps: int = 1,
    reuse_images: bool = False,
    penalty: Penalty | None = None,
    axis_name: str | None = None,
) -> tuple[GANState, Metrics]:
    """``d_steps`` updates of the discriminator, then one of the generator.

    Reads ``batch["image"]`` (uint8; or floats, which are taken as they are), and
    ``batch["label"]`` where the networks know classes: generated images have the labels of the
    real ones. The batch holds ``d_steps * m`` images, m new ones for each update of the
    discriminator (WGAN-GP, algorithm 1); with ``reuse_images`` it holds m, which each update sees.
    The generator makes m images an update, from new noise for each of the discriminator's; it
    shares that of the last one. ``penalty`` (one of ``losses``, with its weight) joins the
    discriminator's loss.

    Metrics, of the discriminator's last update where there are several: ``discriminator/loss``
    (without the penalty), ``generator/loss`` and ``penalty``; ``real/logit`` and
    ``generated/logit``, means over the m images; ``separation`` and ``diversity`` as the functions
    of these names; both gradients' norms (``discriminator/gradient``, ``generator/gradient``).
    Raises ``ValueError`` for ``d_steps`` below 1, a batch it cannot deal out, or images of another
    dtype.
    """
    label = batch["label"] if n_classes(state.generator.model) is not None else None
    shown = _shown(batch["image"], label, d_steps, reuse_images)
    last = d_steps - 1
    real, label = shown(last)
    keys = named_keys(state.key, state.step, "noise", "penalty")
    numbers = example_numbers(real, axis_name)

    def draw(i: Array | int) -> Array:
        return latents(state, example_keys(jax.random.fold_in(keys["noise"], i), numbers))

    def generate(params: Params, i: Array | int, label: Labels | None) -> tuple[Array, Any]:
        return play(state.generator, params, draw(i), label)

    def update(
        discriminator: NetworkState, i: Array | int, real: Array, fake: Array, label: Labels | None
    ) -> tuple[NetworkState, Metrics]:
        penalty_keys = example_keys(jax.random.fold_in(keys["penalty"], i), numbers)

        def own_loss(params: Params) -> tuple[Array, tuple[Any, Metrics]]:
            return discriminator_loss(
                params,
                discriminator,
                real,
                fake,
                label,
                penalty_keys,
                loss=loss,
                penalty=penalty,
                axis_name=axis_name,
            )

        grads, _, (model_state, metrics) = mean_gradients(own_loss, discriminator.params, axis_name)
        metrics["discriminator/gradient"] = optax.tree.norm(grads)
        return discriminator.apply_gradients(grads, model_state=model_state), metrics

    def early(discriminator: NetworkState, i: Array) -> tuple[NetworkState, None]:
        real, label = shown(i)
        fake, _ = generate(state.generator.params, i, label)
        return update(discriminator, i, real, fake, label)[0], None

    discriminator = state.discriminator
    if last:
        discriminator, _ = lax.scan(early, discriminator, jnp.arange(last))

    # One forward pass of the generator serves both players: its parameters wait for the second.
    fake, pull_back, model_state = jax.vjp(
        lambda params: generate(params, last, label),
        per_device(state.generator.params, axis_name),
        has_aux=True,
    )
    discriminator, metrics = update(discriminator, last, real, fake, label)
    value, slope = jax.value_and_grad(generator_loss)(fake, discriminator, label, loss=loss)
    (grads,) = pull_back(slope)
    grads, value, model_state = mean_over_devices((grads, value, model_state), axis_name)
    metrics["generator/loss"] = value
    metrics["generator/gradient"] = optax.tree.norm(grads)
    metrics["diversity"] = diversity(real, fake, axis_name)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        generator=state.generator.apply_gradients(grads, model_state=model_state),
        discriminator=discriminator,
    )
    return state, metrics


def as_made(example: Array) -> Array:
    """Examples as a generator makes them: uint8 levels as floats in [-1, 1], floats as they are.

    Raises ``ValueError`` for any other dtype.
    """
    require_uint8_or_float(example)
    return to_symmetric(example) if example.dtype == jnp.uint8 else example


def _shown(
    image: Array, label: Labels | None, d_steps: int, reuse_images: bool
) -> Callable[[Array | int], tuple[FloatImages, Labels | None]]:
    """What update i of the discriminator sees, as a function of i.

    Images stay as they are stored until their update: floats are made of m at a time.
    """
    if d_steps < 1:
        raise ValueError(f"d_steps must be 1 or more, got {d_steps}")
    if reuse_images or d_steps == 1:
        all_of_them = as_made(image), label
        return lambda i: all_of_them
    if len(image) % d_steps:
        raise ValueError(f"a batch of {len(image)} cannot be divided among {d_steps} updates")

    def deal(x: Array) -> Array:
        # Every d-th image: each device's part of a spread batch serves every update.
        return jnp.moveaxis(x.reshape(-1, d_steps, *x.shape[1:]), 1, 0)

    dealt = jax.tree.map(deal, (image, label))

    def shown(i: Array | int) -> tuple[FloatImages, Labels | None]:
        image, label = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False), dealt)
        return as_made(image), label

    return shown


def separation(
    real_logits: PerExample, fake_logits: PerExample, axis_name: str | None = None
) -> Array:
    """The share of logits on their side of the midpoint of both means.

    1 where D separates real from generated images perfectly, 1/2 where not at all, whatever the
    scale of its logits. A logit at the midpoint counts half.
    """
    midpoint = 0.5 * mean_over_devices(real_logits.mean() + fake_logits.mean(), axis_name)
    sides = jnp.sign(real_logits - midpoint).mean() + jnp.sign(midpoint - fake_logits).mean()
    return 0.5 + 0.25 * mean_over_devices(sides, axis_name)


def diversity(real: FloatImages, fake: FloatImages, axis_name: str | None = None) -> Array:
    """The root mean squared deviation of pixels over the generated batch, over the real one's."""

    def deviation(x: Array) -> Array:
        moments = mean_over_devices((x.mean(0), (x**2).mean(0)), axis_name)
        return jnp.sqrt(jnp.maximum(moments[1] - moments[0] ** 2, 0.0).mean())

    return deviation(fake) / jnp.maximum(deviation(real), 1e-12)


@evaluation_step
def eval_step(state: GANState, batch: Batch) -> Metrics:
    """Each image's ``logit`` by the discriminator with its running statistics, [B]."""
    network = state.discriminator
    label = batch["label"] if n_classes(network.model) is not None else None
    x = as_made(batch["image"])
    return {"logit": network.model.apply(network.eval_variables, x, label, train=False)}
