"""The joint space of a trained text encoder: sentences, captions and images as vectors."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from experiments.running.reopened import reopen
from experiments.text.captions import unit_mean_square
from gen_jax import data, training
from gen_jax.adversarial import joint_embedding
from gen_jax.data.captions import letters
from gen_jax.state import TrainState
from gen_jax.typing import Batch

CHUNK = 500  # texts or images embedded at a time
Vectors = Float[np.ndarray, "n size"]


@dataclasses.dataclass(frozen=True, eq=False)
class Embedder:
    """A trained pair of encoders; ``length`` is the number of letters that a text is read to, and
    ``shape`` that of the images."""

    state: TrainState
    length: int
    shape: tuple[int, ...]

    @classmethod
    def open(cls, run_dir: Path) -> "Embedder":
        """Those of a run of ``text_encoder``. Raises ``RunError`` where there is no such run."""
        opened = reopen(run_dir, among=("text_encoder",))
        assert opened.spec.text is not None
        return cls(opened.state, opened.spec.text[1], opened.spec.shape)

    @property
    def size(self) -> int:
        """The length of a vector."""
        tokens = jax.ShapeDtypeStruct((1, self.length), np.uint8)
        return jax.eval_shape(joint_embedding.embed_text, self.state, tokens).shape[1]

    def of_tokens(self, tokens: UInt8[np.ndarray, "n letters"]) -> Vectors:
        return _compiled("text").in_chunks(self.state, {"tokens": tokens}, CHUNK)

    def of_images(self, images: UInt8[np.ndarray, "n height width channels"]) -> Vectors:
        return _compiled("image").in_chunks(self.state, {"image": images}, CHUNK)

    def conditions(self, tokens: UInt8[np.ndarray, "n letters"]) -> Vectors:
        """Vectors to make images from: those of the texts, of a mean square of 1."""
        return unit_mean_square(self.of_tokens(tokens))

    def conditions_of(self, texts: Sequence[str]) -> Vectors:
        """Raises ``DataError`` and warns as ``letters.encode`` does."""
        return self.conditions(letters.encode(texts, self.length))

    def with_conditions(self, captions: data.Captioned) -> data.Captioned:
        """The same captions, each with its vector."""
        parts = []
        for start in range(0, len(captions), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(captions)))
            tokens = captions.take(rows)["tokens"]  # [n, K, L]
            parts.append(self.conditions(tokens.reshape(-1, tokens.shape[-1])))
        vectors = np.concatenate(parts)
        return captions.with_embeddings(vectors.reshape(len(captions), -1, vectors.shape[1]))


@functools.cache
def _compiled(what: str) -> training.CompiledEval:
    """One program for all texts, and one for all images, on the devices of this process."""
    function: Any = {"text": _of_tokens, "image": _of_images}[what]
    return training.compile_eval(function, training.local_mesh())


def _of_tokens(state: TrainState, batch: Batch) -> jax.Array:
    return joint_embedding.embed_text(state, batch["tokens"])


def _of_images(state: TrainState, batch: Batch) -> jax.Array:
    return joint_embedding.embed_image(state, batch["image"])
