"""The networks whose sampling ``benchmark_sampling`` measures, and its options."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, Literal, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.running.options import UsageError, require_at_least, require_positive
from gen_jax import autoregressive
from gen_jax.autoregressive.sampling import Method
from gen_jax.densities import Bernoulli, LogisticMixture
from gen_jax.nn.condition import Condition
from gen_jax.state import TrainState
from gen_jax.training.once import compile_once

Model = Literal[
    "gated-7x32",
    "gated-12x64",
    "masked-7x64",
    "plus-plus",
    "row-lstm",
    "diagonal-bilstm",
    "wavenet",
    "gated-trained",
    "gated-side",
    "gated-residual",
    "gated-unet",
]
CACHED_ALONE: tuple[Model, ...] = ("gated-side", "gated-residual", "gated-unet")
"""Models whose rows have one method."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, and for how long."""

    model: tuple[Model, ...] = ()
    """Default: all that have at least one of the methods."""
    method: tuple[Method, ...] = ("cached", "jacobi", "naive")
    batch: tuple[int, ...] = ()
    """Images drawn at once; default the model's own."""
    size: int | None = None
    """Side of the images, or samples of sound; default the model's own."""
    channels: Literal[1, 3] | None = None
    """Channels of the images; sound has one."""
    seconds: float = 8.0
    """Seconds of repetitions for each row."""
    train_steps: int = 200
    """Training steps of the row gated-trained."""
    small: bool = False
    """Tiny networks, to check that everything runs."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    devices: int = 1
    """Devices that a batch is spread over. A CPU's cores become as many; the forward pass beside
    it still runs on all cores at once."""
    peer: bool = True
    """Also measure PyTorch, where it is installed and comparable."""
    out: Path | None = None
    """Write the rows as JSON, and the plot of gated-side beside them."""

    def __post_init__(self):
        require_positive(self, "seconds")
        require_at_least(1, self, "train_steps", "devices", "batch", "size")
        alone = [name for name in self.model if name in CACHED_ALONE]
        if alone and "cached" not in self.method:
            raise UsageError(
                f"{', '.join(alone)}: measured with --method cached alone, got "
                f"{' '.join(self.method)}"
            )

    def batches(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        """Those asked for, or of the usual ones those that the devices can share, if any."""
        return self.batch or tuple(n for n in usual if n % self.devices == 0) or usual

    @property
    def models(self) -> tuple[Model, ...]:
        """Those asked for, or all that have one of the methods."""
        if self.model:
            return self.model
        every: tuple[Model, ...] = get_args(Model)
        cached = "cached" in self.method
        return tuple(name for name in every if cached or name not in CACHED_ALONE)


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, and what it is measured on."""

    model: Any
    shape: tuple[int, ...]  # *space, channels
    batches: tuple[int, ...]

    def start(self) -> TrainState:
        """The network before training, started on noise."""
        levels = self.model.likelihood.levels
        noise = np.random.default_rng(0).integers(0, levels, (4, *self.shape))
        example = self.model.likelihood.to_data(jnp.asarray(noise, jnp.int32))
        init = functools.partial(autoregressive.init, self.model, optax.adam(2e-3))
        return compile_once(init)(jax.random.key(0), example, cond=self.condition(4))

    def condition(self, batch: int) -> Condition | None:
        """What a network with an encoder draws from: noise in colour; None for the others."""
        if self.model.condition is None:
            return None
        shape = (batch, *self.shape[:-1], 3)
        noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        return Condition(spatial=jnp.asarray(noise))

    @property
    def units(self) -> int:
        """Units that a sampler draws one after another, of an example."""
        return self.model.likelihood.units(self.shape[-1]) * math.prod(self.shape[:-1])

    @property
    def unconditional(self) -> Self | None:
        """The same network without its encoder; None where it has none."""
        if self.model.condition is None:
            return None
        return dataclasses.replace(self, model=self.model.clone(condition=None))


def make_case(name: str, options: Options) -> Case:
    """The networks by name, at the sizes that the targets name."""
    binary, colour = Bernoulli(), LogisticMixture()
    ar, dtype = autoregressive, jnp.dtype(options.dtype)
    small = options.small

    def image(model: Any, *, side: int = 28, channels: int = 1, batches=(1, 16)) -> Case:
        side, channels = options.size or side, options.channels or channels
        return Case(model, (side, side, channels), options.batches(batches))

    def gated(layers: int, features: int, condition: Any = None) -> Any:
        layers, features = (2, 4) if small else (layers, features)
        return ar.GatedPixelCNN(
            binary, layers=layers, features=features, condition=condition, dtype=dtype
        )

    rnn = {"layers": 1, "features": 4} if small else {"layers": 7, "features": 16}
    if name in ("gated-7x32", "gated-trained"):
        return image(gated(7, 32))
    if name == "gated-side":
        return image(gated(7, 32), batches=(4,))
    if name == "gated-residual":
        sizes = {"features": 4, "blocks": 1} if small else {}
        return image(gated(7, 32, ar.ResidualEncoder(**sizes, dtype=dtype)))
    if name == "gated-unet":
        sizes = {"features": 4, "depth": 1} if small else {}
        return image(gated(7, 32, ar.UNetEncoder(**sizes, dtype=dtype)))
    if name == "gated-12x64":
        return image(gated(12, 64), batches=(1, 16, 128))
    if name == "masked-7x64":  # 64 maps between the blocks, 32 within
        sizes = {"layers": 1, "features": 4} if small else {"layers": 7, "features": 32}
        return image(ar.PixelCNN(binary, dtype=dtype, **sizes))
    if name == "plus-plus":
        sizes = (
            {"stages": 2, "blocks": 1, "features": 4} if small else {"blocks": 2, "features": 64}
        )
        model = ar.PixelCNNPlusPlus(colour, dtype=dtype, **sizes)
        return image(model, side=32, channels=3)
    if name == "row-lstm":
        return image(ar.RowLSTM(binary, dtype=dtype, **rnn))
    if name == "diagonal-bilstm":
        return image(ar.DiagonalBiLSTM(binary, dtype=dtype, **rnn))
    sizes = {"stacks": 1, "layers": 2, "features": 4} if small else {"stacks": 2, "layers": 10}
    shape = (options.size or 8000, 1)
    return Case(ar.WaveNet(dtype=dtype, **sizes), shape, options.batches((1, 8)))
