"""Queries of a trained VAE: codes, images, the posterior, and walks through the latents.

Each takes ``(model, params, ...)``; images come out as floats in [0, 1] unless stated otherwise.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Float

from gen_jax.images import to_uint8
from gen_jax.interpolation import Path, linear, walk
from gen_jax.latent.vae import VAE, Latents, log_likelihood
from gen_jax.meshes import automatic, batch_spec
from gen_jax.state import example_keys, sample_numbers
from gen_jax.typing import Array, Images, Numbers, Params, PRNGKey


def encode(model: VAE, params: Params, image: Images) -> tuple[Latents, Latents]:
    """Mean and variance of q(z|x), where the encoder reads the expected binarization.

    ``params`` may lack the decoder's.
    """
    x = model.likelihood.expected_input(image)
    posterior: Any = model.apply({"params": params}, x, method="encode")
    mean, log_variance = posterior
    return mean, jnp.exp(log_variance)


def _outputs(model: VAE, params: Params, z: Latents) -> Array:
    outputs: Any = model.apply({"params": params}, z, method="decode")
    return outputs


def decode(
    model: VAE, params: Params, z: Float[Array, "*grid latent"]
) -> Float[Array, "*grid height width channels"]:
    """The expected image of p(x|z) for every latent."""
    mean = model.likelihood.mean(_outputs(model, params, z.reshape(-1, z.shape[-1])))
    return mean.reshape(*z.shape[:-1], *mean.shape[1:])


def sample(
    model: VAE,
    params: Params,
    key: PRNGKey,
    n: int,
    *,
    mean: bool = True,
    numbers: Numbers | None = None,
) -> Images:
    """``n`` images of the model, levels 0..255: p(x|z)'s mean at z ~ p(z), or a draw from p(x|z).

    Image i depends on the key and ``numbers[i]`` (i, unless given) alone: many can be drawn in
    parts, and are spread over devices as their numbers are. Raises ``ValueError`` for other than
    ``n`` numbers.
    """

    def draw(params: Params, key: PRNGKey, numbers: Numbers) -> Images:
        z_key, x_key = jax.random.split(key)
        keys = example_keys(z_key, numbers)
        z = jax.vmap(lambda key: jax.random.normal(key, (model.latent_dim,)))(keys)
        outputs = _outputs(model, params, z)
        if mean:
            return to_uint8(model.likelihood.mean(outputs))
        return jax.vmap(model.likelihood.sample)(example_keys(x_key, numbers), outputs)

    numbers = sample_numbers(n, numbers)
    return automatic(draw, batch_spec(numbers), params, key, numbers)


def _require_plane(model: VAE, what: str) -> None:
    if model.latent_dim != 2:
        raise ValueError(f"{what} is for two-dimensional latents, the model has {model.latent_dim}")


def _square(axis: Float[Array, " size"]) -> Float[Array, "size size 2"]:
    return jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), axis=-1)


def posterior_grid(
    model: VAE, params: Params, x: Array, *, limit: float = 4.0, size: int = 100
) -> Float[Array, "batch size size"]:
    """The exact p(z|x) of a two-dimensional latent on a grid, each example's summing to one.

    ``x`` is what ``observe`` returns, [B, H, W, C]. Element [b, i, j] belongs to
    z = (axis[i], axis[j]) with ``axis = linspace(-limit, limit, size)``. Computed a row of the
    grid at a time. Raises ``ValueError`` unless ``latent_dim`` is 2.
    """
    _require_plane(model, "posterior_grid")
    axis = jnp.linspace(-limit, limit, size)

    def row(z: Float[Array, "size 2"]) -> Float[Array, "size batch"]:
        log_px = log_likelihood(model, _outputs(model, params, z)[:, None], x)
        return log_px + norm.logpdf(z).sum(-1)[:, None]

    log_joint = jnp.moveaxis(jax.lax.map(row, _square(axis)), -1, 0)  # [B, size, size]
    return jax.nn.softmax(log_joint.reshape(-1, size * size)).reshape(log_joint.shape)


def manifold(
    model: VAE, params: Params, size: int
) -> Float[Array, "size size height width channels"]:
    """Expected images over the latent plane, at equal steps of the prior's probability.

    Image [i, j] is at z = (q[i], q[j]), q the Gaussian quantiles of the middles of ``size`` equal
    parts of [0, 1] (Kingma & Welling 2013, appendix A). Raises ``ValueError`` unless
    ``latent_dim`` is 2.
    """
    _require_plane(model, "manifold")
    return decode(model, params, _square(norm.ppf((jnp.arange(size) + 0.5) / size)))


def traversals(
    model: VAE, params: Params, z: Float[Array, " latent"], *, limit: float = 3.0, size: int = 9
) -> Float[Array, "latent size height width channels"]:
    """Expected images as each dimension goes from -limit to limit, the others as in ``z``."""
    steps = jnp.linspace(-limit, limit, size)
    dims = jnp.arange(model.latent_dim)
    swept = jax.vmap(lambda dim: jax.vmap(lambda value: z.at[dim].set(value))(steps))(dims)
    return decode(model, params, swept)


def interpolation(
    model: VAE,
    params: Params,
    start: Latents,
    end: Latents,
    *,
    size: int = 9,
    path: Path = linear,
) -> Float[Array, "batch size height width channels"]:
    """Expected images along ``path`` (``linear`` or ``spherical``) from ``start`` to ``end``."""
    return decode(model, params, walk(start, end, size=size, path=path))
