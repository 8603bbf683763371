import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from gen_jax import training
from gen_jax.adversarial import StyleEncoder, TextDiscriminator, TextGenerator, style, text_to_image
from gen_jax.images import as_symmetric
from gen_jax.nn.condition import Condition
from gen_jax.state import example_keys

SHAPE, SIZE, N, K = (8, 8, 1), 5, 6, 2
STEP = jax.jit(style.train_step)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return {
        "image": jnp.asarray(random.integers(0, 256, (N, *SHAPE)), jnp.uint8),
        "vector": jnp.asarray(random.normal(size=(N, K, SIZE)), jnp.float32),
    }


@pytest.fixture(scope="module")
def trained(batch):
    """A game of which the averaged parameters are not the newest."""
    pair = (
        TextGenerator(2, image_shape=SHAPE, latent_dim=3, text_dim=4),
        TextDiscriminator(2, text_dim=4),
    )
    tx = optax.adam(1e-1)
    init = functools.partial(text_to_image.init, *pair, tx, tx, ema_decay=0.5)
    run = jax.jit(functools.partial(text_to_image.train_step, mismatched=False))
    return run(jax.jit(init)(jax.random.key(0), batch), batch)[0]


def make(trained, batch, *, rate=1e-2, norm="none", features=4):
    encoder = StyleEncoder(features, latent_dim=3, norm=norm)
    init = functools.partial(style.init, encoder, optax.adam(rate))
    return jax.jit(init)(jax.random.key(1), trained, batch)


def test_the_step_by_hand(trained, batch):
    """Section 4.4: the squared distance of a latent and what S finds in the image made of it."""
    state = make(trained, batch)
    after, metrics = STEP(state, batch)

    @jax.jit
    def by_hand(state):
        keys = {
            name: example_keys(key, jnp.arange(N))
            for name, key in state.step_keys("noise", "text").items()
        }
        z = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys["noise"])
        which = jax.vmap(lambda key: jax.random.randint(key, (), 0, K))(keys["text"])
        cond = Condition(vector=batch["vector"][jnp.arange(N), which])
        generator = trained.generator
        x = generator.model.apply(generator.eval_variables, z, cond, train=False)

        def loss(params):
            return ((z - state.model.apply({"params": params}, x, train=True)) ** 2).sum(-1).mean()

        value, grads = jax.value_and_grad(loss)(state.params)
        return value, state.apply_gradients(grads).params

    value, params = by_hand(state)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    for ours, expected in zip(*map(jax.tree.leaves, (after.params, params)), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_generator_stays_and_the_styles_distance_falls(trained, batch):
    state = make(trained, batch, features=8)

    @jax.jit
    def run(state):
        return jax.lax.scan(lambda state, _: style.train_step(state, batch), state, length=150)

    after, metrics = run(state)
    assert metrics["loss"][-20:].mean() < 0.8 * metrics["loss"][:5].mean()
    for a, b in zip(
        *map(jax.tree.leaves, (state.generator_variables, after.generator_variables)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_donated_state_leaves_the_game_as_it_is(trained, batch):
    state = make(trained, batch)
    jax.block_until_ready(jax.jit(style.train_step, donate_argnums=0)(state, batch))
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(trained))


def test_a_style_is_what_the_encoder_finds_under_a_new_text(trained, batch):
    state = make(trained, batch, norm="batch")
    vectors = batch["vector"][:, 1]
    found = jax.jit(style.transfer)(state, batch["image"], vectors)
    z = state.model.apply(state.eval_variables, as_symmetric(batch["image"]), train=False)
    np.testing.assert_allclose(style.encode(state, batch["image"]), z, atol=1e-5)
    x = text_to_image.generate(trained, z, vectors)
    assert found.shape == (N, *SHAPE)
    assert found.dtype == jnp.uint8
    assert np.abs(np.asarray(found, int) - np.asarray(x, int)).max() <= 1
    own = np.asarray(style.transfer(state, batch["image"], batch["vector"][:, 0]), np.float64)
    expected = np.abs(own - np.asarray(batch["image"])).mean((1, 2, 3))
    np.testing.assert_allclose(style.eval_step(state, batch)["l1"], expected, rtol=1e-4)


def test_latents_must_be_those_of_the_generator(trained, batch):
    encoder = StyleEncoder(2, latent_dim=4)
    with pytest.raises(ValueError, match=r"takes latents \(3,\), the encoder gives \(4,\)"):
        style.init(encoder, optax.sgd(0.1), jax.random.key(0), trained, batch)


def test_a_resumed_run_is_the_one_that_was_not_interrupted(trained, batch, tmp_path):
    def run(state, steps):
        for _ in range(steps):
            state, _ = STEP(state, batch)
        return state

    start = make(trained, batch, norm="batch")
    saves = training.checkpoint.Checkpoints(tmp_path / "checkpoints")
    saves.save(2, run(start, 2), {}, {})
    saves.wait()
    saves.close()
    resumed = run(training.restore(tmp_path, start), 2)
    digests = [training.params_digest(state.params) for state in (run(start, 4), resumed)]
    assert digests[0] == digests[1]


def test_the_step_and_transfers_lower_for_every_platform(trained, batch):
    platforms = ("cpu", "cuda", "tpu")
    state = make(trained, batch, norm="batch")
    for function, *args in (
        (style.train_step, state, batch),
        (style.eval_step, state, batch),
        (style.transfer, state, batch["image"], batch["vector"][:, 0]),
    ):
        exported = export.export(jax.jit(function), platforms=platforms)(*args)
        assert exported.platforms == platforms
