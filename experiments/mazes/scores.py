"""How good plans are: which are valid, which of those are shortest, and how long they take."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from experiments.mazes import walks, wishes
from experiments.mazes.planner import Planner, Plans, with_more_steps
from experiments.mazes.wishes import Wishes
from experiments.running import tables
from experiments.running.tables import Columns
from gen_jax import data, reporting
from gen_jax.data.mazes import plans
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey

Spatial = UInt8[np.ndarray, "n height width 3"]
Paths = UInt8[np.ndarray, "n height width 1"]

TITLES = {
    "valid": "valid",
    "optimal": "optimal of these",
    "excess": "excess [steps]",
    "kept": "wishes kept",
    "seconds": "time [s]",
}
GROUPS = {
    "": "Test mazes",
    "larger": "Larger mazes",
    "way-points": "Through way-points",
    "forbidden": "Past forbidden pixels",
}
HINTS = {  # where no plan has to change for what is asked
    "way-points": "Through way-points that need no longer path",
    "forbidden": "Past forbidden pixels beside the path of the data",
}
CHANGING = {"way-points": "longer_path", "forbidden": "on_path"}  # counted as a metric of this name

NOTES = {
    "": "A plan is valid where nothing but a path from start to goal is drawn, and optimal where "
    "none is shorter. Best of n: the likeliest of n plans, by the model; any of n: whether one is "
    "valid. Walks go from the start to the neighbour that is likeliest on the path: see "
    "experiments/mazes/walks.py. A perfect maze has one path, and so every valid plan of it is "
    "optimal. The time is that of a maze, on whatever else the machine did.",
    "larger": "The same model, whose encoder takes more steps, in mazes that it never saw the size "
    "of.",
    "way-points": "Plans that have to pass given pixels. In {longer_path} of {tried} mazes tried "
    "there were some whose plan needs a longer path; {mazes} mazes are measured. A plan's pixels "
    "before a way-point, in raster order, are drawn without it in sight.",
    "forbidden": "Plans that may not use a given pixel. In {on_path} of {tried} mazes tried there "
    "was one that lies on the path of the data, and a way past it; {mazes} mazes are measured.",
}
HINT = (
    " No plan has to change for it: it is a hint, and not a test. Mazes with several paths, as in "
    "--dataset mazes:loops:8, have tests."
)


def judged(spatial: Spatial, paths: Paths, asked: Wishes | None = None) -> Columns:
    """The share of plans that are ``valid``: paths from start to goal, with all ``asked`` for; the
    share of those that are ``optimal``, and their mean ``excess`` over the shortest, in steps,
    where any is valid; and the share that has all that is asked for (``kept``)."""
    points = () if asked is None else (asked.way_points, asked.forbidden)
    verdicts = plans.check(spatial, paths, *points)
    kept = verdicts.passes & verdicts.avoids
    valid = verdicts.valid & kept
    columns = {"valid": float(valid.mean())}
    if valid.any():
        columns["optimal"] = float(verdicts.optimal[valid].mean())
        columns["excess"] = float(verdicts.excess[valid].mean())
    if asked is not None:
        columns["kept"] = float(kept.mean())
    return columns


def of_plans(
    spatial: Spatial, drawn: Plans, counts: Sequence[int], asked: Wishes | None = None
) -> dict[str, Columns]:
    """Rows of the likeliest of the first n plans, and of whether any of them is valid, for each n
    of ``counts``, of which the last is how many there are; and of walks guided by the marginals of
    one plan, and of all."""
    n = drawn.path.shape[1]
    rows = {f"best of {k}": judged(spatial, drawn.best(k), asked) for k in counts}
    points = () if asked is None else (asked.way_points, asked.forbidden)
    mazes, *points = (np.repeat(x, n, axis=0) for x in (spatial, *points))
    every = plans.check(mazes, drawn.path.reshape(-1, *drawn.path.shape[2:]), *points)
    valid = (every.valid & every.passes & every.avoids).reshape(-1, n)
    for k in counts:
        if k > 1:
            rows[f"any of {k}"] = {"valid": float(valid[:, :k].any(1).mean())}
    if asked is None:  # a walk does not know what is asked for
        for k in dict.fromkeys((1, n)):
            rows[f"walk by {k}"] = judged(spatial, walks.guided(spatial, drawn.marginals(k)))
    return rows


def timed(function: Callable[[Spatial], Any], spatial: Spatial, warm: int) -> tuple[Any, float]:
    """What a function makes of mazes, and the seconds a maze, without those of compiling: before,
    it is called with the first ``warm``."""
    function(spatial[:warm])
    begin = time.perf_counter()
    made = function(spatial)
    return made, (time.perf_counter() - begin) / len(spatial)


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Measures a model's plans: for ``mazes`` of a data set's mazes (and a quarter as many of the
    other groups), by the best of ``counts``; in mazes ``larger`` times as wide; and with so many
    ``way_points``. ``seed`` draws the larger mazes, and what is asked for."""

    planner: Planner
    counts: Sequence[int]
    mazes: int
    larger: int
    way_points: int
    seed: int

    def groups(
        self, state: TrainState, key: PRNGKey, dataset: data.AnyDataset
    ) -> dict[str, dict[str, Columns]]:
        """The rows of each of ``GROUPS``."""
        spatial = data.some(dataset, self.mazes)["spatial"]
        keys = jax.random.split(key, len(GROUPS))
        groups = {"": self._timed_rows(state, keys[0], spatial)}
        if self.larger > 1:
            larger = data.some(self.larger_mazes(dataset), self._fewer)["spatial"]
            prepared = with_more_steps(state, self.larger)
            groups["larger"] = self._timed_rows(prepared, keys[1], larger)
        for i, (name, asked) in enumerate(self.asked(dataset).items(), 2):
            mazes = spatial[asked.numbers]
            drawn = self.planner(state, keys[i], mazes, self.counts[-1], wishes=asked)
            groups[name] = of_plans(mazes, drawn, self.counts, asked)
        return groups

    @property
    def _fewer(self) -> int:
        return max(1, self.mazes // 4)

    def asked(self, dataset: data.AnyDataset) -> dict[str, Wishes]:
        """What is asked for in the mazes that are measured so."""
        return self.wishes(data.some(dataset, self.mazes)["spatial"][: self._fewer])

    def wishes(self, spatial: Spatial) -> dict[str, Wishes]:
        """What is asked for in these mazes, by the name of the group."""
        found = {}
        if self.way_points:
            rng = np.random.default_rng((self.seed, 0))
            found["way-points"] = wishes.way_points(spatial, self.way_points, rng)
        found["forbidden"] = wishes.forbidden(spatial, np.random.default_rng((self.seed, 1)))
        return {name: asked for name, asked in found.items() if len(asked.numbers)}

    def larger_mazes(self, dataset: data.AnyDataset) -> data.AnyDataset:
        """Test mazes of the same kind, ``larger`` times as many cells wide."""
        kind, cells = kind_and_cells(dataset.name)
        name = f"mazes:{kind}:{self.larger * cells}:{self._fewer}"
        return data.load_pairs(name, "test", seed=self.seed)

    def _timed_rows(self, state: TrainState, key: PRNGKey, spatial: Spatial) -> dict[str, Columns]:
        n = self.counts[-1]
        warm = -(-self.planner.chunk // n)  # as many plans as are drawn at a time
        drawn, seconds = timed(lambda mazes: self.planner(state, key, mazes, n), spatial, warm)
        rows = of_plans(spatial, drawn, self.counts)
        for k in self.counts:
            rows[f"best of {k}"]["seconds"] = seconds * k / n
        found, seconds = timed(plans.shortest, spatial, 1)
        return rows | {"search": judged(spatial, found.path) | {"seconds": seconds}}


def kind_and_cells(name: str) -> tuple[str, int]:
    """What a set of mazes is of, by its name."""
    _, kind, cells, *_ = name.split(":")
    return kind, int(cells)


def as_metrics(groups: Mapping[str, Mapping[str, Columns]]) -> dict[str, float]:
    """Rows as a summary's metrics: ``test/GROUP/ROW/COLUMN``, those of the test mazes themselves
    without a group."""
    metrics: dict[str, float] = {}
    for group, rows in groups.items():
        metrics |= tables.as_metrics(rows, _prefix(group))
    return metrics


def as_groups(metrics: Mapping[str, Any]) -> dict[str, dict[str, Columns]]:
    """What ``as_metrics`` made metrics of, among any others."""
    groups = {group: tables.as_rows(metrics, TITLES, _prefix(group)) for group in GROUPS}
    return {group: rows for group, rows in groups.items() if rows}


def _prefix(group: str) -> str:
    return f"test/{group}/" if group else "test/"


def as_counts(asked: Mapping[str, Wishes]) -> dict[str, int]:
    """In how many mazes something is asked for, in how many such was looked for that a plan has to
    change for it, and in how many it was found, as a summary's metrics:
    ``test/way-points/longer_path``."""
    counts: dict[str, int] = {}
    for group, found in asked.items():
        counts[f"test/{group}/mazes"] = len(found.numbers)
        counts[f"test/{group}/tried"] = found.tried
        counts[f"test/{group}/{CHANGING[group]}"] = int(found.changing.sum())
    return counts


def title_of(group: str, *, changing: bool) -> str:
    """What a group is called; ``changing``: plans have to change for what is asked."""
    return GROUPS[group] if changing else HINTS[group]


def add_table(run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Adds a table of the numbers of each group that there is."""
    for group, rows in as_groups(metrics).items():
        counts = _counts(metrics, group)
        changing = group not in CHANGING or counts[CHANGING[group]] > 0
        columns, cells = tables.tabulated(rows, TITLES)
        reporting.add_table(
            run_dir,
            f"{group or 'test'}-scores",
            columns,
            cells,
            title=title_of(group, changing=changing),
            caption=NOTES[group].format(**counts) + ("" if changing else HINT),
        )


def _counts(metrics: Mapping[str, Any], group: str) -> dict[str, int]:
    """What ``as_counts`` says of a group."""
    names = ("mazes", "tried", CHANGING[group]) if group in CHANGING else ()
    return {name: metrics[f"test/{group}/{name}"] for name in names}
