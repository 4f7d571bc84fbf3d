"""NIfTI, NRRD and MetaImage files, read through ITK."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.geometry import likelihood_notes, size_mm
from deepfeatures.data.notes import Note
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, damaged, is_out_of_memory, no_geometry, not_finite, sheared
from deepfeatures.io import metaimage, nifti, nifti_voxels, nrrd
from deepfeatures.io.atomic_write import require_utf8_name
from deepfeatures.io.chunked import read_averaged
from deepfeatures.io.volume_header import VolumeFile, check_affine, volume_of

if TYPE_CHECKING:
    import SimpleITK as sitk

NIFTI_IO = "NiftiImageIO"
NRRD_IO, META_IO = "NrrdImageIO", "MetaImageIO"
IMAGE_IOS = (NIFTI_IO, NRRD_IO, META_IO)
TEXT_HEADERS = {NRRD_IO: nrrd.check_header, META_IO: metaimage.check_header}
NIFTI_TYPE = "nifti_type"
MODALITY = "0008|0060"  # a tag, as ITK writes it
PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
_ONE_READER = threading.RLock()


def open_image(path: Path) -> VolumeFile:
    """One file, whose header was found good.

    Raises:
        InputError: The file is not a volume that can be read, as far as its header tells.
    """
    import SimpleITK as sitk

    require_utf8_name(path)
    image_io = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if image_io not in IMAGE_IOS:
        if nifti.is_second_version(path):
            raise InputError(f"{path} is NIfTI-2, which cannot be read; convert it to NIfTI-1")
        raise InputError(f"{path} is not a volume; give NIfTI, NRRD, MetaImage, OME-Zarr or a DICOM series, undamaged")
    header = nifti.read_header(path) if image_io == NIFTI_IO else None
    notes = TEXT_HEADERS[image_io](path) if image_io in TEXT_HEADERS else ()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    permissive = _read_information(reader, path, has_good_sform=header is not None and header.has_good_sform)
    _check_information(reader, path)
    affine = _affine(reader)
    if header:
        affine, notes = _nifti_affine(header, affine, path), nifti.notes_of(header)
    check_affine(affine, path)
    shape = tuple(reader.GetSize()[2::-1])
    edges_mm = size_mm(shape[::-1], np.linalg.norm(affine[:, :3], axis=0))
    notes = (*notes, *likelihood_notes(edges_mm, affine[:, 3]))

    def read() -> Volume:
        voxel_notes: tuple[Note, ...] = ()
        if header:
            voxel_notes = nifti_voxels.check_voxels(path, header)
            if header.voxel_offset < nifti.FIRST_VOXEL:  # ITK would begin too early
                voxels, _ = read_averaged(nifti_voxels.by_region(path, header, shape, affine))
                return volume_of(path, voxels, affine, notes=(*notes, *voxel_notes))
        elif image_io == META_IO:
            voxel_notes = metaimage.check_voxels(path)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        image = _execute(reader, path, permissive)
        surplus = image.GetDimension() - 3  # axes of length 1, or the header would not have passed
        if surplus:
            image = sitk.Extract(image, (*image.GetSize()[:3], *[0] * surplus))
        return _volume(path, image, affine, _modality(reader), (*notes, *voxel_notes))

    if not header:
        return VolumeFile(path, shape, read, notes=notes)
    return VolumeFile(path, shape, read, lambda: [nifti_voxels.by_region(path, header, shape, affine)], notes)


def _nifti_affine(header: nifti.NiftiHeader, in_itk: np.ndarray, path: Path) -> np.ndarray:
    """The `(3, 4)` matrix of a NIfTI file: ITK's, but for the voxel size of an sform that is used."""
    if header.uses_sform:
        return header.sform
    if not header.has_usable_pixdim:
        raise no_geometry(path)
    return in_itk


def _volume(
    path: Path, image: sitk.Image, affine: np.ndarray, modality: str | None, notes: tuple[Note, ...] = ()
) -> Volume:
    import SimpleITK as sitk

    voxels = sitk.GetArrayFromImage(image)
    wrong = voxels.size - int(np.isfinite(voxels).sum())
    if wrong:
        raise not_finite(path, wrong)
    return volume_of(path, voxels, affine, modality, notes)


def _read_information(reader: sitk.ImageFileReader, path: Path, has_good_sform: bool) -> bool:
    """Read the header; returns whether ITK had to be permissive, which it must be only of a sform that is good."""
    for permissive in (False, True):
        try:
            with _reading(permissive):
                reader.ReadImageInformation()
        except RuntimeError as error:
            if permissive or not has_good_sform:
                raise (sheared(path) if "orthonormal" in str(error) else damaged(path)) from error
        else:
            break
    return permissive


def _execute(reader: sitk.ImageFileReader, path: Path, permissive: bool = False) -> sitk.Image:
    try:
        with _reading(permissive):
            return reader.Execute()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError(str(path)) from error
        raise damaged(path) from error


def _check_information(reader: sitk.ImageFileReader, path: Path) -> None:
    """Raise `InputError` unless the header is that of one scalar 3D volume."""
    size = reader.GetSize()
    shape = " × ".join(map(str, size))
    if reader.HasMetaDataKey(NIFTI_TYPE) and reader.GetMetaData(NIFTI_TYPE) != "1":
        raise InputError(f"{path} keeps header and voxels in two files or is Analyze; save it as .nii.gz")
    if any(length > 1 for length in size[3:]):
        raise InputError(f"{path} has {len(size)} axes ({shape}); give one of its 3D volumes, saved on its own")
    components = reader.GetNumberOfComponents()
    if components > 1:
        raise InputError(f"{path} has {components} values a voxel (colour, vector or complex); give a scalar volume")
    if 0 in size:
        raise InputError(f"{path} is empty ({shape} voxels); give a volume with voxels")
    if len(size) < 3 or 1 in size[:3]:
        raise InputError(f"{path} is a single slice ({shape} voxels); give a 3D volume")


def _modality(reader: sitk.ImageFileReader) -> str | None:
    """Of a NRRD or MetaImage file that keeps the tags of the DICOM series from which it was made."""
    return reader.GetMetaData(MODALITY).strip() if reader.HasMetaDataKey(MODALITY) else None


def _affine(source: sitk.ImageFileReader | sitk.Image) -> np.ndarray:
    """The `(3, 4)` matrix from voxel index to LPS mm of the first three axes."""
    axes = len(source.GetSpacing())
    direction = np.array(source.GetDirection()).reshape(axes, axes)[:3, :3]
    return np.column_stack([direction * source.GetSpacing()[:3], source.GetOrigin()[:3]])


@contextmanager
def _reading(permissive: bool) -> Iterator[None]:
    """One thread at a time; `permissive` lets ITK read a NIfTI file whose sform is not quite orthonormal.

    ITK takes that from the environment only, which all threads share. It is changed for such files alone.
    """
    with _ONE_READER:
        before = os.environ.get(PERMISSIVE)
        if permissive:
            os.environ[PERMISSIVE] = "ON"
        try:
            yield
        finally:
            if permissive and before is None:
                del os.environ[PERMISSIVE]
            elif permissive:
                os.environ[PERMISSIVE] = before
