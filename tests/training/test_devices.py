"""A platform that is not there is one line, before anything is computed."""

import os
import subprocess
import sys

import pytest

from gen_jax import training

CODE = """
import jax
from gen_jax import training
try:
    training.check_platform()
except training.RunError as error:
    print(error)
try:
    print(jax.devices())
except (AssertionError, RuntimeError):
    print("still refused")
"""


def test_the_platform_of_the_tests_is_there():
    training.check_platform()


@pytest.mark.parametrize("asked", ["cuda", "cpu,abacus"])
def test_a_platform_that_is_not_there_is_one_line_and_no_other_is_used(asked):
    environment = {**os.environ, "JAX_PLATFORMS": asked, "CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    )
    error, after = out.stdout.splitlines()
    assert error.startswith(f"JAX_PLATFORMS={asked} cannot be used here (")
    assert "; available: cpu" in error
    assert error.endswith("Set JAX_PLATFORMS=cpu, or unset it to let JAX choose")
    assert after == "still refused"
