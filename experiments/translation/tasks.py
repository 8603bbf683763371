"""pix2pix's tasks: where pairs come from, what else could be given for a translation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from experiments.running.config import ImageConfig
from experiments.running.experiment import open_images
from experiments.running.options import ByChoice, UsageError
from gen_jax import data
from gen_jax.data.translation.conditions import (
    Edges,
    Gray,
    Hole,
    ImageCondition,
    LowResolution,
    Noise,
)
from gen_jax.evaluation import baselines

SPLITS = ("train", "validation", "test")
TaskName = Literal[
    "style", "colorize", "super-resolve-2", "super-resolve-4", "inpaint", "edges", "denoise"
]
Images = np.ndarray  # uint8 [n, H, W, C]
Baseline = Callable[[Images, Images], Images]  # sources, targets -> what could be given instead


@dataclasses.dataclass(frozen=True)
class Task:
    """A task by name, and the condition that computes the sources from the images.

    Without a condition, the data are pairs. ``dataset`` is what its presets work on. ``prepare``
    turns a user's picture into a source, where it is not one itself. ``in_colour`` says that gray
    images leave nothing to do, and that such a picture is read in colour; ``scales``, that a source
    and its image may be enlarged together: what is computed from single pixels would not be what
    the task is about. Where sources are ``near`` their targets, corrections are learned.
    """

    name: TaskName
    condition: ImageCondition | None
    baselines: Mapping[str, Baseline]
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    dataset: str = "emoji"
    in_colour: bool = False
    scales: bool = False
    near: bool = False

    def open(self, config: ImageConfig, split: str, *, reverse: bool) -> data.Dataset:
        """A split of the config's data, as pairs.

        Raises ``UsageError`` for data that the task is not for.
        """
        try:
            if self.condition is None:
                return data.load_pairs(config.dataset, split, reverse=reverse, **config.opening)
            images = open_images(config, split)
        except data.UnknownSet as error:
            kind = "pairs of images" if self.condition is None else "single images"
            raise UsageError(f"the task {self.name} takes {kind}: {error}") from None
        if self.in_colour and images.image_shape[-1] == 1:
            raise UsageError(
                f"the task {self.name} takes images in colour, and those of {config.dataset} are "
                "gray here"
            )
        condition = self.condition
        if isinstance(condition, Hole | Noise):  # no split repeats another's
            condition = dataclasses.replace(condition, seed=SPLITS.index(split))
        return data.Mapped(images, condition)

    @property
    def hole(self) -> Hole | None:
        """The condition, where it is a hole."""
        return self.condition if isinstance(self.condition, Hole) else None

    @property
    def hides(self) -> Callable[[Any], Any] | None:
        """Which pixels of sources [n, H, W, C] say nothing, bool [n, H, W, 1], where the others are
        those of the image; None where no pixel is."""
        return self.hole and self.hole.hides

    @property
    def picture_channels(self) -> int | None:
        """Channels of the picture that ``prepare`` reads; None: those of the source."""
        return 3 if self.in_colour else None


def identity(source: Images, target: Images) -> Images:
    """The source as it is, in the target's channels."""
    return baselines.identity(source, target.shape[-1])


def best_shift(source: Images, target: Images) -> Images:
    """The source with the levels added to each channel that bring it nearest to these targets: no
    shift found on other pairs does better."""
    return baselines.shift(source, baselines.constant_shift(source, target))


def _super_resolution(factor: Literal[2, 4]) -> Task:
    low = LowResolution(factor)

    def repeated(source: Images, target: Images) -> Images:
        del source
        _, height, width, _ = target.shape
        small = low.reduced(target)
        return baselines.nearest(small, factor)[:, :height, :width]

    def enlarged(picture: np.ndarray) -> np.ndarray:
        return low.enlarged(picture[None])[0]

    name: TaskName = "super-resolve-2" if factor == 2 else "super-resolve-4"
    rows = {"bicubic": identity, "nearest": repeated}
    return Task(name, low, rows, enlarged, dataset="photos", near=True)


def _gray(picture: np.ndarray) -> np.ndarray:
    return Gray()(picture[None], np.zeros(1, np.int64))[0]


USUAL = {"identity": identity, "best constant shift": best_shift}
TASKS: dict[TaskName, Task] = {
    task.name: task
    for task in (
        Task("style", None, USUAL, scales=True),
        Task("colorize", Gray(), USUAL, _gray, in_colour=True, scales=True),
        _super_resolution(2),
        _super_resolution(4),
        Task("inpaint", Hole(), USUAL, dataset="photos"),
        Task("edges", Edges(), USUAL),
        Task("denoise", Noise(), USUAL, dataset="photos", near=True),
    )
}


def by_task(config: Callable[..., Any], **options: Any) -> ByChoice[Any]:
    """A preset of each task, on data that suits it unless the options name some."""
    presets = {
        task.name: config(task=task.name, **{"dataset": task.dataset, **options})
        for task in TASKS.values()
    }
    return ByChoice("task", presets)
