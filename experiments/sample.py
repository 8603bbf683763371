"""New images or sounds from a trained run.

python -m experiments.sample runs/vae/default --num 64 --out samples.png
python -m experiments.sample runs/wavenet/default --num 24 --out scale.wav
"""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import tyro
from PIL import Image

from experiments.running.options import UsageError, help_text, require_at_least, require_seed
from experiments.running.output import prepare_output
from experiments.running.reopened import reopen
from experiments.running.terminal import main, say
from gen_jax import data, images, training
from gen_jax.files import write_atomically

PICTURES, SOUNDS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff"), (".wav",)


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


def program(argv: Sequence[str] | None = None) -> None:
    """Draws ``num`` images as one picture, or as many sounds as one."""
    options = tyro.cli(
        Options, args=argv, prog="python -m experiments.sample", description=help_text(__doc__)
    )
    require_at_least(1, options, "num")
    require_seed(options.seed)
    prepare_output(options.out)
    training.check_platform()
    run = reopen(options.run_dir, step=options.step)
    if run.setup.translation is not None:
        raise UsageError(
            f"this run of {run.experiment.name!r} makes images from images: use python -m "
            "experiments.translate"
        )
    if run.setup.draw is None:
        raise UsageError(
            f"{run.experiment.name} is not a generative model, so it cannot be sampled"
        )
    rate = run.setup.sample_rate
    out = options.out or options.run_dir / ("samples.png" if rate is None else "samples.wav")
    prepare_output(out, PICTURES if rate is None else SOUNDS)
    drawn = run.setup.draw(jax.random.key(options.seed), run.state, options.num)
    if rate is None:
        write_atomically(out, as_picture(images.grid(drawn), out))
    else:
        data.write_wav(out, in_turn(drawn, rate), rate)
    say(f"{options.num} {run.spec.noun} of step {int(run.state.step)}: {out}")


def as_picture(sheet: np.ndarray, out: Path) -> bytes:
    """A sheet of images, encoded as the file's name says.

    Raises ``UsageError`` where that format holds no such pictures.
    """
    file = io.BytesIO()
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    try:
        picture.save(file, Image.registered_extensions()[out.suffix.lower()])
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {out}: {error}") from None
    return file.getvalue()


def in_turn(sounds: np.ndarray, sample_rate: int) -> np.ndarray:
    """Sounds [n, T, C] one after another, with a quarter of a second between them."""
    spaced = np.pad(sounds, ((0, 0), (0, sample_rate // 4), (0, 0)))
    return spaced.reshape(-1, sounds.shape[-1])


if __name__ == "__main__":
    main(program)
