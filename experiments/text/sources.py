"""Where the vectors of captions come from: a text encoder in the run's own folder, or a file."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

from experiments import text_encoder
from experiments.running.config import RunConfig, of_source
from experiments.running.experiment import Job, Splits
from experiments.running.nested import Nested, within
from experiments.running.options import UsageError, where
from experiments.running.terminal import say
from experiments.text.captions import CaptionsConfig
from experiments.text.embedding import Embedder
from gen_jax import data, training
from gen_jax.files import writing

FOLDER = "text_encoder"  # in a run's own


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorsConfig(CaptionsConfig):
    """What embeds the captions."""

    text_embeddings: Path | None = of_source(None, "captions:")
    """Vectors of all captions in the order of their file, .npy or .safetensors [captions, D]; each
    is brought to a mean square of 1. Images of other sentences then cannot be made."""
    text_encoder: Path | None = where(
        None, lambda config: config.text_embeddings is None, "a run without --text-embeddings"
    )
    """Run folder of a text_encoder, which is copied; default one that is trained first, by the
    preset of the same name, in RUN_DIR/text_encoder."""

    @property
    def embeddings(self) -> Path | None:
        return self.text_embeddings


def prepare(job: Job) -> Job:
    """The job with a vector for each caption: trains the text encoder, or copies it, and embeds.

    Raises as ``embedder_of`` does, before anything is written.
    """
    config, splits = job.config, job.data
    if config.embeddings is not None:
        return job
    shape = splits.train.example_spec.shape
    if config.text_encoder is None:
        if not config.quiet:
            say("First the text encoder:")
        preset = text_encoder.PRESETS[job.run.preset]
        choices: dict[str, Any] = {"letters": config.letters}
        if isinstance(job.config, RunConfig):
            choices["compile"] = job.config.compile
        settings = within(config, preset, **choices)
        Nested.of(job, FOLDER, text_encoder.EXPERIMENT, settings).train()
    elif not (job.run.dir / FOLDER).exists():
        _opened(config.text_encoder, config, shape)
        if job.run.writes:
            _copy(config.text_encoder, job.run.dir / FOLDER)
    embedder = embedder_of(config, shape)
    assert embedder is not None
    parts = {id(part): part for part in (splits.train, splits.validation, splits.test)}
    embedded = {place: with_vectors(part, embedder) for place, part in parts.items()}
    names = ("train", "validation", "test")
    loaded = Splits(*(embedded[id(getattr(splits, name))] for name in names))
    return dataclasses.replace(job, loaded=loaded)


def embedder_of(config: VectorsConfig, shape: tuple[int, ...]) -> Embedder | None:
    """The text encoder in the run's folder, or else where it was copied from; None where vectors
    are a file's.

    Raises ``UsageError`` for one of images that have not this shape, or of another number of
    letters, and ``RunError`` where there is none.
    """
    if config.embeddings is not None:
        return None
    own = None if config.run_dir is None else config.run_dir / FOLDER
    folder = own if own is not None and own.exists() else config.text_encoder
    if folder is None:
        raise training.RunError(f"{config.run_dir} has lost its folder {FOLDER}")
    return _opened(folder, config, shape)


def _opened(folder: Path, config: VectorsConfig, shape: tuple[int, ...]) -> Embedder:
    embedder = Embedder.open(folder)
    if embedder.length != config.letters:
        raise UsageError(
            f"the text encoder in {folder} reads {embedder.length} letters, not {config.letters}: "
            f"give --letters {embedder.length}"
        )
    if embedder.shape != shape:
        ours, theirs = ("×".join(map(str, sizes)) for sizes in (embedder.shape, shape))
        raise UsageError(
            f"the text encoder in {folder} was trained on images of {ours}, and those of "
            f"{config.dataset} are {theirs}"
        )
    return embedder


def with_vectors(dataset: data.Captioned, embedder: Embedder | None) -> data.Captioned:
    """The same captions with their vectors, where they have none yet."""
    if dataset.example_spec.vector is not None or embedder is None:
        return dataset
    return embedder.with_conditions(dataset)


def _copy(source: Path, folder: Path) -> None:
    """Copies a run's folder whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    with writing(folder):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(".*", "events.*"))
        os.replace(partial, folder)
