import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.meaning import wrong


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_a_text_is_wrong_where_it_says_what_is_not_true(array):
    meaning = array([[1, 2], [1, -1], [-1, -1], [-1, 0]])
    attributes = array([[1, 2], [0, 0]])
    expected = [[False, True], [False, True], [False, False], [True, False]]
    found = wrong(meaning[:, None], attributes[None])
    np.testing.assert_array_equal(found, expected)
    assert not wrong(meaning[0], attributes[0])
