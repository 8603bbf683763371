"""The accelerator's benchmark keeps its rows whatever happens, and needs no optional package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments import benchmark_accelerator
from experiments.benchmarks.accelerator import ledger, options, plan, table
from experiments.benchmarks.accelerator.kernels import launches
from experiments.benchmarks.accelerator.tasks import Task
from experiments.running.options import UsageError
from gen_jax import training

pytestmark = pytest.mark.smoke
OPTIONAL = "tensorflow_datasets grain tyro tensorboardX matplotlib jinja2 tqdm PIL safetensors"
BLOCKING = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL.split()}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
from experiments import benchmark_accelerator
from experiments.running.terminal import main
main(lambda: benchmark_accelerator.program(sys.argv[1:]))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on tasks of one's own, and gives what rows.json holds."""

    def run(tasks, *arguments):
        monkeypatch.setattr(benchmark_accelerator, "plan", lambda options: (tasks, []))
        benchmark_accelerator.program(["smoke", "--out", str(tmp_path), *arguments])
        return written(tmp_path)

    return run


def written(folder: Path) -> dict:
    return json.loads((folder / "rows.json").read_text())


def task(dtype: str, measure, **more) -> Task:
    return Task("bare", {"measure": "copy", "dtype": dtype}, measure, **more)


def test_rows_and_the_table_are_written_after_every_row(run, tmp_path):
    def second(seconds):
        assert [row["dtype"] for row in written(tmp_path)["rows"]] == ["one"]
        assert "| copy | one |" in (tmp_path / "table.md").read_text()
        return {"bytes_per_s": 3e9}

    result = run([task("one", lambda seconds: {"bytes_per_s": 2e9}), task("two", second)])
    assert [row["bytes_per_s"] for row in result["rows"]] == [2e9, 3e9]
    assert result["missing"] == []
    text = (tmp_path / "table.md").read_text()
    assert text.startswith(f"# {training.environment()['device']}\n")
    assert "No time" not in text


def test_a_run_resumes_where_it_was_cut_off(run):
    def cut(seconds):
        raise KeyboardInterrupt

    calls = []
    first = task("one", lambda seconds: calls.append("one") or {})
    with pytest.raises(KeyboardInterrupt):
        run([first, task("two", cut)])
    result = run([first, task("two", lambda seconds: calls.append("two") or {})])
    assert calls == ["one", "two"]
    assert [row["dtype"] for row in result["rows"]] == ["one", "two"]


def test_what_had_no_time_is_listed(run, tmp_path):
    tasks = [task("one", lambda seconds: {}), task("two", lambda seconds: {})]
    assert run(tasks, "--minutes", "1e-9")["missing"] == ["copy one", "copy two"]
    tasks[0] = task("one", lambda seconds: {}, likely_s=lambda rows: 1e6)
    result = run(tasks)
    assert ([row["dtype"] for row in result["rows"]], result["missing"]) == (["two"], ["copy one"])
    assert "## No time for\n\n1 rows: copy one." in (tmp_path / "table.md").read_text()


def test_a_failure_is_a_row_with_its_reason(run, tmp_path):
    def fails(seconds):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory | here\nwith a long report")

    tasks = [task("one", fails), task("two", lambda seconds: {"bytes_per_s": 1e9})]
    rows = run(tasks)["rows"]
    assert rows[0]["error"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory | here"
    assert "error" not in rows[1]
    assert r"out of memory \| here |" in (tmp_path / "table.md").read_text()
    assert run([task("one", lambda seconds: {}), tasks[1]])["rows"] == rows


def test_a_row_that_ends_the_process_again_is_a_failure(run):
    def ends(seconds):
        raise SystemExit

    for _ in range(2):
        with pytest.raises(SystemExit):
            run([task("one", ends)])
    (row,) = run([task("one", ends)])["rows"]
    assert row["error"] == "it ended the process more than once"


def test_the_folder_of_another_device_or_of_other_options_is_refused(run, monkeypatch):
    tasks = [task("one", lambda seconds: {})]
    run(tasks)
    run(tasks, "--minutes", "1", "--part", "bare")
    with pytest.raises(training.RunError, match=r"options\.seconds: 0\.05 -> 3\.0; use another"):
        run(tasks, "--seconds", "3")
    monkeypatch.setattr(ledger, "device_name", lambda: "NVIDIA H200")
    with pytest.raises(training.RunError, match=r"device: .*cpu \(.+\) -> NVIDIA H200; use"):
        run(tasks)


def test_times_and_batches_are_positive():
    with pytest.raises(UsageError, match="--batch must be 1 or more, got 0"):
        options.Options(batch=(16, 0))
    with pytest.raises(UsageError, match=r"--minutes must be positive, got 0\.0"):
        options.Options(minutes=0.0)


def test_every_row_has_its_own_name_and_the_most_valuable_come_first():
    tasks, _ = plan.plan(options.Options())
    names = [task.name for task in tasks]
    assert len(set(names)) == len(names)
    parts = list(dict.fromkeys(task.part for task in tasks))
    assert parts == [part for part in options.Options().part if part in parts]
    assert "gated-7x32 cached 4096 float32" in names
    assert [task.part for task in plan.plan(options.Options(part=("paper",)))[0]] == ["paper"] * 3


def test_a_larger_batch_is_expected_to_take_longer():
    tasks, _ = plan.plan(options.Options(part=("headline",)))
    larger = next(task for task in tasks if task.name == "gated-7x32 cached 256 float32")
    row = {"model": "gated-7x32", "method": "cached", "dtype": "float32"}
    rows = {
        "small": {**row, "batch": 1, "run_s": 0.5},
        "middle": {**row, "batch": 16, "run_s": 1.0},
        "other": {**row, "method": "naive", "batch": 16, "run_s": 7.0},
    }
    assert larger.likely_s(rows) == 2 * 16.0
    assert larger.likely_s({}) == 0.0


def test_ratios_stand_beside_the_rows_that_they_are_of():
    alike = {"model": "m", "batch": 2, "dtype": "float32"}
    cached = {"part": "headline", **alike, "method": "cached", "seconds": 2.0}
    rows = [
        cached,
        {"part": "headline", **alike, "method": "forward", "seconds": 0.5},
        {"part": "headline", **alike, "method": "naive", "seconds": 50.0},
        {"part": "headline", **alike, "batch": 4, "method": "naive", "error": "none"},
        {"part": "bare", "measure": "product", "dtype": "float32", "precision": "highest"}
        | {"flops_per_s": 1.0},
        {"part": "bare", "measure": "product", "dtype": "float32", "precision": "default"}
        | {"flops_per_s": 8.0},
    ]
    values = dict(zip(table.SAMPLING, table.cells(cached, table.SAMPLING, rows), strict=True))
    assert (values["x one pass"], values["x naive"]) == (4.0, 25.0)
    step = {"part": "steps", "model": "m", "dtype": "float32", "flops_per_s": 2.0}
    assert table.share_of_bare(step, rows) == "25.0%"
    assert table.share_of_bare({**step, "dtype": "bfloat16"}, rows) is None


def test_kernels_are_those_of_every_trip():
    def text(trips: int, inner: int) -> str | None:
        def row(x, _):
            return lax.scan(lambda x, _: (jnp.sin(x @ x), None), x, None, length=inner)[0] + 1, None

        program = jax.jit(lambda x: lax.scan(row, x, None, length=trips)[0])
        return program.lower(jnp.ones((40, 40))).compile().as_text()

    counts = {(n, k): launches(text(n, k)) for n in (30, 60) for k in (30, 60)}
    assert counts[60, 30] - counts[30, 30] >= 30 * 30
    assert counts[60, 60] - counts[60, 30] == 2 * (counts[30, 60] - counts[30, 30])


def test_kernels_of_a_loop_without_a_known_end_are_not_known():
    loop = jax.jit(lambda x: lax.while_loop(lambda x: x.sum() < 9.0, lambda x: x * 2.0, x))
    assert launches(loop.lower(jnp.ones((40, 40))).compile().as_text()) is None
    assert launches(None) is None


def test_it_runs_without_the_optional_packages(tmp_path):
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
    }
    done = subprocess.run(
        [sys.executable, "-c", BLOCKING, "smoke", "--out", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = written(tmp_path)
    assert [row["error"] for row in result["rows"] if "error" in row] == []
    assert result["missing"] == []
    by_part = {
        part: {row["name"]: row for row in result["rows"] if row["part"] == part}
        for part in table.TITLES
    }
    cached = by_part["headline"]["gated-7x32 cached 2 float32"]
    assert cached["images_per_s"] == pytest.approx(2 / cached["seconds"])
    assert cached["kernels_per_pixel"] > 1
    assert by_part["bare"]["product float32 highest"]["found"] == "float32"
    assert all(row["flops"] > 0 for row in by_part["steps"].values())
    (paper,) = by_part["paper"].values()
    assert paper["score"] == "elbo"
    assert paper["curve"][0][0] == 0.0 < paper["curve"][-1][0]
