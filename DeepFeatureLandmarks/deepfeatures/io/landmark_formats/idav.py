"""Landmarks of the IDAV Landmark Editor, `.pts`: names and positions, without frame or unit.

Positions are taken as RAS mm, as SlicerMorph's IDAVLMConverter takes them. The position 9999 9999 9999 means missing,
as in Morpho's `read.pts`.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import from_lps, to_lps
from deepfeatures.io.landmark_formats.rows import check_count, lines_of

MISSING = (9999.0, 9999.0, 9999.0)
FRAME = Note(NoteKind.ORIENTATION, "the landmark file says neither LPS nor RAS: taken as RAS mm, as in SlicerMorph")


def parse(text: str, path: Path) -> LandmarkSet:
    """The named points; those at 9999 9999 9999 are missing."""
    lines = [line.strip() for line in lines_of(text) if line.strip()]
    if len(lines) < 2 or not re.fullmatch(r"Version \d+(\.\d+)?", lines[0]) or not lines[1].isdecimal():
        raise InputError(f"{path} does not begin with Version 1.0 and a count; export it from IDAV Landmark Editor")
    check_count(lines[1], lines[2:], path)
    landmarks = tuple(_landmark(row, number, path) for number, row in enumerate(lines[2:], 1))
    return LandmarkSet(landmarks, landmark_stem(path), (FRAME,))


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in RAS mm, blanks within names as `_`."""
    rows = []
    for landmark in landmarks:
        x, y, z = from_lps(landmark.position, "RAS") if landmark.is_defined else MISSING
        rows.append(f"{without_blanks(landmark.name)} {x!r} {y!r} {z!r}\n")
    return f"Version 1.0\n{len(landmarks)}\n{''.join(rows)}"


def without_blanks(name: str) -> str:
    """The name as one word, as other readers of the format expect it."""
    return "_".join(name.split()) or "_"


def _landmark(row: str, number: int, path: Path) -> Landmark:
    *words, x, y, z = ["", "", "", *row.split()]
    name = " ".join(words).strip() or str(number)
    position = to_lps([x, y, z], "RAS", f"{quoted(name)} in row {number}", path)
    if position == to_lps(MISSING, "RAS", name, path):
        return Landmark(name, None, "missing")
    return Landmark(name, position)
