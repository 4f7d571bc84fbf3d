"""Settings of the documentation: `make docs` builds it into docs/_build/html."""

import os
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
os.environ["TYPER_USE_RICH"] = "0"  # the commands' help without boxes
sys.path[:0] = [str(HERE), str(HERE.parent / "DeepFeatureLandmarks")]

project = "DeepFeatureLandmarks"
author = copyright = "The DeepFeatureLandmarks contributors"
version = release = metadata.version("deep-feature-landmarks")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "command_line", "rooms"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings have names in single backticks
html_theme = "furo"
html_title = "Deep Feature Landmarks"
html_favicon = "../Resources/DeepFeatureLandmarks.png"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # the notebook is run at each build, so that it cannot fall behind the code
nb_execution_in_temp = True  # what it writes stays out of the folder
nb_execution_raise_on_error = True
nb_execution_timeout = 120

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
suppress_warnings = ["ref.python"]  # a public name and its home in a room are one thing under two names
