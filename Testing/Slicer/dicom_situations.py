"""DICOM files of one volume with marks, which say more or less of where their frames lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RTDoseStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)  # fmt: skip

ORIENTATION, PIXEL_MM, STEP_MM, FIRST = [1, 0, 0, 0, 1, 0], [1.2, 1.0], 1.5, (-20.0, 30.0, 10.0)


def of(**values: object) -> Dataset:
    """A set of elements by keyword."""
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def multi_frame(
    voxels: np.ndarray,
    numbers: Sequence[int] | None = None,
    place: Callable[[int], Sequence[float]] = lambda number: (FIRST[0], FIRST[1], FIRST[2] + STEP_MM * number),
    slopes: Sequence[float] | None = None,
    orientation: Callable[[int], Sequence[float]] = lambda number: ORIENTATION,
    **values: object,
) -> Callable[[Path], Path]:
    """A writer of an enhanced MR file.

    Args:
        voxels: int16, shape `(slices, rows, columns)`.
        numbers: Of the slices, in the order in which they are stored.
        place: LPS mm of the first pixel of a slice.
        slopes: By which the values of each slice are scaled.
        orientation: Directions along rows and columns of a slice.
        values: Of the file.
    """
    numbers = range(len(voxels)) if numbers is None else numbers
    groups = []
    for number in numbers:
        group = of(
            PlanePositionSequence=[of(ImagePositionPatient=list(place(number)))],
            PlaneOrientationSequence=[of(ImageOrientationPatient=list(orientation(number)))],
        )
        if slopes is not None:
            scale = of(RescaleSlope=slopes[number], RescaleIntercept=0)
            group.PixelValueTransformationSequence = [scale]
        groups.append(group)
    stored = voxels if slopes is None else voxels / np.array(slopes)[:, None, None]
    shared = of(PixelMeasuresSequence=[of(PixelSpacing=PIXEL_MM)])
    given = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": groups, **values}
    return frames(stored[list(numbers)].astype(np.int16), EnhancedMRImageStorage, **given)


def secondary_capture(voxels: np.ndarray) -> Callable[[Path], Path]:
    """A writer of a file that says how far its frames are from one another, but not where they lie."""
    kind = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    return frames(voxels, kind, PixelSpacing=PIXEL_MM, SpacingBetweenSlices=STEP_MM)


def film(voxels: np.ndarray) -> Callable[[Path], Path]:
    """A writer of an ultrasound film, whose frames are times."""
    return frames(voxels, UltrasoundMultiFrameImageStorage, FrameTime=33)


def dose(voxels: np.ndarray, offsets_mm: Sequence[float]) -> Callable[[Path], Path]:
    """A writer of an RT dose, whose slices lie this far from the first."""
    return frames(
        voxels.astype(np.uint16), RTDoseStorage, Modality="RTDOSE", DoseGridScaling=1, ImagePositionPatient=list(FIRST),
        ImageOrientationPatient=ORIENTATION, PixelSpacing=PIXEL_MM, GridFrameOffsetVector=list(offsets_mm),
        FrameIncrementPointer=0x3004000C,
    )  # fmt: skip


def frames(pixels: np.ndarray, kind: UID, **values: object) -> Callable[[Path], Path]:
    """A writer of a file with these pixels."""

    def write(folder: Path) -> Path:
        dataset = of(
            SOPClassUID=kind, SOPInstanceUID=generate_uid(), Modality="MR", SeriesInstanceUID="1.2.3", Rows=22,
            Columns=20, NumberOfFrames=len(pixels), SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
            BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=int(pixels.dtype.kind == "i"),
            PixelData=pixels.tobytes(),
        )  # fmt: skip
        dataset.update(of(**values))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / "scan.dcm", enforce_file_format=True)
        return folder / "scan.dcm"

    return write
