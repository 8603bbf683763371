"""What an adversarial run's report shows of its generator, and what is said of the run's health."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.adversarial.judges import Judge
from experiments.adversarial.scores import draw
from experiments.running.output import write_gif
from gen_jax import adversarial, data, evaluation, images, reporting
from gen_jax.adversarial import began
from gen_jax.adversarial.gan import GANState, n_classes
from gen_jax.interpolation import linear, spherical
from gen_jax.reporting import read_rows
from gen_jax.typing import PRNGKey

WALKS, FRAMES, EVERY = 8, 25, 3  # walks; pictures of each in motion; of which so many stand still
SEARCHED = 1000  # samples among which those to add and subtract are found
EXEMPLARS = 3  # averaged for a mean code, as Radford et al. did
SURE = -0.1  # the log-probability of a digit that the classifier is sure of


def add_pictures(
    run_dir: Path,
    state: GANState,
    key: PRNGKey,
    train: data.Dataset,
    *,
    judge: Judge | None,
    critic: bool,
) -> None:
    """Adds the health of the run, new images, walks, arithmetic, and neighbours in training."""
    add_health(run_dir, critic=critic)
    keys = iter(jax.random.split(key, 4))
    classes = n_classes(state.generator.model)
    columns = 10
    made = draw(next(keys), state, columns * (classes or 10))
    if classes is not None:  # they come in turn: a class a row
        made = made.reshape(columns, classes, *made.shape[1:])
        made = made.swapaxes(0, 1).reshape(-1, *made.shape[2:])
    reporting.add_picture(
        run_dir,
        "new-images",
        images.grid(made, columns=columns),
        title="New images",
        caption="Not chosen." + ("" if classes is None else " One class per row."),
    )
    add_walks(run_dir, state, next(keys))
    if judge is not None and judge.knows_digits and classes is None:
        add_arithmetic(run_dir, state, next(keys), judge)
    add_neighbours(run_dir, draw(next(keys), state, 10), train)


def add_health(run_dir: Path, *prefixes: str, critic: bool = False) -> None:
    """Adds what the rules find in the run's logged numbers, in words; of each game by its prefix,
    where there are several."""
    rows = read_rows(run_dir / "metrics.jsonl")
    words = evaluation.health.in_words(rows, *prefixes, critic=critic)
    reporting.add_table(
        run_dir,
        "health",
        ["Is it healthy?"],
        [(line,) for line in words],
        title="Health of the game",
        caption="From rules of thumb over the curves below; each is stated in "
        "gen_jax/evaluation/health.py.",
    )


def add_walks(run_dir: Path, state: GANState, key: PRNGKey) -> None:
    """Adds walks between latents as a picture, and as a GIF beside it in the run's folder."""
    z = adversarial.latents(state, key, 2 * WALKS)
    classes = n_classes(state.generator.model)
    label = None if classes is None else jnp.arange(WALKS) % classes

    walk = jax.jit(adversarial.interpolation, static_argnames=("size", "path"))
    # Great circles would leave the cube of a uniform prior.
    path = linear if state.prior is began.uniform else spherical
    walks = np.asarray(walk(state, z[:WALKS], z[WALKS:], size=FRAMES, path=path, cond=label))
    strip = walks[:, ::EVERY]
    reporting.add_picture(
        run_dir,
        "interpolations",
        images.grid(strip.reshape(-1, *strip.shape[2:]), columns=strip.shape[1]),
        title="Interpolations",
        caption=f"Along {'straight lines' if path is linear else 'great circles'} between two "
        "latents a row; samples/interpolation.gif has them in motion.",
    )
    frames = [images.grid(step) for step in walks.swapaxes(0, 1)]
    write_gif(run_dir / "samples" / "interpolation.gif", frames + frames[-2:0:-1], milliseconds=60)


def add_arithmetic(run_dir: Path, state: GANState, key: PRNGKey, judge: Judge) -> None:
    """Adds sums of mean codes: a bold digit minus a fine one plus another fine digit."""
    made = draw(key, state, SEARCHED)
    z = np.asarray(adversarial.latents(state, key, SEARCHED))
    add = jax.jit(adversarial.arithmetic)
    log_probs = judge(made).log_probs
    label = np.where(log_probs.max(1) > SURE, log_probs.argmax(1), -1)
    ink = made.reshape(SEARCHED, -1).mean(1)
    rows = []
    for a, b in ((0, 2), (3, 5), (8, 0), (7, 9), (6, 3)):
        groups = [_by_ink(ink, label, digit) for digit in (a, b)]
        if any(len(order) < 4 * EXEMPLARS for order in groups):
            continue  # collapsed: too few of a digit
        (fine_a, bold_a), (fine_b, _) = map(_fine_and_bold, groups)
        rows.append(np.asarray(add(state, z[bold_a], z[fine_a], z[fine_b])))
    if rows:
        reporting.add_picture(
            run_dir,
            "arithmetic",
            images.grid(np.concatenate(rows), columns=4),
            title="Arithmetic of codes",
            caption="Each row: the mean code of three bold digits, of three fine ones of the same "
            "class, of three fine ones of another class; and the first minus the second plus the "
            "third, which should be a bold digit of the other class.",
        )


def _fine_and_bold(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some at a tenth from either end: the very ends are strange."""
    skipped = len(order) // 10
    return order[skipped:][:EXEMPLARS], order[: len(order) - skipped][-EXEMPLARS:]


def _by_ink(ink: np.ndarray, label: np.ndarray, digit: int) -> np.ndarray:
    """Rows of one digit, finest first."""
    rows = np.flatnonzero(label == digit)
    return rows[np.argsort(ink[rows], kind="stable")]


def add_neighbours(run_dir: Path, made: np.ndarray, train: data.Dataset) -> None:
    """Adds samples above the training images nearest to them in pixels: memorization shows."""
    real = data.some(train, 10_000)["image"]
    flat = [x.reshape(len(x), -1).astype(np.float32) / 255.0 for x in (made, real)]
    distances, places = evaluation.nearest(flat[0], flat[1], min(3, len(real)))
    rows = [made, *(real[place] for place in places.T)]
    reporting.add_picture(
        run_dir,
        "neighbours",
        images.grid(np.concatenate(rows), columns=len(made)),
        title="Nearest training images",
        caption="New images (first row), and below each the nearest ones of "
        f"{len(real):,} training images by Euclidean distance of pixels in [0, 1]: "
        f"{distances[:, 0].mean():.1f} on average, where training images are "
        f"{usual_distance(flat[1]):.1f} from the one nearest to them.",
    )


def usual_distance(flat: np.ndarray) -> float:
    """The mean distance of some training images [n, d] to the nearest other one."""
    distances, _ = evaluation.nearest(flat[:200], flat, min(2, len(flat)))  # the first is itself
    return float(distances[:, -1].mean())
