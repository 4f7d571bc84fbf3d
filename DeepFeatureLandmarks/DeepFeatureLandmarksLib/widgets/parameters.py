"""The module's typed parameter node: its nodes and settings, saved with the scene."""

from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from DeepFeatureLandmarksLib.scene.presets import INTENSITY, LARGEST_PATCH, LARGEST_TOLERANCE_MM, toleranceOf
from deepfeatures.features import SMALLEST_PATCH

MODULE_NAME = "DeepFeatureLandmarks"


@parameterNodeWrapper
class ParameterFields:
    """Nodes and settings, saved with the scene. Renaming a field breaks saved scenes.

    templateVolume - Volume in which the landmarks are known.
    templateLandmarks - Its points.
    targetVolume - Volume in which they are to be found.
    targetLandmarks - Where the found points go; none for a new list.
    humanLandmarks - A person's points in the target, to measure the found ones against.
    secondRaterLandmarks - A second person's.
    preset - A name of `presets.PRESETS`.
    network - A name of the catalog; empty for the best. `layer` likewise.
    patchSize - Edge of the compared cube in voxels.
    intensity - How voxels are scaled, see `MatchSettings`.
    device - "auto", "cpu", "cuda" or "mps".
    toleranceMm - See `MatchSettings`; 0 for its default.
    protocol - Path of the file of a landmark protocol; empty for none.
    """

    templateVolume: slicer.vtkMRMLScalarVolumeNode
    templateLandmarks: slicer.vtkMRMLMarkupsFiducialNode
    targetVolume: slicer.vtkMRMLScalarVolumeNode
    targetLandmarks: slicer.vtkMRMLMarkupsFiducialNode
    humanLandmarks: slicer.vtkMRMLMarkupsFiducialNode
    secondRaterLandmarks: slicer.vtkMRMLMarkupsFiducialNode
    preset: str = "best"
    network: str = ""
    layer: str = ""
    patchSize: Annotated[int, WithinRange(SMALLEST_PATCH, LARGEST_PATCH)] = 16
    intensity: str = "auto"
    device: str = "auto"
    toleranceMm: Annotated[float, WithinRange(0.0, LARGEST_TOLERANCE_MM)] = 0.0
    protocol: str = ""


class Parameters(ParameterFields):
    """`ParameterFields` that can remove all observers of its node.

    Before 5.12 Slicer's `disconnectGui` leaves one observer. Once Python has deleted what it calls, the next change of
    the node crashes Slicer.
    """

    def __init__(self, node):
        self._tags: list[int] = []
        super().__init__(node)

    def AddObserver(self, *arguments) -> int:
        self._tags.append(super().AddObserver(*arguments))
        return self._tags[-1]

    def removeObservers(self) -> None:
        """Remove all observers that were added through these parameters."""
        for tag in self._tags:
            self.RemoveObserver(tag)


NODE_CLASSES = {
    "templateVolume": "vtkMRMLScalarVolumeNode",
    "templateLandmarks": "vtkMRMLMarkupsFiducialNode",
    "targetVolume": "vtkMRMLScalarVolumeNode",
    "targetLandmarks": "vtkMRMLMarkupsFiducialNode",
    "humanLandmarks": "vtkMRMLMarkupsFiducialNode",
    "secondRaterLandmarks": "vtkMRMLMarkupsFiducialNode",
}


def parameterNode(scene) -> Parameters:
    """The scene's parameters; made where there are none, repaired where another version has written them."""
    node = scene.GetSingletonNode(MODULE_NAME, "vtkMRMLScriptedModuleNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the scene and Python hold it from here on
        node.SetSingletonTag(MODULE_NAME)
        node.SetName(MODULE_NAME)
        node = scene.AddNode(node)
    node.SetAttribute("ModuleName", MODULE_NAME)  # closing a scene removes it
    _resetInvalid(node)
    return Parameters(node)


def _resetInvalid(node) -> None:
    """Remove values that this version cannot read, so that defaults replace them; unknown fields stay."""
    stored = node.GetParameter("patchSize")
    if stored and not (stored.isdecimal() and SMALLEST_PATCH <= int(stored) <= LARGEST_PATCH):
        node.UnsetParameter("patchSize")
    if (stored := node.GetParameter("toleranceMm")) and stored != "0.0" and toleranceOf(stored) is None:
        node.UnsetParameter("toleranceMm")
    if node.GetParameter("intensity") not in ("", *INTENSITY["choices"]):
        node.UnsetParameter("intensity")
    for name, className in NODE_CLASSES.items():
        referenced = node.GetNodeReference(name)
        if referenced is not None and not referenced.IsA(className):
            node.UnsetParameter(name)
            node.RemoveNodeReferenceIDs(name)
