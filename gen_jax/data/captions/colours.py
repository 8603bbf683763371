"""Gray images in coloured ink on coloured paper, and back."""

import functools

import numpy as np
from jaxtyping import Int, UInt8

# Each ink has a channel at 0 where each paper has it at 255: the contrast is full, and every level
# of gray gives another colour.
INKS = {
    "black": (0, 0, 0),
    "red": (230, 0, 0),
    "green": (0, 150, 0),
    "blue": (0, 0, 240),
    "purple": (120, 0, 170),
    "pink": (240, 0, 150),
}
PAPERS = {"white": (255, 255, 255), "yellow": (255, 255, 130), "cyan": (130, 255, 255)}
Gray = UInt8[np.ndarray, "n height width"]
Coloured = UInt8[np.ndarray, "n height width 3"]
Colours = Int[np.ndarray, " n"]  # a number of INKS or of PAPERS
_CHUNK = 128  # images at once, whose intermediate arrays stay in the processor's cache


def paint(gray: Gray, ink: Colours, paper: Colours) -> Coloured:
    """Paper where the level is 0, ink where it is 255, and blends in between."""
    return _blends()[ink[:, None, None], paper[:, None, None], gray]


def read(images: Coloured) -> tuple[Gray, Colours, Colours]:
    """The gray levels, the ink and the paper of coloured images, painted or generated.

    The paper is the one that most pixels on the image's edge are nearest to; the ink is the one
    whose blends with it lie nearest to all pixels, by least squares; the gray level is that of the
    nearest blend. They are exact for what ``paint`` returned, if the paper makes up most of the
    edge, and if there is any ink.
    """
    parts = [_read(images[i : i + _CHUNK]) for i in range(0, len(images), _CHUNK)]
    if not parts:
        none = np.zeros(0, np.int32)
        return np.zeros(images.shape[:3], np.uint8), none, none
    gray, ink, paper = (np.concatenate(part) for part in zip(*parts, strict=True))
    return gray, ink, paper


@functools.cache
def _blends() -> UInt8[np.ndarray, "ink paper level 3"]:
    inks, papers = _levels(INKS)[:, None, None], _levels(PAPERS)[None, :, None]
    share = np.arange(256)[:, None] / 255.0
    return np.rint(papers + share * (inks - papers)).astype(np.uint8)


def _levels(colours: dict[str, tuple[int, int, int]]) -> np.ndarray:
    return np.array([*colours.values()], np.float64)


def _read(images: Coloured) -> tuple[Gray, Colours, Colours]:
    pixels = images.astype(np.float64)
    paper = _paper_of(pixels)
    ground = _levels(PAPERS)[paper][:, None, None]
    away = pixels - ground
    squares = (away**2).sum(-1)  # [n, H, W]
    best = np.full(len(images), np.inf)
    ink = np.zeros(len(images), np.int32)
    share = np.zeros(images.shape[:3])
    for number, colour in enumerate(_levels(INKS)):
        axis = colour - ground  # [n, 1, 1, 3]
        along, length = (away * axis).sum(-1), (axis**2).sum(-1)
        shares = np.clip(along / length, 0.0, 1.0)
        distance = (squares - 2.0 * shares * along + shares**2 * length).sum((1, 2))
        nearer = distance < best
        best, ink = np.where(nearer, distance, best), np.where(nearer, number, ink)
        share = np.where(nearer[:, None, None], shares, share)
    return np.rint(255.0 * share).astype(np.uint8), ink.astype(np.int32), paper


def _paper_of(pixels: np.ndarray) -> Colours:
    edge = np.concatenate(
        [pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1]], axis=1
    )
    distance = ((edge[:, :, None] - _levels(PAPERS)) ** 2).sum(-1)  # [n, edge, papers]
    votes = distance.argmin(-1)[..., None] == np.arange(len(PAPERS))
    return votes.sum(1).argmax(-1).astype(np.int32)
