"""What a run measured: its ``metrics.jsonl``, and what each metric's name means to a reader."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Meaning:
    """How a metric is shown: ``label [unit]`` and one sentence of explanation."""

    label: str
    unit: str = ""
    explanation: str = ""
    short: str = ""  # for the axis of a chart, where the label is long


NATS = "nats per image"
MEANINGS = {
    "loss": Meaning("loss", "", "What training minimizes; the mean over a batch."),
    "nll": Meaning(
        "negative log-likelihood",
        NATS,
        "−log p(x), the mean over the images; lower is better.",
        "NLL",
    ),
    "bits_per_dim": Meaning(
        "bits per dimension",
        "bits/dim",
        "The negative log-likelihood over the number of pixels and channels, in bits; lower is "
        "better.",
    ),
    "elbo": Meaning(
        "evidence lower bound (ELBO)",
        NATS,
        "A lower bound of log p(x): reconstruction minus KL; higher is better.",
        "ELBO",
    ),
    "iwae": Meaning(
        "importance-weighted bound",
        NATS,
        "A lower bound of log p(x) from k importance samples per image (see iwae_k): tighter than "
        "the ELBO, and it rises to log p(x) with k; higher is better.",
        "bound",
    ),
    "iwae_k": Meaning("importance samples per image (k)"),
    "nll_images": Meaning("images the likelihood was measured on"),
    "reconstruction": Meaning(
        "reconstruction term",
        NATS,
        "The mean of log p(x|z) under q(z|x); higher is better.",
        "log p(x|z)",
    ),
    "kl": Meaning(
        "KL(q(z|x) ‖ p(z))",
        NATS,
        "What the latent code says about the image beyond the prior.",
        "KL",
    ),
    "active_units": Meaning(
        "active latent units",
        "",
        "Units whose posterior mean varies over the data (variance above 0.01); the others say "
        "nothing about the image.",
    ),
    "mse": Meaning(
        "mean squared error",
        "",
        "Squared difference of image and reconstruction, pixels in [0, 1]; lower is better.",
    ),
    "pitch_right": Meaning(
        "sounds of the right pitch",
        "",
        "Share of generated sounds whose pitch is within half a semitone of the target pitch.",
    ),
    "nats_per_second": Meaning(
        "negative log-likelihood of sound", "nats per second", "Lower is better."
    ),
    "inertia": Meaning(
        "inertia", "", "Sum of squared distances to the nearest centroid; lower is better."
    ),
    "purity": Meaning(
        "purity", "", "Share of images whose cluster has their class as its most frequent one."
    ),
    "nmi": Meaning(
        "normalized mutual information",
        "",
        "What a cluster says about the class, 0 (nothing) to 1 (all), over the mean entropy.",
    ),
    "explained_variance_ratio": Meaning(
        "explained variance", "", "Share of the data's variance that the components keep."
    ),
    "fid": Meaning(
        "Fréchet distance (FID)",
        "",
        "Between Gaussians fitted to the features of real and of generated images, 0 at best. It "
        "holds for the feature network, the reference and the numbers of images stated with it.",
        "FID",
    ),
    "fid_limit": Meaning(
        "FID for infinitely many samples",
        "",
        "FID falls with the number of generated images; this is where a line through several "
        "numbers of them ends.",
    ),
    "kid": Meaning(
        "kernel distance (KID)",
        "",
        "The unbiased squared MMD of features, which does not fall with the number of images.",
        "KID",
    ),
    "inception_score": Meaning(
        "inception score",
        "",
        "How sure the feature network is of each image's class while all classes come equally "
        "often: 1 to the number of classes.",
    ),
    "precision_k3": Meaning(
        "precision (k = 3)", "", "Share of generated images that lie among the real ones."
    ),
    "recall_k3": Meaning(
        "recall (k = 3)", "", "Share of real images that lie among the generated ones."
    ),
    "density_k5": Meaning(
        "density (k = 5)", "", "How many real images' neighbourhoods a generated one lies in."
    ),
    "coverage_k5": Meaning(
        "coverage (k = 5)", "", "Share of real images with a generated one in their neighbourhood."
    ),
    "neighbours_of": Meaning(
        "compared by neighbours", "", "For precision, recall, density and coverage: the first ones."
    ),
    "classes_covered": Meaning(
        "classes covered", "", "Classes with at least a tenth of their fair share of the samples."
    ),
    "class_balance": Meaning(
        "balance of classes", "", "The entropy of the samples' classes over the largest: 1 at best."
    ),
    "l1": Meaning(
        "L1 distance",
        "levels of 255",
        "The mean absolute difference from the true image; lower is better.",
        "L1",
    ),
    "psnr": Meaning(
        "PSNR", "dB", "10 log₁₀(255² / mean squared error) to the true image; higher is better."
    ),
    "ssim": Meaning(
        "structural similarity (SSIM)",
        "",
        "Likeness of means, contrasts and structures in small windows: 1 only for equal images.",
        "SSIM",
    ),
    "ab_error": Meaning(
        "error of colour",
        "",
        "The mean distance from the true colours in CIELAB's plane (a, b), without lightness; "
        "lower is better.",
        "ab error",
    ),
    "colourfulness": Meaning(
        "colourfulness",
        "",
        "Of generated images, 0 for gray to about 100 (Hasler and Süsstrunk 2003): best where the "
        "true images' is.",
    ),
    "retrieval_top1": Meaning(
        "retrieval, the nearest",
        "",
        "Share of translations that are nearer to their own true image than to all others, in "
        "pixels.",
    ),
    "retrieval_top5": Meaning(
        "retrieval, five nearest",
        "",
        "Share of translations whose own true image is one of the five nearest, in pixels.",
    ),
    "label_kept": Meaning(
        "label kept", "", "Share of translations that a classifier gives their source's label."
    ),
    "logit": Meaning(
        "discriminator's logit",
        "",
        "D's output on real and generated images in training, and in evaluation on training, "
        "held-out and generated ones. Held-out far below training images: D has memorized these.",
        "logit",
    ),
    "error": Meaning(
        "reconstruction error",
        "",
        "The mean absolute error of BEGAN's discriminator, pixels in [−1, 1].",
    ),
    "gradient": Meaning("norm of the gradient", "", "Of each player's loss."),
    "separation": Meaning(
        "separation",
        "",
        "Share of logits on their side of the midpoint of both means: 1 where D separates real "
        "from generated images perfectly, 1/2 where not at all.",
    ),
    "diversity": Meaning(
        "diversity",
        "",
        "The standard deviation of generated pixels over a batch, divided by that of real pixels.",
    ),
    "convergence": Meaning("BEGAN's convergence measure M", "", "Lower is better.", "M"),
    "k": Meaning("BEGAN's k", "", "The weight of generated images in the discriminator's loss."),
    "examples_per_s": Meaning("examples per second", "examples/s"),
    "compile_s": Meaning("compiling", "s"),
    "seconds": Meaning("time", "s"),
}
BINARIZATIONS = {
    "dynamic": "Pixels are drawn anew each time the image is used, 1 with probability level/255.",
    "threshold": "A pixel is 1 where its level is 128 or more.",
}
THIN_SPACE, MINUS = "\u2009", "\u2212"
LIKELIHOODS = "nll", "elbo", "iwae"  # plotted against time too


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One chart of the page: ``series`` maps a name to its x and y values."""

    section: str  # "curves" or "speed"
    title: str
    caption: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    x_label: str
    y_label: str
    log_y: bool


def describe(name: str, metrics: Mapping[str, Any]) -> Meaning:
    """The meaning of ``split/metric``; ``metrics`` are the run's others, such as its ``iwae_k``."""
    split, _, base = name.rpartition("/")
    if base == "binarization":
        explanation = BINARIZATIONS.get(str(metrics[name]), "")
        return Meaning(
            "binarization", "", f"{explanation} Likelihoods under different ones do not compare."
        )
    meaning = MEANINGS.get(base)
    if meaning is None:
        return Meaning(name.replace("_", " ").replace("/", ", "))
    words = split.replace("/", " ").replace("-", " ")
    label = f"{words} {meaning.label}" if split and split != "speed" else meaning.label
    return dataclasses.replace(meaning, label=label)


def read_rows(path: pathlib.Path) -> list[Row]:
    """Reads ``metrics.jsonl`` with ``time`` made to run on over restarts.

    Lines that are not a JSON object with a ``step`` are skipped: a killed process may leave half a
    line. A resumed run repeats the steps after its checkpoint; of one step and metric the last
    value counts. A missing file gives no rows.
    """
    if not path.exists():
        return []
    merged: dict[int, Row] = {}
    offset = last = 0.0
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line, parse_int=float)  # all that is too large is infinity
            step, time = int(row["step"]), float(row.get("time", math.nan))
        except (ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        if time < last:  # each process counts from its own start
            offset += last
        last = last if math.isnan(time) else time
        merged.setdefault(step, {}).update(row | {"step": step, "time": offset + time})
    return [merged[step] for step in sorted(merged)]


def group_curves(rows: Sequence[Row]) -> list[Curve]:
    """Gathers logged numbers into charts: one a metric, the splits as its lines.

    Likelihoods come first, and are also drawn against time; then what was validated.
    """
    names = {name: None for row in rows for name in row if name not in ("step", "time")}
    groups: dict[str, dict[str, tuple[list[Row], list[float]]]] = {}
    for name in names:
        split, _, base = name.rpartition("/")
        having = [row for row in rows if isinstance(row.get(name), int | float)]
        values = [float(row[name]) for row in having]
        if len(set(values)) > 1:  # a constant, such as the time to compile, is not a curve
            section = "speed" if split == "speed" else "curves"
            groups.setdefault(f"{section}/{base}", {})[split or base] = (having, values)
    charts = []
    for key, splits in groups.items():
        section, _, base = key.partition("/")
        meaning = MEANINGS.get(base, Meaning(base.replace("_", " ")))
        axes = [("step", "step", "training step")]
        if section == "curves" and base in LIKELIHOODS:
            axes.append(("time", "time", "training time [s]"))
        for column, word, x_label in axes:
            series = {
                split: ([row[column] for row in having], values)
                for split, (having, values) in splits.items()
            }
            short = meaning.short or meaning.label
            only = f" ({next(iter(series))})" if len(series) == 1 and section == "curves" else ""
            charts.append(
                Curve(
                    section=section,
                    title=f"{meaning.label}{only} by {word}",
                    caption=meaning.explanation if column == "step" else "",
                    series=series,
                    x_label=x_label,
                    y_label=f"{short} [{meaning.unit}]" if meaning.unit else short,
                    log_y=_wants_log(series),
                )
            )
    first = [MEANINGS[base].label for base in LIKELIHOODS]
    return sorted(
        charts,
        key=lambda chart: (
            not chart.title.startswith(tuple(first)),
            "validation" not in chart.series,
        ),
    )


def format_value(value: Any) -> str:
    """A value for a reader: thousands separated, two or three decimals, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1e3 and math.isfinite(value)):
        text = f"{round(value):,}".replace(",", THIN_SPACE)
    elif not math.isfinite(value) or (0 < abs(value) < 0.01):
        text = f"{value:.3g}"
    else:
        text = f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
    return text.replace("-", MINUS)


def _wants_log(series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> bool:
    """Whether a linear axis would flatten all but the first points: positive, a wide range."""
    values = [y for _, ys in series.values() for y in ys if math.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 20
