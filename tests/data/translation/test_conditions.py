"""Conditions computed from images: exact, of one size, and the same for an example every time."""

import numpy as np
import pytest
from PIL import Image

from gen_jax import data
from gen_jax.data import conditions

EVERY = [
    conditions.Gray(),
    conditions.Edges(),
    conditions.LowResolution(2),
    conditions.LowResolution(4),
    conditions.Hole(),
    conditions.Noise(),
]


def random_images(n: int = 5, size: tuple[int, int] = (12, 16), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *size, channels), np.uint8)


def flat(level: int, n: int = 3, size: tuple[int, int] = (12, 16), channels: int = 3) -> np.ndarray:
    return np.full((n, *size, channels), level, np.uint8)


@pytest.mark.parametrize("condition", EVERY, ids=lambda condition: condition.name)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(12, 16), (7, 9), (1, 1)])
def test_each_keeps_the_size_and_leaves_the_images_alone(condition, channels, size):
    images, numbers = random_images(5, size, channels), np.arange(5)
    before = images.copy()
    made = condition(images, numbers)
    assert made.dtype == np.uint8
    assert made.shape[:3] == images.shape[:3]
    one_channel = isinstance(condition, conditions.Gray | conditions.Edges)
    assert made.shape[3] == (1 if one_channel else channels)
    assert condition(images[:0], numbers[:0]).shape == (0, *made.shape[1:])
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(made, images)


@pytest.mark.parametrize("condition", EVERY, ids=lambda condition: condition.name)
def test_an_example_s_condition_depends_on_itself_and_its_number_alone(condition):
    images, numbers = random_images(6), np.array([0, 7, 2, 2**33, 5, 1])
    whole = condition(images, numbers)
    rows = np.array([4, 1, 3, 1])
    np.testing.assert_array_equal(condition(images[rows], numbers[rows]), whole[rows])
    np.testing.assert_array_equal(condition(images, numbers), whole)


def test_names_say_every_number_that_matters():
    others = [
        conditions.Edges(12.5),
        conditions.Hole(0.2),
        conditions.Hole(seed=1),
        conditions.Noise(10),
        conditions.Noise(seed=1),
    ]
    names = [condition.name for condition in [*EVERY, *others]]
    assert len(set(names)) == len(names)
    assert conditions.Noise(25.0).name == conditions.Noise(25).name


def test_gray_is_the_luma_that_pillow_computes():
    images = random_images(20)
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in images]
    np.testing.assert_array_equal(conditions.Gray()(images, np.arange(20))[..., 0], expected)
    gray = random_images(channels=1)
    np.testing.assert_array_equal(conditions.Gray()(gray, np.arange(5)), gray)


@pytest.mark.parametrize("factor", [2, 3, 4, 100])
def test_low_resolution_is_pillow_s_resize(factor):
    images = random_images()
    small = (-(-16 // factor), -(-12 // factor))
    made = conditions.LowResolution(factor)(images, np.arange(5))
    for image, lowered in zip(images, made, strict=True):
        picture = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        expected = picture.resize((16, 12), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(lowered, expected)


@pytest.mark.parametrize("level", [0, 1, 77, 254, 255])
def test_a_flat_image_stays_flat_at_low_resolution_and_has_no_edges(level):
    for size in ((12, 16), (7, 9)):
        images = flat(level, size=size)
        for factor in (2, 3, 4):
            lowered = conditions.LowResolution(factor)(images, np.arange(3))
            np.testing.assert_array_equal(lowered, images)
        assert (conditions.Edges()(images, np.arange(3)) == 255).all()


@pytest.mark.parametrize("turned", [0, 1, 2, 3])
def test_an_edge_is_one_black_line_of_one_pixel_where_the_step_is(turned):
    image = flat(40, 1, (16, 16))
    image[:, :, 9:] = 200
    lines = conditions.Edges()(np.rot90(image, turned, (1, 2)), np.arange(1))
    lines = np.rot90(lines, -turned, (1, 2))[0, :, :, 0]
    assert set(np.unique(lines)) == {0, 255}
    black = lines == 0
    assert (black.sum(1) == 1).all()
    assert set(black.argmax(1)) <= {8, 9}


def test_a_diagonal_edge_is_thin_too():
    rows, columns = np.mgrid[:32, :32]
    for side in (rows > columns, rows + columns > 31):
        image = np.where(side, 220, 30).astype(np.uint8)[None, ..., None]
        black = conditions.Edges()(image, np.arange(1))[0, 4:-4, 4:-4, 0] == 0
        assert (black.sum(1) >= 1).all()
        assert (black.sum(1) <= 2).all()


def test_edges_between_colours_of_one_luma_are_seen():
    image = flat(0, 1)
    image[:, :, :8] = (130, 0, 0)
    image[:, :, 8:] = (0, 66, 0)
    gray = conditions.Gray()(image, np.arange(1))
    assert np.ptp(gray) <= 1
    assert (conditions.Edges()(gray, np.arange(1)) == 255).all()
    assert (conditions.Edges()(image, np.arange(1)) == 0).any()


def test_a_higher_threshold_has_fewer_edges():
    images, numbers = random_images(4, (32, 32)), np.arange(4)
    counts = [(conditions.Edges(t)(images, numbers) == 0).sum() for t in (8.0, 25.0, 40.0, 250.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[2] > counts[3] == 0


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_hole_is_a_rectangle_of_its_share_anywhere_in_the_image(share):
    n, size = 300, (40, 60)
    images = flat(9, n, size)
    holes = conditions.Hole(share)(images, np.arange(n))
    inside = (holes == 128).all(-1)
    np.testing.assert_array_equal(conditions.Hole(share).hides(holes)[..., 0], inside)
    np.testing.assert_array_equal(holes[~inside], images[~inside])
    assert abs(inside.mean() - share) < 0.02
    assert len(set(inside.sum((1, 2)))) == 1
    for axis, side in ((2, 40), (1, 60)):
        along = inside.any(axis)  # [n, side]: one run of ones
        assert (np.abs(np.diff(along.astype(int), axis=1)).sum(1) <= 2).all()
        starts = along.argmax(1)
        room = side - along[0].sum()
        assert (starts.min(), starts.max()) == (0, room)
        assert abs(starts.mean() - room / 2) < room * 4 / np.sqrt(12 * n)
    assert len({hole.tobytes() for hole in inside}) > n / 2


@pytest.mark.parametrize("sigma", [5.0, 25.0])
def test_noise_is_gaussian_of_its_sigma(sigma):
    n = 40
    noisy = conditions.Noise(sigma)(flat(128, n, (64, 64)), np.arange(n))
    noise = noisy.astype(np.float64) - 128.0
    count = noise.size
    assert abs(noise.mean()) < 4 * sigma / np.sqrt(count)
    expected = np.sqrt(sigma**2 + 1 / 12)  # levels are whole numbers
    assert abs(noise.std() / expected - 1) < 4 / np.sqrt(2 * count)
    within = (np.abs(noise) <= np.floor(sigma)).mean()
    half = np.floor(sigma) + 0.5
    assert abs(within - (1 - 2 * (1 - _normal_cdf(half / sigma)))) < 0.01
    flattened = noise.reshape(n, -1)
    correlation = np.corrcoef(flattened)[np.triu_indices(n, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(flattened.shape[1])
    neighbours = np.corrcoef(noise[..., 1:, :].ravel(), noise[..., :-1, :].ravel())[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(count)


def _normal_cdf(x: float) -> float:
    from scipy.stats import norm

    return float(norm.cdf(x))


def test_noise_is_clipped_not_wrapped():
    for level in (0, 255):
        noisy = conditions.Noise(25)(flat(level), np.arange(3)).astype(int)
        assert np.abs(noisy - level).max() < 130
        assert 0.4 < (noisy == level).mean() < 0.6


def test_what_is_drawn_stays_the_same_on_every_platform_and_numpy():
    # A model is measured on these very images, elsewhere and years later.
    image = flat(128, 1, (4, 4), 1)
    number = np.array([3])
    noise = conditions.Noise(25)(image, number)[0, :, :, 0]
    hole = conditions.Hole()(flat(0, 1, (4, 4), 1), number)[0, :, :, 0]
    assert noise.tolist() == [
        [142, 113, 154, 124],
        [93, 114, 122, 155],
        [136, 150, 109, 130],
        [138, 122, 98, 126],
    ]
    assert hole.tolist() == [[0, 128, 128, 0], [0, 128, 128, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conditions.LowResolution(1), "a factor of low resolution is 2 or more, got 1"),
        (lambda: conditions.Hole(0.0), r"the share of a hole lies in \(0, 1\), got 0\.0"),
        (lambda: conditions.Hole(1.0), r"the share of a hole lies in \(0, 1\), got 1\.0"),
        (lambda: conditions.Hole(seed=-1), r"a seed is a whole number from 0 to .*, got -1"),
        (lambda: conditions.Noise(0.0), r"the sigma of noise is a number above 0, got 0\.0"),
        (lambda: conditions.Noise(float("nan")), "the sigma of noise is a number above 0, got nan"),
        (lambda: conditions.Noise(seed=2**32), r"a seed is a whole number .*, got 4294967296"),
        (lambda: conditions.Edges(0.0), r"the threshold of edges lies in \(0, 256\), got 0\.0"),
    ],
)
def test_conditions_that_cannot_be(make, message):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        make()
