"""From the name of a set of sounds to windows of them."""

import os
import pathlib

from gen_jax.data import splits
from gen_jax.data.errors import DataError
from gen_jax.data.folder import FileTree, Kind
from gen_jax.data.loading import unknown_set
from gen_jax.data.sounds import AudioDataset, AudioOptions, Sounds, at_rate
from gen_jax.data.strings import Strings
from gen_jax.data.tfds_audio import PreparedAudio
from gen_jax.data.wav import read_wav

WAVS = Kind((".wav", ".wave"), "WAV", "sound")


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

    Raises ``DataError``, in one line, for all that is wrong with a set or with what is asked of it.
    """
    for name, value in (("sample_rate", sample_rate), ("length", length)):
        if value < 1:
            raise DataError(f"{name} must be 1 or more, got {value}")
    folder = None if data_dir is None else pathlib.Path(data_dir).expanduser()
    options = AudioOptions(sample_rate, resample, label)
    try:
        source = _source(spec, folder, options, seed)
        sounds = splits.open_split(
            source, split, validation_fraction=validation_fraction, seed=seed
        )
    except OSError as error:  # no permission, say
        raise DataError(f"{spec} cannot be read: {error}") from error
    return sounds.windows(length)


def _source(
    spec: str, data_dir: pathlib.Path | None, options: AudioOptions, seed: int
) -> splits.Source[Sounds]:
    kind, _, rest = spec.partition(":")
    if spec == Strings.name:
        return Strings(options.sample_rate, seed)
    if kind == "tfds" and rest:
        return PreparedAudio(rest, data_dir, options)
    if kind == "folder" and rest:
        return WavFolder(spec, pathlib.Path(rest).expanduser(), options)
    raise unknown_set(spec, [Strings.name], {"tfds": "NAME", "folder": "PATH"}, data_dir)


class WavFolder:
    """A source of the WAV files of a folder: see ``FileTree``."""

    def __init__(self, name: str, path: pathlib.Path, options: AudioOptions):
        self.name = name
        self._tree = FileTree(name, path, WAVS)
        self._options = options

    @property
    def splits(self) -> tuple[str, ...]:
        return self._tree.splits

    def open(self, *splits: str) -> Sounds:
        files, names = self._tree.files(*splits)
        sounds = []
        for path, _ in files:
            sound, rate = read_wav(path)
            sounds.append(at_rate(sound, rate, self._options, str(path)))
        labels = None if names is None else [names.index(str(label)) for _, label in files]
        return Sounds.join(
            self.name, "+".join(splits), sounds, labels, names, self._options.sample_rate
        )
