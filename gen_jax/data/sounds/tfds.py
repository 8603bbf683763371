"""Sounds prepared by TensorFlow Datasets, read without TensorFlow and kept as one array."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int16

from gen_jax.data.cache import Cache
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.sounds.windows import AudioOptions, Sounds, at_rate, spans
from gen_jax.data.tfds import Prepared

_CHUNK = 64  # records read at once
_TENSOR = "tensorflow_datasets.core.features.tensor_feature.Tensor"


class PreparedAudio(Prepared):
    """A source that is a prepared set with an Audio feature: integers of 16 bits, or floats in
    [-1, 1]. A set without a sample rate is taken to have the one in ``options``.

    The sounds are read once, into a memory-mapped array (see ``Cache``). Raises ``DataError`` for
    a set without such a feature, or whose sounds are stored encoded.
    """

    kind = "audio"

    def __init__(self, name: str, data_dir: pathlib.Path | None, options: AudioOptions):
        super().__init__(name, data_dir)
        self._options = options

    def open(self, *splits: str) -> Sounds:
        split, place = "+".join(splits), self._path.resolve()
        identity = {"kind": "sounds", "split": split, **dataclasses.asdict(self._options)}
        cache = Cache(split, place, identity, self._fingerprint(), self._path)
        entry = cache.read_or_write(functools.partial(self._keep, splits))
        names = entry.notes["class_names"]
        return Sounds(
            self.name,
            split,
            entry.arrays["samples"],
            np.asarray(entry.arrays["spans"]),
            entry.arrays.get("labels"),
            None if names is None else tuple(names),
            self._options.sample_rate,
            digest(self._digest(*splits), dataclasses.asdict(self._options)),
        )

    def _keep(self, splits: tuple[str, ...], folder: pathlib.Path) -> dict[str, Any]:
        """Writes all samples to ``samples.npy`` as they are read, and where each sound lies."""
        content = self._content()
        lengths: list[int] = []
        labels: list[int] = []
        header = {"descr": "<i2", "fortran_order": False, "shape": (0,)}
        with (folder / "samples.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for where, record in self._records(splits, content):
                sound = self._sound(record[content.audio], content, where)
                file.write(sound.astype("<i2").tobytes())
                lengths.append(len(sound))
                if content.class_names is not None:
                    labels.append(int(record[self._options.label]))
            file.seek(0)  # NumPy leaves room for a larger number
            header["shape"] = (sum(lengths),)
            np.lib.format.write_array_header_1_0(file, header)
        np.save(folder / "spans.npy", spans(lengths), allow_pickle=False)
        if max(labels, default=-1) < 0:  # TFDS's label of what nobody has labelled
            return {"class_names": None}
        np.save(folder / "labels.npy", np.asarray(labels, np.int32), allow_pickle=False)
        return {"class_names": content.class_names}

    def _content(self) -> "_Content":
        import tensorflow_datasets as tfds

        path = self._path / "features.json"
        config, kinds = self._read_features()
        audio = self._choose(kinds)
        with self._damage(path):
            parts = config["featuresDict"]["features"]
            stored = parts[audio]["audio"]
            # TFDS's own Audio cannot even be made without TensorFlow; its samples are a tensor.
            tensor = {key: stored[key] for key in ("shape", "dtype", "encoding") if key in stored}
            parts[audio] = {"pythonClassName": _TENSOR, "tensor": tensor}
            features: Any = tfds.features.FeaturesDict.from_json(config)
            features.load_metadata(self._path, feature_name=None)
            rate = int(stored.get("sampleRate", 0))
        if stored.get("lazyDecode"):
            raise DataError(
                f"{self.name} keeps its sounds encoded ({stored.get('fileFormat', '?')}); only a "
                "set prepared with decoded samples can be read"
            )
        return _Content(features, audio, rate, self._class_names(dict(features.items())))

    def _choose(self, kinds: dict[str, str]) -> str:
        """The feature that is the sound."""
        sounds = [name for name, kind in kinds.items() if kind == "Audio"]
        if "audio" in sounds or len(sounds) == 1:
            return "audio" if "audio" in sounds else sounds[0]
        raise self._lacks("one sound", kinds)

    def _class_names(self, features: dict[str, Any]) -> list[str] | None:
        import tensorflow_datasets as tfds

        classes = [k for k, kind in features.items() if isinstance(kind, tfds.features.ClassLabel)]
        wanted = self._options.label
        if wanted in classes:
            return list(features[wanted].names)
        if wanted == AudioOptions.label:
            return None
        raise DataError(
            f"{self.name} has no class feature {wanted!r}; it has {', '.join(classes) or 'none'}"
        )

    def _records(
        self, splits: tuple[str, ...], content: "_Content"
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each record, and what to call it."""
        import tqdm
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        for split in splits:
            index = 0
            try:
                source: Any = ArrayRecordDataSource([str(path) for path in self._files(split)])
                n = len(source)
                progress = tqdm.tqdm(
                    total=n,
                    desc=f"reading {self.name} {split}, once",
                    unit=" sounds",
                    disable=None,  # only on a terminal
                    leave=False,
                )
                with progress:
                    for index in range(0, n, _CHUNK):
                        chunk = source.__getitems__(list(range(index, min(index + _CHUNK, n))))
                        for number, data in enumerate(chunk, index):
                            where = f"{self.name} {split} record {number}"
                            yield where, content.features.deserialize_example_np(data)
                        progress.update(len(chunk))
            except Exception as error:  # the reader is C++, and its errors of many types
                reason = " ".join(str(error).split())
                raise DataError(
                    f"{self.name} {split}: the records from {index} on are damaged ({reason})"
                ) from error

    def _files(self, split: str) -> list[pathlib.Path]:
        import tensorflow_datasets as tfds

        own = self._own_names[split]
        info = next(part for part in self._info["splits"] if part["name"] == own)
        place: Any = self._path
        template = tfds.core.ShardedFileTemplate(
            data_dir=place,
            template=info.get("filepathTemplate", ""),
            dataset_name=self._info["name"],
            split=own,
            filetype_suffix=self._info["fileFormat"],
        )
        return [
            pathlib.Path(path) for path in template.sharded_filepaths(len(info["shardLengths"]))
        ]

    def _sound(self, sound: Any, content: "_Content", where: str) -> Int16[np.ndarray, " samples"]:
        sound = np.asarray(sound)
        if sound.dtype.kind == "f":
            sound = np.clip(np.round(sound * 2.0**15), -(2**15), 2**15 - 1)
        if sound.size and not -(2**15) <= sound.min() <= sound.max() < 2**15:
            raise DataError(
                f"{where} has samples from {sound.min()} to {sound.max()}; those of 16 bits lie in "
                f"{-(2**15)}..{2**15 - 1}"
            )
        rate = content.sample_rate or self._options.sample_rate
        return at_rate(sound.astype(np.int16), rate, self._options, where)


@dataclasses.dataclass(frozen=True)
class _Content:
    """What is in a record: its features with the sound as a tensor, which one that is, its sample
    rate (0 where unknown), and the names of the classes."""

    features: Any
    audio: str
    sample_rate: int
    class_names: list[str] | None
