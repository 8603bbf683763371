"""Image arrays in a NumPy .npz file."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.errors import DataError
from gen_jax.data.pictures import picture
from gen_jax.data.pictures.picture import ImageOptions

WANTED = (
    "wanted images (uint8 [N, H, W] or [N, H, W, C] with C of 1 or 3), with labels (integers [N]) "
    "or without, or train_images, test_images, ... likewise for each split"
)


class NpzFile:
    """A source with the arrays ``SPLIT_images`` and, where there are labels, ``SPLIT_labels``.

    A file of one set calls them ``images`` and ``labels``. Only the arrays asked for are read, and
    nothing is unpickled. Raises ``DataError`` for other keys, types or shapes, a damaged file, and
    arrays larger than ``options.memory_limit``.
    """

    def __init__(
        self,
        name: str,
        path: pathlib.Path,
        options: ImageOptions,
        *,
        class_names: tuple[str, ...] | None = None,
    ):
        if not path.is_file():
            raise DataError(f"{name}: there is no file {path}")
        self.name = name
        self._path = path
        self._options = options
        self._class_names = class_names
        with self._opened() as arrays:
            self._keys = tuple(arrays.files)
        if "images" in self._keys:
            self._prefixes = {"train": ""}
        else:
            found = (key.removesuffix("_images") for key in self._keys if key.endswith("_images"))
            self._prefixes = {split: f"{split}_" for split in found}
        if not self._prefixes:
            raise DataError(f"{name} holds {', '.join(self._keys) or 'no arrays'}; {WANTED}")

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._prefixes)

    def open(self, *splits: str) -> ArrayDataset:
        with self._opened() as arrays:
            parts = [self._read(arrays, self._prefixes[split]) for split in splits]
        images = [image for image, _ in parts]
        labels = [label for _, label in parts if label is not None]
        for split, image in zip(splits, images, strict=True):
            picture.check_alike(
                f"{self.name} {split}", image.shape[1:], splits[0], images[0].shape[1:]
            )
        return ArrayDataset(
            self.name,
            "+".join(splits),
            images[0] if len(images) == 1 else np.concatenate(images),
            np.concatenate(labels) if len(labels) == len(parts) else None,
            class_names=self._class_names,
        )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with zipfile.ZipFile(self._path):  # np.load takes other files too, and guesses
                pass
            with np.load(self._path, allow_pickle=False) as arrays:
                yield arrays
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(
                f"{self.name} cannot be read ({error}); an .npz file is a zip archive as "
                "np.savez_compressed writes it"
            ) from error

    def _read(
        self, arrays: Any, prefix: str
    ) -> tuple[UInt8[np.ndarray, "n height width channels"], Int[np.ndarray, " n"] | None]:
        key = f"{prefix}images"
        stored = self._array(arrays, key)
        images = stored[..., None] if stored.ndim == 3 else stored
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise DataError(f"{self.name}: {key} is {stored.dtype} {list(stored.shape)}; {WANTED}")
        if len(images) == 0:
            raise DataError(f"{self.name}: {key} holds no image")
        if f"{prefix}labels" not in self._keys:
            return self._convert(images), None
        labels = self._array(arrays, f"{prefix}labels")
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise DataError(
                f"{self.name}: {prefix}labels is {labels.dtype} {list(labels.shape)} beside "
                f"{len(images)} images; {WANTED}"
            )
        most = np.iinfo(np.int32).max
        if not 0 <= labels.min() <= labels.max() <= most:
            raise DataError(
                f"{self.name}: {prefix}labels lie in {labels.min()}..{labels.max()}; a label is "
                f"the number of a class, 0..{most}"
            )
        return self._convert(images), labels.astype(np.int32)

    def _array(self, arrays: Any, key: str) -> np.ndarray:
        size = arrays.zip.getinfo(f"{key}.npy").file_size
        if size > self._options.memory_limit:  # a small archive can hold far more than fits
            raise DataError(
                f"{self.name}: {key} takes {size} bytes of memory, more than "
                f"memory_limit={self._options.memory_limit}"
            )
        try:
            return arrays[key]
        except ValueError as error:
            raise DataError(f"{self.name}: {key} is no plain array ({error}); {WANTED}") from error

    def _convert(
        self, images: UInt8[np.ndarray, "n height width channels"]
    ) -> UInt8[np.ndarray, "n height2 width2 channels2"]:
        if self._options.keeps_format:
            return images
        return np.stack([picture.convert(image, self._options) for image in images])
