"""Charts of a run: pure functions from arrays to matplotlib figures.

Figures are built as objects and never through ``pyplot``, so drawing leaves no global state
behind. They are drawn dark on white; the page inverts them for readers who prefer a dark screen,
so every colour map here begins at white.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

# Petroff 2021 (2107.02270): ten colours that remain apart under colour-vision deficiencies.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS = "osD^vP*X<>"  # a second distinction besides colour
DPI = 200  # twice the page's width of a chart: sharp on dense screens
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#333840",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#555b66",
    "ytick.color": "#555b66",
    "lines.linewidth": 1.6,
}


def curves(
    series: Mapping[str, tuple[Sequence[float] | np.ndarray, ...]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Draws one line for each named series ``(x, y)`` or ``(x, y, error)``.

    An error is drawn as a bar of that height up and down, and its points get markers. Labels
    carry their unit. Points that are not finite are left out; a series without any is not drawn.
    Raises ``ValueError`` where x and y differ in length, or there is no series.
    """
    if not series:
        raise ValueError("curves needs at least one series, got none")
    figure, axes = _figure(4.8, 3.1)
    ticks: set[float] = set()
    for number, (name, (x, y, *error)) in enumerate(series.items()):
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if xs.shape != ys.shape or xs.ndim != 1:
            raise ValueError(f"series {name!r}: x {xs.shape} and y {ys.shape} must be equally long")
        keep = np.isfinite(xs) & np.isfinite(ys)
        if not keep.any():
            continue
        ticks |= set(xs[keep].tolist())
        color = PALETTE[number % len(PALETTE)]
        if error:
            axes.errorbar(
                xs[keep],
                ys[keep],
                np.asarray(error[0], np.float64)[keep],
                label=_literal(name),
                color=color,
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                capsize=3,
            )
        else:
            marker = "o" if keep.sum() == 1 else None  # a line of one point shows nothing
            axes.plot(xs[keep], ys[keep], label=_literal(name), color=color, marker=marker)
    axes.set_xlabel(_literal(x_label))
    axes.set_ylabel(_literal(y_label))
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    if log_x and len(ticks) <= 6:  # few points: their own values say more than powers of ten
        axes.set_xticks(sorted(ticks), [f"{tick:,.10g}" for tick in sorted(ticks)])
        axes.minorticks_off()
    drawn = len(axes.get_legend_handles_labels()[1])
    if drawn > 1:
        _legend_below(figure, drawn)
    return figure


def _legend_below(figure: Figure, entries: int) -> None:
    """A legend that covers nothing. (Within the axes matplotlib would search for the best place,
    and warn where that takes a second.)"""
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(entries / 2))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)


def histograms(
    series: Mapping[str, Sequence[float] | np.ndarray], *, x_label: str, bins: int = 40
) -> Figure:
    """Draws how the values of each named series are spread, each as a share of its own.

    All share their bins. Raises ``ValueError`` where a series has no finite value.
    """
    finite = {name: np.asarray(v, np.float64) for name, v in series.items()}
    finite = {name: v[np.isfinite(v)] for name, v in finite.items()}
    for name, values in finite.items():
        if not len(values):
            raise ValueError(f"series {name!r} has no finite value to draw")
    edges = np.histogram_bin_edges(np.concatenate(list(finite.values())), bins)
    figure, axes = _figure(4.8, 3.1)
    for number, (name, values) in enumerate(finite.items()):
        color = PALETTE[number % len(PALETTE)]
        weights = np.full(len(values), 1.0 / len(values))
        axes.hist(
            values, edges.tolist(), weights=weights, alpha=0.55, color=color, label=_literal(name)
        )
    axes.set_xlabel(_literal(x_label))
    axes.set_ylabel("share")
    _legend_below(figure, len(finite))
    return figure


def latent_scatter(
    points: Float[np.ndarray, "n pair"],
    labels: Int[np.ndarray, " n"],
    *,
    class_names: Sequence[str] | None = None,
    x_label: str = "first latent unit",
    y_label: str = "second latent unit",
) -> Figure:
    """Draws points of a plane coloured by class, with each class's name at its median."""
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            "latent_scatter expects points [N, 2] and labels [N], got "
            f"{points.shape} and {labels.shape}"
        )
    figure, axes = _figure(4.8, 4.4)
    classes = np.unique(labels)
    for number, label in enumerate(classes):
        members = points[labels == label]
        axes.scatter(
            *members.T,
            s=5,
            alpha=0.55,
            linewidths=0,
            color=_class_color(number, classes),
            label=_literal(class_names[int(label)] if class_names else str(label)),
        )
    for number, label in enumerate(classes):  # after all points, so that no name is covered
        x, y = np.median(points[labels == label], axis=0)
        axes.annotate(
            _literal(class_names[int(label)] if class_names else str(label)),
            (x, y),
            ha="center",
            va="center",
            weight="bold",
            bbox={
                "boxstyle": "round,pad=0.25",
                "facecolor": "white",
                "edgecolor": _class_color(number, classes),
                "alpha": 0.9,
            },
        )
    axes.set_xlabel(_literal(x_label))
    axes.set_ylabel(_literal(y_label))
    axes.set_aspect("equal", adjustable="datalim")
    if len(classes) <= 2 * len(PALETTE):  # names at the medians may cover one another
        axes.legend(
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            markerscale=3,
            handletextpad=0.2,
        )
    return figure


def posterior_heat_maps(
    densities: Float[np.ndarray, "n rows columns"],
    extent: tuple[float, float, float, float],
    *,
    images: np.ndarray | None = None,
    means: Float[np.ndarray, "n pair"] | None = None,
    scales: Float[np.ndarray, "n pair"] | None = None,
) -> Figure:
    """Draws densities over a two-dimensional latent side by side, each scaled to its own peak.

    ``densities[i, r, c]`` belongs to the second unit's r-th and the first unit's c-th value, both
    rising; ``extent`` is (first low, first high, second low, second high). ``images`` ``[n, H, W,
    C]`` uint8, the image that each density belongs to, stand above them. ``means`` and ``scales``
    draw a Gaussian approximation as the ellipse of two standard deviations.
    """
    densities = np.asarray(densities)
    if densities.ndim != 3 or len(densities) == 0:
        raise ValueError(
            f"posterior_heat_maps expects densities [N, rows, columns], got {densities.shape}"
        )
    n, rows = len(densities), 1 if images is None else 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.7 * n + 0.6, 2.3 if rows == 1 else 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        ratios = [1.0] if rows == 1 else [0.45, 1.0]
        grid = figure.subplots(rows, n, squeeze=False, gridspec_kw={"height_ratios": ratios})
    for number, density in enumerate(densities):
        axes = grid[-1, number]
        axes.imshow(density, origin="lower", extent=extent, cmap="Blues", vmin=0.0, aspect="auto")
        axes.grid(visible=False)
        axes.set_xlabel("$z_1$")
        axes.set_ylabel("$z_2$" if number == 0 else "")
        if means is not None and scales is not None:
            width, height = 4.0 * np.asarray(scales[number])
            ellipse = Ellipse(
                tuple(means[number]), width, height, fill=False, color=PALETTE[2], linewidth=1.2
            )
            axes.add_patch(ellipse)
        if images is not None:
            image = np.asarray(images[number])
            gray = image.shape[-1] == 1
            grid[0, number].imshow(image[..., 0] if gray else image, cmap="gray_r")
            grid[0, number].set_axis_off()
    return figure


def spectrogram(
    sound: np.ndarray, *, window: int = 256, hop: int = 64
) -> Float[np.ndarray, "frequencies frames"]:
    """The power of a sound [T] by frequency, from 0 to half the sample rate, and time, in decibels
    below its loudest point; what is more than 80 below is -80."""
    x = np.pad(np.asarray(sound, np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(x, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)).T ** 2
    return 10.0 * np.log10(np.maximum(power, 1e-8 * power.max() + 1e-300) / (power.max() + 1e-300))


def spectrograms(
    sounds: np.ndarray, sample_rate: int, *, names: Sequence[str] | None = None, columns: int = 6
) -> Figure:
    """Draws the spectrograms of sounds [n, T] side by side, each to 60 decibels below its peak."""
    sounds = np.asarray(sounds)
    if sounds.ndim != 2 or sounds.size == 0 or (names is not None and len(names) != len(sounds)):
        raise ValueError(
            f"spectrograms expects sounds [N, T] and as many names, got {sounds.shape} and "
            f"{'none' if names is None else len(names)}"
        )
    columns = min(columns, len(sounds))
    rows = math.ceil(len(sounds) / columns)
    extent = (0.0, sounds.shape[1] / sample_rate, 0.0, sample_rate / 2000.0)
    style: dict[Any, Any] = {**STYLE, "font.size": 8, "axes.titlesize": 8, "axes.grid": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(1.6 * columns + 0.5, 1.5 * rows + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(sounds):
            axes.set_axis_off()
            continue
        level = spectrogram(sounds[number])
        axes.imshow(
            level, origin="lower", extent=extent, cmap="Blues", vmin=-60.0, vmax=0.0, aspect="auto"
        )
        if names is not None:
            axes.set_title(_literal(names[number]), fontsize=8)
    figure.supxlabel("time [s]", fontsize=8)
    figure.supylabel("frequency [kHz]", fontsize=8)
    return figure


def point_clouds(
    rows: Mapping[str, Sequence[np.ndarray]],
    columns: Sequence[str],
    *,
    marked: Float[np.ndarray, "n 2"] | None = None,
    limit: float = 1.0,
) -> Figure:
    """Draws clouds of points [n, 2] within ``limit`` of zero: a named row each, a column a moment.

    ``marked`` points have a cross in each. Raises ``ValueError`` unless a row has as many clouds as
    there are columns.
    """
    for name, clouds in rows.items():
        if len(clouds) != len(columns):
            raise ValueError(f"row {name!r} has {len(clouds)} clouds for {len(columns)} columns")
    style: dict[Any, Any] = {**STYLE, "font.size": 8, "axes.titlesize": 8, "axes.grid": False}
    with mpl.rc_context(style):
        size = (1.3 * len(columns) + 0.4, 1.3 * len(rows) + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for i, (name, clouds) in enumerate(rows.items()):
        for j, cloud in enumerate(clouds):
            axes = grid[i, j]
            if marked is not None:
                axes.plot(*marked.T, "x", color="#b0b0b0", markersize=5, zorder=1)
            axes.plot(*np.asarray(cloud).T, ".", color=PALETTE[0], markersize=1, alpha=0.4)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=(), yticks=())
            axes.set_aspect("equal")
            if i == 0:
                axes.set_title(_literal(columns[j]))
        grid[i, 0].set_ylabel(_literal(name))
    return figure


def to_png(figure: Figure) -> bytes:
    """Renders a figure as PNG, without a date or version in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots()


def _literal(text: str) -> str:
    """A name as it is: a dollar sign in it begins no formula."""
    return text.replace("$", r"\$")


def _class_color(number: int, classes: np.ndarray) -> str | tuple[float, ...]:
    if len(classes) <= len(PALETTE):
        return PALETTE[number]
    return mpl.colormaps["turbo"](number / (len(classes) - 1))
