"""What the worker is taught: files of landmark protocols, read, extended and shortened by its process alone."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching.learning.protocol import Definition
from deepfeatures.matching.learning.protocol_file import read_protocol, write_protocol
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.phantom import make_pair

PATIENCE_S = 240
VOXELS = 48  # of a head from front to back
SETTINGS = MatchSettings(device="cpu")
PICTURE = b"\x89PNG\r\n\x1a\n of an eye"


@pytest.fixture(scope="module")
def heads():
    """Template, its landmarks, and three other heads with theirs."""
    template, landmarks, *_ = make_pair(VOXELS)
    others = (make_pair(VOXELS, seed)[2:] for seed in (1, 2, 3))
    people = [(replace(scan, name=f"head {number}"), points) for number, (scan, points) in enumerate(others)]
    return template, landmarks, people


@pytest.fixture
def ask(client, heads, tmp_path):
    """A function that teaches the file a head, and returns the event."""
    template, landmarks, people = heads

    def learn(
        number, *, name=None, corrected=(), points=None, template=template, landmarks=landmarks, settings=SETTINGS
    ):
        scan, truth = people[number]
        request = client.learn(
            tmp_path / "heads.dflp",
            template,
            landmarks,
            scan,
            truth if points is None else points,
            settings,
            name=name or scan.name,
            corrected=corrected,
        )
        return client.wait(request, PATIENCE_S)

    return learn


def names(points):
    return [point.name for point in points]


def taught(event):
    assert event.kind == "result", event.text
    return {scan["name"]: (scan["accepted"], scan["corrected"]) for scan in event.content["summary"]["scans"]}


def test_a_file_is_made_by_the_first_scan_and_extended_by_the_next(ask, client, heads, tmp_path):
    landmarks = heads[1]
    first, second = names(landmarks)[:2]
    assert taught(ask(0, corrected=[first, second])) == {"head 0": (len(landmarks) - 2, 2)}
    event = ask(1)
    assert taught(event) == {"head 0": (len(landmarks) - 2, 2), "head 1": (len(landmarks), 0)}
    assert event.content["summary"]["taught_by"] == 2
    assert event.content["key"] == event.content["keys"][list(taught(event)).index("head 1")]
    told = client.wait(client.protocol(tmp_path / "heads.dflp"), PATIENCE_S).content
    assert told == {name: value for name, value in event.content.items() if name != "key"}


def test_a_scan_that_is_known_is_taught_anew(ask, heads):
    points = heads[2][0][1]
    assert taught(ask(0)) == {"head 0": (len(points), 0)}
    fewer = LandmarkSet(points.landmarks[:3])
    assert taught(ask(0, points=fewer, corrected=names(points)[:1])) == {"head 0": (2, 1)}


def test_points_in_other_capitals_are_taught_and_corrected_all_the_same(ask, heads):
    points = heads[2][0][1]
    spelled = LandmarkSet(tuple(replace(point, name=point.name.upper()) for point in points))
    assert spelled[0].name != points[0].name
    assert taught(ask(0, points=spelled, corrected=names(spelled)[:2])) == {"head 0": (len(points) - 2, 2)}


def test_a_scan_that_was_forgotten_leaves_nothing(ask, client, tmp_path):
    path = tmp_path / "heads.dflp"
    ask(0)
    before = path.read_bytes()
    for by in ("name", "key"):
        key = ask(1).content["key"]
        known = "head 1" if by == "name" else key
        event = client.wait(client.forget(path, known), PATIENCE_S)
        assert list(taught(event)) == ["head 0"]
        assert path.read_bytes() == before
        refused = client.wait(client.forget(path, known), PATIENCE_S)
        assert refused.cause == "input" and "head 0" in refused.text


def test_what_was_learnt_before_does_not_change_what_a_scan_teaches(ask, tmp_path):
    path = tmp_path / "heads.dflp"

    def tensors():
        scan = next(scan for scan in read_protocol(path).scans if scan.name == "head 0")
        return {name: value for name, value in vars(scan).items() if isinstance(value, torch.Tensor)}

    for number in (0, 1, 2):
        ask(number)
    alone = tensors()
    ask(0, settings=replace(SETTINGS, protocol=str(path)))
    again = tensors()
    assert alone.keys() == again.keys() and len(alone) > 5
    for name, value in alone.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0, equal_nan=True)


def test_two_scans_of_one_name_are_told_apart(ask):
    ask(0, name="T1")
    event = ask(1, name="T1")
    assert event.cause == "input" and "Another scan named T1" in event.text


def test_another_template_is_refused_and_the_file_stays(ask, heads, tmp_path):
    ask(0)
    before = (tmp_path / "heads.dflp").read_bytes()
    scan, points = heads[2][2]
    event = ask(1, template=scan, landmarks=points)
    assert event.cause == "input" and "template" in event.text
    assert (tmp_path / "heads.dflp").read_bytes() == before


def test_template_and_landmarks_come_out_as_they_went_in(ask, client, heads, tmp_path):
    template, landmarks, _ = heads
    ask(0)
    got = client.wait(client.protocol_template(tmp_path / "heads.dflp"), PATIENCE_S).content
    np.testing.assert_allclose(got["volume"].voxels, template.voxels.numpy(), rtol=1e-6)
    for name in ("origin", "spacing", "direction"):
        np.testing.assert_allclose(getattr(got["volume"], name), getattr(template, name), atol=1e-9)
    assert names(got["landmarks"]) == names(landmarks)
    np.testing.assert_allclose(got["landmarks"].positions, landmarks.positions, atol=1e-9)
    scan, points = heads[2][1]
    request = client.learn(
        tmp_path / "heads.dflp", got["volume"], got["landmarks"], scan, points, SETTINGS, name="1", corrected=()
    )
    assert len(taught(client.wait(request, PATIENCE_S))) == 2, "it is the same template"


def test_what_is_no_protocol_is_refused_in_a_sentence(client, tmp_path):
    assert client.wait(client.protocol(tmp_path / "none.dflp"), PATIENCE_S).cause == "input"
    (tmp_path / "notes.dflp").write_text("not a protocol")
    event = client.wait(client.protocol(tmp_path / "notes.dflp"), PATIENCE_S)
    assert event.cause == "input" and "notes.dflp" in event.text


def test_definitions_come_with_their_pictures(ask, client, heads, tmp_path):
    path, name = tmp_path / "heads.dflp", names(heads[1])[0]
    ask(0)
    definition = Definition("The middle of the left lens.", PICTURE, "https://example.org/eye")
    write_protocol(read_protocol(path).with_definitions({name: definition}), path)
    told = client.wait(client.protocol(path), PATIENCE_S).content["definitions"][name]
    assert base64.b64decode(told["picture"]) == PICTURE
    assert (told["text"], told["link"]) == (definition.text, definition.link)


def test_the_next_match_uses_what_was_learnt_since(ask, client, heads, tmp_path):
    """A warm worker does not place by what a file held before."""
    template, landmarks, people = heads
    path = tmp_path / "heads.dflp"
    settings = replace(SETTINGS, protocol=str(path))

    def place():
        event = client.wait(client.match(template, landmarks, people[2][0], settings), PATIENCE_S)
        assert event.kind == "result", event.text
        return event.content["landmarks"].positions, event.content["report"]["protocol"]

    shifted = {}
    for number, (_scan, truth) in enumerate(people):
        moved = tuple(replace(mark, position=tuple(np.add(mark.position, (0.0, 0.0, 6.0)))) for mark in truth)
        assert ask(number, points=LandmarkSet(moved), corrected=names(truth)).kind == "result"
        shifted[number + 1] = place()
    assert [shifted[number][1] for number in (1, 2)] == [None, None]
    assert shifted[3][1]["taught_by"] == 3
    np.testing.assert_allclose(shifted[2][0], shifted[1][0], atol=1e-6, err_msg="fewer than three change nothing")
    assert np.nanmean((shifted[3][0] - shifted[1][0])[:, 2]) > 1.0, "all have taught that the points lie higher"
