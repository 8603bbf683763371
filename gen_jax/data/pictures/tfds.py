"""Pictures prepared by TensorFlow Datasets."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gen_jax.data.dataset import Dataset
from gen_jax.data.errors import DataError
from gen_jax.data.pictures import encoded
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.records import Encoded
from gen_jax.data.tfds import Prepared

_UNKNOWN = -1  # TFDS's label of what nobody has labelled: a competition's test images, say


class PreparedSet(Prepared):
    """A source that is a prepared image set.

    A split whose labels are not known has none. Raises ``DataError`` for a set without 8-bit
    images, and a split with labels of only some.
    """

    def __init__(self, name: str, data_dir: pathlib.Path | None, options: ImageOptions):
        super().__init__(name, data_dir)
        self._options = options

    def open(self, *splits: str) -> Dataset:
        origin = encoded.Origin(
            self.name,
            "+".join(splits),
            self._path.resolve(),
            self._fingerprint(),
            self._digest(*splits),
            beside=self._path,
        )
        return encoded.open_encoded(origin, lambda: self._records(*splits), self._options)

    def _records(self, *splits: str) -> "_Records":
        import tensorflow_datasets as tfds

        _, kinds = self._read_features()
        images = [key for key, kind in kinds.items() if kind in ("Image", "LabeledImage")]
        image = "image" if "image" in images else images[0] if len(images) == 1 else None
        if image is None:
            raise self._lacks("one 8-bit image", kinds)
        with self._damage(self._path):
            builder: Any = tfds.builder_from_directory(self._path)
            features: dict[str, Any] = dict(builder.info.features.items())
        if features[image].np_dtype != np.uint8:
            raise self._lacks("one 8-bit image", kinds)
        label = features.get("label")
        names = None
        if isinstance(label, tfds.features.ClassLabel):
            names = tuple(label.names)
        # The pictures stay encoded here: all sources are decoded alike, and in parallel.
        undecoded = {key: tfds.decode.SkipDecoding() for key in images}
        with self._damage(self._path):
            own = "+".join(self._own_names[split] for split in splits)
            source = builder.as_data_source(split=own, decoders=undecoded)
        where = f"{self.name} {'+'.join(splits)}"
        records = _Records(where, source, image, names)
        if names is not None and len(records) and records.label(0) == _UNKNOWN:
            return _Records(where, source, image, None)
        return records


class _Records:
    def __init__(self, name: str, source: Any, image: str, class_names: tuple[str, ...] | None):
        self.class_names = class_names
        self.labels = None
        self._name = name
        self._source = source
        self._image = image

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Sequence[int]) -> list[Encoded]:
        read = []
        for index, (data, label) in zip(indices, self._fields(indices), strict=True):
            where = f"{self._name} record {index}"
            if label == _UNKNOWN:
                raise DataError(f"{where} has no label, but others of its split have")
            read.append(Encoded(data, label, where))
        return read

    def label(self, index: int) -> int | None:
        """The label of a record as it is stored."""
        return self._fields([index])[0][1]

    def _fields(self, indices: Sequence[int]) -> list[tuple[bytes, int | None]]:
        try:
            records = self._source.__getitems__(list(indices))  # much faster than one by one
            if self.class_names is None:
                return [(record[self._image], None) for record in records]
            return [(record[self._image], int(record["label"])) for record in records]
        except Exception as error:  # the reader is C++, and its errors of many types
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self._name}: records {indices[0]} to {indices[-1]} are damaged ({reason})"
            ) from error
