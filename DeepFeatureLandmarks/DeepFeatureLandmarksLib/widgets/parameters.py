"""What the module's panel remembers in the scene: a typed parameter node."""

from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from DeepFeatureLandmarksLib.scene.presets import LARGEST_PATCH, SMALLEST_PATCH

MODULE_NAME = "DeepFeatureLandmarks"


@parameterNodeWrapper
class Fields:
    """Nodes and settings, saved with the scene. Renaming a field breaks saved scenes.

    templateVolume - Scan in which the landmarks are known.
    templateLandmarks - Its points.
    targetVolume - Scan in which they are to be found.
    targetLandmarks - Where the found points go; none for a new list.
    humanLandmarks - A person's points in the target, to measure the found ones against.
    secondRaterLandmarks - A second person's.
    preset - A name of `presets.PRESETS`.
    network - A name of the catalog; empty for the best. `layer` likewise.
    patchSize - Edge of the compared cube in voxels.
    device - "auto", "cpu", "cuda" or "mps".
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
    device: str = "auto"


class Parameters(Fields):
    """`Fields`, which takes all observers of its node with it.

    Before 5.12 Slicer's `disconnectGui` leaves one behind. Once Python has collected what that one would call, the next
    change of the node ends Slicer.
    """

    def __init__(self, node):
        self._tags: list[int] = []
        super().__init__(node)

    def AddObserver(self, *arguments) -> int:
        self._tags.append(super().AddObserver(*arguments))
        return self._tags[-1]

    def letGo(self) -> None:
        """Nothing observes the node through these parameters any more."""
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
    _forgetUnreadable(node)
    return Parameters(node)


def _forgetUnreadable(node) -> None:
    """Take out what this version cannot read, so that its default takes the place; fields it does not know stay."""
    stored = node.GetParameter("patchSize")
    if stored and not (stored.isdecimal() and SMALLEST_PATCH <= int(stored) <= LARGEST_PATCH):
        node.UnsetParameter("patchSize")
    for name, className in NODE_CLASSES.items():
        referenced = node.GetNodeReference(name)
        if referenced is not None and not referenced.IsA(className):
            node.UnsetParameter(name)
            node.RemoveNodeReferenceIDs(name)
