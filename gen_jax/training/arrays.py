"""A training state as named arrays on the host, and back; and the digest of such arrays."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.files import RunError

Arrays = dict[str, Any]  # nested dicts of NumPy arrays


def params_digest(params: Any) -> str:
    """SHA-256 over the bytes of a pytree's leaves, as hex digits.

    Leaves go in the order of their paths; each counts with its path, dtype and shape, a typed key
    with its data. Equal digests mean equal bits.
    """
    sha = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = [("/".join(map(_path_part, path)), leaf) for path, leaf in leaves]
    for name, leaf in sorted(named, key=lambda item: item[0]):
        host = _to_host(leaf)
        sha.update(f"{name} {host.dtype.name} {host.shape}\n".encode())
        sha.update(np.ascontiguousarray(host).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def nested(state: Any) -> Arrays:
    """A state's arrays on the host, as nested dicts."""
    tree: Arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        *parents, name = map(_path_part, path)
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = _to_host(leaf)
    return tree


def filled(template: Any, arrays: Arrays, where: str) -> Any:
    """``template`` with its leaves taken from ``arrays``, bit for bit.

    Raises ``RunError``, with ``where`` for the arrays' origin, unless every leaf is there and fits.
    """
    saved = {
        tuple(map(_path_part, path)): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)
    }
    leaves, tree = jax.tree_util.tree_flatten_with_path(template)
    values, misfits = [], []
    for path, leaf in leaves:
        key = tuple(map(_path_part, path))
        mine, theirs = _stored_form(leaf), saved.pop(key, None)
        if theirs is None:
            misfits.append(f"{'/'.join(key)} is missing")
        elif (theirs.shape, theirs.dtype) != (mine.shape, mine.dtype):
            misfits.append(
                f"{'/'.join(key)} is {theirs.dtype} {list(theirs.shape)} there, "
                f"{mine.dtype} {list(mine.shape)} here"
            )
        else:
            values.append(_like(leaf, theirs))
    misfits += [f"{'/'.join(key)} is not in this one" for key in saved]
    if misfits:
        more = f" (and {len(misfits) - 3} more)" if len(misfits) > 3 else ""
        raise RunError(f"{where} is of another model: {'; '.join(misfits[:3])}{more}")
    return jax.tree_util.tree_unflatten(tree, values)


def _stored_form(leaf: Any) -> Any:
    """Shape and dtype of what a checkpoint holds for a leaf."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, leaf)
    return leaf


def _like(leaf: Any, saved: np.ndarray) -> jax.Array:
    array = jnp.array(saved)  # a copy: a donated buffer must be JAX's own
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        impl = jax.random.key_impl(leaf) if isinstance(leaf, jax.Array) else None
        return jax.random.wrap_key_data(array, impl=impl)
    return array


def _path_part(key: Any) -> str:
    """One step of a leaf's path as text: a dict's key, a field's name, or an index."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    raise TypeError(f"no name for the path entry {key!r}")


def _to_host(leaf: Any) -> np.ndarray:
    """A leaf's bits as a NumPy array; a typed key's data."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)
