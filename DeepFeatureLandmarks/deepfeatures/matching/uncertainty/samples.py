"""Landmarks that were placed where the truth is known: what calibration learns from, and how people are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

FOLDS = 5  # of people
ROWS = ("evidence", "errors", "spacings_mm", "sizes_mm", "templates", "targets")


@dataclass(frozen=True, eq=False)
class MatchSamples:
    """One set of landmarks that one template each has placed where the truth is known; a row a landmark.

    Args:
        evidence: As `covariates.covariates` gives them, shape `(N, len(covariates.NAMES))`.
        errors: Distances from the truth in voxels of the finest level, shape `(N,)`.
        spacings_mm: Of the finest level, shape `(N,)`.
        sizes_mm: Of the template, the cube root of its volume, shape `(N,)`.
        templates, targets: Names of the people, the same in all sets, shape `(N,)`.
        name: Of the set: one kind of anatomy and contrast.
        weight: Of the whole set, however large it is.
    """

    evidence: np.ndarray
    errors: np.ndarray
    spacings_mm: np.ndarray
    sizes_mm: np.ndarray
    templates: np.ndarray
    targets: np.ndarray
    name: str = ""
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def errors_mm(self) -> np.ndarray:
        return self.errors * self.spacings_mm

    @property
    def rows(self) -> torch.Tensor:
        """The evidence as models take it."""
        return torch.from_numpy(self.evidence).double()

    def take(self, chosen: np.ndarray) -> MatchSamples:
        """The rows that are chosen, by a mask `(N,)`."""
        return replace(self, **{column: getattr(self, column)[chosen] for column in ROWS})


def joined(parts: Sequence[MatchSamples]) -> MatchSamples:
    """The rows of all, one after the other, as one set with the name and weight of the first."""
    columns: dict[str, Any] = {column: np.concatenate([getattr(part, column) for part in parts]) for column in ROWS}
    return replace(parts[0], **columns)


def row_weights(sets: Sequence[MatchSamples]) -> np.ndarray:
    """Weights of the rows of all sets, one set after the other; each set has its own, and they sum up to one."""
    weights = np.concatenate([np.full(len(one), one.weight / max(len(one), 1)) for one in sets])
    return weights / weights.sum()


def person_weights(samples: MatchSamples) -> np.ndarray:
    """Weights of the rows; every target's person has the same, and they sum up to one."""
    _, places, counts = np.unique(samples.targets, return_inverse=True, return_counts=True)
    return 1 / len(counts) / counts[places]


def people_of(sets: Sequence[MatchSamples]) -> list[str]:
    """Everyone who took part, in order."""
    return sorted({str(name) for one in sets for column in (one.templates, one.targets) for name in np.unique(column)})


def without_people(sets: Sequence[MatchSamples]) -> Iterator[tuple[list[MatchSamples], list[np.ndarray]]]:
    """What to fit, and for each set the mask of the rows to judge by it.

    Neither the template's nor the target's person of a row that is judged took part in the fit. Where a set would have
    nothing left, as one with a single template, its template may take part.
    """
    everyone = people_of(sets)
    fold_of = {name: number % FOLDS for number, name in enumerate(everyone)}
    folds = [[np.array([fold_of[str(name)] for name in names]) for names in (x.templates, x.targets)] for x in sets]
    for template_fold in range(FOLDS):
        for target_fold in range(FOLDS):
            kept = []
            for one, (templates, targets) in zip(sets, folds, strict=True):
                others = (templates != target_fold) & (targets != target_fold)
                clean = others & (templates != template_fold) & (targets != template_fold)
                kept.append(one.take(clean if clean.any() else others))
            judged = [(templates == template_fold) & (targets == target_fold) for templates, targets in folds]
            kept = [one for one in kept if len(one)]
            if kept and any(mask.any() for mask in judged):
                yield kept, judged


def without_sets(sets: Sequence[MatchSamples]) -> Iterator[tuple[list[MatchSamples], list[np.ndarray]]]:
    """The same, with a whole set left out at a time; nothing of fewer than two sets."""
    for left_out in range(len(sets) if len(sets) > 1 else 0):
        kept = [one for number, one in enumerate(sets) if number != left_out]
        yield kept, [np.full(len(one), number == left_out) for number, one in enumerate(sets)]
