"""MNI's tag points, `.tag`, of the MINC tools: named points of one or two volumes, RAS mm.

As VTK's `vtkMNITagPointReader` and `vtkMNITagPointWriter` have them.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, damaged, quoted
from deepfeatures.io.landmark_formats.coordinates import from_lps, to_lps
from deepfeatures.io.landmark_formats.rows import lines_of, on_one_line

MAGIC = "MNI Tag Point File"
HEADER = re.compile(r"Volumes\s*=\s*([12])\s*;\s*Points\s*=\s*(.*)", re.DOTALL)
ROW = re.compile(r'([^";]*)("(?:[^"\\]|\\.)*")?\s*(;?)\s*')
ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([0-7]{3})|(.))", re.DOTALL)
CONTROLS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
SECOND_VOLUME = Note(NoteKind.LANDMARK_FILE, "holds points of two volumes: those of the first are used")


def parse(text: str, path: Path) -> LandmarkSet:
    """The points of the first volume, by their labels or, without any, their places in the list."""
    lines = lines_of(text)
    if not lines or not lines[0].startswith(MAGIC):
        raise InputError(f"{path} does not begin with {MAGIC}; save the points from a MINC tool as .tag")
    header = HEADER.fullmatch("\n".join(line for line in lines[1:] if not line.startswith("%")).strip())
    if header is None:
        raise InputError(f"{path} states no volumes and points as a tag file does; save it from a MINC tool again")
    volumes = int(header[1])
    rows = [row for row in header[2].split("\n") if row.strip()]
    if not rows or not rows[-1].rstrip().endswith(";"):
        raise damaged(path)
    rows = rows[:-1] if rows[-1].strip() == ";" else rows
    landmarks = tuple(_landmark(row, number, volumes, number == len(rows), path) for number, row in enumerate(rows, 1))
    return LandmarkSet(landmarks, landmark_stem(path), (SECOND_VOLUME,) if volumes == 2 else ())


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, for one volume; points without a position are left out."""
    rows = []
    for landmark in landmarks:
        if landmark.is_defined:
            x, y, z = from_lps(landmark.position, "RAS")
            label = on_one_line(landmark.name).replace("\\", "\\\\").replace('"', '\\"')
            rows.append(f' {x!r} {y!r} {z!r} "{label}"')
    return f"{MAGIC}\nVolumes = 1;\n\nPoints =\n" + "\n".join(rows) + ";\n"


def _landmark(row: str, number: int, volumes: int, is_last: bool, path: Path) -> Landmark:
    parts = ROW.fullmatch(row)
    values = parts[1].split() if parts else []
    # three more are the weight, the structure and the patient
    if parts is None or bool(parts[3]) > is_last or len(values) not in (3 * volumes, 3 * volumes + 3):
        raise InputError(
            f"{path} has no position of {volumes} volume{'s' * (volumes - 1)}, followed by a label in quotes, "
            f"in row {number}; correct the row"
        )
    name = _unescaped(parts[2][1:-1]) if parts[2] else ""
    name = name if name.strip() else str(number)
    return Landmark(name, to_lps(values[:3], "RAS", f"{quoted(name)} in row {number}", path))


def _unescaped(label: str) -> str:
    def meant(escape: re.Match[bytes]) -> bytes:
        if code := escape[1] or escape[2]:
            return bytes([int(code, 16 if escape[1] else 8) % 256])
        return CONTROLS.get(escape[3], escape[3])

    return ESCAPE.sub(meant, label.encode()).decode(errors="replace")
