"""Pictures that hold a pair: what their two halves become."""

import numpy as np
import pytest

from gen_jax import data


@pytest.mark.parametrize("limit", [2**30, 1], ids=["decoded", "streamed"])
def test_halves_are_cut_before_they_are_resized(picture, encode, write_folder, limit):
    left, right = ([picture(i + start, 8, 6) for i in range(4)] for start in (0, 100))
    files = {f"train/{i}.png": np.hstack([left[i], right[i]]) for i in range(4)}
    folder = write_folder({name: encode(image) for name, image in files.items()})
    options = {"validation_fraction": 0.0, "memory_limit": limit}
    for reverse in (False, True):
        pairs = data.load_pairs(f"halves:{folder}", "train", reverse=reverse, **options)
        examples = pairs.take(np.arange(4))
        source, made = ("image", "spatial") if reverse else ("spatial", "image")
        np.testing.assert_array_equal(examples[source], np.stack(left))
        np.testing.assert_array_equal(examples[made], np.stack(right))
    small = data.load_pairs(f"halves:{folder}", "train", image_size=(4, 3), **options)
    alone = write_folder({f"alone/{i}.png": encode(left[i]) for i in range(4)}) / "alone"
    expected = data.load(f"folder:{alone}", "train", image_size=(4, 3), **options)
    rows = np.arange(4)
    np.testing.assert_array_equal(small.take(rows)["spatial"], expected.take(rows)["image"])
    assert small.image_shape == (4, 3, 3)


def test_halves_of_a_jpeg_do_not_blend_at_the_cut(encode, write_folder):
    wide = np.zeros((128, 272, 3), np.uint8)
    wide[:, 136:] = 255
    folder = write_folder({f"{i}.jpg": encode(wide, "JPEG") for i in range(3)})
    pairs = data.load_pairs(f"halves:{folder}", "train", image_size=8)
    examples = pairs.take(np.arange(1))
    assert examples["spatial"].max() == 0
    assert examples["image"].min() == 255


def test_halves_of_an_odd_width_or_damaged(picture, encode, write_folder):
    files = {f"{i}.png": encode(picture(i, 4, 8)) for i in range(5)}
    files["2.png"] = encode(picture(2, 4, 7))
    files["3.png"] = b"no picture"
    spec = f"halves:{write_folder(files)}"
    with pytest.raises(
        data.DataError,
        match=r"^cannot read the image \S+/2\.png: it is 7 pixels wide, and two halves need an "
        "even width$",
    ):
        data.load_pairs(spec, "train")
    pairs = data.load_pairs(spec, "train", skip_bad_images=True, validation_fraction=0.0)
    assert (len(pairs), pairs.skipped) == (3, 2)
    examples = pairs.take(np.arange(3))
    for row, number in enumerate((0, 1, 4)):
        whole = np.hstack([examples["spatial"][row], examples["image"][row]])
        np.testing.assert_array_equal(whole, picture(number, 4, 8))
