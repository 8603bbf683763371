"""Gray images in colours, and back."""

import itertools

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.captions.colours import INKS, PAPERS, paint, read

PAIRS = np.array([*itertools.product(range(len(INKS)), range(len(PAPERS)))])


def test_ends_of_the_scale_are_paper_and_ink():
    gray = np.array([[[0, 255]]], np.uint8)
    for ink, paper in PAIRS:
        ends = paint(gray, np.array([ink]), np.array([paper]))[0, 0].tolist()
        assert ends == [list([*PAPERS.values()][paper]), list([*INKS.values()][ink])]


def test_every_ink_has_full_contrast_on_every_paper():
    for ink, paper in itertools.product(INKS.values(), PAPERS.values()):
        assert max(p - i for i, p in zip(ink, paper, strict=True)) == 255


def test_reading_returns_what_was_painted():
    """Every level in every pair of colours, and every digit."""
    levels = np.zeros((len(PAIRS), 18, 18), np.uint8)
    levels[:, 1:-1, 1:-1] = np.arange(256, dtype=np.uint8).reshape(16, 16)
    digits = data.load("mnist-subset", "test").images[..., 0]
    for gray, pairs in ((levels, PAIRS), (digits, PAIRS[np.arange(len(digits)) % len(PAIRS)])):
        found, ink, paper = read(paint(gray, *pairs.T))
        np.testing.assert_array_equal(ink, pairs[:, 0])
        np.testing.assert_array_equal(paper, pairs[:, 1])
        np.testing.assert_array_equal(found, gray)
        assert found.dtype == np.uint8
        assert ink.dtype == paper.dtype == np.int32


def test_colours_are_read_off_noisy_and_faint_images():
    rng = np.random.default_rng(0)
    gray = data.load("mnist-subset", "test").images[:180, :, :, 0]
    pairs = PAIRS[np.arange(180) % len(PAIRS)]
    painted = paint((gray * 0.8).astype(np.uint8), *pairs.T)
    noisy = np.clip(painted + rng.normal(0, 12, painted.shape), 0, 255).astype(np.uint8)
    found, ink, paper = read(noisy)
    assert (paper == pairs[:, 1]).all()
    assert (ink == pairs[:, 0]).mean() > 0.98
    assert np.abs(found - 0.8 * gray).mean() < 8


@pytest.mark.parametrize("n", [0, 1])
def test_images_without_ink_have_none(n):
    gray, ink, paper = read(np.full((n, 28, 28, 3), 255, np.uint8))
    assert gray.shape == (n, 28, 28)
    assert not gray.any()
    assert len(ink) == len(paper) == n
