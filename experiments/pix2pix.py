"""pix2pix: images made from images, learned from pairs, for seven tasks.

python -m experiments.pix2pix
python -m experiments.pix2pix --task colorize
python -m experiments.pix2pix paper --dataset pairs:PATH --image-size 256

From Noto's to Twemoji's drawings of 191 test emoji: L1 34.3 of 255 levels, where the source itself
has 43.1 (two x86 cores, shared, 234 s).
"""

import dataclasses
import functools
import math
from typing import Any, Literal

from experiments.running.config import of_source
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, require_at_least, when, where
from experiments.running.run import run
from experiments.running.terminal import main
from experiments.translation.models import TranslationConfig, jitter
from experiments.translation.setup import Translator, translation_setup
from experiments.translation.tasks import TASKS, TaskName, by_task
from experiments.translation.ways import Way
from gen_jax import data
from gen_jax.adversarial import PatchDiscriminator, UNetGenerator, losses, pix2pix
from gen_jax.adversarial.gan import Augment
from gen_jax.adversarial.translation.networks import unet_depth
from gen_jax.adversarial.translation.patch_discriminator import ReceptiveField

LOSSES = {
    "non-saturating": losses.non_saturating,
    "least-squares": losses.least_squares(),
    "none": None,
}


def with_loss(default: Any) -> Any:
    """A field that applies only where the discriminator is played."""
    return where(default, lambda config: config.loss != "none", "a --loss other than none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TranslationConfig):
    """Train and evaluate a pix2pix."""

    dataset: str = "emoji"
    """For style emoji[:64], pairs:PATH or halves:PATH; for the other tasks emoji[:64][:noto or
    :twemoji], photos[:SIZE], mnist-subset, digits-8x8, faces-mini, tfds:NAME, folder:PATH or
    npz:PATH."""
    skip_bad_images: bool = of_source(False, "folder:", "tfds:", "halves:")
    """Count and leave out images that cannot be read, instead of stopping."""
    task: TaskName = "style"
    """What is made from what: style learns from pairs of images, the others compute the source from
    the image."""
    reverse: bool = when(False, task="style")
    """Make the first image of each pair from the second."""
    loss: Literal["non-saturating", "least-squares", "none"] = "non-saturating"
    """What both players minimize; none trains the generator by the distance alone."""
    distance: Literal["l1", "l2", "none"] = "l1"
    """Distance of a translation to its target, which the generator minimizes."""
    distance_weight: float = where(
        100.0, lambda config: config.distance != "none", "a --distance of l1 or l2"
    )
    """Weight of the distance."""
    depth: int | None = None
    """Number of halvings in the generator; default as many as the image allows, at most 8."""
    residual: bool | None = None
    """Learn a correction of the source; default for super-resolution and denoising."""
    norm: Literal["batch", "instance"] = "batch"
    """Normalization of both networks."""
    dropout: float = 0.5
    """The share of features dropped in the generator's innermost layers: its noise."""
    receptive_field: ReceptiveField = with_loss(70)
    """Side, in pixels, of the patches that the discriminator judges."""
    discriminator_features: int | None = with_loss(None)
    """Maps of the discriminator's first layer; default as many as the generator's."""
    discriminator_rate: float | None = with_loss(None)
    """Learning rate of the discriminator; default the generator's."""
    enlarge: float = where(
        286 / 256,
        lambda config: TASKS[config.task].scales,
        "--task style or colorize, whose sources may be enlarged with their images",
    )
    """Enlarge training images by this factor, then crop them at a random place."""
    noise: bool = where(
        True, lambda config: config.dropout > 0.0, "a generator with --dropout above 0"
    )
    """Translate with dropout, as in training and in the paper: each draw differs."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "depth")
        if self.discriminator_rate is not None and not self.discriminator_rate > 0.0:
            raise UsageError(
                f"--discriminator-rate must be positive, got {self.discriminator_rate}"
            )
        if not 0.0 < self.distance_weight < math.inf:
            raise UsageError(f"--distance-weight must be positive, got {self.distance_weight}")
        if self.loss == "none" and self.distance == "none":
            raise UsageError("--loss none leaves nothing to minimize with --distance none")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"--dropout must lie in [0, 1), got {self.dropout}")

    @property
    def augment(self) -> Augment | None:
        """What changes a batch within the step."""
        return jitter(self.enlarge if TASKS[self.task].scales else 1.0, flip=self.flip)

    @property
    def stochastic(self) -> bool:
        """Whether one source has several translations."""
        return self.noise and self.dropout > 0.0


PRESETS = {
    "smoke": by_task(
        Config,
        steps=4,
        batch_size=4,
        features=2,
        depth=2,
        receptive_field=16,
        evaluations=2,
        watched=8,
    ),
    "default": by_task(
        Config,
        steps=3000,
        batch_size=16,
        features=32,
        discriminator_features=16,
        receptive_field=34,
        learning_rate=6e-4,
        decay_epochs="run",
        distance_weight=300.0,
        enlarge=1.125,
        noise=False,  # a translation's mean is nearer to the truth than any draw
        ema_decay=0.998,
        evaluations=8,
    ),
    "paper": by_task(
        Config,
        dataset="emoji:64",
        epochs=200,
        batch_size=1,
        features=64,
        norm="instance",  # what batch normalization is for single images
        decay_epochs="run",
    ),
}


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes both networks, their step, and what is measured and drawn of them."""
    generator = UNetGenerator(
        config.features,
        channels=spec.shape[-1],
        depth=config.depth or unet_depth(spec.shape[:2]),
        norm=config.norm,
        dropout_rate=config.dropout,
        residual=TASKS[config.task].near if config.residual is None else config.residual,
        upsample=config.upsample,
        axis_name=config.axis_name,
        dtype=config.compute_dtype,
    )
    distance = {"l1": pix2pix.l1, "l2": pix2pix.l2, "none": None}[config.distance]
    task = TASKS[config.task]

    def translate(state: Any, keys: Any, source: Any) -> Any:
        return pix2pix.generate(state, keys if config.stochastic else None, source)

    translator = Translator(
        init=functools.partial(
            pix2pix.init,
            generator,
            config.discriminator(norm=config.norm)
            if config.loss != "none"
            else PatchDiscriminator(1, receptive_field=1),  # for images of any size
            config.adam(n_examples),
            config.adam(n_examples, config.discriminator_rate),
            ema_decay=config.ema_decay,
        ),
        train_step=functools.partial(
            pix2pix.train_step,
            loss=LOSSES[config.loss],
            distance=distance,
            weight=config.distance_weight,
            augment=config.augment,
        ),
        ways=(Way("spatial", "image", translate),),
        baselines=task.baselines,
        least=generator.least_side,
        stochastic=config.stochastic,
        prepare=task.prepare,
        picture_channels=task.picture_channels,
    )
    return translation_setup(config, spec, translator)


def open_pairs(config: Config, split: str) -> data.Dataset:
    """One part of the config's pairs."""
    return TASKS[config.task].open(config, split, reverse=config.reverse)


EXPERIMENT = Training("pix2pix", __doc__, PRESETS, build=build, open=open_pairs)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
