"""Whether GAN training is healthy, in words, from its logged metrics.

Each rule reads ``metrics.jsonl``'s rows and gives at most one finding. The thresholds are
below; they are rules of thumb, not theorems.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]  # "step", and metrics by name

PERFECT = 0.99  # of the logits on their side: the generator has little gradient left
DIVERSITY_KEPT = 0.5  # of the best so far
DIVERSITY_LEAST = 0.5  # of the real images'
CLASSES = 9  # of the digit classifier's ten
MEMORIZED = 0.5  # of the way from training images' logits to generated ones'
VANISHED = 1e-3  # of the median gradient of the run's first tenth
EXPLODED = 1e3
PARTED = 1.5  # times BEGAN's lowest M
SMOOTHED = 5  # logged values; the median of so many counts, so that a single outlier does not
SELDOM = 2  # values in a row that suffice where each is measured over many images


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong, and since which step."""

    step: int
    text: str


def diagnose(rows: Rows, *, critic: bool = False, prefix: str = "") -> list[Finding]:
    """Everything the rules find wrong with a game, earliest first; empty if nothing.

    Of a run with several games, ``prefix`` ("forward/") says whose metrics are read
    (``train/forward/separation``), and the findings name it. A Wasserstein ``critic`` should
    separate real from generated images as well as it can, so that is not reported.
    """
    rules = [rule for rule in RULES if not (critic and rule is discriminator_wins)]
    game = [_of_game(row, prefix) for row in rows]
    found = [finding for rule in rules for finding in rule(game)]
    if prefix:
        who = prefix.strip("/").capitalize()
        found = [Finding(finding.step, f"{who}: {finding.text}") for finding in found]
    return sorted(found, key=lambda finding: finding.step)


def in_words(rows: Rows, *prefixes: str, critic: bool = False) -> list[str]:
    """``diagnose``'s findings as sentences, or one saying that there are none or too few rows.

    Of a run with several games, ``prefixes`` are those of all of them.
    """
    prefixes = prefixes or ("",)
    found = [f for prefix in prefixes for f in diagnose(rows, critic=critic, prefix=prefix)]
    found.sort(key=lambda finding: finding.step)
    words = [f"{finding.text} since step {finding.step:,}." for finding in found]
    logged = min(
        sum(any(name.startswith(f"train/{prefix}") for name in row) for row in rows)
        for prefix in prefixes
    )
    if logged < SMOOTHED:
        few = "Too little was logged to find more" if words else "Too little was logged to judge"
        words.append(f"{few}: {logged} row{'s' * (logged != 1)}, not {SMOOTHED} or more.")
    return words or ["None of the rules found anything wrong."]


def _of_game(row: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """A row with the metrics of one game, under the names of a run that has no other."""
    if not prefix:
        return row
    game = {"step": row["step"]}
    for name, value in row.items():
        kind, _, metric = name.partition("/")
        if metric.startswith(prefix):
            game[f"{kind}/{metric.removeprefix(prefix)}"] = value
    return game


def series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps and the finite values of a metric, each the median of the last few."""
    pairs = [(row["step"], row[name]) for row in rows if _is_number(row.get(name))]
    steps = np.asarray([step for step, _ in pairs], np.int64)
    values = [float(value) for _, value in pairs]
    smooth = [np.median(values[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(len(values))]
    return steps, np.asarray(smooth, np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def since(steps: np.ndarray, wrong: np.ndarray, least: int = SMOOTHED) -> int | None:
    """The step from which ``wrong`` holds to the end; None unless for ``least`` values or more."""
    right = np.flatnonzero(~wrong)
    first = 0 if len(right) == 0 else int(right[-1]) + 1
    return int(steps[first]) if len(wrong) - first >= least else None


def discriminator_wins(rows: Rows) -> Iterator[Finding]:
    """D separates real from generated images perfectly, and leaves G no useful gradient."""
    steps, values = series(rows, "train/separation")
    step = since(steps, values >= PERFECT)
    if step is not None:
        yield Finding(step, "D separates real from generated images perfectly")


def diversity_fell(rows: Rows) -> Iterator[Finding]:
    """Generated images have become more alike: mode collapse."""
    steps, values = series(rows, "train/diversity")
    if len(values) == 0:
        return
    best = np.maximum.accumulate(values)
    step = since(steps, values < DIVERSITY_KEPT * best)
    if step is not None:
        yield Finding(step, f"Diversity is below {DIVERSITY_KEPT:.0%} of its best")
        return
    step = since(steps, values < DIVERSITY_LEAST)
    if step is not None:
        yield Finding(
            step, f"Generated images vary less than {DIVERSITY_LEAST:.0%} as much as real ones"
        )


def discriminator_memorizes(rows: Rows) -> Iterator[Finding]:
    """D takes held-out real images for generated ones: it has memorized its training images."""
    names = ("training", "held_out", "generated")
    for says, sign in (("logit", 1.0), ("error", -1.0)):  # BEGAN's errs less on real images
        logged = [f"validation/{name}/{says}" for name in names]
        complete = [row for row in rows if all(_is_number(row.get(name)) for name in logged)]
        steps = np.asarray([row["step"] for row in complete], np.int64)
        training, held_out, generated = (
            sign * np.asarray([row[name] for row in complete]) for name in logged
        )
        width = training - generated
        wrong = (width > 0.0) & (training - held_out > MEMORIZED * width)
        step = since(steps, wrong, SELDOM)
        if step is not None:
            yield Finding(step, "D overfits: it rates held-out images as generated ones")


def few_classes(rows: Rows) -> Iterator[Finding]:
    """Some classes are hardly generated at all, by the classifier in the last two evaluations."""
    measured = [row for row in rows if _is_number(row.get("validation/classes_covered"))]
    few = np.asarray([row["validation/classes_covered"] < CLASSES for row in measured], bool)
    step = since(np.asarray([row["step"] for row in measured], np.int64), few, SELDOM)
    if step is not None:
        n = int(measured[-1]["validation/classes_covered"])
        yield Finding(step, f"Not all classes are generated ({n} at the last evaluation)")


def gradients(rows: Rows) -> Iterator[Finding]:
    """A player's gradient has vanished or exploded, compared with the start of the run."""
    for player, name in (("G", "generator"), ("D", "discriminator")):
        steps, values = series(rows, f"train/{name}/gradient")
        if len(values) < 10:
            continue
        usual = float(np.median(values[: len(values) // 10 + 1]))
        for word, wrong in (
            ("vanished", values <= VANISHED * usual),
            ("exploded", values > EXPLODED * usual),
        ):
            step = since(steps, wrong)
            if step is not None:
                yield Finding(step, f"{player}'s gradient has {word}")


def began_stalled(rows: Rows) -> Iterator[Finding]:
    """BEGAN's convergence measure M has risen well above its minimum: the players have diverged."""
    steps, values = series(rows, "train/convergence")
    if len(values) < 2 * SMOOTHED:
        return
    lowest = np.minimum.accumulate(values)
    step = since(steps, values > PARTED * lowest)
    if step is not None:
        yield Finding(step, f"M is more than {PARTED} times its lowest value")


RULES: tuple[Callable[[Rows], Iterator[Finding]], ...] = (
    discriminator_wins,
    diversity_fell,
    few_classes,
    discriminator_memorizes,
    gradients,
    began_stalled,
)
