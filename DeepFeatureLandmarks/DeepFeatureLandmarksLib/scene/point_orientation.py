"""How control points are turned, in MRML and as the backend's landmarks have it."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from deepfeatures.data.landmarks import Rotation
from deepfeatures.data.orientation import UNTURNED, axes_of, rotation_of


def orientationOfPoint(node, index: int) -> Rotation | None:
    """In world LPS; `None` for a control point that nobody has turned, whatever its parent transforms do."""
    if np.allclose(node.GetNthControlPointOrientationMatrix(index), np.eye(3).ravel(), atol=1e-9):
        return None
    ras = np.zeros(9)
    node.GetNthControlPointOrientationMatrixWorld(index, ras)
    return rotation_of(UNTURNED @ ras.reshape(3, 3))


def turnPoint(node, index: int, orientation: Rotation | None) -> None:
    """Turn a control point as a landmark in world LPS is; `None` makes it one that nobody has turned.

    Under a parent transform Slicer takes the orientation in its own frame alone: its method for the world leaves the
    point as it is (5.11). Under one that is not linear a point is not turned.
    """
    parent, toWorld = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    isLinear = parent is None or parent.IsTransformToWorldLinear()
    if orientation is None or not isLinear:
        node.SetNthControlPointOrientation(index, 1.0, 0.0, 0.0, 0.0)
        return
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, None, toWorld)
    linear = np.array([[toWorld.GetElement(row, column) for column in range(3)] for row in range(3)])
    u, _, vt = np.linalg.svd(np.linalg.solve(linear, UNTURNED @ axes_of(orientation)))
    node.SetNthControlPointOrientationMatrix(index, (u @ vt).ravel())
