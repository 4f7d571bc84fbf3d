"""One table names the scores in files, reports and tables; names of version 0.1 still work."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from deepfeatures.data.landmark_scores import BY_NAME, FORMER_NAMES, REVIEWED, SCORES, Scores, with_former_keys
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.score_description import describe, with_description

KNOWN = {
    "feature_distance": 12.3,
    "expected_error_mm": 1.25,
    "probability_within_3mm": 0.93,
    "inverse_consistency_error_mm": 0.4,
}


def test_the_table_has_every_score_of_a_landmark():
    assert list(BY_NAME) == [one.name for one in fields(Scores)] == list(KNOWN)
    assert [score.label for score in SCORES] == [
        "Feature distance",
        "Expected error",
        "Within 3 mm",
        "Inverse-consistency error",
    ]
    assert all(score.tooltip for score in SCORES)
    assert "feature_distance" not in {score.name for score in REVIEWED}  # no number that people can weigh


def test_scores_are_shown_as_the_table_says():
    chance, error = BY_NAME["probability_within_3mm"], BY_NAME["expected_error_mm"]
    assert (chance.text(0.934), error.text(1.26), error.text(None)) == ("93%", "1.3", "–")
    assert (chance.heading, error.heading) == ("Within 3 mm", "Expected error (mm)")
    assert chance.sentence(0.934) == "Within 3 mm: 93%."
    assert error.sentence(1.26) == "Expected error: 1.3 mm."


def test_the_known_scores_of_a_landmark():
    assert Landmark("AC", (0, 0, 0)).scores == {}
    assert Landmark("AC", (0, 0, 0), **KNOWN).scores == KNOWN
    assert Landmark("AC", (0, 0, 0), expected_error_mm=0.0).scores == {"expected_error_mm": 0.0}


def test_table_and_description_have_every_score(tmp_path):
    landmark = Landmark("AC", (1.0, 2.0, 3.0), **KNOWN)
    write_landmarks(LandmarkSet((landmark,)), tmp_path / "a.csv")
    head, row = (line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines())
    assert {name: float(value) for name, value in zip(head, row, strict=True) if name in BY_NAME} == KNOWN
    assert describe(landmark) == (
        "feature distance 12.3; expected error 1.25 mm; within 3 mm 93 %; inverse-consistency error 0.4 mm"
    )


def test_files_of_version_0_1_are_read(tmp_path):
    rows = ["name,x,y,z,distance,expected_error_mm,within_3mm,round_trip_mm", "AC,1,2,3,12.3,1.25,0.93,0.4"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert read_landmarks(tmp_path / "a.csv")[0].scores == KNOWN
    text = "checked | distance 12.3; expected error 1.25 mm; within 3 mm 93 %; round trip 0.4 mm"
    read = with_description(Landmark("AC", (1.0, 2.0, 3.0)), text)
    assert (read.description, read.scores) == ("checked", KNOWN)


@pytest.mark.parametrize(("old", "new"), FORMER_NAMES.items())
def test_former_names_of_a_score_warn_and_work(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old}.* is now {new}"):
        landmark = Landmark("AC", (0, 0, 0), **{old: 0.5})
    assert landmark.scores == {new: 0.5}
    with pytest.warns(DeprecationWarning, match=f"Landmark.{old} is now {new}") as caught:
        assert getattr(landmark, old) == 0.5
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=new):
        assert replace(landmark, **{old: 0.25}).scores == {new: 0.25}


@pytest.mark.filterwarnings("error")
def test_today_s_names_do_not_warn():
    landmark = Landmark("AC", (0.0, 0.0, 0.0), "defined", "checked", **KNOWN)
    assert copy.deepcopy(landmark) == replace(landmark) == landmark
    assert repr(landmark).count("expected_error") == 1


def test_reports_keep_the_keys_of_version_0_1():
    report = with_former_keys({"feature_distance": 2.0, "inverse_consistency_error_mm": 0.5})
    assert report == {
        "feature_distance": 2.0,
        "inverse_consistency_error_mm": 0.5,
        "distance": 2.0,
        "round_trip": 0.5,
    }


def test_the_table_needs_no_torch():
    code = "import sys, deepfeatures.data.landmark_scores; assert not {'torch', 'SimpleITK'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
