"""The pool is a plain list of images, gone through in the order of the global batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax.adversarial.translation import image_pool
from gen_jax.adversarial.translation.image_pool import ImagePool
from gen_jax.state import example_keys, example_numbers

SIZE, BATCH, SHAPE, STEPS = 6, 4, (2, 3, 1), 8  # the second batch fills the pool half way


def batches():
    """Images that all differ."""
    return np.arange(STEPS * BATCH * 6, dtype=np.float32).reshape(STEPS, BATCH, *SHAPE) / 7.0


def step_key(step):
    return jax.random.fold_in(jax.random.key(7), step)


def reference():
    """What every batch gives and leaves, image by image."""
    held: list[np.ndarray] = []
    for step, batch in enumerate(batches()):
        keys = example_keys(step_key(step), jnp.arange(BATCH))
        swaps, places = image_pool.draws(keys, SIZE)
        returned = []
        for image, swap, place in zip(batch, swaps, places, strict=True):
            if len(held) < SIZE:
                held.append(image)
                returned.append(image)
            elif swap:
                returned.append(held[place])
                held[place] = image
            else:
                returned.append(image)
        rest = [np.zeros(SHAPE, np.float32)] * (SIZE - len(held))
        yield np.stack(returned), np.stack([*held, *rest]), len(held)


def step(pool, key, images, axis_name=None):
    keys = example_keys(key, example_numbers(images, axis_name))
    return image_pool.query(pool, keys, images, axis_name=axis_name)


def mesh_of(kind):
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


def spread(compiled):
    sharding = NamedSharding(mesh_of(AxisType.Auto), P("data"))
    return lambda pool, key, images: compiled(pool, key, jax.device_put(images, sharding))


def mapped(check_vma):
    return jax.jit(
        jax.shard_map(
            functools.partial(step, axis_name="data"),
            mesh=mesh_of(AxisType.Auto),
            in_specs=(P(), P(), P("data")),
            out_specs=(P("data"), P()),
            check_vma=check_vma,
        )
    )


def by_pmap(pool, key, images):
    function = jax.pmap(
        functools.partial(step, axis_name="data"),
        "data",
        in_axes=(None, None, 0),
        out_axes=(0, None),
        devices=jax.devices()[:2],
    )
    returned, pool = function(pool, key, images.reshape(2, -1, *SHAPE))
    return returned.reshape(images.shape), pool


WAYS = {
    "step by step": step,
    "jit": jax.jit(step),
    "automatic": spread(jax.jit(step)),
    "shard_map": mapped(True),
    "shard_map-unchecked": mapped(False),
    "pmap": by_pmap,
}


def same_bits(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize("way", WAYS)
def test_the_pool_is_that_of_a_plain_list(way):
    pool = ImagePool.empty(SIZE, SHAPE)
    for i, (images, (returned, held, count)) in enumerate(zip(batches(), reference(), strict=True)):
        result, pool = WAYS[way](pool, step_key(i), jnp.asarray(images))
        same_bits(result, returned)
        same_bits(pool.images, held)
        assert int(pool.count) == count


def test_half_of_the_images_are_old_and_every_place_is_drawn():
    size, n = 5, 4000
    keys = jax.random.split(jax.random.key(0), n)
    swaps, places = jax.jit(image_pool.draws, static_argnums=1)(keys, size)
    assert np.mean(swaps) == pytest.approx(0.5, abs=0.03)
    for chosen in (swaps, ~swaps):  # one says nothing about the other
        share = np.bincount(places[chosen], minlength=size) / chosen.sum()
        np.testing.assert_allclose(share, 1 / size, atol=0.03)


def test_a_pool_of_no_images_changes_none():
    pool, images = ImagePool.empty(0, SHAPE), jnp.asarray(batches()[0])
    returned, after = jax.jit(step)(pool, jax.random.key(0), images)
    np.testing.assert_array_equal(returned, images)
    assert after.images.shape == (0, *SHAPE)
    assert int(after.count) == 0


def test_a_batch_larger_than_the_pool():
    pool, images = ImagePool.empty(3, SHAPE), jnp.asarray(batches().reshape(-1, *SHAPE))
    returned, pool = jax.jit(step)(pool, jax.random.key(0), images)
    np.testing.assert_array_equal(returned[:3], images[:3])
    seen = np.concatenate([returned, pool.images])[:, 1, 2, 0]
    # Each image is returned once, or held, or both: the first time that it is new.
    assert set(seen) == set(np.asarray(images)[:, 1, 2, 0])
    assert int(pool.count) == 3


def test_sizes_and_images_that_do_not_fit():
    with pytest.raises(ValueError, match="size of a pool must be 0 or more, got -1"):
        ImagePool.empty(-1, SHAPE)
    for images in (jnp.zeros((2, 3, 3, 1)), jnp.zeros((2, *SHAPE), jnp.uint8)):
        with pytest.raises(ValueError, match=r"holds images \(2, 3, 1\) of float32, got \("):
            step(ImagePool.empty(SIZE, SHAPE), jax.random.key(0), images)
