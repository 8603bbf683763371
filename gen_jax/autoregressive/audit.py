"""Exact checks that a network is what it claims to be: causal, and a distribution.

    d outputs(p, u) / d x(q, c) = 0, where unit (q, c) is not before unit (p, u)
    outputs(p, u) of x = outputs(p, u) of x', where x and x' agree in all that is before (p, u)
    sum over all images x of p(x) = 1

All are cheap on tiny images, and find what a loss curve hides: a network that sees the pixel that
it predicts has a wonderful likelihood.
"""

import dataclasses
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, UInt8

from gen_jax.autoregressive.network import Network
from gen_jax.autoregressive.objective import log_prob
from gen_jax.images import as_float
from gen_jax.nn.condition import Condition, as_condition
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
    """``sees`` [*space, units, *space, channels]: on which inputs each output unit depends, as its
    gradients have it.

    ``condition_sees`` [*space, units, *condition's space, its channels] says the same of a spatial
    condition; None where there was none.
    """

    sees: Bool[np.ndarray, "*output_then_input"]
    condition_sees: Bool[np.ndarray, "*output_then_condition"] | None = None

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
        """Whether the middle of the last row misses an earlier pixel in the smallest box around
        all that it sees."""
        is_read = self.receptive_field()[..., 0] > 0
        box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(is_read))
        earlier = np.arange(is_read.size) < np.ravel_multi_index(self._default, self._space)
        return bool((earlier.reshape(self._space) & ~is_read)[box].any())

    @property
    def condition_reach(self) -> str:
        """In a sentence: how much of the spatial condition the outputs see."""
        if self.condition_sees is None:
            return "no spatial condition was given"
        n = len(self._space)
        seen = self.condition_sees.any(axis=-1)  # [*space, units, *condition's space]
        size = seen.shape[n + 1 :]
        what, total = "pixels" if n == 2 else "samples", int(np.prod(size))
        counts = seen.reshape(-1, total).sum(axis=1)
        if counts.min() == total:
            return f"every output sees all {total} {what} of the condition"
        few, most = int(counts.min()), int(counts.max())
        number = str(most) if few == most else f"{few} to {most}"
        sentence = f"an output sees {number} of the {total} {what} of the condition"
        if size != self._space or most == 0:
            return sentence
        places = np.argwhere(seen)
        distance = np.abs(places[:, :n] - places[:, n + 1 :]).max()
        return f"{sentence}, none further away than {distance} {what}"

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

    Gradients do not show what is read through a step (rounding, an index, ``stop_gradient``), so
    outputs are compared too: at random levels, each must stay the same to the last bit when its own
    level and all that come after it are changed.

    ``shape`` is an image's, (*space, C); ``cond`` what ``log_prob`` takes, for one example. Both
    checks are without a tolerance, at a few random inputs. They run on the CPU: the fast
    convolutions of other devices may add what a tap does not read, and take it off again. They take
    as many backward and forward passes as the image has units. A spatial condition is watched too:
    the gradients are taken at random conditions around the one given, and the report says how far
    it is seen.

    What is found holds for ``params``: a parameter of zero hides what it would connect, and some
    networks start with such (PixelCNN++'s ``same_pixel``). Draw all of them at random for an audit.

    Raises ``CausalityError`` that names an output and an input that is not before it: of a later
    pixel, or of the same pixel and not of a unit before.
    """
    shape, cpu = tuple(shape), jax.local_devices(backend="cpu")[0]
    with jax.default_device(cpu):
        params, condition = jax.device_put((params, as_condition(cond)), cpu)
        sees, condition_sees = _sees(model, params, shape, condition)
        leaks = sees & ~_before(sees.shape)
        if leaks.any():
            n = sees.ndim // 2 - 1
            first = tuple(int(place) for place in np.argwhere(leaks)[0])
            _raise_leak(_place(first[: n + 1], "unit"), _place(first[n + 1 :], "channel"))
        changes = _changes(model, params, shape, condition)
    if changes.any():
        output = int(changes.any(0).argmax())
        last = int(np.flatnonzero(changes[:, output])[-1])  # with those behind it alone all stays
        by_unit = sees.shape[: sees.ndim // 2]
        _raise_leak(*(_place(_index(unit, by_unit), "unit") for unit in (output, last)))
    return CausalityReport(sees, condition_sees)


def _raise_leak(output: str, seen: str) -> NoReturn:
    raise CausalityError(
        f"the output at {output} depends on the input at {seen}, which is not before it"
    )


def _index(number: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(number, shape))


def _sees(
    model: Any, params: Params, shape: tuple[int, ...], cond: Condition | None
) -> tuple[
    Bool[np.ndarray, "*output_then_input"], Bool[np.ndarray, "*output_then_condition"] | None
]:
    """What the outputs' gradients reach, of the input and of a spatial condition."""
    n, random = len(SCALES), np.random.default_rng(0)
    given = _repeated(cond, n)

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        return np.stack([scale * random.normal(size=shape) for scale in SCALES]).astype(np.float32)

    def network(x: Array, spatial: Array | None) -> Array:
        cond = given if spatial is None else given.replace(spatial=spatial)
        return model.apply({"params": params}, x, cond)

    x, spatial = noise(shape), None if cond is None else given.spatial
    if spatial is not None:
        spatial = as_float(spatial) + noise(spatial.shape[1:])
    _, *by_unit, n_outputs = jax.eval_shape(network, x, spatial).shape
    total = int(np.prod(by_unit))
    chunk = _units_at_once(total, shape)
    # One gradient for all outputs of a unit, weighted at random: no dependence cancels.
    weights = random.normal(size=(n, *(1,) * len(by_unit), n_outputs)).astype(np.float32)

    def some(units: Array) -> Any:
        _, pull = jax.vjp(network, x, spatial)

        def one(unit: Array) -> Any:
            here = jax.nn.one_hot(unit, total).reshape(1, *by_unit, 1)
            return jax.tree.map(
                lambda gradient: (gradient != 0.0).any(axis=0), pull(here * weights)
            )

        return jax.vmap(one)(units)

    chunks = -(-total // chunk)
    found = lax.map(some, jnp.arange(chunks * chunk).reshape(chunks, chunk))

    def of_units(seen: Array) -> np.ndarray:
        in_order = np.asarray(seen).reshape(-1, *seen.shape[2:])[:total]
        return in_order.reshape(*by_unit, *seen.shape[2:])

    return jax.tree.map(of_units, found)


def _changes(
    model: Any, params: Params, shape: tuple[int, ...], cond: Condition | None
) -> Bool[np.ndarray, "units units"]:
    """Whether, with unit i and all after it at other levels, the output of unit j <= i changes."""
    likelihood, n, random = model.likelihood, len(SCALES), np.random.default_rng(0)
    units = likelihood.units(shape[-1])
    total = int(np.prod(shape[:-1])) * units
    number = np.repeat(np.arange(total), shape[-1] // units).reshape(shape)  # each level's unit
    level = random.integers(0, likelihood.levels, (n, *shape))
    other = (level + random.integers(1, likelihood.levels, level.shape)) % likelihood.levels
    chunk = _units_at_once(total, shape)
    cond = _repeated(cond, n * chunk)

    @jax.jit
    def network(params: Params, level: Array, cond: Condition | None) -> Array:
        value = likelihood.quantize(likelihood.to_data(level))
        return model.apply({"params": params}, likelihood.as_input(value), cond)

    def outputs(first: np.ndarray) -> np.ndarray:
        """[chunk, n, units, n_outputs], with the levels from each unit ``first`` on changed."""
        changed = number[None, None] >= first.reshape(-1, *(1,) * (number.ndim + 1))
        levels = np.where(changed, other[None], level[None]).reshape(-1, *shape)
        found = np.asarray(network(params, levels.astype(np.int32), cond))
        return found.reshape(len(first), n, total, -1)

    # One program and, of a batch, one place for what is compared: all is added in the same order.
    unchanged = outputs(np.full(chunk, total))
    rows = []
    for start in range(0, total, chunk):
        first = np.minimum(np.arange(start, start + chunk), total - 1)
        differs = (outputs(first) != unchanged).any((1, 3))
        rows.append(differs & (np.arange(total)[None] <= first[:, None]))
    return np.concatenate(rows)[:total]


def _units_at_once(total: int, shape: tuple[int, ...]) -> int:
    """Of how many units the images fit into one pass."""
    return max(1, min(total, PIXELS_AT_ONCE // (len(SCALES) * int(np.prod(shape[:-1])))))


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
    levels, n_dims = model.likelihood.levels, int(np.prod(shape))
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
