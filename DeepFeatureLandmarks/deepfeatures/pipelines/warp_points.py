"""Landmarks, curves, planes and regions carried from one volume to another by a transform, file to file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.io.atomic_write import write_text
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.markups_shapes import control_points, read_markups, warped_markups
from deepfeatures.transforms.transform import InverseTransform, Transform

MARKUPS = ".json"
INEXACT_MM = 1e-3  # by which an inverse may miss without a note


def write_warped_points(transform: Transform, source: Path, output: Path) -> tuple[Note, ...]:
    """Write the points or shapes of a file where a transform takes them.

    Between `.mrk.json` files everything that is not geometry is kept: a curve stays a curve, a plane a plane. Between
    other formats points keep what both formats hold, see `read_landmarks` and `write_landmarks`.

    Args:
        transform: From the space of `source` to that of `output`, LPS mm.
        source, output: Landmark files of any format, `output` in the format that its suffix names.

    Returns:
        What could not be carried exactly, or not be written.

    Raises:
        InputError: The source cannot be read, or the output not be written.
    """
    if all(path.name.lower().endswith(MARKUPS) for path in (source, output)):
        content = read_markups(source)
        warped, notes = warped_markups(content, transform, source)
        points = np.concatenate([control_points(markup, source) for markup in content["markups"]])
        write_text(output, json.dumps(warped, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return (*notes, *inverse_notes(transform, points[~np.isnan(points).any(1)]))
    landmarks = read_landmarks(source)
    notes = write_landmarks(warped_landmarks(landmarks, transform), output)
    positions = landmarks.positions
    return (*landmarks.notes, *notes, *inverse_notes(transform, positions[~np.isnan(positions).any(1)]))


def warped_landmarks(landmarks: LandmarkSet, transform: Transform) -> LandmarkSet:
    """The landmarks where a transform takes them; those without a position stay without one."""
    known = [index for index, landmark in enumerate(landmarks) if landmark.position is not None]
    moved = list(landmarks)
    places = transform(np.array([landmarks[index].position for index in known]).reshape(-1, 3))
    for index, place in zip(known, places, strict=True):
        moved[index] = replace(moved[index], position=tuple(map(float, place)))
    return replace(landmarks, landmarks=tuple(moved))


def inverse_notes(transform: Transform, points: np.ndarray) -> tuple[Note, ...]:
    """A note where a transform is an inverse that misses at some of the points, LPS mm, `(N, 3)`."""
    if not isinstance(transform, InverseTransform) or not len(points):
        return ()
    off = transform.forward.inverse(points).errors_mm
    if off.max() <= INEXACT_MM:
        return ()
    count = int((off > INEXACT_MM).sum())
    text = (
        f"the transform has no exact inverse at {count} of {len(points)} points: it misses by up to {off.max():.2g} mm"
    )
    return (Note(NoteKind.SHAPE, text),)
