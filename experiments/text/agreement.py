"""Whether images show what their sentences say: coloured digits, read by the shipped classifier and
by measures of their strokes and colours."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from experiments.adversarial.judges import Judge
from gen_jax.data.captions import colours
from gen_jax.data.captions.digits import attributes_of
from gen_jax.data.captions.sentences import ATTRIBUTES
from gen_jax.evaluation import digits

SLANT = list(ATTRIBUTES).index("slant")
UPRIGHT = ATTRIBUTES["slant"].index("upright")
Meanings = Int[np.ndarray, "n attributes"]


class Shown(NamedTuple):
    """What images of coloured digits show, as ``sentences.ATTRIBUTES`` counts it, and what features
    of their gray levels the classifier finds."""

    attributes: Meanings
    features: Float[np.ndarray, "n size"]


def read(images: UInt8[np.ndarray, "n 28 28 3"]) -> Shown:
    """Reads coloured digits, painted or generated."""
    gray, _, _ = colours.read(images)
    judged = judge()(gray[..., None])
    return Shown(attributes_of(images, judged.log_probs.argmax(1)), judged.features)


@functools.cache
def judge() -> Judge:
    """The shipped classifier of digits."""
    found = Judge.of(digits.KIND.image_shape)
    assert found is not None
    return found


def agreement(meaning: Meanings, shown: Meanings) -> dict[str, float]:
    """The share of images that show what their sentence says, for each of ``ATTRIBUTES``.

    ``meaning`` [n, 6] is what sentences say, -1 where they do not: a share is that of the images
    whose sentence says the attribute, and there is none for what no sentence says. ``slant_side``
    is that of sentences that say left or right, ``all_said`` the share of images that show all
    that is said.
    """
    said, right = meaning >= 0, meaning == shown
    found = {name: (said[:, i], right[:, i]) for i, name in enumerate(ATTRIBUTES)}
    found["slant_side"] = said[:, SLANT] & (meaning[:, SLANT] != UPRIGHT), right[:, SLANT]
    found["all_said"] = np.ones(len(meaning), bool), (right | ~said).all(1)
    return {name: float(hit[among].mean()) for name, (among, hit) in found.items() if among.any()}
