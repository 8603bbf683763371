import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gen_jax import densities, images
from gen_jax.densities import Bernoulli, Categorical, Gaussian

LIKELIHOODS = [Bernoulli(), Bernoulli("threshold"), Gaussian(), Categorical(256), Categorical(5)]
LEVELS = jnp.arange(256, dtype=jnp.uint8)


def outputs_of(likelihood, shape=(4, 3), scale=3.0):
    return scale * jax.random.normal(jax.random.key(9), (*shape, likelihood.n_outputs))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_shapes_dtypes_and_value_equality(likelihood):
    image = jnp.array([[0, 255, 7], [127, 128, 200], [1, 2, 3], [90, 91, 92]], jnp.uint8)
    outputs = outputs_of(likelihood).astype(jnp.bfloat16)
    value = likelihood.observe(jax.random.key(0), image)
    assert value.shape == image.shape
    for floats in (likelihood.log_prob(outputs, value), likelihood.mean(outputs)):
        assert floats.shape == image.shape
        assert floats.dtype == jnp.float32
    sample = likelihood.sample(jax.random.key(1), outputs)
    assert sample.shape == image.shape
    assert sample.dtype == jnp.uint8
    assert float(likelihood.mean(outputs).min()) >= 0.0
    assert float(likelihood.mean(outputs).max()) <= 1.0 + 1e-6
    assert hash(likelihood) == hash(type(likelihood)(**vars(likelihood)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_expected_input_is_the_mean_of_what_is_observed(likelihood):
    keys = jax.random.split(jax.random.key(0), 4000)
    observed = jax.vmap(likelihood.observe, (0, None))(keys, LEVELS)
    inputs = np.asarray(likelihood.as_input(observed))
    assert inputs.dtype == np.float32
    assert inputs.min() >= 0.0
    assert inputs.max() <= 1.0
    standard_error = inputs.std(0) / math.sqrt(len(inputs)) + 1e-6
    error = np.abs(likelihood.expected_input(LEVELS) - inputs.mean(0, dtype=np.float64))
    assert (error < 5 * standard_error).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_outputs_of_mean_have_that_mean(likelihood):
    mean = jnp.linspace(0.25, 0.75, 12).reshape(4, 3)
    outputs = likelihood.outputs_of_mean(mean)
    assert outputs.shape == (4, 3, likelihood.n_outputs)
    # Five levels cannot say every mean exactly.
    tolerance = 0.02 if isinstance(likelihood, Categorical) else 1e-5
    np.testing.assert_allclose(likelihood.mean(outputs), mean, atol=tolerance)
    black_and_white = likelihood.outputs_of_mean(jnp.array([0.0, 1.0]))
    assert np.isfinite(black_and_white).all()
    darkest, brightest = likelihood.mean(black_and_white)
    assert darkest < 0.15
    assert brightest > 0.85


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_samples_have_the_mean(likelihood):
    n = 4000
    outputs = outputs_of(likelihood, (6,), scale=1.0)
    draws = jax.jit(jax.vmap(likelihood.sample, (0, None)))(
        jax.random.split(jax.random.key(0), n), outputs
    )
    floats = np.asarray(draws) / 255
    mean = np.asarray(likelihood.mean(outputs))
    if isinstance(likelihood, Gaussian):  # what is drawn outside of [0, 1] is clipped
        center, log_scale = likelihood._moments(outputs)
        z = np.random.default_rng(0).normal(size=(200_000, 1))
        mean = np.clip(np.asarray(center) + np.exp(np.asarray(log_scale)) * z, 0, 1).mean(0)
    assert (np.abs(floats.mean(0) - mean) < 5 * floats.std(0) / math.sqrt(n) + 2e-3).all()


def test_bernoulli_sums_to_one_and_agrees_with_scipy():
    logits = jnp.linspace(-15, 15, 61)[:, None]
    log_p = [Bernoulli().log_prob(logits, jnp.full(61, float(x))) for x in (0, 1)]
    np.testing.assert_allclose(np.exp(log_p[0]) + np.exp(log_p[1]), 1.0, rtol=1e-6)
    p = special.expit(np.asarray(logits[:, 0], np.float64))
    np.testing.assert_allclose(log_p[1], stats.bernoulli.logpmf(1, p), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_bernoulli_is_exact_at_extreme_logits(value):
    logits = np.array([-100.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 100.0])

    def log_prob(logit):
        return Bernoulli().log_prob(logit[None], jnp.array(value))

    log_p, slope = jax.vmap(jax.value_and_grad(log_prob))(jnp.asarray(logits))
    p = special.expit(logits)
    np.testing.assert_allclose(log_p, value * logits - np.logaddexp(0.0, logits), 1e-6, 1e-30)
    np.testing.assert_allclose(slope, value - p, rtol=1e-6, atol=1e-8)
    curvature = jax.vmap(jax.grad(jax.grad(log_prob)))(jnp.asarray(logits))
    np.testing.assert_allclose(curvature, -p * (1 - p), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_categorical_sums_to_one_over_its_levels(levels):
    likelihood = Categorical(levels)
    outputs = outputs_of(likelihood, (7,))
    log_p = jax.vmap(lambda v: likelihood.log_prob(outputs, jnp.full(7, v)))(jnp.arange(levels))
    np.testing.assert_allclose(np.exp(np.asarray(log_p, np.float64)).sum(0), 1.0, rtol=1e-5)
    expected = special.log_softmax(np.asarray(outputs, np.float64), axis=-1).T
    np.testing.assert_allclose(log_p, expected, rtol=1e-5, atol=1e-5)


def test_categorical_with_256_levels_changes_nothing():
    likelihood = Categorical()
    value = likelihood.observe(jax.random.key(0), LEVELS)
    np.testing.assert_array_equal(value, LEVELS)
    certain = 1e4 * jax.nn.one_hot(value, 256)
    np.testing.assert_array_equal(likelihood.sample(jax.random.key(0), certain), LEVELS)


@pytest.mark.parametrize("levels", [2, 3, 4, 16])
def test_categorical_bins_are_even_and_span_black_to_white(levels):
    likelihood = Categorical(levels)
    value = np.asarray(likelihood.observe(jax.random.key(0), LEVELS))
    counts = np.bincount(value)
    assert len(counts) == levels
    assert counts.max() - counts.min() <= 1
    assert (np.diff(value) >= 0).all()
    certain = 1e4 * jax.nn.one_hot(jnp.array([0, levels - 1]), levels)
    np.testing.assert_array_equal(likelihood.sample(jax.random.key(0), certain), [0, 255])


@pytest.mark.parametrize("levels", [1, 257])
def test_categorical_refuses_levels_that_bytes_cannot_hold(levels):
    with pytest.raises(ValueError, match=rf"levels must lie in 2..256, got {levels}"):
        Categorical(levels)


def test_gaussian_agrees_with_scipy():
    likelihood = Gaussian(min_log_scale=-3.0, max_log_scale=0.0)
    outputs = jnp.array([[0.0, 0.0], [2.0, -1.0], [-3.0, 4.0]])
    value = jnp.array([0.1, 0.5, 0.9])
    mean = special.expit([0.0, 2.0, -3.0])
    scale = np.exp(-3.0 + 3.0 * special.expit([0.0, -1.0, 4.0]))
    expected = stats.norm.logpdf(np.asarray(value), mean, scale) - math.log(256)
    np.testing.assert_allclose(likelihood.log_prob(outputs, value), expected, rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(outputs), mean, rtol=1e-6)


@pytest.mark.parametrize("level", [0, 31, 255])
def test_dequantization_bounds_the_probability_of_the_level(level):
    likelihood = Gaussian()
    outputs = jnp.array([0.3, 1.0])
    image = jnp.full((20_000,), level, jnp.uint8)
    value = likelihood.observe(jax.random.key(0), image)
    log_p = np.asarray(likelihood.log_prob(jnp.broadcast_to(outputs, (20_000, 2)), value))
    center, log_scale = (float(m) for m in likelihood._moments(outputs))
    mass, _ = integrate.quad(
        lambda v: stats.norm.pdf(v, center, math.exp(log_scale)), level / 256, (level + 1) / 256
    )
    assert np.isfinite(log_p).all()
    assert log_p.mean() <= math.log(mass) + 5 * log_p.std() / math.sqrt(20_000)
    np.testing.assert_allclose(log_p.mean(), math.log(mass), atol=0.01)  # and closely


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_extreme_outputs_give_finite_values_and_gradients(likelihood):
    extremes = jnp.array([-100.0, 0.0, 100.0])
    n = likelihood.n_outputs
    # All outputs alike, and one output at the other extreme: [level, output, kind, n_outputs].
    outputs = jnp.stack([jnp.repeat(extremes[:, None], n, 1)] * 2, axis=1)
    outputs = jnp.stack([outputs.at[:, 1, 0].set(-extremes)] * 3)
    image = jnp.broadcast_to(jnp.array([0, 128, 255], jnp.uint8)[:, None, None], (3, 3, 2))
    value = likelihood.observe(jax.random.key(0), image)

    @jax.jit
    @jax.value_and_grad
    def total(outputs):
        return likelihood.log_prob(outputs, value).sum()

    log_p, slopes = total(outputs)
    assert np.isfinite(log_p)
    assert np.isfinite(slopes).all()
    assert np.isfinite(likelihood.mean(outputs)).all()


def test_gaussian_log_prob_integrates_to_one():
    density = np.vectorize(
        lambda v: math.exp(
            densities.gaussian_log_prob(jnp.array(v), jnp.array(0.3), jnp.array(-1.0))
        )
    )
    grid = np.linspace(-5, 5, 201)
    np.testing.assert_allclose(integrate.simpson(density(grid), x=grid), 1.0, rtol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 1.5])
@pytest.mark.parametrize("log_variance", [-3.0, 0.0, 1.0])
def test_gaussian_kl_agrees_with_quadrature_and_monte_carlo(mean, log_variance):
    kl = float(densities.gaussian_kl(jnp.array(mean), jnp.array(log_variance)))
    q, p = stats.norm(mean, math.exp(0.5 * log_variance)), stats.norm()
    exact, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *(mean + q.std() * np.array([-9, 9]))
    )
    np.testing.assert_allclose(kl, exact, rtol=1e-5, atol=1e-6)
    z = q.rvs(40_000, random_state=0)
    draws = q.logpdf(z) - p.logpdf(z)
    assert abs(kl - draws.mean()) < 5 * draws.std() / 200 + 1e-6


def test_gaussian_kl_keeps_its_digits_near_zero():
    tiny = jnp.array(1e-4)
    np.testing.assert_allclose(densities.gaussian_kl(tiny, tiny), 7.5e-9, rtol=2e-2)


def test_bits_per_dim_of_a_fair_coin_is_one():
    log_p = Bernoulli().log_prob(jnp.zeros((4, 10, 1)), jnp.ones((4, 10))).sum(-1)
    np.testing.assert_allclose(densities.bits_per_dim(-log_p, 10), 1.0, rtol=1e-6)


def test_threshold_binarization_ignores_the_key():
    likelihood = Bernoulli("threshold")
    observed = likelihood.observe(jax.random.key(5), LEVELS)
    np.testing.assert_array_equal(observed, images.binarize_threshold(LEVELS))
