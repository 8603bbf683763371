"""Measures of models and samples; every one is handed functions or arrays and knows no family."""

from gen_jax.evaluation.likelihood import (
    EvalStep,
    active_units,
    average,
    importance_log_likelihood,
)

__all__ = ["EvalStep", "active_units", "average", "importance_log_likelihood"]
