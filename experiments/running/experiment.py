"""What an experiment is: presets, data, and the work that is done with them."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from experiments.running.config import ImageConfig
from experiments.running.options import ByChoice, UsageError
from experiments.running.terminal import say
from gen_jax import data, training
from gen_jax.typing import Params

Summary = Mapping[str, Any]  # the content of a run's summary.json


@dataclasses.dataclass(frozen=True)
class Splits:
    """The three parts of an experiment's data."""

    train: Any  # data sets, of images or of sounds
    validation: Any
    test: Any

    def record(self) -> dict[str, Any]:
        """What the data is, as JSON holds it: another record is another set of examples."""
        parts = {name: describe(getattr(self, name)) for name in ("train", "validation", "test")}
        example = self.train.example_spec.as_json()
        return json.loads(json.dumps({"dataset": self.train.name, "example": example, **parts}))


def describe(part: data.AnyDataset) -> dict[str, Any]:
    """How many examples a part has, and the first digits of the SHA-256 of what they are."""
    return {"examples": len(part), "digest": part.digest[:16]}


def open_images(config: ImageConfig, split: str) -> data.Dataset:
    """One part of the config's images."""
    return data.load(config.dataset, split, **config.opening)


def require_examples(part: data.AnyDataset, least: int) -> None:
    """Raises ``UsageError`` for a part of fewer examples than what is measured needs."""
    if len(part) < least:
        noun = part.example_spec.noun
        raise UsageError(
            f"{part.name}: {part.split} has too few {noun} to measure anything on, {len(part)}; it "
            f"needs {least} or more"
        )


@dataclasses.dataclass(frozen=True)
class Job:
    """What there is to work with: the config, the open run folder, and the data.

    The config's ``run_dir`` is the run's folder, as it is for a run that is opened again.
    """

    config: Any
    run: training.Run
    loaded: Splits | None  # None where an experiment makes its own

    @property
    def data(self) -> Splits:
        """The parts of the data, for experiments that load some."""
        assert self.loaded is not None
        return self.loaded


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

    Its subclasses say what is done: ``Study`` by a function, ``Training`` by a model. With
    ``splits_cpu`` each core of a CPU is a device of its own (``training.split_cpu``).
    """

    name: str
    description: str | None
    presets: Mapping[str, Any | ByChoice[Any]]
    _: dataclasses.KW_ONLY
    open: Callable[[Any, str], data.AnyDataset] | None = open_images
    splits_cpu: bool = False

    def start_devices(self, config: Any) -> None:
        """Starts JAX's backends. Raises ``training.RunError`` where they cannot be used."""
        if self.splits_cpu:
            training.split_cpu(config.batch_size)
        training.check_platform()

    def load(self, config: Any) -> Splits | None:
        """The training, validation and test part of the config's data, which agree in size.

        With ``validation_fraction`` 0 every training example trains, and validation uses the
        test examples: for settings of papers that select nothing on them.
        """
        if self.open is None:
            return None
        train, test = self.open(config, "train"), self.open(config, "test")
        held_out = config.validation_fraction > 0
        validation = self.open(config, "validation") if held_out else test
        labels = config.labels
        if labels == "required" and train.class_names is None:
            advice = "; give --no-class-conditional" if hasattr(config, "class_conditional") else ""
            raise UsageError(f"the model needs labels, and {config.dataset} has none{advice}")
        reads_labels = labels != "unused" and train.class_names is not None
        data.check_splits(train, validation, test, classes=reads_labels)
        if train.skipped:
            say(f"Skipped {train.skipped} examples of {config.dataset} (unreadable or too short).")
        return Splits(train, validation, test)

    def settle(self, config: Any, saved: Any, splits: Splits | None) -> Any:
        """The config with what depends on the data, or on the ``saved`` config of an earlier start
        of the same run."""
        del saved, splits
        return config

    def is_done(self, job: Job, summary: Summary) -> bool:
        """Whether an earlier start has done all of the work."""
        del job, summary
        return True

    def work(self, job: Job) -> Findings:
        """Does what the experiment is for, and adds to the run's report."""
        raise NotImplementedError  # a subclass's


@dataclasses.dataclass(frozen=True)
class Study(Experiment):
    """An experiment that is one function: no training loop that stops and resumes."""

    _: dataclasses.KW_ONLY
    function: Callable[[Job], Findings]

    def work(self, job: Job) -> Findings:
        return self.function(job)
