"""PixelCNN++: its data-dependent start, its dropout, what it sees, and odd sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo

from gen_jax import autoregressive
from gen_jax.autoregressive.pixelcnn_pp import NormalizedConv
from gen_jax.autoregressive.pixelcnn_pp_steps import normalized
from gen_jax.densities import Categorical, LogisticMixture

SHAPE = (6, 5, 3)
MIXTURE = LogisticMixture(2)


def images(n, shape=SHAPE, seed=0):
    random = np.random.default_rng(seed)
    return jnp.asarray(random.integers(0, 256, (n, *shape), np.uint8))


def test_every_layer_starts_with_outputs_of_mean_zero_and_variance_one():
    model = zoo.plus_plus(MIXTURE)

    def wanted(module, method):
        return isinstance(module, NormalizedConv) and method == "__call__"

    @jax.jit
    def start(x):
        everything = {"mutable": True, "capture_intermediates": wanted}
        return model.init(jax.random.key(0), x, **everything)["intermediates"]

    found = jax.tree_util.tree_leaves_with_path(start(MIXTURE.as_input(images(16))))
    assert len(found) == 8 + 10 * 2 + 5 + 3  # blocks have two each, and shortcuts
    for path, y in found:
        expected = 0.1 if "conv_2" in jax.tree_util.keystr(path) else 1.0
        y = np.asarray(y, np.float64)
        np.testing.assert_allclose(y.mean((0, 1, 2)), 0.0, atol=1e-4)
        np.testing.assert_allclose(y.std((0, 1, 2)), expected, rtol=1e-3)


def test_one_constant_image_starts_it_finitely():
    model = zoo.plus_plus(MIXTURE, stages=3)  # at the last level one pixel is left
    x = jnp.full((1, 3, 4, 1), 0.5)
    outputs, variables = jax.jit(lambda x: model.init_with_output(jax.random.key(0), x))(x)
    for leaf in jax.tree.leaves((outputs, variables)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() < 1e4


def test_kernels_have_the_length_that_scale_says():
    random = np.random.default_rng(0)
    kernel, scale = random.normal(size=(2, 3, 4, 5)), random.normal(size=5)
    kernel, scale = jnp.asarray(kernel, jnp.float32), jnp.asarray(scale, jnp.float32)
    lengths = jnp.sqrt((normalized(kernel, scale) ** 2).sum((0, 1, 2)))
    np.testing.assert_allclose(lengths, jnp.abs(scale), rtol=1e-5)
    # A kernel's own length makes no difference.
    np.testing.assert_allclose(
        normalized(7.0 * kernel, scale), normalized(kernel, scale), rtol=1e-4
    )


def test_dropout_acts_in_training_alone_and_by_example():
    model = zoo.plus_plus(MIXTURE)
    params = zoo.draw_params(model, SHAPE)
    x, keys = MIXTURE.as_input(images(4)), jax.random.split(jax.random.key(1), 4)
    apply = jax.jit(lambda x, keys: model.apply({"params": params}, x, None, keys))
    plain, dropped = apply(x, None), apply(x, keys)
    assert (np.abs(plain - dropped).reshape(4, -1).max(-1) > 1e-3).all()
    turned = apply(x[::-1], keys[::-1])[::-1]
    np.testing.assert_allclose(turned, dropped, rtol=1e-4, atol=1e-4)
    same_image = apply(jnp.broadcast_to(x[:1], x.shape), keys)
    assert not np.allclose(same_image[0], same_image[1], atol=1e-3)


def test_a_channel_sees_all_pixels_before_it_and_none_after():
    likelihood, (height, width, channels) = Categorical(3), SHAPE
    model = zoo.plus_plus(likelihood, stages=3)
    params = zoo.draw_params(model, SHAPE)
    x = jax.random.uniform(jax.random.key(0), (1, *SHAPE))

    @jax.jit
    def slopes(x, pixel, unit):
        def output(x):
            outputs = model.apply({"params": params}, x).reshape(-1, channels, 3)
            return outputs[pixel, unit].sum()

        return jnp.abs(jax.grad(output)(x)).reshape(-1)

    for pixel in (7, 17, height * width - 1):
        for unit in (0, 2):
            found = np.asarray(slopes(x, pixel, unit))
            before = pixel * channels + unit
            assert (found[:before] > 0).all()
            assert (found[before:] == 0).all()


@pytest.mark.parametrize("sides", [(7, 5), (9, 6)])
def test_odd_sides_are_sampled_as_they_are_modelled(sides):
    with jax.enable_x64(True):
        likelihood = Categorical(4)
        model = zoo.plus_plus(likelihood, stages=3, dtype=jnp.float64)
        shape = (*sides, 1)
        params = zoo.draw_params(model, shape)
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        drawn = [
            jax.jit(
                functools.partial(autoregressive.sample, model, shape=(3, *shape), method=method)
            )(params, jax.random.key(0))
            for method in ("naive", "cached")
        ]
        np.testing.assert_array_equal(*drawn)
        assert len(np.unique(drawn[0])) == 4


def test_the_loss_falls_on_one_batch():
    model, batch = zoo.plus_plus(MIXTURE, dropout_rate=0.1), {"image": images(4) // 8}
    tx = optax.adam(1e-3)
    state = jax.jit(lambda x: autoregressive.init(model, tx, jax.random.key(0), x))(batch["image"])
    step = jax.jit(autoregressive.train_step)
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["bits_per_dim"]))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
