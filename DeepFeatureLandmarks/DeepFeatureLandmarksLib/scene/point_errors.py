"""How far placed points, and those of a second person, lie from those of a person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError

PERSON, MACHINE, SECOND = "person", "machine", "second"  # raters of one scan, as `deepfeatures.quality` has them


@dataclass(frozen=True)
class PointError:
    """One landmark that a person has placed; what is not known is NaN.

    Args:
        name: Of the landmark.
        error_mm: Distance to the placed point, NaN where that is missing.
        expected_mm: The error that had been expected.
        second_mm: Distance to a second person's point.
    """

    name: str
    error_mm: float
    expected_mm: float = math.nan
    second_mm: float = math.nan

    @property
    def isFound(self) -> bool:
        return not math.isnan(self.error_mm)


def pointErrors(
    person: LandmarkSet,
    placed: LandmarkSet,
    second: LandmarkSet | None = None,
    *,
    expected: Mapping[str, float | None] | None = None,
) -> list[PointError]:
    """The error of each landmark that both sets name and the person has given a position, the person's order.

    Args:
        person: What the others are compared with; LPS mm, as all are.
        placed: By the machine.
        second: By a second person.
        expected: mm that had been expected, by name.

    Raises:
        InputError: Names are ambiguous, or none is in both sets.
    """
    from deepfeatures.quality import (  # they load pandas, which nobody waits for
        Annotation,
        position_table,
        rater_agreement,
    )

    raters = {PERSON: person, MACHINE: placed, **({SECOND: second} if second is not None else {})}
    for landmarks in raters.values():
        if landmarks.duplicate_names:
            raise InputError(
                f"{landmarks.name} names several points {', '.join(landmarks.duplicate_names[:5])}; rename them."
            )
    measured = [landmark.name for landmark in person if landmark.is_defined]
    for landmarks in list(raters.values())[1:]:
        if not {landmark.name for landmark in landmarks}.intersection(measured):
            raise InputError(
                f"{person.name} and {landmarks.name} have no point of the same name; choose points of the same"
                " landmarks."
            )
    positions = position_table([Annotation("scan", rater, landmarks) for rater, landmarks in raters.items()])
    table = rater_agreement.errors(positions, PERSON)
    errors = dict(zip(zip(table.rater, table.landmark, strict=True), table.error_mm.tolist(), strict=True))
    named = {landmark.name for landmark in placed}
    return [
        PointError(
            name,
            errors.get((MACHINE, name), math.nan),
            math.nan if (mm := (expected or {}).get(name)) is None else mm,
            errors.get((SECOND, name), math.nan),
        )
        for name in measured
        if name in named
    ]


def largestFirst(errors: list[PointError]) -> list[PointError]:
    """What was not found before all."""
    return sorted(errors, key=lambda error: error.error_mm if error.isFound else math.inf, reverse=True)


def summary(errors: list[PointError]) -> str:
    """One sentence for each comparison."""
    found = [error.error_mm for error in errors if error.isFound]
    text = f"{len(found)} of {len(errors)} found"
    if found:
        text += f": mean {np.mean(found):.2f} mm, median {np.median(found):.2f} mm, largest {np.max(found):.2f} mm"
    expected = [error.expected_mm for error in errors if error.isFound and not math.isnan(error.expected_mm)]
    if expected:
        text += f"; expected were {np.mean(expected):.2f} mm on average"
    second = [error.second_mm for error in errors if not math.isnan(error.second_mm)]
    return f"{text}. Two people differ by {np.mean(second):.2f} mm on average." if second else f"{text}."
