"""A folder of pictures."""

import hashlib
import json
import pathlib
from collections.abc import Sequence

from gen_jax.data.dataset import Dataset
from gen_jax.data.folder import File, FileTree, Kind
from gen_jax.data.pictures import encoded
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.records import Encoded

PICTURES = Kind((".png", ".jpg", ".jpeg", ".webp"), "PNG, JPEG or WebP", "picture")


class ImageFolder:
    """A source of the PNG, JPEG and WebP files of a folder: see ``FileTree``."""

    def __init__(self, name: str, path: pathlib.Path, options: ImageOptions):
        self.name = name
        self._tree = FileTree(name, path, PICTURES)
        self._options = options

    @property
    def splits(self) -> tuple[str, ...]:
        return self._tree.splits

    def open(self, *splits: str) -> Dataset:
        records, place = _Files(*self._tree.files(*splits)), self._tree.path
        origin = encoded.Origin(
            self.name, "+".join(splits), place, records.fingerprint(place), beside=None
        )
        return encoded.open_encoded(origin, lambda: records, self._options)


class _Files:
    def __init__(self, files: list[File], class_names: tuple[str, ...] | None):
        self.class_names = class_names
        self._files = files
        self._labels: dict[str | None, int] = {
            name: label for label, name in enumerate(class_names or ())
        }

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: Sequence[int]) -> list[Encoded]:
        files = [self._files[index] for index in indices]
        return [Encoded(path, self._labels.get(label), str(path)) for path, label in files]

    def fingerprint(self, root: pathlib.Path) -> dict[str, object]:
        """Changes when a file or a class comes, goes, or is written again."""
        lines = [json.dumps(self.class_names)]
        for path, _ in self._files:
            name = path.relative_to(root)
            try:
                stat = path.stat()
                lines.append(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}")
            except OSError:  # a broken link, say: decoding will name it, or skip it
                lines.append(f"{name}\0unreadable")
        return {
            "files": len(self._files),
            "sha256": hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest(),
        }
