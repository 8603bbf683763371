"""Measures of models and samples; every one is handed functions or arrays and knows no family."""

from gen_jax.evaluation import baselines, digits, emoji, fidelity, health, inception
from gen_jax.evaluation.checkerboard import checkerboard
from gen_jax.evaluation.clustering import normalized_mutual_information, purity
from gen_jax.evaluation.coverage import ClassCoverage, RingModes, class_coverage, ring_modes
from gen_jax.evaluation.features import (
    balanced_subsets,
    few_label_accuracy,
    fit_probe,
    probe_accuracy,
)
from gen_jax.evaluation.fid import (
    Extrapolation,
    Moments,
    fid,
    fid_extrapolated,
    frechet_distance,
    kid,
)
from gen_jax.evaluation.inception_score import inception_score
from gen_jax.evaluation.likelihood import (
    EvalStep,
    active_units,
    average,
    importance_log_likelihood,
)
from gen_jax.evaluation.neighbours import density_coverage, nearest, precision_recall
from gen_jax.evaluation.parzen import Parzen, parzen_log_likelihood
from gen_jax.evaluation.pitch import find_pitch
from gen_jax.evaluation.provenance import Provenance, Score, difference
from gen_jax.evaluation.resize import resize
from gen_jax.evaluation.retrieval import (
    Retrieval,
    label_kept,
    r_precision,
    retrieval,
    text_precision,
)
from gen_jax.evaluation.weights import WeightsError

__all__ = [
    "ClassCoverage",
    "EvalStep",
    "Extrapolation",
    "Moments",
    "Parzen",
    "Provenance",
    "Retrieval",
    "RingModes",
    "Score",
    "WeightsError",
    "active_units",
    "average",
    "balanced_subsets",
    "baselines",
    "checkerboard",
    "class_coverage",
    "density_coverage",
    "difference",
    "digits",
    "emoji",
    "few_label_accuracy",
    "fid",
    "fid_extrapolated",
    "fidelity",
    "find_pitch",
    "fit_probe",
    "frechet_distance",
    "health",
    "importance_log_likelihood",
    "inception",
    "inception_score",
    "kid",
    "label_kept",
    "nearest",
    "normalized_mutual_information",
    "parzen_log_likelihood",
    "precision_recall",
    "probe_accuracy",
    "purity",
    "r_precision",
    "resize",
    "retrieval",
    "ring_modes",
    "text_precision",
]
