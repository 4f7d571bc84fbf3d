"""Landmarks in 3D of the tps series (tpsDig) and geomorph, `.tps`: positions alone, without names, frame or unit.

Positions are taken as LPS mm, after the file's scale. `NA` means missing, as in geomorph's `readland.tps`.
"""

from __future__ import annotations

import math
from itertools import takewhile
from pathlib import Path

from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import to_lps
from deepfeatures.io.landmark_formats.rows import check_count, lines_of, on_one_line

MISSING = ["NA", "NA", "NA"]
FRAME = Note(NoteKind.ORIENTATION, "the landmark file says neither LPS nor RAS: taken as LPS mm")
CURVES = Note(NoteKind.LANDMARK_FILE, "the landmark file holds curves besides: they are left out")


def parse(text: str, path: Path) -> LandmarkSet:
    """The landmarks of the one specimen, named by their places in the list, from 1."""
    lines = [line.strip() for line in lines_of(text) if line.strip()]
    pairs = [(line.partition("=")[0].strip().upper(), at) for at, line in enumerate(lines) if "=" in line]
    keys = {key: (at, lines[at].partition("=")[2].strip()) for key, at in pairs}
    if "LM3" not in keys:
        kind = "2D landmarks" if "LM" in keys else "no landmarks"
        raise InputError(f"{path} holds {kind} and no LM3=, with which those in 3D begin; give landmarks in 3D")
    if sum(key in ("LM", "LM3") for key, _ in pairs) > 1:
        raise InputError(f"{path} holds several specimens; save each in a file of its own")
    start, count = keys["LM3"]
    rows = list(takewhile(lambda line: "=" not in line, lines[start + 1 :]))
    check_count(count, rows, path)
    scale = _scale(keys.get("SCALE", (0, "1"))[1], path)
    landmarks = tuple(_landmark(row, number, scale, path) for number, row in enumerate(rows, 1))
    return LandmarkSet(landmarks, landmark_stem(path), (FRAME, CURVES) if "CURVES" in keys else (FRAME,))


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in LPS mm; `NA` where there is none."""
    rows = "".join(
        " ".join(repr(float(value)) for value in landmark.position) + "\n" if landmark.is_defined else "NA NA NA\n"
        for landmark in landmarks
    )
    return f"LM3={len(landmarks)}\n{rows}ID={on_one_line(landmarks.name)}\n"


def _landmark(row: str, number: int, scale: float, path: Path) -> Landmark:
    values = row.split()
    if values == MISSING:
        return Landmark(str(number), None, "missing")
    x, y, z = to_lps(values, "LPS", f"landmark {number}", path)
    return Landmark(str(number), (x * scale, y * scale, z * scale))


def _scale(text: str, path: Path) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 0 < scale < math.inf:
        raise InputError(f"{path} has the scale {quoted(text)}; give mm for each unit of the positions, or no scale")
    return scale
