"""The grid that the frames of a series make, if they make one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, sheared
from deepfeatures.io.dicom.frames import Frame, are_parallel
from deepfeatures.io.dicom.several_volumes import check_contrast, check_single, stack_notes
from deepfeatures.io.dicom.shifted_slices import upright_shape

SAME_PIXEL = 1e-3  # of a pixel: rounding, not another size
MAX_SLICE_OFFSET = 0.1  # of a slice from its place by even spacing, in slice distances
NOTED_SLICE_OFFSET = 0.01  # from which on it is told
MAX_SIDEWAYS = 0.1  # pixels by which a slice may lie beside the first


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectangular grid of slices.

    Args:
        frames: First slice to last, which lie upwards along the normal of a slice.
        affine: From voxel index to LPS mm, shape `(3, 4)`, of slices that lie one upon the other.
        sideways: Pixels along x and y by which each slice lies beside the first, shape `(slices, 2)`; `None` where they
            lie one upon the other.
        notes: What people should know of the slices.
    """

    frames: tuple[Frame, ...]
    affine: np.ndarray
    sideways: np.ndarray | None = None
    notes: tuple[Note, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the volume."""
        columns, rows = self.frames[0].size
        stored = len(self.frames), rows, columns
        return stored if self.sideways is None else upright_shape(stored, self.sideways)


def grid_of(path: Path, frames: Sequence[Frame]) -> Grid:
    """The grid of one volume's frames, which may come in any order.

    Args:
        path: What messages call the series by.
        frames: Of all its files.

    Raises:
        InputError: They do not make a regular grid.
    """
    subject = f"the DICOM series of {path}"
    _check_alike(subject, frames)
    axes = frames[0].axes
    pixel_mm, normal = frames[0].pixel_mm, np.cross(*axes)
    heights = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(heights, kind="stable")
    frames, heights = [frames[number] for number in order], heights[order]
    check_single(subject, frames, heights)
    check_contrast(subject, frames)
    step_mm = (heights[-1] - heights[0]) / (len(frames) - 1)
    notes = (*_evenness(subject, heights - heights[0], step_mm), *stack_notes(frames))
    positions = np.array([frame.position for frame in frames])
    affine = np.column_stack([*(axes * pixel_mm[:, None]), normal * step_mm, positions[0]])
    sideways_mm = (positions - positions[0]) @ axes.T
    if np.abs(sideways_mm / pixel_mm).max() <= MAX_SIDEWAYS:
        return Grid(tuple(frames), affine, None, notes)
    note = _shift_note(path, sideways_mm, heights - heights[0], pixel_mm)
    return Grid(tuple(frames), affine, sideways_mm / pixel_mm, (note, *notes))


def _check_alike(subject: str, frames: Sequence[Frame]) -> None:
    """Raise `InputError` unless all frames are gray slices of one size and direction, whose places are known."""
    for frame in frames:
        if frame.obstacle:
            raise InputError(f"{subject} is {frame.obstacle.value}; give the scan itself, as the scanner made it")
    if len({frame.size for frame in frames}) > 1:
        raise InputError(f"{subject} has slices of different size; give a series that is one volume")
    if len(frames) < 2:
        raise InputError(f"{subject} is a single slice; give a 3D volume")
    if any(frame.position is None or frame.axes is None for frame in frames):
        raise InputError(
            f"{subject} does not say where its slices lie, as films and secondary captures do not; "
            "give the scan itself, exported from the scanner or archive"
        )
    if any(frame.pixel_mm is None for frame in frames):
        raise InputError(
            f"{subject} does not say how large its pixels are; export it again from the scanner or archive"
        )
    if len({frame.value("RescaleSlope") is None for frame in frames}) > 1:
        raise InputError(f"{subject} says of some slices only how their values are scaled; export it again")
    if not are_parallel(frames):
        raise InputError(f"{subject} has slices that are not parallel; give a series that is one volume")
    pixel_mm = np.array([frame.pixel_mm for frame in frames])
    if np.abs(pixel_mm / pixel_mm[0] - 1).max() > SAME_PIXEL:
        raise InputError(f"{subject} has slices with pixels of different size; give a series that is one volume")


def _evenness(subject: str, heights_mm: np.ndarray, step_mm: float) -> tuple[Note, ...]:
    """A note where slices lie a little off even places; raises `InputError` where they lie far off."""
    offset_mm = np.abs(heights_mm - np.arange(len(heights_mm)) * step_mm).max()
    if offset_mm > MAX_SLICE_OFFSET * step_mm:
        steps_mm = np.diff(heights_mm)
        raise InputError(
            f"{subject} is not evenly sliced (steps of {steps_mm.min():.3g} to {steps_mm.max():.3g} mm), with slices "
            "missing or of several volumes; export it again as one complete volume"
        )
    if offset_mm <= NOTED_SLICE_OFFSET * step_mm:
        return ()
    text = f"slices lie up to {offset_mm:.2g} mm off even steps of {step_mm:.3g} mm, and are taken as even"
    return (Note(NoteKind.UNEVEN, text),)


def _shift_note(path: Path, sideways_mm: np.ndarray, heights_mm: np.ndarray, pixel_mm: np.ndarray) -> Note:
    """That slices are shifted; raises `InputError` where they lie beside one another more than one upon the other."""
    farthest_mm = np.linalg.norm(sideways_mm, axis=1).max()
    if farthest_mm > heights_mm[-1]:
        raise sheared(path)
    by_tilt = np.outer(heights_mm / heights_mm[-1], sideways_mm[-1])
    if np.abs((sideways_mm - by_tilt) / pixel_mm).max() > MAX_SIDEWAYS:
        return Note(NoteKind.SHEAR, f"slices lie up to {farthest_mm:.3g} mm beside the first, and each is shifted")
    degrees = np.degrees(np.arctan2(np.linalg.norm(sideways_mm[-1]), heights_mm[-1]))
    return Note(NoteKind.SHEAR, f"gantry tilt of {degrees:.3g} degrees undone by shifting each slice")
