"""Landmarks: named points in LPS millimetres, with their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import numpy as np

from deepfeatures.data.landmark_scores import FORMER_NAMES, Scores
from deepfeatures.data.notes import Note
from deepfeatures.deprecation import warn_renamed

Class = TypeVar("Class", bound=type)
Row = tuple[float, float, float]
Rotation = tuple[Row, Row, Row]

STATUSES = ("undefined", "preview", "defined", "missing")
LANDMARK_SUFFIXES = (
    *(".mrk.json", ".json", ".fcsv", ".ants.csv", ".csv"),
    *(".mps", ".tag", ".landmarkascii", ".pts", ".txt", ".tps", ".dcm"),
)


def _renamed_score(old: str, new: str) -> property:
    def read(landmark: Landmark) -> float | None:
        warn_renamed(f"Landmark.{old}", new)
        return getattr(landmark, new)

    return property(read, doc=f"Former name of `{new}`.")


def _with_former_names(cls: Class) -> Class:
    """The class, which also takes and has scores by the names of version 0.1."""
    create = cls.__init__

    @wraps(create)
    def __init__(self, *args, **given):
        for old in FORMER_NAMES.keys() & given:
            warn_renamed(f"Landmark({old}=…)", FORMER_NAMES[old])
            given[FORMER_NAMES[old]] = given.pop(old)
        create(self, *args, **given)

    cls.__init__ = __init__
    for old, new in FORMER_NAMES.items():
        setattr(cls, old, _renamed_score(old, new))
    return cls


@_with_former_names
@dataclass(frozen=True)
class Landmark(Scores):
    """One point, with its scores where a search has placed it, see `Scores`.

    Args:
        name: Label shown beside the point.
        position: LPS mm, three floats; `None` where `status` is not `"defined"` and there is no position.
        status: One of `STATUSES`, as Slicer has them; `"missing"` means that it was searched and not found.
        description: Free text, kept as read.
        locked: Whether a person has locked the point.
        reason: Why it is missing, one of `missing_reason.REASONS`; empty where the reason is not known.
        note: What people should know of how the volumes were read between which it was carried over; empty for nothing.
        orientation: How it is turned, a rotation in LPS. Of a placed landmark its columns are where the template's L, P
            and S directions point to. `None` where nothing is known of it.
    """

    name: str
    position: tuple[float, float, float] | None
    status: str = "defined"
    description: str = ""
    locked: bool = False
    reason: str = ""
    note: str = ""
    orientation: Rotation | None = None

    @property
    def is_defined(self) -> bool:
        """Whether it has a position that counts."""
        return self.status == "defined" and self.position is not None

    @property
    def is_of_a_person(self) -> bool:
        """Whether a person has placed or locked it: every point that a search has found has a feature distance."""
        return self.locked or (self.is_defined and self.feature_distance is None)


@dataclass(frozen=True)
class LandmarkSet:
    """Landmarks of one volume, in the order in which they were placed.

    Args:
        landmarks: In that order.
        name: Of the list.
        notes: What people should know of how their file was read.
    """

    landmarks: tuple[Landmark, ...]
    name: str = "landmarks"
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.landmarks)

    def __iter__(self) -> Iterator[Landmark]:
        return iter(self.landmarks)

    def __getitem__(self, index: int) -> Landmark:
        return self.landmarks[index]

    @property
    def positions(self) -> np.ndarray:
        """LPS mm, shape `(N, 3)`; NaN rows for landmarks that are not defined."""
        rows = [landmark.position if landmark.is_defined else (np.nan,) * 3 for landmark in self.landmarks]
        return np.array(rows, float).reshape(-1, 3)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the landmarks that are not defined."""
        return tuple(landmark.name for landmark in self.landmarks if not landmark.is_defined)

    @property
    def duplicate_names(self) -> tuple[str, ...]:
        """Names that more than one landmark has."""
        counts = Counter(landmark.name for landmark in self.landmarks)
        return tuple(name for name, count in counts.items() if count > 1)


def landmark_stem(path: str | Path) -> str:
    """The file name of a landmark file without its suffix: `"brain"` for `"data/brain.mrk.json"`."""
    name = Path(path).name
    for suffix in LANDMARK_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
