import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from gen_jax.adversarial import PatchDiscriminator, ResNetGenerator, cyclegan
from gen_jax.adversarial.players import play
from gen_jax.images import as_symmetric
from gen_jax.nn.condition import Condition

SHAPE = (9, 10, 3)


def pair_of(network):
    return network, network


def make(batch, *, rate=1e-2, generator=None, pool_size=3, **options):
    generator = generator or ResNetGenerator(2, channels=3, blocks=1)
    init = functools.partial(
        cyclegan.init,
        pair_of(generator),
        pair_of(PatchDiscriminator(2, receptive_field=16, norm="instance")),
        optax.sgd(rate),
        optax.sgd(rate),
        pool_size=pool_size,
        **options,
    )
    return jax.jit(init)(jax.random.key(0), batch)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return {
        name: jnp.asarray(random.integers(0, 256, (2, *SHAPE)), jnp.uint8) for name in ("a", "b")
    }


step = jax.jit(cyclegan.train_step, static_argnames=("cycle_weight", "identity_weight"))


class Scaled(nn.Module):
    """The image times a number, which starts at one: the identity."""

    @nn.compact
    def __call__(self, noise, cond, *, train=False):
        return self.param("scale", nn.initializers.ones, ()) * as_symmetric(cond.spatial)


def test_identity_generators_come_back_and_leave_the_target_alone(batch):
    state = make(batch, generator=Scaled())
    _, metrics = step(state, batch)
    for game in ("forward", "backward"):
        assert float(metrics[f"{game}/cycle"]) == 0.0
        assert float(metrics[f"{game}/identity"]) == 0.0
        assert float(metrics[f"{game}/generator/loss"]) > 0.0
    made, again = cyclegan.cycle(state, batch["a"])
    np.testing.assert_array_equal(made, batch["a"])
    np.testing.assert_array_equal(again, batch["a"])
    found = jax.jit(cyclegan.eval_step)(state, batch)
    np.testing.assert_allclose(found["a/cycle"], 0.0, atol=1e-5)  # of 255 levels


def test_the_step_by_hand(batch):
    """Both generators at once against the old discriminators; then these on what was made."""
    state = make(batch)
    after, metrics = step(state, batch, cycle_weight=3.0, identity_weight=2.0)

    @jax.jit
    def by_hand(state):
        a, b = as_symmetric(batch["a"]), as_symmetric(batch["b"])
        g, f = state.forward.generator, state.backward.generator
        d_b, d_a = state.forward.discriminator, state.backward.discriminator

        def made(network, params, x):
            return play(network, params, None, Condition(spatial=x))[0]

        def l1(x, y):
            return jnp.abs(x - y).mean()

        def total(params):
            to_b, to_a = made(g, params[0], a), made(f, params[1], b)
            fooled = sum(
                ((play(d, d.params, x, None)[0] - 1.0) ** 2).mean()
                for d, x in ((d_b, to_b), (d_a, to_a))
            )
            there = l1(made(f, params[1], to_b), a) + l1(made(g, params[0], to_a), b)
            same = l1(made(g, params[0], b), b) + l1(made(f, params[1], a), a)
            return fooled + 3.0 * there + 2.0 * same, (to_b, to_a)

        grads, (to_b, to_a) = jax.grad(total, has_aux=True)((g.params, f.params))

        def d_loss(params, d, real, fake):
            on_real, on_fake = (play(d, params, x, None)[0] for x in (real, fake))
            return 0.5 * (((on_real - 1.0) ** 2).mean() + (on_fake**2).mean())

        new = [
            d.apply_gradients(jax.grad(d_loss)(d.params, d, real, fake))
            for d, real, fake in ((d_b, b, to_b), (d_a, a, to_a))
        ]
        return [g.apply_gradients(grads[0]), f.apply_gradients(grads[1]), *new], to_b

    records, to_b = by_hand(state)
    ours = [
        after.forward.generator,
        after.backward.generator,
        after.forward.discriminator,
        after.backward.discriminator,
    ]
    for found, expected in zip(ours, records, strict=True):
        for x, y in zip(*map(jax.tree.leaves, (found.params, expected.params)), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.made_b.images[:2], to_b, atol=1e-6)
    assert int(after.made_b.count) == 2
    assert int(after.step) == 1
    games = {name.partition("/")[0] for name in metrics}
    assert games == {"forward", "backward"}


def test_one_networks_loss_has_exactly_no_gradient_in_the_others(batch):
    state = make(batch)
    a, b = as_symmetric(batch["a"]), as_symmetric(batch["b"])
    params = state.forward.generator.params, state.backward.generator.params

    @jax.jit
    def of_judges(judges):
        judged = [
            dataclasses.replace(
                players, discriminator=dataclasses.replace(players.discriminator, params=own)
            )
            for players, own in zip((state.forward, state.backward), judges, strict=True)
        ]
        played = dataclasses.replace(state, forward=judged[0], backward=judged[1])
        return cyclegan.generators_loss(
            params, played, a, b, loss=cyclegan.SQUARES, cycle_weight=1.0, identity_weight=1.0
        )[0]

    judges = state.forward.discriminator.params, state.backward.discriminator.params
    for leaf in jax.tree.leaves(jax.jit(jax.grad(of_judges))(judges)):
        np.testing.assert_array_equal(leaf, 0.0)


def test_discriminators_see_images_of_earlier_steps(batch):
    """With a full buffer of one image D judges an older one where the new one takes its place."""
    state = make(batch, generator=Scaled(), pool_size=1, rate=0.0)
    d_b = state.forward.discriminator
    logit = jax.jit(lambda x: play(d_b, d_b.params, x, None)[0].mean())
    random, older = np.random.default_rng(1), 0
    for i in range(12):
        new = random.integers(0, 256, (1, *SHAPE), np.uint8)
        before = state.made_b.images
        state, metrics = step(state, {"a": new, "b": new})
        swapped = i > 0 and bool((state.made_b.images != before).any())
        shown = before if swapped else as_symmetric(jnp.asarray(new))
        np.testing.assert_allclose(metrics["forward/generated/logit"], logit(shown), atol=1e-5)
        older += swapped
    assert 2 <= older <= 10


def test_without_an_identity_weight_there_is_no_such_term(batch):
    _, metrics = step(make(batch), batch, identity_weight=0.0)
    assert not any("identity" in name for name in metrics)


def test_translations_go_both_ways_and_keep_the_size(batch):
    state = make(batch, ema_decay=0.5)
    translate = jax.jit(cyclegan.translate, static_argnames="direction")
    forward, backward = (
        np.asarray(translate(state, batch["a"], direction)) for direction in ("forward", "backward")
    )
    assert forward.shape == backward.shape == (2, *SHAPE)
    assert (forward != backward).any()
    assert translate(state, batch["a"][:, :7, :5]).shape == (2, 7, 5, 3)
    with pytest.raises(ValueError, match=r"forward.*backward.*sideways"):
        cyclegan.translate(state, batch["a"], "sideways")


def test_the_step_and_translations_lower_for_every_platform(batch):
    platforms = ("cpu", "cuda", "tpu")
    state = make(batch)
    translate = functools.partial(cyclegan.translate, direction="backward")
    for function, *args in (
        (cyclegan.train_step, state, batch),
        (cyclegan.eval_step, state, batch),
        (translate, state, batch["b"]),
    ):
        exported = export.export(jax.jit(function), platforms=platforms)(*args)
        assert exported.platforms == platforms
