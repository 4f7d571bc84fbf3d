"""OME-Zarr: a folder with a volume at several spacings, each stored in chunks that are read one by one.

Its axes x, y, z run along L, P, S, as ITK writes them, unless the file gives their anatomical orientation (RFC 4).
The position of each level is taken from the file, although some writers leave out the half voxels by which coarser
levels are shifted.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.errors import InputError, damaged
from deepfeatures.io.chunked import ChunkedVolume, Region
from deepfeatures.io.image_names import ZARR_SUFFIXES

ZARR_3_METADATA = "zarr.json"
GROUP_FILES = (ZARR_3_METADATA, ".zgroup")  # of versions 3 and 2
MM_PER_UNIT = {"meter": 1e3, "centimeter": 10.0, "millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6}
WORLD_AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
ORIENTATIONS = {
    "right-to-left": (1, 0, 0),
    "left-to-right": (-1, 0, 0),
    "anterior-to-posterior": (0, 1, 0),
    "posterior-to-anterior": (0, -1, 0),
    "inferior-to-superior": (0, 0, 1),
    "superior-to-inferior": (0, 0, -1),
}


def is_zarr(path: Path) -> bool:
    """Whether `path` is a Zarr folder, by its content or its name."""
    return path.is_dir() and (
        path.name.lower().endswith(ZARR_SUFFIXES) or any((path / name).is_file() for name in GROUP_FILES)
    )


def read_levels(path: Path) -> list[ChunkedVolume]:
    """The volume at each of its spacings, the finest first; no voxels are read.

    Raises:
        InputError: The folder is not an OME-Zarr image, or the package zarr is missing. Or the image has no units, more
            than three axes longer than 1, complex voxels, a single slice, or a geometry that cannot be read.
    """
    group = _open(path)
    attributes = group.attrs.asdict()
    try:
        scales = attributes.get("ome", attributes).get("multiscales")
        if not scales:
            raise InputError(f"{path} is a Zarr folder without multiscales; give the folder of an OME-Zarr image")
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in scales[0].get("axes", ())]
        _check_axes(axes, path)
        shared = scales[0].get("coordinateTransformations", ())
        levels = [
            _level(path, group[level["path"]], axes, [*level.get("coordinateTransformations", ()), *shared])
            for level in scales[0]["datasets"]
        ]
    except (AttributeError, KeyError, IndexError, TypeError, OSError) as error:
        raise damaged(path) from error
    levels.sort(key=lambda level: -math.prod(level.shape))
    if 1 in levels[0].shape:
        raise InputError(f"{path} is a single slice ({_sizes(levels[0].shape)} voxels); give a 3D volume")
    return [level for level in levels if 1 not in level.shape]


def _open(path: Path):
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"{path} needs zarr to be read; install it with pip install '.[large]'") from error
    if (path / ZARR_3_METADATA).is_file() and int(zarr.__version__.partition(".")[0]) < 3:
        raise InputError(
            f"{path} is an OME-Zarr of version 0.5, which zarr {zarr.__version__} cannot read; install zarr 3, which"
            " needs Python 3.11 or newer"
        )
    try:
        return zarr.open_group(str(path), mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a Zarr group, or damaged; give the folder of an OME-Zarr image") from error


def _check_axes(axes: list[Mapping[str, Any]], path: Path) -> None:
    names = [axis.get("name") for axis in axes]
    if sorted(name for name in names if name in WORLD_AXES) != ["x", "y", "z"]:
        raise InputError(f"{path} has the axes {', '.join(map(str, names)) or 'nameless'}; give one with z, y and x")
    for axis in axes:
        if axis["name"] in WORLD_AXES and axis.get("unit") not in MM_PER_UNIT:
            raise InputError(
                f"{path} gives its {axis['name']} axis {_unit_text(axis.get('unit'))}; "
                f"write one of {', '.join(MM_PER_UNIT)} into its metadata"
            )


def _unit_text(unit: str | None) -> str:
    return "no unit" if unit is None else f"the unit {unit!r}"


def _level(path: Path, array, axes: list[Mapping[str, Any]], transformations: list[Mapping[str, Any]]) -> ChunkedVolume:
    names = [axis["name"] for axis in axes]
    if len(array.shape) != len(names):
        raise damaged(path)
    if any(length > 1 and name not in WORLD_AXES for name, length in zip(names, array.shape, strict=True)):
        axes_text = ", ".join(f"{name} {length}" for name, length in zip(names, array.shape, strict=True))
        raise InputError(f"{path} has {len(names)} axes ({axes_text}); give one of its 3D volumes, saved on its own")
    if 0 in array.shape:
        raise InputError(f"{path} is empty ({_sizes(array.shape)} voxels); give a volume with voxels")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} has voxels of type {array.dtype}; give a scalar volume")
    spatial = [number for number, name in enumerate(names) if name in WORLD_AXES]
    spacing, translation = _scale_and_translation(transformations, path, len(names))
    directions = np.array([_direction(axes[number], path) for number in spatial], float)
    millimetres = np.array([MM_PER_UNIT[axes[number]["unit"]] for number in spatial])
    columns = directions * (spacing[spatial] * millimetres)[:, None]
    origin = (directions * (translation[spatial] * millimetres)[:, None]).sum(axis=0)

    def read(region: Region) -> np.ndarray:
        index: list[int | slice] = [0] * len(names)
        for number, part in zip(spatial, region, strict=True):
            index[number] = part
        try:
            return np.asarray(array[tuple(index)], np.float32)
        except (RuntimeError, ValueError, TypeError, OSError, EOFError, zlib.error) as error:
            raise damaged(path) from error

    return ChunkedVolume(
        path,
        tuple(array.shape[number] for number in spatial),
        np.column_stack([*columns[::-1], origin]),  # the last axis of the array is the first of the affine
        tuple(array.chunks[number] for number in spatial),
        read,
    )


def _scale_and_translation(
    transformations: list[Mapping[str, Any]], path: Path, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of every axis, in its unit: the distance of voxels and the position of the first one."""
    scale, translation = np.ones(count), np.zeros(count)
    for transformation in transformations:
        kind = transformation.get("type")
        if kind == "identity":
            continue
        values = transformation.get(kind)
        if kind not in ("scale", "translation") or not isinstance(values, list) or len(values) != count:
            raise InputError(f"{path} is placed by a {kind} that cannot be read; save it with a scale and translation")
        if kind == "scale":
            scale, translation = scale * values, translation * values
        else:
            translation = translation + values
    named = {transformation.get("type") for transformation in transformations}
    if "scale" not in named or not (np.isfinite(scale).all() and np.isfinite(translation).all() and (scale > 0).all()):
        raise InputError(f"{path} has no usable voxel size or position; export it again with its geometry")
    return scale, translation


def _direction(axis: Mapping[str, Any], path: Path) -> tuple[int, int, int]:
    """The LPS unit vector along which the axis grows."""
    orientation = axis.get("orientation")
    if orientation is None:
        return WORLD_AXES[axis["name"]]
    value = orientation.get("value") if isinstance(orientation, Mapping) else orientation
    if value not in ORIENTATIONS:
        raise InputError(f"{path} has an axis of orientation {value!r}; give one of {', '.join(ORIENTATIONS)}")
    return ORIENTATIONS[value]


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[::-1]))
