"""Errors against a person's points, as rows, CSV and HTML."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("pandas", reason="needs the extra quality")

from DeepFeatureLandmarksLib.scene.comparison_report import Report, csvText, htmlText
from DeepFeatureLandmarksLib.scene.point_errors import largestFirst, pointErrors, summary
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError

HUMAN = LandmarkSet((Landmark("AC", (0, 0, 0)), Landmark("PC <2>", (0, 30, 0)), Landmark("eye", (9, 9, 9))))
FOUND = LandmarkSet((Landmark("AC", (0, 3, 4)), Landmark("PC <2>", None, "missing"), Landmark("eye", (9, 9, 10))))
SECOND = LandmarkSet((Landmark("AC", (2, 0, 0)),))
EXPECTED = {"AC": 4.0, "eye": None}


@pytest.fixture
def errors():
    return largestFirst(pointErrors(HUMAN, FOUND, SECOND, expected=EXPECTED))


def test_what_was_not_found_and_the_largest_errors_come_first(errors):
    known = [(error.name, error.error_mm, error.expected_error_mm, error.second_rater_mm) for error in errors]
    assert known == [("PC <2>", None, None, None), ("AC", 5.0, 4.0, 2.0), ("eye", 1.0, None, None)]


def test_the_summary_tells_machine_and_people_apart(errors):
    assert summary(errors) == (
        "2 of 3 found: mean 3.00 mm, median 3.00 mm, largest 5.00 mm; the mean expected error was 4.00 mm."
        " Two people differ by 2.00 mm on average."
    )
    assert summary(pointErrors(HUMAN, LandmarkSet((Landmark("AC", None, "missing"),)))) == "0 of 1 found."


def test_a_spreadsheet_reads_the_csv(errors):
    read = list(csv.DictReader(io.StringIO(csvText(errors))))
    assert read[0] == {"landmark": "PC <2>", "error_mm": "", "expected_error_mm": "", "second_rater_mm": ""}
    assert [float(read[1][name]) for name in ("error_mm", "expected_error_mm", "second_rater_mm")] == [5.0, 4.0, 2.0]


@pytest.fixture
def report(errors):
    row = ReviewRow(1, "PC <2>", "missing", False)
    rows = [row, ReviewRow(0, "AC", "proposed", False, expected_error_mm=4.0, probability_within_3mm=0.25)]
    run = {"number": 1, "time": "2026-01-01", "network": "mind", "layer": "ssc", "search": "guided", "reverted": True}
    return Report("a <b> in c", rows, errors, [{**run, "taken": "", "versions": {"deepfeatures": "0.2"}}])


def test_names_cannot_break_the_page(report):
    page = htmlText(report)
    assert "PC &lt;2&gt;" in page and "<2>" not in page and "a &lt;b&gt; in c" in page
    assert "research only" in page


def test_a_report_has_the_scores_the_errors_and_the_runs(report):
    page = htmlText(report)
    heads = re.findall("<th>(.*?)</th>", page)
    scores = ["Expected error (mm)", "Within 3 mm"]  # all that is known
    assert heads == ["Landmark", "Status", *scores, "Error (mm)", "Second person (mm)", ""]
    cells = re.findall("<td class=n>(.*?)</td>", page.split("<td>AC</td>")[1])
    assert cells == ["4.0", "25%", "5.00", "2.00"]
    assert "width:50%" in page, "5 of 10 mm"
    assert "mind ssc, guided search (reverted); deepfeatures 0.2" in page


def test_a_report_without_a_second_set_shows_the_scores_alone(report):
    page = htmlText(replace(report, errors=()))
    assert "No second set was compared." in page and "Error (mm)" not in page.replace("Expected error (mm)", "")


def test_points_without_a_common_name_are_refused():
    other = LandmarkSet((Landmark("other", (0, 0, 0)),))
    for sets in ((HUMAN, other), (HUMAN, FOUND, other)):
        with pytest.raises(InputError, match="no point of the same name"):
            pointErrors(*sets)


def test_two_points_of_one_name_are_refused():
    with pytest.raises(InputError, match="several landmarks AC"):
        pointErrors(HUMAN, LandmarkSet((*FOUND, Landmark("AC", (1, 1, 1)))))


def test_measuring_loads_no_pytorch():
    code = "import deepfeatures.quality, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr


def test_notes_on_the_volumes_stand_once_in_the_page(report):
    assert "Notes" not in htmlText(report)
    rows = [replace(row, notes=("c: a unit <is> missing",)) for row in report.rows]
    assert htmlText(replace(report, rows=rows)).count("c: a unit &lt;is&gt; missing") == 1
