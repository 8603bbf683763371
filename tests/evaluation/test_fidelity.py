import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color, metrics

from gen_jax.evaluation import fidelity

MEASURES = (fidelity.psnr, fidelity.ssim, fidelity.l1, fidelity.ab_error)


def pictures(*shape, seed=0):
    """Flat areas, edges, smooth ramps and noise, as levels."""
    rng = np.random.default_rng(seed)
    batch, height, width, channels = shape
    ramp = np.linspace(0, 255, height * width).reshape(1, height, width, 1)
    x = np.where(rng.random((batch, 1, 1, channels)) < 0.5, ramp, 255.0)
    x = x + rng.normal(0.0, 20.0, shape)
    x[:, : height // 3] = rng.integers(0, 256, (batch, 1, 1, channels))
    return np.round(np.clip(x, 0, 255)).astype(np.uint8)


@pytest.fixture(scope="module", params=[(3, 32, 32, 3), (2, 11, 40, 1), (2, 29, 12, 3)])
def pair(request):
    return pictures(*request.param), pictures(*request.param, seed=1)


def test_psnr_is_that_of_scikit_image(pair):
    x, y = pair
    theirs = [
        metrics.peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(x, y, strict=True)
    ]
    ours = fidelity.psnr(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_ssim_is_that_of_scikit_image(pair):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    x, y = pair
    near = np.clip(x.astype(int) + 3, 0, 255).astype(np.uint8)  # structure kept, flat areas too
    for other in (y, near):
        theirs = [
            metrics.structural_similarity(a, b, data_range=255, channel_axis=-1, **options)
            for a, b in zip(x, other, strict=True)
        ]
        ours = fidelity.ssim(jnp.asarray(x), jnp.asarray(other))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_l1_is_in_levels(pair):
    theirs = np.abs(pair[0].astype(float) - pair[1]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(fidelity.l1(*map(jnp.asarray, pair)), theirs, rtol=1e-5)


def test_ab_error_is_a_distance_in_scikit_images_lab():
    every = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    every[0, 0, :8] = [[i, i, i] for i in (0, 1, 2, 5, 10, 11, 128, 255)]  # where curves meet
    other = every[:, ::-1]
    ab = [color.rgb2lab(x)[..., 1:] for x in (every, other)]
    theirs = np.linalg.norm(ab[0] - ab[1], axis=-1).mean(axis=(1, 2))
    ours = fidelity.ab_error(jnp.asarray(every), jnp.asarray(other))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_ab_error_leaves_lightness_out():
    gray = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    assert fidelity.ab_error(jnp.asarray(gray), jnp.asarray(gray[:, ::-1]))[0] < 0.05


def test_colourfulness_is_the_papers():
    x = pictures(3, 20, 30, 3)
    red, green, blue = (x[..., i].astype(float) for i in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    theirs = [
        np.hypot(rg[i].std(), yb[i].std()) + 0.3 * np.hypot(rg[i].mean(), yb[i].mean())
        for i in range(3)
    ]
    np.testing.assert_allclose(fidelity.colourfulness(jnp.asarray(x)), theirs, rtol=1e-4)


def test_gray_has_no_colours_and_all_colours_have_many():
    gray = pictures(1, 8, 8, 1).repeat(3, axis=-1)
    assert fidelity.colourfulness(jnp.asarray(gray))[0] == 0.0
    primaries = 255 * np.eye(3, dtype=np.uint8)[np.arange(9) % 3].reshape(1, 3, 3, 3)
    assert fidelity.colourfulness(jnp.asarray(primaries))[0] > 100.0


def test_equal_images_are_the_best_there_are():
    x = jnp.asarray(pictures(2, 16, 16, 3))
    assert np.isposinf(fidelity.psnr(x, x)).all()
    np.testing.assert_allclose(fidelity.ssim(x, x), 1.0, atol=1e-6)
    assert (fidelity.l1(x, x) == 0.0).all()
    assert (fidelity.ab_error(x, x) == 0.0).all()


def test_black_and_white_are_the_worst_there_are():
    x = jnp.zeros((1, 16, 16, 3), jnp.uint8)
    assert fidelity.psnr(x, ~x)[0] == pytest.approx(0.0, abs=1e-3)
    assert fidelity.l1(x, ~x)[0] == 255.0
    assert fidelity.ssim(x, ~x)[0] < 1e-3


def test_a_mean_psnr_is_finite():
    assert fidelity.mean_psnr(jnp.asarray([20.0, 30.0])) == 25.0
    assert fidelity.mean_psnr(np.asarray([20.0, np.inf])) == (20.0 + fidelity.PSNR_MOST) / 2


@pytest.mark.parametrize("measure", MEASURES)
def test_a_pair_is_measured_alone_and_either_way_round(measure):
    x, y = (jnp.asarray(pictures(3, 16, 16, 3, seed=seed)) for seed in (0, 1))
    together = jax.jit(measure)(x, y)
    assert together.shape == (3,)
    np.testing.assert_allclose(together[1:2], measure(x[1:2], y[1:2]), rtol=1e-4)
    np.testing.assert_allclose(together, measure(y, x), rtol=1e-4)


@pytest.mark.parametrize("measure", [*MEASURES, lambda x, _: fidelity.colourfulness(x)])
def test_only_stored_images_are_measured(measure):
    x = jnp.zeros((1, 16, 16, 3), jnp.uint8)
    with pytest.raises(ValueError, match="must be uint8"):
        measure(x.astype(jnp.float32), x.astype(jnp.float32))
    with pytest.raises(ValueError, match=r"must be \[B, H, W, C\], got \[16, 16, 3\]"):
        measure(x[0], x[0])


@pytest.mark.parametrize("measure", MEASURES)
def test_images_of_different_shapes_are_refused(measure):
    x = jnp.zeros((2, 16, 16, 3), jnp.uint8)
    with pytest.raises(ValueError, match=r"same shape, got \[2, 16, 16, 3\] and \[1, 16, 16, 3\]"):
        measure(x, x[:1])


def test_what_a_measure_cannot_see_is_refused():
    gray = jnp.zeros((1, 16, 10, 1), jnp.uint8)
    with pytest.raises(ValueError, match=r"at least 11×11 pixels, got \[1, 16, 10, 1\]"):
        fidelity.ssim(gray, gray)
    for measure in (lambda x: fidelity.ab_error(x, x), fidelity.colourfulness):
        with pytest.raises(ValueError, match=r"RGB images \[B, H, W, 3\], got \[1, 16, 10, 1\]"):
            measure(gray)
