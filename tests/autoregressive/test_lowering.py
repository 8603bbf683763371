"""Every network's step and samplers lower for CPU, GPU and TPU, whichever of them is here."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
import zoo
from jax import export

from gen_jax import autoregressive
from gen_jax.autoregressive import Condition
from gen_jax.densities import Bernoulli
from gen_jax.state import TrainState

PLATFORMS = ("cpu", "cuda", "tpu")


def lower(function, *args):
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*args)
    assert exported.platforms == PLATFORMS


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_steps_and_samplers_lower(name, dtype):
    output = zoo.OUTPUTS["mixture"]
    shape = (9, 1) if name == "wavenet" else (5, 4, output.channels)
    model = zoo.NETWORKS[name](output.likelihood, dtype=dtype)
    params = jax.tree.map(jnp.asarray, zoo.draw_params(model, shape))
    state = TrainState.create(
        model=model, tx=optax.adam(1e-3), params=params, key=jax.random.key(0)
    )
    batch = {"image": jnp.zeros((2, *shape), jnp.uint8)}
    lower(autoregressive.train_step, state, batch)
    lower(autoregressive.eval_step, state, batch)
    for method in ("cached", "naive", "jacobi"):
        sample = functools.partial(autoregressive.sample, model, shape=(2, *shape), method=method)
        lower(sample, params, jax.random.key(1))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "encoder",
    [
        autoregressive.ResidualEncoder(4, 2, upsample=2),
        autoregressive.UNetEncoder(4, 1, upsample=2),
        autoregressive.IteratedEncoder(4, 3, stride=2, upsample=2),
    ],
    ids=["residual", "unet", "iterated"],
)
def test_steps_and_samplers_lower_with_an_encoder(encoder, dtype):
    model = zoo.gated(Bernoulli(), condition=encoder.clone(dtype=dtype), dtype=dtype)
    batch = {"image": jnp.zeros((2, 4, 6, 1), jnp.uint8), "spatial": jnp.zeros((2, 2, 3, 3))}
    cond = Condition(spatial=batch["spatial"])
    params = zoo.draw_params(model, (4, 6, 1), Condition(spatial=batch["spatial"][:1]))
    params = jax.tree.map(jnp.asarray, params)
    state = TrainState.create(
        model=model, tx=optax.adam(1e-3), params=params, key=jax.random.key(0)
    )
    lower(autoregressive.train_step, state, batch)
    sample = functools.partial(autoregressive.sample, model, shape=(2, 4, 6, 1))
    lower(lambda params, key, cond: sample(params, key, cond=cond), params, state.key, cond)
