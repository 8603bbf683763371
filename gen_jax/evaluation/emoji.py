"""A small classifier of emoji by category, for scores of models of colour pictures.

It is the feature network of FID and the like where Inception's weights are not at hand. Its own
are shipped; ``experiments/train_emoji_encoder.py`` made them from the shipped emoji, and
``emoji.md`` next to them says how, and gives its error rate.
"""

import os
import pathlib

import flax.linen as nn
from jaxtyping import Float

from gen_jax.evaluation.classifiers import Classifier, Kind
from gen_jax.nn.conv import Conv
from gen_jax.typing import Array

N_FEATURES = 128
CLASSES = (  # in the order of the Unicode charts
    "Smileys & Emotion",
    "People & Body",
    "Component",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
)


class EmojiNetwork(nn.Module):
    """Five convolutions, down to 4×4 pixels, their mean, and a dense layer of 128 features.

    From floats in [0, 1] it gives features (after their ReLU) and the logits of the ten categories,
    a linear map of them. No layer reads other images of the batch.
    """

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch 32 32 3"]
    ) -> tuple[Float[Array, "batch 128"], Float[Array, "batch 10"]]:
        he = nn.initializers.he_normal()
        x = 2.0 * image - 1.0
        layers = ((32, 5, 2), (64, 3, 1), (64, 3, 2), (128, 3, 1), (128, 3, 2))
        for channels, side, strides in layers:
            x = nn.relu(Conv(channels, (side, side), strides=strides, kernel_init=he)(x))
        features = nn.relu(nn.Dense(N_FEATURES, kernel_init=he)(x.mean(axis=(1, 2))))
        return features, nn.Dense(len(CLASSES))(features)


KIND = Kind(
    name="gen_jax emoji",
    called="the emoji classifier",
    network=EmojiNetwork(),
    image_shape=(32, 32, 3),
    class_names=CLASSES,
    resizer="bicubic",
    shipped=pathlib.Path(__file__).with_name("emoji.safetensors"),
)


def load(path: str | os.PathLike[str] | None = None) -> Classifier:
    """The classifier with its shipped weights, or others, as ``classifiers.Kind.load``."""
    return KIND.load(path)
