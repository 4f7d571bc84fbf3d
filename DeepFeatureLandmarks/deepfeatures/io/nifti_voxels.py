"""The voxels of a NIfTI file: whether they are all there and finite, and reading them by region.

ITK takes 0 where voxels are missing or not finite. It begins one header field early where a file states that its
voxels begin within the header.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.data.notes import Note
from deepfeatures.errors import InputError, damaged, not_finite
from deepfeatures.io.chunked import ChunkedVolume, Region
from deepfeatures.io.nifti import FIRST_VOXEL, NiftiHeader, is_gzipped, open_file, read_header
from deepfeatures.io.stored_bytes import DEFLATE, require_room, surplus_note

FLOATS = {16: "f4", 64: "f8"}  # datatype: numpy's name
CHUNK = 1 << 20  # bytes


def first_voxel(header: NiftiHeader) -> int:
    """Bytes before the first voxel; an offset within the header, as some programs write it, means right behind it."""
    return max(header.voxel_offset, FIRST_VOXEL)


def check_voxels(path: Path, header: NiftiHeader) -> tuple[Note, ...]:
    """A note where the file is longer than it need be.

    Raises:
        InputError: Voxels are missing, damaged, NaN or infinite.
    """
    not_finite_voxels, surplus = _counted(path, header)
    if not_finite_voxels:
        raise not_finite(path, not_finite_voxels)
    return surplus_note(header.voxel_bytes, header.voxel_bytes + surplus)


def require_whole(path: Path) -> None:
    """Raise `InputError` unless `path` is a NIfTI file with all its voxels."""
    header = read_header(path)
    if header is None:
        raise damaged(path)
    _counted(path, header)


def by_region(path: Path, header: NiftiHeader, shape: tuple[int, int, int], affine: np.ndarray) -> ChunkedVolume:
    """The file to be read slice by slice, after all its voxels were found good.

    Args:
        path: The file.
        header: Its header.
        shape: `(depth, height, width)`.
        affine: `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm.

    Raises:
        InputError: Voxels are missing, damaged or not finite, or the package nibabel is missing.
    """
    try:
        from nibabel.arrayproxy import ArrayProxy
        from nibabel.nifti1 import data_type_codes
    except ImportError as error:
        raise InputError(f"{path} needs nibabel to be read; install it with pip install '.[large]'") from error
    check_voxels(path, header)
    dtype = np.dtype(data_type_codes.dtype[header.datatype]).newbyteorder(header.byte_order)
    scaled = math.isfinite(header.slope) and header.slope != 0
    slope = header.slope if scaled else 1.0
    intercept = header.intercept if scaled and math.isfinite(header.intercept) else 0.0
    # kept open, as gzip can only be read from the start
    voxels: Any = ArrayProxy(open_file(path), (shape[::-1], dtype, first_voxel(header), slope, intercept))

    def read(region: Region) -> np.ndarray:
        depth, height, width = region
        return np.asarray(voxels[(width, height, depth)], np.float32).T

    return ChunkedVolume(path, shape, affine, (1, *shape[1:]), read)


def _counted(path: Path, header: NiftiHeader) -> tuple[int, int]:
    """How many voxels are NaN or infinite, and how many bytes there are behind the last voxel.

    Raises:
        InputError: Where not all voxels that the header promises are in the file, intact.
    """
    remaining, wrong, surplus = header.voxel_bytes, 0, 0
    float_type = header.byte_order + FLOATS[header.datatype] if header.datatype in FLOATS else None
    require_room(path, first_voxel(header) + remaining, path.stat().st_size, DEFLATE if is_gzipped(path) else 1)
    try:
        with open_file(path) as file:
            file.seek(first_voxel(header))
            while remaining > 0:
                chunk = file.read(min(CHUNK, remaining))
                if len(chunk) < min(CHUNK, remaining):
                    raise damaged(path)
                remaining -= len(chunk)
                if float_type:
                    wrong += int((~np.isfinite(np.frombuffer(chunk, float_type))).sum())
            while chunk := file.read(CHUNK):  # to the end, where gzip keeps its checksum
                surplus += len(chunk)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path) from error
    return wrong, surplus
