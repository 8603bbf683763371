"""What the folders of a set mean, and that nothing else in them changes it."""

import numpy as np
import pytest
from scipy.io import wavfile

from gen_jax import data
from gen_jax.data.folder import FileTree, Kind

KIND = Kind((".png",), "PNG", "picture")


@pytest.fixture
def tree(tmp_path):
    """Makes the tree of empty files at these paths, and of empty folders where a path ends so."""

    def make(*paths: str) -> FileTree:
        root = tmp_path / "set"
        root.mkdir(exist_ok=True)
        for path in paths:
            place = root / path
            if path.endswith("/"):
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        return FileTree("set", root, KIND)

    return make


def found(tree: FileTree) -> dict[str, list[tuple[str, str | None]]]:
    """Of each split, its files and their classes."""
    return {
        split: [(str(path.relative_to(tree.path)), label) for path, label in tree.files(split)[0]]
        for split in tree.splits
    }


PLAIN = ("train/a.png", "test/b.png")
CLASSED = ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png")


@pytest.mark.parametrize("paths", [PLAIN, CLASSED, ("train/a.png",), ("train/cat/a.png",)])
@pytest.mark.parametrize(
    "stray",
    [
        "README.md",
        "labels.csv",
        "Thumbs.db",
        "preview.png",
        ".DS_Store",
        ".git/x.png",
        "__MACOSX/train/a.png",
        "@eaDir/a.png",
        "annotations/a.xml",
        "test_data/a.json",
        "empty/",
        "train/notes.txt",
        "train/.hidden.png",
        "train/.ipynb_checkpoints/a.png",
        "train/__MACOSX/a.png",
        "train/empty/",
        "test.txt",
    ],
)
def test_a_stray_file_changes_nothing(tree, paths, stray):
    before = found(tree(*paths))
    after = tree(stray)
    assert found(after) == before
    assert "train" in before
    assert after.files("train")[1] in (None, ("cat", "dog"), ("cat",))


def test_what_lies_beside_splits_is_noted(tree):
    assert tree(*PLAIN, "README.md", ".hidden", "notes/x.txt").ignored == ("README.md", "notes")
    assert tree("cat/").ignored == ("README.md", "cat", "notes")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "valid"), ["train", "validation"]),
        (("Train", "Test"), ["test", "train"]),
        (("training", "testing"), ["test", "train"]),
        (("TRAIN", "Val", "TEST"), ["test", "train", "validation"]),
        (("train", "dev", "test"), ["test", "train", "validation"]),
        (("train", "Validation"), ["train", "validation"]),
        (("train",), ["train"]),
        (("test",), ["test"]),
        (("val",), ["validation"]),
    ],
)
@pytest.mark.parametrize("inside", ["a.png", "cat/a.png"])
def test_splits_by_any_of_their_spellings(tree, folders, splits, inside):
    made = tree(*(f"{folder}/{inside}" for folder in folders))
    assert sorted(made.splits) == splits
    label = "cat" if "/" in inside else None
    assert sorted(file for files in found(made).values() for file in files) == sorted(
        (f"{folder}/{inside}", label) for folder in folders
    )


def test_folders_of_domains_within_a_split_are_classes(tree):
    made = tree("train/A/a.png", "train/B/b.png", "test/A/c.png")
    assert made.files("train")[1] == ("A", "B")
    assert tree("d.txt").files("test")[1] == ("A", "B")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ("train/a.png", "val/b.png", "valid/c.png"),
            "set has validation twice, as val and valid; keep one of them, or put both in one",
        ),
        (("Train/a.png", "training/b.png"), "set has train twice, as Train and training; .*"),
        (
            ("train/a.png", "test/b.png", "extra/c.png"),
            r"set holds both splits \(test, train\) and other folders \(extra\): class "
            r"folders belong inside the splits \(test/extra\), and a class must not be named "
            "like a split",
        ),
        (("bus/a.png", "car/b.png", "train/c.png"), r"set holds both splits \(train\) and .*"),
        (("train/", "cat/deep/a.png"), r"set holds both splits \(train\) and other folders .*"),
        (
            ("trainA/a.png", "trainB/b.png", "testA/c.png", "testB/d.png"),
            "set holds testA, testB, trainA, trainB: this is a translation set; A and B are "
            r"domains, not classes; use folder:\S+/set/testA for one of them, or of pictures "
            r"domains:\S+/set or pairs:\S+/set for both",
        ),
        (("trainA/a.png",), "set holds trainA: this is a translation set; .*"),
        (("train_a/a.png", "val-B/b.png"), "set holds train_a, val-B: this is a trans.*"),
        (
            ("train2017/a.png", "val2017/b.png"),
            "set holds train2017, val2017, named almost like splits; a split's folder is called "
            "train, validation, test",
        ),
        (("train/a.png", "test_images/b.png"), "set holds test_images, named almost like .*"),
        (
            ("pets/train/a.png", "pets/test/b.png"),
            r"set: \S+/set/pets would be a class, but holds splits \(test, train\); the set is "
            r"folder:\S+/set/pets, or should hold test/pets and so on",
        ),
        (("cat/train/a.png", "cat/val/b.png", "dog/c.png"), r"set: \S+/cat would be a class, .*"),
        (("h2z/trainA/a.png", "h2z/trainB/b.png"), r"set: \S+/h2z would be a class, but .*"),
        (("train/cat/train/a.png", "train/cat/test/b.png"), r"set: \S+/cat would be a class, .*"),
    ],
)
def test_layouts_that_would_let_test_files_train(tree, paths, message):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        tree(*paths)


def test_classes_whose_names_merely_begin_like_splits(tree):
    names = ("test_tube", "training_shoe", "trainer", "valley", "devil", "station/train")
    made = tree(*(f"{name}/a.png" for name in names))
    assert made.splits == ("train",)
    classes = ("devil", "station", "test_tube", "trainer", "training_shoe", "valley")
    assert made.files("train")[1] == classes


def test_links_are_followed_to_splits_and_classes(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    (root / "train" / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "test").symlink_to(tmp_path / "elsewhere")
    assert found(tree()) == {"train": [("train/cat/a.png", "cat")], "test": [("test/a.png", None)]}
    (root / "val").symlink_to(tmp_path / "gone")
    with pytest.raises(data.DataError, match=r"^set: \S+/set/val is a link to nothing$"):
        tree()


def test_a_digest_is_that_of_names_sizes_and_classes(picture, encode, write_folder, tmp_path):
    """Not of times or places, nor of how the pictures are read."""
    files = {f"{'ab'[i % 2]}/{i}.png": encode(picture(i)) for i in range(6)}
    folder = write_folder(files)

    def digest(place=folder, **options) -> str:
        options = {"validation_fraction": 0.0, **options}
        return data.load(f"folder:{place}", "train", **options).digest

    first = digest()
    moved = folder.rename(tmp_path / "moved")
    for path in moved.rglob("*.png"):
        path.touch()
    assert digest(moved) == first
    assert digest(moved, memory_limit=1) == first
    assert digest(moved, skip_bad_images=True) == first
    (moved / "readme.txt").touch()
    assert digest(moved) == first
    others = [digest(moved, image_size=4), digest(moved, channels=1)]
    others += [digest(moved, validation_fraction=0.2, seed=seed) for seed in (0, 1)]
    (moved / "a").rename(moved / "c")
    others.append(digest(moved))
    (moved / "c" / "0.png").unlink()
    others.append(digest(moved))
    (moved / "c" / "2.png").write_bytes(encode(picture(2)) + b" ")
    others.append(digest(moved))
    (moved / "c" / "4.png").write_bytes(b"no picture")
    others += [digest(moved, skip_bad_images=True, memory_limit=limit) for limit in (2**30, 1)]
    assert others[-1] == others[-2]
    assert len({first, *others}) == len(others)


def test_pictures_and_sounds_are_laid_out_alike(picture, encode, write_folder, tmp_path):
    names = [f"{split}/{label}/0" for split in ("Train", "valid", "TEST") for label in "ab"]
    folder = write_folder({f"{name}.png": encode(picture(0)) for name in names})
    sounds = tmp_path / "sounds"
    for name in names:
        (sounds / name).parent.mkdir(parents=True)
        wavfile.write(sounds / f"{name}.wav", 8000, np.arange(100, dtype=np.int16))
    for root in (folder, sounds):
        (root / "README.md").touch()
    for split in ("train", "validation", "test"):
        for part in (
            data.load(f"folder:{folder}", split),
            data.load_audio(f"folder:{sounds}", split, length=100),
        ):
            assert part.class_names == ("a", "b")
            assert part.labels.tolist() == [0, 1]
    with pytest.raises(data.DataError, match=r"no split 'extra'; .*; ignored: README\.md$"):
        data.load_audio(f"folder:{sounds}", "extra")
    for root in (folder, sounds):
        (root / "Train").rename(root / "trainA")
    with pytest.raises(data.DataError, match=r"is a translation set; .* use folder:\S+/trainA"):
        data.load(f"folder:{folder}", "train")
    with pytest.raises(data.DataError, match=r"is a translation set; .* use folder:\S+/trainA"):
        data.load_audio(f"folder:{sounds}", "train")


def test_splits_of_other_sizes_or_classes_do_not_go_together(picture, encode, write_folder):
    folder = write_folder(
        {
            "train/cat/0.png": encode(picture(0)),
            "val/cat/1.png": encode(picture(1)),
            "test/dog/2.png": encode(picture(2, 4, 4)),
        }
    )

    def parts(**options):
        splits = ("train", "validation", "test")
        return [data.load(f"folder:{folder}", split, **options) for split in splits]

    for limit in (2**30, 1):
        with pytest.raises(data.DataError, match=r"differ in size: .* in the test split of fold"):
            data.check_splits(*parts(memory_limit=limit), classes=False)
        alike = parts(memory_limit=limit, image_size=4)
        data.check_splits(*alike, classes=False)
        with pytest.raises(data.DataError, match=r"test split of \S+ has examples .* class 'dog'"):
            data.check_splits(*alike, classes=True)
