"""Inception-v3 as the Fréchet Inception distance uses it (Szegedy et al. 2015, Heusel et al. 2017).

The network of TensorFlow's archive ``inception-2015-12-05``, in the form that PyTorch's ports gave
it. It differs from the published network where that archive does: average pools leave padding out
of the mean, the last block pools by the maximum, and there are 1,008 classes.

No weights are shipped. They are read from a file that the user has: safetensors, with the names of
the PyTorch port (``pt_inception-2015-12-05``, of pytorch-fid and torch-fidelity);
``experiments/convert_inception.py`` makes it from the port's state dict.
"""

import os
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, UInt8

from gen_jax.evaluation import weights
from gen_jax.evaluation.resize import Resizer, resize
from gen_jax.nn.conv import Conv
from gen_jax.typing import Array, Params

SIZE = 299
N_CLASSES = 1008
BATCH_NORM_EPSILON = 1e-3
STATISTICS = ("weight", "bias", "running_mean", "running_var")

ColourImages = UInt8[Array, "batch height width 3"] | Float[Array, "batch height width 3"]


class InceptionV3(nn.Module):
    """From floats in [-1, 1] to the last pool's features, and the logits of 1,008 classes.

    The logits have no bias, as the Inception score has been computed from its first code on
    (Salimans et al. 2016). Batch normalization is part of the convolutions' kernels and biases.
    """

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch 299 299 3"]
    ) -> tuple[Float[Array, "batch 2048"], Float[Array, "batch 1008"]]:
        x = _conv(
            image, "Conv2d_1a_3x3", 32, (3, 3), strides=2, padding="VALID"
        )  # [B, 149, 149, 32]
        x = _conv(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
        x = _conv(x, "Conv2d_2b_3x3", 64, (3, 3))
        x = nn.max_pool(x, (3, 3), (2, 2))  # [B, 73, 73, 64]
        x = _conv(x, "Conv2d_3b_1x1", 80, (1, 1))
        x = _conv(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID")
        x = nn.max_pool(x, (3, 3), (2, 2))  # [B, 35, 35, 192]
        x = _BlockA(32, name="Mixed_5b")(x)
        x = _BlockA(64, name="Mixed_5c")(x)
        x = _BlockA(64, name="Mixed_5d")(x)
        x = _BlockB(name="Mixed_6a")(x)  # [B, 17, 17, 768]
        x = _BlockC(128, name="Mixed_6b")(x)
        x = _BlockC(160, name="Mixed_6c")(x)
        x = _BlockC(160, name="Mixed_6d")(x)
        x = _BlockC(192, name="Mixed_6e")(x)
        x = _BlockD(name="Mixed_7a")(x)  # [B, 8, 8, 1280]
        x = _BlockE("mean", name="Mixed_7b")(x)
        x = _BlockE("max", name="Mixed_7c")(x)  # [B, 8, 8, 2048]
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(N_CLASSES, use_bias=False, name="fc")(features)


class _BlockA(nn.Module):
    """1×1, 5×5 and twice 3×3 convolutions, and a pool."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = _conv(x, "branch1x1", 64, (1, 1))
        five = _conv(x, "branch5x5_1", 48, (1, 1))
        five = _conv(five, "branch5x5_2", 64, (5, 5))
        three = _conv(x, "branch3x3dbl_1", 64, (1, 1))
        three = _conv(three, "branch3x3dbl_2", 96, (3, 3))
        three = _conv(three, "branch3x3dbl_3", 96, (3, 3))
        pool = _conv(_average_pool(x), "branch_pool", self.pool_features, (1, 1))
        return jnp.concatenate([one, five, three, pool], axis=-1)


class _BlockB(nn.Module):
    """Halves the sides: 3×3 convolutions of stride 2 next to a pool."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        single = _conv(x, "branch3x3", 384, (3, 3), strides=2, padding="VALID")
        double = _conv(x, "branch3x3dbl_1", 64, (1, 1))
        double = _conv(double, "branch3x3dbl_2", 96, (3, 3))
        double = _conv(double, "branch3x3dbl_3", 96, (3, 3), strides=2, padding="VALID")
        return jnp.concatenate([single, double, nn.max_pool(x, (3, 3), (2, 2))], axis=-1)


class _BlockC(nn.Module):
    """7×7 convolutions as pairs of 1×7 and 7×1."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = _conv(x, "branch1x1", 192, (1, 1))
        single = _conv(x, "branch7x7_1", self.width, (1, 1))
        single = _conv(single, "branch7x7_2", self.width, (1, 7))
        single = _conv(single, "branch7x7_3", 192, (7, 1))
        double = _conv(x, "branch7x7dbl_1", self.width, (1, 1))
        double = _conv(double, "branch7x7dbl_2", self.width, (7, 1))
        double = _conv(double, "branch7x7dbl_3", self.width, (1, 7))
        double = _conv(double, "branch7x7dbl_4", self.width, (7, 1))
        double = _conv(double, "branch7x7dbl_5", 192, (1, 7))
        pool = _conv(_average_pool(x), "branch_pool", 192, (1, 1))
        return jnp.concatenate([one, single, double, pool], axis=-1)


class _BlockD(nn.Module):
    """Halves the sides, with a 7×7 branch."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = _conv(x, "branch3x3_1", 192, (1, 1))
        three = _conv(three, "branch3x3_2", 320, (3, 3), strides=2, padding="VALID")
        seven = _conv(x, "branch7x7x3_1", 192, (1, 1))
        seven = _conv(seven, "branch7x7x3_2", 192, (1, 7))
        seven = _conv(seven, "branch7x7x3_3", 192, (7, 1))
        seven = _conv(seven, "branch7x7x3_4", 192, (3, 3), strides=2, padding="VALID")
        return jnp.concatenate([three, seven, nn.max_pool(x, (3, 3), (2, 2))], axis=-1)


class _BlockE(nn.Module):
    """Branches that end in a 1×3 and a 3×1 convolution side by side."""

    pool: str  # "mean" or "max"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = _conv(x, "branch1x1", 320, (1, 1))
        single = _conv(x, "branch3x3_1", 384, (1, 1))
        single_wide = _conv(single, "branch3x3_2a", 384, (1, 3))
        single_high = _conv(single, "branch3x3_2b", 384, (3, 1))
        double = _conv(x, "branch3x3dbl_1", 448, (1, 1))
        double = _conv(double, "branch3x3dbl_2", 384, (3, 3))
        double_wide = _conv(double, "branch3x3dbl_3a", 384, (1, 3))
        double_high = _conv(double, "branch3x3dbl_3b", 384, (3, 1))
        if self.pool == "mean":
            pool = _average_pool(x)
        else:
            pool = nn.max_pool(x, (3, 3), (1, 1), padding="SAME")
        pool = _conv(pool, "branch_pool", 192, (1, 1))
        branches = [one, single_wide, single_high, double_wide, double_high, pool]
        return jnp.concatenate(branches, axis=-1)


def _conv(
    x: Array,
    name: str,
    features: int,
    kernel_size: tuple[int, int],
    *,
    strides: int = 1,
    padding: str = "SAME",
) -> Array:
    """A convolution and its ReLU, as a layer of the module that calls."""
    return nn.relu(Conv(features, kernel_size, strides=strides, padding=padding, name=name)(x))


def _average_pool(x: Array) -> Array:
    """The mean of each pixel's 3×3 neighbours that lie in the image."""
    return nn.avg_pool(x, (3, 3), (1, 1), padding="SAME", count_include_pad=False)


@flax.struct.dataclass
class Inception:
    """The network with weights. A pytree: hand it to a compiled function as an argument.

    ``name`` and ``digest`` (SHA-256 of the weights as they were read) say which it is, ``resizer``
    how it makes images 299 pixels wide and high. On accelerators whose products have fewer than
    float32's bits by default, compile and call under ``jax.default_matmul_precision("highest")``.
    """

    params: Params
    name: str = flax.struct.field(pytree_node=False)
    digest: str = flax.struct.field(pytree_node=False)
    resizer: Resizer = flax.struct.field(pytree_node=False, default="bicubic")

    def __call__(
        self, image: ColourImages
    ) -> tuple[Float[Array, "batch 2048"], Float[Array, "batch 1008"]]:
        """The last pool's features, none negative, and the classes' logits, in one pass.

        Images are colour images of any size with levels 0..255: uint8, or the floats that
        ``resize`` makes. Raises ``ValueError`` for another number of channels.
        """
        check_colour(image.shape)
        x = (resize(image, SIZE, method=self.resizer) - 128.0) / 128.0
        return InceptionV3().apply({"params": self.params}, x)  # pyright: ignore

    def features(self, image: ColourImages) -> Float[Array, "batch 2048"]:
        """The features of a call alone."""
        return self(image)[0]

    def log_probs(self, image: ColourImages) -> Float[Array, "batch 1008"]:
        """Log-probabilities of the classes, for the Inception score."""
        return jax.nn.log_softmax(self(image)[1])


def check_colour(shape: Sequence[int]) -> None:
    """Raises ``ValueError`` unless a batch of images has three channels."""
    if len(shape) == 4 and shape[3] == 3:
        return
    message = f"Inception expects colour images [B, H, W, 3], got {list(shape)}"
    if len(shape) == 4 and shape[3] == 1:
        message += "; repeat the channel of gray images three times"
    raise ValueError(message)


def load(path: str | os.PathLike[str], *, resizer: Resizer = "bicubic") -> Inception:
    """Reads weights from a safetensors file with the names of the PyTorch port.

    Raises ``weights.WeightsError`` where the file is damaged or of another network.
    """
    return from_tensors(weights.read(path), resizer=resizer, where=str(path))


def from_tensors(
    tensors: weights.Tensors, *, resizer: Resizer = "bicubic", where: str = "the state dict"
) -> Inception:
    """Makes the network of the PyTorch port's arrays; ``where`` is their origin, for errors.

    Raises ``weights.WeightsError`` naming the first array that is missing or does not fit, and
    leaves out what the network does not use.
    """
    used = select(tensors, where=where)
    params: dict[str, Array] = {"fc.kernel": jnp.asarray(used["fc.weight"].T, jnp.float32)}
    for layer in (n.removesuffix(".conv.weight") for n in used if n.endswith(".conv.weight")):
        kernel, bias = _folded(used, layer)
        params[f"{layer}.kernel"], params[f"{layer}.bias"] = jnp.asarray(kernel), jnp.asarray(bias)
    return Inception(
        params=unflatten_dict(params, sep="."),
        name="Inception-v3 2015-12-05",
        digest=weights.digest(used),
        resizer=resizer,
    )


def select(tensors: weights.Tensors, *, where: str = "the state dict") -> dict[str, np.ndarray]:
    """The arrays of the PyTorch port that the network uses. Raises as ``from_tensors``."""
    return weights.select(tensors, state_dict_shapes(), network="FID's Inception-v3", where=where)


def state_dict_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes, in the PyTorch port, of all that the network uses."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (rows, columns, c_in, c_out) in _kernels().items():
        shapes[f"{layer}.conv.weight"] = (c_out, c_in, rows, columns)
        shapes |= {f"{layer}.bn.{name}": (c_out,) for name in STATISTICS}
    return shapes | {"fc.weight": (N_CLASSES, 2048)}


def _kernels() -> dict[str, tuple[int, int, int, int]]:
    """Each convolution's name and the shape of its kernel, in the order of the names."""
    image = jnp.zeros((1, SIZE, SIZE, 3))
    variables = jax.eval_shape(InceptionV3().init, jax.random.key(0), image)
    named: dict[str, Any] = flatten_dict(variables["params"], sep=".")  # pyright: ignore
    return {
        name.removesuffix(".kernel"): leaf.shape for name, leaf in named.items() if leaf.ndim == 4
    }


def _folded(
    tensors: weights.Tensors, layer: str
) -> tuple[Float[np.ndarray, "rows columns c_in c_out"], Float[np.ndarray, " c_out"]]:
    """Kernel and bias of a convolution and the batch normalization behind it, in one."""
    kernel = np.asarray(tensors[f"{layer}.conv.weight"], np.float64).transpose(2, 3, 1, 0)
    scale, shift, mean, variance = (
        np.asarray(tensors[f"{layer}.bn.{name}"], np.float64) for name in STATISTICS
    )
    scale = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
    return (kernel * scale).astype(np.float32), (shift - mean * scale).astype(np.float32)
