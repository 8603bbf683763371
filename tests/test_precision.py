"""Of every network in half precision the last product, and all that follows it, is float32."""

import dataclasses
import functools
import inspect
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from gen_jax import adversarial, autoregressive, latent
from gen_jax.adversarial import began_networks
from gen_jax.densities import Categorical
from gen_jax.nn.condition import Condition
from gen_jax.nn.precision import cast_params, last_dtype

HALF: Any = {"dtype": jnp.bfloat16}
SHAPE = (8, 8, 2)
MADE: Any = {"image_shape": SHAPE, "latent_dim": 4, **HALF}
PIXELS: Any = {"likelihood": Categorical(3), **HALF}  # a unit for each channel
HEAD: Any = {"layers": 2, "features": 4, "head_features": 4, "first_kernel": 3, **PIXELS}

Z, IMAGE, SOUND = jnp.zeros((2, 4)), jnp.zeros((2, *SHAPE)), jnp.zeros((2, 9, 1))
LABEL = Condition(label=jnp.zeros((2,), jnp.int32))
TEXT = Condition(vector=jnp.zeros((2, 5)))

GENERATORS = {
    "dense": adversarial.DenseGenerator((5,), n_classes=3, **MADE),
    "deconv": adversarial.ConvGenerator(3, n_classes=3, **MADE),
    "resize": adversarial.ConvGenerator(3, n_classes=3, upsample="resize", **MADE),
    "shuffle": adversarial.ConvGenerator(3, n_classes=3, upsample="shuffle", **MADE),
    "residual": adversarial.ResidualGenerator(3, n_classes=3, **MADE),
}
DISCRIMINATORS = {
    "dense": adversarial.DenseDiscriminator((5,), n_classes=3, **HALF),
    "conv": adversarial.ConvDiscriminator(3, n_classes=3, **HALF),
    "spectral": adversarial.ConvDiscriminator(3, n_classes=3, spectral=True, norm="none", **HALF),
    "residual": adversarial.ResidualDiscriminator(3, n_classes=3, **HALF),
}
SOURCE = (None, Condition(spatial=IMAGE))  # no noise
TRANSLATORS = {
    "unet": adversarial.UNetGenerator(3, channels=2, **HALF),
    "unet-resize": adversarial.UNetGenerator(3, channels=2, upsample="resize", **HALF),
    "unet-shuffle": adversarial.UNetGenerator(3, channels=2, upsample="shuffle", **HALF),
    "resnet": adversarial.ResNetGenerator(3, channels=2, blocks=1, **HALF),
}
PATCHES = adversarial.PatchDiscriminator(3, receptive_field=16, **HALF)
PIXEL_NETWORKS = {
    "masked": autoregressive.PixelCNN(**HEAD),
    "gated": autoregressive.GatedPixelCNN(layers=2, features=4, first_kernel=3, **PIXELS),
    "plus-plus": autoregressive.PixelCNNPlusPlus(blocks=1, stages=2, features=4, **PIXELS),
    "row-lstm": autoregressive.RowLSTM(**HEAD),
    "diagonal-bilstm": autoregressive.DiagonalBiLSTM(**HEAD),
    "wavenet": autoregressive.WaveNet(layers=2, features=4, **PIXELS),
}
AUTOENCODERS = {
    "dense": (latent.DenseEncoder((5,), **HALF), latent.DenseDecoder((5,), **HALF)),
    "conv": (latent.ConvEncoder((3, 4), **HALF), latent.ConvDecoder((4, 3), **HALF)),
}


class Case(NamedTuple):
    """A network, or a model of several, its inputs, and the method that is called on them."""

    model: nn.Module
    inputs: tuple[Any, ...]
    method: str = "__call__"


CASES = {
    **{f"generator-{name}": Case(model, (Z, LABEL)) for name, model in GENERATORS.items()},
    **{f"critic-{name}": Case(model, (IMAGE, LABEL)) for name, model in DISCRIMINATORS.items()},
    **{f"translator-{name}": Case(model, SOURCE) for name, model in TRANSLATORS.items()},
    "critic-patches": Case(PATCHES, (IMAGE, SOURCE[1])),
    "text-generator": Case(adversarial.TextGenerator(3, text_dim=2, **MADE), (Z, TEXT)),
    "projecting-text-critic": Case(
        adversarial.TextDiscriminator(3, text_dim=2, match="projected", **HALF), (IMAGE, TEXT)
    ),
    "text-critic": Case(adversarial.TextDiscriminator(3, text_dim=2, **HALF), (IMAGE, TEXT)),
    "style-encoder": Case(adversarial.StyleEncoder(3, latent_dim=4, **HALF), (IMAGE,)),
    "image-encoder": Case(adversarial.ImageEncoder(3, 4, **HALF), (IMAGE,)),
    "began-decoder": Case(began_networks.BEGANDecoder(3, **MADE), (Z,)),
    "began-encoder": Case(began_networks.BEGANEncoder(3, 4, **HALF), (IMAGE,)),
    "began-discriminator": Case(began_networks.BEGANDiscriminator(3, 4, **HALF), (IMAGE,)),
    **{
        name: Case(model, (SOUND if name == "wavenet" else IMAGE,))
        for name, model in PIXEL_NETWORKS.items()
    },
    **{
        f"{kind.__name__}-{name}-{method}": Case(kind(SHAPE, 4, *networks), (x,), method)
        for kind in (latent.VAE, latent.Autoencoder)
        for name, networks in AUTOENCODERS.items()
        for method, x in (("encode", IMAGE), ("decode", Z))
    },
}


def test_no_network_is_left_out():
    families = (latent, adversarial, autoregressive, began_networks)
    networks = {
        value
        for family in families
        for _, value in inspect.getmembers(family, inspect.isclass)
        if issubclass(value, nn.Module)
        and value.__module__.split(".")[1] != "nn"
        and any(field.name == "dtype" for field in dataclasses.fields(value))
    }
    parts = {type(part) for networks in AUTOENCODERS.values() for part in networks}
    whole = {type(case.model) for case in CASES.values()} - {latent.VAE, latent.Autoencoder}
    assert networks == whole | parts


# What a program's products read, from its jaxpr

PRODUCTS = {"dot_general", "conv_general_dilated", "convolution", "convolution_input_gradient"}
LOOPS = {"scan", "while", "cond"}


class Product(NamedTuple):
    operands: list[Any]  # dtypes
    upstream: frozenset[int]  # the products that it depends on


class Flow:
    """Follows every value of a jaxpr back to the products that it depends on."""

    def __init__(self, function, *inputs):
        closed = jax.make_jaxpr(function)(*inputs)
        self.products: list[Product] = []
        self.others: list[tuple[Any, frozenset[int]]] = []  # dtype, upstream
        nothing = [frozenset()] * len(closed.jaxpr.invars)
        self.upstream = frozenset[int]().union(*self.follow(closed.jaxpr, nothing))

    def follow(self, jaxpr, inputs) -> list[frozenset[int]]:
        known = dict(zip(jaxpr.invars, inputs, strict=True))

        def upstream(atom) -> frozenset[int]:
            return frozenset() if hasattr(atom, "val") else known.get(atom, frozenset())

        for equation in jaxpr.eqns:
            before = [upstream(atom) for atom in equation.invars]
            inner = inner_jaxprs(equation)
            if is_call(equation, inner):
                known.update(zip(equation.outvars, self.follow(inner[0], before), strict=True))
                continue
            met = frozenset[int]().union(*before)
            if equation.primitive.name in PRODUCTS or any(map(multiplies, inner)):
                self.products.append(Product(floats(equation.invars), met))
                met |= {len(self.products) - 1}
            else:
                self.others += [(dtype, met) for dtype in floats(equation.outvars)]
            known.update(dict.fromkeys(equation.outvars, met))
        return [upstream(atom) for atom in jaxpr.outvars]

    @property
    def last(self) -> set[int]:
        """The products that no other depends on."""
        return set(self.upstream).difference(*(self.products[i].upstream for i in self.upstream))


def is_call(equation, inner) -> bool:
    """Whether it computes one jaxpr of its inputs, once: compiled, or with a gradient's rule."""
    once = len(inner) == 1 and equation.primitive.name not in LOOPS
    return once and len(inner[0].invars) == len(equation.invars)


def inner_jaxprs(equation) -> list[Any]:
    values = [x for v in equation.params.values() for x in (v if isinstance(v, tuple) else (v,))]
    inner = [getattr(value, "jaxpr", value) for value in values]
    return [value for value in inner if hasattr(value, "eqns")]


def multiplies(jaxpr) -> bool:
    return any(
        equation.primitive.name in PRODUCTS or any(map(multiplies, inner_jaxprs(equation)))
        for equation in jaxpr.eqns
    )


def floats(atoms) -> list[Any]:
    dtypes = [atom.aval.dtype for atom in atoms if hasattr(atom.aval, "dtype")]
    return [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]


def assert_ends_in_float32(function, *inputs) -> int:
    """Returns how many of the products read half precision."""
    flow = Flow(function, *inputs)
    assert flow.last
    for i in flow.last:
        assert set(flow.products[i].operands) == {jnp.dtype(jnp.float32)}
    for dtype, upstream in flow.others:
        assert dtype == jnp.float32 or not upstream & flow.last
    return sum(jnp.bfloat16 in product.operands for product in flow.products)


def variables_of(model, *inputs):
    return jax.eval_shape(functools.partial(model.init, jax.random.key(0)), *inputs)


@pytest.mark.parametrize("name", CASES)
def test_the_last_product_is_float32(name):
    model, inputs, method = CASES[name]
    start = inputs if method == "__call__" else (IMAGE,)
    variables = variables_of(model, *start)
    halves = assert_ends_in_float32(
        lambda variables, *inputs: model.apply(variables, *inputs, method=method),
        variables,
        *inputs,
    )
    assert halves > 0  # what comes before it is in half precision


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
def test_the_last_product_of_a_samplers_step_is_float32(name):
    model = PIXEL_NETWORKS[name]
    x = SOUND if name == "wavenet" else IMAGE
    channels = x.shape[-1]
    n_values = channels // model.likelihood.units(channels)

    def outputs(params):
        seen = []

        def draw(unit, outputs):
            del unit
            seen.append(outputs)
            return jnp.zeros((len(x), n_values), jnp.int32)

        weights = model.weights(params)
        rows = model.start(weights, len(x), x.shape[-2])
        _, contexts, left = model.row(weights, rows, jnp.int32(0), None)
        here = jax.tree.map(lambda context: context[0], contexts)
        model.pixel(weights, left, here, jnp.int32(0), draw)
        return seen

    assert assert_ends_in_float32(outputs, variables_of(model, x)["params"]) > 0


def test_a_product_in_half_precision_would_be_noticed():
    def half(x):
        return (x.astype(jnp.bfloat16) @ x.astype(jnp.bfloat16)).astype(jnp.float32)

    def half_after(x):
        return (x @ x).astype(jnp.bfloat16).astype(jnp.float32)

    x = jnp.zeros((3, 3))
    for function in (half, half_after, jax.jit(half)):
        with pytest.raises(AssertionError):
            assert_ends_in_float32(function, x)
    assert assert_ends_in_float32(lambda x: jnp.tanh(half(x) @ x), x) == 1


def test_the_last_dtype_is_float32_or_more():
    assert last_dtype(jnp.bfloat16) == last_dtype(jnp.float16) == last_dtype(jnp.float32)
    assert last_dtype(jnp.float32) == jnp.float32
    with jax.enable_x64(True):
        assert last_dtype(jnp.float64) == jnp.float64
    params = {"first": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    cast = cast_params(params, jnp.bfloat16, last=["head"])
    assert cast["first"]["kernel"].dtype == jnp.bfloat16
    assert cast["head"]["kernel"].dtype == jnp.float32
