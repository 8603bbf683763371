import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import adversarial
from gen_jax.adversarial import gan, queries
from gen_jax.interpolation import linear, spherical, walk


def make(n_classes=None):
    pair = (
        adversarial.DenseGenerator((8,), image_shape=(3, 4, 1), latent_dim=5, n_classes=n_classes),
        adversarial.DenseDiscriminator((8,), n_classes=n_classes),
    )
    init = functools.partial(gan.init, *pair, optax.sgd(0.1), optax.sgd(0.1), ema_decay=0.5)
    image, label = jnp.zeros((1, 3, 4, 1), jnp.uint8), jnp.zeros((1,), jnp.int32)
    return init(jax.random.key(0), {"image": image, "label": label})


def test_many_samples_can_be_drawn_in_parts():
    state, key = make(), jax.random.key(1)
    whole = adversarial.sample(state, key, 7)
    parts = [
        adversarial.sample(state, key, len(numbers), numbers=numbers)
        for numbers in (jnp.arange(3), jnp.arange(3, 7))
    ]
    assert whole.dtype == jnp.uint8
    assert whole.shape == (7, 3, 4, 1)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(np.unique(np.asarray(whole).reshape(7, -1), axis=0)) == 7


def test_samples_use_the_averaged_parameters():
    state = make()
    black = jax.tree.map(jnp.zeros_like, state.generator.params)
    averaged = state.replace(generator=state.generator.replace(ema_params=black))
    assert np.all(np.asarray(adversarial.sample(averaged, jax.random.key(0), 2)) == 128)


def test_a_conditional_generator_goes_through_its_classes_in_turn():
    state, key = make(n_classes=3), jax.random.key(1)
    z = adversarial.latents(state, key, 5)
    expected = adversarial.generate(state, z, jnp.asarray([0, 1, 2, 0, 1]))
    np.testing.assert_array_equal(adversarial.sample(state, key, 5), expected)
    rest = adversarial.sample(state, key, 2, numbers=jnp.array([4, 1]))
    np.testing.assert_array_equal(rest, expected[jnp.array([4, 1])])


def test_truncated_latents_stay_within_their_limit():
    z = adversarial.latents(make(), jax.random.key(0), 200, prior=queries.truncated_normal(0.5))
    assert float(jnp.abs(z).max()) <= 0.5
    assert float(z.std()) == pytest.approx(0.28, abs=0.02)


def test_latents_are_the_games_own_unless_others_are_asked_for():
    state, key = make().replace(prior=lambda key, shape: jnp.full(shape, 0.25)), jax.random.key(0)
    assert np.all(np.asarray(adversarial.latents(state, key, 3)) == 0.25)
    assert np.any(np.asarray(adversarial.latents(state, key, 3, prior=jax.random.normal)) != 0.25)
    expected = adversarial.generate(state, jnp.full((2, 5), 0.25))
    np.testing.assert_array_equal(adversarial.sample(state, key, 2), expected)


def test_walks_go_from_start_to_end():
    state = make()
    z = adversarial.latents(state, jax.random.key(0), 4)
    strip = adversarial.interpolation(state, z[:2], z[2:], size=5)
    assert strip.shape == (2, 5, 3, 4, 1)
    np.testing.assert_array_equal(strip[:, 0], adversarial.generate(state, z[:2]))
    np.testing.assert_array_equal(strip[:, -1], adversarial.generate(state, z[2:]))


def test_paths_keep_what_they_promise():
    start, end = jnp.asarray([[3.0, 0.0]]), jnp.asarray([[0.0, 3.0]])
    arc = walk(start, end, size=7, path=spherical)
    np.testing.assert_allclose(jnp.linalg.norm(arc, axis=-1), 3.0, rtol=1e-5)
    chord = walk(start, end, size=7, path=linear)
    np.testing.assert_allclose(chord.sum(-1), 3.0, rtol=1e-5)


def test_arithmetic_is_of_mean_codes():
    state = make()
    base, minus, plus = (
        adversarial.latents(state, jax.random.key(i), n) for i, n in enumerate((3, 2, 4))
    )
    expected = jnp.stack([base.mean(0), minus.mean(0), plus.mean(0)])
    expected = jnp.concatenate([expected, (expected[0] - expected[1] + expected[2])[None]])
    np.testing.assert_array_equal(
        adversarial.arithmetic(state, base, minus, plus),
        adversarial.generate(state, expected),
    )


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: adversarial.sample(make(), jax.random.key(0), 0), "1 or more examples"),
        (lambda: queries.truncated_normal(0.0), "positive limit, got 0.0"),
        (
            lambda: adversarial.generate(make(), jnp.zeros((2, 5)), jnp.zeros((2,), jnp.int32)),
            "takes no labels",
        ),
        (lambda: adversarial.generate(make(3), jnp.zeros((2, 5))), "of 3 classes needs a label"),
    ],
)
def test_mistakes_are_named(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()
