"""How each placed point is turned, drawn as three arrows: where the template's R, A and S point in the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkAssignAttribute, vtkGlyph3D
from vtkmodules.vtkFiltersSources import vtkArrowSource

from DeepFeatureLandmarksLib.scene.model_overlay import ModelOverlay
from DeepFeatureLandmarksLib.scene.point_orientation import orientationOfPoint
from deepfeatures.data.orientation import UNTURNED, axes_of

NAME = "How points are turned"
LABEL = "Show how points are turned"
TOOLTIP = (
    "Three arrows at each point: where the template's right (orange), front (green) and top (blue) point in the"
    " target. A slice shows what it cuts of them; the 3D view shows all."
)
COLOURS = ((213, 94, 0), (0, 158, 115), (86, 180, 233))  # of R, A, S; colour-blind people can tell them apart
SHARE = 0.1  # of the longest side of the target, as the length of an arrow
SHAFT, TIP, TIP_LENGTH = 0.05, 0.14, 0.3  # radii, and the length, as shares of an arrow's length
STEPS = 12  # around each arrow

Vector = tuple[float, float, float]
Arrow = tuple[Vector, Vector, int]  # origin and the way to its tip, RAS mm, and which of R, A, S it is


def arrowsOf(output, volume) -> list[Arrow]:
    """Three for each control point that has a position and an orientation.

    Args:
        output: Markups node with placed points; `None` has no arrows.
        volume: Target, which gives their length; without it there are none.
    """
    if output is None or volume is None:
        return []
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    length = SHARE * float(np.diff(bounds)[::2].max())
    arrows = []
    for index in range(output.GetNumberOfControlPoints()):
        isDefined = output.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined
        orientation = orientationOfPoint(output, index) if isDefined else None
        if orientation is not None:
            origin = tuple(output.GetNthControlPointPositionWorld(index))
            ways = length * (UNTURNED @ axes_of(orientation)).T
            arrows += [(origin, tuple(way), axis) for axis, way in enumerate(ways.tolist())]
    return arrows


class OrientationArrows(ModelOverlay):
    """A model node of all arrows, seen in 3D and where a slice cuts through them.

    Args:
        scene: vtkMRMLScene.
        style: See `ModelOverlay`.
    """

    def __init__(self, scene, style: Callable):
        super().__init__(scene, NAME, style)

    def _prepare(self, display) -> None:
        display.SetActiveScalar(NAME, vtkAssignAttribute.POINT_DATA)
        display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseDirectMapping)
        display.SetScalarVisibility(True)

    def _polyData(self, shapes: Iterable[Arrow]) -> vtkPolyData:
        origins, ways, axes = zip(*shapes, strict=True) if shapes else ((), (), ())
        points, starts = vtkPoints(), vtkPolyData()
        points.SetData(numpy_to_vtk(np.reshape(origins, (-1, 3)).astype(float), deep=True))
        starts.SetPoints(points)
        starts.GetPointData().SetVectors(numpy_to_vtk(np.reshape(ways, (-1, 3)).astype(float), deep=True))
        colours = numpy_to_vtk(np.array(COLOURS, np.uint8)[np.array(axes, int)], deep=True)
        colours.SetName(NAME)
        starts.GetPointData().SetScalars(colours)
        arrow = vtkArrowSource()
        arrow.SetShaftRadius(SHAFT)
        arrow.SetTipRadius(TIP)
        arrow.SetTipLength(TIP_LENGTH)
        arrow.SetShaftResolution(STEPS)
        arrow.SetTipResolution(STEPS)
        drawn = vtkGlyph3D()
        drawn.SetInputData(starts)
        drawn.SetSourceConnection(arrow.GetOutputPort())
        drawn.SetScaleModeToScaleByVector()
        drawn.SetColorModeToColorByScalar()
        drawn.Update()
        return drawn.GetOutput()
