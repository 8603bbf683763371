"""Images and texts in one space, where a text is close to the images it describes: deep symmetric
structured joint embedding (Reed et al. 2016, 1605.05395, section 3).

    F(v, t) = θ(v)ᵀ φ(t)
    loss of image n = mean over texts t' that are wrong for v_n of [1 + F(v_n, t') - F(v_n, t_n)]₊
    loss of text n  = mean over images v' that t_n is wrong for of [1 + F(v', t_n) - F(v_n, t_n)]₊

and the step minimizes the sum of both. The paper has the worst of all classes in place of a mean;
that over a batch, its own pair among its number, is what the authors compute (reedscot/cvpr2016,
``JointEmbeddingLoss``), with one image of each class in a batch. Here others of a batch may be
described by the same text, and a text that describes an image is no negative of it:
``gen_jax.meaning.wrong`` says which. The paper's v are features of a trained GoogLeNet, and θ at
most linear; here θ is a network of its own, trained along with φ.

φ makes the vectors that text to image begins from (1605.05396, section 4).
"""

import dataclasses
import functools
from typing import Any, cast

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.networks import LEAK
from gen_jax.adversarial.sizes import map_sizes
from gen_jax.adversarial.text.captions import draw_captions
from gen_jax.images import as_symmetric
from gen_jax.meaning import wrong
from gen_jax.meshes import automatic, batch_spec, evaluation_step, mean_gradients, training_step
from gen_jax.nn.blocks import HE
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import last_dtype
from gen_jax.nn.text import CharCNNRNN
from gen_jax.state import TrainState, example_keys, numbers_or_places
from gen_jax.typing import (
    Array,
    Batch,
    Images,
    Metrics,
    Numbers,
    Params,
    PerExample,
    PRNGKey,
    PRNGKeys,
)

Embeddings = Float[Array, "batch embedding"]
Scores = Float[Array, "batch others"]


# Networks


class ImageEncoder(nn.Module):
    """Images in [-1, 1] as vectors, float32 [B, embedding]: DCGAN's discriminator without its norm.

    ``features`` maps of half the image's size, twice as many for each further halving, down to a
    side of 4 or less; images of any size from 5 pixels on. There is no normalization: that of a
    batch would let an image's vector depend on others, that of an image would hide its colours.
    """

    features: int = 64
    embedding: int = 1024
    _: dataclasses.KW_ONLY
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: FloatImages) -> Embeddings:
        for i in range(len(map_sizes(x.shape[1:3])) - 1):
            options: Any = {"strides": 2, "kernel_init": HE, "dtype": self.dtype}
            x = Conv(self.features * 2**i, (4, 4), **options, name=f"conv_{i}")(x)
            x = nn.leaky_relu(x, LEAK)
        last = nn.Dense(self.embedding, dtype=last_dtype(self.dtype), name="embedding")
        return last(x.reshape(x.shape[0], -1)).astype(jnp.float32)


class JointEmbedding(nn.Module):
    """φ, called as ``text(tokens)`` [B, L], and θ, as ``image(x)`` [B, H, W, C] in [-1, 1].

    Both give float32 [B, D] of the same D, and have no variables but parameters.
    """

    text: nn.Module = CharCNNRNN()
    image: nn.Module = ImageEncoder()

    def embed_text(self, tokens: Array) -> Embeddings:
        return self.text(tokens)

    def embed_image(self, image: Images) -> Embeddings:
        return self.image(as_symmetric(image))

    def __call__(self, image: Images, tokens: Array) -> tuple[Embeddings, Embeddings]:
        return self.embed_image(image), self.embed_text(tokens)


def init(
    model: JointEmbedding,
    tx: optax.GradientTransformation,
    key: PRNGKey,
    batch: Batch,
    *,
    ema_decay: float | None = None,
) -> TrainState:
    """Draws the parameters; ``batch`` is one to train on, or of the same shapes.

    Raises ``ValueError`` for a batch that a step refuses, for networks whose vectors differ in
    size, and for such as keep other variables than parameters.
    """
    _check(batch)
    params_key, state_key = jax.random.split(key)
    example = batch["image"][:1], batch["tokens"][:1, 0]
    (v, t), shapes = jax.eval_shape(model.init_with_output, params_key, *example)
    if v.shape != t.shape or v.ndim != 2:
        raise ValueError(
            "images and texts must be embedded as vectors of the same size, got "
            f"{v.shape[1:]} and {t.shape[1:]}"
        )
    if more := sorted(set(shapes) - {"params"}):
        raise ValueError(f"a joint embedding has parameters alone, its networks have {more}")
    params = model.init(params_key, *example)["params"]
    return TrainState.create(model=model, tx=tx, params=params, key=state_key, ema_decay=ema_decay)


# The loss


def hinge(
    own: PerExample, scores: Scores, negative: Bool[Array, "batch others"], margin: float = 1.0
) -> Scores:
    """[margin + scores - own]₊ of each pair, and 0 where it is no negative."""
    return jnp.where(negative, jax.nn.relu(margin + scores - own[:, None]), 0.0)


@flax.struct.dataclass
class _Pairs:
    """Images and one text of each: what a device compares of its own with those of all."""

    image: Embeddings
    text: Embeddings
    numbers: Numbers
    counts: Bool[Array, " batch"]
    said: tuple[Array, Array] | None  # what texts mean, [B, A], and what is true of the images


def _compared(mine: _Pairs, every: _Pairs, margin: float) -> dict[str, PerExample]:
    """The terms of each example of ``mine`` among ``every`` one: ``train_step``'s metrics."""
    others = (mine.numbers[:, None] != every.numbers[None]) & every.counts[None]
    negatives = {"image": others, "text": others}
    if mine.said is not None and every.said is not None:
        (meaning, attributes), (all_meanings, all_attributes) = mine.said, every.said
        negatives = {
            "image": others & wrong(all_meanings[None], attributes[:, None]),
            "text": others & wrong(meaning[:, None], all_attributes[None]),
        }
    scores = {"image": mine.image @ every.text.T, "text": mine.text @ every.image.T}
    own = (mine.image * mine.text).sum(-1)
    terms = {}
    for name, negative in negatives.items():
        penalties = hinge(own, scores[name], negative, margin)
        terms[f"{name}/loss"] = penalties.sum(1) / jnp.maximum(every.counts.sum(), 1)
        first = (own[:, None] > scores[name]) | ~negative
        terms[f"{name}/accuracy"] = first.all(1).astype(jnp.float32)
    return {"loss": terms["image/loss"] + terms["text/loss"], **terms}


def _terms(
    model: JointEmbedding,
    params: Params,
    batch: Batch,
    key: PRNGKey,
    margin: float,
    axis_name: str | None,
) -> dict[str, PerExample]:
    """The terms of each example here, among all of the global batch."""
    _check(batch)
    numbers = numbers_or_places(batch.get("number"), batch["image"], axis_name)
    text = _drawn(batch, example_keys(key, numbers))
    v, t = cast(Any, model.apply({"params": params}, batch["image"], text["tokens"]))
    counts = batch["mask"].astype(bool) if "mask" in batch else jnp.ones(len(numbers), bool)
    said = (text["meaning"], batch["attributes"]) if "meaning" in text else None
    mine = _Pairs(v, t, numbers, counts, said)
    every = mine
    if axis_name is not None:  # each device's scores have gradients in the others' embeddings
        every = jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), mine)
    return _compared(mine, _once(every), margin)


def _drawn(batch: Batch, keys: PRNGKeys) -> dict[str, Array]:
    """The ``tokens`` [B, L], and the ``meaning`` [B, A] where it is known, of one of each image's
    texts, drawn uniformly by the image's key."""
    names = [name for name in ("tokens", "meaning") if name in batch]
    return dict(zip(names, draw_captions(keys, *(batch[n] for n in names)), strict=True))


def _once(pairs: _Pairs) -> _Pairs:
    """Of pairs with the same number, which fill a batch up, only the first counts."""
    same = (pairs.numbers[:, None] == pairs.numbers[None]) & pairs.counts[None]
    first = same.argmax(1) == jnp.arange(len(same))
    return dataclasses.replace(pairs, counts=pairs.counts & first)


def _check(batch: Batch) -> None:
    """Raises ``ValueError`` unless a batch has what it must have, in shapes that fit."""
    missing = [name for name in ("image", "tokens") if name not in batch]
    if missing or ("meaning" in batch) != ("attributes" in batch):
        raise ValueError(
            'a joint embedding needs batch["image"] and batch["tokens"], and "meaning" with '
            f'"attributes" or neither, got {sorted(batch)}'
        )
    shapes = {name: batch[name].shape for name in ("tokens", "meaning") if name in batch}
    if any(len(s) != 3 or s[:2] != shapes["tokens"][:2] for s in shapes.values()):
        raise ValueError(
            "tokens must be [B, K, L], and meaning [B, K, A], of K texts of each image, got "
            + " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        )


# Steps


@training_step
def train_step(
    state: TrainState, batch: Batch, *, margin: float = 1.0, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """One update of both networks by the sum of both losses.

    Reads ``batch["image"]`` (uint8, or floats in [-1, 1]) and ``batch["tokens"]`` [B, K, L], of
    whose K texts one is drawn for each image. With ``batch["meaning"]`` [B, K, A] and
    ``batch["attributes"]`` [B, A], negatives are the texts and the images of the *global* batch
    that do not go together; without, all that are not a pair.

    Metrics are means: ``image/loss`` and ``text/loss``, their sum ``loss``, and ``image/accuracy``
    and ``text/accuracy``, the shares whose own text, or image, scores above all negatives.
    """
    key = state.step_keys("text")["text"]

    def loss(params: Params) -> tuple[Array, Metrics]:
        terms = _terms(state.model, params, batch, key, margin, axis_name)
        means = {name: value.mean() for name, value in terms.items()}
        return means["loss"], means

    grads, _, metrics = mean_gradients(loss, state.params, axis_name)
    return state.apply_gradients(grads), metrics


@evaluation_step
def eval_step(
    state: TrainState, batch: Batch, *, margin: float = 1.0, axis_name: str | None = None
) -> Metrics:
    """Each example's terms among its batch, [B]: the metrics of ``train_step``.

    They depend on what else is in the batch, where ``batch["mask"]`` says what counts, and of
    examples with the same ``batch["number"]`` one does. Its text is drawn by its number (its place,
    unless given) and ``state.key``, not the step. Averaged parameters are used where there are any.
    """
    key = state.evaluation_keys("text")["text"]
    return _terms(state.model, state.eval_params, batch, key, margin, axis_name)


# Queries


def embed_text(state: TrainState, tokens: Int[Array, "*dims length"]) -> Float[Array, "*dims d"]:
    """φ of texts, float32; by averaged parameters where there are any."""

    def embedded(state: TrainState, tokens: Array) -> Array:
        rows = tokens.reshape(-1, tokens.shape[-1])
        phi = _apply(state, rows, "embed_text")
        return phi.reshape(*tokens.shape[:-1], -1)

    return automatic(embedded, batch_spec(tokens), state, tokens)


def embed_image(state: TrainState, image: Images) -> Embeddings:
    """θ of images (uint8, or floats in [-1, 1]), float32; by averages of parameters if any."""
    embedded = functools.partial(_apply, method="embed_image")
    return automatic(embedded, batch_spec(image), state, image)


def _apply(state: TrainState, x: Array, method: str) -> Embeddings:
    embedded: Any = state.model.apply({"params": state.eval_params}, x, method=method)
    return embedded
