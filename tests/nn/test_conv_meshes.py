"""Spread over devices in any of JAX's ways, the convolution is XLA's on one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P, lax
from jax.sharding import AxisType, NamedSharding

from gen_jax.nn.conv import Conv, ConvTranspose, UpsampleConv, conv, conv_transpose
from gen_jax.nn.conv import cpu as conv_cpu

# sides, kernel, strides, dilation
CASES = {
    "plain": ((5, 4), (3, 3), (1, 1), (1, 1)),
    "strided": ((7, 6), (3, 3), (2, 2), (1, 1)),
    "minimal filtering": ((8, 8), (4, 4), (2, 2), (1, 1)),
    "minimal filtering, stride one": ((5, 4), (2, 3), (1, 1), (1, 1)),
    "larger than its maps": ((4, 2), (4, 4), (2, 2), (1, 1)),
    "dilated": ((7, 6), (3, 2), (1, 1), (2, 3)),
    "sound": ((9,), (2,), (1,), (4,)),
    "one tap": ((5, 4), (1, 1), (2, 1), (1, 1)),
    "mirrored": ((5, 4), (3, 3), (1, 1), (1, 1)),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def both(name, monkeypatch):
    """Ours and XLA's own as functions of (x, kernel), and those two."""
    sides, size, strides, dilation = CASES[name]
    minimal = name.startswith("minimal filtering")
    if minimal or name == "larger than its maps":
        monkeypatch.setattr(conv_cpu, "WIDE", 0)
        monkeypatch.setattr(conv_cpu, "NARROW", 0)
    if minimal:
        monkeypatch.setattr(conv_cpu, "FEW_ROWS", 0)
        monkeypatch.setattr(conv_cpu, "MANY_PRODUCTS", 0)
    letters = "HW"[: len(sides)]
    options = {
        "window_strides": strides,
        "rhs_dilation": dilation,
        "dimension_numbers": (f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    }
    theirs = functools.partial(lax.conv_general_dilated, padding="SAME", **options)
    ours = functools.partial(conv, strides=strides, dilation=dilation)
    if name == "mirrored":

        def theirs(x, kernel):
            x = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
            return lax.conv_general_dilated(x, kernel, padding="VALID", **options)

        ours = functools.partial(ours, padding="REFLECT")
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


def mesh_of(kind):
    return jax.make_mesh((4,), ("data",), axis_types=(kind,))


def square_of(kind):
    return jax.make_mesh((2, 2), ("data", "model"), axis_types=(kind, kind))


def placed(mesh, array, *spec):
    return jax.device_put(array, NamedSharding(mesh, P(*spec)))


def spec_of(array):
    return tuple(jax.typeof(array).sharding.spec)


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
        result = jax.jit(spread)(placed(mesh, x, "data"), placed(mesh, kernel))
    same(result, expected)
    if how == "explicit":
        y, *gradients = result
        assert spec_of(y)[0] == "data"
        for to_x, to_kernel in gradients:
            assert spec_of(to_x)[0] == "data"
            assert set(spec_of(to_kernel)) == {None}


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


def first_gradients(function):
    return jax.grad(lambda *a: jnp.sin(function(*a)).sum(), (0, 1))


def test_the_compiled_program_sums_the_kernels_gradient_over_devices(monkeypatch):
    ours, _, x, kernel = both("strided", monkeypatch)
    mesh = mesh_of(AxisType.Explicit)
    arrays = placed(mesh, x, "data"), placed(mesh, kernel)
    with jax.set_mesh(mesh):
        lowered = jax.jit(lambda *a: first_gradients(ours)(*a)[1]).lower(*arrays)
    assert "all-reduce" in lowered.compile().as_text()


@pytest.mark.parametrize(
    ("x_spec", "kernel_spec"),
    [
        (("data",), (None, None, None, "model")),
        (("data", None, None, "model"), (None, None, "model")),
        (("data",), (None, None, "model")),
        ((("data", "model"),), ()),
        ((), (None, None, "model", "data")),
    ],
)
def test_channels_over_explicit_axes(x_spec, kernel_spec, monkeypatch):
    """The result has the batch's axes and the output channels'; gradients, their operands' own."""
    ours, theirs, x, kernel = both("strided", monkeypatch)
    expected = jax.jit(functools.partial(derivatives, theirs))(x, kernel)
    mesh = square_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        x, kernel = placed(mesh, x, *x_spec), placed(mesh, kernel, *kernel_spec)
        y, *gradients = jax.jit(functools.partial(derivatives, ours))(x, kernel)
    same((y, *gradients), expected)
    assert spec_of(y) == (spec_of(x)[0], None, None, spec_of(kernel)[-1])
    for pair in gradients:
        assert [spec_of(a) for a in pair] == [spec_of(x), spec_of(kernel)]


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_some_axes_manual_and_others_not(kind, monkeypatch):
    ours, theirs, x, kernel = both("strided", monkeypatch)
    mesh = square_of(kind)
    spread = jax.shard_map(
        first_gradients(ours),
        mesh=mesh,
        in_specs=(P("data"), P()),
        out_specs=(P("data"), P()),
        axis_names={"data"},
    )
    with jax.set_mesh(mesh):
        arrays = placed(mesh, x, "data"), placed(mesh, kernel, None, None, None, "model")
        same(jax.jit(spread)(*arrays), first_gradients(theirs)(x, kernel))


def test_operands_over_different_manual_axes(monkeypatch):
    """Each operand's gradient is summed over the axes that only the other one varies over."""
    ours, theirs, x, kernel = both("strided", monkeypatch)
    specs = (P("data"), P(None, None, None, "model"))
    mesh = square_of(AxisType.Auto)
    spread = jax.shard_map(first_gradients(ours), mesh=mesh, in_specs=specs, out_specs=specs)
    expected = first_gradients(theirs)(x, kernel)
    same(jax.jit(spread)(x, kernel), expected)
    same(spread(x, kernel), expected)


@pytest.mark.parametrize("checked", [True, False])
def test_gradients_of_what_was_mapped_over_devices(checked, monkeypatch):
    ours, theirs, x, kernel = both("strided", monkeypatch)
    spread = jax.shard_map(
        ours,
        mesh=mesh_of(AxisType.Auto),
        in_specs=(P("data"), P()),
        out_specs=P("data"),
        check_vma=checked,
    )
    same(jax.jit(first_gradients(spread))(x, kernel), first_gradients(theirs)(x, kernel))


def test_a_gradient_whose_sum_is_left_for_later(monkeypatch):
    """A kernel cast to reduced has an unreduced gradient, as under JAX's own convolution."""
    ours, theirs, x, kernel = both("strided", monkeypatch)

    def later(x, kernel):
        gradient = first_gradients(ours)(x, lax.pcast(kernel, ("data",), to="reduced"))[1]
        return lax.psum(gradient, "data")

    mesh, specs = mesh_of(AxisType.Auto), (P("data"), P())
    spread = jax.shard_map(later, mesh=mesh, in_specs=specs, out_specs=P())
    same(jax.jit(spread)(x, kernel), first_gradients(theirs)(x, kernel)[1])


MAPPED = {"x": (0, None), "kernel": (None, 0), "both": (0, 0)}


def mapped_operands(mapped, x, kernel):
    """The axes that ``vmap`` is over, and operands that have them."""
    axes = MAPPED[mapped]
    x = x if axes[0] is None else jnp.stack([x, jnp.cos(x)])
    return axes, x, kernel if axes[1] is None else jnp.stack([kernel, jnp.sin(kernel)])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("mapped", MAPPED)
def test_vmap_whose_axis_lies_over_devices(mapped, kind, monkeypatch):
    """As the batch does: on two axes of the mesh."""
    ours, theirs, x, kernel = both("strided", monkeypatch)
    axes, x, kernel = mapped_operands(mapped, x, kernel)
    expected = jax.jit(jax.vmap(first_gradients(theirs), axes))(x, kernel)
    explicit = kind == AxisType.Explicit
    spread = jax.vmap(first_gradients(ours), axes, spmd_axis_name=None if explicit else "model")
    mesh = square_of(kind)
    leads = [() if axis is None else ("model",) for axis in axes]
    with jax.set_mesh(mesh):
        result = jax.jit(spread)(
            placed(mesh, x, *leads[0], "data"), placed(mesh, kernel, *leads[1])
        )
    same(result, expected)
    if explicit:
        assert [spec_of(a)[:2] for a in result] == [("model", "data"), ("model", None)]


@pytest.mark.parametrize("mapped", MAPPED)
def test_vmap_and_shard_map_within_each_other(mapped, monkeypatch):
    ours, theirs, x, kernel = both("strided", monkeypatch)
    axes, x, kernel = mapped_operands(mapped, x, kernel)
    expected = jax.jit(jax.vmap(first_gradients(theirs), axes))(x, kernel)
    mesh, specs = square_of(AxisType.Auto), (P("data"), P())
    outer = jax.shard_map(first_gradients(ours), mesh=mesh, in_specs=specs, out_specs=specs)
    for name in (None, "model"):
        same(jax.jit(jax.vmap(outer, axes, spmd_axis_name=name))(x, kernel), expected)

    x_spec = P("data") if axes[0] is None else P(None, "data")
    for checked in (True, False):

        def of_shard(x, kernel, checked=checked):
            to_x, to_kernel = jax.vmap(first_gradients(ours), axes)(x, kernel)
            return to_x, to_kernel if checked else lax.psum(to_kernel, "data")

        inner = jax.shard_map(
            of_shard,
            mesh=mesh,
            in_specs=(x_spec, P()),
            out_specs=(P(None, "data"), P()),
            check_vma=checked,
        )
        same(jax.jit(inner)(x, kernel), expected)


@pytest.mark.parametrize("mapped", MAPPED)
def test_vmap_within_pmap(mapped, monkeypatch):
    ours, theirs, x, kernel = both("strided", monkeypatch)
    axes, x, kernel = mapped_operands(mapped, x, kernel)
    shards = jnp.stack(jnp.split(x, 4, axis=0 if axes[0] is None else 1))
    each = [jax.vmap(first_gradients(function), axes) for function in (ours, theirs)]
    result = jax.pmap(each[0], "data", in_axes=(0, None))(shards, kernel)
    same(result, jax.jit(jax.vmap(each[1], (0, None)))(shards, kernel))


@pytest.mark.parametrize("wide", [0, conv_cpu.WIDE])
@pytest.mark.parametrize("how", ["explicit", "manual"])
def test_transposed_convolutions(how, wide, monkeypatch):
    monkeypatch.setattr(conv_cpu, "WIDE", wide)
    x, kernel = operands((4, 3), (4, 4))
    theirs = functools.partial(
        lax.conv_transpose,
        strides=(2, 2),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    spread = functools.partial(derivatives, functools.partial(conv_transpose, strides=2))
    mesh = mesh_of(AxisType.Explicit if how == "explicit" else AxisType.Auto)
    if how == "manual":
        specs = (P("data"), *((P("data"), P()),) * 3)
        spread = jax.shard_map(spread, mesh=mesh, in_specs=(P("data"), P()), out_specs=specs)
    with jax.set_mesh(mesh):
        result = jax.jit(spread)(placed(mesh, x, "data"), placed(mesh, kernel))
    same(result, jax.jit(functools.partial(derivatives, theirs))(x, kernel))


def test_channels_of_transposed_convolutions_over_explicit_axes():
    """The kernel's channels keep their places, in gradients too."""
    x, kernel = operands((4, 3), (4, 4))
    ours = functools.partial(derivatives, functools.partial(conv_transpose, strides=2))
    expected = jax.jit(ours)(x, kernel)
    mesh = square_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        x, kernel = placed(mesh, x, "data"), placed(mesh, kernel, None, None, None, "model")
        y, *gradients = jax.jit(ours)(x, kernel)
    same((y, *gradients), expected)
    assert spec_of(y) == ("data", None, None, "model")
    for pair in gradients:
        assert [spec_of(a) for a in pair] == [spec_of(x), spec_of(kernel)]


@pytest.mark.parametrize(
    "layer", [Conv(4, (1, 1)), Conv(4), ConvTranspose(4, (4, 4)), UpsampleConv(4)]
)
def test_layers_on_explicit_axes(layer):
    x = np.random.default_rng(0).standard_normal((4, 5, 4, 2), np.float32)
    variables = layer.init(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sin(layer.apply(v, x)).sum()))
    expected = gradient(variables, x)
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        everywhere = jax.tree.map(functools.partial(placed, mesh), variables)
        result = gradient(everywhere, placed(mesh, x, "data"))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), result, expected
    )


@pytest.mark.parametrize(
    ("x_spec", "kernel_spec", "message"),
    [
        (P(None, "data"), P(), "not over pixels or taps"),
        (P(), P(None, "data"), "not over pixels or taps"),
        (P("data"), P(None, None, None, "data"), r"twice over \['data'\]"),
        (P("data"), P(unreduced={"data"}), r"unreduced or reduced over \['data'\]"),
    ],
)
def test_explicit_shardings_that_do_not_fit(x_spec, kernel_spec, message):
    x, kernel = operands((4, 4), (4, 4))
    with jax.set_mesh(mesh_of(AxisType.Explicit)), pytest.raises(ValueError, match=message):
        jax.jit(
            lambda x, kernel: conv(
                jax.sharding.reshard(x, x_spec), jax.sharding.reshard(kernel, kernel_spec)
            )
        )(x, kernel)


def test_a_manual_axis_that_is_not_summed_over_yet():
    x, kernel = operands((4, 4), (4, 4))

    def unsummed(x, kernel):
        partial = lax.pcast(lax.pcast(kernel, "data", to="varying"), "data", to="unreduced")
        return conv(x, partial)

    mesh, specs = mesh_of(AxisType.Auto), (P("data"), P())
    spread = jax.shard_map(unsummed, mesh=mesh, in_specs=specs, out_specs=P("data"))
    with pytest.raises(ValueError, match=r"unreduced or reduced over \['data'\]"):
        jax.jit(spread)(x, kernel)
