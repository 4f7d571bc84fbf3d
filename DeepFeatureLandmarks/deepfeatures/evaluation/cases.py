"""Volumes with known landmarks to compare methods on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfeatures.data.landmark_checks import check_unique_names
from deepfeatures.data.landmark_names import unify_names
from deepfeatures.data.landmark_notes import notes_of_sets
from deepfeatures.data.landmarks import LANDMARK_SUFFIXES, LandmarkSet
from deepfeatures.data.notes import Note
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.bids import find_volumes
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.landmark_files import is_landmark_file, read_landmarks
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.matching.learning.protocol_file import read_protocol


@dataclass(frozen=True)
class Case:
    """A volume file and the file of its landmarks, or a protocol and `None`."""

    name: str
    image: Path
    landmarks: Path | None

    def read(self) -> tuple[Volume, LandmarkSet]:
        if self.landmarks is None:
            return read_protocol(self.image).template, self.read_landmarks()
        with suppress_native_output():
            return read_within_memory(self.image), self.read_landmarks()

    def read_landmarks(self) -> LandmarkSet:
        return read_protocol(self.image).landmarks if self.landmarks is None else read_landmarks(self.landmarks)


def find_cases(source: str | Path) -> list[Case]:
    """The volumes of a folder that have a landmark file of the same name beside them, by name; or those of a CSV file.

    Args:
        source: A folder, or a CSV file with the columns `volume` and `landmarks`, whose paths may be relative to it.

    Raises:
        InputError: There are fewer than two, or the CSV file cannot be used.
    """
    cases = annotated_cases(source)
    if len(cases) < 2:
        raise InputError(f"{source} has {len(cases)} volumes with landmarks; a study needs two or more")
    return cases


def annotated_cases(source: str | Path) -> list[Case]:
    """The same, however few they are."""
    source = Path(source)
    return _listed(source) if source.suffix.lower() == ".csv" else _beside(source)


def _beside(folder: Path) -> list[Case]:
    cases = []
    for name, image in find_volumes(folder).items():
        # .json last: converters put a scan's acquisition parameters there
        suffixes = sorted(LANDMARK_SUFFIXES, key=".json".__eq__)
        beside = [image.with_name(name + suffix) for suffix in suffixes]
        cases += [Case(name, image, path) for path in beside if is_landmark_file(path)][:1]
    return cases


def _listed(table: Path) -> list[Case]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read: {error}; give a CSV file, or a folder") from error
    cases: dict[str, Case] = {}
    for number, row in enumerate(rows, 2):
        if not row.get("volume") or not row.get("landmarks"):
            raise InputError(f"line {number} of {table} names no volume and landmarks; give both columns")
        image, landmarks = table.parent / row["volume"], table.parent / row["landmarks"]
        for path in (image, landmarks):
            if not path.exists():
                raise InputError(f"{path}, which line {number} of {table} names, does not exist; correct the path")
        name = image_stem(image)
        if name in cases:
            raise InputError(f"{cases[name].image} and {image} bear the same name; rename one")
        cases[name] = Case(name, image, landmarks)
    return list(cases.values())


def read_points(cases: Sequence[Case]) -> tuple[dict[str, LandmarkSet], tuple[Note, ...]]:
    """Landmarks of cases, by the case's name, with the same names for the same landmarks, and notes on files and names.

    Raises:
        InputError: A file cannot be used, or a name occurs twice in it.
    """
    points = {case.name: case.read_landmarks() for case in cases}
    for case in cases:
        check_unique_names(points[case.name], case.landmarks or case.image)
    unified, notes = unify_names(list(points.values()), ["landmark files"] * len(points))
    return dict(zip(points, unified, strict=True)), (*notes_of_sets(points.items()), *notes)


def initial_positions(template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """Where the landmarks are once the volumes' centres are in one place, LPS mm, shape `(L, 3)`."""
    return landmarks.positions - template.centre + target.centre
