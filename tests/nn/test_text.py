import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from gen_jax.nn.text import GRU, CharCNNRNN, _Letters

NET = CharCNNRNN((5, 6, 4), (3, 2, 2), hidden=3, embedding=7, vocabulary=9)
LENGTH = 52  # of which 4 places are left


def texts(n=4, seed=0, length=LENGTH):
    """Letters up to an end, and zeros after it."""
    random = np.random.default_rng(seed)
    ends = random.integers(3, length, n)
    letters = random.integers(1, NET.vocabulary, (n, length))
    return np.where(np.arange(length)[None] < ends[:, None], letters, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def params():
    """None of them is zero."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(NET.init, jax.random.key(0), texts())["params"]
    return jax.tree.map(lambda p: random.normal(size=p.shape).astype(np.float32), shapes)


def apply(params, tokens, net=NET):
    return np.asarray(jax.jit(net.apply)({"params": params}, tokens))


# The network, in NumPy


def windows(x, kernel):
    """A convolution without padding, [L, C] by [K, C, D]."""
    n = len(x) - len(kernel) + 1
    return np.stack([np.einsum("kc,kcd->d", x[i : i + len(kernel)], kernel) for i in range(n)])


def largest(x):
    return x[: len(x) // 3 * 3].reshape(-1, 3, x.shape[1]).max(1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def states(x, gru):
    inputs = x @ gru["input"]["kernel"] + gru["input"]["bias"]
    h = gru["candidate"].shape[0]
    state, out = None, []
    for step in inputs:
        if state is None:
            state = np.tanh(step[2 * h :])
        else:
            z, r = np.split(sigmoid(step[: 2 * h] + state @ gru["gates"]), 2)
            new = np.tanh(step[2 * h :] + (r * state) @ gru["candidate"])
            state = (1 - z) * state + z * new
        out.append(state)
    return np.stack(out)


def reference(params, text):
    params = jax.tree.map(np.float64, params)
    one_hot = np.eye(NET.vocabulary)[text][:, 1:]
    x = windows(one_hot, params["letters"]["kernel"]) + params["letters"]["bias"]
    for name in ("conv_1", "conv_2"):
        x = largest(np.maximum(x, 0))
        x = windows(x, params[name]["kernel"]) + params[name]["bias"]
    mean = states(np.maximum(x, 0), params["gru"]).mean(0)
    return mean @ params["embedding"]["kernel"] + params["embedding"]["bias"]


def test_it_is_the_network_of_the_paper(params):
    tokens = texts()
    expected = np.stack([reference(params, text) for text in tokens])
    np.testing.assert_allclose(apply(params, tokens), expected, rtol=1e-4, atol=1e-4)


def test_the_papers_sizes():
    """201 letters leave 18 places, as in the authors' code."""
    net = CharCNNRNN()
    assert net.least_length == 48
    shapes = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.zeros((2, 201), jnp.uint8))
    embedding, variables = shapes
    assert embedding.shape == (2, 1024)
    assert variables["params"]["letters"]["kernel"].shape == (4, 70, 384)
    _, rest = jax.eval_shape(
        lambda x: net.apply(variables_of(variables), x, capture_intermediates=True),
        jnp.zeros((2, 201), jnp.uint8),
    )
    assert rest["intermediates"]["gru"]["__call__"][0].shape == (2, 18, 256)


def variables_of(shapes):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


# Letters


def test_a_text_ends_at_its_first_zero(params):
    tokens = texts()
    after = tokens.copy()
    for text in after:
        end = int(np.argmin(text != 0))
        text[end + 1 :] = 3
    assert (after != tokens).any()
    np.testing.assert_array_equal(apply(params, after), apply(params, tokens))


def test_empty_places_are_seen_as_in_the_paper(params):
    """A text filled up to another length is another one."""
    longer = np.pad(texts(), ((0, 0), (0, 9)))
    assert not np.allclose(apply(params, longer), apply(params, texts()), atol=1e-3)


def test_a_letter_anywhere_makes_another_vector(params):
    """Up to the last ones, which no window takes in."""
    text = np.ones((1, LENGTH), np.uint8)
    changed = np.repeat(text, LENGTH, 0)
    changed[np.arange(LENGTH), np.arange(LENGTH)] = 2
    differs = (apply(params, changed) != apply(params, text)).any(1)
    assert differs[: LENGTH // 2].mean() > 0.8
    assert differs[LENGTH // 2 :].mean() > 0.5


def test_numbers_outside_the_vocabulary_are_no_letters(params):
    tokens = texts().astype(np.int32)
    tokens[:, 1] = [NET.vocabulary, 200, -1, -100]
    as_reference = tokens.copy()
    as_reference[:, 1] = 0
    expected = np.stack([reference(params, text) for text in as_reference])
    np.testing.assert_allclose(apply(params, tokens), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_rows_looked_up_are_the_product_with_one_hot_letters(dtype):
    layer = _Letters(5, 3, NET.vocabulary, dtype=dtype)
    kernel = jax.random.normal(jax.random.key(0), (3, NET.vocabulary - 1, 5))
    tokens = texts().astype(np.int32)

    def both(kernel):
        return layer._rows(tokens, kernel), layer._product(tokens, kernel)

    (rows, product), pull = jax.vjp(jax.jit(both), kernel)
    assert rows.dtype == product.dtype == dtype
    tolerance = 1e-5 if dtype == jnp.float32 else 0.05
    np.testing.assert_allclose(np.float32(rows), np.float32(product), atol=tolerance)
    weight = jax.random.normal(jax.random.key(1), rows.shape, dtype)
    by_rows, by_product = (pull(pair)[0] for pair in ((weight, 0 * weight), (0 * weight, weight)))
    np.testing.assert_allclose(by_rows, by_product, rtol=10 * tolerance, atol=10 * tolerance)


def test_a_letter_that_does_not_occur_has_no_gradient(params):
    tokens = np.minimum(texts(), 4)
    grads = jax.jit(jax.grad(lambda p: NET.apply({"params": p}, tokens).sum()))(params)
    kernel = np.asarray(grads["letters"]["kernel"])
    assert (kernel[:, 4:] == 0).all()
    assert (kernel[:, :4] != 0).any((0, 2)).all()


# Options


def test_half_precision_gives_the_same_vectors_in_float32(params):
    tokens = texts()
    half = apply(params, tokens, NET.clone(dtype=jnp.bfloat16))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, apply(params, tokens), rtol=0.1, atol=0.2)


def test_one_state_is_a_layer_of_tanh():
    x = jax.random.normal(jax.random.key(0), (2, 1, 4))
    gru = GRU(3)
    variables = gru.init(jax.random.key(1), x)
    dense = variables["params"]["input"]
    expected = jnp.tanh(x @ dense["kernel"][:, 6:])
    np.testing.assert_allclose(gru.apply(variables, x), expected, rtol=1e-5)


def test_it_lowers_for_every_platform(params):
    platforms = ("cpu", "cuda", "tpu")
    loss = jax.grad(lambda p, tokens: NET.apply({"params": p}, tokens).sum())
    exported = export.export(jax.jit(loss), platforms=platforms)(params, jnp.asarray(texts()))
    assert exported.platforms == platforms


@pytest.mark.parametrize(
    ("net", "tokens", "message"),
    [
        (NET, texts(length=NET.least_length)[:, 1:], f"need texts of {NET.least_length} places"),
        (NET, texts()[0], r"integers \[B, L\], got uint8 \(52,\)"),
        (NET, texts().astype(np.float32), "got float32"),
        (CharCNNRNN((5, 6), (3, 2, 2)), texts(), r"got \(5, 6\) and \(3, 2, 2\)"),
    ],
)
def test_what_is_no_text_is_refused(net, tokens, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(net.init, jax.random.key(0), tokens)


def test_the_least_length_leaves_one_place():
    shortest = jnp.asarray(texts(length=NET.least_length))
    assert jax.eval_shape(NET.init_with_output, jax.random.key(0), shortest)[0].shape == (4, 7)
