"""One program for every device count, way of compiling, and number of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from jax.sharding import PartitionSpec

from gen_jax import training


def advance(step: training.CompiledStep, state, ns: list[int]):
    """The state after ``sum(ns)`` steps in dispatches of ``ns``, and each step's metrics."""
    placed, first, metrics = step.place(state), int(state.step), []
    for n in ns:
        placed, values = step(placed, step.gather(toy.Batches(), first, n), n)
        metrics.append({name: np.asarray(x)[:n] for name, x in values.items()})
        first += n
    joined = {name: np.concatenate([m[name] for m in metrics]) for name in metrics[0]}
    return step.snapshot(placed)[0], joined


@pytest.fixture(scope="module")
def one_device():
    return advance(toy.compiled(1), toy.make_state(), [3] * 6 + [2])


@pytest.mark.parametrize("how", ["jit", "pmap"])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_devices_agree_over_20_steps(how, devices, one_device):
    state, metrics = advance(toy.compiled(devices, how), toy.make_state(), [3] * 6 + [2])
    toy.assert_close(state, one_device[0])
    for name, values in one_device[1].items():
        np.testing.assert_allclose(metrics[name], values, rtol=2e-4)


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_the_cut_into_dispatches_does_not_change_a_bit(how):
    step = toy.compiled(2, how)
    whole, _ = advance(step, toy.make_state(), [3, 3, 3])
    cut, _ = advance(step, toy.make_state(), [1, 2, 3, 2, 1])
    begun, _ = advance(step, toy.make_state(), [2])
    resumed, _ = advance(step, begun, [3, 1, 3])
    digests = {training.params_digest(state) for state in (whole, cut, resumed)}
    assert len(digests) == 1


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_one_compilation_serves_every_number_of_steps(how):
    traces = []

    def counted(state, batch, *, axis_name=None):
        traces.append(1)
        return toy.train_step(state, batch, axis_name=axis_name)

    mesh = training.make_mesh(jax.devices()[:2])
    step = training.compile_step(counted, mesh, steps_per_dispatch=3, how=how)
    first, _ = advance(step, toy.make_state(), [3, 1, 2, 3])
    advance(step, first, [2, 3])
    assert len(traces) == 1


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_what_is_given_to_place_and_come_by_snapshot_outlives_donation(how):
    step, state = toy.compiled(2, how), toy.make_state()
    before = training.params_digest(state)
    placed = step.place(state)
    copy, sound = step.snapshot(placed)
    batches = step.gather(toy.Batches(), 0, 3)
    after, _ = step(placed, batches, 3)
    assert bool(sound)
    assert placed.params["Dense_0"]["kernel"].is_deleted(), "the state was not donated"
    assert training.params_digest(copy) == training.params_digest(state) == before
    assert training.params_digest(step.snapshot(after)[0]) != before
    assert jax.tree.map(jnp.shape, copy) == jax.tree.map(jnp.shape, state)


def test_a_model_axis_spreads_the_state_and_agrees(one_device):
    def spec(leaf):
        return PartitionSpec(None, "model") if leaf.shape == (6, 16) else PartitionSpec()

    mesh = training.make_mesh(model=2)
    assert dict(mesh.shape) == {"data": 2, "model": 2}
    step = training.compile_step(toy.train_step, mesh, steps_per_dispatch=3, state_spec=spec)
    state, _ = advance(step, toy.make_state(), [3] * 6 + [2])
    kernel = state.params["Dense_0"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (6, 8)
    assert state.opt_state[0].mu["Dense_0"]["kernel"].addressable_shards[0].data.shape == (6, 8)
    toy.assert_close(state, one_device[0])


def test_only_the_steps_asked_for_are_gathered():
    batches = toy.Batches()
    stack = toy.compiled(4).gather(batches, 5, 2)
    assert [step for step, _ in batches.asked] == [5, 6]
    assert stack["image"].shape == (3, 8, 6)
    for i in range(2):
        expected = toy.Batches().batch_at(5 + i)["image"]
        np.testing.assert_array_equal(stack["image"][i], expected)


def test_pmap_gives_each_device_its_rows_in_order():
    stack = toy.compiled(4, "pmap").gather(toy.Batches(), 5, 2)
    assert stack["image"].shape == (4, 3, 2, 6)
    rows = np.moveaxis(np.asarray(stack["image"]), 1, 0).reshape(3, 8, 6)
    np.testing.assert_array_equal(rows[1], toy.Batches().batch_at(6)["image"])


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_a_batch_that_devices_cannot_share_is_refused(how):
    message = "a batch of 6 cannot be spread evenly over 4 devices: choose a multiple of 4"
    with pytest.raises(ValueError, match=message):
        toy.compiled(4, how).gather(toy.Batches(6), 0, 1)


def test_snapshot_tells_a_state_that_is_not_finite():
    step, state = toy.compiled(1), toy.make_state()
    mu = state.opt_state[0].mu

    def sound(**changes) -> bool:
        return bool(step.snapshot(step.place(state.replace(**changes)))[1])

    def filled(tree, value):
        return jax.tree.map(lambda x: x.at[0].set(value), tree)

    def optimizer(value):
        return (state.opt_state[0]._replace(mu=filled(mu, value)), *state.opt_state[1:])

    assert sound()
    assert not sound(params=filled(state.params, jnp.nan))
    assert not sound(ema_params=filled(state.ema_params, -jnp.inf))
    assert not sound(opt_state=optimizer(jnp.nan))
    assert sound(opt_state=optimizer(jnp.inf)), "some optimizers begin with a best loss of inf"


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="model=3 does not divide the 4 devices"):
        training.make_mesh(model=3)
    with pytest.raises(ValueError, match="steps_per_dispatch must be at least 1, got 0"):
        training.compile_step(toy.train_step, steps_per_dispatch=0)
    with pytest.raises(ValueError, match="how must be 'jit' or 'pmap', got 'xmap'"):
        training.compile_step(toy.train_step, how="xmap")
    with pytest.raises(ValueError, match="a model axis needs how='jit'"):
        training.compile_step(toy.train_step, training.make_mesh(model=2), how="pmap")


def test_metrics_that_are_not_scalars_or_not_there_are_refused():
    def step(state, batch):
        return state, {"per_example": batch["image"].astype(jnp.float32).mean(-1)}

    mesh = training.make_mesh(jax.devices()[:1])
    silent = training.compile_step(lambda state, batch: (state, {}), mesh)
    with pytest.raises(
        ValueError, match="the step returns no metrics; it must return at least its loss"
    ):
        silent(silent.place(toy.make_state()), silent.gather(toy.Batches(), 0, 1), 1)
    compiled = training.compile_step(step, mesh)
    batch = compiled.gather(toy.Batches(), 0, 1)
    with pytest.raises(
        ValueError, match=r"metric 'per_example' must be a scalar, got shape \(8,\)"
    ):
        compiled(compiled.place(toy.make_state()), batch, 1)
