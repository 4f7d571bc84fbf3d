"""Find landmarks of a template volume in other volumes by deep feature matching."""

from __future__ import annotations

import warnings
from importlib import import_module

from deepfeatures._version import __version__
from deepfeatures.errors import InputError

# Loaded on first use: torch takes seconds, `import deepfeatures` should not.
_HOMES = {
    "Landmark": "deepfeatures.data.landmarks",
    "LandmarkSet": "deepfeatures.data.landmarks",
    "GroupwiseModel": "deepfeatures.matching",
    "MatchResult": "deepfeatures.matching",
    "MatchSettings": "deepfeatures.matching",
    "Matcher": "deepfeatures.matching",
    "MultiTemplateMatcher": "deepfeatures.matching",
    "Volume": "deepfeatures.data.volume",
    "read_landmarks": "deepfeatures.io.landmark_files",
    "read_volume": "deepfeatures.io.volume_files",
    "write_landmarks": "deepfeatures.io.landmark_files",
    "write_volume": "deepfeatures.io.volume_files",
}
__all__ = ["InputError", "__version__", *_HOMES]


def __getattr__(name: str):
    if name == "Panel":  # for one version
        warnings.warn("Panel is now MultiTemplateMatcher", DeprecationWarning, stacklevel=2)
        name = "MultiTemplateMatcher"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
