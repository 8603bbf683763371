"""A text encoder, learned beside an encoder of images: what text to image begins from.

python -m experiments.text_encoder
python -m experiments.text_encoder --dataset captions:PATH --image-size 64

Its ``text_precision`` is how often the image nearest to a sentence is one that it describes, the
sentence's own image among them; ``r_precision`` how often an image is nearer to its own sentence
than to 99 wrong ones.

The paper preset has the text encoder of 1605.05396 (``c512``), and of the authors' code
(reedscot/cvpr2016) the batches and the first learning rate. The code differs in that it takes
RMSprop, whose rate falls to 0.98 of itself every 150 steps (an epoch of theirs, on birds, of which
there are 200), in that no two images of a batch are of one class, and in that it starts from
numbers uniform in [-0.08, 0.08] and from features of a trained GoogLeNet. Here that is Adam at a
constant rate, unless ``--decay-epochs`` is given, and an encoder of images that is trained along.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import optax

from experiments.running.config import RunConfig
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main
from experiments.text import retrieval
from experiments.text.captions import (
    CaptionsConfig,
    Sentences,
    measured_parts,
    numbered,
    open_captions,
)
from experiments.text.embedding import Embedder
from gen_jax import data, evaluation, images, reporting, training
from gen_jax.adversarial import ImageEncoder, JointEmbedding, joint_embedding
from gen_jax.data.captions.letters import ALPHABET
from gen_jax.nn.text import CharCNNRNN
from gen_jax.state import TrainState

BATCH = 100  # images whose own sentence stands among those of the others, for the accuracies
SHOWN, FOUND = 8, 8  # sentences of a picture, and images found for each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CaptionsConfig, RunConfig):
    """Train and evaluate encoders of texts and of images."""

    batch_size: int = 40
    """Images per update, over all devices."""
    learning_rate: float = 7e-4
    features: tuple[int, ...] = (384, 512, 512)
    """Maps of each convolution over letters."""
    hidden: int = 512
    """Size of the recurrent state."""
    embedding: int = 1024
    """Size of an embedding."""
    image_features: int = 64
    """Maps of the image encoder at half the image's size; twice as many at each further half."""
    margin: float = 1.0
    """By which the own text's score should exceed that of a wrong one."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "hidden", "embedding", "image_features")
        if not self.features or min(self.features) < 1:
            raise UsageError(f"--features must be 1 or more each, got {self.features}")
        if not self.margin > 0.0:
            raise UsageError(f"--margin must be positive, got {self.margin}")

    @property
    def networks(self) -> JointEmbedding:
        """Both encoders."""
        return JointEmbedding(
            CharCNNRNN(
                self.features,
                (4,) * len(self.features),
                hidden=self.hidden,
                embedding=self.embedding,
                vocabulary=len(ALPHABET) + 1,
                dtype=self.compute_dtype,
            ),
            ImageEncoder(self.image_features, self.embedding, dtype=self.compute_dtype),
        )


PRESETS = {
    "smoke": Config(
        steps=20,
        batch_size=16,
        learning_rate=3e-3,
        letters=128,
        features=(8, 8, 8),
        hidden=8,
        embedding=8,
        image_features=4,
        evaluations=2,
        scored_samples=200,
    ),
    "default": Config(
        steps=5000,
        batch_size=128,
        learning_rate=3e-3,
        letters=128,
        decay_epochs="run",
        features=(64, 64, 64),
        hidden=64,
        embedding=128,
        image_features=32,
        evaluations=4,
    ),
    "paper": Config(epochs=200),
}


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes both encoders, their step, and what is measured and drawn of them."""
    tx = optax.adam(config.rate(n_examples))
    train_step = functools.partial(joint_embedding.train_step, margin=config.margin)
    eval_step = training.compile_eval(
        functools.partial(joint_embedding.eval_step, margin=config.margin)
    )

    def init(train: data.AnyDataset) -> TrainState:
        key, example = jax.random.key(config.seed), cast(Any, spec.blank())
        start = functools.partial(
            joint_embedding.init, config.networks, tx, ema_decay=config.ema_decay
        )
        return training.compile_once(start)(key, example)

    def embedder(state: TrainState) -> Embedder:
        return Embedder(state, config.letters, spec.shape)

    def measure(state: TrainState, part: data.Captioned) -> dict[str, float]:
        part = data.part(part, config.scored_samples)
        batches = data.evaluation_batches(part, BATCH)
        found = retrieval.scores(embedder(state), Sentences.of(part, len(part)), seed=config.seed)
        terms = evaluation.average(eval_step, state, batches)
        names = "loss", "image/accuracy", "text/accuracy"
        return found | {name.replace("/", "_"): terms[name] for name in names}

    def test(state: TrainState, dataset: data.Captioned) -> Mapping[str, float | int | str]:
        return {
            f"{prefix}{name}": value
            for prefix, part in measured_parts(config, dataset).items()
            for name, value in measure(state, part).items()
        }

    def film(state: TrainState, splits: Splits) -> np.ndarray:
        return found_images(embedder(state), splits.validation, config.scored_samples)[1]

    def pictures(state: TrainState, splits: Splits, run_dir: Path) -> None:
        for prefix, part in measured_parts(config, splits.test).items():
            add_found(run_dir, prefix, *found_images(embedder(state), part, config.scored_samples))

    return Setup(
        init=init,
        train_step=train_step,
        validate=lambda state, splits: measure(state, splits.validation),
        film=film,
        test=test,
        pictures=pictures,
        best=("text_precision", "max"),
    )


def found_images(
    embedder: Embedder, part: data.Captioned, among: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """Some sentences of a set, and the images nearest to each: uint8 [sentences * images, ...]."""
    sentences = Sentences.of(part, SHOWN)
    real = data.some(part, among)["image"]
    found = retrieval.nearest_images(embedder, sentences.tokens, real, min(FOUND, len(real)))
    return sentences.texts, found.reshape(-1, *found.shape[2:])


def add_found(run_dir: Path, prefix: str, texts: tuple[str, ...], found: np.ndarray) -> None:
    """Adds a sheet of the images found for sentences, a sentence a row."""
    name = prefix.removeprefix("test/").strip("/")
    reporting.add_picture(
        run_dir,
        f"found-{name}" if name else "found",
        images.grid(found, columns=len(found) // len(texts)),
        title=f"Images found for sentences{f' ({name})' if name else ''}",
        caption=f"The nearest test images, nearest first. Rows: {numbered(texts)}.",
    )


EXPERIMENT = Training("text_encoder", __doc__, PRESETS, build=build, open=open_captions)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
