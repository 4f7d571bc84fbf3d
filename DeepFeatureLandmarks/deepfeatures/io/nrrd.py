"""What ITK does not tell of an NRRD file: whether its header is sound, and says how its voxels lie in the patient.

ITK, and 3D Slicer, which reads through it, take every space that is not anatomical as LPS, and all units as
millimetres. A position that is not given is 0, a voxel size that is not a number is 1. The format:
https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from deepfeatures.data.notes import NO_POSITION, NO_VOXEL_SIZE, Note, NoteKind, unit_ignored
from deepfeatures.errors import InputError, damaged, no_geometry, stated_twice
from deepfeatures.io.stored_bytes import DEFLATE, GZIP_MODULUS, bytes_of, gzip_bytes, require_room, surplus_note
from deepfeatures.io.text_header import TextHeader, are_finite

LONGEST_HEADER = 1 << 20  # bytes
MOST_AXES = 16
RAW, GZIP, TEXT, HEX = ("raw",), ("gzip", "gz"), ("txt", "text", "ascii"), ("hex",)
VECTOR, NONE = re.compile(r"none|\([^()]*\)", re.IGNORECASE), "none"
ANATOMICAL = re.compile(r"(?:right|left)-(?:anterior|posterior)-(?:superior|inferior)|[RL][AP][SI]", re.IGNORECASE)
BYTES = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int|uint16|"
    "uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong|"
    "unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
BYTES_OF = {name: size for size, names in BYTES.items() for name in names.split("|")}


class NrrdHeader(TextHeader):
    """That of an NRRD file."""

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, not compressed."""
        return self.voxels * BYTES_OF.get(self.fields.get("type", "").lower(), 1)

    @property
    def encoding(self) -> str:
        """How the voxels are written."""
        return self.fields.get("encoding", "raw").lower()

    @property
    def voxel_file(self) -> Path | None:
        """The file with the voxels; `None` where they lie in several."""
        name = self.fields.get("data file")
        if name is None:
            return self.path
        return None if name.split()[:1] == ["LIST"] or "%" in name else self.path.parent / name


def check_header(path: Path) -> tuple[Note, ...]:
    """The notes on a header.

    Raises:
        InputError: Its voxels are in an encoding that ITK cannot read, or cannot all be there; or its geometry is not
            of finite numbers, as many as it has axes.
    """
    header = read_header(path)
    if header.encoding not in (*RAW, *GZIP, *TEXT, *HEX):
        raise InputError(
            f"{path} is compressed by {header.encoding[:20]}, which cannot be read; save it again as a gzip NRRD"
        )
    return (*_geometry_notes(header.fields), *_room(header))


def read_header(path: Path) -> NrrdHeader:
    """The header; raises `InputError` where its numbers are not sound."""
    fields, end = _fields(path)
    lengths = fields.get("sizes", "").split()
    axes = fields.get("dimension", "")
    if not re.fullmatch(r"\d{1,2}", axes) or not 1 <= int(axes) <= MOST_AXES or len(lengths) != int(axes):
        raise damaged(path)
    if not all(re.fullmatch(r"\d{1,18}", length) for length in lengths):
        raise damaged(path)
    _check_geometry(fields, lengths, path)
    return NrrdHeader(path, fields, end, math.prod(map(int, lengths)))


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header by name, and its length in bytes; what follows the first empty line is voxels."""
    fields, end = {}, 0
    with path.open("rb") as file:
        for line in file.read(LONGEST_HEADER).splitlines(keepends=True):
            end += len(line)
            if not line.strip():
                break
            name, found, value = line.decode("latin-1").partition(": ")
            if name.startswith("#") or not found:
                continue
            if fields.setdefault(_full_name(name), value.strip()) != value.strip():
                raise stated_twice(path, _full_name(name))
    return fields, end


def _full_name(name: str) -> str:
    """The name of a field, of which some may be written in one word."""
    return re.sub(r"^(space|data|byte|line|axis) ?(?=\w)", r"\1 ", name.strip().lower())


def _check_geometry(fields: dict[str, str], lengths: list[str], path: Path) -> None:
    """Raise `InputError` unless the numbers are finite and as many as there are axes."""
    if "spacings" in fields:
        spacings = fields["spacings"].split()
        # an axis of one list has no spacing, and says so by NaN
        spatial = [spacing for spacing, length in zip(spacings, lengths, strict=False) if length != "1"]
        if len(spacings) != len(lengths) or not are_finite(spatial):
            raise no_geometry(path)
    vectors = []
    for name, count in (("space directions", len(lengths)), ("space origin", 1)):
        texts = VECTOR.findall(fields.get(name, ""))
        if name in fields and (len(texts) != count or VECTOR.sub("", fields[name]).strip()):
            raise no_geometry(path)
        if name in fields and name != "space origin" and sum(text.lower() != NONE for text in texts) < min(3, count):
            raise no_geometry(path)  # more lists than axes in space
        vectors += [text[1:-1].split(",") for text in texts if text.lower() != NONE]
    if not all(map(are_finite, vectors)) or len(set(map(len, vectors))) > 1:
        raise no_geometry(path)


def _geometry_notes(fields: dict[str, str]) -> tuple[Note, ...]:
    notes = []
    space = fields.get("space", "")
    if not ANATOMICAL.fullmatch(space.removesuffix("-time")):
        stated = f"only {space[:30]}" if space else "none"
        text = f"the file names no anatomical space ({stated}): its axes are taken as L, P, S, as in 3D Slicer"
        notes.append(Note(NoteKind.ORIENTATION, text))
    if "space origin" in fields:
        has_position = fields["space origin"].lower() != NONE
    else:
        has_position = are_finite(fields.get("axis mins", NONE).split())
    if not has_position:
        notes.append(NO_POSITION)
    if "space directions" not in fields and "spacings" not in fields:
        notes.append(NO_VOXEL_SIZE)
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"", "mm", "millimeter", "millimeters"}
    if units:
        notes.append(unit_ignored(", ".join(sorted(units))[:30]))
    return tuple(notes)


def _room(header: NrrdHeader) -> tuple[Note, ...]:
    """A note where the file is longer than it need be; raises `InputError` where it is too short for its voxels."""
    file = header.voxel_file
    if file is None:
        return ()
    stored = bytes_of(file, header.path) - (header.end if file == header.path else 0)
    if header.encoding in RAW:
        require_room(header.path, header.voxel_bytes, stored)
        # what is to be skipped is no surplus
        return () if {"byte skip", "line skip"} & header.fields.keys() else surplus_note(header.voxel_bytes, stored)
    if header.encoding in GZIP:
        require_room(header.path, header.voxel_bytes, stored, DEFLATE)
        return surplus_note(header.voxel_bytes % GZIP_MODULUS, gzip_bytes(file))
    if header.encoding in TEXT:
        require_room(header.path, 2 * header.voxels - 1, stored)  # a digit and a space each
    else:
        require_room(header.path, 2 * header.voxel_bytes, stored)
    return ()
