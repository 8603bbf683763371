"""Conditions that are computed from an image: less colour, less detail, less of it, or noisy.

Each takes uint8 [n, H, W, C] to uint8 of the same size, and is a pure function of the images and
their numbers: what is drawn at random for an example is drawn from its number, and is always the
same.
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Bool, Int, UInt8

from gen_jax.colour import luma
from gen_jax.data.errors import DataError
from gen_jax.data.permutation import check_seed, random_words

Images = UInt8[np.ndarray, "n height width channels"]
Numbers = Int[np.ndarray, " n"]

# These separate what is drawn here from other uses of a seed.
_HOLE = 4
_NOISE = 5


class ImageCondition(Protocol):
    """A function from images to what they are to be made from."""

    @property
    def name(self) -> str:
        """Says what it does, with every number that matters: equal names, equal results."""
        ...

    def __call__(self, images: Images, numbers: Numbers) -> Images: ...


@dataclasses.dataclass(frozen=True)
class Gray:
    """The luma of images in colour, one channel (``luma``)."""

    name = "gray"

    def __call__(self, images: Images, numbers: Numbers) -> Images:
        del numbers
        return luma(images)


@dataclasses.dataclass(frozen=True)
class Edges:
    """Black lines of one pixel on white, one channel, where the image changes most.

    A pixel is on a line where the slope of the smoothed image is at least ``threshold`` levels a
    pixel, and the greatest across the line (Canny, 1986, without hysteresis); of several channels
    the steepest counts. All arithmetic is on integers, and so the same everywhere.
    """

    threshold: float = 8.0

    def __post_init__(self):
        if not 0.0 < self.threshold < 256.0:
            raise DataError(f"the threshold of edges lies in (0, 256), got {self.threshold}")

    @property
    def name(self) -> str:
        return f"edges-{self.threshold:g}"

    def __call__(self, images: Images, numbers: Numbers) -> Images:
        del numbers
        smooth = _correlate(_correlate(images.astype(np.int32), _SMOOTH, 1), _SMOOTH, 2)
        down = _correlate(_correlate(smooth, _SLOPE, 1), _ACROSS, 2)
        right = _correlate(_correlate(smooth, _SLOPE, 2), _ACROSS, 1)
        steepness = down.astype(np.int64) ** 2 + right.astype(np.int64) ** 2
        steepest = steepness.argmax(-1, keepdims=True)
        steepness, down, right = (
            np.take_along_axis(part, steepest, -1)[..., 0] for part in (steepness, down, right)
        )
        lines = _ridges(steepness, down, right) & (steepness >= (_GAIN * self.threshold) ** 2)
        return np.where(lines, 0, 255).astype(np.uint8)[..., None]


@dataclasses.dataclass(frozen=True)
class LowResolution:
    """The image at 1/``factor`` of its height and width, enlarged to its own size again.

    These are Pillow's own ``resize``: with ``BOX`` (the mean of the area) down to the sides divided
    by the factor, rounded up, and with ``BICUBIC`` back, in 8 bits between.
    """

    factor: int

    def __post_init__(self):
        if self.factor < 2:
            raise DataError(f"a factor of low resolution is 2 or more, got {self.factor}")

    @property
    def name(self) -> str:
        return f"low-resolution-{self.factor}"

    def __call__(self, images: Images, numbers: Numbers) -> Images:
        del numbers
        height, width = images.shape[1:3]
        return self.enlarged(self.reduced(images), (height, width))

    def reduced(self, images: Images) -> Images:
        """The small images alone."""
        from PIL import Image

        height, width = (-(-side // self.factor) for side in images.shape[1:3])
        return _resized(images, (height, width), Image.Resampling.BOX)

    def enlarged(self, small: Images, size: tuple[int, int] | None = None) -> Images:
        """Small images at ``size``, by default ``factor`` times as high and wide."""
        from PIL import Image

        height, width = (self.factor * side for side in small.shape[1:3])
        return _resized(small, size or (height, width), Image.Resampling.BICUBIC)


def _resized(images: Images, size: tuple[int, int], how: Any) -> Images:
    from PIL import Image

    height, width = size
    channels = images.shape[-1]
    resized = np.empty((len(images), height, width, channels), np.uint8)
    for place, image in zip(resized, images, strict=True):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        place[...] = np.asarray(picture.resize((width, height), how)).reshape(place.shape)
    return resized


@dataclasses.dataclass(frozen=True)
class Hole:
    """The image with a rectangle of the level 128 in it, of ``share`` of its area.

    The rectangle has the image's proportions, its sides are rounded to whole pixels, and it lies
    anywhere in the image with equal probability. Another ``seed`` draws other places.
    """

    level: ClassVar[int] = 128
    share: float = 0.25
    seed: int = 0

    def __post_init__(self):
        if not 0.0 < self.share < 1.0:
            raise DataError(f"the share of a hole lies in (0, 1), got {self.share}")
        check_seed(self.seed)

    @property
    def name(self) -> str:
        return f"hole-{self.share:g}-{self.seed}"

    def __call__(self, images: Images, numbers: Numbers) -> Images:
        holed = images.copy()
        height, width = (self._side(side) for side in images.shape[1:3])
        rows, columns = images.shape[1] - height + 1, images.shape[2] - width + 1
        for image, number in zip(holed, numbers.tolist(), strict=True):
            down, right = random_words(2, self.seed, _HOLE, number).tolist()
            top, left = down * rows >> 64, right * columns >> 64
            image[top : top + height, left : left + width] = self.level
        return holed

    def hides(self, holed: Any) -> Bool[Any, "n height width 1"]:
        """Which pixels of such images, NumPy's or JAX's, a hole hides, by their level alone: a
        pixel outside it that has this level in every channel counts as hidden too."""
        return (holed == self.level).all(-1, keepdims=True)

    def _side(self, side: int) -> int:
        return min(side, max(1, round(side * math.sqrt(self.share))))


@dataclasses.dataclass(frozen=True)
class Noise:
    """The image plus Gaussian noise with a standard deviation of ``sigma`` levels, clipped.

    Each level of noise is one of 2^16 quantiles, and at most 4.4 ``sigma``. Another ``seed`` draws
    other noise.
    """

    sigma: float = 25.0
    seed: int = 0

    def __post_init__(self):
        if not 0.0 < self.sigma < math.inf:
            raise DataError(f"the sigma of noise is a number above 0, got {self.sigma}")
        check_seed(self.seed)

    @property
    def name(self) -> str:
        return f"noise-{self.sigma:g}-{self.seed}"

    def __call__(self, images: Images, numbers: Numbers) -> Images:
        quantiles = _normal_quantiles()
        noisy = np.empty_like(images)
        for place, image, number in zip(noisy, images, numbers.tolist(), strict=True):
            words = random_words(-(-image.size // 4), self.seed, _NOISE, number)
            halves = words.astype("<u8").view("<u2")[: image.size].reshape(image.shape)
            place[...] = np.clip(np.rint(image + self.sigma * quantiles[halves]), 0, 255)
        return noisy


@functools.cache
def _normal_quantiles() -> np.ndarray:
    """Those of the standard normal distribution at the middles of 2^16 equal parts."""
    from scipy.special import ndtri

    return ndtri((np.arange(2**16) + 0.5) / 2**16)


_SMOOTH = (1, 4, 6, 4, 1)  # binomial: a standard deviation of one pixel
_SLOPE = (-1, 0, 1)
_ACROSS = (1, 2, 1)  # with _SLOPE, the Sobel operator
_GAIN = sum(_SMOOTH) ** 2 * 2 * sum(_ACROSS)  # what a slope of one level a pixel comes out as


def _correlate(images: np.ndarray, weights: tuple[int, ...], axis: int) -> np.ndarray:
    from scipy import ndimage

    return ndimage.correlate1d(images, weights, axis, mode="nearest")


def _ridges(steepness: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Where the steepness [n, H, W] is the greatest of three pixels along the slope, in the nearest
    of eight directions; of two that are equal, one is."""
    # 2 / 5 is close to tan(22.5°), where one direction is as near as the next.
    vertical = 2 * np.abs(down) > 5 * np.abs(right)
    horizontal = 2 * np.abs(right) > 5 * np.abs(down)
    falling = ~vertical & ~horizontal & (np.sign(down) == np.sign(right))
    rising = ~vertical & ~horizontal & ~falling
    padded = np.pad(steepness, ((0, 0), (1, 1), (1, 1)))
    height, width = steepness.shape[1:]

    def beside(rows: int, columns: int) -> np.ndarray:
        return padded[:, 1 + rows :, 1 + columns :][:, :height, :width]

    ridges = np.zeros(steepness.shape, bool)
    for chosen, (rows, columns) in (
        (vertical, (1, 0)),
        (horizontal, (0, 1)),
        (falling, (1, 1)),
        (rising, (1, -1)),
    ):
        before, after = beside(-rows, -columns), beside(rows, columns)
        ridges |= chosen & (steepness > before) & (steepness >= after)
    return ridges
