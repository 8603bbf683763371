"""What a run shows: pictures and tables added by an experiment, and the page that holds them.

Its names are imported when they are first used, so that training or measuring without a report
needs neither matplotlib, Pillow nor jinja2.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen_jax.reporting import plots
    from gen_jax.reporting.metrics import read_rows
    from gen_jax.reporting.page import write_report
    from gen_jax.reporting.pictures import add_picture, add_slider, add_table

__all__ = ["add_picture", "add_slider", "add_table", "plots", "read_rows", "write_report"]
_MODULES = {
    "add_picture": "pictures",
    "add_slider": "pictures",
    "add_table": "pictures",
    "read_rows": "metrics",
    "write_report": "page",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    return getattr(module, name) if name in _MODULES else module
