"""Rows of comma separated fields, one a line: every line is a row, whatever quotes it holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

from deepfeatures.errors import InputError, quoted
from deepfeatures.io.landmark_formats.coordinates import SYSTEMS


def lines_of(text: str) -> list[str]:
    """The lines of a text; line ends are those of Windows, Unix or the old Mac, and no others."""
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]


def fields_of(line: str) -> list[str] | None:
    """The fields of one line; `None` where a quote does not close, or closes before the field ends."""
    try:
        (row,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        return None
    return row


def is_blank(line: str) -> bool:
    """Whether there is nothing on a line; spreadsheets fill empty rows up with commas."""
    return not line.replace(",", "").replace('"', "").strip()


def stated(comments: Sequence[str], once: Collection[str], path: Path) -> dict[str, str]:
    """What comment lines such as `# CoordinateSystem = LPS` state, by the name in small letters without blanks.

    Commas with which a spreadsheet has filled a line up are left out. Raises `InputError` where one of the names in
    `once` is stated in two ways, as in two files joined in one.
    """
    pairs = [comment.lstrip("# ").rstrip(",; ").partition("=") for comment in comments]
    pairs = [pair if pair[1] else pair[0].partition(":") for pair in pairs]
    found: dict[str, str] = {}
    for key, value in ((_word(key), value.strip()) for key, sign, value in pairs if sign):
        if key in once and _meaning(found.get(key, value)) != _meaning(value):
            raise joined(path)
        found[key] = value
    return found


def joined(path: Path) -> InputError:
    """The error of a file whose headers contradict each other."""
    return InputError(f"{path} has headers that contradict each other, as two files joined in one; give each by itself")


def _word(text: str) -> str:
    return text.lower().replace(" ", "").replace("_", "")


def _meaning(value: str) -> str:
    """The same for spellings that mean the same, such as `RAS`, `ras mm` and 0."""
    word = _word(value).removesuffix("mm").upper()
    return SYSTEMS.get(word, word)


def check_columns(columns: Sequence[str], path: Path) -> None:
    """Raise `InputError` where two columns have one name."""
    for column in set(columns) - {""}:
        if columns.count(column) > 1:
            raise InputError(f"{path} has several columns {quoted(column)}; keep one of them")


def check_count(announced: str, rows: Sequence[str], path: Path) -> None:
    """Raise `InputError` where a file announces another number of landmarks than it has rows of."""
    if announced.lstrip("0") != str(len(rows)).lstrip("0"):
        raise InputError(f"{path} announces {announced:.9} landmarks and holds {len(rows)}; correct or export it again")


def on_one_line(text: str) -> str:
    """The text with blanks for its line breaks."""
    return " ".join(text.splitlines())
