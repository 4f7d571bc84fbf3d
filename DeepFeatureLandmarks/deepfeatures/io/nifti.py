"""The header of a NIfTI file as stored, which ITK does not tell: its two matrices, its voxel size, its unit.

A header may hold two matrices, the sform and the qform. ITK, and 3D Slicer, which reads through it, take the qform
where there is one, unless the sform's code is 1; so does this package. With the sform, ITK takes the voxel size from
another field. Several programs write files in which the two differ, and ITK reads these at the wrong scale.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deepfeatures.data.geometry import is_rectangular, largest_distance_mm
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import damaged, no_geometry

HEADER_SIZE = 348  # bytes; of NIfTI-1, the version that ITK reads
FIRST_VOXEL = 352  # the least offset of voxels in a single file, bytes
SINGLE_FILE = b"n+1"
MOST_AXES = 7
# of each type of voxel, by its code; ITK does not use the field that gives the bits
BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}
SECOND_VERSION = (b"n+2", b"ni2")
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre
SPACE_UNITS = 7  # the bits of xyzt_units that are about space
LONGEST_QUATERNION = 1.01
SCANNER = 1  # the code of an sform in the scanner's own coordinates
LPS_FROM_RAS = np.array([[-1.0], [-1.0], [1.0]])


@dataclass(frozen=True)
class NiftiHeader:
    """The fields read here.

    Args:
        sform: `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm; `None` where the file has none.
        qform: The other such matrix, `None` where the file has none that can be used.
        sform_code: Of which coordinates the sform is; 0 for none.
        pixdim: Voxel size along x, y, z, which counts where the sform does not, in the file's unit, shape `(3,)`.
        quaternion_length: Of the three stated numbers of the qform's rotation; 1 at most, but for rounding.
        size: Voxels along x, y, z.
        unit: Code of the unit of length, 0 where the file gives none.
        datatype: Code of the voxels' type.
        byte_order: `"<"` or `">"`.
        slope, intercept: Stored values are to be multiplied by the one, then the other added; not where the slope is 0.
        voxel_offset: Bytes before the first voxel, as the file states it.
        voxel_bytes: Bytes of all voxels.
    """

    sform: np.ndarray | None
    qform: np.ndarray | None
    sform_code: int
    pixdim: np.ndarray
    quaternion_length: float
    size: tuple[int, int, int]
    unit: int
    datatype: int
    byte_order: str
    slope: float
    intercept: float
    voxel_offset: int
    voxel_bytes: int

    @property
    def has_usable_pixdim(self) -> bool:
        """Whether there is a voxel size."""
        return bool((np.isfinite(self.pixdim) & (self.pixdim != 0)).all())

    @property
    def has_good_sform(self) -> bool:
        """Whether there is an sform of a rectangular grid."""
        return self.sform is not None and is_rectangular(self.sform)

    @property
    def uses_sform(self) -> bool:
        """Whether the sform places the voxels."""
        return self.has_good_sform and (self.sform_code == SCANNER or self.qform is None)


def read_header(path: Path) -> NiftiHeader | None:
    """The header of a single-file NIfTI-1, gzipped or not; `None` for any other file.

    Raises:
        InputError: Where the file is damaged, or its sform is not of finite numbers.
    """
    try:
        with open_file(path) as file:
            header = file.read(HEADER_SIZE)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path) from error
    if len(header) < HEADER_SIZE or header[344:347] != SINGLE_FILE:
        return None
    # as ITK finds it, also where the first field, the length of the header, is wrong
    order = "<" if 1 <= struct.unpack_from("<h", header, 40)[0] <= MOST_AXES else ">"
    axes, *lengths = struct.unpack_from(order + "8h", header, 40)
    datatype, bits = struct.unpack_from(order + "2h", header, 70)
    qfac, *pixdim = struct.unpack_from(order + "4f", header, 76)
    offset, slope, intercept = struct.unpack_from(order + "3f", header, 108)
    qform_code, sform_code = struct.unpack_from(order + "2h", header, 252)
    quaternion, position = np.split(np.array(struct.unpack_from(order + "6f", header, 256), float), 2)
    sform = np.array(struct.unpack_from(order + "12f", header, 280), float).reshape(3, 4)
    if sform_code > 0 and not np.isfinite(sform).all():
        raise no_geometry(path)
    if not sform[:, :3].any(axis=0).all():  # zeros, as some programs leave them there, are no matrix
        if sform_code > 0 and qform_code <= 0:
            raise no_geometry(path)
        sform_code = 0
    unit = header[123] & SPACE_UNITS
    lps_mm = LPS_FROM_RAS * MM_PER_UNIT.get(unit, 1.0)
    qform = _qform(quaternion, position, np.array(pixdim, float), qfac) if qform_code > 0 else None
    return NiftiHeader(
        sform=sform * lps_mm if sform_code > 0 else None,
        qform=None if qform is None else qform * lps_mm,
        sform_code=sform_code,
        pixdim=np.array(pixdim, float),
        quaternion_length=float(np.linalg.norm(quaternion)),
        size=tuple(max(length, 1) for length in lengths[:3]),
        unit=unit,
        datatype=datatype,
        byte_order=order,
        slope=slope,
        intercept=intercept,
        voxel_offset=int(offset) if math.isfinite(offset) else 0,
        voxel_bytes=math.prod(max(length, 1) for length in lengths[: max(axes, 0)]) * BYTES.get(datatype, bits // 8),
    )


def notes_of(header: NiftiHeader) -> tuple[Note, ...]:
    """What people should know of a header that can be read."""
    return (*_orientation_notes(header), *_qform_notes(header), *_matrix_notes(header), *_unit_notes(header))


def is_second_version(path: Path) -> bool:
    """Whether a file is NIfTI-2, which ITK does not recognise."""
    try:
        with open_file(path) as file:
            return file.read(8)[4:7] in SECOND_VERSION
    except (EOFError, OSError, zlib.error):
        return False


def open_file(path: Path) -> BinaryIO:
    """The content of a file, gzipped or not, whatever its name."""
    return gzip.open(path) if is_gzipped(path) else path.open("rb")


def is_gzipped(path: Path) -> bool:
    """Whether a file is compressed, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _qform(quaternion: np.ndarray, position: np.ndarray, pixdim: np.ndarray, qfac: float) -> np.ndarray | None:
    """The `(3, 4)` matrix to RAS, in the file's unit; `None` where its numbers cannot be used.

    Source: section 6, method 2, of https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields/nifti1fields_pages/qsform.html.
    """
    numbers = np.concatenate([quaternion, position, pixdim])
    if not np.isfinite(numbers).all() or not pixdim.all():
        return None
    squared = float(quaternion @ quaternion)
    real, axis = math.sqrt(max(0.0, 1 - squared)), quaternion / max(1.0, math.sqrt(squared))
    # as `scipy.spatial.transform.Rotation` has it, which would take 30 MB more to import
    crossed = np.cross(np.eye(3), axis)
    rotation = np.eye(3) + 2 * real * crossed + 2 * crossed @ crossed
    steps = np.abs(pixdim) * [1, 1, -1 if qfac < 0 else 1]
    return np.column_stack([rotation * steps, position])


def _orientation_notes(header: NiftiHeader) -> tuple[Note, ...]:
    if header.sform is not None or header.qform is not None:
        return ()
    text = (
        "the file does not say how its axes lie in the patient (sform and qform have code 0), so that left and right "
        "may be exchanged: it is read as in 3D Slicer"
    )
    return (Note(NoteKind.ORIENTATION, text),)


def _qform_notes(header: NiftiHeader) -> tuple[Note, ...]:
    """Where the qform is used and its numbers cannot be what they should."""
    if header.qform is None or header.uses_sform:
        return ()
    notes = []
    if (header.pixdim < 0).any():
        text = "the qform has a voxel size below 0: that axis is mirrored, as in 3D Slicer, which other programs refuse"
        notes.append(Note(NoteKind.ORIENTATION, text))
    if header.quaternion_length > LONGEST_QUATERNION:
        text = "the rotation of the qform has numbers that are too large: the axes are taken as in 3D Slicer"
        notes.append(Note(NoteKind.ORIENTATION, text))
    return tuple(notes)


def _matrix_notes(header: NiftiHeader) -> tuple[Note, ...]:
    """Where the file's geometries differ by more than half a voxel."""
    used = header.sform if header.uses_sform else header.qform
    if used is None:
        return ()
    half_voxel = np.linalg.norm(used[:, :3], axis=0).min() / 2
    if scaled := _scale_notes(header, used, half_voxel):
        return scaled
    other = header.qform if header.uses_sform else header.sform
    distance = 0.0 if other is None or not np.isfinite(other).all() else largest_distance_mm(used, other, header.size)
    if distance <= half_voxel:
        return ()
    if header.uses_sform:
        text = f"sform and qform disagree by up to {distance:.1f} mm: the sform is used, as in 3D Slicer"
    elif header.has_good_sform:
        text = (
            f"sform and qform disagree by up to {distance:.1f} mm: the qform is used, as in 3D Slicer, and not the "
            "sform, which nibabel and FSL use"
        )
    else:
        text = f"the sform is sheared: the qform is used, as in 3D Slicer, up to {distance:.1f} mm beside it"
        return (Note(NoteKind.SHEAR, text),)
    return (Note(NoteKind.MATRICES, text),)


def _scale_notes(header: NiftiHeader, used: np.ndarray, half_voxel: float) -> tuple[Note, ...]:
    """Where 3D Slicer reads an sform at another scale, as it takes the voxel size from `pixdim`."""
    if not (header.uses_sform and header.has_usable_pixdim):
        return ()
    steps = np.linalg.norm(used[:, :3], axis=0)
    in_slicer = np.abs(header.pixdim) * MM_PER_UNIT.get(header.unit, 1.0)
    scaled = np.column_stack([used[:, :3] / steps * in_slicer, used[:, 3]])
    distance = largest_distance_mm(used, scaled, header.size)
    if distance <= half_voxel:
        return ()
    text = (
        f"the sform has voxels of {_mm(steps)} mm and pixdim of {_mm(in_slicer)} mm: the sform is used, 3D Slicer uses "
        f"pixdim, which is up to {distance:.1f} mm elsewhere"
    )
    return (Note(NoteKind.MATRICES, text),)


def _unit_notes(header: NiftiHeader) -> tuple[Note, ...]:
    if header.unit in MM_PER_UNIT:
        return ()
    return (Note(NoteKind.UNIT, "the file gives no unit of length: millimetres are taken"),)


def _mm(steps: np.ndarray) -> str:
    return " × ".join(f"{step:.3g}" for step in steps)
