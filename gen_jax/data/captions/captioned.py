"""A data set of images with one or more captions each."""

import copy
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int, UInt8

from gen_jax.data.captions import letters
from gen_jax.data.dataset import Dataset, called, check_plain
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.example import Examples, ExampleSpec

PerCaption = Int[np.ndarray, "all_captions attributes"] | Int[np.ndarray, "n k attributes"]
Embeddings = Float[np.ndarray, "all_captions size"] | Float[np.ndarray, "n k size"]


class Captioned:
    """The images of a data set, each with its captions, what they say and what is true of it.

    Beside what the data set has, examples hold "tokens" uint8 [n, K, L]: the letters of K captions
    (see ``letters.encode``); "meaning" int32 [n, K, A]: what each says of A attributes, -1 where it
    does not say; and "attributes" int32 [n, A]: what is true of the image (``gen_jax.meaning``
    compares them). K is the number of captions of the image that has the most, or
    ``least_captions`` if that is more; an image with fewer repeats them in turn.

    ``texts`` are the captions of each image. ``meanings`` are [number of all captions, A], in the
    order of the images and their captions, or [n, K, A]. So are ``embeddings``, of floats, and
    examples then hold "vector" float32 [n, K, size].

    Raises ``DataError`` where the parts do not fit together, for an image without a caption, for
    attributes below 0 and for embeddings that are not finite; and what ``letters.encode`` raises
    and warns of.
    """

    def __init__(
        self,
        dataset: Dataset,
        texts: Sequence[Sequence[str]],
        meanings: PerCaption,
        attributes: Int[np.ndarray, "n attributes"],
        *,
        embeddings: Embeddings | None = None,
        length: int = letters.LENGTH,
        least_captions: int = 1,
        name: str | None = None,
    ):
        check_plain(dataset)
        self.dataset = dataset
        self.name = name or dataset.name
        self.split = dataset.split
        counts = _counts(self, texts)
        self._n_captions = max(least_captions, int(counts.max(initial=1)))
        self.attributes = _whole(self, "attributes", attributes, least=0)
        if self.attributes.ndim != 2 or len(self.attributes) != len(self):
            raise DataError(
                f"the attributes of {called(self)} must be [{len(self)}, A], got "
                f"{list(self.attributes.shape)}"
            )
        meanings = _whole(self, "meanings", meanings, least=-1)
        meanings = _by_caption(self, "meanings", meanings, counts, self._n_captions)
        if meanings.shape[1] != self.attributes.shape[1]:
            raise DataError(
                f"the captions of {called(self)} speak of {meanings.shape[1]} attributes, its "
                f"images have {self.attributes.shape[1]}"
            )
        flat = tuple(itertools.chain.from_iterable(texts))
        self._captions = _Captions(counts, flat, letters.encode(flat, length), meanings)
        if embeddings is not None:
            self._captions = self._embedded(embeddings)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.dataset.image_shape

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.dataset.class_names

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        return self.dataset.labels

    @property
    def skipped(self) -> int:
        return self.dataset.skipped

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The captions of each image, as they were given."""
        return tuple(self._captions.texts[span] for span in self._captions.spans)

    @property
    def embeddings(self) -> Float[np.ndarray, "all_captions size"] | None:
        """The vectors of all captions, in the order of the images and their captions."""
        return self._captions.vectors

    @property
    def example_spec(self) -> ExampleSpec:
        vectors = self._captions.vectors
        return ExampleSpec(
            "image",
            self.image_shape,
            self.class_names,
            text=(self._n_captions, self._captions.tokens.shape[1]),
            attributes=self.attributes.shape[1],
            vector=None if vectors is None else vectors.shape[1],
        )

    @property
    def digest(self) -> str:
        captions = self._captions.digest
        return digest("captioned", self.dataset.digest, self._n_captions, captions, self.attributes)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        captions = self._captions.rows(indices, self._n_captions)  # [n, K]
        examples = {
            **self.dataset.take(indices),
            "tokens": self._captions.tokens[captions],
            "meaning": self._captions.meanings[captions],
            "attributes": self.attributes[indices],
        }
        if self._captions.vectors is not None:
            examples["vector"] = self._captions.vectors[captions]
        return examples

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> Self:
        other = self._over(self.dataset.select(indices, split))
        if indices is not None:
            other.attributes = self.attributes[indices]
            other._captions = self._captions.of(indices)
        return other

    def with_classes(self, class_names: Sequence[str]) -> Self:
        return self._over(self.dataset.with_classes(class_names))

    def with_embeddings(self, embeddings: Embeddings) -> Self:
        """The same with a "vector" for each caption: see ``embeddings``."""
        other = self._over(self.dataset)
        other._captions = self._embedded(embeddings)
        return other

    def _over(self, dataset: Dataset) -> Self:
        other = copy.copy(self)
        other.dataset, other.split = dataset, dataset.split
        return other

    def _embedded(self, embeddings: Embeddings) -> "_Captions":
        vectors = np.asarray(embeddings)
        check_embeddings(f"the embeddings of {called(self)}", vectors)
        counts = self._captions.counts
        vectors = _by_caption(self, "embeddings", vectors, counts, self._n_captions)
        return dataclasses.replace(self._captions, vectors=vectors.astype(np.float32))


def check_embeddings(what: str, vectors: np.ndarray) -> None:
    """Raises ``DataError`` for embeddings that are not floats, or not finite."""
    if vectors.dtype.kind != "f" or vectors.dtype.itemsize > 8:
        raise DataError(f"{what} must be float16, float32 or float64, got {vectors.dtype}")
    vectors = np.atleast_1d(vectors)
    if not (finite := np.abs(vectors) <= np.finfo(np.float32).max).all():
        first = tuple(np.argwhere(~finite)[0])
        raise DataError(
            f"{what} must be finite, got {vectors[first]} in row {first[0]} (counted from 0)"
        )


@dataclasses.dataclass(frozen=True)
class _Captions:
    """All captions, one image's after the other's: ``counts`` are how many each has."""

    counts: Int[np.ndarray, " n"]
    texts: tuple[str, ...]
    tokens: UInt8[np.ndarray, "all_captions length"]
    meanings: Int[np.ndarray, "all_captions attributes"]
    vectors: Float[np.ndarray, "all_captions size"] | None = None

    @property
    def starts(self) -> Int[np.ndarray, " n"]:
        return np.cumsum(self.counts) - self.counts

    @property
    def spans(self) -> list[slice]:
        """Where each image's captions are."""
        starts = self.starts
        return list(map(slice, starts.tolist(), (starts + self.counts).tolist()))

    @property
    def digest(self) -> str:
        vectors = [] if self.vectors is None else [self.vectors]
        return digest(self.counts, self.tokens, self.meanings, *vectors)

    def rows(self, indices: Int[np.ndarray, " n"], k: int) -> Int[np.ndarray, "n k"]:
        """Which captions these images have; those of fewer than ``k`` come in turn."""
        return self.starts[indices, None] + np.arange(k) % self.counts[indices, None]

    def of(self, indices: Int[np.ndarray, " m"]) -> "_Captions":
        """The captions of these images."""
        spans = self.spans
        rows = np.arange(len(self.texts))
        own = np.concatenate([rows[:0], *(rows[spans[index]] for index in indices)])
        return _Captions(
            self.counts[indices],
            tuple(self.texts[row] for row in own),
            self.tokens[own],
            self.meanings[own],
            None if self.vectors is None else self.vectors[own],
        )


def _counts(dataset: Captioned, texts: Sequence[Sequence[str]]) -> Int[np.ndarray, " n"]:
    counts = np.array([len(those) for those in texts], np.int64)
    if len(counts) != len(dataset):
        raise DataError(
            f"{called(dataset)} has {len(dataset)} images and captions for {len(counts)}"
        )
    if len(without := np.flatnonzero(counts == 0)):
        raise DataError(
            f"{len(without)} of {len(counts)} images of {called(dataset)} "
            f"{'has' if len(without) == 1 else 'have'} no caption, image {without[0]} (counted "
            "from 0) the first; each needs one or more"
        )
    return counts


def _whole(dataset: Captioned, noun: str, values: Any, *, least: int) -> Int[np.ndarray, "..."]:
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.min(initial=least) < least:
        raise DataError(f"the {noun} of {called(dataset)} must be integers from {least}")
    return values.astype(np.int32, copy=False)


def _by_caption(
    dataset: Captioned, noun: str, values: np.ndarray, counts: Int[np.ndarray, " n"], k: int
) -> np.ndarray:
    """Values of all captions, [number of them, size], of what may be [n, k, size]."""
    total = int(counts.sum())
    if values.ndim == 3 and values.shape[:2] == (len(counts), k):
        values = values[np.arange(k) < counts[:, None]]
    if values.ndim != 2 or len(values) != total:
        raise DataError(
            f"the {noun} of {called(dataset)} must be [{total}, size], one for each caption, or "
            f"[{len(counts)}, {k}, size], got {list(values.shape)}"
        )
    if not values.shape[1]:
        raise DataError(f"the {noun} of {called(dataset)} must have a size of 1 or more, got 0")
    return values
