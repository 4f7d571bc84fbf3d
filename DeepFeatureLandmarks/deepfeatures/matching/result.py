"""What a search says of one landmark."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepfeatures.data.scores import Scores


@dataclass(frozen=True)
class Place(Scores):
    """One landmark in the target, with its scores.

    Args:
        position: LPS mm, `None` where it was not found.
        evidence: By name, what the expected error was predicted from.
        reason: Why it was not found, one of `missing_reason.REASONS`; empty where it was.
    """

    position: tuple[float, float, float] | None
    evidence: dict[str, float] = field(default_factory=dict)
    reason: str = ""
