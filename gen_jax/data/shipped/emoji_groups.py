"""Which emoji are near twins, and the splits that keep them together.

Two emoji are twins, and a chain of twins is one group, where

1. their code points agree but for who is shown (person, man or woman), their hair, and the side
   that they face: the three farmers;
2. their names agree but for colours, sizes, sides and states (``TRIFLES``): green and red apple,
   closed and open mailbox;
3. they are of one family by name or subcategory (``FAMILIES``, ``SUBCATEGORIES``): families and
   couples, clock faces, moons, keycaps, arrows, squares and circles;
4. a drawing of one, in either style, lies within ``NEAR`` levels (mean absolute difference over the
   pixels and channels of 32×32) of the other's or of its mirror image: flags of one design,
   smileys that differ by a mouth.
"""

import collections
import hashlib
import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
NEAR = 8.0  # levels; half of all emoji have no other within 29, and 10 chains smileys to arrows

PEOPLE = {"1F468", "1F469", "1F9D1"}  # man, woman, adult
DETAILS = {"200D", "FE0F", "2640", "2642", "27A1", "1F9B0", "1F9B1", "1F9B2", "1F9B3"}
TRIFLES = re.compile(
    r"\b(red|orange|yellow|green|(light )?blue|purple|brown|pink|grey|black|white|heavy|large|"
    r"medium|small|left|right|up|down|(right|left|up|down)wards|pointing|facing|horizontal|vertical|"
    r"open|closed|raised|lowered|first|second|third)\b"
)
FAMILIES = {  # by what a whole name matches
    "together": r"family.*|people hugging",
    "clocks": r"clock face .*",
    "moons": r".*\bmoon( symbol| with face)?",
    "royals": r"prince|princess|person with crown",
    "christmas": r".* christmas|mx claus",
    "pregnant": r"pregnant .*",
    "feeding": r"breast-feeding|\w+ feeding baby",
    "merpeople": r"merperson|merman|mermaid",
    "dancers": r"dancer|man dancing",
    "globes": r"earth globe .*",
    "banknotes": r"banknote with .*",
    "speakers": r"speaker.*",
    "inputs": r"input symbol for .*",
}
SUBCATEGORIES = {  # those whose members are all of one family
    "family": "together",
    **{name: name for name in ("person", "keycap", "arrow", "geometric", "zodiac", "skin-tone")},
    "monkey-face": "monkeys",
}


class Emoji(NamedTuple):
    """What is known of one; ``code`` holds its code points, in hex, joined by hyphens."""

    code: str
    name: str
    short_names: tuple[str, ...]
    category: str
    subcategory: str


def groups(
    emoji: Sequence[Emoji], drawings: Sequence[UInt8[np.ndarray, "n height width 3"]]
) -> Int[np.ndarray, " n"]:
    """The number of each emoji's group, counted in the order of their first members."""
    links = [*_links(emoji), *(pair for images in drawings for pair in near(images))]
    rows, columns = np.array(links).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(emoji), len(emoji)))
    _, labels = connected_components(graph, directed=False)
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers]


def near(
    images: UInt8[np.ndarray, "n height width channels"], threshold: float = NEAR
) -> list[tuple[int, int]]:
    """The pairs i < j of images that lie within the threshold, as they are or mirrored."""
    flat = images.reshape(len(images), -1).astype(np.int16)
    mirrored = images[:, :, ::-1].reshape(len(images), -1).astype(np.int16)
    # The difference of the means of rows is a lower bound, mirrored or not.
    rows = images.mean(2, np.float32).reshape(len(images), -1)
    pairs = []
    for i in range(len(flat) - 1):
        bound = np.abs(rows[i + 1 :] - rows[i]).mean(1)
        later = i + 1 + np.flatnonzero(bound < threshold + 1e-3)
        for others in (flat, mirrored):
            distance = np.abs(others[later] - flat[i]).mean(1)
            pairs += [(i, j) for j in later[distance < threshold].tolist()]
    return pairs


def _links(emoji: Sequence[Emoji]) -> list[tuple[int, int]]:
    """Each emoji with the first of the same kind by code, name and family."""
    first: dict[Hashable, int] = {}
    return [
        (first.setdefault(kind, row), row) for row, one in enumerate(emoji) for kind in _kinds(one)
    ]


def _kinds(one: Emoji) -> list[tuple[str, Hashable]]:
    points = one.code.split("-")
    rest = tuple(point for point in points if point not in DETAILS | PEOPLE)
    # A farmer is a person with an ear of rice, and no twin of the plant.
    kinds: list[tuple[str, Hashable]] = [("code", (bool(PEOPLE & set(points)), rest))]
    words = tuple(re.findall(r"[\w&]+", TRIFLES.sub("", one.name)))
    kinds.append(("name", words or one.name))
    kinds += [("family", key) for key, form in FAMILIES.items() if re.fullmatch(form, one.name)]
    if one.subcategory in SUBCATEGORIES:
        kinds.append(("family", SUBCATEGORIES[one.subcategory]))
    return kinds


def assign(emoji: Sequence[Emoji], groups: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The split of each emoji, a number in the order of ``SPLITS``, that of its whole group.

    Groups are dealt out from the largest down, and among groups of one size in the order of a hash
    of their first member's code. Each goes where its categories lack most of their share, if it
    fits there, and else to train.
    """
    categories = [one.category for one in emoji]
    total = collections.Counter(categories)
    lacking = [{c: share * n for c, n in total.items()} for share in SPLITS.values()]
    members: dict[int, list[int]] = collections.defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)

    def turn(rows: list[int]) -> tuple[int, str]:
        return -len(rows), hashlib.sha256(emoji[rows[0]].code.encode()).hexdigest()

    splits = np.zeros(len(emoji), np.int64)
    for rows in sorted(members.values(), key=turn):
        counts = collections.Counter(categories[row] for row in rows)
        room = []
        for share, lack in zip(SPLITS.values(), lacking, strict=True):
            fits = all(lack[c] >= n - 0.5 for c, n in counts.items())
            room.append(min(lack[c] / (share * total[c]) for c in counts) if fits else -1.0)
        split = int(np.argmax(room)) if max(room) >= 0.0 else 0
        for c, n in counts.items():
            lacking[split][c] -= n
        splits[rows] = split
    return splits
