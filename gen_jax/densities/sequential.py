"""What an autoregressive model needs of a density: values drawn one *unit* after another.

A unit is one channel of a pixel (``Bernoulli``, ``Categorical``), or all channels of it
(``LogisticMixture``). A draw is a function of uniform numbers, so that every sampler can be given
the same.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

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
        """Values [*units, n_values] by inverse distribution functions of ``noise`` in (0, 1).

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
        return self.n_outputs  # pyright: ignore[reportAttributeAccessIssue]

    def unit_noise(self, channels: int) -> int:
        del channels
        return 1

    def unit_log_prob(self, outputs: Array, value: Array) -> Array:
        return self.log_prob(outputs, value[..., 0])  # pyright: ignore[reportAttributeAccessIssue]


def categorical(logits: Float[Array, "*dims n"], noise: Float[Array, "*dims"]) -> Array:
    """The index at which the distribution function passes ``noise``."""
    below = jnp.cumsum(jax.nn.softmax(logits), axis=-1)[..., :-1]
    return (below <= noise[..., None]).sum(-1, dtype=jnp.int32)
