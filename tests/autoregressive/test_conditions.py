"""Spatial conditions: seen whole through an encoder, embedded once, of any size."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo

from gen_jax import autoregressive
from gen_jax.autoregressive import (
    CausalityReport,
    Condition,
    IteratedEncoder,
    ResidualEncoder,
    UNetEncoder,
    check_causality,
)
from gen_jax.densities import Bernoulli, Categorical

METHODS = ("naive", "cached", "jacobi")
SPACE = {"wavenet": (7,)}  # sound has one axis
ENCODERS = {
    "gated": ResidualEncoder(6, blocks=2),
    "masked": UNetEncoder(6, depth=2),
    "plus-plus": IteratedEncoder(6, steps=3, stride=2),
    "wavenet": ResidualEncoder(6, blocks=3, stride=1),
    "row-lstm": IteratedEncoder(6, steps=6),
    "diagonal-bilstm": ResidualEncoder(6, blocks=2),
}


def shape_of(name: str) -> tuple[int, ...]:
    return (*SPACE.get(name, (5, 4)), 1)


def some_condition(n: int, space: tuple[int, ...], **parts) -> Condition:
    levels = np.random.default_rng(1).integers(0, 256, (n, *space, 2), np.uint8)
    return Condition(spatial=jnp.asarray(levels), **parts)


def audit(model, shape, cond) -> CausalityReport:
    return check_causality(model, zoo.draw_params(model, shape, cond), shape, cond=cond)


# What is seen


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_every_output_sees_all_of_the_condition_through_an_encoder(name):
    shape = shape_of(name)
    model = zoo.NETWORKS[name](Bernoulli(), condition=ENCODERS[name])
    report = audit(model, shape, some_condition(1, shape[:-1]))
    *space, _ = shape
    assert report.condition_sees.shape == (*space, 1, *space, 2)
    assert report.condition_sees.any(-1).all()
    what = "samples" if name == "wavenet" else "pixels"
    expected = f"every output sees all {np.prod(space)} {what} of the condition"
    assert report.condition_reach == expected


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_without_an_encoder_an_output_sees_no_row_below_its_own(name):
    shape = shape_of(name)
    report = audit(zoo.NETWORKS[name](Bernoulli()), shape, some_condition(1, shape[:-1]))
    n_rows = shape[0]  # in sound, samples
    seen = report.condition_sees.reshape(n_rows, -1, n_rows, int(np.prod(shape[1:])) * 2)
    by_row = seen.any((1, 3))
    assert by_row.diagonal().all()
    assert not np.triu(by_row, 1).any()


def test_a_sentence_says_how_far_a_condition_is_seen():
    sees = np.zeros((2, 3, 1, 2, 3, 1), bool)
    for place in np.ndindex(2, 3):
        sees[(*place, 0, *place)] = True
    where = CausalityReport(sees, sees)
    expected = "an output sees 1 of the 6 pixels of the condition, none further away than 0 pixels"
    assert where.condition_reach == expected
    more = sees.copy()
    more[1, 2, 0, 0, 0] = True
    expected = (
        "an output sees 1 to 2 of the 6 pixels of the condition, none further away than 2 pixels"
    )
    assert CausalityReport(sees, more).condition_reach == expected
    other_size = more[..., :2, :]
    expected = "an output sees 0 to 1 of the 4 pixels of the condition"
    assert CausalityReport(sees, other_size).condition_reach == expected
    assert CausalityReport(sees).condition_reach == "no spatial condition was given"


# Sampling


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_all_samplers_draw_the_same_through_an_encoder(name):
    """In float64 exactly, from a condition of half the size, beside a class."""
    with jax.enable_x64(True):
        n, shape = 3, (6, 1) if name == "wavenet" else (4, 6, 1)
        half = tuple(side // 2 for side in shape[:-1])
        make = zoo.NETWORKS[name]
        features = make(Categorical(3)).features
        model = make(
            Categorical(3),
            n_classes=3,
            dtype=jnp.float64,
            condition=ENCODERS[name].clone(features=features, upsample=2),
        )
        cond = some_condition(n, half, label=jnp.arange(n) % 3)
        params = zoo.draw_params(model, shape, jax.tree.map(lambda x: x[:1], cond))
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)

        def draw(method):
            sample = functools.partial(
                autoregressive.sample, model, shape=(n, *shape), method=method
            )
            return np.asarray(jax.jit(sample)(params, jax.random.key(0), cond=cond))

        expected = draw("naive")
        for method in METHODS[1:]:
            np.testing.assert_array_equal(draw(method), expected, err_msg=method)
        drawn = jnp.asarray(expected)
        usual, other = (
            autoregressive.log_prob(model, params, drawn, cond=cond.replace(spatial=spatial))
            for spatial in (cond.spatial, cond.spatial[::-1])
        )
        assert not np.allclose(usual, other)  # the condition matters


class Ran:
    """How often something ran."""

    times = 0

    def count(self):
        self.times += 1


class Counted(nn.Module):
    """An encoder that counts how often it runs."""

    ran: Ran

    @nn.compact
    def __call__(self, spatial):
        jax.debug.callback(self.ran.count)
        return nn.Dense(3)(spatial.mean(tuple(range(1, spatial.ndim - 1)), keepdims=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gated", "plus-plus", "wavenet"])
def test_an_encoder_runs_once_whatever_the_sampler(name, method):
    """Its features are those of one pixel here: the same everywhere."""
    ran, shape = Ran(), (3, 1) if name == "wavenet" else (2, 2, 1)
    model = zoo.NETWORKS[name](Bernoulli(), condition=Counted(ran))
    cond = some_condition(2, shape[:-1])
    params = zoo.draw_params(model, shape, jax.tree.map(lambda x: x[:1], cond))
    sample = functools.partial(autoregressive.sample, model, shape=(2, *shape), method=method)
    jax.block_until_ready(jax.jit(sample)(params, jax.random.key(0), cond=cond))
    jax.effects_barrier()
    assert ran.times == 1


# Training


@pytest.mark.parametrize("encoder", [ResidualEncoder(4, blocks=2), UNetEncoder(4, depth=1)])
def test_a_copy_is_learned_from_a_condition_behind_the_pixel(encoder):
    """The image is its condition turned by half: no linear map of a pixel shows it in time."""
    random, shape = np.random.default_rng(0), (4, 4, 1)
    image = (255 * (random.random((64, *shape)) < 0.5)).astype(np.uint8)
    batch = {"image": image, "spatial": image[:, ::-1, ::-1]}
    model = zoo.masked(Bernoulli(), condition=encoder)
    state = autoregressive.init(
        model, optax.adam(1e-2), jax.random.key(0), image, cond=batch["spatial"]
    )
    step = jax.jit(autoregressive.train_step)
    for _ in range(150):
        state, metrics = step(state, batch)
    assert float(metrics["loss"]) < 0.5 * 16 * np.log(2)
    nll = jax.jit(autoregressive.eval_step)(state, batch)["nll"]
    log_prob = autoregressive.log_prob(model, state.params, image, cond=batch["spatial"])
    np.testing.assert_allclose(nll, -log_prob, rtol=1e-4)


def test_parameters_of_a_network_without_an_encoder_keep_their_names():
    cond = some_condition(1, (5, 4))
    linear, encoded = (
        set(zoo.draw_params(zoo.gated(Bernoulli(), **fields), (5, 4, 1), cond))
        for fields in ({}, {"condition": ResidualEncoder(4)})
    )
    assert linear - encoded == {"embedding"}
    assert encoded - linear == {"condition"}


# What does not fit


def test_conditions_that_an_encoder_cannot_fit_are_refused():
    shape, image = (4, 6, 1), np.zeros((2, 4, 6, 1), np.uint8)
    doubling = zoo.gated(Bernoulli(), condition=ResidualEncoder(7, 2, upsample=2))
    wide = zoo.gated(Bernoulli(), n_classes=3, condition=ResidualEncoder(5, 2))
    label = jnp.zeros(2, jnp.int32)
    for model, cond, message in [
        (
            doubling,
            some_condition(2, (4, 6)),
            r"encoder gives features of size \(8, 12\), where the examples are of \(4, 6\)",
        ),
        (doubling, None, "a model with an encoder of conditions needs a spatial condition"),
        (doubling, Condition(vector=jnp.zeros((2, 3))), "needs a spatial condition"),
        (wide, some_condition(2, (4, 6), label=label), "must give 7 features, got 5"),
        (doubling, some_condition(1, (2, 3)), "the condition is for 1 examples"),
    ]:

        def init(model=model, cond=cond):
            return autoregressive.init(model, optax.sgd(0.1), jax.random.key(0), image, cond=cond)

        with pytest.raises(ValueError, match=message):
            jax.eval_shape(init)
    good = some_condition(1, (2, 3))
    params = zoo.draw_params(doubling, shape, good)
    for cond in (None, some_condition(2, (4, 6))):
        with pytest.raises(ValueError, match=r"needs a spatial|encoder gives features"):
            autoregressive.sample(doubling, params, jax.random.key(0), (2, *shape), cond=cond)
        with pytest.raises(ValueError, match=r"needs a spatial|encoder gives features"):
            autoregressive.log_prob(doubling, params, image, cond=cond)


def test_a_training_step_refuses_a_condition_of_another_size_too():
    image, model = np.zeros((2, 5, 4, 1), np.uint8), zoo.gated(Bernoulli())
    init = functools.partial(autoregressive.init, model, optax.sgd(0.1), jax.random.key(0), image)
    state = jax.eval_shape(functools.partial(init, cond=some_condition(2, (5, 4))))
    batch = {"image": image, "spatial": np.zeros((2, 5, 1, 2), np.uint8)}
    for step in (autoregressive.train_step, autoregressive.eval_step):
        with pytest.raises(ValueError, match=r"own size \(5, 4\), got \(5, 1\)"):
            jax.eval_shape(step, state, batch)
