"""Places of frames that the file states once for all: RT dose and reconstructed nuclear medicine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.geometry import LARGEST_COSINE
from deepfeatures.io.dicom.headers import directions, numbers

if TYPE_CHECKING:
    from pydicom import Dataset

    from deepfeatures.io.dicom.frames import Frame

UPRIGHT = np.eye(3)[:2]  # rows and columns along x and y
SAME_MM = 1e-2  # rounding, not another height
# The kinds of nuclear medicine images whose frames are no slices (PS3.3 of the DICOM standard, C.8.4.9).
PROJECTIONS = ("STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "TOMO", "GATED TOMO")
GATED_SLICES = "RECON GATED TOMO"  # which lie at one place for each time slot, so that their order is no place


def stacked(header: Dataset, first: Frame, count: int) -> list[Frame]:
    """The frames of a file without places of their own, each where the file's offsets put it.

    Offsets run along the normal of the first frame: the Grid Frame Offset Vector of an RT dose (C.8.8.3), and slice
    numbers times the Spacing Between Slices, which may be negative, of nuclear medicine (C.8.4.15). Frames of other
    files, such as films and secondary captures, have no place.
    """
    items = header.get("DetectorInformationSequence") or [header]
    position = numbers(items[0].get("ImagePositionPatient"), 3)
    axes = directions(items[0].get("ImageOrientationPatient"))
    offsets_mm = _offsets_mm(header, count)
    if position is None or axes is None or offsets_mm is None:
        return [replace(first, number=number, position=None) for number in range(count)]
    places = position + offsets_mm[:, None] * np.cross(*axes)
    return [replace(first, number=number, position=place, axes=axes) for number, place in enumerate(places)]


def starts_elsewhere(header: Dataset) -> bool:
    """Whether the Grid Frame Offset Vector of an RT dose tells no places.

    It does where it starts at 0. It may give heights instead, in slices that lie `UPRIGHT`, and then starts at that of
    the first (C.8.8.3.2).
    """
    offsets = np.atleast_1d(header.get("GridFrameOffsetVector", 0))
    first = numbers(offsets[:1], 1)
    position = numbers(header.get("ImagePositionPatient"), 3)
    axes = directions(header.get("ImageOrientationPatient"))
    if first is None or position is None or axes is None or abs(first[0]) <= SAME_MM:
        return False
    return bool(abs(first[0] - position[2]) > SAME_MM or np.abs(axes - UPRIGHT).max() > LARGEST_COSINE)


def _offsets_mm(header: Dataset, count: int) -> np.ndarray | None:
    """Of each frame from the first slice, shape `(count,)`; `None` where the file does not tell."""
    offsets = numbers(header.get("GridFrameOffsetVector"), count)
    if offsets is not None:
        return offsets - offsets[0]  # heights themselves where the first is not 0
    kind = (header.get("ImageType") or [])[2:3]
    step = numbers(header.get("SpacingBetweenSlices"), 1)
    if header.get("Modality") != "NM" or step is None or (kind and kind[0] in PROJECTIONS):
        return None
    slices = numbers(header.get("SliceVector"), count)
    if slices is None and kind and kind[0] == GATED_SLICES:
        return None
    return (np.arange(count) if slices is None else slices - 1) * step
