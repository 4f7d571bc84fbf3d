"""Scenes that change during a run and after it: transforms, cropping, removal, saving and loading."""

from __future__ import annotations

import numpy as np
import pytest
from scene_helpers import index_of, shifted, statuses, world

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import run_history
from DeepFeatureLandmarksLib.scene.logic import SCENE_CLOSED, DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from DeepFeatureLandmarksLib.scene.unsaved_points import INTERIM, UnsavedPoints
from deepfeatures.data.landmarks import Landmark, LandmarkSet


def test_a_scene_of_version_0_1_keeps_its_history(place):
    node = place().node
    before = run_history.readRuns(place(node).node)
    saved = node.GetAttribute(run_history.ATTRIBUTE)
    for new, old in (("inverse_consistency_error_mm", "round_trip"), ("position", "place"), ("previous", "before")):
        saved = saved.replace(f'"{new}":', f'"{old}":')
    assert '"round_trip":0.25' in saved and '"before":{"status"' in saved
    node.SetAttribute(run_history.ATTRIBUTE, saved)
    assert run_history.readRuns(node) == before
    assert before[0].points[0].scores == {"feature_distance": 0.5, "inverse_consistency_error_mm": 0.25}


def test_a_target_that_is_transformed_takes_its_points_along(place, logic, place_request, add_transform):
    node, target = place().node, place_request.targetVolume
    transform = add_transform(shifted(10))
    target.SetAndObserveTransformNodeID(transform.GetID())
    logic.poll()
    np.testing.assert_allclose(world(node, "A"), (10, 2, 3))
    assert set(statuses(logic, node).values()) == {"proposed"}
    target.HardenTransform()
    logic.poll()
    np.testing.assert_allclose(world(node, "A"), (10, 2, 3))
    assert node.GetParentTransformNode() is None
    assert set(statuses(logic, node).values()) == {"proposed"}
    logic._client.step = (0.0, 1.0, 0.0)
    assert place(node).kept == ()


def test_a_target_whose_origin_is_changed_takes_its_points_along(place, logic, place_request):
    node = place().node
    place_request.targetVolume.SetOrigin(5, 0, 0)
    logic.poll()
    np.testing.assert_allclose(world(node, "A"), (5, 2, 3))
    assert set(statuses(logic, node).values()) == {"proposed"}


def crop(volume, first):
    """Cut the voxels before `first` (i, j, k) off, in place, as Crop Volume does."""
    kept = slicer.util.arrayFromVolume(volume)[first[2] :, first[1] :, first[0] :].copy()
    slicer.util.updateVolumeFromArray(volume, kept)
    volume.SetOrigin(*np.add(volume.GetOrigin(), np.multiply(first, volume.GetSpacing())))


def test_a_target_that_is_cropped_leaves_its_points_where_they_are(place, logic, client, place_request):
    node = place().node
    client.step = (0.0, 1.0, 0.0)
    place(node, name="B")
    crop(place_request.targetVolume, (0, 1, 2))
    logic.poll()
    np.testing.assert_allclose(world(node, "A"), (0, 2, 3))
    np.testing.assert_allclose(world(node, "B"), (4, 4, 4))
    assert set(statuses(logic, node).values()) == {"proposed"}
    logic.revertLastRun(node)
    np.testing.assert_allclose(world(node, "B"), (3, 5, 4))


def test_a_target_cropped_during_the_run_gets_its_points_where_they_were_found(logic, client, heard, place_request):
    logic.place(place_request)
    crop(place_request.targetVolume, (0, 1, 2))
    client.place()
    logic.poll()
    np.testing.assert_allclose(world(heard.runs[0].node, "A"), (0, 2, 3))


def test_an_output_that_a_person_has_moved_is_left_there(place, logic, place_request, add_transform):
    node = place().node
    own = add_transform(shifted(0, 7))
    node.SetAndObserveTransformNodeID(own.GetID())
    place_request.targetVolume.SetAndObserveTransformNodeID(add_transform(shifted(10)).GetID())
    logic.poll()
    assert node.GetParentTransformNode() is own
    np.testing.assert_allclose(world(node, "A"), (0, 9, 3))


def test_a_target_under_a_transform_is_placed_in_the_world(place, place_request, add_transform):
    place_request.targetVolume.SetAndObserveTransformNodeID(add_transform(shifted(10)).GetID())
    node = place().node
    np.testing.assert_allclose(world(node, "A"), (0, 2, 3))
    np.testing.assert_allclose(node.GetNthControlPointPosition(0), (-10, 2, 3))


def test_a_target_moved_during_the_run_gets_its_points_where_its_voxels_are(
    logic, client, heard, place_request, add_transform
):
    logic.place(place_request)
    place_request.targetVolume.SetAndObserveTransformNodeID(add_transform(shifted(10)).GetID())
    client.place()
    logic.poll()
    np.testing.assert_allclose(world(heard.runs[0].node, "A"), (10, 2, 3))


@pytest.mark.parametrize("role", ["templateVolume", "templateLandmarks", "targetVolume", "output"])
def test_a_node_removed_during_the_run_ends_it_in_words(logic, client, heard, place_request, add_points, scene, role):
    asked = PlaceRequest(
        place_request.templateVolume, place_request.templateLandmarks, place_request.targetVolume, add_points("out")
    )
    logic.place(asked)
    node = getattr(asked, role)
    scene.RemoveNode(node)
    logic.poll()
    assert heard.errors == [f"{node.GetName()} was removed while it was being worked on; nothing was placed."]
    assert client.cancelled == 1
    assert not logic.isBusy and not heard.runs


def test_a_scene_closed_during_the_run_ends_it_in_words(logic, client, heard, place_request, scene):
    logic.place(place_request)
    scene.Clear(False)
    logic.poll()
    assert heard.errors == [SCENE_CLOSED]
    assert client.cancelled == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0


def test_everything_survives_saving_and_loading(
    place, logic, client, scene, new_scene, save_and_load, tmp_path, listen
):
    client.lost = {"C"}
    node = place().node
    client.step = (0.0, 1.0, 0.0)
    place(node, name="B")
    logic.accept(node, index_of(node, "A"))
    logic.reject(node, index_of(node, "C"))
    before, history = logic.reviewRows(node), logic.history(node)
    loaded = save_and_load(scene, new_scene, tmp_path)
    other = DeepFeatureLandmarksLogic(loaded, client)
    again = loaded.GetFirstNodeByName("brain in scan")
    assert other.reviewRows(again) == before
    assert other.history(again) == history
    table = again.GetNodeReference(run_history.TABLE).GetTable()
    assert table.GetNumberOfRows() == 4
    heard = listen(other)
    asked = PlaceRequest(
        again.GetNodeReference(run_history.TEMPLATE),
        again.GetNodeReference(run_history.LANDMARKS),
        again.GetNodeReference(run_history.TARGET),
        again,
    )
    other.place(asked)
    client.place()
    other.poll()
    assert heard.runs[0].kept == ("A",) and heard.runs[0].number == 3
    other.revertLastRun(again)
    other.revertLastRun(again)
    np.testing.assert_allclose(world(again, "B"), (3, 5, 4))
    other.close()


def test_a_loaded_scene_still_takes_points_along(place, logic, client, scene, new_scene, save_and_load, tmp_path):
    place()
    loaded = save_and_load(scene, new_scene, tmp_path)
    other = DeepFeatureLandmarksLogic(loaded, client)
    node, target = loaded.GetFirstNodeByName("brain in scan"), loaded.GetFirstNodeByName("scan")
    target.SetOrigin(5, 0, 0)
    other.poll()
    np.testing.assert_allclose(world(node, "A"), (5, 2, 3))
    other.close()


def test_clicks_go_on_to_the_list_that_is_being_marked(scene, place, place_request):
    """Slicer's markups logic makes every new list the one that clicks add points to."""
    selection = scene.GetSingletonNode("Singleton", "vtkMRMLSelectionNode")
    marked = place_request.templateLandmarks.GetID()
    assert selection.GetActivePlaceNodeID() == marked, "the list that was made last"
    interim = UnsavedPoints(scene, INTERIM, lambda points: None)
    interim.show(LandmarkSet((Landmark("A", (1.0, 2.0, 3.0)),)))
    assert interim.node.GetDisplayNode() is not None
    assert selection.GetActivePlaceNodeID() == marked
    interim.clear()
    output = place().node
    assert output.GetDisplayNode() is not None
    assert selection.GetActivePlaceNodeID() == marked


def test_a_closed_logic_no_longer_observes_the_scene(scene, client, place_request, listen):
    logic = DeepFeatureLandmarksLogic(scene, client)
    heard = listen(logic)
    logic.place(place_request)
    logic.close()
    scene.Clear(False)
    assert client.cancelled == 1 and not heard.errors
