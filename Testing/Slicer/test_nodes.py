"""Nodes and the backend agree about where things are, to 1e-6 mm, by MRML's own chain of transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("slicer", reason="needs slicer-core")
import slicer
import vtk

from DeepFeatureLandmarksLib.scene import nodes
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import VolumeArray

LPS = np.array([-1, -1, 1])
MM = 1e-6
same_scene = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
angles = st.tuples(*[st.floats(-3.1, 3.1)] * 3)
places = st.tuples(*[st.floats(-200, 200)] * 3)
spacings = st.tuples(*[st.floats(0.3, 5)] * 3)
signs = st.tuples(*[st.sampled_from([-1, 1])] * 3)


def rotation(x, y, z):
    transform = vtk.vtkTransform()
    for turn, angle in ((transform.RotateX, x), (transform.RotateY, y), (transform.RotateZ, z)):
        turn(np.degrees(angle))
    return np.array([[transform.GetMatrix().GetElement(i, j) for j in range(3)] for i in range(3)])


def affine(turn, scale, shift):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(*turn) * scale, shift
    return matrix


grids = st.builds(
    lambda turn, spacing, sign, at: affine(turn, np.multiply(spacing, sign), at), angles, spacings, signs, places
)
rigids = st.builds(lambda turn, at: affine(turn, 1.0, at), angles, places)


def world_of(node, ijk):
    """World RAS by MRML alone: its matrix, then its own walk through the parents."""
    matrix, world = vtk.vtkMatrix4x4(), [0.0, 0.0, 0.0]
    node.GetIJKToRASMatrix(matrix)
    node.TransformPointToWorld(matrix.MultiplyPoint((*ijk, 1))[:3], world)
    return np.array(world)


def bend(scene, amplitude=3.0):
    """A transform node that is not linear: a thin-plate spline whose inside moves and whose far corners do not."""
    corners = [(x, y, z) for x in (-80, 80) for y in (-80, 80) for z in (-80, 80)]
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in corners:
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner)
    source.InsertNextPoint(4, 4, 4)
    target.InsertNextPoint(4 + amplitude, 4, 4 - amplitude)
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    node.SetAndObserveTransformToParent(spline)
    return node


@same_scene
@given(grids, rigids, rigids)
def test_voxels_lie_where_mrml_puts_them(scene, add_volume, add_transform, grid, inner, outer):
    node, near, far = add_volume(matrix=grid), add_transform(inner), add_transform(outer)
    node.SetAndObserveTransformNodeID(near.GetID())
    near.SetAndObserveTransformNodeID(far.GetID())
    volume = nodes.volumeFromNode(node)
    assert isinstance(volume, Volume)
    assert volume.size == (8, 7, 6)
    for ijk in ((0, 0, 0), (7, 6, 5), (2.25, 3.5, 1.125)):
        np.testing.assert_allclose(volume.to_world([ijk])[0] * LPS, world_of(node, ijk), atol=MM)
    np.testing.assert_array_equal(volume.voxels, np.arange(6 * 7 * 8).reshape(6, 7, 8))


@same_scene
@given(grids, rigids, rigids)
def test_maps_come_back_where_they_were_and_move_with_their_volume(
    scene, add_volume, add_transform, grid, parent, later
):
    like, transform = add_volume(matrix=grid), add_transform(parent)
    like.SetAndObserveTransformNodeID(transform.GetID())
    known = nodes.volumeFromNode(like)
    coarse = VolumeArray(
        np.ones((3, 3, 2), np.float32), known.to_world([[0.5, 0.5, 0.5]])[0], known.spacing * 2, known.direction
    )
    node = nodes.mapToNode(coarse, scene, "map", like)
    for ijk in ((0, 0, 0), (1, 2, 1.5)):
        expected = known.to_world(np.array([ijk]) * 2 + 0.5)[0] * LPS
        np.testing.assert_allclose(world_of(node, ijk), expected, atol=MM)
    transform.SetMatrixTransformToParent(nodes._vtkMatrix(later))
    np.testing.assert_allclose(world_of(node, (1, 1, 1)), world_of(like, (2.5, 2.5, 2.5)), atol=MM)


@same_scene
@given(rigids, st.lists(places, min_size=1, max_size=5))
def test_points_keep_their_world_position_under_any_parent(scene, add_transform, parent, positions):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.SetAndObserveTransformNodeID(add_transform(parent).GetID())
    written = LandmarkSet(tuple(Landmark(f"p{i}", position) for i, position in enumerate(positions)))
    nodes.landmarksToNode(written, node)
    for index, position in enumerate(positions):
        np.testing.assert_allclose(node.GetNthControlPointPositionWorld(index), position * LPS, atol=MM)
    np.testing.assert_allclose(nodes.landmarkSetFromNode(node).positions, written.positions, atol=MM)


@same_scene
@given(grids, rigids, rigids, places)
def test_points_find_their_voxel_through_two_parents(
    scene, add_volume, add_points, add_transform, grid, ours, theirs, at
):
    volume, points = add_volume(matrix=grid), add_points(P=at)
    volume.SetAndObserveTransformNodeID(add_transform(ours).GetID())
    points.SetAndObserveTransformNodeID(add_transform(theirs).GetID())
    ijk = nodes.voxelPositions(points, volume)[0]
    np.testing.assert_allclose(world_of(volume, ijk), points.GetNthControlPointPositionWorld(0), atol=MM)
    nodes.setVoxelPosition(points, 0, volume, (1.5, 2.5, 3.25))
    np.testing.assert_allclose(points.GetNthControlPointPositionWorld(0), world_of(volume, (1.5, 2.5, 3.25)), atol=MM)


def test_everything_of_a_point_survives(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "head")
    written = LandmarkSet(
        (
            Landmark("AC", (1.25, -2.5, 3.75), description="anterior commissure", locked=True),
            Landmark(
                "PC",
                (0.1, 0.2, 0.3),
                feature_distance=12.5,
                expected_error_mm=1.25,
                probability_within_3mm=0.93,
                inverse_consistency_error_mm=0.5,
            ),
            Landmark("gone", None, "missing", "not found"),
            Landmark("later", None, "undefined"),
        ),
        "head",
    )
    nodes.landmarksToNode(written, node)
    assert nodes.landmarkSetFromNode(node) == written
    nodes.landmarksToNode(written, node)
    assert node.GetNumberOfControlPoints() == 4


def test_a_point_that_went_missing_has_no_position(scene, add_points):
    node = add_points(P=(1.0, 2.0, 3.0))
    node.SetNthControlPointPositionMissing(0)
    assert nodes.landmarkOfPoint(node, 0) == Landmark("P", None, "missing")
    assert node.GetNthControlPointPositionWorld(0)[0] == 1.0  # what MRML remembers, and nobody may use


def test_the_array_is_a_copy(add_volume):
    node = add_volume()
    known = nodes.arrayFromNode(node)
    node.GetImageData().GetPointData().GetScalars().Fill(0)
    assert known.voxels.max() > 0


@pytest.mark.parametrize("kind", ["sheared", "sheared parent", "bent parent"])
def test_what_is_not_rectangular_is_resampled_in_place(scene, add_volume, add_transform, kind):
    """A volume whose voxels tell their own position along the world's x: every resampled voxel must tell the truth."""
    shear = np.eye(4)
    shear[0, 1] = 0.4
    node = add_volume(voxels=np.zeros((16, 16, 16), np.float32), matrix=shear if kind == "sheared" else np.eye(4))
    if kind == "sheared parent":
        node.SetAndObserveTransformNodeID(add_transform(shear).GetID())
    elif kind == "bent parent":
        node.SetAndObserveTransformNodeID(bend(scene).GetID())
    voxels = np.array([[[world_of(node, (i, j, k))[0] for i in range(16)] for j in range(16)] for k in range(16)])
    node.GetImageData().GetPointData().SetScalars(nodes.numpy_to_vtk(voxels.astype(np.float32).ravel(), deep=True))
    known = nodes.volumeFromNode(node)
    np.testing.assert_allclose(known.direction.T @ known.direction, np.eye(3), atol=1e-9)
    for ijk in ((8, 8, 8), (6, 9, 7), (10, 5, 8)):
        world = world_of(node, ijk)
        x, y, z = np.rint(known.to_index([world * LPS])[0]).astype(int)
        centre = known.to_world([[x, y, z]])[0] * LPS
        assert abs(float(known.voxels[z, y, x]) - centre[0]) < 0.03  # trilinear in a field that is slightly curved
    inside = known.contains([world_of(node, ijk) * LPS for ijk in ((0, 0, 0), (15, 0, 15), (15, 15, 15), (7, 15, 0))])
    assert inside.all()


def test_a_rectangular_grid_is_not_resampled(add_volume):
    known = nodes.arrayFromNode(add_volume(matrix=affine((0.3, -0.2, 0.9), (-0.9, 1.1, 2.5), (3, 4, 5))))
    np.testing.assert_array_equal(known.voxels, np.arange(6 * 7 * 8).reshape(6, 7, 8))


def test_what_cannot_be_used_is_said_in_words(scene, add_volume):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="empty holds no voxels"):
        nodes.arrayFromNode(empty)
    with pytest.raises(InputError, match="single slice"):
        nodes.arrayFromNode(add_volume(voxels=np.zeros((1, 5, 5))))
    with pytest.raises(InputError, match="not finite"):
        nodes.arrayFromNode(add_volume(voxels=np.full((3, 5, 5), np.nan)))


def test_a_map_lies_beneath_its_volume_and_is_refilled(scene, add_volume):
    like = add_volume("scan")
    node = nodes.mapToNode(nodes.arrayFromNode(like), scene, "first", like)
    again = nodes.mapToNode(nodes.arrayFromNode(like), scene, "second", like, node)
    assert again is node and node.GetName() == "second"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == hierarchy.GetItemByDataNode(like)
    np.testing.assert_array_equal(nodes.arrayFromNode(node).voxels, nodes.arrayFromNode(like).voxels)


def test_the_modality_comes_from_the_subject_hierarchy(scene, add_volume):
    node, other = add_volume("ct"), add_volume("other")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    assert nodes.arrayFromNode(node).modality == "CT"
    assert nodes.arrayFromNode(other).modality is None
