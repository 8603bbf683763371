"""The bounds against brute force: few latents and four pixels, integrated on a fine grid."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gen_jax import latent
from gen_jax.evaluation import importance_log_likelihood


@pytest.fixture(scope="module")
def model(tiny_vae):
    return tiny_vae()


@pytest.fixture(scope="module")
def params(model, wild_params):
    return wild_params(model)


@pytest.fixture(scope="module")
def evidence(model, params, all_images):
    """log p(x) of every image, by quadrature over z."""
    z = np.linspace(-9, 9, 4001)
    outputs = model.apply({"params": params}, jnp.asarray(z, jnp.float32)[:, None], method="decode")
    logits = np.asarray(outputs, np.float64).reshape(-1, 4)
    x = np.asarray(all_images).reshape(16, 4) / 255
    log_p_x_given_z = x @ logits.T - np.logaddexp(0, logits).sum(1)
    log_joint = log_p_x_given_z + stats.norm.logpdf(z)[None]
    return special.logsumexp(log_joint, axis=1) + math.log(z[1] - z[0])


def mean_and_error(draws):
    """The mean of many draws an image, and its standard error: [n, 16] -> [16], [16]."""
    draws = np.asarray(draws, np.float64)
    return draws.mean(0), draws.std(0) / math.sqrt(len(draws)) + 1e-6


def repeated(bound, all_images, n=1000):
    """Each image's bound ``n`` times, with noise of its own: [n, 16]."""
    values = jax.jit(bound)(jax.random.key(1), jnp.tile(all_images, (n, 1, 1, 1)))
    return np.asarray(values, np.float64).reshape(n, 16)


def test_the_model_is_a_distribution_in_which_the_latent_matters(evidence):
    np.testing.assert_allclose(np.exp(evidence).sum(), 1.0, rtol=1e-6)
    assert np.ptp(evidence) > 1.0


def test_importance_weights_are_unbiased(model, params, all_images, evidence):
    x = latent.observe(model, jax.random.key(0), all_images)
    keys = jax.random.split(jax.random.key(1), 4000)
    log_weights = jax.jit(latent.log_weights, static_argnums=0)
    mean, error = mean_and_error(np.exp(log_weights(model, params, keys, x)))
    assert (error < 0.05 * mean).all()
    assert (np.abs(mean - np.exp(evidence)) < 5 * error).all()

    estimate = importance_log_likelihood(
        functools.partial(latent.log_weights, model, params),
        jax.random.key(2),
        x,
        n_samples=16_000,
        chunk=1000,
    )
    assert (np.abs(estimate - evidence) < 5 * (error / mean) / math.sqrt(4)).all()


def test_bounds_rise_with_k_towards_the_evidence(model, params, all_images, evidence):
    def elbo(key, image):
        return latent.elbo(model, params, key, image).value

    def iwae(k):
        return lambda key, image: latent.iwae_bound(model, params, key, image, k=k).value

    bounds = [mean_and_error(repeated(f, all_images)) for f in (elbo, iwae(1), iwae(4), iwae(20))]
    (elbo_mean, elbo_error), (one, one_error), (four, _), (twenty, error) = bounds
    assert (np.abs(one - elbo_mean) < 5 * np.hypot(one_error, elbo_error)).all()
    assert (elbo_mean < four).all()
    assert (four < twenty).all()
    assert (twenty < evidence + 5 * error).all()
    assert (evidence - twenty < 0.2 * (evidence - elbo_mean)).all()


def test_elbo_is_the_evidence_less_the_divergence_from_the_posterior(
    model, params, all_images, evidence
):
    mean, variance = (np.asarray(a) for a in latent.encode(model, params, all_images))
    z = np.linspace(-30, 30, 20_001)
    outputs = model.apply({"params": params}, jnp.asarray(z, jnp.float32)[:, None], method="decode")
    logits = np.asarray(outputs, np.float64).reshape(-1, 4)
    x = np.asarray(all_images).reshape(16, 4) / 255
    log_posterior = x @ logits.T - np.logaddexp(0, logits).sum(1)[None]
    log_posterior += stats.norm.logpdf(z)[None] - evidence[:, None]
    log_q = stats.norm.logpdf(z[None], mean, np.sqrt(variance))
    divergence = (np.exp(log_q) * (log_q - log_posterior)).sum(1) * (z[1] - z[0])
    estimate, error = mean_and_error(
        repeated(lambda key, image: latent.elbo(model, params, key, image).value, all_images)
    )
    assert (np.abs(estimate - (evidence - divergence)) < 5 * error).all()


def test_terms_of_the_elbo_make_its_value(model, params, all_images):
    elbo = jax.jit(latent.elbo, static_argnums=0)
    bound = elbo(model, params, jax.random.key(3), all_images)
    np.testing.assert_allclose(bound.value, bound.reconstruction - bound.kl, rtol=1e-6)
    weighed = elbo(model, params, jax.random.key(3), all_images, beta=4.0)
    np.testing.assert_allclose(weighed.value, bound.reconstruction - 4.0 * bound.kl, rtol=1e-6)
    np.testing.assert_array_equal(weighed.kl, bound.kl)
    assert (bound.kl > 0).all()


def test_kl_agrees_with_scipy(model, params, all_images):
    mean, variance = (np.asarray(a, np.float64) for a in latent.encode(model, params, all_images))
    expected = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(-1)
    bound = jax.jit(latent.elbo, static_argnums=0)(model, params, jax.random.key(0), all_images)
    np.testing.assert_allclose(bound.kl, expected, rtol=1e-4, atol=1e-6)


def test_iwae_with_one_sample_is_the_elbo_with_the_kl_sampled(model, params, all_images):
    iwae_bound = jax.jit(latent.iwae_bound, static_argnums=0, static_argnames="k")
    iwae = iwae_bound(model, params, jax.random.key(5), all_images, k=1)
    elbo = jax.jit(latent.elbo, static_argnums=0)(model, params, jax.random.key(5), all_images)
    np.testing.assert_allclose(iwae.reconstruction, elbo.reconstruction, rtol=1e-6)
    # The same z gives log p(z) - log q(z|x); its expectation is -KL.
    log_ratio = repeated(
        lambda key, image: (lambda b: b.value - b.reconstruction)(
            latent.iwae_bound(model, params, key, image, k=1)
        ),
        all_images,
    )
    mean, error = mean_and_error(log_ratio)
    assert (np.abs(mean + elbo.kl) < 5 * error).all()


def test_more_samples_in_the_elbo_lower_the_variance_alone(model, params, all_images):
    def elbo(n_samples):
        return lambda key, image: latent.elbo(model, params, key, image, n_samples=n_samples).value

    one, sixteen = (repeated(elbo(n), all_images, 500) for n in (1, 16))
    (mean, error), (other, other_error) = mean_and_error(one), mean_and_error(sixteen)
    assert (np.abs(mean - other) < 5 * np.hypot(error, other_error)).all()
    np.testing.assert_allclose(one.std(0) / sixteen.std(0), 4.0, rtol=0.3)


def test_a_weight_depends_on_its_own_key_and_place_alone(model, params, all_images):
    x = latent.observe(model, jax.random.key(0), all_images)
    keys = jax.random.split(jax.random.key(1), 6)
    log_weights = jax.jit(latent.log_weights, static_argnums=0)
    whole = log_weights(model, params, keys, x)
    part = log_weights(model, params, jax.random.clone(keys)[2:4], x[:5])
    np.testing.assert_allclose(part, whole[2:4, :5], rtol=1e-5)
    assert len(np.unique(whole)) == whole.size
