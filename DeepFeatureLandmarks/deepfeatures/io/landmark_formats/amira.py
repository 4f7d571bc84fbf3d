"""Landmark sets of Amira and Avizo, `.landmarkAscii`: positions alone, without names, frame or, mostly, unit.

Amira shows DICOM volumes in the patient's coordinates, which are LPS: the positions are taken as LPS mm.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_formats.coordinates import require_millimetres, to_lps
from deepfeatures.io.landmark_formats.rows import check_count, lines_of

MAGIC = re.compile(r"#\s*(AmiraMesh|Amira|Avizo)\b.*\bASCII\b")
COUNT = re.compile(r"^\s*define\s+Markers\s+(\d+)", re.MULTILINE)
STREAM = re.compile(r"^\s*Markers\s*\{\s*(?:float|double)\[3\]\s+Coordinates\s*\}\s*=?\s*(@\d+)", re.MULTILINE)
SETS = re.compile(r"\bNumSets\s+(\d+)")
UNIT = re.compile(r"\bUnits\s*\{[^}]*\bCoordinates\s+\"([^\"]*)\"")
TRANSFORM = re.compile(r"\bTransformationMatrix\s+([^,}]+)")
IDENTITY = [float(row == column) for row in range(4) for column in range(4)]
FRAME = Note(NoteKind.ORIENTATION, "the landmark file says neither LPS nor RAS: taken as LPS mm, as Amira has DICOM")
SECOND_SET = Note(NoteKind.LANDMARK_FILE, "the landmark file holds several sets of points: the first is used")


def parse(text: str, path: Path) -> LandmarkSet:
    """The points of the first set, named by their places in it."""
    lines = lines_of(text)
    if not lines or not MAGIC.match(lines[0]):
        raise InputError(f"{path} is no ASCII file of Amira or Avizo; save the landmarks there as LandmarkSet ASCII")
    starts = [number for number, line in enumerate(lines) if re.fullmatch(r"@\d+\s*", line)]
    header = "\n".join(line for line in lines[: starts[0] if starts else len(lines)] if not line.startswith("#"))
    count, stream = COUNT.search(header), STREAM.search(header)
    if count is None or stream is None:
        raise InputError(f"{path} defines no landmarks; save them from Amira or Avizo as LandmarkSet ASCII")
    _check_parameters(header, path)
    rows = _rows(lines, stream[1])
    check_count(count[1], rows, path)
    landmarks = tuple(
        Landmark(str(number), to_lps(row.split(), "LPS", f"landmark {number}", path))
        for number, row in enumerate(rows, 1)
    )
    sets = SETS.search(header)
    notes = (FRAME, SECOND_SET) if sets and sets[1] != "1" else (FRAME,)
    return LandmarkSet(landmarks, landmark_stem(path), notes)


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in LPS mm."""
    rows = "".join("{!r} {!r} {!r}\n".format(*map(float, landmark.position)) for landmark in landmarks)
    return (
        f"# AmiraMesh 3D ASCII 2.0\n\ndefine Markers {len(landmarks)}\n\n"
        'Parameters {\n    NumSets 1,\n    ContentType "LandmarkSet"\n}\n\n'
        f"Markers {{ float[3] Coordinates }} @1\n\n# Data section follows\n@1\n{rows}"
    )


def _rows(lines: list[str], stream: str) -> list[str]:
    """The lines of one data section that are not blank."""
    rows: list[str] = []
    inside = False
    for line in map(str.strip, lines):
        if line.startswith("@"):
            inside = line == stream
        elif inside and line and not line.startswith("#"):
            rows.append(line)
    return rows


def _check_parameters(header: str, path: Path) -> None:
    """Raise `InputError` where the header states another unit than mm, or a transform to be applied."""
    if unit := UNIT.search(header):
        require_millimetres(unit[1], path)
    if transform := TRANSFORM.search(header):
        try:
            is_identity = [float(value) for value in transform[1].split()] == IDENTITY
        except ValueError:
            is_identity = False
        if not is_identity:
            raise InputError(f"{path} has a transform of its own; apply it to the landmarks in Amira and save them")
