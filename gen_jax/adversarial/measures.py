"""What is measured of a game while it is played: how well D knows the images, how much G varies."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float

from gen_jax.adversarial.inputs import FloatImages
from gen_jax.meshes import mean_over_devices
from gen_jax.typing import Array, Metrics

Logits = Float[Array, "batch *patches"]


def mean_where(
    counted: Bool[Array, "#batch *#patches"], logits: Logits, axis_name: str | None = None
) -> Array:
    """The mean of the logits that are counted, of the global batch; 0 where none is."""
    found = jnp.where(counted, logits, 0.0).mean(), jnp.broadcast_to(counted, logits.shape).mean()
    total, share = mean_over_devices(found, axis_name)
    return total / jnp.maximum(share, 1e-12)


def separation(real_logits: Logits, fake_logits: Logits, axis_name: str | None = None) -> Array:
    """The share of logits on their side of the midpoint of both means.

    1 where D separates real from generated images perfectly, 1/2 where not at all, whatever the
    scale of its logits. A logit at the midpoint counts half.
    """
    midpoint = 0.5 * mean_over_devices(real_logits.mean() + fake_logits.mean(), axis_name)
    sides = jnp.sign(real_logits - midpoint).mean() + jnp.sign(midpoint - fake_logits).mean()
    return 0.5 + 0.25 * mean_over_devices(sides, axis_name)


def of_batch(real: FloatImages, made: FloatImages, axis_name: str | None = None) -> Metrics:
    """``diversity`` as a metric, where the global batch has two images or more to differ."""
    n = len(made) * (1 if axis_name is None else lax.axis_size(axis_name))
    return {"diversity": diversity(real, made, axis_name)} if n > 1 else {}


def diversity(real: FloatImages, fake: FloatImages, axis_name: str | None = None) -> Array:
    """The root mean squared deviation of pixels over the generated batch, over the real one's."""

    def deviation(x: Array) -> Array:
        moments = mean_over_devices((x.mean(0), (x**2).mean(0)), axis_name)
        return jnp.sqrt(jnp.maximum(moments[1] - moments[0] ** 2, 0.0).mean())

    return deviation(fake) / jnp.maximum(deviation(real), 1e-12)
