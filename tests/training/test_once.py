"""What runs once is compiled quickly, and gives what any program of it gives."""

import chex
import jax
import numpy as np
import toy

from gen_jax import training


def test_a_state_is_drawn_as_by_any_other_program():
    start = training.compile_once(lambda key: toy.make_state().replace(key=key))
    chex.assert_trees_all_close(start(jax.random.key(0)).params, toy.make_state().params, atol=1e-6)


def test_its_shapes_are_known_without_compiling_it():
    start = training.compile_once(lambda key, n: jax.random.normal(key, (3,)) * n)
    shape = jax.eval_shape(lambda: start(jax.random.key(0), np.float32(2.0)))
    assert (shape.shape, shape.dtype) == ((3,), np.float32)
