"""Orientations of landmarks in MRML, and in the files that Slicer's own code writes and reads."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
import slicer
import vtk

from DeepFeatureLandmarksLib.scene import nodes
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks

LPS_RAS = np.diag([-1.0, -1.0, 1.0])


def turn(x, y, z):
    transform = vtk.vtkTransform()
    for rotate, angle in ((transform.RotateX, x), (transform.RotateY, y), (transform.RotateZ, z)):
        rotate(angle)
    return np.array([[transform.GetMatrix().GetElement(i, j) for j in range(3)] for i in range(3)])


TURN = turn(20, -35, 110)
TURNED = Landmark("AC", (1.0, 2.0, 3.0), orientation=tuple(map(tuple, TURN.tolist())))
UNTURNED = Landmark("PC", (4.0, 5.0, 6.0))


@pytest.fixture
def markups():
    scene = slicer.vtkMRMLScene()
    node = nodes.newPoints(scene, "points")
    scene.AddNode(node)
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    scene.AddNode(storage)
    yield node, storage
    scene.Clear(True)


def test_an_orientation_is_kept_by_slicer(markups, tmp_path):
    node, storage = markups
    written, saved = tmp_path / "ours.mrk.json", tmp_path / "slicers.mrk.json"
    write_landmarks(LandmarkSet((TURNED, UNTURNED)), written)
    storage.SetFileName(str(written))
    assert storage.ReadData(node)
    np.testing.assert_allclose(node.GetNthControlPointOrientationMatrix(0), (LPS_RAS @ TURN @ LPS_RAS).ravel())
    for system in (0, 1):  # RAS, LPS
        storage.SetFileName(str(saved))
        storage.SetCoordinateSystem(system)
        assert storage.WriteData(node)
        turned, unturned = read_landmarks(saved)
        np.testing.assert_allclose(turned.orientation, TURN, atol=1e-9)
        assert unturned.orientation is None


def test_slicer_writes_the_numbers_that_we_write(markups, tmp_path):
    node, storage = markups
    nodes.landmarksToNode(LandmarkSet((TURNED, UNTURNED)), node)
    write_landmarks(LandmarkSet((TURNED, UNTURNED)), tmp_path / "ours.mrk.json")
    storage.SetFileName(str(tmp_path / "slicers.mrk.json"))
    assert storage.WriteData(node)
    ours, slicers = (
        [point["orientation"] for point in json.loads((tmp_path / name).read_text())["markups"][0]["controlPoints"]]
        for name in ("ours.mrk.json", "slicers.mrk.json")
    )
    np.testing.assert_allclose(ours, slicers, atol=1e-9)


def test_an_orientation_is_of_the_world(markups):
    node, _ = markups
    transform = slicer.vtkMRMLLinearTransformNode()
    node.GetScene().AddNode(transform)
    matrix = vtk.vtkMatrix4x4()
    parent = turn(0, 0, 90)
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, parent[row, column])
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    nodes.landmarksToNode(LandmarkSet((TURNED, UNTURNED)), node)
    turned, unturned = nodes.landmarkSetFromNode(node)
    np.testing.assert_allclose(turned.orientation, TURN, atol=1e-9)
    assert unturned.orientation is None  # though its parent turns it
    assert turned.position == pytest.approx(TURNED.position)
    nodes.changeParent(node, None, keepWorld=False)
    np.testing.assert_allclose(
        nodes.landmarkOfPoint(node, 0).orientation, LPS_RAS @ parent.T @ LPS_RAS @ TURN, atol=1e-9
    )


def test_a_point_that_is_placed_again_loses_its_orientation(markups):
    node, _ = markups
    nodes.landmarksToNode(LandmarkSet((TURNED,)), node)
    nodes.putLandmark(Landmark("AC", (0.0, 0.0, 0.0)), node, 0)
    assert nodes.landmarkOfPoint(node, 0).orientation is None
