"""What is ambiguous is told in files, reports and on standard error, and travels from the worker to its client."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfeatures.data.ambiguity import ambiguity_text
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.score_description import describe, with_description
from deepfeatures.matching.multi_template import consensus
from deepfeatures.matching.result import Alternative
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import landmarks_to_json, volume_to_json, voxel_file
from deepfeatures.service.server import Worker, handle

SURE = Landmark("sacrum", (1.0, 2.0, 3.0), description="expert", radius_50_mm=1.0, radius_90_mm=2.5)
DOUBTED = replace(SURE, name="L4", radius_50_mm=4.0, radius_90_mm=33.0, ambiguous=True)
SAID = "ambiguous: another place looks as much alike"


@pytest.mark.parametrize("suffix", [".csv", ".mrk.json", ".fcsv"])
def test_ambiguity_and_radii_are_written_and_read_back(tmp_path, suffix):
    write_landmarks(LandmarkSet((SURE, DOUBTED)), tmp_path / f"a{suffix}")
    first, second = read_landmarks(tmp_path / f"a{suffix}")
    assert (first.ambiguous, second.ambiguous) == (False, True)
    assert (first.radius_90_mm, second.radius_50_mm, second.radius_90_mm) == (2.5, 4.0, 33.0)
    assert second.description == "expert"


def test_the_description_says_in_words_that_a_point_is_ambiguous():
    assert describe(replace(DOUBTED, note="scan7: flat")).endswith(f"90% radius 33 mm; {SAID}; note: scan7: flat")
    assert SAID not in describe(SURE)
    for own in ("expert", "", SAID, f"as I said | {SAID}"):  # a person may write the same words
        for ambiguous in (True, False):
            landmark = replace(DOUBTED, description=own, ambiguous=ambiguous)
            bare = Landmark(landmark.name, landmark.position)
            assert with_description(bare, describe(landmark)) == landmark


def test_the_text_names_the_other_places_or_the_points():
    there = Alternative(LandmarkSet((DOUBTED,)), 0.38, "33 mm towards the head")
    back = Alternative(LandmarkSet((DOUBTED,)), 0.052, "33 mm towards the feet")
    assert ambiguity_text((SURE,)) == ""
    assert ambiguity_text((SURE, DOUBTED)) == "another place looks as much alike as that of L4"
    assert ambiguity_text((DOUBTED,), (there,)) == "all landmarks may lie 33 mm towards the head (chance 38 %)"
    assert ambiguity_text((DOUBTED,), (there, back)).endswith("(chance 38 %) or 33 mm towards the feet (chance 5 %)")
    assert ambiguity_text((replace(DOUBTED, position=None, status="missing"),)) == ""


def test_several_templates_are_ambiguous_where_most_of_them_are():
    def agreed(*proposals: Landmark) -> Landmark:
        return consensus(LandmarkSet((Landmark("L4", (0, 0, 0)),)), [LandmarkSet((one,)) for one in proposals])[0]

    sure = replace(DOUBTED, ambiguous=False, radius_90_mm=3.0)
    assert agreed(DOUBTED, DOUBTED, sure).ambiguous
    assert not agreed(DOUBTED, sure).ambiguous
    assert agreed(DOUBTED, sure, sure).radius_90_mm == 3.0
    assert agreed(DOUBTED, sure, sure).radius_50_mm == 4.0


@pytest.fixture
def ambiguous_matcher(fake_matcher, monkeypatch):
    """The fake matcher, whose results may also lie 33 mm towards the head."""
    match = fake_matcher.match

    def doubted(*arguments, interim=None, **named):
        result = match(*arguments, **named)
        shown = tuple(replace(one, ambiguous=one.is_defined) for one in result.landmarks)
        moved = [
            replace(one, position=tuple(np.add(one.position, (0, 0, 33)))) if one.is_defined else one for one in shown
        ]
        other = Alternative(replace(result.landmarks, landmarks=tuple(moved)), 0.38, "33 mm towards the head")
        return replace(result, landmarks=replace(result.landmarks, landmarks=shown), alternatives=(other,))

    monkeypatch.setattr(fake_matcher, "match", doubted)
    return fake_matcher


def test_place_tells_what_is_ambiguous_and_how(place, ambiguous_matcher, capfd):
    assert place("a.nii.gz", "--report", "run.json") == 0
    said = capfd.readouterr()
    assert said.out.strip().endswith("a.mrk.json: 2 of 2 landmarks, 2 ambiguous")
    assert "note: ambiguous in a.nii.gz: all landmarks may lie 33 mm towards the head (chance 38 %)" in said.err
    (target,) = json.loads(Path("run.json").read_text(encoding="utf-8"))["targets"]
    assert target["ambiguous"] == ["AC", "PC"]
    (other,) = target["report"]["alternatives"]
    shown = read_landmarks("out/a.mrk.json")
    assert shown[0].ambiguous
    assert (other["text"], other["probability"]) == ("33 mm towards the head", 0.38)
    assert other["landmarks"][0]["position"][2] == pytest.approx(shown[0].position[2] + 33)


def test_the_worker_hands_the_alternatives_to_its_client(tmp_path, scan, ambiguous_matcher, monkeypatch):
    monkeypatch.setattr(Worker, "_matcher", lambda self, message: ambiguous_matcher())
    key = volume_to_json(scan)
    np.save(voxel_file(key["key"], tmp_path), scan.voxels.numpy())
    middle = LandmarkSet((Landmark("L4", tuple(scan.centre), description="expert"),))
    message = {"id": 1, "type": "match", "settings": {}, "template": key, "target": key}
    sent: list[dict] = []
    handle(Worker(tmp_path), {**message, "landmarks": landmarks_to_json(middle)}, sent.append)
    client = WorkerClient()
    event = client._event(json.loads(json.dumps(sent[-1])))
    client.close()
    assert event.kind == "result", event.text
    (other,) = event.content["alternatives"]
    found = event.content["landmarks"][0]
    assert (other.probability, other.text) == (0.38, "33 mm towards the head")
    assert found.ambiguous and other.landmarks[0].ambiguous
    assert other.landmarks[0].position[2] == pytest.approx(found.position[2] + 33)
    assert other.landmarks[0].description == "expert"
