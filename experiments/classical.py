"""k-means and principal components: what can be had of images without any network.

python -m experiments.classical
python -m experiments.classical --clusters 50 --dataset folder:PHOTOS --image-size 32
"""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.running.config import ImageConfig
from experiments.running.experiment import Findings, Job, Study
from experiments.running.options import UsageError, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import data, evaluation, images, reporting
from gen_jax.classical import kmeans, pca

SHOWN_COMPONENTS = 20
SHOWN_POINTS = 3000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Cluster images by k-means, and find their principal components."""

    clusters: int = 10
    restarts: int = 10
    """Starts of k-means; the best is kept."""
    components: int = 50
    max_images: int | None = None
    """Use this many training images, from all over the set; default all."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "clusters", "restarts", "components")
        require_at_least(2, self, "max_images")


PRESETS = {
    "smoke": Config(restarts=2, components=20, max_images=1000),
    "default": Config(validation_fraction=0.0),
    "paper": Config(dataset="tfds:mnist", validation_fraction=0.0),
}


def rows(image: np.ndarray) -> jax.Array:
    """uint8 images as the rows of a matrix, floats in [0, 1]."""
    return images.to_float(jnp.asarray(image)).reshape(len(image), -1)


def work(job: Job) -> Findings:
    """Fits both, measures them on training and test images, and draws what they found."""
    config, splits, run_dir = job.config, job.data, job.run.dir
    train = data.some(splits.train, config.max_images or len(splits.train))
    test = splits.test.take(np.arange(len(splits.test)))
    x, x_test = rows(train["image"]), rows(test["image"])
    for name, most in (("clusters", len(x)), ("components", min(x.shape))):
        if getattr(config, name) > most:
            raise UsageError(
                f"--{name} is at most {most} for {len(x)} images of {x.shape[1]} values, "
                f"got {getattr(config, name)}"
            )
    start = time.perf_counter()
    found = kmeans.fit(jax.random.key(config.seed), x, config.clusters, restarts=config.restarts)
    iterations = int(found.n_iterations)  # waits for the device
    seconds = time.perf_counter() - start
    axes = pca.fit(x, config.components)
    rebuilt = pca.inverse_transform(axes, pca.transform(axes, x_test))

    add_clusters(run_dir, splits.train, train, found)
    add_components(run_dir, splits.train, axes, test, rebuilt)
    if "label" in train:
        add_plane(run_dir, splits.train, train, pca.transform(axes, x))
    return Findings(
        params={"kmeans": found.centroids, "pca": axes},
        steps=iterations,
        examples_per_s=len(x) * iterations * config.restarts / seconds,
        metrics={
            "train/inertia": float(found.inertia),
            **match(train, found.assignments, "train"),
            **match(test, kmeans.predict(found.centroids, x_test), "test"),
            "train/explained_variance_ratio": float(axes.explained_variance_ratio.sum()),
            "test/mse": float(jnp.mean((rebuilt - x_test) ** 2)),
        },
    )


def match(part: dict[str, np.ndarray], clusters: jax.Array, split: str) -> dict[str, float]:
    """How well clusters match the classes, where these are known."""
    if "label" not in part:
        return {}
    labels = jnp.asarray(part["label"])
    scores = {
        "purity": evaluation.purity(labels, clusters),
        "nmi": evaluation.normalized_mutual_information(labels, clusters),
    }
    return {f"{split}/{name}": float(score) for name, score in scores.items()}


def as_images(x: jax.Array, shape: tuple[int, int, int]) -> np.ndarray:
    """Rows of floats in [0, 1] as uint8 images."""
    return np.asarray(images.to_uint8(x.reshape(-1, *shape)))


def add_clusters(
    run_dir: Path, dataset: data.Dataset, train: dict[str, np.ndarray], found: kmeans.Clustering
) -> None:
    """Adds the centroids, and where labels are known what each cluster holds."""
    clusters = np.asarray(found.assignments)
    sizes = np.bincount(clusters, minlength=len(found.centroids))
    order = np.argsort(-sizes, kind="stable")
    reporting.add_picture(
        run_dir,
        "centroids",
        images.grid(as_images(found.centroids[order], dataset.image_shape), columns=10),
        title="Centroids",
        caption=f"The mean image of each of {len(order)} clusters, the largest cluster first.",
    )
    names = dataset.class_names
    if names is None:
        return
    lines = []
    for place, cluster in enumerate(order, start=1):
        held = np.bincount(train["label"][clusters == cluster], minlength=2)
        size = int(sizes[cluster])
        first, second = (
            # A cluster may hold one class alone.
            (names[label], held[label] / size) if held[label] else (None, None)
            for label in np.argsort(-held, kind="stable")[:2]
        )
        lines.append((str(place), size, *first, *second))
    reporting.add_table(
        run_dir,
        "clusters",
        ["cluster", "images", "most frequent class", "share", "second", "share"],
        lines,
        title="What the clusters hold",
        caption="Classes of the training images in each cluster; k-means never saw them.",
    )


def add_components(
    run_dir: Path,
    dataset: data.Dataset,
    axes: pca.PCA,
    test: dict[str, np.ndarray],
    rebuilt: jax.Array,
) -> None:
    """Adds the components as pictures, what they explain, and images rebuilt from them."""
    shape = dataset.image_shape
    shown = axes.components[:SHOWN_COMPONENTS]
    # Around middle gray, each stretched to its own largest entry.
    stretched = 0.5 + 0.5 * shown / jnp.max(jnp.abs(shown), axis=1, keepdims=True)
    reporting.add_picture(
        run_dir,
        "components",
        images.grid(as_images(stretched, shape), columns=10),
        title="Principal components",
        caption=f"The first {len(shown)} directions of largest variance, row by row; gray is 0.",
    )
    share = np.cumsum(np.asarray(axes.explained_variance_ratio))
    reporting.add_picture(
        run_dir,
        "explained-variance",
        reporting.plots.curves(
            {"share": (np.arange(1, len(share) + 1), share)},
            x_label="components",
            y_label="share of the variance explained",
        ),
        title="Explained variance",
        caption="Share of the training images' variance that the first components keep.",
    )
    shown = data.spread(len(rebuilt), 10)
    pairs = np.concatenate([test["image"][shown], as_images(rebuilt[shown], shape)])
    reporting.add_picture(
        run_dir,
        "reconstructions",
        images.grid(pairs, columns=len(shown)),
        title="Reconstructions",
        caption=f"Test images above, below what {len(axes.components)} components keep of them.",
    )


def add_plane(
    run_dir: Path, dataset: data.Dataset, train: dict[str, np.ndarray], z: jax.Array
) -> None:
    """Adds the training images as points of the plane of the first two components."""
    if z.shape[1] < 2:
        return
    shown = data.spread(len(z), SHOWN_POINTS)
    reporting.add_picture(
        run_dir,
        "plane",
        reporting.plots.latent_scatter(
            np.asarray(z[shown, :2]),
            train["label"][shown],
            class_names=dataset.class_names,
            x_label="first component",
            y_label="second component",
        ),
        title="The plane of the first two components",
        caption=f"{len(shown)} training images, coloured by class.",
    )


EXPERIMENT = Study("classical", __doc__, PRESETS, function=work)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
