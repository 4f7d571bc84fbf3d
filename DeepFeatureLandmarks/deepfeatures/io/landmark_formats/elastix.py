"""Points of elastix and transformix, `.txt`: positions in LPS mm, without names.

Read are lists of points as transformix takes them, and its `outputpoints.txt`, of which the output points count.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_formats.coordinates import to_lps
from deepfeatures.io.landmark_formats.rows import check_count, lines_of

OUTPUT = re.compile(r"Point\s+(\d{1,9})\s*;")
OUTPUT_POINT = re.compile(r";\s*OutputPoint\s*=\s*\[([^\]]*)\]")


def begins(head: bytes) -> bool:
    """Whether a file begins as a list of points, and not as any other text."""
    return head.split(maxsplit=1)[:1] in ([b"point"], [b"index"], [b"Point"])


def parse(text: str, path: Path) -> LandmarkSet:
    """The points, named by their places in the list, from 1."""
    lines = [line.strip() for line in lines_of(text) if line.strip()]
    if lines and OUTPUT.match(lines[0]):
        return LandmarkSet(tuple(_output(line, row, path) for row, line in enumerate(lines, 1)), landmark_stem(path))
    if lines and (lines[0] == "index" or lines[0].isdecimal()):
        raise InputError(
            f"{path} holds voxel indices, which elastix takes from a list without the word point; "
            "give points in mm after this word"
        )
    if len(lines) < 2 or lines[0] != "point" or not lines[1].isdecimal():
        raise InputError(
            f"{path} does not begin with the word point, as lists of elastix do; "
            "correct it, or give .mrk.json, .fcsv or .csv"
        )
    check_count(lines[1], lines[2:], path)
    landmarks = tuple(_landmark(str(row), values, row, path) for row, values in enumerate(lines[2:], 1))
    return LandmarkSet(landmarks, landmark_stem(path))


def render(landmarks: LandmarkSet) -> str:
    """The text of the file, positions in LPS mm."""
    rows = "".join("{!r} {!r} {!r}\n".format(*map(float, landmark.position)) for landmark in landmarks)
    return f"point\n{len(landmarks)}\n{rows}"


def _output(line: str, row: int, path: Path) -> Landmark:
    number, position = OUTPUT.match(line), OUTPUT_POINT.search(line)
    if number is None or position is None:
        raise InputError(f"{path} has no OutputPoint in row {row}; run transformix again")
    return _landmark(str(int(number[1]) + 1), position[1], row, path)


def _landmark(name: str, values: str, row: int, path: Path) -> Landmark:
    return Landmark(name, to_lps(values.split(), "LPS", f"point {row}", path))
