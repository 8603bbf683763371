"""Handwritten digits in coloured ink on coloured paper, described in sentences."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.data.captions.captioned import Captioned
from gen_jax.data.captions.colours import INKS, PAPERS, paint, read
from gen_jax.data.captions.sentences import say, sentence
from gen_jax.data.captions.strokes import Strokes, measure
from gen_jax.data.dataset import Dataset
from gen_jax.data.digests import digest
from gen_jax.data.example import Examples, ExampleSpec
from gen_jax.data.permutation import random_words
from gen_jax.data.splits import Source

NAME = "captioned-digits"
CAPTIONS = 5  # of an image

# Of thickness and width, terciles over the training digits of mnist-subset.
THICKNESS_BORDERS = (2.25, 2.75)  # pixels
SLANT_BORDERS = (-2.0, 13.0)  # degrees
# A seven written upright measures as leaning to the left: its bar is there. So much of the slant is
# the form's own: the median over its training digits, less that over the symmetric 0, 1 and 8.
FORM_SLANT = np.array([0.0, 0.0, -5.0, -7.0, -8.0, 2.0, -9.0, -10.0, 0.0, -11.0])
WIDTH_BORDERS = np.array(  # of the height, for each digit
    [
        [0.77, 0.93],
        [0.2, 0.25],
        [0.79, 0.97],
        [0.66, 0.79],
        [0.67, 0.82],
        [0.73, 0.87],
        [0.61, 0.75],
        [0.67, 0.8],
        [0.59, 0.7],
        [0.58, 0.69],
    ]
)

# These separate what is drawn here from other uses of a seed.
_COLOURS = 7
_SENTENCES = 8
_NUMBERS = {"train": 0, "test": 1, "held-out": 2}


def judge(
    strokes: Strokes, digits: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The thickness, slant and width, as ``sentences.ATTRIBUTES`` counts them, of measured digits.

    A digit is narrow or wide, in proportion to its height, as digits of its form go, and its form's
    own slant is none of the writing's.
    """
    wide = strokes.width / np.maximum(strokes.height, 1e-9)
    return (
        np.searchsorted(THICKNESS_BORDERS, strokes.thickness),
        np.searchsorted(SLANT_BORDERS, strokes.slant - FORM_SLANT[digits]),
        (wide[:, None] > WIDTH_BORDERS[digits]).sum(1),
    )


def attributes_of(
    images: UInt8[np.ndarray, "n 28 28 3"], digits: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n 6"]:
    """What is true of images of these digits, painted or generated, as ``sentences.ATTRIBUTES``
    counts it."""
    gray, ink, paper = read(images)
    return np.stack([digits, *judge(measure(gray), digits), ink, paper], 1).astype(np.int32)


def held_out_ink(
    digits: Int[np.ndarray, " n"], slants: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The one ink in which no digit of this slant is ever trained on.

    It is another one for each of a digit's slants, and for each of six digits of a slant: every
    digit is trained on in every ink, and so is every slant, but not all three together.
    """
    return (digits + 2 * slants) % len(INKS)


class CaptionedDigits:
    """A source of the digits of another, coloured, with five captions each.

    A digit's thickness, slant and width are measured (``strokes.measure``, ``judge``), its ink and
    paper are drawn by the seed and its number; ``attributes`` are these, in the order of
    ``sentences.ATTRIBUTES``. Captions say a random part of them in random words (``sentences``).

    ``train`` and ``test`` never show a digit in its ``held_out_ink``; ``held-out`` are the test
    digits in no other. Images are 28×28 in RGB.
    """

    name = NAME
    splits = tuple(_NUMBERS)
    ignored = ()

    def __init__(self, digits: Source[Dataset], length: int, seed: int):
        self._digits = digits
        self._length = length
        self._seed = seed

    def open(self, *splits: str) -> Captioned:
        (split,) = splits  # it has no validation split that could be asked for together with train
        digits = self._digits.open("train" if split == "train" else "test")
        examples = digits.take(np.arange(len(digits)))
        gray, labels = examples["image"][..., 0], examples["label"]
        thickness, slant, width = judge(measure(gray), labels)
        ink, paper = self._colours(split, held_out_ink(labels, slant))
        attributes = np.stack([labels, thickness, slant, width, ink, paper], 1).astype(np.int32)
        words = random_words(len(digits) * CAPTIONS, self._seed, _SENTENCES, _NUMBERS[split])
        meanings = say(np.repeat(attributes, CAPTIONS, 0), words)
        texts = [*map(sentence, meanings.tolist(), words.tolist())]
        return Captioned(
            _Painted(digits.select(None, split), ink, paper),
            [texts[i : i + CAPTIONS] for i in range(0, len(texts), CAPTIONS)],
            meanings,
            attributes,
            length=self._length,
            name=self.name,
        )

    def _colours(
        self, split: str, held_out: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        words = random_words(len(held_out), self._seed, _COLOURS, _NUMBERS[split])
        others, papers = np.uint64(len(INKS) - 1), np.uint64(len(PAPERS))
        # The upper half of a word draws the paper.
        paper = ((words >> np.uint64(32)) % papers).astype(np.int64)
        if split == "held-out":
            return held_out, paper
        return (held_out + 1 + (words % others).astype(np.int64)) % len(INKS), paper


class _Painted:
    """A data set of gray images, painted as they are taken."""

    def __init__(self, gray: Dataset, ink: Int[np.ndarray, " n"], paper: Int[np.ndarray, " n"]):
        self._gray = gray
        self._ink = ink
        self._paper = paper
        self.name = NAME
        self.split = gray.split
        self.class_names = gray.class_names
        self.skipped = gray.skipped
        self.image_shape = (*gray.image_shape[:2], 3)
        self.example_spec = ExampleSpec("image", self.image_shape, self.class_names)

    def __len__(self) -> int:
        return len(self._gray)

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        return self._gray.labels

    @property
    def digest(self) -> str:
        palette = [INKS, PAPERS]
        return digest("painted", self._gray.digest, self._ink, self._paper, palette)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        examples = self._gray.take(indices)
        gray = examples["image"][..., 0]
        return {**examples, "image": paint(gray, self._ink[indices], self._paper[indices])}

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "_Painted":
        chosen = slice(None) if indices is None else indices
        return _Painted(self._gray.select(indices, split), self._ink[chosen], self._paper[chosen])

    def with_classes(self, class_names: Sequence[str]) -> "_Painted":
        return _Painted(self._gray.with_classes(class_names), self._ink, self._paper)
