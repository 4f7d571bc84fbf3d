"""The rows of `learning.py`: who teaches what, and where landmarks are put by it in scans of other people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from learning_controls import by_faces
from learning_lessons import Lesson, accepted_unmoved, as_a_person_does
from learning_scores import Outcome

from deepfeatures.matching.learning.landmark_head import LandmarkHead, Lessons, fit_head, lessons
from deepfeatures.matching.learning.leave_one_out import leave_one_out, recalibrated_model
from deepfeatures.matching.learning.taught_scan import TaughtScan
from deepfeatures.matching.uncertainty.error_model import ErrorModel

UNMOVED_MM, NOISE_MM = 1.5, 0.5
Teaching = Callable[[Sequence[Lesson], np.random.Generator], list[TaughtScan]]
Placing = Callable[[LandmarkHead, Sequence[Lesson], Sequence[Lesson]], list[torch.Tensor]]


@dataclass(frozen=True)
class Row:
    """What is taught, and how it is used."""

    teaching: Teaching
    placing: Placing
    is_control: bool = False


def outcome(
    row: Row,
    teachers: Sequence[Lesson],
    tests: Sequence[Lesson],
    random: np.random.Generator,
    predicted: tuple[ErrorModel, float, str] | None = None,
) -> Outcome:
    """Of one draw.

    Args:
        predicted: The error model without learning, and size and name of the template, where errors are predicted.
    """
    known = lessons(row.teaching(teachers, random))
    places = row.placing(fit_head(known), teachers, tests)
    before = np.array([one.exact.errors_mm(one.exact.found).numpy() for one in tests])
    after = np.array([one.exact.errors_mm(place).numpy() for one, place in zip(tests, places, strict=True)])
    deep = np.array([one.deep for one in tests])
    return Outcome(before, after, deep, *(_predictions(known, tests, *predicted) if predicted else ()))


def _predictions(
    known: Lessons, tests: Sequence[Lesson], model: ErrorModel, size_mm: float, template: str
) -> tuple[np.ndarray, np.ndarray]:
    """Expected errors and 90 % radii in mm, `(tests, L)` each."""
    model = recalibrated_model(model, known, leave_one_out(known), size_mm, template)
    rows = [(one.exact.evidence.double(), float(one.exact.spacing_mm)) for one in tests]
    expected = np.array([model.errors_mm(*row).numpy() for row in rows])
    return expected, np.array([model.radii_mm(*row, 0.9).numpy() for row in rows])


def exact(teachers: Sequence[Lesson], random: np.random.Generator) -> list[TaughtScan]:
    return [one.exact for one in teachers]


def habits(teachers: Sequence[Lesson], random: np.random.Generator) -> list[TaughtScan]:
    return [as_a_person_does(one.exact, random, UNMOVED_MM, NOISE_MM) for one in teachers]


def careless(teachers: Sequence[Lesson], random: np.random.Generator) -> list[TaughtScan]:
    """One of them, at random, puts all points at random, or accepts them all as they are."""
    scans = exact(teachers, random)
    index, moves = int(random.integers(len(scans))), bool(random.integers(2))
    scans[index] = teachers[index].careless if moves else accepted_unmoved(scans[index])
    return scans


def shuffled(teachers: Sequence[Lesson], random: np.random.Generator) -> list[TaughtScan]:
    """Each with the features of the next person."""
    scans = exact(teachers, random)
    return [_with_features(one, other) for one, other in zip(scans, scans[1:] + scans[:1], strict=True)]


def by_head(head: LandmarkHead, teachers: Sequence[Lesson], tests: Sequence[Lesson]) -> list[torch.Tensor]:
    return [head.corrected(one.exact.around_found, one.exact.found) for one in tests]


def by_offset(head: LandmarkHead, teachers: Sequence[Lesson], tests: Sequence[Lesson]) -> list[torch.Tensor]:
    """By what all share alone."""
    return [one.exact.found + head.offset * (head.people > 0)[:, None] for one in tests]


def by_another(head: LandmarkHead, teachers: Sequence[Lesson], tests: Sequence[Lesson]) -> list[torch.Tensor]:
    """Each scan with the features of one of another person, where there is one."""
    half = len(tests) // 2  # sides of a person are neighbours
    others = [*tests[half:], *tests[:half]]
    return by_head(
        head,
        teachers,
        [replace(one, exact=_with_features(one.exact, two.exact)) for one, two in zip(tests, others, strict=True)],
    )


def by_face_distances(head: LandmarkHead, teachers: Sequence[Lesson], tests: Sequence[Lesson]) -> list[torch.Tensor]:
    moved = np.array([(one.exact.true - one.exact.found).numpy() for one in teachers])
    seen, wanted = (np.array([one.faces for one in group]) for group in (teachers, tests))
    told = torch.from_numpy(by_faces(seen, moved, np.nan_to_num(wanted))).float()
    return [one.exact.found + step for one, step in zip(tests, told, strict=True)]


def _with_features(one: TaughtScan, other: TaughtScan) -> TaughtScan:
    """The features of another scan, which move with its places: around the same offsets from found and true."""
    return replace(
        one,
        true_jets=other.true_jets,
        true_scales=other.true_scales,
        true_places=other.true_places,
        found_jets=other.found_jets,
        found_scales=other.found_scales,
        found_places=other.found_places,
    )


ROWS = {
    "exact": Row(exact, by_head),
    "habits": Row(habits, by_head),
    "careless": Row(careless, by_head),
    "offset": Row(exact, by_offset, True),
    "shuffled teachers": Row(shuffled, by_head, True),
    "shuffled targets": Row(exact, by_another, True),
    "faces": Row(exact, by_face_distances, True),
}
