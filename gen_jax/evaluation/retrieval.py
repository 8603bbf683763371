"""Whether a translation still shows what its source shows: it finds its own true image among all,
and a classifier still reads the source's label."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from gen_jax.evaluation.fid import Features, feature_matrix
from gen_jax.evaluation.neighbours import signs, squared_lengths
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
