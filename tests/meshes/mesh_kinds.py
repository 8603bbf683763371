"""The kinds of mesh that every model is tried on."""

import functools

import jax
from jax.sharding import NamedSharding, PartitionSpec

from gen_jax import training

AXIS = "data"


# The kinds of mesh. Each makes of a function of (replicated, spread) one that runs over n devices:
# ``reduced`` says that its results are the same on all of them, else they are spread as well.


def _placed(compiled, mesh):
    def run(replicated, spread):
        return compiled(
            jax.device_put(replicated, NamedSharding(mesh, PartitionSpec())),
            jax.device_put(spread, NamedSharding(mesh, PartitionSpec(AXIS))),
        )

    return run


def automatic(function, n, *, reduced):
    mesh = training.make_mesh(jax.devices()[:n])
    return _placed(jax.jit(function), mesh)


def explicit(function, n, *, reduced):
    mesh = jax.make_mesh((n,), (AXIS,), devices=jax.devices()[:n])
    return _placed(jax.jit(function), mesh)


def shard_map(function, n, *, reduced, check_vma):
    mesh = jax.make_mesh((n,), (AXIS,), devices=jax.devices()[:n])
    mapped = jax.shard_map(
        functools.partial(function, axis_name=AXIS),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec() if reduced else PartitionSpec(AXIS),
        check_vma=check_vma,
    )
    return _placed(jax.jit(mapped), mesh)


def pmap(function, n, *, reduced):
    mapped = jax.pmap(
        functools.partial(function, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None if reduced else 0,
        devices=jax.devices()[:n],
    )

    def run(replicated, spread):
        out = mapped(replicated, jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), spread))
        return out if reduced else jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

    return run


MESHES = {
    "automatic": automatic,
    "explicit": explicit,
    "pmap": pmap,
    "shard_map": functools.partial(shard_map, check_vma=True),
    "shard_map-unchecked": functools.partial(shard_map, check_vma=False),
}
