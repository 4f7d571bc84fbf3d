"""Geometry of Slicer's `.mrk.json` markups carried by a transform; all else in the file stays as it is.

Point lists, lines, angles and curves are their control points. Planes and regions have axes and sizes besides, which
follow the transform's Jacobian at their centres, as where 3D Slicer hardens a transform.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import coordinate_system, require_millimetres, to_lps
from deepfeatures.transforms.frames import Frame, carry_frame, corner_error_mm
from deepfeatures.transforms.transform import Transform

FRAMED = ("Plane", "ROI")
FROM_RAS = np.array([-1.0, -1.0, 1.0])  # to LPS
BENT_MM = 0.5  # corners of a box that lie so far from where the transform takes them are worth a note


def read_markups(path: Path) -> dict[str, Any]:
    """The content of a `.mrk.json` file.

    Raises:
        InputError: It holds no markups.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON; save the markups from 3D Slicer again") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or not markups or not all(isinstance(markup, dict) for markup in markups):
        raise InputError(f"{path} is JSON but holds no markups; save them from 3D Slicer as .mrk.json again")
    return content


def warped_markups(content: Mapping[str, Any], transform: Transform, path: Path) -> tuple[dict, tuple[Note, ...]]:
    """The content of a markups file after a transform, and what could not be carried exactly.

    Args:
        content: As `read_markups` returns it.
        transform: From the space of the file.
        path: Of the file, for messages.
    """
    warped = [_warped(markup, transform, path) for markup in content["markups"]]
    return {**content, "markups": [markup for markup, _ in warped]}, tuple(
        note for _, notes in warped for note in notes
    )


def control_points(markup: Mapping[str, Any], path: Path) -> np.ndarray:
    """Positions of the control points of one markup, LPS mm, `(N, 3)`; NaN where there is none."""
    system = _system(markup, path)
    rows = [_position(point, system, number, path) for number, point in enumerate(_points_of(markup, path), 1)]
    return np.array([(np.nan,) * 3 if row is None else row for row in rows]).reshape(-1, 3)


def with_control_points(markup: Mapping[str, Any], positions: np.ndarray, path: Path) -> dict[str, Any]:
    """One markup with its control points elsewhere, LPS mm, `(N, 3)`; those of NaN stay as they are."""
    signs = _signs(_system(markup, path))
    moved = [
        point if np.isnan(position).any() else {**point, "position": (signs * position).tolist()}
        for point, position in zip(_points_of(markup, path), positions, strict=True)
    ]
    changed = {"controlPoints": moved} if "controlPoints" in markup else {}
    if "measurements" in markup:
        changed["measurements"] = [_unmeasured(one) for one in markup["measurements"]]
    return {**markup, **changed}


def _warped(markup: Mapping[str, Any], transform: Transform, path: Path) -> tuple[dict, tuple[Note, ...]]:
    positions = control_points(markup, path)
    known = ~np.isnan(positions).any(1)
    positions[known] = transform(positions[known])
    moved = with_control_points(markup, positions, path)
    if markup.get("type") not in FRAMED or "center" not in markup or "orientation" not in markup:
        return moved, ()
    return _with_frame(moved, transform, path)


def _with_frame(markup: dict[str, Any], transform: Transform, path: Path) -> tuple[dict, tuple[Note, ...]]:
    """A plane or region with its centre, axes and size after the transform; its control points are there already."""
    signs = _signs(_system(markup, path))
    frame = Frame(
        signs * _numbers(markup, "center", 3, path),
        signs[:, None] * _numbers(markup, "orientation", 9, path).reshape(3, 3),
    )
    carried = carry_frame(transform, frame)
    changed: dict[str, Any] = {
        "center": (signs * carried.frame.centre).tolist(),
        "orientation": (signs[:, None] * carried.frame.axes).ravel().tolist(),
    }
    if "normal" in markup:
        changed["normal"] = (signs * carried.frame.axes[:, 2]).tolist()
    if "baseToNode" in markup:
        base = _numbers(markup, "objectToBase", 16, path).reshape(4, 4) if "objectToBase" in markup else np.eye(4)
        from_lps, from_ras = np.diag([*signs, 1.0]), np.diag([*(signs * FROM_RAS), 1.0])
        # Slicer takes both matrices from RAS to the file's system, and so their product twice.
        changed["baseToNode"] = (from_lps @ carried.frame.matrix @ np.linalg.inv(from_ras @ base)).ravel().tolist()
    if "planeBounds" in markup:
        bounds = _numbers(markup, "planeBounds", 4, path)
        changed["planeBounds"] = (bounds * np.repeat(carried.stretch[:2], 2)).tolist()
    if "size" not in markup:
        return {**markup, **changed}, ()
    size = _numbers(markup, "size", 3, path)
    changed["size"] = (size * carried.stretch).tolist()
    off = corner_error_mm(transform, frame, size)
    notes = (_bent(markup, off),) if off > BENT_MM else ()
    return {**markup, **changed}, notes


def _bent(markup: Mapping[str, Any], off_mm: float) -> Note:
    named = f"{markup['type']} {markup.get('name') or ''}".strip().replace(";", ",")
    text = f"{named} stays rectangular: its corners are up to {off_mm:.1f} mm from where the transform takes them"
    return Note(NoteKind.SHAPE, text)


def _system(markup: Mapping[str, Any], path: Path) -> str:
    unit = markup.get("coordinateUnits", "mm")
    require_millimetres(unit[0] if isinstance(unit, list) and unit else unit, path)  # a list is a DICOM code
    return coordinate_system(markup.get("coordinateSystem", "LPS"), path)


def _signs(system: str) -> np.ndarray:
    """Of the axes of a coordinate system, seen from LPS."""
    return np.array([1.0, 1.0, 1.0] if system == "LPS" else [-1.0, -1.0, 1.0])


def _points_of(markup: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    points = markup.get("controlPoints", [])
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise InputError(f"{path} has markups without a list of control points; save it from 3D Slicer again")
    return points


def _position(point: Mapping[str, Any], system: str, number: int, path: Path) -> tuple[float, float, float] | None:
    position = point.get("position")
    if not position or point.get("positionStatus", "defined") in ("undefined", "missing"):
        return None
    return to_lps(position, system, f"control point {number}", path)


def _numbers(markup: Mapping[str, Any], key: str, count: int, path: Path) -> np.ndarray:
    try:
        values = np.array(markup[key], float).ravel()
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(
            f"{path} has no {count} numbers as {quoted(key)} of a {markup['type']}; save it from 3D Slicer again"
        )
    return values


def _unmeasured(measurement: object) -> object:
    """Without the value, which held for the former shape; Slicer measures anew."""
    if not isinstance(measurement, dict) or "controlPointValues" in measurement:
        return measurement
    return {key: value for key, value in measurement.items() if key != "value"}
