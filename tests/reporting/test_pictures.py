import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

from gen_jax import reporting
from gen_jax.files import RunError
from gen_jax.reporting import plots
from gen_jax.reporting.pictures import read_entries


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_a_picture_comes_back_pixel_by_pixel(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = reporting.add_picture(tmp_path, "one", picture, title="One", caption="Noise.")
    assert path == tmp_path / "pictures" / "one.png"
    flat = picture[..., 0] if shape[2:] == (1,) else picture
    np.testing.assert_array_equal(np.asarray(Image.open(path)), flat)


def test_a_figure_is_marked_as_a_chart(tmp_path):
    figure = plots.curves({"a": ([0, 1], [0, 1])}, x_label="x", y_label="y")
    reporting.add_picture(tmp_path, "chart", figure, title="Chart", caption="A line.")
    reporting.add_picture(tmp_path, "image", np.zeros((2, 2), np.uint8), title="I", caption="")
    assert [entry.chart for entry in read_entries(tmp_path)] == [True, False]


def test_entries_keep_their_order_and_a_name_is_replaced_in_its_place(tmp_path):
    for name in ("b", "a", "c"):
        reporting.add_picture(tmp_path, name, np.zeros((2, 2), np.uint8), title=name, caption="")
    reporting.add_picture(tmp_path, "a", np.full((3, 3), 9, np.uint8), title="new", caption="x")
    assert [(e.name, e.title) for e in read_entries(tmp_path)] == [
        ("b", "b"),
        ("a", "new"),
        ("c", "c"),
    ]
    assert np.asarray(Image.open(tmp_path / "pictures" / "a.png")).shape == (3, 3)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "a.png",
        "b.png",
        "c.png",
        "index.json",
    }


def test_a_table_comes_back_with_plain_numbers(tmp_path):
    rows = [["raw", np.float32(0.5), np.int64(3)], ["pca", None, 4]]
    reporting.add_table(tmp_path, "t", ["features", "accuracy", "n"], rows, title="T", caption="")
    (entry,) = read_entries(tmp_path)
    assert entry.columns == ("features", "accuracy", "n")
    assert entry.rows == (("raw", 0.5, 3), ("pca", None, 4))
    assert isinstance(json.loads((tmp_path / "pictures" / "index.json").read_text()), list)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "/abs"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="a picture's name is letters, digits"):
        reporting.add_picture(tmp_path, name, np.zeros((2, 2), np.uint8), title="", caption="")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("picture", "seen"),
    [
        (np.zeros((2, 2)), r"float64 \[2, 2\]"),
        (np.zeros((2, 2, 2), np.uint8), r"uint8 \[2, 2, 2\]"),
        (np.zeros((2, 2, 2, 1), np.uint8), r"uint8 \[2, 2, 2, 1\]"),
    ],
)
def test_a_picture_of_another_kind_is_refused(tmp_path, picture, seen):
    with pytest.raises(ValueError, match=f"1 or 3 channels, got {seen}"):
        reporting.add_picture(tmp_path, "x", picture, title="", caption="")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "pictures").write_text("")
    message = r"^cannot write \S+pictures\S*: (File exists|Not a directory)$"
    with pytest.raises(RunError, match=message):
        reporting.add_picture(tmp_path, "x", np.zeros((2, 2), np.uint8), title="", caption="")
    with pytest.raises(RunError, match=message):
        reporting.add_table(tmp_path, "t", ["a"], [[1]], title="", caption="")


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    def add(level):
        picture = np.full((2, 2), level, np.uint8)
        reporting.add_picture(tmp_path, "x", picture, title="", caption="")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    add(1)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"^cannot write \S+x\.png: No space left on device$"):
        add(2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == files


def test_a_ragged_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="table 't': row 1 has 1 cells, but there are 2 columns"):
        reporting.add_table(tmp_path, "t", ["a", "b"], [[1, 2], [3]], title="", caption="")
    with pytest.raises(ValueError, match="table 't' has no columns"):
        reporting.add_table(tmp_path, "t", [], [], title="", caption="")


def test_sliders_come_back_with_their_pictures_and_labels(tmp_path):
    before, after = np.zeros((2, 3, 4, 1), np.uint8), np.ones((2, 3, 4, 3), np.uint8)
    reporting.add_slider(
        tmp_path, "s", before, after, title="S", caption="", labels=("gray", "colour")
    )
    (entry,) = read_entries(tmp_path)
    assert (entry.sliders, entry.labels) == (2, ("gray", "colour"))
    found = np.asarray(Image.open(tmp_path / "pictures" / "s-1-after.png"))
    np.testing.assert_array_equal(found, after[1])


@pytest.mark.parametrize(
    ("before", "after", "labels", "message"),
    [
        ([(2, 2)], [], ("a", "b"), "as many pictures before as after, .* got 1 and 0"),
        ([], [], ("a", "b"), "and one or more, got 0 and 0"),
        ([(2, 2)], [(2, 3)], ("a", "b"), r"pair 0 differ in size: \[2, 2\] and \[2, 3\]"),
        ([(2, 2)], [(2, 2, 2)], ("a", "b"), "1 or 3 channels"),
        ([(2, 2)], [(2, 2)], ("a",), "there must be two labels"),
    ],
)
def test_pictures_that_do_not_match_are_refused(tmp_path, before, after, labels, message):
    blank = [[np.zeros(shape, np.uint8) for shape in shapes] for shapes in (before, after)]
    with pytest.raises(ValueError, match=message):
        reporting.add_slider(tmp_path, "s", *blank, title="", caption="", labels=labels)
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_an_earlier_version_is_read(tmp_path):
    reporting.add_picture(tmp_path, "a", np.zeros((2, 2), np.uint8), title="A", caption="")
    index = tmp_path / "pictures" / "index.json"
    (entry,) = json.loads(index.read_text())
    del entry["labels"], entry["sliders"]
    index.write_text(json.dumps([entry]))
    assert [entry.title for entry in read_entries(tmp_path)] == ["A"]
