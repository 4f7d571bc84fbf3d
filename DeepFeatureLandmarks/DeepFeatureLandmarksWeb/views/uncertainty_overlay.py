"""The expected error of each placed point, drawn as a circle of that radius where a slice cuts through it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkAppendPolyData
from vtkmodules.vtkFiltersSources import vtkSphereSource

STEPS = 24  # around each circle: looks round, and is cut quickly
NAME = "Expected error"


class UncertaintyOverlay:
    """A model node of one sphere a point, seen as its outline in the slices of one side."""

    def __init__(self, scene, colour: tuple[float, float, float]):
        self._scene, self._colour = scene, colour
        self._node = None

    def show(self, spheres: Iterable[tuple[np.ndarray, float]], view_ids: list[str]) -> None:
        """Draw `(centre, radius)` pairs, RAS mm; none of them clears the picture."""
        appended = vtkAppendPolyData()
        appended.AddInputData(vtkPolyData())
        for centre, radius in spheres:
            sphere = vtkSphereSource()
            sphere.SetCenter(*centre)
            sphere.SetRadius(radius)
            sphere.SetThetaResolution(STEPS)
            sphere.SetPhiResolution(STEPS)
            appended.AddInputConnection(sphere.GetOutputPort())
        appended.Update()
        node = self._ensure_node()
        node.SetAndObservePolyData(appended.GetOutput())
        node.GetDisplayNode().SetViewNodeIDs(view_ids)

    def _ensure_node(self):
        if self._node is None or self._node.GetScene() is None:
            self._node = self._scene.AddNewNodeByClass("vtkMRMLModelNode", NAME)
            self._node.SetSaveWithScene(False)
            self._node.CreateDefaultDisplayNodes()
            display = self._node.GetDisplayNode()
            display.SetSaveWithScene(False)
            display.SetColor(*self._colour)
            display.SetVisibility2D(True)
            display.SetVisibility3D(True)
            display.SetOpacity(0.25)
            display.SetSliceIntersectionThickness(1)
        return self._node
