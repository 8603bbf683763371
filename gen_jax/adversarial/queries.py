"""Queries of a trained generator: images, walks between them, and sums of their codes.

Each takes the game's state and uses the generator's averaged parameters where it has them, with
its running batch statistics.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gen_jax.adversarial.gan import GANState
from gen_jax.adversarial.inputs import Latents
from gen_jax.adversarial.players import Prior, draw_noise, generated, n_classes
from gen_jax.interpolation import Path, spherical, walk
from gen_jax.meshes import automatic, batch_spec
from gen_jax.nn.condition import Condition, as_condition
from gen_jax.state import example_keys, sample_numbers
from gen_jax.typing import Array, Images, Numbers, PRNGKey

Films = Int[Array, "batch size height width channels"]


def truncated_normal(limit: float) -> Prior:
    """The normal prior with each component drawn from [-limit, limit] (Brock et al. 2018, 3.1).

    Typical images instead of various ones. Raises ``ValueError`` unless ``limit`` is positive.
    """
    if not limit > 0.0:
        raise ValueError(f"latents must be truncated at a positive limit, got {limit}")
    return lambda key, shape: jax.random.truncated_normal(key, -limit, limit, shape)


def generate(state: GANState, z: Latents, cond: Any = None) -> Images:
    """The image of each latent; ``cond`` is anything that ``as_condition`` reads, labels [B] say.

    Raises ``ValueError`` for a condition that the generator does not take, or lacks.
    """
    return generated(state.generator, z, as_condition(cond))


def latents(
    state: GANState,
    key: PRNGKey,
    n: int,
    *,
    prior: Prior | None = None,
    numbers: Numbers | None = None,
) -> Latents:
    """``n`` latents, from the game's prior or from another.

    Latent i depends on the key and ``numbers[i]`` (i, unless given) alone: many can be drawn in
    parts, and are spread over devices as their numbers are. Raises ``ValueError`` unless ``n`` is 1
    or more, and for other than ``n`` numbers.
    """
    keys = example_keys(key, sample_numbers(n, numbers))
    return draw_noise(state.generator.model, state.prior if prior is None else prior, keys)


def sample(
    state: GANState,
    key: PRNGKey,
    n: int,
    *,
    cond: Any = None,
    prior: Prior | None = None,
    numbers: Numbers | None = None,
) -> Images:
    """The images of ``latents``.

    ``cond`` is anything that ``as_condition`` reads. The labels of a generator that knows classes
    go through them in turn, by the images' numbers, unless given.
    """
    numbers = sample_numbers(n, numbers)
    classes = n_classes(state.generator.model)
    condition = as_condition(cond)
    if condition is None and classes is not None:
        condition = Condition(label=numbers % classes)

    def draw(
        state: GANState, key: PRNGKey, numbers: Numbers, condition: Condition | None
    ) -> Images:
        z = latents(state, key, n, prior=prior, numbers=numbers)
        return generate(state, z, condition)

    return automatic(draw, batch_spec(numbers), state, key, numbers, condition)


def interpolation(
    state: GANState,
    start: Latents,
    end: Latents,
    *,
    size: int = 9,
    path: Path = spherical,
    cond: Any = None,
) -> Films:
    """Images along ``path`` from each ``start`` to its ``end``; ``cond`` stays the same."""
    z = walk(start, end, size=size, path=path)
    held = jax.tree.map(lambda x: jnp.repeat(x[:, None], size, axis=1), as_condition(cond))
    return films(state, z, held)


def films(
    state: GANState, z: Float[Array, "batch size latent"], cond: Condition | None = None
) -> Films:
    """Rows of images, of latents in rows; the parts of ``cond`` are [batch, size, ...] as well."""
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (z, cond))
    images = generate(state, *flat)
    return images.reshape(*z.shape[:2], *images.shape[1:])


def arithmetic(
    state: GANState,
    base: Float[Array, "n latent"],
    minus: Float[Array, "m latent"],
    plus: Float[Array, "k latent"],
) -> Images:
    """The images of the mean codes ``base``, ``minus``, ``plus``, and of base - minus + plus, [4].

    Radford et al. 2015 (1511.06434), section 6.3.2: what images share is a direction. The sum of
    means is shorter than a code of the prior; it is not stretched, as they did not.
    """
    means = [codes.mean(0) for codes in (base, minus, plus)]
    return generate(state, jnp.stack([*means, means[0] - means[1] + means[2]]))
