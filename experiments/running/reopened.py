"""A trained run, opened again: its config, its model, and its newest good checkpoint."""

import dataclasses
import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.running.config import RunConfig
from experiments.running.experiment import describe
from experiments.running.fitting import Setup, Training
from experiments.running.options import ByChoice, UsageError, dashed, refuse_idle
from gen_jax import data, training

RESIZING = ("image_size", "channels")
COMMANDS = (
    "autoencoder",
    "began",
    "cyclegan",
    "gan",
    "pix2pix",
    "pixelcnn",
    "pixelrnn",
    "planning",
    "text_encoder",
    "text_to_image",
    "vae",
    "wavenet",
)
TRANSLATORS = "cyclegan", "pix2pix", "pixelcnn"


@dataclasses.dataclass(frozen=True)
class Reopened:
    """A run's parts, with ``state`` as it was saved.

    ``spec`` says what the run's examples are like, and ``record`` what its data was (None where an
    earlier version made the run).
    """

    experiment: Training
    config: RunConfig
    setup: Setup
    state: Any
    spec: data.ExampleSpec
    record: dict[str, Any] | None

    def test_set(self, dataset: str | None, **changes: object) -> data.AnyDataset:
        """The run's own test examples, or those of another ``dataset`` whose classes have the same
        names; ``changes`` that are not None are options for opening it.

        Raises ``UsageError`` where they are not of the size of the run's, and ``training.RunError``
        where the run's own have changed.
        """
        assert self.experiment.open is not None
        given = {"dataset": dataset, **changes}
        if dataset is None and (options := [name for name in RESIZING if changes.get(name)]):
            raise UsageError(f"--{dashed(options[0])} applies only to another --dataset")
        config = _with(self.experiment.name, self.config, given)
        test = self.experiment.open(config, "test")
        found = test.example_spec
        if _size(found) != _size(self.spec):
            advice = "" if found.shape == self.spec.shape else ": set --image-size and --channels"
            raise UsageError(
                f"the model was trained on {self.spec.noun} of {_size(self.spec)}, but those of "
                f"{config.dataset} are {_size(found)}{advice}"
            )
        if dataset is None and self.record is not None and self.record["test"] != describe(test):
            raise training.RunError(
                f"the test examples of {config.dataset} have changed since training: pass "
                f"--dataset {config.dataset} to evaluate on them anyway"
            )
        names = self.spec.class_names
        if self.config.labels == "unused" or names is None:
            return test
        if found.class_names is None:
            raise UsageError(
                f"the model reads labels, and the {self.spec.noun} of {test.name} have none"
            )
        return test if found.class_names == names else test.with_classes(names)


def reopen(
    run_dir: str | Path,
    *,
    among: Collection[str] = COMMANDS,
    step: int | None = None,
    **changes: object,
) -> Reopened:
    """Opens the folder of a run of one ``among`` the experiments, with ``changes`` to its config,
    and starts JAX's backends for it. Its data is not needed.

    Raises ``training.RunError`` where there is no run of such an experiment, or no checkpoint, or
    where the backends cannot be used.
    """
    run_dir = Path(run_dir)
    name, _ = training.experiment_of(run_dir)
    if name not in among:
        raise training.RunError(
            f"{run_dir} is a run of {name!r}; this works for {', '.join(among)}"
        )
    experiment: Training = importlib.import_module(f"experiments.{name}").EXPERIMENT
    saved = training.load_config(_config_class(experiment), run_dir)
    config = _with(name, saved, {**changes, "run_dir": run_dir})
    experiment.start_devices(config)
    record = training.load_data(run_dir)
    if record is None:  # an earlier version's: only the data says what it was
        splits = experiment.load(config)
        assert splits is not None
        spec, n_examples = splits.train.example_spec, len(splits.train)
    else:
        spec = data.ExampleSpec.from_json(record["example"])
        n_examples = record["train"]["examples"]
    setup = experiment.setup(config, spec, n_examples)
    blank: Any = _Blank(spec)
    template = jax.eval_shape(lambda: setup.init(blank))  # its shapes do: nothing is compiled
    state = training.restore(run_dir, template, step=step)
    return Reopened(experiment, config, setup, state, spec, record)


def _with(experiment: str, config: RunConfig, changes: Mapping[str, object]) -> RunConfig:
    """The config with the changes that are not None.

    Raises ``UsageError`` for an option that this experiment does not have, or that does nothing to
    this run.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    for name in given:
        if not hasattr(config, name):
            raise UsageError(f"--{dashed(name)} does not apply to a run of {experiment!r}")
    changed = dataclasses.replace(config, **given)
    refuse_idle(changed, set(given))
    return changed


def _config_class(experiment: Training) -> type[Any]:
    preset = next(iter(experiment.presets.values()))
    return type(next(iter(preset.presets.values())) if isinstance(preset, ByChoice) else preset)


def _size(spec: data.ExampleSpec) -> str:
    """All that a model's shapes follow from."""
    size = "×".join(map(str, spec.shape))
    if spec.spatial is not None:
        size += f" from {'×'.join(map(str, spec.spatial))}"
    if spec.text is not None:  # neither of how many, nor of what they say
        size += f" with captions of {spec.text[1]} letters"
    return size if spec.vector is None else f"{size} in vectors of {spec.vector}"


@dataclasses.dataclass(frozen=True)
class _Blank:
    """One blank example, in the place of training data: what a state's shapes follow from."""

    example_spec: data.ExampleSpec

    def __len__(self) -> int:
        return 1

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return self.example_spec.blank(len(indices))
