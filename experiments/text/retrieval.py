"""How well images and sentences find one another in their joint space.

In a run of ``text_to_image`` that space is the one of the encoder whose vectors G is conditioned
on: G may please it where another reader of images would see less.
"""

import numpy as np

from experiments.text.captions import Sentences
from experiments.text.embedding import Embedder
from gen_jax import evaluation
from gen_jax.meaning import wrong

OTHERS = 99  # wrong sentences of an image, as in AttnGAN


def scores(embedder: Embedder, real: Sentences, *, seed: int) -> dict[str, float]:
    """``text_precision`` and ``r_precision`` of real images and their sentences.

    ``text_precision`` is that of the nearest image alone, its own image counts as a hit:
    AP@50 of Reed et al. 2016 (1605.05395) is that of the 50 nearest, by class.
    """
    text, image = embedder.of_tokens(real.tokens), embedder.of_images(real.image)
    said = real.meaning, real.attributes
    # Fewer than 50 images are right for a sentence that says much.
    found = {"text_precision": evaluation.text_precision(text, image, *said, k=1)}
    return found | r_precision(image, text, real, seed=seed)


def r_precision(
    image: np.ndarray, text: np.ndarray, sentences: Sentences, *, seed: int
) -> dict[str, float]:
    """R-precision of images [n, D] that were made of, or belong to, sentences [n, D]; nothing where
    an image has no wrong sentence.

    The own sentence competes with 99, or with as many as each image has; by products, as in the
    loss of both encoders.
    """
    said = sentences.meaning, sentences.attributes
    each = (int(np.count_nonzero(wrong(said[0], true))) for true in said[1])
    others = min(OTHERS, *each)
    if others < 1:
        return {}
    found = evaluation.r_precision(
        image, text, *said, others=others, similarity="product", seed=seed
    )
    return {"r_precision": found}


def nearest_images(
    embedder: Embedder, tokens: np.ndarray, images: np.ndarray, k: int
) -> np.ndarray:
    """The ``k`` images nearest to each text, by products: uint8 [n, k, H, W, C]."""
    products = embedder.of_tokens(tokens) @ embedder.of_images(images).T
    return images[np.argsort(-products, axis=1, kind="stable")[:, :k]]
