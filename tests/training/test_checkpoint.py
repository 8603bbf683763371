"""Checkpoints come back bit for bit, or say what is wrong with them."""

import contextlib
import errno
import json
import logging
import pathlib
import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from gen_jax import training
from gen_jax.training import stored
from gen_jax.training.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with checkpoints of steps 4, 8 and 10, and its result. Copy it before damaging it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    return run, toy.train(run, 10, checkpoint_every=4)


@pytest.fixture
def run(trained, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(trained[0], tmp_path / "run"))


def save(folder: pathlib.Path, step: int, state, metrics=None, **options) -> None:
    saves = Checkpoints(folder, **options)
    saves.save(step, state, metrics or {}, {})
    saves.wait()
    saves.close()


def test_every_dtype_comes_back_bit_for_bit(tmp_path):
    strange = np.array([0x7FC00001, 0x80000000, 0x00000001, 0xFF800000], np.uint32)
    state = {
        "params": {"w": jnp.asarray(strange.view(np.float32)), "half": jnp.ones(3, jnp.bfloat16)},
        "flags": (jnp.array([True, False]), jnp.zeros((), jnp.int32)),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4), 5),
        "nothing": None,
        "empty": {},
    }
    (tmp_path / "checkpoints").mkdir()
    save(tmp_path / "checkpoints", 1, state)
    template = jax.tree.map(lambda x: x, state)
    back = training.restore(tmp_path, template)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert training.params_digest(back) == training.params_digest(state)
    assert back["key"].dtype == state["key"].dtype
    assert back["params"]["w"].tobytes() == strange.tobytes()
    arrays = training.restore(tmp_path)
    assert type(arrays["params"]["w"]) is np.ndarray
    assert arrays["params"]["w"].tobytes() == strange.tobytes()
    np.testing.assert_array_equal(arrays["key"], jax.random.key_data(state["key"]))


def test_restore_gives_the_state_or_its_arrays(trained):
    run, result = trained
    state = training.restore(run, toy.make_state(seed=5))
    assert training.params_digest(state) == training.params_digest(result.state)
    shapes = jax.eval_shape(toy.make_state)
    assert training.params_digest(training.restore(run, shapes)) == training.params_digest(state)
    arrays = training.restore(run)
    assert training.params_digest(arrays["params"]) == training.params_digest(result.state.params)
    assert training.restore(run, step=8)["step"] == 8
    assert sorted(training.saved_metrics(run)) == [4, 8, 10]
    with pytest.raises(
        training.RunError, match=r"no checkpoint of step 7 in .* \(there are: 10, 8, 4\)"
    ):
        training.restore(run, step=7)
    with pytest.raises(training.RunError, match="no checkpoint in "):
        training.restore(run.parent)


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    for i in range(0, len(content), 7):
        content[i] ^= 0x55
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip, pathlib.Path.unlink])
def test_damage_to_any_file_is_reported_and_the_checkpoint_before_used(
    trained, tmp_path, damage, caplog
):
    run, _ = trained
    newest = run / "checkpoints" / "10"
    files = [p.relative_to(run) for p in newest.rglob("*") if p.is_file() and p.stat().st_size]
    files = [
        name for name in files if damage is not pathlib.Path.unlink or name.name != "files.json"
    ]
    assert len(files) >= 6
    for i, name in enumerate(files):
        copy = pathlib.Path(shutil.copytree(run, tmp_path / str(i)))
        damage(copy / name)
        caplog.clear()
        assert int(training.restore(copy, toy.make_state()).step) == 8, name
        (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        folder = re.escape(str(copy / "checkpoints"))
        assert re.fullmatch(
            rf"checkpoint 10 in {folder} is damaged \([^\n]+\): using step 8 instead", line
        ), line


def test_the_content_is_checked_also_where_the_seal_is_missing(run, trained, caplog):
    newest = run / "checkpoints" / "10"
    (newest / "files.json").unlink()
    state = training.restore(run, toy.make_state())
    assert training.params_digest(state) == training.params_digest(trained[1].state)
    record = newest / "record" / "metadata"
    record.write_text(record.read_text().replace('"seconds"', '"secomds"'))
    assert int(training.restore(run, toy.make_state()).step) == 8
    assert "(its content is not what was saved)" in caplog.text


def test_a_run_resumes_exactly_from_the_checkpoint_before_a_damaged_one(run, trained, caplog):
    flip(next((run / "checkpoints" / "10" / "state").glob("ocdbt.process_0/d/*")))
    result = toy.train(run, 10, checkpoint_every=4)
    assert result.first_step == 8
    assert training.params_digest(result.state) == training.params_digest(trained[1].state)
    assert "checkpoint 10" in caplog.text
    assert (run / "checkpoints" / "damaged_10").is_dir()
    caplog.clear()
    assert int(training.restore(run)["step"]) == 10
    assert toy.train(run, 10).first_step == 10
    assert not caplog.text


def test_no_good_checkpoint_is_an_error_and_nothing_is_moved(run):
    for step in (4, 8, 10):
        shutil.rmtree(run / "checkpoints" / str(step) / "state")
    message = r"checkpoint 10 in .* is damaged .*checkpoint 4 in .*: no good checkpoint is left"
    with pytest.raises(training.RunError, match=message):
        training.restore(run)
    with pytest.raises(training.RunError, match=message):
        toy.train(run, 20)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["10", "4", "8"]


def test_another_model_is_named(run):
    message = (
        r"checkpoint 10 in .* is of another model: "
        r"params/Dense_0/bias is float32 \[16\] there, float32 \[17\] here; .*\(and 9 more\)"
    )
    with pytest.raises(training.RunError, match=message):
        training.restore(run, toy.make_state(width=17))
    with pytest.raises(training.RunError, match="ema_params/Dense_0/bias is not in this one"):
        training.restore(run, toy.make_state().replace(ema_params=None))
    assert (run / "checkpoints" / "10").is_dir(), "it is not damaged"


def test_a_newer_format_is_not_damage(run, monkeypatch):
    monkeypatch.setattr(stored, "FORMAT", 0)
    with pytest.raises(training.RunError, match="written by a newer version of gen_jax: update it"):
        training.restore(run)


@pytest.mark.parametrize(("mode", "best"), [("min", 3), ("max", 6)])
def test_the_last_and_the_best_are_kept_also_by_a_second_process(tmp_path, mode, best):
    values = {1: 5.0, 2: 4.0, 3: 1.0, 4: float("nan"), 5: 6.0, 6: 9.0, 7: 2.0, 8: 3.0, 9: 3.0}
    options = {"keep": 2, "best": "validation/elbo", "best_mode": mode}
    for steps in ([1, 2, 3, 4, 5], [6, 7, 8, 9]):
        saves = Checkpoints(tmp_path, **options)
        saves.restore_newest({"x": jnp.zeros(2)})
        for step in steps:
            saves.save(step, {"x": jnp.zeros(2)}, {"validation/elbo": values[step]}, {})
        saves.wait()
        saves.close()
    kept = sorted(int(p.name) for p in tmp_path.iterdir())
    assert kept == [best, 8, 9]


def test_the_best_metric_must_be_among_the_scores(tmp_path):
    saves = Checkpoints(tmp_path, best="validation/elbow")
    with pytest.raises(ValueError, match=r"no metric 'validation/elbow' .*: validation/elbo"):
        saves.save(1, {"x": jnp.zeros(2)}, {"validation/elbo": 1.0}, {})
    saves.close()


def test_what_an_interrupted_save_left_is_cleaned_up(run):
    left = run / "checkpoints" / "12.orbax-checkpoint-tmp"
    shutil.copytree(run / "checkpoints" / "10", left)
    assert int(training.restore(run)["step"]) == 10
    toy.train(run, 12)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["10", "12", "8"]


def test_a_checkpoint_is_on_the_disk_before_its_seal_and_before_others_go(
    tmp_path, disk_calls, monkeypatch
):
    removed = []
    rmtree = shutil.rmtree

    def recorded(path, *arguments, **options):
        removed.append((pathlib.Path(path).name, len(disk_calls)))
        rmtree(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", recorded)
    for step in (1, 2):
        disk_calls.clear()
        save(tmp_path, step, toy.make_state(), keep=1)
    folder = tmp_path / "2"
    sealed = disk_calls.index(("replace", folder / "files.json"))
    before = {call[1] for call in disk_calls[: sealed - 1]}  # the last is the seal's own content
    content = [path for path in folder.rglob("*") if path.name != "files.json"]
    assert len(content) > 6
    for path in (*content, folder, tmp_path):
        assert disk_calls.inode(path) in before, path
    assert removed == [("1.deleted", sealed + 2)], "the seal and its name come first"
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_all_that_a_run_writes_is_on_the_disk(tmp_path, disk_calls):
    run = tmp_path / "run"
    toy.train(
        run,
        6,
        checkpoint_every=3,
        sample=lambda state: np.zeros((4, 4, 1), np.uint8),
        evaluate=lambda state: {"validation/loss": 1.0},
    )
    synced = {call[1:] for call in disk_calls if call[0] == "fsync"}
    files = {path for path in run.rglob("*") if path.is_file() and path.parent.name != "events"}
    assert {path.name for path in files} > {"config.json", "metrics.jsonl", "step_00000006.png"}
    for path in files - {run / ".lock"}:
        assert (disk_calls.inode(path), path.stat().st_size) in synced, path


def test_files_of_file_browsers_and_copies_break_nothing(run, trained, caplog):
    folder = run / "checkpoints"
    thumbnails = {"Thumbs.db", ".DS_Store", "desktop.ini"}
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        for name in thumbnails:
            (place / name).write_bytes(b"0")
    shutil.copytree(folder / "10", folder / "12 copy")
    shutil.copytree(folder / "10", folder / "012")
    (folder / "100").write_bytes(b"")
    (folder / "1000").mkdir()
    (folder / "12").write_text("in the way")
    assert sorted(training.saved_metrics(run)) == [4, 8, 10]
    state = training.restore(run, toy.make_state())
    assert training.params_digest(state) == training.params_digest(trained[1].state)
    result = toy.train(run, 14, checkpoint_every=2, keep=1)
    assert (result.first_step, result.steps) == (10, 14)
    assert list(training.saved_metrics(run)) == [14]
    left = {path.name for path in folder.iterdir()} - thumbnails
    assert left == {"14", "12 copy", "012", "100", "1000", "damaged_12"}
    assert not caplog.text


def test_a_record_of_another_shape_is_damage(run):
    newest = run / "checkpoints" / "10"
    (newest / "files.json").unlink()
    for content in ("", "[]", "{}", '{"format": 1, "digest": "x", "metrics": 3}'):
        (newest / "record" / "metadata").write_text(content)
        assert sorted(training.saved_metrics(run)) == [4, 8]
        assert int(training.restore(run)["step"]) == 8


def test_orbax_says_nothing(tmp_path, capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        toy.train(tmp_path / "run", 4, checkpoint_every=2)
        training.restore(tmp_path / "run")
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.name == "absl"]


def test_a_full_disk_in_the_thread_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored, "params_digest", full)
    message = r"^cannot save step 2 in .*/checkpoints: No space left on device$"
    with pytest.raises(training.RunError, match=message):
        toy.train(tmp_path / "run", 10, checkpoint_every=2)


def test_a_disk_that_fills_up_leaves_the_checkpoints_before(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a small disk is not permitted here: {error}")
    try:
        run = disk / "run"
        first = toy.train(run, 2)
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))
        with pytest.raises(training.RunError, match="No space left on device") as stopped:
            toy.train(run, 10, checkpoint_every=2)
        assert "\n" not in str(stopped.value)
        state = training.restore(run, toy.make_state())
        assert training.params_digest(state) == training.params_digest(first.state)
        filler.unlink()
        result = toy.train(run, 10)
        assert result.first_step == 2
        assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)
