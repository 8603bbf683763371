"""Every script runs as a user would run it, with its smallest preset."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from experiments import autoencoder, evaluate, sample, vae
from experiments.config import UsageError
from experiments.harness import run

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    return run(vae.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet"])


def test_vae_run_folder_holds_what_it_promises(vae_run):
    summary = json.loads((vae_run / "summary.json").read_text())
    assert summary["experiment"] == "vae"
    assert summary["preset"] == "smoke"
    assert len(summary["params_digest"]) == 64
    metrics = summary["metrics"]
    assert metrics["binarization"] == "dynamic"
    # The importance-weighted bound is tighter than the ELBO, and a trained model beats
    # independent fair coins (784 log 2 = 543 nats) by far.
    assert metrics["test/nll"] < -metrics["test/elbo"] + 1.0 < 300.0
    page = (vae_run / "report.html").read_text()
    for title in ("manifold", "Reconstructions", "Exact posteriors", "Traversals"):
        assert title in page
    assert sorted(vae_run.glob("samples/step_*.png"))


def test_same_command_again_says_that_nothing_is_left(vae_run, capsys):
    before = (vae_run / "summary.json").read_bytes()
    run(vae.EXPERIMENT, ["smoke", "--run-dir", str(vae_run), "--quiet"])
    assert "Nothing left to do" in capsys.readouterr().out
    assert (vae_run / "summary.json").read_bytes() == before
