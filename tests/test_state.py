import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax.state import (
    TrainState,
    evaluation_keys,
    example_keys,
    example_numbers,
    named_keys,
    sample_numbers,
)

PARAMS = {"w": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}
GRADS = {"w": jnp.array([1.0, -1.0]), "b": jnp.array([2.0])}


def make(**options) -> TrainState:
    return TrainState.create(
        model=nn.Dense(1),
        tx=optax.sgd(0.5),
        params=jax.tree.map(jnp.copy, PARAMS),
        key=jax.random.key(0),
        **options,
    )


def test_an_update_moves_the_parameters_and_counts():
    state = make().apply_gradients(GRADS)
    assert state.step.dtype == jnp.int32
    assert int(state.step) == 1
    chex.assert_trees_all_close(state.params, {"w": jnp.array([0.5, 2.5]), "b": jnp.array([2.0])})
    assert state.ema_params is None
    assert state.eval_params is state.params


def test_the_average_follows_its_recursion():
    state = make(ema_decay=0.9)
    expected = jax.tree.map(np.asarray, PARAMS)
    for _ in range(3):
        state = state.apply_gradients(GRADS)
        expected = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * np.asarray(p), expected, state.params)
    chex.assert_trees_all_close(state.ema_params, expected, rtol=1e-6)
    assert state.eval_params is state.ema_params


def test_batch_statistics_are_averaged_with_the_parameters():
    """Averaged parameters with the newest statistics would be no network that ever was."""

    def stats(value):
        return {"batch_stats": jnp.full(2, value), "spectral_norm": jnp.full(3, value)}

    state = make(ema_decay=0.75, model_state=stats(0.0))
    for value in (1.0, 2.0):
        state = state.apply_gradients(GRADS, model_state=stats(value))
    variables = state.eval_variables
    chex.assert_trees_all_close(variables["batch_stats"], jnp.full(2, 0.75 * 0.25 + 0.25 * 2.0))
    chex.assert_trees_all_equal(variables["spectral_norm"], jnp.full(3, 2.0))
    chex.assert_trees_all_equal(variables["params"], state.ema_params)
    plain = make(model_state=stats(1.0)).apply_gradients(GRADS)
    chex.assert_trees_all_equal(plain.eval_variables, {"params": plain.params, **stats(1.0)})


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ValueError, match=rf"ema_decay must lie in \[0, 1\), got {decay}"):
        make(ema_decay=decay)


def test_model_state_is_kept_unless_given():
    state = make(model_state={"batch_stats": jnp.zeros(2)})
    assert state.apply_gradients(GRADS).model_state is state.model_state
    new = {"batch_stats": jnp.ones(2)}
    assert state.apply_gradients(GRADS, model_state=new).model_state is new


def test_a_donated_state_is_updated_in_one_trace():
    @functools.partial(jax.jit, donate_argnums=0)
    @chex.assert_max_traces(n=1)
    def step(state: TrainState) -> TrainState:
        return state.apply_gradients(GRADS)

    state = make(ema_decay=0.5)  # the average must not share the parameters' buffers
    for _ in range(3):
        state = step(state)
    assert int(state.step) == 3


def test_step_keys_differ_by_name_and_step_and_can_be_drawn_again():
    def drawn(state: TrainState) -> list[tuple[int, ...]]:
        return [words(key) for key in state.step_keys("noise", "dropout").values()]

    state = make()
    following = state.apply_gradients(GRADS)
    assert list(state.step_keys("noise", "dropout")) == ["noise", "dropout"]
    assert drawn(state) == drawn(state)
    assert len({*drawn(state), *drawn(following)}) == 4


def test_example_keys_do_not_depend_on_how_the_batch_is_spread():
    key, examples = jax.random.key(0), jnp.zeros((12, 2))
    whole = jax.random.key_data(example_keys(key, example_numbers(examples)))
    assert len(np.unique(whole, axis=0)) == 12

    def local(examples):
        return jax.random.key_data(example_keys(key, example_numbers(examples, "data")))

    spread = jax.vmap(local, axis_name="data")(examples.reshape(3, 4, 2))
    np.testing.assert_array_equal(spread.reshape(whole.shape), whole)
    np.testing.assert_array_equal(
        jax.random.key_data(example_keys(key, jnp.array([7, 3]))), whole[np.array([7, 3])]
    )


def words(key) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_steps_keys_are_what_they_have_always_been(impl):
    """A run that is resumed by a newer version draws what it would have drawn."""
    key = jax.random.key(3, impl=impl)
    keys = named_keys(key, jnp.int32(41), "noise", "dropout")
    for ours, theirs in zip(
        keys.values(), jax.random.split(jax.random.fold_in(key, 41), 2), strict=True
    ):
        assert words(ours) == words(theirs)


def test_no_key_of_an_evaluation_is_one_of_training():
    """Nor a root of keys: not of an example, a named use or a step."""
    key, names, numbers = jax.random.key(0), ("one", "two", "three"), jnp.arange(40)

    def domain(root, keys):
        yield words(root)
        for named in keys.values():
            yield words(named)
            yield from map(tuple, np.asarray(jax.random.key_data(example_keys(named, numbers))))

    training = set()
    for step in [*range(60), 2**31 - 1]:
        step = jnp.int32(step)
        training |= {*domain(jax.random.fold_in(key, step), named_keys(key, step, *names))}
    evaluation = [*domain(jax.random.clone(key), evaluation_keys(key, *names))]
    assert len({*evaluation}) == len(evaluation)  # examples of all uses have keys of their own
    assert not training & {*evaluation}


def test_evaluations_draw_the_same_after_every_step():
    state = make()
    before, after = (s.evaluation_keys("noise") for s in (state, state.apply_gradients(GRADS)))
    assert words(before["noise"]) == words(after["noise"])


@pytest.mark.parametrize(
    ("n", "numbers", "message"),
    [
        (0, None, "1 or more examples can be drawn, got 0"),
        (3, jnp.arange(2), r"numbers must be 3 integers, one an example, got int32 \(2,\)"),
        (2, jnp.zeros(2), r"numbers must be 2 integers, one an example, got float32 \(2,\)"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(n, numbers, message):
    with pytest.raises(ValueError, match=message):
        sample_numbers(n, numbers)
    np.testing.assert_array_equal(sample_numbers(3, None), [0, 1, 2])
