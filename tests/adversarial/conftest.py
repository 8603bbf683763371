"""Variables for networks (``drawing``), for the tests here."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
