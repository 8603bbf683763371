"""A style encoder, which inverts a text's generator (Reed et al. 2016, 1605.05396, section 4.4).

    L_style = E_{t, z}|z - S(G(z, φ(t)))|^2

A caption says what is in an image; its latent holds the rest, pose and background, say. S reads it
from images, having learned on those of a trained generator, where the latent is known. The style
of an image x under a text t is then G(S(x), φ(t)).
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from gen_jax.adversarial.gan import GANState
from gen_jax.adversarial.inputs import FloatImages, Latents, Vectors
from gen_jax.adversarial.losses import l1
from gen_jax.adversarial.networks import conv_maps
from gen_jax.adversarial.players import Prior, draw_noise, play
from gen_jax.adversarial.text.captions import captions, draw_captions
from gen_jax.images import as_symmetric, from_symmetric
from gen_jax.meshes import automatic, batch_spec, evaluation_step, mean_gradients, training_step
from gen_jax.nn.blocks import Norm
from gen_jax.nn.condition import Condition
from gen_jax.nn.precision import last_dtype
from gen_jax.state import TrainState, example_keys, example_numbers
from gen_jax.typing import Array, Batch, Images, Metrics, Params, PRNGKey


class StyleEncoder(nn.Module):
    """DCGAN's convolutions to the smallest maps, and a dense layer: images to latents."""

    features: int = 64
    _: dataclasses.KW_ONLY
    latent_dim: int = 100
    norm: Norm = "batch"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: FloatImages, *, train: bool = False) -> Latents:
        shared: Any = {"norm": self.norm, "axis_name": self.axis_name, "dtype": self.dtype}
        x = conv_maps(x, self.features, train=train, **shared)
        last = nn.Dense(self.latent_dim, dtype=last_dtype(self.dtype), name="latent")
        return last(x.reshape(len(x), -1)).astype(jnp.float32)


@flax.struct.dataclass(kw_only=True)
class StyleState(TrainState):
    """The encoder's record, and a trained generator with all that it reads, which stays."""

    generator_variables: Any
    generator: Any = flax.struct.field(pytree_node=False)
    prior: Prior = flax.struct.field(pytree_node=False)


def init(
    encoder: nn.Module,
    tx: optax.GradientTransformation,
    key: PRNGKey,
    trained: GANState,
    batch: Batch,
    *,
    ema_decay: float | None = None,
) -> StyleState:
    """Draws the encoder's parameters, for the generator of ``trained`` (its averaged parameters,
    where it has them).

    ``batch`` is one to train on, or of the same shapes: captions ``"vector"`` [B, K, D]. Raises
    ``ValueError`` where the encoder gives other latents than the generator takes.
    """
    encoder_key, state_key = jax.random.split(key)
    generator = trained.generator.model
    # Copies: a state that is donated must not take the game's buffers with it.
    variables = jax.tree.map(jnp.copy, trained.generator.eval_variables)
    z = draw_noise(generator, trained.prior, state_key[None])
    x = generator.apply(variables, z, Condition(vector=captions(batch)[:1, 0]), train=False)
    found, ours = encoder.init_with_output(encoder_key, x, train=False)
    if found.shape != z.shape:
        raise ValueError(
            f"the generator takes latents {z.shape[1:]}, the encoder gives {found.shape[1:]}"
        )
    return StyleState.create(
        model=encoder,
        tx=tx,
        params=ours["params"],
        model_state={name: value for name, value in ours.items() if name != "params"},
        ema_decay=ema_decay,
        key=state_key,
        generator=generator,
        generator_variables=variables,
        prior=trained.prior,
    )


@training_step
def train_step(
    state: StyleState, batch: Batch, *, axis_name: str | None = None
) -> tuple[StyleState, Metrics]:
    """One update of the encoder, on images that the generator makes of the batch's captions.

    Reads ``batch["vector"]`` [B, K, D]; one caption of each example is drawn, and a latent.
    Metrics: ``loss``, the squared distance of latents (the latent's size where S has learned
    nothing, under a normal prior), and ``gradient``, its norm.
    """
    vectors = captions(batch)
    numbers = example_numbers(vectors, axis_name)
    keys = {
        name: example_keys(key, numbers) for name, key in state.step_keys("noise", "text").items()
    }
    (vector,) = draw_captions(keys["text"], vectors)
    z = draw_noise(state.generator, state.prior, keys["noise"])
    x = state.generator.apply(state.generator_variables, z, Condition(vector=vector), train=False)

    def own_loss(params: Params) -> tuple[Array, Any]:
        found, model_state = play(state, params, x)
        return ((z - found) ** 2).sum(-1).mean(), model_state

    grads, value, model_state = mean_gradients(own_loss, state.params, axis_name)
    metrics = {"loss": value, "gradient": optax.tree.norm(grads)}
    return state.apply_gradients(grads, model_state=model_state), metrics


@evaluation_step
def eval_step(state: StyleState, batch: Batch) -> Metrics:
    """Each image's ``l1``, of 255 levels, to what its own style gives under its first caption."""
    made = as_symmetric(transfer(state, batch["image"], captions(batch)[:, 0]))
    return {"l1": 127.5 * l1(made, as_symmetric(batch["image"]))}


def encode(state: StyleState, images: Images) -> Latents:
    """The style of each image, uint8 [B, H, W, C]: the latent that S finds."""

    def found(state: StyleState, images: Images) -> Latents:
        return state.model.apply(state.eval_variables, as_symmetric(images), train=False)

    return automatic(found, batch_spec(images), state, images)


def transfer(state: StyleState, images: Images, vectors: Vectors) -> Images:
    """Each text [B, D] in the style of its image: G(S(x), φ(t))."""

    def made(state: StyleState, images: Images, vectors: Vectors) -> Images:
        cond = Condition(vector=vectors)
        z = encode(state, images)
        x = state.generator.apply(state.generator_variables, z, cond, train=False)
        return from_symmetric(x)

    return automatic(made, batch_spec(images), state, images, vectors)
