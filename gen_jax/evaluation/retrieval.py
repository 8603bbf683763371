"""Whether an image still shows what it was made of. A translation finds its own true image among
all, and a classifier still reads its source's label; an image made of a text finds this text among
wrong ones, and a text finds images that it describes."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from gen_jax.evaluation.fid import Features, feature_matrix
from gen_jax.evaluation.neighbours import signs, squared_lengths
from gen_jax.meaning import wrong
from gen_jax.typing import Array, Images


class Retrieval(NamedTuple):
    """Shares in [0, 1] of images whose own true one is the nearest, or among the five nearest.

    By chance they are 1 / n and 5 / n.
    """

    top1: float
    top5: float


def retrieval(translated: Features | Images, true: Features | Images) -> Retrieval:
    """How often a translated image's nearest true ones include its own, the one of the same row.

    Both are features [n, d], or images [n, H, W, C], which are compared by their pixels; distances
    are Euclidean. Of true images that are equally near, each is as likely to come first: if own is
    one of two nearest, that is half a hit. So images that are all alike find no more than
    chance does. Memory besides the arguments is a few blocks of 32 MiB. Raises ``ValueError``
    unless both have the same shape, at least 2 rows, and only finite values.
    """
    if np.shape(translated) != np.shape(true):
        raise ValueError(
            "translated and true images must have the same shape, got "
            f"{list(np.shape(translated))} and {list(np.shape(true))}"
        )
    x, y = (
        feature_matrix(np.asarray(rows).reshape(len(rows), -1), what)
        for rows, what in ((translated, "translated images"), (true, "true images"))
    )
    nearer, equal = np.zeros(len(x), np.int64), np.zeros(len(x), np.int64)
    for _, mine, sign in signs(y, x, squared_lengths(x, y)):
        nearer[mine] += np.count_nonzero(sign < 0, axis=0)
        equal[mine] += np.count_nonzero(sign == 0, axis=0)  # own among them
    top1, top5 = (np.clip((k - nearer) / equal, 0.0, 1.0).mean() for k in (1, 5))
    return Retrieval(float(top1), float(top5))


def label_kept(
    classify: Callable[[np.ndarray], Float[Array | np.ndarray, "n classes"]],
    translated: UInt8[np.ndarray, "n height width channels"],
    label: Int[Array | np.ndarray, " n"],
) -> float:
    """The share of translated images [n, H, W, C] whose likeliest class is their source's label.

    ``classify`` gives the logits, or log-probabilities, of images. Raises ``ValueError`` unless
    there are as many of these as labels, at least one.
    """
    logits, label = np.asarray(classify(translated)), np.asarray(label)
    if logits.ndim != 2 or label.shape != (len(logits),) or len(label) == 0:
        raise ValueError(
            "logits must be [n, classes] and labels [n] with n >= 1, got "
            f"{list(logits.shape)} and {list(label.shape)}"
        )
    return float((logits.argmax(1) == label).mean())


# Images and texts, by embeddings in one space

Similarity = Literal["cosine", "product"]
Meanings = Int[Array | np.ndarray, "n attributes"]


def r_precision(
    image: Features,
    text: Features,
    meaning: Meanings,
    attributes: Meanings,
    *,
    others: int = 99,
    similarity: Similarity = "cosine",
    seed: int = 0,
) -> float:
    """The share of images that are nearer to the text they were made of than to wrong ones.

    R-precision of AttnGAN (Xu et al. 2017, 1711.10485, section 4): embeddings of images and of the
    texts they were made of, both [n, d], are compared by their cosine, or by their product; of each
    image the own text competes with ``others`` that are wrong for it (``gen_jax.meaning.wrong``),
    drawn without replacement by ``seed`` and the image's row. ``meaning`` is what the texts say and
    ``attributes`` is true of the images, [n, A]. By chance it is 1 / (others + 1); an own text that
    is one of m equally near ones is 1 / m of a hit. Raises ``ValueError`` for shapes that do not
    fit, numbers that are not finite, and an image that has fewer wrong texts than ``others``.
    """
    if others < 1:
        raise ValueError(f"the own text competes with 1 or more others, got {others}")
    x, y = _in_one_space(image, text, similarity)
    meaning, attributes = _said(meaning, attributes, len(y), len(x))
    if len(x) != len(y):
        raise ValueError(f"each image has its text, got {len(x)} images and {len(y)} texts")
    hits = np.zeros(len(x))
    for i, (vector, true) in enumerate(zip(x, attributes, strict=True)):
        negatives = np.flatnonzero(wrong(meaning, true[None]))
        negatives = negatives[negatives != i]
        if len(negatives) < others:
            raise ValueError(
                f"{others} wrong texts are needed for each image, there are {len(negatives)} for "
                f"image {i}"
            )
        drawn = np.random.default_rng((seed, i)).choice(negatives, others, replace=False)
        # Row by row, not by a matrix product: equal texts are equally near, to the last bit.
        products = (y[np.append(drawn, i)] * vector[None]).sum(1)
        if products[-1] >= products.max():
            hits[i] = 1.0 / np.count_nonzero(products == products[-1])
    return float(hits.mean())


def text_precision(
    text: Features,
    image: Features,
    meaning: Meanings,
    attributes: Meanings,
    *,
    k: int = 50,
    similarity: Similarity = "product",
) -> float:
    """The share of the ``k`` images nearest to a text that it is not wrong for, mean over texts.

    AP@50 of Reed et al. 2016 (1605.05395, section 5), who compare by products, with what a text
    says in the place of classes: texts [n, d] with their ``meaning`` [n, A], images [m, d] with
    their ``attributes`` [m, A]. Equally near images are in the order of their rows. Raises
    ``ValueError`` for shapes that do not fit, numbers that are not finite, and ``k`` outside 1..m.
    """
    x, y = _in_one_space(image, text, similarity)
    meaning, attributes = _said(meaning, attributes, len(y), len(x))
    if not 1 <= k <= len(x):
        raise ValueError(f"k must lie in 1..{len(x)}, the images, got {k}")
    shares = np.empty(len(y))
    for i, (vector, said) in enumerate(zip(y, meaning, strict=True)):
        nearest = np.argsort(-(x @ vector), kind="stable")[:k]
        shares[i] = 1.0 - np.mean(wrong(said[None], attributes[nearest]))
    return float(shares.mean())


def _in_one_space(
    image: Features, text: Features, similarity: str
) -> tuple[np.ndarray, np.ndarray]:
    """Images and texts in float64 whose products are to be compared."""
    if similarity not in ("cosine", "product"):
        raise ValueError(f'similarity must be "cosine" or "product", got {similarity!r}')
    x, y = feature_matrix(image, "images", least=1), feature_matrix(text, "texts", least=1)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "images and texts must be embedded in one space, got vectors of "
            f"{x.shape[1]} and {y.shape[1]} numbers"
        )
    x, y = x.astype(np.float64), y.astype(np.float64)
    if similarity == "cosine":
        x, y = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300) for v in (x, y))
    return x, y


def _said(
    meaning: Meanings, attributes: Meanings, texts: int, images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both on the host. Raises ``ValueError`` unless there is a row for each text and image."""
    meaning, attributes = np.asarray(meaning), np.asarray(attributes)
    fit = meaning.ndim == attributes.ndim == 2 and meaning.shape[1] == attributes.shape[1]
    if not fit or (len(meaning), len(attributes)) != (texts, images):
        raise ValueError(
            f"meaning must be [{texts}, A] and attributes [{images}, A], got "
            f"{list(meaning.shape)} and {list(attributes.shape)}"
        )
    return meaning, attributes
