"""Training states, and how everything random in a step derives from them."""

import dataclasses
from typing import Any, Self

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int

from gen_jax.typing import Array, Params, PRNGKey, PRNGKeys


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
    keys = jax.random.split(jax.random.fold_in(key, step), len(names))
    return {name: keys[i] for i, name in enumerate(names)}


def example_keys(key: PRNGKey, batch_size: int, axis_name: str | None = None) -> PRNGKeys:
    """One key for each example of the *global* batch that lives here.

    Noise drawn from them does not depend on how a batch is spread: under ``jax.pmap`` over
    ``axis_name`` the devices' keys are those that one device would use.
    """
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * batch_size
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(batch_size))


def mean_over_devices(tree: Any, axis_name: str | None) -> Any:
    """Averages over the pmap axis; the identity under jit, where the mesh already sees all."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)
