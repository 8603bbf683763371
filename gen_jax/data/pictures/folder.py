"""A folder of pictures."""

import pathlib
from collections.abc import Mapping, Sequence

from gen_jax.data.dataset import Dataset
from gen_jax.data.digests import digest
from gen_jax.data.folder import File, FileTree, Kind, digest_of, labels_of
from gen_jax.data.pictures import encoded
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.records import Encoded

PICTURES = Kind((".png", ".jpg", ".jpeg", ".webp"), "PNG, JPEG or WebP", "picture")


class ImageFolder:
    """A source of the PNG, JPEG and WebP files of a folder: see ``FileTree``."""

    def __init__(
        self,
        name: str,
        path: pathlib.Path,
        options: ImageOptions,
        folders: Mapping[str, str] | None = None,
    ):
        self.name = name
        self._tree = FileTree(name, path, PICTURES, folders)
        self._options = options

    @property
    def splits(self) -> tuple[str, ...]:
        return self._tree.splits

    @property
    def ignored(self) -> tuple[str, ...]:
        return self._tree.ignored

    def classes(self, split: str) -> list[str | None]:
        """The class of each picture of a split, as ``FileTree.classes`` has them."""
        return self._tree.classes(split)

    def by_name(self, split: str) -> dict[str, pathlib.Path]:
        """The files of a split, in the order of its examples, as ``FileTree.by_name`` has them."""
        return self._tree.by_name(split)

    def open(self, *splits: str) -> Dataset:
        files, class_names = self._tree.files(*splits)
        records = _Files(files, class_names)
        stats = self._tree.stats(files)
        origin = encoded.Origin(
            self.name,
            "+".join(splits),
            self._tree.path,
            {"files": len(files), "sha256": digest(stats, class_names)},
            digest_of(stats, class_names),
            beside=None,
        )
        return encoded.open_encoded(origin, lambda: records, self._options)


class _Files:
    def __init__(self, files: list[File], class_names: tuple[str, ...] | None):
        self.class_names = class_names
        self._files = files
        self.labels = labels_of(files, class_names)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: Sequence[int]) -> list[Encoded]:
        return [
            Encoded(path, None if self.labels is None else int(self.labels[index]), str(path))
            for index, path in ((index, self._files[index][0]) for index in indices)
        ]
