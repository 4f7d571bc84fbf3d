"""What the Logic does to a scene, with a worker that answers when the test says so."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from scene_helpers import MISSING, index_of, shifted, statuses, world

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import run_history
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import VolumeArray


def test_points_are_placed_with_what_is_known_of_them(place, logic):
    run = place()
    node = run.node
    assert (run.kind, run.number, run.placed, run.missing, run.kept) == ("place", 1, ("A", "B", "C"), (), ())
    assert node.GetName() == "brain in scan"
    np.testing.assert_allclose(world(node, "A"), (0, 2, 3))  # 1 mm along LPS x is 1 mm against RAS x
    assert not node.GetNthControlPointLocked(0)
    assert node.GetNthControlPointDescription(0) == (
        "by an expert | placed by mind ssc_r1_d2, patch 13, guided search, deepfeatures 0.1.0, torch 2.13.0"
        " | feature distance 0.5; inverse-consistency error 0.25 mm"
    )
    table = node.GetNodeReference(run_history.TABLE).GetTable()
    assert table.GetNumberOfRows() == 3
    named = {table.GetColumnName(c): table.GetValue(0, c).ToString() for c in range(table.GetNumberOfColumns())}
    expected = {"Landmark": "A", "Status": "proposed", "Network": "mind", "Layer": "ssc_r1_d2", "Patch size": "13"}
    assert named.items() >= expected.items()
    assert "torch 2.13.0" in named["Versions"]
    assert float(named["Feature distance"]) == 0.5
    assert logic.history(node)[0]["names"] == ("A", "B", "C")


def test_progress_and_seconds_are_told(logic, client, heard, place_request):
    logic.place(place_request)
    client.send("progress", fraction=0.5, text="Placing 3 landmarks")
    logic.poll()
    assert heard.progress == [(0.0, "Starting"), (0.5, "Placing 3 landmarks")]
    assert logic.isBusy
    client.place()
    logic.poll()
    assert not logic.isBusy
    assert heard.runs[0].seconds > 0


def test_what_was_not_found_is_missing_not_guessed(place, client, logic):
    client.lost = {"B"}
    run = place()
    index = index_of(run.node, "B")
    assert (run.missing, run.missingText) == (("B",), "B (outside the target)")
    assert run.node.GetNthControlPointPositionStatus(index) == MISSING
    assert index_of(run.node, "B") == 1  # in the template's order
    assert {row.name: row.reason for row in logic.reviewRows(run.node)} == {"A": "", "B": "outside the target", "C": ""}


def test_locked_moved_and_human_points_are_never_moved(place, logic):
    node = place().node
    logic.accept(node, index_of(node, "A"))
    node.SetNthControlPointPositionWorld(index_of(node, "B"), 4.0, 4.0, 4.0)
    before = world(node, "A")
    logic._client.step = (0.0, 1.0, 0.0)
    run = place(node)
    assert (run.placed, run.kept) == (("C",), ("A", "B"))
    np.testing.assert_allclose(world(node, "A"), before)
    np.testing.assert_allclose(world(node, "B"), (4, 4, 4))
    np.testing.assert_allclose(world(node, "C"), (2, 1, 2))
    assert statuses(logic, node) == {"A": "accepted", "B": "corrected", "C": "proposed"}


def test_a_persons_points_in_the_output_stay(place, add_points):
    node = add_points("mine", B=(3.0, 3.0, 3.0), C=None)
    run = place(node)
    assert (run.placed, run.kept) == (("A", "C"), ("B",))
    np.testing.assert_allclose(world(node, "B"), (3, 3, 3))


def test_a_point_locked_during_the_run_stays(place, logic, client, place_request):
    node = place().node
    logic.place(replace(place_request, output=node))
    node.SetNthControlPointLocked(index_of(node, "A"), True)
    node.SetNthControlPointPositionWorld(index_of(node, "B"), 5.0, 5.0, 5.0)
    client.step = (0.0, 0.0, 1.0)
    client.place()
    logic.poll()
    np.testing.assert_allclose(world(node, "A"), (0, 2, 3))
    np.testing.assert_allclose(world(node, "B"), (5, 5, 5))
    np.testing.assert_allclose(world(node, "C"), (2, 2, 3))


def test_an_output_whose_number_of_points_is_locked_takes_no_others(place, logic, client, heard, place_request):
    output = place().node
    output.RemoveNthControlPoint(index_of(output, "B"))
    output.SetFixedNumberOfControlPoints(True)
    before = world(output, "A")
    client.step = (5.0, 0.0, 0.0)
    logic.place(replace(place_request, output=output))
    client.place()
    logic.poll()
    assert "number of points" in heard.errors[-1]
    assert np.array_equal(world(output, "A"), before), "nothing is placed halfway"
    assert len(logic.history(output)) == 1
    assert not output.GetDisableModifiedEvent(), "views and tables hear of later changes"
    assert place(output, name="A").placed == ("A",)


def test_one_landmark_is_placed_again_alone(place, logic, client):
    node = place().node
    client.step, client.settings["patch_size"] = (0.0, 2.0, 0.0), 20
    run = place(node, name="B")
    assert (run.kind, run.number, run.placed) == ("placeAgain", 2, ("B",))
    np.testing.assert_allclose(world(node, "B"), (4, 3, 4))
    np.testing.assert_allclose(world(node, "A"), (0, 2, 3))
    assert {row.name: row.patchSize for row in logic.reviewRows(node)} == {"A": 13, "B": 20, "C": 13}


def test_cancel_leaves_the_scene_as_it_was(logic, client, heard, place_request, scene):
    before = scene.GetNumberOfNodes()
    logic.place(place_request)
    logic.cancel()
    logic.poll()
    assert heard.errors == ["Cancelled."]
    assert not logic.isBusy
    assert scene.GetNumberOfNodes() == before


def test_an_error_of_the_worker_is_passed_on(logic, client, heard, place_request):
    logic.place(place_request)
    client.send("error", text="The worker ended unexpectedly; try again.", cause="crash")
    logic.poll()
    assert heard.errors == ["The worker ended unexpectedly; try again."]
    assert logic.validationMessage(place_request) == ""


def refusals():
    def nothing(p, **_):
        return PlaceRequest(None, p.templateLandmarks, p.targetVolume)

    def same_output(p, **_):
        return PlaceRequest(p.templateVolume, p.templateLandmarks, p.targetVolume, p.templateLandmarks)

    def no_landmarks(p, points, **_):
        return PlaceRequest(p.templateVolume, points("none", X=None), p.targetVolume)

    def outside(p, points, **_):
        return PlaceRequest(p.templateVolume, points("far", X=(900.0, 0, 0)), p.targetVolume)

    def duplicates(p, points, **_):
        twice = points("twice", X=(1.0, 1, 1), Y=(2.0, 2, 2))
        twice.SetNthControlPointLabel(1, "X")
        return PlaceRequest(p.templateVolume, twice, p.targetVolume)

    def empty(p, scene, **_):
        return PlaceRequest(
            p.templateVolume, p.templateLandmarks, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "v")
        )

    return {
        nothing: "Choose a template volume first",
        same_output: "would replace the template's landmarks brain",
        no_landmarks: "none has no landmark with a position",
        outside: "X lie outside of template",
        duplicates: "twice names several landmarks X",
        empty: "v holds no voxels",
    }


@pytest.mark.parametrize(("make", "reason"), refusals().items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_work_is_refused_in_one_sentence(logic, place_request, add_points, scene, make, reason):
    asked = make(place_request, points=add_points, scene=scene)
    assert reason in logic.validationMessage(asked)
    assert logic.validationMessage(asked).count(".") == 1
    with pytest.raises(InputError, match=reason):
        logic.place(asked)


def test_an_output_of_another_scan_is_refused(place, logic, place_request, add_volume):
    node = place().node
    other = replace(place_request, targetVolume=add_volume("other"), output=node)
    assert logic.validationMessage(other) == "brain in scan holds landmarks of scan; choose another output."


def test_one_thing_at_a_time(logic, place_request):
    logic.place(place_request)
    with pytest.raises(InputError, match="wait"):
        logic.place(place_request)


def test_five_hundred_landmarks(logic, client, heard, add_volume, scene):
    volume, target = add_volume("t", np.zeros((12, 12, 12))), add_volume("s", np.zeros((12, 12, 12)))
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "many")
    for number in range(500):
        points.AddControlPointWorld(5 + number % 5, 5.0, 5.0, f"P{number}")
    logic.place(PlaceRequest(volume, points, target))
    client.place()
    logic.poll()
    run = heard.runs[0]
    assert len(run.placed) == 500
    assert run.seconds < 2
    rows = logic.reviewRows(run.node)
    assert len(rows) == 500 and rows[0].inverse_consistency_error_mm == 0.25
    logic.accept(run.node, 499)
    assert len(logic.revertLastRun(run.node)) == 499


def test_activation_maps_and_the_distance_map_lie_beneath_their_volume(
    logic, client, heard, place, place_request, scene
):
    import slicer

    node = place().node
    asked = replace(place_request, output=node)
    logic.activationMaps(asked, "A")
    kind, _, landmark, _, patch_size = client.requests[-1]
    assert (kind, landmark.position, patch_size) == ("activations", (0.0, -2.0, 3.0), 32)
    grids = tuple(VolumeArray(np.full((3, 3, 3), c, np.float32), spacing=np.full(3, 2.0)) for c in range(4))
    content = {"layer": "conv2_2", "source": grids[0], "maps": grids, "complete": True}
    client.send("result", content=content)
    logic.poll()
    maps = heard.runs[-1].maps
    first = logic.activationMap(maps, 1)
    assert logic.activationMap(maps, 3) is first
    assert first.GetName() == "scan A conv2_2 channel 3"
    assert first.GetImageData().GetScalarRange() == (3, 3)
    assert first.GetSpacing() == (2, 2, 2)

    logic.distanceMap(asked, "A")
    voxels = np.array([[[0.0, np.nan], [2.0, 7.0]]] * 2, np.float32)
    client.send("result", content={"map": VolumeArray(voxels)})
    logic.poll()
    distances = heard.runs[-1].node
    assert distances.GetImageData().GetScalarRange() == (0, 7)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetItemByDataNode(place_request.targetVolume)
    for child in (first, distances):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(child)) == parent


def test_the_catalog_arrives_when_it_is_asked_for(logic, client, heard):
    logic.requestCatalog()
    client.send("result", content={"networks": []})
    logic.poll()
    assert logic.catalog == {"networks": []}
    assert heard.runs[0].kind == "catalog"


def test_interim_points_are_reported_and_not_in_the_scene(scene, logic, client, place_request):
    reported = []
    logic.onInterim = reported.append
    logic.place(place_request)
    before = scene.GetNumberOfNodes()
    client.send("interim", content={"landmarks": LandmarkSet((Landmark("A", (1.0, 2.0, 3.0)),))})
    logic.poll()
    assert reported[0][0].position == (1.0, 2.0, 3.0)
    assert scene.GetNumberOfNodes() == before and logic.isBusy


def test_a_volume_that_has_not_changed_is_sent_as_the_same_array(logic, client, place_request, add_transform):
    def sent():
        logic.prepare(place_request)
        return client.requests[-1][1:3]

    first = sent()
    assert all(again is known for again, known in zip(sent(), first, strict=True))
    place_request.targetVolume.GetImageData().Modified()
    changed = sent()
    assert changed[0] is first[0] and changed[1] is not first[1]
    place_request.targetVolume.SetAndObserveTransformNodeID(add_transform(shifted(5)).GetID())
    moved = sent()
    np.testing.assert_allclose(moved[1].origin - changed[1].origin, (-5, 0, 0))


def test_a_pair_is_prepared_without_landmarks_and_what_waits_for_it_says_so(logic, client, heard, place_request):
    logic.prepare(replace(place_request, templateLandmarks=None))
    assert [request[0] for request in client.requests] == ["encode"]
    client.send("progress", fraction=0.1, text="Comparing the volumes")
    waiting = client.events
    client.events = []
    logic.place(place_request)
    client.events = waiting
    logic.poll()
    assert heard.progress[-1] == (0.0, "Comparing the volumes")


def test_preparing_is_silent(logic, client, heard, place_request):
    logic.prepare(place_request)
    client.send("result", content={})
    logic.poll()
    assert client.requests[-1][0] == "encode"
    assert not heard.runs and not heard.errors and not logic.isBusy


def test_the_former_module_still_works_and_names_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"DeepFeatureLandmarksLib\.scene\.logic"):
        former = importlib.import_module("DeepFeatureLandmarksLib.logic")
    assert former.DeepFeatureLandmarksLogic is DeepFeatureLandmarksLogic
    assert former.Placement is PlaceRequest


def test_an_output_used_as_template_passes_on_only_what_people_wrote(place, logic, client, place_request, add_volume):
    node = place().node
    logic.place(PlaceRequest(place_request.targetVolume, node, add_volume("third")))
    assert client.requests[-1][2][0].description == "by an expert"
