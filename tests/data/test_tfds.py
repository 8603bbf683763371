"""Sets that TFDS prepared, read without TensorFlow and decoded once."""

import json
import pathlib
import sys

import numpy as np
import pytest

from gen_jax import data


@pytest.fixture
def images(picture, encode):
    return [encode(picture(index)) for index in range(20)]


def test_a_prepared_set_is_read_in_its_order(images, picture, prepare_set):
    data_dir = prepare_set("small", {"train": images[:15], "test": images[15:]})
    whole = data.load("tfds:small", "train+validation", data_dir=data_dir)
    np.testing.assert_array_equal(whole.images, np.stack([picture(i) for i in range(15)]))
    assert whole.labels.tolist() == [i % 2 for i in range(15)]
    assert whole.class_names == ("even", "odd")
    assert "tensorflow" not in sys.modules
    test = data.load("tfds:small", "test", data_dir=data_dir)
    np.testing.assert_array_equal(test.images, np.stack([picture(i) for i in range(15, 20)]))


def test_a_validation_split_of_its_own(images, picture, prepare_set):
    data_dir = prepare_set("small", {"train": images[:9], "validation": images[9:12]})
    assert len(data.load("tfds:small", "train", data_dir=data_dir)) == 9
    validation = data.load("tfds:small", "validation", data_dir=data_dir)
    np.testing.assert_array_equal(validation.images[0], picture(9))
    both = data.load("tfds:small", "train+validation", data_dir=data_dir)
    np.testing.assert_array_equal(both.images[9], picture(9))
    assert len(both) == 12


def test_splits_by_any_of_their_spellings(images, picture, prepare_set):
    data_dir = prepare_set("small", {"train": images[:9], "val": images[9:12]})
    for split in ("validation", "val"):
        dataset = data.load("tfds:small", split, data_dir=data_dir)
        np.testing.assert_array_equal(dataset.images[0], picture(9))
        assert (len(dataset), dataset.split) == (3, "validation")
    assert len(data.load("tfds:small", "train", data_dir=data_dir)) == 9
    both = data.load("tfds:small", "train+validation", data_dir=data_dir)
    np.testing.assert_array_equal(both.images[9], picture(9))
    prepare_set("twice", {"val": images[:3], "dev": images[3:6]})
    with pytest.raises(data.DataError, match=r"^tfds:twice has validation twice, as val and dev;"):
        data.load("tfds:twice", "val", data_dir=data_dir)


def test_splits_of_other_sizes_do_not_go_together(images, picture, encode, prepare_set):
    large = [encode(picture(index, 9, 9)) for index in range(3)]
    data_dir = prepare_set("small", {"train": images[:9], "test": large})
    for limit in (2**30, 1):
        parts = [
            data.load("tfds:small", split, data_dir=data_dir, memory_limit=limit)
            for split in ("train", "validation", "test")
        ]
        with pytest.raises(data.DataError, match=r"^images differ in size: .* in the test split"):
            data.check_splits(*parts, classes=True)


def test_a_digest_is_that_of_the_files_wherever_they_lie(images, prepare_set):
    data_dir = prepare_set("small", {"train": images[:9], "test": images[9:12]})

    def digest(split="train", **options):
        return data.load("tfds:small", split, data_dir=data_dir, **options).digest

    first = digest()
    assert digest(memory_limit=1) == first
    others = [digest("test"), digest("train+validation"), digest(image_size=4), digest(seed=1)]
    data_dir = data_dir.rename(data_dir.with_name("moved"))
    for path in data_dir.rglob("*.*"):
        path.touch()
    assert digest() == first
    data_dir = prepare_set("small", {"train": images[:9], "test": images[9:13]})
    others += [digest(), digest("test")]
    assert len({first, *others}) == 1 + len(others)


def test_a_split_that_nobody_has_labelled_has_no_labels(images, prepare_set):
    data_dir = prepare_set("small", {"train": images[:9]}, labels=lambda index: -1)
    for limit in (2**30, 1):
        dataset = data.load("tfds:small", "train", data_dir=data_dir, memory_limit=limit)
        assert dataset.class_names is dataset.labels is None
        assert dataset.take(np.arange(2)).keys() == {"image"}
    data_dir = prepare_set("some", {"train": images[:9]}, labels=lambda index: max(1 - index, -1))
    with pytest.raises(
        data.DataError,
        match=r"^tfds:some train record 2 has no label, but others of its split have$",
    ):
        data.load("tfds:some", "train", data_dir=data_dir)


def test_labels_of_a_streamed_set_are_unknown_unread(images, prepare_set):
    data_dir = prepare_set("small", {"train": images[:9]})
    streamed = data.load("tfds:small", "train", data_dir=data_dir, memory_limit=1)
    assert streamed.labels is None
    assert streamed.example_spec.class_names == streamed.class_names == ("even", "odd")
    swapped = streamed.with_classes(("odd", "even"))
    few = np.arange(4)
    before, after = streamed.take(few)["label"], swapped.take(few)["label"]
    np.testing.assert_array_equal(after, 1 - before)
    with pytest.raises(data.DataError, match="has the class 'odd', which is none of even"):
        streamed.with_classes(("even",))


def test_sets_without_labels_with_configs_and_versions(images, prepare_set):
    data_dir = prepare_set("small/one", {"trainA": images[:4]}, class_names=None)
    prepare_set("small/two", {"trainA": images[:5]}, class_names=None)
    dataset = data.load("tfds:small/two:1.0.0", "trainA", data_dir=data_dir)
    assert len(dataset) == 5
    assert dataset.labels is None
    with pytest.raises(
        data.DataError,
        match=r"^tfds:small is prepared as one, two; say which, as in tfds:small/one$",
    ):
        data.load("tfds:small", "trainA", data_dir=data_dir)
    with pytest.raises(data.DataError, match=r"is prepared in the versions 1\.0\.0 only$"):
        data.load("tfds:small/one:2.0.0", "trainA", data_dir=data_dir)


def test_later_opens_neither_import_tfds_nor_decode(images, prepare_set, monkeypatch):
    data_dir = prepare_set("small", {"train": images})
    first = data.load("tfds:small", "train", data_dir=data_dir)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # an import would fail
    again = data.load("tfds:small", "train", data_dir=data_dir)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert again.class_names == ("even", "odd")
    with pytest.raises(ImportError):
        data.load("tfds:small", "train", data_dir=data_dir, image_size=4)


def test_the_array_is_kept_beside_the_set(images, prepare_set, monkeypatch, tmp_path):
    monkeypatch.delenv("GEN_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    data_dir = prepare_set("small", {"train": images, "test": images[:7]})
    assert len(data.load("tfds:small", "train+validation", data_dir=data_dir)) == 20
    assert list((data_dir / "small" / "1.0.0").rglob("images.npy"))
    assert len(data.load("tfds:small", "test", data_dir=data_dir)) == 7  # TFDS still reads it
    assert not (tmp_path / "home").exists()


def test_a_set_prepared_again_is_decoded_anew(images, picture, prepare_set):
    data_dir = prepare_set("small", {"train": images[:10]})
    data.load("tfds:small", "train", data_dir=data_dir)
    data_dir.rename(data_dir.with_name("old"))
    prepare_set("small", {"train": images[10:]})
    dataset = data.load("tfds:small", "train", data_dir=data_dir)
    assert {image.tobytes() for image in dataset.images} <= {
        picture(index).tobytes() for index in range(10, 20)
    }


def test_a_damaged_picture_is_named_or_skipped(images, prepare_set):
    images[3] = images[3][:40]
    data_dir = prepare_set("small", {"train": images, "test": images[:2]})
    with pytest.raises(
        data.DataError, match=r"^cannot read the image tfds:small train record 3: \S"
    ):
        data.load("tfds:small", "train", data_dir=data_dir)
    dataset = data.load("tfds:small", "train", data_dir=data_dir, skip_bad_images=True)
    assert dataset.skipped == 1


def test_damaged_records_are_an_error(images, prepare_set):
    data_dir = prepare_set("small", {"train": images})
    (path,) = (data_dir / "small" / "1.0.0").glob("*array_record*")
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"\0" * len(content)):
        path.write_bytes(damaged)
        with pytest.raises(data.DataError, match=r"^tfds:small.* damaged"):
            data.load("tfds:small", "train", data_dir=data_dir)


def test_damaged_metadata_is_an_error(images, prepare_set):
    data_dir = prepare_set("small", {"train": images})
    path = data_dir / "small" / "1.0.0" / "dataset_info.json"
    for damaged in (path.read_text()[:30], "[" * 10_000):
        path.write_text(damaged)
        with pytest.raises(data.DataError, match=r"^tfds:small: \S+/dataset_info\.json is damaged"):
            data.load("tfds:small", "train", data_dir=data_dir)


def test_a_set_that_is_not_prepared(tmp_path):
    with pytest.raises(data.DataError) as error:
        data.load("tfds:fashion_mnist", "train", data_dir=tmp_path)
    message = str(error.value)
    assert message.startswith(f"tfds:fashion_mnist is not prepared in {tmp_path}; ")
    assert "needs TensorFlow, once: pip install tensorflow && python -c " in message
    assert f"tfds.data_source('fashion_mnist', data_dir='{tmp_path}')" in message
    assert "\n" not in message


def test_an_unknown_set_and_its_near_names(images, prepare_set):
    data_dir = prepare_set("my_flowers", {"train": images})
    with pytest.raises(
        data.DataError, match=r"^tfds:mnits is unknown to TFDS \S+; did you mean .*tfds:mnist\b"
    ):
        data.load("tfds:mnits", "train", data_dir=data_dir)
    with pytest.raises(data.DataError, match=r"did you mean tfds:my_flowers\b"):
        data.load("tfds:my_flower", "train", data_dir=data_dir)
    with pytest.raises(data.DataError, match=r"^tfds:qqqqqq is unknown to TFDS \S+$"):
        data.load("tfds:qqqqqq", "train", data_dir=data_dir)


@pytest.mark.parametrize("name", ["../secret", "a/../b", "a/..", "/etc", "mnist:latest", "a b"])
def test_names_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(
        data.DataError, match="is not a set's name: use tfds:NAME, tfds:NAME/CONFIG or"
    ):
        data.load(f"tfds:{name}", "train", data_dir=tmp_path)


def test_a_set_prepared_for_tensorflow_only(images, prepare_set):
    data_dir = prepare_set("small", {"train": images}, file_format="tfrecord")
    with pytest.raises(
        data.DataError, match=r"as tfrecord, which only TensorFlow reads; remove it and prepare it"
    ):
        data.load("tfds:small", "train", data_dir=data_dir)


DICT = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
FOREIGN = {"type": "foreign_code.Image", "content": {}}


@pytest.fixture
def foreign_code(tmp_path, monkeypatch):
    (tmp_path / "foreign_code.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    assert sys.modules.pop("foreign_code", None) is None, "it ran"


@pytest.mark.usefixtures("foreign_code")
@pytest.mark.parametrize("load", [data.load, data.load_audio])
@pytest.mark.parametrize(
    "config",
    [
        {
            "pythonClassName": DICT,
            "featuresDict": {"features": {"image": {"pythonClassName": "foreign_code.Image"}}},
        },
        {"python_class_name": "foreign_code.Image"},
        FOREIGN,
        {"pythonClassName": DICT, "jsonFeature": {"json": json.dumps({"image": FOREIGN})}},
        {"type": DICT, "content": [{"image": FOREIGN}]},
        {"pythonClassName": "tensorflow_datasets.core.features/../../foreign_code.Image"},
    ],
    ids=["nested", "by protobuf", "legacy", "in text", "legacy, nested", "path"],
)
def test_a_set_runs_no_code_of_its_own(images, prepare_set, load, config):
    data_dir = prepare_set("small", {"train": images})
    (data_dir / "small" / "1.0.0" / "features.json").write_text(json.dumps(config))
    with pytest.raises(
        data.DataError,
        match=r"^tfds:small: \S+/features\.json refers to \S*foreign_code\.Image, which is not",
    ):
        load("tfds:small", "train", data_dir=data_dir)


@pytest.mark.parametrize("load", [data.load, data.load_audio])
def test_damaged_features_are_one_line(images, prepare_set, load):
    data_dir = prepare_set("small", {"train": images})
    path = data_dir / "small" / "1.0.0" / "features.json"
    for content in (path.read_text()[:100], "3", "{}", "[" * 10_000, None):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        with pytest.raises(
            data.DataError, match=r"^tfds:small: \S+/features\.json cannot be used \(\w+: .+\)$"
        ):
            load("tfds:small", "train", data_dir=data_dir)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("class_label_feature.ClassLabel", "image_feature.Photo", "Unrecognized Feature"),
        ("classLabel", "classLable", "Failed to parse"),
        ("uint8", "uint9", ""),
    ],
)
@pytest.mark.parametrize(("load", "kind"), [(data.load, "Image"), (data.load_audio, "Audio")])
def test_features_that_tfds_does_not_know_are_one_line(
    images, prepare_set, load, kind, old, new, reason
):
    data_dir = prepare_set("small", {"train": images})
    path = data_dir / "small" / "1.0.0" / "features.json"
    text = path.read_text().replace(old, new)
    if kind == "Audio":
        text = text.replace("image_feature.Image", "audio_feature.Audio")
        text = text.replace('"image": {\n                    ', '"audio": {')
    path.write_text(text)
    with pytest.raises(
        data.DataError, match=rf"^tfds:small: \S+ cannot be used \(.*{reason}.*\)$"
    ) as error:
        load("tfds:small", "train", data_dir=data_dir)
    assert len(str(error.value)) < 400


def test_a_set_of_sounds_has_no_images(images, prepare_set, capfd):
    data_dir = prepare_set("small", {"train": images})
    path = data_dir / "small" / "1.0.0" / "features.json"
    path.write_text(path.read_text().replace("image_feature.Image", "audio_feature.Audio"))
    with pytest.raises(
        data.DataError,
        match=r"^tfds:small has no feature with one 8-bit image: image, label are Audio, Class",
    ):
        data.load("tfds:small", "train", data_dir=data_dir)
    assert capfd.readouterr() == ("", ""), "TFDS asks for TensorFlow"


def test_a_set_without_images(images, prepare_set):
    data_dir = prepare_set("small", {"train": images})
    path = data_dir / "small" / "1.0.0" / "features.json"
    features = json.loads(path.read_text())
    del features["featuresDict"]["features"]["image"]
    path.write_text(json.dumps(features))
    with pytest.raises(
        data.DataError,
        match=r"^tfds:small has no feature with one 8-bit image: label are ClassLabel$",
    ):
        data.load("tfds:small", "train", data_dir=data_dir)


def test_a_missing_data_dir(tmp_path):
    with pytest.raises(
        data.DataError, match=r"^tfds:mnist: there is no folder \S+/gone \(data_dir\)"
    ):
        data.load("tfds:mnist", "train", data_dir=tmp_path / "gone")


def test_full_mnist_holds_what_the_npz_holds(full_mnist: pathlib.Path):
    for split, n in (("train+validation", 60_000), ("test", 10_000)):
        prepared = data.load("tfds:mnist", split, data_dir=full_mnist / "tfds")
        plain = data.load(f"npz:{full_mnist / 'mnist.npz'}", split)
        assert len(prepared) == len(plain) == n
        assert prepared.class_names == tuple("0123456789")
        for digit in range(10):  # TFDS shuffles what it prepares
            found, expected = (
                dataset.select(np.flatnonzero(dataset.labels == digit), split)
                for dataset in (prepared, plain)
            )
            assert {image.tobytes() for image in found.images} == {
                image.tobytes() for image in expected.images
            }
            assert len(found) == len(expected)
