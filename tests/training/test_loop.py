"""The loop: exact however it is cut, and never idle without need."""

import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from gen_jax import training
from gen_jax.training import checkpoint
from gen_jax.training.meter import Meter

WAIT_S = 30.0


def fit(steps: int, *, step=None, **options) -> training.FitResult:
    batches = options.pop("batches", toy.Batches())
    return training.fit(
        toy.make_state(), step or toy.compiled(), batches, steps=steps, quiet=True, **options
    )


@pytest.mark.parametrize(("how", "devices"), [("jit", 1), ("jit", 2), ("pmap", 2)])
def test_half_and_half_is_the_whole(tmp_path, how, devices):
    step = toy.compiled(devices, how)
    whole = toy.train(tmp_path / "whole", 20, step=step)
    half = toy.train(tmp_path / "cut", 10, step=step, checkpoint_every=4)
    rest = toy.train(tmp_path / "cut", 20, step=step, checkpoint_every=7)
    assert (half.first_step, half.steps) == (0, 10)
    assert (rest.first_step, rest.steps) == (10, 20)
    assert training.params_digest(rest.state) == training.params_digest(whole.state)
    assert training.params_digest(half.state) != training.params_digest(whole.state)


def test_evaluations_samples_and_saves_do_not_change_a_bit(tmp_path):
    plain = fit(20)
    seen = []

    def evaluate(state):
        seen.append(("evaluate", int(state.step)))
        return {"validation/loss": float(jnp.sum(state.params["Dense_0"]["bias"]))}

    def sample(state):
        seen.append(("sample", int(state.step)))
        return np.zeros((4, 4, 1), np.uint8)

    busy = toy.train(
        tmp_path / "run",
        20,
        checkpoint_every=4,
        evaluate=evaluate,
        eval_every=5,
        sample=sample,
        sample_every=10,
        best="validation/loss",
        log_every=5,
    )
    assert training.params_digest(busy.state) == training.params_digest(plain.state)
    assert seen == [
        ("evaluate", 5),
        ("evaluate", 10),
        ("sample", 10),
        ("evaluate", 15),
        ("evaluate", 20),
        ("sample", 20),
    ]
    assert busy.scores == {"validation/loss": evaluate(busy.state)["validation/loss"]}
    samples = sorted(p.name for p in (tmp_path / "run" / "samples").iterdir())
    assert samples == ["step_00000010.png", "step_00000020.png"]


def test_every_batch_is_asked_for_once_in_order():
    batches = toy.Batches()
    fit(11, batches=batches, evaluate=lambda state: {}, eval_every=4)
    assert [step for step, _ in batches.asked] == list(range(11))


def test_nothing_left_to_do_touches_nothing(tmp_path):
    first = toy.train(tmp_path / "run", 5)
    again = toy.train(tmp_path / "run", 5)
    assert (again.first_step, again.steps) == (5, 5)
    assert training.params_digest(again.state) == training.params_digest(first.state)
    assert again.examples_per_s == first.examples_per_s > 0
    assert again.seconds > 0


def test_the_state_given_stays_valid_and_need_not_be_new():
    state = toy.make_state()
    before = training.params_digest(state)
    halfway = training.fit(state, toy.compiled(), toy.Batches(), steps=4, quiet=True).state
    assert training.params_digest(state) == before
    rest = training.fit(halfway, toy.compiled(), toy.Batches(), steps=8, quiet=True)
    assert training.params_digest(rest.state) == training.params_digest(fit(8).state)


def test_a_plain_step_is_compiled_for_all_devices():
    result = training.fit(toy.make_state(), toy.train_step, toy.Batches(), steps=2, quiet=True)
    assert result.state.params["Dense_0"]["bias"].sharding.num_devices == jax.device_count() == 4
    toy.assert_close(jax.device_get(result.state.params), jax.device_get(fit(2).state.params))


class Watched(toy.Wrapped):
    """Reports when a dispatch is called."""

    def __init__(self, step: training.CompiledStep, called):
        super().__init__(step)
        object.__setattr__(self, "_called", called)

    def __call__(self, state, batches, n):
        self._called()
        return super().__call__(state, batches, n)


def test_the_next_batches_are_gathered_while_the_device_works():
    asked = threading.Event()

    class Batches(toy.Batches):
        def batch_at(self, step, rows=None):
            if step == 3:
                asked.set()
            return super().batch_at(step, rows)

    def called():
        assert asked.wait(WAIT_S), "the second dispatch's batches wait for the first to end"

    fit(6, step=Watched(toy.compiled(), called), batches=Batches())


def test_metrics_are_read_while_the_next_dispatch_runs(monkeypatch):
    order = []
    read = Meter.read

    def watched(self, first, n, metrics):
        order.append(f"read {first}")
        read(self, first, n, metrics)

    monkeypatch.setattr(Meter, "read", watched)
    fit(9, step=Watched(toy.compiled(), lambda: order.append("call")))
    assert order == ["call", "call", "read 0", "call", "read 3", "read 6"]


def test_the_device_works_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    calls, went_on = [], threading.Event()
    nested = checkpoint.nested

    def slow(state):
        assert went_on.wait(WAIT_S), "the loop waits for the disk"
        return nested(state)

    def called():
        calls.append(1)
        if len(calls) == 2:
            went_on.set()

    monkeypatch.setattr(checkpoint, "nested", slow)
    step = Watched(toy.compiled(), called)
    result = toy.train(tmp_path / "run", 9, step=step, checkpoint_every=3, keep=10)
    assert sorted(training.saved_metrics(tmp_path / "run")) == [3, 6, 9]
    monkeypatch.undo()
    for at in (3, 6, 9):  # each holds the state of its moment, not of a later one
        saved = training.restore(tmp_path / "run", toy.make_state(), step=at)
        assert training.params_digest(saved) == training.params_digest(fit(at).state)
    assert training.params_digest(result.state) == training.params_digest(fit(9).state)


def bad_step(at: int, value: float):
    """A compiled step whose loss is ``value`` at update ``at`` (from 1)."""

    def step(state, batch):
        state, metrics = toy.train_step(state, batch)
        loss = jnp.where(state.step == at, value, metrics["loss"])
        return state, {**metrics, "loss": loss}

    return training.compile_step(step, training.make_mesh(jax.devices()[:1]), steps_per_dispatch=3)


def test_a_loss_that_is_not_finite_stops_with_step_checkpoint_and_replay(tmp_path):
    step = bad_step(8, np.nan)
    with pytest.raises(training.RunError) as stopped:
        fit(20, step=step)
    assert str(stopped.value) == (
        "loss is nan after step 8; there is no checkpoint yet: the same command with "
        "JAX_DEBUG_NANS=True in its environment starts over and stops at the operation that made it"
    )
    with pytest.raises(training.RunError) as stopped:
        toy.train(tmp_path / "run", 20, step=step, checkpoint_every=5)
    assert str(stopped.value) == (
        "loss is nan after step 8; the last good checkpoint is step 5 in "
        f"{tmp_path}/run/checkpoints: the same command with JAX_DEBUG_NANS=True in its environment "
        "resumes exactly from it and stops at the operation that made it"
    )
    with pytest.raises(training.RunError, match=r"loss is inf after step 2; .*JAX_DEBUG_INFS=True"):
        fit(3, step=bad_step(2, np.inf))


def test_a_bad_state_is_never_saved(tmp_path):
    def step(state, batch):
        state, metrics = toy.train_step(state, batch)
        poison = jnp.where(state.step == 9, jnp.nan, 0.0)
        return state.replace(params=jax.tree.map(lambda x: x + poison, state.params)), metrics

    step = training.compile_step(step, training.make_mesh(jax.devices()[:1]), steps_per_dispatch=3)
    message = "the state holds a value that is not finite after step 9; .* checkpoint is step 6 in"
    with pytest.raises(training.RunError, match=message):
        toy.train(tmp_path / "run", 20, step=step, checkpoint_every=3)
    assert max(training.saved_metrics(tmp_path / "run")) == 6


@pytest.mark.parametrize("debug", [jax.debug_nans, jax.debug_infs])
def test_debugging_donates_nothing_and_changes_no_bit(debug):
    with debug(True):
        mesh = training.make_mesh(jax.devices()[:1])
        step = training.compile_step(toy.train_step, mesh, steps_per_dispatch=3)
        placed = step.place(toy.make_state())
        after, _ = step(placed, step.gather(toy.Batches(), 0, 3), 3)
        assert not placed.params["Dense_0"]["kernel"].is_deleted()
        assert training.params_digest(after) == training.params_digest(fit(3).state)
        with pytest.raises(FloatingPointError, match=r"\((nan|inf)\) encountered in (log|div)"):
            fit(6, step=debugged(debug))


def debugged(debug) -> training.CompiledStep:
    """A step that makes a NaN, or an infinity, at its fourth update."""

    def step(state, batch):
        state, metrics = toy.train_step(state, batch)
        last = (state.step == 4).astype(jnp.float32)
        bad = jnp.log(1.0 - 2.0 * last) if debug is jax.debug_nans else 1.0 / (1.0 - last)
        return state, {**metrics, "loss": metrics["loss"] + bad}

    return training.compile_step(step, training.make_mesh(jax.devices()[:1]), steps_per_dispatch=3)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_dispatch_and_handlers_come_back(tmp_path, signum):
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]

    class Batches(toy.Batches):
        def batch_at(self, step, rows=None):
            if step == 7:
                os.kill(os.getpid(), signum)
            return super().batch_at(step, rows)

    with pytest.raises(training.Interrupted, match=r"^stopped after step \d+; .* nothing is saved"):
        fit(1000, batches=Batches())
    with (
        training.open_run(
            tmp_path / "run", experiment="toy", preset="smoke", config=toy.Config()
        ) as run,
        pytest.raises(training.Interrupted) as stopped,
    ):
        fit(1000, batches=Batches(), run=run)
    (saved,) = training.saved_metrics(tmp_path / "run")
    assert 6 <= saved < 1000
    assert str(stopped.value) == (
        f"saved step {saved} in {tmp_path}/run; the same command resumes from there"
    )
    assert stopped.value.exit_code == 128 + signum
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_other_threads_train_too():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(4)))
    thread.start()
    thread.join()
    assert training.params_digest(results[0].state) == training.params_digest(fit(4).state)


def test_an_error_of_the_data_reaches_the_caller():
    class Batches(toy.Batches):
        def batch_at(self, step, rows=None):
            if step == 7:
                raise LookupError("image 7 is unreadable")
            return super().batch_at(step, rows)

    with pytest.raises(LookupError, match="image 7 is unreadable"):
        fit(20, batches=Batches())


def test_arguments_that_make_no_sense_are_refused():
    for name in ("eval_every", "sample_every", "log_every"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            fit(3, evaluate=dict, sample=dict, **{name: 0})
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        fit(0)
    with pytest.raises(ValueError, match="best='validation/elbo' needs evaluate"):
        fit(3, best="validation/elbo")


def test_what_is_printed(tmp_path, capsys):
    config = toy.Config()
    for steps in (4, 8):
        with training.open_run(
            tmp_path / "run", experiment="toy", preset="smoke", config=config
        ) as run:
            training.fit(
                toy.make_state(),
                toy.compiled(),
                toy.Batches(),
                steps=steps,
                run=run,
                evaluate=lambda state: {"validation/elbo": -123.456},
            )
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "step 4 of 4: validation/elbo -123.46",
        f"resuming from step 4 in {tmp_path}/run",
        "step 8 of 8: validation/elbo -123.46",
    ]


def test_an_evaluation_that_measures_nothing_says_nothing(capsys):
    training.fit(
        toy.make_state(), toy.compiled(), toy.Batches(), steps=4, evaluate=lambda state: {}
    )
    assert "step 4 of 4: \n" not in capsys.readouterr().err
