"""PixelCNN++ row by row and pixel by pixel (Ramachandran et al. 2017, "Fast Generation for
Convolutional Autoregressive Models").

The arithmetic of ``pixelcnn_pp.PixelCNNPlusPlus``, in the order in which an image is drawn. The
stream u of a row depends on rows above alone, and is computed whole, once per row, with all that it
and the rows above contribute to the stream ul; a pixel computes only its own part of ul. Each
halving of the sides is one *level* down: level l has a new row at every 2^l-th row and there a new
pixel at every 2^l-th pixel; between them nothing of it is computed. So both steps are recursions
over a list of levels, the first of which is the current one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.nn.causal import conv_row, shift_right
from gen_jax.nn.conv import conv, conv_transpose
from gen_jax.typing import Array, Params

# What the network and its steps share


def concat_elu(x: Float[Array, "*dims c"]) -> Float[Array, "*dims two_c"]:
    """ELU of x and of -x, side by side."""
    # One exponential for both: of x and -x only one is below zero.
    below = jnp.expm1(jnp.where(x > 0, -x, x))
    return jnp.concatenate([jnp.where(x > 0, x, below), jnp.where(x > 0, below, -x)], axis=-1)


def linear_gate(x: Float[Array, "*dims two_c"]) -> Float[Array, "*dims c"]:
    """a σ(b), of the halves a and b of the features."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * jax.nn.sigmoid(b)


def normalized(
    kernel: Float[Array, "h w c_in c_out"], scale: Float[Array, " c_out"]
) -> Float[Array, "h w c_in c_out"]:
    """The kernel with each output channel's length set to ``scale`` (Salimans & Kingma 2016)."""
    length = jnp.sqrt(jnp.sum(kernel**2, (0, 1, 2)) + 1e-12)
    return kernel * (scale / length).reshape(1, 1, 1, -1)


# Parameters, cut


class Affine(NamedTuple):
    """A layer's kernel, its length set, and its bias."""

    kernel: Array
    bias: Array

    @classmethod
    def of(cls, layer: Params, dtype: DTypeLike) -> "Affine":
        kernel = normalized(layer["kernel"], layer["scale"])
        return cls(kernel.astype(dtype), layer["bias"].astype(dtype).reshape(1, 1, -1))


class RowBlock(NamedTuple):
    """A block of the stream u."""

    first: Affine
    shortcut: Affine | None
    second: Affine
    condition: Array | None

    @classmethod
    def of(cls, block: Params, dtype: DTypeLike) -> "RowBlock":
        layers = {k: Affine.of(block[k], dtype) for k in block if k != "condition"}
        condition = block["condition"]["kernel"].astype(dtype) if "condition" in block else None
        return cls(layers["conv_1"], layers.get("shortcut"), layers["conv_2"], condition)


class PixelBlock(NamedTuple):
    """A block of the stream ul. What comes from u and the row above is merged to one product,
    and so is what comes from the pixel itself."""

    above_1: Affine  # [2f of u + 4f above, f]
    left_1: Array  # [2f, f]
    here_1: Array  # [2f, f], or [4f, f] with the skip
    above_2: Affine  # [4f, 2f]
    left_2: Array  # [2f, 2f]
    here_2: Array  # [2f, 2f]
    condition: Array | None

    @classmethod
    def of(cls, block: Params, dtype: DTypeLike) -> "PixelBlock":
        first, shortcut, second, condition = RowBlock.of(block, dtype)
        assert shortcut is not None
        (k1, b1), (k2, b2), by_u = first, second, first.kernel.shape[2]
        u, skip = jnp.split(shortcut.kernel[0, 0], [by_u])
        return cls(
            Affine(jnp.concatenate([u, *k1[0]]), b1 + shortcut.bias),
            k1[1, 0],
            jnp.concatenate([k1[1, 1], skip]),
            Affine(jnp.concatenate([*k2[0]]), b2),
            k2[1, 0],
            k2[1, 1],
            condition,
        )


class Level(NamedTuple):
    """Both streams' blocks at one size, and the layers to the next level and back (None at the
    last)."""

    u: tuple[RowBlock, ...]
    ul: tuple[PixelBlock, ...]
    left_1: Float[Array, "blocks two_f f"]
    left_2: Float[Array, "blocks two_f two_f"]
    halve: tuple[Affine, Affine] | None  # of u, of ul
    double: tuple[Affine, Affine] | None

    @classmethod
    def of(cls, params: Params, level: int, names: Sequence[str], dtype: DTypeLike) -> "Level":
        u = tuple(RowBlock.of(params[f"u_{name}"], dtype) for name in names)
        ul = tuple(PixelBlock.of(params[f"ul_{name}"], dtype) for name in names)
        resize = [
            (
                Affine.of(params[f"u_{way}_{level}"], dtype),
                Affine.of(params[f"ul_{way}_{level}"], dtype),
            )
            if f"u_{way}_{level}" in params
            else None
            for way in ("halve", "double")
        ]
        lefts = jnp.stack([b.left_1 for b in ul]), jnp.stack([b.left_2 for b in ul])
        return cls(u, ul, *lefts, *resize)

    @property
    def features(self) -> int:
        return self.left_1.shape[-1]


# Memory


class Memory(NamedTuple):
    """What a stream remembers of a pixel, or of a row of pixels, at one level."""

    inputs: Float[Array, "blocks batch *width two_f"]  # the activations that each block reads
    hidden: Float[Array, "blocks batch *width two_f"]  # and those within it
    down: Float[Array, "batch *width f"]  # what the next level reads
    out: Float[Array, "batch *width f"]  # what the level above reads

    @classmethod
    def blank(cls, level: Level, *shape: int) -> "Memory":
        n, f, dtype = len(level.u), level.features, level.left_1.dtype
        return cls(
            jnp.zeros((n, *shape, 2 * f), dtype),
            jnp.zeros((n, *shape, 2 * f), dtype),
            jnp.zeros((*shape, f), dtype),
            jnp.zeros((*shape, f), dtype),
        )


class RowMemory(NamedTuple):
    """The last row of a level."""

    u: Memory
    ul: Memory


class Context(NamedTuple):
    """What u and the rows above add to the pixels of a row at one level."""

    first: Float[Array, "width batch f"]  # the part of the first layer, or of the halving
    partial_1: Float[Array, "width blocks batch f"]
    partial_2: Float[Array, "width blocks batch two_f"]
    double: Float[Array, "width batch f"] | None  # the part of the layer back from the next level

    @classmethod
    def blank(cls, level: Level, row: RowMemory) -> "Context":
        def zeros(x: Array) -> Array:
            return jnp.zeros((x.shape[-2], *x.shape[:-2], x.shape[-1]), x.dtype)

        half, one = row.ul.inputs[..., : level.features], zeros(row.ul.down)
        return cls(one, zeros(half), zeros(row.ul.hidden), None if level.double is None else one)


# The steps


def row_step(
    levels: Sequence[Level],
    rows: Sequence[RowMemory],
    i: Array,
    u: Float[Array, "batch width f"],
    first: Float[Array, "batch width f"],
    cond: Float[Array, "batch width_or_1 c"] | None,
) -> tuple[list[RowMemory], list[Context], Float[Array, "batch width f"]]:
    """Row ``i`` of a level and of those below it that have a new row now.

    ``u`` is what the stream u enters with, ``first`` is passed on as ``Context.first``. Returns
    the memory (of ul still the row above), the pixels' contexts, and u's output.
    """
    level, above = levels[0], rows[0]
    inputs, hidden, partial_1, partial_2 = [], [], [], []

    def block(u: Array, *skip: Array) -> Array:
        n = len(inputs)
        row, pixel = level.u[n], level.ul[n]
        inputs.append(concat_elu(u))
        c1 = _conv_row(row.first, above.u.inputs[n], inputs[n])
        if row.shortcut is not None:
            c1 = c1 + skip[0] @ row.shortcut.kernel[0, 0] + row.shortcut.bias
        hidden.append(concat_elu(c1))
        c2 = _conv_row(row.second, above.u.hidden[n], hidden[n])
        u = u + linear_gate(_with_condition(c2, cond, row.condition))
        seen = [concat_elu(u), shift_right(above.ul.inputs[n]), above.ul.inputs[n]]
        partial_1.append(_product(pixel.above_1, *seen))
        seen = [shift_right(above.ul.hidden[n]), above.ul.hidden[n]]
        partial_2.append(_with_condition(_product(pixel.above_2, *seen), cond, pixel.condition))
        return u

    for _ in range(len(level.u) // 2):
        u = block(u)
    skips, down, double, lower_rows, lower_contexts = list(inputs), u, None, [], []
    if level.halve is not None:
        skips.append(concat_elu(u))
        lower_rows, lower_contexts, u, double = _lower_rows(levels, rows, i, u, cond)
    for skip in reversed(skips):
        u = block(u, skip)
    memory = Memory(jnp.stack(inputs), jnp.stack(hidden), down, out=u)
    context = Context(
        _by_pixel(first),
        _by_pixel(jnp.stack(partial_1)),
        _by_pixel(jnp.stack(partial_2)),
        None if double is None else _by_pixel(double),
    )
    return [RowMemory(memory, above.ul), *lower_rows], [context, *lower_contexts], u


def _lower_rows(levels, rows, i: Array, u: Array, cond: Array | None):
    """The levels below the first: their memory and contexts, and what comes back to u and ul.

    At an odd row they are held, and all that comes back to ul comes from the row above.
    """
    (level, *lower_levels), (above, *lower_rows) = levels, rows
    (halve_u, halve_ul), (double_u, double_ul) = level.halve, level.double
    odd = u.shape[1] % 2  # the last column of the doubled row is cropped
    if cond is not None:
        cond = cond[:, ::2]

    def new():
        below = conv(
            jnp.stack([above.u.down, u], 1), halve_u.kernel, strides=2, padding=((0, 0), (1, 1))
        )
        first = conv(
            above.ul.down[:, None], halve_ul.kernel[:1], strides=(1, 2), padding=((0, 0), (1, 0))
        )
        below, first = below[:, 0] + halve_u.bias, first[:, 0] + halve_ul.bias
        rows, contexts, _ = row_step(lower_levels, lower_rows, i // 2, below, first, cond)
        return rows, contexts, jnp.zeros_like(u)

    def held():
        contexts = list(map(Context.blank, lower_levels, lower_rows))
        back = _double(lower_rows[0].ul.out, double_ul.kernel[:1], (1, 1 - odd))
        return lower_rows, contexts, back

    lower_rows, contexts, back = lax.cond(i % 2 == 0, new, held)
    kernel = lax.dynamic_slice_in_dim(double_u.kernel, 1 - i % 2, 1)
    u = _double(lower_rows[0].u.out, kernel, (1, 2 - odd)) + double_u.bias
    return lower_rows, contexts, u, back + double_ul.bias


def pixel_step(
    levels: Sequence[Level],
    memory: Sequence[Memory],
    contexts: Sequence[Context],
    even: Sequence[Array],
    j: Array,
    ul: Float[Array, "batch f"],
) -> tuple[list[Memory], Float[Array, "batch f"]]:
    """Pixel ``j`` of a level and of those below it that have a new pixel now.

    ``memory`` is of the pixel to the left. ``contexts`` are of this pixel at the first level, of
    all pixels at the others. ``even`` says of each level whether its row is even. Returns the
    memory of this pixel, and ul's output.
    """
    (level, *lower_levels), (left, *lower), (context, *lower_contexts) = levels, memory, contexts
    partial_1 = context.partial_1 + jnp.einsum("nbc,ncd->nbd", left.inputs, level.left_1)
    partial_2 = context.partial_2 + jnp.einsum("nbc,ncd->nbd", left.hidden, level.left_2)
    inputs, hidden = [], []

    def block(ul: Array, *skip: Array) -> Array:
        n = len(inputs)
        inputs.append(concat_elu(ul))
        here = jnp.concatenate([inputs[n], *skip], axis=-1)
        hidden.append(concat_elu(partial_1[n] + here @ level.ul[n].here_1))
        return ul + linear_gate(partial_2[n] + hidden[n] @ level.ul[n].here_2)

    for _ in range(len(level.ul) // 2):
        ul = block(ul)
    skips, down = list(inputs), ul
    if level.halve is not None and level.double is not None:
        skips.append(concat_elu(ul))
        into = level.halve[1].kernel[1].reshape(-1, level.features)

        def new():
            first, *rest = lower_contexts
            here = jax.tree.map(lambda x: _at(x, j // 2), first)
            below = here.first + jnp.concatenate([left.down, down], axis=-1) @ into
            return pixel_step(lower_levels, lower, [here, *rest], even[1:], j // 2, below)[0]

        lower = lax.cond(even[0] & (j % 2 == 0), new, lambda: lower)
        # In odd rows the memory is blank, and what comes back stands in the context. Tap (1, 1 - b)
        # of a transposed convolution makes the even row's columns of parity b.
        ul = context.double + lower[0].out @ _at(level.double[1].kernel[1], 1 - j % 2)
    for skip in reversed(skips):
        ul = block(ul, skip)
    return [Memory(jnp.stack(inputs), jnp.stack(hidden), down, out=ul), *lower], ul


def row_of_pixels(
    rows: Sequence[RowMemory], pixels: Sequence[Memory], even: Sequence[Array]
) -> list[RowMemory]:
    """The memory after a row, whose pixels [W, ...] are remembered as ``pixels`` says."""
    is_new, updated = jnp.bool_(True), []
    for level, (row, pixel) in enumerate(zip(rows, pixels, strict=True)):
        ul = jax.tree.map(lambda x, level=level: jnp.moveaxis(x[:: 2**level], 0, -2), pixel)
        ul = jax.tree.map(lambda new, old, now=is_new: jnp.where(now, new, old), ul, row.ul)
        updated.append(RowMemory(row.u, ul))
        is_new = is_new & even[level]
    return updated


def _at(x: Array, index: Array) -> Array:
    return lax.dynamic_index_in_dim(x, index, keepdims=False)


def _by_pixel(x: Array) -> Array:
    """[..., B, W, C] -> [W, ..., B, C]."""
    return jnp.moveaxis(x, -2, 0)


def _conv_row(layer: Affine, above: Array, here: Array) -> Array:
    return conv_row(jnp.stack([above, here], axis=1), layer.kernel) + layer.bias


def _product(layer: Affine, *inputs: Array) -> Array:
    return jnp.concatenate(inputs, axis=-1) @ layer.kernel + layer.bias


def _double(row: Array, kernel: Float[Array, "1 taps c_in c_out"], pads: tuple[int, int]) -> Array:
    doubled = conv_transpose(row[:, None], kernel, strides=(1, 2), padding=((0, 0), pads))
    return doubled[:, 0]


def _with_condition(x: Array, cond: Array | None, kernel: Array | None) -> Array:
    if cond is None or kernel is None:
        return x
    return x + jnp.broadcast_to(cond @ kernel, x.shape)
