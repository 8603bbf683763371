"""The WaveNet experiment, as a user would run it."""

import json
import pathlib

import jax
import numpy as np
import pytest

from experiments import evaluate, sample, wavenet
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.run import run
from gen_jax import data
from gen_jax.data.sounds import strings

pytestmark = pytest.mark.smoke


def start(folder: pathlib.Path, *options: str) -> pathlib.Path:
    return run(wavenet.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet", *options])


@pytest.fixture(scope="module")
def wavenet_run(tmp_path_factory) -> pathlib.Path:
    return start(tmp_path_factory.mktemp("runs") / "wavenet")


def read_metrics(folder: pathlib.Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["metrics"]


def test_a_run_learns_and_shows_what_it_promises(wavenet_run):
    metrics = read_metrics(wavenet_run)
    assert metrics["test/bits_per_dim"] == pytest.approx(metrics["test/nll"] / 250 / np.log(2))
    assert metrics["test/nats_per_second"] == pytest.approx(metrics["test/nll"] * 32)
    assert 0.0 <= metrics["test/pitch_right"] <= 1.0
    rows = [json.loads(line) for line in (wavenet_run / "metrics.jsonl").read_text().splitlines()]
    nll = [row["validation/nll"] for row in rows if "validation/nll" in row]
    assert nll[-1] < nll[0]
    page = (wavenet_run / "report.html").read_text()
    for title in ("Sounds", "Pitches", "A#3 233.1 Hz"):
        assert title in page
    assert list(wavenet_run.glob("samples/step_*.png"))
    files = sorted((wavenet_run / "audio").iterdir())
    assert len(files) == 12
    assert files[1].name == "01-A-sharp3-233.1-Hz.wav"
    sound, rate = data.read_wav(files[0])
    assert (rate, sound.shape) == (8000, (800, 1))


def test_sample_writes_sounds_one_after_another(wavenet_run, tmp_path, capsys):
    out = tmp_path / "new" / "scale.wav"
    sample.program([str(wavenet_run), "--num", "3", "--out", str(out)])
    assert "3 sounds" in capsys.readouterr().out
    sound, rate = data.read_wav(out)
    assert (rate, len(sound)) == (8000, 3 * (800 + 2000))
    assert not sound[800:2800].any()
    with pytest.raises(UsageError, match=r"sheet\.png: its name must end in \.wav"):
        sample.program([str(wavenet_run), "--out", str(tmp_path / "sheet.png")])


def test_evaluate_repeats_the_numbers_of_the_run(wavenet_run, tmp_path):
    out = tmp_path / "numbers.json"
    evaluate.program([str(wavenet_run), "--out", str(out)])
    assert json.loads(out.read_text()) == read_metrics(wavenet_run)


def test_a_chunk_is_a_part_of_what_is_drawn_at_once(wavenet_run):
    opened = reopen(wavenet_run)
    few = reopen(wavenet_run, chunk=5)
    drawn = [part.setup.draw(jax.random.key(3), part.state, 7) for part in (opened, few)]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].dtype == np.int16


def test_real_plucks_are_right_and_others_are_not():
    listener = wavenet.Listener(strings.NAMES, 8000)
    np.testing.assert_allclose(listener.pitches, strings.PITCHES, rtol=1e-3)
    test = data.load_audio("strings", "test")
    assert listener.is_right(test.audio, test.labels).all()
    assert not listener.is_right(test.audio, (test.labels + 1) % 12).any()
    assert not listener.is_right(np.zeros((1, 8000, 1), np.int16), np.array([0])).any()
    assert wavenet.Listener(("dog", "cat 9 lives"), 8000).pitches is None


@pytest.mark.parametrize("labelled", [True, False])
def test_a_folder_of_recordings_trains(tmp_path, labelled):
    random = np.random.default_rng(0)
    for i in range(12):
        name = f"{('dog', 'cat')[i % 2]}/{i}.wav" if labelled else f"{i}.wav"
        sound = random.normal(0.0, 3000.0, 2500).astype(np.int16)
        data.write_wav(tmp_path / "sounds" / name, sound, 11_025)
    options = ["--dataset", f"folder:{tmp_path / 'sounds'}", "--resample", "--steps", "2"]
    options += ["--likelihood", "mixture", "--levels", "64", "--chunk", "4"]
    folder = start(tmp_path / "run", *options)
    metrics = read_metrics(folder)
    assert metrics["test/nll"] > 0.0
    assert "test/pitch_right" not in metrics
    files = sorted(path.name for path in (folder / "audio").iterdir())
    assert files == (["00-cat.wav", "01-dog.wav"] if labelled else ["00-sound-0.wav"])


def test_classes_need_labels_in_every_split(tmp_path):
    sound = np.random.default_rng(0).normal(0.0, 3000.0, 500).astype(np.int16)
    for name in ("train/dog/a", "train/cat/a", "val/dog/a", "test/a"):
        data.write_wav(tmp_path / "sounds" / f"{name}.wav", sound, 8000)
    options = ["--dataset", f"folder:{tmp_path / 'sounds'}"]
    with pytest.raises(data.DataError, match=r"test split of folder:.* has no labels"):
        start(tmp_path / "run", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "0"], "--layers must be 1 or more, got 0"),
        (["--levels", "300"], "--levels must lie in 2..256, got 300"),
        (["--seconds", "0"], "--seconds must lie in 0.05..3600, got 0"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        start(tmp_path / "run", *options)
    with pytest.raises(data.DataError, match="unknown data set 'string'"):
        start(tmp_path / "run", "--dataset", "string")
    assert not (tmp_path / "run").exists()
