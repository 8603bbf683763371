"""What an experiment is: presets, data, and the work that is done with them."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments.running.config import DataConfig
from experiments.running.options import ByChoice, UsageError
from experiments.running.terminal import say
from gen_jax import data, training
from gen_jax.typing import Params

Data = TypeVar("Data", bound=data.AnyDataset)
Summary = Mapping[str, Any]  # the content of a run's summary.json


@dataclasses.dataclass(frozen=True)
class Splits(Generic[Data]):
    """The three parts of an experiment's data."""

    train: Data
    validation: Data
    test: Data

    def record(self) -> dict[str, Any]:
        """What the data is, as JSON holds it: another record is another set of examples."""
        parts = {name: describe(getattr(self, name)) for name in ("train", "validation", "test")}
        example = dataclasses.asdict(self.train.example_spec)
        return json.loads(json.dumps({"dataset": self.train.name, "example": example, **parts}))


def describe(part: data.AnyDataset) -> dict[str, Any]:
    """How many examples a part has, and the first digits of the SHA-256 of what they are."""
    return {"examples": len(part), "digest": part.digest[:16]}


def open_images(config: DataConfig, split: str) -> data.Dataset:
    """One part of the config's images."""
    return data.load(
        config.dataset,
        split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        skip_bad_images=config.skip_bad_images,
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """What there is to work with: the data (None where an experiment makes its own) and the open
    run folder."""

    config: Any
    splits: Splits[Any] | None
    run: training.Run

    @property
    def run_dir(self) -> Path:
        return self.run.dir

    @property
    def data(self) -> Splits[Any]:
        """The parts of the data, for experiments that have some."""
        assert self.splits is not None
        return self.splits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What a summary says of the work: ``params`` are what was fitted, ``steps`` how often they
    were updated, ``examples_per_s`` how fast. ``earlier_s`` is the time of earlier starts."""

    params: Params
    steps: int
    examples_per_s: float
    metrics: Mapping[str, float | int | str]
    earlier_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment's name, its presets, and how a part of its data is opened.

    Its subclasses say what is done: ``Study`` by a function, ``Training`` by a model.
    """

    name: str
    description: str | None
    presets: Mapping[str, Any | ByChoice[Any]]
    _: dataclasses.KW_ONLY
    open: Callable[[Any, str], data.AnyDataset] | None = open_images

    def load(self, config: Any) -> Splits[Any] | None:
        """The training, validation and test part of the config's data, which agree in size.

        With ``validation_fraction`` 0 every training example trains, and validation looks at the
        test examples: for settings of papers that select nothing on them.
        """
        if self.open is None:
            return None
        train, test = self.open(config, "train"), self.open(config, "test")
        held_out = config.validation_fraction > 0
        validation = self.open(config, "validation") if held_out else test
        splits = Splits(train, validation, test)
        data.check_splits(train, validation, test, classes=_reads_labels(config, splits))
        if train.skipped:
            say(f"{train.skipped} examples of {config.dataset} are left out: unreadable, or short")
        return splits

    def settle(self, config: Any, saved: Any, splits: Splits[Any] | None) -> Any:
        """The config with what depends on the data, or on the ``saved`` config of an earlier start
        of the same run."""
        del saved, splits
        return config

    def is_done(self, job: Job, summary: Summary) -> bool:
        """Whether an earlier start has done all that is asked for."""
        del job, summary
        return True

    def work(self, job: Job) -> Findings:
        """Does what the experiment is for, and adds to the run's report."""
        raise NotImplementedError  # a subclass's


def _reads_labels(config: DataConfig, splits: Splits[Any]) -> bool:
    """Whether the model reads labels. Raises ``UsageError`` for a part that lacks them."""
    if config.labels == "unused":
        return False
    if config.labels == "optional" and splits.train.class_names is None:
        return False
    for name in ("train", "validation", "test"):
        if getattr(splits, name).class_names is None:
            raise UsageError(
                f"--class-conditional wants labels, and the {name} examples of {config.dataset} "
                "have none: give --no-class-conditional"
            )
    return True


@dataclasses.dataclass(frozen=True)
class Study(Experiment):
    """An experiment that is one function: no training loop that stops and resumes."""

    _: dataclasses.KW_ONLY
    function: Callable[[Job], Findings]

    def work(self, job: Job) -> Findings:
        return self.function(job)
