"""New images or sounds from a trained run.

python -m experiments.sample runs/vae/default --num 64 --out samples.png
python -m experiments.sample runs/wavenet/default --num 24 --out scale.wav
python -m experiments.sample runs/text_to_image/default --text "a bold red 7" --text "a thin 3"
"""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from PIL import Image

from experiments.running.options import UsageError, help_text, require_at_least, require_seed
from experiments.running.output import prepare_output
from experiments.running.reopened import Reopened, reopen
from experiments.running.terminal import main, say
from gen_jax import data, images
from gen_jax.files import write_atomically
from gen_jax.typing import PRNGKey

PICTURES, SOUNDS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff"), (".wav",)
OF_EACH = 16  # images of each sentence


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, how many images or sounds, and where they go."""

    run_dir: tyro.conf.Positional[Path]
    num: int | None = None
    """Examples to draw; default 64, or 16 for each --text."""
    text: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A sentence to make images of, a row of the picture; may be given several times."""
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
    run = reopen(options.run_dir, step=options.step)
    check_kind(run, options)
    rate = run.setup.sample_rate
    out = options.out or options.run_dir / ("samples.png" if rate is None else "samples.wav")
    prepare_output(out, PICTURES if rate is None else SOUNDS)
    key, num = jax.random.key(options.seed), options.num or (OF_EACH if options.text else 64)
    drawn = drawn_from(run, key, options.text, num)
    if rate is None:
        columns = num if options.text else None
        write_atomically(out, as_picture(images.grid(drawn, columns=columns), out))
    else:
        data.write_wav(out, in_turn(drawn, rate), rate)
    noun = "images" if options.text else run.spec.noun
    say(f"{len(drawn)} {noun} of step {int(run.state.step)}: {out}")


def check_kind(run: Reopened, options: Options) -> None:
    """Raises ``UsageError`` for a run that is not sampled, or not so."""
    name, setup = run.experiment.name, run.setup
    if setup.translation is not None:
        raise UsageError(
            f"this run of {name!r} makes images from images: use python -m experiments.translate"
        )
    if setup.illustrate is not None:
        config: Any = run.config
        if config.embeddings is not None:
            raise UsageError(
                f"this run's captions were embedded elsewhere, in {config.embeddings}: it "
                "cannot make images of other sentences; its report shows those of test captions"
            )
        if not options.text:
            raise UsageError(f"{name} makes images of sentences: give one or more as --text")
        return
    if options.text:
        raise UsageError(f"--text applies only to a run of text_to_image (here: {name})")
    if setup.draw is None:
        raise UsageError(f"{name} is not a generative model, so it cannot be sampled")


def drawn_from(run: Reopened, key: PRNGKey, texts: Sequence[str], num: int) -> np.ndarray:
    """``num`` new examples, or ``num`` images of each text."""
    setup = run.setup
    if setup.illustrate is None:
        assert setup.draw is not None
        return setup.draw(key, run.state, num)
    return setup.illustrate(key, run.state, texts, num)


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
