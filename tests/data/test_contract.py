"""What every data set offers, however its examples are stored."""

import json

import numpy as np
import pytest
from scipy.io import wavfile

from gen_jax import data

KINDS = ("array", "decoded", "streamed", "sounds", "mapped", "paired", "captioned")


@pytest.fixture(params=KINDS)
def dataset(request, tmp_path, picture, encode, write_folder) -> data.AnyDataset:
    """Six examples of three classes, stored in each of the ways there are."""
    if request.param in ("array", "mapped", "paired", "captioned"):
        images = np.stack([picture(i) for i in range(6)])
        labels = np.repeat(np.arange(3), 2)
        array = data.ArrayDataset("array", "train", images, labels, class_names=("a", "b", "c"))
        if request.param == "mapped":
            return data.Mapped(array, data.conditions.Noise())
        if request.param == "captioned":
            texts = [("a picture", str(i))[: 1 + i % 2] for i in range(6)]
            meanings, vectors = np.arange(9)[:, None], np.eye(9, 4)
            return data.Captioned(array, texts, meanings, labels[:, None], embeddings=vectors)
        source = data.ArrayDataset("gray", "train", 255 - images[..., :1])
        return array if request.param == "array" else data.Paired(array, source)
    if request.param == "sounds":
        for i in range(6):
            path = tmp_path / "sounds" / "abc"[i // 2] / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(path, 8000, np.full(50, i, np.int16))
        spec = f"folder:{tmp_path / 'sounds'}"
        return data.load_audio(spec, "train", length=50, validation_fraction=0.0)
    folder = write_folder({f"{'abc'[i // 2]}/{i}.png": encode(picture(i)) for i in range(6)})
    limit = 2**30 if request.param == "decoded" else 1
    return data.load(f"folder:{folder}", "train", validation_fraction=0.0, memory_limit=limit)


def test_a_spec_says_what_the_examples_are(dataset):
    spec, examples = dataset.example_spec, dataset.take(np.arange(6))
    assert spec.class_names == dataset.class_names == ("a", "b", "c")
    assert spec.n_classes == 3
    assert examples[spec.kind].shape[1:] == spec.shape
    blank = spec.blank(2)
    assert blank.keys() == examples.keys()
    for name, array in blank.items():
        assert array.dtype == examples[name].dtype
        assert array.shape == (2, *examples[name].shape[1:])
        assert not array.any()


def test_a_spec_survives_json(dataset):
    others = [
        data.ExampleSpec("audio", (5, 1), None),
        data.ExampleSpec("image", (4, 5, 3), None, spatial=(4, 5, 1)),
        data.ExampleSpec("domains", (4, 5, 3), None),
        data.ExampleSpec("image", (4, 5, 3), None, text=(2, 7), attributes=3, vector=9),
        data.ExampleSpec("image", (4, 5, 3), None, text=(2, 7), attributes=3),
    ]
    for spec in (dataset.example_spec, *others):
        text = json.dumps(spec.as_json())
        again = data.ExampleSpec.from_json(json.loads(text))
        assert again == spec
        assert hash(again) == hash(spec)
        assert spec.as_json() == json.loads(text)
    assert [other.n_classes for other in others] == [None] * 5
    keys = [{name: array.shape for name, array in other.blank(2).items()} for other in others]
    assert keys == [
        {"audio": (2, 5, 1)},
        {"image": (2, 4, 5, 3), "spatial": (2, 4, 5, 1)},
        {"a": (2, 4, 5, 3), "b": (2, 4, 5, 3)},
        {
            "image": (2, 4, 5, 3),
            "tokens": (2, 2, 7),
            "meaning": (2, 2, 3),
            "attributes": (2, 3),
            "vector": (2, 2, 9),
        },
        {"image": (2, 4, 5, 3), "tokens": (2, 2, 7), "meaning": (2, 2, 3), "attributes": (2, 3)},
    ]


def test_a_spec_without_conditions_is_written_as_before_there_were_any():
    written = {"kind": "image", "shape": [4, 5, 3], "class_names": ["a", "b"]}
    spec = data.ExampleSpec("image", (4, 5, 3), ("a", "b"))
    assert spec.as_json() == written
    assert data.ExampleSpec.from_json(written) == spec


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("video", (3, 4, 1), "the kind of an example is image, audio or domains, got 'video'"),
        ("image", (3, 4), r"image examples are \[H, W, C\], got \[3, 4\]"),
        ("audio", (0, 1), r"audio examples are \[T, C\], got \[0, 1\]"),
        ("domains", (3, 4), r"domains examples are \[H, W, C\], got \[3, 4\]"),
    ],
)
def test_examples_that_cannot_be(kind, shape, message):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        data.ExampleSpec(kind, shape, None)


@pytest.mark.parametrize("spatial", [(4, 4, 1), (5, 4, 1), (4, 5), (4, 5, 0)])
def test_source_images_that_cannot_be(spatial):
    with pytest.raises(
        data.DataError,
        match=r"^the spatial condition of images \[4, 5, 3\] is \[4, 5, C\], got \[.*\]$",
    ):
        data.ExampleSpec("image", (4, 5, 3), None, spatial)
    for kind, shape in (("audio", (5, 1)), ("domains", (4, 5, 3))):
        with pytest.raises(data.DataError, match=f"^{kind} examples have no spatial condition"):
            data.ExampleSpec(kind, shape, None, (4, 5, 1))


@pytest.mark.parametrize(
    ("kind", "captions", "message"),
    [
        ("image", {"attributes": 2}, "attributes and vectors are those of captions"),
        ("image", {"vector": 2}, "attributes and vectors are those of captions"),
        ("domains", {"text": (1, 5), "attributes": 1}, "domains examples have no captions"),
        ("image", {"text": (1, 0), "attributes": 1}, r"captions are \[number, letters\], of 1 or"),
        ("image", {"text": (1,), "attributes": 1}, r"captions are \[number, letters\], of 1 or"),
        ("image", {"text": (1, 5)}, "captions speak of 1 or more attributes, got None"),
        ("image", {"text": (1, 5), "attributes": 1, "vector": 0}, "a caption's vector has a leng"),
    ],
)
def test_captions_that_cannot_be(kind, captions, message):
    with pytest.raises(data.DataError, match=f"^{message}"):
        data.ExampleSpec(kind, (4, 5, 3), None, **captions)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "image", "shape": 3, "class_names": None},
        {"kind": "image"},
        {"kind": "image", "shape": [3, 4, 1], "class_names": None, "spatial": 3},
        {"kind": "image", "shape": [3, 4, 1], "class_names": None, "text": 3},
    ],
)
def test_fields_of_no_spec_are_one_line(fields):
    with pytest.raises(data.DataError, match=r"^an example has a kind, a shape and class_names"):
        data.ExampleSpec.from_json(fields)


def test_labels_are_those_of_the_examples(dataset):
    assert dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    part = dataset.select(np.array([5, 0, 3]), "part")
    assert part.labels.tolist() == part.take(np.arange(3))["label"].tolist() == [2, 0, 1]


def test_classes_are_matched_by_name(dataset):
    other = dataset.with_classes(["c", "x", "a", "b"])
    assert other.class_names == ("c", "x", "a", "b")
    assert other.labels.tolist() == [2, 2, 3, 3, 0, 0]
    before, after = dataset.take(np.arange(6)), other.take(np.arange(6))
    np.testing.assert_array_equal(after["label"], other.labels)
    kind = dataset.example_spec.kind
    np.testing.assert_array_equal(after[kind], before[kind])
    back = other.select(np.array([4, 1]), "part").with_classes(("a", "b", "c"))
    assert back.labels.tolist() == back.take(np.arange(2))["label"].tolist() == [2, 0]


def test_a_class_that_is_not_among_the_names(dataset):
    with pytest.raises(
        data.DataError, match=r"^the train split of \S+ has the class 'c', which is none of a, b$"
    ):
        dataset.with_classes(["a", "b"])
    without = dataset.select(np.arange(4), "few").with_classes(["b", "a"])  # no example of c
    assert without.labels.tolist() == [1, 1, 0, 0]


def test_a_set_without_labels_has_no_classes():
    plain = data.ArrayDataset("plain", "train", np.zeros((2, 3, 3, 1), np.uint8))
    assert plain.class_names is plain.labels is plain.example_spec.class_names is None
    with pytest.raises(data.DataError, match=r"^the train split of plain has no labels$"):
        plain.with_classes(["a"])
    with pytest.raises(data.DataError, match=r"^plain: class_names given without labels$"):
        data.ArrayDataset("plain", "x", np.zeros((2, 3, 3, 1), np.uint8), class_names=("a",))


def test_labels_without_names_are_named_by_their_text():
    labels = np.array([39_000_000, 7, 7, 12])
    ids = data.ArrayDataset("ids", "train", np.zeros((4, 3, 3, 1), np.uint8), labels)
    assert ids.class_names == ("7", "12", "39000000")
    assert ids.labels.tolist() == ids.take(np.arange(4))["label"].tolist() == [2, 0, 0, 1]
    assert ids.select(np.array([0]), "one").class_names == ids.class_names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 2]), r"labels must lie in 0\.\.1 for 2 classes, got 0\.\.2"),
        (np.array([-1, 1]), r"labels must lie in 0\.\.1 for 2 classes, got -1\.\.1"),
        (np.array([0.0, 1.0]), "labels must be integers, got float64"),
    ],
)
def test_labels_that_number_no_class(labels, message):
    images = np.zeros((2, 3, 3, 1), np.uint8)
    with pytest.raises(data.DataError, match=f"^x: {message}$"):
        data.ArrayDataset("x", "train", images, labels, class_names=("a", "b"))


def test_a_digest_changes_with_what_the_examples_are(dataset):
    digests = [
        dataset.digest,
        dataset.select(np.arange(5), "train").digest,
        dataset.select(np.array([0, 1, 2, 3, 5, 4]), "train").digest,
        dataset.with_classes(["b", "a", "c"]).digest,
    ]
    assert len(set(digests)) == 4
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in digests)
    for part in (dataset, dataset.select(np.array([4, 1, 2]), "part")):
        assert (
            part.with_classes(["c", "b", "a"]).with_classes(["a", "b", "c"]).digest == part.digest
        )
    assert dataset.select(None, "other").digest == dataset.digest
    assert dataset.select(np.arange(6), "other").digest == dataset.digest


def test_a_digest_of_arrays_follows_from_their_bytes():
    images, labels = np.zeros((4, 3, 3, 1), np.uint8), np.arange(4)

    def digest(images=images, labels=labels, name="x"):
        return data.ArrayDataset(name, "train", images, labels).digest

    assert digest() == digest(images.copy(), labels.astype(np.int16), name="y")
    other = images.copy()
    other[3, 2, 2, 0] = 1
    assert len({digest(), digest(other), digest(labels=labels[::-1]), digest(labels=None)}) == 4
    assert digest(images.reshape(4, 1, 9, 1)) != digest()


def parts(**changes):
    """Training, validation and test images of two classes; ``changes`` by the name of a part."""
    made = {}
    for split in ("train", "validation", "test"):
        shape, labels, names = changes.get(split, ((4, 5, 1), [0, 1, 0], ("cat", "dog")))
        images = np.zeros((3, *shape), np.uint8)
        labels = None if labels is None else np.array(labels)
        made[split] = data.ArrayDataset("pets", split, images, labels, class_names=names)
    return made


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        (
            {"test": ((4, 6, 1), None, None)},
            False,
            r"images differ in size: \[4, 6, 1\] in the test split of pets, \[4, 5, 1\] in the "
            r"train split of pets; give an image_size to make them alike",
        ),
        (
            {"validation": ((4, 5, 3), None, None)},
            False,
            r"images differ in channels: \[4, 5, 3\] in the validation split of pets, "
            r"\[4, 5, 1\] in the train split of pets; give channels=1 \(gray\) or channels=3 "
            r"\(RGB\) to make them alike",
        ),
        (
            {"test": ((4, 5, 1), None, None)},
            True,
            "the test split of pets has no labels, the train split of pets has; a model of "
            "classes needs them in both",
        ),
        (
            {"train": ((4, 5, 1), None, None)},
            True,
            "the train split of pets has no labels, the validation split of pets has; a model of "
            "classes needs them in both",
        ),
        (
            {"train": ((4, 5, 1), [0, 0, 0], ("cat", "dog"))},
            True,
            "the validation split of pets has examples of the class 'dog', the train split of "
            "pets none",
        ),
        (
            {"test": ((4, 5, 1), [0, 0, 0], ("dog", "cat"))},
            True,
            "the test split of pets has other classes than the train split of pets, or another "
            "order of them; with_classes matches them by name",
        ),
    ],
)
def test_splits_that_do_not_go_together(changes, classes, message):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        data.check_splits(**parts(**changes), classes=classes)
    if classes:
        data.check_splits(**parts(**changes), classes=False)


def test_source_images_go_together_too():
    train, validation, test = parts().values()
    colours = data.ArrayDataset("colours", "test", np.zeros((3, 4, 5, 3), np.uint8))
    noisy = [data.Mapped(part, data.conditions.Noise()) for part in (train, validation)]
    data.check_splits(*noisy, data.Paired(test, test), classes=True)
    with pytest.raises(
        data.DataError,
        match=r"^source images differ in channels: \[4, 5, 3\] in the test split of pets, "
        r"\[4, 5, 1\] in the train split of pets; give channels=1 \(gray\) or channels=3 \(RGB\)",
    ):
        data.check_splits(*noisy, data.Paired(test, colours), classes=True)
    with pytest.raises(
        data.DataError,
        match=r"^the train split of pets holds pairs of images, the test split of pets images$",
    ):
        data.check_splits(*noisy, test, classes=True)
    domains = [data.TwoDomains(part, part) for part in (train, validation, test)]
    data.check_splits(*domains, classes=True)
    with pytest.raises(data.DataError, match=r"holds images of two domains, .* of colours images"):
        data.check_splits(domains[0], domains[1], colours, classes=False)
    with pytest.raises(data.DataError, match=r"^images differ in channels: \[4, 5, 3\] in"):
        data.check_splits(*domains[:2], data.TwoDomains(colours, colours), classes=False)


def test_captions_go_together_too():
    train, validation, test = parts().values()

    def captioned(part, *, length=9, attributes=1, vector=None):
        values = np.zeros((3, attributes), int)
        vectors = None if vector is None else np.zeros((3, vector))
        texts = [["a"], ["b"], ["c"]]
        return data.Captioned(part, texts, values, values, embeddings=vectors, length=length)

    fitting = [captioned(part) for part in (train, validation)]
    data.check_splits(*fitting, captioned(test), classes=True)
    for other, message in (
        (test, "the train split of pets holds captioned images, the test split of pets images$"),
        (captioned(test, length=8), "the letters of a caption differ: 8 in the test split of"),
        (captioned(test, attributes=2), "the attributes that captions speak of differ: 2 in the"),
        (captioned(test, vector=5), "the lengths of captions' vectors differ: 5 in the test sp"),
    ):
        with pytest.raises(data.DataError, match=f"^{message}"):
            data.check_splits(*fitting, other, classes=True)


def test_splits_that_go_together():
    data.check_splits(**parts(), classes=True)
    plain = ((4, 5, 1), None, None)
    data.check_splits(**parts(train=plain, validation=plain, test=plain), classes=True)
    # What trains alone may have a class of its own.
    data.check_splits(**parts(test=((4, 5, 1), [0, 0, 0], ("cat", "dog"))), classes=True)


def test_images_and_sounds_do_not_go_together():
    sound = data.AudioDataset(
        "beeps", "test", np.zeros(9, np.int16), np.arange(3), 5, sample_rate=8000
    )
    image = parts()["train"]
    with pytest.raises(
        data.DataError, match=r"^the train split of pets holds images, the test split of beeps sou"
    ):
        data.check_splits(image, image, sound, classes=False)
    longer = data.AudioDataset(
        "beeps", "train", np.zeros(9, np.int16), np.arange(3), 6, sample_rate=8000
    )
    with pytest.raises(
        data.DataError, match=r"^sounds differ in length: \[5, 1\] in .* \[6, 1\] in"
    ):
        data.check_splits(longer, longer, sound, classes=False)
