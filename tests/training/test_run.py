"""The run folder: what it says, whom it refuses."""

import dataclasses
import errno
import json
import os
import pathlib
import sys
from typing import Any, Literal

import jax
import numpy as np
import pytest
import toy

from gen_jax import training
from gen_jax.cores import n_cores


@dataclasses.dataclass(frozen=True)
class Decay:
    rate: float = 0.9
    after: int | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float = 1e-3
    batch_size: int = 128
    widths: tuple[int, ...] = (200, 200)
    image: tuple[int, int, str] = (28, 28, "gray")
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    decay: Decay = Decay()
    ema: float | None = None
    data_dir: pathlib.Path | None = None
    conv: bool = False
    steps: int = dataclasses.field(default=10, metadata={"identity": False})
    quiet: bool = dataclasses.field(default=False, metadata={"identity": False})


@dataclasses.dataclass(frozen=True)
class LaterConfig(Config):
    momentum: float = 0.0


def open_run(folder, config: Any = None, **changes) -> training.Run:
    config = dataclasses.replace(config or Config(), **changes)
    return training.open_run(folder, experiment="vae", preset="smoke", config=config)


def summarize(run: training.Run, **changes) -> dict[str, Any]:
    content = {"dataset": "mnist-subset", "params": {}, "steps": 100, "wall_s": 1.5}
    content |= {"examples_per_s": 1000, "metrics": {}}
    return run.write_summary(**(content | changes))


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(ema=0.99, data_dir=pathlib.Path("/data"), decay=Decay(0.5, 3), widths=(), conv=True),
    ],
)
def test_a_config_comes_back_equal(tmp_path, config):
    open_run(tmp_path / "a" / "run", config).close()
    assert training.load_config(Config, tmp_path / "a" / "run") == config
    assert training.experiment_of(tmp_path / "a" / "run") == ("vae", "smoke")


def test_config_json_and_environment_json_say_what_was_run(tmp_path):
    open_run(tmp_path).close()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert set(saved) == {"format", "experiment", "preset", "config"}
    assert (saved["format"], saved["experiment"], saved["preset"]) == (1, "vae", "smoke")
    assert saved["config"]["decay"] == {"rate": 0.9, "after": None}
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["device_count"] == jax.device_count() == 4
    assert environment["device"] == f"cpu ({n_cores()} cores, 4 devices)"
    assert environment["command"].startswith(sys.orig_argv[0])


def test_another_config_is_refused_field_by_field(tmp_path):
    open_run(tmp_path).close()
    with pytest.raises(training.RunError) as refused:
        open_run(tmp_path, learning_rate=0.1, decay=Decay(after=5), widths=(64,), steps=20)
    assert str(refused.value) == (
        f"{tmp_path} holds another run (old -> new): learning_rate: 0.001 -> 0.1; "
        "widths: [200, 200] -> [64]; decay.after: null -> 5; "
        "use another run folder for another config"
    )
    with pytest.raises(training.RunError, match="experiment: vae -> gan; preset: smoke -> paper"):
        training.open_run(tmp_path, experiment="gan", preset="paper", config=Config())
    with pytest.raises(training.RunError, match=r"momentum: \(no such field\) -> 0.0; use another"):
        open_run(tmp_path, LaterConfig())
    with pytest.raises(training.RunError, match=r"\): learning_rate: 0.001 -> 0.1; use another"):
        open_run(tmp_path, LaterConfig(learning_rate=0.1))
    assert training.load_config(Config, tmp_path) == Config(), "a refusal changes nothing"


def test_how_long_a_run_goes_is_not_its_identity(tmp_path):
    open_run(tmp_path).close()
    with open_run(tmp_path, steps=20, quiet=True) as run:
        assert training.load_config(Config, tmp_path) == Config(), "it has done nothing yet"
        run.write_config()
    assert training.load_config(Config, tmp_path) == Config(steps=20, quiet=True)


def test_a_start_without_work_leaves_the_config_to_which_the_results_belong(tmp_path):
    def steps():
        return training.load_config(toy.Config, tmp_path / "run").steps

    toy.train(tmp_path / "run", 4)
    toy.train(tmp_path / "run", 2)
    assert steps() == 4
    toy.train(tmp_path / "run", 5)
    assert steps() == 5


def test_a_summary_belongs_to_the_config_beside_it(tmp_path):
    open_run(tmp_path).close()
    with open_run(tmp_path, steps=20) as run:
        summarize(run)
    assert training.load_config(Config, tmp_path) == Config(steps=20)


def test_a_config_that_json_cannot_hold_is_refused_at_once(tmp_path):
    with pytest.raises(TypeError, match="Config does not come back equal from JSON"):
        open_run(tmp_path / "run", widths=[200, 200])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_sise": 64}, "unknown field batch_sise in config"),
        ({"batch_size": None}, "batch_size must be int, got None"),
        ({"batch_size": True}, "batch_size must be int, got True"),
        ({"learning_rate": "fast"}, "learning_rate must be float, got 'fast'"),
        ({"image": [28, 28]}, r"image must have 3 values, got \[28, 28\]"),
        ({"widths": 3}, "widths must be a list, got 3"),
        ({"decay": {"rate": 0.9}}, "missing field after in decay"),
        ({"decay": 3}, "decay must be an object, got 3"),
    ],
)
def test_fields_that_do_not_fit_are_named(tmp_path, change, message):
    open_run(tmp_path).close()
    saved = json.loads((tmp_path / "config.json").read_text())
    saved["config"] |= change
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(training.RunError, match=f"config.json does not fit Config: {message}"):
        training.load_config(Config, tmp_path)


def test_missing_fields_a_newer_format_and_damage_are_told_apart(tmp_path):
    open_run(tmp_path).close()
    path = tmp_path / "config.json"
    with pytest.raises(training.RunError, match="missing field momentum in config"):
        training.load_config(LaterConfig, tmp_path)
    whole = path.read_text()
    path.write_text(whole.replace('"format": 1', '"format": 2'))
    newer = r"newer version of gen_jax \(format 2, this one reads 1\): update gen_jax"
    for action in (lambda: training.load_config(Config, tmp_path), lambda: open_run(tmp_path)):
        with pytest.raises(training.RunError, match=newer):
            action()
    damages = [whole[:40], "[]", "{}", "3", '{"format": "one"}', '{"format": 1}', "[" * 10_000]
    damages.append(json.dumps(json.loads(whole) | {"config": [3]}))
    for damaged in damages:
        path.write_text(damaged)
        for action in (lambda: training.load_config(Config, tmp_path), lambda: open_run(tmp_path)):
            with pytest.raises(training.RunError, match=r"config\.json is damaged"):
                action()
    with pytest.raises(training.RunError, match=r"is not a run folder: no config\.json"):
        training.load_config(Config, tmp_path / "nowhere")


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        training.RunError, match=r"not a run folder and not empty \(.*thesis\.tex\)"
    ):
        open_run(tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_a_start_that_was_killed_before_its_config_can_be_repeated(tmp_path):
    (tmp_path / ".lock").write_text("123\n")
    (tmp_path / ".config.json.122.partial").write_text("{")
    open_run(tmp_path).close()
    assert training.load_config(Config, tmp_path) == Config()


def test_one_folder_has_one_run_at_a_time(tmp_path):
    with open_run(tmp_path), pytest.raises(training.RunError, match="in use by a running process"):
        open_run(tmp_path)
    open_run(tmp_path).close()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_locked_is_used_with_a_warning(tmp_path, monkeypatch, caplog, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    with open_run(tmp_path):
        assert training.load_config(Config, tmp_path) == Config()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"{tmp_path} cannot be locked ({os.strerror(code)}): start one process at a time on it"
    )


def test_a_refusal_lets_go_of_the_folder(tmp_path):
    open_run(tmp_path).close()
    for _ in range(2):
        with pytest.raises(training.RunError, match="holds another run"):
            open_run(tmp_path, batch_size=1)


@pytest.mark.parametrize("name", ["a file/run", "a file"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path, name):
    (tmp_path / "a file").write_text("")
    with pytest.raises(
        training.RunError, match=r"^cannot write .*a file.*: (Not a dir|File exists)"
    ):
        open_run(tmp_path / name)


def test_a_summary_is_read_whole_or_not_at_all(tmp_path, caplog):
    assert training.read_summary(tmp_path / "run") is None
    with open_run(tmp_path / "run") as run:
        written = summarize(run, metrics={"test/nll": 85.5, "binarization": "dynamic"})
    assert training.read_summary(tmp_path / "run") == written
    assert not caplog.text
    path = tmp_path / "run" / "summary.json"
    whole = path.read_bytes()
    broken = [whole[:n] for n in range(len(whole) - 2)]
    broken += [b"\xff", b"\0" * 9, b"[]", b"3", b"null", b"{}", b"[" * 10_000]
    broken.append(json.dumps(written | {"metrics": None}).encode())
    for content in broken:
        path.write_bytes(content)
        caplog.clear()
        assert training.read_summary(tmp_path / "run") is None, content
        (line,) = caplog.messages
        assert line == f"{path} is damaged: not the JSON of a run's summary: it is ignored"
    path.unlink()
    path.mkdir()
    assert training.read_summary(tmp_path / "run") is None


def test_summary_json_has_exactly_its_fields(tmp_path):
    params = {"w": np.ones((3, 4), np.float32), "b": np.zeros(4, np.float32)}
    metrics = {"test/nll": np.float32(90.5), "iwae_k": 5000, "binarization": "dynamic"}
    with open_run(tmp_path) as run:
        returned = summarize(run, params=params, metrics=metrics)
    assert json.loads((tmp_path / "summary.json").read_text()) == returned
    assert returned == {
        "experiment": "vae",
        "preset": "smoke",
        "dataset": "mnist-subset",
        "steps": 100,
        "n_params": 16,
        "params_digest": training.params_digest(params),
        "device": returned["device"],
        "jax_version": jax.__version__,
        "wall_s": 1.5,
        "examples_per_s": 1000.0,
        "metrics": {"test/nll": 90.5, "iwae_k": 5000, "binarization": "dynamic"},
    }


def test_a_mistake_before_any_work_leaves_the_folder_to_the_corrected_command(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), open_run(folder, batch_size=3):
        raise ZeroDivisionError
    with open_run(folder, batch_size=4):
        (folder / "checkpoints").mkdir()
    with pytest.raises(ZeroDivisionError), open_run(folder, batch_size=4):
        raise ZeroDivisionError
    with pytest.raises(training.RunError, match="batch_size"):
        open_run(folder, batch_size=3)
