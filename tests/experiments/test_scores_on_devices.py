"""Scores of many examples are the same on one device, on several, and on any number of cores."""

import dataclasses
from collections.abc import Callable, Iterator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import features, vae
from experiments.translation import scores
from gen_jax import cores, data, evaluation, latent, training
from gen_jax.evaluation import fidelity
from gen_jax.evaluation.features import Evaluate
from gen_jax.training import evaluating

COMPILED = features.probes, scores._of_each  # kept from call to call


@pytest.fixture
def use(monkeypatch) -> Iterator[Callable[..., None]]:
    """Has what follows see so many devices, and a CPU of so many cores."""

    def use(devices: int, n_cores: int = 1) -> None:
        mesh = training.make_mesh(jax.devices()[:devices])
        monkeypatch.setattr(training, "local_mesh", lambda: mesh)
        monkeypatch.setattr(evaluating, "make_mesh", lambda: mesh)
        monkeypatch.setattr(cores, "n_cores", lambda: n_cores)
        for compiled in COMPILED:
            compiled.cache_clear()

    yield use
    for compiled in COMPILED:
        compiled.cache_clear()


def test_measures_of_translations(use):
    made, target = np.random.default_rng(0).integers(0, 256, (2, 7, 12, 12, 3), np.uint8)
    expected = {
        "l1": float(np.mean(fidelity.l1(made, target))),
        "psnr": fidelity.mean_psnr(fidelity.psnr(made, target)),
        "ssim": float(np.mean(fidelity.ssim(made, target))),
        "ab_error": float(np.mean(fidelity.ab_error(made, target))),
    }
    colourfulness = float(np.mean(fidelity.colourfulness(jnp.asarray(made))))
    for devices in (1, 4):
        use(devices)
        found = scores.fidelity_to(made, target)
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        assert scores.colourfulness(made) == pytest.approx(colourfulness, rel=1e-5)


def test_probes(use):
    random = np.random.default_rng(0)
    label = np.arange(40) % 2
    x = (label[:, None] + random.normal(size=(40, 3))).astype(np.float32)

    def accuracies(evaluate: Evaluate | None) -> np.ndarray:
        halves = x[:30], label[:30], x[30:], label[30:]
        key = jax.random.key(0)
        return np.asarray(
            evaluation.few_label_accuracy(
                key, *halves, n_labels=8, n_classes=2, draws=5, evaluate=evaluate
            )
        )

    expected = accuracies(None)
    assert len(set(expected)) > 1
    for devices, n_cores in ((1, 1), (1, 2), (4, 1)):
        use(devices, n_cores)
        np.testing.assert_array_equal(accuracies(features.probes(2)), expected)


def test_each_device_probes_its_own_draws(use):
    use(4)
    x = jax.ShapeDtypeStruct((6, 3), np.float32), jax.ShapeDtypeStruct((6,), np.int32)
    drawn = {
        "features": jax.ShapeDtypeStruct((8, 4, 3), np.float32),
        "labels": jax.ShapeDtypeStruct((8, 4), np.int32),
    }
    text = features.probes(2)._run.lower(x, drawn).as_text()
    assert "2x4x3xf32" in text, "two of the eight draws on each device"


def test_a_likelihood_by_importance_samples(use):
    config = dataclasses.replace(vae.PRESETS["smoke"], hidden=(8,), nll_samples=4)
    image = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), np.uint8)
    model = vae.make_model(config, (4, 4, 1))
    state = latent.init(model, optax.sgd(0.1), jax.random.key(0), image)
    test = data.ArrayDataset("noise", "test", image)
    found = []
    for devices, n_cores in ((1, 1), (1, 3), (4, 1)):
        use(devices, n_cores)
        key = jax.random.key(1)
        found.append(vae.negative_log_likelihood(config, state, test, key))
    chex.assert_trees_all_close(found, found[:1] * 3, rtol=1e-5)
