"""CycleGAN: translation between two sets of unpaired images.

python -m experiments.cyclegan
python -m experiments.cyclegan --pair digits
python -m experiments.cyclegan paper --dataset domains:PATH --image-size 256

Emoji, against the true drawings: L1 40.6 and 39.8 of 255 levels, where the source itself has 43.1
(two x86 cores, shared, 961 s). Digits: 81.4 % and 81.5 % keep their class (687 s).
"""

import dataclasses
import functools
from typing import Any, Literal, get_args

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
    """Weight of the cycle-consistency loss."""
    identity_weight: float = 5.0
    """Weight of the identity loss; 0 leaves it out."""
    pool_size: int = 50
    """Size of each discriminator's buffer of generated images; 0: no buffer."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(0, self, "blocks", "pool_size", "cycle_weight", "identity_weight")


def _by_pair(**options: Any) -> ByChoice[Config]:
    """The options as a preset of each pair. Mirror images of digits are none."""
    presets = {pair: Config(pair=pair, **{"dataset": pair, **options}) for pair in get_args(Pair)}
    digits = {"enlarge": 1.0, "flip": False}
    presets["digits"] = dataclasses.replace(presets["digits"], dataset="digits", **digits)
    return ByChoice("pair", presets)


PRESETS = {
    "smoke": _by_pair(
        steps=4,
        batch_size=2,
        features=2,
        blocks=1,
        receptive_field=16,
        pool_size=3,
        evaluations=2,
        watched=8,
    ),
    "default": _by_pair(
        steps=4000,
        batch_size=4,
        features=16,
        blocks=4,
        receptive_field=34,
        decay_epochs="run",
        enlarge=1.0,
    ),
    "paper": _by_pair(
        dataset="emoji:64", epochs=200, batch_size=1, features=64, decay_epochs="run"
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
        watch=cyclegan.eval_step,
    )
    return translation_setup(config, spec, translator)


def open_domains(config: Config, split: str) -> data.AnyDataset:
    """One part of the config's domains."""
    return data.load_domains(config.dataset, split, **config.opening)


EXPERIMENT = Training("cyclegan", __doc__, PRESETS, build=build, open=open_domains)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
