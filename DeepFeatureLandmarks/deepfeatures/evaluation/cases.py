"""Volumes with known landmarks to compare methods on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.landmarks import LANDMARK_SUFFIXES, LandmarkSet, read_landmarks
from deepfeatures.quiet import native_silence
from deepfeatures.scan_folder import find_scans
from deepfeatures.volume import Volume, read_volume


@dataclass(frozen=True)
class Case:
    """A volume file and the file of its landmarks."""

    name: str
    image: Path
    landmarks: Path

    def read(self) -> tuple[Volume, LandmarkSet]:
        with native_silence():
            return read_volume(self.image), read_landmarks(self.landmarks)


def find_cases(folder: str | Path) -> list[Case]:
    """The volumes of a folder that have a landmark file of the same name beside them, by name.

    Raises:
        InputError: There are fewer than two.
    """
    cases = []
    for name, image in find_scans(folder).items():
        beside = [image.with_name(name + suffix) for suffix in LANDMARK_SUFFIXES]
        cases += [Case(name, image, path) for path in beside if path.exists()][:1]
    if len(cases) < 2:
        raise InputError(f"{folder} has {len(cases)} volumes with landmarks beside them; a study needs two or more")
    return cases


def initial_positions(template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """Where the landmarks are once the volumes' centres are in one place, LPS mm, shape `(L, 3)`."""
    return landmarks.positions - template.centre + target.centre
