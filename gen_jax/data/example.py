"""What one example of a data set is: the arrays that a batch holds of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import numpy as np

from gen_jax.data.errors import DataError

# "image" uint8 [n, H, W, C] or "audio" int16 [n, T, C], or both "a" and "b" uint8 [n, H, W, C];
# "spatial" uint8 [n, H, W, C'] where images are made from others; "label" int32 [n] where there
# are labels; of captioned images "tokens" uint8 [n, K, L], "meaning" int32 [n, K, A], "attributes"
# int32 [n, A], and "vector" float32 [n, K, D] where the captions are embedded
Examples = dict[str, np.ndarray]
ExampleKind = Literal["image", "audio", "domains"]
AXES: dict[ExampleKind, str] = {"image": "HWC", "audio": "TC", "domains": "HWC"}


@dataclasses.dataclass(frozen=True)
class ExampleSpec:
    """What one example is: all that a model needs in order to be built, without the data.

    ``shape`` is [H, W, C] of a uint8 image or [T, C] of int16 audio; of the kind "domains", that
    of the images "a" and "b". ``class_names`` are the names of the labels 0, 1, ..., None where
    there are no labels. ``spatial`` is [H, W, C'] of the uint8 image that an image is made from,
    None where there is none. ``text`` is [K, L] of a captioned image: so many captions of so many
    letters; ``attributes`` is the number of them that captions speak of, ``vector`` the length of
    a caption's embedding, None where there are none. Raises ``DataError`` for another kind or
    shape.
    """

    kind: ExampleKind
    shape: tuple[int, ...]
    class_names: tuple[str, ...] | None
    spatial: tuple[int, int, int] | None = None
    text: tuple[int, int] | None = None
    attributes: int | None = None
    vector: int | None = None

    def __post_init__(self):
        if self.kind not in get_args(ExampleKind):
            raise DataError(f"the kind of an example is image, audio or domains, got {self.kind!r}")
        if len(self.shape) != len(AXES[self.kind]) or min(self.shape) < 1:
            axes = ", ".join(AXES[self.kind])
            raise DataError(f"{self.kind} examples are [{axes}], got {list(self.shape)}")
        self._check_spatial()
        self._check_text()

    def _check_spatial(self) -> None:
        if self.spatial is None:
            return
        if self.kind != "image":
            raise DataError(f"{self.kind} examples have no spatial condition; images have")
        size = self.shape[:2]
        if len(self.spatial) != 3 or self.spatial[:2] != size or min(self.spatial) < 1:
            raise DataError(
                f"the spatial condition of images {list(self.shape)} is [{size[0]}, {size[1]}, C], "
                f"got {list(self.spatial)}"
            )

    def _check_text(self) -> None:
        if self.text is None:
            if self.attributes is not None or self.vector is not None:
                raise DataError("attributes and vectors are those of captions; give their text too")
            return
        if self.kind != "image":
            raise DataError(f"{self.kind} examples have no captions; images have")
        if len(self.text) != 2 or min(self.text) < 1:
            raise DataError(f"captions are [number, letters], of 1 or more, got {list(self.text)}")
        if self.attributes is None or self.attributes < 1:
            raise DataError(f"captions speak of 1 or more attributes, got {self.attributes}")
        if self.vector is not None and self.vector < 1:
            raise DataError(f"a caption's vector has a length of 1 or more, got {self.vector}")

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON holds them: of conditions and captions only what is there, so that
        what was written before there were any is still equal."""
        names = None if self.class_names is None else list(self.class_names)
        fields = {"kind": self.kind, "shape": list(self.shape), "class_names": names}
        optional = {
            "spatial": None if self.spatial is None else list(self.spatial),
            "text": None if self.text is None else list(self.text),
            "attributes": self.attributes,
            "vector": self.vector,
        }
        return fields | {name: field for name, field in optional.items() if field is not None}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The spec of what ``as_json`` returned.

        Raises ``DataError`` for missing fields, and for ones that are of another type.
        """
        try:
            names, spatial, text = fields["class_names"], fields.get("spatial"), fields.get("text")
            return cls(
                fields["kind"],
                tuple(fields["shape"]),
                None if names is None else tuple(names),
                None if spatial is None else tuple(spatial),
                None if text is None else tuple(text),
                fields.get("attributes"),
                fields.get("vector"),
            )
        except (KeyError, TypeError) as error:
            raise DataError(
                f"an example has a kind, a shape and class_names (or null), got {fields}"
            ) from error

    @property
    def noun(self) -> str:
        """What examples are called in a message."""
        if self.text is not None:
            return "captioned images"
        if self.spatial is not None:
            return "pairs of images"
        return {"image": "images", "audio": "sounds", "domains": "images of two domains"}[self.kind]

    @property
    def n_classes(self) -> int | None:
        """None where there are no labels."""
        return None if self.class_names is None else len(self.class_names)

    def blank(self, n: int = 1) -> Examples:
        """``n`` examples of zeros, of the first class where there are classes."""
        names = ("a", "b") if self.kind == "domains" else (self.kind,)
        dtype = np.int16 if self.kind == "audio" else np.uint8
        examples: Examples = {name: np.zeros((n, *self.shape), dtype) for name in names}
        if self.spatial is not None:
            examples["spatial"] = np.zeros((n, *self.spatial), np.uint8)
        if self.text is not None and self.attributes is not None:
            captions = self.text[0]
            examples["tokens"] = np.zeros((n, *self.text), np.uint8)
            examples["meaning"] = np.zeros((n, captions, self.attributes), np.int32)
            examples["attributes"] = np.zeros((n, self.attributes), np.int32)
            if self.vector is not None:
                examples["vector"] = np.zeros((n, captions, self.vector), np.float32)
        if self.class_names is not None:
            examples["label"] = np.zeros(n, np.int32)
        return examples
