"""The discretized mixture of logistics of PixelCNN++ (Salimans et al. 2017)."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gen_jax.densities.levels import Encoding, Pixels
from gen_jax.densities.sequential import Given, by_halves, categorical, n_halvings
from gen_jax.typing import Array, PRNGKey

Values = Float[Array, "*dims"]


@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """Levels under a discretized mixture of logistics (Salimans et al. 2017, section 2.1).

    Values v stand at x = 2v / (levels - 1) - 1, and each takes the mass of its bin, the first and
    the last that of the whole tail: the probabilities of all levels sum to one exactly. All
    channels of a pixel share the component; the mean of each depends linearly on the channels
    before it (section 2.2). A unit is a pixel; its raw outputs are a logit for each component, a
    mean and a log scale for each component and channel, and a coefficient (through tanh) for each
    component and pair of channels. Its noise is that of the component and that of the value, for
    each channel; both are drawn by halves.
    """

    components: int = 10
    levels: int = 256
    encoding: Encoding = Pixels()

    def __post_init__(self):
        self.encoding.check(self.levels)
        if self.components < 1:
            raise ValueError(f"components must be 1 or more, got {self.components}")

    def units(self, channels: int) -> int:
        del channels
        return 1

    def unit_outputs(self, channels: int) -> int:
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def unit_noise(self, channels: int) -> int:
        return channels * (n_halvings(self.components) + n_halvings(self.levels))

    def observe(self, key: PRNGKey, image: Array) -> Array:
        del key  # nothing to draw
        return self.quantize(image)

    def quantize(self, image: Array) -> Array:
        return self.encoding.quantize(image, self.levels)

    def as_input(self, value: Array) -> Values:
        return value.astype(jnp.float32) / (self.levels - 1)

    def to_data(self, value: Array) -> Array:
        return self.encoding.to_data(value, self.levels)

    def unit_log_prob(self, outputs: Array, value: Array) -> Array:
        logits, means, log_scales, coefficients = self._parts(outputs, value.shape[-1])
        x = 2.0 * self.as_input(value)[..., None] - 1.0  # [*units, channels, 1]
        channels = range(value.shape[-1])
        means = jnp.stack([self._mean(means, coefficients, x, c) for c in channels], axis=-2)
        log_p = self._bin_log_prob(x - means, log_scales, value[..., None]).sum(-2)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_p, axis=-1)

    def draw(
        self,
        outputs: Array,
        noise: Array,
        *,
        temperature: float | Array = 1.0,
        given: Given | None = None,
    ) -> Array:
        bits = n_halvings(self.components)
        channels = noise.shape[-1] // self.unit_noise(1)
        logits, means, log_scales, coefficients = self._parts(outputs, channels)
        logits, log_scales = logits / temperature, log_scales + jnp.log(temperature)
        x = jnp.zeros((*noise.shape[:-1], 0, 1), jnp.float32)  # of the channels known by now
        noise = noise.reshape(*noise.shape[:-1], channels, -1)
        which, noise = noise[..., :bits], noise[..., bits:]
        chosen = categorical(logits, which[..., 0, :])
        values = []
        for c in range(channels):
            mean, log_scale = self._mean(means, coefficients, x, c), log_scales[..., c, :]
            if given is not None and c > 0:
                # A given channel is evidence of the component: p(k | x_<c) is drawn from anew.
                # One that was drawn came from the component chosen, which stays.
                again = categorical(logits, which[..., c, :])
                chosen = jnp.where(given.mask[..., c - 1], again, chosen)
            pick = jax.nn.one_hot(chosen, self.components)
            share = self._lower_share((mean * pick).sum(-1), (log_scale * pick).sum(-1))
            value = by_halves(noise[..., c, :], share)
            if given is not None:
                value = jnp.where(given.mask[..., c], given.value[..., c], value)
            here = 2.0 * self.as_input(value)[..., None] - 1.0
            if given is not None:
                logits += self._bin_log_prob(here - mean, log_scale, value[..., None])
            x = jnp.concatenate([x, here[..., None]], axis=-2)
            values.append(value)
        return jnp.stack(values, axis=-1)

    def _parts(self, outputs: Array, channels: int) -> tuple[Array, Array, Array, Array]:
        """Logits [*units, K], means and log scales [*units, C, K], coefficients [*units, P, K]."""
        outputs = outputs.astype(jnp.float32).reshape(*outputs.shape[:-1], -1, self.components)
        c = channels
        # Below a fraction of a bin the mass is all in one; exp must not leave float32.
        log_scales = jnp.clip(outputs[..., 1 + c : 1 + 2 * c, :], -1.5 - math.log(self.levels), 7.0)
        coefficients = jnp.tanh(outputs[..., 1 + 2 * c :, :])
        return outputs[..., 0, :], outputs[..., 1 : 1 + c, :], log_scales, coefficients

    def _mean(self, means: Array, coefficients: Array, x: Array, c: int) -> Array:
        """Of channel c [*units, K], given those before it, x [*units, c or more, 1].

        Its coefficients are those of the pairs (c, 0), (c, 1), ..., (c, c - 1).
        """
        pair = c * (c - 1) // 2
        part = coefficients[..., pair : pair + c, :] * x[..., :c, :]
        return means[..., c, :] + part.sum(-2)

    def _lower_share(self, mean: Array, log_scale: Array) -> Callable[[Array, int], Array]:
        """What ``by_halves`` asks for, under one logistic.

        Let a, m and b be the standardized edges of two halves, m - a = b - m = h, and s the
        sigmoid. With s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)) the lower half's share is

            (s(m) - s(a)) / (s(b) - s(a)) = s(m) / s(b) / (1 + e^-h);

        the last factor is 1 where a is -inf, and 1 - e^-h where b alone is infinite.
        """
        inverse = jnp.exp(-log_scale)

        def lower_share(first: Array, half: int) -> Array:
            middle = (2.0 * (first + half) - 1.0) / (self.levels - 1) - 1.0
            e_m = jnp.exp(jnp.minimum((mean - middle) * inverse, 80.0))  # e^-m, kept finite
            e_h = jnp.exp(-2.0 * half / (self.levels - 1) * inverse)
            lowest, highest = first == 0, first + 2 * half >= self.levels
            upper = jnp.where(highest, 1.0, 1.0 + e_m * e_h)  # 1 / s(b)
            last = jnp.where(lowest, 1.0, jnp.where(highest, 1.0 - e_h, 1.0 / (1.0 + e_h)))
            share = upper * last / (1.0 + e_m)
            # Where the number of levels is no power of two, an upper half may hold none.
            return jnp.where(first + half >= self.levels, 1.0, share)

        return lower_share

    def _bin_log_prob(self, centered: Array, log_scales: Array, value: Array) -> Array:
        half = 1.0 / (self.levels - 1)
        inverse = jnp.exp(-log_scales)
        above, below = (centered + half) * inverse, (centered - half) * inverse
        # s(a) - s(b) = s(a) s(-b) (1 - e^(b - a)): no difference of near numbers is taken.
        log_below_top, log_above_bottom = jax.nn.log_sigmoid(above), jax.nn.log_sigmoid(-below)
        log_width = jnp.log(-jnp.expm1(-2.0 * half * inverse))
        first, last = value == 0, value == self.levels - 1
        log_p = jnp.where(last, 0.0, log_below_top) + jnp.where(first, 0.0, log_above_bottom)
        return log_p + jnp.where(first | last, 0.0, log_width)
