"""Every public step and sampler gives the numbers of one device on every kind of mesh.

A new model joins by a row in ``CASES``, its sampler by one in ``SAMPLERS``.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_kinds import AXIS, MESHES
from mesh_models import CASES, INPUTS, NETWORKS, SAMPLERS

from gen_jax.meshes import mean_gradients, mean_over_devices

N_STEPS = 5


# Training


@functools.cache
def trained_on_one_device(name):
    """The state after ``N_STEPS``, and the last metrics."""
    case = CASES[name]
    return trained(case, jax.jit(case.step), case.start())


def trained(case, step, state):
    for _ in range(N_STEPS):
        state, metrics = step(state, case.batch)
    return state, metrics


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize(
    ("name", "n_devices"),
    [(name, 4) for name in CASES] + [(name, 1) for name in ("vae", "row-lstm")],
)
def test_a_step_over_devices_is_that_of_one(name, mesh, n_devices):
    """Whole states and metrics, to a small part of how far the parameters move."""
    case = CASES[name]
    axis_name = None if mesh in ("automatic", "explicit") else AXIS
    step = MESHES[mesh](case.step, n_devices, reduced=True)
    start = case.start(axis_name)
    after, metrics = trained(case, step, start)
    expected, expected_metrics = trained_on_one_device(name)
    moved = max(
        float(np.abs(a - b).max())
        for a, b in zip(*map(jax.tree.leaves, (expected.params, start.params)), strict=True)
    )
    for ours, theirs in zip(*map(jax.tree.leaves, (after, expected)), strict=True):
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-3 * moved)
    for key, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def test_a_step_that_is_not_told_of_an_axis_refuses_it():
    """Its gradients would be sums over the devices."""
    for name in ("autoencoder", "vae", "gan"):
        case = CASES[name]

        def step(state, batch, axis_name, step=case.step):
            return step(state, batch)

        with pytest.raises(ValueError, match="only when called with axis_name='data'"):
            MESHES["shard_map"](step, 4, reduced=True)(case.start(), case.batch)


# Evaluation and sampling


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize(
    "name",
    [
        "iwae",
        "autoencoder",
        *NETWORKS,
        "gan-r1-classes",
        "began",
        "pix2pix",
        "cyclegan",
        "joint-embedding",
        "text-to-image",
        "style",
    ],
)
def test_an_evaluation_over_devices_is_that_of_one(name, mesh):
    case = CASES[name]
    state = case.start()
    metrics = MESHES[mesh](case.evaluate, 4, reduced=False)(state, case.batch)
    for key, value in evaluated_on_one_device(name).items():
        assert value.shape == (8,)
        np.testing.assert_allclose(metrics[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


@functools.cache
def evaluated_on_one_device(name):
    case = CASES[name]
    return jax.jit(case.evaluate)(case.start(), case.batch)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_drawn_over_devices_are_those_of_one(name, mesh):
    state = CASES[name.split(",")[0]].start()
    drawn = MESHES[mesh](SAMPLERS[name], 4, reduced=False)(state, INPUTS)
    np.testing.assert_array_equal(drawn, sampled_on_one_device(name))
    if mesh != "pmap":
        assert drawn.sharding.shard_shape(drawn.shape)[0] == 2


@functools.cache
def sampled_on_one_device(name):
    drawn = jax.jit(SAMPLERS[name])(CASES[name.split(",")[0]].start(), INPUTS)
    assert len(np.unique(np.asarray(drawn).reshape(8, -1), axis=0)) > 1
    return drawn


def test_gradients_values_and_what_comes_with_them_are_means_over_devices():
    params = {"w": jnp.array([1.0, 2.0])}

    def local(x):
        def loss(params):
            return (params["w"] * x).sum(), {"x": x}

        return mean_gradients(loss, params, AXIS)

    x = jnp.arange(6.0).reshape(3, 2)
    grads, value, aux = jax.vmap(local, axis_name=AXIS)(x)
    np.testing.assert_allclose(grads["w"], np.broadcast_to(x.mean(0), (3, 2)))
    np.testing.assert_allclose(value, np.full(3, (x @ params["w"]).mean()))
    np.testing.assert_allclose(aux["x"], np.broadcast_to(x.mean(0), (3, 2)))


def test_mean_over_devices_averages_only_over_a_named_axis():
    values = jnp.arange(4.0)
    averaged = jax.vmap(lambda x: mean_over_devices({"x": x}, AXIS), axis_name=AXIS)(values)
    np.testing.assert_array_equal(averaged["x"], jnp.full(4, 1.5))
    assert mean_over_devices(values, None) is values
