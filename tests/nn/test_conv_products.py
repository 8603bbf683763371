"""Kernels larger than the maps that they meet: products of taps, as they are stored."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.test_util import check_grads

from gen_jax.nn.conv import conv, conv_transpose, products, xla
from gen_jax.nn.conv import cpu as conv_cpu
from gen_jax.nn.conv.geometry import (
    APPLY,
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    Geometry,
    flipped,
    straightening,
)

ONE, TWO = (1, 1), (2, 2)
GEOMETRIES = {
    "to one pixel": Geometry(TWO, (ONE, ONE), ONE, (2, 2), (4, 4)),
    "halving": Geometry(TWO, (ONE, ONE), ONE, (4, 2), (4, 4)),
    "halving odd sides": Geometry(TWO, ((1, 2), (1, 2)), ONE, (3, 5), (4, 4)),
    "same": Geometry(ONE, (ONE, ONE), ONE, (2, 3), (3, 3)),
    "valid": Geometry(ONE, ((0, 0), (0, 0)), ONE, (3, 3), (3, 2)),
    "dilated": Geometry((2, 1), ((2, 2), (3, 3)), (2, 3), (4, 3), (3, 3)),
    "cropped": Geometry(ONE, ((2, -1), (3, -1)), ONE, (4, 3), (2, 3)),
    "in the padding alone": Geometry(ONE, ((4, -2), (0, 0)), ONE, (2, 2), (2, 2)),
    "stride beyond the image": Geometry((5, 1), ((1, 9), (0, 0)), ONE, (2, 2), (7, 1)),
    "sound": Geometry((2,), ((3, 1),), (1,), (3,), (5,)),
}
MAPS = {
    "apply": (APPLY, products.apply),
    "input gradient": (INPUT_GRADIENT, products.input_gradient),
    "kernel gradient": (KERNEL_GRADIENT, products.kernel_gradient),
}
NATIVE = {
    "apply, by XLA": (APPLY, xla.apply),
    "input gradient, by XLA": (INPUT_GRADIENT, xla.input_gradient),
    "kernel gradient, by XLA": (KERNEL_GRADIENT, xla.kernel_gradient),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def same(ours, theirs, rtol=1e-10):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10), ours, theirs
    )


def operands(g, batch=3, c_in=4, c_out=5):
    """x, kernel and y by their roles."""
    random = np.random.default_rng(0)
    shapes = {
        "x": (batch, *g.input_size, c_in),
        "kernel": (*g.kernel_size, c_in, c_out),
        "y": (batch, *g.output_size, c_out),
    }
    arrays = {name: jnp.asarray(random.normal(size=shape)) for name, shape in shapes.items()}
    return arrays | {"turned kernel": flipped(arrays["kernel"])}


def xla_map(roles, arrays, g):
    """One of the three by XLA, of arrays that are not turned."""
    if roles == APPLY:
        return xla.convolution(arrays["x"], arrays["kernel"], g)
    of = functools.partial(xla.convolution, geometry=g)
    to_x, to_kernel = jax.vjp(of, arrays["x"], arrays["kernel"])[1](arrays["y"])
    return to_x if roles == INPUT_GRADIENT else to_kernel


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("which", "name"),
    [*itertools.product(MAPS, GEOMETRIES), *itertools.product(NATIVE, ["halving odd sides"])],
)
def test_every_map_is_that_of_xla(which, name, turned):
    (roles, ours), g = (MAPS | NATIVE)[which], GEOMETRIES[name]
    arrays = operands(g)
    theirs = xla_map(roles, arrays, g)
    g = dataclasses.replace(g, turned=turned)
    one, two, result = g.named(roles)
    made = jax.jit(ours, static_argnums=2)(arrays[one], arrays[two], g)
    same(made, flipped(theirs) if result == "turned kernel" else theirs)


@pytest.mark.parametrize("which", MAPS)
def test_any_other_way_takes_turned_kernels_too(which):
    roles, g = MAPS[which][0], GEOMETRIES["halving"]
    arrays = operands(g)
    theirs = xla_map(roles, arrays, g)

    def way(a, b, geometry):
        assert not geometry.turned
        return xla_map(roles, arrays | dict(zip(roles, (a, b), strict=False)), geometry)

    g = dataclasses.replace(g, turned=True)
    one, two, result = g.named(roles)
    made = straightening(roles)(way)(arrays[one], arrays[two], g)
    same(made, flipped(theirs) if result == "turned kernel" else theirs)


def test_taps_that_reach_no_pixel_are_not_multiplied():
    """Of a 4x4 kernel at stride two, a map of 2x2 meets the four in the middle alone."""
    g = GEOMETRIES["to one pixel"]
    arrays = operands(g)
    flops = 2 * 3 * 4 * 4 * 5  # a batch of 3, four taps, channels 4 and 5
    for turned in (False, True):
        turn = dataclasses.replace(g, turned=turned)
        for roles, way in MAPS.values():
            one, two, _ = turn.named(roles)
            lowered = jax.jit(way, static_argnums=2).lower(arrays[one], arrays[two], turn)
            assert dots(lowered.as_text()) == flops


def dots(text):
    """Operations of the matrix products in a program: a multiplication and a sum are two."""
    total = 0
    for line in text.splitlines():
        if "stablehlo.dot_general" not in line:
            continue
        left, _, made = (shape_of(part) for part in line.split("tensor<")[1:4])
        contracted = line.split("contracting_dims = [")[1].split("]")[0]
        total += 2 * np.prod(made) * np.prod([left[int(axis)] for axis in contracted.split(",")])
    return total


def shape_of(text):
    return [int(size) for size in text.split(">")[0].split("x")[:-1]]


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_derivatives_of_every_order_under_every_transformation(function, monkeypatch):
    """With kernels that are not wide, made to be taken so, against those that are not."""
    ours = functools.partial(function, strides=2)
    x = operands(GEOMETRIES["halving"])["x"]
    kernel = jax.random.normal(jax.random.key(0), (4, 4, 4, 2), jnp.float64)

    def all_of(x, kernel):
        gradient = jax.grad(lambda *a: jnp.sin(ours(*a)).sum(), (0, 1))
        second = jax.grad(lambda *a: sum(jnp.sin(g).sum() for g in gradient(*a)), (0, 1))
        return ours(x, kernel), gradient(x, kernel), second(x, kernel)

    both = jnp.stack([x, jnp.cos(x)]), jnp.stack([kernel, jnp.sin(kernel)])
    ways = [
        (all_of, (x, kernel)),
        (jax.vmap(all_of), both),
        (jax.vmap(all_of, (None, 0)), (x, both[1])),
        (jax.vmap(all_of, (0, None)), (both[0], kernel)),
        (jax.vmap(all_of, (None, 4)), (x, jnp.moveaxis(both[1], 0, 4))),
    ]
    expected = [jax.jit(way)(*arrays) for way, arrays in ways]
    monkeypatch.setattr(conv_cpu, "WIDE", 0)
    jax.clear_caches()
    chosen = jax.jit(all_of).lower(x, kernel).as_text()
    assert "stablehlo.convolution" not in chosen
    same([jax.jit(way)(*arrays) for way, arrays in ways], expected)
    smooth = jax.jit(lambda *a: jnp.sin(ours(*a)).sum())
    check_grads(smooth, (x, kernel), order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("function", [conv, conv_transpose])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_where_it_is_chosen_numbers_are_the_same(function, dtype):
    """Channels as in a U-Net, in the dtypes that networks compute in."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, 2, 2, 96)), dtype)
    kernel = jnp.asarray(random.normal(size=(4, 4, 96, 96)), dtype)
    ours = functools.partial(function, strides=2)
    options = {"strides": (2, 2), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    if function is conv:
        options["window_strides"] = options.pop("strides")
    native = lax.conv_general_dilated if function is conv else lax.conv_transpose
    theirs = functools.partial(native, **options)

    def all_of(function):
        def gradients(x, kernel):
            y, pull_back = jax.vjp(function, x, kernel)
            return y, *pull_back(jnp.cos(y))

        return jax.jit(gradients)

    chosen = all_of(ours).lower(x, kernel).as_text()
    assert "stablehlo.convolution" not in chosen
    exact = all_of(theirs)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    tolerance = 1e-4 if dtype == jnp.float32 else 0.1
    for ours_made, made in zip(all_of(ours)(x, kernel), exact, strict=True):
        assert ours_made.dtype == dtype
        scale = float(jnp.abs(made).max())
        np.testing.assert_allclose(
            ours_made.astype(jnp.float32), made, rtol=0.0, atol=tolerance * scale
        )


def test_lowers_for_every_platform_with_second_derivatives():
    x, kernel = (jnp.ones(shape, jnp.float32) for shape in ((2, 2, 2, 96), (4, 4, 96, 96)))

    def penalty(x, kernel):
        inner = jax.grad(lambda x: jnp.tanh(conv_transpose(x, kernel, strides=2)).sum())(x)
        return (inner**2).sum()

    platforms = ("cpu", "cuda", "tpu")
    lowered = export.export(jax.jit(jax.grad(penalty, (0, 1))), platforms=platforms)(x, kernel)
    assert lowered.platforms == platforms
