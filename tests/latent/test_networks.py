import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import latent

SIZES = [(28, 28, 1), (25, 31, 3), (64, 64, 3), (1, 1, 1), (5, 3, 2)]
NETWORKS = {
    "dense": (latent.DenseEncoder((7,)), latent.DenseDecoder((7,))),
    "convolutional": (latent.ConvEncoder((3, 4, 5)), latent.ConvDecoder((5, 4, 3))),
}


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_fit_any_size(kind, shape):
    encoder, decoder = NETWORKS[kind]
    image, z = jnp.zeros((2, *shape)), jnp.zeros((2, 6))
    key = jax.random.key(0)
    features, variables = jax.eval_shape(lambda x: encoder.init_with_output(key, x), image)
    assert features.shape[0] == 2
    assert features.ndim == 2
    outputs, decoder_variables = jax.eval_shape(
        lambda z: decoder.init_with_output(key, z, shape=shape), z
    )
    assert outputs.shape == (2, *shape)
    for leaf in jax.tree.leaves([features, outputs, variables, decoder_variables]):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_pixel_reads_the_latent_and_every_feature_an_image(kind):
    encoder, decoder = NETWORKS[kind]
    shape = (9, 6, 2)
    key = jax.random.key(0)
    z = jax.random.normal(jax.random.key(1), (16, 6))
    outputs, _ = jax.jit(lambda z: decoder.init_with_output(key, z, shape=shape))(z)
    assert (np.asarray(outputs).std(0) > 0).all()
    image = jax.random.normal(jax.random.key(2), (16, *shape))
    slope = jax.jit(
        jax.grad(lambda x: (encoder.init_with_output(jax.random.key(3), x)[0] ** 2).sum())
    )(image)
    assert (np.abs(slope).sum(0) > 0).all()


@pytest.mark.parametrize("kind", NETWORKS)
def test_examples_do_not_mix(kind):
    encoder, decoder = NETWORKS[kind]
    image = jax.random.normal(jax.random.key(1), (4, 7, 6, 1))
    z = jax.random.normal(jax.random.key(2), (4, 6))
    key = jax.random.key(0)

    @jax.jit
    def networks(image, z):
        """Both networks of a batch, and of its third example alone."""
        encoder_key, decoder_key = jax.random.split(key)
        features, variables = encoder.init_with_output(encoder_key, image)
        alone = encoder.apply(variables, image[2:3])
        decode = functools.partial(decoder.apply, shape=(7, 6, 1))
        variables = decoder.init(decoder_key, z, shape=(7, 6, 1))
        return (features[2:3], decode(variables, z)[2:3]), (alone, decode(variables, z[2:3]))

    whole, alone = networks(image, z)
    chex.assert_trees_all_close(whole, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_differ_by_their_fields_alone(kind):
    encoder, decoder = NETWORKS[kind]
    assert encoder.copy() == encoder
    assert hash(decoder.copy()) == hash(decoder)
    assert encoder.copy(dtype=jnp.bfloat16) != encoder
