"""Samples do not depend on the number of cores that draw them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.sharding import NamedSharding, PartitionSpec

from gen_jax import autoregressive, cores, training
from gen_jax.autoregressive import Condition, Evidence
from gen_jax.densities import Bernoulli


@pytest.mark.parametrize("name", ["gated", "wavenet"])
@pytest.mark.parametrize("x64", [False, True])
def test_samples_do_not_depend_on_the_number_of_cores(with_cores, monkeypatch, name, x64):
    """With classes and evidence, also in float64, which JAX allows for one thread alone here."""
    calls = []
    at_once = cores.at_once
    monkeypatch.setattr(cores, "at_once", lambda run, c: calls.append(len(c)) or at_once(run, c))
    with jax.enable_x64(x64):
        dtype = jnp.float64 if x64 else jnp.float32
        shape = (9, 1) if name == "wavenet" else (4, 4, 1)
        kind = zoo.OUTPUTS["levels" if name == "wavenet" else "binary"]
        model = zoo.NETWORKS[name](kind.likelihood, n_classes=3, dtype=dtype)
        params = zoo.draw_params(model, shape, Condition(label=jnp.zeros(1, jnp.int32)))
        params = jax.tree.map(lambda p: jnp.asarray(p, dtype), params)
        n = 5
        data = zoo.some_data(model.likelihood, (n, *shape))
        mask = np.random.default_rng(0).random((n, *shape)) < 0.3
        drawn = {}
        for available in (1, 2, 3):
            with_cores(available)
            drawn[available] = autoregressive.sample(
                model,
                params,
                jax.random.key(3),
                (n, *shape),
                cond=jnp.arange(n) % 3,
                evidence=Evidence(data, jnp.asarray(mask)),
                numbers=jnp.arange(n) * 7,
            )
    assert calls == [2, 3]
    for available in (2, 3):
        assert type(drawn[available]) is type(drawn[1])
        assert drawn[available].dtype == drawn[1].dtype
        np.testing.assert_array_equal(drawn[1], drawn[available])


def test_a_batch_on_several_devices_or_within_jit_is_one_program(with_cores, monkeypatch):
    with_cores(2)

    def refuse(run, calls):
        raise AssertionError("cut over cores")

    monkeypatch.setattr(cores, "at_once", refuse)
    model, shape = zoo.NETWORKS["gated"](Bernoulli()), (4, 4, 1)
    params, key = zoo.draw_params(model, shape), jax.random.key(0)
    spread = PartitionSpec("data")
    numbers = jax.device_put(jnp.arange(4), NamedSharding(training.make_mesh(), spread))
    everywhere = NamedSharding(training.make_mesh(), PartitionSpec())
    params, key = jax.device_put((params, key), everywhere)
    drawn = autoregressive.sample(model, params, key, (4, *shape), numbers=numbers)
    assert len(drawn.sharding.device_set) == len(jax.devices())
    jitted = jax.jit(lambda p, k: autoregressive.sample(model, p, k, (4, *shape)))
    np.testing.assert_array_equal(jitted(params, jax.random.clone(key)), drawn)


def test_within_jit_a_batch_is_one_program_also_where_all_arrays_are_constants(with_cores):
    with_cores(2)
    model, shape = zoo.NETWORKS["gated"](Bernoulli()), (4, 4, 1)
    params, numbers = zoo.draw_params(model, shape), jnp.arange(4)

    def draw():
        key = jax.random.key(0)
        return autoregressive.sample(model, params, key, (4, *shape), numbers=numbers)

    np.testing.assert_array_equal(jax.jit(draw)(), draw())


def test_samples_are_free_to_join_arrays_of_other_devices(with_cores):
    """Where nothing was put on a device of its own; what was drawn on a mesh stays on it."""
    model, shape = zoo.NETWORKS["gated"](Bernoulli()), (4, 4, 1)
    params, mesh = zoo.draw_params(model, shape), training.make_mesh()
    spread = NamedSharding(mesh, PartitionSpec("data"))
    others = jax.device_put(jnp.ones((4, *shape), jnp.int32), spread)
    for available in (1, 2):
        with_cores(available)
        drawn = autoregressive.sample(model, params, jax.random.key(0), (4, *shape))
        assert (drawn + others).sharding.is_equivalent_to(spread, 4)


def test_samples_stay_on_the_device_that_drew_them(with_cores):
    with_cores(2)
    model, shape = zoo.NETWORKS["gated"](Bernoulli()), (4, 4, 1)
    given = zoo.draw_params(model, shape), jax.random.key(0), jnp.arange(4)
    params, key, numbers = jax.device_put(given, jax.devices()[1])
    drawn = autoregressive.sample(model, params, key, (4, *shape), numbers=numbers)
    assert drawn.devices() == {jax.devices()[1]}
