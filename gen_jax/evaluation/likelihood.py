"""Averages of per-example metrics, likelihoods by importance sampling, and active latent units."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from gen_jax.meshes import vary_like
from gen_jax.state import TrainState
from gen_jax.typing import Array, Batch, PerExample, PRNGKey, PRNGKeys

EvalStep = Callable[[TrainState, Batch], Mapping[str, PerExample]]


def average(
    eval_step: EvalStep, state: TrainState, batches: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """The mean of every per-example metric over all examples whose ``mask`` is true.

    ``eval_step`` is a compiled function of (state, batch). A batch is given ``"number"`` [B], each
    example's place among all: noise drawn by it does not depend on the size of the batches. Where
    ``eval_step`` has a method ``place``, as those of ``training.compile_eval`` do, the state is put
    on its devices once. Sums are float64 on the host. Raises ``ValueError`` if there are no
    examples.
    """
    state = getattr(eval_step, "place", lambda state: state)(state)
    results = []
    first = 0
    for batch in batches:
        inputs = {name: value for name, value in batch.items() if name != "mask"}
        size = len(next(iter(inputs.values())))
        inputs["number"] = np.arange(first, first + size, dtype=np.int32)
        first += size
        metrics = eval_step(state, inputs)
        results.append((metrics, batch.get("mask")))  # read at the end: the device runs ahead
    sums: dict[str, float] = {}
    count = 0
    for metrics, mask in results:
        arrays = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
        mask = np.ones(len(next(iter(arrays.values()))), bool) if mask is None else np.asarray(mask)
        count += int(mask.sum())
        for name, value in arrays.items():
            sums[name] = sums.get(name, 0.0) + float(value[mask].sum())
    if count == 0:
        raise ValueError("there are no examples to average over")
    return {name: total / count for name, total in sums.items()}


def importance_log_likelihood(
    log_weights: Callable[[PRNGKeys, Array], Float[Array, "k batch"]],
    key: PRNGKey,
    x: Array,
    *,
    n_samples: int,
    chunk: int,
) -> PerExample:
    """log 1/n sum_i w_i of ``n_samples`` importance weights an example, in nats [B].

    ``log_weights`` maps one key per sample and the batch ``x`` to log p(x, z) / q(z|x). Sample i's
    key depends on ``key`` and i alone; ``chunk`` samples are in memory at a time, and it must
    divide ``n_samples`` (``ValueError``). A lower bound in expectation, ever tighter (Burda et
    al. 2015, theorem 1).
    """
    if n_samples < 1 or chunk < 1 or n_samples % chunk:
        raise ValueError(f"chunk must divide n_samples, got {chunk} and {n_samples}")
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n_samples))

    def add(total: PerExample, keys: PRNGKeys) -> tuple[PerExample, None]:
        chunk_total = jax.nn.logsumexp(log_weights(keys, x), axis=0)
        return jnp.logaddexp(total, chunk_total), None

    start = vary_like(jnp.full(x.shape[0], -jnp.inf), x)
    total, _ = jax.lax.scan(add, start, keys.reshape(-1, chunk))
    return total - jnp.log(float(n_samples))


def active_units(
    posterior_means: Float[np.ndarray, "examples latent"], *, threshold: float = 1e-2
) -> Bool[np.ndarray, " latent"]:
    """Which latent dimensions a model uses: Var_x(E_q[z|x]) > threshold (Burda et al. 2015,
    section 5.2)."""
    return np.var(np.asarray(posterior_means, np.float64), axis=0) > threshold
