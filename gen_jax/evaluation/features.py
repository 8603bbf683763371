"""How much of a class a linear map can read off features, given few labels.

    minimize over W, b:   mean_i  -log softmax(f_i W + b)[y_i]  +  l2 / 2 |W|^2

Features are centered and divided by one number, their root mean squared length over the training
features. That needs no labels, makes one ``l2`` mean the same for every kind of features, and
keeps their geometry: dividing each column by its own deviation would blow up pixels that are
almost always black and latent units that are not in use.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from gen_jax.typing import Array, PRNGKey

L2_GRID = (1e-5, 1e-4, 1e-3, 1e-2)
L2_UNCHOSEN = 1e-2  # with one label a class there is nothing to hold out
MAX_FOLDS = 5
MAX_ITERATIONS = 200
GRADIENT_NORM = 1e-4  # of an objective that begins at log(n_classes)


Evaluate = Callable[[tuple[Array, Array], Mapping[str, Array]], Array | np.ndarray]


class Probe(NamedTuple):
    """Multinomial logistic regression: logits are ``features @ weight + bias``."""

    weight: Float[Array, "d n_classes"]
    bias: Float[Array, " n_classes"]


def standardize(
    train: Float[Array, "n d"], test: Float[Array, "n_test d"]
) -> tuple[Float[Array, "n d"], Float[Array, "n_test d"]]:
    """Centers both by the training mean, and scales both by the training rows' rms length."""
    mean = train.mean(axis=0)[None]
    length = jnp.sqrt(jnp.mean(jnp.sum((train - mean) ** 2, axis=1)))
    scale = 1.0 / jnp.where(length > 0, length, 1.0)
    return (train - mean) * scale, (test - mean) * scale


def fit_probe(
    features: Float[Array, "n d"],
    labels: Int[Array, " n"],
    l2: Float[Array, ""] | float,
    *,
    n_classes: int,
    weights: Float[Array, " n"] | None = None,
) -> Probe:
    """Fits a probe by L-BFGS on the whole batch; ``weights`` are the examples' (default: all 1).

    The bias is not regularized. Stops at a gradient of norm ``GRADIENT_NORM``.
    """
    weights = jnp.ones_like(features[:, 0]) if weights is None else weights
    share = weights / weights.sum()
    solver = optax.lbfgs()

    def loss(probe: Probe) -> Array:
        logits = features @ probe.weight + probe.bias[None]
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(share * nll) + 0.5 * l2 * jnp.sum(probe.weight**2)

    value_and_grad = optax.value_and_grad_from_state(loss)

    def going(carry: Any) -> Array:
        _, _, grad_norm, iteration = carry
        return (grad_norm > GRADIENT_NORM) & (iteration < MAX_ITERATIONS)

    def iterate(carry: Any) -> Any:
        probe, state, _, iteration = carry
        value, grad = value_and_grad(probe, state=state)
        updates, state = solver.update(grad, state, probe, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(probe, updates), state, optax.tree.norm(grad), iteration + 1

    zero = Probe(
        jnp.zeros((features.shape[1], n_classes), features.dtype),
        jnp.zeros((n_classes,), features.dtype),
    )
    start = (zero, solver.init(zero), jnp.asarray(jnp.inf, features.dtype), 0)
    probe, *_ = jax.lax.while_loop(going, iterate, start)
    return probe


def accuracy(
    probe: Probe, features: Float[Array, "n d"], labels: Int[Array, " n"]
) -> Float[Array, ""]:
    """Share of rows whose largest logit is their label's."""
    guesses = jnp.argmax(features @ probe.weight + probe.bias[None], axis=1)
    return jnp.mean(guesses == labels, dtype=features.dtype)


def balanced_subsets(
    key: PRNGKey, labels: Int[Array, " n"], *, n_labels: int, n_classes: int, draws: int
) -> Int[Array, "draws n_labels"]:
    """Draws row indices with equally many of each class, in turn: classes 0, 1, ... 0, 1, ...

    Raises ``ValueError`` unless ``n_labels`` is a multiple of ``n_classes`` and each class has
    enough.
    """
    labels = jnp.asarray(labels)
    if n_labels < n_classes or n_labels % n_classes:
        raise ValueError(
            f"n_labels must be a multiple of the {n_classes} classes, so that each has equally "
            f"many, got {n_labels}"
        )
    each = n_labels // n_classes
    counts = jnp.bincount(labels, length=n_classes)
    if int(counts.min()) < each:
        raise ValueError(
            f"{n_labels} labels need {each} examples of each of {n_classes} classes, but class "
            f"{int(counts.argmin())} has {int(counts.min())}"
        )

    def draw(key: PRNGKey) -> Array:
        order = jnp.argsort(jax.random.uniform(key, labels.shape))  # a random order of the rows
        by_class = order[jnp.argsort(labels[order], stable=True)]
        starts = jnp.cumsum(counts) - counts
        return by_class[starts[None, :] + jnp.arange(each)[:, None]].ravel()

    return jax.vmap(draw)(jax.random.split(key, draws))


def few_label_accuracy(
    key: PRNGKey,
    train_features: Float[Array, "n d"],
    train_labels: Int[Array, " n"],
    test_features: Float[Array, "n_test d"],
    test_labels: Int[Array, " n_test"],
    *,
    n_labels: int,
    n_classes: int,
    draws: int = 10,
    evaluate: Evaluate | None = None,
) -> Float[Array | np.ndarray, " draws"]:
    """Test accuracy of a linear probe that sees ``n_labels`` labels, for several draws of them.

    Of each draw, ``l2`` is chosen from ``L2_GRID`` by cross-validated likelihood within the drawn
    labels (at most five folds, each class spread evenly over them); with one label a class it is
    ``L2_UNCHOSEN``. Test labels choose nothing. ``evaluate`` is ``probe_accuracy`` with these
    ``n_classes``, compiled to spread the draws over devices or cores; default: over none. Raises
    ``ValueError`` as ``balanced_subsets``, and where features and labels differ in length or width.
    """
    _require_same_shapes(train_features, train_labels, test_features, test_labels)
    subsets = balanced_subsets(
        key, train_labels, n_labels=n_labels, n_classes=n_classes, draws=draws
    )
    train, test = standardize(jnp.asarray(train_features), jnp.asarray(test_features))
    drawn = {"features": train[subsets], "labels": jnp.asarray(train_labels)[subsets]}
    if evaluate is None:
        evaluate = functools.partial(_probe_accuracy, n_classes=n_classes)
    return evaluate((test, jnp.asarray(test_labels)), drawn)


def probe_accuracy(
    test: tuple[Float[Array, "n_test d"], Int[Array, " n_test"]],
    drawn: Mapping[str, Array],
    *,
    n_classes: int,
) -> Float[Array, " draws"]:
    """Accuracy on ``test``, features and labels, of one probe for each draw of ``"features"``
    [draws, n, d] and their ``"labels"`` [draws, n], the classes in turn.

    Draws come one after another.
    """

    def one(draw: Mapping[str, Array]) -> Array:
        features, labels = draw["features"], draw["labels"]
        l2 = choose_l2(features, labels, n_classes=n_classes)
        return accuracy(fit_probe(features, labels, l2, n_classes=n_classes), *test)

    # Here and over the grid: under vmap every line search of every fit would take as many steps as
    # the slowest.
    return jax.lax.map(one, dict(drawn))


_probe_accuracy = jax.jit(probe_accuracy, static_argnames="n_classes")


def choose_l2(
    features: Float[Array, "n d"], labels: Int[Array, " n"], *, n_classes: int
) -> Float[Array, ""]:
    """The ``l2`` of ``L2_GRID`` with the best cross-validated likelihood.

    ``labels`` hold the classes in turn, as ``balanced_subsets`` gives them.
    """
    n = features.shape[0]
    folds = min(MAX_FOLDS, n // n_classes)
    if folds < 2:
        return jnp.asarray(L2_UNCHOSEN, features.dtype)
    held_out = (jnp.arange(n) // n_classes)[None, :] % folds == jnp.arange(folds)[:, None]
    held_out = held_out.astype(features.dtype)  # [folds, n]

    def score(trial: tuple[Array, Array]) -> Array:
        l2, held_out = trial
        probe = fit_probe(features, labels, l2, n_classes=n_classes, weights=1.0 - held_out)
        logits = features @ probe.weight + probe.bias[None]
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(nll * held_out)

    grid = jnp.asarray(L2_GRID, features.dtype)
    trials = jnp.repeat(grid, folds), jnp.tile(held_out, (len(grid), 1))
    nll = jax.lax.map(score, trials).reshape(len(grid), folds).sum(axis=1)
    return grid[jnp.argmin(nll)]


def _require_same_shapes(
    train_features: Array, train_labels: Array, test_features: Array, test_labels: Array
) -> None:
    if (
        train_features.ndim != 2
        or test_features.ndim != 2
        or train_features.shape[1] != test_features.shape[1]
        or train_labels.shape != train_features.shape[:1]
        or test_labels.shape != test_features.shape[:1]
    ):
        raise ValueError(
            "features [n, d] and labels [n] must agree, got train "
            f"{list(train_features.shape)} and {list(train_labels.shape)}, test "
            f"{list(test_features.shape)} and {list(test_labels.shape)}"
        )
