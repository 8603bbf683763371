import numpy as np
import pytest

from gen_jax.evaluation.checkerboard import checkerboard


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 16, 16, 1), (32, 13, 20, 3)])
def test_noise_has_none(shape):
    assert float(checkerboard(noise(*shape))) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("pattern", ["rows", "columns", "squares"])
def test_a_pattern_of_period_two_is_many_times_noise(pattern):
    i, j = np.indices((16, 16))
    sign = {"rows": i, "columns": j, "squares": i + j}[pattern] % 2 * 2.0 - 1.0
    images = 0.1 * noise(8, 16, 16, 1)
    patterned = images + 0.1 * sign[None, :, :, None]
    assert float(checkerboard(patterned)) > 5.0 * float(checkerboard(images))


def test_repeated_pixels_have_less_than_noise():
    x = noise(8, 8, 8, 1).repeat(2, axis=1).repeat(2, axis=2)
    assert float(checkerboard(x)) < 1e-3


def test_scale_and_offset_do_not_matter():
    x = noise(8, 12, 12, 2)
    np.testing.assert_allclose(checkerboard(0.01 * x + 5.0), checkerboard(x), rtol=1e-2)


@pytest.mark.parametrize("level", [0.0, 0.3, -1.0])
def test_flat_images_are_like_their_neighbours(level):
    assert float(checkerboard(np.full((3, 10, 10, 1), level, np.float32))) == pytest.approx(
        1.0, abs=1e-2
    )


@pytest.mark.parametrize("shape", [(3, 7, 16, 1), (3, 16, 16), (16, 16)])
def test_images_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="sides of 8 or more, got"):
        checkerboard(np.zeros(shape))
