"""What is to be placed where, and whether that can work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from DeepFeatureLandmarksLib.scene import nodes, run_history
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings

NAMES_SHOWN = 3  # in one sentence


@dataclass(frozen=True, eq=False)
class PlaceRequest:
    """What is to be placed where.

    Args:
        templateVolume: vtkMRMLScalarVolumeNode that the landmarks belong to.
        templateLandmarks: vtkMRMLMarkupsFiducialNode.
        targetVolume: vtkMRMLScalarVolumeNode in which to find them.
        output: vtkMRMLMarkupsFiducialNode for the result; `None` for a new one, `"<landmarks> in <target>"`.
        settings: See `MatchSettings`; its defaults are the best measured.
    """

    templateVolume: Any
    templateLandmarks: Any
    targetVolume: Any
    output: Any = None
    settings: MatchSettings = field(default_factory=MatchSettings)

    @property
    def nodes(self) -> tuple:
        """All nodes that are given."""
        given = (self.templateVolume, self.templateLandmarks, self.targetVolume, self.output)
        return tuple(node for node in given if node is not None)

    @property
    def hasVolumes(self) -> bool:
        """Whether template and target are there, with their voxels."""
        volumes = self.templateVolume, self.targetVolume
        return all(volume is not None and volume.GetImageData() is not None for volume in volumes)


def validationMessage(request: PlaceRequest) -> str:
    """Why the landmarks cannot be placed, in one sentence; empty where they can."""
    return _invalidInput(request) or _invalidOutput(request)


def templateLandmarks(request: PlaceRequest) -> LandmarkSet:
    """Those of the template, world LPS, their descriptions without what had placed them there."""
    return _withoutProvenance(nodes.landmarkSetFromNode(request.templateLandmarks))


def namedLandmark(markups, name: str) -> Landmark:
    """The defined point of that name in a markups node, world LPS.

    Raises:
        InputError: There is none.
    """
    if markups is None:
        raise InputError("Place the landmarks first.")
    for landmark in _withoutProvenance(nodes.landmarkSetFromNode(markups)):
        if landmark.name == name and landmark.is_defined:
            return landmark
    raise InputError(f"{markups.GetName()} has no point {name} with a position; place it first.")


def roomMessage(output, landmarks: LandmarkSet) -> str:
    """Why an output cannot take landmarks that it does not have yet, in one sentence; empty where it can."""
    known = {output.GetNthControlPointLabel(index) for index in range(output.GetNumberOfControlPoints())}
    if output.GetFixedNumberOfControlPoints() and any(landmark.name not in known for landmark in landmarks):
        return f"The number of points of {output.GetName()} is locked; unlock it or choose another output."
    return ""


def require(message: str) -> None:
    """Raise `InputError` where there is a message."""
    if message:
        raise InputError(message)


def _withoutProvenance(landmarks: LandmarkSet) -> LandmarkSet:
    return replace(
        landmarks,
        landmarks=tuple(
            Landmark(known.name, known.position, known.status, run_history.withoutProvenance(known.description))
            for known in landmarks
        ),
    )


def _invalidInput(request: PlaceRequest) -> str:
    """What is wrong with the volumes and the template's landmarks; quick, as it is asked often."""
    needed = {
        "a template volume": request.templateVolume,
        "the template's landmarks": request.templateLandmarks,
        "a target volume": request.targetVolume,
    }
    for what, node in needed.items():
        if node is None:
            return f"Choose {what} first."
    for volume in (request.templateVolume, request.targetVolume):
        if volume.GetImageData() is None:
            return f"{volume.GetName()} holds no voxels; load a volume into it or choose another."
        if message := nodes.geometryMessage(volume):
            return message
    return _invalidLandmarks(request.templateLandmarks, request.templateVolume)


def _invalidLandmarks(markups, volume) -> str:
    landmarks = nodes.landmarkSetFromNode(markups)
    defined = [index for index, landmark in enumerate(landmarks) if landmark.is_defined]
    if not defined:
        return f"{markups.GetName()} has no landmark with a position; place at least one in {volume.GetName()}."
    if landmarks.duplicate_names:
        return f"{markups.GetName()} names several landmarks {landmarks.duplicate_names[0]}; rename them."
    inside = nodes.contains(volume, nodes.voxelPositions(markups, volume)[defined])
    outside = [landmarks[index].name for index, isInside in zip(defined, inside, strict=True) if not isInside]
    if outside:
        names = ", ".join(outside[:NAMES_SHOWN])
        return f"{names} lie outside of {volume.GetName()}; choose the volume in which they were placed."
    return ""


def _invalidOutput(request: PlaceRequest) -> str:
    output = request.output
    if output is None:
        return ""
    if output is request.templateLandmarks:
        return f"The output would replace the template's landmarks {output.GetName()}; choose another output."
    other = output.GetNodeReference(run_history.TARGET)
    if other is not None and other is not request.targetVolume:
        return f"{output.GetName()} holds landmarks of {other.GetName()}; choose another output."
    duplicates = nodes.landmarkSetFromNode(output).duplicate_names
    if duplicates:
        return f"{output.GetName()} names several points {duplicates[0]}; rename them or choose another output."
    return ""
