"""Arrows that show how placed points are turned, on real MRML."""

from __future__ import annotations

import numpy as np
import pytest
from scene_helpers import shifted

pytest.importorskip("slicer", reason="needs slicer-core")
from vtk.util.numpy_support import vtk_to_numpy

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.orientation_arrows import COLOURS, NAME, SHARE, OrientationArrows, arrowsOf
from deepfeatures.data.landmarks import Landmark, LandmarkSet

# By 90° about the axis to the left, in LPS: the template's front points to the target's foot.
NOD = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
WAYS = {"R": (1.0, 0.0, 0.0), "A": (0.0, 0.0, -1.0), "S": (0.0, 1.0, 0.0)}  # of the template, in the target's RAS
LENGTH = SHARE * 100.0
START = (10.0, 20.0, 30.0)  # of the turned point's arrows, RAS mm


@pytest.fixture
def target(add_volume):
    """100 mm from left to right, and less along the other axes."""
    return add_volume("target", np.zeros((8, 8, 10), np.int16), np.diag([10.0, 10.0, 5.0, 1.0]))


@pytest.fixture
def placed(scene):
    """One point that is turned, one that is not, and one that is missing."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "placed")
    turned, unturned = Landmark("AC", (-10.0, -20.0, 30.0), orientation=NOD), Landmark("PC", (-40.0, -50.0, 30.0))
    nodes.landmarksToNode(LandmarkSet((turned, unturned, Landmark("pons", None, status="missing"))), node)
    return node


@pytest.fixture
def arrows(scene):
    return OrientationArrows(scene, lambda node: node.GetDisplayNode().SetViewNodeIDs(["vtkMRMLSliceNodeTarget"]))


def tips(model, start=START) -> dict[tuple[int, ...], np.ndarray]:
    """The vertex of each colour that is farthest from where the arrows begin, RAS mm."""
    vertices = vtk_to_numpy(model.GetPolyData().GetPoints().GetData())
    colours = vtk_to_numpy(model.GetPolyData().GetPointData().GetArray(NAME))
    found = {}
    for colour in COLOURS:
        of = vertices[(colours == colour).all(axis=1)]
        found[colour] = of[np.linalg.norm(of - start, axis=1).argmax()]
    return found


def test_tips_lie_where_the_axes_of_the_template_point(scene, target, placed, arrows):
    arrows.show(arrowsOf(placed, target))
    model = scene.GetFirstNodeByName(NAME)
    for tip, way in zip(tips(model).values(), WAYS.values(), strict=True):
        np.testing.assert_allclose(tip, np.add(START, np.multiply(LENGTH, way)), atol=1e-3)
    display = model.GetDisplayNode()
    assert display.GetVisibility2D() and display.GetVisibility3D() and display.GetScalarVisibility()
    assert list(display.GetViewNodeIDs()) == ["vtkMRMLSliceNodeTarget"]


def test_only_points_that_are_there_and_turned_have_arrows(target, placed):
    assert {origin for origin, _, _ in arrowsOf(placed, target)} == {START}
    assert arrowsOf(None, target) == arrowsOf(placed, None) == []
    placed.SetNthControlPointPositionMissing(0)
    assert arrowsOf(placed, target) == []


def test_arrows_follow_the_point_and_its_parent_transform(scene, target, placed, arrows, add_transform):
    arrows.show(arrowsOf(placed, target))
    model = scene.GetFirstNodeByName(NAME)
    before = np.array(list(tips(model).values()))
    placed.SetAndObserveTransformNodeID(add_transform(shifted(z=4.0)).GetID())
    arrows.show(arrowsOf(placed, target))
    moved = np.array(list(tips(model, np.add(START, (0, 0, 4))).values()))
    np.testing.assert_allclose(moved - before, np.tile((0, 0, 4), (3, 1)), atol=1e-3)
    assert scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1  # the same one is filled again


def test_arrows_are_never_saved_and_leave_what_is_a_persons(
    scene, target, placed, arrows, new_scene, save_and_load, tmp_path
):
    own = scene.AddNewNodeByClass("vtkMRMLModelNode", NAME)
    own.CreateDefaultDisplayNodes()
    arrows.show(arrowsOf(placed, target))
    assert scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 2 and own.GetPolyData() is None
    loaded = save_and_load(scene, new_scene, tmp_path)
    assert loaded.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1
    arrows.clear()
    left = [scene.GetNumberOfNodesByClass(name) for name in ("vtkMRMLModelNode", "vtkMRMLModelDisplayNode")]
    assert left == [1, 1] and own.GetScene() is scene
