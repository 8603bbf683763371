"""New images from a trained run.

python -m experiments.sample runs/vae/default --num 64 --out samples.png
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import tyro
from PIL import Image

from experiments.config import UsageError
from experiments.harness import main, say
from experiments.runs import reopen
from gen_jax import images


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, how many images, and where they go."""

    run_dir: tyro.conf.Positional[Path]
    num: int = 64
    out: Path = Path("samples.png")
    seed: int = 0
    step: int | None = None
    """The checkpoint of this step instead of the newest."""
    data_dir: Path | None = None
    """Where prepared TFDS sets lie, if not where they were."""


def program(argv: Sequence[str] | None = None) -> None:
    """Draws ``num`` images as one picture."""
    options = tyro.cli(Options, args=argv, prog="python -m experiments.sample", description=__doc__)
    if options.num < 1:
        raise UsageError(f"--num must be 1 or more, got {options.num}")
    run = reopen(options.run_dir, step=options.step, data_dir=options.data_dir)
    if run.setup.draw is None:
        raise UsageError(f"{run.experiment.name} is no generative model: it has nothing to sample")
    drawn = run.setup.draw(jax.random.key(options.seed), run.state, options.num)
    sheet = images.grid(drawn)
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(options.out)
    except (OSError, ValueError) as error:  # ValueError: a suffix that pillow does not know
        raise UsageError(f"cannot write {options.out}: {error}") from None
    say(f"{options.num} images of step {int(run.state.step)}: {options.out}")


if __name__ == "__main__":
    main(program)
