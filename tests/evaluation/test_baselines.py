import numpy as np
import pytest
from PIL import Image

from gen_jax.evaluation import baselines


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_the_identity_has_as_many_channels_as_what_is_made():
    gray, rgb = noise(2, 4, 5, 1), noise(2, 4, 5, 3)
    np.testing.assert_array_equal(baselines.identity(gray, 1), gray)
    np.testing.assert_array_equal(baselines.identity(rgb, 3), rgb)
    np.testing.assert_array_equal(baselines.identity(gray, 3), np.concatenate([gray] * 3, -1))
    pictures = [np.asarray(Image.fromarray(image).convert("L")) for image in rgb]
    np.testing.assert_array_equal(baselines.identity(rgb, 1), np.stack(pictures)[..., None])
    with pytest.raises(ValueError, match=r"and of 3 to 1; got \[2, 4, 5, 3\] to be brought to 2"):
        baselines.identity(rgb, 2)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_enlarging_is_pillows(factor):
    low = noise(2, 5, 7, 3)
    enlarged = baselines.nearest(low, factor)
    assert enlarged.shape == (2, 5 * factor, 7 * factor, 3)
    for i in range(2):
        for channel in range(3):
            picture = Image.fromarray(low[i, :, :, channel].astype(np.float32))
            theirs = picture.resize((7 * factor, 5 * factor), Image.Resampling.NEAREST)
            np.testing.assert_array_equal(enlarged[i, :, :, channel], theirs)


@pytest.mark.parametrize("channels", [1, 3])
def test_no_other_shift_leaves_less_l1(channels):
    source = noise(3, 6, 7, 1)
    target = (source * 0.5 + noise(3, 6, 7, channels, seed=1) * 0.5).astype(np.uint8)
    best = baselines.constant_shift(source, target)

    def losses(levels):
        moved = (source.astype(int) + levels).clip(0, 255)
        return np.abs(moved - target).mean(axis=(0, 1, 2))

    assert best.shape == (channels,)
    every = np.stack([losses(level) for level in range(-255, 256)])
    np.testing.assert_allclose(losses(best), every.min(axis=0))


def test_a_shift_that_was_made_is_found_and_undone():
    source = noise(2, 8, 8, 3) // 4 + 80
    levels = np.array([-60, 0, 99])
    target = baselines.shift(source, levels)
    np.testing.assert_array_equal(target, source + levels)
    np.testing.assert_array_equal(baselines.constant_shift(source, target), levels)
    np.testing.assert_array_equal(baselines.shift(target, -levels), source)


def test_shifted_images_are_clipped_levels():
    ends = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
    shifted = baselines.shift(ends, np.array([-10, 0, 300]))
    np.testing.assert_array_equal(shifted[0, 0], [[0, 0, 255], [245, 255, 255]])


def test_what_is_no_stored_image_is_refused():
    floats, image = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 1), np.uint8)
    for refused in (
        lambda: baselines.identity(floats, 3),
        lambda: baselines.nearest(floats, 2),
        lambda: baselines.shift(floats, np.array([1])),
        lambda: baselines.constant_shift(floats, image),
    ):
        with pytest.raises(ValueError, match="must be uint8"):
            refused()
    with pytest.raises(ValueError, match=r"must be \[B, H, W, C\], got \[4, 4, 1\]"):
        baselines.nearest(image[0], 2)
    with pytest.raises(ValueError, match="must be 1 or more, got 0"):
        baselines.nearest(image, 0)
    for source in (image[:, :2], image[:0]):
        with pytest.raises(ValueError, match="same size and number, at least one"):
            baselines.constant_shift(source, source[:, :1])
