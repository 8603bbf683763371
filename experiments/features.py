"""What a linear classifier reads off images with 10, 100 or 1,000 labels, feature by feature.

python -m experiments.features

Raw pixels, principal components, k-means, and an autoencoder and a VAE: all are fitted to the same
images without labels. The two networks are trained as runs of their own, in the folders
``autoencoder/`` and ``vae/`` of this run's.

Test accuracy on mnist-subset (9,000 images without labels; ten draws of labels; two x86 cores):

    labels                  10     100   1,000
    raw pixels           0.399   0.712   0.842
    k-means triangle     0.446   0.765   0.881
    VAE code, 8 units    0.463   0.760   0.829
    VAE layer            0.483   0.799   0.902

Measured after 20 epochs of the autoencoder and 30 of the VAE. The width of 8 was chosen on
validation images (``--probe-on validation``): there the VAE's code gives 0.487, 0.784, 0.851 with 8
units, 0.423, 0.745, 0.838 with 16 and 0.398, 0.734, 0.843 with 32,
raw pixels 0.430, 0.764, 0.864. Each network was trained once. A likely reason why a wider code does
worse with few labels is that the prior spreads a code evenly over its units, like whitening
(which costs principal components as much), so that few labels cannot tell which of them matter.
With 1,000 labels both networks' codes are below raw pixels, and only their wide layers win.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from experiments import autoencoder, vae
from experiments.running.config import ImageConfig, Labels
from experiments.running.experiment import Findings, Job, Study
from experiments.running.fitting import Training
from experiments.running.nested import Nested, within
from experiments.running.options import UsageError, free, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main, say
from gen_jax import evaluation, images, latent, reporting, training
from gen_jax.classical import kmeans, pca
from gen_jax.state import TrainState
from gen_jax.typing import Batch

CHUNK = 2000  # images encoded at a time
Results = dict[str, tuple[int, list[np.ndarray]]]  # of each kind: width, accuracies by n_labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Compare features by the accuracy of a linear probe with few labels."""

    n_labels: tuple[int, ...] = (10, 100, 1000)
    """How many labels a probe sees; each a multiple of the number of classes."""
    draws: int = 10
    """Random choices of the labelled images; the table has their mean and deviation."""
    components: int = 50
    """Principal components."""
    clusters: int = 200
    """Centroids of k-means."""
    code_dim: int = 8
    """Units of the autoencoder's and the VAE's code."""
    hidden: tuple[int, ...] = (400, 400)
    """Units of the networks' dense layers."""
    probe_on: Literal["test", "validation"] = "test"
    """Where accuracy is measured: choose settings on validation images, report on test images."""
    epochs: float = 40.0
    """Passes of the networks over the training images."""
    evaluations: int = free(8)
    """Number of times a network's run evaluates on validation data, samples, and saves."""

    def __post_init__(self):
        super().__post_init__()
        names = ("draws", "components", "clusters", "code_dim", "evaluations")
        require_at_least(1, self, *names)
        if self.probe_on == "validation" and self.validation_fraction == 0.0:
            raise UsageError("--probe-on validation needs --validation-fraction above 0")

    @property
    def labels(self) -> Labels:
        return "required"


PRESETS = {
    "smoke": Config(  # widths alike, so that few programs are compiled
        n_labels=(20,),
        draws=2,
        components=16,
        clusters=16,
        code_dim=16,
        hidden=(64,),
        epochs=1.0,
        evaluations=1,
    ),
    "default": Config(),
    "paper": Config(dataset="tfds:mnist", clusters=1000, epochs=200.0),
}


class Features(NamedTuple):
    """One kind of features of the training and the test images, [n, d] and [n_test, d]."""

    name: str
    train: jax.Array
    test: jax.Array


def work(job: Job) -> Findings:
    """Trains what must be, probes every kind of features, and puts all in a table and a plot."""
    config, splits, run_dir = job.config, job.data, job.run.dir
    train = splits.train.take(np.arange(len(splits.train)))
    held_out = splits.test if config.probe_on == "test" else splits.validation
    test = held_out.take(np.arange(len(held_out)))
    n_classes = count_classes(config, splits.train.class_names or (), train)
    networks = {
        "autoencoder": train_network(
            job, autoencoder.EXPERIMENT, network="dense", code_dim=config.code_dim
        ),
        "vae": train_network(job, vae.EXPERIMENT, latent_dim=config.code_dim),
    }
    key = jax.random.key(config.seed)
    results: Results = {}
    for name, x, x_test in all_features(config, train["image"], test["image"], networks):
        scores = [
            np.asarray(
                evaluation.few_label_accuracy(
                    jax.random.fold_in(key, n),  # every kind sees the same draws of labels
                    x,
                    jnp.asarray(train["label"]),
                    x_test,
                    jnp.asarray(test["label"]),
                    n_labels=n,
                    n_classes=n_classes,
                    draws=config.draws,
                    evaluate=probes(n_classes),
                )
            )
            for n in config.n_labels
        ]
        results[name] = (x.shape[1], scores)
        if not config.quiet:
            say(f"{name}: " + ", ".join(f"{s.mean():.3f}" for s in scores))
    add_results(config, results, run_dir)
    return findings(config, results, networks)


@functools.cache
def probes(n_classes: int) -> training.CompiledEval:
    """``evaluation.probe_accuracy``, its draws spread over the devices or the cores."""
    mesh = training.local_mesh()
    everywhere, spread = PartitionSpec(), PartitionSpec("data")
    accuracy = functools.partial(evaluation.probe_accuracy, n_classes=n_classes)
    # Each device takes its own draws: a loop over those of all XLA would run on every device.
    apart = jax.shard_map(
        accuracy, mesh=mesh, in_specs=(everywhere, spread), out_specs=spread, check_vma=False
    )
    return training.compile_eval(apart, mesh, on_cores=True)


def count_classes(config: Config, names: Sequence[str] | None, train: dict[str, np.ndarray]) -> int:
    """The number of classes, once it is sure that the probes can be drawn."""
    if names is None:
        raise UsageError(f"features are compared by their classes, and {config.dataset} has none")
    n_classes = len(names)
    for n in config.n_labels:
        if n < n_classes or n % n_classes:
            raise UsageError(f"--n-labels must be multiples of the {n_classes} classes, got {n}")
    fewest = np.bincount(train["label"], minlength=n_classes).min()
    if max(config.n_labels) > fewest * n_classes:
        raise UsageError(
            f"--n-labels {max(config.n_labels)} needs {max(config.n_labels) // n_classes} images "
            f"of each class, and one of {config.dataset} has {fewest}"
        )
    return n_classes


def train_network(job: Job, experiment: Training, **choices: Any) -> training.FitResult:
    """Trains one network as its own experiment does, and resumes where it was interrupted."""
    config = job.config
    settings = within(
        config,
        experiment.presets["default"],
        **choices,
        hidden=config.hidden,
        steps=None,
        epochs=config.epochs,
        evaluations=config.evaluations,
    )
    return Nested.of(job, experiment.name, experiment, settings).train()


def all_features(
    config: Config,
    image: np.ndarray,
    image_test: np.ndarray,
    networks: Mapping[str, training.FitResult],
) -> Iterator[Features]:
    """Every kind of features, one at a time."""
    x, x_test = (images.to_float(jnp.asarray(i)).reshape(len(i), -1) for i in (image, image_test))
    yield Features("raw pixels", x, x_test)
    axes = pca.fit(x, min(config.components, *x.shape))
    yield Features("PCA", pca.transform(axes, x), pca.transform(axes, x_test))
    found = kmeans.fit(
        jax.random.key(config.seed), x, min(config.clusters, len(x)), restarts=1, max_iterations=50
    )
    near, near_test = (kmeans.transform(found.centroids, each) for each in (x, x_test))
    yield Features("k-means distances", near, near_test)
    yield Features("k-means triangle", triangle(near), triangle(near_test))
    for experiment, kinds in NETWORK_FEATURES.items():
        state = networks[experiment].state
        for name, encode in kinds.items():
            yield Features(name, encoded(encode, state, image), encoded(encode, state, image_test))


def triangle(distances: jax.Array) -> jax.Array:
    """How much nearer than average each centroid is, 0 for the others (Coates et al. 2011)."""
    return jnp.maximum(distances.mean(axis=1, keepdims=True) - distances, 0.0)


def autoencoder_code(state: TrainState, batch: Batch) -> jax.Array:
    """The autoencoder's code."""
    return latent.autoencoder.encode(state.model, state.eval_params, batch["image"])


def autoencoder_layer(state: TrainState, batch: Batch) -> jax.Array:
    """The last layer of the autoencoder's encoder, which the code is a linear map of."""
    return encoder_layer(state, images.to_float(batch["image"]))


def vae_code(state: TrainState, batch: Batch) -> jax.Array:
    """The mean of q(z|x)."""
    return latent.encode(state.model, state.eval_params, batch["image"])[0]


def vae_layer(state: TrainState, batch: Batch) -> jax.Array:
    """The last layer of the VAE's encoder, which mean and variance are linear maps of."""
    x = state.model.likelihood.expected_input(batch["image"])
    return encoder_layer(state, x)


def encoder_layer(state: TrainState, x: jax.Array) -> jax.Array:
    """What a model's encoder makes of ``x``, before the code."""
    hidden: Any = state.model.apply(
        {"params": state.eval_params}, x, method=lambda model, x: model.encoder(x)
    )
    return hidden.astype(jnp.float32).reshape(len(x), -1)


Encode = Callable[[TrainState, Batch], jax.Array]
NETWORK_FEATURES: dict[str, dict[str, Encode]] = {
    "autoencoder": {"autoencoder code": autoencoder_code, "autoencoder layer": autoencoder_layer},
    "vae": {"VAE code": vae_code, "VAE layer": vae_layer},
}


def encoded(encode: Encode, state: TrainState, image: np.ndarray) -> jax.Array:
    """Features of many images, in chunks of bounded memory."""
    found = training.compile_eval(encode).in_chunks(state, {"image": image}, CHUNK)
    return jnp.asarray(found)


def add_results(config: Config, results: Results, run_dir: Path) -> None:
    """Adds the plot and the table of accuracies."""
    means = {name: [s.mean() for s in scores] for name, (_, scores) in results.items()}
    deviations = {name: [s.std() for s in scores] for name, (_, scores) in results.items()}
    about = (
        f"Accuracy of multinomial logistic regression on {config.probe_on} images; mean and "
        f"standard deviation over {config.draws} draws of the labelled images, the same for all "
        "features. The strength of its L2 penalty is cross-validated within the drawn labels."
    )
    reporting.add_picture(
        run_dir,
        "few-labels",
        reporting.plots.curves(
            {name: (config.n_labels, means[name], deviations[name]) for name in results},
            x_label="labels",
            y_label=f"{config.probe_on} accuracy",
            log_x=True,
        ),
        title="Accuracy by number of labels",
        caption=about,
    )
    reporting.add_table(
        run_dir,
        "few-labels-table",
        ["features", "dimensions", *(f"{n:,} labels" for n in config.n_labels)],
        [
            (
                name,
                width,
                *(f"{m:.3f} ± {d:.3f}" for m, d in zip(means[name], deviations[name], strict=True)),
            )
            for name, (width, _) in results.items()
        ],
        title="Accuracy by features",
        caption="The numbers of the plot above.",
    )


def findings(
    config: Config, results: Results, networks: Mapping[str, training.FitResult]
) -> Findings:
    """The summary: an accuracy for each kind of features and number of labels."""
    metrics: dict[str, float | int | str] = {}
    for name, (_, scores) in results.items():
        kind = name.lower().replace(" ", "_").replace("-", "")
        for n, s in zip(config.n_labels, scores, strict=True):
            metrics[f"{config.probe_on}/accuracy_{kind}_{n}"] = float(s.mean())
    return Findings(
        params={name: result.state.params for name, result in networks.items()},
        steps=sum(result.steps for result in networks.values()),
        examples_per_s=min(result.examples_per_s for result in networks.values()),
        metrics=metrics,
    )


EXPERIMENT = Study("features", __doc__, PRESETS, function=work)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
