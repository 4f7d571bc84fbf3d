"""Everything that can be said of a set of annotations, as tables."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deepfeatures.data.landmark_notes import notes_of_sets
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.quality import rater_agreement
from deepfeatures.quality.annotations import (
    Annotation,
    landmark_names,
    position_table,
    stack_positions,
    with_same_names,
)
from deepfeatures.quality.error_detection import AnnotationError, exchanged_axes, find_annotation_errors
from deepfeatures.quality.foreground import BEYOND_MM, outside_mm
from deepfeatures.quality.reference_model import ReferenceModel, fit_reference_model
from deepfeatures.quality.shape import FEWEST

if TYPE_CHECKING:
    from deepfeatures.data.volume import Volume

FEWEST_PEOPLE = 5  # to learn from what is normal
AGREEMENT = 2.5  # times the median distance of a landmark from the nearest rater: closer points agree
GROUPS = 12  # into which people are divided, each judged by all others


@dataclass(frozen=True, eq=False)
class Review:
    """What was found.

    Args:
        flagged: One row an annotation error: `scan, rater, landmark, kind, distance_mm, score, other`, `x, y, z` (where
            the point lies, LPS mm), `expected_x, expected_y, expected_z` and `sentence`.
        errors: Each point against the reference, or against the other raters where there is none; see `agreement`.
        by_landmark: Mean error and more for each rater and landmark.
        by_rater: The same for each rater.
        spread: Localisation error of each landmark among raters.
        bland_altman: Of each pair of raters.
        drift: Of each rater.
        sensitivity: One row a landmark: `spread_mm` along an axis of good points around where they are expected, and
            `detectable_shift_mm`, the smallest shift that is found in 19 of 20 cases. Empty where people are too few.
        inverse_consistency: Inverse-consistency error of each landmark; empty without an automatic rater.
        positions: Every point that was looked at, as `position_table` returns them.
        notes: What people should know of the names of landmarks, and of how volumes and files were read.
    """

    flagged: pd.DataFrame
    errors: pd.DataFrame
    by_landmark: pd.DataFrame
    by_rater: pd.DataFrame
    spread: pd.DataFrame
    bland_altman: pd.DataFrame
    drift: pd.DataFrame
    sensitivity: pd.DataFrame
    inverse_consistency: pd.DataFrame
    positions: pd.DataFrame
    notes: tuple[Note, ...] = ()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        return {
            "flagged": self.flagged,
            "errors": self.errors,
            "by_landmark": self.by_landmark,
            "by_rater": self.by_rater,
            "spread": self.spread,
            "bland_altman": self.bland_altman,
            "drift": self.drift,
            "sensitivity": self.sensitivity,
            "inverse_consistency": self.inverse_consistency,
            "notes": pd.DataFrame([(note.kind.value, note.text) for note in self.notes], columns=["kind", "note"]),
        }


def review(
    annotations: Sequence[Annotation],
    reference: str | None = None,
    volumes: Mapping[str, Volume] | None = None,
    estimates: Mapping[str, np.ndarray] | None = None,
    inverse_consistency: pd.DataFrame | None = None,
    notes: Sequence[Note] = (),
) -> Review:
    """Compare raters, and look for errors in every annotation.

    Each annotation is judged by the reference model of other people's scans, and by where others have the same
    landmark in the same scan: other raters and the `estimates`. Landmarks are compared by name, see `with_same_names`.

    Args:
        annotations: Of one or many raters.
        reference: The rater to measure against, whose scans are the training set of the reference model; `None` for
            all raters.
        volumes: Of scans, by name, to tell which points lie outside; read one at a time if the mapping does so.
        estimates: Of a matcher, by scan: LPS mm, shape `(L, 3)` in the order of `landmark_names` of the annotations
            that `with_same_names` returns.
        inverse_consistency: Of the same matcher, as `automatic_rater.inverse_consistency` returns it.
        notes: On how the annotations were read, to stand before the others.

    Raises:
        InputError: The reference is no rater.
    """
    raters = list(dict.fromkeys(annotation.rater for annotation in annotations))
    if reference is not None and reference not in raters:
        raise InputError(f"there is no rater {reference!r} to measure against; choose one of {', '.join(raters)}")
    of_files = notes_of_sets((f"{one.scan} of {one.rater}", one.landmarks) for one in annotations)
    annotations, of_names = with_same_names(annotations, reference)
    positions = position_table(annotations)
    names = landmark_names(annotations)
    points = stack_positions(annotations, names)
    annotation_errors, model = _annotation_errors(annotations, names, points, estimates or {}, reference)
    of_axes = _axes_notes(annotations, points, annotation_errors, reference)
    of_volumes = _look_at_volumes(volumes or {}, annotations, names, points, annotation_errors)
    differences = (
        rater_agreement.errors(positions, reference) if reference else rater_agreement.from_consensus(positions)
    )
    pairs = [(first, second) for place, first in enumerate(raters) for second in raters[place + 1 :]]
    empty = rater_agreement.bland_altman(positions.iloc[:0], "", "")
    return Review(
        flagged=_flagged(annotations, names, points, annotation_errors),
        errors=differences,
        by_landmark=rater_agreement.summary(differences, ["rater", "landmark"]),
        by_rater=rater_agreement.summary(differences, ["rater"]),
        spread=rater_agreement.localisation_error(positions),
        bland_altman=pd.concat([empty, *(rater_agreement.bland_altman(positions, *pair) for pair in pairs)]),
        drift=rater_agreement.drift(differences),
        sensitivity=_sensitivity(model),
        inverse_consistency=pd.DataFrame(columns=["landmark"]) if inverse_consistency is None else inverse_consistency,
        positions=positions,
        notes=(*notes, *of_files, *of_names, *of_axes, *of_volumes),
    )


def _estimates(
    annotations: Sequence[Annotation], points: np.ndarray, automatic: Mapping[str, np.ndarray]
) -> np.ndarray:
    """For each annotation the median of what others have in the same scan, `(N, L, 3)`, NaN where nobody has."""
    found = np.full_like(points, np.nan)
    for row, annotation in enumerate(annotations):
        others = [
            points[other]
            for other, another in enumerate(annotations)
            if other != row and another.scan == annotation.scan
        ]
        others += [automatic[annotation.scan]] if annotation.scan in automatic else []
        if others:
            found[row] = np.ma.median(np.ma.masked_invalid(np.stack(others)), axis=0).filled(np.nan)
    return found


def _agreeing(annotations: Sequence[Annotation], points: np.ndarray) -> np.ndarray:
    """Which points at least two other raters of the same scan have at that place, within noise; bools, `(N, L)`."""
    scans = np.array([annotation.scan for annotation in annotations])
    nearest = np.full((2, *points.shape[:2]), np.inf)  # distances from the nearest rater and from the next, mm
    for row, scan in enumerate(scans):
        others = points[(scans == scan) & (np.arange(len(scans)) != row)]
        distances = np.nan_to_num(np.linalg.norm(others - points[row], axis=2), nan=np.inf)
        closest = np.sort(distances, axis=0)[:2]
        nearest[: len(closest), row] = closest
    return nearest[1] <= AGREEMENT * np.ma.median(np.ma.masked_invalid(nearest[0]), axis=0).filled(0)


def _annotation_errors(
    annotations: Sequence[Annotation],
    names: tuple[str, ...],
    points: np.ndarray,
    automatic: Mapping[str, np.ndarray],
    reference: str | None,
) -> tuple[list[list[AnnotationError]], ReferenceModel | None]:
    """Errors of each annotation, and the reference model without the last group.

    Detected twice: the second time, flagged points are neither training data nor estimates, so that an error is
    attributed to the rater who made it. Where it can then be attributed to nobody, all who disagree stay flagged.
    What is flagged first where three raters agree is due to errors elsewhere, and does not count.
    """
    enough = np.isfinite(points).all(axis=2).sum(axis=1) > FEWEST
    in_training = enough & [reference in (None, annotation.rater) for annotation in annotations]
    people = np.array([annotation.person for annotation in annotations])
    if len(set(people[in_training])) <= FEWEST_PEOPLE:
        return [_missing_only(names, own, points) for own in points], None
    first, _ = _annotation_errors_by(
        names, points, points, _estimates(annotations, points, automatic), in_training, people
    )
    agreeing = _agreeing(annotations, points)
    first = [
        [error for error in found if not error.landmark or not agreed[names.index(error.landmark)]]
        for found, agreed in zip(first, agreeing, strict=True)
    ]
    trusted = points.copy()
    for row, found in enumerate(first):
        trusted[row, _concerned(names, found)] = np.nan
    second, model = _annotation_errors_by(
        names, points, trusted, _estimates(annotations, trusted, automatic), in_training, people
    )
    attributed = {
        (annotation.scan, error.landmark)
        for annotation, found in zip(annotations, second, strict=True)
        for error in found
    }
    for annotation, before, found in zip(annotations, first, second, strict=True):
        found += [
            error for error in before if not {(annotation.scan, error.landmark), (annotation.scan, "")} & attributed
        ]
    return second, model


def _annotation_errors_by(
    names: tuple[str, ...],
    points: np.ndarray,
    training_points: np.ndarray,
    estimates: np.ndarray,
    in_training: np.ndarray,
    people: np.ndarray,
) -> tuple[list[list[AnnotationError]], ReferenceModel]:
    """Errors of `points`, `(N, L, 3)`, each person's by the `training_points` of those of the others `in_training`."""
    _, person = np.unique(people, return_inverse=True)
    groups = person % min(GROUPS, person.max() + 1)
    annotation_errors: list[list[AnnotationError]] = [[] for _ in points]
    for group in np.unique(groups):
        learned = in_training & (groups != group)
        model = fit_reference_model(names, training_points[learned], estimates[learned], people[learned])
        for row in np.flatnonzero(groups == group):
            annotation_errors[row] = find_annotation_errors(model, points[row], estimates[row])
    return annotation_errors, model


def _concerned(names: tuple[str, ...], annotation_errors: Sequence[AnnotationError]) -> list[int]:
    """Places of the landmarks that the errors concern; all where one concerns the whole set."""
    if any(not error.landmark for error in annotation_errors):
        return list(range(len(names)))
    return [names.index(error.landmark) for error in annotation_errors]


def _missing_only(names: tuple[str, ...], own: np.ndarray, points: np.ndarray) -> list[AnnotationError]:
    is_common = np.isfinite(points).all(axis=2).mean(axis=0) > 0.5
    lost = is_common & ~np.isfinite(own).all(axis=1)
    return [AnnotationError(names[index], "missing") for index in np.flatnonzero(lost)]


def _axes_notes(
    annotations: Sequence[Annotation],
    points: np.ndarray,
    annotation_errors: Sequence[Sequence[AnnotationError]],
    reference: str | None,
) -> list[Note]:
    """Raters whose sets are mirror images of each other, where it cannot be said which of them is wrong.

    That is where neither set was found to be mirrored, or where most sets of two raters are and neither is the
    reference: then the reference model was learned from both kinds.
    """
    is_known = [any(error.kind == "mirrored" for error in found) for found in annotation_errors]
    shared: Counter[tuple[str, str]] = Counter()
    exchanged: Counter[tuple[str, str, str]] = Counter()
    open_pairs = set()
    for first, second in itertools.combinations(range(len(annotations)), 2):
        raters = annotations[first].rater, annotations[second].rater
        if annotations[first].scan == annotations[second].scan:
            shared[raters] += 1
            if axes := exchanged_axes(points[first], points[second]):
                exchanged[(*raters, axes)] += 1
                open_pairs |= set() if is_known[first] or is_known[second] else {raters}
    return [
        Note(
            NoteKind.ORIENTATION,
            f"{axes} are exchanged between {one} and {other} in the whole set of {count} scans, and it is open who is"
            " right: give that rater as the reference",
        )
        for (one, other, axes), count in exchanged.items()
        if (one, other) in open_pairs or (reference is None and 2 * count > shared[one, other])
    ]


def _look_at_volumes(
    volumes: Mapping[str, Volume],
    annotations: Sequence[Annotation],
    names: tuple[str, ...],
    points: np.ndarray,
    annotation_errors: list[list[AnnotationError]],
) -> list[Note]:
    """Add errors of points outside the head, and return what people should know of how the volumes were read."""
    from deepfeatures.data.volume import notes_of  # needs PyTorch, as volumes do

    notes: list[Note] = []
    for scan in dict.fromkeys(annotation.scan for annotation in annotations):
        if scan not in volumes:
            continue
        volume = volumes[scan]
        notes += notes_of(replace(volume, name=scan))
        rows = [row for row, annotation in enumerate(annotations) if annotation.scan == scan]
        distances = outside_mm(volume, points[rows].reshape(-1, 3)).reshape(len(rows), -1)
        for row, own in zip(rows, distances, strict=True):
            annotation_errors[row] += [
                AnnotationError(names[index], "outside", float(own[index])) for index in np.flatnonzero(own > BEYOND_MM)
            ]
    return notes


def _flagged(
    annotations: Sequence[Annotation],
    names: tuple[str, ...],
    points: np.ndarray,
    annotation_errors: Sequence[Sequence[AnnotationError]],
) -> pd.DataFrame:
    rows = []
    for annotation, own, found in zip(annotations, points, annotation_errors, strict=True):
        for error in found:
            at = own[names.index(error.landmark)] if error.landmark else np.full(3, np.nan)
            expected = error.expected or (np.nan,) * 3
            measured = error.kind, error.distance_mm, error.score, error.other
            rows.append((annotation.scan, annotation.rater, error.landmark, *measured, *at, *expected, error.sentence))
    places = [*"xyz", *(f"expected_{axis}" for axis in "xyz")]
    columns = ["scan", "rater", "landmark", "kind", "distance_mm", "score", "other", *places, "sentence"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("score", ascending=False, na_position="first", ignore_index=True)


def _sensitivity(model: ReferenceModel | None) -> pd.DataFrame:
    columns = ["landmark", "spread_mm", "detectable_shift_mm"]
    if model is None:
        return pd.DataFrame(columns=columns)
    rows = zip(model.names, model.spreads_mm, model.detectable_shifts_mm(), strict=True)
    return pd.DataFrame(rows, columns=columns)
