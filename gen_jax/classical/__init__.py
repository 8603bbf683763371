"""The unsupervised baselines: k-means and principal components."""

from gen_jax.classical import kmeans, pca

__all__ = ["kmeans", "pca"]
