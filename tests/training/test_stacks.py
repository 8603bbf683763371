"""The memory of a dispatch is bounded, and its bound changes no bit."""

import numpy as np
import pytest
import toy

from gen_jax import training
from gen_jax.training import stacks

BATCH_BYTES = 8 * 6  # the toy's: eight examples of six bytes


class Recorded(toy.Wrapped):
    """Records the stacks of a run, as they lie on the devices."""

    def __init__(self, step: training.CompiledStep):
        super().__init__(step)
        object.__setattr__(self, "stacks", [])

    def __call__(self, state, batches, n):
        self.stacks.append((self.length(batches), sum(x.nbytes for x in batches.values())))
        return super().__call__(state, batches, n)


class Pictures:
    """Large images, each batch the same."""

    batch_size = 128

    def __init__(self):
        self.asked = []

    def batch_at(self, step, rows=None):
        self.asked.append(step)
        rows = len(range(128)[rows or slice(None)])
        return {"image": np.zeros((rows, 256, 256, 3), np.uint8), "label": np.ones(rows, np.int32)}


def test_large_batches_make_short_stacks_of_this_process_or_of_all():
    for rows, n_rows in ((None, 128), (slice(32, 64), 32)):
        batches = Pictures()
        stack = stacks.stacked(batches, 7, 50, at_most=50, rows=rows)
        assert stack["image"].shape == (2, n_rows, 256, 256, 3)
        assert stack["label"].shape == (2, n_rows)
        assert sum(x.nbytes for x in stack.values()) <= stacks.STACK_BYTES
        assert batches.asked == [7, 8]


def test_a_batch_larger_than_the_bound_comes_alone(monkeypatch):
    monkeypatch.setattr(stacks, "STACK_BYTES", 10)
    batches = toy.Batches()
    assert stacks.stacked(batches, 0, 5, at_most=5, rows=None)["image"].shape == (1, 8, 6)
    assert [step for step, _ in batches.asked] == [0]


def test_a_stack_is_no_longer_than_its_run():
    step = Recorded(toy.compiled(1, k=20_000))
    training.fit(toy.make_state(), step, toy.Batches(), steps=5, quiet=True)
    assert step.stacks == [(5, 5 * BATCH_BYTES)]


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_bounded_cut_and_resumed_runs_share_one_program_and_its_bits(tmp_path, monkeypatch, how):
    whole = toy.train(tmp_path / "whole", 14, step=toy.compiled(2, how, k=7))
    monkeypatch.setattr(stacks, "STACK_BYTES", 3 * BATCH_BYTES + 1)
    step = Recorded(toy.compiled(2, how, k=7))
    bounded = toy.train(tmp_path / "bounded", 14, step=step)
    run = tmp_path / "cut"
    config = toy.Config(steps=14)
    with (
        training.open_run(run, experiment="toy", preset="smoke", config=config) as opened,
        pytest.raises(LookupError),
    ):
        training.fit(
            toy.make_state(),
            step,
            Failing(at=8),
            steps=14,
            run=opened,
            checkpoint_every=5,
            quiet=True,
        )
    resumed = toy.train(run, 14, step=step, checkpoint_every=4)
    assert resumed.first_step == 5
    digests = {training.params_digest(result.state) for result in (whole, bounded, resumed)}
    assert len(digests) == 1
    assert set(step.stacks) == {(3, 3 * BATCH_BYTES)}, "another length is another program"


class Failing(toy.Batches):
    def __init__(self, at: int):
        super().__init__()
        self._at = at

    def batch_at(self, step, rows=None):
        if step == self._at:
            raise LookupError("the disk is gone")
        return super().batch_at(step, rows)


def test_the_length_of_a_stack_changes_no_bit_on_the_cpu():
    digests = set()
    for length in (2, 3, 6):
        step = toy.compiled(1, k=6)
        placed = step.place(toy.make_state())
        for first in range(0, 6, length):
            stack = step.gather(toy.Batches(), first, length, at_most=length)
            assert step.length(stack) == length
            placed, metrics = step(placed, stack, length)
        assert metrics["loss"].shape == (length,)
        digests.add((training.params_digest(placed), float(metrics["loss"][-1])))
    assert len(digests) == 1


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_more_steps_than_a_stack_has_are_refused(how):
    step = toy.compiled(2, how)
    stack = step.gather(toy.Batches(), 0, 2, at_most=2)
    assert step.length(stack) == 2
    with pytest.raises(ValueError, match="cannot run 3 steps on a stack of 2 batches"):
        step(step.place(toy.make_state()), stack, 3)


def test_a_run_of_one_step_is_extended_exactly(tmp_path):
    whole = toy.train(tmp_path / "whole", 6)
    toy.train(tmp_path / "run", 1)
    extended = toy.train(tmp_path / "run", 6)
    assert extended.first_step == 1
    assert training.params_digest(extended.state) == training.params_digest(whole.state)


def test_a_batch_without_arrays_is_refused():
    class Empty(toy.Batches):
        def batch_at(self, step, rows=None):
            return {}

    with pytest.raises(ValueError, match="a batch must hold at least one array, got none"):
        training.fit(toy.make_state(), toy.compiled(), Empty(), steps=1, quiet=True)
