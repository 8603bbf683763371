import dataclasses
import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from gen_jax import adversarial, data, training
from gen_jax.adversarial import gan, losses, measures, players
from gen_jax.images import as_symmetric
from gen_jax.state import example_keys, named_keys

SHAPE = (8, 8, 1)


def networks(*, n_classes=None, norm="batch", **fields):
    generator = adversarial.ConvGenerator(
        2, image_shape=SHAPE, latent_dim=3, n_classes=n_classes, **fields
    )
    return generator, adversarial.ConvDiscriminator(2, n_classes=n_classes, norm=norm, **fields)


def blank(shape=SHAPE):
    return {"image": jnp.zeros((1, *shape), jnp.uint8), "label": jnp.zeros((1,), jnp.int32)}


def make(*, rate=1e-3, ema_decay=0.9, **fields):
    init = functools.partial(
        gan.init, *networks(**fields), optax.adam(rate), optax.adam(rate), ema_decay=ema_decay
    )
    return jax.jit(init)(jax.random.key(0), blank())


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return {
        "image": jnp.asarray(random.integers(0, 256, (8, *SHAPE)), jnp.uint8),
        "label": jnp.arange(8) % 3,
    }


@pytest.fixture(scope="module")
def step():
    return jax.jit(gan.train_step, static_argnames=("loss", "d_steps", "reuse_images", "penalty"))


def test_one_networks_loss_has_exactly_no_gradient_in_the_other(batch):
    state = make(norm="none")
    real = as_symmetric(batch["image"])
    z = jax.random.normal(jax.random.key(1), (8, 3))
    keys = jax.random.split(jax.random.key(2), 8)

    @jax.jit
    def cross(g_params, d_params):
        def d_loss(g_params):
            fake, _ = players.play(state.generator, g_params, z, None)
            value, _ = gan.discriminator_loss(
                d_params,
                state.discriminator,
                gan.real_and_generated({"image": real}, None, fake),
                keys,
                loss=losses.wasserstein,
                penalty=losses.wgan_gp,
            )
            return value

        def g_loss(d_params):
            fake, _ = players.play(state.generator, g_params, z, None)
            discriminator = dataclasses.replace(state.discriminator, params=d_params)
            return gan.generator_loss(fake, discriminator, batch, None, loss=losses.wasserstein)[0]

        return jax.grad(d_loss)(g_params), jax.grad(g_loss)(d_params)

    for grads in cross(state.generator.params, state.discriminator.params):
        for leaf in jax.tree.leaves(grads):
            np.testing.assert_array_equal(leaf, 0.0)


def test_the_step_moves_both_players_and_nothing_else_is_forgotten(batch, step):
    before = make()
    after, metrics = step(before, batch)
    assert int(after.step) == 1
    for player in ("generator", "discriminator"):
        old, new = getattr(before, player), getattr(after, player)
        for a, b in zip(*map(jax.tree.leaves, (old.params, new.params)), strict=True):
            assert np.any(np.asarray(a) != np.asarray(b))
        for a, b in zip(*map(jax.tree.leaves, (old.model_state, new.model_state)), strict=True):
            assert np.any(np.asarray(a) != np.asarray(b))
    moved = jax.tree.map(
        lambda ema, old, new: np.allclose(ema, 0.9 * old + 0.1 * new, atol=1e-6),
        after.generator.ema_params,
        before.generator.params,
        after.generator.params,
    )
    assert all(jax.tree.leaves(moved))
    assert set(metrics) == {
        "discriminator/loss",
        "discriminator/gradient",
        "generator/loss",
        "generator/gradient",
        "real/logit",
        "generated/logit",
        "separation",
        "diversity",
    }
    chex.assert_tree_all_finite(metrics)


def test_each_player_gets_better_at_what_it_minimizes(batch):
    """With the other player held still, its own loss falls."""

    @jax.jit
    def play(d_rate, g_rate):  # traced: one program for both
        init = functools.partial(
            gan.init, *networks(norm="none"), optax.adam(g_rate), optax.adam(d_rate)
        )
        state = init(jax.random.key(0), blank())
        _, values = jax.lax.scan(lambda s, _: gan.train_step(s, batch), state, length=30)
        return values

    d_loss = play(3e-2, 0.0)["discriminator/loss"]
    g_loss = play(0.0, 3e-2)["generator/loss"]
    assert float(d_loss[-1]) < 0.5 * float(d_loss[0])
    assert float(g_loss[-1]) < float(g_loss[0])


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
def test_several_updates_of_the_discriminator_by_hand(batch, step, reuse):
    """A plain loop: each update on images of its own, or on all of them, and as many latents."""
    d_steps = 4
    m = 8 if reuse else 2
    state = make(norm="none", rate=1e-2)
    after, metrics = step(state, batch, d_steps=d_steps, reuse_images=reuse)
    assert int(after.discriminator.opt_state[0].count) == d_steps
    assert int(after.generator.opt_state[0].count) == 1

    @jax.jit
    def by_hand(state):
        real = as_symmetric(batch["image"])
        keys = named_keys(state.key, state.step, "noise", "penalty")
        discriminator, generator, values = state.discriminator, state.generator, {}
        for i in range(d_steps):
            noise = jax.random.fold_in(keys["noise"], i)
            z = players.draw_noise(generator.model, state.prior, example_keys(noise, jnp.arange(m)))
            fake, _ = players.play(generator, generator.params, z, None)
            (_, (model_state, values)), grads = jax.value_and_grad(
                gan.discriminator_loss, has_aux=True
            )(
                discriminator.params,
                discriminator,
                gan.real_and_generated({"image": real if reuse else real[i::d_steps]}, None, fake),
                jax.random.split(jax.random.key(0), m),
                loss=losses.non_saturating,
            )
            discriminator = discriminator.apply_gradients(grads, model_state=model_state)

        def generator_loss(params):
            fake, _ = players.play(generator, params, z, None)  # the last noise
            return gan.generator_loss(fake, discriminator, batch, None, loss=losses.non_saturating)[
                0
            ]

        loss, grads = jax.value_and_grad(generator_loss)(generator.params)
        params = optax.apply_updates(
            generator.params,
            generator.tx.update(grads, generator.opt_state, generator.params)[0],
        )
        return discriminator.params, params, values | {"generator/loss": loss}

    d_params, g_params, values = by_hand(state)
    chex.assert_trees_all_close(d_params, after.discriminator.params, atol=1e-5)
    chex.assert_trees_all_close(g_params, after.generator.params, atol=1e-5)
    for name, value in values.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


class Scaled(nn.Module):
    """A generator of images that are zero before its first update."""

    image_shape: tuple[int, int, int]
    n_classes: int
    latent_dim: int = 1

    @nn.compact
    def __call__(self, z, cond, *, train):
        scale = self.param("scale", nn.initializers.zeros, (1, *self.image_shape))
        return z[:, :, None, None] * scale


class Counter(nn.Module):
    """A critic whose gradient is the sum of the images it saw, for each label apart."""

    n_classes: int

    @nn.compact
    def __call__(self, x, cond, *, train):
        x = x.reshape(len(x), -1)
        seen = self.param("seen", nn.initializers.zeros, (self.n_classes, x.shape[-1]))
        return (seen[cond.label] * x).sum(-1)


def images_seen(step, size, **options):
    """How often one step of Wasserstein's loss shows D each image, by (label, image) [3, size]."""
    images = jnp.eye(size).reshape(size, 1, size, 1)  # each has a pixel of its own
    tx = optax.sgd(1.0)
    pair = Scaled((1, size, 1), 3), Counter(3)
    batch = {"image": images, "label": jnp.arange(size) // 2 % 3}
    state = gan.init(*pair, tx, tx, jax.random.key(0), batch)
    after = step(state, batch, loss=losses.wasserstein, **options)
    return np.asarray(after.discriminator.params["seen"]), np.asarray(batch["label"])


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
def test_the_updates_of_a_step_share_its_images_out_and_keep_their_labels(reuse):
    size, d_steps = 10, 5

    @functools.partial(jax.jit, static_argnames=("loss", "d_steps", "reuse_images"))
    def step(state, batch, **options):
        return gan.train_step(state, batch, **options)[0]

    seen, label = images_seen(step, size, d_steps=d_steps, reuse_images=reuse)
    times, of = (d_steps, size) if reuse else (1, size // d_steps)
    expected = np.zeros((3, size))
    expected[label, np.arange(size)] = times / of  # gradients are means over an update's images
    np.testing.assert_allclose(seen, expected, atol=1e-6)


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_each_devices_part_of_a_batch_serves_every_update(how):
    def step(state, batch, **options):
        compiled = training.compile_step(
            functools.partial(gan.train_step, **options),
            training.make_mesh(jax.devices()[:2]),
            steps_per_dispatch=1,
            how=how,
        )
        examples = {name: np.asarray(value) for name, value in batch.items()}
        placed = compiled(compiled.place(state), compiled.gather(Always(examples), 0, 1), 1)[0]
        return compiled.snapshot(placed)[0]

    seen, label = images_seen(step, 8, d_steps=2)
    expected = np.zeros((3, 8))
    expected[label, np.arange(8)] = 1 / 4
    np.testing.assert_allclose(seen, expected, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Always:
    """Batches that are all the same."""

    examples: dict

    @property
    def batch_size(self):
        return len(self.examples["image"])

    def batch_at(self, step, rows=None):
        del step
        rows = slice(None) if rows is None else rows
        return {name: value[rows] for name, value in self.examples.items()}


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
def test_floats_are_made_of_one_updates_images_at_a_time(batch, reuse):
    d_steps = 4
    state = jax.eval_shape(make)
    step = functools.partial(gan.train_step, d_steps=d_steps, reuse_images=reuse)
    most = max(
        math.prod(aval.shape[:-3])
        for aval in values_of(jax.make_jaxpr(step)(state, batch).jaxpr)
        if aval.shape[-3:] == SHAPE and jnp.issubdtype(aval.dtype, jnp.floating)
    )
    assert most == (8 if reuse else 8 // d_steps)


def values_of(jaxpr):
    """The shape and dtype of every value in a program."""
    for equation in jaxpr.eqns:
        yield from (variable.aval for variable in equation.outvars)
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from values_of(inner)


def test_the_generators_update_by_hand(batch, step):
    """Against the discriminator that has just been updated, on the noise of that update."""
    state = make(norm="none", rate=1e-2)
    after, metrics = step(state, batch)

    @jax.jit
    def by_hand(state, discriminator):
        noise = named_keys(state.key, state.step, "noise", "penalty")["noise"]
        keys = example_keys(jax.random.fold_in(noise, 0), jnp.arange(8))
        z = players.draw_noise(state.generator.model, state.prior, keys)

        def loss(params):
            fake, model_state = players.play(state.generator, params, z, None)
            variables = {"params": discriminator.params, **discriminator.model_state}
            logits = discriminator.model.apply(variables, fake, None, train=True)
            return jax.nn.softplus(-logits).mean(), model_state

        (value, model_state), grads = jax.value_and_grad(loss, has_aux=True)(state.generator.params)
        generator = state.generator.apply_gradients(grads, model_state=model_state)
        return generator.params, value

    params, value = by_hand(state, after.discriminator)
    chex.assert_trees_all_close(params, after.generator.params, atol=1e-5)
    np.testing.assert_allclose(value, metrics["generator/loss"], rtol=1e-5)
    with_the_old_one, _ = by_hand(state, state.discriminator)
    assert not np.allclose(
        *(
            jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
            for tree in (with_the_old_one, params)
        ),
        atol=1e-4,
    )


def test_second_derivatives_pass_through_convolutions(batch):
    """The gradient of WGAN-GP's penalty in the critic's parameters, against finite differences."""
    state = make(norm="layer")
    network = state.discriminator
    real = as_symmetric(batch["image"])

    @jax.jit
    def penalty(params):
        keys = jax.random.split(jax.random.key(1), 8)
        return losses.wgan_gp(
            lambda x: players.play(network, params, x, None)[0], keys, real, -real
        ).mean()

    grads = jax.jit(jax.grad(penalty))(network.params)
    direction = jax.tree.map(lambda g: g / optax.tree.norm(grads), grads)
    step = 1e-3

    def moved(sign):
        return penalty(jax.tree.map(lambda p, d: p + sign * step * d, network.params, direction))

    slope = (moved(1.0) - moved(-1.0)) / (2.0 * step)
    np.testing.assert_allclose(slope, optax.tree.norm(grads), rtol=2e-2)


def test_a_conditional_game_uses_the_batchs_labels(batch):
    state = make(n_classes=3, norm="none", rate=1e-2)
    run = jax.jit(gan.train_step)
    after, _ = run(state, batch)
    other, _ = run(state, {**batch, "label": (batch["label"] + 1) % 3})
    assert training.params_digest(after.params) != training.params_digest(other.params)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"d_steps": 0}, "d_steps must be 1 or more, got 0"),
        ({"d_steps": 3}, "a batch of 8 cannot be divided among 3 updates"),
    ],
)
def test_impossible_numbers_of_updates_are_refused(batch, options, words):
    state = jax.eval_shape(make)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(functools.partial(gan.train_step, **options), state, batch)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.int16, jnp.bool_], ids=str)
@pytest.mark.parametrize("d_steps", [1, 2])
def test_images_of_another_dtype_are_refused(batch, dtype, d_steps):
    state, batch = jax.eval_shape(make), {"image": batch["image"].astype(dtype)}
    words = rf"images must be uint8 \(levels 0..255\) or floats, got {jnp.dtype(dtype)}"
    for function in (functools.partial(gan.train_step, d_steps=d_steps), gan.eval_step):
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(function, state, batch)


def test_init_refuses_what_does_not_fit():
    tx = optax.sgd(0.1)
    with pytest.raises(ValueError, match=r"images are \(4, 4, 1\), the generator's \(8, 8, 1\)"):
        gan.init(*networks(), tx, tx, jax.random.key(0), blank((4, 4, 1)))
    pair = networks(n_classes=3)[0], networks()[1]
    with pytest.raises(ValueError, match="knows 3 classes, the discriminator None"):
        gan.init(*pair, tx, tx, jax.random.key(0), blank())


def test_separation_and_diversity_mean_what_they_say():
    logits = jnp.asarray([3.0, 4.0, 5.0])
    assert float(measures.separation(logits, -logits)) == 1.0
    assert float(measures.separation(logits, logits)) == pytest.approx(0.5)
    assert float(measures.separation(-logits, logits)) == 0.0
    assert float(measures.separation(jnp.zeros(3), jnp.zeros(5))) == 0.5
    images = jax.random.normal(jax.random.key(0), (64, 4, 4, 1))
    assert float(measures.diversity(images, images)) == pytest.approx(1.0)
    assert float(measures.diversity(images, 0.5 * images)) == pytest.approx(0.5, rel=1e-5)
    assert float(measures.diversity(images, jnp.broadcast_to(images[:1], images.shape))) < 1e-3


def test_devices_share_a_batch_as_one_device_has_it():
    """Batch statistics, noise, gradients and metrics: 2 devices of 4 images are one of 8."""
    images = np.random.default_rng(0).integers(0, 256, (16, *SHAPE), np.uint8)
    batches = data.Batches(data.ArrayDataset("noise", "train", images), 8, seed=0)

    def trained(how, n_devices, **fields):
        step = training.compile_step(
            gan.train_step,
            training.make_mesh(jax.devices()[:n_devices]),
            steps_per_dispatch=2,
            how=how,
        )
        placed, metrics = step(step.place(make(**fields)), step.gather(batches, 0, 2), 2)
        return step.snapshot(placed)[0], metrics

    alone, alone_metrics = trained("jit", 1)
    for how, fields in (("jit", {}), ("pmap", {"axis_name": "data"})):
        state, metrics = trained(how, 2, **fields)
        chex.assert_trees_all_close(state.params, alone.params, atol=2e-4)
        for name, value in alone_metrics.items():
            np.testing.assert_allclose(metrics[name], value, rtol=2e-3, atol=1e-4, err_msg=name)


def test_the_step_lowers_for_every_platform(batch):
    step = functools.partial(
        gan.train_step, loss=losses.wasserstein, d_steps=2, penalty=losses.wgan_gp
    )
    platforms = ("cpu", "cuda", "tpu")
    exported = export.export(jax.jit(step), platforms=platforms)(make(norm="layer"), batch)
    assert exported.platforms == platforms
