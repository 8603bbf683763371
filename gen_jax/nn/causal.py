"""What causal networks share: the order of channels within a pixel, shifts and gates.

The order is the raster's: rows from the top, pixels from the left, and within a pixel its *units*
(``densities.sequential``). Where a pixel has several units, features come in as many groups, one
after another; the features of group g at a pixel may depend on the units before g of that pixel
(mask A) or, in layers above the first, on the groups up to g (mask B; van den Oord et al. 2016,
section 3.4).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gen_jax.typing import Array

Kind = Literal["A", "B"]


# Groups of features


def group_bounds(features: int, groups: int) -> tuple[int, ...]:
    """Where each group's features begin, and the end: ``groups + 1`` numbers.

    Raises ``ValueError`` where there are fewer features than groups.
    """
    if features < groups:
        raise ValueError(f"{groups} groups need at least as many features, got {features}")
    return tuple(features * g // groups for g in range(groups + 1))


def group_columns(blocks: Sequence[int], groups: int, g: int) -> np.ndarray:
    """The places of group ``g`` among outputs that are blocks side by side (filters and gates,
    say), each grouped for itself."""
    places, start = [], 0
    for features in blocks:
        bounds = group_bounds(features, groups)
        places.append(start + np.arange(bounds[g], bounds[g + 1]))
        start += features
    return np.concatenate(places)


def group_order(blocks: Sequence[int], groups: int) -> np.ndarray:
    """An order of the outputs in which each group's stand together."""
    return np.concatenate([group_columns(blocks, groups, g) for g in range(groups)])


def group_mask(
    kind: Kind, c_in: int, blocks: Sequence[int], groups: int
) -> Float[np.ndarray, "c_in c_out"]:
    """1 where an output may read an input of the same pixel."""
    mask = np.zeros((c_in, sum(blocks)), np.float32)
    for g in range(groups):
        mask[: _known(kind, c_in, groups, g), group_columns(blocks, groups, g)] = 1.0
    return mask


def _known(kind: Kind, c_in: int, groups: int, g: int) -> int:
    """How many inputs of the pixel group ``g`` may read: the first so many."""
    return group_bounds(c_in, groups)[g if kind == "A" else g + 1]


def causal_mask(kind: Kind, groups: int, blocks: Sequence[int] | None = None, *, here: int):
    """A ``mask`` for ``Conv``: 1 for the taps before the ``here``-th in raster order, on which the
    pixel itself lies and ``group_mask`` holds, and 0 for those behind it.

    ``here`` may count from the end. None is returned where all would be 1.
    """
    if kind == "B" and groups == 1 and here == -1:
        return None

    def mask(shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        *size, c_in, c_out = shape
        taps = math.prod(size)
        place = here % taps
        flat = np.zeros((taps, c_in, c_out), np.float32)
        flat[:place] = 1.0
        flat[place] = group_mask(kind, c_in, blocks or (c_out,), groups)
        return flat.reshape(shape)

    return mask


@flax.struct.dataclass
class PixelProduct:
    """A masked 1×1 convolution at one pixel, group by group: all that is computed is needed.

    It computes in its parameters' dtype.
    """

    kernels: tuple[Float[Array, "known group_out"], ...]
    biases: tuple[Float[Array, " group_out"], ...]

    @classmethod
    def cut(
        cls,
        kind: Kind,
        kernel: Float[Array, "c_in c_out"],
        bias: Float[Array, " c_out"],
        groups: int,
        blocks: Sequence[int] | None = None,
    ) -> Self:
        """Splits the kernel; an output's blocks are side by side within its group too."""
        c_in, c_out = kernel.shape
        columns: list[Any] = [slice(None)]  # of one group all, without a gather
        if groups > 1:
            columns = [group_columns(blocks or (c_out,), groups, g) for g in range(groups)]
        known = [_known(kind, c_in, groups, g) for g in range(groups)]
        kernels = tuple(kernel[:k, c] for k, c in zip(known, columns, strict=True))
        return cls(kernels, tuple(bias[c] for c in columns))

    def __call__(self, known: Sequence[Float[Array, "batch part"]], g: int) -> Array:
        """Group ``g``'s outputs [batch, group_out] from the parts of the input known by now."""
        bias = self.biases[g][None]
        if not self.kernels[g].size:
            return bias
        x = known[0] if len(known) == 1 else jnp.concatenate(known, axis=-1)
        return x.astype(bias.dtype) @ self.kernels[g] + bias


# Kernels, shifts and gates


def check_kernel(name: str, size: int) -> None:
    """Raises ``ValueError`` for a kernel without a middle, or without anything before it."""
    if size < 3 or size % 2 == 0:
        raise ValueError(f"{name} must be odd and 3 or more, got {size}")


def shift_right(x: Float[Array, "batch *rows width c"]) -> Float[Array, "batch *rows width c"]:
    """Pixel j becomes what pixel j - 1 was; the first is zero."""
    return jnp.pad(x, (*((0, 0),) * (x.ndim - 2), (1, 0), (0, 0)))[..., :-1, :]


def gate(x: Float[Array, "*dims two_c"]) -> Float[Array, "*dims c"]:
    """tanh of the first half of the features times the sigmoid of the second."""
    value, opening = jnp.split(x, 2, axis=-1)
    return jnp.tanh(value) * jax.nn.sigmoid(opening)


def conv_row(
    x: Float[Array, "batch rows width c_in"],
    kernel: Float[Array, "rows taps c_in c_out"],
    beside: tuple[Float[Array, "batch width_or_1 c"], Float[Array, "c c_out"]] | None = None,
) -> Float[Array, "batch width c_out"]:
    """The one row that a convolution of odd width makes of as many rows as its kernel is high.

    As one matrix product over patches: a CPU's convolution of so few rows takes twice the time.
    ``beside``, features of the pixels and the kernel that multiplies them, is added to it.
    """
    rows, taps, c_in, c_out = kernel.shape
    width = x.shape[2]
    x = jnp.pad(x, ((0, 0), (0, 0), (taps // 2, taps // 2), (0, 0)))
    patches = [x[:, i, j : j + width] for i in range(rows) for j in range(taps)]
    kernel = kernel.reshape(rows * taps * c_in, c_out)
    if beside is None:
        return jnp.concatenate(patches, axis=-1) @ kernel
    features, its_kernel = beside
    if features.shape[1] == width:  # in the same product
        patches, kernel = [*patches, features], jnp.concatenate([kernel, its_kernel])
        return jnp.concatenate(patches, axis=-1) @ kernel
    found = jnp.concatenate(patches, axis=-1) @ kernel
    return found + jnp.broadcast_to(features @ its_kernel, found.shape)
