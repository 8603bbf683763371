"""What a trained PixelCNN's or PixelRNN's report shows: samples, completions, and likelihoods."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.pixels.sampler import Sampler
from gen_jax import autoregressive, data, images, reporting, training
from gen_jax.state import TrainState
from gen_jax.typing import Batch, PRNGKey

COLUMNS = 10
COMPLETIONS = 3


def add_pictures(
    state: TrainState,
    run_dir: Path,
    *,
    test: data.Dataset,
    sampler: Sampler,
    key: PRNGKey,
    class_names: Sequence[str] | None,
    compared: int,
) -> None:
    """Adds samples, completions, likelihoods by class, and outliers to the run's report.

    Likelihoods are those of ``compared`` test images from all over the set.
    """
    keys = jax.random.split(key, 3)
    add_samples(state, run_dir, sampler, keys[0])
    examples = data.some(test, compared)
    add_completions(state, run_dir, sampler, keys[1], examples)
    scores = Scores(state, keys[2])
    if "label" in examples:
        add_classes(run_dir, scores, examples, class_names)
    add_outliers(run_dir, scores, examples["image"])


def add_samples(state: TrainState, run_dir: Path, sampler: Sampler, key: PRNGKey) -> None:
    """Adds a sheet of new images: a class a row where the model knows classes."""
    n_classes = state.model.n_classes
    rows = n_classes or 6
    label = None if n_classes is None else np.repeat(np.arange(n_classes), COLUMNS)
    drawn = sampler(key, state, rows * COLUMNS, label=label, quiet=True)
    reporting.add_picture(
        run_dir,
        "new-images",
        images.grid(drawn, columns=COLUMNS),
        title="Samples" if n_classes is None else "Samples by class",
        caption="Drawn pixel by pixel from the model."
        if n_classes is None
        else "Drawn pixel by pixel from p(x | class), one class per row.",
    )


def add_completions(
    state: TrainState,
    run_dir: Path,
    sampler: Sampler,
    key: PRNGKey,
    examples: dict[str, np.ndarray],
) -> None:
    """Adds test images whose lower half the model draws: what was, what it saw, and its answers."""
    shown = data.spread(len(examples["image"]), COLUMNS)
    n = len(shown)
    likelihood = state.model.likelihood
    seen = likelihood.to_data(likelihood.quantize(jnp.asarray(examples["image"][shown])))
    original = np.asarray(seen)
    mask = np.zeros((n, *original.shape[1:3], 1), bool)
    mask[:, : original.shape[1] // 2] = True
    knows_classes = state.model.n_classes is not None
    places = np.tile(np.arange(n), COMPLETIONS)
    completed = sampler(
        key,
        state,
        len(places),
        label=examples["label"][shown[places]] if knows_classes else None,
        evidence=autoregressive.Evidence(original[places], mask[places]),  # pyright: ignore -- NumPy's
        quiet=True,
    )
    half = np.where(mask, original, np.uint8(128))
    reporting.add_picture(
        run_dir,
        "completions",
        images.grid(np.concatenate([original, half, completed]), columns=n),
        title="Completions",
        caption="Test images, the half that the model was shown, and three continuations"
        + (" given the class." if knows_classes else "."),
    )


class Scores:
    """Negative log-likelihoods, nats an image, of any images."""

    def __init__(self, state: TrainState, key: PRNGKey):
        self.state, self.key = state, key
        self.n_classes = state.model.n_classes
        self._nll = training.compile_eval(_nll, training.local_mesh())

    def __call__(self, image: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
        """[N], in chunks; ``label`` [N] where the model knows classes."""
        batch = {"image": image, "number": np.arange(len(image))}
        if label is not None:
            batch["label"] = label.astype(np.int32)
        return self._nll.in_chunks((self.key, self.state), batch, 100)

    def by_class(self, image: np.ndarray) -> np.ndarray:
        """[N, n_classes]: under each class; [N, 1] for a model without classes."""
        if self.n_classes is None:
            return self(image)[:, None]
        columns = [self(image, np.full(len(image), c)) for c in range(self.n_classes)]
        return np.stack(columns, axis=1)

    def over_classes(self, image: np.ndarray) -> np.ndarray:
        """[N]: of p(x), the mean of p(x | class) over all classes, each as probable."""
        nll = self.by_class(image)
        return np.log(nll.shape[1]) - np.logaddexp.reduce(-nll, axis=1)


def _nll(given: tuple[PRNGKey, TrainState], batch: Batch) -> jax.Array:
    key, state = given
    return -autoregressive.log_prob(
        state.model,
        state.eval_params,
        batch["image"],
        cond=batch.get("label"),
        key=key,
        numbers=batch["number"],
    )


def add_classes(
    run_dir: Path,
    scores: Scores,
    examples: dict[str, np.ndarray],
    class_names: Sequence[str] | None,
) -> None:
    """Adds the mean likelihood of each class, and how often a class is known by likelihood."""
    image, label = examples["image"], examples["label"]
    nll = scores.by_class(image)
    own = nll[np.arange(len(label)), label] if scores.n_classes else nll[:, 0]
    right = nll.argmin(1) == label
    rows = []
    for c in np.unique(label):
        mine = label == c
        row = [class_names[c] if class_names else str(c), int(mine.sum()), float(own[mine].mean())]
        rows.append((*row, float(right[mine].mean())) if scores.n_classes else tuple(row))
    columns = ["class", "images", "NLL [nats]"]
    reporting.add_table(
        run_dir,
        "classes",
        columns + (["recognized"] if scores.n_classes else []),
        rows,
        title="Likelihood by class",
        caption="Mean over test images of each class."
        + (
            " Recognized: the share whose own class makes them likeliest, of all classes "
            f"({right.mean():.1%} over all)."
            if scores.n_classes
            else ""
        ),
    )


def add_outliers(run_dir: Path, scores: Scores, image: np.ndarray) -> None:
    """Adds likelihoods of test images beside the same inverted, and with their pixels shuffled."""
    from scipy.stats import rankdata  # late: it takes most of a second to import

    image = image[data.spread(len(image), 200)]
    order = np.random.default_rng(0).permutation(image[0].size // image.shape[-1])
    shuffled = image.reshape(len(image), -1, image.shape[-1])[:, order].reshape(image.shape)
    kinds = {"test images": image, "inverted": 255 - image, "shuffled": shuffled}
    nll = {name: scores.over_classes(x) for name, x in kinds.items()}
    mean = " p(x) is the mean of p(x | class) over all classes, each as probable."
    about = mean if scores.n_classes else ""
    rows = []
    for name, values in nll.items():
        ranks = rankdata(np.concatenate([nll["test images"], values]))
        above = ranks[len(image) :].sum() - len(values) * (len(values) + 1) / 2
        share = float(above / (len(image) * len(values)))
        rows.append((name, float(values.mean()), None if values is nll["test images"] else share))
    reporting.add_picture(
        run_dir,
        "outliers",
        reporting.plots.histograms(nll, x_label="negative log-likelihood [nats]"),
        title="Inliers and outliers",
        caption="Test images, the same inverted, and with their pixels in a random order." + about,
    )
    reporting.add_table(
        run_dir,
        "outliers-table",
        ["images", "NLL [nats]", "AUROC"],
        rows,
        title="Outlier detection by likelihood",
        caption="The area under the ROC curve: how often an outlier is less likely than a test "
        "image." + about,
    )
