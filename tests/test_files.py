"""Files are written whole or not at all, and what stops that is one line."""

import errno
import os
import pathlib

import pytest

from gen_jax import training
from gen_jax.files import write_atomically


def test_a_failed_write_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "before")

    def full(partial: pathlib.Path, content: bytes):
        with partial.open("wb") as file:
            file.write(content[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(
        training.RunError, match=r"^cannot write .*a.json: No space left on device$"
    ):
        write_atomically(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(training.RunError, match=r"^cannot write .*a\.json.*: Is a directory$"):
        write_atomically(tmp_path / "a.json", "content")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
