"""From the name of a data set to its examples."""

import contextlib
import difflib
import importlib.resources
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from gen_jax.data import splits, tfds
from gen_jax.data.dataset import Dataset
from gen_jax.data.errors import DataError
from gen_jax.data.faces import MiniFaces
from gen_jax.data.folder import ImageFolder
from gen_jax.data.npz import NpzFile
from gen_jax.data.picture import ImageOptions

DIGITS = tuple("0123456789")


def load(
    spec: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    skip_bad_images: bool = False,
    memory_limit: int = 4 * 2**30,
) -> Dataset:
    """Opens one split of a data set.

    ``spec`` is ``mnist-subset`` (shipped: 10,000 and 2,000 digits), ``faces-mini`` (100 faces of
    scikit-image), ``tfds:NAME`` (prepared under ``data_dir``), ``folder:PATH`` (see
    ``ImageFolder``) or ``npz:PATH`` (see ``NpzFile``).

    ``split`` is ``train``, ``validation``, ``test``, which never overlap, ``train+validation``, or
    any other that the source has. Where the source has no validation split,
    ``validation_fraction`` of its training examples, drawn by ``seed``, is held out of ``train``;
    where it knows no splits at all, as many again are ``test``.

    ``image_size`` (a side, or height and width) resizes and crops to the centre, ``channels`` is 1
    for gray or 3 for RGB. Encoded images are decoded once, into a memory-mapped file (see
    ``Cache``); sets of more than ``memory_limit`` bytes are decoded on demand. An unreadable image
    is an error, or with ``skip_bad_images`` is left out and counted in the result's ``skipped``.

    Raises ``DataError``, in one line, for all that is wrong with a set or with what is asked of it.
    """
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    options = ImageOptions(image_size, channels, skip_bad_images, memory_limit)
    try:
        with _source(spec, None if data_dir is None else _path(data_dir), options) as source:
            return splits.open_split(
                source, split, validation_fraction=validation_fraction, seed=seed
            )
    except OSError as error:  # no permission, say
        raise DataError(f"{spec} cannot be read: {error}") from error


@contextlib.contextmanager
def _source(
    spec: str, data_dir: pathlib.Path | None, options: ImageOptions
) -> Iterator[splits.Source[Dataset]]:
    kind, _, rest = spec.partition(":")
    if spec == "mnist-subset":
        shipped = importlib.resources.files("gen_jax.data") / "mnist_subset.npz"
        with importlib.resources.as_file(shipped) as path:
            yield NpzFile(spec, path, options, class_names=DIGITS)
    elif spec == "faces-mini":
        yield MiniFaces(options)
    elif kind == "tfds" and rest:
        yield tfds.PreparedSet(rest, data_dir, options)
    elif kind == "folder" and rest:
        yield ImageFolder(spec, _path(rest), options)
    elif kind == "npz" and rest:
        yield NpzFile(spec, _path(rest), options)
    else:
        kinds = {"tfds": "NAME", "folder": "PATH", "npz": "PATH"}
        raise unknown_set(spec, ["mnist-subset", "faces-mini"], kinds, data_dir)


def unknown_set(
    spec: str, names: Sequence[str], kinds: Mapping[str, str], data_dir: pathlib.Path | None
) -> DataError:
    """What to say of a SPEC that is none of ``names``, nor ``KIND:`` and what that kind takes."""
    kind, _, rest = spec.partition(":")
    if spec and _path(spec).exists():
        fitting = "folder" if _path(spec).is_dir() else "npz"
        near = [f"{fitting}:{spec}"] if fitting in kinds else []
    elif rest:
        near = [f"{k}:{rest}" for k in difflib.get_close_matches(kind, kinds)]
    else:
        prepared = tfds.prepared(data_dir or tfds.default_data_dir())
        tails = {name: name for name in names} | {name: f"tfds:{name}" for name in prepared}
        near = [tails[tail] for tail in difflib.get_close_matches(spec, tails, cutoff=0.5)]
    hint = f" (near names: {', '.join(dict.fromkeys(near))})" if near else ""
    choices = [*names, *(f"{k}:{what}" for k, what in kinds.items())]
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return DataError(f"unknown data set {spec!r}{hint}; a data set is {listed}")


def _path(text: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(text).expanduser()
