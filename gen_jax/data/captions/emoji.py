"""Emoji with their names."""

import functools

import numpy as np
from jaxtyping import Int

from gen_jax.data.captions.captioned import Captioned
from gen_jax.data.captions.groups import of_groups, tied
from gen_jax.data.captions.letters import spelled
from gen_jax.data.dataset import Dataset
from gen_jax.data.pictures import emoji
from gen_jax.data.splits import Source


class CaptionedEmoji:
    """A source of drawings of emoji, captioned by their Unicode names and by what they are called
    in chats.

    The one attribute is the group of near twins (see ``Emoji``) that an emoji is in, joined with
    the groups that share a name with it: the name of a twin is not wrong.
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
        texts = [those for split in splits for those in known[split][0]]
        groups = np.concatenate([known[split][1] for split in splits])
        times = len(drawings) // len(texts)  # the rows of one drawing, and of the other
        return Captioned(
            drawings,
            texts * times,
            *of_groups(texts * times, np.tile(groups, times)),
            length=self._length,
            least_captions=max(len(those) for texts, _ in known.values() for those in texts),
        )


@functools.cache
def _known() -> dict[str, tuple[list[tuple[str, ...]], Int[np.ndarray, " n"]]]:
    """The captions and the groups of each split's emoji; groups are those of all of them."""
    captions = {
        split: [*map(_captions, emoji.names(split), emoji.short_names(split))]
        for split in emoji.SPLITS
    }
    twins = np.concatenate([emoji.groups(split) for split in emoji.SPLITS])
    groups = tied([those for texts in captions.values() for those in texts], twins)
    ends = np.cumsum([len(texts) for texts in captions.values()])
    parts = np.split(groups, ends[:-1])
    return {split: (captions[split], part) for split, part in zip(captions, parts, strict=True)}


def _captions(name: str, short_names: tuple[str, ...]) -> tuple[str, ...]:
    texts = (name, *(short.replace("_", " ") for short in short_names))
    return tuple(dict.fromkeys(map(spelled, texts)))
