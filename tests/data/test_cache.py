"""A cache entry is whole and made from this very source, or it is made anew."""

import concurrent.futures
import itertools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from gen_jax.data.cache import FOLDER, Cache
from gen_jax.data.errors import DataError


class Filler:
    def __init__(self, value: int = 7):
        self.value = value
        self.calls = 0

    def __call__(self, folder: pathlib.Path) -> dict[str, int]:
        self.calls += 1
        np.save(folder / "images.npy", np.full((3, 4), self.value, np.uint8))
        return {"value": self.value}


def made(fingerprint: int = 1, place: str = "/there", **identity) -> Cache:
    identity = {"split": "train", "image_size": (8, 8), **identity}
    return Cache("train", pathlib.Path(place), identity, {"size": fingerprint})


def entry_folder(cache: pathlib.Path) -> pathlib.Path:
    (manifest,) = cache.glob("*/*/cache.json")
    return manifest.parent


def test_an_entry_is_made_once_and_read_back(cache):
    fill = Filler()
    assert made().read() is None
    first = made().read_or_write(fill)
    again = made().read_or_write(fill)
    assert fill.calls == 1
    for entry in (first, again, made().read()):
        np.testing.assert_array_equal(entry.arrays["images"], np.full((3, 4), 7))
        assert isinstance(entry.arrays["images"], np.memmap)
        assert entry.notes == {"value": 7}


def test_entries_of_other_sources_and_options_stand_apart():
    caches = [made(), made(place="/elsewhere"), made(image_size=(9, 9)), made(split="test")]
    for value, cache in enumerate(caches):
        cache.read_or_write(Filler(value))
    assert [cache.read().notes["value"] for cache in caches] == [0, 1, 2, 3]


def test_a_changed_source_is_noticed():
    made(fingerprint=1).read_or_write(Filler(1))
    assert made(fingerprint=2).read() is None
    assert made(fingerprint=2).read_or_write(Filler(2)).notes == {"value": 2}
    assert made(fingerprint=1).read() is None  # replaced, not kept beside


@pytest.mark.parametrize("lockable", [True, False])
def test_several_at_once_end_with_one_entry(cache, monkeypatch, lockable):
    if not lockable:
        monkeypatch.setitem(sys.modules, "fcntl", None)
        hosts = itertools.count()
        monkeypatch.setattr(socket, "gethostname", lambda: f"host{next(hosts)}")
    together = threading.Barrier(4)
    calls = []

    def fill(folder: pathlib.Path) -> dict[str, int]:
        calls.append(folder)
        if not lockable:
            together.wait(10)  # all are at it
        return Filler()(folder)

    def make(_: int) -> int:
        return made().read_or_write(fill).notes["value"]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(make, range(4))) == [7] * 4
    assert len(calls) == (1 if lockable else 4)
    assert list(cache.rglob("images.npy")) == [entry_folder(cache) / "images.npy"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "images.npy").write_bytes(b""),
        lambda folder: os.truncate(folder / "images.npy", 130),
        lambda folder: (folder / "images.npy").write_bytes(
            b"x" * (folder / "images.npy").stat().st_size
        ),
        lambda folder: (folder / "images.npy").write_bytes(  # as an archive begins
            b"PK\x03\x04".ljust((folder / "images.npy").stat().st_size)
        ),
        lambda folder: (folder / "cache.json").unlink(),
        lambda folder: (folder / "cache.json").write_text("{"),
        lambda folder: (folder / "cache.json").write_text("[]"),
        lambda folder: (folder / "cache.json").write_text("[" * 10_000),
        lambda folder: (folder / "cache.json").write_text('{"stamp": {"format": 0}}'),
        shutil.rmtree,
    ],
)
def test_a_damaged_entry_is_made_anew(cache, damage):
    made().read_or_write(Filler(1))
    damage(entry_folder(cache))
    assert made().read() is None
    assert made().read_or_write(Filler(2)).notes == {"value": 2}


def test_files_outside_of_an_entry_are_never_read(cache, tmp_path):
    made().read_or_write(Filler())
    manifest_path = entry_folder(cache) / "cache.json"
    manifest = json.loads(manifest_path.read_text())
    np.save(tmp_path / "other.npy", np.zeros(3))
    manifest["files"] = {"../../../other.npy": (tmp_path / "other.npy").stat().st_size}
    manifest_path.write_text(json.dumps(manifest))
    assert made().read() is None


def test_nothing_is_unpickled(cache):
    made().read_or_write(Filler())
    path = entry_folder(cache) / "images.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    manifest_path = path.with_name("cache.json")
    manifest = json.loads(manifest_path.read_text())
    manifest["files"]["images.npy"] = path.stat().st_size
    manifest_path.write_text(json.dumps(manifest))
    assert made().read() is None


def test_a_failed_making_leaves_nothing(cache):
    def fail(folder: pathlib.Path):
        np.save(folder / "images.npy", np.zeros(3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made().read_or_write(fail)
    assert made().read() is None
    assert not list(cache.rglob("*.npy"))


def test_what_a_killed_process_left_is_not_used_and_is_removed(cache):
    code = """
import os, pathlib, signal, numpy as np
from gen_jax.data.cache import Cache
def fill(folder):
    np.save(folder / "images.npy", np.zeros((3, 4), np.uint8))
    os.kill(os.getpid(), signal.SIGKILL)
identity = {"split": "train", "image_size": (8, 8)}
Cache("train", pathlib.Path("/there"), identity, {"size": 1}).read_or_write(fill)
"""
    root = pathlib.Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == -9
    assert len(list(cache.rglob("images.npy"))) == 1
    assert made().read() is None
    assert made().read_or_write(Filler()).notes == {"value": 7}
    assert list(cache.rglob("images.npy")) == [entry_folder(cache) / "images.npy"]


def test_an_entry_lies_beside_its_source_where_that_is_writable(tmp_path, monkeypatch):
    monkeypatch.delenv("GEN_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    source = tmp_path / "set"
    source.mkdir()

    def beside(source: pathlib.Path) -> Cache:
        return Cache("train", source, {"split": "train"}, {"size": 1}, beside=source)

    beside(source).read_or_write(Filler())
    assert list((source / FOLDER).rglob("images.npy"))
    assert not (tmp_path / "home").exists()
    moved = source.rename(tmp_path / "moved")
    assert beside(moved).read() is not None
    shutil.rmtree(moved / FOLDER)
    moved.chmod(0o555)
    try:
        beside(moved).read_or_write(Filler())
        assert not (moved / FOLDER).exists()
        assert list((tmp_path / "home" / "gen_jax").rglob("images.npy"))
    finally:
        moved.chmod(0o755)


def test_a_cache_that_cannot_be_written(cache):
    cache.write_text("a file in the way")
    with pytest.raises(
        DataError,
        match=r"^cannot store decoded data of /there in \S+: .+; "
        r"set GEN_JAX_CACHE to a writable folder with enough space$",
    ):
        made().read_or_write(Filler())


def test_a_full_disk_is_one_line():
    def fill(folder: pathlib.Path):
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r": No space left on device; set GEN_JAX_CACHE to"):
        made().read_or_write(fill)
