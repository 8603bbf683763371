"""What captions say of images, where all that is known is which images have them."""

import functools
import operator
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from gen_jax.data.captions.letters import spelled
from gen_jax.data.errors import DataError

Kinds = tuple[int, ...]  # those that have a caption, in order


def by_sharing(
    name: str, texts: Sequence[Sequence[str]], kinds: Int[np.ndarray, " n"] | None = None
) -> tuple[Int[np.ndarray, "all_captions attributes"], Int[np.ndarray, "n attributes"]]:
    """The meanings of all captions, and the attributes of the images (see ``gen_jax.meaning``).

    A caption, as spelled, is true of every image that has it, and of every image of the same kind
    as one of these; of all others it is wrong. Nothing is passed on: images that share a caption
    may well have others that are wrong for each other. ``kinds`` are the images' classes, say;
    None: each image is a kind of its own.

    The first attribute is the kind, counted in the order of the images; a caption that one kind
    has says which. The others are for captions of several kinds: each is a value of one of them,
    which these kinds have, and 0 is that of the kinds that have none of its captions. Captions
    without a kind in common share an attribute, dealt out greedily from the most widely shared on.

    Raises ``DataError`` where no caption is wrong for any image.
    """
    numbers: dict[int, int] = {}
    each = range(len(texts)) if kinds is None else kinds.tolist()
    kind = np.array([numbers.setdefault(own, len(numbers)) for own in each])
    captions = [[spelled(text) for text in those] for those in texts]
    having: dict[str, dict[int, None]] = {}
    for own, those in zip(kind.tolist(), captions, strict=True):
        for text in those:
            having.setdefault(text, {})[own] = None
    found = {text: tuple(sorted(those)) for text, those in having.items()}
    if all(len(those) == len(numbers) for those in found.values()):
        raise DataError(
            f"{name}: every caption describes every image, so that none is ever wrong for one; "
            "captions have to differ between images, and between classes where there are some"
        )
    said, values = _dealt(found, len(numbers))
    spoken = np.array([said[found[text]] for those in captions for text in those])
    meanings = np.full((len(spoken), len(values)), -1, np.int32)
    meanings[np.arange(len(spoken)), spoken[:, 0]] = spoken[:, 1]
    return meanings, values.T[kind]


def _dealt(
    found: dict[str, Kinds], count: int
) -> tuple[dict[Kinds, tuple[int, int]], Int[np.ndarray, "attributes kinds"]]:
    """The attribute and the value that say which kinds have a caption, and all kinds' values."""
    said: dict[Kinds, tuple[int, int]] = {(own,): (0, own) for own in range(count)}
    values = [np.arange(count, dtype=np.int32)]
    used = [count]  # values of each attribute
    taken = [1] * count  # of each kind, the attributes whose values it has, as bits
    shared = {those for those in found.values() if len(those) > 1}
    for those in sorted(shared, key=lambda those: (-len(those), those)):
        of_any = functools.reduce(operator.or_, (taken[own] for own in those))
        attribute = (~of_any & (of_any + 1)).bit_length() - 1  # the lowest that is free
        if attribute == len(values):
            values.append(np.zeros(count, np.int32))
            used.append(1)
        for own in those:
            values[attribute][own] = used[attribute]
            taken[own] |= 1 << attribute
        said[those] = attribute, used[attribute]
        used[attribute] += 1
    return said, np.stack(values)
