"""Texts as numbers of letters."""

import unicodedata
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.errors import DataError

# That of Reed's code (github.com/reedscot/icml2016) for "Generative adversarial text to image
# synthesis", with its two hyphens, of which the second counts: Zhang, Zhao & LeCun's of 2015, with
# a space at its end.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "
LENGTH = 201  # letters of a text in the same code
_NUMBERS = {letter: number for number, letter in enumerate(ALPHABET, start=1)}
_TABLE = bytes(_NUMBERS.get(chr(code), _NUMBERS[" "]) for code in range(256))
# What Unicode does not decompose.
_RESPELLED = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-"}
    | {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i"}
)
_SHOWN = 8  # of the letters that a warning is about


class TextWarning(UserWarning):
    """Part of a text is not read as it is written."""


def encode(texts: Sequence[str], length: int = LENGTH) -> UInt8[np.ndarray, "n length"]:
    """The number of each letter in ``ALPHABET``, from 1, and 0 past a text's end.

    Texts are taken as ``spelled`` does: in lower case, runs of spaces and line breaks as one space,
    letters outside the alphabet without their accents, or else as a space. One ``TextWarning``
    names those letters, another one says how many texts have more than ``length`` letters, and what
    the longest loses.

    Raises ``DataError`` for texts without a letter of the alphabet, and for a length below 1.
    """
    if length < 1:
        raise DataError(f"the length of texts must be 1 or more, got {length}")
    plain = [spelled(text) for text in texts]
    for number, text in enumerate(plain, start=1):
        if not text:
            raise DataError(
                f"text {number} of {len(plain)} has no letter of the alphabet (a-z, digits and "
                f"punctuation): {texts[number - 1]!r}"
            )
    _warn_of_letters(texts)
    _warn_of_length(plain, length)
    rows = (text.encode("ascii").translate(_TABLE)[:length].ljust(length, b"\0") for text in plain)
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(plain), length)


def decode(tokens: UInt8[np.ndarray, "n length"]) -> list[str]:
    """The texts that ``encode`` took, as spelled, and as far as they were used."""
    letters = np.array(["", *ALPHABET])
    return ["".join(letters[row].tolist()) for row in tokens]


def spelled(text: str) -> str:
    """A text in letters of the alphabet: see ``encode``."""
    text = text.lower()
    if not text.isascii():
        whole = unicodedata.normalize("NFKD", text.translate(_RESPELLED))
        text = "".join(letter for letter in whole if not unicodedata.combining(letter))
    if not text.isascii() or not text.isprintable():
        text = "".join(letter if letter in _NUMBERS else " " for letter in text)
    return " ".join(text.split())


def _warn_of_letters(texts: Sequence[str]) -> None:
    strange = {
        letter: None
        for text in texts
        if not text.isascii() or not text.isprintable()
        for letter in text.lower()
        if letter not in _NUMBERS and not letter.isspace()
    }
    if not strange:
        return
    shown = ", ".join(f"{letter!r} as {spelled(letter) or ' '!r}" for letter in [*strange][:_SHOWN])
    more = f", and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    warnings.warn(
        f"letters outside the alphabet are read as others: {shown}{more}", TextWarning, stacklevel=3
    )


def _warn_of_length(texts: Sequence[str], length: int) -> None:
    lengths = np.array([len(text) for text in texts], np.int64)
    long = int((lengths > length).sum())
    if long:
        longest = lengths.max()
        warnings.warn(
            f"{long} of {len(texts)} texts {'has' if long == 1 else 'have'} more than {length} "
            f"letters; only the first {length} are used: the longest, of {longest}, loses "
            f"{longest - length}",
            TextWarning,
            stacklevel=3,
        )
