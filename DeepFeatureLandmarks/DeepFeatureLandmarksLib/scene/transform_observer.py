"""Keeps placed points on their target when the target is given a transform, has one hardened, or is moved.

What was last seen of the target lies in the output node, so that a loaded scene goes on where it was saved.
"""

from __future__ import annotations

import json

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes, run_history
from DeepFeatureLandmarksLib.scene.run_history import TARGET

PARENT, GRID = "DeepFeatureLandmarks.targetTransform", "DeepFeatureLandmarks.targetGrid"


def beginFollowing(output, target) -> None:
    """Put an output under the target's transform, its points staying where they are, and remember the target."""
    parent = target.GetParentTransformNode()
    if output.GetParentTransformNode() is not parent:
        nodes.changeParent(output, parent, keepWorld=True)
    output.SetNodeReferenceID(TARGET, target.GetID())
    _remember(output, target)


def follow(output) -> None:
    """Do to the points what has been done to the target since the last call; cheap where that is nothing.

    An output that a person has put under another transform than the target's is left there. Where the target was
    cropped or resampled in place, points stay in the world, and their history gets the new voxels' numbers.
    """
    target = output.GetNodeReference(TARGET)
    if target is None or target.GetImageData() is None:
        return
    known, parent = output.GetNodeReference(PARENT), target.GetParentTransformNode()
    grid = _gridOf(target)
    seen = json.loads(output.GetAttribute(GRID) or "null") or grid
    if parent is known and seen == grid:
        return
    before, after = _matrix(seen), _matrix(grid)
    isSampledAnew = parent is known and len(seen) == len(grid) and seen[16:] != grid[16:]
    if isSampledAnew:
        run_history.writeRuns(
            output, run_history.sampledAnew(run_history.readRuns(output), np.linalg.inv(after) @ before)
        )
    if output.GetParentTransformNode() is known:
        if seen == grid:
            nodes.changeParent(output, parent, keepWorld=False)
        elif parent is not known:  # hardened: the voxels stay where they are in the world
            nodes.changeParent(output, parent, keepWorld=True)
        elif not isSampledAnew:
            nodes.moveWithGrid(output, before, after)
    _remember(output, target)


def _remember(output, target) -> None:
    parent = target.GetParentTransformNode()
    output.SetNodeReferenceID(PARENT, parent.GetID() if parent else None)
    output.SetAttribute(GRID, json.dumps(_gridOf(target)))


def _gridOf(volume) -> list[float]:
    """IJKToRAS row by row, and the number of voxels along i, j and k."""
    return [*nodes.gridMatrix(volume).ravel().tolist(), *nodes.sizeOf(volume)]


def _matrix(grid: list[float]) -> np.ndarray:
    return np.reshape(grid[:16], (4, 4))
