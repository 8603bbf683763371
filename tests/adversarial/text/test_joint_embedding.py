import dataclasses
import functools
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawing import shapes_of
from jax import export

from gen_jax.adversarial import joint_embedding
from gen_jax.adversarial.text.joint_embedding import ImageEncoder, JointEmbedding, hinge
from gen_jax.nn.text import CharCNNRNN


def init(model, batch, tx, **options):
    drawn = functools.partial(joint_embedding.init, **options)
    return jax.jit(drawn, static_argnums=(0, 1))(model, tx, jax.random.key(0), batch)


# Networks whose vectors are read off: a text's from a table, an image's from its pixels.


class Table(nn.Module):
    rows: tuple[tuple[float, ...], ...]

    @nn.compact
    def __call__(self, tokens):
        table = self.param("table", lambda key: jnp.array(self.rows))
        return table[tokens[:, 0]]


class Pixels(nn.Module):
    @nn.compact
    def __call__(self, x):
        return self.param("scale", nn.initializers.ones, ()) * x.reshape(len(x), -1)


IMAGES = np.float32([[1, 0], [0, 1], [1, 1]]).reshape(3, 1, 2, 1)
TEXTS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))
# F: of the first image 1, 0, 1/2; of the second 0, 1, 1/2; of the third 1, 1, 1.
THREE = {"image": IMAGES, "tokens": np.arange(3, dtype=np.uint8)[:, None, None]}
SAID = {"attributes": np.array([[0], [1], [1]]), "meaning": np.array([[[0]], [[1]], [[-1]]])}


train, evaluate = jax.jit(joint_embedding.train_step), jax.jit(joint_embedding.eval_step)


def stub(batch, rows=TEXTS, tx=None):
    return init(JointEmbedding(Table(rows), Pixels()), batch, tx or optax.sgd(0.1))


def test_hinge_by_hand():
    own, scores = jnp.array([1.0, 0.5]), jnp.array([[1.0, 0.25, -1.0], [0.5, 0.5, 3.0]])
    negative = jnp.array([[False, True, True], [True, False, True]])
    np.testing.assert_allclose(hinge(own, scores, negative), [[0, 0.25, 0], [1, 0, 3.5]])
    np.testing.assert_allclose(hinge(own, scores, negative, 3.0), [[0, 2.25, 1], [3, 0, 5.5]])


def test_the_loss_by_hand_where_all_others_are_wrong():
    terms = evaluate(stub(THREE), THREE)
    np.testing.assert_allclose(terms["image/loss"], [0.5 / 3, 0.5 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(terms["text/loss"], [1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(terms["loss"], terms["image/loss"] + terms["text/loss"])
    np.testing.assert_array_equal(terms["image/accuracy"], [1, 1, 0])  # of equals none is first
    np.testing.assert_array_equal(terms["text/accuracy"], [0, 0, 1])
    _, metrics = train(stub(THREE), THREE)
    for name, value in terms.items():
        np.testing.assert_allclose(metrics[name], value.mean(), rtol=1e-6)


def test_a_text_that_describes_an_image_is_no_negative_of_it():
    """The second text is true of the third image, and the third says nothing."""
    batch = THREE | SAID
    terms = evaluate(stub(batch), batch)
    np.testing.assert_allclose(terms["image/loss"], [0, 0, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(terms["text/loss"], [1 / 3, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(terms["image/accuracy"], [1, 1, 0])
    np.testing.assert_array_equal(terms["text/accuracy"], [0, 1, 1])


def test_an_update_is_a_step_down_the_loss_of_both():
    state = stub(THREE)

    def loss(params):
        v = params["image"]["scale"] * IMAGES.reshape(3, 2)
        scores = v @ params["text"]["table"].T
        own = jnp.diag(scores)
        others = ~jnp.eye(3, dtype=bool)
        pairs = hinge(own, scores, others) + hinge(own, scores.T, others)
        return pairs.sum() / 9

    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, jax.grad(loss)(state.params))
    after, _ = train(state, THREE)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-5)
    assert int(after.step) == 1


def test_one_of_an_images_texts_is_drawn_with_what_it_means():
    """Each step's terms are those of some choice of one text for each image."""
    random = np.random.default_rng(0)
    rows = tuple(map(tuple, random.normal(size=(9, 2)).tolist()))
    batch = {
        "image": IMAGES,
        "tokens": np.arange(9, dtype=np.uint8).reshape(3, 3, 1),
        "meaning": random.integers(-1, 2, (3, 3, 2)),
        "attributes": random.integers(0, 2, (3, 2)),
    }
    possible = []
    for choice in itertools.product(range(3), repeat=3):
        picked = {k: batch[k][np.arange(3), list(choice)][:, None] for k in ("tokens", "meaning")}
        terms = evaluate(stub(batch, rows), batch | picked)
        possible.append([float(terms["image/loss"].mean()), float(terms["text/loss"].mean())])
    state, found = stub(batch, rows, optax.sgd(0.0)), set()
    for _ in range(12):
        state, metrics = train(state, batch)
        pair = [float(metrics["image/loss"]), float(metrics["text/loss"])]
        nearest = int(np.abs(np.array(possible) - pair).max(1).argmin())
        np.testing.assert_allclose(pair, possible[nearest], atol=1e-5)
        found.add(nearest)
    assert len(found) > 5


# Evaluation


def test_copies_and_what_is_masked_count_for_nothing():
    batch = THREE | SAID | {"number": np.array([7, 8, 9])}
    expected = evaluate(stub(batch), batch)
    copied = jax.tree.map(lambda x: np.concatenate([x, x[-1:], x[-1:]]), batch)
    masked = jax.tree.map(lambda x: np.concatenate([x, x[:1]]), batch)
    masked["number"] = np.array([7, 8, 9, 10])
    masked["mask"] = np.array([True, True, True, False])
    for filled in (copied, masked):
        terms = evaluate(stub(batch), filled)
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name][:3], value, err_msg=name)


# Networks of this library


MODEL = JointEmbedding(
    CharCNNRNN((6, 5, 4), (2, 2, 1), hidden=5, embedding=4, vocabulary=9), ImageEncoder(3, 4)
)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (6, 5, 7, 3), np.uint8),
        "tokens": random.integers(1, 9, (6, 2, MODEL.text.least_length + 18), np.uint8),
        "meaning": random.integers(-1, 2, (6, 2, 3)),
        "attributes": random.integers(0, 2, (6, 3)),
    }


@pytest.fixture(scope="module")
def state(batch):
    return init(MODEL, batch, optax.adam(0.01), ema_decay=0.5)


def test_the_loss_falls_on_one_batch_in_one_trace(state, batch):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def traced(state, batch):
        return joint_embedding.train_step(state, batch)

    chex.clear_trace_counter()
    losses = []
    for _ in range(80):
        state, metrics = traced(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    assert all(value.dtype == jnp.float32 for value in metrics.values())


def test_a_step_can_be_replayed_from_its_state_alone(state, batch):
    first, _ = train(state, batch)
    once, again = train(first, batch), train(jax.tree.map(jnp.copy, first), batch)
    chex.assert_trees_all_equal(once[0].params, again[0].params)
    chex.assert_trees_all_equal(once[1], again[1])


def test_texts_and_images_are_embedded_by_averaged_parameters(state, batch):
    state, _ = train(state, batch)
    plain = dataclasses.replace(state, ema_params=None)
    for embed, x in (
        (joint_embedding.embed_text, batch["tokens"][:, 0]),
        (joint_embedding.embed_image, batch["image"]),
    ):
        vectors = jax.jit(embed)(state, x)
        assert vectors.shape == (6, 4)
        assert vectors.dtype == jnp.float32
        assert not np.allclose(vectors, jax.jit(embed)(plain, x))
        averaged = dataclasses.replace(plain, params=state.ema_params)
        np.testing.assert_array_equal(vectors, jax.jit(embed)(averaged, x))


def test_all_texts_of_an_image_are_embedded_at_once(state, batch):
    embed = jax.jit(joint_embedding.embed_text)
    together = embed(state, batch["tokens"])
    assert together.shape == (6, 2, 4)
    for k in range(2):
        one = embed(state, batch["tokens"][:, k])
        np.testing.assert_allclose(together[:, k], one, rtol=1e-5, atol=1e-6)


def test_half_precision_gives_float32(state, batch):
    half = JointEmbedding(
        MODEL.text.clone(dtype=jnp.bfloat16), MODEL.image.clone(dtype=jnp.bfloat16)
    )
    inputs = batch["image"], batch["tokens"][:, 0]
    both = (jax.jit(m.apply)({"params": state.params}, *inputs) for m in (half, MODEL))
    for ours, theirs in zip(*both, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=0.05)


@pytest.mark.parametrize("shape", [(5, 5, 1), (5, 9, 3), (28, 28, 3), (33, 47, 4)])
def test_images_of_any_size_from_5_pixels_on(shape):
    vectors, _ = shapes_of(ImageEncoder(2, 7), jnp.zeros((3, *shape)))
    assert vectors.shape == (3, 7)


def test_steps_and_queries_lower_for_every_platform(state, batch):
    platforms = ("cpu", "cuda", "tpu")
    batch = jax.tree.map(jnp.asarray, batch)
    for function, *args in (
        (joint_embedding.train_step, batch),
        (joint_embedding.eval_step, batch),
        (joint_embedding.embed_text, batch["tokens"]),
        (joint_embedding.embed_image, batch["image"]),
    ):
        exported = export.export(jax.jit(function), platforms=platforms)(state, *args)
        assert exported.platforms == platforms


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": None}, r'needs batch\["image"\] and batch\["tokens"\].* got \[.attributes.'),
        ({"meaning": None}, '"meaning" with "attributes" or neither'),
        ({"attributes": None}, '"meaning" with "attributes" or neither'),
        ({"tokens": np.zeros((6, 20), np.uint8)}, r"tokens must be \[B, K, L\].*\(6, 20\)"),
        ({"meaning": np.zeros((6, 3, 3), int)}, r"meaning \(6, 3, 3\)"),
        ({"image": np.zeros((6, 5, 5, 3), np.int32)}, "uint8 .* or floats"),
        ({"image": np.zeros((6, 4, 5, 3), np.uint8)}, "not for images of 4×5 pixels"),
    ],
)
def test_a_batch_that_lacks_something_is_refused(batch, change, message):
    batch = {name: value for name, value in (batch | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        init(MODEL, batch, optax.sgd(0.1))


def test_networks_that_do_not_fit_are_refused(batch):
    wide = JointEmbedding(MODEL.text, ImageEncoder(3, 5))
    with pytest.raises(ValueError, match=r"vectors of the same size, got \(5,\) and \(4,\)"):
        init(wide, batch, optax.sgd(0.1))

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.BatchNorm(use_running_average=True)(x.mean((1, 2))))

    with pytest.raises(ValueError, match=r"parameters alone, its networks have \['batch_stats'\]"):
        init(JointEmbedding(MODEL.text, Normed()), batch, optax.sgd(0.1))
