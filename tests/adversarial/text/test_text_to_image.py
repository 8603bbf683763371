import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from gen_jax import training
from gen_jax.adversarial import (
    TextDiscriminator,
    TextGenerator,
    gan,
    losses,
    text_to_image,
)
from gen_jax.adversarial.augmentation import jitter
from gen_jax.adversarial.players import draw_noise, play
from gen_jax.adversarial.text import captions
from gen_jax.images import as_symmetric
from gen_jax.meaning import wrong
from gen_jax.nn.condition import Condition
from gen_jax.state import example_keys, named_keys

SHAPE, SIZE, N, K = (8, 8, 3), 5, 6, 3


def networks(norm="none", **fields):
    generator = TextGenerator(2, image_shape=SHAPE, latent_dim=3, text_dim=4, norm=norm, **fields)
    return generator, TextDiscriminator(2, text_dim=4, norm=norm, **fields)


@pytest.fixture(scope="module")
def batch():
    """Images of two attributes, and captions that say the first, both, and nothing at all."""
    random = np.random.default_rng(0)
    attributes = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], np.int32)
    said = np.array([[1, 0], [1, 1], [0, 0]], bool)
    return {
        "image": jnp.asarray(random.integers(0, 256, (N, *SHAPE)), jnp.uint8),
        "vector": jnp.asarray(random.normal(size=(N, K, SIZE)), jnp.float32),
        "meaning": jnp.asarray(np.where(said, attributes[:, None], -1)),
        "attributes": jnp.asarray(attributes),
        "tokens": jnp.zeros((N, K, 7), jnp.uint8),
    }


def make(batch, *, rate=1e-2, **fields):
    tx = optax.adam(rate, b1=0.5)
    init = functools.partial(text_to_image.init, *networks(**fields), tx, tx, ema_decay=0.5)
    return jax.jit(init)(jax.random.key(0), batch)


@functools.partial(
    jax.jit, static_argnames=("loss", "mismatched", "interpolated", "beta", "d_steps", "augment")
)
def step(state, batch, **options):
    return text_to_image.train_step(state, batch, **options)


def captions_by_hand(state, batch):
    """The captions drawn in the coming step, and wrong ones with their numbers, in NumPy."""
    key = named_keys(state.key, state.step, *gan.RANDOM)["augment"]
    keys = [jax.random.split(k, 3) for k in example_keys(key, jnp.arange(N))]
    drawn = [int(jax.random.randint(k[1], (), 0, K)) for k in keys]
    rows = np.arange(N), drawn
    vector, meaning = (np.asarray(batch[name])[rows] for name in ("vector", "meaning"))
    wrongs = []
    for image, true in enumerate(np.asarray(batch["attributes"])):
        able = [i for i in range(N) if ((meaning[i] >= 0) & (meaning[i] != true)).any()]
        place = jax.random.randint(keys[image][2], (), 0, max(len(able), 1))
        wrongs.append(able[int(place)] if able else None)
    return vector, wrongs


def test_the_matching_aware_step_with_interpolation_by_hand(batch):
    """Algorithm 1's three scores, and equation 5 between each caption and the next."""
    state, beta, weight = make(batch), 0.25, 0.7
    vector, wrongs = captions_by_hand(state, batch)
    after, metrics = step(state, batch, interpolated=weight, beta=beta)
    counts = np.array([i is not None for i in wrongs], np.float32)
    wrong_vector = np.stack([vector[own if i is None else i] for own, i in enumerate(wrongs)])
    mixed = np.stack([beta * vector[i] + (1 - beta) * vector[(i + 1) % N] for i in range(N)])

    @jax.jit
    def by_hand(state):
        real = as_symmetric(batch["image"])
        d, g = state.discriminator, state.generator
        noise = named_keys(state.key, state.step, *gan.RANDOM)["noise"]
        z, other_z = (
            draw_noise(
                g.model, state.prior, example_keys(jax.random.fold_in(noise, i), jnp.arange(N))
            )
            for i in (0, 1)
        )

        def score(params, x, text):
            return jax.nn.sigmoid(play(d, params, x, Condition(vector=text))[0])

        def made(params, z, text):
            return play(g, params, z, Condition(vector=text))[0]

        def d_loss(params):
            s_r, s_w = (score(params, real, text) for text in (vector, wrong_vector))
            s_f = score(params, made(g.params, z, vector), vector)
            terms = jnp.log(s_r) + (counts * jnp.log(1 - s_w) + jnp.log(1 - s_f)) / 2
            return -terms.mean()

        value, grads = jax.value_and_grad(d_loss)(d.params)
        new = d.apply_gradients(grads).params

        def g_loss(params):
            own = -jnp.log(score(new, made(params, z, vector), vector)).mean()
            between = -jnp.log(score(new, made(params, other_z, mixed), mixed)).mean()
            return own + weight * between, (own, weight * between)

        (_, parts), grads = jax.value_and_grad(g_loss, has_aux=True)(g.params)
        return new, g.apply_gradients(grads).params, (value, *parts)

    d_params, g_params, values = by_hand(state)
    chex.assert_trees_all_close(after.discriminator.params, d_params, atol=1e-5)
    chex.assert_trees_all_close(after.generator.params, g_params, atol=1e-5)
    names = "discriminator/loss", "generator/loss", "generator/imagined"
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_each_option_is_a_game_of_its_own(batch):
    state, found = make(batch), {}
    for mismatched in (False, True):
        for interpolated in (None, 1.0):
            _, metrics = step(state, batch, mismatched=mismatched, interpolated=interpolated)
            assert ("mismatched/logit" in metrics) == mismatched
            assert ("generator/imagined" in metrics) == (interpolated is not None)
            found[mismatched, interpolated] = metrics
    for mismatched in (False, True):  # what is imagined changes nothing else
        a, b = (found[mismatched, weight] for weight in (None, 1.0))
        for name in ("discriminator/loss", "generator/loss"):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-6)
    known = {name: batch[name] for name in ("image", "vector")}
    _, metrics = step(state, known, mismatched=False)
    chex.assert_trees_all_equal(metrics, found[False, None])


def test_no_gradient_of_one_network_reaches_the_other(batch):
    state = make(batch)
    z = jax.random.normal(jax.random.key(1), (N, 3))
    vector = batch["vector"][:, 0]
    cond = Condition(vector=vector)
    floats = {"image": as_symmetric(batch["image"]), "wrong": vector[::-1], "counts": jnp.ones(N)}

    @jax.jit
    def cross(g_params, d_params):
        def d_loss(g_params):
            made = play(state.generator, g_params, z, cond)[0]
            shown = text_to_image.matching_aware(floats, cond, made)
            loss = losses.non_saturating
            return gan.discriminator_loss(d_params, state.discriminator, shown, loss=loss)[0]

        def g_loss(d_params):
            made = play(state.generator, g_params, z, cond)[0]
            judge = state.discriminator.replace(params=d_params)
            return gan.generator_loss(made, judge, floats, cond, loss=losses.non_saturating)[0]

        return jax.grad(d_loss)(g_params), jax.grad(g_loss)(d_params)

    for leaf in jax.tree.leaves(cross(state.generator.params, state.discriminator.params)):
        np.testing.assert_array_equal(leaf, 0.0)


@functools.partial(jax.jit, static_argnames="n")
def wrong_captions(batch, key, n):
    """``n`` draws of the numbers of wrong captions, and how often they count."""
    numbers = jnp.broadcast_to(jnp.arange(N, dtype=jnp.float32)[:, None], (N, SIZE))

    def draw(key):
        keys = jax.random.split(key, N)
        meaning = batch["meaning"][:, 0]
        found, counts = captions.wrong_captions(keys, numbers, meaning, batch["attributes"])
        return found[:, 0].astype(jnp.int32), counts

    return jax.lax.map(draw, jax.random.split(key, n))


def test_wrong_captions_never_describe_their_image_and_each_is_as_likely(batch):
    drawn, counts = map(np.asarray, wrong_captions(batch, jax.random.key(1), 3000))
    assert (counts == 1.0).all()
    for image, true in enumerate(np.asarray(batch["attributes"])):
        able = np.flatnonzero(wrong(np.asarray(batch["meaning"])[:, 0], true[None]))
        found, times = np.unique(drawn[:, image], return_counts=True)
        np.testing.assert_array_equal(found, able)
        expected = 3000 / len(able)
        assert (np.abs(times - expected) < 5 * np.sqrt(expected)).all()


def test_an_image_for_which_no_caption_is_wrong_does_not_count(batch):
    """It is shown under its own instead, and neither the loss nor the metric knows of it."""
    attributes = jnp.asarray([[0, 0]] * 5 + [[1, 0]], jnp.int32)
    said = {"attributes": attributes, "meaning": jnp.repeat(attributes[:, None], K, axis=1)}
    drawn, counts = map(np.asarray, wrong_captions(batch | said, jax.random.key(1), 20))
    assert (counts == 1.0).all()
    assert (drawn[:, :5] == 5).all()
    assert (drawn[:, 5] < 5).all()
    same = {name: jnp.zeros_like(value) for name, value in said.items()}
    drawn, counts = map(np.asarray, wrong_captions(batch | same, jax.random.key(1), 20))
    assert (counts == 0.0).all()
    assert (drawn == np.arange(N)).all()
    _, metrics = step(make(batch), batch | same)
    assert float(metrics["mismatched/logit"]) == 0.0
    chex.assert_tree_all_finite(metrics)


def test_only_images_that_count_are_in_a_weighted_loss_and_its_metric(batch):
    state = make(batch)
    real, cond = as_symmetric(batch["image"]), Condition(vector=batch["vector"][:, 0])
    weight = jnp.asarray([0.0, 0.5, 0.0, 2.0, 0.0, 0.0])
    shown = [
        *gan.real_and_generated({"image": real}, cond, -real, weight=0.0),
        gan.Shown("mismatched", real, cond, real=False, weight=weight),
    ]
    loss = functools.partial(gan.discriminator_loss, loss=losses.wasserstein)
    value, (_, metrics) = jax.jit(loss)(state.discriminator.params, state.discriminator, shown)
    logits = np.asarray(play(state.discriminator, state.discriminator.params, real, cond)[0])
    np.testing.assert_allclose(value, (0.5 * logits[1] + 2.0 * logits[3]) / N, rtol=1e-5)
    mean = (logits[1] + logits[3]) / 2
    np.testing.assert_allclose(metrics["mismatched/logit"], mean, rtol=1e-5)


def test_each_caption_of_an_image_is_drawn_as_often(batch):
    numbers = jnp.broadcast_to(jnp.arange(K)[:, None], (2000, K, 1))
    keys = jax.random.split(jax.random.key(0), 2000)
    (drawn,) = jax.jit(captions.draw_captions)(keys, numbers)
    _, times = np.unique(np.asarray(drawn), return_counts=True)
    assert (np.abs(times - 2000 / K) < 5 * np.sqrt(2000 / K)).all()


@pytest.mark.parametrize("name", ["hinge", "wasserstein", "minimax", "least squares"])
def test_any_loss_plays_the_game(batch, name):
    loss = losses.least_squares() if name == "least squares" else getattr(losses, name)
    run = functools.partial(
        text_to_image.train_step, loss=loss, d_steps=2, interpolated=1.0, penalty=losses.wgan_gp
    )
    after, metrics = jax.eval_shape(run, jax.eval_shape(make, batch), batch)
    assert {"penalty", "mismatched/logit", "generator/imagined"} <= set(metrics)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, jax.eval_shape(make, batch))


def test_a_discriminator_learns_which_captions_match(batch):
    """Against a generator that stays: wrong captions come to be told from right ones."""
    tx = optax.adam(2e-2), optax.sgd(0.0)
    pair = networks()[0], TextDiscriminator(8, text_dim=8, norm="none")
    state = jax.jit(functools.partial(text_to_image.init, *pair, *reversed(tx)))(
        jax.random.key(0), batch
    )
    clear = {**batch, "vector": jnp.tile(jnp.eye(N)[:, None, :SIZE], (1, K, 1))}
    del clear["tokens"]

    @jax.jit
    def run(state):
        def one(state, _):
            state, metrics = text_to_image.train_step(state, clear)
            return state, metrics["real/logit"] - metrics["mismatched/logit"]

        return jax.lax.scan(one, state, length=80)[1]

    gap = np.asarray(run(state))
    assert gap[-10:].mean() > gap[:5].mean() + 1.0


def test_a_resumed_run_is_the_one_that_was_not_interrupted(batch, tmp_path):
    def trained(state, steps):
        for _ in range(steps):
            state, _ = step(state, batch, interpolated=1.0)
        return state

    start = make(batch, norm="batch")
    straight = trained(start, 4)
    saves = training.checkpoint.Checkpoints(tmp_path / "checkpoints")
    saves.save(2, trained(start, 2), {}, {})
    saves.wait()
    saves.close()
    resumed = trained(training.restore(tmp_path, start), 2)
    digests = [
        training.params_digest((s.params, s.generator.ema_params)) for s in (straight, resumed)
    ]
    assert digests[0] == digests[1]


def test_queries_hold_what_they_say(batch):
    state, vectors, key = make(batch), batch["vector"][:, 0], jax.random.key(1)
    whole = jax.jit(text_to_image.sample)(state, key, vectors)
    assert whole.shape == (N, *SHAPE)
    assert whole.dtype == jnp.uint8
    part = text_to_image.sample(state, key, vectors[2:4], jnp.arange(2, 4))
    np.testing.assert_array_equal(part, whole[2:4])

    z = jax.random.normal(key, (N, 3))
    ends = [text_to_image.generate(state, z[:2], vectors[i : i + 2]) for i in (0, 2)]
    film = text_to_image.between_texts(state, z[:2], vectors[:2], vectors[2:4], size=4)
    assert film.shape == (2, 4, *SHAPE)
    for place, expected in zip((0, -1), ends, strict=True):
        np.testing.assert_array_equal(film[:, place], expected)
    ends = [text_to_image.generate(state, z[i : i + 2], vectors[:2]) for i in (0, 2)]
    film = text_to_image.between_latents(state, z[:2], z[2:4], vectors[:2], size=4)
    for place, expected in zip((0, -1), ends, strict=True):
        np.testing.assert_array_equal(film[:, place], expected)


def test_an_evaluation_is_the_mean_over_an_images_captions(batch):
    state = make(batch)
    found = jax.jit(text_to_image.eval_step)(state, batch)["logit"]
    x = as_symmetric(batch["image"])
    network = state.discriminator
    logits = [
        network.model.apply(network.eval_variables, x, Condition(vector=batch["vector"][:, k]))
        for k in range(K)
    ]
    np.testing.assert_allclose(found, np.mean(logits, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"vector": None}, {}, r'needs batch\["vector"\], float vectors'),
        ({"vector": jnp.zeros((N, SIZE))}, {}, r"got float32 \(6, 5\)"),
        ({"meaning": None}, {}, r"the batch lacks meaning \(or mismatched=False\)"),
        ({}, {"beta": 0.2}, "beta=0.2 does nothing without interpolated"),
        ({}, {"beta": 1.5, "interpolated": 1.0}, r"beta must lie in \[0, 1\], got 1.5"),
    ],
)
def test_what_does_not_fit_is_refused(batch, change, options, words):
    state = jax.eval_shape(make, batch)
    changed = {name: x for name, x in (batch | change).items() if x is not None}
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(functools.partial(text_to_image.train_step, **options), state, changed)


def test_networks_take_vectors_alone(batch):
    state = jax.eval_shape(make, batch)
    z, x = jnp.zeros((2, 3)), jnp.zeros((2, *SHAPE))
    for player, first in (("generator", z), ("discriminator", x)):
        network = getattr(state, player)
        run = functools.partial(network.model.apply, {"params": network.params})
        with pytest.raises(ValueError, match=f"this {player} needs a vector for each example"):
            jax.eval_shape(run, first)
        cond = Condition(label=jnp.zeros(2, jnp.int32))
        with pytest.raises(ValueError, match=f"this {player} takes no label condition, only vec"):
            jax.eval_shape(run, first, cond)
    with pytest.raises(ValueError, match=r"z must be \[batch, 3\], got \(2, 4\)"):
        text_to_image.generate(make(batch), jnp.zeros((2, 4)), jnp.zeros((2, SIZE)))


def test_a_way_to_compare_that_there_is_not_is_refused():
    model = TextDiscriminator(2, match="project")
    args = jax.random.key(0), jnp.zeros((1, *SHAPE)), Condition(vector=jnp.zeros((1, SIZE)))
    with pytest.raises(ValueError, match="match must be 'joined' or 'projected', got 'project'"):
        jax.eval_shape(model.init, *args)


def test_networks_have_the_papers_widths():
    """Texts of 1024 to 128, 512 maps of 4×4 beside them, for images of 64 pixels."""
    cond = Condition(vector=jnp.zeros((1, 1024)))

    def shapes(model, first):
        variables = jax.eval_shape(model.init, jax.random.key(0), first, cond)
        return jax.tree.map(jnp.shape, variables["params"])

    g = shapes(TextGenerator(image_shape=(64, 64, 3)), jnp.zeros((1, 100)))
    assert g["text"]["kernel"] == (1, 1024, 128)
    assert g["images"]["dense"]["kernel"] == (228, 4 * 4 * 1024)
    d = shapes(TextDiscriminator(), jnp.zeros((1, 64, 64, 3)))
    assert d["text"]["kernel"] == (1, 1024, 128)
    assert d["conv_3"]["kernel"] == (4, 4, 256, 512)
    assert d["joint"]["kernel"] == (1, 1, 512 + 128, 512)
    assert d["logit"]["dense"]["kernel"] == (1, 4 * 4 * 512, 1)


def test_a_projection_compares_text_and_image_by_an_inner_product():
    """Of one number each: what four images gain by each of four texts is a product of the two."""
    x = jax.random.normal(jax.random.key(0), (4, *SHAPE))
    texts = jax.random.normal(jax.random.key(1), (4, SIZE))
    ranks = []
    for match in ("projected", "joined"):
        model = TextDiscriminator(2, text_dim=1, match=match, norm="none")
        params = jax.jit(model.init)(jax.random.key(2), x, Condition(vector=texts))
        params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # any but small ones

        @jax.jit
        def logits(text, model=model, params=params):
            return model.apply(params, x, Condition(vector=jnp.tile(text[None], (4, 1))))

        table = np.stack([np.asarray(logits(text), np.float64) for text in texts], 1)
        table -= table.mean(0)
        table -= table.mean(1, keepdims=True)
        values = np.linalg.svd(table, compute_uv=False)
        ranks.append(int((values > 1e-5 * values[0]).sum()))
    assert ranks[0] == 1 < ranks[1]


def test_statistics_to_sample_by_are_of_own_captions_alone(batch):
    state = make(batch, norm="batch")
    plain, imagined = (
        step(state, batch, interpolated=weight)[0].generator.model_state for weight in (None, 1.0)
    )
    chex.assert_trees_all_close(plain, imagined, rtol=1e-6)


def test_options_of_the_networks_change_no_shape(batch):
    for norm in ("batch", "layer", "none"):
        for dtype in (jnp.float32, jnp.bfloat16):
            state = jax.eval_shape(functools.partial(make, norm=norm, dtype=dtype), batch)
            after, _ = jax.eval_shape(text_to_image.train_step, state, batch)
            chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    x, cond = jnp.zeros((2, *SHAPE)), Condition(vector=jnp.zeros((2, SIZE)))
    for match, layer in (("joined", "joint"), ("projected", "seen")):
        model = TextDiscriminator(2, text_dim=4, match=match, spectral=True)
        variables = jax.eval_shape(model.init, jax.random.key(0), x, cond)
        assert set(variables["spectral_norm"]) == {"text", "conv_0", layer, "logit"}


def test_the_step_and_queries_lower_for_every_platform(batch):
    platforms = ("cpu", "cuda", "tpu")
    state = make(batch, norm="batch")
    run = functools.partial(text_to_image.train_step, interpolated=1.0, augment=jitter(enlarge=1.5))
    vectors = batch["vector"][:, 0]
    for function, *args in (
        (run, state, batch),
        (text_to_image.eval_step, state, batch),
        (text_to_image.sample, state, jax.random.key(1), vectors),
        (text_to_image.between_texts, state, jnp.zeros((N, 3)), vectors, -vectors),
    ):
        exported = export.export(jax.jit(function), platforms=platforms)(*args)
        assert exported.platforms == platforms
