"""How far placed points, and those of a second person, are from those of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from deepfeatures.data.landmark_checks import check_unique_names
from deepfeatures.data.landmark_scores import BY_NAME, Score
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError

REFERENCE, PLACED, SECOND = "reference", "placed", "second"  # raters of one target, as `deepfeatures.quality` has them

# Columns of a comparison, fields of `PointError`.
COLUMNS = (
    Score("error_mm", "Error", "Distance from the reference point, in mm", "mm", ".2f", "Error mm"),
    replace(BY_NAME["expected_error_mm"], format=".2f"),
    Score(
        "second_rater_mm",
        "Second person",
        "Distance in mm of a second person's point from the reference point",
        "mm",
        ".2f",
        "2nd person mm",
    ),
)


@dataclass(frozen=True)
class PointError:
    """One landmark that a person has placed; what is not known is `None`.

    Args:
        name: Of the landmark.
        error_mm: Distance to the placed point, `None` where that is missing.
        expected_error_mm: The error that had been expected.
        second_rater_mm: Distance to a second person's point.
    """

    name: str
    error_mm: float | None
    expected_error_mm: float | None = None
    second_rater_mm: float | None = None


def pointErrors(
    reference: LandmarkSet,
    placed: LandmarkSet,
    second: LandmarkSet | None = None,
    *,
    expected: Mapping[str, float | None] | None = None,
) -> list[PointError]:
    """The error of each landmark that both sets name and the reference has a position for, in the reference's order.

    Args:
        reference: A person's, with which the others are compared; LPS mm, as all are.
        placed: By the matcher.
        second: By a second person.
        expected: mm that had been expected, by name.

    Raises:
        InputError: Names are ambiguous, or none is in both sets.
    """
    from deepfeatures.quality import (  # they load pandas, which takes seconds
        Annotation,
        position_table,
        rater_agreement,
    )

    raters = {REFERENCE: reference, PLACED: placed, **({SECOND: second} if second is not None else {})}
    _requireCommonNames(reference, tuple(raters.values()))
    positions = position_table([Annotation("scan", rater, landmarks) for rater, landmarks in raters.items()])
    table = rater_agreement.errors(positions, REFERENCE)
    errors = {
        (rater, name): error_mm if np.isfinite(error_mm) else None
        for rater, name, error_mm in zip(table.rater, table.landmark, table.error_mm.tolist(), strict=True)
    }
    placedNames = {landmark.name for landmark in placed}
    names = [landmark.name for landmark in reference if landmark.is_defined and landmark.name in placedNames]
    return [
        PointError(name, errors.get((PLACED, name)), (expected or {}).get(name), errors.get((SECOND, name)))
        for name in names
    ]


def largestFirst(errors: list[PointError]) -> list[PointError]:
    """What was not found first, then the largest errors."""
    return sorted(errors, key=lambda error: np.inf if error.error_mm is None else error.error_mm, reverse=True)


def summary(errors: list[PointError]) -> str:
    """One sentence for each comparison."""
    found = [error for error in errors if error.error_mm is not None]
    text = f"{len(found)} of {len(errors)} found"
    if found:
        mm = [error.error_mm for error in found]
        text += f": mean {np.mean(mm):.2f} mm, median {np.median(mm):.2f} mm, largest {np.max(mm):.2f} mm"
    expected = [error.expected_error_mm for error in found if error.expected_error_mm is not None]
    if expected:
        text += f"; the mean expected error was {np.mean(expected):.2f} mm"
    second = [error.second_rater_mm for error in errors if error.second_rater_mm is not None]
    return f"{text}. Two people differ by {np.mean(second):.2f} mm on average." if second else f"{text}."


def _requireCommonNames(reference: LandmarkSet, sets: tuple[LandmarkSet, ...]) -> None:
    for landmarks in sets:
        check_unique_names(landmarks, landmarks.name)
    measured = {landmark.name for landmark in reference if landmark.is_defined}
    for landmarks in sets[1:]:
        if measured.isdisjoint(landmark.name for landmark in landmarks):
            raise InputError(
                f"{reference.name} and {landmarks.name} have no point of the same name; choose points of the same"
                " landmarks."
            )
