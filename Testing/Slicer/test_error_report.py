"""Errors against a person's points, as rows, CSV and HTML."""

from __future__ import annotations

import csv
import io

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.error_report import csvText, errorRows, htmlText, inWords
from deepfeatures.errors import InputError
from deepfeatures.landmarks import Landmark, LandmarkSet

HUMAN = LandmarkSet((Landmark("AC", (0, 0, 0)), Landmark("PC <2>", (0, 30, 0)), Landmark("eye", (9, 9, 9))))
FOUND = LandmarkSet((Landmark("AC", (0, 3, 4)), Landmark("PC <2>", None, "missing"), Landmark("eye", (9, 9, 10))))
SECOND = LandmarkSet((Landmark("AC", (2, 0, 0)),))


def test_what_was_not_found_and_the_largest_errors_come_first():
    rows = errorRows(HUMAN, FOUND, SECOND)
    assert [(row.name, row.found, row.second) for row in rows] == [
        ("PC <2>", None, None),
        ("AC", 5.0, 2.0),
        ("eye", 1.0, None),
    ]


def test_the_summary_tells_machine_and_people_apart():
    assert inWords(errorRows(HUMAN, FOUND, SECOND)) == (
        "2 of 3 found: mean 3.00 mm, largest 5.00 mm. Two people differ by 2.00 mm on average."
    )
    assert inWords(errorRows(HUMAN, LandmarkSet((Landmark("AC", None, "missing"),)))) == "0 of 1 found."


def test_a_spreadsheet_reads_the_csv():
    read = list(csv.DictReader(io.StringIO(csvText(errorRows(HUMAN, FOUND, SECOND)))))
    assert read[0] == {"landmark": "PC <2>", "error_mm": "", "second_person_mm": ""}
    assert float(read[1]["error_mm"]) == 5.0


def test_names_cannot_break_the_page():
    page = htmlText(errorRows(HUMAN, FOUND))
    assert "PC &lt;2&gt;" in page and "<2>" not in page
    assert "research only" in page


def test_points_without_a_common_name_are_refused():
    with pytest.raises(InputError):
        errorRows(HUMAN, LandmarkSet((Landmark("other", (0, 0, 0)),)))
