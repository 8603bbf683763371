"""A trained run's numbers, on its own test examples or on others.

python -m experiments.evaluate runs/vae/default
python -m experiments.evaluate runs/vae/default --dataset tfds:mnist --data-dir DIR
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from experiments.running.options import help_text, require_at_least
from experiments.running.output import prepare_output, write_json
from experiments.running.reopened import reopen
from experiments.running.terminal import main, say


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, on what."""

    run_dir: tyro.conf.Positional[Path]
    dataset: str | None = None
    """Another set than the run's own: its test split is used. Classes are matched by name."""
    data_dir: Path | None = None
    """Folder of prepared TFDS sets, if it has moved."""
    image_size: int | None = None
    """Resize and crop the images to this side; default as the run did."""
    channels: Literal[1, 3] | None = None
    """Make the images gray (1) or RGB (3); default as the run did."""
    nll_samples: int | None = None
    """Importance samples per image, for the likelihood of a VAE."""
    nll_images: int | None = None
    """Images that the likelihood is measured on."""
    scored_samples: int | None = None
    """Generated images for the scores of an adversarial model."""
    inception: Path | None = None
    """Weights of FID's Inception network for the scores; default as the run did."""
    beside: Path | None = None
    """A pix2pix run of the same task, measured beside a pixelcnn's; default as the run did."""
    step: int | None = None
    """The checkpoint of this step instead of the newest."""
    out: Path | None = None
    """Also write the numbers to this JSON file."""


def program(argv: Sequence[str] | None = None) -> None:
    """Measures and prints, one number a line."""
    options = tyro.cli(
        Options, args=argv, prog="python -m experiments.evaluate", description=help_text(__doc__)
    )
    require_at_least(1, options, "image_size")
    prepare_output(options.out)
    names = ("nll_samples", "nll_images", "scored_samples", "inception", "beside")
    changes = {name: getattr(options, name) for name in names}
    run = reopen(options.run_dir, step=options.step, **changes)
    test = run.test_set(
        options.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        channels=options.channels,
    )
    metrics = dict(run.setup.test(run.state, test))
    say(f"{run.experiment.name} at step {int(run.state.step)}, test {run.spec.noun} of {test.name}")
    for name, value in metrics.items():
        say(f"  {name:<24} {value:.6g}" if isinstance(value, float) else f"  {name:<24} {value}")
    if options.out is not None:
        write_json(options.out, metrics)


if __name__ == "__main__":
    main(program)
