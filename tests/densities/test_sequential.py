"""Densities that are drawn unit by unit: they sum to one, and draws follow them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gen_jax.densities import Bernoulli, Categorical, LogisticMixture
from gen_jax.densities.sequential import Given, n_halvings

CASES = [
    (Bernoulli(), 1),
    (Categorical(4), 1),
    (Categorical(11), 1),
    (LogisticMixture(3, 6), 1),
    (LogisticMixture(2, 4), 3),
]


def all_values(likelihood, channels):
    units = likelihood.units(channels)
    values = itertools.product(range(likelihood.levels), repeat=channels // units)
    kind = likelihood.quantize(jnp.zeros((1,), jnp.uint8)).dtype
    return jnp.asarray(np.array(list(values)), kind)


def noise_of(likelihood, n, *, channels=1):
    shape = (n, likelihood.unit_noise(channels))
    return jax.random.uniform(jax.random.key(0), shape, minval=1e-7)


@functools.partial(jax.jit, static_argnums=(0, 2))
def draw_many(likelihood, outputs, n, temperature):
    """Draws [n, 1] of one unit's outputs."""
    outputs = jnp.broadcast_to(outputs, (n, len(outputs)))
    return likelihood.draw(outputs, noise_of(likelihood, n), temperature=temperature)


def assert_drawn_as_often_as_probable(counts, p):
    """By the chi-square test; what is drawn fewer than five times is counted as one."""
    n = counts.sum()
    often = n * p > 5
    observed = np.append(counts[often], counts[~often].sum() + 1)
    expected = np.append(n * p[often], n * p[~often].sum() + 1)
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


@pytest.mark.parametrize(("likelihood", "channels"), CASES, ids=repr)
def test_a_units_probabilities_sum_to_one_and_draws_follow_them(likelihood, channels):
    outputs = jax.random.normal(jax.random.key(0), (likelihood.unit_outputs(channels),))
    values = all_values(likelihood, channels)
    log_p = likelihood.unit_log_prob(
        jnp.broadcast_to(outputs, (len(values), *outputs.shape)), values
    )
    p = np.exp(np.asarray(log_p, np.float64))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)
    n = 40_000
    noise = noise_of(likelihood, n, channels=channels)
    drawn = likelihood.draw(jnp.broadcast_to(outputs, (n, *outputs.shape)), noise)
    counts = (np.asarray(drawn)[:, None] == np.asarray(values)[None]).all(-1).sum(0)
    assert counts.sum() == n
    assert_drawn_as_often_as_probable(counts, p)


@pytest.mark.parametrize(("likelihood", "channels"), CASES, ids=repr)
def test_draws_grow_with_the_noise_and_cool_down_to_one_value(likelihood, channels):
    outputs = 2.0 * jax.random.normal(jax.random.key(2), (1, likelihood.unit_outputs(channels)))
    every = likelihood.unit_noise(channels)
    noise = jnp.broadcast_to(jnp.linspace(0.001, 0.999, 500)[:, None], (500, every))
    draw = functools.partial(likelihood.draw, jnp.broadcast_to(outputs, (500, outputs.shape[1])))
    # The component's numbers apart, which have no order: the last are of the last channel's value.
    bits = n_halvings(likelihood.levels)
    grown = draw(noise.at[:, : every - bits].set(0.3))[:, -1]
    assert (np.diff(grown) >= 0).all()
    assert grown[0] < grown[-1]
    cold = draw(noise, temperature=1e-5)
    assert len(np.unique(np.asarray(cold), axis=0)) <= 2  # at noise of one half a tie may break


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("log_scale", [-7.0, -5.0, -3.0, 0.0, 7.0])
def test_256_levels_are_drawn_as_often_as_they_are_probable(log_scale, temperature):
    """From a fraction of a bin to tails that hold all; means within, at and past an end."""
    likelihood, n = LogisticMixture(3), 100_000
    logits, means = np.array([0.5, 0.0, 0.2]), np.array([-0.3, 1.0, -1.1])
    log_scales = np.full(3, log_scale) + [0.0, 0.3, -0.3]
    outputs = jnp.asarray(np.concatenate([logits, means, log_scales]), jnp.float32)
    drawn = draw_many(likelihood, outputs, n, temperature)[:, 0]
    # The density holds the scales within bounds; the temperature may take them beyond.
    held = np.clip(log_scales, -1.5 - np.log(256.0), 7.0) + np.log(temperature)
    edges = (2.0 * np.arange(257) - 1.0) / 255 - 1.0
    edges[[0, -1]] = -np.inf, np.inf
    below = special.expit((edges[:, None] - means) / np.exp(held))
    p = np.diff(below, axis=0) @ special.softmax(logits / temperature)
    assert_drawn_as_often_as_probable(np.bincount(drawn, minlength=256), p)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_category_is_drawn_as_often_as_it_is_probable(temperature):
    likelihood, n = Categorical(200), 100_000
    logits = np.random.default_rng(0).normal(size=200)
    logits[[3, 4, 150]] = -np.inf
    drawn = draw_many(likelihood, jnp.asarray(logits, jnp.float32), n, temperature)[:, 0]
    counts = np.bincount(drawn, minlength=200)
    assert (counts[[3, 4, 150]] == 0).all()
    assert_drawn_as_often_as_probable(counts, special.softmax(logits / temperature))


@pytest.mark.parametrize("width", [8.0, 40.0, 127.0])
@pytest.mark.parametrize("kind", ["mixture", "categorical"])
def test_nearly_equal_distributions_nearly_always_draw_the_same(kind, width):
    """A shift by one of 256 levels changes as many draws as it moves probability, or little more;
    by inverse distribution functions it would change all."""
    n, likelihood = 100_000, LogisticMixture(1) if kind == "mixture" else Categorical(256)

    def outputs(mean, width):
        if kind == "categorical":
            return -0.5 * ((jnp.arange(256.0) - mean) / width) ** 2
        return jnp.stack([0.0, mean / 127.5 - 1.0, jnp.log(width / 127.5)])

    @jax.jit
    def draw_and_score(mean, width):
        x = outputs(mean, width)
        values = jnp.arange(256)[:, None]
        log_p = likelihood.unit_log_prob(jnp.broadcast_to(x, (256, len(x))), values)
        return draw_many(likelihood, x, n, 1.0), jnp.exp(log_p)

    (drawn_p, p), (drawn_q, q) = (draw_and_score(100.3 + d, width + 0.3 * d) for d in (0.0, 1.0))
    distance = 0.5 * float(jnp.abs(p - q).sum())  # in total variation
    differ = float((drawn_p != drawn_q).mean())
    assert 0.0 < distance < 0.6 / width
    assert 0.7 * distance < differ < 3.0 * distance  # no coupling is below 1, halves are below 16


def test_what_is_given_is_kept_and_seen_by_the_channels_after_it():
    likelihood = LogisticMixture(1, 256)
    # One narrow component whose second channel follows the first.
    outputs = jnp.array([[0.0, 0.0, 0.0, -6.0, -6.0, 5.0]])
    noise = jnp.full((1, likelihood.unit_noise(2)), 0.5)
    free = likelihood.draw(outputs, noise)
    given = Given(jnp.array([[255, 0]]), jnp.array([[True, False]]))
    held = likelihood.draw(outputs, noise, given=given)
    assert abs(int(free[0, 1]) - 127.5) < 1
    assert int(held[0, 0]) == 255
    assert int(held[0, 1]) > 250
    for simple in (Bernoulli(), Categorical(3)):
        blank = simple.quantize(jnp.full((1, 1), 255, jnp.uint8))
        kept = simple.draw(
            jnp.full((1, simple.unit_outputs(1)), 0.0),
            jnp.full((1, simple.unit_noise(1)), 0.01),
            given=Given(blank, jnp.array([[True]])),
        )
        np.testing.assert_array_equal(kept, blank)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("mask", [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)], ids=str)
def test_mixture_draws_each_channel_given_those_before_it(mask, temperature):
    """By brute force: p(x_c | x_<c) of every free channel, where x_<c tells of the component."""
    n, mask = 20_000, np.array(mask, bool)
    likelihood = LogisticMixture(2, levels=4)
    logits, means = [0.5, 0.0], [[-0.9, 0.8], [0.7, -0.8], [-0.8, 0.9]]  # of channels, components
    log_scales, coefficients = np.full((3, 2), -2.0), np.full((3, 2), 0.1)
    parts = [logits, means, log_scales, coefficients]
    outputs = jnp.asarray(np.concatenate([np.ravel(part) for part in parts]), jnp.float32)
    given = Given(jnp.array([[3, 0, 2]]), jnp.asarray(mask[None]))
    noise = noise_of(likelihood, n, channels=3)
    draw = jax.jit(functools.partial(likelihood.draw, temperature=temperature))
    drawn = np.asarray(draw(jnp.broadcast_to(outputs, (n, len(outputs))), noise, given=given))

    # The temperature is in logits and scales: so sharpened, it is a mixture again.
    sharp = [np.divide(logits, temperature), means, log_scales + np.log(temperature), coefficients]
    sharp = jnp.asarray(np.concatenate([np.ravel(part) for part in sharp]), jnp.float32)
    values = all_values(likelihood, 3)
    log_p = likelihood.unit_log_prob(jnp.broadcast_to(sharp, (len(values), len(sharp))), values)
    joint = np.exp(np.asarray(log_p, np.float64)).reshape(4, 4, 4)
    expected = np.ones((4, 4, 4))
    for c, held in enumerate(mask):
        upto = joint.sum(tuple(range(c + 1, 3)), keepdims=True)
        conditional = upto / upto.sum(c, keepdims=True)
        fixed = np.eye(4)[int(given.value[0, c])].reshape(*(-1 if i == c else 1 for i in range(3)))
        expected = expected * (fixed if held else conditional)
    counts = np.zeros((4, 4, 4))
    np.add.at(counts, tuple(drawn.T), 1)
    assert_drawn_as_often_as_probable(counts, expected)


@pytest.mark.parametrize("log_scale", [-100.0, -7.0, -3.0, 0.0, 7.0, 100.0])
@pytest.mark.parametrize("mean", [-100.0, -1.0, 0.1, 1.0, 100.0])
def test_mixture_sums_to_one_over_256_levels_at_any_parameters(mean, log_scale):
    likelihood = LogisticMixture(2)
    outputs = jnp.array([0.3, -5.0, mean, -mean, log_scale, 0.5 * log_scale])
    log_p = likelihood.unit_log_prob(jnp.broadcast_to(outputs, (256, 6)), jnp.arange(256)[:, None])
    np.testing.assert_allclose(np.exp(np.asarray(log_p, np.float64)).sum(), 1.0, rtol=2e-5)


def test_mixture_is_the_difference_of_distribution_functions_in_every_bin():
    likelihood = LogisticMixture(2, levels=16)
    logits, means, log_scales = np.array([0.5, -1.0]), np.array([-0.2, 0.8]), np.array([-2.0, -0.5])
    outputs = jnp.asarray(np.concatenate([logits, means, log_scales]), jnp.float32)
    log_p = likelihood.unit_log_prob(jnp.broadcast_to(outputs, (16, 6)), jnp.arange(16)[:, None])
    edges = (np.arange(17) - 0.5) * 2 / 15 - 1
    edges[0], edges[-1] = -np.inf, np.inf
    cdf = stats.logistic.cdf(edges[:, None], means, np.exp(log_scales))
    expected = np.log(np.diff(cdf, axis=0) @ special.softmax(logits))
    np.testing.assert_allclose(log_p, expected, rtol=2e-4)


def test_mixture_channels_depend_linearly_on_those_before():
    likelihood = LogisticMixture(1, levels=256)
    value = jnp.array([[200, 40, 90]])
    x = 2.0 * value[0] / 255 - 1.0
    means, coefficients = jnp.array([0.1, -0.2, 0.3]), jnp.array([0.5, -0.4, 0.9])
    outputs = jnp.concatenate([jnp.zeros(1), means, jnp.full(3, -2.0), coefficients])[None]
    joint = likelihood.unit_log_prob(outputs, value)[0]
    a = jnp.tanh(coefficients)
    shifted = means + jnp.stack([jnp.zeros(()), a[0] * x[0], a[1] * x[0] + a[2] * x[1]])
    alone = [
        likelihood.unit_log_prob(jnp.array([[0.0, shifted[c], -2.0]]), value[:, c : c + 1])[0]
        for c in range(3)
    ]
    np.testing.assert_allclose(joint, sum(alone), rtol=1e-5)


def test_mixture_has_finite_gradients_at_extreme_parameters():
    likelihood = LogisticMixture(2)
    extremes = jnp.asarray(np.array(list(itertools.product([-100.0, 0.0, 100.0], repeat=3))))
    n = likelihood.unit_outputs(3)
    outputs = jnp.tile(extremes.astype(jnp.float32), (1, -(-n // 3)))[:, :n]

    def total(outputs):
        levels = [jnp.full((len(outputs), 3), v) for v in (0, 1, 128, 254, 255)]
        return sum(likelihood.unit_log_prob(outputs, v).sum() for v in levels)

    value, slope = jax.jit(jax.value_and_grad(total))(outputs)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_a_mixture_without_components_is_refused():
    with pytest.raises(ValueError, match="components must be 1 or more, got 0"):
        LogisticMixture(0)
