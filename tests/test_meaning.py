import itertools

import jax.numpy as jnp
import numpy as np

from gen_jax.meaning import wrong


def test_a_caption_is_wrong_where_it_says_something_else_of_anything():
    true = np.array([2, 0])
    said = {(2, 0): False, (2, -1): False, (-1, -1): False, (1, 0): True, (-1, 1): True}
    for meaning, expected in said.items():
        assert wrong(np.array(meaning), true) == expected


def test_every_caption_meets_every_image_in_either_library():
    values = np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    true = values[(values >= 0).all(-1)]
    every = wrong(values[None], true[:, None])
    assert every.shape == (4, 9)
    assert every.sum() == 4 * 5  # of nine captions four describe each image
    np.testing.assert_array_equal(
        wrong(jnp.asarray(values)[None], jnp.asarray(true)[:, None]), every
    )
