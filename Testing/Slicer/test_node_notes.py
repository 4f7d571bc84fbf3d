"""Notes on volumes in a real scene: from the file behind a node, from its geometry, and into the placed points."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("slicer", reason="needs slicer-core")
import vtk
from scene_helpers import index_of
from test_logic_worker import QUICK, blobs, run_until
from test_nodes import bend
from vtk.util.numpy_support import numpy_to_vtk

from DeepFeatureLandmarksLib.scene import node_notes, nodes
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest, validationMessage
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.service.client import WorkerClient

CODES = 252  # byte of a NIfTI header at which qform_code and sform_code begin
DOUBT = Note(NoteKind.ORIENTATION, "the file does not say which side is left")


@pytest.fixture
def nifti(tmp_path):
    """A NIfTI file whose two codes are 0, as FSL's tools and Analyze converters leave them."""
    path = tmp_path / "head.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)), path)
    write_codes(path, b"\0\0\0\0")
    return path


def write_codes(path, codes):
    content = bytearray(path.read_bytes())
    content[CODES : CODES + 4] = codes
    path.write_bytes(content)


def load(scene, path):
    """As Slicer loads a volume: the node's storage node reads the file."""
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", path.stem)
    assert storage.ReadData(node)
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def kinds(node):
    return [note.kind for note in nodes.volumeNotes(node)]


def test_the_file_that_slicer_has_read_tells_what_it_leaves_open(scene, nifti):
    node = load(scene, nifti)
    assert kinds(node) == [NoteKind.ORIENTATION]
    assert nodes.arrayFromNode(node).notes == nodes.volumeNotes(node)
    written = nifti.with_name("head.nrrd")
    node.GetStorageNode().SetFileName(str(written))
    assert node.GetStorageNode().WriteData(node)
    assert kinds(node) == []  # the new file says everything


def test_a_file_that_was_repaired_is_read_again_and_one_that_is_gone_does_no_harm(scene, nifti):
    node = load(scene, nifti)
    assert kinds(node) == [NoteKind.ORIENTATION]
    write_codes(nifti, b"\1\0\1\0")
    later = time.time_ns() + 10**9
    os.utime(nifti, ns=(later, later))
    assert kinds(node) == []
    nifti.unlink()
    assert kinds(node) == []


@pytest.mark.data
def test_the_fault_that_exchanges_left_and_right_is_told_in_slicer(scene, data):
    node = load(scene, data / "faults" / "nifti_codes0_mirrored" / "target_codes0.nii.gz")
    assert kinds(node) == [NoteKind.ORIENTATION]


def test_notes_are_saved_with_the_scene_and_told_once(scene, new_scene, add_volume):
    node_notes.writeNotes(add_volume("scan"), (DOUBT, DOUBT))
    scene.SetSaveToXMLString(True)
    scene.Commit()
    other = new_scene()
    other.SetLoadFromXMLString(True)
    other.SetSceneXMLString(scene.GetSceneXMLString())
    other.Import()
    node = other.GetFirstNodeByName("scan")
    assert nodes.volumeNotes(node) == (DOUBT,)
    node_notes.writeNotes(node, ())
    assert nodes.volumeNotes(node) == ()


@pytest.mark.parametrize("text", ["{", "3", '[{"kind": "of a later version", "text": "x"}]', '[{"text": "x"}]'])
def test_notes_of_another_version_do_no_harm(add_volume, text):
    node = add_volume()
    node.SetAttribute(node_notes.ATTRIBUTE, text)
    assert nodes.volumeNotes(node) == ()


def test_what_is_resampled_says_so(scene, add_volume, add_transform):
    shear = np.eye(4)
    shear[0, 1] = 0.4
    sheared, under_shear, bent = add_volume(matrix=shear), add_volume(), add_volume()
    under_shear.SetAndObserveTransformNodeID(add_transform(shear).GetID())
    bent.SetAndObserveTransformNodeID(bend(scene).GetID())
    for node in (sheared, under_shear, bent):
        assert kinds(node) == [NoteKind.RESAMPLED]
        assert nodes.arrayFromNode(node).notes == nodes.volumeNotes(node)
    bent.SetAndObserveTransformNodeID(None)
    assert kinds(bent) == []


def test_a_head_of_more_than_a_metre_is_doubted(add_volume, add_transform):
    assert kinds(add_volume(matrix=np.diag([200, 200, 200, 1.0]))) == [NoteKind.UNIT]
    node = add_volume()
    node.SetAndObserveTransformNodeID(add_transform(np.diag([200, 200, 200, 1.0])).GetID())
    assert kinds(node) == [NoteKind.UNIT]


@pytest.mark.parametrize(
    "diagonal", [(0, 1, 1, 1), (np.nan, 1, 1, 1), (1, 1, np.inf, 1)], ids=["zero", "not a number", "infinite"]
)
@pytest.mark.parametrize("where", ["volume", "transform"])
def test_a_grid_without_places_is_refused_before_anything_is_placed(
    add_volume, add_points, add_transform, place_request, diagonal, where
):
    node = add_volume("scan", matrix=np.diag(diagonal) if where == "volume" else None)
    if where == "transform":
        node.SetAndObserveTransformNodeID(add_transform(np.diag(diagonal)).GetID())
    with pytest.raises(InputError, match="scan has no usable voxel size, position or transform; correct them"):
        nodes.arrayFromNode(node)
    assert nodes.volumeNotes(node) == ()
    asked = PlaceRequest(node, add_points(A=(1.0, 1.0, 1.0)), place_request.targetVolume)
    assert "no usable voxel size" in validationMessage(asked)


def test_a_flat_grid_is_refused(add_volume):
    flat = np.eye(4)
    flat[:3, 1] = flat[:3, 0]
    with pytest.raises(InputError, match="no usable voxel size"):
        nodes.arrayFromNode(add_volume(matrix=flat))


def spike(scene, length_mm):
    """A transform node of displacements that are 0 but at one corner of the volume."""
    displacements = np.zeros((8, 8, 8, 3))
    displacements[0, 0, 0] = length_mm, 0, 0
    grid = vtk.vtkImageData()
    grid.SetDimensions(8, 8, 8)
    grid.GetPointData().SetScalars(numpy_to_vtk(displacements.reshape(-1, 3), deep=True))
    transform = vtk.vtkGridTransform()
    transform.SetDisplacementGridData(grid)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "spike")
    node.SetAndObserveTransformToParent(transform)
    return node


def test_a_transform_that_takes_voxels_far_away_is_refused_and_fills_no_memory(scene, add_volume):
    node = add_volume("scan")
    node.SetAndObserveTransformNodeID(spike(scene, 1e6).GetID())
    with pytest.raises(InputError, match="transform of scan takes parts of it far away"):
        nodes.arrayFromNode(node)


def test_placed_points_have_the_notes_of_both_volumes_and_keep_them_when_corrected(
    scene, add_volume, add_points, listen
):
    template, target = add_volume("low", blobs(0)), add_volume("high", blobs(2))
    points = add_points("landmarks", P=(11.0, 13.0, 15.0), Q=(12.5, 11.0, 14.0))
    node_notes.writeNotes(target, (DOUBT,))
    client = WorkerClient()
    logic = DeepFeatureLandmarksLogic(scene, client)
    try:
        heard = listen(logic)
        logic.place(PlaceRequest(template, points, target, None, QUICK))
        run_until(logic, lambda: heard.runs or heard.errors)
    finally:
        logic.close()
        client.close()
    output, told = heard.runs[0].node, f"high: {DOUBT.text}"
    assert f"note: {told}" in output.GetNthControlPointDescription(0)
    rows = logic.reviewRows(output)
    assert [row.notes for row in rows] == [(told,)] * 2
    assert logic.runNotes(output, rows) == []  # it stands with the volume
    node_notes.writeNotes(target, ())
    assert logic.runNotes(output, rows) == [f"{told}."]
    logic.correct(output, index_of(output, "P"), (10.0, 10.0, 10.0))
    description = output.GetNthControlPointDescription(index_of(output, "P"))
    assert f"corrected by hand | note: {told}" in description and "feature distance" not in description
    logic.accept(output, index_of(output, "P"))
    assert output.GetNthControlPointDescription(index_of(output, "P")) == description
