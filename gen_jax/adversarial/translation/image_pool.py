"""A buffer of generated images, so that a discriminator also sees what its generator made before.

Shrivastava et al. 2016 (1612.07828), section 2.3; with 50 images CycleGAN's (Zhu et al. 2017,
1703.10593, section 4).
"""

from typing import Self

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from gen_jax.adversarial.inputs import FloatImages
from gen_jax.meshes import gathered, vary_like
from gen_jax.typing import Array, PRNGKey, PRNGKeys


@flax.struct.dataclass
class ImagePool:
    """The images held, of which the first ``count`` are there; the same on all devices."""

    images: Float[Array, "size height width channels"]
    count: Int[Array, ""]

    @classmethod
    def empty(cls, size: int, shape: tuple[int, ...]) -> Self:
        """A pool for ``size`` images of ``shape``; of size 0 it holds none, and changes none."""
        if size < 0:
            raise ValueError(f"the size of a pool must be 0 or more, got {size}")
        return cls(jnp.zeros((size, *shape), jnp.float32), jnp.zeros((), jnp.int32))


def query(
    pool: ImagePool, keys: PRNGKeys, images: FloatImages, *, axis_name: str | None = None
) -> tuple[FloatImages, ImagePool]:
    """What the discriminator sees in place of new ``images``, and the pool after them.

    In the order of the *global* batch, an image that finds room in the pool is stored and returned.
    Of any other, with probability 1/2 an image of the pool, drawn uniformly, is returned and the
    new one takes its place; else the new one is returned. What is drawn for an image depends on its
    key alone. ``axis_name`` is the axis of ``jax.pmap`` or ``jax.shard_map`` that the batch is
    spread over; the pool is the same on all its devices, before and after. Raises ``ValueError``
    for images of another shape or dtype than the pool's.
    """
    size, batch = len(pool.images), len(images)
    if images.shape[1:] != pool.images.shape[1:] or images.dtype != pool.images.dtype:
        raise ValueError(
            f"the pool holds images {pool.images.shape[1:]} of {pool.images.dtype}, "
            f"got {images.shape[1:]} of {images.dtype}"
        )
    if size == 0:
        return images, pool
    new, swaps, places = gathered((images, *draws(keys, size)), axis_name)
    returned, slots, count = _in_turn(pool.count, size, swaps, places)
    if axis_name is not None:
        returned = lax.dynamic_slice_in_dim(returned, lax.axis_index(axis_name) * batch, batch)
    known = jnp.concatenate([pool.images, new])
    return known[returned], ImagePool(known[slots], count)


def draws(keys: PRNGKeys, size: int) -> tuple[Bool[Array, " batch"], Int[Array, " batch"]]:
    """What each key decides once the pool is full: whether to swap an image, and where."""

    def draw(key: PRNGKey) -> tuple[Array, Array]:
        swap, place = jax.random.split(key)
        return jax.random.bernoulli(swap), jax.random.randint(place, (), 0, size)

    return jax.vmap(draw)(keys)


def _in_turn(
    count: Int[Array, ""], size: int, swaps: Bool[Array, " batch"], places: Int[Array, " batch"]
) -> tuple[Int[Array, " batch"], Int[Array, " size"], Int[Array, ""]]:
    """Which images are returned, which ones the pool holds afterwards, and how many.

    They are numbers: those of the pool are 0 to ``size - 1``, new ones follow.
    """

    def one(carry: tuple[Array, Array], image: tuple[Array, Array, Array]):
        (slots, count), (number, swap, place) = carry, image
        full = count == size
        place = jnp.where(full, place, count)
        old = slots[place]
        slots = slots.at[place].set(jnp.where(swap | ~full, number, old))
        return (slots, jnp.minimum(count + 1, size)), jnp.where(swap & full, old, number)

    numbers = size + jnp.arange(len(swaps), dtype=jnp.int32)
    start = vary_like((jnp.arange(size, dtype=jnp.int32), count), (swaps, places, count))
    (slots, count), returned = lax.scan(one, start, (numbers, swaps, places))
    return returned, slots, count
