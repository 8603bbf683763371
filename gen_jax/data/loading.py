"""From the name of a set, of pictures, pairs, domains, captions or sounds, to its examples."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from gen_jax.data import splits
from gen_jax.data.captions.captioned import Captioned
from gen_jax.data.captions.digits import CaptionedDigits
from gen_jax.data.captions.emoji import CaptionedEmoji
from gen_jax.data.captions.folder import CaptionedFolder
from gen_jax.data.captions.letters import LENGTH
from gen_jax.data.dataset import Dataset
from gen_jax.data.errors import DataError
from gen_jax.data.mazes.making import KINDS
from gen_jax.data.mazes.source import Mazes
from gen_jax.data.permutation import check_seed
from gen_jax.data.pictures import digits, emoji
from gen_jax.data.pictures.faces import MiniFaces
from gen_jax.data.pictures.folder import ImageFolder
from gen_jax.data.pictures.npz import NpzFile
from gen_jax.data.pictures.photos import Photos
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.tfds import PreparedSet
from gen_jax.data.sounds.folder import WavFolder
from gen_jax.data.sounds.strings import Strings
from gen_jax.data.sounds.tfds import PreparedAudio
from gen_jax.data.sounds.windows import AudioDataset, AudioOptions, Sounds
from gen_jax.data.translation.domains import TwoDomains
from gen_jax.data.translation.pairs import Paired, PairSource
from gen_jax.data.translation.sides import (
    halves_of_folder,
    pairs_of_folder,
    sides_of_folder,
    sides_of_splits,
)
from gen_jax.data.unknown import unknown_set

SHIPPED = pathlib.Path(__file__).parent / "shipped"


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

    ``spec`` is ``mnist-subset`` (shipped: 10,000 and 2,000 digits), ``emoji`` (shipped: 1,911 in
    two drawings; also ``emoji:noto`` and ``emoji:twemoji``, and ``emoji:64...`` of size
    64×64: see ``Emoji``), ``faces-mini`` (100 faces of scikit-image), ``digits-8x8`` (those of
    scikit-learn, at 28×28: see ``SmallDigits``), ``photos`` or ``photos:SIZE`` (patches of the
    photographs of both packages: see ``Photos``), ``tfds:NAME`` (prepared under ``data_dir``),
    ``folder:PATH`` (see ``ImageFolder``) or ``npz:PATH`` (see ``NpzFile``).

    ``split`` is ``train``, ``validation``, ``test``, which never overlap, ``train+validation``, or
    any other that the source has; ``val``, ``Dev`` and other spellings, there or here, mean the
    same (see ``splits.SPELLINGS``). Where the source has no validation split,
    ``validation_fraction`` of its training examples, drawn by ``seed``, is held out of ``train``;
    where it knows no splits at all, as many again are ``test``, so that it needs three examples.

    ``image_size`` (a side, or height and width) resizes and crops to the centre, ``channels`` is 1
    for gray or 3 for RGB. Encoded images are decoded once, into a memory-mapped file (see
    ``Cache``); sets of more than ``memory_limit`` bytes are decoded on demand. An unreadable image
    is an error, or with ``skip_bad_images`` is left out and counted in the result's ``skipped``.

    Raises ``DataError``, in one line, for any problem with the data set or the arguments.
    """
    options = _image_options(image_size, channels, skip_bad_images, memory_limit)
    with _unreadable(spec):
        source = _pictures_source(spec, _folder(data_dir), options)
        return splits.open_split(source, split, validation_fraction=validation_fraction, seed=seed)


def load_pairs(
    spec: str,
    split: str,
    *,
    reverse: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    skip_bad_images: bool = False,
    memory_limit: int = 4 * 2**30,
) -> Paired:
    """Opens one split of a set of pairs: images "image", each made from its "spatial".

    ``spec`` is ``emoji`` or ``emoji:SIZE`` (each emoji as drawn for Twemoji, made from Noto's),
    ``mazes:KIND:CELLS`` or ``mazes:KIND:CELLS:N`` (shortest paths, made from mazes of the kind
    ``perfect``, ``loops`` or ``rooms``, all of them drawn here by ``seed``: see ``Mazes``),
    ``pairs:PATH`` (a folder with two sides, A and B, whose files have the same names but for the
    endings: see ``sides_of_folder``) or ``halves:PATH`` (a folder, see ``ImageFolder``, of files
    that hold A on the left and B on the right; they are cut in two before they are resized). B is
    made from A, or with ``reverse`` A from B; labels are those of what is made.

    The other arguments are those of ``load``; what is held out of ``train`` are whole pairs.
    ``skip_bad_images`` applies to ``halves:PATH`` alone. Mazes take a ``seed`` and a
    ``memory_limit``, and none of the others.

    Raises ``DataError``, in one line, for any problem with the data set or the arguments.
    """
    options = _image_options(image_size, channels, skip_bad_images, memory_limit)
    with _unreadable(spec):
        source = _pairs_source(spec, _folder(data_dir), options, reverse, seed)
        return splits.open_split(source, split, validation_fraction=validation_fraction, seed=seed)


def load_domains(
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
) -> TwoDomains:
    """Opens one split of two domains of images, "a" and "b".

    ``spec`` is ``emoji`` or ``emoji:SIZE`` (Noto's and Twemoji's drawings, ``aligned``: row i of
    both is one emoji), ``digits`` (``mnist-subset`` and ``digits-8x8``), ``domains:PATH`` (a folder
    with two sides, A and B: see ``sides_of_folder``) or ``tfds:NAME`` (a prepared set with the
    splits trainA, trainB, testA and testB, as ``tfds:cycle_gan/horse2zebra``).

    The other arguments are those of ``load``, and are applied to each side by itself.

    Raises ``DataError``, in one line, for any problem with the data set or the arguments.
    """
    options = _image_options(image_size, channels, skip_bad_images, memory_limit)
    with _unreadable(spec):
        a, b = (
            splits.open_split(side, split, validation_fraction=validation_fraction, seed=seed)
            for side in _domain_sources(spec, _folder(data_dir), options)
        )
    return TwoDomains(a, b, name=spec, aligned=_is_emoji(spec))


def load_captions(
    spec: str,
    split: str,
    *,
    length: int = LENGTH,
    embeddings: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    skip_bad_images: bool = False,
    memory_limit: int = 4 * 2**30,
) -> Captioned:
    """Opens one split of a set of captioned images: see ``Captioned`` for what an example holds.

    ``spec`` is ``captioned-digits`` (those of ``mnist-subset`` in colour, with five sentences each
    and a split ``held-out`` of combinations that are never trained on: see ``CaptionedDigits``),
    ``emoji`` or what else of emoji ``load`` takes (with their names: see ``CaptionedEmoji``) or
    ``captions:PATH`` (a folder of pictures with a file of captions, and ``embeddings`` of these if
    wanted: see ``CaptionedFolder``). Captions are cut at ``length`` letters.

    The other arguments are those of ``load``; ``seed`` draws the colours and the sentences of
    ``captioned-digits``, too, which are always 28×28 in RGB.

    Raises ``DataError``, in one line, for any problem with the data set or the arguments.
    """
    options = _image_options(image_size, channels, skip_bad_images, memory_limit)
    check_seed(seed)
    with _unreadable(spec):
        source = _captions_source(spec, _folder(data_dir), options, length, embeddings, seed)
        return splits.open_split(source, split, validation_fraction=validation_fraction, seed=seed)


def load_audio(
    spec: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    sample_rate: int = 8000,
    length: int = 8000,
    seed: int = 0,
    validation_fraction: float = 0.1,
    resample: bool = False,
    label: str = "label",
) -> AudioDataset:
    """Opens one split of a set of sounds, cut into windows of ``length`` samples.

    ``spec`` is ``strings`` (plucked strings of 12 pitches, made here: see ``Strings``),
    ``folder:PATH`` (WAV files; see ``FileTree`` for splits and classes) or ``tfds:NAME`` (prepared
    under ``data_dir``; ``label`` is the feature that is the class). Sounds become one channel of
    int16 at ``sample_rate`` a second; what was recorded at another rate is refused, or with
    ``resample`` resampled.

    ``split`` is what ``load`` takes, with what it says of ``validation_fraction`` and ``seed``:
    whole sounds are held out, so that no window of one sound is in two splits. Windows are cut
    from a sound's beginning, and its last samples left over; sounds that are shorter are counted
    in the result's ``skipped``.

    Raises ``DataError``, in one line, for any problem with the data set or the arguments.
    """
    for name, value in (("sample_rate", sample_rate), ("length", length)):
        if value < 1:
            raise DataError(f"{name} must be 1 or more, got {value}")
    options = AudioOptions(sample_rate, resample, label)
    with _unreadable(spec):
        source = _sounds_source(spec, _folder(data_dir), options, seed)
        sounds = splits.open_split(
            source,
            split,
            validation_fraction=validation_fraction,
            seed=seed,
            few="; whole sounds are held out, so cut a long recording into three files or more",
        )
    return sounds.windows(length)


@contextlib.contextmanager
def _unreadable(spec: str) -> Iterator[None]:
    """Turns a failure of the system, no permission say, into a ``DataError``."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{spec} cannot be read: {error}") from error


def _image_options(
    image_size: int | tuple[int, int] | None,
    channels: int | None,
    skip_bad_images: bool,
    memory_limit: int,
) -> ImageOptions:
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    return ImageOptions(image_size, channels, skip_bad_images, memory_limit)


def _pictures_source(
    spec: str, data_dir: pathlib.Path | None, options: ImageOptions
) -> splits.Source[Dataset]:
    kind, _, rest = spec.partition(":")
    if spec == "mnist-subset":
        return NpzFile(spec, SHIPPED / "mnist_subset.npz", options, class_names=digits.CLASSES)
    if spec in emoji.SPECS:
        return emoji.Emoji(spec, data_dir, options)
    if spec == MiniFaces.name:
        return MiniFaces(options)
    if spec == digits.SmallDigits.name:
        return digits.SmallDigits(options)
    if spec == "photos" or (kind == "photos" and rest):
        return Photos(spec, options)
    if kind == "tfds" and rest:
        return PreparedSet(rest, data_dir, options)
    if kind == "folder" and rest:
        return ImageFolder(spec, _path(rest), options)
    if kind == "npz" and rest:
        return NpzFile(spec, _path(rest), options)
    kinds = {"tfds": "NAME", "folder": "PATH", "npz": "PATH"}
    names = {
        "mnist-subset": ("mnist-subset",),
        "emoji[:64][:noto|:twemoji]": tuple(emoji.SPECS),
        MiniFaces.name: (MiniFaces.name,),
        digits.SmallDigits.name: (digits.SmallDigits.name,),
        "photos[:SIZE]": ("photos",),
    }
    raise unknown_set(spec, names, kinds, data_dir)


def _pairs_source(
    spec: str, data_dir: pathlib.Path | None, options: ImageOptions, reverse: bool, seed: int
) -> splits.Source[Paired]:
    kind, _, rest = spec.partition(":")
    if _is_emoji(spec):
        return PairSource(spec, *_drawings(spec, data_dir, options), reverse=reverse)
    if kind == "mazes":
        return Mazes(spec, options, seed, reverse=reverse)
    if kind == "pairs" and rest:
        return pairs_of_folder(spec, _path(rest), options, reverse=reverse)
    if kind == "halves" and rest:
        return halves_of_folder(spec, _path(rest), options, reverse=reverse)
    kinds = {"pairs": "PATH", "halves": "PATH"}
    mazes = tuple(f"mazes:{maze}:8" for maze in KINDS)
    names = {"emoji[:64]": ("emoji", "emoji:64"), "mazes:KIND:CELLS[:N]": mazes}
    raise unknown_set(spec, names, kinds, data_dir, noun="set of pairs")


def _domain_sources(
    spec: str, data_dir: pathlib.Path | None, options: ImageOptions
) -> tuple[splits.Source[Dataset], splits.Source[Dataset]]:
    kind, _, rest = spec.partition(":")
    if _is_emoji(spec):
        return _drawings(spec, data_dir, options)
    if spec == "digits":
        a, b = (
            _pictures_source(name, data_dir, options) for name in ("mnist-subset", "digits-8x8")
        )
        return a, b
    if kind == "domains" and rest:
        return sides_of_folder(spec, _path(rest), options)
    if kind == "tfds" and rest:
        return sides_of_splits(PreparedSet(rest, data_dir, options))
    kinds = {"domains": "PATH", "tfds": "NAME"}
    names = {"emoji[:64]": ("emoji", "emoji:64"), "digits": ("digits",)}
    raise unknown_set(spec, names, kinds, data_dir, noun="set of two domains")


def _captions_source(
    spec: str,
    data_dir: pathlib.Path | None,
    options: ImageOptions,
    length: int,
    embeddings: str | os.PathLike[str] | None,
    seed: int,
) -> splits.Source[Captioned]:
    kind, _, rest = spec.partition(":")
    if kind == "captions" and rest:
        return CaptionedFolder(spec, _path(rest), options, length, embeddings)
    if embeddings is not None:
        raise DataError(
            f"{spec} has no file of captions that embeddings could belong to; with_embeddings adds "
            "some to any captions"
        )
    if spec == CaptionedDigits.name:
        if options.image_size not in (None, (28, 28)) or options.channels not in (None, 3):
            raise DataError(f"{spec} are 28×28 in RGB: their strokes and colours are of that size")
        digits_source = _pictures_source("mnist-subset", data_dir, ImageOptions())
        return CaptionedDigits(digits_source, length, seed)
    if spec in emoji.SPECS:
        return CaptionedEmoji(_pictures_source(spec, data_dir, options), length)
    names = {
        CaptionedDigits.name: (CaptionedDigits.name,),
        "emoji[:64][:noto|:twemoji]": tuple(emoji.SPECS),
    }
    noun = "set of captioned images"
    raise unknown_set(spec, names, {"captions": "PATH"}, data_dir, noun=noun)


def _is_emoji(spec: str) -> bool:
    return spec in ("emoji", "emoji:64")


def _drawings(
    spec: str, data_dir: pathlib.Path | None, options: ImageOptions
) -> tuple[splits.Source[Dataset], splits.Source[Dataset]]:
    """The same emoji in two drawings, row by row."""
    noto, twemoji = (
        _pictures_source(f"{spec}:{drawing}", data_dir, options) for drawing in ("noto", "twemoji")
    )
    return noto, twemoji


def _sounds_source(
    spec: str, data_dir: pathlib.Path | None, options: AudioOptions, seed: int
) -> splits.Source[Sounds]:
    kind, _, rest = spec.partition(":")
    if spec == Strings.name:
        return Strings(options.sample_rate, seed)
    if kind == "tfds" and rest:
        return PreparedAudio(rest, data_dir, options)
    if kind == "folder" and rest:
        return WavFolder(spec, _path(rest), options)
    raise unknown_set(
        spec, {Strings.name: (Strings.name,)}, {"tfds": "NAME", "folder": "PATH"}, data_dir
    )


def _folder(data_dir: str | os.PathLike[str] | None) -> pathlib.Path | None:
    return None if data_dir is None else _path(data_dir)


def _path(text: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(text).expanduser()
