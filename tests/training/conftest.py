"""The toy model, for the tests here and for the scripts that they start and kill."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def start(request):
    """Starts ``toy_run.py`` as a process of its own, strict, with the tests' compilation cache."""
    root = HERE.parent.parent
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(root / ".pytest_cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_LEGACY_PRNG_KEY": "error",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DEBUG_KEY_REUSE": "true",
    }

    def start(*arguments, devices: int = 1, **variables: str) -> subprocess.Popen:
        flags = f"--xla_force_host_platform_device_count={devices}"
        command = [sys.executable, "-W", "error", str(HERE / "toy_run.py"), *map(str, arguments)]
        return subprocess.Popen(
            command,
            env={**environment, "XLA_FLAGS": flags, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
