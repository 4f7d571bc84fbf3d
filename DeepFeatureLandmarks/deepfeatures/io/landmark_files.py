"""Landmark files of every format, read and written."""

from __future__ import annotations

from pathlib import Path

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text
from deepfeatures.io.landmark_formats import fcsv, landmark_csv, markups_json

FORMATS = {".json": markups_json, ".fcsv": fcsv, ".csv": landmark_csv}


def read_landmarks(path: str | Path) -> LandmarkSet:
    """Read Slicer's `.mrk.json` (markups of any type: their control points) or `.fcsv`, or a `.csv` table.

    Names may repeat, as they do in Slicer. See `markups_json`, `fcsv` and `landmark_csv` for what each format holds.

    Raises:
        InputError: Where there is no such file, or it is not what its suffix says, or it holds no landmark.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not a readable text file; give landmarks as .mrk.json, .fcsv or .csv") from error
    file_format = _format_of(path)
    try:
        text = content.decode("utf-8-sig")  # spreadsheets put a byte order mark first
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8; save it again, as a spreadsheet as CSV UTF-8") from error
    landmarks = file_format.parse(text, path)
    if not landmarks.landmarks:
        raise InputError(f"{path} holds no landmarks; place at least one point and save again")
    return landmarks


def write_landmarks(landmarks: LandmarkSet, path: str | Path) -> None:
    """Write `landmarks` as `.mrk.json` (today's Slicer schema), `.fcsv` or `.csv`, in LPS mm, whole or not at all.

    Raises:
        InputError: Where the suffix is another or the file cannot be written.
    """
    path = Path(path)
    write_text(path, _format_of(path).render(landmarks))


def _format_of(path: Path):
    """The module that reads and writes files of this suffix."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} is not a known kind of landmark file; give .mrk.json, .fcsv or .csv")
    return FORMATS[path.suffix.lower()]
