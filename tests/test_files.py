"""Files are written whole or not at all, and what stops that is one line."""

import errno
import os

import pytest

from gen_jax import training
from gen_jax.files import read_json, sync, sync_tree, write_atomically


def test_a_failed_write_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "before")

    def full(descriptor: int):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        training.RunError, match=r"^cannot write .*a.json: No space left on device$"
    ):
        write_atomically(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_name_after(tmp_path, disk_calls):
    path, folder = tmp_path / "a.json", ("fsync", disk_calls.inode(tmp_path), None)
    write_atomically(path, b"content")
    file = ("fsync", disk_calls.inode(path), len("content"))
    assert disk_calls == [file, ("replace", path), folder]


def test_a_tree_is_on_the_disk_with_its_folders_and_its_own_name(tmp_path, disk_calls):
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_bytes(b"123")
    (tmp_path / "beside").write_bytes(b"1234")
    sync_tree(tmp_path / "tree")
    synced = {inode for _, inode, _ in disk_calls}
    whole = (tmp_path, tmp_path / "tree", *(tmp_path / "tree").rglob("*"))
    assert synced == {disk_calls.inode(path) for path in whole}


def test_a_folder_that_cannot_be_synced_is_left_to_its_server(tmp_path, monkeypatch):
    def unable(descriptor: int):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("os.fsync", unable)
    sync(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "file")


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(training.RunError, match=r"^cannot write .*a\.json.*: Is a directory$"):
        write_atomically(tmp_path / "a.json", "content")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_json_object_is_read_whole_or_refused_in_one_line(tmp_path):
    path = tmp_path / "a.json"
    for missing in (path, path / "b.json"):
        with pytest.raises(FileNotFoundError):
            read_json(missing)
        path.write_text('{"a": [1]}')
    assert read_json(path) == {"a": [1]}
    for content in (b"", b'{"a": [1]', b"[1]", b"3", b"null", b"\xff", b"[" * 10_000):
        path.write_bytes(content)
        with pytest.raises(training.RunError) as refused:
            read_json(path, "the JSON of a list")
        assert str(refused.value) == f"{path} is damaged: not the JSON of a list"
    with pytest.raises(training.RunError, match=r"^cannot read .*: Is a directory$"):
        read_json(tmp_path)
