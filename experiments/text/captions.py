"""Which captions an experiment works on, and one sentence of each of its images."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float, Int, UInt8

from experiments.running.config import ImageConfig
from experiments.running.experiment import require_examples
from experiments.running.options import require_at_least
from gen_jax import data
from gen_jax.data.captions import letters
from gen_jax.data.captions.digits import NAME as DIGITS
from gen_jax.data.captions.sentences import sentence
from gen_jax.data.permutation import random_words

HELD_OUT = "held-out"
LEAST = 2  # images of a split: one has no other to be told from, and no covariance
_WORDINGS = 9  # separates these draws from other uses of a seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionsConfig(ImageConfig):
    """What captions to work on."""

    dataset: str = DIGITS
    """captioned-digits and emoji[:64][:noto or :twemoji] (shipped), or captions:PATH."""
    letters: int = letters.LENGTH
    """Letters of a caption that are read."""
    scored_samples: int = 2000
    """Test images, at most, whose sentences are scored."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "letters")
        require_at_least(20, self, "scored_samples")

    @property
    def embeddings(self) -> Path | None:
        """A file of the captions' vectors."""
        return None


def open_captions(config: CaptionsConfig, split: str) -> data.Captioned:
    """One part of the config's captions; vectors of a file are brought to a mean square of 1.

    Raises ``UsageError`` where it has too few images to be measured on.
    """
    part = data.load_captions(
        config.dataset,
        split,
        length=config.letters,
        embeddings=config.embeddings,
        **config.opening,
    )
    require_examples(part, LEAST)
    if part.embeddings is None:
        return part
    return part.with_embeddings(unit_mean_square(part.embeddings))


def unit_mean_square(vectors: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n size"]:
    """Vectors of a mean square of 1 each, like the noise beside them; one of zeros stays so."""
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)  # without a copy in float64
    scale = np.sqrt(squares / vectors.shape[1]).astype(vectors.dtype)[:, None]
    return vectors / np.where(scale > 0.0, scale, np.ones_like(scale))


def measured_parts(config: CaptionsConfig, test: data.Captioned) -> dict[str, data.Captioned]:
    """A test set, and what is held out beside it, by the prefix of its metrics."""
    parts = {"test/": test}
    if test.name == DIGITS:
        held_out = open_captions(dataclasses.replace(config, dataset=DIGITS), HELD_OUT)
        parts[f"test/{HELD_OUT}/"] = held_out
    return parts


@dataclasses.dataclass(frozen=True)
class Sentences:
    """A sentence of each of some images: what it says in letters and in numbers, the images with
    what is true of them, and the sentences' vectors where those are known."""

    texts: tuple[str, ...]
    tokens: UInt8[np.ndarray, "n letters"]
    meaning: Int[np.ndarray, "n attributes"]
    image: UInt8[np.ndarray, "n height width channels"]
    attributes: Int[np.ndarray, "n attributes"]
    vector: Float[np.ndarray, "n size"] | None = None

    @classmethod
    def of(cls, dataset: data.Captioned, n: int) -> Self:
        """Of ``n`` images from all over a set, always the same ones: the first caption of one, the
        second of the next, and so on in turn."""
        few = data.part(dataset, n)
        rows = np.arange(len(few))
        examples = few.take(rows)
        place = rows % examples["tokens"].shape[1]
        return cls(
            tuple(those[i % len(those)] for those, i in zip(few.texts, place, strict=True)),
            examples["tokens"][rows, place],
            examples["meaning"][rows, place],
            examples["image"],
            examples["attributes"],
            examples["vector"][rows, place] if "vector" in examples else None,
        )

    def saying_all(self, *, seed: int) -> Self:
        """Of the same images of digits, new sentences that say all that is true of them."""
        words = random_words(len(self.texts), seed, _WORDINGS)
        texts = tuple(map(sentence, self.attributes.tolist(), words.tolist()))
        tokens = letters.encode(texts, self.tokens.shape[1])
        return dataclasses.replace(
            self, texts=texts, tokens=tokens, meaning=self.attributes, vector=None
        )

    @property
    def vectors(self) -> Float[np.ndarray, "n size"]:
        """The vectors, which must be known."""
        assert self.vector is not None
        return self.vector

    def __len__(self) -> int:
        return len(self.texts)


def numbered(texts: Sequence[str] | Iterable[str]) -> str:
    """Sentences in one line, each with the number of its row."""
    return "; ".join(f"({row}) {text}" for row, text in enumerate(texts, 1))
