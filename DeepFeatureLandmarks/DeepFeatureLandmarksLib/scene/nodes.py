"""MRML nodes as the backend's volumes and landmarks, and back: the only place with RAS, KJI and parent transforms.

MRML: voxel index (i, j, k) -> IJKToRAS -> the node's own RAS -> parent transforms -> world RAS, all mm. The backend:
voxel index (x, y, z) -> LPS mm, which here is world RAS with two signs changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from DeepFeatureLandmarksLib.scene import node_notes
from DeepFeatureLandmarksLib.scene.point_orientation import orientationOfPoint, turnPoint
from deepfeatures.data.geometry import is_rectangular, likelihood_notes, size_mm
from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.score_description import describe, with_description
from deepfeatures.service.protocol import VolumeArray

if TYPE_CHECKING:
    from deepfeatures.data.volume import Volume

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
UNDEFINED, DEFINED, MISSING = (STATUSES.index(name) for name in ("undefined", "defined", "missing"))
SMALLEST_VOLUME = 1e-3  # of three unit axes: less is flat, and no point has a voxel of its own
SAMPLES = 9  # along each axis, of a grid whose extent in the world is wanted
LARGEST_GROWTH = 16  # in voxels, of a grid that is resampled: more is a transform that has gone astray
SHEARED = Note(NoteKind.RESAMPLED, "its voxel axes are not at right angles: landmarks are placed in a resampled copy")
BENT = Note(NoteKind.RESAMPLED, "its transform is not linear: landmarks are placed in a resampled copy")


def arrayFromNode(node) -> VolumeArray:
    """A copy of a scalar volume node, where it stands in the world; PyTorch is not needed.

    Linear parent transforms go into the geometry. A grid that is sheared, or stands under a
    transform that is not linear, is resampled to a rectangular grid of about the same voxel size; a note says so.

    Raises:
        InputError: Where the node holds no scalar 3D volume, voxels that are not finite, or no usable geometry.
    """
    image = node.GetImageData()
    size = image.GetDimensions() if image else (0, 0, 0)
    if 0 in size or image.GetPointData().GetScalars() is None:
        raise InputError(f"{node.GetName()} holds no voxels; load a volume into it or choose another.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"{node.GetName()} has several values a voxel; choose a scalar volume.")
    if 1 in size:
        raise InputError(f"{node.GetName()} is a single slice; choose a 3D volume.")
    if message := geometryMessage(node):
        raise InputError(message)
    matrix, notes = gridToWorld(node), volumeNotes(node)
    if matrix is None or not is_rectangular(matrix[:3]):
        image, matrix = _resampled(node)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).astype(np.float32)
    if not np.isfinite(voxels).all():
        raise InputError(f"{node.GetName()} holds voxels that are not finite numbers; replace NaN and infinity.")
    lps = LPS_RAS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return VolumeArray(voxels, lps[:3, 3], spacing, lps[:3, :3] / spacing, node.GetName(), modality(node), notes)


def volumeNotes(node) -> tuple[Note, ...]:
    """What people should know about a volume node: how it was read, whether its size is likely, and what is resampled.

    None is told twice; a node whose geometry cannot be used has no notes on it, see `geometryMessage`.
    """
    read = (*node_notes.readNotes(node), *node_notes.notesOfFile(node))
    return tuple(dict.fromkeys((*read, *_geometryNotes(node))))


def volumeFromNode(node) -> Volume:
    """`arrayFromNode` as the backend's own `Volume`; needs PyTorch."""
    import torch

    from deepfeatures.data.volume import Volume

    known = arrayFromNode(node)
    voxels = torch.from_numpy(known.voxels)
    return Volume(voxels, known.origin, known.spacing, known.direction, known.name, known.modality, known.notes)


def mapToNode(volume: VolumeArray | Volume, scene, name: str, like=None, node=None):
    """A scalar volume node that shows a map at its place, beneath `like` in the subject hierarchy.

    Args:
        volume: In world LPS, on a grid of its own; the node keeps its notes.
        scene: Gets the node.
        name: Of the node.
        like: The volume node from which the map was computed. The map comes under the same parent transform, and moves
            with it, where that transform is linear. `None` for a volume that was read and stands for itself.
        node: Is filled instead of a new one.
    """
    node = node or scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    voxels = np.ascontiguousarray(volume.voxels, np.float32)
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    world = np.eye(4)
    world[:3, :3] = np.asarray(volume.direction) * np.asarray(volume.spacing)
    world[:3, 3] = volume.origin
    ijkToRas, parent = LPS_RAS @ world, like.GetParentTransformNode() if like else None
    if parent is not None and parent.IsTransformToWorldLinear():
        ijkToRas = np.linalg.inv(_linearToWorld(like)) @ ijkToRas
    else:
        parent = None
    wasModifying = node.StartModify()
    node.SetName(name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(_vtkMatrix(ijkToRas))
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    node_notes.writeNotes(node, volume.notes)
    node.EndModify(wasModifying)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    if like is not None:
        putBeneath(node, like)
    return node


def putBeneath(node, parent) -> None:
    """Make one node the child of another in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:  # a scene without one has nothing to sort
        return

    def item(of) -> int:
        return hierarchy.GetItemByDataNode(of) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), of)

    hierarchy.SetItemParent(item(node), item(parent))


def addPoints(scene, node):
    """Add a markups node to the scene; clicks in the views keep going to the list that they went to before.

    Slicer would hand them to each new list, in the middle of marking another one.
    """
    selection = scene.GetSingletonNode("Singleton", "vtkMRMLSelectionNode")
    active = (selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()) if selection else None
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    if active is not None:
        selection.SetReferenceActivePlaceNodeClassName(active[0])
        selection.SetReferenceActivePlaceNodeID(active[1])
    return node


def newPoints(scene, name: str):
    """A markups node of that name, not yet in the scene."""
    node = scene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.UnRegister(None)  # the scene and Python hold it from here on
    node.SetName(name)
    return node


def landmarkSetFromNode(node) -> LandmarkSet:
    """The control points of a markups node in world LPS, with all that a `.mrk.json` file has of them."""
    return LandmarkSet(
        tuple(landmarkOfPoint(node, index) for index in range(node.GetNumberOfControlPoints())), node.GetName()
    )


def landmarkOfPoint(node, index: int) -> Landmark:
    """One control point in world LPS; what is undefined or missing has no position, whatever MRML remembers."""
    status = STATUSES[node.GetNthControlPointPositionStatus(index)]
    position = orientation = None
    if status == "defined":
        x, y, z = node.GetNthControlPointPositionWorld(index)
        position, orientation = (-x, -y, z), orientationOfPoint(node, index)
    locked = bool(node.GetNthControlPointLocked(index))
    landmark = Landmark(node.GetNthControlPointLabel(index), position, status, locked=locked, orientation=orientation)
    return with_description(landmark, node.GetNthControlPointDescription(index))


def landmarksToNode(landmarks: LandmarkSet, node) -> None:
    """Replace the control points of a markups node, whatever parent transform it stands under."""
    wasModifying = node.StartModify()
    node.RemoveAllControlPoints()
    for landmark in landmarks:
        putLandmark(landmark, node)
    node.EndModify(wasModifying)


def putLandmark(landmark: Landmark, node, index: int | None = None) -> int:
    """Write a landmark into a control point, or into a new one; returns its index."""
    ras = None if landmark.position is None else np.multiply(landmark.position, (-1.0, -1.0, 1.0))
    if index is None:
        index = node.AddControlPointWorld(vtk.vtkVector3d(*((0.0, 0.0, 0.0) if ras is None else ras)), landmark.name)
        if index < 0:
            raise InputError(f"{node.GetName()} takes no more points; choose another output.")
    if landmark.is_defined:
        node.SetNthControlPointPositionWorld(index, *ras)
    elif landmark.status == "missing":
        node.SetNthControlPointPositionMissing(index)
    else:
        node.UnsetNthControlPointPosition(index)
    turnPoint(node, index, landmark.orientation)
    node.SetNthControlPointLabel(index, landmark.name)
    node.SetNthControlPointDescription(index, describe(landmark))
    node.SetNthControlPointLocked(index, landmark.locked)
    return index


def voxelPositions(markups, volume) -> np.ndarray:
    """Continuous (i, j, k) of the control points in a volume node, shape `(N, 3)`; NaN for what has no position."""
    found = np.full((markups.GetNumberOfControlPoints(), 3), np.nan)
    chain = _markupsToVoxels(markups, volume)
    for index in range(len(found)):
        if markups.GetNthControlPointPositionStatus(index) == DEFINED:
            found[index] = chain.TransformPoint(markups.GetNthControlPointPosition(index))
    return found


def setVoxelPosition(markups, index: int, volume, ijk: Sequence[float]) -> None:
    """Move a control point to a continuous (i, j, k) of a volume node."""
    chain = _markupsToVoxels(markups, volume)
    chain.Inverse()
    markups.SetNthControlPointPosition(index, *chain.TransformPoint(ijk))


def contains(volume, ijk: np.ndarray) -> np.ndarray:
    """Which continuous (i, j, k), shape `(N, 3)`, are within a voxel of a volume node; NaN rows are not."""
    size = np.array(volume.GetImageData().GetDimensions())
    return ((ijk >= -0.5 - 1e-6) & (ijk <= size - 0.5 + 1e-6)).all(axis=1)


def sizeOf(volume) -> tuple[int, ...]:
    """Number of voxels of a volume node along i, j and k; empty where it holds none."""
    image = volume.GetImageData()
    return image.GetDimensions() if image is not None else ()


def gridMatrix(volume) -> np.ndarray:
    """IJKToRAS of a volume node, `(4, 4)`, without its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return _numpyMatrix(matrix)


def geometryMessage(node) -> str:
    """Why a volume node's voxels have no places in the world, in one sentence; empty where they have."""
    matrix = gridToWorld(node)
    if _isGrid(gridMatrix(node)) and (matrix is None or _isGrid(matrix)):
        return ""
    return f"{node.GetName()} has no usable voxel size, position or transform; correct them in the module Volumes."


def gridToWorld(node) -> np.ndarray | None:
    """Voxel index to world RAS mm, `(4, 4)`; `None` under a transform that is not linear."""
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        return None
    return _linearToWorld(node) @ gridMatrix(node)


def movedWithGrid(landmarks: LandmarkSet, before: np.ndarray | None, after: np.ndarray | None) -> LandmarkSet:
    """World LPS landmarks after a volume's `gridToWorld` has changed from `before` to `after`; unchanged for `None`."""
    if before is None or after is None or np.array_equal(before, after):
        return landmarks
    change = LPS_RAS @ after @ np.linalg.inv(before) @ LPS_RAS
    moved = [
        replace(known, position=tuple((change @ (*known.position, 1.0))[:3].tolist())) if known.is_defined else known
        for known in landmarks
    ]
    return replace(landmarks, landmarks=tuple(moved))


def moveWithGrid(markups, before: np.ndarray, after: np.ndarray) -> None:
    """Move control points with voxels whose IJKToRAS changed from `before` to `after`, `(4, 4)` each."""
    change = after @ np.linalg.inv(before)
    wasModifying = markups.StartModify()
    for index in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(index) == DEFINED:
            moved = change @ (*markups.GetNthControlPointPosition(index), 1.0)
            markups.SetNthControlPointPosition(index, *moved[:3])
    markups.EndModify(wasModifying)


def changeParent(markups, transform, *, keepWorld: bool) -> None:
    """Put a markups node under another transform, or none; its points move along, or stay where they are."""
    known = landmarkSetFromNode(markups)
    wasModifying = markups.StartModify()
    markups.SetAndObserveTransformNodeID(transform.GetID() if transform else None)
    for index, landmark in enumerate(known if keepWorld else ()):
        if landmark.is_defined:
            putLandmark(landmark, markups, index)
    markups.EndModify(wasModifying)


def _markupsToVoxels(markups, volume) -> vtk.vtkGeneralTransform:
    chain = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        markups.GetParentTransformNode(), volume.GetParentTransformNode(), chain
    )
    toVoxels = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(toVoxels)
    chain.PostMultiply()
    chain.Concatenate(toVoxels)
    return chain


def _linearToWorld(node) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return _numpyMatrix(matrix)


def _geometryNotes(node) -> tuple[Note, ...]:
    if node.GetImageData() is None or geometryMessage(node):
        return ()
    matrix = gridToWorld(node)
    isBent = matrix is None
    matrix = gridMatrix(node) if isBent else matrix
    resampling = (BENT,) if isBent else () if is_rectangular(matrix[:3]) else (SHEARED,)
    edges_mm = size_mm(sizeOf(node), np.linalg.norm(matrix[:3, :3], axis=0))
    return (*likelihood_notes(edges_mm, matrix[:3, 3]), *resampling)


def _isGrid(matrix: np.ndarray) -> bool:
    """Whether a matrix is finite and its three axes have a length and span a volume."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not lengths.all():
        return False
    return bool(abs(np.linalg.det(matrix[:3, :3] / lengths)) >= SMALLEST_VOLUME)


def _resampled(node) -> tuple[vtk.vtkImageData, np.ndarray]:
    """The node on a rectangular grid that covers it in the world, trilinear, and the grid's index to world RAS mm."""
    image, parent = node.GetImageData(), node.GetParentTransformNode()
    indices, world = _samples(node)
    if not np.isfinite(world).all():
        raise _astray(node)
    fit = np.linalg.lstsq(np.column_stack([indices, np.ones(len(indices))]), world, rcond=None)[0][:3].T
    left, _, right = np.linalg.svd(fit)
    rotation, spacing = left @ right, np.linalg.norm(fit, axis=0)
    low, high = (world @ rotation).min(0), (world @ rotation).max(0)
    size = np.ceil((high - low) / spacing - 1e-6) + 1
    if not size.prod() <= LARGEST_GROWTH * np.prod(image.GetDimensions()):
        raise _astray(node)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation * spacing, rotation @ low

    worldToNode, toVoxels, chain = vtk.vtkGeneralTransform(), vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, worldToNode)
    node.GetRASToIJKMatrix(toVoxels)
    chain.PostMultiply()
    for step in (_vtkMatrix(matrix), worldToNode, toVoxels):
        chain.Concatenate(step)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputScalarType(vtk.VTK_FLOAT)
    reslice.SetBackgroundLevel(image.GetScalarRange()[0])
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(0, int(size[0]) - 1, 0, int(size[1]) - 1, 0, int(size[2]) - 1)
    reslice.Update()
    return reslice.GetOutput(), matrix


def _astray(node) -> InputError:
    return InputError(
        f"The transform of {node.GetName()} takes parts of it far away; choose another transform, or none."
    )


def _samples(node) -> tuple[np.ndarray, np.ndarray]:
    """Voxel indices spread over the grid, its corners among them, and their world RAS mm, `(N, 3)` both."""
    axes = [np.linspace(0, length - 1, SAMPLES) for length in node.GetImageData().GetDimensions()]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    toWorld = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, toWorld)
    matrix = gridMatrix(node)
    local = indices @ matrix[:3, :3].T + matrix[:3, 3]
    return indices, np.array([toWorld.TransformPoint(point) for point in local])


def modality(node) -> str | None:
    """The DICOM modality that the subject hierarchy has noted."""
    scene = node.GetScene()
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") if scene else None  # asking must not make one
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    return (hierarchy.GetItemAttribute(item, "DICOM.Modality") or None) if item else None


def _numpyMatrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _vtkMatrix(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    copy = vtk.vtkMatrix4x4()
    copy.DeepCopy(np.asarray(matrix, float).ravel())
    return copy
