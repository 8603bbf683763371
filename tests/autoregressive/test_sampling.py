"""Three samplers, one image: for every network and every kind of output."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.sharding import NamedSharding, PartitionSpec
from scipy import stats

from gen_jax import autoregressive, training
from gen_jax.autoregressive import Condition, Evidence, sampling
from gen_jax.densities import Bernoulli, Categorical, LogisticMixture, MuLaw

METHODS = ("naive", "cached", "jacobi")
SIDES = (5, 4)
SHAPES = {"wavenet": (9,)}  # sound has one axis


def make(name: str, output: str, **fields):
    """A network, and the shape of what it models."""
    kind = zoo.OUTPUTS[output]
    space = SHAPES.get(name, SIDES)
    channels = 1 if name == "wavenet" else kind.channels
    return zoo.NETWORKS[name](kind.likelihood, **fields), (*space, channels)


def a_condition(batch_size: int, space: tuple[int, ...]) -> Condition:
    """A class, and a float image."""
    random = np.random.default_rng(1)
    spatial = random.normal(size=(batch_size, *space, 2))
    return Condition(label=jnp.arange(batch_size) % 3, spatial=jnp.asarray(spatial, jnp.float32))


@pytest.mark.parametrize("output", zoo.OUTPUTS)
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_all_samplers_draw_the_same(name, output):
    """In float64 exactly, with a class and a spatial condition, free, completing an image, and with
    some channels of each pixel given."""
    with jax.enable_x64(True):
        model, shape = make(name, output, n_classes=3, dtype=jnp.float64)
        n = 3
        params = zoo.draw_params(model, shape, a_condition(1, shape[:-1]))
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        cond = a_condition(n, shape[:-1])
        data = zoo.some_data(model.likelihood, (n, *shape))
        half = np.zeros((1, *shape[:-1], 1), bool)
        half.reshape(-1)[: half.size // 2 + 1] = True
        half[:, ::2] = False  # not the beginning alone
        half = np.broadcast_to(half, (1, *shape))
        some = np.random.default_rng(2).random((1, *shape)) < 0.5
        key = jax.random.key(0)
        drawn = {}
        for method in METHODS:
            sample = jax.jit(
                functools.partial(
                    autoregressive.sample_counted, model, shape=(n, *shape), method=method
                )
            )
            drawn[method] = [
                sample(params, key, cond=cond, evidence=Evidence(data, jnp.asarray(mask)))
                for mask in (np.zeros_like(half), half, some)
            ]
        for method in METHODS[1:]:
            for ours, reference in zip(drawn[method], drawn["naive"], strict=True):
                np.testing.assert_array_equal(ours.data, reference.data, err_msg=method)
        free, *completed = (x.data for x in drawn["naive"])
        for mask, image in zip((half, some), completed, strict=True):
            kept = np.broadcast_to(mask, image.shape)
            np.testing.assert_array_equal(np.asarray(image)[kept], np.asarray(data)[kept])
            assert not np.array_equal(free, image)
        assert len(np.unique(free)) > 1  # no constant picture, on which all would agree
        n_dims = int(np.prod(shape))
        assert all(1 < int(x.passes) <= n_dims for x in drawn["jacobi"])


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_cached_and_jacobi_agree_in_single_precision(name):
    model, shape = make(name, "binary")
    params = zoo.draw_params(model, shape)
    draws = [
        jax.jit(
            functools.partial(autoregressive.sample, model, shape=(400, *shape), method=method)
        )(params, jax.random.key(1))
        for method in ("cached", "jacobi")
    ]
    same = (draws[0] == draws[1]).reshape(400, -1).all(-1)
    assert same.mean() >= 0.995
    assert len(np.unique(np.asarray(draws[0]).reshape(400, -1), axis=0)) > 100


@pytest.mark.parametrize(
    ("name", "likelihood", "shape"),
    [
        ("plus-plus", LogisticMixture(3), (8, 8, 3)),
        ("gated", Categorical(256), (5, 4, 3)),
        ("wavenet", Categorical(256, MuLaw()), (60, 1)),
    ],
)
def test_cached_and_jacobi_agree_on_256_levels_in_single_precision(name, likelihood, shape):
    model = zoo.NETWORKS[name](likelihood)
    params = zoo.draw_params(model, shape, scale=0.3)
    cached, jacobi = (
        jax.jit(
            functools.partial(autoregressive.sample, model, shape=(200, *shape), method=method)
        )(params, jax.random.key(1))
        for method in ("cached", "jacobi")
    )
    same = (cached == jacobi).reshape(200, -1).all(-1)
    assert same.mean() >= 0.995
    assert len(np.unique(np.asarray(cached))) > 200


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_in_half_precision_samplers_draw_nearly_the_same_and_nearly_what_float32_says(name):
    model, shape = make(name, "binary", dtype=jnp.bfloat16)
    exact = model.clone(dtype=jnp.float32)
    params = zoo.draw_params(model, shape)
    bits = jax.jit(
        lambda x: -autoregressive.log_prob(exact, params, x).mean() / (math.log(2) * x[0].size)
    )

    def draw(model, method):
        sample = functools.partial(autoregressive.sample, model, shape=(400, *shape), method=method)
        return jax.jit(sample)(params, jax.random.key(1))

    cached, jacobi = (draw(model, method) for method in ("cached", "jacobi"))
    same = (cached == jacobi).reshape(400, -1)
    assert same.all(-1).mean() >= 0.97
    assert same.mean() >= 0.995
    expected = bits(draw(exact, "cached"))
    for drawn in (cached, jacobi):
        np.testing.assert_allclose(bits(drawn), expected, atol=0.005)


@pytest.mark.parametrize("likelihood", [LogisticMixture(3), Categorical(256)], ids=repr)
def test_in_half_precision_one_pass_redraws_nearly_every_one_of_256_levels(likelihood):
    """With each value's own noise, from the same values before it: rounding moves few draws."""
    model, shape, n = zoo.plus_plus(likelihood, dtype=jnp.bfloat16), (8, 8, 3), 50
    params = zoo.draw_params(model, shape, scale=0.3)

    @jax.jit
    def draw_and_redraw(params, key):
        task = sampling.make_task(model, params, key, (n, *shape))
        value, _ = sampling.cached(task)
        units = value.reshape(n, task.pixels, task.units, -1)
        return value, task.whole(task.draw(task.outputs(units), task.noise(), None))

    drawn, redrawn = draw_and_redraw(params, jax.random.key(0))
    assert (drawn == redrawn).mean() >= 0.999
    assert len(np.unique(drawn)) > 200


@pytest.mark.parametrize(
    ("likelihood", "shape"), [(Bernoulli(), (2, 2, 1)), (Categorical(3), (1, 2, 2))]
)
def test_images_are_drawn_as_often_as_they_are_probable(likelihood, shape):
    model = zoo.gated(likelihood)
    params = zoo.draw_params(model, shape, scale=0.3)
    n = 20_000
    drawn = jax.jit(functools.partial(autoregressive.sample, model, shape=(n, *shape)))(
        params, jax.random.key(0)
    )
    images, counts = np.unique(np.asarray(drawn).reshape(n, -1), axis=0, return_counts=True)
    log_p = autoregressive.log_prob(model, params, jnp.asarray(images.reshape(-1, *shape)))
    expected = n * np.exp(np.asarray(log_p, np.float64))
    often = expected > 5
    assert often.sum() > 5
    rest = [n - counts[often].sum()], [n - expected[often].sum()]
    observed = np.concatenate([counts[often], rest[0]])
    expected = np.concatenate([expected[often], np.maximum(rest[1], 1e-9)])
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


def test_a_part_of_a_batch_is_that_part_drawn_alone():
    model, shape = make("gated", "levels")
    params = zoo.draw_params(model, shape)
    key = jax.random.key(2)
    whole = autoregressive.sample(model, params, key, (6, *shape))
    numbers = jnp.array([4, 1])
    part = autoregressive.sample(model, params, key, (2, *shape), numbers=numbers)
    np.testing.assert_array_equal(whole[numbers], part)
    assert not np.array_equal(whole[0], whole[1])


def test_temperature_sharpens_to_the_likeliest_value():
    model, shape = make("gated", "levels")
    params = zoo.draw_params(model, shape, scale=0.3)
    sample = jax.jit(functools.partial(autoregressive.sample, model, shape=(64, *shape)))

    def mean_log_prob(temperature):
        drawn = sample(params, jax.random.key(0), temperature=jnp.float32(temperature))
        return float(autoregressive.log_prob(model, params, drawn).mean())

    assert mean_log_prob(0.01) > mean_log_prob(0.5) + 1.0 > mean_log_prob(1.0) + 2.0
    cold = sample(params, jax.random.key(0), temperature=jnp.float32(1e-4))
    assert len(np.unique(np.asarray(cold).reshape(64, -1), axis=0)) == 1


def test_a_second_call_compiles_nothing():
    """Outside of jit too: equal models make one program."""
    model, shape = make("gated", "binary", layers=2)
    params = zoo.draw_params(model, shape)
    evidence = Evidence(np.zeros((2, *shape), np.uint8), np.zeros((2, *shape), bool))

    def draw(seed):
        model, _ = make("gated", "binary", layers=2)
        key = jax.random.key(seed)
        return [
            autoregressive.sample(model, params, key, (2, *shape), **options)
            for options in ({}, {"evidence": evidence, "temperature": 0.5 + seed})
        ]

    compiled = []

    def listen(event, duration, **more):
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        first = draw(0)
        assert compiled
        compiled.clear()
        second = draw(1)
        assert not compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not np.array_equal(first[0], second[0])


def test_one_compilation_serves_every_key_and_all_devices_share_a_batch():
    model, shape = make("gated", "binary")
    params = zoo.draw_params(model, shape)
    mesh = training.make_mesh()
    assert mesh.shape["data"] == 4

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec("data")))
    @chex.assert_max_traces(n=1)
    def spread(params, key):
        return autoregressive.sample(model, params, key, (8, *shape))

    chex.clear_trace_counter()
    first, second = (spread(params, jax.random.key(i)) for i in range(2))
    assert not np.array_equal(first, second)
    alone = autoregressive.sample(model, params, jax.random.key(0), (8, *shape))
    np.testing.assert_array_equal(first, alone)
    assert len(first.sharding.device_set) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "fast"}, "method must be one of cached, naive, jacobi, got 'fast'"),
        ({"shape": (0, 5, 4, 1)}, r"each 1 or more, got \(0, 5, 4, 1\)"),
        ({"shape": (5, 4)}, r"\(batch, \*space, channels\)"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"cond": jnp.zeros((3,), jnp.int32)}, "the condition is for 3 examples"),
        ({"cond": jnp.zeros((2,), jnp.float32)}, "int labels"),
        ({}, "a model of 3 classes needs a label for each example"),
        ({"cond": Condition(vector=jnp.zeros((2, 4)))}, "of 3 classes needs a label"),
        ({"cond": jnp.array([0, 3])}, r"labels must lie in 0\.\.2, got 3"),
        ({"cond": jnp.array([-1, 0])}, r"labels must lie in 0\.\.2, got -1"),
        (
            {"cond": Condition(jnp.zeros(2, jnp.int32), spatial=jnp.zeros((2, 5, 3, 1)))},
            r"a spatial condition must be of the examples' own size \(5, 4\), got \(5, 3\)",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    model, shape = make("gated", "binary", n_classes=3)
    options = {"shape": (2, *shape)} | options
    with pytest.raises(ValueError, match=message):
        autoregressive.sample(model, {}, jax.random.key(0), **options)


@pytest.mark.parametrize("length", [8, 10])
def test_a_sound_is_told_of_each_of_its_samples(length):
    model, shape = make("wavenet", "levels")
    cond = Condition(spatial=jnp.zeros((2, length, 1)))
    with pytest.raises(ValueError, match=rf"own size \(9,\), got \({length},\)"):
        autoregressive.sample(model, {}, jax.random.key(0), (2, *shape), cond=cond)


def test_evidence_may_be_the_same_for_a_whole_batch_and_all_channels():
    model, shape = make("gated", "colour")
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (1, *shape), np.uint8)
    mask = random.random((1, *shape[:-1], 1)) < 0.5
    whole = (np.broadcast_to(x, (4, *shape)) for x in (data, mask))
    few, every = (
        sampling.make_task(model, {}, jax.random.key(0), (4, *shape), evidence=evidence).given
        for evidence in (Evidence(data, mask), Evidence(*whole))
    )
    chex.assert_trees_all_equal(few, every)
    assert few.mask.shape == (4, 20, 3, 1)


@pytest.mark.parametrize(
    ("data", "mask", "message"),
    [
        (np.zeros((2, 5, 4, 1), np.uint8), np.zeros((2, 4, 4, 1), bool), "the mask of evidence"),
        (np.zeros((2, 5, 4, 1), np.uint8), np.zeros((2, 5, 4, 1)), "got float64"),
        (
            np.zeros((2, 5, 4, 3), np.uint8),
            np.zeros((2, 5, 4, 1), bool),
            "evidence must be of shape",
        ),
        (np.full((2, 5, 4, 1), 256), np.zeros((2, 5, 4, 1), bool), r"lie in 0\.\.255, got 256"),
        (np.zeros((2, 5, 4, 1)), np.zeros((2, 5, 4, 1), bool), "must be uint8, got float"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(data, mask, message):
    model, shape = make("gated", "binary")
    with pytest.raises(ValueError, match=message):
        autoregressive.sample(
            model, {}, jax.random.key(0), (2, *shape), evidence=Evidence(data, mask)
        )
