"""The same anatomy in two volumes: positions carried over through the landmarks that both have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENOUGH_FOR_AFFINE = 4
FLAT = 0.05  # directions in which the landmarks spread less than this part of their widest spread tell nothing
REACH_MM = 30.0  # how far a single landmark's own displacement is felt


@dataclass(frozen=True)
class PointMap:
    """Carries positions from one volume to another: exactly at the landmarks, smoothly between them.

    Args:
        source: Landmarks in the volume from which positions come, mm, shape `(N, 3)`.
        target: The same landmarks in the other volume, shape `(N, 3)`.
        matrix: Linear part of the map that fits them best, shape `(3, 3)`.
        source_centre: The point that `matrix` turns about, shape `(3,)`.
        target_centre: Where it comes to lie, shape `(3,)`.
    """

    source: np.ndarray
    target: np.ndarray
    matrix: np.ndarray
    source_centre: np.ndarray
    target_centre: np.ndarray

    @classmethod
    def fit(
        cls, source: np.ndarray, target: np.ndarray, source_centre: np.ndarray, target_centre: np.ndarray
    ) -> PointMap:
        """The map through pairs of landmarks, in any one frame; NaN rows on either side are left out.

        Without a pair the volumes' centres are laid on each other; with few, or flat, ones the missing directions stay
        as they are.
        """
        source, target = np.asarray(source, float).reshape(-1, 3), np.asarray(target, float).reshape(-1, 3)
        known = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1)
        source, target = source[known], target[known]
        matrix = np.eye(3)
        if len(source):
            source_centre, target_centre = source.mean(axis=0), target.mean(axis=0)
        if len(source) >= ENOUGH_FOR_AFFINE:
            spread = source - source_centre
            change, *_ = np.linalg.lstsq(spread, target - target_centre - spread, rcond=FLAT)
            matrix = np.eye(3) + change.T
        return cls(source, target, matrix, np.asarray(source_centre, float), np.asarray(target_centre, float))

    def __call__(self, point: np.ndarray) -> np.ndarray:
        """Where `point`, shape `(3,)`, lies in the other volume."""
        carried = self._straight(np.asarray(point, float))
        if not len(self.source):
            return carried
        rest = self.target - self._straight(self.source)
        distance = np.linalg.norm(self.source - point, axis=1)
        nearest = int(distance.argmin())
        if distance[nearest] < 1e-6:
            return self.target[nearest].copy()
        weights = 1 / distance**2
        return carried + weights @ rest / (weights.sum() + REACH_MM**-2)

    def _straight(self, points: np.ndarray) -> np.ndarray:
        return (points - self.source_centre) @ self.matrix.T + self.target_centre
