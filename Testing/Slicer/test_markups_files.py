"""Landmark files written here are read by Slicer's own storage nodes, and the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

STORAGE = {".mrk.json": "vtkMRMLMarkupsJsonStorageNode", ".fcsv": "vtkMRMLMarkupsFiducialStorageNode"}
POINTS = LandmarkSet(
    (
        Landmark("AC", (1.25, -2.5, 3.75), description="anterior commissure", locked=True),
        Landmark(
            'a "quoted", name',
            (-10.0, 20.0, 30.123456789),
            feature_distance=12.3,
            expected_error_mm=1.2,
            probability_within_3mm=0.93,
        ),
        Landmark("Größe", None, "missing", "not found"),
        Landmark("later", None, "undefined"),
    ),
    "head",
)


@pytest.fixture
def storage_and_node(request):
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLMarkupsFiducialNode()
    scene.AddNode(node)
    storage = getattr(slicer, STORAGE[request.param])()
    scene.AddNode(storage)
    return storage, node, request.param, scene


@pytest.mark.parametrize("storage_and_node", STORAGE, indirect=True)
def test_slicer_reads_what_is_written(storage_and_node, tmp_path):
    storage, node, suffix, _ = storage_and_node
    path = tmp_path / f"points{suffix}"
    write_landmarks(POINTS, path)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    assert storage.GetUserMessages().GetNumberOfMessages() == 0
    assert node.GetNumberOfControlPoints() == len(POINTS)
    for index, landmark in enumerate(POINTS):
        assert node.GetNthControlPointLabel(index) == landmark.name
        assert STATUSES[node.GetNthControlPointPositionStatus(index)] == landmark.status
        assert bool(node.GetNthControlPointLocked(index)) == landmark.locked
        assert node.GetNthControlPointDescription(index).startswith(landmark.description)
        if landmark.is_defined:
            ras = np.array(landmark.position) * [-1, -1, 1]
            np.testing.assert_allclose(node.GetNthControlPointPosition(index), ras, atol=1e-9)
            np.testing.assert_allclose(node.GetNthControlPointOrientationMatrix(index), np.eye(3).ravel())
    if suffix == ".mrk.json":
        assert node.GetName() == "head"


@pytest.mark.parametrize("storage_and_node", STORAGE, indirect=True)
@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_what_slicer_writes_is_read(storage_and_node, system, tmp_path):
    storage, node, suffix, _ = storage_and_node
    written, path = tmp_path / f"ours{suffix}", tmp_path / f"slicers{suffix}"
    write_landmarks(POINTS, written)
    storage.SetFileName(str(written))
    assert storage.ReadData(node)
    storage.SetFileName(str(path))
    storage.SetCoordinateSystem({"RAS": 0, "LPS": 1}[system])
    assert storage.WriteData(node)
    assert read_landmarks(path).landmarks == POINTS.landmarks
