"""Reviewing, reverting and comparing what was placed."""

from __future__ import annotations

import numpy as np
import pytest
from scene_helpers import MISSING, index_of, statuses, world

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import run_history
from DeepFeatureLandmarksLib.scene.review import shownScores
from deepfeatures.errors import InputError


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


def test_of_two_scores_that_say_much_the_same_one_has_a_column(place, logic, client):
    def shown(**scores):
        client.scores = scores
        return [score.name for score in shownScores(logic.reviewRows(place().node))]

    assert shown(feature_distance=0.5, inverse_consistency_error_mm=0.25) == ["inverse_consistency_error_mm"]
    older = {"expected_error_mm": 1.0, "probability_within_3mm": 0.5, "inverse_consistency_error_mm": 0.25}
    assert shown(**older) == list(older)
    today = {"expected_error_mm": 1.0, "probability_within_tolerance": 0.5, "radius_90_mm": 3.0}
    assert shown(**(older | today)) == list(today)


def test_ambiguous_points_come_first_and_then_the_largest_radius(place, logic, client):
    node = place().node
    for name, radius, is_ambiguous in (("A", 2.0, False), ("B", 1.0, True), ("C", 9.0, False)):
        client.scores = {"expected_error_mm": 0.0, "radius_90_mm": radius, "ambiguous": is_ambiguous}
        place(node, name=name)
    rows = logic.reviewRows(node)
    assert [(row.name, row.radius_90_mm) for row in rows] == [("B", 1.0), ("C", 9.0), ("A", 2.0)]
    assert [row.statusText for row in rows] == ["◆ ambiguous", "● to check", "● to check"]
    logic.correct(node, index_of(node, "B"), (2.0, 2.0, 2.0))
    assert "ambiguous" not in node.GetNthControlPointDescription(index_of(node, "B"))
    assert logic.reviewRows(node)[-1].statusText == "✎ corrected"


def test_the_quality_table_compares_by_name(logic, client, place, place_request):
    client.lost = {"C"}
    node = place().node
    table = logic.qualityTable(place_request.templateLandmarks, node)
    assert [table.GetTable().GetValue(row, 0).ToString() for row in range(3)] == ["A", "B", "C"]
    np.testing.assert_allclose([table.GetTable().GetValue(row, 1).ToDouble() for row in range(3)], [1, 1, np.nan])
    assert table.GetDescription() == "2 of 3 found: mean 1.00 mm, median 1.00 mm, largest 1.00 mm."
    assert logic.qualityTable(place_request.templateLandmarks, node) is table
