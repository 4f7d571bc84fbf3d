"""Files of semi-landmarks: Slicer's curves, open and closed, and point lists as grids on a surface; `.mrk.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet, landmark_stem
from deepfeatures.data.semi_landmarks import FEWEST, SemiLandmarkKind, SemiLandmarks, sliders
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text
from deepfeatures.io.landmark_formats import markups_json
from deepfeatures.io.markups_shapes import control_points, read_markups, with_control_points

CURVES: dict[str, SemiLandmarkKind] = {"Curve": "curve", "ClosedCurve": "closed curve"}
SURFACES: dict[str, SemiLandmarkKind] = {"Fiducial": "surface"}
Markup = dict[str, Any]


def read_semi_landmarks(path: Path, kinds: dict[str, SemiLandmarkKind]) -> list[tuple[SemiLandmarks, Markup]]:
    """The curves, or the surface grids, of a file, each beside the markup that it is made from.

    Args:
        path: A `.mrk.json` file.
        kinds: `CURVES` or `SURFACES`: which types of markups are meant.

    Raises:
        InputError: It holds another type of markups, or points too few, or without a position.
    """
    if not path.name.lower().endswith(".json"):
        raise InputError(f"{path} cannot hold curves; give a .mrk.json, as 3D Slicer saves them")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    found = []
    for markup in read_markups(path)["markups"]:
        stated = markup.get("type", "Fiducial")
        if stated not in kinds:
            raise InputError(f"{path} holds a {stated}, where {_meant(kinds)}")
        positions = control_points(markup, path)
        kind, name = kinds[stated], str(markup.get("name") or landmark_stem(path))
        if np.isnan(positions).any():
            raise InputError(f"{path} has points without a position in {name}; place or remove them")
        if len(positions) < FEWEST[kind]:
            raise InputError(f"{path} has {len(positions)} points in {name}; give at least {FEWEST[kind]} for a {kind}")
        found.append((SemiLandmarks(name, kind, positions), markup))
    return found


def write_semi_landmarks(
    path: Path, landmarks: LandmarkSet, markups: Sequence[Markup], positions: Sequence[np.ndarray]
) -> None:
    """Write landmarks, and after them curves and grids at their new places, as one `.mrk.json`, whole or not at all.

    Args:
        path: The file.
        landmarks: A point list, the first of the markups.
        markups: As `read_semi_landmarks` returns them; all but their positions is kept.
        positions: Of the control points of each, LPS mm, `(N, 3)`.
    """
    content = json.loads(markups_json.render(landmarks))
    for markup, places in zip(markups, positions, strict=True):
        moved = with_control_points(markup, places, path)
        content["markups"].append({**moved, "name": markup.get("name") or ""})
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_sliders(path: Path, shapes: Sequence[SemiLandmarks], landmarks: int) -> None:
    """Write which points slide between which, for geomorph and its like; see `sliders`."""
    rows = "".join(f"{before},{slide},{after}\n" for before, slide, after in sliders(shapes, landmarks))
    write_text(path, "before,slide,after\n" + rows)


def _meant(kinds: dict[str, SemiLandmarkKind]) -> str:
    if kinds is CURVES:
        return "curves are meant; give point lists with --landmarks, or as --surfaces"
    return "a grid of points on a surface is meant; give curves with --curves"
