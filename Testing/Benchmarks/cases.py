"""Volumes with known landmarks for the benchmarks: from a data folder, or from one file that needs no reader."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.matching import Matcher


@dataclass(frozen=True, eq=False)
class Case:
    """A volume and its true landmarks."""

    volume: Volume
    landmarks: LandmarkSet

    @property
    def name(self) -> str:
        return self.volume.name


def data_folder() -> Path:
    """Where the development volumes lie."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("DEEPFEATURES_DATA", beside))


Place = Callable[[Case, Case], np.ndarray]  # template and target to LPS mm, (N, 3)


def by(matcher: Matcher) -> Place:
    """Landmarks as a matcher places them."""

    def place(template: Case, target: Case) -> np.ndarray:
        return matcher.match(template.volume, template.landmarks, target.volume).landmarks.positions

    return place


def person(name: str) -> int:
    """Hippocampus 2k-1 and 2k are two sides of person k."""
    return (int(name.rsplit("_", 1)[1]) + 1) // 2


def read_case(image: Path) -> Case:
    """A NIfTI file and the `.mrk.json` beside it."""
    from deepfeatures.io.landmark_files import read_landmarks
    from deepfeatures.io.volume_files import read_volume

    return Case(read_volume(image), read_landmarks(image.with_name(image.name.replace(".nii.gz", ".mrk.json"))))


def read_folder(folder: Path) -> Iterator[Case]:
    for image in sorted(folder.glob("*.nii.gz")):
        yield read_case(image)


def write_bundle(cases: Iterator[Case], path: Path) -> None:
    """All cases in one `.npz` file."""
    arrays = {}
    for case in cases:
        volume = case.volume
        arrays[f"{case.name}/voxels"] = volume.voxels.numpy()
        arrays[f"{case.name}/geometry"] = np.vstack([volume.origin, volume.spacing, volume.direction])
        arrays[f"{case.name}/points"] = case.landmarks.positions
        arrays[f"{case.name}/names"] = np.array([landmark.name for landmark in case.landmarks])
    np.savez_compressed(path, **arrays)


def read_bundle(path: Path) -> Iterator[Case]:
    with np.load(path) as arrays:
        for name in sorted({key.split("/")[0] for key in arrays.files}):
            origin, spacing, *direction = arrays[f"{name}/geometry"]
            volume = Volume(torch.from_numpy(arrays[f"{name}/voxels"]), origin, spacing, np.array(direction), name)
            points = zip(arrays[f"{name}/names"], arrays[f"{name}/points"], strict=True)
            yield Case(volume, LandmarkSet(tuple(Landmark(str(label), tuple(point)) for label, point in points)))


def region_numbers(labels: Volume) -> np.ndarray:
    """Of a label map: whole numbers `(D, H, W)`, 0 for none."""
    return labels.voxels.numpy().round().astype(int)


def aligned_centres(template: Case, target: Case) -> np.ndarray:
    """LPS mm of the template's landmarks when the middles of both volumes coincide: the initial guess."""
    return template.landmarks.positions - template.volume.centre + target.volume.centre


def scaled_boxes(template: Case, target: Case) -> np.ndarray:
    """LPS mm of the template's landmarks when both volumes are stretched to one size."""
    stretch = _extent(target.volume) / _extent(template.volume)
    return (template.landmarks.positions - template.volume.centre) * stretch + target.volume.centre


def errors(positions: np.ndarray, target: Case) -> np.ndarray:
    """Distance in mm of each landmark from the truth."""
    return np.linalg.norm(positions - target.landmarks.positions, axis=1)


def tried(place: Place, pairs: Iterable[tuple[Case, Case]]) -> tuple[np.ndarray, float]:
    """Errors in mm of all landmarks of templates in their targets, NaN where missing, and the median seconds a pair."""
    found, seconds = [], []
    for template, target in pairs:
        started = time.perf_counter()
        placed = place(template, target)
        seconds.append(time.perf_counter() - started)
        found.append(errors(placed, target))
    return np.concatenate(found), float(np.median(seconds))


def _extent(volume: Volume) -> np.ndarray:
    return np.abs(volume.direction) @ (volume.spacing * volume.size)
