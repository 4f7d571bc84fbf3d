"""Transforms with the real worker: from the scene to its files and back, each where Slicer itself puts it."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
import slicer

from DeepFeatureLandmarksLib.scene import nodes, transform_nodes
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.phantom import make_pair

PATIENCE_S = 240
VOXELS = 48
APART = np.array([[1, 0, 0, -40.0], [0, 1, 0, 15.0], [0, 0, 1, 8.0], [0, 0, 0, 1]])  # RAS


@pytest.fixture
def logic(scene, worker):
    logic = DeepFeatureLandmarksLogic(scene, worker)
    yield logic
    logic.close()


@pytest.fixture
def finish(logic, listen):
    """A function that sends a request and returns the run."""
    heard = listen(logic)

    def run(send):
        before, end = len(heard.runs), time.monotonic() + PATIENCE_S
        send()
        while len(heard.runs) == before:
            assert not heard.errors and time.monotonic() < end, heard.errors
            time.sleep(0.02)
            logic.poll()
        return heard.runs[-1]

    return run


@pytest.fixture
def heads(scene, add_volume, add_transform):
    """Two made heads and their points; the target stands elsewhere, under a transform."""
    template, landmarks, target, truth = make_pair(VOXELS)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    volumes = [
        add_volume(name, volume.voxels.numpy(), lps @ volume.index_to_world)
        for name, volume in (("template", template), ("target", target))
    ]
    points = []
    for name, known in (("landmarks", landmarks), ("found", truth)):
        points.append(nodes.addPoints(scene, nodes.newPoints(scene, name)))
        nodes.landmarksToNode(LandmarkSet(tuple(known)), points[-1])
    parent = add_transform(APART, "scanner").GetID()
    volumes[1].SetAndObserveTransformNodeID(parent)
    points[1].SetAndObserveTransformNodeID(parent)
    return PlaceRequest(volumes[0], points[0], volumes[1], points[1], MatchSettings(device="cpu"))


def places(node):
    return np.array([node.GetNthControlPointPositionWorld(n) for n in range(node.GetNumberOfControlPoints())])


@pytest.mark.parametrize(("kind", "within_mm"), [("tps", 0.1), ("bspline", 6.0), ("affine", 8.0)])
def test_carried_landmarks_lie_at_their_points_and_come_back(kind, within_mm, logic, finish, heads):
    run = finish(lambda: logic.computeTransform(heads, kind))
    carried = logic.carryShape(run.node, heads.templateLandmarks)
    off = np.linalg.norm(places(carried) - places(heads.output), axis=1)
    np.testing.assert_allclose(off, run.transform.residuals_mm, atol=0.05)
    assert off.max() < within_mm
    back = logic.carryShape(run.node, carried, inverse=True)
    np.testing.assert_allclose(places(back), places(heads.templateLandmarks), atol=0.1)


def test_the_warped_target_is_what_slicer_shows_under_the_node(logic, finish, heads, scene):
    """The worker resamples the target on the template's grid; Slicer does so by the node's own transform."""
    transform = finish(lambda: logic.computeTransform(heads, "tps")).node
    warped = slicer.util.arrayFromVolume(finish(lambda: logic.warpTarget(transform)).node)
    target = nodes.arrayFromNode(heads.targetVolume)
    grid, chosen = nodes.gridMatrix(heads.templateVolume), np.random.default_rng(0).integers(5, 25, (200, 3))
    toTarget = transform.GetTransformFromParent()
    worldToIndex = np.linalg.inv(nodes.gridToWorld(heads.targetVolume))
    for i, j, k in chosen:
        there = toTarget.TransformPoint((grid @ (i, j, k, 1.0))[:3])
        x, y, z = (worldToIndex @ (*there, 1.0))[:3]
        low = np.floor([z, y, x]).astype(int)
        if (low < 0).any() or (low + 2 > target.voxels.shape).any():
            continue
        corner = target.voxels[tuple(slice(n, n + 2) for n in low)]
        for share in np.array([z, y, x]) - low:
            corner = corner[0] * (1 - share) + corner[1] * share
        assert warped[k, j, i] == pytest.approx(corner, abs=1.5)


def test_a_label_map_follows_the_landmarks(logic, finish, heads, scene):
    transform = finish(lambda: logic.computeTransform(heads, "tps")).node
    voxels = np.zeros(slicer.util.arrayFromVolume(heads.templateVolume).shape, np.int16)
    landmark = places(heads.templateLandmarks)[0]
    i, j, k = (np.linalg.inv(nodes.gridMatrix(heads.templateVolume)) @ (*landmark, 1.0))[:3].round().astype(int)
    voxels[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = 5
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    labels.CopyContent(heads.templateVolume, True)
    slicer.util.updateVolumeFromArray(labels, voxels)
    run = finish(lambda: logic.carryVolume(transform, labels))
    carried = slicer.util.arrayFromVolume(run.node)
    assert set(np.unique(carried)) == {0, 5}
    middle = np.argwhere(carried == 5).mean(0)[::-1]
    centre = (nodes.gridToWorld(run.node) @ (*middle, 1.0))[:3]
    assert np.linalg.norm(centre - places(heads.output)[0]) < 4.0, "about a voxel"
    assert run.node.GetParentTransformNode() is heads.targetVolume.GetParentTransformNode()


def test_the_jacobian_map_and_a_written_field(logic, finish, heads, tmp_path):
    transform = finish(lambda: logic.computeTransform(heads, "affine")).node
    values = slicer.util.arrayFromVolume(finish(lambda: logic.jacobianMap(transform)).node)
    matrix = transform.GetTransformFromParent().GetMatrix()
    growth = np.linalg.det([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
    np.testing.assert_allclose(values, growth, rtol=1e-3)
    run = finish(lambda: logic.writeTransform(transform, tmp_path / "field.nrrd"))
    assert run.summary.startswith("Written to field.nrrd.")
    read = slicer.vtkMRMLTransformNode()
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(tmp_path / "field.nrrd"))
    assert storage.ReadData(read)
    for place in places(heads.templateLandmarks):
        known = transform.GetTransformFromParent().TransformPoint(place)
        np.testing.assert_allclose(read.GetTransformFromParent().TransformPoint(place), known, atol=0.05)


def test_a_transform_that_slicer_has_written_and_read_is_used_as_it_is(
    logic, finish, heads, scene, new_scene, tmp_path, save_and_load
):
    before = finish(lambda: logic.computeTransform(heads, "tps"))
    seen = slicer.util.arrayFromVolume(finish(lambda: logic.warpTarget(before.node)).node).copy()
    loaded = save_and_load(scene, new_scene, tmp_path)
    node = transform_nodes.transformOfKind("tps", *(loaded.GetFirstNodeByName(n) for n in ("template", "target")))
    again = slicer.util.arrayFromVolume(finish(lambda: logic.warpTarget(node)).node)
    assert np.abs(again - seen).mean() < 0.5
