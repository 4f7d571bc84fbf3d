"""Where the landmarks lie while a run is still at work: points that come, move and settle in the target's views."""

from __future__ import annotations

from DeepFeatureLandmarksLib import nodes
from DeepFeatureLandmarksWeb.appearance import style_markups
from DeepFeatureLandmarksWeb.desk import SETTLING_COLOUR, Desk
from deepfeatures.landmarks import LandmarkSet

NAME = "Settling"


class Settling:
    """Points to look at: no scene is saved with them."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._node = None
        desk.logic.onSettling = self._show

    def end(self) -> None:
        """The run is over; what it has placed is in a node of its own."""
        if self._node is not None:
            self._desk.scene.RemoveNode(self._node)
            self._node = None
        self._desk.state.settling = 0

    def _show(self, landmarks: LandmarkSet) -> None:
        desk = self._desk
        if self._node is None:
            self._node = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", NAME)
            self._node.SetSaveWithScene(False)
            self._node.SetLocked(True)
        nodes.landmarksToNode(landmarks, self._node)
        style_markups(self._node, SETTLING_COLOUR, desk.target.view_ids)
        desk.state.settling += 1
