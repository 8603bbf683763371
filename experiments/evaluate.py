"""A trained run's numbers, on its own test examples or on others.

python -m experiments.evaluate runs/vae/default
python -m experiments.evaluate runs/vae/default --dataset tfds:mnist --data-dir DIR
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import tyro

from experiments.running.config import UsageError, help_text
from experiments.running.harness import main, say
from experiments.running.reopened import reopen


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, on what."""

    run_dir: tyro.conf.Positional[Path]
    dataset: str | None = None
    """Another set than the run's own: its test split is used."""
    data_dir: Path | None = None
    nll_samples: int | None = None
    """Importance samples an image, where the model has a likelihood."""
    nll_images: int | None = None
    scored_samples: int | None = None
    """Generated images for the scores of an adversarial model."""
    step: int | None = None
    """The checkpoint of this step instead of the newest."""
    out: Path | None = None
    """Also write the numbers to this JSON file."""


def program(argv: Sequence[str] | None = None) -> None:
    """Measures and prints, one number a line."""
    options = tyro.cli(
        Options, args=argv, prog="python -m experiments.evaluate", description=help_text(__doc__)
    )
    changes = dataclasses.asdict(options)
    run_dir, at, out = (changes.pop(name) for name in ("run_dir", "step", "out"))
    run = reopen(run_dir, step=at, **changes)
    metrics = dict(run.setup.test(run.state))
    what = "images" if run.setup.sample_rate is None else "sounds"
    step = int(run.state.step)
    say(f"{run.experiment.name} at step {step}, test {what} of {run.config.dataset}")
    for name, value in metrics.items():
        say(f"  {name:<24} {value:.6g}" if isinstance(value, float) else f"  {name:<24} {value}")
    if out is not None:
        try:
            out.write_text(json.dumps(metrics, indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror}") from None


if __name__ == "__main__":
    main(program)
