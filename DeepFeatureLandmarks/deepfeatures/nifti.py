"""What ITK does not tell of a NIfTI header: the sform as it stands.

ITK takes the voxel size from another field than the sform, so that a file in which the two differ, as several programs
write them, would be read at the wrong scale.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from deepfeatures.errors import damaged

HEADER_SIZE = 348  # bytes; of NIfTI-1, the version that ITK reads
SINGLE_FILE = b"n+1"
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre
SPACE_UNITS = 7  # the bits of xyzt_units that are about space


def read_sform(path: Path) -> np.ndarray | None:
    """The sform as a `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm; `None` where the file has none.

    Raises:
        InputError: Where the file is damaged.
    """
    header = _header(path)
    if len(header) < HEADER_SIZE or header[344:347] != SINGLE_FILE:
        return None
    order = "<" if struct.unpack_from("<i", header)[0] == HEADER_SIZE else ">"
    (units,) = struct.unpack_from("b", header, 123)
    (code,) = struct.unpack_from(order + "h", header, 254)
    if code <= 0:
        return None
    matrix = np.array(struct.unpack_from(order + "12f", header, 280), float).reshape(3, 4)
    return matrix * MM_PER_UNIT.get(units & SPACE_UNITS, 1.0) * np.array([[-1.0], [-1.0], [1.0]])  # RAS to LPS


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(HEADER_SIZE)
    if not start.startswith(b"\x1f\x8b"):
        return start
    try:
        with gzip.open(path) as file:
            return file.read(HEADER_SIZE)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path) from error
