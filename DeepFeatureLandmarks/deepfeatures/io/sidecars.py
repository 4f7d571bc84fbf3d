"""JSON and CSV files that describe something else than landmarks, as BIDS and people have them beside scans."""

from __future__ import annotations

import json
import re
from itertools import filterfalse
from pathlib import Path

from deepfeatures.io.landmark_formats.rows import fields_of, is_blank, lines_of

CLAIMS = (".mrk.json", ".ants.csv")  # say that they hold points: if they do not, they are damaged
NUMBER = re.compile(r"[-+]?\.?\d[\d.,e+-]*", re.IGNORECASE)


def is_sidecar(path: Path) -> bool:
    """Whether a file neither holds landmarks nor claims to, such as `dataset_description.json` or `notes.csv`.

    It is JSON without markups, or a table whose header has no coordinates. A file that cannot be read, or is no JSON or
    no table with a header, is no sidecar: points might be lost with it.
    """
    name = path.name.lower()
    if name.endswith(CLAIMS) or name.startswith("."):
        return False
    try:
        if name.endswith(".json"):
            content = json.loads(path.read_bytes())
            return not isinstance(content, dict) or "markups" not in content
        return name.endswith(".csv") and _is_table_of_other_things(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False


def _is_table_of_other_things(text: str) -> bool:
    """Whether there are rows below a header that names no coordinates, and nothing states a coordinate system."""
    lines = list(filterfalse(is_blank, lines_of(text)))
    table = [line for line in lines if not line.startswith("#")]
    if len(table) < 2 or "\0" in text or fields_of(table[0]) is None:
        return False
    header = table[0].lower()
    top = "".join(lines[: lines.index(table[0]) + 1]).lower()
    if "coordinate" in top or any(NUMBER.fullmatch(word) for word in re.split(r'[\s,;"]+', header)):
        return False
    return not _names_axes(header)


def _names_axes(header: str) -> bool:
    """Whether columns are called as axes are: `x`, `pos_x`, `Y (mm)`, `xpos, ypos, zpos`, or `r, a, s`."""
    words = set(re.split(r"[^a-z]+", header))
    columns = {column.strip(' "') for column in re.split(r"[,;\t]", header)}
    has_three = any(
        {column[:place] + axis + column[place + 1 :] for axis in "yz"} <= columns
        for column in columns
        for place, letter in enumerate(column)
        if letter == "x"
    )
    return has_three or bool(words & set("xyz")) or any(len(words & set(axes)) > 1 for axes in ("lps", "ras"))
