import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.adversarial.augmentation import jitter


def keys():
    return jax.random.split(jax.random.key(0), 24)


def images(channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (24, 6, 7, channels), np.uint8)


@functools.cache
def changed(**options):
    batch = {
        "image": images(3),
        "spatial": images(3),
        "a": images(3),
        "b": images(3),
        "label": np.arange(24),
    }
    return batch, jax.tree.map(np.asarray, jax.jit(jitter(**options))(keys(), batch))


def test_both_sides_of_a_pair_change_alike_and_domains_apart():
    _, after = changed(enlarge=1.5)
    np.testing.assert_array_equal(after["image"], after["spatial"])
    differ = [
        (after[one] != after[other]).any((1, 2, 3)).mean()
        for one, other in (("image", "a"), ("a", "b"))
    ]
    assert min(differ) > 0.8
    np.testing.assert_array_equal(after["label"], np.arange(24))


def test_an_image_is_a_crop_of_the_enlarged_one_or_its_mirror_image():
    before, after = changed(enlarge=1.5)
    larger = jax.image.resize(before["image"].astype(np.float32), (24, 9, 10, 3), "cubic")
    larger = np.clip(larger, 0, 255)
    found = set()
    for i, image in enumerate(after["image"].astype(np.float32)):
        places = [
            (top, left, mirrored)
            for top in range(4)
            for left in range(4)
            for mirrored in (False, True)
            if np.abs(
                larger[i, top : top + 6, left : left + 7][:, :: -1 if mirrored else 1] - image
            ).max()
            < 0.51  # rounded
        ]
        assert len(places) == 1
        found |= set(places)
    for axis, values in enumerate((range(4), range(4), (False, True))):
        assert {place[axis] for place in found} == set(values)


def test_without_enlarging_levels_stay_and_half_are_mirrored():
    before, after = changed(enlarge=1.0)
    same = (after["image"] == before["image"]).all((1, 2, 3))
    mirrored = (after["image"] == before["image"][:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 4 < mirrored.sum() < 20


def test_an_example_changes_by_its_own_key_alone():
    batch, after = changed()
    few = jax.jit(jitter())(keys()[5:8], {"image": batch["image"][5:8]})
    np.testing.assert_array_equal(few["image"], after["image"][5:8])


def test_floats_stay_floats():
    x = jnp.linspace(-1.0, 1.0, 24 * 6 * 7).reshape(24, 6, 7, 1)
    after = jax.jit(jitter(enlarge=1.0, flip=False))(keys(), {"image": x})
    np.testing.assert_array_equal(after["image"], x)


def test_images_are_not_made_smaller():
    with pytest.raises(ValueError, match=r"by 1 or more, got 0\.5"):
        jitter(enlarge=0.5)
