"""Plans through mazes, drawn by an autoregressive model, and the likeliest of several."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from experiments.mazes.wishes import Wishes
from gen_jax import autoregressive, training
from gen_jax.state import TrainState
from gen_jax.typing import Array, Batch, PRNGKey


class Plans(NamedTuple):
    """``n`` plans of each of ``m`` mazes, in the order in which they were drawn.

    ``log_prob`` is that of a whole plan given its maze, in nats. ``on`` are the probabilities that
    it was drawn by: of each pixel's being on the path, given the maze and the pixels before.
    """

    path: UInt8[np.ndarray, "m n height width 1"]
    log_prob: Float[np.ndarray, "m n"]
    on: Float[np.ndarray, "m n height width"]

    def best(self, n: int) -> UInt8[np.ndarray, "m height width 1"]:
        """The likeliest of each maze's first ``n`` plans."""
        chosen = self.log_prob[:, :n].argmax(1)
        return self.path[np.arange(len(chosen)), chosen]

    def marginals(self, n: int) -> Float[np.ndarray, "m height width"]:
        """The probability that a pixel is on the path, given the maze alone.

        It is estimated by the mean of ``on`` over the first ``n`` plans: without bias, and with a
        smaller variance than the share of plans that have the pixel (Rao & Blackwell).
        """
        return self.on[:, :n].mean(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Planner:
    """Draws plans, ``chunk`` at a time by one compiled program on all devices of this process."""

    chunk: int

    def __call__(
        self,
        state: TrainState,
        key: PRNGKey,
        spatial: UInt8[np.ndarray, "m height width 3"],
        n: int,
        *,
        wishes: Wishes | None = None,
    ) -> Plans:
        """``n`` plans of each maze; with ``wishes`` every plan has their pixels on and off."""
        maze = np.repeat(np.arange(len(spatial)), n)
        batch = {"number": np.arange(len(maze)), "spatial": spatial[maze]}
        if wishes is not None:
            evidence = wishes.evidence(spatial.shape[:3])
            batch |= {"data": evidence.data[maze], "mask": evidence.mask[maze]}
        drawn = self._draw.in_chunks((key, state), batch, self.chunk)
        return Plans(**{k: x.reshape(len(spatial), n, *x.shape[1:]) for k, x in drawn.items()})

    @functools.cached_property
    def _draw(self) -> training.CompiledEval:
        return training.compile_eval(_drawn, training.local_mesh(), on_cores=True)


def _drawn(given: tuple[PRNGKey, TrainState], batch: Batch) -> Mapping[str, Array]:
    key, state = given
    model: Any = state.model
    likelihood = model.likelihood
    cond = autoregressive.Condition(spatial=batch["spatial"])
    evidence = None
    if "mask" in batch:
        evidence = autoregressive.Evidence(batch["data"], batch["mask"])
    path = autoregressive.sample(
        model,
        state.eval_params,
        key,
        (*batch["spatial"].shape[:3], 1),
        cond=cond,
        evidence=evidence,
        numbers=batch["number"],
    )
    value = likelihood.quantize(path)
    outputs = model.apply({"params": state.eval_params}, likelihood.as_input(value), cond)
    log_prob = likelihood.unit_log_prob(outputs, value[..., None])  # a pixel is one unit
    return {
        "path": path,
        "log_prob": log_prob.reshape(len(path), -1).sum(-1),
        "on": likelihood.mean(outputs)[..., 0],
    }


def with_more_steps(state: TrainState, factor: int) -> TrainState:
    """The state with a model whose encoder takes ``factor`` times as many steps, for mazes that are
    so many times as wide: its parameters depend on neither."""
    model: Any = state.model
    encoder = model.condition
    model = model.clone(condition=encoder.clone(steps=factor * encoder.steps))
    return dataclasses.replace(state, model=model)
