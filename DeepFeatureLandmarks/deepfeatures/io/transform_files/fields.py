"""Displacement fields in image files: NRRD, MetaImage and NIfTI, vectors in LPS mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfeatures.data.geometry import is_rectangular
from deepfeatures.errors import InputError, damaged, quoted, sheared
from deepfeatures.io import metaimage, nifti_voxels, nrrd
from deepfeatures.io.transform_files.itk_objects import field_from_itk, field_to_itk
from deepfeatures.transforms.anchoring import anchored, anchors_of, places_around
from deepfeatures.transforms.displacement_field import DisplacementFieldTransform, sample_transform
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.sampled_bspline import CHECKED, MARGIN_MM
from deepfeatures.transforms.transform import Transform

FIELD_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE_FIELDS = (".nii.gz", ".nii", ".nrrd", ".mha")
KIND_KEY, RESAMPLING, MODELING = "displacement field type", "resampling", "modeling"
MOST_NODES = 3_000_000  # 36 MB
LPS_SPACES = ("left-posterior-superior", "lps")
POSITIONS = 0.5  # of a vector's change per change of place: a field of positions has 1, one of displacements about 0


def read_field(path: Path) -> Transform:
    """The displacement field that an image of vectors holds.

    Raises:
        InputError: The image has no vectors, or they are no displacements in LPS mm as ITK has them.
    """
    import SimpleITK as sitk

    _check_header(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise damaged(path) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise InputError(
            f"{path} holds no displacement vectors as ITK, ANTs and 3D Slicer write them; give their file, or convert"
            " it there"
        )
    field = field_from_itk(image)
    _check(field, path)
    is_inverse = image.HasMetaDataKey(KIND_KEY) and image.GetMetaData(KIND_KEY).strip() == MODELING
    return field.inverted() if is_inverse else field


def sampled_field(
    transform: Transform, template: Grid, tolerance_mm: float
) -> tuple[DisplacementFieldTransform, float]:
    """A whole transform as one field, which reaches beyond the template, and its largest error in it, mm."""
    sampled = sample_transform(transform, template.padded(MARGIN_MM), tolerance_mm, MOST_NODES)
    grid, anchors = sampled.field.grid, anchors_of(transform)
    nodes = grid.points()
    vectors = (sampled.transform(nodes) - nodes).T.reshape(3, *grid.size[::-1])
    vectors = anchored(vectors, grid.to_index(anchors), transform(anchors) - anchors, degree=1)
    field = DisplacementFieldTransform(np.moveaxis(vectors, 0, -1), grid)
    places = np.concatenate([template.random_points(CHECKED), places_around(anchors, float(grid.spacing.min()))])
    return field, float(np.linalg.norm(field(places) - transform(places), axis=1).max())


def write_field(field: DisplacementFieldTransform, draft: Path, description: str) -> None:
    """Write a field as an image of single precision, with the header by which ANTs and 3D Slicer know it."""
    import SimpleITK as sitk

    image = field_to_itk(field, np.float32)
    if draft.name.endswith(".nrrd"):
        image.SetMetaData(KIND_KEY, RESAMPLING)
        image.SetMetaData("description", description)
    sitk.WriteImage(image, str(draft), useCompression=not draft.name.endswith(".nii"))


def _check_header(path: Path) -> None:
    """Raise `InputError` where ITK would fill up what is not there, or take vectors for those of another space."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        nifti_voxels.require_whole(path)
    elif name.endswith((".mha", ".mhd")):
        metaimage.check_header(path)
        metaimage.check_voxels(path)
    else:
        nrrd.check_header(path)
        space = nrrd.read_header(path).fields.get("space", LPS_SPACES[0])
        if space.lower() not in LPS_SPACES:
            raise InputError(
                f"{path} is in the space {quoted(space)}, and ITK does not turn vectors; export the field in LPS"
            )


def _check(field: DisplacementFieldTransform, path: Path) -> None:
    """Raise `InputError` unless vectors are finite and are displacements, not the places to which points go."""
    if not np.isfinite(field.vectors).all():
        raise InputError(f"{path} holds vectors that are not finite; export it again")
    if not is_rectangular(np.column_stack([field.grid.direction, np.zeros(3)])):
        raise sheared(path)
    places = field.grid.points()
    centred = places - places.mean(0)
    slopes = np.linalg.lstsq(centred.T @ centred, centred.T @ field.vectors.reshape(-1, 3), rcond=None)[0].diagonal()
    if (np.abs(slopes) > POSITIONS).all():
        raise InputError(
            f"{path} seems to hold positions instead of displacements, as SPM and NiftyReg write them; convert it to a"
            " displacement field first"
        )
