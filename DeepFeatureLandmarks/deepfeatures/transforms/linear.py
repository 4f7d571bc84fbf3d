"""Linear transforms: rigid, similarity and affine, fitted to weighted pairs of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.transform import InversePoints, Transform, as_points

LATTICE = 9  # places along each axis of a box
RIDGE = 1e-9  # of the spread of the points, towards no change, where they do not settle an affine transform


@dataclass(frozen=True, eq=False)
class LinearTransform(Transform):
    """A homogeneous matrix `(4, 4)`, LPS mm, float64."""

    matrix: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return as_points(points) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.matrix[:3, :3], (len(as_points(points)), 3, 3)).copy()

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        found = self.inverted()(points)
        return InversePoints(found, np.linalg.norm(self(found) - as_points(points), axis=1))

    def inverted(self) -> LinearTransform:
        return LinearTransform(np.linalg.inv(self.matrix))

    def then(self, following: Transform) -> Transform:
        if isinstance(following, LinearTransform):
            return LinearTransform(following.matrix @ self.matrix)
        return super().then(following)


def fit_similarity(
    points: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, with_scale: bool = True
) -> LinearTransform:
    """The rotation, scale and shift with the least weighted squared error (Umeyama, PAMI 1991); never a reflection.

    Args:
        points, targets: LPS mm, `(N, 3)`.
        weights: `(N,)`, not negative.
        with_scale: `False` for a rigid transform.
    """
    share = weights / weights.sum()
    mean, target_mean = share @ points, share @ targets
    centred, target_centred = points - mean, targets - target_mean
    u, singular, vt = np.linalg.svd((target_centred * share[:, None]).T @ centred)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * sign) @ vt
    scale = (singular @ sign) / (share @ (centred**2).sum(1)) if with_scale else 1.0
    return _around(scale * rotation, mean, target_mean)


def fit_affine(points: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> LinearTransform:
    """The affine transform with the least weighted squared error; arguments as of `fit_similarity`."""
    share = weights / weights.sum()
    mean, target_mean = share @ points, share @ targets
    centred, target_centred = points - mean, targets - target_mean
    spread = (centred * share[:, None]).T @ centred
    ridge = RIDGE * np.trace(spread) * np.eye(3)
    cross = (target_centred * share[:, None]).T @ centred
    return _around(np.linalg.solve(spread + ridge, (cross + ridge).T).T, mean, target_mean)


def nearest_affine(transform: Transform, box: Grid) -> LinearTransform:
    """The affine transform that is nearest to a whole transform within a box."""
    lengths = (np.array(box.size) - 1) * box.spacing
    lattice = Grid(box.origin, lengths / (LATTICE - 1), box.direction, (LATTICE,) * 3).points()
    return fit_affine(lattice, transform(lattice), np.ones(len(lattice)))


def _around(linear: np.ndarray, mean: np.ndarray, target_mean: np.ndarray) -> LinearTransform:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = target_mean - linear @ mean
    return LinearTransform(matrix)
