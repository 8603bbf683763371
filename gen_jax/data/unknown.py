"""What to say of a name that no set has."""

import difflib
import pathlib
from collections.abc import Mapping, Sequence

from gen_jax.data import tfds
from gen_jax.data.errors import UnknownSet

FOLDERS = ("folder", "pairs", "halves", "domains", "captions")  # kinds that take one


def unknown_set(
    spec: str,
    names: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str],
    data_dir: pathlib.Path | None,
    noun: str = "data set",
) -> UnknownSet:
    """What to say of a SPEC that is no name, nor ``KIND:`` and what that kind takes.

    ``names`` are all of those that begin alike, by how they are written in short.
    """
    kind, _, rest = spec.partition(":")
    tails = {name: name for alike in names.values() for name in alike}
    path = pathlib.Path(spec).expanduser()
    if spec and path.exists():
        fitting = FOLDERS if path.is_dir() else ("npz",)
        near = [f"{kind}:{spec}" for kind in fitting if kind in kinds]
    elif rest:
        near = [f"{k}:{rest}" for k in difflib.get_close_matches(kind, kinds)]
        near += difflib.get_close_matches(spec, tails, n=1, cutoff=0.7)
    else:
        prepared = tfds.prepared(data_dir or tfds.default_data_dir()) if "tfds" in kinds else []
        tails |= {name: f"tfds:{name}" for name in prepared}
        near = [tails[tail] for tail in difflib.get_close_matches(spec, tails, cutoff=0.5)]
    hint = f" (did you mean {' or '.join(dict.fromkeys(near))}?)" if near else ""
    choices = [*names, *(f"{k}:{what}" for k, what in kinds.items())]
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return UnknownSet(f"unknown {noun} {spec!r}{hint}; a {noun} is {listed}")
