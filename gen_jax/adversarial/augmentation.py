"""Random changes of a batch within the compiled step, the same for all images of an example.

Each makes a function ``augment(keys, batch) -> batch`` of typed keys [B], one an example, whose
images stay uint8 (or floats in [-1, 1]) of their size. ``"image"`` and ``"spatial"`` are one scene
and change alike; the domains ``"a"`` and ``"b"`` are two, and change apart.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from gen_jax.images import as_symmetric, from_symmetric
from gen_jax.typing import Array, Batch, PRNGKeys

Change = Callable[[PRNGKeys, Array], Array]  # keys, float images -> float images
SCENES = (("image", "spatial"), ("a",), ("b",))


def jitter(*, enlarge: float = 286 / 256, flip: bool = True) -> Callable[[PRNGKeys, Batch], Batch]:
    """Images enlarged, cropped back to their size at a random place, and mirrored half of the time.

    pix2pix (Isola et al. 2016, appendix 6.2) enlarges 256 pixels to 286. Enlarging is bicubic, and
    levels are rounded. Raises ``ValueError`` for ``enlarge`` below 1.
    """
    if not enlarge >= 1.0:
        raise ValueError(f"jitter enlarges images by 1 or more, got {enlarge}")

    def change(keys: PRNGKeys, x: Array) -> Array:
        batch, *size, channels = x.shape
        larger = [round(enlarge * side) for side in size]
        places, mirrors = (jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in (0, 1))
        if larger != size:
            most = jnp.asarray([big - side for big, side in zip(larger, size, strict=True)])
            starts = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, most + 1))(places)
            x = jax.image.resize(x, (batch, *larger, channels), "cubic")
            crop = jax.vmap(lambda x, at: lax.dynamic_slice(x, (*at, 0), (*size, channels)))
            x = crop(x, starts)
        if flip:
            mirrored = jax.vmap(jax.random.bernoulli)(mirrors)[:, None, None, None]
            x = jnp.where(mirrored, x[:, :, ::-1], x)
        return x

    return lambda keys, batch: _scene_by_scene(change, keys, batch)


def _scene_by_scene(change: Change, keys: PRNGKeys, batch: Batch) -> Batch:
    changed = dict(batch)
    for number, names in enumerate(SCENES):
        scene_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        for name in names:
            if name in batch:
                made = change(scene_keys, as_symmetric(batch[name]))
                stored = batch[name].dtype == jnp.uint8
                changed[name] = from_symmetric(made) if stored else made
    return changed
