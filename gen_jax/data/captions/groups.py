"""Images that captions do not keep apart."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from gen_jax.data.captions.letters import spelled


def tied(
    texts: Sequence[Sequence[str]], groups: Int[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " n"]:
    """The number of each image's group: where images share a caption, as spelled, they are in one,
    and where they share one of ``groups``, and whatever such links chain together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(texts)
    knots: dict[str | int, int] = {}
    links = [
        (image, n + knots.setdefault(spelled(text), len(knots)))
        for image, those in enumerate(texts)
        for text in those
    ]
    known = [] if groups is None else groups.tolist()
    links += [(image, n + knots.setdefault(group, len(knots))) for image, group in enumerate(known)]
    images, ends = np.array(links).T
    size = n + len(knots)
    graph = coo_array((np.ones(len(links)), (images, ends)), shape=(size, size))
    _, numbers = connected_components(graph, directed=False)
    # Counted in the order of their first images.
    _, first, of_image = np.unique(numbers[:n], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[of_image].astype(np.int32)


def of_groups(
    texts: Sequence[Sequence[str]], groups: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "all_captions 1"], Int[np.ndarray, "n 1"]]:
    """The meanings of captions that say of which group their image is, and the attributes."""
    return np.repeat(groups, [len(those) for those in texts])[:, None], groups[:, None]
