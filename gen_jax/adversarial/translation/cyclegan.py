"""CycleGAN (Zhu et al. 2017, 1703.10593): translation between two sets of images without pairs.

    L(G, F, D_A, D_B) = L_GAN(G, D_B) + L_GAN(F, D_A) + lambda L_cycle(G, F)
    L_cycle = E|F(G(a)) - a| + E|G(F(b)) - b|                                (equations 2 and 3)

with G from domain A to B, ``forward``, and F back, ``backward``. The adversarial losses are least
squares; lambda is 10; an identity term E|G(b) - b| + E|F(a) - a| of weight lambda / 2 keeps
colours (section 5.2). As in the authors' code both generators are updated first, then the
discriminators, whose losses are halved, on generated images out of a buffer (``image_pool``).
Labels to photographs of Cityscapes score 0.52 per-pixel accuracy, 0.17 per-class accuracy and 0.11
class IoU (table 2). Networks are those of ``translation.networks``, or any that ``players``
describes: a generator gets its source as ``cond.spatial`` and no noise, a discriminator no
condition.
"""

import dataclasses
import functools
from typing import Any, Literal, get_args

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int

from gen_jax.adversarial import gan, losses, measures
from gen_jax.adversarial.gan import Augment
from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.losses import AdversarialLoss, l1
from gen_jax.adversarial.players import Players, generated, mean_logit, new_players, play
from gen_jax.adversarial.translation import image_pool
from gen_jax.adversarial.translation.image_pool import ImagePool
from gen_jax.images import as_symmetric
from gen_jax.meshes import (
    automatic,
    batch_spec,
    evaluation_step,
    mean_gradients,
    mean_over_devices,
    per_device,
    training_step,
)
from gen_jax.nn.condition import Condition
from gen_jax.state import NetworkState, example_keys, example_numbers, named_keys
from gen_jax.typing import Array, Batch, Images, Metrics, Params, PRNGKey

Direction = Literal["forward", "backward"]
SQUARES = losses.least_squares(scale=1.0)


@flax.struct.dataclass(kw_only=True)
class CycleGANState:
    """Both games, and the images that their discriminators remember.

    ``forward`` holds G, which makes images of B, and D_B, ``backward`` F and D_A.
    """

    step: Int[Array, ""]
    forward: Players
    backward: Players
    made_b: ImagePool
    made_a: ImagePool
    key: PRNGKey

    @property
    def params(self) -> Params:
        """All four networks' parameters."""
        return {"forward": self.forward.params, "backward": self.backward.params}


def init(
    generators: tuple[nn.Module, nn.Module],
    discriminators: tuple[nn.Module, nn.Module],
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: PRNGKey,
    batch: Batch,
    *,
    pool_size: int = 50,
    ema_decay: float | None = None,
) -> CycleGANState:
    """Draws all parameters; ``batch`` is one to train on, or of the same shapes.

    Of each pair the first is for translations from A to B. ``pool_size`` is the number of generated
    images of each domain that are remembered; ``ema_decay`` averages the generators' parameters.
    Raises ``ValueError`` where a generator makes images of another shape than its domain's.
    """
    g_key, f_key, b_key, a_key, state_key = jax.random.split(key, 5)
    a, b = (as_symmetric(jnp.asarray(batch[side])[:1]) for side in ("a", "b"))

    def players(i: int, keys: tuple[PRNGKey, PRNGKey], source: Array, target: Array) -> Players:
        return new_players(
            generators[i],
            discriminators[i],
            generator_tx,
            discriminator_tx,
            keys,
            (None, Condition(spatial=source)),
            (target, None),
            ema_decay=ema_decay,
        )

    return CycleGANState(
        step=jnp.zeros((), jnp.int32),
        forward=players(0, (g_key, b_key), a, b),
        backward=players(1, (f_key, a_key), b, a),
        made_b=ImagePool.empty(pool_size, b.shape[1:]),
        made_a=ImagePool.empty(pool_size, a.shape[1:]),
        key=state_key,
    )


def generators_loss(
    params: tuple[Params, Params],
    state: CycleGANState,
    a: FloatImages,
    b: FloatImages,
    *,
    loss: AdversarialLoss,
    cycle_weight: float,
    identity_weight: float,
) -> tuple[Array, tuple[Any, Any, Metrics]]:
    """What both generators minimize; the images [B, ...] made of b and of a; their batch
    statistics; and metrics.

    ``params`` are G's and F's; no gradient reaches the discriminators.
    """
    games = state.forward, state.backward
    kept = [game.generator.model_state for game in games]

    def translated(i: int, source: FloatImages) -> FloatImages:
        generator, cond = games[i].generator, Condition(spatial=source)
        made, kept[i] = play(generator, params[i], None, cond, model_state=kept[i])
        return made

    sources, targets = (a, b), (b, a)
    made = [translated(i, sources[i]) for i in (0, 1)]
    total, metrics = jnp.zeros(()), {}
    for i, name in enumerate(("forward", "backward")):
        discriminator = games[i].discriminator
        fixed = jax.lax.stop_gradient(discriminator.params)
        logits, _ = play(discriminator, fixed, made[i], None)
        terms = {
            "generator/loss": loss.generator(logits).mean(),
            "cycle": cycle_weight * l1(translated(1 - i, made[i]), sources[i]).mean(),
        }
        if identity_weight > 0.0:
            terms["identity"] = identity_weight * l1(translated(i, targets[i]), targets[i]).mean()
        total += sum(terms.values())
        metrics |= {f"{name}/{term}": value for term, value in terms.items()}
    return total, (tuple(made), tuple(kept), metrics)


@training_step
def train_step(
    state: CycleGANState,
    batch: Batch,
    *,
    loss: AdversarialLoss = SQUARES,
    cycle_weight: float = 10.0,
    identity_weight: float = 5.0,
    augment: Augment | None = None,
    axis_name: str | None = None,
) -> tuple[CycleGANState, Metrics]:
    """One update of both generators, then one of both discriminators.

    Reads ``batch["a"]`` and ``batch["b"]`` (uint8; or floats in [-1, 1]), which are not paired.
    An ``identity_weight`` above 0 needs domains with the same number of channels. ``augment``
    changes the batch first, by a key for each example.

    Metrics of each game, below ``forward/`` and ``backward/``: ``generator/loss`` (adversarial),
    ``cycle`` and ``identity`` (weighted; of the images that it starts from), and those of
    ``gan.train_step``. The discriminators see images out of the buffer, so ``generated/logit`` and
    ``separation`` are of those.
    """
    keys = named_keys(state.key, state.step, "augment", "forward", "backward")
    batch = gan.augmented(batch, keys["augment"], augment, axis_name)
    a, b = as_symmetric(batch["a"]), as_symmetric(batch["b"])
    numbers = example_numbers(a, axis_name)

    own_loss = functools.partial(
        generators_loss,
        state=state,
        a=a,
        b=b,
        loss=loss,
        cycle_weight=cycle_weight,
        identity_weight=identity_weight,
    )
    params = state.forward.generator.params, state.backward.generator.params
    grads, (made, kept, metrics) = jax.grad(own_loss, has_aux=True)(per_device(params, axis_name))
    grads, kept, metrics = mean_over_devices((grads, kept, metrics), axis_name)

    players, pools = [], []
    games = (
        ("forward", state.forward, b, state.made_b),
        ("backward", state.backward, a, state.made_a),
    )
    for i, (name, game, real, pool) in enumerate(games):
        own_keys = example_keys(keys[name], numbers)
        shown, pool = image_pool.query(pool, own_keys, made[i], axis_name=axis_name)
        discriminator, found = discriminator_update(
            game.discriminator, real, shown, loss=loss, axis_name=axis_name
        )
        found["generator/gradient"] = optax.tree.norm(grads[i])
        found |= measures.of_batch(real, made[i], axis_name)
        metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
        generator = game.generator.apply_gradients(grads[i], model_state=kept[i])
        players.append(Players(generator=generator, discriminator=discriminator))
        pools.append(pool)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        forward=players[0],
        backward=players[1],
        made_b=pools[0],
        made_a=pools[1],
    )
    return state, metrics


def discriminator_update(
    discriminator: NetworkState,
    real: FloatImages,
    shown: FloatImages,
    *,
    loss: AdversarialLoss,
    axis_name: str | None = None,
) -> tuple[NetworkState, Metrics]:
    """One update on real images and those out of the buffer, whose loss is halved."""

    def own_loss(params: Params) -> tuple[Array, tuple[Any, Metrics]]:
        pair = gan.real_and_generated({"image": real}, None, shown, weight=0.5)
        return gan.discriminator_loss(params, discriminator, pair, loss=loss, axis_name=axis_name)

    grads, _, (model_state, metrics) = mean_gradients(own_loss, discriminator.params, axis_name)
    metrics["discriminator/gradient"] = optax.tree.norm(grads)
    return discriminator.apply_gradients(grads, model_state=model_state), metrics


@evaluation_step
def eval_step(state: CycleGANState, batch: Batch) -> Metrics:
    """Each example's ``a/cycle`` and ``b/cycle``, the distance of 255 levels to itself there and
    back, and ``forward/logit`` and ``backward/logit``, D's mean logit of the real image, [B]."""
    metrics = {}
    ways: tuple[tuple[Direction, str, str], ...] = ("forward", "a", "b"), ("backward", "b", "a")
    for name, source, target in ways:
        _, again = cycle(state, batch[source], name)
        metrics[f"{source}/cycle"] = 127.5 * l1(as_symmetric(again), as_symmetric(batch[source]))
        discriminator = getattr(state, name).discriminator
        metrics[f"{name}/logit"] = mean_logit(discriminator, as_symmetric(batch[target]), None)
    return metrics


def translate(state: CycleGANState, source: Images, direction: Direction = "forward") -> Images:
    """Sources [B, H, W, C], of any size that the generator takes, translated to the other domain.

    ``direction`` is ``"forward"``, from A to B, or ``"backward"``. Averaged parameters are used
    where there are any. Raises ``ValueError`` for another direction.
    """
    if direction not in get_args(Direction):
        raise ValueError(f'the direction is "forward" or "backward", got {direction!r}')

    def made(generator: NetworkState, source: Images) -> Images:
        return generated(generator, None, Condition(spatial=source))

    players: Players = getattr(state, direction)
    return automatic(made, batch_spec(source), players.generator, source)


def cycle(
    state: CycleGANState, source: Images, direction: Direction = "forward"
) -> tuple[Images, Images]:
    """Sources translated, and translated back."""
    made = translate(state, source, direction)
    return made, translate(state, made, "backward" if direction == "forward" else "forward")
