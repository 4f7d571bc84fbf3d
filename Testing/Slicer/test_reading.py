"""What this package reads is where 3D Slicer's own storage node reads it, or a note or a refusal says otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
import reading_situations
from reading_situations import MARKS, SITUATIONS, Outcome, ours, slicers

from deepfeatures.io.header_notes import header_notes

PAGE = Path(__file__).parents[2] / "docs/reference/reading.md"
# Where 3D Slicer is not followed, why; all else must lie at the same place.
SLICER_IS_WRONG = {
    "sform of code 1 is 15 % larger than the voxel size": "it turns by one field and scales by another",
    "voxels are said to begin within the header": "it takes four bytes of the header for voxels",
    "multi-frame, even slices before odd ones": "it takes the frames as they come, whatever their positions",
    "multi-frame, a slope for each frame": "it scales all frames by the first one's slope",
    "multi-frame, gantry tilt": "it takes the slices as if they lay one upon the other",
}


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: f"{one.format}: {one.what}")
def test_a_file_is_read_where_slicer_reads_it_or_the_difference_is_told(situation, tmp_path):
    path = situation.write(tmp_path)
    we, slicer = ours(path), slicers(path)
    if we.places is None:
        assert len(we.words) < 200
        assert "\n" not in we.words
        assert "; " in we.words or ", which cannot be read; " in we.words, "the cause, and what to do"
        return
    assert slicer.places is not None, "what Slicer cannot read is refused"
    if situation.what in SLICER_IS_WRONG:
        assert not slicer.places or farthest(we, slicer) > 1
    else:
        assert farthest(we, slicer) < 0.01


def farthest(we: Outcome, slicer: Outcome) -> float:
    return max(np.linalg.norm(we.places[mark] - slicer.places[mark]) for mark in MARKS)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: f"{one.format}: {one.what}")
def test_notes_of_the_header_are_known_without_reading_voxels(situation, tmp_path):
    path = situation.write(tmp_path)
    we = ours(path)
    if we.places is not None and situation.format != "DICOM":  # 3D Slicer does not keep the files of a series
        told = "; ".join(note.text for note in header_notes(path))
        assert told == we.words or "which is unlikely" in we.words


def test_the_page_has_the_table_of_today():
    assert reading_situations.table() in PAGE.read_text(encoding="utf-8"), (
        "run python Testing/Slicer/reading_situations.py and put its table into docs/reference/reading.md"
    )
