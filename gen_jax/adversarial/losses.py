"""Losses of the two-player game, elementwise on logits, gradient penalties, and distances.

A loss is a pair, what the discriminator and what the generator minimizes. With D(x) =
sigmoid(logit) the probability that x is real:

    minimax, non-saturating   Goodfellow et al. 2014 (1406.2661), section 3
    least squares             Mao et al. 2016 (1611.04076), equations 2 and 9
    hinge                     Lim & Ye 2017 (1705.02894), equations 4 and 5
    Wasserstein               Arjovsky et al. 2017 (1701.07875); its penalty Gulrajani et al. 2017

None overflows at any finite logit, nor do its gradients, but for the square of a least-squares
logit beyond 1e19.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gen_jax.adversarial.inputs import FloatImages
from gen_jax.typing import Array, PerExample, PRNGKeys

Logits = Float[Array, "*batch"]
Discriminate = Callable[[Array], PerExample]  # examples [B, ...] -> logits [B]
Penalty = Callable[[Discriminate, PRNGKeys, Array, Array], PerExample]  # keys, real, generated


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """What each player minimizes, as functions of the discriminator's logits.

    The discriminator's loss is the sum of ``real`` on the logits of real examples and ``fake`` on
    those of generated ones; the generator's is ``generator`` on the latter.
    """

    real: Callable[[Logits], Logits]
    fake: Callable[[Logits], Logits]
    generator: Callable[[Logits], Logits]

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Logits:
        """The discriminator's loss; raises ``ValueError`` unless the shapes are the same."""
        if real_logits.shape != fake_logits.shape:
            raise ValueError(
                f"real and generated logits must pair up, got {real_logits.shape} and "
                f"{fake_logits.shape}"
            )
        return self.real(real_logits) + self.fake(fake_logits)


def _minus_log_sigmoid(logits: Logits) -> Logits:
    return jax.nn.softplus(-logits)


minimax = AdversarialLoss(
    real=_minus_log_sigmoid,
    fake=jax.nn.softplus,
    generator=lambda logits: -jax.nn.softplus(logits),  # log(1 - D(G(z)))
)
"""The value function that the discriminator maximizes and the generator minimizes."""

non_saturating = dataclasses.replace(minimax, generator=_minus_log_sigmoid)
"""The generator maximizes log D(G(z)): the same fixed point, and a gradient where it fails."""

hinge = AdversarialLoss(
    real=lambda logits: jax.nn.relu(1.0 - logits),
    fake=lambda logits: jax.nn.relu(1.0 + logits),
    generator=jnp.negative,
)

wasserstein = AdversarialLoss(real=jnp.negative, fake=lambda logits: logits, generator=jnp.negative)
"""For critics held 1-Lipschitz, by ``wgan_gp`` or spectral norm."""


def least_squares(
    a: float = 0.0, b: float = 1.0, c: float = 1.0, *, scale: float = 0.5
) -> AdversarialLoss:
    """Squared distances of the logits to codes: ``a`` generated, ``b`` real, ``c`` what G aims at.

    The default is the paper's 0-1 coding (equation 9); ``least_squares(-1, 1, 0)`` minimizes
    Pearson's chi-squared divergence (b - c = 1, b - a = 2; equation 8). ``scale`` multiplies the
    squares; CycleGAN's (section 4 there) have no factor of one half.
    """

    def to(code: float) -> Callable[[Logits], Logits]:
        return lambda logits: scale * (logits - code) ** 2

    return AdversarialLoss(real=to(b), fake=to(a), generator=to(c))


def weighted(penalty: Penalty, weight: float) -> Penalty:
    """``penalty`` times ``weight``."""
    return lambda *game: weight * penalty(*game)


def _input_gradient(discriminate: Discriminate, x: Array) -> Float[Array, "batch dims"]:
    """Each example's gradient of its own logit, flattened.

    Where batch norm couples examples it is the gradient of the sum; the penalties' papers use
    networks without it.
    """
    gradient = jax.grad(lambda x: discriminate(x).sum())(x)
    return gradient.reshape(x.shape[0], -1)


def wgan_gp(discriminate: Discriminate, keys: PRNGKeys, real: Array, fake: Array) -> PerExample:
    """(|gradient| - 1)^2 at a random point between each real and generated example.

    Gulrajani et al. 2017 (1704.00028), equation 3, without its weight of 10. ``keys`` [B], one an
    example. Differentiable twice, also where the gradient is zero.
    """
    share = jax.vmap(jax.random.uniform)(keys).reshape(-1, *(1,) * (real.ndim - 1))
    squares = (_input_gradient(discriminate, share * real + (1.0 - share) * fake) ** 2).sum(-1)
    # The norm has no derivative at zero; there the gradient of the penalty is set to zero.
    flat = squares == 0.0
    norm = jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squares)))
    return (norm - 1.0) ** 2


def r1(discriminate: Discriminate, keys: PRNGKeys, real: Array, fake: Array) -> PerExample:
    """Half the squared gradient on real examples (Mescheder et al. 2018, equation 9)."""
    del keys, fake
    return 0.5 * (_input_gradient(discriminate, real) ** 2).sum(-1)


def l1(made: FloatImages, target: FloatImages) -> PerExample:
    """Each image's mean absolute difference, of values in [-1, 1]."""
    return jnp.abs(made - target).mean((1, 2, 3))


def l2(made: FloatImages, target: FloatImages) -> PerExample:
    """Each image's mean squared difference, of values in [-1, 1]."""
    return ((made - target) ** 2).mean((1, 2, 3))
