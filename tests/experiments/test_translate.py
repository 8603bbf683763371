"""Files and folders of pictures, translated as a user would do it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image, ImageCms

from experiments import sample, translate
from experiments.running.fitting import Setup, Translation
from experiments.running.options import UsageError
from gen_jax import data

ROOT = Path(__file__).parents[2]
ORIENTATION = 0x0112


def invert(state, keys, images):
    return 255 - images


def noisy(state, keys, images):
    """The same offset for a whole image, drawn from its key."""
    return images + np.asarray(jax.vmap(draw_offset)(keys))[:, None, None, None]


def draw_offset(key):
    return jax.random.randint(key, (), 1, 256).astype("uint8")


INVERT = Translation(invert, channels=3, made_channels=3, least=1, stochastic=False)
NOISY = dataclasses.replace(INVERT, translate=noisy, stochastic=True)


@pytest.fixture
def given(monkeypatch):
    """Puts a translation in the place of a trained run's."""

    def give(translation: Translation, shape=(32, 32, 3), name="pix2pix"):
        setup = Setup(*[None] * 7, translation=translation)  # type: ignore
        run = SimpleNamespace(
            experiment=SimpleNamespace(name=name),
            setup=setup,
            state=SimpleNamespace(step=np.int32(7)),
            spec=data.ExampleSpec("image", shape, None),
        )
        for command in (translate, sample):
            monkeypatch.setattr(command, "reopen", lambda run_dir, **how: run)

    give(INVERT)
    return give


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path: Path, picture: np.ndarray | Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    picture.save(path, **options)
    return path


def run(source: Path, output: Path, *options: str) -> None:
    command = ["run", "--input", str(source), "--output", str(output), "--quiet", *options]
    translate.program(command)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def written(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


# Files of all kinds


def test_a_picture_of_any_size_is_translated(given, tmp_path, capsys):
    for i, size in enumerate([(1, 1), (5, 300), (32, 32), (64, 33), (130, 170)]):
        image = noise(*size)
        run(save(tmp_path / f"{i}.png", image), tmp_path / "out", "--tile", "64")
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{i}.png"), 255 - image)
    assert "1 of 1 images translated at step 7" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_transparency_is_carried_over_and_white_to_the_model(given, tmp_path, ending):
    rgba = noise(20, 30, 4)
    rgba[:5, :, 3], rgba[5:, :, 3] = 0, 255
    run(save(tmp_path / f"a.{ending}", rgba, lossless=True), tmp_path / "out")
    found = read(tmp_path / "out" / "a.png")
    np.testing.assert_array_equal(found[..., 3], rgba[..., 3])
    np.testing.assert_array_equal(found[5:, :, :3], 255 - rgba[5:, :, :3])
    np.testing.assert_array_equal(found[:5, :, :3], 0)


PALETTE = [10, 20, 30, 200, 100, 0]


def palette() -> Image.Image:
    picture = Image.fromarray(np.array([[0, 1, 1], [1, 0, 1]], np.uint8), "L").convert("P")
    picture.putpalette(PALETTE)
    return picture


def mode_cases():
    gray = noise(4, 6, 1)[..., 0]
    rgb = noise(4, 6)
    shown = np.array(PALETTE).reshape(2, 3)[[[0, 1, 1], [1, 0, 1]]]
    yield "1", Image.fromarray(gray > 99), 255 * (gray > 99)[..., None].repeat(3, -1), {}
    yield "L", Image.fromarray(gray), gray[..., None].repeat(3, -1), {}
    yield (
        "I;16",
        Image.fromarray(gray.astype(np.uint16) * 256 + 9),
        gray[..., None].repeat(3, -1),
        {},
    )
    yield "P", palette(), shown, {}
    yield "RGB", Image.fromarray(rgb), rgb, {}
    cmyk = Image.fromarray(rgb).convert("CMYK")
    yield "CMYK", cmyk, np.asarray(cmyk.convert("RGB")), {"format": "JPEG", "quality": 100}


@pytest.mark.parametrize("case", list(mode_cases()), ids=lambda case: case[0])
def test_a_picture_of_any_mode_is_read_as_rgb_by_a_model_of_rgb(given, tmp_path, case):
    _, picture, expected, options = case
    path = save(tmp_path / "a.png", picture, **options)
    run(path, tmp_path / "out")
    found = read(tmp_path / "out" / "a.png").astype(int)
    tolerance = 40 if "quality" in options else 0  # a JPEG of noise
    np.testing.assert_allclose(found, 255 - expected.astype(int), atol=tolerance)


def test_a_palette_with_transparency_keeps_it(given, tmp_path):
    run(save(tmp_path / "a.png", palette(), transparency=bytes([7, 255])), tmp_path / "out")
    found = read(tmp_path / "out" / "a.png")
    np.testing.assert_array_equal(found[..., 3], [[7, 255, 255], [255, 7, 255]])


def test_an_rgb_picture_is_gray_to_a_model_of_gray(given, tmp_path):
    given(Translation(invert, channels=1, made_channels=1, least=1, stochastic=False), (28, 28, 1))
    rgba = noise(9, 9, 4)
    rgba[..., 3] = 255
    for name, picture in {"rgb": rgba[..., :3], "rgba": rgba, "gray": rgba[..., :1]}.items():
        run(save(tmp_path / f"{name}.png", picture), tmp_path / "out")
    luma = np.asarray(Image.fromarray(rgba[..., :3]).convert("L"))
    np.testing.assert_array_equal(read(tmp_path / "out" / "rgb.png"), 255 - luma)
    np.testing.assert_array_equal(read(tmp_path / "out" / "gray.png"), 255 - rgba[..., 0])
    with Image.open(tmp_path / "out" / "rgba.png") as picture:
        assert picture.mode == "LA"


def test_a_picture_is_turned_upright_and_says_so_no_more(given, tmp_path):
    ramp = np.broadcast_to(np.arange(0, 240, 6, np.uint8)[:, None, None], (40, 24, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned a quarter clockwise
    path = save(tmp_path / "a.jpg", np.ascontiguousarray(ramp), exif=exif, quality=95)
    run(path, tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert ORIENTATION not in picture.getexif()
        found = np.asarray(picture).astype(int)
    np.testing.assert_allclose(found, 255 - np.rot90(ramp, -1).astype(int), atol=8)


def test_a_colour_profile_is_kept_where_it_is_for_such_colours(given, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(tmp_path / "a.png", noise(4, 4), icc_profile=profile)
    run(path, tmp_path / "rgb")
    given(Translation(invert, channels=1, made_channels=1, least=1, stochastic=False))
    run(path, tmp_path / "gray")
    for name, expected in {"rgb": profile, "gray": None}.items():
        with Image.open(tmp_path / name / "a.png") as picture:
            assert picture.info.get("icc_profile") == expected


def test_what_a_model_reads_may_be_made_of_the_picture_and_be_larger(given, tmp_path):
    def enlarge(picture):
        assert picture.shape == (5, 7, 3)
        return picture[..., :1].repeat(2, 0).repeat(2, 1)

    def colour(state, keys, images):
        return images.repeat(3, -1)

    given(Translation(colour, 1, 3, least=1, stochastic=False, prepare=enlarge, picture_channels=3))
    rgba = noise(5, 7, 4)
    rgba[..., 3] = 255
    run(save(tmp_path / "a.png", rgba), tmp_path / "out")
    found = read(tmp_path / "out" / "a.png")
    np.testing.assert_array_equal(found[..., 0], rgba[..., 0].repeat(2, 0).repeat(2, 1))
    assert (found[..., 3] == 255).all()


# Folders


def test_a_folder_keeps_its_names_and_subfolders(given, tmp_path):
    photos = tmp_path / "photos"
    for name in ("a.png", "b/a.JPG", "b/c d.é.webp", "train/x.png"):
        save(photos / name, noise(8, 8))
    save(photos / ".thumbnails" / "a.png", noise(8, 8))
    (photos / "notes.txt").write_text("not a picture")
    run(photos, tmp_path / "new" / "out")
    assert written(tmp_path / "new" / "out") == ["a.png", "b/a.png", "b/c d.é.png", "train/x.png"]


def test_what_exists_is_replaced_or_kept_only_when_asked(given, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for i in range(3):
        save(photos / f"{i}.png", noise(8, 8, seed=i))
    for i in range(2):
        save(out / f"{i}.png", noise(4, 4, seed=9))
    before = [path.read_bytes() for path in sorted(out.iterdir())]
    with pytest.raises(UsageError, match=r"^2 of the files to write exist, the first \S+0\.png: "):
        run(photos, out)
    assert written(out) == ["0.png", "1.png"]
    run(photos, out, "--skip-existing")
    assert [path.read_bytes() for path in sorted(out.iterdir())][:2] == before
    np.testing.assert_array_equal(read(out / "2.png"), 255 - noise(8, 8, seed=2))
    assert "Translated already: 2" in capsys.readouterr().out
    run(photos, out, "--skip-existing")
    assert "Nothing to do" in capsys.readouterr().out
    run(photos, out, "--overwrite")
    np.testing.assert_array_equal(read(out / "0.png"), 255 - noise(8, 8, seed=0))
    with pytest.raises(UsageError, match="contradict each other"):
        run(photos, out, "--overwrite", "--skip-existing")


def test_a_damaged_picture_stops_the_work_and_what_is_written_stays(given, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for i in range(4):
        save(photos / f"{i}.png", noise(8, 8))
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"cannot read the image \S+2\.png: .*\(2 of 4 images are"):
        run(photos, out)
    assert written(out) == ["0.png", "1.png"]
    capsys.readouterr()
    run(photos, out, "--skip-existing", "--skip-bad-images")
    assert written(out) == ["0.png", "1.png", "3.png"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "Left out: 1"
    assert f"{photos / '2.png'}: " in lines[-1]
    with pytest.raises(
        UsageError, match=r"none of 1 images could be translated; the first: .*2\.png"
    ):
        run(photos, out, "--skip-existing", "--skip-bad-images")


def test_a_translation_cut_short_leaves_no_file(given, tmp_path):
    def stop(state, keys, images):
        raise KeyboardInterrupt

    given(dataclasses.replace(INVERT, translate=stop))
    with pytest.raises(KeyboardInterrupt):
        run(save(tmp_path / "a.png", noise(8, 8)), tmp_path / "out")
    assert written(tmp_path / "out") == []


# Draws


def test_draws_depend_on_the_name_the_number_and_the_seed_alone(given, tmp_path):
    given(NOISY)
    image = noise(40, 100)  # tiles, which see one and the same noise
    folder = tmp_path / "photos"
    for name in ("a.png", "b.png", "c/a.png"):
        save(folder / name, image)
    run(folder, tmp_path / "all", "--draws", "3", "--tile", "64")
    run(folder / "a.png", tmp_path / "alone", "--tile", "64", "--batch-size", "1")
    run(folder / "a.png", tmp_path / "seed", "--seed", "1")
    assert written(tmp_path / "all") == sorted(
        f"{name}-{draw}.png" for name in ("a", "b", "c/a") for draw in (1, 2, 3)
    )

    def offset(path):
        (found,) = np.unique(read(tmp_path / path) - image)
        return found

    assert offset("alone/a.png") == offset("all/a-1.png") == offset("all/c/a-1.png")
    others = ["all/a-1.png", "all/a-2.png", "all/a-3.png", "all/b-1.png", "seed/a.png"]
    assert len({int(offset(path)) for path in others}) == len(others)


def test_draws_that_are_missing_are_made_as_they_would_have_been(given, tmp_path):
    given(NOISY)
    path = save(tmp_path / "a.png", noise(8, 8))
    run(path, tmp_path / "out", "--draws", "3")
    before = read(tmp_path / "out" / "a-2.png")
    (tmp_path / "out" / "a-2.png").unlink()
    run(path, tmp_path / "out", "--draws", "3", "--skip-existing")
    np.testing.assert_array_equal(read(tmp_path / "out" / "a-2.png"), before)


# Directions


def test_a_model_of_both_ways_translates_back(given, tmp_path):
    def to_gray(state, keys, images):
        return images[..., :1]

    def to_rgb(state, keys, images):
        assert images.shape[-1] == 1
        return images.repeat(3, -1)

    given(Translation(to_gray, 3, 1, least=1, stochastic=False, backward=to_rgb), name="cyclegan")
    image = noise(8, 8)
    run(save(tmp_path / "a.png", image), tmp_path / "gray")
    np.testing.assert_array_equal(read(tmp_path / "gray" / "a.png"), image[..., 0])
    run(tmp_path / "gray" / "a.png", tmp_path / "rgb", "--reverse")
    np.testing.assert_array_equal(
        read(tmp_path / "rgb" / "a.png"), image[..., :1].repeat(3, axis=-1)
    )


# What is refused


def test_what_a_model_cannot_do_is_refused_in_one_line(given, tmp_path):
    path, out = save(tmp_path / "a.png", noise(8, 8)), tmp_path / "out"
    for options in (["--draws", "2"], ["--seed", "0"]):
        with pytest.raises(UsageError, match=f"^{options[0]} applies only to a stochastic model"):
            run(path, out, *options)
    with pytest.raises(UsageError, match="a run of 'pix2pix' translates one way only"):
        run(path, out, "--reverse")
    given(dataclasses.replace(INVERT, least=40))
    with pytest.raises(UsageError, match=r"a tile must be .* \(40 pixels\), got 16"):
        run(path, out, "--tile", "16")
    assert not out.exists()


def test_a_model_that_translates_is_not_sampled(given, tmp_path):
    with pytest.raises(UsageError, match=r"use python -m experiments\.translate"):
        sample.program(["run"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draws", "0"], "--draws must be 1 or more, got 0"),
        (["--tile", "0"], "--tile must be 1 or more, got 0"),
        (["--batch-size", "0"], "--batch-size must be 1 or more, got 0"),
        (["--seed", "-1"], "--seed must lie in 0"),
        (["--overlap", "200"], "can overlap by 0 to 128 pixels, got 200"),
    ],
)
def test_options_that_cannot_be_are_refused(given, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(save(tmp_path / "a.png", noise(8, 8)), tmp_path / "out", *options)


def test_inputs_and_outputs_that_cannot_be_are_refused_before_any_work(given, tmp_path):
    photos = tmp_path / "photos"
    picture = save(photos / "a.png", noise(8, 8))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(photos)
    nested = save(tmp_path / "nested" / "nested" / "nested" / "a.png", noise(8, 8)).parents[1]
    out = tmp_path / "out"
    for source, output, message in [
        (tmp_path / "nowhere", out, "there is no file or folder .*nowhere"),
        (tmp_path / "empty", out, "there is no PNG, JPEG or WebP file in .*empty"),
        (photos, photos, "must lie outside of --input"),
        (photos, photos / "new", "must lie outside of --input"),
        (photos, tmp_path / "link" / "new", "must lie outside of --input"),
        (picture, picture, "--output must be a folder, but .*a.png is a file"),
        (picture, photos, "would become .*a.png, which is one of the pictures to read"),
    ]:
        with pytest.raises(UsageError, match=message):
            run(source, output, "--overwrite")
    save(nested / "a.png", noise(8, 8))
    with pytest.raises(UsageError, match="which is one of the pictures to read"):
        run(nested, nested.parent, "--overwrite")
    save(photos / "a.jpg", noise(8, 8))
    with pytest.raises(UsageError, match=r"a\.jpg and \S+a\.png would both become \S+a\.png: "):
        run(photos, out)
    assert not out.exists()


def test_a_file_that_is_no_picture_is_refused(given, tmp_path):
    (tmp_path / "a.tiff").write_bytes(b"II*\0 and so on")
    with pytest.raises(UsageError, match=r"a\.tiff: it is not a PNG, JPEG or WebP file$"):
        run(tmp_path / "a.tiff", tmp_path / "out")


def test_a_run_of_another_kind_is_one_line_on_the_command_line(tmp_path):
    picture, run_dir = save(tmp_path / "a.png", noise(8, 8)), tmp_path / "run"
    run_dir.mkdir()
    config = {"format": 1, "experiment": "vae", "preset": "smoke", "config": {}}
    (run_dir / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "experiments.translate", str(run_dir), "--input", str(picture)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    message = f"error: {run_dir} is a run of 'vae'; this works for cyclegan, pix2pix, pixelcnn"
    assert done.stderr.splitlines() == [message]
