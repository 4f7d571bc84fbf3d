"""Headers of DICOM files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfeatures.data.geometry import LARGEST_COSINE
from deepfeatures.errors import damaged, reading

if TYPE_CHECKING:
    from pydicom import Dataset

PREAMBLE_BYTES, MARK = 128, b"DICM"
START_BYTES = PREAMBLE_BYTES + len(MARK)
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # of a file without the mark, as old programs wrote them
# Read of every file; the groups of frames are those of multi-frame files.
KEYWORDS = (
    "SOPClassUID", "ImageType", "Modality", "AcquisitionTime", "ContentTime", "SeriesDescription",
    "SeriesInstanceUID", "SeriesNumber", "ConcatenationUID", "AcquisitionNumber", "KVP", "EchoTime", "EchoNumbers",
    "InversionTime", "TriggerTime", "FrameReferenceTime", "DiffusionBValue", "TemporalPositionIdentifier",
    "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "Units", "RealWorldValueMappingSequence", "ModalityLUTSequence",
    "DoseGridScaling", "GridFrameOffsetVector", "SliceVector",
    "DetectorInformationSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return begins_as_dicom(file.read(START_BYTES))


def begins_as_dicom(start: bytes) -> bool:
    """Whether these `START_BYTES`, or more, are the first of a DICOM file."""
    return start[PREAMBLE_BYTES:START_BYTES] == MARK or (start[:2] in FIRST_GROUPS and start[3:4] == b"\x00")


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files of a folder by name, without those of its subfolders."""
    return (file for file in sorted(folder.iterdir()) if file.is_file() and is_dicom(file))


def holds_dicom(folder: Path) -> bool:
    """Whether any file of a folder is DICOM."""
    return next(dicom_files(folder), None) is not None


def read_header(path: Path) -> Dataset:
    """What the file says but its pixels, of `KEYWORDS` only.

    Raises:
        InputError: The file is damaged, or is an image whose header is cut short.
    """
    import pydicom

    with reading(path):
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(KEYWORDS))
        kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
        if not header.get("Rows") and (kind is None or "Image Storage" in kind.name):
            raise damaged(path)
    return header


@contextmanager
def _without_warnings() -> Iterator[None]:
    """pydicom warns of values that do not keep to the standard; those that matter are checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def told(get: Callable[[str], Any], keyword: str) -> str:
    """What a header says, as text; empty where it says nothing, or nothing that can be read.

    Args:
        get: Returns the value of a keyword.
        keyword: Of the standard, for something without which a volume can be read.
    """
    try:
        with _without_warnings():
            value = get(keyword)
    except Exception:  # pydicom converts values when they are asked for
        return ""
    return "" if value is None else str(value).strip()


def numbers(value: Any, count: int) -> np.ndarray | None:
    """So many finite numbers, shape `(count,)`; `None` where `value` is anything else."""
    try:
        array = np.atleast_1d(np.array(value, float))
    except (TypeError, ValueError):
        return None
    return array if array.shape == (count,) and np.isfinite(array).all() else None


def directions(orientation: Any) -> np.ndarray | None:
    """Unit vectors along a row and along a column, shape `(2, 3)`, of an Image Orientation (Patient).

    `None` where there is none, or where the two are not at right angles but for rounding.
    """
    given = numbers(orientation, 6)
    if given is None:
        return None
    row, column = given.reshape(2, 3)
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > LARGEST_COSINE:
        return None
    row = row / np.linalg.norm(row)
    column = column - column @ row * row
    return np.stack([row, column / np.linalg.norm(column)])
