"""What the report shows of plans: mazes and plans, what went wrong, and a plan as it is drawn."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from experiments.mazes.planner import with_more_steps
from experiments.mazes.scores import Scorer, title_of
from experiments.mazes.wishes import Wishes
from experiments.running.output import write_gif
from gen_jax import data, images, reporting
from gen_jax.data.mazes import plans
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey

WISHED, FORBIDDEN, LATER = (150, 60, 200), (235, 200, 40), (215, 215, 225)
COLUMNS, ROWS = 8, 3
MOST = 100  # mazes among which failures are looked for
DRAWN, MOMENTS = 6, 7  # plans shown as they are drawn, and so many moments of each
SCALE = 6  # pixels a pixel of a maze, in motion
COLOURS = (
    "Walls are dark, the start is green, the goal red. Blue is what is drawn on the shortest path, "
    "orange what is drawn elsewhere, pale blue what of the shortest path is not drawn."
)

Spatial = UInt8[np.ndarray, "n height width 3"]
Paths = UInt8[np.ndarray, "n height width 1"]
Pictures = UInt8[np.ndarray, "n height width 3"]


def add_pictures(
    run_dir: Path, state: TrainState, key: PRNGKey, test: data.AnyDataset, scorer: Scorer
) -> None:
    """Adds plans of test mazes, failures, a plan as it is drawn, plans in larger mazes, and those
    that were asked for something."""
    keys = iter(jax.random.split(key, 4))
    n = scorer.counts[-1]
    chosen = f"the likeliest of {n}" if n > 1 else "one each"
    spatial = data.some(test, min(scorer.mazes, MOST))["spatial"]
    best = scorer.planner(state, next(keys), spatial, n).best(n)
    caption = f"Test mazes, not chosen; plans: {chosen}."
    add_plans(run_dir, "plans", spatial, best, title="Plans", caption=caption)
    add_failures(run_dir, spatial, best, caption=f"Plans: {chosen}.")
    add_drawing(run_dir, spatial, best)
    shown = COLUMNS * ROWS
    if scorer.larger > 1:
        larger = data.some(scorer.larger_mazes(test), COLUMNS)["spatial"]
        drawn = scorer.planner(with_more_steps(state, scorer.larger), next(keys), larger, n)
        add_plans(
            run_dir,
            "larger",
            larger,
            drawn.best(n),
            title="Plans in larger mazes",
            caption=f"{scorer.larger} times as wide as those of training; plans: {chosen}.",
        )
    for name, asked in scorer.wishes(spatial[:shown]).items():
        mazes = spatial[asked.numbers]
        drawn = scorer.planner(state, next(keys), mazes, n, wishes=asked)
        caption = f"Test mazes; purple is asked for, yellow forbidden. Plans: {chosen}."
        add_wishes(run_dir, name, asked, mazes, drawn.best(n), caption=caption)


def add_plans(
    run_dir: Path, name: str, spatial: Spatial, paths: Paths, *, title: str, caption: str
) -> None:
    """Adds plans of the first mazes, as they come."""
    shown = slice(COLUMNS * ROWS)
    truth = plans.shortest(spatial[shown]).path
    add_sheet(run_dir, name, plans.picture(spatial[shown], paths[shown], truth), title, caption)


def add_failures(run_dir: Path, spatial: Spatial, paths: Paths, *, caption: str) -> None:
    """Adds the first plans that are not valid; nothing where all are."""
    wrong = np.flatnonzero(~plans.check(spatial, paths).valid)
    if len(wrong):
        share = f"{len(wrong)} of {len(paths)} plans are not valid. "
        add_plans(
            run_dir,
            "failures",
            spatial[wrong],
            paths[wrong],
            title="Failures",
            caption=share + caption,
        )


def add_wishes(
    run_dir: Path, name: str, asked: Wishes, spatial: Spatial, paths: Paths, *, caption: str
) -> None:
    """Adds plans that were asked for something, beside the shortest that there are."""
    n = min(COLUMNS * ROWS, len(spatial))
    truth = plans.shortest(spatial[:n], asked.way_points[:n], asked.forbidden[:n]).path
    pictures = plans.picture(spatial[:n], paths[:n], truth)
    for points, colour in ((asked.way_points, WISHED), (asked.forbidden, FORBIDDEN)):
        for maze, (row, column) in ((i, p) for i in range(n) for p in points[i]):
            pictures[maze, row, column] = colour
    title = title_of(name, changing=bool(asked.changing.any()))
    add_sheet(run_dir, name, pictures, f"Plans {title[0].lower()}{title[1:]}", caption)


def add_drawing(run_dir: Path, spatial: Spatial, paths: Paths) -> None:
    """Adds plans as they are drawn, pixel by pixel, as a picture, and a GIF beside it in the run's
    folder."""
    spatial, paths = spatial[:DRAWN], paths[:DRAWN]
    height, width = spatial.shape[1:3]
    moments = np.linspace(0, height * width, MOMENTS).round().astype(int)
    strip = np.stack([drawn_so_far(spatial, paths, n) for n in moments], 1)
    reporting.add_picture(
        run_dir,
        "drawing",
        images.grid(strip.reshape(-1, *strip.shape[2:]), columns=MOMENTS),
        title="Plans as they are drawn",
        caption="Pixel by pixel, from the upper left; gray is what is still to be drawn. "
        "samples/drawing.gif has them in motion.",
    )
    ends = [*range(0, height * width, max(1, width // 4)), height * width]
    frames = [images.grid(drawn_so_far(spatial, paths, n), columns=3) for n in ends]
    frames += frames[-1:] * 15  # a moment to look at it
    write_gif(
        run_dir / "samples" / "drawing.gif",
        [frame.repeat(SCALE, 0).repeat(SCALE, 1) for frame in frames],
        milliseconds=60,
    )


def drawn_so_far(spatial: Spatial, paths: Paths, n: int) -> Pictures:
    """Pictures of mazes with the first ``n`` pixels of their plans drawn."""
    later = (np.arange(paths[0].size) >= n).reshape(paths.shape[1:3])
    pictures = plans.picture(spatial, np.where(later[..., None], np.uint8(0), paths))
    dim = later & (pictures == plans.FREE).all(-1)
    pictures[dim] = LATER
    return pictures


def add_sheet(run_dir: Path, name: str, pictures: Pictures, title: str, caption: str) -> None:
    """Adds pictures side by side."""
    sheet = images.grid(pictures, columns=min(COLUMNS, len(pictures)))
    reporting.add_picture(run_dir, name, sheet, title=title, caption=f"{caption} {COLOURS}")
