"""Who placed which landmarks in which scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.landmark_checks import check_unique_names, names_text
from deepfeatures.data.landmark_names import unify_names
from deepfeatures.data.landmarks import LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.image_names import person_of
from deepfeatures.io.landmark_files import is_landmark_file, read_landmarks
from deepfeatures.io.sidecars import is_sidecar

if TYPE_CHECKING:
    import pandas as pd

SIDECARS = {".json": "JSON files without markups", ".csv": "CSV files without coordinates"}


@dataclass(frozen=True)
class Annotation:
    """One rater's landmarks in one scan.

    Args:
        scan: Name of the scan; raters are compared where they name the same.
        rater: Name of the person, or of what placed them automatically.
        landmarks: LPS mm.
        order: Place in the rater's session, from 0, in which the scan was annotated.
    """

    scan: str
    rater: str
    landmarks: LandmarkSet
    order: int = 0

    @property
    def person(self) -> str:
        """Whose scan it is: `sub-…` of a BIDS name, else the scan itself."""
        return person_of(self.scan)


def read_rater(folder: str | Path, rater: str | None = None, scans: Sequence[str] = ()) -> list[Annotation]:
    """Every landmark file of a folder that is not hidden, in the order of the files' times, then names.

    JSON files without markups, as BIDS has them in every folder, and tables without coordinates are left out;
    `sidecar_notes` names them.

    Args:
        folder: With one landmark file a scan.
        rater: The folder's name where not given.
        scans: Names of the scans: a file that starts with one of them (`sub-01_T1w` of `sub-01_T1w_afids.fcsv`)
            belongs to it. A file's own name, without its suffix, is its scan's where none fits.

    Raises:
        InputError: There is no such folder, it holds no landmarks, names two files for one scan, or one is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a rater's folder with one landmark file a scan")
    files = [file for file in folder.iterdir() if is_landmark_file(file)]
    if not files:
        raise InputError(f"{folder} holds no landmarks; give a folder with .mrk.json, .fcsv or .csv files")
    annotations: dict[str, Annotation] = {}
    for order, file in enumerate(sorted(files, key=lambda file: (int(file.stat().st_mtime), file.name))):
        scan = _scan_of(landmark_stem(file), scans)
        if scan in annotations:
            raise InputError(f"{folder} has two landmark files for the scan {scan}; keep one of each")
        landmarks = read_landmarks(file)
        check_unique_names(landmarks, file)
        annotations[scan] = Annotation(scan, rater or folder.resolve().name, landmarks, order)
    return list(annotations.values())


def sidecar_notes(folder: str | Path) -> tuple[Note, ...]:
    """What people should know of a rater's folder: which files hold no landmarks and are left out."""
    every = sorted(file.name for file in Path(folder).iterdir() if is_sidecar(file))
    notes = []
    for suffix, kind in SIDECARS.items():
        if names := [name for name in every if name.lower().endswith(suffix)]:
            text = f"{kind} are left out: {names_text(names)}"
            notes.append(Note(NoteKind.NAMES, text).of(Path(folder).resolve().name))
    return tuple(notes)


def _scan_of(stem: str, scans: Sequence[str]) -> str:
    fitting = [scan for scan in scans if stem == scan or (stem.startswith(scan) and not stem[len(scan)].isalnum())]
    return max(fitting, key=len, default=stem)


def with_same_names(
    annotations: Sequence[Annotation], reference: str | None = None
) -> tuple[list[Annotation], tuple[Note, ...]]:
    """Annotations in which a landmark has the same name everywhere, and notes where raters write it differently.

    Names are taken as the same where they differ only in case or blanks, or where one is the other's description, as in
    AFIDs files. See `landmark_names.match_names`.

    Args:
        annotations: Of one or many raters.
        reference: The rater whose names count; by default the first.
    """
    first = reference or next((one.rater for one in annotations), None)
    ordered = sorted(annotations, key=lambda one: one.rater != first)
    sets, notes = unify_names([one.landmarks for one in ordered], [one.rater for one in ordered])
    named = {id(one): replace(one, landmarks=landmarks) for one, landmarks in zip(ordered, sets, strict=True)}
    return [named[id(one)] for one in annotations], notes


def landmark_names(annotations: Sequence[Annotation]) -> tuple[str, ...]:
    """Names of all landmarks in the order in which they first appear."""
    return tuple(dict.fromkeys(landmark.name for annotation in annotations for landmark in annotation.landmarks))


def stack_positions(annotations: Sequence[Annotation], names: Sequence[str]) -> np.ndarray:
    """LPS mm, shape `(N, L, 3)`, NaN where an annotation has no such landmark or no position for it."""
    stacked = np.full((len(annotations), len(names), 3), np.nan)
    places = {name: place for place, name in enumerate(names)}
    for row, annotation in zip(stacked, annotations, strict=True):
        for landmark in annotation.landmarks:
            if landmark.is_defined and landmark.name in places:
                row[places[landmark.name]] = landmark.position
    return stacked


def position_table(annotations: Sequence[Annotation]) -> pd.DataFrame:
    """One row a defined point: `scan, rater, landmark, order, x, y, z`, LPS mm."""
    import pandas as pd

    rows = [
        (annotation.scan, annotation.rater, landmark.name, annotation.order, *landmark.position)
        for annotation in annotations
        for landmark in annotation.landmarks
        if landmark.is_defined
    ]
    return pd.DataFrame(rows, columns=["scan", "rater", "landmark", "order", *"xyz"])
