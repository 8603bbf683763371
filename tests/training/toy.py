"""A tiny model that uses all that a training state can hold, and batches for it."""

import dataclasses
import functools
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gen_jax import training
from gen_jax.meshes import mean_over_devices
from gen_jax.state import TrainState, example_keys, example_numbers


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float = 1e-2
    widths: tuple[int, ...] = (16,)
    steps: int = dataclasses.field(default=10, metadata={"identity": False})


# One object, since a state's static fields decide what is compiled again.
OPTIMIZER = optax.adamw(optax.cosine_decay_schedule(1e-2, 1000))


class Net(nn.Module):
    """Denoises: dropout and noise by example, and a running mean as model state."""

    width: int = 16

    @nn.compact
    def __call__(self, x, keys, axis_name=None):
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(x.shape[-1:]))
        batch_mean = mean_over_devices(x.mean(0), axis_name)
        mean.value = 0.9 * mean.value + 0.1 * batch_mean
        noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
        h = nn.tanh(nn.Dense(self.width)(x + 0.1 * noise - mean.value[None]))
        return nn.Dense(x.shape[-1])(h)


def make_state(seed: int = 0, width: int = 16) -> TrainState:
    return _make_state(jax.random.key(seed), width)


@functools.partial(jax.jit, static_argnums=1)  # one compilation for the processes that are killed
def _make_state(key: jax.Array, width: int) -> TrainState:
    init, noise, key = jax.random.split(key, 3)
    model = Net(width)
    variables = model.init(init, jnp.zeros((1, 6)), jax.random.split(noise, 1))
    return TrainState.create(
        model=model,
        tx=OPTIMIZER,
        params=variables["params"],
        model_state={"batch_stats": variables["batch_stats"]},
        key=key,
        ema_decay=0.99,
    )


def train_step(state, batch, *, axis_name=None, bad_step=None):
    """``bad_step``: the update (from 1) whose loss becomes a logarithm of minus one."""
    keys = state.step_keys("noise", "dropout")
    x = batch["image"].astype(jnp.float32) / 255.0
    numbers = example_numbers(x, axis_name)
    noise = example_keys(keys["noise"], numbers)
    dropout = example_keys(keys["dropout"], numbers)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 0.9, x.shape[1:]))(dropout)

    def loss_fn(params):
        variables = {"params": params, **state.model_state}
        y, changed = state.model.apply(
            variables, x * keep, noise, axis_name, mutable=["batch_stats"]
        )
        loss = jnp.square(y - x).mean()
        if bad_step is not None:
            loss += jnp.log(jnp.where(state.step + 1 == bad_step, -1.0, 1.0))
        return loss, changed

    (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    loss, grads = mean_over_devices((loss, grads), axis_name)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return state.apply_gradients(grads, model_state=changed), metrics


def scores(state, batch):
    """What an evaluation may give: a loss an example, noise and all, and arrays below it."""
    image = batch["image"].astype(jnp.float32) / 255.0
    keys = example_keys(state.step_keys("noise")["noise"], jnp.arange(len(image)))
    noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
    first, second = (state.eval_params[f"Dense_{i}"] for i in range(2))
    h = nn.tanh((image + 0.1 * noise) @ first["kernel"] + first["bias"][None])
    y = h @ second["kernel"] + second["bias"][None]
    loss = jnp.square(y - image).mean(-1)
    return {"loss": loss, "more": {"y": y, "label": batch["label"], "none": {}}}


def examples(n: int) -> dict:
    """A batch of ``n`` for ``scores``, with places for what is not given."""
    image = np.random.default_rng(0).integers(0, 256, (7, 6), dtype=np.uint8)
    return {"image": image[:n], "label": np.arange(n), "cond": {}, "tokens": None}


class Batches:
    """Random images, a pure function of (seed, step); ``delay_s`` makes kills land somewhere."""

    def __init__(self, batch_size: int = 8, seed: int = 0, delay_s: float = 0.0):
        self.batch_size = batch_size
        self.asked: list[tuple[int, slice | None]] = []
        self._seed, self._delay_s = seed, delay_s

    def batch_at(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        self.asked.append((step, rows))
        time.sleep(self._delay_s)
        rng = np.random.default_rng((self._seed, step))
        image = rng.integers(0, 256, (self.batch_size, 6), dtype=np.uint8)
        return {"image": image[rows or slice(None)]}


@functools.cache
def compiled(devices: int = 1, how: str = "jit", k: int = 3) -> training.CompiledStep:
    mesh = training.make_mesh(jax.devices()[:devices])
    return training.compile_step(train_step, mesh, steps_per_dispatch=k, how=how)


class Wrapped(training.CompiledStep):
    """A compiled step for tests to derive from."""

    def __init__(self, step: training.CompiledStep):
        values = {f.name: getattr(step, f.name) for f in dataclasses.fields(step) if f.init}
        super().__init__(**values)


def train(run_dir, steps: int, *, step=None, **options) -> training.FitResult:
    """``fit`` on a run folder, as an experiment does it."""
    config = Config(steps=steps)
    with training.open_run(run_dir, experiment="toy", preset="smoke", config=config) as run:
        return training.fit(
            make_state(), step or compiled(), Batches(), steps=steps, run=run, quiet=True, **options
        )


def assert_close(actual, expected) -> None:
    """Two states agree up to the order of float32 sums; what counts or draws agrees exactly."""
    jax.tree.map(_leaf_close, actual, expected)


def _leaf_close(actual, expected) -> None:
    if jnp.issubdtype(expected.dtype, jnp.floating):
        np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-6)
    else:
        assert training.params_digest(actual) == training.params_digest(expected)
