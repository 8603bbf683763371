"""Stored numbers to levels and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.densities import Linear, MuLaw, Pixels

STORED = {
    Pixels(): np.arange(256).astype(np.uint8),
    Linear(): np.arange(-(2**15), 2**15).astype(np.int16),
    MuLaw(): np.arange(-(2**15), 2**15).astype(np.int16),
}


@pytest.mark.parametrize("levels", [2, 3, 5, 130, 200, 256])
@pytest.mark.parametrize("encoding", STORED, ids=repr)
def test_levels_survive_being_stored(encoding, levels):
    value = jnp.arange(levels)
    data = encoding.to_data(value, levels)
    assert data.dtype == STORED[encoding].dtype
    np.testing.assert_array_equal(encoding.quantize(data, levels), value)
    assert (np.diff(data.astype(np.int32)) > 0).all()


@pytest.mark.parametrize("levels", [2, 7, 256])
@pytest.mark.parametrize("encoding", STORED, ids=repr)
def test_every_stored_number_has_a_level_and_order_is_kept(encoding, levels):
    value = np.asarray(encoding.quantize(jnp.asarray(STORED[encoding]), levels))
    assert (value[0], value[-1]) == (0, levels - 1)
    assert set(np.diff(value)) <= {0, 1}


def test_pixels_span_black_to_white():
    for levels in (2, 3, 200):
        data = Pixels().to_data(jnp.array([0, levels - 1]), levels)
        np.testing.assert_array_equal(data, [0, 255])


def test_mu_law_is_that_of_the_paper_and_fine_where_it_is_quiet():
    data = STORED[MuLaw()]
    x = data / 2**15
    companded = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    value = np.asarray(MuLaw().quantize(jnp.asarray(data), 256))
    assert np.abs(value + 0.5 - (companded + 1) * 128).max() <= 0.51
    back = np.asarray(MuLaw().to_data(jnp.asarray(value), 256)) / 2**15
    error = np.abs(back - x)
    half_a_bin = np.log(256) / 255 / 256 * (1 + 255 * 0.01)  # where |x| is 0.01
    assert error[np.abs(x) < 0.01].max() < half_a_bin + 2**-15
    assert error.max() < 0.025


@pytest.mark.parametrize(
    ("encoding", "levels", "most"),
    [(Pixels(), 1, 256), (Pixels(), 257, 256), (Linear(), 2**15, 2**14), (MuLaw(), 0, 256)],
)
def test_levels_that_cannot_be_are_refused(encoding, levels, most):
    with pytest.raises(ValueError, match=rf"levels must lie in 2..{most}, got {levels}"):
        encoding.check(levels)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.int16], ids=str)
@pytest.mark.parametrize("encoding", STORED, ids=repr)
def test_only_numbers_of_the_stored_dtype_have_levels(encoding, dtype):
    data = jnp.zeros(3, dtype)
    if data.dtype == STORED[encoding].dtype:
        assert encoding.quantize(data, 4).dtype == jnp.int32
        return
    wanted = STORED[encoding].dtype
    with pytest.raises(ValueError, match=rf"must be {wanted}.*, got {data.dtype}$"):
        encoding.quantize(data, 4)
