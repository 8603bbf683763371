"""Sets with two sides, opened by name: what their folders mean, and what can be wrong with them."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.pictures import encoded

# What each layout calls the folder of a split of a side.
LAYOUTS = {
    "sides first": "{side}/{split}",
    "splits first": "{split}/{side}",
    "in one": "{split}{side}",
    "in one, apart": "{split}_{side}",
    "without splits": "{side}",
}
SPLITS = ("train", "validation", "test")


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def place(request) -> str:
    return request.param


@pytest.fixture
def write_sides(picture, encode, write_folder):
    """Writes pictures 0, 1, ... of A and 100, 101, ... of B, in one of the layouts."""

    def write(place: str, **sizes: tuple[int, int]):
        files, first = {}, 0
        for split, counts in sizes.items():
            for side, count, offset in zip("AB", counts, (0, 100), strict=True):
                folder = place.format(side=side, split=split)
                for number in range(first, first + count):
                    files[f"{folder}/{number:03}.png"] = encode(picture(number + offset))
            first += max(counts)
        return write_folder(files)

    return write


@pytest.fixture
def numbers(picture):
    """Turns pictures into their numbers."""
    known = {picture(number).tobytes(): number for number in (*range(40), *range(100, 140))}
    return lambda images: [known[image.tobytes()] for image in images]


def test_pairs_in_every_layout(place, write_sides, numbers):
    n = (20, 20)
    sizes = {"train": n, "test": (6, 6)} if "{split}" in place else {"train": n}
    folder = write_sides(place, **sizes)
    seen = []
    for split in SPLITS:
        pairs = data.load_pairs(f"pairs:{folder}", split)
        examples = pairs.take(np.arange(len(pairs)))
        source, made = numbers(examples["spatial"]), numbers(examples["image"])
        assert made == [number + 100 for number in source]
        assert (pairs.split, pairs.name) == (split, f"pairs:{folder}")
        seen += source
        turned = data.load_pairs(f"pairs:{folder}", split, reverse=True)
        examples = turned.take(np.arange(len(turned)))
        assert numbers(examples["image"]) == source
        assert numbers(examples["spatial"]) == made
        assert turned.digest != pairs.digest
    assert sorted(seen) == list(range(sum(n for n, _ in sizes.values())))
    both = data.load_pairs(f"pairs:{folder}", "train+validation")
    assert len(both) == (18 if len(sizes) == 1 else 20)


def test_domains_in_every_layout(place, write_sides, numbers):
    sizes = {"train": (20, 10), "test": (6, 4)} if "{split}" in place else {"train": (20, 10)}
    folder = write_sides(place, **sizes)
    seen = {"a": [], "b": []}
    for split in SPLITS:
        domains = data.load_domains(f"domains:{folder}", split)
        assert (domains.split, domains.name, domains.aligned) == (
            split,
            f"domains:{folder}",
            False,
        )
        for name in seen:
            side = getattr(domains, name)
            seen[name] += numbers(side.take(np.arange(len(side)))["image"])
    n_a, n_b = (sum(sides) for sides in zip(*sizes.values(), strict=True))
    assert sorted(seen["a"]) == list(range(n_a))
    assert len(seen["b"]) == len(set(seen["b"])) == n_b
    assert min(seen["b"]) == 100


@pytest.mark.parametrize("limit", [2**30, 1], ids=["decoded", "streamed"])
def test_partners_are_found_by_name_whatever_the_ending_or_order(
    picture, encode, write_folder, limit
):
    names = ["a", "a.b", "a-b", "cat/1", "cat/10", "dog/1"]
    for classed in (False, True):
        chosen = [name for name in names if ("/" in name) == classed]
        root = "classed" if classed else "plain"
        files = {}
        for number, name in enumerate(chosen):
            files[f"{root}/A/{name}.png"] = encode(picture(number))
            ending = ("PNG", "png")[number % 2]  # upper case is sorted before lower
            files[f"{root}/B/{name}.{ending}"] = encode(255 - picture(number))
        folder = write_folder(files)
        options = {"validation_fraction": 0.0, "memory_limit": limit}
        pairs = data.load_pairs(f"pairs:{folder / root}", "train", **options)
        examples = pairs.take(np.arange(3))
        np.testing.assert_array_equal(examples["image"], 255 - examples["spatial"])
        assert pairs.class_names == (("cat", "dog") if classed else None)
        if classed:
            assert examples["label"].tolist() == pairs.labels.tolist() == [0, 0, 1]


def test_pictures_without_a_partner_are_named_before_any_is_decoded(
    write_sides, picture, encode, monkeypatch
):
    folder = write_sides("{side}/{split}", train=(5, 5), test=(3, 3))
    for name in ("A/train/000.png", "B/train/001.png"):
        (folder / name).unlink()
    monkeypatch.setattr(encoded.picture, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        data.DataError,
        match=r"^pairs:\S+: 2 of 14 pictures have no partner of the same name: "
        r"\S+/A/train/001\.png, \S+/B/train/000\.png$",
    ):
        data.load_pairs(f"pairs:{folder}", "train")
    for number in range(30, 34):
        (folder / f"A/test/{number}.png").write_bytes(encode(picture(number)))
    with pytest.raises(
        data.DataError,
        match=r"^pairs:\S+: 6 of 18 pictures have no partner .*: (\S+/A/test/\S+, ){3}\.\.\.$",
    ):
        data.load_pairs(f"pairs:{folder}", "train")


def test_two_files_of_one_name(write_sides, picture, encode):
    folder = write_sides("{side}", train=(4, 4))
    (folder / "B" / "002.jpg").write_bytes(encode(picture(0), "JPEG"))
    with pytest.raises(
        data.DataError,
        match=r"^pairs:\S+: \S+/002\.jpg and \S+/002\.png have the same name but for the ending; "
        "remove one of them$",
    ):
        data.load_pairs(f"pairs:{folder}", "train")


def test_an_unreadable_picture_of_a_pair_is_never_skipped(write_sides):
    folder = write_sides("{side}", train=(4, 4))
    (folder / "A" / "002.png").write_bytes(b"no picture")
    with pytest.raises(data.DataError, match=r"^cannot read the image \S+/A/002\.png: it is not a"):
        data.load_pairs(f"pairs:{folder}", "train")
    with pytest.raises(
        data.DataError, match=r"^pairs:\S+: skip_bad_images would leave one picture of a pair with"
    ):
        data.load_pairs(f"pairs:{folder}", "train", skip_bad_images=True)
    options = {"skip_bad_images": True, "validation_fraction": 0.0}
    domains = data.load_domains(f"domains:{folder}", "train", **options)
    assert (domains.side_lengths, domains.skipped) == ((3, 4), 1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["x/0.png"],
            r"has no two sides; they are the folders A and B, train/A and train/B, or trainA and "
            "trainB",
        ),
        (["A/0.png", "C/0.png"], "has A, but no B beside it"),
        (["trainA/0.png", "trainB/0.png", "testB/0.png"], "has testB, but no A beside it"),
        (["train/A/0.png", "train/B/0.png", "val/A/0.png"], "has val/A, but no B beside it"),
        (
            ["trainA/0.png", "trainB/0.png", "train/A/0.png"],
            "has one side twice, as train/A and trainA; keep one of them",
        ),
        (["A/0.png", "a/0.png", "B/0.png"], "has one side twice, as A and a; keep one of them"),
        (
            ["A/0.png", "B/0.png", "testA/0.png", "testB/0.png"],
            r"holds both A, B and testA, testB; the splits of A belong into A \(A/train\), or all "
            r"beside one another \(trainA\)",
        ),
        (
            ["A/train/0.png", "A/test/0.png", "B/train/0.png"],
            "has A/test, but no B beside it",
        ),
        (["A/0.png", "B/0.txt"], r"there is no PNG, JPEG or WebP file in \S+/B"),
    ],
)
def test_folders_without_two_whole_sides(picture, encode, write_folder, files, message):
    folder = write_folder({name: encode(picture(0)) for name in files})
    for load, kind in ((data.load_pairs, "pairs"), (data.load_domains, "domains")):
        with pytest.raises(data.DataError, match=rf"^{kind}:\S+.* {message}$"):
            load(f"{kind}:{folder}", "train", validation_fraction=0.0)


def test_an_empty_side(picture, encode, write_folder):
    folder = write_folder({"trainA/0.png": encode(picture(0)), "trainB/0.txt": b""})
    with pytest.raises(
        data.DataError, match=r"^domains:\S+ there is no picture in its trainB fold"
    ):
        data.load_domains(f"domains:{folder}", "train", validation_fraction=0.0)
    with pytest.raises(data.DataError, match=r"^pairs:\S+ 1 of 1 pictures have no partner of the"):
        data.load_pairs(f"pairs:{folder}", "train", validation_fraction=0.0)


def test_a_folder_that_is_not_there(tmp_path):
    for load, kind in ((data.load_pairs, "pairs"), (data.load_domains, "domains")):
        with pytest.raises(data.DataError, match=rf"^{kind}:\S+: there is no folder \S+/gone$"):
            load(f"{kind}:{tmp_path / 'gone'}", "train")
    with pytest.raises(data.DataError, match=r"^halves:\S+: there is no folder \S+/gone$"):
        data.load_pairs(f"halves:{tmp_path / 'gone'}", "train")


def test_later_opens_do_not_decode_and_the_sides_are_kept_apart(
    write_sides, picture, encode, write_folder, numbers, monkeypatch
):
    sides = write_sides("{split}{side}", train=(6, 6))
    wide = {f"wide/{i}.png": encode(np.hstack([picture(i), picture(i + 100)])) for i in range(6)}
    halves = write_folder(wide) / "wide"
    specs = [(data.load_pairs, f"pairs:{sides}"), (data.load_pairs, f"halves:{halves}")]
    specs += [(data.load_domains, f"domains:{sides}")]
    for load, spec in specs:
        load(spec, "train")
    monkeypatch.setattr(encoded.picture, "decode", lambda *_: pytest.fail("decoded again"))
    for load, spec in specs:
        examples = load(spec, "train", validation_fraction=0.0).take(np.arange(6))
        names = ("a", "b") if load is data.load_domains else ("spatial", "image")
        assert [numbers(examples[name]) for name in names] == [
            list(range(6)),
            list(range(100, 106)),
        ]


def test_sides_of_other_sizes_or_channels(picture, encode, write_folder):
    files = {f"A/{i}.png": encode(picture(i, 8, 8)) for i in range(3)}
    files |= {f"B/{i}.png": encode(picture(i, 9, 8, channels=1)) for i in range(3)}
    folder = write_folder(files)
    for load, kind in ((data.load_pairs, "pairs"), (data.load_domains, "domains")):
        with pytest.raises(data.DataError, match=r"^images differ in size: .* give an image_size"):
            load(f"{kind}:{folder}", "train")
    pairs = data.load_pairs(f"pairs:{folder}", "train", image_size=4)
    assert pairs.example_spec == data.ExampleSpec("image", (4, 4, 1), None, (4, 4, 3))
    with pytest.raises(data.DataError, match=r"^images differ in channels: b, .* give channels=1"):
        data.load_domains(f"domains:{folder}", "train", image_size=4)
    domains = data.load_domains(f"domains:{folder}", "train", image_size=4, channels=1)
    assert domains.example_spec == data.ExampleSpec("domains", (4, 4, 1), None)


def test_a_digest_changes_when_a_file_of_either_side_does(write_sides, picture, encode):
    folder = write_sides("{split}{side}", train=(6, 6))

    def digests():
        loaders = {"pairs": data.load_pairs, "domains": data.load_domains}
        return tuple(load(f"{kind}:{folder}", "train").digest for kind, load in loaders.items())

    found = [digests()]
    assert digests() == found[0]
    for side in "AB":
        (folder / f"train{side}" / "003.png").write_bytes(encode(picture(3)) + side.encode())
        found.append(digests())
    for kind in zip(*found, strict=True):
        assert len(set(kind)) == 3


def test_domains_that_tfds_prepared(prepare_set, picture, encode, numbers):
    parts = {"trainA": range(9), "trainB": range(100, 105), "testA": [20], "testB": [120, 121]}
    data_dir = prepare_set(
        "cycle_gan/small",
        {split: [encode(picture(i)) for i in those] for split, those in parts.items()},
        class_names=("A", "B"),
    )
    options = {"data_dir": data_dir, "validation_fraction": 0.2}
    found = {
        split: data.load_domains("tfds:cycle_gan/small", split, **options)
        for split in ("train+validation", *SPLITS)
    }
    assert found["train"].side_lengths == (7, 4)
    assert found["validation"].side_lengths == (2, 1)
    rows = np.arange(9)
    whole = found["train+validation"].take(rows)
    assert numbers(whole["a"]) == list(range(9))
    assert numbers(whole["b"]) == [100 + 5 * i // 9 for i in range(9)]
    test = found["test"].take(np.arange(2))
    assert (numbers(test["a"]), numbers(test["b"])) == ([20, 20], [120, 121])
    data.check_splits(*(found[split] for split in SPLITS), classes=True)


def test_prepared_splits_that_are_no_two_domains(prepare_set, picture, encode):
    few = [encode(picture(0))] * 3
    data_dir = prepare_set("plain", {"train": few, "test": few})
    with pytest.raises(
        data.DataError,
        match=r"^tfds:plain has the splits train, test; the splits of a set of two domains are "
        "trainA, trainB, testA and testB$",
    ):
        data.load_domains("tfds:plain", "train", data_dir=data_dir)
    data_dir = prepare_set("half", {"trainA": few})
    with pytest.raises(data.DataError, match=r"^tfds:half has trainA, but no B beside it$"):
        data.load_domains("tfds:half", "train", data_dir=data_dir)


def test_too_few_examples_of_one_side_say_which(write_sides):
    folder = write_sides("{split}{side}", train=(6, 2))
    with pytest.raises(
        data.DataError, match=r"^domains:\S+ B has too few examples to hold any out, 2:"
    ):
        data.load_domains(f"domains:{folder}", "train")


@pytest.mark.parametrize(
    ("load", "noun", "choices"),
    [
        (
            data.load_pairs,
            "set of pairs",
            r"emoji\S*, mazes:KIND:CELLS\[:N\], pairs:PATH or halves:PATH",
        ),
        (data.load_domains, "set of two domains", r"emoji\S*, digits, domains:PATH or tfds:NAME"),
    ],
)
def test_an_unknown_set_of_two_sides(load, noun, choices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for spec in ("mnist-subset", "emoji:noto", "emoji:64:twemoji", "folder:x", "", "emoji:"):
        with pytest.raises(
            data.DataError,
            match=rf"^unknown {noun} '{spec}'(?: \(did .*\))?; a {noun} is {choices}$",
        ):
            load(spec, "train", data_dir=tmp_path)
    near = r"pairs:photos or halves:photos" if load is data.load_pairs else "domains:photos"
    with pytest.raises(data.DataError, match=rf"'photos' \(did you mean {near}\?\);"):
        load("photos", "train")
    with pytest.raises(data.DataError, match=r"'emoij' \(did you mean emoji\b.*\?\);"):
        load("emoij", "train")


def test_options_that_cannot_be(write_sides):
    folder = write_sides("{side}", train=(4, 4))
    for load, kind in ((data.load_pairs, "pairs"), (data.load_domains, "domains")):
        spec = f"{kind}:{folder}"
        with pytest.raises(data.DataError, match=r"^channels must be 1 \(gray\) or 3"):
            load(spec, "train", channels=2)
        with pytest.raises(data.DataError, match=r"^image_size must be positive"):
            load(spec, "train", image_size=0)
        with pytest.raises(data.DataError, match=r"has no split 'extra'; it has train, validation"):
            load(spec, "extra")
        with pytest.raises(data.DataError, match=r"^a seed is a whole number"):
            load(spec, "train", seed=-1)
