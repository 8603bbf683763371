"""A small classifier of handwritten digits, for scores of models of MNIST.

Its weights are shipped; ``experiments/train_digit_classifier.py`` made them from full MNIST, and
``digits.md`` next to them says how, and gives its error rate.
"""

import os
import pathlib

import flax.linen as nn
from jaxtyping import Float

from gen_jax.evaluation.classifiers import Classifier, Kind
from gen_jax.nn.conv import Conv
from gen_jax.typing import Array

N_FEATURES = 128
CLASSES = tuple("0123456789")


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
        return features, nn.Dense(len(CLASSES))(features)


KIND = Kind(
    name="gen_jax digits",
    called="the digit classifier",
    network=DigitNetwork(),
    image_shape=(28, 28, 1),
    class_names=CLASSES,
    resizer="none",
    shipped=pathlib.Path(__file__).with_name("digits.safetensors"),
)


def load(path: str | os.PathLike[str] | None = None) -> Classifier:
    """The classifier with its shipped weights, or others, as ``classifiers.Kind.load``."""
    return KIND.load(path)
