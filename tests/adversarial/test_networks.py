"""What every generator and discriminator keeps to, whatever it is made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn
from jax import export

from gen_jax.adversarial.began_networks import BEGANDecoder, BEGANDiscriminator
from gen_jax.adversarial.networks import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    ResidualDiscriminator,
    ResidualGenerator,
)
from gen_jax.adversarial.sizes import halvings, map_sizes
from gen_jax.evaluation.checkerboard import checkerboard
from gen_jax.nn.condition import Condition, as_condition

SHAPE = (16, 16, 2)
SIZES = [(8, 8, 2), (14, 14, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (28, 56, 1), (56, 56, 1)]
GENERATORS = {
    "dense": functools.partial(DenseGenerator, (5,), latent_dim=4),
    "convolutional": functools.partial(ConvGenerator, 3, latent_dim=4),
    "residual": functools.partial(ResidualGenerator, 3, latent_dim=4),
    "began": functools.partial(BEGANDecoder, 3, latent_dim=4),
}
DISCRIMINATORS = {
    "dense": functools.partial(DenseDiscriminator, (5, 6)),
    "convolutional": functools.partial(ConvDiscriminator, 3),
    "residual": functools.partial(ResidualDiscriminator, 3),
    "began": functools.partial(BEGANDiscriminator, 3, 4),
}
CLASSED = ["dense", "convolutional", "residual"]


def pair(kind, shape=SHAPE, *, generator=None, discriminator=None, **both):
    """A generator and a discriminator with ``both`` options and their own."""
    g = GENERATORS[kind](image_shape=shape, **both, **(generator or {}))
    return g, DISCRIMINATORS[kind](**both, **(discriminator or {}))


@functools.partial(jax.jit, static_argnames=("model", "train"))
def run(model, variables, x, label=None, *, train=True):
    """The output, and what training leaves in the collections."""
    mutable = [name for name in variables if name != "params"] if train else []
    return model.apply(variables, x, as_condition(label), train=train, mutable=mutable)


def images(n=4, seed=1):
    return np.tanh(np.random.default_rng(seed).normal(size=(n, *SHAPE))).astype(np.float32)


def latents(n=4, seed=2):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def game(kind, **options):
    """Both networks, of three classes where they can be, with variables, inputs and labels."""
    label = jnp.asarray([0, 1, 2, 0]) if kind in CLASSED else None
    if label is not None:
        options |= {"n_classes": 3}
    for model, x in zip(pair(kind, **options), (latents(), images()), strict=True):
        yield model, drawn(model, x, as_condition(label)), x, label


def shapes_of(model, x, label=None):
    """Of the output and of all variables, computing nothing."""
    output, variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, as_condition(label)), x
    )
    for leaf in jax.tree.leaves((output, variables)):
        assert leaf.dtype == jnp.float32
    return output.shape, variables


@pytest.mark.parametrize("shape", [(5, 9, 1), (30, 27, 3)], ids=str)
def test_convolutional_networks_fit_sides_that_do_not_halve_evenly(shape):
    generator, discriminator = pair("convolutional", shape)
    assert shapes_of(generator, jnp.zeros((2, 4)))[0] == (2, *shape)
    assert shapes_of(discriminator, jnp.zeros((2, *shape)))[0] == (2,)


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kind", GENERATORS)
def test_networks_fit_each_size(kind, shape):
    generator, discriminator = pair(kind, shape)
    assert shapes_of(generator, jnp.zeros((2, 4)))[0] == (2, *shape)
    made = (2, *shape) if kind == "began" else (2,)
    assert shapes_of(discriminator, jnp.zeros((2, *shape)))[0] == made


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("kind", CLASSED)
def test_options_change_no_shape(kind, norm, dtype):
    label = jnp.zeros((2,), jnp.int32)
    options = {"norm": norm, "dtype": dtype, "n_classes": 3}
    for spectral in (False, True):
        generator, discriminator = pair(kind, discriminator={"spectral": spectral}, **options)
        shape, variables = shapes_of(discriminator, jnp.zeros((2, *SHAPE)), label)
        assert shape == (2,)
        assert ("batch_stats" in variables) == (norm == "batch")
        assert ("spectral_norm" in variables) == spectral
    for upsample in ("deconv", "resize", "shuffle") if kind != "dense" else (None,):
        own = {} if upsample is None else {"upsample": upsample}
        generator, _ = pair(kind, generator=own, **options)
        shape, variables = shapes_of(generator, jnp.zeros((2, 4)), label)
        assert shape == (2, *SHAPE)
        assert ("batch_stats" in variables) == (norm == "batch")


def test_dcgan_has_the_papers_widths():
    """Half the paper's: 512 maps of 4×4 for 64 pixels."""
    generator, discriminator = ConvGenerator(64, image_shape=(64, 64, 3)), ConvDiscriminator(64)
    _, variables = shapes_of(generator, jnp.zeros((1, 100)))
    params = variables["params"]
    assert params["dense"]["kernel"].shape == (100, 4 * 4 * 512)
    widths = [params[name]["kernel"].shape[-1] for name in ("up_1", "up_2", "up_3", "image")]
    assert widths == [256, 128, 64, 3]
    _, variables = shapes_of(discriminator, jnp.zeros((1, 64, 64, 3)))
    params = variables["params"]
    assert params["conv_0"]["kernel"].shape == (4, 4, 3, 64)
    assert params["conv_3"]["kernel"].shape == (4, 4, 256, 512)
    assert list(variables["batch_stats"]) == ["norm_1", "norm_2", "norm_3"]  # none of the input's
    assert params["logit"]["dense"]["kernel"].shape == (1, 4 * 4 * 512, 1)


@pytest.mark.parametrize(
    ("sides", "smallest", "expected"),
    [
        ((28, 28), (4, 7), 2),
        ((64, 64), (4, 7), 4),
        ((64, 64), (8, 7, 4), 3),
        ((8, 8), (8, 7, 4), 1),
        ((40, 32), (4, 7), 3),
    ],
)
def test_sides_halve_to_the_smallest(sides, smallest, expected):
    assert halvings(sides, smallest) == expected


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((28, 28), [(4, 4), (7, 7), (14, 14), (28, 28)]),
        ((64, 64), [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]),
        ((5, 9), [(3, 5), (5, 9)]),
    ],
)
def test_maps_are_halves_of_one_another_rounded_up(sides, expected):
    assert map_sizes(sides) == expected


@pytest.mark.parametrize("sides", [(4, 4), (4, 28), (1, 1), (0, 8)])
def test_images_that_cannot_halve_are_refused(sides):
    message = f"not for images of {sides[0]}×{sides[1]} pixels: both sides must be 5 or more"
    for model, x in zip(pair("convolutional", (*sides, 1)), [(2, 4), (2, *sides, 1)], strict=True):
        with pytest.raises(ValueError, match=message):
            shapes_of(model, jnp.zeros(x))


@pytest.mark.parametrize("sides", [(30, 30), (27, 27), (7, 7), (4, 4), (28, 30), (1, 1), (0, 8)])
def test_other_sizes_are_refused(sides):
    message = f"not for images of {sides[0]}×{sides[1]} pixels: the smaller side must be one of 8"
    for kind in ("residual", "began"):
        for model, x in zip(pair(kind, (*sides, 1)), [(2, 4), (2, *sides, 1)], strict=True):
            with pytest.raises(ValueError, match=message):
                shapes_of(model, jnp.zeros(x))


@pytest.mark.parametrize("kind", GENERATORS)
def test_labels_must_be_what_a_network_takes(kind):
    label = jnp.zeros((2,), jnp.int32)
    inputs = {"generator": jnp.zeros((2, 4)), "discriminator": jnp.zeros((2, *SHAPE))}
    for model, (who, x) in zip(pair(kind), inputs.items(), strict=True):
        with pytest.raises(ValueError, match=f"a {who} without n_classes takes no labels"):
            shapes_of(model, x, label)
    if kind in CLASSED:
        for model, (who, x) in zip(pair(kind, n_classes=3), inputs.items(), strict=True):
            with pytest.raises(ValueError, match=f"a {who} of 3 classes needs a label for each"):
                shapes_of(model, x)
    for name in ("vector", "spatial", "tokens"):
        other = Condition(**{name: jnp.zeros((2, 3))})
        for model, x in zip(pair(kind), inputs.values(), strict=True):
            with pytest.raises(ValueError, match=f"takes no {name} condition, only labels"):
                shapes_of(model, x, other)
    with pytest.raises(ValueError, match=r"z must be \[batch, 4\], got \(2, 5\)"):
        shapes_of(pair(kind)[0], jnp.zeros((2, 5)))


@pytest.mark.parametrize("kind", CLASSED)
def test_labels_matter_for_their_own_example(kind):
    for model, variables, x, label in game(kind, norm="batch"):
        before, _ = run(model, variables, x, label, train=False)
        after, _ = run(model, variables, x, label.at[1].set(2), train=False)
        difference = np.abs(before - after).reshape(4, -1).max(-1)
        assert difference[1] > 1e-4
        assert np.delete(difference, 1).max() < 1e-6


@pytest.mark.parametrize("kind", GENERATORS)
def test_images_move_with_the_latent_and_all_but_began_hold_them_in_range(kind):
    generator, variables, z, label = next(game(kind))
    made, _ = run(generator, variables, z, label, train=False)
    assert (made.std(0) > 1e-6).all()
    made, _ = run(generator, variables, 100.0 * z, label, train=False)
    # BEGAN's last layer is linear, as the paper's; a stored image is clipped.
    assert (np.abs(made).max() <= 1.0) == (kind != "began")


@pytest.mark.parametrize("kind", CLASSED)
def test_batch_statistics_are_of_the_batch_in_training_alone(kind):
    for model, variables, x, label in game(kind, norm="batch"):
        other = np.concatenate([x[:2], 2.0 * x[2:][::-1]])
        trained, after = run(model, variables, x, label)
        among_others, _ = run(model, variables, other, label)
        assert np.abs(trained[:2] - among_others[:2]).max() > 1e-4
        fixed, untouched = run(model, variables, x, label, train=False)
        among_others, _ = run(model, variables, other, label, train=False)
        np.testing.assert_allclose(fixed[:2], among_others[:2], atol=1e-6)
        assert not untouched
        assert set(after) == {"batch_stats"}
        for old, new in zip(*map(jax.tree.leaves, (variables["batch_stats"], after)), strict=True):
            assert (old != new).all()


@pytest.mark.parametrize("kind", CLASSED)
def test_every_kernel_of_a_spectral_discriminator_is_bounded(kind):
    *_, game_of = game(kind, norm="none", discriminator={"spectral": True})
    model, variables, x, label = game_of
    for _ in range(100):
        variables = variables | run(model, variables, x, label)[1]
    kernels = {path[:-1]: p for path, p in leaves(variables["params"]) if path[-1] == "kernel"}
    vectors = {path[:-2]: u for path, u in leaves(variables["spectral_norm"])}
    assert set(kernels) == set(vectors)
    for path, kernel in kernels.items():
        matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
        estimate = np.linalg.norm(matrix @ np.asarray(vectors[path]))
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        assert largest / estimate == pytest.approx(1.0, abs=1e-2)


def leaves(tree):
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(tuple(key.key for key in path), leaf) for path, leaf in paths]


@functools.partial(jax.jit, static_argnames="model")
def penalty_slopes(model, variables, x):
    """Of a gradient penalty: with respect to parameters, and of the logits to the images."""
    rest = {name: value for name, value in variables.items() if name != "params"}

    def penalty(params):
        def total(x):
            logits, _ = run(model, {"params": params, **rest}, x)
            return logits.sum(), logits

        slope, logits = jax.grad(total, has_aux=True)(x)
        return ((slope**2).sum((1, 2, 3)) - 1.0).mean(), (logits, slope)

    return jax.grad(penalty, has_aux=True)(variables["params"])


FLAT = [("dense", "layer"), ("convolutional", "batch"), ("residual", "layer")]


@pytest.mark.parametrize(("kind", "norm"), FLAT)
def test_flat_images_give_finite_logits_slopes_and_penalties(kind, norm):
    model = DISCRIMINATORS[kind](norm=norm)
    variables = drawn(model, images())
    for level in (0.0, -1.0):
        for leaf in jax.tree.leaves(penalty_slopes(model, variables, jnp.full((2, *SHAPE), level))):
            assert np.isfinite(leaf).all()
            assert np.abs(leaf).max() < 1e6


@pytest.mark.parametrize("kind", GENERATORS)
def test_half_precision_learns_in_float32(kind):
    for model, variables, x, label in game(kind, dtype=jnp.bfloat16):

        def loss(params, model=model, variables=variables, x=x, label=label):
            y, after = run(model, {**variables, "params": params}, x, label)
            return (y**2).sum(), (y, after)

        slopes, (y, after) = jax.eval_shape(jax.grad(loss, has_aux=True), variables["params"])
        for leaf in jax.tree.leaves((y, after, slopes)):
            assert leaf.dtype == jnp.float32


def test_half_precision_stays_near():
    for model, variables, x, label in game("convolutional", norm="batch"):
        half = model.clone(dtype=jnp.bfloat16)
        reference, _ = run(model, variables, x, label)
        y, _ = run(half, variables, x, label)
        error = np.abs(y - reference).max()
        assert 1e-6 < error < 0.05 * np.abs(reference).max()


@pytest.mark.parametrize("kind", GENERATORS)
def test_networks_lower_for_every_platform(kind):
    platforms = ("cpu", "cuda", "tpu")
    own = {"discriminator": {"spectral": True}} if kind != "began" else {}
    for model, variables, x, label in game(kind, **own):
        forward = jax.jit(lambda *inputs, model=model: run(model, *inputs))
        lowered = export.export(forward, platforms=platforms)(variables, x, label)
        assert lowered.platforms == platforms


def test_only_transposed_convolutions_start_with_checkerboards():
    z = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)

    def measure(upsample):
        model = ConvGenerator(8, image_shape=(16, 16, 1), latent_dim=16, upsample=upsample)
        variables = jax.jit(model.init)(jax.random.key(0), z)
        return float(checkerboard(run(model, variables, z)[0]))

    measured = {how: measure(how) for how in ("deconv", "resize", "shuffle")}
    assert measured["deconv"] > 2.0  # of four draws the least; 64 features on 28 pixels: 4 to 18
    assert measured["resize"] < 0.5
    assert measured["shuffle"] < 1e-3


@pytest.mark.parametrize("kind", GENERATORS)
def test_networks_differ_by_their_fields_alone(kind):
    for model in pair(kind):
        assert model.copy() == model
        assert hash(model.copy()) == hash(model)
        assert model.copy(dtype=jnp.bfloat16) != model
