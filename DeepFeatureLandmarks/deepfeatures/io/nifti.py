"""What ITK does not tell of a NIfTI file: its sform and voxel size as stored, missing voxels, voxels not finite.

ITK takes the voxel size from another field than the sform. Several programs write files in which the two differ, and
ITK reads these at the wrong scale. It takes 1 mm where there is no voxel size, and 0 where voxels are missing or not
finite.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deepfeatures.errors import InputError, damaged, not_finite
from deepfeatures.io.chunked import ChunkedVolume, Region

HEADER_SIZE = 348  # bytes; of NIfTI-1, the version that ITK reads
SINGLE_FILE = b"n+1"
SECOND_VERSION = (b"n+2", b"ni2")
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre
SPACE_UNITS = 7  # the bits of xyzt_units that are about space
FLOATS = {16: "f4", 64: "f8"}  # datatype: numpy's name
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class NiftiHeader:
    """The fields read here.

    Args:
        sform: `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm; `None` where the file has none.
        pixdim: Voxel size along x, y, z, which counts where the sform does not, in the file's unit, shape `(3,)`.
        voxel_offset: Bytes before the first voxel.
        voxel_bytes: Bytes of all voxels.
        float_type: numpy's name of the voxels' type where it can hold NaN, else `None`.
    """

    sform: np.ndarray | None
    pixdim: np.ndarray
    voxel_offset: int
    voxel_bytes: int
    float_type: str | None


def read_header(path: Path) -> NiftiHeader | None:
    """The header of a single-file NIfTI-1, gzipped or not; `None` for any other file.

    Raises:
        InputError: Where the file is damaged.
    """
    try:
        with _open(path) as file:
            header = file.read(HEADER_SIZE)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path) from error
    if len(header) < HEADER_SIZE or header[344:347] != SINGLE_FILE:
        return None
    order = "<" if struct.unpack_from("<i", header)[0] == HEADER_SIZE else ">"
    axes, *lengths = struct.unpack_from(order + "8h", header, 40)
    datatype, bits = struct.unpack_from(order + "2h", header, 70)
    (offset,) = struct.unpack_from(order + "f", header, 108)
    (code,) = struct.unpack_from(order + "h", header, 254)
    sform = np.array(struct.unpack_from(order + "12f", header, 280), float).reshape(3, 4)
    ras_mm = MM_PER_UNIT.get(header[123] & SPACE_UNITS, 1.0)
    return NiftiHeader(
        sform=sform * ras_mm * np.array([[-1.0], [-1.0], [1.0]]) if code > 0 else None,
        pixdim=np.array(struct.unpack_from(order + "3f", header, 80), float),
        voxel_offset=int(offset) if math.isfinite(offset) else 0,
        voxel_bytes=math.prod(lengths[: max(axes, 0)]) * bits // 8,
        float_type=order + FLOATS[datatype] if datatype in FLOATS else None,
    )


def is_second_version(path: Path) -> bool:
    """Whether a file is NIfTI-2, which ITK does not recognise."""
    try:
        with _open(path) as file:
            return file.read(8)[4:7] in SECOND_VERSION
    except (EOFError, OSError, zlib.error):
        return False


def count_not_finite(path: Path, header: NiftiHeader) -> int:
    """How many voxels are NaN or infinite.

    Raises:
        InputError: Where not all voxels that the header promises are in the file, intact.
    """
    remaining, wrong = header.voxel_bytes, 0
    try:
        with _open(path) as file:
            file.read(header.voxel_offset)
            while remaining > 0:
                chunk = file.read(min(CHUNK, remaining))
                if len(chunk) < min(CHUNK, remaining):
                    raise damaged(path)
                remaining -= len(chunk)
                if header.float_type:
                    wrong += int((~np.isfinite(np.frombuffer(chunk, header.float_type))).sum())
            while file.read(CHUNK):  # to the end, where gzip keeps its checksum
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path) from error
    return wrong


def require_finite(path: Path, header: NiftiHeader) -> None:
    """Raise `InputError` where voxels are missing, damaged, NaN or infinite."""
    if wrong := count_not_finite(path, header):
        raise not_finite(path, wrong)


def require_whole(path: Path) -> None:
    """Raise `InputError` unless `path` is a NIfTI file with all its voxels."""
    header = read_header(path)
    if header is None:
        raise damaged(path)
    count_not_finite(path, header)


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
        import nibabel
    except ImportError as error:
        raise InputError(
            f"{path} is too large for the memory; install what reads it by region with pip install '.[large]'"
        ) from error
    require_finite(path, header)
    image: Any = nibabel.load(path, keep_file_open=True)  # kept open, as gzip can only be read from the start
    voxels = image.dataobj
    others = (0,) * (len(voxels.shape) - 3)

    def read(region: Region) -> np.ndarray:
        depth, height, width = region
        return np.asarray(voxels[(width, height, depth, *others)], np.float32).T

    return ChunkedVolume(path, shape, affine, (1, *shape[1:]), read)


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if gzipped else path.open("rb")
