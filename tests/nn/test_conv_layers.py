"""What the layers add to the convolution: parameters, masks and normalized kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn.conv import Conv, ConvTranspose, SpectralNorm, UpsampleConv, WeightNorm


def same(ours, theirs, rtol):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * 10)


@pytest.mark.parametrize("layer", [Conv(5), ConvTranspose(5, (4, 4)), UpsampleConv(5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layers_keep_float32_parameters(layer, dtype):
    layer = layer.clone(dtype=dtype)
    x = jnp.ones((2, 4, 4, 3), jnp.float32)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def causal(shape):
    mask = np.ones(shape, np.float32)
    mask[shape[0] // 2 + 1 :] = 0.0
    return mask


def test_a_masked_tap_sees_nothing_and_learns_nothing():
    layer = Conv(2, mask=causal)
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 2), jnp.float32)
    variables = layer.init(jax.random.key(1), x)
    row = jax.grad(lambda x: layer.apply(variables, x)[0, 2].sum())(x)
    assert not np.any(row[0, 3:])
    assert np.all(np.any(row[0, 1:3] != 0, axis=(1, 2)))
    grads = jax.grad(lambda v: (layer.apply(v, x) ** 2).sum())(variables)
    assert not np.any(grads["params"]["kernel"][2])


def test_weight_norm_starts_as_it_was_and_sets_lengths():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3), jnp.float32)
    layer = Conv(4, kernel_norm=WeightNorm())
    variables = layer.init(jax.random.key(1), x)
    plain = {name: variables["params"][name] for name in ("kernel", "bias")}
    same(layer.apply(variables, x), Conv(4).apply({"params": plain}, x), rtol=1e-5)
    scale = jax.tree.leaves(
        {k: v for k, v in variables["params"].items() if "Norm" in k or k == "kernel_norm"}
    )
    assert scale[0].shape == (4,)
    longer = jax.tree.map(lambda leaf: 10.0 * leaf, plain["kernel"])
    scaled = {"params": {**variables["params"], "kernel": longer}}
    same(layer.apply(scaled, x), layer.apply(variables, x), rtol=1e-4)


def test_spectral_norm_finds_the_largest_singular_value():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3), jnp.float32)
    layer = Conv(4, use_bias=False, kernel_norm=SpectralNorm())
    variables = layer.init(jax.random.key(1), x)
    step = jax.jit(lambda v: layer.apply(v, x, mutable=["spectral_norm"])[1])
    for _ in range(100):
        variables = {**variables, **step(variables)}
    kernel = variables["params"]["kernel"]
    largest = np.linalg.svd(np.asarray(kernel).reshape(-1, 4), compute_uv=False)[0]
    plain = Conv(4, use_bias=False).apply({"params": {"kernel": kernel / largest}}, x)
    same(layer.apply(variables, x), plain, rtol=1e-4)  # and applying leaves u alone
