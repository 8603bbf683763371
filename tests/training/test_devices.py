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


def test_a_cpu_of_no_devices_is_one_line():
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "0"}
    command = [sys.executable, "-c", CODE]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.startswith("JAX_NUM_CPU_DEVICES=0: the CPU must be 1 device or more\n")


SPLIT = """
import jax
from gen_jax import training
from gen_jax.cores import n_cores
if {started}:
    jax.devices()
training.split_cpu({batch_size})
print(n_cores(), jax.device_count())
"""


def split(batch_size: int, *, started: bool = False, **variables: str) -> tuple[int, int]:
    """How many cores another process has, and how many devices ``split_cpu`` makes of them."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | variables
    code = SPLIT.format(batch_size=batch_size, started=started)
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cores, devices = map(int, out.stdout.split())
    return cores, devices


def test_each_core_becomes_a_device_as_far_as_the_batch_goes():
    cores, devices = split(10**6)
    assert devices == cores
    assert split(7)[1] == split(1)[1] == 1


def test_a_number_of_devices_that_is_set_stays():
    assert split(64, JAX_NUM_CPU_DEVICES="3")[1] == 3
    assert split(64, XLA_FLAGS="--xla_force_host_platform_device_count=5")[1] == 5
    assert split(64, started=True)[1] == 1
