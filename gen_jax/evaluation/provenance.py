"""What a score was made with. Scores of different making do not compare, so they are not compared:
another resizer, split or number of samples moves FID by more than most papers' improvements
(Parmar et al. 2022, 2104.11222; Chong & Forsyth 2020, 1911.07023)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything but the model that a score depends on.

    ``network`` and ``digest`` are the feature network's name and the digest of its weights;
    ``dataset``, ``split`` and ``n_reference`` the real images; ``n_samples`` the generated ones.
    ``image_size`` is the (height, width) of both before ``resizer`` fitted them to the network.
    Raises ``ValueError`` for numbers below 1 or an image size that is not a pair.
    """

    network: str
    digest: str
    dataset: str
    split: str
    n_reference: int
    n_samples: int
    image_size: tuple[int, int]
    resizer: str

    def __post_init__(self):
        object.__setattr__(self, "image_size", tuple(self.image_size))  # JSON has lists
        if len(self.image_size) != 2:
            raise ValueError(f"image_size must be (height, width), got {self.image_size}")
        if min(self.n_reference, self.n_samples, *self.image_size) < 1:
            raise ValueError(
                f"numbers and sizes must be 1 or more, got n_reference={self.n_reference}, "
                f"n_samples={self.n_samples}, image_size={self.image_size}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Strings, integers and a list, as JSON has them."""
        return {**dataclasses.asdict(self), "image_size": list(self.image_size)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Provenance":
        """What ``to_dict`` gave. Raises ``ValueError`` for missing, unknown or wrong values."""
        _require_fields(cls, values)
        for name, value in values.items():
            if name == "image_size":
                right = isinstance(value, list | tuple) and all(isinstance(n, int) for n in value)
            else:
                right = isinstance(value, int if name in ("n_reference", "n_samples") else str)
            if not right:
                raise ValueError(f"the provenance has a wrong value of {name}: {value!r}")
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Score:
    """A number and how it came about.

    Settings of a score are a part of its ``name`` (``precision_k3``). Raises ``ValueError`` for a
    ``value`` that is not finite.
    """

    name: str
    value: float
    provenance: Provenance

    def __post_init__(self):
        object.__setattr__(self, "value", float(self.value))  # NumPy's floats are not JSON's
        if not math.isfinite(self.value):
            raise ValueError(f"the score {self.name} must be finite, got {self.value}")

    def to_dict(self) -> dict[str, Any]:
        """Nested dicts of what JSON has."""
        return {"name": self.name, "value": self.value, "provenance": self.provenance.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Score":
        """What ``to_dict`` gave. Raises ``ValueError`` for missing, unknown or wrong values."""
        _require_fields(cls, values)
        name, value, provenance = (values[key] for key in ("name", "value", "provenance"))
        if (
            not isinstance(name, str)
            or isinstance(value, bool)
            or not isinstance(value, int | float)
            or not isinstance(provenance, Mapping)
        ):
            raise ValueError(f"no score with name, value and provenance: {dict(values)!r}")
        return cls(name, value, Provenance.from_dict(provenance))


def difference(a: Score, b: Score) -> float:
    """``a.value - b.value``. Raises ``ValueError``, naming all that differs, for scores of another
    name or provenance."""
    ours, theirs = (
        {"name": score.name, **dataclasses.asdict(score.provenance)} for score in (a, b)
    )
    differing = [
        f"{name} ({ours[name]} and {theirs[name]})" for name in ours if ours[name] != theirs[name]
    ]
    if differing:
        raise ValueError(
            f"{a.name} {a.value:.6g} and {b.name} {b.value:.6g} cannot be compared, they differ in "
            + ", ".join(differing)
        )
    return a.value - b.value


def _require_fields(cls: type, values: Mapping[str, Any]) -> None:
    fields = {field.name for field in dataclasses.fields(cls)}
    problems = [f"lacks {name}" for name in sorted(fields - set(values))]
    problems += [f"has an unknown {name}" for name in sorted(set(values) - fields)]
    if problems:
        raise ValueError(f"the {cls.__name__.lower()} {', '.join(problems)}")
