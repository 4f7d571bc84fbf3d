"""OME-Zarr 0.4 to 0.6: a folder with a volume at several spacings, each stored in chunks that are read one by one.

How its axes lie in the patient is told in `ome_zarr_orientation`. The position of each level is taken from the file,
although some writers leave out the half voxels by which coarser levels are shifted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, damaged, quoted, reading
from deepfeatures.io.chunked import ChunkedVolume, Region
from deepfeatures.io.image_names import ZARR_SUFFIXES
from deepfeatures.io.ome_zarr_orientation import WORLD, Axes, counting_of, in_patient
from deepfeatures.io.ome_zarr_transformations import CoordinateSystem, coordinate_system, sequence
from deepfeatures.io.volume_header import check_affine, no_geometry

ZARR_3_METADATA = "zarr.json"
GROUP_FILES = (ZARR_3_METADATA, ".zgroup")  # of versions 3 and 2
ZIPPED_SUFFIXES = (".ozx", ".zarr.zip")
ZARRNII_ORIENTATION = "xyz_orientation"
MM_PER_UNIT = {"meter": 1e3, "centimeter": 10.0, "millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6}
PATIENT_MM = (5.0, 2500.0)  # the longest edge of a volume whose numbers can be millimetres: a tooth, a whole body


def is_zarr(path: Path) -> bool:
    """Whether `path` is a Zarr folder, by its content or its name."""
    return path.is_dir() and (
        path.name.lower().endswith(ZARR_SUFFIXES) or any((path / name).is_file() for name in GROUP_FILES)
    )


def require_unzipped(path: Path) -> None:
    """Raise `InputError` where `path` is an OME-Zarr folder in one zip file (RFC 9)."""
    if path.name.lower().endswith(ZIPPED_SUFFIXES) and path.is_file():
        raise InputError(f"{path} is a zipped OME-Zarr; unzip it into a folder that ends in .ome.zarr, and give that")


def read_levels(path: Path) -> tuple[list[ChunkedVolume], tuple[Note, ...]]:
    """The volume at each of its spacings, the finest first, and notes on its header; no voxels are read.

    Raises:
        InputError: The folder is not an OME-Zarr image, or the package zarr is missing. Or the image has units or
            orientations that cannot be used, more than three axes longer than 1, complex voxels, a single slice, or a
            geometry that cannot be read.
    """
    group = _open(path)
    with reading(path):
        attributes = group.attrs.asdict()
        scales = attributes.get("ome", attributes).get("multiscales")
        if not scales:
            raise InputError(f"{path} is a Zarr folder without multiscales; give the folder of an OME-Zarr image")
        image = scales[0]
        system = coordinate_system(image, lambda name: np.asarray(group[name]), path)
        axes = _spatial_axes(system.axes, path)
        _require_orientation_of_axes(attributes, axes, path)
        arrays = [group[level["path"]] for level in image["datasets"]]
        for array in arrays:
            _check_array(array, system.axes, path)
        matrices = [_spatial_matrix(level, system, group, path) for level in image["datasets"]]
        edges = np.linalg.norm(matrices[0][:, :3], axis=0) * _spatial(arrays[0].shape, system.axes)[::-1]
        mm_per_unit, notes = _units(axes, float(edges.max()), path)
        in_mm = [mm_per_unit[:, None] * matrix for matrix in matrices]
        affines, more_notes = in_patient(in_mm, axes, counting_of(image, axes, path), path)
        for affine in affines:
            check_affine(affine, path)
        levels = [_level(path, array, system.axes, affine) for array, affine in zip(arrays, affines, strict=True)]
    levels.sort(key=lambda level: -math.prod(level.shape))
    if 1 in levels[0].shape:
        raise InputError(f"{path} is a single slice ({_sizes(levels[0].shape)} voxels); give a 3D volume")
    return [level for level in levels if 1 not in level.shape], (*notes, *more_notes, *_note_of_system(system))


def _open(path: Path):
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"{path} needs zarr to be read; install it with pip install '.[large]'") from error
    if (path / ZARR_3_METADATA).is_file() and int(zarr.__version__.partition(".")[0]) < 3:
        raise InputError(
            f"{path} is an OME-Zarr of version 0.5 or later, which zarr {zarr.__version__} cannot read; install zarr 3,"
            " which needs Python 3.11 or newer"
        )
    try:
        return zarr.open_group(str(path), mode="r")
    except Exception as error:  # zarr meets what it did not expect in many ways
        raise InputError(f"{path} is not a Zarr group, or damaged; give the folder of an OME-Zarr image") from error


def _spatial_axes(axes: Sequence[Mapping[str, Any]], path: Path) -> Axes:
    """The axes x, y and z by name."""
    names = [axis.get("name") for axis in axes]
    if sorted(name for name in names if name in WORLD) != ["x", "y", "z"]:
        given = quoted(", ".join(map(str, names))).strip("'") or "nameless"
        raise InputError(f"{path} has the axes {given}; give one with z, y and x")
    return {axis["name"]: axis for axis in axes if axis["name"] in WORLD}


def _require_orientation_of_axes(attributes: Mapping[str, Any], axes: Axes, path: Path) -> None:
    """Refuse what keeps its orientation elsewhere than in its axes."""
    if ZARRNII_ORIENTATION in attributes and not any(axis.get("orientation") for axis in axes.values()):
        raise InputError(
            f"{path} keeps its orientation in the attribute {ZARRNII_ORIENTATION} of zarrnii, which is not read; "
            "save it as NIfTI with zarrnii"
        )


def _check_array(array, axes: Sequence[Mapping[str, Any]], path: Path) -> None:
    names = [axis["name"] for axis in axes]
    if len(array.shape) != len(names) or 0 in array.chunks:
        raise damaged(path)
    if any(length > 1 and name not in WORLD for name, length in zip(names, array.shape, strict=True)):
        axes_text = ", ".join(f"{name} {length}" for name, length in zip(names, array.shape, strict=True))
        raise InputError(f"{path} has {len(names)} axes ({axes_text}); give one of its 3D volumes, saved on its own")
    if 0 in array.shape:
        raise InputError(f"{path} is empty ({_sizes(array.shape)} voxels); give a volume with voxels")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} has voxels of type {array.dtype}; give a scalar volume")


def _spatial_matrix(level: Mapping[str, Any], system: CoordinateSystem, group, path: Path) -> np.ndarray:
    """The `(3, 4)` matrix from voxel index, its last axis first, to positions along x, y, z in the file's units."""
    transformations, count = level.get("coordinateTransformations", ()), len(system.axes)
    is_shifted_alone = all(transformation.get("type") == "translation" for transformation in transformations)
    if is_shifted_alone and np.array_equal(system.matrix[:-1, :-1], np.eye(count)):
        raise no_geometry(path)
    matrix = system.matrix @ sequence(transformations, count, lambda name: np.asarray(group[name]), path)
    names = [axis["name"] for axis in system.axes]
    rows = [names.index(name) for name in WORLD]
    columns = _spatial(range(count), system.axes)[::-1]
    others = [number for number in range(count) if number not in columns]
    if matrix[np.ix_(rows, others)].any():
        raise InputError(f"{path} mixes its axes in space with others; give one of its 3D volumes, saved on its own")
    return matrix[np.ix_(rows, [*columns, count])]


def _units(axes: Axes, longest: float, path: Path) -> tuple[np.ndarray, tuple[Note, ...]]:
    """Millimetres in the units of x, y and z; where the file has none, 1 if the longest edge is then a patient's."""
    units = [axes[name].get("unit") for name in WORLD]
    if not any(units) and PATIENT_MM[0] <= longest <= PATIENT_MM[1]:
        return np.ones(3), (Note(NoteKind.UNIT, "the file gives no unit of length: millimetres are taken"),)
    for name, unit in zip(WORLD, units, strict=True):
        if unit not in MM_PER_UNIT:
            given = f"the unit {quoted(unit)}" if unit else "no unit"
            raise InputError(
                f"{path} gives its {name} axis {given}; write one of {', '.join(MM_PER_UNIT)} into its metadata"
            )
    return np.array([MM_PER_UNIT[unit] for unit in units]), ()


def _level(path: Path, array, axes: Sequence[Mapping[str, Any]], affine: np.ndarray) -> ChunkedVolume:
    spatial = _spatial(range(len(axes)), axes)

    def read(region: Region) -> np.ndarray:
        index: list[int | slice] = [0] * len(axes)
        for number, part in zip(spatial, region, strict=True):
            index[number] = part
        with reading(path):
            return np.asarray(array[tuple(index)], np.float32)

    return ChunkedVolume(path, _spatial(array.shape, axes), affine, _spatial(array.chunks, axes), read)


def _spatial(values: Sequence[int], axes: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Of one value for each axis those of the axes in space, in the file's order."""
    first, second, third = (value for value, axis in zip(values, axes, strict=True) if axis["name"] in WORLD)
    return first, second, third


def _note_of_system(system: CoordinateSystem) -> tuple[Note, ...]:
    if not system.others:
        return ()
    others = ", ".join(system.others)
    return (Note(NoteKind.ORIENTATION, f"its coordinate system {quoted(system.name)} is used, not {others}"),)


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[::-1]))
