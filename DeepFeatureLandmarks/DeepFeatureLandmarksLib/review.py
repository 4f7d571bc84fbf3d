"""The review of placed points: what is known of each, and which one to look at first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReviewRow:
    """One control point of an output node.

    Args:
        index: Of the control point in its node.
        name: Its label.
        status: `"proposed"`, `"accepted"` (locked), `"corrected"` (moved or made by a person), `"rejected"` or
            `"missing"`.
        locked: Whether the point is locked.
        expectedError: mm, `None` where it is not known, as for the others.
        within3mm: Chance from 0 to 1.
        roundTrip: mm.
        distance: Feature distance, in the network's own units.
        network: That placed it, empty for a person's point; `layer` and `patchSize` (voxels) likewise.
        layer: See `network`.
        patchSize: See `network`.
    """

    index: int
    name: str
    status: str
    locked: bool
    expectedError: float | None = None
    within3mm: float | None = None
    roundTrip: float | None = None
    distance: float | None = None
    network: str = ""
    layer: str = ""
    patchSize: int | None = None
