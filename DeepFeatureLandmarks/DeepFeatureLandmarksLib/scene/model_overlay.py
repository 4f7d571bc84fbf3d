"""A model that is only looked at, such as what is drawn around placed points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vtkmodules.vtkCommonDataModel import vtkPolyData


class ModelOverlay:
    """A model node that no list offers and with which no scene is saved.

    Args:
        scene: vtkMRMLScene.
        name: Of the model node.
        style: Called with the model node once it is filled, to choose its views.
    """

    def __init__(self, scene, name: str, style: Callable):
        self._scene, self._name, self._style = scene, name, style
        self._node = None
        self._shown: list = []

    def show(self, shapes: Sequence) -> None:
        """Draw these; none of them clears the picture."""
        node = self._ensureNode()
        if list(shapes) != self._shown:  # refreshed often, while points are dragged
            self._shown = list(shapes)
            node.SetAndObservePolyData(self._polyData(shapes))
        self._style(node)

    def clear(self) -> None:
        """Take the model out of the scene."""
        if self._node is not None and self._node.GetScene() is not None:
            display = self._node.GetDisplayNode()
            self._scene.RemoveNode(self._node)
            if display is not None and display.GetScene() is not None:
                self._scene.RemoveNode(display)
        self._node, self._shown = None, []

    def _polyData(self, shapes: Sequence) -> vtkPolyData:
        """What the shapes look like, in world RAS mm."""
        raise NotImplementedError

    def _prepare(self, display) -> None:
        """Choose colours and the like of a new display node."""
        raise NotImplementedError

    def _ensureNode(self):
        if self._node is None or self._node.GetScene() is None:
            self._node, self._shown = self._scene.AddNewNodeByClass("vtkMRMLModelNode", self._name), []
            self._node.SetSaveWithScene(False)
            self._node.SetHideFromEditors(True)
            self._node.SetSelectable(False)
            self._node.SetAndObservePolyData(vtkPolyData())
            self._node.CreateDefaultDisplayNodes()
            display = self._node.GetDisplayNode()
            display.SetSaveWithScene(False)
            display.SetVisibility2D(True)
            display.SetVisibility3D(True)
            display.SetSliceIntersectionThickness(2)  # of one pixel it is hard to see on bright anatomy
            self._prepare(display)
        return self._node
