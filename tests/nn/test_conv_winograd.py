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
    keys = jax.random.split(jax.random.key(sum(sides)), 2)
    x = jax.random.normal(keys[0], (batch, *sides, 2), jnp.float64)
    kernel = jax.random.normal(keys[1], (*size, 2, 3), jnp.float64)
    return Geometry(strides, pads, (1, 1), sides, size), x, kernel


@pytest.mark.parametrize("chunk_bytes", [1, 2**11, 2**24])
@pytest.mark.parametrize("name", TWO_STRIDES)
def test_minimal_filtering_gives_all_three_maps(name, chunk_bytes, monkeypatch):
    """Whatever sides, pads, and images at a time."""
    monkeypatch.setattr(winograd, "CHUNK_BYTES", chunk_bytes)
    g, x, kernel = two_strides(name)
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


def test_minimal_filtering_reads_what_lies_under_the_kernel_and_nothing_else():
    """Bit for bit, though the sums of neighbouring outputs share their products."""
    g, x, kernel = two_strides("halving", batch=1)
    apply = jax.jit(functools.partial(winograd.apply, geometry=g))
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
    assert all(not winograd.fits(g) for g in others.values())

    def products(dtype, c_in, c_out, batch=16):
        x = jax.ShapeDtypeStruct((batch, 8, 8, c_in), dtype)
        kernel = jax.ShapeDtypeStruct((4, 4, c_in, c_out), dtype)
        lowered = jax.jit(lambda x, k: conv_cpu.apply(x, k, halving)).lower(x, kernel).as_text()
        return lowered.count("stablehlo.dot_general"), lowered.count("stablehlo.convolution")

    assert products(jnp.float32, 64, 128) == (9, 0)
    assert products(jnp.float32, 8, 16) == (0, 1)
    assert products(jnp.bfloat16, 64, 128) == (0, 1)
    assert products(jnp.float32, 64, 128, batch=2) == (1, 0)  # a kernel larger than its maps
