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
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.plain import open_plain
from gen_jax.data.splits import by_usual_name

LAYOUT = (
    "expected images (uint8 [N, H, W] or [N, H, W, C] with C of 1 or 3), with labels (integers "
    "[N]) or without, or train_images, test_images, ... likewise for each split"
)


class NpzFile:
    """A source with the arrays ``SPLIT_images`` and, where there are labels, ``SPLIT_labels``.

    ``SPLIT`` is a usual name of a split (``train``, ``val``: see ``splits``) or any other; a file
    of one set calls its arrays ``images`` and ``labels``. Labels are [N] or [N, 1]. Unless
    ``class_names`` says otherwise, the classes are the distinct labels of all splits, in ascending
    order, named by their decimal text.

    Only the requested splits' images are read, and nothing is unpickled. Raises ``DataError`` for
    other keys, types or shapes, a damaged file, and arrays larger than ``options.memory_limit``.
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
        with opened(self.name, self._path) as arrays:
            self._keys = tuple(arrays.files)
            self._prefixes = self._find_prefixes()
            labelled = [f"{prefix}labels" for prefix in self._prefixes.values()]
            labelled = [key for key in labelled if key in self._keys]
            used = {*labelled, *(f"{prefix}images" for prefix in self._prefixes.values())}
            self.ignored = tuple(key for key in self._keys if key not in used)
            if class_names is None:
                found = (np.unique(self._labels(arrays, key)).tolist() for key in labelled)
                values = sorted(set().union(*found))
                self._class_names = tuple(str(value) for value in values)
            else:
                values = range(len(class_names))
                self._class_names = class_names
        self._number = {value: number for number, value in enumerate(values)}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._prefixes)

    def open(self, *splits: str) -> ArrayDataset:
        with opened(self.name, self._path) as arrays:
            parts = [self._read(arrays, self._prefixes[split]) for split in splits]
        images = [image for image, _ in parts]
        labels = [label for _, label in parts if label is not None]
        labelled = len(labels) == len(parts)
        return open_plain(
            self.name,
            splits,
            images,
            np.concatenate(labels) if labelled else None,
            self._class_names if labelled else None,
            self._options,
        )

    def _find_prefixes(self) -> dict[str, str]:
        """What the keys of each split begin with."""
        named = [key for key in self._keys if key.endswith("_images")]
        if "images" in self._keys:
            if named:
                raise DataError(
                    f"{self.name} holds both images and {', '.join(named)}; a file has either one "
                    "set or splits"
                )
            return {"train": ""}
        if not named:
            raise DataError(f"{self.name} holds {', '.join(self._keys) or 'no arrays'}; {LAYOUT}")
        own = by_usual_name(self.name, (key.removesuffix("_images") for key in named))
        return {split: f"{name}_" for split, name in own.items()}

    def _read(
        self, arrays: Any, prefix: str
    ) -> tuple[UInt8[np.ndarray, "n height width channels"], Int[np.ndarray, " n"] | None]:
        key = f"{prefix}images"
        stored = read(self.name, arrays, key, self._options.memory_limit)
        images = stored[..., None] if stored.ndim == 3 else stored
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise DataError(f"{self.name}: {key} is {stored.dtype} {list(stored.shape)}; {LAYOUT}")
        if len(images) == 0:
            raise DataError(f"{self.name}: {key} holds no image")
        if f"{prefix}labels" not in self._keys:
            return images, None
        labels = self._labels(arrays, f"{prefix}labels")
        if len(labels) != len(images):
            raise DataError(
                f"{self.name}: {len(labels)} {prefix}labels for {len(images)} images; {LAYOUT}"
            )
        values, places = np.unique(labels, return_inverse=True)
        unknown = [value for value in values.tolist() if value not in self._number]
        if unknown:
            raise DataError(
                f"{self.name}: {prefix}labels hold {unknown[0]}; those of {len(self._class_names)} "
                f"classes lie in 0..{len(self._class_names) - 1}"
            )
        numbers = np.array([self._number[value] for value in values.tolist()], np.int32)
        return images, numbers[places]

    def _labels(self, arrays: Any, key: str) -> Int[np.ndarray, " n"]:
        stored = read(self.name, arrays, key, self._options.memory_limit)
        labels = stored[:, 0] if stored.shape[1:] == (1,) else stored
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DataError(f"{self.name}: {key} is {stored.dtype} {list(stored.shape)}; {LAYOUT}")
        if len(labels) and labels.min() < 0:
            raise DataError(
                f"{self.name}: {key} hold {labels.min()}; a label is the number of a class, 0 or "
                "more"
            )
        return labels


@contextlib.contextmanager
def opened(name: str, path: pathlib.Path) -> Iterator[Any]:
    """The arrays of an .npz file, for ``read``; raises ``DataError`` where it is damaged."""
    try:
        with zipfile.ZipFile(path):  # np.load takes other files too, and guesses
            pass
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(
            f"{name} cannot be read ({error}); an .npz file is a zip archive as "
            "np.savez_compressed writes it"
        ) from error


def read(name: str, arrays: Any, key: str, memory_limit: int) -> np.ndarray:
    """An array of an open .npz file.

    Raises ``DataError`` for one that is missing, larger than ``memory_limit`` bytes, or would have
    to be unpickled.
    """
    if key not in arrays.files:
        raise DataError(f"{name}: the file has no array {key}; it holds {', '.join(arrays.files)}")
    size = arrays.zip.getinfo(f"{key}.npy").file_size
    if size > memory_limit:  # a small archive can hold far more than fits
        raise DataError(
            f"{name}: {key} takes {size} bytes of memory, more than memory_limit={memory_limit}"
        )
    try:
        return arrays[key]
    except ValueError as error:
        raise DataError(f"{name}: {key} is not a plain array ({error})") from error
