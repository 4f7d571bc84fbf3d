"""Landmarks as a table with one row for each landmark, for spreadsheets and scripts.

Columns that must be there: `x, y, z`; or `l, p, s` or `r, a, s`, as Slicer exports tables. Names stand in the column
`name` or `label`; without either the landmarks are numbered from 1. In a table of ANTs, with the column `t`, comments
are the names if every point has its own. A column or a first comment line `# coordinate_system = RAS` says what x, y, z
mean. Without either they are LPS, as everywhere in this package, and a note says so, but for tables of ANTs. Positions
that stand there twice must agree. All are in mm. A row is a line: line breaks within texts become spaces.
"""

from __future__ import annotations

import csv
import io
import math
from itertools import filterfalse, takewhile
from pathlib import Path

from deepfeatures.data.landmark_scores import BY_NAME, FORMER_NAMES
from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.missing_reason import REASONS
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import coordinate_system, require_millimetres, to_lps
from deepfeatures.io.landmark_formats.rows import check_columns, fields_of, is_blank, lines_of, on_one_line, stated

COLUMNS = [
    *("name", "x", "y", "z", "coordinate_system", "status", "description", "locked"),
    *(*BY_NAME, "ambiguous", "reason", "note"),
]
FORMER_COLUMNS = {**FORMER_NAMES, "round_trip_mm": "inverse_consistency_error_mm"}  # in files of version 0.1
AXES = ("xyz", "lps", "ras")
UNITS = ("unit", "units", "coordinate_unit", "coordinate_units")
STATED_ONCE = {"coordinatesystem", *(unit.replace("_", "") for unit in UNITS)}
SAME_MM = 0.01  # tables are rounded
FRAME = Note(NoteKind.ORIENTATION, "the landmark file says neither LPS nor RAS: taken as LPS mm")
TRUE = ("1", "true", "yes")


def parse(text: str, path: Path) -> LandmarkSet:
    """The landmarks in the text of a table; raises `InputError`, which names `path`, where it is not such a table."""
    lines = lines_of(text)
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    rows = [_fields(line, number, path) for number, line in enumerate(filterfalse(is_blank, lines[len(comments) :]))]
    columns = [column.strip().lower().replace(" ", "_") for column in rows[0]] if rows else []
    axes = [axes for axes in AXES if set(axes) <= set(columns)]
    if not axes:
        raise InputError(f"{path} has no header with name, x, y, z; give these columns, separated by commas")
    check_columns(columns, path)
    header = stated(comments, STATED_ONCE, path)
    for unit in STATED_ONCE & header.keys() - {"coordinatesystem"}:
        require_millimetres(header[unit], path)
    system = header.get("coordinatesystem", "")
    tables = []
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(columns):
            raise InputError(
                f"{path} has {len(row)} fields in row {number} and {len(columns)} columns; correct the row"
            )
        tables.append(dict(zip(columns, row, strict=True)))
    if "t" in columns:
        tables = _without_ants_columns(tables, path)
    landmarks = tuple(_landmark(fields, axes, system, number, path) for number, fields in enumerate(tables, 1))
    has_frame = system or axes != ["xyz"] or "t" in columns or all(_own_system(fields) for fields in tables)
    return LandmarkSet(landmarks, landmark_stem(path), () if has_frame else (FRAME,))


def render(landmarks: LandmarkSet) -> str:
    """The text of the table, positions in LPS mm."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for landmark in landmarks:
        position = [float(value) for value in landmark.position] if landmark.is_defined else ["", "", ""]
        scores = (getattr(landmark, name) for name in BY_NAME)
        writer.writerow(
            [
                on_one_line(landmark.name),
                *position,
                "LPS mm",
                landmark.status,
                on_one_line(landmark.description),
                int(landmark.locked),
            ]
            + ["" if score is None else float(score) for score in scores]
            + [int(landmark.ambiguous), landmark.reason, on_one_line(landmark.note)]
        )
    return buffer.getvalue()


def _fields(line: str, number: int, path: Path) -> list[str]:
    row = fields_of(line)
    if row is None:
        where = f"row {number}" if number else "its header"
        raise InputError(
            f"{path} is not a table of comma separated values: the quotes of {where} do not close; "
            "correct them, and keep a row on one line"
        )
    return row


def _without_ants_columns(tables: list[dict[str, str]], path: Path) -> list[dict[str, str]]:
    """Rows of a table of ANTs, whose time must be 0, with their comments as names or as descriptions.

    ANTs itself puts `nan` for a comment.
    """
    comments = [fields.get("comment", "").strip() for fields in tables]
    key = "name" if len(set(comments) - {"", "nan"}) == len(tables) else "description"
    for number, fields in enumerate(tables, 1):
        if fields["t"].strip() not in ("", "0", "0.0"):
            raise InputError(f"{path} has the time t = {fields['t']} in row {number}; give points of one time, t = 0")
    return [
        {key: comment if comment != "nan" else ""} | fields for comment, fields in zip(comments, tables, strict=True)
    ]


def _landmark(fields: dict[str, str], axes: list[str], system: str, number: int, path: Path) -> Landmark:
    name = fields.get("name") or fields.get("label") or str(number)
    where = f"{quoted(name)} in row {number}"
    status = fields.get("status", "").strip() or ("missing" if fields.get("defined", "").strip() == "0" else "defined")
    if status not in STATUSES:
        raise InputError(f"{path} has the unknown status {quoted(status)} at {where}; give {', '.join(STATUSES)}")
    for column in UNITS:
        require_millimetres(fields.get(column, "").strip() or "mm", path)
    system = _system(fields, system, where, path)
    position = _position(fields, axes, system, where, path) if status == "defined" else None
    return Landmark(
        name,
        position,
        status,
        description=fields.get("description", ""),
        locked=_is_true(fields, "locked"),
        ambiguous=_is_true(fields, "ambiguous"),
        reason=_reason(fields.get("reason", ""), status),
        note=fields.get("note", ""),
        **_scores(fields, where, path),
    )


def _is_true(fields: dict[str, str], column: str) -> bool:
    return fields.get(column, "").strip().lower() in TRUE


def _own_system(fields: dict[str, str]) -> str:
    return fields.get("coordinate_system", "").strip()


def _system(fields: dict[str, str], top: str, where: str, path: Path) -> str:
    """`LPS` or `RAS` as a row or the top of the file states it, which must agree; else empty."""
    found = []
    for text in filter(None, (top, _own_system(fields))):
        system, _, unit = text.partition(" ")
        require_millimetres(unit or "mm", path)
        found.append(coordinate_system(system, path))
    if len(set(found)) > 1:
        raise InputError(f"{path} states {found[0]} at its top and {found[1]} at {where}; keep the one that is right")
    return found[0] if found else ""


def _position(
    fields: dict[str, str], every: list[str], system: str, where: str, path: Path
) -> tuple[float, float, float]:
    """LPS mm, from columns that must agree where there are several; `system` says what x, y, z mean."""
    if system and "xyz" not in every and system.lower() not in every:
        raise InputError(
            f"{path} has the columns {', '.join(every[0])} and states {system} for {where}; keep the one that is right"
        )
    positions = [
        to_lps([fields[axis] for axis in axes], (system or "LPS") if axes == "xyz" else axes.upper(), where, path)
        for axes in every
    ]
    if any(math.dist(position, positions[0]) > SAME_MM for position in positions):
        columns = " and ".join(", ".join(axes) for axes in every)
        raise InputError(f"{path} has different positions of {where} in {columns}; keep the columns that are right")
    return positions[0]


def _reason(text: str, status: str) -> str:
    """Why it is missing; empty where it has been placed since, or where the text is none of `REASONS`."""
    return text if status == "missing" and text in REASONS else ""


def _scores(fields: dict[str, str], where: str, path: Path) -> dict[str, float | None]:
    """By name, also where a file has them under former names."""
    columns = {column: FORMER_COLUMNS.get(column, column) for column in fields}
    return {score: _score(fields[column], column, where, path) for column, score in columns.items() if score in BY_NAME}


def _score(text: str, column: str, where: str, path: Path) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError as error:
        raise InputError(
            f"{path} has {quoted(text)} as the score {column} of {where}; give a number or nothing"
        ) from error
