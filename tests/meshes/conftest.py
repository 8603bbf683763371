"""The kinds of mesh (``mesh_kinds``) and the models tried on them, for the tests here."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
