"""How well clusters match classes that the clustering never saw."""

import jax.numpy as jnp
from jaxtyping import Float, Int

from gen_jax.typing import Array


def purity(labels: Int[Array, " n"], clusters: Int[Array, " n"]) -> Float[Array, ""]:
    """Share of examples whose class is the most frequent one of their cluster.

    In (0, 1]; it rises with the number of clusters, and is 1 if each example has its own.
    """
    counts = _contingency(labels, clusters)
    return counts.max(axis=0).sum() / counts.sum()


def normalized_mutual_information(
    labels: Int[Array, " n"], clusters: Int[Array, " n"]
) -> Float[Array, ""]:
    """I(class; cluster) over the mean of the two entropies: 0 if independent, 1 if the same.

    Strehl & Ghosh 2002, with the arithmetic mean. One class in one cluster counts as the same.
    """
    joint = _contingency(labels, clusters)
    joint = joint / joint.sum()
    classes, groups = joint.sum(axis=1), joint.sum(axis=0)
    entropies = _entropy(classes) + _entropy(groups)
    information = jnp.maximum(entropies - _entropy(joint), 0.0)
    return jnp.where(
        entropies > 0, 2.0 * information / jnp.where(entropies > 0, entropies, 1.0), 1.0
    )


def _entropy(p: Array) -> Array:
    return -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)))


def _contingency(labels: Array, clusters: Array) -> Float[Array, "n_classes n_clusters"]:
    """Counts of each class in each cluster. Raises ``ValueError`` unless both are [n], n > 0."""
    labels, clusters = jnp.asarray(labels), jnp.asarray(clusters)
    if labels.ndim != 1 or labels.shape != clusters.shape or labels.size == 0:
        raise ValueError(
            f"labels and clusters must be [n] with n > 0, got {list(labels.shape)} and "
            f"{list(clusters.shape)}"
        )
    classes, class_of = jnp.unique(labels, return_inverse=True)
    groups, group_of = jnp.unique(clusters, return_inverse=True)
    counts = jnp.zeros((len(classes), len(groups)), jnp.float32)
    return counts.at[class_of, group_of].add(1.0)
