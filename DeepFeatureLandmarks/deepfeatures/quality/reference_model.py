"""The reference model: how far landmarks of people who were annotated well lie from where they are expected."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from deepfeatures.quality.shape import Shapes, align, expected_positions, learn_shapes, uncertainty_without

FOLDS = 12  # people are left out singly, or in so many groups where there are more
POOLED_PEOPLE = 4  # a landmark's own spread counts as much as the mean of all landmarks' once so many people were seen
FALSE_ALARMS = 0.04  # of good points, wanted; below the 5 % that a reader bears: few people leave spreads a guess
STEP, LONGEST = 0.1, 10.0  # spreads, of the shifts tried and beyond the threshold
DIRECTIONS = np.array([way for way in itertools.product((-1, 0, 1), repeat=3) if any(way)], float)
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
LEAST_MM = 0.05  # of a spread, so that a landmark that is always exact does not divide by nought
GROSS = 8.0  # times the median error of a landmark: further off is a blunder, which says nothing of good points


@dataclass(frozen=True, eq=False)
class ReferenceModel:
    """What was learned from scans that were annotated well.

    Args:
        names: Of the landmarks, length L.
        shapes: Of the people.
        covariances: Of the expectations' errors (by spline, by regression, by estimates), per axis, mm², `(L, 3, 3)`.
        threshold: Number of spreads beyond which a point is flagged.
        defined_share: Of the people, who have the landmark, shape `(L,)`.
        deviations: Of the people's points from where they were expected, in spreads, shape `(N, L, 3)`; NaN where one
            is not defined.
    """

    names: tuple[str, ...]
    shapes: Shapes
    covariances: np.ndarray
    threshold: float
    defined_share: np.ndarray
    deviations: np.ndarray

    def expect(self, points: np.ndarray, estimate: np.ndarray, index: int) -> tuple[np.ndarray, float]:
        """Where landmark `index` should lie, and how well that is known.

        Args:
            points: Of the scan, LPS mm, shape `(L, 3)`, NaN where not defined.
            estimate: Where others (raters, a matcher) have it in the same scan, LPS mm, shape `(L, 3)`, NaN where none.
            index: Of the landmark.

        Returns:
            LPS mm, shape `(3,)`, and the spread in mm along one axis; NaN where nothing can be said.
        """
        lacking = ~np.isfinite(points).all(axis=1) & np.isfinite(self.shapes.mean).all(axis=1)
        less_sure = uncertainty_without(self.shapes, lacking, index)
        factors = np.array([less_sure, less_sure, 1.0])  # the estimate does not depend on the other points
        covariance = self.covariances[index] * np.outer(factors, factors)
        return _fuse(_expectations(self.shapes, points, estimate, index), covariance)

    @property
    def is_common(self) -> np.ndarray:
        """Which landmarks most of the people have, bools, shape `(L,)`."""
        return self.defined_share > 0.5

    @property
    def shape_spreads_mm(self) -> np.ndarray:
        """Distance of each landmark from its mean place in the aligned people, root mean square, shape `(L,)`."""
        people, mean = self.shapes.people, self.shapes.mean
        there = np.isfinite(mean).all(axis=1)
        deviations = align(people[:, there], mean[there]).forward(people) - mean
        return np.sqrt((deviations**2).sum(axis=2).mean(axis=0)) + LEAST_MM

    @property
    def spreads_mm(self) -> np.ndarray:
        """Spread of each landmark along one axis where every expectation is at hand, shape `(L,)`."""
        return np.array([_fuse(np.zeros((3, 3)), covariance)[1] for covariance in self.covariances])

    def detectable_shifts_mm(self, chance: float = 0.95) -> np.ndarray:
        """The smallest shift of each landmark, in any direction, that is flagged with this chance, mm, `(L,)`."""
        steps = np.arange(0, self.threshold + LONGEST, STEP)
        shifted = self.deviations[None, ..., None, :] + steps[:, None, None, None, None] * DIRECTIONS
        found = np.linalg.norm(shifted, axis=-1) > self.threshold
        there = np.isfinite(self.deviations).all(axis=2)[None, ..., None]
        shares = (found & there).sum(axis=(1, 3)) / np.maximum(there.sum(axis=(1, 3)) * len(DIRECTIONS), 1)
        enough = shares >= chance
        return np.where(enough.any(axis=0), steps[enough.argmax(axis=0)], np.nan) * self.spreads_mm


def fit_reference_model(
    names: tuple[str, ...],
    positions: np.ndarray,
    estimates: np.ndarray,
    people: np.ndarray | None = None,
    false_alarms: float = FALSE_ALARMS,
) -> ReferenceModel:
    """Learn from scans that were annotated well, each judged by the others alone.

    Args:
        names: Length L.
        positions: LPS mm, shape `(N, L, 3)`, NaN where not defined.
        estimates: Of others on the same scans, LPS mm, shape `(N, L, 3)`, NaN where there are none.
        people: Whose scan each is, shape `(N,)`: scans of one person are never judged by each other.
        false_alarms: Share of good points that may be flagged.
    """
    people = np.arange(len(positions)) if people is None else np.asarray(people)
    _, person = np.unique(people, return_inverse=True)
    folds = person % min(FOLDS, person.max() + 1)
    errors = np.full((*positions.shape[:2], 3, 3), np.nan)
    for fold in np.unique(folds):
        shapes = learn_shapes(positions[folds != fold])
        for scan in np.flatnonzero(folds == fold):
            for index in range(len(names)):
                expected = _expectations(shapes, positions[scan], estimates[scan], index)
                errors[scan, index] = positions[scan, index] - expected
    errors = _without_gross(errors)
    deviations = np.full_like(positions, np.nan)
    for fold in np.unique(folds):
        covariances = _covariances(errors[folds != fold])
        for scan in np.flatnonzero(folds == fold):
            for index in range(len(names)):
                error, spread = _fuse(errors[scan, index], covariances[index])
                deviations[scan, index] = error / spread
    threshold = float(np.nanquantile(np.linalg.norm(deviations, axis=2), 1 - false_alarms))
    share = np.isfinite(positions).all(axis=2).mean(axis=0)
    return ReferenceModel(tuple(names), learn_shapes(positions), _covariances(errors), threshold, share, deviations)


def _expectations(shapes: Shapes, points: np.ndarray, estimate: np.ndarray, index: int) -> np.ndarray:
    return np.vstack([expected_positions(shapes, points, index), estimate[index]])


def _without_gross(errors: np.ndarray) -> np.ndarray:
    """Errors of expectations, mm, shape `(N, L, 3, 3)`, NaN where one is far beyond what is usual for its landmark.

    A set that another rater has mirrored is the estimate of good points: it must not say how far these spread.
    """
    sizes = np.ma.masked_invalid(np.linalg.norm(errors, axis=3))
    limits = GROSS * np.ma.median(sizes, axis=0).filled(np.nan) + LEAST_MM
    return np.where((sizes.filled(np.nan) > limits)[..., None], np.nan, errors)


def _covariances(errors: np.ndarray) -> np.ndarray:
    """Second moments per axis over scans, shape `(L, 3, 3)`, drawn towards those of all landmarks."""
    products = np.einsum("nlka,nlja->nlkj", errors, errors) / 3
    seen = np.isfinite(products).sum(axis=0)
    own = np.nansum(products, axis=0)
    pooled = own.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    moments = (own + POOLED_PEOPLE * pooled) / (seen + POOLED_PEOPLE)
    moments[..., pooled.diagonal() == 0, :] = np.nan  # an expectation that nobody ever had
    return np.stack([_positive_definite(one) for one in moments + LEAST_MM**2 * np.eye(3)])


def _positive_definite(moments: np.ndarray) -> np.ndarray:
    """The nearest matrix of that kind: pairs of expectations that few scans have need not go together, `(3, 3)`."""
    there = np.isfinite(moments.diagonal())
    own = np.ix_(there, there)
    values, vectors = np.linalg.eigh(moments[own])
    if not len(values) or values.min() > 0:
        return moments
    nearest = moments.copy()
    nearest[own] = vectors * values.clip(min=LEAST_MM**2) @ vectors.T
    return nearest


def _weights(covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights, none negative, that make the mean's variance least, and the spread of that mean."""
    from scipy.optimize import nnls

    root = np.linalg.cholesky(covariance)
    weights, _ = nnls(root.T, np.linalg.solve(root, np.ones(len(covariance))))
    weights /= weights.sum()
    return weights, float(np.sqrt(weights @ covariance @ weights))


def _fuse(values: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, float]:
    there = np.isfinite(values).all(axis=1) & np.isfinite(covariance.diagonal())
    if not there.any():
        return np.full(3, np.nan), np.nan
    weights, spread = _weights(covariance[np.ix_(there, there)])
    return weights @ values[there], spread
