"""CycleGAN: translation between two sets of images that nothing pairs.

python -m experiments.cyclegan
python -m experiments.cyclegan --pair digits
python -m experiments.cyclegan --dataset domains:PATH --image-size 256
"""

import dataclasses
import functools
from typing import Any, Literal

from experiments.running.config import of_source
from experiments.running.fitting import Setup, Training
from experiments.running.options import ByChoice, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main
from experiments.translation.models import TranslationConfig
from experiments.translation.setup import Translator, translation_setup
from experiments.translation.tasks import identity
from experiments.translation.ways import Way
from gen_jax import data
from gen_jax.adversarial import ResNetGenerator, cyclegan

Pair = Literal["emoji", "digits"]
PAIRS: tuple[Pair, ...] = "emoji", "digits"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TranslationConfig):
    """Train and evaluate a CycleGAN."""

    pair: Pair = "emoji"
    """Which preset; --dataset names other domains."""
    dataset: str = "emoji"
    """emoji[:64], digits, domains:PATH, or tfds:cycle_gan/NAME."""
    skip_bad_images: bool = of_source(False, "domains:", "tfds:")
    """Count and leave out images that cannot be read, instead of stopping."""
    blocks: int = 6
    """Residual blocks of a generator: the paper has 6 for 128 pixels and 9 for 256."""
    cycle_weight: float = 10.0
    """What coming back to the source counts beside the loss."""
    identity_weight: float = 5.0
    """What leaving an image of the target's domain as it is counts; 0 leaves this out."""
    pool_size: int = 50
    """Generated images of each domain that the discriminators remember; 0 remembers none."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(0, self, "blocks", "pool_size", "cycle_weight", "identity_weight")


PRESETS = {
    "smoke": ByChoice(
        "pair",
        {
            pair: Config(
                pair=pair,
                dataset=pair,
                steps=4,
                batch_size=2,
                features=2,
                blocks=1,
                receptive_field=16,
                pool_size=3,
                evaluations=2,
                watched=8,
            )
            for pair in PAIRS
        },
    ),
    "default": ByChoice(
        "pair",
        {
            pair: Config(
                pair=pair,
                dataset=pair,
                epochs=10,
                batch_size=4,
                features=16,
                blocks=4,
                receptive_field=34,
                decay_epochs="run",
                enlarge=1.0,
                flip=pair == "emoji",
            )
            for pair in PAIRS
        },
    ),
    "paper": ByChoice(
        "pair",
        {
            pair: Config(
                pair=pair,
                dataset="emoji:64" if pair == "emoji" else pair,
                epochs=200,
                batch_size=1,
                features=64,
                blocks=6,
                decay_epochs="run",
            )
            for pair in PAIRS
        },
    ),
}


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes all four networks, their step, and what is measured and drawn of them."""
    generator = ResNetGenerator(
        config.features,
        channels=spec.shape[-1],
        blocks=config.blocks,
        upsample=config.upsample,
        dtype=config.compute_dtype,
    )
    tx = config.adam(n_examples)
    judge = config.discriminator(norm="instance")

    def way(source: str, target: str, direction: cyclegan.Direction) -> Way:
        def translate(state: Any, keys: Any, images: Any) -> Any:
            del keys  # nothing is drawn
            return cyclegan.translate(state, images, direction)

        return Way(source, target, translate, f"{direction}/")

    translator = Translator(
        init=functools.partial(
            cyclegan.init,
            (generator, generator),
            (judge, judge),
            tx,
            tx,
            pool_size=config.pool_size,
            ema_decay=config.ema_decay,
        ),
        train_step=functools.partial(
            cyclegan.train_step,
            cycle_weight=config.cycle_weight,
            identity_weight=config.identity_weight,
            augment=config.augment,
        ),
        ways=(way("a", "b", "forward"), way("b", "a", "backward")),
        baselines={"identity": identity},
        least=generator.least_side,
    )
    return translation_setup(config, spec, translator)


def open_domains(config: Config, split: str) -> data.AnyDataset:
    """One part of the config's domains."""
    return data.load_domains(
        config.dataset,
        split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        skip_bad_images=config.skip_bad_images,
    )


EXPERIMENT = Training("cyclegan", __doc__, PRESETS, build=build, open=open_domains)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
