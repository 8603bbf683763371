"""A batch cut over the cores of one CPU: the same results, computed at once."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from gen_jax import cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_only_the_cores_that_this_process_may_use_count():
    code = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]);"
        "from gen_jax import cores; print(cores.n_cores())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "1\n"


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1), ("", 64)]
)
def test_a_containers_quota_counts(monkeypatch, tmp_path, quota, most):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "CPU_QUOTA", tmp_path / "cpu.max")
    assert cores.n_cores() == 64
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores.n_cores() == most


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("available", [1, 2, 3, 4, 64])
def test_pieces_are_equally_long_at_most_one_a_core_and_join_to_the_whole(with_cores, available, n):
    with_cores(available)
    pieces, rows = cores.pieces(n), np.arange(n)
    assert len(pieces) <= available
    assert len({len(rows[piece]) for piece in pieces}) == 1
    assert len(rows[pieces[0]]) == -(-n // min(available, n))
    parts = [{"x": rows[piece], "y": rows[piece, None] % 3} for piece in pieces]
    whole = cores.joined(parts, n)
    np.testing.assert_array_equal(whole["x"], rows)
    np.testing.assert_array_equal(whole["y"], rows[:, None] % 3)


def test_calls_run_at_once():
    barrier = threading.Barrier(3, timeout=60)  # breaks unless all three wait together

    def run(x):
        barrier.wait()
        return 2 * x

    assert cores.at_once(run, [(1,), (2,), (3,)]) == [2, 4, 6]


def test_an_error_of_one_call_is_the_callers():
    def run(x):
        raise ValueError(f"no {x}")

    with pytest.raises(ValueError, match="no 1"):
        cores.at_once(run, [(1,), (2,)])
