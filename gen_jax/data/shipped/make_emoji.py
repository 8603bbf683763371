"""Writes the shipped emoji, or the larger ones that ``emoji:64`` reads, from two npm packages.

    npm install emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python -m gen_jax.data.shipped.make_emoji --source node_modules             # emoji.npz
    python -m gen_jax.data.shipped.make_emoji --source node_modules --size 64   # emoji64.npz

Where npm is missing, the packages are archives to unpack into ``node_modules/NAME``:
https://registry.npmjs.org/emoji-datasource-google/-/emoji-datasource-google-16.0.0.tgz, and
likewise for twitter.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import tyro

from gen_jax.data.errors import DataError
from gen_jax.data.pictures.emoji import DRAWINGS, SHIPPED, large_files
from gen_jax.data.pictures.picture import ImageOptions, decode
from gen_jax.data.pictures.plain import halved
from gen_jax.data.shipped import archive
from gen_jax.data.shipped.emoji_groups import SPLITS, Emoji, assign, groups

PACKAGES = {"noto": "google", "twemoji": "twitter"}  # who drew them


def make(source: pathlib.Path, size: Literal[32, 64] = 32, out: pathlib.Path | None = None) -> None:
    """Writes both drawings of every emoji that has both, without the variants of skin tone.

    They are in the order of the Unicode charts, laid on white; of size 32, each pixel is the mean
    of 2×2. What is known of each, its group and its split lie beside the drawings of size 32, and
    hold for both sizes. The same source gives the same bytes.

    Args:
        source: a folder with the unpacked packages emoji-datasource-google and -twitter, or with
            emoji64.npz and emoji.jsonl.
        size: the side of the drawings.
        out: the file to write; else the shipped one, or of size 64 where emoji:64 looks for it.
    """
    if (source / "emoji.jsonl").is_file():
        emoji, drawings = _read_arrays(source)
    else:
        emoji, drawings = _read_packages(source)
    if out is None:
        out = SHIPPED if size == 32 else large_files(None)[0]
    out.parent.mkdir(parents=True, exist_ok=True)
    if size == 64:
        archive.write(out, drawings)
        return
    small = {drawing: halved(images) for drawing, images in drawings.items()}
    categories = list(dict.fromkeys(one.category for one in emoji))
    numbers = groups(emoji, tuple(small.values()))
    archive.write(
        out,
        {
            **small,
            "labels": np.array([categories.index(one.category) for one in emoji], np.uint8),
            "groups": numbers.astype(np.int16),
            "splits": np.array(list(SPLITS))[assign(emoji, numbers)],
            "categories": np.array(categories),
            "subcategories": np.array([one.subcategory for one in emoji]),
            "codes": np.array([one.code for one in emoji]),
            "names": np.array([one.name for one in emoji]),
            "short_names": np.array([" ".join(one.short_names) for one in emoji]),
        },
    )


def _read_arrays(source: pathlib.Path) -> tuple[list[Emoji], dict[str, np.ndarray]]:
    lines = (source / "emoji.jsonl").read_text(encoding="utf-8").splitlines()
    with np.load(source / "emoji64.npz", allow_pickle=False) as arrays:
        drawings = {drawing: arrays[drawing] for drawing in DRAWINGS}
    return [_emoji(fields, fields["code"]) for fields in map(json.loads, lines)], drawings


def _read_packages(source: pathlib.Path) -> tuple[list[Emoji], dict[str, np.ndarray]]:
    folders = {drawing: source / f"emoji-datasource-{by}" for drawing, by in PACKAGES.items()}
    for folder in folders.values():
        if not (folder / "emoji.json").is_file():
            raise DataError(f"{source} has no {folder.name} with an emoji.json in it")
    listed = json.loads((folders["noto"] / "emoji.json").read_text(encoding="utf-8"))
    drawn = [
        fields
        for fields in sorted(listed, key=lambda fields: fields["sort_order"])
        if all(fields[f"has_img_{by}"] for by in PACKAGES.values())
    ]
    drawings = {}
    for drawing, folder in folders.items():
        files = [folder / f"img/{PACKAGES[drawing]}/64" / fields["image"] for fields in drawn]
        options = ImageOptions(channels=3)
        drawings[drawing] = np.stack([decode(file, options, str(file)) for file in files])
    return [_emoji(fields, fields["unified"]) for fields in drawn], drawings


def _emoji(fields: Mapping[str, Any], code: str) -> Emoji:
    return Emoji(
        code,
        fields["name"].lower(),
        tuple(fields["short_names"]),
        fields["category"],
        fields["subcategory"],
    )


if __name__ == "__main__":
    tyro.cli(make)
