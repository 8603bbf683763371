"""The plain autoencoder: a code through which an image must pass, trained by the L2 loss.

    loss(x) = sum over pixels (x - decode(encode(x)))^2

Its decoder serves the training alone: dropped, the encoder is left as features.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from gen_jax.images import to_float
from gen_jax.latent.networks import DenseDecoder, DenseEncoder
from gen_jax.meshes import evaluation_step, mean_gradients, training_step
from gen_jax.state import TrainState
from gen_jax.typing import (
    Array,
    Batch,
    Images,
    ImageShape,
    MeanImage,
    Metrics,
    Params,
    PerExample,
    PRNGKey,
)

Codes = Float[Array, "batch code"]
FloatImages = Float[Array, "batch height width channels"]


class Autoencoder(nn.Module):
    """A linear code over an encoder's features, and a decoder's outputs read as the image."""

    image_shape: ImageShape
    code_dim: int
    encoder: nn.Module = DenseEncoder()
    decoder: nn.Module = DenseDecoder()

    def setup(self):
        self.code = nn.Dense(self.code_dim)

    def encode(self, x: FloatImages) -> Codes:
        return self.code(self.encoder(x))

    def decode(self, code: Codes) -> FloatImages:
        return self.decoder(code, shape=tuple(self.image_shape))

    def __call__(self, x: FloatImages) -> FloatImages:
        return self.decode(self.encode(x))


def init(
    model: Autoencoder,
    tx: optax.GradientTransformation,
    key: PRNGKey,
    example: Images,
    *,
    mean_image: MeanImage | None = None,
    ema_decay: float | None = None,
) -> TrainState:
    """Draws the parameters; ``example`` is a batch of images of the size to be modelled.

    ``mean_image`` (floats in [0, 1]) starts the decoder's bias at the data's mean. Raises
    ``ValueError`` where the example's shape is not ``model.image_shape``.
    """
    if example.shape[1:] != tuple(model.image_shape):
        raise ValueError(
            f"the example's images are {example.shape[1:]}, the model's {model.image_shape}"
        )
    params_key, state_key = jax.random.split(key)
    params = model.init(params_key, jnp.zeros((1, *model.image_shape)))["params"]
    if mean_image is not None:
        params["decoder"]["bias"] = jnp.asarray(mean_image, jnp.float32)
    return TrainState.create(model=model, tx=tx, params=params, key=state_key, ema_decay=ema_decay)


def l2_loss(model: Autoencoder, params: Params, image: Images) -> PerExample:
    """The squared error of each reconstruction, summed over an image in [0, 1].

    Raises ``ValueError`` for images that are not uint8.
    """
    x = to_float(image)
    y: Any = model.apply({"params": params}, x)
    return ((y - x) ** 2).reshape(x.shape[0], -1).sum(-1)


@training_step
def train_step(
    state: TrainState, batch: Batch, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """One update by the L2 loss of ``batch["image"]``; metrics: ``loss``, its mean per image."""

    def loss(params: Params) -> tuple[Array, None]:
        return l2_loss(state.model, params, batch["image"]).mean(), None

    grads, value, _ = mean_gradients(loss, state.params, axis_name)
    return state.apply_gradients(grads), {"loss": value}


@evaluation_step
def eval_step(state: TrainState, batch: Batch) -> Metrics:
    """Each example's ``loss``, the squared error summed over the image, [B]."""
    return {"loss": l2_loss(state.model, state.eval_params, batch["image"])}


def encoder_params(params: Params) -> Params:
    """The parameters without the decoder's: all that ``encode`` needs."""
    return {name: value for name, value in params.items() if name != "decoder"}


def encode(model: Autoencoder, params: Params, image: Images) -> Codes:
    """Each image's code; ``params`` may lack the decoder's."""
    code: Any = model.apply({"params": params}, to_float(image), method="encode")
    return code


def decode(model: Autoencoder, params: Params, code: Codes) -> FloatImages:
    """The image of each code, floats in [0, 1]: what lies outside is clipped."""
    y: Any = model.apply({"params": params}, code, method="decode")
    return jnp.clip(y, 0.0, 1.0)


def reconstruct(model: Autoencoder, params: Params, image: Images) -> FloatImages:
    """Each image after its way through the code, floats in [0, 1]."""
    return decode(model, params, encode(model, params, image))
