"""The same anatomy in two volumes: positions mapped through the landmarks that both have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENOUGH_FOR_AFFINE = 4
FLAT = 0.05  # directions in which the landmarks spread less than this part of their widest spread are ignored
REACH_MM = 30.0  # distance over which a single landmark's own displacement acts


@dataclass(frozen=True)
class PointMap:
    """Maps positions from one volume to another: exactly at the landmarks, smoothly between them.

    Args:
        source: Landmarks in the volume from which positions come, mm, shape `(N, 3)`.
        target: The same landmarks in the other volume, shape `(N, 3)`.
        matrix: Linear part of the map that fits them best, shape `(3, 3)`.
        source_centre: The centre of `matrix`, shape `(3,)`.
        target_centre: Its position in the other volume, shape `(3,)`.
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

        Without a pair the volumes' centres are aligned. With few pairs, or pairs in one plane, the missing directions
        stay unchanged.
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
        """Position of `point`, shape `(3,)`, in the other volume."""
        linear = self._linear(np.asarray(point, float))
        if not len(self.source):
            return linear
        rest = self.target - self._linear(self.source)
        distance = np.linalg.norm(self.source - point, axis=1)
        nearest = int(distance.argmin())
        if distance[nearest] < 1e-6:
            return self.target[nearest].copy()
        weights = 1 / distance**2
        return linear + weights @ rest / (weights.sum() + REACH_MM**-2)

    def _linear(self, points: np.ndarray) -> np.ndarray:
        return (points - self.source_centre) @ self.matrix.T + self.target_centre
