"""Translations of images from end to end, at their smallest."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import cyclegan, evaluate, pix2pix, sample, translate, vae
from experiments.running.options import UsageError, parse
from experiments.running.run import run
from gen_jax import data, training
from gen_jax.reporting.pictures import read_entries

COMPARED = {"l1", "psnr", "ssim", "ab_error", "retrieval_top1", "retrieval_top5"}
JUDGED = {"fid", "kid", "precision_k3", "recall_k3"}
# One update of the least networks, on images of 8×8 pixels.
TINY = ["--features", "1", "--batch-size", "2", "--watched", "2", "--evaluations", "1"]
TINY += ["--image-size", "8", "--quiet", "--steps-per-dispatch", "1"]  # one program


def start(command, folder: Path, *options: str) -> Path:
    return run(command.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet", *options])


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def logged(folder: Path) -> set[str]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {name for line in lines for name in json.loads(line)}


def save(path: Path, size=(8, 8), mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 4), np.uint8)
    Image.fromarray(levels, "RGBA").convert(mode).save(path)
    return path


def sides(folder: Path, n: int = 12, sizes=((8, 8), (8, 8))) -> Path:
    for side, size in zip("AB", sizes, strict=True):
        for i in range(n):
            save(folder / side / f"{i}.png", size, seed=i + n * (side == "B"))
    return folder


# Whole runs


@pytest.fixture(scope="module")
def style(tmp_path_factory) -> Path:
    return start(pix2pix, tmp_path_factory.mktemp("runs") / "style")


@pytest.fixture(scope="module")
def emoji(tmp_path_factory) -> Path:
    return start(cyclegan, tmp_path_factory.mktemp("runs") / "emoji")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    pytest.importorskip("sklearn")
    return start(cyclegan, tmp_path_factory.mktemp("runs") / "digits", "--pair", "digits")


@pytest.mark.smoke
@pytest.mark.slow
def test_a_pix2pix_is_trained_measured_and_shown(style):
    summary = read_summary(style)
    metrics = summary["metrics"]
    assert (summary["experiment"], summary["dataset"], summary["steps"]) == ("pix2pix", "emoji", 4)
    rows = ("", "identity/", "best-constant-shift/")
    for row in rows:
        names = {f"test/{row}{name}" for name in (*COMPARED, *JUDGED, "colourfulness")}
        assert names <= set(metrics)
        assert np.isfinite([metrics[name] for name in names]).all()
    assert {name for name in metrics if name.startswith("test/truth")} == {
        "test/truth/colourfulness"
    }
    assert metrics["reference"] == "191 images of emoji, test"
    assert metrics["features"].startswith("gen_jax emoji ")
    entries = {entry.name: entry for entry in read_entries(style)}
    assert set(entries) == {"health", "translations", "translations-slider", "test-scores"}
    assert [row[0] for row in entries["test-scores"].rows] == [
        "translation",
        "identity",
        "best constant shift",
        "truth",
    ]
    page = (style / "report.html").read_text()
    for words in ("Is it healthy?", "Test scores", "PSNR [dB]", "best constant shift"):
        assert words in page
    assert logged(style) >= {"validation/psnr", "train/generator/extra", "train/separation"}
    films = sorted((style / "samples").glob("step_*.png"))
    assert len(films) == 2
    with Image.open(films[0]) as sheet:
        assert sheet.size == (205, 213)  # six rows of two strips of three, framed


@pytest.mark.slow
def test_gray_is_made_of_colour(tmp_path):
    options = ["--dataset", "mazes:perfect:3:30", "--steps", "1", "--features", "1"]
    made = start(pix2pix, tmp_path / "run", *options)
    metrics = read_summary(made)["metrics"]
    mazes = data.load_pairs("mazes:perfect:3:30", "test")
    source, target = (mazes.take(np.arange(len(mazes)))[name] for name in ("spatial", "image"))
    gray = np.stack([np.asarray(Image.fromarray(x).convert("L")) for x in source])[..., None]
    away = np.abs(gray.astype(int) - target).mean()
    assert metrics["test/identity/l1"] == pytest.approx(away)
    assert {entry.name for entry in read_entries(made)} >= {"translations"}


@pytest.mark.smoke
@pytest.mark.slow
def test_a_cyclegan_of_aligned_domains_is_measured_by_the_truth(emoji):
    metrics = read_summary(emoji)["metrics"]
    for way in ("forward", "backward"):
        for row in ("", "identity/"):
            names = {f"test/{way}/{row}{name}" for name in (*COMPARED, *JUDGED)}
            assert names <= set(metrics)
    entries = {entry.name: entry for entry in read_entries(emoji)}
    assert set(entries) == {
        "health",
        *(f"{way}{tail}" for way in ("forward", "backward") for tail in ("", "-slider", "-scores")),
    }
    for way in ("forward", "backward"):
        assert {f"validation/{way}/psnr", f"train/{way}/separation"} <= logged(emoji)
    assert "Test scores, backward" in (emoji / "report.html").read_text()


@pytest.mark.smoke
@pytest.mark.slow
def test_a_cyclegan_of_digits_is_measured_by_what_it_keeps(digits):
    """Domains of different sizes, without a truth: each is measured on its own images."""
    metrics = read_summary(digits)["metrics"]
    for way in ("forward", "backward"):
        names = {f"test/{way}/{name}" for name in (*JUDGED, "label_kept", "identity/label_kept")}
        assert names <= set(metrics)
        assert f"test/{way}/psnr" not in metrics
    assert metrics["test/forward/identity/label_kept"] > 0.9  # of MNIST's own digits
    assert {"validation/a/cycle", "validation/b/cycle"} <= logged(digits)
    assert metrics["reference"] == "2000 and 297 images of digits, test"
    with Image.open(next((digits / "samples").glob("step_*.png"))) as sheet:
        assert sheet.size == (181, 189)  # six rows of two strips of three, framed


@pytest.mark.smoke
@pytest.mark.slow
@pytest.mark.parametrize("name", ["style", "emoji"])
def test_evaluation_repeats_the_numbers_of_a_run_and_measures_other_images(
    request, tmp_path, name, capsys
):
    folder = request.getfixturevalue(name)
    out = tmp_path / "numbers.json"
    evaluate.program([str(folder), "--out", str(out)])
    assert json.loads(out.read_text()) == pytest.approx(read_summary(folder)["metrics"])
    others = sides(tmp_path / "others", n=20, sizes=((32, 32), (32, 32)))
    kind = "pairs" if name == "style" else "domains"
    evaluate.program([str(folder), "--dataset", f"{kind}:{others}", "--out", str(out)])
    assert json.loads(out.read_text())["reference"].startswith(f"2 images of {kind}:")
    capsys.readouterr()
    wrong = [
        (["--dataset", "mnist-subset"], data.DataError | UsageError, "unknown set of"),
        (["--dataset", f"{kind}:{sides(tmp_path / 'small')}"], UsageError, "but those of"),
        (["--scored-samples", "50"], UsageError, "--scored-samples does not apply to a run of"),
    ]
    for options, error, words in wrong:
        with pytest.raises((data.DataError, UsageError), match=words) as refused:
            evaluate.program([str(folder), *options])
        assert isinstance(refused.value, error)
        assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match=r"use python -m experiments\.translate"):
        sample.program([str(folder)])


# Pictures of any size and kind, by a run that is opened again


@pytest.mark.smoke
@pytest.mark.slow
@pytest.mark.parametrize("name", ["style", "emoji"])
def test_pictures_of_any_size_and_kind_come_back_in_their_own(request, tmp_path, name):
    folder, given = request.getfixturevalue(name), tmp_path / "given"
    kinds = {"rgb": ((33, 21), "RGB"), "gray": ((50, 37), "L"), "alpha": ((27, 70), "RGBA")}
    for file, (size, mode) in kinds.items():
        save(given / f"{file}.png", size, mode)
    out = tmp_path / "out"
    more = ["--reverse"] if name == "emoji" else ["--draws", "2", "--seed", "3"]
    command = ["--input", str(given), "--output", str(out), "--tile", "64", "--quiet"]
    translate.program([str(folder), *command, *more])
    draws = [""] if name == "emoji" else ["-1", "-2"]
    for file, (size, mode) in kinds.items():
        for draw in draws:
            with Image.open(out / f"{file}{draw}.png") as made:
                assert made.size == size[::-1]
                assert made.mode == ("RGBA" if mode == "RGBA" else "RGB")
    if name == "style":  # dropout
        first, second = ((out / f"rgb-{n}.png").read_bytes() for n in (1, 2))
        assert first != second
    else:
        with pytest.raises(UsageError, match="--seed applies only to a stochastic model"):
            translate.program([str(folder), *command, "--overwrite", "--seed", "1"])


@pytest.mark.smoke
@pytest.mark.slow
def test_a_super_resolution_enlarges_pictures(tmp_path):
    photos = sides(tmp_path / "photos") / "A"
    options = ["--task", "super-resolve-2", "--dataset", f"folder:{photos}", "--steps", "1"]
    folder = start(pix2pix, tmp_path / "run", *options, *TINY)
    metrics = read_summary(folder)["metrics"]
    assert {"test/psnr", "test/bicubic/psnr", "test/nearest/psnr"} <= set(metrics)
    save(tmp_path / "in" / "a.png", (9, 13))
    save(tmp_path / "in" / "b.png", (9, 13), "LA")
    out = tmp_path / "out"
    translate.program(
        [str(folder), "--input", str(tmp_path / "in"), "--output", str(out), "--quiet"]
    )
    for name, mode in {"a": "RGB", "b": "RGBA"}.items():
        with Image.open(out / f"{name}.png") as made:
            assert (made.size, made.mode) == ((26, 18), mode)


def test_a_run_of_another_kind_does_not_translate(tmp_path):
    config = parse(vae.PRESETS, ["smoke"], prog="vae", description=None).config
    with training.open_run(tmp_path / "run", experiment="vae", preset="smoke", config=config) as r:
        r.write_config()
    picture = save(tmp_path / "a.png")
    with pytest.raises(training.RunError, match="is a run of 'vae'; this works for cyclegan, pix"):
        translate.program(
            [str(tmp_path / "run"), "--input", str(picture), "--output", str(tmp_path / "out")]
        )


# Mistakes


def test_folders_that_are_no_pairs_are_one_line(tmp_path):
    wrong = {
        "size": (sides(tmp_path / "size"), r"B/3\.png is 10×8 .*, the first of .* 8×8"),
        "sizes": (sides(tmp_path / "sizes", sizes=((8, 8), (10, 8))), "8×8 .*10×8; give an image"),
        "names": (sides(tmp_path / "names"), r"2 of 24 pictures have no partner .*A/3\.png, .*x"),
        "empty": (sides(tmp_path / "empty"), r"no PNG, JPEG or WebP file in .*empty/B"),
        "alone": (sides(tmp_path / "alone"), "has A, but no B beside it"),
        "bad": (sides(tmp_path / "bad"), r"cannot read the image .*B/3\.png: "),
        "few": (sides(tmp_path / "few", n=2), "a set without splits needs 3"),
    }
    save(tmp_path / "size" / "B" / "3.png", (10, 8))
    (tmp_path / "names" / "B" / "3.png").rename(tmp_path / "names" / "B" / "x.png")
    for picture in (tmp_path / "empty" / "B").iterdir():
        picture.unlink()
    (tmp_path / "alone" / "B").rename(tmp_path / "alone" / "C")
    damaged = tmp_path / "bad" / "B" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    for name, (folder, words) in wrong.items():
        for command, kind in ((pix2pix, "pairs"), (cyclegan, "domains")):
            if (name, kind) == ("names", "domains"):
                continue  # nothing pairs them
            message = "10×8" if kind == "domains" and name.startswith("size") else words
            with pytest.raises(data.DataError, match=message) as refused:
                start(command, tmp_path / "run", "--dataset", f"{kind}:{folder}")
            assert "\n" not in str(refused.value)
            assert not (tmp_path / "run").exists()


def test_a_damaged_picture_is_left_out_where_nothing_needs_it(tmp_path):
    folder = sides(tmp_path / "x")
    damaged = folder / "B" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    for command, spec, skipped in (
        (cyclegan, f"domains:{folder}", 1),
        (pix2pix, f"halves:{folder / 'B'}", 1),
    ):
        argv = ["smoke", "--dataset", spec, "--skip-bad-images"]
        config = parse(command.PRESETS, argv, prog="x", description=None).config
        splits = command.EXPERIMENT.load(config)
        assert splits is not None
        assert splits.train.skipped == skipped


@pytest.mark.parametrize(
    ("command", "argv", "words"),
    [
        (pix2pix, ["--task", "style", "--dataset", "mnist-subset"], "the task style takes pairs"),
        (pix2pix, ["--task", "colorize", "--dataset", "pairs:x"], "colorize takes single images"),
        (pix2pix, ["--task", "edges", "--dataset", "emojy"], "edges takes .*did you mean emoji"),
        (pix2pix, ["--task", "colorize", "--dataset", "mnist-subset"], "in colour, .* are gray"),
        (pix2pix, ["--task", "colorize", "--channels", "1"], "in colour, and those of emoji are"),
        (cyclegan, ["--dataset", "mnist-subset"], "unknown set of two domains 'mnist-subset'"),
        (cyclegan, ["--dataset", "pairs:x"], "unknown set of two domains 'pairs:x'"),
        (pix2pix, ["--task", "colorize", "--reverse"], "--reverse applies only to --task style"),
        (pix2pix, ["--distance", "none", "--distance-weight", "3"], "--distance-weight applies"),
        (pix2pix, ["--distance-weight", "-3"], "--distance-weight must be positive, got -3"),
        (pix2pix, ["--distance-weight", "nan"], "--distance-weight must be positive, got nan"),
        (pix2pix, ["--discriminator-rate", "0"], "--discriminator-rate must be positive, got 0"),
        (pix2pix, ["--loss", "none", "--discriminator-rate", "1"], "--discriminator-rate applies"),
        (pix2pix, ["--dropout", "0", "--noise"], "--noise applies only to a generator with --drop"),
        (pix2pix, ["--dropout", "1"], r"--dropout must lie in \[0, 1\), got 1"),
        (pix2pix, ["--constant-share", "0.3"], "--constant-share applies only to a schedule"),
        (cyclegan, ["--constant-share", "0.3"], "--constant-share applies only to a schedule"),
        (cyclegan, ["--decay-epochs", "1", "--constant-share", "2"], r"lie in \[0, 1\], got 2"),
        (cyclegan, ["--enlarge", "nan"], "--enlarge must be 1 or more, got nan"),
        (cyclegan, ["--cycle-weight", "nan"], "--cycle-weight must be 0 or more, got nan"),
        (cyclegan, ["--pool-size", "-1"], "--pool-size must be 0 or more, got -1"),
        (pix2pix, ["--dataset", "pairs:x", "--skip-bad-images"], "--skip-bad-images applies only"),
        (cyclegan, ["--data-dir", "x"], "--data-dir applies only to --dataset tfds:... or --data"),
        (pix2pix, ["--dataset", "emoji:64", "--data-dir", "x"], "there is no x/emoji64.npz nor"),
        (pix2pix, ["--depth", "8"], "a UNetGenerator of depth 8 is for images of 129×129"),
        (pix2pix, ["--image-size", "4"], "a PatchDiscriminator of receptive field 16 is for .*6×6"),
        (cyclegan, ["--image-size", "4"], "a ResNetGenerator is for images of 5×5 .*got 4×4"),
        (cyclegan, ["--inception", "x.npz"], "there is no weights file x.npz"),
    ],
)
def test_mistakes_are_one_line(tmp_path, command, argv, words):
    folder = tmp_path / "run"
    with pytest.raises((UsageError, data.DataError), match=words) as refused:
        start(command, folder, *argv)
    assert "\n" not in str(refused.value)
    assert not (folder / "config.json").exists()  # the next command finds no run
