import numpy as np
import pytest

from gen_jax.reporting import plots

RATE = 8000


def tone(frequency: float, n: int = 4000) -> np.ndarray:
    return np.sin(2.0 * np.pi * frequency * np.arange(n) / RATE)


def test_a_spectrogram_is_loudest_at_the_tone():
    levels = plots.spectrogram((20_000 * tone(1000.0)).astype(np.int16))
    assert levels.shape == (129, 4000 // 64 + 1)
    assert levels.max() == 0.0
    assert levels.min() >= -80.0
    loudest = levels[:, 2:-2].argmax(axis=0) * RATE / 256
    assert np.abs(loudest - 1000.0).max() <= RATE / 256


def test_a_spectrogram_follows_time():
    levels = plots.spectrogram(np.concatenate([np.zeros(2048), tone(500.0, 2048)]))
    assert levels[:, :28].max() < -79.9
    assert levels[:, 36:-3].max(axis=0).min() > -1.0


def test_silence_is_flat():
    assert np.ptp(plots.spectrogram(np.zeros(1000))) == 0.0


def test_spectrograms_stand_side_by_side_with_their_names():
    sounds = np.stack([tone(f) for f in (300.0, 600.0, 900.0)])
    figure = plots.spectrograms(sounds, RATE, names=["low", "$", "high"], columns=2)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == ["low", r"\$", "high"]
    assert len(figure.axes) == 4
    for axes, frequency in zip(shown, (0.3, 0.6, 0.9), strict=True):
        (image,) = axes.get_images()
        assert image.get_extent() == [0.0, 0.5, 0.0, 4.0]
        row = np.asarray(image.get_array())[:, 30].argmax()
        assert (row + 0.5) / 129 * 4.0 == pytest.approx(frequency, abs=0.05)
    plots.to_png(figure)


@pytest.mark.parametrize(("shape", "names"), [((3,), None), ((0, 10), None), ((2, 10), ["one"])])
def test_other_shapes_are_refused(shape, names):
    with pytest.raises(ValueError, match=r"spectrograms expects sounds \[N, T\] and as many names"):
        plots.spectrograms(np.zeros(shape), RATE, names=names)
