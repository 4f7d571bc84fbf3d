"""Writes DICOM files of an anatomy that is known everywhere: single frames, multi-frame files, compressed or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    RTDoseStorage,
    generate_uid,
)  # fmt: skip

from deepfeatures.data.volume import Volume

AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])
OBLIQUE = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0].T[:2]
SIZE = (20, 14)  # columns and rows
PIXEL_MM = [0.8, 1.1]  # along a row and along a column


def anatomy(points: np.ndarray) -> np.ndarray:
    """The value at LPS mm positions, shape `(…, 3)`: smooth, and different on every side."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 900 + 4 * x - 6 * y + 9 * z + 60 * np.sin(x / 9 + y / 11) * np.cos(z / 8)


def positions(steps_mm: Sequence[float], axes: np.ndarray = AXIAL, sideways: Sequence[float] = (0, 0)) -> np.ndarray:
    """Of slices so far along the normal, and so many mm along x and y further with each mm of height."""
    origin = np.array([-7.0, 12.0, 31.0])
    normal = np.cross(*axes) + np.array(sideways) @ axes
    return origin + np.array(steps_mm, float)[:, None] * normal


def slice_of(position: np.ndarray, axes: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The anatomy in one slice, int16, shape `(rows, columns)`."""
    column, row = np.meshgrid(np.arange(size[0]) * PIXEL_MM[0], np.arange(size[1]) * PIXEL_MM[1])
    points = position + column[..., None] * axes[0] + row[..., None] * axes[1]
    return np.round(anatomy(points)).astype(np.int16)


def largest_difference(volume: Volume, margin: int = 0) -> float:
    """Between a volume's voxels and the anatomy at their positions, without so many slices, rows and columns of rim."""
    inside = [np.arange(margin, size - margin) for size in volume.size]
    indices = np.stack(np.meshgrid(*inside, indexing="ij"), axis=-1).reshape(-1, 3)
    x, y, z = indices.T
    return float(np.abs(volume.voxels.numpy()[z, y, x] - anatomy(volume.to_world(indices))).max())


def image(pixels: np.ndarray, sop_class: str = CTImageStorage, **values: object) -> Dataset:
    """A file with these pixels, shape `(rows, columns)` or `(frames, rows, columns)`, which says no more of them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = sop_class, generate_uid(), "1.2.3"
    dataset.SeriesInstanceUID, dataset.SeriesDescription, dataset.Modality = "1.2.3.4", "T1", "MR"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    if pixels.ndim > 2:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()
    dataset.update(_of(**values))
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    """Write a file and return its path."""
    path.parent.mkdir(exist_ok=True, parents=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, places: np.ndarray, axes: np.ndarray = AXIAL, **values: object) -> Path:
    """Single-frame files of the anatomy, their names in another order than their places; returns the folder."""
    for number, place in enumerate(places):
        given = _of(
            ImagePositionPatient=list(place), ImageOrientationPatient=list(axes.ravel()), PixelSpacing=PIXEL_MM[::-1],
            InstanceNumber=number + 1,
        )  # fmt: skip
        dataset = image(slice_of(place, axes))
        dataset.update(given)
        dataset.update(_of(**{key: value(number) if callable(value) else value for key, value in values.items()}))
        write(dataset, folder / f"{values.get('SeriesNumber', '')}slice{number * 7 % 101:03d}")
    return folder


def enhanced(
    places: np.ndarray,
    axes: np.ndarray = AXIAL,
    sop_class: str = EnhancedMRImageStorage,
    groups: Callable[[int], dict[str, dict[str, object]]] = lambda number: {},
    slopes: Sequence[float] | None = None,
    **values: object,
) -> Dataset:
    """A multi-frame file of the anatomy, its frames in the order of `places`.

    Args:
        places: Of the frames, shape `(N, 3)`.
        axes: Directions of rows and columns, shape `(2, 3)`; or of each frame, shape `(N, 2, 3)`.
        sop_class: Its kind.
        groups: Further groups of each frame by number.
        slopes: Rescale slope of each frame; the intercept is 100 times it.
        values: Of the file.
    """
    axes = np.broadcast_to(axes, (len(places), 2, 3))
    pixels = np.stack([slice_of(place, own) for place, own in zip(places, axes, strict=True)])
    if slopes is not None:
        pixels = np.stack([np.round(one / slope - 100) for one, slope in zip(pixels, slopes, strict=True)])
    dataset = image(pixels.astype(np.int16), sop_class, **values)
    dataset.SharedFunctionalGroupsSequence = [_of(PixelMeasuresSequence=[_of(PixelSpacing=PIXEL_MM[::-1])])]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, place in enumerate(places):
        own = {
            "PlanePositionSequence": {"ImagePositionPatient": list(place)},
            "PlaneOrientationSequence": {"ImageOrientationPatient": list(axes[number].ravel())},
            **groups(number),
        }
        if slopes is not None:
            scale = {"RescaleSlope": slopes[number], "RescaleIntercept": 100 * slopes[number]}
            own["PixelValueTransformationSequence"] = scale
        dataset.PerFrameFunctionalGroupsSequence.append(_of(**{name: [_of(**item)] for name, item in own.items()}))
    return dataset


def dose(steps_mm: Sequence[float], offsets_mm: Sequence[float], scaling: float = 0.5) -> Dataset:
    """An RT dose with slices at these heights, which it states by these offsets."""
    places = positions(steps_mm)
    pixels = np.stack([slice_of(place, AXIAL) / scaling for place in places])
    return image(
        np.round(pixels).astype(np.uint32), RTDoseStorage, Modality="RTDOSE", DoseGridScaling=scaling,
        GridFrameOffsetVector=list(offsets_mm), ImagePositionPatient=list(places[0]),
        ImageOrientationPatient=list(AXIAL.ravel()), PixelSpacing=PIXEL_MM[::-1],
    )  # fmt: skip


def nuclear(step_mm: float, slices: int = 6, kind: str = "RECON TOMO") -> Dataset:
    """A nuclear medicine image with its slices this far from one another, upwards or, where negative, downwards."""
    places = positions(step_mm * np.arange(slices))
    detector = _of(ImagePositionPatient=list(places[0]), ImageOrientationPatient=list(AXIAL.ravel()))
    return image(
        np.stack([slice_of(place, AXIAL) for place in places]), NuclearMedicineImageStorage, Modality="NM",
        ImageType=["ORIGINAL", "PRIMARY", kind, "EMISSION"], DetectorInformationSequence=[detector],
        SpacingBetweenSlices=step_mm, PixelSpacing=PIXEL_MM[::-1],
    )  # fmt: skip


def _of(**values: object) -> Dataset:
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
