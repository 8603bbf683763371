"""Patches of the colour photographs that come with scikit-image and scikit-learn."""

import importlib.resources
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.pictures.picture import ImageOptions, Levels, decode
from gen_jax.data.pictures.plain import halved, open_plain

PHOTOS = {  # by split: the package, and the file in it
    "train": (
        ("scikit-image", "skimage", "data/astronaut.png"),
        ("scikit-image", "skimage", "data/motorcycle_left.png"),
        ("scikit-image", "skimage", "data/rocket.jpg"),
        ("scikit-learn", "sklearn", "datasets/images/flower.jpg"),
    ),
    "validation": (("scikit-image", "skimage", "data/chelsea.png"),),
    "test": (
        ("scikit-image", "skimage", "data/coffee.png"),
        ("scikit-learn", "sklearn", "datasets/images/china.jpg"),
    ),
}
SMALLEST, LARGEST = 8, 300  # the smallest photograph is 300 high
FLAT = 4.0


class Photos:
    """A source of RGB patches without labels, ``photos`` of 32×32, ``photos:SIZE`` of SIZE×SIZE.

    The splits are of different photographs: train of an astronaut, a motorcycle, a rocket and a
    flower, validation of a cat, test of a cup of coffee and a pagoda. Patches lie on a grid, those
    of train half over one another, in each photograph and in its reduction to half the size (means
    of 2×2), if a patch fits there. Flat ones, whose levels have a standard deviation below 4 in
    every colour (sky, blurred background), are left out: there is nothing in them to restore. Of
    size 32 these are 4,625, 154 and 492.

    Only what the packages carry is read, and nothing fetched; their science images (cells, a
    retina, galaxies) are left aside. Raises ``DataError`` for a size outside 8..300, and says how
    to install what is missing.
    """

    splits = tuple(PHOTOS)
    ignored = ()

    def __init__(self, name: str, options: ImageOptions):
        self.name = name
        size = name.partition(":")[2] or "32"
        if not (size.isascii() and size.isdigit() and SMALLEST <= int(size) <= LARGEST):
            raise DataError(
                f"the SIZE of photos:SIZE is a side from {SMALLEST} to {LARGEST}, got {size!r}"
            )
        self._size = int(size)
        self._options = options

    def open(self, *splits: str) -> ArrayDataset:
        files = {split: [_content(*photo) for photo in PHOTOS[split]] for split in splits}
        parts = [
            np.concatenate([self._patches(content, split) for content in files[split]])
            for split in splits
        ]
        # JPEG decoders round differently from one release to the next.
        origin = digest(
            list(splits),
            self._size,
            FLAT,
            *(np.frombuffer(content, np.uint8) for split in splits for content in files[split]),
        )
        return open_plain(self.name, splits, parts, None, None, self._options, origin=origin)

    def _patches(self, content: bytes, split: str) -> UInt8[np.ndarray, "n size size 3"]:
        stride = self._size // 2 if split == "train" else self._size
        photo = decode(content, ImageOptions(channels=3), f"of {self.name} {split}")
        patches = np.concatenate([self._grid(level, stride) for level in _pyramid(photo)])
        return patches[patches.std(axis=(1, 2)).max(axis=-1) >= FLAT]

    def _grid(self, photo: Levels, stride: int) -> UInt8[np.ndarray, "n size size 3"]:
        size = self._size
        if min(photo.shape[:2]) < size:
            return np.zeros((0, size, size, 3), np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(photo, (size, size), axis=(0, 1))
        grid = windows[::stride, ::stride]  # [rows, columns, C, H, W]
        return grid.reshape(-1, 3, size, size).transpose(0, 2, 3, 1)


def _pyramid(photo: Levels) -> Iterator[Levels]:
    yield photo
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    yield halved(photo[None, :height, :width])[0]


def _content(package: str, module: str, file: str) -> bytes:
    try:
        path = importlib.resources.files(module).joinpath(file)
    except ImportError as error:
        raise DataError(
            "photos are of the packages scikit-image and scikit-learn: "
            "pip install scikit-image scikit-learn"
        ) from error
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"photos: the installed {package} does not carry {file}; scikit-image 0.26 and "
            "scikit-learn 1.8 carry all of them"
        ) from error
