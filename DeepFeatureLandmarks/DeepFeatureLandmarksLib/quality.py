"""How far placed points lie from those of a person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.landmarks import LandmarkSet


@dataclass(frozen=True)
class PointError:
    """One landmark that a person has placed.

    Args:
        name: Of the landmark.
        error_mm: Distance to the placed point, NaN where that is missing.
        expected_mm: The error that had been expected, NaN where it is not known.
    """

    name: str
    error_mm: float
    expected_mm: float


def pointErrors(reference: LandmarkSet, placed: LandmarkSet) -> list[PointError]:
    """The error of each landmark that both sets name and the reference has a position of, in the reference's order.

    Raises:
        InputError: Names are ambiguous, or none is in both sets.
    """
    for landmarks in (reference, placed):
        if landmarks.duplicate_names:
            raise InputError(
                f"{landmarks.name} names several points {', '.join(landmarks.duplicate_names[:5])}; rename them."
            )
    found = {landmark.name: landmark for landmark in placed}
    errors = [
        PointError(
            landmark.name,
            math.dist(landmark.position, other.position) if other.is_defined else math.nan,
            math.nan if other.expected_error is None else other.expected_error,
        )
        for landmark in reference
        if landmark.is_defined and (other := found.get(landmark.name)) is not None
    ]
    if not errors:
        raise InputError(
            f"{reference.name} and {placed.name} have no point of the same name; choose points of the same landmarks."
        )
    return errors


def summary(errors: list[PointError]) -> str:
    """Mean, median and 95th percentile in mm, and how many are missing, as one line."""
    known = [error.error_mm for error in errors if not math.isnan(error.error_mm)]
    if not known:
        return f"all {len(errors)} missing"
    text = (
        f"mean {np.mean(known):.2f} mm, median {np.median(known):.2f} mm, "
        f"95th percentile {np.percentile(known, 95):.2f} mm of {len(known)} points"
    )
    missing = len(errors) - len(known)
    return f"{text}, {missing} missing" if missing else text
