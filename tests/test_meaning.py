"""Which captions say what is not true."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.meaning import wrong


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_caption_is_wrong_exactly_where_it_says_what_is_not_true(xp):
    rng = np.random.default_rng(0)
    meaning, attributes = rng.integers(-1, 3, (20, 4)), rng.integers(0, 3, (30, 4))
    expected = [
        [any(s >= 0 and s != t for s, t in zip(said, true, strict=True)) for true in attributes]
        for said in meaning
    ]
    found = wrong(xp.asarray(meaning), xp.asarray(attributes))
    assert isinstance(found, xp.ndarray)
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.mean(expected) < 1


def test_a_caption_is_never_wrong_for_its_own_image_nor_where_it_says_nothing():
    attributes = np.arange(6).reshape(2, 3)
    said = np.where([[1, 0, 1], [0, 0, 0]], attributes, -1)
    found = wrong(said, attributes)
    assert not found.diagonal().any()
    assert found.tolist() == [[False, True], [False, False]]


def test_meanings_and_attributes_of_other_numbers():
    with pytest.raises(ValueError, match=r"need the same A, got \[2, 3\] and \[2, 4\]$"):
        wrong(np.zeros((2, 3), int), np.zeros((2, 4), int))
    with pytest.raises(ValueError, match=r"got \[2, 5, 3\] and \[2, 3\]$"):
        wrong(np.zeros((2, 5, 3), int), np.zeros((2, 3), int))
