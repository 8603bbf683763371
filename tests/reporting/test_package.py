"""The package imports what is asked of it, and only then."""

import subprocess
import sys

import pytest

from gen_jax import reporting


def test_reporting_is_imported_without_what_draws():
    drawing = ["matplotlib", "PIL", "jinja2"]
    code = "import sys; from gen_jax import reporting; reporting.read_rows;"
    code += (
        f"print(set({drawing}) & set(sys.modules)); reporting.plots; print('PIL' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["set()", "True"]


def test_every_public_name_is_found_and_no_other():
    assert all(getattr(reporting, name) for name in reporting.__all__)
    with pytest.raises(AttributeError, match=r"'gen_jax.reporting' has no attribute 'plot'"):
        reporting.plot  # noqa: B018 -- asking for it is the test
