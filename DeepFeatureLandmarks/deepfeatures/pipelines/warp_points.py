"""Landmarks, curves, planes and regions carried from one volume to another by a transform, file to file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.markups_shapes import control_points, read_markups, warped_markups
from deepfeatures.transforms.transform import InverseTransform, Transform

if TYPE_CHECKING:
    from deepfeatures.pipelines.warp import WarpJob, WarpResult

MARKUPS = ".json"
INEXACT_MM = 1e-3  # by which an inverse may miss without a note


@dataclass(frozen=True, eq=False)
class CarriedPoints:
    """Points after a transform.

    Args:
        places: LPS mm, `(N, 3)`.
        notes: What people should know of how they were carried.
    """

    places: np.ndarray
    notes: tuple[Note, ...] = ()


def warp_points(job: WarpJob) -> WarpResult:
    """Carry the points or shapes of a file over, see `write_warped_points`."""
    from deepfeatures.pipelines.warp import WarpResult

    like = read_within_memory(job.like)
    carried = write_warped_points(job.transform, job.input, job.output, like)
    return WarpResult(job.output, f"{len(carried.places)} points", (*notes_of(like), *carried.notes))


def write_warped_points(transform: Transform, source: Path, output: Path, like: Volume | None = None) -> CarriedPoints:
    """Write the points or shapes of a file where a transform takes them.

    Between `.mrk.json` files everything that is not geometry is kept: a curve stays a curve, a plane a plane. Between
    other formats points keep what both formats hold, see `read_landmarks` and `write_landmarks`.

    Args:
        transform: From the space of `source` to that of `output`, LPS mm.
        source, output: Landmark files of any format, `output` in the format that its suffix names.
        like: In which the points should come to lie; `None` for anywhere.

    Raises:
        InputError: The source cannot be read, or the output not be written, or all points come to lie outside `like`.
    """
    if all(path.name.lower().endswith(MARKUPS) for path in (source, output)):
        content = read_markups(source)
        places = np.concatenate([control_points(markup, source) for markup in content["markups"]])
        carried = carry(transform, places[~np.isnan(places).any(1)], source, like)
        warped, notes = warped_markups(content, transform, source)
        if not len(carried.places) and not any("center" in markup for markup in content["markups"]):
            notes = (*notes, _empty(source))
        write_text(output, json.dumps(warped, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return replace(carried, notes=(*carried.notes, *notes))
    landmarks = read_landmarks(source)
    known = [index for index, landmark in enumerate(landmarks) if landmark.position is not None]
    carried = carry(transform, np.array([landmarks[index].position for index in known]), source, like)
    notes = write_landmarks(_moved(landmarks, known, carried.places), output)
    if not known:
        notes = (*notes, _empty(source))
    return replace(carried, notes=(*landmarks.notes, *carried.notes, *notes))


def carry(transform: Transform, points: np.ndarray, source: Path, like: Volume | None) -> CarriedPoints:
    """Points `(N, 3)` after a transform, with notes on those that leave the volume or that an inverse misses.

    Args:
        transform: Points of the source to points of the volume, LPS mm.
        points: Of the source.
        source: For messages.
        like: The volume, `None` for any.

    Raises:
        InputError: No point comes to lie in the volume.
    """
    points = points.reshape(-1, 3)
    places, notes = transform(points), []
    if isinstance(transform, InverseTransform) and len(points):
        off = np.linalg.norm(transform.forward(places) - points, axis=1)
        if off.max() > INEXACT_MM:
            share = f"{int((off > INEXACT_MM).sum())} of {len(points)} points"
            text = f"the transform has no exact inverse at {share}: it misses by up to {off.max():.2g} mm"
            notes.append(Note(NoteKind.SHAPE, text))
    outside = 0 if like is None else int((~like.contains(places)).sum())
    if outside and outside == len(points):
        raise InputError(
            f"all points of {source} are carried to places outside {like.name}; check that they belong to the template,"
            " or say --inverse where they belong to the target"
        )
    if outside:
        notes.append(Note(NoteKind.SHAPE, f"{outside} of {len(points)} points lie outside {like.name}"))
    return CarriedPoints(places, tuple(notes))


def _empty(source: Path) -> Note:
    return Note(NoteKind.SHAPE, f"{source} holds no point with a position")


def _moved(landmarks: LandmarkSet, known: list[int], places: np.ndarray) -> LandmarkSet:
    """The landmarks with those of some numbers at other places."""
    moved = list(landmarks)
    for index, place in zip(known, places, strict=True):
        moved[index] = replace(moved[index], position=tuple(map(float, place)))
    return replace(landmarks, landmarks=tuple(moved))
