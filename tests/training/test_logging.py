"""Digests, rows, events, and lines."""

import io
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gen_jax.training.logging import Console, RunLog
from gen_jax.training.meter import Meter, NotFinite


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder) -> list:
    """The records of a folder's event files: length, checksum, content, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_rows_are_json_and_leave_out_what_is_not_finite(tmp_path):
    log = RunLog(tmp_path, 0)
    log.scalars(5, {"train/loss": np.float32(0.5), "bad": float("nan"), "worse": float("inf")})
    row = rows(tmp_path)[0]  # flushed, before it is closed
    log.close()
    assert row.keys() == {"step", "time", "train/loss"}
    assert (row["step"], row["train/loss"]) == (5, 0.5)
    assert row["time"] >= 0


def test_resume_drops_rows_beyond_the_step_and_a_torn_line(tmp_path):
    log = RunLog(tmp_path, 0)
    for step in (5, 10, 15, 20):
        log.scalars(step, {"x": step})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "ti')
    log = RunLog(tmp_path, 12)
    log.scalars(15, {"x": 99})
    log.close()
    assert [(row["step"], row["x"]) for row in rows(tmp_path)] == [(5, 5), (10, 10), (15, 99)]


def test_resume_drops_lines_that_are_no_rows(tmp_path):
    lines = ["", "3", "null", "[]", "{}", '{"step": "x"}', '{"step": null}', '{"step": NaN}', "[["]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 1}', ""]))
    RunLog(tmp_path, 12).close()
    assert rows(tmp_path) == [{"step": 1}]


def test_samples_are_pngs(tmp_path):
    log = RunLog(tmp_path, 0)
    for step, channels in ((100, 1), (200, 3)):
        image = np.random.default_rng(0).integers(0, 256, (4, 5, channels), dtype=np.uint8)
        log.image(step, "samples", image)
        saved = np.asarray(Image.open(tmp_path / "samples" / f"step_{step:08d}.png"))
        np.testing.assert_array_equal(saved.reshape(image.shape), image)
    for bad in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 1)), np.zeros((4, 5, 2), np.uint8)):
        with pytest.raises(ValueError, match=r"a sample must be uint8 \[height, width, 1 or 3\]"):
            log.image(300, "samples", bad)
    log.close()


def test_tensorboard_sees_scalars_pictures_and_where_a_resume_began(tmp_path):
    image = np.full((4, 5, 3), 7, np.uint8)
    log = RunLog(tmp_path, 12)
    log.scalars(15, {"train/loss": 0.5})
    log.image(16, "samples", image)
    version, start, scalar, picture = events(tmp_path)  # flushed, before it is closed
    log.close()
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (13, start.session_log.START)
    (value,) = scalar.summary.value
    assert (scalar.step, value.tag, value.simple_value) == (15, "train/loss", 0.5)
    shown = Image.open(io.BytesIO(picture.summary.value[0].image.encoded_image_string))
    np.testing.assert_array_equal(np.asarray(shown), image)


def test_training_is_imported_without_what_it_seldom_needs():
    seldom = ["tensorboardX", "orbax", "torch", "PIL", "tqdm", "flax"]
    code = f"import sys; from gen_jax import training; print(set({seldom}) & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("time.monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_now_and_then_and_none_when_quiet(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    loud, quiet = (Console(first=0, steps=100, batch_size=8, quiet=q) for q in (False, True))
    for step in range(1, 31):
        clock.now += 1.0
        for console in (loud, quiet):
            console.progress(step, "loss", 0.5, 8.0)
    quiet.line("nothing")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "step 11 of 100: loss 0.5, 8 examples/s, 1:29 left",
        "step 22 of 100: loss 0.5, 8 examples/s, 1:18 left",
    ]


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(first=40, steps=100, batch_size=8, quiet=False)
    console.progress(100, "loss", 0.25, 1234.5)
    console.line("step 100: done")
    console.close()
    assert "100/100" in terminal.getvalue()
    assert "loss 0.25, 1,234 examples/s" in terminal.getvalue()
    assert "step 100: done\n" in terminal.getvalue()


def meter(log: RunLog | None = None, *, log_every: int = 10) -> Meter:
    return Meter(8, log_every, log, Console(first=0, steps=100, batch_size=8, quiet=True))


def test_rows_are_means_over_the_interval_however_dispatches_are_cut(tmp_path):
    losses = np.arange(1.0, 11.0, dtype=np.float32)
    for name, ns in (("one", [10]), ("cut", [3, 3, 3, 1]), ("single", [1] * 10)):
        (tmp_path / name).mkdir()
        log = RunLog(tmp_path / name, 0)
        reader, first = meter(log, log_every=4), 0
        for n in ns:
            padded = np.concatenate([losses[first : first + n], np.full(3, 777.0, np.float32)])
            reader.read(first, n, {"loss": padded})
            first += n
        reader.flush(10)
        reader.flush(10)
        log.close()
        assert [(row["step"], row["train/loss"]) for row in rows(tmp_path / name)] == [
            (4, 2.5),
            (8, 6.5),
            (10, 9.5),
        ]


def test_speed_counts_neither_the_first_dispatch_nor_pauses(monkeypatch):
    clock = Clock(monkeypatch)
    reader = meter()
    clock.now += 60.0  # compiles
    reader.read(0, 5, {"loss": np.ones(5, np.float32)})
    assert reader.examples_per_s == pytest.approx(5 * 8 / 60)
    for first in (5, 10):
        clock.now += 2.0
        reader.read(first, 5, {"loss": np.ones(5, np.float32)})
        with reader.paused():
            clock.now += 30.0  # evaluates
    assert reader.examples_per_s == pytest.approx(10 * 8 / 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(value):
    loss, other = np.ones(6, np.float32), np.ones(6, np.float32)
    loss[4], other[2] = np.nan, value
    with pytest.raises(NotFinite, match=f"grad_norm is {value}") as found:
        meter().read(20, 6, {"loss": loss, "grad_norm": other})
    assert found.value.step == 23
    assert found.value.infinite == np.isinf(value)
    meter().read(20, 2, {"loss": loss, "grad_norm": other})
