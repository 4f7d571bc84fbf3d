"""Finding the landmarks of a template in a target. Names are loaded on first use: torch takes seconds."""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "GroupwiseModel": "deepfeatures.matching.groupwise",
    "MatchResult": "deepfeatures.matching.result",
    "MatchSettings": "deepfeatures.matching.settings",
    "Matcher": "deepfeatures.matching.matcher",
    "MultiTemplateMatcher": "deepfeatures.matching.multi_template",
    "distance_map": "deepfeatures.matching.greedy.distance",
    "distance_maps": "deepfeatures.matching.greedy.distance",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
