"""What a trained VAE's report shows: reconstructions, the latent plane, and walks through it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import data, images, latent, reporting, training
from gen_jax.state import TrainState
from gen_jax.typing import Params


@jax.jit
def encode(state: TrainState, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of q(z|x)."""
    return latent.encode(state.model, state.eval_params, image)


def asked(state: TrainState, query: Callable[..., Any], *args: Any, **options: Any) -> jax.Array:
    """What a query of the model says: ``query(model, params, *args, **options)``, compiled."""

    def run(params: Params, *args: Any) -> Any:
        return query(state.model, params, *args, **options)

    return training.compile_once(run)(state.eval_params, *args)


def drawn(state: TrainState, query: Callable[..., Any], *args: Any, **options: Any) -> np.ndarray:
    """The images that a query gives, uint8."""
    return np.asarray(asked(state, lambda *every: images.to_uint8(query(*every, **options)), *args))


def add_pictures(state: TrainState, run_dir: Path, *, test: data.Dataset) -> None:
    """Adds reconstructions, the latent space, and walks through it to the run's report."""
    x = data.some(test, 16)["image"]
    mean, _ = encode(state, x)
    add_reconstructions(x, drawn(state, latent.decode, mean), run_dir)
    if state.model.latent_dim == 2:
        add_plane(state, test, run_dir)
    sweep = drawn(state, latent.traversals, mean[0])
    reporting.add_picture(
        run_dir,
        "traversals",
        images.grid(flat(sweep), columns=sweep.shape[1]),
        title="Traversals",
        caption="Each row moves one latent dimension from −3 to 3, the others as encoded from the "
        "first test image.",
    )
    pairs = min(5, len(mean) // 2)
    if not pairs:
        return
    walks = drawn(state, latent.interpolation, mean[:pairs], mean[-pairs:])
    reporting.add_picture(
        run_dir,
        "interpolations",
        images.grid(flat(walks), columns=walks.shape[1]),
        title="Interpolations",
        caption="Straight lines in the latent space between pairs of encoded test images.",
    )


def add_reconstructions(x: np.ndarray, after: np.ndarray, run_dir: Path) -> None:
    """Adds up to 16 images with what became of each below, both uint8."""
    half = (len(x) + 1) // 2
    rows = [x[:half], after[:half], x[half:], after[half:]]
    if len(x) % 2:  # the last rows are one short
        rows = [x, after]
        half = len(x)
    reporting.add_picture(
        run_dir,
        "reconstructions",
        images.grid(np.concatenate(rows), columns=half),
        title="Reconstructions",
        caption="Rows of test images, each with its reconstruction below.",
    )


def add_plane(state: TrainState, test: data.Dataset, run_dir: Path) -> None:
    """Adds what only a two-dimensional latent can show: manifold, posterior, and codes."""
    sheet = drawn(state, latent.manifold, size=20)
    # Rows from the top: the second latent falls, as on a plot's axis.
    sheet = sheet.swapaxes(0, 1)[::-1]
    reporting.add_picture(
        run_dir,
        "manifold",
        images.grid(flat(sheet), columns=sheet.shape[1], gap=0),
        title="The learned manifold",
        caption="Decoded points of the latent plane, at equal steps of the prior's probability "
        "(through the Gaussian's inverse CDF).",
    )
    codes = data.some(test, 5000)
    mean, _ = encode(state, codes["image"])
    if "label" in codes:
        reporting.add_picture(
            run_dir,
            "codes",
            reporting.plots.latent_scatter(
                np.asarray(mean), codes["label"], class_names=test.class_names
            ),
            title="Where test images are encoded",
            caption="Posterior means of test images, coloured by class, which training never saw.",
        )
    four = jnp.asarray(data.some(test, 4)["image"])
    x = latent.observe(state.model, jax.random.key(0), four)
    seen = np.asarray(images.to_uint8(state.model.likelihood.as_input(x)))
    mean, variance = encode(state, seen)
    reach = jnp.abs(mean) + 5.0 * jnp.sqrt(variance)  # where a posterior ends that q is close to
    limit = max(3.0, math.ceil(float(reach.max())))
    density = np.asarray(asked(state, latent.posterior_grid, x, limit=limit, size=150))
    reporting.add_picture(
        run_dir,
        "posteriors",
        reporting.plots.posterior_heat_maps(
            density.swapaxes(1, 2),
            (-limit, limit, -limit, limit),
            images=seen,
            means=np.asarray(mean),
            scales=np.sqrt(np.asarray(variance)),
        ),
        title="Exact posteriors",
        caption="p(z|x) of four test images, computed on a grid; the ellipse is the encoder's "
        "q(z|x) at two standard deviations.",
    )


def flat(images_in_rows: np.ndarray | jax.Array) -> np.ndarray:
    """[rows, columns, H, W, C] -> [rows * columns, H, W, C], on the host."""
    array = np.asarray(images_in_rows)
    return array.reshape(-1, *array.shape[2:])
