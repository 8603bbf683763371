"""Measures of models and samples; every one is handed functions or arrays and knows no family."""

from gen_jax.evaluation.clustering import normalized_mutual_information, purity
from gen_jax.evaluation.features import (
    balanced_subsets,
    few_label_accuracy,
    fit_probe,
)
from gen_jax.evaluation.likelihood import (
    EvalStep,
    active_units,
    average,
    importance_log_likelihood,
)
from gen_jax.evaluation.pitch import find_pitch

__all__ = [
    "EvalStep",
    "active_units",
    "average",
    "balanced_subsets",
    "few_label_accuracy",
    "find_pitch",
    "fit_probe",
    "importance_log_likelihood",
    "normalized_mutual_information",
    "purity",
]
