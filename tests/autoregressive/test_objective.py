"""The exact likelihood, and training by it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo

from gen_jax import autoregressive
from gen_jax.autoregressive import Condition
from gen_jax.densities import Bernoulli
from gen_jax.state import TrainState

SHAPE = (5, 4, 1)


def start(model, shape=SHAPE, tx=None, cond=None) -> TrainState:
    tx = tx or optax.adam(0.01)
    params = jax.tree.map(jnp.asarray, zoo.draw_params(model, shape, cond, scale=0.2))
    return TrainState.create(model=model, tx=tx, params=params, key=jax.random.key(1))


def photos(n=6, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (n, *shape)), jnp.uint8)


def test_loss_falls_on_one_batch_in_one_trace_and_equals_the_likelihood():
    model = zoo.gated(Bernoulli("threshold"))
    batch = {"image": photos()}

    @functools.partial(jax.jit, donate_argnums=0)
    @chex.assert_max_traces(n=1)
    def train(state, batch):
        return autoregressive.train_step(state, batch)

    chex.clear_trace_counter()
    state = start(model)
    expected = -autoregressive.log_prob(model, state.params, batch["image"]).mean()
    losses = []
    for _ in range(40):
        state, metrics = train(state, batch)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["bits_per_dim"], losses[-1] / 20 / np.log(2), rtol=1e-5)
    assert losses[-1] < losses[0] - 2.0
    assert int(state.step) == 40


def test_what_is_hidden_and_what_is_known_add_up():
    model, image = zoo.gated(Bernoulli("threshold")), photos(4)
    state, batch = start(model), {"image": image}
    whole = autoregressive.eval_step(state, batch)

    def scored(hidden):
        return autoregressive.eval_step(state, batch, hidden=hidden)

    hidden, known = scored(lambda x: x["image"] > 99), scored(lambda x: x["image"] <= 99)
    np.testing.assert_allclose(hidden["nll"] + known["nll"], whole["nll"], rtol=1e-5)
    dims = np.asarray(image > 99).sum((1, 2, 3))
    bits = np.asarray(hidden["nll"]) / dims / np.log(2.0)
    np.testing.assert_allclose(hidden["bits_per_dim"], bits, rtol=1e-5)
    _, metrics = autoregressive.train_step(state, batch, hidden=lambda x: x["image"] > 99)
    np.testing.assert_allclose(metrics["loss"], hidden["nll"].mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["bits_per_dim"], hidden["nll"].mean() / dims.mean() / np.log(2.0), rtol=1e-5
    )
    nothing = scored(lambda x: x["image"] < 0)
    np.testing.assert_array_equal(nothing["bits_per_dim"], np.zeros(4))


def test_gray_pixels_are_drawn_anew_each_step_and_the_same_again():
    model = zoo.gated(Bernoulli())
    batch = {"image": jnp.full((3, *SHAPE), 128, jnp.uint8)}
    step = jax.jit(autoregressive.train_step)
    state = start(model, tx=optax.set_to_zero())
    following, first = step(state, batch)
    assert float(step(state, batch)[1]["loss"]) == float(first["loss"])
    assert float(step(following, batch)[1]["loss"]) != float(first["loss"])
    key = jax.random.key(3)
    drawn = autoregressive.log_prob(model, state.params, batch["image"], key=key)
    assert not np.allclose(drawn, autoregressive.log_prob(model, state.params, batch["image"]))
    last, numbers = batch["image"][2:], jnp.array([2])
    alone = autoregressive.log_prob(model, state.params, last, key=key, numbers=numbers)
    np.testing.assert_allclose(alone, drawn[2:], rtol=1e-5)


def test_conditions_in_a_batch_matter_where_the_model_has_them():
    told, untold = zoo.gated(Bernoulli("threshold"), n_classes=3), zoo.gated(Bernoulli("threshold"))
    label = Condition(label=jnp.zeros((1,), jnp.int32))
    image = photos(4)
    batches = [{"image": image, "label": jnp.full(4, c)} for c in range(2)]
    evaluate = jax.jit(autoregressive.eval_step)
    state = start(told, cond=label)
    first, second = (evaluate(state, batch)["nll"] for batch in batches)
    chex.assert_shape(first, (4,))
    assert not np.allclose(first, second)
    np.testing.assert_allclose(
        second,
        -autoregressive.log_prob(told, state.params, image, cond=jnp.ones(4, jnp.int32)),
        rtol=1e-5,
    )
    state = start(untold)
    np.testing.assert_array_equal(*(evaluate(state, batch)["nll"] for batch in batches))


def test_every_part_of_a_condition_matters():
    model = zoo.gated(Bernoulli("threshold"), n_classes=3)
    random = np.random.default_rng(0)
    cond = Condition(
        label=jnp.array([0, 1]),
        vector=jnp.asarray(random.normal(size=(2, 4)), jnp.float32),
        spatial=jnp.asarray(random.integers(0, 256, (2, 5, 4, 3)), jnp.uint8),
    )
    params = zoo.draw_params(model, SHAPE, jax.tree.map(lambda x: x[:1], cond))
    log_prob = jax.jit(functools.partial(autoregressive.log_prob, model))
    usual = log_prob(params, photos(2), cond=cond)
    for name in ("label", "vector", "spatial"):
        other = cond.replace(**{name: getattr(cond, name)[::-1]})
        assert not np.allclose(log_prob(params, photos(2), cond=other), usual), name


def test_labels_for_a_model_without_classes_are_refused():
    model = zoo.gated(Bernoulli())
    params = zoo.draw_params(model, SHAPE)
    with pytest.raises(ValueError, match="a model without n_classes takes no labels"):
        autoregressive.log_prob(model, params, photos(2), cond=jnp.zeros(2, jnp.int32))


def test_conditions_that_do_not_fit_are_refused():
    told, untold = zoo.gated(Bernoulli(), n_classes=3), zoo.gated(Bernoulli())
    spatial = jnp.zeros((2, 5, 1, 2))
    for model, cond, message in [
        (told, None, "a model of 3 classes needs a label for each example"),
        (told, Condition(vector=jnp.zeros((2, 4))), "a model of 3 classes needs a label"),
        (told, jnp.array([0, 7]), r"labels must lie in 0\.\.2, got 7"),
        (told, jnp.zeros(1, jnp.int32), "the condition is for 1 examples, the batch has 2"),
        (untold, spatial, r"must be of the examples' own size \(5, 4\), got \(5, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            autoregressive.log_prob(model, {}, photos(2), cond=cond)


@pytest.mark.parametrize(
    ("name", "field", "size"),
    [
        ("gated", "first_kernel", 1),
        ("gated", "kernel", 4),
        ("masked", "first_kernel", 2),
        ("masked", "kernel", 1),
        ("row-lstm", "first_kernel", 1),
    ],
)
def test_kernels_that_cannot_be_are_refused(name, field, size):
    model = zoo.NETWORKS[name](Bernoulli(), **{field: size})
    with pytest.raises(ValueError, match=f"^{field} must be odd and 3 or more, got {size}"):
        zoo.draw_params(model, SHAPE)


def test_init_makes_a_state_that_trains():
    model = zoo.gated(Bernoulli(), n_classes=3)
    make = jax.jit(functools.partial(autoregressive.init, model, optax.sgd(0.1), ema_decay=0.9))
    state = make(jax.random.key(0), photos(2), cond=jnp.zeros(2, jnp.int32))
    chex.assert_trees_all_equal(state.params, state.ema_params)
    batch = {"image": photos(2), "label": jnp.ones(2, jnp.int32)}
    after, metrics = jax.jit(autoregressive.train_step)(state, batch)
    assert np.isfinite(metrics["loss"])
    chex.assert_trees_all_equal_shapes_and_dtypes(state.params, after.params)


def test_half_precision_is_for_computing_only():
    wide, narrow = (zoo.gated(Bernoulli(), dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    batch = {"image": photos()}
    state, metrics = jax.jit(autoregressive.train_step)(start(narrow), batch)
    chex.assert_trees_all_equal_dtypes(state.params, start(wide).params)
    assert metrics["loss"].dtype == jnp.float32
    exact = jax.jit(autoregressive.eval_step)(start(wide), batch)["nll"]
    np.testing.assert_allclose(
        jax.jit(autoregressive.eval_step)(start(narrow), batch)["nll"], exact, rtol=0.05
    )


@pytest.mark.parametrize("output", zoo.OUTPUTS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32], ids=["floats", "int32"])
def test_data_of_another_dtype_is_refused(output, dtype):
    model = zoo.gated(zoo.OUTPUTS[output].likelihood)
    image = photos().astype(dtype)
    for read in (
        lambda: autoregressive.log_prob(model, {}, image),
        lambda: autoregressive.log_prob(model, {}, image, key=jax.random.key(0)),
    ):
        with pytest.raises(ValueError, match=rf"images must be uint8 .* got {image.dtype}"):
            read()


def test_a_spatial_condition_is_uint8_or_floats():
    model = zoo.gated(Bernoulli())
    spatial = jnp.zeros((6, *SHAPE), jnp.int32)
    with pytest.raises(ValueError, match=r"uint8 \(levels 0\.\.255\) or floats, got int32"):
        autoregressive.init(model, optax.sgd(0.1), jax.random.key(0), photos(), cond=spatial)
