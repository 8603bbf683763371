"""What an autoregressive model needs of a density: values drawn one *unit* after another.

A unit is one channel of a pixel (``Bernoulli``, ``Categorical``), or all channels of it
(``LogisticMixture``). A draw is a function of uniform numbers, so that every sampler can be given
the same.

The samplers' outputs differ by rounding; what they draw should not. So values are drawn *by
halves*: bit by bit, the highest first, each with a uniform number of its own. Between distributions
p and q of total variation distance TV, a bit is the first to differ with a probability of at most

    sum over x of p(x) |p(bit | x) - q(bit | x)| <= 2 TV,  where x are the bits before it.

So values of n bits differ with 2 n TV at most, for two logistics with 1.3 to 2 TV; no way of
drawing does better than TV. The inverse of the distribution function, at one uniform number, pays
for every edge between two values: where a mean shifts by d, it draws another value with
probability d / bin width, and by halves with about d / (2 scale).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from gen_jax.typing import Array, PRNGKey


class Sequential(Protocol):
    """A distribution of discrete values that is drawn unit by unit."""

    @property
    def levels(self) -> int:
        """How many values there are."""
        ...

    def units(self, channels: int) -> int:
        """Units of a pixel of so many channels."""
        ...

    def unit_outputs(self, channels: int) -> int:
        """Raw network outputs a unit."""
        ...

    def unit_noise(self, channels: int) -> int:
        """Uniform numbers that a draw of one unit takes."""
        ...

    def observe(self, key: PRNGKey, image: Array) -> Array:
        """Turns stored data into the values that are scored; ``key`` draws any noise."""
        ...

    def quantize(self, image: Array) -> Array:
        """The same without noise, exact for whatever ``to_data`` returns."""
        ...

    def as_input(self, value: Array) -> Array:
        """Values as floats in [0, 1], which is how a network reads them."""
        ...

    def to_data(self, value: Array) -> Array:
        """Values as they are stored: uint8 pixels, int16 sound."""
        ...

    def unit_log_prob(
        self, outputs: Float[Array, "*units n_outputs"], value: Array
    ) -> Float[Array, "*units"]:
        """Log-probability of the values [*units, n_values] of each unit, in nats."""
        ...

    def draw(
        self,
        outputs: Float[Array, "*units n_outputs"],
        noise: Float[Array, "*units n_noise"],
        *,
        temperature: float | Array = 1.0,
        given: "Given | None" = None,
    ) -> Array:
        """Values [*units, n_values] as uniform ``noise`` in (0, 1) decides.

        ``temperature`` divides logits and multiplies scales; what ``given`` holds fixed is kept,
        and seen by the values of the unit behind it.
        """
        ...


class Given(NamedTuple):
    """Values held fixed where ``mask`` is true, both of the shape of the values drawn."""

    value: Array
    mask: Bool[Array, "*units n_values"]

    def over(self, drawn: Array) -> Array:
        """``drawn``, with what is given put in its place."""
        return jnp.where(self.mask, self.value, drawn)


class ChannelByChannel:
    """A unit is one channel of a pixel; its log-probability is ``log_prob``'s."""

    def units(self, channels: int) -> int:
        return channels

    def unit_outputs(self, channels: int) -> int:
        del channels
        return self.n_outputs  # pyright: ignore[reportAttributeAccessIssue] -- theirs

    def unit_noise(self, channels: int) -> int:
        del channels
        return n_halvings(self.levels)  # pyright: ignore[reportAttributeAccessIssue] -- theirs

    def unit_log_prob(self, outputs: Array, value: Array) -> Array:
        return self.log_prob(outputs, value[..., 0])  # pyright: ignore[reportAttributeAccessIssue] -- theirs


def n_halvings(n: int) -> int:
    """How many times ``n`` values are halved until one is left."""
    return (n - 1).bit_length()


def by_halves(
    noise: Float[Array, "*dims n_bits"], lower_share: Callable[[Array, int], Array]
) -> Int[Array, "*dims"]:
    """Draws 0 .. 2^n_bits - 1 bit by bit, the highest first, each with a number of ``noise``.

    ``lower_share(first, half)`` is the probability of the ``half`` values from ``first`` on,
    among the twice as many from there on.
    """
    value = jnp.zeros(noise.shape[:-1], jnp.int32)
    for bit in range(noise.shape[-1]):
        half = 2 ** (noise.shape[-1] - 1 - bit)
        value += jnp.where(noise[..., bit] < lower_share(value, half), 0, half)
    return value


def categorical(
    logits: Float[Array, "*dims n"], noise: Float[Array, "*dims n_bits"]
) -> Int[Array, "*dims"]:
    """Draws by halves; ``noise`` has ``n_halvings(n)`` numbers a draw."""
    n_bits = noise.shape[-1]
    missing = [(0, 0)] * (logits.ndim - 1) + [(0, 2**n_bits - logits.shape[-1])]
    masses = {1: jnp.pad(jax.nn.softmax(logits), missing)}  # of runs of so many values
    for size in (2**bit for bit in range(n_bits - 1)):
        masses[2 * size] = masses[size].reshape(*logits.shape[:-1], -1, 2).sum(-1)

    def lower_share(first: Array, half: int) -> Array:
        pairs = masses[half].reshape(*logits.shape[:-1], -1, 2)
        which = (first // (2 * half))[..., None, None]
        lower, upper = jnp.unstack(jnp.take_along_axis(pairs, which, axis=-2)[..., 0, :], axis=-1)
        return lower / (lower + upper)

    return by_halves(noise, lower_share)
