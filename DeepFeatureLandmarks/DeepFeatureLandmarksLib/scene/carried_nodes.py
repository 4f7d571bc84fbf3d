"""Things of the template carried over to the target, or back: copies of nodes, moved for good."""

from __future__ import annotations

import numpy as np
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from DeepFeatureLandmarksLib.scene import nodes, transform_nodes
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import VolumeArray

SHAPES = ("vtkMRMLMarkupsNode", "vtkMRMLModelNode", "vtkMRMLSegmentationNode")  # which Slicer itself moves
VOLUMES = ("vtkMRMLScalarVolumeNode",)  # which the worker resamples; a label map is one of them
CLASSES = (*SHAPES, *VOLUMES)


def isVolume(node) -> bool:
    """Whether the worker is needed to carry a node over."""
    return any(node.IsA(name) for name in VOLUMES)


def isLabelMap(node) -> bool:
    """Whether the voxels of a volume node are labels."""
    return node.IsA("vtkMRMLLabelMapVolumeNode")


def carriedName(node, like) -> str:
    """Of the copy."""
    return f"{node.GetName()} in {like.GetName()}"


def carriedShape(node, transform, *, inverse: bool):
    """A copy of points, curves, a plane, an ROI, a model or a segmentation, in the other volume's space.

    Args:
        node: Of the template; with `inverse`, of the target.
        transform: From template to target, see `transform_nodes`.
        inverse: From target to template.

    Raises:
        InputError: It is of no such class, or template or target was removed.
    """
    if not any(node.IsA(name) for name in SHAPES):
        raise InputError(
            f"{node.GetName()} cannot be carried over; choose points, a model, a segmentation or a volume."
        )
    template, target = transform_nodes.requirePair(transform)
    like = template if inverse else target
    copy = node.GetScene().AddNewNodeByClass(node.GetClassName(), carriedName(node, like))
    copy.CopyContent(node, True)
    if (display := node.GetDisplayNode()) is not None:
        copy.CreateDefaultDisplayNodes()
        copy.GetDisplayNode().CopyContent(display, True)
        copy.GetDisplayNode().RemoveAllViewNodeIDs()  # those of the other side
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    copy.HardenTransform()
    copy.ApplyTransform(transform.GetTransformToParent() if inverse else transform.GetTransformFromParent())
    nodes.putBeneath(copy, like)
    return copy


def carriedVolume(warped: VolumeArray, node, like):
    """What the worker has resampled as a node beneath the volume whose grid it has, shown as the volume it is made of.

    Args:
        warped: Voxels.
        node: From which they were made; of a label map, a label map with the same colours is made.
        like: Volume node.
    """
    return shownAs(node, nodes.mapToNode(warped, node.GetScene(), carriedName(node, like), like, _emptyLike(node)))


def shownAs(node, copy):
    """Give a volume node the colours, window and level of another one, and its type of voxels where they are labels."""
    if isLabelMap(node):
        image, scalars = copy.GetImageData(), node.GetImageData().GetPointData().GetScalars()
        labels = np.rint(vtk_to_numpy(image.GetPointData().GetScalars())).astype(vtk_to_numpy(scalars).dtype)
        image.GetPointData().SetScalars(numpy_to_vtk(labels, deep=True, array_type=scalars.GetDataType()))
    if (display := node.GetDisplayNode()) is not None:
        copy.GetDisplayNode().CopyContent(display, True)
    return copy


def _emptyLike(node):
    return node.GetScene().AddNewNodeByClass(node.GetClassName())
