"""Pictures that are stored encoded: decoded once into a memory-mapped array, or on demand.

Both ways give the same examples in the same order, so a batch does not depend on which is used.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gen_jax.data.cache import Cache
from gen_jax.data.dataset import ArrayDataset, Dataset
from gen_jax.data.digests import digest
from gen_jax.data.errors import BadImage, DataError
from gen_jax.data.pictures import picture
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.records import Chosen, Records
from gen_jax.data.pictures.stream import StreamDataset


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a decoded set was made from; ``Cache`` says what place and fingerprint are for.

    ``digest`` stands for the same files, wherever they lie and whenever they were written.
    """

    name: str
    split: str
    place: pathlib.Path
    fingerprint: dict[str, Any]
    digest: str
    beside: pathlib.Path | None

    def cache(self, kind: str, options: ImageOptions) -> Cache:
        identity = {
            "kind": kind,
            "split": self.split,
            "image_size": options.image_size,
            "channels": options.channels,
            "skip_bad_images": options.skip_bad_images,
            **self._cut(options),
        }
        return Cache(self.split, self.place, identity, self.fingerprint, self.beside)

    def decoded(self, options: ImageOptions, skipped: int) -> str:
        """The digest of the pictures decoded, ``skipped`` of them left out."""
        cut = self._cut(options).values()
        return digest(self.digest, options.image_size, options.channels, skipped, *cut)

    @staticmethod
    def _cut(options: ImageOptions) -> dict[str, str]:
        """Nothing for whole pictures: what was decoded before there were halves is still valid."""
        return {} if options.half is None else {"half": options.half}


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
        entry = cache.read_or_write(functools.partial(_decode_all, origin, records, shape, options))
    kept: int = entry.notes["kept"]
    labels = entry.arrays.get("labels")
    names = entry.notes["class_names"]
    skipped = len(entry.arrays["images"]) - kept
    return ArrayDataset(
        origin.name,
        origin.split,
        entry.arrays["images"][:kept],
        None if labels is None else labels[:kept],
        class_names=None if names is None else tuple(names),
        skipped=skipped,
        origin=origin.decoded(options, skipped),
    )


def _open_stream(
    origin: Origin, records: Records, shape: tuple[int, int, int], options: ImageOptions
) -> StreamDataset:
    skipped = 0
    if options.skip_bad_images:
        # Which pictures are readable decides the order of every epoch: it must be known at once.
        cache = origin.cache("readable", options)
        entry = cache.read() or cache.read_or_write(
            functools.partial(_note_readable, origin, records, shape, options)
        )
        readable = np.asarray(entry.arrays["readable"])
        skipped = len(records) - len(readable)
        records = Chosen(records, readable)
    return StreamDataset(
        origin.name,
        origin.split,
        records,
        options,
        shape,
        origin=origin.decoded(options, skipped),
        skipped=skipped,
    )


def _first_shape(origin: Origin, records: Records, options: ImageOptions) -> tuple[int, int, int]:
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


def _decoded(
    origin: Origin, records: Records, shape: tuple[int, int, int], options: ImageOptions
) -> Iterator[tuple[int, int | None, np.ndarray]]:
    """Decodes all records on all cores: number, label and image of each, in order.

    Bad ones are left out where they are to be skipped.
    """
    import tqdm

    def decode(indices: range) -> list[tuple[int, int | None, np.ndarray]]:
        chunk = []
        for index, encoded in zip(indices, records.read(indices), strict=True):
            try:
                image = picture.decode(encoded.data, options, encoded.where)
            except BadImage:
                if not options.skip_bad_images:
                    raise
                continue
            picture.check_alike(encoded.where, image.shape, f"the first of {origin.name}", shape)
            chunk.append((index, encoded.label, image))
        return chunk

    size = max(1, min(256, 2**24 // int(np.prod(shape))))  # of a chunk: at most 16 MiB of images
    starts = range(0, len(records), size)
    workers = os.cpu_count() or 1
    progress = tqdm.tqdm(
        total=len(records),
        desc=f"decoding {origin.name} {origin.split}, once",
        unit=" images",
        disable=None,  # only on a terminal
        leave=False,
    )
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    with progress, concurrent.futures.ThreadPoolExecutor(workers) as threads:
        try:
            for start in starts:
                indices = range(start, min(start + size, len(records)))
                pending.append(threads.submit(decode, indices))
                # A few chunks ahead keep the cores busy; all at once would fill the memory.
                while len(pending) > 2 * workers or (pending and start == starts[-1]):
                    yield from pending.popleft().result()
                    progress.update(size)
        finally:
            threads.shutdown(cancel_futures=True)


def _decode_all(
    origin: Origin,
    records: Records,
    shape: tuple[int, int, int],
    options: ImageOptions,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Writes images.npy and labels.npy; rows of skipped pictures are left over at their ends."""
    n = len(records)
    labels: list[int] = []
    kept = 0
    # Written, not memory-mapped: a full disk is then an error, not a bus error.
    with (folder / "images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        end = file.tell() + n * int(np.prod(shape))
        for _, label, image in _decoded(origin, records, shape, options):
            file.write(np.ascontiguousarray(image).data)
            kept += 1
            if label is not None:
                labels.append(label)
        file.truncate(end)
    if len(labels) == kept:
        padded = np.zeros(n, np.int32)
        padded[: len(labels)] = labels
        np.save(folder / "labels.npy", padded, allow_pickle=False)
    return {"kept": kept, "class_names": records.class_names}


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
