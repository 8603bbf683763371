"""WaveNet: what a sample sees, what sampling keeps, and that both are the plain convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo
from jax import lax

from gen_jax import autoregressive
from gen_jax.autoregressive import Condition, WaveNet, sampling
from gen_jax.densities import Categorical, LogisticMixture, MuLaw


def plain(model: WaveNet, params, x, told=None):
    """The network of the paper, by XLA's own convolution and explicit zeros before the sound."""

    def conv(name, x, past, dilation=1):
        kernel = params[name]["kernel"]
        x = jnp.pad(x, ((0, 0), (past, 0), (0, 0)))
        y = lax.conv_general_dilated(
            x,
            kernel,
            (1,),
            "VALID",
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return y + params[name]["bias"][None, None]

    h = conv("first", 2.0 * x - 1.0, model.first_kernel)[:, :-1]  # a sample does not see itself
    skip = jnp.zeros(())
    for i in range(model.stacks * model.layers):
        dilation = 2 ** (i % model.layers)
        z = conv(f"dilated_{i}", h, dilation, dilation)
        if told is not None:
            z = z + told @ params[f"condition_{i}"]["kernel"]
        value, opening = z[..., : model.features], z[..., model.features :]
        out = conv(f"out_{i}", jnp.tanh(value) / (1.0 + jnp.exp(-opening)), 0)
        skip, passed = skip + out[..., : model.skip_features], out[..., model.skip_features :]
        h = h + passed if passed.shape[-1] else h
    return conv("outputs", jax.nn.relu(conv("head", jax.nn.relu(skip), 0)), 0)


def a_signal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def test_it_is_the_plain_dilated_convolutions():
    model = zoo.wavenet(Categorical(3), stacks=2, n_classes=3)
    cond = Condition(label=jnp.arange(2))
    params = zoo.draw_params(model, (40, 1), Condition(label=jnp.zeros((1,), jnp.int32)))
    x = a_signal((2, 40, 1))
    embedding = params["embedding"]["label"]
    told = (embedding["kernel"][:2] + embedding["bias"])[:, None]
    outputs = jax.jit(model.apply)({"params": params}, x, cond)
    expected = jax.jit(functools.partial(plain, model))(params, x, told)
    np.testing.assert_allclose(outputs[:, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize(("stacks", "layers", "first_kernel"), [(1, 4, 2), (2, 3, 1), (3, 2, 5)])
def test_a_sample_sees_its_receptive_field_and_nothing_else(stacks, layers, first_kernel):
    model = zoo.wavenet(Categorical(3), stacks=stacks, layers=layers, first_kernel=first_kernel)
    assert model.dilations == (1, 2, 4, 8)[:layers] * stacks
    field = model.receptive_field
    assert field == first_kernel + stacks * (2**layers - 1)
    n, at = field + 6, field + 3
    params = zoo.draw_params(model, (n, 1))

    @jax.jit
    def slope(x):
        return jax.grad(lambda x: (model.apply({"params": params}, x)[0, at] ** 2).sum())(x)

    seen = np.flatnonzero(slope(a_signal((1, n, 1))))
    np.testing.assert_array_equal(seen, np.arange(at - field, at))


def test_the_papers_stacks_see_a_fifth_of_a_second():
    model = WaveNet(stacks=3, layers=10)
    assert model.dilations[9:11] == (512, 1)
    assert model.receptive_field == 2 + 3 * 1023


@pytest.mark.parametrize("kind", ["free", "label", "spatial"])
def test_a_long_sound_is_what_the_network_would_draw_after_it(kind):
    """Every sample, redrawn with its own noise by one pass over the whole sound, is itself."""
    n, t = 2, 700
    with jax.enable_x64(True):
        sizes = {"stacks": 2, "layers": 5, "n_classes": 3 if kind == "label" else None}
        model = zoo.wavenet(Categorical(256, MuLaw()), **sizes, dtype=jnp.float64)
        random = np.random.default_rng(0)
        cond = {
            "free": None,
            "label": Condition(label=jnp.asarray([2, 0])),
            "spatial": Condition(spatial=jnp.asarray(random.normal(size=(n, t, 2)))),
        }[kind]
        one = jax.tree.map(lambda leaf: leaf[:1], cond)
        params = zoo.draw_params(model, (t, 1), one)
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)

        @jax.jit
        def draw_and_redraw(params, key):
            task = sampling.make_task(model, params, key, (n, t, 1), cond=cond)
            value, _ = sampling.cached(task)
            units = value.reshape(n, t, 1, 1)
            return value, task.whole(task.draw(task.outputs(units), task.noise(), None))

        drawn, redrawn = draw_and_redraw(params, jax.random.key(0))
    np.testing.assert_array_equal(drawn, redrawn)
    assert len(np.unique(drawn[:, -50:])) > 20


def test_the_memory_of_a_sampler_does_not_grow_with_the_sound():
    model = WaveNet(stacks=2, layers=6, features=8, n_classes=4)
    label = Condition(label=jnp.zeros((1,), jnp.int32))
    params = zoo.draw_params(model, (4, 1), label)
    weights = model.weights(params)

    def memory(width):
        rows = jax.eval_shape(lambda: model.start(weights, 3, width))
        told = jax.ShapeDtypeStruct((3, 1, 8), jnp.float32)  # a class: the same at all times
        _, contexts, left = jax.eval_shape(model.row, weights, rows, jnp.int32(0), told)
        assert contexts is None
        return sum(leaf.size for leaf in jax.tree.leaves((rows, left)))

    queues = 2 * 63 * 3 * 8  # the sum of the dilations, times batch and features
    samples, gates = 2 * 3, 12 * 3 * 16
    assert memory(10) == memory(100_000) == 2 * (queues + samples) + gates  # before, and in the row


def test_several_channels_want_one_likelihood_of_all():
    with pytest.raises(ValueError, match="one unit; 2 channels need a joint likelihood"):
        zoo.draw_params(zoo.wavenet(Categorical(3)), (9, 2))
    stereo = zoo.wavenet(LogisticMixture(2, 5, MuLaw()))
    params = zoo.draw_params(stereo, (9, 2))
    drawn = jax.jit(functools.partial(autoregressive.sample, stereo, shape=(3, 9, 2)))(
        params, jax.random.key(0)
    )
    assert (drawn.shape, drawn.dtype) == ((3, 9, 2), jnp.int16)


def test_the_probabilities_of_all_levels_of_a_sample_sum_to_one():
    model = zoo.wavenet(Categorical(256, MuLaw()))
    params = zoo.draw_params(model, (5, 1))
    sound = zoo.some_data(model.likelihood, (1, 5, 1))
    levels = model.likelihood.to_data(jnp.arange(256))
    sounds = jnp.repeat(sound, 256, 0).at[:, 3, 0].set(levels)
    log_p = jax.jit(functools.partial(autoregressive.log_prob, model))(params, sounds[:, :4])
    before = jax.jit(functools.partial(autoregressive.log_prob, model))(params, sound[:, :3])
    assert float(jnp.exp(log_p - before).sum()) == pytest.approx(1.0, abs=1e-4)


def test_it_learns_a_tone_in_half_precision_too():
    wave = 8000.0 * np.sin(np.arange(128) * 2.0 * np.pi / 16.0)
    batch = {"audio": jnp.asarray(wave[None, :, None], jnp.int16).repeat(2, 0)}
    model = WaveNet(stacks=1, layers=3, features=8, skip_features=16, dtype=jnp.bfloat16)
    state = jax.jit(functools.partial(autoregressive.init, model, optax.adam(1e-2)))(
        jax.random.key(0), batch["audio"]
    )
    step = jax.jit(
        lambda state: lax.scan(
            lambda state, _: autoregressive.train_step(state, batch), state, length=60
        )
    )
    _, metrics = step(state)
    assert metrics["loss"].dtype == jnp.float32
    assert metrics["bits_per_dim"][0] > 6.0
    assert metrics["bits_per_dim"][-1] < 3.0
