"""Coordinate transformations of OME-Zarr as matrices, and the coordinate system to which they lead.

Versions 0.4 and 0.5 know scales and translations. Version 0.6 names coordinate systems and adds affine maps, rotations,
permutations and sequences of them: https://ngff.openmicroscopy.org/specifications/0.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.errors import InputError, damaged, quoted

Transformation = Mapping[str, Any]
Array = Callable[[str], np.ndarray]  # a small array of the folder by its path

TOO_LARGE = 1e30  # for a length in any unit; squares of what is less are finite


@dataclass(frozen=True, eq=False)
class CoordinateSystem:
    """Where the voxels of an image lie.

    Args:
        axes: One for each axis of the arrays, as the file describes them.
        matrix: Homogeneous, from what the transformations of a level give to positions in this system.
        name: In the file, `None` before version 0.6.
        others: Names of the systems that the file has besides.
    """

    axes: Sequence[Mapping[str, Any]]
    matrix: np.ndarray
    name: str | None = None
    others: tuple[str, ...] = ()


def coordinate_system(image: Mapping[str, Any], array: Array, path: Path) -> CoordinateSystem:
    """The system in which a multiscale image is read.

    From version 0.6 on it is the one in which the levels lie, as the specification wants. Where only one other system
    tells how its axes lie in the patient, it is that one.

    Raises:
        InputError: A transformation cannot be read, or several systems tell how their axes lie in the patient.
    """
    if "coordinateSystems" not in image:
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image.get("axes", ())]
        return CoordinateSystem(axes, sequence(image.get("coordinateTransformations", ()), len(axes), array, path))
    systems = {system["name"]: system["axes"] for system in image["coordinateSystems"]}
    intrinsic = image["datasets"][0]["coordinateTransformations"][0]["output"]
    intrinsic = intrinsic["name"] if isinstance(intrinsic, Mapping) else intrinsic
    axes = systems.pop(intrinsic)
    anatomical = {name: others for name, others in systems.items() if _is_anatomical(others)}
    if _is_anatomical(axes) or not anatomical:
        return CoordinateSystem(axes, np.eye(len(axes) + 1), intrinsic, tuple(systems))
    if len(anatomical) > 1:
        raise InputError(
            f"{path} tells of {len(anatomical)} coordinate systems how they lie in the patient "
            f"({', '.join(anatomical)}); save it with one of them"
        )
    ((name, axes),) = anatomical.items()
    for transformation in image.get("coordinateTransformations", ()):
        ends = _system(transformation, "input"), _system(transformation, "output")
        if set(ends) == {intrinsic, name}:
            matrix = matrix_of(transformation, len(axes), array, path)
            matrix = matrix if ends[0] == intrinsic else _inverse(matrix, path)
            others = (intrinsic, *(other for other in systems if other != name))
            return CoordinateSystem(axes, matrix, name, others)
    raise damaged(path)


def sequence(transformations: Sequence[Transformation], count: int, array: Array, path: Path) -> np.ndarray:
    """The matrix of transformations of which the first is applied first, see `matrix_of`."""
    matrices = (matrix_of(transformation, count, array, path) for transformation in transformations)
    return reduce(lambda before, after: after @ before, matrices, np.eye(count + 1))


def matrix_of(transformation: Transformation, count: int, array: Array, path: Path) -> np.ndarray:
    """The homogeneous matrix, shape `(count + 1, count + 1)`, of a transformation between systems of `count` axes.

    Raises:
        InputError: The transformation is none that a matrix can stand for, or does not fit the axes.
    """
    kind = transformation.get("type")
    if kind == "sequence":
        return sequence(transformation["transformations"], count, array, path)
    if kind == "bijection":
        return matrix_of(transformation["forward"], count, array, path)
    try:
        if kind == "byDimension":
            return _by_dimension(transformation, count, array, path)
        return _simple_matrix(transformation, count, array)
    except (LookupError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is placed by the transformation {quoted(kind)}, which cannot be read; save it with a scale and "
            "translation, or as NIfTI or NRRD"
        ) from error


def _simple_matrix(transformation: Transformation, count: int, array: Array) -> np.ndarray:
    """Of a transformation with numbers of its own; raises what NumPy does where they do not fit."""
    kind, matrix = transformation["type"], np.eye(count + 1)
    if kind == "identity":
        return matrix
    values = transformation[kind] if kind in transformation else array(transformation["path"])
    if kind == "mapAxis":
        if sorted(values) != list(range(count)):
            raise ValueError(values)
        matrix[:count, :count] = np.eye(count)[values]
        return matrix
    shape, block = {
        "scale": ((count,), None),
        "translation": ((count,), np.s_[:count, count]),
        "rotation": ((count, count), np.s_[:count, :count]),
        "affine": ((count, count + 1), np.s_[:count, :]),
    }[kind]
    numbers = np.array(values, float)
    if numbers.shape != shape or not (np.abs(numbers) < TOO_LARGE).all():
        raise ValueError(values)
    matrix[block or np.s_[:count, :count]] = np.diag(numbers) if block is None else numbers
    return matrix


def _by_dimension(transformation: Transformation, count: int, array: Array, path: Path) -> np.ndarray:
    """Of a transformation that has one of its own for each of several sets of axes."""
    matrix = np.zeros((count + 1, count + 1))
    matrix[count, count] = 1
    written: list[int] = []
    for part in transformation["transformations"]:
        inputs, outputs = part["inputAxes"], part["outputAxes"]
        block = matrix_of(part["transformation"], len(inputs), array, path)
        matrix[np.ix_(outputs, [*inputs, count])] = block[:-1]
        written += outputs
    if sorted(written) != list(range(count)):
        raise ValueError(written)
    return matrix


def _inverse(matrix: np.ndarray, path: Path) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError as error:
        raise damaged(path) from error


def _system(transformation: Transformation, end: str) -> str | None:
    """The name of the system of this folder at one end of a transformation; `None` for one elsewhere."""
    given = transformation.get(end)
    if isinstance(given, Mapping):
        return None if given.get("path") else given.get("name")
    return given


def _is_anatomical(axes: Sequence[Mapping[str, Any]]) -> bool:
    return any(axis.get("orientation") for axis in axes)
