"""Slices of one DICOM series that are given one by one, as a shell does with `series/*.dcm`, are one volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepfeatures.errors import InputError
from deepfeatures.io.dicom.headers import is_dicom
from deepfeatures.io.dicom.series import series_of
from deepfeatures.io.image_names import IMAGE_SUFFIXES

OTHER_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".dcm", ".ima"))


def one_of_each_series(paths: Sequence[Path]) -> tuple[list[Path], Mapping[Path, int]]:
    """The paths without further slices of a series, in their order, and how many slices of each series were given.

    Args:
        paths: Volumes; those that cannot be read stay, for whoever reads them to say so.
    """
    first_of: dict[Path, Path] = {}
    kept, given = [], Counter[Path]()
    for path in paths:
        first = first_of.get(path.resolve())
        if first is None:
            kept.append(path)
            first_of.update(dict.fromkeys(_slices_beside(path), path))
        else:
            given[first] += 1
    return kept, {first: count + 1 for first, count in given.items()}


def _slices_beside(path: Path) -> list[Path]:
    """All files of the series of which `path` is one slice; none of any other volume."""
    if not path.is_file() or path.name.lower().endswith(OTHER_SUFFIXES) or not is_dicom(path):
        return []
    try:
        files = series_of(path).files
    except InputError:
        return []
    return [file.resolve() for file in files] if len(files) > 1 else []
