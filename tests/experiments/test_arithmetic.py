"""The arithmetic of a function is that of its products, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.benchmarks import training_cases
from experiments.benchmarks.arithmetic import product_flops
from experiments.benchmarks.training_cases import AutoregressiveCase
from gen_jax.autoregressive import GatedPixelCNN, RowLSTM
from gen_jax.nn.conv import conv


def step_flops(case):
    state = jax.eval_shape(lambda: case.state("float32"))
    return product_flops(case.train_step, state, case.batches(1).batch_at(0))


def test_products_within_loops_branches_and_calls():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    product = 2 * 3 * 4 * 5
    assert product_flops(jnp.matmul, a, b) == product
    assert product_flops(jax.jit(jnp.matmul), a, b) == product

    def scanned(a, b):
        return lax.scan(lambda carry, _: (carry, carry @ b), a, length=7)[1]

    assert product_flops(scanned, a, b) == 7 * product

    def branched(a, b):
        return lax.cond(a.sum() > 0, lambda: a @ b, lambda: jnp.zeros((3, 5)))

    assert product_flops(branched, a, b) == product
    assert product_flops(jax.checkpoint(jnp.matmul), a, b) == product
    batch = np.ones((6, 3, 4), np.float32)
    assert product_flops(jax.vmap(jnp.matmul, (0, None)), batch, b) == 6 * product


@pytest.mark.parametrize("feature_groups", [1, 2])
def test_xlas_convolutions(feature_groups):
    x = np.ones((2, 6, 6, 4), np.float32)
    kernel = np.ones((3, 3, 4 // feature_groups, 8), np.float32)

    def own(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=feature_groups,
        )

    assert product_flops(own, x, kernel) == 2 * 2 * 36 * 9 * 4 * 8 // feature_groups


def test_gradients_of_xlas_strided_convolution_count_no_zeros():
    x, kernel = np.ones((2, 6, 6, 3), np.float32), np.ones((2, 2, 3, 4), np.float32)

    def loss(x, kernel):
        order = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=order)
        return (y**2).sum()

    forward = 2 * 2 * 9 * 4 * 3 * 4
    assert product_flops(loss, x, kernel) == forward
    assert product_flops(jax.grad(loss, (0, 1)), x, kernel) == 3 * forward


def test_a_convolution_and_its_two_gradients_count_alike():
    x, kernel = np.ones((2, 7, 6, 3), np.float32), np.ones((3, 2, 3, 5), np.float32)
    forward = 2 * 2 * (4 * 3) * (3 * 2) * 3 * 5

    def loss(x, kernel):
        return jnp.square(conv(x, kernel, strides=2)).sum()

    assert product_flops(loss, x, kernel) == forward
    assert product_flops(jax.grad(loss, 0), x, kernel) == 2 * forward
    assert product_flops(jax.grad(loss, (0, 1)), x, kernel) == 3 * forward
    one_each = jax.vmap(jax.grad(loss, (0, 1)))
    several = (np.ones((4, *a.shape), np.float32) for a in (x, kernel))
    assert product_flops(one_each, *several) == 4 * 3 * forward


def test_a_dense_step_is_its_matrices_three_times_but_the_first_ones_input_gradient():
    case = training_cases.cases(small=True)["dense-autoencoder"]
    first, others = 784 * 8, 8 * 8 + 8 * 2 + 2 * 8 + 8 * 8 + 8 * 784
    assert step_flops(case) == 2 * case.batch_size * (2 * first + 3 * others)


def test_a_gated_step_is_its_convolutions():
    model = GatedPixelCNN(layers=3, features=32, skip_features=16)
    case = AutoregressiveCase(model, (28, 28, 1), batch_size=2)
    first = 3 * 7 * 64 + 4 * 64  # rows above, pixels to the left
    others = 2 * (2 * 3 * 32 * 64 + 2 * 32 * 64)
    pixelwise = 3 * (64 * 64 + 32 * 48) + 16 * 16 + 16
    assert step_flops(case) == 2 * 2 * 28 * 28 * (2 * first + 3 * (others + pixelwise))


def test_a_recurrent_step_counts_every_row():
    def flops(height):
        model = RowLSTM(layers=1, features=4)
        return step_flops(AutoregressiveCase(model, (height, 6, 1), batch_size=2))

    assert flops(8) == 2 * flops(4)
