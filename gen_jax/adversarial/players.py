"""The players of adversarial games: their records, how they begin, and how they are called.

A generator is a linen module called as ``generator(noise, cond, train=...)`` that makes float
images in [-1, 1]; a discriminator is called as ``discriminator(x, cond, train=...)`` and gives
logits, [B] or, where it judges patches, [B, h, w]. ``cond`` is a ``Condition`` or None. Labels
reach networks that have the field ``n_classes``. ``noise`` is latents [B, latent_dim] for a
generator with the field ``latent_dim``; another one gets a key an example, [B], and
draws its own noise from it (dropout, say).
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import optax
from jaxtyping import Float

from gen_jax.images import from_symmetric
from gen_jax.nn.condition import Condition
from gen_jax.state import NetworkState
from gen_jax.typing import Array, Images, Params, PerExample, PRNGKey, PRNGKeys

Prior = Callable[[PRNGKey, tuple[int, ...]], Array]  # key, shape -> latents
Noise = Float[Array, "batch latent"] | PRNGKeys


@flax.struct.dataclass(kw_only=True)
class Players:
    """A generator's and a discriminator's records."""

    generator: NetworkState
    discriminator: NetworkState

    @property
    def params(self) -> Params:
        """Both networks' parameters."""
        return {
            "generator": self.generator.params,
            "discriminator": self.discriminator.params,
        }


def n_classes(model: Any) -> int | None:
    """How many classes a network knows; None where it takes no labels."""
    return getattr(model, "n_classes", None)


def new_players(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    keys: tuple[PRNGKey, PRNGKey],
    generator_inputs: tuple[Any, ...],
    discriminator_inputs: tuple[Any, ...],
    *,
    ema_decay: float | None = None,
) -> Players:
    """Both records before the first update, initialized on the networks' inputs.

    Raises ``ValueError`` where the generator makes images of another shape than the discriminator's
    first input.
    """
    variables: Any = generator.init(keys[0], *generator_inputs, train=False)
    made: Any = jax.eval_shape(lambda: generator.apply(variables, *generator_inputs, train=False))
    wanted = discriminator_inputs[0].shape
    if made.shape != wanted:
        raise ValueError(f"the example's images are {wanted[1:]}, the generator's {made.shape[1:]}")
    judging: Any = discriminator.init(keys[1], *discriminator_inputs, train=False)
    return Players(
        generator=_record(generator, generator_tx, variables, ema_decay),
        discriminator=_record(discriminator, discriminator_tx, judging, None),
    )


def _record(
    model: nn.Module, tx: optax.GradientTransformation, variables: Any, ema_decay: float | None
) -> NetworkState:
    model_state = {name: value for name, value in variables.items() if name != "params"}
    return NetworkState.create(
        model=model, tx=tx, params=variables["params"], model_state=model_state, ema_decay=ema_decay
    )


def play(network: NetworkState, params: Params, *inputs: Any, model_state: Any = None) -> Any:
    """A network's output on a batch in training, and its batch statistics afterwards.

    ``model_state`` takes the place of the record's own, where a second batch follows a first.
    """
    before = network.model_state if model_state is None else model_state
    variables = {"params": params, **before}
    return network.model.apply(variables, *inputs, train=True, mutable=list(before))


def generated(network: NetworkState, noise: Any, cond: Condition | None) -> Images:
    """A trained generator's images, uint8; by averaged parameters where there are any."""
    return from_symmetric(network.model.apply(network.eval_variables, noise, cond, train=False))


def mean_logit(network: NetworkState, x: Array, cond: Condition | None) -> PerExample:
    """A trained discriminator's logit of each image, the mean over its patches."""
    logits: Any = network.model.apply(network.eval_variables, x, cond, train=False)
    return logits.reshape(len(logits), -1).mean(-1)


def draw_noise(generator: Any, prior: Prior, keys: PRNGKeys) -> Noise:
    """What a generator makes images of: a latent from the prior for each key, or the keys."""
    size = getattr(generator, "latent_dim", None)
    return keys if size is None else jax.vmap(lambda key: prior(key, (size,)))(keys)
