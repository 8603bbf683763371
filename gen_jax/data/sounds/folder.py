"""A folder of WAV files."""

import pathlib

from gen_jax.data.digests import digest
from gen_jax.data.folder import FileTree, Kind, digest_of, labels_of
from gen_jax.data.sounds.wav import read_wav
from gen_jax.data.sounds.windows import AudioOptions, Sounds, at_rate

WAVS = Kind((".wav", ".wave"), "WAV", "sound")


class WavFolder:
    """A source of the WAV files of a folder: see ``FileTree``."""

    def __init__(self, name: str, path: pathlib.Path, options: AudioOptions):
        self.name = name
        self._tree = FileTree(name, path, WAVS)
        self._options = options

    @property
    def splits(self) -> tuple[str, ...]:
        return self._tree.splits

    @property
    def ignored(self) -> tuple[str, ...]:
        return self._tree.ignored

    def open(self, *splits: str) -> Sounds:
        files, names = self._tree.files(*splits)
        sounds = []
        for path, _ in files:
            sound, rate = read_wav(path)
            sounds.append(at_rate(sound, rate, self._options, str(path)))
        rate, resample = self._options.sample_rate, self._options.resample
        return Sounds.join(
            self.name,
            "+".join(splits),
            sounds,
            labels_of(files, names),
            names,
            rate,
            digest(digest_of(self._tree.stats(files), names), rate, resample),
        )
