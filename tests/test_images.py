import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import images

LEVELS = np.arange(256, dtype=np.uint8)


def test_levels_survive_the_way_to_floats_and_back():
    floats = images.to_float(jnp.asarray(LEVELS))
    assert floats.dtype == jnp.float32
    assert float(floats[0]) == 0.0
    assert float(floats[255]) == 1.0
    np.testing.assert_array_equal(images.to_uint8(floats), LEVELS)


def test_to_uint8_rounds_to_the_nearest_level_and_clips():
    floats = jnp.array([-3.0, -1e-6, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 7.0])
    np.testing.assert_array_equal(images.to_uint8(floats), [0, 0, 0, 1, 255, 255, 255])


def test_threshold_cuts_at_level_128():
    np.testing.assert_array_equal(images.binarize_threshold(jnp.asarray(LEVELS)), LEVELS >= 128)


def test_dynamic_binarization_draws_each_level_with_its_probability():
    n = 8192
    image = jnp.broadcast_to(jnp.asarray(LEVELS)[:, None], (256, n))
    binary = images.binarize_dynamic(jax.random.key(0), image)
    assert binary.dtype == jnp.float32
    assert set(np.unique(binary)) == {0.0, 1.0}
    ones = np.asarray(binary.sum(1))
    assert ones[0] == 0
    assert ones[255] == n
    p_value = [stats.binomtest(int(k), n, i / 255).pvalue for i, k in enumerate(ones)]
    # 254 independent tests: uniform p-values, none impossibly small.
    assert min(p_value) > 1e-5
    assert 0.3 < np.mean(p_value[1:255]) < 0.7


def test_random_16_bits_cover_their_range_evenly():
    bits = images._random_16_bits(jax.random.key(3), (301, 301))
    counts = np.bincount(np.asarray(bits).ravel() >> 8, minlength=256)
    assert len(counts) == 256  # 0 <= bits < 2^16
    assert stats.chisquare(counts).pvalue > 1e-4
    low_bytes = np.bincount(np.asarray(bits).ravel() & 255, minlength=256)
    assert stats.chisquare(low_bytes).pvalue > 1e-4
    # Two neighbours come from one random word: they must not be alike for it.
    flat = np.asarray(bits).ravel().astype(float)
    assert abs(np.corrcoef(flat[:-1:2], flat[1::2])[0, 1]) < 0.03


@pytest.mark.parametrize("draw", [images.binarize_dynamic, images.dequantize])
def test_noise_is_a_function_of_the_key(draw):
    image = jnp.full((3, 5, 7), 100, jnp.uint8)  # an odd number of pixels
    first, again = (draw(jax.random.key(1), image) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, draw(jax.random.key(2), image))
    key = jax.random.key(0)
    batched = jax.vmap(draw)(jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(3)), image)
    alone = [draw(jax.random.fold_in(key, i), image[i]) for i in range(3)]
    np.testing.assert_array_equal(batched, jnp.stack(alone))


def test_dequantized_levels_stay_in_their_bin():
    image = jnp.broadcast_to(jnp.asarray(LEVELS)[:, None], (256, 4096))
    floats = images.dequantize(jax.random.key(0), image)
    assert floats.dtype == jnp.float32
    assert float(floats.min()) >= 0.0
    assert float(floats.max()) < 1.0
    np.testing.assert_array_equal(np.floor(np.asarray(floats) * 256), image)
    noise = np.asarray(floats) * 256 - np.asarray(image)
    assert stats.kstest(noise.ravel()[::16], "uniform").pvalue > 1e-4


def test_grid_lays_images_out_row_by_row():
    batch = np.stack([np.full((2, 3, 1), level, np.uint8) for level in (10, 20, 30)])
    sheet = images.grid(batch, columns=2, gap=1, background=128)
    assert sheet.shape == (2 * 3 + 1, 2 * 4 + 1, 1)
    np.testing.assert_array_equal(sheet[1:3, 1:4], batch[0])
    np.testing.assert_array_equal(sheet[1:3, 5:8], batch[1])
    np.testing.assert_array_equal(sheet[4:6, 1:4], batch[2])
    np.testing.assert_array_equal(sheet[4:6, 5:8], 128)  # a place without an image
    np.testing.assert_array_equal(sheet[[0, 3, 6]], 128)
    np.testing.assert_array_equal(sheet[:, [0, 4, 8]], 128)


def test_grid_is_nearly_square_by_default_and_keeps_colours():
    batch = np.zeros((7, 4, 4, 3), np.uint8)
    assert images.grid(batch, gap=0).shape == (3 * 4, 3 * 4, 3)


@pytest.mark.parametrize("shape", [(28, 28, 1), (0, 28, 28, 1)])
def test_grid_refuses_what_is_no_batch_of_images(shape):
    with pytest.raises(ValueError, match=r"grid expects images \[B, H, W, C\]"):
        images.grid(np.zeros(shape, np.uint8))


CONVERSIONS = {
    "to_float": images.to_float,
    "to_symmetric": images.to_symmetric,
    "binarize_threshold": images.binarize_threshold,
    "binarize_dynamic": functools.partial(images.binarize_dynamic, jax.random.key(0)),
    "dequantize": functools.partial(images.dequantize, jax.random.key(0)),
    "dequantized_mean": images.dequantized_mean,
}


@pytest.mark.parametrize("dtype", ["int32", "int16", "float32", "bool"])
@pytest.mark.parametrize("name", CONVERSIONS)
def test_only_stored_levels_are_read(name, dtype):
    """Also where they are traced: the dtype is known before any number is."""
    message = rf"images must be uint8 \(levels 0\.\.255\), got {dtype}"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(CONVERSIONS[name], jax.ShapeDtypeStruct((2, 3), dtype))
    with pytest.raises(ValueError, match=message):
        CONVERSIONS[name](np.zeros((2, 3), dtype))


def test_what_takes_floats_too_takes_no_other_numbers():
    for dtype in (jnp.uint8, jnp.float32, jnp.bfloat16):
        images.require_uint8_or_float(jnp.zeros(2, dtype))
    with pytest.raises(ValueError, match=r"uint8 \(levels 0\.\.255\) or floats, got int32"):
        images.require_uint8_or_float(jnp.zeros(2, jnp.int32))


def test_levels_become_symmetric_floats_and_floats_stay():
    levels = jnp.asarray([0, 255], jnp.uint8)
    np.testing.assert_array_equal(images.as_symmetric(levels), [-1.0, 1.0])
    floats = jnp.asarray([-0.5, 2.0], jnp.bfloat16)
    assert images.as_symmetric(floats) is floats
    with pytest.raises(ValueError, match="or floats, got int32"):
        images.as_symmetric(jnp.zeros(2, jnp.int32))


def test_the_mean_of_dequantized_levels_is_the_middle_of_their_bin():
    image = jnp.broadcast_to(jnp.asarray(LEVELS)[:, None], (256, 4096))
    mean = np.asarray(images.dequantize(jax.random.key(0), image), np.float64).mean(1)
    np.testing.assert_allclose(mean, images.dequantized_mean(jnp.asarray(LEVELS)), atol=1e-4)
