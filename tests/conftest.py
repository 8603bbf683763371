"""Every test runs strict: no legacy keys, no key used twice, no silent broadcasting of ranks."""

import ctypes
import gc
import importlib.metadata
import os
import pathlib
import resource
import stat
import sys
from collections.abc import Callable, Iterator

# Several devices, and compiling cheaply: tests compile far more than they compute.
# (Without fusion emitters compiling takes half the time; later versions do not know this flag.)
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false"
    * importlib.metadata.version("jaxlib").startswith("0.10."),
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest

from gen_jax import cores

# One folder for each process that tests run in: JAX writes an entry in place, where another process
# would read half of it.
CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"
CACHE /= os.environ.get("PYTEST_XDIST_WORKER", "main")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

MUCH = 1.3 * 2**30  # bytes in use
PEAKS = pytest.StashKey[dict[str, float]]()  # of the memory of worker processes


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of ``-n auto``: each holds its own compiled programs, so more want much memory."""
    return min(4, os.cpu_count() or 1)


@pytest.fixture(scope="module", autouse=True)
def frees_programs() -> Iterator[None]:
    """Frees a file's compiled programs: the next file's are others."""
    yield
    _free_programs()


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """Frees compiled programs within a file, too, where they take much."""
    yield
    if sys.platform == "linux":
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        if pages * resource.getpagesize() > MUCH:
            _free_programs()


def _free_programs() -> None:
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what is free in the heap's middle, too


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Keeps what a worker process says at its end."""
    del error
    peaks = node.config.stash.setdefault(PEAKS, {})
    peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak_gib")


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["peak_gib"] = _peak_gib()


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Says how much memory each process took at most."""
    peaks = {"main": _peak_gib(), **config.stash.get(PEAKS, {})}
    shown = ", ".join(f"{name} {peak:.2f} GiB" for name, peak in peaks.items() if peak)
    terminalreporter.write_line(f"peak memory: {shown}")


def _peak_gib() -> float:
    unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


class DiskCalls(list):
    """``("fsync", inode, size of a file)`` and ``("replace", path)``, in order."""

    @staticmethod
    def inode(path) -> tuple[int, int]:
        found = os.stat(path)
        return found.st_dev, found.st_ino


@pytest.fixture
def disk_calls(monkeypatch) -> DiskCalls:
    """Records what is asked of the disk, and in which order."""
    calls, fsync, replace = DiskCalls(), os.fsync, os.replace

    def recorded_fsync(descriptor):
        found = os.fstat(descriptor)
        size = None if stat.S_ISDIR(found.st_mode) else found.st_size
        calls.append(("fsync", (found.st_dev, found.st_ino), size))
        fsync(descriptor)

    def recorded_replace(source, target):
        replace(source, target)
        calls.append(("replace", pathlib.Path(target)))

    monkeypatch.setattr("os.fsync", recorded_fsync)
    monkeypatch.setattr("os.replace", recorded_replace)
    return calls


@pytest.fixture
def with_cores(monkeypatch) -> Callable[[int], None]:
    """Sets the number of cores that a batch is split over."""
    return lambda n: monkeypatch.setattr(cores, "n_cores", lambda: n)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder with full MNIST (``mnist.npz`` and a prepared ``tfds/``)."""
    folder = os.environ.get("GEN_JAX_TEST_DATA")
    if not folder:
        pytest.skip("GEN_JAX_TEST_DATA is not set (a folder with mnist.npz and tfds/mnist)")
    return pathlib.Path(folder).resolve()
