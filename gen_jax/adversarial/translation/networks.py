"""Generators that translate images: pix2pix's U-Net (Isola et al. 2016, 1611.07004) and CycleGAN's
residual network (Zhu et al. 2017, 1703.10593).

A generator is called as ``generator(noise, cond, train=...)`` and translates ``cond.spatial``
[B, H, W, C], uint8 levels or floats in [-1, 1], to images [B, H, W, channels], float32 in [-1, 1].
Images may be of any size: half of an odd side is rounded up, and its double cropped. ``least_side``
is the smallest side that a network takes. ``noise`` is one typed key for each image, or None.
``ValueError`` is raised for an image that is missing, too small or of another rank, and for
conditions other than images.

Kernels start normal with deviation 0.02, and the scales of normalizations normal around 1, as in
the authors' code. Parameters are float32, and ``dtype`` is what a network computes in, all but its
last product (``nn.precision``). Where ``norm`` is ``"batch"``, the collection ``batch_stats`` is
updated in training, with statistics over the devices of the axis ``axis_name``.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.networks import LEAK, NORMAL
from gen_jax.images import as_symmetric
from gen_jax.nn.blocks import Norm, Upsampling, dropout, normalize, upsample
from gen_jax.nn.condition import Condition
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import last_dtype
from gen_jax.typing import Array, PRNGKey, PRNGKeys

DEEPEST = 8  # halvings, which make one pixel of the paper's 256
DROPPED = 3  # of the decoder's innermost layers


class UNetGenerator(nn.Module):
    """pix2pix's (appendix 6.1.1): an encoder, and a decoder that sees each of the encoder's maps.

    ``features`` maps of half the sides, twice as many for every halving below, eight times as many
    at most. The innermost map is not normalized, as in the authors' code: of one pixel nothing
    would be left. Where keys are given as ``noise``, dropout acts on the three innermost of the
    decoder's layers, in training and afterwards; the mask of an example comes from its key alone.

    With ``residual`` the network makes a correction of its source, which must have as many
    channels: for sources that are near their targets, as in super-resolution. It starts at zero.

    ``depth`` is the number of halvings. None stands for ``unet_depth`` of the image; parameters
    serve other sizes only where ``depth`` is given.
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    channels: int
    depth: int | None = None
    norm: Norm = "batch"
    dropout_rate: float = 0.5
    residual: bool = False
    upsample: Upsampling = "deconv"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def least_side(self) -> int:
        """The innermost map but one has two pixels or more on a side."""
        return 2 if self.depth is None else 2 ** (self.depth - 1) + 1

    @nn.compact
    def __call__(
        self, noise: PRNGKeys | None, cond: Condition | None, *, train: bool = False
    ) -> FloatImages:
        x = source = source_image(self, cond)
        if self.residual and source.shape[-1] != self.channels:
            raise ValueError(
                f"a residual UNetGenerator corrects images of {self.channels} channels, got "
                f"{source.shape[-1]}"
            )
        _require_keys(noise, len(x))
        (height, width), depth = x.shape[1:3], self._depth(x.shape[1:3])
        maps = [self.features * min(2**i, 8) for i in range(depth)]
        shared: Any = {"kernel_init": NORMAL, "dtype": self.dtype}

        skips = []
        for i, features in enumerate(maps):
            x = x if i == 0 else nn.leaky_relu(x, LEAK)
            plain = i in (0, depth - 1)
            bias = plain or keeps_bias(self.norm)
            x = Conv(features, (4, 4), strides=2, use_bias=bias, **shared, name=f"down_{i}")(x)
            x = x if plain else normalized(self, x, train=train, name=f"down_norm_{i}")
            skips.append(x)

        x = skips.pop()
        for i, skip in enumerate(reversed(skips)):
            options = shared | {"use_bias": keeps_bias(self.norm), "name": f"up_{i}"}
            x = upsample(nn.relu(x), skip.shape[-1], self.upsample, **options)
            x = x[:, : skip.shape[1], : skip.shape[2]]  # an odd side's half was rounded up
            x = normalized(self, x, train=train, name=f"up_norm_{i}")
            if noise is not None and i < DROPPED:
                own = jax.vmap(jax.random.fold_in, (0, None))(noise, i)
                x = dropout(x, own, self.dropout_rate)
            x = jnp.concatenate([x, skip], axis=-1)
        options = shared | {"dtype": last_dtype(self.dtype), "name": "image"}
        if self.residual:
            options["kernel_init"] = nn.initializers.zeros
        x = upsample(nn.relu(x), self.channels, self.upsample, **options)[:, :height, :width]
        x = x.astype(jnp.float32)
        return jnp.clip(source + x, -1.0, 1.0) if self.residual else jnp.tanh(x)

    def _depth(self, sides: Sequence[int]) -> int:
        if self.depth is not None:
            if self.depth < 1:
                raise ValueError(f"depth must be 1 or more, got {self.depth}")
            require_sides(f"a UNetGenerator of depth {self.depth}", sides, self.least_side)
            return self.depth
        require_sides("a UNetGenerator", sides, self.least_side)
        depth = unet_depth(sides)
        has_it, has_more = (self.has_variable("params", f"down_{i}") for i in (depth - 1, depth))
        if not self.is_initializing() and (has_more or not has_it):
            raise ValueError(
                f"an image of {sides[0]}×{sides[1]} pixels halves {depth} times, and these "
                "parameters are of another depth: give the UNetGenerator that depth"
            )
        return depth


def unet_depth(sides: Sequence[int]) -> int:
    """How often an image's height and width halve: the smaller to one pixel, and 8 times at most.

    Halves are rounded up: 3 times for sides of 5 to 8.
    """
    return min((min(sides) - 1).bit_length(), DEEPEST)


class ResNetGenerator(nn.Module):
    """CycleGAN's (appendix 7.2), after Johnson et al. (2016, 1603.08155).

    Two halvings, ``blocks`` residual blocks (the paper's: 6 for 128 pixels, 9 for 256), two
    doublings. Kernels of 7 and those of the blocks see the image mirrored at its edges. There is
    no noise: keys change nothing.
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    channels: int
    blocks: int = 9
    norm: Norm = "instance"
    upsample: Upsampling = "deconv"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def least_side(self) -> int:
        """A quarter of a side, rounded up, must be two pixels or more: one cannot be mirrored."""
        return 5

    @nn.compact
    def __call__(
        self, noise: PRNGKeys | None, cond: Condition | None, *, train: bool = False
    ) -> FloatImages:
        del noise
        x = source_image(self, cond)
        require_sides("a ResNetGenerator", x.shape[1:3], self.least_side)
        bias, f = keeps_bias(self.norm), self.features
        shared: Any = {"use_bias": bias, "kernel_init": NORMAL, "dtype": self.dtype}

        def activated(x: Array, name: str) -> Array:
            return nn.relu(normalized(self, x, train=train, name=f"{name}_norm"))

        mirrored: Any = {"padding": "REFLECT"}
        sizes = []
        x = activated(Conv(f, (7, 7), **mirrored, **shared, name="first")(x), "first")
        for i in range(2):
            sizes.append(x.shape[1:3])
            around, name = ((1, 1), (1, 1)), f"down_{i}"
            x = Conv(2 * f << i, (3, 3), strides=2, padding=around, **shared, name=name)(x)
            x = activated(x, name)
        for i in range(self.blocks):
            name = f"block_{i}"
            y = Conv(4 * f, (3, 3), **mirrored, **shared, name=f"{name}_conv_0")(x)
            y = activated(y, f"{name}_0")
            y = Conv(4 * f, (3, 3), **mirrored, **shared, name=f"{name}_conv_1")(y)
            x = x + normalized(self, y, train=train, name=f"{name}_1_norm")
        for i, (height, width) in enumerate(reversed(sizes)):
            name = f"up_{i}"
            x = upsample(x, 2 * f >> i, self.upsample, deconv_size=3, **shared, name=name)
            x = activated(x[:, :height, :width], name)
        shared |= {"use_bias": True, "dtype": last_dtype(self.dtype)}
        x = Conv(self.channels, (7, 7), **mirrored, **shared, name="image")(x)
        return jnp.tanh(x.astype(jnp.float32))


# What networks that read images share


def source_image(network: nn.Module, cond: Condition | None) -> FloatImages:
    """The image of a condition as floats in [-1, 1].

    Raises ``ValueError`` where it is missing or of another rank, and for other conditions.
    """
    require_no_more(network, cond)
    if cond is None or cond.spatial is None:
        name = type(network).__name__
        raise ValueError(f"a {name} translates the images in cond.spatial, which are missing")
    require_images(network, cond.spatial)
    return as_symmetric(cond.spatial)


def require_no_more(network: nn.Module, cond: Condition | None) -> None:
    """Raises ``ValueError`` for conditions other than images."""
    for name in ("label", "vector", "tokens"):
        if getattr(cond, name, None) is not None:
            who = type(network).__name__
            raise ValueError(f"a {who} reads cond.spatial alone, got cond.{name}")


def require_images(network: nn.Module, images: Array) -> None:
    """Raises ``ValueError`` for another rank."""
    if images.ndim != 4:
        raise ValueError(
            f"a {type(network).__name__} reads images [batch, height, width, channels], "
            f"got {images.shape}"
        )


def require_sides(who: str, sides: Sequence[int], least: int) -> None:
    """Raises ``ValueError`` for an image with a side below ``least``."""
    if min(sides) < least:
        raise ValueError(
            f"{who} is for images of {least}×{least} pixels or more, got {sides[0]}×{sides[1]}"
        )


def _require_keys(noise: PRNGKeys | None, batch: int) -> None:
    if noise is None:
        return
    if not jnp.issubdtype(noise.dtype, jax.dtypes.prng_key) or noise.shape != (batch,):
        raise ValueError(
            f"noise must be {batch} typed keys, one an image, got {noise.dtype} {noise.shape}"
        )


def keeps_bias(norm: Norm) -> bool:
    """Whether a bias before a normalization makes a difference: not where its mean is removed."""
    return norm not in ("batch", "instance")


def normalized(
    network: Any, x: Float[Array, "batch height width c"], *, train: bool, name: str
) -> Float[Array, "batch height width c"]:
    """``x`` by the network's own normalization: a layer of it."""
    return normalize(
        x,
        network.norm,
        train=train,
        name=name,
        axis_name=network.axis_name,
        scale_init=_near_one,
        dtype=network.dtype,
    )


def _near_one(
    key: PRNGKey, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None
) -> Array:
    del out_sharding
    return 1.0 + NORMAL(key, shape, dtype)
