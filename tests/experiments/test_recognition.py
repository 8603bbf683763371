"""Augmentation, and the mistakes that are refused before a classifier is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import train_emoji_encoder
from experiments.recognition.augment import Augmentation, augment
from experiments.running.options import UsageError
from experiments.running.run import run
from gen_jax import data


@pytest.fixture(scope="module")
def image():
    return data.load("mnist-subset", "test").take(np.arange(2))["image"]


def changed(key, image, **options):
    return np.asarray(augment(key, jnp.asarray(image), Augmentation(**options)))


def test_without_options_images_stay_as_they_are(image):
    np.testing.assert_allclose(changed(jax.random.key(0), image), image / 255.0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"shift": 2.0}, {"rotation": 30.0}, {"zoom": 0.3}, {"elastic": 1.0}, {"tint": 0.3}],
)
def test_each_image_is_changed_in_its_own_way_wherever_it_is_in_memory(image, options):
    image = np.repeat(image[:1], 3, axis=0)
    result = changed(jax.random.key(0), image, **options)
    assert result.min() >= 0.0
    assert result.max() <= 1.0 + 1e-6
    assert min(np.abs(result[0] - result[i]).max() for i in (1, 2)) > 0.01
    few = changed(jax.random.key(0), image[:2], **options)
    np.testing.assert_allclose(few, result[:2], atol=1e-5)
    centre = np.argwhere(image[0, :, :, 0] > 127).mean(axis=0)
    moved = np.argwhere(result[0, :, :, 0] > 0.5).mean(axis=0)
    assert np.abs(moved - centre).max() < 4.0  # it is still in its place


def test_about_every_other_image_is_mirrored(image):
    many = np.repeat(image[:1], 40, axis=0)
    result = changed(jax.random.key(0), many, mirror=True)
    kept, mirrored = (
        np.abs(result - other / 255.0).max(axis=(1, 2, 3)) < 1e-4
        for other in (many, many[:, :, ::-1])
    )
    np.testing.assert_array_equal(kept, ~mirrored)
    assert 8 < kept.sum() < 32


def test_what_comes_in_is_of_the_level_outside():
    white = np.full((4, 8, 8, 3), 255, np.uint8)
    options = {"shift": 3.0, "rotation": 45.0, "zoom": 0.3, "elastic": 1.0}
    np.testing.assert_allclose(changed(jax.random.key(0), white, **options, outside=1.0), 1.0)
    assert changed(jax.random.key(0), white, **options).min() == 0.0


def test_a_tint_changes_colours_by_a_factor_a_channel():
    gray = np.full((3, 4, 4, 3), 100, np.uint8)
    tinted = changed(jax.random.key(0), gray, tint=0.2)
    assert np.ptp(tinted, axis=(1, 2)).max() < 1e-6
    assert np.ptp(tinted[:, 0, 0], axis=1).min() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tint", "-1"], "--tint must be 0 or more, got -1.0"),
        (
            ["--dataset", "mnist-subset"],
            r"trained on RGB images of 32×32 pixels, and those of mnist-subset are \(28, 28, 1\): "
            "--image-size 32 and --channels 3",
        ),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(train_emoji_encoder.EXPERIMENT, ["smoke", "--run-dir", str(tmp_path), *options])
