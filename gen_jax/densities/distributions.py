"""Densities: what a network's raw outputs mean as a distribution over images.

A *likelihood* is a frozen dataclass, so that a model can hold it as a field. ``n_outputs`` raw
network outputs for each dimension (pixel and channel) parametrize it, on a last axis of the
array. ``observe`` turns stored ``uint8`` levels into what the density is over (another dtype is a
``ValueError``), ``log_prob`` is elementwise in nats, and the caller sums.

Those over discrete values are ``sequential`` too: autoregressive models draw from them.
"""

import dataclasses
import math
from typing import Literal, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from gen_jax import images
from gen_jax.densities.levels import Encoding, Pixels
from gen_jax.densities.logistic_mixture import LogisticMixture
from gen_jax.densities.sequential import ChannelByChannel, Given, categorical
from gen_jax.typing import Array, PRNGKey

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Likelihood",
    "LogisticMixture",
    "bits_per_dim",
    "gaussian_kl",
    "gaussian_log_prob",
]

Outputs = Float[Array, "*dims n_outputs"]
Values = Float[Array, "*dims"]


class Likelihood(Protocol):
    """A distribution of one dimension, given ``n_outputs`` raw network outputs."""

    @property
    def n_outputs(self) -> int:
        """Raw network outputs a dimension."""
        ...

    def observe(self, key: PRNGKey, image: UInt8[Array, "*dims"]) -> Array:
        """Turns levels 0..255 into the values that ``log_prob`` scores; ``key`` draws any noise."""
        ...

    def as_input(self, value: Array) -> Values:
        """Observed values as floats in [0, 1], which is how a network reads them."""
        ...

    def expected_input(self, image: UInt8[Array, "*dims"]) -> Values:
        """The expectation of ``as_input(observe(key, image))``: an image read without noise."""
        ...

    def outputs_of_mean(self, mean: Values) -> Outputs:
        """Raw outputs with the given expectation (floats in [0, 1]), to start a network from."""
        ...

    def log_prob(self, outputs: Outputs, value: Array) -> Values:
        """Log-density of each dimension, in nats."""
        ...

    def sample(self, key: PRNGKey, outputs: Outputs) -> UInt8[Array, "*dims"]:
        """Draws levels 0..255."""
        ...

    def mean(self, outputs: Outputs) -> Values:
        """The expected image, as floats in [0, 1]."""
        ...


@dataclasses.dataclass(frozen=True)
class Bernoulli(ChannelByChannel):
    """Binary pixels; the raw output is the logit.

    ``binarization`` says what the density is over: ``"dynamic"`` draws pixels anew at each
    use with probability level / 255, ``"threshold"`` cuts at level 128. Likelihoods under
    the two cannot be compared.
    """

    binarization: Literal["dynamic", "threshold"] = "dynamic"

    @property
    def levels(self) -> int:
        return 2

    @property
    def n_outputs(self) -> int:
        return 1

    def observe(self, key: PRNGKey, image: UInt8[Array, "*dims"]) -> Values:
        if self.binarization == "threshold":
            return images.binarize_threshold(image)
        return images.binarize_dynamic(key, image)

    def as_input(self, value: Values) -> Values:
        return value

    def expected_input(self, image: UInt8[Array, "*dims"]) -> Values:
        if self.binarization == "threshold":
            return images.binarize_threshold(image)
        return images.to_float(image)

    def outputs_of_mean(self, mean: Values) -> Outputs:
        return _logit(mean)[..., None]

    def log_prob(self, outputs: Outputs, value: Values) -> Values:
        return _bernoulli_log_prob(outputs[..., 0].astype(jnp.float32), value)

    def sample(self, key: PRNGKey, outputs: Outputs) -> UInt8[Array, "*dims"]:
        logits = outputs[..., 0].astype(jnp.float32)
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(jnp.uint8) * 255

    def mean(self, outputs: Outputs) -> Values:
        return jax.nn.sigmoid(outputs[..., 0].astype(jnp.float32))

    def quantize(self, image: UInt8[Array, "*dims"]) -> Values:
        return images.binarize_threshold(image)

    def to_data(self, value: Values) -> UInt8[Array, "*dims"]:
        return value.astype(jnp.uint8) * 255

    def draw(
        self,
        outputs: Array,
        noise: Array,
        *,
        temperature: float | Array = 1.0,
        given: Given | None = None,
    ) -> Array:
        on = noise > jax.nn.sigmoid(-outputs.astype(jnp.float32) / temperature)
        value = on.astype(jnp.float32)
        return value if given is None else given.over(value)


@jax.custom_jvp
def _bernoulli_log_prob(logits: Values, value: Values) -> Values:
    # value * logits - softplus(logits). jax.nn.softplus also cares for infinite logits, and takes
    # more than twice the time on CPUs; in this order the difference loses no digits.
    return (value * logits - jnp.maximum(logits, 0.0)) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_bernoulli_log_prob.defjvp
def _bernoulli_log_prob_jvp(primals, tangents):
    (logits, value), (d_logits, d_value) = primals, tangents
    slope = value - jax.nn.sigmoid(logits)  # exact at 0 too, where max and abs have a kink
    return _bernoulli_log_prob(logits, value), slope * d_logits + logits * d_value


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Real pixels in [0, 1] after uniform dequantization; raw outputs are mean and log scale.

    The mean goes through a sigmoid (Kingma & Welling 2013, section 5). The log scale is held in
    ``[min_log_scale, max_log_scale]`` smoothly, so that no constant image can drive the density
    to infinity. ``log_prob`` is that of the 256 levels (``log 256`` nats per dimension subtracted),
    so that it bounds, and can be compared with, a categorical's.
    """

    min_log_scale: float = -5.0
    max_log_scale: float = 1.0

    @property
    def n_outputs(self) -> int:
        return 2

    def _moments(self, outputs: Outputs) -> tuple[Values, Values]:
        outputs = outputs.astype(jnp.float32)
        width = self.max_log_scale - self.min_log_scale
        log_scale = self.min_log_scale + width * jax.nn.sigmoid(outputs[..., 1])
        return jax.nn.sigmoid(outputs[..., 0]), log_scale

    def observe(self, key: PRNGKey, image: UInt8[Array, "*dims"]) -> Values:
        return images.dequantize(key, image)

    def as_input(self, value: Values) -> Values:
        return value

    def expected_input(self, image: UInt8[Array, "*dims"]) -> Values:
        return images.dequantized_mean(image)

    def outputs_of_mean(self, mean: Values) -> Outputs:
        return jnp.stack([_logit(mean), jnp.zeros_like(mean)], axis=-1)

    def log_prob(self, outputs: Outputs, value: Values) -> Values:
        mean, log_scale = self._moments(outputs)
        return gaussian_log_prob(value, mean, 2.0 * log_scale) - math.log(256.0)

    def sample(self, key: PRNGKey, outputs: Outputs) -> UInt8[Array, "*dims"]:
        mean, log_scale = self._moments(outputs)
        return images.to_uint8(mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape))

    def mean(self, outputs: Outputs) -> Values:
        return self._moments(outputs)[0]


@dataclasses.dataclass(frozen=True)
class Categorical(ChannelByChannel):
    """Integers of ``levels`` values; the raw outputs are logits.

    ``encoding`` says which stored numbers they stand for: pixels, or sound.
    """

    levels: int = 256
    encoding: Encoding = Pixels()

    def __post_init__(self):
        self.encoding.check(self.levels)

    @property
    def n_outputs(self) -> int:
        return self.levels

    def observe(self, key: PRNGKey, image: UInt8[Array, "*dims"]) -> Array:
        del key  # nothing to draw
        return self.quantize(image)

    def quantize(self, image: Array) -> Array:
        return self.encoding.quantize(image, self.levels)

    def as_input(self, value: Array) -> Values:
        return value.astype(jnp.float32) / (self.levels - 1)

    def expected_input(self, image: UInt8[Array, "*dims"]) -> Values:
        return self.as_input(self.quantize(image))

    def to_data(self, value: Array) -> Array:
        return self.encoding.to_data(value, self.levels)

    def outputs_of_mean(self, mean: Values) -> Outputs:
        # A bell of standard deviation 1/8 about the mean; near 0 and 1 its own mean lies inward.
        k = jnp.linspace(0.0, 1.0, self.levels).reshape((1,) * mean.ndim + (-1,))
        return -32.0 * (k - mean[..., None]) ** 2

    def log_prob(self, outputs: Outputs, value: Array) -> Values:
        log_p = jax.nn.log_softmax(outputs.astype(jnp.float32))
        return jnp.take_along_axis(log_p, value[..., None], axis=-1)[..., 0]

    def sample(self, key: PRNGKey, outputs: Outputs) -> UInt8[Array, "*dims"]:
        return self.to_data(jax.random.categorical(key, outputs.astype(jnp.float32)))

    def draw(
        self,
        outputs: Array,
        noise: Array,
        *,
        temperature: float | Array = 1.0,
        given: Given | None = None,
    ) -> Array:
        value = categorical(outputs.astype(jnp.float32) / temperature, noise)[..., None]
        return value if given is None else given.over(value)

    def mean(self, outputs: Outputs) -> Values:
        p = jax.nn.softmax(outputs.astype(jnp.float32))
        return p @ jnp.linspace(0.0, 1.0, self.levels)


def _logit(mean: Values) -> Values:
    """The inverse of the sigmoid, with 0 and 1 kept at a finite distance (Burda et al. 2015's)."""
    mean = jnp.clip(mean, 1e-3, 1.0 - 1e-3)
    return jnp.log(mean) - jnp.log1p(-mean)


def gaussian_log_prob(value: Values, mean: Values, log_variance: Values) -> Values:
    """Log-density of a diagonal Gaussian, elementwise, in nats."""
    return -0.5 * (
        math.log(2.0 * math.pi) + log_variance + (value - mean) ** 2 * jnp.exp(-log_variance)
    )


def gaussian_kl(mean: Values, log_variance: Values) -> Values:
    """KL(N(mean, e^log_variance) || N(0, 1)), elementwise, in nats.

    Kingma & Welling 2013, appendix B.
    """
    return 0.5 * (mean**2 + jnp.expm1(log_variance) - log_variance)


def bits_per_dim(nll: float, n_dims: int) -> float:
    """Turns nats per image into bits per dimension, with ``n_dims`` dimensions in an image."""
    return nll / (n_dims * math.log(2.0))
