"""Random changes of training images that leave their class as it is."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gen_jax import images
from gen_jax.evaluation.resize import bicubic_weights
from gen_jax.state import example_keys, example_numbers
from gen_jax.typing import Array, Images, PRNGKey

ELASTIC_NODES = 6  # of the grid whose random displacements bend an image, along either side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far images are changed at most; without any options they stay as they are.

    ``shift`` is in pixels along either side, ``rotation`` in degrees, ``zoom`` a share of the
    height and of the width, ``elastic`` the standard deviation of a smooth displacement in pixels.
    ``mirror`` flips every other image left to right, and ``tint`` is the standard deviation of the
    logarithm of the factor of each channel. What comes in from outside is ``outside``, in [0, 1].
    """

    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    elastic: float = 0.0
    mirror: bool = False
    tint: float = 0.0
    outside: float = 0.0


def augment(
    key: PRNGKey, image: Images, how: Augmentation, *, axis_name: str | None = None
) -> Float[Array, "batch height width channels"]:
    """Moves, turns, stretches, bends, mirrors and tints each image at random; floats in [0, 1]."""
    height, width, channels = image.shape[1:]
    nodes = min(height, width, ELASTIC_NODES)
    bend = [jnp.asarray(bicubic_weights(nodes, side), jnp.float32) for side in (height, width)]
    place = np.indices((height, width), np.float32)
    centre = np.asarray([height - 1, width - 1], np.float32).reshape(2, 1, 1) / 2.0

    def one(key: PRNGKey, image: Array) -> Array:
        coin, dye = (jax.random.fold_in(key, i) for i in range(2))
        keys = dict(zip(("turn", "zoom", "shift", "bend"), jax.random.split(key, 4), strict=True))
        angle = math.radians(how.rotation) * _symmetric(keys["turn"], ())
        scale = 1.0 + how.zoom * _symmetric(keys["zoom"], (2,))
        if how.mirror:
            scale = scale * jnp.where(jax.random.bernoulli(coin), jnp.asarray([1.0, -1.0]), 1.0)
        moved = how.shift * _symmetric(keys["shift"], (2, 1, 1))
        bent = how.elastic * jax.random.normal(keys["bend"], (2, nodes, nodes))
        bent = jnp.einsum("yi,dij,xj->dyx", bend[0], bent, bend[1])
        turn = jnp.asarray([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        source = jnp.einsum("de,eyx->dyx", turn / scale[None, :], place - centre)
        source = source + centre + moved + bent

        def sample(channel: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(
                channel, list(source), order=1, cval=how.outside
            )

        image = jax.vmap(sample, in_axes=-1, out_axes=-1)(image)
        if how.tint:
            image = image * jnp.exp(how.tint * jax.random.normal(dye, (1, 1, channels)))
            image = jnp.minimum(image, 1.0)
        return image

    keys = example_keys(key, example_numbers(image, axis_name))
    return jax.vmap(one)(keys, images.to_float(image))


def _symmetric(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
