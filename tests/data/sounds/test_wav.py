"""WAV files of all kinds, in and out."""

import os
import pathlib
import struct
import wave

import numpy as np
import pytest

from gen_jax import data
from gen_jax.files import RunError


def write_bits(path: pathlib.Path, frames: bytes, width: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(frames)


def test_every_depth_of_samples_becomes_16_bits(tmp_path, a_sound):
    sound = a_sound(0)
    folder = tmp_path / "depths"
    folder.mkdir()
    eight = (sound.astype(np.int32) + 2**15) >> 8
    write_bits(folder / "08.wav", eight.astype(np.uint8).tobytes(), 1)
    write_bits(folder / "16.wav", sound.tobytes(), 2)
    wide = (sound.astype(np.int32) << 8) + 100  # below half a step of 16 bits
    write_bits(
        folder / "24.wav", wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), 3
    )
    write_bits(folder / "32.wav", (sound.astype("<i4") << 16).tobytes(), 4)
    read = {path.stem: data.read_wav(path) for path in folder.iterdir()}
    assert {rate for _, rate in read.values()} == {8000}
    for depth in ("16", "24", "32"):
        np.testing.assert_array_equal(read[depth][0][:, 0], sound)
    assert np.abs(read["08"][0][:, 0].astype(int) - sound).max() < 256


def test_what_is_written_is_read_back(tmp_path, a_sound):
    for channels in (None, 1, 2):
        sound = a_sound(1, channels=channels)
        data.write_wav(tmp_path / "new" / "a.wav", sound, 16_000)
        read, rate = data.read_wav(tmp_path / "new" / "a.wav")
        assert rate == 16_000
        np.testing.assert_array_equal(read, sound.reshape(1000, -1))
    with pytest.raises(ValueError, match=r"a sound is int16 \[T\] or \[T, C\], got float64"):
        data.write_wav(tmp_path / "a.wav", np.zeros(3), 8000)


def test_clipping_is_named_and_a_peak_is_not(write_sounds):
    tone = 30_000 * np.sin(2 * np.pi * 100 * np.arange(1000) / 8000)
    peaks = tone.astype(np.int16)
    peaks[:9] = 2**15 - 1
    spec = write_sounds({"peaks.wav": peaks})
    assert len(data.load_audio(spec, "train", length=1000, validation_fraction=0.0)) == 1
    clipped = np.clip(2.0 * tone, -(2**15), 2**15 - 1).astype(np.int16)
    write_sounds({"loud.wav": np.stack([peaks, clipped], axis=1)})
    with pytest.raises(
        data.DataError,
        match=r"loud\.wav is clipped: from 0\.00\d s on, \d\d samples in a row are at full scale",
    ):
        data.load_audio(spec, "train", length=1000, validation_fraction=0.0)


def test_files_that_are_no_sound(tmp_path, write_sounds):
    spec = write_sounds({"a.wav": np.zeros(10, np.float32)})
    with pytest.raises(data.DataError, match=r"a\.wav holds float32 samples; a WAV file of 8, 16"):
        data.load_audio(spec, "train", validation_fraction=0.0)
    for content in (b"", b"no sound", (tmp_path / "sounds" / "a.wav").read_bytes()[:30]):
        (tmp_path / "sounds" / "a.wav").write_bytes(content)
        with pytest.raises(data.DataError, match=r"^cannot read the sound \S+a\.wav: \S"):
            data.load_audio(spec, "train", validation_fraction=0.0)


def a_header(*, channels: int = 1, rate: int = 8000) -> bytes:
    """The chunk of a WAV file that says what its 16-bit samples are."""
    sizes = (channels, rate, 2 * channels * rate, 2 * channels, 16)
    return b"fmt " + struct.pack("<IHHIIHH", 16, 1, *sizes)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (a_header() + b"data" + struct.pack("<I", 0), "holds no sound: 0 samples, 8000 a second"),
        (
            a_header(channels=2) + b"data" + struct.pack("<I", 0),
            "holds no sound: 0 samples, 8000 a second",
        ),
        (
            a_header(rate=0) + b"data" + struct.pack("<Ihh", 4, 1, 2),
            "holds no sound: 2 samples, 0 a second",
        ),
        (a_header(), "its header is damaged, or no sound follows it"),
        (b"", "its header is damaged, or no sound follows it"),
        (
            a_header(channels=0) + b"data" + struct.pack("<Ihh", 4, 1, 2),
            "its header is damaged, or no sound follows it",
        ),
    ],
    ids=["empty", "empty-stereo", "no-rate", "no-data", "no-chunk", "no-channel"],
)
def test_a_recording_without_sound_is_one_line(tmp_path, chunks, message):
    content = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(data.DataError, match=rf"a\.wav.*{message}$") as error:
        data.read_wav(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


def wav(*chunks: tuple[bytes, bytes], kind: bytes = b"RIFF", order: str = "<") -> bytes:
    """A WAV file of these chunks, each of them padded to an even place."""
    body = b"WAVE" + b"".join(
        name + struct.pack(f"{order}I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in chunks
    )
    return kind + struct.pack(f"{order}I", len(body)) + body


def pcm(bits: int = 16, channels: int = 1, order: str = "<") -> tuple[bytes, bytes]:
    block = channels * bits // 8
    return b"fmt ", struct.pack(f"{order}HHIIHH", 1, channels, 8000, 8000 * block, block, bits)


def extensible(bits: int = 16) -> tuple[bytes, bytes]:
    subformat = bytes.fromhex("0100000000001000800000aa00389b71")  # PCM
    more = struct.pack("<HHI", 22, bits, 4) + subformat
    return b"fmt ", struct.pack(
        "<HHIIHH", 0xFFFE, 1, 8000, 8000 * bits // 8, bits // 8, bits
    ) + more


SAMPLES = np.arange(-50, 51, dtype="<i2")
DATA = (b"data", SAMPLES.tobytes())
EIGHT = (b"data", bytes(range(77, 178)))  # of odd length
NOTES = (b"LIST", b"INFOISFT\x04\0\0\0SoX\0")
WHOLE = {
    "plain": wav(pcm(), DATA),
    "extensible": wav(extensible(), DATA),
    "big-endian": wav(
        pcm(order=">"), (b"data", SAMPLES.astype(">i2").tobytes()), kind=b"RIFX", order=">"
    ),
    "8 bits, odd": wav(pcm(8), EIGHT),
    "notes before": wav(pcm(), NOTES, DATA),
    "notes after": wav(pcm(), DATA, NOTES),
    "odd notes before": wav(pcm(), (b"note", b"odd"), DATA),
    "8 bits, odd, notes after": wav(pcm(8), EIGHT, NOTES),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_read_and_half_of_it_is_not(tmp_path, name):
    path, content = tmp_path / "a.wav", WHOLE[name]
    path.write_bytes(content)
    sound, rate = data.read_wav(path)
    assert rate == 8000
    expected = (np.arange(77, 178) - 128) * 256 if "8 bits" in name else SAMPLES
    np.testing.assert_array_equal(sound[:, 0], expected)
    for length in (len(content) // 2, len(content) * 3 // 4, len(content) - 2, 50, 20, 13):
        path.write_bytes(content[:length])
        with pytest.raises(
            data.DataError,
            match=r"^cannot read the sound \S+a\.wav: it is cut short: its headers promise \d+ "
            rf"bytes, it has {length}$",
        ):
            data.read_wav(path)


def test_a_last_padding_byte_may_be_missing_and_more_may_follow(tmp_path):
    path = tmp_path / "a.wav"
    whole = WHOLE["8 bits, odd"]
    for content in (whole[:-1], whole + b"\0" * 30, whole + b"data\xff\xff\0\0" * 2):
        path.write_bytes(content)
        assert len(data.read_wav(path)[0]) == 101


@pytest.mark.parametrize(
    ("whole", "size"),
    [
        (2**32 - 1, 2**32 - 1),  # FFmpeg
        (0, 0),
        (36, 0),  # a recorder that was stopped
        (2**31 - 2**12 + 36, 2**31 - 2**12),  # SoX
        (2**31 + 36, 2**31),  # arecord
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_size_left_open_means_all_that_follows(tmp_path, whole, size, channels):
    content = bytearray(wav(pcm(channels=channels), (b"data", SAMPLES[:100].tobytes())))
    content[4:8], content[40:44] = struct.pack("<I", whole), struct.pack("<I", size)
    for odd in (b"", b"\x01"):  # the pipe may have ended within a sample
        (tmp_path / "a.wav").write_bytes(content + odd)
        np.testing.assert_array_equal(
            data.read_wav(tmp_path / "a.wav")[0], SAMPLES[:100].reshape(-1, channels)
        )


def test_a_size_of_nothing_with_notes_behind_is_no_sound(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(pcm(), (b"data", b""), NOTES))
    with pytest.raises(data.DataError, match=r"holds no sound: 0 samples, 8000 a second$"):
        data.read_wav(tmp_path / "a.wav")


def test_sizes_of_more_than_32_bits_are_read_where_they_stand(tmp_path):
    sound = SAMPLES[:100].tobytes()
    sizes = (b"ds64", struct.pack("<QQQI", 0, len(sound), 100, 0))
    content = bytearray(wav(sizes, pcm(), (b"data", sound), kind=b"RF64"))
    content[20:28] = struct.pack("<Q", len(content) - 8)
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    np.testing.assert_array_equal(data.read_wav(path)[0][:, 0], SAMPLES[:100])
    path.write_bytes(content[:-20])
    with pytest.raises(data.DataError, match=rf"promise {len(content)} bytes, it has"):
        data.read_wav(path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, a_sound, monkeypatch):
    path = tmp_path / "a.wav"
    data.write_wav(path, a_sound(0), 8000)
    before = path.read_bytes()

    def fill_the_disk(descriptor):
        os.ftruncate(descriptor, 100)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fill_the_disk)
    with pytest.raises(RunError, match=r"^cannot write \S+: No space left on device$"):
        data.write_wav(path, a_sound(1), 8000)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.glob("**/*.wav*")) == [path]
    with pytest.raises(RunError, match=r"^cannot write \S+a\.wav\S*: "):
        data.write_wav(path / "b.wav", a_sound(1), 8000)
    with pytest.raises(ValueError, match=r"^a sample rate is 1 or more, got 0$"):
        data.write_wav(path, a_sound(1), 0)
