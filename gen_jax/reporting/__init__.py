"""What a run shows: pictures and tables added by an experiment, and the page that holds them."""

from gen_jax.reporting import plots
from gen_jax.reporting.metrics import read_rows
from gen_jax.reporting.page import write_report
from gen_jax.reporting.pictures import add_picture, add_slider, add_table

__all__ = ["add_picture", "add_slider", "add_table", "plots", "read_rows", "write_report"]
