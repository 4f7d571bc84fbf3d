"""What a search says of one landmark."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """One landmark in the target.

    Args:
        position: LPS mm, `None` where it was not found.
        distance: Feature distance of its surroundings.
        round_trip_mm: How far from the landmark its place is matched back in the template, `None` where not tried.
        expected_error_mm, within_3mm: See `expectation`, `None` where not calibrated.
        evidence: By name, what they were predicted from.
        reason: Why it was not found, one of `reasons.REASONS`; empty where it was.
    """

    position: tuple[float, float, float] | None
    distance: float
    round_trip_mm: float | None = None
    expected_error_mm: float | None = None
    within_3mm: float | None = None
    evidence: dict[str, float] = field(default_factory=dict)
    reason: str = ""
