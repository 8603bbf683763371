"""Nearest neighbours, and what they say about two sets of features: how many samples look real, and
how much of the real data the samples cover.

    B_k(x): the ball around x that reaches its k-th nearest neighbour in its own set
    precision = share of generated samples in any real ball
    recall    = share of real samples in any generated ball
    density   = number of real balls that a generated sample is in, over k
    coverage  = share of real balls with any generated sample in them

(Kynkäänniemi et al. 2019, 1904.06991, for the first two; Naeem et al. 2020, 2002.09797.)

Balls are closed. Distances are float64 on the host. They come from |a|^2 + |b|^2 - 2 a.b, a matrix
product, of which float32 would leave noise exactly where a and b are almost the same (the
memorized sample that one searches for); and wherever even float64's rounding could matter, from
|a - b|^2 itself. So equal rows have distance 0, and ties (a set against itself is full of them)
are ties.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_jax.evaluation.fid import Features, feature_matrices, feature_matrix

BLOCK = 2**22  # floats: blocks of features, and products of two, hold no more
SPARE = 8  # candidates besides the k nearest by products


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]; of a perfect generator both are near each other, and below 1."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Of a perfect generator: density 1 (it may be higher), coverage near 1 - 2^-k."""

    density: float
    coverage: float


def precision_recall(real: Features, fake: Features, k: int = 3) -> PrecisionRecall:
    """Precision and recall of generated features [m, d] for real ones [n, d].

    Both depend on n and m; the paper takes n = m = 50,000. Raises ``ValueError`` unless both
    sets have more than ``k`` >= 1 rows, all finite, of the same width.
    """
    x, y = feature_matrices(real, fake)
    _require_neighbours(x, k, "real")
    _require_neighbours(y, k, "generated")
    in_real = _balls_around(y, x, _squared_radii(x, k))
    in_fake = _balls_around(x, y, _squared_radii(y, k))
    return PrecisionRecall(float((in_real > 0).mean()), float((in_fake > 0).mean()))


def density_coverage(real: Features, fake: Features, k: int = 5) -> DensityCoverage:
    """Density and coverage of generated features [m, d] for real ones [n, d].

    Unlike precision and recall they use real balls only, which a few odd samples cannot blow up.
    Raises ``ValueError`` unless there are more than ``k`` >= 1 real rows and at least 2 generated
    ones, all finite, of the same width.
    """
    x, y = feature_matrices(real, fake)
    _require_neighbours(x, k, "real")
    radii = _squared_radii(x, k)
    density = _balls_around(y, x, radii).mean() / k
    nearest_fake, _ = _nearest(x, y, 1)
    return DensityCoverage(float(density), float((nearest_fake[:, 0] <= radii).mean()))


def nearest(
    queries: Features, references: Features, k: int
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Euclidean distances to, and rows of, the ``k`` nearest references of each query; near first.

    Equally near ones are in the order of their rows; distances that differ by less than float64's
    rounding of the features' squares count as equal where more than ``SPARE`` of them compete.
    Integers (flattened images) are taken as well. Memory besides the arguments and the result is a
    few blocks of 32 MiB. Raises ``ValueError`` unless 1 <= k <= number of references, all rows
    are finite, and both have the same width.
    """
    queries = feature_matrix(queries, "queries", least=1)
    references = feature_matrix(references, "references", least=1)
    if queries.shape[1] != references.shape[1]:
        raise ValueError(
            "queries and references must have the same width, got "
            f"{list(queries.shape)} and {list(references.shape)}"
        )
    if not 1 <= k <= len(references):
        raise ValueError(f"k must lie in 1..{len(references)}, the references, got {k}")
    squares, rows = _nearest(queries, references, k)
    return np.sqrt(squares), rows


def blocks(x: np.ndarray, center: np.ndarray) -> Iterator[tuple[slice, Float[np.ndarray, "b d"]]]:
    """Some rows of ``x`` at a time: where they are, and they themselves about ``center``.

    Near the origin, squares are smaller, and so are the errors of their differences.
    """
    for rows in _some_rows(x):
        yield rows, x[rows].astype(np.float64) - center[None]


def _some_rows(x: np.ndarray) -> Iterator[slice]:
    size = min(2048, max(64, BLOCK // x.shape[1]))
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


def squared_distances(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "n m"], float]:
    """|a - b|^2 of all pairs by a matrix product, and a bound on their absolute errors."""
    a_squares, b_squares = np.sum(a * a, axis=1), np.sum(b * b, axis=1)
    squares = a @ (-2.0 * b).T
    squares += b_squares[None, :]
    squares += a_squares[:, None]
    rounding = (a.shape[1] + 8) * np.finfo(np.float64).eps
    return squares, float(rounding * (a_squares.max() + b_squares.max()))


def squared_lengths(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """|a_i - b_i|^2 without cancellation: 0 for equal rows, and the same for (b, a)."""
    squares = np.empty(len(a))
    for rows in _some_rows(a):
        difference = a[rows].astype(np.float64) - b[rows].astype(np.float64)
        squares[rows] = np.sum(difference * difference, axis=1)
    return squares


def signs(
    points: Float[np.ndarray, "n d"],
    centers: Float[np.ndarray, "m d"],
    squared_radii: Float[np.ndarray, " m"],
) -> Iterator[tuple[slice, slice, Int[np.ndarray, "b c"]]]:
    """Whether points are within (-1), on (0) or outside (1) of the spheres around ``centers``.

    Block by block: the rows of the points, those of the centers, and the signs, int8. Each is that
    of ``squared_lengths``, exactly.
    """
    origin = centers.mean(axis=0, dtype=np.float64)
    for here, point_block in blocks(points, origin):
        for there, center_block in blocks(centers, origin):
            excess, error = squared_distances(point_block, center_block)
            excess -= squared_radii[there][None]
            sign = np.sign(excess).astype(np.int8)
            rows, columns = np.nonzero(np.abs(excess) <= error)
            for start in range(0, len(rows), len(point_block)):  # duplicates make many
                row, column = (index[start : start + len(point_block)] for index in (rows, columns))
                squares = squared_lengths(points[here][row], centers[there][column])
                sign[row, column] = np.sign(squares - squared_radii[there][column])
            yield here, there, sign


def _nearest(
    queries: np.ndarray, references: np.ndarray, k: int
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Squared distances to the ``k`` nearest references, rising, and their rows."""
    center = references.mean(axis=0, dtype=np.float64)
    squares = np.empty((len(queries), k))
    rows = np.empty((len(queries), k), np.int64)
    for here, block in blocks(queries, center):
        candidates = _candidates(block, references, center, k + SPARE)
        exact = np.stack(
            [squared_lengths(queries[here], references[column]) for column in candidates.T], axis=1
        )
        order = np.lexsort((candidates, exact))[:, :k]
        squares[here] = np.take_along_axis(exact, order, axis=1)
        rows[here] = np.take_along_axis(candidates, order, axis=1)
    return squares, rows


def _candidates(
    queries: np.ndarray, references: np.ndarray, center: np.ndarray, n: int
) -> Int[np.ndarray, "queries n"]:
    """Rows of the ``n`` nearest references by products, or of all if there are fewer."""
    squares = np.empty((len(queries), 0))
    rows = np.empty((len(queries), 0), np.int64)
    for where, block in blocks(references, center):
        here, _ = squared_distances(queries, block)
        best = _least(here, n)
        squares = np.concatenate([squares, np.take_along_axis(here, best, axis=1)], axis=1)
        rows = np.concatenate([rows, where.start + best], axis=1)
        best = _least(squares, n)
        squares = np.take_along_axis(squares, best, axis=1)
        rows = np.take_along_axis(rows, best, axis=1)
    return rows


def _least(values: Float[np.ndarray, "n m"], count: int) -> Int[np.ndarray, "n count"]:
    """Columns of the ``count`` least values of each row, in any order."""
    if values.shape[1] <= count:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, count - 1, axis=1)[:, :count]


def _require_neighbours(x: np.ndarray, k: int, what: str) -> None:
    if not 1 <= k < len(x):
        raise ValueError(
            f"k must be at least 1 and less than the number of {what} features, {len(x)}, got {k}"
        )


def _squared_radii(x: np.ndarray, k: int) -> Float[np.ndarray, " n"]:
    """Squared distance of each row to its ``k``-th nearest other row."""
    return _nearest(x, x, k + 1)[0][:, k]  # a row is the first of its own neighbours


def _balls_around(
    points: np.ndarray, centers: np.ndarray, squared_radii: Float[np.ndarray, " m"]
) -> Int[np.ndarray, " n"]:
    """How many of the closed balls around ``centers`` each point is in."""
    counts = np.zeros(len(points), np.int64)
    for here, _, sign in signs(points, centers, squared_radii):
        counts[here] += np.count_nonzero(sign <= 0, axis=1)
    return counts
