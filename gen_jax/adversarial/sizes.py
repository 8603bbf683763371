"""The sizes of images that convolutional networks halve and double, and of the maps between."""

from collections.abc import Sequence


def map_sizes(sides: Sequence[int]) -> list[tuple[int, int]]:
    """A convolutional network's maps from the smallest to the image: each the next one's half.

    Halves are rounded up, and end where the smaller side is 4 or less. Raises ``ValueError`` for an
    image that is no larger than that.
    """
    height, width = sides
    if min(sides) <= 4:
        raise ValueError(
            f"these networks are not for images of {height}×{width} pixels: both sides must be 5 "
            "or more"
        )
    sizes = [(height, width)]
    while min(sizes[0]) > 4:
        height, width = -(-height // 2), -(-width // 2)
        sizes.insert(0, (height, width))
    return sizes


def halvings(sides: Sequence[int], smallest: Sequence[int] = (4, 7)) -> int:
    """How often an image's height and width halve: the smaller one down to one of ``smallest``.

    Raises ``ValueError`` for a size that does not come from one of them by doubling, at least once.
    """
    height, width = sides
    side = min(sides)
    for start in smallest:
        factor, rest = divmod(side, start)
        if factor > 1 and not rest and factor.bit_count() == 1 and max(sides) % factor == 0:
            return factor.bit_length() - 1
    possible = sorted({start * 2**k for start in smallest for k in range(1, 6)})
    raise ValueError(
        f"these networks are not for images of {height}×{width} pixels: the smaller side must be "
        f"one of {', '.join(map(str, possible))}, ..., and the other side halve as often"
    )
