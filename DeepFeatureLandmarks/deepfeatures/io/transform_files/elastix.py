"""Transform parameter files of elastix and transformix: `TransformParameters.0.txt`, points of the template in mm.

Points go first through the transform that a file names as its initial one; see the manual of elastix, section 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, quoted, reading
from deepfeatures.io.transform_files.fields import read_field
from deepfeatures.io.transform_files.itk_objects import linear_from_itk, turned_bspline
from deepfeatures.transforms.bspline import BSplineTransform
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.thin_plate_spline import ThinPlateSplineTransform, fit_thin_plate_spline
from deepfeatures.transforms.transform import Transform

FIELD = re.compile(r"^\s*\((\w+)\s+(.*?)\)\s*$", re.MULTILINE)
VALUE = re.compile(r'"([^"]*)"|(\S+)')
INITIAL = re.compile("^Initial ?TransformParameters?FileName$")
NO_INITIAL = "NoInitialTransform"
LINEAR = {  # elastix' names, and ITK's
    "TranslationTransform": "TranslationTransform",
    "EulerTransform": "Euler3DTransform",
    "SimilarityTransform": "Similarity3DTransform",
    "AffineTransform": "AffineTransform",
}
ITSELF = 20  # files that name one another, at most

Fields = dict[str, list[str]]


def begins(head: str) -> bool:
    """Whether a text begins as a file of elastix does."""
    return head.lstrip().startswith(("(", "//"))


def read(path: Path, depth: int = 0) -> Transform:
    """The transform of a file, after the initial ones that it names.

    Raises:
        InputError: A file is damaged or absent, or a transform is of a class that is not known here.
    """
    with reading(path):
        text = re.sub(r"//.*", "", path.read_text("utf-8"))
        fields = {name: [one or other for one, other in VALUE.findall(value)] for name, value in FIELD.findall(text)}
        name = fields["Transform"][0]
    if fields.get("FixedImageDimension", ["3"]) != ["3"]:
        raise InputError(f"{path} holds a transform of images that are not 3D; give one of 3D volumes")
    with reading(path):
        found = _transform(name, fields, path)
    initial = next((value[0] for key, value in fields.items() if INITIAL.match(key)), NO_INITIAL)
    if initial == NO_INITIAL:
        return found
    if fields.get("HowToCombineTransforms", ["Compose"]) != ["Compose"] or depth == ITSELF:
        raise InputError(f"{path} adds its initial transform instead of composing; run elastix with Compose")
    return read(_beside(initial, path), depth + 1).then(found)


def render(transform: Transform, domain: Volume, description: str, initial: Path | None = None) -> str:
    """The text of a file: of a linear transform, a thin plate spline, or a B-spline.

    Args:
        transform: One of these.
        domain: Volume onto whose grid transformix resamples.
        description: A comment.
        initial: File of the transform that goes before.
    """
    lines = [f"// {description}", *_own_lines(transform)]
    lines += [
        f'(InitialTransformParametersFileName "{initial.resolve() if initial else NO_INITIAL}")',
        '(HowToCombineTransforms "Compose")',
        "(FixedImageDimension 3)",
        "(MovingImageDimension 3)",
        '(FixedInternalImagePixelType "float")',
        '(MovingInternalImagePixelType "float")',
        f"(Size {_text(domain.size)})",
        "(Index 0 0 0)",
        f"(Spacing {_text(domain.spacing)})",
        f"(Origin {_text(domain.origin)})",
        f"(Direction {_text(domain.direction.T.ravel())})",  # column by column
        '(UseDirectionCosines "true")',
        '(ResampleInterpolator "FinalLinearInterpolator")',
        '(Resampler "DefaultResampler")',
        "(DefaultPixelValue 0)",
        '(ResultImageFormat "nii.gz")',
        '(ResultImagePixelType "float")',
        '(CompressResultImage "true")',
    ]
    return "\n".join(lines) + "\n"


def _own_lines(transform: Transform) -> list[str]:
    if isinstance(transform, LinearTransform):
        numbers = [*transform.matrix[:3, :3].ravel(), *transform.matrix[:3, 3]]
        return ['(Transform "AffineTransform")', *_parameters(numbers), "(CenterOfRotationPoint 0 0 0)"]
    if isinstance(transform, ThinPlateSplineTransform):
        return [
            '(Transform "SplineKernelTransform")',
            '(SplineKernelType "ThinPlateSpline")',
            "(SplineRelaxationFactor 0)",
            "(SplinePoissonRatio 0.3)",
            f"(FixedImageLandmarks {_text(transform.control_points.ravel())})",
            *_parameters(transform(transform.control_points).ravel()),
        ]
    assert isinstance(transform, BSplineTransform)
    return [
        '(Transform "BSplineTransform")',
        *_parameters(transform.coefficients.ravel()),
        f"(GridSize {_text(transform.coefficients.shape[:0:-1])})",
        "(GridIndex 0 0 0)",
        f"(GridSpacing {_text(transform.spacing)})",
        f"(GridOrigin {_text(transform.origin)})",
        "(GridDirection 1 0 0 0 1 0 0 0 1)",
        "(BSplineTransformSplineOrder 3)",
        '(UseCyclicTransform "false")',
    ]


def _transform(name: str, fields: Fields, path: Path) -> Transform:
    if name in LINEAR:
        return _linear(LINEAR[name], fields)
    if name == "SplineKernelTransform" and fields["SplineKernelType"] == ["ThinPlateSpline"]:
        points = _numbers(fields, "FixedImageLandmarks").reshape(-1, 3)
        targets = _numbers(fields, "TransformParameters").reshape(-1, 3)
        if float(fields.get("SplineRelaxationFactor", ["0"])[0]) == 0:
            return fit_thin_plate_spline(points, targets, np.zeros(len(points)))[0]
    if name == "DeformationFieldTransform":
        return read_field(_beside(fields["DeformationFieldFileName"][0], path))
    if name == "BSplineTransform" and fields.get("BSplineTransformSplineOrder", ["3"]) == ["3"]:
        size = _numbers(fields, "GridSize").astype(int)
        spacing = _numbers(fields, "GridSpacing")
        direction = _numbers(fields, "GridDirection").reshape(3, 3).T
        origin = _numbers(fields, "GridOrigin") + direction @ (spacing * _numbers(fields, "GridIndex"))
        return turned_bspline(
            _numbers(fields, "TransformParameters").reshape(3, *size[::-1]), origin, spacing, direction
        )
    raise InputError(
        f"{path} holds a transform of elastix of the kind {quoted(name)}, which cannot be read; write it as a"
        " displacement field with transformix -def all"
    )


def _linear(name: str, fields: Fields) -> LinearTransform:
    import SimpleITK as sitk

    transform = (
        sitk.TranslationTransform(3) if name == "TranslationTransform" else getattr(sitk, name)(*_dimension(name))
    )
    if name != "TranslationTransform":
        transform.SetCenter(_numbers(fields, "CenterOfRotationPoint").tolist())
    if name == "Euler3DTransform":
        transform.SetComputeZYX(fields.get("ComputeZYX", ["false"]) == ["true"])
    transform.SetParameters(_numbers(fields, "TransformParameters").tolist())
    return linear_from_itk(transform)


def _dimension(name: str) -> tuple[int, ...]:
    return (3,) if name == "AffineTransform" else ()


def _beside(name: str, path: Path) -> Path:
    """A file that another one names, which may have been moved together with it."""
    for found in (Path(name), path.parent / name, path.parent / Path(name.replace("\\", "/")).name):
        if found.is_file():
            return found
    raise InputError(f"{path} names {name}, which is not there; keep both in one folder")


def _parameters(numbers: Sequence[float] | np.ndarray) -> list[str]:
    return [f"(NumberOfParameters {len(numbers)})", f"(TransformParameters {_text(numbers)})"]


def _numbers(fields: Fields, name: str) -> np.ndarray:
    return np.array(fields[name], float)


def _text(numbers: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{number:.12g}" for number in numbers)
