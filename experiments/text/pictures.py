"""What a text to image run's report shows: sentences, walks between them, and styles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.text.captions import Sentences, numbered
from gen_jax import adversarial, data, images, reporting
from gen_jax.adversarial import StyleEncoder, style, text_to_image
from gen_jax.adversarial.gan import GANState
from gen_jax.typing import PRNGKey

SAMPLES = 10  # images of a sentence in a sheet
WALKS, FRAMES = 6, 9
STYLE_BATCH = 64
Draw = Callable[[PRNGKey, GANState, np.ndarray], np.ndarray]  # vectors [n, D] to images


def of_each(draw: Draw, key: PRNGKey, state: GANState, vectors: np.ndarray, n: int) -> np.ndarray:
    """``n`` images of each vector, one vector's after the other's."""
    return draw(key, state, np.repeat(vectors, n, axis=0))


def add_samples(
    run_dir: Path, draw: Draw, state: GANState, key: PRNGKey, name: str, sentences: Sentences
) -> None:
    """Adds a sheet of images of sentences, the real image of each first."""
    made = of_each(draw, key, state, sentences.vectors, SAMPLES)
    made = made.reshape(len(sentences), SAMPLES, *made.shape[1:])
    rows = np.concatenate([sentences.image[:, None], made], axis=1)
    reporting.add_picture(
        run_dir,
        f"samples-{name}",
        images.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1]),
        title=f"Images of {name} sentences",
        caption="Not chosen. The image that each describes comes first. "
        f"{numbered(sentences.texts)}",
    )


def add_walks(run_dir: Path, state: GANState, key: PRNGKey, sentences: Sentences) -> None:
    """Adds walks between sentences at the same latent, and between latents under one sentence."""
    vectors = sentences.vectors
    n = min(WALKS, len(sentences) - 1)
    start, end = vectors[:n], vectors[1 : n + 1]
    z = np.asarray(adversarial.latents(state, key, 2 * n))
    between_texts = jax.jit(text_to_image.between_texts, static_argnames="size")
    films = between_texts(state, z[:n], start, end, size=FRAMES)
    _add_films(
        run_dir,
        "between-sentences",
        films,
        title="From sentence to sentence",
        caption="Each row goes from one sentence's vector along a straight line to the next one's, "
        f"from the same noise: {numbered(sentences.texts[: n + 1])}.",
    )
    between_latents = jax.jit(text_to_image.between_latents, static_argnames="size")
    films = between_latents(state, z[:n], z[n:], start, size=FRAMES)
    _add_films(
        run_dir,
        "between-noise",
        films,
        title="One sentence, from noise to noise",
        caption=f"Along great circles: {numbered(sentences.texts[:n])}.",
    )


def _add_films(run_dir: Path, name: str, films: Any, *, title: str, caption: str) -> None:
    rows = np.asarray(films)
    sheet = images.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])
    reporting.add_picture(run_dir, name, sheet, title=title, caption=caption)


def add_styles(
    run_dir: Path,
    state: GANState,
    key: PRNGKey,
    batches: data.Batches,
    sentences: Sentences,
    *,
    encoder: StyleEncoder,
    steps: int,
) -> None:
    """Trains a style encoder for the generator, and adds sentences in the styles of images."""
    tx = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    inverse = style.init(encoder, tx, key, state, _vectors(batches, 0))
    step = jax.jit(style.train_step, donate_argnums=0)
    distance = np.nan
    for number in range(steps):
        inverse, metrics = step(inverse, _vectors(batches, number))
        distance = float(metrics["loss"])
    n, vectors = len(sentences), sentences.vectors
    transfer = jax.jit(style.transfer)
    made = transfer(inverse, np.tile(sentences.image, (n, 1, 1, 1)), np.repeat(vectors, n, axis=0))
    rows = np.concatenate([sentences.image[None], np.asarray(made).reshape(n, n, *made.shape[1:])])
    reporting.add_picture(
        run_dir,
        "styles",
        images.grid(rows.reshape(-1, *rows.shape[2:]), columns=n),
        title="Styles of images",
        caption="Each column is in the style of the real image on top: the noise is what a style "
        f"encoder finds in it, trained for {steps:,} steps on generated images; in the end what it "
        f"finds is {distance:.1f} away from the truth (squared; {encoder.latent_dim} by chance). "
        f"Rows below: {numbered(sentences.texts)}.",
    )


def _vectors(batches: data.Batches, step: int) -> dict[str, Any]:
    return {"vector": batches.batch_at(step)["vector"]}
