import pytest

from gen_jax.nn.conv import cpu


@pytest.fixture(autouse=True)
def small_ones_too(request, monkeypatch):
    """Tests of the convolution compute the least of them as large ones are."""
    if request.module.__name__.split(".")[-1].startswith("test_conv"):
        monkeypatch.setattr(cpu, "SMALL", 0)
