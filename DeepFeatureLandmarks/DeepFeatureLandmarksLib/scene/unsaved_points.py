"""Points that are only looked at: where landmarks are while a run is under way, or in another place they may lie in."""

from __future__ import annotations

from collections.abc import Callable

from DeepFeatureLandmarksLib.scene import nodes
from deepfeatures.data.landmarks import LandmarkSet

INTERIM = "Interim points"
COLOUR = (0.95, 0.90, 0.25)  # yellow of Okabe and Ito: colour-blind people can tell them from the other points


class UnsavedPoints:
    """Points that no list offers and with which no scene is saved.

    Args:
        scene: vtkMRMLScene.
        name: Of the markups node.
        style: Called with the markups node once it is filled, to set its display and its views.
    """

    def __init__(self, scene, name: str, style: Callable):
        self._scene, self._name, self._style = scene, name, style
        self._node = None

    @property
    def node(self):
        """The markups node with the points, `None` where there are none."""
        return self._node

    def show(self, landmarks: LandmarkSet) -> None:
        """Replace the points; world LPS."""
        if self._node is None or self._node.GetScene() is None:
            node = nodes.newPoints(self._scene, self._name)
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            node.SetLocked(True)
            self._node = nodes.addPoints(self._scene, node)
            display = self._node.GetDisplayNode()
            display.SetSaveWithScene(False)
            display.SetSliceProjection(True)  # they are seen in whatever slices are shown
        nodes.landmarksToNode(landmarks, self._node)
        self._style(self._node)

    def clear(self) -> None:
        """Remove the points."""
        if self._node is not None and self._node.GetScene() is not None:
            display = self._node.GetDisplayNode()
            self._scene.RemoveNode(self._node)
            if display is not None and display.GetScene() is not None:
                self._scene.RemoveNode(display)
        self._node = None
