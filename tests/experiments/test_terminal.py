"""What a command says of a mistake, and of a warning."""

import subprocess
import sys
import warnings

import pytest

from experiments.running import terminal
from experiments.running.options import UsageError
from gen_jax import data
from gen_jax.data.captions import letters


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # is put back at the end


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "sizes differ: give an image_size, or channels=3 for all channels",
            "sizes differ: give an --image-size, or --channels 3 for all channels",
        ),
        (
            "mazes take no image_size, skip_bad_images; their size follows from CELLS",
            "mazes take no --image-size, --skip-bad-images; their size follows from CELLS",
        ),
        ("tfds.data_source('mnist', data_dir='/x')",) * 2,
        ("/data/image_size/1.png is damaged",) * 2,
    ],
)
def test_a_mistake_is_said_in_the_words_of_the_command_line(message, said, capsys):
    def program():
        raise data.DataError(message)

    with pytest.raises(SystemExit) as stop:
        terminal.main(program)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_mistake_that_the_command_line_found_is_said_as_it_is(capsys):
    def program():
        raise UsageError("the field image_size")

    with pytest.raises(SystemExit):
        terminal.main(program)
    assert capsys.readouterr().err == "error: the field image_size\n"


def test_what_is_not_read_of_a_text_is_a_note_without_its_place_in_the_code(capsys):
    def program():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            letters.encode(["a 7 ☃"])
            warnings.warn("this will change", UserWarning, stacklevel=1)

    terminal.main(program)
    note, other = capsys.readouterr().err.splitlines()[:2]
    assert note == "Note: letters outside the alphabet are read as others: '☃' as ' '"
    assert "test_terminal.py" in other
    assert "UserWarning: this will change" in other


def test_an_interrupted_command_ends_at_once_whatever_its_threads_do():
    code = """
import threading, time
from experiments.running.terminal import main
def program():
    threading.Thread(target=time.sleep, args=(1000,)).start()
    raise KeyboardInterrupt
main(program)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (out.returncode, out.stderr) == (130, "Interrupted.\n")
