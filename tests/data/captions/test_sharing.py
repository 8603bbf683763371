"""What captions say of images, where all that is known is which images have them."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.captions.sharing import by_sharing
from gen_jax.meaning import wrong


def falsehood(texts, kinds=None) -> np.ndarray:
    """Whether each caption is wrong for each image."""
    meanings, attributes = by_sharing("x", texts, kinds)
    assert meanings.dtype == attributes.dtype == np.int32
    return wrong(meanings[:, None], attributes[None])


@pytest.mark.parametrize("with_kinds", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_caption_is_true_of_its_images_and_their_kinds_and_of_no_others(seed, with_kinds):
    random = np.random.default_rng(seed)
    texts = [
        [f"caption {n}" for n in random.integers(0, 25, random.integers(1, 5))] for _ in range(30)
    ]
    kinds = random.integers(5, 20, 30) if with_kinds else np.arange(30)
    found = falsehood(texts, kinds if with_kinds else None)
    captions = [text for those in texts for text in those]
    for caption, is_wrong in zip(captions, found, strict=True):
        having = [own for own, those in zip(kinds, texts, strict=True) if caption in those]
        np.testing.assert_array_equal(is_wrong, ~np.isin(kinds, having))


def test_a_caption_of_all_images_leaves_their_other_captions_wrong():
    texts = [["a robin", "a bird"], ["a wren", "A  bird"], ["a crow", "a bird"]]
    expected = ~np.eye(3, dtype=bool).repeat(2, axis=0)
    expected[1::2] = False
    np.testing.assert_array_equal(falsehood(texts), expected)


def test_what_no_two_kinds_share_is_one_attribute():
    meanings, attributes = by_sharing("x", [["a", "b"], ["c"], ["b"]], np.array([7, 3, 7]))
    assert meanings.tolist() == [[0], [0], [1], [0]]
    assert attributes.tolist() == [[0], [1], [0]]


def test_many_captions_that_two_images_share_take_few_attributes():
    texts = [[f"a scene {i // 2}", f"a view {(i + 1) // 2}"] for i in range(100)]
    meanings, attributes = by_sharing("x", texts)
    assert meanings.shape == (200, 3)
    assert attributes.shape == (100, 3)


@pytest.mark.parametrize(
    ("texts", "kinds"),
    [([["a bird"], ["A bird"]], None), ([["a bird"]], None), ([["a"], ["b"]], np.array([4, 4]))],
)
def test_captions_that_are_never_wrong_are_refused(texts, kinds):
    with pytest.raises(data.DataError, match=r"^x: every caption describes every image, so that"):
        by_sharing("x", texts, kinds)
