import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from gen_jax.evaluation import active_units, average, importance_log_likelihood
from gen_jax.state import TrainState, example_keys


def gaussian_weights(keys, x):
    """Log-weights that are N(x, 1): the mean weight is exp(x + 1/2)."""
    numbers = jnp.arange(len(x))
    noise = jax.vmap(lambda key: jax.vmap(jax.random.normal)(example_keys(key, numbers)))(keys)
    return x[None] + noise


@pytest.fixture(scope="module")
def state():
    return TrainState.create(
        model=None, tx=optax.identity(), params={"w": jnp.ones(1)}, key=jax.random.key(0)
    )


def batches(n, batch_size):
    values = np.arange(n, dtype=np.float32)
    for first in range(0, n, batch_size):
        part = values[first : first + batch_size]
        padding = batch_size - len(part)
        yield {
            "image": np.pad(part, (0, padding), constant_values=np.nan),
            "mask": np.arange(batch_size) < len(part),
        }


def test_average_counts_each_example_once_and_no_padding(state):
    def eval_step(state, batch):
        assert "mask" not in batch
        return {"value": batch["image"], "square": batch["image"] ** 2}

    means = average(eval_step, state, batches(10, 4))
    assert means == {"value": 4.5, "square": 28.5}
    assert all(isinstance(mean, float) for mean in means.values())


def echo(state, batch):
    return {"x": batch["x"]}


def test_average_takes_batches_without_a_mask_whole(state):
    means = average(echo, state, [{"x": np.arange(3.0)}, {"x": np.ones(1)}])
    assert means == {"x": 1.0}


def test_average_adds_in_double_precision(state):
    batch = {"x": np.full(1000, 16_777_217 / 16_777_216 * 1e4, np.float64).astype(np.float32)}
    mean = average(echo, state, [batch] * 50)["x"]
    assert mean == float(batch["x"][0])


@pytest.mark.parametrize("batch_size", [1, 4, 10])
def test_each_example_has_noise_of_its_own_whatever_the_size_of_batches(state, batch_size):
    seen = []

    def eval_step(state, batch):
        keys = example_keys(state.evaluation_keys("noise")["noise"], batch["number"])
        seen.append(np.asarray(jax.vmap(jax.random.normal)(keys)))
        return {"noise": seen[-1]}

    average(eval_step, state, batches(10, batch_size))
    key = state.evaluation_keys("noise")["noise"]
    expected = jax.vmap(jax.random.normal)(example_keys(key, jnp.arange(10)))
    np.testing.assert_array_equal(np.concatenate(seen)[:10], expected)
    assert len(np.unique(expected)) == 10


@pytest.mark.parametrize(
    "nothing", [[], [{"x": np.ones(2), "mask": np.zeros(2, bool)}]], ids=["empty", "masked"]
)
def test_average_of_nothing_is_refused(state, nothing):
    with pytest.raises(ValueError, match="no examples to average over"):
        average(echo, state, nothing)


@pytest.mark.parametrize("chunk", [1, 5, 60])
def test_chunks_change_nothing(chunk):
    x = jnp.array([0.0, -300.0, 80.0])
    estimate = functools.partial(importance_log_likelihood, gaussian_weights, n_samples=60)
    key = jax.random.key(0)
    whole = estimate(key, x, chunk=60)
    np.testing.assert_allclose(estimate(jax.random.clone(key), x, chunk=chunk), whole, 2e-6, 1e-6)


def test_estimate_is_the_log_of_the_mean_weight():
    x = jnp.array([0.0, -500.0])
    seen = []

    def recorded(keys, x):
        weights = gaussian_weights(keys, x)
        jax.debug.callback(lambda w: seen.append(np.asarray(w, np.float64)), weights)
        return weights

    estimate = importance_log_likelihood(recorded, jax.random.key(0), x, n_samples=40, chunk=10)
    jax.effects_barrier()
    log_weights = np.concatenate(seen)
    assert log_weights.shape == (40, 2)
    assert len(np.unique(log_weights)) == 80  # no noise is used twice
    expected = special.logsumexp(log_weights, axis=0) - math.log(40)
    np.testing.assert_allclose(estimate, expected, rtol=1e-6)


def test_estimate_approaches_the_exact_value():
    n = 40_000
    estimate = importance_log_likelihood(
        gaussian_weights, jax.random.key(0), jnp.array([-90.0, 3.0]), n_samples=n, chunk=1000
    )
    error = math.sqrt((math.e - 1) / n)  # of the log of a log-normal's mean
    np.testing.assert_allclose(estimate, [-89.5, 3.5], atol=5 * error)


def test_weights_of_minus_infinity_count_as_nothing():
    def half(keys, x):
        odd = jnp.arange(len(keys)) % 2 == 1
        return jnp.where(odd[:, None], -jnp.inf, x[None] + jnp.zeros((len(keys), 1)))

    x = jnp.array([-7.0])
    estimate = importance_log_likelihood(half, jax.random.key(0), x, n_samples=6, chunk=2)
    np.testing.assert_allclose(estimate, -7.0 - math.log(2), rtol=1e-6)


@pytest.mark.parametrize(("n_samples", "chunk"), [(10, 3), (10, 20), (0, 1), (10, 0)])
def test_chunks_must_divide_the_samples(n_samples, chunk):
    with pytest.raises(ValueError, match=f"chunk must divide n_samples, got {chunk} and"):
        importance_log_likelihood(
            gaussian_weights, jax.random.key(0), jnp.zeros(1), n_samples=n_samples, chunk=chunk
        )


def test_dead_latents_are_not_counted_active():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(5000, 4)) * [1.0, 0.11, 0.09, 0.0] + [0.0, 5.0, 5.0, 5.0]
    np.testing.assert_array_equal(active_units(means), [True, True, False, False])
    np.testing.assert_array_equal(active_units(means, threshold=0.5), [True] + [False] * 3)
