"""The 90 % radius of each placed point, drawn as a circle of that radius where a slice cuts through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkAppendPolyData
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DeepFeatureLandmarksLib.scene.model_overlay import ModelOverlay
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


class UncertaintyOverlay(ModelOverlay):
    """A model node of one sphere a point, seen as its outline in slices.

    Args:
        scene: vtkMRMLScene.
        colour: From 0 to 1 each.
        style: See `ModelOverlay`.
    """

    def __init__(self, scene, colour: tuple[float, float, float], style: Callable):
        super().__init__(scene, NAME, style)
        self._colour = colour

    def _prepare(self, display) -> None:
        display.SetColor(*self._colour)
        display.SetOpacity(0.25)

    def _polyData(self, shapes: Iterable[Sphere]) -> vtkPolyData:
        appended = vtkAppendPolyData()
        appended.AddInputData(vtkPolyData())
        for centre, radius in shapes:
            sphere = vtkSphereSource()
            sphere.SetCenter(*np.asarray(centre, float))
            sphere.SetRadius(radius)
            sphere.SetThetaResolution(STEPS)
            sphere.SetPhiResolution(STEPS)
            appended.AddInputConnection(sphere.GetOutputPort())
        appended.Update()
        return appended.GetOutput()
