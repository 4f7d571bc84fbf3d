"""What ITK does not tell of a MetaImage file: whether its header is sound, and whether compressed voxels are intact.

3D Slicer reads through ITK. Both take 1 mm where there is no voxel size, and the axes as L, P, S where there is no
matrix. They take 0 for every number of the position that is not there, and all units as millimetres. The header is
checked before ITK sees it. The format is described at https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from deepfeatures.data.notes import NO_POSITION, NO_VOXEL_SIZE, Note, NoteKind, unit_ignored
from deepfeatures.errors import damaged, no_geometry, stated_twice
from deepfeatures.io.stored_bytes import DEFLATE, bytes_of, require_room, surplus_note
from deepfeatures.io.text_header import TextHeader, are_finite

CHUNK = 1 << 20  # bytes
LONGEST_LINE = 1 << 14  # bytes
MOST_AXES = 10  # more than any image has
MATRICES, POSITIONS = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin", "ImagePosition")
SPACINGS = ("ElementSpacing", "ElementSize")
STATED_ONCE = (*MATRICES, *POSITIONS, *SPACINGS, "NDims", "DimSize", "ElementType")
LPS = "RAI"  # in MetaImage's words, which name where an axis comes from
BYTES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "LONG_LONG": 8,
    "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
HERE, LIST = "LOCAL", "LIST"  # where the voxels may be said to be, besides a file's name


class MetaHeader(TextHeader):
    """That of a MetaImage file."""

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, not compressed."""
        element = BYTES.get(self.fields.get("ElementType", "").removeprefix("MET_"), 1)
        return self.voxels * element * int(self.fields.get("ElementNumberOfChannels", 1))

    @property
    def is_compressed(self) -> bool:
        """Whether voxels are compressed."""
        return _is_true(self.fields.get("CompressedData", "False"))

    @property
    def is_text(self) -> bool:
        """Whether voxels are written as numbers for people."""
        return not _is_true(self.fields.get("BinaryData", "True"))

    @property
    def voxel_file(self) -> Path | None:
        """The file with the voxels; `None` where they lie in several."""
        name = self.fields.get("ElementDataFile", "")
        if name.split()[:1] == [LIST] or "%" in name:
            return None
        return self.path if name.upper() == HERE else self.path.parent / name

    @property
    def skipped(self) -> int:
        """Bytes before the voxels in their file; -1 where the voxels are the end of it."""
        stated = int(self.fields.get("HeaderSize", 0))
        return stated or (self.end if self.voxel_file == self.path else 0)


def check_header(path: Path) -> tuple[Note, ...]:
    """The notes on a header.

    Raises:
        InputError: Its geometry is not of finite numbers, as many as it has axes, or its voxels cannot all be there.
    """
    header = read_header(path)
    return (*_geometry_notes(header.fields), *_room(header))


def check_voxels(path: Path) -> tuple[Note, ...]:
    """A note where compressed voxels are more than the header promises.

    Raises:
        InputError: Voxels that are compressed or text are damaged: ITK would return noise or zeros.
    """
    header = read_header(path)
    if not (header.is_compressed or header.is_text) or header.voxel_file is None:
        return ()  # ITK itself finds that other voxels are too few
    try:
        with header.voxel_file.open("rb") as file:
            file.seek(max(header.skipped, 0))
            if header.is_text:
                found, needed = sum(len(line.split()) for line in file), header.voxels
            else:
                found, needed = _decompressed_bytes(file, header), header.voxel_bytes
    except (OSError, zlib.error) as error:
        raise damaged(path) from error
    if found < needed:
        raise damaged(path)
    return () if header.is_text else surplus_note(needed, found)


def read_header(path: Path) -> MetaHeader:
    """The header; raises `InputError` where its numbers are not sound."""
    fields, end = _fields(path)
    (axes,) = _whole_numbers(fields, "NDims", 1, path)
    if not 1 <= axes <= MOST_AXES:
        raise damaged(path)
    sizes = _whole_numbers(fields, "DimSize", axes, path)
    for name, least in (("ElementNumberOfChannels", 1), ("HeaderSize", -1), ("CompressedDataSize", 0)):
        if name in fields and _whole_numbers(fields, name, 1, path)[0] < least:
            raise damaged(path)
    if min(sizes) < 0 or not fields.get("ElementDataFile"):
        raise damaged(path)
    counts = dict.fromkeys(MATRICES, axes * axes) | dict.fromkeys((*POSITIONS, *SPACINGS), axes)
    for name, count in counts.items():
        numbers = fields[name].split() if name in fields else None
        if numbers is not None and (len(numbers) != count or not are_finite(numbers)):
            raise no_geometry(path)
    return MetaHeader(path, fields, end, math.prod(sizes))


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header by name, and its length in bytes."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for name, value in _lines(file):
            if fields.setdefault(name, value) != value and name in STATED_ONCE:
                raise stated_twice(path, name)
        return fields, file.tell()


def _lines(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Name and value of each line, up to that which tells where the voxels are."""
    while line := file.readline(LONGEST_LINE):
        name, value = re.fullmatch(r"([^=:]*)[=:]*(.*)", line.decode("latin-1").strip(), re.DOTALL).groups()
        yield name.strip(), value.lstrip("=: \t").strip()
        if name.strip() == "ElementDataFile":
            return


def _geometry_notes(fields: dict[str, str]) -> tuple[Note, ...]:
    notes = []
    if not any(name in fields for name in MATRICES):
        stated = fields.get("AnatomicalOrientation", "")
        hint = f" (AnatomicalOrientation {stated[:3]} is not used)" if stated not in ("", "???", LPS) else ""
        text = (
            f"the file does not say how its axes lie in the patient{hint}: they are taken as L, P, S, as in 3D Slicer"
        )
        notes.append(Note(NoteKind.ORIENTATION, text))
    if not any(name in fields for name in POSITIONS):
        notes.append(NO_POSITION)
    if not any(name in fields for name in SPACINGS):
        notes.append(NO_VOXEL_SIZE)
    for what, names in (("positions", POSITIONS), ("orientations", MATRICES)):
        given = {name: [float(number) for number in fields[name].split()] for name in names if name in fields}
        if len({tuple(numbers) for numbers in given.values()}) > 1:
            text = f"the file gives {what} that disagree ({', '.join(given)}): one is used, as in 3D Slicer"
            notes.append(Note(NoteKind.ORIENTATION, text))
    unit = fields.get("DistanceUnits", "?")
    if unit not in ("?", "mm"):
        notes.append(unit_ignored(unit[:20]))
    return tuple(notes)


def _room(header: MetaHeader) -> tuple[Note, ...]:
    """A note where the file is longer than it need be; raises `InputError` where it is too short for its voxels."""
    if header.voxel_file is None:
        return ()
    stored = bytes_of(header.voxel_file, header.path) - max(header.skipped, 0)
    if header.is_text:
        require_room(header.path, 2 * header.voxels - 1, stored)  # a digit and a space each
        return ()
    if not header.is_compressed:
        require_room(header.path, header.voxel_bytes, stored)
        return surplus_note(header.voxel_bytes, stored) if header.skipped >= 0 else ()
    compressed = int(header.fields.get("CompressedDataSize", 0))
    require_room(header.path, header.voxel_bytes, compressed or stored, DEFLATE)
    # without their length, the voxels cannot be told from what stands before them
    if compressed > stored or (not compressed and header.voxel_file == header.path):
        raise damaged(header.path)
    return ()


def _decompressed_bytes(file: BinaryIO, header: MetaHeader) -> int:
    """How many bytes of voxels there are."""
    remaining = int(header.fields.get("CompressedDataSize", 0)) or math.inf
    stream, found = zlib.decompressobj(zlib.MAX_WBITS | 32), 0  # either of zlib's headers
    while not stream.eof and remaining and (chunk := file.read(min(CHUNK, remaining))):
        remaining -= len(chunk)
        found += len(stream.decompress(chunk))
    return found if stream.eof else 0


def _whole_numbers(fields: dict[str, str], name: str, count: int, path: Path) -> list[int]:
    """`count` whole numbers; raises `InputError` where there are others."""
    texts = fields.get(name, "").split()
    if len(texts) != count or not all(re.fullmatch(r"[-+]?\d{1,18}", text) for text in texts):
        raise damaged(path)
    return [int(text) for text in texts]


def _is_true(text: str) -> bool:
    """As ITK's reader understands a text."""
    return text[:1] in ("T", "t", "1")
