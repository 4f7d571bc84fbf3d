"""Volumes read from and written to files: NIfTI, NRRD, MetaImage, DICOM series and OME-Zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io import nifti_voxels, ome_zarr
from deepfeatures.io.atomic_write import atomic_write, require_utf8_name
from deepfeatures.io.chunked import read_averaged
from deepfeatures.io.dicom.headers import is_dicom
from deepfeatures.io.dicom.volume import open_dicom
from deepfeatures.io.itk_files import open_image
from deepfeatures.io.volume_header import VolumeFile, volume_of

WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")  # one file each, so that it can appear whole


def open_volume(path: str | Path, series: str | None = None) -> VolumeFile:
    """The volume at `path`, of which only the header has been read.

    `path` is a NIfTI, NRRD or MetaImage file, an OME-Zarr folder, the folder of a DICOM series, or any file of one.

    Args:
        path: The file or folder.
        series: Number, UID or description of the series to read where a folder of DICOM files holds several, see
            `dicom.series.list_series`.

    Raises:
        InputError: There is no such volume. Or its header shows that it is damaged, not three-dimensional, empty, a
            single slice, in colour, sheared or unevenly sliced.
    """
    path = Path(path)
    if ome_zarr.is_zarr(path):
        return _open_zarr(path)
    ome_zarr.require_unzipped(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    require_utf8_name(path)
    if path.is_dir() or is_dicom(path):
        return open_dicom(path, series)
    return open_image(path)


def read_volume(path: str | Path, series: str | None = None) -> Volume:
    """Read all of a volume, see `open_volume`; of an OME-Zarr folder the finest level.

    `downsampled_reading.read_within_memory` reads what does not fit in memory. Where a NIfTI file has
    two matrices that differ, the qform is used unless the sform's code is 1, as in 3D Slicer. What is doubtful about
    the geometry stands in the volume's notes.

    Raises:
        InputError: As `open_volume`, or voxels are damaged or not finite.
    """
    return open_volume(path, series).read()


def check_volume(path: str | Path, series: str | None = None) -> None:
    """Raise `InputError` where `read_volume` would, as far as the header alone tells: quick for any volume."""
    open_volume(path, series)


def write_volume(volume: Volume, path: str | Path, *, labels: bool = False) -> None:
    """Write `volume` as `.nii.gz`, `.nii`, `.nrrd` or `.mha`, float32, whole or not at all.

    Args:
        volume: What is written.
        path: File.
        labels: Whether its voxels are whole numbers, which are then written as such: int16, or int32 where needed.

    Raises:
        InputError: Where the suffix is another, the path is not UTF-8 or the file cannot be written.
    """
    import SimpleITK as sitk

    path = Path(path)
    require_utf8_name(path)
    suffix = next((suffix for suffix in WRITABLE_SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"cannot write {path}: give a name that ends in one of {', '.join(WRITABLE_SUFFIXES)}")
    voxels = volume.voxels.detach().cpu().to(torch.float32).numpy()
    if labels:
        voxels = voxels.astype(np.int16 if np.abs(voxels).max() <= np.iinfo(np.int16).max else np.int32)
    image = sitk.GetImageFromArray(voxels)
    image.SetOrigin([float(value) for value in volume.origin])
    image.SetSpacing([float(value) for value in volume.spacing])
    image.SetDirection([float(value) for value in np.asarray(volume.direction).ravel()])
    with atomic_write(path, suffix) as draft:
        try:
            sitk.WriteImage(image, str(draft), useCompression=suffix != ".nii")
            if suffix.startswith(".nii"):  # of a full disk ITK says nothing here
                nifti_voxels.require_whole(draft)
        except (RuntimeError, InputError) as error:
            raise InputError(f"cannot write {path}; choose a folder that you may write to and that has room") from error


def _open_zarr(path: Path) -> VolumeFile:
    levels, notes = ome_zarr.read_levels(path)

    def read() -> Volume:
        return volume_of(path, *read_averaged(levels[0]), notes=notes)

    return VolumeFile(path, levels[0].shape, read, lambda: levels, notes)
