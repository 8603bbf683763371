"""Training states, and how everything random in a step derives from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Int

from gen_jax.typing import Array, Numbers, Params, PRNGKey, PRNGKeys

EVALUATION = np.uint32(2**32 - 1)  # where a step's number stands, an int32 that is never negative


@flax.struct.dataclass(kw_only=True)
class NetworkState:
    """One network and its optimizer: what an update by gradients reads and changes.

    ``model_state`` holds variables that are not parameters (batch statistics). ``ema_params`` and
    ``ema_stats``, the averaged parameters and the batch statistics averaged alike, are None unless
    ``ema_decay`` is set. The model and the optimizer are static fields.
    """

    params: Params
    model_state: Any
    opt_state: optax.OptState
    ema_params: Params | None
    ema_stats: Any
    model: Any = flax.struct.field(pytree_node=False)  # a family knows its own linen module
    tx: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    ema_decay: float | None = flax.struct.field(pytree_node=False, default=None)

    @classmethod
    def create(
        cls,
        *,
        model: nn.Module,
        tx: optax.GradientTransformation,
        params: Params,
        model_state: Any = None,
        ema_decay: float | None = None,
        **more: Any,
    ) -> Self:
        """Builds the record before the first update; ``more`` are a subclass's own fields."""
        if ema_decay is not None and not 0.0 <= ema_decay < 1.0:
            raise ValueError(f"ema_decay must lie in [0, 1), got {ema_decay}")
        model_state = {} if model_state is None else model_state
        averaged = ema_decay is not None
        return cls(
            params=params,
            model_state=model_state,
            opt_state=tx.init(params),
            # Copies: a donated state must not hold one buffer twice.
            ema_params=jax.tree.map(jnp.copy, params) if averaged else None,
            ema_stats=jax.tree.map(jnp.copy, batch_stats(model_state)) if averaged else None,
            model=model,
            tx=tx,
            ema_decay=ema_decay,
            **more,
        )

    @property
    def eval_params(self) -> Params:
        """The averaged parameters where there are any, else the parameters."""
        return self.params if self.ema_params is None else self.ema_params

    @property
    def eval_variables(self) -> dict[str, Any]:
        """All that ``model.apply`` reads after training: averages where there are any."""
        stats = {} if self.ema_stats is None else self.ema_stats
        return {"params": self.eval_params, **self.model_state, **stats}

    def apply_gradients(self, grads: Params, *, model_state: Any = None, **extra: Any) -> Self:
        """Returns the record after one optimizer update with ``grads``.

        ``extra`` goes to optimizers that look at more, such as a loss (``value=...``).
        """
        tx = optax.with_extra_args_support(self.tx)
        updates, opt_state = tx.update(grads, self.opt_state, self.params, **extra)
        params = optax.apply_updates(self.params, updates)
        model_state = self.model_state if model_state is None else model_state
        ema_params, ema_stats = self.ema_params, self.ema_stats
        if self.ema_decay is not None and ema_params is not None:
            share = 1.0 - self.ema_decay
            ema_params = optax.incremental_update(params, ema_params, share)
            ema_stats = optax.incremental_update(batch_stats(model_state), ema_stats, share)
        return dataclasses.replace(
            self,
            params=params,
            opt_state=opt_state,
            ema_params=ema_params,
            ema_stats=ema_stats,
            model_state=model_state,
        )


@flax.struct.dataclass(kw_only=True)
class TrainState(NetworkState):
    """All that the step of a model of one network reads and changes.

    ``jax.jit(train_step, donate_argnums=0)`` needs nothing else. ``step`` counts finished
    updates; ``key`` seeds every step's randomness.
    """

    step: Int[Array, ""]
    key: PRNGKey

    @classmethod
    def create(cls, *, key: PRNGKey, **fields: Any) -> Self:
        """Builds the state before the first update, from ``NetworkState.create``'s arguments."""
        return super().create(step=jnp.zeros((), jnp.int32), key=key, **fields)

    def step_keys(self, *names: str) -> dict[str, PRNGKey]:
        """One key for each named use of randomness in the coming step."""
        return named_keys(self.key, self.step, *names)

    def evaluation_keys(self, *names: str) -> dict[str, PRNGKey]:
        """One key for each named use of randomness in an evaluation, the same after every step."""
        return evaluation_keys(self.key, *names)

    def apply_gradients(self, grads: Params, *, model_state: Any = None, **extra: Any) -> Self:
        """Returns the state after one optimizer update with ``grads``."""
        state = super().apply_gradients(grads, model_state=model_state, **extra)
        return dataclasses.replace(state, step=self.step + 1)


def batch_stats(model_state: Any) -> Any:
    """The running statistics among a model's variables, which an average of parameters needs too:
    those of the newest parameters are another network's."""
    return {name: value for name, value in model_state.items() if name == "batch_stats"}


def named_keys(key: PRNGKey, step: Int[Array, ""], *names: str) -> dict[str, PRNGKey]:
    """One key for each named use of randomness in the step after ``step`` finished ones."""
    return _named(jax.random.fold_in(key, step), names)


def evaluation_keys(key: PRNGKey, *names: str) -> dict[str, PRNGKey]:
    """One key for each named use of randomness in an evaluation, none of which a step has.

    ``key`` is a state's. Examples of an evaluation differ by their numbers.
    """
    return _named(jax.random.fold_in(key, EVALUATION), names)


def _named(key: PRNGKey, names: Sequence[str]) -> dict[str, PRNGKey]:
    keys = jax.random.split(key, len(names))
    return {name: keys[i] for i, name in enumerate(names)}


def example_numbers(examples: Array, axis_name: str | None = None) -> Numbers:
    """The place in the *global* batch of each example [B, ...] that lives here.

    ``axis_name`` is the axis of ``jax.pmap`` or ``jax.shard_map`` that the batch is spread over.
    """
    here = jnp.arange(examples.shape[0])
    return here if axis_name is None else lax.axis_index(axis_name) * len(here) + here


def numbers_or_places(
    numbers: Numbers | None, examples: Array, axis_name: str | None = None
) -> Numbers:
    """The numbers of examples [B, ...]: those given, or their places in the global batch."""
    return example_numbers(examples, axis_name) if numbers is None else numbers


def sample_numbers(n: int, numbers: Numbers | None) -> Numbers:
    """The numbers of ``n`` samples: those given, or 0 to ``n - 1``.

    Raises ``ValueError`` unless there are ``n`` integers, and ``n`` is 1 or more.
    """
    if n < 1:
        raise ValueError(f"1 or more examples can be drawn, got {n}")
    if numbers is None:
        return jnp.arange(n)
    numbers = jnp.asarray(numbers)
    if numbers.shape != (n,) or not jnp.issubdtype(numbers.dtype, jnp.integer):
        raise ValueError(
            f"numbers must be {n} integers, one an example, got {numbers.dtype} {numbers.shape}"
        )
    return numbers


def example_keys(key: PRNGKey, numbers: Numbers) -> PRNGKeys:
    """One key for each example, which depends on ``key`` and the example's number alone.

    Noise drawn from them does not depend on how a batch is spread over devices.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
