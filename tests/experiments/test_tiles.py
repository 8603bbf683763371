"""Images of any size, cut into tiles and put together again."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from experiments.translation import tiles
from experiments.translation.tiles import WHOLE, Tiling

SIZES = [(1, 1), (1, 300), (5, 9), (64, 64), (64, 65), (65, 200), (130, 67), (127, 191), (129, 64)]


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


class Recorded:
    """A network that keeps the shapes it was given."""

    def __init__(self, network=lambda images: images):
        self.shapes: list[tuple[int, ...]] = []
        self._network = network

    def __call__(self, images):
        assert images.dtype == np.uint8
        self.shapes.append(images.shape)
        return self._network(images)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 8), (64, 31), (64, 32), (50, 7)])
def test_the_identity_gives_back_every_bit(size, channels, tile, overlap):
    image = picture(*size, channels)
    found = tiles.translate(lambda images: images, image, Tiling(tile, overlap))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("size", SIZES)
def test_a_network_of_pixels_may_change_their_channels(size):
    image = picture(*size)

    def network(images):
        return 255 - images[..., :1]

    np.testing.assert_array_equal(
        tiles.translate(network, image, Tiling(64, 16)), network(image[None])[0]
    )


@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 8), (64, 32), (7, 3), (2, 1)])
def test_weights_sum_to_one_exactly_and_change_smoothly(tile, overlap):
    for length in range(tile + 1, 5 * tile):
        axis = Tiling(tile, overlap).axes(np.zeros((length, tile, 1), np.uint8))[0]
        assert axis.length == length
        total = np.zeros(length, int)
        for start, weights in zip(axis.starts, axis.weights, strict=True):
            assert len(weights) == tile
            total[start : start + tile] += weights
        np.testing.assert_array_equal(total, WHOLE)
        shared = tile - np.diff(axis.starts)
        assert shared.min() >= overlap
        if overlap:  # the steepest slope of a squared sine
            steps = [np.abs(np.diff(weights.astype(int))).max() for weights in axis.weights]
            assert max(steps) <= np.pi / 2 * WHOLE / overlap + 1


@pytest.mark.parametrize(("overlap", "low", "high"), [(32, 0, 1), (16, 0, 2), (0, 50, 255)])
def test_seams_of_a_network_that_sees_its_neighbourhood_vanish_in_the_overlap(overlap, low, high):
    size = 96 + 2 * (96 - overlap), 96 + (96 - overlap)  # tiles that share no more than asked for
    noise = ndimage.gaussian_filter(picture(*size).astype(float), (3, 3, 0))
    image = np.clip(4 * (noise - 127) + 127, 0, 255).astype(np.uint8)

    def blur(images):
        # Reaches 8 pixels. Beyond a tile's border it sees a constant, far from the truth.
        return ndimage.gaussian_filter(images, (0, 2, 2, 0), truncate=4, mode="constant")

    found = tiles.translate(blur, image, Tiling(96, overlap)).astype(int)
    away = np.abs(found - blur(image[None])[0])
    inside = away[8:-8, 8:-8]  # at the image's own border the network alone is to blame
    assert low <= inside.max() <= high


def test_images_of_any_size_need_few_programs():
    network = Recorded()
    for height in range(1, 400, 7):
        for width in range(1, 400, 13):
            tiles.translate(network, picture(height, width, 1), Tiling(128, 16, least=20, batch=3))
    assert {shape[1:3] for shape in network.shapes} == {
        (h, w) for h in (64, 128) for w in (64, 128)
    }
    assert {shape[0] for shape in network.shapes} == {1, 3}


def test_no_tile_is_translated_twice():
    network = Recorded()
    image = picture(200, 150)
    tiling = Tiling(64, 16, batch=4)
    tiles.translate(network, image, tiling)
    assert sum(shape[0] for shape in network.shapes) == tiles.count(image, tiling) == 4 * 3


def test_memory_is_little_more_than_the_image_that_is_made():
    image = picture(2000, 1500)
    tracemalloc.start()
    try:
        tiles.translate(lambda images: images, image, Tiling(128, 16))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * image.nbytes


@pytest.mark.parametrize(
    ("size", "own", "least", "seen"),
    [
        ((28, 28), (28, 28), 1, (28, 28)),  # what the model was trained on
        ((20, 28), (28, 28), 1, (28, 28)),
        ((29, 28), (28, 28), 1, (64, 28)),
        ((70, 100), (96, 96), 1, (96, 128)),
        ((20, 20), (0, 0), 70, (70, 70)),
        ((2, 1), (0, 0), 1, (64, 64)),
        ((20, 20), (512, 512), 1, (64, 64)),  # larger than a tile
    ],
)
def test_a_small_image_is_padded_to_what_the_network_takes_or_was_trained_on(
    size, own, least, seen
):
    network = Recorded()
    image = picture(*size)
    found = tiles.translate(network, image, Tiling(128, 16, least=least, own=own))
    np.testing.assert_array_equal(found, image)
    assert network.shapes == [(1, *seen, 3)]


def test_padding_mirrors_the_image():
    seen = []

    def network(images):
        seen.append(images)
        return images

    image = picture(40, 64)
    tiles.translate(network, image, Tiling(64, 8))
    np.testing.assert_array_equal(seen[0][0, 40:], image[38:14:-1])


def test_a_tiling_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"at least as large .* \(32 pixels\), got 16"):
        Tiling(16, 4, least=32)
    for overlap in (-1, 33):
        with pytest.raises(ValueError, match=f"overlap by 0 to 32 pixels, got {overlap}"):
            Tiling(64, overlap)
