"""The shipped emoji: pairs of drawings, and splits that keep near twins together."""

import collections
import importlib.resources
import json
import pathlib
import re

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.pictures import emoji
from gen_jax.data.pictures.plain import halved
from gen_jax.data.shipped import emoji_groups
from gen_jax.data.shipped.make_emoji import make

SHIPPED = importlib.resources.files("gen_jax.data.shipped")
SPLITS = ("train", "validation", "test")


def split_of() -> dict[str, str]:
    """The split of each emoji, by its first short name."""
    return {short[0]: split for split in SPLITS for short in emoji.short_names(split)}


def test_it_holds_every_emoji_in_two_drawings_and_is_small():
    sizes = {split: len(emoji.names(split)) for split in SPLITS}
    assert sum(sizes.values()) == 1911
    assert len((SHIPPED / "emoji.npz").read_bytes()) <= 4_800_000
    for split, n in sizes.items():
        assert len(data.load("emoji", split)) == 2 * n
        for spec in ("emoji:noto", "emoji:twemoji"):
            dataset = data.load(spec, split)
            assert len(dataset) == n
            assert dataset.image_shape == (32, 32, 3)
            assert len(dataset.class_names) == 10
    assert data.load("emoji:noto", "test", image_size=16, channels=1).image_shape == (16, 16, 1)


def test_its_licences_and_changes_lie_beside_it():
    text = (SHIPPED / "emoji.md").read_text()
    for needed in (
        "Google",
        "Apache License, Version 2.0",
        "Twitter, Inc and other\n  contributors",
        "https://creativecommons.org/licenses/by/4.0/",
        "Cal Henderson",
        "laid on white, and reduced to",
    ):
        assert needed in text


@pytest.mark.parametrize("split", [*SPLITS, "train+validation"])
def test_rows_of_both_drawings_show_the_same(split):
    noto, twemoji, both = (data.load(f"emoji{tail}", split) for tail in (":noto", ":twemoji", ""))
    assert emoji.names(split)
    assert len(noto) == len(twemoji) == len(emoji.names(split)) == len(emoji.short_names(split))
    np.testing.assert_array_equal(noto.labels, twemoji.labels)
    np.testing.assert_array_equal(both.images, np.concatenate([noto.images, twemoji.images]))
    np.testing.assert_array_equal(both.labels, np.concatenate([noto.labels, twemoji.labels]))
    # What shows the same is more alike than what does not, on the average.
    levels = noto.images.astype(np.float32), twemoji.images.astype(np.float32)
    paired = np.abs(levels[0] - levels[1]).mean()
    assert paired < 0.8 * np.abs(levels[0] - np.roll(levels[1], 1, axis=0)).mean()


def test_names_and_labels_describe_the_pictures():
    names, test = emoji.names("test"), data.load("emoji:noto", "test")
    flags = [name.endswith(" flag") for name in names]
    of_flags = test.labels == test.class_names.index("Flags")
    assert not np.any(flags & ~of_flags)
    colours = {"tomato": (220, 60, 50), "broccoli": (100, 160, 60)}
    for name, colour in colours.items():
        image = test.images[names.index(name)].astype(float)
        centre = image[8:24, 8:24].mean((0, 1))
        assert np.argmax(centre) == np.argmax(colour)


def test_splits_keep_the_shares_of_every_category():
    counts = {
        split: np.bincount(data.load("emoji:noto", split).labels, minlength=10) for split in SPLITS
    }
    total = sum(counts.values())
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert np.all(np.abs(counts[split] - share * total) <= 1.0)


def test_splits_are_no_matter_of_a_seed():
    one = data.load("emoji", "test", seed=0, validation_fraction=0.1)
    other = data.load("emoji", "test", seed=7, validation_fraction=0.3)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "twins",
    [
        ("farmer", "male-farmer", "female-farmer"),
        (
            "man-woman-boy",
            "woman-girl",
            "man-kiss-man",
            "two_women_holding_hands",
            "couple_with_heart",
        ),
        ("clock1", "clock130", "clock12", "clock630"),
        ("flag-no", "flag-bv", "flag-sj"),
        ("flag-td", "flag-ro"),
        ("flag-id", "flag-mc"),
        ("flag-gn", "flag-ml"),  # mirror images
        ("runner", "man-running", "woman_running_facing_right"),
        ("prince", "princess"),
        ("one", "nine", "hash"),
        ("apple", "green_apple"),
        ("arrow_up", "arrow_lower_left"),
        ("full_moon", "new_moon"),
        ("red_circle", "large_blue_square"),
        ("older_man", "older_woman", "red_haired_woman"),
    ],
)
def test_near_twins_are_in_one_split(twins):
    splits = split_of()
    assert len({splits[short] for short in twins}) == 1


def test_names_that_differ_by_who_is_shown_are_in_one_split():
    who = r"\b(man|woman|men|women|person|people|boy|girl|adult|child|older|facing right)\b"
    splits = collections.defaultdict(set)
    for split in SPLITS:
        for name in emoji.names(split):
            splits[" ".join(re.sub(who, " ", name).split())].add(split)
    assert {name for name, those in splits.items() if len(those) > 1} == set()


@pytest.mark.parametrize("drawing", emoji.DRAWINGS)
def test_no_drawing_has_a_near_one_or_its_mirror_image_in_another_split(drawing):
    parts = [data.load(f"emoji:{drawing}", split) for split in SPLITS]
    split = np.repeat(range(3), [len(part) for part in parts])
    images = np.concatenate([part.images for part in parts])
    pairs = np.array(emoji_groups.near(images))
    assert len(pairs) > 500
    np.testing.assert_array_equal(split[pairs[:, 0]], split[pairs[:, 1]])


def test_near_pairs_are_those_below_the_threshold():
    images = np.random.default_rng(0).integers(100, 120, (12, 4, 4, 3), np.uint8)
    images[5] = images[2, :, ::-1]
    levels = images.astype(float)
    expected = {
        (i, j)
        for i in range(12)
        for j in range(i + 1, 12)
        for other in (levels[j], levels[j, :, ::-1])
        if np.abs(levels[i] - other).mean() < 6.0
    }
    assert (2, 5) in expected
    assert len(expected) < 60
    assert set(emoji_groups.near(images, 6.0)) == expected


def test_no_group_swallows_the_set():
    with np.load(str(SHIPPED / "emoji.npz"), allow_pickle=False) as arrays:
        groups, splits = arrays["groups"], arrays["splits"]
    sizes = np.bincount(groups)
    assert sizes.max() <= 60
    assert (sizes == 1).sum() > 1200
    for group in range(len(sizes)):
        assert len(set(splits[groups == group])) == 1


def test_a_digest_is_of_the_drawings_and_the_split():
    opened = [data.load(*which).digest for which in (("emoji", "test"),) * 2]
    assert opened[0] == opened[1]
    others = [("emoji", "train"), ("emoji:noto", "test"), ("emoji:twemoji", "test")]
    assert len({opened[0], *(data.load(*which).digest for which in others)}) == 4


def test_a_split_it_has_not_is_named():
    with pytest.raises(data.DataError, match=r"^emoji has no split 'all'; it has train, valid"):
        emoji.names("all")
    assert emoji.names("val") == emoji.names("validation")


@pytest.mark.parametrize(
    ("tail", "split"), [("", "train"), ("", "validation"), (":noto", "test"), (":twemoji", "test")]
)
def test_large_drawings_split_alike(shared_data: pathlib.Path, tail, split):
    large = data.load(f"emoji:64{tail}", split, data_dir=shared_data)
    small = data.load(f"emoji{tail}", split)
    assert large.image_shape == (64, 64, 3)
    np.testing.assert_array_equal(large.labels, small.labels)
    np.testing.assert_array_equal(halved(large.images), small.images)


def test_missing_large_drawings_are_looked_for_where_the_message_says(tmp_path, cache):
    command = (
        r"; make it of two npm packages: npm install emoji-datasource-google@16\.0\.0 "
        r"emoji-datasource-twitter@16\.0\.0 && python -m gen_jax\.data\.shipped\.make_emoji "
        "--source node_modules --size 64 --out "
    )
    first, second = tmp_path / "emoji64.npz", tmp_path / "emoji" / "emoji64.npz"
    with pytest.raises(
        data.DataError, match=f"^emoji:64: there is no {first} nor {second}{command}{first}$"
    ):
        data.load("emoji:64", "train", data_dir=tmp_path)
    own = cache / "emoji64.npz"
    with pytest.raises(data.DataError, match=f"^emoji:64:noto: there is no {own}{command}{own}$"):
        data.load("emoji:64:noto", "train")


def test_large_drawings_must_be_those_of_the_shipped_ones(tmp_path):
    with np.load(str(SHIPPED / "emoji.npz"), allow_pickle=False) as arrays:
        large = {key: arrays[key].repeat(2, 1).repeat(2, 2) for key in emoji.DRAWINGS}
    np.savez(tmp_path / "emoji64.npz", **large)
    assert data.load("emoji:64", "test", data_dir=tmp_path).image_shape == (64, 64, 3)
    np.savez(tmp_path / "emoji64.npz", noto=large["noto"][::-1], twemoji=large["twemoji"])
    assert data.load("emoji:64:twemoji", "test", data_dir=tmp_path).image_shape == (64, 64, 3)
    with pytest.raises(data.DataError, match=r"noto in .* are not the shipped drawings"):
        data.load("emoji:64", "test", data_dir=tmp_path)
    np.savez(tmp_path / "emoji64.npz", noto=large["noto"][:5])
    with pytest.raises(
        data.DataError, match=r"must be uint8 \[1911, 64, 64, 3\], got uint8 \[5, 64"
    ):
        data.load("emoji:64:noto", "test", data_dir=tmp_path)
    with pytest.raises(data.DataError, match=r"has no array twemoji; it holds noto$"):
        data.load("emoji:64:twemoji", "test", data_dir=tmp_path)
    (tmp_path / "emoji64.npz").write_bytes(b"torn")
    with pytest.raises(data.DataError, match=r"^emoji:64 cannot be read"):
        data.load("emoji:64", "test", data_dir=tmp_path)


def test_the_script_writes_what_is_shipped(shared_data: pathlib.Path, tmp_path):
    make(shared_data / "emoji", out=tmp_path / "emoji.npz")
    assert (tmp_path / "emoji.npz").read_bytes() == (SHIPPED / "emoji.npz").read_bytes()


def test_the_script_reads_the_packages(tmp_path, picture, encode, cache):
    names = ["RED APPLE", "FARMER", "GREEN APPLE", "ONLY GOOGLE"]
    listed = [
        {
            "name": name,
            "unified": f"{i}",
            "image": f"{i}.png",
            "short_names": [f"name-{i}", "also"],
            "category": "Food",
            "subcategory": "food-fruit",
            "sort_order": 10 - i,
            "has_img_google": True,
            "has_img_twitter": name != "ONLY GOOGLE",
        }
        for i, name in enumerate(names)
    ]
    pictures = {}
    for drawing, by in (("noto", "google"), ("twemoji", "twitter")):
        folder = tmp_path / f"emoji-datasource-{by}"
        images = folder / "img" / by / "64"
        images.mkdir(parents=True)
        (folder / "emoji.json").write_text(json.dumps(listed))
        for i in range(3):
            pictures[drawing, i] = picture(i + 10 * len(by), 64, 64, 4)
            (images / f"{i}.png").write_bytes(encode(pictures[drawing, i]))
    make(tmp_path, 64)
    make(tmp_path, 32, tmp_path / "small.npz")
    with (
        np.load(cache / "emoji64.npz", allow_pickle=False) as large,
        np.load(tmp_path / "small.npz", allow_pickle=False) as small,
    ):
        assert small["names"].tolist() == ["green apple", "farmer", "red apple"]
        assert small["short_names"].tolist() == ["name-2 also", "name-1 also", "name-0 also"]
        assert small["groups"].tolist() == [0, 1, 0]
        for (drawing, i), image in pictures.items():
            alpha = image[..., 3:] / 255.0
            on_white = alpha * image[..., :3] + (1.0 - alpha) * 255.0
            assert np.abs(large[drawing][2 - i] - on_white).max() <= 1.0
            blocks = large[drawing][2 - i].reshape(32, 2, 32, 2, 3).astype(float)
            assert np.abs(small[drawing][2 - i] - blocks.mean((1, 3))).max() <= 0.5


def test_the_script_names_a_package_that_is_missing(tmp_path):
    with pytest.raises(data.DataError, match=r"has no emoji-datasource-google with an emoji\.json"):
        make(tmp_path)
