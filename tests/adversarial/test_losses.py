import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.adversarial import losses

LOGITS = np.array([-100.0, -3.0, 0.0, 0.5, 100.0])
REAL, FAKE = np.array([0.3, -2.0, 4.0]), np.array([1.5, 0.0, -0.7])


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


# The papers' formulas as they stand: discriminator's (real, generated), generator's.
FORMULAS = {
    "minimax": (
        losses.minimax,
        lambda r, f: -np.log(sigmoid(r)) - np.log(1.0 - sigmoid(f)),
        lambda f: np.log(1.0 - sigmoid(f)),
    ),
    "non_saturating": (
        losses.non_saturating,
        lambda r, f: -np.log(sigmoid(r)) - np.log(1.0 - sigmoid(f)),
        lambda f: -np.log(sigmoid(f)),
    ),
    "least_squares 0-1": (
        losses.least_squares(),
        lambda r, f: 0.5 * (r - 1.0) ** 2 + 0.5 * f**2,
        lambda f: 0.5 * (f - 1.0) ** 2,
    ),
    "least_squares chi-squared": (
        losses.least_squares(-1.0, 1.0, 0.0),
        lambda r, f: 0.5 * (r - 1.0) ** 2 + 0.5 * (f + 1.0) ** 2,
        lambda f: 0.5 * f**2,
    ),
    "hinge": (
        losses.hinge,
        lambda r, f: np.maximum(0.0, 1.0 - r) + np.maximum(0.0, 1.0 + f),
        lambda f: -f,
    ),
    "wasserstein": (losses.wasserstein, lambda r, f: f - r, lambda f: -f),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_the_papers_formulas(name):
    loss, discriminator, generator = FORMULAS[name]
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    np.testing.assert_allclose(
        loss.discriminator(real, fake), discriminator(REAL, FAKE), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(loss.generator(fake), generator(FAKE), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_extreme_logits_give_finite_losses_and_gradients(name):
    loss = FORMULAS[name][0]
    x = jnp.asarray(LOGITS, jnp.float32)
    for term in (loss.real, loss.fake, loss.generator):
        chex.assert_tree_all_finite((term(x), jax.grad(lambda x, t=term: t(x).sum())(x)))


def test_only_the_non_saturating_generator_learns_from_certain_rejection():
    """Section 3 of the first paper: where D is sure, log(1 - D) has no slope and log D has one."""
    sure = jnp.float32(-20.0)
    assert abs(jax.grad(losses.minimax.generator)(sure)) < 1e-6
    np.testing.assert_allclose(jax.grad(losses.non_saturating.generator)(sure), -1.0, rtol=1e-6)


def test_the_discriminator_refuses_logits_that_do_not_pair_up():
    with pytest.raises(ValueError, match=r"must pair up, got \(3,\) and \(2,\)"):
        losses.hinge.discriminator(jnp.zeros(3), jnp.zeros(2))


def keys_of(n):
    return jax.random.split(jax.random.key(0), n)


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope():
    weight = jnp.asarray([[0.6], [-0.8], [2.0]])
    real, fake = jnp.ones((4, 3)), jnp.zeros((4, 3))

    def critic(scale):
        return lambda x: (x @ (scale * weight))[:, 0]

    length = float(jnp.linalg.norm(weight))
    penalty = losses.wgan_gp(critic(1.0), keys_of(4), real, fake)
    np.testing.assert_allclose(penalty, (length - 1.0) ** 2, rtol=1e-5)
    np.testing.assert_allclose(
        losses.wgan_gp(critic(1.0 / length), keys_of(4), real, fake), 0.0, atol=1e-10
    )
    np.testing.assert_allclose(
        losses.r1(critic(1.0), keys_of(4), real, fake), 0.5 * length**2, rtol=1e-5
    )
    ten = losses.weighted(losses.wgan_gp, 10.0)
    np.testing.assert_allclose(ten(critic(1.0), keys_of(4), real, fake), 10.0 * penalty)


def test_the_penalty_looks_between_real_and_generated_examples():
    """The slope of |x|^2 / 2 is x: its length tells where on the way from 0 to 3 it was taken."""
    real, fake = jnp.full((64, 1), 3.0), jnp.zeros((64, 1))
    penalty = losses.wgan_gp(lambda x: 0.5 * (x**2).sum(-1), keys_of(64), real, fake)
    where = 1.0 + jnp.sqrt(penalty)  # or 1 - sqrt, for points below 1
    assert float(penalty.max()) <= 4.0
    assert len(np.unique(np.round(np.asarray(where), 4))) > 50


def test_a_flat_critic_is_penalized_without_nan():
    def value(scale):
        return losses.wgan_gp(
            lambda x: scale * x.sum(-1), keys_of(2), jnp.ones((2, 3)), jnp.zeros((2, 3))
        ).sum()

    value, slope = jax.value_and_grad(value)(jnp.float32(0.0))
    np.testing.assert_allclose(value, 2.0)
    assert np.isfinite(slope)
