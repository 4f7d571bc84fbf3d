"""What the Logic does to a scene, with a worker that answers when the test says so."""

from __future__ import annotations

import importlib
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import run_history
from DeepFeatureLandmarksLib.scene.interim_points import InterimPoints
from DeepFeatureLandmarksLib.scene.logic import SCENE_CLOSED, DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.protocol import VolumeArray

DEFINED, MISSING = 2, 3


@pytest.fixture
def logic(scene, client):
    logic = DeepFeatureLandmarksLogic(scene, client)
    yield logic
    logic.close()


@pytest.fixture
def heard(logic, listen):
    return listen(logic)


@pytest.fixture
def place_request(add_volume, add_points):
    """Three landmarks of a template, to be placed in a target."""
    points = add_points("brain", A=(1.0, 2.0, 3.0), B=(4.0, 5.0, 4.0), C=(2.0, 2.0, 2.0))
    points.SetNthControlPointDescription(0, "by an expert")
    return PlaceRequest(add_volume("template"), points, add_volume("scan"))


@pytest.fixture
def place(logic, client, heard, place_request):
    """A function that places, or places one again, and returns the run."""

    def run(output=None, name=None, settings=None):
        asked = replace(place_request, output=output, settings=settings or MatchSettings())
        logic.placeAgain(asked, name) if name else logic.place(asked)
        client.place()
        logic.poll()
        return heard.runs[-1]

    return run


def world(node, name):
    return np.array(node.GetNthControlPointPositionWorld(index_of(node, name)))


def index_of(node, name):
    return next(i for i in range(node.GetNumberOfControlPoints()) if node.GetNthControlPointLabel(i) == name)


def statuses(logic, node):
    return {row.name: row.status for row in logic.reviewRows(node)}


def through_mrml(scene, new_scene, folder):
    """The scene as it comes back from a scene file and the files of its nodes."""
    for number in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(number)
        if node.IsA("vtkMRMLStorableNode") and node.GetSaveWithScene():
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
            if storage is not None:
                storage.SetFileName(str(folder / f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"))
                assert storage.WriteData(node)
    scene.SetURL(str(folder / "scene.mrml"))
    scene.SetRootDirectory(str(folder))
    assert scene.Commit(scene.GetURL())
    loaded = new_scene()
    loaded.SetURL(scene.GetURL())
    assert loaded.Connect()
    return loaded


def through_mrb(scene, new_scene, folder):
    """The scene as it comes back from a bundle of all its files."""
    assert scene.WriteToMRB(str(folder / "scene.mrb"), None)
    with ZipFile(folder / "scene.mrb") as bundle:  # Slicer's own reader of bundles needs its application
        bundle.extractall(folder / "unpacked")
    loaded = new_scene()
    loaded.SetURL(str(next((folder / "unpacked").rglob("*.mrml"))))
    assert loaded.Connect()
    return loaded


@pytest.fixture(params=[through_mrml, through_mrb], ids=["mrml", "mrb"])
def save_and_load(request):
    return request.param


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


def test_what_was_accepted_as_missing_is_looked_for_again_once_that_is_rejected(place, client, logic):
    def row(node):
        return next(row for row in logic.reviewRows(node) if row.name == "B")

    client.lost = {"B"}
    node = place().node
    assert (row(node).statusText, row(node).isPending, row(node).canBeRejected) == ("○ not found", True, False)
    logic.accept(node, row(node).index)
    assert (row(node).statusText, row(node).isPending, row(node).canBeRejected) == ("✓ not found", False, True)
    client.lost = set()
    assert place(node).kept == ("B",)
    with pytest.raises(InputError, match="accepted by a person; reject it"):
        place(node, name="B")
    logic.reject(node, row(node).index)
    assert place(node, name="B").placed == ("B",)


def test_a_point_that_was_not_found_and_then_placed_by_hand_has_no_reason(place, client, logic):
    client.lost = {"B"}
    node = place().node
    node.SetNthControlPointPositionWorld(index_of(node, "B"), 4.0, 4.0, 4.0)
    assert [(row.status, row.reason) for row in logic.reviewRows(node) if row.name == "B"] == [("corrected", "")]


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


def test_a_reviewed_landmark_is_not_placed_again(place, logic):
    node = place().node
    logic.accept(node, index_of(node, "B"))
    with pytest.raises(InputError, match="B was accepted by a person; reject it"):
        place(node, name="B")


def test_revert_goes_back_run_by_run(place, logic, client):
    client.lost = {"C"}
    node = place().node
    first = node.GetNthControlPointDescription(0)
    client.lost, client.step, client.settings["patch_size"] = set(), (0.0, 3.0, 0.0), 20
    place(node)
    assert logic.revertLastRun(node) == ("A", "B", "C")
    np.testing.assert_allclose(world(node, "A"), (0, 2, 3))
    assert node.GetNthControlPointDescription(0) == first
    assert statuses(logic, node) == {"A": "proposed", "B": "proposed", "C": "missing"}
    assert logic.revertLastRun(node) == ("A", "B", "C")
    assert node.GetNumberOfControlPoints() == 0
    assert logic.revertLastRun(node) == ()
    assert [run["reverted"] for run in logic.history(node)] == [True, True]


def test_revert_leaves_what_a_person_has_reviewed_since(place, logic, client):
    node = place().node
    client.step = (0.0, 3.0, 0.0)
    place(node)
    logic.accept(node, index_of(node, "A"))
    node.SetNthControlPointPositionWorld(index_of(node, "B"), 1.0, 1.0, 1.0)
    assert logic.revertLastRun(node) == ("C",)
    np.testing.assert_allclose(world(node, "A"), (1, -1, 3))
    np.testing.assert_allclose(world(node, "B"), (1, 1, 1))
    assert statuses(logic, node)["A"] == "corrected"  # no standing run has put it there


def test_review(place, logic, client):
    client.lost = {"C"}
    node = place().node
    assert [row.name for row in logic.reviewRows(node)] == ["C", "A", "B"]
    assert logic.nextUnreviewed(node) == index_of(node, "C")
    assert logic.nextUnreviewed(node, after=index_of(node, "C")) == index_of(node, "A")
    logic.correct(node, index_of(node, "C"), (2.0, 2.0, 1.0))
    logic.accept(node, index_of(node, "A"))
    logic.reject(node, index_of(node, "B"))
    assert statuses(logic, node) == {"A": "accepted", "B": "rejected", "C": "corrected"}
    assert logic.nextUnreviewed(node) is None
    assert node.GetNthControlPointLocked(index_of(node, "C"))
    assert node.GetNthControlPointPositionStatus(index_of(node, "B")) == MISSING


def test_a_corrected_point_bears_no_scores_of_its_old_place(place, logic):
    node = place().node
    node.SetNthControlPointPositionWorld(0, 1.0, 1.0, 1.0)
    logic.accept(node, 0)
    assert node.GetNthControlPointDescription(0) == "by an expert | corrected by hand"
    logic.correct(node, 0, (2.0, 2.0, 2.0))
    assert node.GetNthControlPointDescription(0) == "by an expert | corrected by hand"


def test_a_rejected_point_may_be_proposed_again_and_reverted(place, logic):
    node = place().node
    logic.reject(node, index_of(node, "B"))
    run = place(node)
    assert "B" in run.placed
    assert statuses(logic, node)["B"] == "proposed"
    logic.revertLastRun(node)
    assert statuses(logic, node)["B"] == "rejected"


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


def test_expected_errors_travel_with_the_points(place, logic, client):
    client.scores = {
        "feature_distance": 0.5,
        "expected_error_mm": 1.25,
        "probability_within_3mm": 0.93,
        "inverse_consistency_error_mm": 0.25,
    }
    node = place().node
    row = logic.reviewRows(node)[0]
    assert (row.expected_error_mm, row.probability_within_3mm) == (1.25, 0.93)
    assert node.GetNthControlPointDescription(0).endswith(
        "expected error 1.25 mm; within 3 mm 93 %; inverse-consistency error 0.25 mm"
    )
    table = node.GetNodeReference(run_history.TABLE).GetTable()
    columns = {table.GetColumnName(c): table.GetValue(0, c).ToDouble() for c in range(table.GetNumberOfColumns())}
    assert (columns["Expected error (mm)"], columns["Within 3 mm"]) == (1.25, 0.93)


def test_the_most_uncertain_come_first(place, logic, client):
    node = place().node
    for name, error in (("A", 1.0), ("B", 4.0), ("C", 2.0)):
        client.scores = {"feature_distance": 0.5, "expected_error_mm": error, "probability_within_3mm": 0.5}
        place(node, name=name)
    assert [(row.name, row.expected_error_mm) for row in logic.reviewRows(node)] == [("B", 4), ("C", 2), ("A", 1)]


def shifted(x=0.0, y=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


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


def test_cancel_leaves_the_scene_as_it_was(logic, client, heard, place_request, scene):
    before = scene.GetNumberOfNodes()
    logic.place(place_request)
    logic.cancel()
    logic.poll()
    assert heard.errors == ["Cancelled."]
    assert not logic.isBusy
    assert scene.GetNumberOfNodes() == before


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


def test_the_quality_table_compares_by_name(logic, client, place, place_request):
    client.lost = {"C"}
    node = place().node
    table = logic.qualityTable(place_request.templateLandmarks, node)
    assert [table.GetTable().GetValue(row, 0).ToString() for row in range(3)] == ["A", "B", "C"]
    np.testing.assert_allclose([table.GetTable().GetValue(row, 1).ToDouble() for row in range(3)], [1, 1, np.nan])
    assert table.GetDescription() == "2 of 3 found: mean 1.00 mm, median 1.00 mm, largest 1.00 mm."
    assert logic.qualityTable(place_request.templateLandmarks, node) is table


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


def test_clicks_go_on_to_the_list_that_is_being_marked(scene, place, place_request):
    """Slicer's markups logic makes every new list the one that clicks add points to."""
    selection = scene.GetSingletonNode("Singleton", "vtkMRMLSelectionNode")
    marked = place_request.templateLandmarks.GetID()
    assert selection.GetActivePlaceNodeID() == marked, "the list that was made last"
    interim = InterimPoints(scene, lambda points: None)
    interim.show(LandmarkSet((Landmark("A", (1.0, 2.0, 3.0)),)))
    assert interim.node.GetDisplayNode() is not None
    assert selection.GetActivePlaceNodeID() == marked
    interim.clear()
    output = place().node
    assert output.GetDisplayNode() is not None
    assert selection.GetActivePlaceNodeID() == marked


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


def test_a_closed_logic_no_longer_observes_the_scene(scene, client, place_request, listen):
    logic = DeepFeatureLandmarksLogic(scene, client)
    heard = listen(logic)
    logic.place(place_request)
    logic.close()
    scene.Clear(False)
    assert client.cancelled == 1 and not heard.errors


def test_an_output_used_as_template_passes_on_only_what_people_wrote(place, logic, client, place_request, add_volume):
    node = place().node
    logic.place(PlaceRequest(place_request.targetVolume, node, add_volume("third")))
    assert client.requests[-1][2][0].description == "by an expert"
