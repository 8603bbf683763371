"""Which pictures a command reads, which files it makes of them, and how these are written.

What is made is always a PNG, whose name is that of its source: nothing is lost, and transparency
and colour profile have their place.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from experiments.running.options import UsageError
from gen_jax.data.folder import files_below
from gen_jax.data.pictures.folder import PICTURES
from gen_jax.data.pictures.picture import Levels
from gen_jax.files import write_atomically, writing

PROFILES = {1: b"GRAY", 3: b"RGB "}  # the colour space that a profile names, by channels


@dataclasses.dataclass(frozen=True)
class Job:
    """A picture, and the files that are to be made of it, by the number of the draw from 1 on."""

    source: Path
    targets: Mapping[int, Path]


def plan(source: Path, output: Path, draws: int = 1) -> list[Job]:
    """What is to be made of a picture, or of all pictures of a folder and those below it.

    Names and subfolders are kept: ``a/b.jpg`` becomes ``a/b.png``, or ``a/b-1.png`` and so on where
    there are several draws. Touches nothing. Raises ``UsageError`` where there is no picture, where
    two would be written to one file, and where a source could be overwritten.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output must be a folder, but {output} is a file")
    if source.is_dir():
        folder, sources = source, list(files_below(source, PICTURES))
        if not sources:
            raise UsageError(f"there is no {PICTURES.format} file in {source}")
        if output.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"--output must lie outside of --input, but {output} is in {source}")
    elif source.exists():
        folder, sources = source.parent, [source]
    else:
        raise UsageError(f"there is no file or folder {source}")
    jobs = [Job(path, _targets(output / path.relative_to(folder), draws)) for path in sources]
    _refuse_clashes(jobs)
    return jobs


def without_existing(jobs: Sequence[Job], *, overwrite: bool, skip: bool) -> list[Job]:
    """The jobs, without what is done already where that is to be skipped.

    Raises ``UsageError`` for files that exist, unless they are to be overwritten or skipped.
    """
    existing = [path for job in jobs for path in job.targets.values() if path.exists()]
    if not existing or overwrite:
        return list(jobs)
    if not skip:
        raise UsageError(
            f"{len(existing)} of the files to write exist, the first {existing[0]}: "
            "--overwrite replaces them, --skip-existing keeps them"
        )
    done = set(existing)
    left = (
        Job(job.source, {n: path for n, path in job.targets.items() if path not in done})
        for job in jobs
    )
    return [job for job in left if job.targets]


def write(
    target: Path,
    levels: Levels,
    alpha: UInt8[np.ndarray, "height width"] | None,
    profile: bytes | None,
) -> None:
    """Writes a PNG, whole or not at all.

    An ``alpha`` of another size is resized to that of the levels. The ICC ``profile`` is left out
    where it is for other colours than these: a gray picture's for an RGB one, say. Raises
    ``RunError`` where the file cannot be written.
    """
    from PIL import Image

    picture = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha).resize(picture.size, Image.Resampling.BICUBIC))
    if profile is not None and profile[16:20] != PROFILES[levels.shape[-1]]:
        profile = None
    file = io.BytesIO()
    picture.save(file, "png", icc_profile=profile)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, file.getvalue())


def _targets(path: Path, draws: int) -> dict[int, Path]:
    if draws == 1:
        return {1: path.with_suffix(".png")}
    return {draw: path.with_name(f"{path.stem}-{draw}.png") for draw in range(1, draws + 1)}


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    for job in jobs:
        for target in job.targets.values():
            if target in owners:
                raise UsageError(
                    f"{owners[target]} and {job.source} would both become {target}: rename one"
                )
            owners[target] = job.source
            if target.resolve() in sources:
                raise UsageError(
                    f"{job.source} would become {target}, which is one of the pictures to read: "
                    "choose another --output"
                )
