"""Learning from reviewed points: what is taught, what is refused, what people read of a protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scene_helpers import index_of

pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import taught_scans
from DeepFeatureLandmarksLib.scene.taught_protocol import LandmarkDefinition, TaughtProtocol, taughtProtocol
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings

FILE = Path("brains.dflp")
PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQSkZJRg=="


def content(*names, errors=(None, None), doubtful=(), key=None, definitions=None):
    """What the worker tells of a file that was taught these scans."""
    before, after = errors
    scans = [{"name": name, "person": name, "corrected": 1, "accepted": 2, "odd": name == "odd"} for name in names]
    landmarks = [
        {"name": name, "taught": len(names), "error_before_mm": before, "error_after_mm": after, "radius_90_mm": None}
        | {"doubtful": name in doubtful}
        for name in ("A", "B", "C")
    ]
    summary = {"taught_by": len(names), "people": len(set(names)), "in_use": len(names) > 2, "scans": scans}
    summary |= {"landmarks": landmarks, "error_before_mm": before, "error_after_mm": after}
    told = {"summary": summary, "keys": [f"key of {name}" for name in names], "definitions": definitions or {}}
    return told if key is None else {**told, "key": key}


@pytest.fixture
def request_of(place_request):
    return lambda node, **others: replace(place_request, output=node, **others)


def test_accepted_and_corrected_points_are_taught_and_no_others(place, logic, client, request_of, heard):
    node = place().node
    logic.accept(node, index_of(node, "B"))
    node.SetNthControlPointPositionWorld(index_of(node, "C"), 3.0, 3.0, 1.0)
    logic.learn(request_of(node), FILE)
    kind, path, template, landmarks, scan, points, settings, named = client.requests[-1]
    assert (kind, path, template.name, scan.name, settings) == ("learn", FILE, "template", "scan", MatchSettings())
    assert named == {"name": "scan", "corrected": ("C",)}
    assert [landmark.name for landmark in landmarks] == ["A", "B", "C"]
    assert [point.name for point in points] == ["B", "C"]
    np.testing.assert_allclose(points.positions, [(-3, -5, 4), (-3, -3, 1)], atol=1e-9)  # LPS
    assert not any(point.scores or point.description for point in points), "only where they lie"
    client.send("result", content=content("scan", key="key of scan"))
    logic.poll()
    assert heard.runs[-1].summary == "Learnt from this scan: 1 accepted, 1 corrected."


def test_nothing_is_taught_unasked(place, logic, client):
    node = place().node
    logic.accept(node, index_of(node, "A"))
    place(node)
    logic.poll()
    assert {kind for kind, *_ in client.requests} == {"match"}


@pytest.fixture
def reason(logic, request_of):
    """A function that tells why nothing can be learnt from a node, empty where something can."""

    def ask(node, **others):
        return logic.learnMessage(request_of(node, **others), logic.reviewRows(node) if node is not None else [])

    return ask


def test_the_reason_is_told_where_nothing_can_be_learnt(place, logic, add_points, add_volume, request_of, reason):
    assert reason(None) == taught_scans.NOTHING_PLACED
    node = place().node
    assert reason(node) == taught_scans.NOTHING_REVIEWED
    logic.reject(node, index_of(node, "B"))
    assert reason(node) == taught_scans.NOTHING_REVIEWED
    logic.accept(node, index_of(node, "A"))
    assert reason(node) == ""
    greedy = MatchSettings(search="dense")
    assert reason(node, settings=greedy) == taught_scans.ONLY_GUIDED
    others = add_points("others", A=(1.0, 2.0, 3.0))
    assert reason(node, templateLandmarks=others) == "brain in scan was placed from brain; choose that first."
    another = add_volume("another")
    assert reason(node, templateVolume=another) == "brain in scan was placed from template; choose that first."
    with pytest.raises(InputError, match="choose that first"):
        logic.learn(request_of(node, templateVolume=another), FILE)
    with pytest.raises(InputError, match="Place landmarks first"):
        logic.learn(request_of(None), FILE)


def test_a_scan_that_is_rightly_without_a_point_teaches_nothing_of_it(place, logic, client, reason):
    client.lost = {"B"}
    node = place().node
    logic.accept(node, index_of(node, "B"))
    assert reason(node) == taught_scans.NOTHING_REVIEWED


def test_points_that_a_person_has_made_are_taught_as_corrected(add_points, reason, logic):
    node = add_points("by hand", A=(1.0, 2.0, 3.0))
    assert reason(node) == ""
    assert taught_scans.lessonOf(node, logic.reviewRows(node)).corrected == ("A",)


def test_a_taught_scan_is_known_again_and_forgotten(
    place, logic, client, request_of, heard, new_scene, tmp_path, save_and_load
):
    node = place().node
    logic.accept(node, index_of(node, "A"))
    assert taught_scans.taughtKey(node) is None
    logic.learn(request_of(node), FILE)
    client.send("result", content=content("other", "scan", key="key of scan"))
    logic.poll()
    protocol = heard.runs[-1].protocol
    assert protocol.hasScan(taught_scans.taughtKey(node))
    loaded = save_and_load(node.GetScene(), new_scene, tmp_path).GetFirstNodeByName(node.GetName())
    assert protocol.hasScan(taught_scans.taughtKey(loaded))
    logic.forget(FILE, taught_scans.taughtKey(loaded))
    assert client.requests[-1] == ("forget", FILE, "key of scan")
    client.send("result", content=content("other"))
    logic.poll()
    protocol = heard.runs[-1].protocol
    assert not protocol.hasScan(taught_scans.taughtKey(node))
    assert protocol.taughtText == "Taught by 1 scan."


def test_a_scan_that_cannot_be_learnt_is_told_in_a_sentence(place, logic, client, request_of, heard):
    node = place().node
    logic.accept(node, index_of(node, "A"))
    logic.learn(request_of(node), FILE)
    client.send("error", text="The scan does not show the anatomy.", cause="input")
    logic.poll()
    assert heard.errors == ["The scan does not show the anatomy."]
    assert taught_scans.taughtKey(node) is None and not logic.isBusy


def test_a_file_may_be_read_while_landmarks_are_placed(logic, client, place_request, heard):
    logic.place(place_request)
    logic.readProtocol(FILE)
    client.send("result", content=content("x", "y"))
    logic.poll()
    assert logic.isBusy
    assert (heard.runs[-1].kind, heard.runs[-1].protocol.path) == ("protocol", FILE)
    logic.readProtocol(FILE)
    client.send("error", text="brains.dflp is no protocol.", cause="input")
    logic.poll()
    assert logic.isBusy and not heard.errors
    assert heard.runs[-1].protocol.taughtText == "brains.dflp is no protocol."
    logic.readProtocol(FILE)
    asked = len(client.requests)
    client.cancel()
    logic.poll()
    assert client.requests[asked:] == [("protocol", FILE)], "asked for again"


def test_people_read_by_how_many_scans_it_was_taught_and_what_that_brought():
    taught = taughtProtocol(FILE, content(*"abcdefg", errors=(1.964, 1.5), doubtful="AC"))
    assert taught.taughtText == "Taught by 7 scans."
    assert taught.errorText == "Mean error 1.96 → 1.50 mm, measured by leaving one person out."
    assert taught.doubtText == "Still doubtful: A, C."
    assert taught.landmarkLines[0] == "A: taught by 7 scans, 1.96 → 1.50 mm"
    assert taught.scanLines[0] == "a: 2 accepted, 1 corrected"
    few = taughtProtocol(FILE, content("a", "a"))
    assert few.taughtText == "Taught by 2 scans of 1 person."
    assert few.errorText == "Nothing changes yet: from 3 people on, it changes where points are placed."
    three = taughtProtocol(FILE, content(*"abc", errors=(None, None)))  # two are left where one is left out
    assert three.errorText.startswith("It changes where points are placed. With one person more")
    assert few.doubtText == ""
    assert taughtProtocol(FILE, content()).taughtText == "Taught by no scan yet."
    odd = taughtProtocol(FILE, content("a", "b", "odd"))
    assert odd.doubtText.startswith("Check odd: most points lie elsewhere than those of the other scans.")


def test_a_definition_shows_its_text_picture_and_link():
    known = {"A": {"text": "Front of <the> commissure", "picture": PNG, "link": "https://a.org/?x=1&y=2"}}
    shown = taughtProtocol(FILE, content(definitions=known)).definitions["A"].html
    assert "Front of &lt;the&gt; commissure" in shown
    assert f'src="data:image/png;base64,{PNG}"' in shown
    assert '<a href="https://a.org/?x=1&amp;y=2">' in shown
    assert f"data:image/jpeg;base64,{JPEG}" in LandmarkDefinition(picture=JPEG).html


@pytest.mark.parametrize("link", ["javascript:alert(1)", "file:///etc/passwd", "notes.html"])
def test_a_link_of_somebody_else_leads_to_pages_only(link):
    assert LandmarkDefinition("text", link=link).html == "text"


def test_what_is_no_picture_is_not_shown():
    assert LandmarkDefinition("text", picture='AAAA" onerror="x').html == "text"


def test_an_unreadable_file_has_no_figures():
    broken = TaughtProtocol(FILE, error="It is broken.")
    assert (broken.taughtText, broken.errorText, broken.doubtText) == ("It is broken.", "", "")
    assert (broken.landmarkLines, broken.scanLines, broken.hasScan("key")) == ([], [], False)


def test_a_run_tells_what_it_was_placed_by(place, client):
    assert "taught" not in place().summary
    client.settings["protocol"] = "/studies/brains.dflp"
    client.report = {"protocol": {"file": "/studies/brains.dflp", "sha256": "0", "taught_by": 7}}
    run = place()
    assert run.summary.startswith("3 placed in") and "s as taught by 7 scans" in run.summary
    assert "protocol brains.dflp, deepfeatures" in run.node.GetNthControlPointDescription(0)


def test_other_templates_are_compared_without_what_was_learnt(logic, client, tmp_path):
    logic.checkTemplates(tmp_path, MatchSettings(protocol="/studies/brains.dflp", seed=3))
    assert client.requests[-1][-1] == MatchSettings(seed=3)
