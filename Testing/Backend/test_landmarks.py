"""Landmark files of every kind keep names, places, statuses, words and scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.landmark_checks import check_inside, check_unique_names
from deepfeatures.data.landmark_scores import BY_NAME
from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.missing_reason import DOUBTFUL, OUTSIDE, REASONS, UNLIKE, missing_text
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.score_description import describe, with_description

SUFFIXES = [".mrk.json", ".fcsv", ".csv"]
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
SCORES = st.none() | st.floats(0, 1e6)


def same_score(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else np.isclose(one, other, rtol=1e-5, atol=1e-300)


@st.composite
def landmarks(draw) -> Landmark:
    status = draw(st.sampled_from(["defined", "defined", "undefined", "missing"]))
    coordinate = st.floats(-1e4, 1e4)
    return Landmark(
        name=draw(WORDS.filter(str.strip)),
        position=draw(st.tuples(coordinate, coordinate, coordinate)) if status == "defined" else None,
        status=status,
        description=draw(
            WORDS
            | st.sampled_from(
                [
                    "distance 3",
                    "not found: too doubtful",
                    "a | feature distance 3",
                    "a | distance 3",
                    "a |",
                    "a | |",
                    "|",
                    " | ",
                ]
            )
        ),
        feature_distance=draw(SCORES),
        expected_error_mm=draw(SCORES),
        probability_within_3mm=draw(st.none() | st.floats(0, 1)),
        inverse_consistency_error_mm=draw(SCORES),
        locked=draw(st.booleans()),
        reason=draw(st.sampled_from(["", *REASONS])) if status == "missing" else "",
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(points=st.lists(landmarks(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back(tmp_path_factory, suffix, points):
    path = tmp_path_factory.mktemp("landmarks") / f"points{suffix}"
    write_landmarks(LandmarkSet(tuple(points), "points"), path)
    read = read_landmarks(path)
    assert read.name == "points"
    assert len(read) == len(points)
    for before, after in zip(points, read, strict=True):
        for score in BY_NAME:
            assert same_score(getattr(before, score), getattr(after, score))
            before, after = replace(before, **{score: None}), replace(after, **{score: None})
        assert before == after


@given(landmarks())
def test_scores_in_words_are_read_back_even_from_words_that_look_like_scores(landmark):
    read = with_description(Landmark(landmark.name, None, landmark.status), describe(landmark))
    assert (read.description, read.reason) == (landmark.description, landmark.reason)
    for score in BY_NAME:
        assert same_score(getattr(read, score), getattr(landmark, score))


def test_scores_read_well():
    scores = {"feature_distance": 12.3, "expected_error_mm": 1.2, "probability_within_3mm": 0.93}
    landmark = Landmark("AC", (0, 0, 0), description="checked", **scores)
    assert describe(landmark) == "checked | feature distance 12.3; expected error 1.2 mm; within 3 mm 93 %"
    alone = Landmark("AC", (0, 0, 0), inverse_consistency_error_mm=0.4)
    assert describe(alone) == "inverse-consistency error 0.4 mm"
    assert describe(Landmark("AC", None, "missing", "by A.", reason=OUTSIDE)) == "by A. | not found: outside the target"


def test_a_point_that_a_person_then_placed_has_no_reason_to_be_missing():
    placed = with_description(Landmark("AC", (0, 0, 0)), "by A. | not found: outside the target")
    assert placed == Landmark("AC", (0, 0, 0), description="by A.")


def test_a_table_gives_no_reason_to_a_point_that_has_been_placed_since(tmp_path):
    rows = ["name,x,y,z,status,reason", f"AC,1,2,3,defined,{OUTSIDE}", f"PC,,,,missing,{OUTSIDE}", "V4,,,,missing,lost"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert [landmark.reason for landmark in read_landmarks(tmp_path / "a.csv")] == ["", OUTSIDE, ""]


def test_missing_landmarks_are_told_by_reason():
    def of(*reasons):
        return [
            Landmark(f"P{n}", None, "missing", reason=reason) if reason is not None else Landmark(f"P{n}", (0, 0, 0))
            for n, reason in enumerate(reasons)
        ]

    assert missing_text(of(None, None)) == ""
    assert missing_text(of(None, OUTSIDE, DOUBTFUL, OUTSIDE)) == f"P1, P3 ({OUTSIDE}), P2 ({DOUBTFUL})"
    assert missing_text(of(OUTSIDE, OUTSIDE, OUTSIDE, OUTSIDE, None), shown=3) == f"P0, P1, P2 … ({OUTSIDE})"
    assert missing_text(of(UNLIKE, UNLIKE)) == f"all 2 ({UNLIKE}); check that both volumes show the same anatomy"
    assert missing_text(of("", None)) == "P0"


def markup(points: list[dict], **fields) -> str:
    return json.dumps({"@schema": "x", "markups": [{"type": "Fiducial", "controlPoints": points, **fields}]})


@pytest.mark.parametrize(
    ("fields", "lps"),
    [
        ({}, (1, 2, 3)),
        ({"coordinateSystem": "LPS"}, (1, 2, 3)),
        ({"coordinateSystem": "RAS"}, (-1, -2, 3)),
        ({"coordinateSystem": "1"}, (1, 2, 3)),
        ({"coordinateSystem": "0"}, (-1, -2, 3)),
        ({"coordinateSystem": 0}, (-1, -2, 3)),
        ({"coordinateSystem": "RAS", "coordinateUnits": ["mm", "UCUM", "millimeter"]}, (-1, -2, 3)),
        ({"type": "Curve"}, (1, 2, 3)),
        ({"type": "ROI"}, (1, 2, 3)),
    ],
)
def test_json_coordinates_become_lps(tmp_path, fields, lps):
    (tmp_path / "a.mrk.json").write_text(markup([{"label": "A", "position": [1, 2, 3]}], **fields))
    assert read_landmarks(tmp_path / "a.mrk.json")[0].position == lps


def test_json_statuses_and_locks_are_kept_and_stale_places_are_not(tmp_path):
    points = [
        {"label": status, "position": [1, 2, 3], "positionStatus": status, "locked": True, "description": "seen"}
        for status in STATUSES
    ]
    points += [{"label": "none", "position": "", "positionStatus": "missing"}, {"id": "7", "position": [1, 2, 3]}]
    (tmp_path / "a.mrk.json").write_text(markup(points))
    read = read_landmarks(tmp_path / "a.mrk.json")
    assert [landmark.status for landmark in read] == [*STATUSES, "missing", "defined"]
    assert [landmark.position for landmark in read] == [None, (1, 2, 3), (1, 2, 3), None, None, (1, 2, 3)]
    assert [landmark.name for landmark in read] == [*STATUSES, "none", "7"]
    assert all(landmark.locked and landmark.description == "seen" for landmark in read.landmarks[:4])
    assert np.isnan(read.positions).all(axis=1).tolist() == [True, True, False, True, True, False]
    assert read.missing == ("undefined", "preview", "missing", "none")


def test_control_points_of_all_markups_in_a_file_are_read(tmp_path):
    content = {
        "markups": [
            {"type": "Line", "name": "axis", "controlPoints": [{"label": "A", "position": [1, 2, 3]}]},
            {"type": "Plane", "coordinateSystem": "RAS", "controlPoints": [{"label": "B", "position": [1, 2, 3]}]},
        ]
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = read_landmarks(tmp_path / "a.json")
    assert [(landmark.name, landmark.position) for landmark in read] == [("A", (1, 2, 3)), ("B", (-1, -2, 3))]
    assert read.name == "axis"


def test_half_a_character_in_json_is_read_as_a_question_mark(tmp_path):
    path = tmp_path / "cut.mrk.json"
    points = r'[{"label": "\ud83e\udde0 \ud83e", "description": "\udde0", "position": [1, 2, 3]}]'
    path.write_text(rf'{{"markups": [{{"name": "\ud83e", "controlPoints": {points}}}]}}')
    read = read_landmarks(path)
    assert (read.name, read[0].name, read[0].description) == ("?", "🧠 ?", "?")
    write_landmarks(read, path)


def test_null_in_json_is_no_text(tmp_path):
    points = [{"id": "7", "label": None, "description": None, "position": [1, 2, 3]}]
    content = {"markups": [{"name": None, "controlPoints": points}, {"type": "ROI", "name": None}]}
    (tmp_path / "a.mrk.json").write_text(json.dumps(content))
    read = read_landmarks(tmp_path / "a.mrk.json")
    assert (read.name, read.landmarks) == ("a", (Landmark("7", (1, 2, 3)),))
    assert "None" not in read.notes[0].text


def test_json_position_of_a_missing_landmark_is_an_empty_text(tmp_path):
    write_landmarks(LandmarkSet((Landmark("A", (1, 2, 3), "missing"),)), tmp_path / "a.mrk.json")
    (point,) = json.loads((tmp_path / "a.mrk.json").read_text())["markups"][0]["controlPoints"]
    assert (point["position"], point["positionStatus"]) == ("", "missing")


@pytest.mark.parametrize(
    ("flag", "lps"),
    [
        ("# CoordinateSystem = LPS\n", (1, 2, 3)),
        ("# CoordinateSystem = RAS\n", (-1, -2, 3)),
        ("# CoordinateSystem = 1\n", (1, 2, 3)),
        ("# CoordinateSystem = 0\n", (-1, -2, 3)),
        ("", (1, 2, 3)),
    ],
)
def test_fcsv_coordinates_become_lps(tmp_path, flag, lps):
    (tmp_path / "a.fcsv").write_text(
        f"# Markups fiducial file version = 4.11\n{flag}"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        '1,1,2,3,0,0,0,1,1,1,1,"A, ""b""",seen,\n'
        "\n2,1,2,3,0,0,0,1,1,1,0,,,,3,0\n"
    )
    first, second = read_landmarks(tmp_path / "a.fcsv")
    assert len(read_landmarks(tmp_path / "a.fcsv").notes) == (not flag)
    assert first == Landmark('A, "b"', lps, description="seen", locked=True)
    assert second == Landmark("2", None, "missing")


def test_fcsv_fields_follow_the_columns_line(tmp_path):
    (tmp_path / "a.fcsv").write_text("# columns = label,x,y,z,sel,vis\nAC,1,2,3,1,1\n")
    assert read_landmarks(tmp_path / "a.fcsv")[0] == Landmark("AC", (-1, -2, 3))
    (tmp_path / "b.fcsv").write_text("AC,1,2,3,1,1\n")
    assert read_landmarks(tmp_path / "b.fcsv")[0] == Landmark("AC", (-1, -2, 3))


@pytest.mark.parametrize(
    ("text", "lps"),
    [
        ("name,x,y,z\nA,1,2,3\n", (1, 2, 3)),
        ("\ufeffname,x,y,z\r\nA,1,2,3\r\n", (1, 2, 3)),
        ("# coordinate_system = RAS\nname,x,y,z\nA,1,2,3\n", (-1, -2, 3)),
        ("# Coordinate system: LPS mm\nname,x,y,z\nA,1,2,3\n", (1, 2, 3)),
        ("name,x,y,z,coordinate_system\nA,1,2,3,RAS\n", (-1, -2, 3)),
        ("label,l,p,s,defined,selected,visible,locked,description\nA,1,2,3,1,1,1,0,\n", (1, 2, 3)),
        ("label,r,a,s,defined,selected,visible,locked,description\nA,1,2,3,1,1,1,0,\n", (-1, -2, 3)),
        ("Z,Y,X,Name\n3,2,1,A\n", (1, 2, 3)),
    ],
)
def test_csv_coordinates_become_lps(tmp_path, text, lps):
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read_landmarks(tmp_path / "a.csv").landmarks == (Landmark("A", lps),)


def test_names_may_repeat_and_are_told(tmp_path):
    points = LandmarkSet(tuple(Landmark(name, (1, 2, 3)) for name in ("F", "F", "G")))
    write_landmarks(points, tmp_path / "a.mrk.json")
    assert read_landmarks(tmp_path / "a.mrk.json").duplicate_names == ("F",)


@pytest.mark.parametrize(
    ("path", "stem"), [("a/b.c.mrk.json", "b.c"), ("b.fcsv", "b"), ("b.CSV", "b"), ("b.json", "b"), ("b", "b")]
)
def test_landmark_stem(path, stem):
    assert landmark_stem(path) == stem


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.mrk.json", "hello", "not JSON"),
        ("a.mrk.json", "", "not JSON"),
        ("a.mrk.json", "[" * 100_000, "not JSON"),
        ("a.mrk.json", "[]", "no markups"),
        ("a.mrk.json", '{"markups": 3}', "no markups"),
        ("a.mrk.json", '{"markups": [3]}', "no markups"),
        ("a.mrk.json", '{"markups": []}', "no landmarks"),
        ("a.mrk.json", markup([]), "no landmarks"),
        ("a.mrk.json", '{"markups": [{"controlPoints": 3}]}', "without a list"),
        ("a.mrk.json", markup([{"label": "A"}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": ""}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": 3}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2]}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, 3, 4]}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, "three"]}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, None]}]), "no three numbers"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, float("nan")]}]), "not finite"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, 10**400]}]), "no three numbers"),
        ("a.mrk.json", '{"markups": [' + "9" * 6000 + "]}", "not JSON"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, 3], "positionStatus": "lost"}]), "unknown position"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, 3]}], coordinateSystem="IJK"), "LPS or RAS"),
        ("a.mrk.json", markup([{"label": "A", "position": [1, 2, 3]}], coordinateUnits="um"), "convert"),
        ("a.fcsv", "", "no landmarks"),
        ("a.fcsv", "# CoordinateSystem = 2\nA,1,2,3,1,1\n", "LPS or RAS"),
        ("a.fcsv", "# columns = label,r\nA,1\n", "columns x, y and z"),
        ("a.fcsv", "A" * 200_000 + ",1,2,3,1,1\n", "damaged"),
        ("a.fcsv", "A,1,2\n", "no three numbers"),
        ("a.fcsv", "A,1,2,inf,1,1\n", "not finite"),
        ("a.csv", "", "no header"),
        ("a.csv", "1,2,3\n", "no header"),
        ("a.csv", "name;x;y;z\nA;1;2;3\n", "no header"),
        ("a.csv", "name,x,y,z\n", "no landmarks"),
        ("a.csv", "name,x,y,z\nA,1,2\n", "3 fields in row 1"),
        ("a.csv", "name,x,y,z\nA,1,2,\n", "no three numbers"),
        ("a.csv", "name,x,y,z,coordinate_system\nA,1,2,3,voxels\n", "LPS or RAS"),
        ("a.csv", "name,x,y,z,status\nA,1,2,3,lost\n", "unknown status"),
        ("a.csv", "name,x,y,z,distance\nA,1,2,3,far\n", "score"),
        ("a.csv", 'name,x,y,z\n"A,1,2,3\n', "comma separated"),
        ("a.txt", "A 1 2 3\n", r"\.mrk\.json, \.fcsv or \.csv"),
        ("a.mrk.json", b"\xff\xfe\x00", "not text in UTF-8"),
        ("a.csv", "name,x,y,z\nä,1,2,3\n".encode("latin-1"), "save it again, as a spreadsheet as CSV UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence_that_names_it(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words) as caught:
        read_landmarks(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_or_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_landmarks(tmp_path / "a.mrk.json")
    with pytest.raises(InputError, match="not a readable text"):
        read_landmarks(tmp_path)


def test_half_a_character_in_a_name_is_written_and_read_back_as_a_question_mark(tmp_path):
    path = tmp_path / "a.mrk.json"
    points = LandmarkSet((Landmark("\ud800A", (1.0, 2.0, 3.0)),))
    write_landmarks(points, path)
    assert read_landmarks(path)[0] == replace(points[0], name="?A")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.mrk.json"
    write_landmarks(LandmarkSet((Landmark("A", (1, 2, 3)),)), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_landmarks(LandmarkSet((Landmark("A", (float("nan"), 2, 3)),)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.data
def test_the_experts_points_are_read(data):
    afids = read_landmarks(data / "mni152" / "MNI152_afids.fcsv")
    assert len(afids) == 32
    np.testing.assert_allclose(afids[0].position, (-0.402, -2.5665, -5.31275))
    assert (afids[0].name, afids[0].description) == ("1", "AC")
    brain = read_landmarks(data / "brain" / "1000.mrk.json")
    assert len(brain) == 39
    assert brain[0] == Landmark("R hippocampus centre", (55.7506, 181.4217, -192.7588), locked=True)


def test_landmarks_of_the_same_name_are_named_once():
    two = LandmarkSet(tuple(Landmark(name, (0.0, 0.0, 0.0)) for name in ("AC", "PC", "AC", "AC")))
    with pytest.raises(InputError, match=r"^brain names several landmarks AC; rename them$"):
        check_unique_names(two, "brain")
    check_unique_names(LandmarkSet(two.landmarks[:2]), "brain")


def test_landmarks_outside_the_template_are_named_and_those_without_a_position_are_not():
    template = Volume(torch.zeros(4, 4, 4))
    points = [Landmark(f"P{n}", (10.0, 0.0, 0.0)) for n in range(7)]
    inside, nowhere = Landmark("in", (3.0, 3.0, 3.0)), Landmark("gone", None, "missing")
    check_inside(LandmarkSet((inside, nowhere)), template, "a.csv", "t.nii.gz")
    with pytest.raises(InputError, match=r"^P0, P1, P2, P3, P4 and 2 more of a\.csv lie outside the volume t\.nii\.gz"):
        check_inside(LandmarkSet((inside, nowhere, *points)), template, "a.csv", "t.nii.gz")
