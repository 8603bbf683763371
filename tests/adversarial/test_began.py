import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from gen_jax.adversarial import began, gan
from gen_jax.adversarial.began_networks import BEGANDecoder, BEGANDiscriminator

SHAPE = (8, 8, 1)


def make(tx=None):
    tx = tx or optax.adam(1e-3)
    generator = BEGANDecoder(2, image_shape=SHAPE, latent_dim=3)
    discriminator = BEGANDiscriminator(2, latent_dim=3)
    init = functools.partial(began.init, generator, discriminator, tx, tx, ema_decay=0.9)
    return jax.jit(init)(jax.random.key(0), jnp.zeros((1, *SHAPE), jnp.uint8))


@pytest.fixture(scope="module")
def batch():
    images = np.random.default_rng(0).integers(0, 256, (6, *SHAPE))
    return {"image": jnp.asarray(images, jnp.uint8)}


@pytest.fixture(scope="module")
def step():
    return jax.jit(functools.partial(began.train_step, gamma=0.6, lambda_k=0.5))


def test_k_and_m_follow_the_papers_equations_by_hand(batch, step):
    """Section 3.4, over steps in which both errors are measured apart from the step."""
    state = make()
    assert float(state.k) == 0.0
    k = 0.0
    for _ in range(4):
        before = state
        state, metrics = step(state, batch)
        real, fake = float(metrics["real/error"]), float(metrics["generated/error"])
        x = gan.as_made(batch["image"])
        y = before.discriminator.model.apply({"params": before.discriminator.params}, x)
        np.testing.assert_allclose(real, np.abs(x - y).mean(), rtol=1e-5)
        np.testing.assert_allclose(metrics["k"], k, atol=1e-6)
        np.testing.assert_allclose(metrics["convergence"], real + abs(0.6 * real - fake), rtol=1e-5)
        k = min(max(k + 0.5 * (0.6 * real - fake), 0.0), 1.0)
        np.testing.assert_allclose(state.k, k, atol=1e-6)


@pytest.mark.parametrize(("level", "bound"), [(0, 1.0), (128, 0.0)])
def test_k_stays_within_its_bounds(step, level, bound):
    """New networks make gray images and see all as gray: black ones err much, gray ones do not."""
    state = dataclasses.replace(make(), k=jnp.float32(bound))
    after, metrics = step(state, {"image": jnp.full((6, *SHAPE), level, jnp.uint8)})
    balance = 0.6 * float(metrics["real/error"]) - float(metrics["generated/error"])
    assert (balance > 0.0) == (bound == 1.0)  # it would leave them
    assert float(after.k) == bound


def test_the_generator_moves_by_its_own_error_alone(batch, step):
    """Its update does not depend on k, which weighs generated images for the discriminator."""
    state = make()
    low, _ = step(state, batch)
    high, _ = step(dataclasses.replace(state, k=jnp.float32(1.0)), batch)
    chex.assert_trees_all_equal(low.generator.params, high.generator.params)
    changed = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), low.discriminator.params, high.discriminator.params
    )
    assert any(jax.tree.leaves(changed))


def test_the_rate_is_halved_where_m_no_longer_falls():
    tx = began.plateau(optax.sgd(1.0), patience=2, min_scale=0.2)
    params = jnp.ones(())
    state, sizes = tx.init(params), []
    for value in [4.0, 4.0, 3.0, 3.0, 3.5, 3.5, 2.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]:
        update, state = tx.update(jnp.ones(()), state, params, value=value)
        sizes.append(-float(update))
    assert sizes[:5] == [1.0] * 5  # two means that fell
    assert sizes[6:8] == [0.5] * 2  # 3.5 was no improvement, 2.0 is
    assert sizes[-1] == pytest.approx(0.2)  # and then on and on, down to the least


def test_a_wrong_gamma_is_refused(batch):
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\], got 1.5"):
        jax.eval_shape(functools.partial(began.train_step, gamma=1.5), jax.eval_shape(make), batch)


def test_the_step_lowers_for_every_platform(batch):
    platforms = ("cpu", "cuda", "tpu")
    state = make(began.plateau(optax.adam(1e-3), patience=3))
    exported = export.export(jax.jit(began.train_step), platforms=platforms)(state, batch)
    assert exported.platforms == platforms
