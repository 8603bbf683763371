"""Sentences about coloured digits: a grammar whose every sentence has a known meaning."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int, UInt64

from gen_jax.data.captions.colours import INKS, PAPERS

ATTRIBUTES = {  # and their values, 0, 1, ...
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "thickness": ("thin", "medium", "thick"),
    "slant": ("left", "upright", "right"),
    "width": ("narrow", "average", "wide"),
    "ink": tuple(INKS),
    "paper": tuple(PAPERS),
}
_SAID = (15, 8, 8, 6, 12, 8)  # how often, in sixteenths
Option = TypeVar("Option")
_SAYING_BITS = 4 * len(_SAID)  # the upper ones of a word; the others choose the wording


class Wording(NamedTuple):
    """Ways to say one value: before the noun, or after it."""

    before: tuple[str, ...]
    behind: tuple[str, ...]


THICKNESS = (
    Wording(("thin", "thinly drawn"), ("in thin strokes", "with a thin stroke")),
    Wording(("medium-weight",), ("in strokes of medium weight", "with a medium stroke")),
    Wording(("thick", "bold"), ("in thick strokes", "with a thick stroke")),
)
SLANT = (
    Wording(("left-leaning",), ("leaning to the left", "slanted to the left", "tilting left")),
    Wording(("upright",), ("standing upright", "standing straight")),
    Wording(("right-leaning",), ("leaning to the right", "slanted to the right", "tilting right")),
)
WIDTH = (
    Wording(("narrow", "slim"), ()),
    Wording((), ("of average width", "of usual width")),
    Wording(("wide", "broad"), ()),
)


def say(
    attributes: Int[np.ndarray, "n attributes"], words: UInt64[np.ndarray, " n"]
) -> Int[np.ndarray, "n attributes"]:
    """What a sentence is to say of each: a random part of what is true, and -1 for the rest.

    The digit is said nearly always, the ink often, and the others about every other time. Of
    attributes of which none would be said, the digit is.
    """
    shifts = np.arange(64 - _SAYING_BITS, 64, 4, dtype=np.uint64)
    said = (words[:, None] >> shifts) % np.uint64(16) < np.array(_SAID, np.uint64)
    said[:, 0] |= ~said.any(1)
    return np.where(said, attributes, -1).astype(np.int32)


def sentence(meaning: Sequence[int], word: int) -> str:
    """A sentence that says just this: values of ``ATTRIBUTES`` in order, -1 for what is not said.

    The order and the synonyms are drawn by a random word of 64 bits.
    """
    choose = _Choices(word % 2 ** (64 - _SAYING_BITS))
    digit, thickness, slant, width, ink, paper = meaning
    before, close, behind = [], [], []
    for wordings, value, place in (
        (WIDTH, width, close),
        (THICKNESS, thickness, behind),
        (SLANT, slant, behind),
    ):
        if value >= 0:
            wording = wordings[value]
            text = choose.one(wording.before + wording.behind)
            (before if text in wording.before else place).append(text)
    before = choose.order(before)
    before += choose.one((["handwritten"], [], [], []))
    if ink >= 0:
        colour = ATTRIBUTES["ink"][ink]
        text = choose.one(
            (colour, f"in {colour} ink", f"drawn in {colour}", f"written in {colour}")
        )
        (before if text == colour else behind).append(text)
    start, end = "", []
    if paper >= 0:
        colour = ATTRIBUTES["paper"][paper]
        text = choose.one((f"on {colour} paper", f"on a {colour} background"))
        start, end = choose.one((("", [text]), ("", [text]), (f"{text}, ", [])))
    if digit < 0:
        noun = choose.one(("digit", "number"))
    else:
        name = choose.one((ATTRIBUTES["digit"][digit],) * 2 + (str(digit),))
        noun = choose.one(("", "", "digit ", "number ")) + name
    words = " ".join([*before, noun, *close, *choose.order(behind), *end])
    return f"{start}{_article(words)} {words}"


class _Choices:
    """Spends the bits of a random word on one choice after another."""

    def __init__(self, word: int):
        self._word = word

    def one(self, options: Sequence[Option]) -> Option:
        self._word, number = divmod(self._word, len(options))
        return options[number]

    def order(self, texts: Sequence[str]) -> list[str]:
        return list(self._ordered(list(texts)))

    def _ordered(self, left: list[str]) -> Iterator[str]:
        while left:
            self._word, number = divmod(self._word, len(left))
            yield left.pop(number)


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou8" and not words.startswith("one") else "a"
