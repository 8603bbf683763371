import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gen_jax import latent
from gen_jax.densities import Bernoulli, Categorical, Gaussian


@pytest.fixture(scope="module")
def model(tiny_vae):
    return tiny_vae(latent_dim=2)


@pytest.fixture(scope="module")
def params(model, wild_params):
    return wild_params(model)


def test_posterior_grid_is_bayes_rule(model, params, all_images):
    x = latent.observe(model, jax.random.key(0), all_images)
    size, limit = 41, 5.0
    grid = np.asarray(latent.posterior_grid(model, params, x, limit=limit, size=size), np.float64)
    assert grid.shape == (16, size, size)
    np.testing.assert_allclose(grid.sum((1, 2)), 1.0, rtol=1e-5)

    axis = np.linspace(-limit, limit, size)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    outputs = model.apply({"params": params}, jnp.asarray(z, jnp.float32), method="decode")
    logits = np.asarray(outputs, np.float64).reshape(-1, 4)
    flat = np.asarray(x).reshape(16, 4)
    log_joint = flat @ logits.T - np.logaddexp(0, logits).sum(1)[None]
    log_joint += stats.norm.logpdf(z).sum(1)[None]
    expected = special.softmax(log_joint, axis=1).reshape(16, size, size)
    np.testing.assert_allclose(grid, expected, rtol=1e-4, atol=1e-9)


def test_posterior_grid_has_the_moments_that_importance_samples_have(model, params, all_images):
    x = latent.observe(model, jax.random.key(0), all_images)[:6]
    grid = np.asarray(latent.posterior_grid(model, params, x, limit=6.0, size=61))
    axis = np.linspace(-6, 6, 61)
    moments = np.stack([grid.sum(2) @ axis, grid.sum(1) @ axis], 1)
    # z ~ p(z), weighed by p(x|z)
    z = np.random.default_rng(0).normal(size=(20_000, 2))
    outputs = model.apply({"params": params}, jnp.asarray(z, jnp.float32), method="decode")
    logits = np.asarray(outputs, np.float64).reshape(-1, 4)
    flat = np.asarray(x).reshape(6, 4)
    weights = special.softmax(flat @ logits.T - np.logaddexp(0, logits).sum(1)[None], axis=1)
    errors = np.sqrt((weights[..., None] ** 2 * (z[None] - moments[:, None]) ** 2).sum(1))
    assert (np.abs(weights @ z - moments) < 5 * errors).all()


@pytest.mark.parametrize("query", ["posterior_grid", "manifold"])
def test_queries_of_the_plane_want_a_plane(query, tiny_vae, wild_params, all_images):
    model = tiny_vae(latent_dim=3)
    ask = {
        "posterior_grid": lambda: latent.posterior_grid(model, None, all_images / 255.0),
        "manifold": lambda: latent.manifold(model, None, 4),
    }
    with pytest.raises(ValueError, match=rf"{query} is for two-dimensional latents.* has 3"):
        ask[query]()


def test_manifold_steps_evenly_through_the_prior(model, params):
    images = latent.manifold(model, params, 5)
    assert images.shape == (5, 5, 2, 2, 1)
    quantiles = stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    for i, j in ((0, 0), (1, 3), (4, 2)):
        z = jnp.asarray([[quantiles[i], quantiles[j]]], jnp.float32)
        np.testing.assert_allclose(images[i, j], latent.decode(model, params, z)[0], atol=1e-5)


def test_encode_needs_no_decoder(model, params, all_images):
    encoder = {name: value for name, value in params.items() if name != "decoder"}
    mean, variance = latent.encode(model, encoder, all_images)
    assert mean.shape == variance.shape == (16, 2)
    assert (variance > 0).all()
    x = latent.observe(model, jax.random.key(0), all_images)
    log_variance = model.apply({"params": params}, x, method="encode")[1]
    np.testing.assert_allclose(variance, np.exp(log_variance), rtol=1e-6)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), Categorical(7)], ids=repr)
def test_decoded_images_are_expectations_of_samples(likelihood, tiny_vae, wild_params):
    model = tiny_vae(likelihood=likelihood, latent_dim=2)
    params = wild_params(model)
    images = latent.decode(model, params, jnp.zeros((3, 4, 2)))
    assert images.shape == (3, 4, 2, 2, 1)
    assert images.dtype == jnp.float32
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0 + 1e-6
    draw = jax.jit(functools.partial(latent.sample, model), static_argnames=("n", "mean"))
    means, draws = (draw(params, jax.random.key(0), n=3000, mean=mean) for mean in (True, False))
    assert means.shape == draws.shape == (3000, 2, 2, 1)
    assert means.dtype == draws.dtype == jnp.uint8
    if not isinstance(likelihood, Gaussian):  # whose draws are clipped
        difference = np.asarray(draws, float) - np.asarray(means, float)
        error = difference.std(0) / np.sqrt(3000)
        assert (np.abs(difference.mean(0)) < 5 * error + 0.5).all()


def test_a_sample_depends_on_its_place_not_on_how_many_are_drawn(model, params):
    few, many = (latent.sample(model, params, jax.random.key(0), n, mean=False) for n in (4, 9))
    np.testing.assert_array_equal(few, many[:4])
    numbers = jnp.array([7, 2])
    some = latent.sample(model, params, jax.random.key(0), 2, mean=False, numbers=numbers)
    np.testing.assert_array_equal(some, many[numbers])


def test_traversals_move_one_dimension_at_a_time(tiny_vae, wild_params):
    model = tiny_vae(latent_dim=3)
    params = wild_params(model)
    z = jnp.array([0.3, -0.2, 1.0])
    images = latent.traversals(model, params, z, limit=2.0, size=5)
    assert images.shape == (3, 5, 2, 2, 1)
    moved = jnp.array([[-2.0, -0.2, 1.0], [0.3, 1.0, 1.0], [0.3, -0.2, 0.0]])
    np.testing.assert_allclose(
        jnp.stack([images[0, 0], images[1, 3], images[2, 2]]),
        latent.decode(model, params, moved),
        atol=1e-5,
    )


@pytest.mark.parametrize("path", [latent.linear, latent.spherical])
def test_interpolation_begins_and_ends_where_it_should(model, params, path):
    start, end = (jax.random.normal(jax.random.key(i), (3, 2)) for i in (0, 1))
    images = latent.interpolation(model, params, start, end, size=4, path=path)
    assert images.shape == (3, 4, 2, 2, 1)
    np.testing.assert_allclose(images[:, 0], latent.decode(model, params, start), atol=1e-5)
    np.testing.assert_allclose(images[:, -1], latent.decode(model, params, end), atol=1e-5)


def test_linear_halfway_is_the_mean():
    start, end = jnp.array([[1.0, 3.0]]), jnp.array([[3.0, -1.0]])
    np.testing.assert_allclose(latent.linear(start, end, jnp.array(0.5)), [[2.0, 1.0]])


def test_spherical_keeps_the_norm_and_the_pace():
    start, end = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 2.0]])
    for t, angle in ((0.25, np.pi / 8), (0.5, np.pi / 4)):
        expected = [[2 * np.cos(angle), 2 * np.sin(angle)]]
        np.testing.assert_allclose(latent.spherical(start, end, jnp.array(t)), expected, rtol=1e-5)


@pytest.mark.parametrize("end", [[3.0, 0.0], [-3.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
def test_spherical_goes_straight_where_there_is_no_circle(end):
    start, end = jnp.array([[1.0, 0.0]]), jnp.array([end])
    path = latent.spherical(start, end, jnp.array(0.3))
    np.testing.assert_allclose(path, 0.7 * start + 0.3 * end, atol=1e-6)
