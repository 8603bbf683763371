"""Pictures in a folder, with a file of captions."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from gen_jax import data
from gen_jax.data.captions import letters
from gen_jax.meaning import wrong

CAPTIONS = {
    "a/1.png": ["a cat", "a small cat"],
    "a/2.png": ["a dog"],
    "b/3.png": ["a bird", "a dog", "a thing"],
    "b/4.png": ["a tree"],
}
BOTH = 'each line has both, as in {"file_name": "1.png", "text": "a cat"}'


def lines(captions) -> bytes:
    """One line for each caption, as JSON."""
    pairs = [(file, text) for file, texts in captions.items() for text in texts]
    return b"\n".join(json.dumps({"file_name": f, "text": t}).encode() for f, t in pairs)


@pytest.fixture
def write(write_folder, encode, picture):
    """Writes pictures and a file of captions; returns the SPEC."""

    def write(captions=CAPTIONS, pictures=tuple(CAPTIONS), name="captions.jsonl", content=None):
        files = {file: encode(picture(number)) for number, file in enumerate(pictures)}
        content = lines(captions) if content is None else content
        return f"captions:{write_folder({**files, name: content})}"

    return write


def load(spec, split="train", **options):
    return data.load_captions(spec, split, validation_fraction=0.0, length=20, **options)


@pytest.mark.parametrize("memory_limit", [2**30, 1])  # decoded once, or on demand
def test_captions_belong_to_their_pictures(write, picture, memory_limit):
    dataset = load(write(), memory_limit=memory_limit)
    assert (dataset.name.startswith("captions:"), dataset.class_names) == (True, ("a", "b"))
    assert dataset.texts == tuple(map(tuple, CAPTIONS.values()))
    examples = dataset.take(np.arange(4))
    for number in range(4):
        np.testing.assert_array_equal(examples["image"][number], picture(number))
    assert examples["label"].tolist() == [0, 0, 1, 1]
    assert letters.decode(examples["tokens"][1]) == ["a dog"] * 3


def falsehood(dataset) -> dict[str, list[int]]:
    """The pictures that each caption is wrong for."""
    examples = dataset.take(np.arange(len(dataset)))
    found = wrong(examples["meaning"][:, :, None], examples["attributes"])  # [n, K, n]
    return {
        text: np.flatnonzero(found[i, k]).tolist()
        for i, texts in enumerate(dataset.texts)
        for k, text in enumerate(texts)
    }


def test_what_is_said_of_two_pictures_is_wrong_for_neither(write):
    captions = {f"{n}.png": texts for n, texts in enumerate(CAPTIONS.values())}
    found = falsehood(load(write(captions, tuple(captions))))
    assert found["a dog"] == [0, 3]
    assert found["a thing"] == [0, 1, 3]  # that it shares another caption does not matter
    assert found["a tree"] == [0, 1, 2]


def test_a_caption_is_true_of_its_class(write):
    pictures = ("train/cats/1.png", "train/cats/2.png", "train/dogs/1.png", "test/cats/1.png")
    captions = {name: [f"caption {n}"] for n, name in enumerate(pictures)}
    spec = write(captions, pictures)
    train, test = (load(spec, split).take(np.arange(n)) for split, n in (("train", 3), ("test", 1)))
    assert falsehood(load(spec)) == {"caption 0": [2], "caption 1": [2], "caption 2": [0, 1]}
    # Across splits, too.
    assert wrong(test["meaning"][0], train["attributes"]).tolist() == [False, False, True]


def test_a_single_class_tells_nothing(write):
    captions = {f"pictures/{n}.png": [f"caption {n}"] for n in range(3)}
    found = falsehood(load(write(captions, tuple(captions))))
    assert found == {"caption 0": [1, 2], "caption 1": [0, 2], "caption 2": [0, 1]}


def test_captions_that_are_the_same_everywhere_are_refused(write):
    captions = {f"{n}.png": ["a bird"] for n in range(3)}
    with pytest.raises(data.DataError, match=r"^captions:.*: every caption describes every image"):
        load(write(captions, tuple(captions)))


def test_the_file_may_have_another_form(write):
    expected = load(write()).digest
    listed = [{"image": f"./{file[:-4]}", "captions": texts} for file, texts in CAPTIONS.items()]
    content = "\n\n".join(map(json.dumps, reversed(listed))).encode()
    assert load(write(content=content)).digest == expected


def test_csv_is_read_as_well(write):
    rows = [f'{file},"{text}, or so",x' for file, texts in CAPTIONS.items() for text in texts]
    content = "\r\n".join(["\ufefffile,caption,more", *rows]).encode()
    dataset = load(write(name="captions.csv", content=content))
    assert dataset.texts[0] == ("a cat, or so", "a small cat, or so")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"file_name,text\na/1.png,a cat\na/2.png,a red bird, small",
            "line 3 of captions.csv has 3 fields, the header 2; a caption with a comma needs "
            'quotes, as in 1.png,"a cat, asleep"',
        ),
        (b"image,text,text\na/1.png,a,b", "captions.csv has several columns text; it needs one"),
        (
            b"file_name,text,caption\na/1.png,a cat,a small cat",
            "line 1 of captions.csv has both text and caption; it needs one of them",
        ),
        (
            b"file_name,text\na/1.png,a cat\na/2.png",
            "line 3 of captions.csv has 1 field, the header 2",
        ),
        (
            b"file_name;text\na/1.png;a cat",
            "line 1 of captions.csv has no picture (file_name, file or image) and no caption "
            "(text, caption or captions) among its columns 'file_name;text'; a header has both, as "
            "in file_name,text",
        ),
        (
            b"a,b,c,caption\n1,2,3,4",
            "line 1 of captions.csv has no picture (file_name, file or image) among its columns "
            "'a', 'b', 'c', ...; a header has both, as in file_name,text",
        ),
        (
            b"",
            "line 1 of captions.csv has no picture (file_name, file or image) and no caption "
            "(text, caption or captions); a header has both, as in file_name,text",
        ),
        (
            b'file_name,text\na/1.png,"a cat',
            "captions.csv cannot be read after line 1: unexpected end of data",
        ),
        (
            "file_name,text\r\na/1.png,a cat\r\na/2.png,a café".encode("latin-1"),
            "line 3 of captions.csv is not UTF-8 (byte 0xe9); save the file as UTF-8",
        ),
    ],
)
def test_no_part_of_a_line_is_lost(write, content, message):
    with pytest.raises(data.DataError, match=f": {re.escape(message)}$"):
        load(write(name="captions.csv", content=content))


def test_splits_are_those_of_the_folder(write):
    pictures = ("train/1.png", "train/2.png", "test/1.png")
    captions = {"test/1.png": ["c", "d"], "train/2.png": ["b"], "train/1.png": ["a"]}
    spec = write(captions, pictures)
    train, test = load(spec), load(spec, "test")
    assert (train.texts, test.texts) == ((("a",), ("b",)), (("c", "d"),))
    assert train.example_spec == test.example_spec  # as many captions in each
    data.check_splits(train, train, test, classes=False)
    held_out = data.load_captions(spec, "validation")
    assert len(held_out) == 1


def test_embeddings_are_in_the_order_of_the_file(write, tmp_path):
    captions = dict(reversed(CAPTIONS.items()))
    spec = write(captions)
    numbers = {text: n for n, text in enumerate(t for those in captions.values() for t in those)}
    np.save(tmp_path / "vectors.npy", np.arange(7)[:, None] * np.ones((1, 5), np.float16))
    dataset = load(spec, embeddings=tmp_path / "vectors.npy")
    examples = dataset.take(np.arange(4))
    assert examples["vector"].shape == (4, 3, 5)
    assert examples["vector"].dtype == np.float32
    assert examples["vector"][0, :2, 0].tolist() == [numbers["a cat"], numbers["a small cat"]]
    assert examples["vector"][3, :, 0].tolist() == [numbers["a tree"]] * 3


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((6, 5)), "in {file} must be [7, size], one for each caption, got [6, 5]"),
        (np.zeros(7), "in {file} must be [7, size], one for each caption, got [7]"),
        (np.zeros((7, 0)), "in {file} must have a size of 1 or more, got 0"),
        (
            np.where(np.arange(14).reshape(7, 2) == 9, np.inf, 0.0),
            "in {file} must be finite, got inf in row 4 (counted from 0)",
        ),
        (
            np.zeros((7, 2), np.int64),
            "in {file} must be float16, float32 or float64, got int64",
        ),
        (
            np.zeros((7, 2), np.complex64),
            "in {file} must be float16, float32 or float64, got complex64",
        ),
        (None, "{file} cannot be read: [Errno 2] No such file or directory: '{file}'"),
    ],
)
def test_embeddings_that_do_not_fit(write, tmp_path, vectors, message):
    file = tmp_path / "vectors.npy"
    if vectors is not None:
        np.save(file, vectors)
    message = re.escape(f"the embeddings {message.format(file=file)}")
    with pytest.raises(data.DataError, match=f"^captions:.*: {message}$"):
        load(write(), embeddings=file)


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.npy", "vectors.safetensors"])
@pytest.mark.parametrize("content", [b"", b"0.5 0.25", b"0.5 0.25\n" * 100])
def test_embeddings_of_another_kind_are_one_line(write, tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(
        data.DataError,
        match=f"the embeddings {file} cannot be read: .+; an intact .npy or .safetensors file is "
        "needed$",
    ) as caught:
        load(write(), embeddings=file)
    assert "\n" not in str(caught.value)


def test_embeddings_may_be_the_one_array_of_a_safetensors_file(write, tmp_path):
    spec, file = write(), tmp_path / "vectors.safetensors"
    vectors = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    save_file({"phi": vectors}, file)
    np.save(tmp_path / "vectors.npy", vectors)
    ours, theirs = (
        load(spec, embeddings=tmp_path / name).take(np.arange(4))["vector"]
        for name in ("vectors.safetensors", "vectors.npy")
    )
    np.testing.assert_array_equal(ours, theirs)
    save_file({"phi": vectors, "psi": vectors}, file)
    with pytest.raises(data.DataError, match=r"must be one array, the file holds 2 \(phi, psi\)$"):
        load(spec, embeddings=file)
    save_file({}, file)
    with pytest.raises(data.DataError, match=r"must be one array, the file holds 0$"):
        load(spec, embeddings=file)
    file.write_bytes(b"no tensors at all")
    with pytest.raises(data.DataError, match="cannot be read: "):
        load(spec, embeddings=file)
    about = {"phi": {"dtype": "F8_E4M3", "shape": [7, 3], "data_offsets": [0, 21]}}
    header = json.dumps(about).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(21))
    with pytest.raises(data.DataError, match=r"have numbers of a type that NumPy lacks: "):
        load(spec, embeddings=file)


@pytest.mark.parametrize("name", ["vectors.npz", "vectors.npy"])
def test_embeddings_cut_short_are_one_line(write, tmp_path, name):
    spec, file = write(), tmp_path / name
    (np.savez if name.endswith("npz") else np.save)(file, np.ones((7, 50)))
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(
        data.DataError, match=rf"the embeddings .*{name} cannot be read: "
    ) as caught:
        load(spec, embeddings=file)
    assert "\n" not in str(caught.value)


def test_embeddings_need_a_file_of_captions():
    with pytest.raises(data.DataError, match=r"^emoji has no file of captions that embeddings"):
        data.load_captions("emoji", "train", embeddings="x.npy")


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (
            {**CAPTIONS, "x.png": ["?"], "y.png": ["?", "!"]},
            "2 of the pictures in captions.jsonl are not in the folder: x.png, y.png",
        ),
        (
            {**CAPTIONS, "x.png": ["?"]},
            "1 of the pictures in captions.jsonl is not in the folder: x.png",
        ),
        (
            {file: texts for file, texts in CAPTIONS.items() if file != "a/2.png"},
            "1 of 4 pictures has no caption in captions.jsonl: a/2.png",
        ),
        (
            {"a/2.png": ["a dog"]},
            "3 of 4 pictures have no caption in captions.jsonl: a/1.png, b/3.png, b/4.png",
        ),
        (
            {**CAPTIONS, "a/2.png": [" "]},
            "line 3 of captions.jsonl: the caption of a/2.png is empty, ' '",
        ),
    ],
)
def test_captions_and_pictures_without_each_other(write, captions, message):
    with pytest.raises(data.DataError, match=f"^captions:.*: {re.escape(message)}$"):
        load(write(captions))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"file_name": "a/1.png"\r\n',
            "1 of captions.jsonl is not valid JSON: Expecting ',' delimiter at column 24",
        ),
        (
            b'\n{"text": "a\tcat"}',
            "2 of captions.jsonl is not valid JSON: Invalid control character at column 12",
        ),
        (
            b'\n{"file_name": "a/1.png", "txt": "a cat"}',
            "2 of captions.jsonl has no caption (text, caption or captions) among its keys "
            f"'file_name', 'txt'; {BOTH}",
        ),
        (
            b'{"img": "a/1.png", "text": "a cat"}',
            "1 of captions.jsonl has no picture (file_name, file or image) among its keys 'img', "
            f"'text'; {BOTH}",
        ),
        (
            b"{}",
            "1 of captions.jsonl has no picture (file_name, file or image) and no caption (text, "
            f"caption or captions); {BOTH}",
        ),
        (
            b'{"image": 3, "text": "a cat"}',
            "1 of captions.jsonl has no picture: image must be a path in the folder, got 3",
        ),
        *(
            (
                b'{"file_name": "a/1.png", "captions": %s}' % value,
                "1 of captions.jsonl has no caption: captions must be a text or a list of texts, "
                f"got {value.decode()}",
            )
            for value in (b"[7]", b"[]", b"null", b"3")
        ),
        (
            b'["%s"]' % (b"a" * 90),
            "1 of captions.jsonl must be an object, as in "
            f'{{"file_name": "1.png", "text": "a cat"}}, got ["{"a" * 58}...',
        ),
        (b"\xff\xfe", "1 of captions.jsonl is not UTF-8 (byte 0xff); save the file as UTF-8"),
        (
            lines(CAPTIONS) + b'\n"\xe9"',
            "8 of captions.jsonl is not UTF-8 (byte 0xe9); save the file as UTF-8",
        ),
    ],
)
def test_a_file_that_holds_something_else(write, content, message):
    with pytest.raises(data.DataError, match=f"^captions:.*: line {re.escape(message)}$"):
        load(write(content=content))


def test_folders_that_will_not_do(write, write_folder, encode, picture):
    with pytest.raises(data.DataError, match=r"has neither captions.jsonl nor captions.csv; it n"):
        load(write(name="other.txt"))
    spec = write()
    write_folder({"captions.csv": b""})
    with pytest.raises(data.DataError, match=r"has both captions.jsonl and captions.csv; it needs"):
        load(spec)
    with pytest.raises(data.DataError, match="skip_bad_images would leave captions without their"):
        load(spec, skip_bad_images=True)
    write_folder({"a/1.jpg": encode(picture(0))})
    with pytest.raises(data.DataError, match="have the same name but for the ending; remove one"):
        load(spec)


def test_long_captions_and_strange_letters_are_said_once(write):
    captions = {**CAPTIONS, "a/1.png": ["é" * 30, "ü" * 25]}
    with pytest.warns(UserWarning, match="letters") as caught:
        load(write(captions))
    assert [str(warning.message)[:28] for warning in caught] == [
        "letters outside the alphabet",
        "2 of 7 texts have more than ",
    ]


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("captioned_digits", "captioned-digits"),
        ("emojis", "emoji"),
        ("caption:birds", "captions:birds"),
    ],
)
def test_an_unknown_set_and_its_near_names(spec, near):
    with pytest.raises(
        data.DataError,
        match=rf"^unknown set of captioned images '{spec}' \(did you mean .*{near}.*\?\); a set of "
        r"captioned images is captioned-digits, emoji\[:64\]\[:noto\|:twemoji\] or captions:PATH$",
    ):
        data.load_captions(spec, "train")
    with pytest.raises(data.DataError, match=r"^unknown set of captioned images ''; a set of"):
        data.load_captions("", "train")
