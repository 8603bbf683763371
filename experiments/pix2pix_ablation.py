"""What pix2pix owes to its distance, its discriminator, and the size of the patches judged.

python -m experiments.pix2pix_ablation
python -m experiments.pix2pix_ablation --task colorize

The comparisons of Isola et al. 2016 (1611.07004), sections 4.2 and 4.4: L1 alone, GAN alone, and
both with patches of several sizes. Each variant is trained as a run of its own, in a folder of this
run's, on the same batches from the same initial generator. The discriminator sees the source beside
the image, as the paper's cGAN does; patches that are no smaller than the image make it an ImageGAN.

The default took 875 s on one core of two, beside other work. L1 alone: L1 33.9 of 255 levels, FID
34.6, colourfulness 70.7. GAN alone: 43.7, 59.4 and 77.4. Both, with patches of 34x34: 36.5, 23.5
and 74.9. The truth's colourfulness is 83.6.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import pix2pix
from experiments.running.config import ImageConfig
from experiments.running.experiment import Findings, Job, Study
from experiments.running.nested import Nested, within
from experiments.running.options import UsageError, free, require_at_least, when
from experiments.running.run import run
from experiments.running.tables import Columns, as_metrics, as_rows, tabulated
from experiments.running.terminal import main, say
from experiments.translation.pictures import side_by_side
from experiments.translation.scores import TITLES
from experiments.translation.tasks import TaskName, by_task
from gen_jax import data, images, reporting
from gen_jax.adversarial.translation.patch_discriminator import ReceptiveField

ROWS = 8  # sources of the picture
DISTANCE_WEIGHT = 100.0  # the paper's
EMA_DECAY = 0.99  # runs are short: a longer memory would still hold the first parameters
MEASURES = "l1", "psnr", "ssim", "ab_error", "colourfulness", "fid", "kid", "seconds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Compare the losses of pix2pix, and the sizes of its discriminator's patches."""

    task: TaskName = "style"
    """What is made from what, as in pix2pix."""
    dataset: str = "emoji"
    """As in pix2pix."""
    reverse: bool = when(False, task="style")
    """Make the first image of each pair from the second."""
    receptive_field: ReceptiveField = 34
    """Pixels a side of the patches that are judged with GAN alone, and with L1 + GAN."""
    patches: tuple[ReceptiveField, ...] = (1, 16, 70)
    """Other sizes to try with L1 + GAN."""
    steps: int = 1000
    """Updates of every variant."""
    batch_size: int = 16
    """Pairs per update."""
    features: int = 32
    """Maps of the first layer of both networks."""
    depth: int | None = None
    """How often the generator halves the sides; default as often as they can be, at most 8."""
    evaluations: int = free(2)
    """Number of times a variant evaluates on validation data, samples, and saves."""

    def __post_init__(self):
        super().__post_init__()
        names = ("steps", "batch_size", "features", "depth", "evaluations")
        require_at_least(1, self, *names)
        sizes = (self.receptive_field, *self.patches)
        if repeated := sorted({size for size in sizes if sizes.count(size) > 1}):
            raise UsageError(
                f"--patches and --receptive-field must differ, got {repeated[0]} more than once"
            )


PRESETS = {
    "smoke": by_task(  # one size of patches: most of the time is compilation
        Config,
        patches=(),
        receptive_field=16,
        steps=2,
        batch_size=4,
        features=2,
        depth=2,
        evaluations=1,
    ),
    "default": by_task(Config),
    "paper": by_task(
        Config,
        dataset="emoji:64",
        patches=(1, 16, 34),
        receptive_field=70,
        steps=300_000,
        batch_size=1,
        features=64,
    ),
}


class Variant(NamedTuple):
    """One column of the picture: what it is called, and its options of pix2pix."""

    name: str
    title: str
    choices: Mapping[str, Any]


def variants(config: Config, side: int) -> list[Variant]:
    """All that are compared on images whose longer side is ``side`` pixels."""
    field = config.receptive_field

    def both(size: int) -> Variant:
        title = "pixels" if size == 1 else f"{size}×{size}"
        title += " (whole image)" if size >= side else ""
        return Variant(f"l1-gan-{size}", f"L1 + GAN, {title}", {"receptive_field": size})

    return [
        Variant("l1", "L1 alone", {"loss": "none"}),
        Variant("gan", "GAN alone", {"distance": "none", "receptive_field": field}),
        *map(both, sorted({field, *config.patches})),
    ]


def work(job: Job) -> Findings:
    """Trains every variant, and shows what each makes of the same sources, and its scores."""
    config, train = job.config, job.data.train
    compared = variants(config, max(train.example_spec.shape[:2]))
    models = [nested(job, variant) for variant in compared]
    for model in models:  # what a network refuses comes before any training
        jax.eval_shape(functools.partial(model.setup.init, train))
    examples = data.some(job.data.test, ROWS)
    keys = jax.random.split(jax.random.key(config.seed), len(examples["image"]))
    rows: dict[str, Columns] = {}
    others: dict[str, Columns] = {}
    provenance: dict[str, Any] = {}
    made, params, speeds = [], {}, []
    for variant, model in zip(compared, models, strict=True):
        if not config.quiet:
            say(f"{variant.title}:")
        result = model.train()
        metrics = model.setup.test(result.state, job.data.test)
        others = as_rows(metrics, TITLES)
        rows[variant.name] = others.pop("") | {"seconds": result.seconds}
        provenance = {name: metrics[name] for name in metrics if not name.startswith("test/")}
        assert model.setup.translation is not None
        made.append(model.setup.translation.translate(result.state, keys, examples["spatial"]))
        params[variant.name] = result.state.params
        speeds.append(result.examples_per_s)
    rows |= others  # of the sources, and of the targets: whatever was trained
    titles = {variant.name: variant.title for variant in compared}
    add_sheet(job.run.dir, [*titles.values()], [examples["spatial"], *made, examples["image"]])
    titled = {titles.get(name, name): row for name, row in rows.items()}
    add_scores(config, job.run.dir, titled, provenance)
    return Findings(
        params=params,
        steps=config.steps * len(compared),
        examples_per_s=min(speeds),
        metrics=as_metrics(rows) | provenance,
    )


def nested(job: Job, variant: Variant) -> Nested:
    """A variant as a run of pix2pix within this one."""
    config = job.config
    settings = within(
        config,
        pix2pix.PRESETS[job.run.preset].presets[config.task],
        **variant.choices,
        distance_weight=DISTANCE_WEIGHT,
        ema_decay=EMA_DECAY,
        reverse=config.reverse,
        steps=config.steps,
        epochs=None,
        batch_size=config.batch_size,
        features=config.features,
        depth=config.depth,
        evaluations=config.evaluations,
    )
    return Nested.of(job, variant.name, pix2pix.EXPERIMENT, settings)


def add_sheet(run_dir: Path, titles: Sequence[str], columns: Sequence[np.ndarray]) -> None:
    """Adds the picture: a test source a row, a variant a column."""
    strips = side_by_side(columns)
    names = ["the source", *titles, "the truth"]
    listed = "; ".join(f"({i}) {name}" for i, name in enumerate(names, 1))
    reporting.add_picture(
        run_dir,
        "variants",
        images.grid(strips.reshape(-1, *strips.shape[2:]), columns=len(columns)),
        title="The same sources by every variant",
        caption=f"Test images, not chosen. From the left: {listed}. Sizes are those of the patches "
        "that the discriminator judges.",
    )


def add_scores(
    config: Config, run_dir: Path, rows: Mapping[str, Columns], provenance: Mapping[str, Any]
) -> None:
    """Adds the table of test scores."""
    columns, cells = tabulated(rows, {name: TITLES[name] for name in MEASURES})
    field = config.receptive_field
    about = (
        f"{config.steps:,} updates of {config.batch_size} pairs each. GAN alone judges patches of "
        f"{field}×{field}. The time is that of training, with compilation and evaluations."
    )
    if "FID" in columns:
        about += f" FID and KID by {provenance['features']}."
    reporting.add_table(run_dir, "scores", columns, cells, title="Test scores", caption=about)


EXPERIMENT = Study("pix2pix_ablation", __doc__, PRESETS, open=pix2pix.open_pairs, function=work)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
