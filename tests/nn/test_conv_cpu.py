"""How the CPU computes the three maps of a convolution: always XLA's numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gen_jax.nn.conv import conv, conv_transpose, xla
from gen_jax.nn.conv import cpu as conv_cpu
from gen_jax.nn.conv.geometry import Geometry

GEOMETRIES = {
    "same": Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), (7, 6), (3, 3)),
    "valid": Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), (7, 6), (3, 2)),
    "dilated": Geometry((1, 1), ((2, 2), (3, 3)), (2, 3), (9, 8), (3, 3)),
    "shifted": Geometry((1, 1), ((2, -1), (3, -1)), (1, 1), (6, 5), (2, 3)),
    "halving odd sides": Geometry((2, 2), ((1, 2), (1, 2)), (1, 1), (7, 9), (4, 4)),
    "sound": Geometry((1,), ((4, 0),), (4,), (12,), (2,)),
    "strided sound": Geometry((3,), ((1, 1),), (1,), (12,), (5,)),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def same(ours, theirs, rtol=1e-10):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10), ours, theirs
    )


def operands(g, c_in, c_out, batch=4):
    """x, kernel and y."""
    shapes = (
        (batch, *g.input_size, c_in),
        (*g.kernel_size, c_in, c_out),
        (batch, *g.output_size, c_out),
    )
    keys = jax.random.split(jax.random.key(sum(g.input_size)), 3)
    return [jax.random.normal(k, shape, jnp.float64) for k, shape in zip(keys, shapes, strict=True)]


@jax.jit(static_argnames="g")
def xla_maps(x, kernel, y, g):
    result, pull_back = jax.vjp(functools.partial(xla.convolution, geometry=g), x, kernel)
    return result, *pull_back(y)


def cpu_maps(x, kernel, y, g):
    return (
        jax.jit(conv_cpu.apply, static_argnums=2)(x, kernel, g),
        jax.jit(conv_cpu.input_gradient, static_argnums=2)(y, kernel, g),
        jax.jit(conv_cpu.kernel_gradient, static_argnums=2)(x, y, g),
    )


@pytest.mark.parametrize("name", ["same", "valid", "dilated", "shifted", "sound"])
def test_a_few_outputs_of_many_channels(name):
    """The CPU then sums shifted products, and takes patches of the outputs' gradient."""
    g = GEOMETRIES[name]
    arrays = operands(g, 20, 3)
    same(cpu_maps(*arrays, g), xla_maps(*arrays, g))


def chosen(which, strides, dtype=jnp.float32):
    """Which way computes a map of 4 images, of 147,456 products or more."""
    g = Geometry(
        (strides,) * 2, ((1, 1), (1, 1)), (1, 1), (8, 8), (4, 4) if strides > 1 else (3, 3)
    )
    arrays = {
        "x": jnp.ones((4, *g.input_size, 8), dtype),
        "kernel": jnp.ones((*g.kernel_size, 8, 8), dtype),
        "y": jnp.ones((4, *g.output_size, 8), dtype),
    }
    one, two = {
        "apply": ("x", "kernel"),
        "input_gradient": ("y", "kernel"),
        "kernel_gradient": ("x", "y"),
    }[which]
    way = getattr(conv_cpu, which)
    lowered = jax.jit(lambda a, b: way(a, b, g)).lower(arrays[one], arrays[two]).as_text()
    if "stablehlo.convolution" not in lowered and "stablehlo.while" not in lowered:
        return "products"
    pieces = ("stablehlo.pad", "stablehlo.dot_general", "stablehlo.while", "stablehlo.slice")
    return "other" if any(piece in lowered for piece in pieces) else "xla"


@pytest.mark.parametrize("which", ["apply", "input_gradient", "kernel_gradient"])
def test_small_convolutions_are_one_of_xla(which, monkeypatch):
    """But strided ones that go down, low precision, and kernels larger than their maps."""
    monkeypatch.setattr(conv_cpu, "SMALL", 2**20)
    assert chosen(which, 1) == "xla"
    assert (chosen(which, 2) == "xla") == (which != "apply")
    if which == "kernel_gradient":  # of the others one convolution may be the way of large ones
        assert chosen(which, 1, jnp.bfloat16) == "other"
        monkeypatch.setattr(conv_cpu, "SMALL", 2**17)
        assert chosen(which, 1) == "other"
    monkeypatch.setattr(conv_cpu, "SMALL", 2**20)
    monkeypatch.setattr(conv_cpu, "WIDE", 0)
    monkeypatch.setattr(conv_cpu, "FEW_ROWS", 2**10)
    assert chosen(which, 1) == "products"


@pytest.mark.parametrize("strides", [1, 2])
def test_whole_numbers_are_convolved(strides):
    x = jnp.arange(2 * 6 * 6 * 2, dtype=jnp.int32).reshape(2, 6, 6, 2) % 7
    kernel = jnp.arange(3 * 3 * 2 * 3, dtype=jnp.int32).reshape(3, 3, 2, 3) % 5
    same(conv(x, kernel, strides=strides), reference(x, kernel, strides))


@pytest.mark.parametrize("patch_bytes", [1, 2**12, 2**15, 2**20])
@pytest.mark.parametrize("name", ["same", "halving odd sides", "sound", "strided sound"])
def test_kernel_gradients_agree_however_batch_and_rows_are_cut(name, patch_bytes, monkeypatch):
    """The CPU takes the patches of a few images, or of a few rows of one, at a time."""
    monkeypatch.setattr(conv_cpu, "PATCH_BYTES", patch_bytes)
    g = GEOMETRIES[name]
    x, kernel, y = operands(g, 4, 5, batch=6)
    ours = jax.jit(functools.partial(conv_cpu.kernel_gradient, geometry=g))(x, y)
    same(ours, xla_maps(x, kernel, y, g)[2])


def reference(x, kernel, strides, padding="SAME"):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (strides, strides), padding, dimension_numbers=numbers
    )


def dilations(function, *args):
    """The (input, kernel) dilations of every convolution in what XLA's CPU compiler is given."""
    text = jax.jit(function).lower(*args).as_text(dialect="hlo")
    return [line for line in text.splitlines() if " convolution(" in line and "_dilate=" in line]


def test_on_the_cpu_no_gradient_computes_the_zeros_of_a_stride():
    x, kernel = jnp.ones((4, 8, 8, 2)), jnp.ones((4, 4, 2, 3))

    def loss(f):
        return lambda x, kernel: jnp.sin(f(x, kernel)).sum()

    ours = jax.grad(loss(functools.partial(conv, strides=2)), (0, 1))
    up = jax.grad(loss(functools.partial(conv_transpose, strides=2)), (0, 1))
    xla = functools.partial(reference, strides=2)
    assert dilations(jax.grad(loss(xla), (0, 1)), x, kernel)  # what this test would find
    assert not dilations(ours, x, kernel)
    assert not dilations(up, x, kernel)


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
    "unpadded 3x3, 128 to 128": ((6, 5), (3, 3), 1, (128, 128)),
    "unpadded 3x3, 32 to 64": ((6, 5), (3, 3), 1, (32, 64)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_with_the_channels_of_real_networks(name):
    """Wide enough for what the CPU does about vectors, cores and copies; in float32, as it does."""
    sides, size, strides, (c_in, c_out) = NETWORKS[name]
    random = np.random.default_rng(0)
    x = random.standard_normal((2, *sides, c_in), np.float32)
    kernel = random.standard_normal((*size, c_in, c_out), np.float32)
    ours = functools.partial(conv, strides=strides)
    theirs = functools.partial(reference, strides=strides)
    if name.startswith("unpadded"):
        ours, theirs = (functools.partial(f, padding="VALID") for f in (ours, theirs))
    weights = random.standard_normal(jax.eval_shape(theirs, x, kernel).shape, np.float32)

    def both(function):
        def value_and_gradients(x, kernel):
            y, gradients = jax.vjp(function, x, kernel)
            return y, gradients(weights)

        return jax.jit(value_and_gradients)(x, kernel)

    same(both(ours), both(theirs), rtol=1e-4)
