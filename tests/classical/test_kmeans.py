import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from gen_jax.classical import kmeans

CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


@pytest.fixture
def blobs() -> np.ndarray:
    """Four groups so far apart that there is no doubt about the best clustering."""
    noise = np.random.default_rng(0).normal(size=(30, 4, 2))
    return (CENTERS[None] + noise).reshape(-1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return (load_digits().data / 16.0).astype(np.float32)


def lloyd(x, start, max_iterations=300):
    """One restart from given centroids, until nothing moves."""
    x, start = jnp.asarray(x), jnp.asarray(start)
    zero = jnp.zeros((), x.dtype)
    return kmeans._lloyd(x, jnp.sum(x**2, axis=1), start, zero, max_iterations)


def by_first_column(centroids):
    centroids = np.asarray(centroids)
    return centroids[np.lexsort(centroids.T[::-1])]


def test_separate_groups_are_found(blobs):
    result = kmeans.fit(jax.random.key(0), blobs, 4)
    means = blobs.reshape(30, 4, 2).mean(axis=0)
    np.testing.assert_allclose(by_first_column(result.centroids), by_first_column(means), atol=1e-5)
    groups = np.asarray(result.assignments).reshape(30, 4)
    assert (groups == groups[:1]).all()
    assert len(set(groups[0])) == 4


def test_the_record_agrees_with_itself(digits):
    result = kmeans.fit(jax.random.key(1), digits, 10, restarts=3)
    distances = np.asarray(kmeans.transform(result.centroids, digits))
    np.testing.assert_array_equal(kmeans.predict(result.centroids, digits), result.assignments)
    np.testing.assert_array_equal(distances.argmin(axis=1), result.assignments)
    np.testing.assert_allclose((distances.min(axis=1) ** 2).sum(), result.inertia, rtol=1e-5)
    assert result.assignments.dtype == jnp.int32
    assert set(np.asarray(result.assignments)) == set(range(10))


def test_distances_are_those_of_the_definition(digits):
    centroids = digits[:7]
    expected = np.linalg.norm(digits[:, None].astype(np.float64) - centroids[None], axis=-1)
    # A distance of 0 comes out as the root of a rounding error.
    np.testing.assert_allclose(kmeans.transform(centroids, digits), expected, atol=3e-3)
    with jax.enable_x64(True):
        exact = kmeans.transform(centroids.astype(np.float64), digits.astype(np.float64))
        np.testing.assert_allclose(exact, expected, atol=1e-6)


def test_lloyd_agrees_with_scikit_learn_from_the_same_start(digits):
    x = digits.astype(np.float64)
    reference = KMeans(10, init=x[:10], n_init=1, tol=0, algorithm="lloyd").fit(x)
    with jax.enable_x64(True):
        ours = lloyd(x, x[:10])
        np.testing.assert_allclose(ours.centroids, reference.cluster_centers_, atol=1e-12)
        np.testing.assert_array_equal(ours.assignments, reference.labels_)
        np.testing.assert_allclose(ours.inertia, reference.inertia_, rtol=1e-12)


def test_inertia_is_as_low_as_scikit_learns(digits):
    reference = KMeans(10, n_init=10, random_state=0).fit(digits)
    ours = kmeans.fit(jax.random.key(0), digits, 10, restarts=10)
    assert float(ours.inertia) <= 1.01 * reference.inertia_


def test_restarts_give_the_best_of_them(digits):
    x = digits[:300]
    one = float(kmeans.fit(jax.random.key(3), x, 8, restarts=1).inertia)
    ten = float(kmeans.fit(jax.random.key(3), x, 8, restarts=10).inertia)
    assert ten < one


def test_inertia_never_rises(digits):
    curve = [
        float(
            kmeans.fit(
                jax.random.key(5), digits, 10, restarts=1, max_iterations=n, tolerance=0.0
            ).inertia
        )
        for n in range(1, 15)
    ]
    assert (np.diff(curve) <= 1e-6 * curve[0]).all()
    assert curve[-1] < 0.99 * curve[0]


def test_it_stops_once_nothing_moves(blobs):
    result = kmeans.fit(jax.random.key(0), blobs, 4, restarts=1, tolerance=0.0)
    assert 1 <= int(result.n_iterations) < 20
    limited = kmeans.fit(jax.random.key(0), blobs, 7, restarts=1, max_iterations=2, tolerance=0.0)
    assert int(limited.n_iterations) == 2


def test_a_larger_tolerance_stops_no_later(digits):
    def iterations(tolerance):
        fitted = kmeans.fit(jax.random.key(2), digits, 10, restarts=1, tolerance=tolerance)
        return int(fitted.n_iterations)

    assert iterations(1e6) == 1
    assert iterations(1.0) <= iterations(1e-3) <= iterations(0.0) < 300


def test_one_centroid_is_the_mean(digits):
    result = kmeans.fit(jax.random.key(0), digits, 1, restarts=2)
    np.testing.assert_allclose(result.centroids[0], digits.mean(axis=0), atol=1e-5)
    total = ((digits - digits.mean(axis=0)) ** 2).sum()
    np.testing.assert_allclose(result.inertia, total, rtol=1e-5)


def test_as_many_centroids_as_rows_leave_nothing(digits):
    x = digits[:40]
    result = kmeans.fit(jax.random.key(0), x, 40, restarts=1)
    assert float(result.inertia) == 0.0
    assert sorted(np.asarray(result.assignments)) == list(range(40))


def test_order_of_rows_does_not_matter(blobs):
    order = np.random.default_rng(1).permutation(len(blobs))
    plain = kmeans.fit(jax.random.key(0), blobs, 4)
    shuffled = kmeans.fit(jax.random.key(0), blobs[order], 4)
    np.testing.assert_allclose(
        by_first_column(shuffled.centroids), by_first_column(plain.centroids), atol=1e-5
    )
    rows = np.asarray(shuffled.centroids)[np.asarray(shuffled.assignments)]
    same_rows = np.asarray(plain.centroids)[np.asarray(plain.assignments)][order]
    np.testing.assert_allclose(rows, same_rows, atol=1e-5)


def test_every_row_twice_doubles_the_inertia(blobs):
    once = kmeans.fit(jax.random.key(0), blobs, 4)
    twice = kmeans.fit(jax.random.key(0), np.repeat(blobs, 2, axis=0), 4)
    np.testing.assert_allclose(twice.inertia, 2 * once.inertia, rtol=1e-5)
    np.testing.assert_allclose(
        by_first_column(twice.centroids), by_first_column(once.centroids), atol=1e-5
    )


def test_moving_all_rows_far_away_changes_nothing(blobs):
    near = kmeans.fit(jax.random.key(0), blobs, 4)
    far = kmeans.fit(jax.random.key(0), blobs + np.float32(4096.0), 4)
    np.testing.assert_allclose(far.inertia, near.inertia, rtol=1e-3)
    np.testing.assert_array_equal(kmeans.predict(far.centroids, blobs + 4096.0), far.assignments)


def test_fewer_distinct_rows_than_centroids_is_no_trouble():
    x = np.repeat(np.array([[0.1, 3.0], [2.0, 0.7], [5.0, 5.0]], np.float32), 9, axis=0)
    result = kmeans.fit(jax.random.key(0), x, 5, restarts=3, tolerance=0.0)
    assert float(result.inertia) < 1e-9
    assert np.isfinite(np.asarray(result.centroids)).all()
    assert int(result.n_iterations) < 10


def test_identical_rows_are_no_trouble():
    result = kmeans.fit(jax.random.key(0), np.full((6, 3), 0.3, np.float32), 3)
    np.testing.assert_allclose(result.centroids, np.full((3, 3), 0.3), atol=1e-6)
    assert float(result.inertia) < 1e-9


def test_empty_centroids_go_to_the_farthest_rows():
    x = jnp.asarray([[0.0], [1.0], [2.0], [50.0], [90.0]])
    start = jnp.asarray([[1.0], [1e3], [-1e3]])  # every row is nearest to the first
    updated, assignments = kmeans._update(x, jnp.sum(x**2, axis=1), start)
    assert np.asarray(assignments).tolist() == [0] * 5
    assert float(updated[0, 0]) == pytest.approx(x.mean())
    assert [float(c) for c in updated[1:, 0]] == [90.0, 50.0]
    assert np.isfinite(np.asarray(lloyd(x, start).centroids)).all()
    assert by_first_column(lloyd(x, start).centroids).ravel().tolist() == [1.0, 50.0, 90.0]


def test_a_start_in_one_point_still_finds_all_groups(blobs):
    result = lloyd(blobs, np.zeros((4, 2), np.float32))  # three of the four begin empty
    assert len(set(np.asarray(result.assignments))) == 4


def test_jit_and_vmap_change_nothing(blobs):
    x = jnp.asarray(blobs)

    def keys():  # made anew: a key is used once
        return jax.random.split(jax.random.key(0), 3)

    def fit(key, x):
        return kmeans.fit(key, x, 5, restarts=2).inertia

    alone = [fit(key, x) for key in keys()]
    np.testing.assert_allclose(jax.vmap(fit, (0, None))(keys(), x), alone, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(fit)(keys()[0], x), alone[0], rtol=1e-5)
    both = jax.vmap(fit, (None, 0))(keys()[1], jnp.stack([x, 2.0 * x]))
    np.testing.assert_allclose(both, [alone[1], 4.0 * alone[1]], rtol=1e-4)


def test_one_key_gives_one_result(digits):
    one, two = (kmeans.fit(jax.random.key(7), digits, 10, restarts=2) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_float64_stays_float64(blobs):
    with jax.enable_x64(True):
        result = kmeans.fit(jax.random.key(0), blobs.astype(np.float64), 4)
    assert result.centroids.dtype == np.float64
    assert result.inertia.dtype == np.float64


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (
            np.ones((3, 2), np.float32),
            {"k": 4},
            r"k must lie in 1..n, the number of rows \(3\), got 4",
        ),
        (
            np.ones((3, 2), np.float32),
            {"k": 0},
            r"k must lie in 1..n, the number of rows \(3\), got 0",
        ),
        (np.ones((3, 2), np.float32), {"k": 2, "restarts": 0}, "1 or more, got restarts=0"),
        (np.ones((3, 2), np.float32), {"k": 2, "max_iterations": 0}, "got restarts=10, max_itera"),
        (np.ones((3, 2), np.float32), {"k": 2, "tolerance": -1.0}, "0 or more, got -1.0"),
        (np.array([[1.0, np.nan], [1, 1]]), {"k": 1}, "got 1 of 2 rows with NaN or infinity"),
        (np.ones((3, 2), np.uint8), {"k": 1}, r"x must be floats \[n, d\], got uint8 \[3, 2\]"),
        (np.ones((3, 2, 2), np.float32), {"k": 1}, r"got float32 \[3, 2, 2\]"),
        (np.ones((0, 2), np.float32), {"k": 1}, r"at least 1 rows and a column, got \[0, 2\]"),
    ],
)
def test_mistakes_are_named(x, options, message):
    with pytest.raises(ValueError, match=message):
        kmeans.fit(
            jax.random.key(0), x.astype(x.dtype if x.dtype != np.float64 else "f4"), **options
        )


def test_centroids_of_another_width_are_refused():
    message = r"must agree in d, got \[2, 3\] and \[5, 4\]"
    with pytest.raises(ValueError, match=message):
        kmeans.predict(np.ones((2, 3), np.float32), np.ones((5, 4), np.float32))
