"""Pictures that are stored encoded: decoded once into a memory-mapped array, or on demand.

Both ways give the same examples in the same order, so a batch does not depend on which is used.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

from gen_jax.data import picture
from gen_jax.data.cache import Cache
from gen_jax.data.dataset import ArrayDataset, Dataset, Examples
from gen_jax.data.errors import BadImage, DataError
from gen_jax.data.picture import ImageOptions


class Encoded(NamedTuple):
    """One stored picture: its file's bytes, its label if any, and what to call it to the user."""

    data: bytes
    label: int | None
    where: str


class Records(Protocol):
    """Stored pictures by number; ``read`` is called from several threads at once."""

    @property
    def class_names(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[Encoded]:
        """Raises ``BadImage`` for a file that cannot be read."""
        ...


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a decoded set was made from: see ``Cache`` for ``place``, ``fingerprint``, ``beside``."""

    name: str
    split: str
    place: pathlib.Path
    fingerprint: dict[str, Any]
    beside: pathlib.Path | None

    def cache(self, kind: str, options: ImageOptions) -> Cache:
        identity = {
            "kind": kind,
            "place": str(self.place),
            "split": self.split,
            "image_size": options.image_size,
            "channels": options.channels,
            "skip_bad_images": options.skip_bad_images,
        }
        return Cache(f"{self.name} {self.split}", identity, self.fingerprint, self.beside)


def open_encoded(
    origin: Origin, open_records: Callable[[], Records], options: ImageOptions
) -> Dataset:
    """Returns the decoded array, made first where there is none, or a stream if that is too large.

    ``open_records`` is not called where a decoded array is at hand. Raises ``DataError`` for an
    unreadable picture (unless they are skipped), or pictures that differ in size or channels.
    """
    cache = origin.cache("decoded", options)
    entry = cache.read()
    if entry is None or entry.arrays["images"].nbytes > options.memory_limit:
        records = open_records()
        shape = _first_shape(origin, records, options)
        if len(records) * int(np.prod(shape)) > options.memory_limit:
            return _open_stream(origin, records, shape, options)
        entry = cache.read_or_write(
            functools.partial(_decode_all, origin, records, shape, options)
        )
    kept: int = entry.notes["kept"]
    labels = entry.arrays.get("labels")
    names = entry.notes["class_names"]
    return ArrayDataset(
        origin.name,
        origin.split,
        entry.arrays["images"][:kept],
        None if labels is None else labels[:kept],
        class_names=None if names is None else tuple(names),
        skipped=len(entry.arrays["images"]) - kept,
    )


class StreamDataset:
    """Pictures read and decoded when they are asked for, through ``grain.MapDataset``.

    ``map_dataset`` has one element an example, for use with grain's own transformations.
    """

    def __init__(
        self,
        name: str,
        split: str,
        records: Records,
        options: ImageOptions,
        image_shape: tuple[int, int, int],
        *,
        skipped: int = 0,
        rows: Int[np.ndarray, " m"] | None = None,
    ):
        import grain

        self.name = name
        self.split = split
        self.image_shape = image_shape
        self.class_names = records.class_names
        self.skipped = skipped
        self._records = records
        self._options = options
        self._rows = np.arange(len(records)) if rows is None else rows
        self._threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.map_dataset = grain.MapDataset.source(_Rows(records, self._rows)).map(self._decode)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        examples = list(self._threads.map(self.map_dataset.__getitem__, indices.tolist()))
        if not examples:
            return {"image": np.empty((0, *self.image_shape), np.uint8)}
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

    def select(self, indices: Int[np.ndarray, " n"], split: str) -> "StreamDataset":
        return StreamDataset(
            self.name,
            split,
            self._records,
            self._options,
            self.image_shape,
            skipped=self.skipped,
            rows=self._rows[indices],
        )

    def _decode(self, encoded: Encoded) -> Examples:
        image = picture.decode(encoded.data, self._options, encoded.where)
        _check_shape(encoded.where, image.shape, self.name, self.image_shape)
        if encoded.label is None:
            return {"image": image}
        return {"image": image, "label": np.int32(encoded.label)}


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Records as the random access source that grain wants."""

    records: Records
    rows: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.records.read([int(self.rows[index])])[0]


def _open_stream(
    origin: Origin, records: Records, shape: tuple[int, int, int], options: ImageOptions
) -> StreamDataset:
    if not options.skip_bad_images:
        return StreamDataset(origin.name, origin.split, records, options, shape)
    # Which pictures are readable decides the order of every epoch, so it must be known at once.
    cache = origin.cache("readable", options)
    entry = cache.read() or cache.read_or_write(
        functools.partial(_note_readable, origin, records, shape, options)
    )
    rows = np.asarray(entry.arrays["readable"])
    skipped = len(records) - len(rows)
    return StreamDataset(
        origin.name, origin.split, records, options, shape, skipped=skipped, rows=rows
    )


def _first_shape(
    origin: Origin, records: Records, options: ImageOptions
) -> tuple[int, int, int]:
    for index in range(len(records)):
        try:
            encoded = records.read([index])[0]
            return picture.decode(encoded.data, options, encoded.where).shape
        except BadImage:
            if not options.skip_bad_images:
                raise
    raise DataError(
        f"{origin.name} has no readable image in its {origin.split} split ({len(records)} tried)"
    )


def _check_shape(
    where: str, shape: tuple[int, ...], reference: str, wanted: tuple[int, ...]
) -> None:
    if shape[:2] != wanted[:2]:
        raise DataError(
            f"images differ in size: {where} is {shape[0]}×{shape[1]} (height×width), "
            f"{reference} {wanted[0]}×{wanted[1]}; give an image_size to make them alike"
        )
    if shape != wanted:
        raise DataError(
            f"images differ in channels: {where} has {shape[2]}, {reference} {wanted[2]}; "
            "give channels=1 (gray) or channels=3 (RGB) to make them alike"
        )


def _decoded(
    origin: Origin, records: Records, shape: tuple[int, int, int], options: ImageOptions
) -> Iterator[tuple[int, Encoded, np.ndarray]]:
    """Decodes all records on all cores, in order, without the bad ones where they are skipped."""
    import tqdm

    def decode(indices: range) -> list[tuple[int, Encoded, np.ndarray]]:
        chunk = []
        for index, encoded in zip(indices, _read(records, indices, options), strict=True):
            if encoded is None:
                continue
            try:
                image = picture.decode(encoded.data, options, encoded.where)
            except BadImage:
                if not options.skip_bad_images:
                    raise
                continue
            _check_shape(encoded.where, image.shape, f"the first of {origin.name}", shape)
            chunk.append((index, encoded, image))
        return chunk

    size = max(1, min(256, 2**24 // int(np.prod(shape))))  # of a chunk: at most 16 MiB of images
    chunks = [range(i, min(i + size, len(records))) for i in range(0, len(records), size)]
    workers = os.cpu_count() or 1
    progress = tqdm.tqdm(
        total=len(records),
        desc=f"decoding {origin.name} {origin.split}, once",
        unit=" images",
        disable=None,  # only where a terminal looks on
        leave=False,
    )
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    with progress, concurrent.futures.ThreadPoolExecutor(workers) as threads:
        try:
            for indices in chunks:
                pending.append(threads.submit(decode, indices))
                if len(pending) > 2 * workers:
                    yield from pending.popleft().result()
                    progress.update(size)
            while pending:
                yield from pending.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def _read(
    records: Records, indices: range, options: ImageOptions
) -> Sequence[Encoded | None]:
    try:
        return records.read(indices)
    except BadImage:
        if not options.skip_bad_images:
            raise
    one_by_one = []
    for index in indices:
        try:
            one_by_one.extend(records.read([index]))
        except BadImage:
            one_by_one.append(None)
    return one_by_one


def _decode_all(
    origin: Origin,
    records: Records,
    shape: tuple[int, int, int],
    options: ImageOptions,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Writes images.npy and labels.npy; rows of skipped pictures are left over at their ends."""
    n = len(records)
    labels: list[int | None] = []
    # Written, not memory-mapped: a full disk is then an error, not a bus error.
    with (folder / "images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        end = file.tell() + n * int(np.prod(shape))
        for _, encoded, image in _decoded(origin, records, shape, options):
            file.write(np.ascontiguousarray(image).data)
            labels.append(encoded.label)
        file.truncate(end)
    if None not in labels:
        padded = np.zeros(n, np.int32)
        padded[: len(labels)] = labels
        np.save(folder / "labels.npy", padded, allow_pickle=False)
    return {"kept": len(labels), "class_names": records.class_names}


def _note_readable(
    origin: Origin,
    records: Records,
    shape: tuple[int, int, int],
    options: ImageOptions,
    folder: pathlib.Path,
) -> dict[str, Any]:
    readable = [index for index, _, _ in _decoded(origin, records, shape, options)]
    np.save(folder / "readable.npy", np.asarray(readable, np.int64), allow_pickle=False)
    return {}
