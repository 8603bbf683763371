"""The shape of a convolution, what its operands are, and rearrangements of them."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from gen_jax.typing import Array

Pads = tuple[tuple[int, int], ...]
# What the two operands of a map and its result are, each "x", "kernel", "turned kernel" or "y".
Roles = tuple[str, str, str]
APPLY: Roles = ("x", "kernel", "y")
INPUT_GRADIENT: Roles = ("y", "kernel", "x")
KERNEL_GRADIENT: Roles = ("x", "y", "kernel")

# Any two of the three arrays share one of these axes, which the third lacks.
AXES = {
    "x": {"batch": 0, "in": -1},
    "kernel": {"in": -2, "out": -1},
    "turned kernel": {"in": -1, "out": -2},
    "y": {"batch": 0, "out": -1},
}


def kept_axis(operand: str, result: str) -> tuple[int, int]:
    """The axis that a result takes from an operand: where it lies in each of them."""
    (name,) = AXES[operand].keys() & AXES[result].keys()
    return AXES[operand][name], AXES[result][name]


# How to compute a map: of two operands, and their geometry.
Way = Callable[[Array, Array, "Geometry"], Array]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The static part of a convolution; one entry for each spatial axis."""

    strides: tuple[int, ...]
    pads: Pads  # (low, high); negative crops
    dilation: tuple[int, ...]
    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    turned: bool = False
    """Whether kernels lie as a transposed convolution has its own: ``flipped``."""
    masked: bool = False
    """Whether a mask made taps zero: the pixels under those must not change a bit."""

    def named(self, roles: Roles) -> Roles:
        """The roles, with the kernel's as it lies."""
        one, two, three = ("turned kernel" if r == "kernel" and self.turned else r for r in roles)
        return one, two, three

    @property
    def straight(self) -> "Geometry":
        """Of the same convolution with its kernel ``flipped`` back."""
        return dataclasses.replace(self, turned=False)

    def channels(self, kernel: tuple[int, ...]) -> tuple[int, int]:
        """(in, out) of a kernel of this shape."""
        return (kernel[-1], kernel[-2]) if self.turned else (kernel[-2], kernel[-1])

    @property
    def rank(self) -> int:
        """Of images and kernels alike."""
        return len(self.strides) + 2

    @property
    def reach(self) -> tuple[int, ...]:
        """How many pixels the kernel spans."""
        pairs = zip(self.kernel_size, self.dilation, strict=True)
        return tuple((k - 1) * d + 1 for k, d in pairs)

    @property
    def output_size(self) -> tuple[int, ...]:
        rows = zip(self.input_size, self.pads, self.reach, self.strides, strict=True)
        return tuple(max(0, (n + sum(p) - r) // s + 1) for n, p, r, s in rows)

    @property
    def reversed(self) -> "Geometry":
        """Of the convolution from outputs to inputs, where the stride is one."""
        sides = zip(self.reach, self.pads, strict=True)
        pads = tuple((r - 1 - low, r - 1 - high) for r, (low, high) in sides)
        return dataclasses.replace(self, pads=pads, input_size=self.output_size)


def flipped(kernel: Array) -> Array:
    """The kernel of the convolution back: taps reversed, channels exchanged."""
    return jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)


def straightening(roles: Roles) -> Callable[[Way], Way]:
    """Makes a way to compute a map take turned kernels as well, and give them."""

    def decorate(way: Way) -> Way:
        @functools.wraps(way)
        def either(a: Array, b: Array, geometry: Geometry) -> Array:
            if not geometry.turned:
                return way(a, b, geometry)
            b = flipped(b) if roles[1] == "kernel" else b
            result = way(a, b, geometry.straight)
            return flipped(result) if roles[2] == "kernel" else result

        return either

    return decorate


def pad(x: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """Pads, or where negative crops, the spatial axes."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)))


def blocks(x: Array, strides: Sequence[int]) -> Array:
    """[B, *(size * stride), C] -> [B, *size, strides * C]."""
    n = len(strides)
    split = [part for m, s in zip(x.shape[1:-1], strides, strict=True) for part in (m // s, s)]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    x = x.transpose(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
    return x.reshape(*x.shape[: n + 1], -1)


def interleave(y: Array, strides: Sequence[int]) -> Array:
    """The inverse of ``blocks``."""
    n = len(strides)
    y = y.reshape(*y.shape[: n + 1], *strides, -1)
    y = y.transpose(0, *(axis for i in range(1, n + 1) for axis in (i, n + i)), 2 * n + 1)
    sizes = [math.prod(y.shape[2 * i - 1 : 2 * i + 1]) for i in range(1, n + 1)]
    return y.reshape(y.shape[0], *sizes, y.shape[-1])


def kernel_blocks(kernel: Array, geometry: Geometry) -> Array:
    """The kernel whose stride-one convolution over ``blocks`` is the strided one."""
    edges = [
        (0, -r % s, d - 1)
        for r, s, d in zip(geometry.reach, geometry.strides, geometry.dilation, strict=True)
    ]
    zero = jnp.zeros((), kernel.dtype)
    kernel = lax.pad(kernel, zero, (*edges, (0, 0, 0), (0, 0, 0)))
    # Put the input channels last but one axis, where ``blocks`` expects channels, and back.
    c_in, c_out = kernel.shape[-2:]
    grouped = blocks(kernel.reshape(1, *kernel.shape[:-2], c_in * c_out), geometry.strides)[0]
    return grouped.reshape(*grouped.shape[:-1], -1, c_out)
