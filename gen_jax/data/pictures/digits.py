"""Small digits out of scikit-learn, by other writers than MNIST's."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.plain import open_plain

CLASSES = tuple("0123456789")
N_TEST = 297
FACTOR = 2.5  # from 8 to the 20 pixels that MNIST's digits span
MARGIN = 2  # pixels by which an enlarged digit's empty frame may leave the image


class SmallDigits:
    """A source with the 1,797 digits of ``sklearn.datasets.load_digits``, 28×28, labelled 0 to 9.

    Their 8×8 pixels of 17 levels are enlarged to 20×20 (bicubic), black where there is no ink, and
    laid with the centre of their ink in the middle, as MNIST's digits are: white on black, 20
    pixels high. Their strokes stay wider and softer.

    ``test`` are the last 297. The digits are sorted by writer (half of them have their nearest
    within 85 places), so most of these are by other writers than the first 1,500, which are
    ``train``.

    They come with the scikit-learn package, so nothing is fetched; ``DataError`` says how to
    install it.
    """

    name = "digits-8x8"
    splits = ("train", "test")
    ignored = ()

    def __init__(self, options: ImageOptions):
        self._options = options

    def open(self, *splits: str) -> ArrayDataset:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise DataError(
                "digits-8x8 are images of the scikit-learn package: pip install scikit-learn"
            ) from error
        levels, digits = load_digits(return_X_y=True)
        images = np.asarray(levels, np.float32).reshape(-1, 8, 8) / 16.0
        labels = np.asarray(digits, np.int32)
        parts = {"train": slice(None, -N_TEST), "test": slice(-N_TEST, None)}
        images, labels = (
            np.concatenate([array[parts[split]] for split in splits]) for array in (images, labels)
        )
        return open_plain(
            self.name,
            ("+".join(splits),),
            [np.stack([_enlarged(image) for image in images])],
            labels,
            CLASSES,
            self._options,
            # Pillow may resize otherwise from one release to the next.
            origin=digest(images, labels, FACTOR),
        )


def _enlarged(ink: Float[np.ndarray, "8 8"]) -> UInt8[np.ndarray, "28 28 1"]:
    from PIL import Image

    # A frame, so that strokes fade at the edge.
    framed = np.pad(ink, 1)
    side = round(len(framed) * FACTOR)
    bicubic = Image.fromarray(framed).resize((side, side), Image.Resampling.BICUBIC)
    levels = np.clip(np.round(255.0 * np.asarray(bicubic)), 0, 255).astype(np.uint8)
    canvas = np.zeros((28 + 2 * MARGIN, 28 + 2 * MARGIN, 1), np.uint8)
    row, column = (_place(levels.sum(axis), len(canvas)) for axis in (1, 0))
    canvas[row : row + side, column : column + side, 0] = levels
    return canvas[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _place(ink: Int[np.ndarray, " side"], length: int) -> int:
    """Where, along ``length`` pixels, a strip begins whose ink is centred there."""
    centre = np.average(np.arange(len(ink)), weights=ink)
    return int(np.clip(round(length / 2 - centre), 0, length - len(ink)))
