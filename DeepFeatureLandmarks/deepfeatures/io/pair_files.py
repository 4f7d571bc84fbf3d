"""Tables of symmetric pairs, `.csv` with the columns `left` and `right`."""

from __future__ import annotations

import csv
from pathlib import Path

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError


def read_pairs(path: Path, landmarks: LandmarkSet) -> tuple[tuple[str, str], ...]:
    """Names of left and right landmarks, one pair a row.

    Raises:
        InputError: The file is no such table, names a landmark that is not there, or one twice.
    """
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a table; give a CSV file with the columns left and right"
        ) from error
    if not rows or not {"left", "right"} <= rows[0].keys():
        raise InputError(f"{path} has no columns left and right; give both, and one pair of landmarks in each row")
    pairs = tuple((str(row["left"] or "").strip(), str(row["right"] or "").strip()) for row in rows)
    names = [name for pair in pairs for name in pair]
    known = {landmark.name for landmark in landmarks}
    for name in names:
        if name not in known:
            raise InputError(f"{path} names {name!r}, which is no landmark of {landmarks.name}; correct the name")
        if names.count(name) > 1:
            raise InputError(f"{path} names {name!r} twice; a landmark belongs to one pair")
    return pairs
