"""What ITK does not tell of an NRRD file: whether it says where and how its voxels lie in the patient.

3D Slicer reads through ITK. Both take every space that is not anatomical as LPS. A position that is not given becomes
0, and a voxel size that is no number 1. All units are taken as millimetres. The format is described at
https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepfeatures.data.notes import NO_POSITION, NO_VOXEL_SIZE, Note, NoteKind, unit_ignored
from deepfeatures.errors import InputError, no_geometry

LONGEST_HEADER = 1 << 20  # bytes
ENCODINGS = ("raw", "gzip", "gz", "txt", "text", "ascii", "hex")
ANATOMICAL = re.compile(r"(?:right|left)-(?:anterior|posterior)-(?:superior|inferior)|[RL][AP][SI]", re.IGNORECASE)
NO_NUMBER = re.compile(r"\b(?:nan|inf(?:inity)?)\b", re.IGNORECASE)


def check_header(path: Path) -> tuple[Note, ...]:
    """The notes on a header.

    Raises:
        InputError: Its voxels are in an encoding that ITK cannot read, or its geometry is not of finite numbers.
    """
    fields = _fields(path)
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in ENCODINGS:
        raise InputError(f"{path} is compressed by {encoding}, which cannot be read; save it again as a gzip NRRD")
    _check_numbers(fields, path)
    return _notes(fields)


def _fields(path: Path) -> dict[str, str]:
    """The fields of the header by name; what follows the first empty line is voxels."""
    fields = {}
    with path.open("rb") as file:
        for line in file.read(LONGEST_HEADER).splitlines():
            if not line.strip():
                break
            name, found, value = line.decode("latin-1").partition(": ")
            if found and not name.startswith("#"):
                fields[name.strip().lower()] = value.strip()
    return fields


def _check_numbers(fields: dict[str, str], path: Path) -> None:
    lengths = fields.get("sizes", "").split()
    spacings = fields.get("spacings", "").split()
    places = fields.get("space directions", "") + fields.get("space origin", "")
    # an axis of one list has no spacing, and says so by NaN
    spatial = [spacing for spacing, length in zip(spacings, lengths, strict=False) if length != "1"]
    if NO_NUMBER.search(places) or any(NO_NUMBER.search(spacing) for spacing in spatial):
        raise no_geometry(path)


def _notes(fields: dict[str, str]) -> tuple[Note, ...]:
    notes = []
    space = fields.get("space", "")
    if not ANATOMICAL.fullmatch(space.removesuffix("-time")):
        stated = f"only {space}" if space else "none"
        text = f"the file names no anatomical space ({stated}): its axes are taken as L, P, S, as in 3D Slicer"
        notes.append(Note(NoteKind.ORIENTATION, text))
    if "space origin" not in fields and "axis mins" not in fields:
        notes.append(NO_POSITION)
    if "space directions" not in fields and "spacings" not in fields:
        notes.append(NO_VOXEL_SIZE)
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"", "mm", "millimeter", "millimeters"}
    if units:
        notes.append(unit_ignored(", ".join(sorted(units))))
    return tuple(notes)
