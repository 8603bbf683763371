"""How near an image is to the one it should be: each measure of two batches, one value an image.

    PSNR = 10 log10(255^2 / mean (x - y)^2)                                     in dB
    SSIM = mean over windows and channels of
           (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2)),
           C1 = (0.01 255)^2, C2 = (0.03 255)^2              (Wang et al. 2004, equation 13)

with Gaussian means m, variances s^2 and covariances s_xy in windows of 11×11 pixels. Beside them
are two measures of colours. All functions are pure and can be compiled; they raise ``ValueError``
for images that are not uint8 [B, H, W, C], and for two batches of different shapes.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from gen_jax.images import require_uint8
from gen_jax.typing import Array, Images, PerExample

PSNR_MOST = 100.0  # dB: what an equal image, whose PSNR is infinite, counts in a mean
WINDOW, SIGMA = 11, 1.5  # of SSIM
C1, C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2

# Linear sRGB to CIE XYZ (IEC 61966-2-1), and the white of D65 seen by the 2° observer.
XYZ_OF_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)


def psnr(x: Images, y: Images) -> PerExample:
    """Peak signal-to-noise ratio in dB, high is good; infinite for equal images."""
    x, y = _pair(x, y)
    mse = jnp.mean((x - y) ** 2, axis=(1, 2, 3))
    return -10.0 * jnp.log10(mse / 255.0**2)


def mean_psnr(values: Float[Array | np.ndarray, " n"]) -> float:
    """The mean of images' PSNR in dB, none of which counts as more than ``PSNR_MOST``.

    That is the usual mean over images, kept finite where some images are equal to the true ones.
    """
    return float(np.minimum(np.asarray(values, np.float64), PSNR_MOST).mean())


def ssim(x: Images, y: Images) -> PerExample:
    """Structural similarity, at most 1, which only equal images have.

    Windows lie within the image. It equals scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255``. Raises
    ``ValueError`` for images smaller than a window as well.
    """
    x, y = _pair(x, y)
    if min(x.shape[1:3]) < WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {WINDOW}×{WINDOW} pixels, got {list(x.shape)}"
        )
    x, y = x - 127.5, y - 127.5  # smaller squares, and smaller errors of their differences
    mean_x, mean_y = _window_means(x), _window_means(y)
    var_x = _window_means(x * x) - mean_x**2
    var_y = _window_means(y * y) - mean_y**2
    covariance = _window_means(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 127.5, mean_y + 127.5
    luminance = (2.0 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2.0 * covariance + C2) / (var_x + var_y + C2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def l1(x: Images, y: Images) -> PerExample:
    """The mean absolute difference, in levels of 255."""
    x, y = _pair(x, y)
    return jnp.mean(jnp.abs(x - y), axis=(1, 2, 3))


def colourfulness(x: Images) -> PerExample:
    """How colourful RGB images look: 0 for gray ones, about 100 for extremely colourful ones.

    M3 of Hasler & Süsstrunk 2003: the spread of the opponent colours R - G and (R + G) / 2 - B over
    the pixels, and 0.3 of the distance of their mean from gray, in levels.
    """
    red, green, blue = jnp.moveaxis(_rgb(x), -1, 0)
    opponents = jnp.stack([red - green, 0.5 * (red + green) - blue])  # [2, B, H, W]
    mean, std = opponents.mean(axis=(2, 3)), opponents.std(axis=(2, 3))
    return jnp.linalg.norm(std, axis=0) + 0.3 * jnp.linalg.norm(mean, axis=0)


def ab_error(x: Images, y: Images) -> PerExample:
    """The mean distance of RGB images' colours in CIELAB's plane (a, b), lightness left out."""
    _pair(x, y)
    difference = _lab(_rgb(x))[..., 1:] - _lab(_rgb(y))[..., 1:]
    return jnp.mean(jnp.linalg.norm(difference, axis=-1), axis=(1, 2))


def _lab(levels: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
    """CIELAB of sRGB levels."""
    rgb = levels / 255.0
    linear = jnp.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = np.asarray(XYZ_OF_RGB, np.float32) / np.asarray(WHITE, np.float32)[:, None]
    exact = lax.Precision.HIGHEST  # on accelerators the default rounds to fewer bits
    xyz = jnp.einsum("bhwc,xc->bhwx", linear, jnp.asarray(to_xyz), precision=exact)
    f = jnp.where(xyz > 0.008856, jnp.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    x, y, z = jnp.moveaxis(f, -1, 0)
    return jnp.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _window_means(x: Float[Array, "b h w c"]) -> Float[Array, "b inner_h inner_w c"]:
    """Gaussian means around the pixels whose window lies within the image."""
    weights = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        inner = x.shape[axis] - WINDOW + 1
        parts = [
            float(weight) * lax.slice_in_dim(x, i, i + inner, axis=axis)
            for i, weight in enumerate(weights)
        ]
        x = sum(parts[1:], parts[0])
    return x


def _rgb(x: Images) -> Float[Array, "batch height width 3"]:
    levels = _levels(x)
    if x.shape[-1] != 3:
        raise ValueError(f"colours are those of RGB images [B, H, W, 3], got {list(x.shape)}")
    return levels


def _pair(x: Images, y: Images) -> tuple[Array, Array]:
    if x.shape != y.shape:
        raise ValueError(
            f"images must have the same shape, got {list(x.shape)} and {list(y.shape)}"
        )
    return _levels(x), _levels(y)


def _levels(x: Images) -> Float[Array, "batch height width channels"]:
    require_uint8(x)
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"images must be [B, H, W, C], got {list(x.shape)}")
    return x.astype(jnp.float32)
