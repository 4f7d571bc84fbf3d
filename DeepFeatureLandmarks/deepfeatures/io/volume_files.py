"""Volumes read from and written to files: NIfTI, NRRD, MetaImage and DICOM through ITK, OME-Zarr."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, damaged, is_out_of_memory, not_finite, sheared
from deepfeatures.io import metaimage, nifti, ome_zarr
from deepfeatures.io.atomic_write import require_utf8_name, whole_file
from deepfeatures.io.chunked import read_averaged
from deepfeatures.io.dicom import MODALITY, dicom_header, dicom_series, dicom_tag

if TYPE_CHECKING:
    import SimpleITK as sitk

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".ima")
WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")  # one file each, so that it can appear whole
NIFTI = "NiftiImageIO"
READERS = (NIFTI, "NrrdImageIO", "MetaImageIO", "GDCMImageIO")
NIFTI_TYPE = "nifti_type"
PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
_ONE_READER = threading.RLock()
LARGEST_COSINE = 0.01  # between two axes: less is rounding, which the matrix keeps; more would be shear


def image_stem(path: str | Path) -> str:
    """The file name of an image without its image suffix: `"scan.v2"` for `"data/scan.v2.nii.gz"`.

    Names without a known suffix, as DICOM files and folders often have them, stay whole.
    """
    name = Path(path).name or Path(path).resolve().name
    for suffix in (*IMAGE_SUFFIXES, *ome_zarr.SUFFIXES):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI, NRRD or MetaImage file, the finest level of an OME-Zarr folder, or a DICOM series: its folder, or
    any one of its files.

    All of it; `large.read_fitting` reads what does not fit in memory. Of a NIfTI file's two matrices the sform counts;
    where it is sheared and the qform is not, the qform, as in Slicer.

    Raises:
        InputError: Where there is no such volume, or it is damaged, not three-dimensional, empty, a single slice, in
            colour, sheared, unevenly sliced, or holds voxels that are not finite.
    """
    import SimpleITK as sitk

    path = Path(path)
    if ome_zarr.is_zarr(path):
        return volume_of(path, *read_averaged(ome_zarr.read_levels(path)[0]))
    files = dicom_series(path)
    if len(files) > 1:
        image, affine, modality = _read_series(path, files)
    else:
        image, affine, modality = _read_file(Path(*files) if files else path)
    voxels = sitk.GetArrayFromImage(image)
    wrong = voxels.size - int(np.isfinite(voxels).sum())
    if wrong:
        raise not_finite(path, wrong)
    return volume_of(path, voxels, affine, modality)


def volume_of(
    path: Path, voxels: np.ndarray, affine: np.ndarray, modality: str | None = None, note: str | None = None
) -> Volume:
    """The volume with float32 voxels `(depth, height, width)` and this `(3, 4)` matrix from voxel index to LPS mm.

    Raises:
        InputError: The matrix is no rectangular grid's.
    """
    _check_affine(affine, path)
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    return Volume(
        torch.from_numpy(voxels), affine[:, 3], spacing, affine[:, :3] / spacing, image_stem(path), modality, note
    )


def check_volume(path: str | Path) -> None:
    """Raise `InputError` where `read_volume` would, as far as the header alone tells: quick for any volume."""
    path = Path(path)
    if ome_zarr.is_zarr(path):
        ome_zarr.read_levels(path)
        return
    files = dicom_series(path)
    if len(files) < 2:
        with opened(Path(*files) if files else path):
            pass


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write `volume` as `.nii.gz`, `.nii`, `.nrrd` or `.mha`, float32, whole or not at all.

    Raises:
        InputError: Where the suffix is another, the path is not UTF-8 or the file cannot be written.
    """
    import SimpleITK as sitk

    path = Path(path)
    require_utf8_name(path)
    suffix = next((suffix for suffix in WRITABLE_SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"cannot write {path}: give a name that ends in one of {', '.join(WRITABLE_SUFFIXES)}")
    image = sitk.GetImageFromArray(volume.voxels.detach().cpu().to(torch.float32).numpy())
    image.SetOrigin([float(value) for value in volume.origin])
    image.SetSpacing([float(value) for value in volume.spacing])
    image.SetDirection([float(value) for value in np.asarray(volume.direction).ravel()])
    with whole_file(path, suffix) as draft:
        try:
            sitk.WriteImage(image, str(draft), useCompression=suffix != ".nii")
            if suffix.startswith(".nii"):  # of a full disk ITK says nothing here
                nifti.require_whole(draft)
        except (RuntimeError, InputError) as error:
            raise InputError(f"cannot write {path}; choose a folder that you may write to and that has room") from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[sitk.ImageFileReader, np.ndarray]]:
    """A reader of one file whose header is found good, and its `(3, 4)` matrix from voxel index to LPS mm."""
    import SimpleITK as sitk

    require_utf8_name(path)
    format_reader = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if format_reader not in READERS:
        if nifti.is_second_version(path):
            raise InputError(f"{path} is NIfTI-2, which cannot be read; convert it to NIfTI-1")
        raise InputError(f"{path} is not a volume; give NIfTI, NRRD, MetaImage, OME-Zarr or a DICOM series, undamaged")
    header = nifti.read_header(path) if format_reader == NIFTI else None
    sform = header.sform if header else None
    if sform is not None and not _is_rectangular(sform):
        sform = None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _reading(any_sform=sform is not None):
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise (sheared(path) if "orthonormal" in str(error) else damaged(path)) from error
        _check_header(reader, path)
        if header and sform is None and not (np.isfinite(header.pixdim) & (header.pixdim != 0)).all():
            raise _without_geometry(path)
        affine = _affine(reader) if sform is None else sform
        _check_affine(affine, path)
        yield reader, affine


def _read_file(path: Path) -> tuple[sitk.Image, np.ndarray, str | None]:
    import SimpleITK as sitk

    with opened(path) as (reader, affine):
        if header := nifti.read_header(path):
            nifti.require_finite(path, header)
        if path.suffix.lower() == ".mha":
            metaimage.check_voxels(path)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        image = _execute(reader, path)
        modality = dicom_tag(reader, MODALITY)
    surplus = image.GetDimension() - 3  # axes of length 1, or the header would not have passed
    if surplus:
        image = sitk.Extract(image, (*image.GetSize()[:3], *[0] * surplus))
    return image, affine, modality


def _read_series(path: Path, files: Sequence[str]) -> tuple[sitk.Image, np.ndarray, str | None]:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(files)
    reader.SetOutputPixelType(sitk.sitkFloat32)  # slices may be scaled each by its own slope
    image = _execute(reader, path)
    affine = _affine(image)
    _check_affine(affine, path)
    return image, affine, dicom_tag(dicom_header(Path(files[0])), MODALITY)


def _execute(reader: sitk.ImageFileReader | sitk.ImageSeriesReader, path: Path) -> sitk.Image:
    try:
        return reader.Execute()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError(str(path)) from error
        raise damaged(path) from error


def _check_header(reader: sitk.ImageFileReader, path: Path) -> None:
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


def _affine(source: sitk.ImageFileReader | sitk.Image) -> np.ndarray:
    """The `(3, 4)` matrix from voxel index to LPS mm of the first three axes."""
    axes = len(source.GetSpacing())
    direction = np.array(source.GetDirection()).reshape(axes, axes)[:3, :3]
    return np.column_stack([direction * source.GetSpacing()[:3], source.GetOrigin()[:3]])


def _without_geometry(path: Path) -> InputError:
    return InputError(f"{path} has no usable voxel size or position; export it again with its geometry")


def _check_affine(affine: np.ndarray, path: Path) -> None:
    if not np.isfinite(affine).all() or not np.linalg.norm(affine[:, :3], axis=0).all():
        raise _without_geometry(path)
    if not _is_rectangular(affine):
        raise sheared(path)


def _is_rectangular(affine: np.ndarray) -> bool:
    """Whether the axes are at right angles, but for rounding, and none of them is nought."""
    lengths = np.linalg.norm(affine[:, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        return False
    axes = affine[:, :3] / lengths
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= LARGEST_COSINE)


@contextmanager
def _reading(*, any_sform: bool) -> Iterator[None]:
    """One thread after the other; lets ITK read the voxels of a NIfTI file whose sform it would refuse, for us to make
    use of the sform, where any will do.

    It is told so by the environment, which all threads share.
    """
    with _ONE_READER:
        before = os.environ.get(PERMISSIVE)
        if any_sform:
            os.environ[PERMISSIVE] = "ON"
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(PERMISSIVE, None)
            else:
                os.environ[PERMISSIVE] = before
