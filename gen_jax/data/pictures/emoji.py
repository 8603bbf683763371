"""Emoji as two teams of designers drew them: pairs in two styles, with names and categories."""

import functools
import pathlib

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.data.cache import user_folder
from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.errors import DataError
from gen_jax.data.pictures import npz
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.plain import halved, open_plain
from gen_jax.data.splits import usual

DRAWINGS = ("noto", "twemoji")
SPECS = {  # which drawings, and whether the large ones
    f"emoji{size}{tail}": (drawings, bool(size))
    for size in ("", ":64")
    for tail, drawings in (
        ("", DRAWINGS),
        *((f":{drawing}", (drawing,)) for drawing in DRAWINGS),
    )
}
SPLITS = ("train", "validation", "test")
SHIPPED = pathlib.Path(__file__).parent.parent / "shipped" / "emoji.npz"
LARGE = "emoji64.npz"


class Emoji:
    """A source with 1,911 emoji in two drawings, Noto (Google) and Twemoji (Twitter), on white.

    ``emoji:noto`` and ``emoji:twemoji`` are 32×32 RGB images whose label is the emoji's category,
    of ten; row i of both shows the same emoji, so that the two zipped are pairs. ``emoji`` is the
    rows of the one, and then those of the other. They come with the library; ``emoji:64`` and
    ``emoji:64:DRAWING``, of 64×64, are read from a file (see ``large_files``) that
    ``gen_jax.data.shipped.make_emoji`` writes.

    The splits, about 80, 10 and 10 % of each category, are fixed: no seed changes
    them. They keep near twins together, in both drawings and sizes: what differs only by who is
    shown, by colour, size or side, what is of one family (couples and families, clock faces,
    keycaps, ...), and what is drawn almost alike or as a mirror image (flags of one design, most
    smileys), with all that such links chain together. ``shipped/emoji_groups.py`` has the rules.

    Raises ``DataError`` where the file of large drawings is missing, damaged or of other emoji.
    """

    splits = SPLITS
    ignored = ()

    def __init__(self, name: str, data_dir: pathlib.Path | None, options: ImageOptions):
        self.name = name
        self._drawings, self._is_large = SPECS[name]
        self._data_dir = data_dir
        self._options = options

    def open(self, *splits: str) -> ArrayDataset:
        rows = _rows(*splits)
        images = self._images()
        labels = np.tile(_about()["labels"][rows], len(self._drawings))
        return open_plain(
            self.name,
            ("+".join(splits),),
            [np.concatenate([images[drawing][rows] for drawing in self._drawings])],
            labels,
            tuple(_about()["categories"].tolist()),
            self._options,
        )

    def _images(self) -> dict[str, UInt8[np.ndarray, "n height width 3"]]:
        if not self._is_large:
            return _drawings(self.name, SHIPPED, self._drawings, self._options.memory_limit)
        places = large_files(self._data_dir)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise DataError(
                f"{self.name}: there is no {' nor '.join(map(str, places))}; make it of two npm "
                "packages: npm install emoji-datasource-google@16.0.0 "
                "emoji-datasource-twitter@16.0.0 && python -m gen_jax.data.shipped.make_emoji "
                f"--source node_modules --size 64 --out {places[0]}"
            )
        images = _drawings(self.name, path, self._drawings, self._options.memory_limit)
        small = _drawings(self.name, SHIPPED, self._drawings, self._options.memory_limit)
        for drawing, large in images.items():
            expected = (len(small[drawing]), 64, 64, 3)
            if large.dtype != np.uint8 or large.shape != expected:
                raise DataError(
                    f"{self.name}: {drawing} in {path} must be uint8 {list(expected)}, got "
                    f"{large.dtype} {list(large.shape)}"
                )
            # Names and splits go by the row: other rows would be silently wrong.
            if not np.array_equal(halved(large), small[drawing]):
                raise DataError(
                    f"{self.name}: {drawing} in {path} are not the shipped drawings, or in another "
                    "order; make the file anew, of version 16.0.0 of the npm packages"
                )
        return images


def names(split: str) -> tuple[str, ...]:
    """The Unicode name, in lower case, of each row of a split of one drawing.

    For ``train+validation``, as for any other, the order is that of ``load("emoji:noto", split)``.
    """
    return tuple(_about()["names"][_rows_of(split)].tolist())


def short_names(split: str) -> tuple[tuple[str, ...], ...]:
    """What each row of a split is called in chats, one word or more: see ``names``."""
    return tuple(tuple(short.split(" ")) for short in _about()["short_names"][_rows_of(split)])


def groups(split: str) -> Int[np.ndarray, " n"]:
    """The number of each row's group of near twins, the same in every split: see ``names``, and
    ``Emoji`` for what near twins are."""
    return _about()["groups"][_rows_of(split)].astype(np.int32)


def large_files(data_dir: pathlib.Path | None) -> list[pathlib.Path]:
    """Where the 64×64 drawings are looked for.

    That is ``emoji64.npz`` in ``data_dir`` or its folder ``emoji``; without one, in
    ``$GEN_JAX_CACHE`` if that is set, else in ``$XDG_CACHE_HOME/gen_jax`` (default
    ``~/.cache/gen_jax``).
    """
    if data_dir is None:
        return [user_folder() / LARGE]
    return [data_dir / LARGE, data_dir / "emoji" / LARGE]


def _drawings(
    name: str, path: pathlib.Path, drawings: tuple[str, ...], memory_limit: int
) -> dict[str, np.ndarray]:
    with npz.opened(name, path) as arrays:
        return {drawing: npz.read(name, arrays, drawing, memory_limit) for drawing in drawings}


@functools.cache
def _about() -> dict[str, np.ndarray]:
    """All that is known of the emoji, without their drawings."""
    with np.load(SHIPPED, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files if key not in DRAWINGS}


def _rows(*splits: str) -> Int[np.ndarray, " n"]:
    return np.concatenate([np.flatnonzero(_about()["splits"] == split) for split in splits])


def _rows_of(split: str) -> Int[np.ndarray, " n"]:
    parts = [usual(part) for part in split.split("+")]
    unknown = [part for part in parts if part not in SPLITS]
    if unknown:
        raise DataError(f"emoji has no split {unknown[0]!r}; it has {', '.join(SPLITS)}")
    return _rows(*parts)
