"""Small classifiers whose weights are shipped: features and classes for scores without a download.

``Kind`` is what a classifier is but its weights, ``Classifier`` one with weights. Scores by the
features of one compare models of its kind of images with one another; they are not comparable with
scores from Inception features.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, UInt8

from gen_jax.evaluation import weights
from gen_jax.evaluation.resize import Resizer, resize
from gen_jax.images import require_uint8_or_float
from gen_jax.typing import Array, ImageShape, Params

Levels = UInt8[Array, "batch height width channels"] | Float[Array, "batch height width channels"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A network, the images that it reads, and its classes.

    ``network`` maps floats in [0, 1] of ``image_shape`` to features and logits, each image by
    itself. ``resizer`` is how images of other sizes are fitted to it; with ``"none"`` they are
    refused. ``name`` is for provenances, ``called`` for messages, ``shipped`` its weights.
    """

    name: str
    called: str
    network: nn.Module
    image_shape: ImageShape
    class_names: tuple[str, ...]
    resizer: Resizer | Literal["none"]
    shipped: pathlib.Path

    def check(self, shape: Sequence[int]) -> None:
        """Raises ``ValueError`` unless the classifier reads batches of images of ``shape``."""
        height, width, channels = self.image_shape
        is_batch = len(shape) == 4 and shape[3] == channels and 0 not in shape[1:]
        is_any = self.resizer != "none"
        if is_batch and (is_any or tuple(shape[1:3]) == (height, width)):
            return
        sides = "H, W" if is_any else f"{height}, {width}"
        message = (
            f"{self.called} expects {'gray' if channels == 1 else 'RGB'} images "
            f"[B, {sides}, {channels}], got {list(shape)}"
        )
        if is_batch:
            message += f"; evaluation.resize(image, {height}) resizes them"
        raise ValueError(message)

    def load(self, path: str | os.PathLike[str] | None = None) -> "Classifier":
        """The classifier with the shipped weights, or others of the same network.

        Raises ``weights.WeightsError`` where the file is damaged or of another network.
        """
        path = self.shipped if path is None else path
        tensors = weights.read(path)
        return self._with(
            weights.select(tensors, self._shapes(), network=self.called, where=str(path))
        )

    def make(self, params: Params) -> "Classifier":
        """The classifier that ``save(path, params)`` writes: its network's, as float16."""
        return self._with(_rounded(params))

    def save(self, path: str | os.PathLike[str], params: Params) -> None:
        """Writes the network's parameters as float16, for ``load``."""
        weights.write(path, _rounded(params))

    def _with(self, tensors: weights.Tensors) -> "Classifier":
        params = {name: jnp.asarray(array, jnp.float32) for name, array in tensors.items()}
        return Classifier(
            params=unflatten_dict(params, sep="."), kind=self, digest=weights.digest(tensors)
        )

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        image = jnp.zeros((1, *self.image_shape))
        variables: Any = jax.eval_shape(self.network.init, jax.random.key(0), image)
        return {name: leaf.shape for name, leaf in _named(variables["params"]).items()}


@flax.struct.dataclass
class Classifier:
    """A network with weights. A pytree: hand it to a compiled function as an argument.

    ``name`` and ``digest`` (SHA-256 of the weights) say which it is, ``resizer`` how images of
    other sizes are fitted to it.
    """

    params: Params
    kind: Kind = flax.struct.field(pytree_node=False)
    digest: str = flax.struct.field(pytree_node=False)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def resizer(self) -> str:
        return self.kind.resizer

    def __call__(
        self, image: Levels
    ) -> tuple[Float[Array, "batch features"], Float[Array, "batch classes"]]:
        """Features, and the logits of the classes, in one pass.

        Images are levels 0..255: uint8, or the floats that ``resize`` makes. Raises ``ValueError``
        for another dtype, number of channels, or size where there is no resizer.
        """
        self.kind.check(image.shape)
        require_uint8_or_float(image)
        size = self.kind.image_shape[:2]
        if self.kind.resizer != "none" and image.shape[1:3] != size:
            image = resize(image, size, method=self.kind.resizer)
        x = image.astype(jnp.float32) / 255.0
        return self.kind.network.apply({"params": self.params}, x)  # pyright: ignore

    def features(self, image: Levels) -> Float[Array, "batch features"]:
        """The features of a call alone."""
        return self(image)[0]

    def logits(self, image: Levels) -> Float[Array, "batch classes"]:
        """The logits of a call alone."""
        return self(image)[1]

    def log_probs(self, image: Levels) -> Float[Array, "batch classes"]:
        """Log-probabilities of the classes."""
        return jax.nn.log_softmax(self(image)[1])


def _rounded(params: Params) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf, np.float16) for name, leaf in _named(params).items()}


def _named(params: Params) -> dict[str, Array]:
    return flatten_dict(params, sep=".")  # pyright: ignore
