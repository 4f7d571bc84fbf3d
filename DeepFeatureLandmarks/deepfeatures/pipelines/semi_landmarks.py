"""Curves and surface grids of a template, placed in a target beside its landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deepfeatures.data.landmark_checks import check_inside
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.semi_landmarks import FEWEST, SemiLandmarks
from deepfeatures.data.volume import Volume
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.io.semi_landmark_files import (
    CURVES,
    SURFACES,
    Markup,
    read_semi_landmarks,
    write_semi_landmarks,
    write_sliders,
)
from deepfeatures.matching.semi_landmarks import slide

FOLDER, SLIDERS = "curves", "sliders.csv"
LEAST_FOUND = 0.5  # of the points of a shape: with fewer, it is not given


class SettlingMatcher(Protocol):
    """What settling asks of a matcher."""

    def match(self, template: Volume, landmarks: LandmarkSet, target: Volume) -> Any: ...


@dataclass(frozen=True, eq=False)
class Shapes:
    """Curves and surface grids of a template.

    Args:
        shapes: With their positions in the template.
        markups: What each is made from, which is written again.
    """

    shapes: tuple[SemiLandmarks, ...]
    markups: tuple[Markup, ...]

    @property
    def points(self) -> LandmarkSet:
        """All points, with names of their own."""
        return LandmarkSet(
            tuple(
                Landmark(f"{shape.name} ({number}.{index})", tuple(map(float, position)))
                for number, shape in enumerate(self.shapes, 1)
                for index, position in enumerate(shape.positions, 1)
            ),
            "curves",
        )


@dataclass(frozen=True, eq=False)
class Settled:
    """Where features put the points of all shapes.

    Args:
        places: For each shape, LPS mm, `(N, 3)`, NaN rows where nothing was found.
        expected_errors_mm: Of each, `(N,)`, NaN where it is not known.
    """

    places: tuple[np.ndarray, ...]
    expected_errors_mm: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class PlacedShapes:
    """What was written of one target.

    Args:
        output: The file.
        reports: Of each shape, as JSON takes it.
        missing: Names of shapes of which too little was found.
    """

    output: Path
    reports: tuple[dict[str, Any], ...]
    missing: tuple[str, ...]


def read_shapes(curves: Sequence[Path], surfaces: Sequence[Path], template: Volume) -> Shapes:
    """The shapes of several files.

    Raises:
        InputError: A file holds no such shapes, or points outside the template.
    """
    found = [
        one
        for paths, kinds in ((curves, CURVES), (surfaces, SURFACES))
        for path in paths
        for one in _inside(path, kinds, template)
    ]
    return Shapes(tuple(shape for shape, _ in found), tuple(markup for _, markup in found))


def settle(
    matcher: SettlingMatcher, template: Volume, landmarks: LandmarkSet, target: Volume, shapes: Shapes
) -> Settled:
    """Search all points of the shapes as landmarks, in the company of the landmarks."""
    points = shapes.points
    everything = replace(landmarks, landmarks=(*landmarks, *points))
    found = matcher.match(template, everything, target).landmarks[len(landmarks) :]
    cuts = np.cumsum([len(shape) for shape in shapes.shapes])[:-1]
    places = LandmarkSet(tuple(found)).positions
    errors = np.array([np.nan if one.expected_error_mm is None else one.expected_error_mm for one in found])
    return Settled(tuple(np.split(places, cuts)), tuple(np.split(errors, cuts)))


def write_shapes(
    output: Path, landmarks: LandmarkSet, placed: LandmarkSet, shapes: Shapes, settled: Settled
) -> PlacedShapes:
    """Slide the settled points, and write them after the landmarks.

    Args:
        output: `.mrk.json`; the table of sliders is written beside it.
        landmarks, placed: In template and target.
        shapes, settled: In template and target.

    Raises:
        InputError: A file cannot be written.
    """
    counts = [int((~np.isnan(places).any(1)).sum()) for places in settled.places]
    is_found = [
        count >= max(FEWEST[shape.kind], LEAST_FOUND * len(shape))
        for count, shape in zip(counts, shapes.shapes, strict=True)
    ]
    known = np.array([one.is_defined and other.is_defined for one, other in zip(landmarks, placed, strict=True)], bool)
    given = [index for index, found in enumerate(is_found) if found]
    slid = slide(
        [shapes.shapes[index] for index in given],
        [settled.places[index] for index in given],
        landmarks.positions[known],
        placed.positions[known],
        [settled.expected_errors_mm[index] for index in given],
    )
    ensure_folder(output.parent)
    write_semi_landmarks(output, placed, [shapes.markups[index] for index in given], slid)
    if len(given) == len(shapes.shapes):
        write_sliders(output.parent / SLIDERS, shapes.shapes, len(landmarks))
    reports = tuple(
        _report(shapes.shapes[index], settled.places[index], settled.expected_errors_mm[index], places)
        for index, places in zip(given, slid, strict=True)
    )
    missing = tuple(shape.name for index, shape in enumerate(shapes.shapes) if index not in given)
    return PlacedShapes(output, reports, missing)


def _inside(path: Path, kinds: dict, template: Volume) -> list[tuple[SemiLandmarks, Markup]]:
    """The shapes of one file; their points lie in the template."""
    found = read_semi_landmarks(path, kinds)
    for shape, _ in found:
        names = [f"point {number} of {shape.name}" for number in range(1, len(shape) + 1)]
        points = (Landmark(name, tuple(map(float, at))) for name, at in zip(names, shape.positions, strict=True))
        check_inside(LandmarkSet(tuple(points)), template, path, template.name)
    return found


def _report(shape: SemiLandmarks, settled: np.ndarray, errors: np.ndarray, slid: np.ndarray) -> dict[str, Any]:
    """What is known of a placed shape."""
    found = ~np.isnan(settled).any(1)
    known = errors[found & ~np.isnan(errors)]
    return {
        "name": shape.name,
        "kind": shape.kind,
        "points": len(shape),
        "not_found": int((~found).sum()),
        "mean_expected_error_mm": round(float(known.mean()), 4) if len(known) else None,
        "mean_slide_mm": round(float(np.linalg.norm(slid - settled, axis=1)[found].mean()), 4),
    }
