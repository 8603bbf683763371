"""Sets prepared by TensorFlow Datasets, read without TensorFlow."""

import contextlib
import difflib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gen_jax.data import splits
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError

_NAME = re.compile(r"(\w+)(?:/(\w[\w.+-]*))?(?::(\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_FEATURE = re.compile(r"tensorflow_datasets\.core\.features(\.\w+)+")


class Prepared:
    """Where a prepared set lies: ``NAME``, ``NAME/CONFIG``, or either with ``:1.2.3``.

    ``data_dir`` is the folder that such sets are prepared in (default ``$TFDS_DATA_DIR`` or
    ``~/tensorflow_datasets``); the newest version is taken. TFDS itself is only imported to decode,
    not where a decoded array is at hand. Raises ``DataError`` for an unknown or unprepared set, and
    one not in the ArrayRecord format.
    """

    kind = "image"
    ignored = ()

    def __init__(self, name: str, data_dir: pathlib.Path | None):
        self.name = f"tfds:{name}"
        self._set = name
        self._data_dir = data_dir or default_data_dir()
        if data_dir is not None and not data_dir.is_dir():
            raise DataError(f"{self.name}: there is no folder {data_dir} (data_dir)")
        self._path = self._find()
        self._info = self._read_info()
        names = [split["name"] for split in self._info["splits"]]
        self._own_names = splits.by_usual_name(self.name, names)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._own_names)

    def _find(self) -> pathlib.Path:
        match = _NAME.fullmatch(self._set)
        if match is None:
            raise DataError(
                f"{self.name} is not a set's name: use tfds:NAME, tfds:NAME/CONFIG or "
                "tfds:NAME:1.2.3"
            )
        name, config, version = match.groups()
        folder = self._data_dir / name / (config or "")
        versions = {path.name: path for path in _folders(folder) if _is_prepared(path)}
        if version is None and versions:
            return versions[max(versions, key=lambda text: [int(part) for part in text.split(".")])]
        if version in versions:
            return versions[version]
        configs = [path.name for path in _folders(folder) if any(map(_is_prepared, _folders(path)))]
        if config is None and configs:
            raise DataError(
                f"{self.name} is prepared as {', '.join(configs)}; "
                f"say which, as in tfds:{name}/{configs[0]}"
            )
        if versions:
            raise DataError(f"{self.name} is prepared in the versions {', '.join(versions)} only")
        raise DataError(self._not_prepared(name))

    def _not_prepared(self, name: str) -> str:
        import tensorflow_datasets as tfds

        known = {*tfds.list_builders(with_community_datasets=False), *prepared(self._data_dir)}
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3)
            hint = f"; did you mean {' or '.join(f'tfds:{n}' for n in near)}?" if near else ""
            return f"tfds:{name} is unknown to TFDS {tfds.__version__}{hint}"
        return f"{self.name} is not prepared in {self._data_dir}; {self._how_to_prepare()}"

    def _how_to_prepare(self) -> str:
        return (
            f"preparing an {self.kind} set needs TensorFlow, once: pip install tensorflow && "
            'python -c "import tensorflow_datasets as tfds; '
            f"tfds.data_source('{self._set}', data_dir='{self._data_dir}')\""
        )

    def _read_info(self) -> dict[str, Any]:
        path = self._path / "dataset_info.json"
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
            kind = info.get("fileFormat", "tfrecord")
            names = [split["name"] for split in info["splits"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{self.name}: {path} is damaged ({error})") from error
        if kind != "array_record":
            raise DataError(
                f"{self.name} is prepared in {self._path} as {kind}, which only TensorFlow reads; "
                f"remove it and prepare it as array_record; {self._how_to_prepare()}"
            )
        if not names:
            raise DataError(f"{self.name}: {path} lists no splits")
        return info

    def _read_features(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The content of ``features.json``, and the kind of each feature: "Image", say.

        Raises ``DataError`` where a class named there is not TFDS's: its module would be imported.
        """
        path = self._path / "features.json"
        with self._damage(path):
            config = json.loads(path.read_text(encoding="utf-8"))
            foreign = [name for name in _classes_in(config) if not _FEATURE.fullmatch(name)]
            if foreign:
                raise DataError(
                    f"{self.name}: {path} refers to {foreign[0]}, which is not a TFDS feature "
                    "class; only those of tensorflow_datasets.core.features are read"
                )
            features = config["featuresDict"]["features"]
            kinds = {
                name: part["pythonClassName"].rpartition(".")[2] for name, part in features.items()
            }
            return config, kinds

    def _lacks(self, what: str, kinds: Mapping[str, str]) -> DataError:
        return DataError(
            f"{self.name} has no feature with {what}: {', '.join(kinds)} are "
            f"{', '.join(kinds.values())}"
        )

    @contextlib.contextmanager
    def _damage(self, path: pathlib.Path) -> Iterator[None]:
        """Turns what TFDS makes of a file or folder that it cannot use into a ``DataError``."""
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # TFDS's, protobuf's and its readers', of many types
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(f"{self.name}: {path} cannot be used ({reason})") from error

    def _fingerprint(self) -> dict[str, Any]:
        files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in self._stats()]
        return {"info": self._info, "files": files}

    def _digest(self, *names: str) -> str:
        """Changes when the set is prepared otherwise, or a file has another size."""
        sizes = [(name, stat.st_size) for name, stat in self._stats()]
        return digest("prepared", self._info, sizes, names)

    def _stats(self) -> list[tuple[str, os.stat_result]]:
        """The prepared set's files, by name."""
        files = sorted(path for path in self._path.iterdir() if path.is_file())
        return [(path.name, path.stat()) for path in files]


def default_data_dir() -> pathlib.Path:
    """The folder of prepared sets that TFDS uses by default."""
    return pathlib.Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared(data_dir: pathlib.Path) -> list[str]:
    """Names of the sets that are prepared in a folder."""

    def holds_set(path: pathlib.Path, depth: int) -> bool:
        return _is_prepared(path) or (
            depth > 0 and any(holds_set(deeper, depth - 1) for deeper in _folders(path))
        )

    return [path.name for path in _folders(data_dir) if holds_set(path, 2)]


def _classes_in(config: Any) -> Iterator[str]:
    """Every class that a ``features.json`` names, in all ways that TFDS understands."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str):
                yield value
            else:
                yield from _classes_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes_in(value)
    elif isinstance(config, str):
        with contextlib.suppress(ValueError):
            yield from _classes_in(json.loads(config))  # content kept as text


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []


def _is_prepared(path: pathlib.Path) -> bool:
    return bool(_VERSION.fullmatch(path.name)) and (path / "dataset_info.json").is_file()
