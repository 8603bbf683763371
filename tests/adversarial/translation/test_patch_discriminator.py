"""What a logit of the patch discriminator sees, and what images it takes."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn, shapes_of

from gen_jax.adversarial.translation.patch_discriminator import (
    PatchDiscriminator,
    ReceptiveField,
    field_of,
    layer_windows,
)
from gen_jax.nn.condition import Condition

FIELDS = get_args(ReceptiveField)
SMALL = PatchDiscriminator(2, receptive_field=16, norm="instance")


def images(n=3, height=12, width=9, channels=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, height, width, channels))
    return jnp.asarray(np.tanh(values), jnp.float32)


@pytest.mark.parametrize("field", FIELDS)
def test_a_logit_sees_a_square_of_its_receptive_field_and_nothing_else(field):
    assert field_of(layer_windows(field)) == field
    model = PatchDiscriminator(1, receptive_field=field, norm="none")
    side = 2 * field + 64
    x = images(1, side, side, 1)
    variables = drawn(model, x)

    @jax.jit
    def slope(x):
        def central(x):
            logits = model.apply(variables, x)
            return logits[0, logits.shape[1] // 2, logits.shape[2] // 2]

        return jax.grad(central)(x)

    seen = np.asarray(slope(x))[0, :, :, 0] != 0.0
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    assert len(rows) == len(columns) == field
    assert seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert seen.sum() == field**2


def test_it_has_the_papers_widths_and_logits():
    (logits, variables) = shapes_of(PatchDiscriminator(), jnp.zeros((1, 256, 256, 6)))
    assert logits.shape == (1, 30, 30)
    params = variables["params"]
    widths = [params[f"conv_{i}"]["kernel"].shape for i in range(4)]
    assert widths == [(4, 4, 6, 64), (4, 4, 64, 128), (4, 4, 128, 256), (4, 4, 256, 512)]
    assert params["logit"]["kernel"].shape == (4, 4, 512, 1)
    assert list(variables["batch_stats"]) == ["norm_1", "norm_2", "norm_3"]
    (logits, variables) = shapes_of(PatchDiscriminator(receptive_field=1), jnp.zeros((1, 7, 5, 6)))
    assert logits.shape == (1, 7, 5)
    kernels = [variables["params"][name]["kernel"].shape for name in ("conv_0", "conv_1", "logit")]
    assert kernels == [(1, 1, 6, 64), (1, 1, 64, 128), (1, 1, 128, 1)]


@pytest.mark.parametrize("field", FIELDS)
def test_the_least_size_is_named_and_is_the_least(field):
    model = PatchDiscriminator(1, receptive_field=field)
    least = model.least_side
    (logits, _) = shapes_of(model, images(1, least, least, 1))
    assert logits.shape == (1, 1, 1)
    message = f"field {field} is for images of {least}×{least} pixels or more, got {least - 1}×400"
    with pytest.raises(ValueError, match=message):
        shapes_of(model, images(1, least - 1, 400, 1))


def test_other_receptive_fields_are_refused():
    with pytest.raises(ValueError, match="must be one of 1, 16, 34, 70, 142, 286, got 69"):
        shapes_of(PatchDiscriminator(receptive_field=69), images())


def test_the_source_is_read_beside_the_image():
    x, levels = images(), jnp.asarray(127.5 * (images(seed=1) + 1.0), jnp.uint8)
    variables = drawn(SMALL, x, Condition(spatial=levels))
    apply = jax.jit(functools.partial(SMALL.apply, variables))
    logits = apply(x, Condition(spatial=levels))
    of_floats = apply(x, Condition(spatial=levels / jnp.float32(127.5) - 1.0))
    np.testing.assert_allclose(logits, of_floats, atol=1e-5)
    other = apply(x, Condition(spatial=levels.at[1].set(0)))
    difference = np.abs(logits - other).reshape(3, -1).max(-1)
    assert difference[1] > 1e-3
    assert max(difference[0], difference[2]) < 1e-6


def test_inputs_that_do_not_fit():
    x = images()
    with pytest.raises(ValueError, match=r"height and width, got \(3, 12, 9, 3\) and"):
        shapes_of(SMALL, x, Condition(spatial=x[:, 1:]))
    for inputs in ((x[0],), (x, Condition(spatial=x[0]))):
        with pytest.raises(ValueError, match=r"reads images \[batch, .* got \(12, 9, 3\)"):
            shapes_of(SMALL, *inputs)
    with pytest.raises(ValueError, match=r"reads cond\.spatial alone, got cond\.vector"):
        shapes_of(SMALL, x, Condition(vector=jnp.zeros((3, 2))))


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "none"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_flat_images_give_finite_logits_slopes_and_penalties(norm, dtype):
    model = SMALL.clone(norm=norm, dtype=dtype)
    variables = drawn(model, images())
    rest = {name: value for name, value in variables.items() if name != "params"}

    @jax.jit
    def penalty_slopes(params, x):
        def penalty(params):
            def total(x):
                y, _ = model.apply({"params": params, **rest}, x, train=True, mutable=list(rest))
                return y.sum(), y

            slope, logits = jax.grad(total, has_aux=True)(x)
            return ((slope**2).sum((1, 2, 3)) - 1.0).mean(), (logits, slope)

        return jax.grad(penalty, has_aux=True)(params)

    for level in (0.0, -1.0):
        for leaf in jax.tree.leaves(
            penalty_slopes(variables["params"], jnp.full((2, 8, 8, 3), level))
        ):
            assert leaf.dtype == jnp.float32
            assert np.isfinite(leaf).all()
            assert np.abs(leaf).max() < 1e6


def test_every_kernel_of_a_spectral_discriminator_is_bounded():
    model = SMALL.clone(norm="none", spectral=True)
    variables = drawn(model, images())
    step = jax.jit(lambda v: model.apply(v, images(), mutable=["spectral_norm"])[1])
    for _ in range(100):
        variables = variables | step(variables)
    assert set(variables["spectral_norm"]) == set(variables["params"])
    for name, layer in variables["params"].items():
        matrix = np.asarray(layer["kernel"]).reshape(-1, layer["kernel"].shape[-1])
        (vector,) = jax.tree.leaves(variables["spectral_norm"][name])
        estimate = np.linalg.norm(matrix @ np.asarray(vector))
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        assert largest == pytest.approx(estimate, rel=1e-2)
