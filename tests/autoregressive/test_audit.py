"""The audit passes what is causal and normalized, and names what is not; what networks see."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from gen_jax.autoregressive import (
    CausalityError,
    CausalityReport,
    Condition,
    check_causality,
    check_normalized,
)
from gen_jax.densities import Bernoulli, Categorical, LogisticMixture, Sequential
from gen_jax.nn.conv import cpu


def shape_of(name: str, output: str) -> tuple[int, ...]:
    return (9, 1) if name == "wavenet" else (5, 4, zoo.OUTPUTS[output].channels)


def audit(name: str, shape: tuple[int, ...], **fields: Any) -> CausalityReport:
    model = zoo.NETWORKS[name](Bernoulli(), **fields)
    return check_causality(model, zoo.draw_params(model, shape), shape)


@pytest.mark.parametrize("output", zoo.OUTPUTS)
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_every_network_is_causal(name, output):
    shape = shape_of(name, output)
    model = zoo.NETWORKS[name](zoo.OUTPUTS[output].likelihood)
    report = check_causality(model, zoo.draw_params(model, shape), shape)
    *space, channels = shape
    units = model.likelihood.units(channels)
    assert report.sees.shape == (*space, units, *shape)
    by_unit = report.sees.reshape(-1, units, int(np.prod(space)), channels)
    assert not by_unit[0, 0].any()  # the first of all is told nothing
    assert by_unit.any(axis=(0, 2, 3)).all()  # the others are: no unit is closed everywhere
    pixels = np.arange(len(by_unit))
    for unit in range(1, units):  # and a later colour of those before it
        assert by_unit[pixels, unit, pixels, :unit].any(axis=0).all()


@pytest.mark.parametrize(
    "zero", [("SMALL",), ("SMALL", "WIDE", "MANY_PRODUCTS", "NARROW", "FEW_ROWS")]
)
@pytest.mark.parametrize("name", ["masked", "gated", "plus-plus"])
def test_networks_are_causal_whichever_way_the_cpu_convolves(monkeypatch, name, zero):
    """As wide ones are computed: minimal filtering adds and takes away again what a mask hides."""
    for limit in zero:
        monkeypatch.setattr(cpu, limit, 0)
    jax.clear_caches()
    assert audit(name, (6, 5, 1)).sees.any()


def test_a_conditioned_network_is_causal():
    shape = (5, 4, 1)
    model = zoo.gated(Bernoulli(), n_classes=3)
    cond = Condition(label=jnp.ones((1,), jnp.int32), spatial=jnp.ones((1, *shape)))
    params = zoo.draw_params(model, shape, cond)
    assert check_causality(model, params, shape, cond=cond).sees.any()
    with pytest.raises(ValueError, match="for 1 example, got 2"):
        check_causality(model, params, shape, cond=jnp.zeros((2,), jnp.int32))


class Peeking(nn.Module):
    """Every unit reads the pixel ``ahead`` places on, in the channel ``across`` places on."""

    likelihood: Sequential
    ahead: int
    across: int
    through: Callable = jnp.asarray
    n_classes: int | None = None

    def __call__(self, x, cond=None, dropout=None):
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        for axis, n in ((1, self.ahead), (2, self.across)):
            there = np.arange(flat.shape[axis]) + n
            shape = [1, 1, 1]
            shape[axis] = -1
            inside = (there >= 0) & (there < flat.shape[axis])
            flat = jnp.roll(flat, -n, axis) * inside.reshape(shape)
        units = self.likelihood.units(x.shape[-1])
        outputs = 2.0 * self.through(flat).reshape(*x.shape[:-1], units, -1) - 1.0
        return jnp.concatenate([outputs] * self.likelihood.unit_outputs(x.shape[-1]), -1)


def peeking(likelihood: Sequential, ahead: int, across: int, **fields: Any) -> Any:
    return Peeking(likelihood, ahead, across, **fields)


@pytest.mark.parametrize(
    ("model", "shape", "output", "seen"),
    [
        (
            peeking(Bernoulli(), 1, 0),
            (3, 2, 1),
            "row 0, column 0, unit 0",
            "row 0, column 1, channel 0",
        ),
        (  # the only two pixels so far apart
            peeking(Bernoulli(), 5, 0),
            (2, 3, 1),
            "row 0, column 0, unit 0",
            "row 1, column 2, channel 0",
        ),
        (
            peeking(Categorical(3), 0, 1),
            (2, 2, 3),
            "row 0, column 0, unit 0",
            "row 0, column 0, channel 1",
        ),
        (  # itself
            peeking(Categorical(3), 0, 0),
            (2, 2, 3),
            "row 0, column 0, unit 0",
            "row 0, column 0, channel 0",
        ),
        (peeking(Bernoulli(), 2, 0), (4, 1), "position 0, unit 0", "position 2, channel 0"),
    ],
)
def test_a_leak_is_named(model, shape, output, seen):
    message = f"the output at {output} depends on the input at {seen}, which is not before it"
    with pytest.raises(CausalityError) as error:
        check_causality(model, {}, shape)
    assert str(error.value) == message


@pytest.mark.parametrize("places", [(-1, 0), (-3, 0), (0, -1), (-1, 2)])
def test_what_is_before_is_no_leak(places):
    shape = (2, 3, 3)
    sees = check_causality(peeking(Categorical(3), *places), {}, shape).sees
    assert 0 < sees.sum() <= sees[..., 0, 0, 0].size


def as_index(x: jax.Array) -> jax.Array:
    return jnp.array([0.5, -0.3])[(x > 0.5).astype(int)]


ALL_AT_ONCE = LogisticMixture(1, levels=2)  # of the channels of a pixel
WITHOUT_GRADIENT = {"rounded": jnp.round, "stopped": jax.lax.stop_gradient, "looked up": as_index}


@pytest.mark.parametrize("through", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
def test_a_leak_without_a_gradient_is_named_too(through):
    for likelihood, places, shape, output, seen in [
        (Bernoulli(), (1, 0), (3, 2, 1), "row 0, column 0, unit 0", "row 0, column 1, unit 0"),
        (Bernoulli(), (0, 1), (2, 2, 3), "row 0, column 0, unit 0", "row 0, column 0, unit 1"),
        (Bernoulli(), (0, 0), (2, 2, 3), "row 0, column 0, unit 0", "row 0, column 0, unit 0"),
        (Bernoulli(), (5, 0), (2, 3, 1), "row 0, column 0, unit 0", "row 1, column 2, unit 0"),
        (ALL_AT_ONCE, (1, 0), (2, 2, 3), "row 0, column 0, unit 0", "row 0, column 1, unit 0"),
        (Bernoulli(), (2, 0), (4, 1), "position 0, unit 0", "position 2, unit 0"),
    ]:
        with pytest.raises(CausalityError) as error:
            check_causality(peeking(likelihood, *places, through=through), {}, shape)
        message = f"the output at {output} depends on the input at {seen}, which is not before it"
        assert str(error.value) == message
    for places in ((-1, 0), (0, -1), (-1, 2)):
        model = peeking(Bernoulli(), *places, through=through)
        assert not check_causality(model, {}, (2, 3, 3)).sees.any()


# What networks see


def test_a_receptive_field_is_a_picture():
    report = check_causality(peeking(Bernoulli(), -2, 0), {}, (3, 3, 1))
    np.testing.assert_array_equal(
        report.receptive_field()[..., 0], [[0, 0, 0], [0, 0, 255], [0, 128, 0]]
    )
    np.testing.assert_array_equal(
        report.receptive_field((1, 1))[..., 0], [[0, 0, 255], [0, 128, 0], [0, 0, 0]]
    )
    assert report.blind_spot  # the first of the last row
    sound = check_causality(peeking(Bernoulli(), -1, 0), {}, (4, 1))
    np.testing.assert_array_equal(sound.receptive_field()[:, 0], [0, 0, 255, 128])
    assert not sound.blind_spot
    for position in ((3, 0), (0, -1), (1,)):
        with pytest.raises(ValueError, match=r"must lie in an image of \(3, 3\), got"):
            report.receptive_field(position)


WIDE = {"features": 8, "head_features": 8}  # so that no output is closed to all it could see


def overlooked(report: CausalityReport) -> list[tuple[int, ...]]:
    """The pixels before the one in the middle of the last row that it does not see."""
    picture = report.receptive_field()[..., 0]
    n_before = np.argmax(picture.reshape(-1) == 128)
    places = np.argwhere(picture == 0)
    return [(int(i), int(j)) for i, j in places if i * picture.shape[1] + j < n_before]


def picture_of(shape: tuple[int, ...], first: Callable[[int], int], last: Callable[[int], int]):
    """Row ``up`` rows above the last seen from ``first(up)`` to ``last(up)`` columns right of the
    middle."""
    rows, columns = np.indices(shape[:2])
    up, right = shape[0] - 1 - rows, columns - shape[1] // 2
    seen = (np.vectorize(first)(up) <= right) & (right <= np.vectorize(last)(up))
    picture = np.where(seen, 255, 0)
    picture[-1, shape[1] // 2] = 128
    return picture


def test_masked_squares_leave_a_blind_spot_and_two_stacks_none():
    shape, sizes = (7, 9, 1), {"layers": 6, "first_kernel": 3}
    gated = audit("gated", shape, **sizes, features=8)
    assert not gated.blind_spot
    assert not overlooked(gated)
    # One column to the right for each row up: a cone is left out.
    masked = audit("masked", shape, **sizes, **WIDE)
    assert masked.blind_spot
    expected = picture_of(shape, lambda up: -9, lambda up: up or -1)
    np.testing.assert_array_equal(masked.receptive_field()[..., 0], expected)


def test_the_streams_of_plus_plus_leave_no_blind_spot():
    report = audit("plus-plus", (5, 4, 1))
    assert not overlooked(report)
    assert not report.blind_spot


def test_row_lstm_sees_a_triangle():
    # One column to each side for each row up, from two to the left: kernels of 3 across.
    shape = (5, 13, 1)
    report = audit("row-lstm", shape, layers=1, first_kernel=3, **WIDE)
    assert report.blind_spot
    expected = picture_of(shape, lambda up: -2 - up, lambda up: up or -1)
    np.testing.assert_array_equal(report.receptive_field()[..., 0], expected)


def test_diagonal_bilstm_sees_everything_before():
    # The last pixel of a row tells the maps after it alone, which are in the rows below: only the
    # first kernel brings it to the next row.
    for first_kernel, beyond in ((7, []), (3, [(3, 6)])):
        report = audit("diagonal-bilstm", (5, 7, 1), layers=1, first_kernel=first_kernel, **WIDE)
        assert overlooked(report) == beyond
        assert report.blind_spot == bool(beyond)


# Normalization

CASES = {
    "levels": (Categorical(3), (2, 2, 1)),
    "colour": (Bernoulli(), (2, 2, 3)),
    "mixture": (LogisticMixture(2, levels=5), (1, 2, 3)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", sorted(set(zoo.NETWORKS) - {"wavenet"}))
def test_probabilities_of_all_images_sum_to_one(name, case):
    likelihood, shape = CASES[case]
    model = zoo.NETWORKS[name](likelihood)
    total = check_normalized(model, zoo.draw_params(model, shape), shape)
    assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("likelihood", [Categorical(3), Bernoulli(), LogisticMixture(2, levels=5)])
def test_probabilities_of_all_sounds_sum_to_one(likelihood):
    model = zoo.NETWORKS["wavenet"](likelihood)
    check_normalized(model, zoo.draw_params(model, (4, 1)), (4, 1))


def test_a_condition_leaves_it_a_distribution():
    shape = (2, 2, 1)
    model = zoo.gated(Categorical(3), n_classes=3)
    label = jnp.ones((1,), jnp.int32)
    params = zoo.draw_params(model, shape, Condition(label=label))
    check_normalized(model, params, shape, cond=label)


def test_a_sum_that_is_not_one_is_told():
    # p(1 | 1) and p(0 | 0) are both sigmoid(1).
    cheat = peeking(Bernoulli(), 0, 0)
    expected = 2 * float(jax.nn.sigmoid(1.0))
    with pytest.raises(ValueError, match=f"all 2 images must sum to 1 .*, got {expected:.4f}"):
        check_normalized(cheat, {}, (1, 1, 1))
    assert check_normalized(cheat, {}, (1, 1, 1), atol=0.5) == pytest.approx(expected, abs=1e-5)


def test_too_many_images_are_refused():
    with pytest.raises(ValueError, match=r"1048576 images or fewer .*, got 2\^25 of shape"):
        check_normalized(zoo.gated(Bernoulli()), {}, (5, 5, 1))
