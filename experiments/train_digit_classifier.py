"""The digit classifier whose features and classes the scores of digits are made of.

python -m experiments.train_digit_classifier                                   # on shipped digits
python -m experiments.train_digit_classifier full --dataset tfds:mnist --data-dir DIR

The run's folder holds ``digits.safetensors``; ``full`` made the one in ``gen_jax/evaluation``, and
``digits.md`` there has its accuracy.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from experiments.running.config import ImageRunConfig, Labels
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, where
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import data, images, reporting, training
from gen_jax.evaluation import digits
from gen_jax.evaluation.resize import bicubic_weights
from gen_jax.meshes import mean_gradients
from gen_jax.state import TrainState, example_keys, example_numbers
from gen_jax.typing import Array, Batch, Images, Metrics, Params, PRNGKey

SHOWN = 64
DIGITS = tuple("0123456789")
ELASTIC_NODES = 6  # of the grid whose random displacements bend an image, along either side


Judged = dict[str, np.ndarray]  # of each image of a split: nll, guess, accuracy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImageRunConfig):
    """Train and evaluate the digit classifier."""

    shift: float = 2.0
    """Move each image by at most this many pixels along either side."""
    rotation: float = 12.0
    """Turn it by at most this many degrees."""
    zoom: float = 0.15
    """Change its height and its width by at most this share."""
    elastic: float = 1.0
    """Bend it: the standard deviation of a smooth random displacement, in pixels."""
    dtype: Literal["float32", "bfloat16"] = where(
        "float32", lambda config: False, "networks that also compute in bfloat16"
    )
    label_smoothing: float = 0.0
    """Share of a label's probability that is spread evenly over all digits."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("shift", "rotation", "zoom", "elastic"):
            value = getattr(self, name)
            if not (value >= 0.0 and math.isfinite(value)):
                raise UsageError(f"--{name} must be 0 or more, got {value}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(f"--label-smoothing must lie in [0, 1), got {self.label_smoothing}")

    @property
    def labels(self) -> Labels:
        return "required"


PRESETS = {
    "smoke": Config(steps=40, batch_size=32, evaluations=1),
    "default": Config(epochs=15, decay_epochs="run", ema_decay=0.99),
    "full": Config(
        dataset="tfds:mnist",
        epochs=12,
        decay_epochs="run",
        ema_decay=0.999,
        validation_fraction=0.0,  # nothing is chosen by the images that it is watched on
    ),
}


# The step


def augment(
    key: PRNGKey,
    image: Images,
    *,
    shift: float = 0.0,
    rotation: float = 0.0,
    zoom: float = 0.0,
    elastic: float = 0.0,
    axis_name: str | None = None,
) -> Float[Array, "batch height width channels"]:
    """Moves, turns, stretches and bends each image at random; floats in [0, 1], black outside.

    The options are as in ``Config``; without any, images stay as they are.
    """
    height, width = image.shape[1:3]
    nodes = min(height, width, ELASTIC_NODES)
    bend = [jnp.asarray(bicubic_weights(nodes, side), jnp.float32) for side in (height, width)]
    place = np.indices((height, width), np.float32)
    centre = np.asarray([height - 1, width - 1], np.float32).reshape(2, 1, 1) / 2.0

    def one(key: PRNGKey, image: Array) -> Array:
        keys = dict(zip(("turn", "zoom", "shift", "bend"), jax.random.split(key, 4), strict=True))
        angle = math.radians(rotation) * _symmetric(keys["turn"], ())
        scale = 1.0 + zoom * _symmetric(keys["zoom"], (2,))
        moved = shift * _symmetric(keys["shift"], (2, 1, 1))
        bent = elastic * jax.random.normal(keys["bend"], (2, nodes, nodes))
        bent = jnp.einsum("yi,dij,xj->dyx", bend[0], bent, bend[1])
        turn = jnp.asarray([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        source = jnp.einsum("de,eyx->dyx", turn / scale[None, :], place - centre)
        source = source + centre + moved + bent

        def sample(channel: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(channel, list(source), order=1)

        return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)

    keys = example_keys(key, example_numbers(image, axis_name))
    return jax.vmap(one)(keys, images.to_float(image))


def _symmetric(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    label_smoothing: float = 0.0,
    shift: float = 0.0,
    rotation: float = 0.0,
    zoom: float = 0.0,
    elastic: float = 0.0,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One update by the cross-entropy of augmented images.

    Reads ``batch["image"]`` and ``batch["label"]``. Metrics: ``loss`` (nats an image), and
    ``accuracy`` on the augmented images.
    """
    x = augment(
        state.step_keys("augment")["augment"],
        batch["image"],
        shift=shift,
        rotation=rotation,
        zoom=zoom,
        elastic=elastic,
        axis_name=axis_name,
    )
    one_hot = jax.nn.one_hot(batch["label"], digits.N_CLASSES)
    targets = optax.smooth_labels(one_hot, label_smoothing)

    def loss(params: Params) -> tuple[Array, Array]:
        _, logits = state.model.apply({"params": params}, x)
        accuracy = jnp.mean(logits.argmax(1) == batch["label"])
        return optax.softmax_cross_entropy(logits, targets).mean(), accuracy

    grads, value, accuracy = mean_gradients(loss, state.params, axis_name)
    return state.apply_gradients(grads), {"loss": value, "accuracy": accuracy}


# What is measured and shown


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes the network, its step, and what is measured and drawn of it."""
    check(config, spec)
    network = digits.DigitNetwork()
    key_init, key_state, key_show = jax.random.split(jax.random.key(config.seed), 3)
    bending = {name: getattr(config, name) for name in ("shift", "rotation", "zoom", "elastic")}
    bend = jax.jit(functools.partial(augment, **bending))

    def init(train: data.AnyDataset) -> TrainState:
        del train
        return TrainState.create(
            model=network,
            tx=optax.adam(config.rate(n_examples)),
            params=jax.jit(network.init)(key_init, jnp.zeros((1, *spec.shape)))["params"],
            key=key_state,
            ema_decay=config.ema_decay,
        )

    def pictures(state: TrainState, splits: Splits, run_dir: Path) -> None:
        digits.save(run_dir / "digits.safetensors", state.eval_params)
        add_pictures(run_dir, splits.test, measure(state, splits.test))
        few = data.some(splits.train, SHOWN)["image"]
        add_augmented(run_dir, bend(key_show, jnp.asarray(few)))

    return Setup(
        init=init,
        train_step=functools.partial(train_step, label_smoothing=config.label_smoothing, **bending),
        validate=lambda state, splits: means(measure(state, splits.validation)),
        film=lambda state, splits: worst(splits.validation, measure(state, splits.validation)),
        test=test_metrics,
        pictures=pictures,
        best=("nll", "min"),
    )


def judge(params: Params, batch: Batch) -> Metrics:
    """Each image's ``nll`` (nats), its ``guess``, and whether that is right (``accuracy``), [B]."""
    apply: Any = digits.DigitNetwork().apply
    _, logits = apply({"params": params}, images.to_float(batch["image"]))
    guess, label = logits.argmax(1), batch["label"]
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return {"nll": nll, "guess": guess, "accuracy": (guess == label).astype(jnp.float32)}


@functools.cache
def compiled_judge() -> training.CompiledEval:
    """``judge`` on the devices of this process: one program for all splits."""
    return training.compile_eval(judge, training.local_mesh())


def measure(state: TrainState, part: data.Dataset) -> Judged:
    """What ``judge`` says of every image of a split, by the weights as they are written."""
    params = digits.make(state.eval_params).params
    return compiled_judge().in_chunks(params, part.take(np.arange(len(part))), 500)


def means(judged: Judged) -> dict[str, float]:
    """The average over a split of what has one."""
    return {name: float(judged[name].mean(dtype=np.float64)) for name in ("nll", "accuracy")}


def test_metrics(state: TrainState, test: data.Dataset) -> dict[str, float | str]:
    """Accuracy, errors and likelihood of the test images, and the weights' digest."""
    judged = measure(state, test)
    metrics: dict[str, float | str] = {f"test/{name}": v for name, v in means(judged).items()}
    metrics["test/errors"] = int((judged["accuracy"] == 0).sum())
    metrics["weights_digest"] = digits.make(state.eval_params).digest
    return metrics


def check(config: Config, spec: data.ExampleSpec) -> None:
    """Raises ``UsageError`` unless examples are labelled digits of MNIST's size."""
    try:
        digits.check_digits((1, *spec.shape))
    except ValueError:
        raise UsageError(
            f"the classifier is one of gray images of {digits.SIZE}×{digits.SIZE} pixels, and "
            f"those of {config.dataset} are {spec.shape}: --image-size {digits.SIZE} and "
            "--channels 1 make them so"
        ) from None
    if spec.class_names != DIGITS:
        named = ", ".join((spec.class_names or ())[:12])
        raise UsageError(f"labels are the digits 0 to 9, and {config.dataset} has {named}")


def worst(part: data.Dataset, judged: Judged) -> np.ndarray:
    """The images whose label the network gives the least probability, worst first."""
    return part.take(np.argsort(-judged["nll"], kind="stable")[:SHOWN])["image"]


def add_pictures(run_dir: Path, test: data.Dataset, judged: Judged) -> None:
    """Adds the worst recognized test images, and what was taken for what."""
    reporting.add_picture(
        run_dir,
        "worst",
        images.grid(worst(test, judged)),
        title="Hardest test images",
        caption="Those whose digit the classifier gives the least probability, the worst first.",
    )
    labels = test.take(np.arange(len(test)))["label"]
    counts = np.zeros((digits.N_CLASSES, digits.N_CLASSES), np.int64)
    np.add.at(counts, (labels, judged["guess"]), 1)
    reporting.add_table(
        run_dir,
        "confusion",
        ["digit", *(f"read as {i}" for i in range(digits.N_CLASSES))],
        [(str(i), *map(int, row)) for i, row in enumerate(counts)],
        title="What is taken for what",
        caption="Test images by their digit (rows) and by what the classifier reads (columns).",
    )


def add_augmented(run_dir: Path, image: Array) -> None:
    """Adds images as the network sees them in training."""
    reporting.add_picture(
        run_dir,
        "augmented",
        images.grid(np.asarray(images.to_uint8(image))),
        title="Augmented images",
        caption="Training images, moved, turned, stretched and bent as in training.",
    )


EXPERIMENT = Training("train_digit_classifier", __doc__, PRESETS, build=build)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
