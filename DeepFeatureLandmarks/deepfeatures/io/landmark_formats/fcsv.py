"""Slicer's `.fcsv`: fields as the `# columns` line names them, and the position status that newer versions append.

Files of Slicer 3, which name no version, are RAS. Where another file does not say, it is LPS, as today's Slicer takes
it, and a note says so. The format has one line a point: line breaks within texts become spaces. Old Slicer wrote quotes
as they were, and today's doubles them: a row whose quotes do not close is taken as it stands, where it then has a field
for each column.
"""

from __future__ import annotations

import csv
import io
from itertools import takewhile
from pathlib import Path

from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import coordinate_system, to_lps
from deepfeatures.io.landmark_formats.rows import (
    check_columns,
    fields_of,
    is_blank,
    joined,
    lines_of,
    on_one_line,
    stated,
)
from deepfeatures.io.score_description import describe, with_description

COLUMNS = ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID"]
SLICER_3_COLUMNS = ["label", "x", "y", "z", "sel", "vis"]
NUMBERS = {"ow", "ox", "oy", "oz", "vis", "sel", "lock"}  # fields in which a word shows that a comma is missing
VERSION = "Markups fiducial file version"
STATED_ONCE = {"markupsfiducialfileversion", "coordinatesystem", "columns"}
LAST_TEXTS = {"desc", "associatedNodeID"}  # which a row may lack
FRAME = Note(
    NoteKind.ORIENTATION,
    "the landmark file states no coordinate system: taken as LPS, as in 3D Slicer 5 (RAS in 4.10)",
)
CODES = [str(code) for code in range(len(STATUSES))]


def parse(text: str, path: Path) -> LandmarkSet:
    """The landmarks in the text of a file; raises `InputError`, which names `path`, where it is not such a file."""
    lines = lines_of(text)
    header = _header(lines, path)
    is_slicer_3 = "markupsfiducialfileversion" not in header
    system = coordinate_system(header.get("coordinatesystem", "RAS" if is_slicer_3 else "LPS"), path)
    columns = SLICER_3_COLUMNS if is_slicer_3 else COLUMNS
    if "columns" in header:
        columns = [column.strip() for column in header["columns"].split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise InputError(f"{path} has no columns x, y and z, separated by commas; save the points from 3D Slicer again")
    check_columns(columns, path)
    rows = [line for line in lines if not line.startswith("#") and not is_blank(line)]
    landmarks = tuple(_landmark(row, columns, number, system, path) for number, row in enumerate(rows, 1))
    return LandmarkSet(landmarks, landmark_stem(path), () if is_slicer_3 or "coordinatesystem" in header else (FRAME,))


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in LPS mm."""
    buffer = io.StringIO()
    buffer.write(f"# {VERSION} = 5.6\n# CoordinateSystem = LPS\n# columns = {','.join(COLUMNS)}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    for index, landmark in enumerate(landmarks):
        position = landmark.position if landmark.is_defined else (0.0, 0.0, 0.0)
        label, description = (on_one_line(text) for text in (landmark.name, describe(landmark)))
        pose = [*map(float, position), 0, 0, 0, 1]  # the identity as a quaternion
        visible = selected = 1
        row = [index + 1, *pose, visible, selected, int(landmark.locked), label, description, ""]
        writer.writerow([*row, STATUSES.index(landmark.status), 0])
    return buffer.getvalue()


def _header(lines: list[str], path: Path) -> dict[str, str]:
    """What the header states; another after the first point may only repeat it."""
    top = list(takewhile(lambda line: line.startswith("#") or is_blank(line), lines))
    header = stated([line for line in top if line.startswith("#")], STATED_ONCE, path)
    if STATED_ONCE & stated([line for line in lines if line.startswith("#")], STATED_ONCE, path).keys() - header.keys():
        raise joined(path)
    return header


def _landmark(line: str, columns: list[str], number: int, system: str, path: Path) -> Landmark:
    row = _fields(line, columns, number, path)
    fields = dict(zip(columns, row, strict=False))
    name = fields.get("label") or fields.get("id") or str(number)
    status = STATUSES[int(row[len(columns)])] if len(row) > len(columns) else "defined"
    position = None
    if status == "defined":
        position = to_lps([fields.get(axis, "") for axis in "xyz"], system, f"{quoted(name)} in row {number}", path)
    if not LAST_TEXTS.issuperset(columns[len(row) :]):
        raise InputError(f"{path} has {len(row)} fields in row {number} and {len(columns)} columns; correct the row")
    for column in sorted(NUMBERS & fields.keys()):
        if not _is_number(fields[column]):
            raise InputError(f"{path} has {quoted(fields[column])} as {column} in row {number}; give a number")
    landmark = Landmark(name, position, status, locked=fields.get("lock", "0").strip() == "1")
    return with_description(landmark, fields.get("desc", ""))


def _fields(line: str, columns: list[str], number: int, path: Path) -> list[str]:
    """The fields of a row, with the position status and the flag that newer versions append."""
    row = fields_of(line)
    if row is None:
        row = line.split(",")
        if '"' not in line or not _fits(row, columns):
            raise InputError(
                f"{path} is damaged in row {number}, or its quotes do not close; double the quotes within its texts"
            )
    if len(row) > len(columns) and not _fits(row, columns):
        raise InputError(
            f"{path} has {len(row)} fields in row {number} and {len(columns)} columns; "
            "put a text with a comma, such as its label, in quotes, or remove the comma at its end"
        )
    return row


def _fits(row: list[str], columns: list[str]) -> bool:
    """Whether a row has its columns and nothing more than a position status and a flag."""
    more = row[len(columns) :]
    return len(row) >= len(columns) and (not more or (more[0].strip() in CODES and more[1:] in ([], ["0"], ["1"])))


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True
