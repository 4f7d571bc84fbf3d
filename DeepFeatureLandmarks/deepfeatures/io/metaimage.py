"""What ITK does not tell of a MetaImage file: whether its geometry is there, and whether compressed voxels are intact.

3D Slicer reads through ITK. Both take 1 mm where there is no voxel size, and the axes as L, P, S where there is no
matrix. A position that is not there, or is no number, becomes 0. All units are taken as millimetres.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

from deepfeatures.data.notes import NO_POSITION, NO_VOXEL_SIZE, Note, NoteKind, unit_ignored
from deepfeatures.errors import damaged, no_geometry

CHUNK = 1 << 20  # bytes
LONGEST_LINE = 1 << 14  # bytes
MATRICES, POSITIONS = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin")
SPACINGS = ("ElementSpacing", "ElementSize")
LPS = "RAI"  # in MetaImage's words, which name where an axis comes from


def check_header(path: Path) -> tuple[Note, ...]:
    """The notes on a header; raises `InputError` where its geometry is not of finite numbers."""
    fields = _fields(path)
    for name in (*MATRICES, *POSITIONS, *SPACINGS):
        if name in fields and not _are_finite(fields[name]):
            raise no_geometry(path)
    notes = []
    if not any(name in fields for name in MATRICES):
        stated = fields.get("AnatomicalOrientation", "")
        hint = f" (AnatomicalOrientation {stated} is not used)" if stated not in ("", "???", LPS) else ""
        text = (
            f"the file does not say how its axes lie in the patient{hint}: they are taken as L, P, S, as in 3D Slicer"
        )
        notes.append(Note(NoteKind.ORIENTATION, text))
    if not any(name in fields for name in POSITIONS):
        notes.append(NO_POSITION)
    if not any(name in fields for name in SPACINGS):
        notes.append(NO_VOXEL_SIZE)
    unit = fields.get("DistanceUnits", "?")
    if unit not in ("?", "mm"):
        notes.append(unit_ignored(unit))
    return tuple(notes)


def check_voxels(path: Path) -> None:
    """Raise `InputError` where compressed voxels inside the file are damaged: ITK would return noise."""
    fields = _fields(path)
    if fields.get("CompressedData", "").lower() != "true" or fields.get("ElementDataFile") != "LOCAL":
        return  # ITK itself finds that voxels which are not compressed are too few
    with path.open("rb") as file:
        for line in file:
            if line.partition(b"=")[0].strip() == b"ElementDataFile":
                break
        stream = zlib.decompressobj()
        try:
            while not stream.eof and (chunk := file.read(CHUNK)):
                stream.decompress(chunk)
        except zlib.error as error:
            raise damaged(path) from error
    if not stream.eof:
        raise damaged(path)


def _fields(path: Path) -> dict[str, str]:
    """The fields of the header by name."""
    fields = {}
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            name, _, value = line.decode("latin-1").partition("=")
            fields[name.strip()] = value.strip()
            if name.strip() == "ElementDataFile":
                break
    return fields


def _are_finite(text: str) -> bool:
    try:
        return all(math.isfinite(float(number)) for number in text.split())
    except ValueError:
        return False
