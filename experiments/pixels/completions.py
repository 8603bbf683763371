"""Images drawn from what is left of them: several answers for one source, and their likelihoods.

What pix2pix answers with one image, an autoregressive model answers with a distribution p(image |
source) whose likelihood is exact. Where a source holds pixels of its image (the surroundings of a
hole), they are evidence as well as condition, and a likelihood is that of the hidden ones.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from experiments.running.tables import Columns
from experiments.translation.scores import colourfulness, fidelity_to
from gen_jax import autoregressive, training
from gen_jax.data.translation.conditions import Gray, Hole
from gen_jax.densities import Pixels
from gen_jax.evaluation import fidelity
from gen_jax.nn.condition import Condition
from gen_jax.state import TrainState
from gen_jax.typing import Array, Numbers, PRNGKey, PRNGKeys

CHUNK = 100  # images whose likelihood is measured at a time
Images = UInt8[np.ndarray, "n height width channels"]
Draws = UInt8[np.ndarray, "draws n height width channels"]
Hides = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Completer:
    """Draws images of ``channels`` from sources [n, H, W, C], and measures how likely images are.

    ``hides`` says which pixels of a source are to be drawn (None: all, the source being of another
    kind); the others are kept. ``chunk`` images are drawn at a time.
    """

    channels: int
    hides: Hides | None
    chunk: int

    @property
    def hidden(self) -> Callable[[Any], Any] | None:
        """Which pixels of a batch's images are scored: see ``autoregressive.train_step``."""
        hides = self.hides
        return None if hides is None else lambda batch: hides(batch["spatial"])

    def complete(self, state: TrainState, key: PRNGKey, numbers: Numbers, source: Array) -> Array:
        """An image [H, W, channels] for each source, which depends on the key and its number. Pure.

        Known pixels are the source's own, to the level: a likelihood of fewer levels sees the
        nearest that it has.
        """
        evidence = None
        if self.hides is not None:
            known = jnp.logical_not(self.hides(source))
            evidence = autoregressive.Evidence(source, known)
        drawn = autoregressive.sample(
            state.model,
            state.eval_params,
            key,
            (*source.shape[:3], self.channels),
            cond=Condition(spatial=source),
            evidence=evidence,
            numbers=numbers,
        )
        return drawn if evidence is None else jnp.where(evidence.mask, source, drawn)

    def draws(self, key: PRNGKey, state: TrainState, source: Images, n: int) -> Draws:
        """``n`` images of each source."""
        places = np.tile(np.arange(len(source)), n)
        batch = {"source": source[places], "number": np.arange(len(places))}
        drawn = self._complete.in_chunks((key, state), batch, self.chunk)
        return drawn.reshape(n, len(source), *drawn.shape[1:])

    @functools.cached_property
    def _complete(self) -> training.CompiledEval:
        def run(given: tuple[PRNGKey, TrainState], batch: Mapping[str, Array]) -> Array:
            key, state = given
            return self.complete(state, key, batch["number"], batch["source"])

        return training.compile_eval(run, training.local_mesh(), on_cores=True)

    def by_keys(self, state: TrainState, keys: PRNGKeys, source: Images) -> Images:
        """An image for each source by a key of its own: by 31 bits of it, which are its number."""
        bits = jax.vmap(lambda key: jax.random.bits(key, dtype=jnp.uint32))(keys)
        numbers = np.asarray(bits >> 1).astype(np.int32)
        batch = {"source": source, "number": numbers}
        return self._complete.in_chunks((jax.random.key(0), state), batch, self.chunk)

    def bits_per_dim(
        self, state: TrainState, image: Images, source: Images
    ) -> Float[np.ndarray, " n"]:
        """-log2 p(image | source), a dimension of what the source hides. A binary likelihood draws
        gray pixels by the state's key."""
        batch = {"image": image, "spatial": source, "number": np.arange(len(image))}
        return self._bits.in_chunks(state, batch, CHUNK)

    @functools.cached_property
    def _bits(self) -> training.CompiledEval:
        def run(state: TrainState, batch: Mapping[str, Array]) -> Array:
            return autoregressive.eval_step(state, batch, hidden=self.hidden)["bits_per_dim"]

        return training.compile_eval(run, training.local_mesh())


# What is measured of draws


def answers(
    drawn: Draws, bits: Float[np.ndarray, "draws n"], target: Images
) -> dict[str, np.ndarray]:
    """The images that several draws make of each source, by name: the first draw, the mean, the
    draw of the greatest likelihood, and, as only the truth can choose it, that of the best PSNR."""
    n = len(drawn)
    psnr = np.stack([np.asarray(fidelity.psnr(jnp.asarray(x), jnp.asarray(target))) for x in drawn])
    return {
        "one draw": drawn[0],
        f"mean of {n}": mean_image(drawn),
        f"best of {n} by likelihood": chosen(drawn, bits.argmin(0)),
        f"best of {n} by PSNR": chosen(drawn, psnr.argmax(0)),
    }


def mean_image(drawn: Draws) -> np.ndarray:
    """The mean level of each pixel over the draws, rounded: [n, H, W, C]."""
    return np.rint(drawn.mean(0)).astype(np.uint8)


def chosen(drawn: Draws, which: np.ndarray) -> np.ndarray:
    """Draw ``which[i]`` of each source i: [n, H, W, C]."""
    return drawn[which, np.arange(drawn.shape[1])]


def columns(made: np.ndarray, target: np.ndarray) -> Columns:
    """How near images come to the truth, and how colourful they are."""
    found = fidelity_to(made, target)
    return found | ({"colourfulness": colourfulness(made)} if made.shape[-1] == 3 else {})


class Calibration(NamedTuple):
    """What a model's likelihoods say of the model itself: bits a dimension of the same images.

    ``own`` is of test images given their own source, and ``other`` given the source of another
    test image (see ``exchanged``): what they differ by is what the model reads off the source.
    ``drawn`` is of the model's own draws: an estimate of its entropy, which equals ``own`` where
    the model is the true distribution, and is less where it is too sure of itself. ``likelier`` is
    the share of draws that are likelier than the truth, 0.5 in the mean for the true distribution.
    """

    own: float
    other: float
    drawn: float
    likelier: float


def calibration(
    own: Float[np.ndarray, " n"],
    other: Float[np.ndarray, " n"],
    drawn: Float[np.ndarray, "draws n"],
) -> Calibration:
    """Of bits a dimension of n images; a draw as likely as the truth counts half."""
    likelier = (drawn < own) + 0.5 * (drawn == own)
    return Calibration(*(float(np.mean(x)) for x in (own, other, drawn, likelier)))


def exchanged(image: Images, source: Images, hole: Hole | None) -> tuple[Images, Images]:
    """Images with the source of another one, half of the set away, in the place of their own.

    A source with a ``hole`` keeps it, and what it hides of the image: the other image is around it,
    in the source as in the image, whose likelihood is that of the same pixels as before. A pixel
    around it that has the hole's level is made one level darker.
    """
    away = max(1, len(source) // 2)
    if hole is None:
        return image, np.roll(source, away, axis=0)
    around = np.roll(image, away, axis=0)
    around = np.where(hole.hides(around), np.uint8(hole.level - 1), around)
    hidden = hole.hides(source)
    return np.where(hidden, image, around), np.where(hidden, source, around)


def colourless_bits(gray: Images, levels: int) -> float:
    """Bits a dimension of RGB images, of so many levels, whose every pixel is any colour that its
    gray level may come from, all as probable: log2 of the number of those colours, divided by 3.

    It is what an image costs a model that reads ``Gray`` of 256 levels without a fault and knows
    nothing of colours; the mean over all pixels of gray images [n, H, W, 1].
    """
    return float(np.log2(_colours_of_gray(levels))[gray].mean() / 3.0)


@functools.cache
def _colours_of_gray(levels: int) -> np.ndarray:
    """How many of the levels^3 colours have each gray level: [256].

    Each stands for a cube of the 256^3 colours, of which a step of one level changes the gray level
    by at most one: it may come from all between those of the darkest and the brightest.
    """
    level = np.asarray(Pixels().quantize(jnp.arange(256, dtype=jnp.uint8), levels))
    first, end = (np.searchsorted(level, np.arange(levels), side) for side in ("left", "right"))
    change = np.zeros(257, np.int64)  # of the number, from one gray level to the next
    for ends, step in ((first, 1), (end - 1, -1)):
        green, blue = np.meshgrid(ends, ends, indexing="ij")
        for red in ends:
            colours = np.stack([np.full_like(green, red), green, blue], axis=-1).astype(np.uint8)
            gray = Gray()(colours[None], np.zeros(1, int)).ravel().astype(int)
            change += step * np.bincount(gray + (step < 0), minlength=257)
    return change.cumsum()[:256]
