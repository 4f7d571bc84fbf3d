"""The scores of a placed landmark: one table behind files, reports and the review tables.

A new score is one more field of `Scores`. Landmarks, landmark files, reports and both review tables then have it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

UNKNOWN = "–"  # shown for a score that is not known


@dataclass(frozen=True)
class Score:
    """What people read of one score.

    Args:
        name: Of the attribute, the report's key and the CSV column.
        label: In words.
        tooltip: What it means, one phrase.
        unit: Of the number, `"mm"` or none.
        format: Of the number where people read it; with `%` a number from 0 to 1 is shown as a percentage.
        short_label: Head of its column in the review tables; empty for a score that they do not show.
    """

    name: str
    label: str
    tooltip: str
    unit: str = ""
    format: str = ".1f"
    short_label: str = ""

    @property
    def heading(self) -> str:
        """The label with the unit: `"Expected error (mm)"`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def is_percentage(self) -> bool:
        """Whether people read the number, from 0 to 1, as a percentage."""
        return self.format.endswith("%")

    def text(self, value: float | None) -> str:
        """The number for people, without the unit: `"1.2"`, `"93%"`, or `UNKNOWN`."""
        return UNKNOWN if value is None else format(value, self.format)

    def sentence(self, value: float) -> str:
        """The number with its label and unit: `"Expected error: 1.2 mm."`."""
        return f"{self.label}: {self.text(value)} {self.unit}".rstrip() + "."


def _score(label: str, tooltip: str, **rest: str) -> Any:
    return field(default=None, metadata={"label": label, "tooltip": tooltip, **rest})


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one landmark; `None` where one is not known.

    Args:
        feature_distance: Between the surroundings of the landmark and of the placed point, in the network's own units.
        expected_error_mm: Predicted distance from the true place.
        probability_within_3mm: From 0 to 1, to lie within 3 mm of the true place.
        probability_within_tolerance: The same for a tolerance that suits the anatomy, see `MatchSettings.tolerance_mm`.
        radius_50_mm, radius_90_mm: Around the placed point; the true place lies within in 50 and in 90 of 100 cases.
        inverse_consistency_error_mm: Distance between the landmark and the placed point matched back into the template.
        ambiguous: Whether another place in the target looks nearly as much like the template's.
    """

    feature_distance: float | None = _score(
        "Feature distance", "Difference between the surroundings in the template and in the target"
    )
    expected_error_mm: float | None = _score(
        "Expected error", "Expected distance from the true place, in mm", unit="mm", short_label="± mm"
    )
    probability_within_3mm: float | None = _score(
        "Within 3 mm", "Probability to lie within 3 mm of the true place", format=".0%", short_label="≤ 3 mm"
    )
    probability_within_tolerance: float | None = _score(
        "Within the tolerance",
        "Probability to lie within the tolerance of the true place, by default 2 % of the template's size",
        format=".0%",
        short_label="≤ tol.",
    )
    radius_50_mm: float | None = _score(
        "50% radius", "The true place lies within this many mm in 50 of 100 cases", unit="mm"
    )
    radius_90_mm: float | None = _score(
        "90% radius", "The true place lies within this many mm in 90 of 100 cases", unit="mm", short_label="90% mm"
    )
    inverse_consistency_error_mm: float | None = _score(
        "Inverse-consistency error",
        "Distance in mm between the landmark and the placed point matched back into the template",
        unit="mm",
        short_label="IC mm",
    )
    ambiguous: bool = False

    @property
    def scores(self) -> dict[str, float]:
        """By name, those that are known."""
        return {score.name: value for score in SCORES if (value := getattr(self, score.name)) is not None}


SCORES = tuple(Score(one.name, **one.metadata) for one in fields(Scores) if one.metadata)
BY_NAME = {score.name: score for score in SCORES}
REVIEWED = tuple(score for score in SCORES if score.short_label)  # what a person who reviews can weigh

# Of version 0.1. The names still work for one version; its files stay readable.
FORMER_NAMES = {
    "distance": "feature_distance",
    "expected_error": "expected_error_mm",
    "within_3mm": "probability_within_3mm",
    "round_trip": "inverse_consistency_error_mm",
}
FORMER_LABELS = {"feature_distance": "distance", "inverse_consistency_error_mm": "round trip"}


def with_former_keys(scores: dict[str, float]) -> dict[str, float]:
    """Scores of a report under their names, and for one version also under the keys of version 0.1."""
    return scores | {old: scores[new] for old, new in FORMER_NAMES.items() if new in scores}
