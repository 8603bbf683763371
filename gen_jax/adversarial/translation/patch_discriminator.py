"""A discriminator that judges patches: pix2pix's PatchGAN (Isola et al. 2016, 1611.07004).

Each logit sees a square of ``receptive_field`` pixels, and whether an image is real is the mean
over patches of what a loss makes of their logits (section 3.2.2).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.networks import LEAK, NORMAL
from gen_jax.adversarial.translation.networks import (
    keeps_bias,
    normalized,
    require_images,
    require_no_more,
    require_sides,
)
from gen_jax.images import as_symmetric
from gen_jax.nn.blocks import Norm, spectral_norm
from gen_jax.nn.condition import Condition
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import last_dtype
from gen_jax.typing import Array

ReceptiveField = Literal[1, 16, 34, 70, 142, 286]


class PatchDiscriminator(nn.Module):
    """pix2pix's (appendix 6.1.2) and CycleGAN's: logits of overlapping patches, [B, h, w] float32.

    It reads images [B, H, W, C] in [-1, 1] and, where there is one, the image ``cond.spatial``
    [B, H, W, C'] that they are made of, uint8 levels or floats. Convolutions of kernel 4, some of
    them halving, with one pixel of zeros around each image, as in the authors' code; the first
    output is not normalized. A receptive field of 1 is the PixelGAN: kernels of 1, and a logit for
    each pixel.

    Raises ``ValueError`` for another receptive field, for images of which the convolutions leave
    nothing (of sides below ``least_side``), and for a condition of another size or kind.
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    receptive_field: ReceptiveField = 70
    norm: Norm = "batch"
    spectral: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def least_side(self) -> int:
        """The side of which the convolutions leave one logit."""
        side = 1
        for kernel, stride in reversed(layer_windows(self.receptive_field)):
            side = (side - 1) * stride + kernel - 2 * _padding(kernel)
        return side

    @nn.compact
    def __call__(
        self, x: FloatImages, cond: Condition | None = None, *, train: bool = False
    ) -> Float[Array, "batch h w"]:
        windows = layer_windows(self.receptive_field)
        who = f"a PatchDiscriminator of receptive field {self.receptive_field}"
        require_images(self, x)
        require_sides(who, x.shape[1:3], self.least_side)
        x = self._with_source(x, cond)
        for i, (kernel, stride) in enumerate(windows):
            last = i == len(windows) - 1
            options: Any = {
                "strides": stride,
                "padding": ((_padding(kernel),) * 2,) * 2,
                "use_bias": i == 0 or last or keeps_bias(self.norm),
                "kernel_init": NORMAL,
                "kernel_norm": spectral_norm(self.spectral),
                "dtype": last_dtype(self.dtype) if last else self.dtype,
            }
            features = 1 if last else self.features * min(2**i, 8)
            x = Conv(features, (kernel, kernel), **options, name="logit" if last else f"conv_{i}")(
                x
            )
            if not last:
                x = normalized(self, x, train=train, name=f"norm_{i}") if i > 0 else x
                x = nn.leaky_relu(x, LEAK)
        return x[..., 0].astype(jnp.float32)

    def _with_source(self, x: FloatImages, cond: Condition | None) -> FloatImages:
        require_no_more(self, cond)
        if cond is None or cond.spatial is None:
            return x
        require_images(self, cond.spatial)
        if cond.spatial.shape[:3] != x.shape[:3]:
            raise ValueError(
                "images and sources (cond.spatial) must agree in batch, height and width, got "
                f"{x.shape} and {cond.spatial.shape}"
            )
        source = as_symmetric(cond.spatial).astype(x.dtype)
        return jnp.concatenate([source, x], axis=-1)


def layer_windows(receptive_field: int) -> list[tuple[int, int]]:
    """The kernel and stride of each layer of a ``PatchDiscriminator``, from the image on.

    Raises ``ValueError`` for a receptive field that none has.
    """
    for windows in [[(1, 1)] * 3, *([(4, 2)] * n + [(4, 1)] * 2 for n in range(1, 6))]:
        if field_of(windows) == receptive_field:
            return windows
    fields = ", ".join(map(str, get_args(ReceptiveField)))
    raise ValueError(f"receptive_field must be one of {fields}, got {receptive_field}")


def field_of(windows: Sequence[tuple[int, int]]) -> int:
    """How many pixels of a side one output sees, of layers with these (kernel, stride)."""
    field = 1
    for kernel, stride in reversed(windows):
        field = (field - 1) * stride + kernel
    return field


def _padding(kernel: int) -> int:
    return int(kernel > 1)
