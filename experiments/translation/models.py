"""The options and networks that pix2pix and CycleGAN share."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import optax

from experiments.running.config import ImageRunConfig
from experiments.running.options import UsageError, free, require_at_least, where
from gen_jax.adversarial import PatchDiscriminator, augmentation
from gen_jax.adversarial.gan import Augment
from gen_jax.adversarial.translation.patch_discriminator import ReceptiveField


def jitter(enlarge: float, *, flip: bool) -> Augment | None:
    """``augmentation.jitter``, unless it would change nothing."""
    if enlarge == 1.0 and not flip:
        return None
    return augmentation.jitter(enlarge=enlarge, flip=flip)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationConfig(ImageRunConfig):
    """How translations are learned, and how they are judged."""

    features: int = 64
    """Maps of the generator's first layer; deeper layers have more."""
    discriminator_features: int | None = None
    """Maps of the discriminator's first layer; default as many as the generator's."""
    receptive_field: ReceptiveField = 70
    """Side, in pixels, of the patches that the discriminator judges."""
    upsample: Literal["deconv", "resize", "shuffle"] = "deconv"
    """How the generator doubles the sides."""
    learning_rate: float = 2e-4
    decay_epochs: float | Literal["run"] | None = None
    """Let the learning rate fall, to zero after this many epochs; with "run", over the length that
    the run is first started with. Default constant."""
    constant_share: float = where(
        0.5, lambda config: config.decay_epochs is not None, "a schedule: --decay-epochs"
    )
    """The share of the schedule before the rate falls, linearly, to zero."""
    enlarge: float = 286 / 256
    """Enlarge training images by this factor, then crop them at a random place."""
    flip: bool = True
    """Mirror half of the training images."""
    watched: int = 100
    """Validation images that are translated and measured along the way."""
    inception: Path | None = free(None)
    """Weights of FID's Inception network (see convert_inception); default a shipped network."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "features", "discriminator_features", "enlarge")
        require_at_least(2, self, "watched")
        if not 0.0 <= self.constant_share <= 1.0:
            raise UsageError(f"--constant-share must lie in [0, 1], got {self.constant_share}")

    @property
    def axis_name(self) -> str | None:
        """The axis whose devices share batch statistics."""
        return "data" if self.compile == "pmap" else None

    @property
    def augment(self) -> Augment | None:
        """What changes a batch within the step."""
        return jitter(self.enlarge, flip=self.flip)

    def rate(self, n_examples: int) -> optax.Schedule:
        """The learning rate by step: constant, then linear to zero."""
        span = self.decay_span(n_examples)
        if span is None:
            return optax.constant_schedule(self.learning_rate)
        begin = min(round(self.constant_share * span), span - 1)  # it is zero at ``span``
        return optax.linear_schedule(self.learning_rate, 0.0, span - begin, begin)

    def adam(
        self, n_examples: int, learning_rate: float | None = None
    ) -> optax.GradientTransformation:
        """Adam with the papers' beta1 of 0.5; ``learning_rate`` takes the place of the config's."""
        peak = self.learning_rate if learning_rate is None else learning_rate
        rate = dataclasses.replace(self, learning_rate=peak).rate(n_examples)
        return optax.adam(rate, b1=0.5)

    def discriminator(self, **options: Any) -> nn.Module:
        """One that judges patches."""
        return PatchDiscriminator(
            self.discriminator_features or self.features,
            receptive_field=self.receptive_field,
            axis_name=self.axis_name,
            dtype=self.compute_dtype,
            **options,
        )
