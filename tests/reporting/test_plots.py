import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image

from gen_jax.reporting import plots


def pixels(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def has_color(figure: Figure, color: str) -> bool:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(pixels(figure).astype(int) - wanted).max(-1) < 8).any())


def test_curves_draw_each_series_in_its_own_color():
    one = plots.curves({"a": ([0, 1, 2], [1, 2, 3])}, x_label="step", y_label="loss [nats]")
    two = plots.curves(
        {"a": ([0, 1, 2], [1, 2, 3]), "b": ([0, 1, 2], [3, 2, 1])}, x_label="step", y_label="loss"
    )
    assert has_color(one, plots.PALETTE[0])
    assert not has_color(one, plots.PALETTE[1])
    assert has_color(two, plots.PALETTE[0])
    assert has_color(two, plots.PALETTE[1])
    assert one.axes[0].get_xlabel() == "step"
    assert one.axes[0].get_ylabel() == "loss [nats]"
    assert not one.legends
    assert [text.get_text() for text in two.legends[0].get_texts()] == ["a", "b"]


def test_curves_leave_out_what_is_not_finite():
    series = {"a": ([0, 1, 2, 3], [1.0, np.nan, np.inf, 4.0]), "b": ([0, 1], [np.nan, np.nan])}
    figure = plots.curves(series, x_label="x", y_label="y")
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1], [3, 4]])


def test_a_single_point_is_visible():
    figure = plots.curves({"a": ([5], [7.0])}, x_label="x", y_label="y")
    assert has_color(figure, plots.PALETTE[0])


def test_errors_are_bars_and_few_log_ticks_are_the_points_themselves():
    series = {"raw": ([10, 100, 1000], [0.4, 0.7, 0.9], [0.05, 0.02, 0.01])}
    axes = plots.curves(series, x_label="labels", y_label="accuracy", log_x=True).axes[0]
    (bars,) = axes.containers
    (segments,) = (lines.get_segments() for lines in bars[2])
    np.testing.assert_allclose(
        [s[:, 1] for s in segments], [[0.35, 0.45], [0.68, 0.72], [0.89, 0.91]]
    )
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "100", "1,000"]


def test_scales_follow_the_options():
    axes = plots.curves({"a": ([1, 2], [1, 2])}, x_label="x", y_label="y", log_y=True).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({}, "curves needs at least one series, got none"),
        ({"a": ([1, 2], [1])}, r"series 'a': x \(2,\) and y \(1,\) must be equally long"),
    ],
)
def test_curves_refuse(series, message):
    with pytest.raises(ValueError, match=message):
        plots.curves(series, x_label="x", y_label="y")


def test_latent_scatter_shows_every_point_and_names_every_class():
    points = np.random.default_rng(0).normal(size=(60, 2))
    labels = np.arange(60) % 3
    figure = plots.latent_scatter(points, labels, class_names=["cat", "dog", "hen"])
    axes = figure.axes[0]
    drawn = np.concatenate([group.get_offsets() for group in axes.collections])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(points, axis=0))
    assert {text.get_text() for text in axes.texts} == {"cat", "dog", "hen"}
    place = next(text for text in axes.texts if text.get_text() == "dog").xy
    np.testing.assert_allclose(place, np.median(points[labels == 1], axis=0))


def test_latent_scatter_colors_differ_for_many_classes():
    labels = np.arange(23)
    figure = plots.latent_scatter(np.stack([labels, labels], 1).astype(float), labels)
    colors = {tuple(group.get_facecolor()[0]) for group in figure.axes[0].collections}
    assert len(colors) == 23


def test_latent_scatter_refuses_other_shapes():
    with pytest.raises(
        ValueError, match=r"points \[N, 2\] and labels \[N\], got \(4, 3\) and \(4,\)"
    ):
        plots.latent_scatter(np.zeros((4, 3)), np.zeros(4, int))


def test_heat_map_puts_the_peak_where_the_density_has_it():
    axis = np.linspace(-3.0, 3.0, 61)
    first, second = np.meshgrid(axis, axis)  # [row, column]: the second unit rises with the row
    density = np.exp(-8 * ((first - 2.0) ** 2 + (second + 1.0) ** 2))
    figure = plots.posterior_heat_maps(density[None], (-3.0, 3.0, -3.0, 3.0))
    shown = pixels(figure).sum(-1)
    axes = figure.axes[0]
    x, y = axes.transData.transform([2.0, -1.0])  # y counts from the figure's foot
    at_peak = shown[len(shown) - round(y), round(x)]
    x, y = axes.transData.transform([-1.0, 2.0])
    elsewhere = shown[len(shown) - round(y), round(x)]
    assert at_peak < 300 < 700 < elsewhere  # dark blue on white


def test_heat_map_draws_images_and_two_standard_deviations():
    density = np.ones((2, 8, 8))
    images = np.zeros((2, 5, 5, 1), np.uint8)
    means, scales = np.array([[0.5, -0.5], [0.0, 0.0]]), np.array([[0.1, 0.3], [1.0, 1.0]])
    figure = plots.posterior_heat_maps(
        density, (-4.0, 4.0, -4.0, 4.0), images=images, means=means, scales=scales
    )
    assert len(figure.axes) == 4
    ellipses = [patch for axes in figure.axes for patch in axes.patches]
    assert all(isinstance(ellipse, Ellipse) for ellipse in ellipses)
    np.testing.assert_allclose(ellipses[0].center, means[0])
    np.testing.assert_allclose([ellipses[0].width, ellipses[0].height], [0.4, 1.2])


def test_heat_map_refuses_one_density_without_its_batch():
    with pytest.raises(ValueError, match=r"densities \[N, rows, columns\], got \(8, 8\)"):
        plots.posterior_heat_maps(np.ones((8, 8)), (0.0, 1.0, 0.0, 1.0))


def test_png_is_deterministic_and_not_blank(tmp_path):
    def draw():
        return plots.to_png(plots.curves({"a": ([0, 1], [0, 1])}, x_label="x", y_label="y"))

    png = draw()
    assert png == draw()
    (tmp_path / "a.png").write_bytes(png)
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 5


def test_drawing_leaves_no_global_state():
    style = dict(plt.rcParams)
    plots.curves({"a": ([0, 1], [0, 1])}, x_label="x", y_label="y")
    plots.latent_scatter(np.zeros((3, 2)), np.zeros(3, int))
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == style


def test_a_dollar_sign_in_a_name_begins_no_formula():
    name = r"$\frac{$"
    series = {name: ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}
    assert plots.to_png(plots.curves(series, x_label=name, y_label=name))
    points = np.zeros((3, 2))
    assert plots.to_png(plots.latent_scatter(points, np.zeros(3, int), class_names=[name]))


def test_a_long_legend_stands_below_the_axes():
    series = {f"line {i}": ([0, 1], [0, i]) for i in range(8)}
    figure = plots.curves(series, x_label="x", y_label="y")
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(series)
    assert legend.get_window_extent().y1 <= figure.axes[0].get_window_extent().y0
