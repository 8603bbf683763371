"""The recurrent networks against their equations, one pixel after another in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo
from scipy.special import expit

from gen_jax import autoregressive
from gen_jax.autoregressive import Condition
from gen_jax.nn import recurrent
from gen_jax.nn.recurrent import DiagonalLSTMLayer, RowLSTMLayer, diagonal_lstm, skew, unskew

NAMES = ("row-lstm", "diagonal-bilstm")
LAYERS = {"row-lstm": RowLSTMLayer, "diagonal-bilstm": DiagonalLSTMLayer}
SIZES = [(3, 3), (2, 5), (5, 2), (1, 4), (4, 1)]


# The equations, as the paper has them


def group_of(features: int, groups: int) -> np.ndarray:
    """The group of each feature."""
    starts = [features * g // groups for g in range(groups)]
    return np.searchsorted(starts, np.arange(features), side="right") - 1


def masked(kind: str, kernel: np.ndarray, groups: int, blocks: int = 1) -> np.ndarray:
    """The kernel [c_in, c_out] without what mask A or B forbids within a pixel."""
    known = group_of(kernel.shape[0], groups)[:, None]
    reader = np.tile(group_of(kernel.shape[1] // blocks, groups), blocks)
    return kernel * (known < reader if kind == "A" else known <= reader)


def lstm(gates: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    o, f, i, g = np.split(gates, 4, axis=-1)
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def row_lstm(p, x: np.ndarray, told: np.ndarray, groups: int) -> np.ndarray:
    """h [height, width, batch, h]."""
    height, width, batch_size, _ = x.shape
    outside = [np.broadcast_to(p[f"initial_{n}"], (batch_size, p["bias"].size // 4)) for n in "hc"]
    states = {}

    def h(i: int, j: int) -> np.ndarray:
        return states.get((i, j), outside)[0]

    for i, j in np.ndindex(height, width):
        gates = p["bias"] + x[i, j] @ masked("B", p["input"][1], groups, 4)
        gates = gates + told[i, j] @ p["condition"]
        if j > 0:
            gates = gates + x[i, j - 1] @ p["input"][0]
        for tap in range(3):
            gates = gates + h(i - 1, j + tap - 1) @ p["state"][tap]
        states[i, j] = lstm(gates, states.get((i - 1, j), outside)[1])
    return np.array([[states[i, j][0] for j in range(width)] for i in range(height)])


def diagonal_bilstm(p, x: np.ndarray, told: np.ndarray, groups: int) -> np.ndarray:
    """h [height, width, batch, h], of both directions."""
    height, width, batch_size, _ = x.shape
    h_size = p["bias"].shape[-1] // 4
    total = np.zeros((height, width, batch_size, h_size))
    for side, back in enumerate((-1, 1)):  # where the column before lies
        initial = [p[f"initial_{n}"][side] for n in "hc"]
        outside = [np.broadcast_to(v, (batch_size, h_size)) for v in initial]
        states = {}
        for i in range(height):
            for j in range(width)[::-back]:
                beside, above = (states.get(k, outside) for k in ((i, j + back), (i - 1, j)))
                gates = p["bias"][side] + x[i, j] @ masked("B", p["input"][side], groups, 4)
                gates = gates + told[i, j] @ p["condition"][side]
                gates = gates + beside[0] @ p["state"][side, 0] + above[0] @ p["state"][side, 1]
                states[i, j] = lstm(gates, beside[1])
        for i, j in np.ndindex(height, width):
            total[i, j] += states.get((i - side, j), outside)[0]  # that from the right a row down
    return total


REFERENCES = {"row-lstm": row_lstm, "diagonal-bilstm": diagonal_bilstm}


def network(name: str, p, x: np.ndarray, told: np.ndarray, groups: int, layers: int) -> np.ndarray:
    """The outputs [height, width, batch, n] from an image [height, width, batch, channels]."""
    height, width, batch_size, _ = x.shape
    x = 2.0 * x - 1.0

    def conv(name: str, x: np.ndarray) -> np.ndarray:
        return x @ masked("B", p[name]["kernel"][0, 0], groups) + p[name]["bias"]

    kernel = p["first"]["kernel"]
    reach = len(kernel) - 1
    stream = np.zeros((height, width, batch_size, kernel.shape[-1])) + p["first"]["bias"]
    for i, j in np.ndindex(height, width):
        for di, dj in np.ndindex(kernel.shape[:2]):
            k, m = i + di - reach, j + dj - reach
            if (di, dj) == (reach, reach):
                stream[i, j] += x[i, j] @ masked("A", kernel[di, dj], groups)
            elif di * (2 * reach + 1) + dj < reach * (2 * reach + 2) and k >= 0 and 0 <= m < width:
                stream[i, j] += x[k, m] @ kernel[di, dj]
    for layer in range(layers):
        states = REFERENCES[name](p[f"lstm_{layer}"], stream, told, groups)
        stream = stream + conv(f"out_{layer}", states)
    for head in ("head_0", "head_1", "outputs"):
        stream = conv(head, np.maximum(stream, 0.0))
    return stream


# Tests


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_skewing_puts_diagonals_into_columns_and_is_undone(size):
    height, width = size
    x = jnp.arange(1.0, 1 + 6 * height * width).reshape(height, 2, width, 3)
    skewed = skew(x)
    assert skewed.shape == (sum(size) - 1, 2, height, 3)
    for i, j in np.ndindex(size):
        np.testing.assert_array_equal(skewed[i + j, :, i], x[i, :, j])
    assert (skewed != 0).sum() == x.size
    np.testing.assert_array_equal(unskew(skewed), x)


def draw_diagonal_parameters(dtype: str = "float32"):
    """Kernel, bias and initial states of two directions that read 3 channels, with h = 2."""
    random, shapes = np.random.default_rng(0), ((2, 7, 8), (2, 8), (2, 2), (2, 2))
    kernel, bias, *initial = (jnp.asarray(random.normal(size=s), dtype) for s in shapes)
    return kernel, bias, (initial[0], initial[1])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nothing_depends_on_the_skewed_corners(size):
    height, width = size
    parameters, random = draw_diagonal_parameters(), np.random.default_rng(1)
    inside = skew(jnp.ones((height, 1, width, 1), bool))[:, None]
    x = jnp.asarray(random.normal(size=(len(inside), 2, 4, height, 3)), jnp.float32)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def run(x):
        states = diagonal_lstm(x, *parameters, width)
        states = jax.vmap(unskew, 1)(states)
        return (states**2).sum(), states

    slope, states = run(x)
    np.testing.assert_array_equal(run(jnp.where(inside, x, 100.0))[1], states)
    np.testing.assert_array_equal(slope != 0, np.broadcast_to(inside, x.shape))


@pytest.mark.parametrize("abreast", [2, 4])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_images_abreast_know_nothing_of_each_other(size, abreast):
    with jax.enable_x64(True):
        height, width = size
        x = jnp.asarray(np.random.default_rng(1).normal(size=(height, 4, width, 3)))
        arguments = x, *draw_diagonal_parameters("float64")

        @functools.partial(jax.jit, static_argnums=0)
        def run(abreast, arguments):
            states, back = jax.vjp(
                functools.partial(recurrent.diagonal_bilstm, abreast=abreast), *arguments
            )
            return states, back(jnp.cos(states))

        for a, b in zip(*(jax.tree.leaves(run(n, arguments)) for n in (abreast, 1)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("size", [(3, 4), (4, 2)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_layers_are_the_equations(name, size, groups):
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        x, told = random.normal(size=(*size, 2, 8)), random.normal(size=(*size, 2, 3))
        inputs = x.swapaxes(1, 2), told.swapaxes(1, 2)
        layer = LAYERS[name](4, groups, dtype=jnp.float64)
        shapes = jax.eval_shape(layer.init, jax.random.key(0), *inputs)["params"]
        params = jax.tree.map(lambda p: random.normal(size=p.shape), shapes)
        states = jax.jit(layer.apply)({"params": params}, *inputs).swapaxes(1, 2)
        np.testing.assert_allclose(
            states, REFERENCES[name](params, x, told, groups), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("size", [(3, 4), (4, 2)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_networks_are_the_equations(name, size):
    with jax.enable_x64(True):
        random, shape = np.random.default_rng(0), (*size, 3)
        model = zoo.NETWORKS[name](zoo.OUTPUTS["colour"].likelihood, dtype=jnp.float64)
        cond = Condition(vector=random.normal(size=(2, 2)))
        params = zoo.draw_params(model, shape, jax.tree.map(lambda x: x[:1], cond))
        x = random.uniform(size=(2, *shape))
        outputs = jax.jit(model.apply)({"params": params}, x, cond)  # rounded to float32
        vector = params["embedding"]["vector"]
        told = np.broadcast_to(
            cond.vector @ vector["kernel"] + vector["bias"], (*size, 2, model.features)
        )
        expected = network(name, params, np.moveaxis(x, 0, 2), told, 3, model.layers)
        expected = np.moveaxis(expected, 2, 0).reshape(outputs.shape)
        np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_is_learned_and_with_it_the_initial_states(name):
    model = zoo.NETWORKS[name](zoo.OUTPUTS["binary"].likelihood)
    data = zoo.some_data(model.likelihood, (4, 4, 5, 1))
    state = jax.jit(functools.partial(autoregressive.init, model, optax.adam(0.02)))(
        jax.random.key(0), data
    )
    step = jax.jit(autoregressive.train_step)
    first, losses = state.params, []
    for _ in range(30):
        state, metrics = step(state, {"image": data})
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    for layer in range(model.layers):
        for part in ("initial_h", "initial_c"):
            learned = state.params[f"lstm_{layer}"][part]
            assert (learned != first[f"lstm_{layer}"][part]).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"first_kernel": 4}, "first_kernel must be odd and 3 or more, got 4"),
        ({"layers": 0}, "layers must be 1 or more, got 0"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_impossible_sizes_are_refused(name, fields, message):
    model = zoo.NETWORKS[name](zoo.OUTPUTS["binary"].likelihood, **fields)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 3, 3, 1)))
