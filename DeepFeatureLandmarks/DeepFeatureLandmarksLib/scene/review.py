"""The review of placed points: what is known of each, and which one to look at first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from deepfeatures.data.landmark_scores import REVIEWED, Score, Scores

# What people read of a status: the shape says it too, for those who do not see the colour.
STATUS_TEXTS = {
    "proposed": "● to check",
    "accepted": "✓ accepted",
    "corrected": "✎ corrected",
    "rejected": "✗ rejected",
    "missing": "○ not found",
}
CONFIRMED_MISSING, AMBIGUOUS = "✓ not found", "◆ ambiguous"
# Columns of a narrow table that are there only where the better one is not known.
INSTEAD = {"probability_within_3mm": "probability_within_tolerance", "inverse_consistency_error_mm": "radius_90_mm"}
WITHOUT_POSITION = ("rejected", "missing")


@dataclass(frozen=True)
class ReviewRow(Scores):
    """One control point of an output node, with the scores of the landmark.

    Args:
        index: Of the control point in its node.
        name: Its label.
        status: `"proposed"`, `"accepted"` (locked where it was placed), `"corrected"` (moved or made by a person),
            `"rejected"` or `"missing"`.
        locked: Whether the point is locked.
        network: That placed it, empty for a person's point; `layer` and `patchSize` (voxels) likewise.
        layer: See `network`.
        patchSize: See `network`.
        reason: Why it was not found, in words; empty where that is not known.
        notes: What people should know about how its volumes were read, each with the volume's name.
    """

    index: int
    name: str
    status: str
    locked: bool
    network: str = ""
    layer: str = ""
    patchSize: int | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def statusText(self) -> str:
        """For people."""
        if self.status == "missing" and self.locked:
            return CONFIRMED_MISSING
        return AMBIGUOUS if self.status == "proposed" and self.ambiguous else STATUS_TEXTS[self.status]

    @property
    def isPending(self) -> bool:
        """Whether a person has yet to review the point: a proposal, or nothing where something should be."""
        return not self.locked and self.status in ("proposed", "missing")

    @property
    def canBeAccepted(self) -> bool:
        """A point that is missing can be rightly so; one that was rejected is nowhere."""
        return self.status != "rejected"

    @property
    def canBeRejected(self) -> bool:
        """Also that it is missing, once accepted: it is looked for again then."""
        return self.locked or self.status not in WITHOUT_POSITION

    @property
    def mayBeMoved(self) -> bool:
        """Whether a run may move the point."""
        return not self.locked and self.status != "corrected"


def statusOf(*, isDefined: bool, locked: bool, isKnown: bool, moved: bool, rejected: bool) -> str:
    """The status of a point.

    Args:
        isDefined: It has a position.
        locked: A person has locked it.
        isKnown: A run has placed it.
        moved: It is not where the last run has put it.
        rejected: A person has taken its position away.
    """
    if not isDefined:
        return "rejected" if rejected else "missing"
    if moved or not isKnown:
        return "corrected"
    return "accepted" if locked else "proposed"


def shownScores(rows: Iterable[ReviewRow]) -> tuple[Score, ...]:
    """Scores that have a column of their own: those that any row has, but one of two that say much the same."""
    known = {name for row in rows for name in row.scores}
    return tuple(score for score in REVIEWED if score.name in known and INSTEAD.get(score.name) not in known)


def sortedByUncertainty(rows: Iterable[ReviewRow]) -> list[ReviewRow]:
    """The most uncertain first: those that nobody has reviewed, then the rejected, the corrected, the accepted.

    Of those that nobody has reviewed: missing ones, then the ambiguous, then those whose only score is a feature
    distance, then by 90 % radius. Where that is unknown, expected or inverse-consistency error take its place.
    """
    return sorted(rows, key=_reviewOrder)


def nextUnreviewed(rows: Iterable[ReviewRow], after: int | None) -> int | None:
    """Index of the most uncertain point that is pending; with `after`, of the next one, or the first again."""
    ranked = sortedByUncertainty(rows)
    pending = [row.index for row in ranked if row.isPending]
    if after is not None:
        order = [row.index for row in ranked]
        behind = order[order.index(after) + 1 :] if after in order else []
        pending = [index for index in pending if index in behind] or [index for index in pending if index != after]
    return pending[0] if pending else None


def _reviewOrder(row: ReviewRow) -> tuple[float, ...]:
    order = ("missing", "proposed", "rejected", "corrected", "accepted")
    doubts = (row.radius_90_mm, row.expected_error_mm, row.inverse_consistency_error_mm)
    doubt = next((mm for mm in doubts if mm is not None), math.inf)
    distance = row.feature_distance or 0.0 if doubt == math.inf else 0.0
    return (not row.isPending, order.index(row.status), not row.ambiguous, -doubt, -distance, row.index)
