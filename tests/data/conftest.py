"""Small data sets on disk, and a cache of their own for each test."""

import io
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where decoded arrays are kept: never beside a set, never in the user's own cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GEN_JAX_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def mnist_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("mnist")


@pytest.fixture
def full_mnist(
    cache: pathlib.Path,
    mnist_cache: pathlib.Path,
    shared_data: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> pathlib.Path:
    """The folder with all of MNIST, decoded once for all tests."""
    monkeypatch.setenv("GEN_JAX_CACHE", str(mnist_cache))
    return shared_data


def _picture(seed: int, height: int = 8, width: int = 6, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def _encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, kind)
    return file.getvalue()


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """Makes a random picture [height, width, channels] from a seed."""
    return _picture


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Turns a picture into the bytes of a file."""
    return _encode


@pytest.fixture
def write_folder(tmp_path: pathlib.Path) -> Callable[[Mapping[str, bytes]], pathlib.Path]:
    """Writes files by their relative path, and returns the folder."""

    def write(files: Mapping[str, bytes]) -> pathlib.Path:
        folder = tmp_path / "pictures"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def prepare_set(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Writes a set as TFDS prepares it, from encoded images; returns its ``data_dir``."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    def prepare(
        name: str,
        splits: Mapping[str, Sequence[bytes]],
        *,
        class_names: Sequence[str] | None = ("even", "odd"),
        shape: tuple[int | None, int | None, int] = (None, None, 3),
        file_format: str = "array_record",
        labels: Callable[[int], int] = lambda index: index % 2,
    ) -> pathlib.Path:
        features = {"image": tfds.features.Image(shape=shape)}
        if class_names is not None:
            features["label"] = tfds.features.ClassLabel(names=class_names)
        features = tfds.features.FeaturesDict(features)
        base = name.split("/")[0]
        folder = tmp_path / "prepared" / name / "1.0.0"
        folder.mkdir(parents=True)
        features.save_config(folder)
        for split, images in splits.items():
            path = folder / f"{base}-{split}.{file_format}-00000-of-00001"
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for index, data in enumerate(images):
                example = {"image": io.BytesIO(data)}
                if class_names is not None:
                    example["label"] = labels(index)
                writer.write(features.serialize_example(features.encode_example(example)))
            writer.close()
        info = {
            "name": base,
            "version": "1.0.0",
            "fileFormat": file_format,
            "splits": [
                {
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                    "name": split,
                    "numBytes": "1",
                    "shardLengths": [str(len(images))],
                }
                for split, images in splits.items()
            ],
        }
        (folder / "dataset_info.json").write_text(json.dumps(info))
        return tmp_path / "prepared"

    return prepare
