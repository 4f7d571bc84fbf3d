"""Template and warped target in one picture: a checkerboard, in which edges that do not meet are seen at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes

SQUARES = 8  # along the longest edge of the template
NAME = "Checkerboard of template and warped target"


def checkerboardNode(template, warped, node=None):
    """Cubes of the template and of the warped target in turn, as a scalar volume node that no scene is saved with.

    Grey values are what the display of each volume makes of them: 0 is black, 1 is white.

    Args:
        template: vtkMRMLScalarVolumeNode with a display node.
        warped: The target on the template's grid.
        node: Is filled instead of a new one.
    """
    known = nodes.arrayFromNode(template)
    others = nodes.arrayFromNode(warped).voxels
    isTarget = _isOdd(known.voxels.shape, known.spacing)
    voxels = np.where(isTarget, _shades(others, warped), _shades(known.voxels, template))
    node = nodes.mapToNode(replace(known, voxels=voxels, notes=()), template.GetScene(), NAME, template, node)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 1.0)
    return node


def _isOdd(shape: tuple[int, ...], spacing: np.ndarray) -> np.ndarray:
    """Which voxels of a grid `(depth, height, width)` lie in every second cube; spacing in mm along x, y, z."""
    extents = np.array(shape) * spacing[::-1]
    edge_mm = extents.max() / SQUARES
    numbers = (np.arange(size) * step // edge_mm for size, step in zip(shape, spacing[::-1], strict=True))
    return sum(np.ix_(*numbers)) % 2 == 1


def _shades(voxels: np.ndarray, node) -> np.ndarray:
    """Grey values as the volume's display shows them, from 0 to 1."""
    display = node.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return np.clip((voxels - low) / max(high - low, np.finfo(np.float32).tiny), 0.0, 1.0)
