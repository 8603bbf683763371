"""What a command says of a mistake, and of a warning."""

import warnings

import pytest

from experiments.running import terminal
from gen_jax import data


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # is put back at the end


def test_a_mistake_is_said_in_the_words_of_the_command_line(capsys):
    def program():
        raise data.DataError("sizes differ: give an image_size, or channels=3 for all channels")

    with pytest.raises(SystemExit) as stop:
        terminal.main(program)
    assert stop.value.code == 2
    said = "error: sizes differ: give an --image-size, or --channels 3 for all channels\n"
    assert capsys.readouterr().err == said


def test_a_warning_is_a_note_without_its_place_in_the_code(capsys):
    def program():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("3 texts are cut", UserWarning, stacklevel=1)
            warnings.warn("this will change", FutureWarning, stacklevel=1)

    terminal.main(program)
    said = capsys.readouterr()
    assert said.out == "Note: 3 texts are cut\n"
    assert "FutureWarning: this will change" in said.err
    assert "test_terminal.py" in said.err
