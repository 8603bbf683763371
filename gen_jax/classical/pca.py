"""Principal component analysis (Pearson 1901, Hotelling 1933), exact and randomized.

x - mean  =  U diag(s) V^T,    components: rows of V^T,    variances: s^2 / (n - 1)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gen_jax.classical.inputs import data_matrix
from gen_jax.typing import Array, PRNGKey

EXACT = jax.lax.Precision.HIGHEST


class PCA(NamedTuple):
    """The directions of largest variance, in falling order.

    ``components`` are orthonormal rows; of each, the entry of largest magnitude is positive, so
    that signs do not depend on the machine. ``explained_variance_ratio`` is the share of the whole
    variance, that of dropped components included.
    """

    mean: Float[Array, " d"]
    components: Float[Array, "m d"]
    explained_variance: Float[Array, " m"]
    explained_variance_ratio: Float[Array, " m"]


def fit(x: Float[Array, "n d"], n_components: int) -> PCA:
    """Finds the first components of the rows of ``x`` by a full singular value decomposition.

    Raises ``ValueError`` unless n >= 2, 1 <= n_components <= min(n, d) and x is finite (checked
    outside of transformations).
    """
    x = data_matrix(x, least=2)
    _require_components(x, n_components)
    return _fit(x, n_components)


def fit_randomized(
    key: PRNGKey,
    x: Float[Array, "n d"],
    n_components: int,
    *,
    oversampling: int = 10,
    power_iterations: int = 4,
) -> PCA:
    """Finds the first components from random projections: for wide data and few components.

    Halko, Martinsson & Tropp 2011 (0909.4061), algorithms 4.4 and 5.1: an orthonormal basis of
    the range of (X X^T)^q X G, with G Gaussian of n_components + ``oversampling`` columns and q
    the ``power_iterations``. The cost is about 2 (q + 1) products of X with G. Raises as ``fit``.
    """
    x = data_matrix(x, least=2)
    _require_components(x, n_components)
    if oversampling < 0 or power_iterations < 0:
        raise ValueError(
            "oversampling and power_iterations must be 0 or more, got "
            f"oversampling={oversampling}, power_iterations={power_iterations}"
        )
    return _fit_randomized(key, x, n_components, oversampling, power_iterations)


def transform(pca: PCA, x: Float[Array, "n d"], *, whiten: bool = False) -> Float[Array, "n m"]:
    """Coordinates along the components; ``whiten`` scales each to unit variance.

    A component without variance has whitened coordinate 0.
    """
    z = jnp.matmul(x - pca.mean[None], pca.components.T, precision=EXACT)
    if not whiten:
        return z
    scale = _scales(pca)
    return z * jnp.where(scale > 0, 1.0 / jnp.where(scale > 0, scale, 1.0), 0.0)[None]


def inverse_transform(
    pca: PCA, z: Float[Array, "n m"], *, whiten: bool = False
) -> Float[Array, "n d"]:
    """The points with given coordinates: of a transformed x, its projection on the components."""
    if whiten:
        z = z * _scales(pca)[None]
    return jnp.matmul(z, pca.components, precision=EXACT) + pca.mean[None]


@functools.partial(jax.jit, static_argnames="n_components")
def _fit(x: Array, n_components: int) -> PCA:
    mean = x.mean(axis=0)
    centered = x - mean[None]
    # With X = Q R, R has the singular values and right vectors of X (Chan 1982): for tall data it
    # is small, and the left ones, which nobody needs, are not computed.
    tall = x.shape[0] > x.shape[1]
    small = jnp.linalg.qr(centered, mode="r") if tall else centered
    _, s, vt = jnp.linalg.svd(small, full_matrices=False)
    return _record(mean, centered, s, vt, n_components)


@functools.partial(jax.jit, static_argnames=("n_components", "oversampling", "power_iterations"))
def _fit_randomized(
    key: PRNGKey, x: Array, n_components: int, oversampling: int, power_iterations: int
) -> PCA:
    mean = x.mean(axis=0)
    centered = x - mean[None]
    width = min(n_components + oversampling, *x.shape)
    g = jax.random.normal(key, (x.shape[1], width), x.dtype)
    q, _ = jnp.linalg.qr(jnp.matmul(centered, g, precision=EXACT))  # [n, width]

    def power(i: int, q: Array) -> Array:
        del i
        # An orthonormal basis after each product, or the small directions drown in rounding.
        back, _ = jnp.linalg.qr(jnp.matmul(centered.T, q, precision=EXACT))
        return jnp.linalg.qr(jnp.matmul(centered, back, precision=EXACT))[0]

    q = jax.lax.fori_loop(0, power_iterations, power, q)
    _, s, vt = jnp.linalg.svd(jnp.matmul(q.T, centered, precision=EXACT), full_matrices=False)
    return _record(mean, centered, s, vt, n_components)


def _record(mean: Array, centered: Array, s: Array, vt: Array, n_components: int) -> PCA:
    components, n = vt[:n_components], centered.shape[0]
    largest = jnp.argmax(jnp.abs(components), axis=1)
    signs = jnp.sign(jnp.take_along_axis(components, largest[:, None], axis=1))
    variance = s[:n_components] ** 2 / (n - 1)
    total = jnp.sum(centered**2) / (n - 1)
    ratio = variance / jnp.where(total > 0, total, 1.0)  # constant data: 0, not NaN
    return PCA(mean, components * signs, variance, ratio)


def _scales(pca: PCA) -> Float[Array, " m"]:
    """Standard deviations, with those that are only rounding set to 0."""
    variance = pca.explained_variance
    rows, columns = variance.shape[0], pca.mean.shape[0]
    smallest = (max(rows, columns) * jnp.finfo(variance.dtype).eps) ** 2 * variance[0]
    return jnp.sqrt(jnp.where(variance > smallest, variance, 0.0))


def _require_components(x: Array, n_components: int) -> None:
    if not 1 <= n_components <= min(x.shape):
        raise ValueError(
            f"n_components must lie in 1..{min(x.shape)}, the smaller side of x {list(x.shape)}, "
            f"got {n_components}"
        )
