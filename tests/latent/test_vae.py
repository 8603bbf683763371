import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from gen_jax import latent
from gen_jax.densities import Bernoulli, Categorical, Gaussian
from gen_jax.latent.vae import LOG_VARIANCE_BOUND

LIKELIHOODS = [Bernoulli(), Bernoulli("threshold"), Gaussian(), Categorical(4)]
SHAPE = (5, 4, 1)


def make(likelihood=LIKELIHOODS[0], **fields) -> latent.VAE:
    defaults = {
        "image_shape": SHAPE,
        "latent_dim": 2,
        "encoder": latent.DenseEncoder((8,)),
        "decoder": latent.DenseDecoder((8,)),
        "likelihood": likelihood,
    }
    return latent.VAE(**(defaults | fields))


def photos(n=12, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (n, *shape)), jnp.uint8)


def test_equal_models_are_one_static_argument():
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != make(latent_dim=3)
    assert latent.VAE(image_shape=SHAPE, latent_dim=2) == latent.VAE(SHAPE, 2)


def test_init_refuses_images_of_another_shape():
    with pytest.raises(ValueError, match=r"images are \(4, 5, 1\), the model's \(5, 4, 1\)"):
        latent.init(make(), optax.sgd(0.1), jax.random.key(0), jnp.zeros((1, 4, 5, 1), jnp.uint8))


@pytest.mark.parametrize(
    ("likelihood", "decoder"),
    [
        (Bernoulli(), latent.DenseDecoder((8,))),
        (Gaussian(), latent.ConvDecoder((4, 4))),
        (Categorical(4), latent.DenseDecoder((8,))),
    ],
)
def test_a_decoder_that_knows_nothing_yet_shows_the_mean_image(likelihood, decoder):
    model = make(likelihood, decoder=decoder)
    mean_image = jnp.linspace(0.25, 0.75, 20).reshape(SHAPE)

    @jax.jit
    def show(key):
        state = latent.init(model, optax.sgd(0.1), key, photos(), mean_image=mean_image)
        names = traverse_util.flatten_dict(state.params["decoder"], sep="/")
        mute = {name: p * (name == "bias") for name, p in names.items()}
        params = {**state.params, "decoder": traverse_util.unflatten_dict(mute, sep="/")}
        return latent.decode(model, params, jnp.ones((1, 2)))[0]

    shown = show(jax.random.key(0))
    # Four levels cannot say every mean.
    np.testing.assert_allclose(shown, mean_image, atol=0.05 if likelihood.n_outputs == 4 else 1e-5)


def test_init_keeps_the_steps_noise_apart_from_the_parameters_key():
    key = jax.random.key(0)
    state = jax.jit(functools.partial(latent.init, make(), optax.sgd(0.1), ema_decay=0.5))(
        key, photos()
    )
    words = jax.random.key_data(jax.random.key(0))
    assert not np.array_equal(jax.random.key_data(state.key), words)
    assert state.ema_decay == 0.5
    chex.assert_trees_all_equal(state.params, state.ema_params)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_loss_falls_on_one_batch_in_one_trace(likelihood, start):
    batch = {"image": photos() // 128 * 255}
    tx = optax.adam(0.02)

    @functools.partial(jax.jit, donate_argnums=0)
    @chex.assert_max_traces(n=1)
    def train(state, batch):
        return latent.train_step(state, batch)

    chex.clear_trace_counter()
    state = start(make(likelihood), tx)
    losses = []
    for _ in range(80):
        state, metrics = train(state, batch)
        losses.append(float(metrics["loss"]))
        chex.assert_tree_all_finite(metrics)
        np.testing.assert_allclose(
            metrics["loss"], metrics["kl"] - metrics["reconstruction"], rtol=1e-5
        )
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 1.0
    assert int(state.step) == 80


@pytest.mark.parametrize(("beta", "k"), [(1.0, None), (4.0, None), (1.0, 3)])
def test_loss_is_the_mean_of_the_per_example_bound(beta, k, start):
    state, image = start(make(), optax.sgd(0.1)), photos()

    @jax.jit
    def bound_and_metrics(state):
        key = state.step_keys("bound")["bound"]
        if k is None:
            bound = latent.elbo(state.model, state.params, key, image, beta=beta)
        else:
            bound = latent.iwae_bound(state.model, state.params, key, image, k=k)
        return bound, latent.train_step(state, {"image": image}, beta=beta, k=k)[1]

    bound, metrics = bound_and_metrics(state)
    assert {name: (m.shape, m.dtype) for name, m in metrics.items()} == dict.fromkeys(
        ["loss", "reconstruction", "kl"], ((), jnp.float32)
    )
    np.testing.assert_allclose(metrics["loss"], -bound.value.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["reconstruction"], bound.reconstruction.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["kl"], bound.kl.mean(), rtol=1e-6)


def test_a_weight_for_a_kl_that_is_not_there_is_refused(start):
    with pytest.raises(ValueError, match=r"beta must be 1, got 2\.0"):
        latent.train_step(start(make(), optax.sgd(0.1)), {"image": photos()}, beta=2.0, k=5)


def test_a_batch_spread_over_devices_takes_the_same_step(start):
    state, image = start(make(Bernoulli()), optax.sgd(0.1)), photos(12)
    whole, metrics = jax.jit(latent.train_step)(state, {"image": image})

    def local(image):
        state_, metrics_ = latent.train_step(state, {"image": image}, axis_name="data")
        return state_.params, metrics_

    parts = jax.jit(jax.vmap(local, axis_name="data"))(image.reshape(3, 4, *SHAPE))
    expected = jax.tree.map(lambda p: jnp.stack([p] * 3), (whole.params, metrics))
    chex.assert_trees_all_close(parts, expected, rtol=1e-5, atol=1e-6)


def test_each_step_draws_another_binarization_and_the_same_one_again(start):
    model, image = make(Bernoulli()), jnp.full((3, *SHAPE), 128, jnp.uint8)
    state = start(model, optax.set_to_zero())
    step = jax.jit(latent.train_step)
    following, first = step(state, {"image": image})
    _, again = step(state, {"image": image})
    _, second = step(following, {"image": image})
    assert float(first["loss"]) == float(again["loss"])
    assert float(first["loss"]) != float(second["loss"])


def test_observed_values_are_drawn_per_example():
    model, image = make(Bernoulli()), jnp.full((6, *SHAPE), 128, jnp.uint8)
    observe = jax.jit(latent.observe, static_argnums=0)
    x = observe(model, jax.random.key(0), image)
    np.testing.assert_array_equal(x[:4], observe(model, jax.random.key(0), image[:4]))
    assert len(np.unique(np.asarray(x).reshape(6, -1), axis=0)) == 6


def test_eval_step_reports_every_example_and_the_same_each_time(start):
    state, image = start(make(), optax.sgd(0.1), ema_decay=0.9), photos()
    evaluate = jax.jit(functools.partial(latent.eval_step, k=5))
    metrics = evaluate(state, {"image": image})
    assert set(metrics) == {"elbo", "reconstruction", "kl", "iwae"}
    chex.assert_shape(list(metrics.values()), (12,))
    np.testing.assert_allclose(
        metrics["elbo"], metrics["reconstruction"] - metrics["kl"], rtol=1e-5
    )
    later = state.replace(step=state.step + 7, params=jax.tree.map(jnp.zeros_like, state.params))
    chex.assert_trees_all_equal(metrics, evaluate(later, {"image": image}))  # averaged parameters


@pytest.mark.parametrize(
    ("likelihood", "k"), [*((likelihood, None) for likelihood in LIKELIHOODS), (Bernoulli(), 2)]
)
def test_constant_images_and_huge_parameters_give_finite_gradients(likelihood, k, start):
    model = make(likelihood)
    state = start(model, optax.sgd(1e-3))
    levels = jnp.array([0, 1, 128, 254, 255], jnp.uint8)
    image = jnp.broadcast_to(levels[:, None, None, None], (5, *SHAPE))

    @jax.jit
    def gradient(params):
        def loss(params):
            key = jax.random.key(0)
            if k is None:
                return latent.elbo(model, params, key, image).value.sum()
            return latent.iwae_bound(model, params, key, image, k=k).value.sum()

        return jax.value_and_grad(loss)(params)

    for scale in (0.0, 1.0, 300.0):
        params = jax.tree.map(lambda p, scale=scale: scale * (p + 0.1), state.params)
        value, grads = gradient(params)
        assert np.isfinite(value)
        chex.assert_tree_all_finite(grads)
    outputs = model.apply({"params": params}, jnp.ones((1, 2)), method="decode")
    assert float(jnp.abs(outputs).max()) > 100  # the logits were as wild as meant


def test_log_variance_is_bounded_smoothly(start):
    model = make()
    params = start(model, optax.identity()).params
    bias = jnp.array([0.0, 0.0, 1e4, -1e4])

    def log_variance(bias):
        head = {"kernel": jnp.zeros_like(params["posterior"]["kernel"]), "bias": bias}
        posterior = {**params, "posterior": head}
        return model.apply({"params": posterior}, jnp.zeros((1, *SHAPE)), method="encode")[1][0]

    np.testing.assert_allclose(log_variance(bias), [LOG_VARIANCE_BOUND, -LOG_VARIANCE_BOUND])
    near = jnp.array([0.0, 0.0, 0.5, -2.0])
    np.testing.assert_allclose(log_variance(near), near[2:], rtol=1e-2)
    slope = jax.jacobian(log_variance)(jnp.array([0.0, 0.0, 20.0, -20.0]))[:, 2:]
    assert (jnp.diag(slope) > 0.1).all()  # a unit out there still learns


def test_bfloat16_is_for_computing_only(start):
    wide, narrow = (
        make(
            encoder=latent.DenseEncoder((8,), dtype=dtype),
            decoder=latent.DenseDecoder((8,), dtype=dtype),
        )
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    tx = optax.adam(0.01)
    state, (after, metrics) = (
        start(wide, tx),
        jax.jit(latent.train_step)(start(narrow, tx), {"image": photos()}),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(state.params, after.params)
    chex.assert_trees_all_equal_dtypes(metrics, dict.fromkeys(metrics, jnp.float32(0)))
    for x, method in ((jnp.ones((3, *SHAPE)), "encode"), (jnp.ones((3, 2)), "decode")):
        exact = wide.apply({"params": state.params}, x, method=method)
        rounded = narrow.apply({"params": state.params}, x, method=method)
        chex.assert_trees_all_equal_dtypes(exact, rounded)
        chex.assert_trees_all_close(exact, rounded, atol=0.05)
        assert any((a != b).any() for a, b in zip(exact, rounded, strict=True))


def test_parameters_are_named_for_their_part(start):
    flat = traverse_util.flatten_dict(start(make(), optax.sgd(0.1)).params, sep="/")
    assert {name.split("/")[0] for name in flat} == {"encoder", "posterior", "decoder"}


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32], ids=["floats", "int32"])
def test_images_of_another_dtype_are_refused(likelihood, dtype):
    image = photos().astype(dtype)
    with pytest.raises(ValueError, match=rf"images must be uint8 .* got {image.dtype}"):
        latent.observe(make(likelihood), jax.random.key(0), image)
    with pytest.raises(ValueError, match=rf"images must be uint8 .* got {image.dtype}"):
        likelihood.expected_input(image)
