"""WAV files in and out."""

import io
import os
import pathlib
import struct
import warnings
import wave

import numpy as np
from jaxtyping import Bool, Int16

from gen_jax.data.errors import DataError
from gen_jax.data.sounds.riff import complete
from gen_jax.files import write_atomically, writing

CLIPPED = 10  # so many samples in a row at full scale are clipping, not a peak


def read_wav(path: str | os.PathLike[str]) -> tuple[Int16[np.ndarray, "samples channels"], int]:
    """The samples of a WAV file, 8- to 32-bit PCM brought to 16 bits, and its sample rate.

    Where a tool wrote the file to a pipe and left its size open, all that follows is the sound.
    Raises ``DataError`` for a file that cannot be read, is shorter than its headers say, holds
    anything else, or is clipped.
    """
    from scipy.io import wavfile

    try:
        content = io.BytesIO(complete(pathlib.Path(path).read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks other than sound
            rate, sound = wavfile.read(content)
    except DataError as error:
        raise DataError(f"cannot read the sound {path}: {error}") from None
    except (OSError, ValueError, EOFError, struct.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read the sound {path}: {reason}") from error
    except (UnboundLocalError, ZeroDivisionError) as error:  # SciPy's, from headers it trusts
        reason = "its header is damaged, or no sound follows it"
        raise DataError(f"cannot read the sound {path}: {reason}") from error
    if not len(sound) or rate < 1:
        raise DataError(f"{path} holds no sound: {len(sound)} samples, {rate} a second")
    sound = np.asarray(sound, sound.dtype.newbyteorder("="))
    if sound.dtype not in (np.uint8, np.int16, np.int32):
        raise DataError(
            f"{path} holds {sound.dtype} samples; a WAV file of 8, 16, 24 or 32 bits PCM is read"
        )
    sound = sound.reshape(len(sound), -1)
    _check_not_clipped(sound, rate, f"{path}")
    if sound.dtype == np.uint8:
        return (sound.astype(np.int16) - 128) * 256, rate
    if sound.dtype == np.int32:  # 24 bits come in the upper ones of 32
        wide = (sound.astype(np.int64) + 2**15) >> 16
        return np.minimum(wide, 2**15 - 1).astype(np.int16), rate
    return sound, rate


def write_wav(
    path: str | os.PathLike[str], sound: Int16[np.ndarray, "samples *channels"], sample_rate: int
) -> None:
    """Writes int16 samples, [T] or [T, C], as a 16-bit PCM WAV file: whole, or not at all.

    Makes its folder. Raises ``ValueError`` for another type or shape, or a sample rate below 1, and
    ``RunError`` where it cannot write.
    """
    sound = np.asarray(sound)
    if sound.dtype != np.int16 or sound.ndim not in (1, 2):
        raise ValueError(f"a sound is int16 [T] or [T, C], got {sound.dtype} {sound.shape}")
    if sample_rate < 1:
        raise ValueError(f"a sample rate is 1 or more, got {sample_rate}")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1 if sound.ndim == 1 else sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(sound.astype("<i2").tobytes())
    path = pathlib.Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def _check_not_clipped(sound: np.ndarray, rate: int, where: str) -> None:
    low, high = np.iinfo(sound.dtype).min, np.iinfo(sound.dtype).max
    if sound.dtype == np.int32:
        high -= 255  # all that 24 bits reach
    for channel in sound.T:
        first, n = _longest_run((channel <= low) | (channel >= high))
        if n >= CLIPPED:
            raise DataError(
                f"{where} is clipped: from {first / rate:.3f} s on, {n} samples in a row are at "
                "full scale; take a recording of a lower level, or leave the file out"
            )


def _longest_run(true: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """Where the longest run of true values begins, and how long it is."""
    edges = np.flatnonzero(np.diff(true.astype(np.int8), prepend=0, append=0))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(edges[2 * longest]), int(lengths[longest])
