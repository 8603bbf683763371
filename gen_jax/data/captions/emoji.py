"""Emoji with their names."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from gen_jax.data.captions.captioned import Captioned
from gen_jax.data.captions.letters import spelled
from gen_jax.data.captions.sharing import by_sharing
from gen_jax.data.dataset import Dataset
from gen_jax.data.pictures import emoji
from gen_jax.data.splits import Source


class CaptionedEmoji:
    """A source of drawings of emoji, captioned by their Unicode names and by what they are called
    in chats.

    Near twins (see ``Emoji``) are of one kind (see ``by_sharing``), and so are emoji that share a
    name, as the dog and the dog face do: what one of them is called is wrong for none of them.
    """

    ignored = ()

    def __init__(self, drawings: Source[Dataset], length: int):
        self.name = drawings.name
        self.splits = drawings.splits
        self._drawings = drawings
        self._length = length

    def open(self, *splits: str) -> Captioned:
        drawings = self._drawings.open(*splits)
        known = _known()
        texts = [those for split in splits for those in known[split].texts]
        meanings = np.concatenate([known[split].meanings for split in splits])
        attributes = np.concatenate([known[split].attributes for split in splits])
        times = len(drawings) // len(texts)  # the rows of one drawing, and of the other
        return Captioned(
            drawings,
            texts * times,
            np.tile(meanings, (times, 1)),
            np.tile(attributes, (times, 1)),
            length=self._length,
            least_captions=max(len(those) for part in known.values() for those in part.texts),
        )


class _Part(NamedTuple):
    """The captions of a split's emoji, and what they say, as ``by_sharing`` has it of all emoji."""

    texts: list[tuple[str, ...]]
    meanings: Int[np.ndarray, "all_captions attributes"]
    attributes: Int[np.ndarray, "n attributes"]


@functools.cache
def _known() -> dict[str, _Part]:
    parts = {
        split: [*map(_captions, emoji.names(split), emoji.short_names(split))]
        for split in emoji.SPLITS
    }
    twins = np.concatenate([emoji.groups(split) for split in emoji.SPLITS])
    texts = [those for part in parts.values() for those in part]
    meanings, attributes = by_sharing("emoji", texts, _kinds(texts, twins))
    ends = np.cumsum([(sum(map(len, part)), len(part)) for part in parts.values()], axis=0)
    said, true = np.split(meanings, ends[:-1, 0]), np.split(attributes, ends[:-1, 1])
    return dict(zip(parts, map(_Part, parts.values(), said, true), strict=True))


def _captions(name: str, short_names: tuple[str, ...]) -> tuple[str, ...]:
    texts = (name, *(short.replace("_", " ") for short in short_names))
    return tuple(dict.fromkeys(map(spelled, texts)))


def _kinds(texts: Sequence[Sequence[str]], twins: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The number of each emoji's kind: twins, what shares a name, and what such links chain."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(texts)
    knots: dict[str | int, int] = {}
    named = [(place, name) for place, names in enumerate(texts) for name in names]
    links = [
        (place, n + knots.setdefault(knot, len(knots)))
        for place, knot in (*named, *enumerate(twins.tolist()))
    ]
    places, ends = np.array(links).T
    size = n + len(knots)
    graph = coo_array((np.ones(len(links)), (places, ends)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n]
