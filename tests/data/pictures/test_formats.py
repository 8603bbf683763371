"""Every kind of PNG, against values computed by hand, and the other formats' channels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gen_jax.data.pictures.picture import ImageOptions, decode

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # the colour types of PNG
SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
COLOURS = [[10, 20, 30], [200, 100, 0], [7, 7, 7], [255, 255, 0]]


def chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png(colour_type: int, depth: int, pixels: list, transparency: bytes = b"") -> bytes:
    """One row of pixels, each a sample or a list of them."""
    samples = np.array(pixels, np.int64).reshape(-1, 1)
    assert samples.size == len(pixels) * SAMPLES[colour_type]
    bits = samples >> np.arange(depth)[::-1] & 1
    header = struct.pack(">IIBBBBB", len(pixels), 1, depth, colour_type, 0, 0, 0)
    row = b"\0" + np.packbits(bits.astype(np.uint8)).tobytes()
    colours = np.array(COLOURS[: 2**depth], np.uint8).tobytes()
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"PLTE", colours) if colour_type == PALETTE else b"",
            chunk(b"tRNS", transparency) if transparency else b"",
            chunk(b"IDAT", zlib.compress(row)),
            chunk(b"IEND", b""),
        ]
    )


def key(*samples: int) -> bytes:
    """The one colour of a PNG that is transparent."""
    return struct.pack(f">{len(samples)}H", *samples)


def over_white(level: int, alpha: int) -> int:
    return round((level * alpha + 255 * (255 - alpha)) / 255)


TABLE = [
    # colour type, bits, pixels, transparency, the levels that they are
    (GRAY, 1, [0, 1], b"", [0, 255]),
    (GRAY, 1, [0, 1], key(0), [255, 255]),
    (GRAY, 1, [0, 1], key(1), [0, 255]),
    (GRAY, 2, [0, 1, 2, 3], b"", [0, 85, 170, 255]),
    (GRAY, 2, [0, 1, 2, 3], key(1), [0, 255, 170, 255]),
    (GRAY, 4, [0, 1, 8, 15], b"", [0, 17, 136, 255]),
    (GRAY, 4, [0, 1, 8, 15], key(8), [0, 17, 255, 255]),
    (GRAY, 8, [0, 1, 128, 255], b"", [0, 1, 128, 255]),
    (GRAY, 8, [0, 1, 128, 255], key(128), [0, 1, 255, 255]),
    (GRAY, 16, [0, 0x0180, 0x80FF, 0xFFFF], b"", [0, 1, 128, 255]),
    (GRAY, 16, [0x0180, 0x0181, 0x80FF], key(0x0180), [255, 1, 128]),
    (RGB, 8, COLOURS, b"", COLOURS),
    (RGB, 8, COLOURS, key(200, 100, 0), [COLOURS[0], [255] * 3, *COLOURS[2:]]),
    (RGB, 16, [[0x0A80, 0x14FF, 0x1E00], [0xFFFF, 0, 0x0700]], b"", [[10, 20, 30], [255, 0, 7]]),
    (
        RGB,
        16,
        [[0x0A80, 0x14FF, 0x1E00], [0xFFFF, 0, 0x0700]],
        key(0x0A80, 0x14FF, 0x1E00),
        [[255, 255, 255], [255, 0, 7]],
    ),
    (PALETTE, 1, [1, 0], b"", [COLOURS[1], COLOURS[0]]),
    (PALETTE, 1, [1, 0], bytes([0]), [COLOURS[1], [255] * 3]),
    (PALETTE, 2, [0, 1, 2, 3], b"", COLOURS),
    (PALETTE, 2, [0, 1, 2, 3], bytes([255, 0]), [COLOURS[0], [255] * 3, *COLOURS[2:]]),
    (
        PALETTE,
        4,
        [0, 1, 2],
        bytes([128, 255, 0]),
        [[over_white(level, 128) for level in COLOURS[0]], COLOURS[1], [255] * 3],
    ),
    (PALETTE, 8, [3, 2, 0], b"", [COLOURS[3], COLOURS[2], COLOURS[0]]),
    (PALETTE, 8, [3, 2, 0], bytes([255, 255, 0]), [COLOURS[3], [255] * 3, COLOURS[0]]),
    (GRAY_ALPHA, 8, [[9, 255], [9, 0], [9, 64]], b"", [9, 255, over_white(9, 64)]),
    (
        GRAY_ALPHA,
        16,
        [[0x0980, 0xFFFF], [0x0980, 0], [0x0980, 0x40FF]],
        b"",
        [9, 255, over_white(9, 64)],
    ),
    (
        RGB_ALPHA,
        8,
        [[10, 20, 30, 255], [10, 20, 30, 0], [10, 20, 30, 128]],
        b"",
        [[10, 20, 30], [255] * 3, [over_white(level, 128) for level in (10, 20, 30)]],
    ),
    (
        RGB_ALPHA,
        16,
        [[0x0A80, 0x14FF, 0x1E00, 0xFFFF], [0x0A80, 0x14FF, 0x1E00, 0]],
        b"",
        [[10, 20, 30], [255] * 3],
    ),
]


@pytest.mark.parametrize(("colour_type", "depth", "pixels", "transparency", "expected"), TABLE)
def test_every_kind_of_png(colour_type, depth, pixels, transparency, expected):
    data = png(colour_type, depth, pixels, transparency)
    levels = np.array(expected).reshape(1, len(pixels), -1)
    found = decode(data, ImageOptions(), "x")
    assert found.shape == levels.shape  # gray has one channel, all else three
    assert np.abs(found.astype(int) - levels).max() <= 1  # of blending in whole numbers
    assert (found[levels == 255] == 255).all()
    rgb = np.broadcast_to(levels, (1, len(pixels), 3))
    in_colour = decode(data, ImageOptions(channels=3), "x")
    assert np.abs(in_colour.astype(int) - rgb).max() <= 1
    gray = decode(data, ImageOptions(channels=1), "x")
    assert np.abs(gray[..., 0] - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 1.5


def test_the_table_has_all_that_png_has():
    kinds = {(colour_type, depth) for colour_type, depth, *_ in TABLE}
    assert kinds == {
        *((GRAY, depth) for depth in (1, 2, 4, 8, 16)),
        *((PALETTE, depth) for depth in (1, 2, 4, 8)),
        *((kind, depth) for kind in (RGB, GRAY_ALPHA, RGB_ALPHA) for depth in (8, 16)),
    }
    keyed = {row[:2] for row in TABLE if row[3]}
    assert keyed == {kind for kind in kinds if kind[0] not in (GRAY_ALPHA, RGB_ALPHA)}


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, [77]),
        ("RGB", (200, 40, 90), [200, 40, 90]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),  # red
        ("CMYK", (0, 0, 0, 255), [0, 0, 0]),
    ],
)
def test_the_channels_of_a_jpeg(mode, colour, expected):
    file = io.BytesIO()
    Image.new(mode, (16, 16), colour).save(file, "JPEG", quality=95)
    found = decode(file.getvalue(), ImageOptions(), "x")
    assert found.shape == (16, 16, len(expected))
    assert np.abs(found.astype(int) - expected).max() <= 4


def test_a_webp_has_three_channels():
    for mode, colour in (("RGB", (9, 9, 9)), ("RGBA", (9, 9, 9, 255))):
        file = io.BytesIO()
        Image.new(mode, (4, 4), colour).save(file, "WEBP", lossless=True)
        found = decode(file.getvalue(), ImageOptions(), "x")
        np.testing.assert_array_equal(found, np.full((4, 4, 3), 9))
