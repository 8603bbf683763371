"""The one objective of all autoregressive models: the exact likelihood.

    log p(x) = sum over units i of log p(x_i | x_1, ..., x_{i-1})

(van den Oord et al. 2016, equation 1), computed for all units in one pass of the network. Where
some pixels are known already, the sum over the others alone is the exact likelihood of what
``sample`` draws with the known ones as evidence.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from gen_jax.autoregressive.network import Network, read_condition
from gen_jax.densities import bits_per_dim
from gen_jax.meshes import evaluation_step, mean_gradients, mean_over_devices, training_step
from gen_jax.nn.condition import Condition, batch_condition
from gen_jax.state import TrainState, example_keys, example_numbers, numbers_or_places
from gen_jax.typing import (
    Array,
    Batch,
    Metrics,
    Numbers,
    Params,
    PerExample,
    PRNGKey,
    PRNGKeys,
)

Hidden = Callable[[Batch], Bool[Array, "batch *space 1"]]


def init(
    model: Network,
    tx: optax.GradientTransformation,
    key: PRNGKey,
    example: Array,
    *,
    cond: Any = None,
    ema_decay: float | None = None,
) -> TrainState:
    """Draws the parameters. Compile it (``jax.jit``) for large networks.

    ``example`` is a batch as it is stored, [B, *space, C]; ``cond`` what it is conditioned on, in
    the form that training will have. Networks with a data-dependent start (PixelCNN++) set their
    scales by this batch: give them a real one.
    """
    params_key, observe_key, state_key = jax.random.split(key, 3)
    module = _module(model)
    x = model.likelihood.as_input(observe(model, observe_key, example))
    params = module.init(params_key, x, read_condition(model, cond, x.shape))["params"]
    return TrainState.create(model=module, tx=tx, params=params, key=state_key, ema_decay=ema_decay)


def _module(model: Network) -> Any:
    """The network as what it also is, a linen module."""
    return model


def observe(model: Network, key: PRNGKey, data: Array, *, numbers: Numbers | None = None) -> Array:
    """What the likelihood scores, drawn per example from stored data [B, *space, C].

    What is drawn for example b depends on the key and ``numbers[b]`` (its place, unless given)
    alone. Raises ``ValueError`` for data of another dtype than the likelihood's.
    """
    numbers = numbers_or_places(numbers, data)
    return jax.vmap(model.likelihood.observe)(example_keys(key, numbers), data)


def value_log_prob(
    model: Network,
    params: Params,
    value: Array,
    *,
    cond: Condition | None = None,
    dropout: PRNGKeys | None = None,
) -> Float[Array, "batch *space units"]:
    """log p of each unit given those before it, nats, of observed values [B, *space, C]."""
    likelihood, channels = model.likelihood, value.shape[-1]
    x = likelihood.as_input(value)
    outputs = _module(model).apply({"params": params}, x, cond, dropout)
    units = value.reshape(*value.shape[:-1], likelihood.units(channels), -1)
    return likelihood.unit_log_prob(outputs, units)


def log_prob(
    model: Network,
    params: Params,
    x: Array,
    *,
    cond: Any = None,
    key: PRNGKey | None = None,
    numbers: Numbers | None = None,
) -> PerExample:
    """log p(x) of stored data [B, *space, C], in nats per example.

    Gray pixels of a binary model are drawn by ``key`` and each example's number (``numbers`` [B],
    its place unless given), or cut at level 128 without a key. ``cond``: int labels [B], float
    vectors [B, D], an image [B, *space, C'] or a ``Condition``; a model of classes needs labels.
    Raises ``ValueError`` for data of another dtype than the likelihood's, and
    for a condition that does not fit.
    """
    condition = read_condition(model, cond, x.shape)
    value = model.likelihood.quantize(x) if key is None else observe(model, key, x, numbers=numbers)
    return _total(value_log_prob(model, params, value, cond=condition))


def _total(log_p: Array, scored: Array | None = None) -> PerExample:
    if scored is not None:
        log_p = jnp.where(scored, log_p, 0.0)
    return log_p.reshape(log_p.shape[0], -1).sum(-1)


def batch_data(batch: Batch) -> Array:
    """The images or the sound of a batch."""
    return batch["image"] if "image" in batch else batch["audio"]


@training_step
def train_step(
    state: TrainState, batch: Batch, *, hidden: Hidden | None = None, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """One update by the negative log-likelihood of ``batch["image"]`` (or ``"audio"``).

    Conditions are read as ``batch_condition`` says. ``hidden(batch)`` says which pixels are scored,
    [B, *space, 1], where the others are known (default: all are). Metrics: ``loss``, in nats per
    example, and ``bits_per_dim``, of the dimensions scored.
    """
    model, data = state.model, batch_data(batch)
    keys = state.step_keys("observe", "dropout")
    numbers = example_numbers(data, axis_name)
    value = observe(model, keys["observe"], data, numbers=numbers)
    dropout = example_keys(keys["dropout"], numbers)
    cond = batch_condition(batch, labels=model.n_classes is not None)
    cond = read_condition(model, cond, data.shape)
    scored = None if hidden is None else hidden(batch)

    def loss(params: Params) -> tuple[Array, None]:
        log_p = value_log_prob(model, params, value, cond=cond, dropout=dropout)
        return -_total(log_p, scored).mean(), None

    grads, nll, _ = mean_gradients(loss, state.params, axis_name)
    dims = _dims(data, scored)
    if scored is not None:
        dims = mean_over_devices(jnp.mean(dims), axis_name)
    return state.apply_gradients(grads), {"loss": nll, "bits_per_dim": _bits(nll, dims)}


@evaluation_step
def eval_step(
    state: TrainState, batch: Batch, *, hidden: Hidden | None = None, axis_name: str | None = None
) -> Metrics:
    """Each example's ``nll``, nats, and ``bits_per_dim``, [B], of what is ``hidden`` (as in
    ``train_step``).

    Noise comes from ``state.key`` and each example's ``batch["number"]`` (its place in the batch,
    unless given), and not from the step: one key, one binarization.
    """
    data = batch_data(batch)
    numbers = numbers_or_places(batch.get("number"), data, axis_name)
    key = state.evaluation_keys("observe")["observe"]
    value = observe(state.model, key, data, numbers=numbers)
    cond = batch_condition(batch, labels=state.model.n_classes is not None)
    cond = read_condition(state.model, cond, data.shape)
    scored = None if hidden is None else hidden(batch)
    nll = -_total(value_log_prob(state.model, state.eval_params, value, cond=cond), scored)
    return {"nll": nll, "bits_per_dim": _bits(nll, _dims(data, scored))}


def _dims(data: Array, scored: Array | None) -> Any:
    """Dimensions scored: those of an example, or [B], counted as 1 where there are none."""
    if scored is None:
        return data[0].size
    pixels = scored.reshape(scored.shape[0], -1).sum(-1)
    return jnp.maximum(data.shape[-1] * pixels, 1).astype(jnp.float32)


def _bits(nll: Array, dims: Any) -> Array:
    return jnp.asarray(bits_per_dim(nll, dims), jnp.float32)  # pyright: ignore[reportArgumentType] -- of arrays, too
