"""Pictures translated by a trained run: a file, or a folder with all that lies below it.

python -m experiments.translate runs/pix2pix/default --input photo.jpg --output translated
python -m experiments.translate runs/cyclegan/default --input photos --output paintings --reverse

Reads PNG, JPEG and WebP of any size; other files of a folder are ignored. Writes PNG under the
same names, upright, with the transparency and the colour profile of the source. What is transparent
is white to the model. Of 16 bits, the upper 8 are kept; of an animation, the first frame. A
pixelcnn trained with a task draws pictures of its own size alone.
"""

import dataclasses
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from experiments.running.options import (
    UsageError,
    help_text,
    require_at_least,
    require_seed,
)
from experiments.running.output import prepare_output
from experiments.running.reopened import TRANSLATORS, Reopened, reopen
from experiments.running.terminal import main, say
from experiments.translation import files, tiles
from experiments.translation.files import Job
from experiments.translation.tiles import Tiling
from gen_jax.data.errors import BadImage
from gen_jax.data.pictures.picture import Picture, decode_whole
from gen_jax.typing import PRNGKey, PRNGKeys

TILE = 256  # pixels: what most networks for photos are trained on


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, what it translates, and where that goes."""

    run_dir: tyro.conf.Positional[Path]
    input: Path
    """A picture, or a folder of pictures."""
    output: Path
    """A folder; subfolders of the input are kept."""
    reverse: bool = False
    """Translate from the second domain to the first, where the model translates both ways."""
    draws: int = 1
    """Several translations of each picture, NAME-1.png and so on, where the model is stochastic."""
    seed: int | None = None
    """Seed of a stochastic model; default 0. A picture's draws depend on it and on its name."""
    step: int | None = None
    """The checkpoint of this step instead of the newest."""
    overwrite: bool = False
    """Replace files that exist."""
    skip_existing: bool = False
    """Skip pictures that are translated already: resumes an interrupted run."""
    skip_bad_images: bool = False
    """Leave out pictures that cannot be read, and list them at the end."""
    tile: int | None = None
    """The longest side, in pixels, that the network sees at once: smaller tiles need less memory.
    Larger pictures are cut into tiles. Default 256, or the size of the training images where that
    is more."""
    overlap: int | None = None
    """Pixels across which neighbouring tiles are blended; default an eighth of a tile."""
    batch_size: int = 4
    """Tiles translated at once."""
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class Direction:
    """One way through a run's model: ``network`` makes uint8 [B, H, W, C'] of typed keys [B] and
    uint8 [B, H, W, channels]; see ``Translation`` for ``prepare``."""

    network: Callable[[PRNGKeys, np.ndarray], np.ndarray]
    channels: int
    prepare: Callable[[np.ndarray], np.ndarray] | None
    picture_channels: int
    tiling: Tiling
    size: tuple[int, int] | None = None

    def read(self, path: Path) -> Picture:
        """A picture as the network takes it. Raises ``BadImage`` for one that cannot be read, or is
        not of the only size that the network takes."""
        if self.prepare is None:
            picture = decode_whole(path, self.channels, str(path))
        else:
            picture = decode_whole(path, self.picture_channels, str(path))
            picture = dataclasses.replace(picture, levels=self.prepare(picture.levels))
        found = picture.levels.shape[:2]
        if self.size not in (None, found):
            raise BadImage(
                f"{path} would become an image of {found[0]}×{found[1]} pixels, and this run draws "
                f"images of {self.size[0]}×{self.size[1]} alone: resize it, or use a run of pix2pix"
            )
        return picture


def program(argv: Sequence[str] | None = None) -> None:
    """Translates one file after another; what was written before a mistake stays."""
    options = tyro.cli(
        Options, args=argv, prog="python -m experiments.translate", description=help_text(__doc__)
    )
    require_at_least(1, options, "draws", "tile", "batch_size")
    require_seed(options.seed or 0)
    if options.overwrite and options.skip_existing:
        raise UsageError("--overwrite and --skip-existing contradict each other: give one of them")
    planned = files.plan(options.input, options.output, options.draws)
    jobs = files.without_existing(planned, overwrite=options.overwrite, skip=options.skip_existing)
    if not jobs:
        say(f"Nothing to do: all translations are in {options.output}")
        return
    run = reopen(options.run_dir, among=TRANSLATORS, step=options.step)
    way = direction(run, options)
    prepare_output(next(iter(jobs[0].targets.values())))
    bad = translate_all(jobs, way, options)
    if len(bad) == len(jobs):
        raise UsageError(f"none of {len(bad)} images could be translated; the first: {bad[0]}")
    made, step = len(jobs) - len(bad), int(run.state.step)
    say(f"{made} of {len(planned)} images translated at step {step}: {options.output}")
    if len(jobs) < len(planned):
        say(f"Translated already: {len(planned) - len(jobs)}")
    if bad:
        say("\n  ".join([f"Left out: {len(bad)}", *map(str, bad)]))


def direction(run: Reopened, options: Options) -> Direction:
    """The way through a run's model that the options ask for.

    Raises ``UsageError`` where the model does not go that way, for options that would do nothing,
    and for tiles that cannot be.
    """
    name, translation = run.experiment.name, run.setup.translation
    if translation is None:
        raise UsageError(
            f"this run of {name!r} does not make images from images: translate takes one that was "
            "trained with a --task"
        )
    drawing = "draws" if options.draws > 1 else "seed" if options.seed is not None else None
    if drawing and not translation.stochastic:
        raise UsageError(
            f"--{drawing} applies only to a stochastic model: this run of {name!r} makes the same "
            "image of a picture each time"
        )
    function, channels, prepare = translation.translate, translation.channels, translation.prepare
    if options.reverse:
        if translation.backward is None:
            raise UsageError(f"--reverse does not apply: a run of {name!r} translates one way only")
        function, channels, prepare = translation.backward, translation.made_channels, None
    return Direction(
        lambda keys, images: function(run.state, keys, images),
        channels,
        prepare,
        translation.picture_channels or channels,
        tiling(run, translation.least, options),
        translation.size,
    )


def tiling(run: Reopened, least: int, options: Options) -> Tiling:
    """Tiles as the options say. Raises ``UsageError`` for what cannot be."""
    height, width = run.spec.shape[:2]
    tile = options.tile or max(TILE, height, width, least)
    overlap = tile // 8 if options.overlap is None else options.overlap
    try:
        return Tiling(tile, overlap, least, (height, width), options.batch_size)
    except ValueError as error:
        raise UsageError(str(error)) from None


def translate_all(jobs: Sequence[Job], way: Direction, options: Options) -> list[BadImage]:
    """Writes what the jobs ask for; returns what was wrong with the pictures left out.

    Raises ``UsageError`` for a picture that cannot be read, unless such are to be left out.
    """
    bad: list[BadImage] = []
    with tqdm(total=len(jobs), unit="image", disable=options.quiet or None) as progress:
        for number, job in enumerate(jobs):
            try:
                picture = way.read(job.source)
            except BadImage as error:
                if not options.skip_bad_images:
                    hint = (
                        f" ({number} of {len(jobs)} images are translated; "
                        "--skip-existing --skip-bad-images translates the others)"
                    )
                    raise UsageError(f"{error}{hint * (len(jobs) > 1)}") from None
                bad.append(error)
            else:
                translate_one(job, picture, way, options.seed or 0, progress)
            progress.update()
    return bad


def translate_one(job: Job, picture: Picture, way: Direction, seed: int, progress: tqdm) -> None:
    """Writes the draws of one picture."""
    n_tiles = tiles.count(picture.levels, way.tiling)
    for draw, target in job.targets.items():
        n_made = 0

        def network(images: np.ndarray, draw: int = draw) -> np.ndarray:
            nonlocal n_made
            # All tiles of a picture see the same noise, so that they are of one style.
            keys = jnp.broadcast_to(draw_key(seed, job.source.name, draw), len(images))
            made = way.network(keys, images)
            n_made += len(images)
            if n_tiles > len(images):
                progress.set_postfix_str(f"{job.source.name}: {n_made} of {n_tiles} tiles")
            return made

        made = tiles.translate(network, picture.levels, way.tiling)
        files.write(target, made, picture.alpha, picture.profile)
        progress.set_postfix_str("", refresh=False)


def draw_key(seed: int, name: str, draw: int) -> PRNGKey:
    """Of a file's name alone, so that it is translated alike in any folder, beside any others."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(os.fsencode(name)))
    return jax.random.fold_in(key, draw)


if __name__ == "__main__":
    main(program)
