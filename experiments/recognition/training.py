"""How a shipped classifier is trained and measured, whatever images it reads."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.recognition import pictures
from experiments.recognition.augment import Augmentation, augment
from experiments.running.config import ImageRunConfig, Labels
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup
from experiments.running.options import UsageError, require_at_least, where
from gen_jax import data, images, training
from gen_jax.evaluation.classifiers import Kind
from gen_jax.meshes import mean_gradients
from gen_jax.state import TrainState
from gen_jax.typing import Array, Batch, Metrics, Params, PRNGKey

Judged = dict[str, np.ndarray]  # of each image of a split: nll, guess, accuracy


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(ImageRunConfig):
    """Train and evaluate a classifier."""

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
    """Share of a label's probability that is spread evenly over all classes."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(0, self, "shift", "rotation", "zoom", "elastic")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(f"--label-smoothing must lie in [0, 1), got {self.label_smoothing}")

    @property
    def labels(self) -> Labels:
        return "required"

    @property
    def augmentation(self) -> Augmentation:
        """How training images are changed."""
        return Augmentation(
            shift=self.shift, rotation=self.rotation, zoom=self.zoom, elastic=self.elastic
        )


# The step


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    augmentation: Augmentation,
    label_smoothing: float = 0.0,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One update by the cross-entropy of augmented images.

    Reads ``batch["image"]`` and ``batch["label"]``. Metrics: ``loss`` (nats an image), and
    ``accuracy`` on the augmented images.
    """
    key = state.step_keys("augment")["augment"]
    x = augment(key, batch["image"], augmentation, axis_name=axis_name)

    def loss(params: Params) -> tuple[Array, Array]:
        _, logits = state.model.apply({"params": params}, x)
        one_hot = jax.nn.one_hot(batch["label"], logits.shape[1])
        targets = optax.smooth_labels(one_hot, label_smoothing)
        accuracy = jnp.mean(logits.argmax(1) == batch["label"])
        return optax.softmax_cross_entropy(logits, targets).mean(), accuracy

    grads, value, accuracy = mean_gradients(loss, state.params, axis_name)
    return state.apply_gradients(grads), {"loss": value, "accuracy": accuracy}


# What is measured


def build(kind: Kind, config: ClassifierConfig, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes a kind's network, its step, and what is measured and drawn of it.

    The weights are written to the run's folder under their shipped name.
    """
    check(kind, config, spec)
    key_init, key_state, key_show = jax.random.split(jax.random.key(config.seed), 3)

    def start(key: PRNGKey, key_state: PRNGKey) -> TrainState:
        variables: Any = kind.network.init(key, jnp.zeros((1, *spec.shape)))
        return TrainState.create(
            model=kind.network,
            tx=optax.adam(config.rate(n_examples)),
            params=variables["params"],
            key=key_state,
            ema_decay=config.ema_decay,
        )

    def measured(state: TrainState, part: data.Dataset) -> Judged:
        return measure(kind, state.eval_params, part)

    def test(state: TrainState, test: data.Dataset) -> dict[str, float | int | str]:
        judged = measured(state, test)
        metrics: dict[str, float | int | str] = {f"test/{n}": v for n, v in means(judged).items()}
        metrics["test/errors"] = int((judged["accuracy"] == 0).sum())
        metrics["weights_digest"] = kind.make(state.eval_params).digest
        return metrics

    def draw(state: TrainState, splits: Splits, run_dir: Path) -> None:
        kind.save(run_dir / kind.shipped.name, state.eval_params)
        pictures.add_judged(run_dir, splits.test, measured(state, splits.test), kind.class_names)
        few = data.some(splits.train, pictures.SHOWN)["image"]
        change = training.compile_once(functools.partial(augment, how=config.augmentation))
        pictures.add_augmented(run_dir, change(key_show, jnp.asarray(few)))

    return Setup(
        init=lambda train: training.compile_once(start)(
            jax.random.clone(key_init), jax.random.clone(key_state)
        ),
        train_step=functools.partial(
            train_step,
            augmentation=config.augmentation,
            label_smoothing=config.label_smoothing,
        ),
        validate=lambda state, splits: means(measured(state, splits.validation)),
        film=lambda state, splits: pictures.worst(
            splits.validation, measured(state, splits.validation)["nll"]
        ),
        test=test,
        pictures=draw,
        best=("nll", "min"),
    )


def measure(kind: Kind, params: Params, part: data.Dataset) -> Judged:
    """``nll`` (nats), ``guess``, and whether that is right (``accuracy``), of every image of a
    split, by the weights as they are written."""
    params = kind.make(params).params
    return _compiled(kind).in_chunks(params, part.take(np.arange(len(part))), 500)


def means(judged: Judged) -> dict[str, float]:
    """The average over a split of what has one."""
    return {name: float(judged[name].mean(dtype=np.float64)) for name in ("nll", "accuracy")}


def check(kind: Kind, config: ClassifierConfig, spec: data.ExampleSpec) -> None:
    """Raises ``UsageError`` unless examples have the kind's size and classes."""
    if spec.shape != kind.image_shape:
        height, width, channels = kind.image_shape
        raise UsageError(
            f"{kind.called} is trained on {'gray' if channels == 1 else 'RGB'} images of "
            f"{height}×{width} pixels, and those of {config.dataset} are {spec.shape}: "
            f"--image-size {height} and --channels {channels} make them so"
        )
    if spec.class_names != kind.class_names:
        wanted, named = (
            ", ".join(names[:12]) for names in (kind.class_names, spec.class_names or ())
        )
        raise UsageError(f"the classes are {wanted}, and {config.dataset} has {named}")


@functools.cache
def _compiled(kind: Kind) -> training.CompiledEval:
    """One program for all splits, on the devices of this process."""
    return training.compile_eval(functools.partial(_judge, kind.network), training.local_mesh())


def _judge(network: Any, params: Params, batch: Batch) -> Metrics:
    _, logits = network.apply({"params": params}, images.to_float(batch["image"]))
    guess, label = logits.argmax(1), batch["label"]
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return {"nll": nll, "guess": guess, "accuracy": (guess == label).astype(jnp.float32)}
