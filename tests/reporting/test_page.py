import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gen_jax import reporting
from gen_jax.files import RunError
from gen_jax.reporting import plots

VOID = {"meta", "img", "br", "input"}
HOSTILE = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """What a test asks of a page: its tags are balanced, its images, its text, its section ids."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data

    def attributes(self, tag, name):
        return [attrs[name] for seen, attrs in self.tags if seen == tag and name in attrs]

    @property
    def images(self):
        prefix = "data:image/png;base64,"
        sources = self.attributes("img", "src")
        assert all(source.startswith(prefix) for source in sources)
        return [
            Image.open(io.BytesIO(base64.b64decode(source.removeprefix(prefix))))
            for source in sources
        ]


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "vae" / "my-run"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"latent_dim": 2, "optimizer": {"b1": 0.9}}))
    (folder / "environment.json").write_text(
        json.dumps({"command": "python -m experiments.vae 'a b'", "jax": "0.10.2"})
    )
    summary = {
        "experiment": "vae",
        "preset": "smoke",
        "dataset": "mnist-subset",
        "steps": 300,
        "n_params": 1234567,
        "params_digest": "ab" * 32,
        "device": "cpu",
        "jax_version": "0.10.2",
        "wall_s": 12.5,
        "examples_per_s": 20000.0,
        "metrics": {"test/nll": 139.23, "test/bits_per_dim": 0.25, "binarization": "dynamic"},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [
        {
            "step": step,
            "time": step / 10,
            "train/loss": 500 / step,
            "validation/elbo": -float(step),
            "speed/examples_per_s": 100.0 * step,
            "speed/compile_s": 2.5,
        }
        for step in (100, 200, 300)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (100, 200, 300):
        image = Image.fromarray(np.full((20, 20), step // 2, np.uint8))
        image.save(folder / "samples" / f"step_{step:08d}.png")
    manifold = np.arange(12, dtype=np.uint8).reshape(3, 4)
    reporting.add_picture(folder, "manifold", manifold, title="Manifold", caption="A plane.")
    reporting.add_table(folder, "t", ["what", "n"], [["x", 7]], title="Counts", caption="Few.")
    return folder


def read(folder) -> Page:
    return Page(reporting.write_report(folder).read_text("utf-8"))


def test_a_full_run_has_every_section(run_dir):
    page = read(run_dir)
    ids = page.attributes("section", "id")
    assert ids == ["results", "pictures", "samples", "curves", "speed", "made"]
    assert [href.removeprefix("#") for href in page.attributes("a", "href")] == ids
    for text in (
        "139.23",
        "nats per image",
        "bits/dim",
        "drawn anew",  # what dynamic binarization is
        "1\u2009234\u2009567",
        "python -m experiments.vae 'a b'",
        "optimizer.b1",
        "0.10.2",
        "Manifold",
        "A plane.",
        "Counts",
        "step 100",
        "20\u2009000",
        "ab" * 32,
    ):
        assert text in page.text
    assert "not finished" not in page.text


def test_the_page_loads_nothing(run_dir):
    page = read(run_dir)
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "#"))
    assert "url(" not in (run_dir / "report.html").read_text("utf-8")
    assert "@import" not in (run_dir / "report.html").read_text("utf-8")


def test_images_are_embedded_whole_and_small_ones_stay_sharp(run_dir):
    page = read(run_dir)
    np.testing.assert_array_equal(
        np.asarray(page.images[0]), np.arange(12, dtype=np.uint8).reshape(3, 4)
    )
    _, manifold = next(tag for tag in page.tags if tag[0] == "img")
    assert manifold["class"] == "pixelated"
    assert (manifold["width"], manifold["height"]) == ("640", "480")  # 4 x 3, by a whole factor
    assert all(page.attributes("img", "alt"))


def test_it_suits_phones_and_dark_screens(run_dir):
    page = read(run_dir)
    assert "width=device-width" in next(
        a["content"] for t, a in page.tags if a.get("name") == "viewport"
    )
    html = (run_dir / "report.html").read_text("utf-8")
    assert "prefers-color-scheme: dark" in html
    assert "image-rendering: pixelated" in html


def test_an_empty_folder_has_a_page(tmp_path):
    page = read(tmp_path)
    assert "This run is not finished" in page.text
    assert "Nothing has been measured yet." in page.text
    assert page.attributes("section", "id") == ["results", "made"]
    assert page.images == []


def test_an_unfinished_run_shows_its_last_validation(run_dir):
    (run_dir / "summary.json").unlink()
    page = read(run_dir)
    assert "it last logged step 300" in page.text
    assert "validation/elbo" in page.text
    assert "\u2212300.00" in page.text
    assert "train/loss" not in page.text


def test_hostile_text_is_shown_and_not_run(run_dir):
    hostile = run_dir.parent / HOSTILE.replace("/", "")
    run_dir.rename(hostile)
    (hostile / "config.json").write_text(json.dumps({HOSTILE: HOSTILE, "list": [HOSTILE]}))
    (hostile / "environment.json").write_text(json.dumps({"command": HOSTILE, "x": HOSTILE}))
    summary = json.loads((hostile / "summary.json").read_text())
    summary |= {"experiment": HOSTILE, "device": HOSTILE, "params_digest": HOSTILE}
    summary["metrics"] = {HOSTILE: 1.0, "test/x": HOSTILE}
    (hostile / "summary.json").write_text(json.dumps(summary))
    with (hostile / "metrics.jsonl").open("a") as file:
        for step in (400, 500):
            file.write(json.dumps({"step": step, "time": 1.0, f"a/{HOSTILE}": step}) + "\n")
    blank = np.zeros((2, 2), np.uint8)
    reporting.add_picture(hostile, "x", blank, title=HOSTILE, caption=HOSTILE)
    reporting.add_table(hostile, "y", [HOSTILE], [[HOSTILE]], title=HOSTILE, caption=HOSTILE)
    page = read(hostile)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) >= 12
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)


def test_damaged_files_are_notes_and_the_rest_is_shown(run_dir):
    (run_dir / "summary.json").write_text('{"experiment": "v')
    (run_dir / "config.json").write_text("[1]")
    (run_dir / "samples" / "step_00000200.png").write_bytes(b"\x89PNG broken")
    (run_dir / "pictures" / "manifold.png").write_bytes(b"")
    page = read(run_dir)
    for note in (
        "summary.json is damaged: not a JSON object",
        "config.json is damaged: not a JSON object",
        "samples/step_00000200.png could not be shown",
        "pictures/manifold.png could not be shown",
    ):
        assert note in page.text
    assert "step 100" in page.text
    assert "Counts" in page.text
    (run_dir / "pictures" / "index.json").write_text('[{"name": "../../secret"}]')
    assert "pictures/index.json could not be read" in read(run_dir).text


FILES = ("config", "environment", "summary", "pictures/index")


@pytest.mark.parametrize("name", [*(f"{name}.json" for name in FILES), "metrics.jsonl"])
def test_no_file_however_torn_stops_the_page_or_the_next_picture(run_dir, name):
    whole = (run_dir / name).read_bytes()
    blank = np.zeros((2, 2), np.uint8)
    for content in (b"", whole[: len(whole) // 2], b"\xff\xfe\0", b"[" * 10_000, b"3", b"[{}]"):
        (run_dir / name).write_bytes(content)
        reporting.add_picture(run_dir, "blank", blank, title="Blank", caption="")
        text = read(run_dir).text
        assert "Blank" in text
        assert "step 100" in text
    (run_dir / name).unlink()
    (run_dir / name).mkdir()
    assert re.search(rf"(cannot read {name}:|{name} could not be read)", read(run_dir).text)


def test_a_ragged_table_and_a_step_that_is_no_number_are_passed_over(run_dir):
    index = run_dir / "pictures" / "index.json"
    entries = json.loads(index.read_text())
    entries[1]["rows"] = [["x", 7], ["y"]]
    index.write_text(json.dumps(entries))
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": Infinity, "time": 1.0, "train/loss": 1.0}\n')
        file.write(f'{{"step": 400, "time": 41.0, "train/loss": {"9" * 400}}}\n')
    (run_dir / "config.json").write_text("[" * 10_000)
    page = read(run_dir)
    assert "pictures/index.json could not be read: table 't': row 1 has 1 cells" in page.text
    assert "config.json is damaged" in page.text
    assert "139.23" in page.text


def test_a_name_cannot_reach_outside_the_pictures(run_dir):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(run_dir / "secret.png")
    index = run_dir / "pictures" / "index.json"
    entries = json.loads(index.read_text())
    entries[0]["name"] = "../secret"
    index.write_text(json.dumps(entries))
    before = len(read(run_dir).images)
    entries[0]["name"] = "manifold"
    index.write_text(json.dumps(entries))
    assert len(read(run_dir).images) == before + 1


def test_a_long_film_is_thinned_and_keeps_its_ends(run_dir):
    for step in range(400, 5100, 100):
        image = Image.fromarray(np.zeros((4, 4), np.uint8))
        image.save(run_dir / "samples" / f"step_{step:08d}.png")
    page = read(run_dir)
    shown = [alt for alt in page.attributes("img", "alt") if alt.startswith("samples at")]
    assert len(shown) == 12
    assert shown[0] == "samples at step 100"
    assert shown[-1] == "samples at step 5\u2009000"
    assert "12 of 50" in page.text


def test_a_chart_may_be_inverted_and_an_image_is_not(run_dir):
    figure = plots.curves({"a": ([0, 1], [0, 1])}, x_label="x", y_label="y")
    reporting.add_picture(run_dir, "manifold", figure, title="Chart", caption="")
    page = read(run_dir)
    assert next(a for t, a in page.tags if t == "img")["class"] == "chart"
    films = [a for t, a in page.tags if t == "img" and a["alt"].startswith("samples at")]
    assert all(film.get("class") != "chart" for film in films)


def test_writing_twice_gives_the_same_page_and_leaves_nothing_else(run_dir):
    first = reporting.write_report(run_dir).read_bytes()
    files = set(run_dir.rglob("*"))
    assert reporting.write_report(run_dir).read_bytes() == first
    assert set(run_dir.rglob("*")) == files


def test_a_page_that_cannot_be_written_is_one_line(run_dir):
    (run_dir / "report.html").mkdir()
    with pytest.raises(RunError, match=r"^cannot write \S+report\.html\S*: Is a directory$"):
        reporting.write_report(run_dir)
    assert not list(run_dir.glob(".*")), "a part of it is left"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run folder at .*nowhere"):
        reporting.write_report(tmp_path / "nowhere")


def test_many_metrics_are_there_but_folded(run_dir):
    summary = json.loads((run_dir / "summary.json").read_text())
    summary["metrics"] = {f"test/number_{i}": float(i) for i in range(15)}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    page = read(run_dir)
    assert "3 more" in page.text
    assert all(f"test/number_{i}" in page.text for i in range(15))
    summary["metrics"] = dict(list(summary["metrics"].items())[:12])
    (run_dir / "summary.json").write_text(json.dumps(summary))
    assert " more" not in read(run_dir).text


def add_slider(folder, n: int, **options) -> None:
    before = [np.full((20, 30), i, np.uint8) for i in range(n)]
    after = [np.full((20, 30, 3), 100 + i, np.uint8) for i in range(n)]
    options = {"title": "Translations", "caption": "Drag.", **options}
    reporting.add_slider(folder, "translations", before, after, **options)


def test_sliders_lay_two_images_in_one_place_with_a_handle_for_mouse_and_keyboard(run_dir):
    others = len(read(run_dir).images)
    add_slider(run_dir, 2, labels=("photo", "painting"))
    page = read(run_dir)
    assert len(page.images) == others + 4
    start = next(i for i, (_, a) in enumerate(page.tags) if a.get("class") == "stage")
    kinds = [tag for tag, _ in page.tags[start + 1 : start + 4]]
    assert kinds == ["img", "img", "input"]  # the handle last: above both
    first = [page.images[page.attributes("img", "alt").index(alt)] for alt in ("photo", "painting")]
    assert [int(np.asarray(image).flat[0]) for image in first] == [0, 100]
    handles = [attributes for tag, attributes in page.tags if tag == "input"]
    assert [handle["type"] for handle in handles] == ["range", "range"]
    assert [handle["aria-label"] for handle in handles] == [
        f"Translations, {i} of 2: border between photo and painting" for i in (1, 2)
    ]
    assert all("disabled" not in handle and "tabindex" not in handle for handle in handles)
    widths = [a["style"] for _, a in page.tags if a.get("class") == "slider"]
    assert widths == ["width: 300px"] * 2  # enlarged by a whole factor


def test_a_page_has_a_script_only_for_sliders_and_it_names_nothing_of_the_run(run_dir):
    assert read(run_dir).scripts == []
    add_slider(run_dir, 1)
    (script,) = read(run_dir).scripts
    add_slider(run_dir, 3, title=HOSTILE, caption=HOSTILE, labels=(HOSTILE, HOSTILE))
    page = read(run_dir)
    assert page.scripts == [script]
    assert page.text.count(HOSTILE) >= 4
    assert all("src" not in attributes for tag, attributes in page.tags if tag == "script")
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)


def test_a_slider_whose_image_is_damaged_is_noted_and_the_others_are_shown(run_dir):
    add_slider(run_dir, 3)
    (run_dir / "pictures" / "translations-1-after.png").write_bytes(b"")
    page = read(run_dir)
    assert "pictures/translations-1-after.png could not be shown" in page.text
    assert len([tag for tag, _ in page.tags if tag == "input"]) == 2


@pytest.mark.parametrize("sliders", [-1, 10**9, 1.0, "2", None, [1]])
def test_a_number_of_sliders_that_cannot_be_is_a_note(run_dir, sliders):
    add_slider(run_dir, 1)
    index = run_dir / "pictures" / "index.json"
    entries = json.loads(index.read_text())
    entries[-1]["sliders"] = sliders
    index.write_text(json.dumps(entries))
    assert "pictures/index.json could not be read: slider" in read(run_dir).text
