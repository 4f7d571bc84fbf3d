"""Files with something wrong in their headers: fields gone, doubled or exchanged, numbers that are none, other bytes.

Everything follows from a seed. A few fields are left as they are: other programs cannot bear a fault in them. What this
package refuses of them before anybody else sees it has tests of its own.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import pydicom
from pydicom import Dataset
from pydicom.dataelem import DataElement

WORDS = (
    "", "nan", "inf", "-1", "0", "1", "3", "-5 4 3", "30000 30000 30000", "1e400", "1e30", "1e-30 1e-30 1e-30", "abc",
    "4294967296", "9223372036854775807 2 2", "(1,0,0)", "(nan,0,0) (0,1,0) (0,0,1)", "none", "True", "LIST", "x" * 500,
    "1 2 3 4 5 6 7 8 9 10", "../a", "float", "raw", "gzip", "ascii", "\t", '"', "<", "é", "1,2,3", "\x00",
)  # fmt: skip
NUMBERS = (
    "nan",
    "inf",
    "0",
    "-1",
    "1e30",
    "1e400",
    "30000",
    "2147483648",
    "99999999999",
    "",
    "x",
    "-0",
    "1e-30",
    "7,5",
)
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 3, 1e30, 1e-30, float("nan"), float("inf"), 10**400, "", "x", "x" * 500, "nan", [], {}, [1],
    [1, 2], ["a", "b", "c"], [None] * 3, [[1], [2], [3]], {"x": 1}, [0, 0, 0], [1e30] * 3, [-1, -1, -1], "a\nb",
)  # fmt: skip
FLOATS = (float("nan"), float("inf"), 0.0, -1.0, 1.0, 1e30, -1e30, 1e-30, 1e10, 3.0, -3.0)
INFINITE = struct.pack("<f", float("inf"))
INTEGERS = (0, -1, 1, 2, 3, 4, 7, 8, 255, 32767, -32768, 30000)
KEPT_LINES = (b"NDims",)
NIFTI_FIELDS = {
    name: (nibabel.nifti1.header_dtype.fields[name][1], nibabel.nifti1.header_dtype.fields[name][0])
    for name in nibabel.nifti1.header_dtype.names
}
SFORM = range(280, 328)
NIFTI_BYTES = [place for place in range(352) if place not in SFORM]  # and the four that tell of extensions

Damage = Callable[[random.Random, bytes], bytes]


def damaged_nifti(rng: random.Random, content: bytes) -> bytes:
    """Fields of the header with other numbers, random bytes in it, or a file cut short."""
    packed = content[:2] == b"\x1f\x8b"
    changed = bytearray(gzip.decompress(content) if packed else content)
    kind = rng.choice(("bytes", "field", "field", "field", "cut"))
    if kind == "bytes":
        for _ in range(rng.choice((1, 2, 4, 16, 64))):
            changed[rng.choice(NIFTI_BYTES)] = rng.randrange(256)
    elif kind == "cut":
        changed = changed[: rng.randrange(len(changed))]
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            offset, dtype = NIFTI_FIELDS[rng.choice(list(NIFTI_FIELDS))]
            width = dtype.base.itemsize
            place = offset + rng.randrange(dtype.itemsize // width) * width
            value = _nifti_number(rng, dtype.base.kind, width)
            if place not in SFORM or value != INFINITE:
                changed[place : place + width] = value
    return gzip.compress(bytes(changed)) if packed else bytes(changed)


def _nifti_number(rng: random.Random, kind: str, width: int) -> bytes:
    if kind == "f":
        return struct.pack("<f", rng.choice(FLOATS))
    if kind in "iu":
        return (rng.choice(INTEGERS) % (1 << 8 * width)).to_bytes(width, "little")
    return rng.randbytes(width)


def damaged_lines(end: bytes, separator: bytes) -> Damage:
    """Damage to one to three lines of a text.

    Args:
        end: With what the header ends; what follows it is left as it is. Nothing where all is header.
        separator: Of the name and the value of a line.
    """

    def damage(rng: random.Random, content: bytes) -> bytes:
        header, found, rest = content.partition(end) if end else (content, b"", b"")
        lines = header.split(b"\n")
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            _damage_line(rng, lines, separator)
        return b"\n".join(lines) + found + rest

    return damage


def _damage_line(rng: random.Random, lines: list[bytes], separator: bytes) -> None:
    places = [number for number, line in enumerate(lines) if not line.startswith(KEPT_LINES)]
    if not places:
        return
    place = rng.choice(places)
    line = lines[place]
    kind = rng.choice(("delete", "double", "exchange", "value", "value", "byte", "number", "number", "number", "cut"))
    if kind == "delete":
        del lines[place]
    elif kind == "double":
        lines.insert(rng.choice(places), line)
    elif kind == "exchange":
        other = rng.choice(places)
        lines[place], lines[other] = lines[other], line
    elif kind == "value":
        name, found, _ = line.partition(separator)
        lines[place] = name + found + rng.choice(WORDS).encode()
    elif kind == "byte" and line:
        changed = bytearray(line)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        lines[place] = bytes(changed)
    elif kind == "cut":
        lines[place] = line[: rng.randrange(len(line) + 1)]
    elif numbers := list(re.finditer(rb"-?\d+(?:\.\d+)?", line)):
        number = rng.choice(numbers)
        lines[place] = line[: number.start()] + rng.choice(NUMBERS).encode() + line[number.end() :]


def damaged_json(rng: random.Random, content: bytes) -> bytes:
    """One to three values deleted, doubled or replaced by others of every type; or the text cut or changed."""
    if rng.random() < 0.1:
        return damaged_bytes(rng, content)
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = list(_holders(tree))
        if not holders:
            break
        holder, key = rng.choice(holders)
        kind = rng.choice(("delete", "replace", "replace", "replace", "double"))
        if kind == "delete":
            del holder[key]
        elif kind == "double" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return json.dumps(tree).encode()


def _holders(tree: Any) -> list[tuple[Any, Any]]:
    """Every list or object of a tree with each of its places."""
    if not isinstance(tree, dict | list):
        return []
    places = list(tree) if isinstance(tree, dict) else range(len(tree))
    return [(tree, place) for place in places] + [found for place in places for found in _holders(tree[place])]


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """Some bytes with other values, or the file cut short."""
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def damaged_dicom(rng: random.Random, file: Path) -> None:
    """One to three elements of the file deleted, emptied or with values of another kind."""
    if rng.random() < 0.2:
        content = file.read_bytes()
        file.write_bytes(damaged_bytes(rng, content[:2000]) + content[2000:])
        return
    dataset = pydicom.dcmread(file)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = _elements(dataset)
        holder, tag = rng.choice(holders)
        element = holder[tag]
        kind = rng.choice(("delete", "empty", "odd", "odd", "odd"))
        if kind == "delete":
            del holder[tag]
        elif kind == "empty":
            element.clear()
        elif element.VR not in ("SQ", "OW", "OB", "UI", "PN"):
            _set_odd(rng, element)
    # the raw writer checks nothing, as old devices did not
    pydicom.dcmwrite(file, dataset, enforce_file_format=False)


def _set_odd(rng: random.Random, element: DataElement) -> None:
    if element.VR in ("US", "SS", "UL", "SL"):
        element.value = rng.choice((0, 1, 2, 3, 7, 16, 30000, 65535))
    elif element.VR in ("FD", "FL"):
        element.value = rng.choice((float("nan"), float("inf"), 0.0, -1.0, 1e30, [1.0, 2.0]))
    else:
        element._value = rng.choice(("nan", "0", "-1", "1e30", "abc", "1\\2", "0\\0", "nan\\1\\2", "1\\2\\3\\4\\5\\6"))


def _elements(dataset: Dataset) -> list[tuple[Dataset, Any]]:
    """Every element of a file, those of its sequences too, with the data set that holds it."""
    found = [(dataset, element.tag) for element in dataset if element.keyword != "PixelData"]
    nested = [item for element in dataset if element.VR == "SQ" for item in element.value]
    return found + [pair for item in nested for pair in _elements(item)]
