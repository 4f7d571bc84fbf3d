"""Checks of landmarks before they are used; each error names the landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.data.landmarks import LandmarkSet
    from deepfeatures.data.volume import Volume

NAMES_SHOWN = 5


def check_unique_names(landmarks: LandmarkSet, source: str | Path) -> None:
    """Raise `InputError` where two landmarks of `source`, a file or a volume, have the same name."""
    if landmarks.duplicate_names:
        raise InputError(f"{source} names several landmarks {names_text(landmarks.duplicate_names)}; rename them")


def check_inside(
    landmarks: LandmarkSet, volume: Volume, landmarks_source: str | Path, volume_source: str | Path
) -> None:
    """Raise `InputError` where a landmark with a position lies outside its volume.

    Args:
        landmarks: Of the volume; those without a position are not checked.
        volume: In which they should lie.
        landmarks_source: What the message calls the landmarks.
        volume_source: What the message calls the volume.
    """
    inside = volume.contains(landmarks.positions)
    outside = [landmark.name for landmark, is_in in zip(landmarks, inside, strict=True) if landmark.is_defined > is_in]
    if outside:
        raise InputError(
            f"{names_text(outside)} of {landmarks_source} lie outside the volume {volume_source}; give the one"
            " in which the landmarks were placed, or check that their coordinates are LPS or RAS as stated"
            + (f" ({volume.note})" if volume.note else "")
        )


def names_text(names: Sequence[str], shown: int = NAMES_SHOWN) -> str:
    """The first names and how many more there are: `"AC, PC and 3 more"`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
