"""Minimal filtering gives XLA's numbers, from the same pixels, where the CPU uses it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn.conv import cpu as conv_cpu
from gen_jax.nn.conv import winograd, xla
from gen_jax.nn.conv.geometry import Geometry


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def same(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9), ours, theirs)


# sides, taps, strides, pads
CASES = {
    "halving": ((8, 8), (2, 2), (2, 2), ((1, 1), (1, 1))),
    "odd numbers of outputs": ((10, 14), (2, 2), (2, 2), ((1, 1), (1, 1))),
    "uneven strides": ((9, 11), (2, 2), (3, 2), ((2, 1), (1, 2))),
    "pixels that no kernel reaches": ((11, 9), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "cropped": ((10, 9), (2, 2), (2, 2), ((-1, 2), (3, -2))),
    "one output": ((4, 5), (2, 2), (2, 3), ((0, 0), (0, 1))),
    "rows above": ((6, 8), (2, 3), (1, 1), ((1, 0), (1, 1))),
    "rows above, odd sides": ((7, 5), (2, 3), (1, 1), ((1, 0), (1, 1))),
    "same": ((6, 8), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "valid, odd sides": ((7, 5), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "full": ((4, 5), (3, 2), (1, 1), ((2, 2), (1, 1))),
    "three strides": ((9, 11), (3, 3), (2, 3), ((2, 2), (0, 1))),
    "a stride along one axis": ((8, 6), (2, 3), (2, 1), ((1, 1), (1, 1))),
}


def case(name, batch=4, dtype=jnp.float64, channels=(2, 3)):
    sides, taps, strides, pads = CASES[name]
    size = tuple(t * s for t, s in zip(taps, strides, strict=True))
    keys = jax.random.split(jax.random.key(sum(sides)), 2)
    x = jax.random.normal(keys[0], (batch, *sides, channels[0]), dtype)
    kernel = jax.random.normal(keys[1], (*size, *channels), dtype)
    return Geometry(strides, pads, (1, 1), sides, size), x, kernel


@pytest.mark.parametrize("chunk_bytes", [1, 2**11, 2**24])
@pytest.mark.parametrize("name", CASES)
def test_minimal_filtering_gives_all_three_maps(name, chunk_bytes, monkeypatch):
    """Whatever sides, pads, and images at a time."""
    monkeypatch.setattr(winograd, "CHUNK_BYTES", chunk_bytes)
    g, x, kernel = case(name)
    assert winograd.fits(g)

    def maps(apply, input_gradient, kernel_gradient):
        def all_three(x, kernel):
            y = jnp.cos(apply(x, kernel))
            return apply(x, kernel), input_gradient(x, y, kernel), kernel_gradient(x, y, kernel)

        return jax.jit(all_three)(x, kernel)

    def theirs(x, kernel):
        return xla.convolution(x, kernel, g)

    ours = maps(
        lambda x, kernel: winograd.apply(x, kernel, g),
        lambda _, y, kernel: winograd.input_gradient(y, kernel, g),
        lambda x, y, _: winograd.kernel_gradient(x, y, g),
    )
    same(
        ours,
        maps(
            theirs,
            lambda x, y, kernel: jax.vjp(theirs, x, kernel)[1](y)[0],
            lambda x, y, kernel: jax.vjp(theirs, x, kernel)[1](y)[1],
        ),
    )


@pytest.mark.parametrize("name", ["halving", "rows above", "same", "valid, odd sides"])
def test_minimal_filtering_reads_what_lies_under_the_kernel_and_nothing_else(name):
    """Bit for bit, though the sums of neighbouring outputs share their products."""
    g, x, kernel = case(name, batch=1)
    apply = jax.jit(functools.partial(winograd.apply, geometry=g))
    y = np.asarray(apply(x, kernel))

    def seen(at, axis):
        (low, _), stride, size = g.pads[axis], g.strides[axis], g.kernel_size[axis]
        starts = [i * stride - low for i in range(g.output_size[axis])]
        return {i for i, start in enumerate(starts) if start <= at < start + size}

    for row, column in np.ndindex(*g.input_size):
        changed = np.any(y != apply(x.at[:, row, column].add(1.0), kernel), axis=-1)[0]
        assert {tuple(map(int, at)) for at in np.argwhere(changed)} == {
            (i, j) for i in seen(row, 0) for j in seen(column, 1)
        }


@pytest.mark.parametrize("name", ["halving", "rows above", "same"])
def test_minimal_filtering_in_float32_is_nearly_as_exact_as_the_direct_sum(name):
    """Its error, by the root of the mean square, is below four times that of XLA's convolution."""
    g, x, kernel = case(name, batch=2, channels=(64, 48))
    y = jax.jit(xla.apply, static_argnums=2)(x, kernel, g)
    pairs = ((x, kernel), (y, kernel), (x, y))
    for map_name, operands in zip(
        ("apply", "input_gradient", "kernel_gradient"), pairs, strict=True
    ):
        exact = jax.jit(getattr(xla, map_name), static_argnums=2)(*operands, g)

        def error(way, operands=operands, map_name=map_name, exact=exact):
            single = [a.astype(jnp.float32) for a in operands]
            result = jax.jit(getattr(way, map_name), static_argnums=2)(*single, g)
            assert result.dtype == jnp.float32
            return float(jnp.sqrt(jnp.square(result - exact).mean()))

        assert error(winograd) < 4.0 * error(xla)


def lowered(geometry, dtype, c_in, c_out, batch=16):
    """How many matrix products and convolutions the CPU makes of ``apply``."""
    g = geometry
    x = jax.ShapeDtypeStruct((batch, *g.input_size, c_in), dtype)
    kernel = jax.ShapeDtypeStruct((*g.kernel_size, c_in, c_out), dtype)
    text = jax.jit(lambda x, k: conv_cpu.apply(x, k, g)).lower(x, kernel).as_text()
    return text.count("stablehlo.dot_general"), text.count("stablehlo.convolution")


def test_the_cpu_filters_two_strides_minimally_where_it_is_exact_and_pays():
    halving = Geometry((2, 2), ((1, 1), (1, 1)), (1, 1), (8, 8), (4, 4))
    for other in ({"kernel_size": (3, 3)}, {"kernel_size": (8, 8)}, {"dilation": (2, 2)}):
        assert not winograd.fits(dataclasses.replace(halving, **other))
    assert lowered(halving, jnp.float32, 64, 128) == (9, 0)
    assert lowered(halving, jnp.float32, 8, 16) == (0, 1)
    assert lowered(halving, jnp.bfloat16, 64, 128) == (0, 1)
    assert lowered(halving, jnp.float32, 64, 128, batch=2) == (1, 0)  # larger than its maps


def test_the_cpu_filters_stride_one_minimally_where_it_is_exact_and_pays():
    above = Geometry((1, 1), ((1, 0), (1, 1)), (1, 1), (28, 28), (2, 3))
    for other in ({"kernel_size": (1, 2)}, {"kernel_size": (4, 4)}, {"dilation": (1, 2)}):
        assert not winograd.fits(dataclasses.replace(above, **other))
    assert lowered(above, jnp.float32, 128, 256) == (12, 0)
    same = dataclasses.replace(above, kernel_size=(3, 3), pads=((1, 1), (1, 1)))
    assert lowered(same, jnp.float32, 128, 128) == (16, 0)
    assert lowered(same, jnp.float32, 64, 64) == (0, 1)
    assert lowered(above, jnp.bfloat16, 128, 256) == (0, 1)
    masked = dataclasses.replace(above, masked=True)
    assert lowered(masked, jnp.float32, 128, 256) == (0, 1)
    few = dataclasses.replace(above, input_size=(8, 8))
    assert lowered(few, jnp.float32, 128, 256) == (0, 1)
