import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from gen_jax import training
from gen_jax.adversarial import PatchDiscriminator, UNetGenerator, gan, losses, pix2pix
from gen_jax.adversarial.augmentation import jitter
from gen_jax.adversarial.players import play
from gen_jax.images import as_symmetric
from gen_jax.nn.condition import Condition
from gen_jax.state import example_keys, named_keys

SHAPE, SOURCE = (8, 8, 3), (8, 8, 1)


def networks(**fields):
    generator = UNetGenerator(2, channels=3, depth=2, norm="instance", **fields)
    return generator, PatchDiscriminator(2, receptive_field=16, norm="instance")


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return {
        "image": jnp.asarray(random.integers(0, 256, (4, *SHAPE)), jnp.uint8),
        "spatial": jnp.asarray(random.integers(0, 256, (4, *SOURCE)), jnp.uint8),
    }


def make(batch, *, rate=1e-2, **fields):
    tx = optax.adam(rate, b1=0.5)
    init = functools.partial(pix2pix.init, *networks(**fields), tx, tx, ema_decay=0.5)
    return jax.jit(init)(jax.random.key(0), batch)


@functools.partial(jax.jit, static_argnames=("loss", "distance", "weight", "augment"))
def step(state, batch, **options):
    return pix2pix.train_step(state, batch, **options)


def test_the_step_by_hand(batch):
    """D on pairs of source and image, its loss halved; then G against the new D, and by L1."""
    state = make(batch)
    after, metrics = step(state, batch, weight=10.0)

    @jax.jit
    def by_hand(state):
        real, cond = as_symmetric(batch["image"]), Condition(spatial=batch["spatial"])
        noise = jax.random.fold_in(named_keys(state.key, state.step, *gan.RANDOM)["noise"], 0)
        keys = example_keys(noise, jnp.arange(4))
        d, g = state.discriminator, state.generator

        def judged(params, x):
            return play(d, params, x, cond)[0]

        def d_loss(params):
            fake = play(g, g.params, keys, cond)[0]
            real_loss = jax.nn.softplus(-judged(params, real)).mean()
            return 0.5 * (real_loss + jax.nn.softplus(judged(params, fake)).mean())

        value, grads = jax.value_and_grad(d_loss)(d.params)
        new = d.apply_gradients(grads)

        def g_loss(params):
            fake = play(g, params, keys, cond)[0]
            adversarial = jax.nn.softplus(-judged(new.params, fake)).mean()
            return adversarial + 10.0 * jnp.abs(fake - real).mean()

        total, grads = jax.value_and_grad(g_loss)(g.params)
        return new.params, g.apply_gradients(grads).params, value, total

    d_params, g_params, d_value, g_value = by_hand(state)
    for ours, expected in ((after.discriminator, d_params), (after.generator, g_params)):
        for a, b in zip(*map(jax.tree.leaves, (ours.params, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["discriminator/loss"], d_value, rtol=1e-5)
    total = metrics["generator/loss"] + metrics["generator/extra"]
    np.testing.assert_allclose(total, g_value, rtol=1e-5)


def test_without_a_loss_the_discriminator_rests_and_the_distance_falls(batch):
    state = first = make(batch, dropout_rate=0.0)
    distances = []
    for _ in range(8):
        state, metrics = step(state, batch, loss=None, distance=pix2pix.l2, weight=1.0)
        distances.append(float(metrics["generator/extra"]))
    assert distances[-1] < 0.9 * distances[0]
    digests = [training.params_digest(s.discriminator.params) for s in (first, state)]
    assert digests[0] == digests[1]
    assert set(metrics) == {"generator/extra", "generator/gradient", "diversity"}


def test_without_a_distance_there_is_no_such_term(batch):
    _, metrics = step(make(batch), batch, distance=None)
    assert "generator/extra" not in metrics
    with pytest.raises(ValueError, match="something to minimize"):
        pix2pix.train_step(make(batch), batch, loss=None, distance=None)


def test_another_key_is_another_translation_and_none_has_no_noise(batch):
    state, source = make(batch), batch["spatial"]
    translate = jax.jit(pix2pix.translate)
    one, again, other = (
        np.asarray(translate(state, jax.random.key(seed), source)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert one.shape == (4, *SHAPE)
    assert (one != other).any((1, 2, 3)).all()
    plain = np.asarray(translate(state, None, source))
    assert (plain != one).any()
    part = translate(state, jax.random.key(1), source[2:], numbers=jnp.arange(2, 4))
    np.testing.assert_array_equal(part, one[2:])


def test_translations_use_the_averaged_parameters(batch):
    state = make(batch)
    gray = jax.tree.map(jnp.zeros_like, state.generator.params)
    averaged = state.replace(generator=state.generator.replace(ema_params=gray))
    made = jax.jit(pix2pix.translate)(averaged, None, batch["spatial"])
    assert (np.asarray(made) == 128).all()


def test_evaluation_is_the_distance_in_levels(batch):
    state = make(batch)
    found = jax.jit(pix2pix.eval_step)(state, batch)["l1"]
    made = np.asarray(jax.jit(pix2pix.translate)(state, None, batch["spatial"]), np.float64)
    expected = np.abs(made - np.asarray(batch["image"])).mean((1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_both_sides_of_a_pair_are_augmented_alike(batch):
    """A generator that may copy its source: enlarged and mirrored pairs still agree."""

    class Copy(nn.Module):
        @nn.compact
        def __call__(self, noise, cond, *, train):
            scale = self.param("scale", nn.initializers.ones, ())
            return scale * as_symmetric(cond.spatial)

    same = {"image": batch["image"], "spatial": batch["image"]}
    tx = optax.sgd(0.1)
    init = functools.partial(pix2pix.init, Copy(), networks()[1], tx, tx)
    state = jax.jit(init)(jax.random.key(0), same)
    _, metrics = step(state, same, loss=None, augment=jitter(enlarge=1.5))
    assert float(metrics["generator/extra"]) < 1e-4  # of 100 times the distance


def test_pairs_are_needed(batch):
    with pytest.raises(ValueError, match=r'batch\["spatial"\] is the source'):
        make({"image": batch["image"]})


def test_a_penalty_joins_the_step(batch):
    penalty = losses.weighted(losses.r1, 1.0)
    run = jax.jit(functools.partial(pix2pix.train_step, penalty=penalty))
    _, metrics = run(make(batch), batch)
    assert float(metrics["penalty"]) > 0.0


@pytest.mark.parametrize("loss", [losses.non_saturating, None], ids=["game", "regression"])
def test_the_step_and_translations_lower_for_every_platform(batch, loss):
    platforms = ("cpu", "cuda", "tpu")
    state = make(batch)
    run = functools.partial(pix2pix.train_step, loss=loss, augment=jitter(enlarge=1.5))
    for function, *args in (
        (run, state, batch),
        (pix2pix.eval_step, state, batch),
        (pix2pix.translate, state, jax.random.key(1), batch["spatial"]),
    ):
        exported = export.export(jax.jit(function), platforms=platforms)(*args)
        assert exported.platforms == platforms
