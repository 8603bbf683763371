"""Whether what is learned from one part of a data set can be measured on the others."""

import numpy as np

from gen_jax.data.dataset import AnyDataset, called
from gen_jax.data.errors import DataError


def check_splits(
    train: AnyDataset, validation: AnyDataset, test: AnyDataset, *, classes: bool
) -> None:
    """Raises ``DataError`` unless what is learned from ``train`` can be measured on the others.

    All must be of one kind and shape, made from images of one shape where they are made from any,
    and with captions of as many letters and attributes, and vectors of one length, where they have
    captions; where ``classes`` matter, all or none have labels, of the same classes, and each class
    that has examples in the others has some in ``train``. Classes are not counted where ``labels``
    are unknown (a streamed set).
    """
    for part in (validation, test):
        _check_shapes(train, part)
        if classes:
            _check_classes(train, part)


def _check_shapes(train: AnyDataset, part: AnyDataset) -> None:
    ours, theirs = train.example_spec, part.example_spec
    if ours.noun != theirs.noun:
        raise DataError(f"{called(train)} holds {ours.noun}, {called(part)} {theirs.noun}")
    both = _both(train, ours.shape, part, theirs.shape)
    if ours.kind == "audio" and ours.shape != theirs.shape:
        raise DataError(f"sounds differ in length: {both}; give both the same length")
    if ours.shape[:2] != theirs.shape[:2]:
        raise DataError(f"images differ in size: {both}; give an image_size to make them alike")
    _check_channels("images", train, ours.shape, part, theirs.shape)
    if ours.spatial is not None and theirs.spatial is not None:
        _check_channels("source images", train, ours.spatial, part, theirs.spatial)
    for noun, our, their in (
        ("the letters of a caption", ours.text and ours.text[1], theirs.text and theirs.text[1]),
        ("the attributes that captions speak of", ours.attributes, theirs.attributes),
        ("the lengths of captions' vectors", ours.vector, theirs.vector),
    ):
        if our != their:
            raise DataError(
                f"{noun} differ: {their} in {called(part)}, {our} in {called(train)}; give both "
                "the same"
            )


def _check_channels(
    noun: str, train: AnyDataset, ours: tuple[int, ...], part: AnyDataset, theirs: tuple[int, ...]
) -> None:
    if ours != theirs:
        raise DataError(
            f"{noun} differ in channels: {_both(train, ours, part, theirs)}; give channels=1 "
            "(gray) or channels=3 (RGB) to make them alike"
        )


def _both(
    train: AnyDataset, ours: tuple[int, ...], part: AnyDataset, theirs: tuple[int, ...]
) -> str:
    return f"{list(theirs)} in {called(part)}, {list(ours)} in {called(train)}"


def _check_classes(train: AnyDataset, part: AnyDataset) -> None:
    ours, theirs = train.class_names, part.class_names
    if (ours is None) != (theirs is None):
        without, beside = (train, part) if ours is None else (part, train)
        raise DataError(
            f"{called(without)} has no labels, {called(beside)} has; a model of classes "
            "needs them in both"
        )
    if ours != theirs:
        raise DataError(
            f"{called(part)} has other classes than {called(train)}, or another order of them; "
            "with_classes matches them by name"
        )
    if ours is None or train.labels is None or part.labels is None:
        return
    unseen = np.setdiff1d(part.labels, train.labels)
    if len(unseen):
        raise DataError(
            f"{called(part)} has examples of the class {ours[unseen[0]]!r}, {called(train)} none"
        )
