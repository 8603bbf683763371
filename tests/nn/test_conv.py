"""The convolution is XLA's, with its derivatives of every order and mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.test_util import check_grads

from gen_jax.nn.conv import conv, conv_transpose, upsample_conv

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


# side(s), kernel, dilation
MIRRORED = {
    "square": ((5, 6), (3, 3), (1, 1)),
    "as far as can be": ((4, 2), (7, 3), (1, 1)),
    "uneven": ((5, 6), (1, 5), (1, 1)),
    "dilated": ((7, 6), (3, 3), (2, 1)),
    "few outputs": ((6, 5), (3, 3), (1, 1)),
    "one tap": ((1, 4), (1, 1), (1, 1)),
    "sound": ((7,), (5,), (1,)),
}


@pytest.mark.parametrize("name", MIRRORED)
def test_a_mirrored_image_is_convolved_as_if_it_went_on(name):
    sides, size, dilation = MIRRORED[name]
    channels = {"c_in": 20, "c_out": 3} if name == "few outputs" else {}
    x, kernel = operands(sides, size, **channels, batch=2)
    ours = functools.partial(conv, padding="REFLECT", dilation=dilation)
    edges = [(k // 2 * d,) * 2 for k, d in zip(size, dilation, strict=True)]

    def theirs(x, kernel):
        x = jnp.pad(x, [(0, 0), *edges, (0, 0)], mode="reflect")
        ones = (1,) * len(sides)
        return reference(x, kernel, strides=ones, padding="VALID", dilation=dilation)

    def all_of(function):
        def loss(x, kernel):
            return jnp.sin(function(x, kernel)).sum()

        def penalty(x, kernel):
            return jnp.sin(jax.grad(loss)(x, kernel)).sum()

        return jax.jit(
            lambda x, kernel: (
                function(x, kernel),
                jax.jvp(function, (x, kernel), (jnp.sin(x), jnp.cos(kernel)))[1],
                jax.grad(loss, (0, 1))(x, kernel),
                jax.grad(penalty, (0, 1))(x, kernel),
                jax.vmap(function)(jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel])),
            )
        )(x, kernel)

    result = all_of(ours)
    assert result[0].shape == (2, *sides, kernel.shape[-1])
    same(result, all_of(theirs))


def test_images_and_kernels_that_cannot_be_mirrored():
    x, kernel = operands((3, 5), (7, 3))
    with pytest.raises(ValueError, match=r"image of \(3, 5\) .* must be at least \(4, 2\)"):
        conv(x, kernel, padding="REFLECT")
    for size, strides in (((4, 3), 1), ((3, 3), 2)):
        _, kernel = operands((3, 5), size)
        with pytest.raises(ValueError, match="for stride 1 and kernels that span an odd number"):
            conv(x, kernel, strides=strides, padding="REFLECT")
    with pytest.raises(ValueError, match='padding must be "SAME", "VALID" or 2'):
        conv_transpose(x, kernel, padding="REFLECT")


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


def test_lowers_for_every_platform_with_second_derivatives():
    x, kernel = (a.astype(jnp.float32) for a in operands((8, 8), (4, 4)))

    def penalty(x, kernel):
        inner = jax.grad(lambda x: jnp.tanh(conv(x, kernel, strides=2)).sum())(x)
        return (inner**2).sum()

    platforms = ("cpu", "cuda", "tpu")
    lowered = export.export(jax.jit(jax.grad(penalty, (0, 1))), platforms=platforms)(x, kernel)
    assert lowered.platforms == platforms


def test_values_and_gradients_under_checkpointing():
    ours, theirs, x, kernel = pair("halving odd sides")

    def gradients(function):
        return jax.jit(jax.grad(lambda *a: jnp.sin(function(*a)).sum(), (0, 1)))(x, kernel)

    same(gradients(jax.checkpoint(ours)), gradients(theirs))


def test_works_step_by_step_without_jit():
    ours, theirs, x, kernel = pair("halving")
    with jax.disable_jit():
        y = ours(x, kernel)
    same(y, theirs(x, kernel))


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
        with pytest.raises(ValueError, match="a convolution expects x"):
            conv(bad, kernel)


def test_dtypes_that_differ():
    x, kernel = operands((5, 5), (3, 3))
    with pytest.raises(ValueError, match="the same dtype, got float64 and float32"):
        conv(x, kernel.astype(jnp.float32))


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
