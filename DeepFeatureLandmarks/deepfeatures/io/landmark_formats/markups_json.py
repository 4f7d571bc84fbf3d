"""Slicer's `.mrk.json`: markups, read as their control points and written as a point list.

The control points of regions and planes describe a shape: beside a point list they are left out, and a note says so.

Kept: name, position, position status, description, lock, orientation, and the name of the list. Slicer's schema is at
https://github.com/Slicer/Slicer/tree/main/Modules/Loadable/Markups/Resources/Schema.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from deepfeatures.data.landmarks import STATUSES, Landmark, LandmarkSet, Rotation, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.orientation import UNTURNED, axes_of, rotation_of
from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import coordinate_system, require_millimetres, to_lps
from deepfeatures.io.score_description import describe, with_description

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
POINT_LIST, SHAPES = "Fiducial", ("ROI", "Plane")
HAVE_POSITION = ("preview", "defined")  # a missing point keeps no former position, which might be taken for its own


def parse(text: str, path: Path) -> LandmarkSet:
    """The control points of all markups in a file, in order."""
    try:
        content = json.loads(text, object_hook=_without_surrogates)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
        raise InputError(f"{path} is not JSON; save the points from 3D Slicer as .mrk.json again") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise InputError(f"{path} is JSON but holds no markups; save the points from 3D Slicer as .mrk.json again")
    has_list = any(markup.get("type", POINT_LIST) == POINT_LIST for markup in markups)
    shapes = [markup for markup in markups if has_list and markup.get("type") in SHAPES]
    markups = [markup for markup in markups if markup not in shapes]
    landmarks = tuple(landmark for markup in markups for landmark in _control_points(markup, path))
    names = [markup["name"] for markup in markups if isinstance(markup.get("name"), str) and markup["name"]]
    return LandmarkSet(landmarks, names[0] if names else landmark_stem(path), _left_out(shapes))


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in LPS mm."""
    markup = {
        "type": POINT_LIST,
        "name": landmarks.name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(landmarks),
        "controlPoints": [_control_point(landmark, index + 1) for index, landmark in enumerate(landmarks)],
    }
    return json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _left_out(shapes: list[dict]) -> tuple[Note, ...]:
    if not shapes:
        return ()
    named = ", ".join(f"{markup['type']} {markup.get('name') or ''}".strip() for markup in shapes)
    text = f"the landmark file holds shapes besides ({named.replace(';', ',')}): their control points are left out"
    return (Note(NoteKind.LANDMARK_FILE, text),)


def _without_surrogates(fields: dict) -> dict:
    """Without surrogates, which JSON can escape, as in a name that was cut: they end the process in MRML."""
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _control_points(markup: dict, path: Path) -> list[Landmark]:
    system = coordinate_system(markup.get("coordinateSystem", "LPS"), path)
    unit = markup.get("coordinateUnits", "mm")
    require_millimetres(unit[0] if isinstance(unit, list) and unit else unit, path)  # a list is a DICOM code
    points = markup.get("controlPoints", [])
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise InputError(f"{path} has markups without a list of control points; save it from 3D Slicer again")
    return [_landmark(point, index + 1, system, path) for index, point in enumerate(points)]


def _landmark(point: dict, number: int, system: str, path: Path) -> Landmark:
    name = str(point.get("label") or point.get("id") or number)
    where = f"{quoted(name)}, control point {number}"
    status = point.get("positionStatus", "defined")
    if status not in STATUSES:
        raise InputError(
            f"{path} has the unknown position status {quoted(status)} at {where}; give {', '.join(STATUSES)}"
        )
    position = point.get("position") or ()
    known = status == "defined" or (status == "preview" and position)
    landmark = Landmark(
        name=name,
        position=to_lps(position, system, where, path) if known else None,
        status=status,
        locked=bool(point.get("locked", False)),
        orientation=_orientation(point.get("orientation"), system) if known else None,
    )
    return with_description(landmark, str(point.get("description") or ""))


def _orientation(values: object, system: str) -> Rotation | None:
    """`None` for an unturned point, and for what is no rotation."""
    try:
        axes = np.array(values, float).reshape(3, 3)
    except (TypeError, ValueError, OverflowError):
        return None
    return rotation_of(axes if system == "LPS" else UNTURNED @ axes)


def _control_point(landmark: Landmark, number: int) -> dict:
    has_position = landmark.status in HAVE_POSITION and landmark.position is not None
    return {
        "id": str(number),
        "label": landmark.name,
        "description": describe(landmark),
        "associatedNodeID": "",
        "position": [float(value) for value in landmark.position] if has_position else "",
        "orientation": axes_of(landmark.orientation).ravel().tolist(),
        "selected": True,
        "locked": landmark.locked,
        "visibility": True,
        "positionStatus": landmark.status,
    }
