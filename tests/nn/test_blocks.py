import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn import blocks
from gen_jax.nn.conv import Conv, ConvMeanPool


class Layer(nn.Module):
    """One of the functions that make layers of their caller."""

    function: functools.partial

    @nn.compact
    def __call__(self, x):
        return self.function(x, name="layer")


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, x):
    """Variables drawn on the host: compiling the draw takes longer."""
    shapes = jax.eval_shape(functools.partial(module.init, jax.random.key(0)), x)
    return jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)


@functools.partial(jax.jit, static_argnames=("norm", "train"))
def normalized(x, norm, train):
    layer = Layer(functools.partial(blocks.normalize, norm=norm, train=train))
    variables = layer.init(jax.random.key(0), x)
    return layer.apply(variables, x, mutable=["batch_stats"])


def test_batch_normalization_in_training_is_by_the_batch_and_keeps_running_means():
    x = 3.0 + 2.0 * draw(8, 4, 3, 2)
    y, state = normalized(x, "batch", True)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1.0, atol=1e-4)
    stats = state["batch_stats"]["layer"]
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)


def test_batch_normalization_out_of_training_is_by_the_running_means():
    x = 3.0 + 2.0 * draw(8, 4, 3, 2)
    y, state = normalized(x, "batch", False)
    np.testing.assert_allclose(y, x, rtol=1e-4)  # they start at mean 0 and variance 1
    assert not state["batch_stats"]["layer"]["mean"].any()


def test_devices_share_their_batch_statistics():
    x = 3.0 + 2.0 * draw(8, 4, 3, 2)
    shared = functools.partial(blocks.normalize, norm="batch", train=True, axis_name="data")
    layer = Layer(shared)
    variables = layer.init(jax.random.key(0), x)
    apart = jax.pmap(lambda x: layer.apply(variables, x, mutable=["batch_stats"])[0], "data")
    whole = normalized(x, "batch", True)[0]
    spread = apart(x.reshape(4, 2, *x.shape[1:]))
    np.testing.assert_allclose(spread.reshape(x.shape), whole, atol=1e-5)


def test_layer_normalization_is_by_the_image():
    x = draw(3, 5, 4, 2) * jnp.asarray([1.0, 10.0, 0.1]).reshape(3, 1, 1, 1) + 5.0
    y, state = normalized(x, "layer", True)
    assert not state
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0.0, atol=1e-4)
    np.testing.assert_allclose(y.std((1, 2, 3)), 1.0, atol=1e-2)


def test_instance_normalization_is_by_the_image_and_channel():
    scales = jnp.asarray([1.0, 10.0, 0.1])
    x = draw(3, 5, 4, 2) * scales.reshape(3, 1, 1, 1) + 1000.0 * scales.reshape(3, 1, 1, 1)
    y, state = normalized(x, "instance", True)
    assert not state
    np.testing.assert_allclose(y.mean((1, 2)), 0.0, atol=1e-3)
    np.testing.assert_allclose(y.std((1, 2)), 1.0, atol=1e-2)
    out_of_training, _ = normalized(x, "instance", False)
    np.testing.assert_array_equal(y, out_of_training)


def test_instance_normalization_is_flaxs_own():
    x, weights = 3.0 + draw(2, 5, 4, 3), draw(2, 5, 4, 3, seed=1)
    ours, theirs = (
        blocks.InstanceNorm(),
        nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False),
    )
    params = drawn(ours, x)

    @functools.partial(jax.jit, static_argnums=0)
    def all_of(layer, params, x):
        y, pull_back = jax.vjp(layer.apply, params, x)
        return y, pull_back(weights)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        all_of(ours, params, x),
        all_of(theirs, params, x),
    )


def test_an_instance_of_one_pixel_is_the_shift_alone():
    x = draw(2, 1, 1, 3)
    variables = {"params": {"scale": draw(3), "bias": draw(3, seed=1)}}
    y, pull_back = jax.vjp(lambda x: blocks.InstanceNorm().apply(variables, x), x)
    shift = variables["params"]["bias"]
    np.testing.assert_array_equal(y, jnp.broadcast_to(shift.reshape(1, 1, 1, -1), x.shape))
    np.testing.assert_array_equal(pull_back(jnp.ones_like(y))[0], 0.0)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer"])
def test_scales_start_as_asked(norm):
    function = functools.partial(
        blocks.normalize, norm=norm, train=True, scale_init=nn.initializers.constant(2.0)
    )
    params = jax.jit(Layer(function).init)(jax.random.key(0), draw(2, 3, 3, 4))["params"]["layer"]
    np.testing.assert_array_equal(params["scale"], 2.0)
    np.testing.assert_array_equal(params["bias"], 0.0)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_statistics_are_float32_and_flat_images_make_no_noise(norm, dtype):
    x = jnp.full((2, 4, 4, 4), 1000.0, dtype)  # of 2^n values the mean is exact however it is taken

    def value(x):
        function = functools.partial(blocks.normalize, norm=norm, train=True, dtype=dtype)
        y, variables = Layer(function).init_with_output(jax.random.key(0), x)
        return (y.astype(jnp.float32) ** 2).sum(), (y, variables)

    slope, (y, variables) = jax.jit(jax.grad(value, has_aux=True))(x)
    assert y.dtype == slope.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(y, 0.0)
    np.testing.assert_array_equal(slope, 0.0)


def test_dropout_is_by_each_examples_key_alone():
    x = draw(4, 3, 5, 2)

    @jax.jit
    def drop(x, seeds):
        return blocks.dropout(x, jax.vmap(jax.random.key)(seeds), 0.4)

    dropped = drop(x, jnp.arange(4))
    np.testing.assert_array_equal(drop(x[::-1], jnp.arange(4)[::-1])[::-1], dropped)
    np.testing.assert_array_equal(drop(x[1:2], jnp.arange(1, 2)), dropped[1:2])
    same_image = drop(jnp.broadcast_to(x[:1], x.shape), jnp.arange(4))
    assert (same_image[0] != same_image[1]).any()


def test_dropout_keeps_the_mean_and_its_rate():
    x = jnp.ones((8, 1000), jnp.bfloat16)
    keys = jax.random.split(jax.random.key(0), 8)
    dropped = jax.jit(functools.partial(blocks.dropout, rate=0.75))(x, keys)
    assert dropped.dtype == x.dtype
    assert set(np.unique(np.asarray(dropped, np.float32))) == {0.0, 4.0}
    assert np.mean(np.asarray(dropped, np.float32)) == pytest.approx(1.0, abs=0.08)
    assert blocks.dropout(x, keys, 0.0) is x
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"must lie in \[0, 1\), got {rate}"):
            blocks.dropout(x, keys, rate)


@pytest.mark.parametrize("how", ["deconv", "resize", "shuffle"])
def test_every_layer_doubles_the_sides_without_mixing_images(how):
    x = draw(2, 4, 3, 3)
    layer = Layer(functools.partial(blocks.upsample, features=2, how=how))
    apply = jax.jit(functools.partial(layer.apply, drawn(layer, x)))
    y, reversed_y = apply(x), apply(x[::-1])
    assert y.shape == (2, 8, 6, 2)
    np.testing.assert_allclose(y, reversed_y[::-1], atol=1e-5)
    assert np.abs(y[0] - y[1]).min() > 1e-6


def test_shuffled_pixels_start_alike():
    layer = Layer(functools.partial(blocks.upsample, features=2, how="shuffle"))
    y, _ = jax.jit(functools.partial(layer.init_with_output, jax.random.key(0)))(draw(2, 4, 3, 3))
    np.testing.assert_array_equal(y, blocks.repeat_pixels(y[:, ::2, ::2]))
    assert y.std() > 0.1


def test_channels_are_dealt_out_to_their_pixel():
    x = jnp.arange(2 * 2 * 1 * 8).reshape(2, 2, 1, 8)
    y = np.asarray(blocks.depth_to_space(x))
    assert y.shape == (2, 4, 2, 2)
    for b, i, c in np.ndindex(2, 2, 2):
        block = y[b, 2 * i : 2 * i + 2, :, c]
        np.testing.assert_array_equal(block.ravel(), x[b, i, 0, c::2])


def test_a_convolution_and_a_mean_are_one():
    x, kernel = draw(2, 6, 8, 3), {"kernel": draw(3, 3, 3, 4, seed=1), "bias": draw(4, seed=2)}

    @jax.jit
    def both(x):
        variables = {"params": kernel}
        two = blocks.mean_pool(Conv(4).apply(variables, x))
        return ConvMeanPool(4).apply(variables, x), two

    np.testing.assert_allclose(*both(x), atol=1e-5)


@pytest.mark.parametrize("resample", ["up", "down", None])
def test_a_block_without_its_branch_is_its_shortcut(resample):
    x = draw(2, 4, 6, 3)
    block = blocks.ResidualBlock(3, resample=resample, norm="layer")
    params = drawn(block, x)["params"]
    params = {**params, "conv_1": jax.tree.map(jnp.zeros_like, params["conv_1"])}
    y = jax.jit(block.apply)({"params": params}, x)
    if resample is None:
        np.testing.assert_array_equal(y, x)
        assert "shortcut" not in params
        return
    resized = np.asarray(blocks.repeat_pixels(x) if resample == "up" else blocks.mean_pool(x))
    product, bias = params["shortcut"]["kernel"][0, 0], params["shortcut"]["bias"]
    np.testing.assert_allclose(y, resized @ np.asarray(product) + np.asarray(bias), atol=1e-5)


def test_unknown_words():
    x = jnp.zeros((1, 4, 4, 1))
    with pytest.raises(ValueError, match=r'norm must be "batch", .* or "none", got \'bacth\''):
        blocks.normalize(x, "bacth", train=True, name="norm")
    with pytest.raises(ValueError, match=r"upsample must be .* got 'bilinear'"):
        blocks.upsample(x, 2, "bilinear", name="up")
