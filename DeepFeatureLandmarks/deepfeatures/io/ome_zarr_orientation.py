"""How the axes of an OME-Zarr image lie in the patient, and from where its position is counted.

RFC 4 gives the direction in which each axis grows. By its text a position is counted along that direction. The most
used writer, ngff-zarr, keeps to this only in part: from ITK images it writes the LPS position, from NIfTI files the RAS
position, whatever the directions. Both are recognised by what ngff-zarr writes besides.

https://ngff.openmicroscopy.org/rfc/4, https://github.com/fideus-labs/ngff-zarr (0.18 to 0.50).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted

Axes = Mapping[str, Mapping[str, Any]]  # x, y and z as the file describes them

WORLD = ("x", "y", "z")
LPS_LETTERS = dict(zip(WORLD, "LPS", strict=True))
DIRECTIONS = {
    "right-to-left": (1, 0, 0),
    "left-to-right": (-1, 0, 0),
    "anterior-to-posterior": (0, 1, 0),
    "posterior-to-anterior": (0, -1, 0),
    "inferior-to-superior": (0, 0, 1),
    "superior-to-inferior": (0, 0, -1),
}
NGFF_ZARR_TYPE = "ngff:Image"
NGFF_ZARR_LEVEL = re.compile(r"scale\d+/.+")
NGFF_ZARR_NIFTI = "nibabel_converted_image"
HALF_A_VOXEL = 0.5


class Counting(Enum):
    """From where the position of the first voxel is counted, and the words for it."""

    ALONG_AXES = "along its axes, as RFC 4 has it"
    LPS = "as L, P, S, as ngff-zarr writes it from ITK images"
    RAS = "as R, A, S, as ngff-zarr writes it from NIfTI files"


def in_patient(
    levels: Sequence[np.ndarray], axes: Axes, counting: Counting, path: Path
) -> tuple[list[np.ndarray], tuple[Note, ...]]:
    """The levels in LPS mm, and what people should know of that.

    Args:
        levels: `(3, 4)` matrices from voxel index to millimetres along x, y, z, the finest level first.
        axes: With their orientation, where the file has it.
        counting: See `counting_of`.
        path: What messages call the image.

    Raises:
        InputError: The orientations are none of a patient's, or two axes run along one line.
    """
    directions = np.column_stack([_direction(name, axes[name], path) for name in WORLD])
    if np.abs(directions).sum(axis=1).tolist() != [1, 1, 1]:
        raise InputError(f"{path} has two axes along one direction of the patient; save it with right orientations")
    first = levels[0][:, 3]
    origins = {
        Counting.ALONG_AXES: directions @ first,
        Counting.LPS: first,
        Counting.RAS: first * (-1, -1, 1),
    }
    origin = origins[counting]
    # coarser levels are shifted along the axes, however the finest is placed
    placed = [
        np.column_stack([directions @ level[:, :3], origin + directions @ (level[:, 3] - first)]) for level in levels
    ]
    other = origins[Counting.LPS if counting is Counting.ALONG_AXES else Counting.ALONG_AXES]
    voxel_mm = np.linalg.norm(levels[0][:, :3], axis=0).min()
    notes = _notes_of_missing(axes)
    if np.abs(origin - other).max() > HALF_A_VOXEL * voxel_mm:
        notes.append(Note(NoteKind.ORIENTATION, f"the position of its first voxel is read {counting.value}"))
    return placed, tuple(notes)


def counting_of(image: Mapping[str, Any], axes: Axes, path: Path) -> Counting:
    """From where the writer of a multiscale image counts positions.

    Raises:
        InputError: ngff-zarr wrote it of a NIfTI file, and left out how the axes lie.
    """
    levels = image["datasets"]
    if image.get("@type") != NGFF_ZARR_TYPE and not all(NGFF_ZARR_LEVEL.fullmatch(level["path"]) for level in levels):
        return Counting.ALONG_AXES
    orientations = [axes[name].get("orientation") for name in WORLD]
    is_nifti = image.get("name") == NGFF_ZARR_NIFTI or any(isinstance(value, str) for value in orientations)
    if is_nifti and None in orientations:
        raise InputError(
            f"{path} was made of a NIfTI file, and does not say how its axes lie in the patient; give the NIfTI file"
        )
    return Counting.RAS if is_nifti else Counting.LPS


def _direction(name: str, axis: Mapping[str, Any], path: Path) -> tuple[int, int, int]:
    """The LPS unit vector along which the axis grows; along L, P, S as in ITK where the file does not say."""
    value = axis.get("orientation")
    value = value.get("value") if isinstance(value, Mapping) else value
    if value is None:
        return tuple(np.eye(3, dtype=int)[WORLD.index(name)].tolist())
    if value not in DIRECTIONS:
        raise InputError(f"{path} has an axis of orientation {quoted(value)}; give one of {', '.join(DIRECTIONS)}")
    return DIRECTIONS[value]


def _notes_of_missing(axes: Axes) -> list[Note]:
    names = [name for name in WORLD if not axes[name].get("orientation")]
    if not names:
        return []
    letters = ", ".join(LPS_LETTERS[name] for name in names)
    return [
        Note(
            NoteKind.ORIENTATION,
            f"the file does not say how its axes lie in the patient: {', '.join(names)} are taken as {letters}",
        )
    ]
