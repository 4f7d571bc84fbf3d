"""Keeps placed points on their target when the target is given a transform, has one hardened, or is moved.

The target's last known geometry is stored in the output node, so that a loaded scene continues where it was saved.
"""

from __future__ import annotations

import json

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes, run_history
from DeepFeatureLandmarksLib.scene.run_history import TARGET

PARENT, GRID = "DeepFeatureLandmarks.targetTransform", "DeepFeatureLandmarks.targetGrid"


def attachToTarget(output, target) -> None:
    """Put an output under the target's transform, keep its points where they are, and note the target's geometry."""
    parent = target.GetParentTransformNode()
    if output.GetParentTransformNode() is not parent:
        nodes.changeParent(output, parent, keepWorld=True)
    output.SetNodeReferenceID(TARGET, target.GetID())
    _storeGeometry(output, target)


def update(output) -> None:
    """Do to the points what has been done to the target since the last call; cheap where that is nothing.

    An output that a person has put under another transform than the target's is left there. Where the target was
    cropped or resampled in place, points stay in the world, and their history gets the new voxel indices.
    """
    target = output.GetNodeReference(TARGET)
    if target is None or target.GetImageData() is None:
        return
    storedParent, parent = output.GetNodeReference(PARENT), target.GetParentTransformNode()
    grid = _gridOf(target)
    stored = json.loads(output.GetAttribute(GRID) or "null") or grid
    if parent is storedParent and stored == grid:
        return
    before, after = _matrix(stored), _matrix(grid)
    isResampled = parent is storedParent and len(stored) == len(grid) and stored[16:] != grid[16:]
    if isResampled:
        run_history.writeRuns(
            output, run_history.resampled(run_history.readRuns(output), np.linalg.inv(after) @ before)
        )
    if output.GetParentTransformNode() is storedParent:
        if stored == grid:
            nodes.changeParent(output, parent, keepWorld=False)
        elif parent is not storedParent:  # hardened: the voxels stay where they are in the world
            nodes.changeParent(output, parent, keepWorld=True)
        elif not isResampled:
            nodes.moveWithGrid(output, before, after)
    _storeGeometry(output, target)


def _storeGeometry(output, target) -> None:
    parent = target.GetParentTransformNode()
    output.SetNodeReferenceID(PARENT, parent.GetID() if parent else None)
    output.SetAttribute(GRID, json.dumps(_gridOf(target)))


def _gridOf(volume) -> list[float]:
    """IJKToRAS row by row, and the number of voxels along i, j and k."""
    return [*nodes.gridMatrix(volume).ravel().tolist(), *nodes.sizeOf(volume)]


def _matrix(grid: list[float]) -> np.ndarray:
    return np.reshape(grid[:16], (4, 4))
