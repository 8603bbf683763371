"""The PyTorch peers of the benchmarks are twins: our outputs from our parameters."""

import dataclasses
import functools
import importlib.util
import re

import drawing
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.benchmarks import text_cases, translation_cases
from experiments.benchmarks.peers import Twins
from gen_jax.adversarial import (
    ConvDiscriminator,
    ConvGenerator,
    PatchDiscriminator,
    ResNetGenerator,
    UNetGenerator,
)
from gen_jax.adversarial.sizes import map_sizes
from gen_jax.nn.condition import Condition

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import torch
from torch_layout import give, our_name, torch_layout

from experiments.benchmarks import torch_adversarial, torch_text, torch_translation

SHAPES = [(14, 14, 1), (16, 16, 3)]


def drawn(model, *inputs):
    """Variables none of which is zero, the variances positive."""
    random = np.random.default_rng(0)
    _, shapes = drawing.shapes_of(model, *inputs)

    def draw(path, p):
        low = -0.45 if path[-1].key == "kernel" else 0.1
        return jnp.asarray(random.uniform(low, low + 0.9, p.shape), p.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def dcgan_name(name):
    """Our name of a layer of DCGAN's twins, and of those that are made of its parts."""
    name = our_name(name)
    name = re.sub(r"\bups\.(\d+)$", lambda found: f"up_{int(found[1]) + 1}", name)
    name = re.sub(r"\bconvs\.(\d+)\.1$", r"conv_\1", name)  # after its padding
    name = re.sub(r"^logit$", "logit.dense", name)
    return name.replace("maps.", "").replace("norms.", "norm_")


def channels_first_products(variables, smallest):
    """DCGAN's products of whole maps, for maps that lie [C, H, W]; ``smallest`` is [H, W, C]."""

    def moved(p, axis):
        axis %= p.ndim
        split = p.reshape(*p.shape[:axis], *smallest, *p.shape[axis + 1 :])
        return jnp.moveaxis(split, axis + 2, axis).reshape(p.shape)

    def change(path, p):
        name = "/".join(key.key for key in path)
        if re.search("(logit/dense|image/embedding)/kernel$", name):
            return moved(p, -2)
        return moved(p, -1) if re.search("(^|images/)dense/", name) else p

    params = jax.tree_util.tree_map_with_path(change, variables["params"])
    return {**variables, "params": params}


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def first(x):
    """Images with channels first, and latents as they are, for PyTorch."""
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def require_same_outputs(model, twin, inputs, theirs, variables, load):
    """Our outputs and theirs are the same in training and evaluation, and of as many parameters."""
    assert sum(p.numel() for p in twin.parameters()) == count(variables["params"])
    for train in (True, False):
        mutable = ["batch_stats"] if train else []
        apply = functools.partial(model.apply, train=train, mutable=mutable)
        ours, _ = jax.jit(apply)(variables, *inputs)
        load()
        with torch.no_grad():
            made = twin.train(train)(*theirs).numpy()
        made = np.moveaxis(made, 1, -1) if made.ndim == 4 else made
        np.testing.assert_allclose(ours, made, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_twins_compute_our_outputs_from_our_parameters(shape, norm):
    sizes = map_sizes(shape[:2])
    generator = ConvGenerator(3, image_shape=shape, latent_dim=5, norm=norm)
    discriminator = ConvDiscriminator(3, norm=norm)
    z = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    x = np.random.default_rng(2).normal(size=(4, *shape)).astype(np.float32)
    smallest = (*sizes[0], 3 * 2 ** (len(sizes) - 2))
    for model, twin, inputs in (
        (generator, torch_adversarial.Generator(generator), z),
        (discriminator, torch_adversarial.Discriminator(discriminator, shape), x),
    ):
        variables = drawn(model, inputs)
        theirs = channels_first_products(variables, smallest)
        load = functools.partial(give, twin, theirs, dcgan_name)
        require_same_outputs(model, twin, (inputs,), (first(inputs),), variables, load)


GENERATORS = {
    "U-Net": (UNetGenerator(3, channels=2, dropout_rate=0.0), torch_translation.UNet),
    "shallow U-Net": (
        UNetGenerator(3, channels=2, depth=2, norm="instance", dropout_rate=0.0),
        torch_translation.UNet,
    ),
    "ResNet": (ResNetGenerator(3, channels=2, blocks=2), torch_translation.ResNet),
    "ResNet with batch statistics": (
        ResNetGenerator(3, channels=2, blocks=1, norm="batch"),
        torch_translation.ResNet,
    ),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_twins_translate_as_we_do(name):
    ours, make = GENERATORS[name]
    shape = (16, 32, 3)
    x = np.random.default_rng(1).uniform(-1, 1, (2, *shape)).astype(np.float32)
    twin, inputs = make(ours, shape), (None, Condition(spatial=x))
    variables = drawn(ours, *inputs)
    load = functools.partial(give, twin, variables)
    require_same_outputs(ours, twin, inputs, (first(x),), variables, load)


@pytest.mark.parametrize("name", GENERATORS)
def test_twins_refuse_sides_that_do_not_halve_evenly(name):
    ours, make = GENERATORS[name]
    with pytest.raises(ValueError, match=r"the twin's sides halve .*, got 16×18"):
        make(ours, (16, 18, 3))


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("field", [1, 16, 70])
def test_twins_judge_patches_as_we_do(field, conditional):
    ours = PatchDiscriminator(3, receptive_field=field, norm="instance" if conditional else "batch")
    random = np.random.default_rng(1)
    x, source = (random.uniform(-1, 1, (2, 24, 32, c)).astype(np.float32) for c in (3, 2))
    inputs, theirs = (x, Condition(spatial=source)), (first(x), first(source))
    if not conditional:
        inputs, theirs = inputs[:1], theirs[:1]
    twin = torch_translation.PatchGAN(ours, 5 if conditional else 3)
    variables = drawn(ours, *inputs)
    load = functools.partial(give, twin, variables)
    require_same_outputs(ours, twin, inputs, theirs, variables, load)


CASES = translation_cases.translation_cases(small=True) | text_cases.text_cases(small=True)


def gradients(network, b1=0.5):
    """Of a network's first step: Adam's first moment has a part of each afterwards."""
    moments = optax.tree.get(network.opt_state, "mu")
    return {"params": jax.tree.map(lambda moment: moment / (1.0 - b1), moments)}


def require_same_gradients(found, twin, name_of=our_name):
    """What our step found, for each of our parameters, and what the twin's left behind."""
    ours = torch_layout(twin, found, name_of)
    theirs = {name: p.grad for name, p in twin.named_parameters()}
    assert theirs.keys() == ours.keys()
    assert sum(gradient.numel() for gradient in ours.values()) == count(found)
    rounding = 1e-6 * max(float(gradient.abs().max()) for gradient in ours.values())
    for name, gradient in ours.items():
        atol = 1e-3 * float(gradient.abs().max()) + rounding
        np.testing.assert_allclose(gradient, theirs[name], rtol=1e-3, atol=atol, err_msg=name)


def test_a_step_of_pix2pix_has_our_gradients(monkeypatch):
    case = CASES["pix2pix-64"]
    ours = case.networks()
    ours = ours[0].clone(dropout_rate=0.0), ours[1]
    monkeypatch.setattr(type(case), "networks", lambda self, dtype=None: ours)
    state, batches = case.state("float32"), case.batches(1)
    pair = torch_translation.pix2pix_networks(*ours, case.shape)
    networks = state.generator, state.discriminator
    for twin, network in zip(pair, networks, strict=True):
        give(twin, {"params": network.params, **network.model_state})
    after, _ = jax.jit(case.train_step)(state, batches.batch_at(0))
    torch_translation.pix2pix_trainer(
        *pair, batches.examples["image"], batches.examples["spatial"], how=Twins()
    )()
    require_same_gradients(gradients(after.discriminator), pair[1])
    require_same_gradients(gradients(after.generator), pair[0])


@pytest.mark.slow
def test_a_step_of_cyclegan_has_our_gradients():
    case = CASES["cyclegan-128"]
    state, batches = case.state("float32"), case.batches(1)
    games = [torch_translation.cyclegan_networks(*case.networks(), case.shape) for _ in range(2)]
    for game, players in zip(games, (state.forward, state.backward), strict=True):
        for twin, network in zip(game, (players.generator, players.discriminator), strict=True):
            give(twin, {"params": network.params})
    after, _ = jax.jit(case.train_step)(state, batches.batch_at(0))
    torch_translation.cyclegan_trainer(
        *games,
        batches.examples["a"],
        batches.examples["b"],
        pool_size=case.pool_size,
        how=Twins(),
    )()
    for game, players in zip(games, (after.forward, after.backward), strict=True):
        for twin, network in zip(game, (players.generator, players.discriminator), strict=True):
            require_same_gradients(gradients(network), twin)


def captioned(case):
    """A batch of two images: the first one's caption, which says nothing, is true of both, and the
    second one's is wrong for the first."""
    batches = case.batches(1)
    batches.examples["attributes"][0] = [[0], [1]]
    batches.examples["meaning"][0] = [[[-1]], [[1]]]
    return batches


def test_a_step_of_text_to_image_has_our_gradients(monkeypatch):
    case = CASES["text-to-image"]
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.full(shape, 0.5))
    state = dataclasses.replace(
        case.state("float32"), prior=lambda key, shape: jnp.full(shape, 0.5)
    )
    pair, smallest = case.twins(), (4, 4, 2 * case.features)
    for twin, network in zip(pair, (state.generator, state.discriminator), strict=True):
        variables = {"params": network.params, **network.model_state}
        give(twin, channels_first_products(variables, smallest), dcgan_name)
    batches = captioned(case)
    after, _ = jax.jit(case.train_step)(state, batches.batch_at(0))
    torch_text.text_to_image_trainer(*pair, batches.examples, how=Twins())()
    for twin, network in zip(pair, (after.generator, after.discriminator), strict=True):
        found = channels_first_products(gradients(network), smallest)
        require_same_gradients(found, twin, dcgan_name)


def test_a_step_of_the_text_encoder_has_our_gradients():
    case = CASES["text-encoder"]

    def as_theirs(variables):
        text = variables["params"]["text"]
        gru = {
            name: part if name == "input" else {"kernel": part}
            for name, part in text["gru"].items()
        }
        params = {**variables["params"], "text": {**text, "gru": gru}}
        return channels_first_products({"params": params}, (4, 4, 2 * case.image_features))

    state, batches, twin = case.state("float32"), captioned(case), case.twin()
    give(twin, as_theirs({"params": state.params}), dcgan_name)
    after, metrics = jax.jit(case.train_step)(state, batches.batch_at(0))
    assert metrics["loss"] > 0.0
    torch_text.joint_embedding_trainer(twin, batches.examples, how=Twins())()
    require_same_gradients(as_theirs(gradients(after, b1=0.9)), twin, dcgan_name)


def test_the_pool_returns_what_it_is_given_until_it_is_full_then_mixes():
    images = torch.arange(40.0).reshape(-1, 1, 1, 1)
    pool = torch_translation.ImagePool(4)
    assert torch.equal(pool.query(images[:4]), images[:4])
    seen = [int(image) for image in pool.query(images[4:])]
    new = [image for image, number in zip(seen, range(4, 40), strict=True) if image == number]
    old = [image for image, number in zip(seen, range(4, 40), strict=True) if image < number]
    assert len(new) + len(old) == 36
    assert new
    assert len(set(old)) == len(old) > 0
    assert len(pool.images) == 4
    none = torch_translation.ImagePool(0)
    assert torch.equal(none.query(images), images)
    assert not none.images
