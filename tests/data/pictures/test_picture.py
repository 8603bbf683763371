"""What becomes of one encoded picture."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from gen_jax.data.errors import BadImage, DataError
from gen_jax.data.pictures.picture import ImageOptions, convert, decode, decode_whole

AS_IT_IS = ImageOptions()


def file_of(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_lossless_pictures_come_back_exactly(picture, encode, kind, channels):
    image = picture(0, channels=channels)
    if kind == "PNG":
        data = encode(image)
    else:
        rgb = np.broadcast_to(image, (*image.shape[:2], 3))
        data = file_of(Image.fromarray(rgb), "WebP", lossless=True)
    options = ImageOptions(channels=channels)
    np.testing.assert_array_equal(decode(data, options, "x"), image)


def test_a_jpeg_comes_close(encode):
    ramp = np.broadcast_to(np.arange(0, 256, 4, np.uint8)[:, None, None], (64, 48, 3))
    found = decode(encode(np.ascontiguousarray(ramp), "JPEG"), AS_IT_IS, "x")
    assert found.shape == (64, 48, 3)
    assert np.abs(found.astype(int) - ramp).max() < 8


def test_bytes_and_file_are_the_same(picture, encode, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture(0)))
    np.testing.assert_array_equal(decode(path, AS_IT_IS, "x"), picture(0))


def test_sixteen_bits_keep_their_upper_byte():
    levels = np.arange(0, 65536, 256, np.uint16).reshape(16, 16) + 77
    data = file_of(Image.fromarray(levels), "PNG")
    np.testing.assert_array_equal(decode(data, AS_IT_IS, "x")[..., 0].ravel(), np.arange(256))


def test_transparency_is_laid_on_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, :, 3] = 255  # black above, nothing below
    found = decode(file_of(Image.fromarray(rgba), "PNG"), AS_IT_IS, "x")
    np.testing.assert_array_equal(found[:, 0], [[0, 0, 0], [255, 255, 255]])
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    found = decode(file_of(palette, "PNG", transparency=bytes([255, 0])), AS_IT_IS, "x")
    np.testing.assert_array_equal(found, [[[10, 20, 30], [255, 255, 255]]])


def test_one_bit_pictures_are_black_and_white():
    bits = np.eye(5, dtype=bool)
    found = decode(file_of(Image.fromarray(bits), "PNG"), AS_IT_IS, "x")
    np.testing.assert_array_equal(found[..., 0], 255 * bits)


def test_exif_orientation_turns_the_picture(picture):
    image = picture(0, height=4, width=6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    data = file_of(Image.fromarray(image), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, AS_IT_IS, "x"), np.rot90(image, -1))


def keyed(levels: np.ndarray, key) -> bytes:
    return file_of(Image.fromarray(levels), "PNG", transparency=key)


def test_what_is_transparent_can_be_kept_beside_the_levels(picture):
    rgba = picture(0, channels=4)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    gray = np.array([[7, 200]], np.uint8)
    cases = [
        (file_of(Image.fromarray(rgba), "PNG"), rgba[..., 3]),
        (file_of(Image.fromarray(rgba), "WebP", lossless=True), rgba[..., 3]),
        (file_of(Image.fromarray(rgba).convert("LA"), "PNG"), rgba[..., 3]),
        (file_of(palette, "PNG", transparency=bytes([90, 255])), [[90, 255]]),
        (keyed(gray, 7), [[0, 255]]),
        (keyed(gray.astype(np.uint16) * 257, 200 * 257), [[255, 0]]),
        (keyed(gray[..., None].repeat(3, -1), (7, 7, 7)), [[0, 255]]),
        (file_of(Image.fromarray(rgba[..., :3]), "PNG"), None),
        (file_of(Image.fromarray(rgba[..., :3]), "JPEG"), None),
    ]
    for data, alpha in cases:
        found = decode_whole(data, None, "x")
        np.testing.assert_array_equal(found.levels, decode(data, AS_IT_IS, "x"))
        assert (found.alpha is None) == (alpha is None)
        if found.alpha is not None:
            np.testing.assert_array_equal(found.alpha, alpha)


def test_transparency_is_turned_with_its_picture(picture):
    rgba = picture(0, height=4, width=6, channels=4)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode_whole(file_of(Image.fromarray(rgba), "PNG", exif=exif), 3, "x")
    np.testing.assert_array_equal(found.alpha, np.rot90(rgba[..., 3], -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP"])
def test_a_colour_profile_is_kept(picture, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(picture(0))
    assert decode_whole(file_of(image, kind, icc_profile=profile), 1, "x").profile == profile
    assert decode_whole(file_of(image, kind), 1, "x").profile is None


def test_channels_convert_both_ways(picture):
    gray, rgb = picture(0, channels=1), picture(1, channels=3)
    np.testing.assert_array_equal(
        convert(gray, ImageOptions(channels=3)), np.repeat(gray, 3, axis=-1)
    )
    luma = rgb @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    found = convert(rgb, ImageOptions(channels=1))
    assert np.abs(found[..., 0] - luma).max() <= 1.0


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_resizing_is_antialiased(encode, kind):
    checks = np.uint8(255) * (np.indices((256, 256)).sum(0) % 2).astype(np.uint8)
    image = np.repeat(checks[..., None], 3, axis=-1)
    found = decode(encode(image, kind), ImageOptions((8, 8)), "x")
    assert found.shape == (8, 8, 3)
    assert np.abs(found.astype(int) - 127).max() < 16  # picking pixels gives 0 or 255


@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40)])
def test_resizing_keeps_proportions_and_the_centre(encode, height, width):
    image = np.zeros((height, width, 1), np.uint8)
    top, left = height // 2 - 20, width // 2 - 20
    image[top : top + 40, left : left + 40] = 200  # the central square
    found = decode(encode(image), ImageOptions((20, 20)), "x")
    assert found.shape == (20, 20, 1)
    assert (found[2:-2, 2:-2] == 200).all()
    assert decode(encode(image), ImageOptions((10, 30)), "x").shape == (10, 30, 1)


def test_damaged_pictures_are_named(picture, encode):
    for kind in ("PNG", "JPEG", "WebP"):
        data = encode(picture(0, 64, 64), kind)
        for n in (0, 3, 20, len(data) // 2, len(data) - 30):
            with pytest.raises(BadImage, match=r"^cannot read the image there/x\.png: \S") as error:
                decode(data[:n], AS_IT_IS, "there/x.png")
            assert "\n" not in str(error.value)


def test_random_damage_is_an_error_or_a_picture(picture, encode):
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WebP"):
        whole = np.frombuffer(encode(picture(0, 16, 16), kind), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
            try:
                found = decode(damaged.tobytes(), AS_IT_IS, "x")
            except BadImage:
                continue
            assert found.dtype == np.uint8
            assert found.ndim == 3


def test_another_kind_of_file_is_refused(picture):
    gif = file_of(Image.fromarray(picture(0)), "GIF")
    with pytest.raises(
        BadImage, match=r"^cannot read the image x: it is not a PNG, JPEG or WebP file$"
    ):
        decode(gif, AS_IT_IS, "x")
    with pytest.raises(BadImage, match=r"^cannot read the image x: it is empty$"):
        decode(b"", AS_IT_IS, "x")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(BadImage, match=r"^cannot read the image x: No such file or directory$"):
        decode(tmp_path / "gone.png", AS_IT_IS, "x")


def test_huge_pictures_are_refused_before_they_are_decoded():
    bomb = file_of(Image.new("1", (10_000, 10_000)), "PNG")
    assert len(bomb) < 20_000
    with pytest.raises(BadImage, match=r"x: it has 10000 × 10000 pixels, more than .* = 89478485$"):
        decode(bomb, AS_IT_IS, "x")


def test_options_that_cannot_be():
    with pytest.raises(DataError, match=r"^image_size must be positive, got \(0, 4\)$"):
        ImageOptions((0, 4))
    with pytest.raises(DataError, match=r"^channels must be 1 \(gray\) or 3 \(RGB\), got 4$"):
        ImageOptions(channels=4)
