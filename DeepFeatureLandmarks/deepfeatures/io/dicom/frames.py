"""The frames of DICOM files: what each says of its place, its pixels' size and the scale of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfeatures.errors import damaged, reading
from deepfeatures.io.dicom.headers import directions, numbers
from deepfeatures.io.dicom.stacked_frames import stacked, starts_elsewhere

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_COSINE_DIFFERENCE = 1e-3  # between the direction cosines of slices: rounding, not another direction
LARGEST_COMPRESSION = 10_000  # of empty slices
FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
# In which groups of a multi-frame file a value may stand: PS3.3 of the DICOM standard, C.7.6.16, C.8.13 and C.8.15.
GROUPS_OF = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "RescaleType": ("PixelValueTransformationSequence",),
    "RealWorldValueSlope": ("RealWorldValueMappingSequence",),
    "MeasurementUnitsCodeSequence": ("RealWorldValueMappingSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "FrameAcquisitionNumber": ("FrameContentSequence",),
    "FrameAcquisitionDateTime": ("FrameContentSequence",),
    "StackID": ("FrameContentSequence",),
    "EffectiveEchoTime": ("MREchoSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence",),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
    "FrameType": FRAME_TYPES,
}


class Obstacle(str, Enum):
    """Why the frames of a file are no slices of a scan, as messages end: it "is …"."""

    SEGMENTATION = "a segmentation"
    COLOUR = "in colour"
    TABLE = "stored through a table of values"
    MOSAIC = "a mosaic of slices in one picture"
    OFFSETS = "an RT dose whose slice offsets start neither at 0 nor, for axial slices, at the height of the first"


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of one file.

    Args:
        file: The file.
        number: Of the frame in it, from 0.
        syntax: UID of the transfer syntax, which tells how pixels are stored; `None` where the file does not tell.
        size: Columns and rows.
        position: LPS mm of the centre of the first pixel, shape `(3,)`; `None` where the file does not tell.
        axes: Directions along a row and along a column, shape `(2, 3)`; `None` where the file does not tell.
        pixel_mm: Distances of pixels along a row and along a column, shape `(2,)`; `None` where the file does not tell.
        slope, intercept: A value is slope × stored + intercept.
        obstacle: Why it is no slice of a scan, else `None`.
        value: Returns what the header says of this frame by the standard's keyword, `None` where it says nothing.
    """

    file: Path
    number: int
    syntax: str | None
    size: tuple[int, int]
    position: np.ndarray | None
    axes: np.ndarray | None
    pixel_mm: np.ndarray | None
    slope: float
    intercept: float
    obstacle: Obstacle | None
    value: Callable[[str], Any]

    @property
    def is_located(self) -> bool:
        """Whether the file says where it lies and how large its pixels are."""
        return self.position is not None and self.axes is not None and self.pixel_mm is not None


def are_parallel(frames: Sequence[Frame]) -> bool:
    """Whether slices, whose directions are known, have the same."""
    axes = np.array([frame.axes for frame in frames])
    return bool(np.abs(axes - axes[0]).max() <= MAX_COSINE_DIFFERENCE)


def frames_of(path: Path, header: Dataset) -> list[Frame]:
    """All frames of a file, none where it holds no image.

    Raises:
        InputError: The file is damaged.
    """
    if not header.get("Rows"):
        return []
    with reading(path):
        count = int(header.get("NumberOfFrames") or 1)
        own = header.get("PerFrameFunctionalGroupsSequence") or []
        if (own and len(own) != count) or _is_too_short(path, header, count):
            raise damaged(path)
        shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
        if count > 1 and not own:
            return stacked(header, _frame(path, header, shared, 0), count)
        return [_frame(path, header, (*own[number : number + 1], *shared), number) for number in range(count)]


def _is_too_short(path: Path, header: Dataset, count: int) -> bool:
    """Whether a file cannot hold all the pixels of which it speaks, so that no memory is taken for them."""
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

    syntax = header.file_meta.get("TransferSyntaxUID")
    is_plain = syntax is None or not (syntax == DeflatedExplicitVRLittleEndian or UID(syntax).is_encapsulated)
    pixels = count * int(header.Rows) * int(header.Columns)
    most_bytes = path.stat().st_size * (1 if is_plain else LARGEST_COMPRESSION)
    return pixels * int(header.get("BitsAllocated", 8)) > 8 * most_bytes


def _frame(path: Path, header: Dataset, groups: Sequence[Dataset], number: int) -> Frame:
    value = partial(_value, header, groups)
    pixel_mm = numbers(value("PixelSpacing"), 2)
    return Frame(
        path,
        number,
        header.file_meta.get("TransferSyntaxUID"),
        (int(header.Columns), int(header.Rows)),
        numbers(value("ImagePositionPatient"), 3),
        directions(value("ImageOrientationPatient")),
        None if pixel_mm is None or (pixel_mm <= 0).any() else pixel_mm[::-1],  # the file has that between rows first
        *_rescale(value),
        _obstacle(header),
        value,
    )


def _value(header: Dataset, groups: Sequence[Dataset], keyword: str) -> Any:
    """From the groups, those of the frame itself first, else from the file's own level, where groups may be too."""
    for group in (*groups, header):
        for sequence in GROUPS_OF.get(keyword, ()):
            items = group.get(sequence)
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
    return header.get(keyword)


def _rescale(value: Callable[[str], Any]) -> tuple[float, float]:
    """Slope and intercept; of an RT dose the scaling to grays."""
    dose = value("DoseGridScaling")
    slope, intercept = (dose, None) if dose is not None else (value("RescaleSlope"), value("RescaleIntercept"))
    return float(slope or 1), float(intercept or 0)  # a slope of 0 stands for none, as for GDCM


def _obstacle(header: Dataset) -> Obstacle | None:
    if header.get("Modality") == "SEG":
        return Obstacle.SEGMENTATION
    if header.get("SamplesPerPixel", 1) > 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return Obstacle.COLOUR
    if header.get("ModalityLUTSequence"):
        return Obstacle.TABLE
    if "MOSAIC" in (header.get("ImageType") or ()):
        return Obstacle.MOSAIC
    if starts_elsewhere(header):
        return Obstacle.OFFSETS
    return None
