"""The 90 % radius of each placed point, drawn as a circle of that radius where a slice cuts through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkAppendPolyData
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DeepFeatureLandmarksLib.scene.review import ReviewRow

STEPS = 24  # around each circle: looks round, and is cut quickly
NAME = "90 % radius"
LABEL = "Circle of the 90 % radius"
TOOLTIP = "The true place lies within the circle in 90 of 100 cases. Points that you have reviewed have none."

Sphere = tuple[tuple[float, float, float], float]  # centre, RAS mm, and radius, mm


def spheresOf(output, rows: Iterable[ReviewRow]) -> list[Sphere]:
    """Of the points that nobody has reviewed and whose radius is known."""
    return [
        (tuple(output.GetNthControlPointPositionWorld(row.index)), row.radius_90_mm)
        for row in rows
        if row.status == "proposed" and row.radius_90_mm is not None
    ]


class UncertaintyOverlay:
    """A model node of one sphere a point, seen as its outline in slices.

    Args:
        scene: vtkMRMLScene.
        colour: From 0 to 1 each.
        style: Called with the model node once it is filled, to choose its views.
    """

    def __init__(self, scene, colour: tuple[float, float, float], style: Callable):
        self._scene, self._colour, self._style = scene, colour, style
        self._node = None
        self._shown: list[Sphere] = []

    def show(self, spheres: Sequence[Sphere]) -> None:
        """Draw these; none of them clears the picture."""
        node = self._ensureNode()
        if list(spheres) != self._shown:  # refreshed often, while points are dragged
            self._shown = list(spheres)
            node.SetAndObservePolyData(_polyData(spheres))
        self._style(node)

    def clear(self) -> None:
        """Take the model out of the scene."""
        if self._node is not None and self._node.GetScene() is not None:
            self._scene.RemoveNode(self._node)
        self._node, self._shown = None, []

    def _ensureNode(self):
        if self._node is None or self._node.GetScene() is None:
            self._node, self._shown = self._scene.AddNewNodeByClass("vtkMRMLModelNode", NAME), []
            self._node.SetSaveWithScene(False)
            self._node.SetHideFromEditors(True)
            self._node.SetSelectable(False)
            self._node.SetAndObservePolyData(vtkPolyData())
            self._node.CreateDefaultDisplayNodes()
            display = self._node.GetDisplayNode()
            display.SetSaveWithScene(False)
            display.SetColor(*self._colour)
            display.SetVisibility2D(True)
            display.SetVisibility3D(True)
            display.SetOpacity(0.25)
            display.SetSliceIntersectionThickness(2)  # of one pixel it is hard to see on bright anatomy
        return self._node


def _polyData(spheres: Iterable[Sphere]) -> vtkPolyData:
    appended = vtkAppendPolyData()
    appended.AddInputData(vtkPolyData())
    for centre, radius in spheres:
        sphere = vtkSphereSource()
        sphere.SetCenter(*np.asarray(centre, float))
        sphere.SetRadius(radius)
        sphere.SetThetaResolution(STEPS)
        sphere.SetPhiResolution(STEPS)
        appended.AddInputConnection(sphere.GetOutputPort())
    appended.Update()
    return appended.GetOutput()
