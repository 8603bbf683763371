"""``vmap`` over images, kernels or both, in any nesting, and as one convolution off the CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from gen_jax.nn.conv import conv
from gen_jax.nn.conv import cpu as conv_cpu

# sides, kernel, strides, dilation
CASES = {
    "plain": ((5, 4), (3, 3), (1, 1), (1, 1)),
    "minimal filtering": ((5, 4), (2, 3), (1, 1), (1, 1)),
    "strided": ((7, 9), (4, 4), (2, 2), (1, 1)),
    "sound": ((9,), (2,), (1,), (4,)),
}
AXES = {"x": (0, None), "kernel": (None, 0), "both": (0, 0)}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def pair(name):
    """Ours and XLA's own, as functions of x and kernel."""
    sides, _, strides, dilation = CASES[name]
    letters = "HW"[: len(sides)]
    theirs = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding="SAME",
        rhs_dilation=dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    return functools.partial(conv, strides=strides, dilation=dilation), theirs


def operands(name, *mapped):
    """x and kernel, with leading axes of these sizes each."""
    sides, size, *_ = CASES[name]
    keys = jax.random.split(jax.random.key(sum(sides)), 2)
    x = jax.random.normal(keys[0], (*mapped, 4, *sides, 2), jnp.float64)
    return x, jax.random.normal(keys[1], (*mapped, *size, 2, 3), jnp.float64)


def same(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9), ours, theirs)


def gradients(function):
    return jax.value_and_grad(lambda *a: jnp.sin(function(*a)).sum(), (0, 1))


def penalty(function):
    """The gradients of a function of both gradients: every map, differentiated."""

    def of_gradients(x, kernel):
        value, (to_x, to_kernel) = gradients(function)(x, kernel)
        return value + jnp.sin(to_x).sum() + jnp.sin(to_kernel).sum()

    return jax.grad(of_gradients, (0, 1))


@pytest.mark.parametrize("mapped", AXES)
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_second_derivatives(name, mapped, monkeypatch):
    if name == "minimal filtering":  # however narrow and few
        for bound in ("MANY_PRODUCTS", "WIDE", "NARROW", "FEW_ROWS"):
            monkeypatch.setattr(conv_cpu, bound, 0)
    x, kernel = operands(name, 3)
    axes = AXES[mapped]
    x, kernel = (a if axis == 0 else a[0] for a, axis in zip((x, kernel), axes, strict=True))
    ours, theirs = (
        jax.jit(jax.vmap(lambda *a, f=f: (f(*a), gradients(f)(*a), penalty(f)(*a)), axes))
        for f in pair(name)
    )
    same(ours(x, kernel), theirs(x, kernel))


@pytest.mark.parametrize("outer", AXES)
@pytest.mark.parametrize("inner", AXES)
def test_maps_within_maps(inner, outer):
    x, kernel = operands("strided", 2, 3)

    def nested(function):
        mapped = jax.vmap(jax.vmap(gradients(function), AXES[inner]), AXES[outer])
        arrays = [
            a[tuple(slice(None) if axis == 0 else 0 for axis in axes)]
            for a, axes in zip((x, kernel), zip(AXES[outer], AXES[inner], strict=True), strict=True)
        ]
        return jax.jit(mapped)(*arrays)

    ours, theirs = map(nested, pair("strided"))
    same(ours, theirs)


@pytest.mark.parametrize(("x_axis", "kernel_axis", "out_axis"), [(3, 4, 2), (1, 0, 4), (4, 2, 1)])
def test_the_mapped_axis_lies_anywhere(x_axis, kernel_axis, out_axis):
    x, kernel = operands("strided", 3)
    x, kernel = jnp.moveaxis(x, 0, x_axis), jnp.moveaxis(kernel, 0, kernel_axis)
    axes = (x_axis, kernel_axis)
    ours, theirs = (jax.vmap(f, axes, out_axis)(x, kernel) for f in pair("strided"))
    same(ours, theirs)


def test_forward_over_reverse_over_a_map():
    x, kernel = operands("strided", 3)
    tangents = (jnp.cos(x), jnp.sin(kernel))

    def differentiated(function):
        return jax.jit(functools.partial(jax.jvp, jax.vmap(gradients(function))))

    ours, theirs = (differentiated(f)((x, kernel), tangents) for f in pair("strided"))
    same(ours, theirs)


def test_gradients_of_each_example():
    x, kernel = operands("strided")

    def of_one(function, x, kernel):
        return jax.grad(lambda k: jnp.sin(function(x[None], k)).sum())(kernel)

    ours, theirs = (
        jax.jit(jax.vmap(functools.partial(of_one, f), (0, None)))(x, kernel)
        for f in pair("strided")
    )
    same(ours, theirs)


@pytest.mark.parametrize("mapped", AXES)
def test_of_nothing_there_is_nothing(mapped):
    axes = AXES[mapped]
    x, kernel = operands("strided", 2)
    x, kernel = (a[:0] if axis == 0 else a[0] for a, axis in zip((x, kernel), axes, strict=True))
    mapped_gradients = jax.vmap(gradients(pair("strided")[0]), axes)
    value, (to_x, to_kernel) = mapped_gradients(x, kernel)
    assert value.shape == (0,)
    assert len(to_x) == len(to_kernel) == 0


def test_off_the_cpu_there_is_no_loop():
    """Feature groups of one convolution, for ensembles and for the gradients of each example."""
    x, kernel = (a.astype(jnp.float32) for a in operands("strided", 3))
    function = gradients(pair("strided")[0])

    def each_example(x, kernel):
        return jax.vmap(lambda x: function(x[None], kernel))(x)

    for mapped, arrays in (
        (jax.vmap(function), (x, kernel)),
        (jax.vmap(function, (None, 0)), (x[0], kernel)),
        (each_example, (x[0], kernel[0])),
    ):
        exported = export.export(jax.jit(mapped), platforms=("cuda", "tpu"))(*arrays)
        text = exported.mlir_module()
        assert "stablehlo.convolution" in text
        assert "stablehlo.while" not in text
        export.export(jax.jit(mapped), platforms=("cpu", "cuda", "tpu"))(*arrays)
