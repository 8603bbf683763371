"""The study of pix2pix's losses and patches, run as a user would run it."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import pix2pix, pix2pix_ablation
from experiments.pix2pix_ablation import Config, variants
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.run import run
from gen_jax import data, training


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "ablation"
    run(pix2pix_ablation.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet"])
    return folder


@pytest.mark.smoke
def test_variants_stand_in_one_table_and_one_picture(trained):
    summary = json.loads((trained / "summary.json").read_text())
    names = ["l1", "gan", "l1-gan-16"]
    metrics = summary["metrics"]
    for name in names:
        assert 0 < metrics[f"test/{name}/l1"] < 255
        assert metrics[f"test/{name}/seconds"] > 0
        assert metrics[f"test/{name}/fid"] > 0
    assert "seconds" not in {name.rpartition("/")[2] for name in metrics if "identity" in name}
    assert metrics["features"].startswith("gen_jax emoji")
    assert summary["steps"] == 2 * len(names)

    picture, table = json.loads((trained / "pictures" / "index.json").read_text())
    with Image.open(trained / "pictures" / f"{picture['name']}.png") as sheet:
        assert sheet.size == (5 * 33 + 1, 8 * 33 + 1)  # source, three variants, truth
    titles = ["L1 alone", "GAN alone", "L1 + GAN, 16×16"]
    assert [row[0] for row in table["rows"]][:3] == titles
    assert all(title in picture["caption"] for title in titles)
    columns = ["L1 [levels]", "PSNR [dB]", "SSIM", "ab error", "colourfulness", "FID", "KID"]
    assert table["columns"] == ["", *columns, "time [s]"]
    assert [row[-1] is None for row in table["rows"]][:3] == [False] * 3
    assert table["rows"][-1][1:4] == [None] * 3  # of the truth there are only its colours
    assert "gen_jax emoji" in table["caption"]


@pytest.mark.smoke
def test_each_variant_is_a_run_of_pix2pix_with_its_losses(trained):
    found = {name: reopen(trained / name) for name in ("l1", "gan", "l1-gan-16")}
    assert training.experiment_of(trained / "gan") == ("pix2pix", "pix2pix_ablation")
    losses = {name: (each.config.loss, each.config.distance) for name, each in found.items()}
    assert losses == {
        "l1": ("none", "l1"),
        "gan": ("non-saturating", "none"),
        "l1-gan-16": ("non-saturating", "l1"),
    }
    assert all(int(each.state.step) == 2 for each in found.values())


def test_sizes_of_patches_are_in_order_and_the_whole_image_is_named():
    config = Config(receptive_field=34, patches=(70, 1, 16))
    assert [(each.name, each.title) for each in variants(config, 64)][2:] == [
        ("l1-gan-1", "L1 + GAN, pixels"),
        ("l1-gan-16", "L1 + GAN, 16×16"),
        ("l1-gan-34", "L1 + GAN, 34×34"),
        ("l1-gan-70", "L1 + GAN, 70×70 (whole image)"),
    ]


def pix2pix_start(*, field: int, loss: str) -> list[np.ndarray]:
    preset = pix2pix.PRESETS["smoke"].presets["style"]
    config = dataclasses.replace(preset, receptive_field=field, loss=loss)
    spec = data.ExampleSpec("image", (16, 16, 3), None, (16, 16, 3))
    state = pix2pix.EXPERIMENT.setup(config, spec, 8).init(None)
    return [np.asarray(x) for x in jax.tree.leaves(state.generator.params)]


def test_variants_begin_with_the_same_generator():
    """Whatever the discriminator is, the generator's first parameters are the same."""
    starts = [
        pix2pix_start(field=field, loss=loss)
        for field, loss in ((16, "non-saturating"), (1, "non-saturating"), (16, "none"))
    ]
    for other in starts[1:]:
        for x, y in zip(starts[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--patches", "1", "1"], "must differ, got 1 more than once"),
        (["--patches", "16"], "must differ, got 16 more than once"),
        (["--steps", "0"], "--steps must be 1 or more, got 0"),
        (["--patches", "286"], "receptive field 286"),
    ],
)
def test_mistakes_are_one_line_before_any_training(tmp_path, argv, words):
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match=words) as refused:
        run(pix2pix_ablation.EXPERIMENT, ["smoke", "--quiet", "--run-dir", str(folder), *argv])
    assert "\n" not in str(refused.value)
    assert not folder.exists() or not [
        path for path in folder.iterdir() if not path.name.startswith(".")
    ]
