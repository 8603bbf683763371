"""How stored numbers become the levels 0, 1, ..., L - 1 that discrete densities are over, and back.

Going to stored numbers and back gives the same level, whatever their number. ``quantize`` raises
``ValueError`` for numbers of another dtype than the stored one, which would be misread.
"""

import dataclasses
from typing import Protocol

import jax.numpy as jnp
from jaxtyping import Int, Int16, UInt8

from gen_jax.images import require_uint8
from gen_jax.typing import Array

Levels = Int[Array, "*dims"]


class Encoding(Protocol):
    """Stored numbers as levels; a frozen dataclass, so that a likelihood can hold it."""

    def check(self, levels: int) -> None:
        """Raises ``ValueError`` for a number of levels that it does not have."""
        ...

    def quantize(self, data: Array, levels: int) -> Levels:
        """The level of each stored number."""
        ...

    def to_data(self, value: Levels, levels: int) -> Array:
        """A stored number for each level."""
        ...


def _check(levels: int, most: int) -> None:
    if not 2 <= levels <= most:
        raise ValueError(f"levels must lie in 2..{most}, got {levels}")


def _require_int16(data: Array) -> None:
    if data.dtype != jnp.int16:
        raise ValueError(f"sound must be int16, got {data.dtype}")


def _stretched(value: Levels, levels: int, size: int) -> Levels:
    """Levels spread over 0 .. size - 1 from end to end, each within its own bin."""
    first, last = -(-value * size // levels), -(-(value + 1) * size // levels) - 1
    return jnp.clip((value * (size - 1) + (levels - 1) // 2) // (levels - 1), first, last)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """uint8 pixels in even bins; the first level is black and the last white."""

    def check(self, levels: int) -> None:
        _check(levels, 256)

    def quantize(self, data: UInt8[Array, "*dims"], levels: int) -> Levels:
        require_uint8(data)
        return data.astype(jnp.int32) * levels // 256

    def to_data(self, value: Levels, levels: int) -> UInt8[Array, "*dims"]:
        return _stretched(value, levels, 256).astype(jnp.uint8)


@dataclasses.dataclass(frozen=True)
class Linear:
    """int16 sound in even bins of amplitude."""

    def check(self, levels: int) -> None:
        _check(levels, 2**14)  # products with 2^16 stay in int32

    def quantize(self, data: Int16[Array, "*dims"], levels: int) -> Levels:
        _require_int16(data)
        return (data.astype(jnp.int32) + 2**15) * levels // 2**16

    def to_data(self, value: Levels, levels: int) -> Int16[Array, "*dims"]:
        return (_stretched(value, levels, 2**16) - 2**15).astype(jnp.int16)


@dataclasses.dataclass(frozen=True)
class MuLaw:
    """int16 sound by the mu-law of G.711: bins that grow with the amplitude.

    f(x) = sign(x) log(1 + mu |x|) / log(1 + mu), mu = levels - 1 (van den Oord et al. 2016,
    section 2.2).
    """

    def check(self, levels: int) -> None:
        _check(levels, 256)  # more would have bins narrower than a stored step

    def quantize(self, data: Int16[Array, "*dims"], levels: int) -> Levels:
        _require_int16(data)
        x = data.astype(jnp.float32) / 2**15
        y = jnp.sign(x) * jnp.log1p((levels - 1) * jnp.abs(x)) / jnp.log(float(levels))
        return jnp.clip(jnp.floor((y + 1.0) * (0.5 * levels)), 0, levels - 1).astype(jnp.int32)

    def to_data(self, value: Levels, levels: int) -> Int16[Array, "*dims"]:
        y = (value.astype(jnp.float32) + 0.5) * (2.0 / levels) - 1.0  # the middle of the bin
        x = jnp.sign(y) * jnp.expm1(jnp.abs(y) * jnp.log(float(levels))) / (levels - 1)
        return jnp.clip(jnp.round(x * 2**15), -(2**15), 2**15 - 1).astype(jnp.int16)
