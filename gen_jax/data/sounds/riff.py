"""Whether a WAV file is as long as its headers say."""

import struct

from gen_jax.data.errors import DataError

# Sizes that tools write when they cannot come back to fill them in: FFmpeg, GStreamer and
# recorders that were stopped, SoX, arecord.
_LATER = (2**32 - 1, 0, 2**31 - 2**12, 2**31)


def complete(content: bytes) -> bytes:
    """Returns a WAV file's bytes with the true size of the sound where its headers leave it open.

    Raises ``DataError`` for a file that is shorter than they promise. What is not a WAV file is
    returned as it is.
    """
    kind = content[:4]
    if kind not in (b"RIFF", b"RIFX", b"RF64") or content[8:12] != b"WAVE":
        return content
    order = ">" if kind == b"RIFX" else "<"
    (whole,) = struct.unpack(f"{order}I", content[4:8])
    block, long_size = 1, None
    start, end = 12, len(content)
    if whole not in (2**32 - 1, 0):
        end = min(end, 8 + whole)  # what follows is not a chunk
    while start + 8 <= end:
        name = content[start : start + 4]
        (size,) = struct.unpack(f"{order}I", content[start + 4 : start + 8])
        start += 8
        if name == b"ds64" and len(content) >= start + 16:  # the sizes of an RF64 file
            whole, long_size = struct.unpack("<QQ", content[start : start + 16])
        elif name == b"fmt " and len(content) >= start + 14:
            (block,) = struct.unpack(f"{order}H", content[start + 12 : start + 14])
        elif name == b"data":
            if long_size is not None:
                size = long_size
            elif _is_open(size, start, whole, len(content)):
                return _closed(content, start, max(block, 1), order)
            if start + size > len(content):
                raise _cut_short(start + size, len(content))
        start += size + size % 2  # chunks begin at even places
    # Some tools count a last padding byte that they do not write.
    if whole not in (2**32 - 1, 0) and 8 + whole > len(content) + 1:
        raise _cut_short(8 + whole, len(content))
    return content


def _is_open(size: int, start: int, whole: int, length: int) -> bool:
    """Whether the size of a file's sound, which begins at ``start``, was to be filled in later."""
    if size == 0:  # or there is no sound, and the size of the whole file is right
        return whole in _LATER or 8 + whole <= start < length
    return size in _LATER and start + size > length


def _closed(content: bytes, start: int, block: int, order: str) -> bytes:
    """The file with all that follows the headers as its sound, in whole samples."""
    size = (len(content) - start) // block * block
    sizes = [struct.pack(f"{order}I", n) for n in (start + size - 8, size)]
    return b"".join(
        [content[:4], sizes[0], content[8 : start - 4], sizes[1], content[start : start + size]]
    )


def _cut_short(promised: int, length: int) -> DataError:
    return DataError(f"it is cut short: its headers promise {promised} bytes, it has {length}")
