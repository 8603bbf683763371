import dataclasses
import functools

import chex
import flax.linen as nn
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
    return jax.jit(init)(jax.random.key(0), {"image": jnp.zeros((1, *SHAPE), jnp.uint8)})


@pytest.fixture(scope="module")
def batch():
    images = np.random.default_rng(0).integers(0, 256, (6, *SHAPE))
    return {"image": jnp.asarray(images, jnp.uint8)}


@pytest.fixture(scope="module")
def step():
    return jax.jit(functools.partial(began.train_step, gamma=0.6, lambda_k=0.5))


def error(network, params, x):
    """L(x), by hand."""
    return jnp.abs(x - network.model.apply({"params": params}, x)).mean()


def drawn(state, name, params=None):
    """What the generator makes in the coming step for one player's loss, by hand."""
    keys = dict(
        zip(
            ("discriminator", "generator"),
            jax.random.split(jax.random.fold_in(state.key, state.step), 2),
            strict=True,
        )
    )
    z = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0))(
        jax.vmap(jax.random.fold_in, (None, 0))(keys[name], jnp.arange(6))
    )
    params = state.generator.params if params is None else params
    return state.generator.model.apply({"params": params}, z)


def test_k_and_m_follow_the_papers_equations_by_hand(batch, step):
    """Section 3.4, over steps in which both errors are measured apart from the step."""
    state = make()
    assert float(state.k) == 0.0
    k = 0.0
    for _ in range(4):
        before = state
        state, metrics = step(state, batch)
        network = before.discriminator
        real = float(error(network, network.params, gan.as_symmetric(batch["image"])))
        fake = float(error(network, network.params, drawn(before, "generator")))
        np.testing.assert_allclose(metrics["real/error"], real, rtol=1e-5)
        np.testing.assert_allclose(metrics["generated/error"], fake, rtol=1e-5)
        np.testing.assert_allclose(metrics["k"], k, atol=1e-6)
        np.testing.assert_allclose(metrics["convergence"], real + abs(0.6 * real - fake), rtol=1e-5)
        k = min(max(k + 0.5 * (0.6 * real - fake), 0.0), 1.0)
        np.testing.assert_allclose(state.k, k, atol=1e-6)


def test_both_players_descend_their_own_loss_by_hand(batch, step):
    """L_D = L(x) - k L(G(z_D)), L_G = L(G(z_G)), each by plain gradient descent."""
    state = dataclasses.replace(make(optax.sgd(1.0)), k=jnp.float32(0.7))
    after, _ = step(state, batch)
    network, x = state.discriminator, gan.as_symmetric(batch["image"])

    def d_loss(params):
        fake = drawn(state, "discriminator")
        return error(network, params, x) - 0.7 * error(network, params, fake)

    def g_loss(params):
        return error(network, network.params, drawn(state, "generator", params))

    for player, loss in (("discriminator", d_loss), ("generator", g_loss)):
        params = getattr(state, player).params
        expected = jax.tree.map(jnp.subtract, params, jax.jit(jax.grad(loss))(params))
        chex.assert_trees_all_close(getattr(after, player).params, expected, atol=1e-6)


def test_networks_of_ones_own_with_statistics_play_too(batch):
    """Called as ``gan``'s are; the discriminator's statistics follow, and evaluation reads them."""

    class Painter(nn.Module):
        image_shape: tuple[int, int, int] = SHAPE
        latent_dim: int = 3

        @nn.compact
        def __call__(self, z, cond, *, train):
            return nn.Dense(64)(z).reshape(-1, *self.image_shape)

    class Autoencoder(nn.Module):
        @nn.compact
        def __call__(self, x, cond, *, train):
            code = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x.reshape(len(x), -1)))
            return nn.Dense(64)(code).reshape(x.shape)

    tx = optax.sgd(0.1)
    init = functools.partial(began.init, Painter(), Autoencoder(), tx, tx)
    state = jax.jit(init)(jax.random.key(0), {"image": jnp.zeros((1, *SHAPE), jnp.uint8)})
    after, _ = jax.jit(began.train_step)(state, batch)
    before, now = state.discriminator.model_state, after.discriminator.model_state
    assert not np.allclose(
        before["batch_stats"]["BatchNorm_0"]["mean"], now["batch_stats"]["BatchNorm_0"]["mean"]
    )
    evaluate = jax.jit(began.eval_step)
    whole = evaluate(after, batch)["error"]
    one = evaluate(after, {"image": batch["image"][:1]})["error"]
    np.testing.assert_allclose(one, whole[:1], rtol=1e-5)  # of itself, not of its batch


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
