import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from gen_jax.classical import pca


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data / 16.0  # float64; several columns are constant


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def wide(rank: int = 6) -> np.ndarray:
    """30 rows in 400 dimensions that vary in ``rank`` directions only."""
    rng = np.random.default_rng(0)
    scales = 2.0 ** -np.arange(rank)
    return 3.0 + (rng.normal(size=(30, rank)) * scales) @ rng.normal(size=(rank, 400))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("whiten", [False, True])
def test_it_agrees_with_scikit_learn(digits, whiten):
    reference = PCA(20, svd_solver="full", whiten=whiten).fit(digits)
    ours = pca.fit(digits, 20)
    np.testing.assert_allclose(ours.mean, reference.mean_, atol=1e-14)
    np.testing.assert_allclose(ours.components, reference.components_, atol=1e-11)
    np.testing.assert_allclose(ours.explained_variance, reference.explained_variance_, rtol=1e-11)
    np.testing.assert_allclose(
        ours.explained_variance_ratio, reference.explained_variance_ratio_, rtol=1e-11
    )
    z = pca.transform(ours, digits, whiten=whiten)
    np.testing.assert_allclose(z, reference.transform(digits), atol=1e-10)
    back = pca.inverse_transform(ours, z, whiten=whiten)
    np.testing.assert_allclose(back, reference.inverse_transform(np.asarray(z)), atol=1e-10)


def test_float32_agrees_to_its_precision(digits):
    reference = PCA(10, svd_solver="full").fit(digits)
    ours = pca.fit(digits.astype(np.float32), 10)
    np.testing.assert_allclose(ours.explained_variance, reference.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(ours.components, reference.components_, atol=1e-3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_components", [1, 7, 40])
def test_reconstruction_error_is_the_dropped_variance(digits, n_components):
    full = pca.fit(digits, 64)
    ours = pca.fit(digits, n_components)
    back = pca.inverse_transform(ours, pca.transform(ours, digits))
    error = np.sum((digits - np.asarray(back)) ** 2) / (len(digits) - 1)
    dropped = np.asarray(full.explained_variance)[n_components:].sum()
    np.testing.assert_allclose(error, dropped, rtol=1e-10)
    kept = np.asarray(ours.explained_variance_ratio).sum()
    total = digits.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(1.0 - kept, dropped / total, rtol=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (9, 9)])
def test_all_components_give_the_data_back(shape):
    x = np.random.default_rng(0).normal(size=shape)
    ours = pca.fit(x, min(shape))
    back = pca.inverse_transform(ours, pca.transform(ours, x))
    np.testing.assert_allclose(back, x, atol=1e-12)
    np.testing.assert_allclose(np.asarray(ours.explained_variance_ratio).sum(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("fit", [pca.fit, lambda x, m: pca.fit_randomized(jax.random.key(0), x, m)])
def test_components_are_orthonormal_with_fixed_signs(digits, fit):
    ours = fit(digits.astype(np.float32), 12)
    components = np.asarray(ours.components)
    np.testing.assert_allclose(components @ components.T, np.eye(12), atol=1e-5)
    assert (components[np.arange(12), np.abs(components).argmax(axis=1)] > 0).all()
    assert (np.diff(np.asarray(ours.explained_variance)) <= 0).all()


@pytest.mark.usefixtures("x64")
def test_coordinates_do_not_correlate_and_whitening_gives_unit_covariance(digits):
    ours = pca.fit(digits, 30)
    plain = np.cov(np.asarray(pca.transform(ours, digits)).T)
    np.testing.assert_allclose(plain, np.diag(ours.explained_variance), atol=1e-11)
    white = np.asarray(pca.transform(ours, digits, whiten=True))
    np.testing.assert_allclose(np.cov(white.T), np.eye(30), atol=1e-10)
    back = pca.inverse_transform(ours, white, whiten=True)
    unwhitened = pca.inverse_transform(ours, pca.transform(ours, digits))
    np.testing.assert_allclose(back, unwhitened, atol=1e-10)


@pytest.mark.usefixtures("x64")
def test_order_of_rows_does_not_matter_and_the_mean_moves_along(digits):
    order = np.random.default_rng(0).permutation(len(digits))
    plain, shuffled = pca.fit(digits, 5), pca.fit(digits[order], 5)
    np.testing.assert_allclose(shuffled.components, plain.components, atol=1e-10)
    moved = pca.fit(digits + 7.0, 5)
    np.testing.assert_allclose(moved.components, plain.components, atol=1e-10)
    np.testing.assert_allclose(moved.mean, plain.mean + 7.0, atol=1e-12)


@pytest.mark.parametrize("whiten", [False, True])
def test_constant_columns_and_constant_data_give_no_nan(whiten):
    rng = np.random.default_rng(0)
    some = np.concatenate([rng.normal(size=(20, 2)), np.full((20, 3), 0.7)], axis=1)
    for x in (some.astype(np.float32), np.full((20, 5), 0.7, np.float32)):
        ours = pca.fit(x, 5)
        z = pca.transform(ours, x, whiten=whiten)
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in (*ours, z))
        np.testing.assert_allclose(pca.inverse_transform(ours, z, whiten=whiten), x, atol=1e-5)
    ours = pca.fit(some.astype(np.float32), 5)
    white = np.asarray(pca.transform(ours, some.astype(np.float32), whiten=True))
    np.testing.assert_allclose(white.std(axis=0, ddof=1)[:2], 1.0, rtol=1e-4)
    np.testing.assert_allclose(white[:, 2:], 0.0, atol=1e-3)


@pytest.mark.usefixtures("x64")
def test_randomized_is_exact_on_data_of_low_rank():
    x = wide(rank=6)
    exact = pca.fit(x, 6)
    ours = pca.fit_randomized(jax.random.key(0), x, 6, oversampling=4, power_iterations=1)
    np.testing.assert_allclose(ours.components, exact.components, atol=1e-9)
    np.testing.assert_allclose(ours.explained_variance, exact.explained_variance, rtol=1e-9)
    np.testing.assert_allclose(
        ours.explained_variance_ratio, exact.explained_variance_ratio, rtol=1e-9
    )


@pytest.mark.usefixtures("x64")
def test_power_iterations_bring_the_randomized_fit_closer(digits):
    exact = np.asarray(pca.fit(digits, 10).explained_variance)

    def error(power_iterations):
        ours = pca.fit_randomized(
            jax.random.key(0), digits, 10, oversampling=5, power_iterations=power_iterations
        )
        assert (np.asarray(ours.explained_variance) <= exact * (1 + 1e-12)).all()  # it loses only
        return np.abs(np.asarray(ours.explained_variance) / exact - 1.0).max()

    assert error(6) < error(2) < error(0)
    assert error(6) < 1e-2


def test_randomized_depends_on_its_key_alone(digits):
    x = digits.astype(np.float32)
    one, two = (pca.fit_randomized(jax.random.key(0), x, 3) for _ in range(2))
    other = pca.fit_randomized(jax.random.key(1), x, 3, power_iterations=0)
    np.testing.assert_array_equal(one.components, two.components)
    assert np.abs(np.asarray(one.components - other.components)).max() > 0


def test_jit_and_vmap_change_nothing(digits):
    x = jnp.asarray(digits[:200], jnp.float32)
    alone = pca.fit(x, 4)
    jitted = jax.jit(pca.fit, static_argnums=1)(x, 4)
    np.testing.assert_allclose(jitted.components, alone.components, atol=1e-5)
    both = jax.vmap(lambda x: pca.fit(x, 4))(jnp.stack([x, 2.0 * x]))
    np.testing.assert_allclose(both.components[1], alone.components, atol=1e-3)
    np.testing.assert_allclose(
        both.explained_variance[1], 4 * both.explained_variance[0], rtol=1e-4
    )
    z = jax.vmap(lambda row: pca.transform(alone, row[None])[0])(x)
    np.testing.assert_allclose(z, pca.transform(alone, x), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "n_components", "message"),
    [
        (np.ones((5, 3), np.float32), 4, r"lie in 1..3, the smaller side of x \[5, 3\], got 4"),
        (np.ones((2, 9), np.float32), 3, r"lie in 1..2, the smaller side of x \[2, 9\], got 3"),
        (np.ones((5, 3), np.float32), 0, "lie in 1..3, .* got 0"),
        (np.ones((1, 3), np.float32), 1, "at least 2 rows"),
        (np.full((4, 3), np.inf, np.float32), 1, "got 4 of 4 rows with NaN or infinity"),
        (np.ones((4, 3), np.int32), 1, r"x must be floats \[n, d\], got int32 \[4, 3\]"),
    ],
)
def test_mistakes_are_named(x, n_components, message):
    with pytest.raises(ValueError, match=message):
        pca.fit(x, n_components)
    with pytest.raises(ValueError, match=message):
        pca.fit_randomized(jax.random.key(0), x, n_components)


def test_negative_options_are_refused():
    x = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="got oversampling=-1, power_iterations=4"):
        pca.fit_randomized(jax.random.key(0), x, 1, oversampling=-1)
