"""Pairs of landmarks: the same name in the template and in the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmark_names import match_names
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError

SAME_PLACE_MM = 1e-3  # two landmarks nearer than this lie at one place


@dataclass(frozen=True, eq=False)
class LandmarkPairs:
    """Landmarks that both sets have.

    Args:
        names: Of the template's landmarks; those at one place in the template are one pair, named after the first.
        points, targets: LPS mm, `(N, 3)`.
        expected_errors_mm: Of the targets, `(N,)`; 0 for what a person has placed.
        notes: What people should know of how they were paired.
        keypoints: How many of the last pairs are keypoints of a search, which nobody has named.
    """

    names: tuple[str, ...]
    points: np.ndarray
    targets: np.ndarray
    expected_errors_mm: np.ndarray
    notes: tuple[Note, ...] = ()
    keypoints: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def landmarks(self) -> int:
        """How many of the first pairs are landmarks."""
        return len(self) - self.keypoints

    def with_keypoints(self, points: np.ndarray, targets: np.ndarray, expected_errors_mm: np.ndarray) -> LandmarkPairs:
        """These pairs and keypoints that a search has matched, LPS mm `(K, 3)`, but those at a landmark's place."""
        apart = np.linalg.norm(points[:, None] - self.points, axis=2)
        new = np.flatnonzero(apart.min(1, initial=np.inf) >= SAME_PLACE_MM)
        return replace(
            self,
            names=(*self.names, *(f"keypoint {number}" for number in range(1, len(new) + 1))),
            points=np.concatenate([self.points, points[new]]),
            targets=np.concatenate([self.targets, targets[new]]),
            expected_errors_mm=np.concatenate([self.expected_errors_mm, expected_errors_mm[new]]),
            keypoints=self.keypoints + len(new),
        )


def pair_by_name(template: LandmarkSet, target: LandmarkSet) -> LandmarkPairs:
    """Landmarks of a template with those of the same name in a target.

    Raises:
        InputError: A name occurs twice in a set, or no name is in both.
    """
    for landmarks in (template, target):
        if twice := landmarks.duplicate_names:
            raise InputError(f"{landmarks.name} has two landmarks named {twice[0]}; give each a name of its own.")
    match = match_names(target, template)
    places = {one.name: one for one in match.renamed(target) if one.is_defined}
    both = [one for one in template if one.is_defined and one.name in places]
    if not both:
        raise InputError(
            f"No landmark of {template.name} has a place in {target.name}; give the same landmarks the same names."
        )
    found = [places[one.name] for one in both]
    paired = {one.name for one in both}
    unplaced = [one.name for one in template if one.name not in paired and one.name not in match.lacking]
    notes = match.notes(template.name)
    if unplaced:
        text = f"landmarks without a place in one of the two volumes are left out: {names_text(unplaced)}"
        notes = (*notes, Note(NoteKind.TRANSFORM, text))
    pairs = LandmarkPairs(
        tuple(one.name for one in both),
        np.array([one.position for one in both], float),
        np.array([one.position for one in found], float),
        np.array([0.0 if one.is_of_a_person else one.expected_error_mm or 0.0 for one in found]),
        notes,
    )
    return _without_doubles(pairs)


def _without_doubles(pairs: LandmarkPairs) -> LandmarkPairs:
    """Landmarks at one place of the template as one pair, whose target is their mean."""
    apart = np.linalg.norm(pairs.points[:, None] - pairs.points, axis=2)
    first = (apart < SAME_PLACE_MM).argmax(1)  # of all at the same place
    kept = np.unique(first)
    if len(kept) == len(pairs):
        return pairs
    other = int(np.flatnonzero(first != np.arange(len(pairs)))[0])
    names = f"{pairs.names[first[other]]} and {pairs.names[other]}"
    text = f"{names} lie at one place in the template: the mean of their places in the target counts"
    return LandmarkPairs(
        tuple(pairs.names[index] for index in kept),
        pairs.points[kept],
        np.stack([pairs.targets[first == index].mean(0) for index in kept]),
        np.array([pairs.expected_errors_mm[first == index].mean() for index in kept]),
        (*pairs.notes, Note(NoteKind.TRANSFORM, text)),
    )
