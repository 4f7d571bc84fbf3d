"""Scans as a protocol learns them, for `learning.py`: each is placed once, and kept in a file beside the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import Case
from doubt_sets import person_of
from learning_controls import DEEP_VOXELS, face_distances
from learning_sets import LearningSet, others

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol import begin_protocol
from deepfeatures.matching.learning.taught_scan import TaughtScan
from deepfeatures.matching.teaching import teach

WRONG_MM = 5.0  # standard deviation along each axis of where a careless reviewer puts points
FAR = 1e3  # voxels: beyond all that is looked at


@dataclass(frozen=True, eq=False)
class Lesson:
    """One scan.

    Args:
        exact: What it teaches with its true landmarks.
        careless: And with points put at random around these.
        faces: Voxels from where the search alone has found the landmarks to the faces of the scan, `(L, 6)`.
        deep: True landmarks far from all faces, `(L,)`.
        placed: Whether the search alone has placed the scan where it belongs.
    """

    exact: TaughtScan
    careless: TaughtScan
    faces: np.ndarray
    deep: np.ndarray
    placed: bool = True


def lessons_of(one: LearningSet, template: str, folder: Path) -> dict[str, Lesson]:
    """By name, all scans of other people than the template's that are placed where they belong.

    They are read from the folder if they are there; throw the folder away once the search has changed.
    """
    path = folder / f"{template}.taught"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = {name: _as_tensors(asdict(lesson)) for name, lesson in _made(one, template)}
        torch.save(rows, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    rows = torch.load(path, weights_only=True)
    taught = {
        name: Lesson(
            **{key: TaughtScan(**row[key]) for key in ("exact", "careless")},
            **{key: row[key].numpy() for key in ("faces", "deep")},
            placed=row["placed"],
        )
        for name, row in rows.items()
    }
    return {name: lesson for name, lesson in taught.items() if lesson.placed}


def _as_tensors(row: dict[str, Any]) -> dict[str, Any]:
    return {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in row.items()}


def _made(one: LearningSet, template: str) -> Iterator[tuple[str, Lesson]]:
    matcher, known = Matcher(), one.case(template)
    protocol = begin_protocol(known.volume, known.landmarks, matcher.features_key)
    for name in others(one, template):
        case = one.case(name)
        wrong = _wrong(case, np.random.default_rng(sum(map(ord, name))))
        try:
            exact, careless = (
                teach(matcher, protocol, case.volume, points, name=name, person=person_of(name))
                for points in (case.landmarks, wrong)
            )
        except InputError as error:
            print(f"{name} is left out: {error}", flush=True)
            continue
        before = exact.errors_mm(exact.found)
        places = matcher.match(known.volume, known.landmarks, case.volume).landmarks if one.repeats else None
        placed = places is None or _right_level(places, case, known)
        told = "" if placed else ", a whole level off: left out"
        print(f"{template} in {name}: {float(before.nanmean()):.2f} mm{told}", flush=True)
        faces, deep = _faces(exact, known, case)
        yield name, Lesson(exact, careless, faces, deep, placed)


def _faces(taught: TaughtScan, template: Case, target: Case) -> tuple[np.ndarray, np.ndarray]:
    by_name = {landmark.name: landmark.position for landmark in target.landmarks if landmark.is_defined}
    true = np.array([by_name.get(landmark.name, (np.nan,) * 3) for landmark in template.landmarks], float)
    steps = ((taught.found - taught.true) @ taught.voxel_to_mm.T).numpy()
    found = true + steps @ target.volume.canonical().direction.T
    return face_distances(target.volume, found), face_distances(target.volume, true).min(1) > DEEP_VOXELS


def _wrong(case: Case, random: np.random.Generator) -> LandmarkSet:
    """Points at random around the true ones, within the scan."""
    volume = case.volume
    indices = volume.to_index(case.landmarks.positions + random.normal(0, WRONG_MM, (len(case.landmarks), 3)))
    inside = volume.to_world(indices.clip(0, np.array(volume.size) - 1))
    moved = [replace(one, position=tuple(place)) for one, place in zip(case.landmarks, inside.tolist(), strict=True)]
    return replace(case.landmarks, landmarks=tuple(moved))


def _right_level(places: LandmarkSet, target: Case, template: Case) -> bool:
    """Whether the median error is below half the distance between the middles of neighbouring vertebrae."""
    true = {landmark.name: np.array(landmark.position) for landmark in target.landmarks}
    apart = [
        np.linalg.norm(np.array(landmark.position) - true[landmark.name])
        for landmark in places
        if landmark.is_defined and landmark.name in true
    ]
    middles = [np.array(landmark.position) for landmark in template.landmarks if " " not in landmark.name]
    level_mm = float(np.median([np.linalg.norm(a - b) for a, b in pairwise(middles)]))
    return bool(apart) and float(np.median(apart)) < level_mm / 2


def as_a_person_does(taught: TaughtScan, random: np.random.Generator, unmoved_mm: float, noise_mm: float) -> TaughtScan:
    """What the scan teaches with a person's habits: what lies near enough is accepted where the search has put it.

    Args:
        taught: With the true landmarks.
        unmoved_mm: Below this distance a landmark is accepted.
        noise_mm: Standard deviation along each axis of where the others are dragged.
    """
    moved = taught.errors_mm(taught.found) >= unmoved_mm
    noise_of_person = torch.from_numpy(random.normal(0, noise_mm, taught.true.shape)).float()
    dragged = taught.true + noise_of_person @ torch.linalg.inv(taught.voxel_to_mm).T
    true = torch.where(moved[:, None], dragged, torch.where(taught.taught[:, None], taught.found, torch.nan))
    return _with_true(taught, true, moved)


def accepted_unmoved(taught: TaughtScan) -> TaughtScan:
    """What the scan teaches where everything is accepted as the search has put it."""
    return as_a_person_does(taught, np.random.default_rng(0), np.inf, 0.0)


def _with_true(taught: TaughtScan, true: torch.Tensor, moved: torch.Tensor) -> TaughtScan:
    """Other places; features are those around the true place where it was moved, else around the one found."""
    missing = taught.found_places.shape[1] - taught.true_places.shape[1]
    jets = torch.nn.functional.pad(taught.true_jets, (0, 0, 0, missing))
    places = torch.nn.functional.pad(taught.true_places, (0, 0, 0, missing), value=FAR)
    return replace(
        taught,
        true=true,
        corrected=moved,
        true_jets=torch.where(moved[:, None, None], jets, taught.found_jets),
        true_scales=torch.where(moved, taught.true_scales, taught.found_scales),
        true_places=torch.where(moved[:, None, None], places, taught.found_places),
    )
