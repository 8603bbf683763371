"""Which captions say what is not true."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.meaning import wrong


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_a_caption_is_wrong_exactly_where_it_says_what_is_not_true(array):
    rng = np.random.default_rng(0)
    meaning, attributes = rng.integers(-1, 3, (20, 4)), rng.integers(0, 3, (30, 4))
    expected = [
        [any(s >= 0 and s != t for s, t in zip(said, true, strict=True)) for true in attributes]
        for said in meaning
    ]
    found = wrong(array(meaning)[:, None], array(attributes)[None])
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.mean(expected) < 1


def test_a_caption_is_never_wrong_for_its_own_image_nor_where_it_says_nothing():
    attributes = np.arange(6).reshape(2, 3)
    said = np.where([[1, 0, 1], [0, 0, 0]], attributes, -1)
    assert not wrong(said, attributes).any()
    assert wrong(said[0], attributes[1])
    assert not wrong(said[1], attributes[0])
