"""What of a template's errors is its own labelling: the offset of each landmark that all targets have in common.

A landmark that lies elsewhere in the template than in other people's scans is carried to every target with the same
offset, turned and scaled as the target is. What is left around this offset is scatter: of the search, and of how the
targets were annotated. The offset may also come from the search, where it goes astray in the same way everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfeatures.quality.shape import FEWEST, align

CONFIDENCE = 0.95  # that all intervals of a template hold together (Bonferroni)
SIDES = (
    ("right of", "left of"),
    ("in front of", "behind"),
    ("below", "above"),
)  # LPS: where a coordinate falls, and where it grows
UPRIGHT = 0.01  # scans may lie otherwise than the template; only points on a line need the pull
ALONG = 0.4  # of an offset's length, from which a direction is named
ROUNDS = 200  # of fitting two parts by turns


@dataclass(frozen=True, eq=False)
class Offsets:
    """Of one template's landmarks, by T targets.

    Args:
        errors_mm: Distance of each placed point from the annotated one, shape `(T, L)`, NaN where not both are known.
        counts: Targets of each landmark, shape `(L,)`.
        mean: From where the targets' annotations would have the template's points to where they lie: LPS mm in the
            template, shape `(L, 3)`; NaN where no target tells.
        half_width_mm: Of the interval of each offset's length, shape `(L,)`; NaN where fewer than two targets tell.
        scatter_mm: Root mean square distance of the targets' differences from the offset, shape `(L,)`; NaN likewise.
        errors_without_mm: Mean distance that is left in a target once the offset of the other targets is taken away,
            shape `(L,)`; NaN likewise.
    """

    errors_mm: np.ndarray
    counts: np.ndarray
    mean: np.ndarray
    half_width_mm: np.ndarray
    scatter_mm: np.ndarray
    errors_without_mm: np.ndarray

    @property
    def lengths_mm(self) -> np.ndarray:
        """Of the offsets, shape `(L,)`."""
        return np.linalg.norm(self.mean, axis=1)

    @property
    def intervals_mm(self) -> np.ndarray:
        """In which the true length lies, shape `(L, 2)`."""
        ends = self.lengths_mm[:, None] + self.half_width_mm[:, None] * [-1, 1]
        return np.maximum(ends, 0)

    @property
    def is_unlike(self) -> np.ndarray:
        """Landmarks that are surely labelled otherwise, and by more than the scatter; bools, shape `(L,)`."""
        return (self.intervals_mm[:, 0] > 0) & (self.lengths_mm >= self.scatter_mm)


def offsets(template: np.ndarray, placed: np.ndarray, annotated: np.ndarray) -> Offsets:
    """Offsets of a template's landmarks.

    The n differences are taken as normal, with one variance s² along all axes. Then the length of their mean is known
    to within `sqrt(3 F s² / n)`. F is the quantile of the F distribution with 3 and 3 (n - 1) degrees of freedom.

    Args:
        template: Its landmarks, LPS mm, shape `(L, 3)`.
        placed: Where they were placed in the targets, LPS mm, shape `(T, L, 3)`; NaN where missing.
        annotated: Where the targets' annotations have them, LPS mm, shape `(T, L, 3)`; NaN where they have not.
    """
    from scipy import stats

    differences = np.stack([_in_template(template, *pair) for pair in zip(placed, annotated, strict=True)])
    known = np.isfinite(differences).all(axis=2)
    counts = known.sum(axis=0)
    mean = _mean(differences)
    around = differences - mean
    with np.errstate(divide="ignore", invalid="ignore"):  # too few targets are NaN
        variance = np.where(counts > 1, np.nansum(around**2, axis=(0, 2)) / (3 * (counts - 1)), np.nan)
        level = 1 - (1 - CONFIDENCE) / max(1, (counts > 1).sum())
        width = np.sqrt(3 * stats.f.ppf(level, 3, 3 * (counts - 1)) * variance / counts)
        left_out = np.linalg.norm(around, axis=2) * np.where(counts > 1, counts / (counts - 1), np.nan)
    errors = np.where(known, np.linalg.norm(placed - annotated, axis=2), np.nan)
    return Offsets(errors, counts, mean, width, np.sqrt(3 * variance), _mean(left_out))


def direction_text(offset: np.ndarray) -> str:
    """Where an offset points, LPS mm, shape `(3,)`: `"left of and behind"`, the largest part first."""
    parts = sorted(zip(offset, SIDES, strict=True), key=lambda part: -abs(part[0]))
    words = [names[int(part > 0)] for part, names in parts if abs(part) >= ALONG * np.linalg.norm(offset)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def comparable_means(errors: np.ndarray) -> np.ndarray:
    """Mean error of each template, as if all had been tried on the same points of the same targets.

    Fitted by least squares, a part of each template and a part of each point, by turns.

    Args:
        errors: mm, shape `(N, T, L)`; NaN where a template was not tried, or a point is not known.

    Returns:
        mm, shape `(N,)`; NaN where a template has no errors.
    """
    cells = errors.reshape(len(errors), -1)
    cells = cells[:, np.isfinite(cells).any(axis=0)]
    own = np.zeros(len(cells))
    for _ in range(ROUNDS):
        of_points = _mean(cells - own[:, None])
        own = _mean((cells - of_points).T)
    return own - np.nanmean(own) + of_points.mean() if cells.size else np.full(len(cells), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, of what is known; NaN where nothing is."""
    return np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)


def _in_template(template: np.ndarray, placed: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Placed minus annotated, turned and scaled as the template's landmarks are, mm, shape `(L, 3)`."""
    there = np.isfinite(template + placed).all(axis=1)
    if there.sum() < FEWEST:
        return placed - annotated
    pose = align(placed[there], template[there], UPRIGHT)
    return (placed - annotated) @ pose.turn * pose.scale
