"""A grammar whose sentences mean just what they are made to say."""

import itertools
import re

import numpy as np
import pytest

from gen_jax.data.captions import letters
from gen_jax.data.captions.sentences import ATTRIBUTES, say, sentence
from gen_jax.data.permutation import random_words

# What a reader finds in a sentence, each value by a pattern of its own.
DIGITS = [f"\\b({name}|{digit})\\b" for digit, name in enumerate(ATTRIBUTES["digit"])]
PATTERNS = {
    "digit": DIGITS,
    "thickness": ["thin", "medium", "thick|bold"],
    "slant": [r"\bleft", r"upright|straight", r"\bright"],
    "width": ["narrow|slim", "average|usual", "wide|broad"],
    "ink": list(ATTRIBUTES["ink"]),
    "paper": [f"on (a )?{colour} (paper|background)" for colour in ATTRIBUTES["paper"]],
}


def read(text: str) -> list[int]:
    """What a sentence says, and -1 for the rest."""
    found = [
        [value for value, pattern in enumerate(PATTERNS[name]) if re.search(pattern, text)]
        for name in ATTRIBUTES
    ]
    assert all(len(values) <= 1 for values in found), text
    return [values[0] if values else -1 for values in found]


def everything(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, len(values), n) for values in ATTRIBUTES.values()], 1)


def test_a_sentence_says_its_meaning_and_nothing_else():
    words = random_words(4000, 0)
    meanings = say(everything(4000), words)
    texts = [sentence(*pair) for pair in zip(meanings.tolist(), words.tolist(), strict=True)]
    for text, meaning in zip(texts, meanings.tolist(), strict=True):
        assert read(text) == meaning, text
    for column, values in zip(meanings.T, ATTRIBUTES.values(), strict=True):
        assert set(column.tolist()) == {-1, *range(len(values))}
    assert len(set(texts)) > 3000
    # Nothing is cut, and nothing outside the alphabet.
    np.testing.assert_array_equal(letters.decode(letters.encode(texts)), texts)


@pytest.mark.parametrize("parts", [*itertools.combinations(range(6), 2)])
def test_any_two_attributes_can_be_said_alone(parts):
    meaning = [1 if part in parts else -1 for part in range(6)]
    for word in random_words(50, 1).tolist():
        assert read(sentence(meaning, word)) == meaning


def test_articles_fit_what_follows():
    meanings = ([8, -1, -1, -1, -1, -1], [1, -1, -1, -1, -1, -1], [-1, -1, 1, -1, -1, -1])
    for meaning in meanings:
        for word in random_words(100, 2).tolist():
            text = sentence(meaning, word)
            assert re.match(r"an (eight|8|upright)\b|a (?!eight|8|upright)", text), text


def test_a_part_of_what_is_true_is_said():
    true = everything(8000)
    said = say(true, random_words(8000, 3))
    np.testing.assert_array_equal(said[said >= 0], true[said >= 0])
    shares = dict(zip(ATTRIBUTES, (said >= 0).mean(0), strict=True))
    assert shares["digit"] > 0.9
    assert 0.7 < shares["ink"] < 0.8
    assert all(0.3 < shares[name] < 0.6 for name in ("thickness", "slant", "width", "paper"))
    assert (said >= 0).any(1).all()
    one = say(true[:1], np.full(1, 2**64 - 1, np.uint64))  # whose bits say nothing
    assert one.tolist() == [[true[0, 0], -1, -1, -1, -1, -1]]
