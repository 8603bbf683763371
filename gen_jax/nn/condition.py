"""What a model is conditioned on: read from a batch, and embedded for a network of any family."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from gen_jax.images import as_float
from gen_jax.typing import Array, Batch


@flax.struct.dataclass
class Condition:
    """What a model is conditioned on; any part may be missing.

    ``label`` is a class, ``vector`` any float vector of an example, ``spatial`` the image (uint8,
    or floats) or the signal that the example is made from, ``tokens`` a text's numbers.
    """

    label: Int[Array, " batch"] | None = None
    vector: Float[Array, "batch size"] | None = None
    spatial: Array | None = None
    tokens: Int[Array, "batch length"] | None = None


def batch_condition(batch: Batch, *, labels: bool) -> Condition | None:
    """The condition in a batch: ``"vector"``, ``"spatial"`` and ``"tokens"`` where they are there,
    and ``"label"`` where the model reads ``labels``; None where there is none of them.

    Raises ``ValueError`` where the labels are missing.
    """
    if labels and "label" not in batch:
        raise ValueError('a model of classes needs batch["label"]')
    names = ("vector", "spatial", "tokens", *(("label",) if labels else ()))
    parts = {name: batch[name] for name in names if name in batch}
    return Condition(**parts) if parts else None


def as_condition(cond: Any) -> Condition | None:
    """Reads labels [B], vectors [B, D], spatial arrays [B, *space, C] or a ``Condition``.

    Raises ``ValueError`` for an array of none of these kinds.
    """
    if cond is None or isinstance(cond, Condition):
        return cond
    cond = jnp.asarray(cond)
    if cond.ndim == 1 and jnp.issubdtype(cond.dtype, jnp.integer):
        return Condition(label=cond)
    if cond.ndim == 2 and jnp.issubdtype(cond.dtype, jnp.floating):
        return Condition(vector=cond)
    if cond.ndim >= 3:
        return Condition(spatial=cond)
    raise ValueError(
        "a condition must be int labels [B], float vectors [B, D] or an array [B, *space, C], got "
        f"{cond.dtype} {cond.shape}"
    )


class ConditionEmbedding(nn.Module):
    """The sum of a linear map of each part of a condition: [B, 1, 1, features], or [B, *space,
    features] where the condition is spatial. ``ndim`` is that of the model's images.

    An ``encoder``, called with the spatial part as floats, takes the place of its linear map.
    Beside other parts it must give ``features`` features; alone, any number.
    """

    features: int
    n_classes: int | None = None
    ndim: int = 4
    encoder: nn.Module | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, cond: Condition) -> Float[Array, "batch *space features"]:
        parts = []
        if cond.label is not None:
            if self.n_classes is None:
                raise ValueError("a model without n_classes takes no labels")
            one_hot = jax.nn.one_hot(cond.label, self.n_classes)
            parts.append(nn.Dense(self.features, dtype=self.dtype, name="label")(one_hot))
        if cond.vector is not None:
            parts.append(nn.Dense(self.features, dtype=self.dtype, name="vector")(cond.vector))
        parts = [p.reshape(p.shape[0], *(1,) * (self.ndim - 2), -1) for p in parts]
        if cond.spatial is not None:
            read: Any = self.encoder
            if read is None:
                read = nn.Dense(self.features, dtype=self.dtype, name="spatial")
            parts.append(read(as_float(cond.spatial)))
        if cond.tokens is not None:
            raise ValueError("this model takes no tokens: embed the text, and give it as a vector")
        if not parts:
            raise ValueError("the condition is empty: give a label, a vector or an image")
        if len(parts) > 1 and parts[-1].shape[-1] != self.features:
            raise ValueError(
                f"beside a label or a vector, the condition's encoder must give {self.features} "
                f"features, got {parts[-1].shape[-1]}"
            )
        total = parts[0]
        for part in parts[1:]:
            total, part = jnp.broadcast_arrays(total, part)
            total = total + part
        return total
