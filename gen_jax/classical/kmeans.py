"""k-means (Lloyd 1982) with a greedy k-means++ start (Arthur & Vassilvitskii 2007).

    minimize  sum_i  min_j  |x_i - c_j|^2      (the inertia)

All restarts run together: their centroids are one matrix, so that each iteration reads the data
once for all of them. This needs ``restarts * n * k`` floats of memory besides the data.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gen_jax.classical.inputs import data_matrix
from gen_jax.typing import Array, PRNGKey

# Distances come from differences of large numbers: accelerators' short products ruin them.
EXACT = jax.lax.Precision.HIGHEST


class Clustering(NamedTuple):
    """The best restart: ``inertia`` is the sum of squared distances to the nearest centroid."""

    centroids: Float[Array, "k d"]
    assignments: Int[Array, " n"]
    inertia: Float[Array, ""]
    n_iterations: Int[Array, ""]


def fit(
    key: PRNGKey,
    x: Float[Array, "n d"],
    k: int,
    *,
    restarts: int = 10,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> Clustering:
    """Finds ``k`` centroids of the rows of ``x``: the best of several restarts.

    A restart stops once no row changes its centroid, once the centroids' squared movement, summed,
    is at most ``tolerance`` times the mean variance of a column, or after ``max_iterations``. A
    centroid that no row is nearest to moves to the row farthest from its own centroid.

    Raises ``ValueError`` unless 1 <= k <= n and x is finite (checked outside of transformations).
    """
    x = data_matrix(x)
    if not 1 <= k <= x.shape[0]:
        raise ValueError(f"k must lie in 1..n, the number of rows ({x.shape[0]}), got {k}")
    if restarts < 1 or max_iterations < 1:
        raise ValueError(
            "restarts and max_iterations must be 1 or more, got "
            f"restarts={restarts}, max_iterations={max_iterations}"
        )
    if tolerance < 0:
        raise ValueError(f"tolerance must be 0 or more, got {tolerance}")
    return _fit(key, x, tolerance, max_iterations, k=k, restarts=restarts)


def predict(centroids: Float[Array, "k d"], x: Float[Array, "n d"]) -> Int[Array, " n"]:
    """The index of each row's nearest centroid; of equally near ones, the first."""
    return jnp.argmin(_squared_distances(x, centroids), axis=1).astype(jnp.int32)


def transform(centroids: Float[Array, "k d"], x: Float[Array, "n d"]) -> Float[Array, "n k"]:
    """Each row's Euclidean distance to each centroid."""
    return jnp.sqrt(_squared_distances(x, centroids))


@functools.partial(jax.jit, static_argnames=("k", "restarts"))
def _fit(
    key: PRNGKey, x: Array, tolerance: float, max_iterations: int, *, k: int, restarts: int
) -> Clustering:
    center = x.mean(axis=0)
    x = x - center[None]  # shorter rows, so smaller errors in the differences of their squares
    norms = jnp.sum(x**2, axis=1)
    threshold = tolerance * jnp.mean(jnp.var(x, axis=0))

    def restart(key: PRNGKey) -> Clustering:
        start = _plus_plus(key, x, norms, k)
        return _lloyd(x, norms, start, threshold, max_iterations)

    runs = jax.vmap(restart)(jax.random.split(key, restarts))
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(runs.inertia)], runs)
    return best._replace(centroids=best.centroids + center[None])


def _plus_plus(key: PRNGKey, x: Array, norms: Array, k: int) -> Float[Array, "k d"]:
    """Draws rows of ``x`` with probability proportional to their squared distance to those drawn.

    Greedy: of 2 + log k candidates each, the one that leaves the least inertia (section 5 of the
    paper).
    """
    n, trials = x.shape[0], 2 + int(math.log(k))
    places = jax.random.uniform(key, (k, trials), x.dtype)  # at once: it compiles faster
    first = x[(places[0, 0] * n).astype(jnp.int32)]
    nearest = _from_norms(x, norms, first[None])[:, 0]  # [n] squared distances

    def add(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        centroids, nearest = carry
        mass = jnp.cumsum(nearest)
        # "<=": a row of no mass is never drawn.
        rows = jnp.sum(mass[None, :] <= mass[-1] * places[i][:, None], axis=1)
        rows = jnp.minimum(rows, n - 1)
        left = jnp.minimum(nearest[:, None], _from_norms(x, norms, x[rows]))  # [n, trials]
        best = jnp.argmin(left.sum(axis=0))
        return centroids.at[i].set(x[rows[best]]), left[:, best]

    centroids = jnp.zeros((k, x.shape[1]), x.dtype).at[0].set(first)
    return jax.lax.fori_loop(1, k, add, (centroids, nearest))[0]


def _lloyd(
    x: Array, norms: Array, start: Array, threshold: Array, max_iterations: int
) -> Clustering:
    def going(carry: tuple[Array, Array, Array, Array]) -> Array:
        _, _, moved, iteration = carry
        return (moved > threshold) & (iteration < max_iterations)

    def iterate(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        centroids, before, _, iteration = carry
        updated, assignments = _update(x, norms, centroids)
        # At a fixed point rounding may still move centroids a little, but no assignment changes.
        moved = jnp.sum((updated - centroids) ** 2) * jnp.any(assignments != before)
        return updated, assignments, moved, iteration + 1

    nobody = jnp.full(x.shape[0], -1, jnp.int32)
    far = jnp.asarray(jnp.inf, x.dtype)
    first = (start, nobody, far, jnp.zeros((), jnp.int32))
    centroids, _, _, n_iterations = jax.lax.while_loop(going, iterate, first)
    assignments = jnp.argmin(_from_norms(x, norms, centroids), axis=1).astype(jnp.int32)
    inertia = jnp.sum((x - centroids[assignments]) ** 2)  # directly: exact where rows coincide
    return Clustering(centroids, assignments, inertia, n_iterations)


def _update(
    x: Array, norms: Array, centroids: Array
) -> tuple[Float[Array, "k d"], Int[Array, " n"]]:
    """Moves each centroid to the mean of its rows; one without rows to one of the farthest rows.

    Returns the moved centroids, and the rows' assignments to those before.
    """
    k = centroids.shape[0]
    distances = _from_norms(x, norms, centroids)  # [n, k]
    assignments = jnp.argmin(distances, axis=1).astype(jnp.int32)
    # A product with the indicator matrix: a scatter is many times slower on every device.
    members = jax.nn.one_hot(assignments, k, dtype=x.dtype)  # [n, k]
    counts = members.sum(axis=0)
    sums = jnp.matmul(members.T, x, precision=EXACT)
    means = sums / jnp.maximum(counts, 1.0)[:, None]

    far, rows = jax.lax.top_k(distances.min(axis=1), k)
    empty = counts == 0
    rank = jnp.cumsum(empty) - 1  # the i-th empty centroid gets the i-th farthest row
    # Rows that coincide with a centroid, up to rounding, give an empty one nowhere to go.
    apart = far[rank] > 100.0 * jnp.finfo(x.dtype).eps * norms.max()
    reseeded = jnp.where(apart[:, None], x[rows[rank]], centroids)
    return jnp.where(empty[:, None], reseeded, means), assignments


def _from_norms(x: Array, norms: Array, centroids: Array) -> Float[Array, "n k"]:
    """Squared distances, by |x|^2 - 2 x.c + |c|^2, so that the work is one matrix product."""
    products = jnp.matmul(x, centroids.T, precision=EXACT)
    squares = norms[:, None] - 2.0 * products + jnp.sum(centroids**2, axis=1)[None, :]
    return jnp.maximum(squares, 0.0)


def _squared_distances(x: Array, centroids: Array) -> Float[Array, "n k"]:
    x, centroids = jnp.asarray(x), jnp.asarray(centroids)
    if x.ndim != 2 or centroids.ndim != 2 or x.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"centroids [k, d] and x [n, d] must agree in d, got {list(centroids.shape)} and "
            f"{list(x.shape)}"
        )
    center = centroids.mean(axis=0)[None]
    x = x - center
    return _from_norms(x, jnp.sum(x**2, axis=1), centroids - center)
