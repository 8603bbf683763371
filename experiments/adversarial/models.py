"""What the adversarial experiments share: their losses by name, and their networks' options."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from experiments.running.config import ImageRunConfig, Labels
from experiments.running.options import UsageError, free, length, require_at_least, when, where
from gen_jax import adversarial
from gen_jax.adversarial import gan, losses
from gen_jax.adversarial.losses import AdversarialLoss, Penalty

LossName = Literal["non-saturating", "minimax", "least-squares", "hinge", "wasserstein"]
Normalization = Literal["batch", "layer", "spectral", "none"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A loss with what trains it well: the discriminator's updates, its penalty, its norm, Adam's
    decays, and by how much the learning rate is multiplied."""

    loss: AdversarialLoss
    d_steps: int = 1
    penalty: Penalty | None = None
    penalty_weight: float = 10.0
    norm: Normalization = "batch"
    b1: float = 0.5
    b2: float = 0.999
    rate: float = 1.0
    reuse_images: bool = False

    def optimizers(
        self, rate: optax.Schedule
    ) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """Adam for the generator and for the discriminator, whose rates fall together."""

        def adam(updates: int) -> optax.GradientTransformation:
            def by_step(count: ArrayLike) -> ArrayLike:
                return self.rate * jnp.asarray(rate(jnp.asarray(count) // updates))

            return optax.adam(by_step, b1=self.b1, b2=self.b2)

        return adam(1), adam(self.d_steps)

    @property
    def train_step(self) -> Callable[..., Any]:
        """``gan.train_step`` with the recipe's loss and penalty."""
        penalty = self.penalty and losses.weighted(self.penalty, self.penalty_weight)
        return functools.partial(
            gan.train_step,
            loss=self.loss,
            d_steps=self.d_steps,
            reuse_images=self.reuse_images,
            penalty=penalty,
        )

    @property
    def critic(self) -> bool:
        """Whether D is meant to part real from generated examples as well as it can."""
        return self.loss is losses.wasserstein

    @property
    def norm_options(self) -> dict[str, Any]:
        """The discriminator's options that its normalization stands for."""
        spectral = self.norm == "spectral"
        return {"norm": "none" if spectral else self.norm, "spectral": spectral}


RECIPES: dict[LossName, Recipe] = {
    "non-saturating": Recipe(losses.non_saturating),
    # Beside a discriminator with batch normalization, which soon separates all, its slope vanishes.
    "minimax": Recipe(losses.minimax, norm="spectral"),
    "least-squares": Recipe(losses.least_squares()),
    "hinge": Recipe(losses.hinge, norm="spectral"),
    "wasserstein": Recipe(
        losses.wasserstein,
        d_steps=5,
        penalty=losses.wgan_gp,
        norm="layer",
        b1=0.0,
        b2=0.9,
        rate=2.5,  # without momentum, and with few updates of the generator
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GameConfig(ImageRunConfig):
    """The options that both adversarial experiments share: the generator, and how it is scored."""

    latent_dim: int = 64
    """Size of the latent vector that an image is made from."""
    features: int = 64
    """Maps at the finest resolution. A convolutional network doubles them at each halving of it,
    BEGAN's encoder adds as many again; a dense one has 16 units per layer for each."""
    scored_samples: int = 10_000
    """Generated images for the scores; they are compared with all test images."""
    watched_samples: int = 2000
    """Generated images for the FID along the way, against as many validation images at most."""
    inception: Path | None = free(None)
    """Weights of FID's Inception network (see convert_inception); default a shipped network."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "latent_dim", "features")
        require_at_least(20, self, "scored_samples", "watched_samples")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANConfig(GameConfig):
    """Train and evaluate a generative adversarial network."""

    loss: LossName = "non-saturating"
    """What both players minimize; Wasserstein with 5 updates of D a step, a penalty of weight 10,
    and 2.5 times the learning rate."""
    network: Literal["conv", "dense", "residual"] = "conv"
    """DCGAN's, the first paper's, or WGAN-GP's."""
    upsample: Literal["deconv", "resize", "shuffle"] | None = when(
        None, network=("conv", "residual")
    )
    """How a generator of images doubles the sides; default the network's own."""
    norm: Normalization | None = None
    """Normalization of the discriminator; default batch, but spectral for minimax and hinge, layer
    for Wasserstein."""
    batch_size: int = 128
    """Images per update, over all devices."""
    d_steps: int | None = None
    """Updates of the discriminator for each of the generator; default the loss's own."""
    reuse_images: bool = where(
        False,
        lambda config: config.recipe.d_steps > 1,
        "several updates of the discriminator a step: --d-steps 2 or more",
        before=True,
    )
    """Show the discriminator the same images in each of its updates of a step, instead of new
    ones."""
    penalty: Literal["wgan-gp", "r1", "none"] | None = None
    """Penalty on the discriminator's gradient; default the loss's own."""
    penalty_weight: float | None = where(
        None, lambda config: config.recipe.penalty is not None, "a penalty: --penalty wgan-gp or r1"
    )
    """Weight of the penalty; default the loss's own."""
    class_conditional: bool = False
    """Generate images of a given class."""
    updates: int | None = length()
    """Train until both networks together have had this many updates, --d-steps + 1 per step;
    instead of --steps."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "d_steps", "updates")
        if self.penalty_weight is not None and not self.penalty_weight > 0.0:
            raise UsageError(f"--penalty-weight must be positive, got {self.penalty_weight}")

    @property
    def labels(self) -> Labels:
        return "required" if self.class_conditional else "unused"

    @property
    def examples_per_step(self) -> int:
        """Images that a step reads: new ones for each update of the discriminator."""
        return self.batch_size if self.reuse_images else self.batch_size * self.recipe.d_steps

    def total_steps(self, n_examples: int) -> int:
        """The step at which training ends, for a training set of ``n_examples``."""
        if self.updates is None:
            return super().total_steps(n_examples)
        return max(1, self.updates // (self.recipe.d_steps + 1))

    @property
    def recipe(self) -> Recipe:
        """The loss's recipe, with what the command line changes of it."""
        recipe = RECIPES[self.loss]
        changes: dict[str, Any] = {"reuse_images": self.reuse_images}
        if self.d_steps is not None:
            changes["d_steps"] = self.d_steps
        if self.penalty == "none":
            changes["penalty"] = None
        elif self.penalty is not None:
            changes["penalty"] = {"wgan-gp": losses.wgan_gp, "r1": losses.r1}[self.penalty]
            # A penalty on each image's own gradient needs images that do not affect one another.
            changes["norm"] = "none" if recipe.norm == "batch" else recipe.norm
        if self.penalty_weight is not None:
            changes["penalty_weight"] = self.penalty_weight
        if self.norm is not None:
            changes["norm"] = self.norm
        return dataclasses.replace(recipe, **changes)


def make_networks(
    config: GANConfig, shape: tuple[int, ...], n_classes: int | None
) -> tuple[nn.Module, nn.Module]:
    """The generator and the discriminator that a config asks for."""
    recipe = config.recipe
    axis_name = "data" if config.compile == "pmap" else None
    shared: dict[str, Any] = {
        "n_classes": n_classes,
        "axis_name": axis_name,
        "dtype": config.compute_dtype,
    }
    made: dict[str, Any] = {"image_shape": shape, "latent_dim": config.latent_dim, **shared}
    judged: dict[str, Any] = {**recipe.norm_options, **shared}
    if config.network == "dense":
        units = (16 * config.features,) * 2
        return (
            adversarial.DenseGenerator(units, norm="batch", **made),
            adversarial.DenseDiscriminator(units, **judged),
        )
    if config.upsample is not None:
        made["upsample"] = config.upsample
    if config.network == "residual":
        return (
            adversarial.ResidualGenerator(config.features, **made),
            adversarial.ResidualDiscriminator(config.features, **judged),
        )
    return (
        adversarial.ConvGenerator(config.features, **made),
        adversarial.ConvDiscriminator(config.features, **judged),
    )
