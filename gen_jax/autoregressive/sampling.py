"""Three samplers that draw the same image for the same key, as far as rounding allows.

A unit's value is a function of the units before it and of uniform numbers that belong to its
position: ``fold_in(key, position)``, then the number of the example. So the model and the key
define one image, and the samplers differ only in how they find it:

- ``naive``: one pass of the whole network for each unit. The reference.
- ``cached``: the network's row and pixel steps (``network.py``), each computed once: about the
  arithmetic of a single pass (Ramachandran et al. 2017).
- ``jacobi``: all units at once, again and again until nothing changes: few wide passes (Song et
  al. 2021). At the latest every pass settles one more unit.

They add the same numbers in different orders, but draw by halves (``densities/sequential.py``), so
that rounding changes about as many draws as it moves probability. After a draw that changes, the
rest of that image may differ:

- float64: the same images, exactly.
- float32: at least 99.5 % of images are the same, even of 256 levels by a mixture of logistics.
- bfloat16: all draw from nearly the distribution of float32, but not the same images. Of binary
  images of 28×28 pixels, by a Gated PixelCNN trained on digits, four in five are the same for
  ``cached`` and ``jacobi``, and 99 % of pixels; of 256 levels, by a small PixelCNN++ trained on
  them, one pass over a cached image redraws over half of the images unchanged.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.sharding import PartitionSpec
from jaxtyping import Bool, Float, Int

from gen_jax import cores
from gen_jax.autoregressive.network import Network, embedded, read_condition
from gen_jax.densities.sequential import Given, Sequential
from gen_jax.meshes import automatic, batch_spec, vary_like
from gen_jax.nn.condition import Condition
from gen_jax.state import sample_numbers
from gen_jax.typing import Array, Numbers, Params, PRNGKey

Method = Literal["cached", "naive", "jacobi"]


@flax.struct.dataclass
class Evidence:
    """Pixels held fixed: stored data, kept where ``mask`` is true; the rest is drawn.

    Both [B, *space, C], or with 1 in the place of the batch or of the mask's channels.
    """

    data: Array
    mask: Bool[Array, "batch_or_1 *space channels_or_1"]


class Sampled(NamedTuple):
    """What was drawn, as it is stored [B, *space, C], and how many passes of the network it took
    (for ``cached``, whose steps add up to one, 1)."""

    data: Array
    passes: Int[Array, ""]


def sample(
    model: Network,
    params: Params,
    key: PRNGKey,
    shape: tuple[int, ...],
    *,
    method: Method = "cached",
    cond: Any = None,
    evidence: Evidence | None = None,
    temperature: float | Array = 1.0,
    numbers: Numbers | None = None,
) -> Array:
    """Draws ``shape`` = (B, *space, C) as it is stored: uint8 images, int16 sound.

    Pure: usable inside ``jax.jit`` and on every mesh; outside of it a call is one program, compiled
    once for equal models, shapes and methods. Where JAX sees a CPU as one device, such a call
    splits the batch of ``cached`` over its cores (``gen_jax.cores``) and returns when all of it is
    drawn. ``cond`` is what ``log_prob`` takes. ``temperature`` below 1 sharpens every conditional
    distribution. Example b depends on the key and on ``numbers[b]`` (b, unless given) alone: a
    large batch may be drawn in pieces, and is spread over devices as its numbers are.

    Raises ``ValueError`` for a shape, a method, a condition, evidence, a temperature or numbers
    that cannot be.
    """
    return sample_counted(
        model,
        params,
        key,
        shape,
        method=method,
        cond=cond,
        evidence=evidence,
        temperature=temperature,
        numbers=numbers,
    ).data


def sample_counted(
    model: Network,
    params: Params,
    key: PRNGKey,
    shape: tuple[int, ...],
    *,
    method: Method = "cached",
    cond: Any = None,
    evidence: Evidence | None = None,
    temperature: float | Array = 1.0,
    numbers: Numbers | None = None,
) -> Sampled:
    """``sample``, with the number of passes."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    task = make_task(
        model,
        params,
        key,
        shape,
        cond=cond,
        evidence=evidence,
        temperature=temperature,
        numbers=numbers,
    )
    if method == "cached" and cores.on_one_cpu(task):
        return _drawn_on_cores(task, method)
    return _drawn(task, method)


def _drawn_on_cores(task: "Task", method: Method) -> Sampled:
    n = len(task.numbers)
    tasks = [task.some(rows) for rows in cores.pieces(n)]
    if len(tasks) == 1:
        return _drawn(task, method)
    run = _drawn.lower(tasks[0], method).compile()
    drawn = cores.at_once(run, [(some,) for some in tasks])
    data, like = cores.joined([some.data for some in drawn], n), drawn[0].data
    data = jax.device_put(data, like.sharding) if like.committed else jnp.asarray(data)
    return Sampled(data, drawn[0].passes)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _drawn(task: "Task", method: Method) -> Sampled:
    def draw(task: Task) -> Sampled:
        value, passes = METHODS[method](task)
        return Sampled(task.model.likelihood.to_data(value), passes)

    specs: Any = Sampled(batch_spec(task.numbers), PartitionSpec())  # pyright: ignore -- a spec each
    return automatic(draw, specs, task)


@flax.struct.dataclass(kw_only=True)
class Task:
    """What is to be drawn, in the form that all samplers share."""

    model: Network = flax.struct.field(pytree_node=False)
    shape: tuple[int, ...] = flax.struct.field(pytree_node=False)  # batch, *space, channels
    params: Params
    key: PRNGKey
    numbers: Numbers
    cond: Condition | Array | None
    given: Given | None  # [B, pixels, units, n_values]
    temperature: float | Array

    @property
    def units(self) -> int:
        return self.model.likelihood.units(self.shape[-1])

    @property
    def pixels(self) -> int:
        return int(np.prod(self.shape[1:-1]))

    def some(self, rows: slice) -> "Task":
        """The same for these examples only."""
        by_example = self.numbers, self.cond, self.given
        numbers, cond, given = jax.tree.map(lambda x: np.asarray(x)[rows], by_example)
        shape = (len(numbers), *self.shape[1:])
        return dataclasses.replace(self, shape=shape, numbers=numbers, cond=cond, given=given)

    def embedded(self) -> "Task":
        """The same with its condition embedded: no encoder runs within a sampler's loop."""
        network: Any = self.model
        cond = network.apply({"params": self.params}, self.cond, self.shape, method=embedded)
        return dataclasses.replace(self, cond=cond)

    def start(self) -> Array:
        """Values [B, pixels, units, n_values] before anything is drawn: zero, or what is given."""
        shape = (self.shape[0], self.pixels, self.units, self.shape[-1] // self.units)
        likelihood = self.model.likelihood
        stored = jnp.zeros(self.shape[-1:], _stored_dtype(likelihood))
        blank = jnp.zeros(shape, likelihood.quantize(stored).dtype)
        return vary_like(blank if self.given is None else self.given.over(blank), self)

    def noise(self) -> Float[Array, "batch pixels units n_noise"]:
        """Uniform numbers in (0, 1) for every unit."""
        per_unit = self.model.likelihood.unit_noise(self.shape[-1])
        return position_noise(self.key, self.pixels, self.numbers, (self.units, per_unit))

    def whole(self, value: Array) -> Array:
        """Values by unit as an image [B, *space, C]."""
        return value.reshape(self.shape)

    def outputs(self, value: Array) -> Float[Array, "batch pixels units n_outputs"]:
        """One pass of the network over the values by unit."""
        x = self.model.likelihood.as_input(self.whole(value))
        network: Any = self.model
        outputs = network.apply({"params": self.params}, x, self.cond)
        return outputs.reshape(self.shape[0], self.pixels, self.units, -1)

    def draw(self, outputs: Array, noise: Array, given: Given | None) -> Array:
        return self.model.likelihood.draw(outputs, noise, temperature=self.temperature, given=given)


def make_task(
    model: Network,
    params: Params,
    key: PRNGKey,
    shape: tuple[int, ...],
    *,
    cond: Any = None,
    evidence: Evidence | None = None,
    temperature: float | Array = 1.0,
    numbers: Numbers | None = None,
) -> Task:
    """Checks the arguments."""
    shape = tuple(shape)
    if len(shape) < 3 or min(shape) < 1:
        raise ValueError(f"shape must be (batch, *space, channels), each 1 or more, got {shape}")
    if not isinstance(temperature, Tracer) and not float(temperature) > 0.0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    return Task(
        model=model,
        shape=shape,
        params=params,
        key=key,
        numbers=sample_numbers(shape[0], numbers),
        cond=read_condition(model, cond, shape),
        given=None if evidence is None else _given(model, evidence, shape),
        temperature=temperature,
    )


def position_noise(
    key: PRNGKey, n_pixels: int, numbers: Numbers, shape: tuple[int, ...]
) -> Float[Array, "batch pixels *shape"]:
    """Uniform numbers in (0, 1) for every example and pixel."""

    def one(key: PRNGKey, number: Array) -> Array:
        tiny = jnp.finfo(jnp.float32).tiny
        return jax.random.uniform(jax.random.fold_in(key, number), shape, jnp.float32, tiny)

    positions = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n_pixels))
    return jax.vmap(jax.vmap(one, (0, None)), (None, 0))(positions, numbers)


def _given(model: Network, evidence: Evidence, shape: tuple[int, ...]) -> Given:
    data, mask = evidence.data, evidence.mask
    fits = (
        data.ndim == len(shape) and data.shape[0] in (1, shape[0]) and data.shape[1:] == shape[1:]
    )
    if not fits:
        raise ValueError(f"evidence must be of shape {shape}, got {data.shape}")
    fits = (
        mask.ndim == len(shape)
        and mask.shape[0] in (1, shape[0])
        and mask.shape[1:-1] == shape[1:-1]
        and mask.shape[-1] in (1, shape[-1])
    )
    if not fits or mask.dtype != jnp.bool_:
        raise ValueError(
            f"the mask of evidence must be bool of shape {shape} (or 1 in the place of the batch "
            f"or the channels), got {mask.dtype} {mask.shape}"
        )
    stored = _stored_dtype(model.likelihood)
    if data.dtype != stored:
        if isinstance(data, Tracer) or not jnp.issubdtype(data.dtype, jnp.integer):
            raise ValueError(f"evidence must be {stored}, got {data.dtype}")
        host, limits = np.asarray(data), np.iinfo(stored)
        if host.min() < limits.min or host.max() > limits.max:
            raise ValueError(
                f"evidence must lie in {limits.min}..{limits.max}, got {host.min()}..{host.max()}"
            )
        data = jnp.asarray(host.astype(stored))
    units = model.likelihood.units(shape[-1])
    by_unit = (shape[0], int(np.prod(shape[1:-1])), units, shape[-1] // units)
    value = jnp.broadcast_to(model.likelihood.quantize(jnp.asarray(data)), shape)
    return Given(value.reshape(by_unit), jnp.broadcast_to(mask, shape).reshape(by_unit))


def _stored_dtype(likelihood: Sequential) -> jnp.dtype:
    return likelihood.to_data(jnp.zeros((1,), jnp.int32)).dtype


# The samplers


def naive(task: Task, *, stop: int | None = None) -> tuple[Array, Array]:
    """Draws unit after unit, by one pass of the network each; ``stop`` ends it early."""
    task = task.embedded()
    noise = task.noise()

    def step(n: Array, value: Array) -> Array:
        pixel, unit = n // task.units, n % task.units

        def at(x: Array) -> Array:
            x = lax.dynamic_index_in_dim(x, pixel, 1, keepdims=False)
            return lax.dynamic_index_in_dim(x, unit, 1, keepdims=False)

        drawn = task.draw(at(task.outputs(value)), *jax.tree.map(at, (noise, task.given)))
        return value.at[:, pixel, unit].set(drawn)

    n = task.pixels * task.units if stop is None else stop
    return task.whole(lax.fori_loop(0, n, step, task.start())), jnp.int32(n)


def jacobi(task: Task) -> tuple[Array, Array]:
    """Redraws all units at once until a pass changes nothing.

    Neither a better start nor settling row after row halves the number of passes; row after row
    saves arithmetic (experiments/results.md).
    """
    task = task.embedded()
    noise = task.noise()

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, passes, _ = carry
        drawn = task.draw(task.outputs(value), noise, task.given)
        return drawn, passes + 1, (drawn != value).any()

    def unconverged(carry: tuple[Array, Array, Array]) -> Array:
        return carry[2] & (carry[1] < task.pixels * task.units)

    start = vary_like((task.start(), jnp.int32(0), jnp.bool_(True)), task)
    value, passes, _ = lax.while_loop(unconverged, step, start)
    return task.whole(value), passes


def cached(task: Task) -> tuple[Array, Array]:
    """Scans the network's row and pixel steps."""
    task = task.embedded()
    model, (batch_size, *space, channels) = task.model, task.shape
    height, width = (1, *space)[-2:]
    weights = model.weights(task.params)
    cond_features: Any = task.cond
    if cond_features is not None:
        cond_features = cond_features.reshape(batch_size, *(1, *cond_features.shape[1:-1])[-2:], -1)
        cond_features = jnp.broadcast_to(
            cond_features, (batch_size, height, *cond_features.shape[2:])
        ).swapaxes(0, 1)

    def by_row(x: Array) -> Array:  # [B, pixels, ...] -> [H, W, B, ...]
        return jnp.moveaxis(x, 0, 1).reshape(height, width, batch_size, *x.shape[2:])

    def at(inputs: Any, j: Array | int) -> Any:
        return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, j, keepdims=False), inputs)

    def row(rows: Any, inputs: Any) -> tuple[Any, Array]:
        i, cond_row, noise, given = inputs
        rows, contexts, left = model.row(weights, rows, i, cond_row)
        left = vary_like(left, task)
        inputs = (contexts, noise, given)

        def pixel(carry: Any, j: Array) -> tuple[Any, tuple[Any, Array]]:
            left, (context, noise, given) = carry

            def draw(unit: int, outputs: Array) -> Array:
                of_unit = jax.tree.map(lambda x: x[:, unit], (noise, given))
                return task.draw(outputs, *of_unit)

            left, trace, value = model.pixel(weights, left, context, j, draw)
            return (left, at(inputs, j + 1)), (trace, value)

        # The next pixel's inputs are fetched into the carry: read where they lie, XLA's CPU backend
        # would fuse the look-up into each layer, and take nearly twice the time.
        (left, _), (traces, values) = lax.scan(pixel, (left, at(inputs, 0)), jnp.arange(width))
        return model.end_row(weights, rows, left, traces, values), values

    inputs = (jnp.arange(height), cond_features, *jax.tree.map(by_row, (task.noise(), task.given)))
    start = vary_like(model.start(weights, batch_size, width), task)
    _, values = lax.scan(row, start, inputs)
    values = jnp.moveaxis(values.reshape(-1, batch_size, channels), 1, 0)
    return task.whole(values), jnp.int32(1)


METHODS: dict[str, Callable[[Task], tuple[Array, Array]]] = {
    "cached": cached,
    "naive": naive,
    "jacobi": jacobi,
}
