"""Slicer's `.fcsv`: fields as the `# columns` line names them, and the position status that newer versions append.

Coordinates are RAS where the file does not say, as in old Slicer. The format has one line a point: line breaks within
names and descriptions become spaces.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet, landmark_stem
from deepfeatures.errors import InputError
from deepfeatures.io.coordinates import coordinate_system, to_lps
from deepfeatures.io.score_description import describe, with_description

COLUMNS = ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID"]
SLICER_3_COLUMNS = ["label", "x", "y", "z", "sel", "vis"]
VERSION = "Markups fiducial file version"


def parse(text: str, path: Path) -> LandmarkSet:
    """The landmarks in the text of a file; raises `InputError`, which names `path`, where it is not such a file."""
    lines = text.splitlines()
    header = dict(
        (part.strip() for part in line.lstrip("# ").split("=", 1))
        for line in lines
        if line.startswith("#") and "=" in line
    )
    system = coordinate_system(header.get("CoordinateSystem", "RAS"), path)
    columns = COLUMNS if VERSION in header else SLICER_3_COLUMNS
    if "columns" in header:
        columns = [column.strip() for column in header["columns"].split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise InputError(f"{path} has no columns x, y and z; save the points from 3D Slicer again")
    try:
        rows = list(csv.reader(line for line in lines if line.strip() and not line.startswith("#")))
    except csv.Error as error:
        raise InputError(f"{path} is damaged; save the points from 3D Slicer again") from error
    return LandmarkSet(
        tuple(_landmark(row, columns, index + 1, system, path) for index, row in enumerate(rows)), landmark_stem(path)
    )


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in LPS mm."""
    buffer = io.StringIO()
    buffer.write(f"# {VERSION} = 5.6\n# CoordinateSystem = LPS\n# columns = {','.join(COLUMNS)}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    for index, landmark in enumerate(landmarks):
        position = landmark.position if landmark.is_defined else (0.0, 0.0, 0.0)
        label, description = (" ".join(text.splitlines()) for text in (landmark.name, describe(landmark)))
        pose = [*map(float, position), 0, 0, 0, 1]  # the identity as a quaternion
        visible = selected = 1
        row = [index + 1, *pose, visible, selected, int(landmark.locked), label, description, ""]
        writer.writerow([*row, STATUSES.index(landmark.status), 0])
    return buffer.getvalue()


def _landmark(row: list[str], columns: list[str], number: int, system: str, path: Path) -> Landmark:
    fields = dict(zip(columns, row, strict=False))
    name = fields.get("label") or fields.get("id") or str(number)
    status = "defined"
    if len(row) > len(columns):
        code = row[len(columns)].strip()
        if code not in {str(index) for index in range(len(STATUSES))}:
            raise InputError(f"{path} has the unknown position status {code!r} at {name!r}; give 0, 1, 2 or 3")
        status = STATUSES[int(code)]
    position = None
    if status == "defined":
        position = to_lps([fields.get(axis, "") for axis in "xyz"], system, name, path)
    landmark = Landmark(name, position, status, locked=fields.get("lock", "0").strip() == "1")
    return with_description(landmark, fields.get("desc", ""))
