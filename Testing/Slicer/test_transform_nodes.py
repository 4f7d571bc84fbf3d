"""Transforms in the scene: their direction, what they carry over, and what is kept with the scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scene_helpers import shifted, world

pytest.importorskip("slicer", reason="needs slicer-core")

import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DeepFeatureLandmarksLib.scene import carried_nodes, jacobian_map, transform_nodes
from DeepFeatureLandmarksLib.scene.transform_summary import KINDS, TransformSummary
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import VolumeArray

APART_MM = 40.0  # along L, from where the template is to where the target is
SUMMARY = {"kind": "tps", "names": ["A", "B"], "residuals_mm": [0.25, 1.5], "folded_share": 0.0, "notes": ["smoothed"]}
SUMMARY |= {"file_notes": ["off by 0.01 mm"], "description": "From template to scan."}
RAS_LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def bent():
    """A smooth transform from template to target points, LPS mm, as the worker writes one: field, then affine."""
    size, spacing, origin = 31, 4.0, -60.0
    z, y, x = np.meshgrid(*[origin + spacing * np.arange(size)] * 3, indexing="ij")
    vectors = np.stack([2 * np.sin(y / 20), 1.5 * np.cos(z / 25), np.sin(x / 30)], -1)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing([spacing] * 3)
    image.SetOrigin([origin] * 3)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.05, 0.04, 0, -0.03, 0.97, 0, 0, 0.02, 1.02))
    affine.SetTranslation((APART_MM, 3, -2))
    whole = sitk.CompositeTransform(3)
    whole.AddTransform(affine)
    whole.AddTransform(sitk.DisplacementFieldTransform(image))  # the last one is the first that a point meets
    return whole


@pytest.fixture
def pair(place_request, add_points):
    return replace(place_request, output=add_points("found", A=(-39.0, 2.0, 3.0), B=(-36.0, 5.0, 4.0)))


@pytest.fixture
def computed(logic, client, heard, pair, bent, tmp_path):
    """A function that computes a transform; the worker's answer is `bent`."""

    def compute(request=pair, kind="tps", **others):
        logic.computeTransform(request, kind)
        path = client.requests[-1][-1]["path"]
        sitk.WriteTransform(bent, str(path))
        client.send("result", content={**SUMMARY, "kind": kind, **others})
        logic.poll()
        return heard.runs[-1]

    return compute


def lps(points):
    return np.asarray(points) * RAS_LPS


def through(transform, ras):
    """Where an ITK transform takes a RAS point, RAS."""
    return lps(transform.TransformPoint(lps(ras).tolist()))


def test_the_worker_gets_landmarks_and_points_and_the_node_says_what_it_is(computed, client, pair):
    run = computed()
    kind, template, landmarks, target, points, settings, named = client.requests[-1]
    assert (kind, template.name, target.name, named["kind"]) == ("transform", "template", "scan", "tps")
    assert [landmark.name for landmark in landmarks] == ["A", "B", "C"]
    np.testing.assert_allclose(points.positions, [(39, -2, 3), (36, -5, 4)], atol=1e-9)  # LPS
    assert settings == pair.settings
    node = run.node
    assert node.GetName() == "template to scan (tps)"
    assert "takes points of the template template to the target scan (from parent" in node.GetDescription()
    assert run.summary == "2 points, on average 0.9 mm off, at most 1.5 mm (B)."
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    assert hierarchy.GetItemDataNode(parent) is pair.targetVolume


def test_what_belongs_to_the_target_comes_onto_the_template_under_the_node(computed, bent, add_points):
    """The one thing that users of transforms get wrong most often; the volumes lie 40 mm apart."""
    node, place = computed().node, (5.0, -12.0, 20.0)
    there = add_points("of the target", P=tuple(through(bent, place)))
    there.SetAndObserveTransformNodeID(node.GetID())
    np.testing.assert_allclose(world(there, "P"), place, atol=0.02)


@pytest.mark.parametrize("kind", ["Fiducial", "Curve", "ClosedCurve", "Line", "Angle"])
def test_points_and_curves_of_the_template_are_carried_to_where_the_transform_says(
    kind, computed, logic, scene, bent, add_transform
):
    node = computed().node
    places = [(0.0, 0.0, 0.0), (20.0, 5.0, -10.0), (-15.0, 30.0, 8.0)][: 2 if kind == "Line" else 3]
    known = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", "drawn")
    known.SetAndObserveTransformNodeID(add_transform(shifted(z=7.0)).GetID())
    for place in places:
        known.AddControlPointWorld(vtk.vtkVector3d(*place), "point")
    known.SetNthControlPointLocked(0, True)
    known.CreateDefaultDisplayNodes()
    there = logic.carryShape(node, known)
    assert (there.GetName(), there.GetClassName()) == ("drawn in scan", known.GetClassName())
    for index, place in enumerate(places):
        np.testing.assert_allclose(known.GetNthControlPointPositionWorld(index), place, atol=1e-9)
        np.testing.assert_allclose(there.GetNthControlPointPositionWorld(index), through(bent, place), atol=0.02)
    assert there.GetNthControlPointLocked(0)
    back = logic.carryShape(node, there, inverse=True)
    for index, place in enumerate(places):
        np.testing.assert_allclose(back.GetNthControlPointPositionWorld(index), place, atol=0.05)


def test_a_model_is_carried_over(computed, logic, scene, bent):
    node, sphere = computed().node, vtk.vtkSphereSource()
    sphere.SetRadius(20)
    sphere.Update()
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "ball")
    model.SetAndObservePolyData(sphere.GetOutput())
    before, after = (
        vtk_to_numpy(one.GetPolyData().GetPoints().GetData()) for one in (model, logic.carryShape(node, model))
    )
    np.testing.assert_allclose(after, [through(bent, place) for place in before.astype(float)], atol=0.02)


def test_a_segmentation_is_carried_over(computed, logic, scene, bent):
    node, image = computed().node, slicer.vtkOrientedImageData()
    image.SetDimensions(40, 40, 40)
    image.SetOrigin(-20, -20, -20)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(40, 40, 40)
    voxels[:] = 0
    voxels[8:32, 8:32, 8:32] = 1
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, "cube", [1, 0, 0])
    there = logic.carryShape(node, segmentation)
    found = slicer.vtkOrientedImageData()
    there.GetBinaryLabelmapRepresentation(there.GetSegmentation().GetNthSegmentID(0), found)
    labels = vtk_to_numpy(found.GetPointData().GetScalars()).reshape(found.GetDimensions()[::-1])
    first = np.argwhere(labels).mean(0)[::-1] + found.GetExtent()[::2]
    matrix = vtk.vtkMatrix4x4()
    found.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(matrix.MultiplyPoint((*first, 1.0))[:3], through(bent, (-0.5, -0.5, -0.5)), atol=0.5)
    spacing = np.prod(found.GetSpacing())
    assert labels.sum() * spacing == pytest.approx(24**3 * 1.05 * 0.97 * 1.02, rel=0.05)


def test_what_cannot_be_carried_over_is_refused(computed, logic, scene):
    node = computed().node
    with pytest.raises(InputError, match="table cannot be carried over; choose points"):
        logic.carryShape(node, scene.AddNewNodeByClass("vtkMRMLTableNode", "table"))
    scene.RemoveNode(node.GetNodeReference(transform_nodes.TARGET))
    with pytest.raises(InputError, match=r"The target of template to scan .* was removed"):
        logic.warpTarget(node)


def test_the_transform_reaches_the_worker_as_it_is(computed, logic, client, bent):
    logic.warpTarget(computed().node)
    kind, path, volume, like, named = client.requests[-1]
    assert (kind, volume.name, like.name, named) == ("warp", "scan", "template", {"inverse": True, "labels": False})
    written = sitk.ReadTransform(str(path))
    for place in ((0, 0, 0), (13.0, -21.0, 5.5), (-33.0, 41.0, -7.0)):
        np.testing.assert_allclose(written.TransformPoint(place), bent.TransformPoint(place), atol=1e-3)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_file_is_carried_over_by_the_worker_and_the_scene_stays_as_it_is(inverse, computed, logic, client, heard):
    transform = computed().node
    count = transform.GetScene().GetNumberOfNodes()
    logic.carryFile(transform, Path("labels.nii.gz"), Path("out.nii.gz"), inverse=inverse)
    kind, path, source, output, like, named = client.requests[-1]
    assert (kind, path.suffix, source.name, output.name) == ("warp_file", ".h5", "labels.nii.gz", "out.nii.gz")
    assert (like.name, named) == ("template" if inverse else "scan", {"inverse": inverse})
    client.send("result", content={"path": str(output), "text": "label map with 3 labels", "notes": ["nearest"]})
    logic.poll()
    run = heard.runs[-1]
    assert (run.written, run.text, run.notes) == (output, "label map with 3 labels", ("nearest",))
    assert transform.GetScene().GetNumberOfNodes() == count


def test_what_is_warped_is_given_up_when_its_volume_leaves_the_scene(computed, logic, client, heard, pair):
    logic.warpTarget(computed().node)
    pair.targetVolume.GetScene().RemoveNode(pair.targetVolume)
    assert not logic.isBusy and client.cancelled
    assert heard.errors[-1].startswith("scan was removed while it was being worked on")


def test_the_warped_target_lies_on_the_template_and_looks_like_the_target(computed, logic, client, heard, pair):
    pair.targetVolume.CreateDefaultDisplayNodes()
    pair.targetVolume.GetDisplayNode().SetAutoWindowLevel(False)
    pair.targetVolume.GetDisplayNode().SetWindowLevel(77, 33)
    transform = computed().node
    for value in (1.0, 2.0):  # the second time, the same node is filled
        logic.warpTarget(transform)
        _, _, _, like, _ = client.requests[-1]
        client.send(
            "result", content={"volume": replace(like, voxels=np.full_like(like.voxels, value)), "covered_share": 1}
        )
        logic.poll()
    warped = heard.runs[-1].node
    assert warped.GetName() == "scan in template" and heard.runs[-2].node is warped
    assert slicer.util.arrayFromVolume(warped).max() == 2.0
    assert (warped.GetDisplayNode().GetWindow(), warped.GetDisplayNode().GetLevel()) == (77, 33)


def test_a_label_map_stays_one(computed, logic, client, heard, pair, scene):
    transform = computed().node
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    labels.SetAndObserveImageData(pair.templateVolume.GetImageData())
    logic.carryVolume(transform, labels)
    _, _, volume, like, named = client.requests[-1]
    assert (volume.name, like.name, named) == ("labels", "scan", {"inverse": False, "labels": True})
    client.send(
        "result", content={"volume": replace(like, voxels=np.full_like(like.voxels, 300.0)), "covered_share": 0.5}
    )
    logic.poll()
    carried = heard.runs[-1].node
    assert carried.IsA("vtkMRMLLabelMapVolumeNode")
    assert slicer.util.arrayFromVolume(carried).dtype == np.int16
    assert set(slicer.util.arrayFromVolume(carried).ravel()) == {300}
    assert heard.runs[-1].summary == "labels in scan is there; it covers 50% of the grid."


def test_what_is_carried_may_be_removed_while_the_worker_is_busy(computed, logic, client, heard, scene, add_volume):
    transform, volume = computed().node, add_volume("organ")
    logic.carryVolume(transform, volume)
    scene.RemoveNode(volume)
    assert heard.errors[-1].startswith("organ was removed while it was being worked on")
    assert not logic.isBusy and client.cancelled == 1


def test_colours_of_the_jacobian_map_tell_larger_smaller_and_folded(computed, scene):
    transform = computed().node
    values = np.array([-0.5, 0.5, 1.0, 1.5, 9.0], np.float32).reshape(1, 1, 5)
    node = jacobian_map.jacobianNode(VolumeArray(values), transform)
    mapper = vtk.vtkImageMapToColors()
    display = node.GetDisplayNode()
    table = display.GetColorNode().GetLookupTable()
    table.SetRange(display.GetWindowLevelMin(), display.GetWindowLevelMax())
    mapper.SetLookupTable(table)
    mapper.SetInputData(node.GetImageData())
    mapper.SetOutputFormatToRGBA()
    mapper.Update()
    folded, smaller, same, larger, largest = vtk_to_numpy(mapper.GetOutput().GetPointData().GetScalars()).astype(int)
    assert folded[0] > 200 and folded[1] < 50 and folded[2] > 200, "magenta"
    assert smaller[2] > smaller[0] and larger[0] > larger[2] and largest[0] > largest[2]
    assert same[3] < 10 and {one[3] for one in (folded, smaller, larger, largest)} == {255}, "clear at 1"
    jacobian_map.jacobianNode(VolumeArray(values), transform)
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == 1


def test_a_transform_of_each_kind_is_kept_once_and_comes_back_with_the_scene(
    computed, pair, scene, new_scene, tmp_path, save_and_load, bent
):
    for kind in ("tps", "rigid", "tps"):
        computed(kind=kind)
    assert scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 2
    loaded = save_and_load(scene, new_scene, tmp_path)
    volumes = [loaded.GetFirstNodeByName(name) for name in ("template", "scan")]
    node = transform_nodes.transformOfKind("tps", *volumes)
    assert transform_nodes.transformOfKind("cpab", *volumes) is None
    assert transform_nodes.summaryOf(node).names == ("A", "B")
    assert "from parent" in node.GetDescription()
    place = (5.0, -12.0, 20.0)
    np.testing.assert_allclose(node.GetTransformFromParent().TransformPoint(place), through(bent, place), atol=0.02)


def test_why_nothing_can_be_computed_is_said(logic, place_request):
    assert logic.transformMessage(place_request) == "Place the landmarks, or choose points of the target first."
    assert "Choose a target volume" in logic.transformMessage(replace(place_request, targetVolume=None))


def test_what_people_read_of_a_transform():
    summary = TransformSummary.of({**SUMMARY, "folded_share": 0.012})
    assert summary.foldText == "It folds in 1.2% of the template, where it has no inverse."
    assert summary.noteLines == ["Smoothed."]
    assert summary.detailLines == ["B: 1.50 mm", "A: 0.25 mm", "Off by 0.01 mm."]
    assert TransformSummary.of(summary.asJson).residualText == summary.residualText
    assert next(iter(KINDS)) == "tps"
    assert not carried_nodes.isVolume(slicer.vtkMRMLModelNode())
