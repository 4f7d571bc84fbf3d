"""Where a landmark should lie, judged by the other landmarks of the same scan and by how they lie in other people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDS = 4  # of aligning all shapes with their mean; it no longer moves then
UPRIGHT = 0.1  # pull towards no rotation: patients lie alike, and points on a line leave the turn around it open
RIDGE = 0.1  # of the mean variance along one sample's direction
SMOOTHING_MM = 10.0  # of the displacement between two people
FEWEST = 2  # points that fix a pose, given that patients lie alike


@dataclass(frozen=True, eq=False)
class Shapes:
    """Landmarks of several people in one frame.

    Args:
        mean: mm, shape `(L, 3)`.
        deviations: Of each person from the mean, mm, shape `(N, L, 3)`; zero where a landmark is not defined.
    """

    mean: np.ndarray
    deviations: np.ndarray


@dataclass(frozen=True, eq=False)
class Similarity:
    """`points @ turn * scale + shift`, mm to mm."""

    turn: np.ndarray
    scale: float
    shift: np.ndarray

    def forward(self, points: np.ndarray) -> np.ndarray:
        return points @ self.turn * self.scale + self.shift

    def back(self, points: np.ndarray) -> np.ndarray:
        return (points - self.shift) @ self.turn.T / self.scale


def align(points: np.ndarray, onto: np.ndarray) -> Similarity:
    """The similarity that brings `points` closest to `onto`, both of shape `(N, 3)` in mm without NaN."""
    first, second = points.mean(axis=0), onto.mean(axis=0)
    a, b = points - first, onto - second
    size_a, size_b = max(np.linalg.norm(a), 1e-9), np.linalg.norm(b)
    left, _, right = np.linalg.svd(a.T @ b + UPRIGHT * size_a * size_b * np.eye(3))
    proper = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    turn, scale = left @ proper @ right, size_b / size_a
    return Similarity(turn, scale, second - first @ turn * scale)


def learn_shapes(positions: np.ndarray) -> Shapes:
    """Shapes of people whose landmarks lie at `positions`, LPS mm, shape `(N, L, 3)`, NaN where not defined."""
    defined = np.isfinite(positions).all(axis=2)
    usable = positions[defined.sum(axis=1) >= FEWEST]
    defined = np.isfinite(usable).all(axis=2)
    mean = usable[np.argmax(defined.sum(axis=1))]
    for _ in range(ROUNDS):
        aligned = np.array([_aligned(points, mean) for points in usable])
        mean = np.nanmean(aligned, axis=0)
    return Shapes(mean, np.nan_to_num(aligned - mean))


def _aligned(points: np.ndarray, mean: np.ndarray) -> np.ndarray:
    both = np.isfinite(points + mean).all(axis=1)
    return align(points[both], mean[both]).forward(points)


def expected_positions(shapes: Shapes, points: np.ndarray, index: int) -> np.ndarray:
    """Where landmark `index` should lie, judged in two ways by the other `points`, LPS mm, shape `(L, 3)`.

    Returns:
        LPS mm, shape `(2, 3)`: by a thin-plate spline from the mean, and by how the landmarks move together in the
        other people (ridge regression). NaN where fewer than two other points are defined.
    """
    from scipy.interpolate import RBFInterpolator

    others = np.isfinite(points + shapes.mean).all(axis=1)
    others[index] = False
    if others.sum() < FEWEST:
        return np.full((2, 3), np.nan)
    pose = align(points[others], shapes.mean[others])
    moved = pose.forward(points[others]) - shapes.mean[others]
    # -r is what bends least in three dimensions, as r^2 log r does in two
    spline = RBFInterpolator(shapes.mean[others], moved, kernel="linear", smoothing=SMOOTHING_MM, degree=0)
    return pose.back(
        shapes.mean[index] + np.stack([spline(shapes.mean[[index]])[0], _regress(shapes, moved, others, index)])
    )


def uncertainty_without(shapes: Shapes, lacking: np.ndarray, index: int) -> float:
    """How many times as far the people's landmark `index` is from where regression puts it when others are lacking.

    Args:
        shapes: Of the people, each left out in turn.
        lacking: Landmarks that are not known, bools, shape `(L,)`.
        index: Of the landmark, which is never among those that foretell it.
    """
    others = np.arange(len(lacking)) != index
    fewer = others & ~lacking
    if not fewer.any() or fewer.sum() == others.sum():
        return 1.0
    return max(1.0, _left_out_error(shapes, fewer, index) / _left_out_error(shapes, others, index))


def _left_out_error(shapes: Shapes, others: np.ndarray, index: int) -> float:
    """Root mean square error in mm of foretelling the landmark of each person by all other people."""
    inverse = np.linalg.inv(_kernel(shapes, others)[1])
    residuals = inverse @ shapes.deviations[:, index] / inverse.diagonal()[:, None]
    return float(np.sqrt((residuals**2).sum(axis=1).mean())) + 1e-9


def _regress(shapes: Shapes, moved: np.ndarray, others: np.ndarray, index: int) -> np.ndarray:
    known, kernel = _kernel(shapes, others)
    return np.linalg.solve(kernel, known @ moved.ravel()) @ shapes.deviations[:, index]


def _kernel(shapes: Shapes, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The people's known deviations, shape `(N, K)`, and their regularised products, shape `(N, N)`."""
    known = shapes.deviations[:, others].reshape(len(shapes.deviations), -1)
    kernel = known @ known.T
    return known, kernel + RIDGE * max(np.trace(kernel), 1e-9) / len(kernel) * np.eye(len(kernel))
