"""Texts as numbers of letters."""

import re
import warnings

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.captions import letters


def test_letters_are_numbered_as_in_the_reference_code():
    assert len(letters.ALPHABET) == 70
    tokens = letters.encode(["Az 09-"], 8)
    # From 1; the second hyphen counts, the space is the last, and 0 follows the end.
    assert tokens.tolist() == [[1, 26, 70, 27, 36, 60, 0, 0]]
    assert tokens.dtype == np.uint8


def test_every_printable_letter_has_a_number_and_comes_back():
    printable = "".join(map(chr, range(33, 127)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokens = letters.encode([printable, "ab  c\n\td "], 100)
    assert letters.decode(tokens) == [printable.lower(), "ab c d"]
    assert tokens[0, : len(printable)].min() > 0


def test_letters_outside_are_named_once():
    texts = ["a café’s", "naïve 鳥 bird", "the café"]
    with pytest.warns(UserWarning, match="letters outside") as caught:
        tokens = letters.encode(texts, 20)
    assert letters.decode(tokens) == ["a cafe's", "naive bird", "the cafe"]
    assert [str(warning.message) for warning in caught] == [
        "letters outside the alphabet are read as others: 'é' as 'e', '’' as \"'\", 'ï' as 'i', "
        "'鳥' as ' '"
    ]


def test_many_letters_outside_are_counted():
    with pytest.warns(UserWarning, match=r"as ' ', and 2 more$"):
        letters.encode(["a 一二三四五六七八九十"])


@pytest.mark.parametrize(
    ("texts", "of"),
    [(["abcdefgh", "ab"], "1 of 2 texts has"), (["abcdefgh", "ab", "abcdef"], "2 of 3 texts have")],
)
def test_a_warning_says_what_is_cut(texts, of):
    with pytest.warns(UserWarning, match="more than") as caught:
        tokens = letters.encode(texts, 4)
    assert letters.decode(tokens) == [text[:4] for text in texts]
    assert [str(warning.message) for warning in caught] == [
        f"{of} more than 4 letters; only the first 4 are used: the longest, of 8, loses 4"
    ]


@pytest.mark.parametrize("empty", ["", " \n", "鳥"])
def test_a_text_without_letters(empty):
    with pytest.raises(
        data.DataError,
        match=r"^text 2 of 2 has no letter of the alphabet \(a-z, digits and punctuation\): "
        f"{re.escape(repr(empty))}$",
    ):
        letters.encode(["a", empty])


def test_a_length_of_nothing():
    with pytest.raises(data.DataError, match=r"^the length of texts must be 1 or more, got 0$"):
        letters.encode(["a"], 0)
