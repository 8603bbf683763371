"""New images or sounds from a trained run.

python -m experiments.sample runs/vae/default --num 64 --out samples.png
python -m experiments.sample runs/wavenet/default --num 24 --out scale.wav
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import tyro
from PIL import Image

from experiments.running.config import UsageError, help_text, require_at_least
from experiments.running.harness import main, say
from experiments.running.reopened import reopen
from gen_jax import data, images


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, how many images or sounds, and where they go."""

    run_dir: tyro.conf.Positional[Path]
    num: int = 64
    out: Path | None = None
    """Default RUN_DIR/samples.png; sounds go one after another into RUN_DIR/samples.wav."""
    seed: int = 0
    step: int | None = None
    """The checkpoint of this step instead of the newest."""
    data_dir: Path | None = None
    """Where prepared TFDS sets lie, if not where they were."""


def program(argv: Sequence[str] | None = None) -> None:
    """Draws ``num`` images as one picture, or as many sounds as one."""
    options = tyro.cli(
        Options, args=argv, prog="python -m experiments.sample", description=help_text(__doc__)
    )
    require_at_least(1, options, "num")
    run = reopen(options.run_dir, step=options.step, data_dir=options.data_dir)
    if run.setup.draw is None:
        raise UsageError(f"{run.experiment.name} is no generative model: it has nothing to sample")
    rate = run.setup.sample_rate
    out = options.out or options.run_dir / ("samples.png" if rate is None else "samples.wav")
    if rate is not None and out.suffix.lower() != ".wav":
        raise UsageError(f"cannot write {out}: sounds go into a .wav file")
    if rate is None and Image.registered_extensions().get(out.suffix.lower()) not in Image.SAVE:
        raise UsageError(f"cannot write {out}: unknown file extension: {out.suffix}")
    drawn = run.setup.draw(jax.random.key(options.seed), run.state, options.num)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if rate is None:
            sheet = images.grid(drawn)
            Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(out)
        else:
            data.write_wav(out, in_turn(drawn, rate), rate)
    except (OSError, ValueError) as error:  # ValueError: a format for other kinds of pictures
        raise UsageError(f"cannot write {out}: {error}") from None
    what = "images" if rate is None else "sounds"
    say(f"{options.num} {what} of step {int(run.state.step)}: {out}")


def in_turn(sounds: np.ndarray, sample_rate: int) -> np.ndarray:
    """Sounds [n, T, C] one after another, with a quarter of a second between them."""
    spaced = np.pad(sounds, ((0, 0), (0, sample_rate // 4), (0, 0)))
    return spaced.reshape(-1, sounds.shape[-1])


if __name__ == "__main__":
    main(program)
