"""Curves that Slicer wrote are placed as curves, and Slicer reads landmarks and curves from one file."""

from __future__ import annotations

import numpy as np
import pytest

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.pipelines.semi_landmarks import Settled, read_shapes, write_shapes

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

FLIP = np.array([-1.0, -1.0, 1.0])
ANGLES = np.linspace(0, 2 * np.pi, 10, endpoint=False)
RING = np.stack([20 * np.cos(ANGLES), 20 * np.sin(ANGLES), 0 * ANGLES], 1)
SHIFT = np.array([4.0, -3.0, 2.0])


@pytest.fixture
def curve_file(new_scene, tmp_path):
    """A closed curve as Slicer writes it."""
    scene = new_scene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "rim")
    for place in RING * FLIP:
        node.AddControlPoint(*place)
    node.GetMeasurement("length").SetEnabled(True)
    storage = node.CreateDefaultStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "rim.mrk.json"))
    assert storage.WriteData(node)
    return tmp_path / "rim.mrk.json"


def test_slicer_reads_landmarks_and_curves_from_one_file(curve_file, new_scene, tmp_path):
    template = Volume(np.zeros((60, 60, 60), np.float32), np.full(3, -30.0), np.ones(3), np.eye(3), "template")
    landmarks = LandmarkSet(tuple(Landmark(f"p{n}", tuple(p)) for n, p in enumerate(np.eye(3) * 12)))
    placed = LandmarkSet(tuple(Landmark(one.name, tuple(np.array(one.position) + SHIFT)) for one in landmarks))
    shapes = read_shapes([curve_file], [], template)
    assert [(shape.name, shape.kind, len(shape)) for shape in shapes.shapes] == [("rim", "closed curve", 10)]
    places = RING + SHIFT
    places[3] = np.nan
    settled = Settled((places,), (np.full(10, 0.5),))
    written = write_shapes(tmp_path / "curves" / "scan.mrk.json", landmarks, placed, shapes, settled)
    assert written.reports[0]["not_found"] == 1

    scene = new_scene()
    logic = slicer.vtkSlicerMarkupsLogic()
    logic.SetMRMLScene(scene)
    logic.LoadMarkups(str(written.output), "scan")
    (points,), (curve,) = (
        [scene.GetNthNodeByClass(number, name) for number in range(scene.GetNumberOfNodesByClass(name))]
        for name in ("vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsClosedCurveNode")
    )
    assert points.GetNumberOfControlPoints() == 3
    found = np.array([curve.GetNthControlPointPosition(n) for n in range(curve.GetNumberOfControlPoints())])
    np.testing.assert_allclose(found, (RING + SHIFT) * FLIP, atol=0.01)
    assert curve.GetMeasurement("length").GetEnabled()
