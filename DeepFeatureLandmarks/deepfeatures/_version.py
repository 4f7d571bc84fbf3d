"""The version of this package, in one place: pyproject.toml reads it from here, and so does a copy in Slicer."""

__version__ = "0.1.0"
