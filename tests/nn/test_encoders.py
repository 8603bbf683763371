"""Encoders of conditions: sizes, what they see, shared weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn import encoders
from gen_jax.nn.encoders import IteratedEncoder, ResidualEncoder, UNetEncoder

ENCODERS: dict[str, Any] = {
    "residual": ResidualEncoder(4, blocks=3),
    "residual-full": ResidualEncoder(4, blocks=3, dilations=(1, 2, 4), stride=1),
    "unet": UNetEncoder(4, depth=2),
    "iterated": IteratedEncoder(4, steps=9),
    "iterated-coarse": IteratedEncoder(4, steps=4, stride=3),
}
SIZE = (7, 5)


def draw_params(encoder, shape):
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, float))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda p: 0.5 * random.normal(size=p.shape).astype(np.float32), shapes)


def some_conditions(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def seen_from(encoder, spatial, place):
    """[*space]: which pixels of the conditions some feature at ``place`` depends on."""
    params = draw_params(encoder, spatial.shape)

    def at(spatial):
        # At random conditions, of random weights: no dependence cancels, no ReLU is always shut.
        found = encoder.apply(params, spatial)[(slice(None), *place)]
        return (found * some_conditions(*found.shape)).sum()

    gradient = np.asarray(jax.jit(jax.grad(at))(spatial))
    return (gradient != 0.0).any((0, -1))


@pytest.mark.parametrize("upsample", [1, 3])
@pytest.mark.parametrize("space", [SIZE, (6,), (1, 2)], ids=str)
@pytest.mark.parametrize("name", ENCODERS)
def test_features_are_of_the_conditions_size_or_a_multiple_of_it(name, space, upsample):
    encoder = ENCODERS[name].clone(upsample=upsample)
    shape = jax.eval_shape(
        lambda x: encoder.init_with_output(jax.random.key(0), x)[0], jnp.ones((2, *space, 3))
    )
    assert shape.shape == (2, *(upsample * side for side in space), 4)
    assert shape.dtype == jnp.float32


@pytest.mark.parametrize("name", ENCODERS)
def test_levels_are_read_as_floats_from_0_to_1(name):
    levels = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    params = draw_params(ENCODERS[name], levels.shape)
    apply = jax.jit(ENCODERS[name].apply)
    usual = apply(params, levels)
    np.testing.assert_allclose(usual, apply(params, levels / np.float32(255)), atol=1e-4)
    assert not np.allclose(usual, apply(params, levels[:, ::-1]))
    with pytest.raises(ValueError, match=r"must be uint8 .* or floats, got int32"):
        apply(params, levels.astype(np.int32))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_pixel_sees_the_whole_condition(name):
    corner = tuple(side - 1 for side in SIZE)
    for place in ((0, 0), (3, 2), corner):
        assert seen_from(ENCODERS[name], some_conditions(32, *SIZE, 2), place).all()


def test_a_residual_encoder_sees_as_far_as_it_says():
    spatial = some_conditions(32, 15, 2)
    for dilations, reach in (((1,), 2), ((1, 3), 5)):
        encoder = ResidualEncoder(16, len(dilations), dilations, stride=1)
        assert encoder.reach == reach
        expected = np.abs(np.arange(15) - 7) <= reach
        np.testing.assert_array_equal(seen_from(encoder, spatial, (7,)), expected)
    assert ResidualEncoder(4, 3, (1, 3), stride=2).reach == 11  # the first dilation again


def test_a_residual_encoder_at_a_stride_sees_what_it_says_at_least():
    encoder = ResidualEncoder(4, 2, (1, 2), stride=2)
    seen = seen_from(encoder, some_conditions(32, 21, 2), (10,))
    assert seen[np.abs(np.arange(21) - 10) <= encoder.reach].all()


def test_an_iterated_encoder_takes_more_steps_with_the_same_parameters_and_sees_further():
    spatial, few = some_conditions(32, 15, 2), IteratedEncoder(4, steps=2)
    many = few.clone(steps=5)
    params = draw_params(few, spatial.shape)
    assert jax.tree.structure(params) == jax.tree.structure(draw_params(many, spatial.shape))
    near, far = (seen_from(encoder, spatial, (7,)) for encoder in (few, many))
    np.testing.assert_array_equal(near, np.abs(np.arange(15) - 7) <= 3)
    np.testing.assert_array_equal(far, np.abs(np.arange(15) - 7) <= 6)
    results = [jax.jit(encoder.apply)(params, spatial) for encoder in (few, many)]
    assert not np.allclose(*results)


def test_an_iteration_is_the_one_before_with_the_condition_shown_again():
    """The loop is that of its block, written out."""
    spatial, encoder = some_conditions(2, *SIZE, 2), IteratedEncoder(4, steps=3)
    params = draw_params(encoder, spatial.shape)
    captured = functools.partial(encoder.apply, params, capture_intermediates=True)
    result, variables = captured(spatial, mutable=["intermediates"])
    h = begin = variables["intermediates"]["enter"]["__call__"][0]
    for _ in range(3):
        h = encoders._Block(4).apply({"params": params["params"]["iteration"]["block"]}, h, begin)
    np.testing.assert_allclose(result, h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_half_precision_computes_with_float32_parameters(name):
    encoder = ENCODERS[name].clone(dtype=jnp.bfloat16)
    spatial = some_conditions(2, *SIZE, 2)
    params = draw_params(encoder, spatial.shape)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))
    half = jax.jit(encoder.apply)(params, spatial)
    full = np.asarray(jax.jit(ENCODERS[name].apply)(params, spatial))
    assert half.dtype == jnp.bfloat16
    assert np.abs(np.asarray(half, np.float32) - full).mean() < 0.05 * np.abs(full).mean()


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (ResidualEncoder(features=0), "features must be 1 or more, got 0"),
        (ResidualEncoder(blocks=0), "blocks must be 1 or more, got 0"),
        (ResidualEncoder(dilations=()), r"dilations must be one or more, each 1 or more, got \(\)"),
        (UNetEncoder(depth=0), "depth must be 1 or more, got 0"),
        (IteratedEncoder(steps=0), "steps must be 1 or more, got 0"),
        (IteratedEncoder(stride=0), "stride must be 1 or more, got 0"),
        (UNetEncoder(upsample=0), "upsample must be 1 or more, got 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(encoder, message):
    with pytest.raises(ValueError, match=message):
        encoder.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
