"""The programs that the sampling benchmarks measure: each sampler, and one forward pass."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from experiments.benchmarks.sampling_cases import Case, Options
from experiments.benchmarks.timing import Program
from gen_jax import autoregressive, cores, data, training
from gen_jax.autoregressive import sampling

NAIVE_POSITIONS = 4
WHOLE_NAIVE = 64  # positions: so few are drawn to the end


def naive_stop(case: Case) -> int:
    """The units that the naive sampler draws: all, or a few whose time is scaled."""
    return case.units if case.units <= WHOLE_NAIVE else NAIVE_POSITIONS


def trained(case: Case, steps: int) -> Any:
    """Parameters after so many steps on the shipped digits, brought to the case's shape."""
    side, _, channels = case.shape
    digits = data.load("mnist-subset", "train", image_size=side, channels=channels)
    batches = data.Batches(digits, 32, seed=0)
    step = training.compile_step(
        autoregressive.train_step, training.make_mesh(jax.devices()[:1]), steps_per_dispatch=5
    )
    result = training.fit(case.start(), step, batches, steps=steps, quiet=True)
    return result.state.params


def sampling_programs(
    case: Case, batch: int, params: Any, options: Options
) -> dict[sampling.Method, Program]:
    """The sampler of each method, spread over the devices; the naive one stops early.

    On a CPU that is one device, ``cached`` runs as it does outside of ``jax.jit``: split over the
    cores. Its compilation and memory are those of the program of a whole batch.
    """
    model, shape, cond = case.model, (batch, *case.shape), case.condition(batch)
    stop = naive_stop(case)

    def draw(method: sampling.Method, params: Any, key: Any, cond: Any) -> autoregressive.Sampled:
        if method == "naive":
            task = sampling.make_task(model, params, key, shape, cond=cond)
            value, _ = sampling.naive(task, stop=stop)
            return autoregressive.Sampled(
                model.likelihood.to_data(value), jnp.int32(task.units * task.pixels)
            )
        return autoregressive.sample_counted(model, params, key, shape, method=method, cond=cond)

    mesh = training.make_mesh(jax.devices()[: options.devices])
    spread: Any = NamedSharding(mesh, PartitionSpec("data"))
    everywhere: Any = NamedSharding(mesh, PartitionSpec())
    placed = jax.device_put((params, jax.random.key(1)), everywhere)
    inputs = (*placed, jax.device_put(cond, spread))
    out = autoregressive.Sampled(data=spread, passes=everywhere)
    programs: dict[sampling.Method, Program] = {
        method: Program.of(functools.partial(draw, method), *inputs, out_shardings=out)
        for method in options.method
    }
    if "cached" in programs and cores.on_one_cpu(inputs):
        run = functools.partial(draw, "cached", *inputs)
        called = dataclasses.replace(programs["cached"], run=lambda: jax.block_until_ready(run()))
        programs["cached"] = called
    return programs


def forward_program(case: Case, batch: int, params: Any) -> Program:
    """One pass of the network over a blank batch."""
    inputs = jnp.zeros((batch, *case.shape), jnp.float32), case.condition(batch)
    return Program.of(lambda p, *inputs: case.model.apply({"params": p}, *inputs), params, *inputs)
