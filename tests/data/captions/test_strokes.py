"""Measures of shapes whose thickness, slant and size are known."""

import numpy as np
import pytest

from gen_jax.data.captions.strokes import measure

FINE = 16  # points a pixel, along each side


def draw(inside) -> np.ndarray:
    """The share of each of 28×28 pixels that lies inside, as levels [1, 28, 28]."""
    points = (np.arange(28 * FINE) + 0.5) / FINE - 14.0
    down, right = np.meshgrid(points, points, indexing="ij")
    share = inside(down, right).reshape(28, FINE, 28, FINE).mean((1, 3))
    return np.rint(255.0 * share).astype(np.uint8)[None]


def bar(height, width, degrees, *, column=0.0):
    """An upright rectangle, sheared to lean by so much: to the right above 0."""
    lean = np.tan(np.radians(degrees))

    def inside(down, right):
        across = right - column + lean * down
        return (np.abs(down) <= height / 2) & (np.abs(across) <= width / 2)

    return draw(inside)


def ring(height, width, thickness, degrees):
    """The outline of an ellipse, sheared."""
    lean = np.tan(np.radians(degrees))

    def inside(down, right):
        across = right + lean * down
        outer = (2 * down / (height + thickness)) ** 2 + (2 * across / (width + thickness)) ** 2
        inner = (2 * down / (height - thickness)) ** 2 + (2 * across / (width - thickness)) ** 2
        return (outer <= 1.0) & (inner >= 1.0)

    return draw(inside)


@pytest.mark.parametrize("degrees", [-30, -12, 0, 7, 25])
def test_the_slant_of_a_sheared_shape(degrees):
    for shape in (bar(18, 3, degrees), bar(16, 5, degrees, column=2), ring(16, 10, 2.5, degrees)):
        assert measure(shape).slant[0] == pytest.approx(degrees, abs=0.5)


@pytest.mark.parametrize("thickness", [2.0, 2.5, 3.0, 4.0])
def test_the_thickness_of_a_stroke(thickness):
    for shape in (ring(16, 16, thickness, 0), ring(18, 12, thickness, 0)):
        assert measure(shape).thickness[0] == pytest.approx(thickness, rel=0.06)
    # A bar's ends are borders, too.
    expected = 20 * thickness / (20 + thickness)
    assert measure(bar(20, thickness, 0)).thickness[0] == pytest.approx(expected, rel=0.06)


def test_what_is_drawn_thicker_measures_thicker_whatever_its_slant():
    for degrees in (-25, 0, 25):
        found = [measure(ring(16, 10, t, degrees)).thickness[0] for t in (1.5, 2, 2.5, 3, 4)]
        assert np.all(np.diff(found) > 0.25)


@pytest.mark.parametrize("degrees", [-20, 0, 20])
def test_height_and_width_are_those_of_the_upright_shape(degrees):
    strokes = measure(bar(17, 6, degrees))
    assert strokes.height[0] == pytest.approx(17, abs=0.6)
    assert strokes.width[0] == pytest.approx(6, abs=0.8)
    strokes = measure(ring(15, 11, 2, degrees))
    assert strokes.height[0] == pytest.approx(17, abs=1.0)
    assert strokes.width[0] == pytest.approx(13, abs=1.0)


def test_each_image_is_measured_by_itself():
    shapes = [bar(18, 3, 10), ring(14, 10, 2, -10), np.zeros((1, 28, 28), np.uint8)] * 100
    together = measure(np.concatenate(shapes))
    for one, all_of_it in zip(measure(shapes[1]), together, strict=True):
        np.testing.assert_allclose(all_of_it[1::3], one[0], rtol=1e-9)
        np.testing.assert_array_equal(all_of_it[2::3], 0.0)  # no ink
    assert [len(part) for part in measure(np.zeros((0, 28, 28), np.uint8))] == [0] * 4
