"""Digests."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import training


def test_a_digest_is_of_paths_types_shapes_and_bits():
    base = {"a": {"w": np.zeros((2, 3), np.float32)}, "b": np.ones(2, np.int32)}
    other_order = {"b": jnp.ones(2, jnp.int32), "a": {"w": jnp.zeros((2, 3))}}
    assert training.params_digest(base) == training.params_digest(other_order)
    assert len(training.params_digest(base)) == 64
    others = [
        {"a": {"v": base["a"]["w"]}, "b": base["b"]},
        {"a": {"w": base["a"]["w"].reshape(3, 2)}, "b": base["b"]},
        {"a": {"w": base["a"]["w"].astype(np.int32)}, "b": base["b"]},
        {"a": {"w": -base["a"]["w"]}, "b": base["b"]},
        {"a": base["a"]},
    ]
    digests = {training.params_digest(tree) for tree in (base, *others)}
    assert len(digests) == len(others) + 1
    keys = [training.params_digest({"key": jax.random.key(i)}) for i in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


def test_the_digest_is_the_documented_one():
    tree = {"b": np.arange(3, dtype=np.int32), "a": np.ones((1, 2), np.float32)}
    content = b"a float32 (1, 2)\n" + tree["a"].tobytes() + b"b int32 (3,)\n" + tree["b"].tobytes()
    assert training.params_digest(tree) == hashlib.sha256(content).hexdigest()
