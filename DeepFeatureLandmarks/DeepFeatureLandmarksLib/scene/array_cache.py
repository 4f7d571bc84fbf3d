"""The arrays of volume nodes that were used last: copying a brain's voxels takes longer than finding one landmark."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes
from deepfeatures.service.protocol import VolumeArray

ARRAYS_KEPT = 2  # a pair


class ArrayCache:
    """Gives a node's array, the same as long as its voxels and its place in the world stay as they are."""

    def __init__(self):
        self._arrays: OrderedDict[str, tuple[tuple, VolumeArray]] = OrderedDict()  # by node ID

    def arrayFromNode(self, node) -> VolumeArray:
        """As `nodes.arrayFromNode`."""
        state, known = _state(node), self._arrays.pop(node.GetID(), None)
        if state is None:
            return nodes.arrayFromNode(node)
        if known is None or known[0] != state:
            while len(self._arrays) >= ARRAYS_KEPT:  # before the new one is made: memory is short
                self._arrays.popitem(last=False)
            known = state, nodes.arrayFromNode(node)
        self._arrays[node.GetID()] = known
        return known[1]

    def clear(self) -> None:
        self._arrays.clear()


def _state(node) -> tuple | None:
    """What the array follows from; `None` under a transform that is not linear, whose changes are not followed."""
    image, matrix = node.GetImageData(), nodes.gridToWorld(node)
    if image is None or matrix is None or image.GetPointData().GetScalars() is None:
        return None
    scalars = image.GetPointData().GetScalars()
    # times of change are unique in a process, so that another image cannot be taken for this one
    shown = node.GetName(), nodes.modality(node), nodes.volumeNotes(node)
    return image.GetMTime(), scalars.GetMTime(), np.round(matrix, 12).tobytes(), *shown
