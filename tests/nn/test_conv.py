"""The convolution is XLA's, with its derivatives of every order and under every transformation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.test_util import check_grads

from gen_jax.nn.conv import (
    Conv,
    ConvTranspose,
    SpectralNorm,
    UpsampleConv,
    WeightNorm,
    conv,
    conv_transpose,
    upsample_conv,
)
from gen_jax.nn.conv import cpu as conv_cpu
from gen_jax.nn.conv import winograd as conv_winograd
from gen_jax.nn.conv.geometry import Geometry, xla_convolution

# side(s), kernel, strides, padding, dilation
GEOMETRIES = {
    "same": ((7, 6), (3, 3), (1, 1), "SAME", (1, 1)),
    "valid": ((7, 6), (3, 2), (1, 1), "VALID", (1, 1)),
    "halving": ((8, 8), (4, 4), (2, 2), "SAME", (1, 1)),
    "halving odd sides": ((7, 9), (4, 4), (2, 2), "SAME", (1, 1)),
    "uneven strides": ((9, 8), (3, 4), (3, 2), "SAME", (1, 1)),
    "stride beyond the kernel": ((9, 8), (2, 1), (3, 2), "VALID", (1, 1)),
    "dilated": ((9, 8), (3, 3), (1, 1), "SAME", (2, 3)),
    "strided and dilated": ((11, 9), (3, 2), (2, 2), "SAME", (2, 1)),
    "shifted, as causal nets pad": ((6, 5), (2, 3), (1, 1), ((2, -1), (3, -1)), (1, 1)),
    "one tap": ((5, 4), (1, 1), (2, 1), "SAME", (1, 1)),
    "sound": ((12,), (2,), (1,), ((4, 0),), (4,)),
    "strided sound": ((12,), (5,), (3,), "SAME", (1,)),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def operands(sides, size, c_in=2, c_out=3, batch=4):
    keys = jax.random.split(jax.random.key(sum(sides) + sum(size)), 2)
    x = jax.random.normal(keys[0], (batch, *sides, c_in), jnp.float64)
    return x, jax.random.normal(keys[1], (*size, c_in, c_out), jnp.float64)


def numbers(n):
    image = (0, n + 1, *range(1, n + 1))
    return lax.ConvDimensionNumbers(image, (n + 1, n, *range(n)), image)


def reference(x, kernel, *, strides, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=numbers(x.ndim - 2),
    )


def pair(name):
    sides, size, strides, padding, dilation = GEOMETRIES[name]
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    ours, theirs = functools.partial(conv, **options), functools.partial(reference, **options)
    return ours, theirs, *operands(sides, size)


def same(ours, theirs, rtol=1e-10):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10), ours, theirs
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_values_and_gradients_are_those_of_xla(name):
    ours, theirs, x, kernel = pair(name)
    y = theirs(x, kernel)
    weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)

    def both(function):
        return jax.jit(
            lambda x, kernel: (
                function(x, kernel),
                jax.vjp(function, x, kernel)[1](weights),
                jax.jvp(function, (x, kernel), (jnp.sin(x), jnp.cos(kernel)))[1],
            )
        )(x, kernel)

    same(both(ours), both(theirs))


@pytest.mark.parametrize("name", ["same", "halving odd sides", "strided and dilated", "sound"])
def test_derivatives_of_any_order_and_mode(name):
    """As gradient penalties need them, against differences of the function itself."""
    ours, theirs, x, kernel = pair(name)
    x, kernel = x[:1], kernel[..., :2]
    smooth = jax.jit(lambda x, kernel: jnp.sin(ours(x, kernel)).sum())
    check_grads(smooth, (x, kernel), order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)

    def penalty(function, x, kernel):
        slope = jax.grad(lambda x: jnp.tanh(function(x, kernel)).sum())(x)
        return (jnp.sqrt((slope**2).sum() + 1e-6) - 1.0) ** 2

    gradients = [
        jax.jit(jax.grad(penalty, (1, 2)), static_argnums=0)(f, x, kernel) for f in (ours, theirs)
    ]
    same(*gradients, rtol=1e-8)


@pytest.mark.parametrize("mapped", ["x", "kernel", "both"])
@pytest.mark.parametrize("name", ["same", "halving odd sides"])
def test_vmap_of_values_and_gradients(name, mapped):
    ours, theirs, x, kernel = pair(name)
    if mapped != "kernel":
        x = jnp.stack([x, 2.0 * x, x[::-1]])
    if mapped != "x":
        kernel = jnp.stack([kernel, -kernel, kernel[::-1]])
    axes = (None if mapped == "kernel" else 0, None if mapped == "x" else 0)

    def both(function):
        def value_and_grads(x, kernel):
            return jax.value_and_grad(lambda *a: jnp.sin(function(*a)).sum(), (0, 1))(x, kernel)

        return jax.jit(jax.vmap(value_and_grads, axes))(x, kernel)

    same(both(ours), both(theirs))


TRANSPOSED = {
    "doubling": ((4, 5), (4, 4), (2, 2), "SAME"),
    "doubling by three": ((4, 5), (3, 3), (2, 2), "SAME"),
    "every reach": ((4, 5), (4, 3), (2, 3), "VALID"),
    "stride beyond the kernel": ((3, 4), (2, 2), (3, 3), "SAME"),
    "no stride": ((4, 5), (3, 3), (1, 1), "SAME"),
    "explicit": ((4, 5), (4, 4), (2, 2), ((1, 2), (3, 0))),
    "sound": ((6,), (4,), (2,), "SAME"),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution_is_that_of_jax(name):
    sides, size, strides, padding = TRANSPOSED[name]
    x, kernel = operands(sides, size)
    theirs = functools.partial(
        lax.conv_transpose, strides=strides, padding=padding, dimension_numbers=numbers(len(sides))
    )
    ours = functools.partial(conv_transpose, strides=strides, padding=padding)

    def both(function):
        def second(x, kernel):
            return jax.grad(lambda x: jnp.sin(function(x, kernel)).sum())(x).std()

        return jax.jit(
            lambda x, kernel: (
                function(x, kernel),
                jax.grad(lambda *a: jnp.sin(function(*a)).sum(), (0, 1))(x, kernel),
                jax.grad(second, (0, 1))(x, kernel),
            )
        )(x, kernel)

    same(both(ours), both(theirs))


@pytest.mark.parametrize("size", [(3, 3), (5, 3), (4, 4)])
def test_upsampling_is_repeating_then_convolving(size):
    x, kernel = operands((4, 3), size)
    repeated = x.repeat(2, axis=1).repeat(2, axis=2)
    theirs = reference(repeated, kernel, strides=(1, 1), padding="SAME", dilation=(1, 1))
    same(upsample_conv(x, kernel), theirs)


def dilations(function, *args):
    """The (input, kernel) dilations of every convolution in what XLA's CPU compiler is given."""
    text = jax.jit(function).lower(*args).as_text(dialect="hlo")
    return [line for line in text.splitlines() if " convolution(" in line and "_dilate=" in line]


def test_on_the_cpu_no_gradient_computes_the_zeros_of_a_stride():
    x, kernel = operands((8, 8), (4, 4))
    loss = lambda f: lambda x, kernel: jnp.sin(f(x, kernel)).sum()  # noqa: E731
    ours = jax.grad(loss(functools.partial(conv, strides=2)), (0, 1))
    up = jax.grad(loss(functools.partial(conv_transpose, strides=2)), (0, 1))
    xla = functools.partial(reference, strides=(2, 2), padding="SAME", dilation=(1, 1))
    assert dilations(jax.grad(loss(xla), (0, 1)), x, kernel)  # what this test would find
    assert not dilations(ours, x, kernel)
    assert not dilations(up, x, kernel)


def test_lowers_for_every_platform_with_second_derivatives():
    x, kernel = (a.astype(jnp.float32) for a in operands((8, 8), (4, 4)))

    def penalty(x, kernel):
        inner = jax.grad(lambda x: jnp.tanh(conv(x, kernel, strides=2)).sum())(x)
        return (inner**2).sum()

    platforms = ("cpu", "cuda", "tpu")
    lowered = export.export(jax.jit(jax.grad(penalty, (0, 1))), platforms=platforms)(x, kernel)
    assert lowered.platforms == platforms


def test_a_batch_spread_over_devices_gives_the_same_gradients():
    ours, _, x, kernel = pair("halving odd sides")
    gradients = jax.jit(jax.grad(lambda x, k: jnp.sin(ours(x, k)).sum(), (0, 1)))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.P("data")))
    same(gradients(spread, kernel), gradients(x, kernel))


def test_gradients_under_pmap_and_checkpointing():
    ours, _, x, kernel = pair("halving odd sides")

    def gradient(x, kernel):
        return jax.grad(lambda k: jnp.sin(jax.checkpoint(ours)(x, k)).sum())(kernel)

    def summed(x, kernel):
        return lax.psum(gradient(x, kernel), "data")

    apart = jax.pmap(summed, axis_name="data", in_axes=(0, None))(x[:, None], kernel)
    for each in apart:
        same(each, gradient(x, kernel))


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": "FULL"}, "padding must be"),
        ({"strides": 0}, "strides must be 2 positive integers"),
        ({"dilation": (1, 1, 1)}, "dilation must be 2 positive integers"),
    ],
)
def test_options_that_do_not_fit(change, message):
    x, kernel = operands((5, 5), (3, 3))
    with pytest.raises(ValueError, match=message):
        conv(x, kernel, **change)


def test_shapes_that_do_not_fit():
    x, kernel = operands((5, 5), (3, 3))
    for bad in (x[..., :1], x[0]):
        with pytest.raises(ValueError, match="a convolution wants x"):
            conv(bad, kernel)


@pytest.mark.parametrize(
    "name", ["same", "valid", "dilated", "shifted, as causal nets pad", "sound"]
)
def test_a_few_outputs_of_many_channels(name):
    """The CPU then sums shifted products, and takes patches of the outputs' gradient."""
    ours, theirs, _, _ = pair(name)
    sides, size, *_ = GEOMETRIES[name]
    x, kernel = operands(sides, size, c_in=20, c_out=3)

    def both(function):
        loss = lambda *a: jnp.sin(function(*a)).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(x, kernel)

    same(both(ours), both(theirs))


# side(s), kernel, strides, channels
NETWORKS = {
    "3x3, 32 to 32": ((6, 5), (3, 3), 1, (32, 32)),
    "3x3, 32 to 64": ((5, 6), (3, 3), 1, (32, 64)),
    "3x3 at stride 2, 32 to 64": ((7, 9), (3, 3), 2, (32, 64)),
    "4x4 at stride 2, 32 to 64": ((8, 8), (4, 4), 2, (32, 64)),
    "5x5 at stride 2, 32 to 32": ((8, 7), (5, 5), 2, (32, 32)),
    "4x4 at stride 2, 3 to 128": ((8, 8), (4, 4), 2, (3, 128)),
    "4x4 at stride 2, 64 to 128": ((6, 6), (4, 4), 2, (64, 128)),
    "3x3, 128 to 128": ((4, 5), (3, 3), 1, (128, 128)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_with_the_channels_of_real_networks(name):
    """Wide enough for what the CPU does about vectors, cores and copies; in float32, as it does."""
    sides, size, strides, (c_in, c_out) = NETWORKS[name]
    random = np.random.default_rng(0)
    x = random.standard_normal((2, *sides, c_in), np.float32)
    kernel = random.standard_normal((*size, c_in, c_out), np.float32)
    ours = functools.partial(conv, strides=strides)
    theirs = functools.partial(
        reference, strides=(strides, strides), padding="SAME", dilation=(1, 1)
    )
    weights = random.standard_normal(jax.eval_shape(theirs, x, kernel).shape, np.float32)

    def both(function):
        def value_and_gradients(x, kernel):
            y, gradients = jax.vjp(function, x, kernel)
            return y, gradients(weights)

        return jax.jit(value_and_gradients)(x, kernel)

    same(both(ours), both(theirs), rtol=1e-4)


@pytest.mark.parametrize("patch_bytes", [1, 2**12, 2**15, 2**20])
@pytest.mark.parametrize("name", ["same", "halving odd sides", "sound", "strided sound"])
def test_kernel_gradients_agree_however_batch_and_rows_are_cut(name, patch_bytes, monkeypatch):
    """The CPU takes the patches of a few images, or of a few rows of one, at a time."""
    monkeypatch.setattr(conv_cpu, "PATCH_BYTES", patch_bytes)
    ours, theirs, _, _ = pair(name)
    sides, size, *_ = GEOMETRIES[name]
    x, kernel = operands(sides, size, c_in=4, c_out=5, batch=6)
    gradients = [
        jax.jit(jax.grad(lambda k, f=f: (f(x, k) ** 2).sum()))(kernel) for f in (ours, theirs)
    ]
    same(*gradients, rtol=1e-9)


TWO_STRIDES = {
    "halving": ((8, 8), (2, 2), ((1, 1), (1, 1))),
    "odd numbers of outputs": ((10, 14), (2, 2), ((1, 1), (1, 1))),
    "uneven strides": ((9, 11), (3, 2), ((2, 1), (1, 2))),
    "pixels that no kernel reaches": ((11, 9), (2, 2), ((0, 0), (0, 0))),
    "cropped": ((10, 9), (2, 2), ((-1, 2), (3, -2))),
    "one output": ((4, 5), (2, 3), ((0, 0), (0, 1))),
}


def two_strides(name, batch=4):
    sides, strides, pads = TWO_STRIDES[name]
    size = tuple(2 * s for s in strides)
    x, kernel = operands(sides, size, batch=batch)
    return Geometry(strides, pads, (1, 1), sides, size), x, kernel


@pytest.mark.parametrize("chunk_bytes", [1, 2**11, 2**24])
@pytest.mark.parametrize("name", TWO_STRIDES)
def test_minimal_filtering_gives_all_three_maps(name, chunk_bytes, monkeypatch):
    """Whatever sides, pads, and images at a time."""
    monkeypatch.setattr(conv_winograd, "CHUNK_BYTES", chunk_bytes)
    g, x, kernel = two_strides(name)
    assert conv_winograd.fits(g)

    def maps(apply, input_gradient, kernel_gradient):
        def all_three(x, kernel):
            y = jnp.cos(apply(x, kernel))
            return apply(x, kernel), input_gradient(x, y, kernel), kernel_gradient(x, y, kernel)

        return jax.jit(all_three)(x, kernel)

    def theirs(x, kernel):
        return xla_convolution(x, kernel, g)

    ours = maps(
        lambda x, kernel: conv_winograd.apply(x, kernel, g),
        lambda _, y, kernel: conv_winograd.input_gradient(y, kernel, g),
        lambda x, y, _: conv_winograd.kernel_gradient(x, y, g),
    )
    same(
        ours,
        maps(
            theirs,
            lambda x, y, kernel: jax.vjp(theirs, x, kernel)[1](y)[0],
            lambda x, y, kernel: jax.vjp(theirs, x, kernel)[1](y)[1],
        ),
    )


def test_minimal_filtering_reads_what_lies_under_the_kernel_and_nothing_else():
    """Bit for bit, though the sums of neighbouring outputs share their products."""
    g, x, kernel = two_strides("halving", batch=1)
    apply = jax.jit(functools.partial(conv_winograd.apply, geometry=g))
    y = np.asarray(apply(x, kernel))
    for row, column in np.ndindex(8, 8):
        changed = np.any(y != apply(x.at[:, row, column].add(1.0), kernel), axis=-1)[0]
        # Output i sees the pixels from 2i - 1 to 2i + 2.
        seen = [{i for i in range(4) if 2 * i - 1 <= at <= 2 * i + 2} for at in (row, column)]
        assert {tuple(map(int, at)) for at in np.argwhere(changed)} == {
            (i, j) for i in seen[0] for j in seen[1]
        }


def test_the_cpu_filters_minimally_where_it_is_exact_and_pays():
    halving = Geometry((2, 2), ((1, 1), (1, 1)), (1, 1), (8, 8), (4, 4))
    others = {
        "kernel": dataclasses.replace(halving, kernel_size=(3, 3)),
        "dilation": dataclasses.replace(halving, dilation=(2, 2)),
        "stride": dataclasses.replace(halving, strides=(1, 1), kernel_size=(2, 2)),
    }
    assert all(not conv_winograd.fits(g) for g in others.values())

    def products(dtype, c_in, c_out):
        x = jax.ShapeDtypeStruct((2, 8, 8, c_in), dtype)
        kernel = jax.ShapeDtypeStruct((4, 4, c_in, c_out), dtype)
        lowered = jax.jit(lambda x, k: conv_cpu.apply(x, k, halving)).lower(x, kernel).as_text()
        return lowered.count("stablehlo.dot_general"), lowered.count("stablehlo.convolution")

    assert products(jnp.float32, 64, 128) == (9, 0)
    assert products(jnp.float32, 8, 16) == (0, 1)
    assert products(jnp.bfloat16, 64, 128) == (0, 1)


@pytest.mark.parametrize(("strides", "c_in", "c_out"), [(1, 8, 16), (2, 8, 16), (2, 64, 128)])
def test_of_no_images_there_is_nothing(strides, c_in, c_out):
    x, kernel = jnp.zeros((0, 8, 8, c_in)), jnp.ones((4, 4, c_in, c_out))
    y, pull_back = jax.vjp(lambda x, kernel: conv(x, kernel, strides=strides), x, kernel)
    assert y.shape == (0, 8 // strides, 8 // strides, c_out)
    x_gradient, kernel_gradient = pull_back(y)
    assert x_gradient.shape == x.shape
    np.testing.assert_array_equal(kernel_gradient, jnp.zeros_like(kernel))


def test_a_kernel_that_fits_nowhere():
    x, kernel = operands((3, 5), (4, 4))
    with pytest.raises(ValueError, match=r"spans \(4, 4\) finds no place"):
        conv(x, kernel, padding="VALID")
