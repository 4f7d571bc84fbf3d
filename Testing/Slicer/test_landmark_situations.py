"""Points lie where 3D Slicer's own storage nodes read them, or a refusal or a known fault of Slicer says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
import landmark_situations
from landmark_situations import SITUATIONS, ours, slicers, write

PAGE = Path(__file__).parents[2] / "docs/reference/reading.md"
# Where 3D Slicer is not followed, why; all else must be the same points, and of a refused file Slicer shows its own.
SLICER_IS_WRONG = {
    "labels begin with a quote that is not closed": "it takes the fields after the label into it",
    "quotes within a label are not doubled": "it leaves them out",
    "saved by a spreadsheet": "it takes LPS with commas for RAS, and a row of commas for a point",
}
ONE_LIST = "a point list and a curve"  # the storage node reads the first markup of a file only


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: f"{one.format}: {one.what}")
def test_points_are_those_of_slicer_or_the_difference_is_known(situation, tmp_path):
    path = write(situation, tmp_path)
    we, slicer = ours(path), slicers(path)
    if we.points is None:
        assert "\n" not in we.words and len(we.words) < 200
        assert "; " in we.words, "the cause, and what to do"
    elif situation.what in SLICER_IS_WRONG:
        assert we.points != slicer.points
    elif situation.what == ONE_LIST:
        assert we.points == 2 * slicer.points
    else:
        assert we.points == slicer.points


def test_the_page_has_the_table_of_today():
    assert landmark_situations.table() in PAGE.read_text(encoding="utf-8"), (
        "run python Testing/Slicer/landmark_situations.py and put its table into docs/reference/reading.md"
    )
