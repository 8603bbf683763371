import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import latent
from gen_jax.latent import autoencoder

SHAPE = (7, 5, 3)
MODELS = {
    "dense": latent.Autoencoder(SHAPE, 4, latent.DenseEncoder((16,)), latent.DenseDecoder((16,))),
    "convolutional": latent.Autoencoder(
        SHAPE, 4, latent.ConvEncoder((4, 8)), latent.ConvDecoder((8, 4))
    ),
}


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, *SHAPE)), jnp.uint8)


ADAM = optax.adam(0.01)


@pytest.mark.parametrize("kind", MODELS)
def test_loss_falls_on_one_batch_in_one_trace(kind, image, start):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def train(state, batch):
        return autoencoder.train_step(state, batch)

    chex.clear_trace_counter()
    state = start(MODELS[kind], ADAM)
    losses = []
    for _ in range(60):
        state, metrics = train(state, {"image": image})
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    chex.assert_trees_all_equal_dtypes(metrics, {"loss": jnp.float32(0)})


def test_loss_is_the_squared_error_summed_over_an_image(image, start):
    state = start(MODELS["dense"], ADAM)
    raw = jax.jit(state.model.apply)({"params": state.params}, image / 255.0)
    expected = ((np.asarray(raw, np.float64) - np.asarray(image) / 255) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(
        jax.jit(autoencoder.eval_step)(state, {"image": image})["loss"], expected, rtol=1e-5
    )
    _, metrics = jax.jit(autoencoder.train_step)(state, {"image": image})
    np.testing.assert_allclose(metrics["loss"], expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_features_need_no_decoder(kind, image, start):
    state = start(MODELS[kind], ADAM)
    kept = autoencoder.encoder_params(state.params)
    assert "decoder" in state.params
    assert set(kept) == {"encoder", "code"}
    code = autoencoder.encode(state.model, kept, image)
    assert code.shape == (6, 4)
    reconstruction = autoencoder.reconstruct(state.model, state.params, image)
    np.testing.assert_allclose(
        reconstruction, autoencoder.decode(state.model, state.params, code), rtol=1e-5
    )
    assert reconstruction.shape == image.shape
    assert float(reconstruction.min()) >= 0.0
    assert float(reconstruction.max()) <= 1.0


def test_a_batch_spread_over_devices_takes_the_same_step(image, start):
    state = start(MODELS["dense"], ADAM)
    whole, _ = jax.jit(autoencoder.train_step)(state, {"image": image})

    def local(image):
        return autoencoder.train_step(state, {"image": image}, axis_name="data")[0].params

    parts = jax.jit(jax.vmap(local, axis_name="data"))(image.reshape(2, 3, *SHAPE))
    chex.assert_trees_all_close(jax.tree.map(lambda p: p[1], parts), whole.params, atol=1e-5)


def test_init_refuses_images_of_another_shape():
    with pytest.raises(ValueError, match=r"images are \(8, 8, 1\), the model's \(7, 5, 3\)"):
        autoencoder.init(
            MODELS["dense"], ADAM, jax.random.key(0), jnp.zeros((1, 8, 8, 1), jnp.uint8)
        )


def test_init_starts_the_decoder_at_the_mean_image(image):
    init = jax.jit(autoencoder.init, static_argnums=(0, 1))
    mean_image = (image / 255.0).mean(0)
    state = init(MODELS["dense"], ADAM, jax.random.key(0), image, mean_image=mean_image)
    zero = jnp.zeros((1, 4))  # tanh and zero biases keep a zero code at zero
    shown = autoencoder.decode(state.model, state.params, zero)
    np.testing.assert_allclose(shown[0], mean_image, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32], ids=["floats", "int32"])
def test_images_of_another_dtype_are_refused(image, start, dtype):
    state = start(MODELS["dense"], ADAM)
    image = image.astype(dtype)
    for function in (autoencoder.l2_loss, autoencoder.encode):
        with pytest.raises(ValueError, match=rf"images must be uint8 .* got {image.dtype}"):
            function(state.model, state.params, image)
