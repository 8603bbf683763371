"""Several processes, and processes that are killed."""

import json
import random
import re
import signal
import socket
import time

import jax
import numpy as np
import pytest
import toy

from gen_jax import training


def finish(process, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)  # they share cores with other tests
    assert process.returncode == code, err
    return out, err


def until(process, said: str) -> None:
    for line in process.stdout:
        if line.strip() == said:
            return
    raise AssertionError(process.stderr.read())


def digest(out: str) -> str:
    found = re.search(r"digest ([0-9a-f]{64})", out)
    assert found, out
    return found[1]


def last_saved(run) -> int:
    return max(training.saved_metrics(run), default=0)


def wait_for_a_save_after(step: int, run) -> None:
    end = time.monotonic() + 120.0
    while last_saved(run) <= step:
        assert time.monotonic() < end, f"nothing was saved after step {step}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory) -> str:
    """The digest of 900 steps in one go."""
    out, _ = finish(start(tmp_path_factory.mktemp("one") / "run", "--steps", 900))
    return digest(out)


@pytest.mark.slow
def test_killed_ten_times_gives_the_uninterrupted_digest(start, tmp_path, uninterrupted):
    moments = random.Random(7)
    run, kills, reached = tmp_path / "run", 0, []
    while True:
        delay_s = 0.02 if kills < 10 else 0.0
        process = start(run, "--steps", 900, "--delay-s", delay_s)
        if kills == 10:
            break
        if kills % 5 == 4:
            time.sleep(moments.uniform(0.0, 2.0))  # while it starts up
        else:
            until(process, "under way")
            if kills % 3 == 2:  # on a busy machine no save may end within the time below
                wait_for_a_save_after(reached[-1], run)
            time.sleep(moments.uniform(0.0, 2.0))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
        kills += 1
        reached.append(last_saved(run))
    out, _ = finish(process)
    assert digest(out) == uninterrupted
    assert len(set(reached)) > 3, f"the kills hit too few moments of the run: {reached}"
    assert not list((run / "checkpoints").glob("*tmp*"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_saves_first_and_resumes_exactly(
    start, tmp_path, uninterrupted, signum, code
):
    run = tmp_path / "run"
    process = start(run, "--steps", 900, "--delay-s", 0.02, "--checkpoint-every", 1000)
    until(process, "under way")
    process.send_signal(signum)
    _, err = finish(process, code)
    said = re.fullmatch(
        r"saved step (\d+) in (.*); the same command resumes from there", err.strip()
    )
    assert said, err
    assert said[2] == str(run)
    assert 0 < int(said[1]) < 900
    assert list(training.saved_metrics(run)) == [int(said[1])]
    out, err = finish(start(run, "--steps", 900))
    assert digest(out) == uninterrupted
    assert f"from {said[1]}" in out
    assert f"resuming from step {said[1]} in {run}" in err


def test_a_second_ctrl_c_ends_at_once(start, tmp_path):
    process = start(tmp_path / "run", "--steps", 900, "--hold", "--delay-s", 300)
    until(process, "first batch")
    process.send_signal(signal.SIGINT)
    until(process, "asked to stop")  # it now waits minutes for that batch
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT


def test_a_folder_in_use_is_refused(start, tmp_path):
    run = tmp_path / "run"
    first = start(run, "--steps", 900, "--delay-s", 0.05)
    while not (run / "config.json").exists():
        time.sleep(0.01)
    with pytest.raises(
        training.RunError, match=rf"in use by a running process \(pid {first.pid}\)"
    ):
        toy.train(run, 600)
    first.kill()
    first.communicate()
    toy.train(run, 1)  # what the kernel let go of


@pytest.mark.slow
def test_debug_nans_resumes_from_the_last_good_checkpoint_and_finds_the_operation(start, tmp_path):
    command = (tmp_path / "run", "--steps", 60, "--bad-step", 46)
    _, err = finish(start(*command), 1)
    said = err.strip().splitlines()[-1]
    assert said.startswith("loss is nan after step 46; the last good checkpoint is step 40")
    assert "JAX_DEBUG_NANS=True" in said
    assert sorted(training.saved_metrics(tmp_path / "run")) == [20, 40]
    _, err = finish(start(*command, JAX_DEBUG_NANS="True"), 1)
    assert "resuming from step 40" in err
    assert "FloatingPointError: invalid value (nan) encountered in log" in err
    assert "loss += jnp.log(" in err, "the traceback does not lead to the line"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_two_processes_agree_with_one_device(start, tmp_path, how):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = tmp_path / "two"
    command = (run, "--steps", 20, "--how", how, "--port", port)
    pair = [start(*command, "--process", i, devices=2) for i in range(2)]
    outs = [finish(process)[0] for process in pair]
    digests = {digest(out) for out in outs}
    assert len(digests) == 1
    for out, rows in zip(outs, ("slice(0, 4, None)", "slice(4, 8, None)"), strict=True):
        assert f"rows {rows}\n" in out, "a process gathers the rows of its own devices only"
    one = toy.train(tmp_path / "one", 20)
    two = training.restore(run, toy.make_state())
    toy.assert_close(two, one.state)
    assert digests == {training.params_digest(two)}
    mesh = training.make_mesh(jax.devices()[:1])
    expected = training.compile_eval(toy.scores, mesh)(two, toy.examples(7))["loss"]
    losses = [json.loads(line) for line in re.findall(r"(?:together|alone) (.*)", "".join(outs))]
    assert len(losses) == 3, "both together, and the first alone"
    for loss in losses:
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert json.loads((run / "environment.json").read_text())["process_count"] == 2
    rows = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [7, 14, 20], "both wrote, or none"
    assert np.isfinite([row["train/loss"] for row in rows]).all()
