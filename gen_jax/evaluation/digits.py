"""A small classifier of handwritten digits: features and classes for scores that need no download.

Its weights are shipped; ``experiments/train_digit_classifier.py`` made them from full MNIST, and
``digits.md`` next to them says how, and gives its error rate. Scores by its features compare models
of MNIST with one another. They are not comparable with scores from Inception features.
"""

import os
import pathlib
from collections.abc import Sequence

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, UInt8

from gen_jax.evaluation import weights
from gen_jax.images import require_uint8_or_float
from gen_jax.nn.conv import Conv
from gen_jax.typing import Array, Params

SIZE = 28
N_CLASSES = 10
N_FEATURES = 128
SHIPPED = pathlib.Path(__file__).with_name("digits.safetensors")

Digits = UInt8[Array, "batch 28 28 1"] | Float[Array, "batch 28 28 1"]


class DigitNetwork(nn.Module):
    """Four convolutions, down to 4×4 pixels, and a dense layer of 128 features.

    From floats in [0, 1] it gives features (after their ReLU) and the logits of the ten digits, a
    linear map of them. No layer reads other images of the batch.
    """

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch 128"], Float[Array, "batch 10"]]:
        he = nn.initializers.he_normal()
        x = image
        for channels, side, strides in ((32, 5, 2), (64, 3, 2), (64, 3, 1), (64, 3, 2)):
            x = nn.relu(Conv(channels, (side, side), strides=strides, kernel_init=he)(x))
        features = nn.relu(nn.Dense(N_FEATURES, kernel_init=he)(x.reshape(len(x), -1)))
        return features, nn.Dense(N_CLASSES)(features)


@flax.struct.dataclass
class DigitClassifier:
    """The network with weights. A pytree: hand it to a compiled function as an argument.

    ``name`` and ``digest`` (SHA-256 of the weights) say which it is, ``resizer`` that it resizes
    nothing.
    """

    params: Params
    name: str = flax.struct.field(pytree_node=False)
    digest: str = flax.struct.field(pytree_node=False)
    resizer: str = flax.struct.field(pytree_node=False, default="none")

    def __call__(self, image: Digits) -> tuple[Float[Array, "batch 128"], Float[Array, "batch 10"]]:
        """Features, none negative, and the logits of the digits 0..9, in one pass.

        Images are levels 0..255: uint8, or the floats that ``resize`` makes. Raises ``ValueError``
        for another dtype, size or number of channels.
        """
        check_digits(image.shape)
        require_uint8_or_float(image)
        x = image.astype(jnp.float32) / 255.0
        return DigitNetwork().apply({"params": self.params}, x)  # pyright: ignore

    def features(self, image: Digits) -> Float[Array, "batch 128"]:
        """The features of a call alone."""
        return self(image)[0]

    def logits(self, image: Digits) -> Float[Array, "batch 10"]:
        """The logits of a call alone."""
        return self(image)[1]

    def log_probs(self, image: Digits) -> Float[Array, "batch 10"]:
        """Log-probabilities of the digits 0..9."""
        return jax.nn.log_softmax(self(image)[1])


def check_digits(shape: Sequence[int]) -> None:
    """Raises ``ValueError`` unless a batch of images has the size of MNIST's digits."""
    if len(shape) == 4 and tuple(shape[1:]) == (SIZE, SIZE, 1):
        return
    message = f"the digit classifier expects gray images [B, {SIZE}, {SIZE}, 1], got {list(shape)}"
    if len(shape) == 4 and shape[3] == 1:
        message += f"; evaluation.resize(image, {SIZE}) resizes them"
    raise ValueError(message)


def load(path: str | os.PathLike[str] = SHIPPED) -> DigitClassifier:
    """Reads the shipped weights, or others of the same network.

    Raises ``weights.WeightsError`` where the file is damaged or of another network.
    """
    tensors = weights.select(
        weights.read(path), _shapes(), network="the digit classifier", where=str(path)
    )
    return _classifier(tensors)


def make(params: Params) -> DigitClassifier:
    """The classifier that ``save(path, params)`` writes: a ``DigitNetwork``'s, as float16."""
    return _classifier(_rounded(params))


def save(path: str | os.PathLike[str], params: Params) -> None:
    """Writes a ``DigitNetwork``'s parameters as float16, for ``load``."""
    weights.write(path, _rounded(params))


def _classifier(tensors: weights.Tensors) -> DigitClassifier:
    params = {name: jnp.asarray(array, jnp.float32) for name, array in tensors.items()}
    return DigitClassifier(
        params=unflatten_dict(params, sep="."),
        name="gen_jax digits",
        digest=weights.digest(tensors),
    )


def _rounded(params: Params) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf, np.float16) for name, leaf in _named(params).items()}


def _named(params: Params) -> dict[str, Array]:
    return flatten_dict(params, sep=".")  # pyright: ignore


def _shapes() -> dict[str, tuple[int, ...]]:
    image = jnp.zeros((1, SIZE, SIZE, 1))
    variables = jax.eval_shape(DigitNetwork().init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in _named(variables["params"]).items()}
