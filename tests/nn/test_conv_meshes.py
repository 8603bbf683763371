"""Spread over devices in any of JAX's ways, the convolution is XLA's on one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P, lax
from jax.sharding import AxisType, NamedSharding

from gen_jax.nn.conv import conv
from gen_jax.nn.conv import cpu as conv_cpu

# sides, kernel, strides, dilation
CASES = {
    "plain": ((5, 4), (3, 3), (1, 1), (1, 1)),
    "strided": ((7, 6), (3, 3), (2, 2), (1, 1)),
    "minimal filtering": ((8, 8), (4, 4), (2, 2), (1, 1)),
    "dilated": ((7, 6), (3, 2), (1, 1), (2, 3)),
    "sound": ((9,), (2,), (1,), (4,)),
    "one tap": ((5, 4), (1, 1), (2, 1), (1, 1)),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def both(name, monkeypatch):
    """Ours and XLA's own as functions of (x, kernel), and those two."""
    sides, size, strides, dilation = CASES[name]
    if name == "minimal filtering":
        monkeypatch.setattr(conv_cpu, "WIDE", 0)
        monkeypatch.setattr(conv_cpu, "NARROW", 1)
    letters = "HW"[: len(sides)]
    theirs = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding="SAME",
        rhs_dilation=dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    ours = functools.partial(conv, strides=strides, dilation=dilation)
    return ours, theirs, *operands(sides, size)


def operands(sides, size, batch=8):
    keys = jax.random.split(jax.random.key(sum(sides) + sum(size)), 2)
    x = jax.random.normal(keys[0], (batch, *sides, 2), jnp.float64)
    return x, jax.random.normal(keys[1], (*size, 2, 4), jnp.float64)


def same(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9), ours, theirs)


def derivatives(function, x, kernel):
    """y, both gradients, and the gradients of functions of both gradients."""

    def loss(x, kernel):
        return jnp.sin(function(x, kernel)).sum()

    def of_gradient(which):
        return lambda *a: jnp.sin(jax.grad(loss, which)(*a)).sum()

    gradients = [jax.grad(f, (0, 1)) for f in (loss, of_gradient(0), of_gradient(1))]
    return function(x, kernel), *(gradient(x, kernel) for gradient in gradients)


def placed(mesh, x, kernel, x_spec=P("data"), kernel_spec=P()):  # noqa: B008
    x = jax.device_put(x, NamedSharding(mesh, x_spec))
    return x, jax.device_put(kernel, NamedSharding(mesh, kernel_spec))


def mesh_of(kind, shape=(4,), names=("data",)):
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


@pytest.mark.parametrize("how", ["automatic", "explicit", "manual"])
@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_a_batch_over_devices(name, how, monkeypatch):
    """Those of the whole batch: the kernel's gradient is summed over devices exactly once."""
    ours, theirs, x, kernel = both(name, monkeypatch)
    expected = jax.jit(functools.partial(derivatives, theirs))(x, kernel)
    spread = functools.partial(derivatives, ours)
    mesh = mesh_of(AxisType.Explicit if how == "explicit" else AxisType.Auto)
    if how == "manual":
        specs = (P("data"), *((P("data"), P()),) * 3)
        spread = jax.shard_map(spread, mesh=mesh, in_specs=(P("data"), P()), out_specs=specs)
    with jax.set_mesh(mesh):
        result = jax.jit(spread)(*placed(mesh, x, kernel))
    same(result, expected)
    if how == "explicit":
        y, *gradients = jax.tree.map(lambda a: jax.typeof(a).sharding.spec, result)
        assert y[0] == "data"
        assert all(x[0] == "data" and set(kernel) == {None} for x, kernel in gradients)


@pytest.mark.parametrize("how", ["unchecked", "pmap"])
@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_each_device_alone(name, how, monkeypatch):
    """Where nothing is summed: ``shard_map`` without its check, and ``pmap``."""
    ours, theirs, x, kernel = both(name, monkeypatch)
    x = x.reshape(4, 2, *x.shape[1:])
    expected = jax.jit(jax.vmap(functools.partial(derivatives, theirs), (0, None)))(x, kernel)
    each = functools.partial(derivatives, ours)
    if how == "pmap":
        same(jax.pmap(each, "data", in_axes=(0, None))(x, kernel), expected)
        return

    def alone(x, kernel):
        return jax.tree.map(lambda a: a[None], each(x[0], kernel))

    spread = jax.shard_map(
        alone,
        mesh=mesh_of(AxisType.Auto),
        in_specs=(P("data"), P()),
        out_specs=P("data"),
        check_vma=False,
    )
    same(jax.jit(spread)(x, kernel), expected)


def put(mesh, x, kernel, x_spec=P("data"), kernel_spec=P()):  # noqa: B008
    return [
        jax.device_put(a, NamedSharding(mesh, spec))
        for a, spec in ((x, x_spec), (kernel, kernel_spec))
    ]
