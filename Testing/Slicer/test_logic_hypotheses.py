"""A result that fits in several places: all points go to another place with one step, and back; a person's stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene_helpers import MISSING, index_of, shifted, statuses, world

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import run_history
from DeepFeatureLandmarksLib.scene.comparison_report import Report, htmlText
from DeepFeatureLandmarksLib.scene.logic import BUSY, DeepFeatureLandmarksLogic
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import AlternativePlacement

UP = "2 mm towards the head"
DOWN = "2 mm towards the feet"
HERE, ABOVE = {"A": (0, 2, 3), "B": (3, 5, 4), "C": (1, 2, 2)}, {"A": (0, 2, 5), "B": (3, 5, 6), "C": (1, 2, 4)}


def moved(z: float, probability: float, text: str):
    def alternative(found):
        points = (
            replace(one, position=(*one.position[:2], one.position[2] + z), radius_90_mm=7.0) if one.is_defined else one
            for one in found
        )
        return AlternativePlacement(replace(found, landmarks=tuple(points)), probability, text)

    return alternative


@pytest.fixture
def repeating(client):
    """The anatomy repeats 2 mm higher."""
    client.alternatives = [moved(2.0, 0.38, UP)]
    client.scores = {"radius_90_mm": 9.0, "ambiguous": True}
    return client


def places(node):
    return {name: tuple(np.round(world(node, name), 6)) for name in "ABC"}


def test_all_points_are_taken_to_the_other_place_and_back(place, logic, repeating):
    node = place().node
    before, described = places(node), node.GetNthControlPointDescription(0)
    assert before == HERE
    assert logic.ambiguity(node).sentences == (
        f"The anatomy repeats: all points may lie {UP}. Chance 62 % as shown, 38 % the other way."
    )
    run = logic.takeHypothesis(node, 1)
    assert places(node) == ABOVE
    assert (run.kind, run.number, run.placed, run.kept) == ("alternative", 2, ("A", "B", "C"), ())
    assert run.summary == "3 moved to the other place."
    assert set(statuses(logic, node).values()) == {"proposed"}
    assert logic.reviewRows(node)[0].radius_90_mm == 7.0
    text = node.GetNthControlPointDescription(0)
    assert f"other place taken by a person ({UP})" in text and text.startswith("by an expert | placed by mind")
    assert logic.ambiguity(node).sentences == (
        f"The other place was taken: {UP}. Chance 38 % as shown, 62 % as placed first."
    )
    assert logic.takeHypothesis(node, 0).placed == ("A", "B", "C")
    assert (places(node), node.GetNthControlPointDescription(0)) == (HERE, described)
    assert [run["taken"] for run in logic.history(node)] == ["", UP, ""]


def test_what_a_person_has_decided_stays_and_is_told(place, logic, repeating):
    node = place().node
    logic.accept(node, index_of(node, "A"))
    node.SetNthControlPointPositionWorld(index_of(node, "B"), 4.0, 4.0, 4.0)
    run = logic.takeHypothesis(node, 1)
    assert places(node) == {"A": HERE["A"], "B": (4, 4, 4), "C": ABOVE["C"]}
    assert (run.placed, run.kept) == (("C",), ("A", "B"))
    assert run.summary == "1 moved to the other place; 2 reviewed by you left unchanged: A, B."
    assert statuses(logic, node) == {"A": "accepted", "B": "corrected", "C": "proposed"}


def test_reverting_undoes_the_other_place_and_then_the_run(place, logic, repeating):
    node = place().node
    logic.takeHypothesis(node, 1)
    assert logic.revertLastRun(node) == ("A", "B", "C")
    assert (places(node), logic.ambiguity(node).shown) == (HERE, 0)
    logic.revertLastRun(node)
    assert logic.ambiguity(node) is None


def test_a_saved_scene_knows_the_other_place(
    place, logic, repeating, scene, new_scene, save_and_load, tmp_path, client
):
    logic.takeHypothesis(place().node, 1)
    loaded = save_and_load(scene, new_scene, tmp_path)
    again, node = DeepFeatureLandmarksLogic(loaded, client), loaded.GetFirstNodeByName("brain in scan")
    assert again.ambiguity(node).shown == 1
    again.takeHypothesis(node, 0)
    np.testing.assert_allclose(world(node, "C"), HERE["C"], atol=1e-3)
    assert again.reviewRows(node)[0].ambiguous
    again.close()


def test_a_target_that_is_moved_or_cropped_takes_the_other_place_along(place, logic, repeating, place_request, scene):
    node, target = place().node, place_request.targetVolume
    target.SetOrigin(5, 0, 0)
    logic.poll()
    kept = slicer.util.arrayFromVolume(target)[1:].copy()
    slicer.util.updateVolumeFromArray(target, kept)
    target.SetOrigin(5, 0, 1)
    logic.poll()
    np.testing.assert_allclose(logic.hypothesisLandmarks(node, 1).positions[0], (-5, -2, 5))
    logic.takeHypothesis(node, 1)
    np.testing.assert_allclose(world(node, "A"), (5, 2, 5))


def test_a_target_under_a_transform_takes_the_other_place_along(place, logic, repeating, place_request, add_transform):
    node = place().node
    place_request.targetVolume.SetAndObserveTransformNodeID(add_transform(shifted(10)).GetID())
    logic.poll()
    logic.takeHypothesis(node, 1)
    np.testing.assert_allclose(world(node, "A"), (10, 2, 5))


def test_several_other_places_are_told_apart(place, logic, client):
    client.alternatives = [moved(2.0, 0.3, UP), moved(-2.0, 0.2, DOWN)]
    node = place().node
    ambiguity = logic.ambiguity(node)
    assert ambiguity.others == (1, 2)
    assert ambiguity.sentences == (
        f"The anatomy repeats: all points may lie {UP} or {DOWN}. Chance 50 % as shown, 30 % {UP}, 20 % {DOWN}."
    )
    logic.takeHypothesis(node, 2)
    assert logic.ambiguity(node).others == (0, 1)
    assert "Chance 20 % as shown, 50 % as placed first, 30 % 2 mm" in logic.ambiguity(node).sentences


def test_points_that_are_missing_there_are_missing_and_rejected_ones_are_proposed_again(place, logic, repeating):
    def without_b(found):
        lost = [replace(one, position=None, status="missing") if one.name == "B" else one for one in found]
        return moved(2.0, 0.38, UP)(replace(found, landmarks=tuple(lost)))

    repeating.alternatives = [without_b]
    node = place().node
    logic.reject(node, index_of(node, "C"))
    run = logic.takeHypothesis(node, 1)
    assert (run.placed, run.missing) == (("A", "C"), ("B",))
    assert node.GetNthControlPointPositionStatus(index_of(node, "B")) == MISSING
    assert statuses(logic, node)["C"] == "proposed"
    logic.takeHypothesis(node, 0)
    assert places(node) == HERE


def test_a_point_placed_again_stays_in_the_place_that_is_shown(place, logic, repeating, client):
    node = place().node
    logic.takeHypothesis(node, 1)
    client.step = (1.0, 0.0, 0.25)
    place(node, name="B")
    np.testing.assert_allclose(world(node, "B"), (3, 5, 6.25))
    assert logic.ambiguity(node).shown == 1
    logic.takeHypothesis(node, 0)
    assert places(node) == HERE
    logic.takeHypothesis(node, 1)
    assert places(node) == {**ABOVE, "B": (3, 5, 6.25)}


def test_a_point_placed_again_without_alternatives_is_where_it_was_found(place, logic, repeating, client):
    node = place().node
    client.alternatives, client.step = [], (0.0, 1.0, 0.0)
    place(node, name="B")
    np.testing.assert_allclose(world(node, "B"), (4, 4, 4))
    assert logic.takeHypothesis(node, 1).placed == ("A", "B", "C")
    assert places(node) == ABOVE


def test_a_new_run_without_another_place_ends_the_ambiguity(place, logic, repeating):
    node = place().node
    repeating.alternatives = []
    place(node)
    assert logic.ambiguity(node) is None


def test_the_report_and_the_table_of_runs_say_that_the_other_place_was_taken(place, logic, repeating):
    node = place().node
    logic.takeHypothesis(node, 1)
    sentences = logic.ambiguity(node).sentences
    page = htmlText(Report("t", logic.reviewRows(node), (), logic.history(node), sentences))
    assert f"<p class=doubt>{sentences}</p>" in page
    assert f"guided search, other place taken by a person: {UP};" in page and "◆ ambiguous" in page
    table = node.GetNodeReference(run_history.TABLE).GetTable()
    taken = table.GetColumnByName("Other place taken")
    assert [taken.GetValue(row) for row in range(6)] == [*[""] * 3, *[UP] * 3]


def test_nothing_is_taken_while_a_run_is_under_way_or_the_target_is_gone(place, logic, repeating, place_request, scene):
    node = place().node
    logic.place(replace(place_request, output=node))
    with pytest.raises(InputError, match=BUSY):
        logic.takeHypothesis(node, 1)
    logic.cancel()
    logic.poll()
    scene.RemoveNode(place_request.targetVolume)
    with pytest.raises(InputError, match="is gone; load it again"):
        logic.takeHypothesis(node, 1)
    assert len(logic.hypothesisLandmarks(node, 1)) == 0
