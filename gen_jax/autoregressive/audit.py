"""Proofs that a network is what it claims to be: causal, and a distribution.

    d outputs(p, u) / d x(q, c) = 0 exactly, where unit (q, c) is not before unit (p, u)
    sum over all images x of p(x) = 1

Both are cheap on tiny images, and both find what a loss curve hides: a network that sees the
pixel that it predicts has a wonderful likelihood.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, UInt8

from gen_jax.autoregressive.network import Network
from gen_jax.autoregressive.objective import log_prob
from gen_jax.nn.causal import Condition, as_condition
from gen_jax.typing import Array, Params

Position = tuple[int, ...]

# Random inputs of these scales: a ReLU that is closed for one is open for another.
SCALES = (0.5, 1.0, 2.0, 4.0)
PIXELS_AT_ONCE = 2**17  # of all images that a pass reads, which bounds the memory
IMAGES_AT_ONCE = 2**10
MOST_IMAGES = 2**20


# What each output sees


class CausalityError(ValueError):
    """An output depends on an input that is not before it."""


@dataclasses.dataclass(frozen=True, eq=False)
class CausalityReport:
    """``sees`` [*space, units, *space, channels]: on which inputs each output unit depends."""

    sees: Bool[np.ndarray, "*output_then_input"]

    def receptive_field(self, position: Position | None = None) -> UInt8[np.ndarray, "*space 1"]:
        """A picture of the pixels that the units at ``position`` see: 255 seen, 0 not, and 128
        the pixel itself.

        By default the middle of the last row (in sound the last sample): what a network cannot
        see shows there. Raises ``ValueError`` for a position outside.
        """
        space = self._space
        position = self._default if position is None else tuple(position)
        inside = len(position) == len(space) and all(
            0 <= place < size for place, size in zip(position, space, strict=True)
        )
        if not inside:
            raise ValueError(f"position must lie in an image of {space}, got {position}")
        seen = self.sees[position].any(axis=(0, -1))
        picture = np.where(seen, 255, 0).astype(np.uint8)
        picture[position] = 128
        return picture[..., None]

    @property
    def blind_spot(self) -> bool:
        """Whether the middle of the last row overlooks an earlier pixel in the smallest box around
        all that it sees."""
        looked_at = self.receptive_field()[..., 0] > 0
        box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(looked_at))
        earlier = np.arange(looked_at.size) < np.ravel_multi_index(self._default, self._space)
        return bool((earlier.reshape(self._space) & ~looked_at)[box].any())

    @property
    def _space(self) -> tuple[int, ...]:
        return self.sees.shape[: self.sees.ndim // 2 - 1]

    @property
    def _default(self) -> Position:
        *last, width = self._space
        return (*(size - 1 for size in last), width // 2 if last else width - 1)


def check_causality(
    model: Network, params: Params, shape: tuple[int, ...], *, cond: Any = None
) -> CausalityReport:
    """Finds by exact gradients which inputs each output depends on, and raises on a leak.

    ``shape`` is an image's, (*space, C); ``cond`` what ``log_prob`` takes, for one example. The
    test is for exact zeros, without a tolerance, at a few random inputs. It runs on the
    CPU: the fast convolutions of other devices may add what a tap does not read, and take it off
    again. It takes as many backward passes as the image has units.

    Raises ``CausalityError`` that names an output and an input that is not before it: of a later
    pixel, or of the same pixel and not of a unit before.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        sees = _sees(model, params, tuple(shape), as_condition(cond))
    report = CausalityReport(sees)
    leaks = sees & ~_before(sees.shape)
    if leaks.any():
        n = sees.ndim // 2 - 1
        first = tuple(int(place) for place in np.argwhere(leaks)[0])
        output, seen = _place(first[: n + 1], "unit"), _place(first[n + 1 :], "channel")
        raise CausalityError(
            f"the output at {output} depends on the input at {seen}, which is not before it"
        )
    return report


def _sees(
    model: Any, params: Params, shape: tuple[int, ...], cond: Condition | None
) -> Bool[np.ndarray, "*output_then_input"]:
    n, random = len(SCALES), np.random.default_rng(0)
    params, cond = jax.device_put((params, _repeated(cond, n)), jax.local_devices(backend="cpu")[0])
    x = np.stack([scale * random.normal(size=shape) for scale in SCALES]).astype(np.float32)

    def network(x: Array) -> Array:
        return model.apply({"params": params}, x, cond)

    _, *by_unit, n_outputs = jax.eval_shape(network, x).shape
    total = int(np.prod(by_unit))
    chunk = max(1, min(total, PIXELS_AT_ONCE // (n * int(np.prod(shape[:-1])))))
    # One gradient for all outputs of a unit, weighted at random: no dependence cancels.
    weights = random.normal(size=(n, *(1,) * len(by_unit), n_outputs)).astype(np.float32)

    def some(units: Array) -> Array:
        _, pull = jax.vjp(network, x)

        def one(unit: Array) -> Array:
            here = jax.nn.one_hot(unit, total).reshape(1, *by_unit, 1)
            (gradient,) = pull(here * weights)
            return (gradient != 0.0).any(axis=0)

        return jax.vmap(one)(units)

    chunks = -(-total // chunk)
    sees = lax.map(some, jnp.arange(chunks * chunk).reshape(chunks, chunk))
    return np.asarray(sees).reshape(-1, *shape)[:total].reshape(*by_unit, *shape)


def _before(shape: tuple[int, ...]) -> Bool[np.ndarray, "*output_then_input"]:
    """Where the input is before the output: of an earlier pixel, or of the same and an earlier
    unit."""
    n = len(shape) // 2 - 1
    pixels, units, channels = int(np.prod(shape[:n])), shape[n], shape[-1]
    unit_of = np.arange(channels) * units // channels
    output = np.arange(pixels * units).reshape(pixels, units, 1, 1)
    number = np.arange(pixels)[:, None] * units + unit_of
    return (number < output).reshape(shape)


def _place(index: tuple[int, ...], last: str) -> str:
    """Such as "row 1, column 2, channel 0"."""
    names = ["row", "column"] if len(index) == 3 else ["position"]
    return ", ".join(f"{name} {i}" for name, i in zip([*names, last], index, strict=True))


def _repeated(cond: Condition | None, n: int) -> Any:
    """The condition of one example, for ``n``."""
    for leaf in jax.tree.leaves(cond):
        if leaf.shape[0] != 1:
            raise ValueError(f"the condition must be for 1 example, got {leaf.shape[0]}")
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, n, axis=0), cond)


# What all probabilities sum to


def check_normalized(
    model: Network,
    params: Params,
    shape: tuple[int, ...],
    *,
    cond: Any = None,
    atol: float = 1e-4,
) -> float:
    """Sums the probabilities of all images of a tiny shape (*space, C), in float64.

    Returns the sum; ``cond`` is what ``log_prob`` takes, for one example. Raises ``ValueError``
    where the sum is not 1 within ``atol``, or there are more than 2^20 images.
    """
    levels = getattr(model.likelihood, "levels", 2)  # a Bernoulli has two, and says so nowhere
    n_dims = int(np.prod(shape))
    total = levels**n_dims
    if total > MOST_IMAGES:
        raise ValueError(
            f"only {MOST_IMAGES} images or fewer can be summed over, got {levels}^{n_dims} of "
            f"shape {tuple(shape)}"
        )
    chunk = min(total, IMAGES_AT_ONCE)
    condition = _repeated(as_condition(cond), chunk)
    places = jnp.asarray(levels ** np.arange(n_dims)[::-1], jnp.int32)

    def some(numbers: Array) -> Array:
        value = numbers[:, None] // places[None] % levels
        images = model.likelihood.to_data(value.reshape(chunk, *shape))
        return log_prob(model, params, images, cond=condition)

    chunks = -(-total // chunk)
    log_p = lax.map(some, jnp.arange(chunks * chunk, dtype=jnp.int32).reshape(chunks, chunk))
    log_p = np.asarray(log_p, np.float64).reshape(-1)[:total]
    summed = float(np.exp(log_p).sum())
    if not abs(summed - 1.0) <= atol:
        raise ValueError(
            f"the probabilities of all {total} images must sum to 1 within {atol}, got {summed:.6f}"
        )
    return summed
