"""Finds the slices of a DICOM series and checks that they make a regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.errors import InputError, damaged, sheared

if TYPE_CHECKING:
    import SimpleITK as sitk

DICOM_IO = "GDCMImageIO"  # ITK's name of what reads DICOM
# Tags as ITK writes them.
MODALITY, SERIES, SERIES_DESCRIPTION = "0008|0060", "0020|000e", "0008|103e"
SLICE_POSITION, SLICE_ORIENTATION, PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"

MAX_COSINE_DIFFERENCE = 1e-3  # between the direction cosines of slices: rounding, not another direction
MAX_SLICE_OFFSET = 0.1  # of a slice from its place by even spacing, in slice distances


def series_around(file: Path) -> Sequence[str]:
    """The files of the series of which `file` is one, first slice to last; the file alone where it has all slices."""
    import SimpleITK as sitk

    header = read_header(file)
    series = dicom_tag(header, SERIES)
    if _slice_count(header) > 1 or not series:
        return [str(file)]
    return sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(file.parent), series) or [str(file)]


def series_in(folder: Path) -> Sequence[str]:
    """The files of the one DICOM volume in `folder`; scouts, reports and other single slices do not count.

    Raises:
        InputError: There is no volume, or more than one.
    """
    import SimpleITK as sitk

    every = [
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
        for series in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    ]
    volumes = [files for files in every if len(files) > 1 or _is_volume(Path(files[0]))]
    if not volumes:
        raise InputError(
            f"the folder {folder} holds no DICOM volume; give the folder in which the slices themselves lie"
        )
    if len(volumes) > 1:
        first = [Path(files[0]) for files in volumes]
        named = ", ".join(f"{file.name}: {dicom_tag(read_header(file), SERIES_DESCRIPTION) or '?'}" for file in first)
        raise InputError(
            f"the folder {folder} holds {len(volumes)} DICOM volumes; give one file of the right one ({named})"
        )
    return volumes[0]


def read_headers(path: Path, files: Sequence[str]) -> list[sitk.ImageFileReader]:
    """The headers of a series whose slices make a regular grid.

    Args:
        path: What messages call the series.
        files: First slice to last.

    Raises:
        InputError: A file is damaged, or the slices do not make a regular grid.
    """
    headers = [read_header(Path(file)) for file in files]
    _check_slices(path, headers)
    return headers


def _is_volume(file: Path) -> bool:
    try:
        return _slice_count(read_header(file)) > 1
    except InputError:  # DICOM holds reports and contours too
        return False


def _slice_count(header: sitk.ImageFileReader) -> int:
    return header.GetSize()[2] if header.GetDimension() > 2 else 1


def read_header(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of one file; raises `InputError` where the file is damaged."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(DICOM_IO)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise damaged(path) from error
    return reader


def _check_slices(path: Path, slices: Sequence[sitk.ImageFileReader]) -> None:
    """Raise `InputError` unless the slices, first to last, make a regular grid."""
    if len({header.GetSize() for header in slices}) > 1:
        raise InputError(f"the DICOM series of {path} has slices of different size; give a series that is one volume")
    if any(header.GetNumberOfComponents() > 1 for header in slices):
        raise InputError(f"the DICOM series of {path} is in colour; give the series of the scan itself")
    positions = np.array([_numbers(header, SLICE_POSITION, 3, path) for header in slices])
    axes = np.array([_numbers(header, SLICE_ORIENTATION, 6, path) for header in slices])
    pixel_mm = _numbers(slices[0], PIXEL_SPACING, 2, path).min()
    if np.abs(axes - axes[0]).max() > MAX_COSINE_DIFFERENCE:
        raise InputError(
            f"the DICOM series of {path} has slices that are not parallel; give a series that is one volume"
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    offset_mm = np.linalg.norm(positions - positions[0] - np.arange(len(positions))[:, None] * step, axis=1).max()
    if not offset_mm <= MAX_SLICE_OFFSET * np.linalg.norm(step) or not step.any():
        raise InputError(
            f"the DICOM series of {path} is not evenly sliced (off by up to {offset_mm:.3g} mm), with slices missing, "
            "doubled or of several volumes; export it again as one complete volume"
        )
    normal = np.cross(axes[0, :3], axes[0, 3:])
    sideways = np.linalg.norm(step - step @ normal * normal) * (len(positions) - 1)
    if sideways > MAX_SLICE_OFFSET * pixel_mm:
        raise sheared(path)


def dicom_tag(reader: sitk.ImageFileReader, key: str) -> str | None:
    """The text of a tag, written as `"0008|0060"`; `None` where the header does not have it."""
    return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else None


def _numbers(header: sitk.ImageFileReader, key: str, count: int, path: Path) -> np.ndarray:
    try:
        values = np.array((dicom_tag(header, key) or "").split("\\"), float)
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(
            f"the DICOM series of {path} does not say where its slices lie; export it again from the scanner or archive"
        )
    return values
