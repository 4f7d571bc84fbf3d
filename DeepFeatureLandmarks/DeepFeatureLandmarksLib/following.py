"""Keeps placed points on their target when the target is given a transform, has one hardened, or is moved.

What was last seen of the target lies in the output node, so that a loaded scene goes on where it was saved.
"""

from __future__ import annotations

import json

import numpy as np

from DeepFeatureLandmarksLib import nodes
from DeepFeatureLandmarksLib.runs import TARGET

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

    An output that a person has put under another transform than the target's is left there.
    """
    target = output.GetNodeReference(TARGET)
    if target is None or target.GetImageData() is None:
        return
    known, parent = output.GetNodeReference(PARENT), target.GetParentTransformNode()
    grid = nodes.gridMatrix(target)
    seen = output.GetAttribute(GRID)
    before = np.reshape(json.loads(seen), (4, 4)) if seen else grid
    stood = np.array_equal(before, grid)
    if parent is known and stood:
        return
    if output.GetParentTransformNode() is known:
        if stood:
            nodes.changeParent(output, parent, keepWorld=False)
        elif parent is known:
            nodes.moveWithGrid(output, before, grid)
        else:  # hardened: the voxels stay where they are in the world
            nodes.changeParent(output, parent, keepWorld=True)
    _remember(output, target)


def _remember(output, target) -> None:
    parent = target.GetParentTransformNode()
    output.SetNodeReferenceID(PARENT, parent.GetID() if parent else None)
    output.SetAttribute(GRID, json.dumps(nodes.gridMatrix(target).ravel().tolist()))
