"""Evaluation over devices: each example's own result, however many there are of either."""

import dataclasses
import logging

import chex
import jax
import numpy as np
import pytest
import toy

from gen_jax import cores, evaluation, training
from gen_jax.training import evaluating


@pytest.fixture(scope="module")
def compiled():
    """``toy.scores`` on one device and on four, and the shapes it was traced for."""
    traced = []

    def scores(state, batch):
        traced.append(len(batch["image"]))
        return toy.scores(state, batch)

    meshes = [training.make_mesh(jax.devices()[:n]) for n in (1, 4)]
    return (*(training.compile_eval(scores, mesh) for mesh in meshes), traced)


@pytest.fixture
def placed(monkeypatch):
    """The shapes of what goes onto devices through the host."""
    shapes = []
    put = evaluating.put

    def recorded(leaf, layout, sharding):
        shapes.append(leaf.shape)
        return put(leaf, layout, sharding)

    monkeypatch.setattr(evaluating, "put", recorded)
    return shapes


def test_four_devices_agree_with_one_for_every_size_and_compile_once_a_padded_size(compiled):
    one, four, traced = compiled
    state = toy.make_state()
    whole = one(state, toy.examples(7))
    for n in (1, 3, 4, 7):
        traced.clear()
        result = four(state, toy.examples(n))
        assert traced == {1: [4], 7: [8]}.get(n, [])
        assert jax.tree.structure(result) == jax.tree.structure(whole)
        assert result["loss"].shape == (n,)
        assert result["more"]["y"].shape == (n, 6)
        for got, expected in zip(jax.tree.leaves(result), jax.tree.leaves(whole), strict=True):
            assert type(got) is np.ndarray
            np.testing.assert_allclose(got, expected[:n], rtol=1e-5)
    assert result["more"]["label"].tolist() == list(range(7))


def test_each_device_holds_and_computes_its_part_of_the_rows(compiled):
    _, four, _ = compiled
    inside, given = [], []

    def scores(state, batch):
        result = toy.scores(state, batch)
        jax.debug.inspect_array_sharding(result["more"]["y"], callback=inside.append)
        return result

    spread = training.compile_eval(scores, four.mesh)

    def run(state, batch):
        given.extend(batch["image"].addressable_shards)
        return spread._run(state, batch)

    dataclasses.replace(spread, _run=run)(toy.make_state(), toy.examples(7))
    assert [shard.data.shape for shard in given] == [(2, 6)] * 4
    assert {sharding.shard_shape((8, 6)) for sharding in inside} == {(2, 6)}


def test_a_state_on_the_devices_is_not_copied_again(compiled, placed):
    one, four, _ = compiled
    state = toy.make_state()
    there = four.place(state)
    assert len(placed) == len(jax.tree.leaves(state))
    assert training.params_digest(there) == training.params_digest(state)
    placed.clear()
    again = four.place(there)
    assert not placed
    assert all(a is b for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(there), strict=True))
    one.place(state)
    assert not placed, "it was made on this device"
    trained = training.fit(state, toy.compiled(4), toy.Batches(), steps=3, quiet=True).state
    four(trained, toy.examples(4))
    assert sorted(placed) == [(4,), (4, 6)], "only the batch"


def test_an_average_places_its_state_once(compiled, placed):
    def losses(state, batch):
        return {"loss": toy.scores(state, batch)["loss"]}

    state, image = toy.make_state(), toy.examples(7)["image"]
    batches = [
        {"image": image, "label": np.arange(7), "mask": np.arange(7) < real} for real in (7, 7, 2)
    ]
    one, four = (training.compile_eval(losses, step.mesh) for step in compiled[:2])
    average = evaluation.average(four, state, batches)
    assert len(placed) == len(jax.tree.leaves(state)) + 3 * len(batches), "with its numbers"
    plain = evaluation.average(one, state, batches)
    np.testing.assert_allclose(average["loss"], plain["loss"], rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 4])
def test_states_from_anywhere_share_one_compilation(caplog, devices):
    mesh = training.make_mesh(jax.devices()[:devices])
    step, state = training.compile_eval(toy.scores, mesh), toy.make_state()
    host = jax.device_get(state.replace(key=None)).replace(key=state.key)
    trained = training.fit(state, toy.compiled(devices), toy.Batches(), steps=3, quiet=True).state
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for start in (state, step.place(state), host, trained):
            step(start, toy.examples(4))
    lines = [line for line in caplog.messages if line.startswith("Finished XLA compilation")]
    assert len([line for line in lines if "scores" in line]) == 1


def test_a_batch_of_any_length_is_computed_in_chunks_by_one_program(compiled):
    def doubled(state, batch):
        traced.append(len(batch["image"]))
        y = 2.0 * batch["image"] + state.params["Dense_1"]["bias"][None]
        return {"more": (y, batch["label"])}

    traced: list[int] = []
    state, whole = toy.make_state(), toy.examples(7)
    batch = {"image": whole["image"].astype(np.float32), "label": whole["label"], "cond": {}}
    for mesh, padded in ((compiled[0].mesh, (1, 3, 7)), (compiled[1].mesh, (4, 4, 8))):
        step = training.compile_eval(doubled, mesh)
        expected = step(state, batch)
        for size, rows in zip((1, 3, 99), padded, strict=True):
            traced.clear()
            result = step.in_chunks(state, batch, size)
            assert set(traced) <= {rows}
            assert len(traced) <= 1
            jax.tree.map(np.testing.assert_array_equal, result, expected)
            assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(result))
    with pytest.raises(ValueError, match="a chunk has 1 or more rows, got a size of 0"):
        compiled[0].in_chunks(state, batch, 0)
    with pytest.raises(ValueError, match="a batch must be arrays of B >= 1 examples each, got"):
        compiled[0].in_chunks(state, {"image": np.zeros((0, 6))}, 3)


def test_what_makes_no_sense_is_refused(compiled):
    one, _, _ = compiled
    two, three, none = np.zeros((2, 6)), np.zeros(3), np.zeros((0, 6))
    for batch in ({}, {"image": none}, {"image": two, "label": three}, {"image": np.zeros(())}):
        with pytest.raises(ValueError, match="a batch must be arrays of B >= 1 examples each, got"):
            one(toy.make_state(), batch)
    mean = training.compile_eval(lambda state, batch: {"loss": batch["x"].mean()}, one.mesh)
    message = r"result\['loss'\] must have one row per example, \[3, \.\.\.\], got \(\)"
    with pytest.raises(ValueError, match=message):
        mean(toy.make_state(), {"x": np.ones(3, np.float32)})


def test_an_evaluation_does_not_depend_on_the_number_of_cores(monkeypatch):
    mesh = training.make_mesh(jax.devices()[:1])
    state, batch = toy.make_state(), toy.examples(7)
    traced = []

    def first_layer(state, batch):
        traced.append(len(batch["image"]))
        y = batch["image"] @ state.params["Dense_0"]["kernel"]
        return {"y": y, "more": {"label": batch["label"], "none": {}}}

    whole = training.compile_eval(first_layer, mesh)(state, batch)
    cut = training.compile_eval(first_layer, mesh, on_cores=True)
    for available, size in ((1, 7), (3, 3)):
        monkeypatch.setattr(cores, "n_cores", lambda n=available: n)
        traced.clear()
        for _ in range(2):  # compiled once
            result = cut(state, batch)
        assert traced == [size]
        chex.assert_trees_all_close(result, whole, rtol=1e-5)
        assert all(type(x) is np.ndarray for x in jax.tree.leaves(result))
