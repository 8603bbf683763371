"""One encoded picture becomes levels 0..255 of the wanted size and channels."""

import dataclasses
import io
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.errors import BadImage, DataError

Levels = UInt8[np.ndarray, "height width channels"]


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """How stored pictures become arrays.

    ``image_size`` (height, width) resizes, keeping proportions and antialiased, until the picture
    covers that size, and crops to its centre; ``channels`` is 1 for gray, 3 for RGB; None keeps
    what the pictures have. ``half`` is cut out of each picture before that, for files that hold two
    side by side (None: nothing is cut). Decoded sets of more than ``memory_limit`` bytes are
    decoded on demand.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    skip_bad_images: bool = False
    memory_limit: int = 4 * 2**30
    half: Literal["left", "right"] | None = None

    def __post_init__(self):
        if self.image_size is not None and not all(side > 0 for side in self.image_size):
            raise DataError(f"image_size must be positive, got {self.image_size}")
        if self.channels not in (None, 1, 3):
            raise DataError(f"channels must be 1 (gray) or 3 (RGB), got {self.channels}")

    @property
    def keeps_format(self) -> bool:
        return self.image_size is None and self.channels is None


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with what its levels leave out: ``alpha`` (0 where it is transparent) and the ICC
    ``profile``, each None where the file has none."""

    levels: Levels
    alpha: UInt8[np.ndarray, "height width"] | None
    profile: bytes | None


def decode(data: bytes | pathlib.Path, options: ImageOptions, where: str) -> Levels:
    """Decodes a PNG, JPEG or WebP file, or its bytes.

    Turned as its EXIF orientation says; laid on white where it is transparent; of 16 bits, the
    upper byte is kept. A gray PNG or JPEG has one channel, transparent or not, unless the options
    say otherwise; all others have three. Raises ``BadImage``, naming ``where``, for what is
    damaged, of another kind, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with _named(where):
        picture, is_gray, depth = _upright(data, options)
        opaque, _ = _opaque(picture, depth)
        if options.half is not None:
            opaque = _half(opaque, options.half)
        return _levels(opaque, is_gray, options)


def decode_whole(data: bytes | pathlib.Path, channels: int | None, where: str) -> Picture:
    """Decodes as ``decode`` does, and keeps the transparency and the colour profile as well."""
    options = ImageOptions(channels=channels)
    with _named(where):
        picture, is_gray, depth = _upright(data, options)
        opaque, alpha = _opaque(picture, depth)
        levels = _levels(opaque, is_gray, options)
        profile = picture.info.get("icc_profile") or None
        return Picture(levels, None if alpha is None else np.asarray(alpha), profile)


def convert(image: Levels, options: ImageOptions) -> Levels:
    """Resizes, crops and converts levels with one or three channels, as ``decode`` does."""
    from PIL import Image

    is_gray = image.shape[-1] == 1
    return _levels(Image.fromarray(image[..., 0] if is_gray else image), is_gray, options)


def check_alike(
    where: str, shape: tuple[int, ...], reference: str, wanted: tuple[int, ...]
) -> None:
    """Raises ``DataError`` unless a picture has the shape of the reference."""
    if shape[:2] != wanted[:2]:
        raise DataError(
            f"images differ in size: {where} is {shape[0]}×{shape[1]} (height×width), "
            f"{reference} {wanted[0]}×{wanted[1]}; give an image_size to make them alike"
        )
    if shape != wanted:
        raise DataError(
            f"images differ in channels: {where} has {shape[2]}, {reference} {wanted[2]}; "
            "give channels=1 (gray) or channels=3 (RGB) to make them alike"
        )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Whatever a decoder raises becomes a ``BadImage`` that names the picture."""
    try:
        yield
    except BadImage as error:
        raise BadImage(f"cannot read the image {where}: {error}") from None
    except OSError as error:
        raise BadImage(f"cannot read the image {where}: {error.strerror or error}") from error
    except Exception as error:  # on damaged bytes the decoders raise a dozen types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"cannot read the image {where}: {reason}") from error


def _upright(data: bytes | pathlib.Path, options: ImageOptions):
    """The picture, turned as its EXIF orientation says, whether it is gray, and its bits."""
    from PIL import Image, ImageOps

    content = data if isinstance(data, bytes) else data.read_bytes()
    picture = _open(content)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > limit:
        raise BadImage(
            f"it has {picture.width} × {picture.height} pixels, "
            f"more than PIL.Image.MAX_IMAGE_PIXELS = {limit}"
        )
    if options.image_size is not None and options.half is None:  # which would blend at the cut
        # A JPEG decodes at 1/2, 1/4 or 1/8 for little; twice the wanted size loses nothing.
        side = 2 * max(options.image_size)
        picture.draft(None, (side, side))
    is_gray, depth = _format(content, picture)
    return ImageOps.exif_transpose(picture), is_gray, depth


def _open(data: bytes):
    # Not Image.open: it tries every format it knows, and only warns about a huge picture
    # (a warning cannot be turned into an error in one thread alone).
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    file = io.BytesIO(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile(file)
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile(file)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(file)
    raise BadImage("it is empty" if not data else "it is not a PNG, JPEG or WebP file")


def _format(content: bytes, picture) -> tuple[bool, int]:
    """Whether a file holds gray, and the bits of a sample.

    Pillow's mode does not say for PNG: gray of 16 bits with alpha becomes RGBA, and samples of
    fewer bits are scaled to 8.
    """
    if picture.format != "PNG":
        return picture.mode == "L", 8
    if content[12:16] != b"IHDR":
        raise BadImage("the PNG header is not at its start")
    depth, colour_type = content[24], content[25]
    return colour_type in (0, 4), depth


def _opaque(picture, depth: int):
    """The picture with 8 bits per sample, on white where it is transparent, and its alpha.

    The alpha is an 8-bit gray picture, or None where the file has none.
    """
    from PIL import Image

    key = picture.info.get("transparency")
    if key is not None and picture.mode != "P":
        # The one colour that is transparent has as many bits as the file; Pillow compares it with
        # samples scaled to 8.
        levels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
        scaled = np.asarray(key)
        if depth == 1:
            scaled = 255 * (scaled > 0)
        elif depth < 8:
            scaled = scaled * 255 // (2**depth - 1)
        elif depth == 16 and levels.dtype == np.uint8:  # RGB, whose lower bytes are gone
            scaled = scaled >> 8
        transparent = (levels == scaled) if levels.ndim == 2 else (levels == scaled).all(-1)
        levels = (levels >> 8).astype(np.uint8) if levels.dtype == np.uint16 else levels.copy()
        levels[transparent] = 255
        return Image.fromarray(levels), Image.fromarray(255 * (~transparent).astype(np.uint8))
    if picture.mode == "I;16":
        # Pillow's own conversion clips 16 bits instead of scaling them.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)), None
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return on_white, picture.getchannel("A")
    return picture, None


def _half(picture, half: Literal["left", "right"]):
    if picture.width % 2:
        raise BadImage(f"it is {picture.width} pixels wide, and two halves need an even width")
    left = 0 if half == "left" else picture.width // 2
    return picture.crop((left, 0, left + picture.width // 2, picture.height))


def _levels(picture, is_gray: bool, options: ImageOptions) -> Levels:
    from PIL import Image, ImageOps

    channels = options.channels or (1 if is_gray else 3)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if options.image_size is not None:
        height, width = options.image_size
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(picture.height, picture.width, channels)
