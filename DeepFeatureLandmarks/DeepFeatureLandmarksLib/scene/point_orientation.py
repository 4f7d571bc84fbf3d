"""How control points are turned, in MRML and as the backend's landmarks have it."""

from __future__ import annotations

import numpy as np

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
    """Turn a control point as a landmark in world LPS is; `None` makes it one that nobody has turned."""
    if orientation is None:
        node.SetNthControlPointOrientation(index, 1.0, 0.0, 0.0, 0.0)
    else:
        node.SetNthControlPointOrientationMatrixWorld(index, (UNTURNED @ axes_of(orientation)).ravel())
