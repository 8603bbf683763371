import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_jax.evaluation.resize import WEIGHTS, bicubic_weights, resize, tf1_bilinear_weights


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "size"), [((31, 17), 9), ((7, 12), 29), ((64, 8), 16), ((1, 5), 4), ((40, 40), 39)]
)
def test_bicubic_is_pillows_on_float_channels(shape, size):
    image = noise(2, *shape, 3)
    ours = resize(jnp.asarray(image), size)
    assert ours.shape == (2, size, size, 3)
    for i in range(2):
        for channel in range(3):
            picture = Image.fromarray(image[i, :, :, channel].astype(np.float32))
            assert picture.mode == "F"
            theirs = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
            np.testing.assert_allclose(ours[i, :, :, channel], theirs.clip(0, 255), atol=1e-3)


def test_bicubic_overshoots_and_is_clipped_but_not_rounded():
    edge = np.zeros((1, 8, 8, 1), np.uint8)
    edge[:, :, 4:] = 255
    across = bicubic_weights(8, 24) @ edge[0, 0, :, 0].astype(np.float64)
    assert across.min() < -1.0
    assert across.max() > 256.0
    wide = np.asarray(resize(jnp.asarray(edge), 24))
    assert wide.min() == 0.0
    assert wide.max() == 255.0
    assert (np.abs(wide - np.round(wide)) > 0.1).any()


@pytest.mark.parametrize("method", WEIGHTS)
@pytest.mark.parametrize("size", [3, 8, 20])
def test_weights_of_every_pixel_sum_to_one(method, size):
    np.testing.assert_allclose(WEIGHTS[method](8, size).sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("method", WEIGHTS)
def test_images_of_the_wanted_size_stay_as_they_are(method):
    image = noise(2, 6, 6, 2)
    np.testing.assert_allclose(resize(jnp.asarray(image), 6, method=method), image, atol=1e-4)


def test_stripes_turn_gray_where_they_are_antialiased():
    stripes = np.zeros((1, 16, 16, 1), np.uint8)
    stripes[:, :, ::2] = 255
    smooth = np.asarray(resize(jnp.asarray(stripes), 8))
    np.testing.assert_allclose(smooth[:, :, 2:-2], 127.5, atol=1.0)
    aliased = np.asarray(resize(jnp.asarray(stripes), 8, method="tf1-bilinear"))
    np.testing.assert_allclose(aliased, 255.0, atol=1e-3)


def test_tf1_bilinear_reads_from_the_upper_left_corner():
    ramp = np.arange(5.0)
    # Places 0, 1.25, 2.5, 3.75; the half pixel that corner and centre differ by is not there.
    np.testing.assert_allclose(tf1_bilinear_weights(5, 4) @ ramp, [0.0, 1.25, 2.5, 3.75])
    # Places 0, 2/3, 4/3; past the last pixel that pixel is repeated.
    np.testing.assert_allclose(
        tf1_bilinear_weights(2, 3) @ np.array([3.0, 6.0]), [3.0, 5.0, 6.0], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "size", "method", "message"),
    [
        ((1, 4, 4, 1), 4, "area", "the resizers are bicubic, tf1-bilinear, got 'area'"),
        ((1, 4, 4, 1), 0, "bicubic", "the size must be 1 or more, got 0"),
        ((4, 4, 1), 4, "bicubic", r"images \[B, H, W, C\], got \[4, 4, 1\]"),
        ((2, 0, 4, 1), 4, "bicubic", r"images \[B, H, W, C\], got \[2, 0, 4, 1\]"),
    ],
)
def test_mistakes_are_one_line(shape, size, method, message):
    with pytest.raises(ValueError, match=message):
        resize(jnp.zeros(shape, jnp.uint8), size, method=method)


def test_levels_to_resize_are_uint8_or_floats():
    with pytest.raises(ValueError, match=r"uint8 \(levels 0\.\.255\) or floats, got int32"):
        resize(jnp.zeros((1, 4, 4, 1), jnp.int32), 4)
