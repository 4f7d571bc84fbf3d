"""What an output may teach: the points that a person has accepted or corrected, and whether its scan was taught."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from DeepFeatureLandmarksLib.scene import nodes, place_request, run_history
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from deepfeatures.data.landmarks import Landmark, LandmarkSet

TAUGHT = "DeepFeatureLandmarks.taughtScan"  # attribute of an output: the key of its scan, once that was taught
REVIEWED = ("accepted", "corrected")  # statuses of points that teach
NOTHING_PLACED = "Place landmarks first, then accept or correct them."
NOTHING_REVIEWED = "Accept or correct at least one point first."
ONLY_GUIDED = "Only the best measured settings can learn; choose them first."


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a person has decided.

    Args:
        points: Accepted and corrected ones, world LPS.
        corrected: Names of those that a person has moved or made.
    """

    points: LandmarkSet
    corrected: tuple[str, ...]

    @property
    def text(self) -> str:
        """How many of which, one phrase."""
        accepted = len(self.points) - len(self.corrected)
        return f"{accepted} accepted, {len(self.corrected)} corrected"


def lessonOf(output, rows: Iterable[ReviewRow]) -> Lesson:
    """What can be learnt from an output; proposed, rejected and missing points teach nothing.

    Args:
        output: vtkMRMLMarkupsFiducialNode.
        rows: Of its review.
    """
    reviewed = [row for row in rows if row.status in REVIEWED]
    points = (Landmark(row.name, nodes.landmarkOfPoint(output, row.index).position) for row in reviewed)
    corrected = (row.name for row in reviewed if row.status == "corrected")
    return Lesson(LandmarkSet(tuple(points), output.GetName()), tuple(corrected))


def refusal(request: PlaceRequest, rows: Iterable[ReviewRow]) -> str:
    """Why nothing can be learnt from the output of a request, in one sentence; empty where something can.

    Args:
        request: Its output holds the points.
        rows: Of their review.
    """
    output = request.output
    if output is None:
        return NOTHING_PLACED
    if not request.settings.is_guided:
        return ONLY_GUIDED
    if not any(row.status in REVIEWED for row in rows):
        return NOTHING_REVIEWED
    placedWith = {run_history.TEMPLATE: request.templateVolume, run_history.LANDMARKS: request.templateLandmarks}
    for role, chosen in placedWith.items():
        placedFrom = output.GetNodeReference(role)
        if placedFrom is not None and placedFrom is not chosen:
            return f"{output.GetName()} was placed from {placedFrom.GetName()}; choose that first."
    return place_request.validationMessage(request)


def noteTaught(output, key: str) -> None:
    """Note in the scene which scan of a protocol an output is."""
    output.SetAttribute(TAUGHT, key)


def taughtKey(output) -> str | None:
    """The key of the scan that an output has taught; `None` where it has taught none."""
    return output.GetAttribute(TAUGHT) if output is not None else None
