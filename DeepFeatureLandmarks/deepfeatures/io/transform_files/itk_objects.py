"""Transforms as SimpleITK holds them, and back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.transforms.bspline import BSplineTransform
from deepfeatures.transforms.displacement_field import DisplacementFieldTransform
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.transform import CompositeTransform, Transform

if TYPE_CHECKING:
    import SimpleITK as sitk

ORDER = 3  # of ITK's B-splines that are read
UNIT_POINTS = np.vstack([np.zeros(3), np.eye(3)])


def from_itk(transform: sitk.Transform, path: Path) -> Transform:
    """The same transform; `path` is what an error names.

    Raises:
        InputError: It is two-dimensional, or of a class that is not known here.
    """
    import SimpleITK as sitk

    with contextlib.suppress(KeyError):  # of a class for which SimpleITK has no name
        transform = transform.Downcast()
    if transform.GetDimension() != 3:
        raise InputError(f"{path} holds a transform of {transform.GetDimension()}D images; give one of 3D volumes")
    if transform.IsLinear():
        return linear_from_itk(transform)
    if isinstance(transform, sitk.CompositeTransform):
        count = transform.GetNumberOfTransforms()
        return composed([from_itk(transform.GetNthTransform(number), path) for number in range(count)])
    if isinstance(transform, sitk.DisplacementFieldTransform):
        return field_from_itk(transform.GetDisplacementField())
    if isinstance(transform, sitk.BSplineTransform) and transform.GetOrder() == ORDER:
        return _bspline(transform)
    raise InputError(f"{path} holds a {transform.GetName()}, which cannot be read; export it as a displacement field")


def to_itk(transform: Transform) -> sitk.Transform:
    """The same transform: a linear one, a displacement field, a B-spline, or a composite of these."""
    import SimpleITK as sitk

    if isinstance(transform, CompositeTransform):
        return sitk.CompositeTransform([to_itk(part) for part in reversed(transform.parts)])
    if isinstance(transform, LinearTransform):
        affine = sitk.AffineTransform(3)  # its centre is 0: programs that forget the centre are right, too
        affine.SetMatrix(transform.matrix[:3, :3].ravel().tolist())
        affine.SetTranslation(transform.matrix[:3, 3].tolist())
        return affine
    if isinstance(transform, DisplacementFieldTransform):
        return sitk.DisplacementFieldTransform(field_to_itk(transform, np.float64))
    assert isinstance(transform, BSplineTransform)
    size = np.array(transform.coefficients.shape[:0:-1])
    mesh = size - ORDER
    spline = sitk.BSplineTransform(3, ORDER)
    spline.SetTransformDomainMeshSize(mesh.tolist())
    spline.SetTransformDomainOrigin((transform.origin + transform.spacing).tolist())
    spline.SetTransformDomainPhysicalDimensions((mesh * transform.spacing).tolist())
    spline.SetParameters(transform.coefficients.ravel().tolist())
    return spline


def can_be_itk(transform: Transform) -> bool:
    """Whether `to_itk` takes it."""
    if isinstance(transform, CompositeTransform):
        return all(map(can_be_itk, transform.parts))
    return isinstance(transform, LinearTransform | DisplacementFieldTransform | BSplineTransform)


def composed(listed: list[Transform]) -> Transform:
    """The transforms of ITK's list, of which points go through the last one first."""
    return listed[0] if len(listed) == 1 else CompositeTransform(tuple(reversed(listed)))


def field_from_itk(image: sitk.Image) -> DisplacementFieldTransform:
    """The displacement field whose vectors, LPS mm, an image holds."""
    import SimpleITK as sitk

    grid = Grid(
        np.array(image.GetOrigin()),
        np.array(image.GetSpacing()),
        np.reshape(image.GetDirection(), (3, 3)),
        image.GetSize(),
    )
    return DisplacementFieldTransform(sitk.GetArrayFromImage(image).astype(np.float64), grid)


def field_to_itk(field: DisplacementFieldTransform, precision: type) -> sitk.Image:
    """A field as an image of vectors, LPS mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(field.vectors.astype(precision), isVector=True)
    image.SetOrigin(field.grid.origin.tolist())
    image.SetSpacing(field.grid.spacing.tolist())
    image.SetDirection(field.grid.direction.ravel().tolist())
    return image


def linear_from_itk(transform: sitk.Transform) -> LinearTransform:
    """Whatever its parameters are: where it brings 0 and the unit vectors tells all."""
    moved = np.array([transform.TransformPoint(point) for point in UNIT_POINTS.tolist()])
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return LinearTransform(matrix)


def _bspline(transform: sitk.BSplineTransform) -> Transform:
    images = transform.GetCoefficientImages()
    coefficients = np.stack([_array(image) for image in images])
    direction = np.reshape(images[0].GetDirection(), (3, 3))
    return turned_bspline(coefficients, np.array(images[0].GetOrigin()), np.array(images[0].GetSpacing()), direction)


def turned_bspline(
    coefficients: np.ndarray, origin: np.ndarray, spacing: np.ndarray, direction: np.ndarray
) -> Transform:
    """A B-spline whose lattice has a direction, as one along the axes between two rotations."""
    if np.array_equal(direction, np.eye(3)):
        return BSplineTransform(coefficients, origin, spacing)
    turn = np.eye(4)
    turn[:3, :3] = direction
    back = np.linalg.inv(direction)
    straight = BSplineTransform(np.einsum("ij,jzyx->izyx", back, coefficients), back @ origin, spacing)
    return CompositeTransform((LinearTransform(np.linalg.inv(turn)), straight, LinearTransform(turn)))


def _array(image: sitk.Image) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image)
