"""A folder of pictures, with a file of their captions."""

import os
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from gen_jax.data.captions.captioned import Captioned
from gen_jax.data.captions.letters import spelled
from gen_jax.data.captions.lines import captions_in
from gen_jax.data.captions.sharing import by_sharing
from gen_jax.data.captions.vectors import vectors_in
from gen_jax.data.errors import DataError, few
from gen_jax.data.pictures.folder import ImageFolder
from gen_jax.data.pictures.picture import ImageOptions

FILES = ("captions.jsonl", "captions.csv")
Key = tuple[str, int]  # a picture: its split and its place there


class CaptionedFolder:
    """A source of the pictures of a folder (see ``ImageFolder``) with the captions of a file.

    That is ``captions.jsonl``, an object a line, or ``captions.csv`` with a header, in the folder
    itself. Each line has a picture, "file_name" (or "file", "image"): its path in the folder, with
    its ending or without, as ``train/cats/1.png``; and its caption, "text" (or "caption",
    "captions"), of which JSON may hold a list. A picture may have several lines.

    A caption is wrong for the pictures that do not have it, as spelled. Class folders say more:
    where there are two or more, a caption is true of all pictures of its own picture's class (see
    ``by_sharing``).

    ``embeddings`` is an .npy file, or a .safetensors file of one array, of floats [number of
    captions, size] in the order of the file of captions, whatever the splits.

    Raises ``DataError`` for a missing or damaged file, a line that names its picture or its caption
    twice or not at all or has more fields than the header, a caption that is empty or of no
    picture, a picture without a caption, captions of which none is ever wrong, two pictures that
    differ only in their ending, embeddings of another number or that are not finite floats, and
    with ``skip_bad_images``.
    """

    def __init__(
        self,
        name: str,
        path: pathlib.Path,
        options: ImageOptions,
        length: int,
        embeddings: str | os.PathLike[str] | None = None,
    ):
        if options.skip_bad_images:
            raise DataError(
                f"{name}: skip_bad_images would leave captions without their picture; remove the "
                "unreadable pictures and their captions"
            )
        self.name = name
        self._pictures = ImageFolder(name, path, options)
        self._length = length
        self.splits = self._pictures.splits
        self.ignored = self._pictures.ignored
        self._captions = _captions_of(name, path, self._keys(path))
        texts = [[text for text, _ in those] for those in self._captions.values()]
        meanings, attributes = by_sharing(name, texts, self._kinds())
        ends = np.cumsum([len(those) for those in texts])
        self._meanings = dict(zip(self._captions, np.split(meanings, ends[:-1]), strict=True))
        self._attributes = dict(zip(self._captions, attributes, strict=True))
        n = len(meanings)
        self._vectors = (
            None if embeddings is None else vectors_in(name, pathlib.Path(embeddings), n)
        )

    def open(self, *splits: str) -> Captioned:
        pictures = self._pictures.open(*splits)
        keys = [key for key in self._captions if key[0] in splits]
        keys.sort(key=lambda key: (splits.index(key[0]), key[1]))
        own = [self._captions[key] for key in keys]
        rows = [row for those in own for _, row in those]
        return Captioned(
            pictures,
            [[text for text, _ in those] for those in own],
            np.concatenate([self._meanings[key] for key in keys]),
            np.stack([self._attributes[key] for key in keys]),
            embeddings=None if self._vectors is None else self._vectors[rows],
            length=self._length,
            least_captions=max(map(len, self._captions.values())),
            name=self.name,
        )

    def _keys(self, path: pathlib.Path) -> dict[str, Key]:
        """Each picture by its path in the folder, with its ending and without."""
        keys: dict[str, Key] = {}
        for split in self.splits:
            for place, file in enumerate(self._pictures.by_name(split).values()):
                inside = file.relative_to(path.resolve())
                keys[inside.as_posix()] = (split, place)
                keys.setdefault(inside.with_suffix("").as_posix(), (split, place))
        return keys

    def _kinds(self) -> Int[np.ndarray, " n"] | None:
        """The class of each picture, None where classes tell nothing: there are none, or one."""
        classes = {split: self._pictures.classes(split) for split in self.splits}
        own = [classes[split][place] for split, place in self._captions]
        if len({*own}) < 2:
            return None
        numbers: dict[str | Key, int] = {}
        named = zip(self._captions, own, strict=True)
        return np.array(
            [numbers.setdefault(key if name is None else name, len(numbers)) for key, name in named]
        )


def _captions_of(
    name: str, path: pathlib.Path, keys: Mapping[str, Key]
) -> dict[Key, list[tuple[str, int]]]:
    """The captions of each picture, each with its number in the file, in the pictures' order.

    Raises ``DataError`` for captions and pictures without their counterpart.
    """
    found = [path / file for file in FILES if (path / file).is_file()]
    if len(found) != 1:
        have = "both {} and {}" if found else "neither {} nor {}"
        raise DataError(f"{name}: {path} has {have.format(*FILES)}; it needs one of them")
    (file,) = found
    captions: dict[Key, list[tuple[str, int]]] = {key: [] for key in keys.values()}
    strangers: dict[str, None] = {}
    number = 0
    for where, picture, texts in captions_in(name, file):
        key = keys.get(pathlib.PurePosixPath(picture).as_posix())
        for text in texts:
            if not spelled(text):
                raise DataError(f"{where}: the caption of {picture} is empty, {text!r}")
            if key is not None:
                captions[key].append((text, number))
            number += 1
        if key is None:
            strangers[picture] = None
    if strangers:
        raise DataError(
            f"{name}: {len(strangers)} of the pictures in {file.name} "
            f"{'is' if len(strangers) == 1 else 'are'} not in the folder: {few([*strangers])}"
        )
    without: dict[Key, str] = {}
    for picture, key in keys.items():
        if not captions[key]:
            without.setdefault(key, picture)  # with its ending
    if without:
        raise DataError(
            f"{name}: {len(without)} of {len(captions)} pictures "
            f"{'has' if len(without) == 1 else 'have'} no caption in {file.name}: "
            f"{few([*without.values()])}"
        )
    return captions
