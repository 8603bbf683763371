"""Generators that translate images: of any size, from each image and each key alone."""

import functools
import itertools

import drawing
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.adversarial.translation.networks import ResNetGenerator, UNetGenerator, unet_depth
from gen_jax.images import to_symmetric
from gen_jax.nn.condition import Condition

UNET = UNetGenerator(2, channels=2, depth=3, norm="instance")
RESNET = ResNetGenerator(2, channels=2, blocks=1)
GENERATORS = {"unet": UNET, "resnet": RESNET}


def images(n=3, height=12, width=9, channels=3, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)
    return jnp.asarray(levels)


def shapes_of(model, source, noise=None):
    """Of the image made and of all variables, computing nothing."""
    return drawing.shapes_of(model, noise, Condition(spatial=source))


def drawn(model, source):
    return drawing.drawn(model, None, Condition(spatial=source))


@functools.partial(jax.jit, static_argnames=("model", "train"))
def run(model, variables, source, seeds=None, train=False):
    """The image made, and what training leaves in the collections; a seed for each key."""
    noise = None if seeds is None else jax.vmap(jax.random.key)(seeds)
    mutable = ["batch_stats"] if train else []
    return model.apply(variables, noise, Condition(spatial=source), train=train, mutable=mutable)


@pytest.mark.parametrize("sides", [(16, 16), (5, 5), (7, 30), (13, 6), (33, 8)], ids=str)
@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("upsample", ["deconv", "resize", "shuffle"])
def test_images_of_any_size_keep_their_size(name, sides, upsample):
    model = GENERATORS[name].clone(upsample=upsample)
    made, variables = shapes_of(model, images(2, *sides))
    assert made.shape == (2, *sides, 2)
    assert made.dtype == jnp.float32
    others = shapes_of(model, images(1, 16, 16))[1]
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, others)


@pytest.mark.parametrize("name", GENERATORS)
def test_one_network_translates_images_of_several_sizes(name):
    model = GENERATORS[name]
    variables = drawn(model, images())
    for sides in ((12, 9), (5, 6)):
        made, _ = run(model, variables, images(1, *sides))
        assert made.shape == (1, *sides, 2)
        assert np.isfinite(made).all()
        assert np.abs(made).max() <= 1.0
        assert made.std() > 1e-3


def test_the_unet_has_the_papers_widths():
    _, variables = shapes_of(UNetGenerator(channels=3), images(1, 256, 256))
    params = variables["params"]
    widths = [params[f"down_{i}"]["kernel"].shape for i in range(8)]
    maps = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    assert widths == [(4, 4, a, b) for a, b in itertools.pairwise(maps)]
    widths = [params[f"up_{i}"]["kernel"].shape[-2:] for i in range(7)]
    joined = [512, 1024, 1024, 1024, 1024, 512, 256]
    assert widths == list(zip(joined, [512, 512, 512, 512, 256, 128, 64], strict=True))
    assert params["image"]["kernel"].shape == (4, 4, 128, 3)
    plain = {"down_0", "down_7", "image"}
    norms = {name for name in params if "norm" in name}
    assert norms == {f"down_norm_{i}" for i in range(1, 7)} | {f"up_norm_{i}" for i in range(7)}
    assert {name for name in params if "bias" in params[name]} == plain | norms


def test_the_residual_network_has_the_papers_widths():
    _, variables = shapes_of(ResNetGenerator(channels=3), images(1, 64, 64))
    params = variables["params"]
    assert params["first"]["kernel"].shape == (7, 7, 3, 64)
    assert params["down_0"]["kernel"].shape == (3, 3, 64, 128)
    assert params["down_1"]["kernel"].shape == (3, 3, 128, 256)
    assert params["block_8_conv_1"]["kernel"].shape == (3, 3, 256, 256)
    assert "block_9_conv_0" not in params
    assert params["up_0"]["kernel"].shape == (3, 3, 256, 128)
    assert params["up_1"]["kernel"].shape == (3, 3, 128, 64)
    assert params["image"]["kernel"].shape == (7, 7, 64, 3)


def test_kernels_and_scales_start_as_the_authors_do():
    noise = jax.random.split(jax.random.key(1), 1)
    model = UNetGenerator(16, channels=3, depth=3)
    cond = Condition(spatial=images(1, 8, 8))
    variables = jax.jit(model.init)(jax.random.key(0), noise, cond)
    assert variables["params"]["down_1"]["kernel"].std() == pytest.approx(0.02, rel=0.05)
    scale = variables["params"]["down_norm_1"]["scale"]
    assert scale.mean() == pytest.approx(1.0, abs=0.02)
    assert scale.std() == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize(
    ("sides", "depth"), [((256, 256), 8), ((300, 512), 8), ((64, 99), 6), ((5, 8), 3), ((2, 2), 1)]
)
def test_sides_halve_to_one_pixel(sides, depth):
    assert unet_depth(sides) == depth
    _, variables = shapes_of(UNetGenerator(1, channels=1), images(1, *sides))
    assert f"down_{depth - 1}" in variables["params"]
    assert f"down_{depth}" not in variables["params"]
    assert UNetGenerator(1, channels=1, depth=depth).least_side <= min(sides)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_depth_left_open_is_that_of_the_parameters(norm):
    model = UNetGenerator(1, channels=1, norm=norm)
    variables = drawn(model, images(1, 8, 8))
    for side, depth in ((4, 2), (16, 4)):
        message = f"{side}×{side} pixels halves {depth} times, .* of another depth"
        with pytest.raises(ValueError, match=message):
            model.apply(variables, None, Condition(spatial=images(1, side, side)))
    made, _ = run(model.clone(depth=3), variables, images(1, 16, 16))
    assert made.shape == (1, 16, 16, 1)


@pytest.mark.parametrize(
    ("model", "who"),
    [
        (UNET, "a UNetGenerator of depth 3"),
        (UNET.clone(depth=8), "a UNetGenerator of depth 8"),
        (UNET.clone(depth=None), "a UNetGenerator"),
        (RESNET, "a ResNetGenerator"),
    ],
)
def test_the_least_size_is_named_and_is_the_least(model, who):
    least = model.least_side
    made, _ = shapes_of(model, images(1, least, least + 3))
    assert made.shape == (1, least, least + 3, 2)
    message = f"{who} is for images of {least}×{least} pixels or more, got {least + 3}×{least - 1}"
    with pytest.raises(ValueError, match=message):
        shapes_of(model, images(1, least + 3, least - 1))


def test_other_depths_are_refused():
    with pytest.raises(ValueError, match="depth must be 1 or more, got 0"):
        shapes_of(UNET.clone(depth=0), images())


@pytest.mark.parametrize("name", GENERATORS)
def test_conditions_that_are_no_images(name):
    model = GENERATORS[name]
    for cond in (None, Condition()):
        with pytest.raises(ValueError, match=r"translates the images in cond\.spatial, which are"):
            model.init(jax.random.key(0), None, cond)
    with pytest.raises(ValueError, match=r"reads images \[batch, .* got \(12, 9, 3\)"):
        shapes_of(model, images()[0])
    with pytest.raises(ValueError, match="or floats, got int32"):
        shapes_of(model, images().astype(jnp.int32))
    with pytest.raises(ValueError, match=r"reads cond\.spatial alone, got cond\.label"):
        drawing.shapes_of(model, None, Condition(jnp.zeros(3, jnp.int32), spatial=images()))


@pytest.mark.parametrize("name", GENERATORS)
def test_levels_are_read_as_symmetric_floats(name):
    model = GENERATORS[name]
    variables = drawn(model, images())
    made, _ = run(model, variables, images())
    of_floats, _ = run(model, variables, to_symmetric(images()))
    np.testing.assert_allclose(made, of_floats, atol=1e-6)


def test_dropout_is_by_each_key_alone_in_training_or_not():
    variables, seeds = drawn(UNET, images(4)), jnp.arange(4)
    source = images(4)
    made, _ = run(UNET, variables, source, seeds)
    turned, _ = run(UNET, variables, source[::-1], seeds[::-1])
    np.testing.assert_allclose(turned[::-1], made, atol=1e-5)
    alone, _ = run(UNET, variables, source[2:3], seeds[2:3])
    np.testing.assert_allclose(alone, made[2:3], atol=1e-5)
    in_training, _ = run(UNET, variables, source, seeds, train=True)
    np.testing.assert_allclose(in_training, made, atol=1e-6)
    for other in (None, seeds + 4):
        different, _ = run(UNET, variables, source, other)
        assert (np.abs(different - made).reshape(4, -1).max(-1) > 1e-3).all()


def test_dropout_acts_on_the_three_innermost_layers_of_the_decoder():
    model = UNET.clone(depth=5)
    variables = drawn(model, images(1, 32, 32))
    seeds, source = jnp.arange(1), images(1, 32, 32)
    changed = []
    for i in range(4):  # a layer whose output is zero hides the dropout of those before it
        params = dict(variables["params"])
        norm = params[f"up_norm_{i}"]
        params[f"up_norm_{i}"] = jax.tree.map(jnp.zeros_like, norm)
        with_noise, _ = run(model, {"params": params}, source, seeds)
        without, _ = run(model, {"params": params}, source)
        changed.append(bool((with_noise != without).any()))
    assert changed == [True, True, False, False]
    none = model.clone(dropout_rate=0.0)
    np.testing.assert_array_equal(
        run(none, variables, source, seeds)[0], run(none, variables, source)[0]
    )


def test_noise_is_one_key_for_each_image():
    for noise in (jnp.zeros((3, 2)), jax.random.split(jax.random.key(0), 2)):
        with pytest.raises(ValueError, match="noise must be 3 typed keys, one an image, got"):
            shapes_of(UNET, images(3), noise)
    assert shapes_of(RESNET, images(3), jax.random.split(jax.random.key(0), 3))


def test_batch_statistics_are_kept_in_training():
    model = UNET.clone(norm="batch")
    variables = drawn(model, images())
    trained, after = run(model, variables, images(), train=True)
    fixed, untouched = run(model, variables, images())
    assert not untouched
    assert np.abs(trained - fixed).max() > 1e-4
    for old, new in zip(*map(jax.tree.leaves, (variables["batch_stats"], after)), strict=True):
        assert (old != new).all()


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", GENERATORS)
def test_flat_images_give_finite_images_and_slopes(name, dtype, norm):
    model = GENERATORS[name].clone(norm=norm, dtype=dtype)
    variables = drawn(model, images())

    @jax.jit
    def slopes(params, source):
        def loss(params, source):
            made, _ = run(model, {**variables, "params": params}, source, train=True)
            return (made**2).sum(), made

        return jax.grad(loss, (0, 1), has_aux=True)(params, source)

    for level in (0.0, -1.0, 0.3):
        for leaf in jax.tree.leaves(slopes(variables["params"], jnp.full((1, 8, 8, 3), level))):
            assert leaf.dtype == jnp.float32
            assert np.isfinite(leaf).all()
            assert np.abs(leaf).max() < 1e6


@pytest.mark.parametrize("name", GENERATORS)
def test_half_precision_stays_near(name):
    model = GENERATORS[name]
    variables = drawn(model, images())
    reference, _ = run(model, variables, images())
    made, _ = run(model.clone(dtype=jnp.bfloat16), variables, images())
    assert 1e-6 < np.abs(made - reference).mean() < 0.05


def test_the_unet_sees_the_whole_image_and_the_skips_its_pixels():
    model = UNetGenerator(2, channels=1, norm="none", depth=4)
    variables = drawn(model, images(1, 16, 16))

    @jax.jit
    def slope(source):
        cond = Condition(spatial=source)
        return jax.grad(
            lambda s: model.apply(variables, None, cond.replace(spatial=s))[0, 8, 8, 0]
        )(source)

    found = np.abs(slope(to_symmetric(images(1, 16, 16)))).sum((0, 3))
    assert (found > 0).all()
    assert found[7:10, 7:10].mean() > 2.0 * found.mean()


def test_a_residual_network_starts_at_its_source():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3)), jnp.uint8)
    model = UNetGenerator(2, channels=3, depth=2, residual=True)
    made, _ = jax.jit(
        lambda x: model.init_with_output(jax.random.key(0), None, Condition(spatial=x))
    )(image)
    np.testing.assert_allclose(made, to_symmetric(image), atol=1e-6)
    with pytest.raises(ValueError, match=r"corrects images of 3 channels, got 1"):
        model.init(jax.random.key(0), None, Condition(spatial=image[..., :1]))
